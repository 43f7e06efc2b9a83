"""The sample library: every question below is answered by its file, and the files can be remade."""

import re
import runpy
from pathlib import Path
from typing import NamedTuple

import docx
import pypdf
import pytest
from bs4 import BeautifulSoup

ROOT = Path(__file__).parents[1]
SAMPLES = ROOT / "data" / "sample"
HANDBOOK = "retrieval-handbook.pdf"


class SampleQuestion(NamedTuple):
    """A question, the sample and the page that answer it, and the words that do."""

    text: str
    file: str
    phrase: str
    page: int = 1


QUESTIONS = [
    SampleQuestion(
        "Why is a cross-encoder slower than a bi-encoder?",
        HANDBOOK,
        "Fifty candidates mean fifty runs of the network for each question, "
        "against one run for a bi-encoder.",
        page=4,
    ),
    SampleQuestion(
        "Which constant does reciprocal rank fusion use, and who proposed it?",
        HANDBOOK,
        "The constant k = 60 comes from the paper by Cormack, Clarke and Büttcher (2009)",
        page=3,
    ),
    SampleQuestion(
        "When is a reranker worth having?",
        "choosing-a-reranker.docx",
        "A reranker is worth having when the right passage is usually found but seldom first.",
    ),
    SampleQuestion(
        "How many bytes does a vector with 384 dimensions take at one bit a dimension?",
        "faq.html",
        "one bit a dimension makes it 48 bytes, thirty-two times smaller",
    ),
    SampleQuestion(
        "What does MaxSim add up?",
        "glossary.txt",
        "For each question token the highest similarity to any passage token, "
        "summed over the question.",
    ),
    SampleQuestion(
        "How wide is the 95% confidence interval with 100 test questions?",
        HANDBOOK,
        "100 个问题的 95% 置信区间大约是正负 8 个百分点",
        page=7,
    ),
    SampleQuestion(
        "中文文本为什么要先分词？",
        HANDBOOK,
        "全文检索按词建立倒排索引，所以中文文本必须先分词。",
        page=6,
    ),
    SampleQuestion(
        "重排模型为什么比向量召回更准？",
        "检索入门.md",
        "重排模型比向量召回更准，因为它同时看到问题和段落，可以逐词对照。",
    ),
    SampleQuestion(
        "什么时候应当拒绝回答？",
        "检索入门.md",
        "最好的段落也达不到相关度门槛时，直接回答“文档中没有找到答案”",
    ),
    SampleQuestion(
        "HNSW 的哪个参数应当最先调？",
        "faq.html",
        "ef_search 决定查询时考察多少候选，调大会更准、更慢，而且不必重建索引，所以应当最先调它。",
    ),
    SampleQuestion(
        "文档里的文字会不会向大语言模型下达指令？",
        "faq.html",
        'A passage may contain a sentence such as "ignore your instructions", '
        "and a model may obey it.",
    ),
    SampleQuestion(
        "后期交互的弱点是什么？",
        "choosing-a-reranker.docx",
        "Its weak spot is word order: it matches tokens one by one",
    ),
]


def read_pages(file: Path) -> list[str]:
    """The text of each page of a sample; a format without pages has one."""
    match file.suffix:
        case ".pdf":
            return [page.extract_text() for page in pypdf.PdfReader(file).pages]
        case ".docx":
            document = docx.Document(str(file))
            cells = [c.text for table in document.tables for row in table.rows for c in row.cells]
            return ["\n".join([*(p.text for p in document.paragraphs), *cells])]
        case ".html":
            return [BeautifulSoup(file.read_bytes(), "lxml").get_text()]
    return [file.read_text(encoding="utf-8")]


def without_spaces(text: str) -> str:
    """A text without white space, because a PDF breaks its lines anywhere."""
    return re.sub(r"\s", "", text)


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: question.text)
def test_sample_holds_the_words_that_answer(question):
    page = read_pages(SAMPLES / question.file)[question.page - 1]
    assert without_spaces(question.phrase) in without_spaces(page)


def test_every_sample_answers_a_question():
    assert {file.name for file in SAMPLES.iterdir()} == {question.file for question in QUESTIONS}


def test_handbook_has_english_and_chinese_pages():
    pages = read_pages(SAMPLES / HANDBOOK)
    chinese = [bool(re.search("[\u4e00-\u9fff]", page)) for page in pages]
    assert chinese == [False] * 5 + [True] * 2


def test_handbook_pages_read_in_order_and_end_with_their_number():
    pages = [page.split() for page in read_pages(SAMPLES / HANDBOOK)]
    assert [words[-1] for words in pages] == ["1", "2", "3", "4", "5", "6", "7"]
    assert [words[0] for words in pages[1:5]] == ["2.", "3.", "4.", "5."]
    assert [words[0] for words in pages[5:]] == ["六、中文与多语言检索", "七、评测与成本"]


def test_no_handbook_line_starts_with_closing_punctuation_or_a_control_character():
    for page in read_pages(SAMPLES / HANDBOOK):
        assert not re.search(r"^[，。、：；？！）”]", page, re.MULTILINE)
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\ufffd]", page)


def test_guide_has_headings_and_a_table():
    guide = docx.Document(str(SAMPLES / "choosing-a-reranker.docx"))
    styles = [paragraph.style.name for paragraph in guide.paragraphs]
    assert styles[0] == "Title"
    assert {"Heading 1", "Heading 2", "List Number"} <= set(styles)
    assert [cell.text for cell in guide.tables[0].columns[0].cells][2:4] == [
        "Late interaction",
        "Cross-encoder",
    ]


def test_script_makes_the_committed_bytes():
    pytest.importorskip("reportlab", reason="reportlab makes the PDF; it is in the test extra")
    script = runpy.run_path(str(ROOT / "scripts" / "make_samples.py"))
    made = script["make_samples"]()
    assert made.keys() == {HANDBOOK, "choosing-a-reranker.docx"}
    changed = [name for name, content in made.items() if content != (SAMPLES / name).read_bytes()]
    assert not changed, "run python scripts/make_samples.py"
