"""What the server answers, to whom, and with which headers; and the settings it runs with."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from http.client import HTTPConnection
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocket, WebSocketDisconnect
from streamlit.proto.BackMsg_pb2 import BackMsg
from websockets.exceptions import InvalidStatus

import pages._headers as headers
from pages._headers import Closed, SafetyHeaders
from pages._messages import OnlyThePage
from rag import serving
from rag.errors import SettingsError
from rag.settings import load_settings
from tests.browser.conftest import serving as running_server
from tests.sessions import XSRF, Browser

ROOT = Path(__file__).parents[1]
STREAM = "ws://localhost/_stcore/stream"
POLICY = {
    "default-src 'self'",
    "style-src 'self' 'unsafe-inline'",
    "img-src 'self' data: blob:",
    "font-src 'self' data:",
    "worker-src 'self' blob:",
    "object-src 'none'",
    "base-uri 'self'",
    "form-action 'self'",
    "frame-src 'none'",
    "frame-ancestors 'none'",
}
# The settings to ship, whatever a file in somebody's home folder says.
SHIPPED = {
    "server.address": "127.0.0.1",
    "server.headless": True,
    "server.allowedHosts": ["localhost", "127.0.0.1"],
    "server.enableXsrfProtection": True,
    "server.xsrfCookieSameSite": "lax",
    "server.enableCORS": True,
    "server.corsAllowedOrigins": [],
    "server.trustedUserHeaders": {},
    "server.scriptHealthCheckEnabled": False,
    "server.enableStaticServing": False,
    "server.enableAgentApi": False,
    "server.fileWatcherType": "none",
    "server.maxUploadSize": 48,
    "server.maxMessageSize": 50,
    "browser.gatherUsageStats": False,
    "client.allowedOrigins": [],
    "client.toolbarMode": "viewer",
    "client.showErrorDetails": "none",
    "global.developmentMode": False,
}
# Every address the server has, and what guards it. A new one needs a line here, and a guard.
ROUTES = {
    "/_stcore/health": "says ok and gives the token against forged requests",
    "/_stcore/metrics": "answers this machine only",
    "/_stcore/host-config": "constants; no foreign origin is named in them",
    "/media/{file_id:path}": "needs the sign-in; ids cannot be guessed",
    "/_stcore/upload_file/{session_id}/{file_id}": "needs the sign-in and the token; has a limit",
    "/component/{path:path}": "no component is registered",
    "/_stcore/bidi-components/{path:path}": "only components that come with Streamlit",
    "/_stcore/stream": "own origin only; the script behind it has the guard",
    "/auth/login": "leads to the sign-in service",
    "/auth/logout": "ends the sign-in",
    "/oauth2callback": "checked against the state in a signed cookie",
    "/_stcore/agent/interact": "404",
    "/_stcore/agent/openapi.json": "404",
    "/_stcore/agent/mcp": "404",
    "": "Streamlit's own files, the same for everybody",
}
# Runs `rag serve` up to the moment at which Streamlit would begin to serve.
WITHOUT_SERVING = """
import json, os, sys
from pathlib import Path
from rag import serving
from rag.errors import SettingsError
from rag.settings import load_settings

def instead(path, arguments):
    from streamlit import config
    from streamlit.web import bootstrap, cli

    def show(*_):
        sys.path.insert(0, os.getcwd())
        from app import app
        routes = [(r.path, sorted(getattr(r, "methods", None) or ())) for r in
                  app._build_starlette_app().routes]
        print(json.dumps({"routes": routes, "options": {
            name: config.get_option(name) for name in json.loads(os.environ["ASKED"])}}))

    bootstrap.run_asgi_app = show
    sys.argv = arguments[2:]
    cli.main()

