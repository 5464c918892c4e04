"""What is changed, and the test that must notice: see run.py.

mutant(FILE, WHAT, OLD, NEW, TEST): OLD stands once in FILE.  TEST is GROUP/SUITE[:CASE] as tests/run
takes them, for example process/test_many or scripts/test_kernels.
"""
MUTANTS = []
# Tests with the core linked in are built anew, too.
OWN_CORE = {"test_every_instruction", "test_every_site", "test_gpu_core"}


class Mutant:
    def __init__(self, file, what, old, new, test):
        self.file, self.what, self.old, self.new, self.test = file, what, old, new, test

    def text(self):
        return " ".join((self.file, self.what, self.test))

    def builds(self):
        group, _, suite = self.test.partition("/")
        suite = suite.partition(":")[0]
        if group == "unit":
            return ["build/tests/unit/" + suite]
        more = ["build/tests/%s/%s" % (group, suite)] if suite in OWN_CORE else []
        return ["all"] + more


def mutant(*fields):
    MUTANTS.append(Mutant(*fields))


# ---- the malloc family ------------------------------------------------------------------------------
F, T = "preload/interpose.c", "process/test_malloc_family:"
mutant(F, "reallocarray multiplies without a look", "{\n    size_t n;\n    if (__builtin_mul_overflow(count, size, &n)) {\n        errno = ENOMEM;\n        return NULL;\n    }\n    return realloc(p, n);",
       "{\n    return realloc(p, count * size);", T + "what_does_not_fit")
mutant(F, "posix_memalign takes any power of two", "if (!power_of_two(align) || align < sizeof(void *))", "if (!power_of_two(align))", T + "wrong_alignments")
mutant(F, "posix_memalign sets errno", "    errno = saved;\n    if (!p)\n        return ENOMEM;", "    (void)saved;\n    if (!p)\n        return ENOMEM;", T + "what_does_not_fit")
mutant(F, "aligned_alloc takes any alignment", "if (!power_of_two(align)) {\n        errno", "if (0) {\n        errno", T + "wrong_alignments")
mutant(F, "memalign does not round its alignment", "power *= 2;", "power = align;", T + "every_alignment")
mutant(F, "realloc to 0 does not free", "        if (is_ours(p))\n            free_ours(p);\n        else\n            libc_free(p);\n        return NULL;", "        return NULL;", T + "sizes_of_zero")
mutant(F, "calloc does not clear", "? memset(block, 0, n)", "? block", T + "calloc_gives")
mutant(F, "realloc loses the bytes of what leaves the segment", "    size_t have = mode_size(p);\n    memcpy(to, p, have < n ? have : n);\n    free_ours(p);\n    return to;", "    free_ours(p);\n    return to;", "process/test_settings:blocks_out_of_bounds")
mutant(F, "libc's blocks stay libc's when resized", "!preload_slow || !mode_has_bounds() || mode_sends_to_libc(n)", "true", "process/test_settings:blocks_out_of_bounds")
mutant(F, "ours stay ours when resized", "preload_slow && mode_sends_to_libc(n) ? NULL : cache_get()", "cache_get()", "process/test_settings:blocks_out_of_bounds")
mutant("preload/info.c", "mallinfo counts what others have freed", "free = remote_count(get(d->remote)) + ", "free = ", T + "mallinfo2_does_not")
mutant("preload/info.c", "malloc_trim does nothing", "bool gave = heap_trim(tc);", "bool gave = false;", "process/test_memory:malloc_trim")
mutant("preload/modes.c", "calls of free are not counted", "case CALL_FREE: fetch_add", "case CALL_FREE: if (0) fetch_add", "scripts/test_ltrace")

