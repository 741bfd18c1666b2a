"""`CostCalculator`: what the weights and the KV cache of a model take, and whether a memory holds them.

The browser computes every figure from a few whole numbers about each model's shape, so that a slider is answered at
once and an exported page needs no kernel. The properties compute the same figures from `llmlab.costs`.
"""

from __future__ import annotations

from dataclasses import replace
from decimal import ROUND_HALF_UP, Context, Decimal
from typing import Any

import traitlets

from .. import checkpoint, costs, data_path
from ..config import ModelConfig
from ..published import PUBLISHED
from .base import LabWidget, Table

GIB = 2**30
DTYPES = ["float32", "bfloat16", "int8", "int4"]
MOST = {"batch_size": 2**10, "context": 2**20, "memory_bytes": 2**50}
SHIPPED, GIVEN = "the course's model", "the given config"
PARTS = {
    "embedding": "token embedding",
    "positions": "position embedding",
    "attention": "attention",
    "ffn": "feed-forward",
    "norms": "norms",
    "head": "head",
}
UNITS = ["bytes", "KiB", "MiB", "GiB", "TiB", "PiB"]


class CostCalculator(LabWidget):
    """Weights and KV cache of a model against a memory, for a batch, a context, dtypes and a number of kv heads.

    `config`: the name of a published model (`llmlab.published.PUBLISHED`), "the course's model", or a `ModelConfig`.
    `context` is the number of tokens in each row; by default 4,096, or fewer where the model is made for fewer.
    `n_kv_heads`: by default the model's own; another divisor of n_heads gives a hypothetical variant. The scales of
    int8 and int4 numbers, activations and the framework's own buffers are not counted.
    Raises TraitError that names what was given and what was expected.
    """

    js = "costs.js"
    models = traitlets.List(help="what the browser computes from, one dict a model").tag(sync=True)
    model_name = traitlets.Unicode(help="the chosen model").tag(sync=True)
    batch_size = traitlets.Int(32, help="rows, 1 to 1,024").tag(sync=True)
    context = traitlets.Int(4096, help="tokens in each row, 1 to 1,048,576").tag(sync=True)
    weight_dtype = traitlets.Enum(DTYPES, "bfloat16", help="in which the weights are kept").tag(sync=True)
    cache_dtype = traitlets.Enum(DTYPES, "bfloat16", help="in which keys and values are kept").tag(sync=True)
    n_kv_heads = traitlets.Int(1, help="heads of keys and values, a divisor of n_heads").tag(sync=True)
    memory_bytes = traitlets.Int(80 * GIB, help="the memory that weights and cache have to fit in").tag(sync=True)

    def __init__(
        self,
        config: str | ModelConfig = "Llama-2-7B",
        *,
        batch_size: int = 32,
        context: int | None = None,
        weight_dtype: str = "bfloat16",
        cache_dtype: str = "bfloat16",
        n_kv_heads: int | None = None,
        memory_bytes: int = 80 * GIB,
        **traits: Any,
    ):
        self._configs = {name: model.config for name, model in PUBLISHED.items()}
        _, metadata = checkpoint.load_tensors(data_path("model.safetensors"))
        self._configs[SHIPPED] = ModelConfig.from_dict(metadata["config"])
        name = config
        if isinstance(config, ModelConfig):
            if config.attention != "gqa":
                raise ValueError(f"expected a model with kv heads to vary, got attention={config.attention!r}")
            name = next((name for name, known in self._configs.items() if known == config), GIVEN)
            self._configs[name] = config
        chosen = self._known(name)
        super().__init__(
            models=[_shape(name, config) for name, config in self._configs.items()],
            model_name=name,
            batch_size=batch_size,
            context=min(4096, chosen.max_seq_len) if context is None else context,
            weight_dtype=weight_dtype,
            cache_dtype=cache_dtype,
            n_kv_heads=chosen.n_kv_heads if n_kv_heads is None else n_kv_heads,
            memory_bytes=memory_bytes,
            **traits,
        )
        self._sent: set[str] = set()
        self.observe(self._use_its_kv_heads, "model_name")

    def _known(self, name: Any) -> ModelConfig:
        if name not in self._configs:
            raise traitlets.TraitError(
                f"no model {name!r} here; there are {', '.join(self._configs)}, or a ModelConfig"
            )
        return self._configs[name]

    @traitlets.validate("model_name")
    def _is_known(self, proposal: Any) -> str:
        self._known(proposal.value)
        return proposal.value

    @traitlets.validate("batch_size", "context", "memory_bytes")
    def _is_within(self, proposal: Any) -> int:
        name, value = proposal.trait.name, proposal.value
        if not 1 <= value <= MOST[name]:
            raise traitlets.TraitError(f"expected {name} of 1 to {MOST[name]:,}, got {_written(value)}")
        return value

    @traitlets.validate("n_kv_heads")
    def _divides(self, proposal: Any) -> int:
        n_heads, value = self._configs[self.model_name].n_heads, proposal.value
        if value < 1 or n_heads % value:
            raise traitlets.TraitError(f"expected n_kv_heads that divides the {n_heads} heads, got {_written(value)}")
        return value

    def set_state(self, sync_data: dict[str, Any]) -> None:
        """Take over what the browser says. It sends a new model together with the kv heads that were chosen for it."""
        self._sent = set(sync_data)
        try:
            super().set_state(sync_data)
        finally:
            self._sent = set()

    def _use_its_kv_heads(self, change: Any) -> None:
        if "n_kv_heads" not in self._sent:
            self.n_kv_heads = self._configs[change.new].n_kv_heads

    @property
    def config(self) -> ModelConfig:
        """The chosen model's config, with the chosen number of kv heads."""
        return replace(self._configs[self.model_name], n_kv_heads=self.n_kv_heads)

    @property
    def n_parameters(self) -> int:
        """All parameters of the model."""
        return costs.n_parameters(self.config)

    @property
    def weight_bytes(self) -> int:
        """Bytes of all weights."""
        return costs.weight_bytes(self.config, self.weight_dtype)

    @property
    def cache_bytes_per_token(self) -> int:
        """Bytes that one token adds to the cache of one row."""
        return costs.kv_cache_bytes(self.config, 1, dtype=self.cache_dtype)

    @property
    def cache_bytes(self) -> int:
        """Bytes of the whole cache: every row holds `context` tokens."""
        return costs.kv_cache_bytes(self.config, self.context, batch_size=self.batch_size, dtype=self.cache_dtype)

    @property
    def total_bytes(self) -> int:
        """Bytes of weights and cache."""
        return self.weight_bytes + self.cache_bytes

    @property
    def fits(self) -> bool:
        """Whether weights and cache fit in the memory."""
        return self.total_bytes <= self.memory_bytes

    @property
    def largest_context(self) -> int:
        """The most tokens in each row of this batch that fit; 0 where none do."""
        return costs.largest_context(self.config, self.memory_bytes, batch_size=self.batch_size, **self._dtypes)

    @property
    def largest_batch(self) -> int:
        """The most rows of this context that fit; 0 where none do."""
        return costs.largest_batch(self.config, self.memory_bytes, n_tokens=self.context, **self._dtypes)

    @property
    def context_where_cache_outweighs_weights(self) -> int:
        """The fewest tokens in each row of this batch with which the cache takes more bytes than the weights."""
        return costs.context_where_cache_outweighs_weights(self.config, batch_size=self.batch_size, **self._dtypes)

    @property
    def _dtypes(self) -> dict[str, str]:
        return {"weight_dtype": self.weight_dtype, "cache_dtype": self.cache_dtype}

    def tables(self) -> list[Table]:
        """Parameters by part, bytes, and what would fit: the texts that the browser shows."""
        return [self._parameters_table(), self._memory_table(), self._limits_table()]

    def _parameters_table(self) -> Table:
        parts, total = costs.parameters(self.config), self.n_parameters
        rows = [[PARTS[part], f"{n:,}", f"{significant(100 * n / total)} %"] for part, n in parts.items() if n]
        rows.append(["all", f"{total:,}", "100 %"])
        return Table(f"{self.model_name}: parameters", ["part", "parameters", "share"], rows)

    def _memory_table(self) -> Table:
        left = self.memory_bytes - self.total_bytes
        sizes = {
            f"weights in {self.weight_dtype}": self.weight_bytes,
            f"one token in the cache, {self.cache_dtype}, {self.n_kv_heads} kv heads": self.cache_bytes_per_token,
            "cache": self.cache_bytes,
            "weights and cache": self.total_bytes,
            "memory": self.memory_bytes,
            "left" if left >= 0 else "too much": abs(left),
        }
        caption = f"Memory for {count(self.batch_size, 'row')} of {count(self.context, 'token')}"
        return Table(caption, ["what", "size", "bytes"], [[what, size(n), f"{n:,}"] for what, n in sizes.items()])

    def _limits_table(self) -> Table:
        rows, tokens = count(self.batch_size, "row"), count(self.context, "token")
        each = "in the one row" if self.batch_size == 1 else f"in each of {rows}"
        limits = [
            [f"most tokens {each}", f"{self.largest_context:,}"],
            [f"most rows of {tokens}", f"{self.largest_batch:,}"],
            [
                f"with {rows}, the cache outweighs the weights from this many tokens on",
                f"{self.context_where_cache_outweighs_weights:,}",
            ],
        ]
        return Table(f"What {size(self.memory_bytes)} hold", ["question", "answer"], limits)

    def __repr__(self) -> str:
        return (
            f"CostCalculator({self.model_name!r}, batch_size={self.batch_size}, context={self.context}, "
            f"weight_dtype={self.weight_dtype!r}, cache_dtype={self.cache_dtype!r}, n_kv_heads={self.n_kv_heads}, "
            f"memory_bytes={self.memory_bytes})"
        )


