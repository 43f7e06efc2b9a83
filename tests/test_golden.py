"""Golden questions: marks that outlive indexes, the lab over them, and drafts of a model."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from rag.errors import BackendError, RAGError
from rag.evaluation.golden_sets import GoldenSet
from rag.evaluation.pipelines import parse_pipelines
from rag.evaluation.results import Evaluation
from rag.evaluation.run import evaluate
from rag.golden.drafting import draft_questions, no_model, passages_to_ask_about, problem
from rag.golden.marks import add_mark, add_marks, confirm, made_mark, mark_of, standing
from rag.golden.sets import golden_set_of
from rag.ingest import File
from rag.models.quoting import QuoteAnswerer
from rag.pipeline import Pipeline
from rag.sentences import sentences
from rag.settings import EndpointSettings, IndexSettings, Settings
from rag.store import Store
from rag.token_codes import TokenCodec
from rag.types import Candidate, Chunk, Document, GoldenMark, Page, PassageSpan
from tests.endpoint import Endpoint, running_endpoint
from tests.fakes import DIMENSIONS, FakeEmbedder, FakeReranker

ENGLISH = (
    "The cat sleeps on the warm mat by the stove. The dog guards the yard at night. "
    "Hens lay fewer eggs when the days are short. A donkey remembers every path it took. "
    "Geese warn of strangers, and nobody passes them unheard. Rabbits dig below the fence. "
    "A frigate is a warship with three masts. Sailors climb the rigging in every storm. "
    "The pilot boards before the harbour and leaves behind the last buoy. Tides turn twice a day. "
    "Bread needs flour, water and salt. The oven must be hot for an hour before baking."
)
CHINESE = (
    "猫睡在炉子旁边温暖的垫子上。狗在夜里看守院子。白天短的时候母鸡下蛋少。"
    "驴记得走过的每一条路。鹅看见生人就叫。兔子在篱笆下面打洞。护卫舰是有三根桅杆的战舰。"
    "水手在每一场风暴里爬上索具。面包需要面粉、水和盐。烤之前烤箱要热一个小时。"
)
CAT, 猫 = "Where does the cat sleep?", "猫睡在哪里？"
BREAD = "What does bread need?"
LARGE = IndexSettings(chunk_tokens=76, overlap_tokens=0)
SMALL = IndexSettings(chunk_tokens=32, overlap_tokens=0)


def make(home: Path, index: IndexSettings = LARGE) -> Pipeline:
    embedder = FakeEmbedder()
    store = Store.open(home, index.fingerprint, DIMENSIONS)
    store.indexes.describe(index.fingerprint, index.model_dump(), built=not store.missing())
    return Pipeline(
        settings=Settings(home=home, cache=home / "cache", index=index),
        store=store,
        embedder=embedder,
        codec=TokenCodec(DIMENSIONS),
        reranker=FakeReranker(),
        answerer=QuoteAnswerer(embedder, sentences),
    )


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library under two indexes, one of large chunks and one of small."""
    home = tmp_path_factory.mktemp("filled")
    files = [
        File.holding("english.md", ENGLISH.encode()),
        File.holding("中文.md", CHINESE.encode()),
    ]
    assert len(list(make(home).add(files))) > 2
    assert list(make(home, SMALL).build_index())
    return home


@pytest.fixture
def home(filled: Path, tmp_path: Path) -> Path:
    return shutil.copytree(filled, tmp_path / "library")


def best(pipeline: Pipeline, question: str) -> Candidate:
    return pipeline.search(question).candidates[0]


def marked(pipeline: Pipeline, question: str, relevant: bool = True) -> GoldenMark:
    """Mark the best source of a question."""
    found = best(pipeline, question)
    mark = mark_of(question, found.chunk, found.document, "somebody", relevant=relevant)
    add_mark(pipeline.store.golden, mark)
    return mark


def run(pipeline: Pipeline, golden: GoldenSet | None = None) -> Evaluation:
    def opened(settings: Settings, index: IndexSettings) -> Pipeline:
        assert settings.home == pipeline.settings.home
        return replace(make(settings.home, index), reranker=None)

    specs = parse_pipelines("dense,lexical,fused")
    return evaluate(
        golden or golden_set_of(pipeline.store), specs, pipeline.settings, opened=opened
    )


