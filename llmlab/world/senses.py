"""Words with two senses, in contexts that decide the sense: apple the fruit, Apple the firm."""

from __future__ import annotations

from random import Random

from .grammar import Rule, one_of, rules
from .lexicon import NAMES
from .records import Item, distinct, held_out, pick

# word: for each of its two senses the meaning, some ways to begin, and some ways to go on; all of them
# combine.
SENSES: dict[str, tuple[tuple[str, str, str], tuple[str, str, str]]] = {
    "bank": (
        (
            "a place for money",
            "went to the bank; walked into the bank; stood in line at the bank",
            "to get some money; to open an account; to ask for a loan; to change some coins",
        ),
        (
            "the side of a river",
            "sat on the bank; rested on the bank; lay down on the bank",
            "to watch the water; to catch a fish; to see the boats pass; to cool both feet in the river",
        ),
    ),
    "bat": (
        (
            "an animal that flies",
            "saw a bat; noticed a bat; watched a bat",
            "hanging in the cave; flying in the dark; catching insects at night; sleeping in the tree all day",
        ),
        (
            "a stick for ball games",
            "took the bat; picked up the bat; swung the bat",
            "to hit the ball; to start the game; to practice with the team; to score a point",
        ),
    ),
    "crane": (
        (
            "a bird",
            "saw a crane; watched a crane; drew a crane",
            "standing in the lake on long legs; building a nest; feeding its chicks; catching a frog",
        ),
        (
            "a machine",
            "drove a crane; used a crane; worked with a crane",
            "to lift the steel; to build the tower; to load the ship; to raise the heavy stones",
        ),
    ),
    "mouse": (
        (
            "an animal",
            "saw a mouse; noticed a mouse; found a mouse",
            "eating some cheese; running from the cat; hiding in its hole; with four babies in a nest",
        ),
        (
            "a part of a computer",
            "clicked the mouse; moved the mouse; used the mouse",
            "to open the file; to play the computer game; to close the window on the screen; to start the program",
        ),
    ),
    "ring": (
        (
            "jewelry",
            "wore a ring; bought a ring; lost a ring",
            "made of gold; with a small diamond; for the left hand; on the day of the wedding",
        ),
        (
            "a sound",
            "heard a ring; waited for a ring; was woken by a ring",
            "from the phone; from the door bell; from the alarm clock; from the school bell",
        ),
    ),
    "spring": (
        (
            "a season",
            "loved the spring; enjoyed the spring; waited for the spring",
            "after the long winter; because the flowers come out; because the days grow warm; before the hot summer",
        ),
        (
            "a place where water comes up",
            "drank from the spring; filled a bottle at the spring; found a spring",
            "with cold clear water; between the rocks on the hill; where the river begins; deep in the forest",
        ),
    ),
    "bark": (
        (
            "the voice of a dog",
            "heard a bark; listened to the bark; was frightened by a bark",
            "from the hungry puppy; behind the fence; when a stranger came to the gate; from the guard dog",
        ),
        (
            "the skin of a tree",
            "touched the bark; carved a heart into the bark; looked at the bark",
            "of the old oak; of the apple tree; where the branch was cut; that was covered with moss",
        ),
    ),
    "letter": (
        (
            "a message on paper",
            "posted a letter; sent a letter; received a letter",
            "to an old friend; with a stamp on it; in a white envelope; from far away",
        ),
        (
            "a sign of the alphabet",
            "learned a letter; read a letter; practiced a letter",
            "between B and D; that begins the word; of the Greek alphabet; that makes the sound S",
        ),
    ),
    "nail": (
        (
            "a piece of metal",
            "hit the nail; bent the nail; bought a nail",
            "from the tool box; of iron; in the wooden board; for the new shelf",
        ),
        (
            "a part of a finger",
            "painted a nail; cut a nail; broke a nail",
            "on the thumb; on the left hand; on the right hand; on the little finger",
        ),
    ),
    "seal": (
        (
            "an animal",
            "fed a seal; watched a seal; saw a seal",
            "swimming in the sea; eating fish at the zoo; resting on the ice; with its pup on the beach",
        ),
        (
            "a mark on a paper",
            "broke the seal; pressed the seal; looked at the seal",
            "of the king on the document; of red wax; that closed the envelope; at the end of the contract",
        ),
    ),
    "palm": (
        (
            "a tree",
            "found a palm; planted a palm; climbed a palm",
            "full of coconuts; near the warm beach; in the sand; on the island",
        ),
        (
            "a part of the hand",
            "opened one palm; looked at one palm; held out one palm",
            "to show the coin in it; to catch a drop of rain; to count the lines on it; to feed the bird from it",
        ),
    ),
    "note": (
        (
            "a sound in music",
            "sang a note; played a note; heard a note",
            "on the piano; in the middle of the song; with the choir; on the violin",
        ),
        (
            "a short message",
            "left a note; wrote a note; found a note",
            "on the kitchen table; about the shopping; with a phone number; that said: back at noon",
        ),
    ),
    "star": (
        (
            "a light in the night sky",
            "saw a star; looked at a star; pointed at a star",
            "next to the moon; through the telescope; far away in space; when the clouds were gone",
        ),
        (
            "a famous person",
            "met a star; wrote to a star; saw a star",
            "of a new film; after the concert; who signed a photo; on the stage of the theater",
        ),
    ),
    "match": (
        (
            "a thing that makes fire",
            "lit a match; struck a match; took a match",
            "to light the candle; to start the stove; from the little box; to make a camp fire",
        ),
        (
            "a game between two teams",
            "won the match; watched the match; lost the match",
            "with the team; by three goals; at the stadium; in the last minute of play",
        ),
    ),
    "trunk": (
        (
            "the nose of an elephant",
            "saw a trunk; touched a trunk; drew a trunk",
            "spraying water at the zoo; reaching for a peanut; between two long tusks; of a baby elephant",
        ),
        (
            "a large box",
            "packed a trunk; opened a trunk; carried a trunk",
            "full of old clothes; before the voyage; with a heavy lid; in the attic",
        ),
    ),
}
# The firm is written with a capital and the fruit without, but at the start of a sentence both have one.
APPLE = (
    (
        "a fruit",
        "Apple pie; Apple cake; Apple juice; Apple jam; Apple salad",
        "is sweet; tastes good; smells fresh; is on the table; needs some sugar",
    ),
    (
        "a firm",
        "Apple sells; Apple makes; Apple showed; Apple tested; Apple built",
        "new phones; fast computers; a thin laptop; a popular watch; a better screen",
    ),
)
TIMES = ("", "On Monday, ", "Yesterday, ", "After school, ", "One day, ", "In the morning, ", "Last week, ")

