"""`RoundingStepper`: one row of weights rounded column by column, while those still free make up for the error (GPTQ).

All steps of all settings are computed in Python when the widget is made (`rounding_steps`); the browser shows them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
import traitlets
from torch import Tensor

from .. import load_model
from ..quantization import hessian, matrices
from ..tokenization import BPETokenizer
from ..transformer import Transformer
from .base import Array, LabWidget, Table
from .costs import significant
from .rounding_steps import BITS, best, company, hessian_of, path, together

N_COLUMNS, MOST_COLUMNS, MOST_ROWS = 12, 14, 32
WORST = 1e10  # the condition of a hessian from which its inverse means little


class RoundingStepper(LabWidget):
    """A row of a model's matrix, some of its columns rounded one after another; who moves, and what error is left.

    `model` and `tokenizer` are the course's, if not given. `matrix`: the path of a linear layer. `columns`: 2 to 14 of
    its inputs, in the order in which they are rounded; the weights of all others stay as they are. By default one
    input and the 11 that come together with it most. `rows`: those that can be looked at. The inputs are those over
    2,048 tokens of training documents; or give `inputs` (..., n_in), or their `hessian` (n_in, n_in) = 2 Σ x xᵀ.

    Read and set from Python: `step` (how many columns are rounded), `row`, `bits` (2, 3, 4), `compensate` (whether free
    weights move), `diagonal` (the control: only the diagonal of H is kept), `chosen` (the place of a column that is
    looked at; −1 follows the step). `codes`, `output_error`, `nearest_error`, `best_error` say what is shown.
    Raises ValueError or TraitError that names what was given and what was expected.
    """

    js = "rounding.js"
    step = traitlets.Int(1, min=0, help="how many columns are rounded").tag(sync=True)
    row = traitlets.Int(0, help="the row of the matrix that is looked at").tag(sync=True)
    bits = traitlets.Enum(BITS, 3, help="bits of a code").tag(sync=True)
    compensate = traitlets.Bool(True, help="whether the free weights make up for the error").tag(sync=True)
    diagonal = traitlets.Bool(False, help="whether only the diagonal of the hessian is kept").tag(sync=True)
    chosen = traitlets.Int(-1, min=-1, help="the place of the column that is looked at; -1: as the step").tag(sync=True)

    matrix = traitlets.Unicode(help="the path of the layer").tag(sync=True)
    columns = traitlets.List(help="the numbers of the inputs, in the order of rounding").tag(sync=True)
    rows = traitlets.List(help="the rows that can be looked at").tag(sync=True)
    # Their first four dimensions are row, bits, whether only the diagonal, and whether the others compensate.
    weights = Array(help="(R, 3, 2, 2, n + 1, n), before all columns and after each")
    errors = Array(help="(R, 3, 2, 2, n + 1), Σ ((w − ŵ)·x)² so far")
    best_errors = Array(help="(R, 3, 2), of all ways to round each weight up or down")
    scales = Array(help="(R, 3), the step between codes")
    together = Array(help="(n, n), H_ij / √(H_ii H_jj)")

    def __init__(
        self,
        model: Transformer | None = None,
        tokenizer: BPETokenizer | None = None,
        *,
        matrix: str = "blocks.3.attention.q_proj",
        columns: Iterable[int] | None = None,
        rows: Iterable[int] | None = None,
        inputs: Tensor | None = None,
        hessian: Tensor | None = None,
        **traits: Any,
    ):
        if model is None or tokenizer is None:
            shipped = load_model()
            model, tokenizer = model or shipped[0], tokenizer or shipped[1]
        known = matrices(model)
        if matrix not in known:
            raise ValueError(f"no matrix {matrix!r} here; there are {', '.join(known)}")
        weight = known[matrix].detach().cpu().double()  # (out, n_in)
        curvature = _curvature(weight.shape[1], inputs, hessian)
        if curvature is None:
            curvature = hessian_of(model, tokenizer, matrix)  # (n_in, n_in)
        chosen = company(curvature, min(N_COLUMNS, weight.shape[1])) if columns is None else list(columns)
        chosen = _numbers("columns", chosen, weight.shape[1], 2, MOST_COLUMNS)
        looked = list(range(min(8, len(weight)))) if rows is None else list(rows)
        looked = _numbers("rows", looked, len(weight), 1, MOST_ROWS)
        w, part = weight[looked][:, chosen], curvature[chosen][:, chosen]  # (R, n), (n, n)
        if not part.isfinite().all() or not torch.linalg.cond(part) <= WORST:
            raise ValueError(
                f"the inputs {chosen} are 0, or sums of each other, over the text that was read, so that the best move "
                "is not one: choose other columns, or give more inputs"
            )
        found = _computed(w, part)
        super().__init__(
            matrix=matrix, columns=chosen, rows=looked, together=together(part), **found, **{"row": looked[0]} | traits
        )
        if "row" not in traits:  # the one whose first weight is rounded farthest, so that something moves
            first = self.weights[:, BITS.index(self.bits), 0, 1, :2, 0].astype(np.float64)  # (R, 2)
            far = np.abs(first[:, 1] - first[:, 0]) / self.scales[:, BITS.index(self.bits)]
            self.row = looked[int(far.argmax())]

    @traitlets.validate("row", "step", "chosen")
    def _is_there(self, proposal: Any) -> int:
        name, value, n = proposal.trait.name, proposal.value, len(self.columns)
        if name == "row" and value not in self.rows:
            raise traitlets.TraitError(f"expected a row of {', '.join(map(str, self.rows))}; got {value}")
        most = {"step": n, "chosen": n - 1}.get(name)
        if most is not None and value > most:
            raise traitlets.TraitError(f"expected {name} of at most {most}, got {value}")
        return value

    # What is shown --------------------------------------------------------------------------------------------------

    @property
    def _at(self) -> tuple[int, int, int]:
        return self.rows.index(self.row), BITS.index(self.bits), int(self.diagonal)

    @property
    def _path(self) -> np.ndarray:
        """(n + 1, n): the weights, before all columns and after each."""
        return self.weights[(*self._at, int(self.compensate))].astype(np.float64)

    @property
    def _scale(self) -> float:
        return float(self.scales[self._at[:2]])

    @property
    def codes(self) -> list[int]:
        """The codes of the columns that are rounded so far."""
        return [round(w / self._scale) for w in self._path[self.step, : self.step].tolist()]

    @property
    def output_error(self) -> float:
        """Σ ((w − ŵ)·x)² so far, as the row is rounded now."""
        return float(self.errors[(*self._at, int(self.compensate), self.step)])

    @property
    def nearest_error(self) -> float:
        """The same where the same columns are rounded to nearest and no other weight moves."""
        return float(self.errors[(*self._at, 0, self.step)])

    @property
    def best_error(self) -> float:
        """The least error of all 2ⁿ ways to round each weight up or down."""
        return float(self.best_errors[self._at])

    @property
    def moves(self) -> list[float]:
        """By how many steps of the grid the last rounding moved each weight, its own among them; all 0 at step 0."""
        before, now = self._path[max(0, self.step - 1)], self._path[self.step]  # (n,)
        return ((now - before) / self._scale).tolist()

    @property
    def beside(self) -> list[float]:
        """How much each input comes together with the one rounded last (at step 0: the first), −1 to 1."""
        place = max(0, self.step - 1)
        if self.diagonal:
            return [float(k == place) for k in range(len(self.columns))]
        return self.together[place].astype(np.float64).tolist()

    # As text --------------------------------------------------------------------------------------------------------

    def tables(self) -> list[Table]:
        """The weights at this step, and the errors so far and at the end."""
        before, now, done = self._path[0], self._path[self.step], self.codes
        moves, beside = self.moves, self.beside
        rows = [
            [
                str(column),
                _number(before[k]),
                _number(now[k]),
                (_whole(done[k]) if k < self.step else "free"),
                _signed(moves[k]),
                _signed((now[k] - before[k]) / self._scale),
                _fixed(beside[k]),
            ]
            for k, column in enumerate(self.columns)
        ]
        last = self.columns[max(0, self.step - 1)]
        columns = ["input", "at first", "now", "code", "moved, steps", "in all, steps", f"together with {last}"]
        return [Table(self._caption(), columns, rows), self._errors_table()]

    def _caption(self) -> str:
        others = "the others make up for it" if self.compensate else "the others stay"
        inputs = ", only the diagonal of H" if self.diagonal else ""
        return (
            f"{self.matrix}, row {self.row}, {self.bits} bits: {self.step} of {len(self.columns)} columns rounded, "
            f"{others}{inputs}"
        )

    def _errors_table(self) -> Table:
        ways = [
            [name, _figure(float(found[self.step])), _figure(float(found[-1]))]
            for name, found in (("the others make up for it", self.errors[(*self._at, 1)]),
                                ("the others stay (nearest)", self.errors[(*self._at, 0)]))
        ]  # fmt: skip
        tried = f"best of {2 ** len(self.columns):,} ways, each up or down"
        return Table(
            "Error of the outputs, Σ((w − ŵ)·x)²",
            ["way", "so far", "at the end"],
            [*ways, [tried, "", _figure(self.best_error)]],
        )

    def __repr__(self) -> str:
        return (
            f"RoundingStepper({self.matrix!r}, row={self.row}, bits={self.bits}, step={self.step}, "
            f"compensate={self.compensate}, diagonal={self.diagonal}; {len(self.columns)} columns)"
        )


def _curvature(n: int, inputs: Tensor | None, given: Tensor | None) -> Tensor | None:
    """The hessian (n, n) of what was given, None for neither."""
    if inputs is not None and given is not None:
        raise ValueError("expected inputs or their hessian, got both")
    if inputs is not None:
        if inputs.shape[-1:] != (n,):
            raise ValueError(f"expected inputs (..., {n}), got {tuple(inputs.shape)}")
        return hessian(inputs.cpu())
    if given is not None and tuple(given.shape) != (n, n):
        raise ValueError(f"expected a hessian ({n}, {n}), got {tuple(given.shape)}")
    return None if given is None else given.detach().cpu().double()


def _numbers(name: str, given: list[int], n: int, least: int, most: int) -> list[int]:
    plain = [int(one) for one in given]
    if not least <= len(set(plain)) == len(plain) <= most or not all(0 <= one < n for one in plain):
        raise ValueError(f"expected {least} to {most} different {name} from 0 to {n - 1}, got {given}")
    return plain


def _computed(w: Tensor, curvature: Tensor) -> dict[str, Tensor]:
    """Every setting of every row: the traits `weights`, `errors`, `best_errors` and `scales`. (R, n), (n, n)."""
    seen = (curvature, curvature.diag().diag())
    weights, errors, least, scales = [], [], [], []
    for row in w:
        for bits in BITS:
            for inputs in seen:
                both = [path(row, inputs, bits, compensate=helped) for helped in (False, True)]
                weights += [one.weights for one in both]
                errors += [one.errors for one in both]
                least.append(best(row, inputs, both[0].scale, bits)[1])
            scales.append(both[0].scale)
    n, shape = w.shape[1], (len(w), len(BITS), 2)
    return {
        "weights": torch.stack(weights).reshape(*shape, 2, n + 1, n),
        "errors": torch.stack(errors).reshape(*shape, 2, n + 1),
        "best_errors": torch.tensor(least, dtype=torch.float64).reshape(shape),
        "scales": torch.tensor(scales, dtype=torch.float64).reshape(shape[:2]),
    }


def _fixed(value: float) -> str:
    """Two digits after the point, a true minus, no sign of a 0."""
    text = f"{abs(value):.2f}"
    return ("−" if value < 0 and text != "0.00" else "") + text


def _signed(value: float) -> str:
    text = _fixed(value)
    return text if text == "0.00" or value < 0 else f"+{text}"


def _whole(code: int) -> str:
    return str(code).replace("-", "−")


def _number(value: float) -> str:
    return ("−" if value < 0 else "") + significant(abs(float(value)))


def _figure(value: float) -> str:
    """Three significant digits, and whole numbers with commas from 1,000 on."""
    return f"{float(f'{value:.3g}'):,.0f}" if value >= 999.5 else significant(value)