# --- marks ---


@pytest.mark.parametrize("question", [CAT, 猫])
def test_a_mark_is_there_when_the_library_is_opened_again(home: Path, question: str) -> None:
    mark = marked(make(home), question)
    again = make(home)
    [kept] = again.store.golden.listed()
    assert kept == mark
    found = standing([kept], f"  {question.upper()}", best(again, question).chunk)
    assert found == kept


def test_the_same_mark_twice_is_one_row_and_the_other_thumb_takes_its_place(home: Path) -> None:
    pipeline = make(home)
    first = marked(pipeline, CAT)
    marked(pipeline, CAT)
    assert pipeline.store.golden.listed() == [first]
    marked(pipeline, CAT, relevant=False)
    [mark] = pipeline.store.golden.listed()
    assert not mark.relevant
    pipeline.store.golden.remove([mark.id, "unknown"])
    assert pipeline.store.golden.listed() == []
    assert standing([], CAT, best(pipeline, CAT).chunk) is None


def test_marks_of_several_people_at_once_are_all_kept_and_none_twice(home: Path) -> None:
    barrier = threading.Barrier(6)

    def work(question: str) -> None:
        pipeline = make(home)
        barrier.wait(20)
        marked(pipeline, question)

    with ThreadPoolExecutor(6) as people:
        assert list(people.map(work, [CAT, 猫] * 3)) == [None] * 6
    assert sorted(mark.question for mark in make(home).store.golden.listed()) == sorted([CAT, 猫])


def test_a_mark_stands_under_another_index_and_the_nearest_one_decides(home: Path) -> None:
    """The place counts, not the chunk: small chunks inside a marked large one are marked."""
    large, small = make(home), make(home, SMALL)
    mark = marked(large, CAT)
    chunks = small.store.chunks(mark.span.document_id)
    inside = [chunk for chunk in chunks if mark.span.matches(PassageSpan.of(chunk))]
    assert len(inside) >= 2
    marks = small.store.golden.listed()
    assert all(standing(marks, CAT, chunk) == mark for chunk in inside)
    assert standing(marks, BREAD, inside[0]) is None
    wrong = mark_of(CAT, inside[-1], "english.md", "me", relevant=False)
    add_mark(small.store.golden, wrong)
    marks = small.store.golden.listed()
    assert len(marks) == 2
    assert standing(marks, CAT, inside[-1]) == wrong
    assert standing(marks, CAT, inside[0]) == mark


@pytest.mark.parametrize(
    ("start", "end", "matches"),
    [
        (0, 100, True),
        (50, 150, True),
        (51, 151, False),
        (90, 110, True),
        (91, 111, False),
        (10, 12, True),
        (100, 200, False),
        (5, 5, False),
    ],
)
def test_half_of_the_shorter_makes_a_match(start: int, end: int, matches: bool) -> None:
    span, other = PassageSpan("a", 1, 0, 100), PassageSpan("a", 1, start, end)
    assert span.matches(other) is matches
    assert other.matches(span) is matches
    assert not span.matches(replace(other, page=2))
    assert not span.matches(replace(other, document_id="b"))


# --- the lab ---


@pytest.mark.parametrize("index", [LARGE, SMALL])
def test_the_library_is_evaluated_as_it_is_under_any_index(
    home: Path, index: IndexSettings
) -> None:
    for question in (CAT, 猫, BREAD):
        marked(make(home), question)
    pipeline = make(home, index)
    before = {path.name for path in home.iterdir()}
    found = run(pipeline)
    assert {path.name for path in home.iterdir()} - before <= {"cache"}
    assert {question.language for question in found.questions} == {"en", "zh"}
    for name in ("dense", "fused"):
        row = found.row(name)
        assert row is not None
        assert row.figures["all"]["recall@10"].mean == 1.0


