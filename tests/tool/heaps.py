"""Segments with members that a test moves by hand, and `hshm` looking at them.

    with Segment("name") as s:
        a = s.member()
        block = a.ask("m 100")
        hshm("show", s.name)
"""
import json
import os
import subprocess
import sys
import time
import traceback

ROOT = os.environ.get("TEST_ROOT", os.getcwd())
TOOL = os.environ.get("TEST_TOOL", "build/hshm")
PRELOAD = os.environ.get("TEST_PRELOAD", os.path.abspath("build/libhshm_preload.so"))
BIN = os.environ.get("TEST_BIN", "build/tests")
TMP = os.environ.get("TMPDIR", "/tmp")
SCALE = int(os.environ.get("TEST_SCALE", "1"))


class Member:
    def __init__(self, segment, settings={}, before=()):
        env = dict(os.environ, LD_PRELOAD=PRELOAD, HSHM_SEGMENT=segment, **{"HSHM_SIZE": "64M", **settings})
        command = [*before, "env", "LD_PRELOAD=" + PRELOAD, BIN + "/prog_puppet"]
        if before:
            env.pop("LD_PRELOAD")
        else:
            command = command[2:]
        self.process = subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, bufsize=0)
        self.pid = self.ask("i")
        if not before:
            assert self.pid == self.process.pid

    def ask(self, command):
        self.process.stdin.write(command.encode() + b"\n")
        line = self.process.stdout.readline()
        assert line, f"{command}: no answer: {self.process.stderr.read()}"
        return int(line, 0)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def quit(self):
        self.process.stdin.write(b"q\n")
        return self.process.wait(20)


class Segment:
    def __init__(self, name, **settings):
        self.name, self.settings, self.members = name, settings, []
        self.path = name[5:] if name.startswith("file:") else f"/dev/shm/hshm1-{os.geteuid()}-{name}"

    def member(self, *before, **settings):
        self.members.append(Member(self.name, {**self.settings, **settings}, before))
        return self.members[-1]

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        for m in self.members:
            if m.process.poll() is None:
                m.kill()
        if os.path.exists(self.path):
            os.unlink(self.path)


HEAPS = """
import ctypes, sys
lib = ctypes.CDLL(sys.argv[1])
lib.hshm_heap_alloc.restype = ctypes.c_void_p
lib.hshm_heap_free.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
segment, heap = ctypes.c_void_p(), ctypes.c_void_p()
assert lib.hshm_open(sys.argv[2].encode(), None, ctypes.byref(segment)) == 0
for kind, size in (1, 0), (2, 0), (3, 1 << 20), (4, 0):
    assert lib.hshm_heap_create(segment, 10 + kind, kind, ctypes.c_uint64(size), ctypes.c_size_t(100 * kind), ctypes.byref(heap)) == 0
    lib.hshm_heap_free(heap, lib.hshm_heap_alloc(heap, ctypes.c_size_t(3000)))
    lib.hshm_heap_alloc(heap, ctypes.c_size_t(1000 * kind))
print(flush=True)
sys.stdin.read()
"""


def heap_maker(segment):
    """A process that has made a heap of hshm.h of each kind, and stays until its input ends."""
    maker = subprocess.Popen(["/usr/bin/python3", "-c", HEAPS, os.path.dirname(TOOL) + "/libhshm.so", segment],
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert maker.stdout.readline()
    return maker


def run(*arguments, timeout=60, env=None):
    return subprocess.run([TOOL, *map(str, arguments)], capture_output=True, text=True, timeout=timeout,
                          env=env, errors="surrogateescape")


def hshm(*arguments, status=0):
    done = run(*arguments)
    assert done.returncode == status, f"hshm {arguments}: exit status {done.returncode}: {done.stdout}{done.stderr}"
    return done.stdout


_schema = None


def valid(command, document):
    """Asserts that the document is what docs/hshm.schema.json says of the command."""
    global _schema
    import jsonschema
    if _schema is None:
        with open(f"{ROOT}/docs/hshm.schema.json") as f:
            _schema = json.load(f)
    jsonschema.validate(document, {**_schema, "$ref": f"#/$defs/{command}"},
                        jsonschema.Draft202012Validator)
    return document


def hshm_json(command, *arguments, status=0):
    return valid(command, json.loads(hshm(command, "-j", *arguments, status=status)))


def until(condition, seconds=20):
    end = time.time() + seconds
    while not condition():
        assert time.time() < end, "it did not come about"
        time.sleep(0.02)


def main(names):
    """Runs each test of the module: functions whose names are sentences."""
    failed = False
    wanted = sys.argv[1:]
    for name, test in list(names.items()):
        if not callable(test) or not getattr(test, "is_test", False) or (wanted and name not in wanted):
            continue
        try:
            reason = test()
            print(f"skipped {name} {reason}" if reason else f"ok {name}", flush=True)
        except Exception:
            traceback.print_exc(file=sys.stdout)
            print(f"FAIL {name}", flush=True)
            failed = True
    sys.exit(failed)


def test(function):
    function.is_test = True
    return function
