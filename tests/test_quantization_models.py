"""Models whose weights are packed: the same function as their dequantized copy, and as many bytes as are counted."""

import copy
import dataclasses
import json

import pytest
import torch
import torch.nn.functional as F
from models import EVERY, PUBLISHED_NF4, random_model, random_tokens, relative
from torch import nn

from llmlab import checkpoint, load_model, trace
from llmlab.cli import main
from llmlab.cli.quantize import METHODS
from llmlab.config import ModelConfig
from llmlab.generate import generate, generate_batch
from llmlab.kv_cache import KVCache
from llmlab.linear import Linear
from llmlab.quantization import (
    IntegerLinear,
    PackedWeight,
    Quantized,
    QuantizedEmbedding,
    QuantizedLinear,
    bits_by_name,
    dequantize_model,
    load,
    matrices,
    model_bytes,
    observe,
    open_model,
    quantize,
    quantize_activations,
    quantize_by_gptq,
    quantize_model,
    quantize_to_levels,
    save,
    scale_by_awq,
    with_quantized,
)
from llmlab.tokenization import BPETokenizer

SETTINGS = (
    {"bits": 8},
    {"bits": 4, "group_size": 8},
    {"bits": 3, "group_size": 12, "symmetric": False},
    {"bits": 5, "granularity": "tensor", "scale_dtype": torch.float32},
)


def rounded_by_hand(model, *, bits, symmetric=True, scale_dtype=torch.float16, skip=(), **groups):
    """A copy of the model in which each matrix is rounded in place: what a packed model has to compute."""
    model = copy.deepcopy(model)
    if "granularity" not in groups and "group_size" not in groups:
        groups["granularity"] = "channel"
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("norm.weight") or parameter.dim() == 1 or "router" in name:
                continue
            made = quantize(parameter, bits, symmetric=symmetric, scale_dtype=scale_dtype, **groups)
            parameter.copy_(made.dequantize())
    return model


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.parametrize("family", EVERY)
def test_a_packed_model_computes_what_its_rounded_weights_do(family, settings):
    model = random_model(EVERY[family])
    before = copy.deepcopy(model.state_dict())
    small, tokens = quantize_model(model, **settings), random_tokens(model.config, 2, 9)
    by_hand = rounded_by_hand(model, **settings)
    with torch.inference_mode():
        assert relative(small(tokens), by_hand(tokens)) < 1e-6
        assert torch.equal(small(tokens), dequantize_model(small)(tokens))
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert not any(isinstance(layer, nn.Linear) for path, layer in small.named_modules() if "router" not in path)
    assert not small.training


@pytest.mark.parametrize("family", EVERY)
def test_norms_and_biases_keep_their_numbers(family):
    model = random_model(EVERY[family])
    small = quantize_model(model, 2)
    kept = dict(small.named_parameters())
    for name, parameter in model.named_parameters():
        if parameter.dim() == 1:
            assert torch.equal(kept.pop(name), parameter)
    assert all("router" in name for name in kept)


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.parametrize("family", EVERY)
def test_a_file_is_as_large_as_what_is_counted_and_opens_as_the_same_model(family, settings, tmp_path):
    small, path = quantize_model(random_model(EVERY[family]), **settings), tmp_path / "new" / "model.safetensors"
    save(small, path, note="rounded")
    data = path.read_bytes()
    header = int.from_bytes(data[:8], "little")
    assert len(data) - 8 - header == model_bytes(small) == counted_by_hand(small)
    again = load(path)
    tokens = random_tokens(small.config, 2, 9)
    with torch.inference_mode():
        assert torch.equal(again(tokens), small(tokens))
    assert model_bytes(again) == model_bytes(small) and not again.training
    assert checkpoint.load_tensors(path)[1]["note"] == "rounded"
    if small.config.tie_embeddings:
        assert again.head.packed is again.embedding.packed


