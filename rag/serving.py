"""Starts the web page, from a checkout or from an installed package."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from rag.errors import MissingDependency
from rag.settings import Settings, load_settings


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


def serve(settings: Settings, port: int, address: str) -> None:
    """Replace this process by Streamlit, which serves until it is stopped."""
    folder = page_folder()
    os.environ["RAG_HOME"] = str(settings.home)
    if settings.profile != load_settings(settings.home).profile:
        # The page may save another profile, unless this one was asked for.
        os.environ["RAG_PROFILE"] = settings.profile
    os.chdir(folder)  # Streamlit reads .streamlit/config.toml from the working folder.
    arguments = [sys.executable, "-m", "streamlit", "run", str(folder / "app.py")]
    arguments += ["--server.port", str(port), "--server.address", address]
    os.execv(sys.executable, arguments)
