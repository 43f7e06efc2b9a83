"""Runs of other systems, scored by our measures and compared with our pipelines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

from rag.evaluation.asking import Ranking
from rag.evaluation.comparing import compared, row
from rag.evaluation.golden_sets import GoldenSet
from rag.evaluation.pipelines import PipelineSpec
from rag.evaluation.results import Evaluation
from rag.evaluation.runs import Rankings
from rag.types import Notice


def nothing_ranked(golden: GoldenSet, limit: int | None = None, seed: int = 0) -> Evaluation:
    """The questions that `evaluate` would ask, without any pipeline; loads no model."""
    questions = golden.sample(limit, seed)
    return Evaluation(golden.name, datetime.now(UTC), seed, questions, (), (), {})


def with_run(evaluation: Evaluation, name: str, rankings: Rankings) -> Evaluation:
    """The evaluation with one more row, the rankings of another system.

    A question that it did not rank scores 0, and a notice says how many there are.
    """
    questions = evaluation.questions
    lists: list[Sequence[str]] = [rankings.get(question.id, ()) for question in questions]
    made = [
        Ranking(question.id, tuple(units), (None,) * len(units), {})
        for question, units in zip(questions, lists, strict=True)
    ]
    rows, comparisons = compared(
        [*evaluation.rows, row(PipelineSpec(name, "foreign"), made, questions)],
        questions,
        evaluation.seed,
    )
    notices = evaluation.notices
    if missing := sum(not units for units in lists):
        notices += (
            Notice(
                f"{name} ranks nothing for {missing} of {len(questions)} questions; "
                "they count as 0."
            ),
        )
    return replace(evaluation, rows=tuple(rows), comparisons=tuple(comparisons), notices=notices)
