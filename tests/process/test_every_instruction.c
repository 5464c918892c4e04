/* Killed at any instruction: after every one that changed a byte of the segment
 * the survivor takes a copy as it would find it, and goes on with that.  Every
 * so often another copy is one in which the victim only stands still.
 *
 * Built twice: of the code as it is, and of code that says at which site of
 * sites.def it is; then a site at which nobody was killed is a failure.
 *
 * make check goes on with the first images of each site, and of each instruction,
 * in each phase and with one of many others; make stress with each.
 *
 * timeout: 1200
 */
#include "allocators/cgroup.h"
#include "tests/process/steps.h"

#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/user.h>

static void victim_run(void)
{
    raise(SIGSTOP);
    for (stage->phase = 0; victim_phases[stage->phase]; stage->phase++) {
        victim_phases[stage->phase]();
        raise(SIGSTOP);
    }
    _exit(0);
}

/* ---- the survivor in a copy --------------------------------------------------------------- */

static unsigned char *file_view, *shadow; /* the segment's file; as it was a step ago */
static struct extent {
    uint64_t from, to;
} extents[4096];
static unsigned extent_count;
static int segment_fd;
static char image[256]; /* the copy; also where the survivor's lock is */
static bool beside;     /* the victim stands still, it is not dead */

#define BESIDE_EVERY 8
#define SAMPLE_EVERY 16
#define SAMPLE_FIRST 2

static bool all_of_them(void)
{
    return atol(setting("TEST_SCALE", "1")) > 1;
}

/* Killed where its store changes a byte; but not at these. */
#ifdef HSHM_COUNT_SITES
static const char *const site_names[] = {
#define SITE(id, found, repaired_by) #id,
#include "allocators/sites.def"
#undef SITE
};
static unsigned long *site_images; /* how many images, by the site that made them */
static const char *const elsewhere[] = {
    "seg_make",    /* a file without a name: test_every_call kills its maker */
    "inherited",   /* private memory of a child */
    "seg_removed", /* the name is gone already */
    "damaged",     /* nobody writes any more: test_damage */
    "charge_ok",   /* of tmpfs that is nearly full: test_full */
    "memory_short",
};
#endif

/* Reading a hole would fill it: only what has memory is looked at. */
static void extents_find(void)
{
    extent_count = 0;
    for (off_t at = 0, hole; (at = lseek(segment_fd, at, SEEK_DATA)) >= 0 && extent_count < 4096;
         at = hole) {
        hole = lseek(segment_fd, at, SEEK_HOLE);
        extents[extent_count++] = (struct extent){ (uint64_t)at, (uint64_t)hole };
    }
}

static bool changed(void)
{
    bool any = false;
    for (unsigned i = 0; i < extent_count; i++) {
        uint64_t from = extents[i].from, n = extents[i].to - from;
        if (memcmp(file_view + from, shadow + from, n) != 0) {
            memcpy(shadow + from, file_view + from, n);
            any = true;
        }
    }
    return any;
}

/* Of the dead one's blocks that are free, each is found: only those that a dead
 * one had in hand may count as allocated until they are reclaimed. */
static void little_is_lost(void)
{
    unsigned live = PREDECESSOR_KEEPS, in_hand = 1 /* of each predecessor */ + 1;
    for (uint32_t i = 0; i < stage->made_count; i++)
        live += stage->made[i].live != 0;
    in_hand += stage->child ? 2 : 1;
    unsigned left = legacies();
    if (left > live + in_hand)
        SAY("%u blocks are left, %u were allocated and %u in hand\n", left, live, in_hand);
}

