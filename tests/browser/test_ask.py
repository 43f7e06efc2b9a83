"""Asking: answers, sources, evidence, in English and in Chinese."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from tests.browser.conftest import FirstVisit, Visit, visiting

EVIDENCE = re.compile(
    r"dense \d\.\d\d \(#\d+\) · BM25 .* · fused #\d+ · rerank \d+% \(#\d+.*\) · support \d+%"
)
FITS = "document.scrollingElement.scrollWidth <= innerWidth"
BRIGHTNESS = """() => {
    const app = document.querySelector('[data-testid=stApp]');
    return parseInt(getComputedStyle(app).backgroundColor.match(/\\d+/)[0]);
}"""
TIMINGS = re.compile(r"\d+\.\d\d s \(encode \d.* · rerank \d.* · check \d\.\d\d\) · quoted")


@pytest.fixture(scope="module")
def conversation(chromium: Browser, app: str) -> Iterator[Visit]:
    with visiting(chromium, app) as visit:
        yield visit.open()


@pytest.fixture
def visit(conversation: Visit) -> Iterator[Visit]:
    """One conversation for all questions: opening the page for each would only take time."""
    yield conversation
    conversation.assert_nothing_foreign()


def test_a_new_user_gets_a_library_with_one_press(first_visit: FirstVisit) -> None:
    assert "The library is empty." in first_visit.welcome
    assert re.search(r"\d of 5 files done", first_visit.progress)
    assert first_visit.results.count(": added (") == 5
    assert "retrieval-handbook.pdf: added (7 pages, " in first_visit.results


@pytest.mark.parametrize(
    ("question", "source", "words"),
    [
        (
            "When is a reranker worth having?",
            "choosing-a-reranker.docx, p. 1",
            "the right passage is usually found but seldom first",
        ),
        ("中文文本为什么要先分词？", "retrieval-handbook.pdf, p. 6", "中文文本必须先分词"),
    ],
)
def test_an_answer_shows_what_earned_its_sources(
    visit: Visit, question: str, source: str, words: str
) -> None:
    answer = visit.ask(question)
    shown = answer.inner_text()
    assert words in shown.split("[1]")[0]
    assert TIMINGS.search(shown)
    card = answer.locator(f"h3:has-text('{source}')").first
    assert re.match(r"\[\d\] ", card.inner_text())
    evidence = [line for line in shown.splitlines() if "· support" in line]
    assert evidence
    assert all(EVIDENCE.fullmatch(line) for line in evidence)
    highlighted = answer.locator(".stMarkdownColoredBackground").all_inner_texts()
    assert any(words in sentence for sentence in highlighted)
    link = answer.get_by_role("link", name="[1]", exact=True).first
    link.scroll_into_view_if_needed()
    link.click()
    number = visit.page.get_by_test_id("stChatMessage").count() // 2
    visit.page.wait_for_function(
        """name => {
            const box = document.getElementById(name).getBoundingClientRect();
            return box.top >= 0 && box.bottom <= innerHeight && box.height > 0;
        }""",
        arg=f"answer-{number}-source-1",
    )


def test_a_question_about_nothing_in_the_library_says_so(visit: Visit) -> None:
    answer = visit.ask("Who won the football world cup in 1954?")
    assert "Nothing in the library answers this question." in answer.inner_text()


def test_a_file_dropped_beside_a_question_answers_it(visit: Visit) -> None:
    note = "# Lighthouse\n\nThe Pellworm lighthouse keeper feeds eleven grey geese at dawn.\n"
    visit.page.locator("[data-testid=stChatInput] input[type=file]").set_input_files(
        {"name": "keeper.md", "mimeType": "text/markdown", "buffer": note.encode()}
    )
    visit.page.get_by_text("keeper.md").first.wait_for()
    answer = visit.ask("How many geese does the Pellworm lighthouse keeper feed?")
    assert "eleven grey geese" in answer.inner_text()
    assert "keeper.md, p. 1" in answer.inner_text()
    assert "keeper.md: added (1 page, 1 chunk)" in visit.text


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (800, "dark")])
def test_every_page_fits_its_window(visit: Visit, width: int, scheme: str) -> None:
    visit.resize(width, scheme)
    visit.page.goto(visit.url)
    for name in ("Library", "Ask"):
        visit.open(name)
        assert visit.page.evaluate(FITS)
    assert (visit.page.evaluate(BRIGHTNESS) < 128) is (scheme == "dark")
    visit.page.get_by_role("button", name="重排模型为什么比向量召回更准？").click()
    visit.page.get_by_text(" · rerank ").first.wait_for()
    visit.settle()
    assert visit.page.evaluate(FITS)
    assert "检索入门.md, p. 1" in visit.text or "retrieval-handbook.pdf, p. " in visit.text
