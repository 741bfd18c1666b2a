"""`llmlab study NAME`: train the models that a chapter compares, and record what they can do.

Before it starts it says how many runs that takes and how long. A run goes on from where it was left: after Ctrl-C,
after a request to terminate, and after being killed. `--list` trains nothing: it says what is recorded, what is
missing, and what has become stale, because the package now does something else with the same settings.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from pathlib import Path

from .. import data_path
from ..studies import STUDIES, Study
from ..studies.laboratory import TRAINING, Setting
from ..studies.recorded import opened
from ..studies.records import fingerprint, same
from ..studies.running import INTERRUPTED, Run, Runner, minutes_per_run


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which of {', '.join(STUDIES)} (with --list: all)")
    parser.add_argument("--list", action="store_true", help="say what is recorded, missing and stale, and run nothing")
    parser.add_argument("--seeds", type=int, metavar="N", help="run the first N seeds of each study only")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="runs side by side (one for each core)")
    parser.add_argument("--retry", action="store_true", help="try again what has failed")
    parser.add_argument("--again", action="store_true", help="run again what has become stale")
    parser.add_argument("--runs", type=Path, default=Path("runs/studies"), help="of runs on the way (runs/studies)")
    parser.add_argument("--recorded", type=Path, metavar="FOLDER", help="of the records (data/studies)")


def run(arguments: argparse.Namespace) -> int:
    if unknown := sorted(set(arguments.names) - STUDIES.keys()):
        raise ValueError(f"unknown studies {', '.join(unknown)}; expected some of: {', '.join(STUDIES)}")
    if arguments.jobs < 1 or (arguments.seeds is not None and arguments.seeds < 1):
        raise ValueError(f"expected --jobs and --seeds of at least 1, got {arguments.jobs} and {arguments.seeds}")
    recorded = arguments.recorded or data_path("README.md").parent / "studies"
    runner = Runner(recorded, arguments.runs, arguments.jobs)
    if arguments.list:
        for name in arguments.names or STUDIES:
            print("\n".join(standing(runner, STUDIES[name])), flush=True)
        return 0
    if not arguments.names:
        raise ValueError(f"expected the name of a study, or --list; there are {', '.join(STUDIES)}")
    for name in arguments.names:
        study = STUDIES[name]
        for stale_run, why in stale_runs(runner, study):
            if not arguments.again:  # new runs beside old ones would be compared as if nothing had changed
                raise ValueError(f"{stale_run} is stale: {why} changed since; --again runs it, with its other seeds")
            runner.forget(stale_run)
        left = runner.missing(study, retry=arguments.retry, n_seeds=arguments.seeds)
        n_runs = sum(seed in study.seeds[: arguments.seeds] for _, seed in study.runs)
        print(f"{study!r}\n{budget(runner, n_runs, left)}", flush=True)
        if not runner.go(left):
            return INTERRUPTED
        found = opened(study, recorded)
        print(found.table())
        if len(study.settings) > 1:
            print(found.compared())
    return 0


def budget(runner: Runner, n_runs: int, left: list[Run]) -> str:
    """What is still to run of `n_runs`, in runs × minutes; a training counts by its steps × tokens × parameters."""
    each = minutes_per_run(runner)
    usual = _work(Setting())
    whole = each * sum(_work(run.setting) / usual for run in left)
    said = f"{n_runs} runs, {n_runs - len(left)} of them recorded; "
    said += f"{len(left)} to go, at {each:.1f} minutes for a run of {TRAINING.n_steps} steps: {whole:.0f} minutes"
    return f"{said} of training on one core, about {whole / runner.jobs:.0f} with {runner.jobs} side by side"


def _work(setting: Setting) -> float:
    training = setting.training
    return training.n_steps * training.batch_size * training.seq_len * setting.n_parameters


def standing(runner: Runner, study: Study) -> Iterator[str]:
    """What is recorded of a study, a line for each setting."""
    yield f"{study.name}: {study.question}"
    for name in study.settings:
        runs = [Run.of(study, name, seed) for seed in study.seeds_of(name)]
        found = [runner.found(run) for run in runs]
        failed = [run.seed for run, one in zip(runs, found, strict=True) if one and "failed" in one]
        missing = [run.seed for run, one in zip(runs, found, strict=True) if one is None]
        said = [f"{sum(one is not None and 'failed' not in one for one in found)} of {len(runs)} recorded"]
        said += [f"missing: seeds {', '.join(map(str, missing))}"] if missing else []
        said += [f"failed: seeds {', '.join(map(str, failed))}"] if failed else []
        if any(found) and (why := stale(runner, runs[0])):
            said.append(f"STALE: {why} changed since")
        yield f"  {name}: {'; '.join(said)}"


def stale(runner: Runner, run: Run) -> str | None:
    """What has changed since a setting was recorded, in words; None if nothing has."""
    recorded = runner.record(run.study).get("settings", {}).get(run.name)
    return same(recorded, fingerprint(run.setting, run.study.measure))


def stale_runs(runner: Runner, study: Study) -> list[tuple[Run, str]]:
    """The recorded runs of stale settings, and what has changed."""
    found = []
    for name in study.settings:
        recorded = [run for seed in study.seeds_of(name) if runner.found(run := Run.of(study, name, seed))]
        if recorded and (why := stale(runner, recorded[0])):
            found += [(run, why) for run in recorded]
    return found
