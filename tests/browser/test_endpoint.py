"""Answers that a chat endpoint writes: checked and made safe; and what is left when it fails."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from tests.browser.conftest import CANARY, Visit, visiting
from tests.endpoint import Endpoint

QUESTION = "When is a reranker worth having?"


@pytest.fixture(scope="module")
def conversation(chromium: Browser, written_app: str) -> Iterator[Visit]:
    with visiting(chromium, written_app) as visit:
        yield visit.open()


@pytest.fixture
def visit(conversation: Visit) -> Iterator[Visit]:
    """One conversation for all answers: opening the page for each would only take time."""
    yield conversation
    conversation.assert_nothing_foreign()


def test_a_written_answer_cites_its_sources_and_hides_the_key(visit: Visit) -> None:
    answer = visit.ask(QUESTION)
    assert answer.get_by_role("link", name="[1]", exact=True).count() >= 1
    assert "written by as-asked" in answer.inner_text()
    assert "Answers: as-asked" in visit.text
    assert CANARY not in visit.page.content()


def test_a_follow_up_shows_what_was_searched_for_and_its_tokens(visit: Visit) -> None:
    visit.ask(QUESTION)
    shown = visit.ask("And when is it?").inner_text()
    assert f"Searched for: {QUESTION}" in shown
    assert "18 tokens in, 18 out, first word " in shown


def test_invented_sources_are_dropped_and_told(visit: Visit) -> None:
    shown = visit.ask(f"{QUESTION} (invents)").inner_text()
    assert "Invented source numbers taken out: 3" in shown
    assert "[9]" not in shown
    assert "[8]" not in shown


def test_a_hostile_answer_is_only_read(visit: Visit) -> None:
    shown = visit.ask(f"{QUESTION} (hostile)").inner_text().replace("\u2060", "")
    for part in ("[image: x]", "<script>", "$5 to $6", ":red[x]", ":smile:", "结尾 [image: 重排]"):
        assert part in shown


def test_an_answer_of_all_ways_to_call_out_is_only_read(visit: Visit) -> None:
    """In the browser once; every way in every view is tried in tests/trust."""
    shown = visit.ask(f"{QUESTION} (all-ways)").inner_text().replace("\u2060", "")
    for part in ("[image: 图]", "<script src=", "[x][there]", "@import", ":material/home:"):
        assert part in shown


def test_an_answer_is_shown_while_it_is_written(visit: Visit) -> None:
    answer = visit.send(f"{QUESTION} (hang-midway)")
    answer.get_by_text("The answer begins here").wait_for()
    alert = answer.get_by_test_id("stAlert")
    assert alert.count() == 0
    alert.wait_for()
    visit.settle()
    assert "The answer begins here" in answer.inner_text()


def test_an_answer_that_is_stopped_ends_at_once_and_keeps_its_sources(
    visit: Visit, chat_endpoint: Endpoint
) -> None:
    chat_endpoint.hung_up.clear()
    answer = visit.send(f"{QUESTION} (dawdles)")
    answer.get_by_text("Part 3 ").wait_for()
    # Streamlit has another one in its header, which leaves the page as it was.
    stop = visit.page.locator(".st-key-question-stop button")
    stop.click()
    assert chat_endpoint.hung_up.wait(3)
    answer.get_by_text("The answer was stopped.").wait_for()
    visit.settle()
    assert stop.count() == 0
    shown = answer.inner_text()
    assert "Part 3 " in shown
    assert "The answer is incomplete." in shown
    assert "choosing-a-reranker.docx, p. 1" in shown
    assert "The answer is incomplete." not in visit.ask(QUESTION).inner_text()
    assert "The answer was stopped." in answer.inner_text()


def test_a_question_too_long_is_told_and_stays_in_the_box(visit: Visit) -> None:
    box = visit.page.get_by_test_id("stChatInputTextArea")
    box.fill("word " * 1_000)
    visit.page.get_by_test_id("stChatInputSubmitButton").click()
    refused = visit.page.get_by_text("and the limit is 4,000.")
    refused.wait_for()
    visit.settle()
    assert box.input_value() == "word " * 1_000
    box.fill("")
    visit.ask(QUESTION)
    assert refused.count() == 0


@pytest.mark.parametrize(
    ("mode", "begun", "cause"),
    [
        ("status-401", False, "key"),
        ("error-midway", True, "crashed"),
    ],
)
def test_a_failing_endpoint_leaves_the_sources_and_the_next_question_works(
    visit: Visit, mode: str, begun: bool, cause: str
) -> None:
    alerts = visit.page.get_by_test_id("stAlert")
    before = alerts.count()
    answer = visit.ask(f"{QUESTION} ({mode})")
    assert ("The answer begins here" in answer.inner_text()) is begun
    assert cause in answer.get_by_test_id("stAlert").inner_text()
    assert "choosing-a-reranker.docx, p. 1" in answer.inner_text()
    assert CANARY not in visit.page.content()
    assert "written by" in visit.ask(QUESTION).inner_text()
    assert alerts.count() == before + 1
