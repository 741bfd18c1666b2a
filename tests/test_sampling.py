"""The filters against the logits processors of `transformers`, and against their definitions."""

import pytest
import torch
from transformers.generation import logits_process as theirs

from llmlab import sampling


def random_logits(rows=4, vocab=300, seed=0):
    return torch.randn(rows, vocab, generator=torch.Generator().manual_seed(seed)) * 3


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    ("ours", "processor"),
    [
        (lambda x: sampling.apply_temperature(x, 0.7), theirs.TemperatureLogitsWarper(0.7)),
        (lambda x: sampling.top_k_filter(x, 7), theirs.TopKLogitsWarper(7)),
        (lambda x: sampling.top_p_filter(x, 0.9), theirs.TopPLogitsWarper(0.9)),
        (lambda x: sampling.top_p_filter(x, 0.05), theirs.TopPLogitsWarper(0.05)),
        (lambda x: sampling.min_p_filter(x, 0.1), theirs.MinPLogitsWarper(0.1)),
    ],
    ids=["temperature", "top_k", "top_p", "top_p small", "min_p"],
)
def test_filters_equal_transformers(ours, processor, seed):
    logits = random_logits(seed=seed)
    torch.testing.assert_close(ours(logits), processor(torch.zeros(4, 1, dtype=torch.long), logits))


def test_filters_apply_in_the_order_of_transformers():
    logits, nothing = random_logits(), torch.zeros(4, 1, dtype=torch.long)
    expected = logits
    for processor in (theirs.TemperatureLogitsWarper(1.7), theirs.TopKLogitsWarper(20), theirs.TopPLogitsWarper(0.8)):
        expected = processor(nothing, expected)
    torch.testing.assert_close(sampling.filter_logits(logits, temperature=1.7, top_k=20, top_p=0.8), expected)
    other_order = sampling.apply_temperature(sampling.top_p_filter(sampling.top_k_filter(logits, 20), 0.8), 1.7)
    assert not torch.equal(other_order, expected)


def test_repetition_penalty_equals_transformers():
    logits, ids = random_logits(rows=1), [3, 5, 5, 299]
    expected = theirs.RepetitionPenaltyLogitsProcessor(1.3)(torch.tensor([ids]), logits)[0]
    torch.testing.assert_close(sampling.repetition_penalty(logits[0], ids, 1.3), expected)


def test_top_p_keeps_the_token_that_crosses_the_line():
    logits = torch.tensor([0.5, 0.3, 0.15, 0.05]).log()
    kept = sampling.top_p_filter(logits, 0.6).isfinite()
    assert kept.tolist() == [True, True, False, False]  # 0.5 alone is not yet 0.6
    assert sampling.top_p_filter(logits, 0.01).isfinite().sum() == 1


def test_draws_follow_the_filtered_distribution():
    logits = torch.tensor([2.0, 1.0, 0.5, -1.0])
    expected = sampling.filter_logits(logits, temperature=1.5, top_k=3).softmax(-1)
    draws = sampling.choose(
        logits.expand(40_000, 4), temperature=1.5, top_k=3, generator=torch.Generator().manual_seed(0)
    )
    share = torch.bincount(draws, minlength=4) / len(draws)
    assert share[3] == 0
    # five standard errors of a share near one half
    torch.testing.assert_close(share, expected, atol=5 * 0.5 / 40_000**0.5, rtol=0)


def test_temperature_zero_is_the_argmax_and_seeds_repeat():
    logits = random_logits()
    assert torch.equal(sampling.choose(logits), logits.argmax(-1))
    one, two, other = (
        sampling.choose(logits.repeat(50, 1), temperature=1.0, generator=torch.Generator().manual_seed(seed))
        for seed in (3, 3, 4)
    )
    assert torch.equal(one, two) and not torch.equal(one, other)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: sampling.apply_temperature(x, 0), "above 0, got 0; 0 means greedy"),
        (lambda x: sampling.top_k_filter(x, 0), "top_k of at least 1, got 0"),
        (lambda x: sampling.top_p_filter(x, 1.5), "0 < top_p <= 1, got 1.5"),
        (lambda x: sampling.min_p_filter(x, -1), "0 <= min_p <= 1, got -1"),
        (lambda x: sampling.repetition_penalty(x[0], [1], 0), "penalty above 0, got 0"),
    ],
)
def test_wrong_settings_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call(random_logits())
