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
from rag.types import Chunk, ChunkVectors, StoredVectors
from rag.waiting_line import WaitingLine

# Token vectors of this many chunks are in memory at once: about 0.3 MB a chunk before coding.
WINDOW = 32
# A service gives no token vectors, and every request to it takes its time.
SERVICE_WINDOW = 512
# Little enough that a document waits no second for it once it is read.
_AHEAD = 8
# Two windows at once would be no faster together, and take the processor from questions.
_LINE = WaitingLine(abreast=1)

_Event = TypeVar("_Event")


class ChunkEncoder:
    """The vectors of one document's chunks; `name` is read above every one of them.

    A text is encoded once, however many chunks have it. Whoever encodes at the same time on this
    machine has every other turn.
    """

    def __init__(self, embedder: Embedder, codec: TokenCodec, name: str = "") -> None:
        self._embedder = embedder
        self._codec = codec
        self._name = name
        self._encoded: dict[str, StoredVectors] = {}

    def ahead(self, chunks: Sequence[Chunk]) -> Sequence[Chunk]:
        """Encode the first of them while others are still read; gives those that are left.

        Raises BackendError where the model fails.
        """
        self._encode(self._missing(chunks[:_AHEAD]))
        return chunks[_AHEAD:]

    def encode(
        self, chunks: Sequence[Chunk], event: Callable[[int], _Event]
    ) -> Generator[_Event, None, ChunkVectors]:
        """Yields an event of how many chunks are done, window by window; returns the vectors.

        Raises BackendError where the model fails.
        """
        missing = self._missing(chunks)
        done = len(chunks) - len(missing)
        yield event(done)
        size = WINDOW if self._embedder.computes_here else SERVICE_WINDOW
        for start in range(0, len(missing), size):
            window = missing[start : start + size]
            self._encode(window)
            done += len(window)
            yield event(done)
        found = [self._encoded[chunk.text] for chunk in chunks]
        return ChunkVectors(
            np.stack([vectors.dense for vectors in found]),
            tuple(vectors.token_codes for vectors in found),
            tuple(vectors.sparse_codes for vectors in found),
        )

    def _missing(self, chunks: Sequence[Chunk]) -> list[str]:
        """The texts that are to be encoded; windows of like lengths waste no work on padding."""
        texts = dict.fromkeys(chunk.text for chunk in chunks)
        return sorted((text for text in texts if text not in self._encoded), key=len)

    def _encode(self, texts: Sequence[str]) -> None:
        if not texts:
            return
        with _LINE.turn() if self._embedder.computes_here else nullcontext():
            encoding = self._embedder.encode_documents(texts, self._name)
        tokens, sparse = encoding.tokens, encoding.sparse
        for index, text in enumerate(texts):
            self._encoded[text] = StoredVectors(
                encoding.dense[index],
                self._codec.encode(tokens[index]) if tokens else b"",
                sparse_weights.encode(sparse[index]) if sparse else b"",
            )


def search_texts(chunks: Sequence[Chunk], name: str = "") -> list[str]:
    """What full text finds each chunk by: `name`, its headings and its text, folded."""
    above = f"{name}\n" if name else ""
    return [fold(f"{above}{chunk.heading}\n{chunk.text}") for chunk in chunks]
