"""Byte-level byte-pair encoding (BPE): text to token ids and back, with nothing that cannot be encoded.

A text becomes UTF-8 bytes, cut into pieces (about words) by a pattern. Training counts adjacent pairs inside
the pieces and merges the most frequent pair into a new token, again and again. Encoding repeats those merges,
the earliest learned first. Because all 256 bytes are tokens, no text is ever unknown.

The functions come in the order of the idea: cut, count, merge, learn, apply; `BPETokenizer` joins them.
Where a slow, plain function and a fast one do the same, they stand side by side.

Sources: Gage 1994, "A New Algorithm for Data Compression"; Sennrich, Haddow and Birch 2016, "Neural Machine
Translation of Rare Words with Subword Units", section 3.2; Radford et al. 2019 (GPT-2), section 2.2.
"""

import codecs
import operator
import os
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import cached_property, lru_cache
from heapq import heapify, heappop, heappush
from itertools import chain, pairwise
from numbers import Integral
from unicodedata import normalize

import regex

from . import tokenizer_files

Pair = tuple[bytes, bytes]

# GPT-2: English endings, letters, numbers and the rest are kept apart; one leading space stays with its word.
GPT2_PATTERN = r"""'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"""
# GPT-4 (cl100k): endings in either case, numbers in groups of at most three digits, line ends kept together.
GPT4_PATTERN = (
    r"""(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"""
    r"""| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"""
)
# GPT-2's pattern with every digit alone, also after a space: a digit is the same token wherever it stands.
SINGLE_DIGIT_PATTERN = GPT2_PATTERN.replace(r" ?\p{N}+", r"\p{N}")

# Whatever text follows, it changes at most the last two pieces that these patterns cut from what came before: a line
# end joins two runs of blanks (GPT-4), an "e" makes "'re" of "'" and "r" (GPT-2).
SETTLING_PATTERNS = (GPT2_PATTERN, GPT4_PATTERN, SINGLE_DIGIT_PATTERN)

BATCH = 2**16  # about how many characters are cut into pieces at a time
CACHED_PIECES = 2**16  # how many pieces a tokenizer remembers the ids of ...
CACHED_LENGTH = 64  # ... if they are at most this long, in characters
SCANNED_LENGTH = 80  # up to about how many bytes of a piece a scan for each merge is faster than a heap (measured)

# --- cut a text ---


def split_special(text: str, special_tokens: Collection[str]) -> list[str]:
    """Cut special tokens out of a text; where several match, the longest wins.

    >>> split_special("one<s>two<s>>", {"<s>", "<s>>"})
    ['one', '<s>', 'two', '<s>>', '']
    """
    return _special_pattern(frozenset(special_tokens)).split(text) if special_tokens else [text]


@lru_cache(maxsize=64)
def _special_pattern(special_tokens: frozenset[str]) -> regex.Pattern:
    longest_first = sorted(special_tokens, key=len, reverse=True)
    return regex.compile("(" + "|".join(map(regex.escape, longest_first)) + ")")


def split_pieces(text: str, pattern: str | regex.Pattern) -> Iterator[str]:
    """Cut a text into the pieces that no merge crosses: the matches, and whatever lies between two matches.

    >>> list(split_pieces("Hello world's 42", GPT2_PATTERN))
    ['Hello', ' world', "'s", ' 42']
    """
    compiled = _compile(pattern)
    if len(text) <= BATCH:
        return iter(_pieces(text, compiled))
    return chain.from_iterable(_batches(text, compiled)) if _settles(compiled) else _pieces_one_by_one(text, compiled)


def _pieces(text: str, compiled: regex.Pattern) -> list[str]:
    matches = [] if compiled.groups else compiled.findall(text)
    if sum(map(len, matches)) < len(text):  # something lies between two matches, or what was found are groups
        return list(_pieces_one_by_one(text, compiled))
    return matches if all(matches) else list(filter(None, matches))


def _pieces_one_by_one(text: str, compiled: regex.Pattern) -> Iterator[str]:
    end = 0
    for match in compiled.finditer(text):
        start, stop = match.span()
        if start > end:
            yield text[end:start]
        if stop > start:
            yield text[start:stop]
        end = stop
    if end < len(text):
        yield text[end:]


