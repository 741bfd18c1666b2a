"""Mistakes that several exercises of attention share, planted from one list."""

from __future__ import annotations

import torch


def allowed(scores, offset=0):
    """True up to the diagonal that ends in the lower right corner, moved by `offset`. (..., T, S) -> (T, S)."""
    n_queries, n_keys = scores.shape[-2:]
    return torch.ones(n_queries, n_keys, dtype=torch.bool).tril(n_keys - n_queries + offset)


def masked(scores, allowed, fill=-torch.inf):
    return scores.masked_fill(~allowed, fill).softmax(-1)


def plant_scales(exercise, attend, head_dim=lambda q, *others: q.shape[-1]):
    """Plant the wrong scales of scores. `attend(*arguments, scale=s)` is the exercise's answer with another scale."""
    for reason, wrong in (
        ("the scores are not divided by √d, the square root of the length of a query", lambda d: 1.0),
        ("the scores are divided by d; it is its square root that keeps their spread", lambda d: 1 / d),
        ("`d ** 1 / 2` is (d ** 1) / 2; the square root is d ** 0.5", lambda d: 2 / d),
        ("the scores are multiplied by √d; they are to be divided by it", lambda d: d**0.5),
        ("the scores are divided by √4 = 2 whatever the length of a query; d is q.shape[-1]", lambda d: 0.5),
    ):
        exercise.plant({reason: lambda *given, wrong=wrong: attend(*given, scale=wrong(head_dim(*given)))})


def plant_masks(exercise, attend):
    """Plant wrong causal weights. `attend(*arguments, weigh=w)` is the exercise's answer with weights = w(scores)."""
    for reason, wrong in {
        "tokens look at later ones: the causal mask is missing, or its result is not used":
            (lambda s: s.softmax(-1),),
        "the rows no longer sum to 1: the future was set to 0 after the softmax, which had already given it a share":
            (lambda s: s.softmax(-1) * allowed(s),),
        "a score of 0 is not nothing: e⁰ = 1. Forbidden scores must be −∞ before the softmax":
            (lambda s: masked(s, allowed(s), 0.0), lambda s: masked(s, allowed(s), 1e-9)),
        "a token may look at itself, so the diagonal stays allowed. In a first row that may look at nothing, all is "
        "−∞, which has no softmax: nan":
            (lambda s: masked(s, allowed(s, -1)),),
        "the mask is turned around: allowed cells are set to −∞ and later ones are kept, so that the last row is nan":
            (lambda s: masked(s, ~allowed(s)),),
        "tokens look at themselves and at later ones: the triangle is the wrong one":
            (lambda s: masked(s, ~allowed(s, -1)),),
        "nan everywhere: 0 · −∞ is not a number, so a mask of 0 and 1 cannot be multiplied with −∞. Use masked_fill, "
        "which puts −∞ only where the mask is True":
            (
                lambda s: (s + (~allowed(s)) * -torch.inf).softmax(-1),
                lambda s: (s + allowed(s) * -torch.inf).softmax(-1),
            ),
        "the softmax runs over the queries: each column sums to 1. It should run over the keys, the last dimension":
            (lambda s: s.masked_fill(~allowed(s), -torch.inf).softmax(-2),),
        "every token sees one later token too: the diagonal of the mask is one place too far to the right":
            (lambda s: masked(s, allowed(s, 1)),),
        "the mask is added as 0 and 1, which moves scores by 1 and hides nothing; −∞ hides":
            (lambda s: (s + allowed(s)).softmax(-1), lambda s: (s - (~allowed(s)).float()).softmax(-1)),
        "+∞ takes all weight instead of none; what is hidden is −∞":
            (lambda s: masked(s, allowed(s), torch.inf),),
    }.items():  # fmt: skip
        exercise.plant({reason: tuple(lambda *given, w=weigh: attend(*given, weigh=w) for weigh in wrong)})


def renormalized(weights):
    return weights / weights.sum(-1, keepdim=True)
