"""Every difference from Redis 7.0 that the tester lets pass, each with its reason. Nothing else is let pass.

`applies(args, redis, orchard)` sees the command and both replies (see resp.py for their shape).
"""

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


def replication(args, redis, orchard):
    return command(args) == b"ROLE" and redis[0] == orchard[0]


def page(args, redis, orchard):
    """One page of a cursor. What a whole walk brings is compared by the scan steps."""
    if command(args) not in (b"SCAN", b"SSCAN", b"HSCAN", b"ZSCAN") or not both("*", redis, orchard):
        return False
    return [item[0] for item in redis[1]] == [item[0] for item in orchard[1]] == ["$", "*"]


DIFFERENCES = [
    Difference("time-to-live", "two servers read two clocks: replies may differ by the time between both commands", time_to_live),
    Difference("object-encoding", "the layouts are OrchardDB's own: an encoding of the same type is plausible, the switch-over differs", encoding),
    Difference("object-idletime", "no access times and no reference counts are kept: the reply has the right type", idle),
    Difference("hello", "the connection id and the server's version are its own", hello),
    Difference("client-lines", "addresses, ages and buffer sizes are a server's own; all of Redis's fields must be there", client_lines),
    Difference("client-id", "connection ids are a server's own", identity),
    Difference("scan-page", "what one page holds follows from the hash function; whole walks are compared", page),
    Difference("role", "there is no replication: role is master at offset 0", replication),
]


def allowed(args, redis, orchard):
    """The difference that explains these two replies, if there is one."""
    for difference in DIFFERENCES:
        if difference.applies(args, redis, orchard):
            return difference
    return None
