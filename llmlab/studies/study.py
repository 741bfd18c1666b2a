"""What a study is: a question, the settings that are compared, seeds, and what is measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from .laboratory import Setting
from .measures import Examination
from .watching import Watch

LIMIT = 20_000  # bytes of a record


@dataclass(frozen=True, eq=False)
class Study:
    """A question that trained models answer: each setting is trained once for each seed, and then measured.

    `settings` maps names to what they change of the laboratory model; the first one is what the others are compared
    with. `base` is changed in all of them. Runs with equal seeds read the same documents in the same order, and begin
    with the same weights wherever the shapes allow.

    `watch` notes lines of each run's curve on the way. Settings in `then` are run after all others, with seeds of their
    own; what `foretell` makes of the record of the others, before, stands in it too. `limit`: bytes of the record.
    """

    name: str
    question: str
    settings: Mapping[str, Mapping[str, Any]]
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    measure: Callable[..., Any] = field(default_factory=Examination)
    base: Mapping[str, Any] = field(default_factory=dict)
    watch: Watch | None = None
    then: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    foretell: Callable[[Mapping[str, Any]], Mapping[str, Any] | None] | None = None
    limit: int = LIMIT

    def __post_init__(self):
        if not self.settings or not self.seeds:
            raise ValueError(f"expected a study with settings and seeds, got {self.settings!r} and {self.seeds!r}")
        if unknown := sorted(set(self.then) - set(self.settings)):
            raise ValueError(f"expected settings of the study in then, got {', '.join(unknown)}")
        _ = self.full  # an unknown field raises here

    @cached_property
    def full(self) -> dict[str, Setting]:
        """The settings with all that they leave as it is."""
        base = Setting().changed(self.base)
        return {name: base.changed(changes) for name, changes in self.settings.items()}

    @property
    def reference(self) -> str:
        """The setting that the others are compared with."""
        return next(iter(self.settings))

    @property
    def runs(self) -> list[tuple[str, int]]:
        """Every setting with its seeds, seed by seed, so that what is done first can be compared first."""
        first = [name for name in self.settings if name not in self.then]
        runs = [(name, seed) for seed in self.seeds for name in first if seed in self.seeds_of(name)]
        return runs + [(name, seed) for name, seeds in self.then.items() for seed in seeds]

    def seeds_of(self, name: str) -> tuple[int, ...]:
        """The seeds that a setting is run with: the first only where all would do the same, since nothing is trained
        and nothing is drawn."""
        return self.seeds[:1] if self.trains_nothing(name) else self.then.get(name, self.seeds)

    def trains_nothing(self, name: str) -> bool:
        """Whether every seed ends with the same model, a shipped one as it is, with the means of its heads, or rounded
        by a method that draws nothing."""
        setting = self.full[name]
        drawn = setting.convert == "drawn" or (setting.rounds is not None and setting.rounds.draws)
        return setting.start != "drawn" and not drawn and not setting.training.n_steps

    def __repr__(self) -> str:
        lines = [f"study {self.name!r}: {self.question}"]
        if self.base:
            lines.append(f"  all settings: {_said(self.base)}")
        width = max(map(len, self.settings))
        for name, changes in self.settings.items():
            setting = self.full[name]
            as_it_is = "the laboratory model as it is" if setting.start == "drawn" else "as it is"
            lines.append(f"  {name:<{width}}  {_said(changes) or as_it_is}, {setting.n_parameters:,} parameters")
        lines.append(f"  seeds {', '.join(map(str, self.seeds))}")
        return "\n".join(lines)


def _said(changes: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in changes.items())
