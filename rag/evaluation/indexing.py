"""The library of a golden set, made once and kept in the cache."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rag.errors import RAGError
from rag.evaluation.golden_sets import GoldenPassage, GoldenQuestion, GoldenSet, Unit
from rag.ingest import Event, File, Ingest, ReportPage
from rag.opening import index_in_use
from rag.pipeline import Pipeline
from rag.settings import IndexSettings, Settings
from rag.types import AddResult, Candidate, Chunk, Document, Notice, Page, PassageSpan

# Passages of one document, and of one commit: a commit takes some 20 ms, and what was in hand
# when the process was killed is encoded again.
SHARD = 64


def cache_folder(golden: GoldenSet, settings: Settings) -> Path:
    """Where the library and the runs of a golden set are kept; other content, other folder."""
    return (
        settings.cache
        / "evaluation"
        / f"{golden.content()}-{golden.unit}-{_index_of(golden, settings).fingerprint}"
    )


def library_settings(golden: GoldenSet, settings: Settings) -> Settings:
    """The settings with the home and the index of the library that the set is asked of.

    That is one of the set's own in the cache, or for golden questions of a library that library.
    """
    if golden.unit == "span":
        return settings.model_copy(update={"index": index_in_use(settings)})
    home = cache_folder(golden, settings) / "library"
    return settings.model_copy(update={"home": home, "index": _index_of(golden, settings)})


def _index_of(golden: GoldenSet, settings: Settings) -> IndexSettings:
    """The index that a set is asked of; passages have no file whose name could be read."""
    return settings.index.model_copy(update={"names": False} if golden.passages else {})


@dataclass(frozen=True, slots=True)
class Units:
    """Tells which units of a golden set a candidate is.

    `ids` are the ids of the passages by their page in the library; empty where files are ranked.
    `spans` are the places that were marked in the library itself, by id.
    """

    unit: Unit
    ids: tuple[str, ...] = ()
    spans: Mapping[str, PassageSpan] = field(default_factory=dict)

    def of(self, candidate: Candidate, question: GoldenQuestion) -> tuple[str, ...]:
        """The ids of the passage, page or document that a candidate is or belongs to.

        Only a chunk of the library itself can be several: it may hold more than one place that
        answers the question. Where places of both kinds match it, the one most like it decides.
        """
        if self.unit == "passage":
            return (self.ids[candidate.chunk.page - 1],)
        if self.unit == "page":
            return (f"{candidate.document}#p{candidate.chunk.page}",)
        if self.unit == "document":
            return (candidate.document,)
        place = PassageSpan.of(candidate.chunk)
        matching = [
            name for name in (*question.gold, *question.rejected) if self.spans[name].matches(place)
        ]
        matching.sort(key=lambda name: self.spans[name].likeness(place), reverse=True)
        right = tuple(name for name in matching if name in question.gold)
        if matching and matching[0] in question.gold:
            return right
        return (matching[0] if matching else place.id,)


def units_of(golden: GoldenSet) -> Units:
    """The units of a golden set as its library holds them."""
    return Units(golden.unit, tuple(passage.id for passage in golden.passages), golden.spans)


def index(
    golden: GoldenSet, pipeline: Pipeline, cancelled: Callable[[], bool]
) -> Iterator[tuple[int, int, Notice | None]]:
    """Adds what the library does not hold yet.

    Yields how many passages or files are done, of how many, and what could not be read.
    A passage becomes one chunk as it is, its title the heading above it; a file goes the way of
    every file. Raises RAGError where passages cannot be indexed; a file that cannot be read stops
    nothing.
    """
    if golden.files:
        events = pipeline.add([File.at(path) for path in golden.files], cancelled)
        yield from _counted(events, [1] * len(golden.files), refused=False)
        return
    shards = _shards(golden.passages)
    files = [
        File.holding(f"passages {pages[0].number} to {pages[-1].number}", content)
        for content, pages in shards
    ]
    made = {hashlib.sha256(content).hexdigest(): pages for content, pages in shards}
    titles = [passage.title for passage in golden.passages]

    def read(content: bytes, name: str, report: ReportPage) -> Document:
        key = hashlib.sha256(content).hexdigest()
        return Document(key, name, "application/jsonl", len(content), made[key])

    def chunk(document: Document) -> list[Chunk]:
        return [
            Chunk(
                id=f"{document.id[:16]}-{position}",
                document_id=document.id,
                position=position,
                page=page.number,
                start=0,
                end=len(page.text),
                text=page.text,
                heading=titles[page.number - 1],
            )
            for position, page in enumerate(document.pages)
        ]

    ingest = Ingest(pipeline.store, pipeline.embedder, pipeline.codec, read, chunk)
    yield from _counted(
        ingest.add(files, cancelled), [len(pages) for _, pages in shards], refused=True
    )


def _shards(passages: Sequence[GoldenPassage]) -> list[tuple[bytes, tuple[Page, ...]]]:
    """The passages that have text, in documents of `SHARD`; a page's number names its passage."""
    pages = [
        Page(number, passage.text if passage.text.strip() else passage.title)
        for number, passage in enumerate(passages, start=1)
    ]
    pages = [page for page in pages if page.text.strip()]
    shards = [tuple(pages[start : start + SHARD]) for start in range(0, len(pages), SHARD)]
    return [
        (
            json.dumps(
                [[page.number, passages[page.number - 1].title, page.text] for page in shard],
                ensure_ascii=False,
            ).encode("utf-8", "replace"),
            shard,
        )
        for shard in shards
    ]


def _counted(
    events: Iterator[Event], sizes: Sequence[int], refused: bool
) -> Iterator[tuple[int, int, Notice | None]]:
    """What is done after every event; a document that fails ends it all where it is `refused`."""
    total, finished, number = sum(sizes), 0, 0
    for event in events:
        problem = None
        within = 0
        if isinstance(event, AddResult):
            finished += sizes[number]
            number += 1
            problem = event.problem and Notice(f"{event.name}: {event.problem.message}")
            if event.problem is not None and refused:
                raise RAGError(event.problem.message, event.problem.hint)
        elif event.stage == "embedding" and refused:
            within = event.done
        yield finished + within, total, problem
