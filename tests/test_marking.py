"""The thumbs beside a source, and the page of golden questions, by Streamlit's own test driver."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from rag.errors import LibraryError
from rag.golden.marks import add_mark, made_mark, mark_of
from rag.history import recorded
from rag.store import Store
from rag.types import PassageSpan
from tests.endpoint import Endpoint, running_endpoint
from tests.test_inspection import INSPECT, inspect, showing
from tests.test_pages import Open, ask, assert_clean, filled, home, open_app, press, texts
from tests.test_pipeline import make

__all__ = ["filled", "home", "open_app"]

CAT, 猫 = "Where does the cat sleep?", "猫睡在哪里？"
PART = "from pages._evaluation import golden\n\ngolden.show()\n"


def thumb(app: AppTest, name: str) -> AppTest:
    """Press the first thumb of that name."""
    app = next(one for one in app.button if (one.key or "").endswith(name)).click().run()
    assert_clean(app)
    return app


def labels(app: AppTest) -> list[str]:
    """The first two thumbs as they are drawn."""
    return [one.label for one in app.button if "thumb" in one.label][:2]


def test_a_mark_on_ask_is_kept_at_once_and_there_the_next_time(open_app: Open, home: Path) -> None:
    app = ask(open_app(home), 猫)
    assert labels(app) == [":material/thumb_up:", ":material/thumb_down:"]
    app = thumb(app, "thumb_up")
    [mark] = make(home).store.golden.listed()
    assert (mark.question, mark.relevant, mark.origin) == (猫, True, "marked")
    assert app.toast[0].value == "Kept: this source answers the question."
    again = ask(open_app(home), 猫)
    assert labels(again) == [":green-badge[:material/thumb_up:]", ":material/thumb_down:"]
    again = thumb(again, "thumb_up")
    assert make(home).store.golden.listed() == []
    assert again.toast[0].value == "Taken back."


def test_on_inspect_the_other_thumb_takes_the_place_of_the_first(
    open_app: Open, home: Path
) -> None:
    app = thumb(inspect(open_app(home, INSPECT), CAT), "thumb_down")
    assert labels(app) == [":material/thumb_up:", ":orange-badge[:material/thumb_down:]"]
    app = thumb(app, "thumb_up")
    assert labels(app) == [":green-badge[:material/thumb_up:]", ":material/thumb_down:"]
    [mark] = make(home).store.golden.listed()
    assert mark.relevant


def test_a_follow_up_is_marked_as_it_was_searched_and_a_foreign_trace_not_at_all(
    open_app: Open, home: Path
) -> None:
    trace = replace(make(home).search(CAT), question="And where does it?", standalone=CAT)
    app = thumb(showing(open_app(home, INSPECT), recorded(trace)), "thumb_up")
    assert [mark.question for mark in make(home).store.golden.listed()] == [CAT]
    best = trace.candidates[0]
    foreign = replace(best, chunk=replace(best.chunk, document_id="of another library"))
    app = showing(app, recorded(replace(trace, candidates=(foreign,), relevant=1)))
    assert labels(app) == []


def test_a_mark_that_cannot_be_kept_is_told(
    open_app: Open, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = ask(open_app(home), CAT)

    def full(*_: object, **__: object) -> None:
        raise LibraryError("The disk is full, so nothing was written.", "Free some space.")

    monkeypatch.setattr("rag.store.golden.Golden.put", full)
    app = thumb(app, "thumb_up")
    assert "The disk is full" in app.toast[0].value
    assert labels(app)[0] == ":material/thumb_up:"


# --- the page of golden questions ---


@pytest.fixture(scope="module")
def chat() -> Iterator[Endpoint]:
    with running_endpoint() as running:
        yield running


def part(open_app: Open, home: Path) -> AppTest:
    open_app(home)
    app = AppTest.from_string(PART, default_timeout=30).run()
    assert_clean(app)
    return app


def a_mark(store: Store, question: str, relevant: bool = True) -> None:
    found = make(Path(store.uri)).search(question).candidates[0]
    add_mark(store.golden, mark_of(question, found.chunk, found.document, "x", relevant=relevant))


def test_the_page_says_how_to_begin_and_needs_a_model_to_draft(open_app: Open, home: Path) -> None:
    app = part(open_app, home)
    assert "There is none yet." in texts(app)
    button = next(one for one in app.button if one.key == "draft-questions")
    assert button.label == "Drafting needs a language model"
    assert button.disabled


def test_the_page_lists_what_was_marked_and_names_what_is_gone(open_app: Open, home: Path) -> None:
    store = make(home).store
    a_mark(store, CAT)
    a_mark(store, 猫, relevant=False)
    store.remove(store.golden.listed()[1].span.document_id)
    app = part(open_app, home)
    table = app.dataframe[0].value
    assert list(table["Question"]) == [猫, CAT]
    assert list(table["Answers it"]) == [False, True]
    assert "no longer in the library" in table["Source"][1]
    assert "1 golden question" in texts(app)


def test_drafts_wait_and_are_confirmed_or_discarded(open_app: Open, home: Path) -> None:
    store = make(home).store
    [chunk, *_] = [
        chunk for one in store.documents() for chunk in store.chunks(one.id) if one.name[0] == "e"
    ]
    for question in ("Which pet likes a mat?", "What does a pet do on the mat?"):
        draft = made_mark(
            question, PassageSpan.of(chunk), "english.md", chunk.text, "x", origin="drafted"
        )
        add_mark(store.golden, draft)
    app = part(open_app, home)
    assert "2 drafts to confirm" in texts(app)
    assert "0 golden questions" in texts(app)
    app = press(press(app, "Confirm"), "Discard")
    assert_clean(app)
    [mark] = make(home).store.golden.listed()
    assert mark.confirmed
    assert "1 golden question" in texts(app)


def test_a_model_drafts_what_is_kept_at_once(
    open_app: Open, home: Path, chat: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rag.golden.drafting.PASSAGE_LETTERS", {"zh": 5, "en": 20})
    monkeypatch.setenv("OPENAI_BASE_URL", chat.base_url)
    monkeypatch.setenv("OPENAI_API_KEY", "any")
    open_app(home)
    monkeypatch.setenv("RAG_LLM_MODEL", "says Which animal likes the warm mat most?")
    app = AppTest.from_string(PART, default_timeout=30).run()
    assert_clean(app)
    app = press(app, "Draft questions")
    assert_clean(app)
    assert "1 draft to confirm" in texts(app)
    assert "Left out: " in app.toast[0].value
    monkeypatch.setenv("RAG_LLM_MODEL", "status-401")
    app = press(app, "Draft questions")
    assert_clean(app)
    assert app.error
    assert len(make(home).store.golden.listed()) == 1


def test_a_file_is_imported_once_and_its_rows_are_told(open_app: Open, home: Path) -> None:
    rows = f"question,document,text\n{CAT},english.md,The cat sleeps\n{猫},没有.md,猫\n"
    app = part(open_app, home)
    file = ("golden.csv", rows.encode("gb18030"), "text/csv")
    app = app.file_uploader[0].set_value(file).run()
    assert_clean(app)
    assert "1 added, 0 already there, 1 not taken." in texts(app)
    assert "Row 3: there is no document “没有.md” in the library." in texts(app)
    app = press(app, "Close")
    assert_clean(app)
    assert len(make(home).store.golden.listed()) == 1
