"""`Descent`: a walk downhill on a loss, step by step: plain, with momentum, Adam; from the whole set or a mini-batch.

A landscape is a polynomial of one or two parameters, or the real loss of a small fit: the mean squared error of a line
y = a x + b (or of y = a x) on at most 400 points. A mini-batch is drawn from these points; its noise is nothing else.
`walk` takes the steps, as torch.optim's SGD and Adam take them; the browser takes the same ones, operation by
operation, so that a rate that is slid or a start that is dragged asks no kernel.

Sources: momentum, Polyak 1964, in the form of torch.optim.SGD; Adam, Kingma and Ba 2015, algorithm 1; the random
numbers of the mini-batches, xorshift, Marsaglia 2003.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Context
from functools import lru_cache
from typing import Any

import numpy as np
import traitlets

from .base import Array, LabWidget, Table

METHODS = ("plain", "momentum", "adam")
MOST = 1000  # steps of a walk
FLAT = 10  # points in a row with a small slope: settled
FAR = 1000  # half-widths of the window from its middle: diverged
POINTS = 400  # of a fit, at most
KEPT = 3  # runs laid over the picture, at most
BETAS, EPSILON = (0.9, 0.999), 1e-8  # of Adam, its authors' values
FACTOR, MASK = 2654435761, 0xFFFFFFFF
# A year: the temperature of each month in tens of °C; what was sold, in hundreds, is 1 + 2 x plus noise within ±0.5.
TEMPERATURES = (0.1, 0.2, 0.6, 1.0, 1.5, 1.8, 2.1, 2.0, 1.6, 1.1, 0.5, 0.2)


# The landscapes -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Landscape:
    """A loss of P parameters, 1 or 2, and the window that shows it.

    `terms` are [coefficient, power of the first, power of the second parameter]; where they are empty, the loss is the
    mean squared error of a line on the points `xs`, `ys`. `tolerance` is the length of the slope that counts as flat,
    in units of loss a unit of the parameter; `lowest` is the least loss in the window, `rates` the ends of the slider.
    """

    name: str
    formula: str
    names: tuple[str, ...]
    window: tuple[tuple[float, float], ...]
    start: tuple[float, ...]
    rate: float
    terms: tuple[tuple[float, int, int], ...] = ()
    xs: tuple[float, ...] = ()
    ys: tuple[float, ...] = ()
    lowest: float = 0.0
    tolerance: float = 0.001
    rates: tuple[float, float] = (1e-4, 10.0)

    def loss(self, point: Sequence[float]) -> float:
        """The loss at a point (P,)."""
        a, b = point[0], point[1] if len(point) > 1 else 0.0
        total = 0.0
        if self.terms:
            for factor, i, j in self.terms:
                total += factor * _power(a, i) * _power(b, j)
            return total
        for x, y in zip(self.xs, self.ys, strict=True):
            error = a * x + b - y
            total += error * error
        return total / len(self.xs)

    def slope(self, point: Sequence[float], rows: Sequence[int] | None = None) -> list[float]:
        """The gradient at a point, (P,) -> (P,): of the whole loss or, for a fit, of the loss on these rows alone."""
        a, b = point[0], point[1] if len(point) > 1 else 0.0
        by_a = by_b = 0.0
        if self.terms:
            for factor, i, j in self.terms:
                if i:
                    by_a += factor * i * _power(a, i - 1) * _power(b, j)
                if j:
                    by_b += factor * j * _power(a, i) * _power(b, j - 1)
        else:
            chosen = range(len(self.xs)) if rows is None else rows
            for row in chosen:
                error = a * self.xs[row] + b - self.ys[row]
                by_a += error * self.xs[row]
                by_b += error
            by_a, by_b = 2 * by_a / len(chosen), 2 * by_b / len(chosen)
        return [by_a, by_b][: len(self.names)]

    def curvatures(self, point: Sequence[float]) -> list[float]:
        """The curvatures along the axes of the valley at a point, (P,) -> (P,): eigenvalues of the second derivatives,
        the largest first. A negative one means that the loss falls to both sides."""
        a, b = point[0], point[1] if len(point) > 1 else 0.0
        aa = ab = bb = 0.0
        if self.terms:
            for factor, i, j in self.terms:
                if i > 1:
                    aa += factor * i * (i - 1) * _power(a, i - 2) * _power(b, j)
                if i and j:
                    ab += factor * i * j * _power(a, i - 1) * _power(b, j - 1)
                if j > 1:
                    bb += factor * j * (j - 1) * _power(a, i) * _power(b, j - 2)
        else:
            for x in self.xs:
                aa += x * x
                ab += x
            aa, ab, bb = 2 * aa / len(self.xs), 2 * ab / len(self.xs), 2.0
        if len(self.names) == 1:
            return [aa]
        middle, apart = (aa + bb) / 2, math.sqrt((aa - bb) * (aa - bb) / 4 + ab * ab)
        return [middle + apart, middle - apart]

    def record(self) -> dict[str, Any]:
        """What the browser is told."""
        names = (
            "name",
            "formula",
            "names",
            "window",
            "start",
            "rate",
            "terms",
            "lowest",
            "tolerance",
            "rates",
            "curvature",
        )
        frame = list(self.window)
        ways = [[low + n * (high - low) / 40 for n in range(41)] for low, high in frame]
        spots = [[a] for a in ways[0]] if len(ways) == 1 else [[a, b] for a in ways[0] for b in ways[1]]
        losses = [self.loss(spot) for spot in spots]
        if len(frame) == 1:
            room = max(losses) - self.lowest or 1.0
            frame.append((self.lowest - 0.06 * room, max(losses) + 0.02 * room))
        base = self.lowest if self.lowest < 0 or self.lowest > 0.02 * max(losses) else 0.0
        room = max(losses) - base or 1.0
        return {
            **{name: _listed(getattr(self, name)) for name in names},
            "frame": _listed(frame),  # the window; for a curve with the losses that it shows
            "ticks": [_ticks(*frame[0], 7), _ticks(*frame[1], 5)],
            "levels": [base + level for level in _round_numbers(room / 1000, 0.95 * room)],
        }

    @property
    def curvature(self) -> float:
        """The steepest curvature of a loss that has the same everywhere, of powers up to 2; 0.0 for another."""
        return self.curvatures(self.start)[0] if all(i + j <= 2 for _, i, j in self.terms) else 0.0


@lru_cache(32)
def _record(place: Landscape) -> dict[str, Any]:
    return place.record()


def _round_numbers(low: float, high: float) -> list[float]:
    """1, 2, 5 times the powers of ten, from low to high."""
    powers = range(math.floor(math.log10(low)), math.floor(math.log10(high)) + 1)
    numbers = [float(f"{n}e{power}") for power in powers for n in (1, 2, 5)]
    return [n for n in numbers if low <= n <= high]


def _ticks(low: float, high: float, count: int) -> list[float]:
    """Some `count` round places of an axis."""
    step = _round_numbers((high - low) / count, 10 * (high - low) / count)[0]
    return [_rounded(n * step, 6) for n in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _power(value: float, n: int) -> float:
    result = 1.0
    for _ in range(n):
        result *= value
    return result


def _listed(value: Any) -> Any:
    return [_listed(one) for one in value] if isinstance(value, (tuple, list)) else value


_DIP = ((0.25, 4, 0), (-1.0, 2, 0), (0.3, 1, 0), (1.5, 0, 0))
_LINE, _WINDOW = ((-3.0, 3.0),), ((-3.0, 3.0), (-2.0, 2.0))
_GIVEN = (
    ("parabola", "θ²", _LINE, (2.5,), 0.1, ((1.0, 2, 0),)),
    ("two dips", "¼ θ⁴ − θ² + 0.3 θ + 1.5", ((-2.6, 2.6),), (2.2,), 0.05, _DIP),
    ("bowl", "a² + b²", _WINDOW, (-2.2, 1.4), 0.1, ((1.0, 2, 0), (1.0, 0, 2))),
    ("ravine", "½ a² + 50 b²", _WINDOW, (-2.6, 1.2), 0.018, ((0.5, 2, 0), (50.0, 0, 2))),
    ("two valleys", "¼ a⁴ − a² + 0.3 a + 1.5 + b²", _WINDOW, (2.4, 1.5), 0.05, (*_DIP, (1.0, 0, 2))),
    ("saddle", "½ a² + ¼ b⁴ − b² + 1", _WINDOW, (-2.4, 0.0), 0.1,
     ((0.5, 2, 0), (0.25, 0, 4), (-1.0, 0, 2), (1.0, 0, 0))),
)  # fmt: skip


@lru_cache(8)
def _given(name: str) -> Landscape | None:
    """The polynomial of this name."""
    for given, formula, window, start, rate, terms in _GIVEN:
        if given == name:
            names = ("θ",) if len(start) == 1 else ("a", "b")
            return _with_lowest(Landscape(name, formula, names, window, start, rate, terms))
    return None


def landscape(name: str, *, xs: Sequence[float] | None = None, ys: Sequence[float] | None = None) -> Landscape:
    """One of the landscapes by its name: parabola, two dips (one parameter); bowl, ravine, two valleys, saddle (two);
    slope and line, the fits of y = a x and of y = a x + b to the points `xs`, `ys`: (N,) each, N from 2 to 400.

    The points of the fits, if none are given, are a year of sales made from a law with noise. Raises ValueError for
    another name, and for points that a fit cannot have.
    """
    if given := _given(name):
        return given
    if name not in ("slope", "line"):
        raise ValueError(f"expected a landscape of {', '.join(NAMES)}; got {name!r}")
    return _fit(name, *(_a_year() if xs is None or ys is None else (xs, ys)))


NAMES = (*(one[0] for one in _GIVEN), "slope", "line")


def own_landscape(
    terms: Mapping[int | tuple[int, int], float],
    *,
    window: Sequence[Sequence[float]] | None = None,
    start: Sequence[float] | None = None,
) -> Landscape:
    """A polynomial of the reader's: {power: coefficient} of one parameter, {(power, power): coefficient} of two.

    `window` is (low, high) for each parameter. Raises ValueError for powers that are none or above 8.
    """
    powers = [(key, 0) if isinstance(key, int) else tuple(key) for key in terms]
    two = any(not isinstance(key, int) for key in terms)
    if not terms or any(len(pair) != 2 or not all(isinstance(n, int) and 0 <= n <= 8 for n in pair) for pair in powers):
        raise ValueError(f"expected powers from 0 to 8, or pairs of them, each with its coefficient; got {terms!r}")
    numbers = [float(factor) for factor in terms.values()]
    if not all(map(math.isfinite, numbers)):
        raise ValueError(f"expected finite coefficients; got {numbers}")
    listed = tuple((factor, *pair) for factor, pair in zip(numbers, powers, strict=True))
    names = ("a", "b") if two else ("θ",)
    frame = tuple((float(low), float(high)) for low, high in (window or (_WINDOW if two else _LINE)))
    if len(frame) != len(names) or not all(low < high for low, high in frame):
        raise ValueError(f"expected a window (low, high) for each of {len(names)} parameters; got {window!r}")
    begin = tuple(map(float, start)) if start is not None else tuple(low + 0.1 * (high - low) for low, high in frame)
    return _with_lowest(Landscape("own", _written(listed, names), names, frame, begin, 0.01, listed))


def _written(terms: Sequence[tuple[float, int, int]], names: Sequence[str]) -> str:
    raised = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")
    text = ""
    for factor, *powers in terms:
        letters = [
            name + (str(n).translate(raised) if n > 1 else "") for name, n in zip(names, powers, strict=False) if n
        ]
        size = "" if abs(factor) == 1 and letters else number(abs(factor))
        sign = "− " if factor < 0 else "+ " if text else ""
        text += (" " if text else "") + sign + " ".join([size, *letters] if size else letters)
    return text


def _with_lowest(plain: Landscape) -> Landscape:
    """The same with its least loss in the window: the best of a grid, then finer grids around it."""
    frame = list(plain.window)
    best = list(plain.start)
    for _ in range(12):
        ways = [[low + n * (high - low) / 40 for n in range(41)] for low, high in frame]
        spots = [[a] for a in ways[0]] if len(ways) == 1 else [[a, b] for a in ways[0] for b in ways[1]]
        best = min([best, *spots], key=plain.loss)
        frame = [
            (max(low, at - (high - low) / 20), min(high, at + (high - low) / 20)) if low < high else (low, high)
            for at, (low, high) in zip(best, frame, strict=True)
        ]
    lowest = plain.loss(best)
    return Landscape(**{**vars(plain), "lowest": 0.0 if abs(lowest) < 1e-12 else lowest})


def _a_year() -> tuple[list[float], list[float]]:
    draw = _Random(2)
    return list(TEMPERATURES), [round(1 + 2 * x + draw.below(1001) / 1000 - 0.5, 2) for x in TEMPERATURES]


def _fit(name: str, xs: Sequence[float], ys: Sequence[float]) -> Landscape:
    try:
        points = [np.asarray(one, dtype=np.float32).astype(np.float64) for one in (xs, ys)]  # (N,) as the browser has
    except (TypeError, ValueError) as problem:
        raise ValueError("expected two lists of numbers, xs and ys") from problem
    x, y = points
    if x.ndim != 1 or x.shape != y.shape or not 2 <= len(x) <= POINTS:
        raise ValueError(f"expected xs and ys of one length, 2 to {POINTS}; got shapes {x.shape} and {y.shape}")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ValueError("expected finite numbers in xs and ys")
    columns = np.stack([x, np.ones_like(x)][: 1 if name == "slope" else 2], axis=1)  # (N, P)
    best, *_ = np.linalg.lstsq(columns, y, rcond=None)  # (P,)
    spread = (y.std() + abs(y.mean()) / 10 or 1.0) / np.sqrt((columns**2).mean(0) + 1e-30)  # (P,)
    room = np.maximum(np.abs(best), spread)  # (P,)
    window = tuple(
        (_rounded(min(0, at) - 0.5 * wide, 2), _rounded(max(0, at) + 0.7 * wide, 2))
        for at, wide in zip(best, room, strict=True)
    )
    names = ("a", "b")[: len(best)]
    plain = Landscape(
        name,
        f"mean of (a x{' + b' if len(best) == 2 else ''} − y)² over {len(x)} points",
        names,
        window,
        tuple(_rounded(low + 0.1 * (high - low), 2) for low, high in window),
        0.1,
        xs=tuple(x.tolist()),
        ys=tuple(y.tolist()),
    )
    bound = 2 / max(plain.curvatures(best)[0], 1e-30)  # the plain walk on a parabola shrinks below this rate
    steep = math.hypot(*plain.slope(plain.start))
    return Landscape(**{
        **vars(plain),
        "lowest": plain.loss(best.tolist()),
        "tolerance": _rounded(1e-4 * steep, 1) or 1e-4,
        "rate": _rounded(bound / 2, 2),
        "rates": (
            min(1e-4, 10.0 ** math.floor(math.log10(bound / 100))),
            max(10.0, 10.0 ** math.ceil(math.log10(4 * bound))),
        ),
    })  # fmt: skip


def _rounded(value: float, n: int) -> float:
    return float(f"{value:.{n}g}")


# Mini-batches -------------------------------------------------------------------------------------------------------


class _Random:
    """Whole numbers from a seed: xorshift with the shifts 13, 17, 5 on 32 bits (Marsaglia 2003)."""

    def __init__(self, seed: int):
        self.state = (seed + 1) * FACTOR & MASK or 1
        for _ in range(8):
            self.below(1)

    def below(self, n: int) -> int:
        state = self.state
        state ^= state << 13 & MASK
        state ^= state >> 17
        state ^= state << 5 & MASK
        self.state = state
        return state % n


def batches(n: int, size: int, steps: int, seed: int = 0) -> list[list[int]]:
    """`steps` mini-batches: of n rows, `size` different ones, drawn anew for each step; (steps, size), from 0."""
    draw = _Random(seed)
    return [_drawn(draw, n, size) for _ in range(steps)]


def _drawn(draw: _Random, n: int, size: int) -> list[int]:
    rows = list(range(n))
    for at in range(size):
        other = at + draw.below(n - at)
        rows[at], rows[other] = rows[other], rows[at]
    return rows[:size]


# The walk -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Walk:
    """A walk of n steps. Each list has n + 1 entries, for its points from the start on.

    `points`, `losses` (of the whole set) and `slopes` (of the whole loss); `used`, the slope that the step from there
    is made of, which a mini-batch changes; `moves`, what the rate is multiplied by: new point = point − rate × move;
    `parts`, of what the move is made, two for each parameter: with momentum the velocity before and 0, with Adam the
    corrected means of the slopes and of their squares. `outcome`: settled, flat (no slope, but no valley), diverged, or
    walking.
    """

    points: list[list[float]]
    losses: list[float]
    slopes: list[list[float]]
    used: list[list[float]]
    moves: list[list[float]]
    parts: list[list[list[float]]]
    outcome: str

    @property
    def steps(self) -> int:
        return len(self.points) - 1


def walk(
    place: Landscape,
    start: Sequence[float] | None = None,
    *,
    method: str = "plain",
    rate: float | None = None,
    momentum: float = 0.9,
    batch_size: int = 0,
    seed: int = 0,
    steps: int = MOST,
) -> Walk:
    """Walk downhill from `start` (P,), at most `steps` steps, as torch.optim's SGD (momentum) and Adam do.

    The walk ends early where it has settled, that is, before ten points in a row whose whole slope is at most
    `place.tolerance` long (all ten within the 1,009 first); and where it has diverged, more than 1,000 half-widths of
    the window away. `batch_size` 0 takes the whole set. Raises ValueError for a method, rate, momentum or batch size
    that is none, and for a start of another length.
    """
    point = [float(one) for one in (place.start if start is None else start)]
    rate = place.rate if rate is None else rate
    if method not in METHODS:
        raise ValueError(f"expected a method of {METHODS}; got {method!r}")
    if len(point) != len(place.names) or not all(map(math.isfinite, point)):
        raise ValueError(f"expected a start of {len(place.names)} finite numbers; got {point}")
    if not 0 < rate < math.inf or not 0 <= momentum < 1:
        raise ValueError(f"expected a rate above 0 and a momentum from 0 to below 1; got {rate} and {momentum}")
    if not 0 <= batch_size <= len(place.xs):
        raise ValueError(f"expected a batch size from 0 (all) to {len(place.xs)}; got {batch_size}")
    n = len(place.xs)
    draw = _Random(seed)
    keep = momentum if method == "momentum" else 0.0
    first, second = [0.0] * len(point), [0.0] * len(point)  # velocity, or Adam's running means
    shrink = [1.0, 1.0]
    points, losses, slopes, used, moves, parts = [], [], [], [], [], []
    calm, outcome = 0, "walking"
    for _ in range(min(steps, MOST) + FLAT):
        slope, loss = place.slope(point), place.loss(point)
        rows = _drawn(draw, n, batch_size) if 0 < batch_size < n else None
        now = slope if rows is None else place.slope(point, rows)
        if method == "adam":
            shrink = [shrink[0] * BETAS[0], shrink[1] * BETAS[1]]
            first = [BETAS[0] * m + (1 - BETAS[0]) * g for m, g in zip(first, now, strict=True)]
            second = [BETAS[1] * v + (1 - BETAS[1]) * (g * g) for v, g in zip(second, now, strict=True)]
            part = [[m / (1 - shrink[0]), v / (1 - shrink[1])] for m, v in zip(first, second, strict=True)]
            move = [m / (math.sqrt(v) + EPSILON) for m, v in part]
        else:
            part = [[v, 0.0] for v in first]
            move = first = [keep * v + g for v, g in zip(first, now, strict=True)]
        for one, value in zip(
            (points, losses, slopes, used, moves, parts), (point, loss, slope, now, move, part), strict=True
        ):
            one.append(value)
        if not math.isfinite(loss) or any(
            abs(x - (low + high) / 2) > FAR * (high - low) / 2
            for x, (low, high) in zip(point, place.window, strict=True)
        ):
            outcome = "diverged"
            break
        length = math.sqrt(sum(g * g for g in slope))
        calm = calm + 1 if length <= place.tolerance else 0
        if calm == FLAT:
            outcome = "settled"
            break
        point = [x - rate * m for x, m in zip(point, move, strict=True)]
    end = len(points) - (FLAT if outcome == "settled" else 1)
    if end > min(steps, MOST):
        end, outcome = min(steps, MOST), "walking"
    if outcome == "settled" and place.curvatures(points[end])[-1] < -0.01:
        outcome = "flat"
    return Walk(*(one[: end + 1] for one in (points, losses, slopes, used, moves, parts)), outcome)


# The widget ---------------------------------------------------------------------------------------------------------


class Descent(LabWidget):
    """A loss as a curve or a map, and walks downhill on it that start, rate and method decide.

    `landscape` is one of `NAMES`; `xs` and `ys`, (N,) each, N from 2 to 400, make the fits "line" (y = a x + b; what
    shows if no name is given) and "slope" (y = a x) fits of these points; `terms`, with `window`, are a polynomial of
    the reader's, the landscape "own" (see `own_landscape`). `kept` are runs to lay over the picture, dicts with any of
    the traits method, rate, momentum, batch_size, seed, start, step. Read and set from Python:
    - `start`, P numbers; `rate`; `method`, of `METHODS`; `momentum`, from 0 to below 1; `batch_size`, of a fit's points
      (0: all), and `seed`, which draws them;
    - `step`, how many steps are shown, 0 to 1,000 (a walk that settles or diverges before ends there); `kept`.
    Only to be read: `walk`, a `Walk` of the steps shown; `path`, its points (steps + 1, P); `losses` (steps + 1,);
    `outcome`, in words. Another landscape sets start, rate, batch size and kept runs to its own.

    Raises ValueError for points or terms that make no landscape, TraitError for values that a trait cannot have.
    """

    js = "gradients.js"
    landscape = traitlets.Unicode(help="the name of the loss").tag(sync=True)
    start = traitlets.List(traitlets.Float(), help="the parameters at step 0").tag(sync=True)
    rate = traitlets.Float(0.1, help="the learning rate").tag(sync=True)
    method = traitlets.Enum(METHODS, "plain", help="how the slope becomes a step").tag(sync=True)
    momentum = traitlets.Float(0.9, help="the share of the velocity that is kept").tag(sync=True)
    batch_size = traitlets.Int(0, min=0, help="points that a slope is computed from; 0: all").tag(sync=True)
    seed = traitlets.Int(0, min=0, max=999, help="which mini-batches are drawn").tag(sync=True)
    step = traitlets.Int(MOST, min=0, max=MOST, help="how many steps are shown").tag(sync=True)
    kept = traitlets.List(traitlets.Dict(), help="the settings of earlier runs that stay on the picture").tag(sync=True)
    landscapes = traitlets.List(traitlets.Dict(), help="what can be chosen").tag(sync=True)
    xs = Array(help="(N,) float32: the x of the points that are fitted")
    ys = Array(help="(N,) float32: their y")

    def __init__(
        self,
        landscape: str | None = None,
        *,
        xs: Sequence[float] | None = None,
        ys: Sequence[float] | None = None,
        terms: Mapping[int | tuple[int, int], float] | None = None,
        window: Sequence[Sequence[float]] | None = None,
        start: Sequence[float] | None = None,
        rate: float | None = None,
        kept: Sequence[Mapping[str, Any]] | None = None,
        **traits: Any,
    ):
        if (xs is None) != (ys is None):
            raise ValueError("expected both xs and ys, or none of them")
        if landscape is None:
            landscape = "own" if terms is not None else "ravine" if xs is None else "line"
        places = [globals()["landscape"](name, xs=xs, ys=ys) for name in NAMES]
        if terms is not None:
            places.append(own_landscape(terms, window=window, start=start))
        self._places = {place.name: place for place in places}
        place = self._place_of(landscape)
        first_view = landscape == "ravine" and start is rate is kept is None and not traits.keys() & RUN
        if first_view:
            kept = [{"method": "momentum", "momentum": 0.8}]
        points = self._places["line"]
        super().__init__(
            landscapes=[_record(one) for one in places],
            xs=np.array(points.xs, dtype=np.float32),
            ys=np.array(points.ys, dtype=np.float32),
            landscape=landscape,
            start=list(place.start if start is None else map(float, start)),
            rate=place.rate if rate is None else rate,
            **traits,
        )
        self.kept = [{**self._settings(), **run} for run in kept or ()]
        self.observe(self._elsewhere, "landscape")

    # What the traits may be -----------------------------------------------------------------------------------------

    def _place_of(self, name: str) -> Landscape:
        if name not in self._places:
            raise traitlets.TraitError(f"expected a landscape of {', '.join(self._places)}; got {name!r}")
        return self._places[name]

    @traitlets.validate("landscape")
    def _a_landscape(self, proposal: Any) -> str:
        return self._place_of(proposal["value"]).name

    @traitlets.validate("start")
    def _a_start(self, proposal: Any) -> list[float]:
        return self._checked("start", proposal["value"])

    @traitlets.validate("rate", "momentum", "batch_size")
    def _a_setting(self, proposal: Any) -> Any:
        return self._checked(proposal["trait"].name, proposal["value"])

    @traitlets.validate("kept")
    def _runs(self, proposal: Any) -> list[dict[str, Any]]:
        runs = proposal["value"]
        for run in runs:
            if set(run) != RUN or run["method"] not in METHODS or not 0 <= run["step"] <= MOST:
                raise traitlets.TraitError(f"expected runs with {', '.join(sorted(RUN))}; got {run!r}")
            for name in ("start", "rate", "momentum", "batch_size"):
                self._checked(name, run[name])
        return runs[-KEPT:]

    def _checked(self, name: str, value: Any) -> Any:
        place = self._place
        if name == "start":
            right = len(value) == len(place.names) and all(map(math.isfinite, value))
            wanted = f"{len(place.names)} finite numbers"
        elif name == "rate":
            right, wanted = 0 < value < math.inf, "a number above 0"
        elif name == "momentum":
            right, wanted = 0 <= value < 1, "a number from 0 to below 1"
        else:
            right, wanted = 0 <= value <= len(place.xs), f"0 (all) to {len(place.xs)}, the points of {place.name!r}"
        if not right:
            raise traitlets.TraitError(f"expected {name}: {wanted}; got {value}")
        return value

    def _elsewhere(self, change: Any) -> None:
        place = self._place
        with self.hold_sync():
            self.start, self.rate, self.batch_size, self.kept = list(place.start), place.rate, 0, []

    # What follows from them -----------------------------------------------------------------------------------------

    @property
    def _place(self) -> Landscape:
        return self._places[self.landscape]

    def _settings(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in sorted(RUN)}

    def _walked(self, run: Mapping[str, Any]) -> Walk:
        settings = {name: run[name] for name in ("start", "method", "rate", "momentum", "batch_size", "seed")}
        return walk(self._place, **settings, steps=run["step"])

    @property
    def walk(self) -> Walk:
        """The walk of the traits, as many steps as are shown."""
        return self._walked(self._settings())

    @property
    def path(self) -> np.ndarray:
        """The points of the walk from the start on: (steps + 1, P) float64."""
        return np.array(self.walk.points)

    @property
    def losses(self) -> np.ndarray:
        """The loss of the whole set at each point: (steps + 1,) float64."""
        return np.array(self.walk.losses)

    @property
    def outcome(self) -> str:
        """What became of the walk, in words."""
        return self._said(self._settings(), self.walk)

    # As text --------------------------------------------------------------------------------------------------------

    def _named(self, run: Mapping[str, Any]) -> str:
        method = {"plain": "plain", "momentum": f"momentum {number(run['momentum'], 3)}", "adam": "Adam"}[run["method"]]
        n = len(self._place.xs)
        batch = f", {run['batch_size']} of {n} points a step" if 0 < run["batch_size"] < n else ""
        return f"{method}, rate {number(run['rate'], 3)}{batch}"

    def _said(self, run: Mapping[str, Any], walked: Walk) -> str:
        place, n, loss, first = self._place, walked.steps, walked.losses[-1], walked.losses[0]
        after = f"after {_counted(n)}"
        if walked.outcome == "diverged":
            product = run["rate"] * place.curvature
            why = ""
            if run["method"] == "plain" and product > 2:
                why = (
                    f" Rate × steepest curvature is {number(product, 3)}, more than 2: each step lands farther off, "
                    "on the other side."
                )
            return f"diverged {after}: the loss went from {number(first, 3)} to {number(loss, 3)}.{why}"
        if walked.outcome == "flat":
            return (
                f"stopped {after} where the slope is 0 and there is no valley: to the sides the loss falls. "
                "Move the start a little."
            )
        if walked.outcome == "settled":
            local = ""
            if place.terms and loss - place.lowest > 0.01:
                local = f", not the deepest valley: that has {number(place.lowest, 3)}"
            return f"settled {after}, loss {number(loss, 3)}{local}."
        way = "still on the way"
        if loss > first:
            way = "higher than at the start"
        elif run["batch_size"] and run["batch_size"] < len(place.xs):
            way = "moved by the slopes of mini-batches"
        return f"{after}: loss {number(loss, 3)} (at the start {number(first, 3)}), {way}."

    def __repr__(self) -> str:
        return f"Descent({self.landscape!r}: {self._named(self._settings())}: {self.outcome})"

    def tables(self) -> list[Table]:
        """What the picture shows; the browser says the same."""
        place, run, walked = self._place, self._settings(), self.walk
        runs = [("now", run, walked)]
        runs += [(letter, other, self._walked(other)) for letter, other in zip("ABC", self.kept, strict=False)]
        names = list(place.names)
        shown = _some(walked.steps)
        kind = {"plain": "slope", "momentum": "velocity", "adam": "scaled slope"}[run["method"]]
        n = len(place.xs)
        batch = f", slopes of {run['batch_size']} of {n} points" if 0 < run["batch_size"] < n else ""
        tables = [
            Table(
                f"Runs on the loss {place.formula}",
                ["run", "method", "start", "steps", "loss", "outcome"],
                [
                    [
                        letter,
                        self._named(one),
                        ", ".join(map(number, one["start"])),
                        f"{taken.steps:,}",
                        number(taken.losses[-1]),
                        self._said(one, taken),
                    ]
                    for letter, one, taken in runs
                ],
            ),
            Table(
                f"Steps of the run now: new = old − {number(run['rate'])} × {kind}{batch}",
                ["step", *names, "loss", *(f"slope {name}" for name in names), *(f"{kind}: {name}" for name in names)]
                if kind != "slope"
                else ["step", *names, "loss", *(f"slope {name}" for name in names)],
                [
                    [
                        f"{at:,}",
                        *map(number, walked.points[at]),
                        number(walked.losses[at]),
                        *map(number, walked.used[at]),
                        *(map(number, walked.moves[at]) if kind != "slope" else ()),
                    ]
                    for at in shown
                ],
            ),
        ]
        if place.xs:
            a, b = (*walked.points[-1], 0.0)[:2]
            tables.append(
                Table(
                    f"The points and the line after {_counted(walked.steps)}",
                    ["point", "x", "y", "line", "line − y"],
                    [
                        [str(row + 1), number(x), number(y), number(a * x + b), number(a * x + b - y)]
                        for row, (x, y) in enumerate(zip(place.xs, place.ys, strict=True))
                        if row < 30
                    ],
                )
            )
        return tables


RUN = frozenset(("method", "rate", "momentum", "batch_size", "seed", "start", "step"))
_UP = Context(prec=30, rounding=ROUND_HALF_UP)
_RAISED = str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻")


def _counted(n: int) -> str:
    return f"{n:,} step{'' if n == 1 else 's'}"


def _some(steps: int) -> list[int]:
    """The steps that the table shows: all of up to 40; else the first 20, some 20 more, and the last."""
    if steps <= 40:
        return list(range(steps + 1))
    stride = math.ceil(steps / 20)
    return sorted({*range(21), *range(0, steps, stride), steps})


def number(value: float, n: int = 4) -> str:
    """A number with n significant digits and a true minus sign; a power of ten below 0.001 and from 10⁶ on."""
    if not math.isfinite(value):
        return "not a number" if math.isnan(value) else ("−∞" if value < 0 else "∞")
    if value == 0:
        return "0"
    exact = _UP.create_decimal_from_float(abs(value))
    rounded = Context(prec=n, rounding=ROUND_HALF_UP).plus(exact)
    power = rounded.adjusted()
    sign = "−" if value < 0 else ""
    if -3 <= power < 6:
        text = f"{rounded:f}"
        return sign + (text.rstrip("0").rstrip(".") if "." in text else text)
    mantissa = f"{rounded.scaleb(-power):f}"
    return (
        f"{sign}{mantissa.rstrip('0').rstrip('.') if '.' in mantissa else mantissa} × 10{str(power).translate(_RAISED)}"
    )
