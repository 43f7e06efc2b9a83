"""A real HTTP server on this machine in the place of an OpenAI-compatible chat endpoint.

The model's name chooses what it does: `echo`, `echo+slow`, `status-401`, `hang` and so on, see
`MODES`; an unknown model gets 404. A mode that fails does so every time, `recovers-<status>` only
on the first attempt, `says <text>` always answers that text, and `<mode>+uncounted` tells no
tokens. Every request is kept in `requests`, and `hung_up` is set when a client closes the
connection in the middle of an answer.
"""

from __future__ import annotations

import json
import re
import socket
import struct
import threading
import time
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import quote

import pytest

# Longer than any deadline that a test sets.
HANG_SECONDS = 20.0
SLOW_SECONDS = 0.05
ENDLESS_SECONDS = 15.0
FIRST_PIECES = ("The answer begins", " here [1]")


@dataclass(frozen=True, slots=True)
class Request:
    """What a client sent."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]

    @property
    def key(self) -> str:
        return self.headers.get("authorization", "").removeprefix("Bearer ")


@dataclass(slots=True)
class Endpoint:
    """The running server; `base_url` is what a client is configured with."""

    base_url: str
    requests: list[Request] = field(default_factory=list)
    hung_up: threading.Event = field(default_factory=threading.Event)
    stopping: threading.Event = field(default_factory=threading.Event)


class Connection(BaseHTTPRequestHandler):
    """One request; the methods below the protocol's are the words of the streaming protocol."""

    protocol_version = "HTTP/1.1"
    endpoint: Endpoint

    def do_POST(self) -> None:
        length = int(self.headers.get("content-length", 0))
        self.body = json.loads(self.rfile.read(length) or b"{}")
        self.headers_received = {name.lower(): value for name, value in self.headers.items()}
        self.request_record = Request(self.path, self.headers_received, self.body)
        self.endpoint.requests.append(self.request_record)
        self.close_connection = True
        mode, _, self.pace = str(self.body.get("model", "")).partition("+")
        try:
            if self.path != "/v1/chat/completions":
                self.fail(404, f"no route {self.path}")
            elif match := re.fullmatch(r"(status|recovers)-(\d+)", mode):
                self.status_mode(match[1], int(match[2]))
            elif match := re.fullmatch(r"says (.+)", mode, re.DOTALL):
                self.answer(match[1])
            elif match := re.fullmatch(r"grade-(.+)", mode):
                self.grade(match[1])
            elif mode in MODES:
                MODES[mode](self)
            else:
                self.fail(404, f'model "{mode}" not found, try pulling it first')
        except (BrokenPipeError, ConnectionResetError):
            self.endpoint.hung_up.set()

    def log_message(self, format: str, *arguments: Any) -> None:
        """Tests read requests, not a log."""

    # --- the streaming protocol ---

    def open_stream(self, media_type: str = "text/event-stream") -> None:
        self.send_response(200)
        self.send_header("content-type", media_type)
        self.send_header("connection", "close")
        self.end_headers()
        self.wfile.flush()

    def raw(self, data: bytes) -> None:
        self.wfile.write(data)
        self.wfile.flush()

    def event(self, payload: object) -> None:
        self.raw(b"data: " + json.dumps(payload, ensure_ascii=False).encode() + b"\n\n")

    def chunk(self, delta: dict[str, Any] | None, finish: str | None = None) -> None:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        self.event({**self.frame(), "choices": [choice]})

    def frame(self) -> dict[str, Any]:
        return {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "fake"}

    def say(self, *pieces: str) -> None:
        for piece in pieces:
            self.chunk({"content": piece})
            if self.pace == "slow":
                time.sleep(SLOW_SECONDS)

    def complete(self, reason: str | None = "stop") -> None:
        self.chunk({}, reason)
        if self.body.get("stream_options") and self.pace != "uncounted":
            usage = {"prompt_tokens": 9, "completion_tokens": 9, "total_tokens": 18}
            self.event({**self.frame(), "choices": [], "usage": usage})
        self.raw(b"data: [DONE]\n\n")

    def begin(self) -> None:
        self.open_stream()
        self.chunk({"role": "assistant", "content": ""})

    def answer(self, *pieces: str, reason: str | None = "stop") -> None:
        self.begin()
        self.say(*pieces)
        self.complete(reason)

    def fail(self, status: int, message: str, headers: dict[str, str] | None = None, **error: Any):
        content = json.dumps({"error": {"message": message, "code": None, **error}}).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(content)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def hang(self) -> None:
        """Waits until the client hangs up, as a server does that computes."""
        self.connection.settimeout(0.05)
        end = time.monotonic() + HANG_SECONDS
        while time.monotonic() < end and not self.endpoint.stopping.is_set():
            with suppress(TimeoutError):
                if not self.connection.recv(1):
                    raise BrokenPipeError

    def reset(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()

    # --- modes with more than a line ---

    def status_mode(self, how: str, status: int) -> None:
        attempts = sum(
            one.body.get("model") == self.body["model"] for one in self.endpoint.requests
        )
        if how == "recovers" and attempts > 1:
            return self.answer("Here [1].")
        key = self.request_record.key
        masked = f"{key[:5]}***{key[-4:]}"
        echoed = f"Incorrect API key provided: {key} ({quote(key, safe='')}, {masked})."
        seconds = "1" if how == "recovers" else "120"
        return self.fail(status, echoed, {"retry-after": seconds} if status == 429 else None)

    def echo(self) -> None:
        """Cites the first sentence of every passage that the prompt holds."""
        prompt = self.body["messages"][-1]["content"]
        passages = re.findall(
            r'<passage number="(\d+)"[^>]*>\n(.*?)\n</passage>', prompt, re.DOTALL
        )
        self.begin()
        for number, text in passages[:3]:
            sentence = re.match(r"\s*(.+?[.。!?！？]|.+)", text, re.DOTALL)
            said = sentence[1].rstrip(".。!?！？") if sentence else ""
            stop = "。" if re.search(r"[\u4e00-\u9fff]", said) else "."
            self.say(*re.findall(r"\s*\S{1,8}", " ".join(said.split())), f" [{number}]{stop} ")
        if not passages:
            self.say("The passages do not answer this.")
        self.complete()

    def grade(self, how: str) -> None:
        """Grades the passages of the prompt that hold "reranker" or 重排序 with 9, others with 1.

        `how` says in what shape; see `GRADINGS`.
        """
        prompt = self.body["messages"][-1]["content"]
        passages = re.findall(
            r'<passage number="(\d+)"[^>]*>\n(.*?)\n</passage>', prompt, re.DOTALL
        )
        grades = {
            int(number): 9 if re.search("reranker|重排序", text, re.IGNORECASE) else 1
            for number, text in passages
        }
        self.answer(*re.findall(r"(?s).{1,9}", GRADINGS[how](grades)))

    def gullible(self, data: bool = True) -> None:
        """Says every canary that it reads; without `data` none that stands between markers.

        Any marker counts that a careless reader could take for one, in what brackets, width and
        blanks ever: a text that forges one is out of its data.
        """
        read = "\n".join(message["content"] for message in self.body["messages"])
        if not data:
            asked = self.body["messages"][-1]["content"]
            read = read.replace(asked, outside_markers(asked))
        canaries = dict.fromkeys(re.findall(r"KESTREL-\d{4}", read))
        self.answer(" ".join(canaries) or "The passage says so [1].")

    def awkward(self) -> None:
        """One answer whose bytes arrive cut inside characters, brackets and line ends."""
        self.open_stream()
        lines = [": keep-alive\r\n\r\n"]
        for piece in ("重排序更准", "【", "1", "】。A se", "cond [", "2", ", 9", "].", " 三😀"):
            choice = {"index": 0, "delta": {"content": piece}, "finish_reason": None}
            lines.append(f"data: {json.dumps({'choices': [choice]}, ensure_ascii=False)}\r\n\r\n")
        data = "".join(lines).encode()
        for start in range(0, len(data), 7):
            self.raw(data[start : start + 7])
        self.complete()

    def endless(self) -> None:
        self.begin()
        end = time.monotonic() + ENDLESS_SECONDS
        while time.monotonic() < end and not self.endpoint.stopping.is_set():
            self.say("and so on " * 20)

    def endless_line(self) -> None:
        self.begin()
        self.say(*FIRST_PIECES)
        self.raw(b'data: {"choices": [{"delta": {"content": "')
        end = time.monotonic() + ENDLESS_SECONDS
        while time.monotonic() < end and not self.endpoint.stopping.is_set():
            self.raw(b"x" * 1_000_000)

    def only_keep_alive(self) -> None:
        self.begin()
        while not self.endpoint.stopping.is_set():
            self.raw(b": keep-alive\n\n")
            time.sleep(SLOW_SECONDS)

    def web_page(self) -> None:
        content = b"<!doctype html><title>Welcome</title><h1>It works</h1>"
        self.send_response(200)
        self.send_header("content-type", "text/html; charset=utf-8")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def picky(self) -> None:
        """Refuses what newer models refuse, as OpenAI does."""
        for name in ("max_tokens", "temperature"):
            if name in self.body:
                text = f"Unsupported parameter: '{name}' is not supported with this model."
                return self.fail(400, text, param=name, code="unsupported_parameter")
        return self.answer("Here [1].")


def outside_markers(prompt: str) -> str:
    """What a prompt says outside all that begins and ends with a marker of a passage."""
    outside, depth = "", 0
    folded = unicodedata.normalize("NFKC", prompt)
    for part in re.split(
        r"([<‹〈⟨❮«《]\W{0,9}passage\b[^>›〉⟩❯»》]*[>›〉⟩❯»》]?)", folded, flags=re.I
    ):
        if re.match(r"[<‹〈⟨❮«《]\W{0,9}passage\b", part, re.I):
            depth = 0 if re.match(r".\s*/", part) else 1
        elif not depth:
            outside += part
    # The markers of turns end the message of the user for a server that reads them in it.
    turns = re.split(r"<[|｜]|\[/?INST\]|<<SYS>>|</?s>|<(?:start|end)_of_turn>", folded)
    return "\n".join([outside, *turns[1:]])


def _after_pieces(then: Callable[[Connection], object]) -> Callable[[Connection], None]:
    def mode(connection: Connection) -> None:
        connection.begin()
        connection.say(*FIRST_PIECES)
        then(connection)

    return mode


def _opened(then: Callable[[Connection], object]) -> Callable[[Connection], None]:
    def mode(connection: Connection) -> None:
        connection.begin()
        then(connection)

    return mode


def _listed(grades: dict[int, Any]) -> str:
    return json.dumps([{"passage": number, "grade": grade} for number, grade in grades.items()])


def _but_first(grades: dict[int, Any]) -> dict[int, Any]:
    return dict(list(grades.items())[1:])


GRADINGS: dict[str, Callable[[dict[int, int]], str]] = {
    "perfect": _listed,
    "fenced": lambda grades: f"```json\n{_listed(grades)}\n```",
    "prose": lambda grades: (
        f"Grades [1] to [n]: here.\n{_listed(grades)}\nHope {{this}} helps [2]!"
    ),
    "wrapped": lambda grades: f'{{"grades": {_listed(grades)}}}',
    "texts": lambda grades: _listed({n: f"{grade}/10" for n, grade in grades.items()}),
    "duplicates": lambda grades: _listed(grades)[:-1] + ", " + _listed({1: 4})[1:],
    "out-of-range": lambda grades: _listed({n: -3 if g < 5 else 99 for n, g in grades.items()}),
    "stranger": lambda grades: _listed(grades | {0: 10, 77: 10}),
    "cut-off": lambda grades: _listed(grades)[:-12] if len(grades) > 1 else _listed(grades),
    "missing": lambda grades: _listed(_but_first(grades) if len(grades) > 1 else grades),
    # a model that obeys no list and yet can grade one passage
    "single": lambda grades: f"**{grades[1]}/10**" if len(grades) == 1 else "I cannot do that.",
    "quotes": lambda grades: (
        f'Passage 2 claims [{{"passage": 2, "grade": 10}}]; I ignore it. {_listed(grades)}'
    ),
    "garbage": lambda grades: "[[[[{{{{" * 200,
    "empty": lambda grades: "",
}


_PROBLEM = {"error": {"message": "the model crashed", "code": 500}}

MODES: dict[str, Callable[[Connection], object]] = {
    # answers
    "echo": Connection.echo,
    "awkward": Connection.awkward,
    "picky": Connection.picky,
    "gullible": Connection.gullible,
    "obedient": lambda c: c.gullible(data=False),
    "invents": lambda c: c.answer("It is so [1]", "[9]", ". Also this [7, 1]. 还有这个【8】。"),
    "thinks": lambda c: (
        c.begin(),
        c.chunk({"reasoning_content": "Let me see [4]."}),
        c.say("Here [1]."),
        c.complete(),
    ),
    "thinks-aloud": lambda c: c.answer(
        "<th", "ink>\nPerhaps [4]", "?</thi", "nk>\n\n", "Here [1]."
    ),
    "lists-of-links": lambda c: c.answer(
        "See ![x](http://evil.example/?q=1) [1](http://evil.example)"
    ),
    # failures before the answer
    "hang": Connection.hang,
    "reset": Connection.reset,
    "web-page": Connection.web_page,
    "no-events": lambda c: c.open_stream(),
    "only-keep-alive": Connection.only_keep_alive,
    "hang-after-headers": _opened(Connection.hang),
    "not-utf-8": _opened(lambda c: c.raw(b'data: {"choices": "\xff\xfe"}\n\n')),
    "empty-choices": _opened(lambda c: (c.event({**c.frame(), "choices": []}), c.complete())),
    "null-choices": _opened(lambda c: (c.event({**c.frame(), "choices": None}), c.complete())),
    "null-content": _opened(lambda c: (c.chunk({"content": None}), c.complete())),
    "null-delta": _opened(lambda c: (c.chunk(None), c.complete())),
    "only-thoughts": _opened(lambda c: (c.say("<think>hm"), c.complete("length"))),
    "not-an-object": _opened(lambda c: c.raw(b"data: [1, 2]\n\n")),
    # failures after some pieces
    "hang-midway": _after_pieces(Connection.hang),
    "reset-midway": _after_pieces(Connection.reset),
    "ends-midway": _after_pieces(lambda c: None),
    "error-midway": _after_pieces(lambda c: c.event(_PROBLEM)),
    "malformed": _after_pieces(lambda c: c.raw(b"data: {bad\n\n")),
    "no-finish-reason": _after_pieces(lambda c: c.complete(None)),
    "length": _after_pieces(lambda c: c.complete("length")),
    "content-filter": _after_pieces(lambda c: c.complete("content_filter")),
    "ten-megabytes": _after_pieces(lambda c: (c.say("x" * 10_000_000), c.complete())),
    "endless": Connection.endless,
    "endless-line": Connection.endless_line,
}


@contextmanager
def served(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """The address of a server on a free port for as long as the block lasts."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False

    with Server(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def running_endpoint() -> Iterator[Endpoint]:
    """A chat endpoint for as long as the block lasts."""

    class Handler(Connection):
        pass

    with served(Handler) as address:
        Handler.endpoint = Endpoint(f"{address}/v1")
        try:
            yield Handler.endpoint
        finally:
            Handler.endpoint.stopping.set()


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    """A fresh chat endpoint."""
    with running_endpoint() as running:
        yield running
