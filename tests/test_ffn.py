import pytest
import torch
import torch.nn.functional as F
from models import randomize

from llmlab.config import ModelConfig
from llmlab.ffn import (
    ACTIVATIONS,
    GATES,
    FeedForward,
    GatedFeedForward,
    MixtureOfExperts,
    gelu,
    gelu_tanh,
    silu,
)


def config(**changes):
    return ModelConfig(vocab_size=10, d_model=16, n_layers=1, n_heads=2, d_ff=24, **changes)


def test_written_out_activations_equal_pytorchs():
    x = torch.linspace(-6, 6, 101)
    torch.testing.assert_close(gelu(x), F.gelu(x))
    torch.testing.assert_close(gelu_tanh(x), F.gelu(x, approximate="tanh"))
    torch.testing.assert_close(silu(x), F.silu(x))
    assert (gelu(x) - gelu_tanh(x)).abs().max() > 1e-4  # the two are not the same function


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_plain_layer_is_two_products_around_an_activation(name):
    layer = randomize(FeedForward(config(ffn=name, bias="all")))
    x = torch.randn(2, 3, 16)
    hidden = ACTIVATIONS[name](x @ layer.up.weight.T + layer.up.bias)
    torch.testing.assert_close(layer(x), hidden @ layer.down.weight.T + layer.down.bias)


@pytest.mark.parametrize("name", GATES)
def test_gated_layer_multiplies_two_expansions(name):
    layer = randomize(GatedFeedForward(config(ffn=name)))
    x = torch.randn(2, 3, 16)
    hidden = ACTIVATIONS[GATES[name]](x @ layer.gate.weight.T) * (x @ layer.up.weight.T)
    torch.testing.assert_close(layer(x), hidden @ layer.down.weight.T)


def test_mixture_equals_a_loop_over_tokens():
    layer = randomize(MixtureOfExperts(config(n_experts=5, n_experts_per_token=2)), std=0.5)
    x = torch.randn(2, 7, 16)
    out = layer(x)
    for b in range(2):
        for t in range(7):
            scores = layer.router.weight @ x[b, t]
            best = sorted(range(5), key=lambda e: -scores[e])[:2]
            share = torch.softmax(scores[best], dim=0)
            expected = sum(share[i] * layer.experts[e](x[b, t]) for i, e in enumerate(best))
            torch.testing.assert_close(out[b, t], expected, rtol=1e-4, atol=1e-5)
