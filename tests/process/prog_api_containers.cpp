/* Containers that work at any mapping address: prog_api_containers NAME. */
#include <hshm_containers.hpp>

#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <list>
#include <random>
#include <sched.h>
#include <signal.h>
#include <string>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include <unordered_map>
#include <vector>

#define expect(x)                                                                                  \
    do {                                                                                           \
        if (!(x)) {                                                                                \
            dprintf(2, "%s:%d: not so: %s\n", __FILE__, __LINE__, #x);                             \
            _exit(1);                                                                              \
        }                                                                                          \
    } while (0)

static std::string name_of(const char *what)
{
    return std::string("names-containers-") + what + "-" + std::to_string(getpid());
}

static uint64_t blocks(hshm_segment *s)
{
    hshm_stats_t stats = {};
    stats.struct_size = sizeof stats;
    expect(hshm_stats(s, &stats) == 0);
    return stats.blocks;
}

/* Lies in the segment, where it is freed without a destructor's help if need be. */
template <typename T, typename... Args> static T *make(hshm_segment *s, Args &&...args)
{
    void *p = hshm_alloc_aligned(s, std::max<size_t>(alignof(T), 16), sizeof(T));
    expect(p);
    return new (p) T(std::forward<Args>(args)...);
}
template <typename T> static void drop(T *p)
{
    p->~T();
    hshm_free(p);
}

/* ---- each beside the one of the standard library --------------------------------------------- */

static std::string text(unsigned n)
{
    return "text " + std::to_string(n) + std::string(n % 50, 'x');
}

static void a_vector_is_as_the_standard_one()
{
    hshm::Segment s(name_of("vector").c_str(), 64 << 20);
    uint64_t before = blocks(s);
    std::mt19937 random(1);
    std::vector<std::string> is;
    auto *v = make<hipc::vector<hipc::string>>(s);
    for (unsigned i = 0; i < 20000; i++) {
        unsigned n = random() % 100;
        if (n < 55 || is.empty()) {
            is.push_back(text(i));
            v->emplace_back(text(i));
        } else if (n < 75) {
            is.pop_back();
            v->pop_back();
        } else if (n < 85) {
            size_t at = random() % is.size();
            is.erase(is.begin() + at);
            v->erase(v->begin() + at);
        } else if (n < 95) {
            size_t at = random() % is.size();
            is[at] += "more";
            (*v)[at] += "more";
        } else if (n < 97) {
            is.push_back(is.front());
            v->push_back(v->front()); /* a part of itself */
        } else if (n < 99) {
            size_t at = random() % is.size();
            is.insert(is.begin() + at, text(i));
            auto *t = make<hipc::string>(s, text(i));
            v->insert(v->begin() + at, *t);
            drop(t);
        } else {
            is.resize(is.size() / 2);
            v->resize(v->size() / 2);
            v->shrink_to_fit();
        }
        expect(is.size() == v->size() && (is.empty() || v->back() == is.back()));
    }
    for (size_t i = 0; i < is.size(); i++)
        expect(v->at(i) == is[i] && strlen((*v)[i].c_str()) == is[i].size());
    bool thrown = false;
    try {
        v->at(is.size());
    } catch (const hshm::Error &) {
        thrown = true;
    }
    expect(thrown);
    auto *copy = make<hipc::vector<hipc::string>>(s, *v);
    expect(*copy == *v && (*copy)[0].c_str() != (*v)[0].c_str());
    const char *at = (*v)[0].c_str();
    auto *moved = make<hipc::vector<hipc::string>>(s, std::move(*v));
    expect(*moved == *copy && v->empty() && (*moved)[0].c_str() == at);
    *v = *moved;
    expect(*v == *copy);
    drop(v);
    drop(moved);
    drop(copy);
    expect(blocks(s) == before);
}

static void a_string_may_be_set_to_a_part_of_itself()
{
    hshm::Segment s(name_of("string").c_str(), 64 << 20);
    uint64_t before = blocks(s);
    auto *t = make<hipc::string>(s);
    expect(t->empty() && *t == "" && t->c_str()[0] == '\0');
    *t = "0123456789";
    t->assign(std::string_view(*t).substr(3, 4));
    expect(*t == "3456");
    t->append(*t).append(*t);
    expect(*t == "3456345634563456" && t->size() == 16);
    for (int i = 0; i < 1000; i++)
        t->push_back(static_cast<char>('a' + i % 26));
    expect(t->size() == 1016 && (*t)[1015] == 'a' + 999 % 26 && strlen(t->c_str()) == 1016);
    auto *u = make<hipc::string>(s, std::move(*t));
    expect(u->size() == 1016 && t->empty());
    u->clear();
    u->reserve(5000);
    expect(u->empty() && u->capacity() >= 5000 && !(*u < ""));
    drop(t);
    drop(u);
    expect(blocks(s) == before);
}

static void a_list_is_as_the_standard_one()
{
    hshm::Segment s(name_of("list").c_str(), 64 << 20);
    uint64_t before = blocks(s);
    std::mt19937 random(2);
    std::list<std::string> is;
    auto *l = make<hipc::list<hipc::string>>(s);
    for (unsigned i = 0; i < 10000; i++)
        switch (random() % (is.empty() ? 2 : 5)) {
        case 0: is.push_back(text(i)), l->emplace_back(text(i)); break;
        case 1: is.push_front(text(i)), l->emplace_front(text(i)); break;
        case 2: is.pop_front(), l->pop_front(); break;
        default: {
            auto a = is.begin();
            auto b = l->begin();
            for (unsigned n = random() % std::min<size_t>(is.size(), 20); n--; ++a, ++b)
                ;
            if (random() % 3)
                is.insert(a, text(i)), l->emplace(b, text(i));
            else
                is.erase(a), l->erase(b);
        }
        }
    expect(l->size() == is.size());
    auto b = l->begin();
    for (const std::string &a : is)
        expect(*b++ == a);
    expect(b == l->end());
    auto backward = is.end();
    while (b != l->begin())
        expect(*--b == *--backward);
    auto *copy = make<hipc::list<hipc::string>>(s, *l);
    auto *moved = make<hipc::list<hipc::string>>(s, std::move(*l));
    expect(*copy == *moved && l->empty());
    drop(l);
    drop(moved);
    drop(copy);
    expect(blocks(s) == before);
}

static void a_map_is_as_the_standard_one()
{
    hshm::Segment s(name_of("map").c_str(), 64 << 20);
    uint64_t before = blocks(s);
    std::mt19937 random(3);
    std::unordered_map<std::string, unsigned> is;
    auto *m = make<hipc::unordered_map<hipc::string, unsigned>>(s);
    for (unsigned i = 0; i < 30000; i++) {
        std::string key = text(random() % 3000);
        switch (random() % 4) {
        case 0: expect(is.erase(key) == m->erase(key)); break;
        case 1: expect(is.emplace(key, i).second == m->emplace(key, i).second); break;
        case 2: is[key] = i, (*m)[key] = i; break;
        default: expect(is.count(key) == m->count(key) && (!is.count(key) || is[key] == m->at(key)));
        }
    }
    expect(m->size() == is.size() && !m->contains("none"));
    size_t n = 0;
    for (auto &entry : *m) {
        expect(is.at(entry.first.str()) == entry.second);
        n++;
    }
    expect(n == is.size());
    auto *numbers = make<hipc::unordered_map<long, hipc::vector<int>>>(s);
    for (long i = 0; i < 1000; i++)
        (*numbers)[i * 1024].resize(3, 7);
    for (long i = 0; i < 1000; i++)
        expect(numbers->at(i * 1024).size() == 3 && !numbers->contains(i * 1024 + 1));
    auto *copy = make<hipc::unordered_map<hipc::string, unsigned>>(s, *m);
    auto *moved = make<hipc::unordered_map<hipc::string, unsigned>>(s, std::move(*m));
    expect(copy->size() == n && moved->size() == n && m->empty());
    for (auto &entry : *copy)
        expect(moved->at(entry.first) == entry.second);
    drop(m);
    drop(moved);
    drop(copy);
    drop(numbers);
    expect(blocks(s) == before);
}

/* ---- two programs ----------------------------------------------------------------------------- */

struct Box {
    hipc::vector<long> numbers;
    hipc::vector<hipc::string> words;
    hipc::list<hipc::string> list;
    hipc::unordered_map<hipc::string, hipc::vector<int>> map;
    hipc::ring_queue<int> queue{ 64 };
    int rounds = 0;
};

static void extend(Box &box)
{
    int from = box.rounds++ * 500;
    for (int i = from; i < from + 500; i++) {
        box.numbers.push_back(i);
        box.words.emplace_back(text(static_cast<unsigned>(i)));
        box.list.emplace_front(text(static_cast<unsigned>(i)));
        box.map[text(static_cast<unsigned>(i))].resize(static_cast<size_t>(i % 7), i);
    }
    for (int i = 0; from && i < 250; i++) { /* what the other program has made goes here */
        box.list.pop_back();
        expect(box.map.erase(text(static_cast<unsigned>(i))) == 1);
        box.words[static_cast<size_t>(i)] = "set by the second, and longer than it was before it was set";
    }
}

static void is_whole(const Box &box, int rounds)
{
    unsigned n = static_cast<unsigned>(rounds) * 500, gone = rounds > 1 ? 250 : 0;
    expect(box.rounds == rounds && box.numbers.size() == n && box.words.size() == n);
    expect(box.list.size() == n - gone && box.map.size() == n - gone);
    unsigned in_list = n;
    for (const hipc::string &word : box.list)
        expect(word == text(--in_list));
    for (unsigned i = 0; i < n; i++) {
        expect(box.numbers[i] == i && (i < gone || box.words[i] == text(i)));
        expect(i < gone ? !box.map.contains(text(i)) : box.map.at(text(i)).size() == i % 7);
    }
}

static void goes_on(hshm_segment *s)
{
    Box *box = hshm::find<Box>(s, "box");
    int value;
    expect(box != nullptr);
    is_whole(*box, 1);
    extend(*box);
    is_whole(*box, 2);
    for (int i = 0; i < 64; i++)
        expect(box->queue.pop(value) && value == i * 3);
    expect(!box->queue.pop(value) && box->queue.push(-5));
}

static void run_second(const char *how, const std::string &where)
{
    pid_t pid = fork();
    if (pid == 0) {
        execl("/proc/self/exe", "prog_api_containers", how, where.c_str(), (char *)nullptr);
        _exit(127);
    }
    int status;
    expect(waitpid(pid, &status, 0) == pid && status == 0);
}

static void two_programs_use_them_in(hshm_segment *s, const char *how, const std::string &where)
{
    Box *box = hshm::named<Box>(s, "box");
    int value;
    extend(*box);
    for (int i = 0; i < 64; i++)
        expect(box->queue.push(i * 3));
    expect(!box->queue.push(0) && box->queue.size() == 64);
    run_second(how, where);
    is_whole(*box, 2);
    expect(box->queue.pop(value) && value == -5 && box->queue.empty());
    box->numbers.push_back(1);
    box->words.front() += "more";
    box->map.clear();
    expect(hshm::remove<Box>(s, "box") && blocks(s) == 0);
}

static void two_programs_share_them()
{
    std::string name = name_of("two");
    hshm::Segment s(name.c_str(), 64 << 20);
    two_programs_use_them_in(s, "in_segment", name);
}

static hshm_segment *map_at(uintptr_t at, const char *path, unsigned flags)
{
    hshm_segment *s;
    int fd = open(path, O_RDWR | O_CREAT, 0600);
    expect(fd >= 0 && ftruncate(fd, 4 << 20) == 0);
    void *map = mmap(reinterpret_cast<void *>(at), 4 << 20, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    expect(map == reinterpret_cast<void *>(at));
    expect(hshm_open_array(map, 4 << 20, flags, &s) == 0);
    close(fd);
    return s;
}

static void two_programs_share_them_at_different_addresses()
{
    const char *dir = getenv("TMPDIR");
    std::string path = std::string(dir ? dir : "/tmp") + "/containers-" + std::to_string(getpid());
    hshm_segment *s = map_at(UINT64_C(0x300000000000), path.c_str(), HSHM_CREATE);
    two_programs_use_them_in(s, "in_array", path);
    unlink(path.c_str());
}

/* ---- what goes wrong ------------------------------------------------------------------------------ */

static void no_memory_leaves_them_as_they_were()
{
    alignas(64) static char array[64 << 10];
    hshm_segment *s;
    expect(hshm_open_array(array, sizeof array, HSHM_CREATE, &s) == 0);
    uint64_t before = blocks(s);
    auto *v = make<hipc::vector<hipc::string>>(s);
    auto *m = make<hipc::unordered_map<int, hipc::string>>(s);
    unsigned n = 0, k = 0;
    try {
        for (;; n++)
            v->emplace_back(text(n));
    } catch (const hshm::Error &e) {
        expect(e.code() == hshm::ErrorCode::OUT_OF_MEMORY);
    }
    expect(n > 100 && v->size() == n);
    for (unsigned i = 0; i < n; i++)
        expect((*v)[i] == text(i));
    uint64_t full = blocks(s);
    bool thrown = false;
    try {
        make<hipc::vector<hipc::string>>(s, *v);
    } catch (const hshm::Error &) {
        thrown = true; /* what was copied so far is gone; the room for the copy itself is not */
    }
    expect(thrown && blocks(s) <= full + 1);
    v->clear();
    v->shrink_to_fit();
    try {
        for (;; k++)
            m->emplace(static_cast<int>(k), text(k));
    } catch (const hshm::Error &e) {
        expect(e.code() == hshm::ErrorCode::OUT_OF_MEMORY);
    }
    expect(k > 100 && m->size() == k);
    for (unsigned i = 0; i < k; i++)
        expect(m->at(static_cast<int>(i)) == text(i));
    drop(v);
    drop(m);
    expect(blocks(s) <= before + 1);
}

static void what_moves_to_another_segment_is_copied()
{
    hshm::Segment a(name_of("a").c_str(), 64 << 20), b(name_of("b").c_str(), 64 << 20);
    auto *in_a = make<hipc::vector<hipc::string>>(a);
    for (unsigned i = 0; i < 100; i++)
        in_a->emplace_back(text(i));
    auto *in_b = make<hipc::vector<hipc::string>>(b, std::move(*in_a));
    expect(hshm_segment_of(in_b->data()) == b.get() && in_b->size() == 100);
    for (unsigned i = 0; i < 100; i++)
        expect((*in_b)[i] == text(i) && hshm_segment_of((*in_b)[i].c_str()) == b.get());
    auto *m = make<hipc::unordered_map<hipc::string, int>>(a);
    (*m)["x"] = 1;
    auto *n = make<hipc::unordered_map<hipc::string, int>>(b, std::move(*m));
    expect(n->at("x") == 1 && hshm_segment_of(&*n->begin()) == b.get());
    drop(in_a);
    drop(in_b);
    drop(m);
    drop(n);
    expect(blocks(a) == 0 && blocks(b) == 0);
}

/* What a killed one pushed is there, in order, each once; another goes on where it was. */
static void a_ring_queue_outlives_who_pushes()
{
    hshm::Segment s(name_of("ring").c_str(), 64 << 20);
    auto *queue = hshm::named<hipc::ring_queue<long>>(s, "queue", 100);
    long next = 0, value;
    for (int round = 0; round < 10; round++) {
        pid_t pid = fork();
        if (pid == 0)
            prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (long i = next; pid == 0;) {
            if (queue->push(i))
                i++;
            else
                sched_yield();
        }
        long until = next + 1000;
        while (next < until) {
            if (queue->pop(value))
                expect(value == next++);
            else
                sched_yield();
        }
        kill(pid, SIGKILL);
        waitpid(pid, nullptr, 0);
        while (queue->pop(value))
            expect(value == next++);
    }
    expect(hshm::remove<hipc::ring_queue<long>>(s, "queue"));
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*run)();
    } checks[] = {
        { "a_vector_is_as_the_standard_one", a_vector_is_as_the_standard_one },
        { "a_string_may_be_set_to_a_part_of_itself", a_string_may_be_set_to_a_part_of_itself },
        { "a_list_is_as_the_standard_one", a_list_is_as_the_standard_one },
        { "a_map_is_as_the_standard_one", a_map_is_as_the_standard_one },
        { "two_programs_share_them", two_programs_share_them },
        { "two_programs_share_them_at_different_addresses",
          two_programs_share_them_at_different_addresses },
        { "no_memory_leaves_them_as_they_were", no_memory_leaves_them_as_they_were },
        { "what_moves_to_another_segment_is_copied", what_moves_to_another_segment_is_copied },
        { "a_ring_queue_outlives_who_pushes", a_ring_queue_outlives_who_pushes },
    };
    if (argc == 3 && strcmp(argv[1], "in_segment") == 0) {
        hshm::Segment s(argv[2], 0, 0);
        goes_on(s);
        return 0;
    }
    if (argc == 3 && strcmp(argv[1], "in_array") == 0) {
        goes_on(map_at(UINT64_C(0x310000000000), argv[2], 0));
        return 0;
    }
    for (auto &check : checks)
        if (argc == 2 && strcmp(argv[1], check.name) == 0) {
            check.run();
            return 0;
        }
    return 2;
}
