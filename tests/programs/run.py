#!/usr/bin/python3
"""Same behaviour: every program of the table behaves under the preload as without it.

Each case (tests/programs/cases.py) runs twice in a fresh folder of the same path: plain, and with
LD_PRELOAD and a segment of its own.  Exit status, stdout, stderr and the named output files must be
equal byte by byte, the segment must be gone afterwards, and, where our own library is the preload,
its statistics must say that the heap of the named programs came from the segment.

    run.py [--short | --all] [--only PATTERN | @GROUP] [-j N] [--list] [--keep] [--repeat N]

PRELOAD    the library (default: build/libhshm_preload.so); PRELOAD=none runs both times plain,
           which shows whether a case is deterministic at all
HSHM_TOOL  the hshm command (default: build/hshm)
"""
import argparse
import concurrent.futures
import ctypes
import difflib
import fnmatch
import glob
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
PATH = "/usr/sbin:/usr/bin:/sbin:/bin"  # not /usr/local: the programs are Debian's
SHM = "/dev/shm"
OURS = "libhshm_preload.so"
SEGMENT_SHARE = 0.95
# A process that outlives its case by this much is reported and killed.
LINGER_S = 30


def find_program(name):
    return shutil.which(name, path=PATH)


# --- one run of one case, in a process of its own -------------------------------------------------


def child_pids(pid):
    """Children of every thread of the process."""
    found = []
    for name in glob.glob("/proc/%d/task/*/children" % pid):
        try:
            with open(name) as f:
                found += [int(word) for word in f.read().split()]
        except OSError:
            pass
    return found


def descendants(pid):
    todo, seen = [pid], []
    while todo:
        for child in child_pids(todo.pop()):
            if child not in seen:
                seen.append(child)
                todo.append(child)
    return seen


def describe(pid):
    def read(name):
        try:
            with open("/proc/%d/%s" % (pid, name), "rb") as f:
                return f.read().replace(b"\0", b" ").decode("utf-8", "replace").strip()
        except OSError:
            return "?"
    state = re.sub(r"^.*\) ", "", read("stat"), flags=re.S)[:1]
    return "%d %s [%s] wchan=%s" % (pid, read("cmdline") or read("comm"), state, read("wchan"))


def reap():
    """Collect what has ended and was handed to us; true while children remain."""
    while True:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return False
        if pid == 0:
            return True


