"""What the parts of a model agree on: its shape and choices (`ModelConfig`), and what a cache does (`Cache`).

Every other module may import this one; it imports none of them.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from torch import Tensor

POSITIONS = ("rope", "alibi", "sinusoidal", "learned", "none")
ROPE_LAYOUTS = ("half", "interleaved")
ATTENTIONS = ("gqa", "mla")
NORMS = ("rmsnorm", "layernorm")
GATED_FFNS = ("swiglu", "geglu", "reglu")
PLAIN_FFNS = ("gelu", "gelu_tanh", "silu", "relu")
BIASES = ("none", "qkv", "attention", "all")
LATENT_SIZES = ("kv_latent_dim", "rope_head_dim", "q_latent_dim")  # of attention="mla" alone
OPTIONAL_SIZES = ("n_kv_heads", "head_dim", "d_ff", "sliding_window", *LATENT_SIZES)  # None: the usual value, or none
LATER = ("attention", *LATENT_SIZES)  # left out of `to_dict` where usual, so that what was saved before reads the same


@dataclass(frozen=True)
class ModelConfig:
    """The shape and the choices of a model; what is left out gets the usual value for a Llama of that width.

    `bias`: "none" (Llama), "qkv" (Qwen2), "attention" (its output too) or "all" (GPT-2). `ffn`: a gated layer
    (swiglu, geglu, reglu), a plain one (gelu, gelu_tanh, silu, relu) or "none". `position`: "rope"
    (`llmlab.rope`), "alibi" (a bias on the scores), "sinusoidal" (added to the embeddings, which are multiplied by
    √d_model: Vaswani et al. 2017, section 3.4), "learned" (a table of `max_seq_len` rows) or "none".
    `norm_placement`: "pre" or "post".
    `attention`: "gqa" (`llmlab.attention`: n_kv_heads is n_heads in multi-head and 1 in multi-query attention) or "mla"
    (`llmlab.gqa`, DeepSeek-V2, 2024, section 2.1). With "mla" `head_dim` is the width of values and of the part of
    queries and keys without a position, `rope_head_dim` of the part that RoPE turns (by default half of head_dim),
    `kv_latent_dim` of what is kept in the place of keys and values (4 · head_dim), and `q_latent_dim` of what queries
    are made from (None: of the residual stream itself).
    Raises ValueError that names the field, what was given and what was expected; a value of a wrong type included.
    """

    vocab_size: int
    d_model: int
    n_layers: int
    n_heads: int
    n_kv_heads: int | None = None
    head_dim: int | None = None
    d_ff: int | None = None
    max_seq_len: int = 256
    position: str = "rope"
    rope_theta: float = 10_000.0
    rope_layout: str = "half"
    rope_scaling: Mapping[str, Any] | None = None
    norm: str = "rmsnorm"
    norm_eps: float = 1e-5
    norm_placement: str = "pre"
    ffn: str = "swiglu"
    bias: str = "none"
    qk_norm: bool = False
    tie_embeddings: bool = True
    sliding_window: int | None = None
    n_experts: int = 0
    n_experts_per_token: int = 2
    dropout: float = 0.0
    init_std: float = 0.02
    attention: str = "gqa"
    kv_latent_dim: int | None = None
    rope_head_dim: int | None = None
    q_latent_dim: int | None = None

    def __post_init__(self):
        for field in fields(self):
            _expect_type(field.name, str(field.type), getattr(self, field.name))
        sizes = ("vocab_size", "n_layers", "max_seq_len", *OPTIONAL_SIZES)
        expect_sizes(**{name: getattr(self, name) for name in sizes if getattr(self, name) is not None})
        n_kv_heads, head_dim = head_sizes(self.d_model, self.n_heads, self.n_kv_heads, self.head_dim)
        self._default("n_kv_heads", n_kv_heads)
        self._default("head_dim", head_dim)
        self._default("d_ff", _usual_d_ff(self.d_model, gated=self.ffn in GATED_FFNS))
        if self.attention == "mla":
            self._default("kv_latent_dim", 4 * self.head_dim)
            self._default("rope_head_dim", self.head_dim // 2)
        if self.position == "rope" and self.rope_dim % 2:
            name = "rope_head_dim" if self.attention == "mla" else "head_dim"
            raise ValueError(f"expected an even {name}, because RoPE turns pairs; got {self.rope_dim}")
        if self.position == "sinusoidal" and self.d_model % 2:
            raise ValueError(f"expected an even d_model, because sinusoids come in pairs; got {self.d_model}")
        choices = {
            "position": POSITIONS,
            "rope_layout": ROPE_LAYOUTS,
            "norm": NORMS,
            "norm_placement": ("pre", "post"),
            "ffn": (*GATED_FFNS, *PLAIN_FFNS, "none"),
            "bias": BIASES,
            "attention": ATTENTIONS,
        }
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"expected {name} to be one of {', '.join(allowed)}; got {getattr(self, name)!r}")
        self._check_latents()
        if self.n_experts < 0:
            raise ValueError(f"expected n_experts of at least 0, got {self.n_experts}")
        if self.n_experts and not 1 <= self.n_experts_per_token <= self.n_experts:
            raise ValueError(
                f"expected 1 to {self.n_experts} experts per token, got n_experts_per_token={self.n_experts_per_token}"
            )
        if not 0 <= self.dropout < 1:
            raise ValueError(f"expected 0 <= dropout < 1, got {self.dropout}")
        for name in ("rope_theta", "norm_eps", "init_std"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"expected {name} to be a finite number above 0, got {value}")

    def _default(self, name: str, value: int) -> None:
        if getattr(self, name) is None:
            object.__setattr__(self, name, value)

    def _check_latents(self) -> None:
        """Raise ValueError for what attention with latents cannot have, and for its sizes without it."""
        if self.attention != "mla":
            for name in LATENT_SIZES:
                if getattr(self, name) is not None:
                    raise ValueError(
                        f"expected {name} with attention='mla' only, got {name}={getattr(self, name)} with "
                        f"attention={self.attention!r}"
                    )
            return
        if self.n_kv_heads != self.n_heads:
            raise ValueError(
                f"attention='mla' makes keys and values of every head from one latent: leave n_kv_heads out, or give "
                f"all {self.n_heads}; got {self.n_kv_heads}"
            )
        for name, wanted in (("position", "rope"), ("qk_norm", False), ("bias", "none")):
            if getattr(self, name) != wanted:
                raise ValueError(f"expected {name}={wanted!r} with attention='mla', got {getattr(self, name)!r}")

    @property
    def rope_dim(self) -> int:
        """How many numbers of each query and key RoPE turns: all of head_dim, or of a head with latents its part."""
        return self.rope_head_dim if self.attention == "mla" else self.head_dim

    def cache_shape(self) -> tuple[int, int, int]:
        """What a cache keeps of a token in each layer: so many heads of keys so wide and of values so wide.

        (n_kv_heads, head_dim, head_dim); with attention="mla" (1, kv_latent_dim, rope_head_dim): the latent stands
        among the keys, and among the values the turned key that all heads share.
        """
        if self.attention == "mla":
            return 1, self.kv_latent_dim, self.rope_head_dim
        return self.n_kv_heads, self.head_dim, self.head_dim

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain values, for JSON; `from_dict` reads them back. Those in LATER only where unusual."""
        usual = {field.name: field.default for field in fields(self) if field.name in LATER}
        return {name: value for name, value in asdict(self).items() if name not in usual or value != usual[name]}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ModelConfig:
        """The config with these fields; an unknown one raises ValueError that lists the known ones."""
        if not isinstance(values, Mapping):
            raise ValueError(f"expected the fields of a config by name, got {type(values).__name__} {values!r:.60}")
        known = [field.name for field in fields(cls)]
        if unknown := sorted(str(name) for name in set(values) - set(known)):
            raise ValueError(f"unknown config fields {', '.join(unknown)}; known are {', '.join(known)}")
        if missing := [field.name for field in fields(cls) if field.default is MISSING and field.name not in values]:
            raise ValueError(f"the config lacks {', '.join(missing)}")
        return cls(**values)


