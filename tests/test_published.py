"""The shapes of published models against transformers' own models of the same config files, and the stated totals."""

import dataclasses
import re
from collections import Counter

import pytest
import torch
import transformers

from llmlab import costs
from llmlab.checkpoint import pretrained
from llmlab.config import ModelConfig
from llmlab.published import OUTLINES, PUBLISHED, published

# What the config.json of each model says, as far as it decides the parameters and what stands in a ModelConfig;
# max_position_embeddings is the trained length, which some files exceed.
GPT2 = {"model_type": "gpt2", "vocab_size": 50257, "n_positions": 1024}
LLAMA2 = {"model_type": "llama", "vocab_size": 32000, "max_position_embeddings": 4096, "rms_norm_eps": 1e-5}
LLAMA3 = {
    "model_type": "llama", "vocab_size": 128256, "max_position_embeddings": 8192, "rms_norm_eps": 1e-5,
    "rope_theta": 500000.0,
}  # fmt: skip
LLAMA31 = LLAMA3 | {
    "max_position_embeddings": 131072,
    "rope_scaling": {
        "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192,
        "rope_type": "llama3",
    },
}  # fmt: skip
LLAMA32 = LLAMA31 | {"rope_scaling": LLAMA31["rope_scaling"] | {"factor": 32.0}, "tie_word_embeddings": True}
QWEN2 = {
    "model_type": "qwen2", "vocab_size": 152064, "max_position_embeddings": 32768, "rms_norm_eps": 1e-6,
    "rope_theta": 1000000.0, "use_sliding_window": False, "sliding_window": 131072,
}  # fmt: skip
QWEN3 = {
    "model_type": "qwen3", "vocab_size": 151936, "head_dim": 128, "max_position_embeddings": 32768,
    "rms_norm_eps": 1e-6, "rope_theta": 1000000.0,
}  # fmt: skip
QWEN3_MOE = QWEN3 | {"model_type": "qwen3_moe", "num_experts": 128, "num_experts_per_tok": 8, "norm_topk_prob": True}
SMOLLM2 = LLAMA2 | {
    "vocab_size": 49152, "max_position_embeddings": 8192, "rope_theta": 100000.0, "tie_word_embeddings": True
}  # fmt: skip
PHI3 = {"model_type": "phi3", "rms_norm_eps": 1e-5, "pad_token_id": 0}
MISTRAL = {"model_type": "mistral", "rms_norm_eps": 1e-5, "sliding_window": None}
MIXTRAL = MISTRAL | {
    "model_type": "mixtral", "vocab_size": 32000, "rope_theta": 1000000.0,
    "num_local_experts": 8, "num_experts_per_tok": 2,
}  # fmt: skip


def width(hidden, inner, layers, heads, kv_heads=None, **more):
    return {
        "hidden_size": hidden, "intermediate_size": inner, "num_hidden_layers": layers, "num_attention_heads": heads,
        "num_key_value_heads": kv_heads or heads, "tie_word_embeddings": False, **more,
    }  # fmt: skip


