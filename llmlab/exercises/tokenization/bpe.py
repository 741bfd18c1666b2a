"""Exercises, questions and predictions of notebook 03a_tokenization_bpe."""

from __future__ import annotations

import re
from collections import Counter
from functools import cache
from itertools import pairwise

from ...tokenization import GPT2_PATTERN, BPETokenizer, learn_merges, split_bytes, split_pieces, split_special
from ..records import Prediction, Question, exercise

TEXT = 'low low low lower lower newest newest newest widest widest aaah aaah. "Hello," said Ana; 领先 é\n\n  so\n' * 2
SPECIAL = ("<s>", "</s>")


def _words(**times):
    """{word: times} with each word as a tuple of bytes."""
    return {tuple(split_bytes(word)): count for word, count in times.items()}


def _ranks(*pairs):
    """The merges "l o", "lo w", … with their ranks, in that order."""
    return {tuple(part.encode() for part in pair.split()): rank for rank, pair in enumerate(pairs)}


# Count the pairs ------------------------------------------------------------------------------------------------------


def _vocabularies():
    """Words that share pairs, words with a pair twice, runs of one letter, a word of one byte, and none at all."""
    yield (_words(ab=2),)
    yield (_words(ab=1, bc=3, cab=2),)
    yield (_words(aaa=2, baaa=1),)
    yield (_words(abab=3, a=5),)
    yield (_words(low=3, lower=2, newest=3, widest=2, aaah=2),)
    yield ({(b"lo", b"w"): 4, (b"lo", b"w", b"e", b"r"): 2, (b"a", b"aa", b"a"): 3},)
    yield (_words(é=2, è=1),)
    yield ({},)


def _only_true_pairs(arguments, value):
    pairs = {pair for word in arguments[0] for pair in pairwise(word)}
    return {
        "there are pairs in the result that stand next to each other in no word, or whose count is 0; list only those "
        "that occur": set(value) == pairs
    }


def _no_pairs(arguments, value):
    """What is wrong with the kind of the result, or of its keys."""
    if isinstance(value, list):
        return "the result is a list of (pair, count); return the dict or Counter itself, {pair: count}"
    for pair in value if isinstance(value, dict) else ():
        if not isinstance(pair, tuple) or len(pair) != 2:
            return "a key is no pair: it is a tuple of two neighbors, and a word's last part has none to its right"
        if any(isinstance(part, int) for part in pair):
            return (
                "the keys are numbers, as single bytes become when you go through bytes; go through the word, whose "
                "parts stay bytes: word[i] and word[i + 1]"
            )
        if any(isinstance(part, str) for part in pair):
            return "the keys are str; a pair is two parts as they stand in the word, bytes: decode nothing"
    return ""


@exercise(
    "tokenization.count_pairs",
    title="Count the pairs",
    prompt="Count how often each adjacent pair occurs in a text, from its distinct words and how often each occurs.",
    hints=(
        "Go through the words; in each, through its neighbors: zip(word, word[1:]) gives them, itertools.pairwise too.",
        "A word that occurs 5 times holds each of its pairs 5 times: add its count, not 1.",
    ),
    inputs=_vocabularies,
    facts=_only_true_pairs,
    symptoms=(_no_pairs,),
    keeps=("words",),
    difficulty=1,
    minutes=6,
)
def my_count_pairs(words):
    """{pair: how often it occurs}. words: {word, a tuple of parts: how often it occurs}."""
    counts = {}
    for word, times in words.items():
        for i in range(len(word) - 1):
            pair = (word[i], word[i + 1])
            counts[pair] = counts.get(pair, 0) + times
    return counts


def _counted(words, pairs_of=pairwise, times_of=lambda times: times):
    counts = Counter()
    for word, times in words.items():
        for pair in pairs_of(word):
            counts[pair] += times_of(times)
    return dict(counts)


def _apart(word):
    """The pairs as merging would join them: none overlaps the same pair before it."""
    last = None
    for i, pair in enumerate(pairwise(word)):
        if last == (pair, i - 1):
            last = None
            continue
        last = (pair, i)
        yield pair


def _one_stream(words):
    stream = [part for word, times in words.items() for part in word * times]
    return dict(Counter(pairwise(stream)))


def _keys_only(words):
    counts = Counter()
    for word, times in words:
        for pair in pairwise(word):
            counts[pair] += times
    return counts


def _begun_with_one(words):
    counts = {}
    for word, times in words.items():
        for pair in pairwise(word):
            counts[pair] = counts[pair] + times if pair in counts else 1
    return counts


def _first_word(words):
    for word, times in words.items():
        return _counted({word: times})


