"""An unmodified script: it knows nothing of hshm.  argv: the start method."""
import multiprocessing as mp
import pickle
import sys
import threading
from concurrent.futures import ProcessPoolExecutor

import numpy as np


def doubled(a):
    a[0] += 1
    return a * 2


def echo(queue, back):
    while (a := queue.get()) is not None:
        total = a.sum()
        a[5] = -1  # it is its own
        back.put((total, a))


def through_pipe(end):
    got = end.recv()
    assert not np.frombuffer(got["buffer"], "u1").flags.writeable
    got["buffer"] = bytes(got["buffer"])
    end.send(got)


def main():
    mp.set_start_method(sys.argv[1])
    queue, back = mp.Queue(), mp.SimpleQueue()
    worker = mp.Process(target=echo, args=(queue, back))
    worker.start()
    a = np.arange(1 << 18, dtype="f8")
    for _ in range(10):
        queue.put(a)
        total, b = back.get()
        assert total == a.sum() and b[5] == -1 and a[5] == 5 and (b[6:] == a[6:]).all()
    queue.put(a[::2])  # not in one piece
    assert back.get()[0] == a[::2].sum()
    queue.put(np.asfortranarray(a.reshape(512, 512))[:, :200].T)
    back.get()
    queue.put(None)
    worker.join()
    assert worker.exitcode == 0

    one, other = mp.Pipe()
    worker = mp.Process(target=through_pipe, args=(other,))
    worker.start()
    sent = {"array": a, "text": "x" * 100000, "bytes": b"y" * 300000, "bytearray": bytearray(200000),
            "nested": [(a, {"again": a})], "buffer": pickle.PickleBuffer(b"z" * 100000)}
    one.send(sent)
    got = one.recv()
    assert (got["array"] == a).all() and got["nested"][0][0] is got["array"]
    assert got["nested"][0][1]["again"] is got["array"]
    assert all(got[name] == sent[name] for name in ("text", "bytes", "bytearray"))
    assert got["buffer"] == b"z" * 100000
    worker.join()

    with mp.Pool(2) as pool:
        out = pool.map(doubled, [np.full(30000, i, "f8") for i in range(12)])
        assert [(int(o[0]), int(o[1])) for o in out] == [(2 * i + 2, 2 * i) for i in range(12)]
    with ProcessPoolExecutor(2) as pool:
        out = list(pool.map(doubled, [np.full(30000, i, "f8") for i in range(12)]))
        assert [(int(o[0]), int(o[1])) for o in out] == [(2 * i + 2, 2 * i) for i in range(12)]

    done = []  # threads that send and receive at once, while others fork
    def talk(number):
        with mp.Pool(1) as pool:
            for i in range(5):
                done.append(int(pool.apply(doubled, (np.full(20000, i, "f8"),))[7]) == 2 * i)
    threads = [threading.Thread(target=talk, args=(n,)) for n in range(3)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert done == [True] * 15
    print("all is as it was")


if __name__ == "__main__":
    main()
