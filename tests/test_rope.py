import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import LlamaConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding, apply_rotary_pos_emb

from llmlab.rope import apply_rope, attention_factor, rope_frequencies, rope_tables, rotate


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
    freqs = rope_frequencies(16, 10_000.0)

    def score(at_q, at_k):
        turned_q, turned_k = (apply_rope(x, torch.tensor([p]), freqs, layout) for x, p in ((q, at_q), (k, at_k)))
        return (turned_q * turned_k).sum()

    torch.testing.assert_close(score(m, n), score(m + shift, n + shift), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(apply_rope(q, torch.tensor([m]), freqs, layout).norm(), q.norm(), rtol=1e-12, atol=0)


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
    torch.testing.assert_close(rope_frequencies(64, 500_000.0, scaling).float(), theirs, rtol=1e-5, atol=0)


YARNS = [
    {"factor": 4.0, "original_max_position_embeddings": 256},
    {"factor": 40.0, "original_max_position_embeddings": 4096, "beta_fast": 32, "beta_slow": 1},
    {"factor": 1.0, "original_max_position_embeddings": 32768},
    {"factor": 2.5, "original_max_position_embeddings": 100, "beta_fast": 8.0, "beta_slow": 2.0},
    {"factor": 16.0, "original_max_position_embeddings": 2048, "attention_factor": 1.5},
    {"factor": 4.0, "original_max_position_embeddings": 3},  # shorter than a turn of the fastest pair
]


@pytest.mark.parametrize("numbers", YARNS)
@pytest.mark.parametrize("head_dim", [16, 32, 128])
@pytest.mark.parametrize("theta", [500.0, 10_000.0, 1_000_000.0])
def test_yarn_equals_transformers(numbers, head_dim, theta):
    scaling = {"rope_type": "yarn", **numbers}
    config = LlamaConfig(
        hidden_size=2 * head_dim, num_attention_heads=2, max_position_embeddings=1024,
        rope_parameters={"rope_theta": theta, **scaling},
    )  # fmt: skip
    theirs, factor = ROPE_INIT_FUNCTIONS["yarn"](config, device="cpu")
    torch.testing.assert_close(rope_frequencies(head_dim, theta, scaling).float(), theirs, rtol=1e-5, atol=0)
    assert math.isclose(attention_factor(scaling), factor, rel_tol=1e-12)


def test_yarn_is_between_interpolation_and_none_and_its_ramp_is_that_of_the_code():
    plain, yarn = rope_frequencies(32, 10_000.0), rope_frequencies(32, 10_000.0, YARN)
    turns = 256 * plain / (2 * math.pi)
    kept, stretched = yarn == plain, (yarn * 4.0 - plain).abs() < 1e-15
    assert (turns[kept] > 20).all() and (turns[stretched] < 1).all() and kept.any() and stretched.any()
    assert ((yarn <= plain) & (yarn >= plain / 4.0 * (1 - 1e-12))).all()
    by_turns = {**YARN, "rope_type": "llama3", "low_freq_factor": 1.0, "high_freq_factor": 32.0}  # as the paper has it
    ratio = rope_frequencies(32, 10_000.0, by_turns) / yarn
    assert 0.4 < ratio.min() < 0.9 and ratio.max() <= 1 + 1e-12


@pytest.mark.parametrize("factor", [1.0, 1.5, 4.0, 40.0])
def test_yarn_divides_the_scores_by_its_temperature(factor):
    scaling = {**YARN, "factor": factor}
    assert math.isclose(attention_factor(scaling), 0.1 * math.log(factor) + 1)
    assert [attention_factor(other) for other in (None, {}, LLAMA3, {"rope_type": "ntk", "factor": 4.0})] == [1.0] * 4
    q, k = torch.randn(2, 1, 1, 5, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    freqs, positions, times = rope_frequencies(16, 10_000.0, scaling), torch.arange(5), attention_factor(scaling)
    plain = apply_rope(q, positions, freqs) @ apply_rope(k, positions, freqs).mT
    sharper = apply_rope(q, positions, freqs, factor=times) @ apply_rope(k, positions, freqs, factor=times).mT
    torch.testing.assert_close(sharper, plain * (0.1 * math.log(factor) + 1) ** 2, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("factor", [1.5, 4.0, 8.0])
@pytest.mark.parametrize("head_dim", [16, 64])
def test_dynamic_scaling_at_a_length_is_static_ntk(factor, head_dim):
    config = LlamaConfig(
        hidden_size=2 * head_dim, num_attention_heads=2, max_position_embeddings=256,
        rope_parameters={"rope_type": "dynamic", "factor": 1.0, "rope_theta": 10_000.0},
    )  # fmt: skip
    theirs, times = ROPE_INIT_FUNCTIONS["dynamic"](config, device="cpu", seq_len=int(256 * factor))
    ours = rope_frequencies(head_dim, 10_000.0, {"rope_type": "ntk", "factor": factor})
    torch.testing.assert_close(ours.float(), theirs, rtol=1e-5, atol=0)
    assert times == 1


def test_ntk_keeps_the_fastest_pair_and_interpolates_the_slowest():
    plain, scaled = (
        rope_frequencies(32, 10_000.0),
        rope_frequencies(32, 10_000.0, {"rope_type": "ntk", "factor": 4.0}),
    )
    assert scaled[0] == plain[0] == 1.0
    assert math.isclose(plain[-1] / scaled[-1], 4.0, rel_tol=1e-5)


@pytest.mark.parametrize("layout", ["half", "interleaved"])
def test_float64_queries_are_turned_in_float64(layout):
    x, position = torch.randn(1, 1, 1, 8, dtype=torch.float64), 123_456
    turned = apply_rope(x, torch.tensor([position]), rope_frequencies(8, 10_000.0), layout).flatten()
    for j in range(4):
        a, b = (j, j + 4) if layout == "half" else (2 * j, 2 * j + 1)
        angle = position * 10_000.0 ** (-2 * j / 8)
        expected = complex(x[..., a], x[..., b]) * complex(math.cos(angle), math.sin(angle))
        assert abs(complex(turned[a], turned[b]) - expected) < 1e-9


def test_half_precision_is_turned_by_angles_of_float32():
    """A frequency in bfloat16 is off by up to 1 in 256: at position 1,000, fast pairs would point anywhere."""
    x = torch.randn(1, 1, 1, 128, generator=torch.Generator().manual_seed(0))
    freqs, position = rope_frequencies(128, 500_000.0), torch.tensor([1000])
    exact, half = apply_rope(x, position, freqs), apply_rope(x.bfloat16(), position, freqs)
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), exact, rtol=0, atol=0.05)
    with pytest.raises(ValueError, match=r"frequencies in float32 or float64, got torch.bfloat16"):
        apply_rope(x, position, freqs.bfloat16())


def test_positions_of_each_row_turn_that_row():
    x = torch.randn(3, 2, 4, 8, generator=torch.Generator().manual_seed(0))
    positions, freqs = torch.tensor([[0, 1, 2, 3], [5, 6, 7, 8], [9, 2, 0, 4]]), rope_frequencies(8, 10_000.0)
    together = apply_rope(x, positions, freqs)
    for row in range(3):
        torch.testing.assert_close(together[row], apply_rope(x[row], positions[row], freqs))


@pytest.mark.parametrize(
    ("x_shape", "positions_shape", "told"),
    [
        ((2, 5, 8), (2, 5), r"positions \(B, T\) need x \(B, H, T, d\); got positions \(2, 5\) and x \(2, 5, 8\)"),
        ((2, 3, 5, 8), (3, 5), r"got positions \(3, 5\) and x \(2, 3, 5, 8\)"),
        ((2, 3, 5, 8), (1, 5), r"got positions \(1, 5\) and x \(2, 3, 5, 8\)"),
        ((5, 8), (1, 5), r"got positions \(1, 5\) and x \(5, 8\)"),
        ((2, 3, 5, 8), (1,), r"expected 5 positions for x \(2, 3, 5, 8\), got \(1,\)"),
        ((2, 3, 1, 8), (), r"expected 1 positions for x \(2, 3, 1, 8\), got \(\)"),
        ((8,), (8,), r"expected x of shape \(..., T, d\), got \(8,\)"),
        ((1, 2, 3, 5, 8), (1, 2, 5), r"shape \(T,\) or \(B, T\), got \(1, 2, 5\)"),
    ],
)
def test_positions_that_do_not_belong_to_x_are_refused(x_shape, positions_shape, told):
    with pytest.raises(ValueError, match=told):
        apply_rope(torch.zeros(x_shape), torch.zeros(positions_shape, dtype=torch.long), rope_frequencies(8, 10_000.0))


def test_tables_that_do_not_belong_to_x_are_refused():
    tables = rope_tables(torch.arange(10).view(2, 5), rope_frequencies(8, 10_000.0))
    with pytest.raises(ValueError, match=r"tables \(2, 1, 5, 8\) do not fit x \(2, 5, 8\)"):
        rotate(torch.zeros(2, 5, 8), *tables)
    with pytest.raises(ValueError, match=r"tables \(1, 8\) do not fit x \(2, 3, 5, 8\)"):
        rotate(torch.zeros(2, 3, 5, 8), *rope_tables(torch.arange(1), rope_frequencies(8, 10_000.0)))
    with pytest.raises(ValueError, match="'half' or 'interleaved', got 'pairs'"):
        rotate(torch.zeros(5, 8), *rope_tables(torch.arange(5), rope_frequencies(8, 10_000.0)), "pairs")


YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 256}
LLAMA3 = {
    "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 128,
}  # fmt: skip


