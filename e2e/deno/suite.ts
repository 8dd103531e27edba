// Deno's own client against a fresh server: `ADDRESS` is its host and port. Prints the number of checks.
const address = Deno.env.get("ADDRESS")!;
const url = `http://${address}`;
let checks = 0;

function fail(what: string, expected: unknown, actual: unknown): never {
  console.log(`FAILED ${what}`);
  console.log("  expected:", expected);
  console.log("  actual:  ", actual);
  Deno.exit(1);
}

function same(a: unknown, b: unknown, seen: [unknown, unknown][] = []): boolean {
  if (Object.is(a, b)) return true;
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) return false;
  if (Object.getPrototypeOf(a) !== Object.getPrototypeOf(b)) return false;
  if (seen.some(([x, y]) => x === a && y === b)) return true;
  seen = [...seen, [a, b]];
  if (a instanceof Date) return Object.is(a.getTime(), (b as Date).getTime());
  if (a instanceof RegExp) return String(a) === String(b);
  if (a instanceof Error) {
    const other = b as Error;
    return a.name === other.name && a.message === other.message && same(a.cause, other.cause, seen);
  }
  if (a instanceof Map) return same([...a], [...b as Map<unknown, unknown>], seen);
  if (a instanceof Set) return same([...a], [...b as Set<unknown>], seen);
  if (a instanceof ArrayBuffer) return same(new Uint8Array(a), new Uint8Array(b as ArrayBuffer), seen);
  if (a instanceof DataView) {
    const other = b as DataView;
    return same(new Uint8Array(a.buffer, a.byteOffset, a.byteLength),
      new Uint8Array(other.buffer, other.byteOffset, other.byteLength), seen);
  }
  if (a instanceof Number || a instanceof String || a instanceof Boolean || a instanceof BigInt) {
    return same(a.valueOf(), (b as object).valueOf(), seen);
  }
  if (a instanceof Deno.KvU64) return a.value === (b as Deno.KvU64).value;
  if (ArrayBuffer.isView(a)) {
    const [one, other] = [a, b] as unknown as [number[], number[]];
    return one.length === other.length && Array.prototype.every.call(one, (element, at) => Object.is(element, other[at]));
  }
  const [keys, others] = [Object.keys(a), Object.keys(b)];
  if (Array.isArray(a) && a.length !== (b as unknown[]).length) return false;
  if (keys.length !== others.length || !keys.every((key, at) => others[at] === key)) return false;
  // deno-lint-ignore no-explicit-any
  return keys.every((key) => same((a as any)[key], (b as any)[key], seen));
}

function is(what: string, actual: unknown, expected: unknown) {
  checks++;
  if (!same(actual, expected)) fail(what, expected, actual);
}

async function throws(what: string, run: () => Promise<unknown>, text: string) {
  checks++;
  try {
    await run();
  } catch (error) {
    if (String(error).includes(text)) return;
    fail(what, text, String(error));
  }
  fail(what, text, "nothing was thrown");
}

async function all<T>(list: AsyncIterable<T>): Promise<T[]> {
  const entries = [];
  for await (const entry of list) entries.push(entry);
  return entries;
}

const kv = await Deno.openKv(url);
const get = async (key: Deno.KvKey) => (await kv.get(key)).value;
const curl = async (path: string) => await (await fetch(url + path)).text();

// --- get and set
is("an absent key", await kv.get(["absent"]), { key: ["absent"], value: null, versionstamp: null });
const first = await kv.set(["a"], "one");
is("ok", first.ok, true);
is("a versionstamp has 20 digits", /^[0-9a-f]{20}$/.test(first.versionstamp), true);
is("get", await kv.get(["a"]), { key: ["a"], value: "one", versionstamp: first.versionstamp });
const second = await kv.set(["a"], "two");
is("versionstamps grow", second.versionstamp > first.versionstamp, true);
is("the newest counts", await get(["a"]), "two");
await kv.delete(["a"]);
is("deleted", await get(["a"]), null);
await kv.delete(["a"]);
is("deleted twice", await get(["a"]), null);
await kv.set(["m", 1], 1);
await kv.set(["m", 2], 2);
const many = await kv.getMany([["m", 2], ["m", 3], ["m", 1]]);
is("getMany", many.map((entry) => entry.value), [2, null, 1]);
is("eventual", (await kv.get(["m", 1], { consistency: "eventual" })).value, 1);

