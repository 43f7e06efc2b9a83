"""The library on disk: what is found, what survives, and what a killed process leaves."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from rag.errors import LibraryError
from rag.store import Store, search_indexes
from rag.store.failures import plain_words
from rag.types import Chunk, ChunkVectors, Document, DocumentRecord, Page

DIMENSIONS = 8
FINGERPRINT = "0123456789ab"
ENGLISH = [
    "A reranker reads the question and the passage together.",
    "Vector search compares two embeddings that were made apart.",
    "The warehouse in Rotterdam closes at six on Fridays.",
]
CHINESE = [
    "混合检索结合向量检索和全文检索。",
    "重排序模型同时阅读问题和段落。",
    "鹿特丹的仓库周五六点关门。",
]


def open_store(folder: Path, fingerprint: str = FINGERPRINT) -> Store:
    return Store.open(folder / "library", fingerprint, DIMENSIONS)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(tmp_path)


def record(document_id: str, status: str = "ready", **changes) -> DocumentRecord:
    fields = {
        "id": document_id,
        "name": f"{document_id}.md",
        "media_type": "text/markdown",
        "size": 3,
        "status": status,
        "message": "",
        "pages": 1,
        "pages_read": 1,
        "chunks": 3,
        "added_at": datetime(2026, 11, 22, 12, tzinfo=UTC),
    }
    return DocumentRecord(**(fields | changes))


def chunks_of(document_id: str, texts: list[str]) -> list[Chunk]:
    return [
        Chunk(f"{document_id}:{position}", document_id, position, 1, 0, len(text), text, "Title")
        for position, text in enumerate(texts)
    ]


def vectors_of(texts: list[str]) -> ChunkVectors:
    """Unit vectors and codes that depend on the text only."""
    seeds = [int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") for text in texts]
    dense = np.array([np.random.default_rng(seed).standard_normal(DIMENSIONS) for seed in seeds])
    dense /= np.linalg.norm(dense, axis=1, keepdims=True)
    codes = tuple(np.random.default_rng(seed).bytes(200) for seed in seeds)
    return ChunkVectors(dense.astype(np.float32), codes)


def put_texts(store: Store, document_id: str, texts: list[str]) -> None:
    store.put_chunks(chunks_of(document_id, texts), vectors_of(texts), texts)


def add(store: Store, document_id: str, texts: list[str], name: str = "notes.md") -> None:
    """What ingest does with one document."""
    page = Page(1, "\n".join(texts))
    with store.ingest_lock():
        store.put_document(record(document_id, "embedding", name=name))
        store.put_original(document_id, b"original of " + document_id.encode("utf-8", "replace"))
        store.put_pages(Document(document_id, name, "text/markdown", 3, (page,)))
        store.put_document(record(document_id, "embedding", name=name))
        put_texts(store, document_id, texts)
        store.put_document(record(document_id, "ready", name=name, chunks=len(texts)))


def found_by_words(store: Store, text: str) -> list[str]:
    return [chunk.text for chunk, _ in store.search_lexical(text, 10)]


# --- round trips ---------------------------------------------------------------------------


def test_a_new_library_is_empty(store: Store) -> None:
    assert store.documents() == []
    assert store.document("x") is None
    assert store.original("x") is None
    assert store.pages("x") == []
    assert store.chunks("x") == []
    assert store.state().chunks == 0
    assert store.names(["x"]) == {}
    assert store.vectors(["x"]) == {}
    assert store.search_dense(np.ones(DIMENSIONS, np.float32), 10) == []
    assert store.search_lexical("reranker", 10) == []
    store.remove("x")
    store.optimize()


def test_records_come_back_as_they_went_in(store: Store, tmp_path: Path) -> None:
    written = record("d1", "failed", name="说明 'x'.pdf", message="坏了", size=5, pages=9)
    store.put_document(written)
    content = bytes(range(256)) * 5000
    store.put_original("d1", content)
    pages = (Page(1, "一\n\n二 \x00 three"), Page(2, "", "needs a password"), Page(10, ""))
    store.put_pages(Document("d1", "n", "t", 5, pages))
    put_texts(store, "d1", ENGLISH + CHINESE)

    again = open_store(tmp_path)
    # The listing counts the chunks of this index.
    assert again.documents() == [replace(written, chunks=len(ENGLISH + CHINESE))]
    assert again.document("d1") == written
    assert again.original("d1") == content
    assert again.pages("d1") == list(pages)
    assert again.chunks("d1") == chunks_of("d1", ENGLISH + CHINESE)
    assert again.names(["d1", "d2"]) == {"d1": "说明 'x'.pdf"}
    assert again.size_bytes() > len(content)


def test_vectors_and_codes_come_back_unchanged(store: Store) -> None:
    texts = ENGLISH + CHINESE
    add(store, "d1", texts)
    vectors = vectors_of(texts)
    got = store.vectors(["d1:4", "d1:0", "d1:0", "nobody's"])
    assert set(got) == {"d1:4", "d1:0"}
    for position in (0, 4):
        kept = got[f"d1:{position}"]
        assert kept.dense.dtype == np.float32
        assert np.array_equal(kept.dense, vectors.dense[position])
        assert kept.token_codes == vectors.token_codes[position]
        assert kept.sparse_codes == b""


def test_documents_come_newest_first(store: Store) -> None:
    noon = datetime(2026, 11, 22, 12, tzinfo=UTC)
    for hours in (1, 3, 2):
        store.put_document(record(f"d{hours}", added_at=noon + timedelta(hours=hours)))
    assert [row.id for row in store.documents()] == ["d3", "d2", "d1"]


def test_a_row_is_updated_and_an_original_is_not(store: Store) -> None:
    store.put_document(record("d1", "embedding"))
    store.put_document(record("d1", "ready"))
    assert [row.status for row in store.documents()] == ["ready"]
    store.put_original("d1", b"first")
    store.put_original("d1", b"second")
    assert store.original("d1") == b"first"


def test_half_a_surrogate_pair_is_kept_as_a_question_mark(store: Store) -> None:
    store.put_document(record("d1", name="bad\udce9name.txt"))
    assert store.names(["d1"]) == {"d1": "bad?name.txt"}
    put_texts_with_surrogate = ["one \ud800 two"]
    store.put_chunks(
        chunks_of("d1", put_texts_with_surrogate), vectors_of(["x"]), put_texts_with_surrogate
    )
    (chunk,) = store.chunks("d1")
    assert chunk.text == "one ? two"


def test_chunks_of_two_documents_or_of_other_lengths_are_refused(store: Store) -> None:
    mixed = chunks_of("d1", ENGLISH[:1]) + chunks_of("d2", ENGLISH[1:2])
    with pytest.raises(ValueError, match="one document"):
        store.put_chunks(mixed, vectors_of(ENGLISH[:2]), ENGLISH[:2])
    with pytest.raises(ValueError, match="each with its vectors"):
        store.put_chunks(chunks_of("d1", ENGLISH), vectors_of(ENGLISH[:2]), ENGLISH)
    assert store.state().chunks == 0


# --- recall --------------------------------------------------------------------------------


def test_a_document_just_added_is_found_by_both_arms(store: Store) -> None:
    add(store, "en", ENGLISH)
    store.optimize()
    add(store, "zh", CHINESE)
    assert found_by_words(store, "rerankers")[0] == ENGLISH[0]
    assert found_by_words(store, "仓库")[0] == CHINESE[2]
    for text in ENGLISH + CHINESE:
        chunk, similarity = store.search_dense(vectors_of([text]).dense[0], 3)[0]
        assert chunk.text == text
        assert similarity == pytest.approx(1.0, abs=1e-5)


def test_similarity_is_the_cosine_best_first(store: Store) -> None:
    texts = ENGLISH + CHINESE
    add(store, "d1", texts)
    question = np.arange(1, DIMENSIONS + 1, dtype=np.float32)
    cosines = vectors_of(texts).dense @ (question / np.linalg.norm(question))
    got = store.search_dense(question, 10)
    assert [chunk.position for chunk, _ in got] == list(np.argsort(-cosines))
    assert [score for _, score in got] == pytest.approx(sorted(cosines, reverse=True), abs=1e-5)


def test_equal_scores_come_in_the_order_of_their_ids(store: Store) -> None:
    for document_id in ("c", "a", "b"):
        add(store, document_id, ["one harbour 港口"])
    for got in (
        store.search_dense(vectors_of(["one harbour 港口"]).dense[0], 10),
        store.search_lexical("harbour", 10),
    ):
        assert [chunk.id for chunk, _ in got] == ["a:0", "b:0", "c:0"]


def test_any_word_matches_and_more_words_score_higher(store: Store) -> None:
    add(store, "d1", ENGLISH + CHINESE)
    got = store.search_lexical("warehouse Rotterdam passage", 10)
    assert [chunk.text for chunk, _ in got] == [ENGLISH[2], ENGLISH[0]]
    assert got[0][1] > got[1][1] > 0
    assert found_by_words(store, "鹿特丹 检索") == [CHINESE[2], CHINESE[0]] or found_by_words(
        store, "鹿特丹 检索"
    ) == [CHINESE[0], CHINESE[2]]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "  \n",
        '"(~: ^^ ~*',
        '"(reranker: ^~*',
        "reranker)",
        "\x00",
        "'; --",
        "\\",
        "😀",
        "a" * 5000,
    ],
)
def test_special_characters_are_harmless(store: Store, text: str) -> None:
    add(store, "d1", ENGLISH)
    assert found_by_words(store, text) == ([ENGLISH[0]] if "reranker" in text else [])


def test_a_word_behind_a_stop_word_is_found(store: Store) -> None:
    add(store, "d1", ["the cat sat on a mat", "他后来的猫"])
    assert found_by_words(store, "cat") == found_by_words(store, "mat") == ["the cat sat on a mat"]
    assert found_by_words(store, "猫") == ["他后来的猫"]


def test_depth_is_the_most_that_comes_back(store: Store) -> None:
    add(store, "d1", [f"word number {number}" for number in range(30)])
    assert len(store.search_dense(np.ones(DIMENSIONS, np.float32), 7)) == 7
    assert len(store.search_lexical("word", 7)) == 7


@pytest.mark.parametrize("status", ["removing", "failed"])
def test_chunks_of_a_hidden_document_are_not_found(store: Store, status: str) -> None:
    add(store, "d1", ENGLISH[:1])
    add(store, "d2", ENGLISH[:1])
    store.put_document(record("d1", status))
    assert {chunk.document_id for chunk, _ in store.search_lexical("reranker", 10)} == {"d2"}
    dense = store.search_dense(np.ones(DIMENSIONS, np.float32), 10)
    assert {chunk.document_id for chunk, _ in dense} == {"d2"}


def test_indexes_are_folded_in_and_change_no_result(store: Store, monkeypatch) -> None:
    monkeypatch.setattr(search_indexes, "VECTOR_INDEX_FROM", 300)
    texts = [f"passage {number} 段落 about topic{number % 7}" for number in range(600)]
    add(store, "d1", texts)
    question = vectors_of(["somewhere else"]).dense[0]
    dense, lexical = store.search_dense(question, 10), store.search_lexical("topic3 段落", 600)
    store.optimize()
    table = store._tables.chunks
    unindexed = {index.columns[0]: index.num_unindexed_rows for index in table.list_indices()}
    assert unindexed == {"search_text": 0, "id": 0, "document_id": 0, "vector": 0}
    assert [pair[0] for pair in store.search_dense(question, 10)] == [pair[0] for pair in dense]
    assert {pair[0].id for pair in store.search_lexical("topic3 段落", 600)} == {
        pair[0].id for pair in lexical
    }
    version = table.version
    store.optimize()
    assert table.version == version
    add(store, "d2", ["a lighthouse 灯塔"])
    assert found_by_words(store, "灯塔") == ["a lighthouse 灯塔"]
    assert store.search_dense(vectors_of(["a lighthouse 灯塔"]).dense[0], 1)[0][0].id == "d2:0"


@pytest.mark.parametrize("texts", [ENGLISH, CHINESE])
def test_words_weigh_what_they_did_before_documents_that_were_removed(
    store: Store, texts: list[str]
) -> None:
    add(store, "d1", texts)
    before = store.search_lexical(texts[1], 10)
    # So many that they are indexed.
    add(store, "d2", [f"{texts[number % 2]} {number}" for number in range(600)])
    store.optimize()
    store.remove("d2")
    store.optimize()
    assert store.search_lexical(texts[1], 10) == before
    version = store._tables.chunks.version
    store.optimize()
    assert store._tables.chunks.version == version


def test_many_small_files_are_merged(store: Store) -> None:
    for number in range(20):
        store.put_document(record(f"d{number}"))
    store.optimize()
    stats = store._tables.documents.stats()
    assert stats["fragment_stats"]["num_fragments"] == 1
    assert len(store.documents()) == 20


# --- one document, once --------------------------------------------------------------------


def test_a_document_put_again_replaces_its_chunks(store: Store) -> None:
    for _ in range(5):
        add(store, "d1", ENGLISH)
    add(store, "d2", CHINESE)
    assert store.state().chunks == 6
    add(store, "d1", ENGLISH[:1])
    assert store.chunks("d1") == chunks_of("d1", ENGLISH[:1])
    assert store.state().chunks == 4
    assert len(store.documents()) == 2


def test_two_threads_that_put_one_document_leave_it_once(store: Store) -> None:
    texts = [f"text {number}" for number in range(20)]
    for round_number in range(3):
        barrier = threading.Barrier(4)

        def put(document_id: str = f"d{round_number}", barrier=barrier) -> None:
            barrier.wait()
            put_texts(store, document_id, texts)

        threads = [threading.Thread(target=put) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert store.state().chunks == 20 * (round_number + 1)


# Importing LanceDB takes seconds, so one process imports it and every child is a fork of it.
NURSERY = """
import json, os, sys, traceback
sys.path.insert(0, sys.argv[1])
from tests.test_store import *
for line in sys.stdin:
    folder, *bodies = json.loads(line)
    for body in bodies:
        if os.fork() == 0:
            code = 1
            try:
                exec(body, globals() | {"folder": Path(folder)})
                code = 0
            except BaseException:
                traceback.print_exc()
            os._exit(code)
    codes = [os.waitstatus_to_exitcode(os.wait()[1]) for _ in bodies]
    print("gone", *codes, flush=True)
