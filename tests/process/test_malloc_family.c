/* The malloc family behaves as glibc's, with a private heap and in a segment. */
#include "tests/process/run.h"

#define FAMILY(check) TEST_BOTH(malloc_family, "prog_family", check)

FAMILY(every_block_is_aligned_to_16)
FAMILY(every_alignment_is_kept)
FAMILY(wrong_alignments_are_refused)
FAMILY(what_does_not_fit_fails_with_ENOMEM)
FAMILY(sizes_of_zero_are_as_in_glibc)
FAMILY(free_keeps_errno)
FAMILY(success_leaves_errno_alone)
FAMILY(calloc_gives_zeros_also_in_used_memory)
FAMILY(what_a_huge_block_left_is_not_zero)
FAMILY(huge_blocks_lose_no_chunk)
FAMILY(realloc_keeps_the_bytes)
FAMILY(all_of_the_usable_size_is_ours_to_use)
FAMILY(pointers_of_libc_are_freed_and_resized)
FAMILY(names_with_libc_in_them_are_the_same_heap)
FAMILY(mallinfo2_tells_what_is_in_use)
FAMILY(mallinfo2_does_not_count_what_another_thread_freed)
FAMILY(malloc_info_writes_xml)
FAMILY(mallopt_accepts_what_tunes_glibc)

/* A segment that is full says so once, with what to do; that line is no surprise here. */
Test(malloc_family, a_full_segment_fails_with_ENOMEM_and_says_so_once)
{
    struct outcome o = run("HSHM_SEGMENT=full HSHM_SIZE=16M", "prog_limits the_heap_fills_up");
    cr_assert_eq(o.status, 0, "%s", o.err);
    cr_assert_not_null(strstr(o.err, "segment full is full"), "%s", o.err);
    cr_assert_null(strchr(strchr(o.err, '\n') + 1, '\n'), "more than one line: %s", o.err);
}
