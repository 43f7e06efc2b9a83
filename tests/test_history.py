"""Traces kept, opened again and read from files: exactly as they were, and nobody else's."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter

import pytest

import rag.history
from rag.errors import UnreadableTrace
from rag.history import History, recorded
from rag.ingest import File
from rag.pipeline import Pipeline
from rag.store import Store
from rag.trace_files import read_record, write_record
from rag.types import Candidate, Chunk, Record, Score, Trace, Usage
from tests.fakes import DIMENSIONS, FakeAnswerer
from tests.test_pipeline import ANIMALS, CHINESE, INDEX, make


@pytest.fixture
def pipeline(tmp_path: Path) -> Pipeline:
    made = make(tmp_path / "library")
    files = [
        File.holding("english.md", ANIMALS.encode()),
        File.holding("中文.md", CHINESE.encode()),
    ]
    list(made.add(files))
    return made


def asked(pipeline: Pipeline, question: str) -> Record:
    answer = pipeline.ask(question).answer
    return recorded(answer.trace, answer)


def rounded(record: Record) -> object:
    """The record as its file says it, in which seconds have four digits."""
    return json.loads(write_record(record))


@pytest.mark.parametrize(
    "question", ["Where does the cat sleep?", "猫睡在哪里？", "quantum \ud83d"]
)
def test_a_question_is_opened_as_it_was(pipeline: Pipeline, question: str) -> None:
    record = asked(pipeline, question)
    history = History(pipeline.store, "me")
    history.keep(record)
    opened = history.opened(record.id)
    assert opened is not None
    assert opened.trace.candidates == record.trace.candidates
    assert opened.trace.library == record.trace.library
    assert opened.trace.settings == record.trace.settings
    assert rounded(opened) == rounded(record)


def test_it_stays_as_it_was_when_its_documents_are_gone(pipeline: Pipeline) -> None:
    record = asked(pipeline, "Where does the cat sleep?")
    history = History(pipeline.store, "me")
    history.keep(record)
    before = pipeline.store.state()
    for document in pipeline.store.documents():
        pipeline.store.remove(document.id)
    assert rounded(history.opened(record.id) or record) == rounded(record)
    assert before.contents == record.trace.library.contents
    assert pipeline.store.state().contents != before.contents


def test_nobody_else_is_given_a_question(pipeline: Pipeline) -> None:
    record = asked(pipeline, "Where does the cat sleep?")
    mine, theirs = History(pipeline.store, "me"), History(pipeline.store, "'; me OR '1'='1")
    mine.keep(record)
    assert theirs.listed() == []
    assert theirs.opened(record.id) is None
    theirs.forget([record.id])
    assert [one.id for one in mine.listed()] == [record.id]


def test_the_list_is_newest_first_and_what_is_forgotten_is_gone(pipeline: Pipeline) -> None:
    history = History(pipeline.store, "me")
    records = [
        replace(asked(pipeline, text), asked_at=datetime(2026, 1, day, tzinfo=UTC))
        for day, text in ((1, "cat"), (3, "面包"), (2, "ships"))
    ]
    for record in records:
        history.keep(record)
    assert [one.question for one in history.listed()] == ["面包", "ships", "cat"]
    history.forget([records[1].id])
    assert [one.question for one in history.listed()] == ["ships", "cat"]
    assert history.opened(records[1].id) is None


def test_another_process_sees_the_question(pipeline: Pipeline, tmp_path: Path) -> None:
    record = asked(pipeline, "cat")
    History(pipeline.store, "me").keep(record)
    again = Store.open(tmp_path / "library", INDEX.fingerprint, DIMENSIONS)
    assert [one.id for one in History(again, "me").listed()] == [record.id]


def deep(trace: Trace, texts: list[str]) -> Trace:
    """A trace with as many candidates as the default recall can find."""
    candidates = tuple(
        Candidate(
            rank,
            Chunk(
                f"{'0' * 60}{rank:04}", "f" * 64, rank, 1 + rank // 5, 0, len(text), text, "A > B"
            ),
            "annual-report-2023.pdf",
            Score(0.8123456789 + rank / 1e5, rank),
            Score(12.123456789 - rank / 1e3, rank),
            Score(0.0312345678, rank),
            Score(0.9123456789 - rank / 1e3, rank) if rank <= 50 else None,
        )
        for rank, text in enumerate(texts, start=1)
    )
    return replace(trace, candidates=candidates)


@pytest.mark.evaldata
@pytest.mark.parametrize(("name", "length"), [("squad2-en", 850), ("cmrc2018-trial", 330)])
def test_two_hundred_candidates_take_little_room_and_time(
    pipeline: Pipeline, name: str, length: int
) -> None:
    corpus = Path(__file__).parents[2] / "shared" / "evaldata" / name / "corpus.jsonl"
    if not corpus.is_file():
        pytest.skip(f"{name} is not beside the repository")
    rows = corpus.read_text(encoding="utf-8").splitlines()[:200]
    texts = [str(json.loads(row)["text"])[:length] for row in rows]
    record = recorded(deep(pipeline.search("cat"), texts))
    history = History(pipeline.store, "me")
    seconds = []
    for turn in range(5):
        started = perf_counter()
        history.keep(replace(record, id=f"{turn}"))
        seconds.append(perf_counter() - started)
    packed = pipeline.store.questions.trace("0", "me")
    assert packed is not None
    assert len(packed) < 50_000
    assert min(seconds) < 0.1


def test_beyond_the_best_the_text_comes_from_the_library_while_it_is_there(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rag.history, "_WHOLE_CANDIDATES", 1)
    monkeypatch.setattr(rag.history, "_BEGINNING_CHARACTERS", 4)
    record = asked(pipeline, "Where does the cat sleep?")
    history = History(pipeline.store, "me")
    history.keep(record)
    assert rounded(history.opened(record.id) or record) == rounded(record)
    for document in pipeline.store.documents():
        pipeline.store.remove(document.id)
    opened = history.opened(record.id)
    assert opened is not None
    best, *others = opened.trace.candidates
    assert best == record.trace.candidates[0]
    assert all(len(other.chunk.text) <= 4 for other in others)


# --- files ---


def test_a_search_has_no_answer(pipeline: Pipeline) -> None:
    record = recorded(pipeline.search("frigate"))
    again = read_record(write_record(record))
    assert again.answer is None
    assert rounded(again) == rounded(record)


USAGE = (
    Usage("rewrite", "chat", "m", 1, 9, 9, True, 0.00009, "USD"),
    Usage("rerank", "rerank", "r", 2, 0, 0, True),
    Usage("answer", "chat", "m", 1, 40, 20, False),
    Usage("check", "embeddings", "e", 1, 30, 0, True),
)


def test_what_was_searched_and_what_it_used_are_read_back(pipeline: Pipeline) -> None:
    answer = pipeline.ask("它睡在哪里？").answer
    trace = replace(answer.trace, standalone="猫睡在哪里？", usage=USAGE[:2])
    record = recorded(trace, replace(answer, trace=trace, usage=USAGE))
    again = read_record(write_record(record))
    assert again.answer is not None
    assert (again.trace.searched, again.trace.usage) == ("猫睡在哪里？", USAGE[:2])
    assert again.answer.usage == USAGE
    assert rounded(again) == rounded(record)


def test_a_trace_from_before_usage_was_counted_is_read(pipeline: Pipeline) -> None:
    found = rounded(asked(pipeline, "cat"))
    assert isinstance(found, dict)
    del found["usage"], found["standalone"]
    again = read_record(json.dumps(found))
    assert (again.trace.searched, again.trace.usage) == ("cat", ())


def test_an_answer_that_failed_keeps_its_problem(pipeline: Pipeline, tmp_path: Path) -> None:
    from rag.errors import BackendError

    answerer = FakeAnswerer(["The cat [1]"], failure=BackendError("It hung up.", "Ask again."))
    record = asked(make(tmp_path / "library", answerer), "cat")
    again = read_record(write_record(record))
    assert again.answer is not None
    assert again.answer.problem == BackendError("It hung up.", "Ask again.").notice
    assert rounded(again) == rounded(record)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "not JSON"),
        ("[1, 2]", "no trace of RankLens"),
        ('{"format": "other"}', "no trace of RankLens"),
        ('{"format": "ranklens-trace", "version": 99}', "version 99"),
        ('{"format": "ranklens-trace", "version": 1}', "damaged at id"),
        ("[" * 100_000, "not JSON"),
        (b"\xff\xfe\x00", "not JSON"),
    ],
)
def test_what_is_no_trace_is_refused_in_words(text: str | bytes, told: str) -> None:
    with pytest.raises(UnreadableTrace, match=told) as refused:
        read_record(text)
    assert refused.value.hint


def test_a_damaged_trace_names_the_place(pipeline: Pipeline) -> None:
    found = rounded(asked(pipeline, "cat"))
    assert isinstance(found, dict)
    found["candidates"][1]["dense"]["score"] = "high"
    with pytest.raises(UnreadableTrace, match=r"candidates\.1\.dense\.score"):
        read_record(json.dumps(found))


@pytest.mark.parametrize("key", ["models.reranker", "settings.passages", "library.contents"])
def test_a_trace_without_what_the_pages_show_is_refused(pipeline: Pipeline, key: str) -> None:
    found = rounded(asked(pipeline, "cat"))
    assert isinstance(found, dict)
    outer, inner = key.split(".")
    del found[outer][inner]
    with pytest.raises(UnreadableTrace, match=key.replace(".", r"\.")):
        read_record(json.dumps(found))


def test_numbers_that_point_nowhere_are_left_out(pipeline: Pipeline) -> None:
    found = rounded(asked(pipeline, "Where does the cat sleep?"))
    assert isinstance(found, dict)
    found["citations"][0]["number"] = 99
    answer = read_record(json.dumps(found)).answer
    assert answer is not None
    assert 99 not in {citation.number for citation in answer.citations}
