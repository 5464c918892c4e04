/* hshm.hpp - hshm.h for C++17: errors as exceptions, typed blocks, standard containers in a
 * segment, and the names that programs written for HSHM (the Hermes shared-memory library) use.
 *
 * Header only; link with -lhshm.  What hshm.h says of threads, signals, fork, death and
 * lifetimes holds here.
 *
 *   hshm::Segment      a segment that is open; hshm::named<T>() finds or makes an object in it
 *   hshm::allocator    for standard containers whose elements all members use
 *   hshm::ipc (hipc)   HSHM's interface: memory manager, allocators, FullPtr
 *
 * A program that also includes HSHM's own headers has two namespaces hshm with the same
 * classes in it: there, define HSHM_CPP_NAMESPACE as another name before this header.  hipc,
 * HSHM_MCTX and the like are HSHM's then.  (HSHM_NO_COMPAT_MACROS leaves out the macros alone.)
 *
 * Members of different programs share bytes, not code: virtual functions, std::function and
 * shared_ptr's deleters are pointers into one program, and work only among members that run
 * the same one at the same addresses (hshm run --same-layout). */
#ifndef HSHM_HPP
#define HSHM_HPP

#include "hshm.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <limits>
#include <map>
#include <memory>
#include <mutex>
#include <new>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#ifdef HSHM_CPP_NAMESPACE
#define HSHM_NO_COMPAT_MACROS
#else
#define HSHM_CPP_NAMESPACE hshm
#define HSHM_ALIAS_HIPC_
#endif

namespace HSHM_CPP_NAMESPACE {

/* ---- errors ---------------------------------------------------------------------------- */

enum class ErrorCode {
    NONE = HSHM_OK,
    INVALID_ARGUMENT = HSHM_EINVAL,
    OUT_OF_MEMORY = HSHM_ENOMEM,
    NOT_FOUND = HSHM_ENOENT,
    EXISTS = HSHM_EEXIST,
    OTHER_SIZE = HSHM_ESIZE,
    OTHER_TYPE = HSHM_ETYPE,
    BUSY = HSHM_EBUSY,
    AGAIN = HSHM_EAGAIN,
    NOT_PERMITTED = HSHM_EPERM,
    ADDRESS_CLASH = HSHM_ECLASH,
    FULL = HSHM_EFULL,
    DAMAGED = HSHM_EDAMAGED,
    READ_ONLY = HSHM_EREADONLY,
    OWNER_DEAD = HSHM_EOWNERDEAD,
    SYSTEM = HSHM_ESYSTEM,
};

class Error : public std::exception {
    ErrorCode code_;
    std::string text_;

  public:
    Error(ErrorCode code, std::string text) : code_(code), text_(std::move(text)) {}
    ErrorCode code() const noexcept { return code_; }
    const char *what() const noexcept override { return text_.c_str(); }
    /* The last failure of this thread. */
    static Error last() { return Error(static_cast<ErrorCode>(hshm_error()), hshm_error_text()); }
};

inline void check(int rc)
{
    if (rc != HSHM_OK)
        throw Error(static_cast<ErrorCode>(rc), hshm_error_text());
}

template <typename T> T *check(T *p)
{
    if (!p)
        throw Error::last();
    return p;
}

/* ---- segments ---------------------------------------------------------------------------- */

/* Leaves the segment when it ends, unless it is the default one. */
class Segment {
    hshm_segment *segment_;
    bool close_;

