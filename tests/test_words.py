"""A score taken apart by word and by sentence, in English and Chinese."""

import numpy as np
import pytest

from rag.late_interaction import maxsims
from rag.same_words import same_words, spaced_words
from rag.sentences import sentences
from rag.types import Question, Vector
from rag.words import WordView, sentence_view, word_view
from tests.fakes import FakeEmbedder

PAIRS = [
    ("How fast is the cross-encoder?", "A cross-encoder is slow. It reads the whole passage."),
    ("重排序为什么准确？", "重排模型更准确，因为它同时看到问题和段落。它也更慢。"),
    ("BM25 是什么？", "BM25 counts words. 它按词的频率打分。"),
]
AXES = np.eye(8, dtype=np.float32)


def asking(text: str, tokens: Vector, weights: Vector | None = None) -> Question:
    return Question(text, AXES[0], tokens, weights=weights)


def view(question: str, passage: str, weights: Vector | None = None) -> WordView:
    embedder = FakeEmbedder()
    asked, read = embedder.token_spans([question, passage])
    tokens = embedder.encode_documents([question, passage]).tokens
    assert tokens is not None
    return word_view(
        asking(question, tokens[0], weights), asked, passage, tokens[1], read, sentences(passage)
    )


def texts(passage: str, spans: tuple[tuple[int, int], ...]) -> list[str]:
    return [passage[start:end] for start, end in spans]


@pytest.mark.parametrize(("question", "passage"), PAIRS)
def test_the_words_add_up_to_the_score(question: str, passage: str) -> None:
    seen = view(question, passage)
    tokens = FakeEmbedder().encode_documents([question, passage]).tokens
    assert tokens is not None
    assert seen.maxsim == pytest.approx(float(maxsims(tokens[0], [tokens[1]])[0]))
    assert sum(word.weight for word in seen.question) == pytest.approx(1)
    assert sum(word.strength * word.weight for word in seen.question) == pytest.approx(seen.maxsim)
    assert sum(word.share for word in seen.shaded) == pytest.approx(1)
    assert max(word.shade for word in seen.shaded) == 1


def test_a_word_that_weighs_more_earns_more() -> None:
    heavy = np.array([1, 9], dtype=np.float32)
    seen = view("猫 cat", "猫 cat", weights=heavy)
    assert [word.weight for word in seen.question] == pytest.approx([0.1, 0.9])
    assert [word.share for word in seen.shaded] == pytest.approx([0.1, 0.9])
    assert seen.maxsim == pytest.approx(1)


@pytest.mark.parametrize(("question", "passage"), PAIRS)
def test_no_match_is_better_than_the_strength_of_its_word(question: str, passage: str) -> None:
    for word in view(question, passage).question:
        cosines = [match.cosine for match in word.matches]
        assert cosines == sorted(cosines, reverse=True)
        assert 1 <= len(cosines) <= 3
        assert cosines[0] <= word.strength + 1e-6


def test_the_same_word_is_the_best_match_and_each_spelling_stands_once() -> None:
    passage = "Fast or slow: FAST is fast."
    word = view("fast", passage).question[0]
    found = [passage[slice(*match.span)].lower() for match in word.matches]
    assert found[0] == "fast"
    assert word.matches[0].cosine == pytest.approx(1)
    assert len(set(found)) == len(found)


def test_every_place_of_an_equal_word_is_shaded_alike_while_the_first_has_the_share() -> None:
    passage = "词向量。向量。"
    seen = view("向", passage)
    places = [word for word in seen.shaded if passage[slice(*word.span)] == "向"]
    assert [word.shade for word in places] == [1, 1]
    assert [word.share for word in places] == pytest.approx([1, 0])


def test_pieces_of_a_latin_word_are_one_word_and_chinese_pieces_stay() -> None:
    question = "Rerankers 检索，k1=9,600?"
    spans = [(0, 2), (2, 6), (6, 9), (9, 11), (11, 12), (12, 13), (13, 14), (14, 15), (15, 16)]
    spans += [(16, 17), (17, 18), (18, 21), (21, 22)]
    rows = np.eye(len(spans), dtype=np.float32)
    seen = word_view(asking(question, rows), spans, "检索", rows[:2], [(0, 1), (1, 2)], [(0, 2)])
    words = [word for word in seen.question if not word.punctuation]
    assert [(word.text, round(word.weight * len(spans))) for word in words] == [
        ("Rerankers", 3),
        ("检", 1),
        ("索", 1),
        ("k1", 2),
        ("9,600", 3),
    ]
    assert [word.text for word in seen.question if word.punctuation] == ["，", "=", "?"]


def test_blanks_in_a_span_are_no_part_of_the_word() -> None:
    seen = word_view(
        asking("a cat", AXES[:3]), [(0, 1), (1, 2), (1, 5)], "\ncat", AXES[2:3], [(0, 4)], [(1, 4)]
    )
    assert [word.text for word in seen.question] == ["a", "", "cat"]
    assert seen.question[1].punctuation
    assert seen.question[2].matches[0].span == (1, 4)


