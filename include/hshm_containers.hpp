/* hshm_containers.hpp - containers that work at any mapping address: vector, string, list, unordered_map
 * and ring_queue, whose pointers are hshm_ptr_t.  C++17, header only; link with -lhshm.
 *
 * A container lies in a segment, best as a named object or in another container:
 *
 *   hshm::Segment segment("name", 64 << 20);
 *   auto *words = hshm::named<hipc::vector<hipc::string>>(segment, "words");
 *   words->emplace_back("text");
 *
 * It allocates in the segment in which it lies itself; one that lies in none (a local variable) where
 * what it was moved from lies, else in the default segment, which then there must be.  Moved within
 * a segment, or to a local variable, what it has goes along; into another segment it is copied.  Elements are plain data or such containers: what has
 * pointers of its own means nothing elsewhere.
 *
 * Programs may have the segment at different addresses (hshm_open_array()); data(), iterators and
 * references are pointers of the program that asked.  In segments at one address for all, standard
 * containers with hshm::allocator do the same and are faster: here each access looks a segment up.
 *
 * errors   hshm::Error, OUT_OF_MEMORY among them; the container is then as it was.  An element whose move
 *          throws ends the program when a vector grows; those of here do not, within a segment.
 * threads  as standard containers: one writer or many readers at a time; members that share one guard it,
 *          by a hshm_mutex_t, say.  A ring_queue needs no guard for one who pushes and one who pops.
 * death    who dies in a call that changes a container may leave it half changed: the next owner of its mutex
 *          is told.  A ring_queue is whole at every instruction.
 * GPUs     hshm_ptr_t, and what is marked HSHM_HD of vector and ring_queue, compile for device code
 *          of nvcc and hipcc: what needs no memory.  There the segment must be at the address that it has here. */
#ifndef HSHM_CONTAINERS_HPP
#define HSHM_CONTAINERS_HPP

#include "hshm.hpp"

#include <cstring>
#include <initializer_list>
#include <iterator>
#include <string_view>
#include <tuple>

#if defined(__CUDA_ARCH__) || defined(__HIP_DEVICE_COMPILE__)
#define HSHM_ON_DEVICE_
#endif

