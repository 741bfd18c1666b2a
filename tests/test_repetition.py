"""Tokens said over and over: lists have the periods and shares they say; measures equal loops over single tokens."""

import zlib
from collections import Counter
from random import Random

import pytest
import torch
from models import TINY_LLAMA, random_model

from llmlab import heads, load_model, repetition, world

_, TOKENIZER = load_model()
DRILLED = heads.word_tokens(TOKENIZER, world.EVERYDAY)
MERGED = repetition.merged_tokens(TOKENIZER)


def test_the_pools_share_no_token_and_are_all_merged_tokens():
    pools = repetition.token_pools(TOKENIZER)
    every = [token for pool in pools.values() for token in pool]
    assert sorted(every) == MERGED and len(set(every)) == len(every) == len(TOKENIZER.merges)
    assert pools["drilled words"] == DRILLED
    never = [token for token in MERGED if zlib.crc32(f"token:{TOKENIZER.vocab[token].hex()}".encode()) % 20 == 7]
    assert pools["never listed"] == sorted(set(never) - set(DRILLED)) and len(never) / len(MERGED) > 0.035
    assert {TOKENIZER.decode([token])[1:] for token in DRILLED} <= set(world.EVERYDAY)
    others = [TOKENIZER.decode([token]) for token in pools["other words"]]
    assert all(word[0] == " " and word[1:].isalpha() and word[1:] not in world.EVERYDAY for word in others)


def period_of(ids):
    """The least number of tokens after which the list says itself again, by trying each."""
    return next(n for n in range(1, len(ids) + 1) if ids == (ids[:n] * len(ids))[: len(ids)])


@pytest.fixture(scope="module")
def lists():
    rng = Random(7)
    return [repetition.training_list(rng, DRILLED, MERGED) for _ in range(4000)]


