"""From bytes to a searchable document: progress, sameness, failures, cancelling."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier, Event, Thread
from time import monotonic, sleep

import pytest

from rag.encoding import WINDOW
from rag.errors import BackendError, UnreadableFile
from rag.ingest import File, Ingest, Read, ReportPage
from rag.store import Store
from rag.token_codes import TokenCodec
from rag.types import AddResult, Chunk, Document, Page, PageRead, Progress
from tests.fakes import DIMENSIONS, FakeEmbedder

ENGLISH = b"A cat sat on the mat.\n\nThe dog slept all day."
CHINESE = "猫坐在垫子上。\n\n狗睡了一整天。".encode()


def read(content: bytes, name: str, report: ReportPage) -> Document:
    """One page a paragraph; a file that says so is broken."""
    if b"broken" in content:
        raise UnreadableFile(f"{name} is broken.", "Add a whole copy.")
    texts = content.decode().split("\n\n")
    pages = tuple(Page(number, text) for number, text in enumerate(texts, start=1))
    for page in pages:
        report(PageRead(page, "text/plain", len(texts)))
    return Document(hashlib.sha256(content).hexdigest(), name, "text/plain", len(content), pages)


def chunk(document: Document) -> list[Chunk]:
    """One chunk a page."""
    return [
        Chunk(
            f"{document.id[:16]}-{index}",
            document.id,
            index,
            page.number,
            0,
            len(page.text),
            page.text,
        )
        for index, page in enumerate(document.pages)
        if page.text
    ]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "library", "test", DIMENSIONS)


@pytest.fixture
def ingest(store: Store) -> Ingest:
    return Ingest(store, FakeEmbedder(), TokenCodec(DIMENSIONS), read, chunk)


def results(events: Iterator[Progress | AddResult]) -> list[AddResult]:
    return [event for event in events if isinstance(event, AddResult)]


def test_an_added_document_is_found_by_both_arms(ingest: Ingest, store: Store) -> None:
    added = results(ingest.add([File.holding("a.txt", ENGLISH), File.holding("b.txt", CHINESE)]))
    assert [(result.outcome, result.pages, result.chunks) for result in added] == [
        ("added", 2, 2),
        ("added", 2, 2),
    ]
    for text in ("cat mat", "狗睡"):
        question = FakeEmbedder().encode_question(text)
        assert text[0] in store.search_dense(question.dense, 1)[0][0].text.lower()
        assert text[0] in store.search_lexical(text, 1)[0][0].text.lower()


def test_every_stage_reports_and_ends_whole(ingest: Ingest) -> None:
    events = [
        event
        for event in ingest.add([File.holding("a.txt", ENGLISH)])
        if isinstance(event, Progress)
    ]
    stages = list(dict.fromkeys(event.stage for event in events))
    assert stages == ["reading", "chunking", "embedding", "storing"]
    for stage in stages:
        last = [event for event in events if event.stage == stage][-1]
        assert last.done == last.total > 0


def test_the_same_bytes_are_one_document(ingest: Ingest, store: Store) -> None:
    files = [File.holding(f"copy {number}.txt", ENGLISH) for number in range(5)]
    added = results(ingest.add(files))
    assert [result.outcome for result in added] == ["added"] + ["already there"] * 4
    assert "copy 0.txt" in str(added[1])
    assert store.state().chunks == 2
    assert len(store.documents()) == 1


def test_two_threads_adding_the_same_bytes_make_one_document(store: Store) -> None:
    barrier, outcomes = Barrier(2), []

    def add(number: int) -> None:
        ingest = Ingest(store, FakeEmbedder(), TokenCodec(DIMENSIONS), read, chunk)
        barrier.wait()
        outcomes.extend(results(ingest.add([File.holding(f"{number}.txt", ENGLISH)])))

    threads = [Thread(target=add, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(result.outcome for result in outcomes) == ["added", "already there"]
    assert store.state().chunks == 2


def test_a_broken_file_stops_no_other_and_stays_listed(ingest: Ingest, store: Store) -> None:
    added = results(
        ingest.add([File.holding("bad.txt", b"broken"), File.holding("good.txt", ENGLISH)])
    )
    assert [result.outcome for result in added] == ["failed", "added"]
    assert str(added[0]) == "bad.txt: failed. bad.txt is broken. Add a whole copy."
    listed = {record.name: record.status for record in store.documents()}
    assert listed == {"bad.txt": "failed", "good.txt": "ready"}


def test_a_failure_is_told_while_another_document_is_encoded(ingest: Ingest, store: Store) -> None:
    with ThreadPoolExecutor(1) as pool, store.ingest_lock():
        adding = ingest.add([File.holding("broken.pdf", b"%PDF broken")])
        told = pool.submit(lambda: next(event for event in adding if isinstance(event, AddResult)))
        assert told.result(timeout=5).outcome == "failed"
        assert store.documents() == []
    assert results(adding) == []
    assert [record.status for record in store.documents()] == ["failed"]


def test_a_short_document_does_not_wait_for_a_long_one(store: Store) -> None:
    long, begun, ended = "\n\n".join(f"page {n}" for n in range(20 * WINDOW)), Event(), Event()

    def encode() -> None:
        begun.set()
        sleep(0.05)

    def add_long() -> None:
        results(slow.add([File.holding("long.txt", long.encode())]))
        ended.set()

    slow = Ingest(store, FakeEmbedder(before=encode), TokenCodec(DIMENSIONS), read, chunk)
    with ThreadPoolExecutor(1) as pool:
        adding = pool.submit(add_long)
        begun.wait()
        (short,) = results(slow.add([File.holding("short.txt", ENGLISH)]))
        assert short.outcome == "added"
        assert not ended.is_set()
        adding.result()
    assert {record.status for record in store.documents()} == {"ready"}


def test_small_files_are_merged_on_the_way(
    store: Store, ingest: Ingest, monkeypatch: pytest.MonkeyPatch
) -> None:
    merged: list[int] = []
    optimize = store.optimize

    def counted() -> None:
        optimize()
        merged.append(len(store.documents()))

    monkeypatch.setattr("rag.ingest._MERGED_AFTER", 3)
    monkeypatch.setattr(store, "optimize", counted)
    added = results(ingest.add([File.holding(f"{n}.txt", str(n).encode()) for n in range(8)]))
    assert [one.outcome for one in added] == ["added"] * 8
    assert merged == [3, 6, 8]


def waiting_read(encoded: Callable[[], bool]) -> Read:
    """A reader whose second page takes until the first is encoded, or a second."""

    def read_slowly(content: bytes, name: str, report: ReportPage) -> Document:
        def wait_and_report(page: PageRead) -> None:
            end = monotonic() + 1
            while page.page.number == 2 and not encoded() and monotonic() < end:
                sleep(0.01)
            report(page)

        return read(content, name, wait_and_report)

    return read_slowly


@pytest.mark.parametrize("content", [ENGLISH, CHINESE])
def test_pages_are_encoded_while_others_are_still_read(store: Store, content: bytes) -> None:
    embedder = FakeEmbedder()
    ahead: list[int] = []

    def encoded() -> bool:
        ahead.append(embedder.encoded)
        return embedder.encoded > 0

    slow = waiting_read(encoded)
    ingest = Ingest(store, embedder, TokenCodec(DIMENSIONS), slow, chunk)
    (added,) = results(ingest.add([File.holding("a.txt", content)]))
    assert (added.outcome, added.pages, added.chunks) == ("added", 2, 2)
    assert (ahead[-1], embedder.encoded) == (1, 2)
    assert [one.position for one in store.chunks(added.document_id)] == [0, 1]


def test_a_service_is_asked_once_all_pages_are_read(store: Store) -> None:
    asked: list[None] = []
    service = FakeEmbedder(computes_here=False, before=lambda: asked.append(None))
    slow = waiting_read(lambda: bool(asked))
    ingest = Ingest(store, service, TokenCodec(DIMENSIONS), slow, chunk)
    (added,) = results(ingest.add([File.holding("a.txt", ENGLISH)]))
    assert added.chunks == service.encoded == 2
    assert len(asked) == 1


def test_a_text_that_many_pages_have_is_encoded_once(store: Store) -> None:
    embedder = FakeEmbedder()
    ingest = Ingest(store, embedder, TokenCodec(DIMENSIONS), read, chunk)
    content = "\n\n".join(["本页无内容", "blank"] * 50).encode()
    (added,) = results(ingest.add([File.holding("a.txt", content)]))
    assert (added.chunks, embedder.encoded) == (100, 2)


def test_services_are_asked_at_the_same_time_and_seldom(store: Store) -> None:
    both = Barrier(2)

    def meet() -> None:
        both.wait(5)

    service = FakeEmbedder(computes_here=False, before=meet)
    ingest = Ingest(store, service, TokenCodec(DIMENSIONS), read, chunk)
    texts = ["\n\n".join(f"{name} {n}" for n in range(3 * WINDOW)) for name in ("one", "two")]
    with ThreadPoolExecutor(2) as pool:
        added = [
            pool.submit(results, ingest.add([File.holding(f"{n}.txt", text.encode())]))
            for n, text in enumerate(texts)
        ]
        assert [one.result()[0].outcome for one in added] == ["added", "added"]


def test_a_missing_file_is_told_by_name(ingest: Ingest, tmp_path: Path) -> None:
    (missing,) = results(ingest.add([File.at(tmp_path / "没有.pdf")]))
    assert missing.outcome == "failed"
    assert "没有.pdf" in str(missing)


def test_a_failing_model_leaves_nothing_searchable(store: Store) -> None:
    def fail() -> None:
        raise BackendError("The model stopped.", "Try again.")

    broken = Ingest(store, FakeEmbedder(before=fail), TokenCodec(DIMENSIONS), read, chunk)
    (result,) = results(broken.add([File.holding("a.txt", ENGLISH)]))
    assert result.outcome == "failed"
    assert store.state().chunks == 0
    mended = Ingest(store, FakeEmbedder(), TokenCodec(DIMENSIONS), read, chunk)
    (again,) = results(mended.add([File.holding("a.txt", ENGLISH)]))
    assert again.outcome == "added"
    assert [record.status for record in store.documents()] == ["ready"]


def test_cancelling_skips_the_rest(ingest: Ingest, store: Store) -> None:
    files = [File.holding(f"{n}.txt", ENGLISH + str(n).encode()) for n in range(3)]
    seen: list[AddResult] = []
    for event in ingest.add(files, cancelled=lambda: bool(seen)):
        if isinstance(event, AddResult):
            seen.append(event)
    assert [result.outcome for result in seen] == ["added", "cancelled", "cancelled"]
    assert len(store.documents()) == 1


def test_abandoning_midway_leaves_nothing(ingest: Ingest, store: Store) -> None:
    events = ingest.add([File.holding("a.txt", ENGLISH)])
    for event in events:
        if isinstance(event, Progress) and event.stage == "embedding":
            break
    events.close()  # type: ignore[attr-defined]
    assert store.documents() == []
    assert store.state().chunks == 0


def test_a_model_without_token_vectors_stores_empty_codes(store: Store) -> None:
    plain = Ingest(store, FakeEmbedder(with_tokens=False), TokenCodec(DIMENSIONS), read, chunk)
    results(plain.add([File.holding("a.txt", ENGLISH)]))
    (found, _), *_ = store.search_lexical("cat", 1)
    assert store.vectors([found.id])[found.id].token_codes == b""


def test_vectors_belong_to_their_chunks_whatever_the_window(store: Store) -> None:
    text = "\n\n".join(f"word{n} " * (n % 7 + 1) for n in range(150)).encode()
    embedder = FakeEmbedder()
    ingest = Ingest(store, embedder, TokenCodec(DIMENSIONS), read, chunk)
    results(ingest.add([File.holding("a.txt", text)]))
    for n in (0, 1, 63, 64, 149):
        question = embedder.encode_question(f"word{n}")
        best, score = store.search_dense(question.dense, 1)[0]
        assert best.page == n + 1
        assert score == pytest.approx(1, abs=1e-4)
