"""When are two replies the same? Equal, or equal as sets where Redis promises no order, or a listed difference."""

from differences import allowed, command, subcommand

UNORDERED = {b"SMEMBERS", b"SINTER", b"SUNION", b"SDIFF", b"HKEYS", b"HVALS", b"KEYS"}
UNORDERED_PAIRS = {b"HGETALL"}
PUBSUB_UNORDERED = {b"CHANNELS", b"SHARDCHANNELS"}
# Events of one command stand in Redis's order; messages of several patterns in no order.
UNSUBSCRIBES = {b"UNSUBSCRIBE", b"PUNSUBSCRIBE", b"SUNSUBSCRIBE"}


def same(args, redis, orchard, counts=None):
    """Are the replies to one command the same? Counts the listed differences that were needed."""
    if redis == orchard:
        return True
    if normal(args, redis) == normal(args, orchard):
        return True
    difference = allowed(args, redis, orchard)
    if difference is not None and counts is not None:
        counts[difference.name] += 1
    return difference is not None


def normal(args, reply):
    """The reply with what has no order put in order."""
    kind, payload = reply
    name = command(args)
    if kind in "*~" and payload is not None:
        if name in UNORDERED or (name == b"PUBSUB" and subcommand(args) in PUBSUB_UNORDERED):
            return (kind, sorted(payload, key=repr))
        if name in UNORDERED_PAIRS and len(payload) % 2 == 0:
            return (kind, sorted(zip(payload[::2], payload[1::2]), key=repr))
    if name == b"COMMAND" and subcommand(args) != b"GETKEYS" and kind in "*%" and payload is not None:
        return in_order(reply)
    if kind == "%":
        return (kind, sorted(payload, key=repr))
    return reply


def in_order(reply):
    """Descriptions of commands: flags, categories and subcommands are sets."""
    kind, payload = reply
    if kind in "*~" and payload is not None:
        return (kind, sorted((in_order(item) for item in payload), key=repr))
    return reply


def same_exec(queued, redis, orchard, counts=None):
    """EXEC: one reply for each queued command, each compared by its own rule."""
    if redis == orchard:
        return True
    if redis[0] != "*" or orchard[0] != "*" or redis[1] is None or orchard[1] is None:
        return False
    if not len(redis[1]) == len(orchard[1]) == len(queued):
        return False
    return all(same(args, left, right, counts) for args, left, right in zip(queued, redis[1], orchard[1]))


def same_frames(args, redis, orchard, counts=None):
    """What a connection got for one command while messages may come in between."""
    if redis == orchard:
        return True
    kept = [[frame for frame in frames if not tells_expiry(frame)] for frames in (redis, orchard)]
    if kept != [redis, orchard]:
        # Redis tells of an expiry when the key is looked at next, OrchardDB within about a second: differences.py.
        if counts is not None:
            counts["expired-event"] += 1
        return same_frames(args, *kept, counts)
    if args and command(args) in UNSUBSCRIBES and len(args) == 1:
        return unsubscribed(redis) == unsubscribed(orchard)
    if len(redis) == len(orchard) == 1 and args:
        return same(args, redis[0], orchard[0], counts)
    # Several patterns match one message: Redis walks a hash table.
    return sorted(redis, key=repr) == sorted(orchard, key=repr)


def tells_expiry(frame):
    """Is it the message of the event `expired`?"""
    kind, payload = frame
    if kind not in "*>" or not payload or len(payload) < 3:
        return False
    channel, content = payload[-2][1], payload[-1][1]
    if not isinstance(channel, bytes):
        return False
    by_key = channel.startswith(b"__keyspace@") and content == b"expired"
    return by_key or (channel.startswith(b"__keyevent@") and channel.endswith(b"__:expired"))


def unsubscribed(frames):
    """Names are in no order, what is left counts down."""
    names, counts = [], []
    for kind, payload in frames:
        if kind in "*>" and payload and len(payload) == 3:
            names.append((kind, payload[0], payload[1]))
            counts.append(payload[2])
        else:
            names.append((kind, repr(payload), None))
    return sorted(names, key=repr), counts
