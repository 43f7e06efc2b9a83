"""A key in the environment comes out nowhere, whatever the service does that it is for."""

from __future__ import annotations

import base64
import csv
import html
import json
import logging
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from click.testing import CliRunner, Result

from rag.cli import main
from rag.history import recorded
from rag.models import endpoint_failures
from rag.opening import open_pipeline
from rag.redacting import forms, keys_of, redacted
from rag.report import html_report
from rag.settings import load_settings
from rag.settings_file import save_settings
from rag.trace_files import write_record
from tests import endpoint, model_endpoint
from tests.endpoint import running_endpoint
from tests.leaks import KEYS, files_of, leaks, written_forms
from tests.model_endpoint import running_services

DOCUMENT = "# Vaccines 疫苗\n\nVaccines should be stored in the fridge. 疫苗应该存放在冰箱里。\n"
QUESTION = "Where should vaccines be stored? 疫苗放在哪里？"
# What a service may answer that says the key it was sent, once more.
LEAKING = ("leak-400", "leak-page", "leak-redirect", "leak-error")
FAILING = ("status-401", "status-500", *LEAKING)


def echoes(key: str) -> str:
    """The key in the words of a server that takes no care."""
    coded = base64.b64encode(f"Bearer {key}".encode()).decode()
    return f"Bad header {key} {quote(key, safe='')} {html.escape(key)} {coded} {key[:16]}***"


def leaking(connection: Any, how: str) -> None:
    """Answer with the key, as an error, a page, an address or in the middle of a stream."""
    said = echoes(connection.request_record.key)
    page = f"<!doctype html><p>{said}</p>".encode()
    body = json.dumps({"error": {"message": said, "code": said}}).encode()
    status, kind, content = {
        "leak-400": (400, "application/json", body),
        "leak-page": (200, "text/html", page),
        "leak-redirect": (302, "text/html", page),
        "leak-error": (200, "text/event-stream", b"data: " + body + b"\n\n"),
    }[how]
    connection.send_response(status)
    connection.send_header("content-type", kind)
    connection.send_header("content-length", str(len(content)))
    if status == 302:
        connection.send_header("location", f"/elsewhere?key={quote(said)}")
    connection.end_headers()
    connection.wfile.write(content)


