"""Fixtures that several test files share, and which tests share a process."""

from __future__ import annotations

import pytest

from tests.endpoint import endpoint

__all__ = ["endpoint"]


# xdist reads the groups in a hook of its own, which would otherwise run before this one.
@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """One process for a file, and one for all browser tests: they share a server."""
    for item in items:
        name = "browser" if "browser" in item.path.parts else item.path.name
        item.add_marker(pytest.mark.xdist_group(name))