my_count_pairs.plant({
    "each word counts once, however often it occurs; a pair in a word that occurs 5 times occurs 5 times: add `times`":
        lambda words: _counted(words, times_of=lambda times: 1),
    "a run such as aaa is counted without overlaps; count every neighboring pair, so aaa holds (a, a) twice. Overlaps "
    "matter only when the pair is merged":
        lambda words: _counted(words, _apart),
    "a pair that stands twice in a word, as in abab, is counted once; count each place":
        (lambda words: _counted(words, lambda word: set(pairwise(word))),
         lambda words: _counted(words, lambda word: dict.fromkeys(pairwise(word)))),
    "pairs cross from one word to the next: the words are separate pieces, and no merge joins two of them":
        _one_stream,
    "single parts are counted; a pair is two neighbors, (word[i], word[i + 1])":
        lambda words: _counted(words, iter),
    "the two parts are glued together, so that (a, aa) and (aa, a) become one; keep them as a pair, a tuple of two":
        lambda words: _counted(words, lambda word: [first + second for first, second in pairwise(word)]),
    "(a, b) and (b, a) are counted as one; their order matters":
        lambda words: _counted(words, lambda word: [tuple(sorted(pair)) for pair in pairwise(word)]),
    "the last pair of each word is missing: with n parts there are n − 1 pairs, range(len(word) - 1)":
        lambda words: _counted(words, lambda word: list(pairwise(word))[:-1]),
    "the first pair of each word is missing; begin at 0":
        lambda words: _counted(words, lambda word: list(pairwise(word))[1:]),
    "every second pair is missing: step through the word by one part, not by two":
        lambda words: _counted(words, lambda word: list(pairwise(word))[::2]),
    "parts that are not neighbors are paired as well":
        lambda words: _counted(words, lambda word: [(a, b) for i, a in enumerate(word) for b in word[i + 1 :]]),
    "the counts of a word replace those of the words before it; add them up":
        lambda words: {pair: times for word, times in words.items() for pair in pairwise(word)},
    "the first time a pair is met it counts 1; it counts as often as its word occurs, `times`":
        _begun_with_one,
    "a loop over a dictionary gives its keys only, the words; for word, times in words.items() gives both":
        _keys_only,
    "only the first word is counted: the `return` stands inside the loop":
        (_first_word, lambda words: _first_word(words) or {}),
    "the parts are glued together and cut into single bytes again; a part may be longer, as `lo` is: pair word[i] "
    "with word[i + 1]":
        lambda words: _counted(words, lambda word: pairwise(split_bytes(b"".join(word).decode()))),
    "the last part is paired with the first, since word[-1] is the last; begin at 1 where you look back":
        lambda words: _counted(words, lambda word: [(word[i - 1], word[i]) for i in range(len(word))]),
})  # fmt: skip


# Merge one pair -------------------------------------------------------------------------------------------------------


def _parts_and_pairs():
    """A pair once, several times, overlapping with itself, at both ends, absent; longer parts; nothing."""
    for parts, pair in (
        ("a b", "a b"), ("a b c a b", "a b"), ("a a a", "a a"), ("a a a a a b a a", "a a"), ("x y", "y x"),
        ("a", "a a"), ("l o w e r", "e r"), ("lo w lo w e", "lo w"), ("a bc ab c", "ab c"), ("ab a b", "a b"),
        ("b a a a", "a a"), ("a b a b a", "b a"), ("", "a b"), ("a b a b a b", "a b"),
        ("aa b a bb", "a b"),
    ):  # fmt: skip
        yield [part.encode() for part in parts.split()], tuple(part.encode() for part in pair.split())
    yield [b" ", b"t", b"h", b" ", b"t"], (b" ", b"t")


def _no_parts(arguments, value):
    """What is wrong with the kind of the result, or of its parts."""
    if isinstance(value, bytes):
        return "all parts are glued into one; the result is the list of parts"
    for part in value if isinstance(value, list) else ():
        if isinstance(part, list):
            return "the pair stands there as a tuple or list; one part is wanted, first + second: pair[0] + pair[1]"
        if isinstance(part, str):
            return "the parts are str; they are bytes, and stay so: decode nothing"
        if isinstance(part, int):
            return "the parts are numbers; a part is bytes"
    return ""


@exercise(
    "tokenization.merge",
    title="Merge one pair",
    prompt="Join each occurrence of a pair in a list of parts, from left to right.",
    hints=(
        "Walk with an index i. Where parts[i] and parts[i + 1] are the pair, append both joined and go on at i + 2.",
        "Elsewhere append parts[i] and go on at i + 1. The last part has no neighbor: look whether i + 1 is inside.",
        "Compare with the pair part by part: ab, c and a, bc are different pairs although their bytes are the same.",
    ),
    inputs=_parts_and_pairs,
    symptoms=(_no_parts,),
    keeps=("parts",),
    difficulty=2,
    minutes=7,
)
def my_merge(parts, pair):
    """A new list in which each occurrence of the pair is one part. pair: two parts, bytes."""
    merged, i = [], 0
    while i < len(parts):
        if i + 1 < len(parts) and (parts[i], parts[i + 1]) == pair:
            merged.append(parts[i] + parts[i + 1])
            i += 2
        else:
            merged.append(parts[i])
            i += 1
    return merged


def _merged(parts, pair, *, same=lambda first, second, pair: (first, second) == pair, once=False, skip=2, last=True):
    """`my_merge` with one step replaced."""
    merged, i, found = [], 0, False
    while i < len(parts):
        if i + 1 < len(parts) and same(parts[i], parts[i + 1], pair) and not (once and found):
            merged.append(parts[i] + parts[i + 1])
            i, found = i + skip, True
        elif i + 1 < len(parts) or last:
            merged.append(parts[i])
            i += 1
        else:
            break
    return merged


def _overlapping(parts, pair):
    """`aaa` becomes `aa aa`: the middle part is used twice."""
    merged, used = [], False
    for i, part in enumerate(parts):
        if i + 1 < len(parts) and (part, parts[i + 1]) == pair:
            merged.append(part + parts[i + 1])
            used = True
        else:
            if not used:
                merged.append(part)
            used = False
    return merged


def _but_at_the_end(parts, pair):
    """As where the walk looks for i + 2 < len(parts), or goes over range(len(parts) - 2)."""
    if tuple(parts[-2:]) != pair:
        return _merged(parts, pair)
    before = _merged(parts[:-1], pair)
    return [*before, parts[-1]]


def _in_place(parts, pair):
    i = 0
    while i < len(parts) - 1:
        if (parts[i], parts[i + 1]) == pair:
            parts[i : i + 2] = [parts[i] + parts[i + 1]]
        i += 1
    return parts


