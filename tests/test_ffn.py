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
    feed_forward,
    gelu,
    gelu_tanh,
    silu,
)


def test_written_out_activations_equal_pytorchs():
    x = torch.linspace(-6, 6, 101)
    torch.testing.assert_close(gelu(x), F.gelu(x))
    torch.testing.assert_close(gelu_tanh(x), F.gelu(x, approximate="tanh"))
    torch.testing.assert_close(silu(x), F.silu(x))
    assert (gelu(x) - gelu_tanh(x)).abs().max() > 1e-4  # the two are not the same function


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_plain_layer_is_two_products_around_an_activation(name):
    layer = randomize(FeedForward(16, 24, activation=name, bias=True))
    x = torch.randn(2, 3, 16)
    hidden = ACTIVATIONS[name](x @ layer.up.weight.T + layer.up.bias)
    torch.testing.assert_close(layer(x), hidden @ layer.down.weight.T + layer.down.bias)


@pytest.mark.parametrize("name", GATES)
def test_gated_layer_multiplies_two_expansions(name):
    layer = randomize(GatedFeedForward(16, 24, activation=GATES[name]))
    x = torch.randn(2, 3, 16)
    hidden = ACTIVATIONS[GATES[name]](x @ layer.gate.weight.T) * (x @ layer.up.weight.T)
    torch.testing.assert_close(layer(x), hidden @ layer.down.weight.T)


def test_mixture_equals_a_loop_over_tokens():
    layer = MixtureOfExperts(16, [GatedFeedForward(16, 24) for _ in range(5)], n_experts_per_token=2)
    randomize(layer, std=0.5)
    x = torch.randn(2, 7, 16)
    out = layer(x)
    for b in range(2):
        for t in range(7):
            scores = layer.router.weight @ x[b, t]
            best = sorted(range(5), key=lambda e: -scores[e])[:2]
            share = torch.softmax(scores[best], dim=0)
            expected = sum(share[i] * layer.experts[e](x[b, t]) for i, e in enumerate(best))
            torch.testing.assert_close(out[b, t], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", [*ACTIVATIONS, *GATES])
@pytest.mark.parametrize("bias", ["none", "all"])
def test_a_config_makes_the_layer_that_it_names(name, bias):
    config = ModelConfig(vocab_size=10, d_model=16, n_layers=1, n_heads=2, d_ff=24, ffn=name, bias=bias)
    layer = feed_forward(config)
    kind, activation = (GatedFeedForward, GATES[name]) if name in GATES else (FeedForward, name)
    assert type(layer) is kind and layer.activation is ACTIVATIONS[activation]
    assert (layer.up.bias is not None) == (layer.down.bias is not None) == (bias == "all")
    assert layer.up.weight.shape == (24, 16) and layer.down.weight.shape == (16, 24)


def test_a_config_with_experts_makes_a_mixture_of_the_layer_that_it_names():
    config = ModelConfig(vocab_size=10, d_model=16, n_layers=1, n_heads=2, n_experts=5, n_experts_per_token=3)
    layer = feed_forward(config)
    assert layer.n_chosen == 3 and [type(expert) for expert in layer.experts] == [GatedFeedForward] * 5
    assert layer.router.weight.shape == (5, 16)


def test_impossible_layers_are_refused_by_name():
    for kind in (FeedForward, GatedFeedForward):
        with pytest.raises(ValueError, match="d_ff of at least 1, got 0"):
            kind(16, 0)
        with pytest.raises(ValueError, match=r"d_model of type int, got float 16.0"):
            kind(16.0, 24)
        with pytest.raises(ValueError, match="activation to be one of relu, gelu, gelu_tanh, silu; got 'swiglu'"):
            kind(16, 24, activation="swiglu")
    with pytest.raises(ValueError, match="n_experts of at least 1, got 0"):
        MixtureOfExperts(16, [])
    with pytest.raises(ValueError, match="at most 1 experts per token, got 2"):
        MixtureOfExperts(16, [FeedForward(16, 24)])
    with pytest.raises(ValueError, match="n_experts_per_token of at least 1, got 0"):
        MixtureOfExperts(16, [FeedForward(16, 24)], n_experts_per_token=0)
