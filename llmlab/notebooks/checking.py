"""What is wrong with a notebook as it lies on disk, without running it."""

import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from llmlab.notebooks.form import MAY_RAISE, as_text, normalize, read, record, runs, tags, without_pictures

_HOMES = (
    r"/home/[\w.-]+/",
    r"/Users/[\w.-]+/",
    r"[A-Za-z]:\\+Users\\",
    r"/root/",
    r"/tmp/",
    r"/var/folders/",
)
_ADDRESS = r"\bat 0x[0-9a-fA-F]+|\b0x0*[1-9a-fA-F][0-9a-fA-F]{8,11}\b"


def check_file(path: Path) -> list[str]:
    """All that keeps the notebook `path` from being committed, one line each; empty when it is in order."""
    try:
        nb = read(path)
        nbformat.validate(normalize(nb))
    except (ValueError, nbformat.ValidationError) as error:
        return [f"not a valid notebook: {str(error).splitlines()[0]}"]
    return [*_unexecuted(nb), *_outputs(nb), *_stale(nb), *_unnormalized(nb, path)]


def machine_traces(text: str) -> list[str]:
    """What in `text` belongs to one machine or one run: home and temporary folders, memory addresses."""
    here = [str(Path(folder).resolve()) for folder in (Path.home(), tempfile.gettempdir(), Path(__file__).parents[2])]
    paths = "|".join([*(re.escape(folder) for folder in here if len(folder) > 3), *_HOMES])
    return [match.group() for match in re.finditer(f"(?:{paths})[^\\s\"'<>]*|{_ADDRESS}", without_pictures(text))]


def _code_cells(nb: NotebookNode) -> Iterator[tuple[int, NotebookNode]]:
    return enumerate((cell for cell in nb.cells if cell.cell_type == "code"), 1)


def _unexecuted(nb: NotebookNode) -> Iterator[str]:
    for number, cell in _code_cells(nb):
        if runs(cell) and cell.get("execution_count") is None:
            yield f"code cell {number}: unexecuted"
    counts = [cell.execution_count for _, cell in _code_cells(nb) if cell.get("execution_count") is not None]
    if counts != list(range(1, len(counts) + 1)):
        yield f"not run from top to bottom in one fresh kernel: numbered {', '.join(map(str, counts))}"


def _outputs(nb: NotebookNode) -> Iterator[str]:
    for number, cell in _code_cells(nb):
        for output in cell.get("outputs", []):
            if output.output_type == "error" and MAY_RAISE not in tags(cell):
                yield f"code cell {number}: a saved error, not {MAY_RAISE}: {output.ename}: {output.evalue}"
            if output.get("name") == "stderr":
                yield f"code cell {number}: a message to stderr: {output.text.strip()[:100]!r}"
            for trace in machine_traces(_text(output)):
                yield f"code cell {number}: its output names this machine or run: {trace[:100]!r}"


def _text(output: NotebookNode) -> str:
    values = [output.get("text", ""), output.get("evalue", ""), *output.get("traceback", [])]
    values += [value for mime, value in output.get("data", {}).items() if mime.startswith("text/") or "svg" in mime]
    return "\n".join(value for value in values if isinstance(value, str))


def _stale(nb: NotebookNode) -> Iterator[str]:
    saved = nb.metadata.get("llmlab", {})
    now = record(nb)
    if set(saved) != set(now):
        yield "stale: it holds no record of a run by `llmlab notebooks run`"
    elif saved["code"] != now["code"]:
        yield "stale: its code was edited after it ran"
    elif saved["model"] != now["model"]:
        yield "stale: it ran on another model or tokenizer than the ones in data/"


def _unnormalized(nb: NotebookNode, path: Path) -> Iterator[str]:
    normal = normalize(nb)
    if path.read_bytes() == as_text(normal).encode():
        return
    places = list(_differences(nb, normal))
    places = places or ["the layout of the file (order of keys, indent, line ends, last newline)"]
    more = f" and {len(places) - 4} more" if len(places) > 4 else ""
    yield f"not normalized: {', '.join(places[:4])}{more}"


def _differences(old: object, new: object, place: str = "") -> Iterator[str]:
    """The places where two trees of JSON differ, like `cells[2].metadata.collapsed`."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(old.keys() | new.keys()):
            yield from _differences(old.get(key), new.get(key), f"{place}.{key}".lstrip("."))
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for index, (a, b) in enumerate(zip(old, new, strict=True)):
            yield from _differences(a, b, f"{place}[{index}]")
    elif old != new:
        yield place
