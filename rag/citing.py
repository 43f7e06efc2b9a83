"""What a model's answer cites: its `[n]` in every spelling, and whether a quote is there. Pure."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass

SentenceSplitter = Callable[[str], list[tuple[int, int]]]


@dataclass(frozen=True, slots=True)
class Claim:
    """A sentence that cites, or that states something without a citation.

    `start` and `end` are its offsets in the cited text, its citations included.
    `numbers` are the passages it cites, in the order of their first appearance.
    `text` is the sentence without its citations.
    """

    start: int
    end: int
    numbers: tuple[int, ...]
    text: str


@dataclass(frozen=True, slots=True)
class CitedText:
    """An answer in which every citation is `[n]` with n from 1 to the number of passages.

    `dropped` counts the numbers that were taken out because no passage has them.
    """

    text: str
    dropped: int
    claims: tuple[Claim, ...]


_CODE = (
    r"^[ ]{0,3}(?P<fence>`{3,}|~{3,})(?s:.*?)(?:^[ ]{0,3}(?P=fence)[`~]*[ \t]*$|\Z)"
    r"|(?<!`)(?P<ticks>`+)(?!`)(?:(?!\n[ \t]*\n)(?s:.))+?(?<!`)(?P=ticks)(?!`)"
)
_NUMBER = r"\d+(?::\d+(?=\s?†))?(?:\s?†[^\]】］,，、;；\n]{0,80})?"
_NUMBERS = rf"{_NUMBER}(?:\s?[-‐‑–—−~～至,，、;；]\s?\^?{_NUMBER})*"
_NAMED = r"(?:passages?|sources?|段落|来源|資料|资料|文档)?"
# 国发[2023]5号 is the number of an official document and cites nothing.
_BRACKETS = (
    rf"[\[［【]{{1,2}}\s?\^?{_NAMED}\s?({_NUMBERS})\s?[\]］】]{{1,2}}(?!\s?第?\d+号)"
    r"(?:\(\s?<?[^()\s]*>?(?:\s\"[^\"\n]*\")?\s?\))?"
)
_RUN = rf"{_BRACKETS}(?:[ \t]?[,，、;；]?[ \t]?{_BRACKETS})*"
# At the start of a line `[1]: address` would make every [1] of the answer a link.
_DEFINITION = r"(?P<definition>[ \t]?[:：](?:[ \t]*<?[a-z][a-z0-9+.-]*:\S*)?)?(?P<after>[ \t]*)"
_ONE = re.compile(_BRACKETS, re.IGNORECASE)
_WRITTEN = re.compile(
    rf"(?P<code>{_CODE})|(?P<line>^)?(?P<blank>(?<![ \t\u3000])[ \t\u3000]*|)(?P<open>[(（]\s?)?"
    rf"(?P<run>{_RUN})(?(open)(?P<close>\s?[)）])?)(?(line){_DEFINITION})",
    re.MULTILINE | re.IGNORECASE,
)
_NORMAL = re.compile(
    rf"(?P<code>{_CODE})"
    r"|[ \t\u3000]?(?P<run>\((?:\[\d+\])+\)|（(?:\[\d+\])+）|(?:\[\d+\])+)(?!\s?第?\d+号)",
    re.MULTILINE,
)
_CODE_ONLY = re.compile(_CODE, re.MULTILINE)
# 《》 are the marks of a title.
_QUOTATION = re.compile(
    r"“(?:[^“”\n]|“[^“”\n]*”)*”|「(?:[^「」\n]|「[^「」\n]*」)*」|『[^『』\n]*』|\"[^\"\n]*\""
)
_HEADING = re.compile(r"#{1,6}(?:[ \t]|$)|(?P<bold>\*\*|__)[^.!?。！？]+(?P=bold)$")
_STATES_NOTHING = re.compile(r"[:：?？]\W*$")
_OPENING = re.compile(r"[\s>#*•_\"“「(（–—-]*(?:\d+[.)、]\s*)?[\s*_\"“「(（]*")
_WORD = re.compile(r"\w")


def cite(answer: str, passages: int, sentences: SentenceSplitter) -> CitedText:
    """The answer with every citation written as `[n]`, and its sentences.

    Read are `[1]`, `[1][2]`, `[1, 2]`, `[1-3]`, `[^1]`, `【1】`, `［１］`, `[1†source]`,
    `[passage 1]` and `[1](address)`, whose address is lost.
    Code stays as it is. A number that no passage has is taken out and counted.
    `sentences` gives the spans of the sentences of a text. A quotation is never cut. A citation
    belongs to the sentence before it, also after the full stop, or to the sentence that it opens a
    line with. Headings, questions, lead-ins that end with a colon, and code are sentences only
    where they cite.
    """
    text, dropped = _normalised(answer, passages)
    return CitedText(text, dropped, _claims(text, sentences))


def without_citations(text: str) -> str:
    """The text as it reads without the citations in it, whatever their numbers."""
    return _WRITTEN.sub(lambda match: match["code"] or "", text)


def quotations(text: str) -> list[str]:
    """What a text has in quotation marks, without the marks; of a quotation inside one the outer.

    Read are “”, "", 「」 and 『』, on one line.
    """
    return [match.group()[1:-1] for match in _QUOTATION.finditer(text)]


def _normalised(text: str, passages: int) -> tuple[str, int]:
    dropped = 0

    def rewritten(match: re.Match[str]) -> str:
        nonlocal dropped
        if match["code"]:
            return match.group()
        written = ",".join(one[1] for one in _ONE.finditer(match["run"]))
        numbers, invented = _numbers(written, passages)
        dropped += invented
        opening, closing = match["open"] or "", match["close"] or ""
        if not numbers:
            return "" if closing or not opening else match["blank"] + opening
        cited = "".join(f"[{number}]" for number in numbers)
        after = " " if match["definition"] or match["after"] else ""
        return match["blank"] + opening + cited + closing + after

    # Taking a number out can bring together the brackets around it.
    while (changed := _WRITTEN.sub(rewritten, text)) != text:
        text = changed
    return text, dropped


def _numbers(written: str, passages: int) -> tuple[tuple[int, ...], int]:
    """The passages that `1, 3-5` names, each once, and how many numbers name none."""
    named: dict[int, None] = {}
    invented = 0
    for part in re.split(r"[,，、;；]", written):
        ends = [_number(number) for number in re.findall(r"\d+(?::\d+)?", part.partition("†")[0])]
        invented += sum(not 1 <= end <= passages for end in ends)
        for number in range(max(1, min(ends)), min(passages, max(ends)) + 1):
            named[number] = None
    return tuple(named), invented


def _number(digits: str) -> int:
    digits = digits.partition(":")[0]
    return int(digits) if len(digits) < 9 else 10**9


@dataclass(frozen=True, slots=True)
class _Mark:
    """Citations at one place of the text; `at` is where they stood in the text without them."""

    at: int
    start: int
    end: int
    numbers: tuple[int, ...]


def _claims(text: str, sentences: SentenceSplitter) -> tuple[Claim, ...]:
    bare, marks = _marks(text)
    spans = _uncut([span for span in sentences(bare) if bare[slice(*span)].strip()], bare)
    cited: dict[tuple[int, int], list[_Mark]] = {}
    for mark in marks:
        cited.setdefault(_cited_span(bare, mark.at, spans), []).append(mark)
    prose = _CODE_ONLY.sub(lambda match: " " * len(match.group()), bare)
    for span in spans:
        if _states(prose[slice(*span)].strip()):
            cited.setdefault(span, [])
    return tuple(_claim(bare, span, cited[span], marks) for span in sorted(cited))


def _uncut(spans: Sequence[tuple[int, int]], text: str) -> list[tuple[int, int]]:
    """The spans, those joined between which a quotation goes on."""
    joined: list[tuple[int, int]] = []
    quotations = [match.span() for match in _QUOTATION.finditer(text)]
    following = 0
    for start, end in spans:
        while following < len(quotations) and quotations[following][1] <= start:
            following += 1
        if joined and following < len(quotations) and quotations[following][0] < joined[-1][1]:
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((start, end))
    return joined


def _states(sentence: str) -> bool:
    """Whether a sentence without a citation claims something."""
    return bool(
        _WORD.search(sentence)
        and not _HEADING.match(sentence)
        and not _STATES_NOTHING.search(sentence)
    )


def _claim(bare: str, span: tuple[int, int], own: Sequence[_Mark], marks: Sequence[_Mark]) -> Claim:
    statement = bare[slice(*span)]
    first = span[0] + len(statement) - len(statement.lstrip())
    last = first + len(statement.strip())
    start = first + sum(mark.end - mark.start for mark in marks if mark.at <= first)
    end = last + sum(mark.end - mark.start for mark in marks if mark.at < last)
    return Claim(
        start=min([start, *(mark.start for mark in own)]),
        end=max([end, *(mark.end for mark in own)]),
        numbers=tuple(dict.fromkeys(number for mark in own for number in mark.numbers)),
        text=statement.strip(),
    )


def _marks(text: str) -> tuple[str, list[_Mark]]:
    """The text without its citations, and where they stood."""
    bare = ""
    marks: list[_Mark] = []
    position = 0
    for match in _NORMAL.finditer(text):
        if match["code"]:
            continue
        bare += text[position : match.start()]
        position = match.end()
        numbers = tuple(int(number) for number in re.findall(r"\d+", match["run"]))
        marks.append(_Mark(len(bare), match.start(), match.end(), numbers))
    return bare + text[position:], marks


def _cited_span(bare: str, at: int, spans: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """The sentence that a citation at `at` stands for; an empty span where there is none."""
    line_start = bare.rfind("\n", 0, at) + 1
    line_end = bare.find("\n", at) % (len(bare) + 1)
    following = _WORD.search(bare, at, line_end)
    if following and _OPENING.fullmatch(bare, line_start, at):
        anchor = following.start()
    else:
        anchor = len(bare[:at].rstrip()) - 1
    before = [span for span in spans if span[0] <= anchor]
    return before[-1] if before else (at, at)


_QUOTATION_MARKS = frozenset("\"'`´‘’‚‛“”„‟«»‹›「」『』〝〞〟〈〉《》")


def find_quote(quote: str, text: str) -> tuple[int, int] | None:
    """Where `text` holds `quote`, as offsets into `text`; None where it does not.

    White space, case, full and half width and the kind of quotation marks do not count.
    """
    folded, _ = _folded(quote.strip().strip("".join(_QUOTATION_MARKS)))
    if not folded:
        return None
    searched, origins = _folded(text)
    start = searched.find(folded)
    while start >= 0:
        end = start + len(folded)
        # A character may be compared as several: half of one is no match.
        neighbours = {*origins[start - 1 : start], *origins[end : end + 1]}
        if neighbours.isdisjoint({origins[start], origins[end - 1]}):
            return origins[start], origins[end - 1] + 1
        start = searched.find(folded, start + 1)
    return None


def _folded(text: str) -> tuple[str, list[int]]:
    """The text as it is compared, and for each of its characters the offset it comes from."""
    characters: list[str] = []
    origins: list[int] = []
    for offset, character in enumerate(text):
        for folded in unicodedata.normalize("NFKD", character).casefold():
            if folded.isspace() or unicodedata.category(folded) == "Cf":
                continue
            characters.append('"' if folded in _QUOTATION_MARKS else folded)
            origins.append(offset)
    return "".join(characters), origins
