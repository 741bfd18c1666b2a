"""`BitSlider`: the weights of a matrix on the grid of few bits, and what the whole model forgets.

The browser computes what follows from the weights of the one matrix that it has; the properties say the same in Python
(`quantization_steps`). What the model still can is nothing until it is measured, in the kernel (`quantization_asked`).
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

import traitlets
from torch import Tensor

from .. import load_model
from ..quantization import Quantized, matrices
from ..tokenization import BPETokenizer
from ..transformer import Transformer
from .base import Array, LabWidget, Table
from .costs import significant
from .quantization_asked import FULL, NAMES, SKILLS, Bench
from .quantization_steps import (
    BITS,
    GRANULARITIES,
    Fate,
    Setting,
    cost,
    costliest,
    fate,
    folded,
    histogram,
    largest,
    sizes,
    total_bytes,
)

TABLE_BINS, TABLE_CELLS, TABLE_WEIGHTS = 16, 8, 8
COLUMNS = ["setting", "bytes", "loss", "more loss, from", "to", *(NAMES[skill] for skill in SKILLS)]


class BitSlider(LabWidget):
    """A matrix of a model in 2 to 8 bits: its grid, its errors, its outliers; and the facts that the model loses.

    `model` and `tokenizer` are the course's, if not given. `matrix` is a name of `llmlab.quantization.matrices`, by
    default that of the blocks with the weight farthest out, in units of the matrix's own rms weight. Read and set from
    Python: `bits`, `granularity` ("tensor", "channel": a row; "group": `group_size` weights of a row), `symmetric`,
    `kept` (percent of each group's range that the codes reach; the rest is clipped), `chosen` (the number of a weight
    in the flat matrix), `cell` ("rms" or "max" of the error map), `skill` (what is shown against bytes).

    `measure()` asks the whole model at this setting, `measure(3)` and `measure([8, 4, 2])` at other bits; `measured`
    keeps what was found, by setting. Raises TraitError that names what was given and what was expected.
    """

    js = "quantization.js"
    matrix = traitlets.Unicode(help="the matrix that is looked at").tag(sync=True)
    bits = traitlets.Int(4, min=2, max=8, help="bits of a code").tag(sync=True)
    granularity = traitlets.Enum(GRANULARITIES, "group", help="which weights share a scale").tag(sync=True)
    symmetric = traitlets.Bool(True, help="codes around 0, or with a zero point").tag(sync=True)
    kept = traitlets.Int(100, min=10, max=100, help="percent of each group's range that codes reach").tag(sync=True)
    chosen = traitlets.Int(0, min=0, help="the weight that is looked at, in the flat matrix").tag(sync=True)
    cell = traitlets.Enum(["rms", "max"], "rms", help="what a cell of the error map shows").tag(sync=True)
    skill = traitlets.Enum(tuple(NAMES), "facts_true", help="the measure that is shown against bytes").tag(sync=True)
    asked = traitlets.Int(0, help="counts the reader's requests to measure").tag(sync=True)
    wish = traitlets.Enum(["this", "all"], "this", help="what is asked for: this setting, or all bits").tag(sync=True)

    group_size = traitlets.Int(32, min=1, help="weights of a group").tag(sync=True)
    weights = Array(help="the matrix, (rows, columns)")
    sizes = traitlets.Dict(help="the shapes of all matrices, and bytes of the rest").tag(sync=True)
    measured = traitlets.Dict(help="what `measure` found, by setting; {} before").tag(sync=True)
    progress = traitlets.Unicode("", help="what is being measured, in words").tag(sync=True)

    def __init__(
        self,
        model: Transformer | None = None,
        tokenizer: BPETokenizer | None = None,
        *,
        matrix: str | None = None,
        **traits: Any,
    ):
        if model is None or tokenizer is None:
            shipped = load_model()
            model, tokenizer = model or shipped[0], tokenizer or shipped[1]
        self._model, self._tokenizer = copy.deepcopy(model).eval(), tokenizer
        self._matrices = {name: w.detach().float() for name, w in matrices(self._model).items()}
        self._bench: Bench | None = None
        given = sizes(self._model)
        if matrix is None:
            of_blocks = [name for name in given["shapes"] if name.startswith("blocks.")]
            matrix = max(of_blocks, key=lambda name: _reach(self._matrices[name]))
        super().__init__(sizes=given, matrix=matrix, **traits)
        self._take(None)
        if "chosen" in traits:
            self.chosen = traits["chosen"]
        self.observe(self._take, "matrix")
        self.observe(lambda change: self._attempt(self._measure_as_asked), "asked")

    def _take(self, change: Any) -> None:
        with self.hold_sync():
            self.weights = self._w
            self.chosen = costliest(self._w, self.setting)

    @traitlets.validate("matrix", "chosen")
    def _is_there(self, proposal: Any) -> Any:
        name, value = proposal.trait.name, proposal.value
        if name == "matrix" and value not in self.sizes.get("shapes", {}):
            raise traitlets.TraitError(f"no matrix {value!r} here; there are {', '.join(self.sizes['shapes'])}")
        n = self._matrices[self.matrix].numel() if self.matrix else 0
        if name == "chosen" and n and value >= n:
            raise traitlets.TraitError(f"expected a weight from 0 to {n - 1}, got {value}")
        return value

    # What follows from the weights ----------------------------------------------------------------------------------

    @property
    def _w(self) -> Tensor:
        return self._matrices[self.matrix]

    @property
    def setting(self) -> Setting:
        """Bits, granularity, symmetry and range, as one."""
        return self._setting(self.bits)

    def _setting(self, bits: int) -> Setting:
        return Setting(bits, self.granularity, self.symmetric, self.kept, self.group_size)

    @property
    def quantized(self) -> Quantized:
        """The matrix at the setting."""
        return self.setting.quantized(self._w)

    @property
    def fate(self) -> Fate:
        """What becomes of each weight: error, whether it lands on 0, whether it is clipped."""
        return fate(self._w, self.quantized)

    @property
    def outlier(self) -> dict[str, Any]:
        """What the chosen weight costs the others of its group: `step`, `rms`, `zeros`, and each `_without` it."""
        return cost(self._w, self.setting, self.chosen)

    @property
    def matrix_bytes(self) -> int:
        """Bytes of the packed matrix, scales included."""
        return self.setting.matrix_bytes(*self._w.shape)

    @property
    def model_bytes(self) -> int:
        """Bytes of the whole model with all its matrices at the setting."""
        return total_bytes(self.sizes, self.setting)

    # What the model still can ---------------------------------------------------------------------------------------

    def measure(self, bits: int | Iterable[int] | None = None) -> dict[int, dict[str, Any]]:
        """Ask the whole model at the setting, with these bits instead if given: {bits: what was found}.

        Loss on eight rows of unseen text, 100 true facts, 100 facts about people, 50 sums and 50 lists to copy; some
        seconds each. What was measured before is not measured again.
        """
        some = [self.bits] if bits is None else [bits] if isinstance(bits, int) else list(bits)
        wanted = {n: self._setting(n) for n in some}
        for setting in wanted.values():
            if setting.bits not in BITS:
                raise ValueError(f"expected 2 to 8 bits, got {setting.bits!r}")
        try:
            if self._bench is None:
                self._say("drawing what is asked …")
                self._bench = Bench(self._model, self._tokenizer, self.sizes)
            if FULL not in self.measured:
                self.measured = self.measured | {FULL: self._bench.full(self._say)}
            for setting in wanted.values():
                if setting.words() not in self.measured:
                    found = self._bench.measured(setting, self._say)
                    self.measured = self.measured | {setting.words(): found}
        finally:
            self.progress = ""
        return {n: self.measured[setting.words()] for n, setting in wanted.items()}

    def _say(self, what: str) -> None:
        self.progress = what

    def _measure_as_asked(self) -> None:
        self.measure(reversed(BITS) if self.wish == "all" else None)

    # As text --------------------------------------------------------------------------------------------------------

    def tables(self) -> list[Table]:
        """The matrix at the setting, its histogram, the largest weights, the largest errors; what was measured."""
        its = self.fate
        return [
            self._matrix_table(its),
            self._histogram_table(its),
            self._weights_table(),
            self._errors_table(its),
            self._measured_table(),
            self._lost_table(),
        ]

    def _matrix_table(self, its: Fate) -> Table:
        w, scale = self._w, self.quantized.scale.float()
        rows = [
            ["shape", f"{w.shape[0]} × {w.shape[1]}"],
            ["bytes", f"{self.matrix_bytes:,}"],
            ["bits a weight, all told", significant(8 * self.matrix_bytes / w.numel())],
            ["median step", significant(float(scale.reshape(-1).quantile(0.5, interpolation="lower")))],
            ["largest step", significant(scale.max().item())],
            ["land on 0", _percent(its.on_zero)],
            ["clipped", _percent(its.clipped)],
            ["rms error", significant(its.rms)],
            ["rms weight", significant(w.double().square().mean().sqrt().item())],
            ["bytes of the model", f"{self.model_bytes:,}"],
        ]
        return Table(f"{self.matrix}: {self.setting.words()}", ["what", "value"], rows)

    def _histogram_table(self, its: Fate) -> Table:
        rows = [
            [_number(low), _number(high), *(f"{n:,}" for n in counts)]
            for low, high, *counts in histogram(self._w, its, TABLE_BINS)
        ]
        return Table("Weights by size", ["from", "to", "weights", "land on 0", "clipped"], rows)

    def _weights_table(self) -> Table:
        rows = []
        for index in dict.fromkeys([self.chosen, *largest(self._w)[:TABLE_WEIGHTS]]):
            found, (row, column) = cost(self._w, self.setting, index), divmod(index, self._w.shape[1])
            values = [found[name] for name in ("step", "step_without", "rms", "rms_without")]
            named = f"row {row}, column {column}" + (", chosen" if index == self.chosen else "")
            rows.append([named, *map(_number, [found["weight"], *values])])
        columns = ["weight", "value", "step", "step without it", "rms error of the others", "without it"]
        return Table("The chosen weight and the largest ones", columns, rows)

    def _errors_table(self, its: Fate) -> Table:
        cells, down, across = folded(its.error, self.cell)
        order = cells.reshape(-1).sort(descending=True, stable=True).indices[:TABLE_CELLS].tolist()
        rows = []
        for at in order:
            i, j = divmod(at, cells.shape[1])
            ends = [
                f"{first}–{min(first + n, most) - 1}"
                for first, n, most in ((i * down, down, self._w.shape[0]), (j * across, across, self._w.shape[1]))
            ]
            rows.append([*ends, significant(cells[i, j].item())])
        how = "rms" if self.cell == "rms" else "largest"
        return Table(f"The largest cells of the error map: {how} error", ["rows", "columns", "error"], rows)

    def _measured_table(self) -> Table:
        rows = [one["row"] for one in sorted(self.measured.values(), key=lambda one: -one["bytes"])]
        return Table("The whole model, measured" if rows else "The whole model: not measured", COLUMNS, rows)

    def _lost_table(self) -> Table:
        one = self.measured.get(self.setting.words())
        rows = one["lost"] if one else []
        caption = f"Facts lost at {self.setting.words()}" if one else "Facts lost at this setting: not measured"
        return Table(caption, ["asked", "answer", "it says", "the answer is in it"], rows)

    def __repr__(self) -> str:
        return f"BitSlider({self.matrix!r}, {self.setting.words()}; {self.model_bytes:,} bytes)"


def _reach(w: Tensor) -> float:
    """The weight farthest from 0, in units of the rms weight."""
    rms = w.square().mean().sqrt()
    return float(w.abs().max() / rms) if rms else 0.0


def _percent(which: Tensor) -> str:
    return f"{100 * which.double().mean().item():.1f} %"


def _number(value: float | None) -> str:
    return "" if value is None else ("−" if value < 0 else "") + significant(abs(value))
