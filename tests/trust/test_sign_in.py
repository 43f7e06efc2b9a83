"""Sign-in with a real provider: who may not come in gets nothing of any document."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from itsdangerous import URLSafeTimedSerializer
from streamlit.proto.WidgetStates_pb2 import WidgetState

from tests.browser.conftest import serving
from tests.identity_provider import Provider, running_provider
from tests.sessions import XSRF, Browser, element, elements, fetch

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "pages").glob("[!_]*.py"))
# No marks in them, which the page would escape.
CANARY = "canary7d1f"
NAME, TEXT = f"{CANARY}name", f"{CANARY}text"
DOCUMENT = f"# 仓库\n\nThe password of the store room is {TEXT}. 仓库的口令是 {TEXT}。\n"
ALLOWED = "Ada@example.org *@example.com"
ADA = {"email": "ada@example.org", "name": "Ada 艾达"}
DAY_SECONDS = 24 * 60 * 60


@dataclass
class App:
    """The page behind a sign-in, the provider, and the library's folder."""

    url: str
    provider: Provider
    home: Path

    def person(self, **claims: Any) -> Browser:
        """Somebody of whom the provider says this, after they signed in."""
        self.provider.person = {**ADA, **claims}
        browser = Browser(self.url)
        browser.sign_in()
        return browser


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    folder = tmp_path_factory.mktemp("sign-in")
    home, document = folder / "library", folder / f"{NAME}.md"
    document.write_text(DOCUMENT, encoding="utf-8")
    command = [sys.executable, "-c", "from rag.cli import main; main()", "--home", str(home)]
    subprocess.run([*command, "add", str(document)], check=True, capture_output=True)
    (home / "settings.toml").write_text(
        f"[people]\nsign_in = true\nallowed = {ALLOWED.split()!r}\n", encoding="utf-8"
    )
    with running_provider() as provider:
        secrets = provider.write_secrets(folder / "secrets.toml")
        with serving(home, STREAMLIT_SECRETS_FILES=str(secrets)) as url:
            yield App(url, provider, home)


def knock_everywhere(
    browser: Browser, cookies: dict[str, str] | None = None, origin: str | None = ""
) -> bytes:
    """Ask for every page, by its address and alone by its hash; everything that came."""
    for page in PAGES:
        page_hash = hashlib.md5(str(page).encode()).hexdigest()
        with browser.connect(cookies, origin) as socket:
            browser.run(socket, page=page.stem)
            # What the session remembers must open nothing either.
            browser.run(socket, page_hash=page_hash)
        with browser.connect(cookies, origin) as socket:
            browser.run(socket, page_hash=page_hash)
    return bytes(browser.received)


def tampered(browser: Browser) -> dict[str, str]:
    """Another person's name in the signed cookie."""
    cookie = browser.cookies["_streamlit_user"]
    middle = cookie[8]
    changed = cookie[:8] + ("A" if middle != "A" else "B") + cookie[9:]
    return {**browser.cookies, "_streamlit_user": changed}


def signed_elsewhere(browser: Browser) -> dict[str, str]:
    """A cookie that says what the right one says, signed with another secret."""
    claims = {**ADA, "email_verified": True, "iat": int(time.time()), "is_logged_in": True}
    serializer = URLSafeTimedSerializer("another secret", salt="_streamlit_user")
    text = json.dumps({**claims, "origin": browser.url, "provider": "default"})
    return {**browser.cookies, "_streamlit_user": serializer.dumps(text)}


def ordinary(browser: Browser) -> dict[str, str]:
    """The cookies as the server gave them."""
    return browser.cookies


STRANGERS: dict[str, tuple[dict[str, Any], Callable[[Browser], dict[str, str]], str | None]] = {
    "a sign-in of yesterday": ({"iat": int(time.time()) - DAY_SECONDS - 60}, ordinary, ""),
    "another domain": ({"email": "ada@example.net"}, ordinary, ""),
    "a domain that begins alike": ({"email": "ada@example.com.evil.example"}, ordinary, ""),
    "somebody else of the domain": ({"email": "eve@example.org"}, ordinary, ""),
    "an unverified address": ({"email_verified": False}, ordinary, ""),
    "an address verified in words": ({"email_verified": "true"}, ordinary, ""),
    "no address": ({"email": None}, ordinary, ""),
    "a tampered cookie": ({}, tampered, ""),
    "a cookie signed elsewhere": ({}, signed_elsewhere, ""),
    "a good cookie without an origin": ({}, ordinary, None),
}


