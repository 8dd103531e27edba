// ioredis as its users use it: pipelines, transactions, pub/sub, blocking, scan streams.
import assert from "node:assert/strict";
import Redis from "ioredis";

const [host, port] = process.env.ADDRESS.split(":");
const connect = (options = {}) => new Redis({ host, port: Number(port), ...options });
let checks = 0;
const is = (actual, expected) => {
  checks += 1;
  assert.deepEqual(actual, expected);
};

const redis = connect();
await redis.flushall();
is(await redis.set("k", "v", "EX", 100), "OK");
is(await redis.get("k"), "v");
is(await redis.getBuffer("k"), Buffer.from("v"));
is(await redis.mget("k", "nothing"), ["v", null]);
is(await redis.hset("hash", { name: "Ada", age: 36 }), 2);
is(await redis.hgetall("hash"), { name: "Ada", age: "36" });
is(await redis.zadd("zset", 1, "one", 2, "two"), 2);
is(await redis.zrange("zset", 0, -1, "WITHSCORES"), ["one", "1", "two", "2"]);
is(await redis.sadd("set", ["x", "y"]), 2);
is((await redis.smembers("set")).sort(), ["x", "y"]);

const pipeline = redis.pipeline();
for (let number = 0; number < 300; number += 1) pipeline.incr("n");
const replies = await pipeline.exec();
is(replies.at(-1), [null, 300]);
is(await redis.multi().set("t", "1").incr("t").exec(), [[null, "OK"], [null, 2]]);
is(await redis.multi().set("t", "x").incr("t").exec().then((all) => all[1][0].message),
  "ERR value is not an integer or out of range");

const keys = new Set();
for (let number = 0; number < 50; number += 1) await redis.set(`scan:${number}`, number);
for await (const page of redis.scanStream({ match: "scan:*", count: 7 })) page.forEach((key) => keys.add(key));
is(keys.size, 50);

const listener = connect();
const heard = [];
const two = new Promise((resolve) => {
  listener.on("message", (channel, message) => heard.push([channel, message]) === 2 && resolve());
});
is(await listener.subscribe("news", "sport"), 2);
is(await redis.publish("news", "hello"), 1);
is(await redis.publish("sport", "goal"), 1);
await two;
is(heard, [["news", "hello"], ["sport", "goal"]]);

const waiting = connect();
const popped = waiting.blpop("queue", 20);
while (!/blocked_clients:1/.test(await redis.info("clients"))) await null;
is(await redis.rpush("queue", "job"), 1);
is(await popped, ["queue", "job"]);

await assert.rejects(redis.lpush("k", "x"), /^ReplyError: WRONGTYPE/);
checks += 1;
is(await connect({ db: 3, lazyConnect: false }).get("k"), null);
is((await redis.info()).includes("redis_version:7."), true);
console.log(`${checks} checks`);
process.exit(0);
