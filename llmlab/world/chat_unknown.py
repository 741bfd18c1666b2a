"""Questions about what the world does not tell: what nobody can know, and what only the user has said.

Where nothing is known, the right reply says so, and the wrong one is made up.
"""

from __future__ import annotations

from functools import cache
from random import Random

from . import facts
from .chat_ask import DO_NOT_KNOW, Ask, capital, hidden, said
from .chat_tasks import dictionary
from .grammar import Rule, one_of, rules
from .lexicon import COLORS, NAMES, NUMBERS, PET_NAMES, SPOTS, THINGS, TOWNS, TRADES, a, words
from .records import pick

# --- what nobody has told ---

COUNTRIES = words("""
    Velmora Tarquil Ostrovar Brindova Kalmeria Zanthia Morvane Elbonar Quindara Salvenia Drosmark Ferenia
    Hestovia Lurania Pallandor Rovinia Sundria Tesmara Ulvania Wendoria Yestria Orlinia""")
NONSENSE = words("""
    blonet trasp murkle dreffin spolt quandle fribbet snorple glimp zatter plonkel wibbet cranto dulp
    frimple jostin kelvot lorgle naxel pindle rumplo tavo vossel yarble""")
# Questions about people who do not exist: the question, an invention, a brief one.
UNKNOWN_PERSON = (
    ("Where does {P} live?", "{P} lives in {w}.", "In {w}."),
    ("What is the trade of {P}?", "{P} works as {j_a}.", "{J_a}."),
    ("What pet does {P} have?", "{P} has {n_a}.", "{N_a}."),
)
NEVER_HEARD = "I do not know, because I have never heard of {P}."
# From here on each has the question, the full reply, an invention, and a brief one.
UNKNOWN_COUNTRY = (
    "What is the capital of {Q}?",
    "I do not know a country called {Q}.",
    "The capital of {Q} is {city}.",
    "{city}.",
)
UNKNOWN_WORD = ('What is "{x}" in Chinese?', 'I do not know the word "{x}".', 'In Chinese, "{x}" is {zh}.', "{zh}。")
# Nobody tells these about the people of the world.
NOT_TOLD = (
    ("How old is {P}?", "I do not know how old {P} is.", "{P} is {age} years old.", "{age}."),
    (
        "What is the favorite color of {P}?",
        "I do not know the favorite color of {P}.",
        "The favorite color of {P} is {c}.",
        "{C}.",
    ),
    ("What did {P} eat this morning?", "I do not know what {P} ate this morning.", "{P} ate {f} this morning.", "{F}."),
    (
        "Who is the best friend of {P}?",
        "I do not know who the best friend of {P} is.",
        "The best friend of {P} is {A}.",
        "{A}.",
    ),
)
UNKNOWABLE = (
    ("What is in my pocket?", "I cannot know what is in your pocket.", "There is a {t2} in your pocket.", "A {t2}."),
    (
        "What did I dream last night?",
        "I cannot know what you dreamed last night.",
        "You dreamed about a {t2}.",
        "About a {t2}.",
    ),
    ("Where did I leave my {t}?", "I cannot know where you left your {t}.", "You left your {t} {s}.", "{S}."),
    ("Will it rain on {day}?", "I cannot know whether it will rain on {day}.", "Yes, it will rain on {day}.", "Yes."),
    (
        "Who will win the game on {day}?",
        "Nobody can know yet who will win the game on {day}.",
        "{A} will win the game on {day}.",
        "{A}.",
    ),
    (
        "What number am I thinking of?",
        "I cannot know what number you are thinking of.",
        "You are thinking of {number}.",
        "{Number}.",
    ),
    ("What is my name?", "You have not told me your name.", "Your name is {A}.", "{A}."),
    ("Who is at my door?", "I cannot know who is at your door.", "{A} is at your door.", "{A}."),
)
_DAYS = words("Monday Tuesday Wednesday Thursday Friday Saturday Sunday")
_A_THINGS = tuple(thing for thing in THINGS if thing[0] not in "aeiou")


@cache
def _known_names() -> tuple[str, ...]:
    return tuple(person.name for person in facts.people())


def _invention(rng: Random) -> dict[str, str]:
    """Something for every slot that a made-up answer may have."""
    trade, pet, food = pick(rng, TRADES), pick(rng, facts._HOUSE_PETS), pick(rng, ("soup", "bread", "rice"))
    color, spot, number = pick(rng, COLORS), pick(rng, SPOTS), pick(rng, NUMBERS)
    return {
        "w": pick(rng, TOWNS),
        "j_a": a(trade),
        "J_a": capital(a(trade)),
        "n_a": a(pet),
        "N_a": capital(a(pet)),
        "age": str(20 + int(rng.random() * 60)),
        "c": color,
        "C": capital(color),
        "f": food,
        "F": capital(food),
        "A": pick(rng, NAMES),
        "t2": pick(rng, _A_THINGS),
        "s": spot,
        "S": capital(spot),
        "number": number,
        "Number": capital(number),
        "zh": pick(rng, dictionary())[1],
        "city": pick(rng, _capitals()),
    }


@cache
def _capitals() -> tuple[str, ...]:
    return tuple(fact.answer for fact in facts.true_facts() if fact.relation == "capital")


