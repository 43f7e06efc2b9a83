"""A coroutine's pieces for a caller that is not a coroutine."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any

from rag.errors import BackendError

# How often a silent endpoint gives the caller a chance to stop.
BEAT_SECONDS = 0.25


def emitted(
    work: Callable[[Callable[[str], None]], Coroutine[Any, Any, BackendError | None]],
) -> Generator[str]:
    """What a coroutine emits while it runs in a thread of its own; raises what it returns.

    Only a coroutine can be given up at every point: in a name lookup, while it connects, while it
    waits. A thread of its own, because the caller's may already run an event loop.
    """
    arrivals: SimpleQueue[str | BackendError | None] = SimpleQueue()
    loop = asyncio.new_event_loop()
    task = loop.create_task(work(arrivals.put))

    def run() -> None:
        failure: BackendError | None = BackendError("The answer was interrupted.", "Ask again.")
        try:
            with suppress(asyncio.CancelledError):
                failure = loop.run_until_complete(task)
            loop.run_until_complete(loop.shutdown_asyncgens())
        finally:
            loop.close()
            arrivals.put(failure)

    Thread(target=run, name="answer", daemon=True).start()
    try:
        while True:
            try:
                arrival = arrivals.get(timeout=BEAT_SECONDS)
            except Empty:
                arrival = ""
            if isinstance(arrival, BackendError):
                raise arrival
            if arrival is None:
                return
            yield arrival
    finally:
        # The loop is closed where the answer has ended.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(task.cancel)
