"""Who looks at the page, and whether they may: the one guard before everything of the library."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import streamlit as st
from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from streamlit.auth_util import get_cookie_with_chunks, get_origin_from_redirect_uri
from streamlit.errors import StreamlitAuthError
from streamlit.web.server.server_util import get_cookie_secret
from streamlit.web.server.starlette.starlette_app_utils import decode_signed_value
from streamlit.web.server.starlette.starlette_server_config import USER_COOKIE_NAME

from pages._markdown import plain
from rag.errors import RAGError
from rag.people import refusal
from rag.settings import load_settings
from rag.types import Notice

# What a browser fetches beside the page: uploads on their way in, downloads on their way out.
_FILES = re.compile(r"/(?:_stcore/upload_file|media)/")


def may_come_in() -> bool:
    """Whether the person who looks at the page may see the library."""
    return refusal(st.user.to_dict(), load_settings().people) is None


def ensure_may_come_in() -> None:
    """End the run here, with a way to sign in, for somebody who may not see the library."""
    if not may_come_in():
        show_sign_in()
        st.stop()
        # Outside of a run of the page there is nothing that Streamlit could end.
        raise PermissionError("Nobody is signed in here.")


def show_sign_in() -> None:
    """Why the person may not come in, and the button that changes it."""
    claims = st.user.to_dict()
    notice = refusal(claims, load_settings().people)
    if notice is None:
        return
    st.title("RankLens")
    st.markdown(plain(str(notice)))
    if claims.get("is_logged_in") and st.button("Sign out"):
        st.logout()
    if st.button("Sign in", type="primary"):
        try:
            st.login()
        except StreamlitAuthError:
            st.error(
                "Nobody can sign in: the sign-in service is not configured. "
                "The person who runs RankLens finds what is missing by starting it again."
            )


def show_person() -> None:
    """In the sidebar, who signed in, and the way out."""
    if not load_settings().people.sign_in:
        return
    claims = st.user.to_dict()
    with st.sidebar:
        st.caption(plain(str(claims.get("name") or claims.get("email"))))
        if st.button("Sign out", icon=":material/logout:"):
            st.logout()


class FilesOfPeople:
    """ASGI middleware: who may not come in neither uploads nor downloads a file."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 403 to a file's address, unless the request's sign-in may come in."""
        if scope["type"] == "http" and _FILES.search(scope["path"]):
            refused = _refused(scope)
            if refused is not None:
                await PlainTextResponse(str(refused), 403)(scope, receive, send)
                return
        await self.app(scope, receive, send)


def _refused(scope: Scope) -> Notice | None:
    try:
        people = load_settings().people
    except RAGError as error:
        return error.notice
    return refusal(_claims(HTTPConnection(scope).cookies), people) if people.sign_in else None


def _claims(cookies: Mapping[str, str]) -> dict[str, Any]:
    """What the signed cookie of Streamlit says of a person; empty for a cookie that is not."""

    def signed(name: str) -> bytes | None:
        value = cookies.get(name, "").encode("latin-1", "replace")
        return decode_signed_value(get_cookie_secret(), name, value)

    text = get_cookie_with_chunks(signed, USER_COOKIE_NAME)
    try:
        claims = json.loads(text or b"{}")
    except ValueError:
        return {}
    # A cookie of another page that shares the secret is not one of this page.
    ours = isinstance(claims, dict) and claims.get("origin") == get_origin_from_redirect_uri()
    return claims if ours else {}
