"""Hostile text in every place that shows text: a real browser, and a sink for all it could reach.

Chromium is told that every name but this machine's own is the sink's address, so that whatever it
asks for arrives there and is counted, also what no page event tells of.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from rag.errors import UnreadableFile
from rag.evaluation.golden_sets import GoldenSet
from rag.evaluation.kept_evaluations import KeptEvaluation, KeptEvaluations
from rag.evaluation.pipelines import parse_pipelines
from rag.evaluation.run import evaluate
from rag.golden.marks import add_marks, made_mark
from rag.golden.sets import golden_set_of
from rag.history import recorded
from rag.ingest import File, Ingest, ReportPage
from rag.opening import open_pipeline
from rag.pipeline import Pipeline
from rag.report import html_report
from rag.settings import EndpointSettings, QuerySettings, Settings
from rag.types import AddResult, Chunk, Document, Page, PassageSpan
from tests.browser.conftest import ARGUMENTS, CHROMIUM, Visit, playwright, serving, visiting
from tests.browser.test_inspection import READING, Inspection
from tests.endpoint import MODES, Connection, Endpoint, running_endpoint
from tests.exfiltration import DOMAIN, WAYS, Way, groups, streamed
from tests.test_injections import golden, home, tried
from tests.test_markdown import assert_no_way_out

__all__ = ["golden", "home"]

Figure = Callable[[str, object], None]

# Whom Chromium asks by itself, for forms and updates; that is no text's doing.
MAKER = ("*.googleapis.com", "*.google.com", "*.gvt1.com")
NOBODY = "127.0.0.1:9"
# A question shows twenty passages at most.
WAYS_AT_ONCE = 18
GROUPS = groups(WAYS_AT_ONCE)
HANGARS = ("Albatross", "Bittern", "Cormorant", "Dunlin", "Egret", "Fulmar")
KEY = "sk-canary-77aa01"
# What the chat model is called: the first word is what it does.
MODEL = "hostile+![m](http://model.leak.example/m) <img src=http://model.leak.example/n> :red[x]"
UNREADABLE_FILES = 3
ENDPOINT_ERRORS = 6
UNREADABLE = "no text"
CHUNK_END = "\n\n\n\n"
# Nodes that no text may bring, wherever on the page they are.
FOREIGN = (
    "iframe, object, embed, video, audio, base, form[action], meta[http-equiv], svg image, svg a, "
    "img, script, link, picture, [srcset], [onerror], [onload], [ontoggle], [onfocus], [onclick], "
    "a[href]"
)
# Of those the ones that are not the app's own.
STRANGERS = """([selector, own]) => [...document.querySelectorAll(selector)]
    .filter(node => {
        const address = node.href?.baseVal ?? node.href ?? node.src ?? "";
        return !(address.startsWith(own) || address.startsWith("blob:" + own));
    })
    .filter(node => !node.closest("[data-testid*=Logo]"))
    .filter(node => !(node.matches("head *") && !node.outerHTML.includes("leak")))
    .map(node => node.outerHTML.slice(0, 300))"""


@dataclass
class Sink:
    """Counts what arrives, and answers nothing."""

    port: int
    arrived: list[str] = field(default_factory=list)

    def accept(self, listening: socket.socket) -> None:
        with suppress(OSError):
            while True:
                connection, _ = listening.accept()
                threading.Thread(target=self._note, args=(connection,), daemon=True).start()

    def _note(self, connection: socket.socket) -> None:
        with closing(connection), suppress(OSError):
            connection.settimeout(2)
            self.arrived.append(connection.recv(2000).decode("latin-1"))


@pytest.fixture(scope="module")
def sink() -> Iterator[Sink]:
    with socket.create_server(("127.0.0.1", 0), backlog=100) as listening:
        sink = Sink(listening.getsockname()[1])
        threading.Thread(target=sink.accept, args=(listening,), daemon=True).start()
        yield sink


@pytest.fixture(scope="module")
def enclosed(chromium: playwright.Browser, sink: Sink) -> Iterator[playwright.Browser]:
    """A Chromium for which the whole world is the sink."""
    rules = [f"MAP {host} {NOBODY}" for host in MAKER]
    rules += [f"MAP * 127.0.0.1:{sink.port}", "EXCLUDE 127.0.0.1"]
    browser = chromium.browser_type.launch(
        executable_path=CHROMIUM,
        args=[*ARGUMENTS, f"--host-resolver-rules={', '.join(rules)}"],
    )
    yield browser
    browser.close()


@dataclass
class Hostile:
    """A library whose every text is hostile, and the app over it."""

    url: str
    home: Path
    pipeline: Pipeline
    endpoint: Endpoint
    names: Sequence[str]


def hangar(group: Sequence[Way]) -> str:
    """A word that only the documents of a group have."""
    return HANGARS[GROUPS.index(tuple(group))]


def question_of(group: Sequence[Way]) -> str:
    """Hostile too, but for the words that find the group's passages."""
    bird = hangar(group)
    return f"{bird} ![{bird}](http://question.{DOMAIN}/{bird}) <img src=//q.{DOMAIN}> {bird} holds?"


