"""MaxSim and what is built on it, against cases computed by hand."""

import numpy as np
import pytest

from rag.late_interaction import maxsims, span_maxsims
from rag.support import best_sentence

X, Y, Z = np.eye(3, dtype=np.float32)


NOTHING = np.zeros((0, 3), dtype=np.float32)


def test_maxsim_is_the_mean_of_the_best_cosines() -> None:
    diagonal = (X + Y) / np.sqrt(2)
    scores = maxsims(np.array([X, Y]), [np.array([X, diagonal]), np.array([Z])])
    assert scores.tolist() == pytest.approx([(1 + 0.5**0.5) / 2, 0])


def test_a_token_counts_as_its_weight_says() -> None:
    passages = [np.array([X]), np.array([Y])]
    weights = np.array([3, 1], dtype=np.float32)
    assert maxsims(np.array([X, Y]), passages, weights).tolist() == [0.75, 0.25]
    spans = span_maxsims(
        np.array([X, Y]), np.array([X, Y]), [(0, 1), (1, 2)], [(0, 1), (1, 2)], weights
    )
    assert spans.tolist() == [0.75, 0.25]


def test_maxsim_ignores_the_order_of_the_passage() -> None:
    passage = np.array([Z, X, Y])
    assert maxsims(np.array([X, Y]), [passage, passage[::-1]]).tolist() == [1, 1]


def test_maxsim_of_nothing_is_zero() -> None:
    assert maxsims(NOTHING, [np.array([X])]).tolist() == [0]
    assert maxsims(np.array([X]), [NOTHING, np.array([X]), NOTHING]).tolist() == [0, 1, 0]
    assert maxsims(np.array([X]), []).tolist() == []


def test_a_token_counts_for_the_span_that_holds_its_first_character() -> None:
    scores = span_maxsims(
        np.array([X]), np.array([X, Y]), [(0, 3), (3, 6)], [(0, 3), (3, 6), (6, 9)]
    )
    assert scores.tolist() == [1, 0, -1]


def test_surplus_token_spans_of_a_cut_passage_are_ignored() -> None:
    scores = span_maxsims(np.array([X]), np.array([Y]), [(0, 3), (3, 6)], [(0, 3), (3, 6)])
    assert scores.tolist() == [0, -1]


def test_best_sentence_names_the_span_and_its_strength() -> None:
    span, support = best_sentence(
        np.array([Y]), np.array([X, Y]), [(0, 3), (3, 6)], [(0, 3), (3, 6)]
    )
    assert (span, support) == ((3, 6), 1)


def test_without_sentences_nothing_supports() -> None:
    assert best_sentence(np.array([Y]), np.array([X]), [(0, 1)], []) == ((0, 0), 0.0)
