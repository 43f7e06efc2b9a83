"""What the answers were worth: a small table of measures by language, and what they took."""

from __future__ import annotations

import streamlit as st

from pages import _ui as ui
from pages._evaluation.choosing import language
from pages._evaluation.figures import known, percent
from pages._markdown import plain
from rag.evaluation.answered import MEASURES
from rag.evaluation.results import ALL, AnswerFigure, Answers, Judgement
from rag.types import Notice

_HELP = {
    "exact_match": "Answers that are one of the right ones, but for case, punctuation and articles",
    "token_f1": "Words, or Chinese characters, in common with the nearest right answer",
    "gold_in_answer": "Answers in whose text a right answer stands",
    "gold_in_passages": "Questions with a right answer in the passages of the prompt",
    "judged_correct": "Answers that the language model judged to be correct",
    "citation_precision": "Citations whose passage supports the sentence, by the audit",
    "citation_recall": "Sentences that a passage they cite supports, by the audit",
    "refused_answerable": "Questions with an answer that were left open: fewer is better",
    "refused_unanswerable": "Questions without an answer that were left open: more is better",
}


def show(answers: Answers) -> None:
    """The table, and what went wrong."""
    st.subheader("Answers", anchor=False)
    lacking = sum(not question.answerable for question in answers.questions)
    st.caption(
        plain(
            f"By {answers.answerer}, reranker {answers.reranker} · "
            f"{ui.counted(len(answers.questions), 'question')}, {lacking:,} without an answer"
        )
    )
    if answers.figures:
        st.table(table(answers), border="horizontal")
        st.caption(
            "Behind each figure are its 95 % interval and how many answers it is about. "
            "What is quoted is longer than a right answer, so exact match and F1 are low for "
            "quotes; look at the right answer in the answer.",
            help="  \n".join(f"**{MEASURES[one]}**: {words}" for one, words in _HELP.items()),
        )
    if total := answers.seconds.get("total"):
        st.markdown(
            f"Median {total.p50 * 1000:,.0f} ms an answer, 95th percentile "
            f"{total.p95 * 1000:,.0f} ms{_spent(answers.tokens, answers.cost)}"
        )
    judgement = answers.judgement
    if judgement is not None and judgement.problem is None:
        spent = _spent(judgement.tokens, judgement.cost)
        st.markdown(f"Judged by {plain(judgement.model)}{spent}")
    for notice in _notices(answers):
        ui.show_notice(notice)


def table(answers: Answers) -> dict[str, list[str]]:
    """A line a measure that applies to any answer, a column a language and one for all."""
    languages = [group for group in answers.figures if group != ALL]
    groups = [ALL, *(languages if len(languages) > 1 else [])]
    measures = [one for one in MEASURES if one in answers.figures[ALL]]
    return {
        "Measure": [MEASURES[one] for one in measures],
        **{
            plain(language(group)): [_cell(answers.figures[group].get(one)) for one in measures]
            for group in groups
        },
    }


def _cell(found: AnswerFigure | None) -> str:
    if found is None:
        return "–"
    shown = percent(found.figure).replace("  \n", " ")
    return f"{shown} :gray[:small[of {found.answers:,}]]"


def _spent(tokens: int | None, cost: float | None) -> str:
    parts = [] if tokens is None else [f"{known(tokens, ',')} tokens"]
    parts += [] if cost is None else [f"cost {known(cost, '.4f')}"]
    return "".join(f" · {part}" for part in parts)


def _notices(answers: Answers) -> list[Notice]:
    found = []
    if answers.cancelled:
        answered = ui.counted(len(answers.questions), "answer")
        found.append(Notice(f"Stopped after {answered}.", "Start again and it goes on from there."))
    if answers.failures:
        found.append(
            Notice(f"{ui.counted(answers.failures, 'answer')} failed and are not in the figures.")
        )
    if answers.problem is not None:
        found.append(answers.problem)
    if answers.judgement is not None:
        found += _judgement(answers.judgement)
    return found


def _judgement(judgement: Judgement) -> list[Notice]:
    found = []
    if judgement.unparsable:
        verdicts = ui.counted(judgement.unparsable, "verdict")
        found.append(Notice(f"{verdicts} of the judge could not be read and do not count."))
    if judgement.failures:
        found.append(Notice(f"{ui.counted(judgement.failures, 'answer')} could not be judged."))
    if judgement.problem is not None:
        found.append(judgement.problem)
    return found
