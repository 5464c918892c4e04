"""The table: every program that has to behave under the preload as without it.

A case is one command; `sh` is shorthand for a bash script, `argv` a command of its own.  Where a
server needs a driver that is not itself under test, `driver=True` leaves the command outside and
gives it $UNDER, the words to put before what is.  Outputs are compared byte by byte, so commands
print no times, process numbers or addresses; `normal` is for those that cannot help it.
"""
import os

HERE = os.path.dirname(os.path.abspath(__file__))
SCRIPTS = os.path.join(HERE, "scripts")
ROOT = os.path.dirname(os.path.dirname(HERE))
CASES = []


class Case:
    def __init__(self, name, group, sh=None, argv=None, need=(), need_files=(), setup=None,
                 files=(), normal=(), env=None, timeout=180, long=False, driver=False,
                 reclaim=False, stats=(), share=0.95, passthrough=None, leaves=None, status=0,
                 size="2G", tree=False, open_folder=False, skip_if=None):
        self.name, self.group = name, group
        self.argv = list(argv) if argv else ["/bin/bash", "-c", sh]
        self.need, self.need_files = list(need), list(need_files)
        self.setup = setup              # bash, run without the preload before each run
        self.files = list(files)        # globs of output files to compare
        self.normal = list(normal)      # (regex, replacement) before comparing
        self.env = dict(env or {})
        self.timeout, self.long = timeout, long
        self.driver = driver
        self.reclaim = reclaim          # HSHM_EXIT=reclaim: trees of compilers
        self.stats, self.share = list(stats), share  # programs whose heap must be the segment
        self.passthrough = passthrough  # why the program runs on its own heap
        self.leaves = leaves            # why the segment may still be there afterwards
        self.status, self.size = status, size
        self.tree, self.open_folder = tree, open_folder
        self.skip_if = skip_if


def add(name, group, **fields):
    assert name not in [case.name for case in CASES], name
    assert fields.get("stats") or fields.get("passthrough"), name
    CASES.append(Case(name, group, **fields))


def script(name):
    return os.path.join(SCRIPTS, name)


# --- coreutils, findutils, text tools --------------------------------------------------------------

