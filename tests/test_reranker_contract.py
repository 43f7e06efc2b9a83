"""What every reranker owes its callers, held on every kind that the settings know.

Each is made as a person makes it: by variables of the environment. The bundled model is the real
one; the cross-encoders are tiny and random, so their scores have no meaning, and services and the
language model are servers on this machine.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from rag.errors import BackendError
from rag.models import Reranker, completions, rerank_api
from rag.models.rerank_providers import PROVIDERS
from rag.models.rerankers import make_reranker
from rag.models.token_space import token_codec
from rag.retrieval import rerank
from rag.settings import RerankerKind, load_settings
from rag.types import Candidate, Chunk, Passage, Question, Score
from tests import tiny_models
from tests.endpoint import Endpoint, running_endpoint
from tests.fakes import words
from tests.model_endpoint import FAILURES, Services, failing, nobody, running_services

KEY = "sk-canary/9d41+7Qx"
ENGLISH = "What does a reranker read?"
CHINESE = "重排序模型阅读什么？"
TEXTS = [
    "Bread needs flour, water and salt.",
    "A reranker reads both the question and the passage.",
    "重排序模型同时阅读问题和段落。",
    "今天天气很好。",
    "",
    "a city 城市 😀 " * 12,
]


@dataclass(frozen=True, slots=True)
class Backend:
    """How a person chooses a reranker; `{names}` are filled in when the test runs.

    `understands` tells whether its scores have a meaning here; `good` and `garbage` are what makes
    the server behave so, and `key` is the variable that its failure names.
    """

    kind: RerankerKind
    environment: Mapping[str, str] = field(default_factory=dict)
    package: str = ""
    understands: bool = True
    calibrated: bool = False
    good: str = "good"
    garbage: str = "not-json"
    key: str = ""

    @property
    def over_http(self) -> bool:
        return self.kind in {"api", "llm"}


def service(provider: str) -> Backend:
    environment = {
        "RAG_RERANK_ENDPOINT_PROVIDER": provider,
        "RAG_RERANK_ENDPOINT_BASE_URL": "{services}/{mode}",
        "RAG_RERANK_ENDPOINT_API_KEY": KEY,
        "RAG_RERANK_ENDPOINT_SECONDS": "{seconds}",
        "RAG_RERANK_ENDPOINT_MODEL": "{mode}" if PROVIDERS[provider].address else "",
    }
    variables = (*PROVIDERS[provider].key_variables, "RAG_RERANK_ENDPOINT_API_KEY")
    return Backend("api", environment, key=variables[0])


CHAT = {
    "OPENAI_BASE_URL": "{chat}/v1",
    "OPENAI_API_KEY": KEY,
    "RAG_LLM_MODEL": "{mode}",
    "RAG_QUERY_RERANK_SECONDS": "{seconds}",
}
FOLDER = {"RAG_QUERY_RERANKER_MODEL": "{folder}"}
BACKENDS = {
    "late interaction": Backend("late-interaction", calibrated=True),
    "features": Backend("features", calibrated=True),
    "cross-encoder": Backend("cross-encoder", FOLDER, understands=False),
    "bge": Backend("bge", FOLDER, package="FlagEmbedding", understands=False),
    **{provider: service(provider) for provider in PROVIDERS},
    "llm": Backend(
        "llm", CHAT, good="grade-perfect", garbage="grade-garbage", key="OPENAI_API_KEY"
    ),
}
OVER_HTTP = [name for name, backend in BACKENDS.items() if backend.over_http]


@pytest.fixture(scope="module")
def services() -> Iterator[Services]:
    with running_services() as running:
        yield running


@pytest.fixture(scope="module")
def endpoint() -> Iterator[Endpoint]:
    with running_endpoint() as running:
        yield running


@pytest.fixture(scope="module")
def places(
    services: Services, endpoint: Endpoint, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    """Where the models are."""
    home = tmp_path_factory.mktemp("reranker")
    folder = tiny_models.pair_model(home / "tiny-reranker")
    return {
        "home": str(home),
        "folder": str(folder),
        "services": services.address,
        "chat": endpoint.base_url.removesuffix("/v1"),
    }


def made(backend: Backend, places: Mapping[str, str], mode: str = "") -> Reranker:
    if backend.package and find_spec(backend.package) is None:
        pytest.skip(f"the package {backend.package} is not installed")
    known = {"mode": mode or backend.good, "seconds": "0.2" if mode == "hang" else "10", **places}
    environment = {name: text.format(**known) for name, text in backend.environment.items()}
    settings = load_settings(
        Path(places["home"]), environment={"RAG_QUERY_RERANKER": backend.kind, **environment}
    )
    reranker = make_reranker(settings)
    assert reranker is not None
    return reranker


@pytest.fixture(scope="module", params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> Backend:
    return BACKENDS[request.param]


@pytest.fixture(scope="module")
def reranker(backend: Backend, places: dict[str, str]) -> Reranker:
    return made(backend, places)


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rerank_api, "RETRY_SECONDS", (0.02, 0.04))
    monkeypatch.setattr(completions, "RETRY_SECONDS", (0.02, 0.04))


Evidence = dict[str, tuple[Question, list[Passage]]]


@pytest.fixture(scope="module")
def evidence() -> Evidence:
    """Questions with the passages as recall leaves them: with the bundled model's vectors."""
    embedder = tiny_models.bundled()
    codec = token_codec("bundled", embedder.dimensions)
    encoding = embedder.encode_documents(TEXTS)
    assert encoding.tokens is not None
    tokens = [codec.decode(codec.encode(vectors)) for vectors in encoding.tokens]
    found: Evidence = {}
    for text in (ENGLISH, CHINESE, ""):
        question = embedder.encode_question(text)
        assert question.tokens is not None
        asked = set(words(text))
        passages = [
            Passage(
                Chunk(f"c{place}", "d", place, 1, 0, len(passage), passage),
                "handbook.pdf",
                float(encoding.dense[place] @ question.dense),
                3.0 * len(asked & set(words(passage))),
                tokens[place],
            )
            for place, passage in enumerate(TEXTS)
        ]
        found[text] = codec.turned(question), passages
    return found


