"""Exercises, questions and predictions of notebook 04a_embeddings_table."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from ..records import Prediction, Question, exercise

# The gradient of a look-up --------------------------------------------------------------------------------------------


def _slopes():
    """Ids that come once, twice and three times, the last row, a table of two rows; D and V never equal."""
    for ids, n_rows, width in (([1], 3, 2), ([0, 2, 0], 4, 3), ([4, 4, 1, 4], 5, 2), ([1, 0], 2, 3), ([5, 2, 5], 7, 4)):
        yield torch.tensor(ids), torch.randn(len(ids), width), n_rows


@exercise(
    "embeddings.gradient",
    title="The gradient of a look-up",
    prompt="A table was read at some ids. Turn the gradients of the vectors that came out into that of the table.",
    hints=(
        "The table has n_rows rows, so its gradient has as many. Rows that were not read keep a gradient of 0.",
        "A row that was read twice moved two vectors: its gradient is the sum of both. "
        "`gradient[ids] = slopes` and `gradient[ids] += slopes` keep only one of them.",
        "Loop over zip(ids, slopes) and add, or use index_add_, or one-hot rows: F.one_hot(ids, n_rows).T @ slopes.",
    ),
    inputs=_slopes,
    keeps=("ids", "slopes"),
    difficulty=2,
    minutes=9,
)
def table_gradient(ids, slopes, n_rows):
    """ids (T,), slopes (T, D) of the vectors read -> (n_rows, D): the table's gradient. Both stay as they are."""
    gradient = torch.zeros(n_rows, slopes.shape[1])  # (V, D)
    for row, slope in zip(ids, slopes, strict=True):
        gradient[row] += slope
    return gradient


def _one_hot(ids, slopes, n_rows):
    return F.one_hot(ids, n_rows).to(slopes)  # (T, V)


def _last_one(ids, slopes, n_rows, first=False):
    gradient = torch.zeros(n_rows, slopes.shape[1])
    pairs = list(zip(ids.tolist(), slopes, strict=True))
    for row, slope in reversed(pairs) if first else pairs:
        gradient[row] = slope
    return gradient


def _rows_read(ids, slopes, n_rows):
    return table_gradient.answer(ids, slopes, n_rows)[sorted(set(ids.tolist()))]


def _added_in_place(ids, slopes, n_rows):
    found = {}
    for row, slope in zip(ids.tolist(), slopes, strict=True):
        if row in found:
            found[row] += slope
        else:
            found[row] = slope
    return torch.stack([found.get(row, torch.zeros(slopes.shape[1])) for row in range(n_rows)])


table_gradient.plant({
    "a row that was read twice keeps one gradient only: with repeated ids, `gradient[ids] = slopes` and `+= slopes` "
    "write one over the other. Add them up":
        (_last_one, lambda ids, slopes, n_rows: _last_one(ids, slopes, n_rows, first=True)),
    "the gradient is dense: every row got something. The rows that were not read moved nothing and get 0":
        (
            lambda ids, slopes, n_rows: slopes.sum(0).expand(n_rows, -1),
            lambda ids, slopes, n_rows: slopes.mean(0).expand(n_rows, -1),
            lambda ids, slopes, n_rows: _one_hot(ids, slopes, n_rows).softmax(1).T @ slopes,
            lambda ids, slopes, n_rows: torch.ones(n_rows, len(ids)) @ slopes,
        ),
    "rows and columns of the table are exchanged: a row of the table is a token, (n_rows, D)":
        lambda ids, slopes, n_rows: table_gradient.answer(ids, slopes, n_rows).T,
    "the gradients of a row that was read several times are averaged; each reading adds its own":
        lambda ids, slopes, n_rows: (
            table_gradient.answer(ids, slopes, n_rows)
            / _one_hot(ids, slopes, n_rows).sum(0).clamp(min=1)[:, None]
        ),
    "only the rows that were read come back; the gradient has the shape of the table, (n_rows, D), with zeros in the "
    "other rows":
        _rows_read,
    "these are the gradients of the vectors, one for each token of the text; the table has one row for each id":
        lambda ids, slopes, n_rows: slopes,
    "the ids are counted from 1 here; id 0 is the first row":
        lambda ids, slopes, n_rows: table_gradient.answer((ids - 1) % n_rows, slopes, n_rows),
    "the sign is turned round: that is the step downhill; the gradient itself is asked for":
        lambda ids, slopes, n_rows: -table_gradient.answer(ids, slopes, n_rows),
    "that counts how often each row was read; the gradients of the vectors are not in it":
        lambda ids, slopes, n_rows: _one_hot(ids, slopes, n_rows).sum(0)[:, None].expand(-1, slopes.shape[1]),
    "each slope went to the row of its place in the text; it belongs to the row of its id, ids[t]":
        lambda ids, slopes, n_rows: F.pad(slopes, (0, 0, 0, n_rows))[:n_rows],
    "the gradients are divided by the number of tokens; each reading adds its own, whole":
        lambda ids, slopes, n_rows: table_gradient.answer(ids, slopes, n_rows) / len(ids),
    "the slopes that were given were changed: `row = slope` is one tensor under two names, and += writes into it":
        _added_in_place,
    "one-hot rows (T, V) and slopes (T, D) do not fit; turn the first round: (V, T) @ (T, D) is (V, D)":
        lambda ids, slopes, n_rows: _one_hot(ids, slopes, n_rows) @ slopes,
})  # fmt: skip