def _from_the_right(parts, pair):
    return [part[::-1] for part in _merged([p[::-1] for p in parts[::-1]], (pair[1][::-1], pair[0][::-1]))][::-1]


my_merge.plant({
    "the middle part of an overlap is used twice: aaa became aa aa, one letter too many. After a join go on behind "
    "both parts, at i + 2":
        _overlapping,
    "a joined part stands there and its second half as well: after a join go on at i + 2, behind both":
        lambda parts, pair: _merged(parts, pair, skip=1),
    "a joined part stands there and its second half too, or the last part is lost: after a join go on at i + 2, and "
    "keep a last part that has no neighbor":
        lambda parts, pair: _merged(parts, pair, skip=1, last=False),
    "a part is lost behind each join: go on at i + 2, not at i + 3":
        lambda parts, pair: _merged(parts, pair, skip=3),
    "only the first occurrence is joined; join them all":
        lambda parts, pair: _merged(parts, pair, once=True),
    "the last part is lost where it is not joined: it has no neighbor, and belongs into the list all the same":
        lambda parts, pair: _merged(parts, pair, last=False),
    "parts are joined because their bytes together are the same; a, bc is not the pair ab, c. Compare part by part":
        lambda parts, pair: _merged(parts, pair, same=lambda a, b, pair: a + b == pair[0] + pair[1]),
    "the pair is joined in either order; only first, then second is the pair":
        lambda parts, pair: _merged(parts, pair, same=lambda a, b, pair: {a, b} == set(pair)),
    "runs are joined from the right: of aaa the first two are joined, not the last two":
        _from_the_right,
    "the list that was given is changed; build a new one":
        _in_place,
    "the parts come back as they were. Either no pair is found (a list never equals a tuple: compare "
    "tuple(parts[i : i + 2]) with pair), or the two are put back unjoined; one part is wanted, first + second":
        lambda parts, pair: list(parts),
    "a pair at the very end is not joined: the last i that has a neighbor is len(parts) - 2, so ask whether "
    "i + 1 < len(parts)":
        _but_at_the_end,
    "only the first of the two is compared; both must be those of the pair":
        lambda parts, pair: _merged(parts, pair, same=lambda a, b, pair: a == pair[0]),
    "everything between the pairs is lost":
        (lambda parts, pair: [part for part in _merged(parts, pair) if part == pair[0] + pair[1]],
         lambda parts, pair: [a + b for a, b in pairwise(parts) if (a, b) == pair]),
    "parts that were joined are joined on: a merge makes one pass, and what it made is not looked at again":
        lambda parts, pair: _merged_again(parts, pair),
})  # fmt: skip


def _merged_again(parts, pair):
    """What is joined takes all that follows of the same kind, so that a run becomes one part."""
    merged = []
    for part in _merged(parts, pair):
        if merged and part == merged[-1][-len(part) :] == pair[0] + pair[1]:
            merged[-1] += part
        else:
            merged.append(part)
    return merged


# Encode one piece -----------------------------------------------------------------------------------------------------


@cache
def _tokenizer():
    """A small real tokenizer with special tokens, trained on a dozen words and some more."""
    return BPETokenizer.train(TEXT, 300, SPECIAL)


def _pieces():
    """Pieces whose order of merges matters, in which a join makes an early merge possible, with overlaps, and empty."""
    toy = _ranks("w e", "s t", "l o", "a a", "we st", "n e", "ne west", "lo w", "we r")
    for piece in ("we", "low", "lower", "lowest", "newest", "aaaaa", "", "x", " wooed", "é"):
        yield piece, toy
    yield "abc", _ranks("b c", "a b", "a bc")
    yield "abab", _ranks("b a", "a b")
    yield "abcd", _ranks("a b", "c d", "b c", "bc d")
    yield "abcabc", _ranks("b c", "a bc", "abc a", "ab c", "a b")
    yield "é领é", {(b"\xc3", b"\xa9"): 0, (b"\xe9", b"\xa2"): 1, (b"\xe9\xa2", b"\x86"): 2}
    yield "aabaab", _ranks("a b", "a ab", "a a", "aab aab")
    yield "low", {}
    yield "xyxyz", {(b"x", b"y"): 1, (b"y", b"z"): 0, (b"xy", b"xy"): 2}
    yield "baba", _ranks("a b", "b a")
    yield "abc", _ranks("a b", "b c", "a bc")  # abc is a token, and the merges end before it


def _no_bytes(arguments, value):
    """What is wrong with the kind of the result, or of its parts."""
    if isinstance(value, bytes):
        return "the parts are glued together; the result is the list of parts"
    for part in value if isinstance(value, list) else ():
        if isinstance(part, str):
            return (
                "the parts are str, and `ranks` has pairs of bytes, so none is found; begin with the UTF-8 bytes, "
                "each alone, and decode nothing"
            )
        if isinstance(part, int):
            return "numbers come back; a part is bytes, not an id or a rank"
    return ""


