"""The fast decoding step is the model's own, and stands aside where it would not be."""

import copy
import dataclasses

import pytest
import torch
from models import TINY, TINY_LLAMA, random_model, random_tokens, relative
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from llmlab import decoding, linear, trace
from llmlab.decoding import Decoder, fits
from llmlab.generate import generate
from llmlab.kv_cache import ConcatenatingKVCache, KVCache

YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16}
SHAPES = {
    **{name: config for name, config in TINY.items() if name != "mixtral"},
    "biased": dataclasses.replace(TINY_LLAMA, bias="qkv"),
    "interleaved": dataclasses.replace(TINY_LLAMA, rope_layout="interleaved"),
    "yarn": dataclasses.replace(TINY_LLAMA, rope_scaling=YARN),
    "no positions": dataclasses.replace(TINY_LLAMA, position="none"),
    "plain ffn": dataclasses.replace(TINY_LLAMA, ffn="relu"),
}


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("kind", [lambda c: KVCache(c, 1, 20), lambda c: ConcatenatingKVCache(c, 1)])
@pytest.mark.parametrize("joined", [0, 2**20])
@pytest.mark.parametrize("ahead", [1, 5])
@pytest.mark.parametrize("kernel", ["plain", "blocks"])
def test_decoding_equals_the_model(name, kind, joined, ahead, kernel, monkeypatch):
    monkeypatch.setenv(linear.PIN, kernel)
    monkeypatch.setattr(linear, "LARGE", 1)
    monkeypatch.setattr(decoding, "JOINED", joined)
    monkeypatch.setattr(decoding, "AHEAD", ahead)
    model = random_model(SHAPES[name])
    tokens = random_tokens(model.config, 1, 12)
    assert fits(model)
    decoder, cache = Decoder(model), kind(model.config)
    with torch.inference_mode():
        expected = model.hidden(tokens)
        parts = [model.hidden(tokens[:, :4], cache=cache)]
        parts += [decoder.hidden(token, cache)[None, None] for token in tokens[0, 4:].tolist()]
    assert relative(torch.cat(parts, dim=1), expected) < 1e-5
    assert cache.lengths.tolist() == [12]


class Forgetful(KVCache):
    """A cache that hides the oldest key from every later query, as an evicting cache may."""

    def mask(self, n):
        held = self.lengths.item()
        return torch.arange(held + n)[None] > 0 if n == 1 else super().mask(n)


def test_a_mask_of_the_cache_is_obeyed():
    model = random_model(TINY_LLAMA)
    tokens, more = random_tokens(model.config, 1, 6), random_tokens(model.config, 1, 1, seed=2)
    caches = [kind(model.config, 1, 20) for kind in (Forgetful, Forgetful, KVCache)]
    with torch.inference_mode():
        for cache in caches:
            model.hidden(tokens, cache=cache)
        ours, theirs, unmasked = (
            Decoder(model).hidden(int(more), caches[0]),
            model.hidden(more, cache=caches[1]),
            model.hidden(more, cache=caches[2]),
        )
    assert relative(ours, theirs) < 1e-5 < relative(ours, unmasked)


def test_it_stands_aside_for_what_it_does_not_know():
    assert not fits(random_model(TINY["mixtral"]))
    for changes in ({"norm_placement": "post"}, {"ffn": "none"}, {"sliding_window": 4}, {"dropout": 0.1}):
        assert not fits(random_model(dataclasses.replace(TINY_LLAMA, **changes)))
    assert not fits(random_model(TINY_LLAMA).train())
    assert not fits(random_model(TINY_LLAMA).bfloat16())
    without_norm = random_model(TINY_LLAMA)
    without_norm.norm = None
    assert not fits(without_norm) and len(list(generate(without_norm, [1, 2], 3))) == 3
    replaced = random_model(TINY_LLAMA)
    replaced.blocks[1].ffn.up = nn.Sequential(replaced.blocks[1].ffn.up, nn.Identity())
    assert not fits(replaced)
    with torch.inference_mode():
        assert not fits(copy.deepcopy(random_model(TINY_LLAMA)))  # its weights do not count their changes
    hooked = random_model(TINY_LLAMA)
    hooked.blocks[0].attention.q_proj.register_forward_hook(lambda module, given, out: out * 0)
    assert not fits(hooked)
    with trace.record(random_model(TINY_LLAMA)):
        assert not fits(random_model(TINY_LLAMA))


def test_generation_uses_it_and_recording_in_the_middle_still_sees_every_tensor(monkeypatch):
    model, used = random_model(TINY_LLAMA), []
    original = Decoder.hidden
    monkeypatch.setattr(decoding.Decoder, "hidden", lambda self, *given: used.append(1) or original(self, *given))
    steps = generate(model, [1, 2, 3], 6)
    next(steps), next(steps)
    assert len(used) == 1  # the prompt goes through the model, then one token at a time
    with trace.record(model, ["blocks.0.attention.weights"]) as seen:
        next(steps)
    assert seen["blocks.0.attention.weights"].shape == (1, 4, 1, 5) and len(used) == 1


def test_a_counter_of_operations_counts_all_products_of_a_generation():
    """Two for each weight and token but the last token, and in the head for one token a step; attention apart."""
    model, config = random_model(TINY_LLAMA), TINY_LLAMA
    with FlopCounterMode(display=False) as counter:
        list(generate(model, [1, 2, 3], 4))
    counted = counter.get_flop_counts()["Global"]
    products = sum(n for name, n in counted.items() if name in (torch.ops.aten.mm, torch.ops.aten.addmm))
    head = config.vocab_size * config.d_model
    layers = sum(weight.numel() for weight in model.blocks.parameters() if weight.dim() == 2)
    assert products == 2 * (layers * 6 + head * 4)


def in_place(weight):
    with torch.no_grad():
        weight.mul_(1.5)


def by_an_optimizer(weight):
    weight.grad = torch.ones_like(weight)
    torch.optim.SGD([weight], lr=0.1).step()


def by_new_data(weight):
    weight.data = weight.data * 1.5


@pytest.mark.parametrize("change", [in_place, by_an_optimizer, by_new_data])
@pytest.mark.parametrize(
    "name",
    ["blocks.0.attention.k_proj.weight", "blocks.1.ffn.gate.weight", "blocks.0.ffn.down.weight", "norm.weight"],
)
def test_a_weight_changed_between_two_steps_counts_from_the_next_step_on(name, change):
    model, prompt, cache = random_model(TINY_LLAMA), [1, 2, 3], KVCache(TINY_LLAMA, 1, 20)
    reference, ids, kept = copy.deepcopy(model), list(prompt), KVCache(TINY_LLAMA, 1, 20)
    for number, step in enumerate(generate(model, prompt, 6, cache=cache)):
        with torch.no_grad():
            expected = reference(torch.tensor([ids[int(kept.lengths) :]]), cache=kept)[0, -1]
        assert relative(step.logits, expected) < 1e-5
        ids.append(step.token)
        if number == 2:
            change(model.get_parameter(name)), change(reference.get_parameter(name))
