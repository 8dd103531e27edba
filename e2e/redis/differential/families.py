"""The command templates of each family, with weights. See grammar.py for the notation.

Names in small letters after `!` are steps of several commands (steps.py): what is random in Redis itself, cursors,
blocking, expiry, and the comparison of the whole keyspace.
"""

STRINGS = """
12 SET k v
6 SET k v [NX|XX] [GET] [EX t|PX pt|EXAT at|PXAT pat|KEEPTTL]
2 SET k v [EX t] [NX] [XX] [GET] [KEEPTTL] [PX pt]
10 GET k
4 GETSET k v
5 GETDEL k
6 GETEX k [EX t|PX pt|EXAT at|PXAT pat|PERSIST]
5 SETNX k v
3 SETEX k t v
3 PSETEX k pt v
6 MSET {k v}
6 MGET {k}
5 MSETNX {k v}
8 APPEND k v
5 STRLEN k
7 GETRANGE k x x
3 SUBSTR k x x
7 SETRANGE k off v
8 INCR k
6 DECR k
7 INCRBY k i
6 DECRBY k i
8 INCRBYFLOAT k f
6 LCS k k [LEN] [IDX] [MINMATCHLEN i] [WITHMATCHLEN]
3 SET k i
3 SET k f
2 DEL {k}
1 RPUSH k v
1 HSET k m v
2 TYPE k
2 PTTL k
1 !audit
"""

BITMAPS = """
14 SETBIT k boff bit
8 GETBIT k boff
8 BITCOUNT k [x x [BYTE|BIT]]
1 BITCOUNT k x
9 BITPOS k bit [x [x [BYTE|BIT]]]
8 BITOP AND|OR|XOR|NOT k {k}
1 BITOP junk k k
1 BITOP NOT k k k
12 BITFIELD k {GET bft bfo|SET bft bfo i|INCRBY bft bfo i|OVERFLOW WRAP|OVERFLOW SAT|OVERFLOW FAIL}
1 BITFIELD k [OVERFLOW junk] [SET bft bfo]
4 BITFIELD_RO k {GET bft bfo}
1 BITFIELD_RO k SET bft bfo i
5 SET k v
3 APPEND k v
2 SET k i
3 GET k
2 STRLEN k
2 DEL {k}
1 RPUSH k v
1 INCR k
1 !audit
"""

KEYS = """
6 SET k v
2 SET k v EX t
2 RPUSH k v
2 HSET k m v
2 SADD k m
2 ZADD k s m
6 DEL {k}
4 UNLINK {k}
6 EXISTS {k}
6 TYPE k
6 RENAME k k
5 RENAMENX k k
6 COPY k k [DB sdb] [REPLACE]
5 KEYS g
3 DBSIZE
2 !random_key
3 !scan
1 SCAN junk
1 SCAN 0 [COUNT n] [junk]
5 EXPIRE k t [NX|XX|GT|LT]
1 EXPIRE k t [NX] [XX] [GT] [LT]
5 PEXPIRE k pt [NX|XX|GT|LT]
5 EXPIREAT k at [NX|XX|GT|LT]
5 PEXPIREAT k pat [NX|XX|GT|LT]
6 TTL k
6 PTTL k
5 EXPIRETIME k
5 PEXPIRETIME k
5 PERSIST k
4 TOUCH {k}
4 OBJECT ENCODING k
1 OBJECT REFCOUNT k
1 OBJECT IDLETIME k
1 OBJECT FREQ k
1 OBJECT HELP
1 OBJECT junk k
1 WAIT 0 0
1 WAIT i
4 MOVE k sdb
2 SWAPDB sdb sdb
4 SELECT sdb
3 SELECT 0
1 FLUSHDB [ASYNC|SYNC]
1 FLUSHALL [ASYNC|SYNC|junk]
2 GET k
1 !expire
1 !audit
"""

