"""Exercises, questions and predictions of notebook 08b_ffn_memory."""

from __future__ import annotations

import torch

from ..records import Prediction, Question, exercise

# How well a story finds what excites a unit ---------------------------------------------------------------------------


def _stories():
    """Large negative values, so that size and value differ; stories that name too much and too little.

    Some with n above the number of positive values; one with a hit and fewer named than excited.
    """
    yield torch.tensor([0.5, 3.0, -4.0, 2.0, 1.0]), torch.tensor([7, 8, 7, 9, 8]), [8], 2
    yield torch.tensor([2.0, -3.0, 5.0, 1.0]), torch.tensor([1, 2, 3, 1]), [2], 1
    yield torch.tensor([-1.0, 4.0, -3.0, -2.0, -6.0]), torch.tensor([5, 6, 7, 8, 6]), [5, 8], 4
    yield torch.tensor([2.0, -5.0, 1.0, -3.0, -2.0]), torch.tensor([4, 3, 2, 1, 3]), [4], 3
    for n_places, n_tokens, length, n in ((12, 5, 2, 3), (30, 6, 1, 4), (40, 8, 3, 10)):
        values = torch.randperm(n_places).float() - n_places / 2 - 0.3
        tokens = torch.randint(n_tokens, (n_places,))
        best = tokens[values.topk(1).indices].item()
        others = [t for t in torch.randperm(n_tokens).tolist() if t != best]
        yield values, tokens, [best, *others[: length - 1]], n


@exercise(
    "ffn.story",
    title="Does the story hold?",
    prompt="A story names tokens. How well does it find the places that excite a unit most? Give its F1.",
    hints=(
        "Excited: zeros of len(values), with True at values.topk(n).indices. Named: torch.isin(tokens, tensor of ids).",
        "Hits are the places that are both: (excited & named).sum().",
        "F1 is 2 · hits / (how many are named + how many are excited).",
    ),
    inputs=_stories,
    keeps=("values", "tokens"),
    difficulty=2,
    minutes=7,
)
def story_f1(values, tokens, story, n):
    """values (N,): a unit's number at each place; tokens (N,): the token there; story: ids -> a number.

    Excited are the n places with the largest values, named those whose token is in the story.
    """
    excited = torch.zeros(len(values), dtype=torch.bool)  # (N,)
    excited[values.topk(n).indices] = True
    named = torch.isin(tokens, torch.tensor(story))  # (N,)
    hits = (excited & named).sum().item()
    return 2 * hits / (named.sum().item() + n)


def _counts(score, order=lambda values: values):
    """A wrong score made of (hits, named, excited, places)."""

    def wrong(values, tokens, story, n):
        excited = torch.zeros(len(values), dtype=torch.bool)
        excited[order(values).topk(n).indices] = True
        named = torch.isin(tokens, torch.tensor(story))
        hits = (excited & named).sum().item()
        return score(hits, named.sum().item(), n, len(values))

    return wrong


def _f1(hits, named, excited, places):
    return 2 * hits / (named + excited)


def _harmonic_parts(hits, named, excited, places):
    return (hits / named if named else 0.0), hits / excited


def _positive(values, tokens, story, n):
    excited = torch.zeros(len(values), dtype=torch.bool)
    excited[values.topk(n).indices] = True
    excited &= values > 0
    named = torch.isin(tokens, torch.tensor(story))
    return 2 * (excited & named).sum().item() / (named.sum() + excited.sum()).item()


def _length_of_story(values, tokens, story, n):
    hits = _counts(lambda hits, named, excited, places: hits)(values, tokens, story, n)
    return 2 * hits / (len(story) + n)


