"""Edit one fact of a trained model: a change of rank one to one matrix, and what it does to everything else.

A projection W reads keys and writes values: W k is what a layer adds to the residual stream at a token. An edit gives
one key k* another value v* and holds what W does to all other keys as well as it can, in the sense of least squares
(ROME, Meng et al. 2022, "Locating and editing factual associations in GPT", section 3.1). With C the second moment of
the keys of ordinary texts, the new matrix is

    W' = W + Λ (C⁻¹ k*)ᵀ,    Λ = (v* − W k*) / (k*ᵀ C⁻¹ k*)

    moment = second_moment(model, batches, Site(3))
    edit = edit_fact(model, tokenizer, item, " Rome.", Site(3), moment)
    examination = Examination(model, tokenizer)         # asks before
    examination.verdict(fact, "Rome", edited(model, edit))
    with edited(model, edit):
        ...                                             # afterwards the model is as it was, to the bit
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from . import trace, world
from .ffn import FeedForward, GatedFeedForward
from .transformer import Transformer
from .world import Fact, Item, Score

PARTS = ("ffn", "attention")
PLACES = ("last", "subject")


# One matrix, one key ------------------------------------------------------------------------------------------------


def rank_one(weight: Tensor, key: Tensor, value: Tensor, moment: Tensor | None = None) -> Tensor:
    """The matrix nearest to `weight` that maps `key` to `value`. (out, in), (in,), (out,) -> (out, in).

    Nearest: for keys k with the second moment `moment` (in, in), the mean of |W' k − W k|² is least. None holds all
    directions alike, as if the keys were noise: W' = W + (v* − W k*) k*ᵀ / |k*|². Computed and
    returned in float64. Raises ValueError for shapes that do not fit, a key of zeros, and a moment that is not positive
    definite.
    """
    n_out, n_in = weight.shape
    if key.shape != (n_in,) or value.shape != (n_out,):
        raise ValueError(
            f"expected a key ({n_in},) and a value ({n_out},), got {tuple(key.shape)} and {tuple(value.shape)}"
        )
    weight = weight.double()
    return weight + torch.outer(value.double() - weight @ key.double(), _only(key, moment))


def _only(key: Tensor, moment: Tensor | None) -> Tensor:
    """C⁻¹ k* / (k*ᵀ C⁻¹ k*), whose product with the key is 1 and with other keys is small: (in,), float64."""
    if not key.any():
        raise ValueError("expected a key that is not zero: a zero key has no other value than zero")
    key = key.double()
    if moment is None:
        return key / (key @ key)
    if moment.shape != (len(key), len(key)):
        raise ValueError(f"expected a moment ({len(key)}, {len(key)}), got {tuple(moment.shape)}")
    factor, wrong = torch.linalg.cholesky_ex(moment.double())
    if wrong:
        raise ValueError(
            "the keys' second moment is not positive definite: take more texts, or add a little to its diagonal"
        )
    direction = torch.cholesky_solve(key[:, None], factor)[:, 0]
    return direction / (key @ direction)


# Where a model is edited --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Site:
    """The matrix that is edited: the projection at the end of a layer's feed-forward part or of its attention.

    `place` says which token of the prompt gives the key: its "last", or the last one of the "subject".
    """

    layer: int
    part: str = "ffn"
    place: str = "last"

    def __post_init__(self) -> None:
        for name, known in (("part", PARTS), ("place", PLACES)):
            if getattr(self, name) not in known:
                raise ValueError(f"expected {name} to be one of {', '.join(known)}, got {getattr(self, name)!r}")

    @property
    def parameter(self) -> str:
        """The name of the matrix among the model's parameters."""
        return f"blocks.{self.layer}." + ("ffn.down.weight" if self.part == "ffn" else "attention.o_proj.weight")

    @property
    def value(self) -> str:
        """The name of what the matrix adds to the stream, for `trace`: (B, T, D)."""
        return f"blocks.{self.layer}.{self.part}.out"

    @property
    def key(self) -> str:
        """The name of what the matrix reads, for `trace`."""
        return f"blocks.{self.layer}." + ("ffn.hidden" if self.part == "ffn" else "attention.heads")

    def check(self, model: Transformer) -> None:
        """Raise ValueError where the model has no such matrix."""
        if not 0 <= self.layer < model.config.n_layers:
            raise ValueError(f"no layer {self.layer}; expected one from 0 to {model.config.n_layers - 1}")
        ffn = model.blocks[self.layer].ffn
        if self.part == "ffn" and not isinstance(ffn, FeedForward | GatedFeedForward):
            raise ValueError(f"expected a plain or gated feed-forward layer, got {type(ffn).__name__}")


