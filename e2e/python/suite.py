"""`denokv` from PyPI against a fresh server: ADDRESS is its host and port. Prints the number of checks."""

import asyncio
import json
import os
import urllib.request
from datetime import datetime, timedelta, timezone

from denokv import KvKey, KvU64, open_kv
from denokv._kv_writes import Set
from v8serialize.jstypes import JSMap, JSObject, JSUndefined

URL = f"http://{os.environ['ADDRESS']}"
checks = 0


def check(what, actual, expected):
    global checks
    checks += 1
    if actual != expected:
        raise SystemExit(f"FAILED {what}\n  expected: {expected!r}\n  actual:   {actual!r}")


async def refused(what, run, text):
    global checks
    checks += 1
    try:
        await run()
    except Exception as error:  # noqa: BLE001
        said = f"{error!r} {error} {error.__cause__!r} {error.__cause__}"
        if text not in said:
            raise SystemExit(f"FAILED {what}\n  expected: {text}\n  actual:   {said}")
        return
    raise SystemExit(f"FAILED {what}: nothing was raised")


def curl(path):
    with urllib.request.urlopen(URL + path) as reply:
        return reply.read().decode()


def put(path, body):
    request = urllib.request.Request(URL + path, body.encode(), {"content-type": "application/json"}, method="PUT")
    urllib.request.urlopen(request).close()


async def get(kv, *key):
    _, entry = await kv.get(key)
    return entry.value if entry is not None else None


