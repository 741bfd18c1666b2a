"""One decoding step of a model without the machinery of modules.

A small model's decoding time is less arithmetic than Python: some 75 calls of modules for one token. `Decoder` takes
the weights out of a model once and runs the same operations for one row in one function. `generate` uses it where it
fits; the model itself stays the readable version, and the tests hold the two together.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .attention import fused_attention
from .config import Cache
from .ffn import FeedForward, GatedFeedForward
from .linear import Linear, vector_product
from .norms import LayerNorm, RMSNorm
from .positions import alibi_bias, sinusoids
from .rope import rope_tables, rotate
from .tap import tapped
from .transformer import Transformer

PLAIN = (Linear, RMSNorm, LayerNorm, nn.Embedding, FeedForward, GatedFeedForward)
JOINED = 2**18  # numbers of q, k and v together that are copied into one matrix at most
AHEAD = 64  # positions whose RoPE tables are computed at once


def fits(model: Transformer) -> bool:
    """Whether `Decoder` can stand in for the model: a pre-norm decoder of plain layers that nobody listens to.

    Replaced layers (quantized ones, adapters), hooks, recording, dropout, experts, windows, latents and half precision
    say no, and weights made in inference mode, which do not count their changes.
    """
    config = model.config
    usual = config.norm_placement == "pre" and config.ffn != "none" and not config.n_experts
    usual = usual and config.attention == "gqa"
    weight = model.embedding.weight
    if model.norm is None or not weight.is_cpu or weight.dtype != torch.float32:
        return False
    if any(parameter.is_inference() for parameter in model.parameters()):
        return False
    if not usual or config.sliding_window or model.training or tapped():
        return False
    for module in model.modules():
        leaf = next(module.children(), None) is None
        if (leaf and type(module) not in PLAIN) or module._forward_hooks or module._forward_pre_hooks:
            return False
    return all(type(block.ffn) in PLAIN for block in model.blocks)


class Decoder:
    """The weights of a model that `fits`, laid out for decoding one row: small q, k and v joined, all else in place.

    What is joined are copies, made anew for each `generate`: of 1 MB in each layer at most, and of nothing in a large
    model, where reading takes the time. `stale` says whether the model's weights have changed since.
    """

    @torch.no_grad()
    def __init__(self, model: Transformer):
        self.model, config = model, model.config
        n_heads, n_kv_heads = config.n_heads, config.n_kv_heads
        self.n_turned = n_heads + n_kv_heads  # queries and keys, which RoPE turns together
        self.sizes = [n_heads, n_kv_heads, n_kv_heads]
        self.shape = (1, n_heads + 2 * n_kv_heads, 1, config.head_dim)
        self.layout = config.rope_layout
        self.tables_from, self.tables = -1, None
        self.layers = []
        for block in model.blocks:
            attention, ffn = block.attention, block.ffn
            gated = isinstance(ffn, GatedFeedForward)
            self.layers.append(
                (
                    _norm(block.attention_norm),
                    _joined([attention.q_proj, attention.k_proj, attention.v_proj]),
                    attention.q_norm,
                    attention.k_norm,
                    vector_product(attention.o_proj.weight, attention.o_proj.bias),
                    _norm(block.ffn_norm),
                    vector_product(ffn.gate.weight, ffn.gate.bias) if gated else None,
                    vector_product(ffn.up.weight, ffn.up.bias),
                    ffn.activation,
                    vector_product(ffn.down.weight, ffn.down.bias),
                )
            )
        self.final = _norm(model.norm)
        self.weights = list(model.parameters())
        self.versions = self._versions()

    def hidden(self, token: int, cache: Cache) -> Tensor:
        """The same as `model.hidden([[token]], cache=cache)`, one token in a cache of one row: (D,)."""
        model, places = self.model, cache.positions(1)  # (1,)
        position = int(places)
        mask = cache.mask(1)  # (1, S) or (1, 1, 1, S), or None where the query may see every key
        x = model.embedding.weight[token]  # (D,)
        if model.position_embedding is not None:
            x = x + model.position_embedding.weight[position]  # (D,)
        elif model.config.position == "sinusoidal":
            x = x * math.sqrt(len(x)) + sinusoids(places.view(1), len(x))[0]  # (D,)
        bias = None  # or (H, 1, S)
        if model.slopes is not None:
            bias = alibi_bias(model.slopes, places.view(1), torch.arange(position + 1, device="cpu"))
        tables = self._tables(position)
        for layer, (norm1, qkv, q_norm, k_norm, out, norm2, gate, up, activation, down) in enumerate(self.layers):
            heads = qkv(norm1(x)).view(self.shape)  # (1, H + 2G, 1, d): with one token, no transposition
            if q_norm is None and tables is not None:
                turned = rotate(heads.narrow(1, 0, self.n_turned), *tables, self.layout)  # (1, H + G, 1, d)
                q, k = turned.split_with_sizes(self.sizes[:2], 1)  # (1, H, 1, d), (1, G, 1, d)
                v = heads.narrow(1, self.n_turned, self.sizes[2])  # (1, G, 1, d)
            else:
                q, k, v = heads.split_with_sizes(self.sizes, 1)
                if q_norm is not None:
                    q, k = q_norm(q), k_norm(k)
                if tables is not None:
                    q, k = rotate(q, *tables, self.layout), rotate(k, *tables, self.layout)
            keys, values = cache.update(layer, k, v)  # (1, G, S, d)
            found = fused_attention(q, keys, values, mask, bias=bias)  # (1, H, 1, d)
            x = out(found.view(-1), x)  # (D,): added to the residual stream
            normal = norm2(x)  # (D,)
            expanded = activation(up(normal)) if gate is None else activation(gate(normal)) * up(normal)  # (d_ff,)
            x = down(expanded, x)  # (D,)
        cache.advance(1)
        return self.final(x)

    def _tables(self, position: int) -> tuple[Tensor, Tensor] | None:
        """RoPE's cos and ±sin of one position, (1, d) each: rows of tables that are computed for many at once."""
        if self.model.freqs is None:
            return None
        row = position % AHEAD
        if position - row != self.tables_from:
            self.tables_from = position - row
            places = torch.arange(self.tables_from, self.tables_from + AHEAD, device="cpu")
            self.tables = rope_tables(places, self.model.freqs, self.layout, factor=self.model.rope_factor)
        cos, sin = self.tables
        return cos[row : row + 1], sin[row : row + 1]

    def stale(self) -> bool:
        """Whether a weight has changed since, as an optimizer, `load_state_dict` or `weight.data = …` change it.

        Not seen: writes through `weight.data[…]`, which PyTorch does not count, and layers that were replaced.
        """
        return self._versions() != self.versions

    def _versions(self) -> list[int]:
        """Where each weight is, and how often it was changed there."""
        return [*map(Tensor.data_ptr, self.weights), *[weight._version for weight in self.weights]]