def test_every_kind_of_the_settings_is_held_to_this_contract(tmp_path: Path) -> None:
    kinds = {backend.kind for backend in BACKENDS.values()}
    assert kinds | {"none"} == set(get_args(RerankerKind))
    settings = load_settings(tmp_path, environment={"RAG_QUERY_RERANKER": "none"})
    assert make_reranker(settings) is None


def test_it_says_what_it_is(reranker: Reranker, backend: Backend) -> None:
    assert reranker.name
    assert reranker.calibrated is backend.calibrated
    assert reranker.by_words is (backend.kind == "late-interaction")
    assert KEY not in repr(reranker)


@pytest.mark.parametrize(("text", "best"), [(ENGLISH, 1), (CHINESE, 2), ("", None)])
def test_scores_are_probabilities_in_the_order_of_the_passages(
    reranker: Reranker, backend: Backend, evidence: Evidence, text: str, best: int | None
) -> None:
    question, passages = evidence[text]
    scores = reranker.score(question, passages)
    assert len(scores) == len(passages)
    assert all(type(score) is float and 0.0 <= score <= 1.0 for score in scores)
    backwards = reranker.score(question, passages[::-1])
    np.testing.assert_allclose(backwards[::-1], scores, atol=1e-5)
    if best is None:
        return
    if backend.understands:
        assert scores[best] == max(scores)
        assert scores[best] > max(scores[0], scores[3], scores[5])
    else:
        assert len(set(scores)) == len(scores)


@pytest.mark.parametrize("text", [ENGLISH, CHINESE])
def test_the_default_finds_the_answer_in_the_other_language_too(
    places: dict[str, str], evidence: Evidence, text: str
) -> None:
    scores = made(BACKENDS["late interaction"], places).score(*evidence[text])
    assert set(np.argsort(scores)[-2:]) == {1, 2}


