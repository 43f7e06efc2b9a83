"""Recall, fuse, rerank: a question in, candidates with every stage's score and rank out."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np

from rag import sparse_weights
from rag.deadline import Deadline
from rag.errors import BackendError, RAGError
from rag.languages import across
from rag.models import Reranker
from rag.same_words import shared_part
from rag.settings import QuerySettings
from rag.stopwatch import Stopwatch
from rag.types import Candidate, Chunk, Notice, Passage, Question, Score, StoredVectors, Vector


class Recall(Protocol):
    """What retrieval needs of the store."""

    def search_dense(self, vector: Vector, depth: int) -> list[tuple[Chunk, float]]:
        """Chunks by cosine similarity, best first."""
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


def recall(
    store: Recall, question: Question, settings: QuerySettings, stopwatch: Stopwatch
) -> list[Candidate]:
    """Both recall arms, fused: every chunk that one of them found, in fused order."""
    with stopwatch.stage("dense"):
        dense = store.search_dense(question.dense, settings.recall_depth)
    with stopwatch.stage("lexical"):
        lexical = store.search_lexical(question.text, settings.recall_depth)
    with stopwatch.stage("fuse"):
        chunks = {chunk.id: chunk for chunk, _ in [*dense, *lexical]}
        names = store.names({chunk.document_id for chunk in chunks.values()})
        dense_scores, lexical_scores = ranked(dense), weighted(question.text, lexical)
        fused = fuse([dense_scores, lexical_scores], settings.fusion_constant)
        return [
            Candidate(
                rank=score.rank,
                chunk=chunks[chunk_id],
                document=names[chunks[chunk_id].document_id],
                dense=dense_scores.get(chunk_id),
                lexical=lexical_scores.get(chunk_id),
                fused=score,
            )
            for chunk_id, score in fused.items()
            # A document without a name is just being removed.
            if chunks[chunk_id].document_id in names
        ]


def ranked(results: Sequence[tuple[Chunk, float]]) -> dict[str, Score]:
    """Scores and ranks of one arm's results by chunk id."""
    return {chunk.id: Score(score, rank) for rank, (chunk, score) in enumerate(results, start=1)}


def weighted(question: str, results: Sequence[tuple[Chunk, float]]) -> dict[str, Score]:
    """Scores and ranks of full text by chunk id, with what each rank counts for in fusion.

    A hit is often first only because a name or number is the same in both languages. So where even
    the best one is in another language than the question, every hit across languages counts for the
    part of the question's words that it has. A shallower search gives the same weights.
    """
    scores = ranked(results)
    if not results or not across(question, results[0][0].text):
        return scores
    for chunk, _ in results:
        if across(question, chunk.text):
            weight = shared_part(question, chunk.text)
            scores[chunk.id] = replace(scores[chunk.id], weight=weight)
    return scores


def fuse(arms: Sequence[Mapping[str, Score]], constant: int) -> dict[str, Score]:
    """Reciprocal rank fusion, best first: the sum over the arms of weight / (constant + rank).

    Equal sums are ordered by the best single rank, then by id.
    Source: Cormack, Clarke and Buettcher 2009.
    """
    sums: dict[str, float] = {}
    best: dict[str, int] = {}
    for arm in arms:
        for chunk_id, score in arm.items():
            sums[chunk_id] = sums.get(chunk_id, 0.0) + score.weight / (constant + score.rank)
            best[chunk_id] = min(best.get(chunk_id, score.rank), score.rank)
    order = sorted(sums, key=lambda chunk_id: (-sums[chunk_id], best[chunk_id], chunk_id))
    return {chunk_id: Score(sums[chunk_id], rank) for rank, chunk_id in enumerate(order, start=1)}


def passages(
    store: Recall,
    candidates: Sequence[Candidate],
    question: Question,
    decode: Callable[[bytes], Vector],
) -> list[Passage]:
    """The candidates with the evidence that the index keeps of them, in the same order.

    A candidate that only full text found gets its cosine from its stored vector. One whose document
    was removed since recall is left out.
    """
    vectors = store.vectors([candidate.chunk.id for candidate in candidates])
    sparse = _sparse_scores(question, vectors)
    return [
        Passage(
            chunk=candidate.chunk,
            document=candidate.document,
            dense=float(np.dot(question.dense, kept.dense)),
            lexical=candidate.lexical.score if candidate.lexical else 0.0,
            tokens=decode(kept.token_codes) if kept.token_codes else None,
            sparse=sparse.get(candidate.chunk.id),
        )
        for candidate in candidates
        if (kept := vectors.get(candidate.chunk.id)) is not None
    ]


