"""Exact match, token F1 and gold in a text, against values worked out by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.evaluation.answer_measures import (
    exact_match,
    holds,
    says_nothing_found,
    token_f1,
    tokens,
)

TEXTS = st.text("ab 的猫2.，the", max_size=12)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The Norman  Conquest, of an isle.", ["norman", "conquest", "of", "isle"]),
        ("U.S. well-known $1,000", ["us", "wellknown", "1000"]),
        ("１３６ 次擒杀！", ["136", "次", "擒", "杀"]),
        (
            "iPhone 6s于2015年发布",
            ["iphone", "6s", "于", "2015", "年", "发", "布"],
        ),
        ("“《红楼梦》”", ["红", "楼", "梦"]),
        ("?!", []),
    ],
)
def test_tokens_are_words_without_articles_and_chinese_characters(
    text: str, expected: list[str]
) -> None:
    assert tokens(text) == expected


@pytest.mark.parametrize(
    ("answer", "right", "expected"),
    [
        # 2 of 4 tokens with the second answer's 5 are nearer than 1 of 4 with the first's 4.
        (
            "in the 10th century",
            ["10th and 11th centuries", "in the 10th and 11th centuries"],
            2 * 2 / (3 + 5),
        ),
        ("他有136次擒杀", ["136 次"], 2 * 2 / (6 + 2)),
        ("生于New York", ["纽约 (New York)"], 2 * 2 / (4 + 4)),
        ("no no no", ["No."], 2 * 1 / (3 + 1)),
        ("猫", ["狗"], 0),
        ("", ["the cat"], 0),
        ("the", ["a"], 1),
        ("anything", [], 0),
    ],
)
def test_f1_is_that_of_the_nearest_answer(answer: str, right: list[str], expected: float) -> None:
    assert token_f1(answer, right) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("answer", "right", "expected"),
    [
        ("the norman conquest.", ["Rollo", "Norman Conquest"], 1),
        ("二〇一五年。", ["二〇一五年"], 1),
        ("Norman Conquests", ["Norman Conquest"], 0),
    ],
)
def test_an_exact_match_is_one_of_the_answers(
    answer: str, right: list[str], expected: float
) -> None:
    assert exact_match(answer, right) == expected


@given(TEXTS, TEXTS)
def test_measures_keep_their_bounds(one: str, other: str) -> None:
    """F1 is 0..1 and the same both ways, and an exact match has all of it."""
    assert 0 <= token_f1(one, [other]) == token_f1(other, [one]) <= 1
    assert token_f1(one, [one]) == exact_match(one, [one]) == 1
    assert exact_match(one, [other]) <= token_f1(one, [other])


@pytest.mark.parametrize(
    ("text", "right", "expected"),
    [
        ("It lasted from 1990–1995.", ["1995"], True),
        ("卡万·肖特贡献了１１次擒杀。", ["11 次"], True),
        ("They held a party.", ["art"], False),
        ("In 1066, the duke won.", ["in 1066 duke"], True),
        ("The duke, in 1066, won.", ["1066 the duke"], False),
        ("100 次", ["10 次", "00"], False),
        ("some text", ["?", ""], False),
    ],
)
def test_an_answer_stands_in_a_text_token_by_token(
    text: str, right: list[str], expected: bool
) -> None:
    assert holds(text, right) is expected


@pytest.mark.parametrize(
    "text",
    [
        "The passages do not answer this question.",
        "None of the documents mentions it.",
        "I couldn't find this in the sources.",
        "文档中没有提到这一点。",
        "根据所给资料无法回答该问题。",
        "文件並未提及此事。",
    ],
)
def test_a_refusal_is_known_by_its_words(text: str) -> None:
    assert says_nothing_found(text)


@pytest.mark.parametrize(
    "text",
    ["No, he never did.", "He was not the king.", "它不是猫。", "The document names Rollo."],
)
def test_a_denial_alone_is_no_refusal(text: str) -> None:
    assert not says_nothing_found(text)
