"""What work in the background owes to questions: the processor first, and the memory after."""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from contextlib import suppress

# A third of the weight of a question where both want the processor; with a tenth it would starve
# on a machine that is busy with other things.
NICENESS = 5


def lower_priority() -> None:
    """Let every other thread go first, for good, where the system can (Linux).

    Threads that this one starts later, those of torch included, take its priority.
    """
    if sys.platform == "linux":
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)


def return_memory() -> None:
    """Give freed memory back to the system, where the C library keeps it (glibc).

    Encoding frees some hundred megabytes in pieces that glibc would hold for the next time.
    """
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)