namespace HSHM_CPP_NAMESPACE {
namespace ipc {

/* ---- pointers --------------------------------------------------------------------------- */

/* Of a segment that is open here; on a device of any segment but an array. */
template <typename T> HSHM_HD inline T *raw(const hshm_ptr_t &p)
{
#ifdef HSHM_ON_DEVICE_
    return p.segment == 0
               ? nullptr
               : reinterpret_cast<T *>((static_cast<uint64_t>(p.segment) << 26) + p.offset);
#else
    return static_cast<T *>(hshm_raw(p));
#endif
}

namespace detail {

/* In which it lies, or what it has, or the default one. */
inline hshm_segment *segment_of(const void *container, const hshm_ptr_t &has)
{
    hshm_segment *segment = hshm_segment_of(container);
    if (!segment)
        segment = hshm_segment_of(hshm_raw(has));
    return segment ? segment : check(hshm_default());
}

template <typename T> T *allocate(const void *container, const hshm_ptr_t &has, size_t count)
{
    if (count > std::numeric_limits<size_t>::max() / sizeof(T))
        throw Error(ErrorCode::OUT_OF_MEMORY, "asked for " + std::to_string(count) + " elements");
    return static_cast<T *>(check(hshm_alloc_aligned(
        segment_of(container, has), std::max<size_t>(alignof(T), 16), count * sizeof(T))));
}

/* May the container have what 'p' points to?  A local one has what lies anywhere. */
inline bool is_at_home(const void *container, const hshm_ptr_t &p)
{
    hshm_segment *segment = hshm_segment_of(container);
    return !segment || hshm_ptr_is_null(p) || hshm_segment_of(hshm_raw(p)) == segment;
}

HSHM_HD inline uint64_t load_acquire(const uint64_t *word)
{
#ifdef HSHM_ON_DEVICE_
    uint64_t value = *static_cast<const volatile uint64_t *>(word);
    __threadfence_system();
    return value;
#else
    return __atomic_load_n(word, __ATOMIC_ACQUIRE);
#endif
}

HSHM_HD inline void store_release(uint64_t *word, uint64_t value)
{
#ifdef HSHM_ON_DEVICE_
    __threadfence_system();
    *static_cast<volatile uint64_t *>(word) = value;
#else
    __atomic_store_n(word, value, __ATOMIC_RELEASE);
#endif
}

} // namespace detail

/* ---- vector ------------------------------------------------------------------------------- */

template <typename T> class vector {
    hshm_ptr_t data_ = HSHM_NULL;
    uint64_t size_ = 0, capacity_ = 0;

    static void destroy(T *from, T *to) noexcept
    {
        while (to != from)
            (--to)->~T();
    }
    void forget() noexcept
    {
        data_ = hshm_ptr_t HSHM_NULL;
        size_ = capacity_ = 0;
    }
    void drop() noexcept
    {
        destroy(begin(), end());
        hshm_free(data());
        forget();
    }
    void take(vector &other) noexcept
    {
        data_ = other.data_;
        size_ = other.size_;
        capacity_ = other.capacity_;
        other.forget();
    }
    template <typename From> void append_all(From from, From to)
    {
        for (; from != to; ++from)
            emplace_back(*from);
    }
    /* For constructors: what was made goes again if one throws. */
    template <typename Fill> void init(Fill fill)
    {
        try {
            fill();
        } catch (...) {
            drop();
            throw;
        }
    }
    /* Elements move to 'to', of that capacity, in which 'made' behind them are made already. */
    void move_to(T *to, size_t capacity, size_t made) noexcept
    {
        T *from = data();
        for (size_t i = 0; i < size_; i++)
            new (to + i) T(std::move(from[i]));
        destroy(from, from + size_);
        data_ = hshm_ptr(to);
        capacity_ = capacity;
        size_ += made;
        hshm_free(from);
    }

  public:
    using value_type = T;
    using size_type = size_t;
    using difference_type = ptrdiff_t;
    using reference = T &;
    using const_reference = const T &;
    using iterator = T *;
    using const_iterator = const T *;

    vector() = default;
    explicit vector(size_t count)
    {
        init([&] { resize(count); });
    }
    vector(size_t count, const T &value)
    {
        init([&] { resize(count, value); });
    }
    vector(std::initializer_list<T> list)
    {
        init([&] { append_all(list.begin(), list.end()); });
    }
    template <typename From, typename = typename std::iterator_traits<From>::iterator_category>
    vector(From from, From to)
    {
        init([&] { append_all(from, to); });
    }
    vector(const vector &other)
    {
        init([&] {
            reserve(other.size());
            append_all(other.begin(), other.end());
        });
    }
    vector(vector &&other) { init([&] { *this = std::move(other); }); }
    ~vector() { drop(); }
    vector &operator=(const vector &other)
    {
        if (this != &other) {
            clear();
            reserve(other.size());
            append_all(other.begin(), other.end());
        }
        return *this;
    }
    vector &operator=(vector &&other)
    {
        if (this == &other)
            return *this;
        if (detail::is_at_home(this, other.data_)) {
            drop();
            take(other);
        } else {
            clear();
            append_all(std::make_move_iterator(other.begin()), std::make_move_iterator(other.end()));
        }
        return *this;
    }

    HSHM_HD T *data() { return raw<T>(data_); }
    HSHM_HD const T *data() const { return raw<T>(data_); }
    HSHM_HD size_t size() const { return size_; }
    HSHM_HD size_t capacity() const { return capacity_; }
    HSHM_HD bool empty() const { return size_ == 0; }
    HSHM_HD T &operator[](size_t i) { return data()[i]; }
    HSHM_HD const T &operator[](size_t i) const { return data()[i]; }
    HSHM_HD T *begin() { return data(); }
    HSHM_HD T *end() { return data() + size_; }
    HSHM_HD const T *begin() const { return data(); }
    HSHM_HD const T *end() const { return data() + size_; }
    HSHM_HD T &front() { return data()[0]; }
    HSHM_HD const T &front() const { return data()[0]; }
    HSHM_HD T &back() { return data()[size_ - 1]; }
    HSHM_HD const T &back() const { return data()[size_ - 1]; }
    const T &at(size_t i) const
    {
        if (i >= size_)
            throw Error(ErrorCode::INVALID_ARGUMENT,
                        "element " + std::to_string(i) + " of " + std::to_string(size_));
        return data()[i];
    }
    T &at(size_t i) { return const_cast<T &>(static_cast<const vector *>(this)->at(i)); }

    void reserve(size_t count)
    {
        if (count > capacity_)
            move_to(detail::allocate<T>(this, data_, count), count, 0);
    }
    /* 'args' may be of this vector. */
    template <typename... Args> T &emplace_back(Args &&...args)
    {
        if (size_ < capacity_) {
            T *made = new (data() + size_) T(std::forward<Args>(args)...);
            size_++;
            return *made;
        }
        size_t capacity = size_ + size_ / 2 + 4;
        T *to = detail::allocate<T>(this, data_, capacity);
        try {
            new (to + size_) T(std::forward<Args>(args)...);
        } catch (...) {
            hshm_free(to);
            throw;
        }
        move_to(to, capacity, 1);
        return back();
    }
    void push_back(const T &value) { emplace_back(value); }
    void push_back(T &&value) { emplace_back(std::move(value)); }
    void pop_back() { data()[--size_].~T(); }
    void clear() noexcept
    {
        destroy(begin(), end());
        size_ = 0;
    }
    template <typename... Args> void resize(size_t count, const Args &...value)
    {
        reserve(count);
        while (size_ > count)
            pop_back();
        while (size_ < count)
            emplace_back(value...);
    }
    void shrink_to_fit()
    {
        if (size_ == 0)
            drop();
        else if (size_ < capacity_)
            move_to(detail::allocate<T>(this, data_, size_), size_, 0);
    }
    T *insert(const T *before, const T &value)
    {
        ptrdiff_t at = before - begin();
        emplace_back(value);
        std::rotate(begin() + at, end() - 1, end());
        return begin() + at;
    }
    T *erase(const T *from, const T *to)
    {
        T *at = begin() + (from - begin()), *rest = std::move(begin() + (to - begin()), end(), at);
        destroy(rest, end());
        size_ = static_cast<uint64_t>(rest - begin());
        return at;
    }
    T *erase(const T *at) { return erase(at, at + 1); }
    bool operator==(const vector &other) const
    {
        return size_ == other.size_ && std::equal(begin(), end(), other.begin());
    }
    bool operator!=(const vector &other) const { return !(*this == other); }
};

/* ---- string --------------------------------------------------------------------------------- */

class string {
    hshm_ptr_t data_ = HSHM_NULL; /* with a NUL */
    uint64_t size_ = 0, capacity_ = 0;

