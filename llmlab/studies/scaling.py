"""Scaling laws fitted to a few runs: how the loss falls with the size of a model and with what it reads.

The forms: with a floor, L = E + A / N^a + B / D^b (Hoffmann et al. 2022, equation 2), or without one, E = 0; and a
power law in the work alone, L = K / C^c (Kaplan et al. 2020), or with a floor beside it. N counts the model's numbers
without its table of tokens, D the tokens read, and C = 6·N·D the operations of all but the table. Fitted by least
squares of ln L (Hoffmann et al., appendix D.2, have Huber's loss of it), by Gauss–Newton steps with Levenberg's
damping.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

FORMS = {
    "floor": "L = E + A / N^a + B / D^b",
    "no floor": "L = A / N^a + B / D^b",
    "work, floor": "L = E + K / C^c",
    "work": "L = K / C^c",
}
N_STEPS = 200
LEVEL = 0.95  # of all intervals


def _terms(form: str, n: np.ndarray, d: np.ndarray) -> list[np.ndarray | None]:
    """The logarithms that a form's terms fall with, (P,) each; None for the floor."""
    if form not in FORMS:
        raise ValueError(f"unknown form {form!r}; expected one of: {', '.join(FORMS)}")
    powers = [np.log(6 * n * d)] if form.startswith("work") else [np.log(n), np.log(d)]
    # Measured from their middle, so that a term's size and its exponent can be told apart.
    powers = [power - _middle(form, number) for number, power in enumerate(powers)]
    return [None, *powers] if "no floor" not in form and form != "work" else powers


def _middle(form: str, number: int) -> float:
    return np.log(1e12) if form.startswith("work") else np.log((1e5, 1e6)[number])


@dataclass(frozen=True)
class Fit:
    """A law with its numbers. `sizes`: ln of each term in the middle (N = 1e5, D = 1e6, C = 1e12), the floor's first;
    `exponents`: of each term but the floor."""

    form: str
    sizes: tuple[float, ...]
    exponents: tuple[float, ...]
    residuals: tuple[float, ...] = ()

    @property
    def floor(self) -> float:
        """E, in nats a token; 0 in a form without a floor."""
        return float(np.exp(self.sizes[0])) if len(self.sizes) > len(self.exponents) else 0.0

    @property
    def factors(self) -> tuple[float, ...]:
        """A and B, or K: what a term would be at N = 1, D = 1 or C = 1."""
        sizes = self.sizes[len(self.sizes) - len(self.exponents) :]
        middles = (_middle(self.form, number) for number in range(len(sizes)))
        pairs = zip(sizes, self.exponents, middles, strict=True)
        return tuple(float(np.exp(size + exponent * middle)) for size, exponent, middle in pairs)

    @property
    def error(self) -> float:
        """The root mean square of the residuals of ln L: about the relative error of a loss."""
        return float(np.sqrt(np.mean(np.square(self.residuals)))) if self.residuals else float("nan")

    def __call__(self, n: Any, d: Any) -> np.ndarray:
        """The loss that the law gives, for N (P,) and D (P,) or numbers. -> (P,)."""
        n, d = np.broadcast_arrays(np.asarray(n, dtype=float), np.asarray(d, dtype=float))
        parameters = np.array([[*self.sizes, *self.exponents]])
        return np.exp(_log_loss(self.form, parameters, n.ravel(), d.ravel())[0][0]).reshape(n.shape)

    def to_dict(self) -> dict[str, Any]:
        """Floor, factors and exponents, rounded, with the error of the fit."""
        work = self.form.startswith("work")
        found = {"E": self.floor} if self.floor else {}
        found |= dict(zip(("K",) if work else ("A", "B"), self.factors, strict=True))
        found |= dict(zip(("c",) if work else ("a", "b"), self.exponents, strict=True))
        return {name: float(f"{value:.4g}") for name, value in found.items()} | {"error": float(f"{self.error:.3g}")}


