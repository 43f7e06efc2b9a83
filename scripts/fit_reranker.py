"""Fits the default reranker's logistic model, and measures what it gains.

    RAG_HOME=LIBRARY python scripts/fit_reranker.py FOLDER

LIBRARY keeps the index of the set, so that a second run is quick. FOLDER holds retrieval sets of
the layout corpus.jsonl, queries.jsonl, qrels.tsv. Of a third of the questions of `mixed` one half
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
from rag.pipeline import Pipeline, open_pipeline
from rag.retrieval import passages
from rag.settings import QuerySettings, Settings, load_settings
from rag.types import AddResult, Document, Page, Vector

DATA = Path(__file__).resolve().parents[1] / "rag" / "models" / "data"
CENTRE = "bundled_token_centre.npy"
DEPTH = 50
# Questions of one paragraph stand together in the set: every third one is sample enough.
EVERY = 3
FEATURES = ["maxsim", "dense", "ln(1 + bm25)"]


@dataclass(frozen=True, slots=True)
class Judged:
    """The candidates of one question: their features [n, 3], whether each is gold, recall ranks."""

    language: str
    features: Vector
    gold: np.ndarray
    fused: np.ndarray
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


def judged(folder: Path, pipeline: Pipeline) -> Iterator[Judged]:
    """Candidates, features and gold of every question of a set."""
    corpus = rows(folder / "corpus.jsonl")
    library_of(corpus, pipeline)
    gold: dict[str, set[str]] = defaultdict(set)
    for line in (folder / "qrels.tsv").read_text(encoding="utf-8").splitlines()[1:]:
        question_id, corpus_id, _ = line.split("\t")
        gold[question_id].add(corpus_id)
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
            fused=np.arange(len(ids)),
            fitted=digest % 2 == 0,
        )


def figures(questions: Sequence[Judged], weights: Vector, bias: float) -> dict[str, float]:
    """What fusion and reranking reach on these questions, and how well scores say no."""
    hits: dict[str, list[float]] = defaultdict(list)
    present, removed = [], []
    for question in questions:
        if not question.gold.any():
            for name in ("fused", "maxsim", "reranked"):
                hits[name].append(0.0)
            continue
        probability = 1 / (1 + np.exp(-(question.features @ weights + bias)))
        hits["fused"].append(float(question.gold[0]))
        hits["maxsim"].append(float(question.gold[question.features[:, 0].argmax()]))
        hits["reranked"].append(float(question.gold[probability.argmax()]))
        present.append(probability.max())
        removed.append(probability[~question.gold].max(initial=0.0))
    labels = [1] * len(present) + [0] * len(removed)
    measured = {
        "questions": len(questions),
        **{f"hit@1 {name}": float(np.mean(values)) for name, values in hits.items()},
        "gold present or removed, AUROC": roc_auc_score(labels, present + removed),
        "best probability, gold present, 3rd percentile": np.percentile(present, 3),
        "best probability, gold removed, median": np.percentile(removed, 50),
        "expected calibration error": calibration_error(questions, weights, bias),
    }
    return {name: round(float(value), 4) for name, value in measured.items()}


def calibration_error(questions: Sequence[Judged], weights: Vector, bias: float) -> float:
    """Expected calibration error of the best candidate's probability, ten equal bins."""
    best = []
    for question in questions:
        probability = 1 / (1 + np.exp(-(question.features @ weights + bias)))
        place = int(probability.argmax())
        best.append((probability[place], question.gold[place]))
    chance, right = np.array(best, dtype=float).T
    bins = np.minimum((chance * 10).astype(int), 9)
    gaps = [
        abs(chance[bins == number].mean() - right[bins == number].mean()) * (bins == number).mean()
        for number in range(10)
        if (bins == number).any()
    ]
    return float(sum(gaps))


def measure_centre(corpus: Sequence[dict[str, Any]], settings: Settings) -> None:
    """Write the mean token vector over a sample of passages, one in eight."""
    from rag.models.embedders import make_embedder

    embedder = make_embedder(settings.index, settings.cache)
    tokens = embedder.encode_documents([entry["text"] for entry in corpus[::8]]).tokens or ()
    centre = np.concatenate(tokens).mean(axis=0).astype(np.float32)
    np.save(DATA / CENTRE, centre)


def main(folder: Path) -> None:
    """Measure the centre, fit on half of the questions, report on the other half, write."""
    corpus = rows(folder / "mixed" / "corpus.jsonl")
    base = load_settings()
    if not (DATA / CENTRE).exists():
        measure_centre(corpus, base)
    pipeline = open_pipeline(base.model_copy(update={"query": QuerySettings(reranker="none")}))
    questions = list(judged(folder / "mixed", pipeline))
    fit = [question for question in questions if question.fitted and question.gold.any()]
    held = [question for question in questions if not question.fitted]
    model = LogisticRegression(C=100.0, max_iter=1000)
    model.fit(
        np.concatenate([question.features for question in fit]),
        np.concatenate([question.gold for question in fit]),
    )
    weights, bias = model.coef_[0].astype(np.float32), float(model.intercept_[0])
    report = {
        language: figures([q for q in held if language in (q.language, "all")], weights, bias)
        for language in ("en", "zh", "all")
    }
    result = {
        "date": datetime.now(UTC).date().isoformat(),
        "data": f"mixed: {len(fit)} questions fitted, {len(held)} others measured",
        "features": FEATURES,
        "weights": [round(float(weight), 5) for weight in weights],
        "bias": round(bias, 5),
        "figures": report,
    }
    text = json.dumps(result, indent=2, ensure_ascii=False)
    (DATA / COEFFICIENTS).write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
