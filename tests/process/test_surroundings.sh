#!/bin/bash
# Other libraries around us: interposers, those that need much thread-local storage, and a loader
# that is told to open us later, or in a program with more rights than its user.
# Lines 'ok NAME', 'FAIL NAME' and 'skipped NAME reason' as tests/run reads them.
cd "$TMPDIR" || exit 1
export LC_ALL=C
bad=0

# check NAME OUTPUT COMMAND...: it succeeds, prints that, and says nothing
check() {
    local name=$1 want=$2 got rc
    shift 2
    got=$(timeout -k 1 20 "$@" 2> said < /dev/null)
    rc=$?
    if [ $rc = 0 ] && [ "$got" = "$want" ] && [ ! -s said ]; then
        echo "ok $name"
    else
        echo "FAIL $name: status $rc, printed '$(head -c 200 <<< "$got")', said: $(head -c 300 said)"
        bad=1
    fi
}

# ---- interposers of what we and the C library call -----------------------------------------------
other=$TEST_BIN/lib_interposer.so
for order in "$other:$TEST_PRELOAD" "$TEST_PRELOAD:$other"; do
    side=$([ "${order%%:*}" = "$other" ] && echo before || echo after)
    for segment in "" around; do
        for one in "prog_family names_with_libc_in_them_are_the_same_heap" "prog_settings threads_work" \
            "prog_life libraries_come_and_go" "prog_memory a_program_may_close_every_descriptor" \
            "prog_memory malloc_trim_gives_memory_back"; do
            check "an_interposer_${side}_us${segment:+_in_a_segment}/${one#* }" "" \
                env LD_PRELOAD="$order" ${segment:+HSHM_SEGMENT=$segment} HSHM_SIZE=1G "$TEST_BIN/${one% *}" "${one#* }"
        done
    done
done

# Where all is libc's, the look for its malloc asks for memory before there is any.
for order in "$other:$TEST_PRELOAD" "$TEST_PRELOAD:$other"; do
    side=$([ "${order%%:*}" = "$other" ] && echo before || echo after)
    check "an_interposer_${side}_us_in_a_program_that_keeps_libcs_malloc" "" \
        env LD_PRELOAD="$order" HSHM_ALLOCATOR=malloc "$TEST_BIN/prog_settings" threads_work
done

# ---- libraries with thread-local storage of their own ----------------------------------------------
for i in 1 2 3 4 5 6 7 8 9 10 11 12; do
    printf '__thread int tls%d[300] = { %d };\nint get%d(void) { return tls%d[0]++; }\n' $i $i $i $i > tls$i.c
    model=$([ $((i % 2)) = 0 ] && echo initial-exec || echo global-dynamic)
    cc -fPIC -shared -ftls-model=$model -o libtls$i.so tls$i.c &
done
wait
{
    seq -f 'int get%g(void);' 12
    cat <<'C'
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
static int sum(void)
{
    int n = 0;
C
    seq -f '    n += get%g();' 12
    cat <<'C'
    return n;
}
static void *thread(void *p)
{
    free(p);
    p = malloc(3000);
    return sum() == 78 ? p : NULL;
}
int main(void)
{
    int good = sum() == 78;
    for (int i = 0; i < 20; i++) {
        pthread_t t;
        void *p;
        pthread_create(&t, NULL, thread, malloc(2000));
        pthread_join(t, &p);
        good += p != NULL;
        free(p);
    }
    printf("%d\n", good);
    return 0;
}
C
} > tls.c
cc -pthread -o tls tls.c -L. $(seq -f '-ltls%g' 12) -Wl,-rpath,"$PWD" || exit 1
check twelve_libraries_with_static_tls 21 env LD_PRELOAD="$TEST_PRELOAD" HSHM_SEGMENT=around ./tls

