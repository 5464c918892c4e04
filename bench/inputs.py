#!/usr/bin/python3
"""Makes the input of the real programs, always the same, in build/bench/inputs.

The files depend on the fixed seed alone (their joint checksum goes into the result's header), so
figures from two machines are about the same work. Nothing is downloaded.
"""
import hashlib
import json
import os
import pathlib
import random
import shutil
import subprocess
import sys

VERSION = "1"  # raise it when a generator changes: old inputs are then made anew


def words(rng, count):
    letters = "etaoinshrdlucmfwypvbgkjqxz"
    return ["".join(letters[min(25, int(rng.expovariate(0.16)))] for _ in range(rng.randint(2, 11)))
            for _ in range(count)]


def text_lines(rng, count):
    pool = words(rng, 20000)
    return [" ".join(rng.choice(pool) for _ in range(rng.randint(3, 14))) for _ in range(count)]


def bash_script(rng):
    return """# 400 subshells, each with variables, an array and a command substitution of its own.
total=0
for i in {1..400}; do
    part=$( (list=(); for j in {1..12}; do list+=("item $i/$j"); done
             text="${list[*]}"; echo $(( ${#text} + i )) ) )
    total=$((total + part))
done
echo $total
"""


def python_script(rng):
    return """import json, sys
text = open(sys.argv[1]).read()
total = 0
for turn in range(int(sys.argv[2])):
    records = json.loads(text)
    index = {}
    for record in records:
        index.setdefault(record["owner"], []).append(record)
        for tag in record["tags"]:
            index.setdefault("#" + tag, []).append(record["id"])
    for owner, group in sorted(index.items()):
        if owner[0] != "#":
            group.sort(key=lambda record: (record["score"], record["id"]))
    total += len(json.dumps(index, sort_keys=True))
    words = {}
    for record in records:
        for word in record["text"].split():
            words[word] = words.get(word, 0) + 1
    total += sum(words[word] * len(word) for word in words)
print(total)
"""


def json_records(rng):
    pool = words(rng, 5000)
    return json.dumps([{"id": i, "owner": rng.choice(pool[:300]), "score": round(rng.random(), 6),
                        "tags": rng.sample(pool[:200], rng.randint(0, 5)),
                        "text": " ".join(rng.choice(pool) for _ in range(rng.randint(4, 30)))}
                       for i in range(6000)])


def perl_script(rng):
    return r"""use strict; use warnings;
my ($file, $turns) = @ARGV;
my $sum = 0;
for my $turn (1 .. $turns) {
    open my $in, '<', $file or die; my (%count, %lines, @long);
    while (my $line = <$in>) {
        chomp $line; my @words = split / /, $line;
        $count{$_}++ for @words;
        push @{$lines{$words[0]}}, $line;
        push @long, join('-', map { ucfirst } reverse @words) if @words > 10;
        $line =~ s/([aeiou])(\w)/$2$1/g; $sum += length $line;
    }
    $sum += $_ for map { $count{$_} * length } sort keys %count;
    $sum += @{$lines{$_}} for keys %lines; $sum += length for @long;
}
print "$sum\n";
"""


def lua_script(rng):
    return """local turns = tonumber(arg[1])
local sum = 0
for turn = 1, turns do
    local points, names = {}, {}
    for i = 1, 40000 do
        points[i] = {x = i % 97, y = i // 97, tag = "p" .. i % 1000}
        names[points[i].tag] = (names[points[i].tag] or 0) + points[i].x
    end
    table.sort(points, function(a, b)
        if a.x ~= b.x then return a.x < b.x end
        return a.y < b.y
    end)
    local parts = {}
    for i, p in ipairs(points) do
        if i % 4 == 0 then parts[#parts + 1] = p.tag .. ":" .. p.x .. "," .. p.y end
    end
    local text = table.concat(parts, ";")
    for tag, x in text:gmatch("(p%d+):(%d+)") do sum = sum + #tag + tonumber(x) end
    local function closure(n) return function() return n + turn end end
    local calls = {}
    for i = 1, 20000 do calls[i] = closure(i) end
    for i = 1, 20000 do sum = sum + calls[i]() end
end
print(sum)
"""