add("find-tree", "coreutils", tree=True, stats=["find", "sort", "xargs"], sh=r"""
    cd "$TREE"
    find . -type f -name '*.h' -size +2k -printf '%s %m %p\n' | sort -n
    find . -type d -empty -o -type l -printf '%p -> %l\n'
    find . -type f -print0 | sort -z | xargs -0 -n 200 md5sum | md5sum
    find . -name '*.h' -exec grep -l 'define _' {} + | sort | tail -50
    find . -regex '.*/[a-f]+\.h' -newermt 1990-01-01 | sort
    find . -maxdepth 3 -type d | sort | xargs -P 4 -n 10 du -s --apparent-size | sort -k2
""")
add("ls-tree", "coreutils", tree=True, stats=["ls", "du"], sh=r"""
    cd "$TREE"
    ls -lR --time-style=+%s . ; ls -1RS include | md5sum; ls -C --color=always include/linux
    ls -laht --time-style=long-iso . | wc -l
    du -a --apparent-size include | sort | md5sum; du -s --apparent-size .
    ls /nonexistent; echo $?
""")
add("sort-big", "coreutils", tree=True, stats=["sort", "uniq", "comm", "join", "shuf"], sh=r"""
    cat "$TREE"/include/linux/*.h "$TREE"/include/*.h > text
    tr -cs 'A-Za-z_' '\n' < text | sort | uniq -c | sort -k1,1nr -k2 | head -2000
    sort -u text > a; sort --parallel=4 -S 1M text | uniq > b; cmp a b && echo same
    sort -k2,2 -k1,1r -s -f text | md5sum
    sort -t: -R --random-source="$TREE/include/stdio.h" a | md5sum
    shuf --random-source="$TREE/include/stdlib.h" a > c; sort c | md5sum; md5sum < c
    head -5000 a | sort > d; comm -12 a d | wc -l; join <(nl -w5 a | sort -k1b,1 | head -3000) \
        <(nl -w5 b | sort -k1b,1 | head -3000) | md5sum
    sort -V -r c | md5sum; sort -g c | md5sum; sort -h -m a b | md5sum; sort -c c; echo $?
""")
add("text-tools", "coreutils", tree=True, files=["part.*", "xx*"],
    stats=["split", "csplit", "pr", "ptx", "tac", "fmt", "tsort"], sh=r"""
    cat "$TREE"/include/stdio.h "$TREE"/include/stdlib.h "$TREE"/include/string.h > text
    wc text; nl -ba text | tail -3; tac text | md5sum; rev text | md5sum; fold -sw 40 text | md5sum
    fmt -w 60 text | md5sum; pr -2 -h title -D date text | md5sum; expand text | unexpand -a | md5sum
    od -A x -t x1z text | md5sum; base64 text | base64 -d | cmp - text && echo base64
    base32 text | md5sum; cut -d' ' -f1,3- text | md5sum; paste text text | md5sum
    split -n l/7 text part.; csplit -s text '/^extern/' '{*}'; ls part.* xx* | wc -l
    ptx -G text | md5sum; tr a-z A-Z < text | md5sum; cksum text; sum text; b2sum text; sha512sum text
    printf 'a b\nb c\nc d\nx b\n' | tsort; factor 2147483647 600851475143
    seq -f '%08.3f' 1 0.5 3000 | md5sum; numfmt --to=iec 1024 1048576 123456789
    expr 12345 \* 678; expr abcdef : 'abc\(.*\)'; date -u -d @86400 +%c; dircolors -b | md5sum
    grep -nE '^(extern|#) ?[a-z]+' text | md5sum; grep -c 'the' -r "$TREE/include/linux" | sort | md5sum
    sed -E 's/([a-z]+) \*([a-z]+)/\2:\1/g;/^$/d' text | md5sum
    diff <(head -300 text) <(tail -n +20 text | head -300); diff -u text <(sed 's/int/long/' text) | tail -n +3 | md5sum
    stat -c '%s %n %F' text; echo 'x' | tee t1 t2; cat t1 t2; test -f t1 && echo yes; realpath -m /a/../b//c
""")
add("file-tools", "coreutils", tree=True, files=["sums"], stats=["cp", "rm", "mv"], sh=r"""
    cp -a "$TREE/include/linux" copy; diff -r "$TREE/include/linux" copy && echo equal
    cp -rl copy linked; ln -s copy soft; mv linked moved; find moved -links +1 | wc -l
    mkdir -p deep/$(printf 'd/%.0s' $(seq 150)); find deep | wc -l; rm -r deep
    dd if=/dev/zero of=big bs=1M count=32 status=none; truncate -s 40M big; md5sum big; cp --sparse=always big big2
    cmp big big2 && echo same; install -D -m 600 big2 x/y/z; stat -c '%a %s' x/y/z
    chmod -R g+w copy; find copy -perm -g+w | wc -l; touch -d @1000 copy/*; ls -l --time-style=+%s copy | md5sum
    rm -rv copy | sort | md5sum; rm nothing; echo $?; (cd moved && md5sum $(ls | sort) | grep -v /) > sums 2>/dev/null
    timeout 60 nice env -i A=1 B=2 env; nohup echo hup </dev/null 2>&1; mkfifo p; (cat p; echo read) & echo written > p; wait
    yes | head -100000 | md5sum; true; echo $?; false; echo $?; sleep 0.01; basename /a/b.c .c; dirname /a/b.c
""")
add("tar-compress", "archive", tree=True, stats=["tar", "gzip", "xz", "bzip2"],
    need=["tar", "gzip", "bzip2", "xz"], files=["*.tar"], timeout=300, sh=r"""
    tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -C "$TREE/include" -cf a.tar linux c++
    for c in 'gzip -9n' 'bzip2' 'xz -T2 -1 --block-size=1MiB' 'gzip -1n'; do
        $c < a.tar > a.z; wc -c < a.z; md5sum < a.z; ${c%% *} -dc < a.z | cmp - a.tar && echo "$c same"
    done
    tar -czf b.tgz a.tar; tar -tzf b.tgz; mkdir out; tar -C out -xf a.tar; find out -type f | sort | xargs md5sum | md5sum
    (cd out; find . -print0 | sort -z | cpio -0 -o -H newc --reproducible 2>/dev/null | wc -c) 2>/dev/null
    command -v zstd > /dev/null && zstd -q -T2 -9 < a.tar | zstd -dc | md5sum
""")
add("awk-sed-bc", "text", tree=True, stats=["sed"], sh=r"""
    cat "$TREE"/include/linux/*.h > text
    awk '{ for (i = 1; i <= NF; i++) n[$i]++ } END { for (w in n) print n[w], w }' text | sort | md5sum
    awk 'BEGIN { srand(1); for (i = 0; i < 200000; i++) a[i] = i "x" i; s = 0
         for (i in a) s += length(a[i]); print s; delete a; print substr("hello", 2, 3), sprintf("%05d", 42)
         while (("ls " ENVIRON["TREE"] "/include/linux") | getline line) c++; print c > 0
         print "z\na\nm" | "sort"; close("sort"); print toupper(x = "done") }'
    sed -n -e '/struct/{=;p;h;x;G;l 60}' text | head -3000 | md5sum
    sed -e ':a;N;$!ba;s/\n/ /g' text | md5sum
    command -v bc > /dev/null && echo 'scale=300; 4*a(1); 2^2000 % 1000007' | bc -l
    true
""")
add("man-groff", "text", need=["man", "groff"], stats=["groff", "troff"], sh=r"""
    cat > page.1 <<'END'
.TH PAGE 1 2020-01-01 test manual
.SH NAME
page \- a page
.SH DESCRIPTION
.B Bold \fIitalic\fR text, a table:
.TS
allbox;
l c r.
one	two	three
.TE
END
    for i in $(seq 400); do echo ".PP"; echo "Paragraph $i of words that fill lines and lines, \fBagain\fR and again."; done >> page.1
    groff -t -man -Tutf8 page.1 | md5sum; groff -t -man -Tps page.1 | grep -v '^%%CreationDate' | md5sum
    # man's helpers run in a sandbox that may open no file for writing: they say so in one line each
    # and go on with private heaps.
    MANWIDTH=70 man -l ./page.1 2> said | md5sum; MANWIDTH=70 man -l ./page.1 2>> said | head -20
    grep -v 'this program goes on with a private heap$' said || true
""")

