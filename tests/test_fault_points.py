"""The fault points: what is in the table is in the code, and nothing happens unasked."""

from __future__ import annotations

import ast
import errno
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from rag import fault_points
from rag.errors import SettingsError
from rag.fault_points import PAUSE_SECONDS, POINTS, VARIABLE, reached
from tests.crashes import FIRST_START, PLACES

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def unread(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The environment is read again, before and after."""
    monkeypatch.delenv(VARIABLE, raising=False)
    fault_points._fault.cache_clear()
    yield
    fault_points._fault.cache_clear()


def calls(path: Path) -> Iterator[str]:
    """The points that a module reaches, as they are written there."""
    source = path.read_text(encoding="utf-8")
    for node in ast.walk(ast.parse(source)) if "import reached" in source else ():
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "reached":
            yield ast.literal_eval(node.args[0])


def test_every_point_of_the_table_is_reached_once_and_in_the_module_that_it_names() -> None:
    used: Counter[tuple[str, str]] = Counter()
    for path in [*(ROOT / "rag").rglob("*.py"), *(ROOT / "pages").rglob("*.py"), ROOT / "app.py"]:
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        used.update((module, point) for point in calls(path))
    assert used == Counter(("rag." + point.rpartition(".")[0], point) for point in POINTS)


def test_every_point_is_crashed_at() -> None:
    assert {place.point for place in PLACES} | {*FIRST_START} == POINTS.keys()


def test_nothing_happens_unasked(monkeypatch: pytest.MonkeyPatch) -> None:
    for point in POINTS:
        reached(point)
    fault_points._fault.cache_clear()
    monkeypatch.setenv(VARIABLE, "store.golden.put:raise")
    reached("store.questions.keep")


def test_what_is_asked_for_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "store.golden.put:full")
    with pytest.raises(OSError, match="No space left") as caught:
        reached("store.golden.put")
    assert caught.value.errno == errno.ENOSPC
    fault_points._fault.cache_clear()
    monkeypatch.setenv(VARIABLE, "store.golden.put:raise:2")
    reached("store.golden.put")
    for _ in range(2):
        with pytest.raises(RuntimeError, match="the fault"):
            reached("store.golden.put")


def test_a_pause_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "store.golden.put:sleep")
    started = time.monotonic()
    reached("store.golden.put")
    assert time.monotonic() - started >= PAUSE_SECONDS


@pytest.mark.parametrize(
    "asked",
    ["nowhere:kill", "store.golden.put", "store.golden.put:explode", "store.golden.put:kill:x"],
)
def test_a_fault_that_there_is_not_is_refused(monkeypatch: pytest.MonkeyPatch, asked: str) -> None:
    monkeypatch.setenv(VARIABLE, asked)
    with pytest.raises(SettingsError, match="names no fault") as caught:
        reached("store.golden.put")
    assert "settings_file.replace" in caught.value.hint
