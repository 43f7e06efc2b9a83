"""Whether reranking pays on these documents, in one sentence."""

from __future__ import annotations

from rag.evaluation.results import ALL, Comparison, Evaluation, Row

MEASURE = "hit@1"
# A wider interval around "no difference" is a lack of questions, not a finding.
TELLING = 0.03
CHANCE = 0.05


def verdict(evaluation: Evaluation) -> str:
    """What reranking does here; empty where no pipeline ran both with it and without.

    The first pipeline with a reranker is held against its own recall alone, by hit@1. Where the
    interval of the difference includes 0 there is no gain to speak of: either none is there, or
    the questions are too few to show one.
    """
    for after in evaluation.rows:
        before = evaluation.row(after.spec.recall)
        if after.spec.reranker == "none" or before is None or not before.seconds:
            continue
        found = evaluation.comparison(before.spec.name, after.spec.name, MEASURE)
        if found is None:
            found = _turned(evaluation.comparison(after.spec.name, before.spec.name, MEASURE))
        if found is not None:
            return _sentence(found, before, after)
    return ""


def _sentence(found: Comparison, before: Row, after: Row) -> str:
    was, now = before.figures[ALL][MEASURE].mean, after.figures[ALL][MEASURE].mean
    change = f"from {percent(was)} to {percent(now)}"
    # Recall may have been timed at another moment for each row; what reranking adds was not.
    added = set(after.seconds) - set(before.seconds)
    cost = duration(sum(after.seconds[stage].p50 for stage in added))
    gain = found.difference
    count = len(after.rankings)
    few = too_few(count, found.p_value)
    if gain.low > 0 and not few:
        return f"Reranking lifts hit@1 {change} here for {cost} a question: keep it on."
    if gain.high < 0 and not few:
        return f"Reranking hurts here: hit@1 goes {change}, and it costs {cost} a question."
    span = f"95 % interval of the difference {points(gain.low)} to {points(gain.high)} points"
    if few or gain.high > TELLING:
        questions = "1 question does" if count == 1 else f"{count} questions do"
        return (
            f"{questions} not tell whether reranking helps here: hit@1 goes {change} ({span}). "
            "Add more questions."
        )
    return (
        f"Reranking does not help on these documents: hit@1 goes {change} ({span}), and it costs "
        f"{cost} a question."
    )


def too_few(questions: int, p_value: float) -> bool:
    """Whether so many questions say nothing of others, whatever their interval."""
    # So many equal outcomes leave room for a difference that was not met (the rule of three), and
    # resampling a few says nothing of others.
    return 3 / questions > TELLING and p_value >= CHANCE


def _turned(found: Comparison | None) -> Comparison | None:
    """The comparison seen from its other side."""
    if found is None:
        return None
    gain = found.difference
    turned = type(gain)(-gain.mean, -gain.high, -gain.low)
    return Comparison(found.second, found.first, found.measure, found.group, turned, found.p_value)


def percent(share: float) -> str:
    """`74 %`."""
    return f"{share * 100:.0f} %"


def points(share: float) -> str:
    """`+4.3`, for a difference of shares."""
    return f"{share * 100:+.1f}"


def duration(seconds: float) -> str:
    """`31 ms`, `1.4 s`."""
    return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms"
