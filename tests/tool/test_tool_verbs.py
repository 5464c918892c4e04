#!/usr/bin/python3
"""What the commands of hshm say about segments whose state is known.   timeout: 200"""
import os
import re
import signal
import struct
import subprocess
import time

import heaps
from heaps import Segment, hshm, hshm_json, run, test, until


@test
def list_tells_size_use_members_and_state():
    with Segment("tool-list") as s:
        a, b = s.member(), s.member()
        a.ask("n 1000 100")
        one, = [x for x in hshm_json("list") if x["name"] == "tool-list"]
        assert one["state"] == "in use" and one["members"] == 2 and one["dead"] == 0, one
        assert one["size"] == 64 << 20 and 112000 <= one["used"] < 200000, one
        assert one["committed"] == os.stat(s.path).st_blocks * 512, one
        b.kill()
        one, = [x for x in hshm_json("list") if x["name"] == "tool-list"]
        assert one["members"] == 1 and one["dead"] == 1, one
        a.kill()
        one, = [x for x in hshm_json("list") if x["name"] == "tool-list"]
        assert one["state"] == "stale", one
        assert re.search(r"^tool-list +64.0 MiB .* stale +/dev/shm$", hshm("list"), re.M)


@test
def segments_of_other_versions_are_named_and_refused():
    path = f"/dev/shm/hshm7-{os.geteuid()}-tool-future"
    try:
        with open(path, "wb") as f:
            f.write(b"something else entirely" * 100)
        one, = [x for x in hshm_json("list") if x["name"] == "tool-future"]
        assert one["state"] == "other version" and one["format"] == 7, one
        for verb in "show", "who", "owner", "map", "pointers", "dump", "names", "put", "get":
            rest = {"owner": ["0"], "pointers": ["0"], "dump": [heaps.TMP + "/no"], "put": ["x"], "get": ["x"]}.get(verb, [])
            done = run(verb, "tool-future", *rest)
            assert done.returncode == 1 and len(done.stderr.splitlines()) == 1, (verb, done)
        assert run("check", "tool-future").returncode == 2
        assert run("rm", "tool-future").returncode == 1
        hshm("rm", "-f", "tool-future")
        assert not os.path.exists(path)
    finally:
        if os.path.exists(path):
            os.unlink(path)


@test
def show_counts_what_was_allocated():
    with Segment("tool-show") as s:
        a, b = s.member(), s.member()
        before = hshm_json("show", s.name)
        a.ask("n 500 1000")
        b.ask("n 3 100000")
        b.ask("n 1 5000000")
        after = hshm_json("show", s.name)
        grown = {k: after[k]["blocks"] - before[k]["blocks"] for k in ("used", "small", "large", "huge")}
        assert grown == {"used": 504, "small": 500, "large": 3, "huge": 1}, grown
        cls, = [c for c in after["classes"] if c["block_bytes"] == 1024]
        assert cls["blocks"] >= 500, cls
        by = {m["pid"]: m["bytes"] for m in after["by_member"]}
        assert by[b.pid] >= 5300000 > by[a.pid] >= 512000, by
        text = hshm("show", s.name)
        assert "huge" in text and "prog_puppet" in text and re.search(r"^ *1,024 ", text, re.M), text


@test
def show_lists_the_heaps_of_hshm_h():
    with Segment("tool-heaps", HSHM_PERSIST="1") as s:
        s.member()
        assert hshm_json("show", s.name)["heaps"] == [] and "HEAP" not in hshm("show", s.name)
        subprocess.run([heaps.TOOL, "put", s.name, "hshm.heap.9"], input=b"no heap" * 1000, check=True)
        maker = heaps.heap_maker(s.name)
        seen = hshm_json("show", s.name)["heaps"]
        assert [(h["id"], h["kind"], h["size"], h["header"]) for h in seen] == [
            ("11", "thread", 0, 100), ("12", "page", 0, 200), ("13", "stack", 1 << 20, 300), ("14", "malloc", 0, 400)], seen
        assert [h["used"] for h in seen[:2]] == [1024, 4096] and 6000 <= seen[2]["used"] < 6100 and 4000 <= seen[3]["used"] < 4100, seen
        text = hshm("show", s.name)
        assert re.search(r"^13 +stack +5.9 KiB +1.0 MiB +300 B +0x", text, re.M), text
        maker.communicate()
        assert hshm_json("show", s.name)["heaps"] == seen, "they outlive who made them"


