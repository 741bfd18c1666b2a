"""Notebooks on other machines, imitated on this one: what another processor's kernels would print.

Three environment variables choose which code PyTorch and MKL run: `ATEN_CPU_CAPABILITY` the width of the vectors in
PyTorch's own kernels, `MKL_CBWR` the path through Intel's library of matrix products, `OMP_NUM_THREADS` among how many
threads sums are divided. Newly drawn weights are perturbed, as when the tests run the notebooks.
"""

import itertools
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from llmlab.notebooks.comparing import differences
from llmlab.notebooks.form import MAY_DIFFER, read, tags
from llmlab.notebooks.running import RunError, execute
from llmlab.offline import kernel_environment

VECTORS = ("default", "avx2", "avx512")  # a processor that has one has those before it
PATHS = ("COMPATIBLE", "AVX2")
THREADS = (1, 2)


@dataclass(frozen=True)
class Machine:
    """What a kernel is told to use; None leaves the choice to this processor."""

    vectors: str | None = None
    path: str | None = None
    threads: int = 1

    def __str__(self) -> str:
        said = [self.vectors and f"vectors {self.vectors}", self.path and f"MKL {self.path}"]
        return ", ".join([*filter(None, said), f"{self.threads} thread{'s' if self.threads > 1 else ''}"])

    def environment(self, scratch: str) -> dict[str, str]:
        """Environment variables for a kernel; `scratch` as in `kernel_environment`."""
        chosen = {"ATEN_CPU_CAPABILITY": self.vectors, "MKL_CBWR": self.path}
        environ = {name: value for name, value in os.environ.items() if name not in chosen}
        environ |= {name: value for name, value in chosen.items() if value is not None}
        environ["OMP_WAIT_POLICY"] = "PASSIVE"  # threads that spin while they wait take a busy machine's other core
        return kernel_environment(scratch, environ, perturbed=True, threads=self.threads)


def _widths() -> tuple[str, ...]:
    """The vector widths that this processor can imitate: what it lacks would end a kernel."""
    import torch

    own = torch.backends.cpu.get_cpu_capability().lower()
    return VECTORS[: VECTORS.index(own) + 1] if own in VECTORS else VECTORS[:1]


def single_changes() -> list[Machine]:
    """Machines that differ from this one in one thing each: narrower vectors, another library path, two threads."""
    narrower = [Machine(vectors=width) for width in _widths() if width != VECTORS[-1]]
    return [*narrower, Machine(path="COMPATIBLE"), Machine(threads=2)]


def all_machines() -> list[Machine]:
    """Every vector width with every library path and number of threads."""
    return [Machine(*parts) for parts in itertools.product(_widths(), PATHS, THREADS)]


def run_on(machine: Machine, path: Path, *, timeout: float) -> tuple[dict[int, list[str]], float]:
    """What differs from the saved outputs of the notebook `path`, by code cell counted from 1, and the seconds.

    Outputs tagged as never the same twice are not compared. Raises RunError when a cell fails.
    """
    saved = read(path)
    got, seconds, _ = execute(
        saved, folder=path.parent, name=path.name, timeout=timeout, environment=machine.environment
    )
    pairs = [pair for pair in zip(saved.cells, got.cells, strict=True) if pair[0].cell_type == "code"]
    found = {
        number: differences(old.outputs, new.outputs)
        for number, (old, new) in enumerate(pairs, 1)
        if MAY_DIFFER not in tags(old)
    }
    return {number: texts for number, texts in found.items() if texts}, seconds


def check_machines(paths: Sequence[Path], machines: Sequence[Machine], *, timeout: float) -> int:
    """Print a line for each notebook on each machine as it ends; returns how many of them differ."""
    different = 0
    for path, machine in itertools.product(paths, machines):
        print(f"{path.name:<28} {machine!s:<42}", end=" ", flush=True)
        start = time.perf_counter()
        try:
            found, seconds = run_on(machine, path, timeout=timeout)
        except (RunError, ValueError) as error:
            different += 1
            print(f"{time.perf_counter() - start:4.0f} s  FAILED\n{error}", flush=True)
            continue
        different += bool(found)
        print(f"{seconds:4.0f} s  " + (f"differs in code cells {', '.join(map(str, found))}" if found else "equal"))
        for number, texts in found.items():
            lines = [line for text in texts for line in text.splitlines()]
            print(f"  code cell {number}:", *lines, sep="\n    ", flush=True)
    return different