@exercise(
    "tokenization.encode_piece",
    title="Encode one piece",
    prompt="Apply learned merges to one piece of text: the neighbors with the lowest rank first, until none have one.",
    hints=(
        'Begin with the UTF-8 bytes, each alone: [bytes([b]) for b in piece.encode("utf-8")].',
        "Look up the rank of every neighboring pair, take the lowest, join that pair at its leftmost place, and look "
        "again: the join makes new pairs. Stop when no neighboring pair has a rank.",
        "min(..., default=None) helps where nothing is left to join: an empty piece and a single byte have no pairs.",
    ),
    inputs=_pieces,
    symptoms=(_no_bytes,),
    keeps=("ranks",),
    difficulty=3,
    minutes=11,
)
def my_encode_piece(piece, ranks):
    """The parts of a piece, a list of bytes. ranks: {pair of bytes: its rank, 0 the earliest}."""
    parts = [bytes([byte]) for byte in piece.encode("utf-8")]
    while True:
        pairs = [(parts[i], parts[i + 1]) for i in range(len(parts) - 1)]
        known = [(ranks[pair], i) for i, pair in enumerate(pairs) if pair in ranks]
        if not known:
            return parts
        _, i = min(known)
        parts[i : i + 2] = [parts[i] + parts[i + 1]]


def _joined(parts, ranks, order=lambda rank, i, pair: (rank, i), *, rounds=10**6):
    """Join the pair that comes first in an order, again and again."""
    parts = list(parts)
    while rounds:
        known = [(order(ranks[pair], i, pair), i) for i, pair in enumerate(pairwise(parts)) if pair in ranks]
        if not known:
            break
        i = min(known)[1]
        parts[i : i + 2] = [parts[i] + parts[i + 1]]
        rounds -= 1
    return parts


def _by(order, rounds=10**6):
    return lambda piece, ranks: _joined(split_bytes(piece), ranks, order, rounds=rounds)


def _everywhere(piece, ranks, *, choose=lambda pairs, ranks: min(pairs, key=ranks.get), rounds=10**6):
    """Join the chosen pair at all its places, again and again."""
    parts = split_bytes(piece)
    while rounds and (known := [pair for pair in pairwise(parts) if pair in ranks]):
        parts = _merged(parts, choose(known, ranks))
        rounds -= 1
    return parts


def _else(piece, ranks, default):
    """Pairs without a rank have this one; where it is the lowest, the loop ends."""
    parts = split_bytes(piece)
    while len(parts) > 1 and (best := min(pairwise(parts), key=lambda pair: ranks.get(pair, default))) in ranks:
        parts = _merged(parts, best)
    return parts


def _but_rank_0(ranks):
    return {pair: rank for pair, rank in ranks.items() if rank}


def _last_pair_unseen(piece, ranks):
    parts = split_bytes(piece)
    while known := [(ranks[pair], i) for i, pair in enumerate([*pairwise(parts)][:-1]) if pair in ranks]:
        i = min(known)[1]
        parts[i : i + 2] = [parts[i] + parts[i + 1]]
    return parts


def _as_the_dict_has_them(piece, ranks):
    parts = split_bytes(piece)
    for pair in ranks:
        parts = _merged(parts, pair)
    return parts


def _longest_match(piece, ranks):
    rest, parts = piece.encode(), []
    known = {first + second for first, second in ranks}
    while rest:
        n = max(n for n in range(1, len(rest) + 1) if n == 1 or rest[:n] in known)
        parts.append(rest[:n])
        rest = rest[n:]
    return parts


def _one_pass(piece, ranks):
    """From left to right, growing the last part as long as it can; never back."""
    parts = []
    for byte in split_bytes(piece):
        if parts and (parts[-1], byte) in ranks:
            parts[-1] += byte
        else:
            parts.append(byte)
    return parts


def _ranks_seen_once(piece, ranks):
    """The ranks are looked up once, for single bytes, and the joins' new pairs are never looked at."""
    parts = split_bytes(piece)
    for pair in sorted({pair for pair in pairwise(parts) if pair in ranks}, key=ranks.get):
        parts = _merged(parts, pair)
    return parts


my_encode_piece.plant({
    "pairs are joined in the order of the text, or the longest first (which comes to the same, since all begin as "
    "single bytes); the pair with the lowest rank goes first, wherever it stands":
        (_by(lambda rank, i, pair: i), _by(lambda rank, i, pair: (-len(pair[0] + pair[1]), i))),
    "the longest token that fits is cut off at the front, again and again; that is how other tokenizers work. BPE "
    "joins the pair with the lowest rank":
        _longest_match,
    "the pair learned last is joined first; rank 0 was learned first and goes first: min, not max":
        _by(lambda rank, i, pair: (-rank, i)),
    "of equal pairs the rightmost is joined first; in a run such as aaaaa that leaves the wrong letter over":
        _by(lambda rank, i, pair: (rank, -i)),
    "it stops after one join; go on until no neighboring pair has a rank":
        (_by(lambda rank, i, pair: (rank, i), rounds=1), lambda piece, ranks: _everywhere(piece, ranks, rounds=1)),
    "only pairs of single bytes are joined; a join makes new pairs: look up the ranks again after each":
        _ranks_seen_once,
    "it goes through the text once, from the left; look at all pairs after each join, and take the lowest rank":
        (_one_pass,
         lambda piece, ranks: _merged(split_bytes(piece), None, same=lambda a, b, pair: (a, b) in ranks)),
    "rank 0, the earliest, is taken for no rank, since 0 counts as False; ask `is not None`, or `pair in ranks`":
        (lambda piece, ranks: _joined(split_bytes(piece), _but_rank_0(ranks)),
         lambda piece, ranks: _everywhere(piece, _but_rank_0(ranks))),
    "a pair without a rank is given a low one, so it comes first and the loop stops at it; give it float('inf')":
        (lambda piece, ranks: _else(piece, ranks, -1), lambda piece, ranks: _else(piece, ranks, 0)),
    "the pairs are joined in the order in which they stand in the dictionary; their ranks are the order: "
    "for pair in sorted(ranks, key=ranks.get)":
        _as_the_dict_has_them,
    "the pair most frequent in the piece is joined; encoding counts nothing, the lowest rank goes first":
        lambda piece, ranks: _everywhere(
            piece, ranks, choose=lambda pairs, ranks: Counter(pairs).most_common(1)[0][0]
        ),
    "the last pair is never looked at: with n parts there are n − 1 pairs":
        _last_pair_unseen,
    "é became one byte, as in Latin-1; in UTF-8 it has two, and 领 three: piece.encode('utf-8') gives them":
        (lambda piece, ranks: _joined([bytes([byte]) for byte in piece.encode("latin-1")], ranks),
         lambda piece, ranks: _joined([bytes([ord(letter)]) for letter in piece], ranks)),
    "pairs are joined from the right; the pair with the lowest rank goes first, wherever it stands":
        _by(lambda rank, i, pair: -i),
    "the piece is cut into characters; é is one character and two bytes: piece.encode('utf-8') gives the bytes":
        lambda piece, ranks: _joined([letter.encode() for letter in piece], ranks),
    "nothing is joined: these are the bytes":
        lambda piece, ranks: split_bytes(piece),
    "the ranks come back, not the parts; return the list of bytes":
        lambda piece, ranks: [ranks.get(pair) for pair in pairwise(split_bytes(piece))],
    "the parts come back as numbers; a part is bytes: bytes([b])":
        lambda piece, ranks: list(piece.encode()),
})  # fmt: skip


