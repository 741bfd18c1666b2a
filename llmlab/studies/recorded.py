"""A recorded study, opened: its runs as tables, paired differences and a plot."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from .. import data_path, plots, world
from ..training import Curve
from . import records, scaling
from .definitions import STUDIES, numbers_and_tokens
from .measures import LOSS, NATS, SPREAD, measures
from .running import Run
from .statistics import LEVEL, Difference, Mean, by_luck, paired
from .study import Study
from .watching import letters, unfolded

Runs = dict[str, dict[int, dict[str, float]]]  # setting → seed → measure → value
Counts = dict[str, dict[int, dict[str, world.Score]]]


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


@dataclass(frozen=True)
class Recorded:
    """What was recorded of a study. `failed`: the runs that did not end, each with its reason."""

    study: Study
    record: records.Record
    runs: Runs
    failed: tuple[tuple[str, int, str], ...] = ()
    minutes: float = field(default=0.0)
    counts: Counts = field(default_factory=dict)

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

    def difference(self, setting: str, measure: str, *, to: str | None = None) -> Difference:
        """A setting less another (the study's first one), paired by seed."""
        to = self.study.reference if to is None else to
        these, those = self.values(setting, measure), self.values(to, measure)
        return paired(these, those, setting=setting, to=to, measure=measure)

    def differences(self, measures: Iterable[str] | None = None, *, to: str | None = None) -> list[Difference]:
        """Every other setting less one, for each measure (all shares of right answers, and what else was measured)."""
        to = self.study.reference if to is None else to
        others = [setting for setting in self.study.settings if setting != to]
        names = self._chosen(measures)
        return [self.difference(setting, measure, to=to) for setting in others for measure in names]

    def _chosen(self, measures: Iterable[str] | None) -> list[str]:
        if measures is not None:
            return [measures] if isinstance(measures, str) else list(measures)
        return [name for name in self.measures if not name.endswith(NATS) and name != SPREAD]

    def table(self, measures: Iterable[str] | None = None) -> Table:
        """Settings across, measures down: the mean over seeds and the half width of its 95 % interval."""
        settings = list(self.study.settings)
        rows = []
        for measure in self._chosen(measures):
            means = (self.mean(setting, measure) for setting in settings)
            rows.append([measure, *(f"{one.mean:.3f} ± {one.half:.3f}" if one.n > 1 else "–" for one in means)])
        return Table(["", *settings], rows, self._remark())

    def compared(self, measures: Iterable[str] | None = None, *, to: str | None = None) -> Table:
        """Each other setting less one, measure by measure: the mean of the pairs with half of its 95 % interval where
        this leaves out 0, and otherwise that no difference was found."""
        to = self.study.reference if to is None else to
        names, found = self._chosen(measures), self.differences(measures, to=to)
        others = list(dict.fromkeys(one.setting for one in found))
        cells = {(one.setting, one.measure): one for one in found}
        rows = [[measure, *(_cell(cells[setting, measure]) for setting in others)] for measure in names]
        said = f"Each less {to}, paired by seed; mean ± half of the {LEVEL:.0%} interval. Of {len(found)} comparisons "
        return Table(["", *others], rows, f"{said}about {by_luck(found):.2g} would be found to differ by luck alone.")

    def _remark(self) -> str:
        seeds = sorted({seed for of_setting in self.runs.values() for seed in of_setting})
        n_runs = sum(seed in self.study.seeds_of(name) for name, of in self.runs.items() for seed in of)
        said = f"Recorded, not run here: {n_runs} runs, seeds {_range(seeds)}, "
        said += f"{self.minutes:.0f} minutes on one core in all; mean ± half of the {LEVEL:.0%} interval."
        for setting, seed, reason in self.failed:
            said += f" Failed: {setting}, seed {seed} ({reason})."
        return said

    def plot(self, measures: Sequence[str], *, to: str | None = None) -> plots.Shown:
        """Differences to one setting, a panel for each measure: every seed as a dot, the mean with its interval."""
        import matplotlib.pyplot as plt

        to = self.study.reference if to is None else to
        others = [setting for setting in self.study.settings if setting != to]
        plots.style()
        figure, axes = plt.subplots(
            1, len(measures), sharey=True, squeeze=False, figsize=(plots.WIDTH, 1.0 + 0.45 * len(others))
        )
        said = []
        for axis, measure in zip(axes[0], measures, strict=True):
            axis.axvline(0, color=plots.COLORS["masked"], linewidth=1)
            for row, setting in enumerate(others):
                one = self.difference(setting, measure, to=to)
                color = plots.COLORS["query"] if one.found else plots.COLORS["masked"]
                axis.plot(one.values, [row + 0.25] * one.n, "o", color=color, markersize=4, markeredgewidth=0)
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


def _cell(one: Difference) -> str:
    if one.n < 2:
        return "–"
    figures = f"{one.mean:+.3f} ± {one.half:.3f}"
    return f"{figures} {one.verdict}" if one.found else f"{one.verdict} ({figures})"


def _range(seeds: Sequence[int]) -> str:
    whole = len(seeds) > 2 and list(seeds) == list(range(seeds[0], seeds[-1] + 1))
    return f"{seeds[0]} to {seeds[-1]}" if whole else ", ".join(map(str, seeds))


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
            counts[setting][each] = {
                name: world.Score(*one[:2]) for name, one in found["measured"].items() if isinstance(one, list)
            }
        minutes += (found["seconds"] + found["measuring"]) / 60
    if not any(runs.values()):
        raise FileNotFoundError(f"nothing is recorded of the study {study.name!r}; `llmlab study {study.name}` runs it")
    return Recorded(study, files.get(study.name, {}), runs, tuple(failed), minutes, counts)
