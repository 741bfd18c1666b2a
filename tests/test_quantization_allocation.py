"""Bits for each matrix under a budget, against all plans there are; margins against sorted logits."""

from fractions import Fraction
from itertools import product

import pytest
import torch

from llmlab import world
from llmlab.quantization import allocate_bits, harm_at, quantize


def total(bits, harm):
    return sum(Fraction(harm[name]) * Fraction(3, 2 ** (b - 1) - 1) ** 2 for name, b in bits.items())


@pytest.mark.parametrize("seed", range(8))
def test_with_equal_sizes_no_plan_within_the_budget_has_less_harm(seed):
    draw = torch.Generator().manual_seed(seed)
    harm = {name: float(10 ** (4 * torch.rand((), generator=draw))) for name in "abcd"}
    sizes = dict.fromkeys(harm, 10)
    budget = 40 * int(torch.randint(2, 7, (), generator=draw)) + 20
    plan = allocate_bits(harm, sizes, budget)
    assert sum(10 * b for b in plan.values()) <= budget
    others = (dict(zip(harm, bits, strict=True)) for bits in product(range(2, 9), repeat=4) if 10 * sum(bits) <= budget)
    assert total(plan, harm) == min(total(other, harm) for other in others)


def test_with_unequal_sizes_the_plan_keeps_to_the_budget_and_leaves_no_room():
    harm, sizes = {"a": 5.0, "b": 1.0, "c": 90.0}, {"a": 7, "b": 30, "c": 3}
    for budget in range(80, 321, 7):
        plan = allocate_bits(harm, sizes, budget)
        left = budget - sum(sizes[name] * b for name, b in plan.items())
        assert left >= 0 and all(plan[name] == 8 or sizes[name] > left for name in plan)
    assert set(allocate_bits(harm, sizes, 10**6).values()) == {8}


def test_what_harms_nothing_keeps_the_fewest_bits_while_others_gain():
    assert allocate_bits({"a": 0.0, "b": 1.0}, {"a": 1, "b": 1}, 8, lowest=3) == {"a": 3, "b": 5}


def test_the_harm_goes_with_the_mean_square_of_the_errors_of_a_matrix():
    w = torch.empty(64, 256, dtype=torch.float64).uniform_(-1, 1, generator=torch.Generator().manual_seed(0))
    w[:, 0] = 1  # the range of every row
    found = {b: (quantize(w, b, granularity="channel").dequantize() - w).pow(2).mean().item() for b in (3, 4, 6, 8)}
    for bits, measured in found.items():
        assert harm_at(found[3], bits) == pytest.approx(measured, rel=0.05)
        assert harm_at(measured, 3, measured_at=bits) == pytest.approx(found[3], rel=0.05)


def test_what_cannot_be_planned_is_refused_in_words():
    with pytest.raises(ValueError, match=r"same matrices, got \['b'\]"):
        allocate_bits({"a": 1.0}, {"a": 1, "b": 2}, 100)
    with pytest.raises(ValueError, match="at least 40 bits, 2 for each weight; got 39"):
        allocate_bits({"a": 1.0}, {"a": 20}, 39)


class Words:
    """One id a word, as they come."""

    def __init__(self):
        self.special_tokens = {"<s>": 0}
        self.ids = {}

    def encode(self, text):
        return [self.ids.setdefault(word, len(self.ids) + 1) for word in text.split()]


def test_a_margin_is_the_smallest_lead_and_says_what_is_right():
    def model(tokens):  # causal: what comes next depends on the sum so far
        draw = torch.Generator().manual_seed(3)
        table = torch.randn(101, 40, generator=draw)
        return table[tokens.cumsum(1) % 101]

    tokenizer = Words()
    items = [
        world.Item("facts_true", f"what is {n}", " ".join(f"answer{k}" for k in range(1 + n % 3))) for n in range(9)
    ]
    margins = world.margins(model, items, tokenizer=tokenizer, batch_size=4)
    assert [margin > 0 for margin in margins] == world.answers(model, items, tokenizer=tokenizer)
    for item, margin in zip(items, margins, strict=True):
        prompt, answer = tokenizer.encode(item.prompt), tokenizer.encode(item.answer)
        logits = model(torch.tensor([[0, *prompt, *answer]]))[0].tolist()
        leads = []
        for place, right in enumerate(answer, len(prompt)):
            row = logits[place]
            leads.append(row[right] - max(row[:right] + row[right + 1 :]))
        assert margin == pytest.approx(min(leads), abs=1e-6)
