#!/usr/bin/python3
"""What it costs a short process that the allocator is there: /bin/true, hundreds of times.

startup.py [--alloc LIST] [--runs N] [--out DIR]: the allocators take turns; one row per run in
DIR/startup.csv, medians and quartiles on the terminal. A cold segment is made and removed by every run,
a warm one is kept by another member. Without a fork from a big parent in between: see measure.c.
"""
import argparse
import csv
import os
import pathlib
import statistics
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import allocators  # noqa: E402
import run  # noqa: E402

COLUMNS = ["alloc", "round", "cpu_ms", "wall_ms", "maxrss_kib", "minflt"]


def one_run(allocator, segment, output):
    env = {**run.base_environment("/tmp"), **allocator.env}
    if allocator.name != "glibc":  # glibc here means: as it is, without any preload
        env["LD_PRELOAD"] = allocator.preload
    if segment:
        env["HSHM_SEGMENT"] = segment
    subprocess.run([run.BIN / "measure", "-i", "0", "-o", output, "--", "/bin/true"],
                   env=env, check=True)
    n = {key: int(value) for key, value in (pair.split("=") for pair in run.read(output).split())}
    if n["status"] != 0:
        sys.exit(f"/bin/true under {allocator.name}: status {n['status']}")
    return {"alloc": allocator.name, "cpu_ms": (n["user_us"] + n["sys_us"]) / 1000,
            "wall_ms": n["wall_us"] / 1000, "maxrss_kib": n["maxrss_kib"], "minflt": n["minflt"]}


def more_than_none(rows, name):
    """Quartiles of what a run took more than the one without a preload in the same round: a busy
    machine slows both."""
    none = {row["round"]: float(row["cpu_ms"]) for row in rows if row["alloc"] == "glibc"}
    more = [float(row["cpu_ms"]) - none[row["round"]] for row in rows
            if row["alloc"] == name and row["round"] in none]
    return statistics.quantiles(more, n=4) if len(more) > 1 else [0.0, 0.0, 0.0]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--alloc", default=",".join(allocators.STANDARD))
    parser.add_argument("--runs", type=int, default=300)
    parser.add_argument("--out", default=str(allocators.ROOT / "build/bench/results"))
    options = parser.parse_args()
    chosen = [a for a in allocators.ALLOCATORS if a.name in options.alloc.split(",") and not a.missing()]
    out = pathlib.Path(options.out)
    out.mkdir(parents=True, exist_ok=True)
    output = str(out / "measured")
    keepers = {a.name: run.Keeper(f"bench-{os.getpid()}-warm-{i:05}", a)
               for i, a in enumerate(chosen) if a.segment == "warm"}
    rows = []
    try:
        for turn in range(options.runs):
            for allocator in chosen[turn % len(chosen):] + chosen[:turn % len(chosen)]:
                cold = f"bench-{os.getpid()}-{turn:05}" if allocator.segment == "cold" else None
                keeper = keepers.get(allocator.name)
                row = one_run(allocator, cold or (keeper and keeper.name), output)
                rows.append({**row, "round": turn})
                if cold:
                    run.remove_segment(cold)
    finally:
        for keeper in keepers.values():
            keeper.end()
        pathlib.Path(output).unlink(missing_ok=True)
    with open(out / "startup.csv", "w", newline="") as file:
        table = csv.DictWriter(file, COLUMNS)
        table.writeheader()
        table.writerows(rows)
    for allocator in chosen:
        mine = [row for row in rows if row["alloc"] == allocator.name]
        cpu = statistics.quantiles([row["cpu_ms"] for row in mine], n=4)
        rss = statistics.median(row["maxrss_kib"] for row in mine)
        faults = statistics.median(row["minflt"] for row in mine)
        over = more_than_none(rows, allocator.name)
        print(f"{allocator.name:15} CPU {cpu[1]:.3f} ms (quartiles {cpu[0]:.3f}–{cpu[2]:.3f})  "
              f"over none {over[1]:+.3f} ({over[0]:+.3f}–{over[2]:+.3f})  "
              f"RSS {rss:.0f} KiB  faults {faults:.0f}")


if __name__ == "__main__":
    main()
