"""A text that no single passage holds: its parts, and the chunking that would keep it whole."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from rag.chunking import chunk_document
from rag.models import Embedder
from rag.settings import IndexSettings
from rag.types import Chunk, Document, DocumentRecord, Page, Trace
from rag.whereabouts.letters import Found, Span

# A text that is only like the one looked for has vague ends.
_NEARLY_WHOLE = 0.9
# A longer page would take seconds to cut again with every setting.
_LONGEST_PAGE = 100_000
_STEP = 10


def holding(chunks: Sequence[Chunk], found: Found) -> list[Chunk]:
    """The chunks that hold the whole text."""
    size = sum(span.end - span.start for span in found.spans)
    share = 1.0 if found.similarity == 1 else _NEARLY_WHOLE
    return [chunk for chunk in chunks if _shared(chunk, found.spans) >= share * size]


def parts(chunks: Sequence[Chunk], found: Found) -> list[Chunk]:
    """The chunks that hold a part of the text that no other of them holds as well."""
    touching = [chunk for chunk in chunks if _shared(chunk, found.spans)]
    return [
        chunk
        for chunk in touching
        if not any(_holds_more(other, chunk, found.spans) for other in touching)
    ]


def whole_again(
    trace: Trace, embedder: Embedder, document: DocumentRecord, pages: Sequence[Page], found: Found
) -> str:
    """The chunk settings that would hold the text in one passage, tried on its page."""
    if len(found.spans) > 1:
        return "A passage never reaches over the end of a page: look for each part alone."
    page = next(page for page in pages if page.number == found.spans[0].page)
    now = IndexSettings.model_validate(
        {
            name: value
            for name, value in trace.settings.items()
            if name in IndexSettings.model_fields
        }
    )
    if len(page.text) > _LONGEST_PAGE:
        return (
            f"Set chunk_tokens above {now.chunk_tokens} or overlap_tokens above "
            f"{now.overlap_tokens}, and index again."
        )
    known: dict[str, list[tuple[int, int]]] = {}
    spans = partial(_remembered, known, embedder)
    alone = Document(document.id, document.name, document.media_type, document.size, (page,))
    for setting, value in _settings(now):
        tried = now.model_copy(update={setting: value})
        if holding(chunk_document(alone, spans, tried), found):
            return (
                f"Set {setting} to {value} (now {getattr(now, setting)}) and index again: "
                "one passage then holds all of it."
            )
    return (
        "No chunk_tokens and no overlap_tokens keeps a text as long as this in one passage: "
        "look for a part of it."
    )


def _settings(now: IndexSettings) -> Iterator[tuple[str, int]]:
    """Larger values, the cheaper setting first: an overlap adds passages, but none is longer."""
    for setting in ("overlap_tokens", "chunk_tokens"):
        bounds = IndexSettings.model_fields[setting].metadata
        most = next(bound.le for bound in bounds if hasattr(bound, "le"))
        first = getattr(now, setting) // _STEP * _STEP + _STEP
        yield from ((setting, value) for value in range(first, most + 1, _STEP))


def _remembered(
    known: dict[str, list[tuple[int, int]]], embedder: Embedder, texts: Sequence[str]
) -> list[list[tuple[int, int]]]:
    """The token spans of texts; every text is read once however often its page is cut."""
    unknown = [text for text in dict.fromkeys(texts) if text not in known]
    if unknown:
        known.update(zip(unknown, embedder.token_spans(unknown), strict=True))
    return [known[text] for text in texts]


def _shared(chunk: Chunk, spans: Sequence[Span]) -> int:
    """How many characters of the spans the chunk holds."""
    return sum(_overlap(chunk, span) for span in spans if span.page == chunk.page)


def _overlap(chunk: Chunk, span: Span) -> int:
    return max(0, min(chunk.end, span.end) - max(chunk.start, span.start))


def _holds_more(other: Chunk, chunk: Chunk, spans: Sequence[Span]) -> bool:
    """Whether another chunk of the page holds all that this one does, and more."""
    if other.page != chunk.page or _shared(other, spans) <= _shared(chunk, spans):
        return False
    span = next(span for span in spans if span.page == chunk.page)
    start, end = max(chunk.start, span.start), min(chunk.end, span.end)
    return other.start <= start and end <= other.end
