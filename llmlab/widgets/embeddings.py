"""`EmbeddingExplorer`: the rows of the embedding table as places on a map, and their neighbors in all dimensions.

The table was kept at fifteen checkpoints of the training run (`llmlab.model_card.snapshot_rows`), for 1,000 words of
one token each. All that the map and the lists show is computed once, with the functions of `llmlab.embeddings`; the
browser then slides, hovers and walks from word to word without asking. At each checkpoint the rows are centered: their
mean is taken away, since the rows of a trained table share one direction. The axes of the map are the first two
principal components (Pearson 1901) of the last table, so that a word can be followed through training; the window is
fitted to the words at each checkpoint.

What asks the kernel: three other words for the sum a − b + c (Mikolov, Yih and Zweig 2013), and another sentence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
import traitlets
from torch import Tensor

from .. import load_model, model_card, trace, world
from ..embeddings import cosine_similarity, neighbors, principal_components
from ..plots import visible
from ..tokenization import BPETokenizer, check_text
from ..transformer import Transformer
from ..world import lexicon
from .base import Array, LabWidget, Table

KINDS = ("names", "places", "animals", "numbers", "Chinese", "others")
MORE_ANIMALS = (
    "ant bat bee bird birds canary duckling fish lion mouse penguin pigeon seal snake spider tiger whale wolf"
)
MOST = 10  # neighbors of a word
ANALOGY = (" king", " man", " woman")
TEXT = "Anna had a dog. The dog was"
LONGEST = 32  # tokens of a sentence


class EmbeddingExplorer(LabWidget):
    """A map of 1,000 rows of the embedding table, a word's nearest rows in all dimensions, and fifteen checkpoints.

    `model` and `tokenizer` are the course's, if not given; another model must have rows of the same length and the same
    tokenizer: it only reads the sentence, the checkpoints are the course's. Read and set from Python:
    - `word`, with its space, as tokens are written; `step`, a checkpoint (a number of `steps`; None: the last); `k`,
      how many neighbors (1 to 10); `neighbor`, which of them is looked at (−1: none); `zoomed`, the map enlarged
      around the word; `query`, what is typed into the search field;
    - `analogy`, three words a, b and c; `text`, a sentence of at most 32 tokens, and `position`, which of its tokens is
      followed through the layers (None: the last).
    Only to be read: `neighbors` and `map_neighbors`, `matches` (the words that the search finds), `ranking` (the words
    nearest to a − b + c, none left out) and `path` (the nearest words of the token after each layer).

    Raises TraitError for a word or step that is not there; ValueError for rows of another length, and for a sentence
    that is empty or too long. What is wrong with a later one is said in `error` and on the page; the picture stays.
    """

    js = "embeddings.js"
    word = traitlets.Unicode(help="the chosen word").tag(sync=True)
    step = traitlets.Int(help="the training step of the checkpoint").tag(sync=True)
    k = traitlets.Int(8, min=1, max=MOST, help="how many neighbors").tag(sync=True)
    neighbor = traitlets.Int(-1, min=-1, max=MOST - 1, help="the neighbor that is looked at, from 0").tag(sync=True)
    zoomed = traitlets.Bool(False, help="whether the map is enlarged around the word").tag(sync=True)
    query = traitlets.Unicode("", help="what is searched for").tag(sync=True)
    analogy = traitlets.List(traitlets.Unicode(), help="the words a, b, c of the sum a − b + c").tag(sync=True)
    text = traitlets.Unicode(help="the sentence").tag(sync=True)
    position = traitlets.Int(0, help="the token of the sentence that is followed").tag(sync=True)

    # What the browser draws, K checkpoints and N words.
    words = traitlets.List(traitlets.Unicode(), help="the N words").tag(sync=True)
    steps = traitlets.List(traitlets.Int(), help="the training step of each checkpoint").tag(sync=True)
    losses = traitlets.List(traitlets.Float(), help="the loss of each, nats a token, on unseen documents").tag(
        sync=True
    )
    n_dimensions = traitlets.Int(help="D, the length of a row").tag(sync=True)
    kinds = Array(help="(N,) uint8: the kind of each word, a number of KINDS")
    places = Array(help="(K, N, 2) float32: where the words are on the map")
    shares = Array(help="(K, 2) float32: the share of the variance that each axis keeps")
    means = Array(help="(K, 10) float32: shared by the k nearest on the map and in D dimensions, mean over the words")
    nearest = Array(help="(K, N, 10) int32: the nearest words in D dimensions, the nearest first")
    cosines = Array(help="(K, N, 10) float32: their cosines")
    sum_nearest = Array(help="(K, 10) int32: the words nearest to a − b + c")
    sum_cosines = Array(help="(K, 10) float32: their cosines")
    path_tokens = traitlets.List(traitlets.Unicode(), help="the T tokens of the sentence").tag(sync=True)
    path_nearest = Array(help="(T, L + 1, 10) int32: nearest words of the vector that was read, and after each layer")
    path_cosines = Array(help="(T, L + 1, 10) float32: their cosines")
    revision = traitlets.Int(0, help="counts sums and sentences; the picture follows it").tag(sync=True)

    def __init__(
        self,
        model: Transformer | None = None,
        tokenizer: BPETokenizer | None = None,
        *,
        word: str = " king",
        step: int | None = None,
        k: int = 8,
        text: str | None = None,
        position: int | None = None,
        **traits: Any,
    ):
        self._rows = data = _measured()
        own_model, own_tokenizer = load_model()
        self._model = own_model if model is None else model
        self._tokenizer = own_tokenizer if tokenizer is None else tokenizer
        if self._model.config.d_model != data.rows.shape[2]:
            raise ValueError(
                f"expected a model with rows of {data.rows.shape[2]} numbers, as the checkpoints have; "
                f"got {self._model.config.d_model}"
            )
        self._place = {word: n for n, word in enumerate(data.words)}
        super().__init__(
            words=data.words,
            steps=data.steps,
            losses=data.losses,
            n_dimensions=data.rows.shape[2],
            kinds=data.kinds,
            places=data.places,
            shares=data.shares,
            means=data.means,
            nearest=data.nearest,
            cosines=data.cosines,
            word=word,
            step=data.steps[-1] if step is None else step,
            k=k,
            text=TEXT if text is None else text,
            analogy=list(traits.pop("analogy", ANALOGY)),
            **traits,
        )
        self._add()
        self._read()
        if position is not None:
            self.position = position
        self.observe(lambda change: self._attempt(self._add), "analogy")
        self.observe(lambda change: self._attempt(self._read), "text")

    # What the traits may be -----------------------------------------------------------------------------------------

    @traitlets.validate("word")
    def _a_word(self, proposal: Any) -> str:
        return self._known(proposal["value"])

    @traitlets.validate("analogy")
    def _three_words(self, proposal: Any) -> list[str]:
        if len(proposal["value"]) != 3:
            raise traitlets.TraitError(f"expected three words a, b, c, got {proposal['value']!r}")
        return [self._known(word) for word in proposal["value"]]

    def _known(self, word: str) -> str:
        if word not in self._place:
            other = f" {word.strip()}"
            hint = f"; did you mean {other!r}, with its space?" if other in self._place else ""
            raise traitlets.TraitError(f"expected one of the {len(self._place):,} words, got {word!r}{hint}")
        return word

    @traitlets.validate("step")
    def _a_checkpoint(self, proposal: Any) -> int:
        if proposal["value"] not in self._rows.steps:
            raise traitlets.TraitError(f"expected a step of {self._rows.steps}, got {proposal['value']}")
        return proposal["value"]

    @traitlets.validate("position")
    def _a_token(self, proposal: Any) -> int:
        most = max(0, len(self.path_tokens) - 1)
        if not 0 <= proposal["value"] <= most:
            raise traitlets.TraitError(f"expected position from 0 to {most}, got {proposal['value']}")
        return proposal["value"]

    # What follows from them -----------------------------------------------------------------------------------------

    @property
    def _at(self) -> int:
        return self.steps.index(self.step)

    @property
    def neighbors(self) -> list[tuple[str, float]]:
        """The k words whose rows have the largest cosines with the word's, all dimensions counted, nearest first."""
        at, n = self._at, self._place[self.word]
        pairs = zip(self.nearest[at, n, : self.k].tolist(), self.cosines[at, n].tolist(), strict=False)
        return [(self.words[other], cosine) for other, cosine in pairs]

    @property
    def map_neighbors(self) -> list[tuple[str, float]]:
        """The k words nearest on the map and their distances there, in units of the table's numbers, nearest first."""
        order, distances = self._on_the_map(self._at)
        return [(self.words[n], float(distances[n])) for n in order[: self.k]]

    @property
    def shared(self) -> int:
        """How many of the k nearest words on the map are among the k nearest in all dimensions."""
        return self._shared(self._at)

    def _on_the_map(self, at: int) -> tuple[np.ndarray, np.ndarray]:
        """The other words by their distance on the map (N − 1,), and the distances of all (N,)."""
        n = self._place[self.word]
        apart = self.places[at].astype(np.float64) - self.places[at, n].astype(np.float64)  # (N, 2)
        squares = apart[:, 0] * apart[:, 0] + apart[:, 1] * apart[:, 1]  # (N,)
        order = np.argsort(squares, kind="stable")
        return order[order != n], np.sqrt(squares)

    def _shared(self, at: int) -> int:
        order, _ = self._on_the_map(at)
        true = self.nearest[at, self._place[self.word], : self.k]
        return len(set(order[: self.k].tolist()) & set(true.tolist()))

    @property
    def matches(self) -> list[str]:
        """The words that hold the query: those that are it, then those that begin with it, then the others."""
        query = self.query.strip().lower()
        if not query:
            return []
        plain = {word: word.strip().lower() for word in self.words}
        found = [word for word in self.words if query in plain[word]]
        return sorted(found, key=lambda word: (plain[word] != query, not plain[word].startswith(query)))

    # The sum and the sentence ---------------------------------------------------------------------------------------

    def _add(self) -> None:
        """Rank all words by their cosine with a − b + c, at every checkpoint."""
        rows = self._rows.rows  # (K, N, D)
        a, b, c = (rows[:, self._place[word]] for word in self.analogy)  # (K, D) each
        found = [_nearest(total[None], each) for total, each in zip(a - b + c, rows, strict=True)]
        with self.hold_sync():
            self.sum_nearest = np.concatenate([ids for ids, _ in found])
            self.sum_cosines = np.concatenate([cosines for _, cosines in found])
            self.revision += 1

    @property
    def ranking(self) -> list[tuple[str, float]]:
        """The ten words nearest to a − b + c and their cosines; a, b and c themselves are not left out."""
        at = self._at
        pairs = zip(self.sum_nearest[at].tolist(), self.sum_cosines[at].tolist(), strict=True)
        return [(self.words[n], cosine) for n, cosine in pairs]

    def _read(self) -> None:
        """Run the model on the sentence; nothing changes when it is refused."""
        check_text(self.text)
        ids = [self._tokenizer.special_tokens["<s>"], *self._tokenizer.encode(self.text)]
        if not 2 <= len(ids) <= LONGEST + 1:
            raise ValueError(f"expected a sentence of 1 to {LONGEST} tokens, got {len(ids) - 1}")
        names = ["embedding", *(f"blocks.{layer}.residual" for layer in range(self._model.config.n_layers))]
        device = next(self._model.parameters()).device
        with torch.inference_mode(), trace.record(self._model, names) as seen:
            self._model(torch.tensor([ids], device=device))
        stream = torch.stack([seen[name][0, 1:].cpu() for name in names], dim=1)  # (T, L + 1, D)
        near, cosines = _nearest((stream - self._rows.mean).flatten(0, 1), self._rows.rows[-1])
        with self.hold_sync():
            self.path_tokens = [self._tokenizer.decode([token]) for token in ids[1:]]
            self.path_nearest = near.reshape(*stream.shape[:2], MOST)
            self.path_cosines = cosines.reshape(*stream.shape[:2], MOST)
            self.position = len(ids) - 2
            self.revision += 1

    @property
    def path(self) -> list[list[tuple[str, float]]]:
        """For the vector that the token was read as, and after each layer, the k nearest words and their cosines.

        The words are the rows of the last checkpoint; the mean row is taken away from them and from the vector.
        """
        pairs = zip(self.path_nearest[self.position].tolist(), self.path_cosines[self.position].tolist(), strict=True)
        return [
            [(self.words[n], cosine) for n, cosine in zip(near[: self.k], cosines, strict=False)]
            for near, cosines in pairs
        ]

    # As text --------------------------------------------------------------------------------------------------------

    def __repr__(self) -> str:
        near = ", ".join(repr(word) for word, _ in self.neighbors[:3])
        on_the_map = f"{self.shared} of {self.k} on the map"
        return f"EmbeddingExplorer({self.word!r} at step {self.step}: nearest {near}; {on_the_map})"

    def tables(self) -> list[Table]:
        """What the picture shows; the browser says the same."""
        at, n = self._at, self._place[self.word]
        order, distances = self._on_the_map(at)
        place = {int(other): number + 1 for number, other in enumerate(order)}
        true = self.nearest[at, n, : self.k].tolist()
        name = visible(self.word)
        return [
            Table(
                f"Nearest to {name} in {self.n_dimensions} dimensions at step {self.step:,}",
                ["place", "word", "kind", "cosine", "place on the map"],
                [
                    [str(number + 1), *self._named(other), _three(cosine), str(place[other])]
                    for number, (other, (_, cosine)) in enumerate(zip(true, self.neighbors, strict=True))
                ],
            ),
            Table(
                f"Nearest to {name} on the map: {self.shared} of {self.k} are among the {self.k} nearest in "
                f"{self.n_dimensions} dimensions",
                ["place", "word", "kind", "distance", "also near"],
                [
                    [str(number + 1), *self._named(other), _three(distances[other]), "yes" if other in true else "no"]
                    for number, other in enumerate(order[: self.k].tolist())
                ],
            ),
            Table(
                f"{name} at every checkpoint",
                ["step", "loss", "nearest", "cosine", "shared with the map", "variance kept"],
                [
                    [
                        str(step),
                        _three(self.losses[one]),
                        visible(self.words[self.nearest[one, n, 0]]),
                        _three(self.cosines[one, n, 0]),
                        f"{self._shared(one)} of {self.k}",
                        _percent(self.shares[one].sum(dtype=np.float64)),
                    ]
                    for one, step in enumerate(self.steps)
                ],
            ),
            Table(
                " ".join(f"{sign}{visible(one)}" for sign, one in zip(("", "− ", "+ "), self.analogy, strict=True))
                + f" at step {self.step:,}, no word left out",
                ["place", "word", "cosine", "in the sum"],
                [
                    [str(number + 1), visible(word), _three(cosine), self._part(word)]
                    for number, (word, cosine) in enumerate(self.ranking)
                ],
            ),
            Table(
                f"Words nearest to token {self.position + 1}, {visible(self.path_tokens[self.position])}",
                ["after", *(str(place + 1) for place in range(self.k))],
                [
                    [f"layer {layer}" if layer else "the table"]
                    + [f"{visible(word)} {_three(cosine)}" for word, cosine in near]
                    for layer, near in enumerate(self.path)
                ],
            ),
        ]

    def _named(self, n: int) -> tuple[str, str]:
        """A word as it is drawn, and its kind."""
        return visible(self.words[n]), KINDS[self.kinds[n]]

    def _part(self, word: str) -> str:
        return " ".join(letter for letter, one in zip("abc", self.analogy, strict=True) if one == word)