@pytest.mark.parametrize(
    ("scaling", "told"),
    [
        ({"rope_type": "linear"}, r"to have \['factor', 'rope_type'\], got \['rope_type'\]"),
        ({"factor": 2.0}, r"expected the scaling to have \['rope_type'\], got \['factor'\]"),
        ({"rope_type": "ntk", "factor": 2.0, "beta": 1}, r"got \['beta', 'factor', 'rope_type'\]"),
        ({key: value for key, value in LLAMA3.items() if key != "factor"}, "'factor', 'high_freq_factor'.*got"),
        ({"rope_type": "linear", "factor": 0}, "factor to be a finite number above 0, got 0"),
        ({"rope_type": "ntk", "factor": -2.0}, "factor to be a finite number above 0, got -2.0"),
        ({"rope_type": "linear", "factor": float("nan")}, "finite number above 0, got nan"),
        ({"rope_type": "linear", "factor": "2"}, "finite number above 0, got '2'"),
        ({**LLAMA3, "low_freq_factor": 4.0}, "low_freq_factor below high_freq_factor, got 4.0 and 4.0"),
        ({"rope_type": "longrope"}, "rope_type default, linear, ntk, llama3 or yarn, got 'longrope'"),
        ({"rope_type": "yarn", "factor": 2.0}, r"'rope_type'\] and, if wanted, \['attention_factor', 'beta_fast'"),
        ({**YARN, "mscale": 1.0}, r"'beta_slow'\], got \['factor', 'mscale', "),
        ({**YARN, "beta_fast": 0}, "beta_fast to be a finite number above 0, got 0"),
        ({**YARN, "beta_fast": 1}, "beta_slow below beta_fast, got 1.0 and 1"),
    ],
)
def test_a_scaling_that_is_not_whole_is_refused(scaling, told):
    with pytest.raises(ValueError, match=told):
        rope_frequencies(8, 10_000.0, scaling)


