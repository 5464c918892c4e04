/* member.h - the slots of the living, and who is alive.
 *
 * A member lives as long as the lock on its slot's byte is held.  The lock
 * belongs to an open file description that only a one-page mapping keeps:
 * closing all descriptors does not drop it, a forked child does not inherit
 * it (MADV_DONTFORK), SIGKILL and exec end it.
 */
#pragma once
#include "allocators/heap.h"

/* A lock kept by a mapping. */
struct witness {
    char *page; /* NULL: none */
};
/* Open the file anew, lock 'byte', keep the lock by mapping.  False: taken, or no file,
 * or the name is another file's by now ('inode' 0: any will do). */
bool witness_make(const char *path, uint64_t inode, uint64_t byte, bool for_children,
                  struct witness *w);
void witness_drop(struct witness *w);

/* The same in steps, to try several bytes: an open description, or a negative error ... */
long witness_open(const char *path, uint64_t inode);
/* ... kept by a mapping, with whatever was locked through it, and closed. */
bool witness_keep(long fd, bool for_children, struct witness *w);

/* Take a free slot under 'state' (CHILD: for a child to be forked) with its lock;
 * the new member's id, or 0. */
uint64_t member_take_slot(struct heap *h, const char *reopen, enum member_state state,
                          struct witness *w);
/* The same for a child to be forked, by an open description of the file, which is closed. */
uint64_t member_make_child(struct heap *h, long fd, struct witness *w);
/* Fill in what people want to know. */
void member_describe(struct heap *h, uint32_t slot, const char *program, uint64_t parent,
                     uint64_t pid);
/* A forked child is about to use the heap for the first time.  Until then nothing
 * in the segment is its own, and its slot is free again as soon as its lock is gone. */
void member_wake(struct heap *h);

/* Does what bears this id have an owner who will see to it, or a recoverer who is yet to come? */
bool member_in_charge(struct heap *h, uint64_t id);
/* Is the member in this slot alive?  True when that cannot be known. */
bool member_alive(struct heap *h, uint32_t slot);
/* Does anybody but 'except' (a slot, or MEMBER_MAX) live?  By an open file. */
bool members_alive_fd(long fd, uint32_t except);

/* This process is about to end on purpose: one store, no system call. */
void member_quits(struct heap *h);
/* It was a child of vfork(): we are still here. */
void member_stays(struct heap *h);