# ---- what programs ask for heap memory -------------------------------------------------------------
F, T = "preload/memory.c", "process/test_memory:"
mutant(F, "MADV_DONTNEED keeps small memory", "        else\n            memset(at, 0, n);", "        ;", T + "memory_not_needed")
mutant(F, "MADV_DONTNEED believes what is only claimed", "os_purge(at, n, true) == 0", "real_madvise(at, n, MADV_REMOVE) == 0", "scripts/test_kernels")
mutant(F, "MADV_FREE goes to the kernel", "case MADV_FREE: /* the kernel may keep the bytes as long as it likes */ return 0;", "", T + "advice_that")
mutant(F, "mlockall locks the whole window", "sparse || on_fault ? MLOCK_ONFAULT : 0", "on_fault ? MLOCK_ONFAULT : 0", T + "locking_all")
mutant(F, "nothing is said of noexec", "log_once(\"code in heap memory", "(void)(\"code in heap memory", "scripts/test_surroundings")

# ---- life cycle, other libraries -----------------------------------------------------------------
mutant("preload/dlopen.c", "RTLD_DEEPBIND is left", "mode &= ~RTLD_DEEPBIND;", ";", "process/test_life_cycle:a_library_bound_deeply")
mutant("preload/real.c", "what is next is believed", "if (likely((uintptr_t)symbol", "if (1 || likely((uintptr_t)symbol", "scripts/test_surroundings")
mutant("preload/real.c", "the look for libc's malloc comes back to itself", "    if (tls_state.looking)\n        return NULL;\n", "", "scripts/test_surroundings")
mutant("preload/init.c", "madvise is looked up when it is used", "*(void **)&os_madvise_hook = real_symbol(\"madvise\");", "__extension__ int late(void *at, size_t n, int advice)\n    {\n        int (*next)(void *, size_t, int);\n"
       "        *(void **)&next = real_symbol(\"madvise\");\n        return next(at, n, advice);\n    }\n    os_madvise_hook = late;", "scripts/test_surroundings")
mutant("preload/init.c", "AT_SECURE does not matter", "if (secure || option", "if (option", "scripts/test_surroundings")
mutant("preload/init.c", "sanitizers do not matter", "if (__asan_init || __tsan_init || __msan_init)", "if (0)", "scripts/test_passed_through")
mutant("preload/init.c", "a thread's cache is lost with it", "    if (tc && tc->id)\n        cache_end(tc);", "", "process/test_life_cycle:threads_come_and_go")
mutant("preload/init.c", "HSHM_STRICT goes on with a private heap", "        if (option_number(OPT_STRICT))\n            _exit(OPTIONS_EXIT_STATUS);\n    }", "    }", "process/test_settings:what_is_wrong_ends")
mutant("preload/init.c", "HSHM_EXCLUDE does not matter", "!options_cover_program(preload_program)", "0", "process/test_settings:programs_take_part")
mutant("preload/bootstrap.c", "there is no memory for the first calls", "if (n > BOOTSTRAP_BYTES || align > 4096)", "if (1)", "scripts/test_surroundings")

# ---- kernels, the ledger ------------------------------------------------------------------------------
F, T = "allocators/os.c", "unit/test_os:"
mutant(F, "populate is believed", "return works ? 0 : os_touch(at, bytes);", "return 0;", T + "populate_backs_all_pages_where")
mutant(F, "no populate is no memory", "if (rc == -EINVAL || rc == -ENOSYS)\n        return os_touch(at, bytes);", "", T + "populate_backs_all_pages_on_a_kernel")
mutant(F, "the touch clears a byte", "rc = os_call(SYS_futex, word, FUTEX_WAKE_OP_PRIVATE, 0, 0, word, nothing);", "*(volatile char *)word = 0, rc = nothing & 0;", T + "populate_backs_all_pages_on_a_kernel")
mutant(F, "purge is believed", "bool works = !is_resident(page);", "bool works = true;", T + "a_purge_that_is_only")
mutant(F, "locked private memory stays", "error == -EINVAL ?", "0 ?", T + "locked_private")
mutant(F, "the kernel may map elsewhere", "if ((void *)got != at) {", "if (0) {", "scripts/test_kernels")
mutant(F, "a file may be larger than RLIMIT_FSIZE", "if (bytes > os_rlimit(RLIMIT_FSIZE))", "if (0)", "process/test_full:a_small_RLIMIT_FSIZE")
F = "allocators/commit.c"
mutant(F, "HSHM_SIZE does not matter", "if (sum <= h->limit_pages &&", "if (", "process/test_settings:a_full_segment_fails")
mutant(F, "HSHM_MEMBER_SIZE does not matter", "if (h->member_limit_pages && mine > h->member_limit_pages)", "if (0)", "process/test_settings:a_member_has_a_limit")
mutant(F, "no hole is made where the advice fails", "h->shared && h->can_open ? os_open(h->path, O_RDWR, 0) : -1;", "-1;", "process/test_memory:locked_memory")
mutant(F, "what stays is taken for zero", "if (gone) /* else", "if (1) /* else", "scripts/test_kernels")
mutant(F, "what a purge leaves is taken for clean", "for (uint32_t i = first; gone && i < first + n; i++)", "for (uint32_t i = first; i < first + n; i++)", "scripts/test_kernels")

