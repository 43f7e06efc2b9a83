"""PPTX -> one page a slide: title, texts, tables, then the speaker's notes."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from typing import Any

from rag.documents import refusals
from rag.documents.archive import check_entries, open_archive
from rag.documents.events import Event, PageText, Source, Total

_TITLE = "a presentation (PPTX)"
_DEEPEST_GROUP = 20


def read_slides(source: Source) -> Iterator[Event]:
    """One page a slide. Raises Refusal."""
    check_entries(open_archive(source), source)

    from lxml.etree import LxmlError
    from pptx import Presentation
    from pptx.exc import PythonPptxError

    mistakes = (
        LxmlError, PythonPptxError, zipfile.BadZipFile, KeyError, ValueError, AttributeError,
        TypeError, IndexError,
    )  # fmt: skip
    try:
        slides = list(Presentation(io.BytesIO(source.content)).slides)
    except mistakes as error:
        raise refusals.broken(source.name, _TITLE) from error
    yield Total(len(slides))
    for number, slide in enumerate(slides, start=1):
        try:
            yield PageText(number, "\n\n".join(_slide(slide)), images=_has_picture(slide.shapes))
        except mistakes:
            yield PageText(number, "", f"slide {number} is damaged")


def _slide(slide: Any) -> Iterator[str]:
    title = slide.shapes.title
    if title is not None and (text := " ".join(title.text_frame.text.split())):
        yield f"# {text}"
    yield from _shapes(slide.shapes, title, 0)
    if slide.has_notes_slide:
        frame = slide.notes_slide.notes_text_frame
        if frame is not None and (text := _frame(frame)):
            yield text


def _shapes(shapes: Any, title: Any, depth: int) -> Iterator[str]:
    for shape in shapes:
        if title is not None and shape.shape_id == title.shape_id:
            continue
        if hasattr(shape, "shapes"):
            if depth < _DEEPEST_GROUP:
                yield from _shapes(shape.shapes, title, depth + 1)
        elif getattr(shape, "has_table", False):
            if table := "\n".join(filter(None, map(_row, shape.table.rows))):
                yield table
        elif shape.has_text_frame and (text := _frame(shape.text_frame)):
            yield text


def _row(row: Any) -> str:
    cells = [" ".join(cell.text_frame.text.split()) for cell in row.cells]
    return " | ".join(cells) if any(cells) else ""


def _frame(frame: Any) -> str:
    return "\n".join(p.text for p in frame.paragraphs if p.text.strip()).strip()


def _has_picture(shapes: Any) -> bool:
    return any(
        hasattr(shape, "image") or (hasattr(shape, "shapes") and _has_picture(shape.shapes))
        for shape in shapes
    )