/* After everybody has freed everything: how many pages and blocks stay. */
static unsigned left_over(bool say)
{
    unsigned n = 0;
    for (uint64_t c = heap.first_chunk; c < heap.header->chunk_high.raw_; c++) {
        uint64_t word = heap.chunks[c].word.raw_;
        if (word_state(word) == CHUNK_HUGE || word_state(word) == CHUNK_PART ||
            word_state(word) == CHUNK_ORPHAN) {
            n += word_state(word) == CHUNK_HUGE || word_state(word) == CHUNK_ORPHAN ||
                 word_member(word) != heap.member_id;
            if (say)
                dprintf(2, "chunk %lu: word %lx\n", (unsigned long)c, (unsigned long)word);
        }
        if (word_state(word) != CHUNK_OWNED)
            continue;
        for (unsigned i = 0; i < CHUNK_SLICES; i++) {
            struct slice *d = &heap.slices[c * CHUNK_SLICES + i];
            if (d->kind.raw_ != SLICE_PAGE && d->kind.raw_ != SLICE_LARGE)
                continue;
            n++;
            if (say)
                dprintf(2, "chunk %lu slice %u: kind %u class %u used %u flags %u capacity %u\n",
                        (unsigned long)c, i, d->kind.raw_, class_bytes(d->cls.raw_), d->used.raw_,
                        d->flags.raw_, d->capacity.raw_);
        }
    }
    return n;
}

static uint64_t charged_in_chunks(void)
{
    uint64_t sum = 0;
    for (uint64_t c = heap.first_chunk; c < heap.header->chunk_high.raw_; c++)
        sum += heap.chunks[c].charged.raw_;
    return sum + names_pages(names_of(&heap));
}

static uint64_t committed_in_slices(uint64_t c)
{
    uint64_t sum = heap.chunks[c].described.raw_ ? 2 : 0;
    for (unsigned i = 0; i < CHUNK_SLICES; i++)
        sum += (unsigned)__builtin_popcount(heap.slices[c * CHUNK_SLICES + i].committed.raw_);
    return sum;
}

/* A name that was there, or that nobody removed, is found and says what it said. */
static void names_are_sound(void)
{
    struct name_info info;
    for (struct named *n = stage->names; n->name[0]; n++) {
        long rc = name_find(&heap, n->name, 0, 0, NULL, &info);
        if (rc != 0 && rc != -ENOENT)
            SAY("name %s: %ld\n", n->name, rc);
        if ((n->fate == FATE_THERE && rc != 0) || (n->fate == FATE_NONE && rc == 0))
            SAY("name %s should %sbe found\n", n->name, rc ? "" : "not ");
        if (n->fate == FATE_THERE && (info.at != n->block.at || !is_painted(&n->block)))
            SAY("the block of name %s has changed\n", n->name);
    }
    for (struct named *n = stage->to; n->name[0]; n++)
        if ((n->fate == FATE_THERE || n->fate == FATE_OURS) && !is_painted(&n->block))
            SAY("block %s, handed to the survivor, has changed\n", n->name);
    for (struct named *n = stage->from; n->name[0]; n++)
        if (n->fate == FATE_THERE && !is_painted(&n->block))
            SAY("block %s, handed to the victim and not taken, has changed\n", n->name);
}

/* What nobody has taken the survivor takes. */
static void take_and_free(struct named *table)
{
    for (struct named *n = table; n->name[0]; n++) {
        bool taken = n->fate == FATE_OURS || block_take(&heap, n->block.at) == 0;
        if (n->fate == FATE_THERE && !taken)
            SAY("block %s was given and cannot be taken\n", n->name);
        if (taken)
            fast_free(n->block.at);
    }
}

static bool name_end(const char *text, const struct name_info *info, void *ctx)
{
    (void)info, (void)ctx;
    if (name_remove(cache, text) != 0)
        SAY("name %s cannot be removed\n", text);
    return true;
}

static void end_names(void)
{
    names_each(&heap, name_end, NULL);
    take_and_free(stage->to);
    take_and_free(stage->from);
    uint64_t high = names_of(&heap)->high.raw_;
    for (uint64_t i = 1; i < high; i++) {
        bool offered = ((sh64_t *)(heap.base + SEG_UNUSED_OFF))[i / 64].raw_ >> (i % 64) & 1;
        if (entry_what(entry_at(&heap, i)->state.raw_) != NAME_UNUSED || !offered)
            SAY("name entry %lu: state %lx, %soffered\n", (unsigned long)i,
                (unsigned long)entry_at(&heap, i)->state.raw_, offered ? "" : "not ");
    }
}

static void word_stays(struct heap *h, sh64_t *word, uint64_t seen, void *ctx)
{
    (void)h, (void)word;
    SAY("a word stays in the table of %s: %lx\n", (const char *)ctx, (unsigned long)seen);
}

