/* tail_call.h - functions of the loader take the namespace and the search path from their caller's
 * address: ours leave the real ones to return to our caller. */
#pragma once

#ifdef __clang__
#define FOR_TAIL_CALL
#define TAIL_RETURN __attribute__((musttail)) return
#else
#define FOR_TAIL_CALL __attribute__((optimize("O2")))
#define TAIL_RETURN   return
#endif