def test_a_wrong_source_on_top_is_no_hit_and_known_as_wrong(home: Path) -> None:
    pipeline = make(home)
    right, wrong = pipeline.search(CAT).candidates[1::-1]
    for one, relevant in ((right, True), (wrong, False)):
        mark = mark_of(CAT, one.chunk, one.document, "me", relevant=relevant)
        add_mark(pipeline.store.golden, mark)
    golden = golden_set_of(pipeline.store)
    [question] = golden.questions
    assert question.rejected == (PassageSpan.of(wrong.chunk).id,)
    row = run(pipeline, golden).row("fused")
    assert row is not None
    assert row.rankings[0].units[:2] == (*question.rejected, *question.gold)
    assert row.per_question["hit@1"] == (0.0,)
    assert row.per_question["mrr@10"] == (0.5,)


def test_a_chunk_that_holds_two_golden_places_has_found_both(home: Path) -> None:
    large, small = make(home), make(home, SMALL)
    first, second = small.store.chunks(best(large, CAT).chunk.document_id)[:2]
    for chunk in (first, second):
        mark = mark_of(CAT, chunk, "english.md", "me", relevant=True)
        add_mark(small.store.golden, mark)
    row = run(large).row("fused")
    assert row is not None
    assert row.per_question["recall@5"] == (1.0,)
    assert len(set(row.rankings[0].units)) == len(row.rankings[0].units)


def test_a_new_mark_is_ranked_anew_and_old_rankings_are_kept(home: Path) -> None:
    pipeline = make(home)
    marked(pipeline, CAT)
    before = run(pipeline)
    marked(pipeline, BREAD)
    after = run(pipeline)
    assert {one.id for one in before.questions} < {one.id for one in after.questions}
    add_mark(
        pipeline.store.golden,
        mark_of(
            CAT,
            pipeline.search(CAT).candidates[1].chunk,
            "english.md",
            "me",
            relevant=True,
        ),
    )
    [question] = [one for one in run(pipeline).questions if one.text == CAT]
    assert len(question.gold) == 2
    assert question.id not in {one.id for one in after.questions}


def test_without_questions_or_documents_the_set_says_what_to_do(home: Path) -> None:
    pipeline = make(home)
    with pytest.raises(RAGError, match="no golden questions yet"):
        golden_set_of(pipeline.store)
    marked(pipeline, CAT)
    marked(pipeline, 猫)
    document = best(pipeline, CAT).chunk.document_id
    pipeline.store.remove(document)
    assert [question.text for question in golden_set_of(pipeline.store).questions] == [猫]
    pipeline.store.remove(best(pipeline, 猫).chunk.document_id)
    with pytest.raises(RAGError, match="not in this library"):
        golden_set_of(pipeline.store)


def test_a_passage_that_moved_on_its_page_is_found_by_its_beginning(home: Path) -> None:
    pipeline = make(home)
    mark = marked(pipeline, 猫)
    document = pipeline.store.document(mark.span.document_id)
    assert document is not None
    text = pipeline.store.pages(document.id)[0].text

    def read_again(text: str) -> None:
        again = Document(document.id, document.name, "text/markdown", 1, (Page(1, text),))
        pipeline.store.put_pages(again)

    read_again("新的标题\n\n" + text)
    [moved] = golden_set_of(pipeline.store).spans.values()
    assert (moved.start, moved.end) == (mark.span.start + 6, mark.span.end + 6)
    read_again("这里写着别的。")
    with pytest.raises(RAGError):
        golden_set_of(pipeline.store)


# --- drafts ---


@pytest.fixture(scope="module")
def chat() -> Iterator[Endpoint]:
    with running_endpoint() as running:
        yield running


def asking(chat: Endpoint, written: str) -> EndpointSettings:
    return EndpointSettings(base_url=chat.base_url, model=f"says {written}")


def passage_about(pipeline: Pipeline, question: str) -> Chunk:
    return best(pipeline, question).chunk


