import itertools

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from models import TINY, TINY_LLAMA, random_model, random_tokens, relative

from llmlab import trace
from llmlab.attention import (
    causal_mask,
    document_mask,
    fused_attention,
    masked_softmax,
    prefix_mask,
    repeat_kv,
    scaled_dot_product_attention,
    sliding_window_mask,
)


@st.composite
def attention_inputs(draw):
    """Random shapes (grouped heads, more keys than queries) and a random mask or none."""
    batch, groups, per_group = draw(st.integers(1, 3)), draw(st.integers(1, 3)), draw(st.integers(1, 3))
    n_queries, extra, head_dim = (
        draw(st.integers(1, 9)),
        draw(st.integers(0, 5)),
        draw(st.sampled_from([1, 4, 16])),
    )
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    shape = (batch, groups, n_queries + extra, head_dim)
    q = torch.randn(batch, groups * per_group, n_queries, head_dim, generator=generator, dtype=torch.float64)
    k, v = (torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(2))
    kind = draw(st.sampled_from(["none", "causal", "random", "per row"]))
    mask = None
    if kind == "causal":
        mask = causal_mask(n_queries, n_queries + extra)
    elif kind != "none":
        shape = (n_queries, n_queries + extra) if kind == "random" else (batch, 1, n_queries, n_queries + extra)
        mask = torch.rand(shape, generator=generator) < 0.6
        mask[..., 0] = True  # every query sees something
    return q, k, v, mask


@given(attention_inputs())
@settings(max_examples=60)
def test_attention_and_its_gradients_equal_pytorchs(inputs):
    q, k, v, mask = inputs
    ours_in = [x.clone().requires_grad_() for x in (q, k, v)]
    fused_in = [x.clone().requires_grad_() for x in (q, k, v)]
    theirs_in = [x.clone().requires_grad_() for x in (q, k, v)]
    ours = scaled_dot_product_attention(*ours_in, mask)
    fused = fused_attention(*fused_in, mask)
    theirs = F.scaled_dot_product_attention(*theirs_in, attn_mask=mask, enable_gqa=True)
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(fused, theirs, rtol=1e-6, atol=1e-9)
    for out in (ours, fused, theirs):
        (out * torch.arange(out.shape[-1])).sum().backward()  # a gradient that differs from entry to entry
    for a, b, c in zip(ours_in, fused_in, theirs_in, strict=True):
        torch.testing.assert_close(a.grad, c.grad, rtol=1e-6, atol=1e-9)
        torch.testing.assert_close(b.grad, c.grad, rtol=1e-6, atol=1e-9)


def test_attention_equals_three_loops():
    q, k, v = (torch.randn(5, 4, generator=torch.Generator().manual_seed(i)) for i in range(3))
    out = scaled_dot_product_attention(q[None, None], k[None, None], v[None, None], causal_mask(5))[0, 0]
    for t in range(5):
        scores = [sum(q[t, i] * k[s, i] for i in range(4)) / 2.0 for s in range(t + 1)]
        total = sum(torch.exp(score) for score in scores)
        for i in range(4):
            expected = sum(torch.exp(score) / total * v[s, i] for s, score in enumerate(scores))
            torch.testing.assert_close(out[t, i], expected, rtol=1e-5, atol=1e-6)


def test_a_query_that_may_see_nothing_gets_zeros_and_finite_gradients():
    q, k, v = (torch.randn(1, 2, 3, 4, requires_grad=True) for _ in range(3))
    mask = torch.ones(3, 3, dtype=torch.bool)
    mask[1] = False
    out = scaled_dot_product_attention(q, k, v, mask)
    assert (out[:, :, 1] == 0).all() and (out[:, :, 0] != 0).all()
    torch.testing.assert_close(out, F.scaled_dot_product_attention(q, k, v, attn_mask=mask))
    out.sum().backward()
    assert all(torch.isfinite(x.grad).all() for x in (q, k, v))


def test_masked_weights_are_exactly_zero_and_rows_sum_to_one():
    mask = causal_mask(6)
    weights = masked_softmax(torch.randn(2, 6, 6), mask)
    assert (weights[:, ~mask] == 0).all()
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 6))


def test_masks_equal_their_definitions():
    n, window, prefix = 7, 3, 2
    ids = torch.tensor([0, 0, 1, 1, 1, 2, 2])
    for t, s in itertools.product(range(n), repeat=2):
        assert causal_mask(n)[t, s] == (s <= t)
        assert prefix_mask(n, prefix)[t, s] == (s <= t or s < prefix)
        assert sliding_window_mask(n, window)[t, s] == (t - window < s <= t)
        assert document_mask(ids)[t, s] == (s <= t and ids[s] == ids[t])
    for t, s in itertools.product(range(3), range(n)):  # the last three queries of seven
        assert causal_mask(3, n)[t, s] == (s <= t + 4)
        assert sliding_window_mask(3, window, n)[t, s] == (t + 4 - window < s <= t + 4)


def test_each_query_head_reads_its_own_group():
    x = torch.arange(3.0).view(1, 3, 1, 1)
    assert repeat_kv(x, 6).flatten().tolist() == [0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize("family", TINY)
def test_written_out_and_fused_attention_agree_inside_the_model(family):
    model = random_model(TINY[family])
    tokens = random_tokens(model.config, 2, 11)
    with torch.inference_mode():
        fused = model(tokens)
        with trace.record(model, ["logits"]):
            assert relative(model(tokens), fused) < 1e-5


def test_errors_name_what_was_given_and_expected():
    with pytest.raises(ValueError, match="n_heads divisible by n_kv_heads, got 6 and 4"):
        repeat_kv(torch.zeros(1, 4, 2, 2), 6)
    with pytest.raises(ValueError, match="3 queries and 2 keys"):
        causal_mask(3, 2)
    with pytest.raises(ValueError, match=r"boolean mask.*float32"):
        masked_softmax(torch.zeros(2, 2), torch.zeros(2, 2))
    with pytest.raises(ValueError, match="0 <= n_prefix <= 4, got 5"):
        prefix_mask(4, 5)
    with pytest.raises(ValueError, match="window of at least 1"):
        sliding_window_mask(4, 0)
    with pytest.raises(ValueError, match="one width"):
        scaled_dot_product_attention(torch.zeros(1, 1, 2, 4), torch.zeros(1, 1, 2, 3), torch.zeros(1, 1, 2, 3))


def test_a_mask_given_to_the_model_replaces_the_causal_one():
    model = random_model(TINY_LLAMA)
    tokens = random_tokens(model.config, 1, 6)
    changed = tokens.clone()
    changed[0, -1] = (changed[0, -1] + 1) % model.config.vocab_size
    two_way = torch.ones(6, 6, dtype=torch.bool)
    with torch.inference_mode():
        assert torch.equal(model(tokens)[:, 0], model(changed)[:, 0])
        assert not torch.allclose(model(tokens, mask=two_way)[:, 0], model(changed, mask=two_way)[:, 0])
        torch.testing.assert_close(model(tokens, mask=causal_mask(6)), model(tokens), rtol=1e-5, atol=1e-5)
