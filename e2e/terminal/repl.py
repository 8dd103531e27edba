"""`orchard repl` as a person uses it: on a pseudo-terminal, with history and completion.

    repl.py ORCHARD TARGET...

TARGET is `--url URL` or `--data DIR` of an empty database.
"""

import os
import pty
import select
import signal
import sys
import tempfile
import time

# rustyline says so when it begins to read a line; what is typed before that is not its own.
READS = b"\x1b[?2004h"
PATIENCE_S = 20


class Terminal:
    def __init__(self, command, environment):
        self.seen = b""
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execve(command[0], command, {**os.environ, "TERM": "xterm", **environment})
        self.next_line()

    def _read(self, until):
        ready, _, _ = select.select([self.fd], [], [], max(0, until - time.monotonic()))
        if not ready:
            os.kill(self.pid, signal.SIGKILL)
            raise AssertionError(f"nothing more came behind {self.seen!r}")
        try:
            return os.read(self.fd, 65536)
        except OSError:  # Linux says EIO at the end.
            return b""

    def expect(self, what):
        """Waits until `what` was shown; what came up to there."""
        until = time.monotonic() + PATIENCE_S
        while what not in self.seen:
            more = self._read(until)
            assert more, f"it ended before {what!r}: {self.seen!r}"
            self.seen += more
        shown, _, self.seen = self.seen.partition(what)
        return shown + what

    def next_line(self):
        shown = self.expect(READS)
        self.expect(b"orchard> ")
        return shown

    def type(self, text):
        os.write(self.fd, text.encode())

    def line(self, text):
        """Types a line; what it printed."""
        self.type(text + "\r")
        return self.next_line().decode()

    def end(self):
        until = time.monotonic() + PATIENCE_S
        while more := self._read(until):
            self.seen += more
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def check(shown, *expected):
    for text in expected:
        assert text in shown, f"no {text!r} in {shown!r}"


def main(orchard, *target):
    with tempfile.TemporaryDirectory() as directory:
        history = os.path.join(directory, "history")
        command, environment = [orchard, "repl", *target], {"ORCHARD_HISTORY": history}

        repl = Terminal(command, environment)
        check(repl.line("PUT apple red"), "\n0")
        check(repl.line('put apricot "two words"'), "\n0")
        check(repl.line("GET apple"), "\nred\r")
        check(repl.line("get pear"), "(not found)")
        check(repl.line("SCAN"), 'apple\t"red"', 'apricot\t"two words"')
        check(repl.line("help"), "get ", "put ", "delete ", "scan ", "exit ")
        check(repl.line("fly"), "unrecognized subcommand")
        check(repl.line("DELETE apple"), "\n0")
        check(repl.line("GET apple"), "(not found)")

        # A command, a key and a flag are completed.
        repl.type("ge\t")
        repl.expect(b"GET ")
        repl.type("apr\t")
        repl.expect(b"apricot ")
        check(repl.line(""), "two words")
        repl.type("scan --st\t")
        repl.expect(b"--start ")
        check(repl.line("apr"), 'apricot\t"two words"')

        # Up: the last line again. Ctrl-C: this line is nothing.
        check(repl.line("\x1b[A"), 'apricot\t"two words"')
        repl.type("put never x\x03")
        repl.next_line()
        check(repl.line("get never"), "(not found)")
        repl.type("exit\r")
        assert repl.end() == 0

        # The lines are there the next time; what begins with a space is not kept.
        repl = Terminal(command, environment)
        check(repl.line(" put secret hush"), "\n0")
        check(repl.line("\x1b[A\x1b[A"), "(not found)")
        repl.type("\x12apricot")
        repl.expect(b"apricot")
        repl.type("\x03")
        repl.next_line()
        repl.type("\x04")
        assert repl.end() == 0
        with open(history, encoding="utf-8") as kept:
            lines = kept.read()
        check(lines, "PUT apple red", "get never")
        assert "hush" not in lines, lines
        assert os.stat(history).st_mode & 0o077 == 0, "others can read the history"
    print(f"repl {target[0]}: ok")


if __name__ == "__main__":
    main(*sys.argv[1:])
