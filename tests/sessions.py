"""What a server sends to a client that keeps its own cookies, as bytes: for grepping all of it."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.cookiejar import CookieJar
from typing import Any
from urllib.error import HTTPError

from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from streamlit.proto.WidgetStates_pb2 import WidgetState
from websockets.sync.client import ClientConnection, connect

PATIENCE_SECONDS = 90.0
XSRF = "_streamlit_xsrf"


@dataclass
class Answer:
    """An HTTP answer, of whatever status."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def fetch(request: urllib.request.Request | str, jar: CookieJar | None = None) -> Answer:
    """Ask, following redirects; with the cookies of `jar`."""
    cookies = urllib.request.HTTPCookieProcessor(CookieJar() if jar is None else jar)
    try:
        with urllib.request.build_opener(cookies).open(request, timeout=PATIENCE_SECONDS) as found:
            return Answer(found.status, found.headers, found.read())
    except HTTPError as error:
        with error:
            return Answer(error.code, error.headers, error.read())


@dataclass
class Browser:
    """The cookies of one person at one server, and everything that the server ever sent them."""

    url: str
    jar: CookieJar = field(default_factory=CookieJar)
    received: bytearray = field(default_factory=bytearray)
    session: str = ""

    def __post_init__(self) -> None:
        fetch(f"{self.url}/_stcore/health", self.jar)

    @property
    def cookies(self) -> dict[str, str]:
        return {cookie.name: cookie.value or "" for cookie in self.jar}

    def connect(
        self, cookies: Mapping[str, str] | None = None, origin: str | None = ""
    ) -> ClientConnection:
        """A WebSocket; with other cookies, or another origin, or none."""
        cookies = self.cookies if cookies is None else cookies
        return connect(
            f"{self.url.replace('http', 'ws', 1)}/_stcore/stream",
            subprotocols=["streamlit", cookies.get(XSRF, "none")],  # type: ignore[list-item]
            origin=self.url if origin == "" else origin,  # type: ignore[arg-type]
            additional_headers={"Cookie": "; ".join(f"{k}={v}" for k, v in cookies.items())},
            max_size=None,
        )

    def run(
        self,
        socket: ClientConnection,
        *widgets: WidgetState,
        page: str = "",
        page_hash: str = "",
    ) -> list[Any]:
        """Run a page, by its name or its hash; the messages until it is drawn."""
        message = BackMsg()
        message.rerun_script.page_name = page
        message.rerun_script.page_script_hash = page_hash
        message.rerun_script.widget_states.widgets.extend(widgets)
        socket.send(message.SerializeToString())
        messages = []
        for answer in self.answers(socket):
            messages.append(answer)
            # A run that asks for another one is followed by it at once.
            if answer.WhichOneof("type") == "script_finished" and answer.script_finished in (
                ForwardMsg.FINISHED_SUCCESSFULLY,
                ForwardMsg.FINISHED_WITH_COMPILE_ERROR,
            ):
                break
        return messages

    def answers(self, socket: ClientConnection) -> Iterator[Any]:
        """What the server sends, one message after the other."""
        while True:
            content = socket.recv(timeout=PATIENCE_SECONDS)
            assert isinstance(content, bytes)
            self.received += content
            answer = ForwardMsg.FromString(content)
            if answer.WhichOneof("type") == "new_session":
                self.session = answer.new_session.initialize.session_id
            yield answer

    def download(self, socket: ClientConnection, button: Any) -> str:
        """Press a download button; the path of the file that is made for it."""
        message = BackMsg()
        message.backend_operation_request.session_id = self.session
        message.backend_operation_request.request_id = "1"
        message.backend_operation_request.deferred_file.file_id = button.deferred_file_id
        socket.send(message.SerializeToString())
        return next(
            str(answer.backend_operation_response.deferred_file.url)
            for answer in self.answers(socket)
            if answer.WhichOneof("type") == "backend_operation_response"
        )

    def sign_in(self) -> None:
        """Press the button, and follow the provider's redirects back to the page."""
        with self.connect() as socket:
            button = element(self.run(socket), "button", "Sign in")
            answers = self.run(socket, WidgetState(id=button.id, trigger_value=True))
        (address,) = (
            message.auth_redirect.url
            for message in answers
            if message.WhichOneof("type") == "auth_redirect"
        )
        fetch(f"{self.url}{address}", self.jar)


def elements(messages: list[Any], kind: str) -> list[Any]:
    """The elements of a kind that a run drew."""
    return [
        getattr(message.delta.new_element, kind)
        for message in messages
        if message.WhichOneof("type") == "delta"
        and message.delta.WhichOneof("type") == "new_element"
        and message.delta.new_element.WhichOneof("type") == kind
    ]


def element(messages: list[Any], kind: str, label: str = "") -> Any:
    """The last element of a kind, with this label."""
    return next(
        one for one in reversed(elements(messages, kind)) if not label or one.label == label
    )
