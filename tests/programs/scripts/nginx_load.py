"""nginx with workers (of another user where we are root) under wrk, reloaded while it works."""
import gzip
import hashlib
import http.client
import os
import re
import signal
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.environ["SCRIPTS"])
from server import UNDER, free_port, wait_for

work = os.environ["WORK"]
os.makedirs("www")
os.makedirs("tmp")
os.chmod("tmp", 0o777)
for i in range(20):
    with open("www/f%d.html" % i, "w") as f:
        f.write("<p>%d</p>\n" % i * (10 ** (i % 6)))
port = free_port()
CONF = """
%(user)s
worker_processes 3;
error_log %(work)s/error.log;
pid %(work)s/nginx.pid;
daemon off;
events { worker_connections 256; }
http {
    client_body_temp_path tmp/a; proxy_temp_path tmp/b; fastcgi_temp_path tmp/c;
    uwsgi_temp_path tmp/d; scgi_temp_path tmp/e;
    access_log off;
    types { text/html html; }
    gzip on; gzip_min_length 100; gzip_comp_level 6;
    server {
        listen 127.0.0.1:%(port)d reuseport;
        root %(work)s/www;
        location /proxy/ { proxy_pass http://127.0.0.1:%(port)d/; }
        location /generation { return 200 "%(generation)d"; }
        location ~ /re/(\\d+)$ { return 200 "number $1 $http_user_agent"; }
    }
}
"""


def configure(generation):
    with open("nginx.conf.new", "w") as f:
        f.write(CONF % {"user": "user nobody nogroup;" if os.getuid() == 0 else "", "work": work,
                        "port": port, "generation": generation})
    os.rename("nginx.conf.new", "nginx.conf")


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
    with open("/proc/%d/task/%d/children" % (nginx.pid, nginx.pid)) as f:
        return sorted(f.read().split())


configure(0)
nginx = subprocess.Popen(UNDER + ["nginx", "-p", work, "-c", work + "/nginx.conf", "-e", work + "/error.log"])
wait_for(answers, nginx, "nginx")
contents = {}
for i in range(20):
    status, body = get("/f%d.html" % i)
    zipped = gzip.decompress(get("/proxy/f%d.html" % i, **{"Accept-Encoding": "gzip"})[1]) if i % 6 >= 2 else body
    contents[i] = body
    print(i, status, len(body), hashlib.md5(body).hexdigest(), zipped == body)
print(get("/re/42", **{"User-Agent": "x" * 2000})[1][:20], get("/nothing")[0])
wrong = []
load_over = threading.Event()


def fetch():
    """Content stays right while the workers are replaced."""
    n = 0
    while not load_over.is_set():
        n += 1
        try:
            if get(("/proxy" if n % 2 else "") + "/f%d.html" % (n % 20)) != (200, contents[n % 20]):
                wrong.append(n)
        except (ConnectionError, http.client.HTTPException):
            pass  # a connection in the accept queue of a worker that goes (reuseport)


wrk = subprocess.Popen(["wrk", "-t2", "-c16", "-d", os.environ.get("SECONDS_OF_LOAD", "6"), "--timeout", "100",
                        "http://127.0.0.1:%d/f2.html" % port], stdout=subprocess.PIPE, text=True)
fetcher = threading.Thread(target=fetch)
fetcher.start()
for generation in range(1, 4):
    old = workers()
    configure(generation)
    nginx.send_signal(signal.SIGHUP)
    wait_for(lambda: answers() and get("/generation")[1] == b"%d" % generation, nginx, "nginx")
    wait_for(lambda: len(workers()) >= 3 and not set(workers()) & set(old), nginx, "nginx")
    print("reloaded", generation, len(workers()))
out = wrk.communicate()[0]
load_over.set()
fetcher.join()
print("wrk", wrk.returncode, "non-2xx" if "Non-2xx" in out else "all 2xx",
      int(re.search(r"(\d+) requests in", out).group(1)) > 0)
print("wrong contents:", wrong[:5])
nginx.send_signal(signal.SIGQUIT)
print("stopped", nginx.wait())
with open("error.log") as f:
    print("bad lines:", [line.split("]", 1)[1] for line in f
                        if re.search(r"\[(alert|crit|emerg)\]|exited on signal", line)][:5])