"""


class Nursery:
    """Runs Python text in child processes, each of which prints its process id first."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", NURSERY, str(Path(__file__).parents[1])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def start(self, folder: Path, *bodies: str) -> list[int]:
        """The process ids of the children."""
        hello = "import os\nsay('pid', os.getpid())\n"
        self.process.stdin.write(json.dumps([str(folder), *(hello + body for body in bodies)]))
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return [int(self.line().split()[1]) for _ in bodies]

    def line(self) -> str:
        return self.process.stdout.readline().removesuffix("\n")

    def rest(self) -> list[str]:
        """All lines until the children are gone; the last is their exit codes."""
        lines = [self.line()]
        while lines[-1] and not lines[-1].startswith("gone"):
            lines.append(self.line())
        return lines


def say(*words: object) -> None:
    """One line in one write, so that lines of two processes do not mix."""
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    if not hasattr(os, "fork"):
        pytest.skip("needs fork")
    running = Nursery()
    yield running
    running.process.stdin.close()
    running.process.wait(10)
    running.process.stdout.close()


def test_two_processes_that_open_and_add_at_once_leave_every_document_once(
    nursery: Nursery, tmp_path: Path
) -> None:
    body = """
while not (folder / "go").exists():
    time.sleep(0.001)
store = open_store(folder)
texts = [f"text {number}" for number in range(20)]
for number in range(4):
    put_texts(store, f"d{number}", texts)
    store.put_document(record(f"d{number}", chunks=20))
    store.optimize()
"""
    nursery.start(tmp_path, body, body)
    (tmp_path / "go").touch()
    assert nursery.rest() == ["gone 0 0"]
    store = open_store(tmp_path)
    assert store.state().chunks == 80
    assert len(store.documents()) == 4
    assert len(store._tables.chunks.list_indices()) == 3