LISTS = """
10 LPUSH k {v}
10 RPUSH k {v}
1 RPUSH k +{mm}
1 LPUSH k v v v v v v v v v v
4 LPUSHX k {v}
4 RPUSHX k {v}
7 LPOP k [n]
7 RPOP k [n]
6 LLEN k
9 LRANGE k x x
7 LINDEX k x
6 LSET k x v
7 LINSERT k BEFORE|AFTER|junk v v
7 LREM k i v
5 LTRIM k x x
6 LPOS k v [RANK i] [COUNT n] [MAXLEN n]
5 RPOPLPUSH k k
6 LMOVE k k LEFT|RIGHT|junk LEFT|RIGHT
5 LMPOP #{k} LEFT|RIGHT|junk [COUNT n]
2 LMPOP n {k} LEFT|RIGHT [COUNT n]
3 BLPOP {k} to
3 BRPOP {k} to
2 BRPOPLPUSH k k to
3 BLMOVE k k LEFT|RIGHT LEFT|RIGHT to
3 BLMPOP to #{k} LEFT|RIGHT [COUNT n]
2 DEL {k}
1 SET k v
1 SADD k m
1 EXPIRE k t
1 RENAME k k
2 COPY k k [REPLACE]
1 TYPE k
1 !block
1 !audit
"""

HASHES = """
12 HSET k {m v}
1 HSET k +{mm v}
1 HSET k m v m
4 HMSET k {m v}
5 HSETNX k m v
8 HGET k m
6 HMGET k {m}
6 HGETALL k
4 HKEYS k
4 HVALS k
4 HLEN k
8 HDEL k {m}
5 HEXISTS k m
4 HSTRLEN k m
8 HINCRBY k m i
8 HINCRBYFLOAT k m f
2 HSET k m i
2 HSET k m f
4 !hrandfield
1 HRANDFIELD k n junk
1 HRANDFIELD k -9223372036854775808
1 HRANDFIELD k -9223372036854775807 WITHVALUES
4 !hscan
1 HSCAN k junk
2 DEL {k}
1 SET k v
1 RPUSH k v
1 EXPIRE k t
1 RENAME k k
2 COPY k k [REPLACE]
1 !audit
"""

SETS = """
12 SADD k {m}
1 SADD k +{mm}
2 SADD k {i}
8 SREM k {m}
6 SISMEMBER k m
5 SMISMEMBER k {m}
5 SMEMBERS k
5 SCARD k
6 SMOVE k k m
5 SINTER {k}
5 SUNION {k}
5 SDIFF {k}
5 SINTERSTORE k {k}
5 SUNIONSTORE k {k}
5 SDIFFSTORE k {k}
5 SINTERCARD #{k} [LIMIT n]
2 SINTERCARD n {k} [LIMIT n]
4 !spop
1 SPOP k junk
1 SPOP k -1
1 SPOP k 0
4 !srandmember
1 SRANDMEMBER k -9223372036854775808
4 !sscan
1 SSCAN k junk
2 DEL {k}
1 SET k v
1 HSET k m v
1 EXPIRE k t
2 COPY k k [REPLACE]
1 !audit
"""

