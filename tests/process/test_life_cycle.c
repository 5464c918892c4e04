/* malloc works from before the first constructor to after the last destructor, through the ends
 * of threads and libraries. */
#include "tests/process/run.h"

#define LIFE(check) TEST_BOTH(life_cycle, "prog_life", check)

LIFE(destructors_of_thread_specific_data_may_malloc)
LIFE(a_program_may_use_every_key)
LIFE(blocks_outlive_their_thread_and_are_freed_by_another)
LIFE(libraries_come_and_go)
LIFE(a_library_bound_deeply_uses_the_same_heap)
LIFE(large_thread_local_storage_works)
LIFE(pointers_of_another_namespace_are_foreign)

static void before_and_after(const char *settings)
{
    struct outcome o =
        run(settings, "prog_life calls_before_constructors_and_after_destructors_work");
    assert_ran(o);
    cr_assert_str_eq(o.out, "atexit\ndestructor\n");
}

Test(life_cycle, calls_before_constructors_and_after_destructors_work_privately)
{
    before_and_after("");
}

Test(life_cycle, calls_before_constructors_and_after_destructors_work_in_a_segment)
{
    before_and_after("HSHM_SEGMENT=life");
}

Test(life_cycle, calls_before_constructors_and_after_destructors_work_under_an_audit_library)
{
    before_and_after("HSHM_SEGMENT=life LD_AUDIT=$BIN/lib_audit.so");
}

static void many_threads(const char *segment)
{
    char settings[100];
    snprintf(settings, sizeof settings, "COUNT=%ld %s", scale() > 1 ? 10000L : 1000L, segment);
    assert_ran(run(settings, "prog_life threads_come_and_go_and_memory_stays_flat"));
}

Test(life_cycle, threads_come_and_go_and_memory_stays_flat_privately)
{
    many_threads("");
}

Test(life_cycle, threads_come_and_go_and_memory_stays_flat_in_a_segment)
{
    many_threads("HSHM_SEGMENT=threads HSHM_SIZE=1G");
}

/* The loader calls dlopen's callers by address; a wrapper must not stand between. */
Test(life_cycle, programs_that_do_not_deepbind_may_be_told_to)
{
    assert_ran(run("HSHM_NO_DEEPBIND=0", "prog_life libraries_come_and_go"));
}
