"""A call that may take only so long."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from contextvars import copy_context
from functools import partial
from threading import Lock, Thread
from typing import TypeVar

_R = TypeVar("_R")


class Deadline:
    """Calls something that can hang, and gives up waiting in time.

    The call runs in a thread of its own, in the caller's context.
    Python cannot end a thread, so a call that hangs goes on in the background. While `most` of
    them do, further calls are refused at once: a dead endpoint cannot pile up threads.
    """

    def __init__(self, most: int = 4) -> None:
        self._most = most
        self._hanging = 0
        self._lock = Lock()

    def call(self, function: Callable[[], _R], seconds: float) -> _R:
        """What the function returns or raises; TimeoutError after so many seconds."""
        with self._lock:
            if self._hanging >= self._most:
                raise TimeoutError
        outcome: Future[_R] = Future()
        # A daemon, so that a hanging call does not keep the process from ending.
        run = partial(copy_context().run, self._run, function, outcome)
        Thread(target=run, daemon=True).start()
        try:
            return outcome.result(seconds)
        except TimeoutError:
            if outcome.done():
                raise
            with self._lock:
                self._hanging += 1
            outcome.add_done_callback(self._over)
            raise

    @staticmethod
    def _run(function: Callable[[], _R], outcome: Future[_R]) -> None:
        try:
            outcome.set_result(function())
        except BaseException as error:
            outcome.set_exception(error)

    def _over(self, outcome: Future[_R]) -> None:
        with self._lock:
            self._hanging -= 1
