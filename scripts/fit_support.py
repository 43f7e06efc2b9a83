"""Fits the audit's logistic model, and measures how well it tells support from its absence.

    python scripts/fit_support.py FOLDER

FOLDER holds the retrieval sets xquad-en, xquad-zh and cmrc2018-trial in the layout corpus.jsonl,
queries.jsonl, qrels.tsv. Claims are the sentence with the answer ("gold"), the question with its
answer put in ("pseudo"), two of these in one ("combined"), and the gold sentence in the other
language ("translated"). Each is held against its own paragraph, a random one, and one of the same
article, or the nearest by cosine where a set has no articles. In a "corrupted" claim the answer
is another question's: of the same paragraph, or of another. Passages are seen through their codes,
as the store keeps them. Half of the articles fit the model and the others measure it.
Writes the coefficients with date, data and figures into `rag/models/data/`.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from rag.citing import find_quote
from rag.models import Embedder
from rag.models.embedders import make_embedder
from rag.models.token_space import token_codec
from rag.sentences import sentences
from rag.settings import load_settings
from rag.support import COEFFICIENTS, FEATURES, SupportModel, Tokenised, centred, features
from rag.token_codes import TokenCodec
from rag.types import Vector

DATA = Path(__file__).resolve().parents[1] / "rag" / "models" / "data"
PARAGRAPHS = 120
QUESTIONS = 3
TRANSLATED = 200
THRESHOLD = 0.5
ASKED = re.compile(
    r"^\W*(?:in |on |at |to |for |from |of |by )?"
    r"(?:who|whom|whose|what|which|when|where|why|how(?: many| much| long| often| far)?)\b\s*"
    r"(?:is|are|was|were|did|does|do|has|have|had|can|could)?\s*"
    r"|什么时候|什么|哪里|哪儿|哪些|哪个|哪一|何时|何地|多少|谁|几|哪|何|怎么样|怎样|为什么|如何",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Paragraph:
    """A passage of a set with its questions and answers; `article` is what it was taken from."""

    id: str
    article: str
    text: str
    asked: tuple[tuple[str, str], ...]

    def sentence_with(self, answer: str) -> str:
        """The sentence that holds an answer; empty where none holds the whole of it."""
        whole = (self.text[slice(*span)] for span in sentences(self.text))
        return next((sentence for sentence in whole if answer in sentence), "")


@dataclass(frozen=True, slots=True)
class Pair:
    """A claim of some kind and the paragraph it is held against.

    `against` is "own" for the paragraph that says it.
    """

    language: str
    kind: str
    claim: str
    against: str
    paragraph: Paragraph

    @property
    def fitted(self) -> bool:
        """Whether the article is one to learn from."""
        return hashlib.sha256(self.paragraph.article.encode()).digest()[0] % 2 == 0


def rows(path: Path) -> list[dict[str, Any]]:
    """The records of a JSON-lines file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def paragraphs(folder: Path) -> list[Paragraph]:
    """The paragraphs of a set that have questions; `xq03-1-en` is one of the article `xq03`."""
    lines = (folder / "qrels.tsv").read_text(encoding="utf-8").splitlines()[1:]
    gold = dict(line.split("\t")[:2] for line in lines)
    asked = defaultdict(list)
    for query in rows(folder / "queries.jsonl"):
        asked[gold[query["id"]]].append((query["text"], query["answers"][0]))
    return [
        Paragraph(name, re.sub(r"-\d+-\w+$", "", name), entry["text"], tuple(asked[name]))
        for entry in rows(folder / "corpus.jsonl")
        if asked[name := entry["id"]]
    ]


def pseudo(question: str, answer: str) -> str:
    """A question with its answer in the place of what it asks for, or behind it."""
    question = question.rstrip("?？ ")
    if re.search(r"[\u4e00-\u9fff]", question):
        said, changed = ASKED.subn(lambda _: answer, question, count=1)
        return said if changed else question + answer
    return f"{ASKED.sub('', question, count=1)} {answer}."


