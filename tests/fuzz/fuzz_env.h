/* fuzz_env.h - what is other than in a real process, while an input is tried. */
#pragma once
#include <setjmp.h>
#include <stdbool.h>

/* log_abort() jumps there, if it may; else it ends the process. */
extern bool fuzz_may_abort;
extern sigjmp_buf fuzz_aborted;
_Noreturn void fuzz_abort(void);
