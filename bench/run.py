#!/usr/bin/python3
"""Runs benchmark cases under several allocators, interleaved, and writes one CSV row per run.

For each case the allocators take turns (A B C, B C A, …), N rounds, so that a slow minute of the
machine hits all of them. Each run is measured by build/bench/measure (see there what the columns
mean). Nothing is left out: a run that fails or prints something else stays in the CSV and is
reported. bench/report.py makes tables and plots from the CSV.
"""
import argparse
import csv
import datetime
import glob
import hashlib
import os
import pathlib
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import allocators  # noqa: E402
import cases  # noqa: E402
import inputs  # noqa: E402

ROOT = allocators.ROOT
BIN = ROOT / "build/bench"
HSHM = ROOT / "build/hshm"
COLUMNS = ("case group alloc form phase round cpu_ms user_ms sys_ms wall_ms maxrss_kib peak_kib "
           "end_kib seg_kib minflt majflt nvcsw nivcsw ops output status other_ms error").split()
SETS = {  # name: (which cases, scale of the work, rounds)
    "quick": (lambda case: True, 0.1, 1),
    "first": (lambda case: case.first, 1.0, 5),
    "bench": (lambda case: True, 0.3, 3),
    "full": (lambda case: True, 1.0, 5),
}
WARM_UPS = 2


def read(path, fallback="unknown"):
    try:
        return pathlib.Path(path).read_text().strip()
    except OSError:
        return fallback


def machine_facts(options, chosen, input_sum):
    cpu = [line.split(":")[1].strip() for line in read("/proc/cpuinfo").splitlines()
           if line.startswith("model name")]
    memory = read("/proc/meminfo").splitlines()[0].split(":")[1].strip()
    shm = os.statvfs("/dev/shm")
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "kernel": " ".join(os.uname()[i] for i in (0, 2, 4)),
        "cpu": f"{len(os.sched_getaffinity(0))} x {cpu[0] if cpu else 'unknown'}",
        "memory": memory,
        "/dev/shm": f"{shm.f_blocks * shm.f_frsize >> 20} MiB",
        "thp": read("/sys/kernel/mm/transparent_hugepage/enabled"),
        "shmem thp": read("/sys/kernel/mm/transparent_hugepage/shmem_enabled"),
        "thp in these runs": "the system's setting" if options.thp == "keep" else "off for all (prctl)",
        "aslr": read("/proc/sys/kernel/randomize_va_space"),
        "load at start": " ".join(read("/proc/loadavg").split()[:3]),
        "commit": allocators.Allocator("", "").version().split()[-1],
        "inputs": input_sum,
        "set": options.set, "rounds": options.rounds, "scale": options.scale,
        **{f"allocator {a.name}": a.version() for a in chosen},
    }


def busy_ms():
    """Milliseconds that all CPUs together spent in any process so far, and those stolen from us."""
    fields = [int(x) for x in read("/proc/stat").splitlines()[0].split()[1:9]]
    user, nice, system, _idle, _wait, irq, softirq, steal = fields
    return (user + nice + system + irq + softirq + steal) * 1000 / os.sysconf("SC_CLK_TCK")


def base_environment(tmp):
    return {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(tmp), "TMPDIR": str(tmp),
            "LC_ALL": "C", "TZ": "UTC", "GIT_CONFIG_NOSYSTEM": "1"}


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def segment_files(name):
    return [path for path in glob.glob("/dev/shm/*") if name in os.path.basename(path)]


def remove_segment(name):
    """Removes what the members left; says so where the command for it did not do its work."""
    if segment_files(name) and HSHM.exists():
        subprocess.run([HSHM, "rm", "-f", name], stdout=subprocess.DEVNULL)
    for path in segment_files(name):
        print(f"bench: {path} was left behind; removed by hand", file=sys.stderr)
        os.unlink(path)


class Keeper:
    """A member that lives as long as a warm segment is wanted, and two runs to warm it."""

    def __init__(self, name, allocator):
        self.name = name
        env = {**base_environment("/tmp"), **allocator.keeper_env,
               "LD_PRELOAD": allocator.preload, "HSHM_SEGMENT": name}
        self.process = subprocess.Popen(["sleep", "infinity"], env=env)
        for _ in range(500):
            if segment_files(name):
                return
            time.sleep(0.01)
        print(f"bench: no file of segment {name} in /dev/shm after 5 s", file=sys.stderr)

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()
        remove_segment(self.name)


