"""One real server with the bundled model, one with a chat endpoint, and one Chromium for all."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.endpoint import MODES, Connection, Endpoint, running_endpoint
from tests.exfiltration import WAYS, groups, streamed

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is in the test extra")

CANARY = "sk-canary-4f1c2b"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
# A page that waits for the models on a busy machine.
PATIENCE_MS = 90_000
# What only this page has.
SHOWN = {"Ask": "stChatInputTextArea", "Library": "stFileUploader", "Inspect": "stSelectbox"}
# Nodes that documents and answers must not bring.
FOREIGN = (
    ":is([data-testid=stMainBlockContainer], [role=dialog]) "
    ":is(script, iframe, object, embed, img, svg image, svg a, "
    "[onerror], [onload], [onclick], [ontoggle], a[href]:not([href^='#']))"
)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All tests of this folder are browser tests."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("browser")


@dataclass
class Visit:
    """A page in a browser that keeps what it asked for and what it could not do."""

    page: playwright.Page
    url: str
    foreign_requests: list[str] = field(default_factory=list)
    dialogs: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.set_default_timeout(PATIENCE_MS)
        self.page.on("request", self._note_request)
        self.page.on("websocket", self._note_request)
        self.page.on("dialog", self._note_dialog)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", self._note_console)

    def _note_request(self, request: playwright.Request | playwright.WebSocket) -> None:
        own = (self.url, self.url.replace("http", "ws", 1), "data:", f"blob:{self.url}")
        if not request.url.startswith(own):
            self.foreign_requests.append(request.url)

    def _note_console(self, message: playwright.ConsoleMessage) -> None:
        if "Content Security Policy" in message.text or "Permissions policy" in message.text:
            self.errors.append(message.text)

    def _note_dialog(self, dialog: playwright.Dialog) -> None:
        self.dialogs.append(dialog.message)
        dialog.dismiss()

    @property
    def text(self) -> str:
        """What is written on the page, without the joiners that keep links from forming."""
        return self.page.get_by_test_id("stApp").inner_text().replace("\u2060", "")

    def open(self, name: str = "Ask") -> Visit:
        """Go to one of the pages, by the navigation once the app is open."""
        if not self.page.url.startswith(self.url):
            self.page.goto(self.url)
            # Until the script has run, Streamlit offers every file of pages/ in the navigation.
            self.settle()
        self.page.get_by_test_id("stSidebarNav").get_by_role("link", name=name).click()
        self.page.get_by_test_id(SHOWN[name]).first.wait_for()
        self.settle()
        return self

    def settle(self) -> None:
        """Wait until the script has ended."""
        self.page.locator("[data-testid=stApp][data-test-script-state=notRunning]").wait_for()

    def resize(self, width: int, scheme: str) -> None:
        """Another window and another colour scheme."""
        self.page.set_viewport_size({"width": width, "height": 900})
        self.page.emulate_media(color_scheme=scheme)

    def send(self, question: str) -> playwright.Locator:
        """Ask in the chat box; gives the message that the answer will be in."""
        before = self.page.get_by_test_id("stChatMessage").count()
        self.page.get_by_test_id("stChatInputTextArea").fill(question)
        self.page.get_by_test_id("stChatInputSubmitButton").click()
        return self.page.get_by_test_id("stChatMessage").nth(before + 1)

    def ask(self, question: str) -> playwright.Locator:
        """Ask in the chat box and wait; gives the answer's message."""
        answer = self.send(question)
        answer.get_by_text(" · rerank ").first.wait_for()
        self.settle()
        return answer

    def choose(self, row: Callable[[playwright.Locator], int], shown: playwright.Locator) -> None:
        """Choose a row of the page's table, which is drawn on a canvas; it shows something."""
        table = self.page.get_by_test_id("stDataFrame")
        for _ in range(5):
            # A table that is just being drawn again is gone, or loses the click.
            with suppress(playwright.Error):
                table.scroll_into_view_if_needed(timeout=10_000)
                box = table.bounding_box(timeout=10_000)
                if box is None:
                    continue
                self.page.mouse.click(box["x"] + 20, box["y"] + 35 * (row(table) + 1.5))
                shown.wait_for(timeout=10_000)
                break
        self.settle()

    def upload(self, name: str, content: bytes) -> None:
        """Give the upload box a file and wait for what becomes of it."""
        self.page.locator("[data-testid=stFileUploader] input[type=file]").set_input_files(
            {"name": name, "mimeType": "application/octet-stream", "buffer": content}
        )

    def finish_adding(self) -> str:
        """Wait for the results of the files in hand, close them and give their lines."""
        close = self.page.get_by_role("button", name="Close", exact=True)
        close.wait_for()
        self.settle()
        lines = self.page.locator(".st-key-close-job").locator("xpath=../..").inner_text()
        close.click()
        close.wait_for(state="detached")
        self.settle()
        return lines.replace("\u2060", "")

    def assert_nothing_foreign(self) -> None:
        """No request to elsewhere, no dialog, no script error, no node that data brought."""
        assert self.foreign_requests == []
        assert self.dialogs == []
        assert self.errors == []
        assert self.page.get_by_test_id("stMainBlockContainer").count()
        assert self.page.locator(FOREIGN).evaluate_all("nodes => nodes.map(n => n.outerHTML)") == []


Visitor = Callable[[str], Visit]


