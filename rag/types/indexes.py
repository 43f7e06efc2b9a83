"""The indexes of a library, and building one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from rag.types.documents import Progress


@dataclass(frozen=True, slots=True)
class IndexRecord:
    """One index: its documents cut and encoded in one way.

    `settings` are the fields of its IndexSettings; None where nobody wrote them down.
    `dimensions` is the length of its dense vectors.
    `built` says whether it once held all documents of the library. `used_at` is in UTC; None where
    no question was asked of it since that is written down.
    """

    fingerprint: str
    settings: Mapping[str, Any] | None
    dimensions: int
    built: bool
    chunks: int
    used_at: datetime | None


@dataclass(frozen=True, slots=True)
class IndexProgress:
    """How far building an index is: `done` of `total` documents, and how far the one in hand is."""

    done: int
    total: int
    current: Progress | None = None

    @property
    def share(self) -> float:
        """What is done, 0..1."""
        part = self.current.done / max(self.current.total, 1) if self.current else 0.0
        return min((self.done + part) / max(self.total, 1), 1.0)

    def __str__(self) -> str:
        count = f"{self.done} of {self.total} documents"
        return f"{count} · {self.current}" if self.current else count