class Runner:
    def __init__(self, options):
        self.options = options
        self.count = 0
        self.tmp = BIN / f"tmp-{os.getpid()}"

    def new_segment(self):
        self.count += 1
        return f"bench-{os.getpid()}-{self.count:05}"  # of one length: no name is part of another

    def measure(self, case, allocator, segment=None):
        """One run; returns a row of the CSV without phase and round."""
        shutil.rmtree(self.tmp, ignore_errors=True)
        self.tmp.mkdir(parents=True)
        alone = case.private and not allocator.shares
        values = {"bin": BIN, "in": BIN / "inputs", "tmp": self.tmp, "port": free_port(),
                  "n": max(1, int(case.n * self.options.scale))}
        command = shlex.split((case.private if alone else case.command).format(**values))
        of_case = {key: value.format(**values) for key, value in case.env.items()}
        env = {**base_environment(self.tmp), **of_case}
        if case.prepare:
            subprocess.run(["sh", "-c", case.prepare.format(**values)], env=env, check=True)
        env.update({**allocator.env, **of_case}, LD_PRELOAD=allocator.preload)
        measure = [str(BIN / "measure"), "-o", str(self.tmp / "measured"),
                   "-t", str(self.options.limit), "-i", str(self.options.interval)]
        own_segment = self.new_segment() if allocator.segment == "cold" else None
        if own_segment or segment:
            env["HSHM_SEGMENT"] = own_segment or segment
            measure += ["-s", own_segment or segment]
        if self.options.thp == "keep":
            measure.append("-k")
        if case.helper:
            measure += ["-H", case.helper.format(**values)]
        before = busy_ms()
        with open(self.tmp / "stdout", "wb") as out, open(self.tmp / "stderr", "wb") as err:
            subprocess.run(measure + ["--"] + command, env=env, stdin=subprocess.DEVNULL,
                           stdout=out, stderr=err, cwd=self.tmp)
        after = busy_ms()
        if own_segment:
            remove_segment(own_segment)
        return self.row(case, allocator, alone, after - before)

    def row(self, case, allocator, alone, busy):
        output = (self.tmp / "stdout").read_bytes()
        measured = dict(pair.split("=") for pair in read(self.tmp / "measured", "").split())
        number = {key: int(value) for key, value in measured.items()}
        cpu = (number.get("user_us", 0) + number.get("sys_us", 0)) / 1000
        error = read(self.tmp / "stderr", "")
        if number.get("timed_out"):
            error = f"ended after {self.options.limit} s; " + error
        row = {"case": case.name, "group": case.group, "alloc": allocator.name,
               "form": "threads" if alone else "", "cpu_ms": round(cpu, 3),
               "user_ms": number.get("user_us", 0) / 1000, "sys_ms": number.get("sys_us", 0) / 1000,
               "wall_ms": number.get("wall_us", 0) / 1000,
               "ops": next((word[4:].decode() for word in output.split()
                            if word.startswith(b"ops=")), ""),
               "output": hashlib.sha256(output).hexdigest()[:12] if case.same_output else "",
               "other_ms": round(max(0.0, busy - cpu)), "error": " / ".join(error.split("\n"))[:300]}
        for key in ("maxrss_kib", "peak_kib", "end_kib", "seg_kib", "minflt", "majflt", "nvcsw",
                    "nivcsw"):
            row[key] = number.get(key, 0)
        row["status"] = number.get("status", "none")
        return row

    def run_case(self, case, chosen, write):
        keepers = {}
        hanging = set()

        def run(allocator, phase, turn):
            if allocator.name in hanging:
                row = {**dict.fromkeys(COLUMNS, 0), "case": case.name, "group": case.group,
                       "alloc": allocator.name, "form": "", "ops": "", "output": "",
                       "status": "none", "error": "not run: an earlier run had to be ended"}
            else:
                keeper = keepers.get(allocator.name)
                row = self.measure(case, allocator, keeper and keeper.name)
                if row["error"].startswith("ended after"):
                    hanging.add(allocator.name)
            write(row, phase, turn)

        try:
            for allocator in chosen:
                if allocator.segment == "warm":
                    keepers[allocator.name] = Keeper(self.new_segment(), allocator)
                    for turn in range(WARM_UPS):
                        run(allocator, "warm-up", turn)
            for turn in range(self.options.rounds):
                start = turn % len(chosen)
                for allocator in chosen[start:] + chosen[:start]:
                    run(allocator, "run", turn)
        finally:
            for keeper in keepers.values():
                keeper.end()
            shutil.rmtree(self.tmp, ignore_errors=True)


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--set", choices=SETS, default="bench", help="quick: all cases, a tenth of the "
                        "work, one round; first: a short list, 5 rounds; bench: all cases, a third of the "
                        "work, 3 rounds; full: all cases, 5 rounds")
    parser.add_argument("--only", metavar="CASES", help="these cases or groups, separated by commas")
    parser.add_argument("--alloc", metavar="LIST", help="these allocators (%s)"
                        % ", ".join(a.name for a in allocators.ALLOCATORS))
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--scale", type=float, help="factor for the amount of work of the C programs")
    parser.add_argument("--out", default=str(ROOT / "build/bench/results"), metavar="DIR")
    parser.add_argument("--limit", type=int, default=60, help="seconds after which a run is ended")
    parser.add_argument("--interval", type=int, default=10, help="milliseconds between memory samples")
    parser.add_argument("--thp", choices=["off", "keep"], default="off")
    parser.add_argument("--list", action="store_true", help="list the cases and end")
    options = parser.parse_args()
    wanted, scale, rounds = SETS[options.set]
    options.rounds = options.rounds or rounds
    options.scale = options.scale or scale
    chosen_cases = [case for case in cases.CASES if wanted(case)]
    if options.only:
        names = set(options.only.split(","))
        chosen_cases = [c for c in cases.CASES if c.name in names or c.group in names]
        unknown = names - {c.name for c in chosen_cases} - set(cases.GROUPS)
        if unknown:
            parser.error("no such case: " + ", ".join(sorted(unknown)))
    everything = [a.name for a in allocators.ALLOCATORS]
    names = everything if options.set == "full" else allocators.STANDARD
    if options.alloc:
        names = options.alloc.split(",")
    by_name = {a.name: a for a in allocators.ALLOCATORS}
    if set(names) - set(by_name):
        parser.error("no such allocator: " + ", ".join(sorted(set(names) - set(by_name))))
    return options, chosen_cases, [by_name[name] for name in names]


