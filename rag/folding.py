"""One form for the words of full-text search, the same for what is indexed and what is asked."""

from __future__ import annotations

import unicodedata


def fold(text: str) -> str:
    """The text with width, ligatures and letter case made equal (NFKC and case folding)."""
    return unicodedata.normalize("NFKC", text).casefold()
