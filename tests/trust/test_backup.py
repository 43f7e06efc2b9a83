"""Backups of a library that is written meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.test_backup import restored_while_adding, small_models

__all__ = ["small_models"]


@pytest.mark.row(28)
def test_ten_backups_within_a_minute_of_adding_are_each_of_one_moment(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """Every document that had been reported as ready is in the next backup, whole."""
    for what, count in restored_while_adding(tmp_path, seconds=60, times=10).items():
        record_property(what, count)
