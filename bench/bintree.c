// bintree COUNT [DEPTH]: builds and frees complete binary trees, one long-lived and COUNT short-lived
// ones: many equal blocks at once, freed in another order than they were made.
#include "bench.h"

struct node {
    struct node *left, *right;
    uint64_t value;
};

static struct node *build(unsigned depth, uint64_t value)
{
    struct node *n = get(sizeof *n);
    n->value = value;
    n->left = depth ? build(depth - 1, 2 * value) : NULL;
    n->right = depth ? build(depth - 1, 2 * value + 1) : NULL;
    return n;
}

static uint64_t tear_down(struct node *n)
{
    if (!n)
        return 0;
    uint64_t sum = n->value + tear_down(n->right) + tear_down(n->left);
    free(n);
    return sum;
}

int main(int argc, char **argv)
{
    uint64_t count = arg_number(argc, argv, 1, 100);
    unsigned depth = (unsigned)arg_number(argc, argv, 2, 14);
    struct node *lasting = build(depth + 3, 1);
    uint64_t sum = 0;
    for (uint64_t i = 0; i < count; i++) {
        struct node *a = build(depth - 2, i), *b = build(depth, i);
        sum += tear_down(a) + tear_down(b);
    }
    sum += tear_down(lasting);
    return result(count << (depth + 1), sum);
}
