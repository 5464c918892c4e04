#include "api/track.h"
#include "allocators/words.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

bool tracking;

/* Open addressing by the block's address; at most half full.  A gone one leaves no hole: those behind
 * it move up. */
struct note {
    uintptr_t block; /* 0: none */
    const void *site;
    uint64_t bytes;
};
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct note *notes;
static uint64_t room, used;
static bool incomplete;

static uint64_t slot_of(uintptr_t block)
{
    return mix64(block) & (room - 1);
}

static struct note *note_find(uintptr_t block)
{
    uint64_t i = slot_of(block);
    while (notes[i].block && notes[i].block != block)
        i = (i + 1) & (room - 1);
    return &notes[i];
}

static bool notes_grow(void)
{
    struct note *old = notes;
    uint64_t had = room, want = room ? room * 2 : 4096;
    struct note *new = os_map(want * sizeof *new, false);
    if (!new)
        return false;
    notes = new;
    room = want;
    for (uint64_t i = 0; i < had; i++)
        if (old[i].block)
            *note_find(old[i].block) = old[i];
    if (old)
        os_unmap(old, had * sizeof *old);
    return true;
}

void track_note(const void *p, size_t size, const void *site)
{
    pthread_mutex_lock(&lock);
    if (used * 2 >= room && !notes_grow()) {
        incomplete = true;
    } else {
        struct note *note = note_find((uintptr_t)p);
        used += note->block == 0;
        *note = (struct note){ (uintptr_t)p, site, size };
    }
    pthread_mutex_unlock(&lock);
}

static void note_remove(struct note *note)
{
    uint64_t hole = (uint64_t)(note - notes), i = hole;
    used--;
    note->block = 0;
    for (;;) {
        i = (i + 1) & (room - 1);
        if (!notes[i].block)
            return;
        uint64_t home = slot_of(notes[i].block);
        if (((i - home) & (room - 1)) < ((i - hole) & (room - 1)))
            continue;
        notes[hole] = notes[i];
        notes[i].block = 0;
        hole = i;
    }
}

bool track_forget(const void *p, size_t *size, const void **site)
{
    pthread_mutex_lock(&lock);
    struct note *note = room ? note_find((uintptr_t)p) : NULL;
    bool had = note && note->block;
    if (had) {
        *size = note->bytes;
        *site = note->site;
        note_remove(note);
    }
    pthread_mutex_unlock(&lock);
    return had;
}

void track_lock(void)
{
    pthread_mutex_lock(&lock);
}

void track_unlock(void)
{
    pthread_mutex_unlock(&lock);
}

API int hshm_track(int on)
{
    pthread_mutex_lock(&lock);
    __atomic_store_n(&tracking, on != 0, __ATOMIC_RELAXED);
    if (!on && notes) {
        os_unmap(notes, room * sizeof *notes);
        notes = NULL;
        room = used = 0;
        incomplete = false;
    }
    pthread_mutex_unlock(&lock);
    return 0;
}

/* ---- sums --------------------------------------------------------------------------------- */

static int by_site(const void *a, const void *b)
{
    uintptr_t x = (uintptr_t)((const struct note *)a)->site;
    uintptr_t y = (uintptr_t)((const struct note *)b)->site;
    return x < y ? -1 : x > y;
}

static int by_bytes(const void *a, const void *b)
{
    uint64_t x = ((const hshm_site_t *)a)->bytes, y = ((const hshm_site_t *)b)->bytes;
    return x < y ? 1 : x > y ? -1 : 0;
}

/* A copy of all notes; NULL: no memory, or none. */
static struct note *notes_copy(uint64_t *count)
{
    pthread_mutex_lock(&lock);
    struct note *copy = used ? malloc(used * sizeof *copy) : NULL;
    *count = 0;
    for (uint64_t i = 0; copy && i < room; i++)
        if (notes[i].block)
            copy[(*count)++] = notes[i];
    pthread_mutex_unlock(&lock);
    return copy;
}

static void site_name(hshm_site_t *site)
{
    Dl_info info;
    site->file = site->function = "";
    if (!dladdr(site->address, &info))
        return;
    site->file = info.dli_fname ? info.dli_fname : "";
    site->function = info.dli_sname ? info.dli_sname : "";
    site->offset = (uint64_t)((const char *)site->address - (const char *)info.dli_fbase);
}

API int hshm_sites(int (*each)(const hshm_site_t *site, void *context), void *context)
{
    uint64_t count, n = 0;
    int rc = 0;
    struct note *copy = notes_copy(&count);
    hshm_site_t *sites = count ? calloc(count, sizeof *sites) : NULL;
    if (count && !sites) {
        free(copy);
        return fail(HSHM_ENOMEM, "no memory for %lu places", (unsigned long)count);
    }
    if (count)
        qsort(copy, count, sizeof *copy, by_site);
    for (uint64_t i = 0; i < count; i++) {
        n += i == 0 || copy[i].site != copy[i - 1].site;
        sites[n - 1].address = copy[i].site;
        sites[n - 1].blocks++;
        sites[n - 1].bytes += copy[i].bytes;
    }
    if (n)
        qsort(sites, n, sizeof *sites, by_bytes);
    for (uint64_t i = 0; i < n && rc == 0; i++) {
        site_name(&sites[i]);
        rc = each(&sites[i], context);
    }
    free(sites);
    free(copy);
    return rc ? rc : incomplete ? fail(HSHM_ENOMEM, "there was no memory to note all") : 0;
}
