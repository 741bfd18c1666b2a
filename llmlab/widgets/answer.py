"""`HelpfulAnswer`: what a check found, with buttons that show a hint or the solution below it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, Protocol

import traitlets

from .base import LabWidget, Table


class AnswerLike(Protocol):
    """What a check, a hint or a solution says: as HTML, and as a record of plain values for JavaScript."""

    status: str

    def html(self) -> str: ...

    def record(self) -> dict[str, Any]: ...


class HelpfulAnswer(LabWidget):
    """An answer that is not right yet. `status` is "wrong", "crashed" or "not attempted"; `passed` is False.

    Read and set from Python: `asked`, the kinds of help that were asked for, "hint" or "solution", in order; what came
    is in `shown`, as records of answers.
    """

    js = "answer.js"
    answer = traitlets.Dict(help="the answer: status, mark, label, text, parts").tag(sync=True)
    asked = traitlets.List(traitlets.Enum(["hint", "solution"]), help="the help that was asked for").tag(sync=True)
    shown = traitlets.List(traitlets.Dict(), help="the help that came, each like `answer`").tag(sync=True)

    def __init__(self, answer: AnswerLike, ask: Callable[[Literal["hint", "solution"]], AnswerLike]):
        """`ask` gives the help of a kind."""
        self._own, self._ask, self.status = answer, ask, answer.status
        super().__init__(answer=answer.record())
        self.observe(self._help, "asked")

    passed = False

    def _help(self, change: Any) -> None:
        def ask() -> None:
            for kind in self.asked[len(self.shown) :]:
                self.shown = [*self.shown, self._ask(kind).record()]

        self._attempt(ask)

    def __repr__(self) -> str:
        return repr(self._own)

    def tables(self) -> list[Table]:
        """The kinds of help that were asked for."""
        return [Table(repr(self._own), ["help"], [[kind] for kind in self.asked])]

    def fallback_html(self) -> str:
        """The answer alone."""
        return self._own.html()
