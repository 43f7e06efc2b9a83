"""The pages, run by Streamlit's own test driver: a real library, small models that behave."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event
from typing import Any

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

import rag.opening
from pages import _marking as marking
from rag.errors import BackendError, LibraryError
from rag.ingest import File
from rag.jobs import AddJob
from rag.pipeline import Pipeline
from rag.store.questions import Questions
from rag.types import AddResult, Passage, Question
from tests.fakes import FakeAnswerer
from tests.test_pipeline import ANIMALS, CHINESE, INDEX, make

ROOT = Path(__file__).parents[1]
EVIDENCE = re.compile(
    r"dense -?\d\.\d\d \(#\d+\) · (BM25 \d+\.\d \(#\d+\) · )?fused #\d+ · "
    r"rerank \d+% \(#\d+(, (up|down) \d+)?\)"
)
HOSTILE_NAME = "![x](www.evil.example)<img src=x onerror=alert(1)>:red[x] $y$.md"

Open = Callable[..., AppTest]


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library with two good documents and one that failed."""
    home = tmp_path_factory.mktemp("filled")
    files = [
        File.holding("english.md", ANIMALS.encode()),
        File.holding("中文.md", CHINESE.encode()),
        File.holding("broken.pdf", b"%PDF-1.7 nothing of a PDF follows"),
    ]
    results = [event for event in make(home).add(files) if isinstance(event, AddResult)]
    assert [result.outcome for result in results] == ["added", "added", "failed"]
    return home


@pytest.fixture
def home(filled: Path, tmp_path: Path) -> Path:
    """A library of this test's own."""
    return shutil.copytree(filled, tmp_path / "library")


@pytest.fixture
def open_app(monkeypatch: pytest.MonkeyPatch) -> Open:
    """Opens the app on the page `page`, over what `make` builds."""

    def opened(home: Path, page: str = "", **parts: object) -> AppTest:
        monkeypatch.setenv("RAG_HOME", str(home))
        for name, value in INDEX.model_dump(exclude_defaults=True).items():
            monkeypatch.setenv(f"RAG_INDEX_{name.upper()}", str(value))
        pipeline: Pipeline = make(home, **parts)  # type: ignore[arg-type]
        monkeypatch.setattr(
            rag.opening, "open_pipeline", lambda settings, index=None, **_: pipeline
        )
        monkeypatch.setattr(
            rag.opening, "open_library", lambda settings, index=None: pipeline.store
        )
        st.cache_resource.clear()
        app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=30).run()
        return app.switch_page(page).run() if page else app

    monkeypatch.delenv("RAG_LLM_MODEL", raising=False)
    return opened


LIBRARY = "pages/library.py"


def texts(app: AppTest) -> str:
    """Everything that is written on the page, with the escapes of Markdown taken away."""
    kinds = ("title", "subheader", "markdown", "caption", "info", "warning", "error")
    shown = [element.value for kind in kinds for element in app.get(kind)]
    return re.sub(r"\\(\W)", r"\1", "\n".join(shown)).replace("\u2060", "")


def ask(app: AppTest, question: str) -> AppTest:
    return app.chat_input[0].set_value(question).run()


def press(app: AppTest, label: str) -> AppTest:
    return next(button for button in app.button if button.label == label).click().run()


def finished(app: AppTest) -> AppTest:
    """The page after the files in hand are added."""
    job: AddJob = app.session_state["job"]
    job.wait(30)
    return app.run()


def assert_clean(app: AppTest) -> None:
    assert not app.exception, app.exception


# --- Ask ---


def test_an_empty_library_offers_the_samples(open_app: Open, tmp_path: Path) -> None:
    app = open_app(tmp_path)
    assert_clean(app)
    assert "The library is empty." in texts(app)
    assert [button.label for button in app.button] == ["Add the sample documents"]


def test_a_question_to_an_empty_library_says_what_to_do(open_app: Open, tmp_path: Path) -> None:
    app = ask(open_app(tmp_path), "Where does the cat sleep?")
    assert_clean(app)
    assert "The library is empty." in app.error[0].value.replace("\\", "")
    assert "Add a document first" in texts(app)