def test_punctuation_earns_its_share_and_is_neither_shaded_nor_matched() -> None:
    spans = [(0, 1), (1, 2), (2, 4)]
    seen = word_view(asking("x?", AXES[:2]), spans[:2], "x? y", AXES[:3], spans, [(0, 4)])
    assert [(word.share, word.shade) for word in seen.shaded] == [(0.5, 1), (0.5, 0), (0, 0)]
    assert seen.question[1].punctuation
    assert (1, 2) not in [match.span for word in seen.question for match in word.matches]


def test_words_that_are_like_everything_are_shaded_least() -> None:
    """A question word with the same cosine everywhere tells nothing about the passage."""
    everywhere = np.array([0.6, 0.6, 0.5], dtype=np.float32)
    passage = np.stack([everywhere, everywhere + AXES[0, :3] * 0.3])
    seen = word_view(
        asking("is cat", np.eye(3, dtype=np.float32)[[1, 0]]), [(0, 2), (2, 6)],
        "the cat", passage, [(0, 3), (3, 7)], [(0, 7)],
    )  # fmt: skip
    assert [word.shade for word in seen.shaded] == [0, 1]


def test_words_that_have_nothing_in_common_share_nothing_evenly() -> None:
    seen = word_view(asking("a b", AXES[:2]), [(0, 1), (2, 3)], "c", -AXES[:1], [(0, 1)], [(0, 1)])
    assert [(word.share, word.shade) for word in seen.shaded] == [(1, 0)]


def test_sentences_are_ranked_and_unread_ones_left_out() -> None:
    passage = "Cats sleep. Dogs bark. Birds sing."
    embedder = FakeEmbedder()
    tokens = embedder.encode_documents(["dogs bark", "Cats sleep. Dogs bark."]).tokens
    assert tokens is not None
    asked, read = embedder.token_spans(["dogs bark", passage])
    seen = word_view(
        asking("dogs bark", tokens[0]), asked, passage, tokens[1], read, sentences(passage)
    )
    assert texts(passage, tuple(one.span for one in seen.sentences)) == [
        "Dogs bark.",
        "Cats sleep.",
    ]
    assert len(seen.shaded) == 4


@pytest.mark.parametrize(("question", "passage"), [("", "a cat"), ("a cat", ""), ("猫", "")])
def test_nothing_asked_or_nothing_read_is_an_empty_view(question: str, passage: str) -> None:
    seen = view(question, passage)
    assert (seen.question, seen.shaded, seen.maxsim) == ((), (), 0)


def test_sentence_scores_shade_sentences_and_say_so() -> None:
    passage = "猫睡觉。狗叫。鸟唱歌。"
    spans = sentences(passage)
    seen = sentence_view("猫睡觉吗", passage, spans, [0.84, 0.80, 0.82])
    assert seen.basis == "sentences"
    assert seen.question == ()
    assert seen.maxsim is None
    assert [word.shade for word in seen.shaded] == pytest.approx([1, 0, 0.5])
    assert sum(word.share for word in seen.shaded) == pytest.approx(1)
    assert [one.score for one in seen.sentences] == [0.84, 0.82, 0.80]
    assert texts(passage, seen.same_words) == ["猫睡觉"]


@pytest.mark.parametrize("scores", [[], [0.0], [0.3, 0.3], [-0.2, -0.2]])
def test_equal_sentence_scores_shade_alike(scores: list[float]) -> None:
    seen = sentence_view("a", "b. c.", [(0, 2), (3, 5)][: len(scores)], scores)
    assert [word.shade for word in seen.shaded] == [1] * len(scores)
    assert sum(word.share for word in seen.shaded) == pytest.approx(float(bool(scores)))


@pytest.mark.parametrize(
    ("question", "passage", "marked"),
    [
        ("Why are rerankers precise?", "A Reranker is precise; why?", ["Reranker", "precise"]),
        ("What is the BM25 of a café", "ＢＭ25 in Cafes", ["ＢＭ25", "Cafes"]),
        ("the of and", "the of and", []),
        ("don't index 9,600", "DON'T indexing 9,600 9", ["DON'T", "indexing", "9,600"]),
        ("混合检索是什么？", "混合检索：全文检索和向量", ["混合检索", "检索"]),
        ("为什么要分词", "为什么？中文要分词", ["要分词"]),
        ("检", "检索", []),
        ("重排和 rerank", "重\n排，重排 reranking", ["重排", "reranking"]),
        ("", "检索 words", []),
    ],
)  # fmt: skip
def test_same_words(question: str, passage: str, marked: list[str]) -> None:
    assert texts(passage, same_words(question, passage)) == marked


def test_words_of_other_scripts_keep_their_marks() -> None:
    text = "हिन्दी Привет 한국어 日本語カナ, naïve café"
    assert texts(text, tuple(spaced_words(text))) == ["हिन्दी", "Привет", "한국어", "naïve", "café"]