FILES = {
    "GPT-2": {**GPT2, "n_embd": 768, "n_layer": 12, "n_head": 12},
    "GPT-2 medium": {**GPT2, "n_embd": 1024, "n_layer": 24, "n_head": 16},
    "GPT-2 large": {**GPT2, "n_embd": 1280, "n_layer": 36, "n_head": 20},
    "GPT-2 XL": {**GPT2, "n_embd": 1600, "n_layer": 48, "n_head": 25},
    "Llama-2-7B": width(4096, 11008, 32, 32) | LLAMA2,
    "Llama-2-13B": width(5120, 13824, 40, 40) | LLAMA2,
    "Llama-2-70B": width(8192, 28672, 80, 64, 8) | LLAMA2,
    "Llama-3-8B": width(4096, 14336, 32, 32, 8) | LLAMA3,
    "Llama-3-70B": width(8192, 28672, 80, 64, 8) | LLAMA3,
    "Llama-3.1-8B": width(4096, 14336, 32, 32, 8) | LLAMA31,
    "Llama-3.1-70B": width(8192, 28672, 80, 64, 8) | LLAMA31,
    "Llama-3.1-405B": width(16384, 53248, 126, 128, 8) | LLAMA31,
    "Llama-3.2-1B": width(2048, 8192, 16, 32, 8) | LLAMA32,
    "Llama-3.2-3B": width(3072, 8192, 28, 24, 8) | LLAMA32,
    "Qwen2-7B": width(3584, 18944, 28, 28, 4) | QWEN2,
    "Qwen2-72B": width(8192, 29568, 80, 64, 8) | QWEN2 | {"rms_norm_eps": 1e-5},
    "Qwen2.5-0.5B": width(896, 4864, 24, 14, 2) | QWEN2 | {"vocab_size": 151936, "tie_word_embeddings": True},
    "Qwen2.5-7B": width(3584, 18944, 28, 28, 4) | QWEN2,
    "Qwen2.5-72B": width(8192, 29568, 80, 64, 8) | QWEN2 | {"rms_norm_eps": 1e-5},
    "Qwen3-0.6B": width(1024, 3072, 28, 16, 8) | QWEN3 | {"tie_word_embeddings": True},
    "Qwen3-8B": width(4096, 12288, 36, 32, 8) | QWEN3,
    "Qwen3-32B": width(5120, 25600, 64, 64, 8) | QWEN3,
    "Qwen3-30B-A3B": width(2048, 6144, 48, 32, 4, moe_intermediate_size=768) | QWEN3_MOE,
    "Qwen3-235B-A22B": width(4096, 12288, 94, 64, 4, moe_intermediate_size=1536) | QWEN3_MOE,
    "SmolLM2-135M": width(576, 1536, 30, 9, 3) | SMOLLM2,
    "SmolLM2-360M": width(960, 2560, 32, 15, 5) | SMOLLM2,
    "SmolLM2-1.7B": width(2048, 8192, 24, 32) | SMOLLM2 | {"rope_theta": 130000.0},
    "Phi-3-mini": width(3072, 8192, 32, 32, vocab_size=32064, sliding_window=2047) | PHI3,
    "Phi-4": width(5120, 17920, 40, 40, 10, vocab_size=100352, rope_theta=250000.0) | PHI3,
    "Mistral-7B-v0.1": width(4096, 14336, 32, 32, 8) | MISTRAL | {
        "vocab_size": 32000, "sliding_window": 4096, "max_position_embeddings": 8192, "rope_theta": 10000.0,
    },
    "Mistral-Nemo-12B": width(5120, 14336, 40, 32, 8, head_dim=128) | MISTRAL | {
        "vocab_size": 131072, "max_position_embeddings": 131072, "rope_theta": 1000000.0,
    },
    "Mistral-Small-24B": width(5120, 32768, 40, 32, 8, head_dim=128) | MISTRAL | {
        "vocab_size": 131072, "max_position_embeddings": 32768, "rope_theta": 100000000.0,
    },
    "Mixtral-8x7B": width(4096, 14336, 32, 32, 8, max_position_embeddings=32768) | MIXTRAL,
    "Mixtral-8x22B": width(6144, 16384, 56, 48, 8, max_position_embeddings=65536) | MIXTRAL,
}  # fmt: skip
OPENED = [name for name in PUBLISHED if FILES[name]["model_type"] in pretrained._FAMILIES]

GEMMA2 = {"model_type": "gemma2", "vocab_size": 256000, "sliding_window": 4096}
GEMMA3 = {"model_type": "gemma3_text", "vocab_size": 262144, "sliding_window": 1024}
DEEPSEEK = {
    "num_attention_heads": 128, "num_key_value_heads": 128, "q_lora_rank": 1536, "kv_lora_rank": 512,
    "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128,
}  # fmt: skip
GPT_OSS = {
    "model_type": "gpt_oss", "vocab_size": 201088, "num_experts_per_tok": 4, "sliding_window": 128, "head_dim": 64,
}  # fmt: skip

