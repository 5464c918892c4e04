#!/usr/bin/python3
"""Makes report.md and plots (gnuplot PNG) from the runs.csv that bench/run.py wrote.

report.py [DIR]: everything in the report is computed from DIR/runs.csv (and startup.csv, if there).
Time is CPU time (user + sys) of the whole process tree. A ratio is taken within each round, to the
baseline's run of the same round; the figure shown is the median over the rounds.
"""
import csv
import math
import os
import pathlib
import subprocess
import sys
from statistics import median

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import allocators  # noqa: E402
import cases  # noqa: E402
import startup as measured  # noqa: E402

BASE = allocators.BASELINE
FIGURES = {"time": "cpu_ms", "memory": "peak_kib"}


def geomean(values):
    return math.exp(sum(map(math.log, values)) / len(values)) if values else math.nan


def show(value, form="{:.2f}"):
    return "–" if value is None or math.isnan(value) else form.format(value)


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(map(str, row)) + " |" for row in rows]) + "\n"


class Results:
    def __init__(self, path):
        with open(path, newline="") as file:
            lines = file.readlines()
        self.facts = [line[2:].strip() for line in lines if line.startswith("#")]
        self.rows = list(csv.DictReader(line for line in lines if not line.startswith("#")))
        runs = [row for row in self.rows if row["phase"] == "run"]
        self.allocs = list(dict.fromkeys(sorted((row["alloc"] for row in runs
                                                 if row["alloc"] != allocators.TREES), key=self.order)))
        self.cases = list(dict.fromkeys(row["case"] for row in runs))
        self.group = {row["case"]: row["group"] for row in runs}
        self.runs = {}
        for row in runs:
            if row["status"] == "0" and not row["error"].startswith("other output"):
                self.runs.setdefault((row["case"], row["alloc"]), {})[int(row["round"])] = row
        self.listed = {case.name: case for case in cases.CASES}

    @staticmethod
    def order(name):
        names = [a.name for a in allocators.ALLOCATORS]
        return names.index(name) if name in names else len(names)

    def values(self, case, alloc, column):
        return [float(row[column]) for row in self.runs.get((case, alloc), {}).values()]

    def middle(self, case, alloc, column):
        values = self.values(case, alloc, column)
        return median(values) if values else None

    def ratios(self, case, alloc, column):
        base = self.runs.get((case, BASE), {})
        return [float(row[column]) / float(base[turn][column])
                for turn, row in self.runs.get((case, alloc), {}).items()
                if turn in base and float(base[turn][column]) > 0 and float(row[column]) > 0]

    def ratio(self, case, alloc, figure):
        if figure == "memory" and case in self.listed and not self.listed[case].memory:
            return None
        values = self.ratios(case, alloc, FIGURES[figure])
        return median(values) if values else None

    def group_ratios(self, group, alloc, figure):
        """The case's ratio for each case of the group where there is one."""
        found = {case: self.ratio(case, alloc, figure) for case in self.cases
                 if group in ("all", self.group[case])}
        return {case: value for case, value in found.items() if value is not None}


def summary(r):
    out = []
    for figure in FIGURES:
        rows = []
        for group in ("all",) + cases.GROUPS:
            members = [c for c in r.cases if group in ("all", r.group[c])]
            if not members:
                continue
            row = [f"{group} ({len(members)})"]
            for alloc in r.allocs:
                ratios = r.group_ratios(group, alloc, figure)
                wanted = r.group_ratios(group, BASE, figure)
                missing = len(wanted) - len(ratios)
                row.append(show(geomean(list(ratios.values())), "{:.3f}")
                           + (f" ({missing} missing)" if missing else ""))
            rows.append(row)
        worst = ["worst case"]
        for alloc in r.allocs:
            ratios = r.group_ratios("all", alloc, figure)
            case = max(ratios, key=ratios.get) if ratios else None
            worst.append(f"{ratios[case]:.2f} {case}" if case else "–")
        name = "CPU time" if figure == "time" else "Peak memory"
        out.append(f"### {name}, geometric means of the ratios to {BASE}\n\n"
                   + table([""] + r.allocs, rows + [worst]))
    return "\n".join(out)


def per_case(r):
    rows = []
    for case in r.cases:
        row = [case, r.group[case], show(r.middle(case, BASE, "cpu_ms"), "{:.0f}"),
               show((r.middle(case, BASE, "peak_kib") or math.nan) / 1024, "{:.1f}")]
        for alloc in r.allocs:
            times = r.ratios(case, alloc, "cpu_ms")
            if not times:
                row.append("failed")
                continue
            memory = r.ratio(case, alloc, "memory")
            row.append(f"**{median(times):.2f}** ({min(times):.2f}–{max(times):.2f}) / {show(memory)}")
        rows.append(row)
    return table(["case", "group", f"{BASE} ms", "MiB"] + r.allocs, rows)


