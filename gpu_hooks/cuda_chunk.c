/* cuda_chunk.c - the driver's memory behind a segment.
 *
 * A chunk is created by one member and mapped by all before its first block is
 * handed out: so an address means the same to everybody at once, and the
 * memory outlives whoever made it. */
#include "gpu_hooks/cuda.h"

#include "config/log.h"

static enum gpu_chunk_state chunk_state(uint64_t word)
{
    return (enum gpu_chunk_state)word_state(word);
}

static cu_ptr chunk_address(const struct cuda_dev *dev, uint32_t chunk)
{
    return dev->base + chunk * dev->chunk_bytes;
}

static void usable_set(struct cuda_dev *dev, uint32_t chunk, bool on)
{
    /* release: pairs with the look of gpu_find() in another thread */
    __atomic_store_n(&dev->seg.usable[chunk], on, __ATOMIC_RELEASE);
}

/* ---- mapping ------------------------------------------------------------------------------- */

static cu_result access_give(struct cuda_dev *dev, uint32_t chunk)
{
    struct cu_access access[CUDA_DEVICES];
    size_t n = 0;
    for (int i = 0; i < CUDA_DEVICES; i++)
        if (i == dev->ordinal || dev->access >> i & 1)
            access[n++] = (struct cu_access){ { CU_MEM_ON_DEVICE, i }, CU_MEM_READ_WRITE };
    return cuda.cuMemSetAccess(chunk_address(dev, chunk), dev->chunk_bytes, access, n);
}

void cuda_access_set(struct cuda_dev *dev)
{
    for (uint32_t c = 0; c < dev->seg.chunk_count; c++)
        if (dev->seg.usable[c])
            access_give(dev, c);
}

/* Under chunk_lock, which orders threads of ours that map; the driver knows nothing of it. */
static void unmap_locked(struct cuda_dev *dev, uint32_t chunk)
{
    struct os_file now;
    int fd = dev->chunk[chunk].fd;
    if (!fd)
        return;
    usable_set(dev, chunk, false);
    cuda.cuMemUnmap(chunk_address(dev, chunk), dev->chunk_bytes);
    const struct os_file *was = &dev->chunk[chunk].file;
    if (os_fstat(fd, &now) == 0 && now.inode == was->inode && now.device == was->device)
        os_close(fd);
    dev->chunk[chunk].fd = 0;
}

void cuda_chunk_unmap(struct cuda_dev *dev, uint32_t chunk)
{
    gpu_lock(&dev->chunk_lock);
    unmap_locked(dev, chunk);
    gpu_unlock(&dev->chunk_lock);
}

/* 'fd' is a kept one from here on, or closed. */
static cu_result map_locked(struct cuda_dev *dev, uint32_t chunk, uint64_t word, cu_handle handle,
                            long fd)
{
    cu_result result = cuda.cuMemMap(chunk_address(dev, chunk), dev->chunk_bytes, 0, handle, 0);
    if (result == CU_OK) {
        result = access_give(dev, chunk);
        if (result != CU_OK)
            cuda.cuMemUnmap(chunk_address(dev, chunk), dev->chunk_bytes);
    }
    long high = result == CU_OK ? gpu_os_dup_high(fd) : -1;
    if (high < 0)
        high = fd;
    else
        os_close(fd);
    if (result != CU_OK) {
        os_close(high);
        return result;
    }
    dev->chunk[chunk].fd = (int)high;
    dev->chunk[chunk].generation = word_length(word);
    os_fstat(high, &dev->chunk[chunk].file);
    usable_set(dev, chunk, true);
    return CU_OK;
}

static bool import_locked(struct cuda_dev *dev, uint32_t chunk, uint64_t word, long fd)
{
    cu_handle handle;
    if (cuda.cuMemImportFromShareableHandle(&handle, (void *)fd, CU_MEM_POSIX_FD) != CU_OK) {
        os_close(fd);
        return false;
    }
    cu_result result = map_locked(dev, chunk, word, handle, fd);
    cuda.cuMemRelease(handle); /* the mapping keeps it */
    return result == CU_OK;
}

bool cuda_chunk_import(struct cuda_dev *dev, uint32_t chunk, uint64_t word, long fd)
{
    if (chunk >= dev->seg.chunk_count || fd < 0)
        return false;
    gpu_lock(&dev->chunk_lock);
    bool have = dev->chunk[chunk].fd && dev->chunk[chunk].generation == word_length(word);
    if (have)
        os_close(fd);
    else
        unmap_locked(dev, chunk); /* an older one, which was given back */
    bool done = have || (gpu_chunk_back(&dev->seg, chunk) && import_locked(dev, chunk, word, fd));
    gpu_unlock(&dev->chunk_lock);
    return done;
}

