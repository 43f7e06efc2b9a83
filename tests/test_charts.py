"""The charts' specifications: every passage drawn, labels short, text only as data."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from pages import _charts as charts
from rag.rank_flow import rank_flow
from rag.types import Candidate
from tests.test_rank_flow import answered, candidate, shuffled, trace

HOSTILE = "<img src=x onerror=alert(1)>\u202e\x00" + "很长的文件名" * 20 + ".pdf"


def flow_chart(candidates: list[Candidate], chosen: str | None = None) -> dict[str, Any]:
    found = trace(candidates)
    return charts.rank_flow_chart(rank_flow(found, answered(found, 1)), chosen)


def test_every_rank_of_every_path_is_drawn_once() -> None:
    found = trace(shuffled(60))
    flow = rank_flow(found, answered(found, 1))
    places = charts.rank_flow_chart(flow)["datasets"]["places"]
    drawn = {(row["id"], row["column"], row["rank"]) for row in places}
    assert len(drawn) == len(places)
    assert drawn == {
        (path.candidate.chunk.id, column, str(rank))
        for path in flow.paths
        for column, rank in zip(flow.columns, path.ranks, strict=True)
        if rank is not None
    }


def test_no_two_circles_and_no_two_labels_share_a_place() -> None:
    data = flow_chart(shuffled(60))["datasets"]
    for rows in (data["places"], data["labels"]):
        assert len({(row["column"], row["place"]) for row in rows}) == len(rows)


def test_labels_name_number_document_and_page_within_their_width() -> None:
    long = [replace(c, document=HOSTILE) for c in shuffled(60)]
    labels = [row["label"] for row in flow_chart(long)["datasets"]["labels"]]
    assert labels[0].startswith("[1] <img")
    assert all(label.endswith("… p. 1") for label in labels)
    assert all(charts._width(label) <= 28 for label in labels)
    assert "\u202e" not in "".join(labels)
    assert "[1] handbook.pdf p. 1" in [
        row["label"] for row in flow_chart(shuffled(60))["datasets"]["labels"]
    ]


def test_the_chosen_passage_is_drawn_thick_and_last() -> None:
    places = flow_chart(shuffled(60), chosen="c20")["datasets"]["places"]
    assert places[-1]["id"] == "c20"
    widths = {row["id"]: row["width"] for row in places}
    assert widths["c20"] > max(width for name, width in widths.items() if name != "c20")


def test_without_a_reranker_names_stand_beside_the_fused_order() -> None:
    plain = [candidate(n, n, reranked=False) for n in range(1, 21)]
    labels = flow_chart(plain)["datasets"]["labels"]
    assert {row["column"] for row in labels} == {"Cited", "Fused"}


def test_a_click_selects_by_chunk_id() -> None:
    (params,) = [layer["params"] for layer in flow_chart(shuffled(9))["layer"] if "params" in layer]
    assert params == [{"name": "passage", "select": {"type": "point", "fields": ["id"]}}]


def test_documents_reach_the_chart_as_data_only() -> None:
    hostile = [candidate(n, n, text="![x](http://evil.example/x)" + HOSTILE) for n in range(1, 9)]
    spec = flow_chart([replace(c, document=HOSTILE) for c in hostile])
    data = spec.pop("datasets")
    assert "evil" not in json.dumps(spec)
    assert "onerror" not in json.dumps(spec)
    assert not {"href", "url", "image"} & set(data["places"][0])
    assert data["places"][0]["Text"].startswith("![x]")


@pytest.mark.parametrize("kind", ["title", "image"])
def test_no_title_of_the_tooltip_is_one_that_is_drawn(kind: str) -> None:
    assert kind not in map(str.lower, charts._TOOLTIP)


def test_an_empty_trace_can_be_drawn() -> None:
    spec = charts.rank_flow_chart(rank_flow(trace([]), None))
    assert spec["datasets"]["places"] == []


def test_comparison_tells_up_down_new_and_gone() -> None:
    before = trace([candidate(1, 1), candidate(2, 2), candidate(3, 3), candidate(4, 4)])
    after = trace([candidate(1, 1), candidate(2, 3), candidate(3, 2), candidate(4, 9)])
    spec = charts.compare_chart(before, after, ("before", "后"))
    kinds = {row["id"]: row["kind"] for row in spec["datasets"]["places"]}
    assert kinds == {"c1": "same place", "c2": "down", "c3": "up", "c4": "gone", "c9": "new"}
    assert spec["encoding"]["x"]["sort"] == ["before", "后"]


def test_comparison_draws_no_more_than_the_most() -> None:
    spec = charts.compare_chart(trace(shuffled(60)), trace(shuffled(50)), most=10)
    assert max(row["place"] for row in spec["datasets"]["places"]) == 10


def test_score_chart_holds_every_score_and_the_value() -> None:
    spec = charts.score_chart([0.1, 0.2, 0.3], 0.87654, "cosine 余弦")
    assert [row["score"] for row in spec["datasets"]["scores"]] == [0.1, 0.2, 0.3]
    assert spec["datasets"]["value"] == [{"score": 0.87654, "label": "0.877"}]
