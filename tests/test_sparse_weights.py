"""BGE-M3's sparse weights: from the model through the store to the reranker."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import lancedb
import numpy as np
import pyarrow as pa
import pytest

from rag.encoding import ChunkEncoder
from rag.errors import LibraryError
from rag.models.late_interaction_reranker import BgeM3Reranker, LateInteractionReranker
from rag.models.rerankers import make_reranker
from rag.retrieval import passages
from rag.settings import Settings
from rag.sparse_weights import BYTES_PER_TOKEN, decode, dot_products, encode, sparse_weights
from rag.store import Store
from rag.store.tables import CHUNKS, chunks_schema, made_table
from rag.token_codes import TokenCodec
from rag.types import Candidate, Chunk, DocumentRecord, Passage, Question, SparseWeights
from tests import tiny_models
from tests.fakes import DIMENSIONS, FakeEmbedder

# What such a library has not.
LATER = ["sparse_codes", "checksum"]
QUESTION = "the capital of Poland 波兰的首都在哪里？"
TEXTS = [
    "Warsaw is the capital of Poland.",
    "Keep the vaccine in the fridge.",
    "华沙是波兰的首都。",
    "疫苗应存放在冰箱里。 ☃",
    "",
    "the city 疫苗 " * 40,
]


def weighed(**weights: float) -> SparseWeights:
    """Weights by token ids: `weighed(t3=0.5)`."""
    ids = [int(name[1:]) for name in weights]
    return sparse_weights(ids, np.array(list(weights.values()), np.float32))


def chunk(number: int, text: str) -> Chunk:
    return Chunk(f"d:{number}", "d", number, 1, 0, len(text), text)


CHUNKS_OF = [chunk(number, text) for number, text in enumerate(TEXTS)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    pytest.importorskip("FlagEmbedding")
    return tiny_models.bge_m3(tmp_path_factory.mktemp("models") / "tiny-m3")


@pytest.fixture(scope="module")
def m3(folder):
    from rag.models.bge import load_bge_m3

    return load_bge_m3(str(folder))


@pytest.fixture(scope="module")
def original(folder):
    """The same model as FlagEmbedding alone runs it."""
    from FlagEmbedding import BGEM3FlagModel

    return BGEM3FlagModel(str(folder), use_fp16=False, devices="cpu")


@pytest.fixture(scope="module")
def expected(original):
    given = original.encode([QUESTION, *TEXTS], return_sparse=True, max_length=tiny_models.LONGEST)
    return given["lexical_weights"]


# Arithmetic


def test_each_token_has_its_largest_weight_and_ids_ascend():
    weights = np.array([0.1, 0.5, 0.3, 0.0, -1.0], np.float32)
    found = sparse_weights([7, 3, 7, 5, 6], weights)
    assert found.ids.tolist() == [3, 7]
    assert found.weights.tolist() == [np.float32(0.5), np.float32(0.3)]


def test_a_weight_that_is_no_number_is_not_hidden():
    weights = np.array([0.5, np.nan, 0.7], np.float32)
    assert np.isnan(sparse_weights([3, 3, 3], weights).weights).tolist() == [True]


def test_dot_products_by_hand_and_with_empty_texts():
    question = weighed(t2=0.5, t9=2.0)
    texts = [weighed(t1=1, t9=0.25), weighed(), weighed(t2=1, t9=1), weighed(t10=3), weighed()]
    assert dot_products(question, texts).tolist() == [0.5, 0.0, 2.5, 0.0, 0.0]
    assert dot_products(weighed(), texts).tolist() == [0.0] * 5
    assert dot_products(question, []).tolist() == []


def test_codes_keep_ids_and_eleven_bits_of_every_weight():
    random = np.random.default_rng(0)
    ids = random.choice(250_002, 200, replace=False).tolist()
    weights = sparse_weights(ids, random.random(200, np.float32) + 1e-3)
    code = encode(weights)
    assert len(code) == 1 + 200 * BYTES_PER_TOKEN
    back = decode(code)
    assert back.ids.tolist() == sorted(ids)
    np.testing.assert_allclose(back.weights, weights.weights, rtol=2**-11)


def test_a_text_without_weights_has_a_code():
    code = encode(weighed())
    assert code != b""
    assert len(decode(code).ids) == 0


# The model


@pytest.mark.parametrize("number", range(len(TEXTS)))
def test_weights_equal_those_of_flag_embedding(m3, expected, number):
    for found, given in (
        (m3.encode_documents(TEXTS).sparse[number], expected[1 + number]),
        (m3.encode_question(TEXTS[number]).sparse, expected[1 + number]),
    ):
        assert found.ids.tolist() == sorted(map(int, given))
        np.testing.assert_allclose(
            found.weights, [given[str(token)] for token in found.ids], rtol=1e-4, atol=1e-6
        )


def test_dot_products_equal_those_of_flag_embedding(m3, original, expected):
    question, *texts = expected
    given = [original.compute_lexical_matching_score(question, text) for text in texts]
    assert max(given) > 0.01
    sparse = m3.encode_documents(TEXTS).sparse
    found = dot_products(m3.encode_question(QUESTION).sparse, sparse)
    np.testing.assert_allclose(found, given, rtol=1e-4, atol=1e-6)
    coded = [decode(encode(weights)) for weights in sparse]
    np.testing.assert_allclose(
        dot_products(m3.encode_question(QUESTION).sparse, coded), given, rtol=1e-3, atol=1e-6
    )


def test_texts_together_weigh_what_each_weighs_alone(m3):
    for text, together in zip(TEXTS, m3.encode_documents(TEXTS).sparse, strict=True):
        (alone,) = m3.encode_documents([text]).sparse
        assert together.ids.tolist() == alone.ids.tolist()
        np.testing.assert_allclose(together.weights, alone.weights, atol=1e-5)


# The store


def vectors(embedder, chunks):
    codec = TokenCodec(embedder.dimensions)
    steps = ChunkEncoder(embedder, codec).encode(chunks, lambda done: done)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def old_library(folder, texts):
    """The chunk table of a library that was made before sparse weights were kept."""
    document = DocumentRecord(
        "d", "a.txt", "text/plain", 1, "ready", "", 1, 1, len(texts), datetime.now(UTC)
    )
    Store.open(folder, "other", DIMENSIONS).put_document(document)
    fields = [field for field in chunks_schema(DIMENSIONS) if field.name not in LATER]
    table = lancedb.connect(folder).create_table(f"{CHUNKS}old", schema=pa.schema(fields))
    chunks = [chunk(number, text) for number, text in enumerate(texts)]
    made = vectors(FakeEmbedder(), chunks)
    rows = [
        {
            **{name: getattr(one, name) for name in ("id", "document_id", "position", "page")},
            **{name: getattr(one, name) for name in ("start", "end", "text", "heading")},
            "search_text": one.text,
            "vector": made.dense[number],
            "token_codes": made.token_codes[number],
        }
        for number, one in enumerate(chunks)
    ]
    table.add(rows)
    return table


def test_codes_come_back_from_the_store_and_give_the_score(m3, tmp_path):
    store = Store.open(tmp_path, "m3", m3.dimensions)
    store.put_chunks(CHUNKS_OF, vectors(m3, CHUNKS_OF), TEXTS)
    question = m3.encode_question(QUESTION)
    candidates = [Candidate(one.position + 1, one, "a.txt") for one in CHUNKS_OF]
    found = passages(store, candidates, question, TokenCodec(m3.dimensions).decode)
    expected = dot_products(question.sparse, m3.encode_documents(TEXTS).sparse)
    np.testing.assert_allclose([one.sparse for one in found], expected, rtol=1e-3, atol=1e-6)


def test_a_model_without_sparse_weights_stores_nothing(tmp_path):
    store = Store.open(tmp_path, "f", DIMENSIONS)
    store.put_chunks(CHUNKS_OF, vectors(FakeEmbedder(), CHUNKS_OF), TEXTS)
    candidates = [Candidate(1, CHUNKS_OF[0], "a.txt")]
    assert store.vectors(["d:0"])["d:0"].sparse_codes == b""
    for question in (
        FakeEmbedder().encode_question(QUESTION),
        Question(QUESTION, np.zeros(DIMENSIONS, np.float32), None, weighed(t1=1)),
    ):
        (found,) = passages(store, candidates, question, TokenCodec(DIMENSIONS).decode)
        assert found.sparse is None


def test_a_table_of_before_gains_the_column_and_keeps_its_rows(tmp_path):
    table = old_library(tmp_path, TEXTS)
    before = table.to_arrow().sort_by("id")
    store = Store.open(tmp_path, "old", DIMENSIONS)
    kept = store.vectors([f"d:{number}" for number in range(len(TEXTS))])
    assert [one.sparse_codes for one in kept.values()] == [b""] * len(TEXTS)
    table.checkout_latest()
    after = table.to_arrow().sort_by("id")
    assert after.schema.equals(chunks_schema(DIMENSIONS))
    assert after.drop(LATER).equals(before)
    added = [Chunk("e:0", "e", 0, 1, 0, 4, "new!")]
    made = vectors(FakeEmbedder(), added)
    store.put_chunks(added, made, ["new!"])
    assert len(store.chunks("e")) == 1
    assert len(store.chunks("d")) == len(TEXTS)


def test_without_a_lock_all_who_add_the_column_at_once_succeed(tmp_path):
    """As in a library at an address, which several machines may open."""
    old_library(tmp_path, TEXTS)

    def open_old(_):
        connection = lancedb.connect(tmp_path, read_consistency_interval=timedelta(0))
        return made_table(connection, f"{CHUNKS}old", chunks_schema(DIMENSIONS)).to_arrow()

    with ThreadPoolExecutor(8) as threads:
        for found in threads.map(open_old, range(8)):
            assert found["sparse_codes"].to_pylist() == [b""] * len(TEXTS)


def test_vectors_of_another_length_are_still_refused(tmp_path):
    old_library(tmp_path, TEXTS)
    with pytest.raises(LibraryError, match="of another length"):
        Store.open(tmp_path, "old", DIMENSIONS * 2)


# The reranker


def judged(dense, sparse, tokens=None):
    return [
        Passage(chunk(number, "text"), "a.txt", cosine, 0.0, tokens, weight)
        for number, (cosine, weight) in enumerate(zip(dense, sparse, strict=True))
    ]


ASKED = Question("text", np.zeros(2, np.float32), None)


def test_scores_are_the_weighted_mean_of_the_paper():
    tokens = np.eye(2, dtype=np.float32)
    question = Question("text", np.zeros(2, np.float32), tokens[:1])
    (score,) = BgeM3Reranker().score(question, judged([0.5], [0.2], tokens))
    assert score == pytest.approx((1 * 0.5 + 0.3 * 0.2 + 1 * 1.0) / 2.3)


def test_a_passage_that_shares_rare_heavy_tokens_rises():
    without, shared = BgeM3Reranker().score(ASKED, judged([0.62, 0.6], [0.01, 0.35]))
    assert shared > without
    without, shared = BgeM3Reranker().score(ASKED, judged([0.62, 0.6], [None, None]))
    assert shared < without


def test_where_a_passage_has_no_sparse_weights_none_count():
    scores = BgeM3Reranker().score(ASKED, judged([0.5, 0.4], [None, 0.9]))
    assert scores == pytest.approx([0.5, 0.4])


def test_scores_are_within_0_and_1_whatever_the_evidence():
    scores = BgeM3Reranker().score(ASKED, judged([-1.0, 0.0, 1.0], [0.0, 0.0, 50.0]))
    assert scores == [0.0, 0.0, 1.0]
    assert BgeM3Reranker().score(ASKED, []) == []


@pytest.mark.parametrize(
    ("embedder", "kind", "calibrated"),
    [
        ("bundled", LateInteractionReranker, True),
        ("bge-m3", BgeM3Reranker, False),
        ("sentence-transformers", LateInteractionReranker, False),
        ("openai", LateInteractionReranker, False),
    ],
)
def test_only_the_fitted_model_claims_probabilities(embedder, kind, calibrated, tmp_path):
    settings = Settings(
        home=tmp_path, cache=tmp_path, index={"embedder": embedder, "model": "a/model"}
    )
    reranker = make_reranker(settings)
    assert isinstance(reranker, kind)
    assert reranker.calibrated is calibrated
    assert reranker.by_words


def test_scores_over_the_bundled_model_know_no_sparse_weights(tmp_path):
    random = np.random.default_rng(7)
    rows = random.standard_normal((4, 8, 16)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=2, keepdims=True)
    question = Question("text", rows[0, 0], rows[0])
    passages = [
        Passage(chunk(number, "text"), "a.txt", 0.8 + number / 100, number * 3.0, rows[number])
        for number in range(4)
    ]
    reranker = make_reranker(Settings(home=tmp_path, cache=tmp_path))
    weighed = [replace(passage, sparse=9.0) for passage in passages]
    assert reranker.score(question, weighed) == reranker.score(question, passages)