# ---- pages and lists -----------------------------------------------------------------------------------
F, T = "allocators/page.c", "process/test_every_instruction"
mutant(F, "a merged list was not in use", "own_put(page_used, d->used, own_get(d->used) - n);\n        own_put(page_taking", "own_put(page_taking", "process/test_one_heap")
mutant(F, "a remote list is known to a register alone", "own_put(page_taking, d->taken, remote_head(word));", ";", T)
mutant(F, "a page that changes its owner is freed to by the last one", "    put(page_owner, d->home, HOME_NOBODY); /* 'home'", "    /* 'home'", T)
mutant(F, "a block being freed is known to its freer alone", "    put_release(inflight_linked, step->what, off | INFLIGHT_LINKED);", "    put_release(inflight_linked, step->what, 0);", T)
mutant(F, "no list has any block", "    if (list_has(h, remote_head(get(d->remote)), off) || list_has(h, get(d->taken), off))\n        return true;\n    return cell_is_sound(h, cell) &&", "    return 0 && cell &&", "process/test_damage:a_block_freed_twice")
mutant(F, "the audit finds nothing", "    own_put(page_used, d->used, own_get(d->used) - 1);\n    return 1;", "    return 1;", T)
mutant(F, "a block is remote and free", " || (remote && is_remote(h, d, off))", "", "process/test_storm")
mutant(F, "blocks are handed out beyond the page", "own_put(page_make, d->reserved, (uint16_t)(((uint64_t)n << SLICE_SHIFT) / size));", "own_put(page_make, d->reserved, (uint16_t)(((uint64_t)n << SLICE_SHIFT) / size + 1));", "unit/test_threads")

# ---- runs and chunks -----------------------------------------------------------------------------------
F, T = "allocators/run.c", "process/test_malloc_family:"
mutant(F, "runs are found that are not free", "        free &= free >> step;", "        free |= free >> step;", "unit/test_threads")
mutant(F, "runs grow into what is used", "if ((free & want) != want)", "if (!(free & want))", T + "realloc_keeps")
mutant(F, "runs begin anywhere", "return starts & every[__builtin_ctz(align)];", "return starts & (every[__builtin_ctz(align)] | 1 | starts);", T + "every_alignment")
mutant(F, "free slices are not looked at again", "    else\n        purge_later(h, c);\n}", "}", "process/test_memory:free_memory_goes_back")
mutant(F, "free memory does not age", "info->aged = info->idle;", "info->aged = 0;", "process/test_memory:free_memory_goes_back")
mutant(F, "HSHM_PURGE_DELAY=-1 is no delay", "if ((h->purge_delay_ms < 0 && !all) || !m->purge_head)", "if (!m->purge_head)", "process/test_memory:free_memory_goes_back")
F = "allocators/chunk.c"
mutant(F, "slices of a huge block are taken for zero", "put_release(slice_dirty, d->dirty, UINT16_MAX);", ";", "process/test_malloc_family:what_a_huge")
mutant(F, "chunks in the way are not given back", "        word_change(h, first + n, CHUNK_PART, WORD_FREE);\n    }\n    hint_lower(h, first);", "    }\n    hint_lower(h, first);", "process/test_malloc_family:huge_blocks_lose")
mutant(F, "nothing is adopted", "if (get(h->header->orphans) == 0)", "if (1)", "process/test_many:the_free_memory_of_the_dead")
mutant(F, "a huge block being taken apart does not say how far", "            LAYOUT_CHUNK_WORD(CHUNK_PART, h->member_id, n));\n        head =", "            LAYOUT_CHUNK_WORD(CHUNK_PART, h->member_id, n + 1));\n        head =", "process/test_every_instruction")

