"""Who asks: a lasting random cookie for every browser, as there is no sign-in."""

from __future__ import annotations

import hashlib
import re
import secrets
from typing import TypeGuard

import streamlit as st
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

COOKIE = "ranklens_visitor"
_VALUE = re.compile(r"[\w-]{32}", re.ASCII)
_ONE_YEAR_SECONDS = 365 * 24 * 60 * 60


class VisitorCookie:
    """ASGI middleware: a browser that asks for the page without a cookie is given one."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and add `Set-Cookie` to the answer where it is missing."""
        if not _asks_for_page(scope) or _is_ours(HTTPConnection(scope).cookies.get(COOKIE)):
            await self.app(scope, receive, send)
            return

        async def send_with_cookie(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.append("Set-Cookie", _new_cookie(secure=scope["scheme"] == "https"))
                # A shared cache would hand the cookie of one person to the next.
                headers["Cache-Control"] = "no-store"
            await send(message)

        await self.app(scope, receive, send_with_cookie)


def _asks_for_page(scope: Scope) -> bool:
    """Whether a person opens an address, as against what the page fetches by itself."""
    return scope["type"] == "http" and "text/html" in Headers(scope=scope).get("accept", "")


def _is_ours(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and _VALUE.fullmatch(value) is not None


def _new_cookie(secure: bool) -> str:
    return (
        f"{COOKIE}={secrets.token_urlsafe(24)}; Path=/; HttpOnly; SameSite=Lax; "
        f"Max-Age={_ONE_YEAR_SECONDS}" + ("; Secure" if secure else "")
    )


def visitor() -> str:
    """Who looks at the page: 16 hexadecimal digits, the same at every visit.

    They are a hash of the person who signed in, else of the browser's cookie.
    Without either they are random and last as long as the session.
    """
    user = st.user.to_dict()
    issuer, subject = user.get("iss"), user.get("sub")
    if user.get("is_logged_in") and issuer and subject:
        return _digest(f"{issuer} {subject}")
    value = st.context.cookies.get(COOKIE)
    if _is_ours(value):
        return _digest(value)
    if "visitor" not in st.session_state:
        st.session_state["visitor"] = secrets.token_hex(8)
    return str(st.session_state["visitor"])


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
