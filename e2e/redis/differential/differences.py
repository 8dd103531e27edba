"""Every difference from Redis 7.0 that the tester lets pass, each with its reason. Nothing else is let pass.

`applies(args, redis, orchard)` sees the command and both replies (see resp.py for their shape).
"""

import os
import re
from dataclasses import dataclass
from typing import Callable

TTL_TOLERANCE = {b"TTL": 2, b"EXPIRETIME": 2, b"PTTL": 2000, b"PEXPIRETIME": 2000}


@dataclass
class Difference:
    name: str
    reason: str
    applies: Callable


def command(args):
    return args[0].upper() if args else b""


def subcommand(args):
    return args[1].upper() if len(args) > 1 else b""


def both(kind, redis, orchard):
    return redis[0] == kind and orchard[0] == kind


def time_to_live(args, redis, orchard):
    tolerance = TTL_TOLERANCE.get(command(args))
    return (
        tolerance is not None
        and both(":", redis, orchard)
        and min(redis[1], orchard[1]) > 0
        and abs(redis[1] - orchard[1]) <= tolerance
    )


def time_of_day(args, redis, orchard):
    if command(args) != b"TIME" or not both("*", redis, orchard):
        return False
    return abs(int(redis[1][0][1]) - int(orchard[1][0][1])) <= 1


SCORES = {b"ZSCORE", b"ZINCRBY", b"ZADD"}
POPS = {b"ZPOPMIN", b"ZPOPMAX"}
BLOCKING_POPS = {b"BZPOPMIN", b"BZPOPMAX"}
MANY_POPS = {b"ZMPOP", b"BZMPOP"}


def unsigned(reply):
    return (reply[0], b"0") if reply[0] in ",$" and reply[1] == b"-0" else reply


def without_sign(args, reply):
    """The reply with every score of minus zero as zero; members keep what they are."""
    kind, payload = reply
    name = command(args)
    if not isinstance(payload, list):
        return unsigned(reply) if name in SCORES or kind == "," else reply
    if name in MANY_POPS and len(payload) == 2 and payload[1][1]:
        pairs = [(pair[0], [pair[1][0], unsigned(pair[1][1])]) for pair in payload[1][1]]
        return (kind, [payload[0], (payload[1][0], pairs)])
    if name == b"ZMSCORE":
        return (kind, [unsigned(item) for item in payload])
    if name in BLOCKING_POPS and len(payload) == 3:
        return (kind, payload[:2] + [unsigned(payload[2])])
    if name in POPS or any(arg.upper() == b"WITHSCORES" for arg in args):
        if payload and payload[0][0] == "*":  # RESP3: pairs
            return (kind, [(pair[0], [pair[1][0], unsigned(pair[1][1])]) for pair in payload])
        return (kind, [unsigned(item) if at % 2 else item for at, item in enumerate(payload)])
    return reply


def negative_zero(args, redis, orchard):
    return b"Z" in command(args)[:2] and without_sign(args, redis) == without_sign(args, orchard)


ENCODINGS = {
    b"int": "string", b"embstr": "string", b"raw": "string",
    b"listpack": "packed", b"quicklist": "list", b"ziplist": "packed", b"hashtable": "table", b"intset": "packed",
    b"skiplist": "zset",
}


def encoding(args, redis, orchard):
    if command(args) != b"OBJECT" or subcommand(args) != b"ENCODING" or not both("$", redis, orchard):
        return False
    return redis[1] in ENCODINGS and orchard[1] in ENCODINGS


def idle(args, redis, orchard):
    return command(args) == b"OBJECT" and subcommand(args) in (b"IDLETIME", b"REFCOUNT") and both(":", redis, orchard)


def hello(args, redis, orchard):
    """Same shape; `id`, `server` and `version` are its own."""
    if command(args) != b"HELLO" or redis[0] != orchard[0] or redis[0] not in "*%":
        return False

    def facts(reply):
        pairs = reply[1] if reply[0] == "%" else list(zip(reply[1][::2], reply[1][1::2]))
        found = {key[1]: value for key, value in pairs}
        return {key: found.get(key) for key in (b"proto", b"mode", b"role", b"modules")}, sorted(found)

    return facts(redis) == facts(orchard)


FIELDS = re.compile(rb"(\S+?)=")


