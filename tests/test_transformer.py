"""The whole model against `transformers`, with every parameter random: a zero bias or a unit norm can hide nothing."""

import contextlib
import copy
import dataclasses
import json

import pytest
import torch
import transformers
from models import EVERY, random_model, random_tokens, randomize, relative
from torch import nn

from llmlab import norms, rope, trace, training
from llmlab.checkpoint import load, load_pretrained, save
from llmlab.config import ModelConfig
from llmlab.kv_cache import KVCache
from llmlab.transformer import Block, Transformer

SHAPE = {
    "vocab_size": 101, "hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 6,
    "num_key_value_heads": 2, "intermediate_size": 80, "max_position_embeddings": 64,
}  # fmt: skip
HF = {
    "llama": lambda: transformers.LlamaForCausalLM(transformers.LlamaConfig(**SHAPE, rms_norm_eps=1e-3)),
    "llama, tied, biased": lambda: transformers.LlamaForCausalLM(
        transformers.LlamaConfig(**SHAPE, tie_word_embeddings=True, attention_bias=True)
    ),
    "llama 3.1": lambda: transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            **SHAPE,
            rope_parameters={
                "rope_type": "llama3", "rope_theta": 1000.0, "factor": 8.0, "low_freq_factor": 1.0,
                "high_freq_factor": 4.0, "original_max_position_embeddings": 16,
            },
        )
    ),
 "llama, yarn": lambda: transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            **SHAPE,
            rope_parameters={
                "rope_type": "yarn", "rope_theta": 1000.0, "factor": 4.0, "original_max_position_embeddings": 16,
            },
        )
    ),
    "qwen3, yarn of its own": lambda: transformers.Qwen3ForCausalLM(
        transformers.Qwen3Config(
            **SHAPE,
            head_dim=32,
            rope_parameters={
                "rope_type": "yarn", "rope_theta": 100.0, "factor": 8.0, "original_max_position_embeddings": 8,
                "beta_fast": 4.0, "beta_slow": 0.5, "mscale": 1.0, "mscale_all_dim": 0.5,
            },
        )
    ),
    "qwen2": lambda: transformers.Qwen2ForCausalLM(transformers.Qwen2Config(**SHAPE)),
    "qwen3": lambda: transformers.Qwen3ForCausalLM(transformers.Qwen3Config(**SHAPE, head_dim=16)),
    "mistral": lambda: transformers.MistralForCausalLM(transformers.MistralConfig(**SHAPE, sliding_window=6)),
    "mixtral": lambda: transformers.MixtralForCausalLM(
        transformers.MixtralConfig(**SHAPE, num_local_experts=4, num_experts_per_tok=2, sliding_window=None)
    ),
    "gpt2": lambda: transformers.GPT2LMHeadModel(
        transformers.GPT2Config(vocab_size=101, n_embd=48, n_layer=3, n_head=6, n_positions=64)
    ),
}  # fmt: skip


TOLERANCE = 1e-5  # relative to the largest logit


@pytest.fixture(scope="module", params=HF)
def pair(request, tmp_path_factory):
    """A random Hugging Face model and ours, opened from the folder that it saved."""
    torch.manual_seed(0)
    theirs = randomize(HF[request.param]())
    folder = tmp_path_factory.mktemp("hf")
    theirs.save_pretrained(folder)
    return theirs, load_pretrained(folder)


def logits(model, tokens, **arguments):
    with torch.inference_mode():
        out = model(tokens, **arguments)
    return out if isinstance(out, torch.Tensor) else out.logits


def test_logits_equal_transformers(pair):
    theirs, ours = pair
    tokens = random_tokens(ours.config, 2, 20)
    assert relative(logits(ours, tokens), logits(theirs, tokens)) <= TOLERANCE


def test_cached_logits_equal_transformers(pair):
    theirs, ours = pair
    tokens = random_tokens(ours.config, 2, 20)
    cache = KVCache(ours.config, 2, 20)
    parts = [logits(ours, chunk, cache=cache) for chunk in tokens.split([9, 5, 1, 1, 1, 3], dim=1)]
    assert relative(torch.cat(parts, dim=1), logits(theirs, tokens)) <= TOLERANCE