def pairs(
    language: str,
    sample: Sequence[Paragraph],
    nearest: Callable[[Paragraph], Paragraph],
    chance: random.Random,
) -> Iterator[Pair]:
    """Claims of one language with what supports them and what does not."""
    for paragraph in sample:
        others = [other for other in sample if other.article != paragraph.article]
        same = [other for other in sample if other.article == paragraph.article]
        near = [other for other in same if other is not paragraph]
        close = chance.choice(near) if near else nearest(paragraph)
        asked = chance.sample(paragraph.asked, min(QUESTIONS, len(paragraph.asked)))
        said = [(q, a, gold) for q, a in asked if (gold := paragraph.sentence_with(a))]
        for question, answer, gold in said:
            claims = {"gold": gold, "pseudo": pseudo(question, answer)}
            for kind, claim in claims.items():
                yield Pair(language, kind, claim, "own", paragraph)
                yield Pair(language, kind, claim, "random", chance.choice(others))
                if close is not paragraph:
                    yield Pair(language, kind, claim, "near", close)
            for source, wrong in wrong_answers(answer, gold, paragraph, others, chance):
                changed = gold.replace(answer, wrong)
                # Where the answer is the whole sentence, another one of the paragraph is true.
                if find_quote(changed, paragraph.text):
                    continue
                yield Pair(language, "gold", changed, f"corrupted, {source}", paragraph)
                changed = pseudo(question, wrong)
                yield Pair(language, "pseudo", changed, f"corrupted, {source}", paragraph)
        for (question, answer, gold), (further, more, other) in pairwise(said):
            if gold != other:
                joined = "，" if language == "zh" else ", and "
                claim = pseudo(question, answer).rstrip(".") + joined + pseudo(further, more)
                yield Pair(language, "combined", claim, "own", paragraph)
                yield Pair(language, "combined", claim, "random", chance.choice(others))


