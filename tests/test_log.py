"""The log: one JSON line an event, with figures and kinds, without texts, names or keys."""

from __future__ import annotations

import ast
import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from streamlit.testing.v1 import AppTest

from rag import log, log_events, opening
from rag.cli import main
from rag.errors import BackendError, EmptyLibrary
from rag.history import History, recorded
from rag.ingest import File
from rag.jobs import Job
from rag.settings import LogSettings, QuerySettings, Settings
from rag.settings_file import save_settings
from rag.types import AddResult
from tests.fakes import FakeAnswerer
from tests.test_pipeline import ANIMALS, CHINESE, make

ROOT = Path(__file__).parents[1]
KEY = 'sk-log-canary/"7+Q'
# What is in the documents, their names and the questions; none of it may be in the log.
WORDS = ("cat", "frigate", "Bread", "猫", "面包", "secretive", "绝密")


class Lines:
    """The log of a test, and what was written to it so far."""

    def __init__(self) -> None:
        self.stream = io.StringIO()

    @property
    def text(self) -> str:
        return self.stream.getvalue()

    def all(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text.splitlines()]

    def of(self, event: str) -> dict[str, Any]:
        return next(line for line in reversed(self.all()) if line["event"] == event)


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Iterator[Lines]:
    """Begins the log and puts back what pytest has of logging afterwards."""
    loggers = [logging.root, *map(logging.getLogger, list(logging.root.manager.loggerDict))]
    before = [(one, one.handlers[:], one.propagate, one.level) for one in loggers]
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    yield Lines()
    for logger, handlers, propagate, level in before:
        logger.handlers[:], logger.propagate = handlers, propagate
        logger.setLevel(level)


def started(lines: Lines, *, texts: bool = False) -> Lines:
    log.start(LogSettings(texts=texts), lines.stream)
    return lines


def use_library(home: Path) -> None:
    """Everything that a library can go through, the failures too."""
    pipeline = make(home, FakeAnswerer(["A cat [1][9]."], failure=BackendError("No cat.", "Wait.")))
    with pytest.raises(EmptyLibrary):
        pipeline.ask("Where is the cat?")
    files = [
        File.holding("secretive.md", ANIMALS.encode()),
        File.holding("绝密.md", CHINESE.encode()),
        File.holding("secretive.md", ANIMALS.encode()),
        File.holding("secretive frigate.pdf", b"%PDF-1.7 Bread"),
    ]
    results = [one for one in pipeline.add(files) if isinstance(one, AddResult)]
    assert [one.outcome for one in results] == ["added", "added", "already there", "failed"]
    reply = pipeline.ask("Where does the cat sleep? 猫睡在哪里？")
    History(pipeline.store, "somebody").keep(recorded(reply.trace, reply.answer))
    pipeline.store.remove(results[0].document_id)
    changed = pipeline.settings.model_copy(update={"query": QuerySettings(passages=3)})
    save_settings(pipeline.settings, changed, {})


def test_every_question_and_file_is_a_line_without_a_text_or_a_name(
    lines: Lines, tmp_path: Path
) -> None:
    started(lines)
    use_library(tmp_path)
    assert [word for word in WORDS if word in lines.text] == []
    question = lines.of("question")
    assert question["answer"] == "generated"
    assert question["error"] == "BackendError"
    assert question["hint"] == "Wait."
    assert question["documents"] == 2
    assert question["candidates"] >= question["passages"] > 1
    assert question["citations"] == question["invented"] == 1
    assert {"encode", "rerank", "answer", "check"} <= set(question["stages"])
    assert question["models"]["embedder"] == "fake"
    files = [line for line in lines.all() if line["event"] == "file"]
    assert [line["outcome"] for line in files] == ["added", "added", "already there", "failed"]
    assert files[0]["bytes"] == len(ANIMALS.encode())
    assert files[0]["chunks"] > 1
    assert files[0]["document"] == files[2]["document"] == lines.of("document removed")["document"]
    assert len(files[0]["document"]) == 12
    assert files[3]["error"] == "UnreadableFile"
    assert files[3]["hint"]
    assert lines.of("question failed")["error"] == "EmptyLibrary"
    assert lines.of("settings changed")["names"] == ["query.passages"]