# A table that is used twice -------------------------------------------------------------------------------------------


def _tied_runs():
    """No step, one and several; ids that repeat, a rate of 0 and a large one."""
    for n_rows, width, ids, targets, n_steps, lr in (
        (3, 2, [0], [1], 1, 0.5), (4, 3, [0, 2, 2], [1, 3, 0], 0, 0.5), (5, 2, [4, 1], [1, 1], 3, 0.5),
        (6, 4, [5, 0, 3], [2, 2, 5], 2, 1.0), (4, 3, [1, 3], [3, 1], 5, 0.25),
    ):  # fmt: skip
        yield torch.randn(n_rows, width), torch.tensor(ids), torch.tensor(targets), n_steps, lr


@exercise(
    "embeddings.tied",
    title="A table that is only called tied",
    prompt=(
        "One table reads tokens and scores the next ones. Here it is tied at the start, and after a step it is not. "
        "Mend it."
    ),
    hints=(
        "Print (rows_in - rows_out).abs().max() after each step: 0 before the first, and then?",
        "clone() makes another tensor with the same numbers. Tied means one tensor under two names.",
        "With one tensor, its gradient holds both parts after backward: what came through the look-up and what came "
        "through the scores. Step it once.",
    ),
    inputs=_tied_runs,
    keeps=("table",),
    difficulty=2,
    minutes=7,
)
def train_tied(table, ids, targets, n_steps, lr):
    """Gradient descent with one table (V, D) -> it after n_steps; `table` stays as it is.

    Rows are read for ids (T,), and each token is scored by its row; right are targets (T,).
    """
    rows = table.clone().requires_grad_()  # (V, D): the one table, in both places
    for _ in range(n_steps):
        logits = rows[ids] @ rows.T  # (T, V)
        loss = F.cross_entropy(logits, targets)
        (slope,) = torch.autograd.grad(loss, (rows,))  # (V, D)
        with torch.no_grad():
            rows -= lr * slope
    return rows.detach()


@train_tied.mend(
    "the two tables are copies: equal at the start, and apart after one step. Use one tensor in both places"
)
def _copied(table, ids, targets, n_steps, lr):
    rows_in = table.clone().requires_grad_()  # (V, D)
    rows_out = table.clone().requires_grad_()  # (V, D)
    for _ in range(n_steps):
        logits = rows_in[ids] @ rows_out.T  # (T, V)
        loss = F.cross_entropy(logits, targets)
        slopes = torch.autograd.grad(loss, (rows_in, rows_out))  # (V, D) each
        with torch.no_grad():
            rows_in -= lr * slopes[0]
            rows_out -= lr * slopes[1]
    return rows_in.detach()


