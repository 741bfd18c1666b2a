"""Problems in steps: every sum is right, the answer follows from the words, and nothing held out is told."""

import re
from random import Random

import pytest

from llmlab import world
from llmlab.world import records, steps, stories, sums
from llmlab.world.grammar import Grammar

MORE = r"gives? (?:him|her|the farmer) {n} more|picks {n} more|gets {n} more|buys {n} more|finds {n} more"
MORE += r"|earns {n} more|{n} more (?:get on|come|land|come out)|puts {n} more|brings {n} more|bakes {n} more"
MORE += r"|plants {n} more"
LESS = (
    r"eats {n}\b|gives {n} (?:of them )?to|gives away {n}|loses {n}|spends {n}|for {n} coins|{n} (?:get off|fly|leave)"
)
LESS += r"|borrows {n}|takes {n} |sells {n}\.|buys {n} (?:of|for)|picks {n} (?:of|for)"
MORE, LESS = (text.replace("{n}", r"(\d+)") for text in (MORE, LESS))


def solved(text):
    """The answer to a problem, read from its words by rules that know nothing of the templates' tables."""
    asked = re.fullmatch(r"(?:What is|Calculate|How much is) ([\d +-]+)[.?]", text)
    if asked:
        return sum(int(n) for n in re.findall(r"[+-]?\d+", asked[1].replace(" ", "")))
    numbers = [int(n) for n in re.findall(r"\d+", text)]
    if "years old" in text:
        signs = [1, *(1 if word == "older" else -1 for word in re.findall(r"older|younger", text))]
        return sum(sign * n for sign, n in zip(signs, numbers, strict=True))
    if "fewer than" in text:
        return 2 * numbers[0] - numbers[1]
    if "more than" in text:
        return 2 * numbers[0] + numbers[1]
    if "three boxes" in text:
        return 3 * numbers[0]
    if "two bags" in text:
        return 2 * numbers[0] + numbers[1]
    if " in all?" in text or "together?" in text:
        return sum(numbers)
    first, *changes = re.split(r"(?<=\.) ", text)[:-1]
    total = int(re.search(r"\d+", first)[0])
    for change in changes:
        more, less = re.search(MORE, change), re.search(LESS, change)
        assert bool(more) != bool(less), change
        total += int(re.search(r"\d+", change)[0]) * (1 if more else -1)
    return total


@pytest.fixture(scope="module")
def problems():
    rng = Random("problems")
    return {split: [steps.problem(rng, split) for _ in range(3000)] for split in records.SPLITS}


@pytest.fixture(scope="module")
def grammar():
    return Grammar(steps.grammar_rules())


@pytest.fixture(scope="module")
def documents():
    rng = Random("documents")
    return [steps.document(rng, split) for split in records.SPLITS for _ in range(500)]


def test_a_document_depends_on_the_seed_only():
    assert [steps.document(Random(i), "train") for i in range(50)] == [
        steps.document(Random(i), "train") for i in range(50)
    ]
    assert len({steps.document(Random(i), "train") for i in range(200)}) == 200


def test_the_answer_follows_from_the_words(problems):
    for split in records.SPLITS:
        for one in problems[split]:
            assert one.answer == solved(one.text), one


def test_every_step_is_right_uses_the_one_before_and_stays_within_0_and_99(problems):
    for one in problems["train"] + problems["held_out"]:
        before = None
        for step in one.steps:
            a, sign, b, result = re.fullmatch(r"(\d+) ([+-]) (\d+) = (\d+)", step).groups()
            assert int(result) == (int(a) + int(b) if sign == "+" else int(a) - int(b))
            assert before is None or before in (a, b)
            before = result
        assert all(0 <= int(n) <= 99 for n in re.findall(r"\d+", one.text + " ".join(one.steps)))
        assert 2 <= len(one.steps) <= 3 and one.answer == int(before)


