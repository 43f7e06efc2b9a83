"""Both scripts of Chinese as one, and hits across languages told apart from others."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.encoding import search_texts
from rag.folding import fold, fold_width_and_case
from rag.history import recorded
from rag.languages import across, crossing
from rag.retrieval import fuse, recall, weighted
from rag.same_words import same_words, shared_part
from rag.settings import QuerySettings
from rag.stopwatch import Stopwatch
from rag.store import Store
from rag.trace_files import read_record, write_record
from rag.types import Chunk
from rag.views import evidence_line, trace_view
from tests.fakes import FakeEmbedder
from tests.test_replay import Arms, Judge, asked
from tests.test_store import DIMENSIONS as STORED
from tests.test_store import record, vectors_of

PASSAGES = {
    "simplified": "向量数据库的检索与乾隆",
    "traditional": "向量資料庫的檢索與乾隆",
    "width": "ＳＱＬ　Ｓｙｓｔｅｍ ４２",
    "english": "The running engines of Zürich report E1234 from error_code in v2.0.1.",
}


def chunks(*texts: str) -> list[Chunk]:
    return [Chunk(f"c{at}", "d", at, 1, 0, len(text), text) for at, text in enumerate(texts)]


def holding(folder: Path, searched: Callable[[Sequence[Chunk]], list[str]]) -> Store:
    store = Store.open(folder, "f", STORED)
    made = chunks(*PASSAGES.values())
    with store.ingest_lock():
        store.put_document(record("d", "embedding"))
        store.put_chunks(made, vectors_of([chunk.text for chunk in made]), searched(made))
        store.put_document(record("d", "ready"))
    return store


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return holding(tmp_path_factory.mktemp("now"), search_texts)


@pytest.fixture(scope="module")
def older_library(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """One of before Traditional characters were made Simplified."""
    return holding(
        tmp_path_factory.mktemp("before"),
        lambda made: [fold_width_and_case(f"\n{chunk.text}") for chunk in made],
    )


def found(store: Store, text: str) -> set[str]:
    names = {passage: name for name, passage in PASSAGES.items()}
    return {names[chunk.text] for chunk, _ in store.search_lexical(text, 10)}


@pytest.mark.parametrize("question", ["檢索", "检索", "乾隆"])
def test_traditional_and_simplified_find_each_other(library: Store, question: str) -> None:
    assert found(library, question) == {"simplified", "traditional"}


@pytest.mark.parametrize(
    ("question", "names"),
    [
        ("檢索", {"simplified", "traditional"}),
        ("检索", {"simplified"}),
        ("乾隆", {"simplified", "traditional"}),
        ("sql", {"width"}),
    ],
)
def test_an_older_library_finds_all_that_it_did(
    older_library: Store, question: str, names: set[str]
) -> None:
    """Traditional questions find Simplified passages besides."""
    assert found(older_library, question) == names


@pytest.mark.parametrize(
    ("question", "name"),
    [
        ("sql", "width"), ("ｓｙｓｔｅｍｓ", "width"), ("42", "width"),
        ("run", "english"), ("ENGINE", "english"), ("zurich", "english"), ("Ｅ１２３４", "english"),
        ("error_code", "english"), ("v2.0.1", "english"),
    ],
)  # fmt: skip
def test_width_case_accents_and_english_endings_make_no_difference(
    library: Store, question: str, name: str
) -> None:
    """Stemming leaves code-like words and Chinese as they are."""
    assert found(library, question) == {name}


def test_both_forms_of_a_question_count_once_and_to_the_depth(
    library: Store, older_library: Store
) -> None:
    assert library.search_lexical("向量檢索", 10) == library.search_lexical("向量检索", 10)
    both = older_library.search_lexical("向量檢索", 10)
    assert len({chunk.id for chunk, _ in both}) == len(both) == 2
    assert both[0][1] >= both[1][1]
    assert older_library.search_lexical("向量檢索", 1) == both[:1]


@given(st.text(st.sampled_from("漢字乾裏臺a ﬁ\ud800𠀀龜") | st.characters(codec=None), max_size=30))
def test_simplifying_keeps_every_place(text: str) -> None:
    """Half a surrogate pair included."""
    assert len(fold(text)) == len(fold_width_and_case(text))


def test_a_phrase_does_not_change_a_character() -> None:
    """乾 is 干 but in 乾隆; were that looked at, a search for 乾 would depend on its neighbours."""
    assert fold("乾隆乾燥") == "干隆干燥"
    assert fold("臺灣裡裏為爲衛衞線綫麵麪週") == "台湾里里为为卫卫线线面面周"


@pytest.mark.parametrize(("question", "passage"), [("檢索", "全文检索好"), ("检索", "全文檢索好")])
def test_the_other_script_is_marked_at_its_place(question: str, passage: str) -> None:
    assert same_words(question, passage) == ((2, 4),)


@pytest.mark.parametrize(
    ("question", "passage", "crossed"),
    [
        ("谁写了红楼梦？", "Cao Xueqin wrote it.", "question in Chinese, passage in Latin letters"),
        ("Who wrote it?", "曹雪芹写了红楼梦。", "question in Latin letters, passage in Chinese"),
        ("谁写了红楼梦？", "曹雪芹，英文 Cao Xueqin。", ""),
        ("誰寫了紅樓夢？", "曹雪芹写了红楼梦。", ""),
        ("Who wrote it?", "Cao Xueqin 曹雪芹", ""),
        ("谁写了红楼梦？", "1791", ""),
        ("1791?", "曹雪芹写了红楼梦。", ""),
    ],
)
def test_what_crosses_languages(question: str, passage: str, crossed: str) -> None:
    assert crossing(question, passage) == crossed
    assert across(question, passage) == bool(crossed)


@pytest.mark.parametrize(
    ("question", "passage", "part"),
    [
        ("E1234 错误", "Error E1234: disk full", 0.5),
        ("错误", "an error", 0),
        ("HnswSq", "参数 HnswSq 的默认值", 1),
        ("What is the HnswSq parameter?", "参数 HnswSq 的默认值", 0.5),
        ("", "x", 0),
        ("x", "", 0),
    ],
)
def test_the_part_of_a_question_that_a_passage_shares(
    question: str, passage: str, part: float
) -> None:
    assert shared_part(question, passage) == pytest.approx(part)


def test_hits_across_languages_vote_by_what_they_share() -> None:
    """Only where the best one crossed: behind a hit of its own language a rank means something."""
    english, other, chinese = chunks("Disk error E1234", "An engine", "磁盘错误说明")
    question = "E1234 错误"
    alone = weighted(question, [(english, 3.0), (other, 1.0), (chinese, 0.5)])
    assert [score.weight for score in alone.values()] == [0.5, 0, 1]
    behind = weighted(question, [(chinese, 3.0), (english, 1.0)])
    assert [score.weight for score in behind.values()] == [1, 1]
    assert weighted(question, []) == {}
    fused = fuse([alone], 60)
    assert list(fused) == [chinese.id, english.id, other.id]
    assert fused[english.id].score == pytest.approx(0.5 / 61)


class Chinese(Arms):
    """A library in Chinese, where a question in English finds little but names."""

    def search_lexical(self, text: str, depth: int) -> list[tuple[Chunk, float]]:
        return [
            (replace(chunk, text="曹雪芹 Cao 写了红楼梦"), score)
            for chunk, score in super().search_lexical(text, depth)
        ]


def test_noise_of_another_language_does_not_outvote_dense_recall() -> None:
    question = FakeEmbedder().encode_question("Which novel did Sheng write?")
    arms = Chinese(range(9), [8, 7])
    best = recall(arms, question, QuerySettings(), Stopwatch())[0]
    assert best.chunk.position == 0
    unweighted = recall(Arms(range(9), [8, 7]), question, QuerySettings(), Stopwatch())[0]
    assert unweighted.chunk.position == 8


def test_the_trace_says_that_a_hit_crossed_languages() -> None:
    """In its file and beside the scores; a vote's weight survives the file."""
    trace = replace(
        asked(Arms([0, 1, 2], [1]), Judge([0.9] * 12), QuerySettings()),
        models={"embedder": "e", "reranker": "r", "answerer": "a"},
    )
    crossed, *_ = (one for one in trace.candidates if one.lexical)
    assert crossed.lexical is not None
    assert crossed.lexical.weight == 0
    line = "found across languages: question in Latin letters, passage in Chinese"
    assert evidence_line(trace, crossed) == f"{crossed.evidence} · {line}"
    own = next(one for one in trace.candidates if one.chunk.text == "text")
    assert evidence_line(trace, own) == own.evidence
    seen = {one["chunk_id"]: one for one in trace_view(trace)["candidates"]}
    assert seen[crossed.chunk.id]["across_languages"] in line
    assert seen[crossed.chunk.id]["lexical"]["weight"] == 0
    assert seen[own.chunk.id]["across_languages"] == ""
    assert "weight" not in seen[own.chunk.id]["dense"]
    again = read_record(write_record(recorded(trace)))
    assert again.trace.candidates == trace.candidates
