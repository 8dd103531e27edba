"""Steps that are more than one command: what is random in Redis itself, cursors, blocking, expiry, raw bytes, and the
comparison of everything there is. Each takes both sides (`pair`) and answers None, or how they differ."""

import select
import time

import resp
from differences import unsigned, without_sign
from compare import same

EXPIRY_MS = 10
EXPIRY_WAIT_S = 0.06
SETTLE_S = 5.0
TURN_S = 0.05
QUIET_S = 0.25
LONG_QUIET_S = 3.0
AUDITED_DATABASES = (b"0", b"1", b"2")


def both(pair, conn, *args):
    """One command on both sides; (redis, orchard, same?)."""
    redis, orchard = pair.call(conn, args)
    return redis, orchard, same(args, redis, orchard, pair.counts)


def differ(what, redis, orchard):
    return (f"in {what}", redis, orchard)


def expect(pair, conn, *args):
    redis, orchard, equal = both(pair, conn, *args)
    return None if equal else differ(b" ".join(args[:6]).decode("latin-1"), redis, orchard)


# --- random choices ---------------------------------------------------------------------------------------------------


def members_of(pair, conn, *args):
    """The (equal) collection before a random choice: its flat payload, or None where the key is of another type."""
    redis, orchard, equal = both(pair, conn, *args)
    if not equal:
        return None, differ(args[0].decode(), redis, orchard)
    if redis[0] == "%":
        return [item for pair_ in redis[1] for item in pair_], None
    return (redis[1] if redis[0] in "*~" else None), None


def chosen(redis, orchard, members, count, width):
    """Same type and number; every choice is a member; distinct where the count is positive."""
    if redis[0] != orchard[0]:
        return False
    if redis[0] not in "*~":
        return (redis[1] is None) == (orchard[1] is None) and (orchard[1] is None or orchard in members[::width])
    left, right = redis[1], orchard[1]
    if len(left) != len(right) or [item[0] for item in left] != [item[0] for item in right]:
        return False
    if right and right[0][0] == "*":  # RESP3: each choice is a pair of its own
        right = [item for pair_ in right for item in pair_[1]]
    known = {repr(members[at]): members[at : at + width] for at in range(0, len(members), width)}
    groups = [right[at : at + width] for at in range(0, len(right), width)]
    if any(known.get(repr(group[0])) != group for group in groups):
        return False
    return count is None or count < 0 or len({repr(group[0]) for group in groups}) == len(groups)


def spop(pair, conn, key, count):
    members, difference = members_of(pair, conn, b"SMEMBERS", key)
    if difference or members is None:
        return difference or expect(pair, conn, b"SPOP", key)
    args = (b"SPOP", key) if count is None else (b"SPOP", key, count)
    redis, orchard = pair.call(conn, args)
    number = None if count is None else int(count)
    if not chosen(redis, orchard, members, number, 1):
        return differ("SPOP", redis, orchard)
    # What was taken is gone, what was not taken is still there; then both get the same set again.
    taken = orchard[1] if orchard[0] in "*~" else ([] if orchard[1] is None else [orchard])
    left = pair.orchard[conn].call(b"SMEMBERS", key)[1]
    if sorted(map(repr, left + taken)) != sorted(map(repr, members)):
        return differ("the set after SPOP", ("*", left), ("*", taken))
    taken = redis[1] if redis[0] in "*~" else ([] if redis[1] is None else [redis])
    remaining = [member[1] for member in members if member not in taken]
    difference = expect(pair, conn, b"EXISTS", key) or expect(pair, conn, b"SCARD", key)
    if not difference:
        pair.call(conn, (b"DEL", key))
        if remaining:
            difference = expect(pair, conn, b"SADD", key, *remaining)
    return difference


def random_choice(pair, conn, fetch, name, key, count, option):
    members, difference = members_of(pair, conn, fetch[0], key, *fetch[1:])
    args = (name, key) + ((count,) if count is not None else ()) + ((option,) if option else ())
    if difference or members is None:
        return difference or expect(pair, conn, *args)
    if members and members[0][0] == "*":
        members = [item for pair_ in members for item in pair_[1]]
    redis, orchard = pair.call(conn, args)
    if name == b"ZRANDMEMBER":
        # Zero has no sign here: see negative-zero in differences.py.
        redis, orchard = without_sign(args, redis), without_sign(args, orchard)
        members = without_sign(fetch[:1] + fetch, ("*", members))[1]
    number = None if count is None else int(count)
    held, asked = (1 if fetch == (b"SMEMBERS",) else 2), (2 if option else 1)
    known = members if held == asked else members[::held]
    return None if chosen(redis, orchard, known, number, asked) else differ(name.decode(), redis, orchard)


def srandmember(pair, conn, key, count):
    return random_choice(pair, conn, (b"SMEMBERS",), b"SRANDMEMBER", key, count, None)


