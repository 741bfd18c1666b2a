"""Models for several tests: tiny, with every parameter random, so that no bias or norm can hide by being 0 or 1.

Also the label of a token as widgets show it.
"""

from __future__ import annotations

import copy

import torch
from torch import nn

from llmlab.config import ModelConfig
from llmlab.transformer import Transformer

TINY_LLAMA = ModelConfig(vocab_size=97, d_model=32, n_layers=3, n_heads=4, n_kv_heads=2, max_seq_len=64)
TINY_GPT2 = ModelConfig(
    vocab_size=97, d_model=32, n_layers=2, n_heads=4, max_seq_len=64,
    position="learned", norm="layernorm", ffn="gelu_tanh", bias="all",
)  # fmt: skip
TINY_QWEN3 = ModelConfig(
    vocab_size=97,
    d_model=32,
    n_layers=2,
    n_heads=4,
    n_kv_heads=2,
    head_dim=16,
    qk_norm=True,
    tie_embeddings=False,
)
TINY_MIXTRAL = ModelConfig(
    vocab_size=97, d_model=32, n_layers=2, n_heads=4, n_kv_heads=2, n_experts=4, tie_embeddings=False
)
TINY_ALIBI = ModelConfig(vocab_size=97, d_model=32, n_layers=2, n_heads=6, n_kv_heads=2, head_dim=8, position="alibi")
TINY_SINUSOIDAL = ModelConfig(vocab_size=97, d_model=32, n_layers=2, n_heads=4, n_kv_heads=1, position="sinusoidal")
TINY_MLA = ModelConfig(
    vocab_size=97, d_model=32, n_layers=2, n_heads=4, attention="mla", kv_latent_dim=20, rope_head_dim=6
)
TINY = {
    "llama": TINY_LLAMA,
    "gpt2": TINY_GPT2,
    "qwen3": TINY_QWEN3,
    "mixtral": TINY_MIXTRAL,
    "alibi": TINY_ALIBI,
    "sinusoidal": TINY_SINUSOIDAL,
}
EVERY = TINY | {
    "mla": TINY_MLA
}  # with a model whose attention keeps latents, of which not all parts of the package know

# As published in QLoRA's appendix E.
PUBLISHED_NF4 = (
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
    -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
    0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
)  # fmt: skip


def randomize(model: nn.Module, *, std: float = 0.2, seed: int = 0) -> nn.Module:
    """Draw every parameter from a normal distribution, biases and norms included."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=std, generator=generator)
    return model.eval()


def random_model(config: ModelConfig, seed: int = 0) -> Transformer:
    return randomize(Transformer(config), seed=seed)


def random_tokens(config: ModelConfig, *shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randint(config.vocab_size, shape, generator=torch.Generator().manual_seed(seed))


def relative(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    """The largest difference, relative to the largest entry."""
    return ((ours - theirs).abs().max() / theirs.abs().max()).item()


def maimed(model: Transformer, heads: list[tuple[int, int]]) -> Transformer:
    """A copy of the model in which the columns of o_proj that read these heads (layer, head) are zero."""
    model, size = copy.deepcopy(model), model.config.head_dim
    with torch.no_grad():
        for layer, head in heads:
            model.blocks[layer].attention.o_proj.weight[:, head * size : (head + 1) * size] = 0
    return model


def label(tokenizer, token: int) -> str:
    """A token as widgets show it: its spaces and line ends visible, its bytes where they are no whole characters."""
    data = tokenizer.decode_bytes([token])
    try:
        return data.decode().replace(" ", "·").replace("\n", "⏎")
    except UnicodeDecodeError:
        return f"0x{data.hex()}"
