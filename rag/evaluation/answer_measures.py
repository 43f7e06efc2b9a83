"""How near a text comes to answers that are known to be right. Pure.

Exact match and token F1 are those of SQuAD (Rajpurkar et al. 2016): without case, punctuation and
the articles a, an and the. Chinese is compared by characters, as CMRC 2018 does (Cui et al. 2019),
and the rest of a mixed text by words. Tokens are counted as a bag in both languages, as in MLQA
(Lewis et al. 2020), where CMRC 2018 takes the longest common piece. Ours also makes full and half
width equal.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence

from rag.folding import fold

_ARTICLES = frozenset({"a", "an", "the"})
_HAN = r"[\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
_TOKEN = re.compile(rf"{_HAN}|(?:(?!{_HAN})\S)+")

_DENIAL = re.compile(
    r"\b(?:not|no|none|nothing|neither|nor|cannot|unable|without)\b|n['’]t\b|不|没|沒|未|无|無",
    re.IGNORECASE,
)
_SOURCE = re.compile(
    r"\b(?:passages?|sources?|documents?|texts?|context|information|answer(?:s|ed)?|mention\w*|"
    r"contain\w*|provide\w*|specif\w*|state[sd]?|says?|found|find|know)\b"
    r"|段落|文段|文本|文档|文檔|文件|资料|資料|来源|來源|信息|訊息|资讯|資訊|上下文"
    r"|提及|提到|提供|说明|說明|回答|答案|找到|知道|涉及|包含|记载|記載",
    re.IGNORECASE,
)


def tokens(text: str) -> list[str]:
    """Chinese characters and the words between them, as they are compared.

    Punctuation and symbols are taken out as SQuAD does, so that `U.S.` is `us`.
    """
    kept = "".join(one for one in fold(text) if unicodedata.category(one)[0] not in "PS")
    return _tokens(kept)


def exact_match(answer: str, right: Sequence[str]) -> float:
    """1 where the answer is one of the right ones, else 0."""
    return _best(lambda said, known: float(said == known), answer, right)


def token_f1(answer: str, right: Sequence[str]) -> float:
    """Harmonic mean of the shares of tokens in common, 0..1, with the right answer nearest to it.

    An answer without any token has 1 with another of its kind, else 0.
    """
    return _best(_f1, answer, right)


def holds(text: str, right: Sequence[str]) -> bool:
    """Whether one of the right answers stands in the text, token by token.

    Here punctuation ends a token, so that `1990` stands in `1990–1995`.
    """
    said = _separated(text)
    return any(
        said[start : start + len(known)] == known
        for known in map(_separated, right)
        if known
        for start in range(len(said) - len(known) + 1)
    )


def says_nothing_found(text: str) -> bool:
    """Whether the words deny that sources answer; known in English and Chinese."""
    return bool(_DENIAL.search(text) and _SOURCE.search(text))


def _best(
    measure: Callable[[list[str], list[str]], float], answer: str, right: Sequence[str]
) -> float:
    said = tokens(answer)
    return max((measure(said, tokens(known)) for known in right), default=0.0)


def _f1(said: list[str], known: list[str]) -> float:
    if not said or not known:
        return float(said == known)
    common = (Counter(said) & Counter(known)).total()
    return 2 * common / (len(said) + len(known))


def _separated(text: str) -> list[str]:
    return _tokens(
        "".join(" " if unicodedata.category(one)[0] in "PS" else one for one in fold(text))
    )


def _tokens(text: str) -> list[str]:
    return [token for token in _TOKEN.findall(text) if token not in _ARTICLES]
