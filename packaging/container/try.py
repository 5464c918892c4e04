#!/usr/bin/python3
"""Does what the Dockerfile and the compose file beside it say, without a container engine: each stage is an
overlay over a system tree, each service a process in namespaces of its own, with the /dev/shm that 'ipc'
and 'shm_size' give it.   packaging/container/try.py [TREE]   as root; TREE: a Debian 12, else this machine's

It knows as much of both languages as the two files need, and refuses what else it meets."""
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import yaml

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
BASE = sys.argv[1] if len(sys.argv) > 1 else "/"


def sh(*command, **more):
    subprocess.run(command, check=True, **more)


def mount(kind, at, options, source="none"):
    os.makedirs(at, exist_ok=True)
    sh("mount", "-t", kind, "-o", options, source, at)


class Stage:
    def __init__(self, name):
        self.dir, self.env, self.user, self.cmd = f"{TMP}/{name}", {}, None, []
        for part in "upper", "work", "root":
            os.makedirs(f"{self.dir}/{part}")
        self.root = self.dir + "/root"
        mount("overlay", self.root, f"lowerdir={BASE},upperdir={self.dir}/upper,workdir={self.dir}/work")

    def command(self, words, env=(), user=None, shm=None, binds=()):
        """That runs the words in here: in a chroot, with mounts, pids and IPC of its own."""
        lines = [f"mount -t proc proc {self.root}/proc", f"mount --rbind /dev {self.root}/dev"]
        if shm:
            lines.append(f"mount --bind {shm} {self.root}/dev/shm")
        lines += [f"mkdir -p {self.root}{at} && mount --bind {source} {self.root}{at}" for source, at in binds]
        inside = ["env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/", *(f"{k}={v}" for k, v in dict(env).items()), *words]
        who = ["setpriv", "--reuid", user, "--clear-groups"] if user else []
        lines.append(f"exec chroot {self.root} {shlex.join(who + inside)}")
        return ["unshare", "--mount", "--pid", "--ipc", "--fork", "--kill-child", "sh", "-ec", "\n".join(lines)]


def copy(stage, words, stages):
    source = ROOT
    if words[0].startswith("--from="):
        source = stages[words.pop(0)[7:]].root
    assert len(words) == 2, words
    at = stage.root + words[1]
    os.makedirs(at, exist_ok=True)
    if words[0] == ".":             # what git knows: an engine would take all that .dockerignore lets it
        files = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
        sh("xargs", "-0", "cp", "--parents", "-t", at, input=files, cwd=ROOT)
    else:
        sh("cp", "-a", f"{source}/{words[0].lstrip('/')}/.", at)


def build(dockerfile):
    stages, stage = {}, None
    with open(dockerfile) as f:
        text = re.sub(r"\\\n\s*", "", re.sub(r"^#.*\n", "", f.read(), flags=re.M))
    for line in filter(None, text.split("\n")):
        verb, _, rest = line.partition(" ")
        if verb == "FROM":
            image, _, name = rest.partition(" AS ")
            assert re.match(r"debian:12", image), image
            stage = stages[name or "final"] = Stage(name or "final")
        elif verb == "RUN":
            sh(*stage.command(["sh", "-c", rest], {"DEBIAN_FRONTEND": "noninteractive"}), stdout=subprocess.DEVNULL)
        elif verb == "COPY":
            copy(stage, rest.split(), stages)
        elif verb == "ENV":
            stage.env.update([rest.split("=", 1)])
        elif verb == "USER":
            stage.user = rest
        elif verb == "CMD":
            stage.cmd = json.loads(rest)
        else:
            sys.exit(f"what is {line}?")
    return stages["final"]


def start(image, name, service, shm, volumes):
    known = {"image", "ipc", "shm_size", "environment", "command", "depends_on", "volumes"}
    assert service["image"] == "hshm" and not set(service) - known, service
    if service["ipc"] == "shareable":
        size = re.fullmatch(r"(\d+)gb", service["shm_size"]).group(1)
        shm[name] = f"{TMP}/shm-{name}"
        mount("tmpfs", shm[name], f"size={size}g,mode=1777,noexec,nosuid,nodev")
    else:
        owner = re.fullmatch(r"service:(\w+)", service["ipc"]).group(1)
        assert owner in service["depends_on"], service
        shm[name] = shm[owner]
    binds = []
    for volume in service.get("volumes", []):
        source, at = volume.split(":")
        binds.append((volumes[source], at))
        shutil.copystat(image.root + at, volumes[source])       # a new volume is as the image has its folder
        owner = os.stat(image.root + at)
        os.chown(volumes[source], owner.st_uid, owner.st_gid)
    env = {**image.env, **service.get("environment", {})}
    return subprocess.Popen(image.command(service.get("command", image.cmd), env, image.user, shm[name], binds),
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True)


def until(condition, seconds=60):
    end = time.time() + seconds
    while not condition():
        assert time.time() < end, "it did not come about"
        time.sleep(0.1)


def main():
    image = build(HERE + "/Dockerfile")
    print("built: ok")
    done = subprocess.run(image.command(image.cmd, image.env, image.user), capture_output=True, text=True)
    assert done.returncode in (0, 1) and "library" in done.stdout, done
    with open(HERE + "/compose.yaml") as f:
        compose = yaml.safe_load(f)
    shm, running = {}, {}
    volumes = {name: tempfile.mkdtemp(dir=TMP) for name in compose["volumes"]}
    for name, service in compose["services"].items():
        running[name] = start(image, name, service, shm, volumes)
    try:
        said = running["worker"].communicate(timeout=60)[0]
        assert re.fullmatch(r"2048 pages seen by [23] members\n", said), said
        print("the worker sees what the loader has made: ok")
        metrics = f"{volumes['metrics']}/hshm.prom"
        until(lambda: os.path.exists(metrics) and 'hshm_segment_members{segment="data"} 1' in open(metrics).read())
        print("the metrics are written: ok")
        who = subprocess.run(image.command(["hshm", "who", "data"], {}, image.user, shm["metrics"]), capture_output=True, text=True).stdout
        assert re.search(r"\*? +python3 +alive ", who), who
        print("a container with other pids sees the loader alive: ok")
    finally:
        for process in running.values():
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    assert running["loader"].stdout.read() == "loaded\n"


if os.geteuid() != 0:
    print("needs root")
    sys.exit(77)
if "HSHM_UNSHARED" not in os.environ:               # mounts end with this process
    os.execvpe("unshare", ["unshare", "--mount", sys.executable, *sys.argv], dict(os.environ, HSHM_UNSHARED="1"))
TMP = tempfile.mkdtemp(prefix="hshm-container-")
mount("tmpfs", TMP, "size=4g")
try:
    main()
finally:
    sh("umount", "-R", "-l", TMP)
    os.rmdir(TMP)
