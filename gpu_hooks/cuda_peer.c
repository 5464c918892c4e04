/* cuda_peer.c - how descriptors of the driver's memory come from member to member.
 *
 * Each member that has attached a device has one thread, which waits at a
 * socket without a file.  Any member can serve any other, so no one of them is
 * needed.  Who asks and who is asked are of the same user, or root. */
#include "gpu_hooks/cuda.h"

#include <errno.h>
#include <string.h>

#define MAGIC      UINT32_C(0x68736770)
#define TIMEOUT_MS 400

static long listening = -1;

static void name_of(uint64_t id, struct gpu_name *name)
{
    static const char digits[] = "0123456789abcdef";
    const struct gpu_header *header = cuda_process->area;
    uint64_t parts[2] = { get(header->nonce), id };
    uint32_t at = 0;
    memcpy(name->text, "hshm.gpu.", 9);
    at = 9;
    for (int p = 0; p < 2; p++)
        for (int shift = 60; shift >= 0; shift -= 4)
            name->text[at++] = digits[parts[p] >> shift & 15];
    name->length = at;
}

/* ---- serving -------------------------------------------------------------------------------- */

static void serve(long fd, const struct gpu_message *m, long passed)
{
    struct gpu_message answer = { MAGIC, PEER_YES, m->device, m->chunk, m->word };
    struct cuda_dev *dev = cuda_by_index(m->device);
    long give = -1;
    bool kept = true;
    if (m->command == PEER_GET) {
        bool have = dev && m->chunk < dev->seg.chunk_count && dev->chunk[m->chunk].fd &&
                    dev->chunk[m->chunk].generation == word_length(m->word);
        give = have ? cuda_chunk_fd(dev, m->chunk, &kept) : -1;
        answer.command = give >= 0 ? PEER_YES : PEER_NO;
    } else if (m->command == PEER_ADD && dev && passed >= 0) {
        if (!cuda_chunk_import(dev, m->chunk, m->word, passed))
            answer.command = PEER_NO;
        passed = -1;
    } else if (m->command == PEER_DROP && dev && m->chunk < dev->seg.chunk_count) {
        if (dev->chunk[m->chunk].generation == word_length(m->word))
            cuda_chunk_unmap(dev, m->chunk);
    }
    if (passed >= 0)
        os_close(passed);
    gpu_os_send(fd, &answer, give);
    if (give >= 0 && !kept)
        os_close(give);
}

/* The program may close our descriptor, and have another under its number. */
static bool listen_again(const struct gpu_name *name)
{
    if (listening >= 0 && gpu_os_is_ours(listening, name))
        return true;
    listening = gpu_os_listen(name);
    if (listening >= 0)
        return true;
    os_sleep_us(100000);
    return false;
}

static void *serve_all(void *arg)
{
    struct gpu_name name;
    (void)arg;
    cuda_inside = 1; /* what the driver calls on our behalf is not the program's */
    name_of(main_heap.member_id, &name);
    for (;;) {
        if (!listen_again(&name))
            continue;
        gpu_os_wait(listening);
        if (!gpu_os_is_ours(listening, &name))
            continue;
        long fd = gpu_os_accept(listening), passed;
        struct gpu_message m;
        if (fd < 0)
            continue;
        if (gpu_os_peer_may(fd) && gpu_os_receive(fd, &m, &passed)) {
            if (m.magic == MAGIC)
                serve(fd, &m, passed);
            else if (passed >= 0)
                os_close(passed);
        }
        os_close(fd);
    }
    return NULL;
}

bool cuda_listen(void)
{
    int (*create)(unsigned long *, const void *, void *(*)(void *), void *);
    struct gpu_name name;
    unsigned long thread;
    if (cuda_process->listens)
        return true;
    *(void **)&create = cuda_libc("pthread_create");
    name_of(main_heap.member_id, &name);
    listening = gpu_os_listen(&name);
    if (listening < 0 || !create)
        return false;
    os_signals old = os_signals_block(); /* no handler of the program's runs there */
    cuda_process->listens = create(&thread, NULL, serve_all, NULL) == 0;
    os_signals_restore(old);
    if (!cuda_process->listens)
        return false;
    struct gpu_member *m = (struct gpu_member *)((char *)cuda_process->area + GPU_MEMBERS_OFF) +
                           member_slot(main_heap.member_id);
    put_release(gpu_member, m->serves, 1);
    return true;
}

/* ---- asking ------------------------------------------------------------------------------------ */

/* One question, one answer; *got is the descriptor that came with it.  False: none came. */
static bool ask_once(uint64_t id, const struct gpu_message *question, long give,
                     struct gpu_message *answer, long *got)
{
    struct gpu_name name;
    name_of(id, &name);
    *got = -1;
    long fd = gpu_os_connect(&name, TIMEOUT_MS);
    if (fd < 0)
        return false;
    bool heard = gpu_os_send(fd, question, give) && gpu_os_receive(fd, answer, got) &&
                 answer->magic == MAGIC;
    os_close(fd);
    return heard;
}

/* One whose program has closed its socket opens another; one that is stopped is not waited for. */
static bool ask(uint64_t id, const struct gpu_message *question, long give, long *got)
{
    struct gpu_message answer = { 0 };
    uint64_t start = os_now_ms();
    long passed = -1;
    bool heard = ask_once(id, question, give, &answer, &passed);
    for (int i = 0; i < 20 && !heard && os_now_ms() - start < TIMEOUT_MS; i++) {
        if (passed >= 0)
            os_close(passed);
        os_sleep_us(10000);
        heard = ask_once(id, question, give, &answer, &passed);
    }
    bool yes = heard && answer.command == PEER_YES;
    if (got && yes)
        *got = passed;
    else if (passed >= 0)
        os_close(passed);
    return yes;
}

static bool is_peer(const struct cuda_dev *dev, const struct gpu_member *m)
{
    const struct gpu_seg *s = &dev->seg;
    uint64_t id = get_acquire(m->id);
    return id && id != s->id && get(m->devices) >> s->index & 1 && get_acquire(m->serves) &&
           s->life(s, id) == GPU_ALIVE;
}

long cuda_peers_get(struct cuda_dev *dev, uint32_t chunk, uint64_t word)
{
    const struct gpu_seg *s = &dev->seg;
    struct gpu_message question = { MAGIC, PEER_GET, s->index, chunk, word };
    uint64_t high = get_acquire(s->header->members_high);
    for (uint64_t i = 0; i < high; i++) {
        long fd = -1;
        if (is_peer(dev, &s->members[i]) && ask(get(s->members[i].id), &question, -1, &fd) &&
            fd >= 0)
            return fd;
    }
    return -1;
}

void cuda_peers_tell(struct cuda_dev *dev, unsigned command, uint32_t chunk, uint64_t word)
{
    const struct gpu_seg *s = &dev->seg;
    struct gpu_message message = { MAGIC, command, s->index, chunk, word };
    bool kept = true;
    long fd = command == PEER_ADD ? cuda_chunk_fd(dev, chunk, &kept) : -1;
    uint64_t high = get_acquire(s->header->members_high);
    for (uint64_t i = 0; i < high; i++)
        if (is_peer(dev, &s->members[i]))
            ask(get(s->members[i].id), &message, fd, NULL);
    if (fd >= 0 && !kept)
        os_close(fd);
}
