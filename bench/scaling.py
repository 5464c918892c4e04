#!/usr/bin/python3
"""What one operation costs as things grow: processes, threads, live blocks, the segment, its history.

scaling.py [--out DIR] [--ops N]: CPU nanoseconds (user + system of the whole tree) for each random
replacement of a block of 16..1024 bytes (bench/replace.c) in ONE segment, and for the start of a short
process. Writes DIR/scaling.csv and scaling.png. Flat is what it should be; a machine with fewer cores
than workers adds its own switching.
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

TURNS = 3


def cpu_ms(command, env, output):
    subprocess.run([run.BIN / "measure", "-i", "0", "-o", output, "--", *command], env=env, check=True,
                   stdout=subprocess.DEVNULL)
    n = {key: int(value) for key, value in (pair.split("=") for pair in run.read(output).split())}
    if n["status"]:
        sys.exit(f"{command}: status {n['status']}")
    return (n["user_us"] + n["sys_us"]) / 1000


class Bench:
    def __init__(self, options):
        self.ops = options.ops
        self.out = pathlib.Path(options.out)
        self.out.mkdir(parents=True, exist_ok=True)
        self.output = str(self.out / "measured")
        self.segment = f"bench-scaling-{os.getpid()}"
        self.env = {**run.base_environment("/tmp"), "LD_PRELOAD": allocators.OURS}
        self.rows = []

    def replace(self, what, value, threads=1, processes=1, live=10_000, size="12G"):
        each = max(1, self.ops // (threads * processes))
        env = {**self.env, "HSHM_SEGMENT": self.segment, "HSHM_SIZE": size}

        def turn(count):
            ms = cpu_ms([run.BIN / "replace", str(count), "16", "1024", str(threads), str(processes),
                         str(live)], env, self.output)
            run.remove_segment(self.segment)
            return ms

        # What filling and starting cost is the same in both, and is taken off.
        ns = [(turn(3 * each) - turn(each)) * 1e6 / (2 * each * threads * processes) for _ in range(TURNS)]
        self.rows.append({"what": what, "value": value, "ns": round(statistics.median(ns), 1),
                          "low": round(min(ns), 1), "high": round(max(ns), 1)})
        print(self.rows[-1], flush=True)

    def starts(self, counts):
        """The start of a short process after so many others in the same segment."""
        keeper = run.Keeper(self.segment, next(a for a in allocators.ALLOCATORS if a.name == "ours-warm"))
        env = {**self.env, "HSHM_SEGMENT": self.segment, "HSHM_EXIT": "reclaim"}
        done = 0
        try:
            for count in counts:
                subprocess.run(["sh", "-c", f"i={done}; while [ $i -lt {count} ]; do /bin/true; i=$((i+1)); done"],
                               env=env, check=True)
                done = count
                us = [1000 * cpu_ms(["/bin/true"], env, self.output) for _ in range(41)]
                quarter = statistics.quantiles(us, n=4)
                self.rows.append({"what": "members ever", "value": count, "ns": round(1000 * quarter[1]),
                                  "low": round(1000 * quarter[0]), "high": round(1000 * quarter[2])})
                print(self.rows[-1], flush=True)
        finally:
            keeper.end()

    def plot(self):
        script = ["set terminal pngcairo size 1000,640 font ',10'", "set output 'scaling.png'",
                  "set multiplot layout 2,3", "set logscale x", "set grid", "set yrange [0:*]", "unset key"]
        for what in dict.fromkeys(row["what"] for row in self.rows):
            unit = "ns" if what != "members ever" else "µs"
            script.append(f"set ylabel '{unit}'; set xlabel '{what}'")
            script.append("$data << END")
            scale = 1 if unit == "ns" else 1000
            script += [" ".join(str(x) for x in (r["value"], r["ns"] / scale, r["low"] / scale, r["high"] / scale))
                       for r in self.rows if r["what"] == what]
            script += ["END", "plot $data using 1:2:3:4 with yerrorlines"]
        (self.out / "scaling.gp").write_text("\n".join(script) + "\n")
        if subprocess.run(["gnuplot", "scaling.gp"], cwd=self.out).returncode:
            print("no plot", file=sys.stderr)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--out", default=str(allocators.ROOT / "build/bench/results-scaling"))
    parser.add_argument("--ops", type=int, default=1_000_000)
    parser.add_argument("--starts", type=int, default=10_000, help="most members ever")
    parser.add_argument("--live", type=int, default=10_000_000, help="most live blocks")
    options = parser.parse_args()
    bench = Bench(options)
    powers = [2**i for i in range(7)]
    for n in powers:
        bench.replace("processes", n, processes=n, live=1000)
    for n in powers:
        bench.replace("threads", n, threads=n, live=1000)
    live = 1000
    while live <= options.live:
        bench.replace("live blocks", live, live=live)
        live *= 10
    for mib in (64, 256, 1024, 4096, 12288):
        bench.replace("segment MiB", mib, size=f"{mib}M")
    counts, n = [], 100
    while n <= options.starts:
        counts.append(n)
        n *= 10
    bench.starts(counts)
    with open(bench.out / "scaling.csv", "w", newline="") as file:
        file.write(f"# {os.uname().release}, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}, "
                   f"commit {allocators.Allocator('', '').version().split()[-1]}\n")
        table = csv.DictWriter(file, ["what", "value", "ns", "low", "high"])
        table.writeheader()
        table.writerows(bench.rows)
    bench.plot()


if __name__ == "__main__":
    main()