MEANING = 'Here "{word}" means| {meaning}.'
QUESTION = 'Question: What does "{word}" mean here?\nAnswer:| {meaning}.'


def _split(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(";"))


_TABLE = {
    word: tuple((meaning, _split(begin), _split(end)) for meaning, begin, end in senses)
    for word, senses in SENSES.items()
}
_TABLE["Apple"] = tuple((meaning, _split(begin), _split(end)) for meaning, begin, end in APPLE)
_WORDS = tuple(_TABLE)


def _draw(rng: Random, split: str) -> tuple[str, str, int]:
    """A sentence, its word, and which of the two senses the word has there."""
    while True:
        word = pick(rng, _WORDS)
        sense = int(rng.random() * 2)
        _, begin, end = _TABLE[word][sense]
        content = f"{pick(rng, begin)} {pick(rng, end)}"
        if held_out(f"sense:{content}") != (split == "held_out"):
            continue
        if word != "Apple":
            return f"{pick(rng, TIMES)}{pick(rng, NAMES)} {content}.", word, sense
        return (
            (f"{content}." if rng.random() < 0.5 else f'{pick(rng, NAMES)} said, "{content}."'),
            word,
            sense,
        )


def _meanings(word: str) -> tuple[str, str]:
    first, second = _TABLE[word]
    return first[0], second[0]


def document(rng: Random, split: str) -> str:
    """Sentences with a two-sense word, most of them followed by what it means there."""
    parts = []
    for _ in range(3 + int(rng.random() * 4)):
        draw = rng.random()
        sentence, word, sense = _draw(rng, split)
        template = f" {MEANING}" if draw < 0.5 else f"\n{QUESTION}" if draw < 0.85 else ""
        parts.append(sentence + template.replace("|", "").format(word=word, meaning=_meanings(word)[sense]))
    return "\n".join(parts)


def items(rng: Random, n: int) -> list[Item]:
    """What does the word mean in a context that training never shows?"""

    def draw() -> Item:
        sentence, word, sense = _draw(rng, "held_out")
        meanings = _meanings(word)
        template = f"{sentence} {MEANING}" if rng.random() < 0.5 else f"{sentence}\n{QUESTION}"
        prompt, answer = template.format(word=word, meaning=meanings[sense]).split("|")
        return Item("senses", prompt, answer, choices=tuple(f" {meaning}." for meaning in meanings))

    return distinct(draw, n)


def grammar_rules() -> list[Rule]:
    """The sentences of this skill."""
    times = one_of(time for time in TIMES if time) + "|"
    contents = {
        word: [f"{b} {e}" for _, begin, end in senses for b in begin for e in end] for word, senses in _TABLE.items()
    }
    apple = contents.pop("Apple")
    kinds = {
        "time": times,
        "A": one_of(NAMES),
        "content": one_of(c for some in contents.values() for c in some),
        "word": one_of(_WORDS),
        "meaning": one_of(m for word in _WORDS for m in _meanings(word)),
        "apple": one_of(apple),
    }

    def known(slots):
        return "word" not in slots or "meaning" not in slots or slots["meaning"] in _meanings(slots["word"])

    return rules(
        "senses",
        ("{time}{A} {content}.", "{apple}.", '{A} said, "{apple}."', MEANING, QUESTION),
        kinds,
        known,
    )
