/* cuda_attach.c - from nothing to an attached device, on the first allocation of a process.
 *
 * What can go wrong here ends in DEV_PASSED with one line: the driver serves, as without us. */
#include "gpu_hooks/cuda.h"
#include "gpu_hooks/resolve.h"

#include "allocators/segment.h"
#include "config/log.h"
#include "config/options.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

struct cuda_process *cuda_process;
__thread uint32_t cuda_inside __attribute__((tls_model("initial-exec")));

/* ---- the area --------------------------------------------------------------------------------- */

/* The file is opened anew: nothing of ours stays open. */
static long file_open(void)
{
    struct os_file file;
    long fd = os_open(main_heap.path, O_RDWR | O_NOFOLLOW, 0);
    if (fd >= 0 && (os_fstat(fd, &file) < 0 || file.inode != main_heap.inode)) {
        os_close(fd);
        return -ENOENT;
    }
    return fd;
}

/* Kernel locks end with their holder.  A stopped one is not waited for. */
static bool file_lock(long fd)
{
    for (int i = 0; i < 5000; i++) {
        if (os_lock(fd, LOCK_GPU) == 0)
            return true;
        os_sleep_us(1000);
    }
    return false;
}

/* By a descriptor of its own: a mapping keeps the lock of the one that it was made with. */
static const char *area_map(void)
{
    struct os_file file;
    long fd = file_open();
    uint64_t window = main_heap.header->window, whole = window + GPU_AREA_BYTES;
    if (fd < 0)
        return "the segment's file cannot be opened";
    bool grown = os_fstat(fd, &file) == 0 && (file.bytes >= whole || os_truncate(fd, whole) >= 0);
    void *area = grown ? gpu_os_map_file(fd, window, GPU_AREA_BYTES) : NULL;
    os_close(fd);
    if (!grown)
        return "the segment's file cannot grow (RLIMIT_FSIZE, or its file system)";
    if (!area)
        return "no room for the addresses of its tables (RLIMIT_AS)";
    struct gpu_header *header = area;
    if (!gpu_back(header, sizeof *header)) {
        os_unmap(area, GPU_AREA_BYTES);
        return "no memory for its tables";
    }
    if (get(header->magic) != GPU_MAGIC) {
        uint64_t nonce;
        os_random(&nonce, sizeof nonce);
        put(gpu_begin, header->nonce, nonce);
        put(gpu_begin, header->members_high, 0);
        put_release(gpu_begin, header->magic, GPU_MAGIC);
    }
    cuda_process->area = gpu_area = area;
    return NULL;
}

/* ---- our entry ------------------------------------------------------------------------------------ */

static struct gpu_member *members(void)
{
    return (struct gpu_member *)((char *)cuda_process->area + GPU_MEMBERS_OFF);
}

/* Whoever had the entry before us may not be done with the device: its blocks are told from ours
 * by its id, and whether it is gone by what the entry says. */
static bool entry_is_free(struct gpu_member *m)
{
    struct gpu_seg s = { .members = members() };
    uint64_t id = get_acquire(m->id);
    for (int i = 0; id && id != main_heap.member_id; i++) {
        if (cuda_life(&s, id) == GPU_ENDED)
            break;
        if (i == 3000)
            return false;
        os_sleep_us(1000);
    }
    return true;
}

