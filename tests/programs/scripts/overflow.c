/* One byte past a block: what AddressSanitizer is for. */
#include <stdlib.h>

int main(int argc, char **argv)
{
    (void)argv;
    volatile char *p = malloc(10);
    p[9 + argc] = 1;
    free((void *)p);
    return 0;
}
