/* track.h - blocks by the place that asked for them, as long as hshm_track() is on. */
#pragma once
#include "api/api.h"

extern bool tracking; /* changes by hshm_track() alone */

void track_note(const void *p, size_t size, const void *site);
/* What it was noted with; false: it was not. */
bool track_forget(const void *p, size_t *size, const void **site);
/* For forks: nobody holds the lock in the child. */
void track_lock(void);
void track_unlock(void);

/* For the functions of the interface: p, noted with the place that they return to. */
#define TRACKED(p, size)                                                                           \
    ({                                                                                             \
        void *tracked_ = (p);                                                                      \
        if (unlikely(tracking) && tracked_)                                                        \
            track_note(tracked_, (size), __builtin_return_address(0));                             \
        tracked_;                                                                                  \
    })
#define UNTRACKED(p)                                                                               \
    do {                                                                                           \
        size_t size_;                                                                              \
        const void *site_;                                                                         \
        if (unlikely(tracking) && (p))                                                             \
            track_forget((p), &size_, &site_);                                                     \
    } while (0)
/* 'resize' may free p, which another thread then has: so it is forgotten first. */
#define RETRACKED(p, resize, size)                                                                 \
    ({                                                                                             \
        size_t size_ = 0;                                                                          \
        const void *site_ = NULL;                                                                  \
        bool had_ = unlikely(tracking) && (p) && track_forget((p), &size_, &site_);                \
        void *resized_ = (resize);                                                                 \
        if (unlikely(tracking) && resized_)                                                        \
            track_note(resized_, (size), __builtin_return_address(0));                             \
        else if (had_)                                                                             \
            track_note((p), size_, site_);                                                         \
        resized_;                                                                                  \
    })
