/* fake.h - what the test doubles of GPU drivers offer beyond the real interface.
 *
 * A double's device memory is a file without a name in FAKE_CARD (a folder, best a tmpfs of its
 * own: what is free there is the card's free memory, and the kernel gives it back when the last
 * process that has it is gone), else a memfd.  The addresses that programs get are reserved and
 * cannot be touched; copies, memsets and kernels go through the file.
 *
 *   FAKE_CARD=/folder   FAKE_MEMORY=bytes   FAKE_DEVICES=n
 *   FAKE_FAIL=cuMemMap:3        the third call of cuMemMap fails (several: a comma between)
 *   FAKE_NO_VMM=1               no virtual memory management
 *   FAKE_NO_HINT=1              cuMemAddressReserve() never gives the address asked for
 *   FAKE_NO_EXPORT_BY_IMPORTER=1
 *   FAKE_LOG=/file              cuGetProcAddress() writes what it is asked for there
 *   FAKE_ANY=1                  and knows every name
 *   FAKE_VERSION=13000          what cuDriverGetVersion() says
 */
#pragma once
#include <stddef.h>

/* How often the driver's own function was called in this process. */
unsigned long fakeCalls(const char *name);
/* A kernel: fn(arg) runs 'delay_us' after what is before it in the stream (NULL: the default one). */
int fakeLaunch(void *stream, unsigned delay_us, void (*fn)(void *), void *arg);
/* For kernels: device memory by its address; 0 or an error. */
int fakeRead(void *to, unsigned long long from, size_t n);
int fakeWrite(unsigned long long to, const void *from, size_t n);
