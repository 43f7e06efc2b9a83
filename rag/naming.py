"""What a file's name tells of the document in it. Pure."""

from __future__ import annotations

import re

from rag.folding import fold

MOST_CHARACTERS = 60

_ENDING = re.compile(r"\.(?=[0-9]*[a-z])[a-z0-9]{1,8}$", re.IGNORECASE)
_BETWEEN_WORDS = re.compile(r"[\s_-]+")
_DRAWN = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{16,}", re.IGNORECASE)
_UNSPACED = re.compile(r"[\u2e80-\u9fff\uac00-\ud7af\U00020000-\U0003ffff]")

# What cameras, scanners and programs call any file.
_OF_ANY_FILE = frozenset(
    fold(
        "attachment copy doc document download draft dsc dscf dscn file final image img new output "
        "page pdf photo pic picture pxl scan scanned screenshot text unnamed untitled vid "
        "副本 图片 图像 下载 附件 文件 文档 扫描 扫描件 截图 屏幕截图 微信图片 照片 "
        "新建文件 新建文档 新建文本文档 未命名 无标题"
    ).split()
)


def telling_name(name: str) -> str:
    """What the name of a document tells its reader: its words, without the ending; "" for nothing.

    A name tells something where one of its words is of letters, with digits at most at its end,
    and is neither a single letter nor what any file may be called: `2023 Q1 AAPL`, `ISO9001` and
    `年报` do; `IMG_2034`, `scan 0012`, `2403.01234v2`, `扫描件 3` and a random identifier do not.
    The end of a name of more than `MOST_CHARACTERS` is left out.
    """
    readable = _ENDING.sub("", name.encode("utf-8", "replace").decode())
    if not any(map(_tells, _BETWEEN_WORDS.split(_DRAWN.sub("", readable)))):
        return ""
    words = " ".join(_BETWEEN_WORDS.sub(" ", readable).split())
    if len(words) <= MOST_CHARACTERS:
        return words
    # Without blanks, as in Chinese, it ends anywhere.
    begun, blank, _ = words[: MOST_CHARACTERS + 1].rpartition(" ")
    return begun if blank else words[:MOST_CHARACTERS]


def _tells(word: str) -> bool:
    letters = fold("".join(filter(str.isalnum, word))).rstrip("0123456789")
    if any(map(str.isdigit, letters)) or letters in _OF_ANY_FILE:
        return False
    return len(letters) > 1 or bool(_UNSPACED.match(letters))