def main():
    options, chosen_cases, chosen = parse_arguments()
    if options.list:
        for case in chosen_cases:
            print(f"{case.group:11} {case.name:22} {case.command}")
        return 0
    for allocator in [a for a in chosen if a.missing()]:
        print(f"bench: {allocator.name} skipped: {allocator.preload} is not there", file=sys.stderr)
        chosen.remove(allocator)
    program = {case.name: shlex.split(case.command.replace("{bin}", str(BIN)))[0]
               for case in chosen_cases}
    for case in [c for c in chosen_cases if not shutil.which(program[c.name])]:
        print(f"bench: {case.name} skipped: {program[case.name]} is not there", file=sys.stderr)
        chosen_cases.remove(case)
    if not chosen or not chosen_cases:
        return 1
    input_sum = inputs.make(BIN / "inputs")
    out = pathlib.Path(options.out)
    out.mkdir(parents=True, exist_ok=True)
    failed = 0
    began = time.monotonic()
    with open(out / "runs.csv", "w", newline="") as file:
        for key, value in machine_facts(options, chosen, input_sum).items():
            file.write(f"# {key}: {value}\n")
        table = csv.DictWriter(file, COLUMNS)
        table.writeheader()
        runner = Runner(options)
        for at, case in enumerate(chosen_cases, 1):
            seen = {}

            def write(row, phase, turn):
                nonlocal failed
                if row["status"] == 0 and row["output"]:
                    expected = seen.setdefault("output", row["output"])
                    if row["output"] != expected:
                        row["error"] = "other output than the first run; " + row["error"]
                if row["status"] != 0 or row["error"].startswith("other output"):
                    failed += 1
                    print(f"bench: {case.name} under {row['alloc']}: status {row['status']} "
                          f"{row['error']}", file=sys.stderr)
                table.writerow({**row, "phase": phase, "round": turn})
                file.flush()
                if phase == "run":
                    seen.setdefault(row["alloc"], []).append(row["cpu_ms"])

            columns = chosen + [a for a in allocators.ALLOCATORS if a.name == allocators.TREES and
                                case.tree and "ours-cold" in (c.name for c in chosen)]
            runner.run_case(case, columns, write)
            figures = "  ".join(f"{a.name} {sorted(seen[a.name])[len(seen[a.name]) // 2]:.0f}"
                                for a in columns)
            print(f"[{at}/{len(chosen_cases)} {time.monotonic() - began:4.0f} s] {case.name}: "
                  f"CPU ms {figures}", flush=True)
        file.write(f"# seconds in all: {time.monotonic() - began:.0f}\n")
    print(f"{out}/runs.csv written; {failed} runs failed" if failed else f"{out}/runs.csv written")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
