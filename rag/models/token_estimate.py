"""How many tokens a text takes of a model whose tokenizer only its service has. Pure.

Four Latin letters, three digits, or any other character but a blank are counted as one token,
which is more than most tokenizers find in any text: a request beyond its limit is refused. What a
prompt or a bill takes on the whole is estimated by `rag.prompting.token_estimate`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

# OpenAI reads 8192 tokens of a text and 300,000 of a request.
TOKENS_PER_TEXT = 8_000
TOKENS_PER_REQUEST = 100_000
TEXTS_PER_REQUEST = 2048

_TOKEN = re.compile(r"[A-Za-z]{1,4}|[0-9]{1,3}|\S")


def spans(text: str) -> Iterator[tuple[int, int]]:
    """Character offsets of the tokens."""
    return (match.span() for match in _TOKEN.finditer(text))


def count(text: str) -> int:
    """How many tokens there are."""
    return sum(1 for _ in spans(text))


def cut(text: str) -> str:
    """The part of a text that a model reads, and a blank for nothing, which services refuse."""
    for number, (_, end) in enumerate(spans(text), start=1):
        if number == TOKENS_PER_TEXT:
            return text[:end]
    return text or " "


def batches(texts: Sequence[str]) -> Iterator[list[str]]:
    """The texts in order, as many in one request as its limits allow."""
    batch: list[str] = []
    room = TOKENS_PER_REQUEST
    for text in texts:
        needed = count(text)
        if batch and (needed > room or len(batch) == TEXTS_PER_REQUEST):
            yield batch
            batch, room = [], TOKENS_PER_REQUEST
        batch.append(text)
        room -= needed
    if batch:
        yield batch
