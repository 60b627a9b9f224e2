"""How the C library keeps the memory that a read or a large frame needs, from one to the next.

By default glibc asks the kernel for every block of 128 KiB and more and gives it back at once, and gives back the top
of the heap as soon as that much of it is free. Each read then pays for page faults on memory that was just released:
with bodies of 64 KiB that was half of what a message cost (docs/benchmarks.md).
"""

import ctypes
import logging

log = logging.getLogger("relay")

# From malloc.h.
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3

# Blocks up to the first size come from the heap: a read of 256 KiB, and an outbox of 1 MiB joined for sending. As much
# as the second stays with the process when it is free.
_FROM_HEAP_BYTES = 4 * 1024 * 1024
_KEPT_BYTES = 16 * 1024 * 1024


def keep_freed_memory() -> bool:
    """Have malloc keep blocks for the next read. False where the C library has no such setting: that only costs CPU."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        log.debug("this C library has no mallopt; large messages cost more CPU")
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, _FROM_HEAP_BYTES) and mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES))