  public:
    explicit Segment(const char *name, uint64_t size = 0, unsigned flags = HSHM_CREATE,
                     unsigned mode = 0, int wait_ms = 0)
        : segment_(nullptr), close_(true)
    {
        hshm_attr_t attr = HSHM_ATTR_INIT;
        attr.size = size;
        attr.flags = flags;
        attr.mode = mode;
        attr.wait_ms = wait_ms;
        check(hshm_open(name, &attr, &segment_));
    }
    Segment() : segment_(check(hshm_default())), close_(false) {}
    Segment(const Segment &) = delete;
    Segment &operator=(const Segment &) = delete;
    Segment(Segment &&other) noexcept : segment_(other.segment_), close_(other.close_)
    {
        other.close_ = false;
    }
    ~Segment()
    {
        if (close_)
            hshm_close(segment_);
    }
    hshm_segment *get() const noexcept { return segment_; }
    operator hshm_segment *() const noexcept { return segment_; }
};

/* ---- objects with names --------------------------------------------------------------------- */

/* What others must agree to: the type by its name, as this compiler writes it. */
template <typename T> uint64_t type_tag()
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (const char *p = __PRETTY_FUNCTION__; *p; p++)
        hash = (hash ^ static_cast<unsigned char>(*p)) * UINT64_C(0x100000001b3);
    return hash | 1;
}

/* The object of that name, or nullptr. */
template <typename T> T *find(hshm_segment *segment, const char *name)
{
    void *p = hshm_find(segment, name, sizeof(T), type_tag<T>(), 0);
    if (!p && hshm_error() != HSHM_ENOENT)
        throw Error::last();
    return static_cast<T *>(p);
}

/* The same, or made with these arguments.  It is found only when it is constructed; of several
 * that make it at once all but one destroy theirs. */
template <typename T, typename... Args>
T *named(hshm_segment *segment, const char *name, Args &&...args)
{
    for (;;) {
        if (T *there = find<T>(segment, name))
            return there;
        void *p = check(hshm_alloc_aligned(segment, std::max<size_t>(alignof(T), 16), sizeof(T)));
        T *made;
        try {
            made = new (p) T(std::forward<Args>(args)...);
        } catch (...) {
            hshm_free(p);
            throw;
        }
        int rc = hshm_publish(name, made, sizeof(T), type_tag<T>(), nullptr);
        if (rc == HSHM_OK)
            return made;
        made->~T();
        hshm_free(made);
        if (rc != HSHM_EEXIST)
            check(rc);
    }
}

/* Destroy it and its name.  False: there is none.  Nobody may use it any more. */
template <typename T> bool remove(hshm_segment *segment, const char *name)
{
    T *there = find<T>(segment, name);
    if (!there)
        return false;
    there->~T();
    return hshm_unname(segment, name) == HSHM_OK;
}

/* ---- for standard containers -------------------------------------------------------------------- */

/* Knows its segment by what it is called in every process, so that a container of one member can
 * be changed by any other: vector, string, map, unordered_map, deque, list, of elements that
 * are made of such containers and plain data.  Without a segment: the default one. */
template <typename T> class allocator {
    hshm_ptr_t where_; /* the segment's begin */
    template <typename U> friend class allocator;

    hshm_segment *segment() const
    {
        return hshm_ptr_is_null(where_) ? nullptr : check(hshm_segment_of(hshm_raw(where_)));
    }

  public:
    using value_type = T;
    using propagate_on_container_copy_assignment = std::true_type;
    using propagate_on_container_move_assignment = std::true_type;
    using propagate_on_container_swap = std::true_type;
    using is_always_equal = std::false_type;

    allocator() noexcept : where_ HSHM_NULL {}
    allocator(hshm_segment *segment) : where_ HSHM_NULL
    {
        hshm_info_t info = {};
        info.struct_size = sizeof info;
        check(hshm_info(segment, &info));
        where_ = hshm_ptr(info.base);
    }
    allocator(const Segment &segment) : allocator(segment.get()) {}
    template <typename U> allocator(const allocator<U> &other) noexcept : where_(other.where_) {}

    T *allocate(size_t n)
    {
        if (n > std::numeric_limits<size_t>::max() / sizeof(T))
            throw std::bad_array_new_length();
        void *p = alignof(T) > 16 ? hshm_alloc_aligned(segment(), alignof(T), n * sizeof(T))
                                  : hshm_alloc(segment(), n * sizeof(T));
        if (!p)
            throw std::bad_alloc();
        return static_cast<T *>(p);
    }
    void deallocate(T *p, size_t) noexcept { hshm_free(p); }

    template <typename U> bool operator==(const allocator<U> &other) const noexcept
    {
        return where_.segment == other.where_.segment && where_.check == other.where_.check;
    }
    template <typename U> bool operator!=(const allocator<U> &other) const noexcept
    {
        return !(*this == other);
    }
};

