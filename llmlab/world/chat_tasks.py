"""Questions that can be worked out or looked up: sums, translations, and what words mean."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from random import Random

from . import translation
from .chat_ask import Ask, capital, hidden, said
from .grammar import Rule, one_of, rules
from .lexicon import a
from .records import held_out, pick

# --- sums ---

ADD = ("What is {a} + {b}?", "What is {a} plus {b}?")
SUBTRACT = ("What is {c} - {b}?", "What is {c} minus {b}?")
ADD_AGAIN = ("And if you add {b}?", "And plus {b}?", "And {b} more?")
SUBTRACT_AGAIN = ("And if you take away {b}?", "And minus {b}?", "And {b} less?")


def _sum_key(x: int, y: int) -> str:
    return f"{min(x, y)}+{max(x, y)}"


def _sum_open(x: int, y: int) -> bool:
    """Whether training may show x + y, here and where sums stand alone."""
    return max(x, y) < 10 or not held_out(f"sum:{_sum_key(x, y)}")


@cache
def _pairs(secret: bool) -> list[tuple[int, int]]:
    """The sums that are held out, or those that are not."""
    return [(x, y) for x in range(90) for y in range(min(90, 100 - x)) if _sum_open(x, y) != secret]


def _sum_ask(question: str, x: int, sign: str, y: int) -> Ask:
    result = x + y if sign == "plus" else x - y

    def wrong(rng: Random) -> tuple[str, str]:
        near = pick(rng, [r for r in (result - 10, result - 2, result - 1, result + 1, result + 10) if 0 <= r < 100])
        return f"{near}.", f"{x} {sign} {y} is {near}."

    key = _sum_key(x, y) if sign == "plus" else _sum_key(result, y)
    return Ask(f"sum/{key}", question, f"{result}.", f"{x} {sign} {y} is {result}.", wrong)


def sum_chain(rng: Random, secret: bool, length: int) -> list[Ask]:
    """A sum, and what more is added to its result or taken away; the last is held out if `secret`."""
    while True:
        x, y = pick(rng, _pairs(secret and length == 1))
        if rng.random() < 0.6:
            found, result = [_sum_ask(pick(rng, ADD).format(a=x, b=y), x, "plus", y)], x + y
        else:
            found, result = [_sum_ask(pick(rng, SUBTRACT).format(c=x + y, b=y), x + y, "minus", y)], x
        while len(found) < length:
            last = secret and len(found) == length - 1
            y = 1 + int(rng.random() * (60 if last else 9))
            if rng.random() < 0.6:
                if result + y > 99 or _sum_open(result, y) == last:
                    break
                found.append(_sum_ask(pick(rng, ADD_AGAIN).format(b=y), result, "plus", y))
                result += y
            else:
                if result < y or _sum_open(result - y, y) == last:
                    break
                found.append(_sum_ask(pick(rng, SUBTRACT_AGAIN).format(b=y), result, "minus", y))
                result -= y
        if len(found) == length:
            return found


# --- translations ---

INTO_CHINESE = ('What is "{en}" in Chinese?', 'How do you say "{en}" in Chinese?')
INTO_ENGLISH = ('What is "{zh}" in English?', 'What does "{zh}" mean in English?')
SENTENCE_INTO_CHINESE = "Please say this in Chinese: {en}"
SENTENCE_INTO_ENGLISH = "Please say this in English: {zh}"


@cache
def dictionary() -> tuple[tuple[str, str], ...]:
    """Words and short phrases without a full stop or question mark."""
    return tuple((en, zh) for en, zh in translation.translations().items() if en[-1] not in ".?")


def _drawn(rng: Random, draw: Callable[[Random], tuple[str, str]], secret: bool) -> tuple[str, str]:
    """A text and its translation that is held out, or not."""
    while True:
        en, zh = draw(rng)
        if hidden(f"translation/{en}") == secret:
            return en, zh


def _word(rng: Random) -> tuple[str, str]:
    return pick(rng, dictionary())


def _sentence(rng: Random) -> tuple[str, str]:
    en, zh = translation._draw(rng)
    while en[-1] not in ".?":
        en, zh = translation._draw(rng)
    return en, zh


def translation_chain(rng: Random, secret: bool, length: int) -> list[Ask]:
    """Words or whole sentences to translate, in one direction; the last is held out if `secret`."""
    chinese = rng.random() < 0.5
    whole = rng.random() < 0.4
    draw = _sentence if whole else _word
    found: dict[str, Ask] = {}
    while len(found) < length:
        en, zh = _drawn(rng, draw, secret and len(found) == length - 1)
        if en in found:
            continue
        again = bool(found)
        if whole:
            question = (SENTENCE_INTO_CHINESE if chinese else SENTENCE_INTO_ENGLISH).format(en=en, zh=zh)
            if again:
                question = f"And this: {en if chinese else zh}"
            full = brief = zh if chinese else en
        else:
            question = pick(rng, INTO_CHINESE if chinese else INTO_ENGLISH).format(en=en, zh=zh)
            if again:
                question = f'And "{en if chinese else zh}"?'
            brief = f"{zh}。" if chinese else f"{capital(en)}."
            full = f'In Chinese, "{en}" is {zh}.' if chinese else f'In English, "{zh}" is "{en}".'

        def wrong(rng: Random, en=en, zh=zh) -> tuple[str, str]:
            other_en, other_zh = draw(rng)
            while other_en == en:
                other_en, other_zh = draw(rng)
            if whole:
                return (other_zh,) * 2 if chinese else (other_en,) * 2
            if chinese:
                return f"{other_zh}。", f'In Chinese, "{en}" is {other_zh}.'
            return f"{capital(other_en)}.", f'In English, "{zh}" is "{other_en}".'

        found[en] = Ask(f"translation/{en}", question, brief, full, wrong)
    return list(found.values())


# --- meanings ---

_DEFINITIONS = """
    baker=a person who bakes bread; teacher=a person who teaches at a school; farmer=a person who works on a farm;
    painter=a person who paints pictures; tailor=a person who makes clothes; sailor=a person who works on a ship;
    gardener=a person who looks after a garden; carpenter=a person who makes things from wood;
    musician=a person who plays music; writer=a person who writes books; cook=a person who prepares meals;
    fisher=a person who catches fish; pilot=a person who flies planes; dentist=a person who looks after teeth;
    singer=a person who sings songs; builder=a person who builds houses; weaver=a person who makes cloth;
    librarian=a person who works in a library; photographer=a person who takes photos;
    beekeeper=a person who keeps bees; shoemaker=a person who makes shoes; clockmaker=a person who makes clocks;
    key=a thing that opens a lock; umbrella=a thing that keeps off the rain; clock=a thing that shows the time;
    compass=a thing that shows where north is; camera=a thing that takes photos; lamp=a thing that gives light;
    mirror=a thing in which you can see yourself; hammer=a tool for driving in nails; brush=a tool for painting;
    pencil=a thing to write and draw with; cup=a thing to drink from; spoon=a thing to eat soup with;
    kite=a toy that flies in the wind; map=a drawing that shows where places are; glove=a piece of clothing for a hand;
    hat=a piece of clothing for the head; scarf=a piece of clothing for the neck; drum=an instrument that you beat;
    flute=an instrument that you blow into; violin=an instrument with four strings;
    bakery=a place where bread is made; museum=a place where old things are shown;
    harbor=a place where ships are safe; library=a place where you can borrow books;
    school=a place where children learn; kitchen=a room where meals are prepared;
    bedroom=a room where people sleep; cellar=a room under a house; attic=a room under the roof;
    station=a place where trains stop; market=a place where people buy and sell things;
    orphan=a child without parents; widow=a woman whose husband has died; island=a piece of land with water around it;
    week=a time of seven days; century=a time of a hundred years; dozen=a set of twelve things;
    desert=a dry place where little grows; forest=a large piece of land full of trees"""
DEFINITIONS = tuple(
    (word, text) for word, text in (" ".join(pair.split()).split("=") for pair in _DEFINITIONS.split(";"))
)
MEANING = ("What is {d_a}?", 'What does the word "{d}" mean?', 'What does "{d}" mean?')
MEANING_AGAIN = ("And {d_a}?", "And what is {d_a}?", 'And the word "{d}"?')


def _definition_ask(number: int, question: str) -> Ask:
    word, meaning = DEFINITIONS[number]

    def wrong(rng: Random) -> tuple[str, str]:
        other = pick(rng, DEFINITIONS)
        while other[0] == word:
            other = pick(rng, DEFINITIONS)
        return f"{capital(other[1])}.", f"{capital(a(word))} is {other[1]}."

    question = question.format(d=word, d_a=a(word))
    return Ask(f"meaning/{word}", question, f"{capital(meaning)}.", f"{capital(a(word))} is {meaning}.", wrong)


@cache
def _defined(secret: bool) -> list[int]:
    return [number for number, (word, _) in enumerate(DEFINITIONS) if hidden(f"meaning/{word}") == secret]


def definition_chain(rng: Random, secret: bool, length: int) -> list[Ask]:
    """What words mean; the last is held out if `secret`."""
    numbers: list[int] = []
    while len(numbers) < length:
        number = pick(rng, _defined(secret and len(numbers) == length - 1))
        if number not in numbers:
            numbers.append(number)
    return [_definition_ask(n, pick(rng, MEANING_AGAIN if at else MEANING)) for at, n in enumerate(numbers)]


# --- recognizing them ---


def _sum_holds(slots) -> bool:
    if "sign" not in slots:
        return True
    x, y, z = (int(slots[name]) for name in ("x", "y", "z"))
    return z == (x + y if slots["sign"] == "plus" else x - y)


def grammar_rules() -> list[Rule]:
    """These questions and their answers. Wrong sums, translations and meanings are none."""
    number = r"0|[1-9]\d?"
    numbers = dict.fromkeys(("a", "b", "c", "x", "y", "z"), number) | {"sign": "plus|minus"}
    found = rules("chat", said("User", ADD + SUBTRACT), numbers)
    found += rules("chat", [f"User: {text}" for text in ADD_AGAIN + SUBTRACT_AGAIN], numbers)
    found += rules("chat", [*said("Assistant", ["{x} {sign} {y} is {z}."]), "Assistant: {x}."], numbers, _sum_holds)

    pairs = set(dictionary())
    kinds = {"en": one_of(en for en, _ in pairs), "En": one_of(capital(en) for en, _ in pairs)}
    kinds |= {"zh": one_of(zh for _, zh in pairs)}
    asked = [*INTO_CHINESE, *INTO_ENGLISH, 'And "{en}"?', 'And "{zh}"?']
    answers = ['In Chinese, "{en}" is {zh}.', 'In English, "{zh}" is "{en}".']

    def known(slots):
        return len(slots) < 2 or (slots["en"], slots["zh"]) in pairs

    found += rules("chat", [*said("User", asked), *said("Assistant", answers)], kinds, known)
    found += rules("chat", ["Assistant: {En}.", "Assistant: {zh}。"], kinds)
    whole = next(rule.kinds for rule in translation.grammar_rules())
    asked = [SENTENCE_INTO_CHINESE, SENTENCE_INTO_ENGLISH, "And this: {en}", "And this: {zh}"]
    found += rules("chat", said("User", asked) + said("Assistant", ["{en}", "{zh}"]), whole)

    meanings = {capital(a(word)): meaning for word, meaning in DEFINITIONS}
    kinds = {
        "d": one_of(word for word, _ in DEFINITIONS),
        "d_a": one_of(a(word) for word, _ in DEFINITIONS),
        "D_a": one_of(meanings),
        "m": one_of(meanings.values()),
        "M": one_of(map(capital, meanings.values())),
    }
    found += rules("chat", said("User", MEANING + MEANING_AGAIN), kinds)
    found += rules(
        "chat",
        [*said("Assistant", ["{D_a} is {m}."]), "Assistant: {M}."],
        kinds,
        lambda slots: "m" not in slots or meanings[slots["D_a"]] == slots["m"],
    )
    return found
