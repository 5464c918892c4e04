/* Ranks that join one segment together, and know who shares it.  Run by mpirun -n 2.
 *
 * prints: 2 ranks share 2 numbers: 1 2 */
#include <mpi.h>

#include <hshm_mpi.h>

#include <stdio.h>

int main(int argc, char **argv)
{
    hshm_segment *segment = NULL;
    hshm_attr_t attr = HSHM_ATTR_INIT;
    MPI_Comm sharing = MPI_COMM_NULL;
    int rank, size;
    MPI_Init(&argc, &argv);
    attr.size = 64 << 20;
    attr.flags = HSHM_CREATE;
    /* All, or none: a rank that cannot join leaves nobody waiting. */
    if (hshm_mpi_open(MPI_COMM_WORLD, "example-ranks", &attr, &segment) != HSHM_OK ||
        hshm_mpi_comm(MPI_COMM_WORLD, segment, &sharing) != HSHM_OK)
        MPI_Abort(MPI_COMM_WORLD, 1);
    MPI_Comm_rank(sharing, &rank);
    MPI_Comm_size(sharing, &size);
    int *numbers =
        (int *)hshm_named(segment, "numbers", (size_t)size * sizeof *numbers, 0, 0, 0, NULL);
    numbers[rank] = rank + 1;
    MPI_Barrier(sharing);
    if (rank == 0)
        printf("%d ranks share 2 numbers: %d %d\n", size, numbers[0], numbers[1]);
    MPI_Comm_free(&sharing);
    hshm_close(segment);
    MPI_Finalize();
    return 0;
}
