"""kill -9 while clients write, some through pipelines; then nothing that was acknowledged may be missing.

    kill_under_load.py ORCHARD DIRECTORY
"""

import os
import pathlib
import signal
import subprocess
import sys
import threading

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "differential"))
import resp  # noqa: E402

ORCHARD, DIRECTORY = sys.argv[1:3]
WRITERS, ROUNDS, PIPELINE = 4, 3, 8


def start():
    process = subprocess.Popen(
        [ORCHARD, "serve", "--data", DIRECTORY, "--durability", "fsync", "--listen", "127.0.0.1:0"],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )
    for line in process.stdout:
        if line.startswith(b"Listening on "):
            return process, int(line.rsplit(b":", 1)[1])
    raise RuntimeError("it did not start")


def write(port, writer, acknowledged, enough):
    """INCR and RPUSH until the connection ends; counts what was acknowledged."""
    connection = resp.Connection(port)
    counter, log = b"counter:%d" % writer, b"log:%d" % writer
    while True:
        for _ in range(PIPELINE):
            connection.send_raw(resp.encode((b"INCR", counter)) + resp.encode((b"RPUSH", log, b"x")))
        for _ in range(PIPELINE):
            for what in ("incr", "rpush"):
                reply = connection.read()
                if reply[0] != ":":
                    return
                acknowledged[writer][what] = reply[1]
        if acknowledged[writer]["incr"] >= enough:
            acknowledged[writer]["done"].set()


def main():
    process, port = start()
    acknowledged = [{"incr": 0, "rpush": 0} for _ in range(WRITERS)]
    total = 0
    for round_number in range(ROUNDS):
        threads = []
        for writer in range(WRITERS):
            acknowledged[writer]["done"] = threading.Event()
            goal = acknowledged[writer]["incr"] + 200
            threads.append(threading.Thread(target=write, args=(port, writer, acknowledged, goal)))
        load = subprocess.Popen(
            ["redis-benchmark", "-p", str(port), "-n", "100000000", "-c", "20", "-r", "10000", "-t", "set,lpush,hset", "-q"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        for thread in threads:
            thread.start()
        for writer in acknowledged:
            writer["done"].wait(30)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
        for thread in threads:
            thread.join()
        load.kill()
        load.wait()
        process, port = start()
        connection = resp.Connection(port)
        for writer, promised in enumerate(acknowledged):
            value = connection.call(b"GET", b"counter:%d" % writer)[1]
            length = connection.call(b"LLEN", b"log:%d" % writer)[1]
            found = int(value or 0), length
            if found[0] < promised["incr"] or found[1] < promised["rpush"]:
                print(f"FAILED round {round_number}: writer {writer} was promised {promised}, found {found}")
                process.kill()
                return 1
            if not 0 <= found[0] - found[1] <= 1:
                print(f"FAILED round {round_number}: writer {writer}: the commands did not stay in order: {found}")
                process.kill()
                return 1
            promised["incr"], promised["rpush"] = found
            total += 2
    process.terminate()
    process.wait()
    print(f"{sum(writer['incr'] for writer in acknowledged)} counted, nothing lost in {ROUNDS} kills")
    print(f"{total} checks")
    return 0


sys.exit(main())
