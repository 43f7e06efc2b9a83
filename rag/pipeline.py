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
from rag.late_interaction import Span
from rag.models import Answerer, Embedder, Reranker
from rag.models.answerers import make_answerer
from rag.models.bundled import DIMENSIONS as BUNDLED_DIMENSIONS
from rag.models.embedders import make_embedder
from rag.models.rerankers import make_reranker
from rag.models.token_centre import token_centre
from rag.retrieval import passages, recall, relevant, remaining, rerank
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
    """The library of these settings, made where there is none. Raises LibraryError.

    Loads no model where the length of its vectors is known without it.
    """
    dimensions = BUNDLED_DIMENSIONS
    if settings.index.embedder != "bundled":
        dimensions = make_embedder(settings.index, settings.cache).dimensions
    return Store.open(settings.home, settings.index.fingerprint, dimensions)


def open_pipeline(settings: Settings) -> Pipeline:
    """A pipeline with its models loaded.

    Raises LibraryError, SettingsError, MissingDependency and BackendError.
    """
    embedder = make_embedder(settings.index, settings.cache)
    store = Store.open(settings.home, settings.index.fingerprint, embedder.dimensions)
    codec = TokenCodec(embedder.dimensions, token_centre(settings.index.embedder))
    return Pipeline(
        settings=settings,
        store=store,
        embedder=embedder,
        codec=codec,
        reranker=make_reranker(settings.query.reranker),
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
            check=partial(self._check, chosen, at_hand),
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
            depth = max(query.rerank_depth if self.reranker else 0, query.passages)
            evidence = passages(self.store, candidates[:depth], question, self.codec.decode)
            candidates = remaining(candidates, depth, evidence)
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
            library=library,
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
        verbatim = [find_quote(claim.text, chosen[n - 1].chunk.text) for claim, n in pairs]
        own_words = [
            claim.text for (claim, _), span in zip(pairs, verbatim, strict=True) if not span
        ]
        vectors = self._token_vectors(own_words)
        found = [
            (span, 1.0) if span else self._best_sentence(vectors[claim.text], evidence[number - 1])
            for (claim, number), span in zip(pairs, verbatim, strict=True)
        ]
        citations = tuple(
            Citation(
                number=number,
                candidate=chosen[number - 1],
                claim=(claim.start, claim.end),
                quote=chosen[number - 1].chunk.text[start:end],
                start=start,
                end=end,
                support=support,
            )
            for (claim, number), ((start, end), support) in zip(pairs, found, strict=True)
        )
        return Checked(cited.text, citations, cited.dropped)

    def _best_sentence(self, claim: Vector | None, passage: Passage) -> tuple[Span, float]:
        if claim is None or passage.tokens is None:
            return (0, 0), 0.0
        text = passage.chunk.text
        token_spans = self.embedder.token_spans([text])[0]
        return best_sentence(claim, passage.tokens, token_spans, sentences(text))

    def _token_vectors(self, texts: Sequence[str]) -> dict[str, Vector | None]:
        """Token vectors of texts in the space of the codes; None where the model has none."""
        if not texts:
            return {}
        tokens = self.embedder.encode_documents(texts).tokens
        if tokens is None:
            return dict.fromkeys(texts)
        return {text: self.codec.rotate(rows) for text, rows in zip(texts, tokens, strict=True)}
