"""Turns: so many at a time, in order, and a place that is given up lets the next one come."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Event, Thread

import pytest

from rag.waiting_line import WaitingLine


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.002)


class Asker:
    """Takes a turn in a thread of its own and keeps it until it is told to go."""

    def __init__(self, line: WaitingLine) -> None:
        self.told: list[int] = []
        self.inside = Event()
        self.go = Event()
        self.waited = 0.0
        self.thread = Thread(target=self._run, args=(line,))
        self.thread.start()

    def _run(self, line: WaitingLine) -> None:
        with line.turn(self.told.append) as place:
            self.waited = place.waited
            self.inside.set()
            self.go.wait(10)

    def leave(self) -> None:
        self.go.set()
        self.thread.join()


def in_line(line: WaitingLine, count: int) -> list[Asker]:
    """So many askers, each in line before the next one comes."""
    askers: list[Asker] = []
    for number in range(count):
        asker = Asker(line)
        askers.append(asker)
        until(lambda: len(line._line) == number + 1)  # noqa: B023
    return askers


def test_turns_come_in_order_and_each_hears_how_many_come_before() -> None:
    line = WaitingLine(abreast=2)
    askers = in_line(line, 5)
    assert [asker.inside.wait(0.1) for asker in askers] == [True, True, False, False, False]
    until(lambda: all(asker.told for asker in askers[2:]))
    assert [asker.told[0] for asker in askers[2:]] == [1, 2, 3]
    for gone, next_one in zip(askers, askers[2:], strict=False):
        gone.leave()
        assert next_one.inside.wait(10)
    assert askers[0].waited == 0
    assert askers[4].waited > 0
    for asker in askers:
        asker.leave()
    assert line._line == []


def test_who_gives_up_leaves_the_line_to_the_next() -> None:
    line = WaitingLine(abreast=1)
    (first,) = in_line(line, 1)

    def give_up(before: int) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError), line.turn(give_up):
        pytest.fail("it was not its turn")
    first.leave()
    with line.turn(give_up):
        pass


def test_a_turn_may_end_before_its_block() -> None:
    line = WaitingLine(abreast=1)
    with line.turn() as place:
        line.leave(place)
        with line.turn(lambda before: pytest.fail("nobody is inside")):
            pass
    assert line._line == []


def test_a_failure_inside_ends_the_turn() -> None:
    line = WaitingLine(abreast=1)
    with pytest.raises(ZeroDivisionError), line.turn():
        raise ZeroDivisionError
    assert line._line == []
