"""apache with forked workers (of another user where we are root) under wrk, reloaded while it works.

    apache_load.py prefork|event"""
import gzip
import hashlib
import http.client
import os
import re
import signal
import subprocess
import sys
import threading

sys.path.insert(0, os.environ["SCRIPTS"])
from server import UNDER, free_port, wait_for

MODULES = "/usr/lib/apache2/modules/mod_%s.so"
work, mpm = os.environ["WORK"], sys.argv[1]
os.makedirs("www")
for i in range(20):
    with open("www/f%d.html" % i, "w") as f:
        f.write("<p>%d</p>\n" % i * (10 ** (i % 6)))
with open("www/sum.cgi", "w") as f:  # a shell under the server: forks that execute
    f.write("#!/bin/sh\nprintf 'Content-Type: text/plain\\r\\n\\r\\n'\nprintf '%s' \"$QUERY_STRING\" | (md5sum; true)\n")
os.chmod("www/sum.cgi", 0o755)
port = free_port()
CONF = """
%(modules)s
%(user)s
ServerRoot "%(work)s"
ServerName localhost
Listen 127.0.0.1:%(port)d
PidFile "%(work)s/apache.pid"
ErrorLog "%(work)s/error.log"
LogLevel warn
DefaultRuntimeDir "%(work)s"
ScriptSock "%(work)s/cgid.sock"
DocumentRoot "%(work)s/www"
StartServers 3
MaxConnectionsPerChild 400
KeepAlive On
AddOutputFilterByType DEFLATE text/html
TypesConfig /dev/null
AddType text/html .html
<Directory "%(work)s/www">
    Require all granted
    Options +ExecCGI
    AddHandler cgi-script .cgi
</Directory>
Alias /generation "%(work)s/www/generation%(generation)d"
"""


def configure(generation):
    with open("www/generation%d" % generation, "w") as f:
        f.write("%d" % generation)
    modules = ["mpm_" + mpm, "authz_core", "alias", "mime", "deflate", "filter", "cgi" if mpm == "prefork" else "cgid"]
    conf = CONF % {"user": "User nobody\nGroup nogroup" if os.getuid() == 0 else "", "work": work, "port": port,
                   "generation": generation,
                   "modules": "\n".join("LoadModule %s_module %s" % (m, MODULES % m) for m in modules)}
    if mpm == "prefork":
        conf = conf.replace('ScriptSock "%s/cgid.sock"\n' % work, "")
    with open("apache.conf.new", "w") as f:
        f.write(conf)
    os.rename("apache.conf.new", "apache.conf")


def get(path, **headers):
    c = http.client.HTTPConnection("127.0.0.1", port)
    c.request("GET", path, headers=headers)
    r = c.getresponse()
    body = r.read()
    c.close()
    return r.status, body


def answers():
    try:
        return get("/generation")[0] == 200
    except OSError:
        return False


def workers():
    with open("/proc/%d/task/%d/children" % (apache.pid, apache.pid)) as f:
        return sorted(f.read().split())


configure(0)
apache = subprocess.Popen(UNDER + ["apache2", "-f", work + "/apache.conf", "-D", "FOREGROUND"],
                          process_group=0)  # it ends its group
wait_for(answers, apache, "apache")
contents = {}
for i in range(20):
    status, body = get("/f%d.html" % i)
    zipped = gzip.decompress(get("/f%d.html" % i, **{"Accept-Encoding": "gzip"})[1]) if i % 6 >= 2 else body
    contents[i] = body
    print(i, status, len(body), hashlib.md5(body).hexdigest(), zipped == body)
SUM = (200, hashlib.md5(b"a=42").hexdigest().encode() + b"  -\n")
print(get("/sum.cgi?a=42") == SUM, get("/nothing")[0])
wrong = []
load_over = threading.Event()


def fetch():
    """Content stays right while the workers are replaced."""
    n = 0
    while not load_over.is_set():
        n += 1
        try:
            if n % 10 == 0 and get("/sum.cgi?a=42") != SUM:
                wrong.append("sum")
            if get("/f%d.html" % (n % 20)) != (200, contents[n % 20]):
                wrong.append(n)
        except (ConnectionError, http.client.HTTPException):
            pass  # a kept connection of a worker that goes


wrk = subprocess.Popen(["wrk", "-t2", "-c16", "-d", os.environ.get("SECONDS_OF_LOAD", "6"), "--timeout", "100",
                        "http://127.0.0.1:%d/f2.html" % port], stdout=subprocess.PIPE, text=True)
fetcher = threading.Thread(target=fetch)
fetcher.start()
for generation in range(1, 4):
    old = workers()
    configure(generation)
    apache.send_signal(signal.SIGUSR1)
    wait_for(lambda: answers() and get("/generation")[1] == b"%d" % generation, apache, "apache")
    print("reloaded", generation)
out = wrk.communicate()[0]
load_over.set()
fetcher.join()
wait_for(lambda: not set(workers()) & set(old), apache, "apache")
print("wrk", wrk.returncode, "non-2xx" if "Non-2xx" in out else "all 2xx",
      int(re.search(r"(\d+) requests in", out).group(1)) > 0)
print("wrong contents:", wrong[:5])
apache.send_signal(signal.SIGWINCH)  # a graceful stop
print("stopped", apache.wait())
with open("error.log") as f:
    print("bad lines:", [line.split("]", 3)[-1] for line in f
                        if re.search(r":(alert|crit|emerg|error)\]|exit signal", line)
                        and "does not exist" not in line][:5])
