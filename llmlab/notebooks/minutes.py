"""How long a notebook takes, counted: words / 60 + lines of code / 8, as newcomers needed for the first three.

Exercises, questions and predictions have minutes of their own. A heading that says *(deeper)* opens a section that is
counted apart, up to the next heading of its level or above.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from nbformat import NotebookNode

from llmlab.exercises import catalog

WORDS, LINES = 60, 8  # a minute
_HEADING = re.compile(r"^(#+)\s+(.*)$", re.MULTILINE)
_ASKS = {"check", "quiz", "predict", "progress", "hint", "solution"}


def counted(nb: NotebookNode) -> tuple[float, float]:
    """The minutes to read and run a notebook: its core, and its deeper sections."""
    spent, level = [0.0, 0.0], 0  # `level` of the deeper section that is open
    for cell in nb.cells:
        if cell.cell_type == "markdown":
            for hashes, title in _HEADING.findall(cell.source):
                if "deeper" in title.lower():
                    level = level or len(hashes)
                elif len(hashes) <= level:
                    level = 0
            spent[bool(level)] += len(re.findall(r"\w+", cell.source)) / WORDS
        elif cell.cell_type == "code" and not asks(cell.source):
            lines = (line for line in cell.source.splitlines() if line.strip() and not line.lstrip().startswith("#"))
            spent[bool(level)] += sum(1 for _ in lines) / LINES
    return spent[0], spent[1]


def asks(source: str) -> bool:
    """Whether a code cell only asks something: a function to write or mend with its check, a question, a prediction."""
    asked = 0
    for statement in ast.parse(source).body:
        if isinstance(statement, ast.Expr) and _called(statement.value) in _ASKS:
            asked += 1
        elif not isinstance(statement, (ast.FunctionDef, ast.Import, ast.ImportFrom)):
            return False
    return asked > 0


def exercises(nb: NotebookNode) -> tuple[int, int]:
    """The minutes of the exercises that a notebook checks: those that belong to it, and the optional ones."""
    spent = [0, 0]
    for id in checked(nb):
        exercise = catalog.find("exercise", id)
        spent[exercise.optional] += exercise.minutes
    return spent[0], spent[1]


def checked(nb: NotebookNode) -> Iterator[str]:
    """The ids of the exercises that a notebook checks, in their order."""
    for cell in nb.cells:
        if cell.cell_type == "code" and "check(" in cell.source:
            for statement in ast.parse(cell.source).body:
                if isinstance(statement, ast.Expr) and _called(statement.value) == "check":
                    yield statement.value.args[0].value


def _called(expression: ast.expr) -> str | None:
    named = isinstance(expression, ast.Call) and isinstance(expression.func, ast.Name)
    return expression.func.id if named else None
