#!/usr/bin/python3
"""The file format cannot change unnoticed.   timeout: 120

format-N.txt has each field of format N.  A field may come in reserved space: its line is added there
(docs/format.py --list).  One that moves, grows or goes makes another format."""
import os
import random
import re
import subprocess
import sys
import tempfile

ROOT = os.environ.get("TEST_ROOT", os.getcwd())
with open(ROOT + "/allocators/layout.h") as f:
    LAYOUT = f.read()
FORMAT = re.search(r"#define SEG_FORMAT (\d+)", LAYOUT).group(1)
GOLDEN = f"tests/docs/format-{FORMAT}.txt"


def fields(text):
    rows = [line.split() for line in text.splitlines()]
    return {(s, f): (int(at), int(size)) for s, f, at, size in rows if not f.startswith("reserved")}


def changes(now):
    """What differs from the golden list, a line each."""
    with open(f"{ROOT}/{GOLDEN}") as f:
        was = fields(f.read())
    found = [f"{s}.{f} was at {at}, {size} bytes, and is not" for (s, f), (at, size) in was.items()
             if now.get((s, f)) != (at, size)]
    return found + [f"{s}.{f} is new: add it to {GOLDEN}" for s, f in now if (s, f) not in was]


def listed(layout):
    """docs/format.py --list of another layout.h."""
    with tempfile.TemporaryDirectory() as dir:
        os.mkdir(dir + "/allocators")
        with open(dir + "/allocators/layout.h", "w") as f:
            f.write(layout)
        done = subprocess.run([sys.executable, ROOT + "/docs/format.py", "--list"], cwd=dir, capture_output=True, text=True)
    return fields(done.stdout) if done.returncode == 0 else None


def builds(layout):
    done = subprocess.run(["cc", "-D_GNU_SOURCE", "-fsyntax-only", "-x", "c", "-"], input=layout.replace("#pragma once", ""),
                          capture_output=True, text=True)
    return done.returncode == 0


def fields_of_the_format_are_where_they_were():
    found = changes(listed(LAYOUT))
    assert not found, "\n".join(found)


def a_field_that_goes_stops_the_build():
    stayed = []
    for m in re.finditer(r"^    (?:sh\d+_t|u?int\d+_t)\s+(\w+)(?:\[[^\]]*\])?;[ \t]*", LAYOUT, re.M):
        if not m.group(1).startswith("reserved") and builds(LAYOUT[:m.start()] + LAYOUT[m.end():]):
            stayed.append(m.group())
    assert builds(LAYOUT) and not stayed, stayed


def fields_that_change_places_are_noticed():
    line = r"    (?:sh\d+_t|u?int\d+_t)\s+(?!reserved|raw_)\w+(?:\[[^\]]*\])?;[^\n]*\n"
    pairs = list(re.finditer(rf"^({line})(?=({line}))", LAYOUT, re.M))
    assert len(pairs) > 50
    if int(os.environ.get("TEST_SCALE", "1")) <= 1:
        pairs = random.sample(pairs, 15)
    unnoticed = []
    for m in pairs:
        swapped = LAYOUT[:m.start()] + m.group(2) + m.group(1) + LAYOUT[m.end(2):]
        now = listed(swapped) if "/*" not in m.group() + m.group(2) or m.group(2).rstrip().endswith(("*/", ";")) else None
        if now is not None and not changes(now):
            unnoticed.append(m.group(1) + m.group(2))
    assert not unnoticed, unnoticed


bad = False
for test in fields_of_the_format_are_where_they_were, a_field_that_goes_stops_the_build, fields_that_change_places_are_noticed:
    try:
        test()
        print(f"ok {test.__name__}")
    except AssertionError as error:
        print(f"FAIL {test.__name__} {error}")
        bad = True
sys.exit(bad)
