/* hshm.h, with the library alone and under the preload, where it uses the preload's heap. */
#include "tests/process/run.h"

#define ALONE(settings, program, check)                                                            \
    shell("exec timeout -k 1 100 env %s \"$BIN\"/" program " " #check, settings)

#define API_OF(program, check)                                                                     \
    Test(api, check)                                                                               \
    {                                                                                              \
        assert_ran(ALONE("", program, check));                                                     \
        assert_ran(run("HSHM_SEGMENT=names-" #check, program " " #check));                         \
    }
#define API(check)     API_OF("prog_api", check)
#define SYNC(check)    API_OF("prog_api_sync", check)
#define BACKEND(check) API_OF("prog_api_backends", check)
#define STATS(check)   API_OF("prog_api_stats", check)

API(segments_are_made_joined_and_removed)
API(exclusive_means_that_nobody_else_has_made_it)
API(a_joiner_waits_until_the_segment_is_there)
API(many_made_in_a_race_are_all_open_at_once)
API(read_only_finds_and_writes_nothing)
API(segments_are_listed)
API(members_that_are_killed_leave_the_others_running)
API(allocation_keeps_its_promises)
API(what_is_too_large_fails_and_the_heap_goes_on)
API(small_blocks_do_not_leak)
API(threads_come_and_go_without_limit)
API(contexts_of_one_id_clash)
API(pointers_mean_the_same_everywhere)
API(names_are_shared_by_members)
API(references_hold_a_block)
API(published_block_belongs_to_its_name)
API(blocks_change_hands)
API(header_and_roots_are_found_by_all)
API(leaks_are_seen)
SYNC(heaps_of_all_kinds_work_and_are_found_by_id)
SYNC(a_stack_is_given_back_to_its_mark)
SYNC(makers_of_one_heap_at_once_get_one_heap)
SYNC(a_mutex_excludes_and_outlives_its_owner)
SYNC(readers_read_at_once_and_a_writer_is_alone)
SYNC(a_dead_writer_is_told_of_a_dead_reader_is_not)
SYNC(a_lock_outlives_killed_readers_and_writers)
SYNC(an_event_wakes_all_who_wait)
SYNC(a_queue_delivers_each_element_once_and_in_order)
SYNC(a_queue_outlives_killed_producers)

STATS(the_peak_stays_when_blocks_are_gone)
STATS(the_largest_block_is_told)
STATS(what_is_missing_is_told)
STATS(an_older_structure_is_filled_as_far_as_it_goes)
STATS(blocks_are_counted_by_size_class)
STATS(blocks_are_counted_by_member)
STATS(heaps_are_listed_with_what_they_use)
STATS(places_are_told_with_what_they_have)
STATS(each_note_is_forgotten_with_its_block)
STATS(each_pointer_has_a_kind)

BACKEND(files_without_a_name_are_shared_with_children)
BACKEND(private_memory_is_of_its_process)
BACKEND(an_array_serves_all_sizes)
BACKEND(an_array_has_names_header_roots_and_heaps)
BACKEND(an_array_is_shared_at_different_addresses)
BACKEND(an_array_outlives_killed_users)
BACKEND(an_array_may_lie_in_a_block)
BACKEND(threads_share_an_array)
BACKEND(wrong_frees_in_an_array_end_with_a_line)
BACKEND(a_clash_is_told_with_the_name_and_the_addresses)

/* What the suites and the users of HSHM, clio-core and Umpire do. */
#define WORK(check) API_OF("prog_api_workloads", check)
WORK(pages_are_written_and_read)
WORK(seven_sizes_in_four_rounds)
WORK(blocks_are_resized)
WORK(aligned_pages)
WORK(a_window_of_random_blocks)
WORK(blocks_are_freed_at_once)
WORK(blocks_are_freed_in_batches)
WORK(random_sizes_up_to_32_mib)
WORK(small_ones_after_large_ones)
WORK(the_smallest_blocks_do_not_leak)
WORK(a_request_too_large_spoils_nothing)
WORK(eight_threads_at_once)
WORK(three_members_at_once)
WORK(a_large_segment_takes_what_is_used_of_it)
WORK(a_page_is_found_by_the_header)
WORK(wrong_frees_end_with_a_line)
WORK(eleven_hundred_threads_live_at_once)
WORK(short_processes_without_limit)
WORK(a_producer_and_a_consumer)
WORK(who_leaves_takes_no_name_away)
WORK(a_segment_outlives_its_maker)
WORK(a_maker_that_is_killed_leaves_nobody_waiting)

#define HSHM(check)      API_CXX("prog_api_hshm", check)
#define CONTAINER(check) API_CXX("prog_api_containers", check)
#define UMPIRE(check)    API_CXX("prog_api_umpire", check)
#define API_CXX(program, check)                                                                    \
    Test(api, check)                                                                               \
    {                                                                                              \
        if (shell("test -x \"$BIN\"/" program).status)                                             \
            cr_skip_test("no C++ compiler");                                                       \
        assert_ran(ALONE("", program, check));                                                     \
        assert_ran(run("HSHM_SEGMENT=names-" #check, program " " #check));                         \
    }

HSHM(documented_examples_work)
HSHM(examples_work_in_each_backend)
HSHM(custom_header_is_zeroed_and_checked)
HSHM(leak_check_means_something)
HSHM(out_of_memory_is_thrown)
HSHM(threads_have_contexts_and_clashes_are_told)
HSHM(objects_are_moved_and_each_destroyed_once)
HSHM(containers_are_shared_by_two_programs)
CONTAINER(a_vector_is_as_the_standard_one)
CONTAINER(a_string_may_be_set_to_a_part_of_itself)
CONTAINER(a_list_is_as_the_standard_one)
CONTAINER(a_map_is_as_the_standard_one)
CONTAINER(two_programs_share_them)
CONTAINER(two_programs_share_them_at_different_addresses)
CONTAINER(no_memory_leaves_them_as_they_were)
CONTAINER(what_moves_to_another_segment_is_copied)
CONTAINER(a_ring_queue_outlives_who_pushes)
UMPIRE(the_page_says)
UMPIRE(a_resource_of_a_socket_works)
UMPIRE(a_dead_ranks_reference_ends_with_it)
UMPIRE(shims_name_what_has_no_name)
UMPIRE(a_stated_key_needs_no_order)
UMPIRE(random_blocks_shared_by_all_give_everything_back)

/* Virtual functions, std::function, shared_ptr and pmr containers are pointers into one program. */
Test(api, code_works_among_members_of_one_layout)
{
    const char *tool = setting("TEST_TOOL", "build/hshm");
    if (shell("test -x \"$BIN\"/prog_api_hshm").status)
        cr_skip_test("no C++ compiler");
    struct outcome o =
        shell("exec timeout -k 1 60 %s run -L -s names-code-%d -- \"$BIN\"/prog_api_hshm "
              "code_in_segments",
              tool, (int)getpid());
    cr_assert_eq(o.status, 0, "%s", o.err);
    cr_assert_str_eq(o.out, "the same layout\n");
    o = shell(
        "cat /proc/sys/kernel/randomize_va_space; exec timeout -k 1 60 %s run -s names-code-%d "
        "-- \"$BIN\"/prog_api_hshm code_in_segments",
        tool, (int)getpid());
    cr_assert_eq(o.status, 0, "%s", o.err);
    cr_assert(o.out[0] == '0' || strstr(o.out, "another layout"), "%s", o.out);
}

static void compiles_for_devices(const char *compiler, const char *command)
{
    if (shell("command -v %s", compiler).status)
        cr_skip_test("no compiler for devices");
    struct outcome o = shell("%s -std=c++17 -Iinclude -o $TMPDIR/device.o "
                             "tests/process/device_containers.cu",
                             command);
    cr_assert_eq(o.status, 0, "%s%s", o.out, o.err);
}

Test(api, containers_compile_for_cuda)
{
    compiles_for_devices("nvcc", "nvcc -x cu -c");
}

Test(api, containers_compile_for_hip)
{
    if (shell("test -e /usr/include/hip/hip_runtime.h").status)
        cr_skip_test("no compiler for devices");
    compiles_for_devices("clang++",
                         "clang++ -x hip --offload-arch=gfx906 --rocm-path=/usr -nogpulib "
                         "--cuda-device-only -S -include hip/hip_runtime.h");
}

Test(api, the_default_is_the_preloads_segment)
{
    assert_ran(run("HSHM_SEGMENT=names-default", "prog_api the_default_is_the_preloads_segment"));
    assert_ran(run("", "prog_api the_default_is_the_preloads_segment"));
    assert_ran(
        ALONE("HSHM_SEGMENT=names-default", "prog_api", the_default_is_the_preloads_segment));
}

Test(api, a_block_of_malloc_is_known_at_once)
{
    assert_ran(run("HSHM_SEGMENT=names-at-once", "prog_api a_block_of_malloc_is_known_at_once"));
    assert_ran(run("", "prog_api a_block_of_malloc_is_known_at_once"));
}

Test(api, a_newcomer_with_a_private_heap_can_join_every_segment)
{
    assert_ran(run("", "prog_api a_newcomer_can_join_every_segment"));
}

/* A symbol that goes away or changes breaks programs that are linked already: this list only
 * grows, and a new version of the map begins with each release that adds to it. */
Test(api, exports_are_those_that_were_promised)
{
    struct outcome o =
        shell("nm -D --defined-only \"$BIN\"/../libhshm.so | sed 's/.* [TWBDA] //' | "
              "sort | diff - tests/process/api.symbols");
    cr_assert_str_eq(o.out, "", "%s", o.out);
    o = shell("readelf -d \"$BIN\"/../libhshm.so | grep -c 'SONAME.*libhshm.so.0'");
    cr_assert_str_eq(o.out, "1\n");
}

Test(api, header_is_plain_c11_and_cpp17)
{
    static const char flags[] = "-Wall -Wextra -Wpedantic -Werror -fsyntax-only -Iinclude";
    struct outcome o =
        shell("printf '#include <hshm.h>\\nint main(void) { int *p = HSHM_NEW(NULL, int); "
              "p = HSHM_RESIZE_ARRAY(int, p, 3); HSHM_DELETE(p); return 0; }' > $TMPDIR/c; "
              "cc -std=c11 -x c %s $TMPDIR/c && c++ -std=c++17 -x c++ %s $TMPDIR/c",
              flags, flags);
    cr_assert_eq(o.status, 0, "%s", o.err);
}

Test(api, static_library_shows_the_interface_alone)
{
    struct outcome o = shell("nm -g --defined-only \"$BIN\"/../libhshm.a | grep ' [TDBR] ' | "
                             "grep -v ' T hshm_'");
    cr_assert_str_eq(o.out, "", "%s", o.out);
    o = shell("cd \"$BIN\" && cc -x c -o $TMPDIR/a - -x none ../libhshm.a -I $OLDPWD/include "
              "-pthread <<'END'\n"
              "#include <hshm.h>\nint main(void) { hshm_segment *s; "
              "return hshm_open(\"names-static\", 0, &s) || !hshm_alloc(s, 9) || hshm_close(s); }\n"
              "END\n$TMPDIR/a");
    cr_assert_eq(o.status, 0, "%s", o.err);
}