/* ---- what HSHM has ------------------------------------------------------------------------------ */

template <typename T> struct Unit {
    static constexpr T Bytes(T n) { return n; }
    static constexpr T Kilobytes(T n) { return n << 10; }
    static constexpr T Megabytes(T n) { return n << 20; }
    static constexpr T Gigabytes(T n) { return n << 30; }
    static constexpr T Terabytes(T n) { return n << 40; }
};

namespace ipc {

using HSHM_CPP_NAMESPACE::Error;
using HSHM_CPP_NAMESPACE::ErrorCode;

/* ---- ids ---- */

struct MemoryBackendId {
    uint32_t id = 0;
    static MemoryBackendId Get(uint32_t id)
    {
        MemoryBackendId made;
        made.id = id;
        return made;
    }
    static MemoryBackendId GetRoot() { return Get(0); }
    bool operator<(const MemoryBackendId &other) const { return id < other.id; }
};

struct AllocatorId {
    uint32_t major = 0, minor = 0;
    AllocatorId() = default;
    AllocatorId(uint32_t major_id, uint32_t minor_id) : major(major_id), minor(minor_id) {}
    /* Of the heap that it is. */
    uint32_t heap() const
    {
        if (major > 0xffff || minor > 0xffff)
            throw Error(ErrorCode::INVALID_ARGUMENT, "an allocator's ids are below 65536");
        return major << 16 | minor;
    }
    bool operator<(const AllocatorId &other) const
    {
        return std::make_pair(major, minor) < std::make_pair(other.major, other.minor);
    }
    bool operator==(const AllocatorId &other) const
    {
        return major == other.major && minor == other.minor;
    }
};

struct ThreadId {
    int64_t tid_ = -1;
    ThreadId() = default;
    explicit ThreadId(int64_t tid) : tid_(tid) {}
    static ThreadId GetNull() { return ThreadId(); }
    bool IsNull() const { return tid_ < 0; }
};

/* Without an id: the calling thread.  An id belongs to the first thread that uses it, until that
 * one ends; another that uses it is told BUSY. */
class MemContext {
  public:
    ThreadId tid_;
    MemContext() = default;
    explicit MemContext(ThreadId tid) : tid_(tid) {}

    void enter() const
    {
        if (!tid_.IsNull())
            owners().claim(tid_.tid_);
    }

  private:
    struct Owners {
        std::mutex lock;
        std::map<int64_t, std::thread::id> of;