def _descend(table, ids, targets, n_steps, lr, *, parts=(1.0, 1.0), keep=False, reduction="mean", both=False):
    """`train_tied` with shares of the two gradients, kept ones from step to step, or another loss."""
    rows_in, rows_out, held = table.clone(), table.clone(), torch.zeros_like(table)
    for _ in range(n_steps):
        inside, outside = rows_in.clone().requires_grad_(), rows_out.clone().requires_grad_()
        loss = F.cross_entropy(inside[ids] @ outside.T, targets, reduction=reduction)
        slopes = torch.autograd.grad(loss, (inside, outside))
        slope = parts[0] * slopes[0] + parts[1] * slopes[1] + (held if keep else 0)
        held = slope
        rows_in = rows_out = rows_in - lr * slope
    return (rows_in, rows_out) if both else rows_in


def _given_changed(table, ids, targets, n_steps, lr):
    table.copy_(_descend(table, ids, targets, n_steps, lr))
    return table


def _copied_out(table, ids, targets, n_steps, lr):
    rows_in, rows_out = table.clone().requires_grad_(), table.clone().requires_grad_()
    for _ in range(n_steps):
        slopes = torch.autograd.grad(F.cross_entropy(rows_in[ids] @ rows_out.T, targets), (rows_in, rows_out))
        with torch.no_grad():
            rows_in -= lr * slopes[0]
            rows_out -= lr * slopes[1]
    return rows_out.detach()


def _averaged(table, ids, targets, n_steps, lr):
    copies = (_copied(table, ids, targets, n_steps, lr), _copied_out(table, ids, targets, n_steps, lr))
    return (copies[0] + copies[1]) / 2


def _parted(table, ids, targets, n_steps, lr, new=False):
    rows_in = rows_out = table.clone()
    for n in range(n_steps):
        inside, outside = rows_in.clone().requires_grad_(), rows_out.clone().requires_grad_()
        slopes = torch.autograd.grad(F.cross_entropy(inside[ids] @ outside.T, targets), (inside, outside))
        first = (slopes[0] + slopes[1]) if n == 0 else None
        rows_in = rows_in - lr * (slopes[0] if first is None else first)
        if not new:
            rows_out = rows_out - lr * (slopes[1] if first is None else first)
    return rows_in


def _read_rows_moved(table, ids, targets, n_steps, lr):
    rows = table.clone()
    for _ in range(n_steps):
        moved = _descend(rows, ids, targets, 1, lr)
        rows = rows.clone()
        rows[ids] = moved[ids]
    return rows


def _one_moves(table, ids, targets, n_steps, lr):
    rows_in, rows_out = table.clone().requires_grad_(), table.clone().requires_grad_()
    for _ in range(n_steps):
        slopes = torch.autograd.grad(F.cross_entropy(rows_in[ids] @ rows_out.T, targets), (rows_in, rows_out))
        with torch.no_grad():
            rows_in -= lr * (slopes[0] + slopes[1])
    return rows_in.detach()


train_tied.plant({
    "one tensor at the start, two after a step: `rows = rows - …` makes a new tensor under that name alone. Write "
    "into the one (`-=`), or give both names the new one":
        (_parted, lambda *given: _parted(*given, new=True)),
    "both gradients go to one copy, and the other stays as it was; there should be one tensor":
        _one_moves,
    "there is one step too many":
        lambda table, ids, targets, n_steps, lr: _descend(table, ids, targets, n_steps + 1, lr),
    "only the rows that were read are moved; the scores have a gradient for every row":
        _read_rows_moved,
    "the table for the scores comes back, still a copy of the one that reads; there should be one tensor":
        _copied_out,
    "two copies are trained apart and averaged at the end; a tied table is one tensor all the way":
        _averaged,
    "the average of both gradients is taken; the gradient of one table used twice is their sum":
        lambda table, ids, targets, n_steps, lr: _descend(table, ids, targets, n_steps, lr, parts=(0.5, 0.5)),
    "the scores do not teach the table: the part of the gradient that comes through `rows.T` is missing. Was it "
    "detached?":
        lambda table, ids, targets, n_steps, lr: _descend(table, ids, targets, n_steps, lr, parts=(1.0, 0.0)),
    "the look-up does not teach the table: the part of the gradient that comes through `rows[ids]` is missing. Was it "
    "detached?":
        lambda table, ids, targets, n_steps, lr: _descend(table, ids, targets, n_steps, lr, parts=(0.0, 1.0)),
    "the steps go uphill: subtract lr times the gradient":
        lambda table, ids, targets, n_steps, lr: _descend(table, ids, targets, n_steps, -lr),
    "each step still holds the gradients of those before: backward() adds to .grad, so set it to None after a step":
        lambda table, ids, targets, n_steps, lr: _descend(table, ids, targets, n_steps, lr, keep=True),
    "each step is made twice, once under each name of the same tensor":
        lambda table, ids, targets, n_steps, lr: _descend(table, ids, targets, n_steps, 2 * lr),
    "the losses are summed; the loss is their mean":
        lambda table, ids, targets, n_steps, lr: _descend(table, ids, targets, n_steps, lr, reduction="sum"),
    "the table that was given is trained itself; leave it as it is, and train one clone":
        _given_changed,
    "both names are returned; there is one table, (V, D)":
        lambda table, ids, targets, n_steps, lr: _descend(table, ids, targets, n_steps, lr, both=True),
    "the table comes back as it was":
        lambda table, ids, targets, n_steps, lr: table.clone(),
})  # fmt: skip


