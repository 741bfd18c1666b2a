"""Units against formulas written out, stories against loops over places, units switched off against zeroed columns."""

import copy
import dataclasses

import pytest
import torch
from models import TINY, TINY_GPT2, TINY_LLAMA, TINY_MIXTRAL, random_model, random_tokens

from llmlab import trace, units
from llmlab.units import Reading, Story

DENSE = [name for name in TINY if name != "mixtral"]


class Letters:
    """A tokenizer of single letters, enough for `read`."""

    special_tokens = {"<s>": 0}  # noqa: RUF012

    def encode(self, text):
        return [ord(letter) - 96 for letter in text]


@pytest.fixture(params=DENSE)
def model(request):
    return random_model(TINY[request.param])


def hidden_by_hand(model, tokens, layer):
    """The activations (T, d_ff) of one text, from the stream that enters the layer."""
    with torch.no_grad(), trace.record(model, [f"blocks.{layer}.middle"]) as seen:
        model(tokens[None])
    x = model.blocks[layer].ffn_norm(seen[f"blocks.{layer}.middle"][0])
    ffn = model.blocks[layer].ffn
    if hasattr(ffn, "gate"):
        gate = x @ ffn.gate.weight.T
        return (gate * torch.sigmoid(gate) * (x @ ffn.up.weight.T)).detach()
    return torch.nn.functional.gelu(x @ ffn.up.weight.T + ffn.up.bias, approximate="tanh").detach()


def test_what_is_read_is_each_text_alone_by_the_formula(model):
    texts, chosen = ["abcd", "z", "hello", "ba"], [(0, 3), (1, 5), (0, 7)]
    reading = units.read(model, Letters(), texts, chosen, batch_size=3)
    for text, tokens, values in zip(texts, reading.tokens, reading.values, strict=True):
        assert tokens.tolist() == [0, *Letters().encode(text)]
        for number, (layer, index) in enumerate(chosen):
            expected = hidden_by_hand(model, tokens, layer)[:, index]
            torch.testing.assert_close(values[number], expected, atol=1e-4, rtol=1e-4)


def test_long_texts_are_cut_at_the_context():
    model = random_model(dataclasses.replace(TINY_LLAMA, max_seq_len=5))
    assert units.read(model, Letters(), ["abcdefgh"], [(0, 0)]).tokens[0].tolist() == [0, 1, 2, 3, 4]


def test_weights_are_what_the_layer_multiplies_with(model):
    x = torch.randn(model.config.d_model, generator=torch.Generator().manual_seed(0))
    rows, ffn = units.weights(model, (1, 4)), model.blocks[1].ffn
    assert ("gate" in rows) == hasattr(ffn, "gate")
    basis = torch.zeros(model.config.d_ff)
    basis[4] = 1
    with torch.no_grad():
        torch.testing.assert_close(rows["up"] @ x, (ffn.up(x) - ffn.up(x * 0))[4])
        torch.testing.assert_close(rows["down"], ffn.down(basis) - ffn.down(basis * 0))


def test_pushes_are_the_slope_of_the_logits_along_the_column(model):
    """Centered over the stream that the norm divides by its size: compare to a finite difference at a stream of size 1,
    at right angles to the column, so that the size does not change to first order."""
    column = units.weights(model, (0, 2))["down"].double()
    wide = copy.deepcopy(model).double()
    generator = torch.Generator().manual_seed(1)
    stream = torch.randn(model.config.d_model, generator=generator, dtype=torch.float64)
    centered = column - column.mean() if model.config.norm == "layernorm" else column
    if model.config.norm == "layernorm":
        stream -= stream.mean()
    stream -= centered * (stream @ centered) / (centered @ centered)
    stream /= stream.pow(2).mean().sqrt()
    with torch.no_grad():
        step = 1e-4
        slope = (wide.head(wide.norm(stream + step * column)) - wide.head(wide.norm(stream - step * column))) / 2 / step
    torch.testing.assert_close(units.pushes(model, (0, 2)).double(), slope, atol=1e-4, rtol=1e-4)


def test_a_unit_pushes_an_answer_by_its_activation_times_its_push_beyond_all_tokens(model):
    tokens, answer = random_tokens(model.config, 1, 7)[0], 3
    hidden, push = units.pushing(model, tokens, answer)
    assert hidden.shape == push.shape == (model.config.n_layers, model.config.d_ff)
    for layer, index in ((0, 1), (model.config.n_layers - 1, 4)):
        by_hand = hidden_by_hand(model, tokens, layer)[-1, index]
        torch.testing.assert_close(hidden[layer, index], by_hand, atol=1e-5, rtol=1e-4)
        moved = units.pushes(model, (layer, index))
        torch.testing.assert_close(push[layer, index], by_hand * (moved[answer] - moved.mean()), atol=1e-5, rtol=1e-4)


# Readings and stories ------------------------------------------------------------------------------------------------


def made_up(seed=0, n_texts=40):
    """A reading of one unit that is high exactly one place after a token 3 or 5, on its negative side, else noise."""
    generator = torch.Generator().manual_seed(seed)
    tokens = [torch.randint(12, (9,), generator=generator) for _ in range(n_texts)]
    values = []
    for text in tokens:
        noise = 0.1 * torch.rand(1, 9, generator=generator)
        for place in range(1, 9):
            if text[place - 1] in (3, 5):
                noise[0, place] = -2 - place / 10
        values.append(noise)
    return Reading(((0, 0),), tuple(tokens), tuple(values))


