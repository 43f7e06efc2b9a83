"""Where models come from: folders, the hub's cache and the hub itself.

torch and transformers are imported by the functions that need them, so that this module is cheap.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import huggingface_hub
from huggingface_hub.errors import (
    EntryNotFoundError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
)

from rag.errors import BackendError, MissingDependency, SettingsError
from rag.models.embedders import available_cores

MODULES = "modules.json"
CONFIGURATION = "config.json"
INDEX_SETTING = "RAG_INDEX_MODEL"

_WHY_NEEDED = {
    MODULES: "so it does not say how token vectors are pooled",
    CONFIGURATION: "so it is no model of transformers",
}


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


def model_folder(
    model: str,
    setting: str,
    patterns: Sequence[str],
    check: Callable[[Mapping[str, Any]], None] = lambda configuration: None,
) -> Path:
    """The folder of a model; from the hub only files of these patterns are fetched, once.

    `setting` is where the person named the model. `check` sees the model's configuration before
    its weights are fetched, and raises where the model will not do.
    Raises SettingsError where there is no such model, MissingDependency where the hub cannot be
    reached, BackendError where a download fails or the configuration is broken.
    """
    folder = Path(model).expanduser()
    of_hub = not folder.is_dir()
    if of_hub:
        local = is_cached(model, CONFIGURATION, setting)
        with loading(model):
            path = huggingface_hub.hf_hub_download(model, CONFIGURATION, local_files_only=local)
        folder = Path(path).parent
    require_files(folder, model, CONFIGURATION)
    with loading(model):
        configuration = json.loads((folder / CONFIGURATION).read_text(encoding="utf-8"))
    check(configuration)
    weights = [pattern for pattern in patterns if pattern.endswith((".safetensors", ".bin"))]
    if of_hub and not has_files(folder, *weights):
        _ask_hub(model, CONFIGURATION, setting)
        with loading(model):
            huggingface_hub.snapshot_download(
                model, allow_patterns=list(patterns), ignore_patterns=["onnx/*", "openvino/*"]
            )
    return folder


def has_files(folder: Path, *patterns: str) -> bool:
    """Whether the folder has a file of one of the patterns."""
    return any(True for pattern in patterns for _ in folder.glob(pattern))


def require_files(folder: Path, model: str, *names: str) -> None:
    """Raise SettingsError where the folder lacks one of the files."""
    for name in names:
        if not (folder / name).is_file():
            raise _lacks(model, name)


@contextmanager
def loading(model: str) -> Iterator[None]:
    """Whatever fails inside is a BackendError about this model."""
    try:
        yield
    # The loaders run code of several libraries and document no exceptions of their own.
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise BackendError(
            f"The model {model} cannot be loaded: {reason.rstrip('.')}.",
            "Download it again (`hf download` and its name), or choose another model.",
        ) from error


def is_cached(model: str, file: str, setting: str) -> bool:
    """Whether the hub's cache holds the model; False where the hub has it."""
    try:
        huggingface_hub.hf_hub_download(model, file, local_files_only=True)
    except HFValidationError as error:
        raise _is_unknown(model, setting) from error
    except LocalEntryNotFoundError:
        # Asking for the file itself would wait half a minute for a hub that cannot be reached.
        _ask_hub(model, file, setting)
        return False
    return True


def _ask_hub(model: str, file: str, setting: str) -> None:
    url = huggingface_hub.hf_hub_url(model, file)
    try:
        huggingface_hub.get_hf_file_metadata(url)
    except EntryNotFoundError as error:
        raise _lacks(model, file) from error
    except RepositoryNotFoundError as error:
        raise _is_unknown(model, setting) from error
    # The hub's client lets through what its HTTP library raises.
    except Exception as error:
        raise MissingDependency(
            f"The model {model} is not on this machine, and the model hub cannot be reached.",
            f"Connect once, name a mirror in HF_ENDPOINT, or a folder with the model in {setting}.",
        ) from error


def _is_unknown(model: str, setting: str) -> SettingsError:
    return SettingsError(
        f"There is no folder and no hub model {model!r}.",
        f"Correct {setting} or the same field in the settings file.",
    )


def _lacks(model: str, file: str) -> SettingsError:
    why = _WHY_NEEDED.get(file, "so a part of it is missing")
    return SettingsError(
        f"The model {model} has no {file}, {why}.",
        "Download all of its files, or choose a model that has it.",
    )