def counted_by_hand(model):
    """Bytes by a formula: rows of whole bytes, scales, zero points of one byte, and floats."""
    total, seen = 0, []
    for layer in model.modules():
        if isinstance(layer, QuantizedLinear | QuantizedEmbedding) and not any(layer.packed is one for one in seen):
            packed = layer.packed
            seen.append(packed)
            rows, columns = packed.shape
            groups = {"tensor": 1, "channel": rows}.get(packed.granularity)
            groups = rows * -(-columns // packed.group_size) if groups is None else groups
            total += rows * -(-columns * packed.bits // 8)
            total += groups * (packed.scale.element_size() + (packed.zero_point is not None))
    return total + 4 * sum(parameter.numel() for parameter in model.parameters())


def test_the_tied_table_is_one_matrix():
    model = random_model(EVERY["llama"])
    small = quantize_model(model, {"embedding": 4})
    assert small.embedding.packed is small.head.packed and next(iter(matrices(model))) == "embedding"
    rows, columns = model.embedding.weight.shape
    saved = model_bytes(model) - model_bytes(small)
    assert saved == rows * (4 * columns - columns // 2 - 2)
    assert sum(isinstance(module, PackedWeight) for module in small.modules()) == 1
    with pytest.raises(ValueError, match=r"no matrix .* is named 'head': it shares its table with 'embedding'"):
        quantize_model(model, {"*": 4, "head": 8})
    untied = quantize_model(random_model(EVERY["qwen3"]), {"*": 4, "head": 8})
    assert (untied.head.packed.bits, untied.embedding.packed.bits) == (8, 4)


def test_bits_go_by_name_and_the_last_pattern_that_fits_counts():
    model = random_model(EVERY["mixtral"])
    found = bits_by_name(model, {"*": 4, "blocks.0.*": 8, "*.down": 6, "embedding": 3}, skip=["head"])
    assert found["embedding"] == 3 and "head" not in found
    assert found["blocks.0.attention.q_proj"] == 8 and found["blocks.0.ffn.experts.3.down"] == 6
    assert found["blocks.1.attention.q_proj"] == 4 and found["blocks.1.ffn.router"] == 4
    assert not any("router" in name for name in bits_by_name(model, 4))
    only = quantize_model(model, {"blocks.1.ffn.experts.2.up": 2})
    assert [path for path, layer in only.named_modules() if isinstance(layer, QuantizedLinear)] == [
        "blocks.1.ffn.experts.2.up"
    ]
    for wishes in ({"blocks.0.ffn.dwon": 4}, {"blocks.9.*": 4}):
        with pytest.raises(ValueError, match=r"no matrix of the model is named '.*'"):
            quantize_model(model, wishes)
    with pytest.raises(ValueError, match=r"expected 2 to 8 bits, got 16"):
        quantize_model(model, {"*": 16})


def test_what_is_left_can_be_quantized_later():
    model = random_model(EVERY["llama"])
    first = quantize_model(model, {"blocks.*": 4})
    second = quantize_model(first, {"embedding": 8})
    tokens = random_tokens(model.config, 1, 5)
    assert torch.equal(second(tokens), quantize_model(model, {"*": 4, "embedding": 8})(tokens))


def test_any_quantized_matrix_fills_a_layer_and_a_file_a_codebook_too(tmp_path):
    model = random_model(EVERY["gpt2"])
    levels = torch.linspace(-1, 1, 16) ** 3
    made = {}
    for name, weight in matrices(model).items():
        scale = weight.detach().abs().amax(-1, keepdim=True)
        codes = ((weight.detach() / scale)[..., None] - levels).abs().argmin(-1).to(torch.uint8)
        made[name] = Quantized(codes, scale, None, 4, "channel", levels=levels)
    small = with_quantized(model, made)
    by_hand = copy.deepcopy(model)
    with torch.no_grad():
        for name, quantized in made.items():
            by_hand.get_submodule(name).weight.copy_(levels[quantized.codes.long()] * quantized.scale)
        tokens = random_tokens(model.config, 2, 7)
        assert relative(small(tokens), by_hand(tokens)) < 1e-6
        save(small, tmp_path / "model.safetensors")
        assert torch.equal(load(tmp_path / "model.safetensors")(tokens), small(tokens))
    assert (tmp_path / "model.safetensors").stat().st_size > model_bytes(small)
    with pytest.raises(ValueError, match=r"expected codes below 8, one for each level; got 15"):
        PackedWeight(Quantized(made["embedding"].codes, made["embedding"].scale, None, 4, "channel", levels=levels[:8]))
    with pytest.raises(ValueError, match=r"has no matrix 'blocks.0.up' to quantize; near it are"):
        with_quantized(model, {"blocks.0.up": made["embedding"]})
    with pytest.raises(ValueError, match=r"expected blocks.0.ffn.up of shape"):
        with_quantized(model, {"blocks.0.ffn.up": made["embedding"]})
    with pytest.raises(ValueError, match=r"scales are shared along its rows"):
        with_quantized(model, {"embedding": quantize(model.embedding.weight, 4, granularity="channel", dim=0)})


def test_layers_agree_with_plain_ones():
    torch.manual_seed(0)
    plain, table = Linear(24, 16), nn.Embedding(40, 24)
    x, tokens = torch.randn(3, 5, 24), torch.tensor([[0, 39, 39], [7, 1, 0]])
    made, rows = quantize(plain.weight, 4, group_size=9), quantize(table.weight, 3, group_size=8, symmetric=False)
    layer, embedding = QuantizedLinear(made, plain.bias), QuantizedEmbedding(rows)
    assert torch.allclose(layer(x), F.linear(x, made.dequantize(), plain.bias), rtol=1e-5)
    assert torch.equal(embedding(tokens), F.embedding(tokens, rows.dequantize()))
    assert embedding(torch.tensor(5)).shape == (24,)
    for wrong in (40, -1):
        with pytest.raises(IndexError):
            embedding(torch.tensor([wrong]))
    with pytest.raises(ValueError, match=r"expected a bias of shape \(16,\), got \(24,\)"):
        QuantizedLinear(made, torch.zeros(24))


def test_half_precision_rounds_no_scale():
    small = quantize_model(random_model(EVERY["llama"]), 4, group_size=8, scale_dtype=torch.float32)
    half = copy.deepcopy(small).to(torch.bfloat16)
    for mine, theirs in zip(half.blocks, small.blocks, strict=True):
        assert torch.equal(mine.ffn.up.packed.scale, theirs.ffn.up.packed.scale)
        assert torch.equal(mine.ffn.up.weight, theirs.ffn.up.weight.bfloat16())
    tokens = random_tokens(small.config, 2, 6)
    assert half(tokens).dtype == torch.bfloat16
    assert relative(half(tokens).float(), small(tokens)) < 0.05


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_models_of_other_dtypes_are_packed_and_opened_in_theirs(dtype, tmp_path):
    model = random_model(EVERY["gpt2"]).to(dtype)
    small, tokens = quantize_model(model, 6, group_size=8, symmetric=False), random_tokens(model.config, 2, 6)
    save(small, tmp_path / "model.safetensors")
    again = load(tmp_path / "model.safetensors")
    with torch.inference_mode():
        assert small(tokens).dtype == dtype and torch.equal(again(tokens), small(tokens))
        assert relative(small(tokens).double(), model(tokens).double()) < 0.2


@pytest.mark.parametrize("family", EVERY)
def test_a_packed_model_generates_and_is_recorded_as_any_other(family):
    model = random_model(EVERY[family])
    small = quantize_model(model, 4, group_size=8)
    plain, prompt = dequantize_model(small), random_tokens(model.config, 6).tolist()
    wanted = [step.token for step in generate(plain, prompt, 8)]
    assert [step.token for step in generate(small, prompt, 8)] == wanted
    assert [step.token for step in generate(small, prompt, 8, cache=None)] == wanted
    assert generate_batch(small, [prompt, prompt[:3]], 8)[0] == wanted
    tokens = random_tokens(model.config, 1, 9)
    names = ["blocks.0.attention.q", "blocks.1.residual", "logits"]
    with torch.inference_mode(), trace.record(small, names) as mine, trace.record(plain, names) as theirs:
        small(tokens), plain(tokens)
    assert all(relative(mine[name], theirs[name]) < 1e-5 for name in names)
    cache = KVCache(model.config, 1, 9)
    with torch.inference_mode():
        steps = torch.cat([small(tokens[:, n : n + 1], cache=cache) for n in range(9)], dim=1)
        assert relative(steps, small(tokens)) < 1e-5


# Files that are not what they say -----------------------------------------------------------------------------------


def written(tmp_path, change, *, settings=None):
    """A packed file whose tensors and header `change(tensors, metadata)` has been at."""
    path = tmp_path / "model.safetensors"
    save(quantize_model(random_model(EVERY["gpt2"]), **(settings or {"bits": 4, "group_size": 8})), path)
    tensors, metadata = checkpoint.load_tensors(path)
    change(tensors, metadata)
    checkpoint.save_tensors(path, tensors, metadata)
    return path


def wrong_layer(tensors, metadata):
    metadata["quantization"][3]["layers"] = {"blocks.0.attention_norm": {"kind": "QuantizedLinear"}}


def wrong_kind(tensors, metadata):
    metadata["quantization"][3]["layers"] = {"blocks.0.attention.k_proj": {"kind": "Linear"}}


def untied(tensors, metadata):
    del metadata["quantization"][0]["layers"]["head"]


def wrong_config(tensors, metadata):
    metadata["config"]["d_ff"] *= 2


def infinite(tensors, metadata):
    tensors["blocks.1.ffn.up.scale"][0, 0] = torch.inf


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda tensors, metadata: tensors.pop("blocks.1.ffn.up.codes"), "codes or the scales of blocks.1.ffn.up are"),
        (lambda tensors, metadata: tensors.pop("blocks.0.ffn.up.bias"), "blocks.0.ffn.up.bias is missing"),
        (lambda tensors, metadata: tensors.pop("norm.weight"), "norm.weight is missing"),
        (lambda tensors, metadata: tensors.update(more=torch.ones(2)), "does not explain: more"),
        (lambda tensors, metadata: metadata["quantization"][0].pop("bits"), "header that does not say how to read it"),
        (lambda tensors, metadata: metadata["quantization"][0].update(bits=5), "expected 20 bytes in uint8"),
        (lambda tensors, metadata: metadata["quantization"][0].update(group_size=16), "expected scale of shape"),
        (lambda tensors, metadata: metadata.update(quantization=7), "header that does not say how to read it"),
        (lambda tensors, metadata: metadata.pop("quantization"), "is no packed checkpoint of llmlab"),
        (wrong_layer, "blocks.0.attention_norm is a LayerNorm"),
        (wrong_kind, "header that does not say how to read it"),
        (wrong_config, "by the config, and"),
        (untied, "model.safetensors"),
        (infinite, "some in blocks.1.ffn.up.scale of .*model.safetensors are NaN or infinite"),
    ],
)
def test_a_file_that_cannot_be_opened_is_refused_in_words(change, said, tmp_path):
    path = written(tmp_path, change)
    with pytest.raises(ValueError, match=said) as error:
        load(path)
    assert "model.safetensors" in str(error.value)