def test_a_filled_library_offers_questions_and_counts_documents(open_app: Open, home: Path) -> None:
    app = open_app(home)
    assert_clean(app)
    assert "**2 documents**" in app.sidebar.caption[0].value
    assert "quoted sentences" in app.sidebar.caption[0].value
    assert len(app.button) >= 2


def test_an_example_is_asked_when_it_is_pressed(open_app: Open, home: Path) -> None:
    app = open_app(home)
    example = app.button[0].label
    app = press(app, example)
    assert_clean(app)
    assert app.chat_message[0].markdown[0].value.replace("\\", "") == example
    assert len(app.chat_message) == 2


@pytest.mark.parametrize(
    ("question", "document", "quote"),
    [
        ("Where does the cat sleep?", "english.md, p. 1", "The cat sleeps on the warm mat."),
        ("猫睡在哪里？", "中文.md, p. 1", "猫睡在温暖的垫子上。"),
    ],
)
def test_an_answer_shows_its_source_and_what_earned_it(
    open_app: Open, home: Path, question: str, document: str, quote: str
) -> None:
    app = ask(open_app(home), question)
    assert_clean(app)
    shown = texts(app)
    assert f"[1] {document}" in shown
    assert f":yellow-background[{quote}]" in shown
    assert "[[1]](#answer-1-source-1)" in shown
    evidence = [EVIDENCE.search(line) for line in shown.splitlines() if "· support" in line]
    assert evidence
    assert all(evidence)
    assert re.search(r"\d\.\d\d s \(encode \d.*rerank \d.*check \d\.\d\d\) · quoted", shown)


