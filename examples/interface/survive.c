/* A mutex tells that its owner died, and what it protects can be looked at.
 *
 * prints: its owner died at 7; mended to 10 */
#include <hshm.h>

#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

struct account {
    hshm_mutex_t mutex;
    int balance;
};

int main(void)
{
    hshm_attr_t attr = HSHM_ATTR_INIT;
    hshm_segment *segment;
    char name[64];
    attr.size = 64 << 20;
    attr.flags = HSHM_CREATE;
    snprintf(name, sizeof name, "example-survive-%d", (int)getpid());
    if (hshm_open(name, &attr, &segment) != HSHM_OK)
        return 1;
    struct account *account = hshm_named(segment, "account", sizeof *account, 0, 0, 0, NULL);
    hshm_mutex_init(&account->mutex);
    account->balance = 10;
    if (fork() == 0) {
        hshm_mutex_lock(&account->mutex, -1);
        account->balance -= 3;
        raise(SIGKILL); /* and so never puts it elsewhere */
    }
    wait(NULL);
    if (hshm_mutex_lock(&account->mutex, -1) == HSHM_EOWNERDEAD) {
        printf("its owner died at %d; ", account->balance);
        account->balance = 10;
    }
    printf("mended to %d\n", account->balance);
    hshm_mutex_unlock(&account->mutex);
    return hshm_close(segment) != HSHM_OK;
}
