"""What of the course is run in a browser: which notebooks whole, and of the others which cells."""

import ast
import builtins
import re
import symtable
from collections.abc import Iterable

from IPython.core.inputtransformer2 import TransformerManager
from nbformat import NotebookNode

from llmlab.widgets import gallery
from llmlab.widgets.base import LabWidget

WIDGETS = [name for name, value in vars(gallery).items() if isinstance(value, type) and issubclass(value, LabWidget)]
SHOWS_A_WIDGET = re.compile(rf"({'|'.join(WIDGETS)})\(")
ASKS = {"check", "predict", "quiz"}


def run_whole(names: Iterable[str]) -> set[str]:
    """Of notebooks' file names, in which `05b_heads.ipynb` is a sitting of chapter 05, the first of each chapter."""
    first: dict[str, str] = {}
    for name in sorted(names):
        first.setdefault(name[:2], name)
    return set(first.values())


def cells_to_run(nb: NotebookNode) -> list[int]:
    """The indices of a notebook's first code cell and of its widget and exercise cells."""
    code = [index for index, cell in enumerate(nb.cells) if cell.cell_type == "code"]
    return code[:1] + [index for index in code[1:] if _shows_a_widget(nb.cells[index]) or _asks(nb.cells[index])]


def missing_names(nb: NotebookNode) -> dict[int, set[str]]:
    """For each of those cells that could not run without the rest of the notebook, the names that it lacks."""
    known, missing = set(vars(builtins)), {}
    for index in cells_to_run(nb):
        used, bound = _names(symtable.symtable(_python(nb.cells[index]), "cell", "exec"))
        known |= bound
        if used - known:
            missing[index] = used - known
    return missing


def _python(cell: NotebookNode) -> str:
    """The source of a cell with its magics turned into calls."""
    return TransformerManager().transform_cell(cell.source)


def _shows_a_widget(cell: NotebookNode) -> bool:
    return any(SHOWS_A_WIDGET.match(output.get("data", {}).get("text/plain", "")) for output in cell.outputs)


def _asks(cell: NotebookNode) -> bool:
    """Whether the cell asks for an answer; a prediction that is compared with the truth asks no more."""
    calls = [node for node in ast.walk(ast.parse(_python(cell))) if isinstance(node, ast.Call)]
    return any(
        isinstance(call.func, ast.Name)
        and call.func.id in ASKS
        and not any(keyword.arg == "truth" for keyword in call.keywords)
        for call in calls
    )


def _names(table: symtable.SymbolTable) -> tuple[set[str], set[str]]:
    """The global names that a cell uses, in its functions too, and those that it binds."""
    top = table.get_type() == "module"
    used = {s.get_name() for s in table.get_symbols() if s.is_referenced() and (top or s.is_global())}
    bound = {s.get_name() for s in table.get_symbols() if top and (s.is_assigned() or s.is_imported())}
    for child in table.get_children():
        used |= _names(child)[0]
    return used, bound
