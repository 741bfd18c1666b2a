"""Tables of a recorded study, and how a mean or a difference is written in one."""

from __future__ import annotations

from collections.abc import Sequence

from .statistics import Difference, Mean


class Table:
    """Rows of text under a head, as text and as Markdown, with a remark below."""

    def __init__(self, head: Sequence[str], rows: Sequence[Sequence[str]], remark: str = ""):
        self.head, self.rows, self.remark = tuple(head), [tuple(row) for row in rows], remark

    def __repr__(self) -> str:
        widths = [max(len(line[column]) for line in (self.head, *self.rows)) for column in range(len(self.head))]
        lines = [
            "  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)).rstrip()
            for line in (self.head, *self.rows)
        ]
        return "\n".join([*lines, *([self.remark] if self.remark else [])])

    def _repr_markdown_(self) -> str:
        lines = [f"| {' | '.join(line)} |" for line in (self.head, ["---"] * len(self.head), *self.rows)]
        return "\n".join([*lines, *(["", self.remark] if self.remark else [])])


def mean_cell(one: Mean, once: bool) -> str:
    """A mean with half of its interval; of what draws nothing and was run once, the figure and that."""
    if once and one.n:
        return f"{_number(one.mean)}, once"
    return f"{_number(one.mean)} ± {_number(one.half)}" if one.n > 1 else "–"


def difference_cell(one: Difference) -> str:
    """A difference with half of its interval and what is found; without an interval nothing is."""
    if one.n < 2:
        return "–"
    figures = f"{_number(one.mean, '+')} ± {_number(one.half)}"
    return f"{figures} {one.verdict}" if one.found else f"{one.verdict} ({figures})"


def _number(x: float, sign: str = "") -> str:
    return f"{x:{sign},.0f}" if abs(x) >= 1000 else f"{x:{sign}.3f}"  # bytes, or all else


def said_range(seeds: Sequence[int]) -> str:
    whole = len(seeds) > 2 and list(seeds) == list(range(seeds[0], seeds[-1] + 1))
    return f"{seeds[0]} to {seeds[-1]}" if whole else ", ".join(map(str, seeds))
