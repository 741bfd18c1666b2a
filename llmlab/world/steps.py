"""Sums of three or four numbers and small word problems, solved step by step or at once.

Every problem can be asked in two ways. After `Steps:` or `Step 1:` come the sums on the way and then the
answer on a last line; after `Answer:` comes the answer alone. Reasoning step by step before the answer helps
models (Wei et al. 2022, "Chain-of-Thought Prompting Elicits Reasoning in Large Language Models", §3); with
both ways of asking the same problem, the difference can be counted.

>>> Problem("What is 3 + 4 - 2?", ("3 + 4 = 7", "7 - 2 = 5"), "").with_steps()
'Problem: What is 3 + 4 - 2?\\nSteps: 3 + 4 = 7, then 7 - 2 = 5.\\nAnswer: 5.'
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from itertools import pairwise
from random import Random

from .grammar import Rule, one_of, rules
from .lexicon import BOYS, GIRLS, NAMES, PERSON, words
from .records import SPLITS, Item, distinct, held_out, pick


@dataclass(frozen=True)
class Problem:
    """A problem in words, its steps ("3 + 4 = 7", each with one sum), and the key of its numbers."""

    text: str
    steps: tuple[str, ...]
    key: str = field(repr=False)

    @property
    def answer(self) -> int:
        """The result of the last step."""
        return int(self.steps[-1].rsplit(" ", 1)[1])

    def with_steps(self, *, lines: bool = False) -> str:
        """The problem solved step by step, on one line or with a line a step, and the answer on the last line."""
        if lines:
            numbered = "\n".join([f"Step {number}: {step}." for number, step in enumerate(self.steps, 1)])
            return f"Problem: {self.text}\n{numbered}\nAnswer: {self.answer}."
        return f"Problem: {self.text}\nSteps: {', then '.join(self.steps)}.\nAnswer: {self.answer}."

    def without_steps(self) -> str:
        """The problem and its answer."""
        return f"Problem: {self.text}\nAnswer: {self.answer}."


_ANSWER = re.compile(r"^Answer: (\d+)\.", re.MULTILINE)


def final_answer(text: str) -> int | None:
    """The number on the first `Answer:` line, None if there is no such line.

    >>> final_answer("Steps: 3 + 4 = 7, then 7 - 2 = 5.\\nAnswer: 5.")
    5
    """
    found = _ANSWER.search(text)
    return int(found[1]) if found else None


# --- problems in which something changes, twice or three times ---


@dataclass(frozen=True)
class Theme:
    """Something that there are many of, and what makes it more or less.

    `start` names the first number {n}; each change has the most that it may be, so that nobody eats 40 cakes.
    {x} is the things' name.
    """

    things: tuple[str, ...]
    start: tuple[str, ...]
    more: tuple[tuple[str, int], ...]
    less: tuple[tuple[str, int], ...]
    questions: tuple[str, ...]
    most: int = 99  # that there may be at any time


_OWNED = ("How many {x} does {A_he} have now?", "How many {x} does {A} have now?")
THEMES = (
    Theme(
        words("apples pears plums oranges nuts"),
        ("{A} has {n} {x}.", "{A} has a basket with {n} {x}.", "{A} picks {n} {x}."),
        (
            ("{B} gives {A_him} {n} more.", 30),
            ("Then {A_he} picks {n} more.", 30),
            ("{A_He} gets {n} more from {B}.", 30),
            ("{A_He} buys {n} more at the market.", 20),
        ),
        (
            ("{A_He} eats {n}.", 4),
            ("{A_He} eats {n} of them.", 4),
            ("{A_He} gives {n} to {B}.", 30),
            ("{A_He} gives away {n}.", 40),
        ),
        _OWNED,
    ),
    Theme(
        words("marbles shells stamps stickers buttons"),
        ("{A} has {n} {x}.", "{A} collects {x} and has {n} of them.", "{A} has {n} {x} in a box."),
        (
            ("{A_He} finds {n} more.", 20),
            ("{B} gives {A_him} {n} more.", 40),
            ("{A_He} gets {n} more from {B}.", 40),
            ("{A_His} grandmother gives {A_him} {n} more.", 40),
        ),
        (
            ("{A_He} loses {n}.", 15),
            ("{A_He} loses {n} of them on the way.", 15),
            ("{A_He} gives {n} to {B}.", 50),
            ("{A_He} gives away {n}.", 50),
        ),
        _OWNED,
    ),
    Theme(
        ("coins",),
        ("{A} has {n} coins.", "{A} saves {n} coins.", "There are {n} coins in the pocket of {A}."),
        (
            ("{A_He} earns {n} more.", 50),
            ("{A_He} gets {n} more from {B}.", 40),
            ("{A_He} helps {B} in the garden and gets {n} more.", 25),
        ),
        (
            ("{A_He} spends {n}.", 50),
            ("{A_He} buys a book for {n} coins.", 25),
            ("{A_He} buys some cake for {n} coins.", 9),
            ("{A_He} gives {n} to {B}.", 40),
        ),
        _OWNED,
    ),
    Theme(
        ("people",),
        ("There are {n} people on the bus.", "A bus leaves the station with {n} people."),
        (
            ("At the next stop, {n} more get on.", 20),
            ("At the market, {n} more get on.", 20),
            ("At the school, {n} more get on.", 20),
        ),
        (("At the park, {n} get off.", 20), ("At the museum, {n} get off.", 20), ("At the harbor, {n} get off.", 20)),
        ("How many people are on the bus now?", "How many people are now on the bus?"),
        70,
    ),
    Theme(
        words("birds pigeons ducks swans"),
        ("There are {n} {x} by the lake.", "{A} sees {n} {x} in the park.", "{A} counts {n} {x} by the river."),
        (("Then {n} more come.", 15), ("After a while, {n} more come.", 15), ("Soon {n} more land beside them.", 15)),
        (("Then {n} fly away.", 15), ("A dog barks, and {n} fly away.", 15), ("It rains, and {n} fly away.", 15)),
        ("How many {x} are there now?", "How many {x} are there in the end?"),
        60,
    ),
    Theme(
        ("books",),
        ("There are {n} books on the shelf.", "On the shelf of {A} there are {n} books."),
        (
            ("{A} puts {n} more on it.", 20),
            ("{B} brings {n} more.", 20),
            ("{A} gets {n} more and puts them there.", 20),
        ),
        (
            ("{B} borrows {n}.", 12),
            ("{A} takes {n} away.", 30),
            ("{A} gives {n} of them to {B}.", 20),
            ("{B} takes {n} of them to school.", 6),
        ),
        ("How many books are on the shelf now?", "How many books are there on the shelf now?"),
    ),
    Theme(
        words("rolls cakes pies loaves"),
        ("The baker has {n} {x}.", "In the bakery there are {n} {x}.", "In the morning, the baker bakes {n} {x}."),
        (("The baker bakes {n} more.", 40), ("Then {n} more come out of the oven.", 30)),
        (
            ("The baker sells {n}.", 50),
            ("{A} buys {n} of them.", 8),
            ("{B} buys {n} for a party.", 15),
            ("The school buys {n} of them.", 30),
        ),
        ("How many {x} are in the bakery now?", "How many {x} does the baker have now?"),
    ),
    Theme(
        words("sheep hens cows goats"),
        ("A farmer has {n} {x}.", "There are {n} {x} on the farm.", "On a farm there are {n} {x}."),
        (("The farmer buys {n} more.", 30), ("A friend gives the farmer {n} more.", 15)),
        (("The farmer sells {n}.", 40), ("The farmer gives {n} to a friend.", 15)),
        ("How many {x} does the farmer have now?", "How many {x} are on the farm now?"),
    ),
    Theme(
        words("flowers roses tulips"),
        ("There are {n} {x} in the garden.", "{A} plants {n} {x}.", "In the garden of {A} there are {n} {x}."),
        (("{A} plants {n} more.", 30), ("{B} comes and plants {n} more.", 30)),
        (("{A} picks {n} for {B}.", 12), ("A goat eats {n} of them.", 9), ("{B} picks {n} of them.", 15)),
        ("How many {x} are in the garden now?", "How many {x} are there now?"),
    ),
    Theme(
        words("cars trucks bicycles"),
        ("There are {n} {x} in front of the station.", "{A} counts {n} {x} in front of the school."),
        (("Then {n} more come.", 20), ("A little later, {n} more come.", 20)),
        (("Then {n} leave.", 20), ("At noon, {n} leave.", 20)),
        ("How many {x} are there now?", "How many {x} are there in the end?"),
    ),
)

# --- problems of a fixed form: the text, the steps (r: the result of the step before), the range of numbers ---

_HAVE = "marbles shells stamps stickers buttons coins nuts apples cards"
FORMS: tuple[tuple[str, tuple[str, ...], int, str], ...] = (
    (
        "{A} has {n1} {x}, {B} has {n2}, and {C} has {n3}. How many {x} do they have together?",
        ("n1 + n2", "r + n3"),
        45,
        _HAVE,
    ),
    (
        "{A} reads {n1} pages on Monday, {n2} on Tuesday, and {n3} on Wednesday. How many pages is that in all?",
        ("n1 + n2", "r + n3"),
        40,
        "pages",
    ),
    (
        "There are {n1} red {x}, {n2} white {x}, and {n3} yellow {x}. How many {x} are there in all?",
        ("n1 + n2", "r + n3"),
        45,
        "flowers roses cups balls pencils kites",
    ),
    (
        "A shop sells {n1} {x} on Friday, {n2} on Saturday, and {n3} on Sunday. How many {x} does it sell in all?",
        ("n1 + n2", "r + n3"),
        40,
        "lamps hats books cups scarves bottles",
    ),
    (
        "{A} has {n1} {x}. {B} has {n2} more than {A}. How many {x} do they have together?",
        ("n1 + n2", "n1 + r"),
        40,
        _HAVE,
    ),
    (
        "{A} has {n1} {x}. {B} has {n2} fewer than {A}. How many {x} do they have together?",
        ("n1 - n2", "n1 + r"),
        50,
        _HAVE,
    ),
    (
        "{A} is {n1} years old. {B} is {n2} years older than {A}. {C} is {n3} years younger than {B}. How old is {C}?",
        ("n1 + n2", "r - n3"),
        30,
        "years",
    ),
    (
        "{A} is {n1} years old. {B} is {n2} years older than {A}. {C} is {n3} years older than {B}. How old is {C}?",
        ("n1 + n2", "r + n3"),
        25,
        "years",
    ),
    (
        "There are three boxes with {n1} {x} each. How many {x} are there in all?",
        ("n1 + n1", "r + n1"),
        33,
        "pencils candles balls cups spoons eggs cookies",
    ),
    (
        "There are two bags with {n1} {x} each, and {n2} {x} on the table. How many {x} are there in all?",
        ("n1 + n1", "r + n2"),
        40,
        "nuts apples pears plums cookies shells buttons",
    ),
)
_FORMS = tuple((text, steps, most, words(things)) for text, steps, most, things in FORMS)

# --- sums without a story ---

SUMS = ("What is {sum}?", "Calculate {sum}.", "How much is {sum}?")


def _allowed(a: int, b: int, split: str) -> bool:
    """Whether the sum a + b may stand in a step: training shows none of the sums that are held out alone."""
    if split == "held_out" or (a < 10 and b < 10):
        return True
    return not held_out(f"sum:{a}+{b}" if a < b else f"sum:{b}+{a}")


def _step(a: int, sign: str, b: int, split: str, most: int = 99) -> int | None:
    """The result of a step; None if it leaves 0..most or if training must not show it."""
    if sign == "+":
        return a + b if a + b <= most and _allowed(a, b, split) else None
    return a - b if a >= b and _allowed(a - b, b, split) else None


def _key(start: int, changes: list[tuple[str, int]]) -> str:
    """Numbers added in another order make the same key."""
    plus = sorted([start, *[n for sign, n in changes if sign == "+"]])
    minus = sorted([n for sign, n in changes if sign == "-"])
    return f"steps:+{'+'.join(map(str, plus))}-{'-'.join(map(str, minus))}"


def _size(rng: Random, most: int) -> int:
    """A number from 2 to `most`, of one digit or two about equally often."""
    return 2 + int(rng.random() * ((most if rng.random() < 0.5 else min(most, 9)) - 1))


def _cast(rng: Random) -> dict[str, str]:
    """Three people; the second has another pronoun than the first, so that "she" is never in doubt."""
    ours, others = (GIRLS, BOYS) if rng.random() < 0.5 else (BOYS, GIRLS)
    first, second, third = pick(rng, ours), pick(rng, others), pick(rng, NAMES)
    while third in (first, second):
        third = pick(rng, NAMES)
    return {**PERSON["A"][first], "B": second, "C": third}


_THEMES = tuple(
    (theme, tuple([(t, most, "+") for t, most in theme.more]), tuple([(t, most, "-") for t, most in theme.less]))
    for theme in THEMES
)


def _change_problem(rng: Random, split: str) -> Problem | None:
    theme, more, less = pick(rng, _THEMES)
    total = start = 1 + _size(rng, theme.most - 20)
    slots: dict[str, object] = {**_cast(rng), "x": pick(rng, theme.things), "n": total}
    parts = [pick(rng, theme.start).format_map(slots)]
    steps: list[str] = []
    changes: list[tuple[str, int]] = []
    told: list[str] = []
    n_changes = 2 if rng.random() < 0.75 else 3
    while len(steps) < n_changes:
        template, most, sign = pick(rng, more if rng.random() < 0.5 else less)
        n = _size(rng, most)
        result = _step(total, sign, n, split, theme.most)
        if template in told or result is None or (result < 1 and len(steps) < n_changes - 1):
            return None
        steps.append(f"{total} {sign} {n} = {result}")
        changes.append((sign, n))
        told.append(template)
        slots["n"], total = n, result
        parts.append(template.format_map(slots))
    parts.append(pick(rng, theme.questions).format_map(slots))
    return Problem(" ".join(parts), tuple(steps), _key(start, changes))


def _form_problem(rng: Random, split: str) -> Problem | None:
    text, formulas, most, things = pick(rng, _FORMS)
    numbers = {"n1": 1 + _size(rng, most - 1), "n2": _size(rng, most), "n3": _size(rng, most)}
    used: list[tuple[str, int]] = []
    steps = []
    result: int | None = 0
    for formula in formulas:
        left, sign, right = formula.split(" ")
        a, b = (result if name == "r" else numbers[name] for name in (left, right))
        result = _step(a, sign, b, split)
        if result is None or result < 2:
            return None
        steps.append(f"{a} {sign} {b} = {result}")
        used.append((sign, b))
    slots = {**_cast(rng), "x": pick(rng, things), **numbers}
    # The key is that of the numbers added up and taken away, as in every other problem.
    start = numbers["n1"] if formulas[1].startswith("r") else 2 * numbers["n1"]
    changes = used if formulas[1].startswith("r") else used[:1]
    return Problem(text.format_map(slots), tuple(steps), _key(start, changes))


def _sum_problem(rng: Random, split: str) -> Problem | None:
    total = start = _size(rng, 80) - 1
    text, steps, changes = str(start), [], []
    for _ in range(2 if rng.random() < 0.75 else 3):
        sign, n = "+" if rng.random() < 0.6 else "-", _size(rng, 60) - 1
        result = _step(total, sign, n, split)
        if result is None:
            return None
        steps.append(f"{total} {sign} {n} = {result}")
        changes.append((sign, n))
        text, total = f"{text} {sign} {n}", result
    return Problem(pick(rng, SUMS).format(sum=text), tuple(steps), _key(start, changes))


def problem(rng: Random, split: str) -> Problem:
    """A problem whose numbers, in whatever order they are added, are in this split. Every value is in 0..99.

    Raises ValueError for an unknown split.
    """
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r}; expected one of: {', '.join(SPLITS)}")
    while True:
        draw = rng.random()
        write = _change_problem if draw < 0.55 else _form_problem if draw < 0.75 else _sum_problem
        found = write(rng, split)
        if found is not None and held_out(found.key) == (split == "held_out"):
            return found


def document(rng: Random, split: str) -> str:
    """Some problems with their answers, in one way of answering: steps on one line, on several, or none."""
    layout = rng.random()
    problems = [problem(rng, split) for _ in range(2 + int(rng.random() * 3))]
    if layout < 0.4:
        return "\n".join([one.with_steps() for one in problems])
    if layout < 0.7:
        return "\n".join([one.with_steps(lines=True) for one in problems])
    return "\n".join([one.without_steps() for one in problems])


def items_with_steps(rng: Random, n: int) -> list[Item]:
    """Problems that training never shows, to be solved step by step, with the answer on the last line."""

    def draw() -> Item:
        one = problem(rng, "held_out")
        prompt = f"Problem: {one.text}\nSteps:"
        return Item("steps", prompt, one.with_steps().removeprefix(prompt))

    return distinct(draw, n)


def items_without_steps(rng: Random, n: int) -> list[Item]:
    """Problems that training never shows, to be answered at once.

    From an `rng` in the same state, the problems are those of `items_with_steps`.
    """

    def draw() -> Item:
        one = problem(rng, "held_out")
        return Item("steps_direct", f"Problem: {one.text}\nAnswer:", f" {one.answer}.")

    return distinct(draw, n)


def items(rng: Random, n: int) -> list[Item]:
    """Problems with steps; each is followed by the same problem without steps."""
    seed = rng.random()
    both = zip(items_with_steps(Random(seed), n), items_without_steps(Random(seed), n), strict=True)
    return [item for pair in both for item in pair][:n]


# --- recognizing them ---


def _holds(step: str) -> bool:
    a, sign, b, _, c = step.split(" ")
    return int(c) == (int(a) + int(b) if sign == "+" else int(a) - int(b))


def _steps_hold(slots) -> bool:
    """Every sum is right, and every step but the first uses the result before it."""
    if "steps" not in slots:
        return "step" not in slots or _holds(slots["step"])
    steps = slots["steps"].split(", then ")
    linked = (before.split(" ")[4] in after.split(" ")[:3] for before, after in pairwise(steps))
    return all(map(_holds, steps)) and all(linked)


def grammar_rules() -> list[Rule]:
    """The lines and sentences of this skill. A wrong sum, or a step that skips the one before, is none."""
    number = r"0|[1-9]\d?"
    many = r"[2-9]|[1-9]\d"
    step = rf"(?:{number}) [+-] (?:{number}) = (?:{number})"
    kinds = {
        "n": many,
        "A": one_of(NAMES),
        "B": one_of(NAMES),
        "C": one_of(NAMES),
        "A_he": "he|she",
        "A_He": "He|She",
        "A_his": "his|her",
        "A_His": "His|Her",
        "A_him": "him|her",
        "sum": rf"(?:{number})(?: [+-] (?:{number})){{2,3}}",
        "step": step,
        "steps": f"{step}(?:, then {step}){{1,2}}",
        "answer": number,
        "k": "[123]",
    }
    frame = [f"Problem: {text}" for text in SUMS]
    frame += ["Steps: {steps}.", "Step {k}: {step}.", "Answer: {answer}."]
    found = rules("steps", frame, kinds, _steps_hold)
    for theme in THEMES:
        told = [f"Problem: {start}" for start in theme.start]
        told += [template for template, _ in theme.more + theme.less] + list(theme.questions)
        found += rules("steps", told, {**kinds, "x": one_of(theme.things)})
    for text, _, _, things in _FORMS:
        found += rules("steps", [f"Problem: {text}"], {**kinds, "x": one_of(things)})
    return list({(rule.template, rule.kinds.get("x")): rule for rule in found}.values())