/* A small block of ours whose freer died on the way is allocated still, or free.  Once the freer
 * has written into it, it was in hand, or on the list: it is free. */
static unsigned end_what_was_being_freed(void)
{
    unsigned uncertain = 0;
    for (uint32_t i = 0; i < stage->given_count; i++) {
        struct block *b = &stage->given[i];
        if (b->live != 2)
            continue;
        if (b->size > CLASS_MAX)
            uncertain++;
        else if (is_painted(b))
            fast_free(b->at);
    }
    return uncertain;
}

static void free_everything(void)
{
    end_names();
    free_everything_of_the_survivor();
    unsigned uncertain = end_what_was_being_freed();
    reclaim_kept(cache);
    words_each(&heap, TABLE_BLOCKS, word_stays, "blocks");
    words_each(&heap, TABLE_REFS, word_stays, "references");
    cache_end(cache);
    cache = cache_make(&heap); /* the same */
    for (int i = 0; i < 3; i++) {
        for (unsigned cls = 0; cls < CLASS_COUNT;
             cls++) { /* what was freed remotely is found by looking */
            void *p = heap_malloc(cache, class_bytes(cls));
            if (p)
                heap_free(cache, p);
            p = heap_malloc(shared_cache, class_bytes(cls));
            if (p)
                heap_free(shared_cache, p);
        }
        heap_trim(shared_cache);
        heap_trim(cache);
    }
    cache_end(cache);
    cache_end(shared_cache);
    unsigned left = left_over(false);
    if (left > uncertain) {
        left_over(true);
        SAY("%u pages or blocks stay when all is freed and reclaimed\n", left);
    }
    for (uint64_t c = heap.first_chunk; c < heap.header->chunk_high.raw_; c++)
        if (word_state(heap.chunks[c].word.raw_) == CHUNK_OWNED &&
            heap.chunks[c].dirty.raw_ == DIRT_BY_SLICE &&
            heap.chunks[c].charged.raw_ != committed_in_slices(c))
            SAY("chunk %lu is charged %u pages and has %lu\n", (unsigned long)c,
                heap.chunks[c].charged.raw_, (unsigned long)committed_in_slices(c));
    uint64_t charged = heap.header->charged.raw_, sum = charged_in_chunks();
    if (charged != sum && ledger_recount(&heap) != charged_in_chunks())
        SAY("charged are %lu pages, the chunks have %lu\n", (unsigned long)charged,
            (unsigned long)sum);
}

static void image_make(void)
{
    struct stat st;
    int fd = open(image, O_RDWR);
    MUST(fd >= 0 && ftruncate(fd, 0) == 0 && ftruncate(fd, (off_t)heap.header->window) == 0);
    for (unsigned i = 0; i < extent_count; i++)
        MUST(pwrite(fd, shadow + extents[i].from, extents[i].to - extents[i].from,
                    (off_t)extents[i].from) == (ssize_t)(extents[i].to - extents[i].from));
    MUST(mmap(heap.base, heap.header->window, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd,
              0) == heap.base);
    MUST(fstat(fd, &st) == 0);
    close(fd);
    snprintf(heap.path, sizeof heap.path, "%s", image);
    heap.inode = st.st_ino;
    heap.device = st.st_dev;
}

/* All others live: their locks, and those of their snapshots, are held. */
static void others_live(void)
{
    int fd = open(image, O_RDWR); /* for good */
    for (uint64_t i = 0; i < heap.header->members_high.raw_; i++)
        if (&heap.members[i] != heap.me && state_of(heap.members[i].state.raw_) != MEMBER_FREE)
            MUST(os_lock(fd, LOCK_MEMBER(i)) == 0);
    for (uint64_t i = 0; i < heap.header->holds_high.raw_; i++)
        if (heap.holds[i].state.raw_ & 1)
            MUST(os_lock(fd, LOCK_HOLD(i)) == 0);
}

