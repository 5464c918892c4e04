"""os.fork with threads: the main thread forks while eight threads allocate, three generations deep.

Every child must find the objects as they were at the fork, may change all of them, and is waited
for; its parent must see nothing of it.
"""
import hashlib
import os
import sys
import threading

ROUNDS = int(sys.argv[1])
stop = threading.Event()


def churn(n):
    kept = {}
    i = 0
    while not stop.is_set():
        i += 1
        kept[i % 97] = [str(i + n) * (i % 50), bytearray(i % 5000), {j: str(j) for j in range(i % 20)}]
        if i % 500 == 0:
            kept = {key: value[:] for key, value in kept.items()}


def state():
    return {"list": list(range(2000)), "text": "x" * 100000, "deep": [[str(i)] * 5 for i in range(500)],
            "bytes": bytearray(b"abc" * 30000)}


def digest(of):
    return hashlib.md5(repr(of).encode()).hexdigest()


def spoil(of):
    of["list"].reverse()
    of["text"] += "y"
    of["deep"] = [i + ["spoilt"] for i in of["deep"][::2]]
    of["bytes"][::3] = b"z" * 30000
    of["new"] = [object() for _ in range(3000)]


def generation(depth, mine):
    before = digest(mine)
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            wrong = digest(mine) != before
            if depth < 3:
                wrong = not generation(depth + 1, mine) or wrong
            thread = threading.Thread(target=spoil, args=(mine,))
            thread.start()
            thread.join()
            status = 2 if wrong or digest(mine) == before else 0
        finally:
            os._exit(status)
    kept = [bytearray(3000) for _ in range(300)]
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if status != 0 or digest(mine) != before or any(any(b) for b in kept):
        print("generation %d: status %d, %s" % (depth, status, digest(mine) == before), flush=True)
        return False
    return True


threads = [threading.Thread(target=churn, args=(n,)) for n in range(8)]
for t in threads:
    t.start()
good = 0
mine = state()
for n in range(ROUNDS):
    mine["round"] = str(n) * 1000
    good += generation(1, mine)
stop.set()
for t in threads:
    t.join()
print(good, "of", ROUNDS, digest(state()))
