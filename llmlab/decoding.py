"""One decoding step of a small model without the machinery of modules.

A small model's decoding time is not arithmetic but Python: some 75 calls of modules for one token. `Decoder` takes the
weights out of a model once and runs the same operations in one function. `generate` uses it where it fits; the model
itself stays the readable version, and the tests hold the two together.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .attention import fused_attention
from .config import Cache
from .ffn import FeedForward, GatedFeedForward
from .linear import Linear, product
from .norms import LayerNorm, RMSNorm
from .rope import rope_tables, rotate
from .tap import tapped
from .transformer import Transformer

PLAIN = (Linear, RMSNorm, LayerNorm, nn.Embedding, FeedForward, GatedFeedForward)
JOINED = 2**20  # weights that are copied into one matrix at most
NOTHING = torch.zeros(())  # what a scaled product is added to


def fits(model: Transformer) -> bool:
    """Whether `Decoder` can stand in for the model: a pre-norm decoder of plain layers that nobody listens to.

    Replaced layers (quantized ones, adapters), hooks, recording, dropout, experts, windows and half precision say no.
    """
    config = model.config
    usual = config.norm_placement == "pre" and config.ffn != "none" and not config.n_experts
    if model.norm is None or not model.embedding.weight.is_cpu:
        return False
    if not usual or config.sliding_window or model.training or tapped():
        return False
    for module in model.modules():
        leaf = next(module.children(), None) is None
        if (leaf and type(module) not in PLAIN) or module._forward_hooks or module._forward_pre_hooks:
            return False
    return all(block.ffn.__class__ in PLAIN for block in model.blocks) and model.embedding.weight.dtype == torch.float32


class Decoder:
    """The weights of a model that `fits`, laid out for decoding: small products joined, large ones read in place."""

    def __init__(self, model: Transformer):
        self.model, config = model, model.config
        n_heads, n_kv_heads, head_dim = config.n_heads, config.n_kv_heads, config.head_dim
        self.n_turned = n_heads + n_kv_heads  # queries and keys, which RoPE turns together
        self.sizes = [n_heads, n_kv_heads, n_kv_heads]
        self.rows = (n_heads + 2 * n_kv_heads, 1, head_dim)
        self.layout = config.rope_layout
        self.layers = []
        for block in model.blocks:
            attention, ffn = block.attention, block.ffn
            gate = [ffn.gate] if isinstance(ffn, GatedFeedForward) else []
            self.layers.append(
                (
                    _norm(block.attention_norm),
                    _joined([attention.q_proj, attention.k_proj, attention.v_proj]),
                    attention.q_norm,
                    attention.k_norm,
                    product(attention.o_proj.weight, attention.o_proj.bias),
                    _norm(block.ffn_norm),
                    _joined([*gate, ffn.up]),
                    ffn.activation,
                    product(ffn.down.weight, ffn.down.bias),
                )
            )
        self.gated = bool(gate)
        self.final = _norm(model.norm)

    def hidden(self, tokens: Tensor, cache: Cache) -> Tensor:
        """The same as `model.hidden(tokens, cache=cache)` for one new token in each row: (B, 1) -> (B, 1, D)."""
        model, n_rows = self.model, tokens.shape[0]
        positions = cache.positions(1)  # (1,) or (B, 1)
        mask = cache.mask(1)  # (B, 1, 1, S), or None where a query may see every key
        x = model._embed(tokens, positions)  # (B, 1, D)
        tables = rope_tables(positions, model.freqs, self.layout) if model.freqs is not None else None
        for layer, (norm1, w_qkv, q_norm, k_norm, w_o, norm2, w_in, activation, w_down) in enumerate(self.layers):
            qkv = w_qkv(norm1(x)).view(n_rows, *self.rows)  # (B, H + 2G, 1, d): with one token, no transposition
            if q_norm is None and tables is not None:
                turned = rotate(qkv.narrow(1, 0, self.n_turned), *tables, self.layout)  # (B, H + G, 1, d)
                q, k = turned.split_with_sizes(self.sizes[:2], 1)  # (B, H, 1, d), (B, G, 1, d)
                v = qkv.narrow(1, self.n_turned, self.sizes[2])  # (B, G, 1, d)
            else:
                q, k, v = qkv.split_with_sizes(self.sizes, 1)
                if q_norm is not None:
                    q, k = q_norm(q), k_norm(k)
                if tables is not None:
                    q, k = rotate(q, *tables, self.layout), rotate(k, *tables, self.layout)
            keys, values = cache.update(layer, k, v)  # (B, G, S, d)
            heads = fused_attention(q, keys, values, mask) if mask is not None else _attend(q, keys, values)
            x = x + w_o(heads.reshape(n_rows, 1, -1))  # (B, 1, D)
            expanded = w_in(norm2(x))  # (B, 1, 2·d_ff), or (B, 1, d_ff) without a gate
            if self.gated:
                gate, up = expanded.chunk(2, -1)  # (B, 1, d_ff) each
                x = x + w_down(activation(gate) * up)  # (B, 1, D)
            else:
                x = x + w_down(activation(expanded))  # (B, 1, D)
        cache.advance(1)
        return self.final(x)


def _attend(q: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """One query in each head, every key visible. q (B, H, 1, d), keys and values (B, G, S, d) -> (B·G, H/G, d).

    The heads of a group are the rows of one product, so nothing is repeated; three plain kernels start faster than
    the fused one, and with one query there is no (T, S) matrix to save.
    """
    k, v = keys.flatten(0, 1), values.flatten(0, 1)  # (B·G, S, d)
    rows = q.reshape(k.shape[0], -1, k.shape[2])  # (B·G, H/G, d)
    scores = torch.baddbmm(NOTHING, rows, k.transpose(1, 2), beta=0, alpha=k.shape[2] ** -0.5)  # (B·G, H/G, S)
    return torch.bmm(scores.softmax(-1), v)


def _joined(layers: list[Linear]) -> Callable[[Tensor], Tensor]:
    """The outputs of several layers of one input behind each other: (B, 1, in) -> (B, 1, sum of out).

    One product starts faster than three. Large weights are not copied for that: there reading takes the time.
    """
    if len(layers) == 1:
        return product(layers[0].weight, layers[0].bias)
    weights, biases = [layer.weight for layer in layers], [layer.bias for layer in layers]
    if sum(weight.numel() for weight in weights) <= JOINED:
        return product(torch.cat(weights), None if biases[0] is None else torch.cat(biases))
    products = [product(weight, bias) for weight, bias in zip(weights, biases, strict=True)]
    return lambda x: torch.cat([each(x) for each in products], dim=-1)


def _norm(layer: RMSNorm | LayerNorm) -> Callable[[Tensor], Tensor]:
    """The norm as a function of x alone."""
    weight, eps, shape = layer.weight, layer.eps, layer.weight.shape
    if isinstance(layer, LayerNorm):
        return lambda x: F.layer_norm(x, shape, weight, layer.bias, eps)
    floor, share = torch.tensor(eps), 1 / shape[0]

    def rms_norm(x: Tensor) -> Tensor:
        if x.shape[0] > 1:
            return F.rms_norm(x, shape, weight, eps)
        row = x.view(-1)  # (D,): for one row a dot product is the sum of squares, in half the kernels
        return x * torch.add(floor, torch.dot(row, row), alpha=share).rsqrt() * weight

    return rms_norm
