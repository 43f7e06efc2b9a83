"""Fits the logistic model of the reranker that only counts, and measures what it gains.

    RAG_HOME=LIBRARY python -m scripts.fit_feature_reranker FOLDER

LIBRARY keeps the index of the set, so that a second run is quick. FOLDER holds `mixed` in the
layout corpus.jsonl, queries.jsonl, qrels.tsv. Half of the articles fit the model and the others
measure it; an article and its translation are one. Writes the coefficients with date, data and
figures into `rag/models/data/`.

Tried and left out, because they made hit@1 worse whichever half was fitted: the coverage by the
title, ln(bytes) of the passage and its place in the article. Their weights told the sets apart, not
the answers. Headings count all the same, as full text searches them. How new a document is cannot
be learned here, for no document of the set has a date.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from math import log2
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression

from rag.models.feature_reranker import COEFFICIENTS, FEATURES, features
from rag.opening import open_pipeline
from rag.pipeline import Pipeline
from rag.settings import load_settings
from rag.types import Passage, Vector
from scripts.fit_reranker import (
    DATA,
    DEPTH,
    EVERY,
    calibration_error,
    for_passages,
    gold_entries,
    library_of,
    rows,
)

TOP = 10


@dataclass(frozen=True, slots=True)
class Counted:
    """A question with its candidates in fused order: features [n, 4], and whether each is gold.

    `set` is the set that it comes from, `paragraphs` has the paragraph of every candidate.
    """

    language: str
    features: Vector
    gold: np.ndarray
    fitted: bool
    set: str
    paragraphs: tuple[str, ...]

    def ndcg(self, scores: Vector) -> float:
        """nDCG@10 by paragraph, each at the place of its best chunk; one paragraph is gold."""
        order = np.argsort(-scores, kind="stable")
        ranked = list(dict.fromkeys(self.paragraphs[place] for place in order))
        gold = {self.paragraphs[place] for place in np.flatnonzero(self.gold)}
        return sum(1 / log2(2 + place) for place, one in enumerate(ranked[:TOP]) if one in gold)


def article(paragraph_id: str) -> str:
    """What a paragraph was taken from; the same for its translation."""
    return re.sub(r"^((?:sq|xq)\d+)-.*", r"\1", paragraph_id)


def judged(folder: Path, pipeline: Pipeline) -> Iterator[Counted]:
    """Candidates in fused order, features and gold of a third of the questions of a set."""
    corpus = rows(folder / "corpus.jsonl")
    library_of(corpus, pipeline)
    gold = gold_entries(folder)
    for query in rows(folder / "queries.jsonl")[::EVERY]:
        candidates = pipeline.retrieve(query["text"]).trace.candidates[:DEPTH]
        entries = [corpus[candidate.chunk.page] for candidate in candidates]
        evidence = [
            Passage(
                chunk=candidate.chunk,
                document=candidate.document,
                dense=0.0,
                lexical=candidate.lexical.score if candidate.lexical else 0.0,
            )
            for candidate in candidates
        ]
        source = article(min(gold[query["id"]]))
        yield Counted(
            language=query["lang"],
            features=features(query["text"], evidence),
            gold=np.array([entry["id"] in gold[query["id"]] for entry in entries]),
            fitted=hashlib.sha256(source.encode()).digest()[0] % 2 == 0,
            set=source[:2],
            paragraphs=tuple(entry["id"] for entry in entries),
        )


def fit(questions: Sequence[Counted]) -> tuple[Vector, float]:
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


def logistic(questions: Sequence[Counted], labels: Sequence[np.ndarray]) -> tuple[Vector, float]:
    """Weights and bias of a logistic model over all candidates of all questions."""
    every = np.concatenate([question.features for question in questions])
    # Cosines differ by hundredths: without one scale their weights would be held down.
    middle, spread = every.mean(axis=0), every.std(axis=0)
    model = LogisticRegression(C=100.0, max_iter=1000)
    model.fit((every - middle) / spread, np.concatenate(labels))
    weights = model.coef_[0] / spread
    return weights.astype(np.float32), float(model.intercept_[0] - weights @ middle)


def only_best(question: Counted, weights: Vector) -> np.ndarray:
    """Which candidates to learn from: all that are not gold, and of the gold ones the best."""
    scores = np.where(question.gold, question.features @ weights, -np.inf)
    keep = ~question.gold
    keep[scores.argmax()] = True
    return keep


def best_candidates(
    question: Counted, weights: Vector, bias: float
) -> Iterator[tuple[float, bool]]:
    """Logit of the best candidate and whether it is gold: as it is, then with gold taken out."""
    logits = question.features @ weights + bias
    yield float(logits.max()), bool(question.gold[logits.argmax()])
    yield float(logits[~question.gold].max()), False


def figures(questions: Sequence[Counted], weights: Vector, bias: float) -> dict[str, float]:
    """What fusion, BM25 and the model reach on these questions, and how true its chances are."""
    tops = [top for one in questions for top in best_candidates(one, weights, bias)]
    logits, right = np.array(tops).T
    reranked = [one.features @ weights for one in questions]
    fused = [-np.arange(len(one.gold), dtype=np.float32) for one in questions]
    lexical = [one.features[:, 0] for one in questions]
    measured: dict[str, float] = {"questions": len(questions)}
    for name, scores in (("fused", fused), ("bm25", lexical), ("reranked", reranked)):
        pairs = list(zip(questions, scores, strict=True))
        hits = np.mean([one.gold[score.argmax()] for one, score in pairs])
        measured[f"hit@1 {name}"] = float(hits)
        measured[f"nDCG@10 {name}"] = float(np.mean([one.ndcg(score) for one, score in pairs]))
    measured["expected calibration error"] = calibration_error(1 / (1 + np.exp(-logits)), right)
    return {name: round(value, 4) for name, value in measured.items()}


def report(questions: Sequence[Counted]) -> str:
    """Fit on one half, measure on the other, and give the coefficients' file."""
    found = [one for one in questions if one.gold.any()]
    fitted = [one for one in found if one.fitted]
    held = [one for one in found if not one.fitted]
    weights, bias = fit(fitted)
    result = {
        "date": datetime.now(UTC).date().isoformat(),
        "data": f"mixed: {len(fitted)} questions fitted, {len(held)} of other articles measured; "
        f"gold among the best {DEPTH} of recall for {len(found)} of {len(questions)}",
        "features": FEATURES,
        "weights": [round(float(weight), 5) for weight in weights],
        "bias": round(bias, 5),
        "figures": {
            name: figures(
                [one for one in held if name in (one.language, one.set, "all")], weights, bias
            )
            for name in ("en", "zh", "all", "sq", "xq", "cm")
        },
    }
    return json.dumps(result, indent=2, ensure_ascii=False)


def main(folder: Path) -> None:
    """Judge all questions, fit, write."""
    base = load_settings()
    pipeline = open_pipeline(for_passages(base))
    text = report(list(judged(folder / "mixed", pipeline)))
    (DATA / COEFFICIENTS).write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
