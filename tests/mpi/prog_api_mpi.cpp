/* Umpire's recipe for shared memory with other includes, run by mpirun: prog_api_mpi NAME. */
#include <mpi.h>

#include <hshm_umpire.hpp>

int main(int ac, char **av)
{
    MPI_Init(&ac, &av);
    auto &rm = umpire::ResourceManager::getInstance();
    auto traits{ umpire::get_default_resource_traits("SHARED") };
    traits.size = 1 * 1024 * 1024;
    traits.scope = umpire::MemoryResourceTraits::shared_scope::node;
    auto node_allocator{ rm.makeResource(std::string("SHARED::") + av[1], traits) };
    UMPIRE_ASSERT(node_allocator.getAllocationStrategy()->getTraits().resource ==
                  umpire::MemoryResourceTraits::resource_type::shared);
    MPI_Comm shared_allocator_comm =
        umpire::get_communicator_for_allocator(node_allocator, MPI_COMM_WORLD);
    UMPIRE_ASSERT(umpire::get_communicator_for_allocator(node_allocator, MPI_COMM_WORLD) ==
                  shared_allocator_comm);
    int shared_rank, shared_size, size;
    MPI_Comm_rank(shared_allocator_comm, &shared_rank);
    MPI_Comm_size(shared_allocator_comm, &shared_size);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    UMPIRE_ASSERT(shared_size == size); /* all on one machine here */
    void *ptr{ node_allocator.allocate("allocation_name_2", sizeof(uint64_t)) };
    uint64_t *data{ static_cast<uint64_t *>(ptr) };
    if (shared_rank == 0)
        *data = 0xDEADBEEF;
    MPI_Barrier(shared_allocator_comm);
    UMPIRE_ASSERT(*data == 0xDEADBEEF);
    MPI_Barrier(shared_allocator_comm);
    node_allocator.deallocate(ptr);
    /* If one rank cannot, none has; and nobody waits for it. */
    hshm_segment *s = nullptr;
    int rank;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    hshm_attr_t attr = HSHM_ATTR_INIT;
    attr.flags = rank == 1 ? 0 : HSHM_CREATE;
    std::string name = std::string(av[1]) + (rank == 1 ? "-none" : "-some");
    UMPIRE_ASSERT(hshm_mpi_open(MPI_COMM_WORLD, name.c_str(), &attr, &s) == HSHM_ENOENT && !s);
    MPI_Finalize();
    return 0;
}
