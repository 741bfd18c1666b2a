"""Executing one notebook: a fresh kernel of this Python, network off, one thread, a whole file or none."""

import copy
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import ipykernel.kernelspec
import nbformat
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat import NotebookNode

from llmlab.notebooks.form import MAY_DIFFER, NEVER_RUN, as_text, normalize, read, record, tags
from llmlab.offline import kernel_environment

MAX_SECONDS = 60
MAX_BYTES = 2 * 1024**3


class RunError(Exception):
    """A notebook that does not run to its end; the message names the cell and shows source and traceback."""


@dataclass(frozen=True)
class Run:
    """One finished run. `peak_bytes`: the most memory the kernel held, 0 where it cannot be known."""

    cells: int
    seconds: float
    peak_bytes: int
    changed: bool

    def line(self) -> str:
        text = f"{self.cells:>3} cells {self.seconds:6.1f} s {self.peak_bytes / 1024**2:6.0f} MiB  "
        text += "written" if self.changed else "unchanged"
        if self.seconds > MAX_SECONDS:
            text += f"  WARNING: over {MAX_SECONDS} s"
        if self.peak_bytes > MAX_BYTES:
            text += f"  WARNING: over {MAX_BYTES // 1024**3} GiB"
        return text


def run_file(path: Path, *, timeout: float = 150) -> Run:
    """Executes the notebook `path` and writes it in normal form, only when that changes the file.

    When nothing has changed but outputs tagged as never the same twice (durations), the file stays as it is.
    Raises RunError when a cell fails or takes longer than `timeout` seconds, and leaves the file as it was.
    """
    before = path.read_bytes()
    old = read(path)
    nb, seconds, peak = execute(old, folder=path.parent, name=path.name, timeout=timeout)
    nb.metadata["llmlab"] = record(nb)
    new, old = normalize(nb), normalize(old)
    nbformat.validate(new)
    text = as_text(old if _without_exempt(new) == _without_exempt(old) else new).encode()
    if text != before:
        if path.read_bytes() != before:
            raise RunError(f"{path}: changed while it ran; nothing is written, run it again")
        _write(path, text)
    executed = sum(cell.get("execution_count") is not None for cell in new.cells)
    return Run(executed, seconds, peak, text != before)


def execute(
    nb: NotebookNode,
    *,
    folder: Path,
    name: str,
    timeout: float,
    environment: Callable[[str], dict[str, str]] = kernel_environment,
) -> tuple[NotebookNode, float, int]:
    """A copy of `nb` with the outputs of a fresh kernel, the seconds it took, and the kernel's peak bytes.

    `environment` makes the kernel's environment variables from the path of an empty folder.
    """
    nb = copy.deepcopy(nb)
    for cell in nb.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    client = NotebookClient(
        nb,
        km=AsyncKernelManager(kernel_name="python3", kernel_spec_manager=_ThisPython()),
        timeout=timeout,
        record_timing=False,
        store_widget_state=False,
        skip_cells_with_tag=NEVER_RUN,
        resources={"metadata": {"path": str(folder)}},
    )
    start = time.perf_counter()
    with (
        tempfile.TemporaryDirectory(prefix="llmlab-kernel-", ignore_cleanup_errors=True) as scratch,
        tempfile.TemporaryFile() as messages,  # what the process says; what cells say is in outputs
    ):
        try:
            with client.setup_kernel(env=environment(scratch), stderr=messages, cleanup_kc=True):
                for index in range(len(nb.cells)):
                    _execute_cell(client, index, name)
                peak = _peak_bytes(client.km.provisioner.pid)
        except RuntimeError as error:  # it did not start, or died
            messages.seek(0)
            said = messages.read().decode(errors="replace")
            raise RunError(f"{name}, {error}\n{said}") from None
    return nb, time.perf_counter() - start, peak


def _execute_cell(client: NotebookClient, index: int, name: str) -> None:
    cell = client.nb.cells[index]
    try:
        client.execute_cell(cell, index, execution_count=client.code_cells_executed + 1)
        return
    except CellTimeoutError:
        reason = f"It ran longer than {client.timeout:g} s."
    except DeadKernelError as error:
        raise RuntimeError(_failure(client.nb, index, f"{error}. Was there too little memory?")) from None
    except CellExecutionError as error:
        lines = [line for output in cell.outputs for line in output.get("traceback", [])]
        reason = "\n".join(lines) or str(error)
    raise RunError(f"{name}, {_failure(client.nb, index, reason)}")


class _ThisPython(KernelSpecManager):
    """Whatever kernel a notebook names, it runs on this interpreter, as under `--nbval-current-env`."""

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        return KernelSpec(resource_dir=ipykernel.kernelspec.RESOURCES, **ipykernel.kernelspec.get_kernel_dict())


def _failure(nb: NotebookNode, index: int, reason: str) -> str:
    number = sum(cell.cell_type == "code" for cell in nb.cells[: index + 1])
    source = "\n".join(f"    {line}" for line in nb.cells[index].source.splitlines())
    if not sys.stderr.isatty():
        reason = re.sub(r"\x1b\[[0-9;]*m", "", reason)
    return f"code cell {number} (cell {index + 1} of {len(nb.cells)}):\n{source}\n\n{reason}"


def _without_exempt(nb: NotebookNode) -> str:
    """The text of `nb` without the outputs of cells whose output is allowed to differ."""
    nb = copy.deepcopy(nb)
    for cell in nb.cells:
        if cell.cell_type == "code" and MAY_DIFFER in tags(cell):
            cell.outputs = []
    return as_text(nb)


def _peak_bytes(pid: int) -> int:
    """The most memory that process `pid` has held so far (on macOS: holds now), 0 when nobody says."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        return int(re.search(r"VmHWM:\s+(\d+) kB", status).group(1)) * 1024
    except (OSError, AttributeError):
        pass
    try:
        import psutil  # comes with ipython

        memory = psutil.Process(pid).memory_info()
        return getattr(memory, "peak_wset", memory.rss)
    except (ImportError, OSError, RuntimeError):
        return 0


def _write(path: Path, content: bytes) -> None:
    """Replaces the file in one step, so that it is never half written."""
    handle, temporary = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        shutil.copymode(path, temporary)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
