"""Where arguments come from. Small alphabets, so that keys and types collide; edges often, so that errors meet.

Every word is a function of a `random.Random`. Time-to-live words are either far away or already over: what expires while
a run is on would differ by luck. `sleep` steps test expiry itself.
"""

I64_MAX = 2**63 - 1
I64_MIN = -(2**63)

SHARED_KEYS = [b"a", b"b", b"c"]
KEYS = {
    "strings": [b"s1", b"s2", b"s3", b"s4"],
    "bitmaps": [b"m1", b"m2", b"m3"],
    "lists": [b"l1", b"l2", b"l3", b"l4"],
    "hashes": [b"h1", b"h2", b"h3"],
    "sets": [b"t1", b"t2", b"t3", b"t4"],
    "zsets": [b"z1", b"z2", b"z3", b"z4"],
}
KEYS["keys"] = KEYS["connection"] = KEYS["pubsub"] = [
    b"s1", b"l1", b"h1", b"t1", b"z1", b"x", b"y", b"user:1", b"user:2", b"k\\*", b"k[1]",
]
KEYS["transactions"] = KEYS["notifications"] = KEYS["blocking"] = [b"s1", b"s2", b"l1", b"l2", b"h1", b"t1", b"t2", b"z1", b"z2"]
LEX_KEYS = [b"x1", b"x2", b"x3"]
ODD_KEYS = [b"", b"\x00", b"\xff\xfe", "ключ".encode(), b"a b", b"with\r\nline", b"'quoted\""]

PLAIN = [b"v", b"w", b"hello", b"Hello, World", b"x" * 70, b"0", b"1", b"-1", b"10", b"42", b"100"]
ODD = [
    b"", b" ", b"\x00", b"\x00\xff", b"\xff\xfe\xfd", b"line\r\nbreak", "zażółć".encode(), b" 1", b"1 ", b"+1", b"01",
    b"-0", b"1.0", b"1.5", b"-1.5e2", b"1e3", b"3.0e3", b"inf", b"-inf", b"+inf", b"nan", b"1e400", b".5", b"5.",
    b"1_000", b"true", b"null", b"nil", b"9223372036854775807", b"9223372036854775806", b"-9223372036854775808",
    b"9223372036854775808", b"-9223372036854775809", b"18446744073709551615", b"18446744073709551616", b"1e-7",
    b"123456789012345678901234567890", b"0.1", b"3.14159265358979",
]
INTS = [0, 1, 1, 2, 3, 5, 10, -1, -1, -2, -5, 100, -100, 1000]
ODD_INTS = [b"", b"a", b"1.5", b" 1", b"1 ", b"+1", b"01", b"-0", b"1e2", b"9223372036854775807", b"-9223372036854775808",
            b"9223372036854775808", b"-9223372036854775809", b"2147483647", b"2147483648", b"-2147483648", b"4294967296"]
FLOATS = [b"0", b"1", b"-1", b"1.5", b"-2.25", b"0.5", b"10", b"100", b"3.0", b"2e2", b"1e-3", b"0.1", b"0.25", b"1234567"]
ODD_FLOATS = [b"", b"x", b"nan", b"inf", b"-inf", b"+inf", b"INF", b"Infinity", b"1e400", b"-0", b"-0.0", b" 1", b"1 ", b"1p3",
              b"1e17", b"1e16", b"123456789.123456789", b"9007199254740993", b"1.7976931348623157e308", b"5e-324", b"1e308",
              b".5", b"5.", b"1.0.0", b"1e21", b"1e22", b"3.3333333333333335", b"0.30000000000000004"]
MEMBERS = [b"a", b"b", b"c", b"d", b"e", b"f", b"g", b"h", b"1", b"2", b"3", b"10", b"-5", b"aa", b"ab"]
GLOBS = [b"*", b"?1", b"s*", b"*1", b"user:*", b"[a-c]", b"[^a]", b"[^a-z]*", b"h[12]", b"k\\*", b"k\\[1\\]", b"k[[]1]", b"", b"**",
         b"*[", b"\\", b"[", b"[]", b"[z-a]", b"?", b"x?", b"[\\]]", b"u*:?", b"[a", b"a*b*c*", b"*\\", b"[a-", b"[^]"]
