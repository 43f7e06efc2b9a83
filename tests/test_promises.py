"""docs/trust.md names the test of each promise; they are there, and none is left out."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROMISES = (ROOT / "docs" / "trust.md").read_text(encoding="utf-8")
TRUST = sorted((ROOT / "tests" / "trust").glob("test_*.py"))
NAMED = sorted(set(re.findall(r"`(tests/[\w/]+\.py)`", PROMISES)))


@pytest.mark.parametrize("path", NAMED)
def test_a_test_that_is_named_is_there(path: str) -> None:
    assert "def test_" in (ROOT / path).read_text(encoding="utf-8")


@pytest.mark.parametrize("path", TRUST, ids=lambda path: path.stem)
def test_every_row_of_a_long_test_is_promised_there(path: Path) -> None:
    """By the number that the test is marked with."""
    name = str(path.relative_to(ROOT))
    marked = re.findall(r"pytest\.mark\.row\((.+?)\)", path.read_text(encoding="utf-8"))
    rows = {row for mark in marked for row in re.findall(r"\d+", mark)}
    assert rows
    for row in rows:
        (promise,) = re.findall(rf"^\| {row} \|.+$", PROMISES, re.MULTILINE)
        assert name in promise, f"row {row} does not name {name}"


def test_every_promise_has_a_test() -> None:
    promises = re.findall(r"^\| (?:\d+|-) \|.+$", PROMISES, re.MULTILINE)
    assert len(promises) >= 33
    for promise in promises:
        assert "`tests/" in promise