def _batches(text: str, compiled: regex.Pattern) -> Iterator[list[str]]:
    """The pieces of a long text in lists, so that not all of them are held at once."""
    start, length = 0, BATCH
    while start < len(text):
        pieces = _pieces(text[start : start + length], compiled)
        if start + length < len(text):
            del pieces[-2:]  # what follows may change them
        yield pieces
        start += sum(map(len, pieces))
        length = BATCH if pieces else 2 * length  # doubled, so that one endless piece is not read over and over


def _settles(compiled: regex.Pattern) -> bool:
    return any(compiled == regex.compile(pattern) for pattern in SETTLING_PATTERNS)


def _compile(pattern: str | regex.Pattern) -> regex.Pattern:
    try:
        return regex.compile(pattern)
    except (regex.error, TypeError) as error:
        raise ValueError(f"expected a regular expression, got {pattern!r}: {error}") from None


def split_bytes(piece: str) -> list[bytes]:
    """Cut a piece into its UTF-8 bytes.

    >>> split_bytes("hé")
    [b'h', b'\\xc3', b'\\xa9']
    """
    return [bytes([byte]) for byte in piece.encode("utf-8")]


def check_text(text: str) -> None:
    """Raise TypeError if not a str, and ValueError at a lone surrogate, the one thing UTF-8 cannot hold."""
    if not isinstance(text, str):
        raise TypeError(f"expected text as str, got {type(text).__name__}")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        code_point = ord(text[error.start])
        raise ValueError(
            f"expected text without lone surrogates, got U+{code_point:04X} at position {error.start}"
        ) from None


# --- count, merge, learn ---


def count_words(
    texts: Iterable[str], pattern: str = GPT2_PATTERN, special_tokens: Collection[str] = ()
) -> dict[tuple[bytes, ...], int]:
    """Count the distinct pieces, each as a tuple of bytes. Special tokens are cut out and not counted.

    >>> count_words(["ab ab", "ab"])
    {(b'a', b'b'): 2, (b' ', b'a', b'b'): 1}
    """
    pieces: Counter[str] = Counter()
    compiled = _compile(pattern)
    for text in texts:
        check_text(text)
        for part in split_special(text, special_tokens):
            if part not in special_tokens:
                pieces.update(split_pieces(part, compiled))
    return {tuple(split_bytes(piece)): count for piece, count in pieces.items()}


def count_pairs(words: Mapping[tuple[bytes, ...], int]) -> Counter[Pair]:
    """Count every adjacent pair, overlapping ones too: `aaa` holds (a, a) twice.

    >>> count_pairs({(b"a", b"a", b"a"): 1, (b"a", b"b"): 5})
    Counter({(b'a', b'b'): 5, (b'a', b'a'): 2})
    """
    counts: Counter[Pair] = Counter()
    for word, times in words.items():
        for pair in pairwise(word):
            counts[pair] += times
    return counts


def merge(parts: Sequence[bytes], pair: Pair) -> list[bytes]:
    """Join each occurrence of a pair, from left to right: of `aaa`, only the first two are joined.

    >>> merge([b"a", b"a", b"a", b"b"], (b"a", b"a"))
    [b'aa', b'a', b'b']
    """
    first, second = pair
    merged, i, last = [], 0, len(parts) - 1
    while i <= last:
        if i < last and parts[i] == first and parts[i + 1] == second:
            merged.append(first + second)
            i += 2
        else:
            merged.append(parts[i])
            i += 1
    return merged


def learn_merges_by_recounting(words: Mapping[tuple[bytes, ...], int], n_merges: int) -> list[Pair]:
    """The definition of BPE training: count all pairs, merge the best one, and start again.

    The best pair is the most frequent; among equals, the one whose bytes compare greater. Stops early when
    every word is one token.

    >>> learn_merges_by_recounting({(b"l", b"o", b"w"): 5, (b"l", b"o", b"t"): 2}, 2)
    [(b'l', b'o'), (b'lo', b'w')]
    """
    merges: list[Pair] = []
    while len(merges) < n_merges and (counts := count_pairs(words)):
        best = max(counts, key=lambda pair: (counts[pair], pair))
        merges.append(best)
        words = {tuple(merge(word, best)): times for word, times in words.items()}
    return merges


