#!/bin/bash
# The library on aarch64 (qemu-user), with musl, and compiled for riscv64.   timeout: 280
# Under qemu-user there is no ptrace, its madvise only claims to do what it is asked for, and time
# means nothing: what is tried there is the list below, in a segment.  Forks of a shared heap are not
# in it: qemu-user's child waits for a lock of qemu's own.
cd "$TEST_ROOT" || exit 1
bad=0
export HSHM_SIZE=1G

result() { if [ "$2" = 0 ]; then echo "ok $1"; else echo "FAIL $1: ${*:3}"; bad=1; fi; }
said() { head -c 300 "$TMPDIR/said" | tr '\n' ' '; }

# ---- musl: plain programs, alone and together with glibc ---------------------------------------
if command -v musl-gcc > /dev/null; then
    make -s musl > "$TMPDIR/said" 2>&1
    result musl_builds $? "$(said)"
    for what in work family; do
        timeout 60 env LD_PRELOAD="$PWD/build/musl/libhshm_preload.so" HSHM_SEGMENT=musl \
            build/musl/tests/prog_plain $what > "$TMPDIR/said" 2>&1
        rc=$?
        [ -s "$TMPDIR/said" ] && rc=1
        result "musl_$what" $rc "$(said)"
    done
    # each of the two makes the segment, the other joins, reads and frees
    for first in musl glibc; do
        if [ $first = musl ]; then a=musl/ b=; else a='' b=musl/; fi
        rm -f "$TMPDIR/address" # the other one's would be read before this one writes
        LD_PRELOAD=$PWD/build/${a}libhshm_preload.so HSHM_SEGMENT=both "build/${a}tests/prog_plain" say 60 > "$TMPDIR/address" &
        pid=$!
        for _ in $(seq 200); do [ -s "$TMPDIR/address" ] && break; sleep 0.05; done
        LD_PRELOAD=$PWD/build/${b}libhshm_preload.so HSHM_SEGMENT=both \
            "build/${b}tests/prog_plain" take "$(cat "$TMPDIR/address")" > "$TMPDIR/said" 2>&1
        [ "$(cat "$TMPDIR/said")" = 'from another libc' ] && "$TEST_TOOL" check -q both &&
            "$TEST_TOOL" who both | grep -q ' prog_plain  *alive'
        result "musl_and_glibc_share_what_${first}_made" $? "$(said)"
        kill $pid
        wait $pid 2> /dev/null
        "$TEST_TOOL" reclaim both > /dev/null
    done
else
    echo "skipped musl there is no musl-gcc"
fi

# ---- aarch64 --------------------------------------------------------------------------------------
list='
family   every_block_is_aligned_to_16
family   every_alignment_is_kept
family   free_keeps_errno
family   calloc_gives_zeros_also_in_used_memory
family   realloc_keeps_the_bytes
family   all_of_the_usable_size_is_ours_to_use
family   pointers_of_libc_are_freed_and_resized
memory   memory_not_needed_reads_zero
memory   advice_that_private_memory_takes_succeeds
leaks    leaks
'
arm() { timeout 120 qemu-aarch64 -L /usr/aarch64-linux-gnu "$@"; }
if command -v qemu-aarch64 aarch64-linux-gnu-gcc > /dev/null; then
    make -s aarch64 > "$TMPDIR/said" 2>&1
    result aarch64_builds $? "$(said)"
    while read -r program check; do
        [ -n "$program" ] || continue
        arm -E LD_PRELOAD="$PWD/build/aarch64/libhshm_preload.so" -E HSHM_SEGMENT=arm \
            "build/aarch64/tests/prog_$program" "$check" > "$TMPDIR/said" 2>&1 < /dev/null
        rc=$?
        [ -s "$TMPDIR/said" ] && rc=1
        result "aarch64_${program}_$check" $rc "$(said)"
        "$TEST_TOOL" reclaim > /dev/null
    done <<< "$list"
    # the command of this machine reads the segment of that one
    arm -E LD_PRELOAD="$PWD/build/aarch64/libhshm_preload.so" -E HSHM_SEGMENT=arm -E HSHM_PERSIST=1 \
        build/aarch64/tests/prog_leaks leaks > "$TMPDIR/said" 2>&1
    arm build/aarch64/hshm check arm > "$TMPDIR/said" 2>&1 && "$TEST_TOOL" check arm >> "$TMPDIR/said" 2>&1 &&
        [ "$(grep -c sound "$TMPDIR/said")" = 2 ]
    result aarch64_segment_is_sound_for_both_machines $? "$(said)"
    "$TEST_TOOL" rm -f arm
else
    echo "skipped aarch64 there is no qemu-aarch64 or no compiler for it"
fi

# ---- riscv64 ----------------------------------------------------------------------------------------
if command -v riscv64-linux-gnu-gcc > /dev/null; then
    make -s riscv64 > "$TMPDIR/said" 2>&1 && file -L build/riscv64/libhshm_preload.so | grep -q RISC-V
    result riscv64_compiles $? "$(said)"
else
    echo "skipped riscv64 there is no compiler for it"
fi
exit $bad
