"""redis-server under redis-benchmark; the data afterwards is what the requests make it."""
import os
import subprocess
import sys

sys.path.insert(0, os.environ["SCRIPTS"])
from server import Redis

redis = Redis("redis", True)
for options in (["-t", "set,get,incr,lpush,rpush,lpop,rpop,sadd,hset,spop,zadd,zpopmin,lrange_100,mset",
                 "-n", "5000", "-c", "20"],
                ["-t", "set,get,mset", "-n", "20000", "-P", "16", "-d", "2000"],
                ["-t", "set,get", "-n", "3000", "-d", "100000", "--threads", "2"],
                ["-n", "3000", "-P", "4", "eval", "return redis.call('append', 'k', 'x')", "0"]):
    done = subprocess.run(["redis-benchmark", "-s", redis.path, "--csv"] + options,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    print(done.returncode, [line.split(",")[0] for line in done.stdout.splitlines()])
c = redis.connect()
print(c("DBSIZE"), c("DEBUG", "DIGEST").decode(), c("STRLEN", "k"))
# Many small keys, expiry, deletion in the background, defragmenting of what is left.
for i in range(0, 60000, 500):
    c.send(*[("SET", "key:%d" % j, "v" * (j % 300)) for j in range(i, i + 500)])
    for _ in range(500):
        c.reply()
for i in range(0, 60000, 3):
    c.send(("UNLINK", "key:%d" % i))
for i in range(0, 60000, 3):
    c.reply()
c("MEMORY", "PURGE")
print(c("DBSIZE"), c("DEBUG", "DIGEST").decode())
c("SAVE")
c("DEBUG", "RELOAD")
print(c("DBSIZE"), c("DEBUG", "DIGEST").decode())
c("FLUSHALL", "ASYNC")
print(c("DBSIZE"), redis.stop())