story_f1.plant({
    "that is the precision alone, hits among the named: a story of one lucky place would be perfect":
        _counts(lambda hits, named, excited, places: hits / named if named else 0.0),
    "that is the recall alone, hits among the excited: a story that names every token would be perfect":
        _counts(lambda hits, named, excited, places: hits / excited),
    "that is the share of places judged right: a story that names nothing would look good, since few are excited":
        _counts(lambda hits, named, excited, places: (places - named - excited + 2 * hits) / places),
    "the plain mean of precision and recall was taken: a story that names every token gets half. F1 is 2 · hits / "
    "(named + excited)":
        _counts(lambda hits, named, excited, places: sum(_harmonic_parts(hits, named, excited, places)) / 2),
    "the 2 is missing, so that a perfect story gets one half":
        _counts(lambda hits, named, excited, places: hits / (named + excited)),
    "hits are divided by the places that are named or excited; F1 counts the hits twice, above and below":
        _counts(lambda hits, named, excited, places: hits / (named + excited - hits)),
    "precision and recall are multiplied; F1 is 2 · hits / (named + excited)":
        _counts(lambda hits, named, excited, places: hits * hits / (named * excited) if named else 0.0),
    "a large negative number counts as excited: topk of the values, not of their sizes":
        _counts(_f1, torch.abs),
    "the smallest values count as excited; take the largest":
        _counts(_f1, torch.neg),
    "only positive values count as excited, however large n is; take the n largest, whatever their sign":
        _positive,
    "every place with a positive value counts as excited; take the n largest":
        lambda values, tokens, story, n: _counts(_f1)(values, tokens, story, int((values > 0).sum())),
    "always one place, the most excited: take the n largest":
        lambda values, tokens, story, n: _counts(_f1)(values, tokens, story, 1),
    "the length of the story stands in the denominator; it takes the number of places named":
        _length_of_story,
    "that is hits divided by the larger of named and excited, the smaller of precision and recall":
        _counts(lambda hits, named, excited, places: hits / max(named, excited)),
    "that is how many hits there are; asked is the F1":
        _counts(lambda hits, named, excited, places: hits),
})  # fmt: skip


# What restoring one token gives back ----------------------------------------------------------------------------------


class _Run:
    """Runs the rest of a model: a stream (T, D) to the answer's log-probability. Tokens act together."""

    def __init__(self, n_tokens: int, width: int):
        self.shape = (n_tokens, width)
        self.read = torch.randn(n_tokens, width)  # (T, D)
        self.mix = torch.randn(n_tokens)  # (T,)

    def __call__(self, stream):
        if not isinstance(stream, torch.Tensor) or tuple(stream.shape) != self.shape:
            raise ValueError(f"this model takes a stream of shape {self.shape}")
        each = (stream * self.read).sum(1)  # (T,)
        return (each @ self.mix + 0.3 * (each * each.roll(1)).tanh().sum()).sigmoid().log().item()

    def __repr__(self):
        return f"the rest of a model, for a stream of shape {self.shape}"


def _traces():
    """<s> alike in both runs, as in a causal model; every token spoiled, or one; the answer lost by a good deal."""
    for n_tokens, width, spoil in ((3, 2, [1, 2]), (4, 3, [1, 2, 3]), (6, 2, [2, 3, 4, 5]), (5, 4, [1, 2, 3, 4])):
        while True:
            clean, run = torch.randn(n_tokens, width), _Run(n_tokens, width)
            spoiled = clean.clone()
            spoiled[spoil] += 2 * torch.randn(len(spoil), width)
            if run(clean) - run(spoiled) > 0.5:
                break
        yield clean, spoiled, run


@exercise(
    "ffn.restore",
    title="One token restored",
    prompt="Causal tracing for one layer. It runs, and what comes back seems to sit one token too far to the right. "
    "Mend it.",
    hints=(
        "clean and spoiled have T rows, the shares T − 1. Which row belongs to the first word of the text?",
        "<s> stands in row 0. Word n of the text, counted from 0, stands in row n + 1.",
        "mixed[n + 1] = clean[n + 1]; all else is right.",
    ),
    inputs=_traces,
    keeps=("clean", "spoiled"),
    difficulty=2,
    minutes=7,
)
def gives_back(clean, spoiled, run):
    """clean, spoiled (T, D): the stream of both runs, the start token <s> first.

    run: a stream (T, D) -> the answer's log-probability. What restoring one token of the text gives
    back, as a share of what was lost: (T − 1,), without <s>.
    """
    low, high = run(spoiled), run(clean)
    shares = torch.zeros(len(clean) - 1)  # (T − 1,)
    for n in range(len(shares)):
        mixed = spoiled.clone()  # (T, D)
        mixed[n + 1] = clean[n + 1]
        shares[n] = (run(mixed) - low) / (high - low)
    return shares