// --- every kind of key part, and their order
const parts: Deno.KvKeyPart[] = [
  new Uint8Array([]), new Uint8Array([0]), new Uint8Array([0, 255]), new Uint8Array([1]), new Uint8Array([255]),
  "", "\0", "a", "a\0", "aa", "b", "é", "日本", "\u{1f34e}",
  -(2n ** 70n), -(2n ** 64n), -1000n, -1n, 0n, 1n, 255n, 256n, 2n ** 64n, 2n ** 70n,
  -Infinity, -1e300, -1.5, -0, 0, 5e-324, 1, 1.5, 2 ** 53, Infinity, NaN, false, true,
];
for (const part of parts.toReversed()) await kv.set(["order", part], "x");
const ordered = await all(kv.list({ prefix: ["order"] }));
is("number of parts", ordered.length, parts.length);
parts.forEach((part, at) => is(`part ${at}`, ordered[at].key[1], part));
for (const part of parts) is("each is found", (await kv.get(["order", part])).key[1], part);
is("a key of many parts", await (async () => {
  const key = ["deep", 1, 2n, true, new Uint8Array([1]), "x", "y", "z"];
  await kv.set(key, "found");
  return await get(key);
})(), "found");

// --- structured clone
const cycle: Record<string, unknown> = { name: "cycle" };
cycle.self = cycle;
const shared = { x: 1 };
const sparse: number[] = [];
sparse[100] = 1;
const holes = [1, , 3]; // deno-lint-ignore-line no-sparse-arrays
const withProperty = Object.assign([1, 2], { extra: "yes" });
const values: [string, unknown][] = [
  ["undefined", undefined], ["null", null], ["true", true], ["false", false], ["zero", 0], ["minus zero", -0],
  ["int", 42], ["negative", -42], ["int32 max", 2 ** 31 - 1], ["over int32", 2 ** 31], ["float", 1.5], ["NaN", NaN],
  ["Infinity", Infinity], ["max", Number.MAX_VALUE], ["safe", Number.MAX_SAFE_INTEGER], ["0n", 0n], ["1n", 1n], ["-1n", -1n],
  ["2n ** 64n", 2n ** 64n], ["-(2n ** 200n)", -(2n ** 200n)], ["empty string", ""], ["latin1", "é"], ["two bytes", "日本"],
  ["lone surrogate", "\ud800"], ["emoji", "\u{1f34e}"], ["empty object", {}], ["object", { a: 1, b: { c: "d" } }],
  ["index keys", { 5: 1, x: 2, "-1": 3 }], ["empty array", []], ["array", [1, "a", null, undefined]], ["holes", holes],
  ["sparse", sparse], ["array with a property", withProperty], ["Date", new Date(1234567890123)], ["invalid Date", new Date(NaN)],
  ["old Date", new Date(-1)], ["RegExp", /a+(b)/giu], ["Map", new Map<unknown, unknown>([["k", 1], [{ a: 1 }, new Set([1])]])],
  ["Set", new Set<unknown>(["a", 1n])], ["empty Map", new Map()], ["Error", new Error("boom")],
  ["TypeError", new TypeError("boom", { cause: { why: 1 } })], ["RangeError", new RangeError("r")],
  ["Uint8Array", new Uint8Array([1, 2, 3])], ["empty Uint8Array", new Uint8Array()], ["Int8Array", new Int8Array([-1])],
  ["Uint8ClampedArray", new Uint8ClampedArray([255])], ["Int16Array", new Int16Array([-300])], ["Uint16Array", new Uint16Array([300])],
  ["Int32Array", new Int32Array([-70000])], ["Uint32Array", new Uint32Array([70000])], ["Float32Array", new Float32Array([1.5])],
  ["Float64Array", new Float64Array([1.5, NaN])], ["BigInt64Array", new BigInt64Array([-5n])], ["BigUint64Array", new BigUint64Array([5n])],
  ["ArrayBuffer", new Uint8Array([9, 8]).buffer], ["DataView", new DataView(new Uint8Array([1, 2, 3]).buffer, 1)],
  ["boxed number", Object(5)], ["boxed string", Object("s")], ["boxed boolean", Object(true)], ["boxed bigint", Object(5n)],
  ["cycle", cycle], ["shared", [shared, shared]], ["KvU64", new Deno.KvU64(7n)], ["a long string", "x".repeat(60_000)],
];
for (const [name, value] of values) {
  await kv.set(["values", name], value);
  is(name, await get(["values", name]), value);
}
const back = await get(["values", "shared"]) as unknown[];
is("identity within a value", back[0] === back[1], true);
is("values in a list", (await all(kv.list({ prefix: ["values"] }))).length, values.length);