@test
def show_counts_what_was_given_back_to_the_system():
    with Segment("tool-purge", HSHM_WARM="0", HSHM_PURGE_DELAY="0") as s:
        a = s.member()
        assert hshm_json("show", s.name)["purge"] == {"runs": 0, "bytes": 0, "last_ns": 0}
        start = time.time_ns()
        block = a.ask("m 6000000")
        a.ask(f"w {block} 6000000 1")
        a.ask(f"f {block}")
        until(lambda: a.ask("f %d" % a.ask("m 40000")) and os.stat(s.path).st_blocks * 512 < 3_000_000)
        purge = hshm_json("show", s.name)["purge"]
        assert purge["runs"] >= 1 and 6_000_000 <= purge["bytes"] < 30_000_000, purge
        assert start <= purge["last_ns"] <= time.time_ns(), purge
        assert re.search(r"^  given back +\d+\.\d MiB  in \d+ runs?, last \d+ s ago$", hshm("show", s.name), re.M)
        assert f"hshm_segment_purged_bytes_total{{segment=\"tool-purge\"}} {purge['bytes']}" in hshm("metrics", s.name)


@test
def check_reads_an_os_page_once_for_a_list_that_runs_through_all_in_any_order():
    with Segment("tool-order") as s:
        a = s.member()
        assert a.ask("n 200000 64") == 200000 and a.ask("h") == 100000
        trace = heaps.TMP + "/reads"
        subprocess.run(["strace", "-c", "-e", "trace=pread64", "-o", trace, heaps.TOOL, "check", s.name], check=True)
        with open(trace) as f:
            reads = int(re.search(r"(\d+) +pread64$", f.read(), re.M).group(1))
        assert reads < 10000, f"{reads} reads for 100,000 blocks in 3,200 OS pages"


@test
def who_tells_living_stopped_and_dead_members_apart():
    with Segment("tool-who") as s:
        a, b, c = s.member(), s.member(), s.member()
        a.ask("n 100 5000")
        os.kill(b.pid, signal.SIGSTOP)
        c.kill()
        seen = {m["pid"]: m for m in hshm_json("who", s.name)}
        os.kill(b.pid, signal.SIGCONT)
        states = {pid: m["state"] for pid, m in seen.items()}
        assert states == {a.pid: "alive", b.pid: "stopped", c.pid: "dead"}, states
        assert seen[a.pid]["pid_here"] == a.pid and seen[a.pid]["command"].endswith("prog_puppet")
        assert seen[a.pid]["bytes"] >= 500000 and seen[c.pid]["pid_here"] == 0
        assert re.search(rf"^ *{c.pid} +prog_puppet +dead", hshm("who", s.name), re.M)


@test
def who_finds_the_pid_of_a_member_in_another_pid_namespace():
    if os.geteuid() != 0:
        return "needs root for a pid namespace"
    with Segment("tool-ns") as s:
        s.member()
        inner = s.member("unshare", "--pid", "--fork", "--kill-child")
        assert inner.pid < 10, "it has a small pid in its own namespace"
        seen = [m for m in hshm_json("who", s.name) if m["pid"] == inner.pid]
        child = int(open(f"/proc/{inner.process.pid}/task/{inner.process.pid}/children").read().split()[0])
        assert len(seen) == 1 and seen[0]["pid_here"] == child, (seen, child)
        assert seen[0]["state"] == "alive", seen


