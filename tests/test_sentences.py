"""Sentences are found in any text, Chinese and English, prose and rows, and cover it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.sentences import sentences

fragments = st.sampled_from(
    [
        "The cat sat on the mat. ",
        "Dr. Smith paid 3.14 dollars to Acme Inc. on Jan. 5. ",
        "Is it so? ",
        "no end here ",
        "人工智能正在改变世界。",
        "他说：“你好。”然后走了！",
        "向量检索，先召回；再重排……",
        "mixed 中文 and English。",
        "\n",
        "\n",
        "\n\n",
        "\r\n",
        "# Title\n",
        "## 第二节 安装\n",
        "#### Deep #\n",
        "- item one\n",
        "1. first\n",
        "a | b | c\n",
        "```\n# not a heading\n```\n",
        "x = call(y)\n",
        "1,2,a,b\n",
        "y" * 300,
        "字" * 150,
        " word" * 90,
        "שלום עולם. مرحبا؟ ",
        "😀👩‍👩‍👧 ",
        "e\u0301",
        "\x00\u2028\u3000\xa0\x0b\ufeff",
        "J.\xa0K.\u2003R. ",
    ]
)
texts = st.lists(fragments | st.text(max_size=8), max_size=40).map("".join)


def said(text: str) -> list[str]:
    return [text[start:end] for start, end in sentences(text)]


@given(texts)
def test_sentences_cover_the_text_in_order(text: str):
    """Spans do not overlap, have no blank at either end, and leave out blanks only."""
    end = 0
    for start, following in sentences(text):
        assert not text[end:start].strip()
        assert text[start:following] == text[start:following].strip() != ""
        end = following
    assert not text[end:].strip()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(
            "Dr. Smith paid 3.14 dollars. Then he left.",
            ["Dr. Smith paid 3.14 dollars.", "Then he left."],
            id="abbreviation and decimal",
        ),
        pytest.param(
            "他说：“你好。”然后走了。「真的嗎？」她問……后来呢？！",
            ["他说：“你好。”", "然后走了。", "「真的嗎？」", "她問……后来呢？！"],
            id="Chinese quotes and ellipsis",
        ),
        pytest.param(
            "😀 Hi there! 𠀀𠀁好。 Next.",
            ["😀 Hi there!", "𠀀𠀁好。", "Next."],
            id="characters outside the basic plane",
        ),
        pytest.param(
            "The controls were designed under the supervision of our principal\n"
            "Executive Officer and were effective at the end of the period covered\n"
            "by this report. We also changed\nnothing.",
            [
                "The controls were designed under the supervision of our principal\n"
                "Executive Officer and were effective at the end of the period covered\n"
                "by this report.",
                "We also changed\nnothing.",
            ],
            id="wrapped lines",
        ),
        pytest.param(
            "检索增强生成把外部知识交给语言模型，因此回答可以引用来源，并且随\n"
            "着文档更新而更新。重排模型再读一遍候选段落。",
            [
                "检索增强生成把外部知识交给语言模型，因此回答可以引用来源，并且随\n着文档更新而更新。",
                "重排模型再读一遍候选段落。",
            ],
            id="wrapped Chinese lines",
        ),
        pytest.param(
            "Net sales:\nProducts\n$\n63,355\nTotal net sales\n82,959",
            ["Net sales:", "Products", "$", "63,355", "Total net sales", "82,959"],
            id="short lines",
        ),
        pytest.param(
            "1. First item without a stop\n2. Second. With two\n- third\n（一）第四\n三、第五",
            [
                "1. First item without a stop",
                "2. Second.",
                "With two",
                "- third",
                "（一）第四",
                "三、第五",
            ],
            id="list items",
        ),
        pytest.param(
            "| Name | Text |\n| --- | --- |\n| a. b | It is. So. |",
            ["| Name | Text |", "| --- | --- |", "| a. b | It is. So. |"],
            id="table rows",
        ),
        pytest.param(
            "```python\nresult = first. Second\nreturn the longest of all the results we have\n"
            "another line of code here. And\n```\nDone.",
            [
                "```python",
                "result = first. Second",
                "return the longest of all the results we have",
                "another line of code here. And",
                "```",
                "Done.",
            ],
            id="code fence",
        ),
        pytest.param(
            "2021-01-01,Beijing Capital Airport,open all day,none\n"
            "2021-01-02,Shanghai Pudong Airport,open all day,none",
            [
                "2021-01-01,Beijing Capital Airport,open all day,none",
                "2021-01-02,Shanghai Pudong Airport,open all day,none",
            ],
            id="comma-separated values",
        ),
        pytest.param(
            "# Getting the software ready for use\nand more", None, id="a heading stands alone"
        ),
        pytest.param("J.\u3000K.\u2003R.\xa0Tolkien wrote.", None, id="odd blanks"),
        pytest.param(" \n\t\u3000 ", [], id="blanks only"),
    ],
)
def test_sentences(text: str, expected: list[str] | None):
    """Each kind of text divides where a reader would divide it."""
    assert said(text) == (text.split("\n") if expected is None else expected)


def test_a_sentence_longer_than_the_window_stays_whole():
    """A sentence of some thousand characters is one sentence."""
    long = "word " * 900 + "end."
    assert said(f"Short one. {long} Short two.") == ["Short one.", long, "Short two."]


@pytest.mark.parametrize("acronym", ["BM25", "PDF", "NFKC"])
def test_an_acronym_makes_no_title_of_a_wrapped_chinese_line(acronym: str) -> None:
    text = (
        "多语言向量模型把不同语言中意思相同的句子放到相近的位置，所以可以用中文提问、找\n"
        f"到英文段落。全文检索做不到这一点：中文问题和英文段落之间几乎没有共同的词，{acronym}\n"
        "得分为零，这时只能依靠向量召回。\n"
    )
    assert [text[start:end].replace("\n", "") for start, end in sentences(text)] == [
        "多语言向量模型把不同语言中意思相同的句子放到相近的位置，所以可以用中文提问、找到英文段落。",
        f"全文检索做不到这一点：中文问题和英文段落之间几乎没有共同的词，{acronym}得分为零，这时只能依靠向量召回。",
    ]


def test_a_title_in_capitals_stands_alone() -> None:
    text = "RESULTS OF THE SECOND QUARTER OF THE YEAR 2022\nNet sales rose by two percent in it.\n"
    assert len(sentences(text)) == 2
