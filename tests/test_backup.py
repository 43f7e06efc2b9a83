"""A library in one file and back: what comes back, what is refused, what a kill leaves."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from rag import opening
from rag.cli import main
from rag.errors import LibraryError
from rag.golden.marks import mark_of
from rag.history import History, recorded
from rag.ingest import File
from rag.opening import open_pipeline, switch_index
from rag.pipeline import Pipeline
from rag.settings import SETTINGS_FILE, load_settings
from rag.store import snapshots
from rag.store.backup import write_backup
from rag.store.restore import restore_backup
from rag.types import Document
from tests.fakes import FakeEmbedder
from tests.shared_library import (
    FIRST,
    OTHER,
    OWN,
    content,
    document_id,
    name,
    started,
)

QUESTIONS = ["Where does the cat sleep?", "猫睡在哪里？", "word2 report", "狗守着什么？"]
NUMBERS = range(4)


@pytest.fixture(autouse=True)
def small_models(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "make_embedder", lambda one, *_: FakeEmbedder(name=one.model))
    for variable in ("RAG_HOME", "RAG_PROFILE"):
        monkeypatch.delenv(variable, raising=False)


def opened(home: Path) -> Pipeline:
    return open_pipeline(load_settings(home, None, {}))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Documents, two indexes, questions, a mark and settings; one document was removed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(opening, "make_embedder", lambda one, *_: FakeEmbedder(name=one.model))
        home = tmp_path_factory.mktemp("backup") / "library"
        switch_index(load_settings(home, None, {}), FIRST)
        here = opened(home)
        files = [File.holding(name(number), content(number)) for number in NUMBERS]
        list(here.add([*files, File.holding("gone 走了.md", b"# Gone\n\nThe zeppelin is gone.\n")]))
        here.store.remove(hashlib.sha256(b"# Gone\n\nThe zeppelin is gone.\n").hexdigest())
        list(open_pipeline(load_settings(home, None, {}), OTHER).build_index())
        trace = here.search(QUESTIONS[1])
        best = trace.candidates[0]
        here.store.golden.put([mark_of("猫？", best.chunk, best.document, "me", relevant=True)])
        History(here.store, "me").keep(recorded(trace))
        here.store.measurements.put("figure", "测".encode())
        opened(home)
        yield home


@pytest.fixture
def file(home: Path, tmp_path: Path) -> Path:
    """A backup of it."""
    write_backup(home, tmp_path / "backup.tar")
    return tmp_path / "backup.tar"


def held(home: Path) -> dict[str, object]:
    """All that a library holds, as a person would come to see it."""
    here = opened(home)
    store = here.store
    asked = History(store, "me")
    return {
        "settings": (home / SETTINGS_FILE).read_text(),
        "documents": store.documents(),
        "originals": [store.original(record.id) for record in store.documents()],
        "pages": [store.pages(record.id) for record in store.documents()],
        "chunks": [store.chunks(record.id) for record in store.documents()],
        "indexes": store.indexes.listed(),
        "answers": [replace(here.search(one), seconds={}) for one in QUESTIONS],
        "questions": [asked.opened(one.id) for one in asked.listed()],
        "marks": store.golden.listed(),
        "figure": store.measurements.get("figure"),
    }


def test_a_restored_library_is_the_same_and_goes_on(home: Path, file: Path, tmp_path: Path) -> None:
    """Documents, chunk ids, answers, indexes, history, marks and settings; then files are added."""
    told: list[tuple[int, int]] = []
    contents = restore_backup(file, tmp_path / "新 folder", lambda *one: told.append(one))
    assert held(tmp_path / "新 folder") == held(home)
    assert contents.documents == len(NUMBERS)
    assert contents.questions == 1
    assert told == sorted(told)
    assert told[-1] == (contents.size, contents.size)
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]

    here = opened(tmp_path / "新 folder")
    list(here.add([File.holding("zeppelin.md", b"# Later\n\nThe zeppelin lands.\n")]))
    here.store.optimize()
    here.store._tables.chunks.optimize(cleanup_older_than=timedelta(milliseconds=1))
    assert here.search("zeppelin").candidates[0].document == "zeppelin.md"
    assert len(opened(tmp_path / "新 folder").store.documents()) == len(NUMBERS) + 1


def test_a_backup_leaves_out_what_was_removed_and_what_is_not_the_library(
    home: Path, file: Path
) -> None:
    (home / "server.log").write_text("a log")
    assert b"zeppelin" not in file.read_bytes()
    with tarfile.open(file) as archive:
        names = archive.getnames()
    assert not [one for one in names if "log" in one or "lock" in one or "hint" in one]
    assert not [path for path in home.iterdir() if path.name == ".backup"]


def test_other_programs_can_check_a_backup(file: Path, tmp_path: Path) -> None:
    with tarfile.open(file) as archive:
        archive.extractall(tmp_path / "by hand", filter="data")
    for line in (tmp_path / "by hand" / "SHA256SUMS").read_text().splitlines():
        digest, _, path = line.partition("  ")
        assert hashlib.sha256((tmp_path / "by hand" / path).read_bytes()).hexdigest() == digest


def test_a_damaged_or_cut_backup_is_refused_before_anything_is_put_in_place(
    file: Path, tmp_path: Path
) -> None:
    """At any place where it matters: the list, the sums, the middle of every file, the end."""
    whole = file.read_bytes()
    with tarfile.open(file) as archive:
        members = [member for member in archive if member.size]
    damaged = [whole[: len(whole) // 2], whole[: members[-1].offset], whole[:100], b""]
    for member in members[:: max(1, len(members) // 12)] + members[-1:]:
        place = member.offset_data + member.size // 2
        damaged.append(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
    for number, broken in enumerate(damaged):
        file.write_bytes(broken)
        with pytest.raises(LibraryError, match="damaged, cut off or no backup") as refused:
            restore_backup(file, tmp_path / "new")
        assert "another backup" in refused.value.hint
        assert not (tmp_path / "new").exists(), number
    assert [path.name for path in tmp_path.iterdir()] == [file.name]


def archive_of(
    *members: tuple[tarfile.TarInfo, bytes], files: dict[str, int] | None = None
) -> bytes:
    """A backup as an enemy would make it, with sums that are right."""
    contents = {"format": 1, "version": "1", "made_at": "", "documents": 0, "questions": 0}
    described = json.dumps(
        contents | {"files": {m.name[8:]: m.size for m, _ in members} if files is None else files}
    ).encode()
    out = io.BytesIO()
    lines = []
    with tarfile.open(fileobj=out, mode="w") as archive:
        for member, data in [(tarfile.TarInfo("backup.json"), described), *members]:
            member.size = member.size or len(data)
            archive.addfile(member, io.BytesIO(data) if member.isreg() else None)
            lines.append(f"{hashlib.sha256(data).hexdigest()}  {member.name}\n")
        sums = "".join(lines).encode()
        last = tarfile.TarInfo("SHA256SUMS")
        last.size = len(sums)
        archive.addfile(last, io.BytesIO(sums))
    return out.getvalue()


def member(path: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    made = tarfile.TarInfo(path)
    made.type, made.linkname = kind, target
    return made


@pytest.mark.parametrize(
    "bad",
    [
        member("library/../../outside.lance/data/x"),
        member("/outside.lance/data/x"),
        member("library/a.lance/../../../outside"),
        member("library/documents.lance/data/x", tarfile.SYMTYPE, "/etc/passwd"),
        member("library/documents.lance/data/x", tarfile.LNKTYPE, "../../outside"),
        member("library/documents.lance/data/x", tarfile.CHRTYPE),
        member("library/documents.lance/data/x", tarfile.FIFOTYPE),
        member("library/documents.lance/data/x", tarfile.DIRTYPE),
        member("library/server.py"),
        member("library/说明.lance/data/x"),
    ],
    ids=lambda one: f"{one.name} {one.type!r}",
)
def test_a_hostile_backup_writes_nothing(bad: tarfile.TarInfo, tmp_path: Path) -> None:
    inside = tmp_path / "a" / "b"
    inside.mkdir(parents=True)
    file = inside / "backup.tar"
    file.write_bytes(archive_of((bad, b"x" if bad.isreg() else b"")))
    with pytest.raises(LibraryError):
        restore_backup(file, inside / "new")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [file]


def test_a_backup_that_unpacks_to_more_than_the_disk_holds_is_refused_at_once(
    tmp_path: Path,
) -> None:
    file = tmp_path / "bomb.tar"
    file.write_bytes(archive_of(files={"documents.lance/data/x": 10**17}))
    with pytest.raises(LibraryError, match=r"100,000,000,000\.0 MB are needed"):
        restore_backup(file, tmp_path / "new")
    small = member("library/documents.lance/data/x")
    file.write_bytes(archive_of((small, b"x" * 9), files={"documents.lance/data/x": 1}))
    with pytest.raises(LibraryError, match="damaged"):
        restore_backup(file, tmp_path / "new")


def test_only_an_empty_folder_is_restored_into(file: Path, home: Path, tmp_path: Path) -> None:
    before = held(home)
    with pytest.raises(LibraryError, match="not empty") as refused:
        restore_backup(file, home)
    assert "--home" in refused.value.hint
    assert held(home) == before
    (tmp_path / "empty").mkdir()
    restore_backup(file, tmp_path / "empty")
    assert held(tmp_path / "empty") == before


def test_a_mounted_folder_is_filled_where_it_is(
    file: Path, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a container, where it cannot be replaced by another one."""
    mounted = tmp_path / "mounted"
    mounted.mkdir()
    monkeypatch.setattr(Path, "is_mount", lambda path: path == mounted)
    restore_backup(file, mounted)
    assert held(mounted) == held(home)
    assert not (mounted / ".mounted.restore").exists()


