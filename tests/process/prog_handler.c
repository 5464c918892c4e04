/* A program that is interrupted anywhere, and forks there.
 *
 * test_handler.c steps through its turns and sends SIGUSR1 between two
 * instructions.  The child goes on where the parent was, but only after the
 * parent has gone on and allocated anew: what they still shared would show. */
#include "tests/process/expect.h"

#include <signal.h>
#include <sys/wait.h>

#define BLOCKS   44
#define CHILDREN 64

static int gate[2]; /* the children wait for its end */
static pid_t children[CHILDREN];
static unsigned waiting;
static int is_child;

static void on_signal(int signal)
{
    int saved = errno;
    (void)signal;
    expect(waiting < CHILDREN);
    pid_t pid = fork();
    expect(pid >= 0);
    if (pid == 0) {
        char byte;
        is_child = 1;
        close(gate[1]);
        expect(read(gate[0], &byte, 1) == 0);
    } else {
        children[waiting++] = pid;
        raise(SIGSTOP); /* for who steps: the handler is over */
    }
    errno = saved;
}

/* ---- what it does ------------------------------------------------------------------------------- */

struct owned {
    unsigned char *at;
    size_t size;
    unsigned char mark;
};
static struct owned owned[BLOCKS];

/* Its ends, where links of free lists are, and its middle: a step for each byte would
 * take too long. */
static void paint(struct owned *b, unsigned char mark)
{
    b->mark = mark;
    b->at[0] = b->at[8] = b->at[b->size / 2] = b->at[b->size - 1] = mark;
}

static void verify(const struct owned *b)
{
    expect(b->at[0] == b->mark && b->at[8] == b->mark && b->at[b->size / 2] == b->mark &&
           b->at[b->size - 1] == b->mark);
}

static void drop(struct owned *b)
{
    verify(b);
    free(b->at);
    b->at = NULL;
}

static void make(struct owned *b, size_t size, unsigned char mark)
{
    b->size = size;
    expect((b->at = malloc(size)));
    paint(b, mark);
}

/* Sizes of two classes and more: pages are made, extended, filled, emptied and swept. */
static size_t size_of(unsigned i)
{
    return i == 10 ? 40000 : i == 20 ? 70000 : i % 2 ? 3000 : 200 + (size_t)i % 3 * 100;
}

static void cleared(size_t size, unsigned char mark)
{
    unsigned char *at = calloc(1, size);
    expect(at);
    for (size_t i = 0; i < size; i += 4096)
        expect(at[i] == 0);
    expect(at[size - 1] == 0);
    for (size_t i = 0; i < size; i += 4096)
        at[i] = mark;
    free(at);
}

static void fill(unsigned char mark)
{
    for (unsigned i = 0; i < BLOCKS; i++)
        make(&owned[i], size_of(i), (unsigned char)(mark + i));
}

static void turn(unsigned char mark)
{
    fill(mark);
    for (unsigned i = 0; i < BLOCKS; i += 3) {
        struct owned *b = &owned[i];
        verify(b);
        expect((b->at = realloc(b->at, b->size * 2)));
        expect(b->at[0] == b->mark && b->at[8] == b->mark);
        b->size *= 2;
        paint(b, b->mark);
    }
    cleared(300000, mark);
    cleared(90, mark);
    for (unsigned i = 0; i < BLOCKS; i++)
        drop(&owned[i * 7 % BLOCKS]);
    make(&owned[0], 5000000, mark);
    drop(&owned[0]);
}

/* ---- parent and children -------------------------------------------------------------------------- */

static void child_ends(void)
{
    for (int i = 0; i < 2; i++)
        turn(77);
    _exit(7);
}

static void children_go_on(void)
{
    close(gate[1]);
    close(gate[0]);
    for (; waiting; waiting--) {
        int status;
        expect(waitpid(children[waiting - 1], &status, 0) == children[waiting - 1]);
        if (status != 7 << 8)
            dprintf(2, "a child ended with %#x\n", status), _exit(2);
    }
    expect(pipe(gate) == 0);
}

static void forks_where_it_is_interrupted(void)
{
    int turns = atoi(getenv("TURNS"));
    struct sigaction action = { .sa_handler = on_signal };
    expect(sigaction(SIGUSR1, &action, NULL) == 0 && pipe(gate) == 0);
    for (int i = 0; i < turns; i++) {
        raise(SIGSTOP); /* from here it is stepped through */
        turn((unsigned char)i);
        if (is_child)
            child_ends();
        raise(SIGTSTP);                 /* to here */
        fill((unsigned char)(i + 100)); /* what was free for them is not free any more */
        children_go_on();
        for (unsigned k = 0; k < BLOCKS; k++)
            drop(&owned[k]);
    }
}

static const struct check checks[] = { CHECK(forks_where_it_is_interrupted) };

int main(int argc, char **argv)
{
    return RUN_CHECKS(checks, argc, argv);
}