# Nearest rows ---------------------------------------------------------------------------------------------------------


def _tables():
    """All obtuse to one another in the first, two equal rows in the second; unequal lengths, more numbers than rows."""
    yield torch.tensor([[1.0, 0.1], [-1.2, 2.0], [-0.4, -0.9]]), 2
    yield torch.tensor([[2.0, 0.5], [-3.0, 0.2], [2.0, 0.5], [-0.5, -0.3], [-1.0, 0.6]]), 1
    for n_rows, width, k in ((5, 3, 1), (6, 2, 3), (9, 4, 8), (12, 5, 4), (6, 9, 2)):
        sizes = torch.logspace(-1, 2, n_rows)[torch.randperm(n_rows)]
        yield torch.randn(n_rows, width) * sizes[:, None], k


@exercise(
    "embeddings.neighbors",
    title="The nearest rows",
    prompt="Find for each row of a table the k other rows with the largest cosines.",
    hints=(
        "Divide each row by its own length: rows / rows.norm(dim=1, keepdim=True). Then all cosines are one product.",
        "A row is nearest to itself. Put −∞ on the diagonal before looking for the largest: "
        "fill_diagonal_(-torch.inf). A 0 there is no protection where all cosines are negative.",
        "topk(k, dim=1).indices gives the places of the k largest of each row, in order.",
    ),
    inputs=_tables,
    keeps=("rows",),
    difficulty=2,
    minutes=10,
)
def nearest(rows, k):
    """rows (N, D), left as they are -> (N, k): the k other rows with the largest cosines, nearest first."""
    unit = rows / rows.norm(dim=1, keepdim=True)  # (N, D)
    cosines = unit @ unit.T  # (N, N)
    cosines.fill_diagonal_(-torch.inf)
    return cosines.topk(k, dim=1).indices  # (N, k)


def _unit(rows):
    return rows / rows.norm(dim=1, keepdim=True)


def _ranked(scores, k, *, diagonal=-torch.inf, largest=True):
    scores = scores.clone()
    if diagonal is not None:
        scores.fill_diagonal_(diagonal)
    return scores.topk(k, dim=1, largest=largest).indices


def _first_dropped(rows, k):
    return _ranked(_unit(rows) @ _unit(rows).T, k + 1, diagonal=None)[:, 1:]


def _shifted(rows, k):
    """Each row is taken out before the search, so that the places behind it move up by one."""
    found = _ranked(_unit(rows) @ _unit(rows).T, k)
    return found - (found > torch.arange(len(rows))[:, None]).long()


