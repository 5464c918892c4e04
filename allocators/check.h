/* check.h - does every structure of a segment hold what layout.h promises?
 *
 * A segment that is in use changes while it is read.  What looks wrong is
 * read again, and reported only if it stays wrong while it stays the same; a
 * page that never stands still long enough is counted as 'unsettled'.
 *
 * The steps that a killed or stopped process leaves half done (sites.def) are
 * no damage.  Those that a segment at rest should not show are notes.
 */
#pragma once
#include "allocators/view.h"

enum finding_kind {
    FINDING_NOTE,   /* a step in hand, a count that is off: is mended in the course of use */
    FINDING_DAMAGE, /* cannot be, whatever has happened to the members */
};

struct finding {
    enum finding_kind kind;
    const char *what;
    uint64_t off;        /* where in the file */
    uint64_t is, should; /* equal if there is nothing to compare */
};

struct check_result {
    uint64_t damage, notes;
    uint64_t chunks, pages, blocks; /* looked at; blocks: allocated ones */
    uint64_t unsettled;             /* changed all the time */
};

typedef void check_report(const struct finding *finding, void *context);

/* True if the segment is sound. */
bool check_segment(struct view *v, check_report *report, void *context,
                   struct check_result *result);