def sql_script(rng):
    return """PRAGMA cache_size = 4000;
CREATE TABLE item(id INTEGER PRIMARY KEY, owner TEXT, weight REAL, note TEXT);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 60000)
INSERT INTO item SELECT i, 'owner-' || (i * 7919 % 1500), i * 31 % 1009 / 10.0,
    hex(i * 2654435761 % 4294967296) || substr('lorem ipsum dolor sit amet consectetur', i % 20)
    FROM n;
CREATE INDEX by_owner ON item(owner, weight);
CREATE TABLE total AS SELECT owner, count(*) AS many, sum(weight) AS weight, group_concat(id) AS ids
    FROM item GROUP BY owner;
SELECT count(*), round(sum(a.weight * t.weight), 3) FROM item a JOIN total t USING (owner)
    WHERE a.note LIKE '%sit%';
UPDATE item SET note = upper(note) || owner WHERE id % 3 = 0;
DELETE FROM item WHERE id % 5 = 0;
SELECT owner, max(length(note)), min(weight) FROM item GROUP BY owner ORDER BY 2 DESC, 1 LIMIT 20;
SELECT sum(length(ids)) FROM total;
SELECT count(DISTINCT substr(note, 1, 6)) FROM item;
"""


def c_file(rng):
    parts = ["#include <stdio.h>\n#include <string.h>\n"
             "struct record { int key; double value; char name[24]; struct record *next; };\n"]
    for i in range(16):
        a, b, c = (rng.randint(3, 60) for _ in range(3))
        parts.append(f"""static int work_{i}(struct record *r, int n)
{{
    int sum = {a}, table[{b + 4}];
    for (int i = 0; i < {b + 4}; i++)
        table[i] = i * {c} ^ n;
    for (struct record *at = r; at; at = at->next) {{
        switch ((at->key + n) % 7) {{
        case 0: sum += table[at->key % {b + 4}u % {b}] * {a}; break;
        case 1: sum ^= (int)(at->value * {c}.5); break;
        case 2: sum -= (int)strlen(at->name) + {b}; break;
        case 3: at->value += sum / {a}.0; break;
        case 4: for (int k = 0; k < n % {c}; k++) sum += table[k % {b}] >> (k & 3); break;
        default: sum += at->key << {a % 5}; break;
        }}
    }}
    return n > {c} ? sum + work_{rng.randrange(i) if i else 0}(r, n - {a}) : sum;
}}
""")
    calls = "\n".join(f"    sum += work_{i}(&r, argc + {i});" for i in range(16))
    parts.append("int main(int argc, char **argv)\n{\n    struct record r = {argc, 0.5, \"x\", 0};\n"
                 f"    int sum = (int)strlen(argv[0]);\n{calls}\n"
                 "    printf(\"%d\\n\", sum);\n    return 0;\n}\n")
    return "".join(parts)


def postscript(rng):
    lines = ["%!PS", "/Times-Roman findfont 9 scalefont setfont"]
    pool = words(rng, 3000)
    for page in range(6):
        for row in range(70):
            text = " ".join(rng.choice(pool) for _ in range(14))
            lines.append(f"40 {780 - row * 10} moveto ({text}) show")
        for _ in range(500):
            x, y, r = rng.randint(0, 595), rng.randint(0, 842), rng.randint(4, 60)
            grey = rng.random()
            lines.append(f"gsave {grey:.3f} {1 - grey:.3f} {rng.random():.3f} setrgbcolor newpath "
                         f"{x} {y} {r} 0 {rng.randint(90, 360)} arc closepath "
                         + rng.choice(["fill", "clip newpath 0 0 moveto 595 842 lineto stroke",
                                       "stroke"]) + " grestore")
        lines.append("/d 200 dict def 0 1 1500 { /i exch def d i 10 string cvs cvn [i i 2 mul] put } "
                     "for d length pop")
        lines.append("showpage")
    return "\n".join(lines) + "\n"


def smt_problem(rng):
    """Arithmetic with arrays and bit vectors; every part is small, together half a second."""
    lines = ["(set-logic ALL)"]
    n = 40
    for i in range(n):
        lines.append(f"(declare-const x{i} Int)(declare-const v{i} (_ BitVec 24))")
        lines.append(f"(assert (and (>= x{i} 0) (< x{i} {n * 3})))")
    for i in range(n):
        for _ in range(5):
            j = rng.randrange(n)
            if j != i:
                lines.append(f"(assert (or (>= (- x{i} x{j}) {rng.randint(1, 3)}) "
                             f"(>= (- x{j} x{i}) {rng.randint(1, 3)})))")
    for i in range(n - 1):
        lines.append(f"(assert (bvult (bvmul v{i} #x{rng.randint(3, 200):06x}) (bvadd v{i + 1} "
                     f"#x{rng.randint(1, 1 << 22):06x})))")
        lines.append(f"(assert (= (bvand v{i} #x00000f) #x{rng.randint(0, 15):06x}))")
    lines.append("(declare-const a (Array Int Int))")
    for i in range(n):
        lines.append(f"(assert (= (select (store a x{i} {i}) x{(i * 7 + 1) % n}) "
                     f"(select a x{(i * 7 + 1) % n})))" if i % 4 == 0 else
                     f"(assert (>= (select a x{i}) {rng.randint(-5, 5)}))")
    lines += ["(check-sat)"]
    return "\n".join(lines) + "\n"


