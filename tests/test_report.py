"""The report: complete, self-contained, and nothing of a document or an answer runs in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from bs4 import BeautifulSoup

from rag.report import html_report
from rag.types import Answer, Candidate, Citation, Notice, Record, Statement, Trace, Usage
from tests.test_rank_flow import answered, candidate, shuffled, trace

HOSTILE = (
    "<img src=x onerror=alert(1)><script>alert(2)</script>\"' onmouseover='x\" "
    "</title></style></svg><svg/onload=alert(3)> {{ 7*7 }} {% raw %} \x00\x1b\u202e\ud800 "
    "![x](http://evil.example/p.png) [here](javascript:alert(4)) <http://evil.example/a> "
    "```html\n<b>bold</b>\n```"
)
TAGS = (
    "html head meta title style body header main section article p h1 h2 h3 a span div ul ol li "
    "table thead tbody tr th td details summary mark strong em code pre blockquote br hr time "
    "svg g path circle line text"
)
ATTRIBUTES = (
    "lang charset content http-equiv name class id href style colspan datetime start role "
    "aria-label viewbox d cx cy r x y x1 x2 y1 y2"
)


def record(found: Trace, answer: Answer | None = None) -> Record:
    return Record("r1", datetime(2026, 11, 22, 23, 14, tzinfo=UTC), found, answer)


def read(page: str) -> BeautifulSoup:
    return BeautifulSoup(page, "lxml")


def assert_harmless(page: str) -> None:
    """Only the report's own tags and attributes, and no address but those within the page."""
    soup = read(page)
    for tag in soup.find_all(True):
        assert tag.name in TAGS.split(), tag.name
        assert {name.lower() for name in tag.attrs} <= set(ATTRIBUTES.split()), tag.attrs
        assert str(tag.get("href", "#")).startswith("#")
        assert "url(" not in str(tag.get("style", ""))
    for style in soup.find_all("style"):
        assert "url(" not in style.text
        assert "@import" not in style.text


def generated(found: Trace, text: str, statements: Sequence[Statement] = ()) -> Answer:
    return Answer(text, "generated", (), found.prompt, found, statements=tuple(statements))


def hostile_candidates() -> list[Candidate]:
    return [
        replace(
            c,
            document=HOSTILE,
            chunk=replace(c.chunk, text=f"{c.rank} {HOSTILE}", heading=HOSTILE),
        )
        for c in shuffled(8)
    ]


def test_hostile_texts_bring_no_tag_attribute_or_address() -> None:
    found = replace(
        trace(hostile_candidates(), question=HOSTILE),
        models={"embedder": HOSTILE, "reranker": HOSTILE, "answerer": HOSTILE},
        notices=(Notice(HOSTILE, HOSTILE),),
        profile=HOSTILE,
    )
    answer = generated(
        found, HOSTILE, [Statement(0, len(HOSTILE), (1,), 0.2, False, 2, 0.8, (HOSTILE,))]
    )
    answer = replace(
        answer,
        citations=(Citation(1, found.prompt[0], (0, 9), HOSTILE[:30], 2, 32, 0.5),),
        problem=Notice(HOSTILE, HOSTILE),
    )
    page = html_report(record(found, answer))
    page.encode()
    assert_harmless(page)
    assert "{{ 7*7 }}" in page
    assert "\u202e" not in page


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("![a picture](http://evil.example/p.png)", "[image: a picture]"),
        ("[the *source*](https://evil.example/x?y)", "the source (evil.example)"),
        ("[x](javascript:alert(1))", "[x](javascript:alert(1))"),
        ("<b>bold</b>", "<b>bold</b>"),
        ("[1]: http://evil.example\n", "[1]: http://evil.example"),
        ("# 标题\n\n文字", "标题"),
        ("[a](http://[x)", "a"),
    ],
)
def test_markdown_of_an_answer_leads_nowhere(written: str, shown: str) -> None:
    found = trace(shuffled(8))
    page = html_report(record(found, generated(found, written)))
    assert_harmless(page)
    assert shown in read(page).select_one(".answer").text


def test_citations_lead_to_their_sources() -> None:
    found = trace(shuffled(8))
    soup = read(html_report(record(found, generated(found, "重排更准 [1][3]。See [9] and `[2]`."))))
    links = [a["href"] for a in soup.select(".answer a")]
    assert links == ["#source-1", "#source-3"]
    assert all(soup.select_one(link) for link in links)


def test_the_quote_is_marked_and_the_text_stays_whole() -> None:
    found = trace(shuffled(8))
    soup = read(html_report(record(found, answered(found, 1, 2))))
    for number, source in enumerate(found.prompt, start=1):
        text = soup.select_one(f"#source-{number} .text")
        assert text.text == source.chunk.text
        marks = [mark.text for mark in text.select("mark")]
        assert marks == ([source.chunk.text[:8]] if number < 3 else [])


