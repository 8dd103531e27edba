"""From a seed to a list of steps. The same seed gives the same steps, whatever the servers answer."""

import random
from dataclasses import dataclass

import resp
import words
from families import DATA, FAMILIES
from grammar import Template, mutate

EXPIRING = {b"EXPIRE": 1, b"PEXPIRE": 1000, b"SETEX": 1, b"PSETEX": 1000, b"SET": 1000, b"GETEX": 1000}
BLOCKING_LAST = {b"BLPOP", b"BRPOP", b"BLMOVE", b"BRPOPLPUSH", b"BZPOPMIN", b"BZPOPMAX"}
BLOCKING_FIRST = {b"BLMPOP", b"BZMPOP"}
# With one argument more or less they would choose at random, pause everything, or end other connections.
NEVER_MUTATED = {b"SPOP", b"SRANDMEMBER", b"HRANDFIELD", b"ZRANDMEMBER", b"RANDOMKEY", b"CLIENT", b"SCAN", b"SSCAN", b"HSCAN", b"ZSCAN"}
OFFSETS = {b"SETBIT", b"BITFIELD", b"SETRANGE"}
# They write what is between two scores.
SCORE_WRITERS = {b"ZREMRANGEBYSCORE", b"ZRANGESTORE"}

RAW = [
    b"PING\r\n", b"\r\n\r\nPING\r\n", b"ping hello\nPING\n", b"ECHO 'a b'\r\n", b'ECHO "a\\x41\\n\\t\\"q"\r\n', b"ECHO 'it\\'s'\r\n",
    b'ECHO "unbalanced\r\n', b"ECHO 'a'b\r\n", b"*-1\r\nPING\r\n", b"*0\r\nPING\r\n", b"*abc\r\nPING\r\n",
    b"*1\r\n:1\r\n", b"*1\r\n$-1\r\n", b"*1\r\n$abc\r\n", b"*2147483648\r\n", b"*1\r\n$536870913\r\n",
    b"*2\r\n$4\r\nECHO\r\n$3\r\nabc\r\n", b"*1\r\n$4\r\nPINGXX*1\r\n$4\r\nPING\r\n", b"*2\r\n$4\r\nECHO\r\n$0\r\n\r\n",
    b"*1\r\n$4\r\nPING\r\n*1\r\n$4\r\nping\r\nPING\r\n", b"*1\r\n$0\r\n\r\n", b"   PING   \r\n", b"NOSUCH a b\r\n", b"* 1\r\n", b"*1 \r\n",
    b"*+1\r\n$4\r\nPING\r\n", b"*1\r\n$+4\r\nPING\r\n", b"*01\r\n$4\r\nPING\r\n", b"*1\r\n*1\r\n$4\r\nPING\r\n", b"A" * 70000, b"*" + b"1" * 70000,
    b"*1\r\n$" + b"1" * 70000, b"*3\r\n$3\r\nSET\r\n", b"MULTI\r\nSET a\r\nPING\r\nEXEC\r\n", b"MULTI\r\nPING\r\nEXEC\r\n", b"QUIT\r\nPING\r\n",
    b"HELLO 3\r\nPING\r\nSELECT 99\r\n", b"HELLO 4\r\n", b"RESET\r\n", b"SUBSCRIBE a\r\nPING\r\nGET a\r\nUNSUBSCRIBE\r\nPING\r\n",
    b"SUBSCRIBE a\r\nQUIT\r\n", b"\r\n", b"\n", b"''\r\n", b"'' PING\r\n", b"MULTI\r\nSUBSCRIBE a b\r\nEXEC\r\n",
    b"HELLO 3\r\nSUBSCRIBE a\r\nPUBLISH a hi\r\nPING\r\nGET nosuch\r\n", b"HELLO 3\r\nGET nosuch\r\nHGETALL nosuch\r\nSMEMBERS nosuch\r\n",
]

