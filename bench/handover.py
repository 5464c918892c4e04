#!/usr/bin/python3
"""Hand over a buffer from process to process: a pointer beside the ways that move bytes.

handover.py [--most BYTES] [--out DIR]: runs build/bench/handover in a segment of its own and Python's
multiprocessing.shared_memory beside it; writes DIR/handover.csv, handover.md and handover.png. All
figures are times of one run on one machine: from the moment before the producer sends until the
consumer has all bytes within reach; the least of several turns, as others on the machine only add to it.
What is copied into is mapped and used before.
"""
import argparse
import collections
import csv
import multiprocessing
import os
import pathlib
import subprocess
import sys
import time
from multiprocessing import shared_memory

ROOT = pathlib.Path(__file__).resolve().parent.parent
WAYS = ["pointer", "shm", "multiprocessing", "process_vm_readv", "socket", "pipe-1M", "pipe"]
TITLES = {"pointer": "pointer (this library)", "shm": "memcpy into POSIX shm",
          "multiprocessing": "multiprocessing.shared_memory", "socket": "Unix socket",
          "pipe": "pipe", "pipe-1M": "pipe of 1 MiB", "process_vm_readv": "process_vm_readv"}


def consume(name, orders, answers):
    memory = shared_memory.SharedMemory(name)
    memory.buf[::4096].tobytes()  # mapped before the clock starts
    while orders.recv_bytes() != b"end":
        answers.send_bytes(time.monotonic_ns().to_bytes(8, "little"))
    memory.close()


def python_rows(sizes):
    for size in sizes:
        data = bytes(size)
        memory = shared_memory.SharedMemory(create=True, size=size)
        memory.buf[:size] = data
        orders, orders_out = multiprocessing.Pipe(False)
        answers, answers_out = multiprocessing.Pipe(False)
        consumer = multiprocessing.Process(target=consume, args=(memory.name, orders, answers_out))
        consumer.start()
        for turn in range(52 if size < 1 << 20 else 12 if size < 64 << 20 else 4):
            began = time.monotonic_ns()
            memory.buf[:size] = data
            orders_out.send_bytes(b"go")
            ready = int.from_bytes(answers.recv_bytes(), "little")
            if turn:  # in the first one the consumer is still starting
                yield "multiprocessing", size, (ready - began) / 1000, ""
        orders_out.send_bytes(b"end")
        consumer.join()
        memory.close()
        memory.unlink()


def c_rows(most):
    segment = f"bench-handover-{os.getpid()}"
    env = {**os.environ, "HSHM_SEGMENT": segment, "LD_PRELOAD": str(ROOT / "build/libhshm_preload.so")}
    run = subprocess.run([ROOT / "build/bench/handover", str(most)], env=env, capture_output=True,
                         text=True, check=True)
    for line in run.stdout.splitlines():
        way, size, ready, read = line.split()
        yield way, int(size), float(ready), float(read)


def text_size(n):
    for unit in ("B", "KiB", "MiB", "GiB"):
        if n < 1024:
            return f"{n} {unit}"
        n //= 1024
    return f"{n} TiB"


def text_time(us):
    return f"{us:.0f} µs" if us < 1000 else f"{us / 1000:.1f} ms" if us < 1e6 else f"{us / 1e6:.2f} s"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--most", type=int, default=1 << 30)
    parser.add_argument("--out", default=str(ROOT / "build/bench/results-handover"))
    options = parser.parse_args()
    out = pathlib.Path(options.out)
    out.mkdir(parents=True, exist_ok=True)
    rows = list(c_rows(options.most))
    sizes = sorted({row[1] for row in rows})
    rows += python_rows(sizes)
    with open(out / "handover.csv", "w", newline="") as file:
        file.write(f"# {os.uname().release}, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}\n")
        table = csv.writer(file)
        table.writerow(["way", "bytes", "ready_us", "read_us"])
        table.writerows(rows)
    ready = collections.defaultdict(list)
    for way, size, us, _ in rows:
        ready[way, size].append(us)
    middle = {key: min(values) for key, values in ready.items()}
    lines = ["| | " + " | ".join(text_size(s) for s in sizes) + " |", "|---" * (len(sizes) + 1) + "|"]
    for way in WAYS:
        cells = [text_time(middle[way, size]) for size in sizes]
        lines.append(f"| {TITLES[way]} | " + " | ".join(cells) + " |")
    (out / "handover.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))
    script = ["set terminal pngcairo size 900,560 font ',10'", "set output 'handover.png'",
              "set logscale xy", "set grid", "set key left top", "set xlabel 'bytes'",
              "set ylabel 'µs until the consumer has all of it within reach'",
              "set format x '%.0s %cB'", "set format y '%.0s %c'"]
    for way in WAYS:
        script.append(f"${way.replace('-', '_')} << END")
        script += [f"{size} {middle[way, size]}" for size in sizes] + ["END"]
    script.append("plot " + ", ".join(
        f"${way.replace('-', '_')} using 1:2 with linespoints title '{TITLES[way]}' noenhanced" for way in WAYS))
    (out / "handover.gp").write_text("\n".join(script) + "\n")
    if subprocess.run(["gnuplot", "handover.gp"], cwd=out).returncode:
        print("no plot", file=sys.stderr)


if __name__ == "__main__":
    main()
