"""How sure a mean over questions is: bootstrap intervals and randomisation tests, both paired."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

import numpy as np

from rag.evaluation.metrics import Floats

RESAMPLES = 10_000
_BATCH_CELLS = 4_000_000
# Standard deviations that hold 95 % of a normal distribution.
_DEVIATIONS = 1.959964
# Sums of the same numbers in another order differ by less.
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Figure:
    """A mean with its 95 % interval."""

    mean: float
    low: float
    high: float


def bootstrap_means(values: Floats, seed: int, resamples: int = RESAMPLES) -> Floats:
    """Means over questions drawn with replacement, [resamples, columns] of [questions, columns].

    Every column sees the same questions, so differences of columns are paired.
    Source: Efron and Tibshirani 1993, chapter 13.
    """
    questions = len(values)
    generator = np.random.default_rng(seed)
    means = np.empty((resamples, values.shape[1]))
    batch = max(1, _BATCH_CELLS // questions)
    for start in range(0, resamples, batch):
        size = min(batch, resamples - start)
        drawn = generator.integers(questions, size=(size, questions))
        drawn += np.arange(size)[:, None] * questions
        counts = np.bincount(drawn.ravel(), minlength=size * questions).reshape(size, questions)
        means[start : start + size] = counts @ values / questions
    return means


def figures(values: Floats, means: Floats) -> list[Figure]:
    """Mean and percentile interval of every column; `means` are those of `bootstrap_means`."""
    low, high = np.percentile(means, [2.5, 97.5], axis=0)
    return [
        Figure(float(mean), float(least), float(most))
        for mean, least, most in zip(values.mean(axis=0), low, high, strict=True)
    ]


def share(successes: int, trials: int) -> Figure:
    """The share of successes with its interval, which is true also where it is 0 or 1.

    Source: Wilson 1927.
    """
    mean, square = successes / trials, _DEVIATIONS**2
    middle = (mean + square / (2 * trials)) / (1 + square / trials)
    spread = mean * (1 - mean) / trials + square / (4 * trials**2)
    half = _DEVIATIONS * sqrt(spread) / (1 + square / trials)
    return Figure(mean, max(middle - half, 0.0), min(middle + half, 1.0))


def sign_flip_p_values(differences: Floats, seed: int, resamples: int = RESAMPLES) -> Floats:
    """Two-sided p-value of every column of [questions, columns], against a mean of 0.

    Paired randomisation: were two pipelines alike, each question's difference could as well have
    the other sign. The smallest value is 1 / (resamples + 1).
    Source: Smucker, Allan and Carterette 2007.
    """
    # A question without any difference has nothing to flip.
    differences = differences[np.any(differences != 0, axis=1)]
    questions = len(differences)
    if not questions:
        return np.ones(differences.shape[1])
    observed = np.abs(differences.sum(axis=0)) - _ROUNDING
    generator = np.random.default_rng(seed)
    extreme = np.zeros(differences.shape[1])
    batch = max(1, _BATCH_CELLS // questions)
    for start in range(0, resamples, batch):
        size = min(batch, resamples - start)
        signs = generator.integers(2, size=(size, questions)) * 2.0 - 1.0
        extreme += (np.abs(signs @ differences) >= observed).sum(axis=0)
    values: Floats = (extreme + 1) / (resamples + 1)
    return values
