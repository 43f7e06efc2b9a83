"""Where an expected passage went: every stage that can lose it, and that its hint keeps it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache, partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.chunking import chunk_document
from rag.errors import BackendError, RAGError, UnknownDocument
from rag.ingest import File, Ingest
from rag.models.quoting import QuoteAnswerer
from rag.pipeline import Pipeline
from rag.sentences import sentences
from rag.settings import IndexSettings, QuerySettings, Settings
from rag.store import Store
from rag.token_codes import TokenCodec
from rag.types import AddResult, Chunk, Document, Notice, Page, Record, Statement
from rag.whereabouts import Whereabouts, expected_page, expected_text
from rag.whereabouts.letters import Found, LetteredPages, Span, letters
from rag.whereabouts.splitting import holding, parts
from rag.whereabouts.stages import rounded_down
from tests.fakes import DIMENSIONS, FakeAnswerer, FakeEmbedder, FakeReranker

STEPS = [
    "not recalled",
    "not reranked",
    "fused too low",
    "below the threshold",
    "reranked too low",
    "not cited",
    "in the prompt",
    "cited",
]


@dataclass(frozen=True)
class Language:
    """A question of five words, and sentences that hold the first n of them."""

    question: str
    words: Sequence[str]
    sentence: str
    numbers: Sequence[str]
    nowhere: str

    def text(self, number: int) -> str:
        """The document `number`: the larger, the fewer words of the question."""
        said = ", ".join(self.words[: max(0, len(self.words) - number)])
        return self.sentence.format(said=said or "-", number=self.numbers[number])


ENGLISH = Language(
    question="amber bronze copper denim ebony",
    words=["amber", "bronze", "copper", "denim", "ebony"],
    sentence="Tailors in the {number} street offer {said} among the other cloths.",
    numbers=["first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth"],
    nowhere="Quarterly dividends follow the shareholders' meeting.",
)
CHINESE = Language(
    question="红、绿、蓝、灰、粉",
    words=["红", "绿", "蓝", "灰", "粉"],
    sentence="{number}号街的裁缝出售{said}以及其他各种布料。",
    numbers=["甲", "乙", "丙", "丁", "戊", "己", "庚", "辛"],
    nowhere="股东大会之后每个季度派发股息。",
)
LANGUAGES = pytest.mark.parametrize("language", [ENGLISH, CHINESE], ids=["en", "zh"])
DOCUMENTS = 8


@cache
def opened(home: Path, fingerprint: str) -> Store:
    """The store of a folder, opened once."""
    return Store.open(home, fingerprint, DIMENSIONS)


def make(home: Path, index: IndexSettings | None = None, **query: float | str) -> Pipeline:
    embedder = FakeEmbedder()
    index = index or IndexSettings(chunk_tokens=32, overlap_tokens=0)
    return Pipeline(
        settings=Settings(
            home=home, cache=home, index=index, query=QuerySettings.model_validate(query)
        ),
        store=opened(home, index.fingerprint),
        embedder=embedder,
        codec=TokenCodec(DIMENSIONS),
        reranker=FakeReranker() if query.get("reranker") != "none" else None,
        answerer=QuoteAnswerer(embedder, sentences),
    )


def add(pipeline: Pipeline, name: str, *pages: Page | str, notice: str = "") -> str:
    """Add a document with these pages; its id."""
    numbered = tuple(
        replace(page, number=number) if isinstance(page, Page) else Page(number, page)
        for number, page in enumerate(pages, start=1)
    )

    def read(content: bytes, name: str, report: object) -> Document:
        document_id = name.encode().hex().ljust(64, "0")
        return Document(document_id, name, "text/plain", 1, numbered, (notice,) * bool(notice))

    cut = partial(
        chunk_document,
        token_spans=pipeline.embedder.token_spans,
        settings=pipeline.settings.index,
    )
    ingest = Ingest(pipeline.store, pipeline.embedder, pipeline.codec, read, cut)
    file = File.holding(name, repr((name, numbered)).encode())
    result = next(event for event in ingest.add([file]) if isinstance(event, AddResult))
    assert result.outcome == "added", result
    return name.encode().hex().ljust(64, "0")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both languages in one library, eight documents each."""
    folder = tmp_path_factory.mktemp("library")
    pipeline = make(folder)
    for language in (ENGLISH, CHINESE):
        for number in range(DOCUMENTS):
            add(pipeline, f"{language.numbers[number]}.txt", language.text(number))
    return folder


