"""What work in the background owes to questions: the processor first, and the memory after."""

from __future__ import annotations

import ctypes
import gc
import os
import sys
import threading
from contextlib import suppress
from time import monotonic, sleep

# A tenth of the weight of a question where both want the processor. Beside two busy threads a
# question took 1.6 times as long with a niceness of 5, 1.2 with 10 and 1.1 with 19; beside hostile
# files 15 was no better than 10.
NICENESS = 10


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


class Rest:
    """Gives memory back once nothing was done for some seconds.

    Many people at once leave much: what Python finds only by looking at all there is, as the
    sessions that they closed, and pieces that the C library holds.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._lock = threading.Lock()
        self._begins = 0.0
        self._awaited = False

    def after_work(self) -> None:
        """Something was done; returns at once."""
        with self._lock:
            self._begins = monotonic() + self._seconds
            if self._awaited:
                return
            self._awaited = True
        threading.Thread(target=self._wait, daemon=True).start()

    def _wait(self) -> None:
        while seconds := self._left():
            sleep(seconds)
        gc.collect()
        return_memory()

    def _left(self) -> float:
        with self._lock:
            left = max(self._begins - monotonic(), 0.0)
            self._awaited = left > 0
            return left
