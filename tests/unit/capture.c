#include "tests/unit/capture.h"

#include <criterion/criterion.h>
#include <sys/mman.h>
#include <unistd.h>

void capture_start(void)
{
    int fd = memfd_create("stderr", 0);
    cr_assert_geq(fd, 0);
    cr_assert_eq(dup2(fd, STDERR_FILENO), STDERR_FILENO);
    close(fd);
}

const char *captured(void)
{
    static char text[65536];
    ssize_t size = pread(STDERR_FILENO, text, sizeof(text) - 1, 0);
    cr_assert_geq(size, 0);
    text[size] = '\0';
    return text;
}

int captured_lines(void)
{
    int count = 0;
    for (const char *c = captured(); *c; c++)
        count += *c == '\n';
    return count;
}
