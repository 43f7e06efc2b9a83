"""Fits the default reranker's logistic model, and measures what it gains.

    RAG_HOME=LIBRARY python scripts/fit_reranker.py FOLDER

LIBRARY keeps the index of the set, so that a second run is quick. FOLDER holds retrieval sets of
the layout corpus.jsonl, queries.jsonl, qrels.tsv. Of half of the questions of `mixed` one half
fits the model and the other measures it, so no figure comes from a question that was fitted.
Writes the coefficients with date, data and figures, and the mean token vector and
the direction of language, into `rag/models/data/`.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import minimize
from scipy.special import logsumexp
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from rag.chunking import chunk_document
from rag.ingest import File, Ingest
from rag.models.late_interaction_reranker import (
    COEFFICIENTS,
    RUNNERS_UP,
    LateInteractionReranker,
    features,
    standing,
)
from rag.opening import open_pipeline
from rag.pipeline import Pipeline
from rag.retrieval import passages
from rag.settings import QuerySettings, Settings, load_settings
from rag.types import AddResult, Document, Page, Passage, Question, Vector

DATA = Path(__file__).resolve().parents[1] / "rag" / "models" / "data"
CENTRE = "bundled_token_centre.npy"
LANGUAGE = "bundled_language_direction.npy"
DEPTH = 50
# Questions of one paragraph stand together in the set: every second one is sample enough.
EVERY = 2


@dataclass(frozen=True, slots=True)
class Judged:
    """A question with its candidates in fused order, and which of them are gold.

    `features` are [n, 2]; `passages` have no token vectors. `translated` are gold too, but in the
    other language.
    """

    question: Question
    language: str
    passages: list[Passage]
    features: Vector
    gold: np.ndarray
    translated: np.ndarray
    fitted: bool

    def at_home(self) -> Judged:
        """The question asked of a library that answers it in its own language only."""
        return self._of(~self.translated)

    def across(self) -> Judged:
        """The question asked of a library that answers it in the other language only."""
        return replace(self, gold=self.translated)._of(~self.gold)

    def without_gold(self) -> Judged:
        """The question asked of a library that does not hold the answer."""
        return self._of(~self.gold)

    def _of(self, left: np.ndarray) -> Judged:
        return replace(
            self,
            passages=[self.passages[place] for place in np.flatnonzero(left)],
            features=self.features[left],
            gold=self.gold[left],
            translated=self.translated[left],
        )


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
        answers = {original(corpus_id) for corpus_id in gold[query["id"]]}
        digest = hashlib.sha256(query["id"].encode()).digest()[0]
        yield Judged(
            found.question,
            query["lang"],
            [replace(passage, tokens=None) for passage in evidence],
            features(found.question, evidence),
            np.array([corpus_id in gold[query["id"]] for corpus_id in ids]),
            np.array([one not in gold[query["id"]] and original(one) in answers for one in ids]),
            fitted=digest % 2 == 0,
        )


def original(corpus_id: str) -> str:
    """A paragraph's name without its language, the same for its translation."""
    return re.sub(r"^(xq.*)-(en|zh)$", r"\1", corpus_id)


def fit(questions: Sequence[Judged], across: Sequence[Judged]) -> LateInteractionReranker:
    """First the order, by `questions` alone, then the chance, by those `across` languages too.

    The order is a softmax over the candidates of a question, in which the gold ones win together
    (ListNet, Cao et al. 2007, top one).
    The chance is that the best candidate is gold, over as many questions with their gold in the
    library as without it (Platt 1999).
    """
    scale = np.concatenate([question.features for question in questions]).std(axis=0)
    order = (
        minimize(lambda weights: loss(questions, weights / scale), np.ones(len(scale))).x / scale
    )
    mixed = [np.sort(question.features @ order)[::-1] for question in questions]
    usual = float(np.mean(np.concatenate([scores[RUNNERS_UP] for scores in mixed])))
    rows, right = tops([*questions, *across], order, usual)
    middle, spread = rows.mean(axis=0), rows.std(axis=0)
    model = LogisticRegression(C=100.0).fit((rows - middle) / spread, right)
    chance = model.coef_[0] / spread
    bias = float(model.intercept_[0] - chance @ middle)
    return LateInteractionReranker(order, chance, bias, usual, calibrated=True)


def loss(questions: Sequence[Judged], weights: np.ndarray) -> float:
    """Mean negative logarithm of the chance that softmax gives to gold."""
    total = 0.0
    for question in questions:
        mixed = question.features @ weights
        total += logsumexp(mixed) - logsumexp(mixed[question.gold])
    return total / len(questions)


def tops(
    questions: Sequence[Judged], order: np.ndarray, usual: float
) -> tuple[np.ndarray, np.ndarray]:
    """Of the best candidate what its chance is made of, [2n, 3], and whether it is gold, [2n].

    Every question twice: as it is, then with its gold taken out of the library.
    """
    rows, right = [], []
    for question in questions:
        for one in (question, question.without_gold()):
            mixed = one.features @ order
            rows.append([mixed.max(), *standing(one.question, one.passages, mixed, usual)])
            right.append(bool(one.gold[mixed.argmax()]))
    return np.array(rows), np.array(right)


