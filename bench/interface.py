#!/usr/bin/python3
"""What the programming interface costs, beside glibc and Boost.Interprocess.

interface.py [--rounds N] [--out DIR]: runs build/bench/interface, each case once a round, and writes
DIR/interface.md: the median of all rounds, with the smallest and largest. Figures are nanoseconds of CPU
time, so that others on the machine count only by the caches they take.
"""
import argparse
import os
import pathlib
import statistics
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
PROGRAM = ROOT / "build/bench/interface"
PRELOAD = ROOT / "build/libhshm_preload.so"
COUNT = "2000000"

# title, arguments, under the preload
MIX = [
    ("glibc's malloc, 1 process", ["malloc", COUNT, "1"], False),
    ("malloc under the preload, 1 process", ["malloc", COUNT, "1"], True),
    ("malloc under the preload, 2 processes, one segment", ["malloc", COUNT, "2"], True),
    ("hshm_alloc, 1 process", ["hshm", COUNT, "1"], False),
    ("hshm_alloc, 2 processes, one segment", ["hshm", COUNT, "2"], False),
    ("Boost.Interprocess, 1 process", ["boost", "200000", "1"], False),
    ("Boost.Interprocess, 2 processes, one segment", ["boost", "200000", "2"], False),
]
FIND = [("hshm_find", "hshm"), ("Boost.Interprocess, find<T>", "boost")]
PEERS = "Of the peers, ratios to glibc measured apart on such a machine: HSHM ThreadLocal 2.3, clio-core " \
        "MultiProcess 1.6, HSHM ScalablePage 23, Umpire 3,000."


def measure(what, arguments, preload=False):
    env = dict(os.environ)
    if preload:
        env.update(LD_PRELOAD=str(PRELOAD), HSHM_SEGMENT=f"bench-interface-{os.getpid()}")
    run = subprocess.run([PROGRAM, what, *arguments], env=env, capture_output=True, text=True)
    if run.returncode == 2:
        return None         # built without Boost
    if run.returncode:
        sys.exit(f"{what} {arguments}: {run.stderr}")
    return [float(line) for line in run.stdout.split()]


def text(values):
    return f"{statistics.median(values):.1f} ({min(values):.1f}–{max(values):.1f})"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "build/bench/results-interface")
    options = parser.parse_args()
    mixes = {title: [] for title, _, _ in MIX}
    finds = {title: ([], []) for title, _ in FIND}
    for _ in range(options.rounds):
        for title, arguments, preload in MIX:
            got = measure("mix", arguments, preload)
            mixes[title] += got or []
        for title, what in FIND:
            for i, value in enumerate(measure("find", [what, "100000"]) or []):
                finds[title][i].append(value)
    glibc = statistics.median(mixes[MIX[0][0]])
    lines = [f"Blocks of 16 B to 1 KiB, 10,000 live, a random one replaced: ns a pair, {options.rounds} rounds.", "",
             "| | ns | of glibc's |", "|---|---|---|"]
    for title, values in mixes.items():
        if values:
            lines.append(f"| {title} | {text(values)} | {statistics.median(values) / glibc:.2f} |")
    lines += ["", PEERS, "", "Finding one of 100,000 named blocks: ns.", "",
              "| | random order | order of making |", "|---|---|---|"]
    for title, (shuffled, ordered) in finds.items():
        if shuffled:
            lines.append(f"| {title} | {text(shuffled)} | {text(ordered)} |")
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "interface.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
