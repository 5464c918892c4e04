#!/usr/bin/python3
"""Is each test seen to fail without what it tests?   make mutants [T=file or test]

tests/mutants/table.py has changes of one place in a source, each with the test that must notice it.
Each is made in a copy of the tree (build/mutants), which is built and tested; the test has to fail.
A change that no longer fits its source, or does not build, is reported as stale.  Only what git
knows of the tree is copied, with what is changed in it.

    run.py [PATTERN ...]    only those whose file, change or test contains one of the patterns
"""
import os
import signal
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
COPY = os.path.join(ROOT, "build", "mutants")
# A test that hangs has noticed.
PATIENCE_S = 150


def sh(words, **more):
    return subprocess.run(words, stdin=subprocess.DEVNULL, **more)


def copy_tree():
    os.makedirs(COPY, exist_ok=True)
    files = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, stdout=subprocess.PIPE, check=True).stdout
    pack = subprocess.Popen(["tar", "-C", ROOT, "--null", "-T", "-", "-cf", "-"],
                                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    extract = subprocess.Popen(["tar", "-C", COPY, "-xf", "-"], stdin=pack.stdout)
    pack.stdin.write(files)
    pack.stdin.close()
    if extract.wait() or not os.path.exists(COPY + "/Makefile"):
        sys.exit("mutants: the tree cannot be copied to " + COPY)


def build(target):
    # A change may leave something unused.
    done = sh(["make", "-s", "-j2", "CFLAGS=-O2 -g -Wno-error", *target], cwd=COPY, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return done.returncode == 0, done.stdout.decode(errors="replace")


def end_all(mark):
    """Ends what was started with this in its environment: suites have sessions of their own."""
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open("/proc/%s/environ" % entry, "rb") as f:
                if mark in f.read().split(b"\0"):
                    os.kill(int(entry), signal.SIGKILL)
        except OSError:
            pass


def notices(test):
    """'noticed', 'not noticed', or why neither can be told."""
    group, _, name = test.partition("/")
    mark = "MUTANTS_OF=%d" % os.getpid()
    env = dict(os.environ, B="build", T=name, TEST_SECONDS="20", JOBS="2", MUTANTS_OF=str(os.getpid()))
    child = subprocess.Popen(["tests/run", group], cwd=COPY, env=env, stdin=subprocess.DEVNULL,
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        out = child.communicate(timeout=PATIENCE_S)[0].decode(errors="replace")
    except subprocess.TimeoutExpired:
        os.kill(child.pid, signal.SIGKILL)  # first: it would report what it finds dead
        end_all(mark.encode())
        child.communicate()
        return "noticed", "it hangs"
    if "no tests match" in out or " 0 passed, 0 failed" in out:
        return "stale", "no test %s" % test
    return ("noticed" if child.returncode else "not noticed"), out


def try_one(mutant):
    path = os.path.join(COPY, mutant.file)
    with open(path) as f:
        source = f.read()
    if source.count(mutant.old) != 1:
        return "stale", "its source has %d such places" % source.count(mutant.old)
    try:
        with open(path, "w") as f:
            f.write(source.replace(mutant.old, mutant.new))
        built, said = build(mutant.builds())
        if not built:
            return "stale", "it does not build: " + said[-600:]
        return notices(mutant.test)
    finally:
        with open(path, "w") as f:
            f.write(source)


def main():
    sys.path.insert(0, HERE)
    sys.dont_write_bytecode = True
    from table import MUTANTS
    patterns = sys.argv[1:]
    chosen = [m for m in MUTANTS if not patterns or any(p in m.text() for p in patterns)]
    if not chosen:
        sys.exit("mutants: none matches")
    copy_tree()
    built, said = build(["tests"])
    if not built:
        sys.exit("mutants: the tree does not build:\n" + said)
    count = {"noticed": 0, "not noticed": 0, "stale": 0}
    for mutant in chosen:
        start = time.time()
        verdict, detail = try_one(mutant)
        count[verdict] += 1
        line = "%-11s %s: %s  (%s, %.0f s)" % (verdict, mutant.file, mutant.what, mutant.test, time.time() - start)
        print(line + ("\n    " + detail if verdict == "stale" else ""), flush=True)
    build(["tests"])
    print("%d mutants: %s" % (len(chosen), ", ".join("%d %s" % (n, v) for v, n in count.items())))
    return 0 if count["noticed"] == len(chosen) else 1


if __name__ == "__main__":
    sys.exit(main())
