"""Other forms of a text: one for the words of full-text search, one for a single line."""

from __future__ import annotations

import re
import unicodedata

_CHINESE = r"[\u2e80-\u9fff\uf900-\ufaff\uff00-\uffef]"
_BREAK_IN_CHINESE = re.compile(rf"(?<={_CHINESE})[^\S\n]*\n\s*(?={_CHINESE})")


def fold(text: str) -> str:
    """The text with width, ligatures and letter case made equal (NFKC and case folding)."""
    return unicodedata.normalize("NFKC", text).casefold()


def one_line(text: str) -> str:
    """The text with every run of blanks made one; a line break inside Chinese leaves none."""
    return " ".join(_BREAK_IN_CHINESE.sub("", text).split())