// --- the same values as JSON
for (const [name, json] of [
  ["Map", '{"$map":[["k",1],[{"a":1},{"$set":[1]}]]}'], ["object", '{"a":1,"b":{"c":"d"}}'], ["1n", '{"$bigint":"1"}'],
  ["undefined", '{"$undefined":true}'], ["cycle", '{"name":"cycle","self":{"$ref":0}}'],
  ["shared", '[{"x":1},{"$ref":1}]'], ["RegExp", '{"$regexp":"a+(b)","flags":"giu"}'], ["KvU64", "7"], ["two bytes", '"日本"'],
  ["Date", '{"$date":"2009-02-13T23:31:30.123Z"}'], ["boxed number", '{"$boxed":5}'], ["NaN", '{"$number":"NaN"}'],
  ["array with a property", '{"$array":[1,2],"entries":{"extra":"yes"}}'], ["ArrayBuffer", '{"$buffer":"CQg="}'],
]) is(`${name} for curl`, await curl(`/v1/kv/values/${encodeURIComponent(name)}`), json);
for (const [name, value] of values) {
  // A rendering written back is the value again.
  const listed = JSON.parse(await (await fetch(`${url}/v1/kv/values/${encodeURIComponent(name)}`, { headers: { accept: "application/json" } })).text());
  const body = JSON.stringify(listed.value);
  if (name === "minus zero") continue; // JSON.stringify has no -0
  const put = await fetch(`${url}/v1/kv/again/${encodeURIComponent(name)}`, { method: "PUT", headers: { "content-type": "application/json" }, body });
  is(`${name} is taken back`, put.status, 200);
  await put.body?.cancel();
  is(`${name} came back from JSON`, await get(["again", name]), value);
}

// --- what others wrote
const put = async (path: string, type: string, body: BodyInit) => {
  const reply = await fetch(url + path, { method: "PUT", headers: { "content-type": type }, body });
  await reply.body?.cancel();
};
await put("/v1/kv/http/text", "text/plain", "hé日");
await put("/v1/kv/http/json", "application/json", '{"z":1,"a":[true,null,1.50,"x"],"1":{}}');
await put("/v1/kv/http/int", "application/json", "42");
await put("/v1/kv/http/float", "application/json", "42.0");
await put("/v1/kv/http/bool", "application/json", "true");
await put("/v1/kv/http/null", "application/json", "null");
await put("/v1/kv/http/bytes", "application/octet-stream", new Uint8Array([0, 255]));
await put("/v1/kv/http/u64", "application/json", '{"$u64":"18446744073709551615"}');
is("text is a string", await get(["http", "text"]), "hé日");
is("json is an object", await get(["http", "json"]), { 1: {}, z: 1, a: [true, null, 1.5, "x"] });
is("int is a bigint", await get(["http", "int"]), 42n);
is("float is a number", await get(["http", "float"]), 42);
is("bool", await get(["http", "bool"]), true);
is("null", (await kv.get(["http", "null"])).value, null);
is("null has a versionstamp", (await kv.get(["http", "null"])).versionstamp !== null, true);
is("bytes are a Uint8Array", await get(["http", "bytes"]), new Uint8Array([0, 255]));
is("u64 is a KvU64", await get(["http", "u64"]), new Deno.KvU64(2n ** 64n - 1n));
await curl("/put?plain=hello");
is("the plain route", await get(["plain"]), "hello");
await kv.set(["shown"], "hello");
is("the plain route, the other way", (await curl("/get/shown")).includes("hello"), true);

