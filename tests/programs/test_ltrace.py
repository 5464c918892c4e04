#!/usr/bin/python3
"""ltrace agrees: what it counts of malloc, calloc, realloc and free is what our statistics counted.

    ltrace -c -L -x 'malloc@libhshm_preload.so*' ... env LD_PRELOAD=... PROGRAM

for ls, a C program and /usr/bin/python3 (one thread, PYTHONHASHSEED=0), counters read after the end
(the segment persists for that).  ltrace knows a library by its soname, hence the star.  ltrace 0.7.3
sets its breakpoints when the program's entry point is reached, so it misses what the constructors of
libraries allocated (libselinux's, in ls); gdb stops a second run at that very point, and the counters
read there are added to ltrace's.  Last, no call may reach libc's own malloc, but for libc's FILEs: that
trace is not summed (-c) but listed, and what env itself did before its exec is left out.

PRELOAD or TEST_PRELOAD (default build/libhshm_preload.so), HSHM_TOOL or TEST_TOOL (default build/hshm).
Exit status 77: skipped.
"""
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
PRELOAD = os.path.abspath(os.environ.get("PRELOAD") or os.environ.get("TEST_PRELOAD") or ROOT + "/build/libhshm_preload.so")
TOOL = os.path.abspath(os.environ.get("HSHM_TOOL") or os.environ.get("TEST_TOOL") or ROOT + "/build/hshm")
CALLS = ("malloc", "calloc", "realloc", "free")
# The README's one exception: what libc makes for its own FILEs and thread-specific values stays
# private (fork writes into it), so these of our wrappers may reach libc's malloc.
MAKERS = ("fopen", "fopen64", "fdopen", "freopen", "freopen64", "popen", "tmpfile", "tmpfile64", "fopencookie",
          "fmemopen", "open_memstream", "open_wmemstream", "pthread_setspecific")
TIMEOUT = 600
ENV = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "PYTHONHASHSEED": "0",
       "PYTHONDONTWRITEBYTECODE": "1", "HOME": "/"}


class Failure(Exception):
    pass


def run(words, **more):
    done = subprocess.run(words, env=ENV, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, timeout=TIMEOUT, start_new_session=True, **more)
    return done.returncode, done.stdout.decode(), done.stderr.decode("utf-8", "replace")


def members(tree):
    """(program, its four counters) of every member in `hshm who -a -j`, ended ones too."""
    return [(member["program"], {name: member["calls"][name] for name in CALLS}) for member in tree]


def counters(text, program):
    found = [calls for name, calls in members(json.loads(text)) if name in (program, program[:15])]
    if len(found) != 1:
        raise Failure("%d members named %s in `hshm who -a -j`: %s" % (len(found), program, text[:500]))
    return found[0]


def under(segment):
    return ["LD_PRELOAD=" + PRELOAD, "HSHM_SEGMENT=" + segment, "HSHM_SIZE=2G", "HSHM_PERSIST=1",
            "HSHM_STATS=calls"]


def points(library):
    return [word for name in CALLS for word in ("-x", "%s@%s" % (name, library))]


def who(segment):
    status, out, err = run([TOOL, "who", "-a", "-j", segment])
    if status:
        raise Failure("`hshm who -a -j %s` ends with %d: %s" % (segment, status, err))
    return out


def counted_by_ltrace(program, segment, folder):
    """(ltrace's counts, ours after the end)"""
    out = os.path.join(folder, "summary")
    status, _, err = run(["ltrace", "-c", "-L"] + points(os.path.basename(PRELOAD) + "*") +
                         ["-o", out, "env"] + under(segment) + program)
    if status:
        raise Failure("under ltrace: exit status %d: %s" % (status, err[-500:]))
    with open(out) as f:
        rows = re.findall(r"^ *[\d.]+ +[\d.]+ +\d+ +(\d+) (\w+)$", f.read(), flags=re.M)
    counts = dict.fromkeys(CALLS, 0)
    for count, name in rows:
        if name in counts:
            counts[name] += int(count)
    return counts, who(segment)


def before_entry(program, comm, segment, folder):
    """Our counters when the program's entry point is reached; zeros where it has not joined yet."""
    out = os.path.join(folder, "at-entry")
    script = os.path.join(folder, "gdb.py")
    with open(script, "w") as f:
        f.write("import gdb, re, subprocess\n"
                "gdb.execute('starti')\n"
                "auxv = gdb.execute('info auxv', to_string=True)\n"
                "entry = re.search(r'AT_ENTRY.*(0x[0-9a-f]+)', auxv).group(1)\n"
                "gdb.execute('tbreak *' + entry)\n"
                "gdb.execute('continue')\n"
                "with open(%r, 'w') as f:\n"
                "    subprocess.run([%r, 'who', '-a', '-j', %r], stdout=f)\n"
                "gdb.execute('kill')\n" % (out, TOOL, segment))
    status, text, err = run(["gdb", "-nx", "-batch", "-ex", "set debuginfod enabled off", "-ex",
                             "set startup-with-shell off", "-ex", "set confirm off"] +
                            [word for pair in under(segment)
                             for word in ("-ex", "set environment " + pair.replace("=", " ", 1))] +
                            ["-x", script, "--args"] + program)
    if not os.path.exists(out):
        raise Failure("gdb: exit status %d: %s" % (status, (text + err)[-800:]))
    with open(out) as f:
        text = f.read()
    os.unlink(out)
    joined = text.strip() and json.loads(text)
    return counters(text, comm) if joined else dict.fromkeys(CALLS, 0)