def test_where_links_are_unknown_files_are_copied(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    write_backup(home, tmp_path / "backup.tar")
    restore_backup(tmp_path / "backup.tar", tmp_path / "new")
    assert held(tmp_path / "new") == held(home)


def test_what_cannot_be_done_is_said_plainly(
    home: Path, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def said(work: Callable[[], object]) -> str:
        with pytest.raises(LibraryError) as refused:
            work()
        assert refused.value.hint
        return refused.value.message

    assert "no library" in said(lambda: write_backup(tmp_path / "none", tmp_path / "x.tar"))
    assert "there already" in said(lambda: write_backup(home, file))
    assert "cannot be written" in said(lambda: write_backup(home, tmp_path / "no" / "x.tar"))
    assert "no file" in said(lambda: restore_backup(tmp_path / "none.tar", tmp_path / "new"))
    file.write_bytes(file.read_bytes().replace(b'"format": 1', b'"format": 2'))
    assert "newer version" in said(lambda: restore_backup(file, tmp_path / "new"))
    with snapshots.snapshot(home):
        assert "Another backup" in said(lambda: write_backup(home, tmp_path / "x.tar"))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
        assert "MB are needed" in said(lambda: write_backup(home, tmp_path / "x.tar"))
        file.write_bytes(archive_of(files={"documents.lance/data/x": 10**6}))
        assert "MB are needed" in said(lambda: restore_backup(file, tmp_path / "new"))
    monkeypatch.setattr(tarfile.TarFile, "addfile", full)
    assert "MB are needed" in said(lambda: write_backup(home, tmp_path / "x.tar"))
    assert [path.name for path in tmp_path.iterdir()] == [file.name]


KILLED = """
import os, signal, sys
from pathlib import Path
from rag.store.backup import write_backup
from rag.store.restore import restore_backup
work = write_backup if sys.argv[1] == "backup" else restore_backup
def report(done, total):
    if done > total // 2:
        os.kill(os.getpid(), signal.SIGKILL)
work(Path(sys.argv[2]), Path(sys.argv[3]), report)
"""


@pytest.mark.parametrize("what", ["backup", "restore"])
def test_killed_midway_nothing_has_its_name_and_the_next_try_succeeds(
    home: Path, file: Path, tmp_path: Path, what: str
) -> None:
    made = tmp_path / "made"
    paths = (home, made) if what == "backup" else (file, made)
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, what, *map(str, paths)],
        cwd=Path(__file__).parents[1],
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL
    assert not made.exists()
    before = held(home)
    assert not (home / snapshots._FOLDER).exists(), "the next opening removes it"
    if what == "backup":
        write_backup(home, made)
        restore_backup(made, tmp_path / "new")
        made = tmp_path / "new"
    else:
        restore_backup(file, made)
    assert held(made) == before
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def restored_while_adding(folder: Path, seconds: float, times: int) -> dict[str, int]:
    """Back up while another process adds, removes and asks; restore each time and look into it.

    What had been said to be done when a backup began is in it, whole. Gives what was counted.
    """
    home = folder / "library"
    switch_index(load_settings(home, None, {}), FIRST)
    opened(home)
    counted = dict.fromkeys(("backups", "documents", "half added", "questions"), 0)
    said = folder / "said.jsonl"
    with said.open("w") as out:
        worker = started("adding", folder, 600, stdout=out)
    try:
        for number in range(times):
            end = time.monotonic() + seconds / times
            while time.monotonic() < end or said.read_text().count("\n") < 4 * (number + 1):
                assert worker.poll() is None
                time.sleep(0.02)
            before = said.read_text()
            write_backup(home, folder / f"{number}.tar")
            after = said.read_text()
            restore_backup(folder / f"{number}.tar", folder / f"restored {number}")
            _look_into(opened(folder / f"restored {number}"), before, after, counted)
            shutil.rmtree(folder / f"restored {number}")
    finally:
        worker.kill()
        worker.communicate()
    return counted


def _look_into(here: Pipeline, before: str, after: str, counted: dict[str, int]) -> None:
    done = [json.loads(line) for line in before.splitlines()]
    going = {number for number, what in map(json.loads, after.splitlines()) if what == "removing"}
    records = {record.id: record for record in here.store.documents()}
    added = {number for number, what in done if what == "added"}
    for number in added - going:
        assert records[document_id(number)].status == "ready", name(number)
    # The last one may be on its way out.
    for number in sorted(number for number, what in done if what == "removing")[:-1]:
        assert document_id(number) not in records, name(number)
    numbers = {document_id(number): number for number in range(OWN, OWN + 10_000)}
    chunks = 0
    for record in records.values():
        if record.status == "ready":
            text = content(numbers[record.id])
            assert here.store.original(record.id) == text
            pages = here.store.pages(record.id)
            assert [page.text for page in pages] == [text.decode()]
            document = Document(record.id, record.name, "text/markdown", len(text), tuple(pages))
            assert here.store.chunks(record.id) == here._chunk(document)
            chunks += record.chunks
    assert here.store.state().chunks == chunks
    asked = {one.id for one in History(here.store, "asker").listed()}
    assert asked >= {one for one, what in done if what == "asked"}
    half = [record for record in records.values() if record.status != "ready"]
    assert [record.message for record in half] in (
        [],
        ["Adding was interrupted. Add the file again."],
    )
    counted["backups"] += 1
    counted["documents"] += len(records) - len(half)
    counted["half added"] += len(half)
    counted["questions"] += len(asked)


def test_a_backup_made_while_documents_are_added_is_of_one_moment(tmp_path: Path) -> None:
    counted = restored_while_adding(tmp_path, seconds=2, times=2)
    assert counted["backups"] == 2
    assert counted["documents"]


def test_the_command_line_backs_up_and_restores(home: Path, tmp_path: Path) -> None:
    def run(*arguments: str, code: int = 0) -> str:
        result = CliRunner().invoke(main, [str(one) for one in arguments])
        assert result.exit_code == code, result.output
        return result.output

    file, new = tmp_path / "备份.tar", tmp_path / "new"
    assert "4 documents and 1 question" in run("--home", home, "backup", file)
    assert "there already" in run("--home", home, "backup", file, code=1)
    assert "Restored 4 documents" in run("--home", new, "restore", file)
    assert name(1) in run("--home", new, "list")
    assert "not empty" in run("--home", new, "restore", file, code=1)
