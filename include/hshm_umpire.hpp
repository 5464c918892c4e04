/* hshm_umpire.hpp - what Umpire's IPC shared-memory interface promises, on hshm.h.
 *
 * For programs that use Umpire's "SHARED" resources and want no more of it: include this
 * instead of umpire's headers.  It cannot be mixed with Umpire itself.  If <mpi.h> is included
 * before, get_communicator_for_allocator() is there; without it nothing of MPI is needed.
 *
 *   makeResource("SHARED::name", traits)  makes or joins the segment "umpire-name"
 *   allocate(name, size)                  the block of that name, counted for this process;
 *                                         another size than others asked for is an error
 *   deallocate(pointer)                   one reference less; the last frees the block
 *   getActualSize()                       bytes that may still be allocated
 *   getCurrentSize()                      bytes in blocks of all processes
 *
 * References of a process that dies end with it.  The segment goes with its last process.
 * What hshm.h says of threads, signals and fork holds here. */
#ifndef HSHM_UMPIRE_HPP
#define HSHM_UMPIRE_HPP

#include "hshm.hpp"

#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>

#ifdef MPI_VERSION
#include "hshm_mpi.h"
#endif

#ifndef UMPIRE_ASSERT
#define UMPIRE_ASSERT(condition)                                                                   \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            std::fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);           \
            std::abort();                                                                          \
        }                                                                                          \
    } while (0)
#endif

namespace umpire {

struct MemoryResourceTraits {
    enum class resource_type { unknown, host, device, device_const, pinned, um, file, shared };
    enum class shared_scope { unknown, node, socket };
    size_t size = 0; /* most bytes */
    resource_type resource = resource_type::unknown;
    shared_scope scope = shared_scope::unknown;
};

class runtime_error : public std::runtime_error {
  public:
    using std::runtime_error::runtime_error;
};
class out_of_memory_error : public runtime_error {
  public:
    using runtime_error::runtime_error;
};

inline MemoryResourceTraits get_default_resource_traits(const std::string &name)
{
    if (name.compare(0, 6, "SHARED") != 0)
        throw runtime_error("only SHARED resources are offered here, not " + name);
    MemoryResourceTraits traits;
    traits.size = size_t(16) << 20;
    traits.resource = MemoryResourceTraits::resource_type::shared;
    traits.scope = MemoryResourceTraits::shared_scope::node;
    return traits;
}

namespace strategy {

/* One resource: a segment, and a mutex in it under which names come and go. */
class AllocationStrategy {
    std::string name_;
    MemoryResourceTraits traits_;
    hshm_segment *segment_ = nullptr;
    hshm_mutex_t *mutex_ = nullptr;

    /* Who died holding it has made or removed a name, or not: nothing is left to mend. */
    class Guard {
        hshm_mutex_t *mutex_;

      public:
        explicit Guard(hshm_mutex_t *mutex) : mutex_(mutex)
        {
            int rc = hshm_mutex_lock(mutex, -1);
            if (rc != HSHM_OK && rc != HSHM_EOWNERDEAD)
                throw runtime_error(hshm_error_text());
        }
        ~Guard() { hshm_mutex_unlock(mutex_); }
        Guard(const Guard &) = delete;
        Guard &operator=(const Guard &) = delete;
    };
    struct Mutex {
        hshm_mutex_t mutex;
        Mutex() { hshm_mutex_init(&mutex); }
    };
    [[noreturn]] static void failed()
    {
        if (hshm_error() == HSHM_ENOMEM)
            throw out_of_memory_error(hshm_error_text());
        throw runtime_error(hshm_error_text());
    }

  public:
    AllocationStrategy(const std::string &name, const MemoryResourceTraits &traits)
        : name_(name), traits_(traits)
    {
        hshm_attr_t attr = HSHM_ATTR_INIT;
        attr.flags = HSHM_CREATE;
        /* What is asked for is for blocks: names, and pages that members have begun, are beside it. */
        attr.size = traits.size + traits.size / 8 + (size_t(32) << 20);
        attr.scope = traits.scope == MemoryResourceTraits::shared_scope::socket
                         ? HSHM_SCOPE_SOCKET
                         : HSHM_SCOPE_NODE;
        std::string file = "umpire-";
        for (char c : name.substr(name.find("SHARED") + 6))
            if (c != ':')
                file += c == '/' ? '_' : c;
        if (hshm_open(file.c_str(), &attr, &segment_) != HSHM_OK)
            failed();
        mutex_ = &hshm::named<Mutex>(segment_, "umpire")->mutex;
    }
    ~AllocationStrategy() { hshm_close(segment_); }
    AllocationStrategy(const AllocationStrategy &) = delete;
    AllocationStrategy &operator=(const AllocationStrategy &) = delete;

