/* Programs and their device memory, on the test double of the CUDA driver. */
#include "tests/process/run.h"

#define SETTINGS                                                                                   \
    "HSHM_SIZE=64M HSHM_GPU=on LD_LIBRARY_PATH=\"$BIN\"/fakes FAKE_MEMORY=67108864 HSHM_SEGMENT="

#define GPU_TEST(check, settings)                                                                  \
    Test(gpu, check)                                                                               \
    {                                                                                              \
        assert_ran(run(SETTINGS #check " " settings, "prog_gpu " #check));                         \
    }

/* It says one line, and goes on. */
#define GPU_TEST_SAYS(check, settings, words)                                                      \
    Test(gpu, check)                                                                               \
    {                                                                                              \
        struct outcome o = run(SETTINGS #check " " settings, "prog_gpu " #check);                  \
        cr_assert_eq(o.status, 0, "%d: %s", o.status, o.err);                                      \
        cr_assert(strstr(o.err, words), "%s", o.err);                                              \
    }

GPU_TEST(every_row_is_substituted, "")
GPU_TEST(the_first_form_of_cuGetProcAddress_is_answered, "")
GPU_TEST(everything_else_is_the_drivers, "")
GPU_TEST(per_thread_streams_have_their_own, "")
GPU_TEST(the_future_is_passed_through_unless_it_is_the_same, "")
GPU_TEST(next_is_seen_from_the_caller, "")
GPU_TEST(nothing_is_found_where_there_is_no_driver, "LD_LIBRARY_PATH=")
GPU_TEST(the_global_scope_is_found_with_a_driver, "")
GPU_TEST(blocks_hold_what_is_written, "")
GPU_TEST(large_blocks_lie_across_chunks, "")
GPU_TEST(wrong_arguments_get_the_drivers_answer, "")
GPU_TEST(wrong_frees_are_refused, "")
GPU_TEST(pitch_is_as_the_drivers, "")
GPU_TEST(pointers_look_like_cudaMallocs, "")
GPU_TEST(memory_info_is_what_it_would_be, "")
GPU_TEST(empty_chunks_go_back, "")
GPU_TEST(managed_and_stream_ordered_memory_is_the_drivers, "")
GPU_TEST(a_block_is_reused_only_when_its_work_is_done, "")
GPU_TEST(a_free_waits_for_the_device, "")
GPU_TEST(a_deferred_free_does_not_wait, "HSHM_GPU_FREE=deferred")
GPU_TEST(a_free_in_stream_order_does_not_wait, "")
GPU_TEST(a_capture_is_not_disturbed, "")
GPU_TEST(freed_memory_is_cleared, "HSHM_GPU_ZERO=1")
GPU_TEST_SAYS(what_does_not_fit_comes_from_the_driver, "HSHM_GPU_SIZE=32M FAKE_MEMORY=200000000",
              "no room for 40 MiB")
GPU_TEST(what_does_not_fit_fails, "HSHM_GPU_SIZE=32M HSHM_GPU_FULL=fail")
GPU_TEST(everything_comes_back, "HSHM_GPU_FULL=fail")
GPU_TEST(a_reset_frees_what_the_process_made, "")
GPU_TEST(the_last_release_does_too, "")
GPU_TEST(a_context_takes_its_blocks_with_it, "")
GPU_TEST(devices_are_apart, "FAKE_DEVICES=2")
GPU_TEST(peer_access_covers_chunks_made_before_and_after, "FAKE_DEVICES=2")
GPU_TEST(an_address_is_valid_in_all, "")
GPU_TEST(sixteen_see_the_same, "")
GPU_TEST(memory_outlives_who_made_it, "")
GPU_TEST(a_block_of_another_can_be_freed, "")
GPU_TEST(handles_open_at_the_same_address, "")
GPU_TEST(handles_are_checked, "")
GPU_TEST(foreign_handles_are_the_drivers, "")
GPU_TEST(a_killed_openers_hold_ends, "")
GPU_TEST(memory_goes_with_the_last_member, "")
GPU_TEST_SAYS(a_relocated_member_opens_handles, "", "lies at another address in this program")
GPU_TEST(a_stopped_member_stops_nobody, "")
GPU_TEST(threads_share_a_device, "")
GPU_TEST(a_forked_child_has_no_part, "")
GPU_TEST(fork_before_the_driver_starts_is_nothing, "")
GPU_TEST(what_a_program_had_ends_with_exec, "HSHM_EXIT=reclaim")
GPU_TEST(a_program_may_close_all_descriptors, "")
GPU_TEST(it_has_a_thread_only_after_an_allocation, "")

Test(gpu, bytes_come_back_from_the_killed, .timeout = 1500)
{
    assert_ran(run(SETTINGS "killed HSHM_EXIT=reclaim",
                   "env KILLS=%ld \"$BIN\"/prog_gpu "
                   "bytes_come_back_from_the_killed",
                   30 * scale()));
}

Test(gpu, neighbours_survive_kills, .timeout = 1500)
{
    assert_ran(run(SETTINGS "neighbours HSHM_EXIT=reclaim FAKE_MEMORY=1000000000",
                   "env KILLS=%ld \"$BIN\"/prog_gpu "
                   "neighbours_survive_kills",
                   24 * scale()));
}

/* ---- where there is nothing to share ------------------------------------------------------------ */

Test(gpu, the_driver_serves_without_a_segment_or_the_option)
{
    assert_ran(run("HSHM_GPU=on LD_LIBRARY_PATH=\"$BIN\"/fakes", "prog_gpu the_driver_serves"));
    assert_ran(run("HSHM_SEGMENT=none HSHM_GPU=off LD_LIBRARY_PATH=\"$BIN\"/fakes",
                   "prog_gpu the_driver_serves"));
    assert_ran(
        run("HSHM_SEGMENT=default LD_LIBRARY_PATH=\"$BIN\"/fakes", "prog_gpu the_driver_serves"));
}

/* A probe or a call of the driver's that fails: one line, and the program has what it would have. */
Test(gpu, the_driver_serves_where_a_probe_fails)
{
    static const char *const wrong[] = { "FAKE_NO_VMM=1", "FAKE_FAIL=cuDeviceGetAttribute:1",
                                         "FAKE_FAIL=cuDeviceGetUuid_v2:1",
                                         "FAKE_FAIL=cuDeviceTotalMem_v2:1" };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct outcome o =
            run(SETTINGS "probe ", "env %s \"$BIN\"/prog_gpu the_driver_serves", wrong[i]);
        cr_assert_eq(o.status, 0, "%s: %s", wrong[i], o.err);
        cr_assert(strstr(o.err, "its memory is not shared"), "%s", o.err);
    }
    struct outcome o =
        run(SETTINGS "probe HSHM_GPU=require FAKE_NO_VMM=1", "prog_gpu the_driver_serves");
    cr_assert_eq(o.status, 78, "%d %s", o.status, o.err);
}

/* Each call of the driver's, failing once: the next allocation is served again. */
Test(gpu, a_failing_call_of_the_drivers_is_survived)
{
    static const char *const calls[] = { "cuMemCreate", "cuMemExportToShareableHandle", "cuMemMap",
                                         "cuMemSetAccess", "cuMemAddressReserve" };
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        struct outcome o = run(SETTINGS "failing ",
                               "env FAKE_FAIL=%s:1 \"$BIN\"/prog_gpu "
                               "a_capture_is_not_disturbed",
                               calls[i]);
        cr_assert_eq(o.status, 0, "%s: %s", calls[i], o.err);
    }
}

/* A host program has nothing of all this: no library is looked for, no thread, socket or file. */
Test(gpu, a_program_without_a_driver_is_not_touched)
{
    struct outcome o =
        shell("LD_PRELOAD= strace -f -o $TMPDIR/trace -E LD_PRELOAD=$PRELOAD -E HSHM_GPU=on "
              "-E HSHM_SEGMENT=host \"$BIN\"/prog_settings is_served; "
              "grep -cE 'clone3?\\(|socket\\(|lib(cuda|amdhip)|ftruncate\\([0-9]+, [0-9]{12}' "
              "$TMPDIR/trace; "
              "grep -c openat $TMPDIR/trace");
    int touched = -1, opened = 0;
    sscanf(o.out, "%d %d", &touched, &opened);
    cr_assert_eq(touched, 0, "%s%s", o.out, o.err);
    cr_assert_gt(opened, 0, "strace saw nothing: %s", o.err);
}

/* ---- the card's memory ------------------------------------------------------------------------------ */

Test(gpu, the_cards_memory_is_free_after_the_last_member)
{
    struct outcome o =
        shell("mkdir $TMPDIR/card && mount -t tmpfs -o size=64m tmpfs $TMPDIR/card || exit 77\n"
              "for c in memory_outlives_who_made_it handles_open_at_the_same_address "
              "everything_comes_back; do\n"
              "env -u FAKE_MEMORY HSHM_SIZE=64M HSHM_GPU=on HSHM_GPU_FULL=fail HSHM_SEGMENT=card "
              "LD_LIBRARY_PATH=$BIN/fakes "
              "FAKE_CARD=$TMPDIR/card LD_PRELOAD=$PRELOAD $BIN/prog_gpu $c || exit 1\n"
              "df --output=used $TMPDIR/card | tail -1; done\n umount $TMPDIR/card");
    if (o.status == 77)
        cr_skip_test("cannot mount a tmpfs");
    cr_assert_eq(o.status, 0, "%s", o.err);
    int used[3] = { 1, 1, 1 };
    sscanf(o.out, "%d %d %d", &used[0], &used[1], &used[2]);
    cr_assert(used[0] == 0 && used[1] == 0 && used[2] == 0, "%s", o.out);
}