        struct Mine {
            Owners &owners;
            std::vector<int64_t> ids;
            ~Mine()
            {
                std::lock_guard<std::mutex> guard(owners.lock);
                for (int64_t id : ids)
                    owners.of.erase(id);
            }
        };
        void claim(int64_t id)
        {
            thread_local Mine mine{ *this, {} };
            if (std::find(mine.ids.begin(), mine.ids.end(), id) != mine.ids.end())
                return;
            std::lock_guard<std::mutex> guard(lock);
            if (!of.emplace(id, std::this_thread::get_id()).second)
                throw Error(ErrorCode::BUSY,
                            "thread id " + std::to_string(id) + " is another thread's");
            mine.ids.push_back(id);
        }
    };
    static Owners &owners()
    {
        static Owners *all = new Owners; /* threads may end after static destructors have run */
        return *all;
    }
};

/* ---- pointers ---- */

struct Pointer {
    hshm_ptr_t shm = HSHM_NULL;
    Pointer() = default;
    Pointer(hshm_ptr_t p) : shm(p) {}
    static Pointer GetNull() { return Pointer(); }
    bool IsNull() const { return hshm_ptr_is_null(shm) != 0; }
    void SetNull() { shm = GetNull().shm; }
    bool operator==(const Pointer &other) const { return hshm_ptr_equal(shm, other.shm) != 0; }
    bool operator!=(const Pointer &other) const { return !(*this == other); }
    Pointer operator+(size_t n) const
    {
        Pointer p = *this;
        p.shm.offset += n;
        return p;
    }
    void *raw() const { return hshm_raw(shm); }
};

template <typename T = void, typename PointerT = Pointer> struct FullPtr {
    T *ptr_ = nullptr; /* here */
    PointerT shm_;     /* everywhere */

    FullPtr() = default;
    FullPtr(T *ptr, const PointerT &shm) : ptr_(ptr), shm_(shm) {}
    explicit FullPtr(const T *ptr) : ptr_(const_cast<T *>(ptr)), shm_(hshm_ptr(ptr)) {}
    explicit FullPtr(const PointerT &shm) : ptr_(static_cast<T *>(shm.raw())), shm_(shm) {}

    bool IsNull() const { return ptr_ == nullptr; }
    static FullPtr GetNull() { return FullPtr(); }
    void SetNull() { *this = FullPtr(); }
    template <typename U> FullPtr<U, PointerT> Cast() const
    {
        return FullPtr<U, PointerT>(static_cast<U *>(static_cast<void *>(ptr_)), shm_);
    }
    T *operator->() const { return ptr_; }
    template <typename U = T> std::enable_if_t<!std::is_void<U>::value, U> &operator*() const
    {
        return *ptr_;
    }
    bool operator==(const FullPtr &other) const { return ptr_ == other.ptr_; }
    bool operator!=(const FullPtr &other) const { return ptr_ != other.ptr_; }
};

/* ---- allocators ---- */

/* Arrays of NewObjs() know their length: it lies before them. */
template <typename T> struct ArrayHead {
    static constexpr size_t align = std::max<size_t>(alignof(T), 16);
    static size_t &count(T *array)
    {
        return *reinterpret_cast<size_t *>(reinterpret_cast<char *>(array) - align);
    }
    static void *block(T *array) { return reinterpret_cast<char *>(array) - align; }
    static T *array(void *block) { return reinterpret_cast<T *>(static_cast<char *>(block) + align); }
};

class Allocator {
    hshm_heap *heap_;
    AllocatorId id_;

    template <typename T> static void destroy(T *objects, size_t from, size_t to) noexcept
    {
        while (to > from)
            objects[--to].~T();
    }
    template <typename T> T *array_make(size_t count)
    {
        using Head = ArrayHead<T>;
        if (count > (std::numeric_limits<size_t>::max() - Head::align) / sizeof(T))
            throw Error(ErrorCode::OUT_OF_MEMORY,
                        "asked for " + std::to_string(count) + " objects");
        T *array = Head::array(
            check(hshm_heap_alloc_aligned(heap_, Head::align, Head::align + count * sizeof(T))));
        Head::count(array) = count;
        return array;
    }

  public:
    Allocator(hshm_heap *heap, AllocatorId id) : heap_(heap), id_(id) {}
    Allocator(const Allocator &) = delete;
    Allocator &operator=(const Allocator &) = delete;
    ~Allocator() { hshm_heap_close(heap_); }

    AllocatorId GetId() const { return id_; }
    hshm_heap *heap() const { return heap_; }