def asked(pipeline: Pipeline, question: str, answered: bool = True) -> Record:
    now = datetime.now(UTC)
    if not answered:
        return Record("r", now, pipeline.search(question))
    answer = pipeline.ask(question).answer
    return Record("r", now, answer.trace, answer)


def look(pipeline: Pipeline, language: Language, number: int, answered: bool = True) -> Whereabouts:
    record = asked(pipeline, language.question, answered)
    return expected_text(record, pipeline.store, pipeline.embedder, language.text(number))


def advised(hint: str) -> dict[str, float]:
    """The settings that a hint names, with the values it names."""
    return {
        name: float(value) if "." in value else int(value)
        for name, value in re.findall(r"(\w+_?\w*) to (?:at least )?(\d+(?:\.\d+)?)", hint)
    }


def follow(home: Path, language: Language, number: int, **query: float | str) -> list[Whereabouts]:
    """What is found with these settings, and then with those that the hint adds."""
    before = look(make(home, **query), language, number, answered=False)
    assert advised(before.hint), before
    after = look(make(home, **{**query, **advised(before.hint)}), language, number, answered=False)
    assert STEPS.index(after.stage) > STEPS.index(before.stage), (before, after)
    return [before, after]


@LANGUAGES
def test_a_passage_that_is_cited(home: Path, language: Language) -> None:
    pipeline = make(home)
    found = look(pipeline, language, 0)
    assert found.stage == "cited"
    assert found.message == "The answer cites it as [1]."
    assert found.candidate is not None
    assert found.candidate.rank == 1
    assert found.similarity == 1
    assert language.text(0) == found.chunks[0].text


@LANGUAGES
def test_a_passage_that_recall_lost(home: Path, language: Language) -> None:
    """The figures of both arms are those of a search that goes deeper."""
    before, after = follow(home, language, 4, recall_depth=2)
    assert before.stage == "not recalled"
    assert before.candidate is None
    pipeline = make(home)
    vector = pipeline.embedder.encode_question(language.question).dense
    dense = [chunk.text for chunk, _ in pipeline.store.search_dense(vector, 99)]
    lexical = [chunk.text for chunk, _ in pipeline.store.search_lexical(language.question, 99)]
    for arm in (dense, lexical):
        assert f"at rank {arm.index(language.text(4)) + 1}" in before.message
    assert "recall keeps 2." in before.message
    assert "reached the reranker" in before.hint
    assert after.candidate is not None
    assert after.candidate.rerank is not None


@LANGUAGES
def test_deeper_recall_names_the_rerank_depth_it_needs_as_well(
    home: Path, language: Language
) -> None:
    before, after = follow(home, language, 4, recall_depth=2, rerank_depth=1)
    assert set(advised(before.hint)) == {"recall_depth", "rerank_depth"}
    assert after.candidate is not None
    assert after.candidate.rerank is not None


@LANGUAGES
def test_full_text_without_a_word_is_said(home: Path, language: Language) -> None:
    found = look(make(home, recall_depth=1), language, 6)
    assert found.stage == "not recalled"
    assert "full text finds no word of the question in it" in found.message


@LANGUAGES
def test_recall_without_a_reranker_names_the_rank_it_would_have(
    home: Path, language: Language
) -> None:
    before, after = follow(home, language, 4, recall_depth=2, reranker="none", passages=1)
    assert after.stage == "fused too low"
    assert after.candidate is not None
    assert f"at rank {after.candidate.rank} in recall order" in before.hint


@LANGUAGES
def test_a_passage_that_the_reranker_did_not_read(home: Path, language: Language) -> None:
    before, _ = follow(home, language, 3, rerank_depth=2)
    assert before.stage == "not reranked"
    assert before.candidate is not None
    assert before.candidate.fused is not None
    rank = before.candidate.fused.rank
    assert before.message == f"Fusion put it at rank {rank}, and the reranker reads 2."
    assert advised(before.hint) == {"rerank_depth": rank}


