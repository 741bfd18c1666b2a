"""Tokens said over and over: how such lists are drawn, and how well a model goes on with them.

Whoever looks up what followed the last time (an induction head, Olsson et al. 2022) can go on with any tokens, known or
not. A model that was drilled on few words may know the trick for these only; so every measure here is taken on four
pools that share no token (`token_pools`).

    pools = token_pools(tokenizer)
    right = repetition(model, pools["other words"], start=start, period=12)   # (N, copies, period)
    said_again(right)                                                         # a Score

One list in twenty is kept out of training, by a hash of its tokens; the measures use these alone. And one token in
twenty stands in no list of training at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import torch
from torch import Tensor

from . import heads, world
from .tokenization import BPETokenizer
from .transformer import Transformer
from .world.records import held_out, pick, pick_other, shuffled

# Tokens of the vocabulary instead of drilled words, as a share of a list: the first lists hold few of them.
SHARES = (0.1, 0.3, 0.6, 1.0)
SHORTEST, LONGEST = 3, 20  # tokens of a list that is said over and over
LONGEST_TWICE = 100  # tokens of a list that is said twice
ABOUT = 60  # tokens of a document of the first kind
TWICE = 0.25  # of all lists are of the second kind
FEWEST_PAIRS, MOST_PAIRS = 2, 6
BETWEEN = (1, 1, 2, 2, 3, 4)  # tokens between the two of a pair
ABOUT_PAIRS = 150  # tokens of a document of pairs


# Which tokens --------------------------------------------------------------------------------------------------------


def token_pools(tokenizer: BPETokenizer) -> dict[str, list[int]]:
    """All tokens made by merging bytes, in four pools that share none: the words that the world drills in lists
    (`world.EVERYDAY`), other whole words, the rest (parts of words, words without a space, signs), and the tokens of
    both kinds that no list of training holds (`never_listed`)."""
    words, drilled = heads.word_tokens(tokenizer), heads.word_tokens(tokenizer, world.EVERYDAY)
    never = never_listed(tokenizer)
    apart = set(words) | set(never)
    return {
        "drilled words": drilled,
        "other words": sorted(set(words) - set(drilled) - set(never)),
        "other tokens": [token for token in merged_tokens(tokenizer) if token not in apart],
        "never listed": never,
    }


def merged_tokens(tokenizer: BPETokenizer) -> list[int]:
    """The tokens of two bytes or more that are no special tokens."""
    special = set(tokenizer.special_tokens.values())
    return [token for token in range(tokenizer.vocab_size) if token not in special and len(tokenizer.vocab[token]) > 1]


def never_listed(tokenizer: BPETokenizer) -> list[int]:
    """The merged tokens that no list of training holds: one in twenty by a hash of its bytes, drilled words apart."""
    drilled = set(heads.word_tokens(tokenizer, world.EVERYDAY))
    return [
        token
        for token in merged_tokens(tokenizer)
        if token not in drilled and held_out(f"token:{tokenizer.vocab[token].hex()}")
    ]


# Lists to train on ---------------------------------------------------------------------------------------------------


def kept_out(tokens: Sequence[int]) -> bool:
    """True for one list in twenty, the same ones everywhere. Training never says these."""
    return held_out("tokens:" + " ".join(map(str, tokens)))


def training_list(rng: Random, drilled: Sequence[int], merged: Sequence[int]) -> list[int]:
    """One document of different tokens in a row, said over and over (periods 3 to 20, about 60 tokens in all) or, one
    time in four, twice (periods 21 to 100). A share of `SHARES` comes from the `merged` tokens, the rest is drilled.

    Raises ValueError for fewer merged tokens than the longest list has.
    """
    if len(merged) < LONGEST_TWICE:
        raise ValueError(f"expected at least {LONGEST_TWICE} merged tokens to draw lists from, got {len(merged)}")
    share = pick(rng, SHARES)
    if rng.random() < TWICE:
        period, copies = LONGEST + 1 + int(rng.random() * (LONGEST_TWICE - LONGEST)), 2
    else:
        period = SHORTEST + int(rng.random() * (LONGEST - SHORTEST + 1))
        copies = ABOUT // period
    while True:
        used: set[int] = set()
        drawn = []
        for _ in range(period):
            anything = rng.random() < share or used.issuperset(drilled)
            drawn.append(pick_other(rng, merged if anything else drilled, used))
        if not kept_out(drawn):
            return drawn * copies


def pair_list(
    rng: Random, drilled: Sequence[int], merged: Sequence[int], *, shares: Sequence[float] = SHARES
) -> list[int]:
    """One document of two to six pairs of different tokens, said two to six times, each time in another order.

    Between the two of a pair stand one to four tokens, after most pairs another one, the same for all pairs of a
    document: nothing but the first of a pair tells its second. The tokens are drawn as in `training_list`, with a
    share of `shares` from the `merged` tokens.
    """
    share, used = pick(rng, shares), set()

    def draw() -> int:
        anything = rng.random() < share or used.issuperset(drilled)
        return pick_other(rng, merged if anything else drilled, used)

    between = [draw() for _ in range(pick(rng, BETWEEN))]
    after = [draw()] if rng.random() < 0.7 else []
    pairs = [(draw(), draw()) for _ in range(FEWEST_PAIRS + int(rng.random() * (MOST_PAIRS - FEWEST_PAIRS + 1)))]
    rounds = max(2, min(6, ABOUT_PAIRS // (len(pairs) * (2 + len(between) + len(after)))))
    said = (pair for _ in range(rounds) for pair in shuffled(rng, pairs))
    return [token for first, second in said for token in (first, *between, second, *after)]


# How well a model goes on with them ----------------------------------------------------------------------------------


def unseen_lists(candidates: Sequence[int], *, n: int, period: int, seed: int = 0) -> Tensor:
    """Lists of different candidates that training never says: (n, period).

    Raises ValueError for fewer candidates than a list has tokens.
    """
    if not 1 < period <= len(candidates):
        raise ValueError(f"expected a period from 2 to {len(candidates)}, the number of candidates; got {period}")
    rng = Random(f"llmlab.repetition: lists of {period}, {seed}")
    rows: list[list[int]] = []
    while len(rows) < n:
        used: set[int] = set()
        drawn = [pick_other(rng, candidates, used) for _ in range(period)]
        if kept_out(drawn):
            rows.append(drawn)
    return torch.tensor(rows)


def _said(lists: Tensor, start: int, copies: int) -> Tensor:
    """Lists (N, period) said over and over after the start token: (N, 1 + copies · period)."""
    return torch.cat([torch.full((len(lists), 1), start), lists.repeat(1, copies)], dim=1)


@torch.no_grad()
def repetition(
    model: Transformer,
    candidates: Sequence[int],
    *,
    start: int,
    period: int = 12,
    copies: int = 2,
    n: int = 64,
    seed: int = 0,
) -> Tensor:
    """Whether each token of lists said `copies` times is the model's likeliest after what stands before it:
    (n, copies, period), True or False. The first copy cannot be known; nor can the first token of the second, because
    nothing says that the list begins again."""
    tokens = _said(unseen_lists(candidates, n=n, period=period, seed=seed), start, copies)
    best = torch.cat([model(rows[:, :-1]).argmax(-1) for rows in tokens.split(16)])  # (n, copies · period)
    return (best == tokens[:, 1:]).unflatten(1, (copies, period))


def said_again(right: Tensor) -> world.Score:
    """The share of right tokens in the second copy, its first one apart. right (n, copies, period)."""
    asked = right[:, 1, 1:]
    return world.Score(int(asked.sum()), asked.numel())


def scores_by_pool(
    model: Transformer, tokenizer: BPETokenizer, *, period: int = 12, n: int = 64, seed: int = 0
) -> dict[str, world.Score]:
    """`said_again` of each pool of `token_pools` that has enough tokens for a list."""
    start, pools = tokenizer.special_tokens["<s>"], token_pools(tokenizer)
    return {
        name: said_again(repetition(model, pool, start=start, period=period, n=n, seed=seed))
        for name, pool in pools.items()
        if len(pool) >= period
    }


def induction_by_pool(
    model: Transformer, tokenizer: BPETokenizer, *, period: int = 12, n: int = 16, seed: int = 0
) -> dict[str, Tensor]:
    """The induction score of every head (L, H) on tokens of each pool that has enough for a list, said twice, as
    `heads.induction_scores`."""
    start, found = tokenizer.special_tokens["<s>"], {}
    for name, pool in token_pools(tokenizer).items():
        if len(pool) < period:
            continue
        tokens = _said(unseen_lists(pool, n=n, period=period, seed=seed), start, 2)
        found[name] = heads.induction_scores(heads.attention_weights(model, tokens)[..., 1:, 1:], period)
    return found
