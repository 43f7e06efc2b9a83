"""A visitor without a browser: what a page shows, through the socket that browsers use."""

from __future__ import annotations

import secrets
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.Common_pb2 import FileUploaderState, UploadedFileInfo
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from streamlit.proto.WidgetStates_pb2 import WidgetState
from websockets.sync.client import ClientConnection, connect

PATIENCE_SECONDS = 90.0
_XSRF = "_streamlit_xsrf"
_FINISHED = (
    ForwardMsg.FINISHED_SUCCESSFULLY,
    ForwardMsg.FINISHED_WITH_COMPILE_ERROR,
    ForwardMsg.FINISHED_FRAGMENT_RUN_SUCCESSFULLY,
)


@dataclass
class Client:
    """One session, and what it shows."""

    url: str
    socket: ClientConnection
    token: str
    page: str = ""
    # By its place on the page, in the order it came.
    _shown: dict[tuple[int, ...], Any] = field(default_factory=dict)
    # The part of the page that asks to be run again and again, as progress does.
    _fragment: str = ""

    @property
    def elements(self) -> list[Any]:
        """What is on the page."""
        return list(self._shown.values())

    @property
    def text(self) -> str:
        """Everything that is written on the page."""
        return "\n".join(filter(None, map(_written, self.elements))).replace("\u2060", "")

    def open(self, page: str = "") -> Client:
        """Go to a page by its address; the empty one is the first."""
        self.page = page
        return self.run()

    def run(self, *widgets: WidgetState) -> Client:
        """Run the page with these values of widgets, and wait until it is drawn."""
        message = BackMsg()
        message.rerun_script.page_name = self.page
        message.rerun_script.widget_states.widgets.extend(widgets)
        self._send(message)
        return self._follow()

    def refresh(self) -> Client:
        """Run what of the page asks to be run again and again, as a browser does by itself."""
        if not self._fragment:
            return self.run()
        message = BackMsg()
        message.rerun_script.page_name = self.page
        message.rerun_script.fragment_id = self._fragment
        message.rerun_script.is_auto_rerun = True
        self._send(message)
        return self._follow()

    def _follow(self) -> Client:
        """Take over what a run draws, until it is drawn."""
        for answer in self._answers():
            kind = answer.WhichOneof("type")
            if kind == "new_session" and not answer.metadata.run.fragment_ids:
                self._shown, self._fragment = {}, ""
            elif kind == "auto_rerun":
                self._fragment = answer.auto_rerun.fragment_id
            elif kind == "delta" and answer.delta.WhichOneof("type") == "new_element":
                self._shown[tuple(answer.metadata.delta_path)] = answer.delta.new_element
            elif kind == "delta" and answer.delta.WhichOneof("type") == "add_block":
                self._shown.pop(tuple(answer.metadata.delta_path), None)
            # A run that asks for another one is followed by it at once.
            elif kind == "script_finished" and answer.script_finished in _FINISHED:
                self._shown = {
                    path: element
                    for path, element in self._shown.items()
                    if not self._is_inside_of_one(path)
                }
                return self
        raise ConnectionError("the server closed the connection")

    def _is_inside_of_one(self, path: tuple[int, ...]) -> bool:
        """Whether an element took the place of the block that held this one."""
        return any(path[:length] in self._shown for length in range(1, len(path)))

    def ask(self, question: str) -> float:
        """Ask in the chat box; the seconds until the answer is drawn."""
        widget = WidgetState(id=self._element("chat_input").id)
        widget.chat_input_value.data = question
        started = time.monotonic()
        self.run(widget)
        return time.monotonic() - started

    def press(self, label: str) -> Client:
        """Press the button with this label."""
        button = next(
            element.button
            for element in reversed(self.elements)
            if element.WhichOneof("type") == "button" and element.button.label == label
        )
        return self.run(WidgetState(id=button.id, trigger_value=True))

    def upload(self, files: Sequence[tuple[str, bytes]]) -> None:
        """Drop files into the upload box; they are on their way when this returns."""
        box = self._element("file_uploader").id
        message = BackMsg()
        message.file_urls_request.request_id = uuid.uuid4().hex
        message.file_urls_request.file_names.extend(name for name, _ in files)
        self._send(message)
        response = next(
            answer.file_urls_response
            for answer in self._answers()
            if answer.WhichOneof("type") == "file_urls_response"
        )
        state = FileUploaderState()
        for (name, content), urls in zip(files, response.file_urls, strict=True):
            self._put(urls.upload_url, name, content)
            info = UploadedFileInfo(file_id=urls.file_id, name=name, size=len(content))
            info.file_urls.CopyFrom(urls)
            state.uploaded_file_info.append(info)
        self.run(WidgetState(id=box, file_uploader_state_value=state))

    def wait_for(
        self, done: Callable[[Client], bool], seconds: float = PATIENCE_SECONDS
    ) -> Iterator[str]:
        """The text of the page, again and again, until it is as it should be."""
        end = time.monotonic() + seconds
        while not done(self):
            if time.monotonic() > end:
                raise TimeoutError(f"it did not come in {seconds:g} seconds: {self.text[:2000]}")
            yield self.text
            time.sleep(0.5)
            self.refresh()

    def shows(self, label: str) -> bool:
        """Whether there is a button with this label."""
        return any(
            element.WhichOneof("type") == "button" and element.button.label == label
            for element in self.elements
        )

    def _element(self, kind: str) -> Any:
        found = [one for one in self.elements if one.WhichOneof("type") == kind]
        if not found:
            raise LookupError(f"the page has no {kind}: {self.text[:500]}")
        return getattr(found[-1], kind)

    def _put(self, address: str, name: str, content: bytes) -> None:
        boundary = secrets.token_hex(16)
        quoted = name.replace("\\", "\\\\").replace('"', "%22").replace("\n", "%0A")
        body = (
            f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{quoted}"\r\n'
            "Content-Type: application/octet-stream\r\n\r\n"
        ).encode() + content
        request = urllib.request.Request(
            f"{self.url}{address}",
            data=body + f"\r\n--{boundary}--\r\n".encode(),
            method="PUT",
            headers={
                "Content-Type": f"multipart/form-data; boundary={boundary}",
                "Cookie": f"{_XSRF}={self.token}",
                "X-Xsrftoken": self.token,
            },
        )
        with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS):
            pass

    def _send(self, message: BackMsg) -> None:
        self.socket.send(message.SerializeToString())

    def _answers(self) -> Iterator[ForwardMsg]:
        while True:
            content = self.socket.recv(timeout=PATIENCE_SECONDS)
            if isinstance(content, bytes):
                yield ForwardMsg.FromString(content)


@contextmanager
def session(url: str, page: str = "") -> Iterator[Client]:
    """A session of its own on a page of the server at `url`."""
    token = _xsrf_token(url)
    with connect(
        f"{url.replace('http', 'ws', 1)}/_stcore/stream",
        subprotocols=["streamlit", token],  # type: ignore[list-item]
        origin=url,  # type: ignore[arg-type]
        additional_headers={"Cookie": f"{_XSRF}={token}"},
        max_size=None,
    ) as socket:
        yield Client(url, socket, token).open(page)


def _xsrf_token(url: str) -> str:
    """The token that the server's own page is given."""
    with urllib.request.urlopen(f"{url}/_stcore/health", timeout=PATIENCE_SECONDS) as answer:
        for cookie in answer.headers.get_all("Set-Cookie") or ():
            name, _, rest = cookie.partition("=")
            if name == _XSRF:
                return rest.partition(";")[0]
    raise ConnectionError("the server gave no token")


def _written(element: Any) -> str:
    kind = element.WhichOneof("type")
    value = getattr(element, kind)
    return str(getattr(value, "body", "") or getattr(value, "text", "") or "")