@gives_back.mend(
    "the wrong token is restored: row 0 is <s>, so that word n of the text stands in row n + 1. Every share stands one "
    "place too far right"
)
def _one_too_early(clean, spoiled, run):
    low, high = run(spoiled), run(clean)
    shares = torch.zeros(len(clean) - 1)  # (T − 1,)
    for n in range(len(shares)):
        mixed = spoiled.clone()  # (T, D)
        mixed[n] = clean[n]
        shares[n] = (run(mixed) - low) / (high - low)
    return shares


def _restored(change, share=lambda got, low, high: (got - low) / (high - low), begin=lambda clean, spoiled: spoiled):
    """A wrong tracing: `change` alters a copy of `begin` for row n + 1; `share` makes the share."""

    def wrong(clean, spoiled, run):
        low, high, shares = run(spoiled), run(clean), torch.zeros(len(clean) - 1)
        for n in range(len(shares)):
            mixed = begin(clean, spoiled).clone()
            change(mixed, clean, spoiled, n + 1)
            shares[n] = share(run(mixed), low, high)
        return shares

    return wrong


def _put(mixed, clean, spoiled, row):
    mixed[row] = clean[row]


def _up_to(mixed, clean, spoiled, row):
    mixed[: row + 1] = clean[: row + 1]


def _from(mixed, clean, spoiled, row):
    mixed[row:] = clean[row:]


def _take(mixed, clean, spoiled, row):
    mixed[row] = spoiled[row]


def _shifted(to, of):
    """Row n + to of the copy gets row n + of of the clean run."""

    def change(mixed, clean, spoiled, row):
        mixed[row - 1 + to] = clean[row - 1 + of]

    return change


def _short_by_one(clean, spoiled, run):
    low, high, shares = run(spoiled), run(clean), torch.zeros(len(clean) - 1)
    for n in range(1, len(shares)):
        mixed = spoiled.clone()
        mixed[n] = clean[n]
        shares[n - 1] = (run(mixed) - low) / (high - low)
    return shares


def _not_copied(clean, spoiled, run):
    low, high, shares = run(spoiled), run(clean), torch.zeros(len(clean) - 1)
    for n in range(len(shares)):
        spoiled[n + 1] = clean[n + 1]
        shares[n] = (run(spoiled) - low) / (high - low)
    return shares


def _kept_on(clean, spoiled, run):
    low, high, shares, mixed = run(spoiled), run(clean), torch.zeros(len(clean) - 1), spoiled.clone()
    for n in range(len(shares)):
        mixed[n + 1] = clean[n + 1]
        shares[n] = (run(mixed) - low) / (high - low)
    return shares


