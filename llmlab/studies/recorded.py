"""A recorded study, opened: its runs as tables, paired differences and a plot."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice

from .. import data_path, plots, world
from ..training import Curve
from . import records, scaling
from .definitions import STUDIES, numbers_and_tokens
from .measures import LOSS, NATS, SPREAD, measures, one_by_one, score
from .running import Run
from .statistics import LEVEL, Difference, Mean, by_luck, paired
from .study import Study
from .tables import Table, difference_cell, mean_cell, said_range
from .watching import letters, unfolded

Runs = dict[str, dict[int, dict[str, float]]]  # setting → seed → measure → value
Counts = dict[str, dict[int, dict[str, world.Score]]]
Parts = dict[str, dict[int, dict[str, list[float]]]]
OVER = ("seeds", "parts", "both")


@dataclass(frozen=True)
class Recorded:
    """What was recorded of a study. `failed`: the runs that did not end, each with its reason."""

    study: Study
    record: records.Record
    runs: Runs
    failed: tuple[tuple[str, int, str], ...] = ()
    minutes: float = field(default=0.0)
    counts: Counts = field(default_factory=dict)
    parts: Parts = field(default_factory=dict)

    @cached_property
    def causes(self) -> dict[str, str]:
        """What is behind the names of `watched`: "run A" and so on to the setting."""
        return letters(self.study.settings)

    @cached_property
    def watched(self) -> dict[str, Curve]:
        """The curves of the runs of the first seed, under names that tell nothing ("run A"); `causes` has the settings.
        Raises ValueError for a study that watched no run."""
        if self.study.watch is None:
            raise ValueError(f"the study {self.study.name!r} watched no run")
        seed = self.study.seeds[0]
        found = {run["setting"]: run for run in self.record["runs"] if run["seed"] == seed and "watched" in run}
        steps = {name: self.study.full[name].training.n_steps for name in found}
        return {
            letter: unfolded(found[name]["watched"], letter, steps[name])
            for letter, name in self.causes.items()
            if name in found
        }

    @cached_property
    def points(self) -> list[scaling.Point]:
        """Size, tokens and losses of each setting but those that came last, for `scaling.fit`."""
        return self._points([name for name in self.study.settings if name not in self.study.then])

    @cached_property
    def foretold(self) -> dict[str, scaling.Foretold]:
        """What each form of a scaling law, fitted to `points` alone, said of the run that came last, with what was then
        measured. Raises ValueError for a study that foretells nothing."""
        if "foretold" not in self.record:
            raise ValueError(f"the study {self.study.name!r} foretells nothing")
        (last,) = self._points(self.study.then)
        return {
            form: scaling.Foretold(form, said["loss"], *said["interval"], last, said)
            for form, said in self.record["foretold"].items()
        }

    def _points(self, settings: Iterable[str]) -> list[scaling.Point]:
        sizes = numbers_and_tokens(self.study)
        return [scaling.Point(name, *sizes[name], tuple(self.values(name, LOSS).values())) for name in settings]

    @cached_property
    def measures(self) -> tuple[str, ...]:
        """The names of what was measured; a skill's name means the share of right answers."""
        names = (name for of_setting in self.runs.values() for values in of_setting.values() for name in values)
        return tuple(dict.fromkeys(names))

    def values(self, setting: str, measure: str) -> dict[int, float]:
        """The figure of each seed. Raises ValueError for a setting or a measure that the study does not have."""
        for what, name, known in (("setting", setting, self.study.settings), ("measure", measure, self.measures)):
            if name not in known:
                raise ValueError(f"unknown {what} {name!r}; the study {self.study.name!r} has {', '.join(known)}")
        return {seed: values[measure] for seed, values in self.runs[setting].items() if measure in values}

    def score(self, setting: str, *measures: str, seed: int | None = None) -> world.Score:
        """Right answers among those asked, of one or several measures together, with Wilson's interval: of one seed (by
        default the first). Other seeds were asked the same. Raises ValueError for what is no count or not recorded."""
        found = self.counts.get(setting, {})
        seed = next(iter(found), 0) if seed is None else seed
        of_run = found.get(seed, {})
        if unknown := [name for name in measures if name not in of_run]:
            raise ValueError(f"no counts of {', '.join(unknown)} in {setting!r}; there are {', '.join(of_run)}")
        chosen = [of_run[name] for name in measures]
        return world.Score(sum(one.correct for one in chosen), sum(one.total for one in chosen))

    def mean(self, setting: str, measure: str) -> Mean:
        """The mean over seeds, with its interval."""
        return Mean(tuple(self.values(setting, measure).values()))

    def each(self, setting: str, measure: str, *, seed: int | None = None) -> list[float]:
        """What was measured in parts, part by part: 1 for each right answer and 0 for a wrong one, or the loss of each
        row of text. Of one seed, or the mean over seeds. Other settings were asked the same, in the same order.

        Raises ValueError for what was measured as a whole only, and for a seed that is not recorded.
        """
        found = {one: parts[measure] for one, parts in self.parts.get(setting, {}).items() if measure in parts}
        if not found or (seed is not None and seed not in found):
            of = setting if seed is None else f"{setting!r} with seed {seed}"
            raise ValueError(f"no parts of {measure!r} are recorded of {of}")
        chosen = list(found.values()) if seed is None else [found[seed]]
        return [math.fsum(parts) / len(chosen) for parts in zip(*chosen, strict=True)]

    def difference(self, setting: str, measure: str, *, to: str | None = None, over: str = "seeds") -> Difference:
        """A setting less another (the study's first one), paired by seed, or by the `parts` of what was measured.

        Over seeds the interval says what other draws of a run could have given, over parts what other texts or
        questions could have: there each part is a mean over seeds, and parts that belong together are one. Over both it
        is as wide as the two at a right angle. What draws nothing is run once, and has no interval over seeds.
        """
        to = self.study.reference if to is None else to
        if over not in OVER:
            raise ValueError(f"expected over to be one of {', '.join(OVER)}; got {over!r}")
        named = {"setting": setting, "to": to, "measure": measure}
        these, those = self.values(setting, measure), self.values(to, measure)
        once = self._once(setting) and self._once(to)
        of_seeds = paired(dict(islice(these.items(), 1)) if once else these, those, **named)
        if over == "seeds":
            return of_seeds
        size = getattr(self.study.measure, "together", {}).get(measure, 1)
        pairs = zip(self.each(setting, measure), self.each(to, measure), strict=True)
        apart = [one - other for one, other in pairs]
        parts = tuple(math.fsum(part) / size for part in zip(*[iter(apart)] * size, strict=True))
        return Difference(parts, **named, wider=of_seeds.half if over == "both" and not once else 0.0)

    def differences(
        self,
        measures: Iterable[str] | None = None,
        *,
        to: str | None = None,
        settings: Iterable[str] | None = None,
        over: str = "seeds",
    ) -> list[Difference]:
        """Every other setting less one, for each measure (all shares of right answers, and what else was measured).
        `settings`: only these; `over` as of `difference`."""
        to = self.study.reference if to is None else to
        others = [setting for setting in settings or self.study.settings if setting != to]
        names = self._chosen(measures)
        return [self.difference(setting, measure, to=to, over=over) for setting in others for measure in names]

    def _chosen(self, measures: Iterable[str] | None) -> list[str]:
        if measures is not None:
            return [measures] if isinstance(measures, str) else list(measures)
        return [name for name in self.measures if not name.endswith(NATS) and name != SPREAD]

    def _once(self, setting: str) -> bool:
        return len(self.study.seeds_of(setting)) == 1 < len(self.study.seeds)

    def table(self, measures: Iterable[str] | None = None, *, settings: Iterable[str] | None = None) -> Table:
        """Settings across, measures down: the mean over seeds and the half width of its 95 % interval."""
        settings = list(settings or self.study.settings)
        rows = []
        for measure in self._chosen(measures):
            means = ((self.mean(setting, measure), self._once(setting)) for setting in settings)
            rows.append([measure, *(mean_cell(one, once) for one, once in means)])
        return Table(["", *settings], rows, self._remark())

    def compared(
        self,
        measures: Iterable[str] | None = None,
        *,
        to: str | None = None,
        settings: Iterable[str] | None = None,
        over: str = "seeds",
    ) -> Table:
        """Each other setting less one, measure by measure: the mean of the pairs with half of its 95 % interval where
        this leaves out 0, and otherwise that no difference was found. Arguments of `differences`."""
        to = self.study.reference if to is None else to
        names, found = self._chosen(measures), self.differences(measures, to=to, settings=settings, over=over)
        others = list(dict.fromkeys(one.setting for one in found))
        cells = {(one.setting, one.measure): one for one in found}
        rows = [[measure, *(difference_cell(cells[setting, measure]) for setting in others)] for measure in names]
        pairs = (
            "paired by seed"
            if over == "seeds"
            else f"paired by what was asked or read{' and by seed' * (over == 'both')}"
        )
        said = f"Each less {to}, {pairs}; mean ± half of the {LEVEL:.0%} interval. Of {len(found)} comparisons "
        return Table(["", *others], rows, f"{said}about {by_luck(found):.2g} would be found to differ by luck alone.")

    def _remark(self) -> str:
        seeds = sorted({seed for of_setting in self.runs.values() for seed in of_setting})
        n_runs = sum(seed in self.study.seeds_of(name) for name, of in self.runs.items() for seed in of)
        said = f"Recorded, not run here: {n_runs} runs, seeds {said_range(seeds)}, "
        said += f"{self.minutes:.0f} minutes on one core in all; mean ± half of the {LEVEL:.0%} interval."
        for setting, seed, reason in self.failed:
            said += f" Failed: {setting}, seed {seed} ({reason})."
        return said

    def plot(
        self,
        measures: Sequence[str],
        *,
        to: str | None = None,
        settings: Iterable[str] | None = None,
        over: str = "seeds",
    ) -> plots.Shown:
        """Differences to one setting, a panel for each measure: every seed as a dot, the mean with its interval.
        Arguments of `differences`; seeds are dots whatever the interval is over."""
        import matplotlib.pyplot as plt

        to = self.study.reference if to is None else to
        others = [setting for setting in settings or self.study.settings if setting != to]
        plots.style()
        figure, axes = plt.subplots(
            1, len(measures), sharey=True, squeeze=False, figsize=(plots.WIDTH, 1.0 + 0.45 * len(others))
        )
        said = []
        for axis, measure in zip(axes[0], measures, strict=True):
            axis.axvline(0, color=plots.COLORS["masked"], linewidth=1)
            for row, setting in enumerate(others):
                one = self.difference(setting, measure, to=to, over=over)
                dots = self.difference(setting, measure, to=to)
                color = plots.COLORS["query"] if one.found else plots.COLORS["masked"]
                axis.plot(dots.values, [row + 0.25] * dots.n, "o", color=color, markersize=4, markeredgewidth=0)
                if one.n > 1:
                    axis.plot([one.low, one.high], [row, row], color=color, linewidth=2)
                    axis.plot(one.mean, row, "|", color=color, markersize=12, markeredgewidth=2)
                said.append(f"{setting}, {measure}: {one}")
            axis.set_title(measure, fontsize=11, fontweight="normal")
            axis.set_yticks(range(len(others)), others)
            axis.set_ylim(len(others) - 0.5, -0.5)
            axis.set_xlabel(f"less {to}")
        return plots.show(
            figure, f"Paired differences to {to}, mean and {LEVEL:.0%} interval. " + "; ".join(said) + "."
        )

    def __repr__(self) -> str:
        return f"{self.study!r}\n\n{self.table()!r}"

    def _repr_markdown_(self) -> str:
        return f"**{self.study.name}**: {self.study.question}\n\n{self.table()._repr_markdown_()}"


