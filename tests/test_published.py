"""The shapes of published models against transformers' own models of the same config files, and the stated totals."""

import pytest
import torch
import transformers

from llmlab import costs
from llmlab.checkpoint import pretrained
from llmlab.published import PUBLISHED, published

# What the config.json of each model says, as far as it decides the parameters.
GPT2 = {"model_type": "gpt2", "vocab_size": 50257, "n_positions": 1024}
LLAMA2 = {"model_type": "llama", "vocab_size": 32000, "max_position_embeddings": 4096, "rms_norm_eps": 1e-5}
LLAMA3 = {
    "model_type": "llama", "vocab_size": 128256, "max_position_embeddings": 8192, "rms_norm_eps": 1e-5,
    "rope_theta": 500000.0, "num_key_value_heads": 8,
}  # fmt: skip
QWEN2 = {
    "model_type": "qwen2", "vocab_size": 152064, "max_position_embeddings": 32768, "rms_norm_eps": 1e-6,
    "rope_theta": 1000000.0, "use_sliding_window": False, "sliding_window": 131072,
}  # fmt: skip


def width(hidden, inner, layers, heads, kv_heads=None):
    return {
        "hidden_size": hidden, "intermediate_size": inner, "num_hidden_layers": layers, "num_attention_heads": heads,
        "num_key_value_heads": kv_heads or heads, "tie_word_embeddings": False,
    }  # fmt: skip


FILES = {
    "GPT-2": {**GPT2, "n_embd": 768, "n_layer": 12, "n_head": 12},
    "GPT-2 medium": {**GPT2, "n_embd": 1024, "n_layer": 24, "n_head": 16},
    "GPT-2 large": {**GPT2, "n_embd": 1280, "n_layer": 36, "n_head": 20},
    "GPT-2 XL": {**GPT2, "n_embd": 1600, "n_layer": 48, "n_head": 25},
    "Llama-2-7B": {**LLAMA2, **width(4096, 11008, 32, 32)},
    "Llama-2-13B": {**LLAMA2, **width(5120, 13824, 40, 40)},
    "Llama-2-70B": {**LLAMA2, **width(8192, 28672, 80, 64, 8)},
    "Llama-3-8B": {**LLAMA3, **width(4096, 14336, 32, 32, 8)},
    "Llama-3-70B": {**LLAMA3, **width(8192, 28672, 80, 64, 8)},
    "Qwen2-7B": {**QWEN2, **width(3584, 18944, 28, 28, 4)},
    "Qwen2-72B": {**QWEN2, **width(8192, 29568, 80, 64, 8)},
    "Qwen3-8B": {
        **width(4096, 12288, 36, 32, 8), "model_type": "qwen3", "vocab_size": 151936, "head_dim": 128,
        "max_position_embeddings": 32768, "rms_norm_eps": 1e-6, "rope_theta": 1000000.0,
    },
    "Mistral-7B-v0.1": {
        **width(4096, 14336, 32, 32, 8), "model_type": "mistral", "vocab_size": 32000, "sliding_window": 4096,
        "max_position_embeddings": 8192, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
    },
    "Mixtral-8x7B": {
        **width(4096, 14336, 32, 32, 8), "model_type": "mixtral", "vocab_size": 32000, "sliding_window": None,
        "max_position_embeddings": 32768, "rms_norm_eps": 1e-5, "rope_theta": 1000000.0,
        "num_local_experts": 8, "num_experts_per_tok": 2,
    },
}  # fmt: skip


def on_meta(file):
    """transformers' model of a config file, with shapes and no memory."""
    kind = file["model_type"]
    config = transformers.AutoConfig.for_model(kind, **{name: file[name] for name in file if name != "model_type"})
    with torch.device("meta"):
        return transformers.AutoModelForCausalLM.from_config(config)


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_equal_transformers_model_of_the_config_file(name):
    model = on_meta(FILES[name])
    unique = {id(parameter): parameter.numel() for parameter in model.parameters()}
    assert costs.n_parameters(PUBLISHED[name].config) == sum(unique.values())


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_shape_is_what_opening_the_config_file_gives(name):
    read, _ = pretrained._FAMILIES[FILES[name]["model_type"]]
    assert read(FILES[name]) == PUBLISHED[name].config


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_count_is_the_stated_total_within_its_rounding(name):
    stated = PUBLISHED[name].parameters_published
    n_digits = len(f"{stated:.0f}".rstrip("0"))
    assert n_digits >= 2
    assert float(f"{costs.n_parameters(PUBLISHED[name].config):.{n_digits - 1}e}") == stated


def test_a_dropped_bias_or_a_tied_head_would_show():
    config = PUBLISHED["Qwen2-7B"].config
    parts = costs.parameters(config)
    assert config.bias == "qkv" and parts["head"] == parts["embedding"] == 152064 * 3584
    assert costs.parameters(PUBLISHED["GPT-2 XL"].config)["head"] == 0


def test_every_model_names_its_source_year_and_context():
    assert set(FILES) == set(PUBLISHED)
    for name, model in PUBLISHED.items():
        assert str(model.year) in model.source and " et al. " in model.source, name
        assert model.config.max_seq_len == model.context > 0


def test_kv_heads_of_the_papers():
    """Llama 2 (Touvron et al. 2023, table 1) groups heads at 70 B only; Qwen2-7B has 4 (Yang et al. 2024, table 1)."""
    heads = {name: (model.config.n_heads, model.config.n_kv_heads) for name, model in PUBLISHED.items()}
    assert heads["Llama-2-7B"] == (32, 32) and heads["Llama-2-70B"] == (64, 8)
    assert heads["Llama-3-8B"] == heads["Mistral-7B-v0.1"] == heads["Mixtral-8x7B"] == (32, 8)
    assert heads["Qwen2-7B"] == (28, 4) and heads["Qwen3-8B"] == (32, 8)


def test_an_unknown_name_gets_the_names():
    assert published("GPT-2 XL").config.n_layers == 48
    with pytest.raises(ValueError, match=r"no published model 'GPT-5' here; there are GPT-2, .*, Mixtral-8x7B"):
        published("GPT-5")