class _GreaterFirst(tuple):
    """A pair that sorts in reverse: a heap pops its smallest entry, and ties must go to the greater pair."""

    __lt__ = tuple.__gt__


def learn_merges(words: Mapping[tuple[bytes, ...], int], n_merges: int) -> list[Pair]:
    """The same merges as `learn_merges_by_recounting`, by touching only the words that a merge changes.

    A heap offers the best pair. Its entries may be out of date: a count that has fallen since is put back
    with its true value, and a count that rises gets a new entry at once.

    >>> learn_merges({(b"l", b"o", b"w"): 5, (b"l", b"o", b"t"): 2}, 2)
    [(b'l', b'o'), (b'lo', b'w')]
    """
    parts_of, times_of = [list(word) for word in words], list(words.values())
    words_with: defaultdict[Pair, set[int]] = defaultdict(set)
    for index, parts in enumerate(parts_of):
        for pair in pairwise(parts):
            words_with[pair].add(index)
    counts = count_pairs(words)
    heap = [(-count, _GreaterFirst(pair)) for pair, count in counts.items()]
    heapify(heap)
    merges: list[Pair] = []
    while heap and len(merges) < n_merges:
        negative_count, best = heappop(heap)
        if counts[best] != -negative_count:
            if counts[best] > 0:
                heappush(heap, (-counts[best], best))
            continue
        merges.append(tuple(best))
        change: defaultdict[Pair, int] = defaultdict(int)
        for index in words_with.pop(best):
            for pair in pairwise(parts_of[index]):
                change[pair] -= times_of[index]
            parts_of[index] = merge(parts_of[index], best)
            for pair in pairwise(parts_of[index]):
                change[pair] += times_of[index]
                words_with[pair].add(index)
        for pair, difference in change.items():
            counts[pair] += difference
            if difference > 0:
                heappush(heap, (-counts[pair], _GreaterFirst(pair)))
    return merges


# --- apply merges to one piece ---


def apply_merges(parts: Sequence[bytes], ranks: Mapping[Pair, int]) -> list[bytes]:
    """Join the pair that was learned first (its leftmost occurrence), until no learned pair is left.

    >>> apply_merges([b"l", b"o", b"w", b"l", b"o"], {(b"l", b"o"): 0, (b"lo", b"w"): 1})
    [b'low', b'lo']
    """
    parts, never = list(parts), len(ranks)
    while len(parts) > 1:
        found = [ranks.get(pair, never) for pair in pairwise(parts)]
        if (lowest := min(found)) == never:
            break
        i = found.index(lowest)
        parts[i : i + 2] = [parts[i] + parts[i + 1]]
    return parts


def apply_merges_with_heap(parts: Sequence[bytes], ranks: Mapping[Pair, int]) -> list[bytes]:
    """The same parts as `apply_merges`, in O(n log n) steps instead of O(n²).

    The parts form a linked list, and a heap offers their pairs, as the single number rank · n + position. A
    part that was joined to its left neighbor stays behind empty. An entry whose pair has changed is skipped.

    >>> apply_merges_with_heap([b"l", b"o", b"w", b"l", b"o"], {(b"l", b"o"): 0, (b"lo", b"w"): 1})
    [b'low', b'lo']
    """
    parts, n = list(parts), len(parts)
    left, right = list(range(-1, n - 1)), list(range(1, n + 1))
    heap = [ranks[pair] * n + i for i, pair in enumerate(pairwise(parts)) if pair in ranks]
    heapify(heap)
    while heap:
        rank, i = divmod(heappop(heap), n)
        j = right[i]
        if j == n or ranks.get((parts[i], parts[j])) != rank:
            continue
        parts[i], parts[j] = parts[i] + parts[j], b""
        h, k = left[i], right[j]
        right[i] = k
        if k < n:
            left[k] = i
            if (new_rank := ranks.get((parts[i], parts[k]))) is not None:
                heappush(heap, new_rank * n + i)
        if h >= 0 and (new_rank := ranks.get((parts[h], parts[i]))) is not None:
            heappush(heap, new_rank * n + h)
    return [part for part in parts if part]


