"""Fewer kv heads for a trained model: against brute force, tied heads, and what must not change."""

import pytest
import torch

from llmlab import load_model
from llmlab.config import ModelConfig
from llmlab.converting import share_kv_heads
from llmlab.kv_cache import KVCache
from llmlab.transformer import Transformer


def drawn(**changes):
    """A small model with 6 heads whose biases and norms are no zeros and ones."""
    sizes = {"vocab_size": 40, "d_model": 24, "n_layers": 2, "n_heads": 6, "head_dim": 4, "init_std": 0.3}
    model = Transformer(ModelConfig(**sizes | changes))
    generator = torch.Generator().manual_seed(5)
    for parameter in model.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) * 0.3
    return model.eval()


def rows(attention):
    """The rows of keys and values: each head's d of weights and, where there are, biases; name -> (G·d, …)."""
    named = {"k": attention.k_proj, "v": attention.v_proj}
    return {f"{of}.{name}": one for of, projection in named.items() for name, one in projection.named_parameters()}


TOKENS = torch.tensor([[3, 1, 4, 1, 5, 9, 2, 6], [5, 35, 8, 9, 7, 9, 3, 2]])


@pytest.mark.parametrize("n_kv_heads", [1, 2, 3])
@pytest.mark.parametrize("how", ["mean", "first"])
@pytest.mark.parametrize("changes", [{}, {"bias": "all", "qk_norm": True}, {"bias": "qkv", "n_kv_heads": 6}])
def test_heads_that_are_tied_are_shared_without_a_loss(n_kv_heads, how, changes):
    """Neighbors with equal keys and values say the same before and after; all heads of a group read what they read."""
    model, size = drawn(**changes), 6 // n_kv_heads
    for block in model.blocks:
        for one in rows(block.attention).values():
            heads = one.data.view(6, 4, -1)
            for head in range(6):
                heads[head] = heads[head // size * size]
    shared = share_kv_heads(model, n_kv_heads, how=how)
    assert shared.config.n_kv_heads == shared.blocks[1].attention.n_kv_heads == n_kv_heads
    torch.testing.assert_close(shared(TOKENS), model(TOKENS), rtol=1e-5, atol=1e-5)


def test_groups_are_neighbors():
    """Tied with a stride, as a group is not, the heads lose something."""
    model = drawn()
    for block in model.blocks:
        for one in rows(block.attention).values():
            heads = one.data.view(6, 4, -1)
            for head in range(6):
                heads[head] = heads[head % 2]
    assert not torch.allclose(share_kv_heads(model, 2)(TOKENS), model(TOKENS), atol=1e-2)


@pytest.mark.parametrize("how", ["mean", "first"])
@pytest.mark.parametrize("held, n_kv_heads", [(6, 6), (6, 3), (6, 2), (6, 1), (3, 1)])
def test_each_row_is_that_of_a_loop_over_query_heads(how, held, n_kv_heads):
    """Query head h read kv head h·G // H of the old model: those that its new head serves are gathered, one by one."""
    model = drawn(n_kv_heads=held, bias="all")
    shared = share_kv_heads(model, n_kv_heads, how=how)
    for old, new in zip(model.blocks, shared.blocks, strict=True):
        theirs = rows(new.attention)
        assert len(theirs) == 4
        for name, one in rows(old.attention).items():
            read = {g: [] for g in range(n_kv_heads)}
            for h in range(6):
                if (was := h * held // 6) not in read[h * n_kv_heads // 6]:
                    read[h * n_kv_heads // 6].append(was)
            for g, of_group in read.items():
                for i in range(4):
                    wanted = [one[was * 4 + i] for was in of_group]
                    expected = sum(wanted) / len(wanted) if how == "mean" else wanted[0]
                    torch.testing.assert_close(theirs[name][g * 4 + i], expected, msg=f"{name}, head {g}")


def test_all_but_keys_and_values_is_a_copy_that_shares_no_memory():
    model = drawn(bias="all", qk_norm=True, n_kv_heads=3)
    model.blocks[0].ffn.up.weight.requires_grad_(False)
    model(TOKENS).sum().backward()
    before = {name: one.clone() for name, one in model.state_dict().items()}
    for how in ("mean", "first", "drawn"):
        for n_kv_heads in (1, 3):
            shared = share_kv_heads(model.train(), n_kv_heads, how=how)
            assert shared.training and shared.head.weight is shared.embedding.weight
            theirs = dict(shared.named_parameters())
            storages = {one.untyped_storage().data_ptr() for one in model.parameters()}
            for name, one in model.named_parameters():
                assert theirs[name].requires_grad == one.requires_grad and theirs[name].grad is None, name
                assert theirs[name].untyped_storage().data_ptr() not in storages, name
                if ".k_proj." not in name and ".v_proj." not in name:
                    assert torch.equal(theirs[name], one), name
            for one in shared.parameters():
                one.data.fill_(7)
    assert model.config.n_kv_heads == 3 and model.blocks[0].attention.k_proj.out_features == 12
    assert all(torch.equal(one, before[name]) for name, one in model.state_dict().items())


def test_drawn_heads_have_the_spread_of_a_new_model_and_come_from_the_generator():
    model = drawn(d_model=512, bias="qkv", init_std=0.05)
    one, again, other = (
        share_kv_heads(model, 2, how="drawn", generator=torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    k, v = one.blocks[0].attention.k_proj, one.blocks[0].attention.v_proj
    assert k.weight.shape == (8, 512) and k.weight.std().item() == pytest.approx(0.05, rel=0.1)
    assert not k.bias.any() and not torch.equal(k.weight, v.weight)
    assert torch.equal(k.weight, again.blocks[0].attention.k_proj.weight)
    assert not torch.equal(k.weight, other.blocks[0].attention.k_proj.weight)


def test_the_converted_sibling_decodes_with_a_cache_of_its_own_heads():
    model = share_kv_heads(load_model("mha")[0], 2)
    assert not model.training
    cache = KVCache(model.config, 2, 8)
    with torch.inference_mode():
        steps = [model(TOKENS[:, t : t + 1], cache=cache) for t in range(8)]
        torch.testing.assert_close(torch.cat(steps, dim=1), model(TOKENS), rtol=1e-4, atol=1e-4)
    assert cache.keys(0).shape[1] == 2


def test_a_model_of_another_dtype_stays_in_it():
    shared = share_kv_heads(drawn().to(torch.bfloat16), 2, how="drawn")
    assert {one.dtype for one in shared.parameters()} == {torch.bfloat16}


@pytest.mark.parametrize(
    "held, n_kv_heads, how, message",
    [
        (6, 4, "mean", "expected n_kv_heads that divides the model's 6, got 4"),
        (3, 2, "mean", "expected n_kv_heads that divides the model's 3, got 2"),
        (3, 6, "mean", "expected n_kv_heads that divides the model's 3, got 6"),
        (6, 0, "mean", "expected n_kv_heads of at least 1, got 0"),
        (6, 2, "median", "expected how to be one of mean, first, drawn; got 'median'"),
    ],
)
def test_what_cannot_be_shared_is_named(held, n_kv_heads, how, message):
    with pytest.raises(ValueError, match=message):
        share_kv_heads(drawn(n_kv_heads=held), n_kv_heads, how=how)


def test_a_model_with_latents_has_no_heads_to_share():
    model = drawn(attention="mla")
    with pytest.raises(ValueError, match="expected a model with kv heads to share, attention='gqa'; got 'mla'"):
        share_kv_heads(model, 2)