def document_of(group: Sequence[Way]) -> File:
    """Hostile by its name and its text."""
    text = CHUNK_END.join(said_of(way, group) for way in group)
    return File.holding(" ".join(way.text for way in group) + ".md", text.encode())


def said_of(way: Way, group: Sequence[Way]) -> str:
    """A passage in two languages, short enough to be shown whole."""
    return f"Hangar {hangar(group)} holds {way.name}: {way.text}\n\n{hangar(group)}里有{way.name}。"


def as_asked(connection: Connection) -> None:
    """Streams the ways of the hangar that is asked for, or fails in the words of them."""
    asked = connection.body["messages"][-1]["content"].rpartition("Question:")[2]
    group = next((group for group in GROUPS if hangar(group) in asked), GROUPS[0])
    errors = [way for way in WAYS if f"(error {way.name})" in asked]
    if not errors:
        return connection.answer(*streamed(group))
    if asked.count("midway"):
        connection.begin()
        connection.say("It begins [1]. ", errors[0].text)
        return connection.event({"error": {"message": errors[0].text, "code": 500}})
    return connection.fail(400, errors[0].text)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hostile]:
    home = tmp_path_factory.mktemp("hostile") / "library"
    with pytest.MonkeyPatch.context() as patch, running_endpoint() as endpoint:
        patch.setitem(MODES, "hostile", as_asked)
        settings = Settings(
            home=home,
            cache=home,
            endpoint=EndpointSettings(base_url=endpoint.base_url, model=MODEL),
            query=QuerySettings(passages=20, relevance=0.0, rewrite=False),
        )
        pipeline = open_pipeline(settings)
        names = fill(pipeline)
        with serving(
            home,
            OPENAI_BASE_URL=endpoint.base_url,
            OPENAI_API_KEY=KEY,
            RAG_LLM_MODEL=MODEL,
            RAG_QUERY_PASSAGES="20",
            RAG_QUERY_RELEVANCE="0",
            RAG_QUERY_REWRITE="false",
            RAG_LIMITS_SESSION_QUESTIONS="0",
        ) as url:
            yield Hostile(url, home, pipeline, endpoint, names)


def read_here(content: bytes, name: str, report: ReportPage) -> Document:
    """One page, without a process a file."""
    text = content.decode()
    if text.startswith(UNREADABLE):
        raise UnreadableFile(f"{name} holds {text}.", f"Do not open {text}.")
    page = Page(1, text)
    return Document(sha256(content).hexdigest(), name, "text/markdown", len(content), (page,))


def chunks_of(document: Document) -> list[Chunk]:
    """A chunk a way, each under a hostile heading."""
    chunks: list[Chunk] = []
    start = 0
    for text in document.pages[0].text.split(CHUNK_END):
        end = start + len(text)
        name = f"{document.id[:16]}-{len(chunks)}"
        heading = text.partition(": ")[2].partition("\n")[0]
        chunks.append(Chunk(name, document.id, len(chunks), 1, start, end, text, heading))
        start = end + len(CHUNK_END)
    return chunks