gives_back.plant({
    "`spoiled` itself is changed: it is no longer the spoiled run for the next token. Restore in a copy":
        _not_copied,
    "what was restored stays restored for the next token: begin each time from a new copy of spoiled":
        (_kept_on, _restored(_up_to)),
    "the token and all after it are restored; restore it alone":
        _restored(_from),
    "one token is spoiled in the clean run: that asks what its loss takes away, another question. Begin from spoiled":
        (
            _restored(_take, begin=lambda clean, spoiled: clean),
            _restored(
                _take, lambda got, low, high: (high - got) / (high - low), begin=lambda clean, spoiled: clean
            ),
        ),
    "the row comes from another place than it goes to: n + 1 on both sides":
        (_restored(_shifted(1, 0)), _restored(_shifted(0, 1))),
    "the wrong token is restored: row n − 1 lies two places before word n, which stands in row n + 1":
        _restored(_shifted(-1, -1)),
    "the last token is never restored: n ends too early. There are T − 1 words, in rows 1 to T − 1":
        _short_by_one,
    "two rows are restored at a time; restore row n + 1 alone":
        (
            _restored(lambda mixed, clean, spoiled, row: mixed[row - 1 : row + 1].copy_(clean[row - 1 : row + 1])),
            _restored(lambda mixed, clean, spoiled, row: mixed[row : row + 2].copy_(clean[row : row + 2])),
        ),
    "what was lost is high − low; with low − high every share has the wrong sign":
        _restored(_put, lambda got, low, high: (got - low) / (low - high)),
    "the spoiled run's log-probability is not subtracted, so that nothing restored is not 0":
        (
            _restored(_put, lambda got, low, high: got / (high - low)),
            _restored(_put, lambda got, low, high: got / high),
        ),
    "that is in nats; divide by what was lost, high − low":
        _restored(_put, lambda got, low, high: got - low),
    "that is what is still missing, 1 minus the share":
        _restored(_put, lambda got, low, high: (high - got) / (high - low)),
    "every token gets the share of the last one: `n` has to say which row is restored":
        _restored(lambda mixed, clean, spoiled, row: _put(mixed, clean, spoiled, -1)),
    "all is restored, or nothing; restore one row of a copy of spoiled":
        (
            _restored(lambda mixed, clean, spoiled, row: mixed.copy_(clean)),
            _restored(lambda mixed, clean, spoiled, row: None),
        ),
})  # fmt: skip


# A change of rank one -------------------------------------------------------------------------------------------------


def _edits():
    """Keys far from length 1, moments far from the identity; one square matrix, so that a transposed change fits."""
    for n_out, n_in in ((3, 2), (2, 2), (2, 4), (4, 4), (5, 3)):
        root = torch.randn(n_in, n_in).double()
        moment = root @ root.T + 0.3 * torch.eye(n_in).double()
        key = torch.randn(n_in).double()
        key = key * (2 + n_in / 3) / key.norm()
        yield torch.randn(n_out, n_in).double(), key, 2 * torch.randn(n_out).double(), moment


@exercise(
    "ffn.rank_one",
    title="The edit",
    prompt="Change W so that the key gets its new value, and the keys of usual texts notice as little as possible.",
    hints=(
        "The direction C⁻¹ k is torch.linalg.solve(moment, key), (in,). Divide it by its product with the key.",
        "What is missing is value − weight @ key, (out,).",
        "weight + torch.outer(missing, b), where b is the divided direction, so that b @ key is 1.",
    ),
    inputs=_edits,
    keeps=("weight", "key", "value", "moment"),
    difficulty=3,
    minutes=9,
)
def rank_one(weight, key, value, moment):
    """weight (out, in), key (in,), value (out,), moment C (in, in) -> the new matrix (out, in).

    W + (v − W k) bᵀ with b = C⁻¹ k / (kᵀ C⁻¹ k).
    """
    direction = torch.linalg.solve(moment, key)  # (in,)
    b = direction / (key @ direction)  # (in,)
    missing = value - weight @ key  # (out,)
    return weight + torch.outer(missing, b)


def _edit(b, left=lambda weight, key, value: value - weight @ key):
    """A wrong edit: its row b made of (key, C⁻¹ k, C), and what stands left of it."""

    def wrong(weight, key, value, moment):
        direction = torch.linalg.solve(moment, key)
        return weight + torch.outer(left(weight, key, value), b(key, direction, moment))

    return wrong


def _right_b(key, direction, moment):
    return direction / (key @ direction)


def _changed_in_place(weight, key, value, moment):
    weight += rank_one.answer(weight, key, value, moment) - weight
    return weight


