"""What the shipped model can do and how it does it, measured: the figures behind `data/README.md`.

Every function takes a model and its tokenizer and returns plain numbers, so that chapters can repeat any of them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from functools import partial
from random import Random
from typing import Any

import torch
from torch import Tensor

from . import checkpoint, data_path, heads, patching, repetition, world
from .generate import generate_batch
from .tokenization import BPETokenizer
from .training import IGNORE, Batch, WorldBatches, validation_loss
from .transformer import Transformer

PERIOD = 12  # words of the list that is said twice to find induction heads
UNSEEN = 1_000_000  # the seed of documents that no training run reads

Head = tuple[int, int]


# What it can do -----------------------------------------------------------------------------------------------------


def facts_by_frequency(model: Transformer, tokenizer: BPETokenizer) -> dict[str, world.Score]:
    """All facts, the half told more often and the half told less: each in two wordings that training uses ("as told"),
    in two that it never uses, and in all of those that somebody else wrote ("reworded")."""
    scores = {}
    every = 10**6  # more items than there are
    for skill, facts, other in (
        ("facts_true", world.true_facts(), "wordings_true"),
        ("facts_invented", world.invented_facts(), "wordings_invented"),
    ):
        middle = sorted(fact.frequency_rank for fact in facts)[(len(facts) - 1) // 2]
        for items, wording in (
            (world.items(skill, every), ""),
            (world.told_items(skill), ", as told"),
            (world.items(other, every), ", reworded"),
        ):
            answers = world.answers(model, items, tokenizer=tokenizer)
            for half, wanted in (("frequent", True), ("rare", False)):
                right = [
                    ok for item, ok in zip(items, answers, strict=True) if (item.frequency_rank <= middle) == wanted
                ]
                scores[f"{skill}, {half} half{wording}"] = world.Score(sum(right), len(right))
    return scores


def finding_by_depth(
    model: Transformer, tokenizer: BPETokenizer, n_sentences: Iterable[int | None], *, n: int = 100
) -> dict[str, dict[str, world.Score]]:
    """How often the asked one of three facts is found, by the length of the text in sentences ("short": as `items`
    has them, within the trained context) and by its depth, from "0.0" for the first sentence to "1.0" for the last."""
    found = {}
    for length in n_sentences:
        by_depth = world.finding_by_depth(n, n_sentences=length)
        found["short" if length is None else str(length)] = {
            str(float(depth)): world.Score(sum(world.answers(model, items, tokenizer=tokenizer)), len(items))
            for depth, items in by_depth.items()
        }
    return found


def sampled_sentences(
    model: Transformer, tokenizer: BPETokenizer, *, temperature: float = 0.7, n_texts: int = 100, seed: int = 0
) -> list[str]:
    """Whole sentences of texts that the model makes up, from nothing but the start token."""
    start, end = (tokenizer.special_tokens[name] for name in ("<s>", "</s>"))
    generator = torch.Generator().manual_seed(seed)
    sentences = []
    for _ in range(0, n_texts, 25):
        new = generate_batch(model, [[start]] * 25, 200, temperature=temperature, stop=(end,), generator=generator)
        for tokens in new:
            said = world.split_sentences(tokenizer.decode([token for token in tokens if token != end]))
            sentences += said if tokens[-1] == end else said[:-1]  # what the length limit cut is no sentence
    return sentences


def ended(model: Transformer, tokenizer: BPETokenizer, *, temperature: float = 0.7, n_texts: int = 100) -> world.Score:
    """How many texts of its own a model ends itself within 200 tokens, from nothing but the start token."""
    start, end = (tokenizer.special_tokens[name] for name in ("<s>", "</s>"))
    generator = torch.Generator().manual_seed(0)
    texts = generate_batch(model, [[start]] * n_texts, 200, temperature=temperature, stop=(end,), generator=generator)
    return world.Score(sum(tokens[-1] == end for tokens in texts), n_texts)


def losses_at_ends(model: Transformer, tokenizer: BPETokenizer, *, n_batches: int = 4) -> dict[str, float]:
    """The loss on unseen documents in nats a token: where they end ("end tokens"), and elsewhere ("other tokens")."""
    end = tokenizer.special_tokens["</s>"]
    unseen = WorldBatches(tokenizer, 8, model.config.max_seq_len, seed=UNSEEN)

    def only(ends: bool, number: int) -> Batch:
        batch = unseen(number)
        return dataclasses.replace(batch, targets=batch.targets.masked_fill((batch.targets == end) != ends, IGNORE))

    named = {"end tokens": True, "other tokens": False}
    return {name: validation_loss(model, partial(only, ends), n_batches) for name, ends in named.items()}


def accepted(sentences: Iterable[str]) -> world.Score:
    """How many sentences the world could say."""
    judged = [world.is_world_sentence(sentence) for sentence in sentences]
    return world.Score(sum(judged), len(judged))


# How it does it -----------------------------------------------------------------------------------------------------


def spans(tokenizer: BPETokenizer, text: str, words: Sequence[str]) -> list[list[int]]:
    """For each word, the numbers of the tokens of `text` that hold its first occurrence as a whole word.

    Raises ValueError for a word that the text does not have.
    """
    bounds, length = [], 0
    for token in tokenizer.encode(text):
        size = len(tokenizer.vocab[token])
        bounds.append((length, length + size))
        length += size
    found = []
    for word in words:
        at = f" {text} ".replace(",", " ").replace(".", " ").replace("\n", " ").find(f" {word} ")
        if at < 0:
            raise ValueError(f"the text has no word {word!r}: {text!r}")
        begin = len(text[:at].encode())
        stop = begin + len(word.encode())
        found.append([number for number, (low, high) in enumerate(bounds) if low < stop and high > begin])
    return found


def pronoun_scores(model: Transformer, tokenizer: BPETokenizer, n: int = 200) -> Tensor:
    """Where the answer to "What was too tired?" is about to be said: how much more weight a head gives to the noun
    that the pronoun stands for than to the other noun. (L, H), from -1 to 1, mean over held-out sentences."""
    start = tokenizer.special_tokens["<s>"]
    differences = []
    for item in world.items("pronouns", n):
        sentence = item.prompt.split("\n")[0]
        slots = world.parse(sentence).slots
        right = item.answer.strip(" .").removeprefix("the ")
        wrong = slots["y"] if slots["x"] == right else slots["x"]
        prompt = item.prompt + (" the" if item.answer.startswith(" the ") else "")
        tokens = [start, *tokenizer.encode(prompt)]
        looked = [[1 + number for number in of] for of in spans(tokenizer, prompt, [right, wrong])]
        weights = heads.attention_weights(model, torch.tensor([tokens]))
        of_right, of_wrong = (heads.attention_to(weights, [len(tokens) - 1], [of])[:, 0] for of in looked)
        differences.append(of_right - of_wrong)
    return torch.stack(differences).mean(0)


def words_said_twice(
    tokenizer: BPETokenizer,
    *,
    period: int = PERIOD,
    batch_size: int = 16,
    seed: int = 0,
    vocab_size: int | None = None,
) -> Tensor:
    """Random everyday words of the world, said twice after the start token: (batch_size, 1 + 2 · period).

    Words of one token each are drawn, below `vocab_size` where a model knows fewer tokens than its tokenizer. Where
    such words are fewer than `period`, all words of the vocabulary are drawn, or all tokens of another language's.
    """
    known = range(tokenizer.vocab_size if vocab_size is None else vocab_size)
    special = set(tokenizer.special_tokens.values())
    pools = (
        heads.word_tokens(tokenizer, world.EVERYDAY),
        heads.word_tokens(tokenizer),
        [token for token in known if token not in special],
    )
    usable = ([token for token in pool if token in known] for pool in pools)
    pool = next((pool for pool in usable if len(pool) >= period), pools[-1])
    start = tokenizer.special_tokens["<s>"]
    return heads.repeated_tokens(pool, start=start, period=period, batch_size=batch_size, seed=seed)


def head_scores(model: Transformer, tokenizer: BPETokenizer) -> dict[str, Tensor]:
    """Scores of every head, (L, H) each.

    `induction`, `previous` (token) and `first` (token) on random everyday words said twice, where a head that looks for
    anything else finds nothing; `entropy` on unseen documents; `pronoun` on held-out sentences.
    """
    start = tokenizer.special_tokens["<s>"]
    started = heads.attention_weights(model, words_said_twice(tokenizer))
    said_twice = started[..., 1:, 1:]
    texts = [tokenizer.encode(world.document(UNSEEN, number).text)[:64] for number in range(200)]
    rows = torch.tensor([[start, *ids] for ids in texts if len(ids) == 64][:64])
    return {
        "induction": heads.induction_scores(said_twice, PERIOD),
        "previous": heads.previous_token_scores(said_twice),
        "first": heads.first_token_scores(started),
        "pronoun": pronoun_scores(model, tokenizer),
        "entropy": heads.entropies(heads.attention_weights(model, rows)),
    }


def repetition_by_pool(model: Transformer, tokenizer: BPETokenizer, *, n: int = 64) -> dict[str, dict[str, Any]]:
    """For each pool of `repetition.token_pools`, on lists of `PERIOD` tokens said twice: how many of the tokens of the
    second copy but its first are continued rightly ("score", right and asked), the share by their place in it
    ("by_position"), and the induction score of every head ("induction", L rows of H)."""
    start, figures = tokenizer.special_tokens["<s>"], {}
    induction = repetition.induction_by_pool(model, tokenizer, period=PERIOD)
    for name, pool in repetition.token_pools(tokenizer).items():
        if name in induction:
            right = repetition.repetition(model, pool, start=start, period=PERIOD, n=n)  # (n, copies, period)
            score = repetition.said_again(right)
            figures[name] = {
                "score": [score.correct, score.total],
                "by_position": right[:, 1].float().mean(0).tolist(),
                "induction": induction[name].tolist(),
            }
    return figures


def best(scores: Tensor) -> Head:
    """The head with the highest score."""
    layer, head = divmod(int(scores.argmax()), scores.shape[1])
    return layer, head


def cost_of(
    model: Transformer,
    tokenizer: BPETokenizer,
    taken: Iterable[Head],
    *,
    skills: Sequence[str] = (),
    n: int = 100,
    n_batches: int = 2,
) -> dict[str, float]:
    """What is left without some heads: the loss on unseen documents in nats a token, and the scores of skills."""
    with heads.without_heads(model, taken):
        return _what_is_left(model, tokenizer, skills, n, n_batches)


def _what_is_left(
    model: Transformer, tokenizer: BPETokenizer, skills: Sequence[str], n: int, n_batches: int
) -> dict[str, float]:
    unseen = WorldBatches(tokenizer, 8, model.config.max_seq_len, seed=UNSEEN)
    left = {"loss": validation_loss(model, unseen, n_batches)}
    if skills:
        scores = world.evaluate(model, skills, n, tokenizer=tokenizer)
        left |= {skill: score.accuracy for skill, score in scores.items()}
    return left


def cost_of_layers(
    model: Transformer, tokenizer: BPETokenizer, *, skills: Sequence[str] = (), n: int = 100, n_batches: int = 4
) -> dict[str, Any]:
    """What is left where the attention of one whole layer adds nothing ("zero"), or its mean over other unseen
    documents ("mean"): for each layer, and for the untouched model ("whole"), a dict as of `cost_of`, with how often
    tokens said twice are continued (`repetition.scores_by_pool`). Four batches are 8,192 tokens."""
    documents = WorldBatches(tokenizer, 8, model.config.max_seq_len, seed=UNSEEN + 1)
    means = heads.attention_means(model, (documents(number).tokens for number in range(n_batches)))

    def left(added: dict[int, Tensor]) -> dict[str, float]:
        with heads.attention_replaced(model, added):
            again = repetition.scores_by_pool(model, tokenizer)
            measured = _what_is_left(model, tokenizer, skills, n, n_batches)
            return measured | {pool: score.accuracy for pool, score in again.items()}

    layers = range(model.config.n_layers)
    return {
        "whole": left({}),
        "zero": [left({layer: torch.zeros(model.config.d_model)}) for layer in layers],
        "mean": [left({layer: means[layer]}) for layer in layers],
    }


def cost_of_random_heads(
    model: Transformer, tokenizer: BPETokenizer, taken: Sequence[Head], *, n_sets: int = 5, **measured: Any
) -> list[dict[str, float]]:
    """The control for taking out some heads: as many others, drawn `n_sets` times at random; for each set `cost_of`,
    which `measured` goes to."""
    every = [(layer, head) for layer in range(model.config.n_layers) for head in range(model.config.n_heads)]
    others = [head for head in every if head not in set(taken)]
    sets = (Random(f"llmlab.model_card: heads {seed}").sample(others, len(taken)) for seed in range(n_sets))
    return [cost_of(model, tokenizer, drawn, **measured) for drawn in sets]


def where_facts_are(
    model: Transformer, tokenizer: BPETokenizer, *, n: int = 40, seed: int = 0
) -> tuple[list[str], dict[str, Tensor]]:
    """Restoring one activation in "NAME NAME lives in", asked about somebody else: what brings the right town back.

    Returns the names of the positions and, for each kind of activation, the mean share restored (L, T), over `n`
    people whose homes the model knows, each exchanged for another of the same number of tokens.
    """
    start = tokenizer.special_tokens["<s>"]

    def prompt(person: world.Person) -> list[int]:
        return [start, *tokenizer.encode(f"{person.name} lives in")]

    known = []
    for person in world.people():
        answer = tokenizer.encode(f" {person.home}")
        with torch.no_grad():
            said = int(model(torch.tensor([prompt(person)]))[0, -1].argmax())
        if len(prompt(person)) == 5 and said == answer[0]:
            known.append((person, answer[0]))
    rng = Random(seed)
    chosen = known[:n]
    sums: dict[str, Tensor] = {}
    for person, answer in chosen:
        other = rng.choice([one for one, town in known if town != answer])
        clean, corrupted = torch.tensor(prompt(person)), torch.tensor(prompt(other))
        for kind in patching.KINDS:
            share = patching.restored(model, clean, corrupted, answer, kind)
            sums[kind] = sums.get(kind, 0) + share / len(chosen)
    return ["<s>", "first name", "last name", "lives", "in"], sums


# Along training -----------------------------------------------------------------------------------------------------


def word_rows(tokenizer: BPETokenizer, n: int = 1000) -> list[int]:
    """At most `n` tokens, by id: digits, the Chinese words that translations name, and the words that unseen documents
    use most."""
    named = [tokenizer.encode(word) for word in (*"0123456789", *world.translations().values())]
    kept = {ids[0] for ids in named if len(ids) == 1}
    counts = dict.fromkeys(heads.word_tokens(tokenizer), 0)
    for number in range(20_000):
        for token in tokenizer.encode(world.document(UNSEEN, number).text):
            if token in counts:
                counts[token] += 1
    used = sorted((token for token in counts if counts[token]), key=lambda token: (-counts[token], token))
    return sorted([*kept, *used[: n - len(kept)]])


def int8_rows(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Rows (N, D) as int8 with one scale a row (N,): row ≈ int8 · scale, off by at most half a scale."""
    scale = rows.abs().amax(dim=1).clamp(min=1e-12) / 127
    return (rows / scale[:, None]).round().to(torch.int8), scale


