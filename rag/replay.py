"""What if: the stored candidates of a trace under other settings, and what that changes. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from pydantic import ValidationError

from rag.errors import SettingsError
from rag.retrieval import fuse, relevant
from rag.settings import QuerySettings
from rag.types import Candidate, Chunk, Score, Trace

Change = Literal["entered", "left", "up", "down", "same"]


@dataclass(frozen=True, slots=True)
class Replayed:
    """A trace under other settings.

    `unjudged` are the ids of the chunks that the reranker would have read and never did, in fused
    order: what it would have made of them is unknown.
    """

    trace: Trace
    unjudged: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Difference:
    """What became of one passage from one trace to another.

    `candidate` is that of the trace after; where it is not among those, of the trace before.
    `before` and `after` are its final ranks; None where it is not among the candidates.
    `in_prompt` says whether it is in the prompt of either trace. `change` is "entered" or "left"
    where it is in the prompt of one of them only, else it is about its rank: one that is newly
    among the candidates goes up, one that no longer is goes down.
    """

    chunk_id: str
    candidate: Candidate
    before: int | None
    after: int | None
    change: Change
    in_prompt: bool


def query_settings(trace: Trace) -> QuerySettings:
    """The query settings that made the trace. Raises SettingsError where they are not valid now."""
    stored = {
        name: value for name, value in trace.settings.items() if name in QuerySettings.model_fields
    }
    try:
        return QuerySettings.model_validate(stored)
    except ValidationError:
        raise SettingsError(
            "This question was asked with settings that no longer exist.", "Ask it again."
        ) from None


def replay(trace: Trace, settings: QuerySettings) -> Replayed:
    """The stored candidates as these settings would have ordered them, without another query.

    Each recall arm is cut to `recall_depth`; a deeper one than was stored finds nothing new. Scores
    of dense recall, full text and reranker stay as they are. Those that the reranker would have
    read and never did follow those that it judged, in fused order and without a score.
    """
    stored = {candidate.chunk.id: candidate for candidate in trace.candidates}
    depth = settings.recall_depth
    dense = _within({name: one.dense for name, one in stored.items()}, depth)
    lexical = _within({name: one.lexical for name, one in stored.items()}, depth)
    fused = fuse([dense, lexical], settings.fusion_constant)
    order = list(fused)
    read = settings.rerank_depth if settings.reranker != "none" else 0
    reranked = _reranked([stored[name] for name in order[:read]])
    unjudged = tuple(name for name in order[:read] if name not in reranked)
    candidates = tuple(
        replace(
            stored[name],
            rank=rank,
            dense=dense.get(name),
            lexical=lexical.get(name),
            fused=fused[name],
            rerank=reranked.get(name),
        )
        for rank, name in enumerate([*reranked, *unjudged, *order[read:]], start=1)
    )
    after = replace(
        trace,
        settings={**trace.settings, **settings.model_dump()},
        candidates=candidates,
        relevant=relevant(candidates, settings.relevance, trace.calibrated),
    )
    return Replayed(after, unjudged)


def differences(before: Trace, after: Trace, everything: bool = False) -> tuple[Difference, ...]:
    """What entered and left the prompt and what moved in it; with `everything`, all candidates.

    First the prompt after in its order, then what left it, then all others in the order after and
    at last those that are candidates no more. A passage is the same where it is the same piece of
    the same document, so that indexes that cut differently can be compared.
    """
    old = {_piece(candidate.chunk): candidate for candidate in before.candidates}
    new = {_piece(candidate.chunk): candidate for candidate in after.candidates}
    old_prompt = [_piece(candidate.chunk) for candidate in before.prompt]
    new_prompt = [_piece(candidate.chunk) for candidate in after.prompt]
    pieces = dict.fromkeys([*new_prompt, *old_prompt, *([*new, *old] if everything else [])])
    was, now = set(old_prompt), set(new_prompt)
    return tuple(
        _difference(old.get(piece), new.get(piece), piece in was, piece in now) for piece in pieces
    )


def summary(changes: Sequence[Difference]) -> str:
    """One sentence on what the differences mean for the prompt."""
    counts = [
        (sum(one.in_prompt and one.change in kinds for one in changes), verb, where)
        for kinds, verb, where in (
            ({"entered"}, "enter", "the prompt"),
            ({"left"}, "leave", "the prompt"),
            ({"up", "down"}, "move", "within the prompt"),
        )
    ]
    told = [(count, verb if count > 1 else f"{verb}s", where) for count, verb, where in counts]
    parts = [f"{count} {verb}" for count, verb, _ in told if count]
    if not parts:
        return "The prompt stays as it is."
    count, verb, where = next(one for one in told if one[0])
    parts[0] = f"{count} {'passages' if count > 1 else 'passage'} {verb} {where}"
    return ", ".join(parts) + "."


def _within(arm: Mapping[str, Score | None], depth: int) -> dict[str, Score]:
    """What one recall arm finds of these candidates at this depth."""
    return {name: score for name, score in arm.items() if score and score.rank <= depth}


def _reranked(candidates: Sequence[Candidate]) -> dict[str, Score]:
    """The stored rerank scores of these candidates, best first and their ranks counted anew."""
    scores = {one.chunk.id: one.rerank.score for one in candidates if one.rerank}
    # Sorting keeps the fused order of equal scores, as reranking does.
    order = sorted(scores, key=lambda name: -scores[name])
    return {name: Score(scores[name], rank) for rank, name in enumerate(order, start=1)}


def _piece(chunk: Chunk) -> tuple[str, int, int, int]:
    return chunk.document_id, chunk.page, chunk.start, chunk.end


def _difference(old: Candidate | None, new: Candidate | None, was: bool, now: bool) -> Difference:
    candidate = new or old
    assert candidate is not None
    before, after = old.rank if old else None, new.rank if new else None
    return Difference(
        chunk_id=candidate.chunk.id,
        candidate=candidate,
        before=before,
        after=after,
        change=_change(before, after, was, now),
        in_prompt=was or now,
    )


def _change(before: int | None, after: int | None, was: bool, now: bool) -> Change:
    if was != now:
        return "entered" if now else "left"
    if before == after:
        return "same"
    if after is None:
        return "down"
    return "up" if before is None or after < before else "down"