def whole(value: Any, what: str) -> int:
    """`value` as an int: a whole number of Python, numpy or a tensor. Raises ValueError for all else, True included."""
    if not isinstance(value, bool) and "bool" not in str(getattr(value, "dtype", "")):
        try:
            return operator.index(value)
        except TypeError:
            pass
    raise ValueError(f"expected {what} to be a whole number, got {type(value).__name__} {value!r:.60}")


def expect_sizes(**sizes: int) -> None:
    """Raise ValueError for the first of the named sizes that is not a whole number of at least 1."""
    for name, size in sizes.items():
        _expect_type(name, "int", size)
        if size < 1:
            raise ValueError(f"expected {name} of at least 1, got {size}")


def head_sizes(d_model: int, n_heads: int, n_kv_heads: int | None, head_dim: int | None) -> tuple[int, int]:
    """The kv heads and the width of a head, by default as many as heads and d_model / n_heads. Raises ValueError."""
    expect_sizes(d_model=d_model, n_heads=n_heads)
    if head_dim is None and d_model % n_heads:
        raise ValueError(f"expected d_model divisible by n_heads, got {d_model} and {n_heads}")
    n_kv_heads = n_heads if n_kv_heads is None else n_kv_heads
    head_dim = d_model // n_heads if head_dim is None else head_dim
    expect_sizes(n_kv_heads=n_kv_heads, head_dim=head_dim)
    if n_heads % n_kv_heads:
        raise ValueError(f"expected n_heads divisible by n_kv_heads, got {n_heads} and {n_kv_heads}")
    return n_kv_heads, head_dim


