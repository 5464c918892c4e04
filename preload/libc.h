/* libc.h - what glibc has and musl has not. */
#pragma once
#include <stddef.h>
#include <stdio.h>

#ifdef __GLIBC__
#include <malloc.h>
#define HAVE_UNWINDER 1
#else
#define HAVE_UNWINDER              0 /* the compiler's is made for glibc */
struct mallinfo {
    int arena, ordblks, smblks, hblks, hblkhd, usmblks, fsmblks, uordblks, fordblks, keepcost;
};
struct mallinfo2 {
    size_t arena, ordblks, smblks, hblks, hblkhd, usmblks, fsmblks, uordblks, fordblks, keepcost;
};
struct mallinfo2 mallinfo2(void);
int mallopt(int parameter, int value);
int malloc_trim(size_t pad);
void malloc_stats(void);
int malloc_info(int flags, FILE *to);
#define RTLD_DEEPBIND              0
#define LM_ID_BASE                 0
#define dlmopen(space, file, mode) dlopen(file, mode)
#endif
