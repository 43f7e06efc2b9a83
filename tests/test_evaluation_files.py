"""Golden sets and run files: what is read, what is refused, and where it is broken."""

import json
from pathlib import Path

import pytest

from rag.errors import SettingsError, UnreadableFile
from rag.evaluation.golden_sets import read_golden_set
from rag.evaluation.pipelines import parse_pipelines
from rag.evaluation.runs import read_run, write_run
from rag.languages import language_of
from rag.settings import QuerySettings

CORPUS = [
    {"id": "cat", "title": "Cats", "text": "A cat sleeps on a warm mat."},
    {"id": "鱼 1", "title": "", "text": "鱼在水里游。"},
]
QUERIES = [
    {"id": "q1", "text": "Where does the cat sleep?", "lang": "en", "answers": ["a warm mat"]},
    {"id": "q2", "text": "鱼在哪里游？"},
    {"id": "q3", "text": "Who is the king?", "answerable": False},
]
QRELS = "query-id\tcorpus-id\tscore\nq1\tcat\t2\nq2\t鱼 1\t1\nq2\tcat\t0\n"


def lines(rows: list[dict[str, object]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "corpus.jsonl").write_text(lines(CORPUS), encoding="utf-8")
    (tmp_path / "queries.jsonl").write_text("\ufeff" + lines(QUERIES), encoding="utf-8")
    (tmp_path / "qrels.tsv").write_text(QRELS, encoding="utf-8")
    return tmp_path


def test_a_golden_set_is_read_whole(folder: Path) -> None:
    golden = read_golden_set(folder)
    assert [passage.id for passage in golden.passages] == ["cat", "鱼 1"]
    assert [(q.language, dict(q.gold)) for q in golden.questions] == [
        ("en", {"cat": 2}),
        ("zh", {"鱼 1": 1}),
        ("en", {}),
    ]
    assert golden.questions[0].answers == ("a warm mat",)
    assert [q.answerable for q in golden.questions] == [True, True, False]
    assert [q.id for q in golden.rankable] == ["q1", "q2"]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("corpus.jsonl", '{"id": "a", "text": "x"}\n{"id": "b"\n', "line 2"),
        ("corpus.jsonl", '{"id": "a"}\n', "line 1: text is missing"),
        ("corpus.jsonl", '{"id": 7, "text": "x"}\n', "line 1: id is not text"),
        ("corpus.jsonl", '{"id": "a", "text": "x"}\n\n{"id": "a", "text": "y"}\n', "line 3"),
        ("queries.jsonl", '{"id": "q1", "text": " "}\n', "line 1: the question is empty"),
        ("queries.jsonl", "[]\n", "line 1"),
        ("qrels.tsv", "q1\tcat\t1\nq1 cat 1\n", "line 2"),
        ("qrels.tsv", "q1\tdog\t1\n", "line 1: the documents hold no dog"),
        ("qrels.tsv", "q9\tcat\t1\n", "line 1: there is no question q9"),
        ("qrels.tsv", "q3\tcat\t1\n", "No question"),
        ("qrels.tsv", "", "No question"),
    ],
)
def test_what_is_broken_is_named_with_its_line(
    folder: Path, name: str, text: str, said: str
) -> None:
    (folder / name).write_text(text, encoding="utf-8")
    with pytest.raises(UnreadableFile, match=said) as raised:
        read_golden_set(folder)
    assert name in raised.value.message
    assert raised.value.hint


@pytest.mark.parametrize("name", ["corpus.jsonl", "queries.jsonl", "qrels.tsv"])
def test_what_is_missing_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(UnreadableFile, match=name):
        read_golden_set(folder)


def test_gold_of_another_folder_asks_across_languages(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "corpus.jsonl").write_text(lines([{"id": "猫", "text": "猫睡在垫子上。"}]), "utf-8")
    (folder / "qrels.to-zh.tsv").write_text("q1\t猫\t1\n", encoding="utf-8")
    golden = read_golden_set(folder, corpus=other, qrels=folder / "qrels.to-zh.tsv")
    assert [dict(question.gold) for question in golden.rankable] == [{"猫": 1}]
    assert "other" in golden.name


@pytest.mark.parametrize(
    ("gold", "unit", "target"),
    [
        ("q1\tb.pdf#p2\t1\nq2\ta.pdf#p1\t1\n", "page", "b.pdf#p2"),
        ("q1\tb.pdf\t1\nq2\ta.pdf#p1\t1\n", "document", "b.pdf"),
    ],
)
def test_files_are_ranked_by_page_only_where_all_gold_has_pages(
    folder: Path, gold: str, unit: str, target: str
) -> None:
    (folder / "pdfs").mkdir()
    for name in ("a.pdf", "b.pdf"):
        (folder / "pdfs" / name).write_bytes(name.encode())
    (folder / "qrels.tsv").write_text(gold, encoding="utf-8")
    golden = read_golden_set(folder)
    assert (golden.unit, list(golden.questions[0].gold)) == (unit, [target])
    assert [path.name for path in golden.files] == ["a.pdf", "b.pdf"]


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("Where is 北京?", "en"),
        ("NFL 的全称是什么？", "zh"),
        ("Wo ist die Straße?", "en"),
        ("2016?", "en"),
    ],
)
def test_the_script_tells_the_language(text: str, language: str) -> None:
    assert language_of(text) == language


