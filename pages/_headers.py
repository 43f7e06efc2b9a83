"""What the server answers at all, and the headers that tell browsers what the page may do."""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import re
from pathlib import Path
from urllib.parse import urlsplit

import streamlit as st
from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# Streamlit's figures about itself, and what runs the page without a person.
_FOR_THIS_MACHINE = re.compile(r"/_stcore/(?:metrics|script-health-check)")
_FOR_NOBODY = re.compile(r"/_stcore/agent")
_OF_A_PROXY = ("forwarded", "via", "x-real-ip", "x-forwarded-for", "x-forwarded-host")
_INLINE_SCRIPT = re.compile(r"<script>(.*?)</script>", re.DOTALL)


class Closed:
    """ASGI middleware: foreign names and foreign pages get nothing, figures stay on this machine.

    A page of another origin may open a WebSocket here, and a name that somebody else owns may
    lead to this machine, so both are refused before anything else is asked.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        names = st.get_option("server.allowedHosts")
        self.named = TrustedHostMiddleware(self._inside, allowed_hosts=names, www_redirect=False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on what is asked of a name and by a page of ours; 400, 403 or 404 for the rest."""
        await self.named(scope, receive, send)

    async def _inside(self, scope: Scope, receive: Receive, send: Send) -> None:
        status = _refusal(scope) if scope["type"] in ("http", "websocket") else None
        if status is None:
            await self.app(scope, receive, send)
        else:
            await PlainTextResponse(_SENTENCES[status], status)(scope, receive, send)


_SENTENCES = {403: "Not from here.", 404: "There is nothing here."}


def _refusal(scope: Scope) -> int | None:
    headers = Headers(scope=scope)
    if scope["type"] == "websocket" and not _same_origin(headers):
        return 403
    if _FOR_NOBODY.search(scope["path"]):
        return 404
    if _FOR_THIS_MACHINE.search(scope["path"]) and not _from_this_machine(scope, headers):
        return 403
    return None


def _same_origin(headers: Headers) -> bool:
    """Whether a page of ours opens the WebSocket, or no page at all."""
    origin = headers.get("origin")
    return origin is None or urlsplit(origin).netloc == headers.get("host")


def _from_this_machine(scope: Scope, headers: Headers) -> bool:
    """Whether a program on this machine asks, and not a proxy for somebody else."""
    if any(name in headers for name in _OF_A_PROXY):
        return False
    host = urlsplit(f"//{headers.get('host', '')}").hostname or ""
    return all(_is_loopback(name) for name in ((scope.get("client") or ("",))[0], host))


def _is_loopback(name: str) -> bool:
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"


class SafetyHeaders:
    """ASGI middleware: every answer says what a browser may do with it.

    Scripts, requests and images come from this server alone, no other page shows this one in a
    frame, and a file is what its type says. Over https every cookie stays on https.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.headers = _headers(_page())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and add the headers to its answer."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(self.headers)
                if scope["scheme"] == "https":
                    message["headers"] = [_on_https(*one) for one in message["headers"]]
            await send(message)

        await self.app(scope, receive, send_with_headers)


def _on_https(name: bytes, value: bytes) -> tuple[bytes, bytes]:
    """A header; a cookie that would also be sent over http is one that is not."""
    if name.lower() == b"set-cookie" and b"; secure" not in value.lower():
        value += b"; Secure"
    return name, value


def _page() -> str:
    return (Path(st.__file__).parent / "static" / "index.html").read_text(encoding="utf-8")


def _headers(page: str) -> dict[str, str]:
    """The headers, for a page whose own inline scripts may run and no others."""
    scripts = " ".join(f"'sha256-{_digest(text)}'" for text in _INLINE_SCRIPT.findall(page))
    policy = {
        "default-src": "'self'",
        "script-src": f"'self' {scripts}".strip(),
        # Streamlit styles its widgets with inline styles; they fetch nothing.
        "style-src": "'self' 'unsafe-inline'",
        "img-src": "'self' data: blob:",
        "font-src": "'self' data:",
        "worker-src": "'self' blob:",
        "object-src": "'none'",
        "base-uri": "'self'",
        "form-action": "'self'",
        "frame-src": "'none'",
        "frame-ancestors": "'none'",
    }
    return {
        "Content-Security-Policy": "; ".join(" ".join(one) for one in policy.items()),
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
        "Referrer-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    }


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