def load(name: str) -> Recorded:
    """The recorded study of that name, with the shared runs of the laboratory model that it compares with.

    Raises ValueError for a name that no study has, FileNotFoundError where nothing of it is recorded.
    """
    if name not in STUDIES:
        raise ValueError(f"unknown study {name!r}; expected one of: {', '.join(STUDIES)}")
    return opened(STUDIES[name], data_path("studies"))


def opened(study: Study, folder) -> Recorded:
    """A study with the runs that the records of a folder hold of it. Raises FileNotFoundError where there is none."""
    files: dict[str, records.Record] = {}
    runs: Runs = {setting: {} for setting in study.settings}
    counts: Counts = {setting: {} for setting in study.settings}
    parts: Parts = {setting: {} for setting in study.settings}
    failed, minutes = [], 0.0
    for setting, seed in study.runs:
        run = Run.of(study, setting, seed)
        path = folder / f"{run.study.name}.json"
        if run.study.name not in files and path.exists():
            files[run.study.name] = records.read(path)
        record = files.get(run.study.name)
        found = record and records.run_of(record, run.name, seed, run.setting.key)
        if not found:
            continue
        if "failed" in found:
            failed.append((setting, seed, found["failed"]))
            continue
        once = study.trains_nothing(setting)  # then every seed ends with the same
        for each in study.seeds if once else (seed,):
            runs[setting][each] = measures(found["measured"])
            scores = {name: score(one) for name, one in found["measured"].items()}
            counts[setting][each] = {name: one for name, one in scores.items() if one is not None}
            apart = {name: one_by_one(one) for name, one in found["measured"].items()}
            parts[setting][each] = {name: one for name, one in apart.items() if one}
        minutes += (found["seconds"] + found["measuring"]) / 60
    if not any(runs.values()):
        raise FileNotFoundError(f"nothing is recorded of the study {study.name!r}; `llmlab study {study.name}` runs it")
    return Recorded(study, files.get(study.name, {}), runs, tuple(failed), minutes, counts, parts)
