"""Whose turn it is where many ask at once."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Condition
from time import monotonic

# Told, again and again while a question waits, how many come before it; what it raises gives the
# question up.
Waiting = Callable[[int], None]
BEAT_SECONDS = 0.25


def unseen(before: int) -> None:
    """Waits without a sign."""


@dataclass(eq=False, slots=True)
class Place:
    """Somebody's place in the line; `waited` is in seconds."""

    waited: float = 0.0


class WaitingLine:
    """Lets `abreast` through at a time, in the order in which they came.

    Encoding, recall and reranking use several cores by themselves: more of them at once are no
    faster together, every single one takes longer, and rerankers run out of time.
    """

    def __init__(self, abreast: int = max(2, (os.cpu_count() or 2) // 2)) -> None:
        self._abreast = abreast
        # The first `abreast` of them have their turn.
        self._line: list[Place] = []
        self._moved = Condition()

    @contextmanager
    def turn(self, waiting: Waiting = unseen) -> Iterator[Place]:
        """Waits for one's turn, which lasts as long as the block, or until one leaves."""
        own, came = Place(), monotonic()
        with self._moved:
            self._line.append(own)
        try:
            while before := self._before(own):
                own.waited = monotonic() - came
                waiting(before)
            yield own
        finally:
            self.leave(own)

    def awaited(self) -> bool:
        """Whether somebody waits for a turn."""
        with self._moved:
            return len(self._line) > self._abreast

    def leave(self, own: Place) -> None:
        """Give up a place, or what is left of a turn."""
        with self._moved:
            if own in self._line:
                self._line.remove(own)
                self._moved.notify_all()

    def _before(self, own: Place) -> int:
        """How many must leave before it is this one's turn; waits a moment for it to be none."""
        with self._moved:
            self._moved.wait_for(lambda: not self._must_leave(own), BEAT_SECONDS)
            return self._must_leave(own)

    def _must_leave(self, own: Place) -> int:
        return max(self._line.index(own) - self._abreast + 1, 0)
