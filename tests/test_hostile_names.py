"""Whatever a document is called and says, it stays in its place, and goes alone."""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import cycle
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag.chunking import chunk_document
from rag.documents import safe_name
from rag.documents.cleaning import clean
from rag.errors import RAGError
from rag.folding import encodable
from rag.ingest import File, Ingest, ReportPage
from rag.pipeline import Pipeline
from rag.settings import IndexSettings
from rag.store import Store
from rag.store.tables import (
    chunk_rows,
    document_rows,
    matching,
    original_rows,
    page_rows,
    upsert,
)
from rag.types import AddResult, Chunk, ChunkVectors, Document, DocumentRecord, Page
from tests.fakes import DIMENSIONS
from tests.hostile_names import NAMES, TEXTS, names
from tests.test_ingest import results
from tests.test_pipeline import make

# On a machine that others use too.
QUESTION_SECONDS = 10.0


def read(content: bytes, name: str, report: ReportPage) -> Document:
    """As the reading process does, without its process."""
    page = Page(1, clean(content.decode("utf-8", "surrogatepass")))
    if not page.text.strip():
        raise RAGError(f"{name} has no text.", "Add a file with text.")
    name = safe_name(name)
    return Document(hashlib.sha256(content).hexdigest(), name, "text/plain", len(content), (page,))


def add(pipeline: Pipeline, files: Iterable[tuple[str, str]]) -> list[AddResult]:
    """Add files of these names and texts."""
    ingest = Ingest(
        pipeline.store, pipeline.embedder, pipeline.codec, read, pipeline._chunk, pipeline._name
    )
    return results(
        ingest.add(
            [
                File.holding(name, text.encode("utf-8", "surrogatepass"))
                for name, text in files
            ]
        )
    )  # fmt: skip


def kept_ids(count: int) -> list[str]:
    """Hostile names as ids; half a surrogate pair is no id."""
    return list(dict.fromkeys(encodable(name) for name in names(count)))


def put_at_once(store: Store, ids: Sequence[str]) -> None:
    """A document of one page and one chunk for every id, in four commits."""
    tables = store._tables
    dense = np.eye(1, DIMENSIONS, dtype=np.float32)
    documents, originals, pages, chunks = [], [], [], []
    for place, one in enumerate(ids):
        page = Page(1, f"text {place}")
        document = Document(one, one, "text/plain", 1, (page,))
        now = datetime.now(UTC)
        record = DocumentRecord(one, one, "text/plain", 1, "ready", "", 1, 1, 1, now)
        documents.append(document_rows(record))
        originals.append(original_rows(one, b"x"))
        pages.append(page_rows(document))
        rows = [Chunk(f"{place}-0", one, 0, 1, 0, 4, page.text)]
        vectors = ChunkVectors(dense, (b"",))
        chunks.append(chunk_rows(rows, vectors, [page.text], tables.chunks.schema))
    for table, rows in (
        (tables.documents, documents),
        (tables.originals, originals),
        (tables.pages, pages),
        (tables.chunks, chunks),
    ):
        upsert(table).execute(pa.concat_tables(rows))


def wrongly_removed(folder: Path, count: int, removals: int) -> int:
    """Remove some of many documents with hostile ids; how many rows went, or stayed, in error."""
    store = Store.open(folder, "test", DIMENSIONS)
    ids = kept_ids(count)
    put_at_once(store, ids)
    left, wrong = set(ids), 0
    for document_id in ids[:removals]:
        store.remove(document_id)
        left.remove(document_id)
        wrong += len({record.id for record in store.documents()} ^ left)
    for table in (store._tables.pages, store._tables.chunks):
        rows = Counter(matching(table, ["document_id"])["document_id"].to_pylist())
        wrong += (rows - Counter(left)).total() + (Counter(left) - rows).total()
    originals = Counter(matching(store._tables.originals, ["id"])["id"].to_pylist())
    return wrong + len(originals.keys() ^ left)


def tree(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if "library" not in path.parts}