@contextmanager
def serving(home: Path, **environment: str) -> Iterator[str]:
    """The address of `rag serve` on a free port, with a library of its own."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    keep = {k: v for k, v in os.environ.items() if not k.startswith(("RAG_", "OPENAI_"))}
    command = [sys.executable, "-c", "from rag.cli import main; main()", "serve"]
    home.mkdir(exist_ok=True)
    with (home / "server.log").open("w") as log:
        server = subprocess.Popen(
            [*command, "--port", str(port)],
            env={**keep, "RAG_HOME": str(home), **environment},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    path = environment.get("STREAMLIT_SERVER_BASE_URL_PATH", "")
    url = f"http://127.0.0.1:{port}/{path}".rstrip("/")
    try:
        _wait_until_healthy(url, server, home / "server.log")
        yield url
    finally:
        server.terminate()
        server.wait(30)


def _wait_until_healthy(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end and server.poll() is None:
        try:
            with urllib.request.urlopen(f"{url}/_stcore/health", timeout=5):
                return
        except OSError:
            time.sleep(0.1)
    pytest.fail(f"the server did not start: {log.read_text()}")


@contextmanager
def visiting(chromium: playwright.Browser, url: str) -> Iterator[Visit]:
    """A page of a server in a context of its own, checked at the end."""
    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    visit = Visit(context.new_page(), url)
    yield visit
    visit.assert_nothing_foreign()
    context.close()


# All of this ends with the last browser test, and leaves the machine to the other tests.
@pytest.fixture(scope="package")
def chromium() -> Iterator[playwright.Browser]:
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def visitor(chromium: playwright.Browser) -> Iterator[Visitor]:
    """Opens pages of a server, each in a context of its own, and checks all of them at the end."""
    with ExitStack() as visits:
        yield lambda url: visits.enter_context(visiting(chromium, url))


@pytest.fixture(scope="package")
def library_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("browser") / "library"


@pytest.fixture(scope="package")
def empty_app(library_home: Path) -> Iterator[str]:
    """The address of the app with the bundled model; its library is empty at first."""
    with serving(library_home) as url:
        yield url


@dataclass(frozen=True, slots=True)
class FirstVisit:
    """What a new user saw: the first screen, the progress and the results of the samples."""

    welcome: str
    progress: str
    results: str


@pytest.fixture(scope="package")
def first_visit(chromium: playwright.Browser, empty_app: str) -> FirstVisit:
    """The samples, added by the button of the empty library."""
    visit = Visit(chromium.new_page(), empty_app).open()
    button = visit.page.get_by_role("button", name="Add the sample documents")
    button.wait_for()
    welcome = visit.text
    button.click()
    bar = visit.page.get_by_test_id("stProgress").filter(has_text=" of ")
    bar.wait_for()
    progress = bar.inner_text()
    results = visit.finish_adding()
    visit.assert_nothing_foreign()
    visit.page.close()
    return FirstVisit(welcome, progress, results)


@pytest.fixture(scope="package")
def app(empty_app: str, first_visit: FirstVisit) -> str:
    """The address of the app with the samples in its library."""
    return empty_app


def as_asked(connection: Connection) -> None:
    """Behaves like the mode whose name is in brackets in the question, else like `echo`.

    As a rewriter it repeats every question word for word but one that leaves out its subject.
    """
    prompt, _, asked = connection.body["messages"][-1]["content"].rpartition("Question:")
    if "<conversation>" in prompt:
        question = asked.partition("\n")[0].strip()
        connection.answer(question.replace("And when is it?", "When is a reranker worth having?"))
        return
    if status := re.search(r"\(status-(\d+)\)", asked):
        connection.status_mode("status", int(status[1]))
        return
    mode = next((mode for mode in MODES if f"({mode})" in asked), "echo")
    MODES[mode](connection)


HOSTILE_ANSWER = (
    "Look [1] ![x](http://127.0.0.2:9/a) <img src=http://127.0.0.2:9/b onerror=alert(1)> ",
    "<script>alert(1)</script> [x](javascript:alert(1)) http://127.0.0.2:9/c www.evil.example ",
    "a@evil.example :red[x] :material/home: :streamlit: $\\href{http://127.0.0.2:9/d}{y}$ ",
    "and $5 to $6 :smile:\n\n| a | b |\n| --- | --- |\n| `c \\| ![x](http://127.0.0.2:9/e)` |\n\n",
    "```mermaid\ngraph LR\n  A@{ img: 'http://127.0.0.2:9/f', label: 'x' }\n```\n\n",
    "![y][ref]\n\n[ref]: http://127.0.0.2:9/g\n\n结尾 ![重排](http://127.0.0.2:9/h)",
)


def dawdles(connection: Connection) -> None:
    """Writes for twenty seconds, unless the client hangs up."""
    connection.begin()
    for number in range(200):
        connection.say(f"Part {number} [1]. ")
        time.sleep(0.1)
    connection.complete()


@pytest.fixture(scope="package")
def chat_endpoint() -> Iterator[Endpoint]:
    """The chat endpoint of `written_app`."""
    with running_endpoint() as running:
        yield running


@pytest.fixture(scope="package")
def written_app(
    library_home: Path, first_visit: FirstVisit, chat_endpoint: Endpoint
) -> Iterator[str]:
    """The address of the app over the same library, with a chat endpoint that writes answers."""
    modes = {
        "as-asked": as_asked,
        "hostile": lambda c: c.answer(*HOSTILE_ANSWER),
        "all-ways": lambda c: c.answer(*streamed(groups(len(WAYS))[0])),
        "dawdles": dawdles,
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, mode in modes.items():
            patch.setitem(MODES, name, mode)
        with serving(
            library_home,
            OPENAI_BASE_URL=chat_endpoint.base_url,
            OPENAI_API_KEY=CANARY,
            RAG_LLM_MODEL="as-asked",
            RAG_ENDPOINT_FIRST_TOKEN_SECONDS="5",
            RAG_ENDPOINT_IDLE_SECONDS="2",
            RAG_LIMITS_SESSION_QUESTIONS="0",
        ) as url:
            yield url
