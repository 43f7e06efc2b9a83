"""Two of everything, for minutes."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.browser.conftest import Visitor, serving
from tests.shared_library import at_once, shared
from tests.test_two_writers import SEED

Record = Callable[[str, object], None]

TEXT = "# 渡轮 {number}\n\nThe ferry number {number} leaves at seven.\n\n第{number}班渡轮七点开。\n"


@pytest.mark.row(17)
def test_five_minutes_of_many_hands_lose_nothing_and_make_nothing_twice(
    tmp_path: Path, record_property: Record
) -> None:
    """Three processes of two threads; a new process holds the library against what they heard."""
    record_property("seed", SEED)
    seen = shared(tmp_path, seconds=300, seed=SEED, processes=3)
    for action, times in seen["done"].items():
        record_property(action.replace("_", " "), times)
    record_property("lost, twice or told as a conflict", len(seen["wrong"]))
    assert seen["wrong"] == [], f"TRUST_SEED={SEED}"


@pytest.mark.row(4)
def test_the_same_file_at_once_is_one_document_in_every_round(
    tmp_path: Path, record_property: Record
) -> None:
    """Two processes of two threads, forty files."""
    seen = at_once(tmp_path, rounds=40)
    for what, times in seen["done"].items():
        record_property(what, times)
    assert seen["wrong"] == []


@pytest.mark.row(4)
@pytest.mark.parametrize("servers", [1, 2])
def test_two_tabs_that_upload_the_same_file_at_once_get_one_document(
    tmp_path: Path, visitor: Visitor, record_property: Record, servers: int
) -> None:
    """Two tabs of one server, or one of each of two servers on one library; five files."""
    with ExitStack() as running:
        home = tmp_path / "library"
        urls = [running.enter_context(serving(home)) for _ in range(servers)]
        tabs = [visitor(url).open("Library") for url in (urls[0], urls[-1])]
        for number in range(5):
            content = TEXT.format(number=number).encode()
            for place, tab in enumerate(tabs):
                tab.upload(f"渡轮 {number} {place}.md", content)
            lines = [tab.finish_adding() for tab in tabs]
            assert sorted("already there" in line for line in lines) == [False, True], lines
            assert sorted("added (1 page, 1 chunk)" in line for line in lines) == [False, True]
        for tab in tabs:
            tab.page.reload()
            tab.settle()
            assert "5 documents" in tab.text
    record_property("rounds", 5)