def client_lines(args, redis, orchard):
    """CLIENT LIST and INFO: every field that a line of Redis has is in a line of OrchardDB."""
    if command(args) != b"CLIENT" or subcommand(args) not in (b"LIST", b"INFO"):
        return False
    if redis[0] not in "$=" or orchard[0] != redis[0] or not redis[1] or not orchard[1]:
        return redis[0] == orchard[0] and not redis[1] and not orchard[1]
    wanted = set(FIELDS.findall(redis[1].splitlines()[0]))
    return wanted <= set(FIELDS.findall(orchard[1].splitlines()[0]))


def identity(args, redis, orchard):
    return command(args) == b"CLIENT" and subcommand(args) == b"ID" and both(":", redis, orchard) and orchard[1] > 0


def advice(args, redis, orchard):
    """MEMORY DOCTOR says in its own words what it finds."""
    return command(args) == b"MEMORY" and subcommand(args) == b"DOCTOR" and redis[0] == orchard[0] and redis[0] in "$="


def replication(args, redis, orchard):
    return command(args) == b"ROLE" and redis[0] == orchard[0]


def page(args, redis, orchard):
    """One page of a cursor. What a whole walk brings is compared by the scan steps."""
    if command(args) == b"SCAN" and len(args) > 1 and b"\0" in args[1]:
        return orchard == ("-", b"ERR invalid cursor")  # C's text ends there
    if command(args) not in (b"SCAN", b"SSCAN", b"HSCAN", b"ZSCAN") or not both("*", redis, orchard):
        return False
    return [item[0] for item in redis[1]] == [item[0] for item in orchard[1]] == ["$", "*"]


def auth(args, redis, orchard):
    """Without an access token OrchardDB takes every password."""
    if command(args) == b"AUTH":
        return orchard == ("+", b"OK") and redis[0] == "-"
    return command(args) == b"HELLO" and redis == ("-", b"WRONGPASS invalid username-password pair or user is disabled.")


REPEATED_MAX = 128  # bytes of an argument that an error repeats


def error_text(args, redis, orchard):
    """Redis repeats foreign bytes in an error as they are, and all of them."""
    if not both("-", redis, orchard):
        return False
    if len(orchard[1]) < len(redis[1]) and len(os.path.commonprefix([redis[1], orchard[1]])) >= REPEATED_MAX:
        return True
    if all(32 <= byte < 127 for byte in redis[1]):
        return False
    plain = re.compile(rb"[ -&(-~]*")  # up to a quote or a foreign byte
    return plain.match(redis[1])[0] == plain.match(orchard[1])[0]


def slow_log(args, redis, orchard):
    """Of SLOWLOG GET: the same commands in the same order; numbers, times and addresses are a server's own."""
    if command(args) != b"SLOWLOG" or subcommand(args) != b"GET" or not both("*", redis, orchard):
        return False
    return [entry[1][3] for entry in redis[1]] == [entry[1][3] for entry in orchard[1]]


def command_facts(args, redis, orchard):
    """Of COMMAND INFO: name, arity, flags and key positions of each command are Redis's."""
    if subcommand(args) == b"HELP" and both("*", redis, orchard):
        return True
    if command(args) != b"COMMAND" or subcommand(args) not in (b"", b"INFO", b"COUNT", b"DOCS", b"LIST"):
        return False
    if subcommand(args) != b"INFO" or len(args) == 2:
        return redis[0] == orchard[0] or both("*", redis, orchard)
    if not both("*", redis, orchard) or len(redis[1]) != len(orchard[1]):
        return False

    def facts(reply):
        if reply[1] is None:
            return None
        name, arity, flags, *keys = reply[1][:6]
        return name, arity, sorted(flags[1]), keys

    return all(
        facts(left) == facts(right)
        for left, right in zip(redis[1], orchard[1])
        if left[1] is None or left[1][0][1].upper() not in LATER
    )


# Families of a second part: streams, geo, HyperLogLog, SORT, ACL, DUMP, scripts.
LATER = {b"SORT", b"XREAD"}
ABSENT = {(b"SORT", None), (b"READONLY", None)}
OWN_PARAMETERS = {b"proto-max-bulk-len", b"appendonly", b"appendfsync", b"maxmemory"}


def parameters(args, redis, orchard):
    """Of CONFIG GET: the same names, and the same values but for the server's own."""
    if command(args) != b"CONFIG" or subcommand(args) != b"GET" or redis[0] != orchard[0] or redis[0] not in "*%":
        return False

    def pairs(reply):
        flat = reply[1] if reply[0] == "%" else zip(reply[1][::2], reply[1][1::2])
        return {name[1]: value[1] for name, value in flat if name[1] not in OWN_PARAMETERS}, len(reply[1])

    return pairs(redis) == pairs(orchard)


