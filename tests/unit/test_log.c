#include "config/log.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "config/options.h"
#include "tests/unit/capture.h"

/* options_init() calls log_init(). */
#define INIT(...) options_init((char *[]){ __VA_ARGS__, NULL }, "/usr/bin/prog", false)

static char slot[LOG_LINE_SIZE];
static int slot_count;

static void slot_write(const char *line)
{
    cr_assert_lt(snprintf(slot, sizeof(slot), "%s", line), (int)sizeof(slot));
    slot_count++;
}

static const char *expected(const char *text, const char *end)
{
    static char line[2 * LOG_LINE_SIZE];
    snprintf(line, sizeof(line), "hshm[%d prog]: %s%s", getpid(), text, end);
    return line;
}

static void setup(void)
{
    capture_start();
    INIT(NULL);
    log_slot_hook = slot_write;
}

TestSuite(log, .init = setup);

/* ---- what a line looks like ---- */

Test(log, line_names_process_and_program)
{
    log_line("all is %s", "well");
    cr_assert_str_eq(captured(), expected("all is well", "\n"));
    cr_assert_str_eq(slot, expected("all is well", ""));
}

Test(log, forked_child_names_itself)
{
    log_line("parent");
    pid_t child = fork();
    if (child == 0) {
        log_line("child");
        _exit(0);
    }
    char line[128];
    waitpid(child, NULL, 0);
    snprintf(line, sizeof(line), "hshm[%d prog]: parent\nhshm[%d prog]: child\n", getpid(), child);
    cr_assert_str_eq(captured(), line);
}

Test(log, conversions_are_those_of_printf)
{
    char line[LOG_LINE_SIZE];
#define FORMAT                                                                                     \
    "%s %c %d %d %u %x %ld %ld %lu %lx %zu %p 100%%", "text", 'c', INT_MIN, INT_MAX, UINT_MAX,     \
        0xabcdefu, LONG_MIN, 0L, ULONG_MAX, 0xfedcba9876543210UL, SIZE_MAX, (void *)slot
    snprintf(line, sizeof(line), FORMAT);
    log_line(FORMAT);
    cr_assert_str_eq(slot, expected(line, ""));
}

Test(log, bytes_are_shown_in_units_for_people)
{
    static const struct {
        size_t bytes;
        const char *text;
    } sizes[] = {
        { 0, "0 B" },
        { 1023, "1023 B" },
        { 1024, "1 KiB" },
        { 1025, "1.0 KiB" },
        { 1536, "1.5 KiB" },
        { (1 << 20) - 1, "1023.9 KiB" },
        { 64 << 20, "64 MiB" },
        { (size_t)5 << 30, "5 GiB" },
        { (size_t)1 << 40, "1 TiB" },
        { (size_t)3 << 59, "1.5 EiB" },
        { SIZE_MAX, "15.9 EiB" },
    };
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        log_line("%zuB", sizes[i].bytes);
        cr_assert_str_eq(slot, expected(sizes[i].text, ""));
    }
}

Test(log, unprintable_bytes_never_break_a_line)
{
    log_line("%s%c", "a\nb\x1b\x9b\x7f\t", '\r');
    cr_assert_str_eq(captured(), expected("a?b?????", "\n"));
}

Test(log, null_is_shown_as_such)
{
    const char *volatile nothing = NULL;
    log_line("%s", nothing);
    cr_assert_str_eq(slot, expected("(null)", ""));
}

Test(log, conversion_it_does_not_know_ends_the_line_as_it_stands)
{
    /* Through a pointer, as the compiler would not have it. */
    void (*volatile line)(const char *, ...) = log_line;
    line("%s %f %s", "x", 1.0, "y");
    cr_assert_str_eq(slot, expected("x %f %s", ""));
    line("ends in %");
    cr_assert_str_eq(slot, expected("ends in %", ""));
}

Test(log, line_that_is_too_long_is_cut_and_says_so)
{
    char text[LOG_LINE_SIZE + 1], line[2 * LOG_LINE_SIZE];
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    log_line("%s", text);
    snprintf(line, sizeof(line), "%.*s...", LOG_LINE_SIZE - 4, expected(text, ""));
    cr_assert_str_eq(slot, line);
    cr_assert_eq(strlen(captured()), LOG_LINE_SIZE);
    cr_assert_eq(strncmp(captured(), line, strlen(line)), 0);
    cr_assert_eq(captured_lines(), 1);
}

Test(log, line_that_just_fits_is_not_cut)
{
    char text[LOG_LINE_SIZE];
    memset(text, 'x', sizeof(text));
    text[LOG_LINE_SIZE - 1 - strlen(expected("", ""))] = '\0';
    log_line("%s", text);
    cr_assert_eq(strlen(captured()), LOG_LINE_SIZE);
    cr_assert_str_eq(captured(), expected(text, "\n"));
}

