"""Blocks that this process has references to: each ends with the last object that shows it.

libhshm counts references by member, and those of a process that dies end with it.  A forked child
has the objects but not the references: it takes its own, and until it has, its parent gives none back.
"""
import bisect
import ctypes
import os
import select
import threading
import time
import weakref

from ._library import COUNTED, lib, error

_lock = threading.RLock()  # finalizers may run anywhere, also in here
_live = {}  # address of the memory: Reference
_starts = []  # the addresses, sorted
_late = []  # references to give back when no child is on its way
_children = []  # pipes whose other ends children have that are


class Reference:
    """One reference to a named block, and what is shown of it."""

    def __init__(self, segment, name, block, offset, size):
        self.segment, self.name, self.block = segment, name, block
        self.start, self.size = block + offset, size
        self.count = 1  # objects here that show it
        self.done = None  # called when the reference is given back

    def drop(self):
        lib.hshm_named_unref(self.block)
        if self.done:
            self.done(self)


def view(reference):
    """A ctypes array: whatever shows the memory keeps it, and with it the reference."""
    with _lock:
        known = _live.get(reference.start)
        if known is not None:  # one reference of this process is enough
            known.count += 1
            reference.drop()
            reference = known
        else:
            _live[reference.start] = reference
            bisect.insort(_starts, reference.start)
    memory = (ctypes.c_ubyte * reference.size).from_address(reference.start)
    weakref.finalize(memory, _end, reference).atexit = False
    return memory


def _end(reference):
    with _lock:
        reference.count -= 1
        if reference.count:
            return
        del _live[reference.start]
        _starts.remove(reference.start)
        _late.append(reference)
    settle()


def settle():
    """Give back what waits for children to have their own."""
    with _lock:
        while _children and select.select([_children[0]], [], [], 0)[0]:
            os.close(_children.pop(0))
        while _late and not _children:
            _late.pop().drop()


def block_of(address, size):
    """The reference whose memory [address, address + size) lies in, or None."""
    with _lock:
        i = bisect.bisect_right(_starts, address) - 1
        reference = _live[_starts[i]] if i >= 0 else None
    inside = reference and address + size <= reference.start + reference.size
    return reference if inside else None


def let_children_have_theirs():
    """Before what they need is gone: they ask for it as soon as they run.  A stopped one is not waited for."""
    end = time.monotonic() + 1
    with _lock:
        for child in _children:
            select.select([child], [], [], max(0, end - time.monotonic()))
    settle()


def find(segment, name, offset, size, kind=0, wait=0):
    key = os.fsencode(name)
    block = (lib.hshm_find_wait(segment, key, 0, kind, COUNTED, wait) if wait else
             lib.hshm_find(segment, key, 0, kind, COUNTED))
    if not block:
        raise error()
    return Reference(segment, name, block, offset, size)


# ---- fork ------------------------------------------------------------------------------------

_pipe = None


def _before():
    global _pipe
    _lock.acquire()
    _pipe = os.pipe() if _live else None


def _in_parent():
    if _pipe:
        os.close(_pipe[1])
        _children.append(_pipe[0])
    _lock.release()


def _in_child():
    for end in _children:
        os.close(end)
    _children.clear()
    _late.clear()  # its parent's
    for reference in _live.values():
        lib.hshm_named_ref(reference.block)
    if _pipe:
        os.close(_pipe[0])
        os.close(_pipe[1])  # this is what the parent waits for
    _lock.release()


os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)