def _joined(layers: list[Linear]) -> Callable[[Tensor], Tensor]:
    """The outputs of several layers of one input behind each other: (in,) -> (sum of out,).

    One product starts faster than three. Large weights are not copied for that: there reading takes the time.
    """
    weights, biases = [layer.weight for layer in layers], [layer.bias for layer in layers]
    if sum(weight.numel() for weight in weights) <= JOINED:
        return vector_product(torch.cat(weights), None if biases[0] is None else torch.cat(biases))
    products = [vector_product(weight, bias) for weight, bias in zip(weights, biases, strict=True)]
    return lambda x: torch.cat([product(x) for product in products], dim=-1)


def _norm(layer: RMSNorm | LayerNorm) -> Callable[[Tensor], Tensor]:
    """The norm as a function of x alone, (D,) -> (D,)."""
    weight, eps, shape = layer.weight, layer.eps, layer.weight.shape
    if isinstance(layer, LayerNorm):
        return lambda x: F.layer_norm(x, shape, weight, layer.bias, eps)
    floor, share = torch.tensor(eps), 1 / shape[0]

    def rms_norm(x: Tensor) -> Tensor:  # a dot product is the sum of squares, in half the kernels of F.rms_norm
        return x * torch.add(floor, torch.dot(x, x), alpha=share).rsqrt_() * weight

    return rms_norm
