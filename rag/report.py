"""A question with everything that was found and said, as one HTML file that needs nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup, escape

from rag.folding import one_line
from rag.rank_flow import Fate, Flow, rank_flow
from rag.types import NOTHING_RELEVANT, Answer, Candidate, Citation, Record

_NEAREST = 3
_CITATION = re.compile(r"\[(\d+)\]")
# Control characters, marks that turn the direction of text, and halves of characters.
_UNWRITABLE = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
)
_LANGUAGES = (
    ("ja", re.compile(r"[\u3040-\u30ff]")),
    ("ko", re.compile(r"[\uac00-\ud7af]")),
    ("zh", re.compile(r"[\u3400-\u9fff]")),
)

# The drawing, in its own units.
_COLUMN_WIDTH = 128
_ROW_HEIGHT = 20
_LEFT = 56
_TOP = 44
_LABEL_ROOM = 240


@dataclass(frozen=True, slots=True)
class _Source:
    """A passage as the report shows it; `parts` are its text, marked and unmarked."""

    number: int
    candidate: Candidate
    parts: tuple[tuple[str, bool], ...]
    support: float | None


@dataclass(frozen=True, slots=True)
class _Line:
    """A candidate's way through the drawing: its curve, its circles and where its name stands."""

    candidate: Candidate
    fate: Fate
    number: int | None
    curve: str
    circles: tuple[tuple[int, int, int], ...]
    label: tuple[int, int]


def html_report(record: Record) -> str:
    """The record as one HTML file: no script, nothing fetched, every text escaped.

    It holds the question, the answer and its statements, the sources with their quotes, the rank
    flow, all candidates, and what ran over which library.
    """
    trace, answer = record.trace, record.answer
    flow = rank_flow(trace, answer)
    return _template().render(
        record=record,
        trace=trace,
        answer=answer,
        answer_html=_answer_html(answer),
        nothing_relevant=NOTHING_RELEVANT,
        sources=_sources(record),
        nearest=answer is not None and answer.kind == "nothing relevant",
        flow=flow,
        lines=_lines(flow),
        columns=[(_LEFT + at * _COLUMN_WIDTH, name) for at, name in enumerate(flow.columns)],
        cut=_TOP + flow.passages * _ROW_HEIGHT + _ROW_HEIGHT // 2,
        width=_LEFT + (len(flow.columns) - 1) * _COLUMN_WIDTH + _LABEL_ROOM,
        height=_TOP + (len(flow.paths) + 1) * _ROW_HEIGHT,
        most_lexical=max((c.lexical.score for c in trace.candidates if c.lexical), default=0.0),
        seconds_rows=_seconds(record),
        used=answer or trace,
    )


def _template() -> Template:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_writable,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(language=_language, cited=_cited, share=_share)
    environment.globals["one_line"] = one_line
    return environment.get_template("report.html")


def _writable(value: Any) -> Any:
    if isinstance(value, Markup) or not isinstance(value, str):
        return value
    return _UNWRITABLE.sub("\ufffd", value)


def _language(text: str) -> str:
    """The language of a text as far as its script tells it; the report's own elsewhere."""
    letters = sum(character.isalpha() for character in text)
    for language, script in _LANGUAGES:
        if len(script.findall(text)) * 4 > letters:
            return language
    return "en"


def _share(score: float, most: float = 1.0) -> str:
    """How much of its bar a score fills, as CSS."""
    return f"{100 * min(max(score / most, 0.0), 1.0):.0f}%" if most else "0%"


def _cited(text: str) -> Iterator[tuple[str, int]]:
    """The text in parts: plain ones with the number 0, citations with their number."""
    position = 0
    for match in _CITATION.finditer(text):
        yield text[position : match.start()], 0
        yield match.group(), int(match[1])
        position = match.end()
    yield text[position:], 0


def _seconds(record: Record) -> list[tuple[str, str]]:
    seconds = record.answer.seconds if record.answer else {}
    return [(stage, f"{value:.3f}") for stage, value in {**record.trace.seconds, **seconds}.items()]


