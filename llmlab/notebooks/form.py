"""The one form in which a notebook is kept: the file holds what a reader sees, and the same on every run.

A notebook as Jupyter writes it also holds times of execution, identifiers of widgets that no longer exist,
versions of the kernel, paths of the machine. All that makes two runs differ where a reader sees no change.
"""

import copy
import hashlib
import json
import re
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from nbformat import NotebookNode
from nbformat.v4 import nbjson

from llmlab import data_path

KERNELSPEC = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
LANGUAGE_INFO = {"name": "python"}
NEVER_RUN = "nbval-skip"  # tags that nbval reads
MAY_DIFFER = "nbval-ignore-output"
MAY_RAISE = "raises-exception"

_VALID_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")
VIEW = "application/vnd.jupyter.widget-view+json"
_WIDGET = re.compile(r"application/vnd\.jupyter\.widget-(view|state)\+json")
_BASE64 = re.compile(r"base64,[A-Za-z0-9+/=\s]+")
_PATH = re.compile(r"(?:[A-Za-z]:|~)?(?:[\\/][^\s\x1b\"':\\/<>|]+){2,}")
_OUTPUT_KEYS = {
    "stream": ("name", "text"),
    "display_data": ("data", "metadata"),
    "execute_result": ("data", "metadata"),
    "error": ("ename", "evalue", "traceback"),
}