OUTLINE_FILES = {
    "Gemma-2-2B": width(2304, 9216, 26, 8, 4, head_dim=256) | GEMMA2,
    "Gemma-2-9B": width(3584, 14336, 42, 16, 8, head_dim=256) | GEMMA2,
    "Gemma-2-27B": width(4608, 36864, 46, 32, 16, head_dim=128) | GEMMA2,
    "Gemma-3-1B": width(1152, 6912, 26, 4, 1, head_dim=256) | GEMMA3 | {"sliding_window": 512},
    "Gemma-3-4B": width(2560, 10240, 34, 8, 4, head_dim=256) | GEMMA3,
    "Gemma-3-12B": width(3840, 15360, 48, 16, 8, head_dim=256) | GEMMA3,
    "Gemma-3-27B": width(5376, 21504, 62, 32, 16, head_dim=128) | GEMMA3,
    "DeepSeek-V2": DEEPSEEK | {
        "model_type": "deepseek_v2", "vocab_size": 102400, "hidden_size": 5120, "intermediate_size": 12288,
        "moe_intermediate_size": 1536, "num_hidden_layers": 60, "n_routed_experts": 160, "n_shared_experts": 2,
        "num_experts_per_tok": 6, "first_k_dense_replace": 1, "n_group": 8, "topk_group": 3,
    },
    "DeepSeek-V3": DEEPSEEK | {
        "model_type": "deepseek_v3", "vocab_size": 129280, "hidden_size": 7168, "intermediate_size": 18432,
        "moe_intermediate_size": 2048, "num_hidden_layers": 61, "n_routed_experts": 256, "n_shared_experts": 1,
        "num_experts_per_tok": 8, "first_k_dense_replace": 3,
    },
    "gpt-oss-20b": width(2880, 2880, 24, 64, 8, num_local_experts=32) | GPT_OSS,
    "gpt-oss-120b": width(2880, 2880, 36, 64, 8, num_local_experts=128) | GPT_OSS,
}  # fmt: skip
for file in OUTLINE_FILES.values():
    file["tie_word_embeddings"] = file["model_type"].startswith("gemma")


def on_meta(file):
    """transformers' model of a config file, with shapes and no memory."""
    kind = file["model_type"]
    config = transformers.AutoConfig.for_model(kind, **{name: file[name] for name in file if name != "model_type"})
    with torch.device("meta"):
        return transformers.AutoModelForCausalLM.from_config(config)


def counted(model):
    """The parameters of a model, a tied table once."""
    return sum({id(parameter): parameter.numel() for parameter in model.parameters()}.values())


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_equal_transformers_model_of_the_config_file(name):
    assert PUBLISHED[name].n_parameters == costs.n_parameters(PUBLISHED[name].config) == counted(on_meta(FILES[name]))


@pytest.mark.parametrize("name", OPENED)
def test_the_shape_is_what_opening_the_config_file_gives(name):
    read, _ = pretrained._FAMILIES[FILES[name]["model_type"]]
    assert read(FILES[name]) == PUBLISHED[name].config


def agrees(number, stated):
    """Whether a number is the stated one to a unit of its last digit (papers round and cut off), and to 5 %."""
    last_digit = 10 ** (len(f"{stated:.0f}") - len(f"{stated:.0f}".rstrip("0")))
    return abs(number - stated) < min(last_digit, 0.05 * stated)


@pytest.mark.parametrize("name", [*PUBLISHED, *OUTLINES])
def test_the_count_is_the_stated_total(name):
    model = PUBLISHED.get(name) or OUTLINES[name]
    assert agrees(model.n_parameters, model.parameters_published)


