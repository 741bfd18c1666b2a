"""Activations in few bits too: what comes into a layer is quantized, and the layer multiplies whole numbers.

Weights are known beforehand; what comes into a layer is not. *Dynamic* quantization looks at each token when it comes
and gives it a scale of its own. *Static* quantization takes one range for all that will ever come, from a calibration:
`observe` runs the model on some text and writes down what each layer was given.

Products of 8-bit codes are summed in 32 bits, since 100 + 100 is already too much for 8. Zero points and scales are
taken into account after the sum (Jacob et al. 2018, section 2.3, equation 7).
"""

from __future__ import annotations

import copy
import fnmatch
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..training import Batch
from ..transformer import Transformer
from .affine import Limits, code_range, quantize
from .layers import PackedWeight, QuantizedLinear
from .models import replace
from .quantized import Quantized
from .ranges import percentile_range


@dataclass(frozen=True, eq=False, repr=False)
class Inputs:
    """What a linear layer was given: for each of its n_in inputs the smallest, the largest and the mean size.

    low, high, mean_abs (n_in,); `rows` (≤ kept, n_in): the first vectors themselves; n_tokens: how many there were.
    """

    low: Tensor
    high: Tensor
    mean_abs: Tensor
    rows: Tensor
    n_tokens: int

    def limits(self, share: float = 1.0) -> Limits:
        """The range of all inputs together, (), (): the whole one, or the middle `share` of the numbers in `rows`."""
        if share == 1.0:
            return self.low.min(), self.high.max()
        if not len(self.rows):
            raise ValueError("a share is counted in kept rows, and none were kept: observe(…, keep=256)")
        return percentile_range(self.rows, share)

    def __repr__(self) -> str:
        return f"Inputs({len(self.low)} wide, {self.n_tokens} tokens, {self.low.min():.3g} to {self.high.max():.3g})"


