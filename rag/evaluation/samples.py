"""The sample documents as a golden set, for measuring before a library has questions of its own."""

from __future__ import annotations

import json
from importlib.resources import files

from rag.errors import RAGError
from rag.evaluation.golden_sets import GoldenQuestion, GoldenSet
from rag.serving import sample_files

NAME = "the sample documents"


def sample_golden_set() -> GoldenSet:
    """Eight questions in two languages, each with the documents that answer it.

    Raises RAGError where the samples are not installed.
    """
    documents = tuple(sample_files())
    if not documents:
        raise RAGError("The sample documents are not installed.", "Install RankLens again.")
    lines = (files("rag.evaluation") / "data" / "sample_questions.jsonl").read_text("utf-8")
    questions = tuple(
        GoldenQuestion(
            id=row["id"],
            text=row["text"],
            language=row["language"],
            gold=dict.fromkeys(row["documents"], 1),
        )
        for row in map(json.loads, lines.splitlines())
    )
    return GoldenSet(NAME, (), documents, questions, "document")