static _Noreturn void survive(void)
{
    setrlimit(RLIMIT_CPU, &(struct rlimit){ 1, 2 });
    alarm(5);
    image_make();
    if (beside)
        others_live();
    else
        grace_is_over(&heap);
    uint64_t state = heap.header->state.raw_;
    if (state != SEG_LIVE && state != SEG_REMOVING)
        SAY("the segment is in state %lu\n", (unsigned long)state);
    recover_dead(&heap, false);
    own_blocks_are_sound("after recovery");
    if (beside) {
        allocate_everything();
        check_is_clean(image, "beside one that stands still");
        _exit(0);
    }
    names_are_sound();
    if (victim_phases == blocks_phases)
        little_is_lost();
    allocate_everything();
    recover_dead(&heap, false);
    all_others_are_gone();
    allocate_everything();
    names_are_sound();
    check_is_clean(image, "after recovery");
    free_everything();
    check_is_clean(image, "after reclaim");
    _exit(0);
}

static unsigned long steps, images, failures;

static void survive_at(unsigned long rip)
{
    int status;
    pid_t pid = fork();
    if (pid == 0)
        survive();
    waitpid(pid, &status, 0);
    if (status == 0)
        return;
    failures++;
    dprintf(2, "^ phase %u, step %lu, image %lu%s: after the instruction at %#lx, status %#x\n",
            stage->phase, steps, images, beside ? " (standing still)" : "",
            rip - (unsigned long)&victim_run, (unsigned)status);
}

/* Which instructions have made an image. */
#define SEEN_MAX (1 << 14)
static unsigned long seen_ever[SEEN_MAX], seen_in_phase[SEEN_MAX];

static bool is_first(unsigned long *seen, unsigned long rip)
{
    unsigned long i = rip * UINT64_C(0x9e3779b97f4a7c15) >> 50;
    while (seen[i] && seen[i] != rip)
        i = (i + 1) % SEEN_MAX;
    bool first = !seen[i];
    seen[i] = rip;
    return first;
}

/* Is this one of those that a short run goes on with? */
static bool is_tried(unsigned long rip)
{
    static unsigned long seen;
    bool tried = all_of_them() || seen++ % SAMPLE_EVERY == 0;
    tried |= is_first(seen_in_phase, rip);
#ifdef HSHM_COUNT_SITES
    static uint32_t phase;
    static uint8_t first[SITE_COUNT];
    if (phase != stage->phase)
        memset(first, 0, sizeof first);
    phase = stage->phase;
    tried |= first[stage->log.last] < SAMPLE_FIRST;
    if (tried) {
        first[stage->log.last] += first[stage->log.last] < SAMPLE_FIRST;
        site_images[stage->log.last]++;
    }
#endif
    return tried;
}

static void die_here(unsigned long rip)
{
    if (!is_tried(rip))
        return;
    images++;
    survive_at(rip);
    beside = is_first(seen_ever, rip) || images % BESIDE_EVERY == 0 || all_of_them();
    if (beside)
        survive_at(rip);
    beside = false;
}

/* ---- the victim under the stepper ------------------------------------------------------------ */

static struct user_regs_struct registers(pid_t pid)
{
    struct user_regs_struct r;
    MUST(ptrace(PTRACE_GETREGS, pid, 0, &r) == 0);
    return r;
}

extern char __executable_start, etext;

/* What writes nothing of ours, and long: the C library, and who reads texts of the kernel's. */
static bool is_library(unsigned long rip)
{
    return rip < (unsigned long)&__executable_start || rip >= (unsigned long)&etext ||
           rip == (unsigned long)&cgroup_find || rip == (unsigned long)&cgroup_headroom;
}

static void breakpoint_set(pid_t pid, unsigned long at)
{
    size_t dr = offsetof(struct user, u_debugreg);
    MUST(ptrace(PTRACE_POKEUSER, pid, dr, at) == 0);
    MUST(ptrace(PTRACE_POKEUSER, pid, dr + 7 * sizeof(long), at ? 1 : 0) == 0);
}

/* The C library writes nothing of ours but what is in blocks: it runs to its end. */
static void library_leave(pid_t pid, unsigned long rsp)
{
    unsigned long to = (unsigned long)ptrace(PTRACE_PEEKDATA, pid, rsp, 0);
    breakpoint_set(pid, to);
    MUST(ptrace(PTRACE_CONT, pid, 0, 0) == 0);
}

