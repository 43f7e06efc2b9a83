"""Who may come in: the allow-list, half a configuration, and the guard before every page."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import streamlit as st
from click.testing import CliRunner
from itsdangerous import URLSafeTimedSerializer
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient
from streamlit.testing.v1 import AppTest

import pages._people as guard
import rag.opening
from rag import serving, sign_in
from rag.cli import main
from rag.errors import MissingDependency, SettingsError
from rag.people import refusal
from rag.settings import PeopleSettings, Settings, load_settings

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "pages").glob("[!_]*.py"))
NOW = 1_800_000_000.0
PEOPLE = PeopleSettings(sign_in=True, allowed=("ada@example.org", "*@x.example"))
ADA = {"is_logged_in": True, "email": "ada@example.org", "email_verified": True, "iat": NOW - 60}
AUTH = {
    "redirect_uri": "https://rag.example.org/oauth2callback",
    "cookie_secret": "q7Zb2mT9xKf4LwNc8vRh3sYd6pGj1aUe",
    "client_id": "ranklens",
    "client_secret": "client-canary",
    "server_metadata_url": "https://id.example.org/.well-known/openid-configuration",
}


# --- the rule ------------------------------------------------------------------------------


@pytest.mark.parametrize("email", ["ada@example.org", "ADA@Example.ORG", "anybody@x.example"])
def test_who_is_on_the_allow_list_comes_in(email: str) -> None:
    assert refusal({**ADA, "email": email}, PEOPLE, NOW) is None


@pytest.mark.parametrize(
    ("claims", "why"),
    [
        ({"is_logged_in": False}, "Sign in to use"),
        ({"is_logged_in": None}, "Sign in to use"),
        ({"iat": NOW - 24 * 3600}, "has ended"),
        ({"iat": NOW + 3600}, "has ended"),
        ({"iat": None}, "has ended"),
        ({"iat": "now"}, "has ended"),
        ({"iat": float("nan")}, "has ended"),
        ({"email_verified": False}, "does not vouch"),
        ({"email_verified": "true"}, "does not vouch"),
        ({"email_verified": 1}, "does not vouch"),
        ({"email": None}, "does not vouch"),
        ({"email": ["ada@example.org"]}, "does not vouch"),
        ({"email": "eve@example.org"}, "may not use"),
        ({"email": "eve@example.com"}, "may not use"),
        ({"email": "ada@example.org.evil.example"}, "may not use"),
        ({"email": "eve@evil.example@x.example"}, "may not use"),
        ({"email": "eve@sub.x.example"}, "may not use"),
        ({"email": "@x.example"}, "may not use"),
        ({"email": "x.example"}, "may not use"),
        ({"email": ""}, "may not use"),
        ({"email": "\u0430da@example.org"}, "may not use"),
        ({"email": "*@example.org"}, "may not use"),
        ({"email": "艾达@x.example"}, "may not use"),
    ],
)
def test_nobody_else_comes_in(claims: dict[str, Any], why: str) -> None:
    refused = refusal({**ADA, **claims}, PEOPLE, NOW)
    assert refused is not None
    assert why in refused.message


def test_without_a_sign_in_everybody_comes_in() -> None:
    assert refusal({}, PeopleSettings(), NOW) is None


@pytest.mark.parametrize(
    "allowed",
    ["*", "*@*", "example.org", "@example.org", "a*@example.org", "*@org", "a b@", "艾@x.org"],
)
def test_a_malformed_pattern_is_refused(allowed: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"people\.allowed"):
        load_settings(tmp_path, environment={"RAG_PEOPLE_ALLOWED": allowed})


def test_the_environment_lists_people_with_commas_or_spaces(tmp_path: Path) -> None:
    environment = {"RAG_PEOPLE_ALLOWED": "ada@example.org, *@x.example  bob@y.example"}
    people = load_settings(tmp_path, environment=environment).people
    assert people.allowed == ("ada@example.org", "*@x.example", "bob@y.example")


# --- half a configuration ------------------------------------------------------------------


def settings_with(home: Path, **people: Any) -> Settings:
    return load_settings(home).model_copy(update={"people": PeopleSettings(**people)})


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        *(({name: None}, f"lacks {name}") for name in AUTH),
        ({"client_secret": "  "}, "lacks client_secret"),
        ({"cookie_secret": "xxx"}, "could be guessed"),
        ({"cookie_secret": "x" * 40}, "could be guessed"),
        ({"redirect_uri": "http://rag.example.org/oauth2callback"}, "not an https address"),
        ({"redirect_uri": "https://rag.example.org/"}, "does not end in /oauth2callback"),
        ({"server_metadata_url": "http://id.example.org/"}, "not an https address"),
    ],
)
def test_half_a_configuration_is_refused(
    changed: dict[str, Any], sentence: str, tmp_path: Path
) -> None:
    with pytest.raises(SettingsError) as refused:
        sign_in.check(
            settings_with(tmp_path, sign_in=True, allowed=["*@x.example"]), AUTH | changed
        )
    assert sentence in refused.value.message
    assert refused.value.hint
    assert not any(AUTH[name] in str(refused.value) for name in ("cookie_secret", "client_secret"))


def test_a_whole_configuration_is_taken(tmp_path: Path) -> None:
    settings = settings_with(tmp_path, sign_in=True, allowed=["*@x.example"])
    sign_in.check(settings, AUTH)
    sign_in.check(settings, AUTH | {"redirect_uri": "http://localhost:{port}/oauth2callback"})
    sign_in.check(settings_with(tmp_path), {})


def test_an_empty_allow_list_and_a_missing_authlib_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SettingsError, match="nobody is allowed"):
        sign_in.check(settings_with(tmp_path, sign_in=True), AUTH)
    monkeypatch.setattr(sign_in.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingDependency) as refused:
        sign_in.check(settings_with(tmp_path, sign_in=True, allowed=["*@x.example"]), AUTH)
    assert "ranklens[people]" in refused.value.hint


def test_secrets_are_read_as_streamlit_reads_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, absent = (tmp_path / name for name in ("1.toml", "2.toml", "3.toml"))
    first.write_text('[auth]\nclient_id = "one"\n[other]\nx = 1\n')
    second.write_text('[auth]\nclient_id = "two"\n')
    assert sign_in.auth_section([first, second, absent])["client_id"] == "two"
    assert sign_in.auth_section([second, first])["client_id"] == "one"
    assert sign_in.auth_section([absent]) == {}
    for broken in ('[auth\nclient_secret = "canary"', 'auth = "canary"'):
        first.write_text(broken)
        with pytest.raises(SettingsError) as refused:
            sign_in.auth_section([first])
        assert "canary" not in str(refused.value)
    monkeypatch.setenv("STREAMLIT_SECRETS_FILES", f"{first} {second}")
    assert sign_in.secrets_files(tmp_path) == [first, second]


def test_rag_serve_does_not_start_half_configured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving.os, "execv", lambda *_: pytest.fail("it started"))
    monkeypatch.setenv("STREAMLIT_SECRETS_FILES", str(tmp_path / "none.toml"))
    monkeypatch.setenv("RAG_PEOPLE_SIGN_IN", "true")
    monkeypatch.setenv("RAG_PEOPLE_ALLOWED", "*@x.example")
    found = CliRunner().invoke(main, ["--home", str(tmp_path), "serve"])
    assert found.exit_code == 1
    assert "lacks redirect_uri, cookie_secret" in found.stderr


# --- the pages -----------------------------------------------------------------------------


@pytest.fixture
def signed_in_as(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., None]:
    """Lets the page be looked at by somebody, where only Ada may; the library must stay shut."""
    monkeypatch.setenv("RAG_HOME", str(tmp_path))
    monkeypatch.setenv("RAG_PEOPLE_SIGN_IN", "true")
    monkeypatch.setenv("RAG_PEOPLE_ALLOWED", "ada@example.org")

    def opened(*_: object) -> None:
        raise AssertionError("the library was opened")

    monkeypatch.setattr(rag.opening, "open_library", opened)
    monkeypatch.setattr(rag.opening, "open_pipeline", opened)

    def sign_in_as(**claims: Any) -> None:
        monkeypatch.setattr(type(st.user), "to_dict", lambda self: claims)

    return sign_in_as


@pytest.mark.parametrize("page", [ROOT / "app.py", *PAGES], ids=lambda page: page.stem)
def test_every_page_stands_behind_the_guard(page: Path, signed_in_as: Callable[..., None]) -> None:
    signed_in_as(**{**ADA, "email": "eve@example.org", "iat": time.time()})
    found = AppTest.from_file(str(page), default_timeout=30)
    # As if an earlier run had let somebody in.
    found.session_state["framed"] = True
    found.run()
    assert not found.exception
    assert [one.label for one in found.button] == ["Sign out", "Sign in"]
    assert "may not use this library" in found.markdown[0].value
    assert len(found.main) == 4


def test_who_did_not_sign_in_sees_a_button_and_nothing_else(
    signed_in_as: Callable[..., None],
) -> None:
    signed_in_as()
    found = AppTest.from_file(str(ROOT / "app.py"), default_timeout=30).run()
    assert [one.label for one in found.button] == ["Sign in"]
    assert "Sign in to use this library" in found.markdown[0].value
    assert "not configured" in found.button[0].click().run().error[0].value


def test_a_broken_settings_file_opens_nothing(
    signed_in_as: Callable[..., None], tmp_path: Path
) -> None:
    (tmp_path / "settings.toml").write_text("[people\n")
    signed_in_as(**ADA)
    found = AppTest.from_file(str(ROOT / "app.py"), default_timeout=30).run()
    assert "cannot be read" in found.error[0].value
    assert [button.label for button in found.button] == ["Read it again"]
    assert len(found.main) == 3


def test_outside_of_a_run_of_the_page_nobody_is_let_in(signed_in_as: Callable[..., None]) -> None:
    signed_in_as()
    with pytest.raises(PermissionError):
        guard.ensure_may_come_in()


# --- files ---------------------------------------------------------------------------------


def test_files_are_for_who_may_come_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    origin, secret = "https://rag.example.org", AUTH["cookie_secret"]
    monkeypatch.setenv("RAG_HOME", str(tmp_path))
    monkeypatch.setenv("RAG_PEOPLE_ALLOWED", "ada@example.org")
    monkeypatch.setattr(guard, "get_cookie_secret", lambda: secret)
    monkeypatch.setattr(guard, "get_origin_from_redirect_uri", lambda: origin)
    monkeypatch.setattr("time.time", lambda: NOW)
    client = TestClient(
        Starlette(
            routes=[Route("/{path:path}", lambda _: PlainTextResponse("a file"))],
            middleware=[Middleware(guard.FilesOfPeople)],
        )
    )

    def status(path: str = "/media/1", cookie: str = "", **claims: Any) -> int:
        if claims:
            text = json.dumps({**ADA, "origin": origin, **claims})
            cookie = str(URLSafeTimedSerializer(secret, salt="_streamlit_user").dumps(text))
        client.cookies.clear()
        client.cookies.set("_streamlit_user", cookie)
        return client.get(path).status_code

    assert status() == 200, "nobody has to sign in"
    monkeypatch.setenv("RAG_PEOPLE_SIGN_IN", "true")
    assert status(name="Ada") == 200
    assert status("/base/_stcore/upload_file/1/2", name="Ada") == 200
    for path in ("/media/1", "/base/media/1", "/_stcore/upload_file/1/2"):
        assert status(path) == 403
        assert status(path, cookie="broken") == 403
        assert status(path, email="eve@example.org") == 403
        assert status(path, origin="https://other.example") == 403
    assert status("/_stcore/health") == 200
    (tmp_path / "settings.toml").write_text("[people\n")
    assert status(name="Ada") == 403
