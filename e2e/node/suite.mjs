// `@deno/kv` in Node against a fresh server: `ADDRESS` is its host and port. Prints the number of checks.
import { KvU64, openKv } from "@deno/kv";
import assert from "node:assert/strict";
import { connect } from "node:net";

const url = `http://${process.env.ADDRESS}`;
let checks = 0;

function is(what, actual, expected) {
  checks++;
  assert.deepStrictEqual(actual, expected, what);
}

async function throws(what, run, text) {
  checks++;
  await assert.rejects(run, (error) => String(error).includes(text), what);
}

async function all(list) {
  const entries = [];
  for await (const entry of list) entries.push(entry);
  return entries;
}

const open = (path = "", options = {}) => openKv(url + path, { accessToken: "anything", maxRetries: 0, ...options });
const curl = async (path) => await (await fetch(url + path)).text();

for (const version of [1, 2, 3]) {
  const kv = await open("", { supportedVersions: [version] });
  const ok = await kv.set(["version", version], version);
  is(`version ${version} writes`, ok.ok, true);
  is(`version ${version} reads`, (await kv.get(["version", version])).value, version);
  kv.close();
}
await throws("no version", () => open("", { supportedVersions: [9] }), "negotiate");

const kv = await open();
const get = async (key) => (await kv.get(key)).value;
const absent = await kv.get(["absent"]);
is("an absent key", absent, { key: ["absent"], value: null, versionstamp: null });
await kv.set(["b"], "behind");
is("absent, with a key behind it", (await kv.get(["a"])).value, null);

// --- values, through v8.serialize
const cycle = { name: "cycle" };
cycle.self = cycle;
const values = [
  ["null", null], ["undefined", undefined], ["true", true], ["int", 42], ["float", -1.5], ["minus zero", -0], ["NaN", NaN],
  ["bigint", 2n ** 80n], ["negative bigint", -5n], ["string", "hé"], ["two bytes", "日本"], ["object", { a: { b: [1] } }],
  ["array", [1, "x", null]], ["Date", new Date(86400000)], ["RegExp", /x/gs], ["Map", new Map([[1, { a: 1 }]])],
  ["Set", new Set(["a"])], ["Uint8Array", new Uint8Array([1, 2])], ["Float64Array", new Float64Array([0.5])],
  ["BigInt64Array", new BigInt64Array([-1n])], ["cycle", cycle], ["KvU64", new KvU64(9n)], ["boxed", Object(5)],
];
for (const [name, value] of values) {
  await kv.set(["values", name], value);
  is(name, await get(["values", name]), value);
}
const error = new TypeError("boom");
await kv.set(["error"], error);
is("an Error", [(await get(["error"])).name, (await get(["error"])).message], ["TypeError", "boom"]);
is("an Error for curl", JSON.parse(await curl("/v1/kv/error")).$error.message, "boom");
is("a Map for curl", await curl("/v1/kv/values/Map"), '{"$map":[[1,{"a":1}]]}');
is("Node's own typed arrays for curl", await curl("/v1/kv/values/Float64Array"), '{"$typed":"Float64Array","bytes":"AAAAAAAA4D8="}');
is("a cycle for curl", await curl("/v1/kv/values/cycle"), '{"name":"cycle","self":{"$ref":0}}');
await fetch(`${url}/v1/kv/from/json`, { method: "PUT", headers: { "content-type": "application/json" }, body: '{"x":[1,{"y":"日"}]}' });
is("a document", await get(["from", "json"]), { x: [1, { y: "日" }] });
await fetch(`${url}/v1/kv/from/v8`, { method: "PUT", headers: { "content-type": "application/json" }, body: '{"$v8":{"$set":[1,{"$ref":0}]}}' });
const set = await get(["from", "v8"]);
is("a value written as JSON", [set.has(1), set.has(set)], [true, true]);

// --- key parts and order
const parts = [new Uint8Array([0, 1]), new Uint8Array([255]), "", "a", "a\0b", "é", -5n, 0n, 300n, -1.5, 0, 2.5, false, true];
for (const part of [...parts].reverse()) await kv.set(["order", part], 1);
is("order of parts", (await all(kv.list({ prefix: ["order"] }))).map((entry) => entry.key[1]), parts);

