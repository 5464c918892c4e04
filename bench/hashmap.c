// hashmap COUNT [KEYS]: a chained hash map from strings to values that grows by rehashing; inserts,
// replaces, looks up and erases: what caches, symbol tables and interpreters do.
#include "bench.h"

struct entry {
    struct entry *next;
    uint64_t hash;
    char *value;
    char key[];
};

static struct entry **buckets;
static size_t bucket_count, used;

static void grow(void)
{
    size_t wider = bucket_count ? 2 * bucket_count : 16;
    struct entry **fresh = checked(calloc(wider, sizeof(struct entry *)));
    for (size_t b = 0; b < bucket_count; b++)
        for (struct entry *e = buckets[b], *next; e; e = next) {
            next = e->next;
            e->next = fresh[e->hash & (wider - 1)];
            fresh[e->hash & (wider - 1)] = e;
        }
    free(buckets);
    buckets = fresh;
    bucket_count = wider;
}

static uint64_t hash_of(const char *key)
{
    uint64_t hash = 0xcbf29ce484222325u;
    for (; *key; key++)
        hash = (hash ^ (unsigned char)*key) * 0x100000001b3u;
    return hash ^ hash >> 29;
}

static struct entry **find(const char *key, uint64_t hash)
{
    struct entry **at = &buckets[hash & (bucket_count - 1)];
    while (*at && ((*at)->hash != hash || strcmp((*at)->key, key) != 0))
        at = &(*at)->next;
    return at;
}

static char *new_value(struct rng *r, uint64_t i)
{
    size_t size = 16 + rng_next(r) % 100;
    char *value = get(size);
    touch(value, 16, i);
    return value;
}

int main(int argc, char **argv)
{
    uint64_t count = arg_number(argc, argv, 1, 2000000);
    uint64_t keys = arg_number(argc, argv, 2, 50000);
    struct rng r = rng_seed(3);
    uint64_t sum = 0;
    for (uint64_t i = 0; i < count; i++) {
        char key[48];
        uint64_t k = rng_range(&r, 0, keys - 1);
        // Keys of different lengths; written by hand because printf would be most of the time.
        size_t length = 6 + k % 20;
        for (size_t at = 0; at < length; at++)
            key[at] = (char)('a' + (k >> (at % 5 * 4) & 15));
        key[length] = 0;
        if (used >= bucket_count)
            grow();
        uint64_t hash = hash_of(key);
        struct entry **at = find(key, hash), *e = *at;
        if (!e) {
            e = get(sizeof *e + length + 1);
            *e = (struct entry){ .hash = hash, .value = new_value(&r, i) };
            memcpy(e->key, key, length + 1);
            *at = e;
            used++;
        } else if (i % 3) {
            sum += first_word(e->value);
            free(e->value);
            e->value = new_value(&r, i);
        } else {
            sum += first_word(e->value);
            *at = e->next;
            free(e->value);
            free(e);
            used--;
        }
    }
    for (size_t b = 0; b < bucket_count; b++)
        for (struct entry *e = buckets[b], *next; e; e = next) {
            next = e->next;
            sum += first_word(e->value);
            free(e->value);
            free(e);
        }
    free(buckets);
    return result(count, sum);
}
