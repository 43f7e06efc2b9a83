"""What is known against the packages that RankLens is made of."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Weaknesses that stay, each with the reason why it does no harm here.
ACCEPTED: dict[str, str] = {}
_SECONDS = 60


@pytest.mark.row(27)
def test_no_pinned_version_has_a_known_weakness(
    record_property: Callable[[str, object], None],
) -> None:
    """Skipped where the list of weaknesses cannot be asked for all packages."""
    places = (ROOT / "build" / "tools" / "bin", Path(sys.executable).parent)
    audit = next(filter(None, (shutil.which("pip-audit", path=str(one)) for one in places)), None)
    if audit is None:
        pytest.skip("pip-audit is not installed: make audit")
    command = [audit, "--requirement", str(ROOT / "constraints.txt"), "--no-deps", "--disable-pip"]
    command += ["--format", "json", "--progress-spinner", "off"]
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
        packages = json.loads(run.stdout)["dependencies"]
    except (subprocess.TimeoutExpired, ValueError):
        pytest.skip("the list of weaknesses cannot be reached")
    missing = [one["name"] for one in packages if "skip_reason" in one]
    if missing:
        pytest.skip(f"nothing could be asked about {len(missing)} of {len(packages)} packages")
    found = {
        f"{one['name']} {one['version']}: {weakness['id']}"
        for one in packages
        for weakness in one["vulns"]
        if weakness["id"] not in ACCEPTED
    }
    record_property("packages", len(packages))
    record_property("weaknesses", len(found))
    assert sorted(found) == []