// --- lists
for (let i = 0; i < 120; i++) await kv.set(["list", i], i);
const upTo = (from, to) => Array.from({ length: to - from }, (_, i) => from + i);
const numbers = async (selector, options) => (await all(kv.list(selector, options))).map((entry) => entry.value);
is("prefix", await numbers({ prefix: ["list"] }), upTo(0, 120));
is("batches", await numbers({ prefix: ["list"] }, { batchSize: 9 }), upTo(0, 120));
is("reverse and limit", await numbers({ prefix: ["list"] }, { reverse: true, limit: 3 }), [119, 118, 117]);
is("start and end", await numbers({ start: ["list", 5], end: ["list", 8] }), [5, 6, 7]);
const page = kv.list({ prefix: ["list"] }, { limit: 50 });
is("a page", (await all(page)).length, 50);
is("behind its cursor", await numbers({ prefix: ["list"] }, { cursor: page.cursor, limit: 2 }), [50, 51]);
is("getMany", (await kv.getMany([["list", 1], ["list", 999], ["list", 0]])).map((entry) => entry.value), [1, null, 0]);

// --- atomic
const { versionstamp } = await kv.set(["check"], 1);
is("a check that holds", (await kv.atomic().check({ key: ["check"], versionstamp }).set(["check"], 2).commit()).ok, true);
is("a check that fails", (await kv.atomic().check({ key: ["check"], versionstamp }).set(["check"], 3).commit()).ok, false);
is("nothing was written", await get(["check"]), 2);
await kv.atomic().sum(["sum"], 5n).sum(["sum"], 2n).max(["sum"], 9n).min(["sum"], 8n).commit();
is("sum, max, min", (await get(["sum"])).value, 8n);
await kv.set(["text"], "text");
await throws("sum on text", () => kv.atomic().sum(["text"], 1n).commit(), "Failed to perform 'sum' mutation on a non-U64 value in the database");
await kv.delete(["check"]);
is("deleted", await get(["check"]), null);
await kv.set(["gone"], 1, { expireIn: 1 });
for (let i = 0; i < 200 && (await get(["gone"])) !== null; i++) await new Promise((done) => setTimeout(done, 5));
is("expired", await get(["gone"]), null);
await Promise.all(upTo(0, 100).map(() => kv.atomic().sum(["race"], 1n).commit()));
is("100 sums at once", (await get(["race"])).value, 100n);

// --- queues
is("enqueue", (await kv.enqueue({ task: 1 })).ok, true);
is("enqueue in a commit", (await kv.atomic().set(["queued"], 1).enqueue("later", { delay: 60_000 }).commit()).ok, true);
const peeked = JSON.parse(await curl("/v1/queues/kv-connect/peek"));
is("a message for others", peeked.messages[0].payload, { $v8: { task: 1 } });

// --- watch
await kv.set(["w", 1], "one"); // this client keeps a first frame of absent keys to itself
const watching = kv.watch([["w", 1], ["w", 2]]).getReader();
const told = async () => (await watching.read()).value.map((entry) => entry.value);
is("the first tells all", await told(), ["one", null]);
await kv.set(["w", 2], "two");
is("a change", await told(), ["one", "two"]);
await kv.set(["w", 1], { one: 1 });
is("another", await told(), [{ one: 1 }, "two"]);
await watching.cancel();

// --- limits, where the client does not look first
await throws("11 keys", () => kv.getMany(upTo(0, 11).map((i) => ["many", i])), "range");
await throws("a large value", () => kv.set(["large"], "x".repeat(70_000)), "alue");

// --- a connection that ends in the middle of a message
const address = new URL(url);
await new Promise((done) => {
  const socket = connect(address.port, address.hostname, () => {
    socket.write("POST /kv-connect/0/atomic_write HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\nhalf");
    socket.end();
  });
  socket.on("close", done).on("error", done).resume();
});
is("the server is there", await get(["text"]), "text");
is("members of the metadata", Object.keys(await (await fetch(url, { method: "POST", body: '{"supportedVersions":[3]}' })).json()).sort(), [
  "databaseId", "endpoints", "expiresAt", "token", "version",
]);

const fruit = await open("/kv-connect/fr%C3%BCit");
await fruit.set(["a"], "fruit");
is("another database", [(await fruit.get(["a"])).value, await get(["a"])], ["fruit", null]);
fruit.close();
kv.close();
console.log(`${checks} checks`);
