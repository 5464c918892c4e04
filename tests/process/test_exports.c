/* The library exports the whole malloc family, under names that programs really ask for, and
 * nothing else. */
#include "tests/process/run.h"

/* Names of glibc's that allocate, resize, free or tell of the heap; C23's come from us alone. */
#define FAMILY                                                                                     \
    "^(malloc|calloc|realloc|reallocarray|free|cfree|posix_memalign|aligned_alloc|memalign|"       \
    "valloc|pvalloc|mallinfo2?|mallopt|malloc_[a-z_]+|__libc_(mall|calloc|realloc|free$|memalign|" \
    "valloc|pvalloc)[a-z]*|__posix_memalign|free_sized|free_aligned_sized)$"

static const char names[] =
    "names() { nm -D --defined-only \"$1\" | sed 's/.* [TWBD] //;s/@.*//' | sort -u; }";

Test(exports, every_name_of_glibcs_malloc_family_is_ours_too)
{
    struct outcome o =
        shell("%s; libc=$(ldd /bin/sh | sed -n 's/.*libc.so.6 => \\([^ ]*\\).*/\\1/p'); "
              "names $libc | grep -E '%s' | grep -v malloc_hook > $TMPDIR/libc; "
              "test $(wc -l < $TMPDIR/libc) -gt 20 || echo too few; "
              "names $PRELOAD | comm -23 $TMPDIR/libc -",
              names, FAMILY);
    cr_assert_str_eq(o.out, "", "glibc has, we do not: %s", o.out);
    cr_assert_str_eq(o.err, "");
}

Test(exports, nothing_but_the_family_and_the_wrappers_is_exported)
{
    struct outcome o = shell("%s; names $PRELOAD | grep -vE '%s' | tr '\\n' ' '", names, FAMILY);
    static const char *const allowed[] = { "_Exit",          "_Fork",
                                           "_exit",          "clone",
                                           "dlopen",         "dlsym",
                                           "fdopen",         "fmemopen",
                                           "fopen",          "fopen64",
                                           "fopencookie",    "fork",
                                           "freopen",        "freopen64",
                                           "madvise",        "mlockall",
                                           "mprotect",       "prctl",
                                           "mmap",           "mmap64",
                                           "munmap",         "mremap",
                                           "open_memstream", "open_wmemstream",
                                           "popen",          "pthread_setspecific",
                                           "tmpfile",        "tmpfile64",
                                           "daemon",         "forkpty",
                                           "hshm_table_1",   "sigaction",
                                           "__sigaction",    "signal",
                                           "bsd_signal",     "ssignal",
                                           "sysv_signal",    "__sysv_signal",
                                           "sigignore",      NULL };
    for (char *name = strtok(o.out, " "); name; name = strtok(NULL, " ")) {
        int known = strncmp(name, "cu", 2) == 0 && name[2] >= 'A' && name[2] <= 'Z';
        for (int i = 0; allowed[i]; i++)
            known |= strcmp(allowed[i], name) == 0;
        cr_expect(known, "%s is exported", name);
    }
}

/* The loader takes malloc@OURS for no program's malloc@GLIBC_2.2.5. */
Test(exports, no_name_has_a_version)
{
    struct outcome o = shell("nm -D --defined-only --with-symbol-versions $PRELOAD | grep @");
    cr_assert_str_eq(o.out, "");
}

Test(exports, the_library_needs_libc_alone)
{
    struct outcome o = shell("readelf -d $PRELOAD | grep NEEDED | grep -vE 'libc.so.6|ld-linux'");
    cr_assert_str_eq(o.out, "");
}