Test(log, program_name_is_its_file_name_cut_and_masked)
{
    char line[128];
    log_init("/bin/a\nname-that-is-longer-than-thirty-one-letters");
    log_line("x");
    snprintf(line, sizeof(line), "hshm[%d a?name-that-is-longer-than-thir]: x", getpid());
    cr_assert_str_eq(slot, line);
}

Test(log, line_is_one_write)
{
    int ends[2];
    char text[LOG_LINE_SIZE];
    cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends), 0);
    dup2(ends[1], STDERR_FILENO);
    log_init("prog");
    log_line("one %d", 1);
    log_line("two %d", 2);
    ssize_t size = recv(ends[0], text, sizeof(text) - 1, MSG_DONTWAIT);
    cr_assert_gt(size, 0);
    text[size] = '\0';
    cr_assert_str_eq(text, expected("one 1", "\n"));
}

/* ---- when it is shown ---- */

Test(log, verbosity_decides_what_is_shown)
{
    INIT("HSHM_VERBOSE=0");
    log_line("wrong");
    log_verbose("done");
    cr_assert_str_eq(captured(), "");
    INIT("HSHM_VERBOSE=1");
    log_verbose("done");
    cr_assert_str_eq(captured(), "");
    INIT("HSHM_VERBOSE=2");
    log_verbose("done");
    cr_assert_str_eq(captured(), expected("done", "\n"));
}

Test(log, slot_keeps_what_went_wrong_even_if_it_is_not_shown)
{
    INIT("HSHM_VERBOSE=0");
    log_verbose("done");
    cr_assert_eq(slot_count, 0);
    log_line("wrong");
    cr_assert_str_eq(slot, expected("wrong", ""));
}

Test(log, abort_is_shown_even_if_silenced_and_ends_with_sigabrt)
{
    INIT("HSHM_VERBOSE=0");
    pid_t child = fork();
    if (child == 0) {
        struct rlimit no_core = { 0, 0 };
        setrlimit(RLIMIT_CORE, &no_core);
        signal(SIGABRT, SIG_DFL);
        log_abort("double free of %p", (void *)16);
    }
    int status;
    char line[64];
    waitpid(child, &status, 0);
    cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    snprintf(line, sizeof(line), "hshm[%d prog]: double free of 0x10\n", child);
    cr_assert_str_eq(captured(), line);
}

static void *say_once(void *unused)
{
    for (int i = 0; i < 100; i++)
        log_once("once");
    return unused;
}

Test(log, once_is_once_for_all_threads)
{
    pthread_t threads[8];
    log_slot_hook = NULL;
    for (int i = 0; i < 8; i++)
        pthread_create(&threads[i], NULL, say_once, NULL);
    for (int i = 0; i < 8; i++)
        pthread_join(threads[i], NULL);
    cr_assert_eq(captured_lines(), 1);
}

Test(log, once_is_once_for_each_place)
{
    log_once("here");
    log_once("and here");
    cr_assert_eq(captured_lines(), 2);
}

/* ---- where it goes ---- */

static off_t size_of(int fd)
{
    struct stat st;
    cr_assert_eq(fstat(fd, &st), 0);
    return st.st_size;
}

static void become_fd_2(int database)
{
    cr_assert_geq(database, 0);
    dup2(database, STDERR_FILENO);
    log_line("into the database");
    cr_assert_eq(size_of(database), 0);
    cr_assert_str_eq(slot, expected("into the database", ""));
}

Test(log, file_that_has_become_fd_2_is_never_written)
{
    char path[] = "/tmp/test_log_XXXXXX";
    int elsewhere = mkstemp(path);
    unlink(path);
    become_fd_2(elsewhere);
    become_fd_2(memfd_create("on the device of the captured one", 0));
}

Test(log, closed_fd_2_is_left_alone)
{
    close(STDERR_FILENO);
    log_line("x");
    cr_assert_eq(slot_count, 1);
    log_init("prog");
    cr_assert_eq(open("/dev/null", O_WRONLY), STDERR_FILENO);
    log_line("y");
    cr_assert_eq(slot_count, 2);
}

Test(log, fd_2_that_came_back_is_written_again)
{
    int saved = dup(STDERR_FILENO);
    close(STDERR_FILENO);
    log_line("lost");
    dup2(saved, STDERR_FILENO);
    log_line("found");
    cr_assert_str_eq(captured(), expected("found", "\n"));
}

static char log_path[] = "/tmp/test_log_XXXXXX";
static char log_variable[64];

/* Opens a new file that HSHM_LOG will name. */
static int log_file(void)
{
    int fd = mkstemp(log_path);
    cr_assert_geq(fd, 0);
    snprintf(log_variable, sizeof(log_variable), "HSHM_LOG=%s", log_path);
    return fd;
}

