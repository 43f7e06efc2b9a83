"""The Inspect page in all its states, run by Streamlit's own test driver."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter

import pytest
from streamlit.testing.v1 import AppTest

from rag.errors import BackendError
from rag.history import recorded
from rag.ingest import File
from rag.rank_flow import MOST
from rag.settings import load_settings
from rag.store import Store
from rag.trace_files import write_record
from rag.types import Candidate, Passage, Question, Record, Score
from tests.fakes import DIMENSIONS, FakeReranker
from tests.test_pages import (
    BrokenReranker,
    Open,
    ask,
    assert_clean,
    filled,
    home,
    open_app,
    press,
    texts,
)
from tests.test_pipeline import ANIMALS, CHINESE, INDEX, make

__all__ = ["filled", "home", "open_app"]

INSPECT = "pages/inspection.py"
QUESTIONS = ["Where does the cat sleep?", "猫睡在哪里？"]


def inspect(app: AppTest, question: str) -> AppTest:
    """Ask on the Inspect page."""
    box = next(one for one in app.chat_input if one.key == "new-question")
    app = box.set_value(question).run()
    assert_clean(app)
    return app


def part(app: AppTest, name: str) -> AppTest:
    app.session_state["part"] = name
    app = app.run()
    assert_clean(app)
    return app


def showing(app: AppTest, record: Record) -> AppTest:
    app.session_state["inspected"] = record
    app = app.run()
    assert_clean(app)
    return app


def table(app: AppTest) -> dict[str, list[object]]:
    return {name: list(column) for name, column in app.dataframe[0].value.items()}


# --- states ---


def test_an_empty_library_says_what_to_do(open_app: Open, tmp_path: Path) -> None:
    app = inspect(open_app(tmp_path, INSPECT), "Where does the cat sleep?")
    assert "The library is empty." in texts(app)
    assert "Add a document first" in texts(app)


def test_before_any_question_the_page_says_what_it_is_for(open_app: Open, home: Path) -> None:
    app = open_app(home, INSPECT)
    assert_clean(app)
    assert "Ask a question, pick one that was asked before, or open a saved trace." in texts(app)


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_question_shows_every_stage_of_every_candidate(
    open_app: Open, home: Path, question: str
) -> None:
    app = inspect(open_app(home, INSPECT), question)
    trace = make(home).search(question)
    shown = table(app)
    assert shown["#"] == list(range(1, len(trace.candidates) + 1))
    dense = [one.dense.score for one in trace.candidates if one.dense]
    assert shown["Dense"] == pytest.approx(dense)
    assert shown["Rerank"][0] == pytest.approx(100 * trace.candidates[0].rerank.score)
    assert shown["Cited"][0]
    assert "sentence" in texts(app)
    assert "supported" in texts(app)


def test_without_a_reranker_nothing_is_made_up(open_app: Open, home: Path) -> None:
    (home / "settings.toml").write_text('[query]\nreranker = "none"\n')
    app = inspect(open_app(home, INSPECT), QUESTIONS[0])
    assert all(score is None or score != score for score in table(app)["Rerank"])
    for name in ("Words", "What if", "Compare", "What scores mean", "Where did it go?"):
        part(app, name)


def test_a_reranker_that_failed_is_told_and_the_rest_stays(open_app: Open, home: Path) -> None:
    app = inspect(open_app(home, INSPECT, reranker=BrokenReranker()), QUESTIONS[1])
    assert "recall order" in app.warning[0].value
    assert table(app)["Fused #"]
    part(app, "What if")


def many(record: Record, count: int) -> Record:
    """The record with so many candidates, in an order that crosses."""
    pattern = record.trace.candidates[0]
    candidates = tuple(
        Candidate(
            rank,
            replace(pattern.chunk, id=f"chunk-{rank}", text=f"Passage {rank} 第{rank}段"),
            "报告.pdf" if rank % 2 else "report.pdf",
            Score(0.9 - rank / 1000, 1 + (rank * 7) % count),
            Score(20 - rank / 20, 1 + (rank * 11) % count),
            Score(1 / (60 + rank), 1 + (rank * 3) % count),
            Score(0.99 - rank / 400, rank) if rank <= 50 else None,
        )
        for rank in range(1, count + 1)
    )
    relevant = sum(one.rerank is not None and one.rerank.score >= 0.05 for one in candidates)
    return recorded(replace(record.trace, candidates=candidates, relevant=relevant))


def test_two_hundred_candidates_stay_readable_and_quick(open_app: Open, home: Path) -> None:
    app = open_app(home, INSPECT)
    record = many(recorded(make(home).search(QUESTIONS[0])), 200)
    app = showing(app, record)
    assert MOST <= len(table(app)["#"]) < 60
    app = next(one for one in app.toggle if one.key == "all-candidates").set_value(True).run()
    assert len(table(app)["#"]) == 200
    app = part(app, "What if")
    slider = next(one for one in app.slider if one.label == "Rerank depth")
    seconds = []
    for depth in (30, 20, 10):
        started = perf_counter()
        app = slider.set_value(depth).run()
        seconds.append(perf_counter() - started)
        assert_clean(app)
    assert min(seconds) < 1


def test_a_passage_deleted_since_is_shown_as_it_was(open_app: Open, home: Path) -> None:
    app = inspect(open_app(home, INSPECT), QUESTIONS[1])
    store = Store.open(home, INDEX.fingerprint, DIMENSIONS)
    for document in store.documents():
        if document.name == "中文.md":
            store.remove(document.id)
    app = app.run()
    assert_clean(app)
    assert "The documents have changed since." in texts(app)
    assert "猫睡在温暖的垫子上。" in texts(app)
    app = part(app, "Words")
    assert "background=" in app.main.markdown[-3].value or "background=" in texts(app)


# --- history and files ---


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_question_of_the_history_is_opened_again(
    open_app: Open, home: Path, question: str
) -> None:
    app = ask(open_app(home), question)
    app = app.switch_page(INSPECT).run()
    history = next(one for one in app.selectbox if one.key == "history-choice")
    assert len(history.options) == 1
    assert history.options[0].startswith(question)
    app = history.set_value(history.options[0]).run()
    assert_clean(app)
    assert app.subheader[0].value.replace("\\", "") == question


def test_why_leads_from_a_source_to_its_passage(open_app: Open, home: Path) -> None:
    app = ask(open_app(home), QUESTIONS[0])
    app = press(app, "Why?")
    assert_clean(app)
    assert app.title[0].value == "Inspect"
    assert (
        app.session_state["chosen"] == app.session_state["inspected"].trace.candidates[0].chunk.id
    )


def test_a_forgotten_question_is_gone(open_app: Open, home: Path) -> None:
    app = inspect(open_app(home, INSPECT), QUESTIONS[0])
    app = press(app, "Forget this question")
    assert_clean(app)
    history = next(one for one in app.selectbox if one.key == "history-choice")
    assert history.options == []


def test_a_saved_trace_is_read_back_and_a_wrong_file_refused(open_app: Open, home: Path) -> None:
    app = open_app(home, INSPECT)
    record = recorded(make(home).search(QUESTIONS[1]))
    upload = app.file_uploader[0]
    app = upload.set_value([("t.json", write_record(record).encode(), "application/json")]).run()
    assert_clean(app)
    assert app.subheader[0].value == "猫睡在哪里？"
    app = app.file_uploader[0].set_value([("x.json", b"[]", "application/json")]).run()
    assert_clean(app)
    assert "The file is no trace of RankLens." in texts(app)


# --- parts ---


@pytest.mark.parametrize(
    ("question", "word", "match"),
    [(QUESTIONS[0], "cat", "cat (1.00)"), (QUESTIONS[1], "猫", "猫 (1.00)")],
)
def test_every_question_word_stands_beside_what_it_matched(
    open_app: Open, home: Path, question: str, word: str, match: str
) -> None:
    app = part(inspect(open_app(home, INSPECT), question), "Words")
    rows = table(app)
    place = rows["Question word"].index(word)
    # One-bit codes are not exact.
    assert rows["Strength"][place] > 0.6
    assert str(rows["Best matches"][place]).startswith(match.split()[0])
    assert "background=" in texts(app)


def test_a_reranker_with_one_number_shades_sentences_and_says_so(
    open_app: Open, home: Path
) -> None:
    reranker = FakeReranker(by_words=False)
    app = part(inspect(open_app(home, INSPECT, reranker=reranker), QUESTIONS[0]), "Words")
    assert "gives a text one number" in texts(app)
    assert list(table(app)) == ["Score", "Sentence"]


def test_the_expected_text_is_found_with_its_stage_and_knob(open_app: Open, home: Path) -> None:
    app = part(inspect(open_app(home, INSPECT, passages=1), QUESTIONS[0]), "Where did it go?")
    app.text_area[0].set_value("Bread needs flour, water and salt.")
    app = next(button for button in app.button if button.key == "find-text").click().run()
    assert_clean(app)
    assert "english.md" in texts(app)
    assert ":material/lightbulb:" in texts(app)


def test_sliders_change_the_order_and_save_the_default(open_app: Open, home: Path) -> None:
    (home / "settings.toml").write_text("[query]\nrelevance = 0.0\n")
    app = part(inspect(open_app(home, INSPECT), QUESTIONS[0]), "What if")
    assert "The prompt stays as it is." in texts(app)
    slider = next(one for one in app.slider if one.label == "Passages in the prompt")
    app = slider.set_value(1).run()
    assert_clean(app)
    assert "leave" in texts(app)
    app = press(app, "Make this the default")
    assert_clean(app)
    assert load_settings(home, None, {}).query.passages == 1
    app = inspect(app, QUESTIONS[1])
    assert len(app.session_state["inspected"].answer.passages) == 1


@dataclass
class FailsFirst(FakeReranker):
    """A reranker that fails the first time it is asked about anything but the questions here."""

    failures: int = 1

    def score(self, question: Question, passages: Sequence[Passage]) -> list[float]:
        if self.failures and question.text not in QUESTIONS:
            self.failures -= 1
            raise BackendError("The reranker failed.", "See the log.")
        return super().score(question, passages)


def test_a_baseline_that_failed_is_told_and_measured_again(open_app: Open, home: Path) -> None:
    pages = [f"# {n}\n\n{ANIMALS}\n\n# 第{n}页\n\n{CHINESE}" for n in range(4)]
    list(make(home).add([File.holding("many.md", "\n\n".join(pages).encode())]))
    app = part(open_app(home, INSPECT, reranker=FailsFirst()), "What scores mean")
    app = inspect(app, QUESTIONS[1])
    assert "The reranker failed." in texts(app)
    app = part(app, "Side by side")
    assert table(app)["Rerank"]
    assert "The reranker failed." not in texts(app)
    assert "unrelated pairs" in texts(part(app, "What scores mean"))


def test_two_settings_are_compared(open_app: Open, home: Path) -> None:
    (home / "settings.toml").write_text("[query]\nrelevance = 0.0\n")
    app = part(inspect(open_app(home, INSPECT), QUESTIONS[0]), "Compare")
    number = next(one for one in app.number_input if one.label == "Passages in the prompt")
    number.set_value(1)
    app = press(app, "Compare")
    assert_clean(app)
    assert "leave" in texts(app)
    assert "prompt 1 " in texts(app)
    assert "▼ leaves" in table(app)["Change"]


def test_another_person_sees_another_history(open_app: Open, home: Path) -> None:
    inspect(open_app(home, INSPECT), QUESTIONS[0])
    again = open_app(home, INSPECT)
    history = next(one for one in again.selectbox if one.key == "history-choice")
    assert history.options == []
