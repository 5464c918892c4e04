/* Processes that share nothing but HSHM_SEGMENT pass each other blocks: what one made the other
 * reads, resizes and frees.   timeout: 1500 */
#include "tests/process/run.h"

static void pass_blocks(const char *settings, long blocks, long mib)
{
    struct outcome o = run(settings, "env TOOL=%s \"$BIN\"/prog_one_heap %ld %ld",
                           setting("TEST_TOOL", "build/hshm"), blocks, mib);
    unsigned long blocks_before, bytes_before, blocks_after, bytes_after;
    cr_assert_eq(o.status, 0, "exit status %d: %s%s", o.status, o.err, o.out);
    int n = sscanf(o.out, "before \"blocks\":%lu,\"bytes\":%lu after \"blocks\":%lu,\"bytes\":%lu",
                   &blocks_before, &bytes_before, &blocks_after, &bytes_after);
    cr_assert_eq(n, 4, "it said: %s", o.out);
    cr_assert_eq(blocks_before, blocks_after, "blocks are lost: %s", o.out);
    cr_assert_eq(bytes_before, bytes_after, "bytes are lost: %s", o.out);
    cr_log_info("%s%s", o.out, o.err);
}

Test(one_heap, blocks_made_in_one_process_are_read_resized_and_freed_in_another)
{
    long percent = scale();
    pass_blocks("HSHM_SEGMENT=one HSHM_SIZE=4G", 100000 * percent, percent >= 100 ? 1700 : 200);
}

Test(one_heap, the_page_allocator_passes_blocks_too)
{
    pass_blocks("HSHM_SEGMENT=one HSHM_SIZE=1G HSHM_ALLOCATOR=page", 20000, 50);
}