# --- shells --------------------------------------------------------------------------------------------

for shell in ("bash", "dash"):
    # dash ends by _exit(2), without a line of statistics: they are asked of the segment, which has to stay.
    leaves = "dash ends by _exit" if shell == "dash" else None
    add(shell + "-posix", "shell", need=[shell], argv=["/bin/" + shell, script("posix.sh")],
        stats=["sort", shell], leaves=leaves)
    add(shell + "-configure", "shell", need=[shell, "cc"], stats=["cc1", shell],
        argv=["/bin/" + shell, script("configure.sh")], files=["config.h", "config.status"],
        reclaim=True, leaves=leaves, timeout=300)
add("bash-rich", "shell", argv=["/bin/bash", script("rich.bash")], stats=["bash"])
add("bash-subshells", "shell", stats=["bash"], timeout=300, sh=r"""
    x=1; ( x=2; echo $x ); echo $x
    total=0
    for i in $(seq 400); do y=$( x=$i; echo $((x * 2)) ); total=$((total + y)); done; echo $total $x
    declare -A map; for i in $(seq 300); do map[key$i]=$(echo "value $i"); done
    ( for k in "${!map[@]}"; do map[$k]=spoilt; done; echo ${map[key7]} ); echo ${map[key7]} ${#map[@]}
    deep() { if [ $1 -gt 0 ]; then local v=$1; ( v=changed; deep $(($1 - 1)) ); echo -n "$v "; fi; }; deep 40; echo
    big=$(seq 100000); ( big=small; echo ${#big} ); echo ${#big}; echo "$big" | ( mapfile -t a; a[5]=x; echo ${#a[@]} )
    echo "${a[5]-unset}"
""")
add("bash-jobs", "shell", stats=["bash"], timeout=300, sh=r"""
    for i in $(seq 60); do ( v=$i; for j in $(seq 50); do v=$((v + j)); done; echo "$i $v" > out.$i; exit $((i % 7)) ) & pids[$i]=$!; done
    for i in $(seq 60); do wait ${pids[$i]}; echo "$i $?"; done; sort -n out.* | md5sum
    ( trap 'echo term; exit 3' TERM; echo ready > r; while :; do read -t 1 -u 9 x; done 9<> <(:) 2>/dev/null; while :; do sleep 0.05; done ) & p=$!
    until [ -s r ]; do sleep 0.02; done; kill -TERM $p; wait $p; echo "status $?"
    sleep 1000 & kill -9 $!; wait $! 2>/dev/null; echo $?
    coproc CALC { while read -r a b; do echo $((a + b)); done; }
    for i in $(seq 200); do echo "$i $i" >&${CALC[1]}; read -r sum <&${CALC[0]}; printf '%s ' "$sum"; done; echo
    p=$CALC_PID; exec {CALC[1]}>&-; wait $p; echo "coproc $?"
    seq 5000 | while read n; do ((n % 2)) && echo $n; done | ( s=0; while read n; do ((s += n)); done; echo $s )
""")

# --- compilers -----------------------------------------------------------------------------------------

for compiler in ("gcc", "clang"):
    add("make-" + compiler, "build", need=["make", compiler], reclaim=True, timeout=600,
        stats=["make", "cc1"] if compiler == "gcc" else ["make", "clang"],
        setup='"$PYTHON" "$SCRIPTS/make_project.py" project',
        files=["project/**/*.o", "project/**/*.a", "project/**/*.so", "project/app",
               "project/generated.h"],
        sh="cd project && make -j4 --output-sync CC=%s 2>&1 | sort && ./app && make -j2 report && make -q; echo $?; "
           "touch -d @1 src/*.o; make -j2 CC=%s 2>&1 | sort; make -q; echo $?" % (compiler, compiler))
# This project itself.
for compiler in ("gcc", "clang"):
    add("make-this-" + compiler, "build", need=["make", compiler], reclaim=True, timeout=900, long=True,
        stats=["make", "cc1"] if compiler == "gcc" else ["make", "clang"],
        setup='mkdir this; tar -C "$ROOT" --exclude=./build --exclude=.git -cf - . | tar -C this -xf -',
        files=["this/build/*.so", "this/build/*.a", "this/build/hshm", "this/build/obj/allocators/*.o"],
        sh="cd this && make -j3 --output-sync CC=%s > ../log 2>&1; echo $?; sort ../log; build/hshm version; make -q CC=%s; echo $?; "
           "touch allocators/page.c; make -j3 CC=%s 2>&1 | sort; make -q CC=%s; echo $?" % ((compiler,) * 4))
add("g++-templates", "build", need=["g++"], reclaim=True, timeout=300, stats=["cc1plus"],
    files=["a.out"], sh=r"""
    cp "$SCRIPTS/templates.cc" . && g++ -std=c++17 -O1 -g templates.cc && ./a.out
    echo 'int main() { return undeclared; }' > wrong.cc; g++ wrong.cc; echo $?
""")
add("cmake-build", "build", need=["cmake", "gcc", "make"], reclaim=True, timeout=600, long=True,
    stats=["cmake"], normal=[(r"\(\d+\.\d+s\)", "(s)")], sh=r"""
    mkdir src; for i in $(seq 12); do echo "int f$i(void) { return $i; }" > src/f$i.c; done
    { seq -f 'int f%g(void);' 12; echo 'int main(void) { return 0'; seq -f '+ f%g()' 12; echo '- 78; }'; } > src/main.c
    printf 'cmake_minimum_required(VERSION 3.13)\nproject(p C)\nfile(GLOB S src/*.c)\nadd_executable(p ${S})\n' > CMakeLists.txt
    cmake -S . -B b && make -C b -j4 > log 2>&1; sed "s,^.[ 0-9]*%. ,," log | sort && b/p; echo $?
""")

