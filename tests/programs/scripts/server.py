"""What the drivers of servers share: start under $UNDER, wait by asking, stop exactly what was started."""
import os
import socket
import subprocess
import sys
import time

UNDER = os.environ["UNDER"].split()


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for(question, process, what):
    """Until the question is true; ends when the process has ended.  The case's limit catches hangs."""
    while not question():
        if process.poll() is not None:
            sys.exit("%s ended with %s" % (what, process.returncode))
        time.sleep(0.05)


class Redis:
    """A redis-server on a socket in a folder of its own, and one connection to it."""

    def __init__(self, name, under, *options):
        self.folder = os.path.join(os.environ["WORK"], name)
        os.makedirs(self.folder, exist_ok=True)
        self.path = os.path.join(self.folder, "sock")
        self.log = os.path.join(self.folder, "log")
        self.process = subprocess.Popen(
            (UNDER if under else []) + ["redis-server", "--port", "0", "--unixsocket", self.path,
             "--dir", self.folder, "--logfile", self.log, "--save", "", "--daemonize", "no",
             "--enable-debug-command", "yes", "--proto-max-bulk-len", "64mb"] + list(options))
        wait_for(self.answers, self.process, "redis-server")

    def answers(self):
        try:
            return self.connect()("PING") == b"PONG"
        except (OSError, EOFError, RuntimeError):
            return False

    def connect(self):
        return Connection(self.path)

    def stop(self):
        c = self.connect()
        try:
            c("SHUTDOWN", "NOSAVE")
        except (EOFError, OSError):
            pass
        return self.process.wait()


class Connection:
    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(path)
        self.file = self.socket.makefile("rb")

    @staticmethod
    def pack(*words):
        words = [w if isinstance(w, bytes) else str(w).encode() for w in words]
        return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in words)

    def send(self, *commands):
        self.socket.sendall(b"".join(self.pack(*c) for c in commands))

    def reply(self):
        line = self.file.readline()
        if not line:
            raise EOFError
        kind, rest = line[:1], line[1:-2]
        if kind == b"+":
            return rest
        if kind == b"-":
            raise RuntimeError(rest.decode())
        if kind == b":":
            return int(rest)
        if kind == b"$":
            n = int(rest)
            return None if n < 0 else self.file.read(n + 2)[:-2]
        if kind == b"*":
            return [self.reply() for _ in range(int(rest))]
        raise RuntimeError(line)

    def __call__(self, *words):
        self.send(words)
        return self.reply()

    def info(self, field):
        for line in self("INFO", "everything").decode().splitlines():
            if line.startswith(field + ":"):
                return line.split(":", 1)[1]
        raise KeyError(field)