def hrandfield(pair, conn, key, count, option):
    return random_choice(pair, conn, (b"HGETALL",), b"HRANDFIELD", key, count, option)


def zrandmember(pair, conn, key, count, option):
    return random_choice(pair, conn, (b"ZRANGE", b"0", b"-1", b"WITHSCORES"), b"ZRANDMEMBER", key, count, option)


def random_key(pair, conn):
    redis, orchard = pair.call(conn, (b"RANDOMKEY",))
    if redis[0] != orchard[0] or (redis[1] is None) != (orchard[1] is None):
        return differ("RANDOMKEY", redis, orchard)
    if orchard[1] is not None and pair.orchard[conn].call(b"EXISTS", orchard[1]) != (":", 1):
        return differ("RANDOMKEY: no such key", redis, orchard)
    return None


# --- cursors ----------------------------------------------------------------------------------------------------------


def walk(connection, head, options, width):
    """All that a cursor brings until it is 0 again, or the first reply that is no page."""
    cursor, found = b"0", []
    for _ in range(10_000):
        reply = connection.call(*head, cursor, *options)
        if reply[0] != "*" or reply[1] is None or len(reply[1]) != 2:
            return reply, []
        cursor, page = reply[1][0][1], reply[1][1][1]
        found += [tuple(page[at : at + width]) for at in range(0, len(page), width)]
        if cursor == b"0":
            return None, found
    return ("-", b"the cursor never came to its end"), []


def scan_like(pair, conn, head, options, width):
    redis_error, redis = walk(pair.redis[conn], head, options, width)
    orchard_error, orchard = walk(pair.orchard[conn], head, options, width)
    if redis_error or orchard_error:
        return None if redis_error == orchard_error else differ("a scan", redis_error or ("*", []), orchard_error or ("*", []))
    if head[0] == b"ZSCAN":  # see negative-zero in differences.py
        redis, orchard = [[(member, unsigned(score)) for member, score in found] for found in (redis, orchard)]
    if sorted(set(map(repr, redis))) != sorted(map(repr, orchard)):
        flat = lambda found: ("*", [item for group in found for item in group])
        return differ("a whole scan", flat(redis), flat(orchard))
    return None


def scan(pair, conn, *options):
    return scan_like(pair, conn, (b"SCAN",), options, 1)


def sscan(pair, conn, key, *options):
    return scan_like(pair, conn, (b"SSCAN", key), options, 1)


def hscan(pair, conn, key, *options):
    return scan_like(pair, conn, (b"HSCAN", key), options, 2)


def zscan(pair, conn, key, *options):
    return scan_like(pair, conn, (b"ZSCAN", key), options, 2)


# --- time, raw bytes, the end of a connection -------------------------------------------------------------------------


def expire(pair, conn, key):
    difference = expect(pair, conn, b"PEXPIRE", key, b"%d" % EXPIRY_MS)
    if difference:
        return difference
    time.sleep(EXPIRY_WAIT_S)
    for args in ((b"TYPE", key), (b"EXISTS", key), (b"PTTL", key), (b"DBSIZE",), (b"PERSIST", key)):
        difference = expect(pair, conn, *args)
        if difference:
            return difference
    return None


def raw(pair, conn, data):
    """Bytes as they are on a connection of their own: all replies until it is quiet or closed."""
    for quiet_s in (QUIET_S, LONG_QUIET_S):
        answers = [all_replies(side[conn].port, data, quiet_s) for side in (pair.redis, pair.orchard)]
        redis, orchard = answers
        if len(redis) == len(orchard) and all(same((b"HELLO",), *pair_) for pair_ in zip(redis, orchard)):
            return None
        # One of the servers may have had no turn in so short a time: again, with more of it.
    return differ(f"raw bytes {resp.text(data)}", ("*", redis), ("*", orchard))


def all_replies(port, data, quiet_s):
    connection = resp.Connection(port)
    connection.send_raw(data)
    connection.timeout_s = quiet_s
    replies = []
    while len(replies) < 100:
        reply = connection.read()
        replies.append(reply)
        if reply in (resp.CLOSED, resp.SILENT):
            break
    connection.close()
    return replies


def quit(pair, conn):
    redis, orchard = pair.call(conn, (b"QUIT",))
    ends = pair.redis[conn].read(), pair.orchard[conn].read()
    pair.reopen(conn)
    if redis != orchard or ends[0] != ends[1]:
        return differ("QUIT", ("*", [redis, ends[0]]), ("*", [orchard, ends[1]]))
    return None


# --- blocking ---------------------------------------------------------------------------------------------------------


def blocked_count(connection):
    reply = connection.call(b"INFO", b"clients")
    if reply[1] is None:
        raise ConnectionError(f"the server on port {connection.port} does not answer INFO: {reply[0]}")
    for line in reply[1].splitlines():
        if line.startswith(b"blocked_clients:"):
            return int(line.split(b":")[1])
    return -1


