/* Umpire's shared memory.
 *
 * prints: the same block: yes; a key needs no order: yes */
#include <hshm_umpire.hpp>

#include <iostream>
#include <sys/wait.h>
#include <unistd.h>

using Key = umpire::strategy::NamingShim::Key;

int main()
{
    auto &manager = umpire::ResourceManager::getInstance();
    auto traits = umpire::get_default_resource_traits("SHARED");
    traits.size = 1 << 20;
    traits.scope = umpire::MemoryResourceTraits::shared_scope::node;
    auto allocator = manager.makeResource("SHARED::example-" + std::to_string(getpid()), traits);
    auto shim = manager.makeAllocator<umpire::strategy::NamingShim>("shim", allocator);
    void *named = allocator.allocate("a name", 1000), *keyed;
    {
        Key key("step 1");
        keyed = shim.allocate(100);
    }
    if (fork() == 0) {
        shim.allocate(50); /* in another order */
        Key key("step 1");
        bool same = allocator.allocate("a name", 1000) == named, too = shim.allocate(100) == keyed;
        std::cout << "the same block: " << (same ? "yes" : "no")
                  << "; a key needs no order: " << (too ? "yes" : "no") << std::endl;
        _exit(0);
    }
    int status;
    wait(&status);
    shim.deallocate(keyed);
    allocator.deallocate(named);
    return status;
}
