"""Compares the tokenizers of full-text search: quality, size of the index and time a question.

    python scripts/compare_full_text.py EVALDATA [SET ...]

EVALDATA holds golden sets as `rag eval` reads them; of each set all questions with gold are asked.
The first tokenizer is the one in use; the others are held against it question by question. Jieba
is compared where it is installed (pip install jieba).
"""

from __future__ import annotations

import argparse
import logging
import re
from collections.abc import Callable, Iterable
from functools import partial
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

import lancedb
import numpy as np
import pyarrow as pa
from lancedb.index import FTS

from rag.encoding import WINDOW
from rag.evaluation.golden_sets import GoldenSet, read_golden_set
from rag.evaluation.resampling import bootstrap_means, figures, sign_flip_p_values
from rag.folding import fold
from rag.models import Embedder
from rag.models.embedders import make_embedder
from rag.retrieval import fuse
from rag.settings import load_settings
from rag.types import Score

SETS = ("cmrc2018-trial", "xquad-zh", "mixed", "squad2-en")
DEPTH, CONSTANT = 100, 60
_CHINESE = re.compile(r"[\u2e80-\u9fff\uf900-\ufaff]+")
_index = partial(FTS, remove_stop_words=False, ascii_folding=True)

Prepare = Callable[[str], str]


def bigrams(text: str) -> str:
    """Every two neighbouring Chinese characters as a word of their own."""

    def pairs(found: re.Match[str]) -> str:
        run = found.group()
        return f" {' '.join(run[at : at + 2] for at in range(len(run) - 1)) or run} "

    return _CHINESE.sub(pairs, text)


def tokenizers() -> dict[str, tuple[Prepare, FTS]]:
    """What is compared: what is done to a text before, and the index."""
    compared: dict[str, tuple[Prepare, FTS]] = {
        "icu": (str, _index(base_tokenizer="icu", stem=True)),
        "icu, no stemming": (str, _index(base_tokenizer="icu", stem=False)),
        "icu/split": (str, _index(base_tokenizer="icu/split", stem=True)),
        "bigrams": (bigrams, _index(base_tokenizer="simple", stem=True)),
    }
    for longest in (2, 3):
        compared[f"ngram 2..{longest}"] = (
            str,
            FTS(
                base_tokenizer="ngram",
                ngram_min_length=2,
                ngram_max_length=longest,
                stem=False,
            ),
        )
    try:
        jieba = import_module("jieba")
    except ImportError:
        return compared
    jieba.setLogLevel(logging.WARNING)

    def joined(cut: Callable[[str], Iterable[str]]) -> Prepare:
        return lambda text: " ".join(word for word in cut(text) if word.strip())

    for name, cut in (("jieba", jieba.cut), ("jieba for search", jieba.cut_for_search)):
        compared[name] = joined(cut), _index(base_tokenizer="simple", stem=True)
    return compared


def dense_arms(golden: GoldenSet, embedder: Embedder) -> list[dict[str, Score]]:
    """Dense recall of every question, by passage id."""
    ids = [passage.id for passage in golden.passages]
    texts = [passage.text for passage in golden.passages]
    windows = [texts[start : start + WINDOW] for start in range(0, len(texts), WINDOW)]
    passages = np.concatenate([embedder.encode_documents(window).dense for window in windows])
    arms = []
    for question in golden.rankable:
        scores = passages @ embedder.encode_question(question.text).dense
        best = np.argsort(-scores, kind="stable")[:DEPTH]
        arms.append({ids[at]: Score(float(scores[at]), n) for n, at in enumerate(best, start=1)})
    return arms


def measures(ranking: Iterable[str], gold: Iterable[str]) -> tuple[float, float, float]:
    """hit@1, reciprocal rank and nDCG, both of the first ten, all gold being worth the same."""
    wanted = set(gold)
    ranks = [n for n, name in enumerate(list(ranking)[:10], start=1) if name in wanted]
    ideal = sum(1 / np.log2(n + 1) for n in range(1, min(10, len(wanted)) + 1))
    gain = sum(1 / np.log2(n + 1) for n in ranks) / ideal
    return float(1 in ranks), 1 / ranks[0] if ranks else 0.0, float(gain)


def compare(golden: GoldenSet, dense: list[dict[str, Score]]) -> None:
    """Print a line for every tokenizer and language, full text alone and fused."""
    found: dict[str, list[tuple[float, ...]]] = {}
    for name, (prepare, index) in tokenizers().items():
        with TemporaryDirectory() as folder:
            texts = [prepare(fold(f"{one.title}\n{one.text}")) for one in golden.passages]
            rows = pa.table({"id": [one.id for one in golden.passages], "text": texts})
            table = lancedb.connect(folder).create_table("passages", rows)
            table.create_index("text", config=index)
            files = (Path(folder) / "passages.lance" / "_indices").rglob("*")
            size = sum(file.stat().st_size for file in files if file.is_file())
            seconds = []
            for question, arm in zip(golden.rankable, dense, strict=True):
                started = perf_counter()
                query = table.search(
                    prepare(fold(question.text)), query_type="fts", fts_columns="text"
                )
                hits = query.select(["id", "_score"]).limit(DEPTH).to_list()
                seconds.append(perf_counter() - started)
                hits.sort(key=lambda hit: (-hit["_score"], hit["id"]))
                ranks = enumerate(hits, start=1)
                lexical = {hit["id"]: Score(hit["_score"], rank) for rank, hit in ranks}
                both = fuse([arm, lexical], CONSTANT)
                gold = question.gold
                found.setdefault(name, []).append((*measures(lexical, gold), *measures(both, gold)))
        print(f"  {name}: {size / 1000:.0f} kB, {1000 * np.median(seconds):.1f} ms a question")
    first = next(iter(found))
    for language in sorted({question.language for question in golden.rankable}):
        asked = [question.language == language for question in golden.rankable]
        for recall, columns in (("full text", slice(0, 3)), ("fused", slice(3, 6))):
            for name, values in found.items():
                mine = np.array(values)[asked, columns]
                less = mine - np.array(found[first])[asked, columns]
                change = figures(less, bootstrap_means(less, 0))[2]
                shown = " / ".join(f"{mean:.3f}" for mean in mine.mean(axis=0))
                interval = f"{change.mean:+.3f} [{change.low:+.3f}, {change.high:+.3f}]"
                chance = sign_flip_p_values(less, 0)[2]
                print(f"  {language} {recall:9} {name:17} {shown}  {interval} p {chance:.3f}")


def main() -> None:
    """See the top of the file."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("evaldata", type=Path)
    parser.add_argument("sets", nargs="*", default=SETS)
    arguments = parser.parse_args()
    settings = load_settings()
    embedder = make_embedder(settings.index, settings.cache)
    for name in arguments.sets:
        golden = read_golden_set(arguments.evaldata / name)
        print(f"{name}: hit@1 / MRR@10 / nDCG@10 of {len(golden.rankable)} questions")
        compare(golden, dense_arms(golden, embedder))


if __name__ == "__main__":
    main()
