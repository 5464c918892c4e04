/* dump.c - HSHM_DUMP: the heap in core dumps.
 *
 * The kernel leaves shared mappings out.  To let all of the window in would be worse: to dump a
 * hole of a shared mapping is to fill it.  So the window is marked as not to be dumped when it is
 * mapped, and the OS pages that have memory are marked again when the program is about to die of
 * a signal that it does not handle itself. */
#include "allocators/page.h"
#include "config/log.h"
#include "preload/preload.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

static const int deadly[] = { SIGQUIT, SIGILL,  SIGABRT, SIGFPE,  SIGSEGV,
                              SIGBUS,  SIGTRAP, SIGSYS,  SIGXCPU, SIGXFSZ };

#define RANGES_MAX 20000 /* of the 65,530 mappings that a process may have */

static uint32_t ranges;

static void include(uint64_t from, uint64_t to)
{
    if (to > from && ranges < RANGES_MAX) {
        madvise(main_heap.base + from, to - from, MADV_DODUMP);
        ranges++;
    }
}

/* The OS pages of a chunk in use, as runs. */
static void include_chunk(uint64_t c)
{
    uint64_t start = c << CHUNK_SHIFT, from = 0;
    bool open = false;
    for (uint64_t page = 0; page <= CHUNK_BYTES / OS_PAGE; page++) {
        const struct slice *d = &main_heap.slices[c * CHUNK_SLICES + page / SLICE_OSPAGES];
        bool in = page < CHUNK_BYTES / OS_PAGE && (get(d->committed) >> (page % SLICE_OSPAGES) & 1);
        if (in && !open)
            from = page;
        if (!in && open)
            include(start + from * OS_PAGE, start + page * OS_PAGE);
        open = in;
    }
}

/* A huge block takes its memory when it is touched: what has some is asked of the kernel. */
static void include_huge(uint64_t c)
{
    static unsigned char has[CHUNK_BYTES / OS_PAGE];
    uint64_t start = c << CHUNK_SHIFT, from = 0;
    bool open = false;
    if (mincore(main_heap.base + start, CHUNK_BYTES, has) < 0)
        return;
    for (uint64_t page = 0; page <= CHUNK_BYTES / OS_PAGE; page++) {
        bool in = page < CHUNK_BYTES / OS_PAGE && has[page] & 1;
        if (in && !open)
            from = page;
        if (!in && open)
            include(start + from * OS_PAGE, start + page * OS_PAGE);
        open = in;
    }
}

/* The header and what is used of the tables, so that a debugger can find its way. */
static void include_tables(uint64_t high)
{
    const struct seg_header *h = main_heap.header;
    include(0, OS_PAGE);
    include(SEG_MEMBERS_OFF, SEG_MEMBERS_OFF + get(h->members_high) * sizeof(struct seg_member));
    include(h->chunks_off, round_up(h->chunks_off + high * sizeof(struct chunk), OS_PAGE));
    for (uint64_t c = h->first_chunk; c < high; c++)
        if (get(main_heap.chunks[c].described)) {
            uint64_t at = h->slices_off + c * CHUNK_SLICES * sizeof(struct slice);
            include(at, at + CHUNK_SLICES * sizeof(struct slice));
        }
}

static void include_heap(void)
{
    uint64_t high = chunks_high(&main_heap);
    if (high > main_heap.chunk_count)
        return; /* who dies of damage dies without */
    include_tables(high);
    for (uint64_t c = main_heap.first_chunk; c < high; c++) {
        enum chunk_state state = word_state(get(main_heap.chunks[c].word));
        if (state == CHUNK_OWNED || state == CHUNK_ORPHAN)
            include_chunk(c);
        else if (state == CHUNK_HUGE || state == CHUNK_PART)
            include_huge(c);
    }
}

/* Marks, and lets the signal do what it would have done. */
static void on_death(int number, siginfo_t *info, void *context)
{
    sigset_t one;
    (void)context;
    if (preload_mode == MODE_HEAP && main_heap.shared)
        include_heap();
    sigaction(number, &(struct sigaction){ .sa_handler = SIG_DFL }, NULL);
    if (info->si_code > 0 && number != SIGTRAP && number != SIGSYS)
        return; /* the instruction does it again, and the core shows it */
    raise(number);
    sigemptyset(&one);
    sigaddset(&one, number);
    sigprocmask(SIG_UNBLOCK, &one, NULL);
}

/* Shared file mappings, too: what is not to be dumped of ours is marked. */
static void filter_open(void)
{
    char text[16] = "";
    int fd = open("/proc/self/coredump_filter", O_RDWR | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    unsigned long filter = n > 0 ? strtoul(text, NULL, 16) | 1 << 1 | 1 << 3 : 0;
    char digits[16];
    size_t at = sizeof digits;
    do
        digits[--at] = "0123456789abcdef"[filter & 15];
    while (filter >>= 4);
    digits[--at] = 'x';
    digits[--at] = '0';
    if (n <= 0 || write(fd, digits + at, sizeof digits - at) < 0)
        log_line(
            "HSHM_DUMP: /proc/self/coredump_filter cannot be changed: core dumps lack the heap");
    if (fd >= 0)
        close(fd);
}

void dump_start(void)
{
    struct sigaction now;
    if (!option_number(OPT_DUMP) || !main_heap.shared)
        return;
    filter_open();
    for (unsigned i = 0; i < sizeof deadly / sizeof *deadly; i++)
        if (sigaction(deadly[i], NULL, &now) == 0 && now.sa_handler == SIG_DFL)
            sigaction(deadly[i],
                      &(struct sigaction){ .sa_sigaction = on_death,
                                           .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESETHAND },
                      NULL);
}