def _log_loss(form: str, parameters: np.ndarray, n: np.ndarray, d: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """ln L (R, P) of R sets of parameters, with its derivatives (R, P, Q). parameters (R, Q), n (P,), d (P,)."""
    terms = _terms(form, n, d)
    sizes, exponents = parameters[:, : len(terms)], parameters[:, len(terms) :]
    falling = [term for term in terms if term is not None]
    logs = np.repeat(sizes[:, None, :], len(n), axis=1)  # (R, P, terms)
    first = len(terms) - len(falling)
    for number, term in enumerate(falling):
        logs[:, :, first + number] -= exponents[:, number, None] * term
    largest = logs.max(-1, keepdims=True)
    total = largest[..., 0] + np.log(np.exp(logs - largest).sum(-1))  # (R, P)
    shares = np.exp(logs - total[..., None])  # (R, P, terms): of each term in the loss, its derivative by ln of it
    slopes = [-shares[:, :, first + number] * term for number, term in enumerate(falling)]
    return total, np.concatenate([shares, np.stack(slopes, -1)], -1)


def _least_squares(form: str, n: np.ndarray, d: np.ndarray, logs: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """For each row of ln L (R, P) and each start (S, Q) the parameters (R, Q) of the smallest sum of squares."""
    n_rows, n_starts = len(logs), len(starts)
    x = np.tile(starts, (n_rows, 1))  # (R·S, Q)
    wanted = np.repeat(logs, n_starts, axis=0)  # (R·S, P)
    damping = np.full(len(x), 1e-2)
    said, slopes = _log_loss(form, x, n, d)
    cost = np.square(said - wanted).sum(-1)
    eye = np.eye(x.shape[1])
    for _ in range(N_STEPS):
        normal = slopes.transpose(0, 2, 1) @ slopes + damping[:, None, None] * eye  # (R·S, Q, Q)
        step = np.linalg.solve(normal, slopes.transpose(0, 2, 1) @ (wanted - said)[..., None])[..., 0]
        tried = x + np.clip(step, -2, 2)
        # A floor far below the loss and an exponent that has left for infinity are the same to the fit: keep both near.
        tried = np.clip(tried, -12, 12)
        new_said, new_slopes = _log_loss(form, tried, n, d)
        new_cost = np.square(new_said - wanted).sum(-1)
        better = new_cost < cost
        x[better], said[better], slopes[better], cost[better] = (
            tried[better], new_said[better], new_slopes[better], new_cost[better],
        )  # fmt: skip
        damping = np.clip(np.where(better, damping / 3, damping * 4), 1e-12, 1e6)
    best = cost.reshape(n_rows, n_starts).argmin(1)
    return x.reshape(n_rows, n_starts, -1)[np.arange(n_rows), best]


def _starts(form: str, logs: np.ndarray, *, many: bool) -> np.ndarray:
    """Parameters to begin from: shares of the floor and exponents."""
    level = logs.mean()
    exponents = (0.1, 0.3, 0.6, 1.0) if many else (0.2, 0.6)
    shares = (0.1, 0.4, 0.7, 0.9) if many else (0.2, 0.7)
    floor = form == "floor" or form == "work, floor"
    n_falling = 1 if form.startswith("work") else 2
    found = []
    for share in shares if floor else (0.0,):
        of_each = np.log((1 - share) / n_falling) + level
        sizes = ([np.log(share) + level] if floor else []) + [of_each] * n_falling
        for one in exponents:
            for other in exponents if n_falling == 2 else (None,):
                found.append([*sizes, one] if other is None else [*sizes, one, other])
    return np.array(found)


def _checked(n: Any, d: Any, losses: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    n, d, losses = (np.asarray(one, dtype=float) for one in (n, d, losses))
    if n.ndim != 1 or n.shape != d.shape or losses.shape[-1:] != n.shape:
        raise ValueError(f"expected n, d and losses of one length, got {n.shape}, {d.shape} and {losses.shape}")
    if not ((n > 0).all() and (d > 0).all() and (losses > 0).all()):
        raise ValueError("expected sizes, budgets and losses above 0")
    return n, d, losses


def fit(form: str, n: Any, d: Any, losses: Any) -> Fit:
    """The law of this form that is nearest to the losses. n, d and losses (P,). Raises ValueError for fewer points than
    the form has numbers."""
    n, d, losses = _checked(n, d, losses)
    logs = np.log(losses)
    starts = _starts(form, logs, many=True)
    if len(n) < starts.shape[1]:
        raise ValueError(f"expected at least {starts.shape[1]} points for {FORMS[form]}, got {len(n)}")
    found = _least_squares(form, n, d, logs[None], starts)
    residuals = logs - _log_loss(form, found, n, d)[0][0]
    return _fit(form, found[0], residuals)


def _fit(form: str, parameters: np.ndarray, residuals: Sequence[float] = ()) -> Fit:
    n_terms = len(_terms(form, np.ones(1), np.ones(1)))
    values = tuple(float(value) for value in parameters)
    return Fit(form, values[:n_terms], values[n_terms:], tuple(float(value) for value in residuals))


def left_out(form: str, n: Any, d: Any, losses: Any) -> np.ndarray:
    """The error of ln L at each point for the law fitted to the others. -> (P,)."""
    n, d, losses = _checked(n, d, losses)
    errors = []
    for number in range(len(n)):
        kept = np.arange(len(n)) != number
        law = fit(form, n[kept], d[kept], losses[kept])
        errors.append(np.log(losses[number]) - np.log(law(n[number], d[number])))
    return np.array(errors)


def resampled(form: str, n: Any, d: Any, runs: Any, *, n_draws: int = 500, seed: int = 0) -> list[Fit]:
    """Laws fitted to the means of runs drawn again, at each point as many as there are, with replacement (the bootstrap
    of Efron 1979). runs (P, S) of S seeds. What lies between them is the chance of seeds, and not that the form is
    wrong; with few seeds it is too narrow, with S by a factor of about √((S − 1) / S)."""
    runs = np.asarray(runs, dtype=float)
    n, d, _ = _checked(n, d, runs.T)
    n_points, n_seeds = runs.shape
    drawn = np.random.default_rng(seed).integers(n_seeds, size=(n_draws, n_points, n_seeds))
    logs = np.log(np.take_along_axis(runs[None], drawn, axis=2).mean(-1))  # (draws, P)
    near = fit(form, n, d, runs.mean(1))
    starts = np.vstack([[*near.sizes, *near.exponents], _starts(form, logs, many=False)])
    return [_fit(form, one) for one in _least_squares(form, n, d, logs, starts)]


def interval(values: Any, level: float = LEVEL) -> tuple[float, float]:
    """The middle `level` of some values, as their quantiles."""
    low, high = np.quantile(np.asarray(values, dtype=float), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


@dataclass(frozen=True)
class Point:
    """A run of a study of sizes and budgets: `n` numbers without the table, `d` tokens, a loss for each seed."""

    setting: str
    n: int
    d: int
    losses: tuple[float, ...]

    @property
    def work(self) -> float:
        """6·N·D operations."""
        return 6.0 * self.n * self.d

    @property
    def loss(self) -> float:
        """The mean over seeds."""
        return float(np.mean(self.losses))


@dataclass(frozen=True)
class Foretold:
    """What a form said of a run, fitted to others: a loss with its interval over their seeds; and the run, `measured`.

    `said` holds the law's numbers, the intervals of its exponents and floor, its error on the runs it was fitted to
    ("error") and on each of these for the law fitted to the others ("left_out"), both of ln L.
    """

    form: str
    loss: float
    low: float
    high: float
    measured: Point
    said: Mapping[str, Any]

    @property
    def miss(self) -> float:
        """What was measured less what was foretold, in nats a token."""
        return self.measured.loss - self.loss

    @property
    def held(self) -> bool:
        """Whether what was measured lies in the interval."""
        return self.low <= self.measured.loss <= self.high


def columns(points: Sequence[Point]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """n (P,), d (P,) and the losses (P, S). Raises ValueError where points have other numbers of seeds."""
    if len({len(point.losses) for point in points}) != 1:
        raise ValueError(f"expected as many losses at each point, got {[len(point.losses) for point in points]}")
    n, d = (np.array([getattr(point, name) for point in points], dtype=float) for name in ("n", "d"))
    return n, d, np.array([point.losses for point in points])


def prediction(points: Sequence[Point], n: int, d: int, *, n_draws: int = 500) -> dict[str, Any]:
    """What each form, fitted to the points, says of another run: its numbers, the loss with the interval over seeds,
    the error at points left out, and the interval of each exponent and of the floor."""
    ns, ds, runs = columns(points)
    found: dict[str, Any] = {}
    for form in FORMS:
        law, draws = fit(form, ns, ds, runs.mean(1)), resampled(form, ns, ds, runs, n_draws=n_draws)
        outside = left_out(form, ns, ds, runs.mean(1))
        names = [name for name in law.to_dict() if name not in ("A", "B", "K", "error")]
        of_draws = [one.to_dict() for one in draws]
        found[form] = {
            **law.to_dict(),
            "left_out": float(f"{np.sqrt(np.mean(outside**2)):.3g}"),
            "intervals": {name: _rounded(interval([one.get(name, 0.0) for one in of_draws])) for name in names},
            "loss": round(float(law(n, d)), 4),
            "interval": _rounded(interval([float(one(n, d)) for one in draws])),
        }
    return found


def _rounded(values: tuple[float, float]) -> list[float]:
    return [float(f"{value:.4g}") for value in values]


def points_of(runs: Sequence[Mapping[str, Any]], sizes: Mapping[str, tuple[int, int]], measure: str) -> list[Point]:
    """The points of a record's runs; `sizes` gives n and d of each setting, and what failed is left out."""
    found = []
    for name, (n, d) in sizes.items():
        of_setting = sorted((run for run in runs if run["setting"] == name), key=lambda run: run["seed"])
        losses = tuple(run["measured"][measure] for run in of_setting if "failed" not in run)
        if losses:
            found.append(Point(name, n, d, losses))
    return found