    const std::string &getName() const { return name_; }
    const MemoryResourceTraits &getTraits() const { return traits_; }
    hshm_segment *segment() const { return segment_; }

    void *allocate(const std::string &name, size_t bytes)
    {
        if (bytes > traits_.size)
            throw out_of_memory_error(name + ": asked for " + std::to_string(bytes) +
                                      " bytes, the resource has " + std::to_string(traits_.size));
        Guard guard(mutex_);
        void *p = hshm_named(segment_, ("a." + name).c_str(), bytes ? bytes : 1, 0, 0, HSHM_COUNTED,
                             nullptr);
        if (!p)
            failed();
        return p;
    }
    void deallocate(void *p)
    {
        char name[128];
        hshm_name_t info = {};
        info.struct_size = sizeof info;
        if (!p)
            return;
        Guard guard(mutex_);
        if (hshm_segment_of(p) != segment_ || hshm_name_of(p, name, sizeof name) != HSHM_OK)
            throw runtime_error("deallocate: no block of " + name_);
        if (hshm_named_unref(p) != HSHM_OK)
            throw runtime_error("deallocate: this process has deallocated it already");
        if (hshm_name_info(segment_, name, &info) == HSHM_OK && info.references == 0)
            hshm_unname(segment_, name);
    }
    void *find(const std::string &name)
    {
        return hshm_find(segment_, ("a." + name).c_str(), 0, 0, 0);
    }
    hshm_stats_t stats() const
    {
        hshm_stats_t stats = {};
        stats.struct_size = sizeof stats;
        if (hshm_stats(segment_, &stats) != HSHM_OK)
            failed();
        return stats;
    }
};

/* For code that allocates without names.  What stands around it states a key:
 *
 *   umpire::strategy::NamingShim::Key key("mesh " + std::to_string(step));
 *   library_that_allocates(shim);
 *
 * Blocks that are allocated under the same key, and as the n-th under it, are the same one in all
 * processes, whatever each allocates before and in what order it comes to its keys.  The key holds
 * for the thread until its scope ends.
 *
 * Without a key blocks are numbered for each shim, as Umpire does: then all processes must allocate in
 * the same order; who falls out of step and asks for another size is told. */
class NamingShim {
  public:
    class Key {
        std::string key_;
        uint64_t number_ = 0;
        Key *outer_;
        static Key *&current()
        {
            static thread_local Key *key = nullptr;
            return key;
        }

      public:
        explicit Key(std::string key) : key_(std::move(key)), outer_(current())
        {
            if (key_.empty())
                throw runtime_error("a key is not empty");
            current() = this;
        }
        ~Key() { current() = outer_; }
        Key(const Key &) = delete;
        Key &operator=(const Key &) = delete;
        /* Empty: none is stated. */
        static std::string next()
        {
            Key *key = current();
            return key ? key->key_ + "." + std::to_string(key->number_++) : "";
        }
    };
    static std::string name_for(const std::string &key, uint64_t number)
    {
        return "shim." + key + "." + std::to_string(number);
    }
};

} // namespace strategy

class Allocator {
    std::shared_ptr<strategy::AllocationStrategy> strategy_;
    std::string key_; /* of a naming shim; else empty */
    std::shared_ptr<uint64_t> number_;