# --- git -----------------------------------------------------------------------------------------------

add("git-history", "git", need=["git"], stats=["git"], timeout=300, tree=True,
    argv=["/bin/bash", script("git.sh")])

add("git-real", "git", need=["git"], stats=["git"], timeout=600, long=True,
    skip_if=lambda: None if os.path.exists(os.path.join(ROOT, ".git")) else "this tree is no repository",
    setup='[ -d ../origin ] || git -c safe.directory="*" clone -q --bare --single-branch "file://$ROOT" ../origin',
    argv=["/bin/bash", script("git_real.sh")])

# --- perl, python, lua, ruby, node, java -------------------------------------------------------------

add("perl", "perl", need=["perl"], argv=["/usr/bin/perl", script("rich.pl")], stats=["perl"],
    env={"PERL_HASH_SEED": "0"})
add("perl-prefork", "perl", need=["perl"], driver=True, stats=["perl"], timeout=300,
    argv=["/usr/bin/python3", script("prefork.py"), "perl"])
add("python", "python", argv=["/usr/bin/python3", script("rich.py")], stats=["python3"])
add("python-malloc", "python", argv=["/usr/bin/python3", script("rich.py")], stats=["python3"],
    env={"PYTHONMALLOC": "malloc"})


for suffix, env in (("", {}), ("-malloc", {"PYTHONMALLOC": "malloc"})):
    add("python-forks" + suffix, "python", stats=["python3"], env=env, timeout=400, long=True,
        argv=["/usr/bin/python3", script("forks.py"), "200"])


def python_tests(name, modules, **fields):
    for suffix, env in (("", {}), ("-malloc", {"PYTHONMALLOC": "malloc"})):
        add("python-%s%s" % (name, suffix), "python", stats=["python3"], env=env,
            need_files=["/usr/lib/python3*/test/test_list.py"],
            argv=["/usr/bin/python3", script("python_tests.py")] + modules, **fields)


python_tests("test_types", ["test.test_list", "test.test_dict", "test.test_json"], timeout=400)
python_tests("test_ctypes", ["test.test_ctypes", "test.test_mmap"], timeout=400)
python_tests("test_threading", ["test.test_threading"], timeout=600, long=True)
python_tests("test_subprocess", ["test.test_subprocess"], timeout=900, long=True)
python_tests("test_fork", ["test.test_fork1", "test.test_thread", "test.test_wait3",
                           "test.test_wait4", "test.test_popen"], timeout=600, long=True)
python_tests("test_mp_fork", ["test.test_multiprocessing_fork"], timeout=1500, long=True)
python_tests("test_mp_spawn", ["test.test_multiprocessing_spawn"], timeout=2400, long=True)
python_tests("test_mp_server", ["test.test_multiprocessing_forkserver"], timeout=2400, long=True)
python_tests("test_futures", ["test.test_concurrent_futures"], timeout=2400, long=True)

add("lua", "lua", need=["lua5.4"], argv=["/usr/bin/lua5.4", script("rich.lua")], stats=["lua5.4"])
add("ruby", "ruby", need=["ruby"], argv=["/usr/bin/ruby", script("rich.rb")], stats=["ruby"])
add("ruby-prefork", "ruby", need=["ruby"], driver=True, stats=["ruby"], timeout=300,
    argv=["/usr/bin/python3", script("prefork.py"), "ruby"])
add("node", "node", need=["node"], argv=["/usr/bin/node", script("rich.js")], stats=["node"])
add("java", "java", need=["java", "javac"], timeout=300, stats=["java", "javac"],
    files=["*.class"], env={"JAVA_TOOL_OPTIONS": "-Xmx512m"}, sh=r"""
    cp "$SCRIPTS/Rich.java" . && javac -Xlint:all Rich.java && java Rich
    echo 'class X { int y = "no"; }' > X.java; javac X.java; echo $?
""")
add("java-collectors", "java", need=["java", "javac"], timeout=600, stats=["java"], long=True, sh=r"""
    cp "$SCRIPTS/Rich.java" . && javac Rich.java
    for gc in Serial Parallel G1 Shenandoah Z; do echo $gc; java -Xmx512m -XX:+Use${gc}GC Rich; done; java -Xint Rich | md5sum
""")

# --- data bases and servers -------------------------------------------------------------------------

