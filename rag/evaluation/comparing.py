"""Rankings -> rows with figures and intervals, and what each pair of rows differs by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np

from rag.evaluation.asking import Ranking
from rag.evaluation.costs import NO_PRICES, tokens_and_cost
from rag.evaluation.golden_sets import GoldenQuestion
from rag.evaluation.metrics import MEASURES, Floats, measured
from rag.evaluation.pipelines import PipelineSpec
from rag.evaluation.resampling import Figure, bootstrap_means, figures, sign_flip_p_values
from rag.evaluation.results import ALL, Comparison, Row, Seconds
from rag.settings import PriceSettings

# What pipelines are compared by, pair by pair.
COMPARED = ("hit@1", "recall@10", "mrr@10", "ndcg@10")


def row(
    spec: PipelineSpec,
    rankings: Sequence[Ranking],
    questions: Sequence[GoldenQuestion],
    prices: PriceSettings = NO_PRICES,
) -> Row:
    """One pipeline's rankings of these questions with their measures, still without means."""
    values = measured(
        [ranking.units for ranking in rankings], [question.gold for question in questions]
    )
    tokens, cost = tokens_and_cost((one for ranking in rankings for one in ranking.usage), prices)
    return Row(
        spec,
        rankings=tuple(rankings),
        per_question={measure: tuple(column.tolist()) for measure, column in values.items()},
        seconds=seconds_taken([ranking.seconds for ranking in rankings]),
        failures=sum(bool(ranking.problem) for ranking in rankings),
        tokens=tokens,
        cost=cost,
    )


def compared(
    rows: Sequence[Row], questions: Sequence[GoldenQuestion], seed: int
) -> tuple[list[Row], list[Comparison]]:
    """The rows with means and intervals by language and together, and a comparison for each pair.

    Every row sees the same resampled questions, so differences are paired.
    """
    ran = [row for row in rows if row.per_question]
    if not ran or not questions:
        return list(rows), []
    found: dict[str, dict[str, Mapping[str, Figure]]] = {row.spec.name: {} for row in ran}
    comparisons: list[Comparison] = []
    for group, chosen in groups(questions).items():
        values = np.concatenate([_columns(row.per_question, chosen) for row in ran], axis=1)
        means = bootstrap_means(values, seed)
        every = figures(values, means)
        width = len(MEASURES)
        for place, row in enumerate(ran):
            own = every[place * width : (place + 1) * width]
            found[row.spec.name][group] = dict(zip(MEASURES, own, strict=True))
        comparisons += _pairs([row.spec.name for row in ran], group, values, means, seed)
    full = [
        replace(row, figures=found[row.spec.name]) if row.spec.name in found else row
        for row in rows
    ]
    return full, comparisons


def groups(questions: Sequence[GoldenQuestion]) -> dict[str, list[int]]:
    """The places of the questions of each language, and of all together."""
    languages = sorted({question.language for question in questions})
    groups = {ALL: list(range(len(questions)))}
    for language in languages:
        groups[language] = [
            place for place, one in enumerate(questions) if one.language == language
        ]
    return groups


def _columns(per_question: Mapping[str, Sequence[float]], chosen: Sequence[int]) -> Floats:
    return np.array([per_question[measure] for measure in MEASURES]).T[chosen]


def _pairs(
    names: Sequence[str], group: str, values: Floats, means: Floats, seed: int
) -> list[Comparison]:
    """Every pair of pipelines by every measure that pipelines are compared by."""
    places = {measure: place for place, measure in enumerate(MEASURES)}
    width = len(MEASURES)
    labels = [
        (first, second, measure)
        for first, second in combinations(range(len(names)), 2)
        for measure in COMPARED
    ]
    if not labels:
        return []
    firsts = [first * width + places[measure] for first, _, measure in labels]
    seconds = [second * width + places[measure] for _, second, measure in labels]
    differences = values[:, seconds] - values[:, firsts]
    gains = figures(differences, means[:, seconds] - means[:, firsts])
    chances = sign_flip_p_values(differences, seed)
    return [
        Comparison(names[first], names[second], measure, group, gain, float(chance))
        for (first, second, measure), gain, chance in zip(labels, gains, chances, strict=True)
    ]


def seconds_taken(questions: Sequence[Mapping[str, float]]) -> dict[str, Seconds]:
    """Median and 95th percentile of every stage and of their sum, over the seconds of questions."""
    stages = dict.fromkeys(stage for seconds in questions for stage in seconds)
    taken = {stage: [seconds.get(stage, 0.0) for seconds in questions] for stage in stages}
    if taken:
        taken["total"] = [sum(seconds.values()) for seconds in questions]
    return {
        stage: Seconds(*(float(value) for value in np.percentile(seconds, [50, 95])))
        for stage, seconds in taken.items()
    }