# ---- large blocks -----------------------------------------------------------------------------------
F = "allocators/large.c"
mutant(F, "a huge block is zero whoever had it", "zero &= get(h->chunks[first + i].dirty) == DIRT_NONE;", ";", "process/test_malloc_family:calloc_gives")
mutant(F, "an owner is not told what others freed", "        fetch_or(chunk_pending, h->chunks[c].pending,\n                 UINT64_C(1) << (slice_index(h, d) % CHUNK_SLICES));\n        if (slot < MEMBER_MAX)", "        if (0)", "process/test_death:large_blocks_that")
mutant(F, "a huge block keeps what it shrank by", "        chunk_release_run(h, first + n, have - n);", "        ;", "process/test_malloc_family:huge_blocks_lose")

# ---- the dead ------------------------------------------------------------------------------------------
F, T = "allocators/recover.c", "process/test_death"
mutant("allocators/recover_steps.c", "steps in hand are not finished", "    if (phase == INFLIGHT_NONE)\n        return true;", "    if (1)\n        return true;", "process/test_every_instruction")
mutant("allocators/recover_chunks.c", "what the dead had is not marked", "        if (get(kept->bits[i]) != bits)\n            put(kept_set, kept->bits[i], bits);\n    }\n    put_release(page_flags, d->flags, (uint8_t)((flags &", "    }\n    put_release(page_flags, d->flags, (uint8_t)((flags &", T)
mutant("allocators/recover_chunks.c", "lists of the dead do not count", "        records_each(h, dead, record_unmark, NULL);", "        ;", "process/test_many:the_free_memory_of_the_dead")
mutant(F, "the stopped are dead", "    if (os_lock_held(fd, LOCK_MEMBER(slot))) {", "    if (0) {", T)
mutant("allocators/recover_chunks.c", "HSHM_EXIT=reclaim keeps large blocks", "(!goes || block_is_registered(h, d, slice_off(h, d))))", "(!goes || true))", "process/test_many:what_processes_leave")
mutant("allocators/recover_chunks.c", "an adopter that reclaims takes legacies with it", "    else if (get(d->flags) & PAGE_KEPT)\n", "    else if (0)\n", "process/test_death:what_was_kept_stays")
mutant(F, "what was before exec waits for a grace", "&& get(m->start_ns) >= os_start_ns();", "&& get(m->start_ns) == os_start_ns();", "process/test_death:what_a_member_had_before_exec")
mutant("allocators/alloc.c", "a legacy that was adopted is freed under a child's eyes", "(owner != h->member_id || is_shared_legacy(h, d, off))", "(owner != h->member_id || (0 && is_shared_legacy(h, d, off)))", "process/test_fork:parent_and_child_may_both_free_what_an_ended")
mutant(F, "nobody says whose a full segment is", "fetch_add(kept_members, h->header->kept_members, 1);", ";", "process/test_many:a_full_segment_says")
mutant("allocators/adopt.c", "a legacy stays marked", "return fetch_and(kept_forget, kept->bits[block / 64], ~bit) & bit;", "return get(kept->bits[block / 64]) & bit;", "process/test_many:the_free_memory_of_the_dead")
mutant("allocators/adopt.c", "large blocks freed by others stay", "            large_end(h, d);\n        }\n    }\n}", "            ;\n        }\n    }\n}", "process/test_death:large_blocks_that")
mutant("allocators/os.c", "children keep the lock of their parent", "    if (!for_children)\n        os_advise", "    if (0)\n        os_advise", T)

