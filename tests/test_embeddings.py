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


def test_pairs_are_all_words_within_the_window():
    texts = [[5, 6, 7, 8], [9], [], [1, 2]]
    expected = sorted(
        (text[i], text[j]) for text in texts for i in range(len(text)) for j in range(len(text)) if 0 < abs(i - j) <= 2
    )
    assert sorted(map(tuple, embeddings.word_pairs(texts, window=2).tolist())) == expected
    assert embeddings.word_pairs([[3]], window=4).shape == (0, 2)


def test_the_sampling_loss_is_the_papers_sum_and_skips_what_was_right():
    rows, contexts = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    words, near, drawn = torch.tensor([0, 3]), torch.tensor([1, 2]), torch.tensor([[4, 1, 0], [2, 2, 4]])

    def cost(word, context, sign):
        return math.log1p(math.exp(-sign * float(rows[word] @ contexts[context])))

    first = cost(0, 1, 1) + cost(0, 4, -1) + cost(0, 0, -1)  # the drawn 1 is skipped
    second = cost(3, 2, 1) + cost(3, 4, -1)
    assert math.isclose(embeddings.negative_sampling_loss(rows, contexts, words, near, drawn), (first + second) / 2)


def test_skip_gram_brings_words_with_the_same_neighbors_together():
    # 0 and 1 stand beside 4 to 6, 2 and 3 beside 7 to 9, and never beside each other
    draw = np.random.default_rng(0)
    pairs = torch.tensor([(w, 4 + 3 * (w // 2) + n) for w in range(4) for n in draw.integers(3, size=200)])
    pairs = torch.cat((pairs, pairs.flip(1)))
    counts = torch.bincount(pairs[:, 0])
    rows = embeddings.skip_gram(pairs, counts, width=8, n_steps=150, batch_size=128)
    cosines = embeddings.cosine_similarity(rows, rows)
    assert min(cosines[0, 1], cosines[2, 3]) > 0.9 > 0.7 > cosines[:2, 2:4].max()
    assert torch.equal(rows, embeddings.skip_gram(pairs, counts, width=8, n_steps=150, batch_size=128))


def test_wrong_words_are_drawn_by_their_counts_and_none_that_never_occurs(monkeypatch):
    seen = []

    def remember(rows, contexts, words, near, drawn):
        seen.append(drawn)
        return (rows.sum() + contexts.sum()) * 0

    monkeypatch.setattr(embeddings, "negative_sampling_loss", remember)
    counts = torch.tensor([16, 0, 1, 81])
    embeddings.skip_gram(torch.tensor([[0, 2]]), counts, width=2, n_steps=20, batch_size=500)
    shares = torch.bincount(torch.cat(seen).flatten(), minlength=4) / 50_000
    assert shares[1] == 0
    assert torch.allclose(shares, torch.tensor([8, 0, 1, 27]) / 36, atol=0.01)  # 16, 1, 81 to the power of 0.75


def test_an_analogy_ranks_by_cosine_and_leaves_out_only_when_told():
    rows = torch.randn(12, 4, generator=torch.Generator().manual_seed(3)) * torch.arange(1, 13)[:, None]
    unit = F.normalize(rows.double(), dim=1)
    place = unit[5] - unit[2] + unit[7]
    expected = sorted(range(12), key=lambda n: -float(F.cosine_similarity(rows[n].double(), place, dim=0)))
    assert embeddings.analogy_ranking(rows, 2, 5, 7, leave_out=False).tolist() == expected
    others = [n for n in expected if n not in (2, 5, 7)]
    assert embeddings.analogy_ranking(rows, 2, 5, 7, leave_out=True).tolist() == others


def test_padding_has_no_part_in_the_mean():
    vectors = torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(0))
    counts = torch.tensor([[1, 1, 0, 0], [1, 1, 1, 1]])
    pooled = embeddings.mean_pool(vectors, counts.bool())
    assert torch.allclose(pooled, torch.stack([vectors[0, :2].mean(0), vectors[1].mean(0)]))
    vectors[0, 2:] = 1e6
    assert torch.equal(embeddings.mean_pool(vectors, counts), pooled)


def test_the_contrastive_loss_is_the_surprise_at_the_partner_in_its_row():
    one = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    other = torch.randn(5, 4, generator=torch.Generator().manual_seed(1))
    expected = 0.0
    for n in range(3):
        weights = [math.exp(float(F.cosine_similarity(one[n], row, dim=0)) / 0.5) for row in other]
        expected -= math.log(weights[n] / sum(weights)) / 3
    assert math.isclose(embeddings.contrastive_loss(one, other, temperature=0.5), expected, rel_tol=1e-5)


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
        (lambda r: embeddings.word_pairs([[1, 2]], window=0), "at least 1 place, got 0"),
        (lambda r: embeddings.skip_gram(torch.empty(0, 2, dtype=torch.int64), torch.ones(3)), r"got \(0, 2\)"),
        (lambda r: embeddings.skip_gram(torch.tensor([[0, 3]]), torch.ones(3)), "got 3 for ids up to 3"),
        (lambda r: embeddings.mean_pool(r[None], torch.zeros(1, 30)), "at least one token"),
        (lambda r: embeddings.contrastive_loss(r, r[:3]), r"M >= N, got \(30, 7\) and \(3, 7\)"),
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
