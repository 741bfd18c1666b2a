"""Means and paired differences of a few runs, with t-intervals (Student 1908)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

LEVEL = 0.95  # of all intervals
NOTHING_FOUND = "no difference found"


def t_probability(t: float, df: int) -> float:
    """P(|T| ≤ t) of Student's t with `df` degrees of freedom, as a finite sum (Abramowitz and Stegun 1964, 26.7.3–4).

    Raises ValueError for a negative t and for df below 1.
    """
    if not t >= 0 or df < 1:
        raise ValueError(f"expected t of at least 0 and df of at least 1, got {t} and {df}")
    angle = math.atan(t / math.sqrt(df))
    cosine, sine = math.cos(angle), math.sin(angle)
    term = total = 0.0
    if df % 2:
        for power in range(1, df - 1, 2):  # cos θ + 2/3 cos³ θ + 2·4/(3·5) cos⁵ θ + …
            term = cosine if power == 1 else term * cosine**2 * (power - 1) / power
            total += term
        return 2 / math.pi * (angle + sine * total)
    for power in range(0, df - 1, 2):  # 1 + 1/2 cos² θ + 1·3/(2·4) cos⁴ θ + …
        term = 1.0 if power == 0 else term * cosine**2 * (power - 1) / power
        total += term
    return sine * total


def t_quantile(df: int, level: float = LEVEL) -> float:
    """The t that |T| does not exceed with probability `level`: 12.7, 4.30, 3.18, 2.78 for df = 1, 2, 3, 4 at 0.95.

    Raises ValueError for df below 1 and for a level that is not between 0 and 1.
    """
    if not 0 < level < 1:
        raise ValueError(f"expected a level between 0 and 1, got {level}")
    low, high = 0.0, 1.0
    while t_probability(high, df) < level:
        low, high = high, 2 * high
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if t_probability(middle, df) < level else (low, middle)
    return (low + high) / 2


@dataclass(frozen=True)
class Mean:
    """The mean of some runs with its interval, which is as wide as the line where there is only one run."""

    values: tuple[float, ...]

    @property
    def n(self) -> int:
        """How many runs."""
        return len(self.values)

    @property
    def mean(self) -> float:
        """Their mean; NaN without any."""
        return math.fsum(self.values) / self.n if self.n else math.nan

    @property
    def sd(self) -> float:
        """Their standard deviation, with n − 1 below; NaN for less than two."""
        if self.n < 2:
            return math.nan
        return math.sqrt(math.fsum((value - self.mean) ** 2 for value in self.values) / (self.n - 1))

    @property
    def half(self) -> float:
        """Half of the width of the 95 % interval of the mean: t·sd / √n; infinite for less than two runs."""
        return math.inf if self.n < 2 else t_quantile(self.n - 1) * self.sd / math.sqrt(self.n)

    @property
    def low(self) -> float:
        """The interval's lower end."""
        return self.mean - self.half

    @property
    def high(self) -> float:
        """The interval's upper end."""
        return self.mean + self.half


@dataclass(frozen=True)
class Difference(Mean):
    """Differences of pairs of runs that share a seed, or of pairs of parts: one setting less another, for one measure.

    `wider`: half of an interval of another kind of chance, that of the seeds where the values are of parts.
    """

    setting: str = ""
    to: str = ""
    measure: str = ""
    wider: float = 0.0

    @property
    def half(self) -> float:
        """Half of the width of the 95 % interval: t·sd / √n, and at a right angle to it `wider`."""
        return math.hypot(super().half, self.wider)

    @property
    def found(self) -> bool:
        """Whether the interval leaves out 0. Runs that all agree to the last digit have no difference."""
        return self.n > 1 and (self.low > 0 or self.high < 0)

    @property
    def verdict(self) -> str:
        """ "higher", "lower" or "no difference found"."""
        if not self.found:
            return NOTHING_FOUND
        return "higher" if self.mean > 0 else "lower"

    def __str__(self) -> str:
        spread = f" ({self.low:+.3f} to {self.high:+.3f}, n={self.n})" if self.n > 1 else f" (n={self.n})"
        return f"{self.mean:+.3f}{spread}: {self.verdict}"


def paired(
    these: dict[int, float], those: dict[int, float], *, setting: str = "", to: str = "", measure: str = ""
) -> Difference:
    """`these` less `those`, seed by seed, over the seeds that both have."""
    seeds = sorted(these.keys() & those.keys())
    return Difference(tuple(these[seed] - those[seed] for seed in seeds), setting=setting, to=to, measure=measure)


def by_luck(differences: Sequence[Difference]) -> float:
    """How many of these comparisons would be found to differ if nothing did: 5 % of them."""
    return (1 - LEVEL) * len(differences)