# ---- fork ------------------------------------------------------------------------------------------------
F, T = "allocators/snapshot_mapped.c", "process/test_fork:"
mutant(F, "nobody looks for mappings in blocks", "if (!noted && (s->bytes < LOOK_FROM || !h->can_open))", "if (1)", T + "guard_pages_are")
mutant(F, "only noted mappings are looked for", "if (!noted && (s->bytes < LOOK_FROM || !h->can_open))", "if (!noted)", T + "guard_pages_made_by")
mutant("allocators/snapshot_copy.c", "the child may touch guard pages", "            os_protect(at_off(h, off), n, part->access);", "            ;", T + "guard_pages_are")
mutant("allocators/snapshot_copy.c", "a ring is copied", "if (!inside || !part->foreign)", "if (1)", T + "a_ring")
mutant("allocators/mapped.h", "guard pages stay", "if (unlikely(h->mapped != NULL))", "if (0)", T + "whoever_gets")

# ---- the segment's file --------------------------------------------------------------------------------
F = "allocators/segment.c"
mutant(F, "others may write to it", "if (f->mode & 022 & ~c->mode)", "if (0)", "process/test_damage:a_file_that_others")
mutant(F, "its size does not matter", "if (file_bytes != header->window && file_bytes != header->window + GPU_AREA_BYTES)", "if (0)", "process/test_damage:a_truncated_file")
mutant(F, "the last one leaves the file", "    if (!needed)\n        segment_remove_if_idle(h->path, slot);", "    (void)needed;", "process/test_last_exit:members_that_end_together")
mutant(F, "a joiner does not look again", "bool removed = get_acquire(h->header->state) != SEG_LIVE ||", "bool removed = 0 &&", "process/test_last_exit:those_who_come")
mutant(F, "links are followed", "-ENOENT : os_open(h->path, O_RDWR | O_NOFOLLOW | O_NONBLOCK, 0);", "-ENOENT : os_open(h->path, O_RDWR | O_NONBLOCK, 0);", "process/test_damage:what_is_no_plain_file")

# ---- installing ------------------------------------------------------------------------------------------
F, T = "Makefile", "scripts/test_install"
mutant(F, "pkg-config links nothing", "'Libs: -L$${libdir} -lhshm'", "'Libs: -L$${libdir}'", T)
mutant(F, "pkg-config does not know the headers", "'Cflags: -I$${includedir}'", "'Cflags: '", T)
mutant(F, "uninstall leaves the library", "rm -f $(addprefix $(D),$(INSTALLED))", "rm -f $(filter-out %/libhshm.a,$(addprefix $(D),$(INSTALLED)))", T)
mutant(F, "libhshm is not known by its soname", "\tln -sf libhshm.so.$(VERSION) $(D)$(LIBDIR)/$(API_SONAME)\n", "", T)

# ---- GPU segments: how calls come there --------------------------------------------------------------------
F, T = "gpu_hooks/resolve.c", "gpu/test_gpu:"
mutant(F, "a version is not looked at", "version < h->since || version >= h->until ||", "", T + "every_row")
mutant(F, "the default stream is not looked at", "!streams_fit(h->streams, flags))", "0)", T + "per_thread")
mutant(F, "what is to come is ours", "bool known = version < KNOWN || found == driver_symbol(h->symbol);", "bool known = true;", T + "the_future")
mutant(F, "without a driver our names are found", "        if (!driver_symbol(name))\n            found = real", "        if (0)\n            found = real", T + "nothing_is_found")
mutant(F, "what dlsym finds is not ours", "    return gpu_hooks_on && is_in_driver(found) ? give(id, found) : found;\n}", "    return found;\n}", T + "every_row")
mutant("preload/dlsym.c", "the caller is us", "        TAIL_RETURN real(handle, name);", "    {\n        void *found = real(handle, name);\n        __asm__ volatile(\"\" : \"+r\"(found));\n        return found;\n    }", T + "next_is_seen")
mutant("preload/init.c", "GPU segments are there unasked", "gpu_hooks_on = option_number(OPT_GPU) != GPU_OFF;", "gpu_hooks_on = true;", T + "the_driver_serves_without")

