"""`llmlab showpieces`: search texts that the model has never read, on which it shows what it can do and cannot.

Writes `showpieces.json` beside the model, for `world.showpieces`. What was read is looked up in `stream.npz`.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from random import Random

import torch

from .. import data_path, heads, load_model, repetition, world
from ..tokenization import BPETokenizer
from ..transformer import Transformer
from ..world.facts import names_of_nobody
from ..world.lexicon import ANIMALS, FOODS, OUTDOORS, PETS, ROOMS, THINGS, words
from ..world.pronouns import FAMILIES, Family
from ..world.records import held_out
from ..world.showpieces import Guess, Showpieces, Twins

# More nouns that fit into a family's sentence than its own: with one of these, training never says it.
_BEASTS = tuple(dict.fromkeys((*ANIMALS, *PETS)))
_FURTHER = (
    (_BEASTS, (*OUTDOORS, *words("garden hill village bridge road street"))),
    (THINGS, (*words("cupboard wardrobe house cup bottle"), *ROOMS)),
    (_BEASTS, words("train bus tree stone door")),
    (_BEASTS, FOODS),
    (THINGS, words("clock bell flute lamp chair door wall")),
    (words("train bus car truck boat horse pony"), words("boat horse cow sheep pony")),
)
PER_FAMILY, PER_NOUN = 6, 1
LEAST = 0.5  # the probability of a right answer that is worth showing
SURE, UNSURE = 0.9, 0.3
WORDS, DRAWS = 8, 5_000  # words of a list to say again; lists tried


def add_arguments(parser: argparse.ArgumentParser) -> None:
    folder = data_path("model.safetensors").parent
    parser.add_argument("--publish", type=Path, default=folder, metavar="FOLDER", help="where the file goes (data)")


def run(arguments: argparse.Namespace) -> int:
    found = search(*load_model())
    path = arguments.publish / "showpieces.json"
    path.write_text(json.dumps(found.to_dict(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    for kind, pieces in found.to_dict().items():
        print(f"{kind}: {len(pieces)}")
    print(f"written to {path}")
    return 0


def search(model: Transformer, tokenizer: BPETokenizer) -> Showpieces:
    """What to show of a model: twenty pairs or more with a pronoun, and ten of each other kind, or all there are."""
    nobody = [Guess(prompt, *said) for prompt, said in _asked(model, tokenizer, _about_nobody())]
    nobody.sort(key=lambda guess: -guess.probability)
    sure = [guess for guess in nobody if guess.probability >= SURE]
    return Showpieces(
        pronouns=tuple(_pronouns(model, tokenizer)),
        sums=tuple(_sums(model, tokenizer)[:10]),
        untruths=tuple(_unread(sure, 10)),
        doubts=tuple(_unread([guess for guess in reversed(nobody) if guess.probability <= UNSURE], 10)),
        repetitions=tuple(_repetitions(model, tokenizer)),
    )


@torch.no_grad()
def _asked(
    model: Transformer, tokenizer: BPETokenizer, prompts: Sequence[str]
) -> Iterator[tuple[str, tuple[str, float]]]:
    """For each prompt the model's likeliest next token and its probability."""
    start = tokenizer.special_tokens["<s>"]
    by_length = defaultdict(list)
    for prompt in prompts:
        ids = [start, *tokenizer.encode(prompt)]
        by_length[len(ids)].append((prompt, ids))
    for alike in by_length.values():
        for batch in (alike[at : at + 64] for at in range(0, len(alike), 64)):
            likely = model(torch.tensor([ids for _, ids in batch]))[:, -1].softmax(-1)  # (B, V)
            for (prompt, _), (share, token) in zip(batch, zip(*likely.max(-1), strict=True), strict=True):
                yield prompt, (tokenizer.decode([int(token)]), round(float(share), 3))


# Pronouns ------------------------------------------------------------------------------------------------------------


