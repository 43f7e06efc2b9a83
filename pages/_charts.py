"""Charts as Vega-Lite specifications with their data; colours read well on light and on dark."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any

from rag.folding import one_line
from rag.rank_flow import MOST, Flow, Path
from rag.types import Candidate, Score, Trace

Spec = dict[str, Any]
Row = dict[str, Any]

# The name of the selection that a click makes; it holds `[{"id": chunk id}]`.
SELECTION = "passage"

_GREEN, _ORANGE, _BLUE, _VIOLET, _GREY = "#2b9a6c", "#d9652b", "#3b82cf", "#7d76b5", "#7d838b"
# Colour, line width and opacity of each kind of line, the least important first.
_FLOW_STYLES = {
    "other": ("not in the prompt", _GREY, 1.1, 0.42),
    "kept": ("not cited", _VIOLET, 2.2, 0.9),
    "demoted": ("demoted", _ORANGE, 2.2, 0.95),
    "cited": ("cited", _BLUE, 3.0, 1.0),
    "rescued": ("rescued", _GREEN, 3.0, 1.0),
}
_CHANGE_STYLES = {
    "same": ("same place", _GREY, 1.0, 0.45),
    "gone": ("gone", _VIOLET, 1.0, 0.9),
    "new": ("new", _BLUE, 2.2, 1.0),
    "down": ("down", _ORANGE, 1.6, 0.85),
    "up": ("up", _GREEN, 1.6, 0.85),
}
_CHOSEN_WIDTH = 5.5
_ROW_HEIGHT = 19
_HEADER_HEIGHT = 78
_LABEL_WIDTH = 28
_TOOLTIP_TEXT = 160


def rank_flow_chart(flow: Flow, chosen: str | None = None) -> Spec:
    """Every path from column to column, for `st.vega_lite_chart(None, spec)`.

    The vertical place is the one among the passages shown, the number in the circle the true rank.
    A click selects a passage as `SELECTION`; `chosen` is the chunk id of the one drawn thick.
    """
    places, labels = [], []
    reranked = any(path.ranks[3] is not None for path in flow.paths)
    for place, (path, rows) in enumerate(zip(flow.paths, flow.rows, strict=True), start=1):
        chunk = path.candidate.chunk
        style = _style(path.fate, _FLOW_STYLES, chosen == chunk.id)
        row = {"id": chunk.id, **style, **_tooltip(path.candidate)}
        places += [
            {**row, "column": column, "place": at, "rank": str(rank)}
            for column, rank, at in zip(flow.columns, path.ranks, rows, strict=True)
            if rank is not None and at is not None
        ]
        if path.ranks[4] is not None:
            label = {"column": flow.columns[-1], "place": rows[4], "label": _flow_label(path)}
        else:
            final = flow.columns[3] if reranked else flow.columns[2]
            label = {"column": final, "place": place, "label": _flow_label(path)}
        labels.append({**row, **label})
    spec = _slope_chart(flow.columns, places, labels, _FLOW_STYLES)
    # From the fused order on, a line parts what is in the prompt from what is not.
    spec["datasets"]["cut"] = [
        {"column": column, "place": flow.passages + 0.5} for column in flow.columns[2:]
    ]
    spec["layer"].insert(0, _CUT)
    return spec


def compare_chart(
    before: Trace, after: Trace, titles: tuple[str, str] = ("Before", "After"), most: int = MOST
) -> Spec:
    """The `most` best candidates of two traces side by side, joined where both have them."""
    old = {candidate.chunk.id: candidate for candidate in before.candidates}
    new = {candidate.chunk.id: candidate for candidate in after.candidates}
    shown = [c for c in [*before.candidates, *after.candidates] if c.rank <= most]
    places, labels = [], []
    for chunk_id in dict.fromkeys(candidate.chunk.id for candidate in shown):
        sides = (old.get(chunk_id), new.get(chunk_id))
        style = _style(_change(sides[0], sides[1], most), _CHANGE_STYLES, chosen=False)
        for title, candidate, align in zip(titles, sides, ("left", "right"), strict=True):
            if candidate is None or candidate.rank > most:
                continue
            row = {"id": chunk_id, **style, **_tooltip(candidate)}
            place = {"column": title, "place": candidate.rank}
            places.append({**row, **place, "rank": str(candidate.rank)})
            label = _shortened(candidate.document, f" p. {candidate.chunk.page}")
            labels.append({**row, **place, "label": label, "side": align})
    return _slope_chart(titles, places, labels, _CHANGE_STYLES)


def score_chart(scores: Sequence[float], value: float, title: str) -> Spec:
    """How many of `scores` lie where, and a line at `value`."""
    axis = {"title": title, "grid": False, "tickCount": 6}
    return {
        "height": 150,
        "datasets": {
            "scores": [{"score": score} for score in scores],
            "value": [{"score": value, "label": f"{value:.3g}"}],
        },
        "layer": [
            {
                "data": {"name": "scores"},
                "mark": {"type": "bar", "color": _GREY, "opacity": 0.5, "tooltip": None},
                "encoding": {
                    "x": {
                        "field": "score",
                        "type": "quantitative",
                        "bin": {"maxbins": 40},
                        "axis": axis,
                    },
                    "y": {"aggregate": "count", "type": "quantitative", "axis": None},
                },
            },
            {
                "data": {"name": "value"},
                "mark": {"type": "rule", "color": _ORANGE, "strokeWidth": 2.5, "tooltip": None},
                "encoding": {"x": {"field": "score", "type": "quantitative"}},
            },
            {
                "data": {"name": "value"},
                "mark": {
                    "type": "text",
                    "color": _ORANGE,
                    "fontWeight": 600,
                    "baseline": "bottom",
                    "dy": -3,
                    "tooltip": None,
                },
                "encoding": {
                    "x": {"field": "score", "type": "quantitative"},
                    "y": {"value": 0},
                    "text": {"field": "label"},
                },
            },
        ],
    }


_CUT: Spec = {
    "data": {"name": "cut"},
    "mark": {
        "type": "line",
        "color": _GREY,
        "opacity": 0.7,
        "strokeWidth": 1,
        "strokeDash": [3, 4],
        "tooltip": None,
    },
}


def _slope_chart(
    columns: Sequence[str], places: list[Row], labels: list[Row], styles: Spec
) -> Spec:
    # SVG draws in the order of the data: what matters comes last, on top.
    places.sort(key=lambda row: row["layer"])
    used = {row["kind"] for row in places}
    kinds = [(name, color) for name, color, _, _ in reversed(styles.values()) if name in used]
    lowest = max((row["place"] for row in [*places, *labels]), default=1)
    color: Spec = {
        "field": "kind",
        "type": "nominal",
        "scale": {"domain": [name for name, _ in kinds], "range": [color for _, color in kinds]},
        "legend": {
            "title": None,
            "orient": "top",
            "direction": "horizontal",
            "symbolType": "stroke",
            "symbolStrokeWidth": 3,
            "symbolOpacity": 1,
            "labelFontSize": 12.5,
            "padding": 0,
            "offset": 8,
        },
    }
    encoding: Spec = {
        "color": color,
        "tooltip": [{"field": title, "type": "nominal"} for title in _TOOLTIP],
    }
    return {
        "height": lowest * _ROW_HEIGHT + _HEADER_HEIGHT,
        "padding": {"left": 4, "right": 4, "top": 4},
        "datasets": {"places": places, "labels": labels},
        "encoding": {
            "x": _x(columns),
            "y": {
                "field": "place",
                "type": "quantitative",
                "scale": {"domain": [0.4, lowest + 0.6], "reverse": True, "nice": False},
                "axis": None,
            },
        },
        "layer": [
            {
                "data": {"name": "places"},
                "params": [
                    {"name": SELECTION, "select": {"type": "point", "fields": ["id"]}},
                ],
                "mark": {"type": "line", "interpolate": "monotone", "cursor": "pointer"},
                "encoding": {
                    **encoding,
                    "detail": {"field": "id"},
                    "strokeWidth": {"field": "width", "type": "quantitative", "scale": None},
                    "opacity": {"field": "opacity", "type": "quantitative", "scale": None},
                },
            },
            {
                "data": {"name": "places"},
                "mark": {"type": "circle", "size": 230, "opacity": 1, "cursor": "pointer"},
                "encoding": encoding,
            },
            {
                "data": {"name": "places"},
                "mark": {"type": "text", "fontSize": 9.5, "fontWeight": 600, "cursor": "pointer"},
                "encoding": {**encoding, "text": {"field": "rank"}, "color": {"value": "#ffffff"}},
            },
            *(_names(side, encoding) for side in sorted({row["side"] for row in labels})),
        ],
    }


def _names(side: str, encoding: Spec) -> Spec:
    left = side == "left"
    return {
        "data": {"name": "labels"},
        "transform": [{"filter": {"field": "side", "equal": side}}],
        "mark": {
            "type": "text",
            "align": "right" if left else "left",
            "dx": -14 if left else 14,
            "fontSize": 12,
            "cursor": "pointer",
        },
        "encoding": {**encoding, "text": {"field": "label"}},
    }


def _x(columns: Sequence[str]) -> Spec:
    return {
        "field": "column",
        "type": "nominal",
        "sort": list(columns),
        "scale": {"type": "point", "padding": 0, "domain": list(columns)},
        "axis": {
            "orient": "top",
            "title": None,
            "labelAngle": 0,
            "labelLimit": 160,
            "labelFontSize": 11.5,
            "labelFontWeight": 600,
            "labelOverlap": False,
            "labelFlush": False,
            "labelPadding": 8,
            "grid": False,
        },
    }


def _style(kind: str, styles: Spec, chosen: bool) -> Row:
    name, _, width, opacity = styles[kind]
    return {
        "kind": name,
        "width": _CHOSEN_WIDTH if chosen else width,
        "opacity": 1.0 if chosen else opacity,
        "layer": len(styles) if chosen else list(styles).index(kind),
        "side": "right",
    }


def _change(before: Candidate | None, after: Candidate | None, most: int) -> str:
    if before is None or before.rank > most:
        return "new"
    if after is None or after.rank > most:
        return "gone"
    if before.rank == after.rank:
        return "same"
    return "up" if after.rank < before.rank else "down"


# The titles of the tooltip; none may be "title" or "image", which are drawn and not written.
_TOOLTIP = ("Document", "Page", "Dense", "BM25", "Fused", "Rerank", "Text")


def _tooltip(candidate: Candidate) -> Row:
    text = one_line(candidate.chunk.text)
    values = (
        _printable(candidate.document),
        str(candidate.chunk.page),
        _scored(candidate.dense, "{:.2f}"),
        _scored(candidate.lexical, "{:.1f}"),
        _scored(candidate.fused, ""),
        _scored(candidate.rerank, "{:.0%}"),
        _printable(text[:_TOOLTIP_TEXT] + (" …" if len(text) > _TOOLTIP_TEXT else "")),
    )
    return dict(zip(_TOOLTIP, values, strict=True))


def _scored(score: Score | None, shape: str) -> str:
    if score is None:
        return "not seen"
    return f"{shape.format(score.score)} (#{score.rank})" if shape else f"#{score.rank}"


def _flow_label(path: Path) -> str:
    number = path.ranks[4]
    before = "" if number is None else f"[{number}] "
    return _shortened(path.candidate.document, f" p. {path.candidate.chunk.page}", before)


def _shortened(name: str, after: str, before: str = "") -> str:
    """The name between the two, cut so that all three fit into a label."""
    name = _printable(name)
    room = _LABEL_WIDTH - len(before) - len(after)
    if _width(name) > room:
        while _width(name) > room - 1:
            name = name[:-1]
        name += "…"
    return before + name + after


def _width(text: Iterable[str]) -> int:
    """Columns that the text takes; East Asian characters take two."""
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)