@LANGUAGES
def test_a_passage_that_was_reranked_too_low(home: Path, language: Language) -> None:
    before, after = follow(home, language, 3, passages=3)
    assert before.stage == "reranked too low"
    assert before.message == "The reranker gave it 0.40 at rank 4, and the prompt takes 3."
    assert before.hint == "Set passages to at least 4."
    assert after.stage == "in the prompt"


@LANGUAGES
def test_a_passage_below_the_threshold(home: Path, language: Language) -> None:
    before, after = follow(home, language, 3, relevance=0.7)
    assert before.stage == "below the threshold"
    assert before.message == "The reranker gave it 0.40 at rank 4, and relevance asks for 0.7."
    assert before.hint == "Set relevance to 0.4 or lower."
    assert after.stage == "in the prompt"


@LANGUAGES
def test_two_settings_are_named_where_two_are_needed(home: Path, language: Language) -> None:
    before, after = follow(home, language, 3, relevance=0.7, passages=2)
    assert before.hint == "Set relevance to 0.4 or lower and passages to at least 4."
    assert after.stage == "in the prompt"


@LANGUAGES
def test_a_passage_that_fusion_put_too_low(home: Path, language: Language) -> None:
    before, after = follow(home, language, 3, reranker="none", passages=2)
    assert before.stage == "fused too low"
    assert "there was no reranker, and the prompt takes 2" in before.message
    assert after.stage == "in the prompt"
    before, _ = follow(home, language, 3, rerank_depth=0, passages=2)
    assert "the reranker reads none" in before.message


def test_no_value_out_of_range_is_ever_advised(tmp_path: Path) -> None:
    """Where no allowed value helps, the hint says so and what does."""
    pipeline = make(tmp_path, rerank_depth=200)
    texts = [f"Copper wire of kind {number} conducts." for number in range(30)]
    add(pipeline, "many.txt", *texts)
    record = asked(pipeline, "copper wire", answered=False)
    for text in texts:
        found = expected_text(record, pipeline.store, pipeline.embedder, text)
        values = advised(found.hint)
        QuerySettings.model_validate(values)
        if found.candidate is not None and found.candidate.rank > 20:
            assert not values
            assert "at most 20" in found.hint
    without = make(tmp_path, reranker="none")
    record = asked(without, "copper wire", answered=False)
    last = record.trace.candidates[-1].chunk.text
    found = expected_text(record, without.store, without.embedder, last)
    assert "Set reranker to late-interaction" in found.hint


def test_a_failed_reranker_is_named(home: Path) -> None:
    class Broken(FakeReranker):
        def score(self, question: object, passages: Sequence[object]) -> list[float]:
            raise BackendError("It is gone.")

    pipeline = replace(make(home, passages=1), reranker=Broken())
    found = look(pipeline, ENGLISH, 3)
    assert found.stage == "fused too low"
    assert "the reranker failed" in found.message


@LANGUAGES
def test_a_passage_that_the_answer_does_not_cite(home: Path, language: Language) -> None:
    pipeline = replace(make(home), answerer=FakeAnswerer([f"{language.text(0)} [1] [2]."]))
    found = look(pipeline, language, 2)
    assert found.stage == "not cited"
    assert found.message == "It was [3] in the prompt, and the answer cites [1] and [2]."
    assert "Retrieval did its part" in found.hint


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"problem": Notice("The endpoint hung up.", "Ask later.")}, "The endpoint hung up."),
        ({"statements": (Statement(0, 9, (1,), 0.9, True, better=3),)}, "supports one of"),
        ({"kind": "quoted"}, "the answer cites [1]."),
        ({"citations": ()}, "the answer cites none."),
    ],
    ids=["broke off", "better", "quoted", "cites nothing"],
)
def test_why_an_answer_does_not_cite(home: Path, changed: dict[str, object], told: str) -> None:
    pipeline = replace(make(home), answerer=FakeAnswerer(["Tailors offer cloths [1]."]))
    record = asked(pipeline, ENGLISH.question)
    assert record.answer is not None
    record = replace(record, answer=replace(record.answer, **changed))
    found = expected_text(record, pipeline.store, pipeline.embedder, ENGLISH.text(2))
    assert found.stage == "not cited"
    assert found.message.startswith("It was [3] in the prompt")
    assert told in found.message
    assert found.hint