def excited_by_hand(reading, share, side):
    """The places (text, place) at or above the value of the highest share."""
    every = [(side * v[0, p].item(), n, p) for n, v in enumerate(reading.values) for p in range(v.shape[1])]
    limit = sorted((value for value, *_ in every), reverse=True)[max(1, round(share * len(every))) - 1]
    return {(n, p) for value, n, p in every if value >= limit}, len(every)


def test_the_most_excited_texts_come_first():
    reading = made_up()
    assert reading.side(0) == -1
    top = reading.top(0, 4, side=-1)
    lowest = sorted((values[0].min().item(), n) for n, values in enumerate(reading.values))[:4]
    assert [(each.value, each.text) for each in top] == lowest
    assert all(reading.values[each.text][0, each.place].item() == each.value for each in top)
    assert [each.text for each in reading.part([7, 1]).top(0, 2, side=-1)] in ([0, 1], [1, 0])


def test_a_story_finds_the_rule_that_the_unit_follows_and_holds_on_other_texts():
    look, other = made_up(0), made_up(1)

    def share(reading):
        return sum(value < -1 for value in reading.flat(0).tolist()) / len(reading.flat(0))

    story = units.find_story(look, 0, share=share(look))
    assert (set(story.tokens), story.back, story.side) == ({3, 5}, 1, -1)
    trial = units.try_story(story, other, 0, share=share(other))
    assert (trial.precision, trial.recall, trial.f1) == (1, 1, 1)
    assert trial.lift == pytest.approx(1 / share(other))


@pytest.mark.parametrize("share", [0.02, 0.1, 0.3])
def test_a_trial_counts_places(share):
    reading = made_up(2)
    story = Story((3, 4), 1, -1)
    excited, n = excited_by_hand(reading, share, -1)
    told = {(n, p) for n, tokens in enumerate(reading.tokens) for p in range(1, 9) if int(tokens[p - 1]) in (3, 4)}
    trial = units.try_story(story, reading, 0, share=share)
    assert (trial.hits, trial.told, trial.excited, trial.places) == (len(told & excited), len(told), len(excited), n)
    assert trial.precision == pytest.approx(len(told & excited) / len(told))
    assert trial.recall == pytest.approx(len(told & excited) / len(excited))


def test_a_unit_of_noise_has_no_story_that_holds():
    look, other = (
        Reading(((0, 0),), r.tokens, tuple(torch.rand(1, 9) for _ in r.tokens)) for r in map(made_up, (3, 4))
    )
    trial = units.try_story(units.find_story(look, 0, share=0.05), other, 0, share=0.05)
    assert trial.f1 < 0.3


def test_a_story_of_nothing_names_nothing():
    trial = units.try_story(Story((), 0, 1), made_up(), 0)
    assert (trial.hits, trial.told, trial.precision, trial.recall, trial.f1, trial.lift) == (0, 0, 0, 0, 0, 0)


# Switching off -------------------------------------------------------------------------------------------------------


def test_a_unit_at_zero_is_a_column_of_zeros(model):
    tokens, off = random_tokens(model.config, 2, 7), [(0, 3), (1, 9), (0, 4)]
    maimed = copy.deepcopy(model)
    with torch.no_grad():
        for layer, index in off:
            maimed.blocks[layer].ffn.down.weight[:, index] = 0
        with units.without_units(model, off):
            found = model(tokens)
        torch.testing.assert_close(found, maimed(tokens), atol=1e-4, rtol=1e-4)
        assert not torch.allclose(found, model(tokens), atol=1e-3)


def test_a_unit_at_its_mean_adds_its_mean_everywhere(model):
    tokens = random_tokens(model.config, 2, 7)
    rows = [hidden_by_hand(model, row, 1) for row in tokens]
    mean, size = units.means(model, [tokens[:1], tokens[1:]])
    torch.testing.assert_close(mean[1], torch.cat(rows).mean(0), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(size[1], torch.cat(rows).abs().mean(0), atol=1e-4, rtol=1e-4)
    with torch.no_grad(), trace.record(model, ["blocks.1.ffn.*"]) as seen, units.without_units(model, [(1, 6)], mean):
        model(tokens)
    expected = torch.stack(rows)
    expected[..., 6] = mean[1, 6]
    torch.testing.assert_close(seen["blocks.1.ffn.hidden"], expected, atol=1e-4, rtol=1e-4)


def test_controls_are_the_nearest_of_the_same_layer():
    sizes = torch.tensor([[9.0, 9, 9, 9, 9], [1.0, 5.0, 1.4, 0.9, 3.0]])
    assert units.matched(sizes, (1, 0), 3) == [(1, 3), (1, 2), (1, 4)]
    assert units.matched(sizes, (1, 0), 2, without=[(1, 3), (0, 2)]) == [(1, 2), (1, 4)]
    with pytest.raises(ValueError, match="only 4 are left"):
        units.matched(sizes, (1, 0), 5)


def test_units_that_are_not_there_are_named():
    model = random_model(TINY_GPT2)
    for call in (
        lambda: units.weights(model, (2, 0)),
        lambda: units.pushes(model, (0, 128)),
        lambda: units.read(model, Letters(), ["a"], [(-1, 0)]),
        lambda: units.without_units(model, [(0, 500)]).__enter__(),
    ):
        with pytest.raises(ValueError, match=r"no unit .*; expected a layer below 2 and an index below \d+"):
            call()
    with pytest.raises(ValueError, match="at least one text and one unit, got 0 and 1"):
        units.read(model, Letters(), [], [(0, 0)])
    with pytest.raises(ValueError, match="at least one batch"):
        units.means(model, [])
    mixture = random_model(TINY_MIXTRAL)
    with pytest.raises(ValueError, match="plain or gated feed-forward layer in layer 0, got MixtureOfExperts"):
        units.read(mixture, Letters(), ["a"], [(0, 0)])
