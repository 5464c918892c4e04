#!/usr/bin/python3
"""docs/edges.md: for each field that two processes order their work by, which sites release it and who
acquires it.   docs/edges.py > docs/edges.md

In the core each release and acquire goes through a macro of allocators/shared.h; its operand tells the
field.  A field that is released and never acquired, or the reverse, has an edge without a partner: that
is an error here, so that `make docs-check` finds it.  What is only one-sided on purpose is in ALONE."""
import collections
import glob
import re
import sys

RELEASES = ("put_release", "fetch_add_release", "fetch_sub_release")
BOTH = ("cas", "fetch_or", "fetch_and", "swap")        # acquire and release
CALL = re.compile(r"\b(get_acquire|" + "|".join(RELEASES + BOTH) + r")\(")

# The structure of a field, by what it is reached through: (folder, pattern of the operand, structure).
REACHED = [
    ("gpu_hooks", r"main_heap\.members", "seg_member"),
    ("gpu_hooks", r"\bdev->seg\.chunks|\bs->chunks", "gpu_chunk"),
    ("gpu_hooks", r"\bunits\[.*\.block\.|gpu_block_of|^b->|^shared->", "gpu_block"),
    ("gpu_hooks", r"\bunits\b", "gpu_unit"),
    ("gpu_hooks", r"->taken\[", "gpu_device"),
    ("gpu_hooks", r"header->", "gpu_header"),
    ("gpu_hooks", r"^d->", "gpu_device"),
    ("gpu_hooks", r"^m->|^owner->|\bme->|members", "gpu_member"),
    ("", r"main_heap\.chunks|->chunks\[|^chunk->", "chunk"),
    ("", r"header->", "seg_header"),
    ("", r"names_of|^n->|^unused_word", "seg_names"),
    ("", r"^e->|entry_at", "name_entry"),
    ("", r"holds\[", "seg_hold"),
    ("", r"step\b.*what|inflight", "inflight"),
    ("", r"record->", "thread_record"),
    ("", r"kept", "kept"),
    ("", r"^d->|^d\[|slices\[", "slice"),
    ("", r"members\[|->me->|^m->|^member->", "seg_member"),
]
# Where the operand is a mere pointer: by file and operand.
WORDS, UNUSED = "words of the tables of names", "bits of unused entries"
POINTED = {
    ("allocators/words.c", "*word"): WORDS,
    ("allocators/words.c", "word[i]"): WORDS,
    ("allocators/words.c", "group[i]"): WORDS,
    ("allocators/words.c", "*at"): WORDS,
    ("allocators/handed.c", "*at"): WORDS,
    ("allocators/handed.c", "*word"): WORDS,
    ("allocators/handed.c", "*holder"): "name_entry.block",
    ("allocators/names.c", "*word"): WORDS,
    ("allocators/names_recover.c", "*word"): WORDS,
    ("allocators/name_entries.c", "*to"): "name_entry.next",
    ("allocators/name_entries.c", "*place->bucket"): "name_entry.next",
    ("allocators/name_entries.c", "*word"): UNUSED,
    ("allocators/name_entries.c", "*unused_word(h, entry)"): UNUSED,
    ("allocators/name_entries.c", "*unused_word(h, high)"): UNUSED,
    ("allocators/gpu_look.c", "shared->state"): "gpu_block.state",
    ("allocators/gpu_look.c", "shared->info"): "gpu_block.info",
}
# Released, and acquired by no load of its own: what stands in for one.
DEATH = "who finds its writer dead: the kernel's lock is gone"
CHUNK = "whoever has the chunk next, by chunk.word; " + DEATH
ALONE = {
    "chunk.charged": "ledger_recount() reads seg_member.charging first; " + DEATH,
    "chunk.dirty": CHUNK,
    "slice.bytes": CHUNK,
    "slice.committed": CHUNK,
    "slice.dirty": CHUNK,
    "slice.flags": CHUNK,
    "slice.span": CHUNK,
    "name_entry.block": DEATH,
    "name_entry.counted": "the fences of name_ref() and entry_finish()",
    "seg_member.named": DEATH,
    "seg_member.naming": DEATH,
    "gpu_header.magic": "read and written under LOCK_GPU",
}


def operand(text, at, first):
    """The argument of a call whose '(' is before 'at': the first or the second."""
    depth, found = 0, [""]
    while depth >= 0:
        c = text[at]
        depth += (c in "([") - (c in ")]")
        if c == "," and depth == 0:
            found.append("")
        elif depth >= 0:
            found[-1] += c
        at += 1
    found = [" ".join(f.split()) for f in found]
    return (None, found[0]) if first else (found[0], found[1])


def function_at(text, at):
    heads = re.findall(r"^(?!#)(\w[^;{}]*)\n\{", text[:at], re.M)
    names = re.findall(r"(\w+)\(", re.sub(r"__attribute__\(\(.*?\)\)|AT_FORK\(.*?\)", "", heads[-1])) if heads else []
    return names[0] if names else "?"


def field_of(path, expression):
    if (path, expression) in POINTED:
        return POINTED[path, expression]
    for folder, pattern, struct in REACHED:
        if path.startswith(folder) and re.search(pattern, expression):
            name = re.search(r"(\w+)\)?(?:\[[^][]*(?:\[[^][]*\][^][]*)*\])*$", expression)
            return struct + "." + name.group(1)
    return None


def edges_of(path, text, edges):
    for call in CALL.finditer(text):
        kind = call.group(1)
        site, expression = operand(text, call.end(), kind == "get_acquire")
        if not expression:                              # in a comment
            continue
        field = field_of(path, expression)
        if not field:
            sys.exit(f"docs/edges.py: {path}: of which structure is {expression}?")
        released, acquired = edges[field]
        if kind in RELEASES + BOTH:
            released.add(site)
        if kind in BOTH or kind == "get_acquire":
            acquired.add(function_at(text, call.start()))


def partner(field, released, acquired):
    if (field in ALONE) == bool(acquired):
        sys.exit(f"docs/edges.py: {field} is released by {sorted(released)} and " +
                 ("acquired, too: not ALONE" if acquired else "acquired by nobody: who orders by it?"))
    if not released:
        sys.exit(f"docs/edges.py: {field} is acquired by {sorted(acquired)} and released by nobody")
    return ALONE.get(field) or ", ".join(f"{name}()" for name in sorted(acquired))


def main():
    edges = collections.defaultdict(lambda: (set(), set()))
    for path in sorted(p for d in ("allocators", "api", "preload", "gpu_hooks") for p in glob.glob(d + "/*.[ch]")):
        if path != "allocators/shared.h":
            with open(path) as f:
                edges_of(path, f.read(), edges)
    print("""# Edges between processes

Which sites release a field, so that what was written before is seen by whoever acquires it. Made by
`make docs` from the sources (docs/edges.py), which fails on a field that is only released or only acquired.
What a site is: [design.md](design.md#18-the-table-of-sites). A compare-and-swap and the bit operations
are both. Fields that are not here are written and read without an order, or by one member alone.

| Field | Released at | Acquired by |
|---|---|---|""")
    for field in sorted(edges):
        released, acquired = edges[field]
        print(f"| `{field}` | {', '.join(f'`{s}`' for s in sorted(released))} | {partner(field, released, acquired)} |")


main()
