"""How small token vectors can be kept, and what that costs: the table in `docs/benchmarks.md`.

    RAG_HOME=FOLDER_FOR_INDEXES python -m scripts.study_codes EVALDATA [SET ...]

Every set is indexed as users' documents are; the best 50 of recall are ordered by the default
reranker's mixture with the token vectors of each coding, and each coding is held against the
vectors themselves, question by question. FOLDER_FOR_INDEXES keeps the indexes for a second run.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from rag.evaluation.metrics import measured
from rag.evaluation.resampling import bootstrap_means, figures
from rag.models.late_interaction_reranker import features, load_late_interaction
from rag.models.token_space import token_centre
from rag.opening import open_pipeline
from rag.pipeline import Pipeline
from rag.retrieval import passages
from rag.settings import load_settings
from rag.token_codes import SHRINKING, TokenCodec
from rag.types import Passage, Question, Vector
from scripts.fit_reranker import DEPTH, for_passages, gold_entries, library_of, rows

SETS = ("squad2-en", "cmrc2018-trial", "xquad-zh")
QUESTIONS = 500
TOKENS = 200
# Texts that are encoded at once.
BATCH = 128


@dataclass(frozen=True, slots=True)
class Coding:
    """A way to keep the tokens of a passage.

    `coded` takes [tokens, dimensions] and gives what is read back, perhaps of fewer tokens;
    `token_bytes` is the size of one that is kept.
    """

    name: str
    coded: Callable[[Vector], Vector]
    token_bytes: float


@dataclass(frozen=True, slots=True)
class Asked:
    """A question with its candidates, `passages` without tokens; `entries` name their texts."""

    id: str
    question: Question
    passages: list[Passage]
    entries: list[str]


def codings(dimensions: int) -> list[Coding]:
    """What is compared; the first is the vectors themselves, the second is the one in use."""
    centre = token_centre("bundled")
    assert centre is not None
    codec, uncentred = TokenCodec(dimensions, centre), TokenCodec(dimensions)
    back = codec.rotate(np.eye(dimensions, dtype=np.float32)).T

    def one_bit(vectors: Vector, by: TokenCodec = codec) -> Vector:
        return by.decode(by.encode(vectors)) @ back

    def bits(number: int, rotated: bool = True) -> Callable[[Vector], Vector]:
        return lambda vectors: quantised(vectors, centre, number, back if rotated else None)

    code = codec.bytes_per_token
    return [
        Coding("vectors, 32 bits", lambda vectors: vectors, 4 * dimensions),
        Coding("1 bit (in use)", one_bit, code),
        Coding("4 bits", bits(4), dimensions / 2 + 2),
        Coding("2 bits", bits(2), dimensions / 4 + 2),
        Coding("1 bit, not rotated", bits(1, rotated=False), code),
        Coding("1 bit, not centred", lambda vectors: one_bit(vectors, uncentred), code),
        Coding("1 bit, near neighbours pooled", lambda vectors: one_bit(pooled(vectors)), code),
        Coding(
            "1 bit, without the most usual quarter", lambda vectors: one_bit(rarer(vectors)), code
        ),
    ]


def quantised(vectors: Vector, centre: Vector, bits: int, back: Vector | None) -> Vector:
    """Vectors at so many bits a dimension, read back at length 1.

    Levels are those of Lloyd and Max for a Gaussian; one bit counts for half, as in `token_codes`.
    """
    residual = vectors - centre
    turned = residual if back is None else residual @ back.T
    scale = np.linalg.norm(turned, axis=1, keepdims=True) / np.sqrt(turned.shape[1])
    levels = lloyd_max(bits)
    kept = levels[np.searchsorted((levels[1:] + levels[:-1]) / 2, turned / scale)]
    factor = (turned * kept).sum(axis=1, keepdims=True) / np.square(kept).sum(axis=1, keepdims=True)
    kept = kept * factor * (SHRINKING if bits == 1 else 1)
    estimate = centre + (kept if back is None else kept @ back)
    return np.asarray(estimate / np.linalg.norm(estimate, axis=1, keepdims=True), np.float32)


def lloyd_max(bits: int) -> np.ndarray:
    """The levels that lose least of a unit Gaussian, ascending."""
    drawn = np.sort(np.random.default_rng(0).standard_normal(100_000))
    levels = np.quantile(drawn, (np.arange(2**bits) + 0.5) / 2**bits)
    for _ in range(50):
        nearest = np.searchsorted((levels[1:] + levels[:-1]) / 2, drawn)
        levels = np.array([drawn[nearest == level].mean() for level in range(len(levels))])
    return np.asarray(levels)


def pooled(vectors: Vector, least: float = 0.95) -> Vector:
    """Neighbouring tokens that are nearly equal, as one at their mean."""
    groups: list[list[Vector]] = []
    for vector in vectors:
        if groups and float(groups[-1][0] @ vector) >= least:
            groups[-1].append(vector)
        else:
            groups.append([vector])
    means = np.stack([np.mean(group, axis=0) for group in groups])
    return np.asarray(means / np.linalg.norm(means, axis=1, keepdims=True), np.float32)


def rarer(vectors: Vector, share: float = 0.75) -> Vector:
    """The tokens that are least like the passage's mean; function words are most like it."""
    likeness = vectors @ vectors.mean(axis=0)
    kept = np.sort(np.argsort(likeness)[: max(int(len(vectors) * share), 1)])
    return vectors[kept]


