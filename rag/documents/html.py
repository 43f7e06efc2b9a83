"""HTML -> one page of text with Markdown headings."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from rag.documents.events import Event, Remark, Source
from rag.documents.text import decoded_text, one_page

if TYPE_CHECKING:
    from lxml.etree import _Element

_CHARSET = re.compile(
    rb"""(?:<meta[^>]*?charset|<\?xml[^>]*?encoding)\s*=\s*["']?\s*([\w.:-]+)""", re.I
)
_HEAD_BYTES = 4096
_NOISE = frozenset((
    *("script", "style", "template", "noscript", "nav", "head", "iframe", "object", "svg", "math"),
    *("canvas", "audio", "video", "select", "button", "datalist", "dialog"),
))  # fmt: skip
_BLOCKS = frozenset((
    *("address", "article", "aside", "blockquote", "body", "center", "dd", "details", "div", "dl"),
    *("dt", "fieldset", "figcaption", "figure", "footer", "form", "h1", "h2", "h3", "h4", "h5"),
    *("h6", "header", "hr", "html", "li", "main", "ol", "p", "pre", "section", "summary", "table"),
    *("tbody", "tfoot", "thead", "tr", "ul"),
))  # fmt: skip
_HEADINGS = {f"h{level}": "#" * level + " " for level in range(1, 7)}
_CELLS = ("td", "th")
_SPACES = re.compile(r"\s+")
# The parser stops without a word where it runs out of depth or memory; this shows that it did not.
_END = "\ue0e4\ue0e5"
# The parser leaves out text behind these, and HTML may leave them out.
_CLOSING = re.compile(r"</(?:body|html)\s*>", re.IGNORECASE)
_CUT = "Its end was not read: it is nested too deeply, or needs more memory than is allowed."
_HIDDEN = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden", re.I)


def read_html(source: Source) -> Iterator[Event]:
    """The visible text as one page; scripts, styles and navigation never become text.

    Raises Refusal for bytes that are not text.
    """
    from lxml import etree

    declared = _CHARSET.search(source.content[:_HEAD_BYTES])
    decoded = decoded_text(source, declared[1].decode("ascii", "ignore") if declared else "")
    parser = etree.HTMLParser(
        encoding="utf-8", no_network=True, remove_comments=True, remove_pis=True, huge_tree=True
    )
    parser.feed((_CLOSING.sub("", decoded.text) + _END).encode("utf-8", "ignore"))
    root = parser.close()
    if not any(_END in text for text in root.itertext()):
        yield Remark(_CUT)
    yield from one_page(decoded, _text(root).replace(_END, ""))


def _text(root: _Element) -> str:
    """Headings, paragraphs, list items and table rows of the tree, in the order of the file."""
    page = _Blocks()
    if root.find(".//h1") is None and (title := root.findtext(".//title")):
        page.begin("# ")
        page.add(title)
    # Without recursion: a hostile page is nested deeper than any stack.
    waiting: list[tuple[_Element, bool]] = [(root, True)]
    layout = _layout_rows(root)
    while waiting:
        element, opening = waiting.pop()
        tag = element.tag if isinstance(element.tag, str) else ""
        if opening and tag and not _is_noise(element, tag):
            _enter(page, element, tag, layout)
            page.add(element.text or "")
            waiting.append((element, False))
            waiting.extend((child, True) for child in reversed(element))
            continue
        if not opening:
            _leave(page, element, tag, layout)
        page.add(element.tail or "")
    return page.text()


def _is_noise(element: _Element, tag: str) -> bool:
    return (
        tag in _NOISE
        or element.get("role") in ("navigation", "search", "menu")
        or element.get("hidden") is not None
        or bool(_HIDDEN.search(element.get("style") or ""))
    )


def _layout_rows(root: _Element) -> set[_Element]:
    """The table rows that hold tables or headings: they place text and are no rows of data."""
    rows: set[_Element] = set()
    seen: set[_Element] = set()
    for inner in root.iter("table", *_HEADINGS):
        for above in inner.iterancestors():
            if above in seen:
                break
            seen.add(above)
            if above.tag == "tr":
                rows.add(above)
    return rows


def _enter(page: _Blocks, element: _Element, tag: str, layout: set[_Element]) -> None:
    if tag == "tr" and element not in layout:
        page.begin(glued=True)
        page.in_row = True
    elif tag == "br":
        page.end_line()
    elif page.in_row:
        page.add(" " if tag in _BLOCKS else "")
    elif tag == "li":
        page.begin("- ", glued=True)
    elif tag in _BLOCKS or tag in _CELLS:
        page.begin(_HEADINGS.get(tag, ""))
        page.apart = page.apart or tag == "table"
        page.verbatim += tag == "pre"


def _leave(page: _Blocks, element: _Element, tag: str, layout: set[_Element]) -> None:
    if tag == "tr" and element not in layout:
        page.end()
        page.in_row = False
    elif page.in_row:
        page.add(" | " if tag in _CELLS else "")
    elif tag in _BLOCKS or tag in _CELLS:
        page.end()
        page.verbatim -= tag == "pre"


class _Blocks:
    """Running text, cut into blocks; a glued block follows a glued one on the next line."""

    def __init__(self) -> None:
        self.verbatim = 0
        self.in_row = False
        self._parts: list[str] = []
        self._line: list[str] = []
        self._prefix = ""
        self._glued = False
        # Whether the next block stays apart even from a glued one.
        self.apart = True

    def add(self, text: str) -> None:
        """Append text to the block."""
        self._line.append(text if self.verbatim else _SPACES.sub(" ", text))

    def end_line(self) -> None:
        """Break the line, which a row of a table and a heading cannot."""
        self._line.append(" " if self.in_row or self._prefix.startswith("#") else "\n")

    def begin(self, prefix: str = "", glued: bool = False) -> None:
        """End the block and begin another; a prefix waits until there is text to follow it."""
        if self._flush() or prefix or glued:
            self._prefix, self._glued = prefix, glued

    def end(self) -> None:
        """End the block."""
        self._flush()
        self._prefix, self._glued = "", False

    def _flush(self) -> bool:
        text = "".join(self._line)
        self._line = []
        if self.verbatim:
            text = text.strip("\n")
        else:
            text = "\n".join(" ".join(line.split()) for line in text.split("\n")).strip()
        text = text.rstrip(" |") if self.in_row else text
        if text.strip():
            gap = "\n" if self._glued and not self.apart else "\n\n"
            self._parts += [gap, self._prefix, text]
            self.apart = not self._glued
        return bool(text.strip())

    def text(self) -> str:
        """Everything so far."""
        self.end()
        return "".join(self._parts)