def test_texts_and_names_are_written_where_the_settings_want_it(
    lines: Lines, tmp_path: Path
) -> None:
    started(lines, texts=True)
    pipeline = make(tmp_path)
    list(pipeline.add([File.holding("绝密.md", CHINESE.encode())]))
    record = recorded(pipeline.ask("猫睡在哪里？").trace)
    History(pipeline.store, "somebody").keep(record)
    assert lines.of("file")["name"] == "绝密.md"
    assert lines.of("question")["question"] == "猫睡在哪里？"
    # It is the id that the question has in the history and in its trace.
    assert lines.of("question")["id"] == record.id


@pytest.mark.parametrize("texts", [False, True])
def test_an_unexpected_failure_is_told_with_its_place_and_without_the_key(
    lines: Lines, *, texts: bool
) -> None:
    started(lines, texts=texts)

    def breaks() -> None:
        try:
            raise OSError(28, f"no room for {KEY}")
        except OSError as error:
            raise ValueError(f"secretive {KEY}") from error

    job = Job(breaks)
    job.wait()
    told = lines.of("unexpected failure")
    assert [failure["error"] for failure in told["failures"]] == ["ValueError", "OSError"]
    assert told["failures"][0]["frames"][-1].endswith(" breaks")
    assert told["failures"][1]["reason"] == "No space left on device"
    assert job.problem is not None
    assert told["reference"] in job.problem.message
    assert ("secretive" in lines.text) is texts
    assert "canary" not in lines.text


def test_libraries_tell_only_what_is_wrong_and_never_a_key(lines: Lines) -> None:
    own = logging.getLogger("streamlit.sometimes")
    own.addHandler(logging.StreamHandler())
    own.propagate = False
    started(lines)
    for name in ("httpx2", "openai._base_client", "streamlit.sometimes"):
        logger = logging.getLogger(name)
        logger.setLevel(logging.DEBUG)
        logger.debug("Authorization: %s", KEY)
        logger.info("Request: %s", KEY)
    own.warning("https://me:password@example.org refused %s", KEY)
    try:
        raise RuntimeError(KEY)
    except RuntimeError:
        logging.getLogger("openai").exception("broken")
    assert [line["logger"] for line in lines.all()] == ["streamlit.sometimes", "openai"]
    assert lines.all()[0]["message"] == "https://...@example.org refused ..."
    assert "canary" not in lines.text


def test_the_start_tells_versions_and_settings_and_no_key(lines: Lines, tmp_path: Path) -> None:
    started(lines)
    settings = Settings.model_validate(
        {"home": tmp_path, "cache": tmp_path, "endpoint": {"model": "m", "api_key": KEY}}
    )
    log_events.started(settings)
    assert lines.of("start")["packages"]["streamlit"]
    assert "canary" not in lines.text
    assert str(tmp_path) not in lines.text


def test_a_page_that_fails_shows_one_sentence_and_what_to_look_for(lines: Lines) -> None:
    started(lines)

    def failing() -> None:
        from pages import _ui

        _ui.unexpected_shown(KeyError("secretive"))

    app = AppTest.from_function(failing).run(timeout=30)
    reference = lines.of("unexpected failure")["reference"]
    shown = app.error[0].value.replace("\\", "")
    assert "Something unexpected happened (KeyError)." in shown
    assert reference in shown
    assert "secretive" not in shown + lines.text


def test_every_failure_of_a_page_is_shown_so() -> None:
    """Streamlit calls the handler for scripts, callbacks and fragments."""
    tree = ast.parse((ROOT / "app.py").read_text(encoding="utf-8"))
    handlers = [
        ast.unparse(keyword.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        for keyword in node.keywords
        if keyword.arg == "on_script_error"
    ]
    assert handlers == ["ui.unexpected_shown"]


def test_a_command_that_fails_ends_in_one_sentence(
    lines: Lines, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(settings: Settings) -> None:
        raise KeyError(f"secretive {KEY}")

    monkeypatch.setattr(opening, "open_library", breaks)
    quiet = CliRunner().invoke(main, ["--home", str(tmp_path), "list"])
    assert quiet.exit_code == 1
    assert quiet.stderr.splitlines() == [
        "Something unexpected happened (KeyError).",
        "To see where, run it again as: rag --log",
    ]
    told = CliRunner().invoke(main, ["--log", "--home", str(tmp_path), "list"])
    assert json.loads(told.stderr.splitlines()[0])["event"] == "unexpected failure"
    assert "secretive" not in told.stderr