@pytest.mark.parametrize("name", [name for name, model in PUBLISHED.items() if model.active_published])
def test_the_experts_of_a_token_add_up_to_the_stated_active_parameters(name):
    model = PUBLISHED[name]
    assert model.config.n_experts and agrees(costs.active_parameters(model.config), model.active_published)


def test_every_mixture_states_its_active_parameters_and_of_a_dense_model_all_are():
    for model in PUBLISHED.values():
        assert (model.config.n_experts > 0) == (model.active_published is not None)
        if not model.config.n_experts:
            assert costs.active_parameters(model.config) == model.n_parameters


def test_a_dropped_bias_or_a_tied_head_would_show():
    config = PUBLISHED["Qwen2-7B"].config
    parts = costs.parameters(config)
    assert config.bias == "qkv" and parts["head"] == parts["embedding"] == 152064 * 3584
    assert costs.parameters(PUBLISHED["GPT-2 XL"].config)["head"] == 0


def test_the_base_model_of_72_billion_has_an_eps_of_its_own():
    """As NVIDIA's NeMo has it for Qwen/Qwen2-72B (Qwen2Config72B) and, with Lightning AI's litgpt, for Qwen2.5-72B."""
    eps = {name: PUBLISHED[name].config.norm_eps for name in PUBLISHED if name.startswith("Qwen")}
    assert {name for name, value in eps.items() if value == 1e-5} == {"Qwen2-72B", "Qwen2.5-72B"}
    assert {value for name, value in eps.items() if "72B" not in name} == {1e-6}


def test_every_model_names_its_source_year_and_context():
    assert set(FILES) == set(PUBLISHED) and not set(PUBLISHED) & set(OUTLINES)
    for name, model in (PUBLISHED | OUTLINES).items():
        assert re.match(rf"[A-Z][\w. -]+ {model.year}, ", model.source) and model.year >= 2019, name
        assert model.context > 0
    assert all(model.config.max_seq_len == model.context for model in PUBLISHED.values())


# Models that no ModelConfig can say -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", OUTLINES)
def test_the_parameters_of_an_outline_are_counted_in_transformers_model_of_the_config_file(name):
    assert counted(on_meta(OUTLINE_FILES[name])) == OUTLINES[name].n_parameters


@pytest.mark.parametrize(
    "name, non_embedding",
    [
        ("Gemma-2-2B", 2_024_517_888),
        ("Gemma-2-9B", 8_324_201_984),
        ("Gemma-2-27B", 26_047_480_320),
        ("Gemma-3-1B", 698e6),
        ("Gemma-3-4B", 3209e6),
        ("Gemma-3-12B", 10_759e6),
        ("Gemma-3-27B", 25_600e6),
    ],
)
def test_gemma_without_its_embeddings_has_the_parameters_of_the_papers_tables(name, non_embedding):
    """Gemma Team 2024, table 2, to the last one; Gemma Team 2025, table 1, in millions."""
    file = OUTLINE_FILES[name]
    rest = OUTLINES[name].n_parameters - file["vocab_size"] * file["hidden_size"]
    assert abs(rest - non_embedding) < (1 if name.startswith("Gemma-2") else 1e6)


@pytest.mark.parametrize("name", OUTLINES)
def test_the_cache_of_an_outline_follows_from_its_config_file(name):
    file, layers = OUTLINE_FILES[name], OUTLINES[name].cache
    if "kv_lora_rank" in file:
        kinds, numbers = ["full_attention"] * file["num_hidden_layers"], file["kv_lora_rank"] + file["qk_rope_head_dim"]
    else:
        kinds = on_meta(file).config.layer_types
        numbers = 2 * file["num_key_value_heads"] * file["head_dim"]
    windows = {"sliding_attention": file.get("sliding_window"), "full_attention": None}
    assert Counter(windows[kind] for kind in kinds) == {one.window: one.n_layers for one in layers}
    assert {one.numbers for one in layers} == {numbers}