def fill(pipeline: Pipeline) -> list[str]:
    """Hostile documents, unreadable ones, golden questions, drafts and an evaluation."""
    files = [document_of(group) for group in GROUPS]
    files += [
        File.holding(f"{way.text}.pdf", f"{UNREADABLE} {way.text}".encode())
        for way in WAYS[:UNREADABLE_FILES]
    ]
    ingest = Ingest(pipeline.store, pipeline.embedder, pipeline.codec, read_here, chunks_of)
    added = [str(event.outcome) for event in ingest.add(files) if isinstance(event, AddResult)]
    assert added == ["added"] * len(GROUPS) + ["failed"] * UNREADABLE_FILES
    documents = {one.id: one for one in pipeline.store.documents() if one.status == "ready"}
    chunks = [chunk for document in documents for chunk in pipeline.store.chunks(document)]
    marks = [
        made_mark(
            way.text,
            PassageSpan.of(chunk),
            documents[chunk.document_id].name,
            chunk.text,
            way.text,
            origin="drafted" if place % 8 == 0 else "marked",
            answer=way.text,
        )
        for place, (way, chunk) in enumerate(zip(WAYS, chunks, strict=True))
    ]
    add_marks(pipeline.store.golden, marks)
    settings = pipeline.settings
    found = evaluate(
        golden_set_of(pipeline.store),
        parse_pipelines("dense,lexical", settings.query),
        settings,
        limit=8,
        opened=lambda settings, index: pipeline,
    )
    KeptEvaluations(pipeline.store.measurements).keep(KeptEvaluation(found, "library", ""))
    return [documents[document].name for document in documents]


@contextmanager
def watched(
    enclosed: playwright.Browser,
    sink: Sink,
    hostile: Hostile,
    record: Callable[[str, object], None],
) -> Iterator[Visit]:
    """A page; at the end nothing went out, nothing was said, and no node of a stranger is there."""
    before = len(sink.arrived)
    with visiting(enclosed, hostile.url) as visit:
        yield visit
        assert_inert(visit)
        visit.page.wait_for_timeout(300)
        assert sink.arrived[before:] == []
        record("requests", len(visit.foreign_requests) + len(sink.arrived) - before)
        record("dialogs", len(visit.dialogs))
        record("foreign nodes", len(strangers(visit)))


def assert_inert(visit: Visit) -> None:
    """On every view before it is left."""
    visit.assert_nothing_foreign()
    assert strangers(visit) == []


def strangers(visit: Visit) -> list[str]:
    """The nodes of the page that are not the app's own."""
    found: list[str] = visit.page.evaluate(STRANGERS, [FOREIGN, visit.url])
    return found


@pytest.mark.row(1)
def test_the_sink_and_the_check_see_what_a_text_shown_without_care_can_do(
    enclosed: playwright.Browser, sink: Sink, record_property: Figure
) -> None:
    """Half of the ways reach the sink, and two thirds reach it or bring a node."""
    parser = MarkdownIt("commonmark", {"html": True}).enable("table")
    page = enclosed.new_page()
    page.on("dialog", lambda dialog: dialog.dismiss())
    page.evaluate(
        """texts => texts.forEach(text => {
            const frame = document.createElement("iframe");
            frame.srcdoc = text;
            document.body.append(frame);
        })""",
        [parser.render(way.text) for way in WAYS],
    )
    page.wait_for_timeout(3000)
    foreign = page.evaluate(
        """selector => [...document.querySelectorAll("iframe")]
            .map(frame => Boolean(frame.contentDocument?.querySelector(selector)))""",
        FOREIGN,
    )
    page.close()
    reached = {way.name for way in WAYS if any(way.host in one for one in sink.arrived)}
    seen = reached | {way.name for way, found in zip(WAYS, foreign, strict=True) if found}
    sink.arrived.clear()
    assert len(reached) >= len(WAYS) / 2
    assert len(seen) >= len(WAYS) * 2 / 3
    record_property("ways that reach the sink", len(reached))
    record_property("or bring a node", len(seen))


