#!/usr/bin/python3
"""How long does it take to hand a block to another process?

usage: handover.py FILE ROUNDS

Starts itself again as the receiver.  In each round the same bytes are handed
over in three ways, each with an acknowledgement, which ends the measurement:

  segment   the address goes over a pipe
  pipe      the bytes go through a pipe (1 MiB, the most that users get)
  socket    the bytes go through a Unix stream socket

once until the receiver has them, and once until it has read each byte.  Pipe
and socket fill a buffer that is there already, so they pay for copying only.
Prints seconds: way, has them, has read them, and has read them in the first
round.  The others are medians.
"""
import ctypes
import fcntl
import os
import socket
import statistics
import struct
import subprocess
import sys
import time
import zlib

F_SETPIPE_SZ = 1031


def receive(pipe, sock, size):
    copy = memoryview(bytearray(size))
    while order := os.read(pipe, 16):
        way, read, address = struct.unpack("<ccxxxxxxQ", order)
        got = size if way == b"a" else 0
        while got < size:
            got += os.readv(pipe, [copy[got:]]) if way == b"p" else sock.recv_into(copy[got:])
        block = (ctypes.c_char * size).from_address(address) if way == b"a" else copy
        sock.sendall(struct.pack("<I", zlib.crc32(block) if read == b"y" else 0))


def hand_over(way, read, pipe, sock, address, block):
    start = time.perf_counter()
    os.write(pipe, struct.pack("<ccxxxxxxQ", way, read, address))
    if way == b"p":
        sent = 0
        while sent < len(block):
            sent += os.write(pipe, block[sent:])
    elif way == b"s":
        sock.sendall(block)
    crc = struct.unpack("<I", sock.recv(4))[0]
    return time.perf_counter() - start, crc


def main(path, rounds):
    size = os.path.getsize(path)
    libc = ctypes.CDLL(None)
    libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    libc.free.restype, libc.free.argtypes = None, [ctypes.c_void_p]
    address = libc.malloc(size)
    block = memoryview((ctypes.c_char * size).from_address(address)).cast("B")
    with open(path, "rb") as file:
        file.readinto(block)
    crc = zlib.crc32(block)

    out, pipe = os.pipe()
    fcntl.fcntl(pipe, F_SETPIPE_SZ, 1 << 20)
    sock, theirs = socket.socketpair()
    receiver = subprocess.Popen(
        [sys.executable, __file__, "receive", str(out), str(theirs.fileno()), str(size)],
        pass_fds=[out, theirs.fileno()])
    os.close(out)
    theirs.close()

    ways = {"segment": b"a", "pipe": b"p", "socket": b"s"}
    times = {(name, read): [] for name in ways for read in (b"n", b"y")}
    for _ in range(rounds):
        for (name, read), list_ in times.items():
            seconds, found = hand_over(ways[name], read, pipe, sock, address, block)
            list_.append(seconds)
            if read == b"y" and found != crc:
                sys.exit(f"handover.py: {name}: the bytes are not equal")
    os.close(pipe)
    if receiver.wait():
        sys.exit("handover.py: the receiver failed")
    libc.free(address)
    for name in ways:
        has, reads = times[name, b"n"], times[name, b"y"]
        print(name, statistics.median(has), statistics.median(reads), reads[0])


if sys.argv[1] == "receive":
    receive(int(sys.argv[2]), socket.socket(fileno=int(sys.argv[3])), int(sys.argv[4]))
else:
    main(sys.argv[1], int(sys.argv[2]))
