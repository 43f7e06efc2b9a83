"""Any model of sentence-transformers as the network of an embedder.

Importing the library takes seconds, so this module is imported only where such a model is chosen.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
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
from tokenizers import Tokenizer

from rag.errors import BackendError, MissingDependency, SettingsError
from rag.models.embedders import TextEmbedder, available_cores
from rag.types import Vector

MODULES = "modules.json"


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
            "Name one in RAG_INDEX_MODEL: a folder, or a hub name like intfloat/e5-small-v2.",
        )
    transformers.utils.logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    for library in ("sentence_transformers", "huggingface_hub"):
        logging.getLogger(library).setLevel(logging.ERROR)
    torch.set_num_threads(min(torch.get_num_threads(), available_cores()))
    folder = Path(model).expanduser()
    if folder.is_dir():
        if not (folder / MODULES).is_file():
            raise _says_no_pooling(model)
        loaded = _load(str(folder), model, prompts, local=True)
        name = folder.resolve().name
    else:
        local = _is_cached(model)
        loaded = _load(model, model, prompts, local=local)
        name = model
    return _embedder(name, loaded)


def _embedder(name: str, model: SentenceTransformer) -> TextEmbedder:
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


def _load(
    path: str, model: str, prompts: Mapping[str, str] | None, *, local: bool
) -> SentenceTransformer:
    try:
        return SentenceTransformer(
            path,
            device="cpu",
            prompts=dict(prompts) if prompts else None,
            local_files_only=local,
        )
    # The loader runs code of several libraries and documents no exceptions of its own.
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise BackendError(
            f"The model {model} cannot be loaded: {reason.rstrip('.')}.",
            "Download it again, or choose another model.",
        ) from error


def _is_cached(model: str) -> bool:
    """Whether the hub's cache holds the model; False where the hub has it."""
    try:
        huggingface_hub.hf_hub_download(model, MODULES, local_files_only=True)
    except HFValidationError as error:
        raise _is_unknown(model) from error
    except LocalEntryNotFoundError:
        # Asking for the file itself would wait half a minute for a hub that cannot be reached.
        _ask_hub(model)
        return False
    return True


def _ask_hub(model: str) -> None:
    url = huggingface_hub.hf_hub_url(model, MODULES)
    try:
        huggingface_hub.get_hf_file_metadata(url)
    except EntryNotFoundError as error:
        raise _says_no_pooling(model) from error
    except RepositoryNotFoundError as error:
        raise _is_unknown(model) from error
    # The hub's client lets through what its HTTP library raises.
    except Exception as error:
        raise MissingDependency(
            f"The model {model} is not on this machine, and the model hub cannot be reached.",
            "Connect once, or name a folder with the model in RAG_INDEX_MODEL.",
        ) from error


def _is_unknown(model: str) -> SettingsError:
    return SettingsError(
        f"There is no folder and no hub model {model!r}.",
        "Correct RAG_INDEX_MODEL or `model` in the settings file.",
    )


def _says_no_pooling(model: str) -> SettingsError:
    return SettingsError(
        f"The model {model} has no {MODULES}, so it does not say how token vectors are pooled.",
        "Choose a model that was saved by sentence-transformers.",
    )
