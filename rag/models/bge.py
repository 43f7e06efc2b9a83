"""The BGE models through FlagEmbedding: rerankers, and BGE-M3 with all its vectors.

Importing FlagEmbedding takes seconds, so this module is imported only where such a model is
chosen.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer
from transformers import AutoConfig

from rag.errors import MissingDependency, SettingsError
from rag.models.cross_encoders import (
    Pair,
    PairReranker,
    longest,
    pair_model_folder,
    require_one_score,
)
from rag.models.embedders import Output, TextEmbedder
from rag.models.hub import device, loading, model_folder, model_name, prepare_libraries
from rag.models.layouts import (
    BGE_M3,
    BGE_RERANKER,
    GEMMA,
    INDEX_SETTING,
    TOKENIZER,
    architecture,
)
from rag.models.padding import padded
from rag.types import Vector

# On a CPU and on CUDA. FlagEmbedding runs the first batch twice, so a small one is worth more than
# it costs on a CPU. A language model gives a number a token of its vocabulary at every place of a
# text, which takes half a gigabyte a pair.
ENCODER_BATCHES = (8, 128)
LANGUAGE_MODEL_BATCHES = (1, 8)


def load_bge_reranker(model: str) -> PairReranker:
    """A reranker of the BGE family: an encoder or bge-reranker-v2-gemma; a folder or a hub name.

    Raises SettingsError for a model that is none (-minicpm-layerwise brings its own code),
    MissingDependency without FlagEmbedding or the hub, BackendError where the files are broken.
    """
    flag_embedding = _flag_embedding()
    prepare_libraries()
    folder = pair_model_folder(model, BGE_RERANKER)
    place = device()
    with loading(model):
        writes = architecture(AutoConfig.from_pretrained(folder).to_dict()) == GEMMA
        kind = flag_embedding.FlagLLMReranker if writes else flag_embedding.FlagReranker
        network = kind(str(folder), use_fp16=place == "cuda", devices=place)
        if place == "cpu":
            network.model.float()
        network.max_length = longest(network.model.config, network.tokenizer)
    if not writes:
        require_one_score(model, network.model.config.num_labels)
    cpu, cuda = LANGUAGE_MODEL_BATCHES if writes else ENCODER_BATCHES
    batch = cpu if place == "cpu" else cuda

    def logits(pairs: list[Pair]) -> Sequence[float]:
        scores: list[float] = network.compute_score(pairs, batch_size=batch)
        return scores

    return PairReranker(model_name(model, folder), logits)


def load_bge_m3(model: str) -> TextEmbedder:
    """BGE-M3: dense vectors for recall, ColBERT vectors as token vectors and sparse weights.

    Raises SettingsError where the model is unknown or lacks the parts that only BGE-M3 has,
    MissingDependency without FlagEmbedding or the hub, BackendError where the files are broken.
    """
    flag_embedding = _flag_embedding()
    if not model:
        raise SettingsError(
            "The embedder `bge-m3` needs a model.",
            f"Name one in {INDEX_SETTING}: a folder, or BAAI/bge-m3.",
        )
    prepare_libraries()
    folder = model_folder(model, BGE_M3)
    place = device()
    with loading(model):
        loaded = flag_embedding.BGEM3FlagModel(str(folder), use_fp16=place == "cuda", devices=place)
        tokenizer = Tokenizer.from_file(str(folder / TOKENIZER))
        network = BgeM3Network(loaded.model, loaded.tokenizer, place)
    return TextEmbedder(model_name(model, folder), network, tokenizer, "", "")


class BgeM3Network:
    """The network of BGE-M3: the pooled vector is that of [CLS], the others are ColBERT's.

    The same pass gives the sparse weights.
    """

    def __init__(self, model: Any, tokenizer: Any, place: str) -> None:
        self._model = model.to(place).eval()
        self._place = place
        self._padding: int = tokenizer.pad_token_id
        # The tokens that FlagEmbedding too leaves out of a text's weights.
        special = (tokenizer.cls_token_id, tokenizer.eos_token_id, tokenizer.unk_token_id)
        self._weightless = {self._padding, *(token for token in special if token is not None)}
        self.dimensions = int(model.config.hidden_size)
        # RoBERTa keeps two of its positions for itself.
        self.longest = int(
            min(tokenizer.model_max_length, model.config.max_position_embeddings - 2)
        )

    @torch.inference_mode()
    def __call__(self, texts: Sequence[Sequence[int]], prompt_tokens: int) -> Output:
        """See `Network`."""
        ids, mask = padded(texts, self._padding)
        features = {
            "input_ids": ids.to(self._place),
            "attention_mask": mask.to(self._place),
        }
        output = self._model(
            features, return_dense=True, return_sparse=True, return_colbert_vecs=True
        )
        dense: Vector = output["dense_vecs"].float().cpu().numpy()
        states: Vector = output["colbert_vecs"].float().cpu().numpy()
        weights: Vector = output["sparse_vecs"].squeeze(-1).float().cpu().numpy()
        # ColBERT has no vector for [CLS], and the tokens after it keep their places.
        first = np.zeros((1, self.dimensions), dtype=np.float32)
        weights[np.isin(ids.numpy(), list(self._weightless))] = 0
        return Output(
            dense,
            tokens=[
                np.concatenate([first, row[: len(text) - 1]])
                for row, text in zip(states, texts, strict=True)
            ],
            weights=[row[: len(text)] for row, text in zip(weights, texts, strict=True)],
        )


def _flag_embedding() -> Any:
    try:
        library = import_module("FlagEmbedding")
        rerankers: list[Any] = [
            import_module(f"FlagEmbedding.inference.reranker.{kind}.base")
            for kind in ("encoder_only", "decoder_only")
        ]
    except ImportError as error:
        raise MissingDependency(
            "The package FlagEmbedding is not installed or does not work here.",
            'Run: pip install "ranklens[bge]"',
        ) from error
    # The library has no switch for its progress bars.
    for reranker in rerankers:
        reranker.tqdm = lambda batches, **_: batches
        reranker.trange = lambda *bounds, **_: range(*bounds)
    return library