# ---- GPU segments: memory ------------------------------------------------------------------------------------
F = "gpu_hooks/cuda_memory.c"
mutant(F, "nobody waits for the device", "cu_result result = cuda_sync(dev);\n    bool done", "cu_result result = CU_OK;\n    bool done", T + "a_block_is_reused")
mutant(F, "a free waits only for what lies in its block", "    if (cuda_capturing() ||\n        (later", "    if (1 || cuda_capturing() ||\n        (later", T + "a_free_waits")
mutant(F, "a deferred free waits", "bool later = ordered || option_number(OPT_GPU_FREE) == GPU_FREE_DEFERRED;", "bool later = ordered;", T + "a_deferred_free")
mutant(F, "cudaFreeAsync waits", "bool later = ordered || option", "bool later = option", T + "a_free_in_stream_order")
mutant(F, "a capture is synchronised", "    if (cuda_capturing() ||\n        (later", "    if ((later", T + "a_capture")
mutant(F, "any address in a block frees it", "if (ref == GPU_NO_REF || cuda_ref_ptr(dev, ref) != ptr)", "if (ref == GPU_NO_REF)", T + "wrong_frees")
mutant(F, "nothing is cleared", "bool clear = option_number(OPT_GPU_ZERO), captures", "bool clear = false, captures", T + "freed_memory_is_cleared")
mutant(F, "nobody looks for the dead", "        cuda_sweep(dev);\n    }\n    cuda_chunks_map", "    }\n    cuda_chunks_map", T + "bytes_come_back")
F = "gpu_hooks/cuda_hooks.c"
mutant(F, "what does not fit fails", "if (option_number(OPT_GPU_FULL) == GPU_FULL_FAIL) {", "if (1) {", T + "what_does_not_fit_comes")
mutant(F, "what does not fit comes from the driver", "if (option_number(OPT_GPU_FULL) == GPU_FULL_FAIL) {", "if (0) {", T + "what_does_not_fit_fails")
mutant(F, "a row is not rounded up", "size_t row = (width + PITCH - 1) / PITCH * PITCH;", "size_t row = width;", T + "pitch")
mutant(F, "the driver says what is free", "        free_now = smaller(free_now + within, limit > used ? limit - used : 0);", "", T + "memory_info")
mutant(F, "the range is the chunk's", "    case CU_PTR_RANGE_START:\n", "", T + "pointers_look")
mutant(F, "no block can be opened by others", "case CU_PTR_LEGACY_IPC: *(int *)data = 1; break;", "", T + "pointers_look")
mutant(F, "chunks can be exported by blocks", "return cuda_owner((cu_ptr)(uintptr_t)ptr) ? CU_INVALID_VALUE", "return 0 ? CU_INVALID_VALUE", T + "pointers_look")
mutant(F, "handles are believed", "&& t->sum == token_sum(t);", ";", T + "handles_are_checked")
mutant(F, "a process opens its own handles", "if (word_member(t->state) == dev->seg.id)", "if (0)", T + "handles_are_checked")
mutant(F, "what is open is not known", "fetch_or(gpu_info, b->info, (uint64_t)GPU_EXPORTED << 48);", "", T + "handles_open")
mutant(F, "a reset frees nothing", "        if (result == CU_OK)                                                                       \\\n            cuda_free_context(NULL, device, true);", "        ;", T + "a_reset")
mutant(F, "a destroyed context frees nothing", "        cuda_free_context(context, -1, false);", "        ;", T + "a_context_takes")
mutant(F, "peers have no access", "            cuda_access_set(&cuda_process->devices[other]);", "            ;", T + "peer_access")
F = "gpu_hooks/cuda_peer.c"
mutant(F, "a new chunk is told to nobody", "            ask(get(s->members[i].id), &message, fd, NULL);", "            ;", T + "an_address_is_valid")
mutant(F, "a closed socket is not made again", "    listening = gpu_os_listen(name);\n    if (listening >= 0)\n        return true;", "", T + "a_program_may_close")
F = "gpu_hooks/cuda_chunk.c"
mutant(F, "who comes later maps nothing", "        if (chunk_state(word) == GPU_READY && !chunk_fetch_or_forget(dev, c, word))", "        if (0)", T + "memory_outlives")
mutant(F, "empty chunks stay", "            chunk_retire(dev, c, word);", "            ;", T + "empty_chunks")
F = "gpu_hooks/cuda_attach.c"
mutant(F, "a forked child goes on", "            os_advise(p, round_up(sizeof *p, OS_PAGE), MADV_WIPEONFORK);", "", T + "a_forked_child")
mutant(F, "exec is not seen", "(stack && get(m->stack) && stack != get(m->stack));", "(0 && stack);", T + "what_a_program_had")
mutant(F, "another address is no matter", "if (got == base || !base) {", "if (1) {", T + "a_relocated_member")

