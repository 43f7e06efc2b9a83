"""A question to a language model ends in time: with an answer, or with a cause and a next step."""

from __future__ import annotations

import base64
import logging
import os
import socket
import subprocess
import sys
import threading
import time
import traceback
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest
from pydantic import SecretStr

from rag.errors import BackendError, SettingsError
from rag.models import completions
from rag.models.answerers import ChatAnswerer, make_answerer
from rag.models.quoting import QuoteAnswerer
from rag.settings import EndpointSettings
from rag.types import Chunk, Passage, Question, Turn

KEY = "sk-canary/9d41+7Qx"
BEGUN = "The answer begins here [1]"
QUESTION = Question("Why rerank? 为什么要重排序？", np.zeros(4, np.float32), None)


def passage(text: str, number: int = 1) -> Passage:
    chunk = Chunk(f"c{number}", "d", number, number, 0, len(text), text)
    return Passage(chunk, "handbook.pdf", 0.8, 1.0)


PASSAGES = [
    passage("A reranker reads both texts. More follows."),
    passage("重排序模型同时阅读问题和段落。后面还有。", 2),
]


def chat(base_url: str, model: str, **changes) -> ChatAnswerer:
    values = {"api_key": SecretStr(KEY), "first_token_seconds": 5.0, "idle_seconds": 5.0}
    values |= {"base_url": base_url, "model": model, "max_tokens": 512, **changes}
    return ChatAnswerer(EndpointSettings(**values))


def received(
    answerer: ChatAnswerer, history: tuple[Turn, ...] = ()
) -> tuple[str, BackendError | None]:
    """All pieces in one, and how it failed."""
    text = ""
    try:
        for piece in answerer.stream(QUESTION, PASSAGES, history):
            text += piece
    except BackendError as error:
        return text, error
    return text, None


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch) -> None:
    """Pauses between attempts are shortened, nothing else."""
    monkeypatch.setattr(completions, "RETRY_SECONDS", (0.05, 0.1))


# --- failures ------------------------------------------------------------------------------

FAILURES = [
    # mode, text received, words of the cause, words of the next step
    ("status-400", "", "400", "RAG_LLM_MODEL"),
    ("status-401", "", "does not accept the API key (401)", "OPENAI_API_KEY"),
    ("status-403", "", "does not allow", "account"),
    ("status-404", "", "has no model", "/v1"),
    ("no-such-model", "", "try pulling it first", "RAG_LLM_MODEL"),
    ("status-429", "", "no more questions", "120 seconds"),
    ("status-500", "", "failed (500)", "log"),
    ("status-503", "", "overloaded or still starting", "moment"),
    ("hang", "", "no answer within 0.8 seconds", "FIRST_TOKEN"),
    ("hang-after-headers", "", "no answer within 0.8 seconds", "FIRST_TOKEN"),
    ("only-keep-alive", "", "no answer within 0.8 seconds", "FIRST_TOKEN"),
    ("reset", "", "broke off", "again"),
    ("web-page", "", "a web page instead of an answer", "/v1"),
    ("no-events", "", "instead of an answer", "/v1"),
    ("not-utf-8", "", "not an answer", "OPENAI_BASE_URL"),
    ("not-an-object", "", "not an answer", "OPENAI_BASE_URL"),
    ("empty-choices", "", "without any text", "another model"),
    ("null-choices", "", "without any text", "another model"),
    ("null-content", "", "without any text", "another model"),
    ("null-delta", "", "without any text", "another model"),
    ("only-thoughts", "", "did not begin", "MAX_TOKENS"),
    ("hang-midway", BEGUN, "in the middle of the answer: nothing came for 0.4", "IDLE_SECONDS"),
    ("reset-midway", BEGUN, "broke off", "again"),
    ("ends-midway", BEGUN, "before the answer was complete", "again"),
    ("no-finish-reason", BEGUN, "before the answer was complete", "again"),
    ("error-midway", BEGUN, "the model crashed", "log"),
    ("malformed", BEGUN, "not an answer", "OPENAI_BASE_URL"),
    ("length", BEGUN, "cut off", "MAX_TOKENS"),
    ("content-filter", BEGUN, "content filter", "other words"),
    ("ten-megabytes", BEGUN, "did not end", "another model"),
    ("endless", "and so on", "did not end", "another model"),
    ("endless-line", BEGUN, "did not end", "another model"),
]