// --- lists
for (let i = 0; i < 250; i++) await kv.set(["list", i], i);
const numbers = async (selector: Deno.KvListSelector, options?: Deno.KvListOptions) =>
  (await all(kv.list<number>(selector, options))).map((entry) => entry.value);
const upTo = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => from + i);
is("prefix", await numbers({ prefix: ["list"] }), upTo(0, 250));
is("in batches", await numbers({ prefix: ["list"] }, { batchSize: 7 }), upTo(0, 250));
is("in large batches", await numbers({ prefix: ["list"] }, { batchSize: 500 }), upTo(0, 250));
is("limit", await numbers({ prefix: ["list"] }, { limit: 3 }), [0, 1, 2]);
is("reverse", await numbers({ prefix: ["list"] }, { reverse: true }), upTo(0, 250).toReversed());
is("reverse and limit", await numbers({ prefix: ["list"] }, { reverse: true, limit: 2 }), [249, 248]);
is("start and end", await numbers({ start: ["list", 10], end: ["list", 13] }), [10, 11, 12]);
is("prefix and start", await numbers({ prefix: ["list"], start: ["list", 248] }), [248, 249]);
is("prefix and end", await numbers({ prefix: ["list"], end: ["list", 2] }), [0, 1]);
is("an empty range", await numbers({ start: ["list", 13], end: ["list", 13] }), []);
is("nothing under a prefix", await numbers({ prefix: ["nothing"] }), []);
is("a prefix is not its own key", await (async () => {
  await kv.set(["pre"], 0);
  await kv.set(["pre", 1], 1);
  await kv.set(["prefix"], 2);
  return await numbers({ prefix: ["pre"] });
})(), [1]);
const page = kv.list<number>({ prefix: ["list"] }, { limit: 100 });
is("a page", (await all(page)).length, 100);
is("behind the cursor", await numbers({ prefix: ["list"] }, { cursor: page.cursor, limit: 2 }), [100, 101]);
const reversed = kv.list<number>({ prefix: ["list"] }, { limit: 100, reverse: true });
await all(reversed);
is("behind a reversed cursor", await numbers({ prefix: ["list"] }, { cursor: reversed.cursor, limit: 2, reverse: true }), [149, 148]);
let cursor = "";
let seen = 0;
for (;;) {
  const list = kv.list({ prefix: ["list"] }, { limit: 33, cursor });
  const entries = await all(list);
  seen += entries.length;
  if (entries.length < 33) break;
  cursor = list.cursor;
}
is("page by page", seen, 250);