def test_lists_are_said_over_and_over_or_twice(lists):
    periods = [period_of(ids) for ids in lists]
    assert all(len(ids) % period == 0 for ids, period in zip(lists, periods, strict=True))
    over = [(ids, period) for ids, period in zip(lists, periods, strict=True) if period <= 20]
    twice = [(ids, period) for ids, period in zip(lists, periods, strict=True) if period > 20]
    assert all(len(ids) == 2 * period for ids, period in twice)
    assert all(len(ids) // period == 60 // period for ids, period in over)
    assert Counter(period for _, period in over).keys() == set(range(3, 21))
    assert {min(p for _, p in twice), max(p for _, p in twice)} == {21, 100}
    assert len(twice) / len(lists) == pytest.approx(0.25, abs=4 * (0.25 * 0.75 / len(lists)) ** 0.5)
    assert all(len(set(ids[:period])) == period for ids, period in over + twice)


def test_tokens_come_from_the_drilled_words_or_from_all_in_the_stated_shares(lists):
    """On average (0.1 + 0.3 + 0.6 + 1) / 4 of the draws are from all merged tokens, of which a few are drilled."""
    drilled, every = set(DRILLED), set(MERGED)
    assert all(set(ids) <= every for ids in lists)
    of_lists = [sum(token in drilled for token in ids) / len(ids) for ids in lists]
    expected = 0.5 + 0.5 * len(DRILLED) / len(MERGED)
    assert sum(of_lists) / len(lists) == pytest.approx(expected, abs=4 * 0.5 / len(lists) ** 0.5)
    long = [share for share, ids in zip(of_lists, lists, strict=True) if len(ids) > 120]  # where shares stand apart
    kinds = Counter(min((0.9, 0.7, 0.4, 0.0), key=lambda kind: abs(share - kind * 0.93 - 0.07)) for share in long)
    assert all(n / len(long) == pytest.approx(0.25, abs=0.1) for n in kinds.values()) and len(kinds) == 4


def pairs_of(ids):
    """Every way to read a list as groups of so many tokens in which only the pair differs: (between, after, pairs)."""
    for size in range(3, 8):
        groups = [ids[start : start + size] for start in range(0, len(ids), size)]
        same = [len({group[at] for group in groups}) == 1 for at in range(size)] if len(ids) % size == 0 else []
        if same.count(False) == 2 and not same[0]:
            second = same.index(False, 1)
            if second >= size - 2:
                yield second - 1, size - 1 - second, [(group[0], group[second]) for group in groups]


def test_lists_of_pairs_say_the_same_pairs_over_and_over_in_other_orders():
    rng = Random(3)
    between, after, sizes, orders = Counter(), Counter(), Counter(), Counter()
    for _ in range(2000):
        ids = repetition.pair_list(rng, DRILLED, MERGED)
        (found,) = pairs_of(ids)
        between[found[0]] += 1
        after[found[1]] += 1
        n = len(set(found[2]))
        rounds = [found[2][start : start + n] for start in range(0, len(found[2]), n)]
        assert 2 <= len(rounds) <= 6 and all(set(one) == set(found[2]) and len(one) == n for one in rounds)
        tokens = [token for pair in set(found[2]) for token in pair]
        assert len(set(tokens)) == len(tokens) == 2 * n and len(ids) < 200
        sizes[n] += 1
        orders[n] += len({tuple(one) for one in rounds}) > 1
    assert between.keys() == {1, 2, 3, 4} and sizes.keys() == {2, 3, 4, 5, 6}
    assert after[1] / 2000 == pytest.approx(0.7, abs=4 * (0.7 * 0.3 / 2000) ** 0.5)
    assert all(orders[n] > 0.45 * sizes[n] for n in sizes)
    drilled = [token for _ in range(100) for token in repetition.pair_list(rng, DRILLED, MERGED, shares=(0.0,))]
    assert set(drilled) <= set(DRILLED)


def test_lists_for_training_and_for_measures_never_meet(lists):
    assert not any(repetition.kept_out(ids[: period_of(ids)]) for ids in lists)
    unseen = repetition.unseen_lists(MERGED, n=50, period=12)
    assert all(repetition.kept_out(row) for row in unseen.tolist())
    drawn = [Random(number).sample(MERGED, 12) for number in range(4000)]
    assert sum(map(repetition.kept_out, drawn)) / 4000 == pytest.approx(1 / 20, abs=4 * (0.05 * 0.95 / 4000) ** 0.5)


def test_unseen_lists_are_different_candidates_and_repeat_with_the_seed():
    lists = repetition.unseen_lists(range(40), n=6, period=10, seed=3)
    assert lists.shape == (6, 10) and all(len(set(row)) == 10 for row in lists.tolist())
    assert torch.equal(lists, repetition.unseen_lists(range(40), n=6, period=10, seed=3))
    assert not torch.equal(lists, repetition.unseen_lists(range(40), n=6, period=10, seed=4))
    with pytest.raises(ValueError, match="a period from 2 to 5, the number of candidates; got 6"):
        repetition.unseen_lists(range(5), n=1, period=6)
    with pytest.raises(ValueError, match="at least 100 merged tokens to draw lists from, got 99"):
        repetition.training_list(Random(0), DRILLED, MERGED[:99])


def test_repetition_asks_for_each_token_after_what_stands_before_it():
    """By loops: one forward pass for each token, over exactly the tokens before it."""
    model = random_model(TINY_LLAMA)
    right = repetition.repetition(model, range(5, 97), start=1, period=4, copies=3, n=5, seed=2)
    assert right.shape == (5, 3, 4)
    for row, of_list in zip(repetition.unseen_lists(range(5, 97), n=5, period=4, seed=2).tolist(), right, strict=True):
        said = [1, *row * 3]
        with torch.no_grad():
            expected = [int(model(torch.tensor([said[:at]]))[0, -1].argmax()) == said[at] for at in range(1, 13)]
        assert of_list.flatten().tolist() == expected


class Looker(torch.nn.Module):
    """Says what followed the token of now the last time, and token 0 where it is new."""

    def forward(self, tokens):
        logits = torch.zeros(*tokens.shape, 97)
        for b, row in enumerate(tokens.tolist()):
            for t, token in enumerate(row):
                before = [s for s in range(t) if row[s] == token]
                logits[b, t, row[before[-1] + 1] if before else 0] = 1
        return logits


def test_a_perfect_looker_knows_all_but_the_first_token_of_the_second_copy():
    right = repetition.repetition(Looker(), range(5, 97), start=1, period=6, copies=3, n=4)
    assert not right[:, 0].any() and not right[:, 1, 0].any()
    assert right[:, 1, 1:].all() and right[:, 2].all()
    assert repetition.said_again(right) == world.Score(20, 20)
    right[0, 1, 3] = False
    assert repetition.said_again(right) == world.Score(19, 20)


def test_scores_by_pool_stand_side_by_side():
    model, tokenizer = load_model()
    start, pools = tokenizer.special_tokens["<s>"], repetition.token_pools(tokenizer)
    scores = repetition.scores_by_pool(model, tokenizer, n=3, period=9, seed=5)
    induction = repetition.induction_by_pool(model, tokenizer, n=3, period=9, seed=5)
    assert scores.keys() == induction.keys() == pools.keys()
    for name, pool in pools.items():
        asked = repetition.repetition(model, pool, start=start, period=9, n=3, seed=5)[:, 1, 1:]
        assert (scores[name].correct, scores[name].total) == (sum(map(sum, asked.tolist())), 24)
        lists = repetition.unseen_lists(pool, n=3, period=9, seed=5).tolist()
        weights = heads.attention_weights(model, torch.tensor([[start, *row, *row] for row in lists]))
        looked = sum(weights[1, b, 2, t, t - 8] for b in range(3) for t in range(10, 19)) / 27
        assert induction[name][1, 2].item() == pytest.approx(looked.item(), abs=1e-5)
