"""Running a study: each run in a process of its own, saved on the way, recorded when it ends.

A run lives in `runs/studies/KEY-SEED/`, where KEY stands for all settings and for what the package makes of them:
`state.safetensors` as it goes on, `model.safetensors` when it is trained, and a file with what a study measured of it.
Studies that ask for the same run share it. Each run has one thread, so that its numbers do not depend on how many go
on side by side.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

import torch

from .. import checkpoint, quantization
from ..transformer import Transformer
from . import records
from .definitions import LABORATORY
from .laboratory import Setting
from .study import Study
from .watching import folded

SAVE_EVERY = 100  # steps
CURVE = 10  # points of the loss that are recorded, each the mean of a tenth of the run
INTERRUPTED = 130
_NAMES: dict[str, str] = {}


def home(study: Study, name: str) -> tuple[Study, str]:
    """The study and the setting under which a run is recorded: those of the laboratory where it is the same run."""
    laboratory = LABORATORY.full[LABORATORY.reference]
    if study.full[name] == laboratory and study.measure == LABORATORY.measure:
        return LABORATORY, LABORATORY.reference
    return study, name


@dataclass(frozen=True)
class Run:
    """One setting with one seed, under the study that records it."""

    study: Study
    name: str
    seed: int

    @classmethod
    def of(cls, study: Study, name: str, seed: int) -> Run:
        """The run that a study asks for, wherever it is recorded."""
        return cls(*home(study, name), seed)

    @property
    def setting(self) -> Setting:
        """What is trained."""
        return self.study.full[self.name]

    def __str__(self) -> str:
        return f"{self.study.name}: {self.name}, seed {self.seed}"


@dataclass
class Runner:
    """Runs what is missing of a study. `recorded`: the folder of the records; `runs`: of the runs on the way."""

    recorded: Path
    runs: Path
    jobs: int = field(default_factory=lambda: os.cpu_count() or 1)
    save_every: int = SAVE_EVERY
    say: Callable[[str], None] = print

    def path(self, study: Study) -> Path:
        """The file of a study's record."""
        return self.recorded / f"{study.name}.json"

    def record(self, study: Study) -> records.Record:
        """What is recorded of a study; an empty record where nothing is."""
        path = self.path(study)
        return records.read(path) if path.exists() else records.new_record(study)

    def found(self, run: Run) -> records.Record | None:
        """What is recorded of a run of these settings."""
        return records.run_of(self.record(run.study), run.name, run.seed, run.setting.key)

    def missing(self, study: Study, *, retry: bool = False, n_seeds: int | None = None) -> list[Run]:
        """The runs of a study, or of its first seeds, that are not recorded; with `retry` those that failed as well."""
        wanted = [Run.of(study, name, seed) for name, seed in study.runs if seed in study.seeds[:n_seeds]]
        found = {run: self.found(run) for run in wanted}
        return [run for run in wanted if found[run] is None or (retry and "failed" in found[run])]

    def go(self, left: list[Run]) -> bool:
        """Run all of these, `jobs` at a time. Returns whether they ended; after Ctrl-C, a request to terminate, or
        where a process was killed, the same call goes on from what was saved."""
        left = list(left)
        working: dict[int, tuple[Run, multiprocessing.process.BaseProcess]] = {}
        context = multiprocessing.get_context("spawn")
        whole = True
        with _stopping(lambda: [process for _, process in working.values()]) as stopped:
            while working or (left and not stopped):
                while left and len(working) < self.jobs and not stopped:
                    run = left.pop(0)
                    arguments = run.study, run.name, run.seed, self.runs, self.save_every
                    process = context.Process(target=work, args=arguments)
                    process.start()
                    working[process.sentinel] = run, process
                for sentinel in wait(list(working)):
                    run, process = working.pop(sentinel)
                    process.join()
                    whole &= self._ended(run, process.exitcode)
        return whole and not stopped

    def _ended(self, run: Run, code: int | None) -> bool:
        path = result_file(run, self.runs)
        if code or not path.exists():
            why = "was interrupted" if code == INTERRUPTED else f"ended with code {code}"
            self.say(f"{run}: {why}; the same command goes on from what it saved")
            return False
        result = json.loads(path.read_text(encoding="utf-8"))
        self.keep(run, result)
        said = f"failed: {result['failed']}" if "failed" in result else f"{result['seconds'] / 60:.1f} minutes"
        self.say(f"{run}: {said}")
        return True

    def keep(self, run: Run, result: dict[str, Any]) -> None:
        """Write the result of a run into the record of its study, with the fingerprint of its setting."""
        study, setting = run.study, run.setting
        record = self.record(study)
        order = {name: number for number, name in enumerate(study.settings)}
        line = {"setting": run.name, "seed": run.seed, "key": setting.key, **result}
        kept = [one for one in record["runs"] if (one["setting"], one["seed"]) != (run.name, run.seed)]
        kept = [one for one in kept if one["setting"] in order]
        record["runs"] = sorted([*kept, line], key=lambda one: (order[one["setting"]], one["seed"]))
        settings = {name: one for name, one in record.get("settings", {}).items() if name in order}
        if settings.get(run.name, {}).get("key") != setting.key:
            settings[run.name] = {
                "changes": {**study.base, **study.settings[run.name]},
                "parameters": setting.n_parameters,
                **records.fingerprint(setting, study.measure),
            }
        head = records.new_record(study) | {"versions": records.versions(), "settings": settings}
        made = head | {"runs": record["runs"]}
        if study.foretell is not None and (foretold := record.get("foretold") or study.foretell(made)):
            made["foretold"] = foretold
        records.write(self.path(study), made, study.limit)

    def forget(self, run: Run) -> None:
        """Take a run out of the record."""
        record = self.record(run.study)
        record["runs"] = [one for one in record["runs"] if (one["setting"], one["seed"]) != (run.name, run.seed)]
        record.get("settings", {}).pop(run.name, None)
        if run.name not in run.study.then:
            record.pop("foretold", None)
        records.write(self.path(run.study), record, run.study.limit)


