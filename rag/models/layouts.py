"""Which files of a model are needed to load it, by the kind of model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial
from pathlib import PurePosixPath
from typing import Any

from rag.errors import SettingsError

MODULES = "modules.json"
CONFIGURATION = "config.json"
TOKENIZER = "tokenizer.json"
HEADS = ("colbert_linear.pt", "sparse_linear.pt")

INDEX_SETTING = "RAG_INDEX_MODEL"
RERANKER_SETTING = "RAG_QUERY_RERANKER_MODEL"
REMOTE_CODE_SETTING = "RAG_QUERY_REMOTE_CODE"

# The same weights for other engines.
_NOT_READ = ("onnx/", "openvino/")
_TEXTS = ("*.json", "*.txt", "*.model")
_SAFE_WEIGHTS = "*.safetensors"
_PICKLED_WEIGHTS = "*pytorch_model*.bin"
_PAIR_HEAD = "ForSequenceClassification"
# The language model of bge-reranker-v2-gemma, which says how much it would like to answer Yes.
GEMMA = "GemmaForCausalLM"


@dataclass(frozen=True, slots=True)
class Layout:
    """What loading needs of a model's files.

    `setting` is where a person names the model; `patterns` match names with their folders.
    `check` sees the name and the configuration, and raises SettingsError where it will not do.
    """

    setting: str
    required: tuple[str, ...]
    patterns: tuple[str, ...]
    check: Callable[[str, Mapping[str, Any]], None] = lambda model, configuration: None

    def needed(self, names: Iterable[str]) -> list[str]:
        """Those of a model's files that loading reads: of two formats of weights the safer one."""
        fitting = [
            name
            for name in names
            if not name.startswith(_NOT_READ)
            and any(fnmatchcase(name, pattern) for pattern in self.patterns)
        ]
        safe = {_folder(name) for name in fitting if fnmatchcase(name, _SAFE_WEIGHTS)}
        return [
            name
            for name in fitting
            if not (fnmatchcase(name, _PICKLED_WEIGHTS) and _folder(name) in safe)
        ]

    def weights(self, names: Iterable[str]) -> list[str]:
        """Those of the files that are weights."""
        return [
            name
            for name in self.needed(names)
            if fnmatchcase(name, _SAFE_WEIGHTS) or fnmatchcase(name, _PICKLED_WEIGHTS)
        ]


def _folder(name: str) -> PurePosixPath:
    return PurePosixPath(name).parent


def architecture(configuration: Mapping[str, Any]) -> str:
    """The class of network that a configuration names; empty for none."""
    names = configuration.get("architectures") or [""]
    return str(names[0])


def _judges_pairs(
    judges: tuple[str, ...], remote_code: bool, model: str, configuration: Mapping[str, Any]
) -> None:
    # Without its own code such a model may load as another architecture with random weights.
    if "auto_map" in configuration and not remote_code:
        raise SettingsError(
            f"The model {model} brings its own program code, which is not run unasked.",
            f"Set {REMOTE_CODE_SETTING} to its name if you trust its authors, or choose another.",
        )
    # Otherwise the library would add a head of random weights and warn in a log.
    if not architecture(configuration).endswith(judges):
        raise SettingsError(
            f"The model {model} is no cross-encoder: its architecture "
            f"{architecture(configuration) or '(none)'} has no head that judges a pair of texts.",
            "Choose one like BAAI/bge-reranker-v2-m3, or run this one behind a rerank endpoint.",
        )


SENTENCE_TRANSFORMER = Layout(INDEX_SETTING, (MODULES,), (*_TEXTS, _SAFE_WEIGHTS, _PICKLED_WEIGHTS))
BGE_M3 = Layout(
    INDEX_SETTING,
    (CONFIGURATION, TOKENIZER, *HEADS),
    (*_TEXTS, _SAFE_WEIGHTS, _PICKLED_WEIGHTS, *HEADS),
)
PAIR_MODEL = Layout(
    RERANKER_SETTING,
    (CONFIGURATION,),
    (*_TEXTS, _SAFE_WEIGHTS),
    partial(_judges_pairs, (_PAIR_HEAD,), False),
)
BGE_RERANKER = Layout(
    RERANKER_SETTING,
    (CONFIGURATION,),
    PAIR_MODEL.patterns,
    partial(_judges_pairs, (_PAIR_HEAD, GEMMA), False),
)
PAIR_MODEL_WITH_CODE = Layout(
    RERANKER_SETTING,
    (CONFIGURATION,),
    (*PAIR_MODEL.patterns, "*.py"),
    partial(_judges_pairs, (_PAIR_HEAD,), True),
)

# The kinds of embedder and reranker whose models come from the hub.
LAYOUTS: dict[str, Layout] = {
    "sentence-transformers": SENTENCE_TRANSFORMER,
    "bge-m3": BGE_M3,
    "cross-encoder": PAIR_MODEL,
    "bge": BGE_RERANKER,
}


def layout_of(kind: str, remote_code: bool = False) -> Layout | None:
    """The layout of the models of a kind; None where they do not come from the hub."""
    if kind == "cross-encoder" and remote_code:
        return PAIR_MODEL_WITH_CODE
    return LAYOUTS.get(kind)
