/* Umpire's shared-memory page and recipe with other includes: prog_api_umpire NAME. */
#include <hshm_umpire.hpp>

#include <cstring>
#include <random>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

#define expect(x) UMPIRE_ASSERT(x)

template <typename F> static bool throws(F f)
{
    try {
        f();
    } catch (const umpire::runtime_error &) {
        return true;
    }
    return false;
}

static umpire::Allocator make(const std::string &what, size_t size)
{
    auto &rm = umpire::ResourceManager::getInstance();
    auto traits{ umpire::get_default_resource_traits("SHARED") };
    traits.size = size;
    traits.scope = umpire::MemoryResourceTraits::shared_scope::node;
    return rm.makeResource("SHARED::names-" + what + "-" + std::to_string(getpid()), traits);
}

static void done(umpire::Allocator &a)
{
    std::string name = a.getName();
    a = umpire::Allocator();
    umpire::ResourceManager::getInstance().destroyAllocator(name);
}

static void ends_well(pid_t pid)
{
    int status;
    expect(waitpid(pid, &status, 0) == pid && status == 0);
}

static void the_page_says()
{
    auto node_allocator = make("page", 1 * 1024 * 1024);
    UMPIRE_ASSERT(node_allocator.getAllocationStrategy()->getTraits().resource ==
                  umpire::MemoryResourceTraits::resource_type::shared);
    size_t available = node_allocator.getActualSize();
    expect(available > 900 * 1024 && available <= 1024 * 1024);
    void *ptr{ node_allocator.allocate("allocation_name_2", sizeof(uint64_t)) };
    uint64_t *data{ static_cast<uint64_t *>(ptr) };
    *data = 0xDEADBEEF;
    expect(node_allocator.getActualSize() < available);
    pid_t pid = fork();
    if (pid == 0) {
        void *same = node_allocator.allocate("allocation_name_2", sizeof(uint64_t));
        expect(same == ptr && *data == 0xDEADBEEF);
        expect(throws([&] { node_allocator.allocate("allocation_name_2", 1 << 20); }));
        node_allocator.deallocate(same);
        expect(throws([&] { node_allocator.deallocate(same); }));
        _exit(0);
    }
    ends_well(pid);
    expect(umpire::find_pointer_from_name(node_allocator, "allocation_name_2") == ptr);
    node_allocator.deallocate(ptr);
    expect(!umpire::find_pointer_from_name(node_allocator, "allocation_name_2"));
    expect(node_allocator.getActualSize() == available);
    expect(throws([&] { node_allocator.allocate(8); }));
    expect(throws([&] { node_allocator.allocate("too much", 2 << 20); }));
    expect(throws([&] { umpire::ResourceManager::getInstance().makeResource("none", {}); }));
    done(node_allocator);
}

static void a_resource_of_a_socket_works()
{
    auto &rm = umpire::ResourceManager::getInstance();
    auto traits{ umpire::get_default_resource_traits("SHARED") };
    traits.scope = umpire::MemoryResourceTraits::shared_scope::socket;
    auto a{ rm.makeResource("SHARED::names-socket-" + std::to_string(getpid()), traits) };
    hshm_info_t info = {};
    info.struct_size = sizeof info;
    expect(hshm_info(a.getAllocationStrategy()->segment(), &info) == 0);
    expect(strstr(info.name, ".socket") != nullptr);
    memset(a.allocate("x", 1 << 20), 1, 1 << 20);
    done(a);
}

static void a_dead_ranks_reference_ends_with_it()
{
    auto a = make("dead", 1 << 20);
    char *p = static_cast<char *>(a.allocate("shared", 1000));
    pid_t pid = fork();
    if (pid == 0) {
        a.allocate("shared", 1000);
        raise(SIGKILL);
    }
    int status;
    waitpid(pid, &status, 0);
    hshm_segment *s = a.getAllocationStrategy()->segment();
    hshm_name_t info = {};
    info.struct_size = sizeof info;
    do { /* it is noticed after a grace */
        usleep(10000);
        expect(hshm_name_info(s, "a.shared", &info) == HSHM_OK);
    } while (info.references != 1);
    a.deallocate(p);
    expect(umpire::find_pointer_from_name(a, "shared") == nullptr);
    done(a);
}

