"""What can go wrong, for the person who meets it.

RAGError                 message: what happened; hint: what to do next
|-- SettingsError        a setting is unknown or out of range
|-- MissingDependency    a package or a model is not installed
|-- MissingKey           an API key is not set
|-- UnsupportedFile      a file of a kind that cannot be read
|-- UnreadableFile       a file that is broken, protected, empty or without text
|-- EmptyLibrary         a question was asked before a document was added
|-- LimitReached         more was asked than the settings allow
|-- UnreadableTrace      a file that is no trace of RankLens, or one of a newer version
|-- UnknownDocument      no document has that id or name
|-- LibraryError         the library on disk cannot be opened, read or written
`-- BackendError         a model or an endpoint failed while it worked
"""

from __future__ import annotations

from rag.types import Notice


class RAGError(Exception):
    """A failure that the person can understand and act on."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()

    @property
    def notice(self) -> Notice:
        """The failure as a record."""
        return Notice(self.message, self.hint, type(self).__name__)


class SettingsError(RAGError):
    """A setting is unknown or out of range."""


class MissingDependency(RAGError):
    """A package or a model is not installed."""


class MissingKey(RAGError):
    """An API key is not set."""


class UnsupportedFile(RAGError):
    """The file is of a kind that cannot be read."""


class UnreadableFile(RAGError):
    """The file is broken, protected, empty or without text."""


class EmptyLibrary(RAGError):
    """A question was asked before a document was added."""


class LimitReached(RAGError):
    """More was asked than the settings allow."""


class UnreadableTrace(RAGError):
    """The file is no trace of RankLens, or one of a newer version."""


class UnknownDocument(RAGError):
    """No document has that id or name."""


class LibraryError(RAGError):
    """The library on disk cannot be opened, read or written."""


class BackendError(RAGError):
    """A model or an endpoint failed while it worked."""
