"""Quantized layers on PyTorch's integer kernels: bytes that a pass reads, and the time it takes, against float32.

With one token each weight is read for one multiplication: reading takes much of the time, and fewer bytes are less
time, though seldom as much less, since codes also have to be unpacked. With many tokens arithmetic takes the time.
There a weight-only layer, which unpacks its codes and multiplies in bfloat16, can lose against a layer of plain
bfloat16, and one that multiplies codes with codes wins.

The weights are a stack of square layers, and no cache holds them: kinds of layers take turns, so what one has read is
pushed out by what the others read before its next turn, 500 MB at the usual size (`last_level_cache` says whether that
is enough). Small layers would be timed in the cache: `measure((1,), width=1024, n_layers=1)` shows the time that is
left without reading from memory.
"""

from __future__ import annotations

import copy
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from ..linear import Linear
from ..quantization import quantize
from ..quantization.kernels import DynamicInt8Linear, Int4Linear, Int8Linear, code_bits, missing
from . import Row

WIDTH, LAYERS = 2816, 8  # 63 million weights: 254 MB in float32, 34 MB in 4 bits
TOKENS = (1, 256)
REPEATS = 5
PATIENCE = 2.0  # seconds: a pass that would take longer, by a substitute for a missing kernel, is not measured
USUAL = "float32"


@dataclass(frozen=True)
class Pass:
    """One pass of `n_tokens` through the stack of one kind of layer.

    `seconds` is a median, or None with a reason: of processor time or of the clock on the wall, as `through` says.
    """

    kind: str
    n_tokens: int
    n_weights: int
    bytes_read: int
    seconds: float | None
    speedup: float | None  # float32's seconds over these
    fewer_bytes: float | None  # float32's bytes over these
    why: str = ""

    @property
    def read_per_second(self) -> float | None:
        """Bytes of weights read in a second."""
        return None if self.seconds is None else self.bytes_read / self.seconds

    @property
    def operations_per_second(self) -> float | None:
        """Multiplications and additions in a second."""
        return None if self.seconds is None else 2 * self.n_weights * self.n_tokens / self.seconds


def float_layer(dtype: torch.dtype) -> Callable[[Tensor], nn.Module]:
    """A function that makes a plain layer in this dtype from a weight (out, in)."""

    def make(weight: Tensor) -> nn.Module:
        layer = Linear(weight.shape[1], weight.shape[0], bias=False, dtype=dtype)
        layer.weight = nn.Parameter(weight.to(dtype), requires_grad=False)
        return layer

    return make


# What makes a layer of a weight (out, in), and the dtype that it is given its inputs in.
KINDS: dict[str, tuple[Callable[[Tensor], nn.Module], torch.dtype]] = {
    USUAL: (float_layer(torch.float32), torch.float32),
    "bfloat16": (float_layer(torch.bfloat16), torch.bfloat16),
    "int8 weight-only": (lambda w: Int8Linear(quantize(w, 8, granularity="channel")), torch.bfloat16),
    "int4 weight-only": (lambda w: Int4Linear(quantize(w, 4, group_size=128)), torch.bfloat16),
    "int8 dynamic": (
        lambda w: DynamicInt8Linear(quantize(w, code_bits(), granularity="channel")),
        torch.float32,
    ),
}
KERNELS = {"int8 weight-only": Int8Linear, "int4 weight-only": Int4Linear, "int8 dynamic": DynamicInt8Linear}


def stacks(width: int = WIDTH, n_layers: int = LAYERS) -> dict[str, list[nn.Module] | str]:
    """For each kind its layers, each with memory of its own; or the reason why this machine does not run it."""
    weight = torch.randn(width, width, generator=torch.Generator().manual_seed(0)) / width**0.5
    made: dict[str, list[nn.Module] | str] = {}
    for kind, (make, _) in KINDS.items():
        why = missing(KERNELS[kind]) if kind in KERNELS else ""
        made[kind] = why or [copy.deepcopy(layer) for layer in [make(weight)] * n_layers]
    return made


def nbytes(layers: Iterable[nn.Module]) -> int:
    """Bytes that a pass through layers reads: their parameters and buffers."""
    return sum(each.nbytes for layer in layers for each in (*layer.parameters(), *layer.buffers()))


@torch.inference_mode()
def through(layers: Sequence[nn.Module], x: Tensor) -> float:
    """Seconds of a pass of x (T, width) through layers, one after the other.

    With one thread, on Linux, it is that thread's processor time, so that what else the machine does counts less.
    Elsewhere that clock is coarse (Windows), or libraries have threads of their own (macOS).
    """
    alone = torch.get_num_threads() == 1 and sys.platform == "linux"
    clock = time.thread_time if alone else time.perf_counter
    start = clock()
    for layer in layers:
        x = layer(x)
    return clock() - start


