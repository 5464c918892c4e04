#!/bin/bash
# How many instructions the hot paths take, counted by callgrind: seconds tell nothing on a machine that
# others use.  The counts are those of one operation of a benchmark program, its own loop included, as the
# difference of two runs, so that start and end do not count.  A limit is what was measured and some five
# percent: who makes a path dearer on purpose writes the new number here and says why.
root=$(cd "$(dirname "$0")/../.." && pwd)
cd "$TMPDIR" || exit 1
command -v valgrind > /dev/null || { echo "no valgrind"; exit 77; }
bad=0

instructions() {
    valgrind --tool=callgrind --callgrind-out-file=out "$@" 2>&1 > /dev/null |
        sed -n 's/.*Collected : //p'
}

# costs NAME MOST N PROGRAM ARGUMENTS...: %N is the number of operations.  Sweeps go by the clock: where a
# busy machine makes more of them, it is tried again.
costs() {
    local name=$1 most=$2 n=$3 one two each try
    shift 3
    for try in 1 2 3; do
        one=$(LD_PRELOAD=$TEST_PRELOAD instructions "${@/\%N/$n}")
        two=$(LD_PRELOAD=$TEST_PRELOAD instructions "${@/\%N/$((2 * n))}")
        each=$(((two - one + n / 2) / n))
        [ $each -gt "$most" ] || break
    done
    if [ -n "$one" ] && [ $each -gt 10 ] && [ $each -le "$most" ]; then
        echo "ok $name"
    else
        echo "FAIL $name: $each instructions, at most $most"
        bad=1
    fi
    echo "$name: $each" >&2
}

for program in pair replace strings; do
    cc -O2 -pthread -o $program "$root/bench/$program.c" || exit 1
done
cat > remote.c <<'C'
#include <pthread.h>
#include <stdlib.h>
static void *blocks[20000];
static void *take_down(void *unused)
{
    for (int i = 0; i < 20000; i++)
        free(blocks[i]);
    return unused;
}
int main(int argc, char **argv) /* one thread makes them, another frees them */
{
    for (int round = argc > 1 ? atoi(argv[1]) : 1; round; round--) {
        pthread_t thread;
        for (int i = 0; i < 20000; i++)
            blocks[i] = malloc(64);
        pthread_create(&thread, NULL, take_down, NULL);
        pthread_join(thread, NULL);
    }
}
C
cc -O2 -pthread -o remote remote.c || exit 1
echo '#include <stdlib.h>
int main(void) { for (int i = 0; i < 20; i++) if (!malloc(64)) return 1; }' > leave.c
cc -O0 -o leave leave.c || exit 1
# One pair of malloc and free; a random one of 10,000 blocks freed for a new one; a block freed by another thread.
costs a_malloc_and_free_of_64_bytes 77 20000 ./pair %N 64
costs a_random_replacement_of_16_to_1024_bytes 140 20000 ./replace %N 16 1024
costs a_random_replacement_of_16_to_4096_bytes 162 20000 ./replace %N 16 4096
costs a_string_that_grows_through_all_classes 49500 300 ./strings %N
costs twenty_thousand_blocks_that_another_thread_frees 2170000 4 ./remote %N
# A page with blocks of an ended member beside those of this one.
export HSHM_SEGMENT=instructions
LD_PRELOAD=$TEST_PRELOAD sleep 60 & keeper=$!
until LD_PRELOAD=$TEST_PRELOAD ./pair 20 64 > /dev/null && [ -e /dev/shm/hshm1-$(id -u)-$HSHM_SEGMENT ]; do sleep 0.1; done
LD_PRELOAD=$TEST_PRELOAD ./leave
costs a_malloc_and_free_beside_what_an_ended_member_left 134 20000 ./pair %N 64
kill $keeper
wait $keeper
rm -f /dev/shm/hshm1-*-$HSHM_SEGMENT
exit $bad
