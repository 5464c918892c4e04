#!/bin/bash
# The parts of the documents that are made from the sources.  Each stands between two lines,
# <!-- NAME --> and <!-- /NAME --> (in manual pages .\" NAME and .\" /NAME).
#
# usage: docs/generate.sh            write them anew
#        docs/generate.sh --check    exit status 1 if one is stale
set -euo pipefail
cd "$(dirname "$0")/.."
tool=${TOOL:-build/hshm}
stale=0

# part FILE NAME COMMAND...
part()
{
    local file=$1 name=$2 text
    shift 2
    text=$("$@")
    TEXT=$text awk -v name="$name" '
      $0 == "<!-- " name " -->" || $0 == ".\\\" " name   { print; print ENVIRON["TEXT"]; skip = 1 }
      $0 == "<!-- /" name " -->" || $0 == ".\\\" /" name { skip = 0 }
      !skip' "$file" > build/generated
    if cmp -s "$file" build/generated; then return; fi
    if [ -n "$check" ]; then
        diff -u "$file" build/generated || true
        echo "$file is stale: run make docs"
        stale=1
    else
        cat build/generated > "$file"
    fi
}

# whole FILE COMMAND...
whole()
{
    local file=$1
    shift
    "$@" > build/generated
    if cmp -s "$file" build/generated; then return; fi
    if [ -n "$check" ]; then
        echo "$file is stale: run make docs"
        stale=1
    else
        mkdir -p "$(dirname "$file")"
        cat build/generated > "$file"
    fi
}

fenced() { echo '```asm'; "$@"; echo '```'; }

check=${1:-}
mkdir -p build
part docs/design.md sites docs/sites.sh
whole docs/edges.md /usr/bin/python3 docs/edges.py
part docs/man/hshm-segment.5 format /usr/bin/python3 docs/format.py
if [ -x "$tool" ]; then
    part README.md options "$tool" options --markdown
    part docs/man/libhshm_preload.7 options "$tool" options --man
    if "$tool" help top > build/generated; then     # else it was built without ncurses
        part docs/man/hshm.1 commands "$tool" help --man
        whole packaging/completions/hshm.bash "$tool" completion bash
        whole packaging/completions/_hshm "$tool" completion zsh
        whole packaging/completions/hshm.fish "$tool" completion fish
    fi
fi
# What a compiler makes differs; what must not be in it does not.
if [ -z "$check" ]; then
    part docs/design.md fast-path fenced docs/fastpath.sh
elif [ -f build/libhshm_preload.so ] && ! docs/fastpath.sh > build/generated; then
    echo "the fast path of malloc or free has an atomic read-modify-write: see docs/fastpath.sh"
    stale=1
fi
rm -f build/generated
exit $stale
