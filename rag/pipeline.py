"""The one place where the stages meet.

`open_library` opens the store alone, which is quick; `open_pipeline` also loads the models.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from rag.answering import Reply
from rag.baseline import Baseline, draw_baseline, dumps, loads, outdated
from rag.checking import Checker
from rag.chunking import chunk_document
from rag.deadline import Deadline
from rag.documents import read_document
from rag.errors import EmptyLibrary, RAGError
from rag.ingest import Event, File, Ingest
from rag.late_interaction import Span
from rag.models import Answerer, Embedder, Reranker
from rag.models.answerers import make_answerer
from rag.models.bundled import DIMENSIONS as BUNDLED_DIMENSIONS
from rag.models.embedders import make_embedder
from rag.models.rerankers import make_reranker
from rag.models.token_centre import token_centre
from rag.pace import Depth, Pace
from rag.retrieval import checked, passages, recall, relevant, remaining, rerank
from rag.sentences import sentences
from rag.settings import QuerySettings, Settings
from rag.stopwatch import Stopwatch
from rag.store import Store
from rag.token_codes import TokenCodec
from rag.types import (
    Chunk,
    Passage,
    Question,
    Trace,
    Turn,
    Vector,
)
from rag.words import WordView, sentence_view, word_view


def open_library(settings: Settings) -> Store:
    """The library of these settings, made where there is none. Raises LibraryError.

    Loads no model where the length of its vectors is known without it.
    """
    dimensions = BUNDLED_DIMENSIONS
    if settings.index.embedder != "bundled":
        embedder = make_embedder(settings.index, settings.cache, settings.embeddings)
        dimensions = embedder.dimensions
    return Store.open(settings.home, settings.index.fingerprint, dimensions)


def open_pipeline(settings: Settings) -> Pipeline:
    """A pipeline with its models loaded.

    Raises LibraryError, SettingsError, MissingDependency and BackendError.
    """
    embedder = make_embedder(settings.index, settings.cache, settings.embeddings)
    store = Store.open(settings.home, settings.index.fingerprint, embedder.dimensions)
    codec = TokenCodec(embedder.dimensions, token_centre(settings.index.embedder))
    return Pipeline(
        settings=settings,
        store=store,
        embedder=embedder,
        codec=codec,
        reranker=make_reranker(settings),
        answerer=make_answerer(settings.query.answerer, settings.endpoint, embedder, sentences),
    )


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

    def with_query(self, query: QuerySettings) -> Pipeline:
        """The same library and models, asked with other query settings."""
        if query == self.settings.query:
            return self
        settings = self.settings.model_copy(update={"query": query})
        if query.same_reranker(self.settings.query):
            return replace(self, settings=settings)
        reranker = make_reranker(settings)
        return replace(self, settings=settings, reranker=reranker, pace=Pace(), deadline=Deadline())

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
            chunk=partial(
                chunk_document, token_spans=self.embedder.token_spans, settings=self.settings.index
            ),
        )
        return ingest.add(files, cancelled)

    def search(self, text: str) -> Trace:
        """What every stage thinks of every candidate. Raises EmptyLibrary."""
        return self.retrieve(text).trace

    def ask(self, text: str, history: Sequence[Turn] = ()) -> Reply:
        """An answer in the making, its sources at hand before the first word.

        Raises EmptyLibrary; a failing language model is told in the reply.
        """
        found = self.retrieve(text)
        evidence = found.evidence
        chosen = tuple(best for best in found.trace.prompt if best.chunk.id in evidence)
        at_hand = [evidence[candidate.chunk.id] for candidate in chosen]
        return Reply(
            trace=found.trace,
            passages=chosen,
            kind=self.answerer.kind if chosen else "nothing relevant",
            pieces=self.answerer.stream(found.question, at_hand, history),
            check=partial(
                Checker(self.embedder, self.codec).check, chosen=chosen, evidence=at_hand
            ),
        )

    def retrieve(self, text: str) -> Retrieved:
        """A trace together with the vectors behind it. Raises EmptyLibrary."""
        query, stopwatch = self.settings.query, Stopwatch()
        text = " ".join(text.encode("utf-8", "replace").decode().split())
        if not text:
            raise RAGError("The question is empty.", "Type a question first.")
        library = self.store.state()
        if not library.chunks:
            raise EmptyLibrary("The library is empty.", "Add a document first, then ask again.")
        with stopwatch.stage("encode"):
            question = self._encode(text)
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
        notice = None
        if self.reranker is not None:
            judged = evidence[: read.passages]
            with stopwatch.stage("rerank"):
                candidates, notice = rerank(
                    self.reranker,
                    question,
                    candidates,
                    judged,
                    query.rerank_seconds,
                    self.deadline,
                )
            self.pace.learn(len(judged), stopwatch.seconds["rerank"])
        trace = Trace(
            question=text,
            profile=self.settings.profile,
            models=self._models(),
            settings={**self.settings.index.model_dump(), **query.model_dump()},
            library=library,
            candidates=tuple(candidates),
            relevant=relevant(candidates, query.relevance),
            seconds=stopwatch.seconds,
            notices=(notice,) if notice else (),
            reading=read.reason,
            calibrated=self.reranker is None or self.reranker.calibrated,
        )
        return Retrieved(question, trace, {passage.chunk.id: passage for passage in evidence})

    def words(self, text: str, chunk: Chunk) -> WordView:
        """What earned a passage its score for a question, as the models of this pipeline see it.

        By words, unless the reranker gives a text one number: then by sentences. The passage need
        not be in the library any more.
        """
        question = self._encode(text)
        spans = sentences(chunk.text)
        by_words = self.reranker is None or self.reranker.by_words
        tokens = self._token_vectors_of(chunk) if by_words else None
        if question.tokens is not None and tokens is not None:
            asked, read = self.embedder.token_spans([text, chunk.text])
            return word_view(text, question.tokens, asked, chunk.text, tokens, read, spans)
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
            self.codec.rotate,
            self.codec.decode,
            reranker,
            sentences,
        )
        if drawn is not None:
            self.store.measurements.put(key, dumps(drawn))
        return drawn

    def _token_vectors_of(self, chunk: Chunk) -> Vector | None:
        """As the index holds them, or would hold them where the chunk is gone."""
        codes = self.store.vectors([chunk.id]).get(chunk.id, (None, b""))[1]
        if not codes:
            tokens = self.embedder.encode_documents([chunk.text]).tokens
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

    def _encode(self, text: str) -> Question:
        question = self.embedder.encode_question(text)
        if question.tokens is None:
            return question
        return replace(question, tokens=self.codec.rotate(question.tokens))

    def _models(self) -> dict[str, str]:
        return {
            "embedder": self.embedder.name,
            "reranker": self.reranker.name if self.reranker else "none",
            "answerer": self.answerer.name,
        }
