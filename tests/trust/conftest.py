"""Marks the tests of this folder as long ones, and writes the report of `make trust`."""

from __future__ import annotations

import platform
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

import rag

# The tests of browsers and the tests here share what drives a server.
from tests.browser.conftest import (
    app,
    chat_endpoint,
    chromium,
    empty_app,
    first_visit,
    library_home,
    visitor,
    written_app,
)

__all__ = [
    "app",
    "chat_endpoint",
    "chromium",
    "empty_app",
    "first_visit",
    "library_home",
    "visitor",
    "written_app",
]

_HEAD = """# What was promised, and held

RankLens {version}, {when} UTC, Python {python}, {machine}. Made by `make trust`.

| row | what | held | figures | seconds |
|---|---|---|---|---|
"""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--trust-report", metavar="FILE", help="write what was held to a file")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All tests of this folder are long ones."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("trust")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> object:
    """Note which row of docs/trust.md a test belongs to."""
    report = yield
    for marker in item.iter_markers("row"):
        report.user_properties.append(("row", marker.args[0]))
    return report


class Report:
    """Collects the outcome of every test and writes the table at the end."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines: dict[str, str] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if "/trust/" not in report.nodeid or (report.when != "call" and report.passed):
            return
        row = next((value for name, value in report.user_properties if name == "row"), "")
        figures = [f"{name}: {value}" for name, value in report.user_properties if name != "row"]
        if report.skipped and isinstance(report.longrepr, tuple):
            figures.append(report.longrepr[2])
        if report.failed:
            figures.append(report.longreprtext.splitlines()[-1])
        name = report.nodeid.rpartition("::")[2].removeprefix("test_").replace("_", " ")
        held = {"passed": "yes", "failed": "**no**", "skipped": "skipped"}[report.outcome]
        told = "; ".join(figures).replace("|", "\\|")
        self.lines[report.nodeid] = f"| {row} | {name} | {held} | {told} | {report.duration:.0f} |"
        self.path.write_text(self._head() + "\n".join(self.lines.values()) + "\n", encoding="utf-8")

    def _head(self) -> str:
        return _HEAD.format(
            version=rag.__version__,
            when=datetime.now(UTC).strftime("%Y-%m-%d %H:%M"),
            python=sys.version.split()[0],
            machine=f"{platform.system()} {platform.machine()}",
        )


def pytest_configure(config: pytest.Config) -> None:
    path = config.getoption("trust_report", None)
    if path:
        config.pluginmanager.register(Report(Path(path)))
