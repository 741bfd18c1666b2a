"""Neighbors, maps and probes agree with brute force, torch and numpy, and a table without meaning scores as chance."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from llmlab import embeddings, load_model, model_card


@pytest.fixture
def rows():
    return torch.randn(30, 7, generator=torch.Generator().manual_seed(0)) + 2  # far from centered


def test_cosines_are_those_of_torch(rows):
    a, b = rows[:4], 100 * rows[4:13]
    assert torch.allclose(
        embeddings.cosine_similarity(a, b), F.cosine_similarity(a[:, None], b[None], dim=-1).double(), atol=1e-6
    )


def test_a_row_of_zeros_has_the_cosine_0():
    assert embeddings.cosine_similarity(torch.zeros(1, 3), torch.ones(2, 3)).tolist() == [[0, 0]]


def test_neighbors_are_those_of_a_search_one_by_one(rows):
    found = embeddings.neighbors(rows, 4)
    for n, row in enumerate(rows.tolist()):
        others = [m for m in range(len(rows)) if m != n]

        def cosine(m, row=row):
            other = rows[m].tolist()
            return sum(x * y for x, y in zip(row, other, strict=True)) / math.hypot(*row) / math.hypot(*other)

        assert found[n].tolist() == sorted(others, key=cosine, reverse=True)[:4]
    some = torch.tensor([7, 3])
    assert torch.equal(embeddings.neighbors(rows, 4, of=some), found[some])


def test_no_row_is_its_own_neighbor_even_among_equal_ones():
    found = embeddings.neighbors(torch.ones(5, 3), 4)
    assert [sorted(line) for line in found.tolist()] == [[m for m in range(5) if m != n] for n in range(5)]


def test_purity_counts_neighbors_of_the_same_label():
    rows = torch.tensor([[1.0, 0], [1, 0.1], [1, 0.2], [0, 1], [0.1, 1], [-1, -1]])
    labels = torch.tensor([0, 0, 1, 2, 2, -1])
    purity = embeddings.neighbor_purity(rows, labels, k=2)
    assert purity.tolist() == [0.5, 0.5, 0, 0.5, 0.5]  # the last row has no label and is not counted


def test_purity_of_random_rows_is_chance():
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(400) % 4
    purity = embeddings.neighbor_purity(torch.randn(400, 50, generator=generator), labels, k=5)
    assert abs(purity.mean() - 99 / 399) < 0.05


def test_principal_components_are_the_eigenvectors_of_the_covariance(rows):
    coordinates, directions, share = embeddings.principal_components(rows, 3)
    values, vectors = np.linalg.eigh(np.cov(rows.double().numpy().T))
    assert np.allclose(share, values[::-1][:3] / values.sum())
    for n in range(3):
        assert abs(abs(vectors[:, -1 - n] @ directions[n].numpy()) - 1) < 1e-9
        assert directions[n].max() == directions[n].abs().max()
    assert np.allclose(coordinates.numpy().var(0, ddof=1), values[::-1][:3])
    assert torch.allclose(coordinates.mean(0), torch.zeros(3, dtype=torch.float64), atol=1e-12)


def test_all_components_together_keep_every_distance(rows):
    coordinates, _, share = embeddings.principal_components(rows, 7)
    assert torch.allclose(F.pdist(coordinates), F.pdist(rows.double()))
    assert abs(share.sum() - 1) < 1e-12


def test_ridge_solves_least_squares_with_the_penalty_as_more_rows(rows):
    targets = torch.randn(30, 2, generator=torch.Generator().manual_seed(1))
    weights, bias = embeddings.ridge(rows, targets, penalty=0.5)
    # the same problem written out: a column of ones for the bias, and a row √penalty for each weight
    left = np.block([[rows.numpy(), np.ones((30, 1))], [0.5**0.5 * np.eye(7), np.zeros((7, 1))]])
    right = np.vstack([targets.numpy(), np.zeros((7, 2))])
    expected, *_ = np.linalg.lstsq(left, right, rcond=None)
    assert np.allclose(weights, expected[:7], atol=1e-6) and np.allclose(bias, expected[7], atol=1e-6)


def test_held_out_rows_are_predicted_by_the_others(rows):
    targets = torch.randn(30, 2, generator=torch.Generator().manual_seed(1))
    said = embeddings.held_out_predictions(rows, targets, n_folds=30, penalty=0.5)
    others = torch.arange(30) != 11
    weights, bias = embeddings.ridge(rows[others], targets[others], penalty=0.5)
    assert torch.allclose(said[11], rows[11].double() @ weights + bias)
    targets[11] += 100  # what is held out cannot be seen
    assert torch.allclose(embeddings.held_out_predictions(rows, targets, n_folds=30, penalty=0.5)[11], said[11])


def test_a_probe_on_random_rows_does_not_beat_chance():
    rows = torch.randn(200, 300, generator=torch.Generator().manual_seed(0))  # more numbers in a row than rows
    targets = F.one_hot(torch.randint(4, (200,), generator=torch.Generator().manual_seed(1)), 4)
    fitted, bias = embeddings.ridge(rows, targets, penalty=0.01)
    assert ((rows.double() @ fitted + bias).argmax(1) == targets.argmax(1)).all()  # on rows that it has seen
    right = embeddings.held_out_predictions(rows, targets, n_folds=10).argmax(1) == targets.argmax(1)
    assert right.double().mean() < 0.4


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda r: embeddings.cosine_similarity(r, r[:, :3]), "rows of one length, got 7 and 3"),
        (lambda r: embeddings.cosine_similarity(r[0], r), r"shape \(N, D\), got \(7,\)"),
        (lambda r: embeddings.neighbors(r, 30), "k from 1 to 29"),
        (lambda r: embeddings.neighbor_purity(r, torch.zeros(3)), "a label for each of 30 rows"),
        (lambda r: embeddings.principal_components(r, 8), "k from 1 to 7"),
        (lambda r: embeddings.ridge(r, torch.zeros(30), penalty=1), r"targets of shape \(30, C\)"),
        (lambda r: embeddings.ridge(r, torch.zeros(30, 1), penalty=0), "penalty above 0"),
        (lambda r: embeddings.held_out_predictions(r, torch.zeros(30, 1), n_folds=1), "2 to 30 parts"),
    ],
)
def test_what_does_not_fit_is_refused_in_words(rows, call, message):
    with pytest.raises(ValueError, match=message):
        call(rows)


def test_the_last_snapshot_holds_rows_of_the_shipped_table():
    model, _ = load_model()
    steps, tokens, rows = model_card.snapshot_rows()
    assert rows.shape == (len(steps), len(tokens), model.config.d_model) and steps == sorted(steps)
    assert [one["step"] for one in model_card.snapshots()] == steps
    exact = model.embedding.weight.detach()[tokens]
    assert ((rows[-1] - exact).abs() <= exact.abs().amax(1, keepdim=True) / 250).all()  # int8: half a step of 1/127
    assert (rows[0] - exact).abs().mean() > 0.02  # the first is another table, before training
