"""What models make of texts, and what they look at."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rag.types.documents import Chunk

Vector = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class SparseWeights:
    """How much the tokens of one text matter: `ids` ascending, each once, and their `weights`.

    Both are [tokens that weigh something]; special tokens are not among them.
    """

    ids: NDArray[np.uint32]
    weights: Vector


@dataclass(frozen=True, slots=True)
class Encoding:
    """The vectors of n texts.

    `dense` is [n, dimensions], every row of length 1.
    `tokens` has one array [tokens of the text, dimensions] a text, every row of length 1, without
    the vectors of the prompt and of special tokens; None where the model has no token vectors.
    `sparse` has the weights of one text each; None where the model gives none.
    """

    dense: Vector
    tokens: tuple[Vector, ...] | None
    sparse: tuple[SparseWeights, ...] | None = None


@dataclass(frozen=True, slots=True)
class ChunkVectors:
    """The vectors of a document's chunks as the store keeps them.

    `dense` is [chunks, dimensions]; `token_codes` has one code a chunk, empty where the model has
    no token vectors. `sparse_codes` likewise; () stands for empty codes only.
    """

    dense: Vector
    token_codes: tuple[bytes, ...]
    sparse_codes: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class StoredVectors:
    """The vectors of one chunk as the store keeps them; a code is empty where there is nothing."""

    dense: Vector
    token_codes: bytes = b""
    sparse_codes: bytes = b""


@dataclass(frozen=True, slots=True)
class Question:
    """A question with its vectors: `dense` is [dimensions], `tokens` [tokens, dimensions].

    `weights` say how much each token tells, [tokens], more than 0; None where all tell the same.
    """

    text: str
    dense: Vector
    tokens: Vector | None
    sparse: SparseWeights | None = None
    weights: Vector | None = None


@dataclass(frozen=True, slots=True)
class Passage:
    """What a reranker may look at: the chunk and all evidence that recall left behind.

    `dense` is the cosine with the question, `lexical` the BM25 score or 0 where no word matched.
    `tokens` are the chunk's token vectors, [tokens, dimensions], as the store kept them.
    `sparse` is the product of its sparse weights with the question's, 0 or more; None where the
    index has none.
    """

    chunk: Chunk
    document: str
    dense: float
    lexical: float
    tokens: Vector | None = None
    sparse: float | None = None
