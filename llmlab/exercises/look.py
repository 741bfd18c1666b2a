"""How the exercises answer: one list of parts, shown as HTML in a notebook and as plain text elsewhere."""

from __future__ import annotations

import io
import keyword
import tokenize
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from ..widgets.base import FOLDER
from ..widgets.quiz import LETTERS, rich

SYMBOLS = {"right": "✓", "wrong": "✗", "crashed": "✗", "not attempted": "○", "": ""}
STYLE = f"<style>{' '.join((FOLDER / 'answer.css').read_text(encoding='utf-8').partition('*/')[2].split())}</style>"


@dataclass(frozen=True)
class Text:
    """A paragraph; what stands between backticks is code."""

    text: str

    def plain(self) -> str:
        return self.text

    def html(self) -> str:
        return f"<p>{rich(self.text)}</p>"

    def record(self) -> dict[str, Any]:
        """The same for JavaScript: a kind and its texts."""
        return {"kind": type(self).__name__.lower(), "text": self.text}


@dataclass(frozen=True)
class Aside(Text):
    """A quieter paragraph."""

    def html(self) -> str:
        return f'<p class="llmlab-aside">{rich(self.text)}</p>'


@dataclass(frozen=True)
class Code:
    """Lines of Python, as they are."""

    source: str
    highlighted: bool = False

    def plain(self) -> str:
        return "\n".join(f"    {line}".rstrip() for line in self.source.splitlines())

    def html(self) -> str:
        source = self.source.strip("\n")
        return f"<pre><code>{highlight(source) if self.highlighted else escape(source)}</code></pre>"

    def record(self) -> dict[str, Any]:
        source = self.source.strip("\n")
        return {"kind": "code", "marked": marked(source) if self.highlighted else [["", source]]}


@dataclass(frozen=True)
class Grid:
    """A table of texts."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]

    def plain(self) -> str:
        widths = [max(map(len, column)) for column in zip(self.columns, *self.rows, strict=True)]
        lines = [self.columns, ["-" * width for width in widths], *self.rows]
        return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)

    def html(self) -> str:
        head = "".join(f"<th>{escape(cell)}</th>" for cell in self.columns)
        body = "".join(
            '<tr class="llmlab-line">' + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>"
            for row in self.rows
        )
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


class Answer:
    """What a call shows: "label: text" and more parts. `status` is "" where nothing is judged."""

    def __init__(self, label: str, text: str, *parts: Text | Code | Grid, status: str = ""):
        self.label, self.text, self.parts, self.status = label, text, parts, status

    @property
    def passed(self) -> bool:
        """Whether the answer was right."""
        return self.status == "right"

    def __repr__(self) -> str:
        joint = ": " if self.label and self.text else ""
        first = f"{SYMBOLS[self.status]} {self.label}{joint}{self.text}".strip()
        return "\n".join([first, *(part.plain() for part in self.parts)])

    def html(self) -> str:
        """The same as HTML, with its own style; every text is escaped."""
        mark = f'<span aria-hidden="true">{SYMBOLS[self.status]} </span>' if self.status else ""
        label = f"<b>{mark}{rich(self.label)}{':' if self.label and self.text else ''}</b>"
        kind = f" llmlab-{self.status.replace(' ', '-')}" if self.status else ""
        body = "".join(part.html() for part in self.parts)
        return f'{STYLE}<div class="llmlab-answer{kind}"><p>{label} {rich(self.text)}</p>{body}</div>'

    def record(self) -> dict[str, Any]:
        """The same for JavaScript."""
        parts = [part.record() for part in self.parts if not isinstance(part, Grid)]
        mark = SYMBOLS[self.status]
        return {"status": self.status, "mark": mark, "label": self.label, "text": self.text, "parts": parts}

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, str]:
        return {"text/html": self.html(), "text/plain": repr(self)}


def lettered(options: Sequence[str]) -> list[str]:
    """Options as lines: "a) …"."""
    return [f"{LETTERS[index]}) {option}" for index, option in enumerate(options)]


def count(number: int, noun: str) -> str:
    """ "1 hint", "2 hints", "20,000 lines"."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def measure(value: Any, unit: str = "") -> str:
    """A number for reading: whole ones in full, others with three digits; then the unit."""
    whole = abs(value) < 1e15 and (isinstance(value, int) or abs(value) >= 999.5)
    return f"{value:,.0f} {unit}".strip() if whole else f"{value:.3g} {unit}".strip()


def highlight(source: str) -> str:
    """Python source as HTML, with keywords, texts and comments marked."""
    spans = ((kind, escape(text)) for kind, text in marked(source))
    return "".join(f'<span class="llmlab-{kind}">{text}</span>' if kind else text for kind, text in spans)


def marked(source: str) -> list[list[str]]:
    """Python source in pieces, [kind, text]: a keyword, string, comment, or "" for the rest."""
    starts = [0]  # where each line begins
    for line in source.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    out, done = [], 0

    def mark(kind: str, start: int, end: int) -> None:
        nonlocal done
        out.extend((["", source[done:start]], [kind, source[start:end]]))
        done = end

    open_texts: list[int] = []  # from Python 3.12 on, an f-string comes in several tokens
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        start, end = (starts[row - 1] + column if row <= len(starts) else len(source) for row, column in token[2:4])
        name = tokenize.tok_name[token.type]
        if name == "FSTRING_START":
            open_texts.append(start)
        elif name == "FSTRING_END":
            if len(open_texts) == 1:
                mark("string", open_texts[0], end)
            open_texts.pop()
        elif open_texts:
            continue
        elif name == "STRING":
            mark("string", start, end)
        elif name == "COMMENT":
            mark("comment", start, end)
        elif name == "NAME" and keyword.iskeyword(token.string):
            mark("keyword", start, end)
    return [piece for piece in (*out, ["", source[done:]]) if piece[1]]