async def main():
    async with await open_kv(URL, access_token="anything") as kv:
        check("an absent key", await get(kv, "absent"), None)
        stamp = await kv.set(("a",), "one")
        _, entry = await kv.get(("a",))
        check("get", (entry.value, entry.versionstamp), ("one", stamp.versionstamp if hasattr(stamp, "versionstamp") else stamp))
        check("for curl", curl("/get/a").strip().endswith('"one"'), True)

        moment = datetime(2024, 1, 31)
        for name, value in [
            ("none", None), ("true", True), ("int", 42), ("float", 1.5), ("big", 2**80), ("negative", -(2**80)), ("text", "hé"),
            ("wide", "日本"), ("bytes", b"\x01\x02"), ("u64", KvU64(7)), ("undefined", JSUndefined), ("date", moment),
            ("long", "x" * 60_000),
        ]:
            await kv.set(("values", name), value)
            check(name, await get(kv, "values", name), value)
        await kv.set(("values", "dict"), {"a": 1, "b": [1, "x"]})
        got = await get(kv, "values", "dict")
        check("dict", (got["a"], [got["b"][0], got["b"][1]]), (1, [1, "x"]))
        check("dict for curl", json.loads(curl("/v1/kv/values/dict")) in (
            {"$map": [["a", 1], ["b", [1, "x"]]]}, {"a": 1, "b": [1, "x"]}), True)
        await kv.set(("values", "object"), JSObject(a=1))
        check("object for curl", curl("/v1/kv/values/object"), '{"a":1}')
        await kv.set(("values", "map"), JSMap([("k", 1)]))
        check("map for curl", curl("/v1/kv/values/map"), '{"$map":[["k",1]]}')
        await kv.set(("values", "set"), {1, 2})
        check("set", set(await get(kv, "values", "set")), {1, 2})
        check("big for curl", curl("/v1/kv/values/big"), '{"$bigint":"%d"}' % 2**80)

        put("/v1/kv/http/json", '{"x": [1, {"y": "日"}]}')
        got = await get(kv, "http", "json")
        check("a document", got["x"][1]["y"], "日")
        put("/v1/kv/http/int", "42")
        check("an int", await get(kv, "http", "int"), 42)
        put("/v1/kv/http/text", '"日本 text"')
        check("a text", await get(kv, "http", "text"), "日本 text")
        put("/v1/kv/http/u64", '{"$u64": "5"}')
        check("a u64", await get(kv, "http", "u64"), KvU64(5))

        parts = [b"\x00\x01", b"\xff", "", "a", "a\0b", "é", -5, 0, 300, -1.5, 0.0, 2.5, False, True]
        for part in reversed(parts):
            await kv.set(("order", part), 1)
        order = [entry.key[1] async for _, entry in aiter_entries(kv.list(prefix=("order",)))]
        check("order of parts", order, parts)

        for index in range(120):
            await kv.set(KvKey("list", index), index)
        values = [entry.value async for _, entry in aiter_entries(kv.list(prefix=("list",)))]
        check("a list", values, list(range(120)))
        values = [entry.value async for _, entry in aiter_entries(kv.list(prefix=("list",), limit=2, reverse=True))]
        check("reverse and limit", values, [119, 118])
        values = [entry.value async for _, entry in aiter_entries(kv.list(start=KvKey("list", 5), end=KvKey("list", 8)))]
        check("start and end", values, [5, 6, 7])
        last = None
        async for entry in kv.list(prefix=("list",), limit=50):
            last = entry
        values = [entry.value async for _, entry in aiter_entries(kv.list(prefix=("list",), cursor=last.cursor, limit=2))]
        check("behind a cursor", values, [50, 51])

        _, entry = await kv.get(("a",))
        written = await kv.write(kv.atomic().check(entry).set(("a",), "two"))
        check("a check that holds", await get(kv, "a"), "two")
        conflicted = await kv.write(kv.atomic().check_key_not_set(("none",)).check(entry).set(("a",), "three"))
        check("a check that fails", conflicted.ok, False)
        check("the failed check is named", [str(key) for key in conflicted.conflicts], [str(entry.key)])
        check("nothing was written", await get(kv, "a"), "two")
        check("a write is ok", written.ok, True)

        await kv.sum(("sum",), KvU64(5))
        await kv.sum(("sum",), KvU64(6))
        check("sum of u64", await get(kv, "sum"), KvU64(11))
        await kv.min(("sum",), KvU64(3))
        check("min", await get(kv, "sum"), KvU64(3))
        await kv.max(("sum",), KvU64(9))
        check("max", await get(kv, "sum"), KvU64(9))
        await kv.sum_bigint(("big",), 2**70)
        await kv.sum_bigint(("big",), 1)
        check("sum of bigints", await get(kv, "big"), 2**70 + 1)
        await kv.sum_float(("float",), 1.5)
        await kv.sum_float(("float",), 2.0)
        check("sum of numbers", await get(kv, "float"), 3.5)
        await kv.sum_float(("float",), 9.0, clamp_over=5.0)
        check("clamped", await get(kv, "float"), 5.0)
        await refused("over the limit", lambda: kv.sum_float(("float",), 9.0, abort_over=6.0), "would exceed its range limit")
        await refused("under the limit", lambda: kv.sum_bigint(("big",), -(2**71), abort_under=0), "would exceed its range limit")
        await refused("bigint and number", lambda: kv.sum_bigint(("float",), 1), "Cannot sum Number with BigInt")
        await refused("sum on text", lambda: kv.sum(("a",), KvU64(1)), "non-U64 value in the database")
        put("/v1/kv/counter", "41")
        await kv.sum_bigint(("counter",), 1)
        check("an int of curl's", curl("/v1/kv/counter"), "42")

        await kv.mutate(Set(("gone",), 1, expire_at=datetime.now(timezone.utc) - timedelta(days=1)))
        check("expired", await get(kv, "gone"), None)
        await kv.mutate(Set(("stays",), 1, expire_at=datetime.now(timezone.utc) + timedelta(days=1)))
        check("not yet", await get(kv, "stays"), 1)
        await kv.delete(("stays",))
        check("deleted", await get(kv, "stays"), None)

        await asyncio.gather(*(kv.sum(("race",), KvU64(1)) for _ in range(100)))
        check("100 sums at once", await get(kv, "race"), KvU64(100))

        await refused("a large value", lambda: kv.set(("large",), "x" * 70_000), "value size limit")
        await refused("a long key", lambda: kv.set(("x" * 3_000,), 1), "")
        await refused("11 keys", lambda: kv.get(*[("m", i) for i in range(11)]), "Too many read ranges")

    async with await open_kv(URL + "/kv-connect/fruit", access_token="anything") as fruit:
        check("another database", await get(fruit, "a"), None)
        await fruit.set(("a",), "fruit")
        check("and its own", await get(fruit, "a"), "fruit")
    check("for curl", curl("/v1/kv/a?db=fruit"), '"fruit"')
    print(f"{checks} checks")


async def aiter_entries(entries):
    async for entry in entries:
        yield None, entry


asyncio.run(main())
