"""multiprocessing and concurrent.futures that hand large buffers over by reference.

    python3 -m hshm script.py ...        runs an unmodified script so
    hshm.parallel.install(segment)       does the same from within

Queue, SimpleQueue, Pipe, Pool and ProcessPoolExecutor pickle what is sent.  Buffers that pickle can
carry out of band (numpy arrays, PickleBuffer), of 64 KiB and more, are copied once into a block of the
segment, and the message has the block's name only: whoever receives it has the block itself as the
memory of its array, without a copy.  It is the receiver's own and may be written, as with plain
pickling.  An array that lies in a named block already (Segment.array) is not copied at all: both
sides have the same memory then, and see what the other writes.  Without room, and for all else,
pickle does what it always does.  (A PickleBuffer that is sent as such is received as a memoryview, not
as bytes.)

A message's block ends with the last object that shows it, or with the process that had it, killed or
not.  One that nobody ever received ends with the session: when the process that began it exits.
"""
import atexit
import ctypes
import io
import itertools
import multiprocessing.reduction as reduction
import multiprocessing.spawn as spawn
import os
import pickle

from . import Segment, _library, _memory, default
from ._library import lib

LEAST = 64 << 10  # bytes of a buffer that is worth a block
HEAD = 64  # of a message's block: whether it was received
SWEEP = 64  # messages between two looks for blocks whose receivers have died

_SEGMENT, _SESSION = "_HSHM_PYTHON_SEGMENT", "_HSHM_PYTHON_SESSION"

_segment = None  # where messages lie; None: not installed
_count = itertools.count(1)
_plain_dumps = reduction.ForkingPickler.dumps
_plain_preparation = spawn.get_preparation_data


def _prefix():
    return f"py.{os.environ.get(_SESSION, '0')}."


# ---- sending -----------------------------------------------------------------------------------

def _sweep(all_of_them=False):
    """Remove messages that were received and that nobody has any more."""
    for name, info in _library.names(_segment._handle).items():
        if name.startswith(_prefix()) and (all_of_them or info.references == 0):
            if all_of_them or ctypes.c_ubyte.from_address(info.block).value:
                lib.hshm_unname(_segment._handle, os.fsencode(name))


def _block(size):
    block = lib.hshm_alloc_aligned(_segment._handle, 64, size)
    if not block:
        _sweep()
        block = lib.hshm_alloc_aligned(_segment._handle, 64, size)
    return block


def _place(raw):
    """A copy of that memory in a block of the segment: what a message says of it, or None."""
    number = next(_count)
    if number % SWEEP == 0:
        _sweep()
    block = _block(HEAD + raw.nbytes)
    if not block:
        return None
    source = ctypes.c_void_p(_address(raw))
    ctypes.memset(block, 0, HEAD)
    ctypes.memmove(block + HEAD, source, raw.nbytes)
    name = f"{_prefix()}{os.getpid()}.{number}"
    if lib.hshm_publish(os.fsencode(name), block, 0, 0, None):
        lib.hshm_free(block)
        return None
    return (name, HEAD, raw.nbytes, True)


def _address(raw):
    """Of memory that may be read-only, which ctypes' from_buffer refuses."""
    view = _PyBuffer()
    _get_buffer(ctypes.py_object(raw), ctypes.byref(view), 0)
    address = view.buf
    _release_buffer(ctypes.byref(view))
    return address


class _PyBuffer(ctypes.Structure):
    _fields_ = [("buf", ctypes.c_void_p), ("obj", ctypes.c_void_p), ("len", ctypes.c_ssize_t),
                ("itemsize", ctypes.c_ssize_t), ("readonly", ctypes.c_int), ("ndim", ctypes.c_int),
                ("rest", ctypes.c_void_p * 6)]


_get_buffer, _release_buffer = ctypes.pythonapi.PyObject_GetBuffer, ctypes.pythonapi.PyBuffer_Release
_get_buffer.argtypes = (ctypes.py_object, ctypes.POINTER(_PyBuffer), ctypes.c_int)
_release_buffer.argtypes = (ctypes.POINTER(_PyBuffer),)
_release_buffer.restype = None


def _reference(buffer):
    try:
        raw = buffer.raw()
    except BufferError:  # it is not in one piece
        return None
    if raw.nbytes < LEAST:
        return None
    address = _address(raw)
    known = _memory.block_of(address, raw.nbytes)
    if known and known.segment == _segment._handle and not known.name.startswith("py."):
        return (known.name, address - known.block, raw.nbytes, False)
    return _place(raw)


def _dumps(cls, obj, protocol=None):
    if _segment is None or (protocol is not None and protocol < 5):
        return _plain_dumps(obj, protocol)
    places, out = [], io.BytesIO()

    def in_band(buffer):
        place = _reference(buffer)
        if place:
            places.append(place)
        return place is None

    cls(out, 5, True, in_band).dump(obj)
    if not places:
        return out.getbuffer()
    return pickle.dumps(_Message(_segment.name, out.getvalue(), places), 5)


# ---- receiving -----------------------------------------------------------------------------------

class _Message:
    """Pickles as a call of _receive, so that any Python that can import this package understands it."""

    def __init__(self, *arguments):
        self.arguments = arguments

    def __reduce__(self):
        return _receive, self.arguments


def _received(reference):
    info = _library.sized(_library.Name)
    name = os.fsencode(reference.name)
    if lib.hshm_name_info(reference.segment, name, info) == 0 and info.references == 0:
        lib.hshm_unname(reference.segment, name)


def _open(name):
    if _segment is not None and _segment.name == name:
        return _segment
    segment = default()
    return segment if segment and segment.name == name else Segment(name, flags=0)


def _receive(segment, data, places):
    handle, buffers = _open(segment)._handle, []
    _memory.settle()
    for name, offset, size, is_message in places:
        reference = _memory.find(handle, name, offset, size)
        if is_message:
            ctypes.c_ubyte.from_address(reference.block).value = 1
            reference.done = _received
        buffers.append(memoryview(_memory.view(reference)).cast("B"))
    return pickle.loads(data, buffers=buffers)


# ---- installing -----------------------------------------------------------------------------------

class _Installed:
    """In what a spawned child is told: it installs itself there too."""

    def __reduce__(self):
        return install, (_segment.name,)


def _preparation(name):
    data = _plain_preparation(name)
    data["hshm"] = _Installed()
    return data


def install(segment=None):
    """From now on, in this process and in those that multiprocessing starts from it.  'segment': a
    Segment or its name; None: the default one, or a new one that ends with the processes."""
    global _segment
    if isinstance(segment, str):
        segment = _open(segment) if segment == getattr(_segment, "name", None) else Segment(segment)
    if segment is None:
        segment = default()
    if segment is None or segment.is_private:
        segment = Segment(os.environ.get(_SEGMENT) or f"python-{os.getpid()}")
    _segment = segment
    os.environ[_SEGMENT] = segment.name
    if _SESSION not in os.environ:
        os.environ[_SESSION] = f"{os.getpid()}"
        atexit.register(_session_ends, os.getpid())
    reduction.ForkingPickler.dumps = classmethod(_dumps)
    spawn.get_preparation_data = _preparation


def _session_ends(pid):
    if os.getpid() == pid and _segment is not None:
        _sweep(all_of_them=True)
