"""`AttentionStepper`: one head of attention on numbers that fit on the screen, stage by stage, every number editable.

softmax(q·kᵀ / √d) · v (Vaswani et al. 2017, equation 1) with q = x·W_q, k = x·W_k, v = x·W_v. The browser computes all
stages from x and the three matrices, so that an edit is answered at once and a saved page needs no kernel; `compute`
does the same with torch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from decimal import ROUND_HALF_UP, Context, Decimal
from typing import Any

import numpy as np
import torch
import traitlets
from torch import Tensor

from ..attention import causal_mask, prefix_mask, sliding_window_mask
from ..plots import visible
from .base import Array, LabWidget, Table

EXAMPLE = {
    "labels": ["dog", "street", "it", "too", "tired"],
    "x": [[2, 0, 0, 1], [0, 2, 0, 1], [1, 1, 1, 0], [0, 0, -1, 1], [1, 0, 2, 0]],  # (T, D)
    "w_q": [[1, 0, 0, 0], [0, 1, 0, 0], [1, 0, 0, 1], [0, 0, 1, 0]],  # (D, d)
    "w_k": [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, -1], [0, 0, 1, 1]],  # (D, d)
    "w_v": [[1, 0, 0, 1], [0, 1, 0, -1], [0, 0, 1, 0], [1, 1, 0, 0]],  # (D, d_v)
}
INPUTS = ["x", "w_q", "w_k", "w_v"]
STAGES = ["x", "qkv", "scores", "scaled", "masked", "weights", "output"]
SQUARE = STAGES[2:6]  # queries against keys
MASKS = ["none", "causal", "prefix", "window"]
TOKENS, WIDTHS = (2, 8), (2, 6)  # what fits on a screen
LARGEST = 1000  # in size, of the numbers that can be put in

Stages = dict[str, list[list[float]]]
Numbers = Sequence[Sequence[float]] | np.ndarray | Tensor


class Refused(traitlets.TraitError, ValueError):
    """A value that a trait cannot take; traitlets takes back what came with it."""


class Matrix(Array):
    """An `Array` of float32 that also takes rows of numbers in lists."""

    info_text = "a matrix of numbers: a tensor, a numpy array or a list of rows"

    def validate(self, obj: Any, value: Any) -> np.ndarray:
        return super().validate(obj, _matrix(self.name, value))


def _matrix(name: str | None, value: Any) -> np.ndarray:
    """The numbers as a float32 array of two dimensions, or ValueError."""
    if isinstance(value, Tensor):
        value = value.detach().cpu().numpy()
    try:
        array = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise Refused(f"expected {name} as rows of numbers, all of one length, got {value!r}") from None
    if array.ndim != 2:
        raise Refused(f"expected {name} with rows and columns, got shape {array.shape}")
    return array.astype(np.float32)


class AttentionStepper(LabWidget):
    """Walk through single-head attention from x to its output, with the arithmetic of the chosen cell spelled out.

    x (T, D), w_q and w_k (D, d), w_v (D, d_v); T from 2 to 8, the widths from 2 to 6. What is not given comes from
    `EXAMPLE`. Read and set from Python:
    - x, w_q, w_k, w_v, in the shapes of the start, and `labels`, one a token;
    - `stage`, one of `STAGES`;
    - `row`, the query token, and `column`, the key token; in the stages x, qkv and output `column` is a number of the
      row, in qkv counted over q, k and v. One beyond the last column of a stage means the last;
    - `mask`: "none", "causal", "prefix" (the first `prefix` tokens are seen from everywhere) or "window" (the last
      `window` tokens, a query's own included);
    - `scaling`: whether scores are divided by √d.

    Raises ValueError that names what was given and what was expected.
    """

    js = "attention.js"
    x = Matrix(help="(T, D) float32: one row a token")
    w_q = Matrix(help="(D, d) float32")
    w_k = Matrix(help="(D, d) float32")
    w_v = Matrix(help="(D, d_v) float32")
    original = Array(help="(n,) float32: the numbers of x, w_q, w_k and w_v at the start, for the reset")
    labels = traitlets.List(traitlets.Unicode(), help="the tokens as text, one a row of x").tag(sync=True)
    stage = traitlets.Enum(STAGES, "weights", help="the last stage that is shown").tag(sync=True)
    row = traitlets.Int(0, help="the query token, from 0").tag(sync=True)
    column = traitlets.Int(0, help="the key token, or a number of the row, from 0").tag(sync=True)
    mask = traitlets.Enum(MASKS, "causal", help="which keys a query may look at").tag(sync=True)
    prefix = traitlets.Int(2, help="tokens at the start that are seen from everywhere").tag(sync=True)
    window = traitlets.Int(2, help="tokens that a query may look back on, its own included").tag(sync=True)
    scaling = traitlets.Bool(True, help="whether scores are divided by √d").tag(sync=True)

    def __init__(
        self,
        x: Numbers | None = None,
        w_q: Numbers | None = None,
        w_k: Numbers | None = None,
        w_v: Numbers | None = None,
        labels: Sequence[str] | None = None,
        *,
        stage: str = "weights",
        row: int | None = None,
        column: int = 0,
        mask: str = "causal",
        scaling: bool = True,
        window: int = 2,
        prefix: int = 2,
        **traits: Any,
    ):
        given = dict(zip(INPUTS, (x, w_q, w_k, w_v), strict=True))
        inputs = {name: _matrix(name, EXAMPLE[name] if value is None else value) for name, value in given.items()}
        self._shapes = _checked_shapes(inputs)
        n_tokens = len(inputs["x"])
        if labels is None:
            labels = EXAMPLE["labels"] if x is None else [f"t{position}" for position in range(n_tokens)]
        super().__init__(
            **inputs,
            original=np.concatenate([value.reshape(-1) for value in inputs.values()]),
            labels=list(labels),
            stage=stage,
            row=n_tokens - 1 if row is None else row,
            column=column,
            mask=mask,
            scaling=scaling,
            window=window,
            prefix=prefix,
            **traits,
        )

    # What the traits may be -----------------------------------------------------------------------------------------

    @traitlets.validate(*INPUTS)
    def _fits(self, proposal: Any) -> np.ndarray:
        name, value = proposal["trait"].name, proposal["value"]
        if value.shape != self._shapes[name]:
            raise Refused(
                f"expected {name} of shape {self._shapes[name]}, as at the start, got {value.shape}; "
                f"for other shapes make another AttentionStepper"
            )
        _check_numbers(name, value)
        return value

    @traitlets.validate("labels")
    def _one_a_token(self, proposal: Any) -> list[str]:
        if len(proposal["value"]) != self.n_tokens:
            raise Refused(f"expected {self.n_tokens} labels, one a token, got {len(proposal['value'])}")
        return proposal["value"]

    @traitlets.validate("row", "column", "prefix", "window")
    def _in_range(self, proposal: Any) -> int:
        name, value = proposal["trait"].name, proposal["value"]
        least = int(name in ("prefix", "window"))
        most = self.n_tokens - 1 + least
        if name == "column":  # of any stage: the browser sends a column and the next stage in one message
            most = max(self._n_columns(stage) for stage in STAGES) - 1
        if not least <= value <= most:
            raise Refused(f"expected a {name} from {least} to {most}, got {value}")
        return value

    @property
    def n_tokens(self) -> int:
        """T, the rows of x."""
        return self._shapes["x"][0]

    def _n_columns(self, stage: str) -> int:
        """How many columns there are to choose from in a stage."""
        (_, n_in), (_, d), (_, d_v) = (self._shapes[name] for name in ("x", "w_q", "w_v"))
        return {"x": n_in, "qkv": 2 * d + d_v, "output": d_v}.get(stage, self.n_tokens)

    def reset(self) -> None:
        """Give x, w_q, w_k and w_v the numbers of the start back."""
        start = 0
        for name in INPUTS:
            shape = self._shapes[name]
            setattr(self, name, self.original[start : start + math.prod(shape)].reshape(shape))
            start += math.prod(shape)

    # The numbers ----------------------------------------------------------------------------------------------------

    def compute(self) -> dict[str, Tensor]:
        """All stages with torch: q, k (T, d), v (T, d_v), scores, scaled, masked, weights (T, T) and output (T, d_v).

        float32, rounded from float64. In `masked` a key that the query may not look at has −∞.
        """
        return {name: values.float() for name, values in self._stages().items()}

    def allowed(self) -> Tensor:
        """(T, T) booleans, True where the query of the row may look at the key of the column."""
        if self.mask == "none":
            return torch.ones(self.n_tokens, self.n_tokens, dtype=torch.bool)
        if self.mask == "prefix":
            return prefix_mask(self.n_tokens, self.prefix)
        return sliding_window_mask(self.n_tokens, self.window) if self.mask == "window" else causal_mask(self.n_tokens)

    def _stages(self) -> dict[str, Tensor]:
        x, w_q, w_k, w_v = (torch.from_numpy(getattr(self, name).astype(np.float64)) for name in INPUTS)
        q, k, v = x @ w_q, x @ w_k, x @ w_v  # (T, d), (T, d), (T, d_v)
        scores = q @ k.T  # (T, T)
        scaled = scores / math.sqrt(q.shape[1]) if self.scaling else scores  # (T, T)
        masked = scaled.masked_fill(~self.allowed(), -math.inf)  # (T, T)
        weights = masked.softmax(dim=-1)  # (T, T)
        output = weights @ v  # (T, d_v)
        return {
            "q": q, "k": k, "v": v,
            "scores": scores, "scaled": scaled, "masked": masked, "weights": weights, "output": output,
        }  # fmt: skip

    # As text --------------------------------------------------------------------------------------------------------

    def __repr__(self) -> str:
        weights, labels = self._stages()["weights"][self.row].tolist(), self.labels
        shares = ", ".join(f"{label} {short(weight)}" for label, weight in zip(labels, weights, strict=True))
        how = f"mask={self.mask!r}, scaling={self.scaling}"
        return f"AttentionStepper({self.n_tokens} tokens, {how}; {labels[self.row]!r} looks at {shares})"

    def tables(self) -> list[Table]:
        """The arithmetic of the chosen cell, and every matrix up to the stage shown; the browser says the same."""
        at = self._stages()
        return [self._cell_table(at), *(self._matrix_table(name, at) for name in self._shown())]

    def fallback_html(self) -> str:
        """The arithmetic of the chosen cell, x, and the matrices of the stage that is shown."""
        names = {"x": [], "qkv": ["q", "k", "v"]}.get(self.stage, [self.stage])
        at = self._stages()
        tables = [self._cell_table(at), *(self._matrix_table(name, at) for name in ["x", *names])]
        return "".join(table.html() for table in tables)

    def _shown(self) -> list[str]:
        later = [["q", "k", "v"], *([stage] for stage in STAGES[2:])]
        return [*INPUTS, *(name for names in later[: STAGES.index(self.stage)] for name in names)]

    def _matrix_table(self, name: str, at: dict[str, Tensor]) -> Table:
        values = torch.from_numpy(getattr(self, name)) if name in INPUTS else at[name]
        square = name in SQUARE
        labels = [self._label(token) for token in range(self.n_tokens)]
        columns = labels if square else [str(column) for column in range(values.shape[1])]
        rows = [str(row) for row in range(len(values))] if name.startswith("w_") else labels
        cells = [[label, *map(short, line)] for label, line in zip(rows, values.tolist(), strict=True)]
        head = "query" if square else "row" if name.startswith("w_") else "token"
        return Table(self._title(name), [head, *columns], cells)

    def _title(self, name: str) -> str:
        root = f"scores ÷ √{self.w_q.shape[1]}" if self.scaling else "scores, not scaled"
        return {
            "x": "x: one row a token",
            "w_q": "W_q",
            "w_k": "W_k",
            "w_v": "W_v",
            "q": "q = x · W_q",
            "k": "k = x · W_k",
            "v": "v = x · W_v",
            "scores": "scores = q · kᵀ",
            "scaled": f"scaled = {root}",
            "masked": f"masked: {self._mask_in_words()}",
            "weights": "weights = softmax of each row",
            "output": "output = weights · v",
        }[name]

    def _mask_in_words(self) -> str:
        size = {"prefix": self.prefix, "window": self.window}.get(self.mask)
        return self.mask if size is None else f"{self.mask} of {size}"

    def _cell_table(self, stages: dict[str, Tensor]) -> Table:
        """The arithmetic of the chosen cell, with the steps before it."""
        column = min(self.column, self._n_columns(self.stage) - 1)
        until = STAGES.index(self.stage)
        names = STAGES[2 : until + 1] if self.stage in SQUARE else [self.stage]
        called = {"qkv": self._projected(column)[0]}
        at = {name: values.tolist() for name, values in stages.items()}
        rows = [[called.get(name, name), getattr(self, f"_{name}_of")(self.row, column, at)] for name in names]
        return Table("The chosen cell", ["stage", "arithmetic"], rows)

    def _projected(self, column: int) -> tuple[str, int]:
        """Which of q, k and v a column of the stage qkv belongs to, and which column of it that is."""
        d = self.w_q.shape[1]
        part = min(column // d, 2)
        return "qkv"[part], column - part * d

    # The arithmetic of one cell; `at` has the stages as rows of numbers.

    def _label(self, token: int) -> str:
        return visible(self.labels[token])

    def _keys(self, row: int) -> list[int]:
        """The keys that a query may look at."""
        return self.allowed()[row].nonzero().flatten().tolist()

    def _x_of(self, row: int, column: int, at: Stages) -> str:
        return f"x({self._label(row)})[{column}] = {short(float(self.x[row, column]))}"

    def _qkv_of(self, row: int, column: int, at: Stages) -> str:
        which, column = self._projected(column)
        terms = _products(self.x[row].tolist(), getattr(self, f"w_{which}")[:, column].tolist())
        product = f"{which}({self._label(row)})[{column}] = x({self._label(row)}) · W_{which}[:, {column}]"
        return f"{product} = {terms} = {short(at[which][row][column])}"

    def _scores_of(self, row: int, column: int, at: Stages) -> str:
        terms, score = _products(at["q"][row], at["k"][column]), at["scores"][row][column]
        return f"q({self._label(row)}) · k({self._label(column)}) = {terms} = {short(score)}"

    def _scaled_of(self, row: int, column: int, at: Stages) -> str:
        score = short(at["scores"][row][column])
        if not self.scaling:
            return f"not scaled: {score} stays {score}"
        return f"{score} ÷ √{self.w_q.shape[1]} = {short(at['scaled'][row][column])}"

    def _masked_of(self, row: int, column: int, at: Stages) -> str:
        scaled = short(at["scaled"][row][column])
        if column in self._keys(row):
            return f"{self._why(column)}: {scaled} stays {scaled}"
        return f"{self._why(column)}: −∞ before the softmax, so its weight is exactly 0"

    def _weights_of(self, row: int, column: int, at: Stages) -> str:
        keys, scores = self._keys(row), at["masked"][row]
        if column not in keys:
            return "e^(−∞) = 0: the weight is exactly 0"
        largest = max(scores)
        powers = {key: f"e^({short(scores[key])}−{_wrapped(largest)})" for key in keys}
        values = {key: short(math.exp(scores[key] - largest)) for key in keys}
        shares = [f"{of[column]} ÷ ({' + '.join(of.values())})" for of in (powers, values)]
        return f"{shares[0]} = {shares[1]} = {short(at['weights'][row][column])}"

    def _output_of(self, row: int, column: int, at: Stages) -> str:
        keys = self._keys(row)
        terms = _products([at["weights"][row][key] for key in keys], [at["v"][key][column] for key in keys])
        product = f"weights({self._label(row)}) · v[:, {column}]"
        return f"output({self._label(row)})[{column}] = {product} = {terms} = {short(at['output'][row][column])}"

    def _why(self, key: int) -> str:
        """Why the query of the chosen row may look at a key, or may not."""
        row = self.row
        if self.mask == "none":
            return "no mask"
        if key > row:
            within = self.mask == "prefix" and key < self.prefix
            return f"later than the query, but in the prefix of {self.prefix}" if within else "later than the query"
        if self.mask == "window":
            last = "the last token" if self.window == 1 else f"the last {self.window} tokens"
            return f"{'not ' if row - key >= self.window else ''}among {last}"
        return "the query's own token" if key == row else "earlier than the query"


def _checked_shapes(inputs: dict[str, np.ndarray]) -> dict[str, tuple[int, ...]]:
    """The shapes, when they fit one another and a screen and their numbers can be shown; otherwise ValueError."""
    shapes = {name: value.shape for name, value in inputs.items()}
    n_tokens, n_in = shapes["x"]
    if not TOKENS[0] <= n_tokens <= TOKENS[1]:
        raise Refused(f"expected x with {TOKENS[0]} to {TOKENS[1]} tokens, got {n_tokens} (shape {shapes['x']})")
    for name in INPUTS:
        if not WIDTHS[0] <= shapes[name][1] <= WIDTHS[1]:
            raise Refused(f"expected {name} with {WIDTHS[0]} to {WIDTHS[1]} columns, got shape {shapes[name]}")
        if name != "x" and shapes[name][0] != n_in:
            raise Refused(
                f"expected {name} with {n_in} rows, one for each number of a token of x {shapes['x']}, "
                f"got shape {shapes[name]}"
            )
        _check_numbers(name, inputs[name])
    if shapes["w_q"] != shapes["w_k"]:
        raise Refused(f"expected w_q and w_k of one shape, got {shapes['w_q']} and {shapes['w_k']}")
    return shapes


def _check_numbers(name: str, value: np.ndarray) -> None:
    for row, column in np.argwhere(~(np.abs(value) <= LARGEST)):  # a NaN is not below anything
        raise Refused(
            f"expected numbers from −{LARGEST} to {LARGEST} in {name}, got {value[row, column]:g} in row {row}, "
            f"column {column}"
        )


def _products(a: Sequence[float], b: Sequence[float]) -> str:
    return " + ".join(f"{_wrapped(one)}·{_wrapped(other)}" for one, other in zip(a, b, strict=True))


def _wrapped(value: float) -> str:
    return f"({short(value)})" if value < 0 else short(value)


def short(value: float) -> str:
    """A number as the widget writes it: three significant digits, a true minus sign, −∞; large ones as 2.1e7."""
    size, sign = abs(value), "−" if value < 0 else ""
    if math.isinf(size):
        return f"{sign}∞"
    if 0 < size < 0.001:
        return f">{sign}0.001" if sign else "<0.001"
    if size >= 99950:
        mantissa, power = f"{_rounded(size, 2):.1e}".split("e")
        return f"{sign}{mantissa}e{int(power)}"
    text = f"{_rounded(size, 3):f}"
    return sign + (text.rstrip("0").rstrip(".") if "." in text else text)


def _rounded(size: float, n_digits: int) -> Decimal:
    """To so many significant digits; a half goes up, as in JavaScript."""
    return Context(prec=n_digits, rounding=ROUND_HALF_UP).create_decimal(Decimal(size))