@my_encode_piece.mistake(
    "an empty piece, or one of a single byte, has no pair: min of nothing raises ValueError. Look whether there is a "
    "pair, or give min a default"
)
def _min_of_nothing(piece, ranks):
    parts, never = split_bytes(piece), float("inf")
    while True:
        best = min(pairwise(parts), key=lambda pair: ranks.get(pair, never))
        if best not in ranks:
            return parts
        i = list(pairwise(parts)).index(best)
        parts[i : i + 2] = [parts[i] + parts[i + 1]]


# Decode ---------------------------------------------------------------------------------------------------------------

TOKENS = (
    b"H", b"i", b" there", b"\xc3", b"\xa9", b"\xe9", b"\xa2\x86", b"\n", b" ", b"\xf0\x9f", b"\x91\xa9", b"\xff",
    b"caf", b"\xef\xbb\xbf",
)  # fmt: skip
VOCAB = {(7 * place + 3) % 50: token for place, token in enumerate(TOKENS)}  # in no order and with gaps


def _ids_to_decode():
    """Whole words, characters in pieces, white space at both ends, half a character, a byte order mark, no id."""
    ids_in_order = list(VOCAB)
    for places in (
        [0, 1], [0, 1, 2], [12, 3, 4], [8, 0, 1, 7], [7, 8, 8, 2, 8], [], [5, 6, 2], [9, 10], [0, 3], [4, 0], [11, 1],
        [9, 10, 9, 10], [5, 6, 5], [3, 4, 3, 4, 8], [13, 0], [11, 11],
    ):  # fmt: skip
        yield [ids_in_order[place] for place in places], dict(VOCAB)


def _no_text(arguments, value):
    return "the result is a list; join the bytes, and decode them to one text" if isinstance(value, list) else ""


@exercise(
    "tokenization.decode",
    title="Decode",
    prompt="Turn ids into text. The bytes of one character may lie in several tokens.",
    hints=(
        "vocab[id] is bytes. Join the bytes of all ids first, b''.join(…), and make text of them once, at the end.",
        'Some ids are no whole text, half a character for example: .decode("utf-8", errors="replace") puts � there and '
        "does not raise.",
    ),
    inputs=_ids_to_decode,
    symptoms=(_no_text,),
    keeps=("ids", "vocab"),
    difficulty=1,
    minutes=4,
)
def my_decode(ids, vocab):
    """The text of ids, a str; bytes that are no UTF-8 become U+FFFD (�). vocab: {id: bytes}."""
    return b"".join(vocab[id] for id in ids).decode("utf-8", errors="replace")


def _text(ids, vocab, errors="replace", glue=b""):
    return glue.join(vocab[id] for id in ids).decode("utf-8", errors=errors)


def _or_a_sign(ids, vocab):
    try:
        return _text(ids, vocab, errors="strict")
    except UnicodeDecodeError:
        return "\ufffd"


my_decode.plant({
    "each token is decoded alone, so that a character in two tokens becomes two �; join the bytes first, decode once":
        (lambda ids, vocab: "".join(vocab[id].decode("utf-8", errors="replace") for id in ids),
         lambda ids, vocab: "".join(_or_a_sign([id], vocab) for id in ids)),
    "one bad byte spoils the whole text, and a single � is left of it; errors='replace' puts � for that byte only":
        _or_a_sign,
    "ids are taken for bytes, characters or places in a list; look each up, vocab[id]":
        (lambda ids, vocab: "".join(map(chr, ids)),
         lambda ids, vocab: b"".join([*vocab.values()][id] for id in ids).decode("utf-8", errors="replace")),
    "a byte order mark at the beginning is dropped, as 'utf-8-sig' does; it is part of the text: 'utf-8'":
        lambda ids, vocab: b"".join(vocab[id] for id in ids).decode("utf-8-sig", errors="replace"),
    "bytes beyond ASCII become � each, though é is two of them; decode as UTF-8":
        lambda ids, vocab: b"".join(vocab[id] for id in ids).decode("ascii", errors="replace"),
    "each token is decoded alone, and half a character raises UnicodeDecodeError; join the bytes first, decode once, "
    "with errors='replace'":
        lambda ids, vocab: "".join(vocab[id].decode("utf-8") for id in ids),
    "each token is decoded alone, and the bytes of a character in two tokens vanish; join the bytes first":
        lambda ids, vocab: "".join(vocab[id].decode("utf-8", errors="ignore") for id in ids),
    "half a character raises UnicodeDecodeError: a model may stop in the middle of one. Ask for errors='replace'":
        lambda ids, vocab: _text(ids, vocab, errors="strict"),
    "half a character is dropped without a sign; errors='replace' puts � there":
        lambda ids, vocab: _text(ids, vocab, errors="ignore"),
    "each byte became a character (that is Latin-1, or chr); é needs two bytes: decode as UTF-8":
        lambda ids, vocab: b"".join(vocab[id] for id in ids).decode("latin-1"),
    "spaces or line ends at the beginning or the end are lost; they are part of the text: no strip":
        (lambda ids, vocab: _text(ids, vocab).strip(), lambda ids, vocab: _text(ids, vocab).lstrip()),
    "spaces stand between the tokens; a token brings its own space where the text has one":
        lambda ids, vocab: _text(ids, vocab, glue=b" "),
    "str() of bytes is their spelling, b'…'; bytes.decode makes text of them":
        (lambda ids, vocab: "".join(str(vocab[id]) for id in ids),
         lambda ids, vocab: str(b"".join(vocab[id] for id in ids))),
    "the result is bytes; make text of them, .decode('utf-8', errors='replace')":
        lambda ids, vocab: b"".join(vocab[id] for id in ids),
})  # fmt: skip


