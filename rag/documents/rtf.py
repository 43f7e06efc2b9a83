"""RTF -> one page."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rag.documents import refusals
from rag.documents.events import Event, PageText, Source, Total


def read_rtf(source: Source) -> Iterator[Event]:
    """The whole text as one page. Raises Refusal."""
    from striprtf.striprtf import rtf_to_text

    try:
        convert: Any = rtf_to_text
        text: str = convert(source.content.decode("latin-1"), errors="ignore")
    except (ValueError, IndexError, KeyError, TypeError, LookupError) as error:
        raise refusals.broken(source.name, "an RTF document") from error
    yield Total(1)
    yield PageText(1, text, images=b"\\pict" in source.content)
