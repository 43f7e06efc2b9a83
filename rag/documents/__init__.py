"""Bytes of a file -> Document, through a child process with limits.

The parent never parses: `reading` starts `child` and listens; one module a format reads; `formats`
is the table of them. Nothing heavy is imported here, for the child imports this package, too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from rag.documents.formats import SUFFIXES
from rag.documents.names import safe_name

if TYPE_CHECKING:
    from rag.settings import ReadingLimits
    from rag.types import Document, PageRead

__all__ = ["SUFFIXES", "read_document", "safe_name"]


def read_document(
    content: bytes,
    name: str,
    limits: ReadingLimits,
    progress: Callable[[PageRead], None] | None = None,
) -> Document:
    """The document that the bytes are, whatever their name says.

    `progress` is told every page in order; an exception from it stops reading.
    Pages that cannot be read are in the document with their `problem`.
    Raises UnsupportedFile for a kind of file that has no reader, UnreadableFile for a file that is
    broken, protected, empty, too large or without text, and MissingDependency.
    """
    from rag.documents.reading import read

    return read(content, name, limits, progress)