def test_parameters_are_as_many_as_in_transformers(pair):
    theirs, ours = pair
    assert sum(p.numel() for p in ours.parameters()) == sum(p.numel() for p in theirs.parameters())


def drop_a_bias(model):
    model.blocks[1].attention.k_proj.bias.data.zero_()
    model.blocks[1].attention.v_proj.bias.data.zero_()


def use_the_exact_gelu(model):
    for block in model.blocks:
        block.ffn.activation = nn.functional.gelu


def use_the_other_rope_layout(model):
    for block in model.blocks:
        block.attention.rope_layout = "interleaved"


def use_another_epsilon(model):
    for module in model.modules():
        if isinstance(module, (norms.RMSNorm, norms.LayerNorm)):
            module.eps *= 10


def forget_a_norm(model):
    model.norm = None


FAULTS = {
    "gpt2": [drop_a_bias, use_the_exact_gelu, use_another_epsilon, forget_a_norm],
    "qwen2": [drop_a_bias, use_the_other_rope_layout, use_another_epsilon],
    "llama": [use_the_other_rope_layout, use_another_epsilon, forget_a_norm],
}


@pytest.mark.parametrize(("family", "fault"), [(f, fault) for f, faults in FAULTS.items() for fault in faults])
def test_a_fault_shows_in_the_comparison(family, fault, tmp_path):
    torch.manual_seed(0)
    theirs = randomize(HF[family]())
    theirs.save_pretrained(tmp_path)
    ours = load_pretrained(tmp_path)
    fault(ours)
    tokens = random_tokens(ours.config, 2, 20)
    assert relative(logits(ours, tokens), logits(theirs, tokens)) > 2 * TOLERANCE


# Positions and packing ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", EVERY)
def test_later_tokens_change_nothing_before_them(family):
    model = random_model(EVERY[family])
    tokens = random_tokens(model.config, 1, 12)
    changed = tokens.clone()
    changed[0, 8:] = (changed[0, 8:] + 1) % model.config.vocab_size
    a, b = logits(model, tokens), logits(model, changed)
    torch.testing.assert_close(a[:, :8], b[:, :8], rtol=1e-5, atol=1e-5)
    assert (a[:, 8:] - b[:, 8:]).abs().max() > 0.1


def test_given_positions_equal_a_shifted_sequence():
    model = random_model(EVERY["llama"])
    tokens = random_tokens(model.config, 1, 12)
    shifted = logits(model, tokens, positions=torch.arange(12) + 30)
    torch.testing.assert_close(shifted, logits(model, tokens), rtol=1e-4, atol=1e-4)  # RoPE is relative
    learned = random_model(EVERY["gpt2"])
    assert (logits(learned, tokens, positions=torch.arange(12) + 30) - logits(learned, tokens)).abs().max() > 0.1


