"""Runs steps on both servers, in pipelines where that is possible, and says where the replies differ first."""

import re
from collections import Counter
from dataclasses import dataclass

import resp
from compare import same, same_exec, same_frames
from steps import STEPS, turns

CONNECTIONS = 4
ENDS_TRANSACTION = {b"EXEC", b"DISCARD", b"RESET", b"QUIT"}
PIPELINE_MAX = 64
REFUSALS = ("absent", "hexadecimal", "limits", "score-bound")
LOOKED = {field: re.compile(field + rb":(\d+)") for field in (b"keyspace_hits", b"keyspace_misses")}


@dataclass
class Found:
    at: int
    step: object
    what: str
    redis: tuple
    orchard: tuple

    def signature(self):
        def shape(reply):
            return (reply[0], reply[1]) if reply[0] in "-+" else (reply[0], reply[1] is None)

        name = self.step.args[0].upper() if self.step.kind == "command" and self.step.args else self.step.kind
        return (name, shape(self.redis), shape(self.orchard), self.what.split(":")[0][:40])

    def __str__(self):
        return (
            f"{self.step}\n    {self.what}\n    redis:   {resp.show(self.redis)}\n    orchard: {resp.show(self.orchard)}"
        )


class Side:
    """The connections to one server."""

    def __init__(self, server, protocol):
        self.server = server
        self.protocol = protocol
        self.connections = []
        self.control = resp.Connection(server.port)
        self.reset()

    def __getitem__(self, number):
        return self.connections[number]

    def reset(self):
        for connection in self.connections:
            connection.close()
        if self.control.dead:
            self.control.reopen()
        # A server may hear of their end later than of what comes next; patterns that they listen to are gone only then.
        for _ in turns():
            if b"connected_clients:1\r" in (self.control.call(b"INFO", b"clients")[1] or b""):
                break
        for args in (
            (b"CONFIG", b"SET", b"notify-keyspace-events", b""),
            (b"CONFIG", b"SET", b"slowlog-log-slower-than", b"10000"),
            (b"CONFIG", b"SET", b"slowlog-max-len", b"128"),
            (b"FLUSHALL",),
        ):
            self.control.call(*args)
        self.connections = [resp.Connection(self.server.port, self.protocol) for _ in range(CONNECTIONS)]

    def close(self):
        for connection in self.connections + [self.control]:
            connection.close()

    def looked(self):
        """How many keys commands have looked for to read them, and found or not."""
        stats = self.control.call(b"INFO", b"stats")[1]
        return [int(LOOKED[field].search(stats)[1]) for field in LOOKED]


