"""The KV cache: keys and values of tokens already seen, kept so that they are not computed again.

In a causal model a token's keys and values never change when more tokens follow, so each forward pass needs to compute
them for the new tokens only. A cache lives outside the model: one model, many caches.

What a cache holds is constant: gradients flow through the new tokens of a call, never into the past (Dai et al. 2019,
section 3.2, stop the gradient there too). Where no gradient is wanted, call the model under `torch.inference_mode()`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .config import ModelConfig, expect_sizes, whole


class RowLengths:
    """The bookkeeping that caches share: how many tokens each row holds, and what follows from it."""

    def __init__(self, n_rows: int):
        expect_sizes(n_rows=n_rows)
        self._rows = [0] * n_rows
        self._equal = True  # all rows hold the same number of tokens: the common, fast case

    @property
    def lengths(self) -> Tensor:
        """Tokens held in each row, (B,) int64."""
        return torch.tensor(self._rows, device="cpu")

    def positions(self, n: int) -> Tensor:
        """The positions of the next n tokens: (n,) where all rows agree, else (B, n)."""
        if self._equal:
            return torch.arange(self._rows[0], self._rows[0] + n, device="cpu")  # (n,)
        return self.lengths[:, None] + torch.arange(n, device="cpu")  # (B, n)

    def mask(self, n: int) -> Tensor | None:
        """True where one of the next n queries may look: at keys up to its own position. (n, S) or, where rows are of
        unequal lengths, (B, 1, n, S); S is the longest row + n. None only if every query may look at every key."""
        if self._equal and n == 1:
            return None
        keys = torch.arange(max(self._rows) + n, device="cpu")  # (S,)
        mask = keys <= self.positions(n)[..., None]  # (n, S) or (B, n, S)
        return mask if self._equal else mask[:, None]  # (n, S) or (B, 1, n, S)

    def advance(self, n: int) -> None:
        """Count n more tokens in every row."""
        n = whole(n, "the number of new tokens")
        if n < 0:
            raise ValueError(f"expected at least 0 new tokens, got {n}; to forget some, use truncate")
        self._rows = [length + n for length in self._rows]

    def truncate(self, lengths: int | Sequence[int] | Tensor) -> None:
        """Forget all but the first `lengths` tokens: one number for all rows, or one for each (a list or a tensor)."""
        self._rows = self._shortened(lengths)
        self._equal = len(set(self._rows)) == 1

    def _shortened(self, lengths: int | Sequence[int] | Tensor) -> list[int]:
        """`lengths` as a list with an entry per row, each at most what the row holds."""
        wanted = lengths.tolist() if hasattr(lengths, "tolist") else lengths
        wanted = list(wanted) if isinstance(wanted, Sequence) else [wanted] * len(self._rows)
        if len(wanted) != len(self._rows):
            raise ValueError(f"expected {len(self._rows)} lengths, one per row, got {len(wanted)}")
        wanted = [whole(length, "a length") for length in wanted]
        for row, (new, old) in enumerate(zip(wanted, self._rows, strict=True)):
            if not 0 <= new <= old:
                raise ValueError(f"row {row} holds {old} tokens; it cannot be cut to {new}")
        return wanted


class Store(RowLengths):
    """What the two caches below check alike: that what they are given has the shape of what they hold."""

    def __init__(self, config: ModelConfig, batch_size: int):
        super().__init__(batch_size)
        self._n_layers, self._n_kv_heads, self._head_dim = config.n_layers, config.n_kv_heads, config.head_dim
        self._new = 0  # tokens that `update` has written and `advance` has not counted yet

    def _check(self, layer: int, k: Tensor, v: Tensor, dtype: torch.dtype, device: torch.device) -> None:
        """Raise ValueError unless k and v can be appended in this layer, beside what is kept in `dtype` on `device`."""
        if not 0 <= layer < self._n_layers:
            raise ValueError(f"the cache has layers 0 to {self._n_layers - 1}; it was given keys for layer {layer}")
        n_rows = len(self._rows)
        if k.dim() != 4 or k.shape != v.shape or k.shape != (n_rows, self._n_kv_heads, k.shape[2], self._head_dim):
            raise ValueError(
                f"the cache has {n_rows} rows of {self._n_kv_heads} kv heads of width {self._head_dim}, so it takes "
                f"keys and values of shape ({n_rows}, {self._n_kv_heads}, T, {self._head_dim}); "
                f"it was given keys {tuple(k.shape)} and values {tuple(v.shape)}"
            )
        if not (k.dtype == v.dtype == dtype and k.device == v.device == device):
            raise ValueError(
                f"the cache keeps {dtype} on {device}; it was given keys in {k.dtype} on {k.device} and values in "
                f"{v.dtype} on {v.device}. Make a cache in the dtype and on the device of its model: "
                f"KVCache(config, batch_size, max_seq_len, dtype={k.dtype}, device={str(k.device)!r})"
            )

    def advance(self, n: int) -> None:
        """Count n more tokens in every row. Raises ValueError if `update` was not given as many before."""
        n = whole(n, "the number of new tokens")
        if n > self._new:
            raise ValueError(
                f"cannot count {n} new tokens in the cache: update was given {self._new} that are not counted"
            )
        super().advance(n)
        self._new -= n

    def truncate(self, lengths: int | Sequence[int] | Tensor) -> None:
        """Forget all but the first `lengths` tokens: one number for all rows, or one for each (a list or a tensor)."""
        super().truncate(lengths)
        self._new = 0


class KVCache(Store):
    """A preallocated cache: keys and values of every layer in buffers of `max_seq_len` tokens (Llama's way).

    `update` copies only the new keys and values, at each row's own length, and returns views of the buffers.
    `dtype` and `device` are those of the model that will use it.
    """

    def __init__(
        self,
        config: ModelConfig,
        batch_size: int,
        max_seq_len: int,
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str | None = None,
    ):
        expect_sizes(batch_size=batch_size, max_seq_len=max_seq_len)
        super().__init__(config, batch_size)
        self.max_seq_len = max_seq_len
        shape = (config.n_layers, batch_size, config.n_kv_heads, max_seq_len, config.head_dim)
        with torch.inference_mode(False):  # a tensor made in inference mode could not be written to outside it
            self._keys = torch.zeros(shape, dtype=dtype, device=device)  # (L, B, G, max, d)
            self._values = torch.zeros(shape, dtype=dtype, device=device)  # (L, B, G, max, d)

    def update(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Write k and v (B, G, T, d) at each row's own length. Returns views (B, G, S, d), S = longest row + T.

        With a gradient to follow it returns copies, which later writes do not reach. Raises ValueError where k and v
        have another shape, dtype or device than the cache, or do not fit into `max_seq_len`.
        """
        if torch.is_grad_enabled() and (k.requires_grad or v.requires_grad):
            with torch.no_grad():
                keys, values = (kept.clone() for kept in self.update(layer, k, v))  # (B, G, S, d)
            self._write(keys, k)
            self._write(values, v)
            return keys, values
        self._check(layer, k, v, self._keys.dtype, self._keys.device)
        keys, values = self._keys[layer], self._values[layer]  # (B, G, max, d)
        n_new, longest = k.shape[2], max(self._rows)
        end = longest + n_new
        if end > self.max_seq_len:
            raise ValueError(
                f"the cache holds at most {self.max_seq_len} tokens a row; row {self._rows.index(longest)} "
                f"has {longest} and was given {n_new} more"
            )
        self._write(keys, k)
        self._write(values, v)
        self._new = n_new
        return keys.narrow(2, 0, end), values.narrow(2, 0, end)

    def _write(self, kept: Tensor, new: Tensor) -> None:
        """Copy new (B, G, T, d) into kept (B, G, ≥ S, d), at each row's own length."""
        n_new = new.shape[2]
        if self._equal:
            kept.narrow(2, self._rows[0], n_new).copy_(new)  # kept[:, :, start:end] = new, in half the time
        else:
            rows = torch.arange(len(self._rows))[:, None]  # (B, 1)
            kept[rows, :, self.positions(n_new)] = new.transpose(1, 2)  # (B, T, G, d)

    def keys(self, layer: int) -> Tensor:
        """The keys that a layer holds, a view (B, G, S, d), S the longest row. Row b holds the first `lengths[b]`."""
        return self._keys[layer].narrow(2, 0, max(self._rows))

    def values(self, layer: int) -> Tensor:
        """The values that a layer holds, as `keys`."""
        return self._values[layer].narrow(2, 0, max(self._rows))

    @property
    def nbytes(self) -> int:
        """Bytes of the buffers: 2 · L · B · G · max_seq_len · d · bytes per number, however full they are."""
        return self._keys.nbytes + self._values.nbytes


class ConcatenatingKVCache(Store):
    """A cache that grows by concatenation (GPT-2's way): each step copies all that is held, so its rows stay equal.

    Its dtype and device are those of the first keys that it is given.
    """

    def __init__(self, config: ModelConfig, batch_size: int):
        super().__init__(config, batch_size)
        nothing = torch.empty(batch_size, config.n_kv_heads, 0, config.head_dim)  # (B, G, 0, d)
        self._held = [(nothing, nothing)] * config.n_layers

    def update(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Append k and v (B, G, T, d). Returns all keys and values (B, G, S, d), newly allocated.

        Raises ValueError where k and v have another shape, dtype or device than what is held.
        """
        first = k if not self._rows[0] else self._held[layer][0]
        self._check(layer, k, v, first.dtype, first.device)
        if self._rows[0]:
            k, v = torch.cat((self.keys(layer), k), dim=2), torch.cat((self.values(layer), v), dim=2)  # (B, G, S, d)
        self._held[layer] = (k.detach(), v.detach())
        self._new = k.shape[2] - self._rows[0]
        return k, v

    def truncate(self, lengths: int | Sequence[int] | Tensor) -> None:
        """Forget all but the first `lengths` tokens, the same number in all rows."""
        rows = self._shortened(lengths)
        if len(set(rows)) != 1:
            raise ValueError(f"a concatenating cache has rows of one length, got {rows}; use KVCache")
        super().truncate(rows)
        self._held = [(keys[:, :, : rows[0]].clone(), values[:, :, : rows[0]].clone()) for keys, values in self._held]

    def keys(self, layer: int) -> Tensor:
        """The keys that a layer holds, a view (B, G, S, d)."""
        return self._held[layer][0][:, :, : self._rows[0]]

    def values(self, layer: int) -> Tensor:
        """The values that a layer holds, as `keys`."""
        return self._held[layer][1][:, :, : self._rows[0]]

    @property
    def nbytes(self) -> int:
        """Bytes of the keys and values held."""
        return sum(x.nbytes for held in self._held for x in held)
