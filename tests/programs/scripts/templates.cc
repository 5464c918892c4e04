// Template-heavy C++: much compiler memory, and the whole of libstdc++'s allocation at run time.
#include <algorithm>
#include <fstream>
#include <functional>
#include <future>
#include <iostream>
#include <list>
#include <map>
#include <memory>
#include <memory_resource>
#include <new>
#include <numeric>
#include <random>
#include <regex>
#include <set>
#include <sstream>
#include <stdexcept>
#include <thread>
#include <unordered_map>
#include <variant>
#include <vector>

template <int N> struct Fib { static constexpr unsigned long value = Fib<N - 1>::value + Fib<N - 2>::value; };
template <> struct Fib<0> { static constexpr unsigned long value = 0; };
template <> struct Fib<1> { static constexpr unsigned long value = 1; };

struct alignas(64) Line { char bytes[128]; };

int main() {
    std::cout << Fib<90>::value << '\n';
    std::map<std::string, std::vector<std::unique_ptr<int>>> m;
    std::mt19937 random(1);
    for (int i = 0; i < 20000; i++) m[std::to_string(random() % 997)].push_back(std::make_unique<int>(i));
    long sum = 0;
    for (auto &[key, list] : m) for (auto &p : list) sum += *p * static_cast<long>(key.size());
    std::cout << m.size() << ' ' << sum << '\n';
    std::vector<std::future<long>> jobs;
    for (int t = 0; t < 8; t++)
        jobs.push_back(std::async(std::launch::async, [t] {
            std::unordered_map<std::string, std::list<int>> u;
            for (int i = 0; i < 5000; i++) u[std::string(static_cast<size_t>(i % 50), 'x')].push_back(i * t);
            long s = 0;
            for (auto &[k, l] : u) s += std::accumulate(l.begin(), l.end(), 0L) % 1000 + static_cast<long>(k.size());
            return s;
        }));
    for (auto &job : jobs) std::cout << job.get() << ' ';
    std::cout << '\n';
    auto line = std::make_unique<Line[]>(100);
    std::cout << reinterpret_cast<uintptr_t>(line.get()) % 64 << '\n';
    try {
        std::vector<char> v(std::numeric_limits<std::ptrdiff_t>::max());
    } catch (const std::bad_alloc &e) { std::cout << "bad_alloc\n"; }
    std::cout << (::operator new(static_cast<size_t>(-1) / 2, std::nothrow) == nullptr) << '\n';
    std::set_new_handler([] { std::set_new_handler(nullptr); std::cout << "handler\n"; });
    try { delete[] new char[static_cast<size_t>(1) << 62]; } catch (const std::bad_alloc &) { std::cout << "after handler\n"; }
    std::regex word("([a-z]+)-([0-9]+)");
    std::string text;
    for (int i = 0; i < 300; i++) text += "abc-" + std::to_string(i) + " ";
    std::cout << std::distance(std::sregex_iterator(text.begin(), text.end(), word), std::sregex_iterator()) << '\n';
    std::pmr::monotonic_buffer_resource pool;
    std::pmr::vector<std::pmr::string> strings(&pool);
    for (int i = 0; i < 1000; i++) strings.emplace_back(std::string(100, static_cast<char>('a' + i % 26)));
    std::cout << strings.back() << '\n';
    try { throw std::runtime_error(std::string(500, 'e')); } catch (const std::exception &e) { std::cout << std::string(e.what()).size() << '\n'; }
    std::ostringstream out;
    for (int i = 0; i < 100000; i++) out << i << ',';
    std::cout << std::hash<std::string>{}(out.str()) << '\n';
    std::thread thread([] { thread_local std::vector<int> big(100000, 3); std::cout << big[99999] << '\n'; });
    thread.join();
}
