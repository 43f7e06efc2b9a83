"""The recipe for nginx, run as it is: only ports, files and the name are replaced."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection, HTTPResponse, HTTPSConnection
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from playwright.sync_api import Browser

from tests.browser.conftest import Visit, serving

ROOT = Path(__file__).parents[2]
RECIPE = ROOT / "deploy" / "nginx.conf"
NGINX = shutil.which("nginx") or shutil.which("/usr/sbin/nginx")
NAME = "rag.example.org"
MAIN = "daemon off; pid {folder}/pid; error_log {folder}/error.log; events {{}}\nhttp {{\n{paths}\n"
PATHS = "\n".join(
    f"{kind}_temp_path {{folder}}/{kind};"
    for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
)
TEXT = "The canal was opened in 1853. 运河于1853年开通。\n"


def write_certificate(folder: Path) -> None:
    """A certificate for the name, signed by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(NAME)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (folder / "certificate.pem").write_bytes(certificate.public_bytes(pem))
    (folder / "key.pem").write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


class Proxy:
    """nginx with the recipe, in front of a page."""

    def __init__(self, folder: Path, upstream: str, base: str = "") -> None:
        self.http, self.https = free_port(), free_port()
        recipe = RECIPE.read_text(encoding="utf-8")
        replaced = {
            "listen 80": f"listen 127.0.0.1:{self.http}",
            "listen 443": f"listen 127.0.0.1:{self.https}",
            f"https://{NAME}$request_uri": f"https://{NAME}:{self.https}$request_uri",
            "/etc/ssl/rag.example.org.pem": str(folder / "certificate.pem"),
            "/etc/ssl/private/rag.example.org.key": str(folder / "key.pem"),
            "http://127.0.0.1:8501": upstream,
            **({"location / {": f"location /{base}/ {{"} if base else {}),
        }
        for old, new in replaced.items():
            assert old in recipe, f"the recipe no longer has {old}"
            recipe = recipe.replace(old, new)
        self.file = folder / "nginx.conf"
        self.file.write_text(
            MAIN.format(folder=folder, paths=PATHS.format(folder=folder))
            + f"access_log off;\n{recipe}\n}}\n"
        )

    @contextmanager
    def running(self) -> Iterator[Proxy]:
        command = [str(NGINX), "-c", str(self.file), "-p", str(self.file.parent)]
        tested = subprocess.run([*command, "-t"], capture_output=True, text=True)
        assert tested.returncode == 0, tested.stderr
        server = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        try:
            end = time.monotonic() + 30
            while time.monotonic() < end:
                try:
                    socket.create_connection(("127.0.0.1", self.https), timeout=1).close()
                    break
                except OSError:
                    time.sleep(0.05)
            yield self
        finally:
            server.terminate()
            server.wait(30)

    def ask(self, path: str, host: str = NAME, *, https: bool = True, **sent: str) -> HTTPResponse:
        """One answer; the certificate's name is not asked about, as it is our own."""
        context = ssl._create_unverified_context()
        connection: HTTPConnection = (
            HTTPSConnection("127.0.0.1", self.https, timeout=60, context=context)
            if https
            else HTTPConnection("127.0.0.1", self.http, timeout=60)
        )
        if https:
            raw = socket.create_connection(("127.0.0.1", self.https), timeout=60)
            connection.sock = context.wrap_socket(raw, server_hostname=host)
        port = self.https if https else self.http
        names = {name.replace("_", "-"): value for name, value in sent.items()}
        connection.request("GET", path, headers={"Host": f"{host}:{port}", **names})
        return connection.getresponse()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if NGINX is None:
        pytest.skip("nginx is not installed")
    folder = tmp_path_factory.mktemp("nginx")
    write_certificate(folder)
    return folder


@pytest.fixture(scope="module")
def page(folder: Path) -> Iterator[str]:
    """The address of the page, which answers to the name as well."""
    hosts = f"localhost 127.0.0.1 {NAME}"
    with serving(folder / "library", STREAMLIT_SERVER_ALLOWED_HOSTS=hosts) as url:
        yield url


@pytest.fixture(scope="module")
def proxy(folder: Path, page: str) -> Iterator[Proxy]:
    with Proxy(folder, page).running() as running:
        yield running


