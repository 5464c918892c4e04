/* An MPI program that knows nothing of us: blocks of malloc of all sizes go round a ring of ranks, by each
 * way of sending, and come back as they were; their memory is freed and had again meanwhile, which caches
 * of registered memory must notice. */
#include <mpi.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int rank, size;

#define MUST(x)                                                                                    \
    do {                                                                                           \
        if (!(x)) {                                                                                \
            fprintf(stderr, "%s:%d: rank %d: not so: %s\n", __FILE__, __LINE__, rank, #x);         \
            MPI_Abort(MPI_COMM_WORLD, 1);                                                          \
        }                                                                                          \
    } while (0)

static unsigned char *filled(size_t n, int seed)
{
    unsigned char *p = malloc(n);
    MUST(p);
    for (size_t i = 0; i < n; i++)
        p[i] = (unsigned char)(i * 7 + (size_t)seed);
    return p;
}

static void is_filled(const unsigned char *p, size_t n, int seed)
{
    for (size_t i = 0; i < n; i++)
        MUST(p[i] == (unsigned char)(i * 7 + (size_t)seed));
}

static void send_round(size_t n, int step)
{
    int to = (rank + 1) % size, from = (rank + size - 1) % size;
    MPI_Request requests[2];
    unsigned char *out = filled(n, rank + step), *in = malloc(n);
    MUST(in);
    MPI_Irecv(in, (int)n, MPI_BYTE, from, step, MPI_COMM_WORLD, &requests[0]);
    MPI_Isend(out, (int)n, MPI_BYTE, to, step, MPI_COMM_WORLD, &requests[1]);
    MPI_Waitall(2, requests, MPI_STATUSES_IGNORE);
    is_filled(in, n, from + step);
    free(out); /* and another block takes its place in the next step */
    memset(in, 0, n);
    in = realloc(in, n + 100);
    MPI_Sendrecv_replace(in, (int)n, MPI_BYTE, to, 1, from, 1, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
    for (size_t i = 0; i < n; i++)
        MUST(in[i] == 0);
    free(in);
}

static void collectives(size_t n)
{
    unsigned char *all = filled(n * (size_t)size, rank), *got = malloc(n * (size_t)size);
    MPI_Alltoall(all, (int)n, MPI_BYTE, got, (int)n, MPI_BYTE, MPI_COMM_WORLD);
    for (int r = 0; r < size; r++)
        is_filled(got + n * (size_t)r, n, r + (int)(n * 7 * (size_t)rank));
    if (rank == 0)
        for (size_t i = 0; i < n; i++)
            got[i] = (unsigned char)(i * 7 + 99);
    MPI_Bcast(got, (int)n, MPI_BYTE, 0, MPI_COMM_WORLD);
    is_filled(got, n, 99);
    long mine = rank + 1, sum = 0;
    MPI_Allreduce(&mine, &sum, 1, MPI_LONG, MPI_SUM, MPI_COMM_WORLD);
    MUST(sum == (long)size * (size + 1) / 2);
    free(all);
    free(got);
}

/* Memory that MPI allocates, and that ranks share by MPI's own means. */
static void windows(void)
{
    MPI_Win window;
    MPI_Aint bytes;
    int unit;
    long *mine, *theirs;
    void *plain;
    MPI_Win_allocate_shared(1000 * sizeof(long), sizeof(long), MPI_INFO_NULL, MPI_COMM_WORLD, &mine,
                            &window);
    MPI_Win_lock_all(0, window);
    for (int i = 0; i < 1000; i++)
        mine[i] = rank * 1000 + i;
    MPI_Win_sync(window);
    MPI_Barrier(MPI_COMM_WORLD);
    MPI_Win_sync(window);
    MPI_Win_shared_query(window, (rank + 1) % size, &bytes, &unit, &theirs);
    for (int i = 0; i < 1000; i++)
        MUST(theirs[i] == (rank + 1) % size * 1000 + i);
    MPI_Win_unlock_all(window);
    MPI_Win_free(&window);
    MPI_Alloc_mem(1 << 20, MPI_INFO_NULL, &plain);
    memset(plain, 1, 1 << 20);
    MPI_Free_mem(plain);
    /* Remote access to a block of malloc. */
    long *block = calloc(1000, sizeof *block), value = rank + 5;
    MPI_Win_create(block, 1000 * sizeof *block, sizeof *block, MPI_INFO_NULL, MPI_COMM_WORLD,
                   &window);
    MPI_Win_fence(0, window);
    MPI_Put(&value, 1, MPI_LONG, (rank + 1) % size, 7, 1, MPI_LONG, window);
    MPI_Win_fence(0, window);
    MUST(block[7] == (rank + size - 1) % size + 5);
    MPI_Win_free(&window);
    free(block);
}

int main(int argc, char **argv)
{
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    int step = 0;
    for (size_t n = 1; n <= 4u << 20; n *= 4)
        for (int i = 0; i < (n < 65536 ? 8 : 3); i++)
            send_round(n + (size_t)i, step++);
    for (size_t n = 1; n <= 1u << 20; n *= 32)
        collectives(n);
    windows();
    /* For the test: was it served by us? */
    char *block = malloc(1000);
    if (rank == 0)
        printf("%d ranks, %s\n", size,
               (unsigned long)block >> 40 >= 0x48 && (unsigned long)block >> 40 < 0x54
                   ? "a heap of ours"
                   : "libc's heap");
    free(block);
    MPI_Finalize();
    return 0;
}
