"""GPTQ: round one column of a matrix, and let the columns that are still free make up for its error.

What a layer gives should change little: the smallest Σ ‖(W − Ŵ) x‖² over the inputs x of some text is sought, over all
matrices Ŵ on a grid. Each row w of W has the same second derivatives, H = 2 Σ x xᵀ. Rounding one of its numbers adds
the least error if the free ones then move by what solves the least squares again (Hassibi and Stork 1993, "Optimal
Brain Surgeon"; Frantar and Alistarh 2022, "OBC"). GPTQ takes the columns in one order for all rows, so that a single
Cholesky factor of H⁻¹ holds what all steps need (Frantar et al. 2022, "GPTQ", step 3: Cholesky reformulation).
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from ..training import Batch
from ..transformer import Transformer
from .activations import on_inputs, read
from .affine import Limits, code_range, quantize
from .models import ROUTERS, bits_by_name, matrices, with_quantized
from .quantized import Quantized, check_granularity

ORDERS = ("given", "activation")


def hessian(inputs: Tensor) -> Tensor:
    """H = 2 Σ x xᵀ of a layer's inputs: the second derivatives of its squared error. (..., n_in) -> (n_in, n_in).

    In float64. Hessians of several batches may be added.
    """
    x = inputs.detach().reshape(-1, inputs.shape[-1]).double()  # (N, n_in)
    return 2 * x.T @ x


def output_error(weight: Tensor, other: Tensor, curvature: Tensor) -> float:
    """Σ ‖(weight − other) x‖² over the inputs whose `hessian` this is. weight, other (out, n_in), (n_in, n_in)."""
    off = (weight - other).double()  # (out, n_in)
    return ((off @ curvature) * off).sum().item() / 2


def gptq(weight: Tensor, inputs: Tensor, bits: int, **settings) -> Quantized:
    """weight (out, n_in) in codes of `bits` bits that change the layer's outputs for `inputs` (..., n_in) little.

    Settings and errors as of `gptq_by_hessian`.
    """
    if weight.dim() != 2 or inputs.shape[-1:] != weight.shape[1:]:
        raise ValueError(
            f"expected weight (out, n_in) and inputs (..., n_in), got {tuple(weight.shape)} and {tuple(inputs.shape)}"
        )
    return gptq_by_hessian(weight, hessian(inputs), bits, **settings)


@torch.no_grad()
def gptq_by_hessian(
    weight: Tensor,
    curvature: Tensor,
    bits: int,
    *,
    granularity: str | None = None,
    group_size: int | None = None,
    symmetric: bool = True,
    limits: Limits | None = None,
    damping: float = 0.01,
    order: str = "given",
    scale_dtype: torch.dtype | None = None,
) -> Quantized:
    """weight (out, n_in) in codes of `bits` bits, for inputs with the `hessian` curvature (n_in, n_in).

    `damping`, as a share of the mean of H's diagonal, is added to that diagonal: otherwise H has no inverse where some
    inputs are always 0 or depend on others. `order` "activation": columns with the largest inputs are rounded first,
    while many are left to make up for them. A row has one scale, that of `quantize`; with a `group_size` each
    group's scale is chosen when its first column is reached, for the numbers as they are then, and in activation order
    beforehand. With `limits` it is given. Other arguments are those of `quantize`.
    Raises ValueError for a curvature of another shape, one that is not finite, and an unknown order.
    """
    if weight.dim() != 2 or tuple(curvature.shape) != (weight.shape[1],) * 2:
        raise ValueError(
            f"expected weight (out, n_in) and a hessian (n_in, n_in), got {tuple(weight.shape)} and "
            f"{tuple(curvature.shape)}"
        )
    if order not in ORDERS:
        raise ValueError(f"expected order to be one of {', '.join(ORDERS)}; got {order!r}")
    granularity = check_granularity(granularity, group_size, usual="channel")
    settings = {"symmetric": symmetric, "scale_dtype": scale_dtype}
    made = quantize(weight, bits, granularity=granularity, group_size=group_size, limits=limits, **settings)
    scale, codes = made.scale.clone(), torch.empty_like(made.codes)
    zero_point = None if made.zero_point is None else made.zero_point.clone()
    lowest, highest = code_range(bits, symmetric=symmetric)
    moving = granularity == "group" and limits is None and order == "given"  # whether scales follow the free numbers

    free = weight.detach().double().clone()  # (out, n_in): what is rounded, and what makes up for it
    columns = torch.arange(weight.shape[1])
    if order == "activation":
        columns = curvature.diagonal().argsort(descending=True, stable=True)
    factor = inverse_factor(curvature[columns][:, columns], damping)  # (n_in, n_in), upper triangular
    for step, column in enumerate(columns.tolist()):
        group = column // group_size if granularity == "group" else 0
        if moving and column % group_size == 0:
            now = quantize(
                free[:, column : column + group_size].to(weight.dtype), bits, granularity="channel", **settings
            )
            scale[:, group] = now.scale[:, 0]
            if zero_point is not None:
                zero_point[:, group] = now.zero_point[:, 0]
        s = scale.double() if scale.dim() == 0 else scale[:, group].double()  # () or (out,)
        z = 0 if zero_point is None else (zero_point if zero_point.dim() == 0 else zero_point[:, group]).double()
        code = ((free[:, column] / s).round() + z).clamp(lowest, highest)  # (out,)
        codes[:, column] = code.to(codes.dtype)
        error = (free[:, column] - (code - z) * s) / factor[step, step]  # (out,)
        free[:, columns[step + 1 :]] -= error[:, None] * factor[step, step + 1 :]
    return Quantized(codes, scale, zero_point, made.bits, granularity, group_size, dtype=weight.dtype)


def inverse_factor(curvature: Tensor, damping: float) -> Tensor:
    """U, upper triangular, with UᵀU = H⁻¹ of the damped H: row j holds what rounding column j asks of the later ones.

    After columns 0 … j−1 are fixed, the inverse of what is left of H is that of the lower right of U. (n, n) -> (n, n).
    Raises ValueError for a curvature that is not finite, a negative damping, and one too small to invert H.
    """
    if not curvature.isfinite().all():
        raise ValueError("expected a finite hessian; inputs of the layer are NaN, infinite or very large")
    if not damping >= 0:
        raise ValueError(f"expected a damping of at least 0, got {damping}")
    mean = curvature.diagonal().mean()
    added = damping * mean if mean > 0 else 1.0  # no input but 0: every rounding is as good as another
    damped = curvature.double() + added * torch.eye(len(curvature), dtype=torch.float64)
    lower, failed = torch.linalg.cholesky_ex(damped)
    if failed:
        raise ValueError(f"the hessian has no inverse with damping {damping}: use a larger one, or more inputs")
    return torch.linalg.cholesky(torch.cholesky_inverse(lower), upper=True)


@torch.no_grad()
def quantize_by_gptq(
    model: Transformer,
    batches: Iterable[Tensor | Batch],
    bits: int | Mapping[str, int],
    *,
    granularity: str | None = None,
    group_size: int | None = None,
    symmetric: bool = True,
    damping: float = 0.01,
    order: str = "given",
    skip: Iterable[str] = ROUTERS,
    scale_dtype: torch.dtype = torch.float16,
) -> Transformer:
    """A copy of the model in few bits, whose linear layers are rounded one after another by GPTQ.

    Each layer's inputs are what the model gives it on `batches`, tokens (B, T) or those of `llmlab.training`, once all
    layers before it are rounded: those it will really get. Embeddings have no inputs to sum over: they are rounded to
    nearest before all else. So is a table that is tied to the head: rounding to nearest moves its rows least, and they
    are what the model reads; what GPTQ takes off the error of the logits moves them further.
    Layers that the batches never reach, such as an unused expert, are rounded to nearest too.
    `bits`, `skip` and the rest are those of `quantize_model` and `gptq_by_hessian`. Raises ValueError for no batches.
    """
    batches = list(batches)
    if not batches:
        raise ValueError("expected at least one batch of tokens (B, T) to round for, got none")
    granularity = check_granularity(granularity, group_size, usual="channel")
    kept = {"granularity": granularity, "group_size": group_size, "symmetric": symmetric, "scale_dtype": scale_dtype}
    wanted = bits_by_name(model, bits, skip=skip)
    working = copy.deepcopy(model).eval()  # plain layers with rounded numbers: as fast as before
    weights = matrices(working)
    made: dict[str, Quantized] = {}

    def put(name: str, rounded: Quantized) -> None:
        made[name] = rounded
        weights[name].copy_(rounded.dequantize())

    left = [name for name in wanted if isinstance(working.get_submodule(name), torch.nn.Linear)]
    for name in wanted:
        if name not in left:
            put(name, quantize(weights[name], wanted[name], **kept))
    while left:
        found = _next_hessians(working, batches, left)
        for name in found or left[:1]:
            if name in found:
                rounded = gptq_by_hessian(
                    weights[name], found[name], wanted[name], damping=damping, order=order, **kept
                )
            else:
                rounded = quantize(weights[name], wanted[name], **kept)
            put(name, rounded)
            left.remove(name)
    return with_quantized(model, made)


class _Enough(Exception):
    """Ends a forward pass of which no more is needed."""


def _next_hessians(model: Transformer, batches: list[Tensor | Batch], left: list[str]) -> dict[str, Tensor]:
    """The hessian of the first of these layers, and of those after it that are given the very same inputs."""
    found: dict[str, Tensor] = {}
    given: Tensor | None = None  # what the first one got in this batch

    def look(path: str, x: Tensor) -> None:
        nonlocal given
        if path == left[0]:
            given = x
            found[path] = found.get(path, 0) + hessian(x)
        elif given is not None:
            if x.data_ptr() != given.data_ptr() or x.shape != given.shape:
                raise _Enough
            if path in left:
                found[path] = found[left[0]]

    with on_inputs(model, look):
        for batch in batches:
            given = None
            with contextlib.suppress(_Enough):
                read(model, batch)
    return found if left[0] in found else {}