def number_merges(merges: Sequence[Pair]) -> list[dict[int, int]]:
    """The merges as numbers: `numbered[first][second]` is the number of what the two make.

    A byte is its own number, and merge number r makes token number 256 + r. So one number tells both what is made and
    when it was learned: the smaller, the earlier.

    >>> number_merges([(b"l", b"o"), (b"lo", b"w")])[256]
    {119: 257}
    """
    tokens = [bytes([byte]) for byte in range(256)] + [first + second for first, second in merges]
    numbers_of: defaultdict[bytes, list[int]] = defaultdict(list)  # two merges may make the same token
    for number, token in enumerate(tokens):
        numbers_of[token].append(number)
    after: defaultdict[bytes, dict[int, int]] = defaultdict(dict)
    for made, (first, second) in enumerate(merges, 256):
        for number in numbers_of[second]:
            after[first][number] = made
    nothing: dict[int, int] = {}
    return [after.get(token, nothing) for token in tokens]


def apply_numbered_merges(piece: bytes, numbered: Sequence[Mapping[int, int]]) -> list[int]:
    """The parts of `apply_merges` as numbers, for a piece of few bytes: a merge looks up only its two new pairs.

    >>> apply_numbered_merges(b"lowlo", number_merges([(b"l", b"o"), (b"lo", b"w")]))
    [257, 256]
    """
    parts, never = list(piece), len(numbered)
    found = [numbered[first].get(second, never) for first, second in pairwise(parts)]  # what each pair would make
    while found and (made := min(found)) < never:
        i = found.index(made)
        parts[i] = made
        del parts[i + 1], found[i]
        if i > 0:
            found[i - 1] = numbered[parts[i - 1]].get(made, never)
        if i < len(found):
            found[i] = numbered[made].get(parts[i + 1], never)
    return parts


# --- the tokenizer ---