@pytest.mark.parametrize("name", ["DeepSeek-V2", "DeepSeek-V3"])
def test_deepseeks_attention_is_one_that_a_config_can_say(name):
    file = OUTLINE_FILES[name]
    config = ModelConfig(
        vocab_size=file["vocab_size"], d_model=file["hidden_size"], n_layers=file["num_hidden_layers"],
        n_heads=file["num_attention_heads"], head_dim=file["v_head_dim"], attention="mla",
        kv_latent_dim=file["kv_lora_rank"], rope_head_dim=file["qk_rope_head_dim"], q_latent_dim=file["q_lora_rank"],
    )  # fmt: skip
    assert costs.cache_layers(config) == OUTLINES[name].cache
    heads, *widths = config.cache_shape()
    assert heads * sum(widths) == 576
    weights = [p for name, p in on_meta(file).named_parameters() if ".self_attn." in name and p.dim() == 2]
    assert costs.parameters(config)["attention"] == sum(p.numel() for p in weights)
    # The paper's own choice (DeepSeek-AI 2024, DeepSeek-V2, section 2.1.4) is what a config has where nothing is said.
    usual = dataclasses.replace(config, kv_latent_dim=None, rope_head_dim=None)
    assert usual == config


def test_bytes_of_a_token_are_those_that_the_papers_state():
    """Zhao et al. 2025, Insights into DeepSeek-V3, table 1: the cache of one token in bfloat16, in kB."""
    stated = {"DeepSeek-V3": 70_272, "Qwen2.5-72B": 327_680, "Llama-3.1-405B": 516_096}
    for name, n_bytes in stated.items():
        model = (PUBLISHED | OUTLINES)[name]
        assert costs.rolling_cache_bytes(model.cache, 1, dtype=torch.bfloat16) == n_bytes


def test_latent_attention_saves_what_its_paper_says():
    """DeepSeek-AI 2024, DeepSeek-V2: 93.3 % less cache than DeepSeek 67B (95 layers, 8 kv heads of 128 numbers,
    bfloat16), with the latent's numbers in 6 bits (abstract and section 3.2.3)."""
    ours = 6 * sum(one.n_layers * one.numbers for one in OUTLINES["DeepSeek-V2"].cache)
    assert round(100 * (1 - ours / (16 * 95 * 2 * 8 * 128)), 1) == 93.3


def test_mistrals_rolling_cache_is_an_eighth_at_32k_tokens():
    """Jiang et al. 2023, Mistral 7B, section 2: "reduces the cache memory usage by 8x"."""
    model = PUBLISHED["Mistral-7B-v0.1"]
    whole = costs.kv_cache_bytes(model.config, 32_768)
    assert whole == 8 * costs.rolling_cache_bytes(model.cache, 32_768)


def test_kv_heads_of_the_papers():
    """Llama 2 (Touvron et al. 2023, table 1) groups heads at 70 B only; Qwen2-7B has 4 (Yang et al. 2024, table 1)."""
    heads = {name: (model.config.n_heads, model.config.n_kv_heads) for name, model in PUBLISHED.items()}
    assert heads["Llama-2-7B"] == (32, 32) and heads["Llama-2-70B"] == (64, 8)
    assert heads["Llama-3-8B"] == heads["Mistral-7B-v0.1"] == heads["Mixtral-8x7B"] == (32, 8)
    assert heads["Qwen2-7B"] == (28, 4) and heads["Qwen3-8B"] == (32, 8)


def test_an_unknown_name_gets_the_names():
    assert published("GPT-2 XL").config.n_layers == 48
    with pytest.raises(ValueError, match=r"no published model 'GPT-5' here; there are GPT-2, .*, Mixtral-8x22B"):
        published("GPT-5")
    with pytest.raises(
        ValueError, match=r"no ModelConfig can say the form of DeepSeek-V3 \(1 shared .*; multi-head .*OUTLINES"
    ):
        published("DeepSeek-V3")