class _stopping:
    """While it is open, Ctrl-C and a request to terminate are passed on to the processes, and noted."""

    def __init__(self, processes: Callable[[], list[multiprocessing.process.BaseProcess]]):
        self.processes, self.received = processes, []

    def __enter__(self) -> list[int]:
        def pass_on(number: int, frame: object) -> None:
            if self.received and number == signal.SIGINT:
                raise KeyboardInterrupt
            self.received.append(number)
            print("\nfinishing the steps in hand, then saving", file=sys.stderr)
            for process in self.processes():
                process.terminate()

        self.before = {number: signal.signal(number, pass_on) for number in (signal.SIGINT, signal.SIGTERM)}
        return self.received

    def __exit__(self, *_: object) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)


# In the process of a run --------------------------------------------------------------------------------------------


def what_it_does(setting: Setting) -> str:
    """A short name for all that decides what a run ends with, but its seed; what is measured is no part of it."""
    if setting.key not in _NAMES:
        today = records.fingerprint(setting)
        _NAMES[setting.key] = hashlib.sha256(json.dumps(today).encode()).hexdigest()[:12]
    return _NAMES[setting.key]


def place(run: Run, runs: Path) -> Path:
    """The folder of a run on the way; a study that watches its runs shares them with no other."""
    watched = f"-{run.study.name}" if run.study.watch else ""
    return runs / f"{what_it_does(run.setting)}-{run.seed}{watched}"


def result_file(run: Run, runs: Path) -> Path:
    """The file in which a run leaves what a study has measured of it."""
    return place(run, runs) / f"{run.study.name}.json"


def work(study: Study, name: str, seed: int, runs: Path, save_every: int) -> None:
    """One run, in this process: train, measure, leave the result in its file; exit 130 where it was stopped.

    A run that raises leaves its reason. Where the process that started it is gone, it saves and stops.
    """
    stop: list[int] = []
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal, it reaches the parent too, which asks to terminate
    signal.signal(signal.SIGTERM, lambda number, frame: stop.append(number))
    torch.set_num_threads(1)
    run = Run(study, name, seed)
    path = result_file(run, runs)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    try:
        made = trained(run, path.parent, save_every, lambda: bool(stop) or _orphaned())
        if made is None:
            sys.exit(INTERRUPTED)
        model, result = made
        start = time.perf_counter()
        measured = study.measure(model, run.setting)
        result |= {"measuring": round(time.perf_counter() - start, 1), "measured": measured}
    except Exception as error:
        result = {"failed": f"{type(error).__name__}: {error}"}
    part = path.with_suffix(".part")
    part.write_text(json.dumps(result), encoding="utf-8")
    os.replace(part, path)


def _orphaned() -> bool:
    parent = multiprocessing.parent_process()
    return parent is not None and not parent.is_alive()


def trained(
    run: Run, folder: Path, save_every: int, stopped: Callable[[], bool] = lambda: False
) -> tuple[Transformer, dict[str, Any]] | None:
    """The model of a run with what is known of its training, trained from where it was left; None if it was stopped."""
    end, state = folder / "model.safetensors", folder / "state.safetensors"
    if end.exists():
        return quantization.open_model(end), checkpoint.load_tensors(end)[1]["result"]
    trainer = run.setting.trainer(run.seed)
    losses: list[float] = []
    lines: list[dict[str, Any]] = []
    watch, before = run.study.watch, 0.0
    if state.exists():
        notes = trainer.resume(state)
        losses, lines, before = notes["losses"], notes.get("lines", []), notes["seconds"]
    start = time.perf_counter() - before
    for step in trainer:
        losses.append(round(step.loss, 4))
        if watch is not None and (line := watch(trainer, run.setting, step)):
            lines.append(line)
        last = trainer.n_done == trainer.config.n_steps
        if trainer.n_done % save_every == 0 or last or stopped():
            seconds = time.perf_counter() - start
            trainer.save(state, losses=losses, seconds=seconds, **({"lines": lines} if lines else {}))
            if not last and stopped():
                return None
    model = run.setting.rounded(trainer.model, run.seed)
    seconds = time.perf_counter() - start if losses or model is not trainer.model else 0.0
    result = {"seconds": round(float(seconds), 1), "curve": curve(losses)}
    if watch is not None:
        result["watched"] = folded(lines)
    (checkpoint if model is trainer.model else quantization).save(model, end, result=result)
    state.unlink(missing_ok=True)
    return model, result


def curve(losses: list[float]) -> list[float]:
    """The mean loss of each tenth of a run, in nats a token; of a run of less than ten steps, every loss."""
    n = min(CURVE, len(losses))
    bounds = [round(part * len(losses) / n) for part in range(n + 1)] if n else []
    return [round(sum(losses[a:b]) / (b - a), 3) for a, b in itertools.pairwise(bounds)]


def minutes_per_run(runner: Runner) -> float:
    """How long a run of the laboratory took here, by its record; five minutes, the most it should, without one."""
    seconds = [run["seconds"] + run["measuring"] for run in runner.record(LABORATORY)["runs"] if "failed" not in run]
    return sum(seconds) / len(seconds) / 60 if seconds else 5.0