# Mend: a document that its text can end -------------------------------------------------------------------------------


def _documents():
    """Harmless texts, texts that spell out special tokens, spaces and line ends at both ends, and the empty text."""
    for text in (
        "low", "", "newest lower", "a </s> b", "</s>", "<s>low</s>", " low", "low\n\n", "</s></s>", "< /s>", "</s",
        "é领</s><s>wide", "\n <s>",
        "low  low",
    ):  # fmt: skip
        yield text, _tokenizer()


def _no_ids(arguments, value):
    """What is wrong with the kind of the result, or of what stands in it."""
    if isinstance(value, str):
        return "the result is text; the list of its ids is wanted"
    for one in value if isinstance(value, list) else ():
        if isinstance(one, list):
            return "a list stands in the list; [start, *ids, end], or [start] + ids + [end], puts its ids there"
        if isinstance(one, str):
            return "a text stands among the ids; the ids of <s> and </s> stand in tokenizer.special_tokens"
    return ""


@exercise(
    "tokenization.document",
    title="A text that ends its own document",
    prompt="A user wrote </s> into a text, and the document ended there. Mend it: what the user writes is only text.",
    hints=(
        'Look at the ids of a text with "</s>" in it. Who asked for the special token: the program, or the user?',
        "Let only the program place special tokens: their ids stand in tokenizer.special_tokens. The user's text goes "
        "through encode alone, with nothing allowed.",
    ),
    inputs=_documents,
    symptoms=(_no_ids,),
    difficulty=2,
    minutes=7,
)
def document_ids(text, tokenizer):
    """The ids of <s>, the user's text, and </s>. Decoded, the text is what the user wrote."""
    start, end = tokenizer.special_tokens["<s>"], tokenizer.special_tokens["</s>"]
    return [start, *tokenizer.encode(text), end]


@document_ids.mend(
    "whatever the text spells out as a special token is one: a user who writes </s> ends the document. Encode the text "
    "with nothing allowed, and place <s> and </s> by their ids"
)
def _smuggled(text, tokenizer):
    return tokenizer.encode("<s>" + text + "</s>", allowed_special="all")


def _framed(text, tokenizer, *, first=True, last=True):
    special = tokenizer.special_tokens
    return [special["<s>"]] * first + tokenizer.encode(text) + [special["</s>"]] * last


def _without(text, *tokens, instead=""):
    for token in tokens:
        text = text.replace(token, instead)
    return text


document_ids.plant({
    "now nothing is allowed, so the program's own <s> and </s> are spelled out in letters as well; put their ids there":
        lambda text, tokenizer: tokenizer.encode("<s>" + text + "</s>"),
    "what the user wrote as <s> or </s> is taken out, so it is lost; it is harmless as ordinary text: encode all of "
    "it":
        (lambda text, tokenizer: _framed(_without(text, "<s>", "</s>"), tokenizer),
         lambda text, tokenizer: _filtered(text, tokenizer)),
    "</s> can no longer be smuggled in, and <s> can: allow the user's text nothing at all":
        lambda text, tokenizer: [*tokenizer.encode("<s>" + text, allowed_special={"<s>"}),
                                 tokenizer.special_tokens["</s>"]],
    "<s> can no longer be smuggled in, and </s> can: allow the user's text nothing at all":
        lambda text, tokenizer: [tokenizer.special_tokens["<s>"],
                                 *tokenizer.encode(text + "</s>", allowed_special={"</s>"})],
    "a text that spells out a special token is refused; it is to be encoded as ordinary text":
        lambda text, tokenizer: _refusing(text, tokenizer),
    "spaces and line ends around the text are lost: no strip":
        lambda text, tokenizer: _framed(text.strip(), tokenizer),
    "the words are encoded one by one after split(), so that spaces and line ends are lost":
        lambda text, tokenizer: _framed("".join(text.split()), tokenizer),
    "spaces and line ends became single spaces: split and join change the text":
        lambda text, tokenizer: _framed(" ".join(text.split()), tokenizer),
    "<s> and </s> have changed places":
        lambda text, tokenizer: [tokenizer.special_tokens["</s>"], *tokenizer.encode(text),
                                 tokenizer.special_tokens["<s>"]],
    "the text is cut off where the user wrote </s>, so the rest of it is lost; encode all of it":
        (lambda text, tokenizer: _smuggled(text.split("</s>")[0], tokenizer),
         lambda text, tokenizer: _framed(text.split("</s>")[0], tokenizer)),
    "the text is changed until it holds no special token any more, but the user did not write that; encode it as it "
    "is, with nothing allowed":
        (lambda text, tokenizer: _smuggled(text.replace("<", "&lt;"), tokenizer),
         lambda text, tokenizer: _smuggled(text.replace("</s>", "< /s>").replace("<s>", "< s>"), tokenizer)),
    "a space in front of < does not help: </s> stands behind it as before. Allow the user's text nothing at all":
        lambda text, tokenizer: _smuggled(text.replace("<", " <"), tokenizer),
    "<s> is missing":
        lambda text, tokenizer: _framed(text, tokenizer, first=False),
    "</s> is missing":
        lambda text, tokenizer: _framed(text, tokenizer, last=False),
    "the special tokens are missing; the document is <s>, the text, </s>":
        lambda text, tokenizer: tokenizer.encode(text),
    "spaces were put around the text; they change its ids":
        lambda text, tokenizer: _framed(f" {text} ", tokenizer),
})  # fmt: skip