add("sqlite3", "sqlite", need=["sqlite3"], stats=["sqlite3"], files=["t.db"], sh=r"""
    sqlite3 t.db > out 2>&1 <<'END'
pragma journal_mode=wal; create table t(a integer primary key, b text, c real);
with recursive n(i) as (select 1 union all select i + 1 from n where i < 100000) insert into t select i, printf('%08x', i * 2654435761), i / 7.0 from n;
create index ib on t(b); analyze; select count(*), sum(a), min(b), max(b), avg(c) from t; select * from t where b like '%777%' order by b limit 20;
select count(*) from t x join t y on x.b = y.b where x.a % 7 = 0; delete from t where a % 3 = 0; vacuum; pragma integrity_check; pragma journal_mode=delete;
create virtual table f using fts5(x); insert into f select b || ' word' || (a % 100) from t; select count(*) from f where f match 'word42';
select json_group_array(a) from (select a from t limit 20); select length(group_concat(b, '-')) from t; select randomblob(3) is not null, zeroblob(10000000) is null;
.mode column
select a % 10 as d, count(*) n, round(sum(c), 3) s from t group by d;
select wrong;
.dump f_config
END
    echo $?; cat out; sqlite3 t.db .dump | md5sum; sqlite3 :memory: 'select sqlite_version() is not null' ; rm t.db-* 2> /dev/null; true
""")
add("redis-benchmark", "redis", need=["redis-server", "redis-benchmark"], driver=True, timeout=600,
    argv=["/usr/bin/python3", script("redis_benchmark.py")], stats=["redis-server"])
REDIS = dict(need=["redis-server"], driver=True, stats=["redis-server"])
add("redis-saves", "redis", timeout=600, **REDIS,
    argv=["/usr/bin/python3", script("redis_saves.py"), "4", "3000"])
add("redis-saves-large", "redis", timeout=600, **REDIS,
    argv=["/usr/bin/python3", script("redis_saves.py"), "3", "150000"])
add("redis-saves-20", "redis", timeout=1800, long=True, **REDIS,
    argv=["/usr/bin/python3", script("redis_saves.py"), "20", "3000"])
add("redis-saves-large-20", "redis", timeout=1800, long=True, **REDIS,
    argv=["/usr/bin/python3", script("redis_saves.py"), "20", "150000"])
add("nginx", "nginx", need=["nginx", "wrk"], driver=True, timeout=600, stats=["nginx"],
    open_folder=True, argv=["/usr/bin/python3", script("nginx_load.py")])
for mpm in ("prefork", "event"):
    add("apache-" + mpm, "apache", need=["apache2", "wrk"], driver=True, timeout=600, stats=["apache2"],
        open_folder=True, argv=["/usr/bin/python3", script("apache_load.py"), mpm])
add("nginx-long", "nginx", need=["nginx", "wrk"], driver=True, timeout=900, stats=["nginx"], long=True,
    open_folder=True, argv=["/usr/bin/python3", script("nginx_load.py")], env={"SECONDS_OF_LOAD": "60"})
POSTGRES = dict(need_files=["/usr/lib/postgresql/*/bin/postgres"], driver=True, open_folder=True,
                stats=["postgres", "initdb", "pgbench"])
add("postgresql", "postgres", timeout=900, argv=["/usr/bin/python3", script("postgres.py")], **POSTGRES)
add("postgresql-kill", "postgres", timeout=1200, long=True, **POSTGRES,
    argv=["/usr/bin/python3", script("postgres.py"), "kill"])

# --- documents, pictures, solvers, editors -----------------------------------------------------------

