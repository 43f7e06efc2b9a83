"""A fast part of the benchmarks: `make bench`, within ten minutes on two cores.

    python -m scripts.bench EVALDATA

Prints one table in Markdown: recall, fusion and the default reranker on a sample of each set, in
both languages and across them, with the seconds of a question. Indexes stay in the cache, so a
second run takes a minute. Where EVALDATA is absent it says so and does nothing.
"""

from __future__ import annotations

import platform
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from rag import __version__
from rag.evaluation.golden_sets import GoldenSet, read_golden_set
from rag.evaluation.pipelines import STANDARD, parse_pipelines
from rag.evaluation.resampling import Figure
from rag.evaluation.results import ALL, Row
from rag.evaluation.run import evaluate
from rag.models.embedders import available_cores
from rag.settings import QuerySettings, load_settings

QUESTIONS = 150


def sets(folder: Path) -> list[GoldenSet]:
    """What is asked: two languages at home, and each about documents in the other."""
    chinese, english = folder / "xquad-zh", folder / "xquad-en"
    return [
        read_golden_set(folder / "squad2-en"),
        read_golden_set(folder / "cmrc2018-trial"),
        read_golden_set(chinese),
        read_golden_set(chinese, english, chinese / "qrels.to-en.tsv"),
        read_golden_set(english, chinese, english / "qrels.to-zh.tsv"),
    ]


def cells(row: Row) -> str:
    """The figures of a pipeline with their intervals, and its seconds."""
    figures, seconds = row.figures[ALL], row.seconds["total"]
    shown = [figure(figures[name]) for name in ("hit@1", "recall@10", "ndcg@10")]
    times = f"{seconds.p50 * 1000:.0f} / {seconds.p95 * 1000:.0f}"
    return " | ".join([row.spec.name, *shown, times])


def figure(value: Figure) -> str:
    """A mean with its 95 % interval."""
    return f"{value.mean:.3f} ({value.low:.2f}–{value.high:.2f})"


def main(folder: Path) -> None:
    """Print the rows as they come."""
    if not (folder / "squad2-en").is_dir():
        print(
            f"Skipped: there are no evaluation sets in {folder}. Name their folder: "
            "make bench EVALDATA=FOLDER"
        )
        return
    start = time.monotonic()
    settings = load_settings(environment={}).model_copy(update={"query": QuerySettings()})
    print(
        f"RankLens {__version__}, {datetime.now(UTC):%Y-%m-%d}, {available_cores()} cores, "
        f"{platform.machine()}, Python {platform.python_version()}\n"
    )
    print("| set | questions | pipeline | hit@1 | recall@10 | nDCG@10 | ms p50 / p95 |")
    print("|---|---|---|---|---|---|---|", flush=True)
    for golden in sets(folder):
        evaluation = evaluate(
            golden, parse_pipelines(",".join(STANDARD)), settings, limit=QUESTIONS, fresh=True
        )
        for row in evaluation.rows:
            print(f"| {golden.name} | {len(evaluation.questions)} | {cells(row)} |", flush=True)
    print(f"\n{time.monotonic() - start:.0f} s in all")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
