"""English and Chinese: words, fixed phrases, and short sentences built from words, each with one
translation."""

from __future__ import annotations

from random import Random

from .grammar import Rule, one_of, plain, rules
from .records import Item, distinct, pick

# kind: English = Chinese. Nouns carry their measure word where a count needs one: "cat=猫/只".
_NOUNS = {
    "animal": """
        cat=猫/只 dog=狗/只 bird=鸟/只 horse=马/匹 cow=牛/头 sheep=羊/只 fish=鱼/条 rabbit=兔子/只
        tiger=老虎/只""",
    "thing": """
        book=书/本 cup=杯子/个 chair=椅子/把 table=桌子/张 key=钥匙/把 hat=帽子/顶 umbrella=雨伞/把
        lamp=灯/盏 letter=信/封 clock=钟/个""",
    "fruit": "apple=苹果/个 banana=香蕉/根 pear=梨/个 orange=橙子/个 egg=鸡蛋/个 cake=蛋糕/个",
}
NOUNS = {
    kind: tuple((pair.split("=")[0], *pair.split("=")[1].split("/")) for pair in text.split())
    for kind, text in _NOUNS.items()
}
_WORDS = {
    "drink": "tea=茶 coffee=咖啡 water=水 milk=牛奶 juice=果汁",
    "person": "mother=妈妈 father=爸爸 teacher=老师 doctor=医生 friend=朋友 student=学生",
    "place": """
        school=学校 home=家 park=公园 shop=商店 library=图书馆 hospital=医院 station=车站
        museum=博物馆""",
    "color": "red=红 blue=蓝 green=绿 yellow=黄 white=白 black=黑",
    "number": "one=一 two=二 three=三 four=四 five=五 six=六 seven=七 eight=八 nine=九 ten=十",
    "quality": "big=大 small=小 new=新 old=旧 expensive=贵 cheap=便宜 beautiful=漂亮",
    "verb": "eat=吃 drink=喝 read=读 write=写 sing=唱歌 swim=游泳 sleep=睡觉 run=跑步 dance=跳舞",
    "nature": """
        sun=太阳 moon=月亮 star=星星 mountain=山 river=河 sea=海 flower=花 tree=树 rain=雨 snow=雪
        wind=风""",
    "time": "today=今天 tomorrow=明天 yesterday=昨天 morning=早上 evening=晚上",
}
WORDS = {kind: tuple(tuple(pair.split("=")) for pair in text.split()) for kind, text in _WORDS.items()}
COUNTS = (("two", "两"), *WORDS["number"][2:])
WHO = (("I", "我"), ("we", "我们"), ("they", "他们"))
GOES = (("He", "他"), ("She", "她"))
PHRASES = (
    ("far ahead", "遥遥领先"),
    ("Our team is far ahead.", "我们的队遥遥领先。"),
    ("He is far ahead.", "他遥遥领先。"),
    ("She is far ahead.", "她遥遥领先。"),
    ("Do I deserve a cup of coffee?", "我配拥有一杯咖啡吗？"),
    ("Do I deserve a new book?", "我配拥有一本新书吗？"),
    ("hello", "你好"),
    ("thank you", "谢谢"),
    ("goodbye", "再见"),
    ("sorry", "对不起"),
    ("good morning", "早上好"),
    ("good night", "晚安"),
    ("How are you?", "你好吗？"),
    ("I am very well.", "我很好。"),
    ("What is your name?", "你叫什么名字？"),
    ("Where is the station?", "车站在哪里？"),
    ("How much is it?", "多少钱？"),
    ("I do not know.", "我不知道。"),
    ("I love you.", "我爱你。"),
    ("See you tomorrow.", "明天见。"),
    ("Welcome to our home.", "欢迎来我们家。"),
    ("The weather is very good today.", "今天天气很好。"),
    ("It is raining today.", "今天下雨。"),
    ("It is snowing today.", "今天下雪。"),
    ("a cup of tea", "一杯茶"),
    ("a cup of coffee", "一杯咖啡"),
)


def _nouns(*kinds: str) -> tuple[tuple[str, str], ...]:
    return tuple(noun[:2] for kind in kinds for noun in NOUNS[kind])


def _without(pairs: tuple[tuple[str, str], ...], *english: str) -> tuple[tuple[str, str], ...]:
    return tuple(pair for pair in pairs if pair[0] not in english)


