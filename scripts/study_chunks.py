"""Measures how the way of cutting long documents changes what is found.

    RAG_HOME=LIBRARIES python scripts/study_chunks.py FOLDER [VARIANT ...]

FOLDER is a golden set whose documents are files, with their pages as `corpus.jsonl`, ids like
`NAME#p4`; gold is by document. LIBRARIES keeps one index a variant, so that a second run is quick.
A variant is CHUNK_TOKENS/OVERLAP_TOKENS; with `+name` or `+opening` full text also reads the file's
name or the beginning of the document in front of each passage, with `+names` the embedder reads the
name there too, as the setting `names` has it.

Answers of such a set quote their documents, which gives page gold: of every gold document the
pages that hold what the answer quotes. Quotes are figures (`82,959`, `15.7 %`) that are not in the
question and stand on at most `MOST_PAGES` pages of the document, or where it has none of them,
runs of five words on at most two. A page counts that holds half as many quotes as the best one.
"""

from __future__ import annotations

import json
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import process_time

from rag.chunking import chunk_document
from rag.documents import read_document
from rag.evaluation.asking import Asked, Contender, ready
from rag.evaluation.golden_sets import GoldenSet, read_golden_set
from rag.evaluation.indexing import Units
from rag.evaluation.metrics import Floats, measured
from rag.evaluation.pipelines import parse_pipelines
from rag.evaluation.resampling import bootstrap_means, figures
from rag.ingest import File, Ingest
from rag.naming import telling_name
from rag.opening import open_pipeline
from rag.pipeline import Pipeline
from rag.settings import IndexSettings, QuerySettings, Settings, load_settings
from rag.types import AddResult, Chunk, Document

PIPELINES = ("fused", "fused+rerank")
VARIANTS = (
    *("200/40", "100/40", "150/40", "300/40", "400/40", "480/40", "200/0", "200/80"),
    *("200/40+name", "200/40+opening", "200/40+names"),
)
OPENING_WORDS = 80

MOST_PAGES = 5
MOST_PAGES_OF_WORDS = 2
LEAST_WORDS = 5
MOST_GOLD_PAGES = 6
_FIGURE = re.compile(r"(?<![\d.,])\d[\d,]*(?:\.\d+)?(?!\d)(?:\s*(%|percent|million|billion))?")
_THOUSANDS = re.compile(r"(\d+)\.(\d{3}) billion")
_WORD = re.compile(r"[a-z][a-z&'-]+|\d[\d,.]*\d")
_SENTENCE_END = re.compile(r"\n|(?<=[.!?)]) (?=[A-Z])")

# Pages by the name of their file.
Pages = Mapping[str, Mapping[int, str]]
Gold = Mapping[str, int]


def quoted_figures(text: str) -> set[str]:
    """The figures of a text; a short one with its unit, for alone it may be any."""
    found = {f"{whole},{rest}" for whole, rest in _THOUSANDS.findall(text)}
    for match in _FIGURE.finditer(text):
        unit = match[1] or ""
        figure = match[0].removesuffix(unit).rstrip(" ,.\n\xa0")
        if "," in figure or ("." in figure and len(figure) > 5):
            found.add(figure)
        elif "." in figure and unit:
            found.add(f"{figure} {unit.replace('percent', '%')}")
    return found


def quoted_words(text: str) -> set[str]:
    """All runs of five words of a text."""
    words = _WORD.findall(text.lower().replace("\u2019", "'"))
    return {" ".join(words[start : start + 5]) for start in range(len(words) - 4)}


def gold_pages(question: str, answer: str, name: str, others: Gold, pages: Pages) -> set[int]:
    """The pages of one gold document that the answer quotes; none where it quotes nothing rare.

    A sentence that names one of the gold documents is held to be about that one only.
    """
    about = "\n".join(
        sentence
        for sentence in _SENTENCE_END.split(answer)
        if Path(name).stem in sentence or not any(Path(one).stem in sentence for one in others)
    )
    for quotes, most, least in (
        (quoted_figures, MOST_PAGES, 1),
        (quoted_words, MOST_PAGES_OF_WORDS, LEAST_WORDS),
    ):
        wanted = quotes(about) - quotes(question)
        held = {number: wanted & quotes(text) for number, text in pages[name].items()}
        spread = Counter(quote for found in held.values() for quote in found)
        counts = {
            number: sum(spread[quote] <= most for quote in found) for number, found in held.items()
        }
        best = max(counts.values())
        if best >= least:
            gold = {one for one, count in counts.items() if count >= max(best / 2, least)}
            return gold if len(gold) <= MOST_GOLD_PAGES else set()
    return set()


def page_gold(golden: GoldenSet, pages: Pages) -> list[dict[str, int]]:
    """Of each question the pages that answer it, as `NAME#p4`; empty where no rule finds any."""
    return [
        {
            f"{name}#p{number}": 1
            for name in question.gold
            for number in gold_pages(
                question.text, "\n".join(question.answers), name, question.gold, pages
            )
        }
        for question in golden.rankable
    ]


