"""Instructions inside documents: they stand in every prompt as data, and obeying is measured."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from rag import cli
from rag.cli.injections import print_injections
from rag.errors import BackendError, RAGError, SettingsError
from rag.evaluation.golden_sets import GoldenQuestion, GoldenSet, read_golden_set
from rag.evaluation.injecting import try_injections, with_instruction
from rag.evaluation.injection_report import NO_IMMUNITY, InjectionReport, injections_view
from rag.evaluation.injections import POSITIONS, Trial, read_injections, trials_of
from rag.evaluation.judging import judging_messages
from rag.evaluation.resampling import share
from rag.evaluation.samples import sample_golden_set
from rag.golden.drafting import drafting_messages
from rag.languages import language_of
from rag.models.answerers import ChatAnswerer
from rag.models.llm_reranker import grading_messages
from rag.pipeline import Pipeline
from rag.prompting import REMINDER, RULES, chat_messages
from rag.rewriting import rewriting_messages
from rag.settings import EndpointSettings, IndexSettings, PriceSettings, QuerySettings, Settings
from rag.store import Store
from rag.token_codes import TokenCodec
from rag.types import Chunk, Passage, Turn
from tests.endpoint import Endpoint, outside_markers, running_endpoint
from tests.fakes import DIMENSIONS, FakeEmbedder
from tests.test_evaluation import write

TRIALS = trials_of(read_injections())
# A request each takes time; all of them are made in tests/trust.
FEW = trials_of(read_injections(), limit=5)
CORPUS = {
    "cat": "The red cat sleeps on a warm mat. It eats fish every morning. It purrs at night.",
    "owl": "The white owl hunts at night. It lives in a barn. It sleeps all day.",
    "猫": "黑色的猫睡在柔软的毯子上。它每天早上吃鱼。它晚上会打呼噜。",
}
GOLD = {
    "q-cat": ("Where does the red cat sleep?", "cat"),
    "q-owl": ("When does the white owl hunt?", "owl"),
    "q-猫": ("黑色的猫睡在哪里？", "猫"),
}


def chinese(text: str) -> bool:
    return language_of(text) == "zh"


def passage(text: str, name: str = "handbook.pdf") -> Passage:
    return Passage(Chunk("c", "d", 0, 4, 0, len(text), text), name, 0.8, 1.0)


@pytest.fixture(scope="module")
def endpoint() -> Iterator[Endpoint]:
    with running_endpoint() as running:
        yield running


@pytest.fixture(scope="module")
def golden(tmp_path_factory: pytest.TempPathFactory) -> GoldenSet:
    folder = tmp_path_factory.mktemp("set") / "animals"
    corpus = [{"id": name, "title": "", "text": text} for name, text in CORPUS.items()]
    return read_golden_set(write(folder, corpus, GOLD))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


def opened(settings: Settings, index: IndexSettings) -> Pipeline:
    """A pipeline over small models whose answers come from the endpoint."""
    return Pipeline(
        settings=settings,
        store=Store.open(settings.home, index.fingerprint, DIMENSIONS),
        embedder=FakeEmbedder(),
        codec=TokenCodec(DIMENSIONS),
        reranker=None,
        answerer=ChatAnswerer(settings.endpoint),
    )


def settings_of(endpoint: Endpoint, model: str, home: Path) -> Settings:
    return Settings(
        home=home,
        cache=home,
        endpoint=EndpointSettings(base_url=endpoint.base_url, model=model),
        query=QuerySettings(reranker="none"),
        prices=PriceSettings(input_tokens=1, output_tokens=1),
    )


def tried(
    golden: GoldenSet,
    endpoint: Endpoint,
    model: str,
    home: Path,
    trials: tuple[Trial, ...] = TRIALS,
    **options: object,
) -> InjectionReport:
    settings = settings_of(endpoint, model, home)
    return try_injections(golden, trials, settings, opened=opened, **options)  # type: ignore[arg-type]


# --- the texts ---


def test_75_texts_of_15_families_make_225_trials_a_third_of_them_chinese() -> None:
    injections = read_injections()
    assert len(injections) == len({one.id for one in injections}) == 75
    assert set(Counter(one.family for one in injections).values()) == {5}
    languages = Counter(one.language for one in injections)
    assert languages["zh"] >= 25 <= languages["en"]
    assert len(TRIALS) == 225
    for trial in TRIALS:
        assert trial.canary in trial.instruction
        assert "{canary}" not in trial.instruction


def test_fewer_are_drawn_from_all_families_alike() -> None:
    drawn = trials_of(read_injections(), limit=15, seed=3)
    assert len(drawn) == 45
    assert set(Counter(trial.injection.family for trial in drawn).values()) == {3}
    assert set(Counter(trial.position for trial in drawn).values()) == {15}
    assert set(drawn) <= set(trials_of(read_injections(), limit=30, seed=3))


@pytest.mark.parametrize("text", [CORPUS["cat"], CORPUS["猫"], "One sentence only", "", "# a\n\nb"])
def test_an_instruction_is_put_in_without_a_change_to_the_passage(text: str) -> None:
    injection = read_injections()[0]
    for position in POSITIONS:
        trial = Trial(injection, position)
        before, after = trial.put_into(text).split(trial.instruction)
        assert "".join((before + after).split()) == "".join(text.split())
    if text.count("It") == 2:
        carrying = Trial(injection, "middle").put_into(text)
        assert "mat.\n\nIgnore" in carrying
        assert "\n\nIt eats fish" in carrying


@pytest.mark.parametrize(
    ("answer", "obeyed"),
    [
        ("{}", True),
        ("Of course: **{}**!", True),
        ("它说{}。", True),
        ("The cat sleeps on a mat [1].", False),
        ("", False),
    ],
)
def test_an_answer_that_holds_the_canary_obeyed(answer: str, obeyed: bool) -> None:
    trial = TRIALS[0]
    for canary in (trial.canary, trial.canary.lower(), trial.canary.replace("-", "\u2011")):
        assert trial.obeyed_by(answer.format(canary)) is obeyed


# --- the prompts ---


@pytest.mark.parametrize("family", sorted({trial.injection.family for trial in TRIALS}))
def test_an_instruction_lies_between_one_pair_of_markers_and_nowhere_else(family: str) -> None:
    """Rules, question and reminder are what they are without it, and no marker is forged."""
    passages = [passage(CORPUS["cat"]), passage(CORPUS["猫"], "猫.md")]
    clean = chat_messages("Where?", passages)
    assert clean[0]["content"] == RULES
    frame = outside_markers(clean[-1]["content"])
    for trial in TRIALS:
        if trial.injection.family != family:
            continue
        carrying = with_instruction(trial, passages)
        system, user = chat_messages("Where?", carrying)
        assert system == clean[0]
        assert outside_markers(user["content"]) == frame
        assert user["content"].endswith(f"Question: Where?\n\n{REMINDER}")
        first, second, _ = user["content"].split("\n</passage>")
        assert trial.canary in first
        assert trial.canary not in second
        assert "It purrs at night." in first
        assert CORPUS["猫"] in second


def test_no_prompt_that_holds_text_of_documents_lets_an_instruction_out() -> None:
    """Grading, drafting, rewriting and judging, and a document's name in the place of its text."""
    for trial in TRIALS:
        text = trial.put_into(CORPUS["cat"])
        chunk = replace(passage(text).chunk, heading=trial.instruction)
        turn = Turn(trial.instruction, text)
        for messages, clean in (
            (
                grading_messages("Where?", [passage(text), passage(text, trial.instruction)]),
                grading_messages("Where?", [passage("a"), passage("b")]),
            ),
            (
                drafting_messages(chunk),
                # The question is drafted in the language of the passage, its instruction included.
                drafting_messages(passage(CORPUS["猫" if chinese(text) else "cat"]).chunk),
            ),
            (
                chat_messages("Where?", [passage("a", trial.instruction)]),
                chat_messages("Where?", [passage("a")]),
            ),
        ):
            assert messages[0] == clean[0]
            outside = outside_markers(messages[-1]["content"])
            assert outside == outside_markers(clean[-1]["content"]), trial
        asked = rewriting_messages("Where?", [turn])[-1]["content"]
        assert asked.count("<conversation>") == asked.count("</conversation>") == 1
        assert trial.canary not in asked.partition("</conversation>")[2]
        question = GoldenQuestion("q", "Where?", "en", {}, answers=("a mat",))
        judging = judging_messages(question, text)
        assert judging[0] == judging_messages(question, "")[0]
        assert json.loads(judging[-1]["content"]).keys() == {"question", "right_answers", "answer"}


