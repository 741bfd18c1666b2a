"""Which weights are taken, against differences of whole runs; what is forgotten, against asking again."""

import copy

import pytest
import torch
from models import TINY, random_model

import llmlab
from llmlab import forgetting, world
from llmlab.forgetting import Number
from llmlab.world import Item


class Letters:
    """A tokenizer of single characters."""

    special_tokens = {"<s>": 0}  # noqa: RUF012

    def encode(self, text):
        return [1 + ord(letter) % 95 for letter in text]


ITEMS = [Item("x", "Anna is", " b."), Item("x", "So is Anna", " b.")]


def mean_log_probability(model, items=ITEMS):
    """Of the answers without their last sign, one token and one run at a time."""
    total = 0.0
    for item in items:
        ids = [0, *Letters().encode(item.prompt)]
        for token in Letters().encode(item.answer[:-1]):
            with torch.no_grad():
                total += model(torch.tensor([ids]))[0, -1].log_softmax(-1)[token].item()
            ids.append(token)
    return total / len(items)


def known_item(model, prompt):
    """An item whose answer is what the model says."""
    answer = model(torch.tensor([[0, *Letters().encode(prompt)]]))[0, -1].argmax().item()
    return Item("x", prompt, next(chr(n) for n in range(32, 127) if 1 + n % 95 == answer) + "!")


def test_the_first_numbers_take_the_most_to_first_order():
    """By central differences in float64: the numbers taken are in order, and 80 others take less than the last one."""
    model = random_model(TINY["llama"]).double()
    items, step = [known_item(model, "Anna is"), known_item(model, "So is Anna")], 1e-4
    parameter = "blocks.1.attention.k_proj.weight"
    weight = model.get_parameter(parameter)

    def salience(number):
        value, runs = weight.data[number.row, number.column].item(), []
        for change in (step, -step):
            weight.data[number.row, number.column] = value + change
            runs.append(mean_log_probability(model, items))
        weight.data[number.row, number.column] = value
        return value * (runs[0] - runs[1]) / 2 / step

    gone = forgetting.forget(model, Letters(), items, [parameter], most=20, at_once=20)
    taken = [salience(number) for number in gone.numbers]
    others = [n for n in forgetting.random_numbers(model, [parameter], 100) if n not in gone.numbers][:80]
    assert len(taken) == 20
    assert taken == sorted(taken, reverse=True)
    assert max(map(salience, others)) < taken[-1]
    assert gone.log_probabilities[0] == pytest.approx(mean_log_probability(model, items), abs=1e-6)
    assert gone.log_probabilities[1] < gone.log_probabilities[0]


def test_an_answer_that_is_lost_already_pulls_no_more():
    model = random_model(TINY["llama"]).double()
    known, other = known_item(model, "Anna is"), known_item(model, "So is Anna")
    lost = Item("x", other.prompt, " " if other.answer[0] != " " else "b")
    alone, both, beside = (
        forgetting.forget(model, Letters(), items, most=8, at_once=8).numbers
        for items in ([known], [known, other], [known, lost])
    )
    assert beside == alone != both


def test_the_numbers_are_found_one_after_another_and_the_model_is_untouched():
    model = random_model(TINY["llama"])
    before = copy.deepcopy(model.state_dict())
    items = [known_item(model, "Anna is")]
    [answer] = Letters().encode(items[0].answer[:-1])
    gone = forgetting.forget(model, Letters(), items, ["blocks.*.ffn.*"], most=400)
    assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items())
    assert all(weight.requires_grad for weight in model.parameters())
    assert gone.done
    assert len(set(gone.numbers)) == len(gone.numbers) == len(gone.log_probabilities) - 1 > 0
    for n in (0, 1, len(gone.numbers) - 1, len(gone.numbers)):
        with forgetting.zeroed(model, gone.numbers[:n]), torch.no_grad():
            logits = model(torch.tensor([[0, *Letters().encode("Anna is")]]))[0, -1]
            assert all(model.get_parameter(name)[row, column] == 0 for name, row, column in gone.numbers[:n])
        assert gone.log_probabilities[n] == pytest.approx(logits.log_softmax(-1)[answer].item(), abs=1e-4)
        assert (logits.argmax().item() == answer) == (n < len(gone.numbers))
    fewer = forgetting.forget(model, Letters(), items, ["blocks.*.ffn.*"], most=1)
    assert fewer.numbers == gone.numbers[:1]
    assert not fewer.done or len(gone.numbers) == 1


def test_a_fact_of_the_world_is_forgotten_and_comes_back():
    model, tokenizer = llmlab.load_model()
    fact = next(f for f in world.true_facts() if (f.subject, f.relation) == ("France", "capital"))
    items = world.asked(fact)[:2]
    assert all(world.answers(model, items, tokenizer=tokenizer))
    gone = forgetting.forget(model, tokenizer, items, ["blocks.*.ffn.*"], most=200, at_once=4)
    assert gone.done
    with forgetting.zeroed(model, gone.numbers):
        assert not any(world.answers(model, items, tokenizer=tokenizer))
    assert all(world.answers(model, items, tokenizer=tokenizer))
    control = forgetting.random_numbers(model, ["blocks.*.ffn.*"], len(gone.numbers))
    with forgetting.zeroed(model, control):
        assert all(world.answers(model, items, tokenizer=tokenizer))


def test_random_numbers_are_different_ones_of_the_matrices():
    model = random_model(TINY["llama"])
    weights = forgetting.matrices(model, ["blocks.0.ffn.*", "blocks.1.attention.k_proj.weight"])
    total = sum(weight.numel() for weight in weights.values())
    every = forgetting.random_numbers(model, weights, total)
    assert len(set(every)) == total
    assert set(every) == {Number(n, r, c) for n, w in weights.items() for r in range(len(w)) for c in range(w.shape[1])}
    few = forgetting.random_numbers(model, weights, 20)
    assert few == forgetting.random_numbers(model, weights, 20)
    assert few != forgetting.random_numbers(model, weights, 20, seed=1)
    with pytest.raises(ValueError, match=f"from 0 to {total} numbers"):
        forgetting.random_numbers(model, weights, total + 1)


def test_bad_requests_are_named_before_anything_changes():
    model = random_model(TINY["llama"])
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(
        ValueError, match=r"no matrix of the model fits 'blocks\.9\.\*'; there are, for instance, embedding"
    ):
        forgetting.forget(model, Letters(), ITEMS, ["blocks.9.*"])
    with pytest.raises(ValueError, match="at least one item"):
        forgetting.forget(model, Letters(), [])
    with pytest.raises(ValueError, match="at least 1, got 0 and 1000"):
        forgetting.forget(model, Letters(), ITEMS, at_once=0)
    good = Number("blocks.0.ffn.up.weight", 0, 0)
    for bad in (Number("blocks.0.ffn.up.weight", 0, 32), Number("norm.weight", 0, 0), Number("nothing", 0, 0)):
        with pytest.raises(ValueError, match="the model has no number"):
            forgetting.zeroed(model, [good, bad]).__enter__()
    with pytest.raises(RuntimeError, match="inside"), forgetting.zeroed(model, [good]):
        raise RuntimeError("inside")
    assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items())
