/* os.h - everything the allocators ask of the kernel.
 *
 * All functions are usable before libc is initialised, in signal handlers and
 * after fork: raw system calls, no errno, no allocation.  They return a value
 * >= 0, or -E... on failure.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct os_file {
    uint64_t device, inode;
    uint64_t bytes;     /* size of the file */
    uint64_t allocated; /* bytes that the file system has given it */
    uint64_t uid;
    uint32_t mode, links;
};

/* ---- files ---------------------------------------------------------------- */
long os_open(const char *path, int flags, unsigned mode);
void os_close(long fd);
long os_fstat(long fd, struct os_file *out);
long os_stat(const char *path, struct os_file *out);
long os_chmod(long fd, unsigned mode);
long os_move_high(long fd); /* another number for the descriptor */
long os_memfd(const char *name);
long os_truncate(long fd, uint64_t bytes);
long os_unlink(const char *path);
long os_link_fd(long fd, const char *path); /* give a nameless file a name; -EEXIST if taken */
long os_rename_noreplace(const char *from, const char *to);
long os_read(long fd, void *buf, size_t len);
long os_pread(long fd, void *buf, size_t len, uint64_t off);
long os_write(long fd, const void *buf, size_t len);
long os_seek_data(long fd, uint64_t off);
long os_seek_hole(long fd, uint64_t off);
/* Calls back for each name in a directory; stops at false. */
void os_list(const char *dir, bool (*each)(const char *name, void *ctx), void *ctx);
/* Free and total bytes of the file system that holds path. */
long os_space(const char *path, uint64_t *total, uint64_t *available);

/* ---- locks: OFD write locks on one byte ----------------------------------- */
long os_lock(long fd, uint64_t byte);
long os_unlock(long fd, uint64_t byte);
/* Is any byte of [byte, byte + n) locked? */
bool os_lock_any(long fd, uint64_t byte, uint64_t n);
bool os_lock_held(long fd, uint64_t byte); /* by another open file description; true if unknown */

/* ---- memory ---------------------------------------------------------------- */
enum os_map { OS_MAP_SHARED, OS_MAP_PRIVATE, OS_MAP_READ };
/* Map at exactly 'at' without replacing anything; fd < 0: anonymous.  Returns 0 or -E. */
long os_map_at(void *at, uint64_t bytes, long fd, uint64_t off, enum os_map kind, bool noreserve);
long os_map_over(void *at, uint64_t bytes);    /* fresh private memory over whatever is there */
void *os_map(uint64_t bytes, bool noreserve);  /* private, anywhere; NULL if refused */
void *os_map_header(long fd);                  /* the first page of a file, writable */
void *os_map_page(long fd, bool for_children); /* one shared page of a file, to keep it open */
void *os_map_file(long fd, uint64_t off, uint64_t bytes, enum os_map kind); /* NULL if refused */
long os_map_file_over(void *at, uint64_t bytes, long fd, uint64_t off);     /* shared, likewise */
void *os_map_again(void *at, uint64_t bytes); /* a shared mapping a second time, to read */
long os_protect(void *at, uint64_t bytes, int access);
void os_unmap(void *at, uint64_t bytes);
long os_move(void *from, uint64_t bytes, void *to); /* mremap over whatever is at 'to' */
/* Back it now, on any kernel; -ENOMEM instead of SIGBUS.  Changes no byte. */
long os_populate(void *at, uint64_t bytes);
long os_populate_read(void *at, uint64_t bytes); /* only map what is backed */
/* A byte for each OS page, odd where it has memory: the others read as zero.  False: who knows
 * (what is swapped out would not be told). */
bool os_is_there(void *at, uint64_t bytes, unsigned char *there);
/* From now on no system call but those that any malloc makes, for advice that can be had without. */
void os_ask_less(void);
long os_advise(void *at, uint64_t bytes, int advice);
/* Give memory back: a hole in the file, or fresh zero pages.  -E: it is still there, with its bytes;
 * a file may take os_punch() then. */
long os_purge(void *at, uint64_t bytes, bool shared);
long os_punch(long fd, uint64_t off, uint64_t bytes);
/* madvise() of the C library once it may be called: RDMA libraries watch that symbol. */
extern int (*os_madvise_hook)(void *, size_t, int);

/* ---- time, chance, threads -------------------------------------------------- */
uint64_t os_now_ms(void);   /* coarse, monotonic, counts suspend: for decays and graces */
uint64_t os_now_ns(void);   /* wall clock, for people */
uint64_t os_start_ns(void); /* of this process, on that clock, rounded down; not of its program */
uint64_t os_boot_ns(void);  /* precise monotonic, for durations */
void os_random(void *buf, size_t len);
void os_boot_id(uint64_t id[2]);
long os_prctl(int option, const unsigned long args[4]);
long os_pid(void);
_Noreturn void os_exit(int status); /* of the whole process, at once */
long os_tid(void);
long os_euid(void);
uint64_t os_ram_bytes(void);
uint64_t os_ram_available(void);
uint64_t os_free_swap(void);
uint64_t os_rlimit(int which);

typedef uint64_t os_signals;
os_signals os_signals_block(void); /* all of them; returns what was blocked before */
void os_signals_restore(os_signals old);
os_signals os_signals_now(void);
/* May 8 bytes there be read?  (Asks the kernel, harms nothing.) */
bool os_is_readable(const void *at);
void os_futex_wait(uint32_t *word, uint32_t expected);
void os_futex_wake(uint32_t *word, int count);

void os_sleep_us(unsigned us);
