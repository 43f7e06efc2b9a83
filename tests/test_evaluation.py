"""The lab end to end: index, rank, compare, stop and go on."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from rag.cli.eval import evaluate as command
from rag.cli.evaluation_tables import print_evaluation
from rag.errors import BackendError, LibraryError, UnreadableFile
from rag.evaluation.golden_sets import GoldenSet, read_golden_set
from rag.evaluation.indexing import SHARD, cache_folder, library_settings, units_of
from rag.evaluation.pipelines import parse_pipelines
from rag.evaluation.progress import EvaluationProgress
from rag.evaluation.results import Evaluation
from rag.evaluation.run import evaluate
from rag.evaluation.runs import write_run
from rag.evaluation.scoring import nothing_ranked, with_run
from rag.evaluation.verdict import verdict
from rag.evaluation.views import evaluation_view
from rag.models.answerers import make_answerer
from rag.pipeline import Pipeline
from rag.sentences import sentences
from rag.settings import IndexSettings, QuerySettings, Settings
from rag.store import Store
from rag.token_codes import TokenCodec
from tests.fakes import DIMENSIONS, FakeEmbedder

COLOURS = ["red", "green", "blue", "white", "black"]
ANIMALS = ["cat", "dog", "fox", "owl", "hen", "pig", "cow", "bee", "ant", "elk"]
颜色 = ["红", "绿", "蓝", "白", "黑"]
动物 = ["猫", "狗", "狐", "鹰", "鸡"]
PIPELINES = "dense,lexical,fused,fused+rerank@10"


def write(folder: Path, corpus: list[dict[str, str]], gold: dict[str, tuple[str, str]]) -> Path:
    """A golden set; `gold` gives each question's id its text and the id of what answers it."""
    folder.mkdir(exist_ok=True)
    asked = [{"id": name, "text": text} for name, (text, _) in gold.items()]
    for name, rows in (("corpus.jsonl", corpus), ("queries.jsonl", asked)):
        text = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
        (folder / name).write_text(text, encoding="utf-8")
    rows = "".join(f"{name}\t{right}\t1\n" for name, (_, right) in gold.items())
    (folder / "qrels.tsv").write_text(rows, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    english = [(f"{c} {a}", f"The {c} {a} lives here.") for c in COLOURS for a in ANIMALS]
    chinese = [(f"{c}{a}", f"{c}色的{a}住在这里。") for c in 颜色 for a in 动物]
    corpus = [{"id": name, "title": "", "text": text} for name, text in [*english, *chinese]]
    gold = {f"en{n}": (f"Where is the {name}?", name) for n, (name, _) in enumerate(english[::10])}
    gold |= {
        f"zh{n}": (f"{name[0]}色的{name[1]}在哪里？", name)
        for n, (name, _) in enumerate(chinese[::5])
    }
    return write(tmp_path_factory.mktemp("set") / "colours", corpus, gold)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    home = tmp_path_factory.mktemp("home")
    return Settings(home=home, cache=home / "cache")


def opener(embedder: FakeEmbedder) -> Callable[[Settings, IndexSettings], Pipeline]:
    def opened(settings: Settings, index: IndexSettings) -> Pipeline:
        assert settings.query.reranker == "none"
        return Pipeline(
            settings=settings,
            store=Store.open(settings.home, index.fingerprint, DIMENSIONS),
            embedder=embedder,
            codec=TokenCodec(DIMENSIONS),
            reranker=None,
            answerer=make_answerer(
                "quotes", settings.endpoint, embedder, sentences, settings.cache
            ),
        )

    return opened


def run(
    golden: GoldenSet, settings: Settings, pipelines: str = PIPELINES, **options: object
) -> tuple[Evaluation, FakeEmbedder]:
    embedder = options.pop("embedder", None) or FakeEmbedder()
    specs = parse_pipelines(pipelines, settings.query)
    return (
        evaluate(golden, specs, settings, opened=opener(embedder), **options),  # type: ignore[arg-type]
        embedder,
    )


def unasked(settings: Settings, depth: int) -> Settings:
    """The same library with settings that nothing was ranked with yet."""
    return settings.model_copy(update={"query": QuerySettings(recall_depth=depth)})


@pytest.fixture(scope="module")
def made(folder: Path, settings: Settings) -> Evaluation:
    """The evaluation that reading tests share."""
    return run(read_golden_set(folder), settings)[0]


def test_every_pipeline_ranks_every_question_by_its_own_recall(made: Evaluation) -> None:
    assert len(made.questions) == 10
    for row in made.rows:
        assert [ranking.question for ranking in row.rankings] == [q.id for q in made.questions]
        assert all(len(set(ranking.units)) == len(ranking.units) for ranking in row.rankings)
    stages = {row.spec.name: set(row.seconds) for row in made.rows}
    assert stages == {
        "dense": {"encode", "dense", "total"},
        "lexical": {"lexical", "total"},
        "fused": {"encode", "dense", "lexical", "fuse", "total"},
        "fused+rerank@10": {"encode", "dense", "lexical", "fuse", "evidence", "rerank", "total"},
    }
    reranked = made.row("fused+rerank@10")
    assert reranked is not None
    for ranking in reranked.rankings:
        scored = [score for score in ranking.scores if score is not None]
        assert len(scored) == 10
        assert scored == sorted(scored, reverse=True)
        assert ranking.scores[:10] == tuple(scored)


def test_a_ranking_is_the_order_of_a_search(
    made: Evaluation, folder: Path, settings: Settings
) -> None:
    golden = read_golden_set(folder)
    plain = library_settings(golden, settings)
    plain = plain.model_copy(update={"query": QuerySettings(reranker="none")})
    pipeline = opener(FakeEmbedder())(plain, plain.index)
    units = units_of(golden)
    for name, query in (
        ("fused", QuerySettings(reranker="none")),
        ("fused+rerank@10", QuerySettings(rerank_depth=10)),
    ):
        row = made.row(name)
        assert row is not None
        for question, ranking in zip(made.questions[::3], row.rankings[::3], strict=True):
            trace = pipeline.with_query(query).search(question.text)
            found = [unit for one in trace.candidates for unit in units.of(one, question)]
            assert ranking.units == tuple(found)


def test_of_passages_no_made_up_name_is_read(
    made: Evaluation, folder: Path, settings: Settings
) -> None:
    assert settings.index.names
    plain = library_settings(read_golden_set(folder), settings)
    store = opener(FakeEmbedder())(
        plain.model_copy(update={"query": QuerySettings(reranker="none")}), plain.index
    ).store
    assert store.state().chunks
    assert not store.search_lexical("passages", 10)


def test_figures_are_by_language_and_together_and_pairs_by_every_group(made: Evaluation) -> None:
    for row in made.rows:
        assert set(row.figures) == {"all", "en", "zh"}
        together = row.figures["all"]["hit@1"]
        parts = [row.figures[language]["hit@1"].mean for language in ("en", "zh")]
        assert together.mean == pytest.approx((5 * parts[0] + 5 * parts[1]) / 10)
        assert together.low <= together.mean <= together.high
    dense, fused = made.row("dense"), made.row("fused")
    assert dense is not None
    assert fused is not None
    found = made.comparison("dense", "fused", "ndcg@10", "zh")
    assert found is not None
    assert found.difference.mean == pytest.approx(
        fused.figures["zh"]["ndcg@10"].mean - dense.figures["zh"]["ndcg@10"].mean
    )
    assert len(made.comparisons) == 6 * 4 * 3


def test_the_library_finds_what_is_asked_in_both_languages(made: Evaluation) -> None:
    fused = made.row("fused")
    assert fused is not None
    assert fused.figures["en"]["hit@10"].mean == fused.figures["zh"]["hit@10"].mean == 1


def test_a_second_run_does_nothing_again(
    made: Evaluation, folder: Path, settings: Settings
) -> None:
    encoded = 0

    class Counting(FakeEmbedder):
        def encode_question(self, text):
            nonlocal encoded
            encoded += 1
            return super().encode_question(text)

    golden = read_golden_set(folder)
    again, embedder = run(golden, settings, embedder=Counting())
    assert embedder.encoded == encoded == 0
    assert again.rows[3].rankings == made.rows[3].rankings
    assert again.comparisons == made.comparisons
    # Another depth ranks anew, over the same library.
    other, embedder = run(golden, settings, "fused+rerank@3", embedder=Counting())
    assert embedder.encoded == 0
    assert encoded == 10 + 1
    assert sum(score is not None for score in other.rows[0].rankings[0].scores) == 3


def test_killed_while_indexing_and_while_asking_it_goes_on(
    made: Evaluation, folder: Path, tmp_path: Path
) -> None:
    settings = Settings(home=tmp_path, cache=tmp_path)
    golden = read_golden_set(folder)
    embedder = FakeEmbedder()

    def die_at(stage: str, done: int) -> Callable[[EvaluationProgress], None]:
        def report(progress: EvaluationProgress) -> None:
            if progress.stage == stage and progress.done >= done:
                raise KeyboardInterrupt

        return report

    with pytest.raises(KeyboardInterrupt):
        run(golden, settings, embedder=embedder, report=die_at("indexing", SHARD + 1))
    assert embedder.encoded == 75
    with pytest.raises(KeyboardInterrupt):
        run(golden, settings, embedder=embedder, report=die_at("asking", 4))
    # The first documents were there already.
    assert embedder.encoded == 75 + (75 - SHARD)
    for path in cache_folder(golden, settings).glob("runs/*.jsonl"):
        # A kill may cut the last line short.
        path.write_text(path.read_text(encoding="utf-8")[:-30], encoding="utf-8")
    found, _ = run(golden, settings, embedder=embedder)
    assert embedder.encoded == 75 + (75 - SHARD)
    assert [len(row.rankings) for row in found.rows] == [10] * 4
    assert [row.per_question for row in found.rows] == [row.per_question for row in made.rows]


def test_cancelled_it_is_about_the_questions_so_far(folder: Path, settings: Settings) -> None:
    settings = unasked(settings, 31)
    golden = read_golden_set(folder)
    seen: list[EvaluationProgress] = []

    def stop() -> bool:
        return len([one for one in seen if one.stage == "asking"]) >= 4

    found, _ = run(golden, settings, report=seen.append, cancelled=stop)
    assert found.cancelled
    assert [question.id for question in found.questions] == ["en0", "en1", "en2", "en3"]
    assert found.row("fused").figures.keys() == {"all", "en"}  # type: ignore[union-attr]
    nothing, _ = run(golden, settings, cancelled=lambda: True)
    assert nothing.questions == ()
    assert evaluation_view(nothing)["pipelines"]["dense"] == {"description": "embeddings alone"}


def test_without_an_endpoint_the_row_says_so_and_the_others_run(
    folder: Path, settings: Settings
) -> None:
    found, _ = run(
        read_golden_set(folder), settings, "fused,llm,dense+llm,fused+rerank:api", limit=2
    )
    fused, *others = found.rows
    assert fused.figures
    for row in others:
        assert row.problem is not None
        assert row.problem.hint
        assert not row.figures
        assert not row.rankings
    assert len(found.questions) == 4
    assert found.comparisons == ()


def test_a_reranker_that_goes_on_failing_is_out_and_is_asked_again_the_next_time(
    folder: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = unasked(settings, 32)
    golden = read_golden_set(folder)
    asked = 0

    class Broken:
        name = "broken"
        by_words = calibrated = False

        def score(self, question, passages):
            nonlocal asked
            asked += 1
            raise BackendError("The endpoint is down.", "Start it.")

    monkeypatch.setattr("rag.models.stand_ins.make_reranker", lambda settings: Broken())
    found, _ = run(golden, settings, "dense,fused+rerank")
    row = found.row("fused+rerank")
    assert row is not None
    assert row.problem is not None
    assert "The endpoint is down" in str(row.problem)
    assert asked == 3
    monkeypatch.undo()
    found, _ = run(golden, settings, "dense,fused+rerank")
    assert found.rows[1].problem is None
    assert len(found.rows[1].rankings) == 10


def test_the_language_model_reads_the_whole_of_a_small_library(
    folder: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no word matches, full text recalls nothing; the model sees all passages anyway."""

    class LastIsBest:
        name = "last"
        by_words = calibrated = False

        def score(self, question, passages):
            return [place / len(passages) for place in range(len(passages))]

    monkeypatch.setattr("rag.models.stand_ins.make_reranker", lambda settings: LastIsBest())
    found, _ = run(read_golden_set(folder), settings, "llm@75,llm@74,lexical", limit=3)
    whole, part, lexical = (row.rankings[0].units for row in found.rows)
    assert len(whole) == 75
    assert set(part) == set(lexical)
    assert set(found.row("llm@75").seconds) == {"lexical", "evidence", "rerank", "total"}  # type: ignore[union-attr]


def test_files_go_the_way_of_every_file_and_count_by_document(tmp_path: Path) -> None:
    folder = write(
        tmp_path / "files",
        [],
        {"q1": ("Where does the cat sleep?", "cats.md"), "q2": ("鱼在哪里游？", "鱼.txt")},
    )
    (folder / "pdfs").mkdir()
    paragraph = "The cat sleeps on a warm mat, and the cat purrs. " * 8
    (folder / "pdfs" / "cats.md").write_text(f"# Cats\n\n{paragraph}\n\n{paragraph}", "utf-8")
    (folder / "pdfs" / "鱼.txt").write_text("鱼在清水里游来游去。", encoding="utf-8")
    (folder / "pdfs" / "broken.pdf").write_bytes(b"%PDF-1.4 nothing")
    index = IndexSettings(chunk_tokens=32, overlap_tokens=0)
    settings = Settings(home=tmp_path, cache=tmp_path, index=index)
    found, _ = run(read_golden_set(folder), settings, "fused")
    first, second = found.rows[0].rankings
    assert first.units[0] == "cats.md"
    assert second.units[0] == "鱼.txt"
    assert len(first.units) == 2
    (notice,) = found.notices
    assert notice.message.startswith("broken.pdf")
    assert library_settings(read_golden_set(folder), settings).index.names
    # What cannot be read is told again by a run that has nothing left to index.
    assert run(read_golden_set(folder), settings, "fused")[0].notices == found.notices


def test_documents_without_text_are_no_library(tmp_path: Path) -> None:
    corpus = [{"id": "a", "title": "", "text": " \n"}]
    folder = write(tmp_path / "blank", corpus, {"q1": ("Where is it?", "a")})
    with pytest.raises(UnreadableFile, match="No document of blank has text"):
        run(read_golden_set(folder), Settings(home=tmp_path, cache=tmp_path))


def test_a_corpus_that_cannot_be_indexed_ends_the_evaluation(folder: Path, tmp_path: Path) -> None:
    def fail() -> None:
        raise LibraryError("The disk is full.", "Free some space.")

    with pytest.raises(Exception, match="The disk is full") as raised:
        run(
            read_golden_set(folder),
            Settings(home=tmp_path, cache=tmp_path),
            embedder=FakeEmbedder(before=fail),
        )
    assert raised.value.hint == "Free some space."  # type: ignore[attr-defined]


def test_a_foreign_run_is_scored_beside_ours(made: Evaluation, folder: Path) -> None:
    golden = read_golden_set(folder)
    perfect = {q.id: list(q.gold) for q in golden.rankable}
    del perfect["zh0"]
    found = with_run(made, "theirs", perfect)
    row = found.row("theirs")
    assert row is not None
    assert row.figures["en"]["ndcg@10"].mean == 1
    assert row.figures["zh"]["ndcg@10"].mean == pytest.approx(0.8)
    assert "1 of 10" in found.notices[0].message
    assert found.comparison("fused", "theirs", "hit@1") is not None
    alone = with_run(nothing_ranked(golden), "theirs", perfect)
    assert alone.rows[0].figures == row.figures
    assert json.dumps(evaluation_view(alone))


def test_the_view_has_the_keys_that_are_promised(made: Evaluation) -> None:
    view = json.loads(json.dumps(evaluation_view(made)))
    assert view["dataset"] == "colours"
    fused = view["pipelines"]["fused"]
    assert {"hit@1", "recall@10", "mrr@10", "ndcg@10", "map"} < set(fused)
    assert fused["questions"] == 10
    assert set(fused["seconds"]) == {"p50", "p95"}
    assert fused["intervals"]["hit@1"][0] <= fused["hit@1"] <= fused["intervals"]["hit@1"][1]
    assert set(fused["languages"]) == {"en", "zh"}
    assert {"first", "second", "measure", "group", "difference", "p_value"} == set(
        view["comparisons"][0]
    )


def test_the_command_scores_a_run_without_any_model(
    made: Evaluation, folder: Path, tmp_path: Path
) -> None:
    row = made.row("fused")
    assert row is not None
    run_file, figures = tmp_path / "theirs.txt", tmp_path / "figures.json"
    rankings = {ranking.question: ranking.units for ranking in row.rankings}
    run_file.write_text(write_run(rankings, "theirs"), encoding="utf-8")
    result = CliRunner().invoke(
        command,
        [str(folder), "--score", str(run_file), "--json", str(figures)],
        obj=(tmp_path, None),
        catch_exceptions=False,
    )
    assert result.exit_code == 0
    assert "colours, zh: 5 questions" in result.output
    assert "colours, all: 10 questions" in result.output
    ours = evaluation_view(made)["pipelines"]["fused"]
    theirs = json.loads(figures.read_text(encoding="utf-8"))["pipelines"]["theirs.txt"]
    assert theirs["ndcg@10"] == ours["ndcg@10"]
    assert theirs["intervals"] == ours["intervals"]


def test_the_command_prints_intervals_gains_and_the_verdict(
    made: Evaluation, capsys: pytest.CaptureFixture[str]
) -> None:
    print_evaluation(made)
    printed = capsys.readouterr().out
    assert "fused+rerank@10" in printed
    assert "dense -> lexical: hit@1" in printed
    assert "(p " in printed
    assert verdict(made) in printed
