"""Scores of heads against loops over single weights and heads of known shape; ablation against zeroed weights."""

import dataclasses
import math

import pytest
import torch
from models import TINY, TINY_LLAMA, maimed, random_model, random_tokens

from llmlab import heads, trace
from llmlab.tokenization import BPETokenizer

PERIOD = 4


@pytest.fixture
def model():
    return random_model(TINY_LLAMA)


def looking_at(where, n_tokens=1 + 3 * PERIOD):
    """Weights of one head whose query t looks at the key `where(t)` alone. (1, 1, 1, T, T)."""
    weights = torch.zeros(1, 1, 1, n_tokens, n_tokens)
    for query in range(n_tokens):
        weights[0, 0, 0, query, where(query)] = 1.0
    return weights


def test_the_weights_are_those_of_every_layer(model):
    tokens = random_tokens(TINY_LLAMA, 2, 9)
    weights = heads.attention_weights(model, tokens)
    assert weights.shape == (3, 2, 4, 9, 9)
    torch.testing.assert_close(weights.sum(-1), torch.ones(3, 2, 4, 9))
    assert torch.equal(weights, weights.tril())
    with pytest.raises(ValueError, match=r"\(B, T\), got \(9,\)"):
        heads.attention_weights(model, tokens[0])


def test_scores_are_means_over_single_weights(model):
    weights = heads.attention_weights(model, random_tokens(TINY_LLAMA, 2, 9))
    for layer in range(3):
        for head in range(4):
            w = weights[layer, :, head]
            before = [w[b, t, t - 1].item() for b in range(2) for t in range(1, 9)]
            first = [w[b, t, 0].item() for b in range(2) for t in range(1, 9)]
            after = [w[b, t, t - PERIOD + 1].item() for b in range(2) for t in range(PERIOD, 9)]
            spread = [-sum(p * math.log(p) for p in w[b, t].tolist() if p > 0) for b in range(2) for t in range(9)]
            for score, values in (
                (heads.previous_token_scores(weights), before),
                (heads.first_token_scores(weights), first),
                (heads.induction_scores(weights, PERIOD), after),
                (heads.entropies(weights), spread),
            ):
                assert score[layer, head].item() == pytest.approx(sum(values) / len(values), abs=1e-5)


def test_heads_of_known_shape_have_the_scores_of_their_kind():
    induction = looking_at(lambda t: max(0, t - PERIOD + 1))
    assert heads.induction_scores(induction, PERIOD).item() == 1
    assert heads.previous_token_scores(induction).item() == pytest.approx(1 / 12)  # query 1 looks at 0
    previous = looking_at(lambda t: max(0, t - 1))
    assert heads.previous_token_scores(previous).item() == 1
    assert heads.induction_scores(previous, PERIOD).item() == 0
    assert heads.first_token_scores(looking_at(lambda t: 0)).item() == 1
    assert heads.entropies(previous).item() == 0
    even = torch.ones(1, 1, 1, 8, 8).tril()
    even = even / even.sum(-1, keepdim=True)
    assert heads.entropies(even).item() == pytest.approx(sum(math.log(t) for t in range(1, 9)) / 8)


@pytest.mark.parametrize("period", [0, 1, 9, 12])
def test_a_period_that_does_not_fit_is_named(period):
    with pytest.raises(ValueError, match=rf"from 2 to 8 for 9 tokens, got {period}"):
        heads.induction_scores(torch.ones(1, 1, 1, 9, 9), period)


def test_repeated_tokens_repeat():
    tokens = heads.repeated_tokens(range(50, 80), start=7, period=5, copies=3, batch_size=4)
    assert tokens.shape == (4, 16) and (tokens[:, 0] == 7).all()
    assert torch.equal(tokens[:, 1:6], tokens[:, 6:11]) and torch.equal(tokens[:, 1:6], tokens[:, 11:])
    assert all(len(set(row.tolist())) == 5 for row in tokens[:, 1:6])
    assert len({tuple(row.tolist()) for row in tokens}) == 4
    assert torch.equal(tokens, heads.repeated_tokens(range(50, 80), start=7, period=5, copies=3, batch_size=4))
    with pytest.raises(ValueError, match="at least 5 candidates for a period of 5, got 3"):
        heads.repeated_tokens(range(3), start=0, period=5)


def test_word_tokens_are_words():
    tokenizer = BPETokenizer.train(["the cat and the dog, the cat. 12 + 12 狗狗"] * 9, 300, special_tokens=("<s>",))
    words = [tokenizer.decode([token]) for token in heads.word_tokens(tokenizer)]
    assert " the" in words and " cat" in words
    assert all(word[0] == " " and word[1:].isascii() and word[1:].isalpha() for word in words)


