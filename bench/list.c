// list COUNT: 64 doubly linked lists of small nodes; pushes at both ends, removals in the middle,
// whole lists freed at once: nodes of a few sizes, each followed by its neighbours' memory.
#include "bench.h"

enum { LISTS = 64, LONGEST = 2000 };

struct node {
    struct node *next, *previous;
    uint64_t value;
    char payload[];
};

static struct node heads[LISTS];
static uint64_t lengths[LISTS], sum;

static void link_after(struct node *place, struct node *n)
{
    n->next = place->next;
    n->previous = place;
    place->next->previous = n;
    place->next = n;
}

static void drop(unsigned list, struct node *n)
{
    n->previous->next = n->next;
    n->next->previous = n->previous;
    sum += n->value;
    lengths[list]--;
    free(n);
}

int main(int argc, char **argv)
{
    uint64_t count = arg_number(argc, argv, 1, 5000000);
    struct rng r = rng_seed(1);
    for (unsigned l = 0; l < LISTS; l++)
        heads[l] = (struct node){ .next = &heads[l], .previous = &heads[l] };
    for (uint64_t i = 0; i < count; i++) {
        uint64_t dice = rng_next(&r);
        unsigned l = dice % LISTS;
        struct node *head = &heads[l];
        unsigned action = (dice >> 8) % 8;
        if (lengths[l] >= LONGEST) {
            while (head->next != head)
                drop(l, head->next);
        } else if (action < 5 || lengths[l] < 4) {
            struct node *n = get(sizeof *n + 8 * ((dice >> 16) % 6));
            n->value = i;
            link_after(action & 1 ? head : head->previous, n);
            lengths[l]++;
        } else {
            struct node *n = head->next;
            for (unsigned step = (dice >> 24) % 4; step && n->next != head; step--)
                n = n->next;
            drop(l, n);
        }
    }
    for (unsigned l = 0; l < LISTS; l++)
        while (heads[l].next != &heads[l])
            drop(l, heads[l].next);
    return result(count, sum);
}
