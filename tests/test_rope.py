import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import LlamaConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding, apply_rotary_pos_emb

from llmlab.rope import apply_rope, rope_frequencies


@pytest.mark.parametrize("layout", ["half", "interleaved"])
def test_rotation_equals_complex_multiplication(layout):
    head_dim, n_tokens = 8, 5
    x = torch.randn(2, 3, n_tokens, head_dim, generator=torch.Generator().manual_seed(0))
    freqs = rope_frequencies(head_dim, 10_000.0)
    turned = apply_rope(x, torch.arange(n_tokens), freqs, layout)
    for j in range(head_dim // 2):
        a, b = (j, j + head_dim // 2) if layout == "half" else (2 * j, 2 * j + 1)
        for t in range(n_tokens):
            angle = torch.tensor(t * 10_000.0 ** (-2 * j / head_dim))
            expected = torch.complex(x[..., t, a], x[..., t, b]) * torch.polar(torch.tensor(1.0), angle)
            torch.testing.assert_close(turned[..., t, a], expected.real, rtol=1e-5, atol=1e-6)
            torch.testing.assert_close(turned[..., t, b], expected.imag, rtol=1e-5, atol=1e-6)


@given(st.integers(0, 500), st.integers(0, 500), st.integers(0, 500), st.sampled_from(["half", "interleaved"]))
def test_scores_depend_only_on_relative_position(m, n, shift, layout):
    generator = torch.Generator().manual_seed(m * 1000 + n)
    q, k = (torch.randn(1, 1, 1, 16, generator=generator, dtype=torch.float64) for _ in range(2))
    freqs = rope_frequencies(16, 10_000.0).double()

    def score(at_q, at_k):
        turned_q, turned_k = (apply_rope(x, torch.tensor([p]), freqs, layout) for x, p in ((q, at_q), (k, at_k)))
        return (turned_q * turned_k).sum()

    torch.testing.assert_close(score(m, n), score(m + shift, n + shift), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(apply_rope(q, torch.tensor([m]), freqs, layout).norm(), q.norm(), rtol=1e-6, atol=0)


def test_half_layout_equals_transformers():
    config = LlamaConfig(hidden_size=64, num_attention_heads=4, max_position_embeddings=128)
    x = torch.randn(2, 4, 9, 16, generator=torch.Generator().manual_seed(0))
    positions = torch.tensor([[0, 1, 2, 3, 4, 5, 6, 7, 8], [7, 8, 9, 10, 11, 12, 13, 14, 100]])
    cos, sin = LlamaRotaryEmbedding(config)(x, positions)
    theirs, _ = apply_rotary_pos_emb(x, x, cos, sin)
    torch.testing.assert_close(apply_rope(x, positions, rope_frequencies(16, 10_000.0)), theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "scaling",
    [
        {"rope_type": "linear", "factor": 4.0},
        {
            "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 128,
        },
    ],
)  # fmt: skip
def test_scaled_frequencies_equal_transformers(scaling):
    rope = {"rope_theta": 500_000.0, **scaling}
    config = LlamaConfig(hidden_size=256, num_attention_heads=4, max_position_embeddings=1024, rope_parameters=rope)
    theirs, _ = ROPE_INIT_FUNCTIONS[scaling["rope_type"]](config, device="cpu")
    torch.testing.assert_close(rope_frequencies(64, 500_000.0, scaling), theirs, rtol=1e-5, atol=0)


def test_ntk_keeps_the_fastest_pair_and_interpolates_the_slowest():
    plain, scaled = (
        rope_frequencies(32, 10_000.0),
        rope_frequencies(32, 10_000.0, {"rope_type": "ntk", "factor": 4.0}),
    )
    assert scaled[0] == plain[0] == 1.0
    assert math.isclose(plain[-1] / scaled[-1], 4.0, rel_tol=1e-5)


def test_errors_name_what_was_given_and_expected():
    with pytest.raises(ValueError, match=r"even head_dim.*got 7"):
        rope_frequencies(7, 10_000.0)
    with pytest.raises(ValueError, match="rope_type default, linear, ntk or llama3, got 'yarn'"):
        rope_frequencies(8, 10_000.0, {"rope_type": "yarn"})
    x, freqs = torch.zeros(1, 1, 3, 8), rope_frequencies(8, 10_000.0)
    with pytest.raises(ValueError, match="3 positions"):
        apply_rope(x, torch.arange(4), freqs)
    with pytest.raises(ValueError, match=r"freqs \(4,\)"):
        apply_rope(x, torch.arange(3), rope_frequencies(6, 10_000.0))
    with pytest.raises(ValueError, match="'half' or 'interleaved', got 'pairs'"):
        apply_rope(x, torch.arange(3), freqs, "pairs")