def asked(folder: Path, pipeline: Pipeline) -> list[Asked]:
    """Questions of a set with gold, evenly drawn, and what recall finds for them."""
    corpus = rows(folder / "corpus.jsonl")
    library_of(corpus, pipeline)
    gold = gold_entries(folder)
    queries = [query for query in rows(folder / "queries.jsonl") if query["id"] in gold]
    found = []
    for query in queries[:: max(len(queries) // QUESTIONS, 1)][:QUESTIONS]:
        retrieved = pipeline.retrieve(query["text"])
        candidates = retrieved.trace.candidates[:DEPTH]
        evidence = passages(pipeline.store, candidates, retrieved.question, pipeline.codec.decode)
        found.append(
            Asked(
                query["id"],
                pipeline.embedder.encode_question(query["text"]),
                [replace(one, tokens=None) for one in evidence],
                [corpus[candidate.chunk.page]["id"] for candidate in candidates],
            )
        )
    return found


def vectors_of(questions: Sequence[Asked], pipeline: Pipeline) -> dict[str, Vector]:
    """The token vectors of every candidate's text."""
    texts = list({one.chunk.text for question in questions for one in question.passages})
    vectors: dict[str, Vector] = {}
    for start in range(0, len(texts), BATCH):
        batch = texts[start : start + BATCH]
        tokens = pipeline.embedder.encode_documents(batch).tokens
        assert tokens is not None
        vectors.update(zip(batch, tokens, strict=True))
    return vectors


def ndcg(
    coding: Coding,
    questions: Sequence[Asked],
    vectors: dict[str, Vector],
    gold: dict[str, set[str]],
) -> tuple[np.ndarray, np.ndarray, float]:
    """hit@1 and nDCG@10 of every question with this coding, and kept tokens as a share."""
    order = load_late_interaction(calibrated=True).order
    coded = {text: coding.coded(tokens) for text, tokens in vectors.items()}
    ranked: list[list[str]] = []
    for one in questions:
        evidence = [replace(own, tokens=coded[own.chunk.text]) for own in one.passages]
        mixed = features(one.question, evidence) @ order
        best = np.argsort(-mixed, kind="stable")
        ranked.append(list(dict.fromkeys(one.entries[place] for place in best)))
    values = measured(ranked, [dict.fromkeys(gold[one.id], 1) for one in questions])
    kept = sum(map(len, coded.values())) / sum(map(len, vectors.values()))
    return values["hit@1"], values["ndcg@10"], kept


def main(folder: Path, sets: Sequence[str]) -> None:
    """Print a row a coding and set as they come."""
    base = load_settings()
    settings = for_passages(base)
    print("| set | coding | kB for 200 tokens | hit@1 | nDCG@10 | lost nDCG@10, points (95 %) |")
    print("|---|---|---|---|---|---|")
    for name in sets:
        pipeline = open_pipeline(settings.model_copy(update={"home": base.home / name}))
        questions = asked(folder / name, pipeline)
        vectors = vectors_of(questions, pipeline)
        gold = gold_entries(folder / name)
        exact: np.ndarray | None = None
        for coding in codings(pipeline.embedder.dimensions):
            hits, values, kept = ndcg(coding, questions, vectors, gold)
            exact = values if exact is None else exact
            lost = 100 * (exact - values)[:, None]
            figure = figures(lost, bootstrap_means(lost, seed=0))[0]
            span = f"{figure.low:+.2f} to {figure.high:+.2f}"
            size = coding.token_bytes * kept * TOKENS / 1000
            print(
                f"| {name} ({len(questions)}) | {coding.name} | {size:.1f} | {hits.mean():.3f} "
                f"| {values.mean():.4f} | {figure.mean:+.2f} ({span}) |",
                flush=True,
            )


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:] or SETS)
