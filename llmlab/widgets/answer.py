"""`HelpfulAnswer`: what a check found, with buttons that show a hint or the solution below it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import traitlets

from .base import LabWidget, Table


class HelpfulAnswer(LabWidget):
    """An answer that is not right yet. `status` is "wrong", "crashed" or "not attempted"; `passed` is False.

    Read and set from Python: `asked`, the kinds of help that were asked for, "hint" or "solution", in order; the texts
    that came are in `shown`, as HTML in which everything is escaped.
    """

    js = "answer.js"
    html = traitlets.Unicode(read_only=True, help="the answer").tag(sync=True)
    asked = traitlets.List(traitlets.Enum(["hint", "solution"]), help="the help that was asked for").tag(sync=True)
    shown = traitlets.List(traitlets.Unicode(), help="the help that came").tag(sync=True)

    def __init__(self, html: str, text: str, status: str, ask: Callable[[Literal["hint", "solution"]], str]):
        """`ask` gives the help of a kind as HTML; `text` is the answer without HTML, which is the widget's repr."""
        self._text, self.status, self._ask = text, status, ask
        super().__init__()
        self.set_trait("html", html)
        self.observe(self._help, "asked")

    passed = False

    def _help(self, change: Any) -> None:
        def ask() -> None:
            for kind in self.asked[len(self.shown) :]:
                self.shown = [*self.shown, self._ask(kind)]

        self._attempt(ask)

    def __repr__(self) -> str:
        return self._text

    def tables(self) -> list[Table]:
        """The kinds of help that were asked for."""
        return [Table(self._text, ["help"], [[kind] for kind in self.asked])]

    def fallback_html(self) -> str:
        """The answer alone."""
        return self.html