os.execv = instead
serving.serve(load_settings(), 8501, "127.0.0.1")
"""


# --- the settings, as the server has them --------------------------------------------------


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The options and routes of `rag serve`, for somebody whose own Streamlit is wide open."""
    home = tmp_path_factory.mktemp("person")
    (home / ".streamlit").mkdir()
    (home / ".streamlit" / "config.toml").write_text(
        "[server]\naddress = '0.0.0.0'\nallowedHosts = []\nenableXsrfProtection = false\n"
        "enableCORS = false\ncorsAllowedOrigins = ['http://evil.example']\n"
        "scriptHealthCheckEnabled = true\nenableStaticServing = true\nenableAgentApi = true\n"
        "maxUploadSize = 9000\nxsrfCookieSameSite = 'none'\n"
        "[server.trustedUserHeaders]\nX-User = 'email'\n"
        "[client]\nshowErrorDetails = 'full'\nallowedOrigins = ['http://evil.example']\n"
        "[browser]\ngatherUsageStats = true\n"
    )
    keep = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("RAG_", "STREAMLIT_"))
    }
    found = subprocess.run(
        [sys.executable, "-c", WITHOUT_SERVING],
        env={
            **keep,
            "HOME": str(home),
            "RAG_HOME": str(home / "library"),
            "RAG_CACHE": str(home / "cache"),
            "ASKED": json.dumps(list(SHIPPED)),
        },
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert found.returncode == 0, found.stderr
    return json.loads(found.stdout.splitlines()[-1])


def test_the_settings_that_matter_are_safe_whatever_stands_in_a_home_folder(
    served: dict[str, Any],
) -> None:
    assert served["options"] == SHIPPED


def test_every_route_is_known_and_guarded(served: dict[str, Any]) -> None:
    assert {path for path, _ in served["routes"]} == set(ROUTES)


# --- how it is started ---------------------------------------------------------------------


def started(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *named: str, address: str = "127.0.0.1"
) -> list[str]:
    """The arguments that Streamlit is started with."""
    found: list[str] = []
    monkeypatch.setattr(serving.os, "execv", lambda _, arguments: found.extend(arguments))
    monkeypatch.setattr(serving.os, "chdir", lambda _: None)
    monkeypatch.setenv("RAG_HOME", str(tmp_path))
    serving.serve(load_settings(tmp_path), 8501, address, named)
    return found


def allowed_hosts(arguments: list[str]) -> list[str]:
    return [value for name, value in pairwise(arguments) if name == "--server.allowedHosts"]


def test_threads_of_the_server_keep_no_memory_of_their_own_unless_it_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("MKL_DISABLE_FAST_MM", raising=False)
    monkeypatch.setenv("MALLOC_ARENA_MAX", "7")
    started(monkeypatch, tmp_path)
    assert (os.environ["MKL_DISABLE_FAST_MM"], os.environ["MALLOC_ARENA_MAX"]) == ("1", "7")


def test_uploads_end_where_reading_does(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RAG_READING_FILE_BYTES", str(7 * 1024 * 1024 + 1))
    arguments = started(monkeypatch, tmp_path)
    assert arguments[arguments.index("--server.maxUploadSize") + 1] == "8"


def test_host_names_are_those_of_this_machine_and_those_that_were_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    own = ["localhost", "127.0.0.1"]
    assert allowed_hosts(started(monkeypatch, tmp_path)) == []
    named = started(monkeypatch, tmp_path, "rag.example.org", address="0.0.0.0")
    assert allowed_hosts(named) == [*own, "rag.example.org"]
    assert allowed_hosts(started(monkeypatch, tmp_path, address="192.0.2.7")) == [*own, "192.0.2.7"]


@pytest.mark.parametrize("name", ["https://rag.example.org", "rag*.example.org", "*", "a b", ""])
def test_what_is_no_host_name_is_refused(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(SettingsError, match="is not a host name"):
        started(monkeypatch, tmp_path, name)


@pytest.mark.parametrize(
    ("address", "names", "sign_in", "told"),
    [
        ("127.0.0.1", (), "", 0),
        ("localhost", (), "", 0),
        ("::1", (), "", 0),
        ("0.0.0.0", (), "", 2),
        ("0.0.0.0", ("rag.example.org",), "", 1),
        ("192.0.2.7", (), "", 1),
        ("0.0.0.0", (), "true", 0),
    ],
)
def test_serving_others_without_a_sign_in_is_told(
    address: str, names: tuple[str, ...], sign_in: str, told: int, tmp_path: Path
) -> None:
    settings = load_settings(tmp_path, environment={"RAG_PEOPLE_SIGN_IN": sign_in})
    cautions = list(serving.cautions(settings, address, names))
    assert len(cautions) == told
    assert all(caution.hint for caution in cautions)


# --- the middleware ------------------------------------------------------------------------


async def page(_: Request) -> PlainTextResponse:
    response = PlainTextResponse("page")
    response.set_cookie("a", "1")
    response.set_cookie("b", "2", secure=True)
    return response


async def stream(websocket: WebSocket) -> None:
    await websocket.accept()
    with suppress(WebSocketDisconnect):
        while True:
            await websocket.send_bytes(await websocket.receive_bytes())


def client(
    monkeypatch: pytest.MonkeyPatch, address: str = "127.0.0.1", **options: Any
) -> TestClient:
    monkeypatch.setattr(headers.st, "get_option", lambda _: ["localhost", "*.example.org"])
    app = Starlette(
        routes=[WebSocketRoute("/_stcore/stream", stream), Route("/{path:path}", page)],
        middleware=[Middleware(one) for one in (SafetyHeaders, Closed, OnlyThePage)],
    )
    return TestClient(app, "http://localhost", client=(address, 1), **options)


def test_every_answer_has_the_headers(monkeypatch: pytest.MonkeyPatch) -> None:
    here = client(monkeypatch)
    for answer in (here.get("/"), here.get("/", headers={"Host": "evil.example"})):
        policy = set(answer.headers["Content-Security-Policy"].split("; "))
        (scripts,) = policy - POLICY
        assert policy >= POLICY
        assert re.fullmatch(r"script-src 'self'( 'sha256-[\w+/=]+')*", scripts)
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["X-Frame-Options"] == "DENY"
        assert answer.headers["Referrer-Policy"] == "same-origin"
        assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert "camera=()" in answer.headers["Permissions-Policy"]


def test_the_inline_scripts_of_the_page_are_allowed_by_what_they_are() -> None:
    found = headers._headers("<script>\n one</script><script src='x'></script><script>2</script>")
    assert found["Content-Security-Policy"].count("'sha256-") == 2
    assert "unsafe-inline" not in found["Content-Security-Policy"].split("style-src")[0]


def test_over_https_no_cookie_is_sent_over_http(monkeypatch: pytest.MonkeyPatch) -> None:
    here = client(monkeypatch)
    plain, safe = here.get("/"), here.get("https://localhost/")
    assert sum("; Secure" in one for one in plain.headers.get_list("Set-Cookie")) == 1
    cookies = safe.headers.get_list("Set-Cookie")
    assert [one.count("ecure") for one in cookies] == [1, 1]


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("localhost:8501", 200),
        ("rag.example.org", 200),
        ("RAG.Example.ORG:443", 200),
        ("evil.example", 400),
        ("localhost.evil.example", 400),
        ("example.org.evil.example:8501", 400),
        ("127.0.0.2", 400),
        ("localhost@evil.example", 400),
    ],
)
def test_only_names_of_ours_are_answered(
    host: str, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert client(monkeypatch).get("/", headers={"Host": host}).status_code == status


@pytest.mark.parametrize(
    "origin",
    ["http://evil.example", "http://localhost:9999", "http://localhost.evil.example", "null", ""],
)
def test_no_page_of_another_origin_opens_the_socket(
    origin: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = client(monkeypatch)
    with here.websocket_connect(STREAM, headers={"Origin": "http://localhost"}):
        pass
    with (
        pytest.raises(WebSocketDisconnect),
        here.websocket_connect(STREAM, headers={"Origin": origin}),
    ):
        pytest.fail("it opened")


@pytest.mark.parametrize(
    ("path", "address", "sent", "status"),
    [
        ("/_stcore/metrics", "127.0.0.1", {}, 200),
        ("/_stcore/metrics", "::1", {}, 200),
        ("/_stcore/metrics", "192.0.2.7", {}, 403),
        ("/base/_stcore/metrics", "192.0.2.7", {}, 403),
        ("/_stcore/script-health-check", "192.0.2.7", {}, 403),
        ("/_stcore/metrics", "127.0.0.1", {"X-Forwarded-For": "127.0.0.1"}, 403),
        ("/_stcore/metrics", "127.0.0.1", {"Forwarded": "for=127.0.0.1"}, 403),
        ("/_stcore/metrics", "127.0.0.1", {"X-Real-IP": "127.0.0.1"}, 403),
        ("/_stcore/metrics", "127.0.0.1", {"Host": "rag.example.org"}, 403),
        ("/_stcore/agent/mcp", "127.0.0.1", {}, 404),
        ("/_stcore/agent/openapi.json", "192.0.2.7", {}, 404),
        ("/_stcore/health", "192.0.2.7", {}, 200),
    ],
)
def test_figures_stay_on_this_machine(
    path: str, address: str, sent: dict[str, str], status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert client(monkeypatch, address).get(path, headers=sent).status_code == status


def test_only_messages_of_this_page_reach_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    def message(kind: str, operation: str = "") -> bytes:
        found = BackMsg()
        if operation:
            request = found.backend_operation_request
            request.session_id, request.request_id = "1", "2"
            getattr(request, operation).SetInParent()
        elif kind in ("rerun_script", "file_urls_request"):
            getattr(found, kind).SetInParent()
        else:
            setattr(found, kind, True)
        return found.SerializeToString()

    dropped = [
        *map(message, ("clear_cache", "load_git_info", "set_run_on_save")),
        *map(message, ("debug_disconnect_websocket", "debug_shutdown_runtime")),
        message("", "install_skills"),
        message("", "dismiss_skills_nudge"),
    ]
    passed = [
        *map(message, ("rerun_script", "stop_script", "file_urls_request", "app_heartbeat")),
        message("", "deferred_file"),
        message("", "dataframe_chunk"),
        b"\xff\xff no message at all",
    ]
    known = set(BackMsg.DESCRIPTOR.fields_by_name)
    assert len(known) == 10, "a new kind of message: does this page need it?"
    with client(monkeypatch).websocket_connect(STREAM) as here:
        for content in dropped:
            here.send_bytes(content)
        for content in passed:
            here.send_bytes(content)
            assert here.receive_bytes() == content


# --- the real server -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    home = tmp_path_factory.mktemp("headers") / "library"
    with running_server(home, RAG_READING_FILE_BYTES="1000000") as address:
        yield address


def asked(url: str, method: str, path: str, sent: dict[str, str], body: bytes = b"") -> int:
    """The status of one request, with exactly these headers."""
    connection = HTTPConnection(url.removeprefix("http://"), timeout=60)
    try:
        connection.putrequest(method, path, skip_host="Host" in sent)
        for name, value in {**sent, "Content-Length": str(len(body))}.items():
            connection.putheader(name, value)
        connection.endheaders(body)
        return connection.getresponse().status
    finally:
        connection.close()


def test_a_foreign_origin_and_a_foreign_host_are_refused(url: str) -> None:
    browser = Browser(url)
    with browser.connect() as connection:
        browser.run(connection)
    for origin in ("http://evil.example", url.replace("127.0.0.1", "localhost")):
        with pytest.raises(InvalidStatus) as refused:
            browser.connect(origin=origin)
        assert refused.value.response.status_code == 403
    port = url.rpartition(":")[2]
    for path in ("/", "/_stcore/health", "/_stcore/host-config", "/media/1", "/library"):
        assert asked(url, "GET", path, {"Host": f"evil.example:{port}"}) == 400
    assert asked(url, "GET", "/_stcore/metrics", {}) == 200
    assert asked(url, "GET", "/_stcore/metrics", {"X-Forwarded-For": "192.0.2.7"}) == 403
    assert asked(url, "GET", "/_stcore/agent/openapi.json", {}) == 404


def test_an_upload_needs_the_token_and_has_a_limit(url: str) -> None:
    browser = Browser(url)
    token = browser.cookies[XSRF]
    good = {"X-Xsrftoken": token, "Cookie": f"{XSRF}={token}"}
    with browser.connect() as connection:
        browser.run(connection)
        path = f"/_stcore/upload_file/{browser.session}/any"
        for missing in ({}, {"X-Xsrftoken": token}, {"Cookie": f"{XSRF}={token}"}):
            assert asked(url, "PUT", path, missing, b"x") == 403
        assert asked(url, "PUT", path, good, b"x" * 1_100_000) == 413
        kind = {"Content-Type": "multipart/form-data; boundary=b"}
        body = (
            b'--b\r\nContent-Disposition: form-data; name="f"; filename="f"\r\n\r\nx\r\n--b--\r\n'
        )
        assert asked(url, "PUT", path, good | kind, body) == 204


def test_a_port_is_open_on_this_machine_only(url: str) -> None:
    port = int(url.rpartition(":")[2])
    with (
        pytest.raises(ConnectionRefusedError),
        socket.create_connection(("127.0.0.2", port), timeout=5),
    ):
        pytest.fail("another address answered")
