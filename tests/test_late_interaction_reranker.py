"""The default reranker: what stands out is probable, and a foreign passage is not held to words."""

import json
from dataclasses import replace
from importlib.resources import files

import numpy as np
import pytest

from rag.models.late_interaction_reranker import (
    COEFFICIENTS,
    FOREIGN_COVERAGE,
    FOREIGN_LEXICAL,
    RUNNERS_UP,
    coverage,
    features,
    load_late_interaction,
    standing,
)
from rag.types import Chunk, Passage, Question

AXES = np.eye(4, dtype=np.float32)
CHINESE = Question("猫睡在哪里？", AXES[0], AXES[:2])
ENGLISH = Question("Where do cats sleep?", AXES[0], AXES[:2])
SIMILAR = 0.8


def passage(text: str, cosine: float = SIMILAR, lexical: float = 5.0) -> Passage:
    """A passage whose only token has this cosine with every token of the questions."""
    token = np.array([cosine, cosine, 0, 0], dtype=np.float32)
    chunk = Chunk(text, "d", 0, 1, 0, len(text), text)
    return Passage(chunk, "d", cosine, lexical, token[None])


@pytest.mark.parametrize(
    ("question", "answer", "other"),
    [
        (ENGLISH, "Cats sleep in a basket.", "Bread is baked."),
        (CHINESE, "猫睡在篮子里。", "面包烤一小时。"),
    ],
)
def test_the_same_passage_is_more_probable_where_it_stands_out(
    question: Question, answer: str, other: str
) -> None:
    reranker = load_late_interaction(calibrated=True)
    best = passage(answer, 0.88, 12)
    alike = [passage(f"{other} {place}", 0.87, 11) for place in range(30)]
    unlike = [passage(f"{other} {place}", 0.78, 1) for place in range(30)]
    among_alike, alone = (
        reranker.score(question, [best, *alike]),
        reranker.score(question, [best, *unlike]),
    )
    assert among_alike[0] < 0.5 < alone[0]
    assert all(one < among_alike[0] for one in among_alike[1:])


def test_a_copy_or_two_of_the_answer_do_not_make_it_doubtful() -> None:
    reranker = load_late_interaction(calibrated=True)
    best = passage("Cats sleep in a basket.", 0.88, 12)
    others = [passage(f"Bread {place}", 0.78, 1) for place in range(30)]
    once = reranker.score(ENGLISH, [best, *others])[0]
    thrice = reranker.score(ENGLISH, [best, best, best, *others])[0]
    assert thrice == pytest.approx(once, abs=0.02)


def test_where_there_are_few_runners_up_usual_ones_fill_their_places() -> None:
    places = RUNNERS_UP.stop - RUNNERS_UP.start
    one = [passage("Cats sleep.")]
    assert standing(ENGLISH, one, np.array([9.0]), 2.0)[0] == 2.0
    many = [passage("Cats sleep.")] * 4
    expected = (6.0 + (places - 1) * 2.0) / places
    assert standing(ENGLISH, many, np.array([9, 8, 7, 6.0]), 2.0)[0] == pytest.approx(expected)


def test_a_rare_token_counts_more() -> None:
    rare = replace(ENGLISH, weights=np.array([1, 3], dtype=np.float32))
    first, second = (replace(passage("Cats."), tokens=AXES[place][None]) for place in (0, 1))
    assert features(ENGLISH, [first, second])[:, 0].tolist() == [0.5, 0.5]
    assert features(rare, [first, second])[:, 0].tolist() == [0.25, 0.75]


@pytest.mark.parametrize(
    ("question", "text", "share"),
    [
        ("Where do cats sleep?", "A cat sleeps here.", 1),
        ("Where do cats sleep?", "A cat sat here.", 4 / 9),
        ("猫睡在篮子里吗", "猫睡在篮子里。", 6 / 7),
        ("篮子里有猫", "面包烤一小时。", 0),
        ("What?", "Bread.", 1),
        ("", "Bread.", 1),
    ],
)
def test_coverage_is_the_share_of_the_words_that_tell_something(
    question: str, text: str, share: float
) -> None:
    assert coverage(question, text) == pytest.approx(share)


@pytest.mark.parametrize(
    ("question", "home", "foreign"),
    [
        (CHINESE, "面包烤一小时。", "Cats sleep in a basket."),
        (ENGLISH, "Bread is baked.", "猫睡在篮子里。"),
    ],
)
def test_a_passage_in_another_language_is_not_held_to_words_it_cannot_have(
    question: Question, home: str, foreign: str
) -> None:
    both = [passage(home, lexical=0), passage(foreign, lexical=0)]
    assert features(question, both)[:, 1].tolist() == pytest.approx([0, FOREIGN_LEXICAL])
    known = features(question, [passage(foreign, lexical=50)])[0, 1]
    assert known == pytest.approx(np.log1p(50))
    assert standing(question, both, np.array([0.0, 1.0]), 0)[1] == FOREIGN_COVERAGE
    assert standing(question, both, np.array([1.0, 0.0]), 0)[1] == 0


def test_the_committed_coefficients_keep_what_was_promised() -> None:
    """On questions that were not fitted; the file is written by `scripts/fit_reranker.py`."""
    text = (files("rag.models") / "data" / COEFFICIENTS).read_text(encoding="utf-8")
    found = json.loads(text)["figures"]
    for language in ("en", "zh"):
        assert found[language]["expected calibration error"] <= 0.05
        assert found[language]["hit@1 reranked"] > found[language]["hit@1 fused"]
        assert found[language]["gold present or removed, AUROC"] >= 0.88
        assert found[language]["answered, gold present"] >= 0.98
