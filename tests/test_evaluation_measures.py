"""Measures against values taken by hand, and intervals and p-values against scipy and theory."""

from dataclasses import replace
from datetime import UTC, datetime
from math import log2

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from rag.evaluation.asking import Ranking
from rag.evaluation.metrics import MEASURES, measured
from rag.evaluation.pipelines import parse_pipelines
from rag.evaluation.resampling import Figure, bootstrap_means, figures, sign_flip_p_values
from rag.evaluation.results import Comparison, Evaluation, Row, Seconds
from rag.evaluation.verdict import verdict

UNITS = [f"d{number}" for number in range(30)]


def one(ranking: list[str], gold: dict[str, int]) -> dict[str, float]:
    return {name: float(values[0]) for name, values in measured([ranking], [gold]).items()}


def test_measures_of_a_ranking_taken_by_hand() -> None:
    found = one(["x", "a", "y", "b", "z"], {"a": 1, "b": 2, "c": 1})
    ideal = 2 + 1 / log2(3) + 1 / log2(4)
    assert found == pytest.approx(
        {
            "hit@1": 0,
            "hit@3": 1,
            "hit@5": 1,
            "hit@10": 1,
            "recall@5": 2 / 3,
            "recall@10": 2 / 3,
            "recall@50": 2 / 3,
            "precision@5": 2 / 5,
            "mrr@10": 1 / 2,
            "ndcg@10": (1 / log2(3) + 2 / log2(5)) / ideal,
            "map": (1 / 2 + 2 / 4) / 3,
        }
    )
    assert list(found) == list(MEASURES)


def test_what_stands_beyond_the_cut_counts_only_where_there_is_none() -> None:
    found = one([*UNITS[:10], "gold"], {"gold": 1})
    assert found["hit@10"] == found["mrr@10"] == found["ndcg@10"] == found["recall@10"] == 0
    assert found["recall@50"] == 1
    assert found["map"] == pytest.approx(1 / 11)


def test_a_question_without_a_ranking_scores_nothing_and_moves_no_other() -> None:
    found = measured([[], ["a"], ["鱼 1"]], [{"a": 1}, {"a": 1}, {"鱼 1": 3}])
    assert all(values[0] == 0 for values in found.values())
    assert found["ndcg@10"].tolist() == [0, 1, 1]
    assert not any(values.any() for values in measured([[]], [{"a": 1}]).values())


@settings(max_examples=25)
@given(st.permutations(UNITS), st.sets(st.sampled_from(UNITS), min_size=1, max_size=5))
def test_measures_keep_their_order_whatever_the_ranking(
    ranking: list[str], right: set[str]
) -> None:
    gold = dict.fromkeys(right, 1)
    perfect = one([*sorted(right), *(unit for unit in ranking if unit not in right)], gold)
    assert all(perfect[name] == pytest.approx(1) for name in MEASURES if name != "precision@5")
    found = one(ranking, gold)
    assert all(0 <= value <= 1 for value in found.values())
    assert found["hit@1"] <= found["hit@3"] <= found["hit@5"] <= found["hit@10"]
    assert found["recall@5"] <= found["recall@10"] <= found["recall@50"] == 1
    worst = one([unit for unit in ranking if unit not in right] + sorted(right), gold)
    assert worst["ndcg@10"] == worst["hit@1"] == 0
    assert worst["map"] <= found["map"] <= perfect["map"] + 1e-9
    place = min(ranking.index(unit) for unit in right)
    assert found["mrr@10"] == pytest.approx(1 / (place + 1) if place < 10 else 0)


# --- intervals -----------------------------------------------------------------------------


def test_the_interval_of_a_share_is_that_of_theory() -> None:
    values = np.repeat([[1.0], [0.0]], [140, 60], axis=0)
    (found,) = figures(values, bootstrap_means(values, seed=1))
    half = 1.96 * (0.7 * 0.3 / 200) ** 0.5
    assert found.mean == pytest.approx(0.7)
    assert (found.low, found.high) == pytest.approx((0.7 - half, 0.7 + half), abs=0.006)


def test_the_interval_agrees_with_scipy() -> None:
    values = np.random.default_rng(5).beta(2, 5, size=(80, 1))
    (found,) = figures(values, bootstrap_means(values, seed=1))
    theirs = stats.bootstrap((values[:, 0],), np.mean, method="percentile", rng=2)
    assert (found.low, found.high) == pytest.approx(tuple(theirs.confidence_interval), abs=0.003)


