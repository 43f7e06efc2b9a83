"""Killed a hundred times: what was acknowledged is there whole, and the next start is as fast."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from rag.models.bundled import DIMENSIONS
from rag.settings import load_settings
from rag.store import Store
from tests.crashes import half_visible
from tests.test_crashes import ROOT, run

Tell = Callable[[str, object], None]

KILLS, WORK_SECONDS, REAL_KILLS = 90, 2.0, 10
# What `rag add` is given each time.
FILES = 10
# A start may take so much longer than one with nothing to put right.
START_SECONDS = 10.0


@pytest.fixture
def seed() -> int:
    """What all chance of a test comes from; the variable TRUST_SEED makes it the same again."""
    drawn = int(os.environ.get("TRUST_SEED", 0)) or int.from_bytes(os.urandom(3))
    print("seed", drawn)  # noqa: T201
    return drawn


@pytest.mark.row(3)
@pytest.mark.parametrize("how", ["killed", "failed"])
def test_at_every_fault_point_of_every_operation_nothing_is_lost_or_half_visible(
    tmp_path: Path, how: str, record_property: Tell
) -> None:
    record_property(
        "complaints", found := run(tmp_path / "library", f"{how}_at_every_place", more=True)
    )
    assert found == []


@pytest.mark.row(3)
def test_killed_at_random_moments_nothing_acknowledged_is_lost_and_every_start_succeeds(
    tmp_path: Path, seed: int, record_property: Tell
) -> None:
    found = run(
        tmp_path / "library", "kill_at_random", kills=KILLS, seed=seed, seconds=WORK_SECONDS
    )
    record_property("seed", seed)
    record_property("kills", found["kills"])
    record_property("acknowledged operations", found["acknowledged"])
    for what in ("lost", "half_visible", "failed_starts"):
        record_property(what.replace("_", " "), len(found[what]))
    record_property("slowest start over normal", f"{found['slowest_start_over_normal']:.1f} s")
    assert found["lost"] == found["half_visible"] == found["failed_starts"] == []
    assert found["slowest_start_over_normal"] <= START_SECONDS
    assert found["kills"] == KILLS


# --- what people run -----------------------------------------------------------------------


@dataclass
class Library:
    """A library that `rag` works on, with the bundled model."""

    home: Path
    starts: list[float] = field(default_factory=list)

    def command(self, *words: str) -> list[str]:
        return [str(Path(sys.executable).with_name("rag")), "--home", str(self.home), *words]

    def listed(self) -> dict[str, str]:
        """The status of every document by name, as a new process sees it."""
        started = time.perf_counter()
        done = subprocess.run(
            self.command("list", "--json"), cwd=ROOT, capture_output=True, text=True, check=False
        )
        self.starts.append(time.perf_counter() - started)
        assert done.returncode == 0, done.stderr
        return {one["name"]: one["status"] for one in json.loads(done.stdout)}

    def add(self, files: Path, kill_after: float) -> tuple[list[str], bool]:
        """The names that `rag add` told as added, and whether it was killed."""
        child = subprocess.Popen(
            self.command("add", str(files)), cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        try:
            child.wait(kill_after)
        except subprocess.TimeoutExpired:
            child.send_signal(signal.SIGKILL)
        said, _ = child.communicate()
        told = [line.partition(":")[0] for line in said.splitlines() if ": added" in line]
        return told, child.returncode == -signal.SIGKILL

    def store(self) -> Store:
        index = load_settings(self.home, None, {}).index
        return Store.open(self.home, index.fingerprint, DIMENSIONS)


def write_documents(folder: Path) -> None:
    """Files in two languages, each with words that only it has."""
    folder.mkdir()
    for number in range(FILES // 2):
        english = f"# Reranker {number}\n\n" + f"Reranker {number} reads every passage. " * 25
        chinese = f"# 仓库{number}\n\n" + f"第{number}号仓库里有编号的文件。" * 25
        (folder / f"en{number}.md").write_text(english, encoding="utf-8")
        (folder / f"zh{number}.md").write_text(chinese, encoding="utf-8")


@pytest.mark.row(3)
def test_rag_add_killed_at_random_moments_loses_no_file_that_it_told_as_added(
    tmp_path: Path, seed: int, record_property: Tell
) -> None:
    files = tmp_path / "files"
    write_documents(files)
    whole = Library(tmp_path / "whole")
    started = time.perf_counter()
    told, _ = whole.add(files, 600)
    seconds = time.perf_counter() - started
    assert len(told) == FILES
    whole.listed()
    reference = whole.store()
    chunks = {one.name: reference.chunks(one.id) for one in reference.documents()}

    chance, library, acknowledged, kills = (
        random.Random(seed),
        Library(tmp_path / "library"),
        set(),
        0,
    )
    complaints: list[str] = []
    while kills < REAL_KILLS:
        told, killed = library.add(files, chance.uniform(0, seconds))
        kills += killed
        acknowledged |= set(told)
        statuses = library.listed()
        complaints += [f"{one} is lost" for one in acknowledged if statuses.get(one) != "ready"]
        store = library.store()
        complaints += half_visible(store, lambda record: chunks[record.name])
        if not killed or len(acknowledged) == FILES:
            for record in store.documents():
                store.remove(record.id)
            acknowledged.clear()
    over = max(library.starts) - max(whole.starts)
    record_property("seed", seed)
    record_property("kills", kills)
    record_property("lost or half visible", len(complaints))
    record_property("slowest start over normal", f"{over:.1f} s")
    assert complaints == []
    assert kills >= REAL_KILLS
    assert over <= START_SECONDS