def _inner(text, tokenizer):
    special = tokenizer.special_tokens
    return [special["<s>"], *tokenizer.encode(text, allowed_special="all"), special["</s>"]]


def _filtered(text, tokenizer):
    _, *inner, _ = _inner(text, tokenizer)
    special = tokenizer.special_tokens
    return [special["<s>"], *[id for id in inner if id not in special.values()], special["</s>"]]


def _refusing(text, tokenizer):
    if any(token in text for token in tokenizer.special_tokens):
        raise ValueError("special tokens in the text")
    return _framed(text, tokenizer)


# Mend: merges that cross words (optional) -----------------------------------------------------------------------------


def _training_texts():
    """Texts whose best pair lies across a space, in or across a special token, in a frequent word; ties; nothing."""
    for text, n in (
        ("ab ab ab", 1), ("e t e t e t", 2), ("a</s>b</s>c</s>", 1), ("low low low lower", 3), ("aaaa aaaa", 3),
        ("", 2),
        ("he saw a cat\nhe saw a dog\nhe had a hen", 4), ("é领é领", 3), ("<s>so it is</s><s>so be it</s>", 3),
        ("tan ten tin ton", 2), ("newest newest widest  low low low\n\n", 5), ("ab ab ab ac ad ad", 2), ("x", 1),
        ("abcab 12 12 abcab", 9),
        ("<s>lo lo</s><s>we we we</s>", 2), ("<s>we\n</s><s>\n\n</s>", 3), ("a <s>b <s>c</s>", 2),
        ("so, so, so! it's", 4),
    ):  # fmt: skip
        yield text, n, SPECIAL
    yield "ab<|end|>cd<|end|>", 3, ("<|end|>",)


def _no_merges(arguments, value):
    """What is wrong with the kind of what stands in the result."""
    for pair in value if isinstance(value, list) else ():
        if isinstance(pair, bytes):
            return "the two of each pair are glued together; a merge is a pair, as learn_merges returns it"
        if isinstance(pair, list) and not all(isinstance(part, bytes) for part in pair):
            return "the pairs are str or numbers; a word is a tuple of single bytes: tuple(split_bytes(piece))"
    return ""


@exercise(
    "tokenization.learn",
    title="Merges that cross words",
    prompt=(
        "On `he saw a cat </s>` and the like it learns pairs such as (w, space), and it learns from the letters of "
        "</s>. Mend it with `split_special(text, special)` and `split_pieces(part, GPT2_PATTERN)`."
    ),
    hints=(
        "Cut the special tokens out, split_special(text, special), and skip them. Cut what is left into pieces, "
        "split_pieces(part, GPT2_PATTERN); no pair lies across two pieces.",
        "Count equal pieces: words is {tuple(split_bytes(piece)): how often}. A piece that is met again adds 1.",
    ),
    inputs=_training_texts,
    symptoms=(_no_merges,),
    difficulty=2,
    minutes=8,
    optional=True,
)
def learn(text, n_merges, special):
    """The first merges, pairs of bytes; none crosses pieces or comes from special tokens."""
    from llmlab.tokenization import GPT2_PATTERN, learn_merges, split_bytes, split_pieces, split_special

    words = {}
    for part in split_special(text, special):
        if part not in special:
            for piece in split_pieces(part, GPT2_PATTERN):
                word = tuple(split_bytes(piece))
                words[word] = words.get(word, 0) + 1
    return learn_merges(words, n_merges)


@learn.mend(
    "the text is one long word here, so that pairs cross from word to word, and the letters of </s> are learned from "
    "as well: cut special tokens out, then cut the rest into pieces"
)
def _one_long_word(text, n_merges, special):
    from llmlab.tokenization import learn_merges, split_bytes

    words = {tuple(split_bytes(text)): 1}
    return learn_merges(words, n_merges)


def _between(text, special):
    return [part for part in split_special(text, special) if part not in special]


def _gpt2_pieces(part):
    return split_pieces(part, GPT2_PATTERN)


def _learned(text, n, special, *, cut=_between, pieces=_gpt2_pieces, parts=split_bytes, times=None, key=None):
    """`learn` with one step replaced."""
    words = Counter(tuple(parts(piece)) for between in cut(text, special) for piece in pieces(between))
    words = {word: times or count for word, count in words.items()}
    if key is None:
        return learn_merges(words, n)
    merges = []
    while len(merges) < n and (counts := _counted(words)):
        merges.append(max(counts, key=lambda pair: key(counts, pair)))
        words = {tuple(_merged(word, merges[-1])): count for word, count in words.items()}
    return merges


