"""Folders with tiny random models, laid out as the real ones are; and the bundled model, for real.

Each is made once in a process. The libraries are imported where they are used: collecting the
tests would wait for them.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from shutil import copytree
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pytest

from rag.errors import MissingDependency
from rag.models import Embedder
from rag.models.bundled import bundled_model_folder
from rag.models.embedders import make_embedder
from rag.settings import load_settings

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase, XLMRobertaConfig

HIDDEN = 32
LONGEST = 96

_WORDS = ["the", "of", "fridge", "vaccine", "capital", "city", "Warsaw", "Poland"]
_WORDS += ["疫苗", "冰箱", "首都", "波兰", "华沙"]
_SIGNS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,?"
_SIGNS += "，。？是的里哪在应存放阅读天气"


@cache
def bundled() -> Embedder:
    """The embedder of settings that nobody changed."""
    settings = load_settings(environment={})
    try:
        bundled_model_folder(settings.cache)
    except MissingDependency as missing:
        pytest.skip(missing.message)
    return make_embedder(settings.index, settings.cache, settings.embeddings)


def tokenizer() -> PreTrainedTokenizerBase:
    """A tokenizer of the class that XLM-RoBERTa models name, with a small vocabulary."""
    from transformers import XLMRobertaTokenizer

    pieces = ["<s>", "<pad>", "</s>", "<unk>", "▁", *_SIGNS, *_WORDS, *(f"▁{w}" for w in _WORDS)]
    vocabulary = [(piece, 0.0 if place < 4 else -5.0) for place, piece in enumerate(pieces)]
    return XLMRobertaTokenizer(
        vocab=[*vocabulary, ("<mask>", 0.0)], model_max_length=LONGEST, add_prefix_space=True
    )


def _configuration(tokens: PreTrainedTokenizerBase, labels: int) -> XLMRobertaConfig:
    from transformers import XLMRobertaConfig

    return XLMRobertaConfig(
        vocab_size=len(tokens),
        hidden_size=HIDDEN,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=LONGEST + 2,
        type_vocab_size=1,
        initializer_range=0.3,
        num_labels=labels,
    )


def pair_model(folder: Path, labels: int = 1) -> Path:
    """A cross-encoder as BAAI/bge-reranker-v2-m3 is one."""
    return copytree(_pair_model(labels).name, folder, dirs_exist_ok=True)


def bge_m3(folder: Path) -> Path:
    """A model as BAAI/bge-m3 is one, without its modules.json."""
    return copytree(_bge_m3().name, folder, dirs_exist_ok=True)


@cache
def _pair_model(labels: int) -> TemporaryDirectory[str]:
    import torch
    from transformers import XLMRobertaForSequenceClassification

    made = TemporaryDirectory()
    tokens = tokenizer()
    with torch.random.fork_rng():
        torch.manual_seed(20261122)
        model = XLMRobertaForSequenceClassification(_configuration(tokens, labels))
        model.save_pretrained(made.name)
    tokens.save_pretrained(made.name)
    return made


@cache
def _bge_m3() -> TemporaryDirectory[str]:
    import torch
    from transformers import XLMRobertaModel

    made = TemporaryDirectory()
    folder = Path(made.name)
    tokens = tokenizer()
    with torch.random.fork_rng():
        torch.manual_seed(20261122)
        XLMRobertaModel(_configuration(tokens, 1)).save_pretrained(folder)
        for name, length in (("colbert_linear.pt", HIDDEN), ("sparse_linear.pt", 1)):
            torch.save(torch.nn.Linear(HIDDEN, length).state_dict(), folder / name)
    tokens.save_pretrained(folder)
    return made


def say_how_it_pools(folder: Path, pooling: str = "cls") -> Path:
    """Add what sentence-transformers writes beside a model."""
    kinds = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")]
    modules = [
        {
            "idx": place,
            "name": str(place),
            "path": path,
            "type": f"sentence_transformers.models.{kind}",
        }
        for place, (path, kind) in enumerate(kinds)
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir(exist_ok=True)
    (folder / "1_Pooling" / "config.json").write_text(
        json.dumps(
            {
                "word_embedding_dimension": HIDDEN,
                "pooling_mode_cls_token": pooling == "cls",
                "pooling_mode_mean_tokens": pooling == "mean",
            }
        )
    )
    return folder


def configure(folder: Path, **values: object) -> Path:
    """Change fields of the model's config.json."""
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))
    return folder
