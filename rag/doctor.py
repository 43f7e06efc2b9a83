"""Looks whether all is well: settings, packages, disk, library, models; and says what to do."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from platform import python_version
from threading import Thread
from time import perf_counter
from typing import Literal

from rag import log, opening, serving, sign_in, surroundings
from rag.errors import RAGError
from rag.models.status import ModelStatus, chosen_statuses
from rag.settings import Settings
from rag.trial import Trial, embedder_of, try_answerer, try_embedder, try_reranker
from rag.types import Notice

State = Literal["ok", "attention", "broken"]

# Longest wait for one check, and for one request of a check.
CHECK_SECONDS = 60.0
_REQUEST_SECONDS = 10.0
_NAMED_PACKAGES = 3


@dataclass(frozen=True, slots=True)
class Check:
    """What came of looking at one thing.

    `attention` is for what works and should be known, `broken` for what does not work.
    `sentence` says what was found and `hint` what to do, empty where nothing is to be done.
    """

    about: str
    state: State
    sentence: str
    hint: str = ""
    seconds: float = 0.0


_Look = Callable[[Settings], Sequence[Check]]


def examine(load: Callable[[], Settings], seconds: float = CHECK_SECONDS) -> Iterator[Check]:
    """Look at one thing after the other; at least one check of each, as soon as it is made.

    `load` gives the settings. Nothing raises, and no look takes longer than `seconds`: one that
    does is left behind and told as broken.
    """
    yield from _bounded("packages", _packages, seconds)
    loaded: list[Settings] = []

    def load_and_look() -> Sequence[Check]:
        loaded.append(load())
        return _settings(loaded[0])

    yield from _bounded("settings", load_and_look, seconds)
    for settings in loaded:
        for about, look in (_LOOKS | _models(settings)).items():
            yield from _bounded(about, partial(look, settings), seconds)


def _bounded(about: str, look: Callable[[], Sequence[Check]], seconds: float) -> Sequence[Check]:
    """What the look found; a look that raises or does not end is itself what is broken."""
    found: list[Check] = []
    started = perf_counter()

    def run() -> None:
        try:
            found.extend(look())
        except RAGError as error:
            found.append(Check(about, "broken", error.message, error.hint))
        except Exception as error:
            log.unexpected(error, f"checking {about}")
            failed = f"Checking it failed unexpectedly ({type(error).__name__})."
            found.append(Check(about, "broken", failed, "To see where: rag --log doctor"))

    thread = Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    took = perf_counter() - started
    if thread.is_alive():
        late = f"Looking at it did not end within {seconds:g} seconds."
        return [Check(about, "broken", late, "Try again when the machine is less busy.", took)]
    return [replace(check, seconds=took) for check in found]


def _told(about: str, state: State, notices: Iterator[Notice], well: str) -> list[Check]:
    """A check for every notice, or one that says that all is well."""
    found = [Check(about, state, notice.message, notice.hint) for notice in notices]
    return found or [Check(about, "ok", well)]


def _packages() -> Sequence[Check]:
    found = _told("packages", "broken", surroundings.wrong_packages(), "")
    if found[0].state != "ok":
        return found
    here = f"Python {python_version()} on {sys.platform}"
    constraints = Path(__file__).resolve().parent.parent / "constraints.txt"
    different = surroundings.untested_packages(constraints)
    if different:
        named = ", ".join(different[:_NAMED_PACKAGES])
        more = " and others" if len(different) > _NAMED_PACKAGES else ""
        return [
            Check(
                "packages",
                "attention",
                f"{here}; these versions were not tested together: {named}{more}.",
                "Where something does not work, run: make clean run",
            )
        ]
    return [Check("packages", "ok", f"{here}; all packages fit.")]


def _settings(settings: Settings) -> Sequence[Check]:
    unknown = surroundings.unknown_variables(os.environ)
    return _told("settings", "attention", unknown, f"They load; the profile is {settings.profile}.")


def _page(settings: Settings) -> Sequence[Check]:
    folder = serving.page_folder()
    auth = sign_in.auth_section(sign_in.secrets_files(folder)) if settings.people.sign_in else {}
    sign_in.check(settings, auth)
    config = folder / ".streamlit" / "config.toml"
    who = "those who are allowed, signed in" if settings.people.sign_in else "all who reach it"
    return _told(
        "page",
        "attention",
        surroundings.opened_up(os.environ, config),
        f"It is protected as intended, and open to {who}.",
    )


def _disk(settings: Settings) -> Sequence[Check]:
    home, least = settings.home, settings.limits.free_disk_bytes
    try:
        surroundings.write_and_sync(home)
        free = surroundings.free_bytes(home)
    except OSError as error:
        return [
            Check(
                "disk",
                "broken",
                f"Nothing can be written to {home}: {error.strerror}.",
                "Free some space, or change the rights of that folder.",
            )
        ]
    if free < least:
        return [
            Check(
                "disk",
                "attention",
                f"The disk has {free / 1e6:,.0f} MB left, so no file can be added.",
                "Free some space, or lower the setting limits.free_disk_bytes.",
            )
        ]
    return [Check("disk", "ok", f"{free / 1e9:,.1f} GB are free, and files reach the disk.")]


def _library(settings: Settings) -> Sequence[Check]:
    if not _is_library(settings.home):
        return [Check("library", "ok", f"There is none in {settings.home} yet.")]
    store = opening.open_library(settings)
    documents = store.documents()
    ready = [one for one in documents if one.status == "ready"]
    store.sample(1, seed=0)
    store.golden.listed()
    counts = f"{len(ready)} documents, {sum(one.chunks for one in ready)} passages."
    failed = len([one for one in documents if one.status == "failed"])
    if store.damage is not None:
        return [Check("library", "broken", store.damage.message, store.damage.hint)]
    notice = opening.index_notice(settings, store)
    if notice is not None:
        return [Check("library", "attention", f"{counts} {notice.message}", notice.hint)]
    if failed:
        hint = "The Library page and rag list say why. Whether all bytes are as written: rag verify"
        return [Check("library", "attention", f"{counts} {failed} could not be added.", hint)]
    return [Check("library", "ok", f"{counts} Whether all bytes are as written, says rag verify.")]


def _is_library(home: Path) -> bool:
    return any(home.glob("*.lance"))


def _models(settings: Settings) -> dict[str, _Look]:
    """The looks at the models; the embedder is made once for all of them."""
    embedder = cache(embedder_of)
    return {
        task: partial(_model, task=task, trial=partial(trial, make_embedder=embedder))
        for task, trial in _TRIALS.items()
    }


def _model(settings: Settings, task: str, trial: Callable[[Settings], Trial]) -> Sequence[Check]:
    """Whether the model of a task can be had, and then whether it works."""
    settings = _hurried(settings)
    status = next(one for one in chosen_statuses(settings) if one.model.task == task)
    if status.missing:
        return [_missing(task, status)]
    tried = trial(settings)
    return [Check(task, "ok" if tried.ok else "broken", tried.sentence, tried.hint)]


def _missing(task: str, status: ModelStatus) -> Check:
    name = status.model.name or status.model.kind
    if status.cached is False and status.reachable:
        hint = f"It is fetched when it is first used, or with: rag models download {name}"
        return Check(task, "attention", f"{name}: {status.missing}", hint)
    return Check(task, "broken", f"{name}: {status.missing}", "See what it needs: rag models")


def _hurried(settings: Settings) -> Settings:
    """The same, with the index that answers, and no wait longer than a check may take."""
    chat, reranking = settings.endpoint, settings.rerank_endpoint
    first = min(chat.first_token_seconds, _REQUEST_SECONDS)
    idle = min(chat.idle_seconds, _REQUEST_SECONDS)
    embedding = settings.embedding_endpoint
    # Where there is no library, asking for its indexes would make its folder.
    index = opening.index_in_use(settings) if _is_library(settings.home) else settings.index
    return settings.model_copy(
        update={
            "index": index,
            "endpoint": chat.model_copy(
                update={"first_token_seconds": first, "idle_seconds": idle}
            ),
            "rerank_endpoint": reranking.model_copy(
                update={"seconds": min(reranking.seconds, _REQUEST_SECONDS)}
            ),
            "embedding_endpoint": embedding.model_copy(
                update={"seconds": min(embedding.seconds, _REQUEST_SECONDS)}
            ),
        }
    )


_LOOKS: dict[str, _Look] = {
    "page": _page,
    "disk": _disk,
    "library": _library,
}
_TRIALS: dict[str, Callable[..., Trial]] = {
    "embedder": try_embedder,
    "reranker": try_reranker,
    "answerer": try_answerer,
}