def test_overlapping_quotes_are_marked_once() -> None:
    found = trace(shuffled(8))
    best = found.prompt[0]
    spans = [(0, 6), (3, 9), (4, 5)]
    citations = tuple(Citation(1, best, (0, 1), best.chunk.text[a:b], a, b, 0.9) for a, b in spans)
    answer = replace(answered(found), citations=citations)
    text = read(html_report(record(found, answer))).select_one("#source-1 .text")
    assert text.text == best.chunk.text
    assert "".join(mark.text for mark in text.select("mark")) == best.chunk.text[:9]


def test_every_statement_is_told_with_its_support() -> None:
    found = trace(shuffled(8))
    text = "It is fast [1]. 它“永远正确”[2]。"
    statements = [
        Statement(0, 15, (1,), 0.93, True),
        Statement(16, len(text), (2,), 0.1, False, 3, 0.71, ("永远正确",)),
    ]
    soup = read(html_report(record(found, generated(found, text, statements))))
    assert "1 of 2 sentences supported" in soup.text
    first, second = soup.select(".statements li")
    assert first["class"] == ["supported"]
    assert "93%" in first.text
    assert second["class"] == ["unsupported"]
    assert "[3] supports it better: 71%" in second.text
    assert "No cited source holds the words “永远正确”" in second.text
    assert second.span["lang"] == "zh"


def test_every_candidate_is_there_with_its_scores() -> None:
    found = trace(shuffled(70))
    rows = read(html_report(record(found))).select(".candidates tbody tr")
    assert len(rows) == 70
    for row, c in zip(rows, found.candidates, strict=True):
        assert c.chunk.text in row.text
        assert f"#{c.fused.rank}" in row.text
        assert ("not seen" in row.text) == (c.lexical is None)


def test_the_drawing_has_a_titled_line_for_every_path() -> None:
    found = trace(shuffled(60))
    soup = read(html_report(record(found, answered(found, 1))))
    lines = soup.select("svg g")
    assert len(lines) == 41
    assert all(line.select_one("title").text for line in lines)
    assert [line["class"] for line in lines[-1:]] == [["rescued"]]


def test_a_search_a_problem_and_nothing_relevant_are_told() -> None:
    found = trace(shuffled(8))
    assert len(read(html_report(record(found))).select("article")) == 5
    broken = replace(generated(found, "Half an"), problem=Notice("The stream broke.", "Ask again."))
    page = read(html_report(record(found, broken))).text
    assert "The answer is incomplete. The stream broke. Ask again." in page
    none = replace(found, relevant=0)
    answer = Answer("", "nothing relevant", (), (), none)
    soup = read(html_report(record(none, answer)))
    assert "Nothing in the library answers this question" in soup.text
    assert len(soup.select("article")) == 3


def test_what_was_searched_and_what_it_cost_are_told() -> None:
    asked = Usage("rewrite", "chat", "模型 <b>", 1, 1_234, 210, True, 0.0012, "USD")
    found = replace(trace(shuffled(3)), standalone="猫睡在<i>哪里？", usage=(asked,))
    page = html_report(record(found))
    assert_harmless(page)
    text = read(page).text
    assert "Searched for: 猫睡在<i>哪里？" in text
    assert "1,234 tokens in, 210 out, 0.0012 USD" in text
    assert "模型 <b>" in text
    assert "Searched for" not in html_report(record(trace(shuffled(3))))


def test_an_empty_trace_makes_a_report() -> None:
    page = html_report(record(trace([])))
    assert_harmless(page)
    assert "All 0 candidates" in page


def test_what_ran_is_told() -> None:
    page = read(html_report(record(trace(shuffled(3))))).text
    for told in ("2026-11-22 23:14 UTC", "embedder", "passages", "dense", "0.010", "local"):
        assert told in page


@pytest.mark.parametrize(
    ("question", "language"),
    [
        ("为什么要重排 BM25 结果？", "zh"),
        ("Why rerank?", "en"),
        ("なぜ再順位付け？", "ja"),
        ("?", "en"),
    ],
)
def test_the_language_of_the_question_is_declared(question: str, language: str) -> None:
    heading = read(html_report(record(trace(shuffled(3), question=question)))).h1
    assert heading["lang"] == language


@pytest.mark.parametrize(
    "sentence", ["A sentence of ten words that fills a passage well. ", "段落"]
)
def test_two_hundred_candidates_stay_below_600_kilobytes(sentence: str) -> None:
    text = sentence * (16 if sentence.isascii() else 160)
    found = trace([candidate(n, n, text=text) for n in range(1, 201)])
    assert len(html_report(record(found, answered(found, 1))).encode()) < 600_000
