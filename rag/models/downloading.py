"""What the model hub has, and how it comes into the cache: with its size before and its progress.

Every file appears in the cache at once and whole. A broken connection is taken up again where it
broke; after a kill, the file in hand begins again and the complete ones are kept.
"""

from __future__ import annotations

import errno
import logging
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import huggingface_hub
from huggingface_hub.errors import (
    GatedRepoError,
    HFValidationError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
)
from huggingface_hub.utils.tqdm import tqdm

from rag.errors import BackendError, MissingDependency, SettingsError
from rag.models.layouts import Layout

# Bytes that have arrived, and bytes that there will be.
Report = Callable[[int, int], None]

HUB_SECONDS = 10
# A pattern that no name fits.
NOTHING = "[]"
KEPT = "Start again: the files that are complete are kept."

_report: ContextVar[Report] = ContextVar("report", default=lambda done, total: None)


@contextmanager
def reporting(report: Report) -> Iterator[None]:
    """Every download inside, also one that loading a model begins, is told to `report`."""
    before = _report.set(report)
    try:
        yield
    finally:
        _report.reset(before)


def remote_files(model: str, layout: Layout) -> dict[str, int]:
    """The bytes of each file that the hub has of a model.

    Raises SettingsError for an unknown model, MissingDependency where the hub cannot be reached.
    """
    try:
        found = huggingface_hub.HfApi().model_info(model, files_metadata=True, timeout=HUB_SECONDS)
    except GatedRepoError as error:
        raise _gated(model) from error
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise unknown(model, layout.setting) from error
    # The hub's client lets through what its HTTP library raises.
    except Exception as error:
        offline = isinstance(error, OfflineModeIsEnabled)
        first = "Unset HF_HUB_OFFLINE and connect" if offline else "Connect"
        raise MissingDependency(
            f"The model {model} is not on this machine, and the model hub cannot be reached.",
            f"{first} once, name a mirror in HF_ENDPOINT, or a folder with the model in "
            f"{layout.setting}.",
        ) from error
    return {file.rfilename: file.size or 0 for file in found.siblings or []}


def download(
    model: str, files: Mapping[str, int], first: Sequence[str], check: Callable[[Path], None]
) -> Path:
    """The folder in the hub's cache with these files of a model, those fetched that it lacks.

    Between those that come `first` and the others, `check` may raise for the folder.
    Raises SettingsError for a model whose terms were not accepted, BackendError where there is no
    room for it or the download breaks off.
    """
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    with _downloading(model):
        # The list of all files is kept beside them, by which an unfinished model is known.
        folder = Path(
            huggingface_hub.snapshot_download(model, allow_patterns=NOTHING, tqdm_class=_Silent)
        )
        folder.mkdir(parents=True, exist_ok=True)
        missing = {name: size for name, size in files.items() if not (folder / name).is_file()}
        total = sum(missing.values())
        _require_room(model, folder, total)
        progress = _Progress(total)

        def fetch(names: Iterable[str]) -> None:
            for name in names:
                huggingface_hub.hf_hub_download(
                    model, name, revision=folder.name, tqdm_class=progress.bar()
                )

        fetch(name for name in missing if name in first)
        check(folder)
        fetch(name for name in missing if name not in first)
    return folder


class _Silent(tqdm):
    """A progress bar that draws nothing."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(  # type: ignore[no-untyped-call]
            *arguments, **{**options, "disable": True}
        )


class _Progress:
    """Adds up the bytes of several files."""

    def __init__(self, total: int) -> None:
        self._report = _report.get()
        self._total = total
        self._done = 0

    def advance(self, count: float | None) -> None:
        self._done = min(self._done + int(count or 0), self._total)
        self._report(self._done, self._total)

    def bar(self) -> type[tqdm]:
        """A class of progress bars, one a file, that tell this one."""
        progress = self

        class Bar(_Silent):
            def __init__(self, *arguments: Any, **options: Any) -> None:
                super().__init__(*arguments, **options)
                progress.advance(options.get("initial"))

            def update(self, n: float | None = 1) -> None:
                progress.advance(n)

        return Bar


def _require_room(model: str, folder: Path, size: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < size:
        raise _no_room(model, f"it takes {size / 1e6:,.0f} MB, and {free / 1e6:,.0f} MB are free")


@contextmanager
def _downloading(model: str) -> Iterator[None]:
    try:
        yield
    except (BackendError, SettingsError):
        raise
    except GatedRepoError as error:
        raise _gated(model) from error
    # The hub's client lets through what its HTTP library raises.
    except Exception as error:
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise _no_room(model, "the disk is full") from error
        if isinstance(error, PermissionError):
            raise BackendError(
                f"The model {model} cannot be written to {_cache()}.",
                "Make the folder writable, or name another one in HF_HOME.",
            ) from error
        raise BackendError(f"The download of {model} broke off: {said(error)}.", KEPT) from error


def _no_room(model: str, why: str) -> BackendError:
    return BackendError(
        f"There is no room for the model {model} in {_cache()}: {why}.",
        f"Free some space, or name a folder on another disk in HF_HOME. {KEPT}",
    )


def _cache() -> str:
    return huggingface_hub.constants.HF_HUB_CACHE


def _gated(model: str) -> SettingsError:
    return SettingsError(
        f"The authors of {model} want their terms accepted before a download.",
        "Accept them on the model's page of the hub, and set HF_TOKEN to a token of yours.",
    )


def unknown(model: str, setting: str) -> SettingsError:
    """The words for a name that is neither a folder nor a model."""
    return SettingsError(
        f"There is no folder and no hub model {model!r}.",
        f"Correct {setting} or the same field in the settings file.",
    )


def said(error: Exception) -> str:
    """The first line of what an exception says, without its full stop."""
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