@pytest.mark.parametrize(("mode", "begun", "cause", "step"), FAILURES, ids=[f[0] for f in FAILURES])
def test_every_failure_ends_in_a_sentence(endpoint, caplog, mode, begun, cause, step):
    """Pieces stay, cause and next step are named, no key shows, and the next question works."""
    caplog.set_level(logging.DEBUG)
    waits = {}
    if "no answer within" in cause:
        waits["first_token_seconds"] = 0.8
    if mode == "hang-midway":
        waits["idle_seconds"] = 0.4
    answerer = chat(endpoint.base_url, mode, **waits)
    started = time.perf_counter()
    text, error = received(answerer)
    seconds = time.perf_counter() - started
    assert error is not None
    assert text.startswith(begun) if begun else text == ""
    assert len(text) <= 512 * 16
    assert cause in error.message
    assert step in error.hint
    assert seconds < 5
    assert "127.0.0.1" in error.message or "answer" in error.message
    assert_without_key(error, answerer, caplog.text)
    assert received(chat(endpoint.base_url, "echo"))[1] is None


def assert_without_key(error: BackendError, answerer: ChatAnswerer, log: str) -> None:
    trace = "".join(
        traceback.TracebackException.from_exception(error, capture_locals=False).format()
    )
    assert error.__cause__ is None
    assert error.__context__ is None
    shown = " ".join([str(error), repr(error), repr(error.notice), repr(answerer), trace, log])
    encoded = base64.b64encode(KEY.encode()).decode()
    for form in (KEY, quote(KEY), quote(KEY, safe=""), encoded, KEY[-6:], KEY[:9]):
        assert form not in shown


def free_port() -> int:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return int(unused.getsockname()[1])


@pytest.mark.parametrize(
    ("address", "cause", "step"),
    [
        (f"http://127.0.0.1:{free_port()}/v1", "connection was refused", "Start the server"),
        (f"http://localhost:{free_port()}/v1", "connection was refused", "Start the server"),
        ("http://nowhere.invalid/v1", "nowhere.invalid/v1 cannot be found", "internet"),
        ("localhost:11434/v1", "not an http or https address", "11434/v1"),
        ("http://127.0.0.1:notaport/v1", "not an http or https address", "11434/v1"),
    ],
    ids=["refused", "refused by name", "unknown host", "no scheme", "no port"],
)
def test_an_endpoint_that_is_not_there_is_named(address, cause, step, caplog):
    caplog.set_level(logging.DEBUG)
    answerer = chat(address, "m")
    text, error = received(answerer)
    assert text == ""
    assert cause in error.message
    assert step in error.hint
    assert_without_key(error, answerer, caplog.text)


def test_https_to_a_plain_server_says_which_address_to_mend(endpoint):
    _, error = received(chat(endpoint.base_url.replace("http:", "https:"), "echo"))
    assert "secure connection" in error.message
    assert "http://" in error.hint


def test_a_base_url_without_v1_gets_the_hint(endpoint):
    _, error = received(chat(endpoint.base_url.removesuffix("/v1"), "echo"))
    assert "404" in error.message
    assert "/v1" in error.hint


@pytest.mark.parametrize("key", ["sk-密钥", "sk-a\nb", "sk-“quoted”"])
def test_a_key_that_cannot_be_sent_is_told_without_it(endpoint, key):
    _, error = received(chat(endpoint.base_url, "echo", api_key=SecretStr(key)))
    assert "API key" in error.message
    assert key not in str(error)
    assert not endpoint.requests


def test_no_key_for_openai_is_told_before_a_request():
    _, error = received(chat("", "m", api_key=SecretStr("")))
    assert "no API key for https://api.openai.com/v1" in error.message


def test_secrets_in_the_address_or_in_place_of_the_model_are_not_shown():
    address = f"http://user:{quote(KEY, safe='')}@127.0.0.1:{free_port()}/v1?key={quote(KEY)}"
    _, error = received(chat(address, KEY))
    assert "canary" not in str(error)


# --- second attempts -----------------------------------------------------------------------


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_passing_failure_is_tried_again(endpoint, status):
    assert received(chat(endpoint.base_url, f"recovers-{status}")) == ("Here [1].", None)
    assert len(endpoint.requests) == 2


def test_a_short_retry_after_is_waited_for(endpoint):
    started = time.perf_counter()
    received(chat(endpoint.base_url, "recovers-429"))
    assert time.perf_counter() - started >= 1.0


@pytest.mark.parametrize(
    ("mode", "attempts"),
    [("status-401", 1), ("status-429", 1), ("status-500", 3), ("reset", 3), ("reset-midway", 1)],
)
def test_attempts_are_few_and_only_before_the_first_token(endpoint, mode, attempts):
    received(chat(endpoint.base_url, mode))
    assert len(endpoint.requests) == attempts


