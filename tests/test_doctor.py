"""`rag doctor`: looks at everything, is stopped by nothing, and says what to do."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from rag import doctor, surroundings
from rag.cli import main
from rag.doctor import Check, examine
from rag.errors import SettingsError
from rag.ingest import File
from rag.opening import open_pipeline
from rag.serving import page_folder
from rag.settings import load_settings
from tests.endpoint import Endpoint, running_endpoint
from tests.model_endpoint import Services, running_services

KEY = "sk-doctor-canary/31+Zz"
ABOUT = ["packages", "settings", "page", "disk", "library", "embedder", "reranker", "answerer"]
ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def services() -> Iterator[Services]:
    with running_services() as running:
        yield running


@pytest.fixture(scope="module")
def chat() -> Iterator[Endpoint]:
    with running_endpoint() as running:
        yield running


@pytest.fixture
def home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, services: Services, chat: Endpoint
) -> Path:
    """Settings whose models are all services on this machine, and all well."""
    values = {
        "RAG_HOME": str(tmp_path / "library"),
        "RAG_INDEX_EMBEDDER": "openai",
        "RAG_INDEX_MODEL": "words",
        "RAG_EMBEDDING_ENDPOINT_BASE_URL": f"{services.address}/v1",
        "RAG_EMBEDDING_ENDPOINT_API_KEY": KEY,
        "RAG_QUERY_RERANKER": "api",
        "RAG_RERANK_ENDPOINT_PROVIDER": "cohere",
        "RAG_RERANK_ENDPOINT_BASE_URL": services.address,
        "RAG_RERANK_ENDPOINT_MODEL": "words",
        "RAG_RERANK_ENDPOINT_API_KEY": KEY,
        "RAG_LLM_MODEL": "says fridge",
        "OPENAI_BASE_URL": chat.base_url,
        "OPENAI_API_KEY": KEY,
    }
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    return tmp_path / "library"


def found(about: str) -> list[Check]:
    return [check for check in examine(load_settings, 20) if check.about == about]


def test_all_is_well(home: Path) -> None:
    checks = list(examine(load_settings))
    assert [check.about for check in checks] == ABOUT
    told = {check.about: check for check in checks}
    assert {check.state for check in checks if check.about != "packages"} == {"ok"}, checks
    assert "none" in told["library"].sentence
    assert "English and Chinese" in told["embedder"].sentence
    assert "fridge" in told["answerer"].sentence
    assert not home.exists(), "a look leaves nothing behind"
    assert "canary" not in repr(checks)


def test_what_is_broken_is_named_and_stops_nothing(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAG_LLM_MODEL", "status-401")
    monkeypatch.setenv("RAG_RERANK_ENDPOINT_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("RAG_QUERRY_PASSAGES", "3")
    monkeypatch.setenv("STREAMLIT_SERVER_ENABLE_XSRF_PROTECTION", "false")
    monkeypatch.setenv("RAG_LIMITS_FREE_DISK_BYTES", str(10**18))
    run = CliRunner().invoke(main, ["doctor", "--json"])
    assert run.exit_code == 1
    told = {check["about"]: check for check in json.loads(run.stdout)}
    assert list(told) == ABOUT
    states = {about: told[about]["state"] for about in ABOUT[1:]}
    assert states == {
        "settings": "attention",
        "page": "attention",
        "disk": "attention",
        "library": "ok",
        "embedder": "ok",
        "reranker": "broken",
        "answerer": "broken",
    }
    assert "RAG_QUERRY_PASSAGES" in told["settings"]["sentence"]
    assert "RAG_QUERY_PASSAGES" in told["settings"]["hint"]
    assert "XSRF" in told["page"]["sentence"]
    assert "127.0.0.1:9 does not answer" in told["reranker"]["sentence"]
    assert "(401)" in told["answerer"]["sentence"]
    assert "OPENAI_API_KEY" in told["answerer"]["hint"]
    for about, state in states.items():
        assert told[about]["sentence"].endswith((".", "”"))
        assert told[about]["hint"] or state == "ok"
    assert "canary" not in run.output


def test_a_library_is_opened_and_a_broken_one_is_told(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "_TRIALS", {})
    files = [File.holding("a.md", b"Warsaw is a city."), File.holding("b.pdf", b"%PDF-1.7 no")]
    list(open_pipeline(load_settings()).add(files))
    (check,) = found("library")
    assert check.state == "attention"
    assert "1 document" in check.sentence
    assert "1 could not be added" in check.sentence
    monkeypatch.setenv("RAG_INDEX_CHUNK_TOKENS", "64")
    assert "rag index build" in found("library")[0].hint
    for file in (home / "documents.lance").rglob("*.manifest"):
        file.write_bytes(b"nonsense")
    (check,) = found("library")
    assert check.state == "broken"
    assert "damaged" in check.sentence
    assert check.hint


def test_settings_that_do_not_load_are_what_is_broken() -> None:
    def load() -> None:
        raise SettingsError("The setting x is not valid.", "Correct it.")

    checks = list(examine(load))  # type: ignore[arg-type]
    assert [check.about for check in checks] == ["packages", "settings"]
    assert checks[1].state == "broken"
    assert checks[1].hint == "Correct it."


def test_a_look_that_hangs_or_breaks_is_left_behind(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(settings: object) -> list[Check]:
        raise ZeroDivisionError(KEY)

    def hangs(settings: object) -> list[Check]:
        time.sleep(5)
        return []

    monkeypatch.setattr(doctor, "_TRIALS", {})
    monkeypatch.setattr(doctor, "_LOOKS", {"page": breaks, "disk": hangs, "library": breaks})
    started = time.monotonic()
    checks = list(examine(load_settings, 0.5))[-3:]
    assert time.monotonic() - started < 4
    assert [check.state for check in checks] == ["broken"] * 3
    assert "ZeroDivisionError" in checks[0].sentence
    assert "within 0.5 seconds" in checks[1].sentence
    assert "canary" not in repr(checks)


def test_a_folder_that_cannot_be_written_is_told(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(folder: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(doctor, "_TRIALS", {})
    monkeypatch.setattr(surroundings, "write_and_sync", refuses)
    (check,) = found("disk")
    assert check.state == "broken"
    assert "Permission denied" in check.sentence


def test_every_protection_of_the_page_is_guarded() -> None:
    config = page_folder() / ".streamlit" / "config.toml"
    open_to_all = {
        "STREAMLIT_SERVER_ENABLE_XSRF_PROTECTION": "false",
        "STREAMLIT_SERVER_ENABLE_CORS": "0",
        "STREAMLIT_SERVER_ENABLE_STATIC_SERVING": "true",
        "STREAMLIT_CLIENT_SHOW_ERROR_DETAILS": "full",
        "STREAMLIT_BROWSER_GATHER_USAGE_STATS": "true",
    }
    told = " ".join(notice.message for notice in surroundings.opened_up(open_to_all, config))
    assert [name for name in open_to_all if name not in told] == []
    closed = {"STREAMLIT_SERVER_ENABLE_CORS": "true", "STREAMLIT_THEME_BASE": "dark"}
    assert list(surroundings.opened_up(closed, config)) == []


def test_packages_that_do_not_fit_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(surroundings.wrong_packages()) == []
    wanted = ["pypdf<1", "nowhere-to-be-found>=2", "numpy; sys_platform == 'amiga'"]
    monkeypatch.setattr(surroundings, "requires", lambda name: wanted)
    messages = [notice.message for notice in surroundings.wrong_packages()]
    assert len(messages) == 2
    assert messages[0].startswith("pypdf 7")
    assert messages[1] == "The package nowhere-to-be-found is missing."


def test_the_versions_that_were_tested_together_are_those_that_are_here(tmp_path: Path) -> None:
    assert surroundings.untested_packages(ROOT / "constraints.txt") == []
    other = tmp_path / "constraints.txt"
    other.write_text("# tested\npypdf==0.1\nnot-installed==1\n", encoding="utf-8")
    assert len(surroundings.untested_packages(other)) == 1


def test_only_variables_that_set_nothing_are_told() -> None:
    environment = {"RAG_HOME": "x", "RAG_LOG_TEXTS": "true", "RAG_LLM_MODEL": "m", "PATH": "p"}
    assert list(surroundings.unknown_variables(environment)) == []
    (notice,) = surroundings.unknown_variables({"RAG_LLM_MODELL": "m"})
    assert "RAG_LLM_MODEL." in notice.hint
