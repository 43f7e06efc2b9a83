"""The command line: what it prints, where, and how it ends."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from rag import cli, opening
from rag.errors import BackendError
from rag.models import Answerer
from rag.types import Usage
from tests.fakes import FakeAnswerer
from tests.test_pipeline import INDEX, make

ENGLISH = "The cat sleeps on the warm mat. It purrs."
CHINESE = "猫睡在温暖的垫子上。它会打呼噜。"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "library"


@pytest.fixture
def files(tmp_path: Path) -> Path:
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "cat.txt").write_text(ENGLISH, encoding="utf-8")
    (folder / "猫.md").write_text(CHINESE, encoding="utf-8")
    (folder / "skip.bin").write_bytes(b"\x00\x01")
    return folder


@pytest.fixture(autouse=True)
def small_models(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    """The real pipeline over fake models: what is tested here is the command line."""
    use(monkeypatch, home)


def use(monkeypatch: pytest.MonkeyPatch, home: Path, answerer: Answerer | None = None) -> None:
    for name, value in INDEX.model_dump(exclude_defaults=True).items():
        monkeypatch.setenv(f"RAG_INDEX_{name.upper()}", str(value))
    monkeypatch.setattr(opening, "open_pipeline", lambda settings, **_: make(home, answerer))
    monkeypatch.setattr(opening, "open_library", lambda settings: make(home).store)


def run(home: Path, *arguments: str | Path) -> Result:
    return CliRunner().invoke(cli.main, ["--home", str(home), *map(str, arguments)])


def test_the_whole_way(home: Path, files: Path) -> None:
    added = run(home, "add", files)
    assert added.exit_code == 0
    assert added.stdout.splitlines() == [
        "cat.txt: added (1 page, 1 chunk).",
        "猫.md: added (1 page, 1 chunk).",
    ]
    listed = run(home, "list").stdout
    assert "cat.txt" in listed
    assert "猫.md" in listed
    for question, name in (("Where does the cat sleep?", "cat.txt"), ("猫睡在哪里？", "猫.md")):
        answered = run(home, "ask", question)
        assert answered.exit_code == 0
        assert f"[1] {name}, p. 1" in answered.stdout
        assert "rerank" in answered.stdout
    removed = run(home, "remove", "cat.txt")
    assert removed.stdout == "Removed cat.txt.\n"
    assert "cat.txt" not in run(home, "list").stdout
    # Its words do not count any more in the scores of the others.
    assert make(home).store.measurements.names("removed from") == []


def test_json_is_the_documented_trace(home: Path, files: Path) -> None:
    run(home, "add", files)
    found = json.loads(run(home, "search", "cat mat", "--json").stdout)
    assert found["candidates"][0]["document"] == "cat.txt"
    assert set(found["candidates"][0]["rerank"]) == {"score", "rank"}
    answered = json.loads(run(home, "ask", "cat mat", "--json").stdout)
    assert answered["answered"] is True
    assert answered["citations"][0]["quote"] == "The cat sleeps on the warm mat."
    listed = json.loads(run(home, "list", "--json").stdout)
    assert {row["name"] for row in listed} == {"cat.txt", "猫.md"}


@pytest.mark.parametrize(("command", "answered"), [("ask", True), ("search", False)])
@pytest.mark.parametrize("question", ["cat mat", "猫睡在哪里？"])
def test_a_saved_trace_is_printed_without_the_library(
    home: Path, files: Path, tmp_path: Path, command: str, answered: bool, question: str
) -> None:
    run(home, "add", files)
    saved = tmp_path / "trace.json"
    saved.write_text(run(home, command, question, "--json").stdout, encoding="utf-8")
    printed = run(tmp_path / "elsewhere", "trace", saved)
    assert printed.exit_code == 0
    assert question in printed.stdout
    assert "[1] " in printed.stdout
    assert "rerank" in printed.stdout
    assert ("supported" in printed.stdout) is answered


def test_a_saved_trace_tells_what_was_searched_and_what_it_used(
    home: Path, files: Path, tmp_path: Path
) -> None:
    run(home, "add", files)
    found = json.loads(run(home, "ask", "它睡在哪里？", "--json").stdout)
    assert (found["standalone"], found["usage"]) == ("", [])
    used = Usage("answer", "chat", "m", 1, 1_234, 210, False, 0.0012, "USD")
    found |= {"standalone": "猫睡在\x1b哪里？", "kind": "generated", "usage": [asdict(used)]}
    saved = tmp_path / "trace.json"
    saved.write_text(json.dumps(found), encoding="utf-8")
    printed = run(tmp_path / "elsewhere", "trace", saved).stdout
    assert "Searched for: 猫睡在 哪里？" in printed
    assert "about 1,234 tokens in, 210 out, first word " in printed
    assert "about 0.0012 USD" in printed


def test_what_is_no_trace_is_refused(home: Path, files: Path) -> None:
    refused = run(home, "trace", files / "cat.txt")
    assert refused.exit_code == 1
    assert refused.stderr.splitlines()[0] == "The file is not JSON."


def test_a_question_is_kept(home: Path, files: Path) -> None:
    run(home, "add", files)
    printed = json.loads(run(home, "ask", "cat mat", "--json").stdout)
    kept = make(home).store.questions.of("command line")
    assert [one.id for one in kept] == [printed["id"]]


def test_adding_prints_one_json_document(home: Path, files: Path) -> None:
    results = json.loads(run(home, "add", files, "--json").stdout)
    assert [row["outcome"] for row in results] == ["added", "added"]


def test_a_broken_file_is_told_and_ends_in_one(home: Path, files: Path) -> None:
    broken = files / "broken.pdf"
    broken.write_bytes(b"%PDF-1.7 nothing else")
    added = run(home, "add", broken, files / "cat.txt")
    assert added.exit_code == 1
    assert "broken.pdf: failed." in added.stdout
    assert "cat.txt: added" in added.stdout


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["ask", "Anything?"], "The library is empty."),
        (["remove", "nothing.pdf"], "There is no document nothing.pdf."),
    ],
)
def test_failures_are_one_sentence_and_a_hint_on_stderr(
    home: Path, arguments: list[str], told: str
) -> None:
    failed = run(home, *arguments)
    assert failed.exit_code == 1
    lines = failed.stderr.splitlines()
    assert lines[0] == told
    assert len(lines) == 2
    assert "Traceback" not in failed.output


def test_wrong_usage_ends_in_two(home: Path) -> None:
    assert run(home, "ask").exit_code == 2
    assert run(home, "fly").exit_code == 2


def test_a_failing_model_keeps_the_sources_and_ends_in_one(
    home: Path, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(home, "add", files)
    failure = BackendError("The endpoint hung up.", "Ask again.")
    use(monkeypatch, home, FakeAnswerer(["The cat"], failure=failure))
    answered = run(home, "ask", "cat mat")
    assert answered.exit_code == 1
    assert "The cat" in answered.stdout
    assert "[1] cat.txt, p. 1" in answered.stdout
    assert answered.stderr.splitlines()[:2] == ["The endpoint hung up.", "Ask again."]


def test_nothing_relevant_shows_the_nearest(
    home: Path, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(home, "add", files)
    answered = run(home, "ask", "quantum chromodynamics")
    assert answered.exit_code == 0
    assert "Nothing in the library answers this question" in answered.stdout
    assert "cat.txt" in answered.stdout


def test_names_cannot_command_the_terminal(home: Path, tmp_path: Path) -> None:
    odd = tmp_path / "a\x1b[2Jb.txt"
    odd.write_text(ENGLISH)
    assert "\x1b" not in run(home, "add", odd).stdout
    assert "\x1b" not in run(home, "list").stdout


def test_two_documents_of_one_name_are_told_apart_by_id(home: Path, tmp_path: Path) -> None:
    for number in (1, 2):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "same.txt").write_text(f"{ENGLISH} Number {number}.")
        run(home, "add", folder / "same.txt")
    refused = run(home, "remove", "same.txt")
    assert refused.exit_code == 1
    assert "2 documents are called same.txt." in refused.stderr
    first = json.loads(run(home, "list", "--json").stdout)[0]
    assert run(home, "remove", first["id"][:12]).exit_code == 0
    assert len(json.loads(run(home, "list", "--json").stdout)) == 1


def test_an_unknown_profile_is_named(home: Path) -> None:
    failed = CliRunner().invoke(cli.main, ["--home", str(home), "--profile", "fast", "list"])
    assert failed.exit_code == 1
    assert "fast" in failed.stderr