def turns():
    """Turns to look until SETTLE_S have passed. While the machine stands still, or others have it, little passes."""
    passed = 0.0
    while passed < SETTLE_S:
        began = time.monotonic()
        yield
        passed += min(time.monotonic() - began, TURN_S)


def await_blocked(pair):
    """Whether as many clients wait on both sides. Either may be late, so both are asked until they agree twice."""
    agreed = 0
    for _ in turns():
        agreed = agreed + 1 if blocked_count(pair.redis.control) == blocked_count(pair.orchard.control) else 0
        if agreed == 2:
            return True
        time.sleep(0.002)
    return False


def await_settled(side, number, identity):
    """Whether a client that was sent a command is seen to wait, or has its reply. Equal counts of waiting clients do not tell:
    the command may not have run at all yet."""
    for _ in turns():
        line = side.control.call(b"CLIENT", b"LIST", b"ID", b"%d" % identity)[1] or b""
        if b" flags=b " in line or side[number].buffer or select.select([side[number].socket], [], [], 0)[0]:
            return True
        time.sleep(0.001)
    return False


def block(pair, conn, blocked, wakes):
    """Commands that wait on connections of their own, commands that may wake them, and what each then got."""
    waiting = [number for number, _ in blocked]
    ids = {}
    for number in waiting:
        ids[number] = [side[number].call(b"CLIENT", b"ID")[1] for side in (pair.redis, pair.orchard)]
    for at, (number, args) in enumerate(blocked):
        pair.redis[number].send(*args)
        pair.orchard[number].send(*args)
        # In Redis's order: the next one is sent only when this one waits or was answered, on both sides.
        settled = all(await_settled(side, number, side_id) for side, side_id in zip((pair.redis, pair.orchard), ids[number]))
        if not settled or not await_blocked(pair):
            return differ(f"waiting clients after {at + 1} blocking commands", ("+", b""), ("+", b""))
    for args in wakes:
        difference = expect(pair, conn, *args)
        if difference:
            return difference
        # Redis serves who waits before the next command; here its own task does, a moment later.
        await_blocked(pair)
    if not await_blocked(pair):
        still = [(":", blocked_count(side.control)) for side in (pair.redis, pair.orchard)]
        return differ("the number of clients that still wait", *still)
    for number, args in blocked:
        ready = bool(select.select([pair.redis[number].socket], [], [], 0.002)[0])
        if not ready:
            for side, identity in zip((pair.redis, pair.orchard), ids[number]):
                side.control.call(b"CLIENT", b"UNBLOCK", b"%d" % identity)
        redis, orchard = pair.redis[number].read(), pair.orchard[number].read()
        if not same(args, redis, orchard, pair.counts):
            state = "woken" if ready else "unblocked"
            return differ(f"{state} {b' '.join(args).decode('latin-1')}", redis, orchard)
    return None


# --- everything -------------------------------------------------------------------------------------------------------

CONTENT = {
    b"string": (b"GET",), b"list": (b"LRANGE", None, b"0", b"-1"), b"hash": (b"HGETALL",), b"set": (b"SMEMBERS",),
    b"zset": (b"ZRANGE", None, b"0", b"-1", b"WITHSCORES"),
}


def audit(pair, conn):
    """Every key, type, content and time to live of the first databases."""
    redis, orchard = pair.redis.control, pair.orchard.control
    difference = None
    for database in AUDITED_DATABASES:
        for side in (redis, orchard):
            side.call(b"SELECT", database)
        difference = difference or audit_database(pair, redis, orchard, database)
    for side in (redis, orchard):
        side.call(b"SELECT", b"0")
    return difference


def audit_database(pair, redis, orchard, database):
    def ask(*args):
        left, right = redis.call(*args), orchard.call(*args)
        equal = same(args, left, right, pair.counts)
        what = f"the audit of database {database.decode()}: {' '.join(resp.text(arg) for arg in args)}"
        return left, None if equal else differ(what, left, right)

    keys, difference = ask(b"KEYS", b"*")
    if difference:
        return difference
    for key in sorted(item[1] for item in keys[1]):
        kind, difference = ask(b"TYPE", key)
        if difference:
            return difference
        shape = CONTENT.get(kind[1])
        if shape is None:
            continue
        args = (shape[0], key) + tuple(word for word in shape[1:] if word is not None)
        for request in (args, (b"PTTL", key)):
            _, difference = ask(*request)
            if difference:
                return difference
    return None


STEPS = {
    "spop": spop, "srandmember": srandmember, "hrandfield": hrandfield, "zrandmember": zrandmember, "random_key": random_key,
    "scan": scan, "sscan": sscan, "hscan": hscan, "zscan": zscan, "expire": expire, "raw": raw, "quit": quit, "block": block,
    "audit": audit,
}
