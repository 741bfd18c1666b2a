"""The shapes of published models, as `ModelConfig`s: what their papers and config files say, with the source.

From a shape follow parameters, bytes and operations (`costs`). No weights are here, and none are fetched:
`checkpoint.load_pretrained` opens a folder of weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .config import ModelConfig


@dataclass(frozen=True)
class Published:
    """A model that was released, with its shape.

    `context`: tokens of the longest sequences it was trained on. `parameters_published`: the total as the paper or the
    model card states it, rounded as there. `config.max_seq_len` is `context`.
    """

    config: ModelConfig
    source: str
    year: int
    context: int
    parameters_published: float


def _gpt2(d_model: int, n_layers: int, n_heads: int, parameters: float) -> Published:
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


def _llama(source: str, year: int, context: int, parameters: float, **shape: Any) -> Published:
    """RMSNorm, RoPE and SwiGLU without biases, with a head of its own: Llama's form, which most models took over."""
    config = ModelConfig(max_seq_len=context, tie_embeddings=False, **shape)
    return Published(config, source, year, context, parameters)


LLAMA_2 = "Touvron et al. 2023, Llama 2, table 1; config.json of meta-llama/Llama-2-"
LLAMA_3 = "Grattafiori et al. 2024, The Llama 3 Herd of Models, table 3; config.json of meta-llama/Meta-Llama-3-"
QWEN_2 = "Yang et al. 2024, Qwen2 Technical Report, table 1; config.json of Qwen/Qwen2-"
QWEN_3 = "Yang et al. 2025, Qwen3 Technical Report, table 1; config.json of Qwen/Qwen3-"
MISTRAL = "Jiang et al. 2023, Mistral 7B, table 1; config.json of mistralai/Mistral-7B-v0.1"
MIXTRAL = "Jiang et al. 2024, Mixtral of Experts, table 1; config.json of mistralai/Mixtral-8x7B-v0.1"

_QWEN_2: dict[str, Any] = {"vocab_size": 152_064, "rope_theta": 1e6, "norm_eps": 1e-6, "bias": "qkv"}
_LLAMA_3: dict[str, Any] = {"vocab_size": 128_256, "rope_theta": 500_000.0, "n_kv_heads": 8}

PUBLISHED: dict[str, Published] = {
    "GPT-2": _gpt2(768, 12, 12, 124e6),
    "GPT-2 medium": _gpt2(1024, 24, 16, 355e6),
    "GPT-2 large": _gpt2(1280, 36, 20, 774e6),
    "GPT-2 XL": _gpt2(1600, 48, 25, 1558e6),
    "Llama-2-7B": _llama(
        LLAMA_2 + "7b-hf", 2023, 4096, 6.74e9, vocab_size=32_000, d_model=4096, n_layers=32, n_heads=32, d_ff=11_008
    ),
    "Llama-2-13B": _llama(
        LLAMA_2 + "13b-hf", 2023, 4096, 13.0e9, vocab_size=32_000, d_model=5120, n_layers=40, n_heads=40, d_ff=13_824
    ),
    "Llama-2-70B": _llama(
        LLAMA_2 + "70b-hf", 2023, 4096, 69.0e9,
        vocab_size=32_000, d_model=8192, n_layers=80, n_heads=64, n_kv_heads=8, d_ff=28_672,
    ),
    "Llama-3-8B": _llama(
        LLAMA_3 + "8B", 2024, 8192, 8.03e9, d_model=4096, n_layers=32, n_heads=32, d_ff=14_336, **_LLAMA_3
    ),
    "Llama-3-70B": _llama(
        LLAMA_3 + "70B", 2024, 8192, 70.6e9, d_model=8192, n_layers=80, n_heads=64, d_ff=28_672, **_LLAMA_3
    ),
    "Qwen2-7B": _llama(
        QWEN_2 + "7B", 2024, 32_768, 7.62e9, d_model=3584, n_layers=28, n_heads=28, n_kv_heads=4, d_ff=18_944, **_QWEN_2
    ),
    "Qwen2-72B": _llama(
        QWEN_2 + "72B", 2024, 32_768, 72.7e9,
        d_model=8192, n_layers=80, n_heads=64, n_kv_heads=8, d_ff=29_568, **_QWEN_2
    ),
    "Qwen3-8B": _llama(
        QWEN_3 + "8B", 2025, 32_768, 8.2e9,
        vocab_size=151_936, d_model=4096, n_layers=36, n_heads=32, n_kv_heads=8, head_dim=128, d_ff=12_288,
        rope_theta=1e6, norm_eps=1e-6, qk_norm=True,
    ),
    "Mistral-7B-v0.1": _llama(
        MISTRAL, 2023, 8192, 7.24e9,
        vocab_size=32_000, d_model=4096, n_layers=32, n_heads=32, n_kv_heads=8, d_ff=14_336, sliding_window=4096,
    ),
    "Mixtral-8x7B": _llama(
        MIXTRAL, 2024, 32_768, 46.7e9,
        vocab_size=32_000, d_model=4096, n_layers=32, n_heads=32, n_kv_heads=8, d_ff=14_336, rope_theta=1e6,
        n_experts=8, n_experts_per_token=2,
    ),
}  # fmt: skip


def published(name: str) -> Published:
    """The published model of that name. Raises ValueError that lists the names for one that is not here."""
    if name not in PUBLISHED:
        raise ValueError(f"no published model {name!r} here; there are {', '.join(PUBLISHED)}")
    return PUBLISHED[name]
