"""What a learner's function prints while it is judged: the first lines show, so that the verdict stays in sight."""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Iterator
from typing import TextIO

from .look import count

LINES, CHARACTERS = 20, 4000


class FirstLines(io.TextIOBase):
    """Hands the first lines of what is written on to a stream, and counts the lines of the rest."""

    def __init__(self, stream: TextIO):
        self._stream, self._lines, self._characters = stream, LINES, CHARACTERS
        self._is_full, self._left_out = False, 0

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        lines = "" if self._is_full else "".join(text.splitlines(keepends=True)[: self._lines])
        kept = lines[: self._characters]
        self._lines -= kept.count("\n")
        self._characters -= len(kept)
        self._is_full = self._is_full or kept != text
        self._left_out += text.count("\n") - kept.count("\n")
        if kept:
            self._stream.write(kept)
        return len(text)

    def flush(self) -> None:
        self._stream.flush()

    def finish(self) -> None:
        """Say how much was left out, if anything was."""
        if self._is_full:
            more = count(self._left_out, "line")
            self._stream.write(f"\n… the rest of what your function printed is left out: {more}.\n")


@contextlib.contextmanager
def first_lines() -> Iterator[None]:
    """Within it, what is printed is cut after its first lines; at the end a line says how many more there were."""
    printed, told = FirstLines(sys.stdout), FirstLines(sys.stderr)
    try:
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(told):
            yield
    finally:
        printed.finish()
        told.finish()
