#!/usr/bin/python3
"""Images of segments with random damage, and segments that change while they are looked at: no
command crashes, hangs, or says what is not so.   timeout: 250

TEST_SCALE=1 tries 60 images and 2 seconds of change; 100 tries 3,000 and a minute."""
import json
import os
import random
import re
import subprocess
import threading
import time

import heaps
from heaps import SCALE, Segment, hshm, hshm_json, run, test

IMAGES = 60 if SCALE <= 1 else 30 * SCALE
COMMANDS = {                # command, arguments behind the file, the exit statuses it may have
    "show": ([], (0, 1)), "who": ([], (0, 1)), "check": ([], (0, 1, 2)), "map": ([], (0, 1)),
    "owner": (["BLOCK", "LARGE", "HUGE", "0"], (0, 1)), "pointers": (["BLOCK"], (0, 1)),
    "diff": (["SOUND"], (0, 1)), "dump": (["/dev/null.no/x"], (1,)), "metrics": ([], (0, 1)),
    "top": ([], (0, 1)), "reclaim": ([], (0, 1)), "names": ([], (0, 1)), "get": (["key"], (0, 1)),
}
FLAGS = {"top": ["-b", "-n", "1"], "reclaim": ["-n"]}


def make_image(file):
    """A segment with blocks of all kinds, free ones, and what a dead member left; addresses of three."""
    with Segment("tool-image", HSHM_PERSIST="1") as s:
        a, b, c = s.member(), s.member(), s.member()
        for size, count in ((16, 3000), (100, 1000), (3000, 100), (20000, 30), (100000, 5), (6000000, 1)):
            a.ask(f"n {count} {size}")
            b.ask(f"n {count // 2} {size}")
        c.ask("n 1000 64")
        block, large, huge = a.ask("m 200"), b.ask("m 150000"), b.ask("m 5000000")
        for _ in range(20):
            b.ask("f %d" % a.ask("m 16"))
        b.ask("d")
        c.kill()
        subprocess.run([heaps.TOOL, "put", s.name, "key"], input=b"named" * 5000, check=True)
        heaps.heap_maker(s.name).communicate()
        hshm("dump", "-s", s.name, file)
        return {"BLOCK": hex(block), "LARGE": hex(large), "HUGE": hex(huge)}


def data_ranges(file):
    ranges, at = [], 0
    fd = os.open(file, os.O_RDONLY)
    end = os.fstat(fd).st_size
    while at < end:
        try:
            at = os.lseek(fd, at, os.SEEK_DATA)
        except OSError:
            break
        hole = os.lseek(fd, at, os.SEEK_HOLE)
        ranges.append((at, hole))
        at = hole
    os.close(fd)
    return ranges


def damage(file, rng, ranges):
    """Some bytes, words or stretches, mostly in the metadata; sometimes a shorter file."""
    size = os.stat(file).st_size
    with open(file, "r+b", buffering=0) as f:
        for _ in range(rng.choice((1, 1, 2, 5, 50))):
            low, high = rng.choice(((0, 512), (4096, 1 << 17), (1 << 20, (1 << 20) + 3 * 4096), (17 << 20, (17 << 20) + 8192),
                                    rng.choice(ranges), rng.choice(ranges), rng.choice(ranges)))
            at = rng.randrange(low, high) & ~7
            f.seek(at)
            f.write(rng.choice((rng.randbytes(1), rng.randbytes(8), b"\xff" * 8, b"\0" * 8, rng.randbytes(256),
                                (rng.randrange(size)).to_bytes(8, "little"))))
        if rng.random() < 0.05:
            f.truncate(rng.randrange(size))


@test
def random_damage_neither_crashes_nor_hangs_a_command():
    sound, image = heaps.TMP + "/sound", heaps.TMP + "/image"
    words = make_image(sound)
    words["SOUND"] = sound
    assert hshm_json("check", sound)["verdict"] == "sound"
    ranges = data_ranges(sound)
    seed = int(os.environ.get("TEST_SEED", random.randrange(1 << 32)))
    print(f"TEST_SEED={seed}")
    rng, slowest = random.Random(seed), 0
    for i in range(IMAGES):
        subprocess.run(["cp", "--sparse=always", sound, image], check=True)
        damage(image, rng, ranges)
        statuses = {}
        for command in COMMANDS if SCALE > 1 or i % 6 == 0 else rng.sample(list(COMMANDS), 3):
            arguments, allowed = COMMANDS[command]
            start = time.monotonic()
            done = run(command, *FLAGS.get(command, []), image, *[words.get(x, x) for x in arguments], timeout=60)
            slowest = max(slowest, time.monotonic() - start)
            statuses[command] = done.returncode
            assert done.returncode in allowed, (i, command, done.returncode, done.stderr[-500:])
            assert done.returncode == 0 or done.stderr or command in ("check", "owner"), (i, command, done)
        if statuses.get("check") == 1:
            text = run("check", image)
            assert "damage: " in text.stdout and "damaged" in text.stdout, text
        if "check" in statuses:
            heaps.valid("check", json.loads(run("check", "-j", image).stdout))
    print(f"the slowest took {slowest:.2f} s")


@test
def damage_where_nothing_may_be_is_found():
    """A check that says 'sound' to everything would pass the test above."""
    sound, image = heaps.TMP + "/sound2", heaps.TMP + "/image2"
    make_image(sound)
    header = open(sound, "rb").read(512)
    word = lambda at: int.from_bytes(header[at:at + 8], "little")
    chunks_off, slices_off, first = word(40), word(48), word(80)
    places = [0, 16, 88, chunks_off + first * 64, slices_off + first * 64 * 128 + 48, slices_off + first * 64 * 128 + 52]
    for at in places:
        subprocess.run(["cp", "--sparse=always", sound, image], check=True)
        with open(image, "r+b") as f:
            f.seek(at)
            f.write(b"\x77" * 4)
        status = run("check", image).returncode
        assert status in (1, 2), (at, status)


@test
def commands_are_right_about_a_segment_that_changes_meanwhile():
    seconds = 2 if SCALE <= 1 else 60
    with Segment("tool-changing") as s:
        members = [s.member() for _ in range(3)]
        stop, answers = threading.Event(), []

        def change(m, rng):
            while not stop.is_set():
                for size in rng.sample((16, 64, 500, 3000, 40000, 3000000), 3):
                    m.ask(f"n {rng.randrange(1, 400) if size < 40000 else 2} {size}")
                m.ask("d")

        threads = [threading.Thread(target=change, args=(m, random.Random(i))) for i, m in enumerate(members)]
        for t in threads:
            t.start()
        try:
            end, looks = time.time() + seconds, 0
            while time.time() < end or looks < 3:
                check = run("check", s.name)
                assert check.returncode == 0, check.stdout
                assert len(hshm_json("who", s.name)) == 3
                show = hshm_json("show", s.name)
                assert show["used"]["bytes"] <= show["size"] and show["members"]["alive"] == 3, show
                hshm_json("map", s.name)
                assert hshm_json("owner", s.name, "0x2000000")
                hshm("dump", s.name, heaps.TMP + "/torn")
                assert run("check", heaps.TMP + "/torn").returncode in (0, 2), "torn is not damaged"
                looks += 1
        finally:
            stop.set()
            for t in threads:
                t.join()
        assert all(m.process.poll() is None for m in members)
        print(f"{looks} looks")


if __name__ == "__main__":
    heaps.main(globals())