nearest.plant({
    "of two equal rows one is its own neighbor: the first of k + 1 is not always the row itself. Put −∞ on the "
    "diagonal and take k":
        _first_dropped,
    "the row itself was taken out before the search, so every place behind it is one too small":
        _shifted,
    "the right rows, the farthest of them first: the nearest comes first":
        (
            lambda rows, k: _ranked(_unit(rows) @ _unit(rows).T, k).flip(1),
            lambda rows, k: _ranked(_unit(rows) @ _unit(rows).T, k + 1, diagonal=None).flip(1)[:, :-1],
        ),
    "argsort begins with the smallest: descending=True":
        lambda rows, k: _ranked(_unit(rows) @ _unit(rows).T, k, largest=False),
    "the sign is thrown away (abs, a square): −1 is opposite, the farthest of all":
        (
            lambda rows, k: _ranked((_unit(rows) @ _unit(rows).T).abs(), k),
            lambda rows, k: _ranked((_unit(rows) @ _unit(rows).T) ** 2, k),
        ),
    "the cosine is a @ b / (a.norm() * b.norm()); without the brackets the second length multiplies":
        lambda rows, k: _ranked(_unit(rows) @ rows.T * rows.norm(dim=1), k),
    "the rows are divided by the squares of their lengths; the root is missing":
        lambda rows, k: (lambda short: _ranked(short @ short.T, k))(rows / rows.pow(2).sum(1, keepdim=True)),
    "each row has itself as its nearest neighbor: leave the diagonal out before ranking":
        lambda rows, k: _ranked(_unit(rows) @ _unit(rows).T, k, diagonal=None),
    "where all cosines are negative, a row is its own neighbor again: a 0 on the diagonal is larger than they are. "
    "Put −∞ there":
        lambda rows, k: _ranked(_unit(rows) @ _unit(rows).T, k, diagonal=0.0),
    "long rows win everywhere: these are dot products, or divided by the length of the row that asks alone. Divide by "
    "the neighbor's length, too":
        (lambda rows, k: _ranked(rows @ rows.T, k), lambda rows, k: _ranked(_unit(rows) @ rows.T, k)),
    "the rows are divided by one number, the length of the whole table, which changes no ranking; norm() needs dim=1":
        (
            lambda rows, k: _ranked(rows @ rows.T / rows.norm() ** 2, k, diagonal=None),
            lambda rows, k: _ranked(rows @ rows.T / rows.norm(), k, diagonal=0.0),
        ),
    "each column was brought to length 1 instead of each row: dim=1 runs along a row":
        lambda rows, k: _ranked((rows / rows.norm(dim=0)) @ (rows / rows.norm(dim=0)).T, k),
    "these are the nearest by distance, which goes by length too; the largest cosines are asked":
        lambda rows, k: _ranked(torch.cdist(rows, rows), k, diagonal=torch.inf, largest=False),
    "these are the farthest: a large cosine is near":
        (
            lambda rows, k: _ranked(_unit(rows) @ _unit(rows).T, k, diagonal=torch.inf, largest=False),
            lambda rows, k: _ranked(_unit(rows) @ _unit(rows).T, k, diagonal=None, largest=False),
        ),
    "the cosines come back; their places are asked, topk(…).indices":
        lambda rows, k: (_unit(rows) @ _unit(rows).T).fill_diagonal_(-torch.inf).topk(k, dim=1).values,
    "the nearest one is left out together with the row itself: the diagonal is already −∞, so take all k":
        lambda rows, k: _ranked(_unit(rows) @ _unit(rows).T, min(k + 1, len(rows)))[:, 1:],
    "the last of the k is missing: one of topk's places was the row itself, so put −∞ on the diagonal and take k":
        lambda rows, k: _ranked(_unit(rows) @ _unit(rows).T, k, diagonal=None)[:, 1:],
    "rows and columns of the table are exchanged: that compares the D columns. A token is a row: rows @ rows.T, (N, N)":
        (
            lambda rows, k: (_unit(rows.T) @ _unit(rows.T).T).fill_diagonal_(-torch.inf).topk(k, dim=1).indices,
            lambda rows, k: (_unit(rows).T @ _unit(rows)).fill_diagonal_(-torch.inf).topk(k, dim=1).indices,
        ),
    "the mean row was subtracted first, which moves the point from which angles are seen; here rows are compared as "
    "they are":
        lambda rows, k: _ranked(_unit(rows - rows.mean(0)) @ _unit(rows - rows.mean(0)).T, k),
    "the rows that were given were changed: the division was written into them":
        lambda rows, k: _ranked(rows.div_(rows.norm(dim=1, keepdim=True)) @ rows.T, k),
    "the places run down the columns, (k, N): topk needs dim=1":
        lambda rows, k: (_unit(rows) @ _unit(rows).T).fill_diagonal_(-torch.inf).topk(k, dim=0).indices,
})  # fmt: skip


# A map ----------------------------------------------------------------------------------------------------------------