rank_one.plant({
    "W k is not subtracted: the key then gets its old value and the new one, added up. The missing part is v − W k":
        _edit(_right_b, lambda weight, key, value: value),
    "the sign is wrong: that leads away from the value. v − W k is missing":
        _edit(_right_b, lambda weight, key, value: weight @ key - value),
    "the edit scales with the key's length: it is divided by a length, and b · k is not 1. Divide by kᵀ C⁻¹ k":
        (
            _edit(lambda key, direction, moment: direction / key.norm()),
            _edit(lambda key, direction, moment: direction / direction.norm()),
            _edit(lambda key, direction, moment: direction / (key @ direction).sqrt()),
        ),
    "the edit scales with the key's length, and C is not used: k is divided by |k|; without C it would be |k|²":
        _edit(lambda key, direction, moment: key / key.norm()),
    "it is not divided by kᵀ C⁻¹ k, so that the key gets some other value":
        _edit(lambda key, direction, moment: direction),
    "C⁻¹ k is divided by the square of a length; divide by its product with the key, kᵀ C⁻¹ k":
        (
            _edit(lambda key, direction, moment: direction / (key @ key)),
            _edit(lambda key, direction, moment: direction / (direction @ direction)),
        ),
    "C stands in place of C⁻¹: the change then lies along what usual texts use most. Solve with C":
        _edit(lambda key, direction, moment: moment @ key / (key @ moment @ key)),
    "C⁻¹ stands below only; the direction is C⁻¹ k as well":
        _edit(lambda key, direction, moment: key / (key @ direction)),
    "C⁻¹ k is divided by kᵀ C k; divide by kᵀ C⁻¹ k":
        _edit(lambda key, direction, moment: direction / (key @ moment @ key)),
    "1 / C takes one number at a time; the inverse of a matrix is another: torch.linalg.solve(moment, key)":
        _edit(lambda key, direction, moment: (1 / moment) @ key / (key @ (1 / moment) @ key)),
    "that is the naive edit, without C: right for this key, and usual keys notice more":
        _edit(lambda key, direction, moment: key / (key @ key)),
    "the product is the wrong way round: its rows belong to the outputs. torch.outer(missing, b)":
        lambda weight, key, value, moment: weight + torch.outer(
            _right_b(key, torch.linalg.solve(moment, key), moment), value - weight @ key
        ),
    "that is the change alone; add it to W":
        lambda weight, key, value, moment: rank_one.answer(weight, key, value, moment) - weight,
    "W is left out of the sum, and W k of the missing part: all other keys lose what they had":
        lambda weight, key, value, moment: torch.outer(value, _right_b(key, torch.linalg.solve(moment, key), moment)),
    "the `weight` that was given was changed; return a new matrix":
        _changed_in_place,
})  # fmt: skip


# What stays as it was -------------------------------------------------------------------------------------------------


def _facts():
    """The edited fact asked twice; others of its subject and of its relation; some wrong before, some after."""
    capital, language, home = "capital", "language", "home"
    france = ("France", capital)
    asked = [france, ("Italy", capital), ("France", language), france, ("Spain", capital), ("Mara Quill", home)]
    yield france, asked, [True] * 6, [True, True, True, False, False, True]
    yield france, asked, [True, True, True, True, False, True], [False, False, True, False, True, True]
    yield ("Italy", capital), asked, [True] * 6, [True, False, True, True, False, True]
    yield france, asked, [True, True, True, False, True, True], [False, True, False, False, True, True]
    subjects, relations = ("France", "Italy", "Spain"), (capital, language)
    everything = [(subject, relation) for subject in subjects for relation in relations]
    yield (
        ("Spain", language),
        everything,
        [False, True, True, True, True, True],
        [False, True, True, False, True, False],
    )
    before, after = (torch.rand(2, 6) < torch.tensor([[0.8], [0.6]])).tolist()
    yield france, everything, [True, True, *before[2:]], [False, False, *after[2:]]