add("ghostscript", "gs", need=["gs"], stats=["gs"], files=["*.ppm", "*.png", "out.ps"], timeout=300, sh=r"""
    cat > in.ps <<'END'
%!PS
/F { /Times-Roman findfont 20 scalefont setfont } def
1 1 4 { /page exch def F 100 700 moveto (Page ) show page 10 string cvs show
  0 5 355 { gsave 300 400 translate rotate 0 0 moveto 200 page 10 mul lineto page 5 div 0.3 0.5 setrgbcolor stroke grestore } for
  [ 0 1 5000 { dup mul 7 mod } for ] aload length 100 100 moveto 20 string cvs show clear
  /d 100 dict def 0 1 2000 { d exch dup 10 string cvs put } for d length 100 50 moveto 20 string cvs show showpage } for
END
    gs -q -dSAFER -dBATCH -dNOPAUSE -sDEVICE=ppmraw -r72 -sOutputFile=p%d.ppm in.ps && md5sum *.ppm
    gs -q -dSAFER -dBATCH -dNOPAUSE -sDEVICE=png16m -r100 -dTextAlphaBits=4 -dGraphicsAlphaBits=4 -sOutputFile=q%d.png in.ps
    gs -q -dSAFER -dBATCH -dNOPAUSE -sDEVICE=pdfwrite -sOutputFile=o.pdf in.ps; gs -q -dSAFER -dBATCH -dNOPAUSE -sDEVICE=ppmraw -r40 -sOutputFile=r%d.ppm o.pdf; md5sum r*.ppm; rm o.pdf
    echo '%! 1 (x) add' > bad.ps; printf '%%!PS\n1 (x) add\n' | gs -q -dBATCH -dNOPAUSE -sDEVICE=nullpage - > bad.out; echo $?; grep -c typecheck bad.out
""")
add("z3", "z3", need=["z3"], stats=["z3"], timeout=300, sh=r"""
    { echo '(set-option :smt.random_seed 1)(set-logic QF_LIA)'; for i in $(seq 12); do echo "(declare-const x$i Int)(assert (and (< 0 x$i) (< x$i 50)))"; done
      for i in $(seq 11); do echo "(assert (> (+ x$i (* 2 x$((i + 1)))) $((i * 7))))(assert (distinct x$i x$((i + 1))))"; done
      echo '(assert (= (+ x1 x5 x9) 77))(check-sat)(get-model)(push)(assert (> x1 60))(check-sat)(pop)'; } > a.smt2; z3 a.smt2; echo $?
    { echo '(set-logic QF_BV)'; for i in 1 2 3; do echo "(declare-const a$i (_ BitVec 24))"; done
      echo '(assert (= (bvmul a1 a2) #x00fff1))(assert (bvugt a1 #x000001))(assert (bvugt a2 #x000001))(assert (bvult a1 #x001000))(assert (bvult a2 #x001000))(assert (= a3 (bvxor a1 a2)))(check-sat)'; } > b.smt2; z3 b.smt2
    { n=7; for p in $(seq $((n + 1))); do for h in $(seq $n); do echo "(declare-const p${p}_$h Bool)"; done; done
      for p in $(seq $((n + 1))); do echo "(assert (or $(seq -f "p${p}_%g" -s ' ' $n)))"; done
      for h in $(seq $n); do for p in $(seq $n); do for q in $(seq $((p + 1)) $((n + 1))); do echo "(assert (not (and p${p}_$h p${q}_$h)))"; done; done; done; echo '(check-sat)'; } > c.smt2; z3 c.smt2
    echo '(assert nonsense)' | z3 -in; echo $?
""")
add("imagemagick", "images", need=["convert-im6.q16"], stats=["convert-im6.q16"], files=["*.ppm", "*.txt"],
    timeout=300, sh=r"""
    c=convert-im6.q16
    $c -size 600x400 gradient:red-blue -swirl 120 -blur 0x3 a.ppm; $c a.ppm -resize 50% -rotate 30 -colorspace Gray -depth 8 b.ppm
    $c -size 300x300 -seed 5 plasma:fractal -depth 8 c.ppm; $c a.ppm b.ppm +append -quantize RGB -colors 16 d.ppm
    $c a.ppm \( +clone -flop -modulate 80,120 \) -compose multiply -composite e.ppm; $c a.ppm -quality 90 f.jpg; $c f.jpg -depth 8 f.ppm
    $c a.ppm g.png; $c g.png -crop 100x100+50+50 +repage -depth 8 txt: | md5sum > h.txt; $c -delay 10 a.ppm b.ppm c.ppm i.gif; identify-im6.q16 i.gif | cut -d' ' -f1-3
    $c rose: -scale 20x -depth 8 txt:; $c nothing.png x.png; echo $?; $c a.ppm -fft +depth +adjoin null: 2> /dev/null; md5sum *.ppm
""")
add("ffmpeg", "images", need=["ffmpeg"], stats=["ffmpeg"], long=True, timeout=600, files=["*.md5"], sh=r"""
    ffmpeg -v error -nostdin -threads 2 -f lavfi -i testsrc=d=2:s=320x240 -f lavfi -i sine=d=2 -c:v mpeg4 -c:a aac -bitexact -flags bitexact a.mkv; echo $?
    ffmpeg -v error -nostdin -i a.mkv -vf scale=160:120,hue=s=0 -f framemd5 v.md5; ffmpeg -v error -nostdin -i a.mkv -f md5 a.md5; wc -l v.md5
""")
add("vim", "vim", need=["vim"], stats=["vim"], files=["t.txt", "u.txt"], sh=r"""
    seq 30000 | sed 's/$/ the quick brown fox/' > t.txt
    cat > s.vim <<'END'
set nocompatible noswapfile viminfo=
e t.txt
%s/quick/slow/g
g/7 /m0
1000,2000d
normal Gyyp
for i in range(2000) | call append(0, 'line ' . i . repeat('x', i % 100)) | endfor
let l = map(range(50000), 'v:val * 2') | call filter(l, 'v:val % 3') | call append('$', string(l[:20]))
undo
redo
%!sort
w! u.txt
q!
END
    vim -u NONE -es -S s.vim; echo "status $?"; md5sum u.txt; printf '%s\n' '%s/fox/cat/' w q | ex -s t.txt 2>&1; echo $?; md5sum t.txt
""")
add("xml-tools", "text", need=["xmllint"], stats=["xmllint"], long=True, sh=r"""
    { echo '<r>'; for i in $(seq 20000); do echo "<e id='$i'><a>text $i</a><b/></e>"; done; echo '</r>'; } > a.xml
    xmllint --format a.xml | md5sum; xmllint --xpath 'sum(//e[@id mod 7 = 0]/@id)' a.xml; xmllint --c14n a.xml | md5sum; xmllint --stream a.xml; echo '<a><b></a>' | xmllint - ; echo $?
""")
add("tcl", "text", need=["tclsh"], stats=["tclsh"], long=True, sh=r"""
    tclsh <<'END'
set d [dict create]; for {set i 0} {$i < 50000} {incr i} { dict set d k$i [string repeat x [expr {$i % 100}]] }
puts [dict size $d]; set s 0; dict for {k v} $d { incr s [string length $v] }; puts $s
puts [lrange [lsort -unique [split [exec seq 5000 | sort -r] \n]] 0 5]; puts [regsub -all {\d+} "a1b22" X]; set f [open "|cat" r+]; puts $f hello; close $f write; puts [gets $f]
proc fib n { expr {$n < 2 ? $n : [fib [expr {$n-1}]] + [fib [expr {$n-2}]]} }; puts [fib 18]; puts [expr {2**500}]; catch {error oops} m; puts $m
END
    sort < /dev/null; echo $?
""")
add("openssl", "text", need=["openssl"], stats=["openssl"], sh=r"""
    seq 200000 > t; openssl dgst -sha512 t; k="-aes-256-cbc -iv 00112233445566778899aabbccddeeff -K 00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"; openssl enc $k -in t | tee >(md5sum >&2) | openssl enc -d $k | cmp - t && echo same
    openssl prime 1000000007; openssl genrsa -out k 1024 2> /dev/null; openssl rsa -in k -check -noout; openssl list -digest-commands | md5sum; openssl rand -hex 8 | wc -c
""")

