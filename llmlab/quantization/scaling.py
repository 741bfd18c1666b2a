"""Rescaling channels before rounding: the function stays, and what is lost by rounding changes.

A layer gives W x. With a number s for each input, (W · s) (x / s) is the same; the division goes into whatever makes x
(`llmlab.quantization.structure`), so that nothing is left to compute later.

AWQ (Lin et al. 2023, section 3.2): a column of W that is large is rounded, relative to its size, less than a small one,
so columns whose inputs are large are made larger: s = mean|x|^α, with the α that gives the layer's outputs the least
error. SmoothQuant (Xiao et al. 2022, section 4): where inputs are rounded too, their outliers are moved into the
weights: s = max|x|^α / max|w|^(1 − α), by which x is divided.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..training import Batch
from ..transformer import Transformer
from .activations import Inputs, on_inputs, read
from .affine import quantize
from .gptq import hessian, output_error
from .models import ROUTERS, bits_by_name
from .quantized import check_granularity
from .structure import Joint, joints, rescale

ALPHAS = tuple(n / 20 for n in range(20))  # 0 (as it was) to 0.95, as in the paper's code


@dataclass(frozen=True, eq=False)
class Scaling:
    """What the search found at one joint: scale (n,) for each channel, its α, and the squared error of each α tried."""

    joint: Joint
    scale: Tensor
    alpha: float
    errors: Mapping[float, float]


@torch.no_grad()
def awq_scale(size: Tensor, alpha: float) -> Tensor:
    """size^α, divided by √(largest · smallest), so that columns grow as much as others shrink. (n,) -> (n,).

    `size`: how large each input is on average, mean|x|. An input that is always 0 is taken for a ten-thousandth.
    """
    scale = size.double().clamp(min=1e-4) ** alpha
    return scale / (scale.max() * scale.min()).sqrt()


@torch.no_grad()
def scale_by_awq(
    model: Transformer,
    batches: Iterable[Tensor | Batch],
    bits: int | Mapping[str, int],
    *,
    granularity: str | None = None,
    group_size: int | None = None,
    symmetric: bool = True,
    alphas: Sequence[float] = ALPHAS,
    skip: Iterable[str] = ROUTERS,
    scale_dtype: torch.dtype = torch.float16,
) -> tuple[Transformer, list[Scaling]]:
    """A rescaled copy of the model that computes the same, for `quantize_model` with the same bits and groups to round.

    Returns it and what was found at each joint. Inputs are those of the model as it is, on `batches`: tokens (B, T) or
    batches of `llmlab.training`. A joint none of whose readers is to be rounded, or was ever reached, stays as it is.
    AWQ's second search, for a narrower range of each group, is `least_squares_range`'s matter, and is not made here.
    """
    wanted = bits_by_name(model, bits, skip=skip)
    granularity = check_granularity(granularity, group_size, usual="channel")
    kept = {"granularity": granularity, "group_size": group_size, "symmetric": symmetric, "scale_dtype": scale_dtype}
    sizes, curvatures = _inputs(model, batches)
    scaled, found = copy.deepcopy(model), []
    for joint in joints(model):
        readers = [path for path in joint.readers if path in wanted and path in curvatures]
        if not readers:
            continue
        size = joint.gathered(torch.stack([sizes[path] for path in readers]).mean(0)).mean(1)  # (n,)
        weights = {path: scaled.get_submodule(path).weight for path in readers}
        errors = {}
        for alpha in alphas:
            wide = joint.spread(awq_scale(size, alpha))  # (n_in,)
            errors[alpha] = 0.0
            for path, weight in weights.items():
                rounded = quantize((weight * wide).to(weight.dtype), wanted[path], **kept).dequantize() / wide
                errors[alpha] += output_error(weight, rounded, curvatures[path])
        best = min(errors, key=errors.__getitem__)
        found.append(Scaling(joint, awq_scale(size, best), best, errors))
        rescale(scaled, joint, found[-1].scale)
    return scaled, found


@torch.no_grad()
def smooth_scale(largest_input: Tensor, largest_weight: Tensor, alpha: float = 0.5) -> Tensor:
    """max|x|^α / max|w|^(1 − α) for each input: inputs are divided by it, columns multiplied. (n,), (n,) -> (n,)."""
    if not 0 <= alpha <= 1:
        raise ValueError(f"expected alpha from 0 to 1, got {alpha}")
    x, w = (largest.double().clamp(min=1e-5) for largest in (largest_input, largest_weight))
    return x**alpha / w ** (1 - alpha)


@torch.no_grad()
def scale_by_smoothquant(model: Transformer, observed: Mapping[str, Inputs], alpha: float = 0.5) -> Transformer:
    """A copy of the model that computes the same, the sizes of inputs and weights evened out behind each norm.

    `observed`: what `observe` found for this model. For `quantize_model` and `quantize_activations`, which need an
    observation of the new model. Raises ValueError for a layer that was never observed.
    """
    smooth = copy.deepcopy(model)
    for joint in joints(model, norms_only=True):
        if missing := [path for path in joint.readers if path not in observed and ".experts." not in path]:
            raise ValueError(f"the calibration says nothing of {missing[0]}: observe the model on some text")
        seen = [observed[path] for path in joint.readers if path in observed]
        largest = torch.stack([torch.maximum(-each.low, each.high) for each in seen]).amax(0)  # (n,)
        weights = torch.cat([model.get_submodule(path).weight for path in joint.readers])  # (rows of all readers, n)
        rescale(smooth, joint, smooth_scale(largest, weights.abs().amax(0), alpha))
    return smooth


def _inputs(model: Transformer, batches: Iterable[Tensor | Batch]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Of each linear layer's inputs mean|x| (n_in,) and the hessian (n_in, n_in)."""
    sums: dict[str, Tensor] = {}
    counts: dict[str, int] = {}
    curvatures: dict[str, Tensor] = {}

    def look(path: str, x: Tensor) -> None:
        if len(x):
            sums[path] = sums.get(path, 0) + x.double().abs().sum(0)
            counts[path] = counts.get(path, 0) + len(x)
            curvatures[path] = curvatures.get(path, 0) + hessian(x)

    with on_inputs(model, look):
        for batch in batches:
            read(model, batch)
    if not sums:
        raise ValueError("expected at least one batch of tokens (B, T) to scale for, got none")
    return {path: total / counts[path] for path, total in sums.items()}, curvatures