def bc_program(rng):
    return "scale = 280\nx = 4 * a(1)\ny = e(1)\nz = sqrt(x * y)\nx\ny\nz\n" \
           "for (i = 1; i < 280; i++) { s = s + 1 / (i * x) }\ns\n"


def shell_script(rng):
    return """# 60 short pipelines over a small tree: what configure scripts and builds are made of.
for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
    find "$1" -name "*$i*" | sed 's/\\([a-z]*\\)/<\\1>/' | sort | head -n 20 | cksum
    ls -l "$1" | grep -c "file" | tr 0-9 a-j
    expr $i \\* $i | cat
done
"""


def git_stream(rng):
    """A repository of 60 files and 250 commits, for git fast-import."""
    out, contents, mark = [], {}, 0
    pool = words(rng, 4000)
    for commit in range(250):
        changed = rng.sample(range(60), 4) if commit else range(60)
        blobs = []
        for f in changed:
            lines = contents.setdefault(f, [" ".join(rng.choices(pool, k=8)) for _ in range(150)])
            for _ in range(6):
                lines[rng.randrange(len(lines))] = " ".join(rng.choices(pool, k=8))
            lines.insert(rng.randrange(len(lines)), rng.choice(pool))
            data = "\n".join(lines) + "\n"
            mark += 1
            out.append(f"blob\nmark :{mark}\ndata {len(data)}\n{data}")
            blobs.append((mark, f"dir{f % 7}/file{f}.txt"))
        message = " ".join(rng.choices(pool, k=9)) + "\n"
        out.append(f"commit refs/heads/main\nauthor A <a@b> {1600000000 + commit * 3600} +0000\n"
                   f"committer A <a@b> {1600000000 + commit * 3600} +0000\n"
                   f"data {len(message)}\n{message}")
        out += [f"M 100644 :{m} {path}" for m, path in blobs]
        out.append("")
    return "\n".join(out)


FILES = {"subshells.sh": bash_script, "work.py": python_script, "records.json": json_records,
         "work.pl": perl_script, "work.lua": lua_script, "work.sql": sql_script, "work.c": c_file,
         "pages.ps": postscript, "problem.smt2": smt_problem, "digits.bc": bc_program,
         "pipelines.sh": shell_script, "history.fi": git_stream,
         "lines.txt": lambda rng: "\n".join(text_lines(rng, 40000)) + "\n"}


def make(folder):
    """Creates the inputs unless they are there; returns their joint checksum."""
    folder = pathlib.Path(folder)
    stamp = folder / "checksum"
    wanted = VERSION + " " + hashlib.sha256(pathlib.Path(__file__).read_bytes()).hexdigest()[:16]
    if stamp.exists() and stamp.read_text().startswith(wanted + "\n"):
        return stamp.read_text().split()[2]
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    total = hashlib.sha256()
    for name, generate in sorted(FILES.items()):
        data = generate(random.Random("hshm " + name)).encode()
        (folder / name).write_bytes(data)
        total.update(data)
    tree = folder / "tree"
    tree.mkdir()
    for i in range(300):
        (tree / f"file-{i}.txt").write_text(f"{i}\n" * (i % 17))
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "check": True}
    repository = folder / "repository.git"
    subprocess.run(["git", "init", "-q", "--bare", "-b", "main", repository], **quiet)
    with open(folder / "history.fi", "rb") as history:
        subprocess.run(["git", "-C", repository, "fast-import", "--quiet"], stdin=history, **quiet)
    for key, value in {"pack.threads": "1", "gc.auto": "0", "maintenance.auto": "false"}.items():
        subprocess.run(["git", "-C", repository, "config", key, value], **quiet)
    stamp.write_text(f"{wanted}\n{total.hexdigest()[:16]}\n")
    return total.hexdigest()[:16]


if __name__ == "__main__":
    root = pathlib.Path(__file__).resolve().parent.parent
    print(make(sys.argv[1] if len(sys.argv) > 1 else os.path.join(root, "build/bench/inputs")))
