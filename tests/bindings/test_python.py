#!/usr/bin/python3
"""The Python package: named blocks as memoryviews and arrays, and multiprocessing that hands large
buffers over by reference.   timeout: 250"""
import multiprocessing
import os
import signal
import subprocess
import sys
import time
import traceback

ROOT = os.environ.get("TEST_ROOT", os.getcwd())
PRELOAD = os.environ.get("TEST_PRELOAD", os.path.join(ROOT, "build/libhshm_preload.so"))
PACKAGE = os.path.join(ROOT, "bindings/python")
os.environ["LIBHSHM"] = os.path.join(os.path.dirname(PRELOAD), "libhshm.so.0")
sys.path.insert(0, PACKAGE)

try:
    import numpy
except ImportError:
    print("numpy is not installed (python3-numpy)")
    sys.exit(77)

import hshm
import hshm.parallel

NAME = f"python-test-{os.getpid()}"
tests = []


def test(function):
    tests.append(function)
    return function


def python(code, *arguments, **settings):
    """Another process, which knows nothing of this one but the segment's name."""
    environment = {**os.environ, "PYTHONPATH": PACKAGE, "NAME": NAME, **settings}
    done = subprocess.run(["/usr/bin/python3", "-c", code, *arguments], env=environment, timeout=100,
                          capture_output=True, text=True)
    assert done.returncode == 0 and not done.stderr, done.stderr
    return done.stdout


def refused(code, call, *arguments, **keys):
    try:
        call(*arguments, **keys)
    except hshm.Error as error:
        assert error.code == code, error
        return
    raise AssertionError(f"not refused with {code}")


def comes(condition):
    """What a dead process had is given back within a fraction of a second."""
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, "it does not come"
        time.sleep(0.02)


# ---- named blocks --------------------------------------------------------------------------------

@test
def an_array_is_the_same_memory_in_another_program():
    with_name = segment.array("shared", (100, 100), "f8")
    assert not with_name.any()
    with_name[3, 4] = 17
    code = """
import hshm, os
a = hshm.Segment(os.environ["NAME"], flags=0).array("shared", (100, 100), "f8")
print(a[3, 4]); a[5, 6] = 18"""
    for under in "", PRELOAD:
        with_name[5, 6] = 0
        assert python(code, LD_PRELOAD=under).strip() == "17.0"
        assert with_name[5, 6] == 18
    segment.unlink("shared")


@test
def blocks_are_made_found_and_refused_as_documented():
    block = segment.create("block", 1000, kind=7)
    assert len(block) == 1000 and not block.readonly and bytes(block) == bytes(1000)
    block[10:13] = b"abc"
    assert bytes(segment.find("block", kind=7)[10:13]) == b"abc"
    assert bytes(segment.ensure("block", 1000, 7)[10:13]) == b"abc"
    assert segment.array("block", -1, "u1")[10] == ord("a")
    assert segment.names()["block"][0] == 1000
    refused("EEXIST", segment.create, "block", 1000, 7)
    refused("ETYPE", segment.find, "block", kind=8)
    refused("ESIZE", segment.ensure, "block", 2000, 7)
    refused("ENOENT", segment.find, "nobody")
    refused("EAGAIN", segment.find, "nobody", wait=0.02)
    refused("ENOENT", hshm.Segment, NAME + "-none", flags=0)
    refused("EBUSY", hshm.remove, NAME)
    refused("ENOMEM", segment.create, "large", 1 << 40)
    segment.unlink("block")
    refused("ENOENT", segment.unlink, "block")


@test
def memory_stays_until_the_last_object_that_shows_it_is_gone():
    before = segment.stats()["bytes"]
    a = segment.array("stays", 1 << 20, "u1")
    part = a[100:200]
    part[:] = 5
    segment.unlink("stays")
    del a
    again = segment.array("again", 1 << 20, "u1")  # it must not get that memory
    again[:] = 9
    assert (part == 5).all() and segment.stats()["bytes"] > before + (1 << 20)
    segment.unlink("again")
    del again, part
    assert segment.stats()["bytes"] == before


@test
def a_killed_process_gives_its_references_back():
    before = segment.stats()["bytes"]
    block = segment.create("killed", 1 << 20)
    code = """
import hshm, os, sys, time
b = hshm.Segment(os.environ["NAME"], flags=0).find("killed")
print("has it", flush=True); time.sleep(100)"""
    child = subprocess.Popen(["/usr/bin/python3", "-c", code], stdout=subprocess.PIPE,
                             env={**os.environ, "PYTHONPATH": PACKAGE, "NAME": NAME})
    child.stdout.readline()
    segment.unlink("killed")
    del block
    assert segment.stats()["bytes"] > before + (1 << 20) - 1
    child.kill()
    child.wait()
    comes(lambda: not segment.names() and segment.stats()["bytes"] == before)


@test
def a_forked_child_keeps_what_its_parent_drops():
    a = segment.array("forked", 1 << 20, "u1")
    a[:] = 3
    ends = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(ends[0][1], b"x")
        os.read(ends[1][0], 1)
        os._exit(0 if (a == 3).all() else 1)
    segment.unlink("forked")
    del a
    os.read(ends[0][0], 1)
    hshm._memory.settle()
    other = segment.array("other", 1 << 20, "u1")
    other[:] = 4
    os.write(ends[1][1], b"x")
    assert os.waitpid(pid, 0)[1] == 0
    segment.unlink("other")
    [os.close(end) for pair in ends for end in pair]