CHANNELS = [b"ch1", b"ch2", b"news", b"news.art", b"", b"\x00\xff", b"h[12]"]
CHANNEL_GLOBS = [b"*", b"ch?", b"news*", b"news.*", b"[cn]*", b"", b"h\\[12\\]", b"*"]
MS_FAR = 3_000_000  # nothing below expires within a run


def is_far(time):
    return time in (b"100000", b"1000000", b"500000", b"100000000", b"1000000000", b"500000000")


def chance(rng, probability):
    return rng.random() < probability


def number(value):
    return b"%d" % value


def key(rng, family):
    draw = rng.random()
    if draw < 0.80:
        return rng.choice(KEYS[family])
    if draw < 0.97:
        return rng.choice(SHARED_KEYS)
    return rng.choice(ODD_KEYS)


def lex_key(rng, family):
    """Of a sorted set whose members have one score: what a range by name means where they have not is undefined."""
    return rng.choice(LEX_KEYS)


def value(rng, family):
    draw = rng.random()
    if draw < 0.6:
        return rng.choice(PLAIN)
    if draw < 0.9:
        return rng.choice(ODD)
    if draw < 0.97:
        return rng.randbytes(rng.randrange(1, 40))
    return rng.choice([b"y" * 1900, rng.randbytes(1900), b"z" * 200])


def integer(rng, family):
    draw = rng.random()
    if draw < 0.80:
        return number(rng.choice(INTS))
    if draw < 0.88:
        return number(rng.randrange(-(10**6), 10**6))
    return rng.choice(ODD_INTS)


def floating(rng, family):
    draw = rng.random()
    if draw < 0.72:
        return rng.choice(FLOATS)
    if draw < 0.86:
        return b"%.4f" % rng.uniform(-1000, 1000)
    return rng.choice(ODD_FLOATS)


def count(rng, family):
    """How many. Sometimes very many."""
    draw = rng.random()
    if draw < 0.85:
        return number(rng.choice([0, 1, 1, 2, 2, 3, 5, 10, -1, -2, 100]))
    return rng.choice(ODD_INTS)


def index(rng, family):
    draw = rng.random()
    if draw < 0.92:
        return number(rng.choice([0, 0, 1, 2, 3, 4, 7, 20, -1, -1, -2, -3, -5, -20, 1000]))
    return rng.choice(ODD_INTS)


def offset(rng, family):
    """For SETRANGE: bounded, so that neither server allocates for minutes."""
    if chance(rng, 0.9):
        return number(rng.choice([0, 1, 2, 5, 6, 10, 50, 300]))
    return rng.choice([b"-1", b"a", b"", b"536870912", b"9223372036854775807", b"1.5", b"5000"])


def bit_offset(rng, family):
    if chance(rng, 0.9):
        return number(rng.choice([0, 1, 2, 7, 8, 9, 15, 16, 31, 63, 64, 100, 500]))
    return rng.choice([b"-1", b"a", b"", b"4294967296", b"9223372036854775807", b"1.5", b"9000", b"18446744073709551615"])


def bit(rng, family):
    return rng.choice([b"0", b"1", b"1", b"0", b"1", b"2", b"-1", b"a", b""]) if chance(rng, 0.15) else rng.choice([b"0", b"1"])


def field_type(rng, family):
    if chance(rng, 0.93):
        return rng.choice([b"u1", b"u2", b"u4", b"u8", b"u16", b"u32", b"u63", b"i1", b"i2", b"i5", b"i8", b"i16", b"i32", b"i64", b"U8", b"I8"])
    return rng.choice([b"u64", b"i65", b"u0", b"i0", b"x8", b"u", b"", b"8", b"i-1", b"u8x"])


def field_offset(rng, family):
    if chance(rng, 0.9):
        return rng.choice([b"0", b"1", b"3", b"7", b"8", b"16", b"60", b"100", b"#0", b"#1", b"#2", b"#5"])
    return rng.choice([b"-1", b"#", b"#-1", b"a", b"", b"#a", b"4294967295", b"4294967290", b"#536870912", b"9223372036854775807", b"#9223372036854775807"])


