"""What a score is worth in this library: how many unrelated pairs score below it.

Raw scores have no scale that a reader knows: .83 can be chance for one model and certain for
another. So questions that the library itself suggests are scored once against passages of other
documents, and a score is shown by the share of these pairs below it.
"""

from __future__ import annotations

import json
import math
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Literal, Protocol

import numpy as np

from rag.errors import BackendError
from rag.late_interaction import Span
from rag.models import Embedder, Reranker
from rag.types import Chunk, LibraryState, Passage, Question, StoredVectors, Vector
from rag.unrelated import unrelated_pairs

Stage = Literal["dense", "lexical", "rerank"]

SAMPLE = 48
BANDS = ((0.999, "strong"), (0.99, "clear"), (0.9, "weak"), (0.0, "like chance"))

_VERSION = 1
_STEPS = 100_000
# Full text is asked for this many passages at most; one behind them counts as not found.
_LEXICAL_DEPTH = 4096


@dataclass(frozen=True, slots=True)
class Baseline:
    """Scores of unrelated question-passage pairs, lowest first.

    `dense` and `lexical` have `pairs` scores, `rerank` as many or none without a reranker.
    `chunks` is the size of the library when it was drawn, `reranker` the name of the reranker.
    """

    pairs: int
    chunks: int
    reranker: str
    dense: tuple[float, ...]
    lexical: tuple[float, ...]
    rerank: tuple[float, ...]

    def share_below(self, stage: Stage, score: float) -> float | None:
        """The share of unrelated pairs that score less, 0..1; None without scores of the stage.

        1 means above every pair of the sample and not above every pair there could be, so
        `in_words` names their number.
        """
        scores = self._scores(stage)
        return bisect_left(scores, score) / len(scores) if scores else None

    def in_words(self, stage: Stage, score: float) -> str:
        """Where the score lies: `above all 1,024 unrelated pairs`; empty without scores."""
        scores = self._scores(stage)
        below = bisect_left(scores, score)
        if not scores:
            return ""
        if below == len(scores):
            return f"above all {len(scores):,} unrelated pairs"
        # Rounded down, because 100 % would claim what one pair denies.
        share = math.floor(1000 * below / len(scores)) / 10
        return f"above {share:.1f} % of {len(scores):,} unrelated pairs"

    def _scores(self, stage: Stage) -> tuple[float, ...]:
        return {"dense": self.dense, "lexical": self.lexical, "rerank": self.rerank}[stage]


class Sampled(Protocol):
    """What a baseline needs of the store."""

    def state(self) -> LibraryState:
        """What the library holds now."""
        ...

    def sample(self, count: int, seed: int) -> list[Chunk]:
        """That many chunks drawn at random, or all where there are fewer."""
        ...

    def search_lexical(self, text: str, depth: int) -> list[tuple[Chunk, float]]:
        """Chunks by BM25, best first."""
        ...

    def vectors(self, chunk_ids: Sequence[str]) -> dict[str, StoredVectors]:
        """Dense vector and codes of chunks, by chunk id."""
        ...

    def names(self, ids: set[str]) -> dict[str, str]:
        """Names of documents, by document id."""
        ...


def band(share: float) -> str:
    """One plain word for a share, the same for every stage and library."""
    return next(word for least, word in BANDS if share >= least)


def outdated(baseline: Baseline, chunks: int, reranker: str) -> bool:
    """Whether to draw anew: another reranker, or a library that grew or shrank by over a half."""
    changed = abs(chunks - baseline.chunks) > baseline.chunks / 2
    return changed or reranker != baseline.reranker


def draw_baseline(
    library: Sampled,
    embedder: Embedder,
    turned: Callable[[Question], Question],
    decode: Callable[[bytes], Vector],
    reranker: Reranker | None,
    sentences: Callable[[str], list[Span]],
    seed: int = 0,
    sample: int = SAMPLE,
) -> Baseline | None:
    """The scores of unrelated pairs, or None where the library is too small to have any.

    A sentence of each of `sample` chunks stands for a question, see `unrelated_pairs`.
    `turned` and `decode` are the codec's. The same library and seed give the same baseline.
    Raises LibraryError, and BackendError where a model fails or a score is no number.
    """
    state = library.state()
    drawn = sorted(library.sample(sample, seed), key=lambda chunk: chunk.id)
    vectors = library.vectors([chunk.id for chunk in drawn])
    names = library.names({chunk.document_id for chunk in drawn})
    chunks = [chunk for chunk in drawn if chunk.id in vectors and chunk.document_id in names]
    pairs = unrelated_pairs(
        chunks, {chunk.id: vectors[chunk.id].dense for chunk in chunks}, sentences, seed
    )
    if not pairs:
        return None
    dense: list[float] = []
    lexical: list[float] = []
    judged: list[float] = []
    codes = {chunk.id: vectors[chunk.id].token_codes for chunk in chunks}
    tokens = {chunk_id: decode(code) if code else None for chunk_id, code in codes.items()}
    depth = min(state.chunks, _LEXICAL_DEPTH)
    for text, others in pairs:
        question = turned(embedder.encode_question(text))
        found = {chunk.id: score for chunk, score in library.search_lexical(text, depth)}
        passages = [
            Passage(
                chunk=chunk,
                document=names[chunk.document_id],
                dense=float(np.dot(question.dense, vectors[chunk.id].dense)),
                lexical=found.get(chunk.id, 0.0),
                tokens=tokens[chunk.id],
            )
            for chunk in others
        ]
        dense += [passage.dense for passage in passages]
        lexical += [passage.lexical for passage in passages]
        judged += [] if reranker is None else _judged(reranker, question, passages)
    return Baseline(
        pairs=len(dense),
        chunks=state.chunks,
        reranker="none" if reranker is None else reranker.name,
        dense=_sorted(dense),
        lexical=_sorted(lexical),
        rerank=_sorted(judged),
    )


def dumps(baseline: Baseline) -> bytes:
    """The baseline as JSON; scores are kept as differences, which are short."""
    return json.dumps(
        {
            "version": _VERSION,
            "chunks": baseline.chunks,
            "reranker": baseline.reranker,
            "dense": _differences(baseline.dense),
            "lexical": _differences(baseline.lexical),
            "rerank": _differences(baseline.rerank),
        },
        separators=(",", ":"),
    ).encode()


def loads(content: bytes) -> Baseline | None:
    """The baseline that `dumps` wrote; None for another version and for anything else."""
    try:
        kept = json.loads(content)
        if kept["version"] != _VERSION:
            return None
        dense = _summed(kept["dense"])
        return Baseline(
            pairs=len(dense),
            chunks=int(kept["chunks"]),
            reranker=str(kept["reranker"]),
            dense=dense,
            lexical=_summed(kept["lexical"]),
            rerank=_summed(kept["rerank"]),
        )
    except (ValueError, KeyError, TypeError):
        return None


def _judged(reranker: Reranker, question: Question, passages: Sequence[Passage]) -> Sequence[float]:
    scores = reranker.score(question, passages)
    if len(scores) != len(passages) or not all(map(math.isfinite, scores)):
        raise BackendError(f"{reranker.name} did not give every passage a score.")
    return scores


def _sorted(scores: Iterable[float]) -> tuple[float, ...]:
    return tuple(sorted(round(score * _STEPS) / _STEPS for score in scores))


def _differences(scores: Sequence[float]) -> list[int]:
    steps = [round(score * _STEPS) for score in scores]
    return [after - before for before, after in pairwise([0, *steps])]


def _summed(differences: Sequence[int]) -> tuple[float, ...]:
    return tuple(step / _STEPS for step in accumulate(differences))