@pytest.fixture
def visit(chromium: Browser, proxy: Proxy) -> Iterator[Visit]:
    """A browser for which the name leads to the proxy."""
    with opened(chromium, f"https://{NAME}:{proxy.https}") as visit:
        yield visit


@contextmanager
def opened(chromium: Browser, url: str) -> Iterator[Visit]:
    # Another browser, as only its start can tell it where a name leads.
    rules = f"--host-resolver-rules=MAP {NAME} 127.0.0.1"
    with ExitStack() as closing:
        own = chromium.browser_type.launch(
            executable_path=_executable(), args=["--no-sandbox", "--disable-gpu", rules]
        )
        closing.callback(own.close)
        context = own.new_context(ignore_https_errors=True, viewport={"width": 1280, "height": 900})
        visit = Visit(context.new_page(), url)
        yield visit
        visit.assert_nothing_foreign()


def _executable() -> str:
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    assert found is not None
    return found


@pytest.mark.row(31)
def test_behind_the_proxy_uploads_and_questions_work(
    visit: Visit, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    visit.open("Library").upload("运河 canal.md", TEXT.encode())
    assert "added" in visit.finish_adding()
    answer = visit.open("Ask").ask("When was the canal opened?")
    assert "1853" in answer.inner_text()
    # It is no Word file, which is told only when the whole of it has arrived.
    large = tmp_path / "large.docx"
    large.write_bytes(b"PK" + bytes(46_000_000))
    box = visit.open("Library").page.locator("[data-testid=stFileUploader] input[type=file]")
    box.set_input_files(large)
    assert "large.docx" in visit.finish_adding()
    record_property("largest upload, MB", large.stat().st_size // 1_000_000)
    cookies = visit.page.context.cookies()
    assert {one["name"] for one in cookies} >= {"ranklens_visitor", "_streamlit_xsrf"}
    assert [one["name"] for one in cookies if not one["secure"]] == []


@pytest.mark.row(31)
def test_behind_the_proxy_everything_else_is_closed(
    proxy: Proxy, record_property: Callable[[str, object], None]
) -> None:
    found = proxy.ask("/", Accept="text/html")
    assert found.status == 200
    assert "img-src 'self' data: blob:" in found.headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in found.headers["Content-Security-Policy"]
    assert found.headers["X-Content-Type-Options"] == "nosniff"
    assert found.headers["X-Frame-Options"] == "DENY"
    assert found.headers["Strict-Transport-Security"] == "max-age=31536000"
    assert found.headers["Set-Cookie"].endswith("; Secure")
    closed = ("metrics", "script-health-check", "agent/mcp", "agent/openapi.json")
    for path in closed:
        assert proxy.ask(f"/_stcore/{path}").status == 403
        assert proxy.ask(f"/_stcore/{path}", X_Forwarded_For="127.0.0.1").status == 403
    record_property("addresses answered with 403", len(closed))
    moved = proxy.ask("/library?x=1", https=False)
    assert (moved.status, moved.headers["Location"]) == (
        301,
        f"https://{NAME}:{proxy.https}/library?x=1",
    )


@pytest.mark.row(31)
def test_another_name_gets_no_answer_from_the_proxy_nor_from_the_page(
    proxy: Proxy, page: str
) -> None:
    with pytest.raises(OSError, match=r"."):
        proxy.ask("/", "evil.example")
    with pytest.raises((OSError, EOFError)):
        proxy.ask("/", "evil.example", https=False)
    request = urllib.request.Request(page, headers={"Host": "evil.example"})
    with pytest.raises(urllib.error.HTTPError, match="400"):
        urllib.request.urlopen(request, timeout=60)


@pytest.mark.row(31)
def test_under_a_path_of_its_own_it_works_too(
    chromium: Browser, folder: Path, tmp_path: Path
) -> None:
    write_certificate(tmp_path)
    with (
        serving(
            tmp_path / "library",
            STREAMLIT_SERVER_BASE_URL_PATH="rag",
            STREAMLIT_SERVER_ALLOWED_HOSTS=f"localhost 127.0.0.1 {NAME}",
        ) as upstream,
        Proxy(tmp_path, upstream.removesuffix("/rag"), base="rag").running() as proxy,
        opened(chromium, f"https://{NAME}:{proxy.https}/rag") as visit,
    ):
        visit.open("Library").upload("canal.md", TEXT.encode())
        assert "added" in visit.finish_adding()
        assert proxy.ask("/rag/_stcore/metrics").status == 403
