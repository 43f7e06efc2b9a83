"""What a sign-in needs before the page is served: half a configuration is refused, not mended.

The service and its secrets stand in the section `[auth]` of `.streamlit/secrets.toml`, as
https://docs.streamlit.io/develop/api-reference/user/st.login says. What is wrong is named; what
the file holds never is.
"""

from __future__ import annotations

import importlib.util
import os
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from rag.errors import MissingDependency, SettingsError
from rag.settings import Settings

CALLBACK = "/oauth2callback"
_NEEDED = ("redirect_uri", "cookie_secret", "client_id", "client_secret", "server_metadata_url")
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
# A random secret of this length cannot be guessed, and has many different characters.
_SECRET_CHARACTERS = 32
_DIFFERENT_CHARACTERS = 10
_MAKE_SECRET = "Make one: python -c 'import secrets; print(secrets.token_urlsafe(48))'"


def secrets_files(page_folder: Path) -> list[Path]:
    """Where Streamlit looks for secrets; a later file wins."""
    if named := os.environ.get("STREAMLIT_SECRETS_FILES", "").split():
        return [Path(name) for name in named]
    return [folder / ".streamlit" / "secrets.toml" for folder in (Path.home(), page_folder)]


def auth_section(files: Sequence[Path]) -> dict[str, Any]:
    """The section `[auth]`; empty where no file has one. Raises SettingsError."""
    section: dict[str, Any] = {}
    for path in files:
        try:
            found = tomllib.loads(path.read_text(encoding="utf-8")).get("auth", section)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise SettingsError(f"{path} cannot be opened: {error.strerror}.") from None
        except ValueError:
            # The message of the error would quote the file.
            raise SettingsError(f"{path} is not valid TOML.", "Correct the file.") from None
        if not isinstance(found, dict):
            raise SettingsError(f"auth in {path} is not a section.", "Write it as [auth].")
        section = found
    return section


def check(settings: Settings, section: Mapping[str, Any]) -> None:
    """Raise SettingsError or MissingDependency where people must sign in but could not."""
    if not settings.people.sign_in:
        return
    if not settings.people.allowed:
        raise SettingsError(
            "People must sign in, but nobody is allowed to come in.",
            'Name who may: RAG_PEOPLE_ALLOWED="ada@example.org *@example.com"',
        )
    if importlib.util.find_spec("authlib") is None:
        raise MissingDependency(
            "People must sign in, but Authlib is not installed.",
            "pip install 'ranklens[people]'",
        )
    missing = [name for name in _NEEDED if not _text(section.get(name))]
    if missing:
        raise SettingsError(
            f"People must sign in, but [auth] of secrets.toml lacks {', '.join(missing)}.",
            "Write .streamlit/secrets.toml in your home folder, as docs/deploying.md shows.",
        )
    secret = section["cookie_secret"]
    if len(secret) < _SECRET_CHARACTERS or len(set(secret)) < _DIFFERENT_CHARACTERS:
        raise SettingsError(
            "cookie_secret of [auth] could be guessed: whoever does signs in as anybody.",
            _MAKE_SECRET,
        )
    for name in ("redirect_uri", "server_metadata_url"):
        address = urlsplit(section[name])
        if address.scheme != "https" and address.hostname not in _LOOPBACK:
            raise SettingsError(
                f"{name} of [auth] is not an https address.",
                "A sign-in over http can be read and changed on its way.",
            )
    if not section["redirect_uri"].endswith(CALLBACK):
        raise SettingsError(
            f"redirect_uri of [auth] does not end in {CALLBACK}.",
            f"It is the address of the page, with {CALLBACK} behind it.",
        )


def _text(value: object) -> str:
    return value.strip() if isinstance(value, str) else ""


def host_name(section: Mapping[str, Any]) -> str:
    """The name under which people reach the page, where the sign-in service knows one."""
    return urlsplit(_text(section.get("redirect_uri"))).hostname or ""
