"""Text files come in readable, or with a word of doubt."""

from __future__ import annotations

import random

import pytest

from rag.documents.encodings import decode

SIMPLIFIED = (
    "检索增强生成先从资料库中找出与问题有关的段落，再由语言模型写出回答。重排序模型会同时阅读问题和段落，"
    "因此比向量检索更准确。我们的公司成立于一九九八年，总部在北京，在上海、广州和深圳都有办事处。员工每年享有"
    "十五天带薪休假，病假需要提供医院的证明。产品保修期为两年，自购买之日起计算。"
)
TRADITIONAL = (
    "檢索增強生成先從資料庫中找出與問題有關的段落，再由語言模型寫出回答。重排序模型會同時閱讀問題和段落，"
    "因此比向量檢索更準確。我們的公司成立於一九九八年，總部在臺北，在高雄和臺中都有辦事處。員工每年享有"
    "十五天的休假，病假需要提供醫院的證明。產品保固期為兩年，自購買之日起計算。"
)
JAPANESE = (
    "日本国憲法は、日本の現行憲法である。東京都は日本の首都であり、人口は約千四百万人で世界最大級の都市圏を"
    "形成している。検索の結果を並べ替えると、より正確な答えが得られます。カタカナのテキストも試験に使われる。"
)
WESTERN = (
    "Der Präsident erklärte, die Maßnahme würde für alle größeren Städte gültig. L'élève a été"
    " reçu à l'université. Mañana el niño comerá más. Ça va être très différent après. Zürich,"
    " Köln, Málaga. "
)
ENCODINGS = [
    ("utf-8", SIMPLIFIED),
    ("utf-8-sig", SIMPLIFIED),
    ("utf-16", SIMPLIFIED),
    ("utf-16-le", SIMPLIFIED),
    ("utf-16-be", SIMPLIFIED),
    ("utf-32", SIMPLIFIED),
    ("gb18030", SIMPLIFIED),
    ("gbk", SIMPLIFIED),
    ("big5", TRADITIONAL),
    ("shift_jis", JAPANESE),
    ("latin-1", WESTERN),
    ("cp1252", WESTERN),
]


def passages(text: str, length: int) -> list[str]:
    """Passages of a length from many places of a text."""
    text *= 1 + length * 2 // len(text)
    starts = random.Random(7).sample(range(len(text) - length), 25 if length < 100 else 2)
    return [text[start : start + length] for start in starts]


@pytest.mark.parametrize("length", [40, 2000])
@pytest.mark.parametrize(("encoding", "text"), ENCODINGS)
def test_forty_characters_are_enough_for_every_encoding(
    encoding: str, text: str, length: int
) -> None:
    for passage in passages(text, length):
        decoded = decode(passage.encode(encoding))
        assert decoded is not None
        assert decoded.text == passage
        assert decoded.invalid == 0


@pytest.mark.parametrize(("encoding", "text"), ENCODINGS)
def test_six_characters_are_right_or_doubtful(encoding: str, text: str) -> None:
    right = 0
    texts = passages(text, 6)
    for passage in texts:
        decoded = decode(passage.encode(encoding))
        assert decoded is not None
        assert decoded.text == passage or decoded.doubtful
        right += decoded.text == passage
    assert right >= 0.9 * len(texts)


def test_long_text_is_no_guess() -> None:
    for encoding, text in ENCODINGS:
        decoded = decode((text * 10).encode(encoding))
        assert decoded is not None
        assert not decoded.doubtful, encoding


@pytest.mark.parametrize(
    ("encoding", "text", "title"),
    [
        ("gb18030", SIMPLIFIED, "GB18030"),
        ("big5", TRADITIONAL, "Big5"),
        ("shift_jis", JAPANESE, "Shift-JIS"),
        ("euc_jp", JAPANESE, "EUC-JP"),
        ("euc_kr", "회사는 매년 열다섯 날의 휴가를 제공하며 보증 기간은 이 년입니다.", "EUC-KR"),
        ("cp1251", "Гарантия на изделие составляет два года со дня покупки.", "Windows-1251"),
        ("koi8_r", "Гарантия на изделие составляет два года со дня покупки.", "KOI8-R"),
        ("iso2022_jp", JAPANESE, "iso2022_jp"),
    ],
)
def test_the_encoding_is_named(encoding: str, text: str, title: str) -> None:
    decoded = decode(text.encode(encoding))
    assert decoded is not None
    assert (decoded.text, decoded.encoding) == (text, title)


def test_english_with_one_chinese_word_in_gb18030() -> None:
    text = "The product is called 检索增强生成 and comes with a warranty of two years. " * 3
    decoded = decode(text.encode("gb18030"))
    assert decoded is not None
    assert decoded.text == text


def test_invalid_bytes_are_left_out_and_counted() -> None:
    content = SIMPLIFIED.encode() + b"\xff\xfe" + SIMPLIFIED.encode()
    decoded = decode(content)
    assert decoded is not None
    assert decoded.text == SIMPLIFIED * 2
    assert decoded.encoding == "UTF-8"
    assert list(decoded.remarks) == ["2 places were not valid UTF-8 and left out."]


def test_a_doubtful_guess_is_said() -> None:
    decoded = decode("重排".encode("gb18030"))
    assert decoded is not None
    assert decoded.doubtful
    assert list(decoded.remarks) == [f"The encoding was guessed: {decoded.encoding}."]


def test_a_declared_charset_is_believed_as_its_superset() -> None:
    decoded = decode("镕".encode("gb18030"), declared="gb2312")
    assert decoded is not None
    assert decoded.text == "镕"
    assert not decoded.doubtful


def test_a_false_declaration_is_not_believed() -> None:
    decoded = decode(SIMPLIFIED.encode("gb18030"), declared="utf-8")
    assert decoded is not None
    assert decoded.text == SIMPLIFIED


@pytest.mark.parametrize("seed", range(5))
def test_noise_is_no_text(seed: int) -> None:
    assert decode(random.Random(seed).randbytes(3000)) is None