@pytest.fixture(scope="module")
def patch() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, patch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A library whose models are services that know their keys; all logging is wide open."""
    for how in LEAKING:
        patch.setitem(endpoint.MODES, how, lambda connection, how=how: leaking(connection, how))
        patch.setitem(
            model_endpoint.Connection.BOTH,
            how,
            lambda connection, how=how: leaking(connection, how),
        )
    folder = tmp_path_factory.mktemp("keys") / "library"
    with running_services() as services, running_endpoint() as chat:
        values = {
            "RAG_HOME": str(folder),
            "RAG_INDEX_EMBEDDER": "openai",
            "RAG_INDEX_MODEL": "words",
            "RAG_EMBEDDING_ENDPOINT_BASE_URL": f"{services.address}/v1",
            "RAG_EMBEDDING_ENDPOINT_API_KEY": KEYS["embedding"],
            "RAG_QUERY_RERANKER": "api",
            "RAG_QUERY_RELEVANCE": "0",
            "RAG_RERANK_ENDPOINT_PROVIDER": "cohere",
            "RAG_RERANK_ENDPOINT_BASE_URL": services.address,
            "RAG_RERANK_ENDPOINT_MODEL": "words",
            "RAG_RERANK_ENDPOINT_API_KEY": KEYS["rerank"],
            "RAG_LLM_MODEL": "echo",
            "OPENAI_BASE_URL": chat.base_url,
            "OPENAI_API_KEY": KEYS["chat"],
            "RAG_LOG_TEXTS": "true",
            "OPENAI_LOG": "debug",
        }
        for name, value in values.items():
            patch.setenv(name, value)
        loggers = [logging.root, *map(logging.getLogger, list(logging.root.manager.loggerDict))]
        before = [(one, one.handlers[:], one.propagate, one.level) for one in loggers]
        yield folder
        for logger, handlers, propagate, level in before:
            logger.handlers[:], logger.propagate = handlers, propagate
            logger.setLevel(level)
        sent = {one.key for one in services.requests} | {one.key for one in chat.requests}
        assert sent >= set(KEYS.values()), "a key that was never sent proves nothing"


@pytest.fixture(scope="module")
def started(patch: pytest.MonkeyPatch) -> list[str]:
    """The arguments and the environment of every process that was started."""
    seen: list[str] = []
    start = subprocess.Popen.__init__

    def spy(self: Any, args: Any, *more: Any, **named: Any) -> None:
        seen.append(f"{args} {named.get('env')}")
        start(self, args, *more, **named)

    patch.setattr(subprocess.Popen, "__init__", spy)
    return seen


@pytest.fixture(scope="module")
def run(home: Path) -> Callable[..., Result]:
    def run(*arguments: str) -> Result:
        for name in ("openai", "httpx2", "httpcore2", "rag"):
            logging.getLogger(name).setLevel(logging.DEBUG)
        return CliRunner().invoke(main, ["--log", *arguments])

    return run


@pytest.fixture(scope="module")
def added(home: Path, started: list[str], run: Callable[..., Result]) -> Result:
    document = home.parent / "vaccines.md"
    document.write_text(DOCUMENT, encoding="utf-8")
    result = run("add", str(document), "--json")
    assert result.exit_code == 0, result.output
    return result


def test_no_command_prints_a_key_and_no_file_holds_one(
    home: Path, added: Result, started: list[str], run: Callable[..., Result]
) -> None:
    folder = home.parent
    golden = folder / "golden.csv"
    with golden.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(
            [["question", "document", "text"], [QUESTION, "vaccines.md", "疫苗应该存放在冰箱里。"]]
        )
    commands = [
        ["ask", QUESTION],
        ["ask", QUESTION, "--json"],
        ["search", QUESTION, "--json"],
        ["models", "--json"],
        ["doctor", "--json"],
        ["golden", "import", str(golden)],
        ["eval", "--json", str(folder / "figures.json"), "--run-file", str(folder / "run.trec")],
    ]
    results = {" ".join(command): run(*command) for command in commands}
    assert {name: one.exit_code for name, one in results.items() if one.exit_code} == {}
    assert "fridge" in results[f"ask {QUESTION}"].output
    outputs = {name: one.output + one.stderr for name, one in results.items()}
    assert leaks({"add": added.output + added.stderr, **outputs}) == []
    assert any("rag.documents" in one or "child" in one for one in started)
    assert leaks({"processes": "\n".join(started)}) == []
    assert leaks(dict(files_of(folder))) == []
    assert {"figures.json", "golden.csv"} <= {name for name, _ in files_of(folder)}


@pytest.mark.parametrize("service", ["RAG_LLM_MODEL", "RAG_RERANK_ENDPOINT_MODEL"])
def test_a_service_that_says_the_key_again_is_not_repeated(
    home: Path,
    added: Result,
    run: Callable[..., Result],
    monkeypatch: pytest.MonkeyPatch,
    service: str,
) -> None:
    for how in FAILING:
        monkeypatch.setenv(service, how)
        result = run("ask", QUESTION, "--json")
        output = json.loads(result.stdout)

        assert output["problem"] or output["notices"], how
        assert leaks({how: result.output + result.stderr}) == []
    assert leaks(dict(files_of(home))) == []


def test_an_embedding_service_that_says_the_key_again_is_not_repeated(
    home: Path, run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAG_HOME", str(home.parent / "another"))
    for how in FAILING:
        monkeypatch.setenv("RAG_INDEX_MODEL", how)
        result = run("add", str(home.parent / "vaccines.md"))
        assert result.exit_code == 1
        assert leaks({how: result.output + result.stderr}) == []
    assert leaks(dict(files_of(home.parent / "another"))) == []


def test_what_is_exported_and_shown_of_settings_holds_no_key(home: Path, added: Result) -> None:
    settings = load_settings()
    pipeline = open_pipeline(settings)
    reply = pipeline.ask(QUESTION)
    record = recorded(reply.trace, reply.answer)
    changed = settings.model_copy(
        update={"query": settings.query.model_copy(update={"passages": 3})}
    )
    save_settings(settings, changed)
    models = (pipeline.embedder, pipeline.reranker, pipeline.answerer)
    places = {
        "trace": write_record(record),
        "report": html_report(record),
        "settings": repr(settings) + str(settings) + settings.model_dump_json(),
        "models": repr(models) + "".join(repr(getattr(one, "__dict__", "")) for one in models),
        "pipeline": repr(pipeline),
        "settings file": (home / "settings.toml").read_text(encoding="utf-8"),
    }
    assert leaks(places) == []


def test_the_search_for_leaks_finds_every_form() -> None:
    key = KEYS["chat"]
    for said in (echoes(key), *(form.decode() for form in written_forms(key))):
        assert leaks({"here": f"before {said} after"}) == ["chat key in here"]
    assert leaks({"here": "sk-ch***x<7>"}) == []


def test_keys_are_taken_out_of_texts_in_every_form() -> None:
    environment = {
        **{f"{name.upper()}_API_KEY": key for name, key in KEYS.items()},
        "SHORT_KEY": "abc",
        "RAG_INDEX_CHUNK_TOKENS": "200000",
        "PATH": "/usr/bin",
    }
    keys = keys_of(environment)
    assert set(keys) == set(KEYS.values())
    for key in keys:
        for lead in ("", "k", "ke", "Bearer "):
            coded = base64.b64encode(f"{lead}{key} and more".encode()).decode()
            text = redacted(f"{key} {quote(key, safe='')} {json.dumps(key)} {coded}", keys)
            assert leaks({"text": text}) == [], text
        assert all(len(form) >= 8 for form in forms(key))
    assert redacted("200000 in /usr/bin", keys) == "200000 in /usr/bin"


def test_a_server_s_own_words_are_shown_unless_a_key_can_be_in_them() -> None:
    assert endpoint_failures.detail("模型不存在", KEYS["chat"]) == ": 模型不存在"
    assert endpoint_failures.detail(echoes(KEYS["chat"])[:100], KEYS["chat"]) == ""
    coded = base64.b64encode(f"Bearer {KEYS['chat']}".encode()).decode()
    assert endpoint_failures.detail(f"bad header {coded}", KEYS["chat"]) == ""
