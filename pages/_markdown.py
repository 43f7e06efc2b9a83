"""Makes text safe to show: nothing of it is run, nothing is fetched, and it reads as written.

Streamlit renders Markdown with raw HTML off. What is left to stop are images, which would be
fetched, links that hide where they lead, and the marks that Streamlit adds to Markdown: colours,
icons, emoji short codes, formulas and arrows.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any
from urllib.parse import urlsplit

from markdown_it import MarkdownIt
from mdformat.renderer import MDRenderer, RenderContext, RenderTreeNode

from rag.folding import one_line

Span = tuple[int, int]

WORD_JOINER = "\u2060"

# Gives the Markdown of the citation with this number.
CitationLink = Callable[[int], str]

_PUNCTUATION = re.compile(r"([!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~])")
# Places at which Streamlit, after all escapes are resolved, would make an icon, an emoji, a link
# or an arrow out of plain text. A word joiner there is invisible and stops it.
_TRIGGERS = re.compile(
    r"(?<=:)(?=[\w+\-/]+:)"
    r"|(?<=:)(?=//)"
    r"|(?<=www)(?=\.)"
    r"|(?<=@)(?=[\w-])"
    r"|(?<=[<>~=-])(?=[->=])",
    re.IGNORECASE,
)
# A heading line, or a run of other lines up to a blank line or the next heading.
_BLOCK = re.compile(r"^#{1,6} .*$|\S(?:(?!\n[ \t]*\n|\n#{1,6} )[\s\S])*", re.MULTILINE)
_HEADING = re.compile(r"#{1,6} +(.*)")
# A character that no text may use stands for the mark until the Markdown around it is parsed.
_DOUBT = "\ufdd0"
_DOUBT_BADGE = " :orange-badge[not supported]"
_CITATION = re.compile(rf"\[(\d+)\]|{_DOUBT}")


def plain(text: str) -> str:
    """Markdown that shows the text as it is, on one line."""
    visible = "".join(c if c.isprintable() else " " for c in one_line(text))
    joined = _TRIGGERS.sub(WORD_JOINER, " ".join(visible.split()))
    return _PUNCTUATION.sub(r"\\\1", joined)


def passage(text: str, marked: Sequence[Span] = ()) -> str:
    """Markdown that shows a passage paragraph by paragraph, the spans `marked` highlighted.

    A Markdown heading is shown in bold, without its number signs.
    """
    shown = []
    for block in _BLOCK.finditer(text):
        start, end = block.span()
        if heading := _HEADING.match(block.group()):
            shown.append(f"**{plain(heading[1])}**")
            continue
        parts = []
        for first, last in sorted(marked):
            first, last = max(first, start), min(last, end)
            if first < last and text[first:last].strip():
                parts += [_kept_blanks(text[start:first]), _highlight(text[first:last])]
                start = last
        shown.append("".join([*parts, _kept_blanks(text[start:end])]))
    return "\n\n".join(shown)


def shaded(text: str, shades: Sequence[tuple[Span, str]], bold: Sequence[Span] = ()) -> str:
    """Markdown that shows a passage with a colour behind some spans and others in bold.

    A colour is written as CSS has it. The spans of one kind do not overlap.
    """
    cuts = {0, len(text)}
    for span in [*(span for span, _ in shades), *bold]:
        cuts.update(span)
    shown = []
    for block in _BLOCK.finditer(text):
        start, end = block.span()
        heading = _HEADING.match(block.group())
        start += heading.start(1) if heading else 0
        inside = sorted({start, end, *(cut for cut in cuts if start < cut < end)})
        parts = []
        for first, last in pairwise(inside):
            colour = next((css for (a, b), css in shades if a <= first < b), "")
            strong = bool(heading) or any(a <= first < b for a, b in bold)
            parts.append(_styled(text[first:last], colour, strong))
        shown.append("".join(parts))
    return "\n\n".join(shown)


def _styled(text: str, colour: str, strong: bool) -> str:
    if not text.strip() or not (colour or strong):
        return _kept_blanks(text)
    words = f"**{plain(text)}**" if strong else plain(text)
    # Inside a directive bold needs no blank beside it, which Chinese does not have.
    background = colour or "transparent"
    return f'{_gap(text[:1])}:color[{words}]{{background="{background}"}}{_gap(text[-1:])}'


def safe(text: str, citation: CitationLink | None = None, doubtful: Sequence[int] = ()) -> str:
    """The Markdown of an answer, reduced to what cannot lead anywhere.

    Kept are paragraphs, lists, quotes, tables, code, headings (as bold text) and emphasis.
    Images become their description, links their text and host, HTML its own source.
    Citations `[number]` become what `citation` makes of them, else they stay text.
    At the offsets `doubtful` a sentence ends that is marked as not supported.
    """
    text = text.replace(_DOUBT, " ")
    for offset in sorted(doubtful, reverse=True):
        if text[offset - 1 : offset + 1] == "![":
            continue  # An image begins there, which the mark would make a link.
        text = f"{text[:offset]}{_DOUBT}{text[offset:]}"
    parser = MarkdownIt("commonmark", {"html": False}).enable("table").disable("reference")
    options = {**parser.options, "parser_extension": [_Inert]}
    env: dict[str, Any] = {"citation": citation}
    return MDRenderer().render(parser.parse(text, env), options, env).strip()


def _highlight(text: str) -> str:
    return f"{_gap(text[:1])}:yellow-background[{plain(text)}]{_gap(text[-1:])}"


def _gap(neighbour: str) -> str:
    return " " if neighbour.isspace() else ""


def _text(node: RenderTreeNode, context: RenderContext) -> str:
    citation: CitationLink | None = context.env["citation"]
    content = str(node.content)
    parts = []
    position = 0
    for match in _CITATION.finditer(content):
        if match[1] and citation is None:
            continue
        made = citation(int(match[1])) if match[1] and citation else _DOUBT_BADGE
        parts += [_kept_blanks(content[position : match.start()]), made]
        position = match.end()
    return "".join([*parts, _kept_blanks(content[position:])])


def _kept_blanks(text: str) -> str:
    return _gap(text[:1]) + plain(text) + (_gap(text[-1:]) if text.strip() else "")


def _children(node: RenderTreeNode, context: RenderContext) -> str:
    return "".join(child.render(context) for child in node.children)


def _heading(node: RenderTreeNode, context: RenderContext) -> str:
    text = _children(node, context)
    return f"**{text}**" if text else ""


def _line_break(node: RenderTreeNode, context: RenderContext) -> str:
    return "\\\n"


def _code_block(node: RenderTreeNode, context: RenderContext) -> str:
    # Without its language: Streamlit draws diagrams and formulas, and those can name pictures.
    code = str(node.content)
    longest = max(map(len, re.findall("`+", code)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}\n{code}{fence}"


def _image(node: RenderTreeNode, context: RenderContext) -> str:
    return plain(f"[image: {node.content}]" if node.content else "[image]")


def _link(node: RenderTreeNode, context: RenderContext) -> str:
    label = _children(node, context)
    host = urlsplit(str(node.attrs.get("href", ""))).netloc
    return _apart(f"{label} {plain(f'({host})')}" if host else label)


def _apart(markdown: str) -> str:
    # Where marks are taken away, the text before and after must not become an address.
    return f"{WORD_JOINER}{markdown}{WORD_JOINER}"


def _code_with_bar(node: RenderTreeNode, context: RenderContext) -> str:
    return _apart(plain(str(node.content)))


def _table(node: RenderTreeNode, context: RenderContext) -> str:
    for part in node.walk():
        # Code cannot escape a bar that ends its cell; text can.
        if part.type == "code_inline" and part.token is not None and "|" in part.content:
            part.token.type = "code_with_bar"
    rows = [
        "| " + " | ".join(_children(cell, context) for cell in row.children) + " |"
        for part in node.children
        for row in part.children
    ]
    columns = len(node.children[0].children[0].children)
    return "\n".join([rows[0], "|" + " --- |" * columns, *rows[1:]])


class _Inert:
    """How each kind of Markdown is written again."""

    RENDERERS: Mapping[str, Callable[[RenderTreeNode, RenderContext], str]] = {
        "text": _text,
        "paragraph": _children,
        "heading": _heading,
        "hardbreak": _line_break,
        "image": _image,
        "link": _link,
        "fence": _code_block,
        "code_block": _code_block,
        "code_with_bar": _code_with_bar,
        "table": _table,
    }
    POSTPROCESSORS: Mapping[str, Any] = {}