@exercise(
    "ffn.locality",
    title="What stays as it was",
    prompt="Locality: of the other facts that were right before an edit, which share is right after it? The count "
    "has a fact too many. Mend it.",
    hints=(
        "The edited fact is meant to change. It should be neither among those counted nor among those kept.",
        "It may be asked more than once. Facts are pairs, and two pairs are compared with == and !=.",
        "if before[n] and fact != edited",
    ),
    inputs=_facts,
    keeps=("asked", "before", "after"),
    difficulty=1,
    minutes=6,
)
def locality(edited, asked, before, after):
    """edited: a fact, (subject, relation); asked: a list of N facts, some twice -> a share.

    before, after (N,): whether the true answer came, before and after the edit.
    """
    counted = [n for n, fact in enumerate(asked) if before[n] and fact != edited]
    return sum(after[n] for n in counted) / len(counted)


@locality.mend("the edited fact is counted: it is meant to change, and an edit that works would be blamed for it")
def _with_the_edited(edited, asked, before, after):
    counted = [n for n, fact in enumerate(asked) if before[n]]
    return sum(after[n] for n in counted) / len(counted)


def _over(counts, right=lambda n, before, after: after[n]):
    def wrong(edited, asked, before, after):
        counted = [n for n, fact in enumerate(asked) if counts(fact, edited, before[n])]
        return sum(right(n, before, after) for n in counted) / len(counted)

    return wrong


def _one_left_out(edited, asked, before, after):
    out = asked.index(edited)
    counted = [n for n in range(len(asked)) if before[n] and n != out]
    return sum(after[n] for n in counted) / len(counted)


def _numbered_anew(edited, asked, before, after):
    others = [fact for fact in asked if fact != edited]
    counted = [n for n in range(len(others)) if before[n]]
    return sum(after[n] for n in counted) / len(counted)


locality.plant({
    "the edited fact may be asked more than once: leave out each":
        _one_left_out,
    "the edited fact is left out only where it changed; leave it out whatever the edit did to it":
        lambda edited, asked, before, after: _with_the_edited(
            edited, asked, [b and (f != edited or a) for f, b, a in zip(asked, before, after, strict=True)], after
        ),
    "`or` counts too many: a fact counts if it was right before *and* is not the edited one":
        _over(lambda fact, edited, was: was or fact != edited),
    "the edited fact is left out of `asked` alone: the numbers of before and after then belong to other facts":
        _numbered_anew,
    "what is right after is divided by what was right before, but facts that were wrong before count above":
        lambda edited, asked, before, after: sum(a for f, a in zip(asked, after, strict=True) if f != edited)
        / sum(b for f, b in zip(asked, before, strict=True) if f != edited),
    "the edited fact is left out above only; leave it out of both numbers":
        lambda edited, asked, before, after: sum(
            after[n] for n, fact in enumerate(asked) if before[n] and fact != edited
        ) / sum(before),
    "only the edited fact is counted: that is the opposite of locality":
        _over(lambda fact, edited, was: fact == edited),
    "facts that were wrong before are counted: the edit could not break them":
        _over(lambda fact, edited, was: fact != edited),
    "all facts are counted, the edited one and those that were wrong before":
        _over(lambda fact, edited, was: True),
    "everything about the edited subject is left out: its other facts may break too. Leave out the one pair":
        _over(lambda fact, edited, was: was and fact[0] != edited[0]),
    "everything of the edited relation is left out: these are its neighbors, which break most easily":
        _over(lambda fact, edited, was: was and fact[1] != edited[1]),
    "all that shares subject or relation is left out; leave out the one pair":
        _over(lambda fact, edited, was: was and fact[0] != edited[0] and fact[1] != edited[1]),
    "a fact that was wrong before and is wrong after counts as kept":
        _over(lambda fact, edited, was: fact != edited, lambda n, before, after: before[n] == after[n]),
    "it is divided by all that was asked; divide by what was right before, the edited fact left out":
        lambda edited, asked, before, after: sum(
            after[n] for n, fact in enumerate(asked) if before[n] and fact != edited
        ) / len(asked),
    "that is the share that broke, 1 minus the one asked":
        _over(lambda fact, edited, was: was and fact != edited, lambda n, before, after: not after[n]),
    "that is a number of facts; asked is their share":
        lambda edited, asked, before, after: sum(
            after[n] for n, fact in enumerate(asked) if before[n] and fact != edited
        ),
})  # fmt: skip


