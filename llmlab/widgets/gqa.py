"""`HeadSharing`: query heads wired to the kv heads that they read, from MHA over GQA and MQA to MLA, and its cost.

The browser computes from a few whole numbers about each model; the properties say the same in Python. Quality is that
of the recorded study `kv_heads`; speed is nothing until it is measured, on the machine that runs the kernel.
"""

from __future__ import annotations

from typing import Any

import torch
import traitlets

from .. import costs
from ..config import ModelConfig
from .base import LabWidget, Table
from .costs import DTYPES, GIB, MOST, _written, count, significant, size
from .gqa_steps import LABORATORY, N_KEYS, quality, shapes_and_name, timed


class HeadSharing(LabWidget):
    """How query heads share keys and values, and what a share costs in bytes, in quality and in time.

    `config`: the name of a published model (`llmlab.published.PUBLISHED`, or DeepSeek-V2 or -V3), "the course's model",
    "its multi-head sibling", "the laboratory model", or a `ModelConfig`. `n_kv_heads` and `attention` ("gqa", or
    "mla": a latent in the place of kv heads) are by default the model's own. `context`: tokens of one row.

    `measure()` times one decoding step of attention on this machine for each number of kv heads.
    Raises TraitError that names what was given and what was expected.
    """

    js = "gqa.js"
    model_name = traitlets.Unicode(help="the chosen model").tag(sync=True)
    attention = traitlets.Enum(["gqa", "mla"], "gqa", help="kv heads, or a latent").tag(sync=True)
    n_kv_heads = traitlets.Int(1, help="heads of keys and values, a divisor of n_heads").tag(sync=True)
    head = traitlets.Int(0, help="the query head that is looked at, from 0").tag(sync=True)
    tiled = traitlets.Bool(False, help="whether head h reads kv head h mod G, the usual mistake").tag(sync=True)
    context = traitlets.Int(131_072, help="tokens of the row, 1 to 1,048,576").tag(sync=True)
    memory_bytes = traitlets.Int(80 * GIB, help="the memory that weights and cache have to fit in").tag(sync=True)
    dtype = traitlets.Enum(DTYPES, "bfloat16", help="in which weights and cache are kept").tag(sync=True)
    skill = traitlets.Unicode("bits per byte", help="the measure of quality that is shown").tag(sync=True)
    asked = traitlets.Int(0, help="counts the reader's requests to measure").tag(sync=True)

    models = traitlets.List(help="what the browser computes from, one dict a model").tag(sync=True)
    study = traitlets.Dict(help="the recorded quality: settings, measures, paired differences").tag(sync=True)
    timing = traitlets.Dict(help="what `measure` found: shape, threads, [kv heads, seconds]; {} before").tag(sync=True)

    def __init__(
        self,
        config: str | ModelConfig = "Llama-3.1-8B",
        *,
        n_kv_heads: int | None = None,
        attention: str | None = None,
        context: int | None = None,
        memory_bytes: int | None = None,
        dtype: str = "bfloat16",
        **traits: Any,
    ):
        self._shapes, name = shapes_and_name(config)
        own = self._own(name)
        if attention is None:
            attention = own["attention"] if n_kv_heads is None else "gqa"
        super().__init__(
            models=list(self._shapes.values()),
            model_name=name,
            attention=attention,
            n_kv_heads=own["n_kv_heads"] if n_kv_heads is None else n_kv_heads,
            context=self._shapes[name]["max_seq_len"] if context is None else context,
            memory_bytes=self._shapes[name]["memory"] if memory_bytes is None else memory_bytes,
            dtype=dtype,
            study=quality(),
            **{"head": min(5, self._shapes[name]["n_heads"] - 1)} | traits,
        )
        self._sent: set[str] = set()
        self.observe(self._use_its_own, "model_name")
        self.observe(lambda change: self._attempt(self.measure), "asked")

    # What the traits may be -----------------------------------------------------------------------------------------

    def _own(self, name: Any) -> dict[str, Any]:
        if name not in self._shapes:
            raise traitlets.TraitError(f"no model {name!r} here; there are {', '.join(self._shapes)}, or a ModelConfig")
        shape = self._shapes[name]
        return shape["steps"][shape["own"]]

    @traitlets.validate("model_name")
    def _is_known(self, proposal: Any) -> str:
        self._own(proposal.value)
        return proposal.value

    @traitlets.validate("context", "memory_bytes", "head", "n_kv_heads", "attention", "skill")
    def _is_possible(self, proposal: Any) -> Any:
        name, value, n_heads = proposal.trait.name, proposal.value, self._shape["n_heads"]
        if name in MOST:
            expected = "" if 1 <= value <= MOST[name] else f"{name} of 1 to {MOST[name]:,}"
        elif name == "head":
            expected = "" if 0 <= value < n_heads else f"head from 0 to {n_heads - 1}"
        elif name == "n_kv_heads":
            expected = "" if value > 0 and n_heads % value == 0 else f"n_kv_heads that divides the {n_heads} heads"
        else:
            known = self.study["measures"] if name == "skill" else {one["attention"] for one in self._shape["steps"]}
            expected = "" if value in known else f"{name} of {self.model_name} to be one of {', '.join(known)}"
        if expected:
            given = _written(value) if isinstance(value, int) else repr(value)
            raise traitlets.TraitError(f"expected {expected}, got {given}")
        return value

    def set_state(self, sync_data: dict[str, Any]) -> None:
        """Take over what the browser says. It sends a new model together with the step that was chosen for it."""
        self._sent = set(sync_data)
        try:
            super().set_state(sync_data)
        finally:
            self._sent = set()

    def _use_its_own(self, change: Any) -> None:
        if "n_kv_heads" in self._sent:
            return
        own, new = self._own(change.new), self._shapes[change.new]
        with self.hold_trait_notifications():
            self.attention, self.n_kv_heads = own["attention"], own["n_kv_heads"]
            self.head = min(self.head, new["n_heads"] - 1)
            if new["memory"] != self._shapes[change.old]["memory"]:  # from a small model to a large one, or back
                self.memory_bytes, self.context = new["memory"], new["max_seq_len"]

    # What follows from them -----------------------------------------------------------------------------------------

    @property
    def _shape(self) -> dict[str, Any]:
        return self._shapes[self.model_name]

    @property
    def _step(self) -> dict[str, Any]:
        mla = self.attention == "mla"
        return next(
            step
            for step in self._shape["steps"]
            if step["attention"] == self.attention and (mla or step["n_kv_heads"] == self.n_kv_heads)
        )

    @property
    def numbers_per_token(self) -> int:
        """Numbers that one layer keeps of a token: 2·G·d, or those of the latent and the RoPE key."""
        return self._step["numbers"]

    @property
    def cache_bytes_per_token(self) -> int:
        """Bytes that one token adds to the cache, all layers together."""
        return self._bytes_per_token(self._step)

    def _bytes_per_token(self, step: dict[str, Any]) -> int:
        return costs.n_bytes(step["numbers"] * self._shape["n_layers"], self.dtype)

    @property
    def cache_bytes(self) -> int:
        """Bytes of the cache of `context` tokens."""
        return self.cache_bytes_per_token * self.context

    @property
    def weight_bytes(self) -> int:
        """Bytes of the weights; a step that is not the model's own changes those of its attention."""
        return costs.n_bytes(self._step["parameters"], self.dtype)

    @property
    def fits(self) -> bool:
        """Whether weights and cache fit in the memory."""
        return self.weight_bytes + self.cache_bytes <= self.memory_bytes

    @property
    def largest_context(self) -> int:
        """The most tokens that fit beside the weights; 0 where none do."""
        return self._largest(self._step)

    def _largest(self, step: dict[str, Any]) -> int:
        left = self.memory_bytes - costs.n_bytes(step["parameters"], self.dtype)
        return max(0, left // self._bytes_per_token(step))

    @property
    def reads(self) -> list[int]:
        """For each query head the kv head that the wires lead to: h·G // H, or h mod G where they are `tiled`.

        With a latent each head reads the keys and values that are made for it: its own.
        """
        n_heads, n_kv_heads = self._shape["n_heads"], self.n_kv_heads
        if self.attention == "mla":
            return list(range(n_heads))
        return [head % n_kv_heads if self.tiled else head * n_kv_heads // n_heads for head in range(n_heads)]

    # Speed ----------------------------------------------------------------------------------------------------------

    def measure(self, repeats: int = 15) -> dict[int, float]:
        """Time one decoding step of attention for each number of kv heads G: {G: median of the seconds}.

        One layer, one row, the chosen model's heads, 4,096 keys, float32; the heads of a group are the query rows of
        one head. Keys and values come from memory, not from the processor's caches, as where other layers lie between.
        """
        n_heads, head_dim = self._shape["n_heads"], self._shape["head_dim"]
        seconds = timed(n_heads, head_dim, repeats=repeats)
        shape = {"model": self.model_name, "n_heads": n_heads, "head_dim": head_dim, "n_keys": N_KEYS}
        self.timing = {**shape, "threads": torch.get_num_threads(), "seconds": [list(pair) for pair in seconds.items()]}
        return seconds

    # As text --------------------------------------------------------------------------------------------------------

    def tables(self) -> list[Table]:
        """The steps with their bytes, the wires, recorded quality, and speed where it was measured."""
        return [self._steps_table(), self._wires_table(), self._quality_table(), self._speed_table()]

    def _steps_table(self) -> Table:
        shape = self._shape
        rows = [
            [
                _label(shape, step) + (", its own" if number == shape["own"] else ""),
                f"{step['numbers']:,}",
                size(self._bytes_per_token(step)),
                size(self._bytes_per_token(step) * self.context),
                f"{self._largest(step):,}",
            ]
            for number, step in enumerate(shape["steps"])
        ]
        names = ["step", "numbers a token and layer", "one token", count(self.context, "token")]
        caption = f"{self.model_name} in {self.dtype}; now {_label(shape, self._step)}"
        return Table(caption, [*names, f"most tokens in {size(self.memory_bytes)}"], rows)

    def _wires_table(self) -> Table:
        n_heads = self._shape["n_heads"]
        if self.attention == "mla":
            latent, rope = self._step["latent"], self._step["rope"]
            rows = [[f"latent of {latent}", f"all {n_heads}"], [f"RoPE key of {rope}", f"all {n_heads}"]]
            return Table("What is kept, and who reads it", ["kept", "query heads"], rows)
        trained = [head * self.n_kv_heads // n_heads for head in range(n_heads)]
        rows = [
            [
                str(g),
                *(", ".join(str(h) for h, read in enumerate(wires) if read == g) for wires in (self.reads, trained)),
            ]
            for g in range(self.n_kv_heads)
        ]
        rule = "h mod G" if self.tiled else "h·G // H"
        return Table(f"Which query heads read a kv head: {rule}", ["kv head", "read by", "trained with"], rows)

    def _quality_table(self) -> Table:
        found = [(one, one["found"][self.skill]) for one in self.study["settings"]]
        rows = [
            [one["name"], f"{one['numbers']:,}", f"{mean:.3f}", _signed(less), _signed(low), _signed(high), verdict]
            for one, (mean, less, low, high, verdict) in found
        ]
        names = ["setting", "numbers a token and layer", "mean", "difference", "from", "to", "verdict"]
        return Table(f"Quality of {LABORATORY}: {self.skill}, less {self.study['reference']}", names, rows)

    def _speed_table(self) -> Table:
        names = ["kv heads", "bytes read ÷ MHA", "time ÷ MHA"]
        if not self.timing:
            return Table("Speed on this machine: not measured", names, [])
        (most, slowest), *_ = self.timing["seconds"]
        rows = [[str(n), significant(n / most), significant(s / slowest)] for n, s in self.timing["seconds"]]
        return Table(f"Speed as measured with the heads of {self.timing['model']}", names, rows)

    def __repr__(self) -> str:
        return (
            f"HeadSharing({self.model_name!r}, {_label(self._shape, self._step)}, context={self.context}, "
            f"memory_bytes={self.memory_bytes}, dtype={self.dtype!r})"
        )


def _label(shape: dict[str, Any], step: dict[str, Any]) -> str:
    """MHA 32, GQA 8, MQA 1 or MLA."""
    n_kv_heads = step["n_kv_heads"]
    if step["attention"] == "mla":
        return "MLA"
    return f"{'MHA' if n_kv_heads == shape['n_heads'] else 'MQA' if n_kv_heads == 1 else 'GQA'} {n_kv_heads}"


def _signed(value: float) -> str:
    return f"{value:+.3f}".replace("-", "−")
