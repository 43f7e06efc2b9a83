"""What may be kept of a file's name: it is shown and searched, and is never a path."""

from __future__ import annotations

import re

from rag.documents.cleaning import clean

_LONGEST_NAME = 255
_LONGEST_SUFFIX = 16


def safe_name(name: str) -> str:
    """The last part of a file name, without control and invisible characters, 255 at most."""
    last = " ".join(clean(re.split(r"[/\\]", name)[-1]).split())
    if len(last) > _LONGEST_NAME:
        suffix = last[last.rfind(".") :] if "." in last[-_LONGEST_SUFFIX:] else ""
        last = last[: _LONGEST_NAME - len(suffix)] + suffix
    return last or "unnamed"
