"""What a session of a client checks: the first reply that is another one than expected ends it."""

import sys

_done = 0


def check(what, expected, actual):
    global _done
    _done += 1
    if expected != actual:
        print(f"FAILED {what}\n  expected: {expected!r}\n  actual:   {actual!r}")
        sys.exit(1)


def report():
    print(f"{_done} checks")
