"""From documents to batches: windows of one stream, packed documents of the world, and texts with hidden tokens.

Every source of batches is a function of the step alone, so that a run can be stopped and resumed anywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import count, islice
from random import Random
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from .. import heads, repetition, world
from ..attention import document_mask
from ..tokenization import SINGLE_DIGIT_PATTERN, BPETokenizer

T = TypeVar("T")

IGNORE = -100  # a target that is not counted, PyTorch's convention


@dataclass(frozen=True)
class Batch:
    """tokens (B, T) and the targets (B, T) that follow them; where documents are packed, also positions (B, T), which
    restart with each document, and the mask (B, 1, T, T) that keeps documents apart."""

    tokens: Tensor
    targets: Tensor
    positions: Tensor | None = None
    mask: Tensor | None = None

    def to(self, device: torch.device | str | None) -> Batch:
        """The same batch on a device; None leaves it where it is."""
        tensors = (getattr(self, field.name) for field in fields(self))
        return Batch(*(tensor if tensor is None else tensor.to(device) for tensor in tensors))

    @property
    def n_targets(self) -> int:
        """How many targets count."""
        return int((self.targets != IGNORE).sum())

    def part(self, number: int, n: int) -> Batch:
        """Part `number`, from 0, of n parts of the rows, as equal as can be; some have no rows where n > B.

        Every part has the whole of a mask that all rows share.
        """
        if n == 1:
            return self
        n_rows = len(self.tokens)
        rows = slice(n_rows * number // n, n_rows * (number + 1) // n)
        positions = self.positions[rows] if self.positions is not None and self.positions.dim() == 2 else self.positions
        by_row = self.mask is not None and self.mask.dim() == 4 and len(self.mask) == n_rows
        return Batch(self.tokens[rows], self.targets[rows], positions, self.mask[rows] if by_row else self.mask)


def _stream(tokens: Tensor | np.ndarray | Sequence[int]) -> np.ndarray:
    """Token ids (N,) as an array. An array or a tensor is not copied: one that is mapped from a file stays there."""
    stream = tokens.cpu().numpy() if isinstance(tokens, Tensor) else np.asarray(tokens)
    if stream.ndim != 1 or (stream.size and stream.dtype.kind not in "iu"):
        raise ValueError(f"expected token ids (N,), whole numbers in one row; got {stream.dtype} {stream.shape}")
    return stream


def _check_size(batch_size: int, seq_len: int) -> None:
    if batch_size < 1 or seq_len < 1:
        raise ValueError(f"expected batch_size and seq_len of at least 1, got {batch_size} and {seq_len}")


def batches(
    tokens: Tensor | np.ndarray | Sequence[int],
    batch_size: int,
    seq_len: int,
    *,
    seed: int = 0,
    device: torch.device | str | None = None,
) -> Callable[[int], Batch]:
    """Random windows of one token stream (N,): a function from the step to its batch, always the same for a step.

    The stream may be a tensor, an array (uint16 and a memory map too) or a list; batches are int64 on `device`.
    Raises ValueError for a stream that is no longer than a window, not one row, or not of whole numbers.
    """
    stream = _stream(tokens)
    _check_size(batch_size, seq_len)
    if len(stream) <= seq_len:
        raise ValueError(f"expected more than seq_len = {seq_len} tokens, got {len(stream)}")

    def batch(step: int) -> Batch:
        generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
        starts = torch.randint(len(stream) - seq_len, (batch_size, 1), generator=generator)  # (B, 1)
        places = starts + torch.arange(seq_len + 1)  # (B, T + 1)
        windows = torch.from_numpy(stream[places.numpy()].astype(np.int64))  # (B, T + 1)
        return Batch(windows[:, :-1], windows[:, 1:]).to(device)

    return batch


def fill(
    documents: Iterable[T], batch_size: int, seq_len: int, *, n_tokens: Callable[[T], int] = len
) -> Iterator[list[T]]:
    """Deal documents out to rows: each row takes whole ones, in their order, until it has more than `seq_len` tokens.

    Yields the documents of each of the `batch_size` rows; `n_tokens` says how long a document is. A row may hold the
    last one in part only, since `pack` cuts it. Raises ValueError for too few documents.
    """
    _check_size(batch_size, seq_len)
    supply = iter(documents)
    for _ in range(batch_size):
        row: list[T] = []
        length = 0
        while length <= seq_len:
            try:
                row.append(next(supply))
            except StopIteration:
                raise ValueError(f"too few documents to fill {batch_size} rows of {seq_len} tokens") from None
            length += n_tokens(row[-1])
        yield row


def pack(
    documents: Iterable[Tensor | np.ndarray | Sequence[int]], batch_size: int, seq_len: int, *, apart: bool = True
) -> Batch:
    """Fill rows of `seq_len` tokens with documents one after another; what crosses the end of a row is cut off.

    A document's tokens see their own document only and count positions from its start; nothing is asked of a document's
    last token, whose successor would belong to another one. With `apart=False` a row is one text: its tokens see all
    that stands before them and count positions from its start, so that every position of a row is used; what is asked
    stays the same.
    """
    rows, ids, positions = [], [], []
    for row in fill((_stream(document).tolist() for document in documents), batch_size, seq_len):
        rows.append([token for document in row for token in document][: seq_len + 1])
        ids.append([number for number, document in enumerate(row) for _ in document][: seq_len + 1])
        positions.append([place for document in row for place in range(len(document))][:seq_len])
    tokens, document_ids = torch.tensor(rows), torch.tensor(ids)  # (B, T + 1) each
    targets = tokens[:, 1:].masked_fill(document_ids[:, 1:] != document_ids[:, :-1], IGNORE)  # (B, T)
    if not apart:
        return Batch(tokens[:, :-1], targets)
    mask = document_mask(document_ids[:, :-1])[:, None]  # (B, 1, T, T)
    return Batch(tokens[:, :-1], targets, torch.tensor(positions), mask)


class Read(NamedTuple):
    """A document as a model reads it: its token ids, `<s>` and `</s>` included, and its text, None for a list of
    tokens."""

    ids: list[int]
    document: world.Document | None


class Mixed(NamedTuple):
    """What is mixed into the documents of a reading: the share of lists of tokens among all, of pairs among the lists,
    the shares of merged tokens that a list of pairs may have, and the share of the skill "recall" among the texts,
    besides those that the reading has of it."""

    lists: float
    pairs: float
    shares: Sequence[float]
    recall: float


PAIRS = Mixed(0.7, 0.9, (0.0,), 0.3)
RECALL = Mixed(0.15, 0.7, repetition.SHARES, 0.75)


class WorldBatches:
    """Batches of freshly generated documents of the world, each packed and a function of (seed, step) alone.

    With `lists_first` = n the first n steps read lists only: words said over and over in the first half, lists to copy
    in the second. Heads that look up what followed the last time (induction heads) serve many skills; where other texts
    are mixed in from the start, they do not form for long.

    `reading` is that of `world.documents`. Of all documents, a share of `token_lists` are no texts but tokens of the
    vocabulary: said over and over (`repetition.training_list`) or, one in three, in pairs (`repetition.pair_list`), so
    that looking up works for any token.

    With `pairs_first` = n the first n steps of a later reading practise to look up by pairs: in three of ten mostly
    pairs of drilled words, one token or a few between the two, then mostly texts of pairs (the skill "recall").
    (`PAIRS`, `RECALL`). In one trial, texts of pairs alone taught no looking up in 400 steps; after the lists they did.

    Without `ends` no document has an end token, so that a model never learns to stop. Without `apart` the documents of
    a row stand in one context, as in `pack`.
    """

    def __init__(
        self,
        tokenizer: BPETokenizer,
        batch_size: int,
        seq_len: int,
        *,
        seed: int = 0,
        skills: Sequence[str] | Mapping[str, float] | None = None,
        lists_first: int = 0,
        reading: int = 1,
        token_lists: float = 0.0,
        pairs_first: int = 0,
        ends: bool = True,
        apart: bool = True,
        device: torch.device | str | None = None,
    ):
        _check_size(batch_size, seq_len)
        if pairs_first and reading == 1:
            raise ValueError(f"expected pairs_first with a later reading, got {pairs_first} steps with reading 1")
        if not 0 <= token_lists <= 1:
            raise ValueError(f"expected token_lists, a share, from 0 to 1, got {token_lists}")
        self.tokenizer, self.batch_size, self.seq_len = tokenizer, batch_size, seq_len
        self.seed, self.skills, self.lists_first, self.device = seed, skills, lists_first, device
        self.reading, self.pairs_first, self.ends, self.apart = reading, pairs_first, ends, apart
        self.usual = Mixed(token_lists, 1 / 3, repetition.SHARES, 0)
        self.start_id, self.end_id = (tokenizer.special_tokens[name] for name in ("<s>", "</s>"))
        self.drilled = heads.word_tokens(tokenizer, world.EVERYDAY)
        never = set(repetition.never_listed(tokenizer))
        self.merged = [token for token in repetition.merged_tokens(tokenizer) if token not in never]

    def __call__(self, step: int) -> Batch:
        """The batch of a step; no document is used in two steps."""
        ids = (read.ids for read in self.documents(step))
        return pack(ids, self.batch_size, self.seq_len, apart=self.apart).to(self.device)

    def first_of(self, step: int) -> int:
        """The number of a step's first document. The next step's is more than a batch can hold, one token each."""
        return step * self.batch_size * (self.seq_len + 1)

    def skills_of(self, step: int) -> Sequence[str] | Mapping[str, float] | None:
        """What a step reads, as the `skills` of `world.document`."""
        if step < self.lists_first:
            return "repeating" if 2 * step < self.lists_first else "copying"
        return self.skills

    def mixed(self, step: int) -> Mixed:
        """What a step reads besides the documents of its reading."""
        if step >= self.pairs_first:
            return self.usual
        return PAIRS if 10 * step < 3 * self.pairs_first else RECALL

    def documents(self, step: int) -> Iterator[Read]:
        """The documents of a step, without end: `fill` takes as many as it needs. A list stands in the place of the
        text it replaces."""
        skills, mixed = self.skills_of(step), self.mixed(step)
        for number in count(self.first_of(step)):
            rng = Random(f"llmlab.training: lists of tokens, reading {self.reading}, {self.seed}/{number}")
            if rng.random() < mixed.lists:
                if rng.random() < mixed.pairs:
                    document, ids = None, repetition.pair_list(rng, self.drilled, self.merged, shares=mixed.shares)
                else:
                    document, ids = None, repetition.training_list(rng, self.drilled, self.merged)
            else:
                only = "recall" if rng.random() < mixed.recall else skills
                document = world.document(self.seed, number, skills=only, reading=self.reading)
                ids = self.tokenizer.encode(document.text)
            yield Read([self.start_id, *ids, *([self.end_id] if self.ends else [])], document)


def masked(batch: Batch, *, share: float, mask_id: int, vocab_size: int, generator: torch.Generator) -> Batch:
    """Hide some tokens and ask for them back, from both sides (Devlin et al. 2019, BERT, section 3.1).

    Of all tokens, `share` become targets: 80 % of these are replaced by the mask token, 10 % by a random one, and
    10 % stay. The mask of the batch loses its direction: each token sees its whole document.
    Raises ValueError for a share that is not above 0 and at most 1.
    """
    if not 0 < share <= 1:
        raise ValueError(f"expected a share above 0 and at most 1, got {share}")
    tokens = batch.tokens
    chosen = torch.rand(tokens.shape, generator=generator) < share  # (B, T)
    how = torch.rand(tokens.shape, generator=generator)
    anything = torch.randint(vocab_size, tokens.shape, generator=generator)
    shown = torch.where(chosen & (how < 0.8), mask_id, tokens)
    shown = torch.where(chosen & (how >= 0.9), anything, shown)
    mask = None if batch.mask is None else batch.mask | batch.mask.transpose(-1, -2)
    if mask is None:
        mask = torch.ones(tokens.shape[1], tokens.shape[1], dtype=torch.bool)
    return Batch(shown, tokens.masked_fill(~chosen, IGNORE), batch.positions, mask)


class MaskedBatches:
    """Documents of the world with hidden tokens, for an encoder; a function of (seed, step) alone."""

    def __init__(
        self,
        tokenizer: BPETokenizer,
        batch_size: int,
        seq_len: int,
        *,
        seed: int = 0,
        share: float = 0.15,
        device: torch.device | str | None = None,
    ):
        self.whole = WorldBatches(tokenizer, batch_size, seq_len, seed=seed)
        self.seed, self.share, self.vocab_size, self.device = seed, share, tokenizer.vocab_size, device
        self.mask_id = tokenizer.special_tokens["<mask>"]

    def __call__(self, step: int) -> Batch:
        """The batch of a step."""
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + step)
        return masked(
            self.whole(step),
            share=self.share,
            mask_id=self.mask_id,
            vocab_size=self.vocab_size,
            generator=generator,
        ).to(self.device)


def train_tokenizer(
    vocab_size: int, *, n_documents: int = 20_000, seed: int = 0, pattern: str = SINGLE_DIGIT_PATTERN
) -> BPETokenizer:
    """A byte-level BPE tokenizer of the world, with <s>, </s>, <pad> and <mask>; each digit is a token of its own."""
    texts = (document.text for document in islice(world.documents(seed), n_documents))
    return BPETokenizer.train(texts, vocab_size, special_tokens=("<s>", "</s>", "<pad>", "<mask>"), pattern=pattern)