ZSETS = """
14 ZADD k {s m}
1 ZADD k +{s mm}
8 ZADD k [NX|XX] [GT|LT] [CH] [INCR] {s m}
2 ZADD k [NX] [XX] [GT] [LT] [CH] s m
2 ZADD k s m s
6 ZINCRBY k s m
6 ZREM k {m}
6 ZSCORE k m
4 ZMSCORE k {m}
4 ZCARD k
5 ZCOUNT k sb sb
8 ZADD lk {0 m}
1 ZADD lk +{0 mm}
1 ZADD lk [NX|XX] [GT|LT] [CH] 0 m
2 ZREM lk {m}
1 ZPOPMIN lk [n]
1 ZUNIONSTORE lk 2 lk lk
1 COPY lk lk [REPLACE]
1 DEL lk
1 SET lk v
4 ZLEXCOUNT lk lb lb
5 ZRANK k m
5 ZREVRANK k m
8 ZRANGE k x x [REV] [WITHSCORES]
5 ZRANGE k sb sb BYSCORE [REV] [LIMIT x x] [WITHSCORES]
5 ZRANGE lk lb lb BYLEX [REV] [LIMIT x x]
1 ZRANGE lk lb lb [BYLEX] [BYSCORE] [REV] [LIMIT x x] [WITHSCORES]
4 ZREVRANGE k x x [WITHSCORES]
5 ZRANGEBYSCORE k sb sb [WITHSCORES] [LIMIT x x]
5 ZREVRANGEBYSCORE k sb sb [WITHSCORES] [LIMIT x x]
4 ZRANGEBYLEX lk lb lb [LIMIT x x]
4 ZREVRANGEBYLEX lk lb lb [LIMIT x x]
4 ZRANGESTORE k k x x [REV]
3 ZRANGESTORE k k sb sb BYSCORE [REV] [LIMIT x x]
3 ZRANGESTORE lk lk lb lb BYLEX [REV] [LIMIT x x]
1 ZRANGESTORE k k x x WITHSCORES
4 ZREMRANGEBYRANK k x x
3 ZREMRANGEBYSCORE k sb sb
3 ZREMRANGEBYLEX lk lb lb
5 ZPOPMIN k [n]
5 ZPOPMAX k [n]
5 ZMPOP #{k} MIN|MAX|junk [COUNT n]
2 BZPOPMIN {k} to
2 BZPOPMAX {k} to
2 BZMPOP to #{k} MIN|MAX [COUNT n]
4 ZUNION #{k} [WEIGHTS f f] [AGGREGATE SUM|MIN|MAX] [WITHSCORES]
4 ZUNIONSTORE k 2 k k [WEIGHTS f f] [AGGREGATE SUM|MIN|MAX]
3 ZUNIONSTORE k #{k} [AGGREGATE SUM|MIN|MAX]
4 ZINTER 2 k k [WEIGHTS f f] [AGGREGATE SUM|MIN|MAX] [WITHSCORES]
4 ZINTERSTORE k #{k} [WEIGHTS f] [AGGREGATE SUM|MIN|MAX|junk]
4 ZDIFF #{k} [WITHSCORES]
4 ZDIFFSTORE k #{k}
4 ZINTERCARD #{k} [LIMIT n]
2 ZUNION n {k}
3 !zrandmember
1 ZRANDMEMBER k n junk
1 ZRANDMEMBER k -9223372036854775808
3 !zscan
1 ZSCAN k junk
2 SADD k {m}
2 DEL {k}
1 SET k v
1 EXPIRE k t
2 COPY k k [REPLACE]
1 !audit
"""