def strays(events):
    """Calls of libc's malloc family that no MAKER made, and that free nothing a MAKER got."""
    inside, private, found = [], set(), []
    for line in events:
        resumed = re.match(r"<\.\.\. (\w+) resumed>", line)
        if resumed:
            if inside and inside[-1] == resumed.group(1):
                inside.pop()
            continue
        call = re.match(r"(\w+)@(\S+?)\((0x[0-9a-f]+)?", line)
        if not call:
            continue
        name, library, argument = call.groups()
        if library.startswith("libc.so") and not set(inside) & set(MAKERS) and argument not in private:
            found.append(line)
        result = re.search(r"= (0x[0-9a-f]+)$", line)
        if library.startswith("libc.so") and set(inside) & set(MAKERS) and result:
            private.add(result.group(1))
        if line.endswith("<unfinished ...>"):
            inside.append(name)
    return found


def reached_libc(program, segment, folder):
    out = os.path.join(folder, "libc-trace")
    makers = [word for name in MAKERS for word in ("-x", "%s@%s*" % (name, os.path.basename(PRELOAD)))]
    status, _, err = run(["ltrace", "-L"] + points("libc.so.6") + makers + ["-o", out, "env"] +
                         under(segment) + program)
    if status:
        raise Failure("under ltrace: exit status %d: %s" % (status, err[-500:]))
    with open(out, errors="replace") as f:
        text = f.read()
    if "--- Called exec() ---" not in text:
        raise Failure("ltrace did not see env's exec: %s" % text[:300])
    return strays(text.split("--- Called exec() ---", 1)[1].splitlines())


def check(name, program, comm, folder):
    segment = "ltrace-%d-%s" % (os.getpid(), name)
    try:
        seen, after = counted_by_ltrace(program, segment, folder)
        ours = counters(after, comm)
        run([TOOL, "rm", "-f", segment])
        early = before_entry(program, comm, segment, folder)
        run([TOOL, "rm", "-f", segment])
        # A call that came before the entry point is ours but not ltrace's.
        for call in CALLS:
            if seen[call] + early[call] != ours[call]:
                raise Failure("%s: ltrace %d + before the entry point %d, but our statistics say %d" % (
                    call, seen[call], early[call], ours[call]))
        if not sum(seen.values()):
            raise Failure("ltrace saw no call at all")
        reached = reached_libc(program, segment, folder)
        if reached:
            raise Failure("%d calls reached libc's malloc, the first: %s" % (len(reached), reached[0]))
        return " ".join("%s %d+%d" % (call, seen[call], early[call]) for call in CALLS)
    finally:
        run([TOOL, "rm", "-f", segment])
        for left in os.listdir("/dev/shm"):
            if segment in left:
                os.unlink("/dev/shm/" + left)


def main():
    for program in ("ltrace", "gdb", "gcc"):
        if not shutil.which(program, path=ENV["PATH"]):
            print("skipped ltrace no %s" % program)
            return 77
    for path in (PRELOAD, TOOL):
        if not os.path.exists(path):
            sys.exit("test_ltrace.py: no %s" % path)
    folder = tempfile.mkdtemp(prefix="hshm-ltrace-")
    ENV.update({name: value for name, value in os.environ.items() if name.startswith("STANDIN_")})
    single = os.path.join(folder, "single")
    # No builtins: gcc may otherwise drop what it can prove useless.
    subprocess.run(["gcc", "-O1", "-fno-builtin", "-o", single, HERE + "/scripts/single.c"], check=True)
    with open(os.path.join(folder, "program.py"), "w") as f:
        f.write("import json\nprint(json.dumps([str(i) * 9 for i in range(999)])[-99:])\n")
    failed = 0
    for name, program, comm in (("ls", ["/bin/ls", "-l", "/usr"], "ls"), ("c", [single], "single"),
                                ("python3", ["/usr/bin/python3", folder + "/program.py"], "python3")):
        try:
            print("ok ltrace-%s (%s)" % (name, check(name, program, comm, folder)), flush=True)
        except (Failure, subprocess.TimeoutExpired) as failure:
            failed += 1
            print("FAIL ltrace-%s %s" % (name, failure), flush=True)
    shutil.rmtree(folder)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
