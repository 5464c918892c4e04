// treap COUNT [KEYS]: a search tree under random insertions and deletions; nodes carry a key string
// of 8 to 40 bytes in a block of its own, so two blocks of different size per element.
#include "bench.h"

struct node {
    struct node *child[2];
    uint64_t key, priority;
    char *name;
};

static uint64_t sum;

static struct node *rotate(struct node *n, int side)
{
    struct node *up = n->child[side];
    n->child[side] = up->child[!side];
    up->child[!side] = n;
    return up;
}

static struct node *insert(struct node *n, uint64_t key, uint64_t dice)
{
    if (!n) {
        n = get(sizeof *n);
        size_t size = 8 + dice % 33;
        *n = (struct node){ .key = key, .priority = dice, .name = get(size) };
        memset(n->name, (int)(key & 0x7f), size);
        return n;
    }
    if (n->key == key)
        return n;
    int side = key > n->key;
    n->child[side] = insert(n->child[side], key, dice);
    return n->child[side]->priority > n->priority ? rotate(n, side) : n;
}

static struct node *erase(struct node *n, uint64_t key)
{
    if (!n)
        return NULL;
    if (n->key != key) {
        int side = key > n->key;
        n->child[side] = erase(n->child[side], key);
        return n;
    }
    if (!n->child[0] || !n->child[1]) {
        struct node *rest = n->child[!n->child[0]];
        sum += n->key + (uint64_t)n->name[7];
        free(n->name);
        free(n);
        return rest;
    }
    int side = n->child[1]->priority > n->child[0]->priority;
    n = rotate(n, side);
    n->child[!side] = erase(n->child[!side], key);
    return n;
}

int main(int argc, char **argv)
{
    uint64_t count = arg_number(argc, argv, 1, 1000000);
    uint64_t keys = arg_number(argc, argv, 2, 40000);
    struct rng r = rng_seed(2);
    struct node *root = NULL;
    for (uint64_t i = 0; i < count; i++) {
        uint64_t key = rng_range(&r, 1, keys);
        root = i & 1 ? erase(root, key) : insert(root, key, rng_next(&r));
    }
    while (root)
        root = erase(root, root->key);
    return result(count, sum);
}