BLOCKERS = [
    ("BLPOP {k} 0", "lists"), ("BRPOP {k} 0", "lists"), ("BLMOVE k k LEFT|RIGHT LEFT|RIGHT 0", "lists"), ("BRPOPLPUSH k k 0", "lists"),
    ("BLMPOP 0 #{k} LEFT|RIGHT [COUNT 2]", "lists"), ("BZPOPMIN {k} 0", "zsets"), ("BZPOPMAX {k} 0", "zsets"),
    ("BZMPOP 0 #{k} MIN|MAX [COUNT 2]", "zsets"),
]
WAKERS = [
    "8 LPUSH k {v}", "8 RPUSH k {v}", "8 ZADD k {s m}", "2 SADD k m", "2 SET k v", "2 DEL {k}", "2 LPOP k", "2 RENAME k k", "2 LMOVE k k LEFT RIGHT",
    "2 MULTI @ LPUSH k v @ LPUSH k v @ EXEC", "1 MULTI @ LPUSH k v @ DEL k @ EXEC", "1 MULTI @ ZADD k s m @ ZADD k s m @ EXEC", "1 COPY k k REPLACE",
    "1 FLUSHALL", "1 MULTI @ LPUSH k v @ SET k v @ EXEC", "1 ZUNIONSTORE k 2 k k", "1 RPOPLPUSH k k", "1 MULTI @ SET k v @ DEL k @ RPUSH k v @ EXEC",
]


@dataclass(frozen=True)
class Step:
    conn: int
    kind: str  # "command" or a name of steps.STEPS
    args: tuple

    def __str__(self):
        def shown(value):
            if isinstance(value, bytes):
                return resp.text(value)
            if isinstance(value, (tuple, list)):
                return "(" + " ".join(shown(item) for item in value) + ")"
            return str(value)

        prefix = "" if self.kind == "command" else f"!{self.kind} "
        return f"[{self.conn}] {prefix}" + " ".join(shown(arg) for arg in self.args)


class Generator:
    def __init__(self, family, seed):
        self.family = family
        self.rng = random.Random(f"{family}/{seed}")
        self.templates, self.weights = [], []
        self.load(FAMILIES[family], self.templates, self.weights)
        self.data = {}
        if family in ("transactions", "notifications"):
            for name in DATA:
                self.data[name] = ([], [])
                self.load(FAMILIES[name], *self.data[name])

    @staticmethod
    def load(source, templates, weights):
        for line in source.strip().splitlines():
            weight, rest = line.split(" ", 1)
            templates.append(rest[1:] if rest.startswith("!") else Template(line))
            weights.append(int(weight))

    def setup(self):
        """Steps before everything else; never shrunk away."""
        if self.family == "notifications":
            return [
                Step(0, "command", (b"CONFIG", b"SET", b"notify-keyspace-events", b"KEA")),
                Step(2, "command", (b"PSUBSCRIBE", b"__key*__:*")),
            ]
        return []

    def steps(self, count):
        made = 0
        while made < count:
            for step in self.burst():
                made += 1
                yield step

    def burst(self):
        """A few steps on one connection, so that they go as one pipeline."""
        rng = self.rng
        crossing = {"transactions": 3, "pubsub": 3, "connection": 3, "keys": 2}.get(self.family, 1)
        conn = rng.randrange(crossing) if rng.random() < 0.7 else 0
        count = rng.choice([1, 2, 3, 5]) if crossing > 1 else rng.choice([1, 20, 60])
        return [self.step(conn) for _ in range(count)]

    def step(self, conn):
        rng = self.rng
        if self.data and rng.random() < (0.62 if self.family == "transactions" else 0.97):
            while True:
                templates, weights = self.data[rng.choice(DATA)]
                template = rng.choices(templates, weights)[0]
                if isinstance(template, Template):
                    break
        else:
            template = rng.choices(self.templates, self.weights)[0]
        if isinstance(template, str):
            return Step(conn, template, self.composite(template))
        return Step(conn, "command", tuple(self.command(template)))

    def command(self, template, mutable=True):
        args = template.generate(self.rng, self.family)
        # A set whose scores must stay equal is not written to by accident.
        of_lex = any(arg in words.LEX_KEYS for arg in args) and not args[0].upper().startswith((b"ZLEX", b"ZRANGEBYLEX", b"ZREV"))
        if mutable and not of_lex and args[0].upper() not in NEVER_MUTATED:
            args = mutate(args, self.rng, self.family)
        if args[0].upper() in (b"EXPIRE", b"PEXPIRE") and any(arg.upper() in (b"GT", b"LT") for arg in args[3:]):
            # The same time from now twice: which is later would be a matter of luck.
            if words.is_far(args[2]):
                args[2] = b"%d" % (int(args[2]) + self.rng.randrange(1000, 99_000))
        return tame(args)

    def composite(self, name):
        rng, key = self.rng, words.key(self.rng, self.family)
        count = None if rng.random() < 0.3 else rng.choice([b"0", b"1", b"2", b"3", b"5", b"50", b"1000"])
        if name == "spop":
            return (key, count)
        if count is not None and rng.random() < 0.4:
            count = rng.choice([b"-1", b"-3", b"-10", b"-200"])
        if name == "srandmember":
            return (key, count)
        if name in ("hrandfield", "zrandmember"):
            option = b"WITHVALUES" if name == "hrandfield" else b"WITHSCORES"
            return (key, count, option if count is not None and rng.random() < 0.5 else None)
        if name in ("scan", "sscan", "hscan", "zscan"):
            options = ()
            if rng.random() < 0.4:
                options += (b"MATCH", words.glob(rng, self.family))
            if rng.random() < 0.4:
                options += (b"COUNT", rng.choice([b"1", b"2", b"10", b"1000"]))
            if name == "scan" and rng.random() < 0.4:
                options += (b"TYPE", words.type_name(rng, self.family))
            return options if name == "scan" else (key, *options)
        if name == "expire":
            return (key,)
        if name == "raw":
            return (rng.choice(RAW),)
        if name == "block":
            return self.blocked().args
        return ()

    def blocked(self):
        """One to three waiting clients and the commands that may wake them."""
        rng, family = self.rng, "blocking"
        waiting = []
        for number in range(1, 1 + rng.choice([1, 1, 2, 3])):
            line, _ = rng.choice(BLOCKERS)
            waiting.append((number, tuple(Template("4 " + line).generate(rng, family))))
        wakes = []
        for _ in range(rng.choice([1, 1, 2, 3])):
            line = rng.choices(WAKERS, [int(waker.split(" ")[0]) for waker in WAKERS])[0]
            for part in line.split(" ", 1)[1].split(" @ "):
                args = tuple(tame(Template("4 " + part).generate(rng, family)))
                if args[0].upper() == b"ZUNIONSTORE":
                    wakes.append((b"DEL", args[1]))  # README.md tells why
                wakes.append(args)
        return Step(0, "block", (tuple(waiting), tuple(wakes)))


