"""Fixtures that several test files share, and which tests share a process."""

from __future__ import annotations

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from tests.endpoint import endpoint

__all__ = ["endpoint"]


class OneProcessAFile(LoadScopeScheduling):
    """One process for a file, and one for all browser tests: they share a server."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.split("::", 1)[0]
        return "tests/browser" if file.startswith("tests/browser/") else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> OneProcessAFile:
    # `--dist loadgroup` of xdist 3.8 does not work with pytest 9.2, which ignores its node ids.
    return OneProcessAFile(config, log)
