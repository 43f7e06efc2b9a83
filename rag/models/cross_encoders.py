"""Cross-encoders: one network reads question and passage together and gives one number.

Importing sentence-transformers takes seconds, so this module is imported only where such a
reranker is chosen.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Lock
from typing import Any

import torch
from sentence_transformers import CrossEncoder

from rag.errors import BackendError, SettingsError
from rag.models.hub import (
    device,
    has_files,
    loading,
    model_folder,
    model_name,
    prepare_libraries,
    require_memory,
)
from rag.models.layouts import PAIR_MODEL, PAIR_MODEL_WITH_CODE, RERANKER_SETTING, Layout
from rag.types import Passage, Question

Pair = tuple[str, str]

# A question with the longest chunk is some 550 tokens; more would only take memory.
LONGEST = 1024

BATCH = 16


class PairReranker:
    """The `Reranker` over a network that gives a logit a pair.

    The sigmoid is applied here and nowhere else. It orders passages well, but it was not fitted
    on data as a probability. Safe to use from several threads, which wait for each other.
    """

    by_words = False
    calibrated = False

    def __init__(self, name: str, logits: Callable[[list[Pair]], Sequence[float]]) -> None:
        self.name = name
        self._logits = logits
        # A tokenizer of transformers fails where two threads set its truncation at once.
        self._lock = Lock()

    def score(self, question: Question, passages: Sequence[Passage]) -> list[float]:
        """The sigmoid of each passage's logit, in the same order. Raises BackendError."""
        if not passages:
            return []
        pairs = [(question.text, passage.chunk.text) for passage in passages]
        try:
            with self._lock:
                logits = self._logits(pairs)
        # The network is code of several libraries, which document no exceptions.
        except Exception as error:
            raise BackendError(
                f"The reranker {self.name} failed: {error}.",
                "Rerank fewer passages, or choose another reranker.",
            ) from error
        return torch.tensor(logits, dtype=torch.float64).sigmoid().tolist()


def load_cross_encoder(model: str, remote_code: bool = False) -> PairReranker:
    """The cross-encoder of a folder or a hub name; the hub is asked only for what is not here.

    Code that comes with a model runs only with `remote_code`. Weights are read as safetensors.
    Raises SettingsError where the model is unknown, cannot judge pairs or needs code of its own,
    MissingDependency where the hub cannot be reached, BackendError where the files are broken.
    """
    prepare_libraries()
    folder = pair_model_folder(model, PAIR_MODEL_WITH_CODE if remote_code else PAIR_MODEL)
    with loading(model):
        network = CrossEncoder(
            str(folder),
            device=device(),
            trust_remote_code=remote_code,
            # The code of a model may live in another repository than its weights.
            local_files_only=not remote_code,
            model_kwargs={"use_safetensors": True, "dtype": torch.float32},
        )
        network.max_seq_length = longest(network.config, network.tokenizer)
    require_one_score(model, network.num_labels)

    def logits(pairs: list[Pair]) -> Sequence[float]:
        values: list[float] = network.predict(
            pairs,
            batch_size=BATCH,
            show_progress_bar=False,
            activation_fn=torch.nn.Identity(),
        ).tolist()
        return values

    return PairReranker(model_name(model, folder), logits)


def pair_model_folder(model: str, layout: Layout) -> Path:
    """The folder of a model that gives one logit a pair, its weights in safetensors.

    Raises what `load_cross_encoder` raises.
    """
    if not model:
        raise SettingsError(
            "This reranker needs a model.",
            f"Name one in {RERANKER_SETTING}: a folder, or a hub name like "
            "cross-encoder/ms-marco-MiniLM-L6-v2.",
        )
    folder = model_folder(model, layout)
    if not has_files(folder, "*.safetensors"):
        raise SettingsError(
            f"The model {model} has no weights in the safetensors format.",
            "Choose a model that has a model.safetensors: other formats can hold programs.",
        )
    require_memory(folder, model)
    return folder


def require_one_score(model: str, labels: int) -> None:
    """Raise SettingsError where a model sorts pairs into classes."""
    if labels != 1:
        raise SettingsError(
            f"The model {model} sorts pairs into {labels} classes instead of giving one score.",
            "Choose a model for reranking, like BAAI/bge-reranker-v2-m3.",
        )


def longest(configuration: Any, tokenizer: Any) -> int:
    """Most tokens of a pair that the model is given."""
    # RoBERTa keeps two of its positions for itself.
    positions = getattr(configuration, "max_position_embeddings", LONGEST + 2) - 2
    return int(min(LONGEST, tokenizer.model_max_length, positions))
