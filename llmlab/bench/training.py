"""A training step against a plain PyTorch GPT of the same shape, with fused attention, loss, clipping and optimizer."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..config import ModelConfig
from ..training import Batch, Trainer, TrainingConfig, new_model
from . import Row, alternate

SHAPE = ModelConfig(
    vocab_size=2048, d_model=192, n_layers=6, n_heads=6, max_seq_len=128,
    position="learned", norm="layernorm", ffn="gelu_tanh", bias="all",
)  # fmt: skip
ROWS, TOKENS, STEPS = 16, 128, 4


class PlainBlock(nn.Module):
    """A GPT-2 block as one would write it for speed: q, k and v in one product, PyTorch's fused attention."""

    def __init__(self, width: int, n_heads: int):
        super().__init__()
        self.n_heads = n_heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        batch, n_tokens, width = x.shape
        q, k, v = (
            part.view(batch, n_tokens, self.n_heads, -1).transpose(1, 2)
            for part in self.qkv(self.norm1(x)).split(width, dim=-1)
        )
        heads = F.scaled_dot_product_attention(q, k, v, is_causal=True)  # (B, H, T, d)
        x = x + self.out(heads.transpose(1, 2).reshape(batch, n_tokens, width))
        return x + self.down(F.gelu(self.up(self.norm2(x)), approximate="tanh"))


class PlainGPT(nn.Module):
    """GPT-2's shape with nothing around it, as the yardstick."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.embedding = nn.Embedding(config.vocab_size, config.d_model)
        self.positions = nn.Embedding(config.max_seq_len, config.d_model)
        self.blocks = nn.ModuleList(PlainBlock(config.d_model, config.n_heads) for _ in range(config.n_layers))
        self.norm = nn.LayerNorm(config.d_model)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embedding(tokens) + self.positions(torch.arange(tokens.shape[1]))
        for block in self.blocks:
            x = block(x)
        return F.linear(self.norm(x), self.embedding.weight)


def benchmark() -> Iterator[Row]:
    """Tokens per second of a training step, ours and the plain one's."""
    tokens = torch.randint(SHAPE.vocab_size, (ROWS, TOKENS + 1), generator=torch.Generator().manual_seed(0))
    batch = Batch(tokens[:, :-1], tokens[:, 1:])
    trainer = iter(Trainer(new_model(SHAPE), lambda step: batch, TrainingConfig(n_steps=10_000)))
    plain = PlainGPT(SHAPE)
    optimizer = torch.optim.AdamW(plain.parameters(), lr=3e-3, betas=(0.9, 0.95), fused=True)

    def ours():
        for _ in range(STEPS):
            next(trainer)

    def theirs():
        for _ in range(STEPS):
            optimizer.zero_grad(set_to_none=True)
            loss = F.cross_entropy(plain(batch.tokens).flatten(0, 1), batch.targets.flatten())
            loss.backward()
            nn.utils.clip_grad_norm_(plain.parameters(), 1.0)
            optimizer.step()
            loss.item()

    seconds, their_seconds = alternate(ours, theirs, repeats=9)
    trainer.close()
    per_run = STEPS * ROWS * TOKENS
    speed, their_speed = per_run / seconds, per_run / their_seconds
    yield Row(
        "training step, 3 M parameters, 16×128: plain PyTorch GPT",
        speed,
        their_speed,
        "tok/s",
        ">= 1×",
        speed >= their_speed,
    )