/* A child that it forks stops before its first instruction, and waits. */
static void child_note(pid_t pid)
{
    unsigned long child;
    int status;
    MUST(ptrace(PTRACE_GETEVENTMSG, pid, 0, &child) == 0);
    MUST(waitpid((pid_t)child, &status, 0) == (pid_t)child && WIFSTOPPED(status));
    breakpoint_set((pid_t)child, 0);
    stage->child = (pid_t)child;
}

/* False: it has stopped itself, its phase is done. */
static bool step(pid_t pid)
{
    int status;
    static bool called; /* from ours: then the return address is on top of the stack */
    struct user_regs_struct before = registers(pid);
    bool library = called && is_library(before.rip);
    called = !is_library(before.rip);
    /* the same program: the same text */
    bool system_call = called && *(const uint16_t *)before.rip == 0x050f;
    if (library)
        library_leave(pid, before.rsp);
    else
        MUST(ptrace(PTRACE_SINGLESTEP, pid, 0, 0) == 0);
    for (;;) {
        MUST(waitpid(pid, &status, 0) == pid);
        if (!WIFSTOPPED(status))
            SAY("the victim ended in phase %u: %#x\n", stage->phase, (unsigned)status);
        if (status >> 8 != (SIGTRAP | PTRACE_EVENT_FORK << 8))
            break;
        child_note(pid);
        MUST(ptrace(PTRACE_CONT, pid, 0, 0) == 0);
    }
    if (library)
        breakpoint_set(pid, 0);
    if (WSTOPSIG(status) == SIGSTOP)
        return false;
    if (WSTOPSIG(status) != SIGTRAP)
        SAY("the victim got signal %d at %#lx, step %lu\n", WSTOPSIG(status),
            (unsigned long)registers(pid).rip, steps);
    steps++;
    if (system_call || library)
        extents_find();
    if (changed())
        die_here(before.rip);
    if (failures > 4)
        SAY("enough\n");
    return true;
}

static void step_to_next_stop(pid_t pid)
{
    while (step(pid))
        ;
}

static void run_to_next_stop(pid_t pid)
{
    int status;
    MUST(ptrace(PTRACE_CONT, pid, 0, 0) == 0);
    while (waitpid(pid, &status, 0) == pid && status >> 8 == (SIGTRAP | PTRACE_EVENT_FORK << 8)) {
        child_note(pid);
        MUST(ptrace(PTRACE_CONT, pid, 0, 0) == 0);
    }
    MUST(WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP);
    extents_find();
}

/* A short run of the code as it is steps through every fourth phase only, and that
 * in which what others have freed is collected. */
static bool is_stepped(uint32_t phase)
{
#ifdef HSHM_COUNT_SITES
    (void)phase;
    return true;
#else
    return all_of_them() || phase % 4 == 3 || victim_phases[phase] == phase_thread_ends;
#endif
}

/* A forked checker keeps what a fork would take from a member. */
static void keep_on_fork(void)
{
    struct mine *m = heap.mine;
    MUST(madvise(m, heap.mine_bytes, 19 /* MADV_KEEPONFORK */) == 0);
    MUST(madvise(m->caches_end - (64 << 10), 64 << 10, 19) == 0);
}

static struct witness lock_survivor(void)
{
    struct witness w = { NULL };
    snprintf(image, sizeof image, "%s.image", file);
    close(open(image, O_CREAT | O_RDWR, 0600));
    MUST(truncate(image, 4096) == 0);
    MUST(witness_make(image, 0, LOCK_MEMBER(member_slot(heap.member_id)), true, &w));
    return w;
}

/* Their own process: this heap is taken. */
static void predecessors_die(void)
{
    pid_t pid = fork();
    if (pid == 0) {
        munmap(heap.base, heap.header->window);
        pid_t dead[2];
        for (int i = 0; i < 2; i++) {
            dead[i] = predecessor(i == 0);
            stop_and_wait(dead[i]);
        }
        for (int i = 0; i < 2; i++)
            kill_and_wait(dead[i]);
        _exit(0);
    }
    int status;
    MUST(waitpid(pid, &status, 0) == pid && status == 0);
}

