"""Token codes: small, the same everywhere, and true to inner products."""

import subprocess
import sys

import numpy as np
import pytest

from rag.late_interaction import maxsims
from rag.token_codes import TokenCodec
from rag.types import Question, Vector

D = 384


def unit_vectors(count: int, seed: int = 0) -> Vector:
    vectors = np.random.default_rng(seed).standard_normal((count, D)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_a_chunk_of_200_tokens_takes_ten_kilobytes() -> None:
    assert len(TokenCodec(D).encode(unit_vectors(200))) == 10_000


def test_rotation_keeps_inner_products() -> None:
    codec, vectors = TokenCodec(D), unit_vectors(20)
    turned = codec.rotate(vectors)
    assert turned @ turned.T == pytest.approx(vectors @ vectors.T, abs=1e-5)


def test_estimates_are_unit_vectors_that_point_the_same_way() -> None:
    codec, vectors = TokenCodec(D), unit_vectors(200)
    decoded = codec.decode(codec.encode(vectors))
    assert np.linalg.norm(decoded, axis=1) == pytest.approx(np.ones(200), abs=1e-5)
    cosines = (decoded * codec.rotate(vectors)).sum(axis=1)
    # The signs of a random direction keep sqrt(2/pi) of it.
    assert cosines.mean() == pytest.approx((2 / np.pi) ** 0.5, abs=0.01)


def test_no_token_stands_out_by_the_noise_of_its_code() -> None:
    """MaxSim picks the largest of many estimates: theirs must not exceed the true ones."""
    common = unit_vectors(1, seed=2)
    passage = 3 * common + unit_vectors(300)
    question = 3 * common + unit_vectors(20, seed=1)
    passage /= np.linalg.norm(passage, axis=1, keepdims=True)
    question /= np.linalg.norm(question, axis=1, keepdims=True)
    codec = TokenCodec(D, passage.mean(axis=0))
    estimated = maxsims(codec.rotate(question), [codec.decode(codec.encode(passage))])
    assert estimated[0] <= maxsims(question, [passage])[0] + 0.03


def test_a_vector_is_nearest_to_its_own_code() -> None:
    codec, vectors = TokenCodec(D), unit_vectors(100)
    nearest = (codec.rotate(vectors) @ codec.decode(codec.encode(vectors)).T).argmax(axis=1)
    assert nearest.tolist() == list(range(100))


def test_centring_sharpens_vectors_that_share_a_direction() -> None:
    common = unit_vectors(1, seed=2)
    vectors = 3 * common + unit_vectors(200)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)

    def error(codec: TokenCodec) -> float:
        decoded = codec.decode(codec.encode(vectors))
        return float(np.abs(decoded @ codec.rotate(vectors).T - vectors @ vectors.T).mean())

    assert error(TokenCodec(D, vectors.mean(axis=0))) < 0.8 * error(TokenCodec(D))


def test_a_code_of_zeros_is_the_centre_in_the_rotated_space() -> None:
    (centre,) = unit_vectors(1)
    codec = TokenCodec(D, centre)
    assert codec.centre == pytest.approx(codec.rotate(centre[None])[0], abs=1e-6)
    assert codec.decode(bytes(codec.bytes_per_token))[0] == pytest.approx(codec.centre, abs=1e-6)
    assert not TokenCodec(D).centre.any()


def test_an_empty_passage_has_an_empty_code() -> None:
    codec = TokenCodec(D)
    assert codec.encode(unit_vectors(0)) == b""
    assert codec.decode(b"").shape == (0, D)


def test_the_code_is_the_same_in_another_process() -> None:
    command = (
        "import numpy as np; from rag.token_codes import TokenCodec;"
        "print(TokenCodec(8).encode(np.eye(8, dtype=np.float32)).hex())"
    )
    other = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True)
    assert other.stdout.strip() == TokenCodec(8).encode(np.eye(8, dtype=np.float32)).hex()


def test_dimensions_must_fill_whole_bytes() -> None:
    with pytest.raises(ValueError, match="multiple of 8"):
        TokenCodec(12)


def test_maxsim_survives_coding() -> None:
    codec = TokenCodec(D)
    question, passage = unit_vectors(8), np.vstack([unit_vectors(8), unit_vectors(92, seed=3)])
    unrelated = unit_vectors(100, seed=4)
    turned = codec.rotate(question)
    decoded = [codec.decode(codec.encode(vectors)) for vectors in (passage, unrelated)]
    near, far = maxsims(turned, decoded)
    assert near == pytest.approx((2 / np.pi) ** 0.5, abs=0.1)
    assert near > far + 0.5


def test_what_tells_only_the_language_is_taken_out_of_a_question() -> None:
    """Two tokens that differ in that direction alone become one."""
    language, meaning = np.eye(D, dtype=np.float32)[:2]
    here, there = 0.8 * meaning + 0.6 * language, 0.8 * meaning - 0.6 * language
    question = Question("猫 cat", meaning, np.stack([here, there]))
    codec = TokenCodec(D, language=language)
    tokens = codec.turned(question).tokens
    assert tokens == pytest.approx(codec.rotate(np.stack([meaning, meaning])), abs=1e-6)
    kept = TokenCodec(D).turned(question).tokens
    assert kept == pytest.approx(codec.rotate(question.tokens), abs=1e-6)
    assert codec.turned(Question("猫", meaning, None)).tokens is None
