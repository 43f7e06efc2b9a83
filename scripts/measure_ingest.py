"""Measures adding a folder of documents against the bare speed of its embedding model.

    python scripts/measure_ingest.py FOLDER [--sample CHUNKS]

Adds the folder to a new library, says how every page ended, and then encodes the same chunks with
`SentenceTransformer.encode` in the same process. Prints pages and chunks a second of both.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter

from rag.documents import SUFFIXES
from rag.ingest import File
from rag.models.bundled import bundled_model_folder
from rag.opening import open_pipeline
from rag.pipeline import Pipeline
from rag.settings import load_settings
from rag.types import AddResult, Progress

PROMPT = "passage: "


def main() -> None:
    """Add, count, compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sample", type=int, default=0, help="encode only so many chunks bare")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        pipeline = open_pipeline(load_settings(Path(home), environment={}))
        started = perf_counter()
        embedding, results = added(pipeline, arguments.folder)
        seconds = perf_counter() - started
        pages = sum(result.pages for result in results)
        read = sum(result.pages_read for result in results)
        texts = list(chunk_texts(pipeline))
        stored = pages_stored(pipeline)
    print(f"{len(results)} documents, {pages} pages ({read} read, {stored} stored)")
    print(
        f"ours: {seconds:.1f} s, {pages / seconds:.2f} pages/s, {len(texts) / seconds:.2f} chunks/s"
    )
    print(f"ours, embedding alone: {len(texts) / embedding:.2f} chunks/s")
    bare = bare_rate(
        texts[:: max(1, len(texts) // arguments.sample)] if arguments.sample else texts
    )
    print(f"SentenceTransformer.encode: {bare:.2f} chunks/s")
    print(f"ratio, whole ingest: {len(texts) / seconds / bare:.2f}")
    print(f"ratio, embedding alone: {len(texts) / embedding / bare:.2f}")


def added(pipeline: Pipeline, folder: Path) -> tuple[float, list[AddResult]]:
    """Seconds spent embedding, and what became of each file."""
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    results: list[AddResult] = []
    embedding, since = 0.0, 0.0
    for event in pipeline.add([File.at(path) for path in paths]):
        match event:
            case AddResult():
                results.append(event)
                print(event, flush=True)
            case Progress(stage="embedding", done=0):
                since = perf_counter()
            case Progress(stage="embedding") if event.done == event.total:
                embedding += perf_counter() - since
    return embedding, results


def chunk_texts(pipeline: Pipeline) -> Iterator[str]:
    """The texts of all chunks in the library."""
    for record in pipeline.store.documents():
        yield from (chunk.text for chunk in pipeline.store.chunks(record.id))


def pages_stored(pipeline: Pipeline) -> int:
    """Pages in the library, read or not."""
    return sum(len(pipeline.store.pages(record.id)) for record in pipeline.store.documents())


def bare_rate(texts: list[str]) -> float:
    """Chunks a second of sentence-transformers on the same model folder."""
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(bundled_model_folder(load_settings().cache)), device="cpu")
    model.encode([PROMPT + text for text in texts[:32]])
    started = perf_counter()
    model.encode([PROMPT + text for text in texts], show_progress_bar=False)
    return len(texts) / (perf_counter() - started)


if __name__ == "__main__":
    main()