@test
def owner_names_block_class_member_and_state():
    with Segment("tool-owner") as s:
        a, b = s.member(), s.member()
        block = a.ask("m 100")
        more = a.ask("m 100")
        big = b.ask("m 100000")
        huge = b.ask("m 5000000")
        assert a.ask("f %d" % more) == 1
        freed_by_other = a.ask("m 3000")
        b.ask("f %d" % freed_by_other)
        base = int(hshm_json("show", s.name)["base"], 0)
        asked = [hex(block + 5), hex(more), hex(big), hex(huge + 4999999), hex(freed_by_other), "0x10",
                 hex(base + (1 << 20)), hex(block - base)]
        x = hshm_json("owner", s.name, *asked)
        assert x[0]["state"] == "allocated" and x[0]["size"] == 112 and x[0]["at"] == 5, x[0]
        assert x[0]["start"] == hex(block) and x[0]["member"]["pid"] == a.pid, x[0]
        assert x[1]["state"] == "free", x[1]
        assert x[2]["kind"] == "large" and x[2]["member"]["pid"] == b.pid, x[2]
        assert x[3]["kind"] == "huge" and x[3]["state"] == "allocated" and x[3]["at"] == 4999999, x[3]
        assert x[4]["state"].startswith("freed by another"), x[4]
        assert x[5]["kind"] == "tables" and x[6]["what"] == "table of members", x[5:7]
        assert x[7]["start"] == hex(block), "an offset will do"
        outside = hshm_json("owner", s.name, hex(base - 8), status=1)
        assert outside[0]["kind"] == "outside"
        assert run("owner", s.name, "what").returncode == 64
        b.quit()
        a.ask("m 100")
        text = hshm("owner", s.name, hex(block))
        assert "small block, allocated" in text and f"pid {a.pid}" in text, text


@test
def pointers_lists_the_words_that_lead_out():
    with Segment("tool-pointers") as s:
        a = s.member()
        block, inside = a.ask("m 64"), a.ask("m 64")
        with open(f"/proc/{a.pid}/maps") as f:
            maps = f.read().splitlines()
        libc, = [int(x.split("-")[0], 16) for x in maps if re.search(r" 00000000 .*libc.so.6$", x)]
        stack, = [int(x.split("-")[0], 16) for x in maps if x.endswith("[stack]")]
        words = [libc + 0x123, inside, 7, stack, 0, 1 << 60]
        for i, word in enumerate(words):
            for n, byte in enumerate(struct.pack("<Q", word)):
                a.ask("w %d 1 %d" % (block + 8 * i + n, byte))
        x = hshm_json("pointers", s.name, hex(block))
        assert [(w["at"], w["kind"]) for w in x["words"]] == [(0, "file"), (24, "special")], x
        assert x["words"][0]["where"].endswith("libc.so.6") and x["words"][0]["plus"] == 0x123, x
        assert x["words"][1]["where"] == "[stack]" and x["lead_in"] == 1 and x["lead_out"] == 2, x
        x = hshm_json("pointers", "-a", s.name, hex(block))
        assert x["words"][1] == {"at": 8, "value": hex(inside), "kind": "segment", "where": "allocated", "plus": 0}, x
        assert run("pointers", s.name, hex(block & ~0xffff_ffff)).returncode == 1