static const char *entry_take(void)
{
    struct gpu_header *header = cuda_process->area;
    uint32_t slot = member_slot(main_heap.member_id);
    struct gpu_member *m = &members()[slot];
    if (get(m->id) == main_heap.member_id)
        return NULL;
    uint64_t high = get(header->members_high);
    if (slot >= high && !gpu_back(&members()[high], (slot + 1 - high) * sizeof *m))
        return "no memory for its tables";
    if (!entry_is_free(m))
        return "an ended member in our place still uses the device";
    put(gpu_member, m->id, 0);
    put(gpu_member, m->pid, (uint64_t)os_pid());
    uint64_t stack;
    put(gpu_member, m->start, gpu_os_start_time((uint64_t)os_pid(), &stack));
    put(gpu_member, m->stack, stack);
    put(gpu_member, m->pid_ns, gpu_os_inode("/proc/self/ns/pid"));
    put(gpu_member, m->net_ns, gpu_os_inode("/proc/self/ns/net"));
    put(gpu_member, m->devices, 0);
    put(gpu_member, m->serves, 0);
    put(gpu_member, m->passed, 0);
    for (unsigned i = 0; i < GPU_DEVICE_MAX; i++) {
        put(gpu_member, m->pending[i], 0);
        put(gpu_member, m->used[i], 0);
        put(gpu_member, m->waiting[i], 0);
    }
    put(gpu_member, m->opens_high, 0);
    /* release: who reads it finds that the entries below are backed. */
    if (slot >= high)
        put_release(gpu_member, header->members_high, slot + 1);
    /* release: pairs with get_acquire() of 'id' by all who walk the table */
    put_release(gpu_member, m->id, main_heap.member_id);
    return NULL;
}

/* ---- the device's entry ------------------------------------------------------------------------------ */

static struct gpu_device *device_entry(unsigned index)
{
    return (struct gpu_device *)((char *)cuda_process->area + GPU_DEVICES_OFF +
                                 index * GPU_DEVICE_BYTES);
}

bool cuda_others_use(const struct gpu_seg *s, unsigned index)
{
    const struct gpu_header *header = cuda_process->area;
    for (uint64_t i = 0; i < get(header->members_high); i++) {
        uint64_t id = get_acquire(members()[i].id);
        if (id && id != main_heap.member_id && get(members()[i].devices) >> index & 1 &&
            cuda_life(s, id) == GPU_ALIVE)
            return true;
    }
    return false;
}

/* Its memory went with the last member that had it: the tables begin anew, as zeros. */
static void device_begin(struct gpu_device *d, const struct cu_uuid *uuid, uint64_t total)
{
    char *at = (char *)d;
    uint64_t generation = get(d->generation);
    put_release(gpu_begin, d->state, GPU_DEVICE_NONE);
    os_advise(at + OS_PAGE, GPU_DEVICE_BYTES - OS_PAGE, MADV_REMOVE);
    uint64_t limit = (uint64_t)option_bytes(OPT_GPU_SIZE, (int64_t)total);
    if (limit > total)
        limit = total;
    uint64_t chunk = UINT64_C(8) << 20;
    while (chunk * GPU_CHUNK_MAX < limit)
        chunk *= 2;
    memcpy(d->uuid, uuid, sizeof d->uuid);
    d->total = total;
    d->limit = limit;
    d->base = 0;
    d->chunk_units = chunk >> GPU_UNIT_SHIFT;
    d->chunk_count = limit / chunk ? limit / chunk : 1;
    put(gpu_begin, d->kept, 0);
    put(gpu_begin, d->allocs, 0);
    put(gpu_begin, d->refused, 0);
    put(gpu_begin, d->generation, generation + 1);
}

static bool device_is_sound(const struct gpu_device *d)
{
    uint64_t chunk = d->chunk_units << GPU_UNIT_SHIFT;
    return d->chunk_units && (d->chunk_units & (d->chunk_units - 1)) == 0 && d->chunk_units >= 64 &&
           d->chunk_count && d->chunk_count <= GPU_CHUNK_MAX &&
           d->chunk_units * d->chunk_count <= GPU_UNITS_MAX && d->base % chunk == 0 &&
           d->limit <= d->total;
}

/* ---- addresses ------------------------------------------------------------------------------------------ */

#define CANDIDATE_LOW  UINT64_C(0x100000000000)
#define CANDIDATE_HIGH UINT64_C(0x400000000000)
#define CANDIDATE_STEP UINT64_C(0x020000000000) /* 2 TiB */