def test_errors_name_what_was_given_and_expected():
    with pytest.raises(ValueError, match=r"even head_dim.*got 7"):
        rope_frequencies(7, 10_000.0)
    with pytest.raises(ValueError, match=r"even head_dim.*got 0"):
        rope_frequencies(0, 10_000.0)
    with pytest.raises(ValueError, match="theta to be a finite number above 0, got -1"):
        rope_frequencies(8, -1)
    with pytest.raises(ValueError, match=r"theta above 1 for yarn.*got 0.5"):
        rope_frequencies(8, 0.5, YARN)
    with pytest.raises(ValueError, match=r"head_dim of at least 4 for ntk.*got 2"):
        rope_frequencies(2, 10_000.0, {"rope_type": "ntk", "factor": 2.0})
    x, freqs = torch.zeros(1, 1, 3, 8), rope_frequencies(8, 10_000.0)
    with pytest.raises(ValueError, match="3 positions"):
        apply_rope(x, torch.arange(4), freqs)
    with pytest.raises(ValueError, match=r"freqs \(4,\)"):
        apply_rope(x, torch.arange(3), rope_frequencies(6, 10_000.0))
    with pytest.raises(ValueError, match="'half' or 'interleaved', got 'pairs'"):
        apply_rope(x, torch.arange(3), freqs, "pairs")
