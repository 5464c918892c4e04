/* A segment in a mapped file that two processes have at different addresses, and containers that do not
 * care.
 *
 * prints: at two addresses: apples 3, pears 4 */
#include <hshm_containers.hpp>

#include <fcntl.h>
#include <iostream>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

using Stock = hipc::unordered_map<hipc::string, int>;

int main()
{
    const size_t size = 1 << 20;
    char path[] = "/tmp/hshm-example-XXXXXX";
    int fd = mkstemp(path);
    if (fd < 0 || ftruncate(fd, size) != 0)
        return 1;
    unlink(path);
    void *here = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    hshm_segment *segment;
    hshm::check(hshm_open_array(here, size, HSHM_CREATE, &segment));
    Stock *stock = hshm::named<Stock>(segment, "stock");
    (*stock)["apples"] = 3;
    if (fork() == 0) {
        void *there = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        hshm_close(segment);
        munmap(here, size);
        hshm::check(hshm_open_array(there, size, 0, &segment));
        Stock *same = hshm::find<Stock>(segment, "stock");
        (*same)["pears"] = same->at("apples") + 1;
        _exit(there == here);
    }
    int status;
    wait(&status);
    std::cout << "at two addresses: apples " << stock->at("apples") << ", pears " << stock->at("pears")
              << '\n';
    return status;
}
