"""How far an evaluation is, and when it gives up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

# An endpoint that is down fails every question; after so many in a row nobody waits on.
FAILURES_IN_A_ROW = 3


@dataclass(frozen=True, slots=True)
class EvaluationProgress:
    """How far it is: `done` of `total` passages or files, questions, answers, or trials."""

    stage: Literal["indexing", "asking", "answering", "judging", "injecting"]
    done: int
    total: int

    def __str__(self) -> str:
        return f"{self.stage}: {self.done} of {self.total}"


Report = Callable[[EvaluationProgress], None]
Cancelled = Callable[[], bool]
