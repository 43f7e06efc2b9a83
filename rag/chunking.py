"""Cutting a document into passages that follow its text: headings, paragraphs, sentences."""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

from rag.sentences import Break, Sentence, parse
from rag.settings import IndexSettings
from rag.types import Chunk, Document

TokenSpans = Callable[[Sequence[str]], list[list[tuple[int, int]]]]
_Path = tuple[tuple[int, str], ...]

_BATCH = 512

# Kinds of text in which `# ` begins a comment, a row or a prompt rather than a heading.
_WITHOUT_HEADINGS = re.compile(r"application/(?:pdf|json|x-)|text/(?:csv|x-(?!markdown))")
_LONGEST_TITLE = 120

# What a cut costs, as a share of the budget: a cut at a better place may make a chunk that much
# shorter or longer than its neighbours.
_COST_INSIDE_SENTENCE = 1.0
_COST = {Break.SENTENCE: 0.3, Break.LINE: 0.15, Break.PARAGRAPH: 0.05, Break.HEADING: 0.0}
_COST_AFTER_HEADING = 2.0

_CLAUSE_END = frozenset(",;:，；：、。．！？.!?…)）]】」』”’—")
_FIRST_UNSPACED = "\u2e80"  # Chinese and Japanese begin here, written without blanks
_JOINERS = frozenset("\u200d\ufe0e\ufe0f")


@dataclass(frozen=True, slots=True)
class _Unit:
    """A sentence, or a piece of one that is longer than a chunk may be.

    `before` is None where the cut in front of the unit lies inside a sentence.
    `whole` tells a sentence from a piece. `path` holds the titles above the unit.
    """

    start: int
    end: int
    tokens: int
    before: Break | None
    whole: bool
    path: tuple[str, ...]

    @property
    def is_heading(self) -> bool:
        return self.before is Break.HEADING

    @property
    def size(self) -> int:
        """Tokens, at least one, so that no chunk takes units without end."""
        return max(self.tokens, 1)


def chunk_document(
    document: Document, token_spans: TokenSpans, settings: IndexSettings
) -> list[Chunk]:
    """The passages of a document in order; none reaches over the end of its page.

    Every character that is not blank is in a passage.
    A passage holds whole sentences and at most `chunk_tokens` tokens, counted sentence by sentence;
    a sentence that alone is longer is cut between tokens, at a line break, the end of a clause or
    a blank where there is one.
    A heading stays with the text below it, unless the two are longer than a passage may be.
    Where a page or section is cut, a passage repeats the last sentences of the one before, at most
    `overlap_tokens`.
    """
    with_headings = not _WITHOUT_HEADINGS.match(document.media_type)
    chunks: list[Chunk] = []
    path: tuple[tuple[int, str], ...] = ()
    for page in document.pages:
        units, path = _units(page.text, path, token_spans, settings.chunk_tokens, with_headings)
        for group in _groups(units, settings.chunk_tokens):
            for first, last in _passages(group, settings.chunk_tokens, settings.overlap_tokens):
                start, end = group[first].start, group[last].end
                titles = _shared_path(group[first : last + 1])
                chunks.append(
                    Chunk(
                        id=f"{document.id[:16]}-{len(chunks)}",
                        document_id=document.id,
                        position=len(chunks),
                        page=page.number,
                        start=start,
                        end=end,
                        text=page.text[start:end],
                        heading=" > ".join(titles),
                    )
                )
    return chunks


def _shared_path(units: Sequence[_Unit]) -> Iterator[str]:
    """The titles that all units have above them."""
    paths = [unit.path for unit in units]
    for title, other in zip(min(paths), max(paths), strict=False):
        if title != other:
            return
        yield title


