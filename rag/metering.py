"""What services are asked for one question: counted where they answer, told by the pipeline.

Whoever asks a service calls `count`; which question and stage it was for is known from the context,
so that the questions of two sessions never mix. Where nobody counts, `count` does nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from threading import Lock
from typing import ParamSpec, TypeVar

from rag.settings import PriceSettings
from rag.types import ServiceKind, Usage

_P = ParamSpec("_P")
_R = TypeVar("_R")

_TOKENS_PRICED = 1_000_000
_REQUESTS_PRICED = 1_000
# What a broken service tells can be any number.
_MOST = 10**9


class Meter:
    """The usage of one question; its threads may share it."""

    def __init__(self) -> None:
        self._counted: dict[tuple[str, ServiceKind, str], Usage] = {}
        self._lock = Lock()

    @property
    def usage(self) -> tuple[Usage, ...]:
        """What was counted so far, by stage, service and model, in the order they came."""
        with self._lock:
            return tuple(self._counted.values())

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count what the block asks for under this name; not for blocks that yield."""
        before = _OPEN.set((self, name))
        try:
            yield
        finally:
            _OPEN.reset(before)

    def over(self, stage: str, pieces: Generator[_R]) -> Generator[_R]:
        """The pieces; what is asked for while they are made counts under this name."""
        try:
            while True:
                with self.stage(stage):
                    try:
                        piece = next(pieces)
                    except StopIteration:
                        return
                yield piece
        finally:
            with self.stage(stage):
                pieces.close()

    def add(self, usage: Usage) -> None:
        """Add to what was counted under the same names."""
        names = (usage.stage, usage.service, usage.model)
        with self._lock:
            before = self._counted.get(names)
            self._counted[names] = usage if before is None else _sum(before, usage)


_OPEN: ContextVar[tuple[Meter, str] | None] = ContextVar("open meter and stage", default=None)


def count(
    service: ServiceKind,
    model: str,
    *,
    input_tokens: int = 0,
    output_tokens: int = 0,
    requests: int = 1,
    counted: bool = True,
) -> None:
    """Count what a service was asked; `counted` is False where the tokens are estimated."""
    opened = _OPEN.get()
    if opened is not None:
        meter, stage = opened
        asked, read, written = (
            min(max(number, 0), _MOST) for number in (requests, input_tokens, output_tokens)
        )
        meter.add(Usage(stage, service, model, asked, read, written, counted))


def carried(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """The function for other threads: what it asks for counts where it was carried from.

    Any number of threads may call it at once.
    """
    opened = _OPEN.get()

    def run(*arguments: _P.args, **named: _P.kwargs) -> _R:
        before = _OPEN.set(opened)
        try:
            return function(*arguments, **named)
        finally:
            _OPEN.reset(before)

    return run


def priced(usage: Iterable[Usage], prices: PriceSettings) -> tuple[Usage, ...]:
    """The same with what it cost; no cost where none of its service's prices is set."""
    return tuple(_priced(one, prices) for one in usage)


def _priced(usage: Usage, prices: PriceSettings) -> Usage:
    match usage.service:
        case "chat":
            rates = (prices.input_tokens, prices.output_tokens, 0.0)
        case "embeddings":
            rates = (prices.embedding_tokens, 0.0, 0.0)
        case "rerank":
            rates = (prices.rerank_tokens, 0.0, prices.rerank_searches)
    if not any(rates):
        return usage
    tokens_in, tokens_out, requests = rates
    cost = (usage.input_tokens * tokens_in + usage.output_tokens * tokens_out) / _TOKENS_PRICED
    cost += usage.requests * requests / _REQUESTS_PRICED
    return replace(usage, cost=cost, currency=prices.currency)


def _sum(first: Usage, second: Usage) -> Usage:
    return replace(
        first,
        requests=first.requests + second.requests,
        input_tokens=first.input_tokens + second.input_tokens,
        output_tokens=first.output_tokens + second.output_tokens,
        counted=first.counted and second.counted,
    )