@contextmanager
def on_inputs(
    model: nn.Module, function: Callable[[str, Tensor], None], *, names: str | Iterable[str] = "*"
) -> Iterator[None]:
    """Inside the block `function(path, x)` is told what comes into each linear layer: x (N, n_in), detached.

    `names`: patterns of paths. Raises ValueError for one that fits no layer.
    """
    layers = {path: layer for path, layer in model.named_modules() if isinstance(layer, nn.Linear | QuantizedLinear)}
    names = (names,) if isinstance(names, str) else tuple(names)
    for pattern in names:
        if not fnmatch.filter(layers, pattern):
            raise ValueError(f"no linear layer of the model is named {pattern!r}; there are {', '.join(layers)}")

    def hook(path: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        return lambda _, given: function(path, given[0].detach().flatten(0, -2))

    chosen = [path for path in layers if any(fnmatch.fnmatchcase(path, pattern) for pattern in names)]
    hooks = [layers[path].register_forward_pre_hook(hook(path)) for path in chosen]
    try:
        yield
    finally:
        for each in hooks:
            each.remove()


def read(model: Transformer, batch: Tensor | Batch) -> Tensor:
    """The logits (B, T, V) of tokens (B, T), or of a batch of `llmlab.training`, its documents apart."""
    if isinstance(batch, Tensor):
        return model(batch)
    return model(batch.tokens, positions=batch.positions, mask=batch.mask)


@torch.no_grad()
def observe(
    model: Transformer, batches: Iterable[Tensor | Batch], *, names: str | Iterable[str] = "*", keep: int = 0
) -> dict[str, Inputs]:
    """Calibration: run the model on batches of tokens (B, T) and say what each linear layer was given, by its path.

    Batches may be those of `llmlab.training` too. `keep`: how many vectors to keep of each layer, the first ones. A
    layer that was given nothing, an expert that was never chosen for one, is missing.
    """
    found: dict[str, Inputs] = {}

    def look(path: str, x: Tensor) -> None:
        if not len(x):
            return
        x = x.to(torch.promote_types(x.dtype, torch.float32))
        low, high, mean = x.amin(0), x.amax(0), x.abs().mean(0)  # (n_in,)
        n, rows = len(x), x[:keep].clone()
        if path in found:
            old = found[path]
            low, high = torch.minimum(low, old.low), torch.maximum(high, old.high)
            mean = torch.lerp(old.mean_abs, mean, n / (n + old.n_tokens))
            rows = torch.cat((old.rows, rows[: keep - len(old.rows)]))
            n += old.n_tokens
        found[path] = Inputs(low, high, mean, rows, n)

    with on_inputs(model, look, names=names):
        for batch in batches:
            read(model, batch)
    if not found:
        raise ValueError("expected at least one batch of tokens (B, T) to observe the model on, got none")
    return found


def integer_product(x: Quantized, weight: Quantized) -> Tensor:
    """Σ (x − its zero point) · (weight − its zero point), in whole numbers of 32 bits. (N, n), (out, n) -> (N, out).

    Only codes are multiplied; what zero points add to the sum is taken off afterwards (Jacob et al. 2018, equation 7).
    Raises ValueError for scales that change within a sum, codebooks, and sums that could be too large for 32 bits.
    """
    for name, each in (("x", x), ("weight", weight)):
        if each.levels is not None or each.granularity == "group" or (each.granularity == "channel" and each.dim != -1):
            raise ValueError(f"a sum of codes needs one scale for all that is summed; {name} is {each}")
    n = x.shape[-1]
    if weight.shape[-1] != n or n * 2 ** (x.bits + weight.bits) >= 2**31:
        raise ValueError(f"expected rows of one length below {2 ** (31 - x.bits - weight.bits)}, got {x} and {weight}")
    codes, w_codes = x.codes.int(), weight.codes.int()  # (N, n), (out, n)
    sums = codes @ w_codes.T  # (N, out)
    if x.zero_point is not None:
        sums = sums - x.zero_point.int() * w_codes.sum(-1, dtype=torch.int32)  # (), (N, 1) · (out,)
    if weight.zero_point is not None:
        offset = weight.zero_point.int().reshape(1, -1)  # (1, 1) or (1, out)
        sums = sums - codes.sum(-1, keepdim=True, dtype=torch.int32) * offset
        if x.zero_point is not None:
            sums = sums + n * x.zero_point.int() * offset
    return sums


class IntegerLinear(QuantizedLinear):
    """A linear layer that quantizes its input and multiplies codes with codes. (..., in) -> (..., out).

    `limits` None: dynamic, each token's vector has its own scale. Otherwise static: that range for all inputs, and
    what lies outside is cut off.
    """

    def __init__(
        self,
        packed: PackedWeight | Quantized,
        bias: Tensor | None = None,
        *,
        bits: int = 8,
        symmetric: bool = False,
        limits: Limits | None = None,
    ):
        super().__init__(packed, bias)
        code_range(bits, symmetric=symmetric)
        if self.packed.granularity == "group" or self.packed.levels is not None:
            raise ValueError(
                "integer products need weights with one scale for each output channel or for all, and no codebook; "
                f"got {self.packed.extra_repr()}. Quantize the model without a group_size"
            )
        self.bits, self.symmetric = bits, symmetric
        low, high = limits or (None, None)
        self.register_buffer("low", low)
        self.register_buffer("high", high)

    def quantized_input(self, x: Tensor) -> Quantized:
        """The codes that x (N, in) is multiplied as."""
        static = self.low is not None
        return quantize(
            x.float(),
            self.bits,
            symmetric=self.symmetric,
            signed=True,
            granularity="tensor" if static else "channel",
            limits=(self.low, self.high) if static else None,
        )

    def forward(self, x: Tensor) -> Tensor:
        """x (..., in) -> (..., out)."""
        if x.numel() == 0:
            return super().forward(x)
        rows, weight = self.quantized_input(x.reshape(-1, self.in_features)), self.packed.quantized()
        sums = integer_product(rows, weight)  # (N, out) int32
        out = sums.float() * rows.scale * weight.scale.float().reshape(1, -1)  # (N, out)
        out = out.to(x.dtype).view(*x.shape[:-1], self.out_features)
        return out if self.bias is None else out + self.bias

    def extra_repr(self) -> str:
        how = "each token by its own range" if self.low is None else f"{self.low:.3g} to {self.high:.3g}"
        return f"inputs in {self.bits} bits, {how}"


def quantize_activations(
    model: Transformer,
    bits: int = 8,
    *,
    calibration: Mapping[str, Inputs] | None = None,
    share: float = 1.0,
    symmetric: bool = False,
) -> Transformer:
    """A copy of a quantized model that multiplies in whole numbers: W8A8, if weights have 8 bits too.

    `calibration` None: dynamic. With what `observe` found: static, with the whole range of each layer's inputs or the
    middle `share` of it. Layers that are not quantized stay as they are. Raises ValueError where no layer is, where
    weights have scales within a row, and where a layer was never observed.
    """
    layers = [(path, layer) for path, layer in model.named_modules() if type(layer) is QuantizedLinear]
    if not layers:
        raise ValueError("expected a model with quantized weights: quantize_model(model, 8) makes one")
    model = copy.deepcopy(model)
    for path, _ in layers:
        if calibration is not None and path not in calibration:
            raise ValueError(f"the calibration says nothing of {path}: observe the model on text that reaches it")
        limits = None if calibration is None else calibration[path].limits(share)
        layer = model.get_submodule(path)
        replace(model, path, IntegerLinear(layer.packed, layer.bias, bits=bits, symmetric=symmetric, limits=limits))
    return model.train(model.training)
