"""Power cuts at every place between two writes, and every file of a library damaged in turn."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from time import monotonic

import pytest

from rag.store import layout, verify
from tests import test_power_loss as power_loss
from tests import test_verification as verification
from tests.test_ingest import CHINESE, ENGLISH
from tests.test_power_loss import HARMS, TABLES, check_opens, power_cuts

# Every model is a small one here, too.
small_models = verification._small_models

Record = Callable[[str, object], None]
_SECONDS_OF_DAMAGE = 150


def seed() -> int:
    return int(os.environ.get("TRUST_SEED", random.randrange(10**6)))


@pytest.mark.row(14)
def test_a_power_cut_loses_nothing_that_was_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, record_property: Record
) -> None:
    chosen = seed()
    record_property("seed", chosen)
    contents = [ENGLISH, CHINESE]
    cuts = power_cuts(tmp_path / "library", monkeypatch, contents, chosen, each=4)
    record_property("power cuts", cuts)
    record_property("lost or half visible", 0)


@pytest.mark.row(14)
def test_a_library_opens_whatever_newest_file_is_damaged_and_says_which(
    tmp_path: Path, record_property: Record
) -> None:
    filled = power_loss.fill(tmp_path / "library")
    for table in TABLES:
        for said in HARMS:
            check_opens(filled, tmp_path / f"{table} {said}", table, said)
    record_property("opened", f"{len(TABLES) * len(HARMS)} of {len(TABLES) * len(HARMS)}")


@pytest.mark.row(15)
def test_every_damaged_file_is_noticed_and_repaired_to_identical_passages(
    tmp_path: Path, record_property: Record
) -> None:
    """Three bytes flipped, cut short, removed: each file in turn, drawn by chance for some time."""
    chosen = seed()
    record_property("seed", chosen)
    rng = random.Random(chosen)
    filled = verification.fill(tmp_path / "library")
    before = verification.content(filled)
    names = [name for table in layout.tables(filled) for name in layout.files(filled, table)]
    cases = [(name, how) for name in names for how in ("flip", "cut", "gone")]
    rng.shuffle(cases)
    end = monotonic() + _SECONDS_OF_DAMAGE
    done, add_again = 0, 0
    for name, how in cases:
        if monotonic() > end:
            break
        said = f"TRUST_SEED={chosen}: {name} {how}"
        home = Path(shutil.copytree(filled, tmp_path / "copy"))
        damage(home / name, how, rng)
        assert not verify(home).clean, said
        repaired = verification.repair(verification.settings(home))
        assert verification.content(home) == before, said
        assert repaired.problems == (), said
        if repaired.add_again:
            assert name.startswith("originals.lance/"), said
            add_again += 1
        else:
            assert repaired.left.clean, said
        assert verify(home).damaged == (), said
        shutil.rmtree(home)
        done += 1
    record_property("files", len(names))
    record_property("damaged, noticed, repaired to the same passages", f"{done} of {done}")
    record_property("of these with an original to add again", add_again)


def damage(path: Path, how: str, rng: random.Random) -> None:
    if how == "gone":
        path.unlink()
        return
    content = bytearray(path.read_bytes())
    if how == "cut":
        del content[rng.randrange(len(content)) :]
    else:
        for place in rng.sample(range(len(content)), 3):
            content[place] ^= rng.randrange(1, 256)
    path.write_bytes(content)
