"""Killed, failing or without space at every fault point: nothing is lost, nothing is half there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]

if not hasattr(os, "fork"):
    pytest.skip("needs fork", allow_module_level=True)


def run(home: Path, function: str, **arguments: Any) -> Any:
    """What a function of tests.crashes gives, in a process that has used no library yet."""
    command = [sys.executable, "-W", "ignore", "-m", "tests.crashes", str(home), function]
    done = subprocess.run(
        [*command, json.dumps(arguments)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("how", ["killed", "failed"])
def test_at_every_fault_point_nothing_is_lost_or_half_visible_and_work_goes_on(
    tmp_path: Path, how: str
) -> None:
    assert run(tmp_path / "library", f"{how}_at_every_place") == []


def test_killed_at_random_nothing_is_lost_or_half_visible(tmp_path: Path) -> None:
    seed = int(os.environ.get("TRUST_SEED", 0)) or int.from_bytes(os.urandom(3))
    print("seed", seed)  # noqa: T201
    found = run(tmp_path / "library", "kill_at_random", kills=3, seed=seed, seconds=0.7)
    assert found["lost"] == found["half_visible"] == found["failed_starts"] == []
    assert found["kills"] == 3
