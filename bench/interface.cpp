// interface mix malloc|hshm|boost COUNT [PROCESSES]: each process keeps 10,000 blocks of 16..1024 bytes
// and frees a random one for a new one, COUNT times, as bench/replace.c does; in one segment for all.
// interface find hshm|boost NAMES: how long it takes to find each of so many named blocks, in random order
// and in the order in which they were made.
//
// Prints nanoseconds of CPU time for each pair or find; the best of thirty turns for finds, as others on
// the machine only add to it.
#include <hshm.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <numeric>
#include <random>
#include <string>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <vector>

#if __has_include(<boost/interprocess/managed_shared_memory.hpp>)
#include <boost/interprocess/managed_shared_memory.hpp>
#define WITH_BOOST
#endif

static double cpu_ns()
{
    timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return static_cast<double>(t.tv_sec) * 1e9 + static_cast<double>(t.tv_nsec);
}

static std::string name()
{
    return "bench-interface-" + std::to_string(getpid());
}

template <typename F> static void must(F *p)
{
    if (!p) {
        std::fprintf(stderr, "out of memory: %s\n", hshm_error_text());
        std::exit(1);
    }
}

struct Malloc {
    void *allocate(size_t size) { return std::malloc(size); }
    void free(void *p) { std::free(p); }
};

struct Hshm {
    hshm_segment *segment = nullptr;
    Hshm()
    {
        hshm_attr_t attr = HSHM_ATTR_INIT;
        attr.size = uint64_t(512) << 20;
        attr.flags = HSHM_CREATE;
        if (hshm_open(name().c_str(), &attr, &segment) != HSHM_OK)
            must<void>(nullptr);
    }
    ~Hshm() { hshm_close(segment); }
    void *allocate(size_t size) { return hshm_alloc(segment, size); }
    void free(void *p) { hshm_free(p); }
    void make(const char *key) { must(hshm_named(segment, key, 16, 0, 0, 0, nullptr)); }
    void *find(const char *key) { return hshm_find(segment, key, 16, 0, 0); }
};

#ifdef WITH_BOOST
struct Boost {
    std::string file = name();
    boost::interprocess::managed_shared_memory segment{ boost::interprocess::create_only, file.c_str(),
                                                        size_t(512) << 20 };
    ~Boost() { boost::interprocess::shared_memory_object::remove(file.c_str()); }
    void *allocate(size_t size) { return segment.allocate(size); }
    void free(void *p) { segment.deallocate(p); }
    void make(const char *key) { must(segment.construct<uint64_t>(key)[2](0)); }
    void *find(const char *key) { return segment.find<uint64_t>(key).first; }
};
#endif

template <typename A> static double turn(A &a, long count, unsigned seed)
{
    std::minstd_rand random(seed);
    std::vector<char *> blocks(10000);
    auto fresh = [&](size_t i) {
        size_t size = 16 + random() % 1009;
        blocks[i] = static_cast<char *>(a.allocate(size));
        must(blocks[i]);
        blocks[i][0] = blocks[i][size - 1] = static_cast<char>(i);
    };
    for (size_t i = 0; i < blocks.size(); i++)
        fresh(i);
    double start = cpu_ns();
    for (long n = 0; n < count; n++) {
        size_t i = random() % blocks.size();
        a.free(blocks[i]);
        fresh(i);
    }
    double took = cpu_ns() - start;
    for (char *p : blocks)
        a.free(p);
    return took / static_cast<double>(count);
}

template <typename A> static void mix(long count, int processes)
{
    A a;
    int results[2];
    if (pipe(results))
        std::exit(1);
    for (int p = 0; p < processes; p++)
        if (fork() == 0) {
            double ns = turn(a, count, static_cast<unsigned>(p + 1));
            _exit(write(results[1], &ns, sizeof ns) != sizeof ns);
        }
    double sum = 0, ns;
    for (int p = 0; p < processes; p++) {
        if (read(results[0], &ns, sizeof ns) != sizeof ns)
            std::exit(1);
        sum += ns;
        wait(nullptr);
    }
    std::printf("%.1f\n", sum / processes);
}

template <typename A> static void find(int count)
{
    A a;
    std::vector<std::string> names;
    std::vector<int> orders[2] = { std::vector<int>(static_cast<size_t>(count)),
                                   std::vector<int>(static_cast<size_t>(count)) };
    for (int i = 0; i < count; i++) {
        names.push_back("block-" + std::to_string(i));
        a.make(names.back().c_str());
        orders[0][static_cast<size_t>(i)] = orders[1][static_cast<size_t>(i)] = i;
    }
    std::shuffle(orders[0].begin(), orders[0].end(), std::minstd_rand(1));
    for (auto &order : orders) {
        double best = 1e18;
        for (int i = 0; i < 30; i++) {
            double start = cpu_ns();
            for (size_t n = 0; n < order.size(); n++) {
                // the caller has its name in the cache: what is measured is the find
                __builtin_prefetch(&names[static_cast<size_t>(order[std::min(n + 8, order.size() - 1)])]);
                must(a.find(names[static_cast<size_t>(order[n])].c_str()));
            }
            best = std::min(best, (cpu_ns() - start) / count);
        }
        std::printf("%.1f\n", best);
    }
}

int main(int argc, char **argv)
{
    std::string what = argc > 3 ? argv[1] : "", with = argc > 3 ? argv[2] : "";
    long n = argc > 3 ? std::atol(argv[3]) : 0;
    int processes = argc > 4 ? std::atoi(argv[4]) : 1;
    if (what == "mix" && with == "malloc")
        mix<Malloc>(n, processes);
    else if (what == "mix" && with == "hshm")
        mix<Hshm>(n, processes);
    else if (what == "find" && with == "hshm")
        find<Hshm>(static_cast<int>(n));
#ifdef WITH_BOOST
    else if (what == "mix" && with == "boost")
        mix<Boost>(n, processes);
    else if (what == "find" && with == "boost")
        find<Boost>(static_cast<int>(n));
#endif
    else
        return 2;
    return 0;
}