Test(log, log_file_gets_each_line_appended_and_fd_2_nothing)
{
    int fd = log_file(), next = dup(fd);
    char text[256] = "";
    INIT(log_variable);
    close(next);
    log_line("x");
    log_line("x");
    cr_assert_eq(dup(fd), next, "the file is closed again");
    cr_assert_gt(pread(fd, text, sizeof(text) - 1, 0), 0);
    unlink(log_path);
    cr_assert_eq(strncmp(text, expected("x", "\n"), strlen(expected("x", "\n"))), 0);
    cr_assert_str_eq(text + strlen(text) / 2, expected("x", "\n"));
    cr_assert_str_eq(captured(), "");
}

Test(log, log_file_is_made_for_its_owner_alone)
{
    struct stat st;
    close(log_file());
    unlink(log_path);
    umask(0);
    INIT(log_variable);
    log_line("x");
    cr_assert_eq(stat(log_path, &st), 0);
    unlink(log_path);
    cr_assert_eq(st.st_mode & 0777, 0600);
}

Test(log, fd_2_stands_in_for_a_log_file_that_cannot_be_opened)
{
    INIT("HSHM_LOG=/nowhere/log");
    log_line("x");
    cr_assert_str_eq(captured(), expected("x", "\n"));
}

Test(log, fifo_without_a_reader_stops_nobody, .timeout = 10)
{
    close(log_file());
    unlink(log_path);
    cr_assert_eq(mkfifo(log_path, 0600), 0);
    INIT(log_variable);
    log_line("x");
    unlink(log_path);
    cr_assert_str_eq(captured(), expected("x", "\n"));
}

/* ---- what it leaves as it was ---- */

Test(log, errno_is_kept)
{
    INIT("HSHM_LOG=/nowhere/log");
    close(STDERR_FILENO);
    errno = EXDEV;
    log_line("x");
    cr_assert_eq(errno, EXDEV);
}

static void broken_pipe_as_fd_2(void)
{
    int ends[2];
    cr_assert_eq(pipe(ends), 0);
    dup2(ends[1], STDERR_FILENO);
    close(ends[1]);
    close(ends[0]);
    log_init("prog");
}

Test(log, closed_pipe_does_not_kill)
{
    sigset_t none, mask;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
    broken_pipe_as_fd_2();
    log_line("x");
    sigprocmask(SIG_BLOCK, NULL, &mask);
    cr_assert_not(sigismember(&mask, SIGPIPE), "the mask is as it was");
}

Test(log, signal_that_was_pending_before_stays_pending)
{
    sigset_t pipe_only, pending;
    sigemptyset(&pipe_only);
    sigaddset(&pipe_only, SIGPIPE);
    sigprocmask(SIG_BLOCK, &pipe_only, NULL);
    broken_pipe_as_fd_2();
    log_line("x");
    sigpending(&pending);
    cr_assert_not(sigismember(&pending, SIGPIPE));
    raise(SIGPIPE);
    log_line("x");
    sigpending(&pending);
    cr_assert(sigismember(&pending, SIGPIPE));
}

Test(log, file_size_limit_does_not_kill)
{
    int fd = log_file();
    struct rlimit nothing = { 0, RLIM_INFINITY };
    INIT(log_variable);
    signal(SIGXFSZ, SIG_DFL);
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &nothing), 0);
    log_line("x");
    unlink(log_path);
    cr_assert_eq(size_of(fd), 0);
}

/* In the background of a terminal with `stty tostop`; the exit status says how far it came. */
static _Noreturn void write_in_background(int terminal)
{
    struct termios settings;
    setsid();
    ioctl(terminal, TIOCSCTTY, 0);
    tcgetattr(terminal, &settings);
    settings.c_lflag |= TOSTOP;
    tcsetattr(terminal, TCSANOW, &settings);
    dup2(terminal, STDERR_FILENO);
    log_init("prog");
    pid_t child = fork();
    if (child == 0) {
        setpgid(0, 0);
        signal(SIGTTOU, SIG_DFL);
        log_line("x");
        _exit(7);
    }
    int status = 0;
    waitpid(child, &status, WUNTRACED);
    if (WIFSTOPPED(status))
        kill(child, SIGKILL);
    _exit(WIFEXITED(status) ? WEXITSTATUS(status) : 1);
}

Test(log, terminal_does_not_stop_a_program_in_the_background, .timeout = 10)
{
    int master = posix_openpt(O_RDWR | O_NOCTTY), status;
    cr_assert(master >= 0 && grantpt(master) == 0 && unlockpt(master) == 0);
    int terminal = open(ptsname(master), O_RDWR | O_NOCTTY);
    cr_assert_geq(terminal, 0);
    pid_t leader = fork();
    if (leader == 0)
        write_in_background(terminal);
    waitpid(leader, &status, 0);
    cr_assert(WIFEXITED(status));
    cr_assert_eq(WEXITSTATUS(status), 7);
}

Test(log, error_has_its_name_with_either_sign)
{
    cr_assert_str_eq(log_error_name(ENOSPC), "ENOSPC");
    cr_assert_str_eq(log_error_name(-EACCES), "EACCES");
    cr_assert_str_eq(log_error_name(123456), "error");
}
