"""The list of benchmark cases: fixed before any tuning.

A later change of this list needs a line in docs/performance.md with the figures both ways.

Each case has a name, a group (small, page-churn, cross, real), a command, and the amount of work
`{n}` at scale 1. In commands {bin} is build/bench, {in} the generated inputs, {tmp} an empty folder
of the run, {port} a free port on loopback.
"""
import dataclasses

GROUPS = ("small", "page-churn", "cross", "real")


@dataclasses.dataclass(frozen=True)
class Case:
    name: str
    group: str
    command: str
    n: int = 0
    first: bool = False        # belongs to the shorter list of the first benchmark (--set first)
    ns: bool = False           # CPU time per operation says something: shown in a table of its own
    private: str = ""          # what allocators without a shared heap run instead, and the table says so
    prepare: str = ""          # shell command before each run, not measured, without the preload
    helper: str = ""           # shell command beside it, not measured, without the preload: a client
    env: dict = dataclasses.field(default_factory=dict)
    same_output: bool = True   # its output must be equal under every allocator and in every round
    tree: bool = False         # many short processes: shown with HSHM_EXIT=keep and with reclaim
    memory: bool = True        # False: peak memory means nothing here (processes of no size)


def small(name, command, n, **more):
    return Case(name, "small", "{bin}/" + command, n, ns=True, **more)


def churn(name, command, n, **more):
    return Case(name, "page-churn", "{bin}/" + command, n, **more)


def cross(name, command, n, **more):
    return Case(name, "cross", "{bin}/" + command, n, **more)


def across(name, command, n, **more):
    """Processes for who has a heap across processes; its two-thread form for everybody else."""
    return cross(name, command.replace("MODE", "processes"), n,
                 private="{bin}/" + command.replace("MODE", "threads"), **more)


def real(name, command, **more):
    return Case(name, "real", command, **more)


REDIS_CLIENT = (
    "i=0; until redis-cli -p {port} ping >/dev/null 2>&1 || [ $i -gt 500 ]; "
    "do sleep 0.02; i=$((i + 1)); done; "
    "redis-benchmark -p {port} -n {n} -r 20000 -d 200 -P 16 -c 10 -q "
    "-t set,get,incr,lpush,lpop,sadd,hset,spop,zadd >/dev/null; "
    "redis-cli -p {port} shutdown nosave >/dev/null")

