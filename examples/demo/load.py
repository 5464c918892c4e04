#!/usr/bin/python3
"""Read a file into a block of malloc and print where it is.

usage: load.py FILE

Prints "ADDRESS SIZE CRC32" and ends when its standard input does.  It does
not free the block: somebody else will.  Nothing here knows of libhshm_preload.
"""
import ctypes
import os
import sys
import zlib

# The malloc that this process uses, whichever library it comes from.
malloc = ctypes.CDLL(None).malloc
malloc.restype, malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]

size = os.path.getsize(sys.argv[1])
address = malloc(size)
if not address:
    sys.exit("load.py: malloc: no memory")
block = memoryview((ctypes.c_char * size).from_address(address)).cast("B")
with open(sys.argv[1], "rb", buffering=0) as file:
    got = 0
    while got < size:
        got += file.readinto(block[got:])

print(f"{address:#x} {size} {zlib.crc32(block):08x}", flush=True)
sys.stdin.read()
