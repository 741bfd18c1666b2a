import contextlib
import dataclasses
import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from models import TINY, TINY_LLAMA, random_model, random_tokens, randomize, relative
from torch import nn

from llmlab import trace
from llmlab.attention import (
    Attention,
    attention_scores,
    causal_mask,
    document_mask,
    fused_attention,
    grouped_attention,
    lines_up,
    masked_softmax,
    prefix_mask,
    repeat_kv,
    scaled_dot_product_attention,
    sliding_window_mask,
)
from llmlab.config import ModelConfig
from llmlab.rope import rope_frequencies, rope_tables


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


def recorded(q, k, v, mask=None, *, causal=False):
    """What a layer computes while its tensors are recorded."""
    return Attention(8, q.shape[1], head_dim=q.shape[-1]).recorded_attention(q, k, v, mask, causal=causal)


def by_loops(q, k, v, mask, causal):
    """Each query of each head alone, in float64, over a list of the keys that it may see; zeros if there are none."""
    out = torch.zeros(q.shape, dtype=torch.float64)
    n_queries, n_keys = q.shape[2], k.shape[2]
    for b, h, t in itertools.product(*map(range, q.shape[:3])):
        group = h * k.shape[1] // q.shape[1]
        seen = [
            s
            for s in range(n_keys)
            if (not causal or s <= n_keys - n_queries + t)
            and (mask is None or mask.expand(*q.shape[:3], n_keys)[b, h, t, s])
        ]
        if seen:
            scores = [float(q[b, h, t].double() @ k[b, group, s].double()) / q.shape[-1] ** 0.5 for s in seen]
            shares = [math.exp(score - max(scores)) for score in scores]
            for share, s in zip(shares, seen, strict=True):
                out[b, h, t] += share / sum(shares) * v[b, group, s].double()
    return out


MASK_SHAPES = {
    "none": lambda b, h, t, s: None,
    "(T, S)": lambda b, h, t, s: (t, s),
    "(B, 1, T, S)": lambda b, h, t, s: (b, 1, t, s),
    "(1, H, T, S)": lambda b, h, t, s: (1, h, t, s),
    "(B, H, T, S)": lambda b, h, t, s: (b, h, t, s),
    "(B, 1, 1, S)": lambda b, h, t, s: (b, 1, 1, s),
}
TOLERANCES = {torch.float64: 1e-12, torch.float32: 1e-5, torch.float16: 3e-3, torch.bfloat16: 3e-2}


@given(
    sizes=st.tuples(
        st.integers(1, 3), st.integers(1, 2), st.integers(1, 3), st.integers(1, 4), st.sampled_from([0, 1, 4, 60])
    ),
    head_dim=st.sampled_from([1, 8]),
    kind=st.sampled_from(list(MASK_SHAPES)),
    causal=st.booleans(),
    dtype=st.sampled_from(list(TOLERANCES)),
    seed=st.integers(0, 2**31),
)
@settings(max_examples=150)
def test_recorded_and_fused_attention_equal_a_loop_over_heads(sizes, head_dim, kind, causal, dtype, seed):
    """Rows without a single key included."""
    batch, groups, per_group, n_queries, extra = sizes
    generator, n_keys, n_heads = torch.Generator().manual_seed(seed), n_queries + extra, groups * per_group
    q = torch.randn(batch, n_heads, n_queries, head_dim, generator=generator).to(dtype)
    k, v = torch.randn(2, batch, groups, n_keys, head_dim, generator=generator).to(dtype)
    shape = MASK_SHAPES[kind](batch, n_heads, n_queries, n_keys)
    mask = None if shape is None else torch.rand(shape, generator=generator) < 0.6
    expected = by_loops(q, k, v, mask, causal)
    for attend in (recorded, fused_attention, grouped_attention):
        out = attend(q, k, v, mask, causal=causal)
        assert out.dtype == dtype
        torch.testing.assert_close(out.double(), expected, rtol=TOLERANCES[dtype], atol=TOLERANCES[dtype])


