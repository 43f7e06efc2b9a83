"""What a reader is given and what it reports, and the line each report travels as.

The child process writes one JSON array a line; the parent turns it back into the same record.
"""

from __future__ import annotations

import json
from dataclasses import astuple, dataclass
from typing import Any

# The exit code of a child that has no memory left.
OUT_OF_MEMORY = 71


@dataclass(frozen=True, slots=True)
class Source:
    """The bytes to read.

    `first_page` is the page to start from where a reader can; `unpacked_bytes` bounds a ZIP.
    """

    content: bytes
    name: str
    unpacked_bytes: int
    most_pages: int
    first_page: int = 1


@dataclass(frozen=True, slots=True)
class Detected:
    """The file is of the format with this key."""

    key: str


@dataclass(frozen=True, slots=True)
class Total:
    """The file has this many pages."""

    pages: int


@dataclass(frozen=True, slots=True)
class PageText:
    """The text of one page, or why there is none. `images` is whether the page shows images."""

    number: int
    text: str
    problem: str = ""
    images: bool = False


@dataclass(frozen=True, slots=True)
class Remark:
    """A plain sentence about what is doubtful."""

    sentence: str


@dataclass(frozen=True, slots=True)
class Refused:
    """The file, or what is left of it, is not read. `kind` is a value of `Refusal.kind`."""

    kind: str
    message: str
    hint: str


@dataclass(frozen=True, slots=True)
class Finished:
    """The reader came to the end of the file."""


Event = Detected | Total | PageText | Remark | Refused | Finished

_EVENTS: dict[str, Any] = {
    record.__name__: record for record in (Detected, Total, PageText, Remark, Refused, Finished)
}


def to_line(event: Event) -> bytes:
    """One line of JSON in UTF-8, with its line end."""
    line = json.dumps([type(event).__name__, *astuple(event)], ensure_ascii=False)
    return line.encode("utf-8", "replace") + b"\n"


def from_line(line: bytes) -> Event:
    """The event of a line. Raises ValueError for anything that `to_line` does not write."""
    try:
        name, *values = json.loads(line)
        event: Event = _EVENTS[name](*values)
    except (KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"not an event: {line[:80]!r}") from error
    return event
