"""The records that travel between the stages.

Every record is frozen: a stage returns new records and never changes one it was given.
Scores are typed and higher is always better:

- `dense`: cosine similarity of question and passage, -1..1
- `lexical`: BM25, 0 or more
- `fused`: reciprocal rank fusion, meaningful as an order only
- `rerank`: probability that the passage answers the question, 0..1
"""

from __future__ import annotations

from rag.types.answers import (
    NOTHING_RELEVANT,
    Answer,
    AnswerKind,
    AskedQuestion,
    Citation,
    Record,
    Statement,
    Turn,
)
from rag.types.documents import (
    AddOutcome,
    AddResult,
    Chunk,
    Document,
    DocumentRecord,
    DocumentStatus,
    IngestStage,
    Page,
    PageRead,
    Progress,
)
from rag.types.golden import GoldenMark, GoldenOrigin, PassageSpan
from rag.types.indexes import IndexProgress, IndexRecord
from rag.types.notice import Notice
from rag.types.retrieval import Candidate, LibraryState, Score, Trace
from rag.types.usage import ServiceKind, Usage, usage_line
from rag.types.vectors import (
    ChunkVectors,
    Encoding,
    Passage,
    Question,
    SparseWeights,
    StoredVectors,
    Vector,
)

__all__ = [
    "NOTHING_RELEVANT",
    "AddOutcome",
    "AddResult",
    "Answer",
    "AnswerKind",
    "AskedQuestion",
    "Candidate",
    "Chunk",
    "ChunkVectors",
    "Citation",
    "Document",
    "DocumentRecord",
    "DocumentStatus",
    "Encoding",
    "GoldenMark",
    "GoldenOrigin",
    "IndexProgress",
    "IndexRecord",
    "IngestStage",
    "LibraryState",
    "Notice",
    "Page",
    "PageRead",
    "Passage",
    "PassageSpan",
    "Progress",
    "Question",
    "Record",
    "Score",
    "ServiceKind",
    "SparseWeights",
    "Statement",
    "StoredVectors",
    "Trace",
    "Turn",
    "Usage",
    "Vector",
    "usage_line",
]
