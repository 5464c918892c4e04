#!/usr/bin/python3
"""What `hshm top` and `hshm map` show on a terminal, as tmux reads it from the screen."""
import os
import re
import signal
import shutil
import subprocess
import time

import heaps
from heaps import Segment, test, until

SERVER = 0         # a new one for each screen: an old one may still be going


def tmux(*arguments):
    return subprocess.run(["tmux", "-L", f"hshm-{os.getpid()}-{SERVER}", *arguments], capture_output=True, text=True,
                          env=dict(os.environ, LANG="C.UTF-8", TERM="screen-256color")).stdout


class Screen:
    """A terminal of 120 x 30 that runs a command and stays when it has ended."""
    def __init__(self, command):
        global SERVER
        SERVER += 1
        tmux("-f", "/dev/null", "new-session", "-d", "-x", "120", "-y", "30", f"{command}; echo ended with $?; sleep 60")

    def text(self):
        return tmux("capture-pane", "-p")

    def colours(self):
        return tmux("capture-pane", "-p", "-e")

    def keys(self, *keys):
        tmux("send-keys", *keys)

    def shows(self, pattern):
        """Waits until the screen does."""
        try:
            until(lambda: re.search(pattern, self.text(), re.M))
        except AssertionError:
            raise AssertionError(f"{pattern} is not on the screen:\n{self.text()}")
        return self.text()

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        tmux("kill-server")


def order(text):
    return [int(pid) for pid in re.findall(r"^ *(\d+) +prog_puppet", text, re.M)]


@test
def top_goes_from_all_segments_to_the_members_of_one():
    with Segment("tool-topa") as s, Segment("tool-topb") as other:
        big, small = s.member(), s.member()
        other.member()
        big.ask("n 1000 3000")
        with Screen(f"{heaps.TOOL} top -d 0.1 -s NAME") as screen:
            text = screen.shows(r"^tool-topb ")
            assert text.index("tool-topa") < text.index("tool-topb"), text
            screen.keys("Down", "Up", "Enter")
            screen.shows(r"^segment tool-topa, in use")
            screen.shows(r"PROGRAM +STATE +BYTES")
            assert order(screen.shows(rf"^ *{big.pid} +prog_puppet +alive +2\.")) == [big.pid, small.pid]
            screen.keys("Left")
            screen.shows(r"^tool-topb ")
            screen.keys("q")
            screen.shows("ended with 0")


@test
def top_sorts_turns_pauses_and_shows_changes():
    with Segment("tool-tops") as s:
        a, b = s.member(), s.member()
        a.ask("n 1000 1000")
        with Screen(f"{heaps.TOOL} top -d 0.1 tool-tops") as screen:
            assert order(screen.shows(rf"^ *{b.pid} ")) == [a.pid, b.pid]
            b.ask("n 3000 1000")
            until(lambda: order(screen.text()) == [b.pid, a.pid])
            screen.keys("r")
            until(lambda: order(screen.text()) == [a.pid, b.pid])
            screen.keys(" ")
            screen.shows("PAUSED")
            a.kill()
            screen.keys(" ")
            screen.shows(rf"^ *{a.pid} +prog_puppet +dead")
            screen.keys("Tab")
            screen.shows(r"^ *1,024 +\d+ +4,00\d")
            screen.keys("?")
            screen.shows("sort by another column")
            screen.keys("q")
            screen.shows("ended with 0")


@test
def top_survives_the_end_of_the_segment_and_a_small_terminal():
    with Segment("tool-tope") as s:
        a = s.member()
        with Screen(f"{heaps.TOOL} top -d 0.1 tool-tope") as screen:
            screen.shows(rf"^ *{a.pid} ")
            tmux("resize-window", "-x", "20", "-y", "4")
            tmux("resize-window", "-x", "120", "-y", "30")
            screen.shows(rf"^ *{a.pid} ")
            tmux("resize-window", "-x", "30", "-y", "3")
            screen.shows(r"^hshm top")
            tmux("resize-window", "-x", "120", "-y", "30")
            screen.shows(rf"^ *{a.pid} ")
            a.quit()
            screen.shows("segment tool-tope: there is no such segment")
            screen.keys("q")
            screen.shows("ended with 0")


@test
def map_draws_in_colours_on_a_terminal():
    with Segment("tool-mapt") as s:
        a, b = s.member(), s.member()
        a.ask("n 2000 1000")
        b.ask("m 9000000")
        with Screen(f"{heaps.TOOL} map tool-mapt") as screen:
            text = screen.shows(r"prog_puppet")
            assert re.search(r"^0x[0-9a-f]+ +\|r█+", text, re.M) and "H" * 64 in text, text
            screen.shows("ended with 0")
            colours = set(re.findall(r"\033\[38;5;(\d+)m", screen.colours()))
            assert len(colours) == 2, "each member has its colour"


@test
def long_transfers_tell_how_far_they_are():
    fifo = heaps.TMP + "/slow"
    os.mkfifo(fifo)
    with Segment("tool-slow", HSHM_SIZE="128M") as s:
        s.member()
        feed = f"head -c 40000000 /dev/zero; sleep 0.3; head -c 9000000 /dev/zero; while [ ! -e {heaps.TMP}/go ]; do head -c 9000 /dev/zero; sleep 0.1; done"
        with Screen(f"sh -c '{feed}' | {heaps.TOOL} put {s.name} big") as screen:
            screen.shows(r"^4\d\.\d MiB")
            open(heaps.TMP + "/go", "w").close()
            screen.shows("ended with 0")
            assert "MiB" not in screen.text().replace("tool-slow", ""), "the line goes when it is done"
        with Screen(f"{heaps.TOOL} get {s.name} big > {fifo}") as screen:
            with open(fifo, "rb") as slow:
                slow.read(20_000_000)
                time.sleep(0.3)
                slow.read(5_000_000)
                screen.shows(r"^ *\d+ %  \d+\.\d MiB of 4\d\.\d MiB")
                slow.read()
            screen.shows("ended with 0")
    small = subprocess.run([heaps.TOOL, "put", "tool-slow", "x"], input=b"", capture_output=True)
    assert small.returncode == 1 and b"%" not in small.stderr


if __name__ == "__main__":
    if not shutil.which("tmux"):
        print("there is no tmux")
        raise SystemExit(77)
    signal.alarm(250)
    heaps.main(globals())
