"""`BPEStepper`: byte-pair encoding learned merge by merge, and a text as two tokenizers cut it.

Training joins the most frequent pair of adjacent tokens, again and again (Sennrich, Haddow and Birch 2016, section
3.2), here of bytes (Radford et al. 2019, section 2.2). Everything is counted once for each corpus, with the functions
of `llmlab.tokenization`; the browser then steps without asking.

What is recorded of a sequence of bytes is, for the place after each byte, when the parts on its two sides were joined.
From these numbers follow the tokens at every step, and how each of them came about.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import traitlets

from .. import data_path
from ..plots import visible
from ..tokenization import (
    BPETokenizer,
    Pair,
    check_text,
    count_pairs,
    count_words,
    learn_merges,
    merge,
    split_bytes,
    split_pieces,
)
from .attention import short
from .base import Array, LabWidget, Table

CORPUS = "low low low lower lowest newest newest widest"
TEXT = "The unbelievable coffee: 我配拥有一杯咖啡吗？"
MODES = ("learn", "encode")
TOP = 10  # pairs in the ranking
LONGEST_CORPUS, LONGEST_TEXT = 4000, 400  # characters
MOST_MERGES = 256
LATER = ("piece", "rank", "which", "position", "undone")  # traits that depend on what was learned and encoded

Word = tuple[bytes, ...]
Part = tuple[int, int]  # the first byte and the one after the last


class BPEStepper(LabWidget):
    """Learn the merges of a corpus step by step, and see a text in the tokens of two tokenizers.

    `tokenizer` is the course's and `other` is GPT-2's, if not given; `names` is what the page calls the two. Read and
    set from Python:
    - `mode`: "learn" (the corpus) or "encode" (the text);
    - `corpus`, of 1 to 4,000 characters, cut into pieces by GPT-2's pattern; `n_merges`, how many are learned (1 to
      256; fewer where nothing is left to join); `step`, how many of them are applied; `piece`, the row whose tree is
      shown; `rank`, the pair of the ranking that is marked in the pieces (0: the next to be joined);
    - `text`, of 1 to 400 characters; `which` tokenizer is looked at (0 or 1) and at which `position` (a byte of the
      text; at first where the cuts differ); `undone`, the joins taken apart: [which, byte] each, the place after that
      byte.
    Only to be read: `merges`, all that were learned, as pairs of bytes; `tokens` and `other_tokens`, the ids of the
    text; `words()`, the pieces in tokens at the step; `parts(which)`, the text in tokens.

    Raises ValueError for a corpus or text that is empty, too long, or holds a lone surrogate, with the position;
    TypeError for what is no BPETokenizer. What is wrong with a later corpus or text is said in `error` and on the page,
    and the picture stays.
    """

    js = "tokenization.js"
    mode = traitlets.Enum(MODES, "learn", help="which of the two pictures is shown").tag(sync=True)

    corpus = traitlets.Unicode(help="the text that merges are learned from").tag(sync=True)
    n_merges = traitlets.Int(20, help="how many merges are learned, at most").tag(sync=True)
    step = traitlets.Int(0, help="how many merges are applied").tag(sync=True)
    piece = traitlets.Int(0, help="the piece whose tree is shown, a number of the rows").tag(sync=True)

    rank = traitlets.Int(0, min=0, max=TOP - 1, help="the ranked pair that is marked in the pieces").tag(sync=True)

    text = traitlets.Unicode(help="the text that both tokenizers encode").tag(sync=True)
    names = traitlets.List(traitlets.Unicode(), help="what the two tokenizers are called").tag(sync=True)
    which = traitlets.Int(0, min=0, max=1, help="the tokenizer that is looked at").tag(sync=True)
    position = traitlets.Int(0, help="the byte of the text that is looked at").tag(sync=True)
    undone = traitlets.List(help="the joins taken apart, as [which, byte]").tag(sync=True)
    tokens = traitlets.List(traitlets.Int(), help="the ids of the text").tag(sync=True)
    other_tokens = traitlets.List(traitlets.Int(), help="its ids with the other tokenizer").tag(sync=True)

    # What the browser draws. A byte's number in `joined` is the step that joined it with the next one, 0: none did.
    piece_bytes = Array(help="(n,) uint8: the bytes of the distinct pieces, one piece after the other")
    piece_sizes = Array(help="(pieces,) int32: how many bytes each has")
    piece_counts = Array(help="(pieces,) int32: how often each stands in the corpus")
    joined = Array(help="(n,) int32: by byte of `piece_bytes`")
    merge_ids = Array(help="(merges, 2) int32: the tokens joined; 0 to 255 are the bytes, 256 + k is what merge k made")
    ranked = Array(help="(merges + 1, 10, 3) int32: left, right and count of the pairs at each step; −1 where none is")
    totals = Array(help="(merges + 1, 4) int32: tokens, distinct pairs, pairs as frequent as the first, places joined")
    text_bytes = Array(help="(n,) uint8: the bytes of the text that is shown")
    text_joined = Array(
        help="(2, n) int32: by tokenizer and byte, in order within its piece; 0: none, −1: a piece ends"
    )
    text_ranks = Array(help="(2, n) int32: the rank of the merge that joined there")
    token_ids = traitlets.List(help="for each tokenizer the ids by token, in hexadecimal").tag(sync=True)
    vocab_sizes = traitlets.List(traitlets.Int(), help="how many tokens each tokenizer has").tag(sync=True)
    revision = traitlets.Int(0, help="counts corpora and texts; the picture follows it").tag(sync=True)

    def __init__(
        self,
        corpus: str = CORPUS,
        *,
        n_merges: int = 20,
        text: str | None = None,
        tokenizer: BPETokenizer | None = None,
        other: BPETokenizer | None = None,
        names: Sequence[str] = ("the course's", "GPT-2's"),
        step: int = 0,
        **traits: Any,
    ):
        given = (
            _course_tokenizer() if tokenizer is None else tokenizer,
            _gpt2_tokenizer() if other is None else other,
        )
        self._tokenizers = [_Replay(one) for one in given]
        self.merges: list[Pair] = []
        super().__init__(
            corpus=corpus,
            n_merges=n_merges,
            text=TEXT if text is None else text,
            names=list(names),
            vocab_sizes=[one.vocab_size for one in given],
            **{name: value for name, value in traits.items() if name not in LATER},
        )
        self._learn()
        self._encode()
        self.step = step
        for name in LATER:
            if name in traits:
                setattr(self, name, traits[name])
        self.observe(lambda change: self._attempt(self._learn), ["corpus", "n_merges"])
        self.observe(lambda change: self._attempt(self._encode), "text")

    # What the traits may be -----------------------------------------------------------------------------------------

    @traitlets.validate("step", "piece", "position", "n_merges")
    def _in_range(self, proposal: Any) -> int:
        name, value = proposal["trait"].name, proposal["value"]
        most = {
            "step": len(self.merges),
            "piece": max(0, len(self.piece_sizes) - 1),
            "position": max(0, len(self.text_bytes) - 1),
            "n_merges": MOST_MERGES,
        }[name]
        least = int(name == "n_merges")
        if not least <= value <= most:
            raise traitlets.TraitError(f"expected {name} from {least} to {most}, got {value}")
        return value

    @traitlets.validate("names")
    def _two_names(self, proposal: Any) -> list[str]:
        if len(proposal["value"]) != 2:
            raise traitlets.TraitError(f"expected two names, one a tokenizer, got {proposal['value']!r}")
        return proposal["value"]

    @traitlets.validate("undone")
    def _joins_of_the_text(self, proposal: Any) -> list[list[int]]:
        joins = set()
        for join in proposal["value"]:
            numbers = tuple(join) if isinstance(join, Sequence) and not isinstance(join, str) else ()
            if len(numbers) != 2 or not all(type(number) is int for number in numbers):
                raise traitlets.TraitError(f"expected [which, byte] in `undone`, got {join!r}")
            which, at = numbers
            if which not in (0, 1) or not 0 <= at < len(self.text_bytes) or self.text_joined[which, at] < 1:
                raise traitlets.TraitError(
                    f"tokenizer {which} has joined nothing after byte {at}: there is nothing to undo"
                )
            joins.add(numbers)
        for which, at in joins:
            start, stop = self._around(which, at, joins - {(which, at)})
            later = [k for k in range(start, stop - 1) if self.text_joined[which, k] > self.text_joined[which, at]]
            if later:
                raise traitlets.TraitError(
                    f"the join after byte {at} lies inside of a later one, after byte {later[0]}: undo that one first"
                )
        return [list(join) for join in sorted(joins)]

    def _around(self, which: int, at: int, undone: set[tuple[int, int]]) -> Part:
        """The part that holds byte `at` when these joins are taken apart."""
        return next(part for part in self._text_parts(which, undone) if part[0] <= at < part[1])

    # Training -------------------------------------------------------------------------------------------------------

    def _learn(self) -> None:
        """Learn the merges of the corpus and count at every step; nothing changes when the corpus is refused."""
        _check_length("a corpus", self.corpus, LONGEST_CORPUS)
        counted = count_words([self.corpus])
        words = dict(sorted(counted.items(), key=lambda item: -item[1]))  # a stable sort: equals in order of the text
        merges = learn_merges(words, self.n_merges)
        vocabulary = [bytes([byte]) for byte in range(256)] + [left + right for left, right in merges]
        ids = {token: id for id, token in reversed(list(enumerate(vocabulary)))}  # the first of two equal ones

        joined = [[0] * len(word) for word in words]
        now: dict[Word, Word] = {word: word for word in words}
        rows, totals = [], []
        for step in range(len(merges) + 1):
            n_joined = 0
            if step:
                for word, joins in zip(words, joined, strict=True):
                    before, now[word] = now[word], tuple(merge(now[word], merges[step - 1]))
                    gone = _ends(before) - _ends(now[word])
                    n_joined += words[word] * len(gone)
                    for end in gone:
                        joins[end - 1] = step
            # two pieces are never equal now, since their bytes are not
            pairs = count_pairs({now[word]: times for word, times in words.items()})
            ranking = _ranking(pairs)
            best = [[ids[left], ids[right], count] for (left, right), count in ranking[:TOP]]
            rows.append(best + [[-1, -1, -1]] * (TOP - len(best)))
            ties = sum(count == ranking[0][1] for _, count in ranking) if ranking else 0
            totals.append([sum(len(now[word]) * times for word, times in words.items()), len(pairs), ties, n_joined])

        with self.hold_sync():
            self.merges = merges
            self.piece_bytes = np.frombuffer(b"".join(b"".join(word) for word in words), dtype=np.uint8)
            self.piece_sizes = np.array([len(word) for word in words], dtype=np.int32)
            self.piece_counts = np.array(list(words.values()), dtype=np.int32)
            self.joined = np.array([step for joins in joined for step in joins], dtype=np.int32)
            self.merge_ids = np.array([[ids[a], ids[b]] for a, b in merges], dtype=np.int32).reshape(-1, 2)
            self.ranked = np.array(rows, dtype=np.int32)
            self.totals = np.array(totals, dtype=np.int32)
            self.step, self.rank, self.piece = 0, 0, _most_telling(words)
            self.revision += 1

    @property
    def pieces(self) -> dict[bytes, int]:
        """The distinct pieces of the corpus and how often each stands in it, as in the rows."""
        ends = np.cumsum(self.piece_sizes).tolist()
        data = self.piece_bytes.tobytes()
        bounds = pairwise([0, *ends])
        return {data[a:b]: count for (a, b), count in zip(bounds, self.piece_counts.tolist(), strict=True)}

    def words(self) -> dict[Word, int]:
        """The pieces as tokens after `step` merges, and how often each stands in the corpus."""
        ends = np.cumsum(self.piece_sizes).tolist()
        found = {}
        for (start, stop), (piece, times) in zip(pairwise([0, *ends]), self.pieces.items(), strict=True):
            joins = self.joined[start:stop].tolist()
            parts = _parts([bool(0 < one <= self.step) for one in joins])
            found[tuple(piece[a:b] for a, b in parts)] = times
        return found

    # Encoding -------------------------------------------------------------------------------------------------------

    def _encode(self) -> None:
        """Encode the text with both tokenizers; nothing changes when it is refused."""
        _check_length("a text", self.text, LONGEST_TEXT)
        replays = [tokenizer.replay(self.text) for tokenizer in self._tokenizers]
        data = np.frombuffer(self.text.encode("utf-8"), dtype=np.uint8)
        with self.hold_sync():
            if not np.array_equal(data, self.text_bytes):
                self.undone = []
                self.position = 0
            self.text_bytes = data
            self.text_joined = np.array([one.joined for one in replays], dtype=np.int32)
            self.text_ranks = np.array([one.ranks for one in replays], dtype=np.int32)
            self.token_ids = [one.ids_of for one in replays]
            self.tokens, self.other_tokens = (one.ids for one in replays)
            if self.position == 0 and (first := self.first_difference) is not None:
                sizes = [self._around(which, first, set())[1] for which in (0, 1)]
                self.position, self.which = first, int(sizes[1] > sizes[0])  # the longer token of the two
            self.revision += 1

    def _text_parts(self, which: int, undone: set[tuple[int, int]]) -> list[Part]:
        joins = self.text_joined[which].tolist()
        return _parts([join > 0 and (which, at) not in undone for at, join in enumerate(joins)])

    def parts(self, which: int = 0) -> list[bytes]:
        """The text in the tokens of one tokenizer, without the joins that are undone."""
        data, undone = self.text_bytes.tobytes(), {(a, b) for a, b in self.undone}
        return [data[start:stop] for start, stop in self._text_parts(which, undone)]

    @property
    def first_difference(self) -> int | None:
        """The byte of the text at which the first tokens begin that are not cut alike; None where all are."""
        ends = [[stop for _, stop in self._text_parts(which, set())] for which in (0, 1)]
        start = 0
        for one, two in zip(*ends, strict=False):
            if one != two:
                return start
            start = one
        return None

    # As text --------------------------------------------------------------------------------------------------------

    def __repr__(self) -> str:
        totals = self.totals.tolist()
        learned = f"{self.step} of {len(self.merges)} merges, {totals[0][0]} bytes as {totals[self.step][0]} tokens"
        counts = f"{len(self.tokens)} and {len(self.other_tokens)} tokens"
        return (
            f"BPEStepper({len(self.piece_sizes)} pieces, {learned}; a text of {len(self.text_bytes)} bytes as {counts})"
        )

    def tables(self) -> list[Table]:
        """What the picture shows; the browser says the same."""
        return self._training_tables() if self.mode == "learn" else self._text_tables()

    def fallback_html(self) -> str:
        """What the picture shows; of a text, one row for each tokenizer: a page without a kernel is read."""
        if self.mode == "learn":
            return super().fallback_html()
        rows = [[name, str(len(self.parts(which))), self._cut(which)] for which, name in enumerate(self.names)]
        return Table(f"{len(self.text_bytes)} bytes", ["tokenizer", "tokens", "cut"], rows).html()

    def _cut(self, which: int) -> str:
        return " | ".join(map(label, self.parts(which)))

    def _training_tables(self) -> list[Table]:
        totals = self.totals.tolist()
        pieces = [
            [label(b"".join(word)), str(times), " | ".join(map(label, word))] for word, times in self.words().items()
        ]
        vocabulary = [bytes([byte]) for byte in range(256)] + [left + right for left, right in self.merges]
        ranking = [
            [str(rank + 1), label(vocabulary[left]), label(vocabulary[right]), str(count)]
            for rank, (left, right, count) in enumerate(self.ranked[self.step].tolist())
            if count > 0
        ]
        merges = [
            [str(number + 1), label(left), label(right), label(left + right)]
            for number, (left, right) in enumerate(self.merges)
        ]
        return [
            Table(
                f"After {self.step} of {len(merges)} merges: {totals[self.step][0]} tokens of {totals[0][0]} bytes",
                ["piece", "count", "tokens"],
                pieces,
            ),
            Table(
                "The most frequent pairs; among equals the greater bytes come first",
                ["place", "left", "right", "count"],
                ranking,
            ),
            Table("The merges so far", ["merge", "left", "right", "new token"], merges[: self.step]),
        ]

    def _text_tables(self) -> list[Table]:
        return [self._text_table(which) for which in (0, 1)]

    def _text_table(self, which: int) -> Table:
        parts, ids = self.parts(which), self.token_ids[which]
        counts = [len(self.tokens), len(self.other_tokens)]
        n_bytes, n_tokens, n_others = len(self.text_bytes), counts[which], counts[1 - which]
        return Table(
            f"{self.names[which]}: {n_bytes} bytes as {n_tokens} tokens, {short(n_bytes / n_tokens)} bytes a token, "
            f"{short(n_tokens / n_others)} × as many as {self.names[1 - which]}",
            ["token", "id", "bytes"],
            [[label(part), str(ids[part.hex()]), part.hex(" ")] for part in parts],
        )


class _Replay:
    """A tokenizer that also tells how it came to its tokens."""

    def __init__(self, tokenizer: BPETokenizer):
        if not isinstance(tokenizer, BPETokenizer):
            raise TypeError(f"expected a BPETokenizer, got {type(tokenizer).__name__}")
        if tokenizer.normalization or tokenizer.ignore_merges:
            raise ValueError(
                "expected a tokenizer whose tokens all come from merges: without normalization and ignore_merges"
            )
        self.tokenizer = tokenizer
        self.rank_of = {pair: rank for rank, pair in enumerate(tokenizer.merges)}
        special = set(tokenizer.special_tokens.values())
        self.id_of = {token: id for id, token in tokenizer.vocab.items() if id not in special}

    def replay(self, text: str) -> _Encoded:
        """Encode a text, and say for each of its bytes when and by which merge it was joined with the next."""
        joined: list[int] = []
        ranks: list[int] = []
        seen: set[bytes] = set()
        for piece in split_pieces(text, self.tokenizer.pattern):
            parts = split_bytes(piece)
            times, by = [0] * len(parts), [0] * len(parts)
            times[-1] = -1
            seen.update(parts)
            found = {i: self.rank_of[pair] for i, pair in enumerate(pairwise(parts)) if pair in self.rank_of}
            time = 0
            while found:
                time += 1
                at = min(found, key=lambda i: (found[i], i))  # the earliest merge, and of it the leftmost place
                place = sum(map(len, parts[: at + 1])) - 1
                times[place], by[place] = time, found[at]
                parts[at : at + 2] = [parts[at] + parts[at + 1]]
                seen.add(parts[at])
                found = {i: self.rank_of[pair] for i, pair in enumerate(pairwise(parts)) if pair in self.rank_of}
            joined += times
            ranks += by
        return _Encoded(
            self.tokenizer.encode(text), joined, ranks, {one.hex(): self.id_of[one] for one in sorted(seen)}
        )


class _Encoded:
    """Of a text: ids; by byte when (from 1) and by which merge; and the ids of all parts on the way, by their bytes."""

    def __init__(self, ids: list[int], joined: list[int], ranks: list[int], ids_of: Mapping[str, int]):
        self.ids, self.joined, self.ranks, self.ids_of = ids, joined, ranks, dict(ids_of)


@cache
def _course_tokenizer() -> BPETokenizer:
    return BPETokenizer.load(data_path("tokenizer.json"))


@cache
def _gpt2_tokenizer() -> BPETokenizer:
    return BPETokenizer.from_gpt2_merges(data_path("gpt2_merges.txt"))


def _check_length(what: str, text: str, longest: int) -> None:
    if not text:
        raise ValueError(f"expected {what} of at least one character, got an empty one")
    if len(text) > longest:
        raise ValueError(f"expected {what} of at most {longest:,} characters, got {len(text):,}")
    check_text(text)


def _ranking(pairs: Counter[Pair]) -> list[tuple[Pair, int]]:
    """The pairs, the next to be merged first: the most frequent, and among equals the one whose bytes are greater."""
    return sorted(pairs.items(), key=lambda item: (item[1], item[0]), reverse=True)


def _most_telling(words: Mapping[Word, int]) -> int:
    """The row of the longest piece that is no longer than a tree on the screen."""
    sizes = [len(word) if len(word) <= 16 else 0 for word in words]
    return sizes.index(max(sizes))


def _ends(parts: Sequence[bytes]) -> set[int]:
    """After how many bytes each part ends."""
    ends, end = set(), 0
    for part in parts:
        end += len(part)
        ends.add(end)
    return ends


def _parts(joined: Sequence[bool]) -> list[Part]:
    """The parts of a sequence of bytes, of which it is known whether each is joined with the next."""
    ends = [at + 1 for at, with_next in enumerate(joined) if not with_next]
    return list(pairwise([0, *ends]))


def label(token: bytes) -> str:
    """A token as it is drawn: its text, spaces as dots; in hexadecimal where that is no text that can be seen."""
    try:
        text = token.decode("utf-8")
    except UnicodeDecodeError:
        return f"0x{token.hex()}"
    return visible(text) if text.replace("\n", " ").isprintable() else f"0x{token.hex()}"
