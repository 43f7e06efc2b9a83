"""Question in, answer with its trace out: with a real library and small models that behave."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from rag.errors import BackendError, EmptyLibrary, RAGError
from rag.ingest import File
from rag.models import Answerer, Reranker
from rag.models.answerers import ChatAnswerer
from rag.models.quoting import QuoteAnswerer
from rag.pipeline import Pipeline
from rag.sentences import sentences
from rag.settings import (
    EndpointSettings,
    IndexSettings,
    PriceSettings,
    QuerySettings,
    Settings,
)
from rag.store import Store
from rag.token_codes import TokenCodec
from rag.types import AddResult, Passage, Question, Turn
from rag.views import answer_view, trace_view
from tests.endpoint import Endpoint
from tests.fakes import DIMENSIONS, FakeAnswerer, FakeEmbedder, FakeReranker

ANIMALS = (
    "# Animals\n\nThe cat sleeps on the warm mat. It purrs.\n\n"
    "# Ships\n\nA frigate is a warship with three masts. Sailors climb the rigging.\n\n"
    "# Food\n\nBread needs flour, water and salt. Bake it for an hour."
)
CHINESE = (
    "# 动物\n\n猫睡在温暖的垫子上。它会打呼噜。\n\n# 食物\n\n面包需要面粉、水和盐。烤一个小时。"
)


INDEX = IndexSettings(chunk_tokens=32, overlap_tokens=0)


def make(
    home: Path,
    answerer: Answerer | None = None,
    reranker: Reranker | None = None,
    **query: float,
) -> Pipeline:
    embedder, codec = FakeEmbedder(), TokenCodec(DIMENSIONS)
    settings = Settings(
        home=home,
        cache=home,
        index=INDEX,
        query=QuerySettings.model_validate(query),
    )
    return Pipeline(
        settings=settings,
        store=Store.open(home, settings.index.fingerprint, DIMENSIONS),
        embedder=embedder,
        codec=codec,
        reranker=reranker or FakeReranker(),
        answerer=answerer or QuoteAnswerer(embedder, sentences),
    )


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("library")
    files = [
        File.holding("english.md", ANIMALS.encode()),
        File.holding("中文.md", CHINESE.encode()),
    ]
    added = [event for event in make(home).add(files) if isinstance(event, AddResult)]
    assert [str(result.outcome) for result in added] == ["added", "added"]
    return home


@pytest.mark.parametrize(
    ("question", "document", "quote"),
    [
        ("Where does the cat sleep?", "english.md", "The cat sleeps on the warm mat."),
        ("猫睡在哪里？", "中文.md", "猫睡在温暖的垫子上。"),
        ("How long must bread bake?", "english.md", "Bake it for an hour."),
    ],
)
def test_a_quoted_answer_cites_its_sentence(
    library: Path, question: str, document: str, quote: str
) -> None:
    answer = make(library).ask(question).answer
    assert answer.kind == "quoted"
    assert answer.answered
    quoted = {citation.quote for citation in answer.citations}
    assert quote in quoted or any(quote in text for text in quoted)
    first = answer.citations[0]
    assert first.candidate.document == document
    assert first.support == 1
    assert first.candidate.chunk.text[first.start : first.end] == first.quote


def test_the_trace_keeps_every_stage(library: Path) -> None:
    trace = make(library).search("warm cat mat")
    best = trace.candidates[0]
    assert best.dense is not None
    assert best.lexical is not None
    assert best.fused is not None
    assert best.rerank is not None
    assert [candidate.rank for candidate in trace.candidates] == list(
        range(1, len(trace.candidates) + 1)
    )
    assert set(trace.seconds) == {"encode", "dense", "lexical", "fuse", "evidence", "rerank"}
    assert trace.models == {
        "embedder": "fake",
        "reranker": "word overlap",
        "answerer": "quoted sentences",
    }


def test_nothing_relevant_is_said_and_the_nearest_are_shown(library: Path) -> None:
    answerer = FakeAnswerer()
    reply = make(library, answerer, relevance=0.5).ask("quantum chromodynamics of Jupiter")
    assert list(reply) == []
    assert reply.answer.kind == "nothing relevant"
    assert not reply.answer.answered
    assert reply.answer.trace.candidates
    assert answerer.seen == []


def test_only_relevant_passages_reach_the_prompt(library: Path) -> None:
    answerer = FakeAnswerer()
    reply = make(library, answerer, relevance=0.5, passages=2).ask("frigate warship masts")
    assert "frigate" in answerer_text(reply.answer.passages)
    assert len(answerer.seen[0][1]) == len(reply.passages) <= 2


def answerer_text(passages: Sequence[object]) -> str:
    return " ".join(str(passage) for passage in passages)


def test_invented_numbers_are_dropped_and_counted(library: Path) -> None:
    answerer = FakeAnswerer(["The cat sleeps on the warm mat [1]. ", "It flies [9]."])
    answer = make(library, answerer).ask("Where does the cat sleep?").answer
    assert answer.dropped == 1
    assert "[9]" not in answer.text
    assert {citation.number for citation in answer.citations} == {1}
    assert answer.citations[0].support > 0.9


def test_support_is_low_for_a_claim_the_passage_does_not_make(library: Path) -> None:
    answerer = FakeAnswerer(["Submarines dive deep [1]."])
    answer = make(library, answerer).ask("Where does the cat sleep?").answer
    assert answer.citations[0].support < 0.5


def test_a_failing_model_keeps_sources_and_partial_text(library: Path) -> None:
    failure = BackendError("The endpoint hung up.", "Ask again.")
    pipeline = make(library, FakeAnswerer(["The cat [1]"], failure=failure))
    reply = pipeline.ask("Where does the cat sleep?")
    assert list(reply) == ["The cat [1]"]
    answer = reply.answer
    assert answer.problem == failure.notice
    assert answer.text == "The cat [1]"
    assert answer.passages
    assert make(library).ask("猫睡在哪里？").answer.problem is None


def test_stopping_early_closes_the_stream_and_keeps_what_came(library: Path) -> None:
    answerer = FakeAnswerer(["One. ", "Two. ", "Three."])
    reply = make(library, answerer).ask("cat")
    for _ in reply:
        break
    assert reply.answer.text.strip() == "One."
    assert answerer.closed


def test_a_stopped_answer_keeps_its_sources_and_says_so(library: Path) -> None:
    answerer = FakeAnswerer(["The cat sleeps [1]. ", "Two. ", "Three."])
    reply = make(library, answerer).ask("cat")
    next(iter(reply))
    reply.stop()
    assert reply.answer.text.strip() == "The cat sleeps [1]."
    assert reply.answer.problem is not None
    assert reply.answer.citations
    assert answerer.closed


def test_history_reaches_the_model(library: Path) -> None:
    answerer = FakeAnswerer()
    turns = [Turn("Who?", "The cat.")]
    _ = make(library, answerer).ask("Where does the cat sleep?", turns).answer
    assert answerer.seen[0][2] == turns


FOLLOW_UPS = [
    ("它睡在哪里？", Turn("猫会做什么？", "猫会打呼噜。"), "猫睡在哪里？", "中文.md"),
    (
        "and where does it sleep?",
        Turn("Cat?", "It purrs."),
        "Where does the cat sleep?",
        "english.md",
    ),
]


def with_chat(pipeline: Pipeline, base_url: str, model: str) -> Pipeline:
    chat = EndpointSettings(base_url=base_url, model=model)
    prices = PriceSettings(input_tokens=2, output_tokens=8)
    settings = pipeline.settings.model_copy(update={"endpoint": chat, "prices": prices})
    return replace(pipeline, settings=settings)


@pytest.mark.parametrize(("question", "before", "rewritten", "document"), FOLLOW_UPS)
def test_a_follow_up_is_searched_as_rewritten_and_answered_as_typed(
    library: Path, endpoint: Endpoint, question: str, before: Turn, rewritten: str, document: str
) -> None:
    answerer = FakeAnswerer()
    pipeline = with_chat(make(library, answerer), endpoint.base_url, f"says {rewritten}")
    answer = pipeline.ask(question, [before]).answer
    trace = answer.trace
    assert (trace.question, trace.standalone, trace.searched) == (question, rewritten, rewritten)
    assert trace.candidates == pipeline.search(rewritten).candidates
    assert trace.candidates[0].document == document
    assert answerer.seen[0][0] == question
    assert list(trace.seconds)[:2] == ["rewrite", "encode"]
    [usage] = trace.usage
    assert (usage.stage, usage.counted, usage.cost) == ("rewrite", True, (9 * 2 + 9 * 8) / 1e6)
    assert answer.usage == trace.usage
    assert "9 tokens in, 9 out" in answer.usage_line


@pytest.mark.parametrize("query", [{"rewrite": False}, {"answerer": "quotes"}, {}])
def test_without_history_or_a_model_that_writes_nothing_is_rewritten(
    library: Path, endpoint: Endpoint, query: dict[str, object]
) -> None:
    pipeline = with_chat(
        make(library, FakeAnswerer()), endpoint.base_url, "says Where does the cat sleep?"
    )
    changed = pipeline.settings.query.model_copy(update=query)
    settings = pipeline.settings.model_copy(update={"query": changed})
    pipeline = replace(pipeline, settings=settings)
    trace = pipeline.ask("Where is it?", [Turn("Cat?", "It purrs.")] if query else []).answer.trace
    assert (trace.searched, trace.standalone, trace.usage) == ("Where is it?", "", ())
    assert "rewrite" not in trace.seconds
    assert endpoint.requests == []


def test_a_follow_up_that_cannot_be_rewritten_is_searched_as_typed(
    library: Path, endpoint: Endpoint
) -> None:
    pipeline = with_chat(make(library, FakeAnswerer()), endpoint.base_url, "status-401")
    answer = pipeline.ask("Where does the cat sleep?", [Turn("Cat?", "It purrs.")]).answer
    assert answer.answered
    assert answer.trace.searched == answer.trace.question
    [notice] = answer.trace.notices
    assert "searched as it was typed" in notice.message
    assert notice.hint


def test_an_answer_counts_its_tokens_beside_those_of_retrieval(
    library: Path, endpoint: Endpoint
) -> None:
    chat = with_chat(make(library), endpoint.base_url, "echo")
    pipeline = replace(chat, answerer=ChatAnswerer(chat.settings.endpoint))
    answer = pipeline.ask("Where does the cat sleep?").answer
    assert [usage.stage for usage in answer.usage] == ["answer"]
    assert answer.trace.usage == ()
    assert answer.usage_line.startswith("9 tokens in, 9 out, first word ")
    assert answer.usage_line.endswith(" s, 0.000090 USD")


@pytest.mark.parametrize("reranked", [True, False])
def test_a_passage_removed_while_it_is_asked_for_is_left_out(
    library: Path, monkeypatch: pytest.MonkeyPatch, reranked: bool
) -> None:
    pipeline = make(library, passages=2)
    if not reranked:
        pipeline = replace(pipeline, reranker=None)
    before = [candidate.chunk.id for candidate in pipeline.search("warm cat mat").candidates]
    whole = Store.vectors

    def without_the_first(store: Store, ids: Sequence[str]) -> object:
        return {name: found for name, found in whole(store, ids).items() if name != before[0]}

    monkeypatch.setattr(Store, "vectors", without_the_first)
    answer = pipeline.ask("warm cat mat").answer
    assert [candidate.chunk.id for candidate in answer.trace.candidates] == before[1:]
    assert [candidate.rank for candidate in answer.trace.candidates] == list(range(1, len(before)))
    assert answer.trace.notices == ()


def test_without_a_reranker_recall_order_stays(library: Path) -> None:
    pipeline = replace(make(library), reranker=None)
    trace = pipeline.search("warm cat mat")
    assert all(candidate.rerank is None for candidate in trace.candidates)
    assert trace.models["reranker"] == "none"
    assert pipeline.ask("warm cat mat").answer.answered


def test_a_broken_reranker_is_noticed_and_the_answer_comes(library: Path) -> None:
    class Broken:
        name = "broken"
        by_words = calibrated = False

        def score(self, question: object, passages: Sequence[object]) -> list[float]:
            return [float("nan")] * len(passages)

    answer = make(library, reranker=Broken()).ask("warm cat mat").answer
    assert "recall order" in answer.trace.notices[0].message
    assert answer.answered


def test_a_latency_budget_decides_how_deep_the_reranker_reads(library: Path) -> None:
    class Slow(FakeReranker):
        def score(self, question: Question, passages: Sequence[Passage]) -> list[float]:
            time.sleep(0.02 * len(passages))
            return super().score(question, passages)

    pipeline = make(library, reranker=Slow(), rerank_budget_ms=70, passages=1)
    first = pipeline.search("cat mat bread")
    assert first.reading == "", "a small library is read whole until it is known to be slow"
    second = pipeline.search("猫 cat mat bread")
    judged = [one for one in second.candidates if one.rerank is not None]
    assert 1 <= len(judged) <= 3 < len(second.candidates)
    assert second.reading.startswith(f"{len(judged)} of ")
    assert "70 ms" in second.reading


def test_a_reranker_that_hangs_leaves_sources_and_answer(library: Path) -> None:
    class Hanging(FakeReranker):
        def score(self, question: Question, passages: Sequence[Passage]) -> list[float]:
            time.sleep(3)
            return super().score(question, passages)

    started = time.monotonic()
    answer = make(library, reranker=Hanging(), rerank_seconds=0.2).ask("猫睡在哪里？").answer
    assert time.monotonic() - started < 2.5
    assert "did not answer within 0.2 s" in answer.trace.notices[0].message
    assert answer.answered


def test_a_reranker_that_may_cost_money_is_not_asked_about_unrelated_pairs(tmp_path: Path) -> None:
    class Paid(FakeReranker):
        asked = 0

        def score(self, question: Question, passages: Sequence[Passage]) -> list[float]:
            self.asked += 1
            return super().score(question, passages)

    pages = [f"# Part {n}\n\n{ANIMALS}\n\nNumber {n} is here, 第{n}页。" for n in range(6)]
    files = [File.holding(f"{n}.md", page.encode()) for n, page in enumerate(pages)]
    list(make(tmp_path).add(files))
    for calibrated in (True, False):
        reranker = Paid(calibrated=calibrated)
        pipeline = make(tmp_path, reranker=reranker)
        baseline = pipeline.baseline()
        assert baseline is not None
        assert bool(baseline.rerank) is bool(reranker.asked) is calibrated
        again = reranker.asked
        assert pipeline.baseline() == baseline
        assert reranker.asked == again


def test_an_empty_library_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(EmptyLibrary) as error:
        make(tmp_path / "empty").ask("Anything?")
    assert "Add a document" in error.value.hint


@pytest.mark.parametrize("text", ["", "   ", "\n\t"])
def test_an_empty_question_is_refused(library: Path, text: str) -> None:
    with pytest.raises(RAGError, match="empty"):
        make(library).ask(text)


@pytest.mark.parametrize("text", ["\ud800", "?" * 4_000, '(AND: "^~*', "猫" * 4_000, "\u202e\x00a"])
def test_odd_questions_do_no_harm(library: Path, text: str) -> None:
    assert make(library).search(text).candidates


def test_views_follow_the_documented_layout(library: Path) -> None:
    pipeline = make(library)
    found = trace_view(pipeline.search("frigate"))
    assert {"question", "profile", "models", "candidates", "seconds"} <= found.keys()
    candidate = found["candidates"][0]
    assert {"rank", "document", "page", "chunk_id", "text"} <= candidate.keys()
    assert set(candidate["dense"]) == {"score", "rank"}
    unseen = [row for row in found["candidates"] if row["lexical"] is None]
    assert unseen, "dense recall alone finds passages without the word"
    answered = answer_view(pipeline.ask("frigate warship").answer)
    assert answered["answered"] is True
    assert {"number", "chunk_id", "quote", "support"} <= answered["citations"][0].keys()
