"""How long a question may be, and how many come in a minute."""

from __future__ import annotations

from dataclasses import dataclass
from threading import Thread

import pytest

from rag.allowance import Allowance, question_text
from rag.errors import LimitReached, RAGError
from rag.settings import LimitSettings


@dataclass
class Clock:
    now: float = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def limits(own: int, together: int) -> LimitSettings:
    return LimitSettings(session_questions=own, all_questions=together)


@pytest.mark.parametrize("letter", ["a", "猫", "😀", "\u202e"])
def test_a_question_may_be_as_long_as_the_limit_and_no_longer(letter: str) -> None:
    bounds = LimitSettings(question_characters=100)
    assert question_text(letter * 100, bounds) == letter * 100
    with pytest.raises(LimitReached, match="101 characters, and the limit is 100") as refused:
        question_text(letter * 101, bounds)
    assert "Shorten it" in refused.value.hint


def test_blanks_do_not_count_and_odd_characters_do_no_harm() -> None:
    bounds = LimitSettings(question_characters=100)
    assert question_text(" a \n\t b " + " " * 1_000, bounds) == "a b"
    assert question_text("\ud800猫", bounds) == "?猫"
    with pytest.raises(RAGError, match="empty"):
        question_text(" \n\u3000", bounds)


def test_a_visitor_is_told_when_to_ask_again_and_may_then(clock: Clock) -> None:
    allowance = Allowance(clock)
    for _ in range(2):
        allowance.take("anna", limits(2, 0))
        clock.now += 10
    with pytest.raises(LimitReached, match="You asked 2 questions") as refused:
        allowance.take("anna", limits(2, 0))
    assert refused.value.hint == "Ask again in 40 seconds."
    clock.now += 39.5
    with pytest.raises(LimitReached) as refused:
        allowance.take("anna", limits(2, 0))
    assert refused.value.hint == "Ask again in 1 second."
    clock.now += 0.5
    allowance.take("anna", limits(2, 0))
    with pytest.raises(LimitReached) as refused:
        allowance.take("anna", limits(2, 0))
    assert refused.value.hint == "Ask again in 10 seconds."


def test_one_visitor_takes_nothing_from_another_but_all_share_the_whole(clock: Clock) -> None:
    allowance = Allowance(clock)
    allowance.take("anna", limits(1, 3))
    allowance.take("bob", limits(1, 3))
    for _ in range(5):
        with pytest.raises(LimitReached, match="You asked 1 question "):
            allowance.take("anna", limits(1, 3))
    allowance.take("carl", limits(1, 3))
    with pytest.raises(LimitReached, match="Everybody together asked 3 questions") as refused:
        allowance.take("dora", limits(1, 3))
    assert refused.value.hint == "Ask again in 60 seconds."
    clock.now += 60
    allowance.take("dora", limits(1, 3))


def test_zero_is_no_limit_and_nothing_is_remembered_for_longer_than_a_minute(clock: Clock) -> None:
    allowance = Allowance(clock)
    for number in range(500):
        allowance.take(f"visitor {number}", limits(0, 0))
        clock.now += 1
    assert len(allowance._asked) <= 60


def test_a_lower_limit_holds_at_once(clock: Clock) -> None:
    allowance = Allowance(clock)
    for _ in range(5):
        allowance.take("anna", limits(10, 0))
        clock.now += 1
    with pytest.raises(LimitReached, match="You asked 5 questions") as refused:
        allowance.take("anna", limits(2, 0))
    # When the last but one is a minute old, one is left.
    assert refused.value.hint == "Ask again in 58 seconds."


def test_threads_together_get_no_more_than_the_limit(clock: Clock) -> None:
    allowance = Allowance(clock)
    refused: list[str] = []

    def ask(visitor: str) -> None:
        for _ in range(20):
            try:
                allowance.take(visitor, limits(15, 50))
            except LimitReached:
                refused.append(visitor)

    threads = [Thread(target=ask, args=(f"visitor {number}",)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(refused) == 8 * 20 - 50
