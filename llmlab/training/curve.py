"""The curve of a run: what was known after each step, as the dashboard shows it and `training.jsonl` keeps it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

# What a line may hold beside its step, with its unit; `skills` and `samples` are mappings from names.
UNITS = {
    "loss": "nats a token, of the batch, before the step",
    "validation_loss": "nats a token, of texts that the run does not train on",
    "lr": "the learning rate of the step",
    "norm": "the gradient's norm before clipping",
    "tokens_per_second": "tokens a second of the step",
    "seconds": "seconds since the run began",
    "skills": "shares of right answers, from 0 to 1",
    "samples": "what the model writes after each prompt",
}
NUMBERS = tuple(name for name in UNITS if name not in ("skills", "samples"))


@dataclass
class Curve:
    """Lines of a run, each a mapping with its "step", the steps done by then, and any of `UNITS`.

    `n_steps`: the steps of the whole run, where it is known. Steps must increase; ValueError says where they do not,
    and which name is not known.
    """

    name: str
    lines: list[Mapping[str, Any]] = field(default_factory=list)
    n_steps: int | None = None

    def __post_init__(self):
        given, self.lines = self.lines, []
        for line in given:
            self.add(line)

    def add(self, line: Mapping[str, Any]) -> None:
        """Take one more line."""
        step, before = line.get("step"), self.lines[-1]["step"] if self.lines else -1
        if not isinstance(step, int) or step <= before:
            raise ValueError(f"{self.name}: expected a line with a step after {before}, got {step!r}")
        self.lines.append(line)

    def column(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Steps (N,) and values (N,) of one of `NUMBERS`, where a line has it."""
        if name not in NUMBERS:
            raise ValueError(f"unknown column {name!r}; a curve has {', '.join(NUMBERS)}")
        return _columns((line["step"], line[name]) for line in self.lines if line.get(name) is not None)

    def skill(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Steps (N,) and shares of right answers (N,) of a skill, where it was examined."""
        return _columns((line["step"], line["skills"][name]) for line in self.lines if name in line.get("skills", ()))

    @property
    def skills(self) -> tuple[str, ...]:
        """The names of all skills that were examined at some time."""
        return tuple(dict.fromkeys(name for line in self.lines for name in line.get("skills", ())))

    @property
    def samples(self) -> list[tuple[int, dict[str, str]]]:
        """What the model wrote: after which step, and after which prompt."""
        return [(line["step"], dict(line["samples"])) for line in self.lines if line.get("samples")]

    @classmethod
    def read(cls, path: str | Path, name: str | None = None, n_steps: int | None = None) -> Curve:
        """The curve of a file with a JSON object on each line, such as `log.jsonl` and `data/training.jsonl`."""
        path = Path(path)
        lines = map(json.loads, path.read_text(encoding="utf-8").splitlines())
        return cls(path.stem if name is None else name, list(lines), n_steps)


def _columns(rows: Iterable[tuple[int, float]]) -> tuple[np.ndarray, np.ndarray]:
    rows = list(rows)
    return np.array([step for step, _ in rows], dtype=np.int64), np.array(
        [value for _, value in rows], dtype=np.float64
    )