def measure(
    tokens: Sequence[int] = TOKENS,
    *,
    repeats: int = REPEATS,
    width: int = WIDTH,
    n_layers: int = LAYERS,
    n_threads: int | None = 1,
) -> list[Pass]:
    """A pass of each number of tokens through each kind of layer, all kinds in turns, with medians of `repeats` turns.

    At the usual sizes 0.6 GB, and about 1 s for a turn of 1 and of 128 tokens. `n_threads` None: all that PyTorch has.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(n_threads or before)
    try:
        made = stacks(width, n_layers)
        return [row for n in tokens for row in _measure(made, n, repeats, width, n_layers)]
    finally:
        torch.set_num_threads(before)


def _measure(made: dict, n_tokens: int, repeats: int, width: int, n_layers: int) -> list[Pass]:
    """The rows of one number of tokens."""
    inputs = {dtype: torch.randn(n_tokens, width).to(dtype) for dtype in {dtype for _, dtype in KINDS.values()}}
    why = {kind: layers for kind, layers in made.items() if isinstance(layers, str)}
    taken: dict[str, list[float]] = {kind: [] for kind in made}
    for kind in made.keys() - why.keys():  # one layer, unmeasured, says how long a pass would be
        first = [through(made[kind][:1], inputs[KINDS[kind][1]]) for _ in range(2)][-1]
        if kind != USUAL and first * n_layers > PATIENCE:
            why[kind] = f"a pass takes about {first * n_layers:.0f} s: no kernel for it, only a substitute"
    for _ in range(repeats):
        for kind in made:
            if kind not in why:
                taken[kind].append(through(made[kind], inputs[KINDS[kind][1]]))
    usual, read = statistics.median(taken[USUAL]), nbytes(made[USUAL])
    rows = []
    for kind, layers in made.items():
        size = 0 if isinstance(layers, str) else nbytes(layers)
        seconds = statistics.median(taken[kind]) if taken[kind] else None
        faster = None if seconds is None else usual / seconds
        less = read / size if size else None
        rows.append(Pass(kind, n_tokens, n_layers * width**2, size, seconds, faster, less, why.get(kind, "")))
    return rows


def table(rows: Iterable[Pass]) -> str:
    """Rows as text: bytes read, milliseconds, and both as ratios to float32."""
    lines = [
        f"{'tokens':>6} {'layers':<17} {'MB read':>8} {'fewer':>7} {'ms':>8} {'faster':>7} {'GB/s':>6} {'Gop/s':>6}"
    ]
    for row in rows:
        if row.seconds is None:
            lines.append(f"{row.n_tokens:>6} {row.kind:<17} not here: {row.why}")
            continue
        figures = (
            f"{row.bytes_read / 1e6:>8.0f} {row.fewer_bytes:>6.2f}× {1000 * row.seconds:>8.2f} {row.speedup:>6.2f}×"
        )
        rates = f"{row.read_per_second / 1e9:>6.1f} {row.operations_per_second / 1e9:>6.0f}"
        lines.append(f"{row.n_tokens:>6} {row.kind:<17} {figures} {rates}")
    return "\n".join(lines)


def last_level_cache() -> int | None:
    """Bytes of the largest cache of the first core, or None where the system does not tell."""
    if sys.platform == "darwin":
        names = ("hw.l3cachesize", "hw.perflevel0.l2cachesize", "hw.l2cachesize")
        told = subprocess.run(["sysctl", "-n", *names], capture_output=True, text=True).stdout.split()
        return max((int(each) for each in told), default=0) or None
    sizes = []
    for path in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size"):
        text = path.read_text().strip()
        if text[:-1].isdigit() and text[-1] in "KMG":
            sizes.append(int(text[:-1]) * 1024 ** ("KMG".index(text[-1]) + 1))
    return max(sizes, default=None)


def benchmark() -> Iterator[Row]:
    """Milliseconds of a pass, and bytes that it reads, of each kind of layer against float32, with one thread."""
    rows = measure(TOKENS, repeats=REPEATS, width=WIDTH, n_layers=LAYERS)
    usual = {row.n_tokens: row for row in rows if row.kind == USUAL}
    for row in rows:
        what = f"{row.n_tokens} token{'s' * (row.n_tokens > 1)}, {row.kind}: float32"
        against = usual[row.n_tokens]
        if row.seconds is None:
            yield Row(f"{what} (not here: {row.why})", float("nan"), 1000 * against.seconds, "ms")
        elif row is not against:
            yield Row(what, 1000 * row.seconds, 1000 * against.seconds, "ms")
            yield Row(" " * 4 + "bytes read", row.bytes_read / 1e6, against.bytes_read / 1e6, "MB")
