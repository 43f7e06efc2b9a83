"""Sparse weights: how much each token of a text matters, as one model learnt it. Pure arithmetic.

Two texts match by the sum, over the tokens they share, of the products of their weights (Chen et
al. 2024, M3-Embedding, https://arxiv.org/abs/2402.03216, section 3.2, "Lexical retrieval").
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rag.types import SparseWeights, Vector

BYTES_PER_TOKEN = 6

# The first byte of every code, so that a text without weights has a code that is not empty.
_LAYOUT = b"\x01"


def sparse_weights(tokens: Sequence[int], weights: Vector) -> SparseWeights:
    """The weights of a text's tokens, each token once with the largest of its weights.

    `weights` is [tokens]. Tokens whose weight is not above 0 are left out.
    """
    ids = np.asarray(tokens, dtype=np.uint32)
    # Not `weights > 0`, which would drop weights that are no numbers and hide a broken model.
    kept = np.flatnonzero(~(weights <= 0))
    # `unique` finds the first place of an id, which is that of its largest weight.
    heaviest_first = kept[np.argsort(weights[kept])[::-1]]
    unique, first = np.unique(ids[heaviest_first], return_index=True)
    return SparseWeights(unique, weights[heaviest_first[first]])


def encode(weights: SparseWeights) -> bytes:
    """Code of a text's weights: one byte, then all ids as uint32 and all weights as float16."""
    return _LAYOUT + weights.ids.astype("<u4").tobytes() + weights.weights.astype("<f2").tobytes()


def decode(code: bytes) -> SparseWeights:
    """The weights behind a code, with the eleven bits of precision that float16 has."""
    count = (len(code) - len(_LAYOUT)) // BYTES_PER_TOKEN
    ids = np.frombuffer(code, "<u4", count, len(_LAYOUT))
    weights = np.frombuffer(code, "<f2", count, len(_LAYOUT) + ids.nbytes)
    return SparseWeights(ids.astype(np.uint32), weights.astype(np.float32))


def dot_products(question: SparseWeights, passages: Sequence[SparseWeights]) -> Vector:
    """Of each passage how well its weighted tokens match the question's, [passages]; 0 or more."""
    scores: Vector = np.zeros(len(passages), dtype=np.float32)
    if not len(question.ids) or not passages:
        return scores
    ids = np.concatenate([passage.ids for passage in passages])
    places = np.minimum(np.searchsorted(question.ids, ids), len(question.ids) - 1)
    shared: NDArray[np.bool_] = question.ids[places] == ids
    owners = np.repeat(np.arange(len(passages)), [len(passage.ids) for passage in passages])
    weights = np.concatenate([passage.weights for passage in passages])
    products = question.weights[places[shared]] * weights[shared]
    scores[:] = np.bincount(owners[shared], products, len(passages))
    return scores