def test_a_larger_sample_only_adds_and_languages_are_drawn_apart(folder: Path) -> None:
    rows = [{"id": f"{lang}{n}", "text": "?", "lang": lang} for n in range(9) for lang in "ab"]
    (folder / "queries.jsonl").write_text(lines(rows), encoding="utf-8")
    gold = "".join(f"{row['id']}\tcat\t1\n" for row in rows)
    (folder / "qrels.tsv").write_text(gold, encoding="utf-8")
    golden = read_golden_set(folder)
    few, more = ({q.id for q in golden.sample(limit, 3)} for limit in (2, 5))
    assert len(few) == 4
    assert few < more
    assert few != {q.id for q in golden.sample(2, 4)}
    assert golden.sample(None, 0) == golden.rankable


def test_content_is_the_documents_and_not_the_questions(folder: Path) -> None:
    before = read_golden_set(folder).content()
    (folder / "queries.jsonl").write_text(lines(QUERIES[:2]), encoding="utf-8")
    assert read_golden_set(folder).content() == before
    (folder / "corpus.jsonl").write_text(lines(CORPUS[::-1]), encoding="utf-8")
    assert read_golden_set(folder).content() != before


# --- pipelines -----------------------------------------------------------------------------


def test_names_of_pipelines_are_read() -> None:
    query = QuerySettings(reranker="features", rerank_depth=30)
    found = parse_pipelines(
        "dense, fused+rerank,fused+rerank:bge@7,llm,dense+llm,lexical+rerank@9,dense", query
    )
    assert [(one.recall, one.reranker, one.rerank_depth, one.whole) for one in found] == [
        ("dense", "none", 0, False),
        ("fused", "features", 30, False),
        ("fused", "bge", 7, False),
        ("lexical", "llm", 30, True),
        ("dense", "llm", 30, False),
        ("lexical", "features", 9, False),
    ]
    assert all(one.description for one in found)


def test_without_a_reranker_in_the_settings_the_default_one_is_tried() -> None:
    (found,) = parse_pipelines("fused+rerank", QuerySettings(reranker="none"))
    assert found.reranker == "late-interaction"


@pytest.mark.parametrize(
    "name",
    ["", "sparse", "fused+rerank:none", "fused+rerank:x", "dense@5", "foreign", "fused+rerank@"],
)
def test_an_unknown_pipeline_is_refused_with_the_known_ones(name: str) -> None:
    with pytest.raises(SettingsError) as raised:
        parse_pipelines(name)
    assert "fused+rerank" in raised.value.hint


@pytest.mark.parametrize("depth", ["0", "1001", "9999"])
def test_a_depth_has_bounds(depth: str) -> None:
    with pytest.raises(SettingsError, match="within 1 and 1000"):
        parse_pipelines(f"fused+rerank@{depth}")


# --- runs ----------------------------------------------------------------------------------


def test_a_run_comes_back_as_it_went(tmp_path: Path) -> None:
    rankings = {"q 1": ["2022 Q3.pdf", "鱼\u30001", "100%", "a%20b"], "q2": ["x"]}
    path = tmp_path / "run.txt"
    path.write_text(write_run(rankings, "our tag"), encoding="utf-8")
    assert read_run(path, rankings) == rankings
    assert all(len(line.split()) == 6 for line in path.read_text("utf-8").splitlines())


def test_scores_order_a_foreign_run_and_ties_fall_as_in_trec_eval(tmp_path: Path) -> None:
    path = tmp_path / "run.txt"
    path.write_text("q1 Q0 a 1 0.5 t\nq1 Q0 b 2 0.5 t\nq1\tQ0\tc 3 9e-1 t\nq9 Q0 a 1 1 t\n")
    assert read_run(path, {"q1"}) == {"q1": ["c", "b", "a"]}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("q1 Q0 a 1 0.5\n", "line 1"),
        ("q1 Q0 a 1 0.5 t\n\nq1 Q0 b 2 high t\n", "line 3"),
        ("q1 Q0 a 1 nan t\n", "line 1"),
        ("q1 Q0 a 1 2 t\nq1 Q0 a 2 1 t\n", "line 2"),
        ("q7 Q0 a 1 2 t\n", "No question"),
    ],
)
def test_a_broken_run_is_named_with_its_line(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "run.txt"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UnreadableFile, match=said):
        read_run(path, {"q1"})
