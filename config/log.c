#include "config/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config/options.h"
#include "config/sys.h"

void (*log_slot_hook)(const char *line);

static struct {
    char program[32];
    dev_t device; /* of fd 2 at log_init() */
    ino_t inode;  /* 0, which no file has, if there was none */
} self = { .program = "?" };

/* The line so far.  One byte is kept for its end. */
struct line {
    char text[LOG_LINE_SIZE];
    size_t size;
    bool cut;
};

static void put_char(struct line *line, char c)
{
    if (line->size < sizeof(line->text) - 1)
        line->text[line->size++] = c >= ' ' && c <= '~' ? c : '?';
    else
        line->cut = true;
}

static void put_text(struct line *line, const char *text)
{
    for (text = text ? text : "(null)"; *text; text++)
        put_char(line, *text);
}

static void put_number(struct line *line, uint64_t number, unsigned base)
{
    char digits[20]; /* of UINT64_MAX */
    unsigned count = 0;
    do
        digits[count++] = "0123456789abcdef"[number % base];
    while (number /= base);
    while (count > 0)
        put_char(line, digits[--count]);
}

static void put_signed(struct line *line, int64_t number)
{
    if (number < 0)
        put_char(line, '-');
    put_number(line, number < 0 ? 0 - (uint64_t)number : (uint64_t)number, 10);
}

/* In the largest unit that leaves at least 1, with one decimal unless it is exact. */
static void put_bytes(struct line *line, uint64_t bytes)
{
    static const char units[] = " KMGTPE";
    unsigned unit = 0;
    while (bytes >> (10 * unit) >= 1024)
        unit++;
    uint64_t one = (uint64_t)1 << (10 * unit), rest = bytes % one;
    put_number(line, bytes / one, 10);
    if (rest > 0) {
        put_char(line, '.');
        /* rest < 2^60: times 10 still fits.  Rounded down: 1023.99 must not become 1024.0. */
        put_number(line, rest * 10 / one, 10);
    }
    put_char(line, ' ');
    if (unit > 0)
        put_char(line, units[unit]);
    put_text(line, unit > 0 ? "iB" : "B");
}

/* Writes the conversion that follows a % and returns what comes after it. */
static const char *put_conversion(struct line *line, const char *at, va_list *arguments)
{
    bool is_long = *at == 'l', is_size = *at == 'z';
    at += is_long || is_size;
    if (is_size && at[0] == 'u' && at[1] == 'B') {
        put_bytes(line, va_arg(*arguments, size_t));
        return at + 2;
    }
    switch (*at) {
    case 's': put_text(line, va_arg(*arguments, const char *)); break;
    case 'c': put_char(line, (char)va_arg(*arguments, int)); break;
    case 'd': put_signed(line, is_long ? va_arg(*arguments, long) : va_arg(*arguments, int)); break;
    case 'u':
    case 'x':
        /* size_t is unsigned long here. */
        put_number(line,
                   is_long || is_size ? va_arg(*arguments, unsigned long)
                                      : va_arg(*arguments, unsigned),
                   *at == 'u' ? 10 : 16);
        break;
    case 'p':
        put_text(line, "0x");
        put_number(line, (uintptr_t)va_arg(*arguments, void *), 16);
        break;
    case '%': put_char(line, '%'); break;
    default: /* Unknown, so its argument is, too: show the rest as it stands. */
        put_char(line, '%');
        put_text(line, at);
        return "";
    }
    return at + 1;
}

static void put_format(struct line *line, const char *format, va_list *arguments)
{
    while (*format) {
        if (*format == '%')
            format = put_conversion(line, format + 1, arguments);
        else
            put_char(line, *format++);
    }
}

static void line_start(struct line *line)
{
    line->size = 0;
    line->cut = false;
    put_text(line, "hshm[");
    put_number(line, (uint64_t)sys_getpid(), 10);
    put_char(line, ' ');
    put_text(line, self.program);
    put_text(line, "]: ");
}

static void line_end(struct line *line)
{
    if (line->cut)
        memcpy(line->text + line->size - 3, "...", 3);
    line->text[line->size] = '\0';
}

