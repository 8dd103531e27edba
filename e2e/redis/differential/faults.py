"""Faults of our own, to prove that the tester sees them. Which command is hit follows from its bytes alone, so that a
fault comes again when fewer steps are run."""

import zlib

ONE_IN = 37


def hit(args):
    return bool(args) and zlib.crc32(b"\0".join(args)) % ONE_IN == 0


class ReplyFault:
    """Some replies with an integer are one too high."""

    def reply(self, pair, args, reply):
        return (":", reply[1] + 1) if reply[0] == ":" and hit(args) else reply


class StateFault:
    """After some writes the second server forgets the key: no reply is wrong by itself."""

    WRITES = {b"SET", b"APPEND", b"RPUSH", b"LPUSH", b"HSET", b"SADD", b"ZADD", b"SETBIT"}

    def reply(self, pair, args, reply):
        if hit(args) and args[0].upper() in self.WRITES and reply[0] != "-":
            pair.orchard.control.call(b"DEL", args[1])
        return reply


FAULTS = {"reply": ReplyFault, "state": StateFault}
