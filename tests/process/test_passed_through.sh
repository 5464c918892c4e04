#!/bin/bash
# Programs that run as they would without us, and C++.  Lines 'ok NAME' and 'FAIL NAME' as tests/run reads them.
cd "$TMPDIR" || exit 1
export LC_ALL=C
bad=0

# check NAME STATUS OUTPUT COMMAND...: the last line of its output, and its exit status
check() {
    local name=$1 status=$2 want=$3 got rc
    shift 3
    got=$(timeout 60 "$@" 2> said)
    rc=$?
    if [ $rc = "$status" ] && [ "$got" = "$want" ]; then
        echo "ok $name"
    else
        echo "FAIL $name: status $rc, said '$got' $(head -c 300 said)"
        bad=1
    fi
}
with=(env LD_PRELOAD="$TEST_PRELOAD" HSHM_SEGMENT=through)

cat > where.c <<'C'
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
int main(void)
{
    uintptr_t p = (uintptr_t)malloc(100), q = (uintptr_t)realloc(malloc(50), 200000);
    int heap = (p >= 0x480000000000 && p < 0x540000000000) + (q >= 0x480000000000 && q < 0x540000000000);
    puts(heap == 2 ? "ours" : heap ? "mixed" : "its own");
    free((void *)p);
    free((void *)q);
    return 0;
}
C
cc -o where where.c || exit 1
check a_program_is_served 0 ours "${with[@]}" ./where

if cc -static -o where-static where.c 2> log; then
    check a_static_program_runs 0 "its own" "${with[@]}" ./where-static
else
    echo "skipped a_static_program_runs no static C library"
fi
if cc -m32 "-I/usr/include/$(cc -print-multiarch)" -o where-32 where.c 2> log; then
    check a_32_bit_program_runs 0 "its own" "${with[@]}" ./where-32
    if grep -q 'wrong ELF class' said && [ "$(wc -l < said)" = 1 ]; then
        echo "ok a_32_bit_program_gets_the_loaders_notice"
    else
        echo "FAIL a_32_bit_program_gets_the_loaders_notice: $(head -c 300 said)"
        bad=1
    fi
else
    echo "skipped a_32_bit_program_runs no 32-bit C library"
fi

# Its malloc is in the program and wins; what it asks of libc is consistent.
cat > own.c <<'C'
#include <stddef.h>
static char arena[1 << 22];
static size_t top;
void *malloc(size_t n)
{
    size_t *p = (size_t *)(arena + top);
    top += (n + 31) & ~(size_t)15;
    p[0] = n;
    return p + 2;
}
void free(void *p) { (void)p; }
void *calloc(size_t n, size_t m) { return malloc(n * m); }
void *realloc(void *p, size_t n)
{
    char *to = malloc(n), *from = p;
    size_t have = from ? ((size_t *)p)[-2] : 0;
    for (size_t i = 0; i < have && i < n; i++)
        to[i] = from[i];
    return to;
}
C
cc -fno-builtin -O0 -o where-own where.c own.c || exit 1
check a_program_with_a_malloc_of_its_own_runs 0 "its own" "${with[@]}" ./where-own

for kind in address thread; do
    if cc -fsanitize=$kind $([ $kind = address ] && echo -static-libasan) -o where-$kind where.c 2> log; then
        check a_program_with_${kind}_sanitizer_runs 0 "its own" "${with[@]}" ./where-$kind
        # One that is linked statically shows no name of its own to us; its malloc wins all the same.
        if [ $kind = thread ] && ! grep -q '^hshm.*a sanitizer is at work' said; then
            echo "FAIL a_program_with_${kind}_sanitizer_is_told_so: $(head -c 300 said)"
            bad=1
        fi
    fi
done

# The loader drops us in a program with more rights than its user.
if [ "$(id -u)" = 0 ] && command -v setpriv > log; then
    cp where where-suid
    chmod 4755 where-suid
    chmod 755 . where
    check a_setuid_program_is_left_alone 0 "its own" setpriv --reuid=65534 --clear-groups "${with[@]}" ./where-suid
    rm -f /dev/shm/hshm*-65534-through
fi

if command -v c++ > log; then
    cat > new.cc <<'C'
#include <cstdint>
#include <cstdio>
#include <map>
#include <new>
#include <string>
#include <vector>
static bool ours(const void *p) { return uintptr_t(p) >= 0x480000000000 && uintptr_t(p) < 0x540000000000; }
#define expect(x) do { if (!(x)) { std::printf("line %d: %s\n", __LINE__, #x); return 1; } } while (0)
struct alignas(256) wide { char c[300]; };
static int handled;
static void handler()
{
    if (++handled == 3)
        std::set_new_handler(nullptr);
}
int main()
{
    char *p = new char[100];
    int *q = new int;
    wide *w = new wide[3];
    expect(ours(p) && ours(q) && ours(w) && uintptr_t(w) % 256 == 0);
    delete[] p;
    delete q;
    delete[] w;
    volatile size_t huge = SIZE_MAX / 4;
    expect(new (std::nothrow) char[huge] == nullptr);
    bool thrown = false;
    try {
        delete[] new char[huge];
    } catch (const std::bad_alloc &) {
        thrown = true;
    }
    expect(thrown);
    std::set_new_handler(handler);
    thrown = false;
    try {
        delete[] new char[huge];
    } catch (const std::bad_alloc &) {
        thrown = true;
    }
    expect(thrown && handled == 3);
    std::map<std::string, std::vector<int>> m;
    for (int i = 0; i < 10000; i++)
        m["key " + std::to_string(i % 1000)].push_back(i);
    expect(m.size() == 1000 && m["key 7"].back() == 9007);
    std::puts("fine");
    return 0;
}
C
    c++ -O1 -std=c++17 -o new new.cc || exit 1
    check operator_new_throws_calls_its_handler_and_aligns 0 fine "${with[@]}" ./new
else
    echo "skipped operator_new_throws_calls_its_handler_and_aligns no C++ compiler"
fi
exit $bad
