"""What may be asked: how long a question is, and how many come in a minute."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from math import ceil
from threading import Lock
from time import monotonic

from rag.errors import LimitReached, RAGError
from rag.settings import LimitSettings

MINUTE = 60.0


def question_text(text: str, limits: LimitSettings) -> str:
    """The question on one line, as it is searched.

    Raises RAGError where it is empty, LimitReached where it is too long.
    """
    text = " ".join(text.encode("utf-8", "replace").decode().split())
    if not text:
        raise RAGError("The question is empty.", "Type a question first.")
    if len(text) > limits.question_characters:
        raise LimitReached(
            f"The question has {len(text):,} characters, and the limit is "
            f"{limits.question_characters:,}.",
            "Shorten it, or add the long text as a document and ask about it. "
            "RAG_LIMITS_QUESTION_CHARACTERS sets the limit.",
        )
    return text


class Allowance:
    """Counts the questions of the last minute, of each visitor and of all together.

    One object serves all threads of a process.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._lock = Lock()
        # When each question of the last minute was asked, and by whom; the oldest first.
        self._asked: deque[tuple[float, str]] = deque()

    def take(self, visitor: str, limits: LimitSettings) -> None:
        """Count a question of this visitor.

        Raises LimitReached, which says when to ask again; a question that is refused is not
        counted.
        """
        with self._lock:
            now = self._clock()
            while self._asked and self._asked[0][0] <= now - MINUTE:
                self._asked.popleft()
            all_times = [when for when, _ in self._asked]
            own_times = [when for when, asker in self._asked if asker == visitor]
            for times, most, who in (
                (own_times, limits.session_questions, "You"),
                (all_times, limits.all_questions, "Everybody together"),
            ):
                if most and len(times) >= most:
                    seconds = ceil(times[-most] + MINUTE - now)
                    raise LimitReached(
                        f"{who} asked {_counted(len(times), 'question')} in the last minute.",
                        f"Ask again in {_counted(seconds, 'second')}.",
                    )
            self._asked.append((now, visitor))


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
