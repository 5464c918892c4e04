#!/usr/bin/python3
"""The structures of allocators/layout.h as part of the manual page hshm-segment(5): offset, size,
name and comment of each field.  Sizes are checked against those that layout.h asserts.   docs/format.py --list: a line
"structure field offset bytes" for each field of every structure, as tests/docs/format-N.txt has them."""
import re
import sys

SIZES = {"sh8_t": 1, "sh16_t": 2, "sh32_t": 4, "sh64_t": 8, "uint8_t": 1, "uint32_t": 4, "uint64_t": 8, "char": 1}
WANTED = {
    "seg_header": "At offset 0: the header",
    "seg_names": "At 512: what the tables of names have",
    "seg_hold": "From 4096: holds, HOLD_MAX of them",
    "seg_member": "From 1048576: members, MEMBER_MAX slots",
    "name_entry": "From 23068672: entries of names",
    "chunk": "From chunks_off: chunks, chunk_count of them",
    "slice": "From slices_off: slices, 64 for each chunk",
    "kept": "From kept_off: blocks of ended members, one for each slice",
    "thread_record": "In slices of kind RECORDS: what threads own",
    "inflight": "In thread_record: the step in hand",
    "class_cell": "In thread_record: the lists of a size class",
    "heap_head": "In blocks called hshm.heap.ID: heaps of hshm.h",
    "heap_shard": "In heap_head: a part of its count",
    "gpu_header": "At the end of the window: the bookkeeping of GPU memory",
    "gpu_member": "From window + GPU_MEMBERS_OFF: members that use GPUs, MEMBER_MAX of them",
    "gpu_device": "From window + GPU_DEVICES_OFF: devices, GPU_DEVICE_MAX of them",
    "gpu_chunk": "For each device from GPU_CHUNKS_OFF: what the driver gave, GPU_CHUNK_MAX of them",
    "gpu_unit": "For each device from GPU_UNITS_OFF: one for each 64 KiB",
    "gpu_block": "For each device from GPU_BLOCKS_OFF: GPU_PAGE_BLOCKS for each 64 KiB, and in gpu_unit",
}

text = open("allocators/layout.h").read()
constants = dict(re.findall(r"#define +(\w+) +(\d+)\b", text))
for name, value, shift in re.findall(r"#define +(\w+) +\(?UINT64_C\((\d+)\)(?: << (\d+)\))?$", text, re.M):
    constants[name] = str(int(value) << int(shift or 0))
for name, same in re.findall(r"#define +(\w+) +([A-Z_]+)$", text, re.M):
    constants[name] = constants.get(same, same)
for body in re.findall(r"^enum \w+ \{(.*?)\}", re.sub(r"/\*.*?\*/", "", text, flags=re.S), re.M | re.S):
    value = -1
    for word in filter(str.strip, body.split(",")):
        name, _, said = map(str.strip, word.partition("="))
        value = int(said, 0) if said else value + 1
        constants[name] = str(value)


def number(expression):
    """Of a dimension such as CLASS_COUNT, or PAGE_BLOCKS_MAX / 64."""
    for name, value in constants.items():
        expression = re.sub(rf"\b{name}\b", value, expression)
    if not re.fullmatch(r"[\d /*+()-]+", expression):
        sys.exit(f"docs/format.py: what is {expression}?")
    return eval(expression.replace("/", "//"))


def plain(comment):
    return " ".join(re.sub(r"^\s*\d+(\s+|$)", "", " ".join(comment.split())).split())


def fields(body):
    """(type, name, count, comment) of each declaration; a comment may be before or behind the semicolon."""
    body = re.sub(r"/\*(.*?)\*/", lambda m: "\0" + m.group(1).replace(";", "\1") + "\2", body, flags=re.S)
    for m in re.finditer(r"(struct )?(\w+)\s+(\w+)((?:\[[^\]]*\])*);[ \t]*(?:\x00([^\x02]*)\x02)?", body):
        count = 1
        for dimension in re.findall(r"\[([^\]]*)\]", m.group(4)):
            count *= number(dimension)
        yield m.group(2), m.group(3), count, plain((m.group(5) or "").replace("\1", ";"))


def spelled(title):
    """With the numbers that names of layout.h stand for, where it says how many."""
    return re.sub(r"\b[A-Z_]+(?:MAX|BLOCKS|OFF)\b", lambda m: constants[m.group()], title)


def quoted(s):
    return s.replace("\\", "\\e").replace("-", "\\-")


structs = {}
for m in re.finditer(r"^struct (\w+) \{\n(.*?)^\};", text, re.M | re.S):
    rows, at = [], 0
    for kind, name, count, comment in fields(m.group(2)):
        size = SIZES.get(kind)
        if size is None:
            sys.exit(f"docs/format.py: unknown type {kind} in struct {m.group(1)}")
        align = min(size, 8)
        at = (at + align - 1) // align * align
        rows.append((at, size * count, name, comment))
        at += size * count
    structs[m.group(1)] = rows
    SIZES[m.group(1)] = (at + 7) // 8 * 8
for name, said in re.findall(r"^SIZE\((\w+), (\d+)\)", text, re.M):
    if SIZES[name] != int(said):
        sys.exit(f"docs/format.py: struct {name} has {SIZES[name]} bytes, layout.h says {said}")
if sys.argv[1:] == ["--list"]:
    for name, rows in structs.items():
        for at, size, field, _ in rows:
            print(name, field, at, size)
    sys.exit()
for name, title in WANTED.items():
    print(f".SS {quoted(spelled(title))} (struct {name}, {SIZES[name]} bytes)")
    for at, size, field, comment in structs[name]:
        if not field.startswith("reserved"):
            print(f".TP\n.B {at:5}\\~ {field}\n{size} bytes." + (f"\n{quoted(comment).rstrip('.')}." if comment else ""))
