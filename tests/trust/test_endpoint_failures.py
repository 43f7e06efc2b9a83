"""If the language model fails, the sources are there, the cause is told, and nothing is lost."""

from __future__ import annotations

from pathlib import Path
from time import monotonic

import pytest
from playwright.sync_api import Browser, Locator

from tests.browser.conftest import CANARY, FirstVisit, Visit, serving, visiting
from tests.test_answerers import FAILURES

QUESTIONS = ("When is a reranker worth having?", "重排模型为什么比向量召回更准？")
MODES = [(mode, begun, cause) for mode, begun, cause, _ in FAILURES if mode != "no-such-model"]
# The time limits of the fixture's endpoint are not those of FAILURES.
OTHER_WORDS = {"hang-midway": "in the middle of the answer"}
LONGEST_SECONDS = 30


def cause_of(mode: str, cause: str) -> str:
    if cause.startswith("no answer within"):
        return "no answer within"
    return OTHER_WORDS.get(mode, cause)


def assert_told(answer: Locator, begun: str, cause: str) -> None:
    """Sources, cause and next step are on the page; what was written before it failed stays."""
    shown = answer.inner_text().replace("\u2060", "")
    # A question that follows others is rewritten first, and that failed as well.
    alerts = [
        text.replace("\u2060", "") for text in answer.get_by_test_id("stAlert").all_inner_texts()
    ]
    told = [alert for alert in alerts if cause in alert]
    assert told, alerts
    assert len(told[-1].splitlines()) >= 2, "a hint follows the cause"
    assert "dense " in shown
    assert " · rerank " in shown
    assert "Traceback" not in shown
    if begun:
        assert begun.split(" [")[0] in shown
        assert "The answer is incomplete." in shown


def assert_nothing_lost(visit: Visit) -> None:
    """Every question that failed is in the history, and the key is nowhere on the page."""
    assert CANARY not in visit.page.content()
    visit.open("Inspect")
    box = visit.page.get_by_test_id("stSelectbox").first.locator("input")
    for mode, _, _ in MODES:
        box.click()
        box.fill(f"({mode})")
        visit.page.get_by_role("option").filter(has_text=f"({mode})").first.wait_for()
        box.press("Escape")


@pytest.mark.row(8)
def test_every_failure_of_the_endpoint_leaves_the_sources_and_the_next_question_works(
    chromium: Browser, written_app: str, record_property: pytest.RecordProperty
) -> None:
    slowest = 0.0
    with visiting(chromium, written_app) as visit:
        visit.open()
        for number, (mode, begun, cause) in enumerate(MODES):
            started = monotonic()
            answer = visit.ask(f"{QUESTIONS[number % 2]} ({mode})")
            slowest = max(slowest, monotonic() - started)
            assert_told(answer, begun, cause_of(mode, cause))
            next_one = visit.ask(QUESTIONS[number % 2])
            assert next_one.get_by_test_id("stAlert").count() == 0
            assert "written by as-asked" in next_one.inner_text()
            if number % 8 == 7:
                # A conversation of sixty answers would only take longer to draw.
                visit.page.reload()
                visit.open()
        assert_nothing_lost(visit)
    assert slowest <= LONGEST_SECONDS
    record_property("failures", len(MODES))
    record_property("slowest answer", f"{slowest:.1f} s")


@pytest.mark.row(8)
@pytest.mark.parametrize(
    ("address", "cause"),
    [
        ("http://127.0.0.1:9/v1", "the connection was refused"),
        ("http://nowhere.invalid/v1", "nowhere.invalid"),
    ],
)
def test_an_endpoint_that_is_not_there_leaves_the_sources(
    chromium: Browser, library_home: Path, first_visit: FirstVisit, address: str, cause: str
) -> None:
    environment = {"OPENAI_BASE_URL": address, "OPENAI_API_KEY": CANARY, "RAG_LLM_MODEL": "m"}
    with serving(library_home, **environment) as url, visiting(chromium, url) as visit:
        visit.open()
        for question in QUESTIONS:
            assert_told(visit.ask(question), "", cause)