@pytest.mark.parametrize("size", [40.0, 60.0, 200.0])
@pytest.mark.parametrize("attend", [recorded, fused_attention, scaled_dot_product_attention])
def test_scores_in_float16_do_not_overflow(attend, size):
    """60 · 60 · 64 is 230,400, and float16 ends at 65,504. All scores are equal, so the result is the mean value."""
    q = torch.full((1, 1, 3, 64), size, dtype=torch.float16)
    v = torch.randn(1, 1, 3, 64, generator=torch.Generator().manual_seed(0)).half()
    torch.testing.assert_close(attend(q, q, v)[0, 0, 0].float(), v[0, 0].float().mean(0), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("head_dim", [3, 16, 24, 128])
def test_scores_are_the_product_by_the_root_of_the_width(head_dim):
    q, k = torch.randn(2, 5, head_dim, generator=torch.Generator().manual_seed(0))
    exact = (q.double() @ k.double().T) / math.sqrt(head_dim)
    torch.testing.assert_close(attention_scores(q, k).double(), exact, rtol=1e-6, atol=1e-6)


@given(
    sizes=st.tuples(
        st.integers(1, 3), st.integers(1, 2), st.integers(1, 3), st.integers(1, 4), st.sampled_from([0, 60])
    ),
    kind=st.sampled_from(list(MASK_SHAPES)),
    bias_shape=st.sampled_from(["(H, T, S)", "(B, H, T, S)", "(B, 1, T, S)", "(1, T, S)", "(H, 1, S)"]),
    causal=st.booleans(),
    seed=st.integers(0, 2**31),
)
@settings(max_examples=60)
def test_a_bias_is_added_to_the_scores_however_the_heads_line_up(sizes, kind, bias_shape, causal, seed):
    batch, groups, per_group, n_queries, extra = sizes
    generator, n_keys, n_heads = torch.Generator().manual_seed(seed), n_queries + extra, groups * per_group
    of = {"B": batch, "H": n_heads, "T": n_queries, "S": n_keys, "1": 1}
    bias = torch.randn([of[name] for name in bias_shape[1:-1].split(", ")], generator=generator, dtype=torch.float64)
    q = torch.randn(batch, n_heads, n_queries, 8, generator=generator, dtype=torch.float64)
    k, v = torch.randn(2, batch, groups, n_keys, 8, generator=generator, dtype=torch.float64)
    shape = MASK_SHAPES[kind](batch, n_heads, n_queries, n_keys)
    mask = torch.ones(n_queries, n_keys, dtype=torch.bool)
    if shape is not None:
        mask = torch.rand(shape, generator=generator) < 0.6
        mask[..., 0] = True
    allowed = mask & causal_mask(n_queries, n_keys) if causal else mask
    scores = q @ repeat_kv(k, n_heads).transpose(2, 3) / math.sqrt(8) + bias
    expected = scores.masked_fill(~allowed, float("-inf")).softmax(-1) @ repeat_kv(v, n_heads)
    found = fused_attention(q, k, v, None if shape is None else mask, causal=causal, bias=bias)
    torch.testing.assert_close(found, expected)


def test_heads_line_up_where_their_rows_are_few_beside_the_keys_and_keep_each_thread_at_work(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    few = {"n_queries": 4, "n_keys": 4096}
    assert lines_up(1, 8, 2, **few) and lines_up(2, 8, 1, **few) and lines_up(1, 8, 4, n_queries=16, n_keys=4096)
    assert not lines_up(1, 8, 1, **few)  # one of two threads would rest
    assert not lines_up(1, 8, 8, **few) and not lines_up(1, 8, 8, n_queries=1, n_keys=9)  # no two heads share a key
    assert not lines_up(1, 8, 2, n_queries=9, n_keys=4096)  # 36 rows are more than one block of 32
    assert not lines_up(1, 8, 2, n_queries=4, n_keys=127)  # 16 rows beside fewer than 8 times as many keys
    assert lines_up(1, 8, 1, n_queries=1, n_keys=1)


def test_both_ways_of_fused_attention_agree_in_float32(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, heads, n, 64, generator=generator) for heads, n in ((8, 6), (2, 700), (2, 700)))
    found = []
    for threads in (1, 1000):  # as many threads as no rows can feed
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        assert lines_up(2, 8, 2, n_queries=6, n_keys=700) == (threads == 1)
        found.append(fused_attention(q, k, v, causal=True))
    written_out = scaled_dot_product_attention(q, k, v, causal_mask(6, 700))
    assert all(relative(out, written_out) < 1e-5 for out in (*found, grouped_attention(q, k, v, causal=True)))


def test_heads_that_groups_do_not_divide_do_not_line_up():
    with pytest.raises(ValueError, match="expected n_heads divisible by n_kv_heads, got 3 and 2"):
        grouped_attention(torch.zeros(1, 3, 1, 4), *torch.zeros(2, 1, 2, 5, 4))


@pytest.mark.parametrize("attend", [recorded, fused_attention, grouped_attention])
@pytest.mark.parametrize(
    ("mask", "told"),
    [
        (torch.zeros(2, 1, 5), r"three dimensions|boolean mask"),
        (torch.ones(2, 1, 5, dtype=torch.bool), r"three dimensions, \(2, 1, 5\).*rows or for heads"),
        (torch.zeros(1, 5), r"boolean mask, True where a query may look; got dtype torch.float32"),
        (torch.ones(1, 5, dtype=torch.long), r"got dtype torch.int64"),
        (torch.ones(1, 4, dtype=torch.bool), r"mask \(1, 4\) does not fit scores \(2, 4, 1, 5\)"),
        (torch.ones(2, 5, dtype=torch.bool), r"mask \(2, 5\) does not fit scores"),
        (torch.ones(2, 2, 1, 5, dtype=torch.bool), r"mask \(2, 2, 1, 5\) does not fit scores"),
        (torch.ones(1, 2, 1, 1, 5, dtype=torch.bool), r"mask \(1, 2, 1, 1, 5\) does not fit scores"),
    ],
)
def test_recorded_and_fused_attention_refuse_the_same_masks(attend, mask, told):
    """One query, and as many kv heads as rows: what once took a mask for rows as one for groups."""
    q, k = torch.zeros(2, 4, 1, 8), torch.zeros(2, 2, 5, 8)
    with pytest.raises(ValueError, match=told):
        attend(q, k, k, mask)


@pytest.mark.parametrize("attend", [recorded, fused_attention])
def test_causal_attention_needs_a_key_for_each_query(attend):
    with pytest.raises(ValueError, match="at least as many keys as queries, got 3 queries and 2 keys"):
        attend(torch.zeros(1, 1, 3, 4), *torch.zeros(2, 1, 1, 2, 4), causal=True)


# The module ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("is_recorded", [False, True])
def test_a_layer_equals_pytorchs_multi_head_attention(bias, is_recorded):
    ours = randomize(Attention(12, 3, qkv_bias=bias, out_bias=bias))
    theirs = nn.MultiheadAttention(12, 3, bias=bias, batch_first=True).eval()
    projections = (ours.q_proj, ours.k_proj, ours.v_proj)
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat([each.weight for each in projections]))
        theirs.out_proj.weight.copy_(ours.o_proj.weight)
        if bias:
            theirs.in_proj_bias.copy_(torch.cat([each.bias for each in projections]))
            theirs.out_proj.bias.copy_(ours.o_proj.bias)
    x = torch.randn(2, 5, 12, generator=torch.Generator().manual_seed(0))
    rows = torch.rand(2, 5, 5, generator=torch.Generator().manual_seed(1)) < 0.5
    rows[..., 0] = True
    for mask, causal in itertools.product((None, rows), (False, True)):
        allowed = torch.ones(2, 5, 5, dtype=torch.bool) if mask is None else mask
        allowed = allowed & causal_mask(5) if causal else allowed
        expected, _ = theirs(x, x, x, attn_mask=~allowed.repeat_interleave(3, dim=0))  # True forbids; (B·H, T, S)
        with torch.no_grad(), trace.record(ours) if is_recorded else contextlib.nullcontext():
            torch.testing.assert_close(ours(x, mask=mask, causal=causal), expected, rtol=1e-5, atol=1e-6)


