"""What an embedding table knows, measured: who stands near whom, what a map of it keeps, what a probe can read.

A row of the table is a place. Two rows are compared by the cosine of the angle between them, and a claim about places
("animals stand together") needs a number that a table without meaning does not reach: `neighbor_purity` on random rows
or on shuffled labels. `principal_components` (Pearson 1901; Hotelling 1933) makes the map that loses least of the
variance, and `held_out_predictions` asks what a linear probe (Alain and Bengio 2016) reads from words that it was not
fitted on. Sums are made in float64, so that a rank hardly depends on the order of additions.

Rows can also be trained without a language model, from the words that stand near each other: skip-gram with negative
sampling (Mikolov et al. 2013b, "Distributed Representations of Words and Phrases"), here `skip_gram`. `analogy_ranking`
is the search for king − man + woman (Mikolov et al. 2013c), the words of the question included unless they are left out
by name. For whole sentences there are `mean_pool` and the in-batch `contrastive_loss` (van den Oord et al. 2018).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
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


def word_pairs(texts: Sequence[Sequence[int]], *, window: int) -> Tensor:
    """Each word with each word at most `window` places away in the same text, both ways round. -> (N, 2) int64.

    Raises ValueError for a window below 1.
    """
    if window < 1:
        raise ValueError(f"expected a window of at least 1 place, got {window}")
    pairs = [torch.empty(0, 2, dtype=torch.int64)]
    for text in texts:
        words = torch.as_tensor(text, dtype=torch.int64)  # (T,)
        for distance in range(1, min(window, len(words) - 1) + 1):
            pair = torch.stack((words[:-distance], words[distance:]), 1)  # (T − distance, 2)
            pairs += [pair, pair.flip(1)]
    return torch.cat(pairs)


def negative_sampling_loss(rows: Tensor, contexts: Tensor, words: Tensor, near: Tensor, drawn: Tensor) -> Tensor:
    """How badly rows tell true neighbors from drawn words. rows, contexts (V, D); ids (B,), (B,), (B, K) -> scalar.

    −log σ(row · context) for the word that stood near, and −log σ(−row · context) for each drawn one (Mikolov et al.
    2013b, equation 4), summed over the K and averaged over the B. A drawn word that is the near one itself is skipped:
    it would be called right and wrong at once.
    """
    scores = F.embedding(words, rows) @ contexts.T  # (B, V): for a small V, faster than picking out K contexts each
    right, wrong = scores.gather(1, near[:, None])[:, 0], scores.gather(1, drawn)  # (B,), (B, K)
    counts = drawn != near[:, None]  # (B, K)
    return -(F.logsigmoid(right) + (F.logsigmoid(-wrong) * counts).sum(-1)).mean()


def skip_gram(
    pairs: Tensor,
    counts: Tensor,
    *,
    width: int = 64,
    n_steps: int = 1000,
    batch_size: int = 1024,
    n_drawn: int = 5,
    rate: float = 0.02,
    seed: int = 0,
) -> Tensor:
    """Rows trained so that a word's row tells which words stand near it. (N, 2), counts (V,) -> (V, width) float64.

    Skip-gram with negative sampling, whose wrong words are drawn in shares of counts^0.75 (Mikolov et al. 2013b,
    section 2.2), by Adam with a rate that falls to 0. All draws are numpy's and all sums float64, so that it ends in
    the same place on every machine. Raises ValueError for no pairs or for a word without a count.
    """
    if pairs.dim() != 2 or pairs.shape[1] != 2 or not len(pairs):
        raise ValueError(f"expected pairs of shape (N, 2) with N of at least 1, got {tuple(pairs.shape)}")
    if int(pairs.max()) >= len(counts):
        raise ValueError(f"expected a count for each word, got {len(counts)} for ids up to {int(pairs.max())}")
    draw = np.random.default_rng(seed)
    shares = counts.double().numpy() ** 0.75  # (V,)
    below = np.cumsum(shares / shares.sum())  # (V,)
    rows = torch.from_numpy(draw.normal(size=(len(counts), width)) * 0.1).requires_grad_()  # (V, D)
    contexts = torch.zeros_like(rows).requires_grad_()  # (V, D)
    optimizer = torch.optim.Adam((rows, contexts))
    for step in range(n_steps):
        optimizer.param_groups[0]["lr"] = rate * (1 - step / n_steps)
        batch = pairs[torch.from_numpy(draw.integers(len(pairs), size=batch_size))]  # (B, 2)
        drawn = np.searchsorted(below[:-1], draw.random((batch_size, n_drawn)), side="right")  # (B, K)
        loss = negative_sampling_loss(rows, contexts, batch[:, 0], batch[:, 1], torch.from_numpy(drawn))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return rows.detach()


def analogy_ranking(rows: Tensor, a: int, b: int, c: int, *, leave_out: bool) -> Tensor:
    """All words, the best first, for "a is to b as c is to?": by their cosine with b − a + c. (V, D) -> ids int64.

    Rows count with length 1 (Mikolov et al. 2013c). With leave_out the words a, b and c are not in the list, V − 3
    instead of V: this is what published accuracies mostly do, and it changes them (Linzen 2016; Rogers et al. 2017).
    """
    unit = _unit(rows)  # (V, D)
    order = (unit @ (unit[b] - unit[a] + unit[c])).argsort(descending=True)  # (V,)
    return order[~torch.isin(order, torch.tensor([a, b, c]))] if leave_out else order


def mean_pool(vectors: Tensor, counts: Tensor) -> Tensor:
    """One vector for each text: the mean of those of its own tokens. vectors (B, T, D), counts (B, T) -> (B, D).

    `counts` is True, or 1, at a text's tokens and False at the padding. Raises ValueError for a text without tokens.
    """
    counts = counts.to(vectors.dtype)[..., None]  # (B, T, 1)
    totals = counts.sum(1)  # (B, 1)
    if (totals == 0).any():
        raise ValueError("expected at least one token in each text, got a row of padding alone")
    return (vectors * counts).sum(1) / totals


def contrastive_loss(one: Tensor, other: Tensor, *, temperature: float = 0.1) -> Tensor:
    """How badly each row of `one` finds its partner among the rows of `other`. (N, D), (M, D), M >= N -> scalar.

    The cosines of row n with all M, divided by `temperature`, are the logits of a choice in which row n of `other` is
    right; the rest of the batch are the wrong ones (van den Oord et al. 2018; in batches, Henderson et al. 2017). Rows
    from N on are wrong for everybody: hard negatives. Raises ValueError for other shapes.
    """
    if one.dim() != 2 or other.dim() != 2 or one.shape[1] != other.shape[1] or len(other) < len(one):
        raise ValueError(f"expected (N, D) and (M, D) with M >= N, got {tuple(one.shape)} and {tuple(other.shape)}")
    logits = F.normalize(one, dim=1) @ F.normalize(other, dim=1).T / temperature  # (N, M)
    return F.cross_entropy(logits, torch.arange(len(one)))


def _unit(rows: Tensor) -> Tensor:
    """The rows with length 1, in float64; a row of zeros stays. (N, D) -> (N, D)."""
    rows = rows.double()
    return rows / rows.norm(dim=1, keepdim=True).clamp(min=1e-12)


def _check_rows(rows: Tensor) -> None:
    if rows.dim() != 2 or 0 in rows.shape:
        raise ValueError(f"expected rows of shape (N, D), got {tuple(rows.shape)}")
