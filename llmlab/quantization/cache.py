"""A KV cache in few bits: keys with a scale for each channel, values with one for each token.

Some channels of the keys are large in every token, so that numbers of one channel belong together; values have no such
channels, and each token's are mixed as a whole (Liu et al. 2024, KIVI, section 3). A scale for each channel can only be
made for tokens that are there: the last ones stay in full precision until a group of `group_size` tokens is full.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..config import Cache, ModelConfig, expect_sizes
from ..kv_cache import Store
from ..transformer import Transformer
from .affine import code_range, quantize
from .packing import pack, unpack
from .quantized import Quantized

ALONG = {"channel": -2, "token": -1}  # the dimension of (tokens, channels) whose numbers share a scale


class QuantizedKVCache(Store):
    """Keys and values in codes of 2 to 8 bits, dequantized when they are read; its rows may be of unequal lengths.

    `keys` and `values`: "channel" (a scale for each channel of `group_size` tokens) or "token" (one for each
    `group_size` numbers of a token). Scales are kept in float16. `value_bits`: of the values, if not `bits`.

    The tokens of a call see one another in full precision. A full group is quantized when the next call comes, or when
    `keys`, `values` or `nbytes` are asked for: padding that is cut off before never touches a scale. Where `truncate`
    cuts into a group, the tokens left of it go on as the numbers that their codes stood for.
    """

    def __init__(
        self,
        config: ModelConfig,
        batch_size: int,
        *,
        bits: int = 4,
        value_bits: int | None = None,
        group_size: int = 32,
        keys: str = "channel",
        values: str = "token",
        symmetric: bool = False,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str | None = None,
    ):
        expect_sizes(batch_size=batch_size, group_size=group_size)
        super().__init__(config, batch_size)
        heads, key_width, value_width = config.n_kv_heads, config.head_dim, config.head_dim
        if hasattr(config, "cache_shape"):  # attention that keeps latents has widths of its own
            heads, key_width, value_width = config.cache_shape()
        self.group_size = group_size
        self._groups = [0] * batch_size  # of each row, how many full groups are quantized
        kinds = ((key_width, keys, bits), (value_width, values, bits if value_bits is None else value_bits))
        for _, along, n in kinds:
            code_range(n, symmetric=symmetric)
            if along not in ALONG:
                raise ValueError(f"expected a scale for each 'channel' or 'token', got {along!r}")
        self._layers = [
            tuple(
                _Half(
                    torch.zeros(batch_size, heads, 0, width, dtype=dtype, device=device),
                    group_size,
                    n,
                    along,
                    symmetric,
                )
                for width, along, n in kinds
            )
            for _ in range(config.n_layers)
        ]

    def update(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Append k and v (B, G, T, d) at each row's own length. Returns all keys and values (B, G, S, d): the past as
        its codes give it, the new ones as they are. Raises ValueError for another shape, dtype or device."""
        kept = self._layers[0][0].waiting
        self._check(layer, k, v, kept.dtype, kept.device)
        self._settle()
        found = tuple(
            half.read(self._groups, self._rows, new) for half, new in zip(self._layers[layer], (k, v), strict=True)
        )
        for half, new in zip(self._layers[layer], (k, v), strict=True):
            half.append(self._groups, self._rows, new.detach())
        self._new = k.shape[2]
        return found

    def truncate(self, lengths: int | Sequence[int] | Tensor) -> None:
        """Forget all but the first `lengths` tokens: one number for all rows, or one for each (a list or a tensor)."""
        rows = self._shortened(lengths)
        groups = [min(n, length // self.group_size) for n, length in zip(self._groups, rows, strict=True)]
        for halves in self._layers:
            for half in halves:
                half.cut(self._groups, self._rows, groups, rows)
        self._groups = groups
        super().truncate(rows)

    def keys(self, layer: int) -> Tensor:
        """The keys that a layer holds, (B, G, S, d), as the next call will see them."""
        self._settle()
        return self._layers[layer][0].read(self._groups, self._rows)

    def values(self, layer: int) -> Tensor:
        """The values that a layer holds, as `keys`."""
        self._settle()
        return self._layers[layer][1].read(self._groups, self._rows)

    @property
    def nbytes(self) -> int:
        """Bytes of codes, scales, zero points, and of the numbers that wait for a full group."""
        self._settle()
        return sum(half.nbytes for halves in self._layers for half in halves)

    def _settle(self) -> None:
        """Quantize the groups that have become full. Nothing is new within a forward pass."""
        groups = [length // self.group_size for length in self._rows]
        if groups != self._groups:
            for halves in self._layers:
                for half in halves:
                    half.quantize_full(self._groups, self._rows, groups)
            self._groups = groups


class _Half:
    """The keys or the values of one layer: N groups of g tokens in codes, and P tokens that wait. Row b has quantized
    `groups[b]` of the N, and behind them rows[b] − groups[b] · g tokens that wait."""

    def __init__(self, nothing: Tensor, group_size: int, bits: int, along: str, symmetric: bool):
        self.waiting = nothing  # (B, G, P, d)
        self.size, self.bits, self.symmetric, self.dim = group_size, bits, symmetric, ALONG[along]
        empty = nothing.new_zeros(*nothing.shape[:2], 1, group_size, nothing.shape[3])  # a group, for its shapes
        self.parts = [part[:, :, :0] for part in self._packed(empty)]  # codes (B, G, N, bytes), scales, zero points

    def _packed(self, groups: Tensor) -> list[Tensor]:
        """groups (B, G, K, g, d) -> codes (B, G, K, bytes), scales and zero points (B, G, K, …)."""
        made = quantize(
            groups, self.bits, symmetric=self.symmetric, group_size=self.size, dim=self.dim, scale_dtype=torch.float16
        )
        self.signed = made.signed
        found = [pack(made.codes.flatten(-2), self.bits), made.scale, made.zero_point]
        return [each for each in found if each is not None]

    def _dequantized(self) -> Tensor:
        """(B, G, N · g, d)"""
        size, width = self.size, self.waiting.shape[3]
        codes = unpack(self.parts[0], self.bits, size * width, signed=self.signed).unflatten(-1, (size, width))
        zero_point = None if self.symmetric else self.parts[2]
        kept = {"granularity": "group", "group_size": size, "dim": self.dim, "dtype": self.waiting.dtype}
        return Quantized(codes, self.parts[1], zero_point, self.bits, **kept).dequantize().flatten(2, 3)

    def read(self, groups: list[int], rows: list[int], new: Tensor | None = None) -> Tensor:
        """What is held, and `new` (B, G, T, d) at each row's own length. -> (B, G, S, d), S = longest row + T."""
        n_new = 0 if new is None else new.shape[2]
        new = [] if new is None else [new]
        past = self._dequantized()  # (B, G, N · g, d)
        if len(set(rows)) == len(set(groups)) == 1:
            n_waiting = rows[0] - groups[0] * self.size
            return torch.cat([past, self.waiting[:, :, :n_waiting], *new], dim=2)
        room = max(rows) + n_new + self.waiting.shape[2]  # where short rows have nothing, anything may stand
        out = past.new_zeros(*past.shape[:2], room, past.shape[3])  # (B, G, ≥ S, d)
        out[:, :, : past.shape[2]] = past
        out = _written(out, [n * self.size for n in groups], self.waiting)
        for each in new:
            out = _written(out, rows, each)
        return out[:, :, : max(rows) + n_new]

    def append(self, groups: list[int], rows: list[int], new: Tensor) -> None:
        """Let `new` (B, G, T, d) wait, behind what waits already."""
        waiting = [length - n * self.size for length, n in zip(rows, groups, strict=True)]
        if len(set(waiting)) == 1:
            self.waiting = torch.cat([self.waiting[:, :, : waiting[0]], new], dim=2)
            return
        longer = new.new_zeros(*new.shape[:2], max(waiting) + new.shape[2], new.shape[3])
        longer[:, :, : max(waiting)] = self.waiting[:, :, : max(waiting)]
        self.waiting = _written(longer, waiting, new)

    def quantize_full(self, groups: list[int], rows: list[int], wanted: list[int]) -> None:
        """Take the groups of each row up to its `wanted` ones out of what waits, into codes."""
        more = [new - old for new, old in zip(wanted, groups, strict=True)]
        most = max(more)
        parts = self._packed(self.waiting[:, :, : most * self.size].unflatten(2, (most, self.size)))
        for number, (old, new) in enumerate(zip(self.parts, parts, strict=True)):
            grown = new.new_zeros(*new.shape[:2], max(wanted), *new.shape[3:])  # (B, G, N, …)
            grown[:, :, : old.shape[2]] = old
            for row, (begin, n) in enumerate(zip(groups, more, strict=True)):
                grown[row, :, begin : begin + n] = new[row, :, :n]
            self.parts[number] = grown
        left = [length - n * self.size for length, n in zip(rows, wanted, strict=True)]
        self.waiting = _from(self.waiting, [n * self.size for n in more], max(left))

    def cut(self, groups: list[int], rows: list[int], wanted_groups: list[int], wanted_rows: list[int]) -> None:
        """Keep `wanted_rows` tokens of each row, of which `wanted_groups` are groups in codes."""
        left = max(length - n * self.size for length, n in zip(wanted_rows, wanted_groups, strict=True))
        if wanted_groups == groups:
            self.waiting = self.waiting[:, :, :left].clone()
            return
        self.waiting = _from(self.read(groups, rows), [n * self.size for n in wanted_groups], left)
        self.parts = [part[:, :, : max(wanted_groups)].clone() for part in self.parts]

    @property
    def nbytes(self) -> int:
        return self.waiting.nbytes + sum(part.nbytes for part in self.parts)


def _written(x: Tensor, begins: list[int], new: Tensor) -> Tensor:
    """x (B, G, S, d) with new (B, G, T, d) at each row's own place."""
    places = torch.tensor(begins)[:, None] + torch.arange(new.shape[2])  # (B, T)
    x[torch.arange(len(begins))[:, None], :, places] = new.transpose(1, 2)  # (B, T, G, d)
    return x


def _from(x: Tensor, begins: list[int], n: int) -> Tensor:
    """n tokens of x (B, G, S, d), from each row's own place on; behind the end its last one again. (B, G, n, d)."""
    places = (torch.tensor(begins)[:, None] + torch.arange(n)).clamp(max=max(x.shape[2] - 1, 0))  # (B, n)
    return x[torch.arange(len(begins))[:, None], :, places].transpose(1, 2).contiguous()


def through_cache(
    model: Transformer, make_cache: Callable[[int], Cache], *, n_at_once: int = 1
) -> Callable[[Tensor], Tensor]:
    """The model as a function from tokens (B, T) to logits (B, T, V) that reads through a new cache, in small steps.

    `make_cache(batch_size)` gives the cache. Every token sees those before its step as the cache gives them back, so
    that `world.evaluate` measures what the cache costs.
    """
    expect_sizes(n_at_once=n_at_once)

    def read(tokens: Tensor) -> Tensor:
        cache = make_cache(len(tokens))
        return torch.cat([model(some, cache=cache) for some in tokens.split(n_at_once, dim=1)], dim=1)

    return read