    template <typename T = void, typename PointerT = Pointer>
    FullPtr<T, PointerT> Allocate(const MemContext &ctx, size_t size)
    {
        ctx.enter();
        return FullPtr<T, PointerT>(static_cast<T *>(check(hshm_heap_alloc(heap_, size))));
    }
    template <typename T = void, typename PointerT = Pointer>
    FullPtr<T, PointerT> AlignedAllocate(const MemContext &ctx, size_t size, size_t alignment)
    {
        ctx.enter();
        return FullPtr<T, PointerT>(
            static_cast<T *>(check(hshm_heap_alloc_aligned(heap_, alignment, size))));
    }
    /* On failure the block is as it was; else 'old' is no block any more. */
    template <typename T = void, typename PointerT = Pointer>
    FullPtr<T, PointerT> Reallocate(const MemContext &ctx, FullPtr<T, PointerT> &old,
                                    size_t new_size)
    {
        ctx.enter();
        void *p = check(hshm_heap_realloc(heap_, old.ptr_, new_size));
        old = FullPtr<T, PointerT>(static_cast<T *>(p));
        return old;
    }
    template <typename T = void, typename PointerT = Pointer>
    void Free(const MemContext &ctx, FullPtr<T, PointerT> &ptr)
    {
        ctx.enter();
        hshm_heap_free(heap_, ptr.ptr_);
        ptr.SetNull();
    }

    template <typename T, typename... Args>
    FullPtr<T> NewObj(const MemContext &ctx, Args &&...args)
    {
        FullPtr<T> p = AlignedAllocate<T>(ctx, sizeof(T), std::max<size_t>(alignof(T), 16));
        try {
            new (p.ptr_) T(std::forward<Args>(args)...);
        } catch (...) {
            Free(ctx, p);
            throw;
        }
        return p;
    }
    template <typename T> void DelObj(const MemContext &ctx, FullPtr<T> &ptr)
    {
        if (ptr.IsNull())
            return;
        ptr.ptr_->~T();
        Free(ctx, ptr);
    }

    template <typename T> FullPtr<T> NewObjs(const MemContext &ctx, size_t count)
    {
        ctx.enter();
        T *array = array_make<T>(count);
        size_t made = 0;
        try {
            for (; made < count; made++)
                new (array + made) T();
        } catch (...) {
            destroy(array, 0, made);
            hshm_heap_free(heap_, ArrayHead<T>::block(array));
            throw;
        }
        return FullPtr<T>(array);
    }
    /* Objects are moved, those beyond the end destroyed, new ones constructed.  If one of these
     * throws, the array is as it was. */
    template <typename T>
    FullPtr<T> ReallocateObjs(const MemContext &ctx, FullPtr<T> &ptr, size_t new_count)
    {
        ctx.enter();
        if (ptr.IsNull())
            return ptr = NewObjs<T>(ctx, new_count);
        T *old = ptr.ptr_, *array = array_make<T>(new_count);
        size_t have = ArrayHead<T>::count(old), keep = std::min(have, new_count), made = keep;
        try {
            for (; made < new_count; made++)
                new (array + made) T();
            std::uninitialized_copy(std::make_move_iterator(old),
                                    std::make_move_iterator(old + keep), array);
        } catch (...) {
            destroy(array, keep, made);
            hshm_heap_free(heap_, ArrayHead<T>::block(array));
            throw;
        }
        destroy(old, 0, have);
        hshm_heap_free(heap_, ArrayHead<T>::block(old));
        return ptr = FullPtr<T>(array);
    }
    /* 'count' is checked. */
    template <typename T> void DelObjs(const MemContext &ctx, FullPtr<T> &ptr, size_t count)
    {
        ctx.enter();
        if (ptr.IsNull())
            return;
        if (ArrayHead<T>::count(ptr.ptr_) != count)
            throw Error(ErrorCode::OTHER_SIZE, "the array has " +
                                                   std::to_string(ArrayHead<T>::count(ptr.ptr_)) +
                                                   " objects");
        destroy(ptr.ptr_, 0, count);
        hshm_heap_free(heap_, ArrayHead<T>::block(ptr.ptr_));
        ptr.SetNull();
    }

