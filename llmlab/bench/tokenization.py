"""Training and encoding beside the Rust libraries `tokenizers` and `tiktoken`, with the same merges."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from ..tokenization import GPT2_PATTERN, BPETokenizer
from . import Row, alternate

TRAIN_BYTES, ENCODE_BYTES, VOCAB_SIZE = 133_000, 5_000_000, 500


def english_text() -> str:
    """The Python documentation topics of the standard library: about 0.46 MB of real prose."""
    from pydoc_data.topics import topics

    return "\n".join(topics[name] for name in sorted(topics))


def benchmark() -> Iterator[Row]:
    """Training 133 kB to 500 tokens; encoding 5 MB, ours with an empty cache each time; decoding it."""
    text = english_text()
    small = _head(text, TRAIN_BYTES)
    big = _head(text * (ENCODE_BYTES // len(text.encode()) + 1), ENCODE_BYTES)

    seconds, theirs = alternate(lambda: BPETokenizer.train(small, VOCAB_SIZE), lambda: train_tokenizers(small))
    yield _row("BPE training, 133 kB to 500 tokens: tokenizers", seconds, theirs, 8)

    ours = BPETokenizer.train(small, VOCAB_SIZE)
    ids = ours.encode(big)
    for name, encode, decode in others(ours):
        if list(encode(big)) != ids or decode(ids) != big:
            raise AssertionError(f"{name} encodes differently; the comparison would mean nothing")
        fresh = partial(_encode_afresh, ours, big)
        seconds, theirs = alternate(fresh, partial(encode, big), repeats=3)
        yield _row(f"encoding 5 MB: {name}", seconds, theirs, 15)
        seconds, theirs = alternate(partial(ours.decode, ids), partial(decode, ids), repeats=3)
        yield _row(f"decoding 5 MB: {name}", seconds, theirs)


def _encode_afresh(tokenizer: BPETokenizer, text: str) -> list[int]:
    return BPETokenizer(tokenizer.vocab, tokenizer.merges).encode(text)


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
    yield "tokenizers", lambda text: theirs.encode(text).ids, theirs.decode
    try:
        import tiktoken
    except ImportError:
        return  # a dependency of the tests only
    ranks = {token: rank for rank, token in ours.vocab.items()}
    fast = tiktoken.Encoding("ours", pat_str=GPT2_PATTERN, mergeable_ranks=ranks, special_tokens={})
    yield "tiktoken", fast.encode_ordinary, fast.decode


def _row(what: str, ours: float, theirs: float, bound: float | None = None) -> Row:
    if bound is None:
        return Row(what, 1000 * ours, 1000 * theirs, "ms")
    return Row(what, 1000 * ours, 1000 * theirs, "ms", f"<= {bound:g}×", ours <= bound * theirs)


def _head(text: str, n_bytes: int) -> str:
    return text.encode()[:n_bytes].decode(errors="ignore")
