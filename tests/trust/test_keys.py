"""A key never reaches a browser: a real server, a real browser, every frame between them."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests import endpoint, model_endpoint
from tests.browser.conftest import Visit, playwright, serving, visiting
from tests.endpoint import Connection, running_endpoint
from tests.leaks import KEYS, files_of, leaks
from tests.model_endpoint import running_services
from tests.test_keys import DOCUMENT, FAILING, LEAKING, QUESTION, leaking

# What the services do with a question that names it in brackets; the key comes back from most.
CHAT = ("echo", *FAILING, "reset", "web-page", "malformed", "error-midway")


@dataclass
class Wire:
    """All that a browser was sent."""

    frames: list[bytes] = field(default_factory=list)
    bodies: dict[str, bytes] = field(default_factory=dict)

    def listen(self, page: playwright.Page) -> None:
        """Keep every frame and every answer of this page."""
        page.on("websocket", lambda socket: socket.on("framereceived", self._frame))
        page.on("response", self._response)

    def _frame(self, content: str | bytes) -> None:
        self.frames.append(content.encode() if isinstance(content, str) else content)

    def _response(self, response: playwright.Response) -> None:
        headers = " ".join(f"{name}: {value}" for name, value in response.headers.items())
        self.bodies[f"{len(self.bodies)} {response.url}"] = headers.encode()


def by_question(connection: Connection) -> None:
    """Behave like the mode in brackets in the question, and else like `echo`."""
    prompt = connection.body["messages"][-1]["content"]
    named = (one for one in endpoint.MODES if one != "by-question")
    mode = next((one for one in named if f"({one})" in prompt), "echo")
    if mode.startswith("status-"):
        connection.status_mode("status", int(mode.removeprefix("status-")))
    else:
        endpoint.MODES[mode](connection)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("keys") / "library"


@pytest.fixture(scope="module")
def server(home: Path) -> Iterator[str]:
    """The page over three services with a key each, its log as talkative as it gets."""
    with ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        modes = endpoint.MODES
        for how in LEAKING:
            patch.setitem(modes, how, lambda connection, how=how: leaking(connection, how))
            both = model_endpoint.Connection.BOTH
            patch.setitem(both, how, lambda connection, how=how: leaking(connection, how))
        for how in ("status-401", "status-500"):
            patch.setitem(modes, how, lambda connection: None)
        patch.setitem(modes, "by-question", by_question)
        services = stack.enter_context(running_services())
        chat = stack.enter_context(running_endpoint())
        yield stack.enter_context(
            serving(
                home,
                RAG_INDEX_EMBEDDER="openai",
                RAG_INDEX_MODEL="words",
                RAG_EMBEDDING_ENDPOINT_BASE_URL=f"{services.address}/v1",
                RAG_EMBEDDING_ENDPOINT_API_KEY=KEYS["embedding"],
                RAG_QUERY_RERANKER="api",
                RAG_QUERY_RELEVANCE="0",
                RAG_RERANK_ENDPOINT_PROVIDER="cohere",
                RAG_RERANK_ENDPOINT_BASE_URL=services.address,
                RAG_RERANK_ENDPOINT_MODEL="words",
                RAG_RERANK_ENDPOINT_API_KEY=KEYS["rerank"],
                RAG_LLM_MODEL="by-question",
                RAG_ENDPOINT_FIRST_TOKEN_SECONDS="5",
                RAG_ENDPOINT_IDLE_SECONDS="2",
                RAG_LIMITS_SESSION_QUESTIONS="0",
                OPENAI_BASE_URL=chat.base_url,
                OPENAI_API_KEY=KEYS["chat"],
                OPENAI_LOG="debug",
                RAG_LOG_TEXTS="true",
            )
        )
        sent = {one.key for one in services.requests} | {one.key for one in chat.requests}
        assert sent >= set(KEYS.values()), "a key that was never sent proves nothing"


@pytest.mark.row(9)
def test_no_key_reaches_a_browser_a_log_a_process_or_the_disk(
    server: str,
    home: Path,
    chromium: playwright.Browser,
    record_property: Callable[[str, object], None],
) -> None:
    shown: dict[str, str | bytes] = {}
    wire = Wire()
    with visiting(chromium, server) as visit:
        wire.listen(visit.page)
        visit.open("Library").upload("vaccines.md", DOCUMENT.encode())
        shown["adding"] = visit.finish_adding()
        shown["processes"] = processes()
        visit.open("Ask")
        for how in CHAT:
            shown[f"answer to {how}"] = visit.ask(f"{QUESTION} ({how})").inner_text()
            shown[f"page at {how}"] = visit.page.content()
        inspect(visit, shown, home.parent)
        settings(visit, shown)
    shown |= {f"frame {place}": frame for place, frame in enumerate(wire.frames)}
    shown |= wire.bodies
    shown |= {f"file {name}": content for name, content in files_of(home.parent)}
    record_property("questions", len(CHAT))
    record_property("frames", len(wire.frames))
    record_property("places", len(shown))
    assert len(wire.frames) > 50
    assert any(b"fridge" in frame for frame in wire.frames), "frames that were not read"
    log = (home / "server.log").read_text(encoding="utf-8")
    assert log.count('"event": "question"') == len(CHAT)
    assert leaks(shown) == []


def inspect(visit: Visit, shown: dict[str, str | bytes], folder: Path) -> None:
    """The Inspect page, and what can be downloaded there."""
    visit.page.get_by_role("button", name="Why?").first.click()
    visit.page.get_by_role("button", name="JSON").wait_for()
    visit.settle()
    shown["inspect"] = visit.page.content()
    for name in ("JSON", "Report"):
        with visit.page.expect_download() as download:
            visit.page.get_by_role("button", name=name).click()
        file = folder / f"download {name}"
        download.value.save_as(file)
        assert QUESTION in file.read_text(encoding="utf-8")


def settings(visit: Visit, shown: dict[str, str | bytes]) -> None:
    """The Settings page, every model tried."""
    visit.page.goto(f"{visit.url}/settings")
    visit.page.get_by_role("textbox", name="Currency").wait_for()
    visit.settle()
    for place, part in enumerate(("embedder", "reranker", "answerer")):
        visit.page.locator(f".st-key-test-{part} button").click()
        visit.page.get_by_text("(loading ").nth(place).wait_for()
    visit.settle()
    shown["settings"] = visit.page.content()


def processes() -> str:
    """The command lines of all processes of this machine."""
    command = ["ps", "-e", "-ww", "-o", "args"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout
