#!/usr/bin/python3
"""The harness notices every kind of wrong: each check of run.py and test_ltrace.py seen to fail.

Runs cases under the stand-in (standin.c), once well-behaved and once with each of its faults, and
looks for the line that names what went wrong.
"""
import os
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
FAULTS = (("", 0, "ok small-c"),
          ("private", 1, "heap bytes of small came from the segment"),
          ("nostats", 1, "no statistics from small"),
          ("leave", 1, "with no living member"),
          ("noise", 1, "stderr differs"),
          ("status", 1, "exit status 77, without the preload 0"),
          ("torn", 1, "FAIL small-c"),
          ("hang", 1, "did not end within"))


def main():
    folder = tempfile.mkdtemp(prefix="hshm-selftest-")
    library = folder + "/libhshm_preload.so"
    subprocess.run(["gcc", "-std=gnu11", "-O1", "-Wall", "-Wextra", "-Werror", "-fPIC", "-shared",
                    "-fvisibility=hidden", "-o", library, HERE + "/standin.c"], check=True)
    failed = 0

    def look(what, words, fault, status, line):
        nonlocal failed
        env = dict(os.environ, PRELOAD=library, HSHM_TOOL=HERE + "/standin_hshm.py", STANDIN_FAULT=fault)
        done = subprocess.run([sys.executable] + words, env=env, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode == status and line in done.stdout:
            print("ok %s" % what, flush=True)
        elif done.returncode == 77:
            print("skipped %s %s" % (what, done.stdout.strip()), flush=True)
        else:
            failed += 1
            print("FAIL %s: status %d, no %r in\n%s" % (what, done.returncode, line, done.stdout), flush=True)

    for fault, status, line in FAULTS:
        # Waiting for what hangs need not take long; all else may.
        patience = "0.02" if fault == "hang" else "1"
        look("run.py sees " + (fault or "nothing wrong"),
             [HERE + "/run.py", "--only", "small-c", "--tmp", folder, "--patience", patience], fault, status, line)
    look("test_ltrace.py sees nothing wrong", [HERE + "/test_ltrace.py"], "", 0, "ok ltrace-python3")
    look("test_ltrace.py sees a miscount", [HERE + "/test_ltrace.py"], "count", 1, "our statistics say")
    look("test_ltrace.py sees calls of libc's malloc", [HERE + "/test_ltrace.py"], "libc", 1, "reached libc's malloc")
    shutil.rmtree(folder)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
