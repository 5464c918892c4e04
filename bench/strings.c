// strings COUNT: text work: builds a line word by word with realloc, splits it into separately
// allocated words, joins these reversed, frees all: very short-lived blocks of 4 to 600 bytes.
#include "bench.h"

enum { MOST_WORDS = 80 };

static char *append(char *line, size_t *length, const char *word, size_t size)
{
    line = checked(realloc(line, *length + size + 2));
    memcpy(line + *length, word, size);
    *length += size;
    line[(*length)++] = ' ';
    line[*length] = 0;
    return line;
}

int main(int argc, char **argv)
{
    uint64_t count = arg_number(argc, argv, 1, 100000);
    struct rng r = rng_seed(4);
    uint64_t sum = 0, ops = 0;
    for (uint64_t i = 0; i < count; i++) {
        char *line = NULL;
        size_t length = 0, words = rng_range(&r, 2, MOST_WORDS);
        for (size_t w = 0; w < words; w++) {
            static const char letters[] = "quickbrownfoxesjumpoverlazydogs";
            uint64_t dice = rng_next(&r);
            line = append(line, &length, letters + dice % 16, 1 + (dice >> 8) % 14);
        }
        char *split[MOST_WORDS];
        size_t found = 0;
        for (char *at = line; *at;) {
            size_t size = (size_t)(strchr(at, ' ') - at);
            split[found] = get(size + 1);
            memcpy(split[found], at, size);
            split[found++][size] = 0;
            at += size + 1;
        }
        char *joined = NULL;
        size_t joined_length = 0;
        for (size_t w = found; w--;) {
            joined = append(joined, &joined_length, split[w], strlen(split[w]));
            free(split[w]);
        }
        sum += joined_length * 31 + (unsigned char)joined[joined_length / 2];
        free(line);
        free(joined);
        ops += 3 * words;
    }
    return result(ops, sum);
}