@dataclass(frozen=True)
class _Measured:
    """Of the kept tables: words, steps, losses, centered rows (K, N, D), the last mean row (D,), and what is drawn."""

    words: list[str]
    steps: list[int]
    losses: list[float]
    rows: Tensor
    mean: Tensor
    kinds: np.ndarray
    places: np.ndarray
    shares: np.ndarray
    means: np.ndarray
    nearest: np.ndarray
    cosines: np.ndarray


@cache
def _measured() -> _Measured:
    steps, tokens, kept = model_card.snapshot_rows()  # (N,), (K, N, D)
    _, tokenizer = load_model()
    words = [tokenizer.decode([token]) for token in tokens.tolist()]
    rows = kept - kept.mean(1, keepdim=True)  # (K, N, D)
    _, axes, _ = principal_components(kept[-1], 2)  # (2, D)
    places = rows.double() @ axes.T  # (K, N, 2)
    kept_by_axes = places.square().sum(1) / rows.double().square().sum((1, 2))[:, None]  # (K, 2)
    near = torch.stack([neighbors(each, MOST) for each in rows])  # (K, N, 10)
    cosines = [cosine_similarity(each, each).gather(1, of) for each, of in zip(rows, near, strict=True)]
    return _Measured(
        words=words,
        steps=steps,
        losses=[one["loss"] for one in model_card.snapshots()],
        rows=rows,
        mean=kept[-1].mean(0),
        kinds=_kinds(words),
        places=places.float().numpy(),
        shares=kept_by_axes.float().numpy(),
        means=_shared_on_average(places.float(), near).float().numpy(),
        nearest=near.int().numpy(),
        cosines=torch.stack(cosines).float().numpy(),
    )


