import json

import pytest
import torch
import transformers
from models import EVERY, random_model, random_tokens

from llmlab import checkpoint


@pytest.mark.parametrize("family", EVERY)
def test_a_saved_model_comes_back_with_the_same_logits(family, tmp_path):
    model = random_model(EVERY[family])
    tokens = random_tokens(model.config, 2, 9)
    checkpoint.save(model, tmp_path / "new folder" / "model.safetensors", note="trained on nothing")
    again = checkpoint.load(tmp_path / "new folder" / "model.safetensors")
    assert again.config == model.config and not again.training
    with torch.inference_mode():
        assert torch.equal(again(tokens), model(tokens))
    _, metadata = checkpoint.load_tensors(tmp_path / "new folder" / "model.safetensors")
    assert metadata["note"] == "trained on nothing"


def test_half_precision_halves_the_file_and_rounds_each_weight_once(tmp_path):
    model = random_model(EVERY["llama"])
    checkpoint.save(model, tmp_path / "full.safetensors")
    checkpoint.save(model, tmp_path / "half.safetensors", dtype=torch.bfloat16)
    sizes = [(tmp_path / f"{name}.safetensors").stat().st_size for name in ("half", "full")]
    assert sizes[0] < 0.6 * sizes[1]
    again = checkpoint.load(tmp_path / "half.safetensors")
    for mine, theirs in zip(again.parameters(), model.parameters(), strict=True):
        assert torch.equal(mine, theirs.bfloat16().float())


def test_a_damaged_file_is_named_and_left_alone(tmp_path):
    path = tmp_path / "model.safetensors"
    checkpoint.save(random_model(EVERY["llama"]), path)
    path.write_bytes(path.read_bytes()[:-100])
    before = path.read_bytes()
    with pytest.raises(ValueError, match=r"model.safetensors is not a whole safetensors file"):
        checkpoint.load(path)
    assert path.read_bytes() == before
    with pytest.raises(FileNotFoundError, match="no checkpoint at"):
        checkpoint.load(tmp_path / "nothing.safetensors")


@pytest.mark.parametrize("header", [b"{", b"[]", b'{"a": 1}', b"\xff\xfe", b'{"norm.weight": {"dtype": "F99"}}'])
def test_a_damaged_header_is_named(header, tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(ValueError, match=r"model.safetensors is not a whole safetensors file"):
        checkpoint.load(path)


def write(path, model, config=..., **changes):
    """A file of the model's tensors in which some, or the config, are others."""
    tensors = {name: t for name, t in model.state_dict().items() if name != "head.weight"}
    checkpoint.save_tensors(
        path, {**tensors, **changes}, {"config": model.config.to_dict() if config is ... else config}
    )


LLAMA = EVERY["llama"].to_dict()


@pytest.mark.parametrize(
    "config, message",
    [
        ("llama", "the fields of a config by name, got str 'llama'"),
        ([1, 2], "the fields of a config by name, got list"),
        (None, "the fields of a config by name, got NoneType"),
        ({**LLAMA, "d_model": "48"}, "expected d_model of type int, got str '48'"),
        ({**LLAMA, "norm_eps": "x"}, "expected norm_eps of type float, got str 'x'"),
        ({**LLAMA, "n_heads": 0}, "expected n_heads of at least 1, got 0"),
        ({**LLAMA, "d_modle": 48}, "unknown config fields d_modle"),
        ({"vocab_size": 97}, "the config lacks d_model, n_layers, n_heads"),
        ({**LLAMA, "rope_scaling": {"rope_type": "magic"}}, "rope_type .* got 'magic'"),
    ],
)
def test_a_config_that_makes_no_model_is_told_with_its_file(config, message, tmp_path):
    path = tmp_path / "model.safetensors"
    write(path, random_model(EVERY["llama"]), config)
    with pytest.raises(ValueError, match=rf"model.safetensors has a config that makes no model: .*{message}"):
        checkpoint.load(path)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_not_finite_do_not_open(value, tmp_path):
    model = random_model(EVERY["llama"])
    weight = model.blocks[1].ffn.down.weight.detach().clone()
    weight[3, 5] = value
    write(tmp_path / "m.safetensors", model, **{"blocks.1.ffn.down.weight": weight})
    with pytest.raises(
        ValueError,
        match=r"finite weights; 1 of \d+ numbers in blocks.1.ffn.down.weight of .*m.safetensors are NaN or inf",
    ):
        checkpoint.load(tmp_path / "m.safetensors")
    model.blocks[1].ffn.down.weight = torch.nn.Parameter(weight)
    with pytest.raises(ValueError, match=r"numbers in blocks.1.ffn.down.weight of the model are NaN"):
        checkpoint.save(model, tmp_path / "other.safetensors")
    assert not (tmp_path / "other.safetensors").exists()


def test_weights_too_large_for_a_dtype_are_neither_saved_nor_opened_in_it(tmp_path):
    """70,000 is above float16's largest number, 65,504, and fits bfloat16."""
    model = random_model(EVERY["llama"])
    model.norm.weight.data[7] = 70_000.0
    with pytest.raises(ValueError, match=r"1 of 32 numbers in norm.weight of the model are .* as torch.float16"):
        checkpoint.save(model, tmp_path / "m.safetensors", dtype=torch.float16)
    checkpoint.save(model, tmp_path / "m.safetensors", dtype=torch.bfloat16)
    with pytest.raises(ValueError, match=r"in norm.weight of .*m.safetensors are NaN or infinite as torch.float16"):
        checkpoint.load(tmp_path / "m.safetensors", dtype=torch.float16)
    assert checkpoint.load(tmp_path / "m.safetensors").norm.weight[7] == torch.tensor(70_000.0).bfloat16().float()


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.bool, torch.complex64, torch.float8_e4m3fn])
def test_weights_that_are_no_plain_floating_point_numbers_are_refused(dtype, tmp_path):
    model = random_model(EVERY["llama"])
    write(tmp_path / "m.safetensors", model, **{"norm.weight": torch.ones(32).to(dtype)})
    with pytest.raises(ValueError, match=rf"norm.weight in .*m.safetensors is {dtype}"):
        checkpoint.load(tmp_path / "m.safetensors")
    write(tmp_path / "m.safetensors", model)
    with pytest.raises(ValueError, match=rf"a dtype of torch.float32, .* got {dtype}"):
        checkpoint.load(tmp_path / "m.safetensors", dtype=dtype)
    with pytest.raises(ValueError, match=rf"a dtype of torch.float32, .* got {dtype}"):
        checkpoint.save(model, tmp_path / "m.safetensors", dtype=dtype)


