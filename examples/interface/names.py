"""Named blocks as numpy arrays, without a copy.

prints: the child doubled it: [0. 2. 4. 6.]
"""
import os

import hshm
import numpy

segment = hshm.Segment(f"example-python-{os.getpid()}", size=64 << 20)
array = segment.array("numbers", (4,), "f8")
array[:] = numpy.arange(4)
if os.fork() == 0:
    segment.array("numbers", (4,), "f8")[:] *= 2
    os._exit(0)
os.wait()
print("the child doubled it:", array)
