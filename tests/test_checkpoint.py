import json

import pytest
import torch
import transformers
from models import TINY, random_model, random_tokens

from llmlab import checkpoint


@pytest.mark.parametrize("family", TINY)
def test_a_saved_model_comes_back_with_the_same_logits(family, tmp_path):
    model = random_model(TINY[family])
    tokens = random_tokens(model.config, 2, 9)
    checkpoint.save(model, tmp_path / "new folder" / "model.safetensors", note="trained on nothing")
    again = checkpoint.load(tmp_path / "new folder" / "model.safetensors")
    assert again.config == model.config and not again.training
    with torch.inference_mode():
        assert torch.equal(again(tokens), model(tokens))
    _, metadata = checkpoint.load_tensors(tmp_path / "new folder" / "model.safetensors")
    assert metadata["note"] == "trained on nothing"


def test_half_precision_halves_the_file_and_rounds_each_weight_once(tmp_path):
    model = random_model(TINY["llama"])
    checkpoint.save(model, tmp_path / "full.safetensors")
    checkpoint.save(model, tmp_path / "half.safetensors", dtype=torch.bfloat16)
    sizes = [(tmp_path / f"{name}.safetensors").stat().st_size for name in ("half", "full")]
    assert sizes[0] < 0.6 * sizes[1]
    again = checkpoint.load(tmp_path / "half.safetensors")
    for mine, theirs in zip(again.parameters(), model.parameters(), strict=True):
        assert torch.equal(mine, theirs.bfloat16().float())


def test_a_damaged_file_is_named_and_left_alone(tmp_path):
    path = tmp_path / "model.safetensors"
    checkpoint.save(random_model(TINY["llama"]), path)
    path.write_bytes(path.read_bytes()[:-100])
    before = path.read_bytes()
    with pytest.raises(ValueError, match=r"model.safetensors is not a whole safetensors file"):
        checkpoint.load(path)
    assert path.read_bytes() == before
    with pytest.raises(FileNotFoundError, match="no checkpoint at"):
        checkpoint.load(tmp_path / "nothing.safetensors")


def test_a_failed_save_keeps_the_last_good_file(tmp_path, monkeypatch):
    path = tmp_path / "model.safetensors"
    checkpoint.save(random_model(TINY["llama"]), path)
    before = path.read_bytes()

    def no_space(tensors, filename, metadata):
        filename.write_bytes(b"half a file")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint.files, "save_file", no_space)
    with pytest.raises(OSError, match=r"could not save .*model.safetensors.*No space left"):
        checkpoint.save(random_model(TINY["llama"], seed=1), path)
    assert path.read_bytes() == before and [file.name for file in tmp_path.iterdir()] == [path.name]


def test_a_tensor_that_does_not_fit_its_config_is_named(tmp_path):
    model = random_model(TINY["llama"])
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


def test_without_a_network_the_hub_gives_a_clear_message(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(
        ConnectionError, match=r"openai-community/gpt2 is not on this machine .* connect to the internet"
    ):
        checkpoint.load_pretrained("openai-community/gpt2")
    with pytest.raises(FileNotFoundError, match="neither a folder nor a name on the Hugging Face hub"):
        checkpoint.load_pretrained("no/such/folder")
