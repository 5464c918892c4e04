/* Killed at any instruction: after every one that changed a byte of the segment
 * the survivor takes a copy as it would find it, and goes on with that.
 *
 * timeout: 600
 */
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

static unsigned char *view, *shadow; /* the segment's file; as it was a step ago */
static struct extent {
    uint64_t from, to;
} extents[4096];
static unsigned extent_count;
static int segment_fd;
static char lock_file[256];

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
        if (memcmp(view + from, shadow + from, n) != 0) {
            memcpy(shadow + from, view + from, n);
            any = true;
        }
    }
    return any;
}

#define SAY(...)                                                                                   \
    do {                                                                                           \
        dprintf(2, __VA_ARGS__);                                                                   \
        _exit(1);                                                                                  \
    } while (0)

static void own_blocks_are_sound(const char *when)
{
    for (uint32_t i = 0; i < stage->own_count; i++)
        if (!is_painted(&stage->own[i]))
            SAY("%s: the survivor's block %u (%zu bytes) has changed\n", when, i,
                stage->own[i].size);
    for (uint32_t i = 0; i < stage->given_count; i++)
        if (stage->given[i].live == 1 && !is_painted(&stage->given[i]))
            SAY("%s: the survivor's block in the victim's hands %u (%zu bytes) has changed\n", when,
                i, stage->given[i].size);
    for (uint32_t i = 0; i < stage->made_count; i++)
        if (stage->made[i].live == 1 && !is_painted(&stage->made[i]))
            SAY("%s: the victim's block %u (%zu bytes) has changed\n", when, i,
                stage->made[i].size);
}

static void allocate_everything(void)
{
    static unsigned char *got[2 * CLASS_COUNT + 8];
    static size_t size[2 * CLASS_COUNT + 8];
    unsigned n = 0;
    for (unsigned cls = 0; cls < CLASS_COUNT; cls++)
        for (int k = 0; k < 2; k++)
            size[n++] = class_bytes(cls);
    size[n++] = 50000;
    size[n++] = 300000;
    for (unsigned i = 0; i < n; i++) {
        got[i] = fast_malloc(size[i]);
        if (!got[i])
            SAY("no memory for %zu bytes\n", size[i]);
        memset(got[i], 0xee, size[i] < 4096 ? size[i] : 4096);
    }
    own_blocks_are_sound("after allocating");
    for (unsigned i = 0; i < n; i++)
        fast_free(got[i]);
}