@test
def a_dump_answers_as_the_segment_did():
    file = heaps.TMP + "/dump"
    with Segment("tool-dump") as s:
        a, b = s.member(), s.member()
        a.ask("n 2000 300")
        block = b.ask("m 100000")
        b.kill()
        told = hshm_json("dump", "-s", s.name, file)
        assert told["in_use"] and told["stopped"]
        assert hshm_json("who", s.name)[0]["state"] == "alive", "it goes on"
        keys = ("used", "small", "large", "committed", "classes", "chunks", "base", "members")
        live, dead = hshm_json("show", s.name), hshm_json("show", file)
        assert all(live[k] == dead[k] for k in keys), (live, dead)
        assert dead["dumped_ns"] > 0 and live["dumped_ns"] == 0
        assert {m["pid"]: m["state"] for m in hshm_json("who", file)} == {a.pid: "alive", b.pid: "dead"}
        assert hshm_json("owner", file, hex(block)) == hshm_json("owner", s.name, hex(block))
        assert hshm_json("map", file)["runs"] == hshm_json("map", s.name)["runs"]
        assert hshm_json("check", file)["verdict"] == "sound"
        assert hshm_json("diff", file, s.name)["changes"] == []
        assert os.stat(file).st_blocks * 512 <= os.stat(s.path).st_blocks * 512 + 65536, "holes stay holes"
    for verb in "reclaim", "rm", "put":
        done = subprocess.run([heaps.TOOL, verb, "dump", *(["x"] if verb == "put" else [])], cwd=heaps.TMP,
                              input="x", capture_output=True, text=True)
        assert done.returncode == 1 and "dump" in done.stderr, (verb, done)
    assert subprocess.run([heaps.TOOL, "show", "dump"], cwd=heaps.TMP).returncode == 0, "a bare name will do"
    env = dict(os.environ, LD_PRELOAD=heaps.PRELOAD, HSHM_SEGMENT="file:" + file)
    done = subprocess.run(["/bin/true"], env=env, capture_output=True, text=True)
    assert "it is a dump, not a segment" in done.stderr and os.path.exists(file), done


@test
def diff_shows_what_grew_most_first():
    file = heaps.TMP + "/before"
    with Segment("tool-diff") as s:
        a, b = s.member(), s.member()
        hshm("dump", s.name, file)
        a.ask("n 3000 64")
        b.ask("n 50 500")
        x = hshm_json("diff", file, s.name)
        assert x["to_blocks"] - x["from_blocks"] == 3050, x
        members = [c for c in x["changes"] if c["kind"] == "member"]
        assert [c["pid"] for c in members] == [a.pid, b.pid], members
        classes = {c["block_bytes"]: c["to_blocks"] - c["from_blocks"] for c in x["changes"] if c["kind"] == "class"}
        assert classes[64] == 3000 and classes[512] == 50, classes
        grown = [c["to_bytes"] - c["from_bytes"] for c in x["changes"]]
        assert grown == sorted(grown, reverse=True), grown
        assert "+3,000" in hshm("diff", file, s.name)


@test
def map_shows_pages_large_and_huge_blocks():
    picture = heaps.TMP + "/map.svg"
    with Segment("tool-map") as s:
        a, b = s.member(), s.member()
        a.ask("n 2000 1000")
        b.ask("m 200000")
        b.ask("m 9000000")
        x = hshm_json("map", s.name)
        count = lambda **want: sum(r["count"] for r in x["runs"] if all(r.get(k) == v for k, v in want.items()))
        assert count(kind="page", block_bytes=1024) >= 31 and count(kind="large") >= 3, x
        assert count(kind="huge") == 3 * 64 and sum(r["count"] for r in x["runs"]) == x["cells"], x
        slots = {m["pid"]: m["slot"] for m in hshm_json("who", s.name)}
        assert count(kind="huge", slot=slots[b.pid]) == 192, x
        text = hshm("map", s.name)
        assert text.count("H") >= 65 and "LLLL" in text and f"{a.pid} prog_puppet" in text, text
        hshm("map", "-o", picture, s.name)
        import xml.etree.ElementTree as xml
        tree = xml.parse(picture).getroot()
        titles = [t.text for t in tree.iter("{http://www.w3.org/2000/svg}title")]
        assert any("page of 1024 bytes" in t for t in titles) and any(": huge" in t for t in titles), titles[:9]


