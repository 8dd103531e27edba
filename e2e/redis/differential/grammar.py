"""Command templates. `SET k v [NX|XX] [EX t|PX pt]` is a template: words in capitals are themselves, small words come
from `words.WORDS`, `[..]` may be left out, `{..}` stands one to four times, `(..)` once, `|` separates alternatives inside a
bracket, and single words outside of one; `#{..}` puts the number of repetitions first (`ZUNION #{k}`), `+{..}` repeats up to 300 times."""

from words import WORDS

REPEATS = [1, 1, 1, 2, 2, 3, 4]
MANY = [20, 60, 140, 300]


class Template:
    def __init__(self, line):
        weight, text = line.split(" ", 1) if line[0].isdigit() else ("4", line)
        self.weight = int(weight)
        tokens = tokenize(text)
        self.choices, rest = parse(tokens, 0, None)
        assert rest == len(tokens) and len(self.choices) == 1, line

    def generate(self, rng, family):
        return emit(self.choices, rng, family)


def tokenize(text):
    for mark in "[]{}()|":
        text = text.replace(mark, f" {mark} ")
    return words_in_groups(text.replace("# {", "#{").replace("+ {", "+{").split())


def words_in_groups(tokens):
    """Outside of brackets `A|B` is `(A|B)`."""
    grouped, depth = [], 0
    for at, token in enumerate(tokens):
        depth += (token[-1] in "[{(") - (token in "]})")
        beside = "|" in tokens[max(at - 1, 0) : at + 2]
        if depth or token in "|]})" or not beside:
            grouped.append(token)
            continue
        begins = at == 0 or tokens[at - 1] != "|"
        ends = at + 1 == len(tokens) or tokens[at + 1] != "|"
        grouped += ["("] * begins + [token] + [")"] * ends
    return grouped


def parse(tokens, at, closing):
    """Alternatives up to `closing`: a list of sequences of nodes."""
    choices, sequence = [], []
    while at < len(tokens) and tokens[at] != closing:
        token = tokens[at]
        at += 1
        if token == "|":
            choices.append(sequence)
            sequence = []
        elif token in ("[", "{", "#{", "+{", "("):
            inner, at = parse(tokens, at, {"[": "]", "(": ")"}.get(token, "}"))
            at += 1
            sequence.append((token, inner))
        elif token in WORDS:
            sequence.append(("word", WORDS[token]))
        else:
            sequence.append(("literal", token.encode()))
    choices.append(sequence)
    return choices, at


def emit(choices, rng, family):
    args = []
    for kind, what in rng.choice(choices):
        if kind == "literal":
            args.append(what if rng.random() < 0.9 else what.lower())
        elif kind == "word":
            args.append(what(rng, family))
        elif kind == "[":
            if rng.random() < 0.5:
                args += emit(what, rng, family)
        elif kind == "(":
            args += emit(what, rng, family)
        elif kind in ("{", "+{"):
            for _ in range(rng.choice(REPEATS if kind == "{" else MANY)):
                args += emit(what, rng, family)
        elif kind == "#{":
            groups = [emit(what, rng, family) for _ in range(rng.choice(REPEATS))]
            args.append(b"%d" % len(groups))
            args += [arg for group in groups for arg in group]
    return args


MUTATION_RATE = 0.06


def mutate(args, rng, family):
    """Now and then: an argument too few, too many, twice, elsewhere, or of another kind."""
    if rng.random() >= MUTATION_RATE:
        return args
    args = list(args)
    at = rng.randrange(len(args))
    kind = rng.randrange(5)
    if kind == 0 and at > 0:
        del args[at]
    elif kind == 1:
        args.insert(at + 1, WORDS[rng.choice(["v", "i", "k", "f", "m"])](rng, family))
    elif kind == 2 and at > 0:
        args.insert(at, args[at])
    elif kind == 3 and len(args) > 2:
        other = rng.randrange(1, len(args))
        at = max(at, 1)
        args[at], args[other] = args[other], args[at]
    elif at > 0:
        args[at] = WORDS[rng.choice(["v", "i", "f", "junk", "n"])](rng, family)
    return args
