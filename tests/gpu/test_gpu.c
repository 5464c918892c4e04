/* Programs and their device memory, on the test double of the CUDA driver. */
#include "tests/process/run.h"

#define SETTINGS                                                                                   \
    "HSHM_SIZE=64M HSHM_GPU=on LD_LIBRARY_PATH=\"$BIN\"/fakes FAKE_MEMORY=67108864 HSHM_SEGMENT="

#define GPU_TEST(program, check, settings)                                                         \
    Test(gpu, check)                                                                               \
    {                                                                                              \
        assert_ran(run(SETTINGS #check " " settings, #program " " #check));                        \
    }

/* It says one line, and goes on. */
#define GPU_TEST_SAYS(program, check, settings, words)                                             \
    Test(gpu, check)                                                                               \
    {                                                                                              \
        struct outcome o = run(SETTINGS #check " " settings, #program " " #check);                 \
        cr_assert_eq(o.status, 0, "%d: %s", o.status, o.err);                                      \
        cr_assert(strstr(o.err, words), "%s", o.err);                                              \
    }

GPU_TEST(prog_gpu_names, every_row_is_substituted, "")
GPU_TEST(prog_gpu_names, the_first_form_of_cuGetProcAddress_is_answered, "")
GPU_TEST(prog_gpu_names, everything_else_is_the_drivers, "")
GPU_TEST(prog_gpu_names, per_thread_streams_have_their_own, "")
GPU_TEST(prog_gpu_names, the_future_is_passed_through_unless_it_is_the_same, "")
GPU_TEST(prog_gpu_names, next_is_seen_from_the_caller, "")
GPU_TEST(prog_gpu_names, nothing_is_found_where_there_is_no_driver, "LD_LIBRARY_PATH=")
GPU_TEST(prog_gpu_names, the_global_scope_is_found_with_a_driver, "")
GPU_TEST(prog_gpu, blocks_hold_what_is_written, "")
GPU_TEST(prog_gpu, large_blocks_lie_across_chunks, "")
GPU_TEST(prog_gpu, wrong_arguments_get_the_drivers_answer, "")
GPU_TEST(prog_gpu, wrong_frees_are_refused, "")
GPU_TEST(prog_gpu, pitch_is_as_the_drivers, "")
GPU_TEST(prog_gpu, pointers_look_like_cudaMallocs, "")
GPU_TEST(prog_gpu, memory_info_is_what_it_would_be, "")
GPU_TEST(prog_gpu, empty_chunks_go_back, "")
GPU_TEST(prog_gpu, managed_and_stream_ordered_memory_is_the_drivers, "")
GPU_TEST(prog_gpu, a_block_is_reused_only_when_its_work_is_done, "")
GPU_TEST(prog_gpu, a_free_waits_for_the_device, "")
GPU_TEST(prog_gpu, a_deferred_free_does_not_wait, "HSHM_GPU_FREE=deferred")
GPU_TEST(prog_gpu, a_free_in_stream_order_does_not_wait, "")
GPU_TEST(prog_gpu, a_capture_is_not_disturbed, "")
GPU_TEST(prog_gpu, freed_memory_is_cleared, "HSHM_GPU_ZERO=1")
GPU_TEST_SAYS(prog_gpu, what_does_not_fit_comes_from_the_driver,
              "HSHM_GPU_SIZE=32M FAKE_MEMORY=200000000", "no room for 40 MiB")
GPU_TEST(prog_gpu, what_does_not_fit_fails, "HSHM_GPU_SIZE=32M HSHM_GPU_FULL=fail")
GPU_TEST(prog_gpu, everything_comes_back, "HSHM_GPU_FULL=fail")
GPU_TEST(prog_gpu, a_reset_frees_what_the_process_made, "")
GPU_TEST(prog_gpu, the_last_release_does_too, "")
GPU_TEST(prog_gpu, a_context_takes_its_blocks_with_it, "")
GPU_TEST(prog_gpu, devices_are_apart, "FAKE_DEVICES=2")
GPU_TEST(prog_gpu, peer_access_covers_chunks_made_before_and_after, "FAKE_DEVICES=2")
GPU_TEST(prog_gpu_members, an_address_is_valid_in_all, "")
GPU_TEST(prog_gpu_members, sixteen_see_the_same, "")
GPU_TEST(prog_gpu_members, memory_outlives_who_made_it, "")
GPU_TEST(prog_gpu_members, a_block_of_another_can_be_freed, "")
GPU_TEST(prog_gpu_members, handles_open_at_the_same_address, "")
GPU_TEST(prog_gpu_members, handles_are_checked, "")
GPU_TEST(prog_gpu_members, foreign_handles_are_the_drivers, "")
GPU_TEST(prog_gpu_members, a_killed_openers_hold_ends, "")
GPU_TEST(prog_gpu_members, memory_goes_with_the_last_member, "")
GPU_TEST_SAYS(prog_gpu_members, a_relocated_member_opens_handles, "",
              "lies at another address in this program")
GPU_TEST(prog_gpu_members, a_stopped_member_stops_nobody, "")
GPU_TEST(prog_gpu_members, threads_share_a_device, "")
GPU_TEST(prog_gpu_members, a_forked_child_has_no_part, "")
GPU_TEST(prog_gpu_members, fork_before_the_driver_starts_is_nothing, "")
GPU_TEST(prog_gpu_members, what_a_program_had_ends_with_exec, "HSHM_EXIT=reclaim")
GPU_TEST(prog_gpu_members, a_program_may_close_all_descriptors, "")
GPU_TEST(prog_gpu_members, it_has_a_thread_only_after_an_allocation, "")

Test(gpu, bytes_come_back_from_the_killed, .timeout = 1500)
{
    assert_ran(run(SETTINGS "killed HSHM_EXIT=reclaim",
                   "env KILLS=%ld \"$BIN\"/prog_gpu_members bytes_come_back_from_the_killed",
                   30 * scale()));
}

Test(gpu, neighbours_survive_kills, .timeout = 1500)
{
    assert_ran(run(SETTINGS "neighbours HSHM_EXIT=reclaim FAKE_MEMORY=1000000000",
                   "env KILLS=%ld \"$BIN\"/prog_gpu_members neighbours_survive_kills",
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
              "for c in _members:memory_outlives_who_made_it "
              "_members:handles_open_at_the_same_address :everything_comes_back; do\n"
              "env -u FAKE_MEMORY HSHM_SIZE=64M HSHM_GPU=on HSHM_GPU_FULL=fail HSHM_SEGMENT=card "
              "LD_LIBRARY_PATH=$BIN/fakes "
              "FAKE_CARD=$TMPDIR/card LD_PRELOAD=$PRELOAD $BIN/prog_gpu${c%%:*} ${c#*:} || exit 1\n"
              "df --output=used $TMPDIR/card | tail -1; done\n umount $TMPDIR/card");
    if (o.status == 77)
        cr_skip_test("cannot mount a tmpfs");
    cr_assert_eq(o.status, 0, "%s", o.err);
    int used[3] = { 1, 1, 1 };
    sscanf(o.out, "%d %d %d", &used[0], &used[1], &used[2]);
    cr_assert(used[0] == 0 && used[1] == 0 && used[2] == 0, "%s", o.out);
}