# --- stress-ng -----------------------------------------------------------------------------------------

# Its report has times and process numbers on every line: what counts is that no stressor fails.
STRESS = r"""
    stress() { stress-ng --no-rand-seed --oomable --temp-path . "$@" > out 2>&1; s=$?
        grep -E '(failed|error|unsuccessful|SIG[A-Z]+|corrupt|hshm)' out | grep -v 'failed: 0$'; grep -c 'successful run' out; echo "$* $s"; }
"""
for name, options in (("malloc", "--malloc 2 --malloc-ops 20000 --malloc-bytes 256k --malloc-max 2048 --verify"),
                      ("malloc-threads", "--malloc 1 --malloc-ops 200 --malloc-bytes 8m --malloc-pthreads 3 --malloc-touch --verify"),
                      ("bigheap", "--bigheap 1 --bigheap-ops 3000 --bigheap-growth 64k --verify"),
                      ("fork", "--fork 2 --fork-ops 1000"), ("vfork", "--vfork 2 --vfork-ops 1000"),
                      ("clone", "--clone 1 --clone-ops 60"), ("daemon", "--daemon 1 --daemon-ops 200"),
                      ("zombie", "--zombie 1 --zombie-ops 300"),
                      ("prefetch", "--prefetch 1 --prefetch-l3-size 2m --prefetch-ops 100")):
    add("stress-ng-" + name, "stress-ng", need=["stress-ng"], timeout=300, sh=STRESS + "stress " + options,
        stats=["stress-ng"], long=name in ("prefetch",),
        leaves="its children end by _exit and SIGKILL")
# The spawn stressor refuses to run as root.
SPAWN = STRESS.replace("stress-ng --no", "$UNDER stress-ng --no")
if os.getuid() == 0:
    SPAWN = SPAWN.replace("$UNDER", "setpriv --reuid=65534 --regid=65534 --clear-groups $UNDER")
for name, options, long in (("spawn", "--spawn 2 --spawn-ops 300", False), ("spawn-60s", "--spawn 2 -t 60", True)):
    add("stress-ng-" + name, "stress-ng", need=["stress-ng"], timeout=400, sh=SPAWN + "stress " + options, long=long,
        driver=True, open_folder=True, stats=["stress-ng"], leaves="its children end by _exit and SIGKILL")
for name in ("fork", "vfork", "clone", "daemon", "zombie"):
    add("stress-ng-%s-60s" % name, "stress-ng", need=["stress-ng"], timeout=400, long=True,
        stats=["stress-ng"], leaves="its children end by _exit and SIGKILL",
        sh=STRESS + "stress --%s 2 -t 60" % name)

# --- debuggers -------------------------------------------------------------------------------------------

SMALL = 'gcc -O1 -g -pthread -o small "$SCRIPTS/small.c"'
add("small-c", "debug", need=["gcc"], setup=SMALL, stats=["small"], sh="./small; ./small | sort")
# Only what runs inside is preloaded: gdb's own python and valgrind's core are not what is tested.
add("gdb", "debug", need=["gdb", "gcc"], setup=SMALL, driver=True, stats=["small"], timeout=300,
    normal=[(r"0x[0-9a-f]+", "0xX"), (r"(process|Thread|LWP) \d+", r"\1 N"), (r"\(LWP \d+\)", "(LWP N)"),
            (r"^\[(New|Thread|Detaching|Inferior).*\n", ""), (r"^process N$", "process N")], sh=r"""
    # An exec-wrapper needs a shell, which would be preloaded too: the environment is set instead.
    for word in ${UNDER#*/env}; do set -- "$@" -ex "set environment ${word%%=*} ${word#*=}"; done
    gdb -nx -batch -ex 'set debuginfod enabled off' -ex 'set startup-with-shell off' "$@" -ex 'break stop_here' -ex run -ex bt \
        -ex 'print text' -ex 'finish' -ex 'print (int)strlen((char*)text)' -ex 'call (int)churn((void*)7)' -ex 'watch *(char*)text' -ex 'info threads' -ex 'delete' -ex continue ./small 2>&1 |
        grep -vE 'libthread_db|^Using host|debuginfod'
""")
add("gdb-preloaded", "debug", need=["gdb", "gcc"], setup=SMALL, stats=["gdb"], timeout=300, long=True, sh=r"""
    gdb -nx -batch -ex 'set debuginfod enabled off' -ex 'info functions churn' -ex 'ptype struct mallinfo2' -ex 'python print(sum(range(1000)))' -ex 'disassemble stop_here' ./small
""")
add("valgrind", "debug", need=["valgrind", "gcc"], setup=SMALL, driver=True, timeout=400,
    passthrough="valgrind replaces malloc in every object", normal=[(r"^==\d+== ?.*\n", "")], sh=r"""
    $UNDER valgrind -q --error-exitcode=99 --leak-check=no ./small; echo "status $?"
    $UNDER valgrind -q --tool=none ./small; echo "status $?"
""")
add("valgrind-somalloc", "debug", need=["valgrind", "gcc"], setup=SMALL, driver=True, timeout=400, long=True,
    stats=["small"], normal=[(r"^==\d+== ?.*\n", "")], sh=r"""
    $UNDER valgrind -q --soname-synonyms=somalloc=nowhere* ./small; echo "status $?"
""")
add("strace", "debug", need=["strace", "gcc"], setup=SMALL, stats=["small"], long=True,
    sh="strace -f -o trace -e trace=write ./small; grep -c 'exited with' trace")