def test_each_way_of_opening_says_which_one_fits(tmp_path):
    model = random_model(EVERY["llama"])
    checkpoint.save(model, tmp_path / "full.safetensors")
    save(quantize_model(model, 4), tmp_path / "packed.safetensors")
    with pytest.raises(ValueError, match=r"packed.safetensors holds packed weights; open it with llmlab.quantization"):
        checkpoint.load(tmp_path / "packed.safetensors")
    with pytest.raises(ValueError, match=r"full.safetensors is no packed checkpoint of llmlab; checkpoint.load opens"):
        load(tmp_path / "full.safetensors")
    tokens = random_tokens(model.config, 1, 4)
    with torch.inference_mode():
        assert torch.equal(open_model(tmp_path / "full.safetensors")(tokens), model(tokens))
        assert torch.equal(open_model(tmp_path / "packed.safetensors")(tokens), quantize_model(model, 4)(tokens))


def test_what_a_file_cannot_hold_is_not_written(tmp_path):
    path = tmp_path / "model.safetensors"
    model = random_model(EVERY["llama"])
    with pytest.raises(ValueError, match=r"no weight of the model is packed"):
        save(model, path)
    small = quantize_model(model, 4)
    small.blocks[0].ffn.extra = Linear(3, 3)
    with pytest.raises(ValueError, match=r"not the one that its config makes: blocks.0.ffn.extra"):
        save(small, path)

    class Adapter(QuantizedLinear):
        pass

    small = quantize_model(model, 4)
    small.blocks[0].ffn.up = Adapter(small.blocks[0].ffn.up.packed)
    with pytest.raises(ValueError, match=r"blocks.0.ffn.up is of type Adapter; a file can hold"):
        save(small, path)
    small = quantize_model(model, 4)
    small.norm.weight.data[0] = torch.nan
    with pytest.raises(ValueError, match=r"some in norm.weight of the model are NaN"):
        save(small, path)
    assert not path.exists()


