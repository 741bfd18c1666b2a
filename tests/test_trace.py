import threading

import pytest
import torch
from models import EVERY, TINY_LLAMA, random_model, random_tokens

from llmlab import trace
from llmlab.attention import scaled_dot_product_attention
from llmlab.kv_cache import KVCache
from llmlab.tap import tapped


@pytest.fixture
def model():
    return random_model(TINY_LLAMA)


@pytest.fixture
def tokens():
    return random_tokens(TINY_LLAMA, 2, 7)


def test_recorded_tensors_rebuild_the_forward_pass(model, tokens):
    with torch.no_grad(), trace.record(model) as seen:
        logits = model(tokens)
    stream = model.embedding.weight[tokens]
    torch.testing.assert_close(seen["embedding"], stream)
    for layer, block in enumerate(model.blocks):
        path = f"blocks.{layer}."
        q, k, v = (seen[f"{path}attention.{name}"] for name in "qkv")
        mask = torch.ones(7, 7, dtype=torch.bool).tril()
        heads = scaled_dot_product_attention(q, k, v, mask)
        torch.testing.assert_close(seen[f"{path}attention.heads"], heads)
        torch.testing.assert_close(seen[f"{path}attention.weights"].sum(-1), torch.ones(2, 4, 7))
        out = heads.transpose(1, 2).flatten(2) @ block.attention.o_proj.weight.T
        torch.testing.assert_close(seen[f"{path}attention.out"], out)
        torch.testing.assert_close(seen[f"{path}middle"], stream + out)
        torch.testing.assert_close(seen[f"{path}ffn.out"], seen[f"{path}ffn.hidden"] @ block.ffn.down.weight.T)
        stream = stream + out + seen[f"{path}ffn.out"]
        torch.testing.assert_close(seen[f"{path}residual"], stream)
    torch.testing.assert_close(seen["final"] @ model.embedding.weight.T, logits)
    assert torch.equal(seen["logits"], logits)


@pytest.mark.parametrize("family", EVERY)
def test_every_documented_name_exists(family):
    model = random_model(EVERY[family])
    with torch.no_grad(), trace.record(model) as seen:
        model(random_tokens(model.config, 1, 3))
    last = f"blocks.{model.config.n_layers - 1}."
    names = [
        "attention.q",
        "attention.k",
        "attention.v",
        "attention.scores",
        "attention.weights",
        "attention.heads",
    ]
    for name in [*names, "attention.out", "middle", "ffn.out", "residual"]:
        assert last + name in seen
    assert {"embedding", "final", "logits"} <= seen.keys()


def test_patterns_choose_what_is_kept(model, tokens):
    with torch.no_grad(), trace.record(model, ["blocks.*.attention.weights"]) as seen:
        model(tokens)
    assert list(seen) == [f"blocks.{layer}.attention.weights" for layer in range(3)]


def test_with_a_cache_the_weights_reach_the_past(model, tokens):
    cache = KVCache(TINY_LLAMA, 2, 7)
    with torch.inference_mode():
        with trace.record(model, "blocks.1.attention.weights") as whole:
            model(tokens)
        model(tokens[:, :6], cache=cache)
        with trace.record(model, "blocks.1.attention.weights") as last:
            model(tokens[:, 6:], cache=cache)
    name = "blocks.1.attention.weights"
    assert last[name].shape == (2, 4, 1, 7)
    torch.testing.assert_close(last[name], whole[name][:, :, 6:], rtol=1e-4, atol=1e-6)


def test_ablating_attention_equals_a_model_whose_projection_is_zero(model, tokens):
    with torch.no_grad():
        with trace.patch(model, {"blocks.1.attention.out": torch.zeros_like}):
            patched = model(tokens)
        plain = model(tokens)
        model.blocks[1].attention.o_proj.weight.zero_()
        torch.testing.assert_close(patched, model(tokens))
        assert not torch.allclose(patched, plain)


def test_patching_the_last_residual_of_another_run_gives_its_logits(model, tokens):
    other = random_tokens(TINY_LLAMA, 2, 7, seed=8)
    name = "blocks.2.residual"
    with torch.no_grad():
        with trace.record(model, [name]) as seen:
            wanted = model(other)
        with trace.patch(model, {name: lambda x: seen[name]}):
            torch.testing.assert_close(model(tokens), wanted)


def test_a_recorder_sees_what_patches_made_in_either_order(model, tokens):
    name = "blocks.0.attention.out"
    with torch.no_grad():
        with trace.patch(model, {name: torch.ones_like}), trace.record(model, [name]) as inside:
            model(tokens)
        with trace.record(model, [name]) as outside, trace.patch(model, {name: torch.ones_like}):
            model(tokens)
    assert (inside[name] == 1).all() and (outside[name] == 1).all()


def test_gradients_reach_recorded_tensors(model, tokens):
    with trace.record(model, ["blocks.1.attention.weights"], keep_graph=True) as seen:
        logits = model(tokens)
    (gradient,) = torch.autograd.grad(logits.sum(), seen["blocks.1.attention.weights"])
    assert gradient.abs().max() > 0


def test_listening_belongs_to_one_model_and_one_thread(model, tokens):
    other, elsewhere = random_model(TINY_LLAMA, seed=1), []
    with torch.no_grad(), trace.record(model) as seen:
        other(tokens)
        thread = threading.Thread(target=lambda: elsewhere.append(tapped()))
        thread.start()
        thread.join()
    assert seen == {} and elsewhere == [False] and not tapped()


def test_listening_ends_with_the_block_even_after_an_error(model, tokens):
    with pytest.raises(ZeroDivisionError), trace.record(model):
        1 / 0  # noqa: B018
    assert not tapped()


def test_a_wrong_name_is_met_with_near_ones(model, tokens):
    with (
        pytest.raises(KeyError, match=r"no tensor named 'blocks.0.atention.weights'; near it are blocks.0.attention.w"),
        torch.no_grad(),
        trace.record(model, ["blocks.0.atention.weights"]),
    ):
        model(tokens)
    unknown = pytest.raises(KeyError, match=r"no tensor named 'blocks.7.residual'")
    with unknown, torch.no_grad(), trace.patch(model, {"blocks.7.residual": torch.zeros_like}):
        model(tokens)


def test_a_patch_of_another_shape_is_refused(model, tokens):
    message = r"patch of final was given \(2, 7, 32\) and returned \(2, 7\)"
    refused = pytest.raises(ValueError, match=message)
    with torch.no_grad(), refused, trace.patch(model, {"final": lambda x: x.sum(-1)}):
        model(tokens)