def _sources(record: Record) -> list[_Source]:
    """The passages in the prompt; where nothing is relevant, the nearest."""
    trace, answer = record.trace, record.answer
    if answer is None:
        return [_source(n, candidate, ()) for n, candidate in enumerate(trace.prompt, start=1)]
    passages = answer.passages
    if answer.kind == "nothing relevant":
        passages = trace.candidates[:_NEAREST]
    return [
        _source(n, candidate, [c for c in answer.citations if c.number == n])
        for n, candidate in enumerate(passages, start=1)
    ]


def _source(number: int, candidate: Candidate, citations: Sequence[Citation]) -> _Source:
    text, parts, position = candidate.chunk.text, [], 0
    for start, end in sorted((c.start, c.end) for c in citations if c.quote):
        start = max(start, position)
        if start < end:
            parts += [(text[position:start], False), (text[start:end], True)]
            position = end
    support = max((citation.support for citation in citations), default=None)
    return _Source(number, candidate, (*parts, (text[position:], False)), support)


def _lines(flow: Flow) -> list[_Line]:
    """The paths as they are drawn, the least important first, so that no other hides them."""
    reranked = any(path.ranks[3] is not None for path in flow.paths)
    lines = []
    for place, (path, rows) in enumerate(zip(flow.paths, flow.rows, strict=True), start=1):
        circles = tuple(
            (_LEFT + column * _COLUMN_WIDTH, _TOP + row * _ROW_HEIGHT, rank)
            for column, (row, rank) in enumerate(zip(rows, path.ranks, strict=True))
            if row is not None and rank is not None
        )
        number = path.ranks[4]
        last = 5 if number is not None else 3 if reranked else 2
        label = (_LEFT + last * _COLUMN_WIDTH + 16, _TOP + (number or place) * _ROW_HEIGHT)
        lines.append(_Line(path.candidate, path.fate, number, _curve(circles), circles, label))
    weights = ("other", "kept", "demoted", "cited", "rescued")
    return sorted(lines, key=lambda line: weights.index(line.fate))


def _curve(points: Sequence[tuple[int, int, int]]) -> str:
    """An SVG path that leaves and reaches every point level."""
    if not points:
        return ""
    pieces = [f"M{points[0][0]} {points[0][1]}"]
    for (x, y, _), (next_x, next_y, _) in pairwise(points):
        middle = (x + next_x) // 2
        pieces.append(f"C{middle} {y} {middle} {next_y} {next_x} {next_y}")
    return "".join(pieces)


def _answer_html(answer: Answer | None) -> Markup:
    """The answer's Markdown as HTML, reduced to what cannot lead anywhere.

    Images become their description, links their text and host, HTML its own source, and
    citations links to their sources.
    """
    if answer is None or not answer.answered:
        return Markup()
    parser = MarkdownIt("commonmark", {"html": False}).enable("table").disable("reference")
    passages = len(answer.passages)

    def text(_: Any, tokens: Sequence[Token], index: int, *rest: Any) -> str:
        parts = []
        for part, number in _cited(tokens[index].content):
            known = 1 <= number <= passages
            link = Markup('<a href="#source-{}">[{}]</a>')
            parts.append(link.format(number, number) if known else escape(part))
        return "".join(parts)

    def code(_: Any, tokens: Sequence[Token], index: int, *rest: Any) -> str:
        return Markup("<pre><code>{}</code></pre>\n").format(tokens[index].content)

    for kind, rule in (("text", text), ("fence", code), ("code_block", code)):
        parser.add_render_rule(kind, rule)
    tokens = parser.parse(str(_writable(answer.text)))
    for token in tokens:
        if token.type in ("heading_open", "heading_close"):
            token.tag = "h3"
        if token.type != "ordered_list_open":
            token.attrs = {}
        if token.children:
            token.children = list(_inert(token.children))
    return Markup(parser.renderer.render(tokens, parser.options, {}))


def _inert(tokens: Sequence[Token]) -> Iterator[Token]:
    hosts: list[str] = []
    for token in tokens:
        if token.type == "image":
            yield _plain(f"[image: {token.content}]" if token.content else "[image]")
        elif token.type == "link_open":
            hosts.append(_host(str(token.attrs.get("href", ""))))
        elif token.type == "link_close":
            if host := hosts.pop():
                yield _plain(f" ({host})")
        else:
            yield token


def _host(address: str) -> str:
    try:
        return urlsplit(address).netloc
    except ValueError:
        return ""


def _plain(content: str) -> Token:
    return Token("text", "", 0, content=content)
