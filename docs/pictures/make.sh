#!/bin/bash
# Makes the pictures that show the command at work: top.svg (what tmux reads from the screen) and
# map.svg.  architecture.svg is drawn by hand.
set -euo pipefail
cd "$(dirname "$0")/../.."
export PATH=$PWD/build:$PATH HSHM_SIZE=64M
tmux="tmux -L hshm-pictures-$$"
trap '$tmux kill-server 2> /dev/null; kill $(jobs -p) 2> /dev/null; wait; hshm reclaim shop > /dev/null' EXIT
for n in 1 2 3; do
    hshm run -s shop -- /usr/bin/python3 -c "
import ctypes, random, time
libc = ctypes.CDLL(None); libc.malloc.restype = ctypes.c_void_p; libc.free.argtypes = [ctypes.c_void_p]
random.seed($n)
blocks = [libc.malloc(random.choice((64, 500, 3000, 20000))) for _ in range($n * 600)]
random.shuffle(blocks)
for b in blocks[: $n * 200]: libc.free(b)
big = ctypes.create_string_buffer($n * 1500000)
time.sleep(60)" &
done
sleep 3
hshm map -o docs/pictures/map.svg shop
LANG=C.UTF-8 $tmux -f /dev/null new-session -d -x 118 -y 14 "hshm top -d 0.5 shop"
sleep 2
$tmux capture-pane -p | /usr/bin/python3 -c '
import sys, html
lines = sys.stdin.read().rstrip("\n").split("\n")
print(f"<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"880\" height=\"{len(lines) * 17 + 20}\" font-family=\"monospace\" font-size=\"12\">")
print("<rect width=\"100%\" height=\"100%\" rx=\"6\" fill=\"#1d1f21\"/>")
for i, line in enumerate(lines):
    if line.strip():
        colour = "#8abeb7" if "PROGRAM" in line else "#e0e0e0"
        print(f"<text x=\"12\" y=\"{i * 17 + 24}\" fill=\"{colour}\" xml:space=\"preserve\">{html.escape(line)}</text>")
print("</svg>")' > docs/pictures/top.svg
