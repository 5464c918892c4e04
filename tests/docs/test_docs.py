#!/usr/bin/python3
"""Runs every block of commands in README.md and docs/.   timeout: 250

A block that begins with ```sh is run, all of a file one after another in one shell, in a folder
that looks like the root of the repository.  A block ```output behind it is what it prints: each of
its lines must be there, in this order; ... stands for anything.  What cannot be run here has a line
<!-- not run: the reason --> before it.  Other blocks (```, ```asm, ```yaml, ```c) are no commands."""
import glob
import os
import re
import shlex
import subprocess
import sys

ROOT = os.environ.get("TEST_ROOT", os.getcwd())
TMP = os.environ.get("TMPDIR", "/tmp")
MARK = "=====block"


def blocks(path):
    """(line, commands, output) of each block that is run, and (line, None, reason) of those that are not."""
    found, fence, text, start, last = [], None, [], 0, ""
    with open(path) as f:
        lines = f.read().splitlines()
    for n, line in enumerate(lines, 1):
        if fence is None and line.startswith("```") and line != "```":
            fence, text, start = line[3:].strip(), [], n
        elif fence is None and line.startswith("```"):
            fence, text, start = "", [], n
        elif fence is not None and line.startswith("```"):
            reason = re.match(r"<!-- not run: (.+) -->", last)
            if fence == "sh" and reason:
                found.append((start, None, reason.group(1)))
            elif fence == "sh":
                found.append((start, "\n".join(text), ""))
            elif fence == "output" and found and found[-1][1]:
                found[-1] = (*found[-1][:2], "\n".join(text))
            fence = None
        elif fence is not None:
            text.append(line)
        elif line.strip():
            last = line
        if fence is None and line.startswith("```"):
            last = ""
    return found


def pattern(line):
    return ".*".join(re.escape(piece) for piece in line.rstrip().split("..."))


def folder(name):
    """Looks like the repository, but what commands write there goes away."""
    path = os.path.join(TMP, name)
    os.mkdir(path)
    for entry in os.listdir(ROOT):
        if entry != ".git":
            os.symlink(os.path.join(ROOT, entry), os.path.join(path, entry))
    return path


def run_file(path):
    todo = [b for b in blocks(path) if b[1] is not None]
    name = os.path.relpath(path, ROOT)
    for line, commands, reason in blocks(path):
        if commands is None:
            print(f"note: {name}:{line} is not run: {reason}")
    if not todo:
        return
    script = "trap 'kill $(jobs -p) 2> /dev/null' EXIT\nset -e\n"
    for line, commands, _ in todo:
        script += f"echo {MARK} {line}\n{commands}\n"
    script += f"echo {MARK} end\n"
    where = folder(re.sub(r"\W", "-", name))
    env = {k: v for k, v in os.environ.items() if k not in ("CI", "B", "T")}
    done = subprocess.run(["bash", "-c", script], cwd=where, env=dict(env, PATH=f"{ROOT}/build:" + env["PATH"]),
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=200, errors="replace")
    said = dict(re.findall(rf"^{MARK} (\w+)\n(.*?)(?=^{MARK}|\Z)", done.stdout, re.M | re.S))
    for line, _, output in todo:
        test = f"{name}:{line}".replace(":", "_line_")
        if str(line) not in said:
            return fail(test, "was not reached", done.stdout)
        at = 0
        for want in filter(str.strip, output.splitlines()):
            hit = re.compile("^" + pattern(want) + r"\s*$", re.M).search(said[str(line)], at)
            if not hit:
                return fail(test, f"did not print '{want}'", said[str(line)])
            at = hit.end()
        ended = list(said).index(str(line)) + 1 < len(said)
        if not ended:
            return fail(test, f"exit status {done.returncode}", said[str(line)])
        print(f"ok {test}")


failed = False


def fail(test, why, said):
    global failed
    failed = True
    print(f"FAIL {test} {why}\n{said[-3000:]}")


for page in [ROOT + "/README.md", *sorted(glob.glob(ROOT + "/docs/**/*.md", recursive=True))]:
    if len(sys.argv) < 2 or sys.argv[1] in page:
        run_file(page)
sys.exit(failed)