# --- programs that keep their own heap ---------------------------------------------------------------

add("static-binary", "own-heap", need=["gcc"], passthrough="static: there is no loader to preload anything",
    setup='gcc -O1 -static -pthread -o small "$SCRIPTS/small.c"', sh="./small; echo $?")
add("busybox-static", "own-heap", need=["busybox"], passthrough="static: there is no loader to preload anything",
    leaves="the shell that runs it ends by _exit",
    sh="busybox seq 1000 | busybox sort -rn | busybox md5sum; busybox ash -c 'x=1; (x=2; echo $x); echo $x'")
add("set-user-id", "own-heap", need=["su", "passwd"], skip_if=lambda: None if os.getuid() == 0 else "needs root",
    passthrough="AT_SECURE: the loader drops LD_PRELOAD with a slash in it",
    setup='cp "$SCRIPTS/../scripts/small.c" .; gcc -O1 -pthread -o small small.c; cp small suid; chown nobody suid; chmod 4755 suid',
    open_folder=True, normal=[(r"\b\d\d/\d\d/\d{4}\b", "DATE")],
    sh="./suid; echo $?; passwd -S root; setpriv --reuid=65534 --regid=65534 --clear-groups passwd -S 2>&1; echo $?")
add("asan", "own-heap", need=["gcc"], need_files=["/usr/lib/gcc/x86_64-linux-gnu/*/libasan.so"],
    passthrough="AddressSanitizer's malloc must win", env={"ASAN_OPTIONS": "verify_asan_link_order=0:allocator_may_return_null=1"},
    driver=True, setup='gcc -O1 -g -fsanitize=address -pthread -o small "$SCRIPTS/small.c"; gcc -g -fsanitize=address -o bad "$SCRIPTS/overflow.c"',
    normal=[(r"0x[0-9a-f]+", "0xX"), (r"^==\d+==", "==N=="), (r"^  .*\n", ""), (r"^(Shadow|=>|SUMMARY|\n).*\n?", "")],
    sh="$UNDER ./small; echo $?; $UNDER ./bad 2>&1 | grep -E 'heap-buffer-overflow|hshm'; echo ${PIPESTATUS[0]}")
add("tsan", "own-heap", need=["gcc"], need_files=["/usr/lib/gcc/x86_64-linux-gnu/*/libtsan.so"], long=True,
    passthrough="ThreadSanitizer's malloc must win", driver=True,
    leaves="setarch, the only member, ends by exec",
    env={"TSAN_OPTIONS": "allocator_may_return_null=1"},
    setup='gcc -O1 -g -fsanitize=thread -pthread -o small "$SCRIPTS/small.c"', sh="$UNDER setarch -R ./small; echo $?")
add("32-bit", "own-heap", need=["gcc"], need_files=["/usr/lib32/libc.so.6"], driver=True,
    passthrough="32-bit: the loader leaves a 64-bit preload out and says so",
    normal=[(r"^ERROR: ld.so: object .* from LD_PRELOAD cannot be preloaded.*\n", "")],
    setup='gcc -m32 -I/usr/include/$(gcc -print-multiarch) -O1 -pthread -o small "$SCRIPTS/small.c"', sh="$UNDER ./small; echo $?")
TCMALLOC = "/usr/lib/x86_64-linux-gnu/libtcmalloc_minimal.so.4"
# Linked to another malloc, but the preload comes first in the search: the heap is the segment.
add("linked-tcmalloc", "own-heap", need=["gcc"], need_files=[TCMALLOC], stats=["small"],
    setup='gcc -O1 -pthread -o small "$SCRIPTS/small.c" -Wl,--no-as-needed ' + TCMALLOC, sh="./small; echo $?")
add("linked-jemalloc", "own-heap", need=["gcc"], need_files=["/usr/lib/x86_64-linux-gnu/libjemalloc.so.2"], stats=["small"],
    setup='gcc -O1 -pthread -o small "$SCRIPTS/small.c" -Wl,--no-as-needed /usr/lib/x86_64-linux-gnu/libjemalloc.so.2', sh="./small; echo $?")
# A malloc of its own in the executable wins over every preload; only crossings reach us.
add("own-malloc", "own-heap", need=["gcc"], passthrough="its executable defines malloc",
    setup='gcc -O1 -pthread -rdynamic -o small "$SCRIPTS/small.c" "$SCRIPTS/own_malloc.c"', sh="./small; echo $?")