@dataclass(frozen=True, slots=True)
class Variant:
    """One way of cutting; `context` is what is read before a passage."""

    name: str
    index: IndexSettings
    context: str

    @classmethod
    def of(cls, name: str) -> Variant:
        """The variant that a name like `200/40+name` stands for."""
        sizes, _, context = name.partition("+")
        tokens, overlap = map(int, sizes.split("/"))
        names = context == "names"
        index = IndexSettings(chunk_tokens=tokens, overlap_tokens=overlap, names=names)
        return cls(name, index, context)

    def chunks(self, document: Document, pipeline: Pipeline) -> list[Chunk]:
        """The passages, the context as the heading above each: full text reads it there."""
        chunks = chunk_document(document, pipeline.embedder.token_spans, self.index)
        above = {
            "": "",
            "names": "",
            "name": Path(document.name).stem,
            "opening": " ".join(document.pages[0].text.split()[:OPENING_WORDS]),
        }[self.context]
        return [replace(chunk, heading=f"{above}\n{chunk.heading}".strip()) for chunk in chunks]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one pipeline over one variant gave: each measure of each question."""

    documents: Mapping[str, Floats]
    pages: Mapping[str, Floats]
    chunks: int
    seconds: float


def library(golden: GoldenSet, variant: Variant, base: Settings) -> tuple[Pipeline, float]:
    """The library of a variant, made where it is missing, and the processor seconds that took."""
    home = base.home / variant.name.replace("/", "-")
    settings = base.model_copy(update={"home": home, "index": variant.index})
    pipeline = open_pipeline(settings.model_copy(update={"query": plain(settings)}))
    started = process_time()
    ingest = Ingest(
        pipeline.store,
        pipeline.embedder,
        pipeline.codec,
        lambda content, name, report: read_document(content, name, settings.reading, report),
        lambda document: variant.chunks(document, pipeline),
        telling_name if variant.index.names else lambda _: "",
    )
    for event in ingest.add([File.at(path) for path in golden.files]):
        if isinstance(event, AddResult) and event.outcome == "added":
            print(variant.name, event, file=sys.stderr, flush=True)
    return pipeline, process_time() - started


def plain(settings: Settings) -> QuerySettings:
    """The query settings without any model but the embedder's."""
    return settings.query.model_copy(update={"reranker": "none", "answerer": "quotes"})


def outcomes(
    golden: GoldenSet, variant: Variant, base: Settings, gold: Sequence[Gold]
) -> Iterator[Outcome]:
    """The outcome of every pipeline over a variant."""
    pipeline, seconds = library(golden, variant, base)
    specs = parse_pipelines(",".join(PIPELINES), base.query)
    contenders = [one for one in ready(specs, pipeline, base.query) if isinstance(one, Contender)]
    asked = [Asked(question, pipeline, Units("page")) for question in golden.rankable]
    placed = [place for place, pages in enumerate(gold) if pages]
    for contender in contenders:
        rankings = [one.ranked(contender).units for one in asked]
        documents = [list(dict.fromkeys(unit.split("#p")[0] for unit in one)) for one in rankings]
        yield Outcome(
            measured(documents, [question.gold for question in golden.rankable]),
            measured([rankings[place] for place in placed], [gold[place] for place in placed]),
            pipeline.store.state().chunks,
            seconds,
        )


def difference(values: Floats, before: Floats) -> str:
    """The mean difference in points with its 95 % interval, paired by question."""
    column = (values - before)[:, None]
    [figure] = figures(column, bootstrap_means(column, seed=0))
    return f"{100 * figure.mean:+.1f} [{100 * figure.low:+.1f}, {100 * figure.high:+.1f}]"


def row(name: str, pipeline: str, outcome: Outcome, first: Outcome) -> str:
    """One line of the table."""
    documents, pages = outcome.documents, outcome.pages
    cells = [
        *(documents[measure].mean() for measure in ("hit@1", "recall@5")),
        *(pages[measure].mean() for measure in ("hit@1", "hit@5", "mrr@10", "ndcg@10")),
    ]
    return " | ".join(
        [
            f"| {name} | {pipeline}",
            *(f"{cell:.3f}".lstrip("0") for cell in cells),
            difference(documents["hit@1"], first.documents["hit@1"]),
            difference(pages["ndcg@10"], first.pages["ndcg@10"]),
            f"{outcome.chunks:,} | {outcome.seconds:.0f} |",
        ]
    )


def main(folder: Path, names: Sequence[str]) -> None:
    """The table of all variants, each compared with the first."""
    golden = read_golden_set(folder)
    pages: dict[str, dict[int, str]] = defaultdict(dict)
    for line in (folder / "corpus.jsonl").read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        name, number = entry["id"].rsplit("#p", 1)
        pages[name][int(number)] = entry["text"]
    gold = page_gold(golden, pages)
    print(f"{len(gold)} questions, {sum(map(bool, gold))} with page gold", flush=True)
    base, first = load_settings(), list[Outcome]()
    for variant in map(Variant.of, names):
        found = list(outcomes(golden, variant, base, gold))
        first = first or found
        for pipeline, outcome, before in zip(PIPELINES, found, first, strict=True):
            print(row(variant.name, pipeline, outcome, before), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:] or VARIANTS)
