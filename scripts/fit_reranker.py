"""Fits the default reranker's logistic model, and measures what it gains.

    RAG_HOME=LIBRARY python scripts/fit_reranker.py FOLDER

LIBRARY keeps the index of the set, so that a second run is quick. FOLDER holds retrieval sets of
the layout corpus.jsonl, queries.jsonl, qrels.tsv. Of half of the questions of `mixed` one half
fits the model and the other measures it, so no figure comes from a question that was fitted.
Writes the coefficients with date, data and figures, and the mean token vector, into
`rag/models/data/`.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from rag.chunking import chunk_document
from rag.ingest import File, Ingest
from rag.models.rerankers import COEFFICIENTS, features
from rag.opening import open_pipeline
from rag.pipeline import Pipeline
from rag.retrieval import passages
from rag.settings import QuerySettings, Settings, load_settings
from rag.types import AddResult, Document, Page, Vector

DATA = Path(__file__).resolve().parents[1] / "rag" / "models" / "data"
CENTRE = "bundled_token_centre.npy"
DEPTH = 50
# Questions of one paragraph stand together in the set: every second one is sample enough.
EVERY = 2
FEATURES = ["maxsim", "dense", "ln(1 + bm25)"]


@dataclass(frozen=True, slots=True)
class Judged:
    """The candidates of one question in fused order: features [n, 3], and whether each is gold."""

    language: str
    features: Vector
    gold: np.ndarray
    fitted: bool


def rows(path: Path) -> list[dict[str, Any]]:
    """The records of a JSON-lines file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def library_of(corpus: Sequence[dict[str, Any]], pipeline: Pipeline) -> None:
    """Index a corpus as one document with a page an entry, so that a page number names it."""
    pages = tuple(Page(number, entry["text"]) for number, entry in enumerate(corpus))
    document = Document("corpus", "corpus", "text/plain", 0, pages)
    ingest = Ingest(
        pipeline.store,
        pipeline.embedder,
        pipeline.codec,
        read=lambda content, name, report: replace(
            document, id=hashlib.sha256(content).hexdigest()
        ),
        chunk=lambda document: chunk_document(
            document, pipeline.embedder.token_spans, pipeline.settings.index
        ),
    )
    for event in ingest.add([File.holding("corpus", b"corpus")]):
        if isinstance(event, AddResult):
            print(event, f"{event.seconds:.0f} s", flush=True)
        elif event.stage == "embedding":
            print(f"\r{event}", end="", flush=True)


def gold_entries(folder: Path) -> dict[str, set[str]]:
    """The entries of the corpus that answer a question, by the question's id."""
    gold: dict[str, set[str]] = defaultdict(set)
    for line in (folder / "qrels.tsv").read_text(encoding="utf-8").splitlines()[1:]:
        question_id, corpus_id, _ = line.split("\t")
        gold[question_id].add(corpus_id)
    return gold


def judged(folder: Path, pipeline: Pipeline) -> Iterator[Judged]:
    """Candidates, features and gold of every question of a set."""
    corpus = rows(folder / "corpus.jsonl")
    library_of(corpus, pipeline)
    gold = gold_entries(folder)
    for query in rows(folder / "queries.jsonl")[::EVERY]:
        found = pipeline.retrieve(query["text"])
        candidates = found.trace.candidates[:DEPTH]
        ids = [corpus[candidate.chunk.page]["id"] for candidate in candidates]
        evidence = passages(pipeline.store, candidates, found.question, pipeline.codec.decode)
        digest = hashlib.sha256(query["id"].encode()).digest()[0]
        yield Judged(
            language=query["lang"],
            features=features(found.question, evidence),
            gold=np.array([corpus_id in gold[query["id"]] for corpus_id in ids]),
            fitted=digest % 2 == 0,
        )


def fit(questions: Sequence[Judged]) -> tuple[Vector, float]:
    """Weights and bias.

    First the order: gold against the rest, of a gold paragraph only the chunk that does best,
    for its other chunks need not hold the answer. Then the scale: the best candidate's chance to
    be gold, over as many questions with their gold in the library as without it (Platt 1999).
    """
    weights, _ = logistic(questions, [question.gold for question in questions])
    best = [only_best(question, weights) for question in questions]
    kept = [
        replace(question, features=question.features[keep], gold=question.gold[keep])
        for question, keep in zip(questions, best, strict=True)
    ]
    weights, bias = logistic(kept, [question.gold for question in kept])
    tops = [top for question in questions for top in best_candidates(question, weights, bias)]
    logits, right = np.array(tops).T
    scale = LogisticRegression(C=100.0).fit(logits[:, None], right)
    slope, shift = float(scale.coef_[0][0]), float(scale.intercept_[0])
    return weights * slope, bias * slope + shift


