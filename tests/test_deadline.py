"""Calls that hang are given up in time, and learn what a passage costs."""

from __future__ import annotations

import time
from threading import Event

import pytest

from rag.deadline import Deadline
from rag.pace import FIRST_DEPTH, Depth, Pace


def test_a_quick_call_gives_what_it_returns_and_raises() -> None:
    deadline = Deadline()
    assert deadline.call(lambda: 42, 1) == 42
    with pytest.raises(ZeroDivisionError):
        deadline.call(lambda: 1 // 0, 1)


def test_a_timeout_of_the_call_itself_is_passed_on_and_does_not_count_as_hanging() -> None:
    def fails() -> None:
        raise TimeoutError("its own")

    deadline = Deadline(most=1)
    for _ in range(3):
        with pytest.raises(TimeoutError, match="its own"):
            deadline.call(fails, 1)
    assert deadline.call(lambda: 1, 1) == 1


def test_a_hanging_call_is_given_up_and_further_ones_refused_until_it_ends() -> None:
    deadline, release = Deadline(most=1), Event()
    started = time.monotonic()
    with pytest.raises(TimeoutError):
        deadline.call(lambda: release.wait(30), 0.05)
    with pytest.raises(TimeoutError):
        deadline.call(lambda: 1, 10)
    assert time.monotonic() - started < 5
    release.set()
    for _ in range(100):
        try:
            assert deadline.call(lambda: 1, 10) == 1
            break
        except TimeoutError:
            time.sleep(0.05)
    else:
        pytest.fail("the call that ended still counts as hanging")


def test_without_a_budget_all_is_read() -> None:
    pace = Pace()
    pace.learn(10, 5.0)
    assert pace.depth(50, 0) == Depth(50)
    assert pace.depth(0, 100) == Depth(0)


def test_before_anything_is_known_little_is_read_and_said() -> None:
    depth = Pace().depth(50, 300)
    assert depth.passages == FIRST_DEPTH
    assert depth.reason
    assert Pace().depth(5, 300) == Depth(5)


@pytest.mark.parametrize(
    ("budget", "expected"), [(100, 10), (300, 30), (499, 49), (500, 50), (9000, 50), (1, 1)]
)
def test_what_fits_into_the_budget_is_read(budget: int, expected: int) -> None:
    pace = Pace()
    for _ in range(5):
        pace.learn(20, 0.2)
    pace.learn(20, 60.0)
    depth = pace.depth(50, budget)
    assert depth.passages == expected
    assert bool(depth.reason) is (expected < 50)
    if expected < 50:
        assert f"{budget} ms" in depth.reason


def test_a_machine_that_becomes_slower_is_noticed() -> None:
    pace = Pace()
    for seconds in [0.1] * 9 + [1.0] * 9:
        pace.learn(10, seconds)
    assert pace.depth(50, 1000).passages == 10
