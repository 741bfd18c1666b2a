"""The shapes of published models, as `ModelConfig`s: what their papers and config files say, with the source.

From a shape follow parameters, bytes and operations (`costs`). Models whose form a `ModelConfig` cannot say stand in
`OUTLINES`, with what they cost and what they do differently. No weights are here, and none are fetched:
`checkpoint.load_pretrained` opens a folder of weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from . import costs
from .config import ModelConfig
from .costs import CacheLayers


@dataclass(frozen=True)
class Published:
    """A model that was released, with its shape.

    `context`: tokens of the longest sequences it was trained on; config files often say more. `parameters_published`:
    the total as the paper or the model card states it, rounded as there. `active_published`: of a mixture, the
    parameters that one token passes, as stated.
    `config.max_seq_len` is `context`.
    """

    config: ModelConfig
    source: str
    year: int
    context: int
    parameters_published: float
    active_published: float | None = None

    @property
    def n_parameters(self) -> int:
        """All parameters, counted from the shape."""
        return costs.n_parameters(self.config)

    @property
    def cache(self) -> tuple[CacheLayers, ...]:
        """What its layers keep of each token, for `costs.rolling_cache_bytes`."""
        return costs.cache_layers(self.config)


@dataclass(frozen=True)
class Outline:
    """A model that was released and whose form `ModelConfig` cannot say: what it costs, and what is different.

    `n_parameters`: counted, of the text model, embeddings included; `cache`: what its layers keep of each token, for
    `costs.rolling_cache_bytes`. The other fields are those of `Published`.
    """

    differs: str
    source: str
    year: int
    context: int
    parameters_published: float
    n_parameters: int
    cache: tuple[CacheLayers, ...]
    active_published: float | None = None


def _gpt2(parameters: float, d_model: int, n_layers: int, n_heads: int) -> Published:
    """Learned positions, LayerNorm, biases everywhere. Radford et al. 2019, table 2; sizes as released."""
    config = ModelConfig(
        vocab_size=50_257,
        d_model=d_model,
        n_layers=n_layers,
        n_heads=n_heads,
        d_ff=4 * d_model,
        max_seq_len=1024,
        position="learned",
        norm="layernorm",
        ffn="gelu_tanh",
        bias="all",
    )
    source = "Radford et al. 2019, Language Models are Unsupervised Multitask Learners, table 2; openai/gpt-2"
    return Published(config, source, 2019, 1024, parameters)


def _llama(
    source: str, context: int, parameters: float, sizes: tuple[int, ...], *, active: float | None = None, **choices: Any
) -> Published:
    """RMSNorm, RoPE and SwiGLU without biases, with a head of its own: Llama's form, which most models took over.

    `sizes`: vocabulary, d_model, layers, heads, kv heads, d_ff (of one expert). The year is the source's first number.
    """
    names = ("vocab_size", "d_model", "n_layers", "n_heads", "n_kv_heads", "d_ff")
    shape = dict(zip(names, sizes, strict=True))
    config = ModelConfig(max_seq_len=context, **{"tie_embeddings": False, **shape, **choices})
    return Published(config, source, _year(source), context, parameters, active)


def _year(source: str) -> int:
    """The year in "Touvron et al. 2023, Llama 2, table 1"."""
    return int(source.split(",")[0].split()[-1])


LLAMA_2 = "Touvron et al. 2023, Llama 2, table 1; config.json of meta-llama/Llama-2-"
LLAMA_3 = "Grattafiori et al. 2024, The Llama 3 Herd of Models, table 3; config.json of meta-llama/Meta-Llama-3-"
LLAMA_3_1 = "Grattafiori et al. 2024, The Llama 3 Herd of Models, table 3; config.json of meta-llama/Llama-3.1-"
LLAMA_3_2 = "Meta 2024, Llama 3.2 model card; config.json of meta-llama/Llama-3.2-"
QWEN_2 = "Yang et al. 2024, Qwen2 Technical Report, table 1; config.json of Qwen/Qwen2-"
QWEN_2_5 = "Qwen Team 2024, Qwen2.5 Technical Report, table 1; config.json of Qwen/Qwen2.5-"
QWEN_3 = "Yang et al. 2025, Qwen3 Technical Report, tables 1 and 2; config.json of Qwen/Qwen3-"
MISTRAL = "Jiang et al. 2023, Mistral 7B, table 1; config.json of mistralai/Mistral-7B-v0.1"
MIXTRAL = "Jiang et al. 2024, Mixtral of Experts, table 1; config.json of mistralai/Mixtral-8x7B-v0.1"
MIXTRAL_22 = "Mistral AI 2024, Cheaper, Better, Faster, Stronger; config.json of mistralai/Mixtral-8x22B-v0.1"
NEMO = "Mistral AI 2024, Mistral NeMo; config.json of mistralai/Mistral-Nemo-Base-2407"
SMALL = "Mistral AI 2025, Mistral Small 3; config.json of mistralai/Mistral-Small-24B-Base-2501"
PHI_3 = "Abdin et al. 2024, Phi-3 Technical Report, section 2; config.json of microsoft/Phi-3-mini-4k-instruct"
PHI_4 = "Abdin et al. 2024, Phi-4 Technical Report, section 3; config.json of microsoft/phi-4"
SMOL = "Allal et al. 2025, SmolLM2, section 4; config.json of HuggingFaceTB/SmolLM2-"

_LLAMA_3: dict[str, Any] = {"rope_theta": 500_000.0}
_QWEN_2: dict[str, Any] = {"rope_theta": 1e6, "norm_eps": 1e-6, "bias": "qkv"}
# The two base models of 72 B have another norm_eps than the smaller ones and than their own Instruct versions:
# Qwen2Config72B in NVIDIA NeMo's collections/llm/gpt/model/qwen2.py, Qwen2.5-72B in Lightning AI's litgpt/config.py.
_QWEN_2_72B: dict[str, Any] = _QWEN_2 | {"norm_eps": 1e-5}
_QWEN_3: dict[str, Any] = {"rope_theta": 1e6, "norm_eps": 1e-6, "qk_norm": True, "head_dim": 128}


def _llama_3_1(factor: float) -> dict[str, Any]:
    """Trained on 8,192 tokens and then, with slower rotations, on 131,072."""
    scaling = {"factor": factor, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
    return _LLAMA_3 | {"rope_scaling": {"rope_type": "llama3", "original_max_position_embeddings": 8192, **scaling}}


def _experts(n: int, per_token: int) -> dict[str, Any]:
    return {"n_experts": n, "n_experts_per_token": per_token}


PUBLISHED: dict[str, Published] = {
    #                 parameters, d_model, layers, heads
    "GPT-2": _gpt2(124e6, 768, 12, 12),
    "GPT-2 medium": _gpt2(355e6, 1024, 24, 16),
    "GPT-2 large": _gpt2(774e6, 1280, 36, 20),
    "GPT-2 XL": _gpt2(1558e6, 1600, 48, 25),
    #              source, context, parameters, (vocabulary, d_model, layers, heads, kv heads, d_ff)
    "Llama-2-7B": _llama(LLAMA_2 + "7b-hf", 4096, 6.74e9, (32_000, 4096, 32, 32, 32, 11_008)),
    "Llama-2-13B": _llama(LLAMA_2 + "13b-hf", 4096, 13.0e9, (32_000, 5120, 40, 40, 40, 13_824)),
    "Llama-2-70B": _llama(LLAMA_2 + "70b-hf", 4096, 69.0e9, (32_000, 8192, 80, 64, 8, 28_672)),
    "Llama-3-8B": _llama(LLAMA_3 + "8B", 8192, 8.03e9, (128_256, 4096, 32, 32, 8, 14_336), **_LLAMA_3),
    "Llama-3-70B": _llama(LLAMA_3 + "70B", 8192, 70.6e9, (128_256, 8192, 80, 64, 8, 28_672), **_LLAMA_3),
    "Llama-3.1-8B": _llama(LLAMA_3_1 + "8B", 131_072, 8.03e9, (128_256, 4096, 32, 32, 8, 14_336), **_llama_3_1(8.0)),
    "Llama-3.1-70B": _llama(LLAMA_3_1 + "70B", 131_072, 70.6e9, (128_256, 8192, 80, 64, 8, 28_672), **_llama_3_1(8.0)),
    "Llama-3.1-405B": _llama(
        LLAMA_3_1 + "405B", 131_072, 405e9, (128_256, 16_384, 126, 128, 8, 53_248), **_llama_3_1(8.0)
    ),
    "Llama-3.2-1B": _llama(
        LLAMA_3_2 + "1B", 131_072, 1.23e9, (128_256, 2048, 16, 32, 8, 8192), tie_embeddings=True, **_llama_3_1(32.0)
    ),
    "Llama-3.2-3B": _llama(
        LLAMA_3_2 + "3B", 131_072, 3.21e9, (128_256, 3072, 28, 24, 8, 8192), tie_embeddings=True, **_llama_3_1(32.0)
    ),
    "Qwen2-7B": _llama(QWEN_2 + "7B", 32_768, 7.62e9, (152_064, 3584, 28, 28, 4, 18_944), **_QWEN_2),
    "Qwen2-72B": _llama(QWEN_2 + "72B", 32_768, 72.7e9, (152_064, 8192, 80, 64, 8, 29_568), **_QWEN_2_72B),
    "Qwen2.5-0.5B": _llama(
        QWEN_2_5 + "0.5B", 32_768, 0.49e9, (151_936, 896, 24, 14, 2, 4864), tie_embeddings=True, **_QWEN_2
    ),
    "Qwen2.5-7B": _llama(QWEN_2_5 + "7B", 32_768, 7.61e9, (152_064, 3584, 28, 28, 4, 18_944), **_QWEN_2),
    "Qwen2.5-72B": _llama(QWEN_2_5 + "72B", 32_768, 72.7e9, (152_064, 8192, 80, 64, 8, 29_568), **_QWEN_2_72B),
    "Qwen3-0.6B": _llama(
        QWEN_3 + "0.6B", 32_768, 0.6e9, (151_936, 1024, 28, 16, 8, 3072), tie_embeddings=True, **_QWEN_3
    ),
    "Qwen3-8B": _llama(QWEN_3 + "8B", 32_768, 8.2e9, (151_936, 4096, 36, 32, 8, 12_288), **_QWEN_3),
    "Qwen3-32B": _llama(QWEN_3 + "32B", 32_768, 32.8e9, (151_936, 5120, 64, 64, 8, 25_600), **_QWEN_3),
    "Qwen3-30B-A3B": _llama(
        QWEN_3 + "30B-A3B", 32_768, 30.5e9, (151_936, 2048, 48, 32, 4, 768), active=3.3e9, **_experts(128, 8), **_QWEN_3
    ),
    "Qwen3-235B-A22B": _llama(
        QWEN_3 + "235B-A22B", 32_768, 235e9, (151_936, 4096, 94, 64, 4, 1536),
        active=22e9, **_experts(128, 8), **_QWEN_3,
    ),
    "SmolLM2-135M": _llama(
        SMOL + "135M", 8192, 135e6, (49_152, 576, 30, 9, 3, 1536), tie_embeddings=True, rope_theta=1e5
    ),
    "SmolLM2-360M": _llama(
        SMOL + "360M", 8192, 360e6, (49_152, 960, 32, 15, 5, 2560), tie_embeddings=True, rope_theta=1e5
    ),
    "SmolLM2-1.7B": _llama(
        SMOL + "1.7B", 8192, 1.7e9, (49_152, 2048, 24, 32, 32, 8192), tie_embeddings=True, rope_theta=130_000.0
    ),
    "Phi-3-mini": _llama(PHI_3, 4096, 3.8e9, (32_064, 3072, 32, 32, 32, 8192), sliding_window=2047),
    "Phi-4": _llama(PHI_4, 16_384, 14e9, (100_352, 5120, 40, 40, 10, 17_920), rope_theta=250_000.0),
    "Mistral-7B-v0.1": _llama(MISTRAL, 8192, 7.24e9, (32_000, 4096, 32, 32, 8, 14_336), sliding_window=4096),
    "Mistral-Nemo-12B": _llama(NEMO, 131_072, 12e9, (131_072, 5120, 40, 32, 8, 14_336), head_dim=128, rope_theta=1e6),
    "Mistral-Small-24B": _llama(SMALL, 32_768, 24e9, (131_072, 5120, 40, 32, 8, 32_768), head_dim=128, rope_theta=1e8),
    "Mixtral-8x7B": _llama(
        MIXTRAL, 32_768, 46.7e9, (32_000, 4096, 32, 32, 8, 14_336), active=12.9e9, rope_theta=1e6, **_experts(8, 2)
    ),
    "Mixtral-8x22B": _llama(
        MIXTRAL_22, 65_536, 141e9, (32_000, 6144, 56, 48, 8, 16_384), active=39e9, rope_theta=1e6, **_experts(8, 2)
    ),
}  # fmt: skip

GEMMA = "embeddings times √d_model, norms before and after each sublayer, GeGLU"
GEMMA_2 = "Gemma Team 2024, Gemma 2, tables 1 and 2; config.json of google/gemma-2-"
GEMMA_3 = "Gemma Team 2025, Gemma 3 Technical Report, table 1; config.json of google/gemma-3-"
MLA = "multi-head latent attention (attention='mla'): 512 numbers a token for all keys and values, 64 for a rotated key"
DEEPSEEK_2 = "DeepSeek-AI 2024, DeepSeek-V2, section 3.1.2; config.json of deepseek-ai/DeepSeek-V2"
DEEPSEEK_3 = "DeepSeek-AI 2024, DeepSeek-V3 Technical Report, section 4.2; config.json of deepseek-ai/DeepSeek-V3"
GPT_OSS = "OpenAI 2025, gpt-oss-120b & gpt-oss-20b Model Card, table 1; config.json of openai/gpt-oss-"


def _gemma_2(size: str, parameters: float, counted: int, n_layers: int, numbers: int) -> Outline:
    """Every other layer looks back 4,096 tokens."""
    differs = GEMMA + "; scores capped at 50 and logits at 30; a window in every other layer"
    cache = (CacheLayers(n_layers // 2, numbers, 4096), CacheLayers(n_layers // 2, numbers))
    return Outline(differs, GEMMA_2 + size, 2024, 8192, parameters, counted, cache)


def _gemma_3(
    size: str, context: int, parameters: float, counted: int, n_layers: int, numbers: int, window: int
) -> Outline:
    """Five layers with a window, then one without, and so on."""
    differs = GEMMA + "; QK-norm; a window, and a RoPE of its own, in five layers of six"
    n_global = n_layers // 6
    cache = (CacheLayers(n_layers - n_global, numbers, window), CacheLayers(n_global, numbers))
    return Outline(differs, GEMMA_3 + size, 2025, context, parameters, counted, cache)


def _deepseek(
    source: str, context: int, parameters: float, counted: int, n_layers: int, active: float, experts: str
) -> Outline:
    """Of its form `ModelConfig` can say the attention, not the shared experts and the layers without any."""
    cache = (CacheLayers(n_layers, 512 + 64),)
    return Outline(f"{experts}; {MLA}", source, 2024, context, parameters, counted, cache, active)


def _gpt_oss(size: str, parameters: float, counted: int, n_layers: int, active: float) -> Outline:
    """Every other layer looks back 128 tokens; 8 kv heads of 64 numbers."""
    differs = "a learned sink in each head's softmax; biases in attention and experts; a window in every other layer"
    numbers = 2 * 8 * 64
    cache = (CacheLayers(n_layers // 2, numbers, 128), CacheLayers(n_layers // 2, numbers))
    return Outline(differs, GPT_OSS + size, 2025, 131_072, parameters, counted, cache, active)


OUTLINES: dict[str, Outline] = {
    #                      parameters, counted, layers, numbers of a token in each (2 · kv heads · head_dim)
    "Gemma-2-2B": _gemma_2("2b", 2.61e9, 2_614_341_888, 26, 2 * 4 * 256),
    "Gemma-2-9B": _gemma_2("9b", 9.24e9, 9_241_705_984, 42, 2 * 8 * 256),
    "Gemma-2-27B": _gemma_2("27b", 27.2e9, 27_227_128_320, 46, 2 * 16 * 128),
    #                      context, parameters, counted, layers, numbers of a token in each, window
    "Gemma-3-1B": _gemma_3("1b-pt", 32_768, 1.00e9, 999_885_952, 26, 2 * 1 * 256, 512),
    "Gemma-3-4B": _gemma_3("4b-pt", 131_072, 3.88e9, 3_880_099_328, 34, 2 * 4 * 256, 1024),
    "Gemma-3-12B": _gemma_3("12b-pt", 131_072, 11.8e9, 11_765_788_416, 48, 2 * 8 * 256, 1024),
    "Gemma-3-27B": _gemma_3("27b-pt", 131_072, 27.0e9, 27_009_002_240, 62, 2 * 16 * 128, 1024),
    "DeepSeek-V2": _deepseek(
        DEEPSEEK_2, 32_768, 236e9, 235_741_434_880, 60, 21e9,
        "2 shared and 6 of 160 experts, except in the first layer",
    ),
    "DeepSeek-V3": _deepseek(
        DEEPSEEK_3, 131_072, 671e9, 671_026_404_352, 61, 37e9,
        "1 shared and 8 of 256 experts, except in the first three layers",
    ),
    #                       parameters, counted, layers, active
    "gpt-oss-20b": _gpt_oss("20b", 20.91e9, 20_914_757_184, 24, 3.61e9),
    "gpt-oss-120b": _gpt_oss("120b", 116.83e9, 116_829_156_672, 36, 5.13e9),
}  # fmt: skip


def published(name: str) -> Published:
    """The published model of that name. Raises ValueError that lists the names for one that is not here."""
    if name in OUTLINES:
        raise ValueError(f"no ModelConfig can say the form of {name} ({OUTLINES[name].differs}); see OUTLINES")
    if name not in PUBLISHED:
        raise ValueError(f"no published model {name!r} here; there are {', '.join(PUBLISHED)}")
    return PUBLISHED[name]
