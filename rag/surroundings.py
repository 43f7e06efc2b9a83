"""What RankLens stands on: the environment, the packages, the disk; each looked at on its own."""

from __future__ import annotations

import difflib
import os
import re
import shutil
import sys
import tomllib
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

from packaging.requirements import Requirement

from rag.settings import KNOWN_VARIABLES, Settings
from rag.types import Notice

_OWN_VARIABLES = ("RAG_HOME", "RAG_PROFILE", "RAG_CACHE", *KNOWN_VARIABLES)
_LEAST_PYTHON = (3, 11)


def known_variables() -> list[str]:
    """Every variable of the environment that sets something."""
    names = list(_OWN_VARIABLES)
    for section, field in Settings.model_fields.items():
        fields = getattr(field.annotation, "model_fields", {})
        names += [f"RAG_{section}_{name}".upper() for name in fields]
    return names


def unknown_variables(environment: Mapping[str, str]) -> Iterator[Notice]:
    """The variables that look like settings and set nothing; each with the name that is nearest."""
    known = known_variables()
    for name in sorted(environment):
        if not name.startswith("RAG_") or name in known:
            continue
        nearest = difflib.get_close_matches(name, known, 1, 0.0)[0]
        yield Notice(f"The variable {name} sets nothing.", f"Perhaps it is {nearest}.")


def opened_up(environment: Mapping[str, str], config: Path) -> Iterator[Notice]:
    """The variables that take back a protection of the page's own `config.toml`."""
    for section, options in tomllib.loads(config.read_text(encoding="utf-8")).items():
        for option, value in options.items() if isinstance(options, dict) else ():
            variable = f"STREAMLIT_{section}_{_snake(option)}".upper()
            told = environment.get(variable, "").strip()
            if told and _protects(option, value) and told.lower() != _written(value):
                yield Notice(
                    f"{variable} takes back a protection of the page.",
                    "Take it out of the environment.",
                )


def _protects(option: str, value: Any) -> bool:
    return isinstance(value, bool) or option == "showErrorDetails"


def _written(value: Any) -> str:
    return str(value).lower()


def _snake(option: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", option)


def wrong_packages(distribution: str = "ranklens") -> Iterator[Notice]:
    """The packages that are missing or of a version that does not fit."""
    if sys.version_info < _LEAST_PYTHON:
        yield Notice("This Python is too old.", "Use Python 3.11 or newer.")
    try:
        lines = requires(distribution) or []
    except PackageNotFoundError:
        yield Notice(f"{distribution} is not installed.", "Install it: pip install ranklens")
        return
    for line in lines:
        requirement = Requirement(line)
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            found = version(requirement.name)
        except PackageNotFoundError:
            yield Notice(f"The package {requirement.name} is missing.", _install(requirement))
            continue
        if not requirement.specifier.contains(found, prereleases=True):
            yield Notice(
                f"{requirement.name} {found} does not fit: {requirement.specifier} is needed.",
                _install(requirement),
            )


def untested_packages(constraints: Path) -> list[str]:
    """The installed packages whose versions differ from those that were tested together.

    Empty where there is no list of those.
    """
    if not constraints.is_file():
        return []
    different = []
    for line in constraints.read_text(encoding="utf-8").splitlines():
        name, _, tested = line.partition("==")
        try:
            found = version(name).partition("+")[0] if tested else ""
        except (PackageNotFoundError, ValueError):
            continue
        if found != tested:
            different.append(f"{name} {found}")
    return different


def _install(requirement: Requirement) -> str:
    return f"Install it: pip install '{requirement.name}{requirement.specifier}'"


def free_bytes(folder: Path) -> int:
    """The free bytes on the disk of a folder, which need not be there yet."""
    return shutil.disk_usage(_nearest(folder)).free


def write_and_sync(folder: Path) -> None:
    """Write a small file into the folder, or the nearest above it, and have it on the disk.

    Nothing stays. Raises OSError.
    """
    place = _nearest(folder)
    with NamedTemporaryFile(prefix=".check-", dir=place) as file:
        file.write(b"RankLens")
        file.flush()
        os.fsync(file.fileno())
    if os.name == "posix":
        opened = os.open(place, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)


def _nearest(folder: Path) -> Path:
    return next(one for one in (folder, *folder.parents) if one.is_dir())
