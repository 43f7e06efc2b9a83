"""What LanceDB and the file system say, in plain words."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Concatenate, ParamSpec, Protocol, TypeVar

import pyarrow as pa

from rag.disk_space import disk_full, says_full
from rag.errors import LibraryError

_FORBIDDEN = ("permission denied", "os error 13", "read-only file system", "os error 30")
_NO_FOLDER = (FileExistsError, FileNotFoundError, NotADirectoryError)
_DAMAGED = (
    "not found",
    "failed to fill whole buffer",
    "invalid range",
    "corrupt",
    "unexpected end of file",
    "unexpected eof",
    "no such file",
    "magic number",
    "out of bounds",
    "outside metadata",
    "protobuf",
)


@contextmanager
def plain_words(uri: str, table: str = "") -> Iterator[None]:
    """Turn what a library raises inside into a LibraryError; `table` is the one in use."""
    try:
        yield
    except LibraryError:
        raise
    except (OSError, RuntimeError, ValueError, pa.ArrowException) as error:
        raise _library_error(error, uri, table) from error
    except Exception as error:
        # Lance panics over some damaged contents.
        if type(error).__name__ != "RustPanic":
            raise
        raise _damaged(table) from error


class _Named(Protocol):
    uri: str


_Owner = TypeVar("_Owner", bound=_Named)
_P = ParamSpec("_P")
_R = TypeVar("_R")


def in_plain_words(
    table: str,
) -> Callable[[Callable[Concatenate[_Owner, _P], _R]], Callable[Concatenate[_Owner, _P], _R]]:
    """Make a method raise LibraryError, naming the table, for whatever LanceDB raises."""

    def decorate(
        method: Callable[Concatenate[_Owner, _P], _R],
    ) -> Callable[Concatenate[_Owner, _P], _R]:
        @wraps(method)
        def call(owner: _Owner, /, *args: _P.args, **kwargs: _P.kwargs) -> _R:
            with plain_words(owner.uri, table):
                return method(owner, *args, **kwargs)

        return call

    return decorate


def _library_error(error: Exception, uri: str, table: str) -> LibraryError:
    said = str(error)
    lowered = said.lower()
    if says_full(error):
        return disk_full()
    if any(sign in lowered for sign in _FORBIDDEN):
        return LibraryError(
            f"The library in {uri} may not be read or written.",
            "Change the rights of that folder, or name another one with RAG_HOME.",
        )
    if not table:
        hint = "Check the address, or name another folder with RAG_HOME."
        if isinstance(error, _NO_FOLDER):
            return LibraryError(f"The library's folder {uri} cannot be made.", hint)
        return LibraryError(f"The library in {uri} cannot be opened: {_first_line(said)}", hint)
    if "schema error" in lowered:
        return LibraryError(
            f"The library's table {table} has other columns or vectors of another length.",
            "It was made by another version or model: name another folder with RAG_HOME.",
        )
    if any(sign in lowered for sign in _DAMAGED):
        return _damaged(table)
    return LibraryError(
        f"The library's table {table} could not be used: {_first_line(said)}",
        "Try again; if it stays, restart RankLens.",
    )


def _damaged(table: str) -> LibraryError:
    return LibraryError(
        f"A file of the library's table {table} is damaged or missing.",
        "See which with: rag verify. Mend it with: rag repair",
    )


def _first_line(said: str) -> str:
    return said.splitlines()[0][:200] if said else "no reason was given"
