"""Counted bytes of training against what autograd saves and what an optimizer holds."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from models import TINY, TINY_LLAMA, TINY_MIXTRAL, random_model, random_tokens
from torch.utils.checkpoint import checkpoint

from llmlab import costs
from llmlab.published import PUBLISHED
from llmlab.training import memory

PLAIN = dataclasses.replace(TINY_LLAMA, norm="layernorm", ffn="gelu", position="learned", bias="all")
SHAPES = {
    "llama": TINY_LLAMA,
    "untied": dataclasses.replace(TINY_LLAMA, tie_embeddings=False),
    "gpt-2": PLAIN,
    "no ffn": dataclasses.replace(TINY_LLAMA, ffn="none"),
    "no positions": dataclasses.replace(TINY_LLAMA, position="none"),
}


def saved_bytes(model, tokens, targets):
    """Bytes of the storages that autograd keeps between the passes, weights left out."""
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = F.cross_entropy(model(tokens).flatten(0, 1), targets.flatten())
    return sum(storage.nbytes() for storage in kept.values()), loss


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize(("batch_size", "seq_len"), [(1, 5), (3, 8), (2, 12)])
def test_activations_equal_what_autograd_keeps(name, batch_size, seq_len):
    model = random_model(SHAPES[name]).train()
    tokens = random_tokens(SHAPES[name], batch_size, seq_len)
    found, _ = saved_bytes(model, tokens, tokens.clone())
    assert memory.activation_bytes(SHAPES[name], batch_size, seq_len=seq_len) == found


def test_checkpointing_keeps_the_inputs_of_the_layers_and_one_layer():
    config = dataclasses.replace(TINY_LLAMA, n_layers=4)
    model = random_model(config).train()
    for block in model.blocks:
        run = block.forward
        block.forward = lambda x, run=run, **more: checkpoint(run, x, use_reentrant=False, **more)
    tokens = random_tokens(config, 3, 8)
    found, _ = saved_bytes(model, tokens, tokens.clone())
    again = 4 * 3 * 8 * (memory.layer_numbers(config) - config.d_model)  # while a layer is computed again
    tables = 4 * 2 * 8 * config.head_dim  # the layers' arguments hold them, where the hooks do not see them
    assert memory.activation_bytes(config, 3, seq_len=8, checkpointed=True) == found + tables + again


def test_the_other_parts_equal_those_of_pytorchs_adamw():
    model = random_model(TINY_LLAMA).train()
    tokens = random_tokens(TINY_LLAMA, 2, 8)
    F.cross_entropy(model(tokens).flatten(0, 1), tokens.flatten()).backward()
    optimizer = torch.optim.AdamW(model.parameters())
    optimizer.step()
    states = optimizer.state.values()
    found = memory.training_bytes(TINY_LLAMA, 2, seq_len=8)
    assert found.weights == sum(p.nbytes for p in model.parameters())
    assert found.gradients == sum(p.grad.nbytes for p in model.parameters())
    assert found.moments == sum(state["exp_avg"].nbytes + state["exp_avg_sq"].nbytes for state in states)
    assert found.master == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_training_takes_16_bytes_a_parameter_besides_activations(dtype):
    """Rajbhandari et al. 2020, section 3.1: 2 + 2 + 12 in mixed precision."""
    config = PUBLISHED["Llama-2-7B"].config
    found = memory.training_bytes(config, 1, seq_len=4096, dtype=dtype)
    assert found.total - found.activations == 16 * costs.n_parameters(config)


def test_activations_grow_with_rows_and_tokens_alike_and_checkpointing_keeps_fewer():
    config = PUBLISHED["Llama-3.2-1B"].config
    one = memory.activation_bytes(config, 1, seq_len=1024)
    assert memory.activation_bytes(config, 2, seq_len=1024) == pytest.approx(2 * one, rel=0.001)
    assert memory.activation_bytes(config, 1, seq_len=2048) == pytest.approx(2 * one, rel=0.001)
    assert memory.activation_bytes(config, 1, seq_len=1024, checkpointed=True) < one / 2


@pytest.mark.parametrize(
    ("config", "named"),
    [
        (TINY_MIXTRAL, "n_experts"),
        (dataclasses.replace(TINY_LLAMA, qk_norm=True), "qk_norm"),
        (dataclasses.replace(TINY_LLAMA, dropout=0.1), "dropout"),
        (dataclasses.replace(TINY_LLAMA, norm_placement="post"), "norm_placement"),
        (dataclasses.replace(TINY_LLAMA, position="alibi"), "position"),
    ],
)
def test_what_cannot_be_counted_is_refused(config, named):
    with pytest.raises(ValueError, match=f"with {named}="):
        memory.activation_bytes(config, 1, seq_len=8)


def test_sizes_below_one_are_refused():
    for batch_size, seq_len in ((0, 8), (1, 0)):
        with pytest.raises(ValueError, match="at least 1"):
            memory.activation_bytes(TINY_LLAMA, batch_size, seq_len=seq_len)


def test_every_other_shape_of_the_course_is_counted_or_refused():
    for config in TINY.values():
        try:
            assert memory.activation_bytes(config, 1, seq_len=4) > 0
        except ValueError as error:
            assert "cannot count" in str(error)