def read(path: Path) -> NotebookNode:
    """The notebook in the file `path`, as it is. Raises ValueError when it is not one of nbformat 4."""
    try:
        nb = nbjson.reads(path.read_text(encoding="utf-8"))
        version = nb.nbformat
        for cell in nb.cells:
            _ = cell.cell_type, cell.metadata, cell.source
    except (json.JSONDecodeError, UnicodeDecodeError, AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: expected a Jupyter notebook (JSON, nbformat 4), cannot read it: {error}") from None
    if version != 4:
        raise ValueError(f"{path}: expected nbformat 4, got {version}")
    return nb


def as_text(nb: NotebookNode) -> str:
    """The text of `nb` as a file: JSON, sorted keys, indent 1, characters as they are, final newline."""
    return nbjson.writes(nb) + "\n"


def normalize(nb: NotebookNode) -> NotebookNode:
    """A copy of `nb` in the one form; normalizing that again changes nothing.

    Kept: sources, attachments, tags, slide types, the command's own record, and outputs without widget views:
    their fallbacks (`text/html`, `image/png`, `text/plain`) stay. Messages to stderr stay too, for the
    author to see. Execution counts become 1..n in the order of the cells; a cell without an id of its own
    gets one from its position.
    """
    nb = copy.deepcopy(nb)
    metadata = {"kernelspec": KERNELSPEC, "language_info": LANGUAGE_INFO}
    if "llmlab" in nb.metadata:
        metadata["llmlab"] = nb.metadata.llmlab
    ids = _unique_ids([cell.get("id") for cell in nb.cells])
    cells, executed = [], 0
    for cell, cell_id in zip(nb.cells, ids, strict=True):
        kept = {
            "cell_type": cell.cell_type,
            "id": cell_id,
            "metadata": _cell_metadata(cell),
            "source": cell.source,
        }
        if cell.cell_type == "code":
            ran = cell.get("execution_count") is not None and bool(cell.source.strip())
            executed += ran
            kept["execution_count"] = executed if ran else None
            kept["outputs"] = list(kept_outputs(cell.get("outputs", []), kept["execution_count"]))
        elif cell.get("attachments"):
            kept["attachments"] = cell.attachments
        cells.append(kept)
    return nbjson.to_notebook({"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5})


def without_pictures(text: str) -> str:
    """A text without the bytes of the pictures in it."""
    return _BASE64.sub("base64,", text)


def tags(cell: NotebookNode) -> list[str]:
    return list(cell.metadata.get("tags", []))


def runs(cell: NotebookNode) -> bool:
    """Whether executing the notebook executes this cell."""
    return cell.cell_type == "code" and bool(cell.source.strip()) and NEVER_RUN not in tags(cell)


def record(nb: NotebookNode) -> dict[str, str]:
    """Digests of what a run is made from, the code and the shipped model: later they tell if it is stale.

    The package is left out: what a change there does to the outputs only a new execution can tell, and the
    tests do execute every notebook.
    """
    code = "\0".join(cell.source for cell in nb.cells if runs(cell))
    model = [_shipped(name) for name in ("model.safetensors", "tokenizer.json")]
    return {"code": _digest(code.encode("utf-8", "surrogatepass")), "model": _digest(*model)}


def _digest(*parts: bytes) -> str:
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]


def _shipped(name: str) -> bytes:
    try:
        content = data_path(name).read_bytes()
    except FileNotFoundError:
        return b""
    return content.replace(b"\r\n", b"\n") if name.endswith(".json") else content  # as git keeps text


def _cell_metadata(cell: NotebookNode) -> dict:
    kept: dict = {"tags": tags(cell)} if tags(cell) else {}
    slide_type = cell.metadata.get("slideshow", {}).get("slide_type")
    if slide_type not in (None, "", "-"):
        kept["slideshow"] = {"slide_type": slide_type}
    return kept


def _unique_ids(ids: list[str | None]) -> list[str]:
    """`ids` with each missing, invalid or repeated one replaced by one made from its position."""
    taken = {cell_id for cell_id in ids if isinstance(cell_id, str)}
    seen: set[str] = set()
    unique = []
    for index, cell_id in enumerate(ids):
        if not isinstance(cell_id, str) or not _VALID_ID.fullmatch(cell_id) or cell_id in seen:
            cell_id, extra = f"cell-{index:02d}", 1
            while cell_id in taken:
                cell_id, extra = f"cell-{index:02d}-{extra}", extra + 1
            taken.add(cell_id)
        seen.add(cell_id)
        unique.append(cell_id)
    return unique


def without_views(output: dict, kept: Collection[str] = ()) -> dict:
    """`output` without the view of a widget, unless the id of its model is in `kept` or nothing else shows the widget.

    A picture, a table or other HTML shows it; the text that every output has does not.
    """
    data = output.get("data", {})
    if VIEW not in data or data[VIEW].get("model_id") in kept or not {"text/html", "image/png"} & set(data):
        return output
    return {**output, "data": _without_widgets(data)}


def _without_widgets(data: dict) -> dict:
    return {mime: value for mime, value in data.items() if not _WIDGET.fullmatch(mime)}


def kept_outputs(outputs: Sequence[NotebookNode], count: int | None = None) -> Iterator[dict]:
    """`outputs` in the one form; `count` is the execution count that results get."""
    stream: dict | None = None
    for output in outputs:
        kept = {"output_type": output.output_type}
        kept |= {key: output[key] for key in _OUTPUT_KEYS.get(output.output_type, ()) if key in output}
        if stream is not None and kept.get("name") != stream["name"]:
            yield stream
            stream = None
        if output.output_type == "stream":
            stream = kept if stream is None else stream | {"text": stream["text"] + kept["text"]}
            continue
        if "data" in kept:
            kept["data"] = _without_widgets(output.data)
            kept["metadata"] = {
                mime: value for mime, value in output.get("metadata", {}).items() if mime in kept["data"]
            }
            if not kept["data"]:
                continue
        if output.output_type == "execute_result":
            kept["execution_count"] = count
        if output.output_type == "error":
            kept["traceback"] = [_PATH.sub(_short_path, line) for line in output.traceback]
        yield kept
    if stream is not None:
        yield stream


def _short_path(match: re.Match) -> str:
    """A path in a traceback without this machine's part of it: `llmlab/rope.py`, `torch/nn/init.py`."""
    parts = re.split(r"[\\/]", match.group())
    roots = [i + 1 for i, part in enumerate(parts) if re.fullmatch(r"(site|dist)-packages|python3\.\d+", part)]
    roots += [i for i, part in enumerate(parts) if part == "llmlab" and i < len(parts) - 1]
    return "/".join(parts[max(roots, default=len(parts) - 1) :])