    char *text() const { return raw<char>(data_); }
    /* Both may be parts of it; 'head' its begin, or not of it. */
    string &set(std::string_view head, std::string_view tail)
    {
        size_t size = head.size() + tail.size();
        char *from = text(), *to = from;
        if (size >= capacity_) {
            size_t capacity = size + (head.empty() ? 1 : size / 2 + 16);
            to = detail::allocate<char>(this, data_, capacity);
            capacity_ = capacity;
            data_ = hshm_ptr(to);
        }
        std::memmove(to + head.size(), tail.data(), tail.size());
        if (to != from) {
            std::memcpy(to, head.data(), head.size());
            hshm_free(from);
        }
        to[size] = '\0';
        size_ = size;
        return *this;
    }

  public:
    string() = default;
    string(const char *text) { set("", text); }
    string(std::string_view text) { set("", text); }
    string(const std::string &text) { set("", text); }
    string(const string &other) { set("", other); }
    string(string &&other) { *this = std::move(other); }
    ~string() { hshm_free(text()); }
    string &operator=(const string &other) { return set("", other); }
    string &operator=(std::string_view text) { return set("", text); }
    string &operator=(const char *text) { return set("", text); }
    string &operator=(string &&other)
    {
        if (this == &other)
            return *this;
        if (!detail::is_at_home(this, other.data_))
            return set("", other);
        std::swap(data_, other.data_);
        std::swap(size_, other.size_);
        std::swap(capacity_, other.capacity_);
        return *this;
    }

    string &assign(std::string_view text) { return set("", text); }
    string &append(std::string_view text) { return set(*this, text); }
    string &operator+=(std::string_view text) { return set(*this, text); }
    void push_back(char c) { set(*this, std::string_view(&c, 1)); }
    void reserve(size_t size)
    {
        if (size >= capacity_) {
            char *to = detail::allocate<char>(this, data_, size + 1), *from = text();
            std::memcpy(to, c_str(), size_ + 1);
            data_ = hshm_ptr(to);
            capacity_ = size + 1;
            hshm_free(from);
        }
    }
    void clear()
    {
        if (size_)
            text()[size_ = 0] = '\0';
    }

