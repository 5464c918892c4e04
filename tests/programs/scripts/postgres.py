"""PostgreSQL: initdb, pgbench with 8 clients, a backend killed with -9 and recovery, dump and reload.

Runs as postgres (or nobody) where we are root, on a socket in the folder of the case.
"""
import glob
import os
import re
import shutil
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.environ["SCRIPTS"])
from server import UNDER, wait_for

kill = "kill" in sys.argv[1:]
work = os.environ["WORK"]
bin_folder = sorted(glob.glob("/usr/lib/postgresql/*/bin"))[-1]
me = []
if os.getuid() == 0:
    import pwd
    names = [p.pw_name for p in pwd.getpwall()]
    me = ["/usr/sbin/runuser", "-u", "postgres" if "postgres" in names else "nobody", "--"]
data = os.path.join(work, "data")


def words(program, *arguments):
    return me + UNDER + [os.path.join(bin_folder, program)] + list(arguments)


def run(program, *arguments, show=True, rules=()):
    done = subprocess.run(words(program, *arguments), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True)
    out = done.stdout
    for pattern, replacement in rules:
        out = re.sub(pattern, replacement, out)
    print("$", program, done.returncode)
    if show:
        print(out.rstrip(), flush=True)
    return done.stdout


def sql(text, show=True):
    return run("psql", "-X", "-h", work, "-d", "postgres", "-At", "-c", text, show=show)


run("initdb", "-D", data, "-U", "me", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync", "--no-instructions")
options = ["-D", data, "-k", work, "-c", "listen_addresses=", "-c", "fsync=off", "-c", "shared_buffers=32MB",
           "-c", "autovacuum=on", "-c", "max_connections=30", "-c", "jit=off"]
os.environ["PGUSER"] = "me"
log = open("server.log", "w")
server = subprocess.Popen(words("postgres", *options), stdin=subprocess.DEVNULL, stdout=log, stderr=log)


def ready():
    return subprocess.run([bin_folder + "/pg_isready", "-q", "-h", work], env={"PATH": os.environ["PATH"]}).returncode == 0


def postmaster():
    with open(os.path.join(data, "postmaster.pid")) as f:
        return int(f.readline())


wait_for(ready, server, "postgres")
TIMES = [(r"\d+\.\d+", "T"), (r"(?m)^.*(done in|latency|connection time|tps).*$", "T")]
run("pgbench", "-h", work, "-i", "-q", "-s", "2", "postgres", rules=TIMES + [(r".*tuples.*done.*", "T")], show=False)
out = run("pgbench", "-h", work, "-c", "8", "-j", "2", "-t", "150", "--random-seed=7", "-n", "postgres", show=False)
print(re.findall(r"number of (?:transactions actually processed|failed transactions): .*", out))
out = run("pgbench", "-h", work, "-c", "4", "-j", "1", "-t", "300", "--random-seed=7", "-n", "-S", "-M", "prepared", "postgres", show=False)
print(re.findall(r"number of (?:transactions actually processed|failed transactions): .*", out))
SUMS = ("select (select sum(abalance) from pgbench_accounts), (select sum(tbalance) from pgbench_tellers), "
        "(select sum(bbalance) from pgbench_branches), (select sum(delta) from pgbench_history), "
        "(select md5(string_agg(aid || ':' || abalance, ',' order by aid)) from pgbench_accounts)")
sql(SUMS)
sql("create table t as select g as id, md5(g::text) as text, g % 97 as k from generate_series(1, 60000) g; "
    "create index on t(text); analyze t; select count(*), sum(k), min(text) from t join (select text x from t) u on u.x = t.text; "
    "select k, count(*), string_agg(text, '' order by id) is not null from t group by k order by k limit 3; "
    "with recursive f(a, b) as (select 0::numeric, 1::numeric union all select b, a + b from f where b < 1e60) select max(a) from f;")
sql("do $$ begin for i in 1..200 loop execute 'create temp table x' || i || '(a int)'; end loop; end $$; "
    "select length(repeat('x', 30000000)); select jsonb_agg(t) -> 5 from (select * from t order by id limit 100) t;")
sql("select no_such_column")
if kill:
    before = sql(SUMS, show=False)
    victim = subprocess.Popen(words("psql", "-X", "-h", work, "-d", "postgres", "-c", "select 'victim', pg_sleep(1000)"),
                              stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    pid = ""
    while not pid.strip().isdigit():
        pid = subprocess.run(words("psql", "-X", "-h", work, "-d", "postgres", "-At", "-c",
                                   "select pid from pg_stat_activity where query like 'select ''victim''%' and pid <> pg_backend_pid()"),
                             stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True).stdout
        time.sleep(0.05)
    os.kill(int(pid), signal.SIGKILL)
    print("victim's client:", victim.wait())
    def recovered():
        with open("server.log") as f:
            return f.read().count("database system is ready to accept connections") >= 2 and ready()
    wait_for(recovered, server, "postgres")
    print("same after recovery:", sql(SUMS, show=False) == before)
    run("pgbench", "-h", work, "-c", "8", "-t", "20", "-n", "postgres", show=False)
dump = run("pg_dump", "-h", work, "-t", "t", "postgres", show=False)
print(len(dump))
sql("vacuum full t; reindex table t; checkpoint; select count(*) from t")
os.kill(postmaster(), signal.SIGINT)
print("stopped", server.wait())
log.close()
with open("server.log") as f:
    text = f.read()
print("crashes:", len(re.findall(r"terminated by signal (?!9:)|PANIC", text)))
