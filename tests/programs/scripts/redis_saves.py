"""BGSAVE and AOF rewrite while clients write: what the child writes is the state at the fork.

DEBUG DIGEST and BGSAVE go out in one message, which redis works off without a look at any other
client: the digest is the state at the fork.  The dump is loaded by a server outside the preload.
In the end the server's data must equal what its writers sent, replayed into that outside server.
"""
import os
import random
import shutil
import sys
import threading
import time

sys.path.insert(0, os.environ["SCRIPTS"])
from server import Redis

rounds, size = int(sys.argv[1]), int(sys.argv[2])   # size: of the larger values
redis = Redis("redis", True, "--appendonly", "no", "--rdb-key-save-delay", "0",
              "--activedefrag", "no", "--auto-aof-rewrite-percentage", "0")
outside = Redis("outside", False)
WRITERS = 3
KEYS = 3000 if size < 65536 else 300


def commands(writer, n):
    """The n-th message of a writer: the same each time it is asked for."""
    r = random.Random(writer * 1000003 + n)
    out = []
    for _ in range(10):
        key = "w%d:%d" % (writer, r.randrange(KEYS))
        kind = r.randrange(10)
        length = r.randrange(size) if kind else r.randrange(64)
        if kind < 6:
            out.append(("SET", key, bytes([65 + r.randrange(26)]) * length))
        elif kind == 6:
            out.append(("APPEND", key, b"+" * (length // 4)))
        elif kind == 7:
            out.append(("SETRANGE", key, r.randrange(size), b"=" * (length // 4)))
        elif kind == 8:
            out.append(("DEL", key))
        else:
            out.append(("HSET", "h" + key, "f%d" % r.randrange(50), b"h" * (length % 300)))
            out.append(("RPUSH", "l" + key, "%d" % n))
            out.append(("LTRIM", "l" + key, -20, -1))
    return out


sent = [0] * WRITERS
stop = threading.Event()


def write(writer):
    c = redis.connect()
    while not stop.is_set():
        todo = commands(writer, sent[writer])
        c.send(*todo)
        for _ in todo:
            c.reply()
        sent[writer] += 1


def progress(by):
    """Until each writer has sent that many more messages."""
    goal = [n + by for n in sent]
    while any(n < g for n, g in zip(sent, goal)):
        if not all(t.is_alive() for t in threads):
            sys.exit("a writer ended")
        time.sleep(0.005)


# daemon: when this script fails, it ends
threads = [threading.Thread(target=write, args=(w,), daemon=True) for w in range(WRITERS)]
for t in threads:
    t.start()
progress(100)
c, o = redis.connect(), outside.connect()
for n in range(rounds):
    progress(10)
    c.send(("DEBUG", "DIGEST"), ("BGSAVE",))
    digest, started = c.reply(), c.reply()
    while c.info("rdb_bgsave_in_progress") != "0":
        time.sleep(0.01)
    status = c.info("rdb_last_bgsave_status")
    shutil.copy(os.path.join(redis.folder, "dump.rdb"), os.path.join(outside.folder, "dump.rdb"))
    o("DEBUG", "RELOAD", "NOSAVE")
    print("save", n, started.decode(), status,
          "equal" if o("DEBUG", "DIGEST") == digest else "TORN", flush=True)
c("CONFIG", "SET", "appendfsync", "no")
c("CONFIG", "SET", "appendonly", "yes")
for n in range(max(2, rounds // 4)):
    while c.info("aof_rewrite_in_progress") != "0" or c.info("aof_rewrite_scheduled") != "0":
        time.sleep(0.01)
    progress(10)
    started = c("BGREWRITEAOF")
    progress(10)
    while c.info("aof_rewrite_in_progress") != "0" or c.info("aof_rewrite_scheduled") != "0":
        time.sleep(0.01)
    print("rewrite", n, started.decode(), c.info("aof_last_bgrewrite_status"), flush=True)
stop.set()
for t in threads:
    t.join()
digest = c("DEBUG", "DIGEST")
c("DEBUG", "LOADAOF")
print("append only file:", "equal" if c("DEBUG", "DIGEST") == digest else "DIFFERENT")
o("FLUSHALL")
for writer in range(WRITERS):
    for n in range(sent[writer]):
        todo = commands(writer, n)
        o.send(*todo)
        for _ in todo:
            o.reply()
print("parent:", "equal" if o("DEBUG", "DIGEST") == digest else "DIFFERENT")
print("stopped", redis.stop(), outside.stop())
with open(redis.log, encoding="utf-8", errors="replace") as f:
    print("crashes:", sum("CRASH" in line or "BUG REPORT" in line for line in f))
