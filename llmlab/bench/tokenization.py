"""Training and encoding beside the Rust libraries `tokenizers` and `tiktoken`, with the same merges."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from .. import data_path, world
from ..tokenization import BPETokenizer
from . import Row, alternate

TRAIN_BYTES, ENCODE_BYTES, VOCAB_SIZE = 133_000, 5_000_000, 500
# The most that ours may take of their time. Most words of the world's text come again, and the ids of a piece are
# remembered. Words that hardly repeat are merged anew each time, in Python here and in Rust there: beside tiktoken that
# is a figure without a goal, and the goal beside tokenizers leaves room for how much a machine's timings vary.
BOUNDS = {
    ("world text", "tokenizers"): 1,
    ("world text", "tiktoken"): 3,
    ("words that hardly repeat", "tokenizers"): 1.2,
    ("mixed scripts", "tokenizers"): 1,
}


def english_text() -> str:
    """The Python documentation topics of the standard library: about 0.46 MB of real prose."""
    from pydoc_data.topics import topics

    return "\n".join(topics[name] for name in sorted(topics))


def world_text(n_bytes: int) -> str:
    """Documents of the world that the shipped model is trained on."""
    texts, size = [], 0
    for document in world.documents(0):
        texts.append(document.text)
        size += len(document.text.encode()) + 1
        if size >= n_bytes:
            return _head("\n".join(texts), n_bytes)


def invented_words(n_bytes: int, seed: int = 0) -> str:
    """Words of two to four syllables that can be spoken, drawn from so many that they hardly repeat."""
    rng = random.Random(seed)
    onsets = [*"bcdfghjklmnprstvwz", "br", "st", "ch", "sh", "tr", "pl"]
    vowels, ends = [*"aeiou", "ai", "ou", "ea"], ["", "n", "r", "s", "st", "l", "ng"]
    syllables = [onset + vowel + end for onset in onsets for vowel in vowels for end in ends]
    return _words(lambda: "".join(rng.choices(syllables, k=rng.randint(2, 4))), n_bytes)


def mixed_scripts(n_bytes: int, seed: int = 0) -> str:
    """Random words of two to seven characters, each word in one of eight scripts."""
    rng = random.Random(seed)
    scripts = ["一鿿", "가힣", "ая", "את", "ぁゖ", "az", "😀🙏", "अह"]  # first and last character of each

    def word() -> str:
        first, last = map(ord, rng.choice(scripts))
        return "".join(chr(rng.randint(first, last)) for _ in range(rng.randint(2, 7)))

    return _words(word, n_bytes)


def _words(word: Callable[[], str], n_bytes: int) -> str:
    words, size = [], 0
    while size < n_bytes:
        words.append(word())
        size += len(words[-1].encode()) + 1
    return _head(" ".join(words), n_bytes)


def benchmark() -> Iterator[Row]:
    """Training 133 kB to 500 tokens; encoding 5 MB of three texts, ours with an empty cache each time; decoding."""
    small = _head(english_text(), TRAIN_BYTES)
    seconds, theirs = alternate(lambda: BPETokenizer.train(small, VOCAB_SIZE), lambda: train_tokenizers(small))
    yield _row("BPE training, 133 kB to 500 tokens: tokenizers", seconds, theirs, 8)

    ours = BPETokenizer.load(data_path("tokenizer.json"))
    texts = {"world text": world_text, "words that hardly repeat": invented_words, "mixed scripts": mixed_scripts}
    for what, write in texts.items():
        text = write(ENCODE_BYTES)
        ids = ours.encode(text)
        for name, encode, decode in others(ours):
            if list(encode(text)) != ids or decode(ids) != text:
                raise AssertionError(f"{name} encodes differently; the comparison would mean nothing")
            seconds, theirs = alternate(partial(_encode_afresh, ours, text), partial(encode, text), repeats=3)
            yield _row(f"encoding 5 MB, {what}: {name}", seconds, theirs, BOUNDS.get((what, name)))
            if what == "world text":
                seconds, theirs = alternate(partial(ours.decode, ids), partial(decode, ids), repeats=3)
                yield _row(f"decoding 5 MB, {what}: {name}", seconds, theirs)


def _encode_afresh(tokenizer: BPETokenizer, text: str) -> list[int]:
    return BPETokenizer(tokenizer.vocab, tokenizer.merges, tokenizer.special_tokens, tokenizer.pattern).encode(text)


def train_tokenizers(text: str):
    """The Rust library's byte-level BPE trained on `text`."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    theirs = Tokenizer(models.BPE())
    theirs.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=VOCAB_SIZE, initial_alphabet=alphabet, show_progress=False)
    theirs.train_from_iterator([text], trainer)
    return theirs


def others(ours: BPETokenizer) -> Iterator[tuple]:
    """(name, encode, decode) of each library that is installed, given our merges."""
    from tokenizers import Tokenizer

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tokenizer.json"
        ours.save(path)
        theirs = Tokenizer.from_file(str(path))
    yield "tokenizers", lambda text: theirs.encode(text).ids, partial(theirs.decode, skip_special_tokens=False)
    try:
        import tiktoken
    except ImportError:
        return  # a dependency of the tests only
    ranks = {token: id for id, token in ours.vocab.items() if id not in ours.special_tokens.values()}
    fast = tiktoken.Encoding("ours", pat_str=ours.pattern, mergeable_ranks=ranks, special_tokens=ours.special_tokens)
    yield "tiktoken", fast.encode_ordinary, fast.decode


def _row(what: str, ours: float, theirs: float, bound: float | None = None) -> Row:
    if bound is None:
        return Row(what, 1000 * ours, 1000 * theirs, "ms")
    return Row(what, 1000 * ours, 1000 * theirs, "ms", f"<= {bound:g}×", ours <= bound * theirs)


def _head(text: str, n_bytes: int) -> str:
    return text.encode()[:n_bytes].decode(errors="ignore")