def test_a_parameter_that_the_model_refuses_is_left_out(endpoint):
    assert received(chat(endpoint.base_url, "picky")) == ("Here [1].", None)
    assert endpoint.requests[-1].body["max_completion_tokens"] == 512
    assert "temperature" not in endpoint.requests[-1].body


# --- answers -------------------------------------------------------------------------------


def test_an_answer_streams_with_the_settings_of_the_endpoint(endpoint):
    history = (Turn("Before?", "It was so [4]."),)
    text, error = received(chat(endpoint.base_url, "echo", temperature=0.3), history)
    assert error is None
    assert text == "A reranker reads both texts [1]. 重排序模型同时阅读问题和段落 [2]。 "
    request = endpoint.requests[0]
    assert request.key == KEY
    assert (request.body["temperature"], request.body["max_tokens"]) == (0.3, 512)
    assert [message["role"] for message in request.body["messages"]] == [
        "system",
        "user",
        "assistant",
        "user",
    ]


def test_bytes_cut_inside_characters_and_lines_come_out_whole(endpoint):
    expected = "重排序更准【1】。A second [2, 9]. 三😀"
    assert received(chat(endpoint.base_url, "awkward")) == (expected, None)


@pytest.mark.parametrize("mode", ["thinks", "thinks-aloud"])
def test_thoughts_are_not_part_of_the_answer(endpoint, mode):
    assert received(chat(endpoint.base_url, mode)) == ("Here [1].", None)


def test_a_slow_answer_may_take_longer_than_any_deadline(endpoint):
    answerer = chat(endpoint.base_url, "echo+slow", first_token_seconds=1.0, idle_seconds=1.0)
    long = [passage("word " * 24 + "end.")]
    started = time.perf_counter()
    text = "".join(answerer.stream(QUESTION, long, ()))
    assert time.perf_counter() - started > 1.1
    assert text.endswith("end [1]. ")


def test_without_passages_nothing_is_asked(endpoint):
    assert list(chat(endpoint.base_url, "echo").stream(QUESTION, [], ())) == []
    assert not endpoint.requests


def test_a_local_server_needs_no_key(endpoint):
    assert received(chat(endpoint.base_url, "echo", api_key=SecretStr("")))[1] is None


@pytest.mark.parametrize("mode", ["hang", "hang-midway", "endless"])
def test_closing_the_stream_hangs_up_within_a_second(endpoint, mode):
    """Also while the endpoint is silent: empty pieces give the caller its turn."""
    answerer = chat(endpoint.base_url, mode, first_token_seconds=30, idle_seconds=30)
    pieces = answerer.stream(QUESTION, PASSAGES, ())
    started = time.perf_counter()
    next(pieces)
    if mode == "hang-midway":
        while next(pieces):
            pass
    pieces.close()
    assert endpoint.hung_up.wait(1)
    assert time.perf_counter() - started < 2


def test_a_proxy_is_not_used_for_this_machine(endpoint, monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    assert received(chat(endpoint.base_url, "echo"))[1] is None


def test_one_answerer_serves_threads_at_once(endpoint):
    answerer = chat(endpoint.base_url, "echo")
    results: list[BackendError | None] = []
    threads = [
        threading.Thread(target=lambda: results.append(received(answerer)[1])) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [None] * 8


def test_no_thread_is_left_behind(endpoint):
    for mode in ("echo", "hang-midway", "status-500"):
        received(chat(endpoint.base_url, mode, idle_seconds=0.3))
    deadline = time.monotonic() + 2
    while time.monotonic() < deadline and any(t.name == "answer" for t in threading.enumerate()):
        time.sleep(0.02)
    assert not [thread for thread in threading.enumerate() if thread.name == "answer"]


# --- the maker -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "model", "made"),
    [
        ("auto", "", QuoteAnswerer),
        ("auto", "m", ChatAnswerer),
        ("chat", "m", ChatAnswerer),
        ("quotes", "m", QuoteAnswerer),
    ],
)
def test_the_kind_chooses_the_answerer(kind, model, made):
    answerer = make_answerer(kind, EndpointSettings(model=model), None, lambda text: [], Path())
    assert isinstance(answerer, made)


def test_chat_without_a_model_is_a_settings_error():
    with pytest.raises(SettingsError, match="RAG_LLM_MODEL"):
        make_answerer("chat", EndpointSettings(), None, lambda text: [], Path())


def test_importing_answerers_does_not_import_the_client():
    code = "import sys, rag.models.answerers; sys.exit('openai' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], env=os.environ, check=False).returncode == 0
