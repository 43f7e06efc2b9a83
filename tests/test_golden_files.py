"""Golden questions as files, and the commands that read and write them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import rag.opening
from rag.cli.eval import evaluate
from rag.cli.golden import golden as command
from rag.errors import RAGError, UnreadableFile
from rag.golden.marks import add_marks, made_mark
from rag.golden.reading import MOST_ROWS, import_golden
from rag.golden.sets import golden_set_of, text_of
from rag.golden.writing import as_csv, as_jsonl, golden_rows, guarded, unguarded
from rag.store import Store
from rag.types import Document, DocumentRecord, Page, PassageSpan
from tests.test_golden import CAT, LARGE, filled, make, 猫

__all__ = ["filled"]

HEADER = "question,language,document,page,text,answer\r\n"
CAT_TEXT = "THE CAT sleeps on the\r\nwarm mat"
CAT_ROW = f'{CAT},en,english.md,1,"{CAT_TEXT}",on the mat\r\n'
CAT_ALIKE = "cat sleeps on the warm rnat by the stove. The dog guards the yard at night. Hens lay"
猫_ROW = f"{猫},zh,中文.md,1,猫睡在炉子旁边温暖的垫子上,垫子上\r\n"


@pytest.fixture
def home(filled: Path, tmp_path: Path) -> Path:
    return shutil.copytree(filled, tmp_path / "library")


@pytest.fixture
def store(home: Path) -> Store:
    return make(home).store


def passages(store: Store) -> dict[str, str]:
    """The text that each question's mark names, blanks made one."""
    return {
        mark.question: " ".join(text_of(mark.span, store.pages(mark.span.document_id)).split())
        for mark in store.golden.listed()
    }


@pytest.mark.parametrize(
    ("encoding", "delimiter"),
    [("utf-8", ","), ("utf-8-sig", ";"), ("gb18030", ","), ("utf-16", "\t")],
)
def test_a_spreadsheet_in_any_encoding_finds_its_passages(
    store: Store, encoding: str, delimiter: str
) -> None:
    rows = (HEADER + CAT_ROW + 猫_ROW).replace(",", delimiter).encode(encoding)
    imported = import_golden(store, rows, "golden.csv", "me")
    assert (imported.added, imported.known, imported.refused) == (2, 0, ())
    assert passages(store) == {
        CAT: "The cat sleeps on the warm mat",
        猫: "猫睡在炉子旁边温暖的垫子上",
    }
    found = {question.text: question for question in golden_set_of(store).questions}
    assert found[CAT].answers == ("on the mat",)
    assert (found[CAT].language, found[猫].language) == ("en", "zh")
    again = import_golden(store, rows, "golden.csv", "me")
    assert (again.added, again.known) == (0, 2)


@pytest.mark.parametrize("write", [as_csv, as_jsonl])
def test_what_is_exported_comes_back_as_it_was(store: Store, home: Path, write: object) -> None:
    import_golden(store, (HEADER + CAT_ROW + 猫_ROW).encode(), "a.csv", "me")
    dog = store.chunks(store.golden.listed()[0].span.document_id)[0]
    wrong = made_mark(CAT, PassageSpan.of(dog), "中文.md", dog.text, "me", relevant=False)
    draft = made_mark("草稿？", PassageSpan.of(dog), "中文.md", dog.text, "me", origin="drafted")
    add_marks(store.golden, [wrong, draft])
    before = golden_rows(store, store.golden.listed())
    assert len(before) == 3
    content = write(before)  # type: ignore[operator]
    store.golden.remove([mark.id for mark in store.golden.listed()])
    assert import_golden(store, content, "export", "me").added == 3
    after = golden_rows(store, store.golden.listed())
    for old, new in zip(before, after, strict=True):
        assert new["text"].strip("。.") == old["text"].strip("。.")
        assert {**new, "text": ""} == {**old, "text": ""}


REFUSED = {
    "没有的？,zh,没有.md,1,猫,": "there is no document “没有.md” in the library.",
    f"{CAT},,english.md,1,Nobody ever wrote this,": "english.md does not hold “Nobody ever wrote",
    f"{CAT},,english.md,7,,": "english.md has no page 7.",
    f"{CAT},,english.md,,,": "it names no text, and no document with a page.",
    f"{CAT},,,1,Nobody ever wrote this,": "no document of the library holds “Nobody ever wrote",
    ",,english.md,1,The cat sleeps,": "there is no question.",
    f"{CAT},<b>,english.md,1,The cat sleeps,": "“<b>” is no language code such as en or zh.",
}


def test_rows_that_cannot_be_placed_are_told_one_by_one_and_stop_no_other(store: Store) -> None:
    rows = "".join(f"{row}\r\n" for row in REFUSED)
    imported = import_golden(store, (HEADER + rows + 猫_ROW).encode("gb18030"), "a.csv", "me")
    assert imported.added == 1
    for number, (told, said) in enumerate(
        zip(imported.refused, REFUSED.values(), strict=True), start=2
    ):
        assert told.startswith(f"Row {number}: {said}")