static bool reserve_at(struct cuda_dev *dev, uint64_t base)
{
    cu_ptr got = 0;
    if (cuda.cuMemAddressReserve(&got, dev->bytes, dev->chunk_bytes, base, 0) != CU_OK)
        return false;
    if (got == base || !base) {
        dev->base = got;
        return true;
    }
    cuda.cuMemAddressFree(got, dev->bytes);
    return false;
}

/* The first one looks for a range that is free; the others take the same, or another with a line. */
static const char *range_reserve(struct cuda_dev *dev, struct gpu_device *d, unsigned index)
{
    uint64_t random;
    os_random(&random, sizeof random);
    if (!d->base) {
        uint64_t n = (CANDIDATE_HIGH - CANDIDATE_LOW) / CANDIDATE_STEP;
        for (uint64_t i = 0; i < n; i++)
            if (reserve_at(dev, CANDIDATE_LOW + (random + i) % n * CANDIDATE_STEP)) {
                d->base = dev->base;
                return NULL;
            }
    } else if (reserve_at(dev, d->base)) {
        return NULL;
    }
    if (!reserve_at(dev, 0))
        return "no address range for it";
    dev->relocated = true;
    if (!d->base)
        d->base = dev->base;
    else
        log_line("GPU %d of segment %s lies at another address in this program: pointers stored in "
                 "its memory mean nothing here, handles (cudaIpc) do",
                 (int)index, main_heap.name);
    return NULL;
}

/* ---- attaching -------------------------------------------------------------------------------------------- */

static const char *device_facts(cu_device ordinal, struct cu_uuid *uuid, uint64_t *total,
                                bool *rdma)
{
    int vmm = 0, fds = 0, unified = 0, direct = 0;
    size_t bytes = 0;
    if (cuda.cuDeviceGetAttribute(&vmm, CU_DEV_VIRTUAL_MEMORY, ordinal) != CU_OK ||
        cuda.cuDeviceGetAttribute(&fds, CU_DEV_POSIX_FD, ordinal) != CU_OK ||
        cuda.cuDeviceGetAttribute(&unified, CU_DEV_UNIFIED_ADDRESSING, ordinal) != CU_OK ||
        cuda.cuDeviceGetUuid_v2(uuid, ordinal) != CU_OK ||
        cuda.cuDeviceTotalMem_v2(&bytes, ordinal) != CU_OK)
        return "its driver does not tell about it";
    cuda.cuDeviceGetAttribute(&direct, CU_DEV_RDMA_WITH_VMM, ordinal);
    *total = bytes;
    *rdma = direct != 0;
    return vmm && fds && unified ? NULL : "its driver cannot share memory by descriptors";
}

static const char *attach_locked(struct cuda_dev *dev, const struct cu_uuid *uuid, uint64_t total)
{
    const char *why = entry_take();
    if (why)
        return why;
    struct gpu_seg *s = &dev->seg;
    memset(s, 0, sizeof *s);
    s->members = members();
    unsigned index = 0, empty = GPU_DEVICE_MAX;
    for (; index < GPU_DEVICE_MAX; index++) {
        struct gpu_device *d = device_entry(index);
        if (!gpu_back(d, 2 * OS_PAGE))
            return "no memory for its tables";
        bool is_free = get_acquire(d->state) != GPU_DEVICE_READY;
        if (!is_free && memcmp(d->uuid, uuid, sizeof d->uuid) == 0)
            break;
        if (is_free && empty == GPU_DEVICE_MAX)
            empty = index;
    }
    if (index == GPU_DEVICE_MAX && (index = empty) == GPU_DEVICE_MAX)
        return "the segment has no place for another device";
    struct gpu_device *d = device_entry(index);
    if (get(d->state) != GPU_DEVICE_READY || !cuda_others_use(s, index)) {
        device_begin(d, uuid, total);
        if (!gpu_back((char *)d + GPU_CHUNKS_OFF, GPU_CHUNK_MAX * sizeof(struct gpu_chunk)))
            return "no memory for its tables";
    }
    if (!device_is_sound(d))
        return "its tables are damaged";
    gpu_seg_view(s, cuda_process->area, index);
    s->id = main_heap.member_id;
    s->me = &s->members[member_slot(s->id)];
    s->life = cuda_life;
    s->reclaim = main_heap.reclaim;
    dev->chunk_bytes = s->chunk_units << GPU_UNIT_SHIFT;
    dev->bytes = s->unit_count << GPU_UNIT_SHIFT;
    if ((why = range_reserve(dev, d, index)))
        return why;
    if (!gpu_seg_private(s))
        return "no memory";
    put_release(gpu_begin, d->state, GPU_DEVICE_READY);
    fetch_or(gpu_member, s->me->devices, UINT64_C(1) << index);
    return NULL;
}

