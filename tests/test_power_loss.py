"""What a power cut or a failing disk leaves of a library, and what a start makes of it."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest

from rag.ingest import File, Ingest
from rag.store import Store, layout, manifests
from rag.token_codes import TokenCodec
from rag.types import AddResult, AskedQuestion, GoldenMark, PassageSpan
from tests.fakes import DIMENSIONS, FakeEmbedder
from tests.test_ingest import CHINESE, ENGLISH, chunk, read

FINGERPRINT = "test"
TABLES = (
    "documents",
    "originals",
    "pages",
    "chunks_test",
    "indexes",
    "questions",
    "golden",
    "measurements",
)
HARMS = ("manifest emptied", "manifest cut", "data emptied", "data cut", "data gone")


def opened(folder: Path) -> Store:
    return Store.open(folder, FINGERPRINT, DIMENSIONS)


def add(store: Store, **contents: bytes) -> list[AddResult]:
    ingest = Ingest(store, FakeEmbedder(), TokenCodec(DIMENSIONS), read, chunk)
    files = [File.holding(f"{name}.txt", content) for name, content in contents.items()]
    return [event for event in ingest.add(files) if isinstance(event, AddResult)]


def use(store: Store, round_: int) -> None:
    """A question, a mark, a measurement and a note about the index."""
    now = datetime(2026, 11, 23, 12, round_, tzinfo=UTC)
    store.questions.put(AskedQuestion(f"q{round_}", "Where 哪里?", now), "me", b"trace")
    span = PassageSpan("d", 1, 0, 3)
    mark = GoldenMark(
        f"m{round_}", "Where?", "en", span, "a.txt", "A cat", True, "marked", True, now, "me"
    )
    store.golden.put([mark])
    store.measurements.put(f"figure {round_}", b"1")


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library of two documents, with two of everything else, all of it acknowledged."""
    folder = tmp_path_factory.mktemp("filled") / "library"
    store = opened(folder)
    store.indexes.describe(FINGERPRINT, {}, built=True)
    add(store, a=ENGLISH)
    use(store, 1)
    add(store, b=CHINESE)
    use(store, 2)
    store.indexes.use(FINGERPRINT)
    return folder


@pytest.fixture
def library(filled: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(filled, tmp_path / "library"))


def newest(library: Path, table: str, what: str) -> Path:
    """The newest manifest of a table, or the data file that came with the newest rows."""
    names = layout.files(library, table)
    manifest = layout.manifests(names)[0]
    if what == "manifest":
        return library / manifest
    needed = manifests.needed((library / manifest).read_bytes(), table)
    data = [library / name for name in needed if layout.part_of(name) == layout.DATA]
    return max(data, key=lambda path: path.stat().st_mtime_ns)


def harm(path: Path, how: str) -> None:
    if how == "gone":
        path.unlink()
    else:
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2] if how == "cut" else b"")


@pytest.mark.parametrize("table", TABLES)
def test_a_library_opens_whatever_newest_file_is_damaged(
    library: Path, table: str, tmp_path: Path
) -> None:
    """It says which table it was, keeps the damaged file, and everything acknowledged else."""
    for place, said in enumerate(HARMS):
        folder = Path(shutil.copytree(library, tmp_path / str(place)))
        what, how = said.split()
        path = newest(folder, table, what)
        content = path.read_bytes()
        harm(path, how)
        store = opened(folder)
        assert store.damage is not None, said
        assert table in str(store.damage), said
        if how != "gone":
            kept = next((folder / "damaged").glob(f"*/{path.relative_to(folder)}"))
            assert content.startswith(kept.read_bytes()), said
        check_what_is_left(store, table, said)


def check_what_is_left(store: Store, table: str, said: str) -> None:
    """At most the newest row of that table is gone, and documents that count as ready are whole."""
    lost = 0 if "manifest" in said or table in {"documents", "golden", "indexes"} else 1
    ready = [record for record in store.documents() if record.status == "ready"]
    pages = [record for record in ready if store.pages(record.id)]
    originals = [record for record in ready if store.original(record.id)]
    found = [record for record in ready if store.chunks(record.id)]
    left = {
        "documents": len(ready),
        "originals": len(originals),
        "pages": len(pages),
        "chunks_test": len(found),
        "indexes": len(store.indexes.listed()) * 2,
        "questions": len(store.questions.of("me")),
        "golden": len(store.golden.listed()),
        "measurements": len(store.measurements.names()),
    }
    assert left == {name: 2 - (lost if name == table else 0) for name in left}, said
    assert all(one.settings is not None for one in store.indexes.listed())
    add(store, c=b"Another one.")
    assert store.search_lexical("another", 1)
    assert not opened(Path(store.uri)).missing() or table == "chunks_test"
