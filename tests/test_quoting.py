"""Quoted answers: sentences that answer, in both languages, whatever the line breaks."""

from __future__ import annotations

import pytest

from rag.folding import fold, one_line
from rag.models.quoting import QuoteAnswerer
from rag.sentences import sentences
from rag.types import Chunk, Passage
from tests.fakes import FakeEmbedder


def passages(*texts: str, with_tokens: bool = True) -> list[Passage]:
    tokens = FakeEmbedder().encode_documents(texts).tokens or ()
    return [
        Passage(
            Chunk(f"c{place}", "d", place, 1, 0, len(text), text),
            "a.txt",
            0.5,
            0.0,
            tokens[place] if with_tokens else None,
        )
        for place, text in enumerate(texts)
    ]


def quoted(question: str, *texts: str, with_tokens: bool = True) -> list[str]:
    embedder = FakeEmbedder(with_tokens=with_tokens)
    answerer = QuoteAnswerer(embedder, sentences)
    found = passages(*texts, with_tokens=with_tokens)
    return list(answerer.stream(embedder.encode_question(question), found, []))


@pytest.mark.parametrize("with_tokens", [True, False])
def test_the_sentence_that_shares_the_words_is_quoted_with_its_number(with_tokens: bool) -> None:
    texts = ("Bread needs flour.", "Dogs bark at night. The cat sleeps on the mat.")
    (first, *_) = quoted("Where does the cat sleep on the mat?", *texts, with_tokens=with_tokens)
    assert first == "“The cat sleeps on the mat.” [2]"


def test_headings_and_questions_are_no_answers() -> None:
    text = "# The cat on the mat\n\nWhere does the cat sleep? The cat sleeps on the mat."
    assert quoted("Where does the cat sleep?", text)[0] == "“The cat sleeps on the mat.” [1]"
    assert quoted("猫睡在哪里？", "猫睡在哪里？猫睡在垫子上。") == ["“猫睡在垫子上。” [1]"]


def test_a_passage_of_headings_alone_is_still_quoted() -> None:
    assert quoted("the cat", "# The cat") == ["“# The cat” [1]"]


def test_the_better_passage_wins_a_tie_and_nothing_is_quoted_twice() -> None:
    pieces = quoted("the cat sleeps", "The cat sleeps.", "The cat sleeps.")
    assert pieces == ["“The cat sleeps.” [1]"]


def test_a_far_worse_second_sentence_is_left_out() -> None:
    assert len(quoted("the cat sleeps", "The cat sleeps. Ships sail far away.")) == 1
    assert len(quoted("the cat sleeps", "The cat sleeps. The cat sleeps well.")) == 2


def test_line_breaks_leave_no_blank_inside_chinese() -> None:
    assert one_line("所以中文文本必须先\n分词。\nEnglish words\nstay  apart") == (
        "所以中文文本必须先分词。 English words stay apart"
    )


def test_folding_makes_width_and_case_equal() -> None:
    assert fold("ＲＡＧ　Ｗｏｒｄｓ ﬁt ｶﾞ") == "rag words fit ガ"
