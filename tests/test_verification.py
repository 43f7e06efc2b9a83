"""`rag verify` finds what is damaged, and `rag repair` makes it anew."""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from click.testing import CliRunner

from rag import opening
from rag.cli import main
from rag.errors import LibraryError
from rag.ingest import File
from rag.opening import open_library, open_pipeline, switch_index
from rag.repair import Repaired, repair
from rag.settings import IndexSettings, Settings, load_settings
from rag.store import Store, layout, manifests, verify
from rag.store.checksums import LEDGER
from rag.store.row_checksums import row_checksums, with_checksums
from rag.store.tables import PAGES_SCHEMA, matching, upsert
from tests.fakes import FakeEmbedder
from tests.test_indexing import CHINESE, ENGLISH, LATER, add
from tests.test_power_loss import use

INDEX = IndexSettings(embedder="sentence-transformers", model="one")
OTHER = IndexSettings(embedder="sentence-transformers", model="other", chunk_tokens=64)


@pytest.fixture(scope="module", autouse=True)
def _small_models() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(opening, "make_embedder", lambda index, *_: FakeEmbedder(name=index.model))
        for name in ("RAG_HOME", "RAG_PROFILE", "RAG_INDEX_MODEL", "RAG_LLM_MODEL"):
            patched.delenv(name, raising=False)
        yield


def settings(home: Path) -> Settings:
    return load_settings(home, None, {})


def fill(home: Path) -> Path:
    """An English and a Chinese document in two indexes, with questions and golden marks."""
    switch_index(settings(home), INDEX)
    pipeline = open_pipeline(settings(home))
    add(pipeline, cats=ENGLISH, 动物=CHINESE)
    add(pipeline, birds=LATER)
    list(open_pipeline(settings(home), OTHER).build_index())
    use(pipeline.store, 1)
    use(pipeline.store, 2)
    return home


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fill(tmp_path_factory.mktemp("filled") / "library")


@pytest.fixture
def home(filled: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(filled, tmp_path / "library"))


def content(home: Path) -> dict[str, list[tuple[str, str]]]:
    """The passages of every document in both indexes, by their ids."""
    found: dict[str, list[tuple[str, str]]] = {}
    for index in (INDEX, OTHER):
        store = open_library(settings(home), index)
        for record in store.documents():
            key = f"{record.name} {index.model} {record.status} {record.media_type}"
            found[key] = [(chunk.id, chunk.text) for chunk in store.chunks(record.id)]
    return found


def data_of(home: Path, table: str) -> list[Path]:
    """The data files of a table's newest version, the largest first."""
    newest = layout.manifests(layout.files(home, table))[0]
    needed = manifests.needed((home / newest).read_bytes(), table)
    files = [home / name for name in needed if layout.part_of(name) == layout.DATA]
    return sorted(files, key=lambda path: -path.stat().st_size)


