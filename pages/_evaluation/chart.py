"""Quality against time as a Vega-Lite specification with its data."""

from __future__ import annotations

import math

from pages._charts import Row, Spec
from rag.evaluation.results import ALL, Evaluation

MEASURE = "ndcg@10"
_COLORS = ("#3b82cf", "#d9652b", "#2b9a6c", "#7d76b5", "#c2417c", "#a67c1a", "#2a9aa8", "#7d838b")
_SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down")
_HEIGHT = 320


def quality_chart(evaluation: Evaluation) -> Spec:
    """nDCG@10 with its interval against the median time of a question, for pipelines that ran.

    Better is higher and further left. The axis of time is logarithmic.
    """
    points: list[Row] = []
    for row in evaluation.rows:
        total = row.seconds.get("total")
        if total is None or not row.figures:
            continue
        figure = row.figures[ALL][MEASURE]
        percents = [f"{100 * value:.1f}" for value in (figure.mean, figure.low, figure.high)]
        points.append(
            {
                "Pipeline": row.spec.name,
                "ms": total.p50 * 1000,
                "mean": figure.mean,
                "low": figure.low,
                "high": figure.high,
                "nDCG@10": "{} % ({}\u2013{})".format(*percents),
                "Median": f"{total.p50 * 1000:.1f} ms",
            }
        )
    names = [point["Pipeline"] for point in points]
    low, high = _domain([point["ms"] for point in points])
    tooltip = [{"field": title, "type": "nominal"} for title in ("Pipeline", "nDCG@10", "Median")]
    return {
        "height": _HEIGHT,
        "padding": {"left": 4, "right": 12, "top": 4, "bottom": 4},
        "datasets": {"points": points},
        "data": {"name": "points"},
        "encoding": {
            "x": {
                "field": "ms",
                "type": "quantitative",
                "scale": {"type": "log", "domain": [low, high], "nice": False},
                "axis": {
                    "title": "median ms a question",
                    "grid": False,
                    "values": _ticks(low, high),
                    "format": "~r",
                },
            },
            "y": {
                "field": "mean",
                "type": "quantitative",
                "scale": {"zero": False, "nice": True},
                "axis": {"title": "nDCG@10, with 95 % interval", "format": ".0%", "tickCount": 6},
            },
            "color": _scale(names, _COLORS),
            "tooltip": tooltip,
        },
        "layer": [
            {
                "mark": {"type": "rule", "strokeWidth": 2.5, "opacity": 0.7},
                "encoding": {
                    "y": {"field": "low", "type": "quantitative"},
                    "y2": {"field": "high"},
                },
            },
            {
                "mark": {"type": "point", "filled": True, "size": 150, "opacity": 1},
                "encoding": {"shape": _scale(names, _SHAPES)},
            },
        ],
    }


def _domain(values: list[float]) -> tuple[float, float]:
    """A bit more than what the values span, so that no point lies on the frame."""
    return min(values) / 1.5, max(values) * 1.5


def _ticks(low: float, high: float) -> list[float]:
    """1, 2, 5, 10 and so on."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = (figure * 10.0**power for power in powers for figure in (1, 2, 5))
    return [tick for tick in ticks if low <= tick <= high]


def _scale(names: list[str], range_: tuple[str, ...]) -> Spec:
    """Each pipeline its own; colours and shapes share one legend."""
    wanted = [range_[place % len(range_)] for place in range(len(names))]
    return {
        "field": "Pipeline",
        "type": "nominal",
        "sort": names,
        "scale": {"domain": names, "range": wanted},
        "legend": {
            "title": None,
            "orient": "top",
            "direction": "horizontal",
            "columns": 4,
            "labelFontSize": 12.5,
            "labelLimit": 240,
            "symbolOpacity": 1,
            "symbolSize": 110,
        },
    }
