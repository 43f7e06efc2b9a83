"""One question through several pipelines, what they have in common done once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from rag.errors import RAGError
from rag.evaluation.golden_sets import GoldenQuestion
from rag.evaluation.indexing import Units
from rag.evaluation.pipelines import PipelineSpec, RecallKind
from rag.metering import Meter
from rag.pipeline import Pipeline
from rag.retrieval import passages, recall, remaining, renumbered, rerank
from rag.settings import QuerySettings
from rag.stopwatch import Stopwatch
from rag.types import Candidate, Passage, Usage

# Which of the shared stages each recall needs.
_STAGES: Mapping[RecallKind, tuple[str, ...]] = {
    "dense": ("dense",),
    "lexical": ("lexical",),
    "fused": ("dense", "lexical", "fuse"),
}


@dataclass(frozen=True, slots=True)
class Ranking:
    """What one pipeline made of one question.

    `units` are best first, none twice. `scores` are what the pipeline's last stage gave each, in
    the stage's own unit; None where that stage did not see it.
    `problem` says why the reranker failed, which leaves the order of recall; empty where it did
    not.
    `usage` is what was asked of services, without its cost.
    """

    question: str
    units: tuple[str, ...]
    scores: tuple[float | None, ...]
    seconds: Mapping[str, float]
    problem: str = ""
    usage: tuple[Usage, ...] = ()


@dataclass(frozen=True, slots=True)
class Contender:
    """A pipeline specification together with the pipeline that its settings make."""

    spec: PipelineSpec
    pipeline: Pipeline


def ready(
    specs: Sequence[PipelineSpec], pipeline: Pipeline, query: QuerySettings
) -> Iterator[Contender | RAGError]:
    """Each specification with its models loaded, or why that cannot be done, in order.

    `pipeline` has no reranker, and `query` says what else rerankers need. One that several
    specifications name is loaded once.
    """
    loaded: dict[str, Pipeline | RAGError] = {}
    for spec in specs:
        if spec.reranker not in loaded:
            try:
                loaded[spec.reranker] = pipeline.with_query(query_of(spec, query))
            except RAGError as error:
                loaded[spec.reranker] = error
        found = loaded[spec.reranker]
        yield found if isinstance(found, RAGError) else Contender(spec, found)


def query_of(spec: PipelineSpec, query: QuerySettings) -> QuerySettings:
    """The settings of a specification; a model that is named belongs to the settings' reranker."""
    change: dict[str, object] = {"reranker": spec.reranker}
    if spec.reranker != query.reranker:
        change |= {"reranker_model": "", "remote_code": ""}
    return query.model_copy(update=change)


class Asked:
    """A question that was recalled, ready to be ranked by any number of pipelines."""

    def __init__(self, question: GoldenQuestion, pipeline: Pipeline, units: Units) -> None:
        self._golden = question
        self._pipeline = pipeline
        self._units = units
        stopwatch, meter = Stopwatch(), Meter()
        with stopwatch.stage("encode"), meter.stage("encode"):
            self._question = pipeline.encode(question.text)
        self._recalled = recall(pipeline.store, self._question, pipeline.settings.query, stopwatch)
        self._seconds = stopwatch.seconds
        self._usage = meter.usage
        self._evidence: dict[tuple[RecallKind, bool, int], _Evidence] = {}

    def ranked(self, contender: Contender) -> Ranking:
        """The units in the order of one pipeline."""
        spec, pipeline = contender.spec, contender.pipeline
        shared = (*(("encode",) if spec.uses_embeddings else ()), *_STAGES[spec.recall])
        seconds = {stage: self._seconds[stage] for stage in shared}
        usage = self._usage if spec.uses_embeddings else ()
        if pipeline.reranker is None:
            return self._ranking(self._view(spec.recall), spec, seconds, usage)
        at_hand = self._evidence_for(spec)
        stopwatch, meter = Stopwatch(), Meter()
        with stopwatch.stage("rerank"), meter.stage("rerank"):
            candidates, notice = rerank(
                pipeline.reranker,
                self._question,
                at_hand.candidates,
                at_hand.passages,
                pipeline.settings.query.rerank_seconds,
                pipeline.deadline,
            )
        seconds |= {"evidence": at_hand.seconds, **stopwatch.seconds}
        usage += meter.usage
        return self._ranking(candidates, spec, seconds, usage, str(notice or ""))

    def _view(self, kind: RecallKind) -> list[Candidate]:
        """The candidates as one recall alone would have given them."""
        if kind == "fused":
            return self._recalled
        if kind == "dense":
            found = [replace(one, lexical=None, fused=None) for one in self._recalled if one.dense]
        else:
            found = [replace(one, dense=None, fused=None) for one in self._recalled if one.lexical]
        return renumbered(sorted(found, key=lambda candidate: getattr(candidate, kind).rank))

    def _evidence_for(self, spec: PipelineSpec) -> _Evidence:
        key = spec.recall, spec.whole, spec.rerank_depth
        if key not in self._evidence:
            candidates = self._view(spec.recall)
            if spec.whole:
                candidates = self._with_the_rest(candidates, spec.rerank_depth)
            stopwatch = Stopwatch()
            with stopwatch.stage("evidence"):
                found = passages(
                    self._pipeline.store,
                    candidates[: spec.rerank_depth],
                    self._question,
                    self._pipeline.codec.decode,
                )
                left = remaining(candidates, spec.rerank_depth, found)
            self._evidence[key] = _Evidence(left, found, stopwatch.seconds["evidence"])
        return self._evidence[key]

    def _with_the_rest(self, candidates: list[Candidate], most: int) -> list[Candidate]:
        """The candidates and behind them all other passages, if the library has at most `most`."""
        store = self._pipeline.store
        if store.state().chunks > most:
            return candidates
        known = {candidate.chunk.id for candidate in candidates}
        rest = [chunk for chunk in store.sample(most, seed=0) if chunk.id not in known]
        names = store.names({chunk.document_id for chunk in rest})
        return renumbered(
            [*candidates, *(Candidate(0, chunk, names[chunk.document_id]) for chunk in rest)]
        )

    def _ranking(
        self,
        candidates: Sequence[Candidate],
        spec: PipelineSpec,
        seconds: Mapping[str, float],
        usage: tuple[Usage, ...],
        problem: str = "",
    ) -> Ranking:
        stage = spec.recall if spec.reranker == "none" or problem else "rerank"
        scores: dict[str, float | None] = {}
        for candidate in candidates:
            score = getattr(candidate, stage)
            for unit in self._units.of(candidate, self._golden):
                scores.setdefault(unit, score and score.score)
        return Ranking(
            self._golden.id, tuple(scores), tuple(scores.values()), seconds, problem, usage
        )


@dataclass(frozen=True, slots=True)
class _Evidence:
    """Candidates, what a reranker reads of the first of them, and the seconds it took to fetch."""

    candidates: list[Candidate]
    passages: list[Passage]
    seconds: float
