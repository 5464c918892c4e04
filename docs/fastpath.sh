#!/bin/sh
# Print the machine code of malloc and free, for docs/design.md, up to the calls that
# leave the fast path.  Exit status 1 if there is an atomic read-modify-write, a fence or a
# system call in it.
#
# usage: docs/fastpath.sh [build/libhshm_preload.so]
cd "$(dirname "$0")/.." || exit 1
lib=${1:-build/libhshm_preload.so}
for f in malloc free; do
    set -- $(nm -DS "$lib" | awk -v f="$f" '$4 == f { print $1, $2 }')
    [ $# = 2 ] || { echo "$0: no $f in $lib" >&2; exit 1; }
    printf '%s:\n' "$f"
    objdump -d --no-show-raw-insn --no-addresses --start-address="0x$1" \
      --stop-address=$((0x$1 + 0x$2)) "$lib" |
      sed -nE "s/__libc_$f/$f/g; s/[[:space:]]+\$//; /^\t(nop|data16|cs nop)/d; s/-?0x[0-9a-f]+\(%rip\)(,%[a-z0-9]+)? +# <_GLOBAL_OFFSET_TABLE_[^>]*>/tls_cache@gottpoff(%rip)\1/; s/-?0x[0-9a-f]+\(%rip\)(,%[a-z0-9]+)? +# <([^>]*)>/\2(%rip)\1/; s/^\t/    /p"
done | tee "${TMPDIR:-/tmp}/fastpath.$$"
grep -nE '^ *(lock|mfence|sfence|lfence|syscall|xchg .*\(|cmpxchg)' "${TMPDIR:-/tmp}/fastpath.$$" >&2
found=$?
rm -f "${TMPDIR:-/tmp}/fastpath.$$"
[ $found = 1 ]
