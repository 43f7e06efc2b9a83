"""What happened, as one JSON line an event: figures and kinds, without texts, names or keys.

Whoever has something to tell calls `event`. Nothing is written until `start`; then it goes to
stderr, together with the warnings of the libraries.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from traceback import extract_tb
from typing import Any, TextIO

from rag.errors import RAGError
from rag.redacting import keys_of, redacted
from rag.settings import LogSettings
from rag.types import Notice

_OWN = "rag"
# Digits of a document's id that tell it from others.
ID_DIGITS = 12
_MOST_FRAMES = 30

_log = logging.getLogger(__name__)
# Until `start` nothing is written, failures neither.
logging.getLogger(_OWN).addHandler(logging.NullHandler())


def start(settings: LogSettings, stream: TextIO | None = None) -> None:
    """Write events to `stream`, or else to stderr, in place of what was logged there before.

    Keys that the environment holds now are taken out of every line.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(_Lines(settings.texts, keys_of(os.environ)))
    handler.addFilter(_worth_telling)
    # Streamlit gives each of its loggers a handler that writes plain text.
    for logger in list(logging.root.manager.loggerDict.values()):
        if isinstance(logger, logging.Logger):
            logger.handlers.clear()
            logger.propagate = True
    logging.root.handlers[:] = [handler]
    logging.getLogger(_OWN).setLevel(logging.INFO)


def event(
    name: str,
    *,
    texts: Mapping[str, object] | None = None,
    failure: BaseException | None = None,
    **facts: Any,
) -> None:
    """Tell of one event.

    `facts` are figures, kinds and ids; `texts` is what people wrote, and the names of their files,
    and is left out unless the settings want it.
    """
    level, said = logging.INFO, dict(texts or {})
    if failure is not None:
        level = logging.ERROR
        facts["failures"] = _failures(failure)
        said["messages"] = _messages(failure)
    _log.log(level, name, extra={"facts": facts, "texts": said})


def unexpected(error: BaseException, where: str) -> str:
    """Tell of a failure that nobody foresaw; gives the word to look for in the log."""
    reference = secrets.token_hex(4)
    event("unexpected failure", failure=error, where=where, reference=reference)
    return reference


@contextmanager
def refusals(name: str) -> Iterator[None]:
    """Tell of a RAGError that ends the block."""
    try:
        yield
    except RAGError as error:
        event(f"{name} failed", **problem(error.notice))
        raise


def problem(notice: Notice) -> dict[str, Any]:
    """A failure without its message, which may hold a name or words of a document."""
    return {"error": notice.kind, "hint": notice.hint}


def _worth_telling(record: logging.LogRecord) -> bool:
    own = record.name == _OWN or record.name.startswith(f"{_OWN}.")
    return own or record.levelno >= logging.WARNING


class _Lines(logging.Formatter):
    """One line of JSON a record."""

    def __init__(self, texts: bool, keys: list[str]) -> None:
        super().__init__()
        self._texts = texts
        self._keys = keys

    def format(self, record: logging.LogRecord) -> str:
        """The record as JSON; what is not known to be free of texts is left out."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
        }
        facts = getattr(record, "facts", None)
        if facts is None:
            line |= {"event": "message", "logger": record.name, "message": record.getMessage()}
        else:
            line |= {"event": record.getMessage(), **facts}
            line |= getattr(record, "texts", {}) if self._texts else {}
        error = record.exc_info[1] if record.exc_info else None
        if error is not None:
            line["failures"] = _failures(error)
            line |= {"messages": _messages(error)} if self._texts else {}
        return json.dumps(self._clean(line), ensure_ascii=False, default=str)

    def _clean(self, value: Any) -> Any:
        if isinstance(value, str):
            return redacted(value, self._keys)
        if isinstance(value, Mapping):
            return {str(key): self._clean(inner) for key, inner in value.items()}
        if isinstance(value, (list, tuple)):
            return [self._clean(inner) for inner in value]
        return value


def _failures(error: BaseException) -> list[dict[str, Any]]:
    """The kind of an exception and where it came from, then of what it was raised from."""
    return [_failure(one) for one in _chain(error)]


def _failure(error: BaseException) -> dict[str, Any]:
    told: dict[str, Any] = {"error": type(error).__name__}
    if isinstance(error, OSError) and error.errno:
        told["reason"] = os.strerror(error.errno)
    frames = extract_tb(error.__traceback__)[-_MOST_FRAMES:]
    told["frames"] = [
        f"{'/'.join(Path(frame.filename).parts[-3:])}:{frame.lineno} {frame.name}"
        for frame in frames
    ]
    return told


def _messages(error: BaseException) -> list[str]:
    """What the exceptions say, which may be words of a document or the name of a file."""
    return [str(one) for one in _chain(error)]


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The exception, and those that it was raised from."""
    seen: set[int] = set()
    following: BaseException | None = error
    while following is not None and id(following) not in seen:
        seen.add(id(following))
        yield following
        following = following.__cause__ or (
            None if following.__suppress_context__ else following.__context__
        )