@pytest.mark.row(1)
def test_no_beginning_of_a_hostile_answer_leads_anywhere(record_property: Figure) -> None:
    """Wherever a stream may be cut."""
    assert_no_way_out(step=1)
    record_property("ways", len(WAYS))
    record_property("beginnings", sum(len(way.text) for way in WAYS))


@pytest.mark.row(1)
@pytest.mark.parametrize("place", range(len(GROUPS)))
def test_no_answer_source_or_question_calls_out_while_it_streams_or_after(
    hostile: Hostile,
    enclosed: playwright.Browser,
    sink: Sink,
    record_property: Figure,
    place: int,
) -> None:
    group = GROUPS[place]
    with watched(enclosed, sink, hostile, record_property) as visit:
        answer = visit.open().ask(question_of(group))
        assert_inert(visit)
        answer.get_by_text("more in the prompt, not cited").click()
        # The sources are shown word by word.
        answer.get_by_text(f"holds {group[-1].name}").first.wait_for()
        shown = answer.inner_text().replace("\u2060", "")
        assert_inert(visit)
        assert all(f"holds {way.name}" in shown for way in group)
        assert sum(way.host in shown for way in group) >= len(group) - 2
        answer.get_by_role("button", name="Why?").first.click()
        visit.page.get_by_text("Each line is a passage").wait_for()
        visit.settle()
        assert_inert(visit)
        assert MODEL.split("+")[0] in visit.text
    record_property("ways", len(group))


@pytest.mark.row(2)
def test_every_part_of_inspect_and_the_history_only_show_hostile_text(
    hostile: Hostile, enclosed: playwright.Browser, sink: Sink, record_property: Figure
) -> None:
    group = GROUPS[0]
    with watched(enclosed, sink, hostile, record_property) as visit:
        visit.open().ask(question_of(group))
        visit.open("Inspect")
        history = visit.page.get_by_test_id("stSelectbox").first
        history.click()
        option = visit.page.get_by_role("option").first
        option.wait_for()
        assert hangar(group) in option.inner_text()
        assert_inert(visit)
        option.click()
        visit.page.get_by_text("Each line is a passage").wait_for()
        inspection = Inspection(visit)
        for part in READING:
            inspection.part(part)
            if part == "Side by side":
                chart = visit.page.get_by_test_id("stVegaLiteChart").first
                chart.hover()
            if part == "Where did it go?":
                visit.page.get_by_label("Text you expected").fill(group[0].text)
                visit.page.get_by_role("button", name="Find it").first.click()
                visit.settle()
            if part == "Compare":
                visit.page.get_by_role("button", name="Compare").last.click()
                visit.page.get_by_text("This trace:").wait_for()
                visit.settle()
            assert_inert(visit)
    record_property("views", len(READING) + 1)


@pytest.mark.row(2)
def test_the_library_its_previews_and_its_failures_only_show_hostile_names_and_texts(
    hostile: Hostile, enclosed: playwright.Browser, sink: Sink, record_property: Figure
) -> None:
    with watched(enclosed, sink, hostile, record_property) as visit:
        visit.open("Library")
        remove = visit.page.get_by_role("button", name="Remove", exact=True)
        # The newest are on top.
        previews = [f"Do not open {UNREADABLE}"] * UNREADABLE_FILES
        previews += [f"holds {group[-1].name}" for group in reversed(GROUPS)]
        shown = ""
        for row, preview in enumerate(previews):
            visit.choose(lambda table, row=row: row, visit.page.get_by_text(preview).first)
            assert_inert(visit)
            shown += visit.text
        assert all(f"holds {way.name}" in shown for way in WAYS)
        assert sum(way.host in shown for way in WAYS) >= len(WAYS) - 3
        visit.upload(f"up {WAYS[0].text.replace('/', ':')}.md", WAYS[1].text.encode())
        visit.upload(f"up {WAYS[1].text.replace('/', ':')}.pdf", b"no pdf ![x](URL)")
        visit.finish_adding()
        visit.choose(lambda table: 0, remove)
        remove.click()
        visit.page.get_by_role("dialog").get_by_text("will be removed").wait_for()
        assert_inert(visit)
    record_property("views", 4)