// --- atomic
const { versionstamp } = await kv.set(["check"], 1);
is("a check that holds", (await kv.atomic().check({ key: ["check"], versionstamp }).set(["check"], 2).commit()).ok, true);
is("a check that fails", await kv.atomic().check({ key: ["check"], versionstamp }).set(["check"], 3).commit(), { ok: false });
is("nothing was written", await get(["check"]), 2);
is("absence holds", (await kv.atomic().check({ key: ["new"], versionstamp: null }).set(["new"], 1).commit()).ok, true);
is("absence fails", (await kv.atomic().check({ key: ["new"], versionstamp: null }).set(["new"], 2).commit()).ok, false);
is("a foreign stamp fails", (await kv.atomic().check({ key: ["new"], versionstamp: "ffffffffffffffffffff" }).commit()).ok, false);
const empty = await kv.atomic().commit();
is("an empty commit has a versionstamp", empty.ok && /^[0-9a-f]{20}$/.test(empty.versionstamp), true);
const both = await kv.atomic().set(["x"], 1).set(["y"], 2).delete(["new"]).commit() as Deno.KvCommitResult;
is("one stamp for all", [(await kv.get(["x"])).versionstamp, (await kv.get(["y"])).versionstamp], [both.versionstamp, both.versionstamp]);
is("deleted with it", await get(["new"]), null);
await kv.atomic().set(["x"], 1).delete(["x"]).set(["x"], 9).commit();
is("in order", await get(["x"]), 9);
await kv.atomic().delete(["x"]).set(["x"], 1).delete(["x"]).commit();
is("in order, ending in a delete", await get(["x"]), null);
is("1,000 mutations", (await (() => {
  let atomic = kv.atomic();
  for (let i = 0; i < 1000; i++) atomic = atomic.set(["bulk", i], i);
  return atomic.commit();
})()).ok, true);
is("all of them", (await all(kv.list({ prefix: ["bulk"] }, { batchSize: 500 }))).length, 1000);
is("10 checks", (await (() => {
  let atomic = kv.atomic();
  for (let i = 0; i < 10; i++) atomic = atomic.check({ key: ["none", i], versionstamp: null });
  return atomic.commit();
})()).ok, true);

// --- sums
const u64 = (value: bigint) => new Deno.KvU64(value);
await kv.atomic().sum(["sum"], 5n).commit();
is("sum on nothing", await get(["sum"]), u64(5n));
await kv.atomic().sum(["sum"], 6n).sum(["sum"], 1n).commit();
is("sum", await get(["sum"]), u64(12n));
await kv.atomic().sum(["sum"], 2n ** 64n - 2n).commit();
is("sum wraps", await get(["sum"]), u64(10n));
await kv.atomic().min(["sum"], 3n).commit();
is("min", await get(["sum"]), u64(3n));
await kv.atomic().min(["sum"], 9n).commit();
is("min keeps", await get(["sum"]), u64(3n));
await kv.atomic().max(["sum"], 8n).commit();
is("max", await get(["sum"]), u64(8n));
await kv.atomic().max(["sum"], 2n).commit();
is("max keeps", await get(["sum"]), u64(8n));
await kv.atomic().min(["min"], 4n).max(["max"], 4n).commit();
is("min and max on nothing", [await get(["min"]), await get(["max"])], [u64(4n), u64(4n)]);
await kv.set(["text"], "text");
for (const op of ["sum", "min", "max"] as const) {
  await throws(`${op} on text`, () => kv.atomic().set(["left"], 1)[op](["text"], 1n).commit(),
    `Failed to perform '${op}' mutation on a non-U64 value in the database`);
}
is("nothing is left of them", await get(["left"]), null);
// deno-lint-ignore no-explicit-any
const sum = (key: Deno.KvKey, value: unknown) => kv.atomic().mutate({ type: "sum", key, value } as any).commit();
await sum(["n"], 1.5);
await sum(["n"], 2);
is("sum of numbers", await get(["n"]), 3.5);
await sum(["big"], 2n ** 70n);
await sum(["big"], -1n);
is("sum of bigints", await get(["big"]), 2n ** 70n - 1n);
await throws("bigint and number", () => sum(["big"], 1), "Cannot sum BigInt with Number");
await throws("number and bigint", () => sum(["n"], 1n), "Cannot sum Number with BigInt");
await throws("sum on a string", () => sum(["text"], 1), "unsupported value type");
await put("/v1/kv/counter", "application/json", "41");
await sum(["counter"], 1n);
is("an int is counted as a bigint", await curl("/v1/kv/counter"), "42");
is("and stays one", await get(["counter"]), 42n);

// --- expiry
await kv.set(["gone"], 1, { expireIn: 1 });
await kv.set(["stays"], 1, { expireIn: 3_600_000 });
for (let i = 0; i < 200 && (await get(["gone"])) !== null; i++) await new Promise((done) => setTimeout(done, 5));
is("expired", await get(["gone"]), null);
is("a check sees it", (await kv.atomic().check({ key: ["gone"], versionstamp: null }).commit()).ok, true);
is("not yet", await get(["stays"]), 1);
await kv.set(["stays"], 2);
is("shown", await curl("/v1/kv/stays"), "2");

