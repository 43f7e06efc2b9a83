"""Where a passage that a person expected went: the stage that lost it, and what would keep it."""

from __future__ import annotations

from rag.whereabouts.looking import Library, Whereabouts, expected_page, expected_text
from rag.whereabouts.stages import Stage

__all__ = ["Library", "Stage", "Whereabouts", "expected_page", "expected_text"]
