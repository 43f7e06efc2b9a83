"""A model hub on this machine, as far as huggingface_hub 2.4 asks it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import urlsplit

from tests.endpoint import served

COMMIT = "c0ffee" + "0" * 34


@dataclass
class Hub:
    """The models by name, each a folder; `broken` says how a file's GET fails."""

    address: str = ""
    models: dict[str, Path] = field(default_factory=dict)
    broken: dict[str, str] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    ranges: list[str] = field(default_factory=list)

    def size(self, model: str, *names: str) -> int:
        return sum((self.models[model] / name).stat().st_size for name in names)


class Connection(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def handle(self):
        with suppress(ConnectionError):
            super().handle()

    def log_message(self, format, *arguments):
        pass

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        path = urlsplit(self.path).path
        self.hub.requests.append(f"{self.command} {path}")
        for model, folder in self.hub.models.items():
            files = sorted(file for file in folder.rglob("*") if file.is_file())
            if path in (f"/api/models/{model}", f"/api/models/{model}/revision/main"):
                siblings = [
                    {"rfilename": name(file, folder), "size": file.stat().st_size} for file in files
                ]
                return self.send({"id": model, "sha": COMMIT, "siblings": siblings})
            if path == f"/api/models/{model}/tree/{COMMIT}":
                return self.send([entry(file, folder) for file in files])
            for revision in ("main", COMMIT):
                start = f"/{model}/resolve/{revision}/"
                if path.startswith(start) and (folder / path.removeprefix(start)).is_file():
                    return self.file(folder / path.removeprefix(start))
        return self.error("RepoNotFound", 404)

    def send(self, value):
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def error(self, code, status):
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def file(self, path):
        how = self.hub.broken.get(path.name) if self.command == "GET" else None
        if how == "fails":
            return self.error("Oops", 500)
        if how == "gated":
            return self.error("GatedRepo", 403)
        body = path.read_bytes()
        wanted = self.headers.get("Range")
        if wanted:
            self.hub.ranges.append(wanted)
            start = int(wanted.removeprefix("bytes=").split("-")[0])
            whole, body = len(body), body[start:]
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{whole - 1}/{whole}")
        else:
            self.send_response(200)
        if how == "short":
            body = body[: len(body) // 2]
        self.send_header("ETag", f'"{hashlib.sha1(path.read_bytes()).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if how == "cut once":
            del self.hub.broken[path.name]
            body = body[: len(body) // 2]
            self.close_connection = True
        if self.command == "GET":
            # A client that was killed has gone away.
            with suppress(OSError):
                self.wfile.write(body)
        return None


def name(file, folder):
    return file.relative_to(folder).as_posix()


def entry(file, folder):
    oid = hashlib.sha1(file.read_bytes()).hexdigest()
    size = file.stat().st_size
    return {"type": "file", "oid": oid, "size": size, "path": name(file, folder)}


@contextmanager
def running_hub() -> Iterator[Hub]:
    """A hub for as long as the block lasts."""

    class Handler(Connection):
        hub = Hub()

    with served(Handler) as address:
        Handler.hub.address = address
        yield Handler.hub