learn.plant({
    "the letters of special tokens are learned from; cut them out of the text first":
        lambda text, n_merges, special: _learned(text, n_merges, special, cut=lambda text, special: [text]),
    "split_special returns the special tokens as well, and their letters are learned from; skip them":
        lambda text, n_merges, special: _learned(text, n_merges, special, cut=split_special),
    "special tokens are replaced, so that what stood around them becomes one text; cut there, with split_special":
        (lambda text, n_merges, special: _learned(_without(text, *special), n_merges, ()),
         lambda text, n_merges, special: _learned(_without(text, *special, instead=" "), n_merges, ()),
         lambda text, n_merges, special: _learned("\n".join(_between(text, special)), n_merges, ())),
    "only </s> is cut out; `special` holds all the special tokens":
        lambda text, n_merges, special: _learned(text, n_merges, ("</s>",)),
    "merges are learned of each document by itself; count the pieces of all documents first, then learn once":
        lambda text, n_merges, special: [
            pair for part in _between(text, special) for pair in _learned(part, n_merges, ())
        ][:n_merges],
    "pairs still cross from word to word: cut what is left between special tokens into pieces, split_pieces":
        lambda text, n_merges, special: _learned(text, n_merges, special, pieces=lambda part: [part]),
    "spaces and line ends are lost: split() throws them away, and a piece keeps the space before its word":
        lambda text, n_merges, special: _learned(text, n_merges, special, pieces=str.split),
    "the pieces are stripped; the space before a word belongs to its piece, and a line end is a piece too: no strip":
        lambda text, n_merges, special: _learned(
            text, n_merges, special, pieces=lambda part: [piece.strip() for piece in _gpt2_pieces(part)]
        ),
    "another pattern cuts the text, one that parts a word from the space before it: split_pieces(part, GPT2_PATTERN)":
        lambda text, n_merges, special: _learned(
            text, n_merges, special, pieces=lambda part: re.findall(r"\w+|\W+", part)
        ),
    "characters are the parts, so é is one from the start; the parts are bytes, and é has two: split_bytes(piece)":
        lambda text, n_merges, special: _learned(
            text, n_merges, special, parts=lambda piece: [letter.encode() for letter in piece]
        ),
    "each distinct piece counts once; a piece that occurs 5 times counts 5 times":
        lambda text, n_merges, special: _learned(text, n_merges, special, times=1),
    "ties go to the pair met first, which depends on the order of the texts; learn_merges gives them to the greater "
    "bytes":
        lambda text, n_merges, special: _learned(text, n_merges, special, key=lambda counts, pair: counts[pair]),
    "the rarest pair is merged first; the most frequent is wanted":
        lambda text, n_merges, special: _learned(
            text, n_merges, special, key=lambda counts, pair: (-counts[pair], pair)
        ),
    "one merge too many":
        lambda text, n_merges, special: _learned(text, n_merges + 1, special),
    "one merge too few":
        lambda text, n_merges, special: _learned(text, n_merges - 1, special),
})  # fmt: skip


EXERCISES = (my_count_pairs, my_merge, my_encode_piece, my_decode, document_ids, learn)

PREDICTIONS = (
    Prediction(
        id="tokenization.family",
        text="A family of three, 👩‍👩‍👧, is one picture on the screen. Of how many bytes does it consist in UTF-8?",
        unit="bytes",
    ),
)

QUESTIONS = (
    Question(
        id="tokenization.earliest",
        text="Why does the earliest-learned merge go first when a text is encoded?",
        options=(
            "It gives the fewest tokens",
            "It is the most frequent pair in the text that is encoded",
            "Training joined the pairs in that order, so a word gets the tokens that it had when training ended",
            "It is the fastest order",
        ),
        answer=2,
        why=(
            "Often, but nothing guarantees it: no step looks ahead.",
            "Encoding counts nothing. The counts were those of the training text, and only the order is left of them.",
            "A later merge was counted on what earlier merges had left. In another order a model meets tokens where "
            "its own training never had them.",
            "Speed depends on how the pairs are found, not on the order.",
        ),
    ),
    Question(
        id="tokenization.other_ids",
        text="When is encode(decode(ids)) not ids?",
        options=(
            "When the ids are not those that encode would have chosen, for example l and o where lo is a token",
            "Whenever the text holds characters outside ASCII",
            "Never: a byte-level tokenizer loses nothing",
            "When the text is longer than the model's context",
        ),
        answer=0,
        why=(
            "Many lists of ids spell the same text, and encode gives one of them. Half a character is such a case "
            "too: it decodes to �, which has bytes of its own.",
            "é and 领 come back as they were: their bytes do.",
            "It loses no text: decode(encode(text)) is text. The other way round is another claim.",
            "The context limits what a model reads; the tokenizer knows nothing of it.",
        ),
    ),
    Question(
        id="tokenization.smuggle",
        text="Your program puts a user's text between <s> and </s>. How do you keep the user from ending it early?",
        options=(
            "Delete every </s> from the text",
            "Encode the text with no special token allowed, and place <s> and </s> by their ids",
            "Tell the model in the prompt to ignore what the user says about </s>",
            "Put a space in front of every <",
        ),
        answer=1,
        why=(
            "A text about special tokens, such as this one, could then not be written; and </</s>s> becomes </s>.",
            "Then </s> in the text is four characters like any others, and nothing is lost.",
            "The tokenizer runs before the model and reads no instruction.",
            "It changes the text and does not help: behind the space </s> stands as before.",
        ),
    ),
)
