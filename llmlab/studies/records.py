"""The file of a study, `data/studies/NAME.json`: what was run, with which versions, and what came out of it."""

from __future__ import annotations

import contextlib
import json
import os
import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from .laboratory import Setting
from .study import LIMIT, Study

VERSIONED = ("llmlab", "torch", "numpy")
PROBED_STEPS = 3

Record = dict[str, Any]


def new_record(study: Study) -> Record:
    """The record of a study of which nothing has run."""
    said = {"study": study.name, "question": study.question, "command": f"llmlab study {study.name}"}
    return said | {"laboratory": Setting().to_dict(), "measure": repr(study.measure), "runs": []}


def read(path: Path) -> Record:
    """The record in a file. Raises ValueError that names the file where it is damaged."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        if not all(isinstance(one, dict) and {"setting", "seed", "key"} <= one.keys() for one in record["runs"]):
            raise ValueError("a run lacks its setting, seed or key")
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is not the record of a study ({error}); restore it, or run the study again") from None
    return record


def write(path: Path, record: Record, limit: int = LIMIT) -> None:
    """Write a record, a line for each run, atomically. Raises ValueError, and writes nothing, above `limit` bytes."""
    head = {name: value for name, value in record.items() if name != "runs"}
    runs = ",\n".join("  " + _compact(run) for run in record["runs"])
    text = "{\n" + "".join(f" {json.dumps(name)}: {_compact(value)},\n" for name, value in head.items())
    text += f' "runs": [\n{runs}\n ]\n}}\n'
    if len(text.encode()) > limit:
        raise ValueError(f"the record of {record['study']!r} has {len(text.encode())} bytes, expected at most {limit}")
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        part.write_text(text, encoding="utf-8")
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def _compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def versions() -> dict[str, str]:
    """The versions of what a run's numbers depend on."""
    found = {"python": platform.python_version(), "processor": torch.backends.cpu.get_cpu_capability()}
    for name in VERSIONED:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def fingerprint(setting: Setting, measure: Any = None) -> Record:
    """What this package does with a setting today: the sums of its first and last documents, the losses of its first
    steps with seed 0, what its rounding makes of a small model, and a checksum of what is asked at the end. It takes a
    second.

    A change of the package that leaves all of them as they are does not make a record stale; one that shows only later
    in a run, or only in other seeds, is missed.
    """
    batches, n = setting.batches(0), setting.training.n_steps
    read = [int(batches(step).tokens.sum()) for step in sorted({0, n // 2, max(n - 1, 0)})]
    losses = []
    with contextlib.suppress(FloatingPointError):  # a setting may diverge: its run will tell
        for step in islice(setting.trainer(0), min(PROBED_STEPS, n)):
            losses.append(float(f"{step.loss:.5g}"))
    if setting.rounds is not None:
        losses.append(float(f"{setting.rounds.probe:.5g}"))
    asked = {} if measure is None else {"asked": measure.checksum(setting)}
    return {"key": setting.key, "read": read, "losses": losses, **asked}


def same(recorded: Mapping[str, Any] | None, today: Mapping[str, Any]) -> str | None:
    """What differs between two fingerprints, in words; None if nothing does. Losses may differ by rounding."""
    if recorded is None:
        return "no fingerprint"
    for name, said in (("key", "its settings"), ("read", "what it reads"), ("asked", "what is asked at the end")):
        if recorded.get(name) != today[name]:
            return said
    pairs = zip(recorded.get("losses", ()), today["losses"], strict=False)
    if any(abs(one - other) > 1e-3 * abs(other) for one, other in pairs):
        return "its first losses"
    return None


def run_of(record: Record, setting: str, seed: int, key: str) -> Record | None:
    """The record of one run, if there is one with these settings."""
    return next(
        (run for run in record["runs"] if (run["setting"], run["seed"], run["key"]) == (setting, seed, key)), None
    )