def _kinds(words: Sequence[str]) -> np.ndarray:
    """The kind of each word: (N,) uint8."""
    named = [*lexicon.NAMES, *lexicon.PET_NAMES, *(part for person in world.people() for part in person.name.split())]
    capitals = [(fact.subject, fact.answer) for fact in world.true_facts() if fact.relation == "capital"]
    groups = [
        {f" {name}" for name in named},
        {f" {place}" for place in (*lexicon.TOWNS, *(name for pair in capitals for name in pair))},
        {f" {animal}" for animal in (*lexicon.ANIMALS, *lexicon.PETS, *MORE_ANIMALS.split())},
        {*"0123456789", *(f" {number}" for number in lexicon.NUMBERS)},
        {word for word in words if "\u4e00" <= word.strip()[:1] <= "\u9fff"},
    ]
    kind_of = {word: kind for kind, group in enumerate(groups) for word in group}
    return np.array([kind_of.get(word, len(groups)) for word in words], dtype=np.uint8)


def _shared_on_average(places: Tensor, near: Tensor) -> Tensor:
    """How many of the k nearest on the map are among the k nearest in all dimensions, k from 1: the mean over words.

    places (K, N, 2), near (K, N, 10) int64 -> (K, 10) float64
    """
    means = torch.empty(len(places), MOST, dtype=torch.float64)
    for at, (spots, true) in enumerate(zip(places.double(), near, strict=True)):
        apart = torch.cdist(spots, spots, compute_mode="donot_use_mm_for_euclid_dist").fill_diagonal_(torch.inf)
        flat = apart.topk(MOST, largest=False).indices  # (N, 10)
        same = flat[:, :, None] == true[:, None]  # (N, 10, 10)
        for k in range(1, MOST + 1):
            means[at, k - 1] = same[:, :k, :k].sum() / len(spots)
    return means


def _nearest(vectors: Tensor, rows: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """The rows nearest to each vector and their cosines. (M, D), (N, D) -> (M, 10) int32, (M, 10) float32."""
    best = cosine_similarity(vectors, rows).topk(MOST, dim=1)
    return best.indices.int().numpy(), best.values.float().numpy()


def _three(value: float) -> str:
    return f"{value:.3f}".replace("-", "−")


def _percent(share: float) -> str:
    return f"{100 * share:.1f}%"