static void views_make(void)
{
    segment_fd = open(file, O_RDWR);
    file_view = mmap(NULL, heap.header->window, PROT_READ, MAP_SHARED, segment_fd, 0);
    shadow = mmap(NULL, heap.header->window, PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    MUST(segment_fd >= 0 && file_view != MAP_FAILED && shadow != MAP_FAILED);
    extents_find();
    changed();
}

static void run_stepped(bool reclaim)
{
    char path[200];
    snprintf(path, sizeof path, "/dev/shm/steps-%d", (int)getpid());
    stage_set(path);
    pid_t victim = fork();
    if (victim == 0) {
        MUST(ptrace(PTRACE_TRACEME, 0, 0, 0) == 0);
        victim_run();
    }
    stop_and_wait(victim);
    MUST(ptrace(PTRACE_SETOPTIONS, victim, 0, PTRACE_O_EXITKILL | PTRACE_O_TRACEFORK) == 0);
    join(reclaim);
    struct witness w = lock_survivor();
    survivor_set_up();
    if (victim_phases == names_phases)
        names_set_up();
    predecessors_die();
    keep_on_fork();
    views_make();
    extents_find();
    changed();
    die_here(0);
    MUST(failures == 0);
    for (uint32_t phase = 0; victim_phases[phase]; phase++) {
        unsigned long before = images, stepped = steps;
        if (phase > 0) /* when it joins it only notes the death */
            grace_is_over(&heap);
        changed();
        memset(seen_in_phase, 0, sizeof seen_in_phase);
        if (is_stepped(phase))
            step_to_next_stop(victim);
        else
            run_to_next_stop(victim);
        if (victim_phases[phase] == phase_fork)
            step_to_next_stop(stage->child);
        survivor_phase(phase);
        extents_find();
        changed();
        dprintf(2, "phase %u: %lu instructions, %lu images\n", phase, steps - stepped,
                images - before);
    }
    kill_and_wait(victim);
    witness_drop(&w);
    unlink(image);
    unlink(file);
    if (failures)
        SAY("%lu failures\n", failures);
}

static void life_of_blocks(void)
{
    run_stepped(false);
}

static void life_of_names(void)
{
    victim_phases = names_phases;
    run_stepped(false);
}

/* HSHM_EXIT=reclaim: what has a name or was given stays, all else of the dead goes. */
static void life_of_names_under_reclaim(void)
{
    victim_phases = names_phases;
    victim_reclaims = true;
    run_stepped(true);
}

#ifndef HSHM_COUNT_SITES
Test(every_instruction, may_be_the_last_one, .timeout = 1200)
{
    life_of_blocks();
}

Test(every_instruction, of_names_and_handed_blocks_may_be_the_last_one, .timeout = 1200)
{
    life_of_names();
}

Test(every_instruction, of_names_under_reclaim_may_be_the_last_one, .timeout = 1200)
{
    life_of_names_under_reclaim();
}
#else
/* A site that changed nothing anywhere was not tried. */
Test(every_site, is_died_at, .timeout = 1200)
{
    void (*const lives[])(void) = { life_of_blocks, life_of_names, life_of_names_under_reclaim };
    char missing[4000] = "";
    site_images = mmap(NULL, SITE_COUNT * sizeof *site_images, PROT_READ | PROT_WRITE,
                       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    for (int i = 0; i < 3; i++) {
        int status;
        pid_t pid = fork();
        if (pid == 0) {
            lives[i]();
            _exit(failures != 0);
        }
        MUST(waitpid(pid, &status, 0) == pid);
        cr_assert_eq(status, 0, "life %d: %#x", i, (unsigned)status);
    }
    for (int i = 0; i < SITE_COUNT; i++) {
        bool other = strncmp(site_names[i], "gpu_", 4) == 0; /* tests/gpu/test_gpu_core.c */
        for (size_t k = 0; k < sizeof elsewhere / sizeof *elsewhere; k++)
            other |= strcmp(elsewhere[k], site_names[i]) == 0;
        if (!site_images[i] && !other)
            strcat(strcat(missing, " "), site_names[i]);
    }
    cr_assert_str_eq(missing, "", "nobody was killed at:%s", missing);
}
#endif
