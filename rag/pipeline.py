"""The one place where the stages meet.

`open_library` opens the store alone, which is quick; `open_pipeline` also loads the models.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

from rag.answering import Checked, Reply
from rag.chunking import chunk_document
from rag.citing import cite, find_quote
from rag.documents import read_document
from rag.errors import EmptyLibrary, RAGError
from rag.ingest import Event, File, Ingest
from rag.models import Answerer, Embedder, Reranker
from rag.models.answerers import make_answerer
from rag.models.embedders import make_embedder, token_centre
from rag.models.rerankers import make_reranker
from rag.retrieval import passages, recall, relevant, rerank
from rag.sentences import sentences
from rag.settings import Settings
from rag.stopwatch import Stopwatch
from rag.store import Store
from rag.support import best_sentence
from rag.token_codes import TokenCodec
from rag.types import (
    Candidate,
    Citation,
    Passage,
    Question,
    Trace,
    Turn,
    Vector,
)


def open_library(settings: Settings) -> Store:
    """The library of these settings, made where there is none. Raises LibraryError."""
    return Store.open(settings.home, settings.index.fingerprint)


def open_pipeline(settings: Settings) -> Pipeline:
    """A pipeline with its models loaded. Raises LibraryError, MissingDependency, MissingKey."""
    store = open_library(settings)
    embedder = make_embedder(settings.index, settings.cache)
    codec = TokenCodec(embedder.dimensions, token_centre(settings.index))
    return Pipeline(
        settings=settings,
        store=store,
        embedder=embedder,
        codec=codec,
        reranker=make_reranker(settings.query.reranker),
        answerer=make_answerer(
            settings.query.answerer, settings.endpoint, embedder, sentences, codec.rotate
        ),
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
        return self._retrieve(text).trace

    def ask(self, text: str, history: Sequence[Turn] = ()) -> Reply:
        """An answer in the making, its sources at hand before the first word.

        Raises EmptyLibrary; a failing language model is told in the reply.
        """
        found = self._retrieve(text)
        chosen = found.trace.candidates[: min(found.trace.relevant, self.settings.query.passages)]
        evidence = [found.evidence[candidate.chunk.id] for candidate in chosen]
        return Reply(
            trace=found.trace,
            passages=chosen,
            kind=self.answerer.kind if chosen else "nothing relevant",
            pieces=self.answerer.stream(found.question, evidence, history),
            check=partial(self._check, chosen, evidence),
        )

    def _retrieve(self, text: str) -> Retrieved:
        query, stopwatch = self.settings.query, Stopwatch()
        text = " ".join(text.encode("utf-8", "replace").decode().split())
        if not text:
            raise RAGError("The question is empty.", "Type a question first.")
        if not self.store.chunk_count():
            raise EmptyLibrary("The library is empty.", "Add a document first, then ask again.")
        with stopwatch.stage("encode"):
            question = self._encode(text)
        candidates = recall(self.store, question, query, stopwatch)
        with stopwatch.stage("evidence"):
            depth = max(query.rerank_depth if self.reranker else 0, query.passages)
            evidence = passages(self.store, candidates[:depth], question, self.codec.decode)
        notice = None
        if self.reranker is not None:
            with stopwatch.stage("rerank"):
                judged = evidence[: query.rerank_depth]
                candidates, notice = rerank(self.reranker, question, candidates, judged)
        trace = Trace(
            question=text,
            profile=self.settings.profile,
            models=self._models(),
            settings={**self.settings.index.model_dump(), **query.model_dump()},
            candidates=tuple(candidates),
            relevant=relevant(candidates, query.relevance),
            seconds=stopwatch.seconds,
            notices=(notice,) if notice else (),
        )
        return Retrieved(question, trace, {passage.chunk.id: passage for passage in evidence})

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

    def _check(
        self, chosen: Sequence[Candidate], evidence: Sequence[Passage], text: str
    ) -> Checked:
        """Every `[number]` of an answer with the sentence of its passage that supports it best."""
        cited = cite(text, len(chosen), sentences)
        pairs = [(claim, number) for claim in cited.claims for number in claim.numbers]
        claims = self._token_vectors([claim.text for claim, _ in pairs])
        texts = [candidate.chunk.text for candidate in chosen]
        token_spans = self.embedder.token_spans(texts)
        citations = []
        for (claim, number), vectors in zip(pairs, claims, strict=True):
            passage, body = evidence[number - 1], texts[number - 1]
            span, support = find_quote(claim.text, body), 1.0
            if span is None and vectors is not None and passage.tokens is not None:
                spans = token_spans[number - 1]
                span, support = best_sentence(vectors, passage.tokens, spans, sentences(body))
            start, end = span or (0, 0)
            citations.append(
                Citation(
                    number=number,
                    candidate=chosen[number - 1],
                    claim=(claim.start, claim.end),
                    quote=body[start:end],
                    start=start,
                    end=end,
                    support=support if span else 0.0,
                )
            )
        return Checked(cited.text, tuple(citations), cited.dropped)

    def _token_vectors(self, texts: Sequence[str]) -> list[Vector | None]:
        """Token vectors in the space of the stored codes; None where the model has none."""
        if not texts:
            return []
        tokens = self.embedder.encode_documents(texts).tokens
        return [None] * len(texts) if tokens is None else [*map(self.codec.rotate, tokens)]