def figures(
    questions: Sequence[Judged], reranker: LateInteractionReranker, threshold: float
) -> dict[str, float]:
    """What fusion and reranking reach on these questions, and how well scores say no."""
    rows, right = tops(questions, reranker.order, reranker.usual)
    chance = 1 / (1 + np.exp(-(rows @ reranker.chance + reranker.bias)))
    late = [question.gold[question.features[:, 0].argmax()] for question in questions]
    measured = {
        "questions": len(questions),
        "hit@1 fused": np.mean([question.gold[0] for question in questions]),
        "hit@1 maxsim": np.mean(late),
        "hit@1 reranked": right[::2].mean(),
        "gold present or removed, AUROC": roc_auc_score(np.tile([1, 0], len(questions)), chance),
        "answered, gold present": (chance[::2] >= threshold).mean(),
        "answered, gold removed": (chance[1::2] >= threshold).mean(),
        "expected calibration error": calibration_error(chance, right),
    }
    return {name: round(float(value), 4) for name, value in measured.items()}


def threshold_for(
    questions: Sequence[Judged], language: str, reranker: LateInteractionReranker
) -> float:
    """The highest threshold at which 98 % of the questions that have an answer get one."""
    own = [question for question in questions if question.language == language]
    rows, _ = tops(own, reranker.order, reranker.usual)
    chance = 1 / (1 + np.exp(-(rows[::2] @ reranker.chance + reranker.bias)))
    return float(np.quantile(chance, 0.02))


def calibration_error(chance: np.ndarray, right: np.ndarray) -> float:
    """Mean gap between chance and truth over ten equal bins, weighted by their questions."""
    bins = np.minimum((chance * 10).astype(int), 9)
    gaps = [
        abs(chance[bins == number].mean() - right[bins == number].mean()) * (bins == number).mean()
        for number in np.unique(bins)
    ]
    return float(sum(gaps))


def measure_space(corpus: Sequence[dict[str, Any]], settings: Settings) -> None:
    """Write the mean token vector and the direction of language, over one passage in eight."""
    from rag.models.embedders import make_embedder

    embedder = make_embedder(settings.index, settings.cache)
    means = {}
    for language in ("en", "zh", ""):
        texts = [one["text"] for one in corpus[::8] if language in ("", one["lang"])]
        tokens = np.concatenate(embedder.encode_documents(texts).tokens or ())
        means[language] = tokens.mean(axis=0).astype(np.float32)
    np.save(DATA / CENTRE, means[""])
    direction = means["zh"] - means["en"]
    np.save(DATA / LANGUAGE, direction / np.linalg.norm(direction))


def report(questions: Sequence[Judged]) -> str:
    """Fit on one half, measure on the other, and give the coefficients' file."""
    found = [question for question in questions if question.gold.any()]
    fitted = [question for question in found if question.fitted]
    held = [question for question in found if not question.fitted]
    groups = {
        language: [one.at_home() for one in held if language in (one.language, "all")]
        for language in ("en", "zh", "all")
    }
    groups["across"] = [one.across() for one in held if one.translated.any()]
    reranker = fit(
        [one.at_home() for one in fitted], [one.across() for one in fitted if one.translated.any()]
    )
    threshold = QuerySettings().relevance
    result = {
        "date": datetime.now(UTC).date().isoformat(),
        "data": f"mixed: {len(fitted)} questions fitted, {len(held)} others measured; "
        f"gold among the best {DEPTH} of recall for {len(found)} of {len(questions)}",
        "threshold": threshold,
        "threshold that still answers 98 %": [
            round(threshold_for([one.at_home() for one in fitted], language, reranker), 3)
            for language in ("en", "zh")
        ],
        "order": {
            "features": ["maxsim, weighted", "ln(1 + bm25)"],
            "weights": rounded(reranker.order),
        },
        "chance": {
            "features": ["own mixture", "runners-up", "coverage of the best"],
            "weights": rounded(reranker.chance),
            "bias": round(reranker.bias, 5),
            "usual": round(reranker.usual, 5),
        },
        "figures": {name: figures(group, reranker, threshold) for name, group in groups.items()},
    }
    return json.dumps(result, indent=2, ensure_ascii=False)


def rounded(weights: np.ndarray) -> list[float]:
    """As they are written down."""
    return [round(float(weight), 5) for weight in weights]


def for_passages(settings: Settings) -> Settings:
    """Settings for passages that stand for themselves: no name, no reranker."""
    index = settings.index.model_copy(update={"names": False})
    return settings.model_copy(update={"index": index, "query": QuerySettings(reranker="none")})


def main(folder: Path) -> None:
    """Measure the space if that is missing, judge all questions, fit, write."""
    base = load_settings()
    if not (DATA / CENTRE).exists() or not (DATA / LANGUAGE).exists():
        measure_space(rows(folder / "mixed" / "corpus.jsonl"), base)
    pipeline = open_pipeline(for_passages(base))
    text = report(list(judged(folder / "mixed", pipeline)))
    (DATA / COEFFICIENTS).write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
