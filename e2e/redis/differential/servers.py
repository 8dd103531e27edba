"""The two programs under comparison, each started on a free port and stopped at the end."""

import os
import shutil
import socket
import subprocess
import tempfile
import time

START_TIMEOUT_S = 30.0


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Redis:
    """A Redis 7 that keeps nothing on disk."""

    name = "redis"

    def __init__(self, *flags):
        self.port = free_port()
        self.directory = tempfile.mkdtemp(prefix="redis-")
        # `databases 16` and the rest of the defaults; no config file.
        self.process = subprocess.Popen(
            ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no",
             "--dir", self.directory, *flags],
            stdout=subprocess.DEVNULL,
        )
        wait_for_port(self.port, self.process)

    def stop(self):
        stop(self.process)
        shutil.rmtree(self.directory, ignore_errors=True)


class Orchard:
    """`orchard serve`, in memory or on a directory of its own."""

    name = "orchard"

    def __init__(self, binary, data=False, durability=None):
        self.directory = tempfile.mkdtemp(prefix="orchard-redis-")
        storage = ["--data", os.path.join(self.directory, "data")] if data else ["--memory"]
        if durability:
            storage += ["--durability", durability]
        self.log = open(os.path.join(self.directory, "log"), "wb")
        self.process = subprocess.Popen(
            [binary, "serve", *storage, "--listen", "127.0.0.1:0"],
            stdout=subprocess.PIPE,
            stderr=self.log,
        )
        self.port = self.await_listening()

    def await_listening(self):
        for line in self.process.stdout:
            if line.startswith(b"Listening on "):
                return int(line.rsplit(b":", 1)[1])
        with open(self.log.name, encoding="utf-8", errors="replace") as log:
            raise RuntimeError(f"orchard did not start:\n{log.read()}")

    def panics(self):
        """Lines of its log that tell of a panic."""
        with open(self.log.name, encoding="utf-8", errors="replace") as log:
            return [line for line in log if "panicked" in line]

    def stop(self):
        stop(self.process)
        self.process.stdout.close()
        self.log.close()
        shutil.rmtree(self.directory, ignore_errors=True)


def stop(process):
    process.terminate()
    try:
        process.wait(timeout=20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def wait_for_port(port, process):
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"the server ended with {process.returncode}")
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.01)
    raise RuntimeError("the server did not listen in time")