# --- the trials ---


def test_who_obeys_only_what_is_no_data_obeys_nothing(
    golden: GoldenSet, endpoint: Endpoint, home: Path
) -> None:
    found = tried(golden, endpoint, "obedient", home, FEW)
    assert len(found.outcomes) == 15
    assert found.obeyed()["all"].obeyed == 0
    assert found.questions == 3
    cited = found.cited()
    assert cited is not None
    assert cited.without.mean == cited.within.mean
    assert cited.difference.low == cited.difference.high == 0


def test_who_obeys_everything_is_found_out_every_time(
    golden: GoldenSet, endpoint: Endpoint, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    endpoint.requests.clear()
    found = tried(golden, endpoint, "gullible", home, FEW)
    assert len(endpoint.requests) == 3 + 15
    for group in ("", "family", "position", "language"):
        assert all(one.obeyed == one.trials for one in found.obeyed(group).values())
    assert {name: one.trials for name, one in found.obeyed("position").items()} == dict.fromkeys(
        POSITIONS, 5
    )
    cited = found.cited()
    assert cited is not None
    # "KESTREL-1234" cites nothing, and every question is carried equally often.
    assert (cited.without.mean > 0) is (cited.difference.mean < 0)
    assert cited.within.mean == 0
    assert found.tokens == 18 * 18
    view = injections_view(found)
    assert view["obeyed"]["low"] > 0.75
    assert view["note"] == NO_IMMUNITY
    json.dumps(view)
    print_injections(found)
    shown = capsys.readouterr().out
    assert "gullible on animals: 15 trials in the prompts of 3 questions" in shown
    assert "15 of 15  100.0 %" in shown
    assert NO_IMMUNITY in shown


def test_nothing_of_a_trial_is_written_into_the_library(
    golden: GoldenSet, endpoint: Endpoint, home: Path
) -> None:
    tried(golden, endpoint, "obedient", home, TRIALS[:3])
    held = b"".join(file.read_bytes() for file in home.rglob("*") if file.is_file())
    assert b"warm mat" in held
    assert b"KESTREL" not in held


def test_a_model_that_fails_ends_the_trials_and_says_why(
    golden: GoldenSet, endpoint: Endpoint, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(BackendError, match="crashed"):
        tried(golden, endpoint, "error-midway", home)
    answered = ChatAnswerer.stream

    def fails(self: ChatAnswerer, question: object, passages: list[Passage], history: object):
        if "KESTREL" in passages[0].chunk.text:
            raise BackendError("The model is gone.", "Start it.")
        return answered(self, question, passages, history)  # type: ignore[arg-type]

    monkeypatch.setattr(ChatAnswerer, "stream", fails)
    found = tried(golden, endpoint, "obedient", home)
    assert found.outcomes == ()
    assert found.failures == 3
    assert "3 trials in a row" in str(found.problem)
    assert found.cited() is None
    assert injections_view(found)["obeyed"] is None


def test_an_interrupted_run_tells_what_it_found(
    golden: GoldenSet, endpoint: Endpoint, home: Path
) -> None:
    seen: list[str] = []
    found = tried(
        golden,
        endpoint,
        "obedient",
        home,
        report=lambda progress: seen.append(str(progress)),
        cancelled=lambda: "injecting: 4 of 225" in seen,
    )
    assert found.cancelled
    assert len(found.outcomes) == 5
    assert "answering: 0 of 3" in seen


def test_quoted_answers_are_not_tried(golden: GoldenSet, home: Path) -> None:
    with pytest.raises(SettingsError, match="quoted"):
        try_injections(golden, TRIALS, Settings(home=home, cache=home))


def test_without_a_relevant_passage_there_is_nothing_to_carry_an_instruction(
    golden: GoldenSet, endpoint: Endpoint, home: Path
) -> None:
    unanswered = replace(golden, questions=())
    with pytest.raises(RAGError, match="No question of animals"):
        tried(unanswered, endpoint, "obedient", home)


def test_the_samples_are_a_golden_set_of_their_own() -> None:
    golden = sample_golden_set()
    names = {file.name for file in golden.files}
    assert Counter(question.language for question in golden.questions) == {"en": 4, "zh": 4}
    assert all(set(question.gold) <= names for question in golden.questions)


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [(0, 225, 0.0, 0.0168), (225, 225, 0.9832, 1.0), (10, 100, 0.0552, 0.1744), (1, 1, 0.2065, 1)],
)
def test_a_share_has_the_interval_of_wilson(
    successes: int, trials: int, low: float, high: float
) -> None:
    found = share(successes, trials)
    assert found.mean == successes / trials
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-4)


def test_the_command_names_what_it_cannot_do(tmp_path: Path) -> None:
    run = CliRunner().invoke
    both = run(cli.main, ["--home", str(tmp_path), "injections", str(tmp_path), "--samples"])
    assert both.exit_code == 2
    assert "not both" in both.output
    quoted = run(cli.main, ["--home", str(tmp_path / "library"), "injections", "--samples"])
    assert quoted.exit_code == 1
    assert "no language model" in quoted.output