def test_no_passages_no_scores_and_no_request(
    reranker: Reranker, services: Services, endpoint: Endpoint, evidence: Evidence
) -> None:
    before = len(services.requests), len(endpoint.requests)
    assert reranker.score(evidence[ENGLISH][0], []) == []
    assert (len(services.requests), len(endpoint.requests)) == before


def test_500_passages_keep_their_order_and_the_better_of_two_stays_the_better(
    reranker: Reranker, evidence: Evidence, capfd: pytest.CaptureFixture[str]
) -> None:
    """Company may move all scores together, as where the best one stands out from the others."""
    question, passages = evidence[ENGLISH]
    few = np.array(reranker.score(question, passages))
    chosen = random.Random(7).choices(range(len(passages)), k=500)
    scores = reranker.score(question, [passages[place] for place in chosen])
    assert len(scores) == len(chosen)
    many = np.array([scores[chosen.index(place)] for place in range(len(passages))])
    np.testing.assert_allclose(scores, many[chosen], atol=1e-5)
    assert (np.argsort(few) == np.argsort(many)).all()
    assert capfd.readouterr() == ("", "")


def test_threads_get_the_scores_of_their_own_passages(
    reranker: Reranker, evidence: Evidence
) -> None:
    question, passages = evidence[CHINESE]
    expected = [reranker.score(question, [one, passages[0]]) for one in passages]
    with ThreadPoolExecutor(4) as threads:
        found = threads.map(lambda one: reranker.score(question, [one, passages[0]]), passages)
        np.testing.assert_allclose(list(found), expected, atol=1e-5)


def test_what_no_model_can_read_is_scored_or_a_failure_of_the_family(
    reranker: Reranker, evidence: Evidence
) -> None:
    question, passages = evidence[ENGLISH]
    odd = replace(passages[0], chunk=replace(passages[0].chunk, text="\ud800 \x00"))
    with suppress(BackendError):
        assert len(reranker.score(question, [odd, *passages])) == 1 + len(passages)


@pytest.mark.parametrize("name", OVER_HTTP)
@pytest.mark.parametrize(("mode", "cause", "step"), FAILURES)
def test_a_failing_service_is_one_sentence_and_a_next_step_in_time(
    places: dict[str, str], evidence: Evidence, name: str, mode: str, cause: str, step: str
) -> None:
    backend = BACKENDS[name]
    if mode == "nobody":
        failed = made(backend, {**places, "services": nobody(), "chat": nobody()})
    else:
        failed = made(backend, places, backend.garbage if mode == "garbage" else mode)
    with failing(KEY) as caught:
        failed.score(*evidence[ENGLISH])
    assert cause in caught.value.message
    assert step.format(key=backend.key) in caught.value.hint


def recalled(passages: list[Passage]) -> list[Candidate]:
    return [
        Candidate(rank, passage.chunk, passage.document, fused=Score(1 / rank, rank))
        for rank, passage in enumerate(passages, start=1)
    ]


def test_its_failure_leaves_recall_order_and_a_notice(
    backend: Backend,
    reranker: Reranker,
    places: dict[str, str],
    evidence: Evidence,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A service refuses the key; a model on this machine gives numbers that are none."""
    question, passages = evidence[ENGLISH]
    said = "nan"
    if backend.over_http:
        reranker, said = made(backend, places, "status-401"), "(401)"
    elif backend.kind in {"cross-encoder", "bge"}:
        import torch

        monkeypatch.setattr(
            "transformers.models.xlm_roberta.modeling_xlm_roberta"
            ".XLMRobertaClassificationHead.forward",
            lambda head, states, **more: torch.full((len(states), 1), torch.nan),
        )
    else:
        passages = [replace(one, dense=np.nan, lexical=np.nan, tokens=None) for one in passages]
    candidates = recalled(passages)
    order, notice = rerank(reranker, question, candidates, passages)
    assert order == candidates
    assert notice is not None
    assert "recall order" in notice.message
    assert said in notice.message
    assert notice.hint
    assert KEY not in f"{notice.message} {notice.hint}"
