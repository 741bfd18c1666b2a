"""Rotating the residual stream: outliers of one channel are spread over all, and the function stays.

A token's vector x in the stream may be turned, x Q with an orthogonal Q, if all that writes to the stream is turned
and all that reads it is turned back. RMSNorm only divides by a length, which a rotation keeps, once its weights have
moved into the matrices that read it. A random Q mixes all channels, so none stands out (Ashkboos et al. 2024, "QuaRot",
section 4, stage 1a; "SliceGPT"). A Hadamard matrix with random signs has entries ±1/√n only, and mixes them evenly.

QuaRot's other rotations, of heads and before `down`, are partly computed while the model runs; they are not made here.
"""

from __future__ import annotations

import copy
import dataclasses

import torch
from torch import Tensor, nn

from ..config import expect_sizes
from ..linear import Linear
from ..norms import RMSNorm
from ..transformer import Transformer
from .structure import joints


def outlier_ratio(x: Tensor) -> float:
    """The largest absolute number over the root mean square of all: 1 where all are alike; near 4 or 5 for normal ones.

    A step between codes is proportional to the first, what is to be kept to the second.
    """
    wide = x.detach().double()
    return (wide.abs().max() / wide.pow(2).mean().sqrt()).item()


def hadamard(n: int) -> Tensor:
    """A matrix of ±1/√n, orthogonal, (n, n) in float64. Raises ValueError where n has none of the two known forms.

    Sylvester: from H of half the size, [[H, H], [H, −H]]. Paley: from the squares modulo a prime q = n − 1 that leaves
    the rest 3 by 4. 192 = 16 · 12, with 12 = 11 + 1.
    """
    expect_sizes(n=n)
    size = n
    while size > 2 and not _paley(size) and size % 2 == 0:
        size //= 2
    if size in (1, 2):
        core = torch.ones(1, 1, dtype=torch.float64)
        size = 1
    elif _paley(size):
        q = size - 1
        squares = {value * value % q for value in range(1, q)}
        sign = torch.tensor([0] + [1 if value in squares else -1 for value in range(1, q)], dtype=torch.float64)
        core = torch.eye(size, dtype=torch.float64)
        core[0, 1:], core[1:, 0] = 1, -1
        places = torch.arange(q)
        core[1:, 1:] += sign[(places[:, None] - places) % q]
    else:
        raise ValueError(f"no Hadamard matrix of size {n} is known here; use kind='orthogonal'")
    while size < n:
        core = torch.cat((torch.cat((core, core), 1), torch.cat((core, -core), 1)))
        size *= 2
    return core / n**0.5


def _paley(size: int) -> bool:
    q = size - 1
    return q > 2 and q % 4 == 3 and all(q % divisor for divisor in range(2, int(q**0.5) + 1))


def random_rotation(n: int, *, kind: str = "hadamard", seed: int = 0) -> Tensor:
    """A random orthogonal matrix (n, n) in float64: a Hadamard matrix whose rows have random signs, or any at all.

    The second kind, "orthogonal", is uniformly distributed: Q of the QR decomposition of normal numbers, with the signs
    of R's diagonal.
    """
    generator = torch.Generator().manual_seed(seed)
    if kind == "hadamard":
        signs = torch.randint(2, (n, 1), generator=generator) * 2.0 - 1
        return signs.double() * hadamard(n)
    if kind != "orthogonal":
        raise ValueError(f"expected kind to be hadamard or orthogonal, got {kind!r}")
    q, r = torch.linalg.qr(torch.randn(n, n, generator=generator, dtype=torch.float64))
    return q * r.diagonal().sign()


@torch.no_grad()
def fold_norms(model: Transformer) -> Transformer:
    """A copy that computes the same, in which all norms of the stream have weights 1: they moved into their readers.

    A table that is tied to the head is parted from it, since only the head takes up the last norm's weights: the copy
    has one table more. Raises ValueError for norms that are no RMSNorm, and norms after the sum.
    """
    if model.config.norm_placement != "pre" or not isinstance(model.norm, RMSNorm):
        raise ValueError(
            f"expected a model with RMSNorm before its layers, got norm={model.config.norm!r}, "
            f"norm_placement={model.config.norm_placement!r}: other norms do more than divide by a length"
        )
    model = copy.deepcopy(model)
    if model.config.tie_embeddings:
        head = Linear(model.config.d_model, model.config.vocab_size, bias=False, device="meta")
        head.weight = nn.Parameter(model.head.weight.detach().clone())
        model.head = head
        model.config = dataclasses.replace(model.config, tie_embeddings=False)
    for joint in joints(model, norms_only=True):
        weight = model.get_submodule(joint.source).weight
        for path in joint.readers:
            reader = model.get_submodule(path).weight
            reader.copy_(reader.double() * weight.double())
        weight.fill_(1)
    return model


@torch.no_grad()
def rotate_stream(model: Transformer, rotation: Tensor | None = None, *, seed: int = 0) -> Transformer:
    """A copy that computes the same, in which the residual stream is x · rotation wherever it was x.

    `rotation` (D, D), orthogonal; by default a random Hadamard matrix, where there is one of that size, or else any
    rotation. Norms are folded first (`fold_norms`, whose errors this has too). Raises ValueError for a matrix that is
    not orthogonal, and for sinusoidal positions, which are added to the stream without a matrix of their own.
    """
    n = model.config.d_model
    if model.config.position == "sinusoidal":
        raise ValueError("sinusoidal positions are added to the stream as they are, and cannot be turned")
    if rotation is None:
        try:
            rotation = random_rotation(n, seed=seed)
        except ValueError:
            rotation = random_rotation(n, kind="orthogonal", seed=seed)
    if tuple(rotation.shape) != (n, n):
        raise ValueError(f"expected a rotation of shape {(n, n)}, got {tuple(rotation.shape)}")
    turn = rotation.double()
    if (off := (turn @ turn.T - torch.eye(n, dtype=torch.float64)).abs().max().item()) > 1e-5:
        raise ValueError(f"expected an orthogonal matrix; its rows' products are off by {off:.2g}")
    model = fold_norms(model)
    readers = {path for joint in joints(model, norms_only=True) for path in joint.readers}
    for path, module in model.named_modules():
        if path in readers or path in ("embedding", "position_embedding"):  # each row is a vector of the stream
            module.weight.copy_(module.weight.double() @ turn)
        elif path.endswith((".o_proj", ".down")):  # each column is one
            module.weight.copy_(turn.T @ module.weight.double())
            if module.bias is not None:
                module.bias.copy_(module.bias.double() @ turn)
    return model
