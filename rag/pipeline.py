"""The one place where the stages meet; `rag.opening` makes one of the settings."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from rag import log, log_events
from rag.allowance import question_text
from rag.answering import Checked, Reply
from rag.baseline import Baseline, draw_baseline, dumps, loads, outdated
from rag.checking import Checker
from rag.chunking import chunk_document
from rag.deadline import Deadline
from rag.documents import read_document, safe_name
from rag.errors import EmptyLibrary, RAGError
from rag.indexing import Indexing
from rag.ingest import Event, File, Ingest
from rag.late_interaction import Span
from rag.metering import Meter, priced
from rag.models import Answerer, Embedder, Reranker
from rag.models.answerers import answerer_identity, chosen_kind
from rag.models.completions import completed
from rag.models.rerankers import reranker_identity
from rag.models.stand_ins import answerer_of, reranker_of
from rag.naming import telling_name
from rag.pace import Depth, Pace
from rag.retrieval import checked, passages, recall, relevant, remaining, rerank
from rag.rewriting import standalone
from rag.sentences import sentences
from rag.settings import QuerySettings, Settings
from rag.stopwatch import Stopwatch
from rag.store import Store
from rag.token_codes import TokenCodec
from rag.types import (
    Candidate,
    Chunk,
    Document,
    IndexProgress,
    Notice,
    Passage,
    Question,
    Trace,
    Turn,
    Vector,
)
from rag.waiting_line import Waiting, WaitingLine, unseen
from rag.words import WordView, sentence_view, word_view

# Rerankers that this machine only waits for.
_SERVICES = frozenset({"api", "llm"})


@dataclass(frozen=True, slots=True)
class Retrieved:
    """A trace with what later stages need and no trace keeps: vectors."""

    question: Question
    trace: Trace
    evidence: dict[str, Passage]


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Question in, answer with its trace out. Holds no conversation: one serves every session."""

    settings: Settings
    store: Store
    embedder: Embedder
    codec: TokenCodec
    reranker: Reranker | None
    answerer: Answerer
    # What was learnt about this reranker, for all sessions.
    pace: Pace = field(default_factory=Pace)
    deadline: Deadline = field(default_factory=Deadline)
    # For what this machine computes; an endpoint is waited for outside of it.
    line: WaitingLine = field(default_factory=WaitingLine)

    def with_query(self, query: QuerySettings) -> Pipeline:
        """The same library and models, asked with other query settings."""
        return self.with_settings(self.settings.model_copy(update={"query": query}))

    def with_settings(self, settings: Settings, *, stand_ins: bool = False) -> Pipeline:
        """The same index under other settings; only models that these change are made again.

        Raises SettingsError, MissingDependency, MissingKey and BackendError; with `stand_ins` a
        reranker or answerer that cannot be made says so in every trace instead.
        """
        here, index = self.settings, self.settings.index
        settings = settings.model_copy(update={"index": index})
        if settings == here:
            return self
        changed: dict[str, Any] = {"settings": settings}
        if reranker_identity(settings) != reranker_identity(here):
            changed |= {"reranker": reranker_of(settings, stand_in=stand_ins)}
            changed |= {"pace": Pace(), "deadline": Deadline()}
        if answerer_identity(settings) != answerer_identity(here):
            changed["answerer"] = answerer_of(settings, self.embedder, stand_in=stand_ins)
        return replace(self, **changed)

    def add(
        self, files: Sequence[File], cancelled: Callable[[], bool] = lambda: False
    ) -> Iterator[Event]:
        """Add files: Progress on the way and one AddResult a file, in order."""
        ingest = Ingest(
            shelf=self.store,
            embedder=self.embedder,
            codec=self.codec,
            read=lambda content, name, report: read_document(
                content, name, self.settings.reading, report
            ),
            chunk=self._chunk,
            name=self._name,
            spare=self.settings.limits.free_disk_bytes,
        )
        named = [replace(file, name=safe_name(file.name)) for file in files]
        return log_events.files(ingest.add(named, cancelled), self.store.document)

    def build_index(self, cancelled: Callable[[], bool] = lambda: False) -> Iterator[IndexProgress]:
        """Bring the index up to date with the library; see `Indexing.build`."""
        indexing = Indexing(self.store, self.embedder, self.codec, self._chunk, self._name)
        return indexing.build(cancelled)

    def search(self, text: str) -> Trace:
        """What every stage thinks of every candidate. Raises EmptyLibrary and LimitReached."""
        return self.retrieve(text).trace

    def ask(self, text: str, history: Sequence[Turn] = (), waiting: Waiting = unseen) -> Reply:
        """An answer in the making, its sources at hand before the first word.

        Where a language model answers, a follow-up question is searched as it rewrote it. Raises
        EmptyLibrary and LimitReached; a failing language model is told in the reply. `waiting` is
        called as long as this waits for others or for a service, see `rag.waiting_line`.
        """
        meter = Meter()
        with log.refusals("question"):
            found = self.retrieve(text, history, waiting)
        evidence = found.evidence
        chosen = tuple(best for best in found.trace.prompt if best.chunk.id in evidence)
        at_hand = [evidence[candidate.chunk.id] for candidate in chosen]
        return Reply(
            trace=found.trace,
            passages=chosen,
            kind=self.answerer.kind if chosen else "nothing relevant",
            # The history that the answer is written with goes with the question as it was typed.
            pieces=meter.over(
                "answer",
                self.answerer.stream(
                    replace(found.question, text=found.trace.question), at_hand, history
                ),
            ),
            check=partial(self._checked, chosen=chosen, evidence=at_hand),
            meter=meter,
            prices=self.settings.prices,
        )

    def retrieve(
        self, text: str, history: Sequence[Turn] = (), waiting: Waiting = unseen
    ) -> Retrieved:
        """A trace together with the vectors behind it. Raises EmptyLibrary and LimitReached."""
        query, stopwatch, meter = self.settings.query, Stopwatch(), Meter()
        text = question_text(text, self.settings.limits)
        library = self.store.state()
        if not library.chunks:
            if library.documents:
                raise EmptyLibrary(
                    "The documents are in no index of these settings yet.",
                    "Build it on the Settings page, or with: rag index build",
                )
            raise EmptyLibrary("The library is empty.", "Add a document first, then ask again.")
        searched = text
        notices: list[Notice] = []
        if history and query.rewrite and self._model_writes:
            with stopwatch.stage("rewrite"), meter.stage("rewrite"):
                searched, notices = self._rewritten(text, history, waiting)
        with self.line.turn(waiting) as place:
            if place.waited:
                stopwatch.seconds["queue"] = place.waited
            with stopwatch.stage("encode"), meter.stage("encode"):
                question = self.encode(searched)
            candidates = recall(self.store, question, query, stopwatch)
            with stopwatch.stage("evidence"):
                read = Depth(0)
                if self.reranker is not None:
                    read = self.pace.depth(
                        min(query.rerank_depth, len(candidates)), query.rerank_budget_ms
                    )
                depth = max(read.passages, query.passages)
                evidence = passages(self.store, candidates[:depth], question, self.codec.decode)
                candidates = remaining(candidates, depth, evidence)
            if self.reranker is not None:
                judged = evidence[: read.passages]
                if query.reranker in _SERVICES:
                    self.line.leave(place)
                with stopwatch.stage("rerank"), meter.stage("rerank"):
                    candidates, notice = rerank(
                        self.reranker,
                        question,
                        candidates,
                        judged,
                        query.rerank_seconds,
                        self.deadline,
                    )
                self.pace.learn(len(judged), stopwatch.seconds["rerank"])
                notices += [notice] if notice else []
        calibrated = self.reranker is None or self.reranker.calibrated
        trace = Trace(
            question=text,
            profile=self.settings.profile,
            models=self._models(),
            settings={**self.settings.index.model_dump(), **query.model_dump()},
            library=library,
            candidates=tuple(candidates),
            relevant=relevant(candidates, query.relevance, calibrated),
            seconds=stopwatch.seconds,
            notices=tuple(notices),
            reading=read.reason,
            calibrated=calibrated,
            standalone=searched if searched != text else "",
            usage=priced(meter.usage, self.settings.prices),
        )
        return Retrieved(question, trace, {passage.chunk.id: passage for passage in evidence})

    def encode(self, text: str) -> Question:
        """The vectors of a question, its token vectors turned as those of the index are."""
        return self.codec.turned(self.embedder.encode_question(text))

    def words(self, text: str, chunk: Chunk, document: str) -> WordView:
        """What earned a passage its score for a question, as the models of this pipeline see it.

        By words, unless the reranker gives a text one number: then by sentences. The passage need
        not be in the library any more; `document` is the name of its document.
        """
        question = self.encode(text)
        spans = sentences(chunk.text)
        by_words = self.reranker is None or self.reranker.by_words
        tokens = self._token_vectors_of(chunk, document) if by_words else None
        if question.tokens is not None and tokens is not None:
            asked, read = self.embedder.token_spans([text, chunk.text])
            return word_view(question, asked, chunk.text, tokens, read, spans)
        scores = self._sentence_scores(question, chunk, spans)
        return sentence_view(text, chunk.text, spans, scores)

    def baseline(self) -> Baseline | None:
        """What unrelated pairs score in this library; None where it is too small to tell.

        Drawn once, which takes some seconds, and again when the library has grown. A reranker whose
        scores are no probabilities is not asked: it may be slow, and every pair may cost money.
        """
        calibrated = self.reranker is not None and self.reranker.calibrated
        reranker = self.reranker if calibrated else None
        name = reranker.name if reranker else "none"
        state = self.store.state()
        key = f"baseline {state.fingerprint} {name}"
        kept = loads(self.store.measurements.get(key) or b"")
        if kept is not None and not outdated(kept, state.chunks, name):
            return kept
        drawn = draw_baseline(
            self.store,
            self.embedder,
            self.codec.turned,
            self.codec.decode,
            reranker,
            sentences,
        )
        if drawn is not None:
            self.store.measurements.put(key, dumps(drawn))
        return drawn

    def _chunk(self, document: Document) -> list[Chunk]:
        return chunk_document(document, self.embedder.token_spans, self.settings.index)

    def _name(self, document: str) -> str:
        """What the index reads of a document's name above each of its chunks."""
        return telling_name(document) if self.settings.index.names else ""

    def _token_vectors_of(self, chunk: Chunk, document: str) -> Vector | None:
        """As the index holds them, or would hold them where the chunk is gone."""
        kept = self.store.vectors([chunk.id]).get(chunk.id)
        codes = kept.token_codes if kept else b""
        if not codes:
            tokens = self.embedder.encode_documents([chunk.text], self._name(document)).tokens
            codes = self.codec.encode(tokens[0]) if tokens else b""
        return self.codec.decode(codes) if codes else None

    def _sentence_scores(
        self, question: Question, chunk: Chunk, spans: Sequence[Span]
    ) -> list[float]:
        """Of each sentence what the reranker, or without one the embedder, makes of it."""
        texts = [chunk.text[start:end] for start, end in spans]
        if not texts:
            return []
        encoding = self.embedder.encode_documents(texts)
        cosines = [float(cosine) for cosine in encoding.dense @ question.dense]
        if self.reranker is None:
            return cosines
        alone = [
            Passage(replace(chunk, text=text), "", dense=cosine, lexical=0.0)
            for text, cosine in zip(texts, cosines, strict=True)
        ]
        return checked(self.reranker.score(question, alone), len(alone))

    @property
    def _model_writes(self) -> bool:
        """Whether answers come from the chat endpoint."""
        endpoint = self.settings.endpoint
        return endpoint.configured and chosen_kind(self.settings.query.answerer, endpoint) == "chat"

    def _rewritten(
        self, text: str, history: Sequence[Turn], waiting: Waiting
    ) -> tuple[str, list[Notice]]:
        """The question to search for, and what went wrong on the way to it."""
        try:
            complete = partial(completed, waiting=lambda: waiting(0))
            return standalone(text, history, self.settings.endpoint, complete=complete), []
        except RAGError as error:
            message = f"The follow-up question was searched as it was typed. {error.message}"
            return text, [Notice(message, error.hint)]

    def _checked(
        self, text: str, chosen: Sequence[Candidate], evidence: Sequence[Passage]
    ) -> Checked:
        with self.line.turn():
            return Checker(self.embedder, self.codec).check(text, chosen, evidence)

    def _models(self) -> dict[str, str]:
        return {
            "embedder": self.embedder.name,
            "reranker": self.reranker.name if self.reranker else "none",
            "answerer": self.answerer.name,
        }
