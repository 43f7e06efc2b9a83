"""Any model of sentence-transformers as the network of an embedder.

Importing the library takes seconds, so this module is imported only where such a model is chosen.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling
from tokenizers import Tokenizer

from rag.errors import SettingsError
from rag.models.embedders import Output, TextEmbedder
from rag.models.hub import loading, model_folder, model_name, prepare_libraries, require_files
from rag.models.layouts import CONFIGURATION, INDEX_SETTING, MODULES, SENTENCE_TRANSFORMER
from rag.models.padding import padded
from rag.types import Vector


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
    def __call__(self, texts: Sequence[Sequence[int]], prompt_tokens: int) -> Output:
        """See `Network`."""
        ids, mask = padded(texts, self._padding)
        features: dict[str, Any] = {
            "input_ids": ids,
            "attention_mask": mask,
            "prompt_length": prompt_tokens,
        }
        if self._has_types:
            features["token_type_ids"] = torch.zeros_like(ids)
        output = self._model(features)
        pooled: Vector = output["sentence_embedding"].float().numpy()
        states = output.get("token_embeddings")
        # A projection after the pooling puts the text's vector into another space than its tokens'.
        if states is None or states.shape[-1] != self.dimensions:
            return Output(pooled)
        return Output(
            pooled,
            [row[: len(text)].float().numpy() for row, text in zip(states, texts, strict=True)],
        )


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
    folder = model_folder(model, SENTENCE_TRANSFORMER)
    require_files(folder, model, *_pooling_files(folder, model))
    with loading(model):
        loaded = SentenceTransformer(
            str(folder),
            device="cpu",
            prompts=dict(prompts) if prompts else None,
            local_files_only=True,
        )
    return _embedder(model_name(model, folder), loaded)


def _pooling_files(folder: Path, model: str) -> list[str]:
    """The files that say how the model of a folder pools."""
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