def test_sources_are_drawn_while_the_question_is_kept(
    open_app: Open, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn, show, put = Event(), marking.show, Questions.put

    def shown(*arguments: Any) -> None:
        drawn.set()
        show(*arguments)

    def slow_put(*arguments: Any) -> None:
        if not drawn.wait(10):
            raise LibraryError("No source was drawn.", "Draw it first.")
        put(*arguments)

    monkeypatch.setattr(marking, "show", shown)
    monkeypatch.setattr(Questions, "put", slow_put)
    app = ask(open_app(home), "Who is the smallest owl?")
    assert_clean(app)
    assert EVIDENCE.search(texts(app))
    assert [one.value for one in app.warning] == []
    listed = app.switch_page("pages/inspection.py").run().selectbox(key="history-choice").options
    assert len(listed) == 1


def test_a_question_that_cannot_be_kept_is_answered_and_told(
    open_app: Open, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise LibraryError("The disk is full.", "Make room.")

    app = open_app(home)
    with monkeypatch.context() as full:
        full.setattr(Questions, "put", refused)
        ask(app, "Who is the smallest owl?")
    assert EVIDENCE.search(texts(app))
    [told] = [one.value for one in app.warning]
    assert "could not be kept" in told
    assert "Make room" in told
    assert [one.value for one in ask(app, "什么是猫头鹰？").warning] == []


def test_the_models_are_loaded_once_for_all_visitors(
    open_app: Open, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_app(home)
    loaded = []
    load = rag.opening.open_pipeline

    def counted(*arguments: object, **how: object) -> Pipeline:
        loaded.append(arguments)
        return load(*arguments, **how)  # type: ignore[arg-type]

    monkeypatch.setattr(rag.opening, "open_pipeline", counted)
    st.cache_resource.clear()
    for question in ("Which animal sleeps?", "猫在哪里？", "Which animal sleeps?"):
        visitor = AppTest.from_file(str(ROOT / "app.py"), default_timeout=30).run()
        for _ in range(2):
            assert_clean(ask(visitor, question))
    assert len(loaded) == 1


def test_the_conversation_stays_and_its_turns_reach_the_model(open_app: Open, home: Path) -> None:
    answerer = FakeAnswerer(["On the mat [1]."])
    app = ask(open_app(home, answerer=answerer), "Where does the cat sleep?")
    app = ask(app, "How long must bread bake?")
    assert_clean(app)
    assert len(app.chat_message) == 4
    assert "[[1]](#answer-2-source-1)" in texts(app)
    assert [len(history) for _, _, history in answerer.seen] == [0, 1]


def test_nothing_relevant_is_told_with_the_nearest_passages(open_app: Open, home: Path) -> None:
    app = ask(open_app(home, relevance=0.5), "quantum chromodynamics of Jupiter")
    assert_clean(app)
    shown = texts(app)
    assert "Nothing in the library answers this question." in shown
    assert "nothing relevant found" in shown
    assert len(app.subheader) == 3


def test_invented_sources_are_taken_out_and_told(open_app: Open, home: Path) -> None:
    answerer = FakeAnswerer(["The cat sleeps [1]. ", "It flies [9]."])
    app = ask(open_app(home, answerer=answerer), "Where does the cat sleep?")
    assert_clean(app)
    assert "Invented source numbers taken out: 1" in texts(app)
    assert "[9]" not in texts(app)


def test_what_an_endpoint_wrote_before_it_failed_stays(open_app: Open, home: Path) -> None:
    failure = BackendError("The endpoint hung up.", "Ask again.")
    answerer = FakeAnswerer(["The cat sleeps [1]."], failure=failure)
    app = ask(open_app(home, answerer=answerer), "Where does the cat sleep?")
    assert_clean(app)
    shown = texts(app)
    for part in ("The cat sleeps", "The endpoint hung up.", "Ask again.", "incomplete"):
        assert part in shown
    assert "english.md, p. 1" in shown
    answerer.failure = None
    app = ask(app, "Where does the cat sleep?")
    assert len(app.error) == 1
    assert len(app.chat_message) == 4


def test_an_endpoint_that_fails_at_once_still_leaves_the_sources(
    open_app: Open, home: Path
) -> None:
    answerer = FakeAnswerer([], failure=BackendError("The key was refused.", "Check the key."))
    app = ask(open_app(home, answerer=answerer), "Where does the cat sleep?")
    assert_clean(app)
    assert "The key was refused." in texts(app)
    assert app.subheader
    assert "incomplete" not in texts(app)


@dataclass
class BrokenReranker:
    name: str = "broken"
    by_words: bool = False
    calibrated: bool = False

    def score(self, question: Question, passages: Sequence[Passage]) -> list[float]:
        raise BackendError("The reranker failed.", "See the log.")


def test_a_broken_reranker_is_told_and_the_answer_is_there(open_app: Open, home: Path) -> None:
    app = ask(open_app(home, reranker=BrokenReranker()), "Where does the cat sleep?")
    assert_clean(app)
    assert "rerank" in app.warning[0].value
    assert "fused #1" in texts(app)
    assert "rerank 1" not in texts(app)
    assert not app.error


def refuse(settings: object, index: object = None, **_: bool) -> Pipeline:
    raise BackendError("The model file is broken.", "Install it again.")


def test_models_that_cannot_be_loaded_are_told_every_time(
    open_app: Open, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = open_app(home)
    monkeypatch.setattr(rag.opening, "open_pipeline", refuse)
    st.cache_resource.clear()
    for _ in range(2):
        app = ask(app, "Where does the cat sleep?")
        assert_clean(app)
        assert "The model file is broken." in texts(app)


@pytest.mark.parametrize("page", ["", LIBRARY])
def test_models_that_cannot_be_loaded_are_told_where_files_are_added(
    open_app: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, page: str
) -> None:
    app = open_app(tmp_path, page)
    monkeypatch.setattr(rag.opening, "open_pipeline", refuse)
    st.cache_resource.clear()
    app = press(app, "Add the sample documents")
    assert_clean(app)
    assert "The model file is broken." in texts(app)


@pytest.mark.parametrize("page", ["", LIBRARY])
def test_a_broken_settings_file_is_one_sentence(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "settings.toml").write_text("[query\n", encoding="utf-8")
    monkeypatch.setenv("RAG_HOME", str(tmp_path))
    st.cache_resource.clear()
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=30).run()
    app = app.switch_page(page).run() if page else app
    assert_clean(app)
    assert len(app.error) == 1
    assert "settings.toml cannot be read" in texts(app)
    assert "Correct the file." in texts(app)
    assert "Traceback" not in texts(app)


# --- Library ---


def test_the_table_tells_what_was_read_and_what_failed(open_app: Open, home: Path) -> None:
    app = open_app(home, LIBRARY)
    assert_clean(app)
    table = app.dataframe[0].value.set_index("Name")
    assert set(table.index) == {"english.md", "中文.md", "broken.pdf"}
    assert table.loc["english.md", "Status"] == "ready"
    assert table.loc["broken.pdf", "Status"] == "failed"
    assert table.loc["english.md", "Chunks"] >= 1


def test_a_failed_document_says_why_when_it_is_chosen(open_app: Open, home: Path) -> None:
    app = choose(open_app(home, LIBRARY), "broken.pdf")
    assert_clean(app)
    assert app.subheader[0].value == r"broken\.pdf"
    assert "cannot be read as a PDF" in app.main.caption[-1].value


def choose(app: AppTest, name: str) -> AppTest:
    row = list(app.dataframe[0].value["Name"]).index(name)
    app.session_state["documents"] = {"selection": {"rows": [row], "columns": [], "cells": []}}
    return app.run()


def test_a_chosen_document_shows_its_chunks(open_app: Open, home: Path) -> None:
    app = choose(open_app(home, LIBRARY), "中文.md")
    assert_clean(app)
    assert "猫睡在温暖的垫子上。" in texts(app)
    assert "#1 · p. 1" in texts(app)


def test_a_document_is_removed_only_after_it_was_confirmed(open_app: Open, home: Path) -> None:
    app = press(choose(open_app(home, LIBRARY), "english.md"), "Remove")
    assert_clean(app)
    assert "english.md** and its" in texts(app)
    assert "english.md" in list(app.dataframe[0].value["Name"])
    # The test driver knows no fragments: the button that opened the dialog is held down.
    for button in app.button:
        button.click()
    app = app.run()
    assert_clean(app)
    assert "english.md" not in list(app.dataframe[0].value["Name"])
    assert {record.name for record in make(home).store.documents()} == {"中文.md", "broken.pdf"}


def test_uploaded_files_are_added_and_told(open_app: Open, tmp_path: Path) -> None:
    app = open_app(tmp_path, LIBRARY)
    upload = [("ships.md", ANIMALS.encode(), "text/markdown"), ("bad.pdf", b"%PDF-", "x/pdf")]
    app = finished(app.file_uploader[0].set_value(upload).run())
    assert_clean(app)
    shown = texts(app)
    assert re.search(r"ships\.md: added \(1 page, \d chunks?\)", shown)
    assert "bad.pdf: failed" in shown
    app = press(app, "Close")
    assert "added (" not in texts(app)
    again = app.file_uploader[0].set_value(upload[:1]).run()
    assert "ships.md: already there" in texts(finished(again))


def test_a_hostile_name_is_only_read(open_app: Open, tmp_path: Path) -> None:
    app = open_app(tmp_path, LIBRARY)
    app = finished(app.file_uploader[0].set_value([(HOSTILE_NAME, b"# A\n\nCats.", "x")]).run())
    app = choose(app, HOSTILE_NAME)
    assert_clean(app)
    assert f"{HOSTILE_NAME}: added" in texts(app)
    shown = [element.value for kind in ("markdown", "subheader") for element in app.get(kind)]
    assert not any(re.search(r"(?<!\\)(!\[|<|\$|:red)", value) for value in shown)


def test_a_stopped_job_keeps_what_is_done_and_tells_what_is_not(home: Path, open_app: Open) -> None:
    app = open_app(home, LIBRARY)
    results = [AddResult("a.md", "added", pages=1, pages_read=1, chunks=2)]
    job = AddJob(lambda files, cancelled: iter(results), [File.holding("a.md", b"x")] * 2)
    job.cancel()
    app.session_state["job"] = job
    app = finished(app)
    assert_clean(app)
    assert "a.md: added (1 page, 2 chunks)." in texts(app)


def test_a_job_that_breaks_says_so(home: Path, open_app: Open) -> None:
    def breaks(files: Sequence[File], cancelled: Callable[[], bool]):
        yield replace(AddResult("a.md", "added"), pages=1, pages_read=1, chunks=1)
        raise ZeroDivisionError

    app = open_app(home, LIBRARY)
    app.session_state["job"] = AddJob(breaks, [File.holding("a.md", b"x")])
    app = finished(app)
    assert_clean(app)
    assert "Adding stopped unexpectedly (ZeroDivisionError, " in texts(app)
    assert "a.md: added" in texts(app)
