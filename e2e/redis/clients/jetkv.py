"""What JetKV's Valkey backend (the key-value store of the Zig framework Jetzig) sends, and the replies that it takes: a
pool of eight connections, `HELLO 3` on each, upper-case commands as arrays of bulk strings. It takes +OK, strings, RESP3
nulls, integers and maps, and asserts one exact type for each command: anything else ends the program that uses it."""

import itertools
import os
import socket

from checks import check, report

HOST, PORT = os.environ["ADDRESS"].rsplit(":", 1)
POOL_SIZE = 8


class Connection:
    """Replies as (mark, payload). It reads byte for byte, as JetKV does, and knows no other types."""

    def __init__(self):
        self.socket = socket.create_connection((HOST, int(PORT)), timeout=30)
        self.file = self.socket.makefile("rb")
        check("HELLO 3", "%", self.execute("HELLO", "3")[0])

    def execute(self, *words):
        request = f"*{len(words)}\r\n".encode()
        for word in words:
            data = word if isinstance(word, bytes) else word.encode()
            request += b"$%d\r\n%s\r\n" % (len(data), data)
        self.socket.sendall(request)
        return self.reply()

    def reply(self):
        line = self.file.readline()
        mark, text = chr(line[0]), line[1:-2]
        if mark == "$":
            return mark, self.file.read(int(text) + 2)[:-2]
        if mark == "%":
            return mark, [(self.reply(), self.reply()) for _ in range(int(text))]
        if mark == "*":
            return mark, [self.reply() for _ in range(int(text))]
        check("a type that JetKV knows", True, mark in "+-:_")
        return mark, text


class JetKV:
    """Each operation with what it asserts."""

    def __init__(self):
        self.connections = itertools.cycle([Connection() for _ in range(POOL_SIZE)])

    def ask(self, types, *words):
        mark, payload = next(self.connections).execute(*words)
        check(f"the type of the reply to {words[0]}", True, mark in types)
        return payload if mark in "$:" else None

    def put(self, key, value):
        self.ask("+", "SET", key, value)

    def get(self, key):
        return self.ask("$_", "GET", key)

    def put_expire(self, key, value, seconds):
        self.put(key, value)
        check("EXPIRE", b"1", self.ask(":", "EXPIRE", key, str(seconds)))

    def remove(self, key):
        check("DEL", b"1", self.ask(":", "DEL", key))

    def fetch_remove(self, key):
        return self.ask("$_", "GETDEL", key)

    def append(self, key, value):
        self.ask(":", "RPUSH", key, value)

    def prepend(self, key, value):
        self.ask(":", "LPUSH", key, value)

    def pop(self, key):
        return self.ask("$_", "RPOP", key)

    def pop_first(self, key):
        return self.ask("$_", "LPOP", key)

    def flush(self):
        self.ask("+", "FLUSHDB", "sync")


kv = JetKV()
kv.flush()
check("get of nothing", None, kv.get("foo"))
kv.put("foo", "bar")
check("get", b"bar", kv.get("foo"))
kv.remove("foo")
check("get of what was removed", None, kv.get("foo"))
kv.put("foo", "baz")
check("fetchRemove", b"baz", kv.fetch_remove("foo"))
check("fetchRemove of nothing", None, kv.fetch_remove("foo"))
for value in ("a", "b", "c"):
    kv.append("list", value)
kv.prepend("list", "first")
check("popFirst", b"first", kv.pop_first("list"))
check("pop", b"c", kv.pop("list"))
check("the rest", [b"a", b"b", None, None], [kv.pop_first("list") for _ in range(3)] + [kv.pop("list")])
kv.put_expire("short", "lived", 100)
check("before it expires", b"lived", kv.get("short"))
kv.put_expire("short", "gone", -1)
check("when it has expired", None, kv.get("short"))
for size in (0, 31, 32, 4095, 4096, 4097, 300_000):
    data = bytes(byte % 251 for byte in range(size))
    kv.put("data", data)
    check(f"{size} bytes", data, kv.get("data"))
report()
