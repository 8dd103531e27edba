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


def step(writer, number):
    """The commands of one step: every kind of change, each value its own."""
    mark = b"%d:%d" % (writer, number)
    return [
        (b"INCR", b"counter:%d" % writer),
        (b"RPUSH", b"log:%d" % writer, mark),
        (b"SET", b"value:" + mark, mark + b"x" * 80),
        (b"HSET", b"hash:%d" % writer, mark, mark),
        (b"ZADD", b"zset:%d" % writer, b"%d" % number, mark),
        (b"MULTI",),
        (b"SET", b"left:%d" % writer, mark),
        (b"SET", b"right:%d" % writer, mark),
        (b"EXEC",),
    ]


def write(port, writer, promised, enough):
    """Steps in pipelines until the connection ends; notes which were acknowledged whole."""
    connection = resp.Connection(port)
    number = promised["sent"]
    while True:
        steps = [step(writer, number + at) for at in range(PIPELINE)]
        promised["sent"] = number + PIPELINE
        connection.send_raw(b"".join(resp.encode(args) for commands in steps for args in commands))
        for commands in steps:
            for _ in commands:
                reply = connection.read()
                if reply in (resp.CLOSED, resp.SILENT):
                    return
                if reply[0] == "-":
                    promised["error"] = reply[1]
                    return
            promised["acknowledged"].append(number)
            number += 1
        if len(promised["acknowledged"]) >= enough:
            promised["done"].set()


def missing(connection, writer, promised):
    """What is not as promised, or None. Of a step that was not acknowledged commands are there in order, or not."""
    call = connection.call
    if promised.get("error"):
        return f"an error: {promised['error']}"
    marks = [b"%d:%d" % (writer, number) for number in promised["acknowledged"]]
    values = [item[1] for item in call(b"MGET", *[b"value:" + mark for mark in marks])[1]]
    lost = [mark for mark, value in zip(marks, values) if value != mark + b"x" * 80]
    if lost:
        return f"{len(lost)} values, first {lost[0]}"
    fields = [item[1] for item in call(b"HMGET", b"hash:%d" % writer, *marks)[1]]
    if fields != marks:
        return "fields of the hash"
    log = [item[1] for item in call(b"LRANGE", b"log:%d" % writer, b"0", b"-1")[1]]
    if [mark for mark in log if mark in set(marks)] != marks or len(set(log)) != len(log):
        return "elements of the list, or their order"
    scores = [item[1] for item in call(b"ZMSCORE", b"zset:%d" % writer, *marks)[1]]
    if [int(score or -1) for score in scores] != promised["acknowledged"]:
        return "members of the sorted set"
    counted = int(call(b"GET", b"counter:%d" % writer)[1])
    if not len(marks) <= len(log) <= counted <= len(log) + 1:
        return f"the counter: {counted} for {len(marks)} acknowledged, {len(log)} in the list"
    left, right = (call(b"GET", name + b":%d" % writer)[1] for name in (b"left", b"right"))
    if left != right or int(left.split(b":")[1]) < promised["acknowledged"][-1]:
        return f"the transaction: {left} and {right} after {marks[-1]}"
    return None


def main():
    process, port = start()
    writers = [{"sent": 0, "acknowledged": []} for _ in range(WRITERS)]
    total = 0
    for round_number in range(ROUNDS):
        threads = []
        for writer, promised in enumerate(writers):
            promised["done"] = threading.Event()
            goal = len(promised["acknowledged"]) + 150
            threads.append(threading.Thread(target=write, args=(port, writer, promised, goal)))
        load = subprocess.Popen(
            ["redis-benchmark", "-p", str(port), "-n", "100000000", "-c", "20", "-r", "10000", "-t", "set,lpush,hset", "-q"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        for thread in threads:
            thread.start()
        for promised in writers:
            promised["done"].wait(30)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
        for thread in threads:
            thread.join()
        load.kill()
        load.wait()
        process, port = start()
        connection = resp.Connection(port)
        for writer, promised in enumerate(writers):
            lost = missing(connection, writer, promised)
            if lost:
                print(f"FAILED round {round_number}: writer {writer} lost {lost}")
                process.kill()
                return 1
            total += 6
    process.terminate()
    process.wait()
    steps = sum(len(promised["acknowledged"]) for promised in writers)
    print(f"{steps} steps of {len(step(0, 0))} commands acknowledged, nothing lost in {ROUNDS} kills")
    print(f"{total} checks")
    return 0


sys.exit(main())
