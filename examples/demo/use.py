#!/usr/bin/python3
"""Use a block that another process has made.

Reads "ADDRESS SIZE CRC32" from standard input, looks at the bytes at that
address, changes some, and prints the line anew for whoever is next.  Nothing
here knows of libhshm_preload.
"""
import ctypes
import os
import sys
import zlib


def say(text):
    print(f"      use.py [{os.getpid()}]: {text}", file=sys.stderr, flush=True)


address, size, crc = sys.stdin.readline().split()
address, size = int(address, 16), int(size)
block = memoryview((ctypes.c_char * size).from_address(address)).cast("B")

found = f"{zlib.crc32(block):08x}"
say(f"read {size} bytes at {address:#x}: CRC-32 {found}, expected {crc}")
if found != crc:
    sys.exit(1)

text = b"use.py was here\n"
for at in (0, size // 2, size - len(text)):
    block[at : at + len(text)] = text
say(f"wrote {text!r} at its start, middle and end")
print(f"{address:#x} {size} {zlib.crc32(block):08x}", flush=True)

# The answer is a block that use.c has made: its address, and nothing else.
answer = int(sys.stdin.readline(), 16)
say(f"the answer lies at {answer:#x}: {ctypes.string_at(answer).decode()!r}; freeing it")
free = ctypes.CDLL(None).free
free.restype, free.argtypes = None, [ctypes.c_void_p]
free(answer)
