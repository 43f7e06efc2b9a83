"""How deep a reranker can read in a given time on this machine."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from statistics import median
from threading import Lock

# What is read before anything is known; enough for a prompt, and little enough to be quick.
FIRST_DEPTH = 10
_REMEMBERED = 9


@dataclass(frozen=True, slots=True)
class Depth:
    """How many passages to read; `reason` says why not as many as the settings allow."""

    passages: int
    reason: str = ""


class Pace:
    """What a reranker costs a passage, learnt as it runs. Any number of threads may use it.

    The median of the last runs counts, so a first run that loads something and a busy moment do
    not.
    """

    def __init__(self) -> None:
        self._costs: deque[float] = deque(maxlen=_REMEMBERED)
        self._lock = Lock()

    def learn(self, passages: int, seconds: float) -> None:
        """A run over so many passages took so long."""
        if passages > 0:
            with self._lock:
                self._costs.append(seconds / passages)

    def depth(self, most: int, budget_ms: int) -> Depth:
        """How many of at most `most` passages fit into the budget, at least one; 0 is no budget."""
        if not budget_ms or not most:
            return Depth(most)
        with self._lock:
            cost = median(self._costs) * 1000 if self._costs else None
        if cost is None:
            if most <= FIRST_DEPTH:
                return Depth(most)
            return Depth(FIRST_DEPTH, f"the first {FIRST_DEPTH} passages, to learn what one costs")
        fits = most if cost * most <= budget_ms else max(1, int(budget_ms / cost))
        if fits >= most:
            return Depth(most)
        return Depth(
            fits, f"{fits} of {most} passages, as {budget_ms} ms allow at {cost:.1f} ms a passage"
        )
