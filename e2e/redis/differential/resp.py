"""RESP2 and RESP3 on a plain socket: commands out, replies in, nothing hidden.

A reply keeps its wire type, because "the same value" is not enough: `:1` and `$1\\r\\n1` are different answers.
It is a tuple (type, payload):

    ("+", bytes) ("-", bytes) (":", int) ("$", bytes | None) ("*", list | None) ("_", None) ("#", bool)
    (",", bytes) ("(", bytes) ("=", bytes) ("!", bytes) ("%", [(key, value)]) ("~", list) (">", list)
    ("closed", None) the connection ended    ("silent", None) no reply in time
"""

import socket
import time

CLOSED = ("closed", None)
SILENT = ("silent", None)
REPLY_TIMEOUT_S = 10.0
# A wait that took so much longer than it may was no server's: the whole machine stood still.
STANDSTILL_S = 1.0


class ProtocolError(Exception):
    """Bytes that are no RESP."""


class Connection:
    """One client. `dead` says that the other side is gone or silent."""

    def __init__(self, port, protocol=2):
        self.port = port
        self.protocol = protocol
        self.open()

    def open(self):
        self.socket = socket.create_connection(("127.0.0.1", self.port), timeout=REPLY_TIMEOUT_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.timeout_s = REPLY_TIMEOUT_S
        self.buffer = bytearray()
        self.dead = False
        if self.protocol == 3:
            self.call(b"HELLO", b"3")

    def close(self):
        try:
            self.socket.close()
        except OSError:
            pass

    def reopen(self):
        self.close()
        self.open()

    def send_raw(self, data):
        try:
            self.socket.sendall(data)
        except OSError:
            self.dead = True

    def send(self, *args):
        self.send_raw(encode(args))

    def call(self, *args):
        self.send(*args)
        return self.read()

    def read(self):
        try:
            return decode(self)
        except TimeoutError:
            self.dead = True
            return SILENT
        except (OSError, ValueError, EOFError):
            self.dead = True
            return CLOSED

    def readline(self):
        """The next line with its end."""
        searched = 0
        while (end := self.buffer.find(b"\n", searched)) < 0:
            searched = len(self.buffer)
            self.fill()
        return self.take(end + 1)

    def read_bytes(self, size):
        while len(self.buffer) < size:
            self.fill()
        return self.take(size)

    def take(self, size):
        taken = bytes(self.buffer[:size])
        del self.buffer[:size]
        return taken

    def fill(self):
        """More bytes, or TimeoutError when none came in time."""
        while True:
            self.socket.settimeout(self.timeout_s)
            began = time.monotonic()
            try:
                data = self.socket.recv(1 << 16)
            except TimeoutError:
                if time.monotonic() - began > self.timeout_s + STANDSTILL_S:
                    continue
                raise
            if not data:
                raise EOFError
            self.buffer += data
            return


def encode(args):
    parts = [b"*%d\r\n" % len(args)]
    for arg in args:
        parts.append(b"$%d\r\n%s\r\n" % (len(arg), arg))
    return b"".join(parts)


def decode(file):
    line = file.readline()
    if not line.endswith(b"\r\n"):
        raise EOFError
    kind, rest = chr(line[0]), line[1:-2]
    if kind in "+-,(":
        return (kind, rest)
    if kind == ":":
        return (kind, int(rest))
    if kind in "$=!":
        size = int(rest)
        if size < 0:
            return (kind, None)
        return (kind, file.read_bytes(size + 2)[:-2])
    if kind in "*~>":
        size = int(rest)
        return (kind, None if size < 0 else [decode(file) for _ in range(size)])
    if kind == "%":
        return (kind, [(decode(file), decode(file)) for _ in range(int(rest))])
    if kind == "_":
        return (kind, None)
    if kind == "#":
        return (kind, rest == b"t")
    raise ProtocolError(f"not RESP: {line[:80]!r}")


def text(data):
    """Bytes as redis-cli shows them: quoted, with escapes."""
    if data and all(33 <= byte < 127 and byte not in b"\"'\\" for byte in data):
        return data.decode()
    shown = "".join(
        chr(byte) if 32 <= byte < 127 and byte not in b'"\\' else f"\\x{byte:02x}" for byte in data[:120]
    )
    return f'"{shown}"' + (f"...({len(data)} bytes)" if len(data) > 120 else "")


def show(reply):
    """A reply in one line."""
    kind, payload = reply
    if kind in "*~>" and payload is not None:
        return f"{kind}[" + ", ".join(show(item) for item in payload[:40]) + ("..]" if len(payload) > 40 else "]")
    if kind == "%":
        return "%{" + ", ".join(f"{show(key)}: {show(value)}" for key, value in payload[:40]) + "}"
    if isinstance(payload, bytes):
        return kind + text(payload)
    return f"{kind}{payload}"
