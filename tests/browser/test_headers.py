"""The Content-Security-Policy alone: what somehow got onto the page reaches nobody."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from playwright.sync_api import Browser

# What a page could be made to hold if the one way of texts to the screen had a hole.
BRING_IN = """async elsewhere => {
    const bring = (tag, set) => {
        const node = document.createElement(tag);
        set(node);
        document.body.append(node);
    };
    bring('img', n => { n.src = elsewhere + 'img'; });
    bring('div', n => { n.style.backgroundImage = `url(${elsewhere}style)`; });
    bring('style', n => { n.textContent = `body { background: url(${elsewhere}sheet) }`; });
    bring('link', n => { n.rel = 'stylesheet'; n.href = elsewhere + 'link'; });
    bring('link', n => { n.rel = 'prefetch'; n.href = elsewhere + 'prefetch'; });
    bring('script', n => { n.src = elsewhere + 'script'; });
    bring('script', n => { n.textContent = 'window.ran = true'; });
    bring('div', n => { n.innerHTML = '<img src=x: onerror="window.ran = true">'; });
    bring('iframe', n => { n.src = elsewhere + 'frame'; });
    bring('object', n => { n.data = elsewhere + 'object'; });
    bring('video', n => { n.src = elsewhere + 'video'; });
    bring('form', n => { n.action = elsewhere + 'form'; n.target = 'x'; n.submit(); });
    await fetch(elsewhere + 'fetch', {mode: 'no-cors'}).catch(() => null);
    navigator.sendBeacon(elsewhere + 'beacon', 'text');
    try { new WebSocket(elsewhere.replace('http', 'ws') + 'socket'); } catch {}
    await new Promise(done => setTimeout(done, 500));
    return window.ran || false;
}"""


@contextmanager
def elsewhere() -> Iterator[tuple[str, list[str]]]:
    """A server of somebody else, and what arrived there."""
    arrived: list[str] = []

    class Connection(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            arrived.append(self.path)
            self.send_error(404)

        def do_POST(self) -> None:
            self.do_GET()

        def log_message(self, format: str, *arguments: object) -> None:
            """Keep the output of the tests free of requests."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Connection)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/", arrived
    finally:
        server.shutdown()
        server.server_close()


def test_what_gets_onto_the_page_reaches_nobody(chromium: Browser, empty_app: str) -> None:
    with elsewhere() as (address, arrived):
        page = chromium.new_page()
        page.goto(empty_app)
        page.get_by_test_id("stApp").wait_for()
        assert page.evaluate(BRING_IN, address) is False
        page.close()
        assert arrived == []


def test_no_other_page_shows_this_one_in_a_frame(chromium: Browser, empty_app: str) -> None:
    page = chromium.new_page()
    page.set_content(f"<iframe src='{empty_app}'></iframe>")
    page.wait_for_timeout(1000)
    frame = page.frames[1]
    assert frame.locator("[data-testid=stApp]").count() == 0
    assert frame.url.startswith("chrome-error:")
    page.close()