def wait_reaping(process, timeout):
    """Wait for the process and collect every orphan meanwhile: programs that make daemons by the
    thousand would else fill the machine's process table with zombies.
    """
    def expired(_signal, _frame):
        raise TimeoutError
    signal.signal(signal.SIGALRM, expired)
    signal.setitimer(signal.ITIMER_REAL, timeout)
    while True:
        pid, status = os.waitpid(-1, 0)
        if pid == process.pid:
            signal.setitimer(signal.ITIMER_REAL, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            return process.returncode


def kill_descendants():
    """Kill exactly what this run started: we are its subreaper, so nothing can slip away."""
    while reap():
        for pid in descendants(os.getpid()):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        time.sleep(0.01)


def write_backtraces(path):
    """What the hanging processes were doing; for the reader of a failure."""
    gdb = find_program("gdb")
    with open(path, "w") as out:
        pids = descendants(os.getpid())
        for pid in pids:
            print(describe(pid), file=out)
        out.flush()
        for pid in pids[:6] if gdb else []:
            print("\n--- %s" % describe(pid), file=out, flush=True)
            try:
                subprocess.run([gdb, "-p", str(pid), "-batch", "-nx", "-ex", "set pagination off",
                                "-ex", "thread apply all bt 25"], stdin=subprocess.DEVNULL,
                               stdout=out, stderr=subprocess.DEVNULL, timeout=40)
            except subprocess.TimeoutExpired:
                print("(gdb did not finish)", file=out, flush=True)


def supervise(spec_path):
    """Run one command, wait for it and all it left behind, and write what happened."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(36, 1, 0, 0, 0)               # PR_SET_CHILD_SUBREAPER
    libc.prctl(1, signal.SIGTERM, 0, 0, 0)   # PR_SET_PDEATHSIG

    def stop(_signal, _frame):
        kill_descendants()
        os._exit(1)
    signal.signal(signal.SIGTERM, stop)
    with open(spec_path) as f:
        spec = json.load(f)
    result = {"timed_out": False, "lingering": []}
    with open(spec["stdout"], "wb") as out, open(spec["stderr"], "wb") as err:
        process = subprocess.Popen(spec["argv"], cwd=spec["cwd"], env=spec["env"],
                                   stdin=subprocess.DEVNULL, stdout=out, stderr=err,
                                   start_new_session=True)
        try:
            result["status"] = wait_reaping(process, spec["timeout"])
        except TimeoutError:
            result["timed_out"] = True
            result["status"] = None
            write_backtraces(spec["hang"])
    deadline = time.monotonic() + (0 if result["timed_out"] else LINGER_S)
    while reap() and time.monotonic() < deadline:
        time.sleep(0.02)
    if not result["timed_out"]:
        result["lingering"] = [describe(pid) for pid in descendants(os.getpid())]
    kill_descendants()
    with open(spec["result"], "w") as f:
        json.dump(result, f)


# --- comparing ------------------------------------------------------------------------------------


class Failure(Exception):
    pass


def read_bytes(path):
    try:
        with open(path, "rb") as f:
            return f.read()
    except IsADirectoryError:
        return b"(a directory)"


def normalised(data, rules):
    for pattern, replacement in rules:
        data = re.sub(pattern.encode(), replacement.encode(), data, flags=re.M)
    return data


def excerpt(name, plain, preloaded, limit=40):
    a = plain.decode("utf-8", "backslashreplace").splitlines()
    b = preloaded.decode("utf-8", "backslashreplace").splitlines()
    if len(a) + len(b) > 40000:  # difflib is quadratic: show only the surroundings of the first
        first = next((i for i, (x, y) in enumerate(zip(a, b)) if x != y), min(len(a), len(b)))
        a, b = a[max(0, first - 3):first + 30], b[max(0, first - 3):first + 30]
    lines = [line[:300] for line in difflib.unified_diff(a, b, name + " plain",
                                                        name + " preloaded", lineterm="", n=2)]
    more = ["... %d more lines" % (len(lines) - limit)] if len(lines) > limit else []
    return "\n".join("    " + line for line in lines[:limit] + more)


def compare(what, plain, preloaded, rules):
    plain, preloaded = normalised(plain, rules), normalised(preloaded, rules)
    if plain != preloaded:
        raise Failure("%s differs\n%s" % (what, excerpt(what, plain, preloaded)))


def output_files(folder, patterns):
    names = set()
    for pattern in patterns:
        for path in glob.glob(os.path.join(folder, pattern), recursive=True):
            if os.path.isfile(path) and not os.path.islink(path):
                names.add(os.path.relpath(path, folder))
    return names


def shm_entries(segment):
    return [name for name in os.listdir(SHM) if segment in name]


def stat_lines(path):
    lines = []
    try:
        with open(path) as f:
            for number, line in enumerate(f, 1):
                try:
                    lines.append(json.loads(line))
                except ValueError:
                    raise Failure("statistics line %d is not JSON: %r" % (number, line[:200]))
    except FileNotFoundError:
        pass
    return lines


def check_share(case, lines):
    """At least 95 % of the heap bytes of each named program came from the segment."""
    for program in case.stats:
        # A server may have written its title over its name: "nginx: worker process".
        mine = [line for line in lines if line["program"] == program[:15] or
                re.match(re.escape(program) + r"($|[ :])", line["program"])]
        if not mine:
            raise Failure("no statistics from %s (programs seen: %s)" % (
                program, " ".join(sorted({line["program"] for line in lines})) or "none"))
        inside = sum(line["segment_bytes"] for line in mine)
        outside = sum(line["private_bytes"] for line in mine)
        if inside == 0 or inside < case.share * (inside + outside):
            raise Failure("only %d of %d heap bytes of %s came from the segment (%d processes)" % (
                inside, inside + outside, program, len(mine)))


# --- one case ---------------------------------------------------------------------------------------


class Runner:
    def __init__(self, options):
        self.preload = os.environ.get("PRELOAD") or os.path.join(ROOT, "build", OURS)
        self.plain_twice = self.preload == "none"
        if not self.plain_twice:
            self.preload = os.path.abspath(self.preload)
            if not os.path.exists(self.preload):
                sys.exit("run.py: no %s (make first, or set PRELOAD)" % self.preload)
        self.ours = os.path.basename(self.preload) == OURS
        self.tool = os.environ.get("HSHM_TOOL") or os.path.join(ROOT, "build", "hshm")
        self.options = options
        # Short, and open for those a server is started as.
        self.base = tempfile.mkdtemp(prefix="hshm-programs-", dir=options.tmp)
        os.chmod(self.base, 0o755)
        if not self.plain_twice:  # servers run as users who may not look into this tree
            self.preload = shutil.copy(self.preload, self.base)
        self.tree_lock = threading.Lock()
        self.serial = 0
        self.serial_lock = threading.Lock()

    def tree(self):
        """A big tree nobody else changes: a copy of the machine's headers and manual texts."""
        with self.tree_lock:
            tree = os.path.join(self.base, "tree")
            if not os.path.exists(tree):
                os.mkdir(tree + ".new")
                subprocess.run(["cp", "-a", "/usr/include", tree + ".new/include"], check=True)
                subprocess.run(["cp", "-a", "/usr/share/perl5", "/usr/share/perl",
                                tree + ".new/"], stderr=subprocess.DEVNULL)
                os.rename(tree + ".new", tree)
            return tree

    def environment(self, case, work):
        env = {"PATH": PATH, "HOME": work, "LC_ALL": "C.UTF-8", "TZ": "UTC", "TERM": "dumb",
               "USER": "tester", "LOGNAME": "tester", "SHELL": "/bin/bash", "TMPDIR": work,
               "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1", "ASAN_OPTIONS": "",
               "SCRIPTS": os.path.join(HERE, "scripts"), "ROOT": ROOT, "WORK": work, "PYTHON": "/usr/bin/python3"}
        if case.tree:
            env["TREE"] = self.tree()
        env.update(case.env)
        # What selftest.py tells its stand-in for the library.
        env.update({k: v for k, v in os.environ.items() if k.startswith("STANDIN_")})
        return env

    def run_once(self, case, folder, label, segment):
        """Run the case in folder/work, which ends as folder/plain or folder/preloaded."""
        work = os.path.join(folder, "work")
        preload = label == "preloaded" and not self.plain_twice
        os.mkdir(work)
        os.chmod(work, 0o777 if case.open_folder else 0o755)
        env = self.environment(case, work)
        if case.setup:
            done = subprocess.run(["/bin/bash", "-euc", case.setup], cwd=work, env=env,
                                  stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT)
            if done.returncode:
                raise Failure("its setup fails: %s" % done.stdout.decode("utf-8", "replace")[-2000:])
        under = {}
        stats = os.path.join(folder, "stats-%s.jsonl" % label)
        if preload:
            under = {"LD_PRELOAD": self.preload, "HSHM_SEGMENT": segment, "HSHM_SIZE": case.size}
            if case.reclaim:
                under["HSHM_EXIT"] = "reclaim"
            if case.leaves and not case.open_folder: # what ended by _exit is asked of the segment
                under["HSHM_PERSIST"] = "1"
            if self.ours:
                under["HSHM_STATS"] = "exit,file:" + stats
            with open(stats, "w"):
                pass
            os.chmod(stats, 0o666)  # a server may write as another user
        if case.driver:
            # The command itself stays outside; it puts $UNDER before what is to be tested.
            env["UNDER"] = " ".join(["/usr/bin/env"] + ["%s=%s" % pair for pair in under.items()])
        else:
            env.update(under)
        spec = {"argv": case.argv, "cwd": work, "env": env,
                "timeout": case.timeout * self.options.patience,
                "stdout": os.path.join(folder, label + ".stdout"),
                "stderr": os.path.join(folder, label + ".stderr"),
                "hang": os.path.join(folder, label + ".hang"),
                "result": os.path.join(folder, label + ".result")}
        spec_path = os.path.join(folder, label + ".spec")
        with open(spec_path, "w") as f:
            json.dump(spec, f, indent=1)
        subprocess.run([sys.executable, os.path.abspath(__file__), "--supervise", spec_path],
                       stdin=subprocess.DEVNULL)
        os.rename(work, os.path.join(folder, label))
        with open(spec["result"]) as f:
            result = json.load(f)
        if result["timed_out"]:
            raise Failure("%s: did not end within %d s (what it was doing: %s)" % (
                label, spec["timeout"], spec["hang"]))
        result["stdout"], result["stderr"] = read_bytes(spec["stdout"]), read_bytes(spec["stderr"])
        result["stats"] = stats
        return result

    def remove_segment(self, segment):
        """For the segment a case may leave: `hshm rm -f` has to get rid of it."""
        if os.path.exists(self.tool):
            done = subprocess.run([self.tool, "rm", "-f", segment], stdin=subprocess.DEVNULL,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60)
            left = shm_entries(segment)
            if left:
                raise Failure("`hshm rm -f %s` ends with %d and leaves %s: %s" % (
                    segment, done.returncode, left, done.stdout.decode("utf-8", "replace")))

    def ended_members(self, segment):
        """What the segment says of those that ended without a line of their own: by _exit, or killed."""
        if "hshm1-%d-%s" % (os.getuid(), segment) not in shm_entries(segment):
            return []  # gone, or of a server's user
        done = subprocess.run([self.tool, "who", "-a", "-j", segment], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60)
        try:
            return [{"program": m["program"], "segment_bytes": m["bytes"], "private_bytes": m["bytes_outside"]}
                    for m in json.loads(done.stdout) if "bytes" in m]
        except ValueError:
            raise Failure("`hshm who -a -j %s` ends with %d: %s" % (
                segment, done.returncode, done.stdout.decode("utf-8", "replace")))

    def check_segment(self, case, segment):
        left = shm_entries(segment)
        if not left:
            return
        try:
            if not case.leaves:
                raise Failure("left in %s with no living member: %s" % (SHM, " ".join(left)))
            self.remove_segment(segment)
        finally:
            for name in shm_entries(segment):
                os.unlink(os.path.join(SHM, name))

    def run_case(self, case, folder, segment):
        plain = self.run_once(case, folder, "plain", segment)
        if plain["status"] != case.status:
            raise Failure("without the preload: exit status %s, not %s\n%s" % (
                plain["status"], case.status,
                excerpt("stderr", b"", plain["stdout"][-2000:] + plain["stderr"][-2000:])))
        if not plain["stdout"] and not case.files:
            raise Failure("without the preload: no output, so nothing to compare")
        if plain["lingering"]:
            raise Failure("without the preload: left running: %s" % plain["lingering"])
        preloaded = self.run_once(case, folder, "preloaded", segment)
        rules = list(case.normal)
        if case.passthrough:
            rules.append((r"^hshm\[.*\n", ""))  # the notice that it passes through
        if plain["status"] != preloaded["status"]:
            raise Failure("exit status %s, without the preload %s\n%s" % (
                preloaded["status"], plain["status"],
                excerpt("stdout+stderr", normalised(plain["stdout"] + plain["stderr"], rules),
                        normalised(preloaded["stdout"] + preloaded["stderr"], rules))))
        if preloaded["lingering"]:
            raise Failure("left running: %s" % preloaded["lingering"])
        compare("stdout", plain["stdout"], preloaded["stdout"], rules)
        compare("stderr", plain["stderr"], preloaded["stderr"], rules)
        folders = [os.path.join(folder, name) for name in ("plain", "preloaded")]
        names = [output_files(f, case.files) for f in folders]
        if case.files and not names[0]:
            raise Failure("without the preload: made none of %s" % (case.files,))
        if names[0] != names[1]:
            raise Failure("other output files: %s" % sorted(names[0] ^ names[1]))
        for name in sorted(names[0]):
            compare(name, *(read_bytes(os.path.join(f, name)) for f in folders), case.normal)
        if self.ours and not case.passthrough:
            check_share(case, stat_lines(preloaded["stats"]) + self.ended_members(segment))
        # Last: what went wrong above explains a segment left behind, not the other way round.
        self.check_segment(case, segment)

    def prepared(self, case):
        """(folder, segment) of a fresh try."""
        with self.serial_lock:
            self.serial += 1
            number = self.serial
        folder = os.path.join(self.base, "%03d-%s" % (number, case.name))
        os.mkdir(folder)
        os.chmod(folder, 0o755)
        return folder, "prog-%d-%d" % (os.getpid(), number)

    def case_line(self, case):
        missing = [name for name in case.need if not find_program(name)]
        missing += [path for path in case.need_files if not glob.glob(path)]
        if missing:
            return "skipped", "skipped %s no %s" % (case.name, ", ".join(missing))
        if case.skip_if:
            reason = case.skip_if()
            if reason:
                return "skipped", "skipped %s %s" % (case.name, reason)
        folder, segment = self.prepared(case)
        start = time.monotonic()
        try:
            self.run_case(case, folder, segment)
        except Failure as failure:
            for name in shm_entries(segment):
                os.unlink(os.path.join(SHM, name))
            return "FAIL", "FAIL %s %s\n    kept: %s" % (case.name, failure, folder)
        if not self.options.keep:
            shutil.rmtree(folder, ignore_errors=True)
        return "ok", "ok %s (%.1f s)" % (case.name, time.monotonic() - start)


def main():
    if len(sys.argv) == 3 and sys.argv[1] == "--supervise":
        supervise(sys.argv[2])
        return 0
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--short", action="store_true", help="the cases of make check (default)")
    which.add_argument("--all", action="store_true", help="every case")
    parser.add_argument("--only", action="append", default=[], metavar="PATTERN",
                        help="cases whose name matches, long ones too; @GROUP: a whole group")
    parser.add_argument("-j", type=int, default=os.cpu_count() or 1, metavar="N",
                        help="cases at once (default: one per core)")
    parser.add_argument("--list", action="store_true", help="print the table and stop")
    parser.add_argument("--keep", action="store_true", help="keep the folders of all cases")
    parser.add_argument("--repeat", type=int, default=1, metavar="N")
    parser.add_argument("--patience", type=float, default=1.0, metavar="FACTOR",
                        help="multiplies every time limit (slow or busy machines)")
    parser.add_argument("--tmp", default="/tmp", help="where the folders are made (default /tmp)")
    options = parser.parse_args()

    sys.path.insert(0, HERE)
    sys.dont_write_bytecode = True
    import cases
    chosen = [case for case in cases.CASES
              if (any(fnmatch.fnmatch(case.name, p) or "@" + case.group == p for p in options.only) if options.only else options.all or not case.long)]
    if options.list:
        for case in chosen:
            print("%-26s %-10s %s%s" % (case.name, case.group, "long " if case.long else "",
                                        "passes through: " + case.passthrough
                                        if case.passthrough else ""))
        return 0
    if not chosen:
        sys.exit("run.py: no case matches")

    runner = Runner(options)
    count = {"ok": 0, "FAIL": 0, "skipped": 0}
    pool = concurrent.futures.ThreadPoolExecutor(max_workers=max(1, options.j))
    try:
        # Long ones first, so that none is left alone at the end.
        todo = sorted(chosen * options.repeat, key=lambda case: -case.timeout)
        for job in concurrent.futures.as_completed([pool.submit(runner.case_line, c)
                                                    for c in todo]):
            kind, line = job.result()
            count[kind] += 1
            print(line, flush=True)
    except KeyboardInterrupt:
        pool.shutdown(wait=False, cancel_futures=True)
        os._exit(130)  # PR_SET_PDEATHSIG ends what still runs
    shutil.rmtree(os.path.join(runner.base, "tree"), ignore_errors=True)
    if not runner.plain_twice:
        os.unlink(runner.preload)
    try:
        os.rmdir(runner.base)
    except OSError:
        pass  # failures are kept in it
    print("%d passed, %d failed, %d skipped" % (count["ok"], count["FAIL"], count["skipped"]))
    return 1 if count["FAIL"] else 0


if __name__ == "__main__":
    sys.exit(main())
