/* use.c - a program that knows malloc and free, and no library but libc.
 *
 * Reads "ADDRESS SIZE CRC32" from standard input, looks at the bytes at that
 * address, changes them, frees them, and answers with a block of its own, of
 * which it prints the address. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static uint32_t crc32(const unsigned char *at, size_t n)
{
    static uint32_t table[256];
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t c = i;
        for (int bit = 0; bit < 8; bit++)
            c = c & 1 ? c >> 1 ^ UINT32_C(0xedb88320) : c >> 1;
        table[i] = c;
    }
    uint32_t crc = UINT32_MAX;
    while (n--)
        crc = crc >> 8 ^ table[(crc ^ *at++) & 255];
    return ~crc;
}

int main(void)
{
    char line[128];
    unsigned long address, size;
    unsigned expected;
    if (!fgets(line, sizeof line, stdin) ||
        sscanf(line, "%lx %lu %x", &address, &size, &expected) != 3)
        return 2;

    unsigned char *block = (unsigned char *)address; /* as if it were ours */
    uint32_t found = crc32(block, size);
    fprintf(stderr, "      use.c  [%d]: read %lu bytes at %p: CRC-32 %08x, expected %08x\n",
            (int)getpid(), size, (void *)block, found, expected);
    if (found != expected)
        return 1;

    for (size_t i = 0; i < size; i++)
        block[i] ^= 0xff;
    fprintf(stderr, "      use.c  [%d]: inverted every byte: CRC-32 %08x; freeing the block\n",
            (int)getpid(), crc32(block, size));
    free(block); /* a block that a process has made which is gone by now */

    char *answer = malloc(64);
    if (!answer)
        return 1;
    snprintf(answer, 64, "%lu bytes read, changed and freed in C", size);
    printf("%p\n", (void *)answer);
    fflush(stdout);
    getchar(); /* whoever reads the answer frees it */
    return 0;
}