def flip(path: Path) -> None:
    """Change a byte of the first values in the file."""
    changed = bytearray(path.read_bytes())
    changed[len(changed) // 4] ^= 0x55
    path.write_bytes(changed)


def store_of(home: Path) -> Store:
    return open_library(settings(home))


def check_repaired(home: Path, before: dict[str, list[tuple[str, str]]]) -> Repaired:
    repaired = repair(settings(home))
    assert repaired.problems == ()
    assert repaired.left.clean, repaired.left
    assert content(home) == before
    store = store_of(home)
    assert store.damage is None
    assert len(store.questions.of("me")) == len(store.golden.listed()) == 2
    return repaired


def test_a_whole_library_is_clean(filled: Path) -> None:
    found = verify(filled)
    assert found.clean
    assert found.files > 100
    assert found.unchecked_files == found.unchecked_rows == 0


def test_flipped_bytes_are_found_and_every_passage_comes_back_under_its_id(home: Path) -> None:
    """In a file of every table of documents at once; others cannot be told from right ones."""
    before = content(home)
    damaged = [
        data_of(home, table)[0]
        for table in ("pages", f"chunks_{INDEX.fingerprint}", f"chunks_{OTHER.fingerprint}")
    ]
    for path in damaged:
        flip(path)
    found = verify(home)
    names = {str(path.relative_to(home)) for path in damaged}
    assert {one.name for one in found.damaged} == names
    assert {one.what for one in found.damaged} == {"changed"}
    check_repaired(home, before)
    kept = {path.name for path in (home / "damaged").rglob("*.lance") if path.is_file()}
    assert {path.name for path in damaged} <= kept


def test_lost_files_come_back_from_the_originals(home: Path) -> None:
    """Of all documents: what no row is left of is read again from the original."""
    before = content(home)
    for table in ("pages", f"chunks_{INDEX.fingerprint}", f"chunks_{OTHER.fingerprint}"):
        for path in data_of(home, table):
            path.unlink()
    assert {record.status for record in store_of(home).documents()} == {"failed"}
    found = verify(home)
    assert {one.name for one in found.documents} == {"cats.md", "动物.md", "birds.md"}
    repaired = check_repaired(home, before)
    assert set(repaired.restored) == {"cats.md", "动物.md", "birds.md"}
    assert any("pages.lance" in said for said in repaired.at_the_start)


def test_a_wrong_row_is_found_where_its_file_is_right(home: Path) -> None:
    """As after a bit flipped on the way from one file into another."""
    before = content(home)
    store = store_of(home)
    for table, column in ((store._tables.pages, "text"), (store._tables.chunks, "text")):
        rows = matching(table, table.schema.names).slice(0, 1)
        place = rows.schema.get_field_index(column)
        wrong = rows.set_column(place, rows.schema.field(place), pa.array(["wrong 错"]))
        upsert(table).execute(wrong)
        store._ledger.seal(table.name)
    found = verify(home)
    assert found.damaged == ()
    assert {part for one in found.documents for part in one.parts} == {"pages", INDEX.fingerprint}
    check_repaired(home, before)


def test_a_damaged_original_is_named_and_kept_when_it_is_added_again(home: Path) -> None:
    """Everything else stays: the document can be searched all the while."""
    before = content(home)
    store = store_of(home)
    (record,) = [one for one in store.documents() if one.name == "动物.md"]
    table = store._tables.originals
    rows = pa.Table.from_pylist(
        [{"id": record.id, "content": CHINESE.encode()[:-3] + b"xxx"}], schema=table.schema
    )
    upsert(table).execute(rows)
    store._ledger.seal("originals")
    repaired = repair(settings(home))
    assert repaired.add_again == ("动物.md",)
    assert content(home) == before
    assert list((home / "damaged").rglob(f"original-{record.id}.arrow"))
    pipeline = open_pipeline(settings(home))
    results = [str(one) for one in pipeline.add([File.holding("动物.md", CHINESE.encode())])]
    assert "already there" in results[-1]
    assert verify(home).clean
    assert content(home) == before


@pytest.mark.parametrize("before_content", [20, 14, 6], ids=["length", "start", "end"])
def test_an_original_that_cannot_be_read_at_all_goes_with_its_file(
    home: Path, before_content: int
) -> None:
    """Flipped where its length and its place are written, so that Lance raises."""
    before = content(home)
    [path] = [one for one in data_of(home, "originals") if ENGLISH.encode() in one.read_bytes()]
    flipped = bytearray(path.read_bytes())
    flipped[flipped.index(ENGLISH.encode()) - before_content] ^= 0xFF
    path.write_bytes(flipped)
    with pytest.raises(RuntimeError):
        matching(store_of(home)._tables.originals, ["content"])
    repaired = repair(settings(home))
    assert repaired.problems == ()
    assert repaired.add_again == ("cats.md",)
    assert content(home) == before
    assert verify(home).damaged == ()
    assert bytes(flipped) in [one.read_bytes() for one in (home / "damaged").rglob(path.name)]


@pytest.mark.parametrize("table", ["pages", f"chunks_{INDEX.fingerprint}"])
def test_a_file_that_keeps_the_library_from_being_opened_is_repaired(
    home: Path, table: str
) -> None:
    """Its end is whole; where its end says that its columns are described, nothing is."""
    before = content(home)
    for path in data_of(home, table):
        flipped = bytearray(path.read_bytes())
        # The last 40 bytes begin with three places; at the second one are those of the columns.
        [columns] = struct.unpack_from("<Q", flipped, len(flipped) - 32)
        for column in range(2):
            flipped[columns + 16 * column + 12] ^= 0xFF
        path.write_bytes(flipped)
    if table != "pages":
        with pytest.raises(LibraryError, match="rag repair"):
            open_library(settings(home))
    repaired = repair(settings(home))
    assert repaired.problems == repaired.add_again == ()
    assert repaired.left.clean
    assert content(home) == before
    assert verify(home).clean


def test_repair_says_in_words_why_a_library_cannot_be_used_at_all(home: Path) -> None:
    (home / LEDGER).unlink()
    (home / LEDGER).mkdir()
    with pytest.raises(LibraryError, match="cannot be opened"):
        repair(settings(home))


def test_search_indexes_are_made_anew(home: Path) -> None:
    before = content(home)
    table = f"chunks_{INDEX.fingerprint}"
    for name in layout.files(home, table):
        if layout.part_of(name) == layout.INDICES:
            flip(home / name)
    assert not verify(home).clean
    check_repaired(home, before)
    assert store_of(home).search_lexical("猫", 1)


def test_the_command_line_says_what_is_damaged_and_what_to_do(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(home.parent)
    run = CliRunner().invoke
    clean = run(main, ["--home", str(home), "verify"])
    assert clean.exit_code == 0
    assert "Nothing is damaged." in clean.output
    for path in data_of(home, "pages"):
        path.write_bytes(b"")
    listed = run(main, ["--home", str(home), "list"])
    assert "rag repair" in listed.stderr
    found = run(main, ["--home", str(home), "verify", "--json"])
    assert found.exit_code == 1
    view = json.loads(found.stdout)
    assert {one["name"] for one in view["damaged_documents"]} == {"cats.md", "动物.md", "birds.md"}
    told = run(main, ["--home", str(home), "verify"])
    assert "动物.md: pages damaged or lost" in told.output
    assert "Mend it with: rag repair" in told.output
    mended = run(main, ["--home", str(home), "repair"])
    assert mended.exit_code == 0, mended.output
    assert "Restored: 动物.md" in mended.output
    assert run(main, ["--home", str(home), "list"]).stderr == ""
    missing = run(main, ["--home", str(home / "nowhere"), "verify"])
    assert missing.exit_code == 1
    assert "There is no library" in missing.stderr


def test_a_row_checksum_is_over_every_field() -> None:
    """Also over which field holds what, and whatever the order of the columns."""
    fields = {"id": "d:1", "document_id": "d", "number": 1, "text": "猫", "problem": ""}

    def checksum(**changes: object) -> str:
        row = fields | {"checksum": ""} | changes
        return row_checksums(pa.Table.from_pylist([row], schema=PAGES_SCHEMA))[0]

    different = {
        checksum(),
        checksum(text="狗"),
        checksum(number=2),
        checksum(text="", problem="猫"),
        checksum(document_id="d:", id="1"),
    }
    assert len(different) == 5
    assert checksum(checksum="x") == checksum()
    table = pa.Table.from_pylist([fields | {"checksum": ""}], schema=PAGES_SCHEMA)
    shuffled = with_checksums(table).select(
        ["text", "checksum", "problem", "number", "id", "document_id"]
    )
    assert row_checksums(shuffled) == shuffled["checksum"].to_pylist()