@given(st.text(st.characters(exclude_categories=()), max_size=300) | st.sampled_from(NAMES))
@settings(max_examples=300)
def test_a_name_is_never_a_path_and_always_a_name(name: str) -> None:
    safe = safe_name(name)
    assert 1 <= len(safe) <= 255
    assert not {"/", "\\", "\0", "\n", "\r", "\x1b", "\u202e"} & set(safe)
    assert safe == encodable(safe) == safe_name(safe)


def test_removing_one_document_removes_exactly_that_one(tmp_path: Path) -> None:
    assert wrongly_removed(tmp_path / "library", count=500, removals=12) == 0


def test_names_are_made_safe_at_the_door(tmp_path: Path) -> None:
    events = make(tmp_path).add([File.holding("../a\x1b[2J\n\ud83d.txt", b"")])
    assert [one.name for one in events if isinstance(one, AddResult)] == ["a[2J .txt"]


@dataclass(frozen=True)
class Library:
    """Every hostile text under one of the hostile names, each with a sentence of its own."""

    pipeline: Pipeline
    added: list[AddResult]
    texts: list[str]
    outside: tuple[set[Path], set[Path]]


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Library]:
    folder = tmp_path_factory.mktemp("names")
    work = folder / "deep" / "work"
    work.mkdir(parents=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(work)
        patch.setenv("HOME", str(work))
        before = tree(folder)
        pipeline = make(folder / "library")
        texts = [
            f"{text}\n\nAnimal number{place} eats grass.\n"
            for place, (_, text) in enumerate(zip(NAMES, cycle(TEXTS.values()), strict=False))
        ]
        added = add(pipeline, zip(NAMES, texts, strict=True))
        yield Library(pipeline, added, texts, (before, tree(folder)))


def test_documents_of_every_name_are_listed_cited_and_kept_in_their_folder(
    library: Library,
) -> None:
    pipeline = library.pipeline
    assert [result.outcome for result in library.added] == ["added"] * len(NAMES)
    listed = {record.id: record.name for record in pipeline.store.documents()}
    assert [listed[result.document_id] for result in library.added] == [*map(safe_name, NAMES)]
    for place in range(0, len(NAMES), 5):
        answer = pipeline.ask(f"What does number{place} eat?").answer
        assert answer.citations[0].candidate.document == safe_name(NAMES[place])
    before, after = library.outside
    assert after == before


def test_every_text_can_be_a_document(library: Library) -> None:
    assert len(TEXTS) <= len(NAMES)
    for result, text in zip(library.added, library.texts, strict=True):
        pages = library.pipeline.store.pages(result.document_id)
        assert [page.text for page in pages] == [clean(text)]


def test_every_text_can_be_a_question(library: Library) -> None:
    for name, text in TEXTS.items():
        started = time.monotonic()
        try:
            said = library.pipeline.ask(text).answer.trace.question
        except RAGError as error:
            said = error.hint
        assert said, name
        assert time.monotonic() - started < QUESTION_SECONDS, name


LONG = ("a", " ", "字", "\u0301", "a b", "。", "#", "`", "\n", "|", "# a\n", "```\n")


def seconds_of_long_text(text: str, characters: int) -> float:
    """The time to clean a long text and to cut it, at a token a character."""
    page = Page(1, clean((text * characters)[:characters]))
    document = Document("0" * 64, "long.md", "text/markdown", 1, (page,))
    spans = [(place, place + 1) for place in range(characters)]
    started = time.thread_time()
    chunks = chunk_document(
        document, lambda texts: [spans[: len(text)] for text in texts], IndexSettings()
    )
    assert sum(len(chunk.text) for chunk in chunks) >= len("".join(page.text.split()))
    return time.thread_time() - started


def test_the_time_for_a_long_text_grows_with_its_length() -> None:
    for text in ("字", "# a\n", "```\n"):
        short, long = (
            min(seconds_of_long_text(text, count) for _ in range(3)) for count in (20_000, 100_000)
        )
        assert long < 15 * short + 0.2