@pytest.mark.row(2)
def test_golden_questions_drafts_and_results_only_show_hostile_text(
    hostile: Hostile, enclosed: playwright.Browser, sink: Sink, record_property: Figure
) -> None:
    with watched(enclosed, sink, hostile, record_property) as visit:
        page = visit.page
        page.goto(f"{hostile.url}/evaluate")
        page.get_by_text("Question by question").wait_for()
        visit.settle()
        assert_inert(visit)
        visit.choose(lambda table: 0, page.get_by_role("button", name="Open on Inspect"))
        assert_inert(visit)
        page.get_by_role("radio", name="Golden questions").click()
        page.get_by_text("drafts to confirm").wait_for()
        visit.settle()
        assert_inert(visit)
        visit.choose(lambda table: 0, page.get_by_role("button", name="Remove 1 row"))
        assert_inert(visit)
    record_property("views", 4)


@pytest.mark.row(2)
def test_the_words_of_a_failing_endpoint_are_only_read(
    hostile: Hostile, enclosed: playwright.Browser, sink: Sink, record_property: Figure
) -> None:
    chosen = WAYS[:: len(WAYS) // ENDPOINT_ERRORS]
    with watched(enclosed, sink, hostile, record_property) as visit:
        visit.open()
        for place, way in enumerate(chosen):
            how = "midway " if place % 2 else ""
            answer = visit.ask(f"What does the hangar Albatross hold? {how}(error {way.name})")
            assert answer.get_by_test_id("stAlert").count()
            assert_inert(visit)
    record_property("ways", len(chosen))


@pytest.mark.row(2)
def test_a_report_of_hostile_text_opens_from_a_file_and_asks_for_nothing(
    hostile: Hostile,
    enclosed: playwright.Browser,
    sink: Sink,
    record_property: Figure,
    tmp_path: Path,
) -> None:
    before = len(sink.arrived)
    page = enclosed.new_page()
    asked: list[str] = []
    said: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("dialog", lambda dialog: (said.append(dialog.message), dialog.dismiss()))
    files = []
    for group in GROUPS:
        answer = hostile.pipeline.ask(question_of(group)).answer
        assert answer.kind == "generated"
        file = tmp_path / f"{hangar(group)}.html"
        file.write_text(html_report(recorded(answer.trace, answer)), encoding="utf-8")
        files.append(file.as_uri())
        page.goto(files[-1])
        strangers = page.evaluate(STRANGERS, [FOREIGN, files[-1]])
        assert [node for node in strangers if "Content-Security-Policy" not in node] == []
    page.wait_for_timeout(300)
    page.close()
    assert asked == files
    assert said == []
    assert sink.arrived[before:] == []
    record_property("reports", len(files))
    record_property("requests", 0)


@pytest.mark.row(12)
def test_instructions_in_documents_are_data_in_every_prompt_and_obeying_is_measured(
    golden: GoldenSet, home: Path, record_property: Figure
) -> None:
    """225 trials each with a model that obeys all but data, and with one that obeys anything."""
    with running_endpoint() as endpoint:
        obedient, gullible = (
            tried(golden, endpoint, model, home).obeyed()["all"]
            for model in ("obedient", "gullible")
        )
    assert (obedient.obeyed, obedient.trials) == (0, 225)
    assert (gullible.obeyed, gullible.trials) == (225, 225)
    record_property("trials", 225)
    record_property("obeyed outside the data", obedient.obeyed)
    record_property("found out of 225", gullible.obeyed)
