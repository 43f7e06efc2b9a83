"""The Evaluate page, run by Streamlit's own test driver, and what it keeps and counts."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from io import StringIO
from pathlib import Path
from threading import Event

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

import rag.opening
from pages._evaluation import running
from pages._evaluation.chart import quality_chart
from pages._evaluation.figures import duration, percent, table
from pages._evaluation.questions import CHOSEN
from pages._markdown import plain
from rag.errors import LibraryError, UnreadableTrace
from rag.evaluation.answered import MEASURES
from rag.evaluation.golden_sets import read_golden_set
from rag.evaluation.kept_evaluations import DEPTH, MOST, KeptEvaluation, KeptEvaluations, shortened
from rag.evaluation.outcomes import outcomes
from rag.evaluation.pipelines import STANDARD
from rag.evaluation.results import ALL, Evaluation
from rag.evaluation.verdict import verdict
from rag.evaluation.views import evaluation_csv
from rag.golden.marks import made_mark
from rag.ingest import File
from rag.jobs import EvaluationJob
from rag.models.answerers import QuoteAnswerer
from rag.pipeline import Pipeline
from rag.sentences import sentences
from rag.settings import IndexSettings, Settings, load_settings
from rag.store import Store
from rag.token_codes import TokenCodec
from rag.types import PassageSpan
from tests.fakes import DIMENSIONS, FakeEmbedder
from tests.test_evaluation import folder, run, settings
from tests.test_pages import ROOT, assert_clean, press, texts
from tests.test_pipeline import ANIMALS, CHINESE

__all__ = ["folder", "settings"]

EVALUATE = "pages/evaluate.py"


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Indexes and rankings of the golden set, made once for all tests."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def opened(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], AppTest]:
    """Opens the page as a new server would, over an empty library."""
    monkeypatch.setenv("RAG_HOME", str(tmp_path / "library"))
    monkeypatch.setenv("RAG_CACHE", str(cache))
    for name in ("RAG_LLM_MODEL", "OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)

    def open_library(settings: Settings, index: IndexSettings | None = None) -> Store:
        return Store.open(settings.home, (index or settings.index).fingerprint, DIMENSIONS)

    def open_pipeline(settings: Settings, index: object = None, **_: bool) -> Pipeline:
        embedder, plain = FakeEmbedder(), settings.query.model_copy(update={"reranker": "none"})
        return Pipeline(
            settings=settings.model_copy(update={"query": plain}),
            store=open_library(settings, index),
            embedder=embedder,
            codec=TokenCodec(DIMENSIONS),
            reranker=None,
            answerer=QuoteAnswerer(embedder, sentences),
        ).with_settings(settings)

    monkeypatch.setattr(rag.opening, "open_library", open_library)
    monkeypatch.setattr(rag.opening, "open_pipeline", open_pipeline)

    def new_server() -> AppTest:
        st.cache_resource.clear()
        return visit()

    return new_server


def visit() -> AppTest:
    """Another session of the same server."""
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=30).run()
    app = app.switch_page(EVALUATE).run()
    assert_clean(app)
    return app


def choose(app: AppTest, folder: Path, *pipelines: str) -> AppTest:
    app.text_input(key="evaluation-folder").set_value(str(folder))
    app.multiselect(key="evaluation-pipelines").set_value(list(pipelines or STANDARD))
    app = app.run()
    assert_clean(app)
    return app


def can_start(app: AppTest) -> bool:
    return not next(button for button in app.button if button.label == "Evaluate").disabled


def finished(app: AppTest) -> AppTest:
    """The page after the evaluation."""
    job = running.job()
    assert job is not None
    job.wait(60)
    app = app.run()
    assert_clean(app)
    return app


# --- choosing ---


def test_before_anything_is_chosen_the_page_says_what_it_is_for(
    opened: Callable[[], AppTest],
) -> None:
    app = opened()
    assert "whether reranking pays" in texts(app)
    assert "qrels.tsv" in texts(app)
    assert not can_start(app)


def test_what_cannot_be_evaluated_is_one_sentence_with_a_hint(
    opened: Callable[[], AppTest], folder: Path, tmp_path: Path
) -> None:
    app = choose(opened(), tmp_path / "nowhere")
    assert "nowhere has no qrels.tsv." in texts(app)
    assert "A golden set has corpus.jsonl" in texts(app)
    assert not can_start(app)

    broken = shutil.copytree(folder, tmp_path / "坏的")
    with (broken / "queries.jsonl").open("a") as file:
        file.write("\n{not json")
    app = choose(app, broken)
    assert "queries.jsonl, line 11:" in texts(app)
    assert "Correct the line" in texts(app)
    assert not can_start(app)

    (broken / "queries.jsonl").write_text("")
    (broken / "qrels.tsv").write_text("")
    app = choose(app, broken)
    assert "has gold in qrels.tsv" in texts(app)

    app = choose(app, folder, "fused+magic")
    assert "There is no pipeline 'fused+magic'." in texts(app)
    assert not can_start(app)
    app = app.multiselect(key="evaluation-pipelines").set_value([]).run()
    assert "No pipeline is named." in texts(app)
    assert not can_start(app)

    app = choose(app, folder, "lexical", "lexical+rerank:features@7")
    assert "75 passages, 10 questions with an answer (5 English, 5 Chinese)" in texts(app)
    assert not app.error
    assert can_start(app)


# --- results ---


@pytest.fixture
def result(opened: Callable[[], AppTest], folder: Path) -> AppTest:
    """The page after the standard pipelines, and one that needs an endpoint, were evaluated."""
    app = choose(opened(), folder, *STANDARD, "llm")
    assert "llm: " in texts(app)
    assert can_start(app)
    return finished(press(app, "Evaluate"))


def newest() -> KeptEvaluation:
    """What the library of this test keeps."""
    settings = load_settings()
    store = Store.open(settings.home, settings.index.fingerprint, DIMENSIONS)
    kept = KeptEvaluations(store.measurements)
    found = kept.opened(kept.listed()[0].name)
    assert found is not None
    return found


def test_a_result_is_shown_kept_and_opens_on_inspect(
    result: AppTest, opened: Callable[[], AppTest], folder: Path
) -> None:
    app, kept = result, newest()
    evaluation = kept.evaluation
    said = verdict(evaluation)
    assert said
    assert plain(said) in app.info[0].value
    assert "llm did not run." in texts(app)
    tables = [element.value for element in app.table]
    assert [list(frame["Pipeline"]) for frame in tables] == [[*map(plain, STANDARD)]] * 3
    row = evaluation.row("fused+rerank")
    assert row is not None
    assert tables[0]["hit@1"].iloc[3] == percent(row.figures[ALL]["hit@1"])
    assert tables[0]["p50, p95"].iloc[3] == duration(row.seconds["total"])
    assert "Tokens" not in tables[0]
    # The same after a restart, without another evaluation.
    app = opened()
    assert running.job() is None
    assert app.info[0].value == result.info[0].value
    chosen = outcomes(evaluation, "fused", "fused+rerank", "ndcg@10")[0]
    app.session_state["evaluation-outcome"] = None
    app.session_state[CHOSEN] = chosen.question.id
    app = app.run()
    assert_clean(app)
    assert chosen.question.text in texts(app)
    app = press(app, "Open on Inspect")
    assert_clean(app)
    record = app.session_state["inspected"]
    assert record.trace.question == chosen.question.text
    assert record.trace.settings["reranker"] == "late-interaction"
    shown = next(c for c in record.trace.candidates if c.chunk.id == app.session_state["chosen"])
    assert shown.rank == chosen.ranks[1]
    assert str(record.trace.notices[-1]).startswith(
        f"Asked of the documents of the golden set “{folder.name}”"
    )


def test_answers_are_measured_where_that_is_chosen_and_judged_where_a_model_can(
    opened: Callable[[], AppTest], folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answering = shutil.copytree(folder, tmp_path / "answering")
    asked = [
        {"id": "en0", "text": "Where is the red cat?", "answers": ["The red cat lives here."]},
        {"id": "zh0", "text": "红色的猫在哪里？", "answers": ["这里"]},
        {"id": "none", "text": "Where is the red bus?", "answerable": False},
    ]
    lines = "\n".join(json.dumps(row, ensure_ascii=False) for row in asked)
    (answering / "queries.jsonl").write_text(lines, encoding="utf-8")
    (answering / "qrels.tsv").write_text("en0\tred cat\t1\nzh0\t红猫\t1\n", encoding="utf-8")
    app = choose(opened(), answering, "lexical")
    app = app.checkbox(key="evaluation-answers").check().run()
    assert_clean(app)
    assert "Answered by quoted sentences." in texts(app)
    assert "Questions without an answer (1) are asked too." in texts(app)
    assert "evaluation-judge" not in {box.key for box in app.checkbox}
    app = finished(press(app, "Evaluate"))
    answers = newest().evaluation.answers
    assert answers is not None
    shown = app.table[-1].value
    assert list(shown.columns) == ["Measure", "All questions", "English", "Chinese"]
    assert list(shown["Measure"]) == [MEASURES[one] for one in answers.figures[ALL]]
    row = list(answers.figures[ALL]).index("gold_in_answer")
    found = answers.figures["zh"]["gold_in_answer"]
    assert shown["Chinese"].iloc[row].startswith(percent(found.figure).split()[0])
    assert "3 questions, 1 without an answer" in texts(app)
    # With a model there is a second choice, which says what it takes.
    monkeypatch.setenv("RAG_LLM_MODEL", "model-x")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    app = choose(opened(), answering, "lexical")
    app = app.checkbox(key="evaluation-answers").check().run()
    assert_clean(app)
    judge = app.checkbox(key="evaluation-judge")
    assert "one more request an answer, which may cost" in judge.label
    assert not judge.value
    assert "One request to model-x a question" in texts(app)


def test_a_golden_set_that_changed_says_to_evaluate_again(
    opened: Callable[[], AppTest], folder: Path, tmp_path: Path
) -> None:
    moved = shutil.copytree(folder, tmp_path / "moved")
    app = finished(press(choose(opened(), moved, "dense", "lexical"), "Evaluate"))
    assert "For a verdict choose a pipeline with a reranker" in texts(app)
    with (moved / "corpus.jsonl").open("a", encoding="utf-8") as file:
        file.write('\n{"id": "new", "text": "新的一段"}')
    app.session_state["evaluation-outcome"] = None
    app.session_state[CHOSEN] = "zh0"
    app = press(app.run(), "Open on Inspect")
    assert_clean(app)
    assert "is not indexed as it is now" in texts(app)
    assert "Evaluate again" in texts(app)


@dataclass
class Marked:
    """A question and the beginning of the passage that answers it."""

    question: str
    answer: str


MARKED = [
    Marked("Where does the cat sleep?", "The cat sleeps"),
    Marked("猫睡在哪里？", "猫睡在温暖"),
]


def test_the_golden_questions_of_the_library_are_asked_of_it_as_it_is(
    opened: Callable[[], AppTest],
) -> None:
    opened()
    pipeline = rag.opening.open_pipeline(load_settings())
    files = [File.holding("en.md", ANIMALS.encode()), File.holding("中.md", CHINESE.encode())]
    assert len(list(pipeline.add(files))) > 2
    for marked in MARKED:
        candidates = pipeline.search(marked.question).candidates
        chunk = next(one.chunk for one in candidates if marked.answer in one.chunk.text)
        mark = made_mark(marked.question, PassageSpan.of(chunk), "en.md", chunk.text, "me")
        pipeline.store.golden.put([mark])
    app = opened()
    assert "2 questions with an answer (1 English, 1 Chinese)" in texts(app)
    app = finished(press(app, "Evaluate"))
    assert "2 questions" in texts(app)
    assert plain(verdict(newest().evaluation)) in app.info[0].value
    app.session_state["evaluation-outcome"] = None
    app.session_state[CHOSEN] = newest().evaluation.questions[0].id
    app = press(app.run(), "Open on Inspect")
    assert_clean(app)
    record = app.session_state["inspected"]
    assert record.trace.library.contents == pipeline.store.state().contents
    assert not record.trace.notices
    assert app.session_state["chosen"] in {one.chunk.id for one in record.trace.candidates}


# --- in the background ---


def test_one_evaluation_runs_for_all_sessions_and_can_be_stopped(
    opened: Callable[[], AppTest],
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RAG_CACHE", str(tmp_path / "cache"))
    app, go_on = opened(), Event()
    embedder = FakeEmbedder(before=lambda: go_on.wait(30))
    unhindered = rag.opening.open_pipeline
    monkeypatch.setattr(
        rag.opening,
        "open_pipeline",
        lambda settings, index=None, **others: replace(
            unhindered(settings, index, **others), embedder=embedder
        ),
    )
    st.cache_resource.clear()
    app = press(choose(app, folder), "Evaluate")
    assert not can_start(app)
    other = visit()
    assert not can_start(other)
    press(other, "Stop")
    go_on.set()
    app = finished(app)
    assert "stopped before every pipeline had ranked a question" in texts(app)
    assert can_start(choose(app, folder))
    assert running.job().problem is None


def test_a_job_tells_its_problem_and_keeps_what_it_found() -> None:
    def full(found: str) -> None:
        raise LibraryError("The disk is full.", "Free some space.")

    job = EvaluationJob("金", lambda report, cancelled: f"{cancelled()}", full)
    job.wait(5)
    assert (job.name, job.result) == ("金", "False")
    assert str(job.problem) == "The disk is full. Free some space."


# --- kept, counted, drawn ---


@pytest.fixture(scope="module")
def evaluation(folder: Path, settings: Settings) -> Evaluation:
    return run(read_golden_set(folder), settings, ",".join([*STANDARD, "llm"]))[0]


def test_an_evaluation_comes_back_as_it_was_and_only_the_last_are_kept(
    evaluation: Evaluation, tmp_path: Path
) -> None:
    store = Store.open(tmp_path / "other", "one", DIMENSIONS)
    store.measurements.put("baseline", b"stays")
    kept = KeptEvaluations(store.measurements)
    for number in range(MOST + 2):
        made_at = evaluation.made_at + timedelta(seconds=number)
        last = KeptEvaluation(replace(evaluation, made_at=made_at), "folder", "/金")
        kept.keep(last)
    listed = kept.listed()
    assert len(listed) == MOST
    assert listed[0].made_at == made_at
    assert listed[-1].made_at == evaluation.made_at + timedelta(seconds=2)
    assert listed[0].golden == evaluation.golden
    again = kept.opened(listed[0].name)
    assert again == shortened(last)
    assert verdict(again.evaluation) == verdict(evaluation)
    assert all(len(r.units) <= DEPTH for row in again.evaluation.rows for r in row.rankings)
    assert store.measurements.get("baseline") == b"stays"
    store.measurements.put(listed[0].name, b"damaged")
    with pytest.raises(UnreadableTrace, match="damaged"):
        kept.opened(listed[0].name)
    assert kept.opened("evaluation that was forgotten") is None


def test_outcomes_turn_around_with_the_pair_and_add_up(evaluation: Evaluation) -> None:
    found = outcomes(evaluation, "lexical", "dense", "mrr@10")
    turned = outcomes(evaluation, "dense", "lexical", "mrr@10")
    assert len(found) == len(evaluation.questions)
    opposite = {"win": "loss", "loss": "win", "tie": "tie"}
    verdicts = {outcome.question.id: outcome.verdict for outcome in turned}
    assert all(verdicts[one.question.id] == opposite[one.verdict] for one in found)
    gains = [outcome.gain for outcome in found]
    assert gains == sorted(gains, reverse=True)
    compared = evaluation.comparison("dense", "lexical", "mrr@10")
    assert compared is not None
    assert sum(gains) / len(gains) == pytest.approx(-compared.difference.mean)
    for outcome in found:
        for score, rank in zip(outcome.scores, outcome.ranks, strict=True):
            assert score == pytest.approx(1 / rank if rank else 0)
    assert outcomes(evaluation, "dense", "llm", "mrr@10") == []


def test_every_figure_of_the_csv_is_that_of_the_evaluation(evaluation: Evaluation) -> None:
    rows = list(csv.DictReader(StringIO(evaluation_csv(evaluation))))
    assert [row["questions"] for row in rows if row["pipeline"] == "dense"] == [ALL, "en", "zh"]
    for row in rows:
        source = evaluation.row(row["pipeline"])
        assert source is not None
        if source.problem is not None:
            assert row["problem"] == str(source.problem)
            assert row["hit@1"] == ""
            continue
        figure = source.figures[row["questions"]]["ndcg@10"]
        shown = [float(row[name]) for name in ("ndcg@10", "ndcg@10 low", "ndcg@10 high")]
        assert shown == [figure.mean, figure.low, figure.high]
        assert row["number"] == ("10" if row["questions"] == ALL else "5")


def test_the_chart_has_a_point_for_every_pipeline_that_ran(evaluation: Evaluation) -> None:
    spec = quality_chart(evaluation)
    points = spec["datasets"]["points"]
    assert [point["Pipeline"] for point in points] == list(STANDARD)
    low, high = spec["encoding"]["x"]["scale"]["domain"]
    assert all(low < point["ms"] < high for point in points)
    assert all(point["low"] <= point["mean"] <= point["high"] for point in points)


def test_tokens_and_cost_are_shown_only_where_they_were_counted(evaluation: Evaluation) -> None:
    first, *rest = evaluation.rows
    counted = replace(evaluation, rows=(replace(first, tokens=1200, cost=0.5), *rest))
    shown = table(counted, ALL)
    assert shown["Tokens"] == ["1,200", "–", "–", "–"]
    assert shown["Cost"] == ["0.5000", "–", "–", "–"]
    assert "Tokens" not in table(counted, "zh")