def test_attention_to_sums_the_named_keys(model):
    weights = heads.attention_weights(model, random_tokens(TINY_LLAMA, 2, 9))
    found = heads.attention_to(weights, [8, 5], [[1, 3], [0]])
    torch.testing.assert_close(found[:, 0], weights[:, 0, :, 8, 1] + weights[:, 0, :, 8, 3])
    torch.testing.assert_close(found[:, 1], weights[:, 1, :, 5, 0])


@pytest.mark.parametrize("name", TINY)
def test_a_head_taken_out_is_a_head_whose_output_weights_are_zero(name):
    config = TINY[name]
    model, taken = random_model(config), [(0, 1), (0, 3), (1, 2)]
    tokens = random_tokens(config, 2, 7)
    with torch.no_grad():
        whole = model(tokens)
        with heads.without_heads(model, taken):
            torch.testing.assert_close(model(tokens), maimed(model, taken)(tokens))
        assert torch.equal(model(tokens), whole)
        with heads.without_heads(model, []):
            torch.testing.assert_close(model(tokens), whole)


@pytest.mark.parametrize("head", [(3, 0), (0, 4), (-1, 0)])
def test_a_head_that_is_not_there_is_named(model, head):
    with (
        pytest.raises(ValueError, match=rf"no head \({head[0]}, {head[1]}\); expected a layer below 3"),
        heads.without_heads(model, [head]),
    ):
        pass