@pytest.mark.parametrize(
    ("question", "document", "page", "text", "held"),
    [
        (CAT, "ENGLISH.md", "", CAT_ALIKE, "cat sleeps"),
        (CAT, "", "", "dog guards the yard at night", "dog guards"),
        (猫, "", "", "狗在夜里看守院子", "狗在夜里"),
        (猫, "中文.md", "p. 1", "", "猫睡在"),
    ],
)
def test_a_passage_is_found_with_small_errors_anywhere_or_as_a_page(
    store: Store, question: str, document: str, page: str, text: str, held: str
) -> None:
    row = {"问题": question, "文档": document, "页码": page, "原文": text}
    content = json.dumps(row, ensure_ascii=False).encode()
    assert import_golden(store, content, "x.jsonl", "me").refused == ()
    assert passages(store)[question].startswith(held)


def test_a_page_tells_two_places_of_the_same_text_apart(store: Store) -> None:
    pages = tuple(Page(number, "同样的一句话。The same words.") for number in (1, 2, 3))
    document = Document("ff" * 32, "twice.md", "text/markdown", 1, pages)
    first = next(iter(store.documents()))
    fields = {name: getattr(first, name) for name in DocumentRecord.__slots__}
    store.put_document(DocumentRecord(**fields | {"id": document.id, "name": document.name}))
    store.put_pages(document)
    row = "Which words?,en,twice.md,2,The same words,\r\n"
    assert import_golden(store, (HEADER + row).encode(), "a.csv", "me").added == 1
    assert store.golden.listed()[0].span.page == 2


@pytest.fixture(scope="module")
def untouched(filled: Path) -> Store:
    """A library that nothing is written to."""
    return make(filled).store


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "has no"),
        (b"name,value\r\n1,2\r\n", "has no column question"),
        (b'{"question": "a"}\n{"question": ', "line 2, is not a JSON object"),
        (HEADER.encode(), "has no row"),
        (b"\x00\x01\x02\x03\xff" * 50, "golden.csv"),
        (("question,text\n" + "q,t\n" * (MOST_ROWS + 1)).encode(), "more than"),
        (b'question,text\n"q","' + b"x" * 200_000 + b'"', "is not CSV"),
    ],
)
def test_what_is_no_list_of_questions_is_refused_whole(
    untouched: Store, content: bytes, said: str
) -> None:
    with pytest.raises(UnreadableFile, match=said):
        import_golden(untouched, content, "golden.csv", "me")
    assert untouched.golden.listed() == []


@pytest.mark.parametrize("cell", ["=1+1", "@SUM(A1)", "-2", "+3", "plain", "'quoted'", "问题", ""])
def test_no_cell_of_an_export_is_a_formula(cell: str) -> None:
    assert not guarded(cell).startswith(("=", "+", "-", "@"))
    assert unguarded(guarded(cell)) == cell


# --- commands ---


@pytest.fixture
def terminal(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home whose library and pipeline are small ones."""
    monkeypatch.setattr(rag.opening, "open_library", lambda settings, index=None: make(home).store)
    for name, value in LARGE.model_dump(exclude_defaults=True).items():
        monkeypatch.setenv(f"RAG_INDEX_{name.upper()}", str(value))
    return home


def told(home: Path, *arguments: str) -> Result:
    return CliRunner().invoke(command, list(arguments), obj=(home, None))


def test_commands_import_list_export_and_remove(terminal: Path, tmp_path: Path) -> None:
    file = tmp_path / "golden.csv"
    file.write_bytes((HEADER + CAT_ROW + 猫_ROW + "坏的？,,没有.md,1,猫,\r\n").encode("gb18030"))
    first = told(terminal, "import", str(file))
    assert first.exit_code == 1
    assert "Row 4: there is no document “没有.md”" in first.output
    assert "2 added, 0 already there, 1 not taken." in first.output
    listed = told(terminal, "list").output
    assert CAT in listed
    assert "answered by 中文.md, p. 1  (imported, " in listed
    target = tmp_path / "out.jsonl"
    assert "Wrote 2 rows" in told(terminal, "export", str(target)).output
    assert [json.loads(line)["document"] for line in target.read_text("utf-8").splitlines()]
    told(terminal, "export", str(tmp_path / "out.csv"), "--format", "csv")
    assert (tmp_path / "out.csv").read_bytes().startswith(b"\xef\xbb\xbfquestion,")
    [one, other] = json.loads(told(terminal, "list", "--json").output)
    assert "Removed" in told(terminal, "remove", one["id"][:8]).output
    assert [mark["id"] for mark in json.loads(told(terminal, "list", "--json").output)] == [
        other["id"]
    ]
    failed = told(terminal, "remove", one["id"])
    assert isinstance(failed.exception, RAGError)


def test_eval_without_a_folder_asks_the_librarys_own_questions(
    terminal: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = make(terminal).store
    import_golden(store, (HEADER + CAT_ROW + 猫_ROW).encode(), "golden.csv", "me")
    run_file = tmp_path / "run.txt"
    arguments = ["--score", str(run_file)]
    golden = golden_set_of(store)
    run_file.write_text(
        "".join(
            f"{question.id} Q0 {next(iter(question.gold))} 1 1.0 theirs\n"
            for question in golden.questions
        ),
        encoding="utf-8",
    )
    result = CliRunner().invoke(evaluate, arguments, obj=(terminal, None), catch_exceptions=False)
    assert result.exit_code == 0
    assert "this library, all: 2 questions" in result.output
    assert "1.000" in result.output
    usage = CliRunner().invoke(evaluate, ["--corpus", str(tmp_path)], obj=(terminal, None))
    assert usage.exit_code == 2
    assert "belong to a FOLDER" in usage.output