@LANGUAGES
def test_a_record_without_an_answer(home: Path, language: Language) -> None:
    found = look(make(home), language, 0, answered=False)
    assert found.stage == "in the prompt"
    assert found.message.startswith("It is [1] in the prompt")


@LANGUAGES
def test_a_text_copied_from_a_viewer_is_found(home: Path, language: Language) -> None:
    """Other line breaks, hyphens at their ends, width, case and punctuation do not count."""
    pipeline = make(home, recall_depth=1)
    record = asked(pipeline, language.question)
    text = language.text(6)
    wide = "".join(chr(ord(one) + 0xFEE0) if "!" <= one <= "~" else one for one in text)
    for copied in (
        text.upper(),
        wide,
        f"“{text[:10]}\n {text[10:]}”",
        f"{text[:9]}-\n{text[9:]}",
        f"• {text.rstrip('.。')} …",
    ):
        found = expected_text(record, pipeline.store, pipeline.embedder, copied)
        assert found.similarity == 1, copied
        assert found.chunks[0].text == text


@LANGUAGES
def test_the_nearest_text_is_named_where_the_text_is_not_there(
    home: Path, language: Language
) -> None:
    pipeline = make(home)
    text = language.text(1)
    near = (
        text[: len(text) // 2]
        + ("really, " if language is ENGLISH else "啊")
        + text[len(text) // 2 :]
    )
    record = asked(pipeline, language.question)
    found = expected_text(record, pipeline.store, pipeline.embedder, near)
    assert found.chunks[0].text == text
    assert 0.5 < found.similarity < 1
    name = f"{language.numbers[1]}.txt"
    assert found.message.startswith(f"The nearest text is on p. 1 of {name}, ")
    assert found.stage in STEPS


@LANGUAGES
def test_a_text_that_is_nowhere(home: Path, language: Language) -> None:
    pipeline = make(home)
    record = asked(pipeline, language.question)
    found = expected_text(record, pipeline.store, pipeline.embedder, language.nowhere)
    assert found.stage == "not in the library"
    assert found.chunks == ()
    assert found.candidate is None
    assert found.similarity == 0
    assert found.hint


@LANGUAGES
def test_pages_that_were_never_extracted(tmp_path: Path, language: Language) -> None:
    """A text that is nowhere may stand on them; chosen by page, the reason is told."""
    pipeline = make(tmp_path)
    name = add(
        pipeline,
        "scan.pdf",
        language.text(0),
        Page(0, "", "page 2 took too long"),
        "",
        notice="1 of 3 pages has no text.",
    )
    record = asked(pipeline, language.question)
    looked = partial(expected_page, record, pipeline.store, pipeline.embedder, name)
    failed = looked(2)
    assert failed.stage == "not extracted"
    assert "page 2 took too long" in failed.message
    blank = looked(3)
    assert blank.stage == "not extracted"
    assert "no text was found" in blank.message
    assert "OCR" in blank.hint
    found = expected_text(record, pipeline.store, pipeline.embedder, language.nowhere)
    assert found.stage == "not in the library"
    assert "scan.pdf, p. 2, 3" in found.message
    with pytest.raises(RAGError, match="no page 4"):
        looked(4)
    with pytest.raises(UnknownDocument):
        expected_page(record, pipeline.store, pipeline.embedder, "0" * 64, 1)


@LANGUAGES
def test_a_document_that_was_added_later(tmp_path: Path, language: Language) -> None:
    pipeline = make(tmp_path)
    add(pipeline, "early.txt", language.text(0))
    record = asked(pipeline, language.question)
    name = add(pipeline, "late.txt", language.text(1))
    for found in (
        expected_text(record, pipeline.store, pipeline.embedder, language.text(1)),
        expected_page(record, pipeline.store, pipeline.embedder, name, 1),
    ):
        assert found.stage == "added later"
        assert "late.txt was added at" in found.message
    again = look(pipeline, language, 1)
    assert again.stage in STEPS


def test_a_document_that_was_removed_since_is_still_told(tmp_path: Path) -> None:
    pipeline = make(tmp_path)
    name = add(pipeline, "gone.txt", ENGLISH.text(0))
    record = asked(pipeline, ENGLISH.question)
    pipeline.store.remove(name)
    found = expected_text(record, pipeline.store, pipeline.embedder, ENGLISH.text(0))
    assert found.stage == "cited"


LONG = {
    "en": [
        "Alpine meadows turn golden in the last week of August every year.",
        "Shepherds then lead their flocks to the lower valleys for winter.",
        "Cheese from the summer months is stored in cool stone cellars.",
        "Visitors may taste it when the autumn market opens in town.",
    ],
    "zh": [
        "每年八月的最后一周高山草甸都会变成金黄色。",
        "牧羊人随后把羊群赶到低处的山谷里过冬。",
        "夏季制成的奶酪存放在阴凉的石头地窖中。",
        "秋季集市在镇上开张时游客可以品尝它。",
    ],
}
ASKED = {"en": "Where is cheese stored?", "zh": "奶酪存放在哪里？"}


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_text_that_chunking_split(tmp_path: Path, language: str) -> None:
    """The parts are told one by one, and the advised chunking really keeps the text whole."""
    lines = LONG[language]
    joined = (" " if language == "en" else "").join(lines)
    wanted = (" " if language == "en" else "").join(lines[1:3])
    pipeline = make(tmp_path / "small")
    add(pipeline, "meadow.txt", joined)
    record = asked(pipeline, ASKED[language])
    found = expected_text(record, pipeline.store, pipeline.embedder, wanted)
    assert found.stage == "split"
    numbers = [chunk.position + 1 for chunk in found.chunks]
    assert len(numbers) == 2
    assert f"passages #{numbers[0]} and #{numbers[1]} of meadow.txt" in found.message
    assert all(f"#{number}: " in found.message for number in numbers)
    assert found.candidate is not None
    values = advised(found.hint)
    index = pipeline.settings.index.model_copy(update=values)
    assert IndexSettings.model_validate(index.model_dump()) == index
    again = make(tmp_path / "large", index)
    add(again, "meadow.txt", joined)
    kept = expected_text(asked(again, ASKED[language]), again.store, again.embedder, wanted)
    assert kept.stage in STEPS
    assert any(letters(wanted) in letters(chunk.text) for chunk in kept.chunks)


def test_an_overlap_that_holds_the_text_is_no_split(tmp_path: Path) -> None:
    pipeline = make(tmp_path, IndexSettings(chunk_tokens=32, overlap_tokens=16))
    add(pipeline, "meadow.txt", " ".join(LONG["en"]))
    record = asked(pipeline, ASKED["en"])
    found = {
        expected_text(record, pipeline.store, pipeline.embedder, line).stage for line in LONG["en"]
    }
    assert found <= set(STEPS)


def test_a_passage_whose_share_another_one_holds_as_well_is_no_part() -> None:
    spans = [(0, 40), (20, 60), (30, 90)]
    chunks = [
        Chunk(f"c{number}", "d", number, 1, start, end, "x" * (end - start))
        for number, (start, end) in enumerate(spans)
    ]
    found = Found((Span(1, 10, 80),), 1.0)
    assert holding(chunks, found) == []
    assert parts(chunks, found) == chunks
    short = Found((Span(1, 25, 80),), 1.0)
    assert parts(chunks, short) == chunks[1:]


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_text_over_the_end_of_a_page(tmp_path: Path, language: str) -> None:
    lines = LONG[language]
    pipeline = make(tmp_path)
    add(pipeline, "meadow.pdf", lines[0], lines[1])
    record = asked(pipeline, ASKED[language])
    found = expected_text(record, pipeline.store, pipeline.embedder, "\n".join(lines[:2]))
    assert found.stage == "split"
    assert [chunk.page for chunk in found.chunks] == [1, 2]
    assert "end of a page" in found.hint


def test_a_record_of_another_index(home: Path, tmp_path: Path) -> None:
    record = asked(make(home, recall_depth=1), ENGLISH.question)
    other = make(home, IndexSettings(chunk_tokens=40, overlap_tokens=0))
    add_again = replace(record.trace.library, fingerprint="elsewhere")
    record = replace(record, trace=replace(record.trace, library=add_again))
    pipeline = make(home)
    found = expected_text(record, pipeline.store, pipeline.embedder, ENGLISH.text(4))
    assert found.stage == "another index"
    name = next(one.id for one in other.store.documents() if one.name == "fifth.txt")
    elsewhere = replace(
        record,
        trace=replace(
            record.trace, library=replace(add_again, fingerprint=other.store.state().fingerprint)
        ),
    )
    unindexed = expected_page(elsewhere, other.store, other.embedder, name, 1)
    assert unindexed.stage == "not indexed"


@LANGUAGES
def test_a_page_tells_its_best_passage_and_the_others(tmp_path: Path, language: Language) -> None:
    pipeline = make(tmp_path, passages=1)
    lines = LONG["en" if language is ENGLISH else "zh"]
    name = add(pipeline, "meadow.txt", "\n\n".join([*lines, language.text(0)]))
    add(pipeline, "other.txt", language.text(3))
    record = asked(pipeline, language.question)
    found = expected_page(record, pipeline.store, pipeline.embedder, name, 1)
    assert found.stage == "cited"
    assert len(found.chunks) > 1
    assert f"Of the page's {len(found.chunks)} passages" in found.message
    shallow = make(tmp_path, recall_depth=1)
    record = asked(shallow, language.text(3))
    lost = expected_page(record, shallow.store, shallow.embedder, name, 1)
    assert lost.stage == "not recalled"
    assert "none was recalled" in lost.message


@pytest.mark.parametrize("text", ["", "  \n", "。。。", "---"])
def test_a_text_without_letters_is_refused(home: Path, text: str) -> None:
    pipeline = make(home)
    record = asked(pipeline, ENGLISH.question)
    with pytest.raises(RAGError, match="no text to look for"):
        expected_text(record, pipeline.store, pipeline.embedder, text)


def test_a_text_that_is_too_long_is_refused(home: Path) -> None:
    pipeline = make(home)
    record = asked(pipeline, ENGLISH.question)
    with pytest.raises(RAGError, match="5,001 characters"):
        expected_text(record, pipeline.store, pipeline.embedder, "a" * 5001)


def test_the_question_is_encoded_only_when_recall_lost_the_passage(home: Path) -> None:
    class Counting(FakeEmbedder):
        asked = 0

        def encode_question(self, text: str):
            self.asked += 1
            return super().encode_question(text)

    pipeline = make(home)
    record = asked(pipeline, ENGLISH.question)
    counting = Counting()
    expected_text(record, pipeline.store, counting, ENGLISH.text(0))
    assert counting.asked == 0
    shallow = asked(make(home, recall_depth=1), ENGLISH.question)
    expected_text(shallow, pipeline.store, counting, ENGLISH.text(5))
    assert counting.asked == 1


@given(st.lists(st.text(max_size=30), min_size=1, max_size=4), st.data())
def test_what_is_cut_out_of_pages_is_found_in_them(texts: list[str], data: st.DataObject) -> None:
    """The spans hold exactly the letters looked for, also over the ends of pages."""
    pages = [Page(number, text) for number, text in enumerate(texts, start=1)]
    every = "".join(map(letters, texts))
    start = data.draw(st.integers(0, len(every)))
    wanted = every[start : start + data.draw(st.integers(0, 40))]
    found = LetteredPages(pages).find(wanted)
    if not wanted:
        assert found is None
        return
    assert found is not None
    spelled = "".join(letters(texts[span.page - 1][span.start : span.end]) for span in found.spans)
    assert wanted in spelled
    assert len(spelled) - len(wanted) < 40
    nearest = LetteredPages(pages).nearest(wanted)
    assert (nearest is None) == (len(wanted) < 3)
    assert nearest is None or 0 < nearest.similarity <= 1


@given(st.floats(0, 1))
def test_an_advised_threshold_is_never_above_the_score(score: float) -> None:
    assert 0 <= float(rounded_down(score)) <= score


@pytest.mark.parametrize(
    ("score", "short"), [(0.0312, "0.03"), (0.29, "0.29"), (0.0004, "0.0004"), (0, "0"), (1, "1")]
)
def test_thresholds_are_short(score: float, short: str) -> None:
    assert rounded_down(score) == short
