"""ODT -> one page of text with Markdown headings."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rag.documents import refusals
from rag.documents.archive import (
    LEFT_OUT,
    local_name,
    open_archive,
    parse_xml,
    read_entry,
    refers_elsewhere,
)
from rag.documents.events import Event, PageText, Source, Total

if TYPE_CHECKING:
    from lxml.etree import _Element

_TITLE = "an OpenDocument text (ODT)"
_SKIPPED = {"tracked-changes", "annotation", "sequence-decls", "forms", "scripts"}


def read_opendocument(source: Source) -> Iterator[Event]:
    """The whole document as one page. Raises Refusal."""
    archive = open_archive(source)
    names = archive.namelist()
    if "META-INF/manifest.xml" in names and b"encryption-data" in read_entry(
        archive, "META-INF/manifest.xml", source
    ):
        raise refusals.protected(source.name)
    root = parse_xml(read_entry(archive, "content.xml", source), source, _TITLE)
    images = any(name.startswith("Pictures/") for name in names)
    if refers_elsewhere(root):
        yield LEFT_OUT
    yield Total(1)
    yield PageText(1, "\n\n".join(_blocks(root)), images=images)


def _blocks(root: _Element) -> Iterator[str]:
    waiting = [root]
    while waiting:
        element = waiting.pop()
        name = local_name(element)
        if name in ("p", "h"):
            text = _text(element).strip()
            if text and name == "h":
                level = next(
                    (v for k, v in element.attrib.items() if str(k).endswith("outline-level")), "1"
                )
                depth = min(int(level), 6) if str(level).isdecimal() else 1
                text = f"{'#' * max(depth, 1)} {' '.join(text.split())}"
            if text:
                yield text
        elif name == "table":
            if rows := "\n".join(filter(None, map(_row, _named(element, "table-row")))):
                yield rows
        elif name not in _SKIPPED:
            waiting.extend(reversed(element))


def _named(element: _Element, name: str) -> Iterator[_Element]:
    return (child for child in element.iter() if local_name(child) == name)


def _row(row: _Element) -> str:
    cells = [
        " ".join(filter(None, (_text(paragraph).strip() for paragraph in _named(cell, "p"))))
        for cell in row
        if local_name(cell) == "table-cell"
    ]
    return " | ".join(cells) if any(cells) else ""


def _text(element: _Element) -> str:
    parts: list[str] = []
    _collect(element, parts)
    return "".join(parts)


def _collect(element: _Element, parts: list[str]) -> None:
    parts.append(element.text or "")
    for child in element:
        name = local_name(child)
        if name == "line-break":
            parts.append("\n")
        elif name in ("tab", "s"):
            parts.append(" ")
        elif name and name not in _SKIPPED:
            _collect(child, parts)
        parts.append(child.tail or "")