@test
def what_is_put_can_be_got_by_anybody_later():
    data = os.urandom(3_000_000)
    file = heaps.TMP + "/data"
    with open(file, "wb") as f:
        f.write(data)
    got = lambda name, where="tool-put": subprocess.run([heaps.TOOL, "get", where, name], capture_output=True)
    with Segment("tool-put") as s:
        assert run("put", s.name, "key").returncode == 1, "there is no such segment"
        a = s.member()
        shell = lambda line: subprocess.run(line, shell=True, capture_output=True, text=True)
        done = shell(f"{heaps.TOOL} put -j {s.name} file < {file}")
        one = heaps.valid("put", __import__("json").loads(done.stdout))
        assert one["bytes"] == 3_000_000 and got("file").stdout == data
        assert shell(f"cat {file} | {heaps.TOOL} put {s.name} 'from a pipe'").returncode == 0
        assert got("from a pipe").stdout == data
        assert shell(f"echo small | {heaps.TOOL} put {s.name} small").returncode == 0
        taken = shell(f"echo other | {heaps.TOOL} put {s.name} small")
        assert taken.returncode == 1 and "-f replaces it" in taken.stderr and got("small").stdout == b"small\n"
        assert shell(f"echo other | {heaps.TOOL} put -f {s.name} small").returncode == 0
        assert got("small").stdout == b"other\n"
        names = {n["name"]: n for n in hshm_json("names", s.name)}
        assert set(names) == {"file", "from a pipe", "small"} and names["file"]["address"] == one["address"], names
        assert names["small"]["bytes"] == 6 and names["small"]["maker"] == 0 and names["small"]["references"] == 0
        at = int(one["address"], 0)
        assert a.ask(f"v {at} 1 {data[0]}") == 1, "the members see it at that address"
        what, = hshm_json("owner", s.name, one["address"])
        assert what["name"] == "file" and what["state"] in ("allocated", "kept"), what
        assert got("nothing").returncode == 1
        full = shell(f"head -c 200000000 /dev/zero | {heaps.TOOL} put {s.name} full")
        assert full.returncode == 1 and "no room" in full.stderr, full
        hshm("reclaim", s.name)
        assert got("file").stdout == data, "reclaim leaves what has a name"
        assert hshm_json("check", s.name)["verdict"] == "sound"
        hshm("dump", "-s", s.name, heaps.TMP + "/named")
        assert got("file", heaps.TMP + "/named").stdout == data
        assert a.ask("n 10 100") == 10


@test
def metrics_are_read_by_prometheus_own_parser():
    from prometheus_client.parser import text_string_to_metric_families
    file = heaps.TMP + "/metrics.prom"
    with Segment("tool-metrics") as s:
        a = s.member()
        a.ask("n 1000 100")
        hshm("metrics", "-o", file, s.name)
        with open(file) as f:
            families = {f.name: f for f in text_string_to_metric_families(f.read())}
        used = families["hshm_segment_used_bytes"]
        assert used.type == "gauge" and used.samples[0].labels == {"segment": "tool-metrics"}
        assert used.samples[0].value == hshm_json("show", s.name)["used"]["bytes"]
        assert families["hshm_segment_members_joined"].type == "counter"
        assert all(f.documentation and f.samples for f in families.values())
        hshm_json("metrics", s.name)


@test
def doctor_tells_whether_a_process_has_joined():
    with Segment("tool-doctor") as s:
        a = s.member()
        topics = {x["topic"]: x for x in hshm_json("doctor", a.pid)}
        assert topics["preload"]["verdict"] == "ok" and topics["segment"]["text"] == s.path, topics
    for env, why in (({}, "without LD_PRELOAD"), ({"LD_PRELOAD": "libm.so.6"}, "LD_PRELOAD is 'libm.so.6'")):
        p = subprocess.Popen(["/bin/sleep", "60"], env=env)
        try:
            until(lambda: open(f"/proc/{p.pid}/comm").read() == "sleep\n")
            topics = {x["topic"]: x for x in hshm_json("doctor", p.pid, status=1)}
            assert topics["preload"]["verdict"] == "wrong" and why in topics["preload"]["text"], topics
            assert topics["preload"]["mend"], topics
        finally:
            p.kill()
            p.wait()
    env = {"LD_PRELOAD": heaps.PRELOAD, "HSHM_SEGMENT": "no/name"}
    p = subprocess.Popen(["/bin/sleep", "60"], env=env, stderr=subprocess.DEVNULL)
    try:
        until(lambda: open(f"/proc/{p.pid}/comm").read() == "sleep\n" and "hshm_pre" in open(f"/proc/{p.pid}/maps").read())
        topics = {x["topic"]: x for x in hshm_json("doctor", p.pid, status=1)}
        assert topics["segment"]["verdict"] == "wrong" and "not joined" in topics["segment"]["text"], topics
    finally:
        p.kill()
        p.wait()


