"""Inspecting a question in a real browser: six parts, in English and in Chinese."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator

from tests.browser.conftest import Visit, Visitor, visiting

QUESTIONS = ("When is a reranker worth having?", "中文文本为什么要先分词？")
# How each part says it is to be read.
READING = {
    "Side by side": "Each line is a passage",
    "Words": "The darker a word",
    "Where did it go?": "Paste the text you expected",
    "What if": "Move a slider",
    "What scores mean": "Grey: the scores of",
    "Compare": "The same question once more",
}
FITS = "document.scrollingElement.scrollWidth <= innerWidth"


@dataclass
class Inspection:
    """The Inspect page, showing one question."""

    visit: Visit

    def ask(self, question: str) -> None:
        self.visit.page.get_by_test_id("stChatInputTextArea").fill(question)
        self.visit.page.get_by_test_id("stChatInputSubmitButton").click()
        self.visit.page.locator("h3", has_text=question).wait_for()
        self.visit.settle()

    def part(self, name: str) -> Locator:
        """Open a part; gives the main block."""
        main = self.visit.page.get_by_test_id("stMainBlockContainer")
        main.get_by_test_id("stButtonGroup").get_by_text(name, exact=True).click()
        main.get_by_text(READING[name]).wait_for()
        self.visit.settle()
        return main

    def table(self, number: int = 0) -> list[list[str]]:
        """What a table says, row by row, as a screen reader is told it."""
        frame = self.visit.page.get_by_test_id("stDataFrame").nth(number)
        frame.locator("[role=row]").nth(1).wait_for(state="attached")
        rows = frame.locator("[role=row]").all()
        return [row.locator("[role=gridcell]").all_text_contents() for row in rows[1:]]


@pytest.fixture(scope="module")
def browsing(chromium: Browser, app: str) -> Iterator[Visit]:
    with visiting(chromium, app) as visit:
        yield visit


@pytest.fixture(scope="module", params=QUESTIONS, ids=["en", "zh"])
def asked(request: pytest.FixtureRequest, browsing: Visit) -> Iterator[tuple[Inspection, str]]:
    """One session a language, for all parts: asking again and again would only take time."""
    browsing.page.goto(f"{browsing.url}/inspection")
    inspection = Inspection(browsing)
    inspection.ask(request.param)
    yield inspection, request.param
    browsing.assert_nothing_foreign()


def test_side_by_side_shows_every_stage(asked: tuple[Inspection, str]) -> None:
    inspection, _ = asked
    main = inspection.part("Side by side")
    chart = main.locator("[data-testid=stVegaLiteChart] svg")
    chart.wait_for()
    for column in ("Dense recall", "Full text", "Fused", "Reranked", "In the prompt", "Cited"):
        assert column in chart.text_content()
    first = inspection.table()[0]
    assert "1" in first
    assert any(re.search(r"\.(pdf|docx|md|txt|html), p\. \d", cell) for cell in first)
    assert "sentences supported" in main.inner_text() or "sentence supported" in main.inner_text()


def test_words_stand_beside_what_they_matched(asked: tuple[Inspection, str]) -> None:
    inspection, question = asked
    main = inspection.part("Words")
    shaded = main.locator(".stMarkdownColoredBackground").all_inner_texts()
    word, match = ("reranker", "reranker") if question.isascii() else ("中文", "中文")
    assert match in shaded
    rows = [row for row in inspection.table() if word in row]
    assert rows
    assert rows[0][-1].startswith(f"{match} (")
    assert "MaxSim" in main.inner_text()


def test_an_expected_text_is_found_and_its_stage_named(asked: tuple[Inspection, str]) -> None:
    inspection, question = asked
    main = inspection.part("Where did it go?")
    expected = "reciprocal rank fusion" if question.isascii() else "倒排索引"
    box = main.get_by_role("textbox", name="Text you expected")
    box.fill(expected)
    box.blur()
    inspection.visit.settle()
    main.get_by_role("button", name="Find it").first.click()
    main.locator(".stMarkdownBadge").last.wait_for()
    inspection.visit.settle()
    told = main.inner_text()
    assert re.search(r"rank \d+|place \d+|cite|prompt|threshold|rerank", told)


def test_a_slider_reorders_at_once(asked: tuple[Inspection, str]) -> None:
    inspection, _ = asked
    main = inspection.part("What if")
    assert "The prompt stays as it is." in main.inner_text()
    slider = main.get_by_role("slider", name="Relevance threshold")
    slider.focus()
    started = time.perf_counter()
    slider.press("End")
    main.get_by_text(re.compile(r"passages? leaves? the prompt")).wait_for()
    seconds = time.perf_counter() - started
    assert seconds < 3, "a figure that a busy machine can keep; the note has the measured one"
    main.get_by_role("button", name="Back to the saved settings").click()
    main.get_by_text("The prompt stays as it is.").wait_for()


def test_scores_are_held_against_unrelated_pairs(asked: tuple[Inspection, str]) -> None:
    inspection, _ = asked
    main = inspection.part("What scores mean")
    main.get_by_text("unrelated pairs").first.wait_for()
    inspection.visit.settle()
    told = main.inner_text()
    assert re.search(r"above (all|\d+\.\d %)", told)
    assert any(word in told for word in ("strong", "clear", "weak", "like chance"))


def test_two_settings_stand_side_by_side(asked: tuple[Inspection, str]) -> None:
    inspection, _ = asked
    main = inspection.part("Compare")
    main.get_by_test_id("stSelectbox").filter(has_text="Reranker").locator("input").click()
    inspection.visit.page.get_by_role("option", name="none").click()
    main.get_by_role("button", name="Compare").last.click()
    main.get_by_text("The other:").wait_for()
    inspection.visit.settle()
    assert "none · recall 100" in main.inner_text()
    assert inspection.table()


def test_a_trace_is_saved_and_read_back(asked: tuple[Inspection, str], tmp_path: Path) -> None:
    inspection, question = asked
    page = inspection.visit.page
    with page.expect_download() as saved:
        page.get_by_role("button", name="JSON").click()
    file = tmp_path / "trace.json"
    saved.value.save_as(file)
    assert json.loads(file.read_text(encoding="utf-8"))["question"] == question
    with page.expect_download() as report:
        page.get_by_role("button", name="Report").click()
    html = tmp_path / "report.html"
    report.value.save_as(html)
    assert question in html.read_text(encoding="utf-8")


@pytest.mark.parametrize(("width", "scheme"), [(700, "light"), (1280, "dark")])
def test_the_page_fits_its_window(asked: tuple[Inspection, str], width: int, scheme: str) -> None:
    inspection, _ = asked
    inspection.visit.resize(width, scheme)
    for name in ("What if", "Side by side"):
        inspection.part(name)
        assert inspection.visit.page.evaluate(FITS)


def test_why_leads_to_the_passage_and_history_brings_it_back(visitor: Visitor, app: str) -> None:
    visit = visitor(app).open()
    answer = visit.ask(QUESTIONS[1])
    answer.get_by_role("button", name="Why?").first.click()
    visit.page.get_by_role("heading", name="Inspect", exact=True).wait_for()
    visit.settle()
    assert QUESTIONS[1] in visit.text
    visit.page.reload()
    visit.page.get_by_test_id("stChatInputTextArea").wait_for()
    visit.settle()
    assert "Ask a question, pick one" in visit.text
    visit.page.get_by_test_id("stSelectbox").locator("input").first.click()
    visit.page.get_by_role("option").filter(has_text=QUESTIONS[1]).first.click()
    started = time.perf_counter()
    visit.page.locator("h3", has_text=QUESTIONS[1]).wait_for()
    assert time.perf_counter() - started < 3
    visit.settle()


def test_another_browser_has_another_history(visitor: Visitor, app: str) -> None:
    visit = visitor(app).open("Inspect")
    assert visit.page.get_by_placeholder("History: 0 questions").count() == 1
