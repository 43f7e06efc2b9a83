"""What a ranking is worth for a question, by ir-measures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# Our names, in the order of a table, and those of ir-measures.
MEASURES: Mapping[str, str] = {
    "hit@1": "Success@1",
    "hit@3": "Success@3",
    "hit@5": "Success@5",
    "hit@10": "Success@10",
    "recall@5": "R@5",
    "recall@10": "R@10",
    "recall@50": "R@50",
    "precision@5": "P@5",
    "mrr@10": "RR@10",
    "ndcg@10": "nDCG@10",
    "map": "AP",
}


def measured(
    rankings: Sequence[Sequence[str]], gold: Sequence[Mapping[str, int]]
) -> dict[str, Floats]:
    """Each measure of each question, 0..1: [questions] by the name of the measure.

    A ranking holds ids, best first and none twice; `gold` has the grades of the ids that are right.
    A question whose ranking is empty scores 0. Gold must name at least one id a question.
    """
    import ir_measures

    names = [str(place) for place in range(len(gold))]
    grades = {name: dict(right) for name, right in zip(names, gold, strict=True)}
    # Only the order counts, so every place gets a score of its own: equal ones would be reordered.
    scores = {
        name: {unit: 1.0 / place for place, unit in enumerate(ranking, start=1)}
        for name, ranking in zip(names, rankings, strict=True)
        if ranking
    }
    found = {name: np.zeros(len(gold)) for name in MEASURES}
    if not scores:
        return found
    measures = {ir_measures.parse_measure(text): name for name, text in MEASURES.items()}
    for metric in ir_measures.iter_calc(list(measures), grades, scores):
        found[measures[metric.measure]][int(metric.query_id)] = metric.value
    return found
