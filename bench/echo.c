// echo MODE COUNT: a client allocates batches of 64 requests and sends their pointers through a pipe;
// a server frees each and answers with blocks of its own, which the client frees: remote frees in both
// directions, with the kernel's wake-ups between. MODE is "threads" or "processes".
#include "handoff.h"

enum { BATCH = 64, IN_FLIGHT = 8 };

struct request {
    uint64_t value;
    uint32_t answer_size;
};

static int to_server[2], to_client[2];
static uint64_t batches;

static void move(int fd, void **batch, ssize_t (*action)(int, void *, size_t))
{
    // A batch is 512 bytes: pipes pass up to 4096 in one piece.
    if (action(fd, batch, BATCH * sizeof *batch) != BATCH * (ssize_t)sizeof *batch)
        exit(1);
}

static ssize_t put(int fd, void *data, size_t size)
{
    return write(fd, data, size);
}

static void *serve(void *argument)
{
    void *batch[BATCH];
    for (uint64_t b = 0; b < batches; b++) {
        move(to_server[0], batch, read);
        for (int i = 0; i < BATCH; i++) {
            struct request *question = batch[i];
            batch[i] = get(question->answer_size);
            touch(batch[i], 16, 3 * question->value);
            free(question);
        }
        move(to_client[1], batch, put);
    }
    return argument;
}

int main(int argc, char **argv)
{
    const char *mode = argc > 1 ? argv[1] : "threads";
    batches = arg_number(argc, argv, 2, 2000000) / BATCH;
    if (pipe(to_server) || pipe(to_client))
        return 1;
    struct side server = start_side(mode, serve, NULL);
    struct rng r = rng_seed(31);
    uint64_t sum = 0;
    void *batch[BATCH];
    for (uint64_t b = 0; b < batches + IN_FLIGHT; b++) {
        if (b >= IN_FLIGHT) {
            move(to_client[0], batch, read);
            for (int i = 0; i < BATCH; i++) {
                sum += first_word(batch[i]);
                free(batch[i]);
            }
        }
        if (b >= batches)
            continue;
        for (int i = 0; i < BATCH; i++) {
            struct request *question = get(rng_range(&r, 16, 400));
            *question = (struct request){ .value = b + (uint64_t)i };
            question->answer_size = (uint32_t)rng_range(&r, 16, 800);
            batch[i] = question;
        }
        move(to_server[1], batch, put);
    }
    join_side(server);
    return result(2 * batches * BATCH, sum);
}
