/* Standard containers that two processes change: all lies in the segment.
 *
 * prints: 3 words: one two three */
#include <hshm.hpp>

#include <iostream>
#include <string>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

template <typename T> using A = hshm::allocator<T>;
using String = std::basic_string<char, std::char_traits<char>, A<char>>;
using Words = std::vector<String, A<String>>;

int main()
{
    std::string name = "example-containers-" + std::to_string(getpid());
    hshm::Segment segment(name.c_str(), 64 << 20);
    A<char> allocator(segment);
    Words *words = hshm::named<Words>(segment, "words", allocator);
    words->emplace_back("one", allocator);
    if (fork() == 0) {
        Words *same = hshm::find<Words>(segment, "words");
        same->emplace_back("two", allocator);
        same->emplace_back("three", allocator);
        _exit(0);
    }
    int status;
    wait(&status);
    std::cout << words->size() << " words:";
    for (const String &word : *words)
        std::cout << ' ' << word;
    std::cout << '\n';
    hshm::remove<Words>(segment, "words");
    return status;
}
