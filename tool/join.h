/* join.h - this command as a member of a segment, for what changes one. */
#pragma once
#include "tool/tool.h"

struct thread_cache;

/* Joins a segment that is there; NULL and why, if that fails. */
struct heap *segment_join_as(const char *name, const char *program, const char **why);
void segment_part(struct heap *h);
