"""A question of an evaluation asked once more, so that every stage can be looked at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from rag.errors import LibraryError
from rag.evaluation.asking import query_of
from rag.evaluation.golden_sets import GoldenQuestion, GoldenSet
from rag.evaluation.indexing import library_settings, units_of
from rag.evaluation.pipelines import PipelineSpec
from rag.opening import open_pipeline
from rag.pipeline import Pipeline
from rag.settings import IndexSettings, Settings
from rag.types import Notice, Trace

Opened = Callable[[Settings, IndexSettings], Pipeline]


def trace_of(
    question: GoldenQuestion,
    spec: PipelineSpec,
    golden: GoldenSet,
    settings: Settings,
    opened: Opened = open_pipeline,
) -> tuple[Trace, str | None]:
    """What every stage does with a question, and the chunk id of the best gold, if it is found.

    Recall is always both arms; what one of them found is in its own column. Raises LibraryError
    where the golden set is not indexed as it is now, and what `open_pipeline` raises.
    """
    there = library_settings(golden, settings)
    if not there.home.is_dir():
        raise LibraryError(
            f"{golden.name} is not indexed as it is now: its documents or the settings of the "
            "index have changed.",
            "Evaluate again, then open the question.",
        )
    query = query_of(spec, settings.query)
    if spec.rerank_depth:
        query = query.model_copy(update={"rerank_depth": spec.rerank_depth})
    plain = query.model_copy(update={"reranker": "none", "answerer": "quotes"})
    base = opened(there.model_copy(update={"query": plain}), there.index)
    trace = base.with_query(query.model_copy(update={"answerer": "quotes"})).search(question.text)
    chunk = best_gold(trace, question, golden)
    if there.home == settings.home:
        return trace, chunk
    notice = Notice(
        f"Asked of the documents of the golden set “{golden.name}”, not of your library.",
        "Parts that need a library look into yours.",
    )
    return replace(trace, notices=(*trace.notices, notice)), chunk


def best_gold(trace: Trace, question: GoldenQuestion, golden: GoldenSet) -> str | None:
    """The chunk id of the first candidate that answers the question."""
    units = units_of(golden)
    found = (
        candidate.chunk.id
        for candidate in trace.candidates
        if any(unit in question.gold for unit in units.of(candidate, question))
    )
    return next(found, None)
