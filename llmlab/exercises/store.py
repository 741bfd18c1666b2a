"""The learner's progress, one JSON file in their home.

The file is replaced as a whole and never changed in place, so that a crash leaves the old one or the new one. Whoever
writes holds a lock, reads what is there, adds its change, and writes: two notebooks at once lose nothing. The system
releases the lock when a process ends, however it ends. A file that cannot be read as progress is set aside. Where
nothing can be written, changes are kept for this session, and written when that becomes possible.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

VERSION = 1
PARTS = ("exercises", "questions", "predictions")
Progress = dict[str, Any]
Change = Callable[[Progress], None]


def home() -> Path:
    """The folder of the learner's progress: `$LLMLAB_HOME`, else `.llmlab` in the user's home."""
    named = os.environ.get("LLMLAB_HOME")
    return Path(named).expanduser() if named else Path(os.path.expanduser("~")) / ".llmlab"


@functools.cache
def store_in(folder: Path) -> Store:
    """The one store of a folder in this process: it keeps what could not be written."""
    return Store(folder)


def entry(progress: Progress, part: str, id: str) -> dict[str, Any]:
    """What is recorded of one exercise, question or prediction; a new empty record if there is none."""
    found = progress[part].setdefault(id, {})
    if not isinstance(found, dict):
        found = progress[part][id] = {}
    return found


def number(record: dict[str, Any], name: str) -> int:
    """A count in a record; 0 where there is none, or something else."""
    value = record.get(name, 0)
    return value if isinstance(value, int) else 0


class Store:
    """Progress in one folder. `update` and `read` never raise for trouble with the disk; they say it in a note."""

    def __init__(self, folder: str | Path, *, patience: float = 3.0):
        """`patience`: seconds to wait for another notebook that is writing."""
        self.folder, self.path = Path(folder), Path(folder) / "progress.json"
        self.patience = patience
        self._unsaved: list[Change] = []

    def read(self) -> tuple[Progress, str]:
        """What is recorded, and a note in one line ("" when all is well)."""
        return self._work([])

    def update(self, change: Change) -> tuple[Progress, str]:
        """Apply a change to what is recorded and write it. The change may be applied more than once to fresh copies."""
        return self._work([change])

    def _work(self, changes: list[Change]) -> tuple[Progress, str]:
        todo = [*self._unsaved, *changes]
        progress, note = empty(), ""
        if not todo and not self.path.exists():
            return progress, note
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with self._lock():
                progress, note = self._load()
                for change in todo:
                    change(progress)
                if todo:
                    self._write(progress)
            self._unsaved = []
        except (OSError, NewerVersion) as problem:
            self._unsaved = todo
            reason = str(problem) if isinstance(problem, NewerVersion) else problem.strerror or type(problem).__name__
            note = f"Progress is kept for this session only; cannot write {self.path}: {reason}."
            progress = self._load_without_lock()
            for change in todo:
                change(progress)
        return progress, note

    def _load(self) -> tuple[Progress, str]:
        """What is in the file, under the lock. A damaged file is renamed, so that nothing of it is lost."""
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            return empty(), ""
        try:
            return parse(content), ""
        except ValueError:
            taken = {path.name for path in self.folder.iterdir()}
            number = next(n for n in range(1, len(taken) + 2) if f"progress.damaged-{n}.json" not in taken)
            aside = self.path.with_name(f"progress.damaged-{number}.json")
            os.replace(self.path, aside)
            return empty(), f"The record of your progress could not be read. It was set aside as {aside.name}."

    def _load_without_lock(self) -> Progress:
        try:
            return parse(self.path.read_bytes())
        except (OSError, ValueError, NewerVersion):
            return empty()

    def _write(self, progress: Progress) -> None:
        handle, temporary = tempfile.mkstemp(dir=self.folder, prefix=".progress-", suffix=".json")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump(progress, file, indent=1, sort_keys=True)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, self.path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise

    @contextlib.contextmanager
    def _lock(self) -> Iterator[None]:
        with open(self.folder / "progress.lock", "ab") as file:
            end = time.monotonic() + self.patience
            while not _try_lock(file.fileno()):
                if time.monotonic() > end:
                    raise TimeoutError(0, "another notebook is writing and does not finish")
                time.sleep(0.01)
            yield  # closing the file releases the lock


class NewerVersion(Exception):
    """The file was written by a later version of the course; it is left as it is."""


def empty() -> Progress:
    """Progress of someone who begins."""
    return {"version": VERSION, **{part: {} for part in PARTS}}


def parse(content: bytes) -> Progress:
    """The progress in a file's bytes. Raises ValueError for what is none, NewerVersion for a format to come."""
    try:
        progress = json.loads(content)
    except RecursionError:
        raise ValueError("not a record of progress") from None
    version = progress.get("version") if isinstance(progress, dict) else None
    if isinstance(version, int) and version > VERSION:
        raise NewerVersion(f"it has format {version}, this course writes {VERSION}")
    if version != VERSION or not all(isinstance(progress.get(part, {}), dict) for part in PARTS):
        raise ValueError("not a record of progress")
    return empty() | progress


def _try_lock(handle: int) -> bool:
    """Whether this process now holds the lock. File systems without locks are treated as locked: writes stay atomic."""
    try:
        if os.name == "nt":
            import msvcrt

            os.lseek(handle, 0, os.SEEK_SET)
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:
        return True
    return True