# ---- opened by a program that already has a heap --------------------------------------------------
cat > opens.c <<'C'
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
int main(int argc, char **argv)
{
    char *before = malloc(1000), *q;
    void *us = dlopen(argv[1], RTLD_NOW | (argc > 2 ? RTLD_GLOBAL : RTLD_LOCAL)), *(*its)(size_t);
    if (!us)
        return puts(dlerror());
    *(void **)&its = dlsym(us, "malloc");
    void (*frees)(void *);
    *(void **)&frees = dlsym(us, "free");
    q = its(5000);
    memset(q, 1, 5000);
    before = realloc(before, 2000);
    frees(before); /* libc's, and handed on to it */
    frees(q);
    free(malloc(100));
    dlclose(us);
    puts(q > (char *)0x480000000000 && q < (char *)0x540000000000 ? "fine" : "not ours");
    return 0;
}
C
cc -o opens opens.c || exit 1
check a_program_may_open_the_library_itself fine env HSHM_SEGMENT=around ./opens "$TEST_PRELOAD"
check a_program_may_open_the_library_for_all fine env HSHM_SEGMENT=around ./opens "$TEST_PRELOAD" global

# ---- a /dev/shm where nothing may be executed, as in many containers --------------------------------
if [ "$(id -u)" = 0 ] && unshare --mount mount -t tmpfs -o noexec tmpfs /dev/shm 2> /dev/null; then
    unshare --mount sh -c 'mount -t tmpfs -o noexec tmpfs /dev/shm && exec "$@"' sh \
        env LD_PRELOAD="$TEST_PRELOAD" HSHM_SEGMENT=around "$TEST_BIN/prog_memory" code_runs_in_a_block 2> said
    if [ $? = 1 ] && grep -q 'code in heap memory is refused.*noexec' said && grep -q 'errno 13' said; then
        echo "ok code_in_a_block_is_refused_with_a_line_where_the_file_system_says_noexec"
    else
        echo "FAIL code_in_a_block_is_refused_with_a_line_where_the_file_system_says_noexec: $(head -c 300 said)"
        bad=1
    fi
else
    echo "skipped code_in_a_block_is_refused_with_a_line_where_the_file_system_says_noexec needs root"
fi

# ---- loaded into a set-user-ID program -----------------------------------------------------------
# The loader takes a preload there only from a trusted folder, by its name, with the set-user-ID bit:
# ours lies over a library of such a folder that nothing needs, in a mount namespace of this test.
cat > where.c <<'C'
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
int main(void)
{
    uintptr_t p = (uintptr_t)malloc(100);
    char line[500];
    FILE *maps = fopen("/proc/self/maps", "r");
    int loaded = 0;
    while (maps && fgets(line, sizeof line, maps))
        loaded |= strstr(line, "TRUSTED") != NULL;
    printf("%s, %s\n", loaded ? "loaded" : "not loaded", p >= 0x480000000000 && p < 0x540000000000 ? "ours" : "its own");
    return 0;
}
C
trusted=$(ls /lib/x86_64-linux-gnu/libthread_db.so.1 /lib/x86_64-linux-gnu/libBrokenLocale.so.1 2> /dev/null | head -1)
if [ "$(id -u)" = 0 ] && command -v setpriv > /dev/null && [ -n "$trusted" ] && unshare --mount true 2> /dev/null; then
    real=$(readlink -f "$trusted")
    sed -i "s/TRUSTED/$(basename "$real")/" where.c
    cc -o where where.c || exit 1
    cp where where-suid
    cp "$TEST_PRELOAD" trusted.so
    chmod 4755 where-suid trusted.so
    chmod 755 .
    secure() {
        unshare --mount sh -c 'mount --bind "$1" "$2" && shift 2 && exec "$@"' sh "$PWD/trusted.so" "$real" \
            setpriv --reuid=65534 --clear-groups env HSHM_SEGMENT=around HSHM_LOG="$PWD/log" HSHM_SIZ=1 "$@"
    }
    export -f secure
    export real
    check a_set_user_id_program_that_loads_us_is_left_alone "loaded, its own" \
        bash -c 'secure env LD_PRELOAD=$0 ./where-suid' "$(basename "$trusted")"
    check the_same_program_without_those_rights_is_served "loaded, ours" \
        bash -c 'secure env HSHM_SIZ= LD_PRELOAD=$0 ./where; rm -f said /dev/shm/hshm1-65534-around; exit 0' "$(basename "$trusted")"
    [ ! -e log ] || { echo "FAIL a_set_user_id_program_writes_no_log"; bad=1; }
else
    echo "skipped a_set_user_id_program_that_loads_us_is_left_alone needs root"
fi
exit $bad