def trees(r):
    """Trees of processes on a cold segment, under both settings of HSHM_EXIT."""
    rows = []
    for case in r.cases:
        if not r.values(case, allocators.TREES, "cpu_ms"):
            continue
        row = [case]
        for alloc in ("ours-cold", allocators.TREES):
            for figure in FIGURES.values():
                ratios = r.ratios(case, alloc, figure)
                row.append(f"**{median(ratios):.2f}** ({min(ratios):.2f}–{max(ratios):.2f})" if ratios else "–")
        rows.append(row)
    return table(["case", "keep: time", "memory", "reclaim: time", "memory"], rows) if rows else ""


def absolute(r):
    rows = []
    for case in r.cases:
        row = [case]
        for alloc in r.allocs:
            cpu = r.values(case, alloc, "cpu_ms")
            row.append(f"{median(cpu):.0f} ({min(cpu):.0f}–{max(cpu):.0f}); "
                       f"{r.middle(case, alloc, 'wall_ms'):.0f}; "
                       f"{r.middle(case, alloc, 'peak_kib') / 1024:.1f}; "
                       f"{r.middle(case, alloc, 'minflt') / 1000:.1f}k" if cpu else "failed")
        rows.append(row)
    return table(["case"] + r.allocs, rows)


def per_operation(r):
    rows = []
    for case in r.cases:
        if not (case in r.listed and r.listed[case].ns):
            continue
        row = [case]
        for alloc in r.allocs:
            runs = r.runs.get((case, alloc), {}).values()
            values = [float(x["cpu_ms"]) * 1e6 / int(x["ops"]) for x in runs if x["ops"]]
            row.append(f"{median(values):.1f} ({min(values):.1f}–{max(values):.1f})" if values else "–")
        rows.append(row)
    return table(["case"] + r.allocs, rows) if rows else ""


def idle(r):
    rows = [[case] + [f"{r.middle(case, a, 'peak_kib') / 1024:.0f} → {r.middle(case, a, 'end_kib') / 1024:.0f}"
                      if r.values(case, a, "end_kib") else "failed" for a in r.allocs]
            for case in r.cases if case == "idle"]
    return table(["case"] + r.allocs, rows) if rows else ""


def segments(r):
    shared = [a for a in r.allocs if any(r.middle(c, a, "seg_kib") for c in r.cases)]
    rows = [[case] + [f"{r.middle(case, a, 'maxrss_kib') / 1024:.1f} / {r.middle(case, a, 'seg_kib') / 1024:.1f} / "
                      f"{r.middle(case, a, 'peak_kib') / 1024:.1f}"
                      if r.values(case, a, "seg_kib") else "failed" for a in shared] for case in r.cases]
    return table(["case"] + shared, rows) if shared else ""


def problems(r):
    lines = []
    for row in r.rows:
        if row["status"] != "0" or row["error"]:
            lines.append(f"- {row['case']} under {row['alloc']} ({row['phase']} {row['round']}): "
                         f"status {row['status']} {row['error']}")
    shares = {a.name for a in allocators.ALLOCATORS if a.segment}
    for case, alloc in sorted({(row["case"], row["alloc"]) for row in r.rows}):
        if alloc in shares and not any(r.values(case, alloc, "seg_kib")) \
                and (r.middle(case, alloc, "wall_ms") or 0) > 100:
            lines.append(f"- {case} under {alloc}: no block of a segment was seen: was it used?")
    threads = sorted({row["case"] for row in r.rows if row["form"] == "threads"})
    if threads:
        lines.append(f"- {', '.join(threads)}: private heaps cannot free another process's block, so "
                     "their columns show the same work between two threads of one process.")
    busy = [(float(row["other_ms"]) / max(1.0, float(row["wall_ms"])), row) for row in r.rows]
    noisy = sum(share > 0.25 for share, _ in busy)
    lines.append(f"- In {noisy} of {len(busy)} runs other processes of the machine (the client of a "
                 "server included) took more than a quarter of one core.")
    return "\n".join(lines) + "\n"


def startup(path):
    if not path.exists():
        return ""
    with open(path, newline="") as file:
        rows = list(csv.DictReader(line for line in file if not line.startswith("#")))
    out = []
    for name in dict.fromkeys(row["alloc"] for row in rows):
        mine = [row for row in rows if row["alloc"] == name]

        def middle(column, mine=mine):
            values = sorted(float(row[column]) for row in mine)
            quarter = len(values) // 4
            return median(values), values[quarter], values[-1 - quarter]

        cpu, rss, faults = middle("cpu_ms"), middle("maxrss_kib"), middle("minflt")
        over = measured.more_than_none(rows, name)
        out.append([name, f"{cpu[0]:.3f} ({cpu[1]:.3f}–{cpu[2]:.3f})",
                    f"{over[1]:+.3f} ({over[0]:+.3f}–{over[2]:+.3f})", f"{rss[0]:.0f}",
                    f"{faults[0]:.0f}", len(mine)])
    return ("## Start-up of /bin/true\n\nMedians, in brackets the quartiles; glibc is without any preload, "
            "the difference to it is taken within each round.\n\n" + table(
                ["", "CPU ms", "more than glibc", "peak RSS KiB", "page faults", "runs"], out))


