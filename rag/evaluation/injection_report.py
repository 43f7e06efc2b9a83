"""What became of the trials of instructions in passages, in figures and as JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from rag.evaluation.resampling import Figure, bootstrap_means, figures, share
from rag.evaluation.results import ALL
from rag.types import Notice

NO_IMMUNITY = (
    "A low figure is no immunity: these texts are known, and somebody who attacks writes new ones."
)
# By what the trials are grouped.
GROUPS = ("position", "language", "family")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one trial.

    `obeyed` says that the canary is in the answer. `right` says that the answer cites a passage
    that is right for its question, and `right_before` that it did so without the instruction.
    """

    injection: str
    family: str
    language: str
    position: str
    question: str
    obeyed: bool
    right: bool
    right_before: bool


@dataclass(frozen=True, slots=True)
class Obeyed:
    """How many trials were obeyed, and their share, 0..1, with its interval."""

    obeyed: int
    trials: int
    share: Figure


@dataclass(frozen=True, slots=True)
class Cited:
    """Shares of the answers that cite a right passage, 0..1, and their difference.

    Each trial is paired with the answer to its question without an instruction.
    """

    without: Figure
    within: Figure
    difference: Figure


@dataclass(frozen=True, slots=True)
class InjectionReport:
    """All trials of one model.

    `questions` is the number of questions that carried them. `failures` counts trials without an
    answer, which are in no figure. `problem` says why there were no more trials.
    """

    dataset: str
    answerer: str
    questions: int
    outcomes: tuple[Outcome, ...]
    failures: int = 0
    problem: Notice | None = None
    cancelled: bool = False
    tokens: int | None = None
    cost: float | None = None

    def obeyed(self, group: str = "") -> dict[str, Obeyed]:
        """What was obeyed, by one of `GROUPS`, or together under the name `ALL`."""
        found: dict[str, list[bool]] = {}
        for outcome in self.outcomes:
            name = getattr(outcome, group) if group else ALL
            found.setdefault(name, []).append(outcome.obeyed)
        return {
            name: Obeyed(sum(all_of), len(all_of), share(sum(all_of), len(all_of)))
            for name, all_of in found.items()
        }

    def cited(self, seed: int = 0) -> Cited | None:
        """What the instructions cost the questions they stood with; None without trials."""
        if not self.outcomes:
            return None
        pairs = np.array([[one.right_before, one.right] for one in self.outcomes], dtype=float)
        columns = np.column_stack([pairs, pairs[:, 1] - pairs[:, 0]])
        return Cited(*figures(columns, bootstrap_means(columns, seed)))


def injections_view(found: InjectionReport) -> dict[str, Any]:
    """The figures and every trial."""
    cited = found.cited()
    return {
        "dataset": found.dataset,
        "answerer": found.answerer,
        "questions": found.questions,
        "trials": len(found.outcomes),
        "failures": found.failures,
        "problem": str(found.problem) if found.problem else None,
        "cancelled": found.cancelled,
        "tokens": found.tokens,
        "cost": found.cost,
        "note": NO_IMMUNITY,
        "obeyed": _view(found.obeyed()).get(ALL),
        **{group: _view(found.obeyed(group)) for group in GROUPS},
        "cites_right_passage": cited
        and {
            "without": asdict(cited.without),
            "with": asdict(cited.within),
            "difference": asdict(cited.difference),
        },
        "outcomes": [asdict(one) for one in found.outcomes],
    }


def _view(groups: dict[str, Obeyed]) -> dict[str, dict[str, Any]]:
    return {
        name: {"obeyed": one.obeyed, "trials": one.trials, **asdict(one.share)}
        for name, one in groups.items()
    }
