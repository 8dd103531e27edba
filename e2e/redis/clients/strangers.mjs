// ioredis and node-redis away from the beaten path: automatic pipelines, prefixes, reconnecting, client-side caching.
import assert from "node:assert/strict";
import Redis from "ioredis";
import { createClient, createClientPool, BasicClientSideCache } from "redis";

const [host, port] = process.env.ADDRESS.split(":");
const url = `redis://${host}:${port}`;
let checks = 0;
const is = (actual, expected) => {
  checks += 1;
  assert.deepEqual(actual, expected);
};

// ioredis: everything of one turn of the event loop goes as one pipeline; keys get a prefix.
const auto = new Redis({ host, port: Number(port), enableAutoPipelining: true, keyPrefix: "app:", lazyConnect: true, enableReadyCheck: true });
await auto.connect();
is(auto.status, "ready");
is((await Promise.all(Array.from({ length: 500 }, () => auto.incr("n")))).at(-1), 500);
const plain = new Redis(url);
is(await plain.get("app:n"), "500");
is(await auto.multi().set("a", "1").sadd("s", "x", "y").smembers("s").exec().then((all) => all.map(([error]) => error)), [null, null, null]);
is(await plain.exists("app:a", "app:s"), 2);
is(await auto.sunion("s", "nothing").then((all) => all.sort()), ["x", "y"]);

// A connection that is lost comes back, with its database, its subscriptions and what waited to be sent.
const lost = new Redis({ host, port: Number(port), db: 4, retryStrategy: () => 5 });
const heard = new Redis({ host, port: Number(port), retryStrategy: () => 5 });
await lost.set("before", "1");
await heard.subscribe("reconnect");
const message = new Promise((resolve) => heard.on("message", (_, text) => resolve(text)));
for (const client of [lost, heard]) {
  const closed = new Promise((resolve) => client.once("close", resolve));
  const id = await (client === lost ? client.client("ID") : plain.client("LIST").then((list) => /id=(\d+).*sub=1/.exec(list)[1]));
  await plain.client("KILL", "ID", id);
  await closed;
}
is(await lost.get("before"), "1");
while ((await plain.publish("reconnect", "again")) === 0) await new Promise((resolve) => setTimeout(resolve, 5));
is(await message, "again");

// node-redis, both versions of the protocol.
for (const RESP of [2, 3]) {
  const client = await createClient({ url: `${url}/2`, RESP, name: "stranger" }).connect();
  await client.flushDb();
  is(await client.set("k", "v", { EX: 100 }), "OK");
  is(await client.get("k"), "v");
  is(await client.mGet(["k", "nothing"]), ["v", null]);
  is(await client.hSet("hash", { name: "Ada", age: "36" }), 2);
  is({ ...(await client.hGetAll("hash")) }, { name: "Ada", age: "36" });
  await client.zAdd("zset", [{ score: 1, value: "one" }, { score: 2.5, value: "two" }]);
  is(await client.zRangeWithScores("zset", 0, -1), [{ value: "one", score: 1 }, { value: "two", score: 2.5 }]);
  is(await client.multi().incr("n").incr("n").get("k").exec(), [1, 2, "v"]);
  await assert.rejects(client.multi().incr("k").incr("n").exec());
  is(await Promise.all(Array.from({ length: 300 }, (_, n) => client.rPush("list", `${n}`))).then((all) => all.at(-1)), 300);
  const found = [];
  for await (const keys of client.scanIterator({ COUNT: 2 })) found.push(...keys);
  is(found.sort(), ["hash", "k", "list", "n", "zset"]);
  is(await client.clientGetName(), "stranger");
  is((await client.clientInfo()).db, 2);
  const listener = await client.duplicate().connect();
  const got = new Promise((resolve) => listener.pSubscribe("ne*", (text, channel) => resolve([text, channel])).then(() => client.publish("news", "hello")));
  is(await got, ["hello", "news"]);
  await client.watch("k");
  await client.duplicate().connect().then(async (other) => (await other.set("k", "changed"), other.close()));
  await assert.rejects(client.multi().set("k", "lost").exec());
  checks += 2;
  listener.destroy();
  client.destroy();
}

// Client-side caching of node-redis, and its pool.
const cache = new BasicClientSideCache({ ttl: 0, maxEntries: 100 });
const cached = await createClient({ url, RESP: 3, clientSideCache: cache }).connect();
await plain.set("cached", "1");
is([await cached.get("cached"), await cached.get("cached")], ["1", "1"]);
is(cache.stats().hitCount, 1);
await plain.set("cached", "2");
while ((await cached.get("cached")) !== "2") await new Promise((resolve) => setTimeout(resolve, 2));
is(await cached.get("cached"), "2");
const pool = await createClientPool({ url }, { minimum: 1, maximum: 5 }).connect();
await plain.del("pooled");
await Promise.all(Array.from({ length: 200 }, () => pool.incr("pooled")));
is(await pool.get("pooled"), "200");

console.log(`${checks} checks`);
process.exit(0);