def counted_by_c(args, redis, orchard):
    """COMMAND GETKEYS reads a number as C's atoi does: `1_000` is 1."""
    if command(args) != b"COMMAND" or subcommand(args) not in (b"GETKEYS", b"GETKEYSANDFLAGS") or redis[0] != "*":
        return False
    odd = any(re.match(rb" *[+-]?\d", arg) and not re.fullmatch(rb"0|-?[1-9]\d*", arg) for arg in args[3:])
    return odd and orchard == ("-", b"ERR Invalid arguments specified for command")


def absent(args, redis, orchard):
    """A whole command or subcommand that is not there."""
    if orchard[0] != "-" or not orchard[1].startswith((b"ERR unknown command", b"ERR unknown subcommand", b"ERR Invalid command")):
        return False
    words = args[2:] if command(args) == b"COMMAND" and subcommand(args) == b"GETKEYS" else args
    return (command(words), subcommand(words)) in ABSENT or (command(words), None) in ABSENT


def hexadecimal(args, redis, orchard):
    """C's parser takes `0x1p3` for a number."""
    return redis[0] != "-" and orchard[0] == "-" and any(re.match(rb"[-+(]*0[xX]", arg) for arg in args)


SCORE_READERS = {b"ZCOUNT", b"ZRANGEBYSCORE", b"ZREVRANGEBYSCORE", b"ZRANGE"}


def score_bound(args, redis, orchard):
    """C's text ends at a NUL byte: Redis reads what stands before it."""
    if command(args) not in SCORE_READERS or not any(b"\0" in arg for arg in args[2:4]):
        return False
    return (redis[0] != "-" or redis[1].startswith(b"WRONGTYPE")) and orchard == ("-", b"ERR min or max is not a float")


def limits(args, redis, orchard):
    """16 MiB a value, and so the memory of LCS, instead of 512 MiB."""
    texts = (b"exceeds maximum allowed size", b"transient memory for LCS", b"key_size_bytes is")
    return orchard[0] == "-" and any(text in orchard[1] for text in texts)


DIFFERENCES = [
    Difference("time-to-live", "two servers read two clocks: replies may differ by the time between both commands", time_to_live),
    Difference("time", "two servers read two clocks, and OrchardDB's shows milliseconds", time_of_day),
    Difference("object-encoding", "the layouts are OrchardDB's own: an encoding of the same type is plausible, the switch-over differs", encoding),
    Difference("object-idletime", "no access times and no reference counts are kept: the reply has the right type", idle),
    Difference("hello", "the connection id and the server's version are its own", hello),
    Difference("client-lines", "addresses, ages and buffer sizes are a server's own; all of Redis's fields must be there", client_lines),
    Difference("client-id", "connection ids are a server's own", identity),
    Difference("scan-page", "what one page holds follows from the hash function; whole walks are compared", page),
    Difference("auth", "with no access token set, on loopback only, whatever a client sends is accepted", auth),
    Difference("negative-zero", "Redis keeps the sign of a score of minus zero in sets of some sizes; here zero has none", negative_zero),
    Difference("error-text", "error texts are UTF-8 and repeat at most 128 bytes: where Redis repeats foreign bytes, the words differ", error_text),
    Difference("command-facts", "hints, key specifications, categories and help texts are left out or our own", command_facts),
    Difference("slow-log", "numbers, durations and addresses of SLOWLOG GET are a server's own", slow_log),
    Difference("config", "parameters that tell of this server's own limits and durability", parameters),
    Difference("getkeys", "COMMAND GETKEYS reads a number of keys as C's atoi does, up to what is no digit", counted_by_c),
    Difference("absent", "commands of a later part, or without meaning on one machine: docs/redis-commands.md", absent),
    Difference("hexadecimal", "hexadecimal floats, which C's parser takes, are no numbers", hexadecimal),
    Difference("score-bound", "a score with a NUL byte is no number; Redis does not see what stands behind the byte", score_bound),
    Difference("limits", "keys are at most 2 KiB and values 16 MiB; LCS uses no more for its table", limits),
    Difference("expired-event", "Redis tells `expired` when a key is looked at next, OrchardDB when it takes it away, within about a second", lambda *_: False),
    Difference("memory-doctor", "the advice of MEMORY DOCTOR is about this server", advice),
    Difference("role", "there is no replication: role is master at offset 0", replication),
]


def allowed(args, redis, orchard):
    """The difference that explains these two replies, if there is one."""
    for difference in DIFFERENCES:
        if difference.applies(args, redis, orchard):
            return difference
    return None
