/* layout.h - what a segment looks like: this header IS the file format.
 *
 * Every byte that two processes can both see is declared here and nowhere
 * else.  Nothing here is a pointer, a libc lock or a type whose size depends
 * on the compiler.  References are offsets from the start of the segment, or
 * indices; 0 means "none" because the header lives there.  Moving anything
 * stops the build at an AT() below, or the test of tests/docs/format-1.txt, and
 * means bumping SEG_FORMAT.  New fields take reserved space.
 *
 *   offset            size                   what
 *   0                 512 B                  struct seg_header
 *   SEG_NAMES_OFF     512 B                  struct seg_names
 *   SEG_HOLDS_OFF     124 KiB                struct seg_hold[HOLD_MAX]
 *   SEG_UNUSED_OFF    32 KiB                 a bit for each name entry: unused
 *   SEG_MEMBERS_OFF   16 MiB                 struct seg_member[MEMBER_MAX], an OS page each
 *   SEG_BUCKETS_OFF   1 MiB                  names by hash: first entry of each bucket
 *   SEG_BLOCKS_OFF    2 MiB                  blocks that have a name or change hands, a word each
 *   SEG_REFS_OFF      2 MiB                  references to names, by member, a word each
 *   SEG_ENTRIES_OFF   256 B per name         struct name_entry[name_count]
 *   chunks_off        64 B per chunk         struct chunk[chunk_count]
 *   slices_off        128 B per slice        struct slice[chunk_count * CHUNK_SLICES]
 *   kept_off          640 B per slice        struct kept[...]: blocks of ended members
 *   data_off          the rest               chunks 'first_chunk' and up
 *   window            GPU_AREA_BYTES         struct gpu_header and what follows it; the file ends
 *                                            at 'window' until somebody uses a GPU
 *
 * All of it is sparse: only what is used is ever committed.
 *
 * Fields are wrapped in one-member structs so that a plain assignment does
 * not compile: they are written only through the functions of shared.h, each
 * of which names its site in sites.def.
 */
#pragma once
#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#define SEG_MAGIC  UINT64_C(0x31304d4853484801) /* odd on purpose, see seg_header.magic */
#define SEG_FORMAT 1

#define OS_PAGE       UINT64_C(4096)
#define SLICE_SHIFT   16
#define SLICE_BYTES   (UINT64_C(1) << SLICE_SHIFT)
#define SLICE_OSPAGES 16 /* one bit each in the masks of struct slice */
#define CHUNK_SHIFT   22
#define CHUNK_BYTES   (UINT64_C(1) << CHUNK_SHIFT)
#define CHUNK_SLICES  64
#define REGION_SHIFT  18 /* the largest page: free-list links never leave 256 KiB */

#define MEMBER_MAX 4094
#define HOLD_MAX   3968
#define WINDOW_MIN (UINT64_C(64) << 20)

/* Where segments are mapped.  Free in every program we have looked at: above
 * V8's maps, below PIE executables, outside what ASan and valgrind take.
 * ThreadSanitizer allows only little there.  Private heaps have the end of it for
 * themselves: a program that has one can join every segment. */
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define UNDER_TSAN 1
#endif
#elif defined(__SANITIZE_THREAD__)
#define UNDER_TSAN 1
#endif
#ifdef UNDER_TSAN
#define BASE_LOW     UINT64_C(0x550000000000)
#define BASE_PRIVATE UINT64_C(0x554000000000)
#define BASE_HIGH    UINT64_C(0x555000000000)
#define WINDOW_MAX   (UINT64_C(1) << 36)
#else
#define BASE_LOW     UINT64_C(0x480000000000)
#define BASE_PRIVATE UINT64_C(0x520000000000)
#define BASE_HIGH    UINT64_C(0x540000000000)
#define WINDOW_MAX   (UINT64_C(1) << 40)
#endif

