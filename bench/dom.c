// dom COUNT: builds COUNT documents (nodes with a growing vector of children, attributes, text),
// copies each, edits the copy and frees the one made earlier: parsers, browsers, editors.
#include "bench.h"

struct element {
    struct element **child;
    char *text;
    uint32_t children, room;
    uint64_t tag;
};

static struct rng r;
static uint64_t sum, ops;

static char *new_text(size_t size, uint64_t value)
{
    char *text = get(size);
    touch(text, size, value);
    return text;
}

static void add_child(struct element *e, struct element *child)
{
    if (e->children == e->room) {
        e->room = e->room ? 2 * e->room : 2;
        e->child = checked(realloc(e->child, e->room * sizeof(struct element *)));
    }
    e->child[e->children++] = child;
    ops++;
}

static struct element *new_element(uint64_t tag)
{
    struct element *e = get(sizeof *e);
    *e = (struct element){ .tag = tag, .text = new_text(8 + tag % 120, tag) };
    return e;
}

static struct element *build(unsigned depth)
{
    struct element *e = new_element(rng_next(&r));
    for (uint64_t n = depth ? rng_range(&r, 1, 9) : 0; n; n--)
        add_child(e, build(depth - 1));
    return e;
}

static struct element *copy(const struct element *from)
{
    struct element *e = new_element(from->tag);
    for (uint32_t c = 0; c < from->children; c++)
        add_child(e, copy(from->child[c]));
    return e;
}

static void tear_down(struct element *e)
{
    sum += first_word(e->text);
    for (uint32_t c = 0; c < e->children; c++)
        tear_down(e->child[c]);
    free(e->child);
    free(e->text);
    free(e);
}

static void edit(struct element *e)
{
    free(e->text);
    e->text = new_text(8 + rng_next(&r) % 500, e->tag);
    if (e->children > 4)
        tear_down(e->child[--e->children]);
    for (uint32_t c = 0; c < e->children; c += 2)
        edit(e->child[c]);
}

int main(int argc, char **argv)
{
    uint64_t count = arg_number(argc, argv, 1, 200);
    r = rng_seed(8);
    struct element *earlier = NULL;
    for (uint64_t i = 0; i < count; i++) {
        struct element *document = build(5), *edited = copy(document);
        edit(edited);
        tear_down(document);
        if (earlier)
            tear_down(earlier);
        earlier = edited;
    }
    tear_down(earlier);
    return result(ops, sum);
}