@pytest.mark.parametrize("static", [True, False])
def test_a_file_remembers_how_activations_are_quantized(static, tmp_path):
    model = random_model(EVERY["gpt2"])
    tokens = random_tokens(model.config, 2, 9)
    calibration = observe(model, [tokens]) if static else None
    small = quantize_activations(quantize_model(model, 8), 6, calibration=calibration, symmetric=static)
    save(small, tmp_path / "model.safetensors")
    again = load(tmp_path / "model.safetensors")
    with torch.inference_mode():
        assert torch.equal(again(tokens), small(tokens))
    assert isinstance(again.blocks[0].ffn.up, IntegerLinear) and again.blocks[0].ffn.up.bits == 6
    with pytest.raises(ValueError, match=r"blocks.0.attention.q_proj quantizes its inputs too"):
        dequantize_model(small)


# The command --------------------------------------------------------------------------------------------------------


def test_the_command_writes_a_file_that_speaks(tmp_path, capsys):
    assert (
        main(["quantize", "--bits", "8", "--bits", "blocks.0.*=6", "--group-size", "32", "--out", str(tmp_path)]) == 0
    )
    said = capsys.readouterr().out
    path = tmp_path / "model.safetensors"
    model, _ = load_model()
    small = quantize_model(model, {"*": 8, "blocks.0.*": 6}, group_size=32)
    assert f"after:  {model_bytes(small):,} bytes" in said and f"before: {model_bytes(model):,} bytes" in said
    assert f"({path.stat().st_size:,} bytes)" in said
    assert main(["generate", "The capital of France is", "--max-new-tokens", "1", "--model", str(path)]) == 0
    assert capsys.readouterr().out == "The capital of France is Paris\n"