def tame(args):
    """Nothing that blocks for long, expires within the run, or fills the memory; and nothing that makes the data differ for
    a reason that README.md gives."""
    name = args[0].upper()
    if name == b"BITFIELD" and any(arg.upper() == b"SAT" for arg in args):
        args = [b"-4611686018427387904" if (as_int(arg) or 0) < -(2**62) else arg for arg in args]
    if name == b"LPOS":
        args = args[:3] + [b"-1" if arg == b"-9223372036854775808" else arg for arg in args[3:]]
    if name == b"HELLO" and any(arg.upper() == b"AUTH" for arg in args[2:]):
        at = 2 + [arg.upper() for arg in args[2:]].index(b"AUTH")
        args[at + 1 : at + 2] = [b"default"]
    if name == b"CONFIG" and args[1:2] and args[1].upper() == b"SET":
        args = args[:3] + [arg.replace(b"\0", b"") for arg in args[3:]]
    if name == b"WAIT" and len(args) == 3 and harmful_timeout(args[2]):
        args[2] = b"1"
    if name in SCORE_WRITERS:
        args = args[:2] + [arg.replace(b"\0", b"") for arg in args[2:]]
    if name in BLOCKING_LAST or name in BLOCKING_FIRST:
        at = len(args) - 1 if name in BLOCKING_LAST else 1
        if len(args) > at > 0 and harmful_timeout(args[at]):
            args[at] = b"0.01"
    if name in EXPIRING:
        for at in range(2, len(args)):
            number = as_int(args[at])
            timed = args[at - 1].upper() in (b"EX", b"PX") if name in (b"SET", b"GETEX") else at == 2
            if timed and number is not None and 0 < number < 100 * EXPIRING[name]:
                args[at] = b"100000000"
    if name in OFFSETS:
        for at in range(2, len(args)):
            number = as_int(args[at].lstrip(b"#"))
            bulk = name == b"SETRANGE" and at == 2 or name == b"SETBIT" and at == 2 or name == b"BITFIELD" and at > 2
            if bulk and number is not None and 100_000 < number < 2**32 and number != 536870912:
                args[at] = b"1000"
            if name == b"BITFIELD" and number == 536870912:
                args[at] = b"#4294967296"
    return args


def harmful_timeout(word):
    try:
        return not (float(word) < 0 or 0 < float(word) <= 0.03)
    except ValueError:
        return False


def as_int(word):
    try:
        return int(word)
    except ValueError:
        return None