@pytest.mark.parametrize(
    ("about", "written"),
    [
        (BREAD, "Which ingredients must a baker have for bread?"),
        (猫, "晚上睡在炉子旁边的是哪种动物？"),
    ],
)
def test_a_draft_counts_once_a_person_confirms_it(
    home: Path, chat: Endpoint, about: str, written: str
) -> None:
    pipeline = make(home)
    chunk = passage_about(pipeline, about)
    documents = {chunk.document_id: "a document"}
    [draft] = draft_questions([chunk], documents, asking(chat, f"Question: {written}"), "me")
    assert draft is not None
    assert (draft.question, draft.origin, draft.confirmed) == (written, "drafted", False)
    assert chunk.text[:40] in chat.requests[-1].body["messages"][-1]["content"]
    golden = pipeline.store.golden
    add_mark(golden, draft)
    assert standing(golden.listed(), written, chunk) is None
    with pytest.raises(RAGError, match="no golden questions"):
        golden_set_of(pipeline.store)
    confirm(golden, draft, "a person")
    assert [one.text for one in golden_set_of(pipeline.store).questions] == [written]
    assert golden.listed()[0].asker == "a person"
    add_mark(golden, draft)
    assert golden.listed()[0].confirmed


@pytest.mark.parametrize(
    ("about", "written"),
    [
        (BREAD, ""),
        (BREAD, "Bread needs flour, water and salt."),
        (BREAD, "Bread needs flour, water and salt?"),
        (BREAD, "What does the passage say that bread needs?"),
        (BREAD, "面包需要什么？"),
        (BREAD, "Who won the tennis tournament yesterday?"),
        (BREAD, f"Which bread {'really ' * 60}needs salt?"),
        (猫, "狗在夜里看守院子？"),
        (猫, "这段文字里的猫睡在哪里？"),
        (猫, "Where does the cat sleep at night?"),
    ],
)
def test_what_is_no_question_about_the_passage_is_left_out(about: str, written: str) -> None:
    text = ENGLISH if about is BREAD else CHINESE
    chunk = Chunk("c", "d", 0, 1, 0, len(text), text)
    assert problem(written, chunk.text)
    endpoint = EndpointSettings(base_url="http://127.0.0.1:9/v1", model="any")
    drafts = draft_questions([chunk], {}, endpoint, "me", lambda *_: written)
    assert list(drafts) == [None]


def test_without_a_model_or_with_a_failing_one_nothing_is_made_up(
    home: Path, chat: Endpoint
) -> None:
    chunk = passage_about(make(home), CAT)
    assert no_model(EndpointSettings()) is not None
    for endpoint in (
        EndpointSettings(),
        EndpointSettings(base_url=chat.base_url, model="status-401"),
    ):
        with pytest.raises(BackendError):
            list(draft_questions([chunk], {}, endpoint, "me"))


def test_passages_to_ask_about_are_long_enough_and_not_marked() -> None:
    class Shelf:
        def sample(self, count: int, seed: int) -> list[Chunk]:
            texts = [ENGLISH, CHINESE, "Short one.", "短。"]
            return [
                Chunk(str(n), f"d{n}", 0, 1, 0, len(text), text) for n, text in enumerate(texts)
            ]

    def asked(marks: Sequence[GoldenMark]) -> set[str]:
        return {chunk.document_id for chunk in passages_to_ask_about(Shelf(), marks, 9, seed=1)}

    assert asked([]) == {"d0", "d1"}
    mark = made_mark(CAT, PassageSpan("d0", 1, 0, 50), "a.md", ENGLISH, "me", relevant=False)
    assert asked([mark]) == {"d1"}


def test_many_marks_are_one_commit_and_so_is_another_opinion(home: Path) -> None:
    """Killed at any moment, a library has all of them or none."""
    store = make(home).store
    span = PassageSpan("d", 1, 0, 10)
    marks = [made_mark(f"Question {n} 问题？", span, "d.md", "text", "me") for n in range(300)]
    commits = store._tables.golden.version
    assert len(add_marks(store.golden, [*marks, *marks])) == 300
    assert store._tables.golden.version == commits + 1
    contrary = replace(marks[0], span=replace(span, end=9), relevant=False, id="contrary")
    add_mark(store.golden, contrary)
    assert store._tables.golden.version == commits + 2
    assert contrary in store.golden.listed()
    assert marks[0] not in store.golden.listed()
    assert len(make(home).store.golden.listed()) == 300
    assert all(mark.made_at <= datetime.now(UTC) for mark in store.golden.listed())