def test_the_command_opens_the_folders_of_hugging_face(tmp_path, capsys):
    import transformers

    torch.manual_seed(0)
    config = transformers.GPT2Config(vocab_size=97, n_embd=32, n_layer=2, n_head=4, n_positions=64)
    theirs = transformers.GPT2LMHeadModel(config).eval()
    theirs.save_pretrained(tmp_path / "gpt2")
    assert main(["quantize", str(tmp_path / "gpt2"), "--bits", "8", "--out", str(tmp_path / "small")]) == 0
    assert "before:" in capsys.readouterr().out
    tokens = torch.arange(9)[None]
    with torch.inference_mode():
        assert relative(load(tmp_path / "small" / "model.safetensors")(tokens), theirs(tokens).logits) < 0.05
    assert main(["quantize", str(tmp_path / "gpt2"), "--out", str(tmp_path / "gpt2")]) == 1
    assert "is the model itself" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--bits", "9"], "expected 2 to 8 bits, got 9"),
        (["--bits", "four"], "expected --bits N or --bits NAME=N with a number of bits, got 'four'"),
        (["--bits", "hed=4"], "no matrix of the model is named 'hed'"),
        (["--skip", "head"], "it shares its table with 'embedding'"),
        (["--group-size", "0"], "expected group_size of at least 1, got 0"),
        (["nowhere"], "nowhere"),
    ],
)
def test_the_command_says_in_one_line_what_is_wrong(arguments, said, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert main(["quantize", *arguments, "--out", str(tmp_path / "out")]) == 1
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
    assert not (tmp_path / "out" / "model.safetensors").exists()


def test_the_command_rounds_by_other_methods(tmp_path, capsys):
    tokenizer = BPETokenizer.train(["one two three one two"], 256 + 2, special_tokens=("<s>", "</s>"))
    model = random_model(ModelConfig(vocab_size=258, d_model=16, n_layers=1, n_heads=2, max_seq_len=16))
    checkpoint.save(model, tmp_path / "model.safetensors")
    path, text, out = str(tmp_path / "model.safetensors"), tmp_path / "text.txt", tmp_path / "out"
    text.write_text("three two one " * 10)
    assert main(["quantize", path, "--method", "gptq", "--out", str(out)]) == 1
    assert "need its tokenizer" in capsys.readouterr().err
    tokenizer.save(tmp_path / "tokenizer.json")
    reading = torch.tensor(tokenizer.encode(text.read_text())[:128]).view(8, 16)
    by_hand = {
        "gptq": quantize_by_gptq(model, [reading], 3),
        "awq": quantize_model(scale_by_awq(model, [reading], 3)[0], 3),
    }
    for method, small in by_hand.items():
        arguments = ["--method", method, "--text", str(text), "--bits", "3", "--out", str(out)]
        assert main(["quantize", path, *arguments]) == 0
        with torch.inference_mode():
            assert torch.equal(load(out / "model.safetensors")(reading), small(reading))
    assert main(["quantize", path, "--method", "gptq", "--out", str(out)]) == 0  # documents of the world
    text.write_text("three")
    for wrong, said in (("gptq", "at least 16 tokens"), ("nearest", "reads no text")):
        capsys.readouterr()
        assert main(["quantize", path, "--method", wrong, "--text", str(text), "--out", str(out)]) == 1
        assert said in capsys.readouterr().err


def test_the_command_rounds_to_the_levels_of_nf4(tmp_path, capsys):
    """Against the nearest of the published levels, by a table of all distances; the tied table too, unless named."""
    model = random_model(EVERY["llama"])
    checkpoint.save(model, tmp_path / "model.safetensors")
    path, out = str(tmp_path / "model.safetensors"), tmp_path / "out"
    assert main(["quantize", path, "--method", "nf4", "--out", str(out)]) == 0
    assert "22 matrices that are quantized" in capsys.readouterr().out  # 7 in each of 3 layers, and one table
    small, tokens = load(out / "model.safetensors"), random_tokens(model.config, 2, 9)
    by_hand = copy.deepcopy(model)
    with torch.inference_mode():
        for name, weight in matrices(by_hand).items():
            packed = small.get_submodule(name).packed
            assert (packed.bits, packed.group_size, packed.scale.dtype) == (4, 64, torch.float16)
            rows = []
            for row in weight.detach().tolist():  # at most 88 numbers: two groups, of which the second is short
                for first in range(0, len(row), 64):
                    group = row[first : first + 64]
                    scale = packed.scale[len(rows) // -(-len(row) // 64), first // 64].item()
                    assert max(map(abs, group)) <= scale <= max(map(abs, group)) * 1.001
                    rows.append([min(PUBLISHED_NF4, key=lambda level: abs(x / scale - level)) * scale for x in group])
            weight.copy_(torch.tensor([x for group in rows for x in group]).view_as(weight))
        assert relative(small(tokens), by_hand(tokens)) < 1e-5
    assert main(["generate", "--model", str(out / "model.safetensors"), "x", "--max-new-tokens", "1"]) == 1
    assert "tokenizer" in capsys.readouterr().err

    mixed = ["--bits", "4", "--bits", "embedding=8", "--skip", "blocks.2.*", "--group-size", "16"]
    assert main(["quantize", path, "--method", "nf4", *mixed, "--out", str(out)]) == 0
    small = load(out / "model.safetensors")
    rounded = quantize(model.embedding.weight, 8, group_size=16, scale_dtype=torch.float16)
    assert torch.equal(small.embedding.packed.codes, quantize_model(model, 8, group_size=16).embedding.packed.codes)
    assert torch.equal(small.embedding.packed.quantized().dequantize(), rounded.dequantize())
    assert small.blocks[0].ffn.up.packed.levels is not None and small.blocks[0].ffn.up.packed.group_size == 16
    assert torch.equal(small.blocks[2].ffn.up.weight, model.blocks[2].ffn.up.weight)
    for wrong, said in (
        (["--asymmetric"], "have no zero point: leave out --asymmetric"),
        (["--bits", "3"], "nf4 is made for 4 bits, and --bits gives no matrix 4"),
        (["--bits", "embedding=8"], "nf4 is made for 4 bits, and --bits gives no matrix 4"),
        (["--text", path], "nf4 reads no text: leave out --text, or choose --method gptq or awq"),
    ):
        assert main(["quantize", path, "--method", "nf4", *wrong, "--out", str(tmp_path / "no")]) == 1
        assert said in capsys.readouterr().err
    assert not (tmp_path / "no").exists()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("family", EVERY)
def test_the_command_takes_every_kind_of_model_by_every_method(family, method, tmp_path, capsys):
    """The file opens as what the package's own functions make of the model and of the same text."""
    tokenizer = BPETokenizer.train(["one two three one two"], 256 + 2, special_tokens=("<s>", "</s>"))
    tokenizer.save(tmp_path / "tokenizer.json")
    model = random_model(dataclasses.replace(EVERY[family], vocab_size=258))
    checkpoint.save(model, tmp_path / "model.safetensors")
    text, out = tmp_path / "text.txt", tmp_path / "out"
    text.write_text("three two one " * 40)
    n_tokens = min(256, model.config.max_seq_len)
    reading = torch.tensor(tokenizer.encode(text.read_text()))
    reading = reading[: len(reading) // n_tokens * n_tokens].view(-1, n_tokens).split(8)[:2]
    made = {
        "nearest": lambda: quantize_model(model, 4, group_size=16),
        "gptq": lambda: quantize_by_gptq(model, reading, 4, group_size=16),
        "awq": lambda: quantize_model(scale_by_awq(model, reading, 4, group_size=16)[0], 4, group_size=16),
        "nf4": lambda: quantize_to_levels(model, group_size=16),
    }
    more = ["--text", str(text)] if method in ("gptq", "awq") else []
    arguments = [str(tmp_path / "model.safetensors"), "--method", method, "--group-size", "16", *more]
    assert main(["quantize", *arguments, "--out", str(out)]) == 0
    assert "matrices that are quantized" in capsys.readouterr().out
    again, tokens = load(out / "model.safetensors"), random_tokens(model.config, 2, 9)
    with torch.inference_mode():
        assert torch.equal(again(tokens), made[method]()(tokens))
        assert 0 < relative(again(tokens), model(tokens)) < 1
    arguments = ["--model", str(out / "model.safetensors"), "--max-new-tokens", "2", "--temperature", "0"]
    assert main(["generate", "two one", *arguments]) == 0


def test_what_the_command_rounds_to_nf4_speaks(tmp_path, capsys):
    assert main(["quantize", "--method", "nf4", "--out", str(tmp_path)]) == 0
    capsys.readouterr()
    path = str(tmp_path / "model.safetensors")
    assert main(["generate", "The capital of France is", "--max-new-tokens", "1", "--model", path]) == 0
    assert capsys.readouterr().out == "The capital of France is Paris\n"


def test_the_header_is_plain_json(tmp_path):
    save(quantize_model(random_model(EVERY["llama"]), 4), tmp_path / "model.safetensors")
    data = (tmp_path / "model.safetensors").read_bytes()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    first = json.loads(header["__metadata__"]["quantization"])[0]
    assert first["name"] == "embedding" and set(first["layers"]) == {"embedding", "head"} and first["bits"] == 4
    assert header["embedding.codes"]["shape"] == [97, 16]
