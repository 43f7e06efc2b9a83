"""What a power cut or a failing disk leaves of a library, and what a start makes of it."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from rag.errors import RAGError
from rag.ingest import File, Ingest
from rag.store import Store, healing, layout, library, manifests, questions, upkeep, verify
from rag.store.checksums import LEDGER, Ledger
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


def use(store: Store, number: int) -> None:
    """A question, a mark and a measurement."""
    now = datetime(2026, 11, 23, 12, number, tzinfo=UTC)
    store.questions.put(AskedQuestion(f"q{number}", "Where 哪里?", now), "me", b"trace")
    span = PassageSpan("d", 1, 0, 3)
    mark = GoldenMark(
        f"m{number}", "Where?", "en", span, "a.txt", "A cat", True, "marked", True, now, "me"
    )
    store.golden.put([mark])
    store.measurements.put(f"figure {number}", b"1")


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library of two documents, with two of everything else, all of it acknowledged."""
    return fill(tmp_path_factory.mktemp("filled") / "library")


def fill(folder: Path) -> Path:
    store = opened(folder)
    store.indexes.describe(FINGERPRINT, {}, built=True)
    add(store, a=ENGLISH)
    use(store, 1)
    add(store, b=CHINESE)
    use(store, 2)
    store.indexes.use(FINGERPRINT)
    return folder


def harmed(filled: Path, copy: Path, table: str, said: str) -> tuple[Path, bytes]:
    """A copy of the library with one newest file damaged: the file, and what it held."""
    shutil.copytree(filled, copy)
    what, how = said.split()
    names = layout.files(copy, table)
    path = copy / layout.manifests(names)[0]
    if what == "data":
        needed = manifests.needed(path.read_bytes(), table)
        data = [copy / name for name in needed if layout.part_of(name) == layout.DATA]
        path = max(data, key=lambda one: one.stat().st_mtime_ns)
    content = path.read_bytes()
    harm(path, how)
    return path, content


def harm(path: Path, how: str) -> None:
    if how == "gone":
        path.unlink()
    else:
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2] if how == "cut" else b"")


def check_opens(filled: Path, copy: Path, table: str, said: str) -> None:
    """It says which table it was, keeps the damaged file, and everything acknowledged else."""
    path, content = harmed(filled, copy, table, said)
    store = opened(copy)
    assert store.damage is not None, said
    assert table in str(store.damage), said
    if not said.endswith("gone"):
        kept = next((copy / "damaged").glob(f"*/{path.relative_to(copy)}"))
        assert content.startswith(kept.read_bytes()), said
    # Manifests, and all that is small and could not be made anew, are kept twice.
    twice = said.startswith("manifest") or table in {"documents", "golden", "indexes"}
    ready = [record.id for record in store.documents() if record.status == "ready"]
    left = {
        "documents": len(ready),
        "originals": sum(store.has_original(one) for one in ready),
        "pages": sum(bool(store.pages(one)) for one in ready),
        "chunks_test": sum(bool(store.chunks(one)) for one in ready),
        "indexes": 2 * sum(one.settings is not None for one in store.indexes.listed()),
        "questions": len(store.questions.of("me")),
        "golden": len(store.golden.listed()),
        "measurements": len(store.measurements.names()),
    }
    expected = dict.fromkeys(TABLES, 2)
    if not twice:
        expected[table] = 1
    assert left == expected, said
    assert store.search_lexical("cat" if left["chunks_test"] == 1 else "猫", 1), said


@pytest.mark.parametrize("table", TABLES)
def test_a_library_opens_whatever_newest_file_is_damaged(
    filled: Path, tmp_path: Path, table: str
) -> None:
    said = "data gone" if TABLES.index(table) % 2 else "data cut"
    check_opens(filled, tmp_path / "library", table, said)


def test_a_library_opens_with_every_newest_manifest_emptied(filled: Path, tmp_path: Path) -> None:
    """And it says so; after that documents can be added as before."""
    copy = Path(shutil.copytree(filled, tmp_path / "library"))
    for table in TABLES:
        harm(copy / layout.manifests(layout.files(copy, table))[0], "emptied")
    store = opened(copy)
    assert all(table in str(store.damage) for table in TABLES)
    assert len(store.documents()) == len(store.questions.of("me")) == 2
    assert [result.outcome for result in add(store, c=b"Another one.")] == ["added"]
    assert store.search_lexical("another", 1)


def test_a_table_that_cannot_be_read_at_all_is_moved_aside(filled: Path, tmp_path: Path) -> None:
    """Without its second copies, too; the documents of a lost listing are found again."""
    copy = Path(shutil.copytree(filled, tmp_path / "library"))
    shutil.rmtree(copy / "spares")
    for table in ("documents", "questions"):
        for name in layout.manifests(layout.files(copy, table)):
            harm(copy / name, "emptied")
    store = opened(copy)
    assert store.questions.of("me") == []
    assert [record.status for record in store.documents()] == ["ready", "ready"]
    assert store.search_lexical("cat", 1)
    assert store.search_lexical("猫", 1)
    assert len(list((copy / "damaged").rglob("*.lance*/data/*.lance"))) >= 2
    # As long as this is not settled, no start clears away what no row names.
    assert len(opened(copy).documents()) == 2