def _expect_type(name: str, declared: str, value: Any) -> None:
    """Raise ValueError unless a field's value is of its declared type, such as "int | None"."""
    allowed = declared.split(" | ")
    if value is None and "None" in allowed:
        return
    kind = {"int": int, "float": float, "str": str, "bool": bool}.get(allowed[0].strip(), Mapping)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not (
        is_number and (kind is float or isinstance(value, kind)) if kind in (int, float) else isinstance(value, kind)
    ):
        raise ValueError(f"expected {name} of type {declared}, got {type(value).__name__} {value!r:.60}")


def _usual_d_ff(d_model: int, *, gated: bool) -> int:
    """4 · d_model, or two thirds of it for a gated layer, which has three matrices; rounded up to a multiple of 32."""
    return 32 * math.ceil(8 * d_model / 3 / 32) if gated else 4 * d_model


class Cache(Protocol):
    """What the model asks of a cache. B rows, G kv heads, d head_dim; S is the longest row and what is new.

    In a forward pass the model asks for `positions` and `mask` of the n new tokens, calls `update` once in each layer,
    and then `advance`. Until then `lengths`, `keys` and `values` tell of the tokens before it.
    """

    def update(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Append (B, G, n, d) at each row's own length; return all keys and values (B, G, S, d), the past included."""

    def advance(self, n: int) -> None:
        """Count n more tokens in every row; the model calls it once per forward pass, after all layers."""

    def positions(self, n: int) -> Tensor:
        """The positions of the next n tokens: (n,) where all rows agree, else (B, n). On the CPU."""

    def mask(self, n: int) -> Tensor | None:
        """True where one of the next n queries may look, (n, S) or (B, 1, n, S): at its own row up to its own position.
        None only if every query may look at every key. On the CPU."""

    def truncate(self, lengths: int | Sequence[int] | Tensor) -> None:
        """Forget all but the first `lengths` tokens of each row."""

    def keys(self, layer: int) -> Tensor:
        """The keys that a layer holds, (B, G, longest row, d). Row b holds the first `lengths[b]` of them."""

    def values(self, layer: int) -> Tensor:
        """The values that a layer holds, as `keys`."""

    @property
    def lengths(self) -> Tensor:
        """Tokens held in each row, (B,) int64. On the CPU."""

    @property
    def nbytes(self) -> int:
        """Bytes taken by keys and values."""