def seconds(rng, family):
    """Relative seconds: far, past, or wrong."""
    if chance(rng, 0.8):
        return rng.choice([b"100000", b"1000000", b"500000"])
    return rng.choice([b"0", b"-1", b"-100", b"a", b"", b"1.5", b"9223372036854775807", b"-9223372036854775808",
                       b"9223372036854776", b"9223372036854775", b"9223370000000000", b"1e3"])


def milliseconds(rng, family):
    if chance(rng, 0.8):
        return rng.choice([b"100000000", b"1000000000", b"500000000"])
    return rng.choice([b"0", b"-1", b"-100", b"a", b"", b"1.5", b"9223372036854775807", b"-9223372036854775808", b"9223370000000000000"])


def unix_seconds(rng, family):
    if chance(rng, 0.8):
        return rng.choice([b"4000000000", b"5000000000", b"4000000001"])
    return rng.choice([b"0", b"1", b"-1", b"1000000000", b"a", b"", b"9223372036854775807", b"-9223372036854775808", b"9223372036854776"])


def unix_milliseconds(rng, family):
    if chance(rng, 0.8):
        return rng.choice([b"4000000000000", b"5000000000123", b"4000000001001"])
    return rng.choice([b"0", b"1", b"-1", b"1000000000000", b"a", b"", b"9223372036854775807", b"-9223372036854775808"])


def timeout(rng, family):
    """Of a blocking command outside of `block` steps: short, or wrong."""
    return rng.choice([b"0.01", b"0.01", b"0.02", b"-1", b"a", b"", b"1e400", b"nan", b"-0.5", b"0.01x"]) if chance(rng, 0.3) else b"0.01"


def member(rng, family):
    draw = rng.random()
    if draw < 0.88:
        return rng.choice(MEMBERS)
    if draw < 0.94:
        return number(rng.randrange(-50, 400))
    return rng.choice(ODD + [b"q" * 70])


def many_members(rng, family):
    """One word of a bulk: spreads over enough names to leave the small encodings."""
    return b"m%d" % rng.randrange(600)


def score(rng, family):
    return floating(rng, family)


def score_bound(rng, family):
    draw = rng.random()
    if draw < 0.3:
        return rng.choice([b"-inf", b"+inf", b"inf", b"(-inf", b"(+inf"])
    prefix = b"(" if chance(rng, 0.3) else b""
    return prefix + floating(rng, family)


def lex_bound(rng, family):
    draw = rng.random()
    if draw < 0.3:
        return rng.choice([b"-", b"+"])
    if draw < 0.94:
        return rng.choice([b"[", b"("]) + rng.choice(MEMBERS)
    return rng.choice([b"", b"a", b"[", b"(", b"-a", b"++", b"{a", b"\x00"])


def glob(rng, family):
    return rng.choice(GLOBS)


def channel(rng, family):
    return rng.choice(CHANNELS)


def channel_glob(rng, family):
    return rng.choice(CHANNEL_GLOBS)


def database(rng, family):
    return rng.choice([b"0", b"0", b"1", b"2", b"15", b"16", b"-1", b"a", b"", b"99999999999", b"1.0"])


def small_database(rng, family):
    return rng.choice([b"0", b"1", b"2", b"1", b"2", b"1", b"16", b"-1", b"a"])


def type_name(rng, family):
    return rng.choice([b"string", b"list", b"hash", b"set", b"zset", b"stream", b"STRING", b"none", b""])


def name(rng, family):
    return rng.choice([b"conn1", b"my-name", b"", b"with space", b"new\nline", "ü".encode(), b"x" * 100, b"~tilde~"])


def junk(rng, family):
    return rng.choice([b"FOO", b"", b"\x00\xff", b"get get", b"'", b"nosuchcommand", b"a" * 200, b"GETT", b"S\r\nET", b"xyz"])


WORDS = {
    "k": key, "lk": lex_key, "v": value, "i": integer, "f": floating, "n": count, "x": index, "off": offset, "boff": bit_offset, "bit": bit,
    "bft": field_type, "bfo": field_offset, "t": seconds, "pt": milliseconds, "at": unix_seconds, "pat": unix_milliseconds,
    "to": timeout, "m": member, "mm": many_members, "s": score, "sb": score_bound, "lb": lex_bound, "g": glob, "ch": channel,
    "cg": channel_glob, "db": database, "sdb": small_database, "ty": type_name, "name": name, "junk": junk,
}