@pytest.mark.row(30)
def test_only_your_people_get_any_document_text(
    app: App, record_property: Callable[[str, object], None]
) -> None:
    leaks, tried = [], 0
    for name, (claims, cookies, origin) in STRANGERS.items():
        browser = app.person(**claims)
        assert "_streamlit_user" in browser.cookies, name
        received = knock_everywhere(browser, cookies(browser), origin)
        assert b"Sign in" in received, name
        tried += 1
        leaks += [name] if CANARY.encode() in received or b"chunks" in received else []
    for name, origin in {"not signed in": "", "a raw WebSocket": None}.items():
        received = knock_everywhere(Browser(app.url), origin=origin)
        assert b"Sign in" in received, name
        tried += 1
        leaks += [name] if CANARY.encode() in received or b"chunks" in received else []
    app.provider.forged = True
    assert "_streamlit_user" not in app.person().cookies
    app.provider.forged = False
    assert leaks == []

    ada = app.person()
    with ada.connect() as socket:
        assert NAME.encode() in as_bytes(ada, socket, page="library")
        question = WidgetState(id=element(ada.run(socket), "chat_input").id)
        question.chat_input_value.data = "What is the password of the store room?"
        ada.run(socket, question)
    assert TEXT.encode() in ada.received
    assert "Ada 艾达".encode() in ada.received
    record_property("strangers", tried + 1)
    record_property("who got document text", len(leaks))


def as_bytes(browser: Browser, socket: Any, **asked: str) -> bytes:
    before = len(browser.received)
    browser.run(socket, **asked)
    return bytes(browser.received[before:])


@pytest.mark.row(30)
def test_signing_out_and_leaving_the_allow_list_close_the_library(app: App) -> None:
    ada = app.person()
    with ada.connect() as socket:
        assert NAME.encode() in as_bytes(ada, socket, page="library")
        settings = app.home / "settings.toml"
        kept = settings.read_text(encoding="utf-8")
        settings.write_text(kept.replace("Ada@", "bob@"), encoding="utf-8")
        try:
            assert "ada@example.org may not use this library" in readable(
                as_bytes(ada, socket, page="library")
            )
        finally:
            settings.write_text(kept, encoding="utf-8")
    signed_in = ada.cookies
    assert fetch(f"{app.url}/auth/logout", ada.jar).status == 200
    assert "_streamlit_user" not in ada.cookies
    assert "_streamlit_user" in signed_in
    with ada.connect() as socket:
        assert CANARY.encode() not in as_bytes(ada, socket, page="library")


def readable(received: bytes) -> str:
    return received.decode("utf-8", "replace").replace("\u2060", "").replace("\\", "")


@pytest.mark.row(32)
def test_uploads_and_downloads_are_for_your_people_only(app: App) -> None:
    ada, eve = app.person(), app.person(email="eve@example.net")
    with ada.connect() as socket:
        question = WidgetState(id=element(ada.run(socket, page="inspection"), "chat_input").id)
        question.chat_input_value.data = "What is the password of the store room?"
        shown = ada.run(socket, question, page="inspection")
        downloads = [ada.download(socket, button) for button in elements(shown, "download_button")]
        for path in downloads:
            assert fetch(app.url + path).status == 403
            assert fetch(app.url + path, eve.jar).status == 403
            found = fetch(app.url + path, ada.jar)
            assert found.status == 200
            assert TEXT.encode() in found.body
            assert found.headers["Content-Disposition"].startswith("attachment")
            assert found.headers["X-Content-Type-Options"] == "nosniff"
        assert [Path(path).suffix for path in downloads] == [".json", ".html"]
    for person, status in ((eve, 403), (ada, 400)):
        request = urllib.request.Request(
            f"{app.url}/_stcore/upload_file/any/any",
            data=b"x",
            method="PUT",
            headers={"X-Xsrftoken": person.cookies[XSRF]},
        )
        # There is no such session, which only Ada is told.
        assert fetch(request, person.jar).status == status


@pytest.mark.row(30)
def test_half_a_sign_in_does_not_start(tmp_path: Path) -> None:
    environment = {**os.environ, "RAG_PEOPLE_SIGN_IN": "true", "RAG_PEOPLE_ALLOWED": ALLOWED}
    secrets = tmp_path / "secrets.toml"
    secrets.write_text('[auth]\ncookie_secret = "s3cret"\n')
    found = subprocess.run(
        [sys.executable, "-c", "from rag.cli import main; main()", "serve"],
        env={**environment, "STREAMLIT_SECRETS_FILES": str(secrets), "RAG_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert found.returncode == 1
    assert "lacks redirect_uri" in found.stderr
    assert "s3cret" not in found.stderr
