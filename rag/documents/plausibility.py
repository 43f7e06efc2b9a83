"""How probable a text is as Chinese, Japanese, Korean, Western or Cyrillic text.

Each language is a small model of single characters: a few classes with a share of running text
each. ASCII costs the same in every language, so a mostly English file is judged by the rest.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Mapping
from functools import lru_cache

_EVERY_LANGUAGE = ("hans", "hant", "japanese", "korean", "western", "cyrillic", "other")
LANGUAGES = {
    "gb18030": ("hans",),
    "big5hkscs": ("hant",),
    "cp932": ("japanese",),
    "euc_jp": ("japanese",),
    "iso2022_jp": ("japanese",),
    "cp949": ("korean",),
    "cp1252": ("western",),
    "cp1251": ("cyrillic",),
    "koi8_r": ("cyrillic",),
}
# The characters that make up about two thirds of running Chinese text, counted on encyclopedic
# text; first those that both scripts share.
_SHARED = (
    "的年在一是中有于大人和以后月成了地上生名出公部与日他分不及其作被西之斯用主可家由到第行任子加多位南自高至而本法"
    "物下里市球并方最代米路得海特利世三种机新也所北要前同入次山建道面台教或立此理院天美都文德等能因政体小合英者克"
    "形系制期式定平王化但科基二民度州水首十使比金常拉司元事外表通目委重全原起四力如港性直包工巴士城阿心共花尼布女"
    "林安格香就正洲明品提列保界色意然它接省近果相量江卡治太些曾口府身更程交向播改她演据居盟游室始先著已波毛武只谷"
    "塞河万持石古流皇校少塔族即每死型百受京空又括越食信字去影足展佛母打管支威律副史手六今商活神川集取曲氏命初那根"
    "片角放泰气酸康老具音群服复伊博收指准五草完青宗占非植往网社回超朝未算田光官供我亦示耶育研很夫件福易吉情雷派"
    "班致航白曼局九器版速早知男街功言帝反造究佐解洛你好吧呢什怎哪啊想把心走看做再啦才找文字"
)
_HANS = (
    "为国时个学长会区来发尔赛这亚现对经开队员约间内称场动军东当过数马两电业们线战将进罗从广兰该组车运联总设关龙华"
    "达统计书类剧纪语无号条标议视状欧县处职湾属选叶单务还别则结产实参纳决应获岛级没权点黄转门传专义馆维资济认节"
    "带诺画领记乐头连爱录举较随题历铁导际亲师变质医强奥说陆丽见样图环张项艺给伦术协边独吗请谢让谁测试检索问答么"
)
_HANT = (
    "為國時個學長會區來發爾賽這亞現對經開隊員約間內稱場動軍東當過數馬兩電業們線戰將進羅從廣蘭該組車運聯總設關龍華"
    "達統計書類劇紀語無號條標議視狀歐縣處職灣屬選葉單務還別則結產實參納決應獲島級沒權點黃轉門傳專義館維資濟認節"
    "帶諾畫領記樂頭連愛錄舉較隨題歷鐵導際親師變質醫強奧說陸麗見樣圖環張項藝給倫術協邊獨嗎請謝讓誰測試檢索問答麼"
    "後於裡裏臺與體氣機種萬並複網離準"
)
_KANJI = (
    "日本国人年大一中会出行上下事者時分前生方間新高月学的用部同社合動発入場見来手力化世界地名作主最"
    "文理"
)
_HANGUL = "이다는의에을가고하를은한로서지기사자들도리인시어수그해대과정나있으라부일전제원아"
_COMMON = {
    "hans": frozenset(_SHARED + _HANS),
    "hant": frozenset(_SHARED + _HANT),
    "japanese": frozenset(_KANJI),
    "korean": frozenset(_HANGUL),
}
_CJK_MARKS = frozenset("，。、：；！？（）《》「」『』【】“”‘’—…·　〈〉～％")
_WESTERN_MARKS = frozenset("–—‘’“”•…«»°§©®€£¡¿ºª ")


def log_probability(text: str, encoding: str) -> float:
    """Log-probability of the text in its most probable language, in nats."""
    counts = Counter(text)
    languages = LANGUAGES.get(
        encoding, _EVERY_LANGUAGE if encoding.startswith("utf") else ("other",)
    )
    best = max(
        sum(count * _character(language, character) for character, count in counts.items())
        for language in languages
    )
    return best - _SWITCH * len(_SWITCHES.findall(text)) - _UNUSUAL.get(encoding, 0.0)


# How much less often an encoding is met than UTF-8, GB18030 and Windows-1252, in nats.
_UNUSUAL = {
    "utf-16-le": 3.0,
    "utf-16-be": 5.0,
    "big5hkscs": 1.0,
    "cp932": 1.0,
    "euc_jp": 3.0,
    "cp949": 2.0,
    "cp1251": 2.0,
    "koi8_r": 4.0,
}
# A word changes its script seldom: each time costs as much as a rare character more.
_SWITCH = 4.0
_SWITCHES = re.compile("[A-Za-zÀ-ÿ](?=[\u0370-\ud7a3])|[\u0370-\ud7a3](?=[A-Za-zÀ-ÿ])")

_ASCII = math.log(1 / 60)
_BAD = math.log(1e-9)
_RARE = math.log(2e-7)
_FOREIGN = math.log(3e-6)


def _shares(**shares: tuple[float, int]) -> Mapping[str, float]:
    """Log-probability of one character of a class that has a share of the text and a size."""
    return {name: math.log(share / size) for name, (share, size) in shares.items()}


_MODELS: Mapping[str, Mapping[str, float]] = {
    "hans": _shares(common=(0.62, 520), level=(0.22, 3300), mark=(0.13, 20), kana=(0.001, 170)),
    "hant": _shares(common=(0.62, 520), level=(0.22, 4900), mark=(0.13, 20), kana=(0.001, 170)),
    "japanese": _shares(common=(0.15, 40), level=(0.2, 2900), mark=(0.08, 20), kana=(0.55, 120)),
    "korean": _shares(common=(0.5, 40), level=(0.4, 2300), mark=(0.01, 20)),
    "western": _shares(lower=(0.05, 32), upper=(0.008, 32), sign=(0.01, 20)),
    "cyrillic": _shares(lower=(0.85, 33), upper=(0.06, 33), sign=(0.01, 20)),
    "other": _shares(letter=(0.3, 400)),
}


@lru_cache(maxsize=100_000)
def _character(language: str, character: str) -> float:
    """Log-probability of one character in a language, in nats."""
    if character < "\x80":
        return _ASCII if character >= " " or character in "\t\n\r\f" else _BAD
    if unicodedata.category(character) in ("Cc", "Cn", "Co", "Cs") or character == "\ufffd":
        return _BAD
    model = _MODELS[language]
    return model.get(_class(language, character), _RARE if character > "\u3400" else _FOREIGN)


def _class(language: str, character: str) -> str:
    """The class of a character beyond ASCII in a language; empty where it does not belong."""
    if language in ("hans", "hant", "japanese", "korean"):
        if character in _CJK_MARKS:
            return "mark"
        if "\u3041" <= character <= "\u30ff":
            return "kana"
        return _syllable_or_ideograph(language, character)
    if language == "other":
        return "letter" if character.isalpha() and character < "\u2e80" else ""
    if character in _WESTERN_MARKS:
        return "sign"
    script = "À" <= character <= "ÿ" if language == "western" else "Ё" <= character <= "ё"
    if script and character.isalpha():
        return "upper" if character.isupper() else "lower"
    return ""


# The first level of each national standard holds the characters in everyday use.
_STANDARDS = {
    "hans": ("gb2312", 0xB0, 0xD7),
    "hant": ("big5", 0xA4, 0xC6),
    "japanese": ("euc_jp", 0xB0, 0xCF),
    "korean": ("euc_kr", 0xB0, 0xC8),
}


def _syllable_or_ideograph(language: str, character: str) -> str:
    if character in _COMMON[language]:
        return "common"
    codec, first, last = _STANDARDS[language]
    try:
        return "level" if first <= character.encode(codec)[0] <= last else ""
    except UnicodeEncodeError:
        return ""
