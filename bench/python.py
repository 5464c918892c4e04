#!/usr/bin/python3
"""A numpy array to another process and back: python3 -m hshm, plain pickling, and
multiprocessing.shared_memory with the copies that it needs.

    bench/python.py [--sizes 1M,16M,256M] [--turns N]      all in one run, interleaved; ms, least and median
"""
import argparse
import multiprocessing as mp
import os
import statistics
import sys
import time
from multiprocessing import resource_tracker, shared_memory

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(ROOT, "bindings/python"))
os.environ["PYTHONPATH"] = sys.path[0]
import numpy as np

import hshm
import hshm.parallel as parallel

UNITS = {"K": 10, "M": 20, "G": 30}


def echo(end):
    while (a := end.recv()) is not None:
        a[0] += 1
        end.send(a)


def by_message(end, a):
    end.send(a)
    return end.recv()


def echo_named(end):
    while (got := end.recv()) is not None:
        name, shape, dtype = got
        block = shared_memory.SharedMemory(name)
        a = np.ndarray(shape, dtype, block.buf)
        a[0] += 1
        del a
        block.close()
        end.send(name)


def by_shared_memory(end, a):
    block = shared_memory.SharedMemory(create=True, size=a.nbytes)
    np.ndarray(a.shape, a.dtype, block.buf)[:] = a
    end.send((block.name, a.shape, a.dtype.str))
    end.recv()
    back = np.ndarray(a.shape, a.dtype, block.buf).copy()
    block.close()
    block.unlink()
    return back


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--sizes", default="1M,16M,64M,256M")
    p.add_argument("--turns", type=int, default=7)
    options = p.parse_args()
    resource_tracker.ensure_running()  # one for all: each worker would start its own, and complain
    segment = hshm.Segment(f"bench-python-{os.getpid()}", size=4 << 30)
    plain = parallel.reduction.ForkingPickler.dumps
    ways = {}
    for name, function, call, installed in (("python3 -m hshm", echo, by_message, True),
                                            ("pickle", echo, by_message, False),
                                            ("shared_memory", echo_named, by_shared_memory, False)):
        if installed:
            parallel.install(segment)
        one, other = mp.Pipe()
        worker = mp.Process(target=function, args=(other,))
        worker.start()
        ways[name] = (one, worker, call, parallel.reduction.ForkingPickler.dumps)
        parallel.reduction.ForkingPickler.dumps = plain
    print(f"| there and back, ms: least (median) of {options.turns} |", *(f"{way} |" for way in ways))
    print("|---|" + "---|" * len(ways))
    for text in options.sizes.split(","):
        size = int(text[:-1]) << UNITS[text[-1]]
        a = np.zeros(size // 8)
        a[:] = np.arange(a.size)
        took = {name: [] for name in ways}
        for _ in range(options.turns):
            for name, (end, _worker, call, dumps) in ways.items():
                parallel.reduction.ForkingPickler.dumps = dumps
                start = time.perf_counter()
                b = call(end, a)
                took[name].append((time.perf_counter() - start) * 1000)
                assert b[0] == 1 and b[-1] == a[-1]
                del b
        print(f"| {text} |", *(f"{min(t):.2f} ({statistics.median(t):.2f}) |" for t in took.values()))
    for end, worker, _call, dumps in ways.values():
        parallel.reduction.ForkingPickler.dumps = plain
        end.send(None)
        worker.join()


if __name__ == "__main__":
    mp.set_start_method("fork")
    main()
