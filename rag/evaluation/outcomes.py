"""Two pipelines question by question: who wins."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from rag.evaluation.asking import Ranking
from rag.evaluation.golden_sets import GoldenQuestion
from rag.evaluation.results import Evaluation

Verdict = Literal["win", "loss", "tie"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """One question: what a measure gives for two pipelines, and where each has the first gold.

    Scores are 0..1. A rank is None where the ranking, or what is kept of it, holds no gold.
    `verdict` is how the second does against the first.
    """

    question: GoldenQuestion
    scores: tuple[float, float]
    ranks: tuple[int | None, int | None]

    @property
    def gain(self) -> float:
        """How much better the second is, -1..1."""
        return self.scores[1] - self.scores[0]

    @property
    def verdict(self) -> Verdict:
        """Whether the second wins."""
        if not self.gain:
            return "tie"
        return "win" if self.gain > 0 else "loss"


def outcomes(evaluation: Evaluation, first: str, second: str, measure: str) -> list[Outcome]:
    """Every question, the largest gains first and the largest losses last.

    Empty where one of the two pipelines did not run.
    """
    rows = [row for name in (first, second) if (row := evaluation.row(name)) and row.per_question]
    if len(rows) < 2:
        return []
    one, other = rows
    found = [
        Outcome(
            question,
            (one.per_question[measure][place], other.per_question[measure][place]),
            (
                first_gold(one.rankings[place], question),
                first_gold(other.rankings[place], question),
            ),
        )
        for place, question in enumerate(evaluation.questions)
    ]
    return sorted(found, key=lambda outcome: -outcome.gain)


def first_gold(ranking: Ranking, question: GoldenQuestion) -> int | None:
    """The place of the first unit that answers the question, the best place being 1."""
    places = (place for place, unit in enumerate(ranking.units, start=1) if unit in question.gold)
    return next(places, None)