# --- removing ------------------------------------------------------------------------------

ODD = ["x' OR '1'='1", "O'Brien.pdf", "%", "_", "\\", '"', "a\nb", "😀", "`", "文档", "--", "NULL"]
ODD_TEXT = st.one_of(
    st.sampled_from(ODD), st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)
)


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = open_store(tmp_path_factory.mktemp("crowded"))
    for number, odd in enumerate(ODD):
        put_texts(store, f"kept {number}", ENGLISH[:1])
        store.put_document(record(f"kept {number}", name=odd))
    return store


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(document_id=ODD_TEXT, name=ODD_TEXT)
@example(document_id="x' OR '1'='1", name="x' OR '1'='1")
@example(document_id="\\' OR 1=1 --", name="%")
def test_removing_removes_exactly_one(crowded: Store, document_id: str, name: str) -> None:
    others = crowded.documents()
    add(crowded, document_id, CHINESE, name)
    assert crowded.names([document_id]) == {document_id: name}
    assert len(crowded.chunks(document_id)) == 3
    assert len(crowded.vectors([f"{document_id}:0"])) == 1
    crowded.remove(document_id)
    assert crowded.documents() == others
    assert crowded.state().chunks == len(ODD)
    assert crowded.pages(document_id) == []
    assert crowded.original(document_id) is None