# Which numbers to forget by -------------------------------------------------------------------------------------------


def _slopes():
    """Weights and slopes of both signs and different sizes, so that each order of them is another."""
    yield (
        torch.tensor([[1.0, -2.0, 0.5], [0.1, 3.0, -1.0]]),
        torch.tensor([[0.5, 2.0, 4.0], [9.0, 0.2, -2.5]]),
        2,
    )
    for n_out, n_in, k in ((2, 3, 1), (3, 4, 4), (4, 5, 6), (6, 3, 5)):
        yield torch.randn(n_out, n_in), torch.randn(n_out, n_in), k


@exercise(
    "ffn.salience",
    title="The first to go",
    prompt="Set to 0 the k weights whose loss takes most from the answer's log-probability, judged by the slope.",
    hints=(
        "A weight that goes from w to 0 moves by −w. Along its slope g the log-probability moves by −w · g.",
        "So the largest w · g go first: (weight * slope).flatten().topk(k).indices.",
        "Copy the matrix, flatten the copy with view(-1), and write 0 at these places.",
    ),
    inputs=_slopes,
    keeps=("weight", "slope"),
    difficulty=2,
    minutes=6,
)
def first_to_go(weight, slope, k):
    """weight (out, in); slope (out, in): of the log-probability along each weight -> weight with k zeros.

    To first order, a weight w of slope g set to 0 takes w · g away. Leave the arguments as they are.
    """
    places = (weight * slope).flatten().topk(k).indices  # (k,)
    kept = weight.clone()  # (out, in)
    kept.view(-1)[places] = 0
    return kept


def _zeroed(weight, order, k):
    kept = weight.clone()
    kept.view(-1)[order.flatten().topk(k).indices] = 0
    return kept


def _each_row(weight, slope, k):
    kept = weight.clone()
    n = min(k, weight.shape[1])
    return kept.scatter(1, (weight * slope).topk(n, 1).indices, 0.0)


