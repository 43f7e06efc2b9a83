"""Any model of sentence-transformers as the network of an embedder, and where models come from.

Importing the library takes seconds, so this module is imported only where such a model is chosen.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import huggingface_hub
import torch
import transformers
from huggingface_hub.errors import (
    EntryNotFoundError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
)
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling
from tokenizers import Tokenizer

from rag.errors import BackendError, MissingDependency, SettingsError
from rag.models.embedders import TextEmbedder, available_cores
from rag.types import Vector

MODULES = "modules.json"
CONFIGURATION = "config.json"
INDEX_SETTING = "RAG_INDEX_MODEL"

_WHY_NEEDED = {
    MODULES: "so it does not say how token vectors are pooled",
    CONFIGURATION: "so it is no model of transformers",
}


class SentenceTransformerNetwork:
    """A `SentenceTransformer` whose first module is a transformer.

    Its own pooling makes the pooled vector of the same forward pass that gives token vectors.
    """

    def __init__(self, model: SentenceTransformer) -> None:
        self._model = model
        self._padding: int = model.tokenizer.pad_token_id or 0
        self._has_types = "token_type_ids" in model.tokenizer.model_input_names
        self.dimensions = int(model.get_embedding_dimension() or 0)
        self.longest = int(model.max_seq_length or model.tokenizer.model_max_length)

    @torch.inference_mode()
    def __call__(
        self, texts: Sequence[Sequence[int]], prompt_tokens: int
    ) -> tuple[Vector, list[Vector] | None]:
        """See `Network`."""
        lengths = [len(text) for text in texts]
        longest = max(lengths)
        rows = [[*text, *[self._padding] * (longest - len(text))] for text in texts]
        features: dict[str, Any] = {
            "input_ids": torch.tensor(rows),
            "attention_mask": (torch.arange(longest) < torch.tensor(lengths)[:, None]).long(),
            "prompt_length": prompt_tokens,
        }
        if self._has_types:
            features["token_type_ids"] = torch.zeros_like(features["input_ids"])
        output = self._model(features)
        pooled: Vector = output["sentence_embedding"].float().numpy()
        states = output.get("token_embeddings")
        # A projection after the pooling puts the text's vector into another space than its tokens'.
        if states is None or states.shape[-1] != self.dimensions:
            return pooled, None
        return pooled, [
            row[:length].float().numpy() for row, length in zip(states, lengths, strict=True)
        ]


def load_sentence_transformer(model: str, prompts: Mapping[str, str] | None = None) -> TextEmbedder:
    """The embedder of a local folder or a hub name; the hub is asked only for what is not here.

    `prompts` win over those of the model's own configuration.
    Raises SettingsError where there is no such model or it does not say how it pools,
    MissingDependency where the hub cannot be reached, BackendError where the files are broken.
    """
    if not model:
        raise SettingsError(
            "The embedder `sentence-transformers` needs a model.",
            f"Name one in {INDEX_SETTING}: a folder, or a hub name like intfloat/e5-small-v2.",
        )
    prepare_libraries()
    folder = Path(model).expanduser()
    if folder.is_dir():
        require_files(folder, model, MODULES, *_pooling_files(folder, model))
        name, path, local = folder.resolve().name, str(folder), True
    else:
        name, path, local = model, model, is_cached(model, MODULES, INDEX_SETTING)
    with loading(model):
        loaded = SentenceTransformer(
            path,
            device="cpu",
            prompts=dict(prompts) if prompts else None,
            local_files_only=local,
        )
    return _embedder(name, loaded)


def _pooling_files(folder: Path, model: str) -> list[str]:
    """The files that say how the model of a folder pools."""
    if not (folder / MODULES).is_file():
        return []
    with loading(model):
        modules = json.loads((folder / MODULES).read_text(encoding="utf-8"))
        return [
            f"{module['path']}/{CONFIGURATION}"
            for module in modules
            if module["type"].endswith(".Pooling")
        ]


def _embedder(name: str, model: SentenceTransformer) -> TextEmbedder:
    if not any(isinstance(module, Pooling) for module in model):
        raise SettingsError(
            f"The model {name} does not pool token vectors into one vector of a text.",
            "Choose a model whose modules.json names a Pooling.",
        )
    tokenizer = getattr(model.tokenizer, "backend_tokenizer", None)
    if not isinstance(tokenizer, Tokenizer):
        raise SettingsError(
            f"The model {name} has no fast tokenizer, so its tokens have no places in the text.",
            "Choose a model with a tokenizer.json.",
        )
    return TextEmbedder(
        name,
        SentenceTransformerNetwork(model),
        tokenizer,
        _prompt(model, "query"),
        _prompt(model, "document", "passage", "corpus"),
    )


def _prompt(model: SentenceTransformer, *names: str) -> str:
    names = (*names, model.default_prompt_name or "")
    return next((prompt for name in names if (prompt := model.prompts.get(name))), "")


def prepare_libraries() -> None:
    """Keep warnings and progress bars off the terminal, and threads to the cores there are."""
    transformers.utils.logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    for library in ("sentence_transformers", "huggingface_hub"):
        logging.getLogger(library).setLevel(logging.ERROR)
    torch.set_num_threads(min(torch.get_num_threads(), available_cores()))


def device() -> str:
    """Where a model runs."""
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