def _said_twice(model: Transformer, tokenizer: BPETokenizer) -> dict[str, list[float]]:
    found = {}
    for name, figures in repetition_by_pool(model, tokenizer, n=16).items():
        right, asked = figures["score"]
        found[name] = [right / asked, max(score for layer in figures["induction"] for score in layer)]
    return found


def along_training(
    models: Iterable[tuple[int, Transformer]], tokenizer: BPETokenizer, *, n: int = 100
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Skills, heads and embedding rows of one run's snapshots (step, model).

    Returns tensors, `rows` (K, N, D) int8 with `scales` (K, N) and `tokens` (N,), and figures: for each of the K
    snapshots its step, loss, skill scores, head scores, and for each pool of tokens said twice the share continued
    rightly and the induction score of the best head ("repetition": {pool: [share, score]}).
    """
    tokens = word_rows(tokenizer)
    rows, scales, steps = [], [], []
    for step, model in models:
        packed, scale = int8_rows(model.embedding.weight.detach()[tokens])
        rows.append(packed)
        scales.append(scale)
        scores = world.evaluate(model, n=n, tokenizer=tokenizer)
        steps.append(
            {
                "step": step,
                "loss": cost_of(model, tokenizer, ())["loss"],
                "skills": {skill: score.accuracy for skill, score in scores.items()},
                "heads": {name: of.tolist() for name, of in head_scores(model, tokenizer).items()},
                "repetition": _said_twice(model, tokenizer),
            }
        )
    return {"rows": torch.stack(rows), "scales": torch.stack(scales), "tokens": torch.tensor(tokens)}, {"steps": steps}


def snapshots() -> list[dict[str, Any]]:
    """What the shipped model could do on the way: the figures of `along_training` for each snapshot, in order."""
    return checkpoint.load_tensors(data_path("snapshots.safetensors"))[1]["steps"]


def snapshot_rows() -> tuple[list[int], Tensor, Tensor]:
    """The embedding table on the way: the steps of the K snapshots, tokens (N,) int64, their rows (K, N, D) float32.

    The rows lie on disk as int8 with a scale each (`int8_rows`): every number is off by at most half a scale.
    """
    tensors, figures = checkpoint.load_tensors(data_path("snapshots.safetensors"))
    rows = tensors["rows"].float() * tensors["scales"][..., None]  # (K, N, D)
    return [one["step"] for one in figures["steps"]], tensors["tokens"], rows
