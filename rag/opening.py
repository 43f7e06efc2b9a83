"""Opens a library: which of its indexes answers, and the models that belong to it.

The settings name an index. It answers once it was built; until then the one that was used last
does, so that another model or another way of cutting never leaves a library without answers.
"""

from __future__ import annotations

from pydantic import ValidationError

from rag import log
from rag.errors import LibraryError, SettingsError
from rag.models.bundled import DIMENSIONS as BUNDLED_DIMENSIONS
from rag.models.embedders import make_embedder
from rag.models.stand_ins import answerer_of, reranker_of
from rag.models.token_space import token_codec
from rag.pipeline import Pipeline
from rag.settings import IndexSettings, Settings, built_in_indexes, load_settings
from rag.settings_file import save_settings
from rag.store import Indexes, Store
from rag.types import IndexRecord, Notice


def index_in_use(settings: Settings, indexes: Indexes | None = None) -> IndexSettings:
    """The index that answers: the one the settings name, or else the one that was used last.

    The first where it was built, and where no other index holds anything. `indexes` are those of
    the library, where they are at hand. Raises LibraryError.
    """
    wanted = settings.index
    listed = (indexes or Indexes.at(settings.home)).listed()
    if any(one.fingerprint == wanted.fingerprint and one.built for one in listed):
        return wanted
    usable = [one for one in listed if one.built and one.chunks]
    known = [found for one in usable if (found := index_settings(one)) is not None]
    return known[0] if known else wanted


def index_settings(record: IndexRecord) -> IndexSettings | None:
    """The settings an index was made with; None where this version does not know them."""
    if record.settings is None:
        # From before indexes were written down, or made by a process that was killed before that.
        possible = [
            one.model_copy(update={"names": names})
            for one in built_in_indexes()
            for names in (True, False)
        ]
        return next((one for one in possible if one.fingerprint == record.fingerprint), None)
    try:
        # One from before names were read does not say so.
        found = IndexSettings.model_validate({"names": False, **record.settings})
    except ValidationError:
        return None
    return found if found.fingerprint == record.fingerprint else None


def described(index: IndexSettings) -> str:
    """An index in words: its model and how it cuts."""
    model = f" {index.model}" if index.model else ""
    dimensions = f", {index.dimensions} dimensions" if index.dimensions else ""
    names = " under their document's name" if index.names else ""
    return f"{index.embedder}{model}{dimensions}, chunks of {index.chunk_tokens} tokens{names}"


def index_notice(settings: Settings, store: Store) -> Notice | None:
    """What is to be known of the index that answers: it is another one, or it lacks documents."""
    build = "Build it on the Settings page, or with: rag index build"
    missing = len(store.missing())
    if store.fingerprint != settings.index.fingerprint and store.state().chunks:
        return Notice(
            f"The settings name an index that is not built yet ({described(settings.index)}). "
            "Until then the one that was used last answers.",
            build,
        )
    if missing:
        lacking = "1 document is" if missing == 1 else f"{missing} documents are"
        return Notice(f"{lacking} not in the index that answers.", build)
    return None


def open_library(settings: Settings, index: IndexSettings | None = None) -> Store:
    """The library with the index that answers, or with `index`; made where there is none.

    Loads no model where the length of its vectors is known without it. Raises LibraryError, and
    what `make_embedder` raises.
    """
    index = index or index_in_use(settings)
    dimensions = _known_dimensions(settings, index)
    if not dimensions and index.embedder == "bundled":
        dimensions = BUNDLED_DIMENSIONS
    if not dimensions:
        dimensions = make_embedder(index, settings.cache, settings.embeddings).dimensions
    return _opened(settings, index, dimensions)


def open_pipeline(
    settings: Settings, index: IndexSettings | None = None, *, stand_ins: bool = False
) -> Pipeline:
    """A pipeline with its models loaded, over the index that answers, or over `index`.

    Raises LibraryError, SettingsError, MissingDependency, MissingKey and BackendError; with
    `stand_ins` a reranker or answerer that cannot be made says so in every trace instead.
    """
    index = index or index_in_use(settings)
    settings = settings.model_copy(update={"index": index})
    embedder = make_embedder(index, settings.cache, settings.embeddings)
    known = _known_dimensions(settings, index)
    if known not in {0, embedder.dimensions}:
        raise SettingsError(
            f"{embedder.name} gives vectors of {embedder.dimensions} numbers, and its index holds "
            f"vectors of {known}: it is not the model that the index was made with.",
            f"Name that model, or begin anew: rag index remove {index.fingerprint}, "
            "then rag index build.",
        )
    store = _opened(settings, index, embedder.dimensions)
    if store.state().chunks and index == index_in_use(settings):
        try:
            store.indexes.use(index.fingerprint)
        except LibraryError as error:
            # A full disk keeps nobody from asking.
            log.event("index in use not noted", error=error)
    return Pipeline(
        settings=settings,
        store=store,
        embedder=embedder,
        codec=token_codec(index.embedder, embedder.dimensions),
        reranker=reranker_of(settings, stand_in=stand_ins),
        answerer=answerer_of(settings, embedder, stand_in=stand_ins),
    )


def switch_index(settings: Settings, index: IndexSettings, profile: str = "") -> None:
    """Let another index answer from now on, also after the next start: one atomic write.

    It belongs to the profile in use, or to `profile`, which is in use from then on.
    Raises SettingsError where the file cannot be written or the environment says otherwise.
    """
    after = settings
    if profile and profile != settings.profile:
        after = load_settings(settings.home, profile)
    save_settings(settings, after.model_copy(update={"index": index}))
    Indexes.at(settings.home).use(index.fingerprint)
    log.event("index switched", index=index.fingerprint, profile=after.profile)


def _known_dimensions(settings: Settings, index: IndexSettings) -> int:
    """Length of the vectors in an index; 0 where it is not there yet."""
    listed = Indexes.at(settings.home).listed()
    return next((one.dimensions for one in listed if one.fingerprint == index.fingerprint), 0)


def _opened(settings: Settings, index: IndexSettings, dimensions: int) -> Store:
    store = Store.open(settings.home, index.fingerprint, dimensions)
    built = not store.missing()
    store.indexes.describe(index.fingerprint, index.model_dump(), built=built)
    return store