CONNECTION = """
6 PING [v]
1 PING v v
5 ECHO v
5 SELECT db
3 HELLO [2|3]
2 HELLO i|junk [AUTH default v] [SETNAME name]
2 HELLO 2|3 SETNAME name
1 HELLO 3 AUTH default
2 AUTH v [v]
1 AUTH default v
5 CLIENT SETNAME name
5 CLIENT GETNAME
2 CLIENT ID
2 CLIENT INFO
2 CLIENT LIST [TYPE NORMAL|TYPE junk|ID 999999|junk]
2 CLIENT NO-EVICT ON|OFF|junk
1 CLIENT UNPAUSE
2 CLIENT REPLY ON|junk
2 CLIENT KILL 127.0.0.1:1
1 CLIENT KILL (ID junk|ID 999999|TYPE junk|ADDR 127.0.0.1:1|SKIPME junk|junk v)
2 CLIENT UNBLOCK 999999 [TIMEOUT|ERROR|junk]
2 CLIENT GETREDIR
2 CLIENT TRACKINGINFO
3 CLIENT TRACKING ON OPTIN [BCAST] [OPTOUT] [NOLOOP] [PREFIX zz1] [REDIRECT 999999|REDIRECT junk|junk]
3 CLIENT TRACKING ON BCAST PREFIX zz1|zz12|yy [PREFIX zz12|PREFIX yy|PREFIX xx] [NOLOOP] [OPTIN]
2 CLIENT TRACKING OFF
1 CLIENT TRACKING junk
2 CLIENT CACHING NO|junk
1 CLIENT PAUSE junk
1 CLIENT HELP
1 CLIENT junk
1 CLIENT
2 RESET
2 junk
2 junk {v}
2 SET k v
2 GET k
1 COMMAND junk
2 COMMAND COUNT v
2 COMMAND GETKEYS (GET k|MSET k v k v|ZUNION 2 k k|ZUNIONSTORE k 2 k k|BITOP AND k k k|LMPOP 2 k k LEFT|PING|junk v|GET|SORT k BY g STORE k|SET k v)
1 COMMAND GETKEYSANDFLAGS (GET k|SET k v|LMOVE k k LEFT LEFT|COPY k k|MSET k v)
1 COMMAND LIST FILTERBY junk v
2 COMMAND INFO {GET|SET|junk|ZADD|LMPOP|XREAD|CLIENT|PING|BITFIELD|EXPIRE|COPY|SUBSCRIBE|ECHO|LCS|RENAME}
1 COMMAND DOCS junk
1 CONFIG GET junk
1 CONFIG GET slowlog-max-len|maxmemory-policy|hash-max-listpack-entries|proto-max-bulk-len|save|appendonly|databases
1 CONFIG SET slowlog-max-len i
1 CONFIG SET slowlog-log-slower-than 0|-1|3600000000|-2|junk
1 CONFIG SET notify-keyspace-events KEA|Kx|E$|junk|AKE|gxE
1 CONFIG GET notify-keyspace-events
1 CONFIG SET junk v
1 CONFIG SET
1 CONFIG RESETSTAT
1 CONFIG junk
1 SLOWLOG (GET 0|RESET|GET junk|junk|GET -2)
1 LATENCY (LATEST|RESET|HISTORY junk|junk|HISTORY command)
1 MEMORY (junk|USAGE|DOCTOR v|USAGE nosuch|USAGE k SAMPLES junk)
1 DBSIZE v
1 TIME v
1 LASTSAVE v
1 SAVE v
1 ROLE
1 READONLY
1 PUBSUB junk
1 !quit
2 !raw
"""

PUBSUB = """
10 SUBSCRIBE {ch}
8 PSUBSCRIBE {cg}
5 UNSUBSCRIBE [{ch}]
5 PUNSUBSCRIBE [{cg}]
14 PUBLISH ch v
3 SSUBSCRIBE {ch}
2 SUNSUBSCRIBE [{ch}]
4 SPUBLISH ch v
4 PUBSUB CHANNELS [cg]
4 PUBSUB NUMSUB [{ch}]
3 PUBSUB NUMPAT
2 PUBSUB SHARDCHANNELS [cg]
2 PUBSUB SHARDNUMSUB [{ch}]
1 PUBSUB junk
1 PUBSUB
3 PING [v]
2 GET k
1 SET k v
2 RESET
1 HELLO 2|3
1 SUBSCRIBE
1 PUBLISH ch
1 ECHO v
"""

NOTIFICATIONS = """
6 CONFIG SET notify-keyspace-events KEA|KA|EA|Eg$|Elz|Kg|KEx|Ksh|KEAm|KEg$lszn|Ez
1 CONFIG GET notify-keyspace-events
"""

# Without SWAPDB: Redis takes it for a change of every watched key; here a key has changed if EXEC finds another version.
TRANSACTIONS = """
10 MULTI
14 EXEC
3 DISCARD
7 WATCH {k}
3 UNWATCH
1 EXEC v
1 MULTI v
2 SELECT sdb
1 SELECT 0
1 junk v
2 GET
1 FLUSHDB
1 RESET
1 !audit
"""

BLOCKING = """
1 !block
"""

FAMILIES = {
    "strings": STRINGS,
    "bitmaps": BITMAPS,
    "keys": KEYS,
    "lists": LISTS,
    "hashes": HASHES,
    "sets": SETS,
    "zsets": ZSETS,
    "connection": CONNECTION,
    "pubsub": PUBSUB,
    "transactions": TRANSACTIONS,
    "notifications": NOTIFICATIONS,
    "blocking": BLOCKING,
}

DATA = ("strings", "bitmaps", "keys", "lists", "hashes", "sets", "zsets")