def test_intervals_are_paired_and_repeatable() -> None:
    first = np.random.default_rng(5).random((50, 1))
    values = np.concatenate([first, first + 0.1], axis=1)
    means = bootstrap_means(values, seed=1, resamples=500)
    (gain,) = figures(values[:, 1:] - values[:, :1], means[:, 1:] - means[:, :1])
    assert (gain.low, gain.mean, gain.high) == pytest.approx((0.1, 0.1, 0.1))
    assert np.array_equal(means, bootstrap_means(values, seed=1, resamples=500))
    assert not np.array_equal(means, bootstrap_means(values, seed=2, resamples=500))


# --- p-values ------------------------------------------------------------------------------


def test_p_values_agree_with_scipy() -> None:
    differences = np.random.default_rng(3).normal([0.0, 0.15, 0.6], 0.5, size=(40, 3))
    found = sign_flip_p_values(differences, seed=1)
    for value, column in zip(found, differences.T, strict=True):
        theirs = stats.permutation_test(
            (column,), np.mean, permutation_type="samples", n_resamples=9999, rng=2
        )
        assert value == pytest.approx(theirs.pvalue, abs=0.015)


def test_p_values_of_few_questions_are_those_that_can_be_counted() -> None:
    always_better = np.array([[1.0]] * 5 + [[0.0]] * 20)
    # All five signs alike: 2 of 32 ways.
    assert sign_flip_p_values(always_better, seed=1)[0] == pytest.approx(2 / 32, abs=0.01)
    assert sign_flip_p_values(np.zeros((9, 2)), seed=1).tolist() == [1, 1]


# --- the verdict ---------------------------------------------------------------------------


def evaluation(
    before: float, after: float, gain: tuple[float, float], turned: bool = False
) -> Evaluation:
    """Fused and reranked, which adds 30 ms a question, with these means of hit@1."""
    recall = {"fuse": Seconds(0.01, 1), "total": Seconds(0.01, 1)}
    both = {"fuse": Seconds(0.5, 1), "evidence": Seconds(0.01, 1), "rerank": Seconds(0.02, 1)}
    rows = [
        Row(
            spec,
            rankings=(Ranking("q", (), (), {}),) * 300,
            figures={"all": {"hit@1": Figure(mean, 0, 1)}},
            seconds=seconds,
        )
        for spec, mean, seconds in zip(
            parse_pipelines("fused,fused+rerank"), (before, after), (recall, both), strict=True
        )
    ]
    low, high = gain
    found = Comparison(
        "fused", "fused+rerank", "hit@1", "all", Figure(after - before, low, high), 0.1
    )
    if turned:
        rows.reverse()
        found = Comparison(
            "fused+rerank", "fused", "hit@1", "all", Figure(before - after, -high, -low), 0.1
        )
    return Evaluation("set", datetime.now(UTC), 0, (), tuple(rows), (found,), {})


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize(
    ("before", "after", "gain", "said"),
    [
        (
            0.74,
            0.85,
            (0.08, 0.14),
            "Reranking lifts hit@1 from 74 % to 85 % here for 30 ms a question: keep it on.",
        ),
        (
            0.85,
            0.74,
            (-0.14, -0.08),
            "Reranking hurts here: hit@1 goes from 85 % to 74 %, and it costs 30 ms a question.",
        ),
        (
            0.74,
            0.75,
            (-0.01, 0.02),
            "Reranking does not help on these documents: hit@1 goes from 74 % to 75 % (95 % "
            "interval of the difference -1.0 to +2.0 points), and it costs 30 ms a question.",
        ),
        (
            0.74,
            0.80,
            (-0.05, 0.17),
            "300 questions do not tell whether reranking helps here: hit@1 goes from 74 % to 80 % "
            "(95 % interval of the difference -5.0 to +17.0 points). Add more questions.",
        ),
    ],
)
def test_the_verdict_follows_the_interval(
    before: float, after: float, gain: tuple[float, float], said: str, turned: bool
) -> None:
    assert verdict(evaluation(before, after, gain, turned)) == said


def test_without_anything_to_compare_there_is_no_verdict() -> None:
    made = evaluation(0.5, 0.6, (0.1, 0.2))
    assert verdict(replace(made, rows=made.rows[1:])) == ""
    assert verdict(replace(made, rows=(), comparisons=())) == ""