# ---- multiprocessing ---------------------------------------------------------------------------------

def script(method, under, **settings):
    environment = {**os.environ, "PYTHONPATH": PACKAGE, "LD_PRELOAD": under, **settings}
    done = subprocess.run(["/usr/bin/python3", "-m", "hshm",
                           os.path.join(ROOT, "tests/bindings/script_parallel.py"), method],
                          env=environment, timeout=200, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout == "all is as it was\n" and not done.stderr, (
        done.returncode, done.stdout, done.stderr)


def script_test(method, where, under, **settings):
    def check():
        script(method, under, **settings)
    check.__name__ = f"an_unmodified_script_runs_as_before_with_{method}_{where}"
    test(check)


for start in "fork", "spawn", "forkserver":
    script_test(start, "alone", "")
    script_test(start, "in_a_private_heap", PRELOAD)
    script_test(start, "in_a_segment", PRELOAD, HSHM_SEGMENT=NAME + "-script", HSHM_SIZE="2G")


def describes(queue, back):
    while (a := queue.get()) is not None:
        address = a.__array_interface__["data"][0]
        held = hshm._memory.block_of(address, a.nbytes)
        a[0] += 1
        back.put((address, held is not None, a[1]))


class Worker:
    """A process that tells of the arrays that it receives."""

    def __init__(self):
        context = multiprocessing.get_context("spawn")
        self.queue, self.back = context.Queue(), context.SimpleQueue()
        self.process = context.Process(target=describes, args=(self.queue, self.back))
        self.process.start()

    def tell(self, a):
        self.queue.put(a)
        return self.back.get()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.queue.put(None)
        self.process.join()
        self.queue.close()
        self.queue.join_thread()


@test
def a_large_array_is_received_in_the_block_it_was_sent_in():
    with Worker() as worker:
        _address, in_block, second = worker.tell(numpy.arange(20000.0))
        assert in_block and second == 1
        _address, in_block, second = worker.tell(numpy.arange(1000.0))
        assert not in_block and second == 1


@test
def an_array_that_has_a_name_goes_by_pointer():
    a = segment.array("named", 20000, "f8")
    a[1] = 42
    with Worker() as worker:
        for turn in range(1, 4):
            address, in_block, second = worker.tell(a)
            assert in_block and second == 42 and a[0] == turn
            assert address == a.__array_interface__["data"][0]
        part = a[100:15000]
        address, in_block, _second = worker.tell(part)
        assert in_block and address == part.__array_interface__["data"][0] and a[100] == 1
    segment.unlink("named")


@test
def messages_end_with_those_who_received_them():
    before = segment.stats()["bytes"]
    with Worker() as worker:
        for _ in range(200):
            worker.tell(numpy.arange(200000.0))
        assert segment.stats()["bytes"] < before + 8 * 200000 * 8
    comes(lambda: hshm.parallel._sweep() or segment.stats()["bytes"] <= before)


@test
def messages_to_a_killed_process_do_not_stay():
    before = segment.stats()["bytes"]
    worker = Worker()
    worker.tell(numpy.arange(200000.0))
    os.kill(worker.process.pid, signal.SIGKILL)
    worker.process.join()
    comes(lambda: hshm.parallel._sweep() or segment.stats()["bytes"] <= before)


@test
def without_room_it_is_pickled_as_always():
    filling = []
    try:
        while True:
            filling.append(segment.create(f"filling{len(filling)}", 4 << 20))
    except hshm.Error as error:
        assert error.code == "ENOMEM"
    with Worker() as worker:
        _address, in_block, second = worker.tell(numpy.arange(1000000.0))
        assert not in_block and second == 1
    for number in range(len(filling)):
        segment.unlink(f"filling{number}")


@test
def a_session_leaves_nothing_behind():
    code = """
import multiprocessing, numpy, os, hshm.parallel
hshm.parallel.install(os.environ["NAME"])
queue = multiprocessing.Queue()
for _ in range(5):
    queue.put(numpy.arange(50000.0))  # nobody receives them
queue.close(); queue.join_thread()
print(len(hshm.Segment(os.environ["NAME"]).names()))"""
    before = segment.names()
    fresh = {name: "" for name in (hshm.parallel._SESSION, hshm.parallel._SEGMENT)}
    [os.environ.pop(name) for name in fresh]
    try:
        assert int(python(code)) == len(before) + 5
    finally:
        hshm.parallel.install(segment)
    assert segment.names() == before


if __name__ == "__main__":
    segment = hshm.Segment(NAME, size=64 << 20)
    os.environ["PYTHONPATH"] = PACKAGE
    hshm.parallel.install(segment)
    failed = 0
    for check in tests:
        try:
            check()
            print("ok", check.__name__, flush=True)
        except Exception:
            failed = 1
            print("FAIL", check.__name__, traceback.format_exc().replace("\n", "  "), flush=True)
    sys.exit(failed)