def wrong_answers(
    answer: str,
    gold: str,
    paragraph: Paragraph,
    others: Sequence[Paragraph],
    chance: random.Random,
) -> Iterator[tuple[str, str]]:
    """Answers to other questions that also have, or have not, a number."""

    def alike(wrong: str, text: str) -> bool:
        return wrong not in text and bool(re.search(r"\d", wrong)) == bool(re.search(r"\d", answer))

    inside = [wrong for _, wrong in paragraph.asked if alike(wrong, gold)]
    if inside:
        yield "same paragraph", chance.choice(inside)
    asked = [wrong for other in others for _, wrong in other.asked]
    length = len(answer)
    outside = [
        wrong
        for wrong in asked
        if alike(wrong, paragraph.text) and abs(len(wrong) - length) <= max(3, length // 2)
    ]
    if outside:
        yield "other paragraph", chance.choice(outside)


def translated(
    english: Sequence[Paragraph], chinese: Sequence[Paragraph], chance: random.Random
) -> Iterator[Pair]:
    """Sentences in Chinese against the English paragraphs that were translated."""
    originals = {paragraph.id.removesuffix("-en"): paragraph for paragraph in english}
    said = [
        (gold, paragraph.id.removesuffix("-zh"))
        for paragraph in chinese
        for _, answer in paragraph.asked
        if (gold := paragraph.sentence_with(answer))
    ]
    for gold, name in chance.sample(said, TRANSLATED):
        own = originals[name]
        same = [other for other in english if other.article == own.article and other is not own]
        others = [other for other in english if other.article != own.article]
        yield Pair("zh on en", "gold", gold, "own", own)
        yield Pair("zh on en", "gold", gold, "random", chance.choice(others))
        if same:
            yield Pair("zh on en", "gold", gold, "near", chance.choice(same))


def nearest_by_cosine(
    sample: Sequence[Paragraph], embedder: Embedder
) -> Callable[[Paragraph], Paragraph]:
    """Looks up the other paragraph of a sample that is nearest to one of it."""
    dense = embedder.encode_documents([paragraph.text for paragraph in sample]).dense
    cosines = dense @ dense.T
    np.fill_diagonal(cosines, -1)
    found = {one.id: sample[int(best)] for one, best in zip(sample, cosines.argmax(1), strict=True)}
    return lambda paragraph: found[paragraph.id]


def measured(judged: Sequence[Pair], embedder: Embedder, codec: TokenCodec) -> Vector:
    """The features of each pair, [pairs, features], passages seen through their codes."""
    claims = list(dict.fromkeys(pair.claim for pair in judged))
    passages = {pair.paragraph.id: pair.paragraph.text for pair in judged}
    said = {
        claim: Tokenised(claim, centred(codec.rotate(tokens), codec.centre))
        for claim, tokens in tokens_of(claims, embedder)
    }
    spans = embedder.token_spans(list(passages.values()))
    codes = tokens_of(list(passages.values()), embedder)
    held = {
        name: Tokenised(
            text, centred(codec.decode(codec.encode(tokens)), codec.centre), span, sentences(text)
        )
        for (name, (text, tokens)), span in zip(
            zip(passages, codes, strict=True), spans, strict=True
        )
    }
    return np.array([features(said[pair.claim], held[pair.paragraph.id])[1] for pair in judged])


def tokens_of(texts: Sequence[str], embedder: Embedder) -> Iterator[tuple[str, Vector]]:
    """Each text with its token vectors, a hundred at a time."""
    for start in range(0, len(texts), 100):
        batch = texts[start : start + 100]
        tokens = embedder.encode_documents(batch).tokens
        if tokens is None:
            raise SystemExit("The embedder has no token vectors.")
        yield from zip(batch, tokens, strict=True)
        print(f"\r{start + len(batch)} of {len(texts)} texts embedded", end="", flush=True)
    print()


def fit(judged: Sequence[Pair], seen: Vector) -> SupportModel:
    """A logistic model in which languages, answers and kinds of claim weigh the same."""
    groups: defaultdict[tuple[str, bool, str], list[int]] = defaultdict(list)
    for index, pair in enumerate(judged):
        own = pair.against == "own"
        groups[pair.language, own, pair.kind if own else pair.kind + pair.against].append(index)
    kinds: defaultdict[tuple[str, bool], int] = defaultdict(int)
    for language, own, _ in groups:
        kinds[language, own] += 1
    weights = np.zeros(len(judged))
    for (language, own, _), members in groups.items():
        weights[members] = len(judged) / (2 * kinds[language, own] * len(members))
    model = LogisticRegression(C=100.0, max_iter=5000)
    model.fit(seen, [pair.against == "own" for pair in judged], sample_weight=weights)
    return SupportModel(
        model.coef_[0].round(5).astype(np.float32),
        round(float(model.intercept_[0]), 5),
        THRESHOLD,
    )


def figures(judged: Sequence[Pair], chances: np.ndarray) -> dict[str, dict[str, float]]:
    """By language and kind of claim: AUROC against each negative, and what passes as supported."""
    found: dict[str, dict[str, float]] = {}
    chances_of = defaultdict(list)
    for pair, chance in zip(judged, chances, strict=True):
        chances_of[pair.language, pair.kind, pair.against].append(chance)
        if pair.kind == "gold" and pair.language != "zh on en":
            verbatim = find_quote(pair.claim, pair.paragraph.text) is not None
            chances_of[pair.language, "gold as audited", pair.against].append(
                1.0 if verbatim else chance
            )
    for (language, kind, against), negative in chances_of.items():
        row = found.setdefault(f"{language}, {kind}", {})
        if against == "own":
            row["claims"] = len(negative)
        else:
            own = chances_of[language, kind, "own"]
            truth = [True] * len(own) + [False] * len(negative)
            row[f"AUROC, {against}"] = round(float(roc_auc_score(truth, own + negative)), 4)
        row[f"supported, {against}"] = round(float(np.mean(np.array(negative) >= THRESHOLD)), 4)
    return found


def main(folder: Path) -> None:
    """Take claims from the sets, fit, measure, write."""
    chance = random.Random(1)
    settings = load_settings()
    embedder = make_embedder(settings.index, settings.cache)
    codec = token_codec(settings.index.embedder, embedder.dimensions)
    english, chinese = paragraphs(folder / "xquad-en"), paragraphs(folder / "xquad-zh")
    cmrc = chance.sample(paragraphs(folder / "cmrc2018-trial"), PARAGRAPHS)
    judged = [
        *pairs("en", english, lambda paragraph: paragraph, chance),
        *pairs("zh", cmrc, nearest_by_cosine(cmrc, embedder), chance),
        *translated(english, chinese, chance),
    ]
    seen = measured(judged, embedder, codec)
    fitted = np.array([pair.fitted for pair in judged])
    learned = [pair for pair in judged if pair.fitted]
    held_out = [pair for pair in judged if not pair.fitted]
    model = fit(learned, seen[fitted])
    result = {
        "date": datetime.now(UTC).date().isoformat(),
        "data": f"xquad-en, cmrc2018-trial, xquad-zh on xquad-en: {len(learned)} pairs of claim "
        f"and paragraph fitted, {len(held_out)} of other articles measured",
        "threshold": model.threshold,
        "features": FEATURES,
        "weights": [round(float(weight), 5) for weight in model.weights],
        "bias": model.bias,
        "figures": figures(held_out, np.array([model.probability(row) for row in seen[~fitted]])),
    }
    text = json.dumps(result, indent=2, ensure_ascii=False)
    (DATA / COEFFICIENTS).write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
