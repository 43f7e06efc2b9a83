"""What another choice of settings does to golden questions, in words."""

from __future__ import annotations

from rag.evaluation.effect import HIT, PROMPTED, REFUSED, Effect
from rag.evaluation.verdict import CHANCE, TELLING, duration, percent, points, too_few

_JITTER = 0.1


def effect_sentence(effect: Effect) -> str:
    """What happens to these questions; nothing of others is claimed."""
    count = len(effect.changes)
    asked = "1 golden question" if count == 1 else f"{count:,} golden questions"
    whole = count == effect.questions
    asked = f"your {asked}" if whole else f"{count:,} of {effect.questions:,} questions"
    was, now = (percent(side.figures[HIT].mean) for side in (effect.before, effect.after))
    goes = f"stays at {now}" if was == now else f"goes from {was} to {now}"
    parts = [f"On {asked} hit@1 {goes}: {_moved(effect)}"]
    was, now = (percent(side.figures[PROMPTED].mean) for side in (effect.before, effect.after))
    if was != now:
        parts.append(f"a right passage reaches the prompt in {now} instead of {was}")
    if effect.before.refused != effect.after.refused:
        left = "1 is" if effect.after.refused == 1 else f"{effect.after.refused:,} are"
        parts.append(f"{left} left without an answer instead of {effect.before.refused:,}")
    parts.append(_took(effect))
    times = "once" if effect.failures == 1 else f"{effect.failures:,} times"
    failed = f" The reranker failed {times}, which left the order of recall."
    return "; ".join(parts) + "." + (failed if effect.failures else "")


def effect_certainty(effect: Effect) -> str:
    """What that says of other questions, by the first share that is not the same everywhere.

    Empty where nothing differs on questions enough.
    """
    count = len(effect.changes)
    measure = next((one for one in (HIT, PROMPTED, REFUSED) if _differs(effect, one)), HIT)
    gain, p_value = effect.differences[measure], effect.p_values[measure]
    span = f"95 % interval {points(gain.low)} to {points(gain.high)} points"
    name = {HIT: "hit@1", PROMPTED: "what reaches the prompt", REFUSED: "what is refused"}[measure]
    few = too_few(count, p_value)
    if few and not _differs(effect, measure):
        return f"{_these(count)} too few to tell what others would do."
    if few or (gain.low <= 0 <= gain.high and max(-gain.low, gain.high) > TELLING):
        return f"{_these(count)} too few to tell whether {name} really changes ({span})."
    if gain.low <= 0 <= gain.high:
        return f"No difference to speak of ({span})." if _differs(effect, measure) else ""
    return f"The difference in {name} is more than chance ({span})."


def _took(effect: Effect) -> str:
    before, after = effect.before.seconds, effect.after.seconds
    # The same search never takes the same time twice.
    if abs(after - before) < _JITTER * before:
        return f"{duration(after)} a question, about as before"
    chance = ", which may be chance" if effect.seconds_p_value >= CHANCE else ""
    return f"{duration(after)} a question instead of {duration(before)}{chance}"


def _moved(effect: Effect) -> str:
    better, worse, same = (len(effect.with_verdict(verdict)) for verdict in ("win", "loss", "tie"))
    if not better and not worse:
        return "no question better or worse"
    noun = "question" if better == 1 else "questions"
    return f"{better:,} {noun} better, {worse:,} worse, {same:,} as before"


def _differs(effect: Effect, measure: str) -> bool:
    """Whether any question differs in it: then not every resampled mean is 0."""
    gain = effect.differences[measure]
    return bool(gain.mean or gain.low or gain.high)


def _these(count: int) -> str:
    return "1 question is" if count == 1 else f"{count:,} questions are"
