"""The stage that lost a passage, told from the record of a question alone. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_FLOOR, Decimal
from typing import Literal

from rag.replay import query_settings
from rag.settings import QuerySettings
from rag.types import Answer, Candidate, Record, Trace

Stage = Literal[
    "not in the library",
    "not extracted",
    "not indexed",
    "another index",
    "added later",
    "split",
    "not recalled",
    "not reranked",
    "below the threshold",
    "reranked too low",
    "fused too low",
    "not cited",
    "in the prompt",
    "cited",
]
# The further down, the further a passage came.
_WAY: tuple[Stage, ...] = (
    "not reranked",
    "below the threshold",
    "reranked too low",
    "fused too low",
    "not cited",
    "in the prompt",
    "cited",
)
OWN_WORDS = "Ask with words that stand in the passage."


@dataclass(frozen=True, slots=True)
class Fate:
    """Where a passage was lost, in one sentence with its figures, and what would have kept it."""

    stage: Stage
    message: str
    hint: str = ""


def largest(setting: str) -> int:
    """The largest value a query setting may have."""
    bounds = QuerySettings.model_fields[setting].metadata
    return int(next(bound.le for bound in bounds if hasattr(bound, "le")))


def best_fate(record: Record, candidates: Sequence[Candidate]) -> tuple[Candidate, Fate]:
    """The candidate that came furthest, the better ranked of equals, and its fate."""
    fates = [(candidate, fate(record, candidate)) for candidate in candidates]
    return min(fates, key=lambda pair: (-_WAY.index(pair[1].stage), pair[0].rank))


def fate(record: Record, candidate: Candidate) -> Fate:
    """What became of a candidate of the record. Raises SettingsError for a trace too old."""
    trace, query = record.trace, query_settings(record.trace)
    if candidate.chunk.id in {prompted.chunk.id for prompted in trace.prompt}:
        return _in_prompt(record, candidate)
    if candidate.rerank is not None:
        return _reranked(candidate, candidate.rerank.score, query)
    if any(other.rerank for other in trace.candidates):
        return _not_reranked(candidate, query)
    return _in_recall_order(candidate, trace, query)


def _in_prompt(record: Record, candidate: Candidate) -> Fate:
    answer = record.answer
    passages = answer.passages if answer else record.trace.prompt
    ids = [passage.chunk.id for passage in passages]
    if candidate.chunk.id not in ids:
        return Fate(
            "not cited",
            "Its document was removed while the question was answered.",
            "Add the document and ask again.",
        )
    number = ids.index(candidate.chunk.id) + 1
    if answer is None:
        return Fate(
            "in the prompt",
            f"It is [{number}] in the prompt, and no answer was written.",
            "Ask for an answer to see whether it is cited.",
        )
    cited = {citation.number for citation in answer.citations}
    if number in cited:
        return Fate("cited", f"The answer cites it as [{number}].")
    return _not_cited(answer, number, sorted(cited))


def _not_cited(answer: Answer, number: int, cited: Sequence[int]) -> Fate:
    message = f"It was [{number}] in the prompt, and the answer cites {_numbers(cited)}."
    if answer.problem is not None:
        return Fate("not cited", f"{message} {answer.problem.message}", answer.problem.hint)
    if any(statement.better == number for statement in answer.statements):
        return Fate(
            "not cited",
            f"{message} It supports one of the sentences better than what is cited there.",
            "Read the answer with care: the model cited the wrong passage.",
        )
    if answer.kind == "quoted":
        return Fate(
            "not cited",
            message,
            "An answer of quotes takes the best one or two sentences only: configure a language "
            "model, or ask with words that stand in the passage.",
        )
    return Fate("not cited", message, f"Retrieval did its part. {OWN_WORDS}")


def _numbers(cited: Sequence[int]) -> str:
    named = [f"[{number}]" for number in cited]
    return " and ".join([", ".join(named[:-1]), named[-1]] if len(named) > 1 else named) or "none"


def _reranked(candidate: Candidate, score: float, query: QuerySettings) -> Fate:
    needed = []
    if score < query.relevance:
        needed.append(f"relevance to {rounded_down(score)} or lower")
    if candidate.rank > query.passages:
        needed.append(f"passages to at least {candidate.rank}")
    hint = f"Set {' and '.join(needed)}."
    if candidate.rank > largest("passages"):
        hint = f"A prompt takes at most {largest('passages')} passages. {OWN_WORDS}"
    if score < query.relevance:
        return Fate(
            "below the threshold",
            f"The reranker gave it {_shown(score)} at rank {candidate.rank}, and relevance asks "
            f"for {query.relevance:g}.",
            hint,
        )
    return Fate(
        "reranked too low",
        f"The reranker gave it {_shown(score)} at rank {candidate.rank}, and the prompt takes "
        f"{query.passages}.",
        hint,
    )


def _shown(score: float) -> str:
    return f"{score:.2f}" if score >= 0.1 else f"{score:.2g}"


def rounded_down(score: float) -> str:
    """A short number that is not above the score: two decimals, more for one below .01."""
    exact = Decimal(repr(score))
    digits = max(2, -exact.adjusted()) if exact else 0
    return f"{exact.quantize(Decimal(1).scaleb(-digits), ROUND_FLOOR).normalize():f}"


def _not_reranked(candidate: Candidate, query: QuerySettings) -> Fate:
    rank = candidate.fused.rank if candidate.fused else candidate.rank
    return Fate(
        "not reranked",
        f"Fusion put it at rank {rank:,}, and the reranker reads {query.rerank_depth:,}.",
        f"Set rerank_depth to at least {rank}: it would then have reached the reranker."
        if rank <= largest("rerank_depth")
        else f"The reranker reads at most {largest('rerank_depth'):,}. {OWN_WORDS}",
    )


def _in_recall_order(candidate: Candidate, trace: Trace, query: QuerySettings) -> Fate:
    """The fate of a candidate where none was reranked."""
    off = query.reranker == "none" or trace.models.get("reranker") == "none"
    reason, remedy = "the reranker failed", "Ask again; then the reranker may lift it."
    if off:
        reason = "there was no reranker"
        remedy = "Set reranker to late-interaction: it may lift the passage."
    elif not query.rerank_depth:
        reason = "the reranker reads none"
        remedy = f"Set rerank_depth to at least {candidate.rank}: it would then have reached the "
        remedy += "reranker."
    kept = f"Set passages to at least {candidate.rank}."
    return Fate(
        "fused too low",
        f"Fusion put it at rank {candidate.rank:,}, {reason}, and the prompt takes "
        f"{query.passages}.",
        kept if candidate.rank <= largest("passages") else remedy,
    )
