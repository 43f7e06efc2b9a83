"""An answer in the making: pieces as they come, then the whole with its citations checked."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from functools import cached_property
from time import perf_counter

from rag.errors import RAGError
from rag.metering import Meter, priced
from rag.settings import PriceSettings
from rag.types import Answer, AnswerKind, Candidate, Citation, Notice, Statement, Trace


@dataclass(frozen=True, slots=True)
class Checked:
    """A text whose citations and statements were checked.

    `dropped` counts the invented citations that were taken out.
    """

    text: str
    citations: tuple[Citation, ...]
    statements: tuple[Statement, ...]
    dropped: int


class Reply:
    """Iterate for the pieces of an answer, then take `answer`.

    `trace` and `passages` are there before the first piece. A failing language model ends the
    iteration early and is told in `answer.problem`; iterating never raises a RAGError, so that
    sources and partial text stay. `meter` counts what the answer asks of services.
    """

    def __init__(
        self,
        trace: Trace,
        passages: tuple[Candidate, ...],
        kind: AnswerKind,
        pieces: Generator[str],
        check: Callable[[str], Checked],
        meter: Meter,
        prices: PriceSettings,
    ) -> None:
        self.trace = trace
        self.passages = passages
        self.text = ""
        self._kind = kind
        self._pieces = pieces
        self._check = check
        self._meter = meter
        self._prices = prices
        self._problem: Notice | None = None
        self._seconds: dict[str, float] = {}

    def __iter__(self) -> Iterator[str]:
        if not self.passages:
            return
        started = perf_counter()
        try:
            for piece in self._pieces:
                self.text += piece
                if self.text:
                    self._seconds.setdefault("first token", perf_counter() - started)
                yield piece
        except RAGError as error:
            self._problem = error.notice
        finally:
            # Ends the request of a reader who stopped listening.
            self._pieces.close()
            self._seconds.setdefault("answer", perf_counter() - started)

    def stop(self) -> None:
        """Give up the rest; what came stays, and the answer says that it is not whole."""
        self._problem = Notice("The answer was stopped.", "Ask again for the whole of it.")
        self._pieces.close()

    @cached_property
    def answer(self) -> Answer:
        """The answer as far as it was written; what was not yet asked for is written first."""
        for _ in self:
            pass
        started = perf_counter()
        with self._meter.stage("check"):
            checked = self._check(self.text)
        self._seconds["check"] = perf_counter() - started
        return Answer(
            text=checked.text,
            kind=self._kind,
            citations=checked.citations,
            passages=self.passages,
            trace=self.trace,
            seconds={**self.trace.seconds, **self._seconds},
            statements=checked.statements,
            dropped=checked.dropped,
            problem=self._problem,
            usage=(*self.trace.usage, *priced(self._meter.usage, self._prices)),
        )