def test_a_failed_save_keeps_the_last_good_file(tmp_path, monkeypatch):
    path = tmp_path / "model.safetensors"
    checkpoint.save(random_model(EVERY["llama"]), path)
    before = path.read_bytes()

    def no_space(tensors, filename, metadata):
        filename.write_bytes(b"half a file")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint.files, "save_file", no_space)
    with pytest.raises(OSError, match=r"could not save .*model.safetensors.*No space left"):
        checkpoint.save(random_model(EVERY["llama"], seed=1), path)
    assert path.read_bytes() == before and [file.name for file in tmp_path.iterdir()] == [path.name]


def test_a_tensor_that_does_not_fit_its_config_is_named(tmp_path):
    model = random_model(EVERY["llama"])
    tensors = {name: t for name, t in model.state_dict().items() if name != "head.weight"}
    tensors["norm.weight"] = torch.ones(5)
    checkpoint.save_tensors(tmp_path / "m.safetensors", tensors, {"config": model.config.to_dict()})
    with pytest.raises(ValueError, match=r"norm.weight is \(5,\), expected \(32,\)"):
        checkpoint.load(tmp_path / "m.safetensors")
    del tensors["norm.weight"]
    checkpoint.save_tensors(tmp_path / "m.safetensors", tensors, {"config": model.config.to_dict()})
    with pytest.raises(ValueError, match=r"norm.weight is missing, expected \(32,\)"):
        checkpoint.load(tmp_path / "m.safetensors")


# Hugging Face folders (their logits: test_transformer.py) -----------------------------------------------------------


def tiny_llama(**changes):
    shape = {
        "vocab_size": 50, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 4, "num_attention_heads": 2
    }  # fmt: skip
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(**{**shape, **changes}))


def tiny_gpt2():
    return transformers.GPT2LMHeadModel(
        transformers.GPT2Config(vocab_size=50, n_embd=16, n_layer=2, n_head=2, n_positions=32)
    )