def _written(value: int) -> str:
    """A number as an error repeats it; Python refuses to write one of more than 4,300 digits."""
    return f"{value:,}" if abs(value) < 10**15 else f"about {'-' if value < 0 else ''}2^{abs(value).bit_length()}"


def _shape(name: str, config: ModelConfig) -> dict[str, Any]:
    """What the browser needs of a config. Parameters grow evenly with the kv heads: those of one, and of each more."""
    one = costs.parameters(replace(config, n_kv_heads=1))
    more = costs.n_parameters(replace(config, n_kv_heads=config.n_heads)) - sum(one.values())
    known = PUBLISHED.get(name)
    return {
        "name": name,
        "source": known.source if known else "",
        "parts": [[PARTS[part], n] for part, n in one.items()],
        "per_kv_head": more // max(1, config.n_heads - 1),
        "n_layers": config.n_layers,
        "n_heads": config.n_heads,
        "n_kv_heads": config.n_kv_heads,
        "head_dim": config.head_dim,
        "max_seq_len": config.max_seq_len,
        "learned_positions": config.position == "learned",
        "window": config.sliding_window or 0,
        "n_experts": config.n_experts,
        "n_experts_per_token": config.n_experts_per_token,
    }


def significant(value: float) -> str:
    """Three significant digits, final zeros kept; halves go up, as in the browser. Below 0.001: "<0.001"."""
    if 0 < value < 0.001:
        return "<0.001"
    rounded = Context(prec=3, rounding=ROUND_HALF_UP).create_decimal(Decimal(value))
    return f"{float(rounded):#.3g}".rstrip(".") if value else "0"


def size(n_bytes: int) -> str:
    """Bytes in binary units with three significant digits: 68719476736 is 64.0 GiB. 1 KiB is 1,024 bytes."""
    step, value = 0, float(n_bytes)
    while value >= 999.5 and step < len(UNITS) - 1:
        step, value = step + 1, value / 1024
    return f"{significant(value) if step else n_bytes} {UNITS[step]}"


def count(n: int, thing: str) -> str:
    """4096, "token" is 4,096 tokens; 1, "row" is 1 row."""
    return f"{n:,} {thing}{'' if n == 1 else 's'}"