def _clouds():
    """Clouds far from the origin, with unequal spread; more numbers than rows in one."""
    for n_rows, width, k in ((4, 3, 1), (6, 3, 2), (8, 5, 2), (5, 7, 3), (9, 4, 4)):
        spread = torch.logspace(0.5, -0.5, width)
        yield torch.randn(n_rows, width) * spread + 4 * torch.randn(width), k


@exercise(
    "embeddings.map",
    title="Distances on a map",
    prompt=(
        "Make the map of k dimensions that keeps most of the variance (PCA), and measure the distances of its points. "
        "Distances do not depend on the signs of the directions, which are free."
    ),
    hints=(
        "Begin with rows - rows.mean(0): the mean row becomes the origin.",
        "torch.linalg.svd(centered, full_matrices=False) gives U (N, min), S (min,) and Vh (min, D); the rows of Vh "
        "are the directions, the one with most variance first.",
        "The map is centered @ Vh[:k].T, (N, k). torch.cdist(places, places) gives all distances.",
    ),
    inputs=_clouds,
    keeps=("rows",),
    difficulty=3,
    minutes=9,
)
def map_distances(rows, k):
    """rows (N, D), left as they are -> (N, N): how far apart they lie on the map of k principal components."""
    centered = rows - rows.mean(0)  # (N, D)
    directions = torch.linalg.svd(centered, full_matrices=False).Vh[:k]  # (k, D)
    places = centered @ directions.T  # (N, k)
    return (places[:, None] - places).norm(dim=2)  # (N, N)


def _apart(places):
    return (places[:, None] - places).norm(dim=2)


def _svd(rows):
    return torch.linalg.svd(rows, full_matrices=False)


def _centered(rows):
    return rows - rows.mean(0)


map_distances.plant({
    "the rows were not centered: the first direction then points at the mean of all rows, and the map loses one. "
    "Subtract rows.mean(0) first":
        (
            lambda rows, k: _apart(rows @ _svd(rows).Vh[:k].T),
            lambda rows, k: _apart(_centered(rows) @ _svd(rows).Vh[:k].T),
        ),
    "rows and columns are exchanged in the centering: mean(1) is the mean of the numbers in one row; the mean row is "
    "mean(0)":
        lambda rows, k: (lambda c: _apart(c @ _svd(c).Vh[:k].T))(rows - rows.mean(1, keepdim=True)),
    "mean() without a dimension is one number, the mean of all; subtract the mean row, mean(0)":
        lambda rows, k: (lambda c: _apart(c @ _svd(c).Vh[:k].T))(rows - rows.mean()),
    "that is U alone: every direction of the map is stretched to the same spread. Multiply by S, or project on Vh":
        lambda rows, k: _apart(_svd(_centered(rows)).U[:, :k]),
    "rows and columns of the directions are exchanged: they are the rows of Vh, Vh[:k], but the columns of V, V[:, :k]":
        lambda rows, k: _apart(_centered(rows) @ _svd(_centered(rows)).Vh[:, :k]),
    "eigh puts the directions into columns, the smallest variance first: eigenvectors[:, -k:]":
        (
            lambda rows, k: _apart(_centered(rows) @ torch.linalg.eigh(rows.T.cov()).eigenvectors[-k:].T),
            lambda rows, k: _apart(_centered(rows) @ torch.linalg.eigh(rows.T.cov()).eigenvectors[:k].T),
        ),
    "these are the last rows of Vh, the directions with the least variance; the widest come first, Vh[:k]":
        lambda rows, k: _apart(_centered(rows) @ _svd(_centered(rows)).Vh[-k:].T),
    "the rows that were given were changed: the mean row was subtracted from them in place":
        lambda rows, k: _apart(rows.sub_(rows.mean(0)) @ _svd(rows).Vh[:k].T),
    "these are dot products of the places; the distances are asked, torch.cdist":
        lambda rows, k: (lambda p: p @ p.T)(_centered(rows) @ _svd(_centered(rows)).Vh[:k].T),
    "there are always two directions; k says how many":
        lambda rows, k: _apart(_centered(rows) @ _svd(_centered(rows)).Vh[:2].T),
    "these are the directions with the least variance: eigh lists the smallest first":
        lambda rows, k: _apart(_centered(rows) @ torch.linalg.eigh(rows.T.cov()).eigenvectors[:, :k]),
    "those are the distances between the full rows; on the map only k directions count":
        lambda rows, k: _apart(rows),
    "the first k numbers of each row are no map: they are the directions that the model happens to number first":
        lambda rows, k: _apart(rows[:, :k]),
    "the distances are squared; take the root":
        lambda rows, k: _apart(_centered(rows) @ _svd(_centered(rows)).Vh[:k].T) ** 2,
    "every column was divided by its spread, which gives small directions the weight of large ones; center only":
        lambda rows, k: (lambda c: _apart(c @ _svd(c).Vh[:k].T))(_centered(rows) / rows.std(0)),
    "the places come back, (N, k); their distances are asked, (N, N)":
        lambda rows, k: _centered(rows) @ _svd(_centered(rows)).Vh[:k].T,
    "there is one direction too few or one too many on the map: Vh[:k] are k":
        (
            lambda rows, k: _apart(_centered(rows) @ _svd(_centered(rows)).Vh[: k + 1].T),
            lambda rows, k: _apart(_centered(rows) @ _svd(_centered(rows)).Vh[: k - 1].T),
            lambda rows, k: _apart(_centered(rows) @ _svd(_centered(rows)).Vh[1 : k + 1].T),
        ),
    "rows and columns of the table are exchanged: that is a map of the D columns. A point is a row, (N, N)":
        lambda rows, k: _apart(_centered(rows.T) @ _svd(_centered(rows.T)).Vh[:k].T),
})  # fmt: skip


