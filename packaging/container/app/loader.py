"""Loads what the workers need, once, and stays for as long as they do."""
import signal

import hshm

numbers = hshm.default().create("numbers", 8 << 20)
for i in range(0, len(numbers), 4096):
    numbers[i] = 1
hshm.default().create("loaded", 1)          # from now on workers find both
print("loaded", flush=True)
signal.signal(signal.SIGTERM, lambda *_: exit(0))
signal.pause()
