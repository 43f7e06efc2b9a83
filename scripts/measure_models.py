"""Measures seconds per 100 passages of the networks in docs/models.md.

    python scripts/measure_models.py [FOLDER]

FOLDER holds the retrieval sets; its passages are encoded by the models that come with pip, and
reranked. The weights of hub models cannot always be had, and how long a network takes does not
depend on them: each is made with random weights in its own size, and reads as many tokens as a
question with a passage of default length has.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from transformers import AutoModel, BertConfig, MPNetConfig, XLMRobertaConfig

from rag.models.embedders import make_embedder
from rag.models.rerankers import make_reranker
from rag.models.token_space import token_codec
from rag.settings import Settings, load_settings
from rag.types import Chunk, Passage

PASSAGES = 100
TOKENS = 220
# A large network takes minutes for all of them.
SAMPLE = 16
BATCH = 8


def network(kind: Any, layers: int, hidden: int) -> Any:
    """The configuration of an encoder with so many layers of so many dimensions."""
    return kind(
        num_hidden_layers=layers,
        hidden_size=hidden,
        intermediate_size=4 * hidden,
        num_attention_heads=hidden // 64 if hidden != 384 else 12,
        max_position_embeddings=514,
        vocab_size=30522,
    )


NETWORKS = {
    "all-MiniLM-L6-v2, ms-marco-MiniLM-L6-v2": network(BertConfig, 6, 384),
    "mmarco-mMiniLMv2-L12-H384-v1, multilingual-e5-small": network(XLMRobertaConfig, 12, 384),
    "bge-small-zh-v1.5": network(BertConfig, 4, 512),
    "all-mpnet-base-v2": network(MPNetConfig, 12, 768),
    "bge-reranker-base, multilingual-e5-base": network(XLMRobertaConfig, 12, 768),
    "bge-m3, bge-reranker-large, -v2-m3, bge-large, e5-large": network(XLMRobertaConfig, 24, 1024),
}


def timed(work: Callable[[], object], share: float = 1.0) -> float:
    """Seconds for all passages, from the faster of two runs over a share of them."""
    seconds = []
    for _ in range(2):
        started = perf_counter()
        work()
        seconds.append(perf_counter() - started)
    return min(seconds) / share


@torch.inference_mode()
def forward(configuration: Any) -> float:
    """Seconds per 100 passages of a network with random weights."""
    model = AutoModel.from_config(configuration).eval()  # type: ignore[no-untyped-call]
    ids = torch.randint(5, 30000, (SAMPLE, TOKENS))
    batches = [ids[start : start + BATCH] for start in range(0, SAMPLE, BATCH)]
    return timed(lambda: [model(input_ids=batch) for batch in batches], SAMPLE / PASSAGES)


def measured(folder: Path, settings: Settings) -> dict[str, float]:
    """Seconds per 100 passages of what comes with pip."""
    lines = (folder / "mixed" / "corpus.jsonl").read_text(encoding="utf-8").splitlines()
    texts = [json.loads(line)["text"] for line in lines[: 7 * PASSAGES : 7]]
    embedder = make_embedder(settings.index, settings.cache)
    found = {"multilingual-e5-small (bundled)": timed(lambda: embedder.encode_documents(texts))}
    codec = token_codec("bundled", embedder.dimensions)
    codes = [codec.encode(tokens) for tokens in embedder.encode_documents(texts).tokens or ()]
    question = embedder.encode_question("When were the first of them built, and by whom?")
    chunks = [Chunk(str(n), "", n, 1, 0, len(text), text) for n, text in enumerate(texts)]

    def late() -> object:
        tokens = [codec.decode(code) for code in codes]
        passages = [
            Passage(chunk, "", 0.8, 1.0, vectors)
            for chunk, vectors in zip(chunks, tokens, strict=True)
        ]
        reranker = make_reranker(settings)
        return reranker and reranker.score(question, passages)

    found["late interaction, codes decoded"] = timed(late)
    features = make_reranker(
        settings.model_copy(
            update={"query": settings.query.model_copy(update={"reranker": "features"})}
        )
    )
    plain = [Passage(chunk, "", 0.8, 1.0) for chunk in chunks]
    found["features"] = timed(lambda: features and features.score(question, plain))
    return found


def main(arguments: list[str]) -> None:
    """Print a table."""
    torch.set_num_threads(2)
    rows = {name: forward(configuration) for name, configuration in NETWORKS.items()}
    if arguments:
        rows |= measured(Path(arguments[0]), load_settings(environment={}))
    print("| network | s per 100 passages |\n|---|---|")
    for name, seconds in rows.items():
        print(f"| {name} | {seconds:.2g} |")


if __name__ == "__main__":
    main(sys.argv[1:])
