"""The filters against the logits processors of `transformers`, and against their definitions."""

import numpy as np
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


@pytest.mark.parametrize("temperature", [1e-6, 1e-3])
def test_a_temperature_near_0_draws_the_argmax(temperature):
    logits = random_logits()
    assert torch.equal(sampling.choose(logits, temperature=temperature), logits.argmax(-1))
    assert sampling.apply_temperature(logits, temperature).isfinite().all()


def test_the_highest_temperature_is_uniform_over_what_is_allowed():
    logits = torch.tensor([5.0, -5.0, float("-inf"), 0.0])
    shares = sampling.filter_logits(logits, temperature=sampling.HOTTEST).softmax(-1)
    torch.testing.assert_close(shares, torch.tensor([1 / 3, 1 / 3, 0, 1 / 3]), rtol=1e-4, atol=0)


def test_top_p_of_1_keeps_every_token():
    logits = torch.cat((torch.zeros(1000), torch.full((3,), -30.0)))  # the last are less than a rounding error
    assert torch.equal(sampling.top_p_filter(logits, 1.0), logits)
    assert torch.equal(sampling.filter_logits(logits, top_p=1), logits)


NAN, INF = float("nan"), float("inf")
WRONG = [
    *[("temperature", t, "temperature from 1e-06 to 1e[+]06, got") for t in (-1, -1e-9, NAN, INF, -INF, 1e-40, 1e300)],
    *[("temperature", t, "temperature to be a number, got") for t in (None, "1", True, torch.tensor(1.0))],
    *[("top_k", k, f"top_k of at least 1, got {k}") for k in (0, -3)],
    *[("top_k", k, "top_k to be a whole number, got") for k in (2.0, True, "5", NAN)],
    *[("top_p", p, "0 < top_p <= 1, got") for p in (0, -0.1, 1.5, 90, NAN, INF)],
    *[("top_p", p, "top_p to be a number, got") for p in (True, "0.9", [0.9])],
    *[("min_p", p, "0 <= min_p <= 1, got") for p in (-0.1, 1.1, NAN)],
    *[("min_p", p, "min_p to be a number, got") for p in (True, "0.9")],
]
FILTERS = {
    "temperature": sampling.apply_temperature,
    "top_k": sampling.top_k_filter,
    "top_p": sampling.top_p_filter,
    "min_p": sampling.min_p_filter,
}


@pytest.mark.parametrize(("name", "value", "message"), WRONG)
def test_settings_out_of_range_are_refused_by_filters_and_choices_at_temperature_0_too(name, value, message):
    logits = random_logits()
    for temperature in (0.0, 1.0):
        with pytest.raises(ValueError, match=message):
            sampling.choose(logits, **{"temperature": temperature, name: value})
    with pytest.raises(ValueError, match=message):
        FILTERS[name](logits, value)
    with pytest.raises(ValueError, match=message):
        sampling.filter_logits(logits, **{name: value})


def test_settings_of_numpy_are_numbers_too():
    logits, options = random_logits(), {"temperature": 0.7, "top_k": 5, "top_p": 0.9, "min_p": 0.01}
    wide = {name: np.float32(value) if isinstance(value, float) else np.int64(value) for name, value in options.items()}
    torch.testing.assert_close(sampling.filter_logits(logits, **wide), sampling.filter_logits(logits, **options))


def test_temperature_0_is_no_divisor():
    with pytest.raises(ValueError, match="got 0; 0 in `choose` and `generate` means greedy"):
        sampling.apply_temperature(random_logits(), 0)


@pytest.mark.parametrize("temperature", [0, 1.0])
@pytest.mark.parametrize(
    ("value", "message"),
    [(NAN, "1 of 1200 logits are NaN"), (INF, "a logit is .∞"), (None, "all logits of a row are −∞")],
)
def test_logits_that_allow_no_choice_are_refused(value, message, temperature):
    logits = random_logits()
    if value is None:
        logits[2] = -INF
    else:
        logits[2, 7] = value
    with pytest.raises(ValueError, match=message):
        sampling.choose(logits, temperature=temperature)


@pytest.mark.parametrize(
    ("ids", "penalty", "message"),
    [
        ([1], 0, "finite penalty above 0, got 0"),
        ([1], NAN, "finite penalty above 0, got nan"),
        ([1], "2", "the penalty to be a number"),
        ([300], 1.2, "ids to have ids from 0 to 299, got 300 to 300"),
        ([-1], 1.2, "got -1 to -1"),
        ("abc", 1.2, "encode it with the tokenizer"),
    ],
)
def test_a_wrong_repetition_penalty_is_refused(ids, penalty, message):
    with pytest.raises(ValueError, match=message):
        sampling.repetition_penalty(random_logits()[0], ids, penalty)
    with pytest.raises(ValueError, match=r"logits of one token, \(V,\), got \(4, 300\)"):
        sampling.repetition_penalty(random_logits(), [1], 1.2)


def test_ids_for_the_penalty_may_be_a_tensor():
    logits = random_logits()[0]
    expected = sampling.repetition_penalty(logits, [3, 5], 1.3)
    assert torch.equal(sampling.repetition_penalty(logits, torch.tensor([5, 3, 5]), 1.3), expected)
