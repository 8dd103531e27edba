#!/usr/bin/env python3
"""Turns `apt-cache dumpavail` (standard input) into NDJSON for `orchard import` (standard output).

Each package becomes one line, {"key": ["debian", NAME], "value": {FIELD: TEXT, ...}, "type": "json"}, in the order of
the names' bytes, which is OrchardDB's order. All fields are texts, as the index has them: continuation lines are
joined by line ends, without the blank that begins them. Of several versions of a package the first is kept, which is
the one that apt lists first. Needs nothing but Python 3.
"""

import json
import sys


def records(lines):
    """The fields of each record, in their order."""
    fields, last = {}, None
    for line in lines:
        line = line.rstrip("\n")
        if not line:
            if fields:
                yield fields
            fields, last = {}, None
        elif line[0] in " \t":
            if last is None:
                raise ValueError(f"a continuation line without a field: {line!r}")
            fields[last] += "\n" + line[1:]
        else:
            last, separator, text = line.partition(":")
            if not separator:
                raise ValueError(f"neither a field nor a continuation line: {line!r}")
            fields[last] = text.strip()
    if fields:
        yield fields


def main():
    sys.stdin.reconfigure(encoding="utf-8", errors="strict", newline="\n")
    sys.stdout.reconfigure(encoding="utf-8", newline="\n")
    packages = {}
    seen = 0
    for fields in records(sys.stdin):
        seen += 1
        packages.setdefault(fields["Package"], fields)
    for name in sorted(packages, key=str.encode):
        entry = {"key": ["debian", name], "value": packages[name], "type": "json"}
        sys.stdout.write(json.dumps(entry, ensure_ascii=False, separators=(",", ":")) + "\n")
    print(f"{seen} records, {len(packages)} packages", file=sys.stderr)


if __name__ == "__main__":
    main()
