"""The Test buttons: the model that stands on the page is made and asked, and what came is told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import streamlit as st

from pages._markdown import plain
from rag.settings import Settings
from rag.trial import Trial, try_answerer, try_embedder, try_reranker

Part = Literal["embedder", "reranker", "answerer"]

_TRIALS: dict[Part, Callable[[Settings], Trial]] = {
    "embedder": try_embedder,
    "reranker": try_reranker,
    "answerer": try_answerer,
}
# A result is shown for as long as these sections stay as they were tried.
_SECTIONS: dict[Part, tuple[str, ...]] = {
    "embedder": ("index", "embedding_endpoint", "endpoint"),
    "reranker": ("query", "rerank_endpoint", "index", "embedding_endpoint", "endpoint"),
    "answerer": ("query", "endpoint", "index", "embedding_endpoint"),
}


@st.fragment
def offer(part: Part, settings: Settings | None) -> None:
    """The button, and what came of it; None where there is nothing to be tried.

    The rest of the page stays as it is meanwhile.
    """
    pressed = st.button(
        "Test", key=f"test-{part}", icon=":material/play_arrow:", disabled=settings is None
    )
    if settings is None:
        return
    tried = [getattr(settings, section) for section in _SECTIONS[part]]
    if pressed:
        with st.spinner(f"Trying the {part} …", show_time=True):
            st.session_state[f"trial-{part}"] = (tried, _TRIALS[part](settings))
    before, trial = st.session_state.get(f"trial-{part}", (None, None))
    if trial is not None and before == tried:
        show(trial)


def show(trial: Trial) -> None:
    """One line: whether it is well, what happened, how long it took."""
    mark = ":green[:material/check_circle:]" if trial.ok else ":red[:material/cancel:]"
    took = f"{duration(trial.milliseconds)} (loading {duration(trial.loading_milliseconds)})"
    hint = f"  \n{plain(trial.hint)}" if trial.hint else ""
    st.markdown(f"{mark} {plain(trial.sentence)}{hint}  \n:small[:gray[{plain(took)}]]")


def duration(milliseconds: float) -> str:
    """`312 ms`, `1.4 s`."""
    return f"{milliseconds:.0f} ms" if milliseconds < 1000 else f"{milliseconds / 1000:.1f} s"