class Pair:
    def __init__(self, redis, orchard, protocol, fault=None, counts_looks=False):
        self.redis = Side(redis, protocol)
        self.orchard = Side(orchard, protocol)
        self.counts = Counter()
        self.commands = Counter()
        self.fault = fault
        self.token = 0
        self.counts_looks = counts_looks
        self.queues = {}

    def reset(self):
        self.redis.reset()
        self.orchard.reset()
        self.queues = {}

    def close(self):
        self.redis.close()
        self.orchard.close()

    def reopen(self, conn):
        self.redis[conn].reopen()
        self.orchard[conn].reopen()
        self.queues.pop(conn, None)

    def call(self, conn, args):
        """One command on both sides, at once, and both replies."""
        self.redis[conn].send(*args)
        self.orchard[conn].send(*args)
        return self.redis[conn].read(), self.read_orchard(conn, args)

    def read_orchard(self, conn, args):
        reply = self.orchard[conn].read()
        return self.fault.reply(self, args, reply) if self.fault else reply

    # --- a list of steps ---

    def run(self, steps, framed=False):
        """The first difference, or None."""
        for at, batch in batches(steps, framed):
            if batch[0].kind == "command":
                found = self.run_framed(at, batch[0]) if framed else self.run_batch(at, batch)
            else:
                found = self.run_composite(at, batch[0])
            if found:
                return found
        return None

    def run_composite(self, at, step):
        self.commands[step.kind] += 1
        difference = STEPS[step.kind](self, step.conn, *step.args)
        if difference:
            return Found(at, step, *difference)
        for conn in range(CONNECTIONS):
            if self.redis[conn].dead or self.orchard[conn].dead:
                return Found(at, step, "a connection ended", ("+", b""), ("+", b""))
        return None

    def run_batch(self, at, batch):
        before = [side.looked() for side in self.sides()] if self.counts_looks else None
        refused = self.refused()
        found = self.run_commands(at, batch)
        if found or not before or self.refused() != refused:
            return found
        redis, orchard = [
            (":", tuple(now - then for now, then in zip(side.looked(), counted)))
            for side, counted in zip(self.sides(), before)
        ]
        return None if redis == orchard else Found(at, batch[0], "keyspace_hits and keyspace_misses", redis, orchard)

    def refused(self):
        """How many commands OrchardDB refused, and so did not look, and Redis did not: listed differences."""
        return sum(self.counts[name] for name in REFUSALS)

    def sides(self):
        return (self.redis, self.orchard)

    def run_commands(self, at, batch):
        conn = batch[0].conn
        data = b"".join(resp.encode(step.args) for step in batch)
        self.redis[conn].send_raw(data)
        self.orchard[conn].send_raw(data)
        for place, step in enumerate(batch):
            redis, orchard = self.redis[conn].read(), self.read_orchard(conn, step.args)
            self.commands[step.args[0].upper() if len(step.args[0]) < 20 else b"?"] += 1
            if not self.equal(conn, step.args, redis, orchard):
                return Found(at + place, step, "the replies differ", redis, orchard)
            if redis == resp.CLOSED:
                self.reopen(conn)
                return None
        return None

    def equal(self, conn, args, redis, orchard):
        """Compares, and follows what a transaction has queued."""
        name = args[0].upper() if args else b""
        if redis == ("+", b"QUEUED"):
            self.queues.setdefault(conn, []).append(args)
        elif name in ENDS_TRANSACTION:
            queued = self.queues.pop(conn, [])
            if name == b"EXEC":
                return same_exec(queued, redis, orchard, self.counts)
        return same(args, redis, orchard, self.counts)

    # --- where messages may come at any time ---

    def run_framed(self, at, step):
        """One command, and all that every connection got because of it: PING ends what it got."""
        self.commands[step.args[0].upper() if len(step.args[0]) < 20 else b"?"] += 1
        for conn in [step.conn] + [other for other in range(3) if other != step.conn]:
            args = step.args if conn == step.conn else ()
            self.token += 1
            token = b"token-%d" % self.token
            frames = []
            for side in (self.redis, self.orchard):
                if args:
                    side[conn].send(*args)
                side[conn].send(b"PING", token)
                frames.append(until(side[conn], token))
            if self.fault and args:
                frames[1][0] = self.fault.reply(self, args, frames[1][0])
            if resp.SILENT in frames[0] and resp.SILENT in frames[1]:
                return Found(at, step, "both are silent", ("*", frames[0]), ("*", frames[1]))
            if not same_frames(args, *frames, self.counts):
                return Found(at, step, f"what connection {conn} got", ("*", frames[0]), ("*", frames[1]))
        return None


def until(connection, token):
    """All frames before the reply to `PING token`."""
    frames = []
    ends = (("$", token), ("*", [("$", b"pong"), ("$", token)]))
    while len(frames) < 1000:
        frame = connection.read()
        if frame in ends:
            return frames
        frames.append(frame)
        if frame in (resp.CLOSED, resp.SILENT):
            return frames
    return frames


def batches(steps, framed):
    """Neighbouring commands of one connection go together."""
    batch, start = [], 0
    for at, step in enumerate(steps):
        alone = framed or step.kind != "command" or step.args[0].upper() in (b"QUIT", b"RESET", b"HELLO", b"AUTH")
        if batch and (alone or batch[0].conn != step.conn or len(batch) >= PIPELINE_MAX):
            yield start, batch
            batch = []
        if alone:
            yield at, [step]
            continue
        if not batch:
            start = at
        batch.append(step)
    if batch:
        yield start, batch


def shrink(pair, setup, steps, signature, framed, attempts=400):
    """Fewer steps that still give a difference of the same kind: whole pieces first, then one by one."""
    tries = 0

    def fails(candidate):
        nonlocal tries
        tries += 1
        pair.reset()
        found = pair.run(setup + candidate, framed)
        return found if found and found.signature() == signature else None

    best = fails(steps)
    if not best:
        return steps, None
    piece = max(1, len(steps) // 2)
    while tries < attempts:
        at, smaller = 0, False
        while at < len(steps) and tries < attempts:
            candidate = steps[:at] + steps[at + piece :]
            found = fails(candidate) if candidate else None
            if found:
                best, smaller = found, True
                steps = candidate[: found.at - len(setup) + 1]
            else:
                at += piece
        if piece == 1 and not smaller:
            break
        piece = max(1, piece // 2)
    return steps, best
