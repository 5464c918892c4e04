"""Python: containers, strings, processes of every kind, threads, mmap, ctypes, sqlite, zlib, json."""
import array, bisect, collections, ctypes, decimal, fractions, gc, hashlib, heapq, io, itertools, json
import mmap, multiprocessing, os, pickle, random, re, signal, sqlite3, struct, subprocess, sys, tempfile
import threading, zlib
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

random.seed(1)


def work(n):
    data = {str(i): list(range(i % 50)) for i in range(n)}
    return sum(map(len, data.values())), len(json.dumps(data))


def main():
    d = {random.random(): bytes(random.randrange(3000)) for _ in range(20000)}
    print(len(d), sum(map(len, d.values())))
    text = " ".join(str(random.randrange(10 ** 9)) for _ in range(100000))
    print(hashlib.sha256(text.encode()).hexdigest(), len(re.findall(r"\b\d*7\b", text)))
    print(zlib.crc32(zlib.compress(text.encode() * 5, 6)), len(pickle.dumps(d)))
    assert json.loads(json.dumps({"a": list(range(100000))}))["a"][-1] == 99999
    print(pow(3, 100000) % 1000007, len(hex(2 ** 300000)), decimal.Decimal(2).sqrt(decimal.Context(prec=500)))
    big = bytearray()
    for i in range(2000):
        big += bytes([i % 256]) * 5000
    print(len(big), hashlib.md5(big).hexdigest())
    del big[:9000000]
    print(len(big))
    a = array.array("d", range(1000000))
    a.extend(a)
    print(sum(a))
    h = []
    for i in range(50000):
        heapq.heappush(h, (i * 7919) % 50021)
    print([heapq.heappop(h) for _ in range(10)])
    class Node:
        pass
    for _ in range(20000):
        x, y = Node(), Node()
        x.other, y.other = y, x
    print(gc.collect() >= 0)

    sys.stdout.flush()
    for n in range(30):                      # a child's writes stay its own
        r, w = os.pipe()
        pid = os.fork()
        if pid == 0:
            d.clear()
            a[0] = -1
            os.write(w, b"%d %d %d" % (n, len(d), a[0]))
            os._exit(n)
        os.close(w)
        got = os.read(r, 100)
        os.close(r)
        status = os.waitpid(pid, 0)[1]
        if n % 10 == 0:
            print(got.decode(), os.waitstatus_to_exitcode(status), len(d), a[0])
    print(subprocess.run(["sort", "-r"], input=b"a\nc\nb\n", stdout=subprocess.PIPE).stdout)
    print(subprocess.run("exit 5", shell=True).returncode, os.popen("echo popen").read(), end="")
    pid = os.posix_spawn("/bin/sh", ["sh", "-c", "exit 7"], os.environ)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    p = subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, preexec_fn=os.setsid)
    out = p.communicate(b"x" * 1000000)[0]
    print(len(out))
    q = subprocess.Popen(["sleep", "1000"])
    q.kill()
    print(q.wait())
    for method in ("fork", "spawn", "forkserver"):
        context = multiprocessing.get_context(method)
        with context.Pool(3) as pool:
            print(method, pool.map(work, [100, 200, 300, 1000]))
        queue = context.Queue()
        p = context.Process(target=queue.put, args=(list(range(10000)),))
        p.start()
        print(len(queue.get()), p.join(), p.exitcode)
    with ThreadPoolExecutor(8) as pool:
        print(list(pool.map(work, [500] * 8))[:2])
    with ProcessPoolExecutor(2) as pool:
        print(list(pool.map(work, [50] * 4))[:2])

    results = []

    def churn(n):
        local = [bytes(i % 4000) for i in range(n)]
        random.Random(n).shuffle(local)
        results.append(sum(map(len, local)))
    threads = [threading.Thread(target=churn, args=(3000 + i,)) for i in range(12)]
    for t in threads:
        t.start()
    children = []
    for _ in range(10):                      # forks while the threads allocate
        pid = os.fork()
        if pid == 0:
            os._exit(len([bytes(i) for i in range(500)]) % 256)
        children.append(pid)
    print([os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children])
    for t in threads:
        t.join()
    print(sorted(results)[0], sorted(results)[-1])
    for _ in range(300):
        t = threading.Thread(target=bytes, args=(100000,))
        t.start()
        t.join()

    with mmap.mmap(-1, 1 << 20) as m:
        m.write(b"shared")
        if os.fork() == 0:
            m[0:6] = b"CHANGE"
            os._exit(0)
        os.wait()
        print(m[0:6])
    libc = ctypes.CDLL(None)
    libc.malloc.restype = ctypes.c_void_p
    libc.malloc.argtypes = [ctypes.c_size_t]
    libc.realloc.restype = ctypes.c_void_p
    libc.realloc.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    libc.free.argtypes = [ctypes.c_void_p]
    p = libc.malloc(100)
    ctypes.memset(p, 65, 100)
    p = libc.realloc(p, 10000000)
    print(ctypes.string_at(p, 5), p % 16)
    libc.free(p)
    @ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_int), ctypes.POINTER(ctypes.c_int))
    def order(x, y):
        return x[0] - y[0]
    numbers = (ctypes.c_int * 1000)(*[(i * 617) % 1000 for i in range(1000)])
    libc.qsort(numbers, 1000, 4, order)
    print(list(numbers)[:5])
    db = sqlite3.connect(":memory:")
    db.execute("create table t(a integer primary key, b text)")
    db.executemany("insert into t values(?, ?)", ((i, str(i) * 10) for i in range(30000)))
    print(db.execute("select count(*), sum(length(b)) from t where b like '%77%'").fetchone())
    with tempfile.TemporaryFile() as f:
        pickle.dump([d] * 2, f)
        f.seek(0)
        print(len(pickle.load(f)[0]))
    hits = []
    signal.signal(signal.SIGALRM, lambda *_: hits.append(1))
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
    while len(hits) < 20:
        [bytes(i) for i in range(1000)]
    signal.setitimer(signal.ITIMER_REAL, 0)
    print("signals", fractions.Fraction(1, 3) + fractions.Fraction(1, 6))
    try:
        bytearray(1 << 62)
    except (MemoryError, OverflowError) as e:
        print(type(e).__name__)
    try:
        exec("(" * 5000)
    except (SyntaxError, MemoryError, RecursionError) as e:
        print(type(e).__name__)


if __name__ == "__main__":
    main()