@test
def doctor_sees_a_small_and_a_readonly_dev_shm():
    if os.geteuid() != 0:
        return "needs root for a mount namespace"
    small = subprocess.run(["unshare", "-m", "sh", "-c", f"mount -t tmpfs -o size=64M,noexec x /dev/shm; {heaps.TOOL} doctor"],
                           capture_output=True, text=True)
    assert "--shm-size" in small.stdout and "noexec" in small.stdout, small
    readonly = subprocess.run(["unshare", "-m", "sh", "-c", f"mount -t tmpfs -o size=1G,ro x /dev/shm; {heaps.TOOL} doctor"],
                              capture_output=True, text=True)
    assert readonly.returncode == 1 and "read-only" in readonly.stdout, readonly


@test
def reclaim_says_first_and_then_does():
    with Segment("tool-reclaim", HSHM_EXIT="keep") as s:
        a, b = s.member(), s.member()
        a.ask("n 100 1000")
        a.quit()
        would, = hshm_json("reclaim", "-n", s.name)
        assert would["result"] == "would be reclaimed" and would["blocks"] >= 100, would
        did, = hshm_json("reclaim", s.name)
        assert did["result"] == "reclaimed" and did["bytes"] >= 100000, did
        b.kill()
        gone, = hshm_json("reclaim", s.name)
        assert gone["result"] == "removed" and not os.path.exists(s.path), gone
        assert [x["result"] for x in hshm_json("rm", s.name, status=1)] == ["not found"]


@test
def run_gives_a_fresh_segment_and_removes_it():
    before = set(os.listdir("/dev/shm"))
    done = run("run", "sh", "-c", "echo $HSHM_SEGMENT; ls /dev/shm")
    name = done.stdout.split()[0]
    assert name.startswith("run-") and any(f.endswith("-" + name) for f in done.stdout.split()[1:]), done
    until(lambda: set(os.listdir("/dev/shm")) == before)
    assert run("run", "sh", "-c", "exit 7").returncode == 7
    assert run("run", "sh", "-c", "kill -9 $$").returncode == -9
    assert run("run", "/no/such").returncode == 127
    assert run("run", "-o", "SZIE=1", "true").returncode == 64


@test
def same_layout_gives_members_equal_addresses():
    show = "grep -E 'r-xp.*(libc.so|/cat)' /proc/self/maps | cut -d' ' -f1"
    cat = lambda *flags: run("run", *flags, "cat", "/proc/self/maps").stdout
    places = lambda text: [x.split("-")[0] for x in text.splitlines() if re.search(r"r-xp.*(libc\.so|/cat)", x)]
    first = places(cat("--same-layout"))
    assert len(first) >= 2 and first == places(cat("--same-layout")) == places(cat("-L")), first
    if open("/proc/sys/kernel/randomize_va_space").read().strip() != "0":
        assert places(cat()) != first


@test
def no_command_commits_memory_of_the_segment():
    with Segment("tool-blocks") as s:
        a, b = s.member(), s.member()
        a.ask("n 5000 64")
        b.ask("m 200000")
        b.kill()
        block = hex(a.ask("m 5000000"))
        was = os.stat(s.path).st_blocks
        base = int(hshm_json("show", s.name)["base"], 0)
        commands = [["list"], ["show", s.name], ["who", "-a", s.name], ["check", s.name], ["map", "-a", s.name],
                    ["owner", s.name, block, hex(base + (60 << 20)), hex(base + (20 << 20))],
                    ["pointers", s.name, block], ["dump", s.name, heaps.TMP + "/d"], ["metrics"],
                    ["diff", heaps.TMP + "/d", s.name], ["names", s.name], ["get", s.name, "x"], ["reclaim", "-n", s.name], ["doctor", str(a.pid)],
                    ["top", "-b", "-n", "2", "-d", "0.05", s.name]]
        for command in commands:
            run(*command)
            assert os.stat(s.path).st_blocks == was, command


