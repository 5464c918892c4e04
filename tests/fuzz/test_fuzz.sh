#!/bin/bash
# All inputs of the corpora, and a fuzzer for some seconds where clang has one.
# FUZZ_TIME: how many; more than that finds more (make fuzz).
cd "$(dirname "$0")/../.." || exit 1
bin=${TEST_BIN:-build/tests} tmp=${TMPDIR:-/tmp}/fuzz-$$ status=0
seconds=${FUZZ_TIME:-$((4 * ${TEST_SCALE:-1}))}
export ASAN_OPTIONS=detect_leaks=0:handle_sigbus=1:handle_sigfpe=1
mkdir -p "$tmp"
said() {        # name, status, log
    if [ "$2" = 0 ]; then echo "ok $1"; else echo "FAIL $1"; tail -n 60 "$3"; status=1; fi
}
for what in options segment cgroup; do
    timeout 120 "$bin/replay_$what" "tests/fuzz/corpus_$what" > "$tmp/log" 2>&1
    said "every_input_of_${what}_is_survived" $? "$tmp/log"
    if [ ! -x "$bin/fuzz_$what" ]; then
        echo "skipped fuzzing_$what clang has no libFuzzer here (libclang-rt-14-dev)"
        continue
    fi
    found=$tmp; corpus=$tmp/corpus_$what
    if [ -n "${FUZZ_TIME:-}" ]; then found=build/crashes corpus=build/corpus_$what; fi
    mkdir -p "$found" "$corpus"
    "$bin/fuzz_$what" -max_total_time="$seconds" -timeout=60 -rss_limit_mb=4096 \
        -artifact_prefix="$found/$what-" "$corpus" "tests/fuzz/corpus_$what" > "$tmp/log" 2>&1
    said "fuzzing_$what" $? "$tmp/log"
done
rm -rf "$tmp"
exit $status
