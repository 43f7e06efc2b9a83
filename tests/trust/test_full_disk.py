"""A disk without space: nothing acknowledged is lost, and all goes on once there is space again."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rag import opening, pipeline
from rag.errors import RAGError
from rag.settings_file import save_settings
from tests.crashes import (
    EVERYTHING,
    UNSETTLED,
    Journal,
    Operation,
    Work,
    begin_library,
    checked,
    read,
    settings_of,
)
from tests.fakes import FakeEmbedder
from tests.test_crashes import ROOT

DISK_BYTES = 20_000_000
# What is left free when an operation begins: from nothing to nearly enough.
LEFT = (0, 4_096, 20_000, 60_000, 150_000, 400_000)


class Disk:
    """A small disk of its own, with a library on it and a file that takes the rest."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / "library"
        self._ballast = folder / "ballast"

    def fill(self, left: int = 0) -> None:
        """Leave so many bytes free."""
        self.free()
        with self._ballast.open("wb") as file:
            room = shutil.disk_usage(self.folder).free - left
            os.posix_fallocate(file.fileno(), 0, max(room, 1))

    def free(self) -> None:
        """Give the space back."""
        self._ballast.unlink(missing_ok=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(folder)]
    if (
        not shutil.which("mount")
        or subprocess.run(mount, check=False, capture_output=True).returncode
    ):
        pytest.skip("making a small disk needs the rights of root")
    yield Disk(folder)
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def work(disk: Disk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Work:
    """A library of two documents on the small disk, which adding may fill to the last byte."""
    monkeypatch.setattr(opening, "make_embedder", lambda index, *_: FakeEmbedder(name=index.model))
    monkeypatch.setattr(pipeline, "read_document", read)
    begin_library(disk.home)
    before = settings_of(disk.home)
    limits = before.limits.model_copy(update={"free_disk_bytes": 0})
    save_settings(before, before.model_copy(update={"limits": limits}), {})
    work = Work(disk.home, Journal(tmp_path / "journal"))
    for key in ("first", "second"):
        work.do(("add", key))
    return work


def refused(work: Work, operation: Operation) -> str:
    """What the person is told; empty where it was done."""
    try:
        work.do(operation)
    except RAGError as error:
        return str(error)
    return ""


@pytest.mark.row(16)
@pytest.mark.parametrize("word", ["add", "remove", "index", "settings", "ask", "mark"])
def test_with_a_full_disk_nothing_is_lost_questions_are_answered_and_it_goes_on_without_a_restart(
    word: str, disk: Disk, work: Work, record_property: pytest.RecordProperty
) -> None:
    told = 0
    for number, left in enumerate(LEFT):
        disk.free()
        key = {"index": "new", "remove": f"gone{number}"}.get(word, str(number))
        if word == "remove":
            work.do(("add", key))
        if word == "index":
            work.do(("index", "old"))
            work.do(("free", "new"))
        disk.fill(left)
        said = refused(work, (word, key))
        told += bool(said)
        assert not said or "disk" in said.lower(), said
        if left == 0:
            assert said, "a full disk took it"
        assert work.pipeline.search(EVERYTHING).candidates
        found = checked(Work(disk.home, work.journal)).complaints
        assert [one for one in found if f" is {UNSETTLED}" not in one] == []
        disk.free()
        work.do((word, key))
        assert checked(Work(disk.home, work.journal)).complaints == []
    assert not list(disk.home.glob(".settings-*"))
    record_property(f"{word}: refused for want of space", f"{told} of {len(LEFT)}")
    record_property("lost", 0)


@pytest.mark.row(16)
def test_a_file_is_refused_before_anything_is_written_when_little_space_is_left(
    disk: Disk, work: Work
) -> None:
    before = settings_of(disk.home)
    limits = before.limits.model_copy(update={"free_disk_bytes": 200_000_000})
    save_settings(before, before.model_copy(update={"limits": limits}), {})
    work.open()
    sizes = {path: path.stat().st_size for path in disk.home.rglob("*") if path.is_file()}
    said = refused(work, ("add", "报告"))
    assert "报告.md was not added: the disk has" in said
    assert "Free some space and add it again" in said
    assert {path: path.stat().st_size for path in disk.home.rglob("*") if path.is_file()} == sizes


LOGGING = """
import sys
from rag import log
from rag.settings import LogSettings
log.start(LogSettings(), open(sys.argv[1], "w"))
for number in range(100):
    log.event("question", id=str(number))
print("answered")
"""


@pytest.mark.row(16)
def test_a_log_on_a_full_disk_stops_nobody(disk: Disk) -> None:
    disk.folder.joinpath("log").touch()
    disk.fill()
    done = subprocess.run(
        [sys.executable, "-c", LOGGING, str(disk.folder / "log")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.returncode) == ("answered\n", 0), done.stderr
