#!/usr/bin/python3
"""The hshm command and GPU segments, on the test double of the CUDA driver."""
import json
import os
import signal
import subprocess
import sys
import time

TOOL, BIN = os.environ["TEST_TOOL"], os.environ["TEST_BIN"]
NAME = "gpu-tool"
ENV = dict(os.environ, HSHM_SEGMENT=NAME, HSHM_GPU="on", HSHM_SIZE="64M", FAKE_MEMORY="67108864",
           LD_LIBRARY_PATH=BIN + "/fakes")
ENV.pop("HSHM_LOG", None)
MIB = 1 << 20


class Holder:
    """A member with a block of 1,000 bytes and a large one."""
    def __init__(self, size):
        self.process = subprocess.Popen([BIN + "/prog_gpu_members", "holder", str(size)], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, env=dict(ENV, LD_PRELOAD=os.environ["TEST_PRELOAD"]))
        self.small, self.large = (int(word, 16) for word in self.process.stdout.readline().split())

    def ask(self, order):
        self.process.stdin.write(order)
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def end(self, sig=None):
        if sig:
            self.process.send_signal(sig)
        self.process.stdin.close()
        self.process.wait()


def hshm(*words, status=0):
    done = subprocess.run([TOOL, *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == status, f"{words}: {done.returncode} {done.stdout}"
    return done.stdout


def show():
    document = json.loads(hshm("show", "-j", NAME))
    try:
        import jsonschema
        with open(os.environ["TEST_ROOT"] + "/docs/hshm.schema.json") as f:
            schema = json.load(f)
        jsonschema.validate(document, {**schema, "$ref": "#/$defs/show"})
    except ImportError:
        pass
    return document.get("gpus")


def a_segment_without_gpus_shows_none():
    child = subprocess.Popen(["sleep", "5"], env=dict(ENV, LD_PRELOAD=os.environ["TEST_PRELOAD"]))
    time.sleep(0.3)
    assert show() is None and "GPU" not in hshm("show", NAME)
    child.kill()
    child.wait()
    hshm("reclaim", NAME)


def members_and_ended_members_are_shown_and_reclaimed():
    a, b = Holder(3 * MIB), Holder(5 * MIB)
    gpu, = show()
    assert gpu["used"] == 8 * MIB + 2048 and gpu["kept"] == 0, gpu
    assert gpu["large"] == {"blocks": 2, "bytes": 8 * MIB}, gpu
    assert [c["blocks"] for c in gpu["classes"]] == [2], gpu
    assert int(gpu["base"], 16) <= a.small < int(gpu["base"], 16) + gpu["size"]
    who = {m["pid"]: m["gpu_bytes"] for m in json.loads(hshm("who", "-j", NAME))}
    assert who[a.process.pid] == 3 * MIB + 1024 and who[b.process.pid] == 5 * MIB + 1024, who
    assert "sound" in hshm("check", NAME)
    a.end(signal.SIGKILL)
    gpu, = show()
    assert gpu["used"] == 5 * MIB + 1024 and gpu["kept"] == 3 * MIB + 1024, gpu
    assert "of ended members" in hshm("show", NAME)
    assert b.ask(b"r") == b"1"                  # HSHM_EXIT=keep: it stays, whoever looks for room
    gpu, = show()
    assert gpu["kept"] == 3 * MIB + 1024, gpu
    would, = json.loads(hshm("reclaim", "-n", "-j", NAME))
    assert would["gpu_bytes"] == 3 * MIB + 1024, would
    assert "3.0 MiB on GPUs" in hshm("reclaim", NAME)
    c = Holder(MIB * 2)                         # who comes looks, and so does who needs room
    time.sleep(0.1)
    assert b.ask(b"r") == b"1"
    gpu, = show()
    assert gpu["kept"] == 0 and gpu["used"] == 7 * MIB + 2048, gpu
    assert "sound" in hshm("check", NAME)
    c.end()
    b.end()


def damage_is_found():
    a = Holder(3 * MIB)
    path = f"/dev/shm/hshm1-{os.geteuid()}-{NAME}"
    window = json.loads(hshm("show", "-j", NAME))["window"]
    unit = (a.large - int(show()[0]["base"], 16)) >> 16
    with open(path, "r+b") as f:                # a large block that would leave the device
        at = window + (128 << 20) + (4 << 20) + unit * 32
        f.seek(at)
        word = int.from_bytes(f.read(8), "little")
        assert word & 15 == 3 and word >> 40 == 48, hex(word)
        f.seek(at)
        f.write((word | 0xffff << 40).to_bytes(8, "little"))
        f.flush()
        assert "leaves its device" in hshm("check", NAME, status=1)
        f.seek(at)
        f.write(word.to_bytes(8, "little"))
        f.flush()
        assert "sound" in hshm("check", NAME)
    a.end()


bad = 0
for test in (a_segment_without_gpus_shows_none, members_and_ended_members_are_shown_and_reclaimed, damage_is_found):
    try:
        test()
        print("ok", test.__name__)
    except AssertionError as error:
        bad = 1
        print(f"FAIL {test.__name__} line {sys.exc_info()[2].tb_next.tb_lineno}: {error}")
    except Exception as error:                  # an answer that is none
        bad = 1
        print(f"FAIL {test.__name__} {error!r}")
sys.exit(bad)
