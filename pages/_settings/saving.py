"""What will change, and the way to save it."""

from __future__ import annotations

from typing import Any

import streamlit as st

from pages import _ui as ui
from pages._markdown import plain
from pages._settings.form import CHOICES, LABELS, Form
from rag.settings import Settings
from rag.settings_file import changes, save_settings

_SAVED = "settings-saved"


def offer(saved: Settings, shown: Settings, chosen: Settings) -> None:
    """A bar with every change, old and new, where there are any.

    `shown` are the settings of the profile on the page, before anything was changed there.
    """
    found = changes(shown, chosen)
    if chosen.profile != saved.profile:
        found = {"profile": (saved.profile, chosen.profile), **found}
    if not found:
        return
    with st.bottom, st.container(horizontal=True, wrap=False, vertical_alignment="center"):
        st.markdown(" · ".join(_line(name, *values) for name, values in found.items()))
        st.button("Undo", type="tertiary", icon=":material/undo:", on_click=Form.reset)
        if st.button("Save", type="primary", icon=":material/save:"):
            with ui.errors_shown():
                names = save_settings(saved, chosen)
            st.session_state[_SAVED] = ", ".join(LABELS[name] for name in names)
            st.rerun()


def tell() -> None:
    """Say what was saved by the run before."""
    if names := st.session_state.pop(_SAVED, ""):
        st.toast(f"Saved: {plain(names)}. The next question uses it.", icon=":material/check:")


def _line(name: str, old: Any, new: Any) -> str:
    return f"{LABELS[name]}: {_said(name, old)} → **{_said(name, new)}**"


def _said(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, float):
        return plain(f"{value:g}")
    return plain(CHOICES.get(name, {}).get(value, str(value)) or "empty")
