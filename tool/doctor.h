/* doctor.h - what the two halves of `hshm doctor` share: the machine, and one process. */
#pragma once
#include "tool/tool.h"

enum verdict { VERDICT_OK, VERDICT_NOTE, VERDICT_WRONG };

struct doctor {
    long pid; /* 0: none, only the machine */
    bool json;
    enum verdict worst;
};

/* A line; 'mend' is what to do about it, "" if nothing need be done. */
void tell(struct doctor *d, const char *topic, enum verdict verdict, const char *mend,
          const char *format, ...) __attribute__((format(printf, 5, 6)));
bool doctor_read(const char *path, char *text, size_t size);
/* A path as the process sees it. */
const char *doctor_path(const struct doctor *d, const char *path);
void doctor_process(struct doctor *d);
