/* hshm_mpi.h - segments and communicators: which ranks share memory, and joining together.
 *
 * Header only; for programs that include <mpi.h> anyway, in C or C++.  All functions are
 * collective over 'comm' and return one of enum hshm_error, the same one on every rank: if one
 * rank fails, all do, and those that had joined have left again.  (A rank that has died is MPI's
 * affair.)  Call them between MPI_Init and MPI_Finalize, from one thread. */
#ifndef HSHM_MPI_H
#define HSHM_MPI_H

#include "hshm.h"
#include <mpi.h>
#include <stdlib.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Two ranks share a segment if it is at the same place and is the same one; ranks of other
 * machines see other segments, whatever they are called.  'shared': to be freed by the caller. */
static inline int hshm_mpi_comm(MPI_Comm comm, hshm_segment *segment, MPI_Comm *shared)
{
    MPI_Comm node;
    hshm_info_t info;
    int rank, size, i, color = 0;
    info.struct_size = sizeof info;
    int failed = hshm_info(segment, &info), any = 0;
    hshm_ptr_t mine = HSHM_NULL, *all;
    if (!failed)
        mine = hshm_ptr(info.base);
    MPI_Comm_split_type(comm, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &node);
    MPI_Comm_rank(node, &rank);
    MPI_Comm_size(node, &size);
    all = (hshm_ptr_t *)malloc((size_t)size * sizeof *all);
    if (!all && !failed)
        failed = HSHM_ENOMEM;
    MPI_Allreduce(&failed, &any, 1, MPI_INT, MPI_MAX, comm);
    if (!any) {
        MPI_Allgather(&mine, sizeof mine, MPI_BYTE, all, sizeof mine, MPI_BYTE, node);
        for (i = 0; i < size && !hshm_ptr_equal(all[i], mine); i++)
            ;
        color = i; /* the first rank that has the same */
        MPI_Comm_split(node, color, rank, shared);
    }
    free(all);
    MPI_Comm_free(&node);
    return any;
}

/* Every rank joins the segment; the first of them makes it if attr says HSHM_CREATE.  NULL attr: as
 * hshm_open(). */
static inline int hshm_mpi_open(MPI_Comm comm, const char *name, const hshm_attr_t *attr,
                                hshm_segment **segment)
{
    hshm_segment *mine = NULL;
    int failed = hshm_open(name, attr, &mine), any = 0;
    MPI_Allreduce(&failed, &any, 1, MPI_INT, MPI_MAX, comm);
    if (any && !failed)
        hshm_close(mine);
    else if (!any)
        *segment = mine;
    return any;
}

#ifdef __cplusplus
}
#endif

#endif
