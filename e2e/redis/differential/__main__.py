"""The differential tester: the same random commands to a real Redis 7 and to OrchardDB, every reply compared.

    python3 e2e/redis/differential --orchard target/debug/orchard --family strings --seed 7 --commands 20000
    python3 e2e/redis/differential --orchard redis                    Redis against Redis: no difference
    python3 e2e/redis/differential --orchard redis --fault state      must find one
    python3 e2e/redis/differential --list                             the differences that are let pass
"""

import argparse
import sys
import time

import differences
import resp
from faults import FAULTS
from families import DATA, FAMILIES
from generate import Generator
from runner import Pair, shrink
from servers import Orchard, Redis

ROUND = 400  # steps between two empty databases
FRAMED = {"pubsub", "notifications"}


def main():
    options = parse()
    if options.list:
        for difference in differences.DIFFERENCES:
            print(f"{difference.name}: {difference.reason}")
        return 0
    families = list(FAMILIES) if options.family == ["all"] else options.family
    second = Redis() if options.orchard == "redis" else Orchard(options.orchard, data=options.data)
    redis = None
    try:
        redis = Redis()
        failed = 0
        for protocol in options.protocol:
            for family in families:
                failed += run_family(options, family, protocol, redis, second)
        for line in getattr(second, "panics", list)():
            print(f"PANIC {line.strip()}")
            failed += 1
        return 1 if failed else 0
    finally:
        if redis:
            redis.stop()
        second.stop()


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--orchard", default="target/release/orchard", help="the binary, or `redis` for Redis against Redis")
    parser.add_argument("--data", action="store_true", help="orchard on a directory instead of in memory")
    parser.add_argument("--family", action="append", choices=["all", *FAMILIES], help="may be given several times")
    parser.add_argument("--protocol", action="append", type=int, choices=[2, 3], help="RESP version; both by default")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--commands", type=int, default=2000, help="for each family and protocol")
    parser.add_argument("--seconds", type=float, default=0, help="go on for so long instead, family by family")
    parser.add_argument("--differences", type=int, default=1, help="stop a family after so many different differences")
    parser.add_argument("--fault", choices=sorted(FAULTS), help="spoil the second server's answers or state")
    parser.add_argument("--list", action="store_true", help="print the differences that are let pass")
    options = parser.parse_args()
    options.family = options.family or ["all"]
    options.protocol = options.protocol or [2, 3]
    return options


def run_family(options, family, protocol, redis, second):
    fault = FAULTS[options.fault]() if options.fault else None
    # CONFIG RESETSTAT is in family connection; others run their commands framed or in steps.
    counts_looks = not fault and family in (*DATA, "transactions")
    pair = Pair(redis, second, protocol, fault, counts_looks)
    framed = family in FRAMED
    started = time.monotonic()
    seen, steps, round_number = set(), 0, 0
    size = 40 if family == "blocking" else ROUND
    while True:
        seed = f"{options.seed}/{round_number}"
        round_number += 1
        generator = Generator(family, seed)
        setup = generator.setup()
        batch = list(generator.steps(size))
        pair.reset()
        found = pair.run(setup + batch, framed)
        steps += len(batch) if not found else found.at + 1
        if found and found.signature() not in seen:
            seen.add(found.signature())
            report(pair, family, protocol, options.seed, round_number - 1, setup, batch, found, framed)
        elapsed = time.monotonic() - started
        enough = elapsed >= options.seconds if options.seconds else steps >= options.commands
        if enough or len(seen) >= options.differences:
            break
    allowed = ", ".join(f"{name} {count}" for name, count in sorted(pair.counts.items())) or "none needed"
    verdict = "no difference" if not seen else f"{len(seen)} DIFFERENT"
    print(f"{family:14} RESP{protocol} seed {options.seed}: {steps} steps in {elapsed:.1f} s, {verdict} (listed: {allowed})", flush=True)
    pair.close()
    return len(seen)


def report(pair, family, protocol, seed, round_number, setup, batch, found, framed):
    print(f"\nDIFFERENCE family {family} RESP{protocol} seed {seed} round {round_number} step {found.at}:\n  {found}")
    smaller, again = shrink(pair, setup, batch[: found.at - len(setup) + 1], found.signature(), framed)
    if again is None:
        print("  it did not come again when the same steps ran alone\n", flush=True)
        return
    print(f"  shrunk to {len(smaller)} steps:")
    for step in smaller[-30:]:
        print(f"    {step}")
    print(f"  where\n    redis:   {resp.show(again.redis)}\n    orchard: {resp.show(again.orchard)}\n", flush=True)


if __name__ == "__main__":
    sys.exit(main())