@pytest.mark.parametrize("name", TINY)
def test_an_edge_cut_in_every_head_and_layer_is_a_mask_that_forbids_it(name):
    config = TINY[name]
    model, tokens, pairs = random_model(config), random_tokens(config, 2, 9), [(5, 2), (5, 5), (8, 0)]
    edges = [
        (layer, head, *pair) for layer in range(config.n_layers) for head in range(config.n_heads) for pair in pairs
    ]
    mask = torch.ones(9, 9, dtype=torch.bool).tril()
    mask[[5, 5, 8], [2, 5, 0]] = False
    with torch.no_grad():
        expected, whole = model(tokens, mask=mask), model(tokens)
        with heads.without_edges(model, edges):
            cut = model(tokens)
    torch.testing.assert_close(cut, expected, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(cut[:, 5], whole[:, 5], atol=1e-3) and torch.allclose(cut[:, :5], whole[:, :5], atol=1e-4)


def test_an_edge_that_is_not_there_is_named(model):
    for edge, message in (
        ((3, 0, 2, 1), "expected a layer below 3 and a head below 4"),
        ((0, 0, 2, 3), "query 2 does not look at key 3, only at keys 0 to 2"),
        ((0, 0, 0, 0), r"query 0 of head \(0, 0\) would have no key left"),
    ):
        with pytest.raises(ValueError, match=message), heads.without_edges(model, [edge]):
            pass
    with (
        heads.without_edges(model, [(0, 0, 9, 1)]),
        pytest.raises(ValueError, match="query 9 is not in a pass of 9 tokens"),
    ):
        model(random_tokens(TINY_LLAMA, 1, 9))
    window = dataclasses.replace(TINY_LLAMA, sliding_window=3)
    with pytest.raises(ValueError, match="query 7 does not look at key 4, only at keys 5 to 7"):
        heads.edges_by_layer(window, [(0, 0, 7, 4)])
    with pytest.raises(ValueError, match="no key left"):
        heads.edges_by_layer(window, [(0, 0, 7, key) for key in (5, 6, 7)])


def test_the_means_of_attention_are_means_over_all_tokens(model):
    batches = [random_tokens(TINY_LLAMA, 2, 9, seed=1), random_tokens(TINY_LLAMA, 1, 5, seed=2)]
    means = heads.attention_means(model, batches)
    for layer in range(3):
        found = []
        for tokens in batches:
            with torch.no_grad(), trace.record(model) as seen:
                model(tokens)
            found += [row for of_text in seen[f"blocks.{layer}.attention.out"] for row in of_text]
        assert len(found) == 23
        torch.testing.assert_close(means[layer], sum(found) / 23, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", TINY)
def test_attention_replaced_by_zeros_is_a_layer_whose_heads_are_all_out(name):
    """Zeroed output weights leave the bias; that of GPT-2's form is taken away too."""
    config = TINY[name]
    model, tokens = random_model(config), random_tokens(config, 2, 7)
    without = maimed(model, [(1, head) for head in range(config.n_heads)])
    if (bias := without.blocks[1].attention.o_proj.bias) is not None:
        torch.nn.init.zeros_(bias)
    with torch.no_grad():
        whole = model(tokens)
        with heads.attention_replaced(model, {1: torch.zeros(config.d_model)}):
            torch.testing.assert_close(model(tokens), without(tokens))
        with heads.attention_replaced(model, {}):
            torch.testing.assert_close(model(tokens), whole)


def test_attention_replaced_by_a_vector_adds_it_at_every_position(model):
    tokens, vector = random_tokens(TINY_LLAMA, 2, 7), torch.linspace(-1, 1, TINY_LLAMA.d_model)
    changed = maimed(model, [(2, head) for head in range(TINY_LLAMA.n_heads)])
    with torch.no_grad(), heads.attention_replaced(model, {2: vector}), trace.record(model) as seen:
        model(tokens)
    with torch.no_grad(), trace.record(changed) as alike:
        changed(tokens)
    torch.testing.assert_close(seen["blocks.2.middle"], alike["blocks.2.middle"] + vector)


@pytest.mark.parametrize(
    "added, message",
    [({3: torch.zeros(32)}, "no layer 3; expected one from 0 to 2"), ({0: torch.zeros(7)}, r"\(32,\), got \(7,\)")],
)
def test_a_replacement_that_does_not_fit_is_named(model, added, message):
    with pytest.raises(ValueError, match=message), heads.attention_replaced(model, added):
        pass


# How heads work together --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TINY)
def test_the_additions_of_the_heads_sum_to_what_attention_adds(name):
    model = random_model(TINY[name])
    with torch.no_grad(), trace.record(model) as seen:
        model(random_tokens(TINY[name], 2, 9))
    for layer, block in enumerate(model.blocks):
        bias = block.attention.o_proj.bias
        summed = heads.additions(model, seen, layer).sum(0) + (0 if bias is None else bias)
        torch.testing.assert_close(summed, seen[f"blocks.{layer}.attention.out"], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", TINY)
def test_the_keys_of_an_untouched_stream_are_those_of_the_model(name):
    model = random_model(TINY[name])
    with torch.no_grad(), trace.record(model) as seen:
        model(random_tokens(TINY[name], 2, 9))
        ours = heads.keys_of(model, 1, seen["blocks.0.residual"])
    torch.testing.assert_close(ours, seen["blocks.1.attention.k"], atol=1e-5, rtol=1e-5)


def test_keys_that_lack_a_head_score_as_computed_one_by_one(model):
    """By loops: the reader's scores from its queries and the changed keys, for one earlier head."""
    tokens = heads.repeated_tokens(range(10, 60), start=1, period=PERIOD, batch_size=2)
    fed = heads.induction_fed_by(model, tokens, PERIOD, (2, 3))
    assert fed.shape == (2, 4)
    with torch.no_grad(), trace.record(model) as seen:
        model(tokens)
    size = TINY_LLAMA.head_dim
    read = seen["blocks.1.attention.heads"][:, 2]  # (B, T, d)
    added = read @ model.blocks[1].attention.o_proj.weight[:, 2 * size : 3 * size].T
    k = heads.keys_of(model, 2, seen["blocks.1.residual"] - added)[:, 1]  # heads 2 and 3 share the second kv head
    q = seen["blocks.2.attention.q"][:, 3]
    found = []
    for row in range(2):
        for t in range(PERIOD + 1, 2 * PERIOD + 1):  # the second copy, the start token being 0
            chances = torch.stack([q[row, t] @ k[row, s] / size**0.5 for s in range(1 + t)]).softmax(0)
            found.append(chances[t - PERIOD + 1])
    assert fed[1, 2].item() == pytest.approx(torch.stack(found).mean().item(), abs=1e-5)


def test_a_head_that_writes_nothing_feeds_nobody(model):
    quiet = maimed(model, [(0, 0)])
    tokens = heads.repeated_tokens(range(10, 60), start=1, period=PERIOD, batch_size=2)
    intact = heads.induction_scores(heads.attention_weights(quiet, tokens)[..., 1:, 1:], PERIOD)[1, 2]
    fed = heads.induction_fed_by(quiet, tokens, PERIOD, (1, 2))
    torch.testing.assert_close(fed[0, 0], intact, atol=1e-6, rtol=1e-5)
    assert (fed[0, 1:] - intact).abs().max() > 1e-4
    with pytest.raises(ValueError, match=r"above the first layer.*\(0, 2\)"):
        heads.induction_fed_by(quiet, tokens, PERIOD, (0, 2))
