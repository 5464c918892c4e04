#include "allocators/settings.h"
#include "config/options.h"

static uint64_t size_limit(uint64_t whole)
{
    uint64_t most = os_ram_bytes() / 2; /* the default is half of either */
    uint64_t limit = (uint64_t)option_bytes(OPT_SIZE, (int64_t)whole);
    if (!option_is_set(OPT_SIZE) && limit > most)
        limit = most;
    return limit < OS_PAGE * 256 ? OS_PAGE * 256 : limit;
}

static uint64_t member_limit(uint64_t whole)
{
    return (uint64_t)option_bytes(OPT_MEMBER_SIZE, (int64_t)whole);
}

static uint64_t hold_limit(uint64_t whole)
{
    return (uint64_t)option_bytes(OPT_FORK_HOLD, (int64_t)whole);
}

static uint64_t warm_limit(uint64_t whole)
{
    return (uint64_t)option_bytes(OPT_WARM, (int64_t)whole);
}

void settings_fill(struct heap_config *config, const char *program)
{
    *config = (struct heap_config){
        .name = option_text(OPT_SEGMENT),
        .program = program,
        .limit = size_limit,
        .member_limit = member_limit,
        .warm = warm_limit,
        .fork_hold = hold_limit,
        .mode = (unsigned)option_number(OPT_MODE),
        .persist = option_number(OPT_PERSIST),
        .reclaim = option_number(OPT_EXIT) == EXIT_RECLAIM,
        .reserve = option_number(OPT_COMMIT) == COMMIT_RESERVE,
        .zero = option_number(OPT_ZERO),
        .check = option_number(OPT_CHECK) == CHECK_FULL,
        .purge_delay_ms = option_number(OPT_PURGE_DELAY),
    };
}