    /* Zeroed when the allocator was made. */
    template <typename T> T *GetCustomHeader()
    {
        size_t size;
        void *header = hshm_heap_header(heap_, &size);
        if (!header || size < sizeof(T))
            throw Error(ErrorCode::OTHER_SIZE,
                        "the custom header has " + std::to_string(size) + " bytes");
        return static_cast<T *>(header);
    }
    size_t GetCurrentlyAllocatedSize() { return hshm_heap_used(heap_); }
};

/* The four kinds. */
#define HSHM_ALLOCATOR_(name, heap_kind)                                                           \
    class name : public Allocator {                                                                \
      public:                                                                                      \
        static constexpr enum hshm_heap_kind kind = heap_kind;                                     \
        using Allocator::Allocator;                                                                \
    }
HSHM_ALLOCATOR_(StackAllocator, HSHM_HEAP_STACK);
HSHM_ALLOCATOR_(MallocAllocator, HSHM_HEAP_MALLOC);
HSHM_ALLOCATOR_(ScalablePageAllocator, HSHM_HEAP_THREAD);
HSHM_ALLOCATOR_(ThreadLocalAllocator, HSHM_HEAP_THREAD);
HSHM_ALLOCATOR_(PageAllocator, HSHM_HEAP_PAGE);
#undef HSHM_ALLOCATOR_

/* ---- memory manager ---- */

/* A segment by its name, or file:/path. */
struct PosixShmMmap {
    static std::string name(const std::string &url) { return url; }
};
/* Private memory of the process. */
struct MallocBackend {
    static std::string name(const std::string &url) { return "malloc:" + url; }
};
using PosixMmap = MallocBackend;
/* A file without a name: of the process and those it forks. */
struct MemfdBackend {
    static std::string name(const std::string &url) { return "memfd:" + url; }
};
/* The caller's memory: see hshm_open_array().  Has no PageAllocator. */
struct ArrayBackend {};

class MemoryManager {
    std::mutex lock_;
    std::map<MemoryBackendId, hshm_segment *> backends_;
    struct Entry {
        std::unique_ptr<Allocator> allocator;
        enum hshm_heap_kind kind;
    };
    std::map<AllocatorId, Entry> allocators_;

    hshm_segment *backend(MemoryBackendId id)
    {
        auto at = backends_.find(id);
        if (at == backends_.end())
            throw Error(ErrorCode::NOT_FOUND, "no backend " + std::to_string(id.id));
        return at->second;
    }
    void open(MemoryBackendId id, const std::string &name, size_t size, unsigned flags, int wait_ms)
    {
        hshm_attr_t attr = HSHM_ATTR_INIT;
        attr.size = size;
        attr.flags = flags;
        attr.wait_ms = wait_ms;
        std::lock_guard<std::mutex> guard(lock_);
        if (backends_.count(id))
            throw Error(ErrorCode::EXISTS, "there is a backend " + std::to_string(id.id));
        hshm_segment *segment;
        check(hshm_open(name.c_str(), &attr, &segment));
        backends_[id] = segment;
    }
    void open_array(MemoryBackendId id, size_t size, void *array, unsigned flags)
    {
        std::lock_guard<std::mutex> guard(lock_);
        if (backends_.count(id))
            throw Error(ErrorCode::EXISTS, "there is a backend " + std::to_string(id.id));
        hshm_segment *segment;
        check(hshm_open_array(array, size, flags, &segment));
        backends_[id] = segment;
    }
    template <typename T> T *keep(hshm_heap *heap, AllocatorId id)
    {
        T *made = new T(heap, id);
        allocators_[id] = Entry{ std::unique_ptr<Allocator>(made), T::kind };
        return made;
    }

  public:
    static MemoryManager *Get()
    {
        static MemoryManager manager;
        return &manager;
    }