class BPETokenizer:
    """A byte-level BPE tokenizer. Make one with `train`, `load`, `from_gpt2_files` or `from_gpt2_merges`.

    vocab: id to bytes, special tokens included. vocab_size: one more than the largest id, which is how many
    rows an embedding table needs. merges: pairs of bytes, in the order learned. special_tokens: text to id.
    pattern: the regular expression (of the `regex` module) that cuts a text into pieces. normalization: None
    or a Unicode form such as "NFC", applied first (Qwen). ignore_merges: whether a piece that is a token as a
    whole is taken as it is (Llama 3). Without normalization, `decode(encode(text)) == text`, always.

    Raises ValueError if one of the 256 bytes, or a part of a merge or what it makes, has no id, and if a special token
    is not in the vocabulary under its id.
    """

    def __init__(
        self,
        vocab: Mapping[int, bytes],
        merges: Iterable[Pair],
        special_tokens: Mapping[str, int] | None = None,
        pattern: str = GPT2_PATTERN,
        *,
        normalization: str | None = None,
        ignore_merges: bool = False,
    ):
        special_tokens = {} if special_tokens is None else special_tokens
        if not isinstance(vocab, Mapping) or not isinstance(special_tokens, Mapping):
            raise TypeError(
                "expected the tokens by id, {97: b'a', …}, and the ids of special tokens, {'<s>': 256}; "
                f"got {vocab!r:.60} and {special_tokens!r:.60}"
            )
        if normalization not in (None, "NFC", "NFD", "NFKC", "NFKD"):
            raise ValueError(f"expected the normalization NFC, NFD, NFKC, NFKD or None, got {normalization!r}")
        self.vocab, self.merges = dict(vocab), [tuple(merge) for merge in merges]
        self.special_tokens = dict(special_tokens)
        self.pattern, self.normalization, self.ignore_merges = pattern, normalization, ignore_merges
        self._compiled = _compile(pattern)
        special_ids = set(self.special_tokens.values())
        self._ids = {token: id for id, token in self.vocab.items() if id not in special_ids}
        self._cache: dict[str, list[int]] = {}
        self._check()
        self.vocab_size = max(self.vocab) + 1

    @cached_property
    def _ranks(self) -> dict[Pair, int]:
        return {pair: rank for rank, pair in enumerate(self.merges)}

    @cached_property
    def _numbered(self) -> tuple[list[dict[int, int]], list[int]]:
        """The merges as numbers, and the id of each number."""
        tokens = chain((bytes([byte]) for byte in range(256)), (first + second for first, second in self.merges))
        return number_merges(self.merges), [self._ids[token] for token in tokens]

    def _check(self) -> None:
        """Raise ValueError where vocabulary, merges and special tokens do not fit together."""
        for id, token in self.vocab.items():
            if isinstance(id, bool) or not isinstance(id, int) or id < 0 or not isinstance(token, bytes):
                raise ValueError(f"expected ids from 0 on and tokens of bytes, got {id!r}: {token!r}")
        if bad := [merge for merge in self.merges if len(merge) != 2]:
            raise ValueError(f"expected merges of two tokens, got {bad[0]}")
        needed = [bytes([byte]) for byte in range(256)]
        needed += [token for first, second in self.merges for token in (first, second, first + second)]
        if missing := [token for token in needed if token not in self._ids]:
            raise ValueError(f"expected an id for every byte and merge, but {missing[:5]} have none")
        for token, id in self.special_tokens.items():
            check_text(token)
            if not token or self.vocab.get(id) != token.encode("utf-8"):
                there = f"{self.vocab[id]!r}" if id in self.vocab else "nothing"
                raise ValueError(f"expected the special token {token!r} in the vocabulary as {id}, got {there} there")

    def __repr__(self) -> str:
        return f"BPETokenizer(vocab_size={self.vocab_size}, special_tokens={list(self.special_tokens)})"

    @classmethod
    def train(
        cls,
        text_or_iterable: str | Iterable[str],
        vocab_size: int,
        special_tokens: Collection[str] = (),
        pattern: str = GPT2_PATTERN,
    ) -> "BPETokenizer":
        """Learn merges from a text, or from an iterable of texts, of which only the distinct pieces are kept.

        Ids: 0 to 255 are the bytes, then come the merges in the order learned, then the special tokens.
        A special token in the text separates what is around it and is not learned from. When every piece has
        become one token, nothing is left to merge: training stops early, with fewer tokens than asked for.
        Raises TypeError for what is no text, a path or bytes for example, and ValueError for the path of a file as a
        string, for too small a vocab_size and for special tokens that are not distinct.
        """
        if isinstance(text_or_iterable, str) and os.path.isfile(text_or_iterable):
            raise ValueError(f"expected a text, got the path of a file: read it first, {text_or_iterable!r}")
        if isinstance(text_or_iterable, bytes) or not isinstance(text_or_iterable, Iterable):
            kind = type(text_or_iterable).__name__
            raise TypeError(f"expected a text as str, or an iterable of texts, got {kind}; read a file first")
        special_tokens = list(_collection(special_tokens))
        for token in special_tokens:
            check_text(token)
        if "" in special_tokens or len(set(special_tokens)) < len(special_tokens):
            raise ValueError(f"expected distinct special tokens of at least one character, got {special_tokens}")
        least = 256 + len(special_tokens)
        if not isinstance(vocab_size, Integral):
            raise TypeError(f"expected vocab_size as a whole number, got {vocab_size!r}")
        if vocab_size < least:
            raise ValueError(f"expected vocab_size >= {least} (bytes and special tokens), got {vocab_size}")
        texts = [text_or_iterable] if isinstance(text_or_iterable, str) else text_or_iterable
        merges = learn_merges(count_words(texts, pattern, special_tokens), vocab_size - least)
        tokens = [bytes([byte]) for byte in range(256)] + [first + second for first, second in merges]
        special = {token: len(tokens) + i for i, token in enumerate(special_tokens)}
        tokens += [token.encode("utf-8") for token in special_tokens]
        return cls(dict(enumerate(tokens)), merges, special, pattern)

    def encode(self, text: str, *, allowed_special: Collection[str] | str = ()) -> list[int]:
        """The ids of a text.

        A special token spelled out in the text is ordinary text, unless `allowed_special` names it (a
        collection of special tokens, or "all"): so a user's text cannot smuggle one in. An allowed one is
        never split, and the longest match wins. Raises ValueError if `allowed_special` holds anything else
        than special tokens of this tokenizer, and for a lone surrogate, with its position in the text.
        """
        check_text(text)
        allowed = self._allowed(allowed_special)
        ids: list[int] = []
        for part in split_special(text, allowed):
            if part in allowed:
                ids.append(self.special_tokens[part])
            else:
                ids += self._encode_ordinary(part)
        return ids

    def _allowed(self, allowed_special: Collection[str] | str) -> frozenset[str]:
        known = self.special_tokens.keys()
        allowed = frozenset(known if allowed_special == "all" else _collection(allowed_special))
        if unknown := allowed - known:
            raise ValueError(f"expected some of the special tokens {list(known)}, got {sorted(unknown, key=str)}")
        return allowed

    def _encode_ordinary(self, text: str) -> list[int]:
        if self.normalization:
            text = normalize(self.normalization, text)
        return self._encode_pieces(split_pieces(text, self._compiled))

    def _encode_pieces(self, pieces: Iterable[str]) -> list[int]:
        ids: list[int] = []
        known, encode = self._cache.get, self._encode_piece
        for piece in pieces:
            ids += known(piece) or encode(piece)
        return ids

    def _encode_piece(self, piece: str) -> list[int]:
        data = piece.encode("utf-8")
        if self.ignore_merges and data in self._ids:
            ids = [self._ids[data]]
        elif len(data) <= SCANNED_LENGTH:
            numbered, id_of = self._numbered
            ids = [id_of[number] for number in apply_numbered_merges(data, numbered)]
        else:
            ids = [self._ids[part] for part in apply_merges_with_heap(split_bytes(piece), self._ranks)]
        if len(piece) <= CACHED_LENGTH:
            if len(self._cache) >= CACHED_PIECES:
                self._cache.clear()
            self._cache[piece] = ids
        return ids

    def encode_iterable(
        self, texts: Iterable[str], *, allowed_special: Collection[str] | str = (), joined: bool = False
    ) -> Iterator[int]:
        """Stream the ids of many texts, in order, in constant memory: those of `encode` for each text alone.

        joined=True gives the ids of `encode("".join(texts))` instead, as for the lines or blocks of one file. The two
        differ where a piece or a special token crosses from one text to the next. Under GPT-2's pattern a line end
        stays apart from words, but not from blanks: the lines "a\\n" and "  b" alone are cut into a, \\n, ␣, ␣b, and
        joined into a, \\n␣, ␣b. Under GPT-4's a blank line also joins the line end before it. So the last two pieces
        are held back until more text has come, about 65,000 characters at a time; only a longer piece takes more.

        With joined=True, raises ValueError for a pattern that is not known to leave all but two pieces alone (one that
        is not in `SETTLING_PATTERNS`), and for a normalization, which may compose characters of two texts. A lone
        surrogate is reported with its position in its own text.
        """
        if isinstance(texts, str):
            raise TypeError("expected an iterable of strings, got one string: use encode")
        if not joined:
            return (id for text in texts for id in self.encode(text, allowed_special=allowed_special))
        if not _settles(self._compiled):
            raise ValueError(f"joined texts need one of the patterns in SETTLING_PATTERNS, got {self.pattern!r}")
        if self.normalization:
            raise ValueError(f"joined texts need a tokenizer without normalization, got {self.normalization}")
        return self._encode_joined(texts, self._allowed(allowed_special))

    def _encode_joined(self, texts: Iterable[str], allowed: frozenset[str]) -> Iterator[int]:
        held, new, n_new = "", [], 0
        for text in texts:
            check_text(text)
            new.append(text)
            n_new += len(text)
            if n_new >= max(BATCH, len(held)):  # so that one endless piece is not read over and over
                ids, held = self._encode_settled(held + "".join(new), allowed)
                yield from ids
                new, n_new = [], 0
        yield from self.encode(held + "".join(new), allowed_special=allowed)

    def _encode_settled(self, text: str, allowed: frozenset[str]) -> tuple[list[int], str]:
        """The ids of the beginning of a text, which nothing that follows can change, and the rest of the text."""
        longest = max(map(len, allowed), default=1)
        unsettled = len(text) - longest + 1  # a special token that begins here or later may not have come completely
        ids: list[int] = []
        start = 0
        for match in _special_pattern(allowed).finditer(text) if allowed else ():
            if match.start() >= unsettled:
                break
            ids += self._encode_ordinary(text[start : match.start()])
            ids.append(self.special_tokens[match.group()])
            start = match.end()
        pieces = list(split_pieces(text[start : max(start, unsettled)], self._compiled))[:-2]
        return ids + self._encode_pieces(pieces), text[start + sum(map(len, pieces)) :]

    def _token(self, id: int) -> bytes:
        try:
            if isinstance(id, bool):
                raise TypeError
            return self.vocab[operator.index(id)]
        except (TypeError, KeyError):
            raise ValueError(f"expected ids of the {len(self.vocab)} tokens, got {id!r}") from None

    def decode_bytes(self, ids: Iterable[int]) -> bytes:
        """The bytes of the ids (a sequence, array or tensor), joined. What is no id of a token raises ValueError."""
        ids = ids.tolist() if hasattr(ids, "tolist") else ids
        if not isinstance(ids, Iterable):
            raise ValueError(f"expected ids, got {ids!r}; put a single id into a list")
        ids = list(ids)
        if set(map(type, ids)) == {int} and self.vocab.keys() >= set(ids):
            return b"".join(map(self.vocab.__getitem__, ids))  # the same as below, and faster
        return b"".join(map(self._token, ids))

    def decode(self, ids: Iterable[int]) -> str:
        """The text of the ids. Bytes that are not UTF-8, such as half a character, become U+FFFD (�)."""
        return self.decode_bytes(ids).decode("utf-8", errors="replace")

    def decode_stream(self, ids: Iterable[int]) -> Iterator[str]:
        """The text of ids that are still coming, in pieces that hold whole characters only; joined they are `decode`'s.

        The bytes of a character may be spread over several tokens: they are held back until it is whole, and until the
        end where it never will be. Reads one id at a time and yields what is certain before it asks for the next.
        """
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        for id in ids:
            if piece := decoder.decode(self._token(id)):
                yield piece
        if rest := decoder.decode(b"", final=True):
            yield rest

    # --- files ---

    def save(self, path: str | os.PathLike) -> None:
        """Write a Hugging Face `tokenizer.json`, which the `tokenizers` library opens, with the same ids.

        (That library always takes special tokens in a text as such, like allowed_special="all" here.)
        """
        tokenizer_files.write(
            path,
            ids=self._ids,
            merges=self.merges,
            special_tokens=self.special_tokens,
            pattern=self.pattern,
            normalization=self.normalization,
            ignore_merges=self.ignore_merges,
        )

    @classmethod
    def load(cls, path: str | os.PathLike) -> "BPETokenizer":
        """Open a Hugging Face `tokenizer.json` that holds a byte-level BPE; any other raises ValueError.

        Added tokens become special tokens. The post-processor, which adds start and end tokens, is not read.
        """
        arguments = {"pattern": GPT2_PATTERN} | tokenizer_files.read(path)
        try:
            return cls(**arguments)
        except ValueError as error:
            raise ValueError(f"{path} is not a tokenizer.json of a byte-level BPE: {error}") from error

    @classmethod
    def from_gpt2_files(cls, vocab_json: str | os.PathLike, merges_txt: str | os.PathLike) -> "BPETokenizer":
        """Open GPT-2's two files. Special tokens are those that are no byte and that no merge makes."""
        return cls(**tokenizer_files.read_gpt2(vocab_json, merges_txt))

    @classmethod
    def from_gpt2_merges(
        cls, merges_txt: str | os.PathLike, special_tokens: Sequence[str] = ("<|endoftext|>",)
    ) -> "BPETokenizer":
        """Open the second of GPT-2's two files alone, which says the same: the ids follow from the merges."""
        return cls(**tokenizer_files.read_gpt2_merges(merges_txt, special_tokens))


def _collection(special_tokens: Collection[str]) -> Collection[str]:
    if isinstance(special_tokens, str) or not isinstance(special_tokens, Iterable):
        kind = "string " if isinstance(special_tokens, str) else ""
        raise ValueError(f"expected a collection of special tokens, got the {kind}{special_tokens!r}")
    return special_tokens