def test_removing_reaches_every_index(store: Store, tmp_path: Path) -> None:
    add(store, "d1", ENGLISH)
    other = open_store(tmp_path, "another")
    put_texts(other, "d1", CHINESE)
    store.remove("d1")
    assert other.state().chunks == store.state().chunks == 0


def test_a_removal_waits_for_the_one_who_adds_and_is_hidden_meanwhile(
    store: Store, tmp_path: Path
) -> None:
    add(store, "old", ENGLISH)
    other = open_store(tmp_path)
    with store.ingest_lock():
        thread = threading.Thread(target=other.remove, args=("old",))
        thread.start()
        deadline = time.monotonic() + 5
        while store.search_lexical("reranker", 5) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert store.search_lexical("reranker", 5) == []
        assert store.state().chunks == 3
        thread.join()
    assert store.document("old") is None
    assert store.state().chunks == 0


def test_a_document_that_is_being_added_is_removed_after_that(store: Store, tmp_path: Path) -> None:
    other = open_store(tmp_path)
    with store.ingest_lock():
        store.put_document(record("d1", "embedding"))
        thread = threading.Thread(target=other.remove, args=("d1",))
        thread.start()
        time.sleep(0.2)
        put_texts(store, "d1", ENGLISH)
        store.put_document(record("d1", "ready"))
    thread.join()
    assert store.documents() == []
    assert store.state().chunks == 0


