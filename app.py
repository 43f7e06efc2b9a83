"""The web page: its frame, and the page that was chosen."""

from __future__ import annotations

from pages import _ui as ui

ui.frame().run()