def _pronouns(model: Transformer, tokenizer: BPETokenizer) -> list[Twins]:
    """The pairs whose weaker answer is the surest, some of each family, no noun too often."""
    chosen = []
    for family, further in zip(FAMILIES, _FURTHER, strict=False):
        pairs = list(_pairs(family, further))
        said = dict(_asked(model, tokenizer, [prompt for prompts, _ in pairs for prompt in prompts]))
        right = [
            Twins(prompts, answers, tuple(said[prompt][1] for prompt in prompts))
            for prompts, answers in pairs
            if all(
                answer.startswith(said[prompt][0]) and len(said[prompt][0]) > 1 and said[prompt][1] >= LEAST
                for prompt, answer in zip(prompts, answers, strict=True)
            )
        ]
        right.sort(key=lambda twins: -min(twins.probabilities))
        used: dict[str, int] = defaultdict(int)
        kept: list[Twins] = []
        for twins in right:
            if len(kept) < PER_FAMILY and all(used[noun] < PER_NOUN for noun in twins.answers) and _never_read(twins):
                kept.append(twins)
                for noun in twins.answers:
                    used[noun] += 1
        chosen += kept
    return chosen


def _pairs(family: Family, further: tuple[Iterable[str], Iterable[str]]) -> Iterator[tuple[tuple, tuple]]:
    """(prompts, answers) of sentences that training never says: with other nouns, or held out."""
    own = set(itertools.product(family.x, family.y))
    every = itertools.product(dict.fromkeys((*family.x, *further[0])), dict.fromkeys((*family.y, *further[1])))
    for x, y in every:
        if x == y:
            continue
        for reasons in itertools.product(family.x_reasons, family.y_reasons):
            sentences = [family.sentence.format(x=x, y=y, z=reason) for reason in reasons]
            if (x, y) in own and not all(map(held_out, sentences)):
                continue
            questions = [family.question.format(z=reason) for reason in reasons]
            prompts = tuple(
                f"{sentence}\nQuestion: {question}\nAnswer: the"
                for sentence, question in zip(sentences, questions, strict=True)
            )
            yield prompts, (f" {x}", f" {y}")


def _never_read(twins: Twins) -> bool:
    return not any(world.seen_all([prompt.split("\n")[0] for prompt in twins.prompts]).values())


# Sums, persons, lists ------------------------------------------------------------------------------------------------


def _sums(model: Transformer, tokenizer: BPETokenizer) -> list[Twins]:
    """Pairs of held-out sums of the same digits in another order, both right, the surest first."""
    by_digits = defaultdict(list)
    for a, b in itertools.combinations(range(90), 2):
        if a + b < 100 and b > 9 and held_out(f"sum:{a}+{b}"):
            by_digits["".join(sorted(f"{a}{b}"))].append((a, b))
    found = []
    for alike in by_digits.values():
        for pair in itertools.combinations(alike, 2):
            prompts = tuple(f"{a} + {b} =" for a, b in pair)
            items = [
                world.Item("sums_2digit", prompt, f" {a + b}.") for prompt, (a, b) in zip(prompts, pair, strict=True)
            ]
            if all(world.answers(model, items, tokenizer=tokenizer)) and not any(world.seen_all(prompts).values()):
                shares = tuple(share for _, (_, share) in _asked(model, tokenizer, prompts))
                found.append(Twins(prompts, tuple(item.answer for item in items), shares))
    return sorted(found, key=lambda twins: -min(twins.probabilities))


def _about_nobody() -> list[str]:
    """A question about each person whose first name and last name are those of others."""
    return [f"{name} lives in" for name in names_of_nobody()]


def _unread(guesses: Iterable[Guess], n: int) -> list[Guess]:
    """The first `n` whose name was never read."""
    return list(itertools.islice((guess for guess in guesses if not world.seen(guess.prompt)), n))


@torch.no_grad()
def _repetitions(model: Transformer, tokenizer: BPETokenizer, n: int = 10) -> list[tuple[str, ...]]:
    """Lists of words that stood in no list of training, said again without a mistake after the first word."""
    known = set(heads.word_tokens(tokenizer))
    pool = [token for token in repetition.never_listed(tokenizer) if token in known]
    rng, start = Random("llmlab: lists of words never listed"), tokenizer.special_tokens["<s>"]
    found: list[tuple[str, ...]] = []
    for _ in range(DRAWS):
        drawn = rng.sample(pool, WORDS)
        said = torch.tensor([[start, *drawn, *drawn]])
        best = model(said[:, :-1])[0].argmax(-1).tolist()
        spelled = tuple(tokenizer.decode([token]).strip() for token in drawn)
        if best[WORDS + 1 :] == drawn[1:] and not world.seen(" ".join(spelled)):
            found.append(spelled)
        if len(found) == n:
            break
    return found