# --- healing -------------------------------------------------------------------------------


def test_an_interrupted_document_without_chunks_failed_and_keeps_its_original(
    store: Store, tmp_path: Path
) -> None:
    store.put_document(record("d1", "embedding"))
    store.put_original("d1", b"bytes")
    healed = open_store(tmp_path).document("d1")
    assert (healed.status, healed.message) == (
        "failed",
        "Adding was interrupted. Add the file again.",
    )
    assert store.original("d1") == b"bytes"
    add(store, "d1", ENGLISH)
    assert found_by_words(store, "reranker") == [ENGLISH[0]]


def test_an_interrupted_document_with_its_chunks_is_ready(store: Store, tmp_path: Path) -> None:
    store.put_document(record("d1", "embedding", pages=0, pages_read=0, chunks=0))
    pages = (Page(1, "one"), Page(2, "", "not read"))
    store.put_pages(Document("d1", "n", "t", 3, pages))
    put_texts(store, "d1", ENGLISH)
    assert found_by_words(store, "reranker") == [ENGLISH[0]]
    healed = open_store(tmp_path).document("d1")
    assert (healed.status, healed.pages, healed.pages_read, healed.chunks) == ("ready", 2, 1, 3)


def test_what_has_no_document_row_is_not_found_and_goes_at_the_next_start(
    store: Store, tmp_path: Path
) -> None:
    add(store, "kept", CHINESE)
    put_texts(store, "stray", ENGLISH)
    store.put_original("stray", b"bytes")
    store.put_pages(Document("stray", "n", "t", 3, (Page(1, "one"),)))
    assert found_by_words(store, "reranker") == []
    again = open_store(tmp_path)
    assert again.state().chunks == 3
    assert again.original("stray") is None
    assert again.pages("stray") == []
    assert len(again.chunks("kept")) == 3


