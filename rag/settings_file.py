"""Writes query settings into `settings.toml`, leaving everything else in it as it was."""

from __future__ import annotations

import os
from collections.abc import Mapping

import tomlkit
from tomlkit.exceptions import TOMLKitError

from rag.errors import SettingsError
from rag.settings import LOCAL_PROFILE, SETTINGS_FILE, QuerySettings, Settings, load_settings


def save_query_settings(
    settings: Settings, query: QuerySettings, environment: Mapping[str, str] | None = None
) -> tuple[str, ...]:
    """Make `query` the default of the profile in use, and give the names of what changed.

    Written is only what differs from the settings in use: into `[query]`, or into the section of
    the profile where it is not the local one. Raises SettingsError where the file cannot be
    written, and where the environment says something else, which would win over the file.
    """
    environment = os.environ if environment is None else environment
    before, after = settings.query.model_dump(), query.model_dump()
    changed = tuple(name for name, value in after.items() if value != before[name])
    for name in changed:
        if environment.get(variable := f"RAG_QUERY_{name.upper()}"):
            raise SettingsError(
                f"{variable} is set, and the environment wins over the file.",
                "Take it out of the environment and save again.",
            )
    path = settings.home / SETTINGS_FILE
    try:
        document = tomlkit.parse(path.read_text(encoding="utf-8") if path.is_file() else "")
        sections: tuple[str, ...] = ("query",)
        if settings.profile != LOCAL_PROFILE:
            sections = ("profiles", settings.profile, "query")
        table = document
        for section in sections:
            table = table.setdefault(section, tomlkit.table())
        for name in changed:
            table[name] = after[name]
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(".toml.new")
        unfinished.write_text(tomlkit.dumps(document), encoding="utf-8")
        unfinished.replace(path)
    except (TOMLKitError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} cannot be read: {error}.", "Correct the file.") from None
    except OSError as error:
        raise SettingsError(
            f"{path} cannot be written: {error.strerror}.", "Change the rights of that folder."
        ) from None
    load_settings(settings.home, settings.profile, environment)
    return changed
