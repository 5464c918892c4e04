/* Umpire's recipe for shared memory with other includes, run by mpirun: prog_api_mpi NAME. */
#include <mpi.h>

#include <hshm_umpire.hpp>

#include <algorithm>
#include <cstring>
#include <random>
#include <vector>

/* Communicators that were made and not freed: MPI's own interface for tools counts them. */
static int communicators;
extern "C" int MPI_Comm_split(MPI_Comm comm, int color, int key, MPI_Comm *made)
{
    communicators++;
    return PMPI_Comm_split(comm, color, key, made);
}
extern "C" int MPI_Comm_split_type(MPI_Comm comm, int type, int key, MPI_Info info, MPI_Comm *made)
{
    communicators++;
    return PMPI_Comm_split_type(comm, type, key, info, made);
}
extern "C" int MPI_Comm_free(MPI_Comm *comm)
{
    communicators--;
    return PMPI_Comm_free(comm);
}

/* HSHM's: windows of 32 random blocks, of one heap that all ranks have. */
static void windows(hshm_segment *segment, int rank)
{
    hshm_heap *heap;
    std::mt19937 random(static_cast<unsigned>(rank));
    UMPIRE_ASSERT(hshm_heap_create(segment, 1, HSHM_HEAP_THREAD, 0, 0, &heap) == HSHM_OK);
    for (int round = 0; round < 12; round++) {
        std::vector<std::pair<unsigned char *, size_t>> blocks;
        for (int i = 0; i < 32; i++) {
            size_t size = 64 + random() % (1 << 20);
            auto *p = static_cast<unsigned char *>(hshm_heap_alloc(heap, size));
            UMPIRE_ASSERT(p != nullptr);
            memset(p, rank + i, size);
            blocks.emplace_back(p, size);
        }
        for (int i = 0; i < 32; i++) {
            auto [p, size] = blocks[static_cast<size_t>(i)];
            UMPIRE_ASSERT(std::all_of(p, p + size, [&](unsigned char c) { return c == rank + i; }));
            hshm_heap_free(heap, p);
        }
    }
    MPI_Barrier(MPI_COMM_WORLD);
    UMPIRE_ASSERT(hshm_heap_used(heap) == 0);
    MPI_Barrier(MPI_COMM_WORLD); /* nobody removes it before all have looked */
    hshm_heap_close(heap);
}

/* Umpire's: random blocks that all ranks allocate under the same names, and free in any order. */
static void named_blocks(umpire::Allocator allocator, int rank)
{
    size_t start = allocator.getActualSize();
    MPI_Barrier(MPI_COMM_WORLD);
    std::mt19937 random(7), own(static_cast<unsigned>(rank));
    std::vector<std::pair<unsigned char *, size_t>> blocks;
    for (int i = 0; i < 256; i++) {
        size_t size = 4 + random() % (64 * 1024);
        auto *p = static_cast<unsigned char *>(allocator.allocate("b" + std::to_string(i), size));
        p[static_cast<size_t>(i) % size] = static_cast<unsigned char>(i);
        blocks.emplace_back(p, size);
    }
    MPI_Barrier(MPI_COMM_WORLD);
    for (int i = 0; i < 256; i++) {
        auto [p, size] = blocks[static_cast<size_t>(i)];
        UMPIRE_ASSERT(p[static_cast<size_t>(i) % size] == static_cast<unsigned char>(i));
    }
    MPI_Barrier(MPI_COMM_WORLD);
    std::shuffle(blocks.begin(), blocks.end(), own);
    for (auto &block : blocks)
        allocator.deallocate(block.first);
    MPI_Barrier(MPI_COMM_WORLD);
    UMPIRE_ASSERT(allocator.getActualSize() == start);
    MPI_Barrier(MPI_COMM_WORLD);
}

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
    attr.flags = HSHM_CREATE;
    attr.size = uint64_t(512) << 20;
    name = std::string(av[1]) + "-windows";
    UMPIRE_ASSERT(hshm_mpi_open(MPI_COMM_WORLD, name.c_str(), &attr, &s) == HSHM_OK);
    windows(s, rank);
    hshm_close(s);
    traits.size = 64 << 20;
    named_blocks(rm.makeResource(std::string("SHARED::") + av[1] + "-random", traits), rank);
    UMPIRE_ASSERT(communicators == 1); /* that of the allocator */
    MPI_Finalize();
    UMPIRE_ASSERT(communicators == 0);
    return 0;
}
