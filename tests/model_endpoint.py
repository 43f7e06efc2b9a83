"""A real HTTP server on this machine in the place of rerank and embedding services.

The model's name chooses what it does, see `Connection.RERANK`, `EMBED` and `BOTH`; a server without
models in its protocol is told by the path before `/rerank`, as in `/hang/rerank`. A mode
`status-<n>` fails every time, `recovers-<n>` only on the first attempt. Under any other name the
score is the share of the question's words in the passage, and a vector is the bag of words of
`tests.fakes`. Answers never come in the order of the request.
"""

from __future__ import annotations

import json
import re
import socket
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any, ClassVar
from urllib.parse import quote

import numpy as np
import pytest

from rag.errors import BackendError
from rag.models.openai_embedder import DIMENSIONS as OPENAI_DIMENSIONS
from tests.endpoint import served
from tests.fakes import DIMENSIONS, FakeEmbedder, words

# Longer than any time limit that a test sets.
HANG_SECONDS = 10.0
DRIP_SECONDS = 0.1
BUSY_SECONDS = 120


@dataclass(frozen=True, slots=True)
class Request:
    """What a client sent."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    connection: int

    @property
    def key(self) -> str:
        return self.headers.get("authorization", "").removeprefix("Bearer ")

    @property
    def texts(self) -> list[str]:
        for name in ("documents", "texts", "input"):
            if name in self.body:
                return self.body[name]
        return []

    @property
    def mode(self) -> str:
        return str(self.body.get("model") or self.path.split("/")[1])


@dataclass(slots=True)
class Services:
    """The running server."""

    address: str
    requests: list[Request] = field(default_factory=list)
    stopping: threading.Event = field(default_factory=threading.Event)


class Connection(BaseHTTPRequestHandler):
    """One client connection, kept open between requests."""

    protocol_version = "HTTP/1.1"
    # Without it every answer on a kept connection waits 40 ms for the client's acknowledgement.
    disable_nagle_algorithm = True
    services: Services
    request_record: Request

    def do_POST(self) -> None:
        length = int(self.headers.get("content-length", 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        body = json.loads(self.rfile.read(length) or b"{}")
        self.request_record = Request(self.path, headers, body, id(self))
        self.services.requests.append(self.request_record)
        mode = self.request_record.mode
        try:
            if match := re.fullmatch(r"(status|recovers)-(\d+)", mode):
                return self.status_mode(match[1], int(match[2]))
            if mode in self.BOTH:
                return self.BOTH[mode](self)
            if self.path.endswith("/rerank"):
                return self.rerank(mode)
            if self.path.endswith("/embeddings"):
                return self.embed(mode)
            return self.send({"error": {"message": f"no route {self.path}"}}, 404)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def log_message(self, format: str, *arguments: Any) -> None:
        """Tests read requests, not a log."""

    def send(self, payload: Any, status: int = 200, kind: str = "application/json", **more: str):
        content = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(content)))
        for name, value in more.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(content)

    def answer(self) -> None:
        """The answer of a mode that recovered."""
        if self.path.endswith("/rerank"):
            return self.rerank("")
        return self.embed("")

    # --- reranking ---

    def rerank(self, mode: str) -> None:
        request = self.request_record
        asked = set(words(request.body["query"]))
        scores = [len(asked & set(words(text))) / max(len(asked), 1) for text in request.texts]
        rows: list[Any] = [[index, score] for index, score in enumerate(scores)]
        if mode == "logits":
            rows = [[index, 12.0 * score - 6.0] for index, score in rows]
        elif mode == "cosines":
            rows = [[index, 2.0 * score - 1.0] for index, score in rows]
        elif mode in self.RERANK:
            rows[0] = self.RERANK[mode]
        elif mode == "missing":
            rows = rows[1:]
        rows.sort(key=lambda row: str(row[1]), reverse=True)
        score = "score" if "texts" in request.body else "relevance_score"
        results = [{"index": index, score: value} for index, value in rows]
        if "texts" in request.body:
            return self.send(results)
        listed = {"data" if "top_k" in request.body else "results": results}
        return self.send(listed | self.BILLS.get(mode, {}))

    # What services tell of their bill.
    BILLS: ClassVar[dict[str, dict[str, Any]]] = {
        "bills-searches": {"meta": {"billed_units": {"search_units": 2}}},
        "bills-tokens": {"usage": {"total_tokens": 26}},
        "bills-in-meta": {"meta": {"tokens": {"input_tokens": 26, "output_tokens": 0}}},
        "bills-beside": {"tokens": {"input_tokens": 26, "output_tokens": 0}},
        "bills-nonsense": {"usage": {"total_tokens": -1e300}, "meta": ["tokens"], "tokens": None},
    }

    # What the first result is instead of [0, its score].
    RERANK: ClassVar[dict[str, list[Any]]] = {
        "doubled": [1, 0.5],
        "out-of-range": [500, 0.5],
        "negative-index": [-1, 0.5],
        "text-index": ["0", 0.5],
        "true-index": [True, 0.5],
        "nan": [0, float("nan")],
        "huge": [0, 10**400],
        "text-score": [0, "0.5"],
        "no-score": [0, None],
        "above-one": [0, 7.5],
    }

    # --- embedding ---

    def embed(self, mode: str) -> None:
        texts = self.request_record.texts
        if (match := re.fullmatch(r"at-most-(\d+)", mode)) and len(texts) > int(match[1]):
            said = f"batch size {len(texts)} > maximum allowed batch size {match[1]}"
            return self.send({"error": said, "error_type": "Validation"}, 422)
        if mode == "picky" and "forbidden" in texts:
            return self.send({"error": {"message": "a text is not allowed"}}, 400)
        length = OPENAI_DIMENSIONS.get(mode, DIMENSIONS)
        if mode != "deaf":
            length = self.request_record.body.get("dimensions", length)
        dense = 3.0 * FakeEmbedder().encode_documents(texts).dense
        vectors: list[Any] = np.pad(dense, ((0, 0), (0, max(length - DIMENSIONS, 0)))).tolist()
        vectors = [vector[:length] for vector in vectors]
        if mode in self.EMBED:
            vectors[0] = self.EMBED[mode]
        rows = [{"object": "embedding", "index": i, "embedding": v} for i, v in enumerate(vectors)]
        if mode == "fewer":
            rows = rows[1:]
        elif mode == "same-index":
            rows = [row | {"index": 0} for row in rows]
        elif mode == "list-index":
            rows = [row | {"index": [row["index"]]} for row in rows]
        tokens = sum(len(words(text)) for text in texts)
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        reply = {"object": "list", "data": rows[::-1], "model": mode, "usage": usage}
        if mode == "no-usage":
            del reply["usage"]
        return self.send(reply)

    # What the first vector is instead of its own.
    EMBED: ClassVar[dict[str, Any]] = {
        "two-lengths": [0.5] * (DIMENSIONS + 8),
        "zeros": [0.0] * DIMENSIONS,
        "not-finite": [float("nan")] * DIMENSIONS,
        "huge": [1e300] * DIMENSIONS,
        "no-vector": None,
        "text-vector": "AAAA",
        "nested": [[0.5] * DIMENSIONS],
    }

    # --- failures of both ---

    def status_mode(self, how: str, status: int) -> None:
        mode = self.request_record.mode
        attempts = sum(one.mode == mode for one in self.services.requests)
        if how == "recovers" and attempts > 1:
            return self.answer()
        key = self.request_record.key
        said = f"Refused {key} ({quote(key, safe='')})." if key else "Refused, 模型不存在."
        seconds = "0.2" if how == "recovers" else str(BUSY_SECONDS)
        more = {"retry_after": seconds} if status == 429 else {}
        return self.send({"error": {"message": said}}, status, **more)

    def hang(self) -> None:
        self.services.stopping.wait(HANG_SECONDS)
        self.close_connection = True

    def drip(self) -> None:
        """An answer that never stalls and never ends."""
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.end_headers()
        self.close_connection = True
        end = time.monotonic() + HANG_SECONDS
        while time.monotonic() < end and not self.services.stopping.wait(DRIP_SECONDS):
            self.wfile.write(b" ")
            self.wfile.flush()

    def endless(self) -> None:
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.end_headers()
        self.close_connection = True
        while not self.services.stopping.is_set():
            self.wfile.write(b" " * 1_000_000)

    def reset(self) -> None:
        self.close_connection = True

    def reset_once(self) -> None:
        attempts = sum(one.mode == "reset-once" for one in self.services.requests)
        return self.reset() if attempts == 1 else self.answer()

    BOTH: ClassVar[dict[str, Any]] = {
        "hang": hang,
        "drip": drip,
        "endless": endless,
        "reset": reset,
        "reset-once": reset_once,
        "web-page": lambda c: c.send(b"<!doctype html><h1>It works</h1>", kind="text/html"),
        "web-page-as-json": lambda c: c.send(b"<!doctype html><h1>It works</h1>"),
        "not-json": lambda c: c.send(b'{"results": [{"index": 0,'),
        "not-utf-8": lambda c: c.send(b'{"results": "\xff\xfe"}'),
        "empty": lambda c: c.send(b""),
        "empty-object": lambda c: c.send({}),
        "empty-list": lambda c: c.send([]),
        "null": lambda c: c.send(None),
        "number": lambda c: c.send(7),
        "list-of-numbers": lambda c: c.send({"results": [1, 2], "data": [1, 2]}),
        "results-null": lambda c: c.send({"results": None, "data": None}),
        "error-in-200": lambda c: c.send({"error": {"message": "the model crashed"}}),
        "redirect": lambda c: c.send(b"", 302, location="/elsewhere"),
    }


# What every service may do, be it for vectors, scores or grades: its mode, words of the cause and
# of the next step; `{key}` is the variable that holds the key.
FAILURES = [
    pytest.param("status-401", "does not accept the API key (401)", "{key}", id="wrong key"),
    pytest.param("status-403", "does not allow", "account", id="no right"),
    pytest.param("status-429", "for now (429)", "120 seconds", id="too many requests"),
    pytest.param("status-500", "failed (500)", "log", id="broken"),
    pytest.param("reset", "broke off", "log", id="connection lost"),
    pytest.param("web-page", "", "", id="web page"),
    pytest.param("garbage", "", "", id="garbage"),
    pytest.param("hang", "within 0.2 seconds", "", id="timeout"),
    pytest.param("nobody", "connection was refused", "Start the server", id="not there"),
]


def nobody() -> str:
    """An address on this machine where no server is."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


@contextmanager
def failing(key: str) -> Iterator[pytest.ExceptionInfo[BackendError]]:
    """The block fails in time: in a sentence with a next step, and without the key anywhere."""
    begun = time.perf_counter()
    with pytest.raises(BackendError) as caught:
        yield caught
    assert time.perf_counter() - begun < 3.0
    assert caught.value.message.endswith(".")
    assert caught.value.hint.endswith(".")
    shown: BaseException | None = caught.value
    while shown is not None:
        assert key not in "".join(traceback.format_exception(shown)) + repr(shown)
        shown = shown.__cause__ or shown.__context__


@contextmanager
def running_services() -> Iterator[Services]:
    """The services for as long as the block lasts."""

    class Handler(Connection):
        pass

    with served(Handler) as address:
        Handler.services = Services(address)
        try:
            yield Handler.services
        finally:
            Handler.services.stopping.set()


@pytest.fixture
def services() -> Iterator[Services]:
    """A fresh server."""
    with running_services() as running:
        yield running
