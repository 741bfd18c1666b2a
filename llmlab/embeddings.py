"""What an embedding table knows, measured: who stands near whom, what a map of it keeps, what a probe can read.

A row of the table is a place. Two rows are compared by the cosine of the angle between them, and a claim about places
("animals stand together") needs a number that a table without meaning does not reach: `neighbor_purity` on random rows
or on shuffled labels. `principal_components` (Pearson 1901; Hotelling 1933) makes the map that loses least of the
variance, and `held_out_predictions` asks what a linear probe (Alain and Bengio 2016) reads from words that it was not
fitted on. Sums are made in float64, so that a rank hardly depends on the order of additions.
"""

from __future__ import annotations

import torch
from torch import Tensor


def cosine_similarity(a: Tensor, b: Tensor) -> Tensor:
    """The cosine of the angle between each row of a and each of b. (N, D), (M, D) -> (N, M) float64, −1 to 1.

    A row of zeros has no direction; its cosines are 0. Raises ValueError for rows of other shapes or lengths.
    """
    _check_rows(a)
    _check_rows(b)
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"expected rows of one length, got {a.shape[1]} and {b.shape[1]}")
    return _unit(a) @ _unit(b).T


def neighbors(rows: Tensor, k: int, *, of: Tensor | None = None) -> Tensor:
    """For each row the numbers of the k others with the largest cosines, the nearest first. (N, D) -> (N, k) int64.

    `of` (M,) int64 asks for some rows only, and for neighbors among all: (M, k). No row is a neighbor of itself.
    Raises ValueError unless 1 <= k < N.
    """
    _check_rows(rows)
    if not 1 <= k < len(rows):
        raise ValueError(f"expected k from 1 to {len(rows) - 1}, one less than there are rows, got {k}")
    of = torch.arange(len(rows)) if of is None else of  # (M,)
    cosines = cosine_similarity(rows[of], rows)  # (M, N)
    cosines[torch.arange(len(of)), of] = -torch.inf
    return cosines.topk(k, dim=1).indices


def neighbor_purity(rows: Tensor, labels: Tensor, k: int = 5) -> Tensor:
    """The share of each labeled row's k neighbors that have its label. (N, D), (N,) int64 -> (M,) float64.

    A label of −1 says that a row belongs to no group: it is nobody's kin, but may be a neighbor. M counts the others.
    """
    _check_rows(rows)
    if labels.shape != (len(rows),):
        raise ValueError(f"expected a label for each of {len(rows)} rows, got shape {tuple(labels.shape)}")
    of = (labels >= 0).nonzero().flatten()  # (M,)
    return (labels[neighbors(rows, k, of=of)] == labels[of, None]).double().mean(1)


def principal_components(rows: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    """The k directions in which the rows differ most, by the singular value decomposition of the centered rows.

    (N, D) -> coordinates (N, k), directions (k, D) of length 1, and the share of the variance that each one keeps (k,).
    The sign of a direction is free; here its largest number is positive. Raises ValueError unless 1 <= k <= min(N, D).
    """
    _check_rows(rows)
    if not 1 <= k <= min(rows.shape):
        raise ValueError(f"expected k from 1 to {min(rows.shape)} for rows of shape {tuple(rows.shape)}, got {k}")
    centered = rows.double() - rows.double().mean(0)  # (N, D)
    _, sizes, directions = torch.linalg.svd(centered, full_matrices=False)  # (min,), (min, D)
    largest = directions.abs().argmax(1, keepdim=True)  # (min, 1)
    directions = (directions * directions.gather(1, largest).sign())[:k]  # (k, D)
    return centered @ directions.T, directions, (sizes**2 / (sizes**2).sum())[:k]


def ridge(rows: Tensor, targets: Tensor, *, penalty: float) -> tuple[Tensor, Tensor]:
    """The linear map that fits targets best, in closed form: rows @ weights + bias. weights (D, C), bias (C,), float64.

    rows (N, D), targets (N, C). Least squares, to which `penalty` times the squares of the weights is added, but not of
    the bias (Hoerl and Kennard 1970): where a row has more numbers than there are rows, every target could be fitted.
    """
    _check_rows(rows)
    if targets.dim() != 2 or len(targets) != len(rows):
        raise ValueError(f"expected targets of shape ({len(rows)}, C), got {tuple(targets.shape)}")
    if penalty <= 0:
        raise ValueError(f"expected a penalty above 0, got {penalty}")
    rows, targets = rows.double(), targets.double()
    mean, target = rows.mean(0), targets.mean(0)  # (D,), (C,)
    centered = rows - mean  # (N, D)
    gram = centered.T @ centered + penalty * torch.eye(rows.shape[1], dtype=rows.dtype)  # (D, D)
    weights = torch.linalg.solve(gram, centered.T @ (targets - target))  # (D, C)
    return weights, target - mean @ weights


def held_out_predictions(rows: Tensor, targets: Tensor, *, n_folds: int, penalty: float = 0.01) -> Tensor:
    """What linear probes say of rows that they were not fitted on. (N, D), (N, C) -> (N, C) float64.

    Row n belongs to part n mod `n_folds`; each part is predicted by a probe (`ridge`) that was fitted on the others.
    With n_folds = N each row is left out alone. Raises ValueError unless 2 <= n_folds <= N.
    """
    if not 2 <= n_folds <= len(rows):
        raise ValueError(f"expected from 2 to {len(rows)} parts, got {n_folds}")
    part = torch.arange(len(rows)) % n_folds  # (N,)
    said = torch.empty(targets.shape, dtype=torch.float64)  # (N, C)
    for n in range(n_folds):
        weights, bias = ridge(rows[part != n], targets[part != n], penalty=penalty)
        said[part == n] = rows[part == n].double() @ weights + bias
    return said


def _unit(rows: Tensor) -> Tensor:
    """The rows with length 1, in float64; a row of zeros stays. (N, D) -> (N, D)."""
    rows = rows.double()
    return rows / rows.norm(dim=1, keepdim=True).clamp(min=1e-12)


def _check_rows(rows: Tensor) -> None:
    if rows.dim() != 2 or 0 in rows.shape:
        raise ValueError(f"expected rows of shape (N, D), got {tuple(rows.shape)}")
