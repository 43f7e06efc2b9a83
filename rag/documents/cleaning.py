"""Text as it should be searched: without what cannot be seen and hides words from search."""

from __future__ import annotations

import re
import unicodedata

# Bidirectional marks, zero-width characters, tags and non-characters: invisible, yet they split
# a word for every index, and they can hide instructions in a page that looks innocent.
_INVISIBLE = (
    "\u00ad\u034f\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ufffe\uffff\U000e0000-\U000e007f"
)
_REMOVED = re.compile(f"[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff{_INVISIBLE}]")
_LINE_END = re.compile("\r\n?|[\x0b\x0c\x85\u2028\u2029]")
# Joiners are letters of a kind in Arabic, Persian and Indic scripts and hold emoji together.
_JOINER = re.compile("(?<![\u0600-\u0dff\ufe0f\U0001f000-\U0001faff])[\u200c\u200d]")
# No layout needs this many; files are padded with millions of them.
_LONG_GAP = re.compile("[ \t\xa0\u3000]{64,}")
_BLANK_LINES = re.compile("\n{3,}")
_HYPHEN_END = re.compile(r"(?<![\w-])([^\W\d_]{2,})-\n([a-zß-ÿ]+)([^\S\n]*)")

# Code points that fonts use in place of the ordinary characters: Kangxi radicals, compatibility
# ideographs and Latin ligatures. A question is typed with the ordinary ones.
_LOOK_ALIKES = {
    code: unicodedata.normalize("NFKC", chr(code))
    for first, last in ((0x2E80, 0x2FDF), (0xF900, 0xFAFF), (0xFB00, 0xFB06))
    for code in range(first, last + 1)
}


def clean(text: str) -> str:
    """The text with line feeds only and without control, bidi and zero-width characters.

    Trailing blanks and more than one empty line in a row are dropped; a gap of 64 blanks or more
    becomes one blank.
    """
    text = _JOINER.sub("", _REMOVED.sub("", _LINE_END.sub("\n", text)))
    # Line by line: an expression for trailing blanks takes quadratic time on a long run of them.
    text = "\n".join(line.rstrip() for line in _LONG_GAP.sub(" ", text).split("\n"))
    return _BLANK_LINES.sub("\n\n", text).strip("\n")


def repair_print(text: str) -> str:
    """Printed text made searchable: ligatures spelt out, words joined that a line end divides.

    A joined word stays on the first of the two lines.
    """
    return _HYPHEN_END.sub(r"\1\2\n", text.translate(_LOOK_ALIKES))


def unreadable_share(text: str) -> float:
    """Share of the visible characters that are replacement or private-use characters, 0..1."""
    visible = [character for character in text if not character.isspace()]
    bad = sum(c == "\ufffd" or unicodedata.category(c) in ("Co", "Cn", "Cc") for c in visible)
    return bad / len(visible) if visible else 0.0
