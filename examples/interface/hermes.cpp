/* HSHM's interface.
 *
 * prints: Hello, World! in 2048 bytes; 3 objects; out of memory is told */
#include <hshm.hpp>

#include <cstring>
#include <iostream>
#include <unistd.h>

int main()
{
    auto manager = HSHM_MEMORY_MANAGER;
    auto backend = hipc::MemoryBackendId::Get(0);
    hipc::AllocatorId id(1, 0);
    manager->CreateBackendWithUrl<hipc::PosixShmMmap>(backend, hshm::Unit<size_t>::Megabytes(64),
                                                      "example-hermes-" + std::to_string(getpid()));
    manager->CreateAllocator<hipc::ThreadLocalAllocator>(backend, id, 0);
    auto allocator = manager->GetAllocator<hipc::ThreadLocalAllocator>(id);
    auto data = allocator->Allocate<char>(HSHM_MCTX, 1024);
    strcpy(data.ptr_, "Hello, World!");
    data = allocator->Reallocate<char>(HSHM_MCTX, data, 2048);
    std::cout << data.ptr_ << " in 2048 bytes; ";
    allocator->Free(HSHM_MCTX, data);
    auto objects = allocator->NewObjs<std::string>(HSHM_MCTX, 2);
    objects = allocator->ReallocateObjs<std::string>(HSHM_MCTX, objects, 3);
    allocator->DelObjs(HSHM_MCTX, objects, 3);
    std::cout << "3 objects; ";
    try {
        allocator->Allocate<char>(HSHM_MCTX, SIZE_MAX);
    } catch (const hshm::Error &e) {
        if (e.code() == hshm::ErrorCode::OUT_OF_MEMORY)
            std::cout << "out of memory is told\n";
    }
    manager->DestroyAllocator(backend, id);
    manager->DestroyBackend(backend);
    return 0;
}
