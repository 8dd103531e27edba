"""redis-py away from the beaten path: asyncio, pools, client-side caching, listening threads, MONITOR, locks, every INFO
section as its parser reads it."""

import asyncio
import os
import threading

import redis
import redis.asyncio
import redis.connection
from redis.cache import CacheConfig

from checks import check, report

HOST, PORT = os.environ["ADDRESS"].rsplit(":", 1)
PORT = int(PORT)

# redis-py caches with Redis 7.4 and later only, though 7.0 tells of changes in the same way.
redis.connection.CacheProxyConnection.MIN_ALLOWED_VERSION = "7.0.0"


def caching():
    """Client-side caching over CLIENT TRACKING: what is known is not asked again, what changed is."""
    known = redis.Redis(host=HOST, port=PORT, protocol=3, decode_responses=True, cache_config=CacheConfig())
    other = redis.Redis(host=HOST, port=PORT, decode_responses=True)
    other.set("cached", "1")
    other.hset("cached:hash", "f", "1")
    check("a first read", "1", known.get("cached"))
    check("a cached read", "1", known.get("cached"))
    check("in the cache", True, known.get_cache().size >= 1)
    check("a hash", "1", known.hget("cached:hash", "f"))
    other.set("cached", "2")
    other.hset("cached:hash", "f", "2")
    other.get("cached")
    deadline = threading.Event()
    for _ in range(500):
        if known.get("cached") == "2" and known.hget("cached:hash", "f") == "2":
            break
        deadline.wait(0.01)
    check("a change was told", ("2", "2"), (known.get("cached"), known.hget("cached:hash", "f")))
    known.close()


def pools():
    """Many threads on one pool; a blocking pool; a URL with a database."""
    pool = redis.BlockingConnectionPool(host=HOST, port=PORT, max_connections=4, timeout=20)
    client = redis.Redis(connection_pool=pool)
    client.delete("pooled")
    threads = [threading.Thread(target=lambda: [client.incr("pooled") for _ in range(100)]) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    check("a pool", b"1200", client.get("pooled"))
    check("a URL", True, redis.from_url(f"redis://default:secret@{HOST}:{PORT}/7?protocol=3").set("url", "1"))
    check("its database", 1, redis.Redis(host=HOST, port=PORT, db=7).delete("url"))
    named = redis.Redis(host=HOST, port=PORT, client_name="stranger", decode_responses=True)
    check("a name", "stranger", named.client_getname())
    check("its library", "redis-py", named.client_info()["lib-name"].split("(")[0])
    found = [client for client in named.client_list() if client["name"] == "stranger"]
    check("CLIENT LIST", 1, len(found))


def listening():
    client = redis.Redis(host=HOST, port=PORT, decode_responses=True)
    got, both = [], threading.Event()
    pubsub = client.pubsub()

    def hear(message):
        got.append(message["data"])
        if len(got) == 2:
            both.set()

    pubsub.subscribe(**{"thread": hear})
    pubsub.psubscribe(**{"thr*": hear})
    worker = pubsub.run_in_thread(sleep_time=0.01)
    while client.publish("thread", "x") < 2:
        pass
    check("a thread that listens", True, both.wait(20))
    worker.stop()
    worker.join()
    with client.monitor() as monitor:
        client.set("monitored", "1")
        seen = [monitor.next_command() for _ in range(1)]
        while "monitored" not in seen[-1]["command"]:
            seen.append(monitor.next_command())
        check("MONITOR", ("SET monitored 1", 0), (seen[-1]["command"], seen[-1]["db"]))


def introspection():
    client = redis.Redis(host=HOST, port=PORT, decode_responses=True)
    client.config_resetstat()
    client.get("k")
    try:
        client.lpush("k2", "x")
        client.get("k2")
    except redis.ResponseError:
        pass
    client.delete("k2")
    info = client.info("everything")
    for field in ("redis_version", "uptime_in_seconds", "connected_clients", "used_memory", "used_memory_rss", "maxmemory",
                  "total_commands_processed", "total_connections_received", "loading", "role", "used_cpu_user", "blocked_clients",
                  "rdb_bgsave_in_progress", "aof_enabled", "expired_keys", "instantaneous_ops_per_sec",
                  "total_net_input_bytes", "total_net_output_bytes", "mem_fragmentation_ratio", "total_error_replies"):
        check(f"INFO has {field}", True, field in info)
    check("loading", 0, info["loading"])
    stats = client.info("commandstats")
    check("calls", (2, 1), (stats["cmdstat_get"]["calls"], stats["cmdstat_get"]["failed_calls"]))
    check("errors", 1, client.info("errorstats")["errorstat_WRONGTYPE"]["count"])
    docs = client.execute_command("COMMAND DOCS", "get")
    check("COMMAND DOCS", "string", docs["get"]["group"] if isinstance(docs, dict) else docs[1][docs[1].index("group") + 1])
    check("COMMAND", True, client.command()["get"]["arity"] == 2)
    client.config_set("slowlog-log-slower-than", 0)
    client.get("slow")
    check("SLOWLOG", True, any("GET slow" in str(entry["command"]) for entry in client.slowlog_get(50)))
    client.config_set("slowlog-log-slower-than", 10000)
    check("MEMORY USAGE", True, client.set("k", "v") and client.memory_usage("k") > 0)


def locks():
    """redis-py's lock takes by SET NX; it gives back by a script, which is not there yet: it then runs out by itself."""
    client = redis.Redis(host=HOST, port=PORT)
    lock = client.lock("a lock", timeout=0.05)
    check("a lock", True, lock.acquire(blocking=False))
    try:
        lock.release()
    except redis.ResponseError as error:
        check("giving a lock back", True, "unknown command" in str(error).lower())
    check("a lock that ran out", True, client.lock("a lock", timeout=5).acquire(blocking=True, blocking_timeout=20))


async def asynchronous():
    client = redis.asyncio.Redis(host=HOST, port=PORT, decode_responses=True, protocol=3)
    await client.delete("async", "async:queue")
    check("many at once", list(range(1, 81)), sorted(await asyncio.gather(*(client.incr("async") for _ in range(80)))))
    async with client.pipeline(transaction=True) as pipe:
        check("a transaction", [True, "1"], await pipe.set("t", "1").get("t").execute())
    async with client.pipeline(transaction=False) as pipe:
        for number in range(1000):
            pipe.rpush("async:list", number)
        check("a pipeline", 1000, (await pipe.execute())[-1])
    check("scan_iter", {"async", "async:list"}, {key async for key in client.scan_iter("async*")})

    async def wait():
        return await client.blpop(["async:queue"], timeout=20)

    waiting = asyncio.create_task(wait())
    while (await client.info("clients"))["blocked_clients"] == 0:
        await asyncio.sleep(0)
    await client.rpush("async:queue", "job")
    check("blpop", ["async:queue", "job"], list(await waiting))
    # One that is given up in the middle must not spoil the connection's next reply.
    try:
        await asyncio.wait_for(client.blpop(["async:nothing"], timeout=0), 0.05)
    except (asyncio.TimeoutError, TimeoutError):
        pass
    check("after a cancelled wait", "80", await client.get("async"))
    await client.flushdb()
    await client.aclose()


caching()
pools()
listening()
introspection()
locks()
asyncio.run(asynchronous())
report()