def test_a_layer_made_by_its_sizes_equals_one_made_from_a_config():
    config = ModelConfig(
        vocab_size=9, d_model=24, n_layers=1, n_heads=4, n_kv_heads=2, head_dim=10, bias="qkv", qk_norm=True,
        norm_eps=1e-3, rope_layout="interleaved",
    )  # fmt: skip
    made = Attention(
        24, 4, n_kv_heads=2, head_dim=10, qkv_bias=True, qk_norm=True, norm_eps=1e-3, rope_layout="interleaved"
    )
    made = randomize(made)
    layer = Attention.from_config(config)
    layer.load_state_dict(made.state_dict())
    tables = rope_tables(torch.arange(5), rope_frequencies(10, 100.0), "interleaved")
    x = torch.randn(2, 5, 24, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(layer(x, tables=tables, causal=True), made(x, tables=tables, causal=True))
    assert (
        made.o_proj.bias is None
        and Attention.from_config(dataclasses.replace(config, bias="all")).o_proj.bias is not None
    )


def test_impossible_layers_and_inputs_are_refused():
    for sizes, more, told in (
        ((12, 5), {}, "d_model divisible by n_heads, got 12 and 5"),
        ((12, 6), {"n_kv_heads": 4}, "n_heads divisible by n_kv_heads, got 6 and 4"),
        ((12, 0), {}, "n_heads of at least 1, got 0"),
        ((12, 3), {"head_dim": 0}, "head_dim of at least 1, got 0"),
        ((12, 3.0), {}, "n_heads of type int, got float 3.0"),
        ((12, 3), {"rope_layout": "pairs"}, "rope_layout to be one of half, interleaved; got 'pairs'"),
    ):
        with pytest.raises(ValueError, match=told):
            Attention(*sizes, **more)
    for shape in ((5, 12), (1, 5, 11)):
        with pytest.raises(ValueError, match=r"x of shape \(B, T, 12\), got"):
            Attention(12, 3)(torch.zeros(shape))


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
    with pytest.raises(ValueError, match=r"a value for each of 2 keys, got values \(1, 1, 3, 4\)"):
        scaled_dot_product_attention(*torch.zeros(2, 1, 1, 2, 4), torch.zeros(1, 1, 3, 4))
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
