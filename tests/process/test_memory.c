/* Advice, protection, locks and closed descriptors: what programs do to memory that malloc gave
 * means what it means on private memory. */
#include "tests/process/run.h"

#define MEMORY(check) TEST_BOTH(memory, "prog_memory", check)

MEMORY(memory_not_needed_reads_zero)
MEMORY(advice_that_private_memory_takes_succeeds)
MEMORY(a_block_is_whole_again_after_protection)
MEMORY(code_runs_in_a_block)
MEMORY(malloc_trim_gives_memory_back)
MEMORY(locking_all_memory_fills_no_segment)
MEMORY(locking_future_memory_fills_no_segment)
MEMORY(locked_memory_is_given_back_and_calloc_gives_zeros)
MEMORY(a_program_may_close_every_descriptor)
MEMORY(no_descriptor_stays_open)

Test(memory, free_memory_goes_back_after_the_delay)
{
    assert_ran(run("HSHM_PURGE_DELAY=20", "prog_memory free_memory_goes_back_after_the_delay"));
    assert_ran(run("HSHM_PURGE_DELAY=20 HSHM_WARM=0 HSHM_SEGMENT=purge",
                   "prog_memory free_memory_goes_back_after_the_delay"));
    assert_ran(run("HSHM_PURGE_DELAY=-1", "prog_memory free_memory_stays_if_asked_to"));
    assert_ran(run("HSHM_PURGE_DELAY=-1 HSHM_SEGMENT=purge HSHM_SIZE=1G",
                   "prog_memory free_memory_stays_if_asked_to"));
}

/* These two end without exit(): nobody removes the segment's file. */
Test(memory, a_guard_page_in_a_block_guards)
{
    assert_ran(run("", "prog_memory a_guard_page_in_a_block_guards"));
    assert_ran(run("HSHM_SEGMENT=guard", "prog_memory a_guard_page_in_a_block_guards"));
    shell("rm -f /dev/shm/hshm*-guard");
}

Test(memory, a_program_without_descriptors_goes_on)
{
    assert_ran(run("", "prog_memory a_program_without_descriptors_goes_on"));
    assert_ran(run("HSHM_SEGMENT=none", "prog_memory a_program_without_descriptors_goes_on"));
    shell("rm -f /dev/shm/hshm*-none");
}
