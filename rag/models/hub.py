"""Where models come from: folders, the hub's cache and the hub itself.

torch and transformers are imported by the functions that need them, so that this module is cheap.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Container, Iterator
from contextlib import contextmanager
from pathlib import Path

import huggingface_hub
from huggingface_hub.errors import CachedRepoTreeNotFoundError, HFValidationError

from rag.errors import BackendError, SettingsError
from rag.models.downloading import Report, download, remote_files, reporting, said, unknown
from rag.models.embedders import available_cores
from rag.models.layouts import CONFIGURATION, MODULES, Layout, layout_of

_WHY_NEEDED = {
    MODULES: "so it does not say how token vectors are pooled",
    CONFIGURATION: "so it is no model of transformers",
}
_INDEX_OF_WEIGHTS = "model.safetensors.index.json"


def prepare_libraries() -> None:
    """Keep warnings and progress bars off the terminal, and threads to the cores there are."""
    import torch
    import transformers

    transformers.utils.logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    for library in ("sentence_transformers", "huggingface_hub"):
        logging.getLogger(library).setLevel(logging.ERROR)
    torch.set_num_threads(min(torch.get_num_threads(), available_cores()))


def device() -> str:
    """Where a model runs."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def model_folder(model: str, layout: Layout) -> Path:
    """The folder of a model; the hub is asked only for what is not on this machine.

    A model that will not do is refused before its weights are fetched.
    Raises SettingsError where there is no such model or it will not do, MissingDependency where
    the hub cannot be reached, BackendError where a download fails or a file is broken.
    """
    folder = Path(model).expanduser()
    if folder.is_dir():
        require_files(folder, model, *layout.required)
        _check(folder, model, layout)
        return folder
    cached = _cached_folder(model, layout)
    if cached is not None:
        _check(cached, model, layout)
        if _is_whole(cached, model, layout):
            return cached
    files = remote_files(model, layout)
    _require(files, model, *layout.required)
    needed = {name: files[name] for name in layout.needed(files)}
    return download(model, needed, layout.required, lambda folder: _check(folder, model, layout))


def download_model(kind: str, model: str, report: Report, remote_code: bool = False) -> Path:
    """The folder of a model, with all that loading it as this kind reads; see `model_folder`.

    `report` is told the bytes that have arrived and those there will be.
    Raises SettingsError too where models of this kind do not come from the hub.
    """
    with reporting(report):
        return model_folder(model, hub_layout(kind, model, remote_code))


def hub_layout(kind: str, model: str, remote_code: bool = False) -> Layout:
    """The layout of the models of a kind. Raises SettingsError where the hub has none of them."""
    found = layout_of(kind, remote_code)
    if found is None:
        raise SettingsError(
            f"The model {model} does not come from the model hub.",
            "See what each model needs: rag models",
        )
    return found


def model_name(model: str, folder: Path) -> str:
    """What a model is called: its hub name, or the name of its folder."""
    return folder.resolve().name if Path(model).expanduser().is_dir() else model


def is_here(model: str, layout: Layout) -> bool:
    """Whether a model can be loaded without the hub: a folder, or whole in the hub's cache."""
    folder = Path(model).expanduser()
    if folder.is_dir():
        return all((folder / name).is_file() for name in layout.required)
    try:
        cached = _cached_folder(model, layout)
    except SettingsError:
        return False
    return cached is not None and _is_whole(cached, model, layout)


def download_size(model: str, layout: Layout) -> int:
    """Bytes that loading would fetch from the hub; 0 where nothing is missing.

    Raises SettingsError and MissingDependency as `model_folder` does.
    """
    if is_here(model, layout):
        return 0
    files = remote_files(model, layout)
    _require(files, model, *layout.required)
    folder = _cached_folder(model, layout)
    return sum(
        files[name]
        for name in layout.needed(files)
        if folder is None or not (folder / name).is_file()
    )


def _cached_folder(model: str, layout: Layout) -> Path | None:
    """The folder in the hub's cache that has a first file of the model."""
    first = layout.required[0]
    try:
        path = huggingface_hub.hf_hub_download(model, first, local_files_only=True)
    except HFValidationError as error:
        raise unknown(model, layout.setting) from error
    except OSError:
        return None
    return Path(path).parent


def _is_whole(folder: Path, model: str, layout: Layout) -> bool:
    """Whether everything is in the cache that loading reads."""
    try:
        names = [file.path for file in huggingface_hub.get_cached_repo_tree(model)]
        expected = layout.needed(names)
    except CachedRepoTreeNotFoundError:
        # Earlier versions of the hub's library kept no list of a model's files.
        expected = [*layout.required, *_indexed_weights(folder)]
        names = [str(path.relative_to(folder).as_posix()) for path in folder.rglob("*")]
        if not layout.weights(names):
            return False
    return all((folder / name).is_file() for name in expected)


def _indexed_weights(folder: Path) -> set[str]:
    """The files that the weights of a large model are split into."""
    index = folder / _INDEX_OF_WEIGHTS
    if not index.is_file():
        return set()
    return set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())


def _check(folder: Path, model: str, layout: Layout) -> None:
    if CONFIGURATION in layout.required and (folder / CONFIGURATION).is_file():
        with loading(model):
            configuration = json.loads((folder / CONFIGURATION).read_text(encoding="utf-8"))
        layout.check(model, configuration)


def has_files(folder: Path, *patterns: str) -> bool:
    """Whether the folder has a file of one of the patterns."""
    return any(True for pattern in patterns for _ in folder.glob(pattern))


def require_files(folder: Path, model: str, *names: str) -> None:
    """Raise SettingsError where the folder lacks one of the files."""
    _require({name for name in names if (folder / name).is_file()}, model, *names)


def _require(found: Container[str], model: str, *names: str) -> None:
    for name in names:
        if name not in found:
            why = _WHY_NEEDED.get(name, "so a part of it is missing")
            raise SettingsError(
                f"The model {model} has no {name}, {why}.",
                "Download all of its files, or choose a model that has it.",
            )


def require_memory(folder: Path, model: str) -> None:
    """Raise SettingsError where a model's weights are larger than the memory of this machine."""
    if not hasattr(os, "sysconf"):
        return
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    size = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    if size > memory:
        raise SettingsError(
            f"The model {model} takes {size / 1e9:.1f} GB of memory, and this machine has "
            f"{memory / 1e9:.1f} GB.",
            "Choose a smaller one, or run this one behind an endpoint.",
        )


@contextmanager
def loading(model: str) -> Iterator[None]:
    """Whatever fails inside is a BackendError about this model."""
    try:
        yield
    # The loaders run code of several libraries and document no exceptions of their own.
    except Exception as error:
        raise BackendError(
            f"The model {model} cannot be loaded: {said(error)}.",
            "Download it again (`hf download` and its name), or choose another model.",
        ) from error
