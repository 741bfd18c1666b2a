"""`llmlab bench`: the package measured against other implementations, on this machine, in one run.

A figure is a median of runs that alternate between the two sides, because a machine's speed drifts; what is worth
quoting is the ratio of one run, not the seconds.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One comparison: `ours` and `theirs` in `unit`, and the goal that the ratio ours / theirs is held against.

    `goal` is the bound in words, `met` whether this run keeps it (None: no goal, only a figure).
    """

    what: str
    ours: float
    theirs: float
    unit: str
    goal: str = ""
    met: bool | None = None

    def __str__(self) -> str:
        verdict = {True: "met", False: "NOT met", None: ""}[self.met]
        figures = f"{self.ours:>9.3g} {self.theirs:>9.3g} {self.unit:<8} {self.ours / self.theirs:>6.2f}×"
        return f"{self.what:<58} {figures}  {self.goal:<9} {verdict}".rstrip()


def alternate(*functions: Callable[[], object], repeats: int = 5) -> list[float]:
    """The median seconds of each function, run in turns after one unmeasured turn."""
    for function in functions:
        function()
    seconds: list[list[float]] = [[] for _ in functions]
    for _ in range(repeats):
        for function, taken in zip(functions, seconds, strict=True):
            start = time.perf_counter()
            function()
            taken.append(time.perf_counter() - start)
    return [statistics.median(taken) for taken in seconds]