/* ---- creating ----------------------------------------------------------------------------------- */

static cu_result create(struct cuda_dev *dev, uint32_t chunk, uint64_t word)
{
    struct cu_alloc_prop prop = { .type = CU_MEM_PINNED,
                                  .handle_types = CU_MEM_POSIX_FD,
                                  .location = { CU_MEM_ON_DEVICE, dev->ordinal },
                                  .flags = { .rdma = dev->rdma } };
    cu_handle handle;
    int fd = -1;
    cu_result result = cuda.cuMemCreate(&handle, dev->chunk_bytes, &prop, 0);
    if (result != CU_OK)
        return result;
    result = cuda.cuMemExportToShareableHandle(&fd, handle, CU_MEM_POSIX_FD, 0);
    if (result == CU_OK) {
        gpu_lock(&dev->chunk_lock);
        unmap_locked(dev, chunk);
        result = map_locked(dev, chunk, word, handle, fd);
        gpu_unlock(&dev->chunk_lock);
    }
    cuda.cuMemRelease(handle);
    return result;
}

cu_result cuda_chunk_create(struct cuda_dev *dev, uint32_t chunk)
{
    struct gpu_seg *s = &dev->seg;
    uint64_t word = get_acquire(s->chunks[chunk].word);
    if (chunk_state(word) != GPU_EMPTY)
        return CU_OK; /* somebody else is making it: look again */
    if (!gpu_chunk_back(s, chunk))
        return CU_OUT_OF_MEMORY;
    uint64_t ours = GPU_WORD(GPU_CREATING, s->id, word_length(word) + 1);
    if (!cas(gpu_chunk, s->chunks[chunk].word, &word, ours))
        return CU_OK;
    cu_result result = create(dev, chunk, ours);
    if (result != CU_OK) {
        put_release(gpu_chunk, s->chunks[chunk].word, GPU_WORD(GPU_EMPTY, 0, word_length(ours)));
        return result;
    }
    cuda_peers_tell(dev, PEER_ADD, chunk, ours);
    /* release: pairs with the acquire of who looks for room in it */
    put_release(gpu_chunk, s->chunks[chunk].word, GPU_WORD(GPU_READY, 0, word_length(ours)));
    return CU_OK;
}

/* ---- what others made ------------------------------------------------------------------------------ */

static bool chunk_is_mapped(struct cuda_dev *dev, uint32_t chunk, uint64_t word)
{
    gpu_lock(&dev->chunk_lock);
    bool have = dev->chunk[chunk].fd && dev->chunk[chunk].generation == word_length(word);
    gpu_unlock(&dev->chunk_lock);
    return have;
}

static bool chunk_fetch(struct cuda_dev *dev, uint32_t chunk, uint64_t word)
{
    if (chunk_is_mapped(dev, chunk, word))
        return true;
    long fd = cuda_peers_get(dev, chunk, word);
    return fd >= 0 && cuda_chunk_import(dev, chunk, word, fd);
}

/* Whoever was making it or giving it back is dead.  If anybody has it, it is there. */
static void chunk_mend(struct cuda_dev *dev, uint32_t chunk, uint64_t word)
{
    bool there = chunk_fetch(dev, chunk, word);
    uint64_t next = GPU_WORD(there ? GPU_READY : GPU_EMPTY, 0, word_length(word));
    if (cas(gpu_chunk, dev->seg.chunks[chunk].word, &word, next) && there)
        cuda_peers_tell(dev, PEER_ADD, chunk, next);
}

void cuda_chunks_mend(struct cuda_dev *dev)
{
    struct gpu_seg *s = &dev->seg;
    for (uint32_t c = 0; c < s->chunk_count; c++) {
        uint64_t word = get_acquire(s->chunks[c].word);
        enum gpu_chunk_state state = chunk_state(word);
        if ((state == GPU_CREATING || state == GPU_RETIRING) &&
            s->life(s, word_member(word)) != GPU_ALIVE)
            chunk_mend(dev, c, word);
    }
}

/* Nobody else is there any more who could have it: whoever made it ended before anybody came. */
static void chunk_forget(struct cuda_dev *dev, uint32_t chunk, uint64_t word)
{
    struct gpu_seg *s = &dev->seg;
    if (!cas(gpu_chunk, s->chunks[chunk].word, &word,
             GPU_WORD(GPU_RETIRING, s->id, word_length(word))))
        return;
    if (gpu_chunk_back(s, chunk))
        gpu_chunk_forget(s, chunk);
    put_release(gpu_chunk, s->chunks[chunk].word, GPU_WORD(GPU_EMPTY, 0, word_length(word)));
}

#define FETCH_TRIES 100

