"""Two of everything: tabs, threads, processes and servers on one library."""

from __future__ import annotations

import os
import random
from pathlib import Path

from tests.shared_library import at_once, shared

SEED = int(os.environ.get("TRUST_SEED", random.randrange(10**6)))


def test_many_hands_leave_the_library_as_they_were_told(tmp_path: Path) -> None:
    """Adds, removals, questions, marks and another index, by threads of two processes."""
    seen = shared(tmp_path, seconds=3, seed=SEED, processes=2)
    assert seen["wrong"] == [], f"TRUST_SEED={SEED}"
    assert sum(seen["done"].values()) > 1


def test_the_same_file_at_once_is_one_document(tmp_path: Path) -> None:
    """Four at the same moment, under other names: one adds it, three are told it is there."""
    assert at_once(tmp_path, rounds=3) == {"wrong": [], "done": {"rounds": 3, "adds": 12}}