/* One write(2), with those signals blocked that it could end or stop the program with: SIGPIPE,
 * SIGXFSZ (RLIMIT_FSIZE), SIGTTOU (in the background, after `stty tostop`).  What was not pending
 * before it was caused by it, and is taken back. */
static void text_write(int fd, const char *text, size_t size)
{
    const sys_sigset_t ours = sys_sigbit(SIGPIPE) | sys_sigbit(SIGXFSZ) | sys_sigbit(SIGTTOU);
    sys_sigset_t mask = 0, before = 0;
    sys_sigmask(SIG_BLOCK, &ours, &mask);
    sys_sigpending(&before);
    long written;
    do
        written = sys_write(fd, text, size);
    while (written == -EINTR);
    if (written == -EPIPE || written == -EFBIG) {
        const sys_sigset_t caused = ours & ~before;
        sys_sigtake(&caused);
    }
    sys_sigmask(SIG_SETMASK, &mask, NULL);
}

static bool stderr_is_ours(void)
{
    struct stat st = { 0 };
    return sys_fstat(STDERR_FILENO, &st) == 0 && st.st_dev == self.device &&
           st.st_ino == self.inode;
}

/* Opened for each line, since programs close what they do not know.  O_NONBLOCK: not even a FIFO
 * without a reader may stop the program. */
static bool file_write(const char *path, const char *text, size_t size)
{
    int flags = O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
    int fd = *path ? sys_open(path, flags, 0600) : -ENOENT;
    if (fd < 0)
        return false;
    text_write(fd, text, size);
    sys_close(fd);
    return true;
}

/* Last, since it puts a newline where the end of the string was. */
static void line_show(struct line *line)
{
    line->text[line->size] = '\n';
    if (!file_write(option_text(OPT_LOG), line->text, line->size + 1) && stderr_is_ours())
        text_write(STDERR_FILENO, line->text, line->size + 1);
}

static void line_send(const char *format, va_list *arguments, bool is_shown)
{
    struct line line;
    line_start(&line);
    put_format(&line, format, arguments);
    line_end(&line);
    if (log_slot_hook)
        log_slot_hook(line.text);
    if (is_shown)
        line_show(&line);
}

void log_init(const char *program)
{
    struct stat st = { 0 };
    sys_fstat(STDERR_FILENO, &st);
    self.device = st.st_dev;
    self.inode = st.st_ino;

    const char *slash = program ? strrchr(program, '/') : NULL;
    const char *name = slash ? slash + 1 : program ? program : "?";
    size_t size = strnlen(name, sizeof(self.program) - 1);
    memcpy(self.program, name, size);
    self.program[size] = '\0';
}

void log_line(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    line_send(format, &arguments, option_number(OPT_VERBOSE) >= VERBOSE_WRONG);
    va_end(arguments);
}

void log_verbose(const char *format, ...)
{
    if (option_number(OPT_VERBOSE) < VERBOSE_ALL)
        return;
    va_list arguments;
    va_start(arguments, format);
    line_send(format, &arguments, true);
    va_end(arguments);
}

_Noreturn void log_abort(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    line_send(format, &arguments, true);
    va_end(arguments);
    abort();
}

const char *log_error_name(int error)
{
    switch (error < 0 ? -error : error) {
#define NAME(code)                                                                                 \
    case code: return #code
        NAME(EPERM);
        NAME(ENOENT);
        NAME(EINTR);
        NAME(EIO);
        NAME(ENXIO);
        NAME(EBADF);
        NAME(EAGAIN);
        NAME(ENOMEM);
        NAME(EACCES);
        NAME(EFAULT);
        NAME(EBUSY);
        NAME(EEXIST);
        NAME(ENODEV);
        NAME(ENOTDIR);
        NAME(EISDIR);
        NAME(EINVAL);
        NAME(ENFILE);
        NAME(EMFILE);
        NAME(ETXTBSY);
        NAME(EFBIG);
        NAME(ENOSPC);
        NAME(EROFS);
        NAME(ENAMETOOLONG);
        NAME(ENOSYS);
        NAME(ELOOP);
        NAME(EOVERFLOW);
        NAME(EOPNOTSUPP);
        NAME(ETIMEDOUT);
        NAME(EDQUOT);
#undef NAME
    default: return "error";
    }
}
