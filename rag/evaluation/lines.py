"""Text files line by line, and what is said of a line that is broken."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from rag.errors import UnreadableFile


def numbered_lines(path: Path, hint: str = "") -> Iterator[tuple[int, str]]:
    """The lines of a file that are not blank, with their numbers, the first being 1.

    Raises UnreadableFile, with the hint where the file cannot be opened.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UnreadableFile(f"{path} cannot be opened: {error.strerror}.", hint) from None
    except UnicodeDecodeError:
        raise UnreadableFile(f"{path} is not UTF-8.", "Save it as UTF-8.") from None
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield number, line.rstrip("\r")


def broken(path: Path, line: int, said: str) -> UnreadableFile:
    """The failure that names a line and what is wrong with it."""
    return UnreadableFile(f"{path}, line {line}: {said}.", "Correct the line and start again.")
