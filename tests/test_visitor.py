"""Who asks: the cookie that the server gives a browser, and what the pages make of it."""

from __future__ import annotations

import asyncio
import re
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any

import pytest
import streamlit as st
from starlette.types import Message, Receive, Scope, Send
from streamlit.testing.v1 import AppTest

from pages._visitor import COOKIE, VisitorCookie, visitor
from tests.browser.conftest import serving

KEPT = "A" * 30 + "-_"
PAGE = "text/html,application/xhtml+xml,*/*;q=0.8"


async def page(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers any request as the page does."""
    headers = [(b"content-type", b"text/html"), (b"cache-control", b"no-cache")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"<!doctype html>"})


def sent(*, kind: str = "http", scheme: str = "http", **headers: str) -> list[Message]:
    """What the middleware sends around `page`."""
    scope = {
        "type": kind,
        "scheme": scheme,
        "path": "/",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
    }
    messages: list[Message] = []

    async def send(message: Message) -> None:
        messages.append(message)

    async def receive() -> Message:
        raise AssertionError("the page reads no body")

    # In a thread: where browser tests ran before, this one has a loop that runs.
    with ThreadPoolExecutor(max_workers=1) as thread:
        thread.submit(asyncio.run, VisitorCookie(page)(scope, receive, send)).result()
    return messages


def headers(messages: list[Message]) -> dict[str, str]:
    found = [(name.decode(), value.decode()) for name, value in messages[0]["headers"]]
    assert len(dict(found)) == len(found), "a header came twice"
    return dict(found)


def test_a_browser_without_a_cookie_is_given_one() -> None:
    messages = sent(accept=PAGE)
    text = headers(messages)["set-cookie"]
    assert re.fullmatch(
        rf"{COOKIE}=[\w-]{{32}}; Path=/; HttpOnly; SameSite=Lax; Max-Age=31536000", text
    )
    assert messages[1]["body"] == b"<!doctype html>"


def test_what_is_given_is_accepted_and_not_given_again() -> None:
    given = headers(sent(accept=PAGE))["set-cookie"].split(";")[0]
    again = headers(sent(accept=PAGE, cookie=f"other=1; {given}; _streamlit_xsrf=2|a"))
    assert again == {"content-type": "text/html", "cache-control": "no-cache"}


def test_no_two_browsers_are_given_the_same() -> None:
    assert len({headers(sent(accept=PAGE))["set-cookie"] for _ in range(50)}) == 50


@pytest.mark.parametrize(
    "value", ["", "short", KEPT + "A", KEPT[:-1] + "!", KEPT[:-1] + "é", KEPT[:-1] + "²", '"x"']
)
def test_a_malformed_cookie_is_replaced(value: str) -> None:
    assert "set-cookie" in headers(sent(accept=PAGE, cookie=f"{COOKIE}={value}"))


def test_over_https_the_cookie_stays_on_https() -> None:
    assert headers(sent(accept=PAGE, scheme="https"))["set-cookie"].endswith("; Secure")


def test_no_shared_cache_keeps_a_page_that_carries_a_cookie() -> None:
    assert headers(sent(accept=PAGE))["cache-control"] == "no-store"


@pytest.mark.parametrize("accept", ["*/*", "application/json", "text/css,*/*;q=0.1", "image/*"])
def test_what_the_page_fetches_by_itself_sets_nothing(accept: str) -> None:
    assert "set-cookie" not in headers(sent(accept=accept))


@pytest.mark.parametrize("kind", ["websocket", "lifespan"])
def test_all_but_http_passes_untouched(kind: str) -> None:
    assert "set-cookie" not in headers(sent(kind=kind, accept=PAGE))


# --- the pages -----------------------------------------------------------------------------


def seen(monkeypatch: pytest.MonkeyPatch, cookie: str | None = None, **user: str | bool) -> str:
    """What `visitor` gives to a session with this cookie and this person."""
    cookies = {} if cookie is None else {COOKIE: cookie}
    with monkeypatch.context() as patch:
        patch.setattr(type(st.context), "cookies", cookies)
        patch.setattr(type(st.user), "to_dict", lambda self: user)
        patch.setattr(st, "session_state", {})
        return visitor()


def test_the_same_browser_is_the_same_visitor(monkeypatch: pytest.MonkeyPatch) -> None:
    first = seen(monkeypatch, KEPT)
    assert first == seen(monkeypatch, KEPT)
    assert first != seen(monkeypatch, KEPT[::-1])
    assert re.fullmatch("[0-9a-f]{16}", first)


@pytest.mark.parametrize("cookie", [None, "", "1"])
def test_sessions_without_a_cookie_of_ours_share_nothing(
    cookie: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert seen(monkeypatch, cookie) != seen(monkeypatch, cookie)


def test_a_person_who_signed_in_is_the_same_in_every_browser(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    person: dict[str, Any] = {"is_logged_in": True, "iss": "https://id.example", "sub": "1"}
    first = seen(monkeypatch, KEPT, **person)
    assert first == seen(monkeypatch, None, **person)
    assert first != seen(monkeypatch, KEPT, **person | {"sub": "2"})
    assert first != seen(monkeypatch, KEPT, **person | {"iss": "https://other.example"})
    assert seen(monkeypatch, KEPT, **person | {"is_logged_in": False}) == seen(monkeypatch, KEPT)
    assert seen(monkeypatch, KEPT, is_logged_in=True) == seen(monkeypatch, KEPT)


def test_a_session_without_a_server_keeps_its_visitor() -> None:
    def script() -> None:
        import streamlit as st

        from pages._visitor import visitor

        st.text(visitor())

    first, other = (AppTest.from_function(script).run() for _ in range(2))
    name = first.text[0].value
    assert re.fullmatch("[0-9a-f]{16}", name)
    assert first.run().text[0].value == name
    assert other.text[0].value != name


# --- the real server -----------------------------------------------------------------------


def fetch(url: str, **headers: str) -> tuple[str, list[str]]:
    request = urllib.request.Request(url, headers=headers)
    with urllib.request.urlopen(request, timeout=30) as response:
        return response.read().decode(), response.headers.get_all("Set-Cookie") or []


def test_rag_serve_gives_the_page_a_cookie_and_nothing_else(tmp_path: Path) -> None:
    home = tmp_path / "library"
    with serving(home) as url:
        page, given = fetch(url, Accept=PAGE)
        (cookie,) = (SimpleCookie(text)[COOKIE] for text in given)
        assert "<title>" in page
        assert (cookie["path"], cookie["samesite"], cookie["max-age"]) == ("/", "Lax", "31536000")
        assert cookie["httponly"]
        assert not cookie["secure"]
        assert fetch(f"{url}/library", Accept=PAGE)[1]
        assert not fetch(url, Accept=PAGE, Cookie=f"{COOKIE}={cookie.value}")[1]
        health, others = fetch(f"{url}/_stcore/health", Accept="*/*")
        assert health == "ok"
        assert not any(COOKIE in text for text in others)
    assert cookie.value not in (home / "server.log").read_text()