// --- limits
const longest = [new Uint8Array(2046).fill(1)];
await kv.set(longest, "longest");
is("the longest key", await get(longest), "longest");
await throws("a longer key", () => kv.set([new Uint8Array(2047).fill(1)], 1), "Key too large");
await kv.set(["large"], new Uint8Array(65_500));
is("a large value", (await get(["large"]) as Uint8Array).length, 65_500);
await throws("a larger value", () => kv.set(["large"], new Uint8Array(65_537)), "Value too large");
await throws("11 checks", () => {
  let atomic = kv.atomic();
  for (let i = 0; i < 11; i++) atomic = atomic.check({ key: ["none", i], versionstamp: null });
  return atomic.commit();
}, "Too many checks");
await throws("1,001 mutations", () => {
  let atomic = kv.atomic();
  for (let i = 0; i < 1001; i++) atomic = atomic.delete(["none", i]);
  return atomic.commit();
}, "Too many mutations");
await throws("a large commit", () => {
  let atomic = kv.atomic();
  for (let i = 0; i < 14; i++) atomic = atomic.set(["none", i], new Uint8Array(60_000));
  return atomic.commit();
}, "too large");
await throws("11 ranges", () => kv.getMany(Array.from({ length: 11 }, (_, i) => ["m", i]) as never), "ranges");
const larger = new Uint8Array(200_000).fill(7);
await put("/v1/kv/larger", "application/octet-stream", larger);
is("a larger value that others wrote", await get(["larger"]), larger);

// --- many at once
await Promise.all(Array.from({ length: 200 }, () => kv.atomic().sum(["race"], 1n).commit()));
is("200 sums at once", await get(["race"]), u64(200n));
let wins = 0;
await kv.set(["lock"], 0);
await Promise.all(Array.from({ length: 16 }, async () => {
  for (;;) {
    const entry = await kv.get<number>(["lock"]);
    const commit = await kv.atomic().check(entry).set(["lock"], entry.value! + 1).commit();
    if (commit.ok) return wins++;
  }
}));
is("16 read, check and write", [wins, await get(["lock"])], [16, 16]);
const read = await Promise.all(Array.from({ length: 300 }, (_, i) => get(["list", i % 250])));
is("300 reads at once", read, Array.from({ length: 300 }, (_, i) => i % 250));
const clients = await Promise.all(Array.from({ length: 8 }, () => Deno.openKv(url)));
await Promise.all(clients.map((client, i) => client.set(["client", i], i)));
is("8 clients", (await all(kv.list({ prefix: ["client"] }))).length, 8);
clients.forEach((client) => client.close());

// --- watch
const watching = kv.watch<[number, string, number]>([["w", 1], ["w", 2], ["w", 3]]).getReader();
// Deno 2.9 shows keys of which a later frame says "unchanged" as absent, whatever server it talks to: look at the others.
const told = async () => (await watching.read()).value!.map((entry) => entry.value);
is("the first tells all", await told(), [null, null, null]);
await kv.set(["w", 2], "two");
is("a change", (await told())[1], "two");
await kv.atomic().set(["w", 1], 1).sum(["w", 3], 1n).commit();
is("a commit", (await told()).filter((value) => value !== null), [1, u64(1n)]);
await put("/v1/kv?key=" + encodeURIComponent('["w",1]'), "application/json", "9");
is("a change of curl's", (await told())[0], 9n);
await kv.set(["w", "other"], 1);
await kv.set(["w", 3], 5);
is("nothing of other keys", (await told())[2], 5);
const one = kv.watch<[string]>([["one"]]).getReader();
const value = async () => (await one.read()).value![0].value;
is("one key", await value(), null);
await kv.set(["one"], "short", { expireIn: 40 });
let last = await value();
if (last === "short") last = await value();
is("an expiry", last, null);
await kv.set(["one"], 1);
is("and back", await value(), 1);
await kv.delete(["one"]);
is("a delete", await value(), null);
await one.cancel();
await watching.cancel();
const crowd = Array.from({ length: 20 }, () => kv.watch([["crowd"]]).getReader());
await Promise.all(crowd.map((reader) => reader.read()));
await kv.set(["crowd"], "all");
is("20 watches", (await Promise.all(crowd.map((reader) => reader.read()))).map((read) => read.value![0].value), Array(20).fill("all"));
await Promise.all(crowd.map((reader) => reader.cancel()));

