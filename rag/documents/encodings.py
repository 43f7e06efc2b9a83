"""Bytes of a text file -> text.

The order: byte order mark, strict UTF-8, the charset the file declares, then a judgement between
the encodings that are met in practice. The judgement asks how probable the decoded text is as
Chinese, Japanese, Korean, Western or Cyrillic text, character by character; the sum over the whole
text is comparable between encodings because every one of them explains the same bytes.
"""

from __future__ import annotations

import codecs
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass

from rag.documents.plausibility import LANGUAGES, log_probability

# What makes a guess certain, in nats between the best encoding and the next.
_CERTAIN = 20.0
# Less probable than this on average is noise: no text in a known encoding.
_NOISE = -10.5
_SAMPLE_BYTES = 32_768
_MOST_INVALID = 0.05

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
    (b"\x84\x31\x95\x33", "gb18030"),
)
# A declared charset means its superset that everybody really writes.
_SUPERSETS = {
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "cp936": "gb18030",
    "iso8859-1": "cp1252",
    "ascii": "cp1252",
    "shift_jis": "cp932",
    "big5": "big5hkscs",
    "euc_kr": "cp949",
}
_TITLES = {
    "utf-8": "UTF-8",
    "utf-16-le": "UTF-16",
    "utf-16-be": "UTF-16",
    "utf-32-le": "UTF-32",
    "utf-32-be": "UTF-32",
    "gb18030": "GB18030",
    "big5hkscs": "Big5",
    "cp932": "Shift-JIS",
    "euc_jp": "EUC-JP",
    "cp949": "EUC-KR",
    "cp1252": "Windows-1252",
    "cp1251": "Windows-1251",
    "koi8_r": "KOI8-R",
}
_EIGHT_BIT = tuple(LANGUAGES)
_WIDE = ("utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be")


@dataclass(frozen=True, slots=True)
class Decoded:
    """A decoded text.

    `encoding` is the name shown to people; `doubtful` is whether it was guessed without being
    certain; `invalid` counts the bytes sequences that were left out because they mean nothing.
    """

    text: str
    encoding: str
    doubtful: bool = False
    invalid: int = 0

    @property
    def remarks(self) -> Iterator[str]:
        """Plain sentences about what the person should know."""
        if self.doubtful:
            yield f"The encoding was guessed: {self.encoding}."
        if self.invalid:
            places = "1 place was" if self.invalid == 1 else f"{self.invalid:,} places were"
            yield f"{places} not valid {self.encoding} and left out."


def decode(content: bytes, declared: str = "") -> Decoded | None:
    """The text of the bytes; None where they are not text.

    `declared` is the charset that the file itself names, if it does.
    """
    for mark, encoding in _MARKS:
        if content.startswith(mark):
            return _decoded(content[len(mark) :], encoding)
    if is_utf8(content):
        return Decoded(content.decode("utf-8"), "UTF-8")
    if encoding := _known(declared):
        decoded = _decoded(content, encoding)
        if decoded is not None and decoded.invalid <= len(content) * 0.005:
            return decoded
    return _judged(content)


def is_utf8(content: bytes) -> bool:
    """Whether the bytes are valid UTF-8 without control characters."""
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return _CONTROL.search(content) is None


_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1a\x1b\x1c-\x1f\x7f]")


def _known(declared: str) -> str:
    """Python's name of the widest encoding that a declared charset stands for, or nothing."""
    try:
        name = codecs.lookup(declared).name if declared else ""
    except (LookupError, ValueError):
        return ""
    return _SUPERSETS.get(name, name)


def _decoded(content: bytes, encoding: str, doubtful: bool = False) -> Decoded | None:
    """The text without the places that are invalid; None where there are too many of them."""
    try:
        text = content.decode(encoding, "replace")
    except (LookupError, UnicodeError):
        return None
    invalid = text.count("\ufffd")
    if invalid > max(2, len(text) * _MOST_INVALID):
        return None
    title = _TITLES.get(encoding, encoding)
    return Decoded(text.replace("\ufffd", ""), title, doubtful, invalid)


def _judged(content: bytes) -> Decoded | None:
    """The most probable reading of the bytes; None where none is probable."""
    sample = content[:_SAMPLE_BYTES]
    scores: dict[str, tuple[float, str]] = {}
    for encoding in _candidates(sample):
        text = sample.decode(encoding, "replace")
        if len(content) > len(sample):
            text = text[:-2]
        scores[text] = max(
            scores.get(text, (-math.inf, "")), (log_probability(text, encoding), encoding)
        )
    ranked = sorted(
        ((score, text, encoding) for text, (score, encoding) in scores.items()), reverse=True
    )
    best, text, encoding = ranked[0]
    if not text or best / len(text) < _NOISE:
        return None
    margin = best - ranked[1][0] if len(ranked) > 1 else math.inf
    return _decoded(content, encoding, doubtful=margin < _CERTAIN)


def _candidates(sample: bytes) -> Iterator[str]:
    yield "utf-8"
    if b"\x1b" in sample:
        yield "iso2022_jp"
    yield from (encoding for encoding in _EIGHT_BIT if encoding != "iso2022_jp")
    yield from _WIDE if b"\0" in sample else _WIDE[:2]
    if (other := _second_opinion(sample)) and other not in (*_EIGHT_BIT, *_WIDE, "utf-8"):
        yield other


def _second_opinion(sample: bytes) -> str:
    """What charset-normalizer thinks, for the encodings that are not judged here."""
    from charset_normalizer import from_bytes

    match = from_bytes(sample[:4096]).best()
    return _known(match.encoding) if match else ""
