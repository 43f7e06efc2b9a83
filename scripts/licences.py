"""What is inside: the licences of all packages, and a bill of materials of those that are shipped.

    python scripts/licences.py                   prints a table
    python scripts/licences.py build/sbom.json   also takes out of that CycloneDX file, which lists
                                                 an environment, what only tests need

Ends with 1 where a licence is not known, or does not go together with ours.
"""

from __future__ import annotations

import json
import re
import sys
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

OURS = "ranklens"
PYPROJECT = Path(__file__).resolve().parents[1] / "pyproject.toml"
# The extras that people install; the others are for work on RankLens itself.
SHIPPED = ("", "bge")
EVERYTHING = (*SHIPPED, "test")
# Packages that tell their licence only in a file, read on 2026-11-23.
READ_IN_FILE = {"flagembedding": "MIT"}
_COPYLEFT = re.compile(r"\b(AGPL|GPL|SSPL|Affero|GNU General Public)", re.IGNORECASE)
_LONGEST = 80


@dataclass(frozen=True, slots=True)
class Licensed:
    """A package and its licence; empty where none is told."""

    name: str
    version: str
    licence: str

    @property
    def known(self) -> bool:
        """Whether the package tells a licence."""
        return bool(self.licence)

    @property
    def fits(self) -> bool:
        """Whether what is under Apache-2.0 may be passed on together with it.

        Of several licences to choose from one is enough.
        """
        choices = re.split(r"\bOR\b", self.licence)
        return self.known and not all(map(_COPYLEFT.search, choices))


def closure(extras: Sequence[str]) -> dict[str, Distribution]:
    """All that RankLens with these extras needs on this machine, by canonical name.

    Raises PackageNotFoundError for one that is not installed.
    """
    found: dict[str, Distribution] = {}
    asked: set[tuple[str, str]] = set()
    waiting = [one for extra in extras for one in _needed(our_requirements(extra), extra)]
    while waiting:
        name, extra = waiting.pop()
        if name == OURS:
            waiting += _needed(our_requirements(extra), extra)
        elif (name, extra) not in asked:
            asked.add((name, extra))
            found[name] = distribution(name)
            waiting += _needed(found[name].requires or [], extra)
    return found


def our_requirements(extra: str) -> list[str]:
    """What pyproject.toml says of RankLens itself, or of one of its extras."""
    project = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]
    listed: list[str] = (
        project["optional-dependencies"][extra] if extra else project["dependencies"]
    )
    return listed


def _needed(requirements: Sequence[str], extra: str) -> Iterator[tuple[str, str]]:
    """The packages, and the extras of them, that some requirements name on this machine."""
    for requirement in map(Requirement, requirements):
        marker = requirement.marker
        if marker is None or marker.evaluate({"extra": extra}):
            name = canonicalize_name(requirement.name)
            yield from ((name, wanted) for wanted in ("", *requirement.extras))


def licensed(extras: Sequence[str]) -> list[Licensed]:
    """The packages of these extras with their licences, by name."""
    packages = sorted(closure(extras).items())
    return [Licensed(name, package.version, licence(package)) for name, package in packages]


def licence(package: Distribution) -> str:
    """What a package says of its licence: an expression, classifiers or a short text."""
    told = package.metadata
    if expressions := told.get_all("License-Expression"):
        return str(expressions[0])
    classifiers = [
        one.rpartition(" :: ")[2]
        for one in told.get_all("Classifier") or []
        if one.startswith("License :: ") and not one.endswith("OSI Approved")
    ]
    if classifiers:
        # Several classifiers mean a choice or a sum, and nobody can tell: the stricter counts.
        return " AND ".join(classifiers)
    text = "".join(told.get_all("License") or []).strip()
    first = text.partition("\n")[0].strip()
    if first and len(first) <= _LONGEST and first.upper() != "UNKNOWN":
        return first
    return READ_IN_FILE.get(canonicalize_name(package.name), "")


def shipped_only(materials: dict[str, Any]) -> dict[str, Any]:
    """The bill of materials without the components that are not shipped."""
    shipped = closure(SHIPPED)
    kept = [one for one in materials["components"] if canonicalize_name(one["name"]) in shipped]
    known = {one["bom-ref"] for one in kept}
    root = materials.get("metadata", {}).get("component", {}).get("bom-ref")
    dependencies = [
        one | {"dependsOn": [ref for ref in one.get("dependsOn", []) if ref in known]}
        for one in materials.get("dependencies", [])
        if one["ref"] in known | {root}
    ]
    return materials | {"components": kept, "dependencies": dependencies}


def problems(packages: Sequence[Licensed]) -> Iterator[str]:
    """A sentence for every package whose licence is not known or does not fit."""
    for one in packages:
        if not one.known:
            yield f"{one.name} {one.version} tells no licence."
        elif not one.fits:
            yield f"{one.name} {one.version} is under {one.licence}."


def main(arguments: Sequence[str]) -> int:
    """Print the table, and shorten the bill of materials where one is named."""
    packages = licensed(SHIPPED)
    widths = [max(len(getattr(one, field)) for one in packages) for field in ("name", "version")]
    for one in packages:
        print(f"{one.name:<{widths[0]}}  {one.version:<{widths[1]}}  {one.licence or 'unknown'}")
    for path in map(Path, arguments):
        materials = shipped_only(json.loads(path.read_text(encoding="utf-8")))
        path.write_text(json.dumps(materials, indent=2, ensure_ascii=False), encoding="utf-8")
    found = list(problems(packages))
    for sentence in found:
        print(sentence, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except PackageNotFoundError as error:
        sys.exit(f"The package {error.name} is not installed.")
