"""What a browser may ask of the server through its socket: to run the page, and no more.

Streamlit's own page also knows how to empty the caches of everybody, to read the repository that
the page lies in, and to install files. None of it is offered on this page, so none is done.
"""

from __future__ import annotations

from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from streamlit.proto.BackMsg_pb2 import BackMsg

_PASSED = {"rerun_script", "stop_script", "file_urls_request", "app_heartbeat"}
# What a table or a download asks for when it is looked at.
_OPERATIONS_PASSED = {"deferred_file", "dataframe_chunk"}


class OnlyThePage:
    """ASGI middleware: a message that this page has no use for is dropped."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass everything on but the messages of a WebSocket that are not for this page."""
        if scope["type"] != "websocket":
            await self.app(scope, receive, send)
            return

        async def passed() -> Message:
            while True:
                message = await receive()
                if message["type"] != "websocket.receive" or _passes(message.get("bytes")):
                    return message

        await self.app(scope, passed, send)


def _passes(content: bytes | None) -> bool:
    """Whether a message is for this page; Streamlit refuses what is none at all."""
    try:
        message = BackMsg.FromString(content or b"")
    except DecodeError:
        return True
    kind = message.WhichOneof("type")
    if kind == "backend_operation_request":
        operations = {field.name for field, _ in message.backend_operation_request.ListFields()}
        return not operations - {"request_id", "session_id"} - _OPERATIONS_PASSED
    return kind is None or kind in _PASSED