@test
def every_command_explains_itself_and_refuses_what_is_wrong():
    commands = hshm_json("help")
    assert len(commands) >= 19
    for c in commands:
        text = hshm(c["name"], "-h")
        assert text.startswith(f"usage: hshm {c['name']} ") and text == hshm(c["name"], "--help"), text
        for o in c["options"]:
            assert f"-{o['letter']}, --{o['name']}" in text, (c["name"], o)
        if c["name"] != "run":
            done = run(c["name"], "--nonsense")
            assert done.returncode == 64 and done.stderr and not done.stdout, c
        if c["arguments"] and not c["arguments"].startswith("["):
            assert run(c["name"]).returncode == 64, c
    assert run("nonsense").returncode == 64 and run().returncode == 64
    assert "(maybe: show?)" in run("shwo").stderr and "maybe" not in run("nonsense").stderr
    for c in ("show", "who", "check", "map", "owner", "pointers"):
        done = run(c, "tool-nobody", *(["0"] if c in ("owner", "pointers") else []))
        assert done.returncode == (2 if c == "check" else 1), c
        assert done.stderr == "hshm: segment tool-nobody: there is no such segment\n", done
    hshm_json("version")
    hshm_json("options")
    full = subprocess.run(f"{heaps.TOOL} options > /dev/full", shell=True, capture_output=True, text=True)
    assert full.returncode == 1 and "cannot write" in full.stderr, full


@test
def top_prints_each_look_as_json_too():
    with Segment("tool-topj") as s:
        s.member()
        lines = hshm("top", "-j", "-n", "2", "-d", "0.05", s.name).splitlines()
        import json
        assert len(lines) == 2 and all(heaps.valid("show", json.loads(x))["name"] == s.name for x in lines)
        heaps.valid("list", json.loads(hshm("top", "-j", "-n", "1")))
    assert run("top", "-b", "tool-nobody").returncode == 1
    assert run("top", "-d", "0").returncode == 64 and run("top", "-s", "NOTHING").returncode == 64


@test
def shells_complete_commands_options_and_segments():
    script = heaps.TMP + "/complete"
    with Segment("tool-complete") as s:
        s.member()
        with open(script, "w") as f:
            f.write(hshm("completion", "bash"))
        ask = lambda *words: subprocess.run(
            ["bash", "-c", f"source {script}; compopt() {{ :; }}; COMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1)); _hshm; echo ${{COMPREPLY[@]}}",
             "x", *words], capture_output=True, text=True).stdout.split()
        assert ask("hshm", "sh") == ["show"] and "--sort=" in ask("hshm", "top", "--s")
        assert "tool-complete" in ask("hshm", "show", "tool-c") and "fish" in ask("hshm", "completion", "f")
        with open(script, "w") as f:
            f.write(hshm("completion", "zsh"))
        assert subprocess.run(["zsh", "-n", script]).returncode == 0
        with open(script, "w") as f:
            f.write(hshm("completion", "fish"))
        fish = lambda line: subprocess.run(["fish", "--no-config", "-c", f"source {script}; complete -C '{line}'"],
                                           capture_output=True, text=True, env=dict(os.environ, HOME=heaps.TMP)).stdout
        assert re.search(r"^show\t", fish("hshm sh"), re.M) and "tool-complete" in fish("hshm show tool-"), fish("hshm sh")
        assert "--dry-run" in fish("hshm reclaim --d")


if __name__ == "__main__":
    heaps.main(globals())
