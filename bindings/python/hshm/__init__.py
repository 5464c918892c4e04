"""Shared-memory segments and named blocks of libhshm, as memoryviews and numpy arrays.

    import hshm
    segment = hshm.Segment("job")                    # joins it, or makes it
    weights = segment.array("weights", (1000, 1000), "f4")   # made, or found
    weights[0, 0] = 1                                # every process that has it sees this

A block lives as long as its name, or an object that shows it in some process.  What a process has
ends with it, killed or not.  `python3 -m hshm script.py` makes multiprocessing hand large buffers
over by reference: see hshm.parallel.
"""
import math
import os

from . import _library, _memory
from ._library import ALONE, COUNTED, CREATE, EXCLUSIVE, KEEP, PERSIST, READ_ONLY, RECLAIM, Error, lib

__all__ = ["Segment", "Error", "default", "remove",
           "CREATE", "EXCLUSIVE", "READ_ONLY", "PERSIST", "RECLAIM", "KEEP"]


class Segment:
    """A segment that this process is a member of."""

    def __init__(self, name, size=0, flags=CREATE, mode=0, wait=0):
        """'name' as HSHM_SEGMENT has it, or file:/path.  'size': most bytes that it may take, 0: what
        HSHM_SIZE says.  Without CREATE it must be there, or come within 'wait' seconds (None: for ever)."""
        self._handle = _library.open_segment(name, size, flags, mode, wait)

    @classmethod
    def _of(cls, handle):
        segment = object.__new__(cls)
        segment._handle = handle
        return segment

    def _info(self):
        info = _library.sized(_library.Info)
        _library.must(lib.hshm_info(self._handle, info))
        return info

    @property
    def name(self):
        return os.fsdecode(self._info().name or b"")

    @property
    def members(self):
        """How many processes live in it."""
        return self._info().members

    @property
    def is_private(self):
        """The preload's heap without a name: no other process sees it."""
        return bool(self._info().is_private)

    def close(self):
        """Leave it.  No array of it may be used any more.  The last one out removes it."""
        _library.must(lib.hshm_close(self._handle))

    # ---- named blocks

    def create(self, name, size, kind=0):
        """A new block of that name, zeroed, as a memoryview; Error EEXIST if there is one."""
        return self._named(name, size, kind, ALONE)

    def ensure(self, name, size, kind=0):
        """The block of that name, made if there is none; Error ESIZE, ETYPE if it is another."""
        return self._named(name, size, kind, 0)

    def find(self, name, kind=0, wait=0):
        """The block of that name, which may take 'wait' seconds to come (None: for ever)."""
        segment, wait = self._handle, _library.milliseconds(wait)
        reference = _memory.find(segment, name, 0, 0, kind, wait)
        info = _library.sized(_library.Name)
        if lib.hshm_name_info(segment, os.fsencode(name), info) or info.block != reference.block:
            reference.drop()
            raise Error(3, f"{name}: removed just now")
        reference.size = info.size
        return memoryview(_memory.view(reference)).cast("B")

    def array(self, name, shape, dtype, order="C"):
        """A numpy array in the block of that name, made and zeroed if there is none.  All must agree
        to its size; shape -1: as many items as a block that is there has room for."""
        import numpy
        dtype = numpy.dtype(dtype)
        shape = (shape,) if isinstance(shape, int) else tuple(shape)
        if shape == (-1,):
            return numpy.frombuffer(self.find(name), dtype)
        memory = self.ensure(name, math.prod(shape) * dtype.itemsize)
        return numpy.ndarray(shape, dtype, memory, order=order)

    def unlink(self, name):
        """Its name is gone at once, its memory when nobody shows it any more."""
        _memory.let_children_have_theirs()
        _library.must(lib.hshm_unname(self._handle, os.fsencode(name)))

    def names(self):
        """{name: (bytes, references)} of its named blocks."""
        return {name: (info.size, info.references)
                for name, info in _library.names(self._handle).items()}

    def stats(self):
        """What the segment has and uses, as hshm_stats() tells."""
        stats = _library.sized(_library.Stats)
        _library.must(lib.hshm_stats(self._handle, stats))
        return {name: getattr(stats, name) for name, _kind in stats._fields_[1:]}

    def _named(self, name, size, kind, flags):
        block = _library.found(lib.hshm_named(self._handle, os.fsencode(name), size, 64, kind,
                                              flags | COUNTED, None))
        reference = _memory.Reference(self._handle, name, block, 0, size)
        return memoryview(_memory.view(reference)).cast("B")


def default():
    """The preload's segment, or the one that HSHM_SEGMENT names; None if there is none."""
    handle = lib.hshm_default()
    return Segment._of(handle) if handle else None


def remove(name):
    """Remove a segment in which nobody lives; Error EBUSY, ENOENT."""
    _library.must(lib.hshm_remove(os.fsencode(name)))