static const char *attach_try(struct cuda_dev *dev)
{
    struct cu_uuid uuid;
    uint64_t total = 0;
    const char *why = device_facts(dev->ordinal, &uuid, &total, &dev->rdma);
    if (why)
        return why;
    long fd = file_open();
    if (fd < 0)
        return "the segment's file cannot be opened";
    if (!file_lock(fd))
        why = "another member is at it and does not go on";
    if (!why && !cuda_process->area)
        why = area_map();
    if (!why)
        why = attach_locked(dev, &uuid, total);
    os_close(fd);
    if (!why && !cuda_listen())
        why = "no thread or socket to hand memory on";
    return why;
}

struct cuda_dev *cuda_attach(cu_device ordinal)
{
    struct cuda_dev *dev = &cuda_process->devices[ordinal];
    gpu_lock(&cuda_process->attach_lock);
    if (dev->state == DEV_NEW) {
        dev->ordinal = ordinal;
        cuda_inside++;
        const char *why = attach_try(dev);
        if (why) {
            log_line("GPU %d: %s; its memory is not shared", ordinal, why);
            if (option_number(OPT_GPU) == GPU_REQUIRE) {
                segment_leave(&main_heap);
                _exit(OPTIONS_EXIT_STATUS);
            }
        }
        /* release: pairs with the load in cuda_current() and cuda_owner() */
        __atomic_store_n(&dev->state, why ? DEV_PASSED : DEV_ATTACHED, __ATOMIC_RELEASE);
        if (!why) {
            __atomic_fetch_or(&cuda_process->attached, UINT32_C(1) << ordinal, __ATOMIC_RELEASE);
            cuda_chunks_mend(dev);
            cuda_chunks_map(dev);
            cuda_sweep(dev);
            log_verbose("GPU %d joined segment %s at %p, %zuB", ordinal, main_heap.name,
                        (void *)(uintptr_t)dev->base, (size_t)dev->bytes);
        }
        cuda_inside--;
    }
    gpu_unlock(&cuda_process->attach_lock);
    return dev->state == DEV_ATTACHED ? dev : NULL;
}

/* The first allocation: only now anything of ours exists.  Private memory that a forked child
 * finds zeroed, so it passes everything through. */
static bool process_start(void)
{
    static uint32_t lock, tried;
    /* Not waited for without end: in a child whose parent was here just then nobody unlocks it. */
    uint32_t seen = 0;
    for (int i = 0;
         !__atomic_compare_exchange_n(&lock, &seen, 1, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED);
         i++, seen = 0) {
        if (i == 1000)
            return false;
        os_sleep_us(1000);
    }
    if (!tried) {
        tried = 1;
        struct cuda_process *p =
            cuda_driver_load() ? os_map(round_up(sizeof *p, OS_PAGE), true) : NULL;
        if (p) {
            os_advise(p, round_up(sizeof *p, OS_PAGE), MADV_WIPEONFORK);
            p->alive = 1;
            __atomic_store_n(&cuda_process, p, __ATOMIC_RELEASE);
        }
    }
    __atomic_store_n(&lock, 0, __ATOMIC_RELEASE); /* pairs with the acquire above */
    return cuda_process != NULL;
}