  public:
    Allocator() = default;
    explicit Allocator(std::shared_ptr<strategy::AllocationStrategy> strategy,
                       const std::string &key = "")
        : strategy_(std::move(strategy)), key_(key), number_(std::make_shared<uint64_t>(0))
    {
    }
    void *allocate(const std::string &name, size_t bytes) { return strategy_->allocate(name, bytes); }
    /* A shared block needs a name, or a naming shim. */
    void *allocate(size_t bytes)
    {
        if (key_.empty())
            throw runtime_error(getName() + ": a shared block needs a name");
        std::string stated = strategy::NamingShim::Key::next();
        return allocate(stated.empty() ? strategy::NamingShim::name_for(key_, (*number_)++)
                                       : "key." + key_ + "." + stated,
                        bytes);
    }
    void deallocate(void *p) { strategy_->deallocate(p); }
    std::string getName() const { return strategy_->getName(); }
    strategy::AllocationStrategy *getAllocationStrategy() const { return strategy_.get(); }
    /* Bytes that may still be allocated. */
    size_t getActualSize() const
    {
        hshm_stats_t stats = strategy_->stats();
        size_t size = strategy_->getTraits().size;
        return stats.bytes < size ? std::min<size_t>(size - stats.bytes, stats.available) : 0;
    }
    size_t getCurrentSize() const { return strategy_->stats().bytes; }
};

class ResourceManager {
    std::mutex lock_;
    std::map<std::string, Allocator> allocators_;

  public:
    static ResourceManager &getInstance()
    {
        static ResourceManager manager;
        return manager;
    }
    /* Made, or joined if another process has made it. */
    Allocator makeResource(const std::string &name, MemoryResourceTraits traits)
    {
        if (name.find("SHARED") == std::string::npos)
            throw runtime_error("the name of a shared resource has SHARED in it: " + name);
        std::lock_guard<std::mutex> guard(lock_);
        if (allocators_.count(name))
            throw runtime_error("there is an allocator " + name);
        return allocators_[name] =
                   Allocator(std::make_shared<strategy::AllocationStrategy>(name, traits));
    }
    Allocator getAllocator(const std::string &name)
    {
        std::lock_guard<std::mutex> guard(lock_);
        auto at = allocators_.find(name);
        if (at == allocators_.end())
            throw runtime_error("there is no allocator " + name);
        return at->second;
    }
    bool isAllocator(const std::string &name)
    {
        std::lock_guard<std::mutex> guard(lock_);
        return allocators_.count(name) != 0;
    }
    /* makeAllocator<strategy::NamingShim>(name, allocator): 'name' is the key. */
    template <typename Strategy> Allocator makeAllocator(const std::string &name, Allocator over)
    {
        static_assert(std::is_same<Strategy, strategy::NamingShim>::value,
                      "only the naming shim is offered here");
        std::lock_guard<std::mutex> guard(lock_);
        if (allocators_.count(name))
            throw runtime_error("there is an allocator " + name);
        auto strategy = std::shared_ptr<strategy::AllocationStrategy>(
            std::make_shared<Allocator>(over), over.getAllocationStrategy());
        return allocators_[name] = Allocator(strategy, name);
    }
    void destroyAllocator(const std::string &name)
    {
        std::lock_guard<std::mutex> guard(lock_);
        allocators_.erase(name);
    }
};

inline void *find_pointer_from_name(Allocator allocator, const std::string &name)
{
    return allocator.getAllocationStrategy()->find(name);
}

#ifdef MPI_VERSION
/* The ranks of 'comm' that share this allocator's memory; the same one at every call, freed at
 * MPI_Finalize. */
inline MPI_Comm get_communicator_for_allocator(Allocator allocator, MPI_Comm comm)
{
    static std::map<hshm_segment *, MPI_Comm> made;
    struct AtFinalize {
        static int free_all(MPI_Comm, int, void *, void *)
        {
            for (auto &entry : made)
                MPI_Comm_free(&entry.second);
            made.clear();
            return MPI_SUCCESS;
        }
    };
    static int key = MPI_KEYVAL_INVALID;
    hshm_segment *segment = allocator.getAllocationStrategy()->segment();
    auto at = made.find(segment);
    if (at != made.end())
        return at->second;
    if (key == MPI_KEYVAL_INVALID) {
        /* MPI_Finalize frees MPI_COMM_SELF first of all, and calls this. */
        MPI_Comm_create_keyval(MPI_COMM_NULL_COPY_FN, AtFinalize::free_all, &key, nullptr);
        MPI_Comm_set_attr(MPI_COMM_SELF, key, nullptr);
    }
    MPI_Comm shared;
    if (hshm_mpi_comm(comm, segment, &shared) != HSHM_OK)
        throw runtime_error(hshm_error_text());
    return made[segment] = shared;
}
/* Not needed any more. */
inline void cleanup_cached_communicators() {}
#endif

} // namespace umpire

#endif
