#include "tests/fuzz/fuzz_env.h"
#include "allocators/os.h"

#include <stdlib.h>

bool fuzz_may_abort;
sigjmp_buf fuzz_aborted;

void __wrap_os_random(void *buf, size_t len);
void __wrap_os_sleep_us(unsigned us);
uint64_t __wrap_os_now_ms(void);
uint64_t __real_os_now_ms(void);
os_signals __wrap_os_signals_block(void);

/* config/log.c is compiled to end the program here. */
void fuzz_abort(void)
{
    if (fuzz_may_abort)
        siglongjmp(fuzz_aborted, 1);
    abort();
}

/* The same address and key each time: an input means the same in every run. */
void __wrap_os_random(void *buf, size_t len)
{
    static const uint64_t words[2] = { 4711, UINT64_C(0x1f2e3d4c5b6a7988) };
    for (size_t i = 0; i < len; i++)
        ((uint8_t *)buf)[i] = ((const uint8_t *)words)[i % sizeof words];
}

/* Nobody sleeps: the clock is put forward instead. */
static uint64_t slept_us;

void __wrap_os_sleep_us(unsigned us)
{
    slept_us += us;
}

uint64_t __wrap_os_now_ms(void)
{
    return __real_os_now_ms() + slept_us / 1000;
}

/* A fault while signals are blocked would end us without a report. */
os_signals __wrap_os_signals_block(void)
{
    return 0;
}