EXERCISES = (table_gradient, train_tied, nearest, map_distances)

PREDICTIONS = (
    Prediction(
        id="embeddings.swap",
        text=(
            "In the trained model's table the rows of “ France” and “ Spain” are exchanged, where tokens are read and "
            "where the next token is scored. What does it say after “The capital of France is”?"
        ),
        options=("Paris, as before", "Madrid", "neither: the model breaks", "one of the two, by chance"),
    ),
    Prediction(
        id="embeddings.map_share",
        text=(
            "Take a word's five nearest words in all 192 dimensions, and its five nearest on the best map of two. How "
            "many of the five are the same, on average?"
        ),
        unit="neighbors",
    ),
)

QUESTIONS = (
    Question(
        id="embeddings.rows_with_gradient",
        text=(
            "A model with one tied table of 4,096 rows reads a batch in which 300 different tokens occur. How many "
            "rows of the table get a gradient that is not 0?"
        ),
        options=("300", "4,096", "300 for reading and 300 more for scoring", "None: tied tables are frozen"),
        answer=1,
        why=(
            "So it is in an untied table that only reads.",
            "Each token of the vocabulary is scored by its row at every position, and every score has a slope.",
            "Scoring compares the stream with all rows, not with those that occur.",
            "A tied table is trained like any other weight, through both of its uses.",
        ),
    ),
    Question(
        id="embeddings.what_a_probe_shows",
        text=(
            "A linear probe with 192 weights for each kind names the kinds of 100 words without an error, on those 100 "
            "words. What follows?"
        ),
        options=(
            "The rows know the kinds",
            "The model uses the kinds",
            "Nothing yet: with more weights than words, random rows would do as well",
            "The probe is too weak",
        ),
        answer=2,
        why=(
            "Only words that the probe was not fitted on can show that.",
            "Even a probe that is right on held-out words shows what can be read, not what the model reads.",
            "So we hold words out, and fit the same probe on random rows.",
            "It is, if anything, too strong for so few words.",
        ),
    ),
    Question(
        id="embeddings.why_rename",
        text="Two rows of a tied table are exchanged. Why do the answers about these two still agree?",
        options=(
            "Because the two words mean nearly the same",
            "Because ids are names: what the model knows hangs on the rows, and both uses now find them under the "
            "other name",
            "Because later layers repair the error",
            "Because the rows are trained again",
        ),
        answer=1,
        why=(
            "It would be so for any two words.",
            "Exchanged for reading only or for scoring only, the model calls one thing by two names.",
            "Later layers see what they would see if the prompt named the other word; there is nothing to repair.",
            "No weight was trained; two rows changed places.",
        ),
    ),
)
