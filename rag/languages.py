"""The language of a text by its letters. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

Language = Literal["zh", "en"]

# By letters alone German cannot be told from English, nor Kanji from Chinese.
_NAMES: Mapping[Language, str] = {"zh": "Chinese", "en": "Latin letters"}
_HAN = re.compile(r"[\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
_LETTER = re.compile(r"[A-Za-z\u00c0-\u024f]+")

# A passage with more of the question's own letters than this is in both languages.
_BOTH = 0.25


def language_of(text: str) -> Language:
    """The language of a text by its script: "zh" or else "en".

    A Chinese character counts as much as a word in Latin letters, so that a Chinese question with
    an English name in it is Chinese.
    """
    return _language(_counts(text))


def crossing(question: str, passage: str) -> str:
    """What languages lie between a question and a passage, in words; empty where none do.

    A passage in both languages is in the question's, and a text of neither is in no other.
    """
    if not across(question, passage):
        return ""
    asked = language_of(question)
    read: Language = "en" if asked == "zh" else "zh"
    return f"question in {_NAMES[asked]}, passage in {_NAMES[read]}"


def across(question: str, passage: str) -> bool:
    """Whether a passage is in another language than the question."""
    asked, read = _counts(question), _counts(passage)
    language, letters = _language(asked), sum(read.values())
    return bool(asked[language] and letters) and read[language] <= _BOTH * letters


def _language(counts: Mapping[Language, int]) -> Language:
    return "zh" if counts["zh"] > counts["en"] else "en"


def _counts(text: str) -> dict[Language, int]:
    """Chinese characters and words in Latin letters."""
    return {"zh": len(_HAN.findall(text)), "en": len(_LETTER.findall(text))}
