"""An effect on golden questions as a sentence, a small table, and the questions that changed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import streamlit as st

from pages import _ui as ui
from pages._markdown import plain
from pages._settings.form import Form
from rag.evaluation.asking_again import best_gold
from rag.evaluation.effect import HIT, NDCG, PROMPTED, REFUSED, Change, Effect
from rag.evaluation.effect_verdict import effect_certainty, effect_sentence
from rag.evaluation.golden_sets import GoldenSet
from rag.evaluation.resampling import Figure
from rag.evaluation.verdict import duration, percent, points
from rag.history import recorded
from rag.pipeline import Pipeline
from rag.types import Notice

_HEADS = {HIT: "hit@1", NDCG: "nDCG@10", PROMPTED: "In the prompt", REFUSED: "No answer"}
_HELP = {
    HIT: "Questions whose first passage is right",
    NDCG: "How well the first 10 are ordered, 100 % being perfect",
    PROMPTED: "Questions with a right passage among those the answer is written from",
    REFUSED: "Questions for which no passage reaches the relevance threshold",
}
_ANCHOR = "golden-questions"
_MARKS = {"loss": "▼ worse", "win": "▲ better"}


def show(effect: Effect, told: str, after: Callable[[], Pipeline], golden: GoldenSet) -> None:
    """The sentence above the Save button, and the rest at the end of the page.

    `told` comes before the sentence. `after` gives the pipeline of the settings that are not saved.
    """
    said = plain(f"{told} {effect_sentence(effect)}".strip())
    if certainty := plain(effect_certainty(effect)):
        said += f" :small[:gray[{certainty}]]"
    st.bottom.markdown(f"{said} [Details](#{_ANCHOR})")
    with st.container(border=True):
        st.subheader("What this does to your golden questions", anchor=_ANCHOR)
        st.table(table(effect), border="horizontal")
        st.caption(
            "Below a difference, in points, is its 95 % interval, from resampled questions.",
            help="  \n".join(f"**{_HEADS[measure]}**: {said}" for measure, said in _HELP.items()),
        )
        worse, better = effect.with_verdict("loss"), effect.with_verdict("win")
        if worse or better:
            with st.expander(f"{len(worse)} worse, {len(better)} better", icon=":material/list:"):
                _questions([*worse, *better], after, golden)


def table(effect: Effect) -> dict[str, list[str]]:
    """Saved, changed, and the difference with its 95 % interval."""
    sides = (effect.before, effect.after)
    columns = {"Settings": ["saved", "changed", "difference"]}
    for measure, head in _HEADS.items():
        shares = [percent(side.figures[measure].mean).replace(" ", "\u00a0") for side in sides]
        columns[head] = [*shares, _difference(effect.differences[measure])]
    columns["Median"] = [*(duration(side.seconds).replace(" ", "\u00a0") for side in sides), ""]
    return columns


def place(change: Change, after: bool) -> str:
    """Where the first right passage stands."""
    rank, prompted = change.ranks[after], change.prompted[after]
    if rank is None:
        return "not found"
    return f"{rank}" if prompted else f"{rank}, not in the prompt"


def _difference(gain: Figure) -> str:
    if gain.low == gain.mean == gain.high:
        return f"{points(gain.mean)}" if gain.mean else "none"
    span = f"{points(gain.low)} to {points(gain.high)}".replace(" ", "\u00a0")
    return f"{points(gain.mean)}  \n:gray[:small[{span}]]"


def _questions(changes: list[Change], after: Callable[[], Pipeline], golden: GoldenSet) -> None:
    picked = st.dataframe(
        {
            "": [_MARKS[change.verdict] for change in changes],
            "Question": [change.question.text for change in changes],
            "saved": [place(change, False) for change in changes],
            "changed": [place(change, True) for change in changes],
        },
        hide_index=True,
        key=f"effect {[change.question.id for change in changes]}",
        on_select="rerun",
        selection_mode="single-row",
        height=min(38 + 35 * len(changes), 320),
        column_config={"": st.column_config.TextColumn(width=75)},
    )
    rows = picked["selection"]["rows"]
    with st.container(horizontal=True, vertical_alignment="center"):
        if st.button("Open on Inspect", icon=":material/frame_inspect:", disabled=not rows):
            _inspect(changes[rows[0]], after, golden)
        st.caption("The place of the first right passage. Click a row to open its question.")


def _inspect(change: Change, after: Callable[[], Pipeline], golden: GoldenSet) -> None:
    with ui.errors_shown(), st.spinner("Asking it again …"):
        trace = after().search(change.question.text)
    notice = Notice("Asked with settings that are not saved.")
    trace = replace(trace, notices=(*trace.notices, notice))
    ui.inspect(recorded(trace), best_gold(trace, change.question, golden))
    Form.leave()
    st.switch_page("pages/inspection.py")
