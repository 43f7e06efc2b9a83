"""How every candidate travelled from stage to stage, ready to be drawn. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from rag.types import Answer, Candidate, Score, Trace

Fate = Literal["rescued", "demoted", "cited", "kept", "other"]

COLUMNS = ("Dense recall", "Full text", "Fused", "Reranked", "In the prompt", "Cited")
MOST = 40


@dataclass(frozen=True, slots=True)
class Path:
    """A candidate's way through the columns.

    `ranks` has one entry a column; None where the stage did not see the candidate.
    In the last two columns the rank is the number that the passage has in the prompt.
    `fate` is "rescued" for a passage that only reranking brought into the prompt, "demoted" for
    one that only reranking kept out of it, "cited" and "kept" for the others in the prompt.
    """

    candidate: Candidate
    ranks: tuple[int | None, ...]
    fate: Fate


@dataclass(frozen=True, slots=True)
class Flow:
    """The paths of a trace's candidates, in final order.

    `passages` is how many of the first have a place in the prompt.
    """

    columns: tuple[str, ...]
    paths: tuple[Path, ...]
    passages: int

    @property
    def rows(self) -> tuple[tuple[int | None, ...], ...]:
        """For every path its place, from 1, among the paths that each column holds."""
        columns = zip(*(path.ranks for path in self.paths), strict=True)
        return tuple(zip(*map(_places, columns), strict=True))


def rank_flow(trace: Trace, answer: Answer | None, most: int = MOST) -> Flow:
    """The paths of the `most` best candidates and of all that the prompt gained, lost or holds.

    Without scores of a reranker its column is empty and nothing is rescued or demoted.
    """
    prompt = trace.prompt if answer is None else answer.passages
    numbers = {candidate.chunk.id: number for number, candidate in enumerate(prompt, start=1)}
    cited = {citation.number for citation in answer.citations} if answer else set()
    reranked = any(candidate.rerank for candidate in trace.candidates)
    passages = int(trace.settings["passages"])
    paths = []
    for candidate in trace.candidates:
        number = numbers.get(candidate.chunk.id)
        expected = candidate.fused is not None and candidate.fused.rank <= passages
        fate = _fate(number, number in cited, reranked and expected != (number is not None))
        if candidate.rank <= most or number is not None or fate == "demoted":
            ranks = (
                *map(_rank, (candidate.dense, candidate.lexical, candidate.fused)),
                _rank(candidate.rerank),
                number,
                number if number in cited else None,
            )
            paths.append(Path(candidate, ranks, fate))
    return Flow(COLUMNS, tuple(paths), passages)


def _fate(number: int | None, cited: bool, moved: bool) -> Fate:
    if number is None:
        return "demoted" if moved else "other"
    if moved:
        return "rescued"
    return "cited" if cited else "kept"


def _places(ranks: tuple[int | None, ...]) -> list[int | None]:
    order = sorted(rank for rank in ranks if rank is not None)
    return [None if rank is None else order.index(rank) + 1 for rank in ranks]


def _rank(score: Score | None) -> int | None:
    return None if score is None else score.rank