static void shims_name_what_has_no_name()
{
    auto a = make("shim", 1 << 20);
    auto &rm = umpire::ResourceManager::getInstance();
    auto shim = rm.makeAllocator<umpire::strategy::NamingShim>("key", a);
    char *p = static_cast<char *>(shim.allocate(1024)), *q = static_cast<char *>(shim.allocate(64));
    expect(p != q);
    strcpy(p, "first");
    strcpy(q, "second");
    pid_t pid = fork();
    if (pid == 0) {
        auto again = rm.makeAllocator<umpire::strategy::NamingShim>("other", a);
        expect(again.allocate(1024) != p);
        rm.destroyAllocator("key");
        auto same = rm.makeAllocator<umpire::strategy::NamingShim>("key", a);
        expect(strcmp(static_cast<char *>(same.allocate(1024)), "first") == 0);
        expect(throws([&] { same.allocate(1024); })); /* out of step */
        _exit(0);
    }
    ends_well(pid);
    shim.deallocate(p);
    shim.deallocate(q);
    shim = umpire::Allocator();
    rm.destroyAllocator("key");
    done(a);
}

/* What each has allocated before, and in what order it comes to its keys, does not matter. */
static void a_stated_key_needs_no_order()
{
    using Key = umpire::strategy::NamingShim::Key;
    auto a = make("key", 1 << 20);
    auto &rm = umpire::ResourceManager::getInstance();
    auto shim = rm.makeAllocator<umpire::strategy::NamingShim>("shim", a);
    void *one, *two, *three, *plain;
    {
        Key key("one");
        one = shim.allocate(1000);
        {
            Key inner("two");
            two = shim.allocate(2000);
        }
        three = shim.allocate(300);
    }
    plain = shim.allocate(64);
    expect(one != two && two != three && three != plain);
    pid_t pid = fork();
    if (pid == 0) {
        rm.destroyAllocator("shim");
        auto same = rm.makeAllocator<umpire::strategy::NamingShim>("shim", a);
        {
            Key key("only mine");
            for (int i = 0; i < 7; i++)
                expect(same.allocate(1000) != one);
        }
        {
            Key key("two");
            expect(same.allocate(2000) == two);
        }
        {
            Key key("one");
            expect(same.allocate(1000) == one && same.allocate(300) == three);
        }
        {
            Key key("one");
            expect(same.allocate(1000) == one); /* a scope begins anew */
            expect(throws([&] { same.allocate(1000); }));
        }
        expect(same.allocate(64) == plain);
        expect(throws([&] { Key key(""); }));
        _exit(0);
    }
    ends_well(pid);
    for (void *p : { one, two, three, plain })
        shim.deallocate(p);
    shim = umpire::Allocator();
    rm.destroyAllocator("shim");
    done(a);
}

/* The test of Umpire's own suite: random named blocks, shared by all, freed in any order. */
static void random_blocks_shared_by_all_give_everything_back()
{
    auto a = make("random", size_t(512) << 20);
    size_t start = a.getActualSize();
    pid_t pids[3];
    for (int rank = 0; rank < 3; rank++)
        if ((pids[rank] = fork()) == 0) {
            std::mt19937 random(7), own(static_cast<unsigned>(rank));
            std::vector<std::pair<unsigned char *, size_t>> blocks;
            for (int i = 0; i < 1024; i++) {
                size_t size = 4 + random() % (512 * 1024);
                auto *p = static_cast<unsigned char *>(a.allocate("b" + std::to_string(i), size));
                p[0] = p[size - 1] = static_cast<unsigned char>(i);
                blocks.emplace_back(p, size);
            }
            for (int i = 0; i < 1024; i++)
                expect(*blocks[i].first == (unsigned char)i &&
                       blocks[i].first[blocks[i].second - 1] == (unsigned char)i);
            std::shuffle(blocks.begin(), blocks.end(), own);
            for (auto &b : blocks)
                a.deallocate(b.first);
            _exit(0);
        }
    for (pid_t pid : pids)
        ends_well(pid);
    size_t low = 0, high = start; /* the largest that can be had */
    while (high - low > 4096) {
        size_t middle = low + (high - low) / 2;
        try {
            a.deallocate(a.allocate("largest", middle));
            low = middle;
        } catch (const umpire::runtime_error &) {
            high = middle;
        }
    }
    expect(low > (size_t(300) << 20));
    for (int i = 0; i < 100; i++)
        a.deallocate(a.allocate("largest", low));
    expect(a.getActualSize() == start);
    done(a);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*run)();
    } checks[] = {
        { "the_page_says", the_page_says },
        { "a_resource_of_a_socket_works", a_resource_of_a_socket_works },
        { "a_dead_ranks_reference_ends_with_it", a_dead_ranks_reference_ends_with_it },
        { "shims_name_what_has_no_name", shims_name_what_has_no_name },
        { "a_stated_key_needs_no_order", a_stated_key_needs_no_order },
        { "random_blocks_shared_by_all_give_everything_back",
          random_blocks_shared_by_all_give_everything_back },
    };
    for (auto &check : checks)
        if (argc == 2 && strcmp(argv[1], check.name) == 0) {
            check.run();
            return 0;
        }
    return 2;
}