def test_a_process_that_adds_is_left_alone_and_settled_once_it_is_gone(
    nursery: Nursery, tmp_path: Path
) -> None:
    (pid,) = nursery.start(
        tmp_path,
        """
store = open_store(folder)
with store.ingest_lock():
    store.put_document(record("d1", "embedding"))
    store.put_original("d1", b"bytes")
    say("adding")
    time.sleep(60)
""",
    )
    assert nursery.line() == "adding"
    store = open_store(tmp_path)
    assert store.document("d1").status == "embedding"
    store.optimize()
    os.kill(pid, signal.SIGKILL)
    assert nursery.rest() == ["gone -9"]
    with store.ingest_lock():
        assert store.document("d1").status == "failed"
    assert store.original("d1") == b"bytes"


# --- failures ------------------------------------------------------------------------------


def test_a_file_in_the_place_of_the_folder_is_said_plainly(tmp_path: Path) -> None:
    (tmp_path / "library").write_text("not a folder")
    with pytest.raises(LibraryError, match="cannot be made") as caught:
        open_store(tmp_path)
    assert "RAG_HOME" in caught.value.hint


def test_a_damaged_file_names_its_table_and_does_not_stop_the_rest(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    add(store, "d1", ENGLISH)
    for path in (tmp_path / "library" / "pages.lance" / "data").iterdir():
        path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(LibraryError, match="table pages is damaged or missing"):
        store.pages("d1")
    assert found_by_words(store, "reranker") == [ENGLISH[0]]


def test_an_index_with_other_dimensions_is_refused(store: Store, tmp_path: Path) -> None:
    with pytest.raises(LibraryError, match="vectors of another length"):
        Store.open(tmp_path / "library", FINGERPRINT, DIMENSIONS + 1)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(28, "No space left on device"), "disk is full"),
        (RuntimeError("lance error: IO: No space left on device (os error 28)"), "disk is full"),
        (PermissionError(13, "Permission denied"), "may not be read or written"),
        (RuntimeError("Read-only file system (os error 30)"), "may not be read or written"),
        (RuntimeError("Invalid range 0..0 for object of size 0 bytes"), "table pages is damaged"),
        (ValueError("something new\nwith a trace"), "table pages could not be used: something"),
    ],
)
def test_what_lancedb_says_is_said_in_plain_words(error: Exception, words: str) -> None:
    with pytest.raises(LibraryError, match=words) as caught, plain_words("library", "pages"):
        raise error
    assert caught.value.hint
    assert "\n" not in caught.value.message
