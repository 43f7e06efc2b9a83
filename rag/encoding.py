"""Chunks -> what the store keeps of them: dense vectors, their codes and the searched text."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import nullcontext
from typing import TypeVar

import numpy as np

from rag import sparse_weights
from rag.folding import fold
from rag.models import Embedder
from rag.token_codes import TokenCodec
from rag.types import Chunk, ChunkVectors
from rag.waiting_line import WaitingLine

# Token vectors of this many chunks are in memory at once: about 0.3 MB a chunk before coding.
WINDOW = 32
# A service gives no token vectors, and every request to it takes its time.
SERVICE_WINDOW = 512
# Two windows at once would be no faster together, and take the processor from questions.
_LINE = WaitingLine(abreast=1)

_Event = TypeVar("_Event")


def encode_chunks(
    chunks: Sequence[Chunk],
    embedder: Embedder,
    codec: TokenCodec,
    event: Callable[[int], _Event],
    name: str = "",
) -> Generator[_Event, None, ChunkVectors]:
    """Yields an event of how many chunks are done, window by window; returns the vectors of all.

    `name` is read above every chunk. Whoever encodes at the same time on this machine has every
    other window.
    Raises BackendError where the model fails.
    """
    texts = [chunk.text for chunk in chunks]
    # Windows of like lengths waste no work on padding.
    order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
    dense = np.zeros((len(texts), embedder.dimensions), dtype=np.float32)
    codes = [b""] * len(texts)
    sparse = [b""] * len(texts)
    yield event(0)
    size = WINDOW if embedder.computes_here else SERVICE_WINDOW
    for start in range(0, len(order), size):
        window = order[start : start + size]
        with _LINE.turn() if embedder.computes_here else nullcontext():
            encoding = embedder.encode_documents([texts[index] for index in window], name)
        dense[window] = encoding.dense
        for index, tokens in zip(window, encoding.tokens or (), strict=False):
            codes[index] = codec.encode(tokens)
        for index, weights in zip(window, encoding.sparse or (), strict=False):
            sparse[index] = sparse_weights.encode(weights)
        yield event(start + len(window))
    return ChunkVectors(dense, tuple(codes), tuple(sparse))


def search_texts(chunks: Sequence[Chunk], name: str = "") -> list[str]:
    """What full text finds each chunk by: `name`, its headings and its text, folded."""
    above = f"{name}\n" if name else ""
    return [fold(f"{above}{chunk.heading}\n{chunk.text}") for chunk in chunks]
