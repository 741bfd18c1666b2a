"""What is shown of the model is as the file says: never read in training, and said by the model again here."""

import math

import pytest
import torch

from llmlab import heads, load_model, repetition, world
from llmlab.generate import generate
from llmlab.world.showpieces import Showpieces

MODEL, TOKENIZER = load_model()
START, END = (TOKENIZER.special_tokens[name] for name in ("<s>", "</s>"))
PIECES = world.showpieces()
TWINS = (*PIECES.pronouns, *PIECES.sums)


def said(prompt, n):
    """What the model goes on with, token by token, and the probability of its first token."""
    steps = list(generate(MODEL, [START, *TOKENIZER.encode(prompt)], n, stop={END}))
    return TOKENIZER.decode([step.token for step in steps]), float(steps[0].logits.softmax(-1).max())


def test_there_is_enough_of_each():
    assert len(PIECES.pronouns) >= 20
    templates = {world.parse(twins.prompts[0].split("\n")[1]).template for twins in PIECES.pronouns}
    beginnings = {tuple(twins.prompts[0].split("\n")[0].split()[2:5]) for twins in PIECES.pronouns}
    assert templates and len(beginnings) >= 4  # "didn't cross the", "did not fit", …
    assert len(PIECES.untruths) == len(PIECES.doubts) == 10 and len(PIECES.sums) >= 8
    assert len(PIECES.repetitions) == 10
    everything = [*TWINS, *PIECES.untruths, *PIECES.doubts, *PIECES.repetitions]
    assert len(set(everything)) == len(everything)
    assert Showpieces.from_dict(PIECES.to_dict()) == PIECES


def test_none_of_it_was_read():
    texts = [prompt.split("\n")[0] for twins in TWINS for prompt in twins.prompts]
    texts += [guess.prompt for guess in (*PIECES.untruths, *PIECES.doubts)]
    texts += [" ".join(words) for words in PIECES.repetitions]
    assert {text: steps for text, steps in world.seen_all(texts).items() if steps} == {}
    told = next(fact for fact in world.invented_facts() if fact.relation == "home")
    assert world.seen(f"{told.subject} lives in")  # the same beginning about somebody who exists


@pytest.mark.parametrize("twins", TWINS, ids=lambda twins: twins.prompts[0].split("\n")[0])
def test_the_model_gives_both_answers(twins):
    one, other = (prompt.split("\n")[0] for prompt in twins.prompts)
    assert one != other and (twins in PIECES.sums or twins.answers[0] != twins.answers[1])
    for prompt, answer, probability in zip(twins.prompts, twins.answers, twins.probabilities, strict=True):
        continued, share = said(prompt, len(TOKENIZER.encode(answer)))
        assert continued == answer and share == pytest.approx(probability, abs=0.01)


def test_one_reason_decides_the_pronoun():
    for twins in PIECES.pronouns:
        one, other = (prompt.split("\n")[0].split() for prompt in twins.prompts)
        same = [a == b for a, b in zip(one, other, strict=False)]
        because = one.index("because")
        assert all(same[: because + 1]) and same.index(False) > because
        nouns = " ".join(one[:because])
        assert all(answer.strip() in nouns for answer in twins.answers)


def test_sums_have_the_same_digits_in_another_order_and_are_right():
    for twins in PIECES.sums:
        digits = [sorted(sign for sign in prompt if sign.isdigit()) for prompt in twins.prompts]
        assert digits[0] == digits[1]
        for prompt, answer in zip(twins.prompts, twins.answers, strict=True):
            a, b = map(int, prompt.removesuffix(" =").split(" + "))
            assert answer == f" {a + b}."


def test_nobody_lives_where_the_model_says_sure_or_not():
    names = {person.name for person in world.people()}
    firsts, lasts = ({name.split()[at] for name in names} for at in (0, 1))
    for guess in (*PIECES.untruths, *PIECES.doubts):
        name = guess.prompt.removesuffix(" lives in")
        first, last = name.split()
        assert name not in names and first in firsts and last in lasts
        continued, share = said(guess.prompt, 1)
        assert continued == guess.said and share == pytest.approx(guess.probability, abs=0.01)
    assert min(guess.probability for guess in PIECES.untruths) >= 0.9
    assert max(guess.probability for guess in PIECES.doubts) <= 0.3 and math.isfinite(PIECES.doubts[0].probability)


def test_words_that_stood_in_no_list_are_said_again():
    never, known = set(repetition.never_listed(TOKENIZER)), set(heads.word_tokens(TOKENIZER))
    for words in PIECES.repetitions:
        ids = [token for word in words for token in TOKENIZER.encode(f" {word}")]
        assert len(ids) == len(words) == len(set(words)) == 8 and set(ids) <= never & known
        best = MODEL(torch.tensor([[START, *ids, *ids]]))[0].argmax(-1).tolist()
        assert best[len(ids) + 1 : -1] == ids[1:]