struct cuda_dev *cuda_current(unsigned *context)
{
    cu_context current = NULL;
    cu_device ordinal = -1;
    if (!gpu_hooks_on || cuda_inside || (!cuda_process && !process_start()) || !cuda_on())
        return NULL;
    if (cuda.cuCtxGetCurrent(&current) != CU_OK || !current ||
        cuda.cuCtxGetDevice(&ordinal) != CU_OK || ordinal < 0 || ordinal >= CUDA_DEVICES)
        return NULL;
    struct cuda_dev *dev = &cuda_process->devices[ordinal];
    enum cuda_dev_state state = __atomic_load_n(&dev->state, __ATOMIC_ACQUIRE);
    if (state == DEV_PASSED || (state == DEV_NEW && !cuda_attach(ordinal)))
        return NULL;
    *context = cuda_context_number(current, ordinal);
    return dev;
}

struct cuda_dev *cuda_owner(cu_ptr ptr)
{
    if (!cuda_on())
        return NULL;
    /* acquire: pairs with the release in cuda_attach() */
    uint32_t attached = __atomic_load_n(&cuda_process->attached, __ATOMIC_ACQUIRE);
    for (; attached; attached &= attached - 1) {
        struct cuda_dev *dev = &cuda_process->devices[__builtin_ctz(attached)];
        if (ptr - dev->base < dev->bytes)
            return dev;
    }
    return NULL;
}

struct cuda_dev *cuda_by_index(unsigned index)
{
    uint32_t attached = __atomic_load_n(&cuda_process->attached, __ATOMIC_ACQUIRE);
    for (; attached; attached &= attached - 1) {
        struct cuda_dev *dev = &cuda_process->devices[__builtin_ctz(attached)];
        if (dev->seg.index == index)
            return dev;
    }
    return NULL;
}

/* ---- who lives ----------------------------------------------------------------------------------------------- */

#define FOREIGN_GRACE_MS 2000

/* A killed process drops its lock before the driver has torn its contexts down; when it is a
 * zombie, or gone, its files are closed and its kernels have ended.  In another pid namespace that
 * cannot be seen, and a grace has to do. */
static bool process_is_gone(const struct gpu_member *m)
{
    static uint64_t own_ns, own_start;
    uint64_t stack;
    if (!own_ns) {
        own_start = gpu_os_start_time((uint64_t)os_pid(), &stack);
        own_ns = gpu_os_inode("/proc/self/ns/pid");
    }
    if (own_ns && own_start && get(m->pid_ns) == own_ns) /* exec closes the device, too */
        return gpu_os_start_time(get(m->pid), &stack) != get(m->start) ||
               (stack && get(m->stack) && stack != get(m->stack));
    static uint64_t first_seen[MEMBER_MAX][2] __attribute__((section(".bss.large")));
    uint64_t slot = (uint64_t)(m - members()), id = get(m->id), now = os_now_ms();
    if (first_seen[slot][0] != id) {
        first_seen[slot][0] = id;
        first_seen[slot][1] = now;
    }
    return now - first_seen[slot][1] > FOREIGN_GRACE_MS;
}

enum gpu_life cuda_life(const struct gpu_seg *s, uint64_t id)
{
    uint32_t slot = member_slot(id);
    if (!id || slot >= MEMBER_MAX)
        return GPU_ENDED;
    if (id == main_heap.member_id)
        return GPU_ALIVE;
    const struct gpu_header *header = cuda_process->area;
    if (slot >= get_acquire(header->members_high) || get_acquire(s->members[slot].id) != id)
        return GPU_ENDED;
    uint64_t state = get_acquire(main_heap.members[slot].state);
    if (state_of(state) != MEMBER_FREE && state_epoch(state) == member_epoch(id) &&
        member_alive(&main_heap, slot))
        return GPU_ALIVE;
    return process_is_gone(&s->members[slot]) ? GPU_ENDED : GPU_ENDING;
}