def test_without_positions_a_two_way_model_only_shuffles_with_its_input():
    model = random_model(dataclasses.replace(EVERY["llama"], position="none"))
    tokens, order = random_tokens(model.config, 1, 9), torch.randperm(9)
    everything = torch.ones(9, 9, dtype=torch.bool)
    straight, shuffled = (logits(model, t, mask=everything) for t in (tokens, tokens[:, order]))
    torch.testing.assert_close(shuffled, straight[:, order], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("cast", [lambda m: m.bfloat16(), lambda m: m.half(), lambda m: m.to(torch.float16)])
def test_a_model_cast_to_half_precision_turns_far_tokens_by_the_right_angles(cast):
    """θ = 500,000 (Llama 3): frequencies in bfloat16 would be off by more than a radian at position 1,000."""
    config = dataclasses.replace(EVERY["llama"], rope_theta=500_000.0, head_dim=64)
    model, tokens, positions = random_model(config), random_tokens(config, 1, 6), torch.arange(6) + 1000
    keys = []
    for each in (model, cast(copy.deepcopy(model))):
        with torch.inference_mode(), trace.record(each, ["blocks.0.attention.k"]) as seen:
            each(tokens, positions=positions)
        keys.append(seen["blocks.0.attention.k"])
    assert keys[1].dtype != torch.float32
    assert relative(keys[1].float(), keys[0]) < 0.02


def test_a_float64_model_is_float64_throughout():
    """RoPE is relative: in exact arithmetic a shift changes nothing, and a table in float32 would leave 1e-5 of it."""
    model = random_model(EVERY["qwen3"]).double()
    tokens = random_tokens(model.config, 2, 9)
    straight = logits(model, tokens)
    assert straight.dtype == torch.float64
    assert relative(logits(model, tokens, positions=torch.arange(9) + 5000), straight) < 1e-11
    cache = KVCache(model.config, 2, 9, dtype=torch.float64)
    parts = [logits(model, chunk, cache=cache) for chunk in tokens.split([4, 1, 3, 1], dim=1)]
    assert relative(torch.cat(parts, dim=1), straight) < 1e-13


@pytest.mark.parametrize("family", EVERY)
def test_gradients_of_a_float64_model_equal_differences(family):
    model = random_model(EVERY[family]).double()
    tokens, weights = random_tokens(model.config, 1, 5), torch.randn(1, 5, 97, dtype=torch.float64)

    def of_the_first_norm(weight):
        given = {"blocks.0.attention_norm.weight": weight}
        return (torch.func.functional_call(model, given, (tokens,)) * weights).sum()

    weight = model.blocks[0].attention_norm.weight.detach().clone().requires_grad_()
    assert torch.autograd.gradcheck(of_the_first_norm, (weight,))


def test_frequencies_survive_the_meta_device_and_a_saved_file(tmp_path):
    model = random_model(EVERY["llama"])
    tokens = random_tokens(model.config, 1, 9)
    save(model, tmp_path / "model.safetensors")
    assert torch.equal(logits(load(tmp_path / "model.safetensors"), tokens), logits(model, tokens))
    state = model.state_dict()
    again = copy.deepcopy(model).to("meta").to_empty(device="cpu")
    again.load_state_dict(state)
    assert torch.equal(logits(again, tokens), logits(model, tokens))
    assert not any("freqs" in name for name in state)


def test_rope_frequencies_follow_the_config():
    config = dataclasses.replace(EVERY["llama"], rope_theta=500.0)
    torch.testing.assert_close(Transformer(config).freqs, rope.rope_frequencies(8, 500.0))


@pytest.mark.parametrize("family", EVERY)
def test_a_token_may_stand_past_the_trained_length_only_without_learned_positions(family):
    model = random_model(dataclasses.replace(EVERY[family], max_seq_len=8))
    tokens = random_tokens(model.config, 1, 12)
    if model.position_embedding is None:
        assert torch.isfinite(logits(model, tokens)).all()
    else:
        with pytest.raises(ValueError, match="8 learned positions; position 11 was asked for"):
            logits(model, tokens)


@pytest.mark.parametrize(
    ("positions", "told"),
    [
        (torch.tensor([3]), r"shape \(5,\) or \(2, 5\), one for each token; got torch.int64 \(1,\)"),
        (torch.tensor([[3], [4]]), r"got torch.int64 \(2, 1\)"),
        (torch.arange(5)[None], r"got torch.int64 \(1, 5\)"),
        (torch.arange(5).expand(3, 5), r"got torch.int64 \(3, 5\)"),
        (torch.tensor(3), r"got torch.int64 \(\)"),
        (torch.arange(6), r"got torch.int64 \(6,\)"),
        (torch.arange(5).float(), r"whole positions.*got torch.float32 \(5,\)"),
        (torch.ones(5, dtype=torch.bool), r"got torch.bool"),
        (torch.arange(5) - 2, r"positions of at least 0, got -2"),
    ],
)
@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_positions_that_are_not_one_for_each_token_are_refused(family, positions, told):
    model = random_model(EVERY[family])
    with pytest.raises(ValueError, match=told):
        model(random_tokens(model.config, 2, 5), positions=positions)


# Masks, windows and devices -----------------------------------------------------------------------------------------


def windowed(window):
    """Two models of the same weights, with a sliding window and without."""
    config = dataclasses.replace(EVERY["llama"], sliding_window=window)
    return random_model(config), random_model(EVERY["llama"])


def by_definition(allows, n_tokens, n_rows=1):
    rows = range(n_rows)
    return torch.tensor(
        [[[[allows(b, t, s) for s in range(n_tokens)] for t in range(n_tokens)]] for b in rows]
    )  # (B, 1, T, S)


MASKS = {  # which key s a query t of row b may see
    "causal": lambda b, t, s: s <= t,
    "documents": lambda b, t, s: s <= t and (s < 4 + b) == (t < 4 + b),
    "two-way": lambda b, t, s: True,
    "thinned": lambda b, t, s: s == t or (s + t + b) % 3 == 0,
}


@pytest.mark.parametrize("kind", MASKS)
@pytest.mark.parametrize("window", [1, 3, 20])
def test_a_window_holds_under_every_mask(kind, window):
    narrow, wide = windowed(window)
    tokens, allows = random_tokens(narrow.config, 2, 9), MASKS[kind]
    within = by_definition(lambda b, t, s: allows(b, t, s) and s > t - window, 9, 2)
    got = logits(narrow, tokens, mask=by_definition(allows, 9, 2))
    assert relative(got, logits(wide, tokens, mask=within)) < 1e-5
    if kind == "causal":
        assert relative(got, logits(narrow, tokens)) < 1e-5


def test_packed_documents_are_windowed_like_each_document_alone():
    narrow, _ = windowed(3)
    documents = [random_tokens(narrow.config, n, seed=n).tolist() for n in (7, 9)]
    batch = training.pack(documents, 1, 15)
    packed = logits(narrow, batch.tokens, positions=batch.positions, mask=batch.mask)[0]
    for start, document in ((0, documents[0]), (7, documents[1][:8])):
        alone = logits(narrow, torch.tensor([document]))[0]
        assert relative(packed[start : start + len(document)], alone) < 1e-5


@pytest.mark.parametrize("kind", MASKS)
@pytest.mark.parametrize("window", [None, 3])
@pytest.mark.parametrize("held", [0, 4])
def test_a_mask_with_a_cache_counts_the_keys_of_the_cache(kind, window, held):
    narrow, _ = windowed(window)
    tokens, mask = random_tokens(narrow.config, 2, 9), by_definition(MASKS[kind], 9, 2)
    mask[:, :, :held, held:] = False  # what was read first could not see what comes later
    cache, parts = KVCache(narrow.config, 2, 12), []
    if held:
        parts.append(logits(narrow, tokens[:, :held], mask=mask[:, :, :held, :held], cache=cache))
    parts.append(logits(narrow, tokens[:, held:], mask=mask[:, :, held:], cache=cache))
    assert relative(torch.cat(parts, dim=1), logits(narrow, tokens, mask=mask)) < 1e-5


@pytest.mark.parametrize("window", [None, 3])
@pytest.mark.parametrize("n_new", [1, 4])
def test_a_mask_with_rows_of_unequal_lengths_equals_each_row_alone(window, n_new):
    """Everything is allowed, and yet no row sees what it does not hold."""
    narrow, _ = windowed(window)
    tokens, new = random_tokens(narrow.config, 2, 6), random_tokens(narrow.config, 2, n_new, seed=3)
    cache, lengths = KVCache(narrow.config, 2, 12), [2, 6]
    logits(narrow, tokens, cache=cache)
    cache.truncate(lengths)
    together = logits(narrow, new, mask=torch.ones(n_new, 6 + n_new, dtype=torch.bool), cache=cache)
    for row, length in enumerate(lengths):
        own = KVCache(narrow.config, 1, 12)
        logits(narrow, tokens[row : row + 1, :length], cache=own)
        everything = torch.ones(n_new, length + n_new, dtype=torch.bool)
        alone = logits(narrow, new[row : row + 1], mask=everything, cache=own)
        assert relative(together[row], alone[0]) < 1e-5


@pytest.mark.parametrize("is_recorded", [False, True])
def test_masks_of_all_shapes_mean_the_same(is_recorded):
    model = random_model(EVERY["llama"])
    tokens, mask = random_tokens(model.config, 2, 5), by_definition(MASKS["documents"], 5, 2)
    alone = [logits(model, tokens[row : row + 1], mask=mask[row, 0]) for row in (0, 1)]  # (T, S)
    with trace.record(model, ["final"]) if is_recorded else contextlib.nullcontext():
        for shaped in (mask, mask[:, 0], mask.expand(2, 4, 5, 5)):
            assert relative(logits(model, tokens, mask=shaped), torch.cat(alone)) < 1e-5


@pytest.mark.parametrize(
    ("mask", "told"),
    [
        (torch.ones(5, 5), "boolean mask, True where a query may look; got dtype torch.float32"),
        (torch.ones(5, 5, dtype=torch.long), "got dtype torch.int64"),
        (torch.ones(5, 4, dtype=torch.bool), r"mask \(5, 4\) does not fit scores \(2, 4, 5, 5\)"),
        (torch.ones(4, 5, 5, dtype=torch.bool), r"mask \(4, 1, 5, 5\) does not fit"),  # one for each head
        (torch.ones(2, 2, 5, 5, dtype=torch.bool), r"mask \(2, 2, 5, 5\) does not fit"),  # one for each kv head
        (torch.ones(1, 2, 4, 5, 5, dtype=torch.bool), r"mask \(1, 2, 4, 5, 5\) does not fit"),
    ],
)
@pytest.mark.parametrize("is_recorded", [False, True])
def test_a_mask_that_does_not_fit_is_refused(is_recorded, mask, told):
    model = random_model(EVERY["llama"])
    with (
        pytest.raises(ValueError, match=told),
        trace.record(model) if is_recorded else contextlib.nullcontext(),
    ):
        model(random_tokens(model.config, 2, 5), mask=mask)


def test_a_mask_with_a_cache_must_count_what_it_holds():
    model, cache = random_model(EVERY["llama"]), KVCache(EVERY["llama"], 1, 9)
    logits(model, random_tokens(model.config, 1, 4), cache=cache)
    with pytest.raises(ValueError, match=r"mask \(2, 2\) does not fit scores \(1, 4, 2, 6\)"):
        logits(model, random_tokens(model.config, 1, 2), mask=torch.ones(2, 2, dtype=torch.bool), cache=cache)
    assert cache.lengths.tolist() == [4]


@pytest.mark.parametrize("family", ["llama", "gpt2", "qwen3", "windowed"])  # experts are chosen by numbers
@pytest.mark.parametrize("given", ["nothing", "mask", "positions", "cache", "unequal rows"])
def test_nothing_is_left_on_the_cpu(family, given):
    """The meta device has shapes and no numbers; an operation that mixes it with the CPU raises."""
    model = windowed(3)[0] if family == "windowed" else random_model(EVERY[family])
    model, tokens, arguments = model.to("meta"), torch.zeros(2, 6, dtype=torch.long, device="meta"), {}
    if given == "mask":
        arguments["mask"] = torch.ones(2, 6, 6, dtype=torch.bool)
    elif given == "positions":
        arguments["positions"] = torch.zeros(6, dtype=torch.long, device="meta")
    elif given != "nothing":
        arguments["cache"] = KVCache(model.config, 2, 20, device="meta")
        assert model(tokens, **arguments).shape == (2, 6, 97)
        if given == "unequal rows":
            arguments["cache"].truncate([2, 5])
    out = model(tokens, **arguments)
    assert out.is_meta and out.shape == (2, 6, 97)


# Structure ----------------------------------------------------------------------------------------------------------


def test_post_norm_normalizes_after_adding():
    config = dataclasses.replace(EVERY["llama"], norm_placement="post", n_layers=1)
    block = randomize(Block(config))
    x = torch.randn(1, 3, 32)
    after_attention = block.attention_norm(x + block.attention(x, causal=True))
    expected = block.ffn_norm(after_attention + block.ffn(after_attention))
    torch.testing.assert_close(block(x, causal=True), expected)
    assert Transformer(config).norm is None


def test_a_model_without_feed_forward_layers_has_attention_only():
    model = random_model(dataclasses.replace(EVERY["llama"], ffn="none"))
    assert not any("ffn" in name for name, _ in model.named_parameters())
    assert logits(model, random_tokens(model.config, 1, 4)).shape == (1, 4, 97)


def test_dropout_acts_in_training_only():
    model = random_model(dataclasses.replace(EVERY["llama"], dropout=0.5))
    tokens = random_tokens(model.config, 1, 8)
    assert torch.equal(logits(model, tokens), logits(model, tokens))
    model.train()
    assert not torch.equal(logits(model, tokens), logits(model, tokens))


def test_dropout_of_nothing_leaves_every_bit_and_the_header_as_they_are():
    plain = random_model(EVERY["llama"])
    none = Transformer(dataclasses.replace(EVERY["llama"], dropout=0.0))
    none.load_state_dict(plain.state_dict())
    tokens = random_tokens(plain.config, 2, 8)
    assert torch.equal(none.train()(tokens), plain.eval()(tokens)) and none.config.to_dict() == plain.config.to_dict()


def test_dropout_falls_on_what_a_layer_adds_and_keeps_its_expectation():
    """Of each change some numbers are 0 and the others larger by 1 / (1 - p); their mean over draws is the change."""
    p = 0.25
    block = randomize(Block(dataclasses.replace(EVERY["llama"], dropout=p, ffn="none"))).double().eval()
    x = torch.randn(1, 3, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    change = (block(x, causal=True) - x).detach()
    block.train()
    torch.manual_seed(0)
    drawn = torch.stack([(block(x, causal=True) - x).detach() for _ in range(400)])  # (400, 1, 3, 32)
    kept = drawn.abs() > 1e-9
    torch.testing.assert_close(drawn[kept], (change / (1 - p)).expand_as(drawn)[kept], rtol=1e-6, atol=1e-9)
    n = drawn.numel()
    assert abs(kept.double().mean().item() - (1 - p)) < 4 * (p * (1 - p) / n) ** 0.5
    error = (drawn.mean(0) - change).abs() / change.abs()
    assert error.max() < 5 * (p / (1 - p) / 400) ** 0.5


def test_initialization_is_scaled_down_where_a_layer_adds_to_the_stream():
    model = Transformer(ModelConfig(vocab_size=2000, d_model=128, n_layers=8, n_heads=4))
    assert abs(model.embedding.weight.std().item() - 0.02) < 5e-4
    assert abs(model.blocks[3].attention.o_proj.weight.std().item() - 0.02 / 4) < 3e-4  # √(2·8) = 4
    assert abs(model.blocks[3].ffn.down.weight.std().item() - 0.02 / 4) < 3e-4


def test_a_config_survives_json():
    for config in EVERY.values():
        assert ModelConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_heads": 6, "n_kv_heads": 4, "head_dim": 8}, "n_heads divisible by n_kv_heads, got 6 and 4"),
        ({"n_heads": 5}, "d_model divisible by n_heads, got 32 and 5"),
        ({"head_dim": 7}, "even head_dim.*got 7"),
        ({"ffn": "swish"}, "ffn to be one of swiglu.*got 'swish'"),
        ({"norm": "batch"}, "norm to be one of rmsnorm, layernorm; got 'batch'"),
        ({"n_layers": 0}, "n_layers of at least 1, got 0"),
        ({"n_experts": 2, "n_experts_per_token": 3}, "1 to 2 experts per token"),
        ({"dropout": 1.0}, "0 <= dropout < 1, got 1.0"),
    ],
)
def test_a_wrong_config_is_refused_by_name(changes, message):
    with pytest.raises(ValueError, match=message):
        ModelConfig(**{"vocab_size": 97, "d_model": 32, "n_layers": 3, "n_heads": 4, **changes})


def test_unknown_fields_are_refused():
    with pytest.raises(ValueError, match=r"unknown config fields n_head; known are vocab_size"):
        ModelConfig.from_dict({"vocab_size": 5, "d_model": 8, "n_layers": 1, "n_head": 2})


@pytest.mark.parametrize(
    ("tokens", "told"),
    [
        (torch.zeros(5, dtype=torch.long), r"shape \(B, T\).*got \(5,\)"),
        (torch.zeros(2, 0, dtype=torch.long), r"T >= 1, got \(2, 0\)"),
        (torch.zeros(2, 5), "token ids in int64 or int32, got torch.float32"),
        (torch.zeros(2, 5, dtype=torch.bool), "got torch.bool"),
        (torch.tensor([[3, 97]]), "token ids from 0 to 96, got 3 to 97"),
        (torch.tensor([[-1, 4]]), "token ids from 0 to 96, got -1 to 4"),
        ([[1, 2]], "tensor of token ids .*got list"),
    ],
)
def test_tokens_that_the_model_cannot_know_are_refused(tokens, told):
    with pytest.raises(ValueError, match=told):
        random_model(EVERY["llama"])(tokens)
