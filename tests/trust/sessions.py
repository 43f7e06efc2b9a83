"""People who use the page, without browsers: what a browser says to the server and hears from it.

A browser opens the page, is given a cookie, and then talks over one WebSocket: it sends the state
of the widgets, and the server runs the page and sends what is on it.
"""

from __future__ import annotations

import asyncio
import re
import urllib.request
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any, TypeVar
from urllib.parse import urlsplit

from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.Common_pb2 import ChatInputValue
from streamlit.proto.Element_pb2 import Element
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from streamlit.proto.WidgetStates_pb2 import WidgetState
from websockets.asyncio.client import ClientConnection, connect

# What a question or an answer of this length looks like: nobody else has the same.
CANARY = re.compile(rb"canary-[0-9a-f]{12}")
PATIENCE_SECONDS = 240.0
_JOINER = "\u2060"
_T = TypeVar("_T")


@dataclass
class Session:
    """One person's tab.

    `seen` are the canaries in all that came, `bytes` its size, `shown` what is on the page now.
    """

    socket: ClientConnection
    url: str
    shown: dict[tuple[int, ...], Element] = field(default_factory=dict)
    seen: set[str] = field(default_factory=set)
    bytes: int = 0
    runs: int = 0
    pages: dict[str, str] = field(default_factory=dict)
    _known: dict[str, ForwardMsg] = field(default_factory=dict)
    _page: str = ""

    async def run(self, *widgets: WidgetState) -> float:
        """Let the page run with these widgets touched, to its end; gives the seconds it took."""
        started = perf_counter()
        await self.send(*widgets)
        await self.heard(lambda message: _ended(message))
        return perf_counter() - started

    async def send(self, *widgets: WidgetState) -> None:
        """Touch widgets, and do not wait for what comes of it."""
        message = BackMsg()
        message.rerun_script.page_script_hash = self._page
        message.rerun_script.widget_states.widgets.extend(widgets)
        await self.socket.send(message.SerializeToString())

    async def heard(self, enough: Callable[[ForwardMsg], bool]) -> None:
        """Take what comes until a message is the one that is waited for."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                frame = await self.socket.recv()
                assert isinstance(frame, bytes)
                self.bytes += len(frame)
                self.seen |= {found.decode() for found in CANARY.findall(frame)}
                if enough(self._taken(ForwardMsg.FromString(frame))):
                    return

    def _taken(self, message: ForwardMsg) -> ForwardMsg:
        path = tuple(message.metadata.delta_path)
        if message.WhichOneof("type") == "ref_hash":
            message = self._known[message.ref_hash]
        elif message.metadata.cacheable:
            self._known[message.hash] = message
        kind = message.WhichOneof("type")
        if kind == "new_session":
            self.runs += 1
            self.shown.clear()
            self._page = message.new_session.page_script_hash
        elif kind == "navigation":
            self.pages = {
                page.url_pathname: page.page_script_hash for page in message.navigation.app_pages
            }
        elif kind == "delta" and message.delta.WhichOneof("type") == "new_element":
            self.shown[path] = message.delta.new_element
        elif kind == "delta" and message.delta.WhichOneof("type") == "add_block":
            self.shown.pop(path, None)
        return message

    @property
    def text(self) -> str:
        """What is written on the page, in its order, without the escapes of Markdown."""
        written = (_text(element) for _, element in sorted(self.shown.items()))
        return re.sub(r"\\(\W)", r"\1", "\n".join(written)).replace(_JOINER, "")

    @property
    def problems(self) -> list[str]:
        """The errors on the page, and any exception."""
        return [
            _text(element) or str(element)
            for element in self.shown.values()
            if element.WhichOneof("type") == "exception"
            or (element.WhichOneof("type") == "alert" and element.alert.format == 1)
        ]

    async def visit(self, page: str) -> float:
        """Go to the page of this address; gives the seconds it took."""
        self._page = self.pages[page]
        return await self.run()

    async def ask(self, question: str) -> float:
        """Ask in the chat box, to the end of the answer; gives the seconds it took."""
        return await self.run(self.typed(question))

    def typed(self, question: str) -> WidgetState:
        """The chat box as it is when the person has sent a question."""
        box = next(one.chat_input for one in self.shown.values() if _is(one, "chat_input"))
        return WidgetState(id=box.id, chat_input_value=ChatInputValue(data=question))

    def pressed(self, label: str) -> WidgetState:
        """The button with this label, pressed."""
        buttons = (one.button for one in self.shown.values() if _is(one, "button"))
        return WidgetState(
            id=next(one.id for one in buttons if one.label == label), trigger_value=True
        )

    @property
    def box(self) -> str:
        """What the server put into the chat box."""
        return next(one.chat_input.value for one in self.shown.values() if _is(one, "chat_input"))


@asynccontextmanager
async def session(url: str, cookie: str = "") -> AsyncIterator[Session]:
    """A tab with the page open; without a cookie of its own it takes the one it is given."""
    cookie = cookie or await asyncio.to_thread(_cookie, url)
    address = url.replace("http", "ws", 1) + "/_stcore/stream"
    async with connect(
        address,
        subprotocols=["streamlit"],  # type: ignore[list-item]
        origin=url,  # type: ignore[arg-type]
        additional_headers={"Cookie": cookie},
        max_size=None,
        open_timeout=PATIENCE_SECONDS,
        ping_interval=None,
    ) as socket:
        yield Session(socket, url)


def played(scene: Coroutine[Any, Any, _T]) -> _T:
    """What a coroutine gives, run in a thread: playwright keeps an event loop in its own."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, scene).result()


def _cookie(url: str) -> str:
    """The cookie that a browser is given when it opens the page."""
    request = urllib.request.Request(url, headers={"Accept": "text/html"})
    with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as answer:
        return str(answer.headers["Set-Cookie"]).partition(";")[0]


def _ended(message: ForwardMsg) -> bool:
    return (
        message.WhichOneof("type") == "script_finished"
        and message.script_finished == ForwardMsg.FINISHED_SUCCESSFULLY
    )


def _is(element: Element, kind: str) -> bool:
    return element.WhichOneof("type") == kind


def _text(element: Element) -> str:
    kind = element.WhichOneof("type")
    return getattr(element, kind).body if kind in {"markdown", "alert", "heading", "text"} else ""


def active_sessions(url: str) -> int:
    """How many tabs the server thinks are open."""
    with urllib.request.urlopen(f"{url}/_stcore/metrics", timeout=30) as answer:
        found = re.search(r"^active_sessions (\d+)", answer.read().decode(), re.MULTILINE)
    assert found, "the server tells no active_sessions"
    return int(found[1])


def memory(url: str, kind: str = "VmRSS") -> int:
    """Bytes of memory that the server of this address has now; `RssFile` are those of files.

    Pages of files are the system's to drop: the model's, of which more is read with every new word.
    """
    for status in Path("/proc").glob("[0-9]*/status"):
        arguments = (status.parent / "cmdline").read_bytes().decode().split("\0")
        if "streamlit" in arguments and str(urlsplit(url).port) in arguments:
            resident = re.search(rf"{kind}:\s+(\d+) kB", status.read_text())
            assert resident
            return int(resident[1]) * 1024
    raise AssertionError(f"no server listens at {url}")
