"""Which sentences are supported, what is a better source, and which quotations are false."""

from __future__ import annotations

import pytest

from rag.audit import MARGIN, audit, false_quotations, plain
from rag.citing import cite
from rag.sentences import sentences
from rag.types import Statement

PASSAGES = [
    "The reranker reads both texts at once. It takes 30 ms.",
    "重排序模型同时阅读问题和段落，所以更准确。",
    "An embedding is made before any question is known.",
]
THRESHOLD = 0.5


def statements(answer: str, *supports: list[float]) -> tuple[Statement, ...]:
    """The audit of an answer whose claims have these supports."""
    claims = cite(answer, len(PASSAGES), sentences).claims
    return audit(claims, supports, PASSAGES, THRESHOLD)


def test_the_best_of_the_cited_passages_counts() -> None:
    (statement,) = statements("It is fast [1][2].", [0.2, 0.8, 0.99])
    assert (statement.support, statement.supported) == (0.8, True)
    assert statement.numbers == (1, 2)


def test_a_sentence_below_the_threshold_is_not_supported() -> None:
    (statement,) = statements("速度很快[2]。", [0.1, THRESHOLD - 0.01, 0.1])
    assert not statement.supported
    assert statement.better == 0


def test_another_passage_that_supports_clearly_more_is_offered() -> None:
    (statement,) = statements("It is fast [2].", [0.9, 0.1, 0.3])
    assert (statement.better, statement.better_support) == (1, 0.9)
    (near,) = statements("It is fast [2].", [0.9, 0.91 - MARGIN, 0.3])
    assert (near.better, near.better_support) == (0, 0.0)


def test_a_passage_that_does_not_support_is_never_better() -> None:
    (statement,) = statements("It is fast [2].", [THRESHOLD - 0.01, 0.0, 0.0])
    assert statement.better == 0


def test_a_sentence_that_cites_nothing_is_unsupported_and_offered_a_source() -> None:
    first, second = statements("It is fast. 速度很快。", [0.1, 0.2, 0.6], [0.1, 0.2, 0.3])
    assert (first.support, first.supported, first.better) == (0.0, False, 3)
    assert (second.support, second.supported, second.better) == (0.0, False, 0)


def test_offsets_name_the_sentence_with_its_citations() -> None:
    answer = "# Speed\n\nIt is fast [1]. 速度很快。[2]"
    found = statements(answer, [1.0, 0.0, 0.0], [0.0, 1.0, 0.0])
    shown = [answer[statement.start : statement.end] for statement in found]
    assert shown == ["It is fast [1].", "速度很快。[2]"]


def test_headings_and_lead_ins_are_no_statements() -> None:
    answer = "## 结论\n\nThere are two reasons:\n\n- It is fast [1].\n- 速度很快[2]。"
    found = statements(answer, [1.0, 0.0, 0.0], [0.0, 1.0, 0.0])
    assert [statement.numbers for statement in found] == [(1,), (2,)]


def test_a_citation_without_words_is_no_statement() -> None:
    assert statements("[1]", [0.0, 0.0, 0.0]) == ()


def test_a_false_quotation_makes_a_sentence_unsupported() -> None:
    answer = "It says “reads one text at once” [1]. 原文说“同时阅读问题和答案”[2]。"
    for statement in statements(answer, [0.9, 0.0, 0.0], [0.0, 0.9, 0.0]):
        assert len(statement.false_quotations) == 1
        assert statement.support == 0.9
        assert not statement.supported


def test_a_quotation_counts_where_it_is_cited() -> None:
    answer = "It says “before any question is known” [1]."
    (statement,) = statements(answer, [0.9, 0.0, 0.9])
    assert statement.false_quotations == ("before any question is known",)


@pytest.mark.parametrize(
    "sentence",
    [
        "It “reads both texts at once.”",
        'It "Reads both  texts," they say.',
        "It “reads … at once”.",
        "模型「同时阅读问题和段落」。",
        "模型“同时阅读……更准确”。",
        "模型『同时阅读问题』。",
        "This is “late interaction”, a so-called 「重排」.",
        "见《检索增强生成入门手册》。",
        "It is 5 feet and 6 inches tall, not 5'6\".",
        "“The reranker reads both texts at once. It takes 30 ms.”",
    ],
)
def test_true_quotations_titles_and_names_are_not_flagged(sentence: str) -> None:
    assert false_quotations(sentence, PASSAGES) == ()


@pytest.mark.parametrize(
    ("sentence", "false"),
    [
        ("It “reads no text at all”.", ("reads no text at all",)),
        ('It "takes 50 ms each", and "takes 30 ms".', ("takes 50 ms each",)),
        ("它「只阅读问题」。", ("只阅读问题",)),
        ("它“从不阅读问题”，也『不读段落』。", ("从不阅读问题", "不读段落")),
        ("It “reads both texts … never”.", ("reads both texts … never",)),
    ],
)
def test_false_quotations_are_named(sentence: str, false: tuple[str, ...]) -> None:
    assert false_quotations(sentence, PASSAGES) == false


@pytest.mark.parametrize(
    ("sentence", "words"),
    [
        ("- 30 cats **sleep** here.", "30 cats sleep here."),
        ("12. It costs `5` euros.", "It costs 5 euros."),
        ("1、价格是5元。", "价格是5元。"),
        ("2008年是闰年。", "2008年是闰年。"),
        ("> * one", "one"),
    ],
)
def test_plain_leaves_the_words_and_their_numbers(sentence: str, words: str) -> None:
    assert plain(sentence) == words
