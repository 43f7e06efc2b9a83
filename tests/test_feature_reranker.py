"""The reranker that only counts: what raises a score, and that it stays a probability."""

from __future__ import annotations

import json
import sys
from importlib.resources import files
from subprocess import run

import numpy as np
import pytest

from rag.models.feature_reranker import (
    COEFFICIENTS,
    FEATURES,
    Matcher,
    features,
    load_feature_reranker,
    smallest_window,
)
from rag.same_words import same_words
from rag.types import Chunk, Passage, Question

RERANKER = load_feature_reranker()


def question(text: str) -> Question:
    return Question(text, np.zeros(4, np.float32), None)


def passage(text: str, lexical: float = 3.0, number: int = 1) -> Passage:
    return Passage(Chunk(f"c{number}", "d", number, 1, 0, len(text), text), "a.pdf", 0.0, lexical)


def feature(name: str, asked: str, *texts: str) -> list[float]:
    return features(asked, list(map(passage, texts)))[:, FEATURES.index(name)].tolist()


@pytest.mark.parametrize(
    ("asked", "best", "worse"),
    [
        (
            "When was the Eiffel Tower built?",
            "The Eiffel Tower was built in 1889.",
            "The tower of London is old. Iron is a metal. A house was built by Mr Eiffel.",
        ),
        (
            "埃菲尔铁塔是什么时候建成的？",
            "埃菲尔铁塔于1889年建成。",
            "巴黎有很多铁塔和桥梁。古斯塔夫·埃菲尔是工程师。",
        ),
        ("What is the revenue of Café Müller?", "cafe MULLER has revenues.", "A café in Paris."),
    ],
)
def test_more_of_the_question_is_better(asked, best, worse):
    """At equal BM25 the passage with more of the question's words, nearer together, wins."""
    scores = RERANKER.score(question(asked), [passage(worse), passage(best), passage("...")])
    assert scores[1] > scores[0] > scores[2]


@pytest.mark.parametrize(
    ("asked", "text"), [("Who wrote the report?", "A report."), ("谁写了报告？", "这份报告很长。")]
)
def test_higher_bm25_is_better(asked, text):
    scores = RERANKER.score(question(asked), [passage(text, bm25) for bm25 in (0, 1, 5, 20, 60)])
    assert scores == sorted(scores)
    assert len(set(scores)) == 5


def test_coverage_is_the_share_of_the_words_whatever_their_ending_and_script():
    """Words that only join others count for nothing, in either language."""
    asked = "Which rivers cross Germany?"
    assert feature("coverage", asked, "Germany has a river; crossing it is easy.") == [1.0]
    assert feature("coverage", asked, "The river", "which") == pytest.approx([6 / 18, 0.0])
    assert feature("coverage", "重排序模型", "重排序的模型", "排列") == pytest.approx([1.0, 0.0])
    assert feature("coverage", "what is it?", "what is it?") == [0.0]


def test_proximity_falls_with_the_distance_and_takes_the_nearest_pair():
    near, far, both = feature(
        "proximity",
        "solar panel",
        "A solar panel.",
        "Solar heat needs, as they say, no panel.",
        "Solar heat needs, as they say, no panel; a solar panel does.",
    )
    assert 0 < far < near == both < 1
    assert feature("proximity", "太阳能 电池", "太阳能电池", "太阳能与普通电池") == [1.0, 0.625]
    assert smallest_window([]) == 1


def test_phrase_is_the_longest_literal_stretch():
    asked = "the law of large numbers?"
    whole, words, none = feature(
        "phrase", asked, "See The Law of Large Numbers.", "numbers of a large law", "xyz"
    )
    assert (whole, none) == (1.0, 0.0)
    assert 0.2 < words < 0.5
    assert feature("phrase", "大数定律？", "所谓大数定律，", "大数") == [1.0, 0.5]


@pytest.mark.parametrize("text", ["Rivers cross Germany. 德国的河流穿过城市。", "北京大学在北京。"])
def test_matches_are_those_of_same_words(text):
    """What is compared by form once is found as if every passage were compared."""
    asked = "Which river crosses Germany? 北京大学和德国河流在哪里？"
    found = [span for span, _ in Matcher(asked, [text])(text)]
    assert found == list(same_words(asked, text))


@pytest.mark.parametrize(
    "asked",
    ["", "?", "。", "why", "重", "x" * 1_000, "the cat " * 300, "猫在哪里" * 300, "\ud800"],
)
def test_scores_are_probabilities_in_the_same_order(asked):
    """Whatever is asked and read, each passage has its own score, alone as among others."""
    texts = [
        "",
        "The cat sat.",
        "猫在这里。",
        "\ud800 \x00",
        "x" * 2_000,
        "。" * 2_000,
        "cat " * 2_000,
    ]
    passages = [passage(text, lexical) for text in texts for lexical in (0.0, 1e6)]
    scores = RERANKER.score(question(asked), passages)
    assert len(scores) == len(passages)
    assert all(0.0 <= score <= 1.0 for score in scores)
    assert RERANKER.score(question(asked), passages[::-1]) == pytest.approx(scores[::-1])
    assert RERANKER.score(question(asked), passages[5:6]) == pytest.approx(scores[5:6])
    assert RERANKER.score(question(asked), []) == []


def test_the_coefficients_are_those_of_these_features_and_true_enough():
    """A reranker may call itself calibrated where its chances are off by at most a tenth."""
    fitted = json.loads((files("rag.models") / "data" / COEFFICIENTS).read_text(encoding="utf-8"))
    assert tuple(fitted["features"]) == FEATURES
    assert all(weight > 0 for weight in fitted["weights"])
    assert all(
        fitted["figures"][language]["expected calibration error"] <= 0.1
        for language in ("en", "zh", "all")
    )
    assert (RERANKER.name, RERANKER.by_words) == ("BM25 + features", False)


def test_no_model_is_loaded():
    code = (
        "import sys; from rag.models.feature_reranker import load_feature_reranker as load; load();"
        "print({'torch', 'lancedb', 'openai'} & set(sys.modules))"
    )
    shown = run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "set()"
