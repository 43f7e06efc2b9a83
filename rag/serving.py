"""Starts the web page, from a checkout or from an installed package."""

from __future__ import annotations

import ipaddress
import os
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from rag import log, log_events, sign_in
from rag.errors import MissingDependency, RAGError, SettingsError
from rag.settings import LogSettings, Settings, load_settings
from rag.types import Notice

_MEGABYTE = 1024 * 1024
# A name, or all names of a domain; `https://rag.example.org/` is an address and none.
_HOST_NAME = re.compile(r"(?:\*\.)?[\w.-]+")
# The names of this machine, under which the page is always to be had.
_OWN_NAMES = ("localhost", "127.0.0.1")


def page_folder() -> Path:
    """The folder that holds `app.py`, `pages/` and `.streamlit/`."""
    package = Path(__file__).resolve().parent
    for folder in (package.parent, package / "web"):
        if (folder / "app.py").is_file() and (folder / "pages").is_dir():
            return folder
    raise MissingDependency("The web page is not installed.", "pip install ranklens")


def sample_files() -> list[Path]:
    """The sample documents that come with RankLens."""
    package = Path(__file__).resolve().parent
    for folder in (package.parent / "data" / "sample", package / "sample"):
        if folder.is_dir():
            return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    return []


def serve(settings: Settings, port: int, address: str, host_names: Sequence[str] = ()) -> None:
    """Replace this process by Streamlit, which serves until it is stopped.

    `host_names` are the names that people may type, besides those of this machine. Raises
    SettingsError for what is no such name, and SettingsError or MissingDependency where people
    must sign in but could not.
    """
    folder = page_folder()
    for name in host_names:
        if not _HOST_NAME.fullmatch(name):
            raise SettingsError(f"{name!r} is not a host name.", "Write it as rag.example.org.")
    auth = sign_in.auth_section(sign_in.secrets_files(folder)) if settings.people.sign_in else {}
    sign_in.check(settings, auth)
    os.environ["RAG_HOME"] = str(settings.home)
    if settings.profile != load_settings(settings.home).profile:
        # The page may save another profile, unless this one was asked for.
        os.environ["RAG_PROFILE"] = settings.profile
    # Else every thread keeps memory of its own, which is never given to another; see mallopt(3).
    os.environ.setdefault("MALLOC_ARENA_MAX", "2")
    # So does the library that multiplies matrices, 10 to 20 MB; it is as fast without.
    os.environ.setdefault("MKL_DISABLE_FAST_MM", "1")
    os.chdir(folder)  # Streamlit reads .streamlit/config.toml from the working folder.
    arguments = [sys.executable, "-m", "streamlit", "run", str(folder / "app.py")]
    arguments += ["--server.port", str(port), "--server.address", address]
    # What Streamlit lets through, rounded up, so that reading decides at the exact limit.
    arguments += ["--server.maxUploadSize", str(-(-settings.reading.file_bytes // _MEGABYTE))]
    named = [*host_names, sign_in.host_name(auth), "" if _is_any(address) else address]
    if others := [name for name in named if name and name not in _OWN_NAMES]:
        for name in (*_OWN_NAMES, *others):
            arguments += ["--server.allowedHosts", name]
    os.execv(sys.executable, arguments)


def start_log() -> None:
    """Begin the log of the served page; settings that cannot be read are told in it."""
    try:
        settings = load_settings()
    except RAGError as error:
        log.start(LogSettings())
        log.event("settings refused", failure=error)
        return
    log.start(settings.log)
    log_events.started(settings)


def cautions(settings: Settings, address: str, host_names: Sequence[str] = ()) -> Iterator[Notice]:
    """What a person should know who serves the page on this address."""
    if settings.people.sign_in or _is_loopback(address):
        return
    yield Notice(
        f"Everybody who can reach {address} reads, adds and removes documents.",
        "Let people sign in, or leave out --address to serve this machine only.",
    )
    if _is_any(address) and not host_names and "STREAMLIT_SERVER_ALLOWED_HOSTS" not in os.environ:
        yield Notice(
            "The page answers only to the name localhost.",
            "Name what people type into the browser: --host-name rag.example.org",
        )


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"


def _is_any(address: str) -> bool:
    """Whether an address means all addresses of this machine."""
    try:
        return ipaddress.ip_address(address).is_unspecified
    except ValueError:
        return False
