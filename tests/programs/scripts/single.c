/* One thread, every call of the malloc family a known number of times. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(void)
{
    void *block[1000];
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 1000; i++)
            block[i] = i % 10 ? malloc((size_t)i * 7) : calloc((size_t)i, 3);
        for (int i = 0; i < 1000; i += 3)
            block[i] = realloc(block[i], (size_t)i * 29 + 1);
        for (int i = 0; i < 1000; i++)
            free(block[i]);
    }
    free(NULL);
    free(strdup("text"));
    puts("done");
    return 0;
}