def logistic(questions: Sequence[Judged], labels: Sequence[np.ndarray]) -> tuple[Vector, float]:
    """Weights and bias of a logistic model over all candidates of all questions."""
    every = np.concatenate([question.features for question in questions])
    # Cosines differ by hundredths: without one scale their weights would be held down.
    middle, spread = every.mean(axis=0), every.std(axis=0)
    model = LogisticRegression(C=100.0, max_iter=1000)
    model.fit((every - middle) / spread, np.concatenate(labels))
    weights = model.coef_[0] / spread
    return weights.astype(np.float32), float(model.intercept_[0] - weights @ middle)


def only_best(question: Judged, weights: Vector) -> np.ndarray:
    """Which candidates to learn from: all that are not gold, and of the gold ones the best."""
    scores = np.where(question.gold, question.features @ weights, -np.inf)
    keep = ~question.gold
    keep[scores.argmax()] = True
    return keep


def best_candidates(question: Judged, weights: Vector, bias: float) -> Iterator[tuple[float, bool]]:
    """Logit of the best candidate and whether it is gold: as it is, then with gold taken out."""
    logits = question.features @ weights + bias
    yield float(logits.max()), bool(question.gold[logits.argmax()])
    yield float(logits[~question.gold].max()), False


def figures(
    questions: Sequence[Judged], weights: Vector, bias: float, threshold: float
) -> dict[str, float]:
    """What fusion and reranking reach on these questions, and how well scores say no."""
    tops = [best_candidates(question, weights, bias) for question in questions]
    logits, right = np.array([list(pair) for pair in tops]).transpose(2, 1, 0)
    chance = 1 / (1 + np.exp(-logits))
    late = [question.gold[question.features[:, 0].argmax()] for question in questions]
    present = np.repeat([1, 0], len(questions))
    measured = {
        "questions": len(questions),
        "hit@1 fused": np.mean([question.gold[0] for question in questions]),
        "hit@1 maxsim": np.mean(late),
        "hit@1 reranked": right[0].mean(),
        "gold present or removed, AUROC": roc_auc_score(present, chance.ravel()),
        "answered, gold present": (chance[0] >= threshold).mean(),
        "answered, gold removed": (chance[1] >= threshold).mean(),
        "expected calibration error": calibration_error(chance.ravel(), right.ravel()),
    }
    return {name: round(float(value), 4) for name, value in measured.items()}


def calibration_error(chance: np.ndarray, right: np.ndarray) -> float:
    """Mean gap between chance and truth over ten equal bins, weighted by their questions."""
    bins = np.minimum((chance * 10).astype(int), 9)
    gaps = [
        abs(chance[bins == number].mean() - right[bins == number].mean()) * (bins == number).mean()
        for number in np.unique(bins)
    ]
    return float(sum(gaps))


def measure_centre(corpus: Sequence[dict[str, Any]], settings: Settings) -> None:
    """Write the mean token vector over a sample of passages, one in eight."""
    from rag.models.embedders import make_embedder

    embedder = make_embedder(settings.index, settings.cache)
    tokens = embedder.encode_documents([entry["text"] for entry in corpus[::8]]).tokens or ()
    centre = np.concatenate(tokens).mean(axis=0).astype(np.float32)
    np.save(DATA / CENTRE, centre)


def report(questions: Sequence[Judged]) -> str:
    """Fit on one half, measure on the other, and give the coefficients' file."""
    found = [question for question in questions if question.gold.any()]
    fitted = [question for question in found if question.fitted]
    held = [question for question in found if not question.fitted]
    weights, bias = fit(fitted)
    threshold = QuerySettings().relevance
    result = {
        "date": datetime.now(UTC).date().isoformat(),
        "data": f"mixed: {len(fitted)} questions fitted, {len(held)} others measured; "
        f"gold among the best {DEPTH} of recall for {len(found)} of {len(questions)}",
        "threshold": threshold,
        "features": FEATURES,
        "weights": [round(float(weight), 5) for weight in weights],
        "bias": round(bias, 5),
        "figures": {
            language: figures(
                [q for q in held if language in (q.language, "all")], weights, bias, threshold
            )
            for language in ("en", "zh", "all")
        },
    }
    return json.dumps(result, indent=2, ensure_ascii=False)


def main(folder: Path) -> None:
    """Measure the centre if it is missing, judge all questions, fit, write."""
    base = load_settings()
    if not (DATA / CENTRE).exists():
        measure_centre(rows(folder / "mixed" / "corpus.jsonl"), base)
    pipeline = open_pipeline(base.model_copy(update={"query": QuerySettings(reranker="none")}))
    text = report(list(judged(folder / "mixed", pipeline)))
    (DATA / COEFFICIENTS).write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