def _by_rows(weight, slope, k):
    kept = weight.clone()
    for place in (weight * slope).flatten().topk(k).indices.tolist():
        kept[place // weight.shape[0], place % weight.shape[0]] = 0
    return kept


def _of_rows(weight, slope, k):
    kept = weight.clone()
    kept.view(-1)[(weight * slope).topk(k).indices] = 0
    return kept


def _in_place(weight, slope, k):
    weight.view(-1)[(weight * slope).flatten().topk(k).indices] = 0
    return weight


first_to_go.plant({
    "the sign of w · g is lost: a weight that holds the answer back would go as well":
        lambda weight, slope, k: _zeroed(weight, (weight * slope).abs(), k),
    "the weights whose loss helps the answer go: the sign is the wrong way round":
        lambda weight, slope, k: _zeroed(weight, -weight * slope, k),
    "the weights with the largest slopes go, however small they are: w · g counts, since a weight moves by −w":
        (
            lambda weight, slope, k: _zeroed(weight, slope, k),
            lambda weight, slope, k: _zeroed(weight, slope.abs(), k),
        ),
    "the largest weights go, whatever their slopes; w · g counts":
        (
            lambda weight, slope, k: _zeroed(weight, weight.abs(), k),
            lambda weight, slope, k: _zeroed(weight, weight, k),
        ),
    "the smallest weights go, as one prunes what matters little; here the answer shall be lost":
        lambda weight, slope, k: _zeroed(weight, -weight.abs(), k),
    "k of each row go; k of the whole matrix are asked":
        _each_row,
    "topk without flatten looks along each row":
        _of_rows,
    "a flat place is row · columns + column: divide by the number of columns":
        _by_rows,
    "only one weight goes; k are asked":
        lambda weight, slope, k: _zeroed(weight, weight * slope, 1),
    "one of the two signs is lost: a weight that holds the answer back would go as well":
        (
            lambda weight, slope, k: _zeroed(weight, weight.abs() * slope, k),
            lambda weight, slope, k: _zeroed(weight, weight * slope.abs(), k),
        ),
    "all weights whose loss takes something go; k are asked":
        lambda weight, slope, k: torch.where(weight * slope > 0, 0.0, weight),
    "the weight is divided by its slope; to first order w · g is lost":
        lambda weight, slope, k: _zeroed(weight, weight / slope, k),
    "the weights go that change least, those of the smallest |w · g|":
        lambda weight, slope, k: _zeroed(weight, -(weight * slope).abs(), k),
    "only the k stay, and all others go":
        lambda weight, slope, k: weight - first_to_go.answer(weight, slope, k),
    "the weights take a step against the slope; they are to be set to 0":
        (
            lambda weight, slope, k: weight - slope * (first_to_go.answer(weight, slope, k) == 0),
            lambda weight, slope, k: weight - slope,
        ),
    "the `weight` that was given was changed; write into a copy":
        _in_place,
})  # fmt: skip


EXERCISES = (story_f1, gives_back, rank_one, locality, first_to_go)

PREDICTIONS = (
    Prediction(
        id="ffn.stories",
        text=(
            "Of 3,072 units, 50 are drawn. For each we look for a story: at most ten tokens that announce where the "
            "unit is most excited. How many of the 50 have a story that holds on held-out texts, with an F1 of at "
            "least one half?"
        ),
    ),
    Prediction(
        id="ffn.forget",
        text=(
            "The feed-forward layers have 1,769,472 weights. We set as few of them to 0 as we can, until the model no "
            "longer says, after two prompts, that the capital of France is Paris. How many?"
        ),
        unit="weights",
    ),
)

QUESTIONS = (
    Question(
        id="ffn.carried",
        text=(
            "“France” is exchanged for “Italy”. One activation is taken from the first run, and “ Paris” is the answer "
            "again. What follows?"
        ),
        options=(
            "The fact is stored in that layer's weights",
            "What tells France from Italy passes through this activation",
            "No other activation carries anything about France",
            "The layer before has no part in it",
        ),
        answer=1,
        why=(
            "An activation is what passes through at a place. Where it was looked up is another question.",
            "The rest of the run is Italy's, so this activation brings what makes the difference.",
            "Others may carry it as well, in the same layer's past or elsewhere.",
            "The activation was made from what the layer before handed on.",
        ),
    ),
    Question(
        id="ffn.held",
        text="Both edits give the key its new value exactly. What is C for?",
        options=(
            "It makes the new value larger",
            "It brings the key to length 1",
            "It turns the change so that keys of usual texts have little product with it",
            "It finds the layer where the fact stands",
        ),
        answer=2,
        why=(
            "The value is the same with and without.",
            "The division makes the product with the key 1, with any C.",
            "b = C⁻¹k / (kᵀC⁻¹k) is, of all b with b · k = 1, the one with the least mean square (b · k′)².",
            "The layer is chosen before.",
        ),
    ),
    Question(
        id="ffn.reversed",
        text=(
            "After an edit the model says that the capital of France is Rome. Why does “Rome is the capital of” go on "
            "as before?"
        ),
        options=(
            "The edit failed",
            "That question's key has little product with b, and what the edit adds pushes Rome, not France",
            "C forbids it",
            "Rome is no token",
        ),
        answer=1,
        why=(
            "It does what it was made for, in this direction.",
            "b · k′ is near 0 there; nothing in W′ says that a fact has two directions.",
            "C says which keys to hold; it knows no question.",
            "It is one, and the model says it.",
        ),
    ),
)