def test_one_wrong_line_of_the_ledger_loses_nothing(filled: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(filled, tmp_path / "library"))
    newest = layout.manifests(layout.files(copy, "questions"))[0]
    ledger = copy / LEDGER
    lines = ledger.read_text().splitlines(keepends=True)
    wrong = ["0" * 64 + line[64:] if newest in line else line for line in lines]
    ledger.write_text("".join(wrong))
    assert len(opened(copy).questions.of("me")) == 2


def test_a_document_that_lost_everything_but_its_original_does_not_count_as_ready(
    filled: Path, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(filled, tmp_path / "library"))
    for table in ("pages", "chunks_test"):
        for name in layout.files(copy, table):
            if layout.part_of(name) == layout.DATA:
                harm(copy / name, "emptied")
    store = opened(copy)
    assert {record.status for record in store.documents()} == {"failed"}
    assert all("rag repair" in record.message for record in store.documents())
    assert [result.outcome for result in add(store, a=ENGLISH)] == ["added"]


# --- what is on the disk before anything is reported ------------------------------------------


def test_all_of_a_document_is_flushed_before_it_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files and folders; what its row stands for before the row says ready."""
    flushed: set[int] = set()
    real = os.fsync

    def fsync(handle: int) -> None:
        flushed.add(os.fstat(handle).st_ino)
        real(handle)

    def left(*tables: str) -> list[str]:
        names = [name for table in tables for name in layout.files(home, table)]
        paths = {home / name for name in names}
        folders = {up for path in paths for up in path.parents if up.is_relative_to(home)}
        return [str(path) for path in paths | folders if path.stat().st_ino not in flushed]

    home = tmp_path / "library"
    store = opened(home)
    monkeypatch.setattr(os, "fsync", fsync)
    before_ready: list[list[str]] = []
    rows = library.document_rows

    def document_rows(record: Any) -> Any:
        if record.status == "ready":
            before_ready.append(left("originals", "pages", "chunks_test"))
        return rows(record)

    monkeypatch.setattr(library, "document_rows", document_rows)
    ingest = Ingest(store, FakeEmbedder(), TokenCodec(DIMENSIONS), read, chunk)
    for event in ingest.add([File.holding("猫.txt", CHINESE)]):
        if isinstance(event, AddResult):
            assert event.outcome == "added"
            assert left("documents", "originals", "pages", "chunks_test") == []
    assert before_ready == [[]]
    use(store, 1)
    assert left("questions", "golden", "measurements") == []


def cut_the_power(folder: Path, rng: random.Random) -> None:
    """Of files that were not flushed, all, some or nothing may be on the disk."""
    sealed = Ledger(folder).sums()
    for table in layout.tables(folder):
        for name in layout.files(folder, table):
            if name not in sealed and (how := rng.choice(["", "emptied", "cut", "gone"])):
                harm(folder / name, how)


class PowerCuts:
    """A library that is written, and copies of it as a power cut at a place between two writes."""

    def __init__(self, folder: Path, rng: random.Random, each: int) -> None:
        self.store = opened(folder)
        self.acknowledged: dict[str, bytes] = {}
        self.asked: set[str] = set()
        self.count = 0
        self.wrong: list[str] = []
        self._folder = folder
        self._rng = rng
        self._each = each
        self._busy = False

    def reached(self, point: str) -> None:
        """Cut the power here, and open what is left; that passes these places, too."""
        if self._busy:
            return
        self._busy = True
        for _ in range(self._each):
            copy = self._folder.with_name("copy")
            shutil.copytree(self._folder, copy, ignore=shutil.ignore_patterns("*.lock"))
            cut_the_power(copy, self._rng)
            try:
                self.wrong += [f"{point}: {said}" for said in self._check(opened(copy))]
            except RAGError as error:
                self.wrong.append(f"{point}: {error}")
            shutil.rmtree(copy)
            self.count += 1
        self._busy = False

    def _check(self, after: Store) -> Iterator[str]:
        ready = {record.id: record for record in after.documents() if record.status == "ready"}
        for document_id, content in self.acknowledged.items():
            if document_id not in ready:
                yield "a document is lost"
            elif after.original(document_id) != content:
                yield "an original is lost"
        for document_id, record in ready.items():
            if not len(after.chunks(document_id)) == record.chunks > 0:
                yield "a document is half visible"
            if len(after.pages(document_id)) != record.pages:
                yield "pages are lost"
        if not self.asked <= {one.id for one in after.questions.of("me")}:
            yield "a question is lost"

    def write(self, contents: Sequence[bytes]) -> None:
        """Add documents, ask, and remove one."""
        for number, content in enumerate(contents):
            (result,) = add(self.store, **{f"file{number}": content})
            assert result.outcome == "added"
            self.acknowledged[result.document_id] = content
            self.reached("added")
            use(self.store, number)
            self.asked.add(f"q{number}")
            self.reached("asked")
        # Neither its being there nor its being gone is reported while it is removed.
        removed = next(iter(self.acknowledged))
        del self.acknowledged[removed]
        self.store.remove(removed)
        self.reached("removed")


def power_cuts(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    contents: Sequence[bytes],
    seed: int,
    each: int,
) -> int:
    """So many power cuts at every place between two writes lose nothing; gives their number."""
    cuts = PowerCuts(folder, random.Random(seed), each)
    with monkeypatch.context() as patched:
        for module in (library, healing, questions):
            patched.setattr(module, "reached", cuts.reached)
        cuts.write(contents)
    assert cuts.wrong == [], f"TRUST_SEED={seed}"
    return cuts.count


def test_a_power_cut_loses_nothing_that_was_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seed = int(os.environ.get("TRUST_SEED", random.randrange(10**6)))
    assert power_cuts(tmp_path / "library", monkeypatch, [CHINESE], seed, each=1) > 10


def test_merged_files_are_flushed_before_the_old_ones_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power cut between the two leaves all rows."""
    monkeypatch.setattr(upkeep, "OLD_VERSION", timedelta(milliseconds=1))
    store = opened(tmp_path / "library")
    for number in range(4):
        store.measurements.put(f"figure {number}", b"1" * 100)
    seal = Ledger.seal
    after: list[int] = []

    def sealed(ledger: Ledger, *tables: str) -> None:
        if ledger.folder == tmp_path / "library":
            copy = tmp_path / "copy"
            shutil.copytree(tmp_path / "library", copy, ignore=shutil.ignore_patterns("*.lock"))
            cut_the_power(copy, random.Random(1))
            after.append(len(opened(copy).measurements.names()))
        seal(ledger, *tables)

    monkeypatch.setattr(Ledger, "seal", sealed)
    table = store.measurements._table
    upkeep.merge(table, store._ledger)
    monkeypatch.undo()
    assert after == [4]
    assert len(layout.manifests(layout.files(tmp_path / "library", "measurements"))) == 1
    assert len(store.measurements.names()) == 4
    assert verify(tmp_path / "library").clean


