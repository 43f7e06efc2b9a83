"""Fixtures that several test files share, and which tests share a process."""

from __future__ import annotations

import hypothesis
import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from tests.endpoint import endpoint

__all__ = ["endpoint"]

# On a machine that others use too, how long an example takes is chance.
hypothesis.settings.register_profile("shared", deadline=None)
hypothesis.settings.load_profile("shared")


# What takes longest begins first, so that both processes end at the same time.
LONGEST = (
    "tests/browser",
    "tests/test_local_models.py",
    "tests/test_embedders.py",
    "tests/test_store.py",
    "tests/test_checking.py",
    "tests/test_whereabouts.py",
    "tests/test_pages.py",
    "tests/test_inspection.py",
    "tests/test_badfiles.py",
    "tests/test_bundled.py",
    "tests/test_crashes.py",
    "tests/test_two_writers.py",
    "tests/test_backup.py",
    "tests/test_headers.py",
    "tests/test_keys.py",
    "tests/test_hostile_documents.py",
    "tests/test_hostile_names.py",
    "tests/test_chunking.py",
)


class OneProcessAFile(LoadScopeScheduling):
    """One process for a file, and one for all browser tests: they share a server."""

    def _split_scope(self, nodeid: str) -> str:
        return group(nodeid)


def group(nodeid: str) -> str:
    """The file of a test, or the folder of the browser tests."""
    file = nodeid.split("::", 1)[0]
    return "tests/browser" if file.startswith("tests/browser/") else file


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest groups first, and keep the order within each."""
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(group(item.nodeid), len(LONGEST)))


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> OneProcessAFile:
    # `--dist loadgroup` of xdist 3.8 does not work with pytest 9.2, which ignores its node ids.
    # xdist would begin with the files of the most tests, which are not the longest.
    config.option.loadscopereorder = False
    return OneProcessAFile(config, log)
