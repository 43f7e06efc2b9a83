"""Space on the disk: a file that would leave too little is refused before anything is written."""

from __future__ import annotations

from pathlib import Path

import pytest

from rag.disk_space import check_space, disk_full, says_full
from rag.errors import LibraryError
from rag.ingest import File, Ingest
from rag.store import Store
from rag.token_codes import TokenCodec
from rag.types import AddResult
from tests.fakes import DIMENSIONS, FakeEmbedder
from tests.test_ingest import CHINESE, ENGLISH, chunk, read


def added(store: Store, spare: int, *files: File) -> list[AddResult]:
    ingest = Ingest(store, FakeEmbedder(), TokenCodec(DIMENSIONS), read, chunk, spare=spare)
    return [event for event in ingest.add(files) if isinstance(event, AddResult)]


def contents(folder: Path) -> dict[str, int]:
    """The sizes of all files but the locks."""
    return {
        str(path.relative_to(folder)): path.stat().st_size
        for path in folder.rglob("*")
        if path.is_file() and path.suffix != ".lock"
    }


def test_a_file_is_added_where_three_times_its_size_and_the_spare_space_are_free() -> None:
    check_space("a.pdf", 10, 530, 500)
    with pytest.raises(LibraryError) as refused:
        check_space("报告.pdf", 10_000_000, 120_000_000, 200_000_000)
    assert refused.value.message == (
        "报告.pdf was not added: the disk has 120.0 MB left, and a file of 10.0 MB is added where "
        "there are 230.0 MB."
    )
    assert "limits.free_disk_bytes" in refused.value.hint


def test_a_full_disk_is_known_by_what_libraries_say() -> None:
    assert says_full(OSError(28, "No space left on device"))
    assert says_full(RuntimeError("lance error: LanceError(IO): Quota exceeded (os error 122)"))
    assert not says_full(OSError(13, "Permission denied"))
    assert "disk is full" in disk_full().message


def test_a_refused_file_leaves_nothing_and_what_is_there_already_is_known(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "library", "test", DIMENSIONS)
    english, chinese = File.holding("a.txt", ENGLISH), File.holding("中文.txt", CHINESE)
    assert [result.outcome for result in added(store, 0, english)] == ["added"]
    before = contents(tmp_path)
    again, refused = added(store, 10**18, english, chinese)
    assert (again.outcome, refused.outcome) == ("already there", "failed")
    assert refused.problem is not None
    assert refused.problem.message.startswith("中文.txt was not added: the disk has ")
    assert contents(tmp_path) == before
    assert [record.name for record in store.documents()] == ["a.txt"]
    assert [result.outcome for result in added(store, 0, chinese)] == ["added"]


def test_a_library_at_an_address_is_not_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store.open(tmp_path / "library", "test", DIMENSIONS)
    assert store.free_bytes()
    store.uri = "s3://bucket/library"
    assert store.free_bytes() is None
    monkeypatch.setattr(Store, "free_bytes", lambda self: None)
    assert [result.outcome for result in added(store, 10**18, File.holding("a", ENGLISH))] == [
        "added"
    ]