// --- several databases
const fruit = await Deno.openKv(`${url}/kv-connect/fruit`);
is("another database is empty", (await all(fruit.list({ prefix: [] }))).length, 0);
await fruit.set(["shown"], "fruit");
is("and apart", [(await fruit.get(["shown"])).value, await get(["shown"])], ["fruit", "hello"]);
is("for curl, too", await curl("/v1/kv/shown?db=fruit"), '"fruit"');
fruit.close();
const zero = await Deno.openKv(`${url}/kv-connect/0`);
is("0 is the default", (await zero.get(["shown"])).value, "hello");
zero.close();
await throws("no name", () => Deno.openKv(`${url}/kv-connect/%00`), "400");

// --- what no client sends
const metadata = await (await fetch(url, { method: "POST", body: '{"supportedVersions":[1,2,3]}' })).json();
is("members of the metadata", Object.keys(metadata).sort(), ["databaseId", "endpoints", "expiresAt", "token", "version"]);
const post = async (action: string, body: BodyInit, headers: Record<string, string> = {}) => {
  const reply = await fetch(`${url}/kv-connect/0/${action}`, {
    method: "POST",
    body,
    headers: { "x-denokv-version": "3", "x-denokv-database-id": metadata.databaseId, ...headers },
  });
  return [reply.status, reply.headers.get("content-type"), reply.status === 200 ? "" : await reply.text()] as const;
};
const text = "text/plain; charset=utf-8";
for (const [what, action, body, headers, status] of [
  ["an empty read", "snapshot_read", new Uint8Array(), {}, 200],
  ["no message", "snapshot_read", new Uint8Array([255, 255]), {}, 400],
  ["half a message", "atomic_write", new Uint8Array([0x12, 9, 1]), {}, 400],
  ["a KvU64 of 1 byte", "atomic_write", new Uint8Array([0x12, 11, 0x0a, 1, 97, 0x12, 5, 0x0a, 1, 1, 0x10, 2, 0x18, 1]), {}, 400],
  ["no encoding", "atomic_write", new Uint8Array([0x12, 10, 0x0a, 1, 97, 0x12, 3, 0x0a, 1, 1, 0x18, 1]), {}, 400],
  ["a body of 5 MiB", "atomic_write", new Uint8Array(5 << 20), {}, 413],
  ["another version", "snapshot_read", new Uint8Array(), { "x-denokv-version": "9" }, 400],
  ["another database", "snapshot_read", new Uint8Array(), { "x-denokv-database-id": crypto.randomUUID() }, 400],
  ["another action", "snapshot_write", new Uint8Array(), {}, 404],
] as [string, string, Uint8Array<ArrayBuffer>, Record<string, string>, number][]) {
  const reply = await post(action, body, headers);
  is(what, reply.slice(0, 2), [status, status === 200 ? "application/x-protobuf" : text]);
}
const versions = async (list: unknown) => {
  const reply = await fetch(url, { method: "POST", body: JSON.stringify({ supportedVersions: list }) });
  return reply.status === 200 ? (await reply.json()).version : (await reply.text(), reply.status);
};
is("versions", [await versions([1]), await versions([1, 2]), await versions([1, 2, 3, 4])], [1, 2, 3]);
is("no version", [await versions([]), await versions([7]), await versions("3")], [400, 400, 400]);
is("the server is there", (await kv.get(["shown"])).value, "hello");

kv.close();
console.log(`${checks} checks`);
