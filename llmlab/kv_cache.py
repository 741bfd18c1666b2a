"""The KV cache: keys and values of tokens already seen, kept so that they are not computed again.

In a causal model a token's keys and values never change when more tokens follow, so each forward pass needs to compute
them for the new tokens only. A cache lives outside the model: one model, many caches.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .config import ModelConfig


class _RowLengths:
    """The bookkeeping that caches share: how many tokens each row holds, and what follows from it."""

    def __init__(self, n_rows: int):
        self._rows = [0] * n_rows
        self._equal = True  # all rows hold the same number of tokens: the common, fast case

    @property
    def lengths(self) -> Tensor:
        """Tokens held in each row, (B,) int64."""
        return torch.tensor(self._rows)

    def positions(self, n: int) -> Tensor:
        """The positions of the next n tokens: (n,) where all rows agree, else (B, n)."""
        if self._equal:
            return torch.arange(self._rows[0], self._rows[0] + n)  # (n,)
        return self.lengths[:, None] + torch.arange(n)  # (B, n)

    def mask(self, n: int) -> Tensor | None:
        """True where one of the next n queries may look: at keys up to its own position. None: nothing to forbid,
        because one query sees all the keys, or because the cache is empty and the mask is the plain causal one."""
        if self._equal and (n == 1 or self._rows[0] == 0):
            return None
        keys = torch.arange(max(self._rows) + n)  # (S,)
        mask = keys <= self.positions(n)[..., None]  # (n, S) or (B, n, S)
        return mask if self._equal else mask[:, None]  # (n, S) or (B, 1, n, S)

    def advance(self, n: int) -> None:
        """Count n more tokens in every row."""
        self._rows = [length + n for length in self._rows]

    def _shortened(self, lengths: int | Sequence[int] | Tensor) -> list[int]:
        """`lengths` as a list with an entry per row, each at most what the row holds."""
        wanted = lengths.tolist() if isinstance(lengths, Tensor) else lengths
        wanted = [wanted] * len(self._rows) if isinstance(wanted, int) else list(wanted)
        if len(wanted) != len(self._rows):
            raise ValueError(f"expected {len(self._rows)} lengths, one per row, got {len(wanted)}")
        for row, (new, old) in enumerate(zip(wanted, self._rows, strict=True)):
            if not 0 <= new <= old:
                raise ValueError(f"row {row} holds {old} tokens; it cannot be cut to {new}")
        return wanted


class KVCache(_RowLengths):
    """A preallocated cache: keys and values of every layer in buffers of `max_seq_len` tokens (Llama's way).

    `update` copies only the new keys and values, at each row's own length, and returns views of the buffers.
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
        if batch_size < 1 or max_seq_len < 1:
            raise ValueError(f"expected batch_size and max_seq_len of at least 1, got {batch_size} and {max_seq_len}")
        super().__init__(batch_size)
        self.max_seq_len = max_seq_len
        shape = (config.n_layers, batch_size, config.n_kv_heads, max_seq_len, config.head_dim)
        self._keys = torch.zeros(shape, dtype=dtype, device=device)  # (L, B, G, max, d)
        self._values = torch.zeros(shape, dtype=dtype, device=device)  # (L, B, G, max, d)

    def update(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Write k and v (B, G, T, d) at each row's own length. Returns views (B, G, S, d), S = longest row + T.

        Raises ValueError where k and v have another batch size or do not fit into `max_seq_len`.
        """
        keys, values = self._keys[layer], self._values[layer]  # (B, G, max, d)
        if k.shape[0] != keys.shape[0]:
            raise ValueError(f"the cache has {keys.shape[0]} rows; it was given keys of shape {tuple(k.shape)}")
        n_new, longest = k.shape[2], max(self._rows)
        end = longest + n_new
        if end > self.max_seq_len:
            raise ValueError(
                f"the cache holds at most {self.max_seq_len} tokens a row; row {self._rows.index(longest)} "
                f"has {longest} and was given {n_new} more"
            )
        if self._equal:
            keys.narrow(2, longest, n_new).copy_(k)  # keys[:, :, longest:end] = k, in half the time
            values.narrow(2, longest, n_new).copy_(v)
        else:
            rows = torch.arange(len(self._rows))[:, None]  # (B, 1)
            keys[rows, :, self.positions(n_new)] = k.transpose(1, 2)  # (B, T, G, d)
            values[rows, :, self.positions(n_new)] = v.transpose(1, 2)
        return keys.narrow(2, 0, end), values.narrow(2, 0, end)

    def truncate(self, lengths: int | Sequence[int] | Tensor) -> None:
        """Forget all but the first `lengths` tokens: one number for all rows, or one for each."""
        self._rows = self._shortened(lengths)
        self._equal = len(set(self._rows)) == 1

    @property
    def nbytes(self) -> int:
        """Bytes of the buffers: 2 · L · B · G · max_seq_len · d · bytes per number, however full they are."""
        return self._keys.nbytes + self._values.nbytes


class ConcatenatingKVCache(_RowLengths):
    """A cache that grows by concatenation (GPT-2's way): each step copies all that is held, so its rows stay equal."""

    def __init__(self, config: ModelConfig, batch_size: int):
        super().__init__(batch_size)
        self._held: list[tuple[Tensor, Tensor] | None] = [None] * config.n_layers

    def update(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Append k and v (B, G, T, d). Returns all keys and values (B, G, S, d), newly allocated."""
        if k.shape[0] != len(self._rows):
            raise ValueError(f"the cache has {len(self._rows)} rows; it was given keys of shape {tuple(k.shape)}")
        if self._held[layer] is not None:
            past_k, past_v = (held[:, :, : self._rows[0]] for held in self._held[layer])
            k, v = torch.cat((past_k, k), dim=2), torch.cat((past_v, v), dim=2)  # (B, G, S, d)
        self._held[layer] = (k, v)
        return k, v

    def truncate(self, lengths: int | Sequence[int] | Tensor) -> None:
        """Forget all but the first `lengths` tokens, the same number in all rows."""
        rows = self._shortened(lengths)
        if len(set(rows)) != 1:
            raise ValueError(f"a concatenating cache has rows of one length, got {rows}; use KVCache")
        self._rows = rows
        self._held = [None if held is None else tuple(x[:, :, : rows[0]].clone() for x in held) for held in self._held]

    @property
    def nbytes(self) -> int:
        """Bytes of the keys and values held."""
        return sum(x.nbytes for held in self._held if held is not None for x in held)