def _sparse_scores(question: Question, vectors: Mapping[str, StoredVectors]) -> dict[str, float]:
    """How well sparse weights match the question's, by chunk id; without chunks that have none."""
    if question.sparse is None:
        return {}
    coded = {chunk_id: kept for chunk_id, kept in vectors.items() if kept.sparse_codes}
    passages = [sparse_weights.decode(kept.sparse_codes) for kept in coded.values()]
    scores = sparse_weights.dot_products(question.sparse, passages)
    return dict(zip(coded, map(float, scores), strict=True))


def remaining(
    candidates: Sequence[Candidate], depth: int, evidence: Sequence[Passage]
) -> list[Candidate]:
    """The candidates, of the first `depth` only those with evidence, their places counted anew."""
    found = {passage.chunk.id for passage in evidence}
    kept = [candidate for candidate in candidates[:depth] if candidate.chunk.id in found]
    return renumbered([*kept, *candidates[depth:]])


def renumbered(candidates: Sequence[Candidate]) -> list[Candidate]:
    """The candidates with their place in this order as their rank."""
    return [replace(candidate, rank=rank) for rank, candidate in enumerate(candidates, start=1)]


def rerank(
    reranker: Reranker,
    question: Question,
    candidates: Sequence[Candidate],
    evidence: Sequence[Passage],
    seconds: float = 5.0,
    deadline: Deadline | None = None,
) -> tuple[list[Candidate], Notice | None]:
    """The candidates in the reranker's order; those beyond `evidence` follow in fused order.

    `evidence` belongs to the first candidates, one to one.
    Where the reranker fails, takes more than `seconds` or returns scores that cannot be true,
    recall order stays and the notice says so: two scales are never mixed.
    """
    try:
        scores = (deadline or Deadline()).call(
            lambda: checked(reranker.score(question, evidence), len(evidence)), seconds
        )
    except RAGError as error:
        return list(candidates), _unranked(error.message, error.hint)
    except TimeoutError:
        return list(candidates), _unranked(
            f"It did not answer within {seconds:g} s.",
            "Lower rerank_depth, set a latency budget, or choose a faster reranker.",
        )
    except Exception as error:
        return list(candidates), _unranked(f"{type(error).__name__}: {error}.")
    judged = sorted(
        zip(candidates, scores, strict=False), key=lambda pair: (-pair[1], pair[0].rank)
    )
    order = [
        replace(candidate, rerank=Score(score, rank))
        for rank, (candidate, score) in enumerate(judged, start=1)
    ]
    order += candidates[len(evidence) :]
    return renumbered(order), None


def checked(scores: Sequence[float], expected: int) -> list[float]:
    """The scores, if they are `expected` many and all within 0..1; BackendError otherwise."""
    if len(scores) != expected:
        raise BackendError(f"The reranker returned {len(scores)} scores for {expected} passages.")
    for score in scores:
        if not math.isfinite(score) or not 0.0 <= score <= 1.0:
            raise BackendError(f"The reranker returned {score} where a probability was due.")
    return [float(score) for score in scores]


def relevant(candidates: Sequence[Candidate], threshold: float, calibrated: bool) -> int:
    """How many candidates, counted from the best, reach the threshold.

    Without scores of a reranker, or with scores that mean an order only, nothing can be told
    irrelevant, and all count.
    """
    if not calibrated or not any(candidate.rerank for candidate in candidates):
        return len(candidates)
    return sum(
        candidate.rerank is not None and candidate.rerank.score >= threshold
        for candidate in candidates
    )


def _unranked(message: str, hint: str = "") -> Notice:
    return Notice(
        f"The reranker failed, so the sources are in recall order. {message}",
        hint or "Ask again, or choose another reranker in the settings.",
    )
