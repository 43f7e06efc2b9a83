"""What a person should know."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Notice:
    """Something the person should know: what happened, and what to do next.

    `kind` is the name of the error behind it, for the log; no person is told.
    """

    message: str
    hint: str = ""
    kind: str = field(default="", compare=False)

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()