def plot(r, folder):
    """One PNG with the geometric means by group, one with every case."""
    groups = [g for g in ("all",) + cases.GROUPS if r.group_ratios(g, BASE, "time")]
    script = ["set datafile missing '-'", "set style data histogram",
              "set style histogram cluster gap 1", "set style fill solid 0.8 noborder",
              "set grid ytics", "set key outside top center horizontal", "set yrange [0:*]"]

    def block(name, labels, value):
        lines = [" ".join(["label"] + [f'"{a}"' for a in r.allocs])]
        for label in labels:
            values = [value(label, a) for a in r.allocs]
            lines.append(" ".join([f'"{label}"'] + [show(v, "{:.4f}").replace("–", "-") for v in values]))
        return f"${name} << END\n" + "\n".join(lines) + "\nEND"

    def draw(name, title):
        columns = ", ".join(f"${name} using {i + 2}:xtic(1) title columnheader" for i in range(len(r.allocs)))
        return [f"set title '{title}' noenhanced", "plot " + columns + ", 1 with lines lc 'black' notitle"]

    for figure, title in (("time", "CPU time"), ("memory", "peak memory")):
        script.append(block("group_" + figure, groups,
                            lambda g, a, f=figure: geomean(list(r.group_ratios(g, a, f).values()))))
        script.append(block("case_" + figure, r.cases, lambda c, a, f=figure: r.ratio(c, a, f)))
    script += ["set terminal pngcairo size 1100,800 font ',10' noenhanced",
               "set output 'groups.png'", "set multiplot layout 2,1"]
    script += draw("group_time", f"CPU time relative to {BASE} (geometric means; less is better)")
    script += draw("group_memory", f"Peak memory relative to {BASE} (geometric means; less is better)")
    script += ["unset multiplot", f"set terminal pngcairo size {max(1100, 42 * len(r.cases))},1000 "
               "font ',10' noenhanced", "set output 'cases.png'", "set xtics rotate by -40",
               "set logscale y 2", "set yrange [0.125:8]", "set multiplot layout 2,1"]
    script += draw("case_time", f"CPU time of each case relative to {BASE} (medians; log scale)")
    script += draw("case_memory", f"Peak memory of each case relative to {BASE} (medians; log scale)")
    script += ["unset multiplot"]
    (folder / "plots.gp").write_text("\n".join(script) + "\n")
    try:
        done = subprocess.run(["gnuplot", "plots.gp"], cwd=folder, capture_output=True, text=True)
    except FileNotFoundError:
        return "No plots: gnuplot is not there.\n"
    if done.returncode:
        return f"No plots: gnuplot said {done.stderr.strip()}\n"
    return "![geometric means](groups.png)\n\n![all cases](cases.png)\n"


def main():
    folder = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else allocators.ROOT / "build/bench/results")
    r = Results(folder / "runs.csv")
    parts = ["# Benchmark results\n\nMade from runs.csv by bench/report.py. Time is CPU time of the whole "
             "process tree; less is better everywhere.\n",
             "\n".join(f"- {fact}" for fact in r.facts) + "\n",
             "## Summary\n\n" + summary(r), plot(r, folder),
             f"## Every case: time ratio to {BASE}, median (min–max over the rounds) / memory ratio\n\n"
             + per_case(r)]
    for title, text in (
            (f"Trees of processes, cold segment: ratios to {BASE} under HSHM_EXIT=keep, the default, which keeps "
             "what each ended process had not freed, and under reclaim, the setting for such trees", trees(r)),
            ("CPU nanoseconds per operation, median (min–max), program start included", per_operation(r)),
            ("Memory given back when idle: peak → at the end, MiB", idle(r)),
            ("Segments: largest process's RSS / allocated blocks / peak of the tree, MiB", segments(r)),
            ("Absolute medians: CPU ms (min–max); wall ms; peak MiB; page faults", absolute(r)),
            ("Failures, differences and noise", problems(r))):
        if text:
            parts.append(f"## {title}\n\n{text}")
    parts.insert(-1, startup(folder / "startup.csv"))
    (folder / "report.md").write_text("\n".join(part for part in parts if part))
    print(summary(r))
    print(f"{folder}/report.md written")


if __name__ == "__main__":
    main()
