"""DOCX -> one page of text with Markdown headings.

The XML is walked directly: python-docx passes over content controls, text boxes, footnotes,
tracked insertions and equations, and text that is left out silently is worse than an error.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

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

_TITLE = "a Word document (DOCX)"
_BLANK = {"tab": "\t", "br": "\n", "cr": "\n", "noBreakHyphen": "-"}
# Deleted text, the second copy that old programs read, field codes, and a box's own paragraphs.
_SKIPPED = {"del", "moveFrom", "Fallback", "instrText", "delText", "txbxContent", "pPr", "rPr"}
_NOTES = ("footnotes", "endnotes", "comments")


def read_word(source: Source) -> Iterator[Event]:
    """The whole document as one page, its notes and comments last. Raises Refusal."""
    archive = open_archive(source)
    names = set(archive.namelist())
    levels: dict[str, int] = {}
    if "word/styles.xml" in names:
        styles = parse_xml(read_entry(archive, "word/styles.xml", source), source, _TITLE)
        levels = _heading_levels(styles)
    main = next((name for name in sorted(names) if _MAIN.fullmatch(name)), "word/document.xml")
    parts = [main, *(f"word/{note}.xml" for note in _NOTES if f"word/{note}.xml" in names)]
    blocks: list[str] = []
    for part in parts:
        root = parse_xml(read_entry(archive, part, source), source, _TITLE)
        blocks.extend(_blocks(root, levels))
        if refers_elsewhere(root):
            yield LEFT_OUT
    images = any(name.startswith("word/media/") for name in names)
    yield Total(1)
    yield PageText(1, "\n\n".join(blocks), images=images)


_MAIN = re.compile(r"word/document\d*\.xml")


def _heading_levels(styles: _Element) -> dict[str, int]:
    """The heading level, 1..6, of every paragraph style that is one or is based on one."""
    own: dict[str, int] = {}
    parents: dict[str, str] = {}
    for style in styles:
        identifier = _attribute(style, "styleId")
        values = {local_name(child): _attribute(child, "val") for child in style.iter()}
        parents[identifier] = values.get("basedOn", "")
        name = values.get("name", "").lower()
        if name == "title":
            own[identifier] = 1
        elif match := re.fullmatch(r"heading ([1-6])", name):
            own[identifier] = int(match[1])
        elif level := _outline(values.get("outlineLvl", "")):
            own[identifier] = level
    levels = {}
    for identifier in parents:
        ancestor, seen = identifier, set[str]()
        while ancestor not in own and ancestor in parents and ancestor not in seen:
            seen.add(ancestor)
            ancestor = parents[ancestor]
        if ancestor in own:
            levels[identifier] = own[ancestor]
    return levels


def _outline(value: str) -> int:
    """The heading level of an outline level, which counts from 0; 0 for running text."""
    return int(value) + 1 if value in tuple("012345") else 0


def _attribute(element: _Element, name: str) -> str:
    """The value of an attribute in whatever namespace; empty where there is none."""
    return next(
        (
            str(value)
            for key, value in element.attrib.items()
            if str(key).rpartition("}")[2] == name
        ),
        "",
    )


def _blocks(root: _Element, levels: dict[str, int]) -> Iterator[str]:
    """Paragraphs and tables in reading order; a text box follows the paragraph it hangs on."""
    waiting = [root]
    while waiting:
        element = waiting.pop()
        name = local_name(element)
        if name == "p":
            if text := _paragraph(element, levels):
                yield text
            boxes = [box for box in element.iter() if _is_box(box)]
            waiting.extend(reversed(boxes))
        elif name == "tbl":
            if table := "\n".join(filter(None, map(_row, element))):
                yield table
        elif name not in _SKIPPED or element is root or name == "txbxContent":
            waiting.extend(reversed(element))


def _is_box(element: _Element) -> bool:
    if local_name(element) != "txbxContent":
        return False
    return not any(
        local_name(above) in ("Fallback", "txbxContent") for above in element.iterancestors()
    )


def _row(row: _Element) -> str:
    if local_name(row) != "tr":
        return ""
    cells = [
        " ".join(filter(None, (_text(p).strip() for p in cell.iter() if local_name(p) == "p")))
        for cell in row.iter()
        if local_name(cell) == "tc" and _row_of(cell) is row
    ]
    return " | ".join(cell.replace("\n", " ") for cell in cells) if any(cells) else ""


def _row_of(cell: _Element) -> _Element | None:
    return next((above for above in cell.iterancestors() if local_name(above) == "tr"), None)


def _paragraph(paragraph: _Element, levels: dict[str, int]) -> str:
    text = _text(paragraph).strip()
    if not text:
        return ""
    level = 0
    listed = False
    for mark in paragraph.iterchildren():
        if local_name(mark) != "pPr":
            continue
        for child in mark:
            name, value = local_name(child), _attribute(child, "val")
            if name == "pStyle":
                level = levels.get(value, 0)
            elif name == "outlineLvl":
                level = level or _outline(value)
            elif name == "numPr":
                listed = True
    if level:
        return f"{'#' * level} {' '.join(text.split())}"
    return f"- {text}" if listed else text


def _text(paragraph: _Element) -> str:
    """The visible text of a paragraph, without that of the text boxes in it."""
    parts: list[str] = []
    waiting = [paragraph]
    while waiting:
        element = waiting.pop()
        name = local_name(element)
        if name == "t":
            parts.append(element.text or "")
        elif name in _BLANK:
            parts.append(_BLANK[name])
        elif name not in _SKIPPED:
            waiting.extend(reversed(element))
    return "".join(parts)