    /* Make the segment, or join the one of that name. */
    template <typename BackendT>
    void CreateBackendWithUrl(MemoryBackendId id, size_t size, const std::string &url)
    {
        open(id, BackendT::name(url), size, HSHM_CREATE, 0);
    }
    /* One that needs no name elsewhere. */
    template <typename BackendT> void CreateBackend(MemoryBackendId id, size_t size)
    {
        open(id, BackendT::name("backend-" + std::to_string(id.id)), size, HSHM_CREATE, 0);
    }
    /* ArrayBackend: the array is made a segment anew; or joined, if another has made it one. */
    template <typename BackendT> void CreateBackend(MemoryBackendId id, size_t size, void *array)
    {
        static_assert(std::is_same<BackendT, ArrayBackend>::value, "only an ArrayBackend has an array");
        open_array(id, size, array, HSHM_CREATE);
    }
    template <typename BackendT> void AttachBackend(MemoryBackendId id, size_t size, void *array)
    {
        static_assert(std::is_same<BackendT, ArrayBackend>::value, "only an ArrayBackend has an array");
        open_array(id, size, array, 0);
    }
    /* Join it; waits until it is made, for so long. */
    template <typename BackendT>
    void AttachBackend(MemoryBackendId id, const std::string &url, int wait_ms = 0)
    {
        open(id, BackendT::name(url), 0, 0, wait_ms);
    }
    hshm_segment *GetBackend(MemoryBackendId id)
    {
        std::lock_guard<std::mutex> guard(lock_);
        return backend(id);
    }
    /* Its allocators must be gone. */
    void DestroyBackend(MemoryBackendId id)
    {
        std::lock_guard<std::mutex> guard(lock_);
        check(hshm_close(backend(id)));
        backends_.erase(id);
    }

    /* Made or, with the same arguments, joined.  'size': of a StackAllocator; 0: half of what the
     * segment may take. */
    template <typename AllocT>
    AllocT *CreateAllocator(MemoryBackendId backend_id, AllocatorId id, size_t custom_header_size,
                            size_t size = 0)
    {
        std::lock_guard<std::mutex> guard(lock_);
        hshm_segment *segment = backend(backend_id);
        hshm_info_t info = {};
        info.struct_size = sizeof info;
        check(hshm_info(segment, &info));
        if (AllocT::kind != HSHM_HEAP_STACK)
            size = 0;
        else if (!size)
            size = info.limit / 2;
        hshm_heap *heap;
        check(hshm_heap_create(segment, id.heap(), AllocT::kind, size, custom_header_size, &heap));
        return keep<AllocT>(heap, id);
    }
    template <typename AllocT> AllocT *AttachAllocator(MemoryBackendId backend_id, AllocatorId id)
    {
        std::lock_guard<std::mutex> guard(lock_);
        hshm_heap *heap;
        check(hshm_heap_open(backend(backend_id), id.heap(), &heap));
        if (hshm_heap_kind(heap) != AllocT::kind) {
            hshm_heap_close(heap);
            throw Error(ErrorCode::OTHER_TYPE, "the allocator is of another kind");
        }
        return keep<AllocT>(heap, id);
    }
    /* nullptr: there is none in this process. */
    template <typename AllocT> AllocT *GetAllocator(AllocatorId id)
    {
        std::lock_guard<std::mutex> guard(lock_);
        auto at = allocators_.find(id);
        if (at == allocators_.end())
            return nullptr;
        if (at->second.kind != AllocT::kind)
            throw Error(ErrorCode::OTHER_TYPE, "the allocator is of another kind");
        return static_cast<AllocT *>(at->second.allocator.get());
    }
    /* Gone here and, when nobody has it any more, everywhere. */
    void DestroyAllocator(MemoryBackendId backend_id, AllocatorId id)
    {
        std::lock_guard<std::mutex> guard(lock_);
        allocators_.erase(id);
        hshm_heap_remove(backend(backend_id), id.heap());
    }
};

} // namespace ipc
} // namespace HSHM_CPP_NAMESPACE

#ifdef HSHM_ALIAS_HIPC_
namespace hipc = HSHM_CPP_NAMESPACE::ipc;
#endif

#ifndef HSHM_NO_COMPAT_MACROS
#define HSHM_MCTX            (::hipc::MemContext())
#define HSHM_DEFAULT_MEM_CTX (::hipc::MemContext())
#define HSHM_MEMORY_MANAGER  (::hipc::MemoryManager::Get())
#endif

#endif
