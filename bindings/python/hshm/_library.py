"""libhshm, as hshm.h declares it.  Nothing here has a state of its own."""
import ctypes
import os

from ctypes import POINTER, byref, c_char_p, c_int, c_size_t, c_uint, c_uint64, c_void_p


class Error(OSError):
    """What libhshm refused: .code is the name of its error ('ENOENT', 'ESIZE', 'ECLASH' ...)."""

    def __init__(self, number, text):
        super().__init__(f"{text} [{NAMES[number]}]")
        self.code = NAMES[number]


# enum hshm_error
NAMES = ("OK EINVAL ENOMEM ENOENT EEXIST ESIZE ETYPE EBUSY EAGAIN EPERM ECLASH EFULL EDAMAGED "
         "EREADONLY EOWNERDEAD ESYSTEM").split()
CREATE, EXCLUSIVE, READ_ONLY, PERSIST, RECLAIM, KEEP = 1, 2, 4, 8, 16, 32
ALONE, COUNTED = 1, 2


class Attr(ctypes.Structure):
    _fields_ = [("struct_size", c_size_t), ("size", c_uint64), ("mode", c_uint), ("flags", c_uint),
                ("wait_ms", c_int), ("scope", c_uint)]


class Info(ctypes.Structure):
    _fields_ = [("struct_size", c_size_t), ("name", c_char_p), ("base", c_void_p), ("window", c_uint64),
                ("limit", c_uint64), ("mode", c_uint), ("member", c_uint), ("members", c_uint),
                ("is_default", c_int), ("is_private", c_int), ("is_read_only", c_int),
                ("is_persistent", c_int)]


class Name(ctypes.Structure):
    _fields_ = [("struct_size", c_size_t), ("block", c_void_p), ("size", c_uint64), ("type", c_uint64),
                ("made_ns", c_uint64), ("references", c_uint64)]


class Stats(ctypes.Structure):
    _fields_ = [("struct_size", c_size_t)] + [(name, c_uint64) for name in (
        "limit committed available blocks bytes names members left_blocks left_bytes our_blocks "
        "our_bytes peak largest_free").split()]


EACH_NAME = ctypes.CFUNCTYPE(c_int, c_char_p, POINTER(Name), c_void_p)

FUNCTIONS = {
    "hshm_error": (c_int,), "hshm_error_text": (c_char_p,), "hshm_strerror": (c_char_p, c_int),
    "hshm_open": (c_int, c_char_p, POINTER(Attr), POINTER(c_void_p)),
    "hshm_default": (c_void_p,), "hshm_close": (c_int, c_void_p), "hshm_remove": (c_int, c_char_p),
    "hshm_info": (c_int, c_void_p, POINTER(Info)), "hshm_stats": (c_int, c_void_p, POINTER(Stats)),
    "hshm_alloc_aligned": (c_void_p, c_void_p, c_size_t, c_size_t), "hshm_free": (None, c_void_p),
    "hshm_named": (c_void_p, c_void_p, c_char_p, c_size_t, c_size_t, c_uint64, c_uint, POINTER(c_int)),
    "hshm_find": (c_void_p, c_void_p, c_char_p, c_size_t, c_uint64, c_uint),
    "hshm_find_wait": (c_void_p, c_void_p, c_char_p, c_size_t, c_uint64, c_uint, c_int),
    "hshm_publish": (c_int, c_char_p, c_void_p, c_size_t, c_uint64, POINTER(c_int)),
    "hshm_unname": (c_int, c_void_p, c_char_p), "hshm_named_ref": (c_int, c_void_p),
    "hshm_named_unref": (c_int, c_void_p),
    "hshm_name_info": (c_int, c_void_p, c_char_p, POINTER(Name)),
    "hshm_names": (c_int, c_void_p, EACH_NAME, c_void_p),
}


def _places():
    """$LIBHSHM; the build, or the prefix, that this file lies in; where the loader looks."""
    if os.environ.get("LIBHSHM"):
        return [os.environ["LIBHSHM"]]
    above = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "..")
    near = (os.path.join(above, "build", "libhshm.so.0"), os.path.join(above, "libhshm.so.0"))
    return [place for place in near if os.path.exists(place)] + ["libhshm.so.0"]


def _load():
    for place in _places():
        try:
            library = ctypes.CDLL(place)
        except OSError as error:
            why = error
            continue
        for name, (result, *arguments) in FUNCTIONS.items():
            function = getattr(library, name)
            function.restype, function.argtypes = result, arguments
        return library
    raise ImportError(f"hshm: {why} (install libhshm, or say where it is in LIBHSHM)")


lib = _load()


def error():
    """The last failure of this thread, to be raised."""
    return Error(lib.hshm_error(), (lib.hshm_error_text() or b"").decode(errors="replace"))


def must(rc):
    if rc:
        raise error()


def found(address):
    if not address:
        raise error()
    return address


def sized(structure):
    return structure(struct_size=ctypes.sizeof(structure))


def names(segment):
    """{name: Name} of all named blocks."""
    told = {}

    def each(name, info, _context):
        told[name.decode(errors="surrogateescape")] = Name.from_buffer_copy(info.contents)
        return 0

    lib.hshm_names(segment, EACH_NAME(each), None)
    return told


def open_segment(name, size, flags, mode, wait):
    handle = c_void_p()
    attr = sized(Attr)
    attr.size, attr.flags, attr.mode, attr.wait_ms = size, flags, mode, milliseconds(wait)
    must(lib.hshm_open(os.fsencode(name), byref(attr), byref(handle)))
    return handle.value


def milliseconds(seconds):
    return -1 if seconds is None else int(seconds * 1000)