/* Who has it may be about to end, and who is about to have it may still be fetching it. */
static bool chunk_fetch_or_forget(struct cuda_dev *dev, uint32_t chunk, uint64_t word)
{
    struct gpu_seg *s = &dev->seg;
    for (int i = 0; i < FETCH_TRIES; i++) {
        if (chunk_fetch(dev, chunk, word))
            return true;
        if (!cuda_others_use(s, s->index)) {
            chunk_forget(dev, chunk, word);
            return true;
        }
        os_sleep_us(5000);
        word = get_acquire(s->chunks[chunk].word);
        if (chunk_state(word) != GPU_READY)
            return true;
    }
    return false;
}

/* A chunk that is being made when we come may have been told to all but us: wait for it. */
void cuda_chunks_map(struct cuda_dev *dev)
{
    struct gpu_seg *s = &dev->seg;
    for (uint32_t c = 0; c < s->chunk_count; c++) {
        uint64_t word = get_acquire(s->chunks[c].word);
        for (int i = 0; chunk_state(word) == GPU_CREATING && word_member(word) != s->id && i < 500;
             i++) {
            os_sleep_us(2000);
            if (s->life(s, word_member(word)) != GPU_ALIVE)
                break;
            word = get_acquire(s->chunks[c].word);
        }
        if (chunk_state(word) == GPU_READY && !chunk_fetch_or_forget(dev, c, word))
            log_once("GPU segment %s: a part of its memory cannot be had from any member",
                     main_heap.name);
    }
}

long cuda_chunk_fd(struct cuda_dev *dev, uint32_t chunk, bool *kept)
{
    struct os_file now;
    const struct os_file *was = &dev->chunk[chunk].file;
    int fd = dev->chunk[chunk].fd;
    *kept = true;
    if (!fd)
        return -1;
    if (os_fstat(fd, &now) == 0 && now.inode == was->inode && now.device == was->device)
        return fd;
    /* The program has closed it: the mapping is still there to be exported. */
    *kept = false;
    cu_handle handle;
    int again = -1;
    cuMemRetainAllocationHandle_fn *retain = cuda_real(cuMemRetainAllocationHandle);
    if (!retain || retain(&handle, (void *)(uintptr_t)chunk_address(dev, chunk)) != CU_OK)
        return -1;
    if (cuda.cuMemExportToShareableHandle(&again, handle, CU_MEM_POSIX_FD, 0) != CU_OK)
        again = -1;
    cuda.cuMemRelease(handle);
    return again;
}

/* ---- giving back ------------------------------------------------------------------------------------- */

static bool looks_empty(const struct gpu_seg *s, uint32_t chunk)
{
    uint64_t first = chunk * s->chunk_units / 64;
    for (uint64_t i = 0; i < s->chunk_units / 64; i++)
        if (get(s->taken[first + i]))
            return false;
    return true;
}

static bool is_empty(const struct gpu_seg *s, uint32_t chunk)
{
    uint64_t first = chunk * s->chunk_units;
    for (uint64_t i = 0; i < s->chunk_units; i++)
        if (get_acquire(s->units[first + i].word))
            return false;
    return true;
}

/* Announced first; who claims units looks at the word afterwards. */
static bool chunk_retire(struct cuda_dev *dev, uint32_t chunk, uint64_t word)
{
    struct gpu_seg *s = &dev->seg;
    uint64_t ours = GPU_WORD(GPU_RETIRING, s->id, word_length(word));
    if (!cas(gpu_chunk, s->chunks[chunk].word, &word, ours))
        return false;
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if (!is_empty(s, chunk)) {
        put_release(gpu_chunk, s->chunks[chunk].word, word);
        return false;
    }
    cuda_peers_tell(dev, PEER_DROP, chunk, ours);
    cuda_chunk_unmap(dev, chunk);
    put_release(gpu_chunk, s->chunks[chunk].word, GPU_WORD(GPU_EMPTY, 0, word_length(ours)));
    return true;
}

void cuda_chunks_retire(struct cuda_dev *dev, unsigned keep)
{
    struct gpu_seg *s = &dev->seg;
    for (uint32_t c = 0; c < s->chunk_count; c++) {
        uint64_t word = get_acquire(s->chunks[c].word);
        if (chunk_state(word) != GPU_READY || !s->usable[c] || !looks_empty(s, c))
            continue;
        if (keep > 0)
            keep--;
        else
            chunk_retire(dev, c, word);
    }
}

void cuda_sweep(struct cuda_dev *dev)
{
    struct os_file file;
    long fd = os_open(main_heap.path, 02 /* O_RDWR */, 0);
    if (fd < 0)
        return;
    if (os_fstat(fd, &file) == 0 && file.inode == main_heap.inode && os_lock(fd, LOCK_GPU) == 0)
        gpu_sweep(&dev->seg);
    os_close(fd);
}