def _article(pairs: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    return tuple((("an " if en[0] in "aeiou" else "a ") + en, zh) for en, zh in pairs)


def _plurals(pairs: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    return tuple((en if en in ("sheep", "fish") else en + "s", zh) for en, zh in pairs)


_ALL = _nouns("animal", "thing", "fruit")
_COUNTED = tuple(
    (f"{number} {plural}", f"{count}{measure}{zh}")
    for number, count in COUNTS
    for nouns in NOUNS.values()
    for (plural, zh), (_, _, measure) in zip(_plurals(tuple(noun[:2] for noun in nouns)), nouns, strict=True)
    if zh != "老虎"
)
# The slots of an English template and of its Chinese twin are filled from the same row of the table.
TEMPLATES: tuple[tuple[str, str, dict[str, tuple[tuple[str, str], ...]]], ...] = (
    (
        "This is {x}.",
        "这是{x}。",
        {"x": _article(tuple((en, f"一{m}{zh}") for k in NOUNS for en, zh, m in NOUNS[k]))},
    ),
    ("I have {x}.", "我有{x}。", {"x": _COUNTED}),
    ("The {x} is {c}.", "{x}是{c}色的。", {"x": _nouns("thing"), "c": WORDS["color"]}),
    ("The {x} is very {q}.", "{x}很{q}。", {"x": _without(_nouns("thing"), "letter"), "q": WORDS["quality"]}),
    (
        "The {x} is very {q}.",
        "{x}很{q}。",
        {"x": _nouns("fruit"), "q": WORDS["quality"][:2] + WORDS["quality"][4:6]},
    ),
    (
        "The {x} is on the table.",
        "{x}在桌子上。",
        {"x": _without(_nouns("thing", "fruit"), "table", "chair")},
    ),
    ("The {x} is at home.", "{x}在家。", {"x": (*WORDS["person"], ("cat", "猫"), ("dog", "狗"))}),
    ("The {x} is in the {p}.", "{x}在{p}里。", {"x": WORDS["person"], "p": _without(WORDS["place"], "home")}),
    ("The {x} is in the park.", "{x}在公园里。", {"x": _without(_nouns("animal"), "tiger", "fish")}),
    ("{w} like {d}.", "{w}喜欢{d}。", {"w": WHO, "d": WORDS["drink"] + _plurals(_nouns("animal", "fruit"))}),
    ("{w} want to {v}.", "{w}想{v}。", {"w": WHO, "v": _without(WORDS["verb"], "drink", "read", "write")}),
    ("{w} drink {d}.", "{w}喝{d}。", {"w": WHO, "d": WORDS["drink"]}),
    ("{w} is going to the {p}.", "{w}要去{p}。", {"w": GOES, "p": _without(WORDS["place"], "home")}),
    (
        "{w} is a {x}.",
        "{w}是{x}。",
        {"w": GOES, "x": tuple(p for p in WORDS["person"] if p[0] in ("teacher", "doctor", "student"))},
    ),
    ("My {x} likes {d}.", "我的{x}喜欢{d}。", {"x": WORDS["person"], "d": WORDS["drink"]}),
)

PAIRS_TRAIN = (
    "English: {en}\nChinese:| {zh}",
    "Chinese: {zh}\nEnglish:| {en}",
    "{en} =| {zh}",
    "{zh} =| {en}",
    'Question: What is "{en}" in Chinese?\nAnswer:| {zh}',
    'Question: What is "{zh}" in English?\nAnswer:| {en}',
)
PAIRS_HELD_OUT = ("Translation into Chinese:\n{en} =| {zh}", "Translation into English:\n{zh} =| {en}")

_VOCABULARY = tuple(_ALL) + tuple(pair for kind in WORDS for pair in WORDS[kind])


def _draw(rng: Random) -> tuple[str, str]:
    """An English text and its translation: a word, a phrase, or a sentence."""
    draw = rng.random()
    if draw < 0.35:
        return pick(rng, _VOCABULARY)
    if draw < 0.5:
        return pick(rng, PHRASES)
    english, chinese, kinds = pick(rng, TEMPLATES)
    rows = {slot: pick(rng, table) for slot, table in kinds.items()}
    en = english.format_map({slot: row[0] for slot, row in rows.items()})
    zh = chinese.format_map({slot: row[1] for slot, row in rows.items()})
    return en[0].upper() + en[1:], zh


def document(rng: Random, split: str) -> str:
    """Several translations in one layout."""
    wordings = PAIRS_TRAIN if split == "train" else PAIRS_HELD_OUT
    template = plain(pick(rng, wordings))
    lines = []
    for _ in range(3 + int(rng.random() * 5)):
        en, zh = _draw(rng)
        lines.append(template.format(en=en, zh=zh))
    return "\n".join(dict.fromkeys(lines))


def items(rng: Random, n: int) -> list[Item]:
    """Words, phrases and sentences, to be translated on request in a wording that training never uses."""

    def draw() -> Item:
        en, zh = _draw(rng)
        prompt, answer = pick(rng, PAIRS_HELD_OUT).format(en=en, zh=zh).split("|")
        return Item("translation", prompt, f"{answer}\n")

    return distinct(draw, n)


def translations() -> dict[str, str]:
    """Every word and phrase of the world's Chinese, by its English."""
    return dict((*_VOCABULARY, *PHRASES))


def grammar_rules() -> list[Rule]:
    """The lines of this skill. A wrong translation is no line of the world."""
    english: list[str] = []
    pairs = {(en, zh) for en, zh in (*_VOCABULARY, *PHRASES)}
    for en_template, zh_template, kinds in TEMPLATES:
        rows: list[dict[str, tuple[str, str]]] = [{}]
        for slot, table in kinds.items():
            rows = [row | {slot: pair} for row in rows for pair in table]
        for row in rows:
            en = en_template.format_map({slot: pair[0] for slot, pair in row.items()})
            zh = zh_template.format_map({slot: pair[1] for slot, pair in row.items()})
            pairs.add((en[0].upper() + en[1:], zh))
    english = [en for en, _ in pairs]
    kinds = {"en": one_of(english), "zh": one_of(zh for _, zh in pairs)}

    def known(slots):
        return len(slots) < 2 or (slots["en"], slots["zh"]) in pairs

    return rules("translation", PAIRS_TRAIN + PAIRS_HELD_OUT + ("Answer: {en}", "Answer: {zh}"), kinds, known)
