"""Names and texts that break what takes them for paths, for SQL or for plain text."""

from __future__ import annotations

import random

NAMES = (
    "x' OR '1'='1",
    "x'; DROP TABLE documents; --",
    "O'Brien.pdf",
    'he said "no".txt',
    "%",
    "_",
    "%_%",
    "\\",
    "\\'",
    "a\\' OR true --",
    "`name`",
    "$(touch outside)",
    "col('id')",
    "../../x",
    "../../../../outside.txt",
    "..\\..\\x",
    "/etc/x",
    "C:\\x",
    "\\\\server\\share\\x",
    "file:///etc/x",
    "..",
    ".",
    "/",
    "",
    " ",
    "a\0b.txt",
    "line\nbreak.txt",
    "tab\tand\x1b[2Jescape.txt",
    "x" * 300,
    "界" * 300 + ".pdf",
    "é" * 127 + "a",
    "CON.pdf",
    "NUL",
    "trailing. ",
    "\u202efdp.exe",
    "zero\u200bwidth.txt",
    "half \ud83d pair.txt",
    "\udcff\udcfe.txt",
    "😀👩‍👩‍👧.md",
    "检索入门.md",
    "檢索 — 導論.md",
    "مستند.pdf",
    "<script>alert(1)</script>.html",
    "![x](http://127.0.0.2:9/a).md",
    "None",
    "true",
    "0",
    "{name}",
    "%s%n",
)
_PIECES = (
    *("'", '"', "\\", "%", "_", ";", "--", "/*", "*/", "(", ")", "=", " OR ", " AND ", "NULL"),
    *("a", "é", "界", "😀", "\n", "\0", "\u202e", "../", "0", " ", ".pdf", "?", "$1", "::text"),
)


def names(count: int, seed: int = 1) -> list[str]:
    """That many different names: those above, and more of the same pieces."""
    draw = random.Random(seed)
    found = dict.fromkeys(NAMES)
    while len(found) < count:
        found["".join(draw.choices(_PIECES, k=draw.randint(1, 12)))] = None
    return list(found)[:count]


TEXTS = {
    "one letter": "a",
    "one character": "字",
    "blanks": " \t\u3000\xa0" * 2_000,
    "nul": "\0" * 1_000 + "visible",
    "override": "\u202etxet neddih\u202c 可见",
    "half a pair": "half \ud83d of \ude00 a pair",
    "emoji": "👩‍👩‍👧‍👦🏳️‍🌈" * 500,
    "zero width": "w\u200bo\u200br\u200bd " * 500,
    "no blanks": "a" * 20_000,
    "no blanks, Chinese": "检索增强生成" * 1_000,
    "marks": "e" + "\u0301" * 5_000 + " after",
    "marks alone": "\u0301" * 3_000,
    "punctuation": "?!。！？" * 3_000,
    "line ends": "\r\n\u2028\x85\x0b" * 3_000 + "x",
    "headings": "#" * 5_000 + "\n" + "# a\n" * 2_000,
    "fences": "```\n" * 3_000,
    "pipes": "| " * 8_000,
    "markdown": "[a](b)![c](d)**e**`f`$g$:red[h]<i>" * 300,
    "slash": "/help me",
    "citations": "[1][2][999]" * 2_000,
    "numbers": "1.2.3.4.5 " * 2_000,
    "ten thousand": "The zebra eats grass. 斑马吃草。" * 300,
    "fifty thousand": "The zebra eats grass. 斑马吃草。" * 2_000,
    "English": "All people are born free.",
    "中文": "人人生而自由。",
    "漢語": "人人生而自由，在尊嚴和權利上一律平等。",
    "العربية": "يولد جميع الناس أحرارا.",
    "עברית": "כל בני אדם נולדו בני חורין.",
    "हिन्दी": "सभी मनुष्यों को स्वतन्त्रता प्राप्त है।",
    "বাংলা": "সমস্ত মানুষ স্বাধীনভাবে জন্মগ্রহণ করে।",
    "தமிழ்": "மனிதர்கள் சுதந்திரமாகவே பிறக்கின்றனர்.",
    "ไทย": "มนุษย์ทั้งหลายเกิดมามีอิสระ",
    "ភាសាខ្មែរ": "មនុស្សទាំងអស់កើតមកមានសេរីភាព។",
    "မြန်မာ": "လူတိုင်းသည် လွတ်လပ်စွာ မွေးဖွားသည်။",
    "日本語": "すべての人間は、生まれながらにして自由である。",
    "한국어": "모든 인간은 태어날 때부터 자유롭다.",
    "Русский": "Все люди рождаются свободными.",
    "Ελληνικά": "Όλοι οι άνθρωποι γεννιούνται ελεύθεροι.",
    "ქართული": "ყველა ადამიანი იბადება თავისუფალი.",
    "አማርኛ": "የሰው ልጅ ሁሉ ሲወለድ ነጻ ነው።",
    "Tiếng Việt": "Mọi người sinh ra đều tự do.",
    "Türkçe": "Bütün insanlar özgür doğar.",
    "ᏣᎳᎩ": "ᏂᎦᏓ ᎠᏂᏴᏫ ᏂᎨᎫᏓᎸᎾ.",
}