CASES = [
    # small objects
    small("pair-64", "pair {n} 64", 40_000_000, first=True),
    small("replace-1K", "replace {n} 16 1024", 8_000_000, first=True),
    small("replace-4K", "replace {n} 16 4096", 6_000_000, first=True),
    small("replace-64K", "replace {n} 16 65536", 250_000, first=True),
    small("replace-1K-2threads", "replace {n} 16 1024 2", 4_000_000, first=True),
    small("replace-4K-2threads", "replace {n} 16 4096 2", 3_000_000),
    small("replace-64K-2threads", "replace {n} 16 65536 2", 120_000, first=True),
    small("replace-1K-2procs", "replace {n} 16 1024 1 2", 4_000_000, first=True),
    small("replace-4K-2procs", "replace {n} 16 4096 1 2", 3_000_000, first=True),
    small("replace-64K-2procs", "replace {n} 16 65536 1 2", 120_000, first=True),
    small("list", "list {n}", 6_000_000),
    small("bintree", "bintree {n}", 240),
    small("treap", "treap {n}", 1_000_000),
    small("hashmap", "hashmap {n}", 1_300_000),
    small("strings", "strings {n}", 60_000),
    small("queue", "queue {n}", 2_500_000),
    small("lifetimes", "lifetimes {n}", 6_000_000),
    small("bignum", "bignum {n}", 3_000_000),
    small("dom", "dom {n}", 300),
    small("aligned", "aligned {n}", 6_000_000),
    # page churn: large blocks, fill/free phases, growing vectors, memory given back
    churn("large", "large {n} 262144 8388608", 600, first=True),
    churn("medium", "large {n} 32768 524288 64", 80_000),
    churn("phases", "phases {n}", 10),
    churn("vectors", "vectors {n}", 4),
    churn("fill", "fill {n} 1024", 320),
    churn("callocs", "callocs {n}", 1200),
    churn("idle", "idle {n} 1000", 128),
    churn("mixed", "mixed {n} 1", 50_000),
    churn("mixed-2threads", "mixed {n} 2", 25_000),
    churn("frag", "frag {n}", 3),
    churn("frames", "frames {n}", 1_000),
    # across threads, across processes, and the coming and going of both
    cross("ring-threads", "ring threads {n} 16 1024", 2_000_000, ns=True, first=True),
    across("ring-procs", "ring MODE {n} 16 1024", 2_000_000, ns=True, first=True),
    cross("echo-threads", "echo threads {n}", 2_000_000, ns=True),
    across("echo-procs", "echo MODE {n}", 2_000_000, ns=True),
    cross("workers-threads", "workers threads {n}", 150),
    # Its workers end before what they made is read: that is what HSHM_EXIT=keep is for.
    across("workers-procs", "workers MODE {n}", 150, env={"HSHM_EXIT": "keep"}),
    cross("bulk", "bulk {n}", 30, ns=True),
    cross("larson", "larson {n}", 400, ns=True),
    cross("mesh", "mesh {n} 4", 500_000, ns=True),
    cross("threads", "threads {n}", 3_000),
    cross("spawn", "spawn {n}", 10_000, memory=False),
    # A fork with so much in use: copied, under a shared heap.
    cross("forks-256k", "forks {n} 256", 10_000, memory=False),
    cross("forks-2m", "forks {n} 2048", 5_000, memory=False),
    cross("forks-256m", "forks {n} 262144", 30, memory=False),
    # real programs on fixed input
    real("bash", "bash {in}/subshells.sh", first=True, tree=True),
    real("python3", "/usr/bin/python3 {in}/work.py {in}/records.json 3",
         env={"PYTHONMALLOC": "malloc", "PYTHONHASHSEED": "0"}, first=True),
    real("perl", "perl {in}/work.pl {in}/lines.txt 1", env={"PERL_HASH_SEED": "0"}),
    real("lua", "lua5.4 {in}/work.lua 3"),
    real("sqlite3", "sqlite3 :memory: '.read {in}/work.sql'", first=True),
    real("gcc", "sh -c 'gcc -O2 -c {in}/work.c -o {tmp}/work.o && cksum <{tmp}/work.o'", first=True,
         tree=True),
    real("git", "sh -c 'git log --stat -p | cksum; git -c gc.reflogExpire=now repack -adfq; git gc -q; "
                "git fsck --no-progress; git count-objects -v | grep -v size'",
         tree=True, prepare="cp -r {in}/repository.git {tmp}/r.git", env={"GIT_DIR": "{tmp}/r.git"}),
    # Without a preload redis would use the jemalloc it is linked with: see PRELOAD in allocators.py.
    real("redis", "redis-server --bind 127.0.0.1 --port {port} --save '' --appendonly no --dir {tmp}",
         n=60_000, helper=REDIS_CLIENT, same_output=False),
    real("ghostscript", "gs -q -dBATCH -dNOPAUSE -dSAFER -sDEVICE=ppmraw -r72 -sOutputFile=- {in}/pages.ps"),
    real("z3", "z3 {in}/problem.smt2"),
    real("sort", "sort --parallel=1 -k 2 {in}/lines.txt {in}/lines.txt {in}/lines.txt {in}/lines.txt"),
    real("xz", "xz -6 -T1 -c {in}/pages.ps"),
    real("gawk", "gawk '{{for(i=1;i<=NF;i++)c[$i]++; n[$1]=n[$1] $2}} END{{for(w in c)s+=c[w]*length(w); "
                 "for(w in n)t+=length(n[w]); print s,t}}' {in}/lines.txt"),
    real("bc", "bc -lq {in}/digits.bc"),
    real("pipelines", "sh {in}/pipelines.sh {in}/tree", tree=True),
]
