// One Deno client: `kv.set` and `kv.get`, one after the other and 32 at once. Arguments: URL, seconds for each.
// Prints {"set_1": operations a second, "get_1": .., "set_32": .., "get_32": ..}.
const [url, seconds] = [Deno.args[0], Number(Deno.args[1] ?? 3)];
const KEYS = 10_000;
const value = { name: "x".repeat(80), count: 1, tags: ["a", "b"] };
const kv = await Deno.openKv(url);
const key = () => ["bench", Math.floor(Math.random() * KEYS)];

async function rate(workers: number, operation: () => Promise<unknown>): Promise<number> {
  let done = 0;
  const begin = performance.now();
  const end = begin + seconds * 1000;
  await Promise.all(Array.from({ length: workers }, async () => {
    while (performance.now() < end) {
      await operation();
      done++;
    }
  }));
  return Math.round(done / ((performance.now() - begin) / 1000));
}

for (let at = 0; at < KEYS; at += 500) {
  let atomic = kv.atomic();
  for (let i = at; i < at + 500; i++) atomic = atomic.set(["bench", i], value);
  await atomic.commit();
}
const set = () => kv.set(key(), value);
const get = () => kv.get(key());
await rate(8, get);
const result: Record<string, number> = {};
result.set_1 = await rate(1, set);
result.get_1 = await rate(1, get);
result.set_32 = await rate(32, set);
result.get_32 = await rate(32, get);
kv.close();
console.log(JSON.stringify(result));
