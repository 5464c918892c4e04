/* HSHM's documented examples, with another include line: prog_api_hshm NAME.  And standard
 * containers that two programs use. */
#include <hshm.hpp>

#undef NDEBUG
#include <cassert>
#include <cstdio>
#include <cstring>
#include <deque>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <memory_resource>
#include <string>
#include <thread>
#include <unordered_map>
#include <unistd.h>
#include <sys/wait.h>

using namespace hshm::ipc;

#define expect(x)                                                                                  \
    do {                                                                                           \
        if (!(x)) {                                                                                \
            dprintf(2, "%s:%d: not so: %s\n", __FILE__, __LINE__, #x);                             \
            _exit(1);                                                                              \
        }                                                                                          \
    } while (0)

static std::string url(const char *what)
{
    return std::string("names-cpp-") + what + "-" + std::to_string(getpid());
}

template <typename AllocT> static AllocT *set_up(const char *what, size_t size = 64)
{
    auto mem_manager = HSHM_MEMORY_MANAGER;
    mem_manager->CreateBackendWithUrl<hipc::PosixShmMmap>(
        hipc::MemoryBackendId::Get(0), hshm::Unit<size_t>::Megabytes(size), url(what));
    AllocatorId alloc_id(1, 0);
    mem_manager->CreateAllocator<AllocT>(hipc::MemoryBackendId::Get(0), alloc_id, 0);
    return mem_manager->GetAllocator<AllocT>(alloc_id);
}

static void tear_down()
{
    HSHM_MEMORY_MANAGER->DestroyAllocator(hipc::MemoryBackendId::Get(0), AllocatorId(1, 0));
    HSHM_MEMORY_MANAGER->DestroyBackend(hipc::MemoryBackendId::Get(0));
}

struct CustomData {
    int id;
    char name[32];

    CustomData(int i, const char *n) : id(i)
    {
        strncpy(name, n, 31);
        name[31] = '\0';
    }
};

/* The examples of the sections "Core API Functions" to "Pointer Conversion and Management". */
template <typename AllocT> static void examples(AllocT *alloc)
{
    {
        auto full_ptr = alloc->template Allocate<void>(HSHM_DEFAULT_MEM_CTX, 1024);
        void *ptr = full_ptr.ptr_;
        Pointer shm_ptr = full_ptr.shm_;
        expect(ptr && (AllocT::kind == HSHM_HEAP_MALLOC || shm_ptr.raw() == ptr));
        auto int_ptr = alloc->template Allocate<int>(HSHM_DEFAULT_MEM_CTX, sizeof(int) * 100);
        int *ints = int_ptr.ptr_;
        ints[99] = 1;
    }
    {
        auto aligned_ptr = alloc->template AlignedAllocate<char>(HSHM_DEFAULT_MEM_CTX, 4096, 4096);
        char *page = aligned_ptr.ptr_;
        assert(((uintptr_t)page % 4096) == 0);
    }
    {
        auto data = alloc->template Allocate<char>(HSHM_DEFAULT_MEM_CTX, 1024);
        strcpy(data.ptr_, "Hello, World!");
        auto expanded = alloc->template Reallocate<char>(HSHM_DEFAULT_MEM_CTX, data, 2048);
        assert(strcmp(expanded.ptr_, "Hello, World!") == 0);
    }
    {
        auto memory = alloc->template Allocate<int>(HSHM_DEFAULT_MEM_CTX, 1000 * sizeof(int));
        alloc->template Free<int>(HSHM_DEFAULT_MEM_CTX, memory);
        expect(memory.IsNull());
    }
    {
        auto vec_ptr = alloc->template NewObj<std::vector<int>>(HSHM_DEFAULT_MEM_CTX, 100);
        vec_ptr.ptr_->push_back(42);
        vec_ptr.ptr_->push_back(24);
        expect(vec_ptr->size() == 102);
        alloc->DelObj(HSHM_DEFAULT_MEM_CTX, vec_ptr);
        auto obj = alloc->template NewObj<std::string>(HSHM_DEFAULT_MEM_CTX, "Hello HSHM!");
        expect(*obj == "Hello HSHM!");
        alloc->DelObj(HSHM_DEFAULT_MEM_CTX, obj);
    }
    {
        auto int_array = alloc->template NewObjs<int>(HSHM_DEFAULT_MEM_CTX, 50);
        for (int i = 0; i < 50; ++i) {
            int_array.ptr_[i] = i * 2;
        }
        alloc->DelObjs(HSHM_DEFAULT_MEM_CTX, int_array, 50);
        auto objects = alloc->template NewObjs<std::string>(HSHM_DEFAULT_MEM_CTX, 10);
        for (int i = 0; i < 10; ++i) {
            new (objects.ptr_ + i) std::string("Item " + std::to_string(i));
        }
        objects = alloc->template ReallocateObjs<std::string>(HSHM_DEFAULT_MEM_CTX, objects, 20);
        for (int i = 0; i < 10; ++i)
            expect(objects.ptr_[i] == "Item " + std::to_string(i) && objects.ptr_[10 + i].empty());
        objects = alloc->template ReallocateObjs<std::string>(HSHM_DEFAULT_MEM_CTX, objects, 3);
        expect(objects.ptr_[2] == "Item 2");
        alloc->DelObjs(HSHM_DEFAULT_MEM_CTX, objects, 3);
    }
    {
        auto custom = alloc->template NewObj<CustomData>(HSHM_DEFAULT_MEM_CTX, 42, "MyObject");
        expect(custom.ptr_->id == 42 && strcmp(custom.ptr_->name, "MyObject") == 0);
        alloc->DelObj(HSHM_DEFAULT_MEM_CTX, custom);
    }
    if (AllocT::kind != HSHM_HEAP_MALLOC) {
        FullPtr<void> orig_ptr = alloc->Allocate(HSHM_MCTX, 1024);
        FullPtr<void> full_ptr(orig_ptr.ptr_);
        FullPtr<void> full_ptr2(orig_ptr.shm_);
        FullPtr<int> int_ptr = full_ptr.template Cast<int>();
        FullPtr<char> char_ptr = full_ptr.template Cast<char>();
        if (!full_ptr.IsNull()) {
            memset(full_ptr.ptr_, 0, 1024);
        }
        expect(full_ptr2.ptr_ == orig_ptr.ptr_ && full_ptr.shm_ == orig_ptr.shm_);
        expect((void *)int_ptr.ptr_ == char_ptr.ptr_);
    }
}

static void documented_examples_work()
{
    examples(set_up<hipc::ScalablePageAllocator>("scalable"));
    tear_down();
    examples(set_up<hipc::ThreadLocalAllocator>("thread"));
    tear_down();
    examples(set_up<hipc::StackAllocator>("stack"));
    tear_down();
    examples(set_up<hipc::MallocAllocator>("malloc"));
    tear_down();
    examples(set_up<hipc::PageAllocator>("page"));
    tear_down();
}

template <typename AllocT> static void examples_in_backend()
{
    auto id = hipc::MemoryBackendId::Get(0);
    AllocatorId alloc_id(1, 0);
    HSHM_MEMORY_MANAGER->CreateAllocator<AllocT>(id, alloc_id, 0);
    examples(HSHM_MEMORY_MANAGER->GetAllocator<AllocT>(alloc_id));
    tear_down();
}

static void examples_work_in_each_backend()
{
    auto id = hipc::MemoryBackendId::Get(0);
    alignas(64) static char array[1 << 20];
    for (int i = 0; i < 2; i++) {
        HSHM_MEMORY_MANAGER->CreateBackend<hipc::MallocBackend>(id, 1 << 20);
        examples_in_backend<hipc::ScalablePageAllocator>();
        HSHM_MEMORY_MANAGER->CreateBackend<hipc::MemfdBackend>(id, 64 << 20);
        examples_in_backend<hipc::PageAllocator>();
        HSHM_MEMORY_MANAGER->CreateBackend<hipc::ArrayBackend>(id, sizeof array, array);
        examples_in_backend<hipc::StackAllocator>();
        HSHM_MEMORY_MANAGER->CreateBackend<hipc::ArrayBackend>(id, sizeof array, array);
        examples_in_backend<hipc::ThreadLocalAllocator>();
    }
}

struct MyAllocatorHeader {
    uint64_t magic_number;
    size_t allocation_count;
};

static void custom_header_is_zeroed_and_checked()
{
    auto mem_manager = HSHM_MEMORY_MANAGER;
    set_up<hipc::ThreadLocalAllocator>("header");
    AllocatorId alloc_id(2, 7);
    auto alloc = mem_manager->CreateAllocator<hipc::ScalablePageAllocator>(
        hipc::MemoryBackendId::Get(0), alloc_id, sizeof(MyAllocatorHeader));
    auto header = alloc->template GetCustomHeader<MyAllocatorHeader>();
    expect(header->magic_number == 0 && header->allocation_count == 0);
    header->magic_number = 0xDEADBEEF;
    header->allocation_count = 0;
    struct Larger {
        char bytes[100];
    };
    try {
        alloc->template GetCustomHeader<Larger>();
        expect(!"refused");
    } catch (const hshm::Error &e) {
        expect(e.code() == hshm::ErrorCode::OTHER_SIZE);
    }
    mem_manager->DestroyAllocator(hipc::MemoryBackendId::Get(0), alloc_id);
    tear_down();
}

static void leak_check_means_something()
{
    auto alloc = set_up<hipc::ScalablePageAllocator>("leak");
    size_t before = alloc->GetCurrentlyAllocatedSize();
    {
        auto temp = alloc->template Allocate<char>(HSHM_DEFAULT_MEM_CTX, 1024);
        expect(alloc->GetCurrentlyAllocatedSize() >= before + 1024);
        alloc->template Free<char>(HSHM_DEFAULT_MEM_CTX, temp);
    }
    size_t after = alloc->GetCurrentlyAllocatedSize();
    assert(before == after);
    alloc->template Allocate<char>(HSHM_DEFAULT_MEM_CTX, 1024);
    expect(alloc->GetCurrentlyAllocatedSize() > before);
    tear_down();
}

static void out_of_memory_is_thrown()
{
    auto alloc = set_up<hipc::ScalablePageAllocator>("full");
    bool thrown = false;
    try {
        auto huge_alloc = alloc->template Allocate<char>(HSHM_DEFAULT_MEM_CTX, SIZE_MAX);
        expect(huge_alloc.IsNull() && !huge_alloc.IsNull());
    } catch (const hshm::Error &e) {
        if (e.code() == hshm::ErrorCode::OUT_OF_MEMORY)
            thrown = true;
    }
    expect(thrown);
    expect(!alloc->Allocate(HSHM_MCTX, 100).IsNull());
    tear_down();
}

struct WorkerData {
    long numbers[50];
};
static void worker_thread(ThreadLocalAllocator *alloc, int thread_id)
{
    MemContext ctx{ ThreadId(thread_id) };
    for (int i = 0; i < 1000; i++) {
        auto local_data = alloc->template Allocate<WorkerData>(ctx, sizeof(WorkerData));
        local_data.ptr_->numbers[49] = i;
        alloc->template Free<WorkerData>(ctx, local_data);
    }
}

static void threads_have_contexts_and_clashes_are_told()
{
    auto alloc = set_up<hipc::ThreadLocalAllocator>("threads");
    for (int round = 0; round < 3; round++) {
        std::vector<std::thread> threads;
        for (int i = 0; i < 8; i++)
            threads.emplace_back(worker_thread, alloc, i);
        for (auto &t : threads)
            t.join();
    }
    worker_thread(alloc, 3);
    bool told = false;
    std::thread([&] {
        try {
            worker_thread(alloc, 3);
        } catch (const hshm::Error &e) {
            told = e.code() == hshm::ErrorCode::BUSY;
        }
    }).join();
    expect(told && alloc->GetCurrentlyAllocatedSize() == 0);
    tear_down();
}

struct Counted {
    static int alive, copies;
    int value = 7;
    Counted() { alive++; }
    Counted(Counted &&other) noexcept : value(other.value) { alive++; }
    Counted(const Counted &other) : value(other.value) { alive++, copies++; }
    ~Counted() { alive--; }
};
int Counted::alive, Counted::copies;

static void objects_are_moved_and_each_destroyed_once()
{
    auto alloc = set_up<hipc::ScalablePageAllocator>("objects");
    auto array = alloc->NewObjs<Counted>(HSHM_MCTX, 10);
    array.ptr_[9].value = 99;
    array = alloc->ReallocateObjs(HSHM_MCTX, array, 30);
    expect(Counted::alive == 30 && Counted::copies == 0);
    expect(array.ptr_[9].value == 99 && array.ptr_[29].value == 7);
    array = alloc->ReallocateObjs(HSHM_MCTX, array, 5);
    expect(Counted::alive == 5);
    bool told = false;
    try {
        alloc->DelObjs(HSHM_MCTX, array, 6);
    } catch (const hshm::Error &) {
        told = true;
    }
    expect(told);
    alloc->DelObjs(HSHM_MCTX, array, 5);
    expect(Counted::alive == 0 && alloc->GetCurrentlyAllocatedSize() == 0);
    tear_down();
}

/* ---- standard containers ------------------------------------------------------------------ */

template <typename T> using A = hshm::allocator<T>;
using String = std::basic_string<char, std::char_traits<char>, A<char>>;
struct Box {
    std::vector<long, A<long>> vector;
    String string;
    std::map<int, String, std::less<int>, A<std::pair<const int, String>>> map;
    std::unordered_map<int, int, std::hash<int>, std::equal_to<int>, A<std::pair<const int, int>>> hash;
    std::deque<int, A<int>> deque;
    std::list<String, A<String>> list;
    int rounds = 0;
    explicit Box(const A<char> &a) : vector(a), string(a), map(a), hash(a), deque(a), list(a) {}
};

static void extend(Box &box, const A<char> &a)
{
    int from = box.rounds++ * 1000;
    for (int i = from; i < from + 1000; i++) {
        box.vector.push_back(i);
        box.string.push_back((char)('a' + i % 26));
        box.map.emplace(i, String("a string that does not fit in place ", a).append(std::to_string(i).c_str()));
        box.hash[i] = i * 2;
        box.deque.push_front(i);
        if (i % 10 == 0)
            box.list.emplace_back(String(50, 'x', a));
    }
    if (from) { /* nodes that the other program has made are freed here */
        for (int i = 0; i < 500; i++) {
            box.map.erase(i);
            box.hash.erase(i);
            box.deque.pop_back();
        }
        box.list.pop_front();
    }
}

static void is_whole(const Box &box, int rounds)
{
    int n = rounds * 1000, gone = rounds > 1 ? 500 : 0;
    expect(box.rounds == rounds && (int)box.vector.size() == n && (int)box.string.size() == n);
    expect((int)box.map.size() == n - gone && (int)box.hash.size() == n - gone);
    for (int i = 0; i < n; i++) {
        expect(box.vector[i] == i && box.string[i] == 'a' + i % 26);
        expect(i < gone || (box.hash.at(i) == i * 2 && box.deque[n - 1 - i] == i));
        expect(i < gone || box.map.at(i).size() > 36);
    }
    expect((int)box.list.size() == n / 10 - (rounds > 1) && box.list.back().size() == 50);
}

static void second(const char *name)
{
    hshm::Segment segment(name, 0, 0);
    Box *box = hshm::find<Box>(segment, "box");
    expect(box != nullptr);
    is_whole(*box, 1);
    extend(*box, A<char>(segment));
    is_whole(*box, 2);
    box->string = String("set by the second", A<char>(segment));
}

static void containers_are_shared_by_two_programs()
{
    std::string name = url("containers");
    hshm::Segment segment(name.c_str(), 64 << 20);
    A<char> a(segment);
    Box *box = hshm::named<Box>(segment, "box", a);
    expect(hshm::named<Box>(segment, "box", a) == box);
    extend(*box, a);
    pid_t pid = fork();
    if (pid == 0) {
        execl("/proc/self/exe", "prog_api_hshm", "second", name.c_str(), (char *)nullptr);
        _exit(3);
    }
    int status;
    expect(waitpid(pid, &status, 0) == pid && status == 0);
    expect(box->string == "set by the second" && box->vector.size() == 2000);
    box->vector.clear();
    box->vector.shrink_to_fit();
    expect(hshm::remove<Box>(segment, "box") && !hshm::find<Box>(segment, "box"));
    hshm_stats_t stats = {};
    stats.struct_size = sizeof stats;
    hshm_trim(segment);
    expect(hshm_stats(segment, &stats) == 0 && stats.blocks == 0);
}

/* ---- code: only where it is at the same addresses (hshm run --same-layout) -------------------- */

struct Shape {
    virtual int area() const = 0;
    virtual ~Shape() = default;
};
struct Square : Shape {
    int side = 3;
    int area() const override { return side * side; }
};
struct Resource : std::pmr::memory_resource {
    void *do_allocate(size_t bytes, size_t align) override
    {
        return hshm::check(hshm_alloc_aligned(nullptr, std::max<size_t>(align, 16), bytes));
    }
    void do_deallocate(void *p, size_t, size_t) override { hshm_free(p); }
    bool do_is_equal(const memory_resource &other) const noexcept override { return this == &other; }
};
struct Code {
    void (*where)() = code_in_segments; /* what tells whether the layout is the same */
    Square square;
    Resource resource;
    std::pmr::vector<int> numbers{ &resource };
    std::function<int(int)> function;
    std::shared_ptr<long> shared = std::allocate_shared<long>(A<long>(), 5);
    static void code_in_segments();
};

/* It is the second, and finds what the first has made. */
static void uses_code()
{
    Code *code = hshm::find<Code>(hshm_default(), "code");
    expect(code != nullptr);
    if (code->where != Code::code_in_segments) {
        puts("another layout");
        return;
    }
    Shape *shape = &code->square;
    expect(shape->area() == 9 && code->function(1) == 43);
    expect(*code->shared == 5 && code->shared.use_count() == 1);
    std::shared_ptr<long> mine = code->shared;
    expect(code->shared.use_count() == 2);
    for (int i = 0; i < 1000; i++)
        code->numbers.push_back(i);
    puts("the same layout");
}

void Code::code_in_segments()
{
    Code *code = hshm::named<Code>(hshm_default(), "code");
    int more = 42;
    code->function = [more](int x) { return x + more; };
    code->numbers.push_back(-1);
    pid_t pid = fork();
    if (pid == 0) {
        execl("/proc/self/exe", "prog_api_hshm", "uses_code", (char *)nullptr);
        _exit(3);
    }
    int status;
    expect(waitpid(pid, &status, 0) == pid && status == 0);
    expect(code->numbers[0] == -1 && (code->numbers.size() == 1001 || code->numbers.size() == 1));
    expect(code->shared.use_count() == 1);
    expect(hshm::remove<Code>(hshm_default(), "code"));
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*run)();
    } checks[] = {
        { "documented_examples_work", documented_examples_work },
        { "examples_work_in_each_backend", examples_work_in_each_backend },
        { "custom_header_is_zeroed_and_checked", custom_header_is_zeroed_and_checked },
        { "leak_check_means_something", leak_check_means_something },
        { "out_of_memory_is_thrown", out_of_memory_is_thrown },
        { "threads_have_contexts_and_clashes_are_told", threads_have_contexts_and_clashes_are_told },
        { "objects_are_moved_and_each_destroyed_once", objects_are_moved_and_each_destroyed_once },
        { "code_in_segments", Code::code_in_segments },
        { "uses_code", uses_code },
        { "containers_are_shared_by_two_programs", containers_are_shared_by_two_programs },
    };
    if (argc == 3 && strcmp(argv[1], "second") == 0) {
        second(argv[2]);
        return 0;
    }
    for (auto &check : checks)
        if (argc == 2 && strcmp(argv[1], check.name) == 0) {
            check.run();
            return 0;
        }
    return 2;
}