# --- the ledger, and what is known of LanceDB's files -------------------------------------------


def test_the_ledger_is_what_sha256sum_reads(filled: Path) -> None:
    checker = shutil.which("sha256sum")
    if checker is None:
        pytest.skip("sha256sum is not installed")
    done = subprocess.run([checker, "--check", "--strict", LEDGER], cwd=filled, capture_output=True)
    assert done.returncode == 0, done.stdout
    assert done.stdout.count(b": OK") == len(Ledger(filled).sums()) > 50


def test_a_version_needs_the_files_its_manifest_names_and_no_other(
    filled: Path, tmp_path: Path
) -> None:
    """Held against LanceDB: without any other file every table is read as before."""
    copy = Path(shutil.copytree(filled, tmp_path / "library"))
    for table in layout.tables(copy):
        names = layout.files(copy, table)
        newest = layout.manifests(names)[0]
        needed = {newest, *manifests.needed((copy / newest).read_bytes(), table)}
        assert needed <= set(names)
        assert all(
            not size or (copy / name).stat().st_size == size
            for name, size in manifests.needed((copy / newest).read_bytes(), table).items()
        )
        for name in set(names) - needed:
            (copy / name).unlink()
        ledger = Ledger(copy)
        ledger.forget(set(ledger.sums(table)) - needed)
    store = opened(copy)
    assert store.damage is None
    assert {record.chunks for record in store.documents()} == {2}
    assert len(store.questions.of("me")) == len(store.golden.listed()) == 2
    assert store.search_lexical("猫", 1)


def test_two_processes_share_the_ledger(tmp_path: Path) -> None:
    """What one writes the other knows, also after it was written anew; a torn line is no line."""
    one, other = Ledger(tmp_path), Ledger(tmp_path)
    for number, ledger in enumerate((one, other, one)):
        path = tmp_path / "t.lance" / "data" / f"{number}.lance"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * number + b"LANC")
        ledger.seal("t")
    assert len(one.sums()) == len(other.sums()) == 3
    one.forget(["t.lance/data/0.lance"])
    assert len(other.sums("t")) == 2
    with (tmp_path / LEDGER).open("a") as file:
        file.write("0123")
    (tmp_path / "t.lance" / "data" / "3.lance").write_bytes(b"LANC")
    other.seal("t")
    assert len(one.sums()) == len(Ledger(tmp_path).sums()) == 4


def test_a_library_from_before_there_was_a_ledger_gets_one(filled: Path, tmp_path: Path) -> None:
    """What is not checked is counted; the tables that are written to are checked from then on."""
    copy = Path(shutil.copytree(filled, tmp_path / "library"))
    shutil.rmtree(copy / "spares")
    (copy / LEDGER).unlink()
    store = opened(copy)
    assert store.damage is None
    before = verify(copy)
    assert before.clean
    assert before.files == 0
    assert before.unchecked_files > 50
    add(store, c=b"One more.")
    after = verify(copy)
    assert after.clean
    assert after.files > 50
    assert 0 < after.unchecked_files < before.unchecked_files
