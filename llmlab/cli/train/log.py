"""The curve of a run: a JSON line a step."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


class Log:
    """The curve of a run, a JSON line a step; lines after step `keep` belong to a lost stretch and are dropped."""

    def __init__(self, path: Path, *, keep: int):
        self.path = path
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        kept = [line for line in lines if line.endswith("}") and json.loads(line)["step"] <= keep]
        path.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")

    @property
    def seconds(self) -> float:
        """The time spent until its last line, 0 where it is empty."""
        lines = self.path.read_text(encoding="utf-8").splitlines()
        return json.loads(lines[-1])["seconds"] if lines else 0.0

    def write(self, line: dict[str, Any]) -> None:
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def publish(self, path: Path, *, every: int = 10) -> None:
        """Copy the curve, each `every`-th step and every validation, with four digits."""
        lines = [json.loads(line) for line in self.path.read_text(encoding="utf-8").splitlines()]
        kept = [line for line in lines if line["step"] % every == 0 or "skills" in line]
        path.write_text("".join(json.dumps(rounded(line)) + "\n" for line in kept), encoding="utf-8")


def rounded(value: Any) -> Any:
    """The value with every float in it cut to four digits."""
    if isinstance(value, dict):
        return {key: rounded(entry) for key, entry in value.items()}
    return float(f"{value:.4g}") if isinstance(value, float) else value
