/* shared.h - the only ways to read and write what two processes can see.
 *
 * A process may be killed between any two of these writes.  Each write
 * therefore names its site, and sites.def says for every site what a survivor
 * finds and who mends it.  docs/design.md prints that table.
 *
 *   own_get/own_put    fields that one thread owns: plain accesses, no cost
 *   get/put            racy on purpose: relaxed, see the comment at the use
 *   get_acquire/put_release, cas, fetch_*   the edges between processes
 */
#pragma once
#include "allocators/layout.h"
#include <stdbool.h>

enum site_id {
#define SITE(id, found, repaired_by) SITE_##id,
#include "allocators/sites.def"
#undef SITE
    SITE_COUNT
};

/* The kill tests learn at which site a byte has changed; others pay nothing. */
#ifdef HSHM_COUNT_SITES
extern struct site_log {
    uint8_t hits[SITE_COUNT];
    volatile uint32_t last;
} * site_log;
#define SITE_HERE(site) (site_log->hits[SITE_##site] = 1, site_log->last = SITE_##site)
#elif defined(HSHM_CUT_SITES) /* or die before one of them */
void site_cut(enum site_id site);
#define SITE_HERE(site) site_cut(SITE_##site)
#else
#define SITE_HERE(site) ((void)SITE_##site)
#endif

#define own_get(f)          ((f).raw_)
#define own_put(site, f, v) (SITE_HERE(site), (void)((f).raw_ = (v)))

#define get(f)         __atomic_load_n(&(f).raw_, __ATOMIC_RELAXED)
#define get_acquire(f) __atomic_load_n(&(f).raw_, __ATOMIC_ACQUIRE)

#define put(site, f, v) (SITE_HERE(site), __atomic_store_n(&(f).raw_, (v), __ATOMIC_RELAXED))
#define put_release(site, f, v)                                                                    \
    (SITE_HERE(site), __atomic_store_n(&(f).raw_, (v), __ATOMIC_RELEASE))

/* Succeeds: acq_rel.  Fails: acquire, and *expected is what was there. */
#define cas(site, f, expected, desired)                                                            \
    (SITE_HERE(site), __atomic_compare_exchange_n(&(f).raw_, (expected), (desired), false,         \
                                                  __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
#define fetch_add(site, f, v)                                                                      \
    (SITE_HERE(site), __atomic_fetch_add(&(f).raw_, (v), __ATOMIC_RELAXED))
#define fetch_add_release(site, f, v)                                                              \
    (SITE_HERE(site), __atomic_fetch_add(&(f).raw_, (v), __ATOMIC_RELEASE))
#define fetch_sub(site, f, v)                                                                      \
    (SITE_HERE(site), __atomic_fetch_sub(&(f).raw_, (v), __ATOMIC_RELAXED))
#define fetch_sub_release(site, f, v)                                                              \
    (SITE_HERE(site), __atomic_fetch_sub(&(f).raw_, (v), __ATOMIC_RELEASE))
#define fetch_or(site, f, v) (SITE_HERE(site), __atomic_fetch_or(&(f).raw_, (v), __ATOMIC_ACQ_REL))
#define fetch_and(site, f, v)                                                                      \
    (SITE_HERE(site), __atomic_fetch_and(&(f).raw_, (v), __ATOMIC_ACQ_REL))
#define swap(site, f, v) (SITE_HERE(site), __atomic_exchange_n(&(f).raw_, (v), __ATOMIC_ACQ_REL))

/* The stores before this reach memory before those after it, as seen by who
 * finds us dead.  x86 keeps the order of stores; the compiler must too. */
#if defined(__x86_64__)
#define in_this_order() __atomic_signal_fence(__ATOMIC_RELEASE)
#else
#define in_this_order() __atomic_thread_fence(__ATOMIC_RELEASE)
#endif