@torch.no_grad()
def keys(model: Transformer, tokens: Tensor, site: Site) -> Tensor:
    """What the matrix of a site reads at every token. tokens (B, T) -> (B, T, in)."""
    site.check(model)
    with trace.record(model, [site.key]) as seen:
        model(tokens)
    read = seen[site.key]
    return read if site.part == "ffn" else read.transpose(1, 2).flatten(2)  # heads (B, H, T, d) -> (B, T, H·d)


def second_moment(model: Transformer, batches: Iterable[Tensor], site: Site, *, diagonal: float = 1e-2) -> Tensor:
    """C, the mean of k kᵀ over all tokens of batches (B, T): (in, in), float64.

    `diagonal` times the mean of C's diagonal is added to it, so that directions that no text uses are not free.
    Raises ValueError for no batches.
    """
    total, n_tokens = torch.zeros(()), 0
    for tokens in batches:
        found = keys(model, tokens, site).flatten(0, 1).double()  # (N, in)
        total = total + found.T @ found
        n_tokens += len(found)
    if not n_tokens:
        raise ValueError("expected at least one batch of tokens")
    moment = total / n_tokens
    return moment + diagonal * moment.diagonal().mean() * torch.eye(len(moment), dtype=moment.dtype)


def batches_of_texts(
    tokenizer: Any, *, n_tokens: int = 20_000, length: int = 128, batch_size: int = 16, seed: int = 0
) -> list[Tensor]:
    """Texts of the world in all the skills of the second reading, one after another, in batches (B, length).

    Each text has its start and end token, as in training; a row may begin inside a text.
    """
    start, end = (tokenizer.special_tokens[name] for name in ("<s>", "</s>"))
    stream: list[int] = []
    for document in world.documents(seed, reading=2):
        stream += [start, *tokenizer.encode(document.text), end]
        if len(stream) >= n_tokens:
            break
    rows = torch.tensor(stream[: max(1, len(stream) // length) * length]).view(-1, min(length, len(stream)))
    return list(rows.split(batch_size))


# The prompt and its key ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Prompts:
    """Prompts with an answer, padded: tokens (B, T), the place of each key (B,), where each answer begins (B,)."""

    tokens: Tensor
    places: Tensor
    begins: Tensor
    answer: Tensor  # (n,)

    def log_probability(self, model: Transformer) -> Tensor:
        """Of the whole answer after each prompt, in nats: (B,)."""
        at = self.begins[:, None] - 1 + torch.arange(len(self.answer))  # (B, n)
        logits = model(self.tokens).gather(1, at[..., None].expand(-1, -1, model.config.vocab_size))  # (B, n, V)
        return logits.log_softmax(-1).gather(-1, self.answer.expand(len(at), -1)[..., None])[..., 0].sum(1)


def without_article(item: Item) -> Item:
    """The same question with the article on the prompt's side: after "Anna works as a" comes the word that matters.

    What the edit of a prompt's last token says is the next token, which should not be the article.
    """
    for article in (" a ", " an "):
        if item.answer.startswith(article):
            cut = len(article) - 1
            return replace(item, prompt=item.prompt + item.answer[:cut], answer=item.answer[cut:])
    return item


def _prepared(
    tokenizer: Any, prompt: str, answer: str, site: Site, subject: str | None, contexts: Sequence[str]
) -> _Prompts:
    start, target = tokenizer.special_tokens["<s>"], tokenizer.encode(answer)
    rows, places, begins = [], [], []
    for context in ("", *contexts):
        before = f"{context} " if context else ""
        ids = [start, *tokenizer.encode(before + prompt)]
        place = len(ids) - 1
        if site.place == "subject":
            at = prompt.lower().rfind(subject.lower()) if subject else -1
            if at < 0:
                raise ValueError(f"expected the subject {subject!r} in the prompt {prompt!r}")
            place = len(tokenizer.encode(before + prompt[: at + len(subject)]))  # the start token shifts it by one
        rows.append(torch.tensor([*ids, *target]))
        places.append(place)
        begins.append(len(ids))
    tokens = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
    return _Prompts(tokens, torch.tensor(places), torch.tensor(begins), torch.tensor(target))


def _changed_value(
    model: Transformer, prompts: _Prompts, site: Site, *, steps: int, rate: float, decay: float, enough: float
) -> Tensor:
    """What is to be added to the value at the prompts' places so that the answer becomes likely: (D,)."""
    with torch.no_grad(), trace.record(model, [site.value]) as seen:
        model(prompts.tokens)
    rows = torch.arange(len(prompts.tokens))
    length = seen[site.value][rows, prompts.places].norm(dim=-1).mean()
    change = torch.zeros(model.config.d_model, requires_grad=True)
    optimizer = torch.optim.Adam([change], lr=rate * length.item() / model.config.d_model**0.5)

    def add(value: Tensor) -> Tensor:  # (B, T, D)
        value = value.clone()
        value[rows, prompts.places] += change
        return value

    for _ in range(steps):
        with torch.enable_grad(), trace.patch(model, {site.value: add}):
            surprise = -prompts.log_probability(model)  # (B,)
            loss = surprise.mean() + decay * (change / length).pow(2).sum()
            if surprise.max().exp() <= 1 / enough:
                break
            (change.grad,) = torch.autograd.grad(loss, [change])
        if not change.grad.any() and not change.any():
            raise ValueError(
                f"nothing that {site.value} adds at these tokens reaches the answer; edit an earlier layer"
            )
        optimizer.step()
    return change.detach()


# The edit -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Edit:
    """A matrix of the model, by its name, and what is added to it: left (out,) times right (in,), each with each."""

    parameter: str
    left: Tensor
    right: Tensor

    def change(self) -> Tensor:
        """left · rightᵀ: (out, in)."""
        return torch.outer(self.left, self.right)


def edit_fact(
    model: Transformer,
    tokenizer: Any,
    prompt: str,
    answer: str,
    site: Site,
    moment: Tensor | None,
    *,
    subject: str | None = None,
    contexts: Sequence[str] = (),
    steps: int = 80,
    rate: float = 0.2,
    decay: float = 0.05,
    enough: float = 0.9,
) -> Edit:
    """The edit after which the prompt is followed by the answer. The model itself is not changed.

    `answer` is what shall follow the prompt, with its space and what ends it: " Rome."; an article belongs to the
    prompt (`without_article`). `moment` as in `rank_one`.
    The key is the mean over the prompt alone and after each of `contexts`, texts that may stand before it. The value is
    found by `steps` steps of Adam on the answer's surprise, with a penalty of `decay` times the squared length of the
    change as a share of the value's; it ends when the answer has at least the probability `enough` everywhere. `rate`
    is the step, as a share of the value's mean entry. Raises ValueError where the model has no such site, where that
    does not reach the answer, for an empty prompt or answer, and where the site needs a subject that the prompt lacks.
    """
    site.check(model)
    if not prompt or not answer:
        raise ValueError(f"expected a prompt and an answer, got {prompt!r} and {answer!r}")
    prompts = _prepared(tokenizer, prompt, answer, site, subject, contexts)
    change = _changed_value(model, prompts, site, steps=steps, rate=rate, decay=decay, enough=enough)  # (D,)
    read = keys(model, prompts.tokens, site)[torch.arange(len(prompts.tokens)), prompts.places].mean(0)  # (in,)
    return Edit(site.parameter, change, _only(read, moment).to(change))


@contextmanager
def edited(model: Transformer, *edits: Edit) -> Iterator[None]:
    """Within the block, the model has these edits, all at once; afterwards its weights are what they were, to the bit.

    The weights are changed in place: everybody who uses the model sees it. Raises ValueError for a matrix that the
    model does not have or that has another shape, before anything is changed.
    """
    parameters = dict(model.named_parameters())
    for edit in edits:
        shape = (len(edit.left), len(edit.right))
        if edit.parameter not in parameters or parameters[edit.parameter].shape != shape:
            raise ValueError(f"the model has no matrix {edit.parameter!r} of shape {shape}")
    kept = {name: parameters[name].detach().clone() for name in {edit.parameter for edit in edits}}
    try:
        with torch.no_grad():
            for edit in edits:
                parameters[edit.parameter] += edit.change()
        yield
    finally:
        with torch.no_grad():
            for name, weight in kept.items():
                parameters[name].copy_(weight)


# What it did --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Verdict:
    """What a change did that is about one fact. Each `Score` counts prompts, and says how many of how many.

    `told` and `paraphrases`: the fact's own prompts, in wordings of training and in those kept for evaluation, that are
    now followed by the answer asked for; `before` the same paraphrases followed by the true one, before the change. An
    article before the answer is given to the model (`without_article`), in all three, as an edit is made.
    `kept` counts, of other prompts that the model answered right before, those that it still does: "same subject"
    (other relations), "neighbors" (the same relation of other subjects), "other facts" and "other people".
    `skills`: the score of each skill before and after.
    """

    told: Score
    paraphrases: Score
    before: Score
    kept: dict[str, Score]
    skills: dict[str, tuple[Score, Score]]


def summed(verdicts: Iterable[Verdict]) -> dict[str, Score]:
    """The counts of several verdicts added up: "told", "paraphrases", "before", and each group of `kept`."""
    counts: dict[str, list[int]] = {}
    for verdict in verdicts:
        own = {"told": verdict.told, "paraphrases": verdict.paraphrases, "before": verdict.before}
        for name, score in (own | verdict.kept).items():
            count = counts.setdefault(name, [0, 0])
            count[0] += score.correct
            count[1] += score.total
    return {name: Score(*count) for name, count in counts.items()}


class Examination:
    """Everything a model is asked before and after a change: all facts of the world, and every skill.

    It asks `model` once, when it is made; `verdict` then asks it again. `n_wordings` of training are asked of each
    fact, `n` items of each skill (0 for none). Raises ValueError as `world.evaluate` does.
    """

    def __init__(
        self,
        model: Transformer,
        tokenizer: Any,
        *,
        n_wordings: int = 2,
        n: int = 50,
        skills: Iterable[str] = world.EVALUATIONS,
        facts: Sequence[Fact] | None = None,
    ):
        self.model, self.tokenizer = model, tokenizer
        facts = world.true_facts() + world.invented_facts() if facts is None else facts
        self.facts = [(fact, item) for fact in facts for item in world.asked(fact)[:n_wordings]]
        self.items = {skill: world.items(skill, n) for skill in skills} if n else {}
        self._right = self._answers([item for _, item in self.facts])
        self._skills = self._scores()

    def _answers(self, items: Sequence[Item]) -> list[bool]:
        return world.answers(self.model, items, tokenizer=self.tokenizer)

    def _score(self, items: Sequence[Item]) -> Score:
        return Score(sum(self._answers(items)), len(items))

    def _scores(self) -> dict[str, Score]:
        return {skill: self._score(items) for skill, items in self.items.items()}

    def right_before(self, fact: Fact) -> bool:
        """Whether the model answered all prompts of this fact right, before any change."""
        return all(right for (other, _), right in zip(self.facts, self._right, strict=True) if other == fact)

    def verdict(self, fact: Fact, answer: str, changed: AbstractContextManager[None]) -> Verdict:
        """What a change does that is about one fact, counting the prompts that it has the model answer with `answer`.

        `changed` is a block in which the model is changed: `edited(model, edit)` with the new answer, such as "Rome",
        or `forgetting.zeroed(model, numbers)` with the old one, to count where it is still known.
        """
        wanted = replace(fact, answer=answer)
        before = self._score(asked(fact, "held_out"))
        with changed:
            told, paraphrases = (self._score(asked(wanted, wordings)) for wordings in ("told", "held_out"))
            after = self._answers([item for _, item in self.facts])
            skills = self._scores()
        counts = {name: [0, 0] for name in ("same subject", "neighbors", "other facts", "other people")}
        for (other, item), was, still in zip(self.facts, self._right, after, strict=True):
            if was and (name := _kinship(fact, other, item)):
                counts[name][0] += still
                counts[name][1] += 1
        kept = {name: Score(*count) for name, count in counts.items()}
        return Verdict(told, paraphrases, before, kept, {name: (self._skills[name], skills[name]) for name in skills})


def asked(fact: Fact, wordings: str) -> list[Item]:
    """A fact's prompts, told or held out (`world.asked`), each with its answer's article on the prompt's side."""
    return [without_article(item) for item in world.asked(fact, wordings)]


def _kinship(fact: Fact, other: Fact, item: Item) -> str | None:
    """How another fact is related to the edited one; None for that one itself."""
    if (other.subject, other.relation) == (fact.subject, fact.relation):
        return None
    if other.subject == fact.subject:
        return "same subject"
    if other.relation == fact.relation:
        return "neighbors"
    return "other people" if item.skill == "facts_invented" else "other facts"