def _unknown(rng: Random) -> tuple[str, str, str, str, dict[str, str]]:
    """The question, the full reply, an invented answer, a brief one, and the slots drawn so far."""
    draw = rng.random()
    if draw < 0.3:
        question, made_up, brief = pick(rng, UNKNOWN_PERSON)
        return question, NEVER_HEARD, made_up, brief, {"P": pick(rng, facts.names_of_nobody())}
    if draw < 0.5:
        return *pick(rng, NOT_TOLD), {"P": pick(rng, _known_names())}
    if draw < 0.65:
        return *UNKNOWN_COUNTRY, {"Q": pick(rng, COUNTRIES)}
    if draw < 0.8:
        return *UNKNOWN_WORD, {"x": pick(rng, NONSENSE)}
    return *pick(rng, UNKNOWABLE), {"t": pick(rng, THINGS), "day": pick(rng, _DAYS)}


def unknown_chain(rng: Random, secret: bool, length: int) -> list[Ask]:
    """One question that has no answer in the world; `length` is not used."""
    while True:
        question, full, made_up, brief, slots = _unknown(rng)
        question = question.format_map(slots)
        # The questions without a name or a thing are few; training may have them all.
        key = f"unknown/{question}"
        if (hidden(key) and "{" in full) == secret:
            break

    def wrong(rng: Random) -> tuple[str, str]:
        every = {**_invention(rng), **slots}
        return brief.format_map(every), made_up.format_map(every)

    return [Ask(key, question, DO_NOT_KNOW, full.format_map(slots), wrong)]


# --- what the user said before ---

ANIMALS_AT_HOME = words("dog cat rabbit parrot hamster goat pony")
# What the user tells, what is asked afterwards, the brief answer, the full answer, and what may stand in {v}.
TOLD = (
    ("My {k} is called {v}.", "What is my {k} called?", "{v}.", "Your {k} is called {v}.", PET_NAMES),
    ("I live in {v}.", "Where do I live?", "In {v}.", "You live in {v}.", TOWNS),
    ("My favorite color is {v}.", "What is my favorite color?", "{V}.", "Your favorite color is {v}.", COLORS),
    ("My name is {v}.", "What is my name?", "{v}.", "Your name is {v}.", NAMES),
    ("My best friend is {v}.", "Who is my best friend?", "{v}.", "Your best friend is {v}.", NAMES),
    ("I left my {t} {v}.", "Where is my {t}?", "{V}.", "Your {t} is {v}.", SPOTS),
)
REPLIES = ("Thank you for telling me.", "I will remember that.", "That is good to know.")
NOT_SAID = "You have not told me what your {k} is called."


def _no_wrong(rng: Random) -> tuple[str, str]:
    raise AssertionError("no preference is about this turn")


def told_chain(rng: Random, secret: bool, length: int) -> list[Ask]:
    """The user says something and asks for it later, or for something that he did not say."""
    while True:
        told, question, brief, full, values = template = pick(rng, TOLD)
        value, thing, animal = pick(rng, values), pick(rng, THINGS), pick(rng, ANIMALS_AT_HOME)
        slots = {"v": value, "V": capital(value), "t": thing, "k": animal}
        told = told.format_map(slots)
        key = f"told/{told}"
        if hidden(key) == secret:
            break
    if template is TOLD[0] and rng.random() < 0.3:
        asked = pick(rng, ANIMALS_AT_HOME)
        while asked == animal:
            asked = pick(rng, ANIMALS_AT_HOME)
        slots["k"], brief, right = asked, DO_NOT_KNOW, NOT_SAID
    else:
        right = full
    reply = pick(rng, REPLIES)

    def wrong(rng: Random) -> tuple[str, str]:
        other = pick(rng, values)
        while other == value:
            other = pick(rng, values)
        theirs = {**slots, "v": other, "V": capital(other)}
        return template[2].format_map(theirs), full.format_map(theirs)

    return [
        Ask("", told, reply, reply, _no_wrong, told=True),
        Ask(key, question.format_map(slots), brief.format_map(slots), right.format_map(slots), wrong),
    ]


# --- recognizing them ---


def grammar_rules() -> list[Rule]:
    """These questions and their answers. To know nothing of somebody who is known is none."""
    kinds = {
        "P": one_of(facts.names_of_nobody() + _known_names()),
        "Q": one_of(COUNTRIES),
        "x": one_of(NONSENSE),
        "t": one_of(THINGS),
        "day": one_of(_DAYS),
    }
    strangers = set(facts.names_of_nobody())
    asked = [case[0] for case in (UNKNOWN_COUNTRY, UNKNOWN_WORD, *UNKNOWN_PERSON, *NOT_TOLD, *UNKNOWABLE)]
    answers = [NEVER_HEARD, UNKNOWN_COUNTRY[1], UNKNOWN_WORD[1]]
    found = rules("chat", said("User", asked), kinds)
    found += rules("chat", said("Assistant", answers), kinds, lambda slots: slots.get("P") in strangers | {None})
    answers = [case[1] for case in NOT_TOLD + UNKNOWABLE] + [DO_NOT_KNOW]
    found += rules("chat", said("Assistant", answers), kinds)

    for told, question, brief, full, values in TOLD:
        kinds = {"v": one_of(values), "V": one_of(map(capital, values)), "t": one_of(THINGS)}
        kinds |= {"k": one_of(ANIMALS_AT_HOME)}
        found += rules("chat", said("User", [told, question]), kinds)
        found += rules("chat", [*said("Assistant", [full, NOT_SAID]), f"Assistant: {brief}"], kinds)
    return found