static void all_others_are_gone(void)
{
    for (uint64_t i = 0; i < heap.header->members_high.raw_; i++)
        if (&heap.members[i] != heap.me && state_of(heap.members[i].state.raw_) != MEMBER_FREE)
            SAY("slot %lu is in state %lx\n", (unsigned long)i,
                (unsigned long)heap.members[i].state.raw_);
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
        long rc = name_find(&heap, n->name, 0, 0, false, &info);
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

static void free_everything(void)
{
    unsigned uncertain = 0;
    end_names();
    for (uint32_t i = 0; i < stage->own_count; i++)
        fast_free(stage->own[i].at);
    for (uint32_t i = 0; i < stage->given_count; i++) {
        if (stage->given[i].live == 1)
            fast_free(stage->given[i].at);
        uncertain += stage->given[i].live == 2;
    }
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

static _Noreturn void survive(void)
{
    struct stat st;
    setrlimit(RLIMIT_CPU, &(struct rlimit){ 1, 2 });
    alarm(5);
    MUST(mmap(heap.base, heap.header->window, PROT_READ | PROT_WRITE,
              MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0) == heap.base);
    for (unsigned i = 0; i < extent_count; i++)
        memcpy(heap.base + extents[i].from, shadow + extents[i].from,
               extents[i].to - extents[i].from);
    snprintf(heap.path, sizeof heap.path, "%s", lock_file);
    MUST(stat(lock_file, &st) == 0);
    heap.inode = st.st_ino;
    heap.device = st.st_dev;
    grace_is_over(&heap);
    uint64_t state = heap.header->state.raw_;
    if (state != SEG_LIVE && state != SEG_REMOVING)
        SAY("the segment is in state %lu\n", (unsigned long)state);
    recover_dead(&heap, false);
    own_blocks_are_sound("after recovery");
    names_are_sound();
    allocate_everything();
    recover_dead(&heap, false);
    all_others_are_gone();
    allocate_everything();
    names_are_sound();
    free_everything();
    _exit(0);
}

static unsigned long steps, images, failures;

static void die_here(unsigned long rip)
{
    int status;
    images++;
    pid_t pid = fork();
    if (pid == 0)
        survive();
    waitpid(pid, &status, 0);
    if (status == 0)
        return;
    failures++;
    dprintf(2, "^ phase %u, step %lu, image %lu: after the instruction at %#lx, status %#x\n",
            stage->phase, steps, images, rip - (unsigned long)&victim_run, (unsigned)status);
}

/* ---- the victim under the stepper ------------------------------------------------------------ */

#define RIP(pid) ((unsigned long)ptrace(PTRACE_PEEKUSER, pid, offsetof(struct user, regs.rip), 0))

static void step_to_next_stop(pid_t pid)
{
    for (;;) {
        int status;
        unsigned long rip = RIP(pid);
        bool system_call = *(const uint16_t *)rip == 0x050f; /* the same program: the same text */
        MUST(ptrace(PTRACE_SINGLESTEP, pid, 0, 0) == 0);
        MUST(waitpid(pid, &status, 0) == pid);
        if (!WIFSTOPPED(status))
            SAY("the victim ended in phase %u: %#x\n", stage->phase, (unsigned)status);
        if (WSTOPSIG(status) == SIGSTOP)
            return;
        MUST(WSTOPSIG(status) == SIGTRAP);
        steps++;
        if (system_call)
            extents_find();
        if (changed())
            die_here(rip);
        if (failures > 4)
            SAY("enough\n");
    }
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
    snprintf(lock_file, sizeof lock_file, "%s.lock", file);
    close(open(lock_file, O_CREAT | O_RDWR, 0600));
    MUST(truncate(lock_file, 4096) == 0);
    MUST(witness_make(lock_file, 0, LOCK_MEMBER(member_slot(heap.member_id)), true, &w));
    return w;
}

static void views_make(void)
{
    segment_fd = open(file, O_RDWR);
    view = mmap(NULL, heap.header->window, PROT_READ, MAP_SHARED, segment_fd, 0);
    shadow = mmap(NULL, heap.header->window, PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    MUST(segment_fd >= 0 && view != MAP_FAILED && shadow != MAP_FAILED);
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
    MUST(ptrace(PTRACE_SETOPTIONS, victim, 0, PTRACE_O_EXITKILL) == 0);
    join(reclaim);
    struct witness w = lock_survivor();
    survivor_set_up();
    pid_t dead = 0;
    {
        /* its own process: this heap is taken */
        dead = fork();
        if (dead == 0) {
            munmap(heap.base, heap.header->window);
            pid_t pid = predecessor(reclaim);
            stop_and_wait(pid);
            kill_and_wait(pid);
            _exit(0);
        }
        int status;
        MUST(waitpid(dead, &status, 0) == dead && status == 0);
    }
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
        step_to_next_stop(victim);
        survivor_phase(phase);
        extents_find();
        changed();
        dprintf(2, "phase %u: %lu instructions, %lu images\n", phase, steps - stepped,
                images - before);
    }
    kill_and_wait(victim);
    witness_drop(&w);
    unlink(lock_file);
    unlink(file);
    cr_assert_eq(failures, 0);
}

Test(every_instruction, may_be_the_last_one, .timeout = 600)
{
    run_stepped(false);
}

Test(every_instruction, of_names_and_handed_blocks_may_be_the_last_one, .timeout = 600)
{
    victim_phases = names_phases;
    run_stepped(false);
}

/* HSHM_EXIT=reclaim: what has a name or was given stays, all else of the dead goes. */
Test(every_instruction, of_names_under_reclaim_may_be_the_last_one, .timeout = 600)
{
    victim_phases = names_phases;
    victim_reclaims = true;
    run_stepped(true);
}
