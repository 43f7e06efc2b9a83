"""Bounds where people meet them: refused before any work, with the limit, and nothing lost."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner
from streamlit.testing.v1 import AppTest

from rag import opening
from rag.cli import main
from rag.errors import LimitReached
from rag.prompting import token_estimate
from rag.settings import EndpointSettings, LimitSettings
from rag.types import Turn
from rag.waiting_line import WaitingLine
from tests.endpoint import Endpoint
from tests.fakes import FakeAnswerer
from tests.test_pages import Open, ask, assert_clean, filled, home, open_app, press, texts
from tests.test_pipeline import make

__all__ = ["filled", "home", "open_app"]

QUESTION = "Where does the cat sleep?"
INSPECTION = "pages/inspection.py"


@pytest.mark.parametrize("page", ["", INSPECTION])
@pytest.mark.parametrize("letter", ["ab ", "猫"])
def test_a_question_that_is_too_long_is_refused_and_stays_in_the_box(
    open_app: Open, home: Path, page: str, letter: str
) -> None:
    answerer = FakeAnswerer()
    app = open_app(home, page, answerer=answerer)
    long = letter * 4_001
    app = ask(app, long)
    assert_clean(app)
    assert "and the limit is 4,000." in texts(app)
    assert "Shorten it" in texts(app)
    assert app.chat_input[0].proto.value == long
    assert answerer.seen == []
    assert long not in texts(app)
    app = ask(app, QUESTION)
    assert_clean(app)
    assert "limit" not in texts(app)
    assert len(answerer.seen) == 1


@pytest.mark.parametrize("page", ["", INSPECTION])
def test_one_question_too_many_is_told_and_disturbs_nobody_else(
    open_app: Open, home: Path, page: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAG_LIMITS_SESSION_QUESTIONS", "2")
    answerer = FakeAnswerer()
    app = open_app(home, page, answerer=answerer)
    for _ in range(2):
        app = ask(app, QUESTION)
        assert "Ask again in" not in texts(app)
    before = texts(app)
    app = ask(app, "Who climbs the rigging?")
    assert_clean(app)
    assert "You asked 2 questions in the last minute." in texts(app)
    assert "Ask again in" in texts(app)
    assert app.chat_input[0].proto.value == "Who climbs the rigging?"
    assert len(answerer.seen) == 2
    # What was answered before is still there.
    assert set(before.splitlines()) <= set(texts(app).splitlines())
    other = ask(AppTest.from_file(app._script_path, default_timeout=30).run(), QUESTION)
    assert_clean(other)
    assert "An answer" in texts(other)


def test_all_together_have_a_limit_too(
    open_app: Open, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAG_LIMITS_ALL_QUESTIONS", "1")
    app = ask(open_app(home, answerer=FakeAnswerer()), QUESTION)
    other = ask(AppTest.from_file(app._script_path, default_timeout=30).run(), QUESTION)
    assert_clean(other)
    assert "Everybody together asked 1 question in the last minute." in texts(other)


def test_an_example_counts_as_a_question(
    open_app: Open, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAG_LIMITS_SESSION_QUESTIONS", "1")
    app = press(open_app(home), "Which constant does reciprocal rank fusion use?")
    assert "You asked" not in texts(ask(app, " "))
    assert "You asked 1 question " in texts(ask(app, QUESTION))


@pytest.mark.parametrize("command", ["ask", "search"])
def test_the_command_line_refuses_what_is_too_long(
    command: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "open_pipeline", lambda settings, index=None, **_: make(home))
    result = CliRunner().invoke(main, ["--home", str(home), command, "long " * 1_000])
    assert result.exit_code == 1
    assert "4,999 characters, and the limit is 4,000" in result.stderr


def test_retrieval_refuses_before_it_looks_at_the_library(home: Path) -> None:
    pipeline = make(home)
    limited = pipeline.with_settings(
        pipeline.settings.model_copy(update={"limits": LimitSettings(question_characters=100)})
    )
    with pytest.raises(LimitReached, match="the limit is 100"):
        limited.retrieve("?" * 101)
    assert limited.embedder.encoded == 0  # type: ignore[attr-defined]
    assert limited.search("?" * 100).question == "?" * 100


@pytest.mark.parametrize("most", [800, 2_000])
def test_a_prompt_is_as_long_as_the_setting_says(home: Path, endpoint: Endpoint, most: int) -> None:
    pipeline = make(home, passages=5)
    changed = {
        "endpoint": EndpointSettings(base_url=endpoint.base_url, model="echo"),
        "limits": LimitSettings(prompt_tokens=most),
    }
    chat = pipeline.with_settings(pipeline.settings.model_copy(update=changed))
    turns = [Turn("猫睡在哪里？" * 60, "它睡在垫子上。" * 60)] * 3
    answer = chat.ask("猫 " * 1_900, turns).answer
    assert answer.problem is None
    sent = endpoint.requests[-1].body
    weight = token_estimate("".join(message["content"] for message in sent["messages"]))
    assert 0.6 * most < weight <= 1.02 * most
    assert sent["max_tokens"] == chat.settings.endpoint.max_tokens
    assert len(json.dumps(sent)) < 40_000


class GivenUp(Exception):
    """The person did not want to wait."""


@dataclass
class Impatient:
    """Gives up after so many signs."""

    patience: int
    heard: list[int]

    def __call__(self, before: int) -> None:
        self.heard.append(before)
        if len(self.heard) > self.patience:
            raise GivenUp


@pytest.fixture
def busy_line() -> Iterator[WaitingLine]:
    """A line in which somebody has the only turn."""
    line = WaitingLine(abreast=1)
    with line.turn():
        yield line


def test_who_waits_for_others_hears_it_and_may_give_up(home: Path, busy_line: WaitingLine) -> None:
    pipeline = make(home)
    object.__setattr__(pipeline, "line", busy_line)
    waiting = Impatient(2, [])
    with pytest.raises(GivenUp):
        pipeline.ask(QUESTION, waiting=waiting)
    assert waiting.heard == [1, 1, 1]
    assert pipeline.embedder.encoded == 0  # type: ignore[attr-defined]


def test_the_time_in_the_line_is_told_and_only_where_there_was_some(home: Path) -> None:
    pipeline = make(home)
    assert "queue" not in pipeline.search(QUESTION).seconds
    place = next(iter([pipeline.line._line]))
    with pipeline.line.turn() as first, pipeline.line.turn() as second:
        assert len(place) == 2

        def let_in(before: int) -> None:
            pipeline.line.leave(first)
            pipeline.line.leave(second)

        answer = pipeline.ask(QUESTION, waiting=let_in).answer
    assert 0.1 < answer.trace.seconds["queue"] < 5


def test_a_follow_up_that_is_being_rewritten_may_be_given_up(
    home: Path, endpoint: Endpoint
) -> None:
    pipeline = make(home)
    model = EndpointSettings(base_url=endpoint.base_url, model="hang")
    chat = pipeline.with_settings(pipeline.settings.model_copy(update={"endpoint": model}))
    with pytest.raises(GivenUp):
        chat.ask("And where?", [Turn("Does the cat sleep?", "Yes.")], waiting=Impatient(1, []))
    assert endpoint.hung_up.wait(2)
