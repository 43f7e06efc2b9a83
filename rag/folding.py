"""Other forms of a text: one for the words of full-text search, one for a single line."""

from __future__ import annotations

import re
import unicodedata
from functools import cache
from typing import Any

_CHINESE = r"[\u2e80-\u9fff\uf900-\ufaff\uff00-\uffef]"
_BREAK_IN_CHINESE = re.compile(rf"(?<={_CHINESE})[^\S\n]*\n\s*(?={_CHINESE})")
_HAN = re.compile(r"[\u2e80-\u9fff\U00020000-\U0003ffff]")


def fold(text: str) -> str:
    """The text with width, ligatures, letter case and Chinese script made equal.

    That is NFKC, case folding, and Simplified characters for Traditional ones, by OpenCC.
    """
    return fold_width_and_case(text).translate(_SIMPLIFIED)


def fold_width_and_case(text: str) -> str:
    """The text as `fold` gives it, its Traditional characters left alone."""
    return unicodedata.normalize("NFKC", text).casefold()


def encodable(text: str) -> str:
    """The text with "?" for half a surrogate pair, which UTF-8 cannot hold; same length."""
    return text.encode("utf-8", "replace").decode("utf-8")


def one_line(text: str) -> str:
    """The text with every run of blanks made one; a line break inside Chinese leaves none."""
    return " ".join(_BREAK_IN_CHINESE.sub("", text).split())


class _Simplified(dict[int, str]):
    """The Simplified form of every character that was asked for.

    Characters are converted one by one. By phrases the same word could differ between a question
    and a passage with other neighbours, and a text could change its length.
    """

    def __missing__(self, code: int) -> str:
        character = chr(code)
        found = _converter().convert(character) if _HAN.match(character) else character
        self[code] = found
        return found


@cache
def _converter() -> Any:
    # Loads its dictionaries, so only where there is Chinese.
    from opencc import OpenCC

    # All that "t2s" converts, and the forms of Hong Kong, as in 衞.
    return OpenCC("hk2s")


_SIMPLIFIED = _Simplified()
