"""`HeadSharing`: query heads wired to the kv heads that they read, from MHA over GQA and MQA to MLA, and its cost.

The browser computes from a few whole numbers about each model; the properties say the same in Python. Quality is that
of the recorded study `kv_heads`; speed is nothing until it is measured, on the machine that runs the kernel.
"""

from __future__ import annotations

import time
from dataclasses import replace
from statistics import median
from typing import Any

import torch
import torch.nn.functional as F
import traitlets

from .. import checkpoint, costs, data_path, studies
from ..config import ModelConfig
from ..published import OUTLINES, PUBLISHED
from ..studies.laboratory import MODEL
from .base import LabWidget, Table
from .costs import DTYPES, GIB, GIVEN, MOST, SHIPPED, _written, count, significant, size

SIBLING, LABORATORY = "its multi-head sibling", "the laboratory model"
STUDY = "kv_heads"
N_KEYS = 4096  # of the decoding step that is timed
MEMORIES = (2**22, 2**24, 80 * GIB, 640 * GIB)  # bytes, the usual ones: two for small models, one accelerator, eight
# DeepSeek's heads, their width, the latent and the RoPE key: DeepSeek-V2, 2024, section 3.1.2; V3, 2024, section 4.2.
LATENTS = {"DeepSeek-V2": (128, 128, 512, 64), "DeepSeek-V3": (128, 128, 512, 64)}


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
        known = {SHIPPED: _saved("model"), SIBLING: _saved("mha"), LABORATORY: MODEL}
        known |= {name: model.config for name, model in PUBLISHED.items()}
        name = config
        if isinstance(config, ModelConfig):
            name = next((name for name, one in known.items() if one == config), GIVEN)
            known[name] = config
        models = [_shape(name, one) for name, one in known.items()] + [_outline(name) for name in LATENTS]
        self._shapes = {shape["name"]: shape for shape in models}
        own = self._own(name)
        if attention is None:
            attention = own["attention"] if n_kv_heads is None else "gqa"
        super().__init__(
            models=models,
            model_name=name,
            attention=attention,
            n_kv_heads=own["n_kv_heads"] if n_kv_heads is None else n_kv_heads,
            context=self._shapes[name]["max_seq_len"] if context is None else context,
            memory_bytes=self._shapes[name]["memory"] if memory_bytes is None else memory_bytes,
            dtype=dtype,
            study=_quality(),
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


@torch.inference_mode()
def timed(n_heads: int, head_dim: int, *, repeats: int) -> dict[int, float]:
    """{kv heads: median of the seconds}, as `HeadSharing.measure` says."""
    q = torch.randn(1, n_heads, 1, head_dim)  # (1, H, 1, d)
    k, v = torch.randn(2, 1, n_heads, N_KEYS, head_dim)  # (1, H, S, d) each
    other = torch.zeros(2**24)  # what is read in between, 64 MiB
    taken: dict[int, list[float]] = {n_kv_heads: [] for n_kv_heads in _divisors(n_heads)}
    for again in range(repeats + 1):  # the first round warms up
        for n_kv_heads, times in taken.items():
            rows = q.reshape(1, n_kv_heads, n_heads // n_kv_heads, head_dim)  # (1, G, H/G, d)
            keys, values = k[:, :n_kv_heads], v[:, :n_kv_heads]  # (1, G, S, d)
            other.add_(1)
            start = time.perf_counter()
            F.scaled_dot_product_attention(rows, keys, values)
            if again:
                times.append(time.perf_counter() - start)
    return {n_kv_heads: median(times) for n_kv_heads, times in taken.items()}


# What the browser computes from -------------------------------------------------------------------------------------


def _saved(name: str) -> ModelConfig:
    """The config of a model that ships with the course."""
    return ModelConfig.from_dict(checkpoint.load_tensors(data_path(f"{name}.safetensors"))[1]["config"])


def _divisors(n: int) -> list[int]:
    """The divisors of n, the greatest first."""
    return [size for size in range(n, 0, -1) if n % size == 0]


def _shape(name: str, config: ModelConfig) -> dict[str, Any]:
    """What the browser needs of a config: sizes, and a step for each number of kv heads and, with RoPE, for MLA.

    A step has the `numbers` that one layer keeps of a token and all `parameters` of the model.
    """
    latent = config.attention == "mla"
    plain = {"attention": "gqa", "kv_latent_dim": None, "rope_head_dim": None, "q_latent_dim": None}
    configs = [replace(config, **plain, n_kv_heads=n_kv_heads) for n_kv_heads in _divisors(config.n_heads)]
    if latent or config.position == "rope":
        other = {"attention": "mla", "n_kv_heads": config.n_heads, "bias": "none", "qk_norm": False}
        configs.append(config if latent else replace(config, **other))
    steps = []
    for one in configs:
        sizes = (one.kv_latent_dim, one.rope_head_dim) if one.attention == "mla" else ()
        steps.append(_step(one.n_kv_heads, _numbers(one), costs.n_parameters(one), *sizes))
    own = len(steps) - 1 if latent else _divisors(config.n_heads).index(config.n_kv_heads)
    source = PUBLISHED[name].source if name in PUBLISHED else ""
    sizes = {key: getattr(config, key) for key in ("n_layers", "n_heads", "head_dim", "max_seq_len")}
    more = {"window": config.sliding_window or 0, "memory": _memory(costs.n_parameters(config))}
    return {"name": name, "source": source, **sizes, **more, "own": own, "steps": steps}


def _numbers(config: ModelConfig) -> int:
    """How many numbers one layer keeps of a token."""
    return costs.kv_cache_bytes(config, 1, dtype="int8") // config.n_layers


def _outline(name: str) -> dict[str, Any]:
    """A model whose own step is MLA. Of steps that it has not its weights are counted as they are."""
    n_heads, head_dim, latent, rope = LATENTS[name]
    known = OUTLINES[name]
    (layers,) = known.cache
    steps = [_step(n_kv_heads, 2 * n_kv_heads * head_dim, known.n_parameters) for n_kv_heads in _divisors(n_heads)]
    steps.append(_step(n_heads, layers.numbers, known.n_parameters, latent, rope))
    sizes = {"n_layers": layers.n_layers, "n_heads": n_heads, "head_dim": head_dim, "max_seq_len": known.context}
    more = {"window": 0, "memory": _memory(known.n_parameters), "own": len(steps) - 1, "steps": steps}
    return {"name": name, "source": known.source, **sizes, **more}


def _memory(n_parameters: int) -> int:
    """The least of the usual memories that holds the weights in bfloat16."""
    return next((memory for memory in MEMORIES if 2 * n_parameters < memory), MEMORIES[-1])


def _step(n_kv_heads: int, numbers: int, parameters: int, latent: int = 0, rope: int = 0) -> dict[str, Any]:
    sizes = {"numbers": numbers, "parameters": parameters, "latent": latent, "rope": rope}
    return {"attention": "mla" if latent else "gqa", "n_kv_heads": n_kv_heads, **sizes}


def _quality() -> dict[str, Any]:
    """The recorded settings, those that keep most first: mean, paired difference with its interval, and verdict."""
    recorded = studies.load(STUDY)
    reference, settings = recorded.study.reference, []
    measures = [row[0] for row in recorded.table().rows]
    for name, setting in recorded.study.full.items():
        if len(recorded.runs[name]) < 2:  # no interval yet
            continue
        model, found = setting.model, {}
        for measure in measures:
            one = recorded.difference(name, measure)
            verdict = "compared with" if name == reference else one.verdict
            found[measure] = [recorded.mean(name, measure).mean, one.mean, one.low, one.high, verdict]
        known = {"numbers": _numbers(model), "n_heads": model.n_heads, "attention": model.attention}
        settings.append({"name": name, **known, "found": found})
    settings.sort(key=lambda one: -one["numbers"])
    n = len(recorded.study.seeds)
    return {"model": LABORATORY, "reference": reference, "measures": measures, "seeds": n, "settings": settings}


def _label(shape: dict[str, Any], step: dict[str, Any]) -> str:
    """MHA 32, GQA 8, MQA 1 or MLA."""
    n_kv_heads = step["n_kv_heads"]
    if step["attention"] == "mla":
        return "MLA"
    return f"{'MHA' if n_kv_heads == shape['n_heads'] else 'MQA' if n_kv_heads == 1 else 'GQA'} {n_kv_heads}"


def _signed(value: float) -> str:
    return f"{value:+.3f}".replace("-", "−")