# ---- GPU segments: the dead -------------------------------------------------------------------------------------
F, T = "gpu_hooks/gpu_sweep.c", "gpu/test_gpu_core"
mutant(F, "parts without a head stay", "if (has_ended(w, member) && cas(gpu_unclaim,", "if (0 && cas(gpu_unclaim,", T)
mutant(F, "hints stay wrong", "        if (get(s->taken[unit / 64]) & bit)", "        if (0)", T)
mutant(F, "the pages of the dead are nobody's", "            page_sweep(w, unit, word);", "            ;", T)
mutant(F, "large blocks of the dead stay", "            large_sweep(w, unit, word);", "            ;", T)
F = "gpu_hooks/gpu_run.c"
mutant(F, "a head is published first", "    for (uint32_t i = 0; i < n; i++) {\n        uint64_t none = 0;", "    gpu_run_publish(s, start, n, GPU_LARGE);\n    for (uint32_t i = 0; i < n; i++) {\n        uint64_t none = i ? 0 : get(s->units[start].word);", T)
mutant(F, "the largest run is taken", "if (f->found && cost >= f->cost)", "if (f->found && cost <= f->cost)", T + ":large_blocks_take")
F = "gpu_hooks/gpu_block.c"
mutant(F, "the last closer frees nothing", "    if (block_state(state) == GPU_HELD && !gpu_is_open(s, ref)) {", "    if (0) {", T + ":what_others_have_open")
mutant(F, "openers do not count", "    if (gpu_is_open(s, ref))\n        return GPU_FREED_HELD;", "", T + ":what_others_have_open")
mutant("tool/reclaim.c", "hshm reclaim forgets GPUs", "r->gpu_bytes = r->failed ? 0 : gpu_reclaim(&v, path, false);", "r->gpu_bytes = 0;", "scripts/gpu/test_tool")
mutant("allocators/check.c", "hshm check forgets GPUs", "    check_each(k, look_gpu, GPU_DEVICE_MAX);", "", "scripts/gpu/test_tool")

# ---- seen from outside --------------------------------------------------------------------------------
T = "scripts/tool/test_tool_verbs"
mutant("allocators/commit.c", "what is given back is not counted", "if (!h->shared || !pages)", "if (1)", T)
mutant("tool/show_heaps.c", "a heap's shards are not summed", "sum += head->used[i].bytes;", ";", T)
mutant("tool/process.c", "hshm who takes the stopped for alive", 'p->stopped ? "stopped" : ', "0 ? NULL : ", T)
mutant("allocators/view.c", "hshm check remembers 256 OS pages", "CACHE_MOST  (UINT64_C(1) << 18)", "CACHE_MOST  CACHE_LEAST", T)
mutant("tool/progress.c", "nobody is told how far it is", "isatty(STDERR_FILENO) && ", "0 && ", "scripts/tool/test_tool_screen")
mutant("packaging/cmake/hshmConfig.cmake.in", "a package behind a link is not found", 'LIST_DIR}" REALPATH)', 'LIST_DIR}" ABSOLUTE)', "scripts/bindings/test_cmake")
mutant("packaging/cmake/hshmConfigVersion.cmake.in", "any version will do", "VERSION_LESS _hshm_first", "VERSION_LESS 0", "scripts/bindings/test_cmake")