def test_a_folder_in_several_shards_opens_whole(tmp_path):
    theirs = tiny_llama()
    theirs.save_pretrained(tmp_path, max_shard_size="10KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    ours = checkpoint.load_pretrained(tmp_path)
    torch.testing.assert_close(ours.blocks[3].ffn.down.weight, theirs.model.layers[3].mlp.down_proj.weight)


def test_what_cannot_be_opened_says_why(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(ValueError, match=r"type gpt2, llama, .* got 'bert'"):
        checkpoint.load_pretrained(tmp_path)
    tiny_llama().save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(FileNotFoundError, match=r"pytorch_model.bin is a pickle"):
        checkpoint.load_pretrained(tmp_path)
    (tmp_path / "config.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"no config.json"):
        checkpoint.load_pretrained(tmp_path)


def test_weights_that_the_config_does_not_explain_are_refused(tmp_path):
    tiny_llama(attention_bias=True).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "attention_bias": False}))
    with pytest.raises(ValueError, match=r"does not explain: model.layers.0.self_attn.k_proj.bias"):
        checkpoint.load_pretrained(tmp_path)


def change(folder, **values):
    """Other values in a folder's config.json; ... takes a field out."""
    config = json.loads((folder / "config.json").read_text()) | values
    config = {name: value for name, value in config.items() if value is not ...}
    (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize(
    "values, message",
    [
        ({"hidden_size": ...}, "it lacks 'hidden_size'"),
        ({"hidden_size": "16"}, "expected d_model of type int, got str '16'"),
        ({"num_hidden_layers": 2.0}, "expected n_layers of type int, got float 2.0"),
        ({"rms_norm_eps": "x"}, "expected norm_eps of type float, got str 'x'"),
        ({"rope_parameters": "default"}, "'str' object has no attribute 'get'"),
        ({"tie_word_embeddings": "no"}, "expected tie_embeddings of type bool, got str 'no'"),
        ({"num_key_value_heads": 3}, "n_heads divisible by n_kv_heads, got 2 and 3"),
    ],
)
def test_a_config_file_that_makes_no_model_is_named(values, message, tmp_path):
    tiny_llama().save_pretrained(tmp_path)
    change(tmp_path, **values)
    with pytest.raises(ValueError, match=rf"config.json is not the config of a model that can be opened: .*{message}"):
        checkpoint.load_pretrained(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[1]", "null", "\x00"])
def test_a_damaged_config_file_or_index_is_named(text, tmp_path):
    tiny_llama().save_pretrained(tmp_path, max_shard_size="10KB")
    (tmp_path / "model.safetensors.index.json").write_text(text)
    with pytest.raises(ValueError, match=r"model.safetensors.index.json does not say which files hold the weights"):
        checkpoint.load_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ValueError, match=r"config.json is not the config of a model that can be opened"):
        checkpoint.load_pretrained(tmp_path)


def test_a_scaling_of_rope_that_is_not_known_is_named(tmp_path):
    tiny_llama().save_pretrained(tmp_path)
    change(tmp_path, rope_parameters={"rope_type": "longrope", "rope_theta": 1e4})
    with pytest.raises(ValueError, match=r"has a config that makes no model: .* got 'longrope'"):
        checkpoint.load_pretrained(tmp_path)


@pytest.mark.parametrize("make", [tiny_llama, tiny_gpt2])
def test_weights_that_a_folder_lacks_or_that_are_not_finite_are_named(make, tmp_path):
    make().save_pretrained(tmp_path)
    tensors, metadata = checkpoint.load_tensors(tmp_path / "model.safetensors")
    name = sorted(name for name in tensors if name.endswith(".weight"))[-1]
    left = {other: tensor for other, tensor in tensors.items() if other != name}
    checkpoint.save_tensors(tmp_path / "model.safetensors", left, metadata)
    with pytest.raises(
        ValueError, match=f"the weights in .* lack {name.removeprefix('transformer.')}, which its config asks for"
    ):
        checkpoint.load_pretrained(tmp_path)
    checkpoint.save_tensors(tmp_path / "model.safetensors", {**left, name: tensors[name] * float("nan")}, metadata)
    with pytest.raises(ValueError, match=r"expected finite weights; .* are NaN or infinite"):
        checkpoint.load_pretrained(tmp_path)


def test_without_a_network_the_hub_gives_a_clear_message(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(
        ConnectionError, match=r"openai-community/gpt2 is not on this machine .* connect to the internet"
    ):
        checkpoint.load_pretrained("openai-community/gpt2")
    with pytest.raises(FileNotFoundError, match="neither a folder nor a name on the Hugging Face hub"):
        checkpoint.load_pretrained("no/such/folder")
