"""The process that reads a file fetches nothing, starts nothing and writes nothing."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.remote_documents import documents

ROOT = Path(__file__).parents[1]
REFUSED = {
    "a connection": "socket.create_connection(('127.0.0.1', {port}), 1)",
    "a socket": "socket.socket()",
    "a name looked up": "socket.getaddrinfo('localhost', 80)",
    "a page fetched": "urllib.request.urlopen('http://127.0.0.1:{port}/', timeout=1)",
    "a program": "subprocess.run(['true'])",
    "a shell": "os.system('true')",
    "a file written": "open('{folder}/a', 'w')",
    "a file appended": "os.open('{folder}/kept', os.O_WRONLY | os.O_APPEND)",
    "a file removed": "os.remove('{folder}/kept')",
    "a file renamed": "os.rename('{folder}/kept', '{folder}/b')",
    "a folder": "os.mkdir('{folder}/c')",
    "a signal": "os.kill(os.getppid(), 0)",
}


@contextmanager
def listening() -> Iterator[tuple[int, list[bytes]]]:
    """The port of a server, and what was asked of it."""
    asked: list[bytes] = []

    def answer() -> None:
        with suppress(OSError):
            while True:
                connection, _ = server.accept()
                with connection:
                    connection.settimeout(1)
                    with suppress(OSError):
                        asked.append(connection.recv(1000))
                        connection.sendall(b"HTTP/1.0 200 OK\r\n\r\n<x/>")

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        yield server.getsockname()[1], asked
        # Wakes the thread, where closing alone would not.
        server.shutdown(socket.SHUT_RDWR)
    thread.join(5)


def run(code: str, *arguments: str, cwd: Path = ROOT) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, cwd=cwd
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_confined_process_reaches_nothing(tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("kept", encoding="utf-8")
    code = (
        "import json, os, socket, subprocess, sys, urllib.request\n"
        "from rag.documents.confinement import confine\n"
        "confine(1_500_000_000, 60)\n"
        "left = []\n"
        "for what, call in json.loads(sys.argv[1]).items():\n"
        "    try:\n"
        "        eval(call)\n"
        "        left.append(what)\n"
        "    except OSError as error:\n"
        "        left += [what] if 'a reader does' not in str(error) else []\n"
        "assert open(sys.argv[2]).read() == 'kept'\n"
        "print(json.dumps([left, os.nice(0)]))\n"
    )
    with listening() as (port, asked):
        calls = {
            what: call.format(port=port, folder=tmp_path.as_posix())
            for what, call in REFUSED.items()
        }
        left, niceness = json.loads(run(code, json.dumps(calls), str(tmp_path / "kept")))
    assert left == []
    assert asked == []
    assert niceness >= 3
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


READ_ALL = (
    "import sys\n"
    "from pathlib import Path\n"
    "touched = []\n"
    "sys.addaudithook(lambda event, _: event.startswith(('socket.', 'urllib.', 'subprocess.'))"
    " and touched.append(event))\n"
    "from rag.documents.events import PageText, Source\n"
    "from rag.documents.formats import FORMATS, detect\n"
    "for path in sorted(Path(sys.argv[1]).iterdir()):\n"
    "    source = Source(path.read_bytes(), path.name, 10_000_000, 100, 1)\n"
    "    pages = [e for e in FORMATS[detect(source)].read(source) if isinstance(e, PageText)]\n"
    "    text = ''.join(page.text for page in pages)\n"
    "    assert 'visible' in text and 'secret of' not in text, path.name\n"
    "print(len(touched), *touched)\n"
)


def written(folder: Path, port: int) -> Path:
    folder.mkdir()
    for name, content in documents(f"http://127.0.0.1:{port}/", folder.parent).items():
        (folder / name).write_bytes(content)
    return folder


def test_no_reader_follows_an_address(tmp_path: Path) -> None:
    """Not even without the confinement: each file names an address that listens."""
    (tmp_path / "secret.txt").write_text("the secret of this machine", encoding="utf-8")
    with listening() as (port, asked):
        folder = written(tmp_path / "documents", port)
        assert len(list(folder.iterdir())) >= 12
        touched = run(READ_ALL, str(folder))
    assert touched.split() == ["0"]
    assert asked == []


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_the_system_is_asked_for_no_socket(tmp_path: Path) -> None:
    """Also not by libraries in C, which Python does not see."""
    with listening() as (port, asked):
        folder = written(tmp_path / "documents", port)
        log = tmp_path / "calls"
        subprocess.run(
            [
                *("strace", "-f", "-qq", "-e", "trace=%network", "-o", str(log)),
                *(sys.executable, "-c", READ_ALL, str(folder)),
            ],
            cwd=ROOT,
            check=True,
            capture_output=True,
        )
    assert asked == []
    assert "socket(" not in log.read_text(encoding="utf-8")