def test_the_splits_share_no_numbers_in_any_order(problems):
    def content(one):
        numbers = re.findall(r"\d+", one.text)
        if "fewer than" in one.text or "more than" in one.text:
            twice = str(2 * int(numbers[0]))  # it is added up once for each of the two
            return tuple(sorted([("+", twice), ("-" if "fewer" in one.text else "+", numbers[1])]))
        signed = [("+", one.steps[0].split()[0])] + [(step.split()[1], step.split()[2]) for step in one.steps]
        return tuple(sorted(signed))

    train = {content(one) for one in problems["train"]}
    assert not train & {content(one) for one in problems["held_out"]} and len(train) > 2000


def test_training_never_shows_a_sum_that_is_held_out_alone(problems):
    shown = {
        frozenset((int(a), int(b)) if sign == "+" else (int(c), int(b)))
        for one in problems["train"]
        for a, sign, b, c in re.findall(r"(\d+) ([+-]) (\d+) = (\d+)", " ".join(one.steps))
    }
    for item in sums.two_digit_items(Random(0), 2000):
        assert frozenset(map(int, re.findall(r"\d+", item.prompt))) not in shown


def test_a_person_called_he_or_she_is_the_only_one_who_can_be_meant(problems):
    girls = set(stories.PERSON["A"]) - {n for n, forms in stories.PERSON["A"].items() if forms["A_he"] == "he"}
    pronoun = 0
    for one in problems["train"]:
        found = re.search(r"\b(she|he|her|him|his)\b", one.text, re.IGNORECASE)
        if found and "years old" not in one.text:
            meant = found[0].lower() in ("she", "her")
            named = set(re.findall(r"\b[A-Z][a-z]+\b", one.text)) & set(stories.PERSON["A"])
            assert sum((name in girls) == meant for name in named) == 1, one.text
            pronoun += 1
    assert pronoun > 200


def test_items_with_and_without_steps_ask_the_same_problems():
    slow = steps.items_with_steps(Random(4), 100)
    fast = steps.items_without_steps(Random(4), 100)
    assert len({item.prompt for item in slow}) == len(slow) == len(fast) == 100
    for one, other in zip(slow, fast, strict=True):
        assert one.prompt.removesuffix("\nSteps:") == other.prompt.removesuffix("\nAnswer:")
        assert steps.final_answer(one.prompt + one.answer) == steps.final_answer(other.prompt + other.answer)
        assert other.answer == f" {solved(other.prompt.removeprefix('Problem: ').removesuffix(chr(10) + 'Answer:'))}."
        assert one.answer.endswith(f"\nAnswer:{other.answer}")
    both = steps.items(Random(4), 20)
    assert [item.skill for item in both] == ["steps", "steps_direct"] * 10
    assert len(steps.items(Random(4), 7)) == 7


def test_the_final_answer_is_read_from_its_line_only():
    assert steps.final_answer("Steps: 3 + 4 = 7, then 7 - 2 = 5.\nAnswer: 5.\nProblem: …\nAnswer: 9.") == 5
    assert steps.final_answer("The answer is 5.") is None
    assert steps.final_answer("Answer: five.") is None


def test_the_grammar_says_every_line(documents, grammar):
    for text in documents:
        for sentence in world.split_sentences(text):
            assert grammar.parse(sentence), sentence


def test_the_world_refuses_wrong_steps(documents):
    wrong = 0
    for text in documents[:300]:
        for line in re.findall(r"^Step.*", text, re.MULTILINE):
            assert world.is_world_sentence(line)
            off = re.sub(r"= (\d+)\.$", lambda m: f"= {(int(m[1]) + 1) % 100}.", line)
            assert not world.is_world_sentence(off), off
            wrong += 1
    assert wrong > 300
    for sentence in (
        "Steps: 3 + 4 = 7, then 8 - 2 = 6.",
        "Step 1: 60 + 50 = 110.",
        "Problem: Mia has 100 apples.",
        "Problem: Mia has 3 apple.",
        "Mia eats apples 3.",
        "Problem: Mia has 3 apples, Mia has 4, and Tom has 5.",
    ):
        assert not world.is_world_sentence(sentence)


@pytest.mark.parametrize("call", [steps.document, steps.problem])
def test_a_bad_split_is_named(call):
    with pytest.raises(ValueError, match=r"'test'.*train, held_out"):
        call(Random(0), "test")