def _units(
    text: str, path: _Path, token_spans: TokenSpans, budget: int, with_headings: bool
) -> tuple[list[_Unit], _Path]:
    """The units of a page, and the headings that are open at its end."""
    units: list[_Unit] = []
    titles = tuple(title for _, title in path)
    above = 0
    for part, body, spans in _with_tokens(text, token_spans):
        before: Break | None = part.before
        if part.level and with_headings:
            title = body.strip("# \t")[:_LONGEST_TITLE].rstrip()
            path = _under(path, part.level, title)
            titles = tuple(title for _, title in path)
        elif part.level:
            before = Break.LINE
        if len(spans) <= budget:
            units.append(_Unit(part.start, part.end, len(spans), before, True, titles))
            above = above + len(spans) if before is Break.HEADING else 0
            continue
        # The first piece leaves room for the headings above it.
        for start, end, tokens in _pieces(body, spans, max(budget - above, budget // 2)):
            units.append(_Unit(part.start + start, part.start + end, tokens, before, False, titles))
            before = None
        above = 0
    return units, path


def _under(path: _Path, level: int, title: str) -> _Path:
    """The open headings once another one begins."""
    return (*((outer, name) for outer, name in path if outer < level), (level, title))


def _with_tokens(
    text: str, token_spans: TokenSpans
) -> Iterator[tuple[Sentence, str, list[tuple[int, int]]]]:
    """Each sentence, its text and its tokens."""
    parts = parse(text)
    for first in range(0, len(parts), _BATCH):
        batch = parts[first : first + _BATCH]
        bodies = [text[part.start : part.end] for part in batch]
        yield from zip(batch, bodies, token_spans(bodies), strict=True)


def _pieces(
    text: str, spans: Sequence[tuple[int, int]], budget: int
) -> Iterator[tuple[int, int, int]]:
    """Start, end and tokens of about equal parts of a text that is longer than the budget."""
    first, start = 0, 0
    while first < len(spans):
        cut = _cut(text, spans, first, budget)
        end = len(text) if cut == len(spans) else spans[cut][0]
        piece = text[start:end]
        body = piece.strip()
        if body:
            begin = start + len(piece) - len(piece.lstrip())
            yield begin, begin + len(body), cut - first
        first, start = cut, end


def _cut(text: str, spans: Sequence[tuple[int, int]], first: int, budget: int) -> int:
    """The token before which a piece that begins at token `first` ends."""
    remaining = len(spans) - first
    if remaining <= budget:
        return len(spans)
    ideal = remaining / -(-remaining // budget)
    cuts = range(first + max(1, int(ideal * 2 / 3)), first + budget + 1)
    return max(cuts, key=lambda at: (_cut_quality(text, spans, at), -abs(at - first - ideal)))


def _cut_quality(text: str, spans: Sequence[tuple[int, int]], at: int) -> int:
    """How good a cut is in front of a token: 5 at a line break, 0 inside a character."""
    end, start = spans[at - 1][1], spans[at][0]
    right = text[start : start + 1]
    if start < end or not right:
        return 0
    left = text[max(0, end - 1) : end]
    # The span of a word may begin with the blank in front of it.
    between = text[end : start + 1]
    if "\n" in between:
        return 5
    if left in _CLAUSE_END:
        return 4
    if between[0].isspace():
        return 3
    if unicodedata.combining(right) or right in _JOINERS or left in _JOINERS:
        return 0
    return 1 if left.isalnum() and right.isalnum() and right < _FIRST_UNSPACED else 2


def _groups(units: Sequence[_Unit], budget: int) -> list[list[_Unit]]:
    """Neighbouring sections joined while they fit; a section of many tokens is one group.

    Groups begin at headings only.
    """
    groups: list[list[_Unit]] = []
    sizes: list[int] = []
    for section in _sections(units):
        size = sum(unit.size for unit in section)
        if groups and _joins(groups[-1], sizes[-1], size, budget):
            groups[-1].extend(section)
            sizes[-1] += size
        else:
            groups.append(list(section))
            sizes.append(size)
    if len(groups) > 1 and sizes[-1] <= budget // 4 and sizes[-2] + sizes[-1] <= budget:
        groups[-2].extend(groups.pop())
    return groups


def _sections(units: Sequence[_Unit]) -> Iterator[Sequence[_Unit]]:
    """Runs of units; each but the first begins with a heading."""
    first = 0
    for index in range(1, len(units) + 1):
        if index == len(units) or units[index].is_heading:
            yield units[first:index]
            first = index


def _joins(group: Sequence[_Unit], size: int, added: int, budget: int) -> bool:
    """Whether the next section belongs to a group."""
    if group[-1].is_heading:
        return True
    return size < budget / 2 and (size + added <= budget or size < budget / 4)


def _passages(group: Sequence[_Unit], budget: int, overlap: int) -> Iterator[tuple[int, int]]:
    """First and last unit of the passages of one group."""
    ends = list(accumulate(unit.size for unit in group))
    if ends[-1] <= budget:
        yield 0, len(group) - 1
        return
    first = previous = 0
    while first < len(group):
        last = _last(group, ends, first, budget, budget - min(overlap, budget // 2))
        yield _with_overlap(group, first, last, previous, budget, overlap), last
        first, previous = last + 1, first


def _last(group: Sequence[_Unit], ends: Sequence[int], first: int, budget: int, aim: int) -> int:
    """The last unit of the passage that begins at `first`: near an equal share, at a good break."""
    done = ends[first - 1] if first else 0
    remaining = ends[-1] - done
    if remaining <= budget:
        return len(group) - 1
    share = remaining / -(-remaining // aim)
    highest = max(first, bisect_right(ends, done + budget, lo=first) - 1)
    lowest = min(highest, bisect_right(ends, done + share / 2, lo=first))

    def cost(last: int) -> float:
        return abs(ends[last] - done - share) / aim + _cost(group, last)

    return min(range(lowest, highest + 1), key=cost)


def _cost(group: Sequence[_Unit], last: int) -> float:
    """The cost of a cut behind a unit."""
    if group[last].is_heading:
        return _COST_AFTER_HEADING
    before = group[last + 1].before
    return _COST_INSIDE_SENTENCE if before is None else _COST[before]


def _with_overlap(
    group: Sequence[_Unit], first: int, last: int, previous: int, budget: int, overlap: int
) -> int:
    """The unit a passage begins with once the last sentences before it are repeated."""
    if group[first].is_heading:
        return first
    room = min(overlap, budget - sum(unit.size for unit in group[first : last + 1]))
    while first - 1 > previous:
        unit = group[first - 1]
        if unit.is_heading or not unit.whole or unit.size > room:
            break
        room -= unit.size
        first -= 1
    return first
