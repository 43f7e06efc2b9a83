"""The profiles `bge` and `api` answer questions as a person runs them.

Small stand-ins take the place of weights and services; all else is what runs at home.
"""

from __future__ import annotations

from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path

import pytest

from rag.ingest import File
from rag.opening import open_pipeline
from rag.pipeline import Pipeline
from rag.settings import load_settings
from rag.trace_files import write_record
from rag.types import AddResult, Answer, Record
from tests import model_endpoint, tiny_models
from tests.endpoint import Endpoint
from tests.model_endpoint import Services

services = model_endpoint.services

PAIRS = [
    ("What is the capital of Poland?", "poland.md", "Warsaw is the capital of Poland."),
    ("波兰的首都是哪里？", "波兰.md", "华沙是波兰的首都。"),
]
FILES = [
    File.holding("poland.md", b"Warsaw is the capital of Poland. It is a city."),
    File.holding("波兰.md", "华沙是波兰的首都。疫苗应存放在冰箱里。".encode()),
]


def filled(pipeline: Pipeline) -> Pipeline:
    added = [event for event in pipeline.add(FILES) if isinstance(event, AddResult)]
    assert [str(result.outcome) for result in added] == ["added", "added"]
    return pipeline


def judged(answer: Answer) -> None:
    """Every passage was judged by a reranker that promises no more than an order."""
    trace = answer.trace
    assert trace.notices == ()
    assert not trace.calibrated
    assert {found.document for found in trace.candidates} == {"poland.md", "波兰.md"}
    scores = [found.rerank.score for found in trace.candidates]
    assert scores == sorted(scores, reverse=True)
    assert all(0 <= score <= 1 for score in scores)
    assert all(found.dense and found.fused for found in trace.candidates)
    assert answer.citations
    for citation in answer.citations:
        chunk = citation.candidate.chunk
        assert chunk.text[citation.start : citation.end] == citation.quote != ""


@pytest.mark.skipif(find_spec("FlagEmbedding") is None, reason="FlagEmbedding is not installed")
def test_profile_bge_answers_from_folders_that_the_settings_name(tmp_path: Path) -> None:
    """Random weights find nothing relevant, so nothing is left out for its score."""
    home = tmp_path / "library"
    home.mkdir()
    (home / "settings.toml").write_text(
        f"""
        [profiles.bge.index]
        model = '{tiny_models.bge_m3(tmp_path / "tiny-m3")}'

        [profiles.bge.query]
        reranker_model = '{tiny_models.pair_model(tmp_path / "tiny-reranker")}'
        relevance = 0.0
        """,
        encoding="utf-8",
    )
    pipeline = filled(open_pipeline(load_settings(home, "bge", {})))
    for question, *_ in PAIRS:
        answer = pipeline.ask(question).answer
        judged(answer)
        assert answer.kind == "quoted"
        assert answer.trace.profile == "bge"
        assert answer.trace.models == {
            "embedder": "tiny-m3",
            "reranker": "tiny-reranker",
            "answerer": "quoted sentences",
        }


def test_profile_api_asks_three_services_and_tells_no_key(
    services: Services, endpoint: Endpoint, tmp_path: Path
) -> None:
    keys = {
        "OPENAI_API_KEY": "sk-chat-canary/11",
        "RAG_EMBEDDING_ENDPOINT_API_KEY": "sk-embedding-canary/22",
        "RAG_RERANK_ENDPOINT_API_KEY": "sk-rerank-canary/33",
    }
    environment = {
        "RAG_INDEX_MODEL": "good",
        "RAG_EMBEDDING_ENDPOINT_BASE_URL": f"{services.address}/v1",
        "RAG_RERANK_ENDPOINT_PROVIDER": "jina",
        "RAG_RERANK_ENDPOINT_BASE_URL": f"{services.address}/v1",
        "RAG_RERANK_ENDPOINT_MODEL": "good",
        "OPENAI_BASE_URL": endpoint.base_url,
        "RAG_LLM_MODEL": "echo",
        **keys,
    }
    pipeline = filled(open_pipeline(load_settings(tmp_path, "api", environment)))
    told = repr(pipeline.settings)
    for question, document, quote in PAIRS:
        answer = pipeline.ask(question).answer
        judged(answer)
        assert answer.problem is None
        assert answer.kind == "generated"
        assert answer.citations[0].candidate.document == document
        assert quote in answer.citations[0].quote
        assert answer.trace.profile == "api"
        assert answer.trace.models == {
            "embedder": "good",
            "reranker": "good (jina)",
            "answerer": "echo",
        }
        told += write_record(Record("1", datetime.now(UTC), answer.trace, answer))
    sent = {(request.path, request.key) for request in (*services.requests, *endpoint.requests)}
    assert sent == {
        ("/v1/embeddings", keys["RAG_EMBEDDING_ENDPOINT_API_KEY"]),
        ("/v1/rerank", keys["RAG_RERANK_ENDPOINT_API_KEY"]),
        ("/v1/chat/completions", keys["OPENAI_API_KEY"]),
    }
    kept = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    for key in keys.values():
        assert key not in told
        assert key.encode() not in kept