    size_t size() const { return size_; }
    size_t length() const { return size_; }
    size_t capacity() const { return capacity_ ? capacity_ - 1 : 0; }
    bool empty() const { return size_ == 0; }
    const char *c_str() const { return capacity_ ? text() : ""; }
    const char *data() const { return c_str(); }
    const char *begin() const { return c_str(); }
    const char *end() const { return c_str() + size_; }
    char &operator[](size_t i) { return text()[i]; }
    const char &operator[](size_t i) const { return c_str()[i]; }
    operator std::string_view() const { return std::string_view(c_str(), size_); }
    std::string str() const { return std::string(c_str(), size_); }

    template <typename Text> using If = std::enable_if_t<std::is_convertible_v<const Text &, std::string_view>, bool>;
    template <typename Text> friend If<Text> operator==(const string &a, const Text &b)
    {
        return std::string_view(a) == std::string_view(b);
    }
    template <typename Text> friend If<Text> operator!=(const string &a, const Text &b)
    {
        return std::string_view(a) != std::string_view(b);
    }
    template <typename Text> friend If<Text> operator<(const string &a, const Text &b)
    {
        return std::string_view(a) < std::string_view(b);
    }
};

/* ---- list ------------------------------------------------------------------------------------- */

template <typename T> class list {
    struct Node {
        hshm_ptr_t next, previous;
        T value;
        template <typename... Args>
        explicit Node(Args &&...args)
            : next HSHM_NULL, previous HSHM_NULL, value(std::forward<Args>(args)...)
        {
        }
    };
    hshm_ptr_t first_ = HSHM_NULL, last_ = HSHM_NULL;
    uint64_t size_ = 0;

    static Node *node(const hshm_ptr_t &p) { return raw<Node>(p); }
    void forget() noexcept
    {
        first_ = last_ = hshm_ptr_t HSHM_NULL;
        size_ = 0;
    }
    void take(list &other) noexcept
    {
        first_ = other.first_;
        last_ = other.last_;
        size_ = other.size_;
        other.forget();
    }
    template <typename From> void append_all(From from, From to)
    {
        try {
            for (; from != to; ++from)
                emplace_back(*from);
        } catch (...) {
            clear();
            throw;
        }
    }
    template <typename... Args> Node *node_make(Args &&...args)
    {
        Node *made = detail::allocate<Node>(this, first_, 1);
        try {
            return new (made) Node(std::forward<Args>(args)...);
        } catch (...) {
            hshm_free(made);
            throw;
        }
    }
    /* Before 'after'; nullptr: at the end. */
    Node *link(Node *made, Node *after)
    {
        hshm_ptr_t here = hshm_ptr(made);
        made->previous = after ? after->previous : last_;
        made->next = after ? hshm_ptr(after) : hshm_ptr_t HSHM_NULL;
        (hshm_ptr_is_null(made->previous) ? first_ : node(made->previous)->next) = here;
        (after ? after->previous : last_) = here;
        size_++;
        return made;
    }

    template <typename Value> class Iterator {
        friend class list;
        const list *list_ = nullptr;
        Node *node_ = nullptr; /* nullptr: the end */
        Iterator(const list *owner, Node *at) : list_(owner), node_(at) {}

      public:
        using iterator_category = std::bidirectional_iterator_tag;
        using value_type = T;
        using difference_type = ptrdiff_t;
        using pointer = Value *;
        using reference = Value &;

        Iterator() = default;
        operator Iterator<const Value>() const { return Iterator<const Value>(list_, node_); }
        Value &operator*() const { return node_->value; }
        Value *operator->() const { return &node_->value; }
        Iterator &operator++()
        {
            node_ = node(node_->next);
            return *this;
        }
        Iterator &operator--()
        {
            node_ = node(node_ ? node_->previous : list_->last_);
            return *this;
        }
        Iterator operator++(int)
        {
            Iterator before = *this;
            ++*this;
            return before;
        }
        Iterator operator--(int)
        {
            Iterator before = *this;
            --*this;
            return before;
        }
        bool operator==(const Iterator &other) const { return node_ == other.node_; }
        bool operator!=(const Iterator &other) const { return node_ != other.node_; }
    };

  public:
    using value_type = T;
    using iterator = Iterator<T>;
    using const_iterator = Iterator<const T>;

    list() = default;
    list(std::initializer_list<T> values) { append_all(values.begin(), values.end()); }
    list(const list &other) { append_all(other.begin(), other.end()); }
    list(list &&other) { *this = std::move(other); }
    ~list() { clear(); }
    list &operator=(const list &other)
    {
        if (this != &other) {
            clear();
            append_all(other.begin(), other.end());
        }
        return *this;
    }
    list &operator=(list &&other)
    {
        if (this == &other)
            return *this;
        clear();
        if (detail::is_at_home(this, other.first_))
            take(other);
        else
            append_all(std::make_move_iterator(other.begin()), std::make_move_iterator(other.end()));
        return *this;
    }

    size_t size() const { return size_; }
    bool empty() const { return size_ == 0; }
    iterator begin() { return iterator(this, node(first_)); }
    iterator end() { return iterator(this, nullptr); }
    const_iterator begin() const { return const_iterator(this, node(first_)); }
    const_iterator end() const { return const_iterator(this, nullptr); }
    T &front() { return node(first_)->value; }
    T &back() { return node(last_)->value; }
    const T &front() const { return node(first_)->value; }
    const T &back() const { return node(last_)->value; }

    template <typename... Args> T &emplace_back(Args &&...args)
    {
        return link(node_make(std::forward<Args>(args)...), nullptr)->value;
    }
    template <typename... Args> T &emplace_front(Args &&...args)
    {
        return link(node_make(std::forward<Args>(args)...), node(first_))->value;
    }
    template <typename... Args> iterator emplace(const_iterator before, Args &&...args)
    {
        return iterator(this, link(node_make(std::forward<Args>(args)...), before.node_));
    }
    void push_back(const T &value) { emplace_back(value); }
    void push_front(const T &value) { emplace_front(value); }
    iterator insert(const_iterator before, const T &value) { return emplace(before, value); }
    iterator erase(const_iterator at)
    {
        Node *gone = at.node_, *next = node(gone->next);
        (hshm_ptr_is_null(gone->previous) ? first_ : node(gone->previous)->next) = gone->next;
        (next ? next->previous : last_) = gone->previous;
        size_--;
        gone->~Node();
        hshm_free(gone);
        return iterator(this, next);
    }
    void pop_front() { erase(begin()); }
    void pop_back() { erase(--end()); }
    void clear() noexcept
    {
        while (size_)
            pop_front();
    }
    bool operator==(const list &other) const
    {
        return size_ == other.size_ && std::equal(begin(), end(), other.begin());
    }
};

/* ---- unordered_map ------------------------------------------------------------------------------ */

/* The same in every program: std::hash may be another in each. */
template <typename K, typename = void> struct hash;
template <typename K> struct hash<K, std::enable_if_t<std::is_integral_v<K> || std::is_enum_v<K>>> {
    uint64_t operator()(K key) const
    {
        uint64_t x = static_cast<uint64_t>(key) * UINT64_C(0x9e3779b97f4a7c15);
        return x ^ x >> 32;
    }
};
template <> struct hash<string> {
    uint64_t operator()(std::string_view key) const
    {
        uint64_t x = UINT64_C(0xcbf29ce484222325);
        for (char c : key)
            x = (x ^ static_cast<unsigned char>(c)) * UINT64_C(0x100000001b3);
        return x ^ x >> 32;
    }
};

/* What K can be compared with and Hash hashes finds it: of strings, a text. */
template <typename K, typename V, typename Hash = hash<K>> class unordered_map {
  public:
    using key_type = K;
    using mapped_type = V;
    using value_type = std::pair<const K, V>;

  private:
    struct Node {
        hshm_ptr_t next = HSHM_NULL;
        uint64_t hash = 0;
        value_type value;
        template <typename Key, typename... Args>
        Node(uint64_t hash_of, Key &&key, Args &&...args)
            : hash(hash_of), value(std::piecewise_construct, std::forward_as_tuple(std::forward<Key>(key)),
                                   std::forward_as_tuple(std::forward<Args>(args)...))
        {
        }
    };
    vector<hshm_ptr_t> buckets_; /* 0, or a power of two */
    uint64_t size_ = 0;

    static Node *node(const hshm_ptr_t &p) { return raw<Node>(p); }
    hshm_ptr_t *bucket(uint64_t hash) { return &buckets_[hash & (buckets_.size() - 1)]; }

    hshm_ptr_t buckets_at_() const { return hshm_ptr(buckets_.data()); }

    /* The word that says where it is. */
    template <typename Q> hshm_ptr_t *link_of(const Q &key, uint64_t hash)
    {
        if (buckets_.empty())
            return nullptr;
        for (hshm_ptr_t *link = bucket(hash); !hshm_ptr_is_null(*link); link = &node(*link)->next)
            if (node(*link)->hash == hash && node(*link)->value.first == key)
                return link;
        return nullptr;
    }
    void grow(size_t count)
    {
        vector<hshm_ptr_t> *to = static_cast<vector<hshm_ptr_t> *>(
            check(hshm_alloc(detail::segment_of(this, buckets_at_()), sizeof(vector<hshm_ptr_t>))));
        new (to) vector<hshm_ptr_t>; /* in our segment, and so what it has */
        try {
            to->resize(count, hshm_ptr_t HSHM_NULL);
        } catch (...) {
            to->~vector();
            hshm_free(to);
            throw;
        }
        for (size_t i = 0; i < buckets_.size(); i++)
            for (hshm_ptr_t p = buckets_[i]; !hshm_ptr_is_null(p);) {
                Node *n = node(p);
                hshm_ptr_t next = n->next, *head = &(*to)[n->hash & (count - 1)];
                n->next = *head;
                *head = p;
                p = next;
            }
        buckets_ = std::move(*to);
        to->~vector();
        hshm_free(to);
    }
    template <typename Key, typename... Args> Node *add(uint64_t hash, Key &&key, Args &&...args)
    {
        if (size_ >= buckets_.size())
            grow(buckets_.empty() ? 16 : buckets_.size() * 2);
        Node *made = detail::allocate<Node>(this, buckets_at_(), 1);
        try {
            new (made) Node(hash, std::forward<Key>(key), std::forward<Args>(args)...);
        } catch (...) {
            hshm_free(made);
            throw;
        }
        hshm_ptr_t *head = bucket(hash);
        made->next = *head;
        *head = hshm_ptr(made);
        size_++;
        return made;
    }
    Node *first_from(size_t i) const
    {
        for (; i < buckets_.size(); i++)
            if (!hshm_ptr_is_null(buckets_[i]))
                return node(buckets_[i]);
        return nullptr;
    }

    template <typename Value> class Iterator {
        friend class unordered_map;
        const unordered_map *map_ = nullptr;
        Node *node_ = nullptr;
        Iterator(const unordered_map *map, Node *at) : map_(map), node_(at) {}

      public:
        using iterator_category = std::forward_iterator_tag;
        using value_type = unordered_map::value_type;
        using difference_type = ptrdiff_t;
        using pointer = Value *;
        using reference = Value &;

        Iterator() = default;
        operator Iterator<const Value>() const { return Iterator<const Value>(map_, node_); }
        Value &operator*() const { return node_->value; }
        Value *operator->() const { return &node_->value; }
        Iterator &operator++()
        {
            node_ = hshm_ptr_is_null(node_->next)
                        ? map_->first_from((node_->hash & (map_->buckets_.size() - 1)) + 1)
                        : node(node_->next);
            return *this;
        }
        Iterator operator++(int)
        {
            Iterator before = *this;
            ++*this;
            return before;
        }
        bool operator==(const Iterator &other) const { return node_ == other.node_; }
        bool operator!=(const Iterator &other) const { return node_ != other.node_; }
    };

  public:
    using iterator = Iterator<value_type>;
    using const_iterator = Iterator<const value_type>;

    unordered_map() = default;
    unordered_map(const unordered_map &other) { *this = other; }
    unordered_map(unordered_map &&other) { *this = std::move(other); }
    ~unordered_map() { clear(); }
    unordered_map &operator=(const unordered_map &other)
    {
        if (this == &other)
            return *this;
        clear();
        try {
            for (const value_type &v : other)
                add(Hash()(v.first), v.first, v.second);
        } catch (...) {
            clear();
            throw;
        }
        return *this;
    }
    unordered_map &operator=(unordered_map &&other)
    {
        if (this == &other)
            return *this;
        clear();
        if (other.empty() || detail::is_at_home(this, hshm_ptr(&*other.begin()))) {
            buckets_ = std::move(other.buckets_);
            std::swap(size_, other.size_);
        } else {
            *this = static_cast<const unordered_map &>(other);
        }
        return *this;
    }

    size_t size() const { return size_; }
    bool empty() const { return size_ == 0; }
    iterator begin() { return iterator(this, first_from(0)); }
    iterator end() { return iterator(this, nullptr); }
    const_iterator begin() const { return const_iterator(this, first_from(0)); }
    const_iterator end() const { return const_iterator(this, nullptr); }

    template <typename Q> iterator find(const Q &key)
    {
        hshm_ptr_t *link = link_of(key, Hash()(key));
        return iterator(this, link ? node(*link) : nullptr);
    }
    template <typename Q> const_iterator find(const Q &key) const
    {
        return const_cast<unordered_map *>(this)->find(key);
    }
    template <typename Q> size_t count(const Q &key) const { return find(key) != end(); }
    template <typename Q> bool contains(const Q &key) const { return find(key) != end(); }
    template <typename Q> V &at(const Q &key)
    {
        iterator found = find(key);
        if (found == end())
            throw Error(ErrorCode::NOT_FOUND, "no such key");
        return found->second;
    }
    template <typename Q> const V &at(const Q &key) const
    {
        return const_cast<unordered_map *>(this)->at(key);
    }
    template <typename Q, typename... Args> std::pair<iterator, bool> emplace(Q &&key, Args &&...args)
    {
        uint64_t hash = Hash()(key);
        hshm_ptr_t *link = link_of(key, hash);
        if (link)
            return { iterator(this, node(*link)), false };
        return { iterator(this, add(hash, std::forward<Q>(key), std::forward<Args>(args)...)), true };
    }
    template <typename Q> V &operator[](Q &&key) { return emplace(std::forward<Q>(key)).first->second; }
    template <typename Q> size_t erase(const Q &key)
    {
        hshm_ptr_t *link = link_of(key, Hash()(key));
        if (!link)
            return 0;
        Node *gone = node(*link);
        *link = gone->next;
        size_--;
        gone->~Node();
        hshm_free(gone);
        return 1;
    }
    void clear() noexcept
    {
        for (hshm_ptr_t &head : buckets_)
            while (!hshm_ptr_is_null(head)) {
                Node *gone = node(head);
                head = gone->next;
                size_--;
                gone->~Node();
                hshm_free(gone);
            }
    }
    void reserve(size_t count)
    {
        size_t buckets = 16;
        while (buckets < count)
            buckets *= 2;
        if (buckets > buckets_.size())
            grow(buckets);
    }
};

/* ---- ring_queue ----------------------------------------------------------------------------------- */

/* Plain data, from one who pushes to one who pops, both wherever they are; neither waits, and the
 * death of one changes nothing: an element is in the queue when its push has ended.  For more of
 * either, and to wait: hshm_queue. */
template <typename T> class ring_queue {
    static_assert(std::is_trivially_copyable<T>::value, "bytes go through the queue");
    hshm_ptr_t data_;
    uint64_t capacity_;
    alignas(64) uint64_t head_ = 0; /* popped */
    alignas(64) uint64_t tail_ = 0; /* pushed */

  public:
    using value_type = T;

    explicit ring_queue(size_t capacity)
        : data_(hshm_ptr(detail::allocate<T>(this, hshm_ptr_t HSHM_NULL, capacity ? capacity : 1))),
          capacity_(capacity ? capacity : 1)
    {
    }
    ring_queue(const ring_queue &) = delete;
    ring_queue &operator=(const ring_queue &) = delete;
    ~ring_queue() { hshm_free(raw<T>(data_)); }

    HSHM_HD size_t capacity() const { return capacity_; }
    HSHM_HD size_t size() const
    {
        uint64_t popped = detail::load_acquire(&head_);
        return detail::load_acquire(&tail_) - popped;
    }
    HSHM_HD bool empty() const { return size() == 0; }
    /* False: it is full. */
    HSHM_HD bool push(const T &value)
    {
        uint64_t tail = tail_;
        if (tail - detail::load_acquire(&head_) >= capacity_)
            return false;
        raw<T>(data_)[tail % capacity_] = value;
        detail::store_release(&tail_, tail + 1); /* pairs with pop()'s look at it */
        return true;
    }
    /* False: it is empty. */
    HSHM_HD bool pop(T &value)
    {
        uint64_t head = head_;
        if (head == detail::load_acquire(&tail_))
            return false;
        value = raw<T>(data_)[head % capacity_];
        detail::store_release(&head_, head + 1); /* pairs with push()'s look at it */
        return true;
    }
};

} // namespace ipc
} // namespace HSHM_CPP_NAMESPACE

#endif
