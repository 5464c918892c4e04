// bignum COUNT: arithmetic on numbers of 1 to 64 limbs where every result is a fresh block and its
// operands are freed soon after: an interpreter's or solver's temporaries.
#include "bench.h"

struct number {
    uint32_t limbs;
    uint32_t limb[];
};

static struct number *new_number(uint32_t limbs)
{
    struct number *n = get(sizeof *n + limbs * sizeof n->limb[0]);
    n->limbs = limbs;
    return n;
}

static struct number *add(const struct number *a, const struct number *b)
{
    uint32_t most = a->limbs > b->limbs ? a->limbs : b->limbs;
    struct number *n = new_number(most + 1);
    uint64_t carry = 0;
    for (uint32_t i = 0; i < most; i++) {
        carry += (i < a->limbs ? a->limb[i] : 0) + (uint64_t)(i < b->limbs ? b->limb[i] : 0);
        n->limb[i] = (uint32_t)carry;
        carry >>= 32;
    }
    n->limb[most] = (uint32_t)carry;
    n->limbs = carry ? most + 1 : most;
    return n;
}

static struct number *times(const struct number *a, uint32_t factor)
{
    struct number *n = new_number(a->limbs + 1);
    uint64_t carry = 0;
    for (uint32_t i = 0; i < a->limbs; i++) {
        carry += (uint64_t)a->limb[i] * factor;
        n->limb[i] = (uint32_t)carry;
        carry >>= 32;
    }
    n->limb[a->limbs] = (uint32_t)carry;
    n->limbs = carry ? a->limbs + 1 : a->limbs;
    return n;
}

static struct number *small(uint32_t value)
{
    struct number *n = new_number(1);
    n->limb[0] = value;
    return n;
}

int main(int argc, char **argv)
{
    uint64_t count = arg_number(argc, argv, 1, 1000000);
    struct rng r = rng_seed(7);
    uint64_t sum = 0;
    struct number *a = small(1), *b = small(1);
    for (uint64_t i = 0; i < count; i++) {
        struct number *scaled = times(a, (uint32_t)rng_next(&r) & 0xff);
        struct number *next = add(scaled, b);
        free(scaled);
        free(b);
        b = a;
        a = next;
        if (a->limbs > 64) {
            sum += a->limb[32];
            free(a);
            free(b);
            a = small((uint32_t)i);
            b = small(1);
        }
    }
    sum += a->limb[0];
    free(a);
    free(b);
    return result(2 * count, sum);
}
