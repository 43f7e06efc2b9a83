"""Writes settings into `settings.toml`, leaving everything else in it as it was."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, MutableMapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import tomlkit
from filelock import FileLock
from pydantic import BaseModel, SecretStr
from tomlkit.exceptions import TOMLKitError

from rag import log
from rag.disk_space import says_full
from rag.errors import SettingsError
from rag.fault_points import reached
from rag.settings import KNOWN_VARIABLES, LOCAL_PROFILE, SETTINGS_FILE, Settings, load_settings

_Table = MutableMapping[str, Any]
_LOCK = ".settings.lock"
_UNFINISHED = ".settings-"


def set_by(name: str, environment: Mapping[str, str] | None = None) -> str:
    """The variable of the environment that sets the setting `query.passages`; empty for none."""
    environment = os.environ if environment is None else environment
    variables = [f"RAG_{name.replace('.', '_').upper()}"]
    variables += [known for known, place in KNOWN_VARIABLES.items() if ".".join(place) == name]
    return next((variable for variable in variables if environment.get(variable)), "")


def changes(before: Settings, after: Settings) -> dict[str, tuple[Any, Any]]:
    """The old and the new value of every setting that differs, by its name `query.passages`."""
    found = {}
    if before.profile != after.profile:
        found["profile"] = (before.profile, after.profile)
    for section in Settings.model_fields:
        old, new = getattr(before, section), getattr(after, section)
        if isinstance(old, BaseModel) and old != new:
            for field in type(old).model_fields:
                values = (getattr(old, field), getattr(new, field))
                if values[0] != values[1]:
                    found[f"{section}.{field}"] = values
    return found


def save_settings(
    before: Settings, after: Settings, environment: Mapping[str, str] | None = None
) -> tuple[str, ...]:
    """Save what differs between the two, and give its names, such as `query.passages`.

    It goes into the profile of `after`: into the sections of the file where that is the local one.
    Where the profile itself differs, the other settings are held against those it has by itself.
    The file is replaced as a whole, and only by one that can be loaded.
    Raises SettingsError where a value is not valid, where the environment sets one of these
    settings, where an API key differs, and where the file cannot be read or written.
    """
    environment = os.environ if environment is None else environment
    reference = before
    if after.profile != before.profile:
        of_profile = load_settings(before.home, after.profile, environment)
        reference = of_profile.model_copy(update={"profile": before.profile})
    changed = {name: new for name, (_, new) in changes(reference, after).items()}
    for name, value in changed.items():
        _check_may_be_saved(name, value, environment)
    if changed:
        path = (after.home / SETTINGS_FILE).resolve()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(path.parent / _LOCK):
                text = path.read_text(encoding="utf-8") if path.is_file() else ""
                _replace(path, _edited(text, after.profile, changed), after.profile, environment)
        except (TOMLKitError, UnicodeDecodeError) as error:
            raise SettingsError(f"{path} cannot be read: {error}.", "Correct the file.") from None
        except OSError as error:
            hint = "Change the rights of that folder."
            if says_full(error):
                hint = "The disk is full: free some space and save again."
            raise SettingsError(f"{path} cannot be written: {error.strerror}.", hint) from None
        log.event("settings changed", names=sorted(changed), profile=after.profile)
    return tuple(changed)


def _check_may_be_saved(name: str, value: object, environment: Mapping[str, str]) -> None:
    if isinstance(value, SecretStr):
        raise SettingsError(
            "An API key is never saved in a file.", "Set it in the environment, as OPENAI_API_KEY."
        )
    if variable := set_by(name, environment):
        raise SettingsError(
            f"{variable} is set, and the environment wins over the file.",
            "Take it out of the environment and save again.",
        )


def _edited(text: str, profile: str, changed: Mapping[str, Any]) -> str:
    """The file's text with these settings in it."""
    document = tomlkit.parse(text)
    own = document.get("profiles", {}).get(profile, {})
    for name, value in changed.items():
        section, _, field = name.rpartition(".")
        table: _Table = document
        # What the local profile says itself would win over the sections of the file.
        if section and (profile != LOCAL_PROFILE or field in own.get(section, {})):
            table = _table(_table(document, "profiles", above=True), profile, above=True)
        (_table(table, section) if section else table)[field] = value
    return tomlkit.dumps(document)


def _table(parent: _Table, name: str, *, above: bool = False) -> _Table:
    """The table of this name, made where there is none; `above` where it only holds others."""
    if name not in parent:
        parent[name] = tomlkit.table(is_super_table=above)
    table: _Table = parent[name]
    return table


def _replace(path: Path, text: str, profile: str, environment: Mapping[str, str]) -> None:
    """Put the text in the place of the file, where it can be loaded. The caller holds the lock."""
    reached("settings_file.write")
    for left_behind in path.parent.glob(f"{_UNFINISHED}*"):
        shutil.rmtree(left_behind)
    with TemporaryDirectory(prefix=_UNFINISHED, dir=path.parent) as folder:
        unfinished = Path(folder) / SETTINGS_FILE
        with unfinished.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        try:
            load_settings(Path(folder), profile, environment)
        except SettingsError as error:
            raise SettingsError(error.message, "Nothing was saved. Correct it first.") from None
        if path.is_file():
            shutil.copymode(path, unfinished)
        reached("settings_file.replace")
        unfinished.replace(path)
        reached("settings_file.replaced")
    _seal(path.parent)


def _seal(folder: Path) -> None:
    """Let the names in a folder survive a power cut; Windows does so by itself."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
