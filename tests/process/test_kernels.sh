#!/bin/bash
# Kernels that lack what ours has, and emulators that only claim to have it.
# Lines 'ok NAME', 'FAIL NAME' and 'skipped NAME reason' as tests/run reads them.
cd "$TMPDIR" || exit 1
export LC_ALL=C
bad=0
kernel=$TEST_BIN/prog_kernel
limit="timeout -k 1 100"

# check NAME COMMAND...: it succeeds and says nothing
check() {
    local name=$1 said rc
    shift
    said=$("$@" 2>&1 < /dev/null)
    rc=$?
    rm -f /dev/shm/hshm1-*-kernels
    if [ $rc = 0 ] && [ -z "$said" ]; then
        echo "ok $name"
    else
        echo "FAIL $name: status $rc, said: $(head -c 400 <<< "$said")"
        bad=1
    fi
}

check an_old_kernel_is_what_the_tests_make_of_this_one "$kernel" old probe
check an_emulator_that_lies_is_what_the_tests_make_of_this_kernel "$kernel" liar probe

# on KIND SEGMENT PROGRAM CHECK
on() {
    $limit env PRELOADED="$TEST_PRELOAD" ${2:+HSHM_SEGMENT="$2"} HSHM_SIZE=1G ${COMMIT:+HSHM_COMMIT="$COMMIT"} \
        "$kernel" "$1" "$TEST_BIN/$3" "$4"
}
for kind in old liar; do
    for segment in "" kernels; do
        where=${segment:+_in_a_segment}
        for one in "prog_family calloc_gives_zeros_also_in_used_memory" "prog_family realloc_keeps_the_bytes" \
            "prog_memory malloc_trim_gives_memory_back" "prog_memory memory_not_needed_reads_zero" \
            "prog_settings threads_work" "prog_memory fork_and_use_the_heap"; do
            check "${kind}_kernel/${one#* }$where" on $kind "$segment" $one
        done
    done
done
# Memory that cannot be given back at all is not zero.
check stingy_kernel/calloc_gives_zeros_also_in_used_memory on stingy kernels prog_family calloc_gives_zeros_also_in_used_memory
COMMIT=reserve check old_kernel/large_blocks_are_reserved on old kernels prog_family realloc_keeps_the_bytes

# A full file system is ENOMEM and not SIGBUS there, too.
if [ "$(id -u)" = 0 ] && unshare --mount mount -t tmpfs tmpfs /dev/shm 2> /dev/null; then
    full() {
        $limit unshare --mount sh -c 'mount -t tmpfs -o size=24m tmpfs /dev/shm && exec "$@"' sh \
            env PRELOADED="$TEST_PRELOAD" HSHM_SEGMENT=kernels HSHM_SIZE=100% HSHM_VERBOSE=0 \
            "$kernel" "$1" "$TEST_BIN/prog_settings" memory_runs_out
    }
    check old_kernel/a_full_file_system_is_ENOMEM full old
    check liar_kernel/a_full_file_system_is_ENOMEM full liar
else
    echo "skipped old_kernel/a_full_file_system_is_ENOMEM needs root"
fi

# A program that has something else where the segment is: it says so, and nothing is mapped over.
LD_PRELOAD="$TEST_PRELOAD" HSHM_SEGMENT=kernels HSHM_SIZE=16M sleep 60 &
sleeper=$!
until "$TEST_TOOL" show -j kernels > shown 2> /dev/null && grep -q '"base"\|"address"' shown; do sleep 0.05; done
base=$(grep -oE '0x4[0-9a-f]{11}|0x5[0-9a-f]{11}' shown | head -1)
cat > taken.c <<'C'
#include <stdio.h>
#include <stdlib.h>
static char here[1 << 20] = "mine";
void start(void);
__asm__(".text\n .globl _start\n_start: and $-16, %rsp\n call start");
void start(void) /* the compiler's start files want low addresses */
{
    char *p = malloc(100000);
    p[0] = 'x';
    free(p);
    puts(here);
    exit(0);
}
C
if cc -mcmodel=large -no-pie -nostartfiles -Wl,--no-relax -Wl,-Ttext-segment="$base" -o taken taken.c 2> log; then
    for run in "env LD_PRELOAD=$TEST_PRELOAD" "env PRELOADED=$TEST_PRELOAD $kernel old"; do
        name=$([[ $run = *old ]] && echo old_kernel/)a_program_whose_own_code_is_where_the_segment_is_goes_on
        out=$(HSHM_SEGMENT=kernels timeout 60 $run ./taken 2> said)
        if [ $? = 0 ] && [ "$out" = mine ] && grep -q 'its address is taken in this program; .*private heap' said; then
            echo "ok $name"
        else
            echo "FAIL $name: '$out' $(head -c 300 said)"
            bad=1
        fi
    done
else
    echo "FAIL a_program_whose_own_code_is_where_the_segment_is_goes_on: cannot link at $base: $(head -c 300 log)"
    bad=1
fi
kill $sleeper
wait $sleeper 2> /dev/null
rm -f /dev/shm/hshm1-*-kernels

# The emulator itself.
if command -v qemu-x86_64 > /dev/null; then
    emulated() {
        $limit qemu-x86_64 -E LD_PRELOAD="$TEST_PRELOAD" -E HSHM_SEGMENT=kernels -E HSHM_SIZE=256M "$TEST_BIN/$1" "$2"
    }
    check qemu/calloc_gives_zeros_also_in_used_memory emulated prog_family calloc_gives_zeros_also_in_used_memory
    check qemu/malloc_trim_gives_memory_back emulated prog_memory malloc_trim_gives_memory_back
    check qemu/threads_work emulated prog_settings threads_work
else
    echo "skipped qemu/calloc_gives_zeros_also_in_used_memory no qemu-x86_64"
fi
exit $bad