#define AT(type, field, offset)                                                                    \
    static_assert(offsetof(struct type, field) == (offset),                                        \
                  #type "." #field " moved: bump SEG_FORMAT")
#define SIZE(type, bytes) static_assert(sizeof(struct type) == (bytes), #type ": bump SEG_FORMAT")

typedef struct {
    uint8_t raw_;
} sh8_t;
typedef struct {
    uint16_t raw_;
} sh16_t;
typedef struct {
    uint32_t raw_;
} sh32_t;
typedef struct {
    uint64_t raw_;
} sh64_t;
static_assert(sizeof(sh8_t) == 1 && sizeof(sh16_t) == 2 && sizeof(sh32_t) == 4, "no padding");
static_assert(sizeof(sh64_t) == 8, "no padding");

/* ---- segment ------------------------------------------------------------- */

/* Life of a segment.  The file appears under its name only when LIVE: it is
 * built nameless, so a creator who dies leaves nothing.  REMOVING lasts while
 * somebody holds the lock LOCK_CREATE; if nobody does, its remover is dead and
 * whoever takes the lock asks all members once more and goes on or back. */
enum seg_state { SEG_LIVE = 1, SEG_REMOVING = 2, SEG_REMOVED = 3 };

struct seg_header {
    uint64_t magic;  /* the empty thread cache takes offset 0 for a page: this word is that page's
                       'free' field, and odd means "no free block" */
    uint32_t format; /*   8  SEG_FORMAT of the creator */
    uint32_t abi;    /*  12  layout_abi(): sizes of the structures and the OS page */
    uint64_t base;   /*  16  address at which every member maps offset 0 */
    uint64_t window; /*  24  bytes mapped, a power of two; also the size of the file */
    uint64_t limit;  /*  32  HSHM_SIZE in bytes */
    uint64_t chunks_off;   /*  40 */
    uint64_t slices_off;   /*  48 */
    uint64_t kept_off;     /*  56 */
    uint64_t data_off;     /*  64 */
    uint64_t chunk_count;  /*  72 */
    uint64_t first_chunk;  /*  80 */
    uint64_t link_key;     /*  88  secret that encodes free-list links */
    uint64_t created_ns;   /*  96  CLOCK_REALTIME */
    uint64_t boot_id[2];   /* 104  a file that outlived a reboot is not ours */
    uint32_t uid;          /* 120 */
    uint32_t mode;         /* 124 */
    uint32_t persist;      /* 128  HSHM_PERSIST of the creator */
    uint32_t private_heap; /* 132  1: not a file, the private heap of one process */
    uint64_t reserved0[7];
    /* contended from here on */
    sh64_t state;         /* 192  enum seg_state */
    sh64_t charged;       /* 200  OS pages committed or promised; a hint, see commit.c */
    sh64_t charge_ok;     /* 208  charges up to here need no new look at the file system */
    sh64_t chunk_hint;    /* 216  no free chunk below this index (a hint) */
    sh64_t chunk_high;    /* 224  no chunk at or above this index was ever used */
    sh64_t warm;          /* 232  OS pages committed in free chunks (a hint) */
    sh64_t members_ever;  /* 240 */
    sh64_t members_ended; /* 248  recovered after their end */
    sh64_t hold_seq;      /* 256  number of the last hold made */
    sh64_t holds_live;    /* 264  holds not known to have ended (a hint) */
    sh64_t damaged;       /* 272  1: somebody found damage; nobody allocates here any more */
    sh64_t snapshots;     /* 280  statistics of fork */
    sh64_t snapshot_bytes;
    sh64_t snapshot_ns;
    sh64_t orphans;      /* 304  chunks in state ORPHAN (a hint) */
    sh64_t holds_high;   /* 312  entries of the hold table ever used, all backed */
    sh64_t members_high; /* 320  slots ever used, all backed */
    sh64_t kept_members; /* 328  members that ended and left blocks, since reclaim last freed all */
    sh64_t leavers; /* 336  how many said that they leave (a hint that there is one to recover) */
    sh64_t looked;  /* 344  when the dead were last looked for, ms << 32 | leavers seen then */
    sh64_t holds_given; /* 352  holds given up past HSHM_FORK_HOLD */
    sh64_t short_ms;    /* 360  when somebody last found no memory; 0 never */
    sh64_t purges;      /* 368  runs of OS pages that were given back to the system */
    sh64_t purged;      /* 376  OS pages in them */
    sh64_t purged_ns;   /* 384  when that was last done, CLOCK_REALTIME; 0 never */
    sh64_t peak;        /* 392  most that 'charged' ever was */
    sh64_t reserved1[13];
    sh64_t dumped_ns; /* 504  when `hshm dump` made this copy; never set in a segment */
};
AT(seg_header, magic, 0);
AT(seg_header, format, 8);
AT(seg_header, abi, 12);
AT(seg_header, base, 16);
AT(seg_header, window, 24);
AT(seg_header, first_chunk, 80);
AT(seg_header, link_key, 88);
AT(seg_header, uid, 120);
AT(seg_header, mode, 124);
AT(seg_header, persist, 128);
AT(seg_header, private_heap, 132);
AT(seg_header, state, 192);
AT(seg_header, hold_seq, 256);
AT(seg_header, orphans, 304);
AT(seg_header, purges, 368);
AT(seg_header, dumped_ns, 504);
SIZE(seg_header, 512);

/* ---- members --------------------------------------------------------------
 * A member id is (slot + 1) << 24 | epoch, 36 bits; a thread cache's id adds 28
 * bits of thread serial below.  Zero is nobody.  The epoch grows each time a
 * slot is given out: chunks that an ended member left bear an id that is
 * nobody's until the epoch has come round. */
#define EPOCH_BITS  24
#define THREAD_BITS 28

enum member_state {
    MEMBER_FREE = 0,
    MEMBER_LIVE = 1,       /* as long as its lock is held */
    MEMBER_LEAVING = 2,    /* exits cleanly; still alive while its lock is held */
    MEMBER_RECOVERING = 3, /* dead; the recoverer's member id is in the word */
    MEMBER_CHILD = 4,      /* slot made by a parent for the child it is about to fork */
};

enum member_setting {
    SETTING_RECLAIM = 1, /* HSHM_EXIT=reclaim */
    SETTING_MARKED = 2,  /* dead: which of its blocks are used is marked, see pages_mark() */
};

struct seg_member {
    sh64_t state;      /*   0  enum member_state | epoch << 8 | (recoverer's slot + 1) << 40 */
    sh64_t pid;        /*   8  as its own pid namespace sees it: for people, never for decisions */
    sh64_t start_ns;   /*  16  CLOCK_REALTIME of attach */
    sh64_t parent;     /*  24  member id of the forking parent, or 0 */
    sh64_t dead_ms;    /*  32  CLOCK_BOOTTIME when its lock was first seen gone */
    sh64_t settings;   /*  40  enum member_setting */
    sh64_t charged;    /*  48  OS pages charged to this member (HSHM_MEMBER_SIZE) */
    sh64_t pending;    /*  56  others freed large blocks of ours: look at our chunks */
    sh64_t threads;    /*  64  living thread caches */
    sh64_t mallocs;    /*  72  calls, counted with HSHM_STATS=calls */
    sh64_t callocs;    /*  80 */
    sh64_t reallocs;   /*  88 */
    sh64_t frees;      /*  96 */
    sh64_t bytes_out;  /* 104  bytes that went to libc instead */
    sh64_t uid;        /* 112 */
    sh64_t forks;      /* 120 */
    sh64_t fork_bytes; /* 128 */
    sh64_t charging;   /* 136  OS pages charged that no chunk bears yet */
    sh64_t quits;      /* 144  1: it was about to end by _exit(), or a child of its vfork() was */
    sh64_t named;      /* 152  1: it has used names, or taken blocks that others gave */
    sh64_t naming;     /* 160  steps in hand that change names */
    sh64_t dropped;    /* 168  frees of a forked child that its parent's side is to do */
    sh64_t deferred;   /* 176  blocks freed that wait for a forked child, see inherited.h */
    sh64_t held_free;  /* 184  bytes of free blocks kept from reuse by holds, when last looked */
    sh64_t fork_ns;    /* 192  that its forks took */
    sh64_t reserved[3];
    char name[32];     /* 224  program, NUL-terminated */
    char message[384]; /* 256  last line it had to say */
    sh64_t reserved1[431];
    sh64_t dumped; /* 4088 in a dump, if it lived then: enum dumped */
};
AT(seg_member, state, 0);
AT(seg_member, name, 224);
AT(seg_member, message, 256);
AT(seg_member, dumped, 4088);
SIZE(seg_member, 4096);

enum dumped { DUMPED_DEAD = 0, DUMPED_ALIVE = 1, DUMPED_STOPPED = 2 };

/* A hold: while any address space still maps the snapshot of one fork, the
 * pages it covers are not allocated from.  Its life is a lock on its byte. */
struct seg_hold {
    sh64_t state;   /*  0  0 free, 1 in use, | number of the hold << 8 */
    sh64_t creator; /*  8  member id of the parent */
    sh64_t bytes;   /* 16  what the snapshot copied */
    sh64_t made_ms; /* 24 */
};
SIZE(seg_hold, 32);

/* ---- chunks ----------------------------------------------------------------
 *
 *            claim                      give back, empty
 *    FREE ------------> OWNED(m) ---------------------------> FREE
 *      |                   | m died, recovered, blocks kept     ^
 *      |                   v                                    | reclaim
 *      |                ORPHAN -- adopt --> OWNED(m2)           |
 *      |                   +------------------------------------+
 *      |  claim a run        head word last       free: head word first to go,
 *      +---> PART(m) x n ------> HUGE(m) PART(m)...   parts to FREE, head last
 *
 * A PART that no HUGE head covers belongs to a step in hand: if the member
 * named in it is dead it is free. */
enum chunk_state { CHUNK_FREE = 0, CHUNK_OWNED, CHUNK_ORPHAN, CHUNK_PART, CHUNK_HUGE };
#define CHUNK_STATE_BITS 4
/* chunk.word: state : 4 | member id : 36 | length of a huge run in chunks (head) : 24 */

/* The size, stamp and holds of a huge block are in its first slice. */
struct chunk {
    sh64_t word;
    sh64_t
        free_slices;  /*  8  bit set = free; the owner's, recomputed from slice.kind after death */
    sh64_t pending;   /* 16  hint: slices whose large block somebody else freed */
    sh32_t charged;   /* 24  OS pages charged for it */
    sh32_t dirty;     /* 28  enum chunk_dirt */
    sh64_t former;    /* 32  the member that owned it last: its pages may still be mapped there */
    sh32_t described; /* 40  1: its descriptors are backed, and charged to it */
    sh32_t uid;       /* 44  of the member below */
    sh64_t user;      /* 48  the member that had it last: its bytes may still be there */
    sh32_t went;      /* 56  1: blocks of it went with a dead owner (HSHM_EXIT=reclaim), once */
    sh32_t spare;     /* 60  ORPHAN: bytes that its pages have room for, when recovered: a hint */
};
AT(chunk, charged, 24);
AT(chunk, dirty, 28);
AT(chunk, described, 40);
AT(chunk, uid, 44);
AT(chunk, user, 48);
AT(chunk, went, 56);
AT(chunk, spare, 60);
SIZE(chunk, 64);
/* What is known of the bytes of a chunk.  ALL: as a huge block left it; OS pages
 * up to 'charged' may have memory, any byte may be non-zero. */
enum chunk_dirt { DIRT_NONE = 0, DIRT_BY_SLICE = 1, DIRT_ALL = 2 };

/* ---- threads ---------------------------------------------------------------
 * What a thread owns in the segment.  Records lie in slices of kind RECORDS in
 * chunks of their member; a record outlives its thread and serves the next.
 *
 * A list of free blocks runs through the blocks: each one's first word is the
 * offset of the next, or LIST_END, encoded with the segment's key. */
#define LIST_END UINT64_C(1) /* odd: an offset of a block never is */

struct class_cell {
    sh64_t free;   /* blocks to allocate from; the owner alone takes and puts */
    sh64_t parked; /* free blocks of pages under a hold */
};

/* A step in hand that touches what somebody else owns: written before the
 * step, cleared after it, finished by whoever recovers us. */
struct inflight {
    sh64_t what; /* block offset | enum inflight_phase; 0 none */
    sh64_t gen;  /* generation of a large block, see struct slice.remote */
};
enum inflight_phase {
    INFLIGHT_NONE = 0,
    INFLIGHT_MINE = 1,   /* the block is on no list yet: only the freer knows it */
    INFLIGHT_LINKED = 2, /* linked and maybe pushed to its page's remote list */
    INFLIGHT_LARGE = 3,  /* being stamped freed, maybe being taken apart */
};

#define CLASS_COUNT 72
struct thread_record {
    sh64_t owner; /* 0: unused.  Else the owner word of its pages */
    sh64_t reserved[5];
    struct inflight step;
    struct class_cell cells[CLASS_COUNT]; /* 64 */
    sh64_t reserved1[8];
};
AT(thread_record, cells, 64);
SIZE(thread_record, 1280);
#define RECORDS_PER_SLICE 51

/* ---- slices and pages ------------------------------------------------------
 * The descriptor of a page or large block is that of its first slice; the
 * others are TAIL and say how far back it is.  Apart from 'remote' and 'audit'
 * a descriptor is written only by the member that owns the chunk. */
enum slice_kind { SLICE_FREE = 0, SLICE_PAGE, SLICE_LARGE, SLICE_TAIL, SLICE_RECORDS };

#define REMOTE_COUNT_SHIFT 48 /* in slice.remote of a PAGE; a page has at most 4096 blocks */
static_assert(WINDOW_MAX <= UINT64_C(1) << REMOTE_COUNT_SHIFT, "an offset fits below the count");

/* Stamp in the low byte of slice.remote of a LARGE block, above it the generation */
/* CACHED: freed, and kept by a thread of its owner for its next block. */
enum large_stamp { LARGE_NONE = 0, LARGE_LIVE = 1, LARGE_FREED = 2, LARGE_CACHED = 3 };

enum page_flag {
    PAGE_IDLE = 1,     /* became empty; its blocks are still on lists, 'used' is one too high */
    PAGE_EMPTY = 2,    /* all its blocks are free, whatever lists say */
    PAGE_KEPT = 4,     /* see struct kept: which blocks belong to ended members */
    PAGE_BITS = 8,     /* an orphan's: blocks not in kept.bits and not on 'remote' are free */
    PAGE_HELD = 16,    /* covered by a snapshot when last looked: not allocated from */
    PAGE_CHECKED = 32, /* HSHM_CHECK=full made it: see canary.h.  Of a LARGE block, too */
};

#define HOME_NOBODY UINT64_MAX

struct slice {
    /* first cache line: all that malloc and free touch */
    sh64_t home;   /*  0  offset of the class_cell whose thread may free here without asking */
    sh64_t recip;  /*  8  ceil(2^64 / block size): off * recip < recip iff a block starts at off */
    sh64_t remote; /* 16  PAGE: blocks on its remote list << 48 | offset of the first one, 0 none.
                          LARGE: generation << 8 | stamp */
    sh64_t taken;  /* 24  remote list being merged by the owner */
    sh64_t owner;  /* 32  owner word of the thread record, or of the member alone */
    sh32_t used;   /* 40  blocks handed out and not back on a list of the owner */
    sh16_t capacity; /* 44  blocks linked so far */
    sh16_t reserved; /* 46  blocks that fit */
    sh8_t kind;      /* 48  enum slice_kind */
    sh8_t cls;       /* 49  size class of a PAGE */
    sh8_t flags;     /* 50  enum page_flag */
    sh8_t back;      /* 51  TAIL: slices back to the first */
    sh32_t span;     /* 52  slices in the page or block */
    sh64_t audit;    /* 56  block that a dead freer may have left on no list */
    /* second line */
    sh16_t committed;  /* 64  a bit per OS page: charged; backed if it was populated */
    sh16_t dirty;      /* 66  a bit per OS page: may hold non-zero bytes */
    sh16_t mapped;     /* 68  a bit per OS page: to be had without a fault in the owner's space */
    sh16_t backed;     /* 70  a bit per OS page: surely there, a touch needs no new memory */
    sh32_t next;       /* 72  links of the owner's list of pages, slice indices */
    sh32_t prev;       /* 76 */
    sh64_t cell;       /* 80  the owner's class_cell, also while 'home' says nobody; 0 none */
    sh64_t bytes;      /* 88  LARGE: size in bytes as promised */
    sh32_t hold_birth; /* 96  hold_seq when the page was made: older holds do not cover it */
    sh32_t hold_last;  /* 100 newest hold that covers it; 0 none */
    sh64_t step;       /* 104 OS pages of the next extension */
    sh32_t registered; /* 112 blocks of it that have a name or change hands; may be too high */
    sh8_t shared;      /* 116 1: stays shared across fork, no snapshot covers it */
    sh8_t reserved0[3];
    sh32_t view_last; /* 120 newest hold whose child reads it here, not in a copy; 0 none */
    sh32_t reserved1;
};
AT(slice, remote, 16);
AT(slice, owner, 32);
AT(slice, used, 40);
AT(slice, capacity, 44);
AT(slice, reserved, 46);
AT(slice, kind, 48);
AT(slice, cls, 49);
AT(slice, flags, 50);
AT(slice, back, 51);
AT(slice, span, 52);
AT(slice, committed, 64);
AT(slice, dirty, 66);
AT(slice, mapped, 68);
AT(slice, backed, 70);
AT(slice, next, 72);
AT(slice, prev, 76);
AT(slice, cell, 80);
AT(slice, hold_birth, 96);
AT(slice, hold_last, 100);
AT(slice, registered, 112);
AT(slice, shared, 116);
AT(slice, view_last, 120);
SIZE(slice, 128);

/* Which blocks of a page belong to ended members (HSHM_EXIT=keep).  A bit is
 * cleared by whoever frees the block: a survivor, or `hshm reclaim`. */
#define PAGE_BLOCKS_MAX 4096
struct kept {
    sh64_t former; /* member id of the last one that ended */
    sh64_t reserved[15];
    sh64_t bits[PAGE_BLOCKS_MAX / 64];
};
SIZE(kept, 640);

/* ---- names, and blocks that change hands ------------------------------------
 * A name is an entry in a list of its bucket.  Links count their changes, so
 * that a CAS on one means the list as it was read.
 *
 *   UNUSED --claim--> NEW(m) --link--> NEW(m), found --> LIVE
 *   NEW, LIVE --remove--> REMOVED --unlinked, no references--> FREEING(m) --> UNUSED
 *
 * An entry that is in its list and NEW or LIVE is a name; one that is in no list
 * and NEW(m) belongs to a step in hand of m. */
enum name_state { NAME_UNUSED = 0, NAME_NEW, NAME_LIVE, NAME_REMOVED, NAME_FREEING };
/* name_entry.state: state : 4 | generation : 24 | member id : 36 */
/* links: entry : 20 | 1: its entry is being unlinked | changes : 43 */

#define NAME_MAX_COUNT (UINT64_C(1) << 18)
#define NAME_BYTES     128 /* with the NUL */

struct name_entry {
    sh64_t state;   /*  0 */
    sh64_t next;    /*  8  link */
    sh64_t hash;    /* 16 */
    sh64_t block;   /* 24  its offset; 0 none */
    sh64_t bytes;   /* 32  size as asked for */
    sh64_t type;    /* 40  the users' own: who asks for another is refused */
    sh64_t made_ns; /* 48  CLOCK_REALTIME */
    sh64_t maker;   /* 56  member id: for people */
    sh64_t name[NAME_BYTES / 8];
    sh64_t counted; /* 192 1: it has had references */
    sh64_t former;  /* 200 the word of its block before it had the name; 0 none */
    sh64_t reserved[6];
};
AT(name_entry, name, 64);
AT(name_entry, counted, 192);
SIZE(name_entry, 256);

/* Words that stand for what is looked up by a key: a word lies in one of two
 * groups of eight that its key tells, and never moves; 0 is free.
 *   block:      offset / 16 : 36 | enum block_state : 2 | 0 : 5 | begun : 1 | slot + 1 or entry : 20
 *   reference:  entry : 20 | slot + 1 : 12 | count : 32 */
enum word_table { TABLE_BUCKETS = 0, TABLE_BLOCKS, TABLE_REFS, TABLE_COUNT };
#define BUCKET_BITS 17
#define WORD_BITS   18

enum block_state {
    BLOCK_LEFT = 0,  /* taken by a member that has ended */
    BLOCK_GIVEN = 1, /* whoever takes it has it; the slot is that of the giver */
    BLOCK_TAKEN = 2, /* belongs to the member in that slot, whoever made it */
    BLOCK_NAMED = 3, /* belongs to the name in that entry */
};
/* Of TAKEN: that member is about to give it or to name it, and has only looked whether nobody else is. */
#define BLOCK_BEGUN (UINT64_C(1) << 20)

#define ENTRIES_PER_OSPAGE (OS_PAGE / sizeof(struct name_entry))

/* A heap of hshm.h is a block that is called hshm.heap.ID and begins with this; its header
 * follows, and, from the next OS page on, the area of a stack.  Like all that lies in blocks it
 * is no part of what keeps the segment sound: the counts are for people, and off by what a
 * member had in hand when it died. */
#define HEAP_NAME   "hshm.heap."
#define HEAP_TYPE   UINT64_C(0x7061656828) /* and the kind: the type of the name */
#define HEAP_SHARDS 64

struct heap_shard {
    uint64_t bytes;
    uint64_t reserved[7];
};
SIZE(heap_shard, 64);

struct heap_head {
    uint64_t kind;        /*  0  enum hshm_heap_kind */
    uint64_t size;        /*  8  of a stack */
    uint64_t top;         /* 16  of it, from its area's begin */
    uint64_t header_size; /* 24 */
    uint64_t reserved[4];
    struct heap_shard used[HEAP_SHARDS]; /* 64  bytes in use: their sum counts; a cache line each */
};
AT(heap_head, used, 64);
SIZE(heap_head, 4160);

struct seg_names {
    sh64_t backed[TABLE_COUNT][8]; /*   0  a bit per OS page of each table */
    sh64_t high;                   /* 192  entries below are backed; entry 0 is none */
    sh64_t hint;                   /* 200  where unused entries are sought first */
    sh64_t live;                   /* 208  names (a hint) */
    sh64_t reserved[37];
};
AT(seg_names, high, 192);
SIZE(seg_names, 512);

#define SEG_NAMES_OFF   sizeof(struct seg_header)
#define SEG_HOLDS_OFF   OS_PAGE
#define SEG_UNUSED_OFF  (UINT64_C(128) << 10)
#define SEG_MEMBERS_OFF (UINT64_C(1) << 20)
#define SEG_BUCKETS_OFF (SEG_MEMBERS_OFF + (UINT64_C(16) << 20))
#define SEG_BLOCKS_OFF  (SEG_BUCKETS_OFF + (UINT64_C(1) << 20))
#define SEG_REFS_OFF    (SEG_BLOCKS_OFF + (UINT64_C(2) << 20))
#define SEG_ENTRIES_OFF (SEG_REFS_OFF + (UINT64_C(2) << 20))
static_assert(SEG_NAMES_OFF + sizeof(struct seg_names) <= OS_PAGE, "names' words fit");
static_assert(SEG_HOLDS_OFF + HOLD_MAX * sizeof(struct seg_hold) <= SEG_UNUSED_OFF, "holds fit");
static_assert(SEG_UNUSED_OFF + NAME_MAX_COUNT / 8 <= SEG_MEMBERS_OFF, "unused bits fit");
static_assert(SEG_MEMBERS_OFF + MEMBER_MAX * sizeof(struct seg_member) <= SEG_BUCKETS_OFF, "");
static_assert(UINT64_C(8) << BUCKET_BITS <= SEG_BLOCKS_OFF - SEG_BUCKETS_OFF, "buckets fit");
static_assert(UINT64_C(8) << WORD_BITS <= SEG_REFS_OFF - SEG_BLOCKS_OFF, "words fit");
static_assert((UINT64_C(8) << WORD_BITS) / OS_PAGE <= UINT64_C(512),
              "a bit for each OS page of a table");

/* How many entries a window has room for. */
static inline uint64_t name_count(uint64_t window)
{
    return window / 2048 < NAME_MAX_COUNT ? window / 2048 : NAME_MAX_COUNT;
}

/* Lock bytes lie beyond any file size: a lock needs no page. */
#define LOCK_MEMBER(slot) ((UINT64_C(1) << 60) + (slot))
#define LOCK_HOLD(hold)   ((UINT64_C(1) << 60) + (UINT64_C(1) << 20) + (hold))
#define LOCK_CREATE       ((UINT64_C(1) << 60) + (UINT64_C(1) << 21))
#define LOCK_RECLAIM      (LOCK_CREATE + 1) /* one at a time frees what ended members kept */
#define LOCK_GPU          (LOCK_CREATE + 2) /* one at a time joins the members that use GPUs */

/* ---- GPU segments -----------------------------------------------------------
 * The bookkeeping of memory that lies on devices.  It begins in the file where
 * the window ends; a member that uses a GPU maps it wherever there is room,
 * others never see it.  A device's memory is one range of addresses, in units of
 * 64 KiB; nothing of ours lies on the device.
 *
 *   GPU_MEMBERS_OFF    16 KiB each            struct gpu_member[MEMBER_MAX]
 *   GPU_DEVICES_OFF    GPU_DEVICE_BYTES each  for each device:
 *     0                                       struct gpu_device
 *     GPU_CHUNKS_OFF   64 B                   struct gpu_chunk[GPU_CHUNK_MAX]
 *     GPU_TAKEN_OFF    1 bit for each unit    hints: which units are taken
 *     GPU_UNITS_OFF    32 B for each unit     struct gpu_unit[]
 *     GPU_BLOCKS_OFF   2 KiB for each unit    struct gpu_block[GPU_PAGE_BLOCKS], of small pages
 */
#define GPU_MAGIC       UINT64_C(0x31555047484d5348)
#define GPU_DEVICE_MAX  8
#define GPU_CHUNK_MAX   256
#define GPU_UNIT_SHIFT  16
#define GPU_UNIT_BYTES  (UINT64_C(1) << GPU_UNIT_SHIFT)
#define GPU_UNITS_MAX   (UINT64_C(1) << 24) /* 1 TiB */
#define GPU_PAGE_BLOCKS 128
#define GPU_OPENS       1952

struct gpu_header {
    sh64_t magic;        /*  0  GPU_MAGIC, written last */
    sh64_t nonce;        /*  8  in the names of sockets */
    sh64_t members_high; /* 16  entries of the member table ever used */
    sh64_t reserved[61];
};
SIZE(gpu_header, 512);

/* What a member has of GPU segments.  Its entry has the number of its slot; it is written by the
 * member alone, but for 'pending' and, once it is gone, 'id'. */
struct gpu_member {
    sh64_t id;                      /*   0  member id; 0: none */
    sh64_t pid;                     /*   8  */
    sh64_t start;                   /*  16  of the process, in the kernel's clock ticks */
    sh64_t pid_ns;                  /*  24  inode of its pid namespace: who else may know the pid */
    sh64_t net_ns;                  /*  32  of its network namespace: who can reach its socket */
    sh64_t devices;                 /*  40  a bit for each device it has attached */
    sh64_t serves;                  /*  48  1: its socket is there */
    sh64_t passed;                  /*  56  calls that went to the driver instead */
    sh64_t pending[GPU_DEVICE_MAX]; /*  64  1: others freed blocks of ours */
    sh64_t used[GPU_DEVICE_MAX];    /* 128  bytes of its blocks */
    sh64_t waiting[GPU_DEVICE_MAX]; /* 192  of them, freed but not yet to be used again */
    sh64_t stack; /* 256  where its stack begins: exec changes that, not the pid */
    sh64_t reserved[62];
    sh64_t opens_high;       /* 760 */
    sh64_t opens[GPU_OPENS]; /* 768  blocks of others that it has opened (IPC): reference + 1 */
};
AT(gpu_member, opens, 768);
SIZE(gpu_member, 16384);

enum gpu_device_state { GPU_DEVICE_NONE = 0, GPU_DEVICE_READY = 1 };
struct gpu_device {
    sh64_t state;     /*  0  enum gpu_device_state, written last */
    uint64_t uuid[2]; /*  8  of the card or the MIG instance */
    uint64_t base;    /* 24  address that every member maps unit 0 at, if it can */
    uint64_t limit;   /* 32  bytes: HSHM_GPU_SIZE of the one who made it */
    uint64_t total;   /* 40  bytes of the device */
    uint64_t chunk_units;
    uint64_t chunk_count;
    sh64_t generation; /* 64  how often it began anew */
    sh64_t kept;       /* 72  bytes of blocks of ended members */
    sh64_t allocs;     /* 80  statistics */
    sh64_t refused;
    sh64_t reserved[52];
};
AT(gpu_device, generation, 64);
SIZE(gpu_device, 512);

/* A chunk: one allocation of the driver's.
 *
 *    EMPTY -> CREATING(m) -> READY -> RETIRING(m) -> EMPTY
 *
 * If m died, what it was making or giving back is gone with it: EMPTY, or READY if somebody
 * still has it.  The generation grows with each creation. */
enum gpu_chunk_state { GPU_EMPTY = 0, GPU_CREATING, GPU_READY, GPU_RETIRING };
struct gpu_chunk {
    sh64_t word; /* state : 4 | member id : 36 | generation : 24 */
    sh64_t reserved[7];
};
SIZE(gpu_chunk, 64);

/* A block: what cudaMalloc returns.
 *
 *    FREE -> LIVE -> WAIT -> FREE           freed by the owner of its page or run, which waits until
 *      ^      |                             its work on the device is done
 *      |      +---> GIVEN -> FREE           freed by somebody else: the owner takes it back
 *      +--------- HELD <--- LIVE            freed while others have it open (IPC)
 *
 * state: state : 4 | member id of the maker : 36 | generation : 24, which grows with each use.
 * info: bytes asked for : 40 | context of the maker, an index of its own : 8 | flags : 16 */
enum gpu_block_state { GPU_FREE = 0, GPU_LIVE, GPU_WAIT, GPU_GIVEN, GPU_HELD };
enum gpu_block_flag { GPU_EXPORTED = 1, GPU_RECLAIM = 2 };
struct gpu_block {
    sh64_t state;
    sh64_t info;
};

/* Runs of units.  A PART says how far back its head is; one that no head covers belongs to a
 * step in hand: if its member is dead it is free.
 *
 *    FREE -> PART(m) x n -> PAGE(m) or LARGE(m) -> PART(m) -> FREE
 */
enum gpu_unit_state { GPU_UNIT_FREE = 0, GPU_PART, GPU_PAGE, GPU_LARGE };
struct gpu_unit {
    sh64_t word;            /* state : 4 | member id : 36 | units in the run, or back : 24 */
    struct gpu_block block; /* of a LARGE run */
    sh32_t cls;             /* size class of a PAGE */
    sh32_t reserved;
};
SIZE(gpu_block, 16);
AT(gpu_unit, cls, 24);
SIZE(gpu_unit, 32);

#define GPU_MEMBERS_OFF  (UINT64_C(1) << 20)
#define GPU_DEVICES_OFF  (UINT64_C(128) << 20)
#define GPU_CHUNKS_OFF   OS_PAGE
#define GPU_TAKEN_OFF    (UINT64_C(1) << 20)
#define GPU_UNITS_OFF    (UINT64_C(4) << 20)
#define GPU_BLOCKS_OFF   (UINT64_C(1) << 30)
#define GPU_DEVICE_BYTES (UINT64_C(33) << 30)
#define GPU_AREA_BYTES   (GPU_DEVICES_OFF + GPU_DEVICE_MAX * GPU_DEVICE_BYTES)
static_assert(GPU_MEMBERS_OFF + MEMBER_MAX * sizeof(struct gpu_member) <= GPU_DEVICES_OFF, "");
static_assert(GPU_CHUNKS_OFF + GPU_CHUNK_MAX * sizeof(struct gpu_chunk) <= GPU_TAKEN_OFF, "");
static_assert(GPU_TAKEN_OFF + GPU_UNITS_MAX / 8 <= GPU_UNITS_OFF, "");
static_assert(GPU_UNITS_OFF + GPU_UNITS_MAX * sizeof(struct gpu_unit) <= GPU_BLOCKS_OFF, "");
static_assert(GPU_BLOCKS_OFF + GPU_UNITS_MAX * GPU_PAGE_BLOCKS * sizeof(struct gpu_block) <=
                  GPU_DEVICE_BYTES,
              "");

/* Changes when a structure changes its size or the OS page differs. */
static inline uint32_t layout_abi(void)
{
    return (uint32_t)(sizeof(struct seg_header) ^ sizeof(struct seg_member) << 4 ^
                      sizeof(struct slice) << 12 ^ sizeof(struct chunk) << 20 ^
                      sizeof(struct name_entry) << 16 ^ sizeof(struct gpu_unit) << 24 ^
                      (OS_PAGE >> 12) << 28);
}

static inline uint64_t round_up(uint64_t n, uint64_t unit)
{
    return (n + unit - 1) & ~(unit - 1);
}

/* Offsets of the tables for a window of 'window' bytes; false if it is no window. */
static inline int layout_compute(uint64_t window, struct seg_header *h)
{
    if (window < WINDOW_MIN || window > WINDOW_MAX || (window & (window - 1)))
        return 0;
    h->window = window;
    h->chunk_count = window >> CHUNK_SHIFT;
    h->chunks_off =
        round_up(SEG_ENTRIES_OFF + name_count(window) * sizeof(struct name_entry), OS_PAGE);
    h->slices_off = round_up(h->chunks_off + h->chunk_count * sizeof(struct chunk), OS_PAGE * 16);
    uint64_t slices = h->chunk_count * CHUNK_SLICES;
    h->kept_off = h->slices_off + slices * sizeof(struct slice);
    h->data_off = round_up(h->kept_off + slices * sizeof(struct kept), CHUNK_BYTES);
    h->first_chunk = h->data_off >> CHUNK_SHIFT;
    return h->first_chunk < h->chunk_count;
}
