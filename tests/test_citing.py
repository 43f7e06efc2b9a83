"""Citations of every spelling become `[n]`, invented ones go, and quotes are really there."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

import rag.sentences
from rag.citing import SentenceSplitter, cite, find_quote, without_citations


def sentences(text: str) -> list[tuple[int, int]]:
    """Spans of sentences, cut at full stops and line ends."""
    pattern = r"[^.!?。！？\n]+(?:[.!?](?!\S)|[。！？])*"
    return [match.span() for match in re.finditer(pattern, text) if match.group().strip()]


def claims(
    answer: str, passages: int = 3, split: SentenceSplitter = sentences
) -> list[tuple[str, tuple[int, ...], str]]:
    """Each claim that cites as shown, its numbers, and its sentence without citations."""
    cited = cite(answer, passages, split)
    return [(cited.text[c.start : c.end], c.numbers, c.text) for c in cited.claims if c.numbers]


def uncited(answer: str, split: SentenceSplitter = rag.sentences.sentences) -> list[str]:
    """The claims without a citation, as shown."""
    cited = cite(answer, 3, split)
    return [cited.text[c.start : c.end] for c in cited.claims if not c.numbers]


@pytest.mark.parametrize(
    ("written", "normal"),
    [
        ("It is so [1].", "It is so [1]."),
        ("It is so [1][2].", "It is so [1][2]."),
        ("It is so [1] [2].", "It is so [1][2]."),
        ("It is so [1], [2].", "It is so [1][2]."),
        ("It is so [1, 2].", "It is so [1][2]."),
        ("事实如此[1，2]。", "事实如此[1][2]。"),
        ("事实如此[1、3]。", "事实如此[1][3]。"),
        ("It is so [1; 3].", "It is so [1][3]."),
        ("It is so [1-3].", "It is so [1][2][3]."),
        ("It is so [1–2, 3].", "It is so [1][2][3]."),
        ("It is so [3-1].", "It is so [1][2][3]."),
        ("事实如此【1】。", "事实如此[1]。"),
        ("事实如此【1】【2】。", "事实如此[1][2]。"),
        ("事实如此［１］。", "事实如此[1]。"),
        ("It is so [^1].", "It is so [1]."),
        ("It is so [1†source].", "It is so [1]."),
        ("It is so 【1†L3-L9】.", "It is so [1]."),
        ("It is so 【3:0†handbook.pdf】.", "It is so [3]."),
        ("It is so [Passage 2].", "It is so [2]."),
        ("事实如此[来源2]。", "事实如此[2]。"),
        ("It is so [[1]].", "It is so [1]."),
        ("It is so [[1], [2]].", "It is so [1][2]."),
        ("It is so [ 1 ].", "It is so [1]."),
        ("It is so [1](http://evil.example/?q=1).", "It is so [1]."),
        ('It is so [1](<http://evil.example> "title").', "It is so [1]."),
        ("It is so [1, 1].", "It is so [1]."),
        ("It is so ([1]).", "It is so ([1])."),
        ("It is so.\n\n[1]: http://evil.example/x", "It is so.\n\n[1] "),
        ("It is so.\n\n[^1]: Handbook", "It is so.\n\n[1] Handbook"),
    ],
)
def test_every_spelling_becomes_one(written, normal):
    cited = cite(written, 3, sentences)
    assert (cited.text, cited.dropped) == (normal, 0)


@pytest.mark.parametrize(
    ("written", "normal", "dropped"),
    [
        ("It is so [9].", "It is so.", 1),
        ("It is so [0].", "It is so.", 1),
        ("It is so [2023].", "It is so.", 1),
        ("事实如此【8】。", "事实如此。", 1),
        ("It is so [1, 9].", "It is so [1].", 1),
        ("It is so [2][7][8].", "It is so [2].", 2),
        ("It is so [1], [9].", "It is so [1].", 1),
        ("It is so [2-9].", "It is so [2][3].", 1),
        ("It is so [1990-2023].", "It is so.", 2),
        ("It is so ([9]).", "It is so.", 1),
        ("It is so （[1]，[9]）.", "It is so （[1]）.", 1),
        ("It is so [9](http://evil.example).", "It is so.", 1),
        ("It is so [" + "9" * 5000 + "].", "It is so.", 1),
        ("[9] It is so.", "It is so.", 1),
        ("[9]: http://evil.example\nIt is so.", "\nIt is so.", 1),
    ],
)
def test_invented_numbers_are_taken_out_and_counted(written, normal, dropped):
    cited = cite(written, 3, sentences)
    assert (cited.text, cited.dropped) == (normal, dropped)


@pytest.mark.parametrize(
    "text",
    [
        "Use `a[1]` and ``b`[9]``.",
        "```python\na[1] = b[9]\n```",
        "~~~\na[9]\n~~~",
        "```\nnever closed [9]",
        "根据国发[2023]5号文件。",
        "No [citation] at [1.5] or [x1] or [] here.",
    ],
)
def test_what_is_no_citation_stays(text):
    cited = cite(text, 3, sentences)
    assert (cited.text, cited.dropped) == (text, 0)
    assert not any(claim.numbers for claim in cited.claims)


def test_citations_beside_code_are_read():
    cited = cite("Call `a[9]` first [1, 9].", 3, sentences)
    assert (cited.text, cited.dropped) == ("Call `a[9]` first [1].", 1)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("One. [1] Two [2].", [("One. [1]", (1,), "One."), ("Two [2].", (2,), "Two.")]),
        ("一。[1]二[2]。", [("一。[1]", (1,), "一。"), ("二[2]。", (2,), "二。")]),
        ("一[1]。二。", [("一[1]。", (1,), "一。")]),
        ("一。【1】【2】\n二。", [("一。[1][2]", (1, 2), "一。")]),
        ("One [2] and two [1] [2].", [("One [2] and two [1][2].", (2, 1), "One and two.")]),
        ("One.\n[1]\nTwo.", [("One.\n[1]", (1,), "One.")]),
        ("One.\n[2] Two. Three.", [("[2] Two.", (2,), "Two.")]),
        ("One.\n- [3] Two.\n", [("- [3] Two.", (3,), "- Two.")]),
        ("- One [1]\n- Two [2]", [("- One [1]", (1,), "- One"), ("- Two [2]", (2,), "- Two")]),
        ("It is so (一 [1]).", [("It is so (一 [1]).", (1,), "It is so (一).")]),
        ("It is so ([1]).", [("It is so ([1]).", (1,), "It is so.")]),
        ("[1]", [("[1]", (1,), "")]),
        ("One. Two.", []),
        ("", []),
    ],
)
def test_a_citation_belongs_to_the_sentence_before_it_or_the_line_it_opens(answer, expected):
    assert claims(answer) == expected


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("One is so. Two is so [2]. Three is so.", ["One is so.", "Three is so."]),
        ("一是这样。二是这样[1]。三是这样。", ["一是这样。", "三是这样。"]),
        ("It is so [1]It goes on.", []),
        ("# A heading\n\nIt is so.", ["It is so."]),
        ("**结论**\n\n事实如此。", ["事实如此。"]),
        ("**It is so**.", ["**It is so**."]),
        ("There are two ways:\n\n- the first\n- the second", ["- the first", "- the second"]),
        ("有以下两点：\n\n- 第一点\n- 第二点", ["- 第一点", "- 第二点"]),
        ("---\n\n...\n\n***", []),
        ("```python\nx = 1\n\ny = 2\n```\nIt is so.", ["It is so."]),
        ("`rag serve`", []),
        ("Run `rag serve`.", ["Run `rag serve`."]),
        ("Do you want more? 还想知道什么？", []),
        ("", []),
    ],
)
def test_a_sentence_that_states_something_is_a_claim_also_without_a_citation(answer, expected):
    assert uncited(answer) == expected


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("“One is. Two is.” [1] Three is.", [("“One is. Two is.” [1]", (1,), "“One is. Two is.”")]),
        ('He wrote "One. Two." [1]', [('He wrote "One. Two." [1]', (1,), 'He wrote "One. Two."')]),
        ("「一。二。」[2]三。", [("「一。二。」[2]", (2,), "「一。二。」")]),
        ("“One is. Two is [1].", [("Two is [1].", (1,), "Two is.")]),
        (
            "“One “is so. And” two.” [1]",
            [("“One “is so. And” two.” [1]", (1,), "“One “is so. And” two.”")],
        ),
    ],
)
def test_a_quotation_is_one_claim_with_its_citation(answer, expected):
    assert claims(answer, split=rag.sentences.sentences) == expected


ANSWERS = st.text(
    st.sampled_from("ab 1239[]【】［］(),，-–^†:.。\n`#*:号 句"),
    max_size=60,
)


@given(ANSWERS, st.integers(0, 4))
def test_whatever_is_written_only_real_numbers_are_left(answer, passages):
    """Normalising again changes nothing, and claims hold just the citations of the text."""
    cited = cite(answer, passages, sentences)
    assert cite(cited.text, passages, sentences) == type(cited)(cited.text, 0, cited.claims)
    for claim in cited.claims:
        shown = cited.text[claim.start : claim.end]
        assert claim.numbers or claim.text
        assert all(1 <= number <= passages for number in claim.numbers)
        assert all(f"[{number}]" in shown for number in claim.numbers)
    starts = [claim.start for claim in cited.claims]
    assert starts == sorted(starts)


@pytest.mark.parametrize("piece", ["[1", "[", "[ ", " ", "`", "``` ", "(", "[1]", "[1,", "(["])
def test_a_long_answer_is_read_in_time(piece):
    text = piece * (20_000 // len(piece))
    started = time.perf_counter()
    cite(text, 3, lambda bare: [(0, len(bare))])
    assert time.perf_counter() - started < 2


def test_an_earlier_answer_reads_without_its_citations():
    assert without_citations("It is so [4], 如此【2】。`a[1]`") == "It is so, 如此。`a[1]`"


# --- quotes --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("quote", "text", "found"),
    [
        ("both texts", "It reads both texts at once.", "both texts"),
        ("Both  Texts", "It reads both\ntexts at once.", "both\ntexts"),
        ("“both texts”", "It reads both texts at once.", "both texts"),
        ('says "yes" to', "He says «yes» to it.", "says «yes» to"),
        ("同时阅读问题", "模型同时阅\n读问题和段落。", "同时阅\n读问题"),
        ("第1章(总则)", "见第１章（总则）。", "第１章（总则）"),
        ("「总则」", "见“总则”。", "总则"),
        ("cafe\u0301", "Le Café.", "Café"),
        ("cooperation", "co\u00adop\u00aderation", "co\u00adop\u00aderation"),
        ("STRASSE", "die Straße", "Straße"),
        ("o", "ÒO", "O"),
    ],
)
def test_a_quote_is_found_whatever_its_blanks_case_width_and_marks(quote, text, found):
    span = find_quote(quote, text)
    assert span is not None
    assert text[slice(*span)] == found


@pytest.mark.parametrize(
    ("quote", "text"),
    [
        ("both text s are", "It reads both texts."),
        ("阅读答案", "阅读问题"),
        ("", "text"),
        (" “” ", "text"),
        ("long quote", ""),
        ("not 5", "not 6"),
    ],
)
def test_a_false_quote_is_not_found(quote, text):
    assert find_quote(quote, text) is None


@given(st.text(min_size=1, max_size=80), st.data())
def test_every_slice_that_is_not_blank_is_found(text, data):
    start = data.draw(st.integers(0, len(text) - 1))
    end = data.draw(st.integers(start + 1, len(text)))
    wanted = text[start:end]
    span = find_quote(wanted, text)
    if span is not None:
        assert find_quote(text[slice(*span)], wanted) is not None
    else:
        assert not any(character.isalnum() for character in wanted)
