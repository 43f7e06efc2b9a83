"""An answer held against its passages: what it cites, and which of its sentences are supported."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rag.answering import Checked
from rag.audit import audit, plain
from rag.citing import CitedText, cite, find_quote
from rag.late_interaction import Span
from rag.models import Embedder
from rag.sentences import sentences
from rag.support import Tokenised, centred, features, support_model
from rag.token_codes import TokenCodec
from rag.types import Candidate, Citation, Passage

Held = tuple[Span, float]
"""The sentence of a passage that is nearest to a claim, and the probability that it says it."""

_NOTHING: Held = ((0, 0), 0.0)


@dataclass(frozen=True, slots=True)
class Checker:
    """Checks answers with the vectors of one embedder, whose passages `codec` keeps."""

    embedder: Embedder
    codec: TokenCodec

    def check(self, text: str, chosen: Sequence[Candidate], evidence: Sequence[Passage]) -> Checked:
        """The answer's citations, each with its best sentence, and all its statements audited.

        `evidence` are the passages of `chosen`, in the same order. Where the model has no token
        vectors only what is quoted word for word has support, and an answer in other words has no
        statements. Raises BackendError where the model fails.
        """
        cited = cite(text, len(chosen), sentences)
        passages = [passage.chunk.text for passage in evidence]
        verbatim = [
            [_verbatim(claim.text, passage) for passage in passages] for claim in cited.claims
        ]
        own_words = {
            claim.text
            for claim, spans in zip(cited.claims, verbatim, strict=True)
            if not claim.numbers or not all(spans[number - 1] for number in claim.numbers)
        }
        near = self._near(sorted(own_words), evidence)
        found = [
            [
                (span, 1.0) if span else held
                for span, held in zip(
                    spans, near.get(claim.text, [_NOTHING] * len(passages)), strict=True
                )
            ]
            for claim, spans in zip(cited.claims, verbatim, strict=True)
        ]
        supports = [[support for _, support in row] for row in found]
        threshold = support_model().threshold
        return Checked(
            text=cited.text,
            citations=_citations(cited, found, chosen),
            statements=(
                audit(cited.claims, supports, passages, threshold)
                if own_words <= near.keys()
                else ()
            ),
            dropped=cited.dropped,
        )

    def _near(self, claims: Sequence[str], evidence: Sequence[Passage]) -> dict[str, list[Held]]:
        """Of each claim what every passage has for it; empty without token vectors."""
        if not claims:
            return {}
        stated = [plain(claim) for claim in claims]
        tokens = self.embedder.encode_documents(stated).tokens
        passages = self._passages(evidence)
        if tokens is None or len(passages) < len(evidence):
            return {}
        near: dict[str, list[Held]] = {}
        for claim, words, vectors in zip(claims, stated, tokens, strict=True):
            said = Tokenised(words, centred(self.codec.rotate(vectors), self.codec.centre))
            near[claim] = [_held(said, passage) for passage in passages]
        return near

    def _passages(self, evidence: Sequence[Passage]) -> list[Tokenised]:
        token_spans = self.embedder.token_spans([passage.chunk.text for passage in evidence])
        return [
            Tokenised(
                passage.chunk.text,
                centred(passage.tokens, self.codec.centre),
                spans,
                sentences(passage.chunk.text),
            )
            for passage, spans in zip(evidence, token_spans, strict=True)
            if passage.tokens is not None
        ]


def _verbatim(claim: str, passage: str) -> Span | None:
    return find_quote(claim, passage) or find_quote(plain(claim), passage)


def _held(claim: Tokenised, passage: Tokenised) -> Held:
    if not len(claim.tokens) or not len(passage.tokens):
        return _NOTHING
    span, evidence = features(claim, passage)
    return span, support_model().probability(evidence)


def _citations(
    cited: CitedText, found: Sequence[Sequence[Held]], chosen: Sequence[Candidate]
) -> tuple[Citation, ...]:
    citations: list[Citation] = []
    for claim, row in zip(cited.claims, found, strict=True):
        for number in claim.numbers:
            candidate = chosen[number - 1]
            (start, end), support = row[number - 1]
            citations.append(
                Citation(
                    number=number,
                    candidate=candidate,
                    claim=(claim.start, claim.end),
                    quote=candidate.chunk.text[start:end],
                    start=start,
                    end=end,
                    support=support,
                )
            )
    return tuple(citations)
