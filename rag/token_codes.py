"""Token vectors in a few bytes: centred, rotated and cut to one bit a dimension.

A vector x becomes the signs s of r = R(x - c), where c is the model's mean token vector and R a
fixed random rotation, with one float16 factor f = |r|^2 / |r|_1 (Gao and Long 2024, RaBitQ).

c + R'(f s) would estimate inner products without bias, but with noise, and MaxSim picks the largest
of many: it would pick noise. So the signs count for half and the estimate is brought back to length
1, which ranks nearly as well as the vectors themselves; the figures are in `docs/benchmarks.md`.

Vectors are compared in the rotated space, because a rotation leaves inner products as they are:
`turned` turns the question's vectors once and `decode` never turns anything back.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np

from rag.types import Question, Vector

FACTOR_BYTES = 2
# Of .5 to 1.5 the best on the development sets, and flat around it.
SHRINKING = 0.5
_SEED = 20261122


class TokenCodec:
    """Token vectors to bytes and back.

    `centre` is the mean token vector of the model, [dimensions]; zeros where none is known.
    `language` is the direction, [dimensions] and of length 1, in which tokens of one language lie
    from those of another; None where it is not known.
    """

    def __init__(
        self, dimensions: int, centre: Vector | None = None, language: Vector | None = None
    ) -> None:
        if dimensions % 8:
            raise ValueError(f"dimensions must be a multiple of 8, not {dimensions}")
        self.dimensions = dimensions
        self._rotation = _rotation(dimensions)
        zeros = np.zeros(dimensions, dtype=np.float32)
        self._centre: Vector = (zeros if centre is None else centre) @ self._rotation
        self._language = language

    @property
    def centre(self) -> Vector:
        """The model's mean token vector, turned as `rotate` turns vectors, [dimensions]."""
        return self._centre

    @property
    def bytes_per_token(self) -> int:
        """Size of one token's code."""
        return self.dimensions // 8 + FACTOR_BYTES

    def rotate(self, vectors: Vector) -> Vector:
        """Turn vectors [n, dimensions] into the space in which `decode` gives its own."""
        return vectors @ self._rotation

    def turned(self, question: Question) -> Question:
        """The question with its token vectors in the space in which `decode` gives its own.

        What tells only their language is taken out of them, so that a passage in another language
        is not far for that alone (Yang et al. 2021, https://arxiv.org/abs/2109.04727, remove such
        directions from sentence vectors).
        """
        if question.tokens is None:
            return question
        tokens = question.tokens
        if self._language is not None:
            tokens = tokens - np.outer(tokens @ self._language, self._language)
            tokens /= np.maximum(np.linalg.norm(tokens, axis=1, keepdims=True), 1e-12)
        return replace(question, tokens=self.rotate(tokens))

    def encode(self, vectors: Vector) -> bytes:
        """Code of token vectors [tokens, dimensions]; the order of tokens is kept."""
        residual = self.rotate(vectors) - self._centre
        norms = np.abs(residual).sum(axis=1)
        factors = np.square(residual).sum(axis=1) / np.maximum(norms, 1e-12)
        code = np.empty((len(vectors), self.bytes_per_token), dtype=np.uint8)
        code[:, :-FACTOR_BYTES] = np.packbits(residual > 0, axis=1)
        code[:, -FACTOR_BYTES:] = factors.astype("<f2")[:, None].view(np.uint8)
        return code.tobytes()

    def decode(self, code: bytes) -> Vector:
        """Estimates of the rotated token vectors, [tokens, dimensions], each of length 1.

        A code of zeros is not of a vector: it gives the centre.
        """
        rows = np.frombuffer(code, dtype=np.uint8).reshape(-1, self.bytes_per_token)
        bits = np.unpackbits(rows[:, :-FACTOR_BYTES], axis=1)
        factors = SHRINKING * rows[:, -FACTOR_BYTES:].copy().view("<f2").astype(np.float32)
        signs = bits.astype(np.float32)
        signs *= 2 * factors
        signs -= factors
        signs += self._centre
        lengths = np.sqrt(np.einsum("ij,ij->i", signs, signs))
        signs /= np.maximum(lengths, np.float32(1e-12))[:, None]
        return signs


@lru_cache(maxsize=4)
def _rotation(dimensions: int) -> Vector:
    """A random orthogonal matrix, the same in every process and version."""
    # RandomState's stream is frozen by numpy's compatibility policy; default_rng's is not.
    gaussian = np.random.RandomState(_SEED).standard_normal((dimensions, dimensions))
    orthogonal, triangular = np.linalg.qr(gaussian)
    return np.asarray(orthogonal * np.sign(np.diag(triangular)), dtype=np.float32)
