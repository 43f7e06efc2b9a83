"""The rank flow: what the columns hold, and which passages reranking brought or cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from rag.rank_flow import COLUMNS, Flow, rank_flow
from rag.types import Answer, Candidate, Chunk, Citation, LibraryState, Score, Trace

PASSAGES = 5


def candidate(rank: int, fused: int, *, reranked: bool = True, text: str = "") -> Candidate:
    """A candidate at `rank` that the fused order had at `fused`; full text saw every second."""
    return Candidate(
        rank=rank,
        chunk=Chunk(f"c{fused}", "d", fused, 1, 0, 10, text or f"Passage {fused}. 第{fused}段。"),
        document="手册.pdf" if fused % 2 else "handbook.pdf",
        dense=Score(1 - fused / 1000, fused),
        lexical=Score(20.0 / fused, fused // 2) if fused % 2 == 0 else None,
        fused=Score(1 / (60 + fused), fused),
        rerank=Score(1 - rank / 1000, rank) if reranked else None,
    )


def trace(
    candidates: Sequence[Candidate], relevant: int | None = None, question: str = "Why? 为什么？"
) -> Trace:
    return Trace(
        question=question,
        profile="local",
        models={"embedder": "e", "reranker": "r", "answerer": "a"},
        settings={"passages": PASSAGES},
        library=LibraryState("f", "c", 2, 100),
        candidates=tuple(candidates),
        relevant=len(candidates) if relevant is None else relevant,
        seconds={"dense": 0.01},
    )


def answered(found: Trace, *numbers: int) -> Answer:
    """A quoted answer that cites the passages with these numbers by their first eight letters."""
    citations = tuple(
        Citation(n, found.prompt[n - 1], (0, 5), found.prompt[n - 1].chunk.text[:8], 0, 8, 0.9)
        for n in numbers
    )
    text = "Because " + "".join(f"[{n}]" for n in numbers) + "."
    return Answer(text, "quoted", citations, found.prompt, found)


def shuffled(count: int) -> list[Candidate]:
    """The last of the fused order comes first and its third last; the rest keep their order."""
    order = [count, 1, 2, *range(4, count), 3]
    return [candidate(rank, fused) for rank, fused in enumerate(order, start=1)]


def fates(flow: Flow) -> dict[str, str]:
    return {path.candidate.chunk.id: path.fate for path in flow.paths}


def test_each_column_holds_the_rank_of_its_stage() -> None:
    found = trace(shuffled(60))
    flow = rank_flow(found, answered(found, 2))
    assert flow.columns == COLUMNS
    assert flow.paths[0].ranks == (60, 30, 60, 1, 1, None)
    assert flow.paths[1].ranks == (1, None, 1, 2, 2, 2)
    assert flow.paths[10].ranks[4:] == (None, None)


def test_fates_tell_what_reranking_did() -> None:
    found = trace(shuffled(60))
    told = fates(rank_flow(found, answered(found, 1, 2)))
    assert {name for name, fate in told.items() if fate == "rescued"} == {"c60"}
    assert {name for name, fate in told.items() if fate == "demoted"} == {"c3"}
    assert told["c1"] == "cited"
    assert told["c2"] == "kept"
    assert told["c6"] == "other"


def test_the_best_and_every_moved_passage_are_there_in_final_order() -> None:
    found = trace(shuffled(60))
    flow = rank_flow(found, None, most=10)
    ranks = [path.candidate.rank for path in flow.paths]
    assert ranks == [*range(1, 11), 60]
    assert len(rank_flow(found, None, most=1).paths) == PASSAGES + 1


def test_rescued_and_demoted_balance_when_the_prompt_is_full() -> None:
    told = list(fates(rank_flow(trace(shuffled(30)), None)).values())
    assert told.count("rescued") == told.count("demoted")


def test_below_the_relevance_threshold_the_fused_best_are_demoted() -> None:
    found = trace(shuffled(20), relevant=0)
    told = fates(rank_flow(found, Answer("", "nothing relevant", (), (), found)))
    assert {name for name, fate in told.items() if fate == "demoted"} == {
        f"c{n}" for n in range(1, PASSAGES + 1)
    }
    assert "rescued" not in told.values()


def test_without_a_reranker_its_column_is_empty_and_nothing_moved() -> None:
    found = trace([candidate(n, n, reranked=False) for n in range(1, 21)])
    flow = rank_flow(found, answered(found, 1))
    assert all(path.ranks[3] is None for path in flow.paths)
    assert set(fates(flow).values()) == {"cited", "kept", "other"}


def test_rows_count_the_shown_passages_of_each_column() -> None:
    flow = rank_flow(trace(shuffled(60)), None, most=10)
    for column in zip(*flow.rows, strict=True):
        held = sorted(row for row in column if row is not None)
        assert held == list(range(1, len(held) + 1))
    for path, rows in zip(flow.paths, flow.rows, strict=True):
        assert [rank is None for rank in path.ranks] == [row is None for row in rows]


@pytest.mark.parametrize("most", [1, 40, 1000])
def test_no_candidates_make_an_empty_flow(most: int) -> None:
    flow = rank_flow(trace([]), None, most)
    assert flow.paths == ()
    assert flow.rows == ()


def test_a_search_without_an_answer_has_a_prompt_and_no_citations() -> None:
    flow = rank_flow(trace(shuffled(20)), None)
    assert [path.ranks[4] for path in flow.paths[:PASSAGES]] == [1, 2, 3, 4, 5]
    assert all(path.ranks[5] is None for path in flow.paths)


def test_the_numbers_are_those_of_the_answer() -> None:
    found = trace(shuffled(20))
    answer = replace(answered(found), passages=found.prompt[1:])
    assert rank_flow(found, answer).paths[1].ranks[4] == 1
