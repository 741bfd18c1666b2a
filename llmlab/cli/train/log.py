"""The curve of a run: a JSON line a step."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ...checkpoint.files import replacing


class Log:
    """The curve of a run, a JSON line a step; lines after step `keep` belong to a lost stretch and are dropped."""

    def __init__(self, path: Path, *, keep: int):
        self.path = path
        self._replace(path, [line for line in self._lines() if line["step"] <= keep])

    @property
    def seconds(self) -> float:
        """The time spent until its last line, 0 where it is empty."""
        lines = self._lines()
        return lines[-1].get("seconds", 0.0) if lines else 0.0

    def write(self, line: dict[str, Any]) -> None:
        try:
            with open(self.path, "a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
        except OSError as error:
            raise OSError(f"could not add to {self.path}: {error.strerror}") from error

    def publish(self, path: Path, *, every: int = 10) -> None:
        """Copy the curve, each `every`-th step and every validation, with four digits."""
        kept = [line for line in self._lines() if line["step"] % every == 0 or "skills" in line]
        self._replace(path, [rounded(line) for line in kept])

    def _lines(self) -> list[dict[str, Any]]:
        """The whole lines; one that was torn when the disk was full or the power went is left out."""
        if not self.path.exists():
            return []
        texts = self.path.read_text(encoding="utf-8", errors="replace").splitlines()
        return [line for line in map(_read, texts) if line is not None]

    @staticmethod
    def _replace(path: Path, lines: list[dict[str, Any]]) -> None:
        with replacing(path) as part:
            part.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def _read(text: str) -> dict[str, Any] | None:
    try:
        line = json.loads(text)
    except json.JSONDecodeError:
        return None
    return line if isinstance(line, dict) and isinstance(line.get("step"), int) else None


def rounded(value: Any) -> Any:
    """The value with every float in it cut to four digits."""
    if isinstance(value, dict):
        return {key: rounded(entry) for key, entry in value.items()}
    return float(f"{value:.4g}") if isinstance(value, float) else value
