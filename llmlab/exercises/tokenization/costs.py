"""Exercises, questions and predictions of notebook 03b_tokenization_costs."""

from __future__ import annotations

import itertools
import math
from functools import lru_cache
from statistics import fmean

from ...tokenization import BPETokenizer
from ..records import Prediction, Question, exercise

SPECIAL = ("<s>", "</s>")


@lru_cache(maxsize=4)
def _small(vocab_size, special_tokens=()):
    """A tokenizer of a few merges, most of them English; of other characters only ä is one token."""
    text = "the train and the tree by the river, a hat and a bath, then the other one; ä ä ä ä " * 3
    return BPETokenizer.train(text, vocab_size, special_tokens)


# Bits per byte --------------------------------------------------------------------------------------------------------


def _losses():
    return (
        (2.0, 4, "the tree"),
        (3.5, 10, "Grüße aus Köln"),
        (0.7, 3, "领先"),
        (1.25, 20, "a long letter from Berlin"),
        (0.0, 2, "the"),
        (5.5, 7, "🌉🌊"),
        (1.5, 4, " so it was\n"),
    )


@exercise(
    "tokenization.bits_per_byte",
    title="Bits per byte",
    prompt="Turn a loss per token into bits per byte.",
    hints=(
        "The loss is a mean over tokens. How much surprise is there in the whole text?",
        "A nat is 1 / ln 2 bits: divide nats by math.log(2).",
        "Share the bits out over the bytes of the text, len(text.encode()), not over its characters.",
    ),
    inputs=_losses,
    difficulty=1,
    minutes=6,
)
def bits_per_byte(loss, n_tokens, text):
    """Bits per UTF-8 byte of a text of n_tokens tokens with a mean surprise of `loss` nats."""
    return loss * n_tokens / math.log(2) / len(text.encode())


bits_per_byte.plant({
    "these are nats per byte; a nat is 1 / ln 2 bits, so divide by math.log(2) too":
        lambda loss, n_tokens, text: loss * n_tokens / len(text.encode()),
    "these are bits per token: take the whole text, loss · n_tokens, and share it out over its bytes":
        lambda loss, n_tokens, text: loss / math.log(2),
    "these are bits per character; a character may have several bytes: len(text.encode())":
        lambda loss, n_tokens, text: loss * n_tokens / math.log(2) / len(text),
    "these are nats per character; divide by math.log(2), and by the bytes, len(text.encode())":
        lambda loss, n_tokens, text: loss * n_tokens / len(text),
    "nats are multiplied by ln 2; there are more bits than nats, so divide":
        lambda loss, n_tokens, text: loss * n_tokens * math.log(2) / len(text.encode()),
    "the loss is the mean over tokens, not the sum: multiply by n_tokens":
        lambda loss, n_tokens, text: loss / math.log(2) / len(text.encode()),
    "tokens and bytes are exchanged: the more tokens a text has, the more surprise there is in it":
        lambda loss, n_tokens, text: loss * len(text.encode()) / n_tokens / math.log(2),
    "an eighth of it: the surprise is in bits, but it is shared out over bytes, not over the 8 bits of each":
        lambda loss, n_tokens, text: loss * n_tokens / math.log(2) / (8 * len(text.encode())),
    "eight times too much: a byte is one byte, not eight":
        lambda loss, n_tokens, text: 8 * loss * n_tokens / math.log(2) / len(text.encode()),
    "that is the perplexity, e to the loss; the bits of a token are loss / ln 2":
        lambda loss, n_tokens, text: math.exp(loss),
    "the loss is a logarithm already; do not take one of it. A nat is 1 / ln 2 bits":
        (
            lambda loss, n_tokens, text: math.log2(loss) * n_tokens / len(text.encode()),
            lambda loss, n_tokens, text: math.log2(loss * n_tokens) / len(text.encode()),
        ),
    "the unit is not changed, and neither is the share: this is the loss itself":
        lambda loss, n_tokens, text: loss,
    "that is a logarithm to the base 10; ln 2 is math.log(2)":
        (
            lambda loss, n_tokens, text: loss * n_tokens / math.log(10) / len(text.encode()),
            lambda loss, n_tokens, text: loss * n_tokens / math.log10(2) / len(text.encode()),
        ),
    "the sum over the whole text is right, and in bits; share it out over the bytes":
        lambda loss, n_tokens, text: loss * n_tokens / math.log(2),
    "these are bits per word; len(text.encode()) counts the bytes":
        lambda loss, n_tokens, text: loss * n_tokens / math.log(2) / len(text.split()),
    "a / b * c divides by b alone and multiplies by c; both below the line: a / (b * c), or a / b / c":
        lambda loss, n_tokens, text: loss * n_tokens / math.log(2) * len(text.encode()),
    "spaces and line ends are bytes too":
        (
            lambda loss, n_tokens, text: loss * n_tokens / math.log(2) / len(text.strip().encode()),
            lambda loss, n_tokens, text: loss * n_tokens / math.log(2) / len(text.rstrip().encode()),
            lambda loss, n_tokens, text: loss * n_tokens / math.log(2) / len(text.replace("\n", "").encode()),
            lambda loss, n_tokens, text: loss * n_tokens / math.log(2) / len(text.replace(" ", "").encode()),
            lambda loss, n_tokens, text: loss * n_tokens / math.log(2) / len("".join(text.split()).encode()),
        ),
})  # fmt: skip


# Tokens per character -------------------------------------------------------------------------------------------------


def _texts():
    for vocab_size, texts in (
        (290, ["the tree", "a hat"]), (290, ["t", "he"]), (290, ["领先", "the river and the train by the tree"]),
        (275, ["", "then"]), (290, ["Käse", "a", "🌉"]), (270, ["the", " bath", "other\n"]),
        (290, ["the", " bath", "the"]),
    ):  # fmt: skip
        yield _small(vocab_size), texts
    yield _small(290, SPECIAL), ["a </s> hat", "the"]


@exercise(
    "tokenization.tokens_per_character",
    title="The price of some texts",
    prompt="How many tokens does a character cost, over several texts together?",
    hints=(
        "A bill adds up: tokens of all texts, over characters of all texts. A text of one character must not count as "
        "much as one of a thousand.",
        "Encode each text alone; joined, their ends could merge.",
    ),
    inputs=_texts,
    keeps=("texts",),
    difficulty=1,
    minutes=5,
)
def tokens_per_character(tokenizer, texts):
    """Tokens per character over all texts together, each encoded alone. Some may be empty, not all."""
    n_tokens = sum(len(tokenizer.encode(text)) for text in texts)
    return n_tokens / sum(len(text) for text in texts)


def _count(tokenizer, texts):
    return sum(len(tokenizer.encode(text)) for text in texts)


tokens_per_character.plant({
    "that is the mean of each text's ratio, so a short text counts as much as a long one: divide sums":
        (
            lambda tokenizer, texts: fmean(len(tokenizer.encode(t)) / len(t) for t in texts),
            lambda tokenizer, texts: fmean(len(tokenizer.encode(t)) / len(t) for t in texts if t),
            lambda tokenizer, texts: fmean(len(tokenizer.encode(t)) / max(1, len(t)) for t in texts),
        ),
    "the ratios are added up; divide the sum of tokens by the sum of characters":
        lambda tokenizer, texts: sum(len(tokenizer.encode(t)) / len(t) for t in texts if t),
    "these are characters per token; tokens per character is the other way round":
        lambda tokenizer, texts: sum(map(len, texts)) / _count(tokenizer, texts),
    "these are tokens per byte: len(text) counts characters":
        lambda tokenizer, texts: _count(tokenizer, texts) / sum(len(t.encode()) for t in texts),
    "the texts are joined before they are encoded, so that the end of one merges with the beginning of the next":
        lambda tokenizer, texts: len(tokenizer.encode("".join(texts))) / sum(map(len, texts)),
    "the texts are joined with something between them, which costs tokens too":
        (
            lambda tokenizer, texts: len(tokenizer.encode(" ".join(texts))) / len(" ".join(texts)),
            lambda tokenizer, texts: len(tokenizer.encode("\n".join(texts))) / len("\n".join(texts)),
            lambda tokenizer, texts: len(tokenizer.encode(" ".join(texts))) / sum(map(len, texts)),
            lambda tokenizer, texts: len(tokenizer.encode("\n".join(texts))) / sum(map(len, texts)),
        ),
    "these are tokens per word; a language without spaces has no such words. Count characters":
        lambda tokenizer, texts: _count(tokenizer, texts) / max(1, sum(len(t.split()) for t in texts)),
    "these are tokens per text; divide by the characters":
        lambda tokenizer, texts: _count(tokenizer, texts) / len(texts),
    "the number of tokens comes back; divide it by the number of characters":
        lambda tokenizer, texts: _count(tokenizer, texts),
    "spaces are characters too, at the ends and inside":
        (
            lambda tokenizer, texts: _count(tokenizer, texts) / sum(len(t.replace(" ", "")) for t in texts),
            lambda tokenizer, texts: _count(tokenizer, texts) / sum(len(t.strip()) for t in texts),
            lambda tokenizer, texts: _count(tokenizer, [t.strip() for t in texts])
            / sum(len(t.strip()) for t in texts),
        ),
    "one ratio for each text comes back; one for all is asked":
        lambda tokenizer, texts: [len(tokenizer.encode(t)) / len(t) for t in texts if t],
    "different tokens are counted; each counts as often as it occurs":
        lambda tokenizer, texts: len({i for t in texts for i in tokenizer.encode(t)}) / sum(map(len, texts)),
    "only the first text is counted":
        lambda tokenizer, texts: _count(tokenizer, texts[:1]) / len(texts[0]),
    "only the characters of the last text are counted":
        lambda tokenizer, texts: _count(tokenizer, texts) / len(texts[-1]),
    "a text that comes twice is counted once; it costs twice":
        lambda tokenizer, texts: _count(tokenizer, set(texts)) / sum(map(len, set(texts))),
    "</s> in a text counts as one special token; it is text like any other unless the caller allows it":
        lambda tokenizer, texts: sum(len(tokenizer.encode(t, allowed_special="all")) for t in texts)
        / sum(map(len, texts)),
})  # fmt: skip


# What fits into a context ---------------------------------------------------------------------------------------------


def _too_long():
    for vocab_size, text, n_tokens in (
        (290, "the tree", 1), (290, "领先一步", 4), (290, "领先", 3), (290, "the river", 0), (270, "a hat", 50),
        (290, "Käse 🌉 and bread", 7), (290, "a sign \ufffd and more", 6), (290, "ö", 1), (290, "hat and \n  bath", 6),
        (290, "lost \ufffd领", 8), (290, "ää und Ö", 3), (290, "\u2014 tree", 2), (290, " the tree", 1),
        (290, "a🌉", 4), (290, "athen", 1), (290, "hat ä", 3), (290, "a \ufffd", 3),
    ):  # fmt: skip
        yield text, _small(vocab_size), n_tokens
    yield "a </s> hat", _small(290, SPECIAL), 4
    yield "a ö", BPETokenizer.train(" ö ü ß é ç" * 4, 258), 2  # its second token: a space and the first byte of ö


@exercise(
    "tokenization.fit",
    title="What fits into a context",
    prompt="Cut a text to its first tokens without cutting a character in two.",
    hints=(
        'Try "领先一步" with 4 tokens of `english`: each character has three bytes. What does `english` decode?',
        "Where the cut goes through a character, its first bytes are left over. They are bytes, so look at "
        "tokenizer.decode_bytes(ids).",
        'bytes.decode takes errors="ignore", which leaves out what is no whole character. (A � that stands in the text '
        "is one: it has bytes of its own.)",
    ),
    inputs=_too_long,
    difficulty=2,
    minutes=8,
)
def fit(text, tokenizer, n_tokens):
    """The text of its first n_tokens tokens, without a character of which only a part is there."""
    ids = tokenizer.encode(text)[:n_tokens]
    return tokenizer.decode_bytes(ids).decode("utf-8", errors="ignore")


def _first(text, tokenizer, n_tokens):
    return tokenizer.encode(text)[:n_tokens]


fit.plant({
    "a character is cut, and a � stands for its first bytes: decode the bytes and leave out what is not whole":
        lambda text, tokenizer, n_tokens: tokenizer.decode(_first(text, tokenizer, n_tokens)),
    "a � that stands in the text itself is lost: it is a character like others, U+FFFD. Leave out only bytes that are "
    "no whole character":
        (
            lambda text, tokenizer, n_tokens: tokenizer.decode(_first(text, tokenizer, n_tokens)).rstrip("\ufffd"),
            lambda text, tokenizer, n_tokens: tokenizer.decode(_first(text, tokenizer, n_tokens)).replace("\ufffd", ""),
            lambda text, tokenizer, n_tokens: _whole_tokens(text, tokenizer, n_tokens),
        ),
    "these are the first characters; a token may hold several, or a part of one":
        lambda text, tokenizer, n_tokens: text[:n_tokens],
    "these are the first bytes; a token may hold several":
        lambda text, tokenizer, n_tokens: text.encode()[:n_tokens].decode("utf-8", errors="ignore"),
    "the ids come back; the text is asked":
        lambda text, tokenizer, n_tokens: _first(text, tokenizer, n_tokens),
    "bytes come back; the text is asked":
        (
            lambda text, tokenizer, n_tokens: tokenizer.decode_bytes(_first(text, tokenizer, n_tokens)),
            lambda text, tokenizer, n_tokens: tokenizer.decode_bytes(_first(text, tokenizer, n_tokens))
            .decode("utf-8", errors="ignore").encode(),
            lambda text, tokenizer, n_tokens: text.encode()[:n_tokens],
        ),
    "the end of the text is kept; asked are the first tokens":
        lambda text, tokenizer, n_tokens: tokenizer.decode_bytes(tokenizer.encode(text)[-n_tokens:])
        .decode("utf-8", errors="ignore"),
    "one token too many":
        lambda text, tokenizer, n_tokens: tokenizer.decode_bytes(_first(text, tokenizer, n_tokens + 1))
        .decode("utf-8", errors="ignore"),
    "one token too few: exactly n_tokens fit":
        (
            lambda text, tokenizer, n_tokens: tokenizer.decode_bytes(_first(text, tokenizer, max(0, n_tokens - 1)))
            .decode("utf-8", errors="ignore"),
            lambda text, tokenizer, n_tokens: tokenizer.decode_bytes(_first(text, tokenizer, n_tokens - 1))
            .decode("utf-8", errors="ignore"),
        ),
    "the spaces and line ends at the ends are lost; they are a part of the text":
        (
            lambda text, tokenizer, n_tokens: tokenizer.decode_bytes(_first(text, tokenizer, n_tokens))
            .decode("utf-8", errors="ignore").strip(),
            lambda text, tokenizer, n_tokens: tokenizer.decode_bytes(_first(text, tokenizer, n_tokens))
            .decode("utf-8", errors="ignore").rstrip(),
            lambda text, tokenizer, n_tokens: tokenizer.decode_bytes(_first(text.strip(), tokenizer, n_tokens))
            .decode("utf-8", errors="ignore"),
        ),
    "each character is encoded alone, which takes more tokens than the text: merges join several":
        lambda text, tokenizer, n_tokens: _one_by_one(text, tokenizer, n_tokens),
    "where the cut goes through a character, bytes.decode raises; tell it what to do with errors":
        lambda text, tokenizer, n_tokens: tokenizer.decode_bytes(_first(text, tokenizer, n_tokens)).decode("utf-8"),
    "where the cut goes through a character, nothing is left of the text: only that character is to go":
        lambda text, tokenizer, n_tokens: _all_or_nothing(text, tokenizer, n_tokens),
    "each token is decoded alone, so a character whose bytes are in several tokens is lost; join the bytes first":
        (
            lambda text, tokenizer, n_tokens: "".join(
                tokenizer.decode_bytes([i]).decode("utf-8", errors="ignore") for i in _first(text, tokenizer, n_tokens)
            ),
            lambda text, tokenizer, n_tokens: "".join(tokenizer.decode([i]) for i in _first(text, tokenizer, n_tokens)),
        ),
    "letters and signs beyond ASCII are thrown out; UTF-8 holds them":
        lambda text, tokenizer, n_tokens: tokenizer.decode_bytes(_first(text, tokenizer, n_tokens))
        .decode("ascii", errors="ignore"),
    "words are counted; a word may be several tokens":
        lambda text, tokenizer, n_tokens: " ".join(text.split()[:n_tokens]),
    "a token can hold whole characters and a part of one; only the part is to go":
        lambda text, tokenizer, n_tokens: _until_it_decodes(text, tokenizer, n_tokens),
    "a shorter text may be cut otherwise: take the first tokens of the whole text":
        (
            lambda text, tokenizer, n_tokens: max(_that_fit(text, tokenizer, n_tokens), key=len),
            lambda text, tokenizer, n_tokens: _as_long_as_it_fits(text, tokenizer, n_tokens),
        ),
    "a whole character at the end is lost too; only a part of one is to go":
        (
            lambda text, tokenizer, n_tokens: tokenizer.decode_bytes(_first(text, tokenizer, n_tokens))
            .rstrip(bytes(range(128, 256))).decode(),
            lambda text, tokenizer, n_tokens: tokenizer.decode_bytes(_first(text, tokenizer, n_tokens))
            .decode("utf-8", errors="ignore")[:-1],
            lambda text, tokenizer, n_tokens: tokenizer.decode_bytes(_first(text, tokenizer, n_tokens))[:-1]
            .decode("utf-8", errors="ignore"),
        ),
    "</s> in the text is taken for the special token; it is text like any other unless the caller allows it":
        lambda text, tokenizer, n_tokens: tokenizer.decode_bytes(
            tokenizer.encode(text, allowed_special="all")[:n_tokens]
        ).decode("utf-8", errors="ignore"),
})  # fmt: skip


def _whole_tokens(text, tokenizer, n_tokens):
    """Tokens taken back until no � is at the end."""
    ids = tokenizer.encode(text)[:n_tokens]
    while ids and tokenizer.decode(ids).endswith("\ufffd"):
        ids = ids[:-1]
    return tokenizer.decode(ids)


def _until_it_decodes(text, tokenizer, n_tokens):
    """Tokens taken back until the bytes are whole characters."""
    ids = tokenizer.encode(text)[:n_tokens]
    while True:
        try:
            return tokenizer.decode_bytes(ids).decode()
        except UnicodeDecodeError:
            ids.pop()


def _that_fit(text, tokenizer, n_tokens):
    """The beginnings of the text that are at most so many tokens when each is encoded for itself."""
    beginnings = (text[:n] for n in range(len(text) + 1))
    return [beginning for beginning in beginnings if len(tokenizer.encode(beginning)) <= n_tokens]


def _as_long_as_it_fits(text, tokenizer, n_tokens):
    """The longest before the first beginning that is too many tokens."""
    beginnings = (text[:n] for n in range(len(text) + 1))
    return list(itertools.takewhile(lambda one: len(tokenizer.encode(one)) <= n_tokens, beginnings))[-1]


def _one_by_one(text, tokenizer, n_tokens):
    kept = ""
    for character in text:
        n_tokens -= len(tokenizer.encode(character))
        if n_tokens < 0:
            break
        kept += character
    return kept


def _all_or_nothing(text, tokenizer, n_tokens):
    try:
        return tokenizer.decode_bytes(tokenizer.encode(text)[:n_tokens]).decode("utf-8")
    except UnicodeDecodeError:
        return ""


# Prompts from a file --------------------------------------------------------------------------------------------------


def _files():
    return (
        ("Once upon a time\n---\nThe cat",),
        ("def f(x):\n    return x\n---\n    y = f(2)\n    print(y",),
        ("Question: Who came?\nAnswer:\n---\n\nTom --- or Tim --- came.",),
        (" had\n---\nhad\n---\n\n---\nhad ",),
        ("one\n---\n\n---\nthree",),
        ("alone",),
        ("",),
        ("a\n---\n",),
        ("a\n----\nb\n---\n\tc\n",),
        ("a\n--- \nb\n---\nc",),
        ("a\r\nb\n---\nc",),
    )


@exercise(
    "tokenization.read_prompts",
    title="Prompts from a file",
    prompt="Code that is to be continued comes back without its indentation, and the model writes the answer on the "
    "line of the question, though the prompt had a line end. Mend it.",
    hints=(
        'Print repr() of what it gives for "    x = 1\\n---\\nAnswer:\\n". What is missing at the ends?',
        "Without strip the line ends around --- stay. They belong to the line that parts, so part at all of it.",
    ),
    inputs=_files,
    difficulty=1,
    minutes=7,
)
def read_prompts(text):
    r"""A list of the prompts of a file, parted by "\n---\n", each with all its spaces and line ends."""
    return text.split("\n---\n")


@read_prompts.mend(
    "strip takes the spaces and line ends at the ends away, indentation among them; to the model ' had' and 'had' are "
    "different tokens, and a line end is one too. Besides, --- inside a line parts nothing"
)
def _stripped(text):
    prompts = []
    for part in text.split("---"):
        prompts.append(part.strip())
    return prompts


read_prompts.plant({
    "nothing is stripped, and so the line ends of the parting lines stay, and --- inside a line parts: split at "
    "\"\\n---\\n\", the whole line":
        lambda text: text.split("---"),
    "the parts are right; strip still takes the spaces and line ends at their ends away, indentation among them":
        (
            lambda text: [part.strip() for part in text.split("\n---\n")],
            lambda text: [part.strip("\n ") for part in text.split("\n---\n")],
        ),
    "spaces and line ends at the end of a prompt are lost: a line end says that the answer goes on a new line":
        lambda text: [part.rstrip() for part in text.split("\n---\n")],
    "spaces and line ends at the beginning of a prompt are lost: indentation, and the space that makes ' had' one "
    "token":
        lambda text: [part.lstrip() for part in text.split("\n---\n")],
    "the line ends at the ends of prompts are lost; those that do not belong to --- are a part of the prompt":
        (
            lambda text: [part.strip("\n") for part in text.split("\n---\n")],
            lambda text: [part.strip("\n") for part in text.split("---")],
            lambda text: [part.rstrip("\n") for part in text.split("\n---\n")],
        ),
    "the spaces at the ends of prompts are lost":
        (
            lambda text: [part.strip(" ") for part in text.split("\n---\n")],
            lambda text: [part.strip(" ") for part in text.split("---")],
        ),
    "all runs of spaces and line ends have become one space: the lines are gone":
        (
            lambda text: [" ".join(part.split()) for part in text.split("\n---\n")],
            lambda text: [" ".join(part.split()) for part in text.split("---")],
        ),
    "an empty prompt is left out; every part counts":
        (
            lambda text: [part for part in text.split("\n---\n") if part],
            lambda text: [part for part in text.split("\n---\n") if part.strip()],
        ),
    "the line end before --- stays; it belongs to the line that parts":
        lambda text: text.split("---\n"),
    "the line end after --- stays; it belongs to the line that parts":
        lambda text: text.split("\n---"),
    "each line is a prompt here; only a line --- parts them":
        (lambda text: text.splitlines(), lambda text: text.split("\n")),
    "a text comes back; a list of prompts is asked":
        lambda text: text.replace("\n---\n", "\n"),
    "nothing is parted: \"\\n---\\n\" is nowhere found. With an r in front, \\n is a backslash and an n, no line end":
        lambda text: text.split(r"\n---\n"),
    "the text is stripped before it is parted: its first and last prompt lose what stands at their ends":
        (
            lambda text: text.strip().split("\n---\n"),
            lambda text: text.rstrip().split("\n---\n"),
            lambda text: text.rstrip("\n").split("\n---\n"),
        ),
    "the letters come back one by one: prompts += part adds each letter of it; prompts.append(part) adds the whole":
        (
            lambda text: [*"".join(text.split("\n---\n"))],
            lambda text: [*"".join(part.strip() for part in text.split("---"))],
            lambda text: [*"".join(text.split("---"))],
        ),
})  # fmt: skip


# Compression on texts that are new ------------------------------------------------------------------------------------


def _corpora():
    common = ("the train and the tree", "a hat and a bath", "then the other train", "the tree by the bath", "a bath")
    for texts, vocab_size in (
        ((*common, "the river by the hat", "one cold winter", "the bath", "a train", "Käse, 🌉 and a hat"), 290),
        ((*common[:4], "something else entirely"), 300),
        (("the " * 20, "the hat " * 9, "a tree " * 8, "by the bath " * 5, "领先 a train", "other trees", "then"), 270),
        ((*common, "a", "the hat the hat the hat the hat", "b"), 262),
        ((*common, *common[::-1], "over the river", "Brücke"), 275),
        ((*common, "the train", "the", " bath ", "a\n"), 290),
        (("a", "b", "a", "b", "ab ab"), 257),
    ):
        yield list(texts), vocab_size


@exercise(
    "tokenization.compression",
    title="Compression on texts that are new",
    prompt="The compression looks better than it is on new texts. Mend it.",
    hints=(
        "On which texts is the tokenizer trained, and on which is it measured?",
        "Put the last fifth aside before training: n_test = -(-len(texts) // 5) rounds up.",
    ),
    inputs=_corpora,
    keeps=("texts",),
    difficulty=2,
    minutes=9,
)
def compression(texts, vocab_size):
    """Bytes per token on the last fifth of the texts (rounded up), for a tokenizer of the others."""
    from llmlab.tokenization import BPETokenizer

    n_test = -(-len(texts) // 5)
    tokenizer = BPETokenizer.train(texts[:-n_test], vocab_size)
    n_bytes = sum(len(text.encode()) for text in texts[-n_test:])
    return n_bytes / sum(len(tokenizer.encode(text)) for text in texts[-n_test:])


@compression.mend(
    "the tokenizer is measured on the texts that it was trained on, whose words have become its tokens; put the last "
    "fifth aside, train on the others, and measure on what was put aside"
)
def _on_its_own(texts, vocab_size):
    from llmlab.tokenization import BPETokenizer

    tokenizer = BPETokenizer.train(texts, vocab_size)
    n_bytes = sum(len(text.encode()) for text in texts)
    return n_bytes / sum(len(tokenizer.encode(text)) for text in texts)


def _bytes_per_token(train, test, vocab_size):
    tokenizer = BPETokenizer.train(train, vocab_size)
    return sum(len(t.encode()) for t in test) / sum(len(tokenizer.encode(t)) for t in test)


def _fifth(texts):
    return -(-len(texts) // 5)


compression.plant({
    "the last fifth is measured, but the tokenizer is trained on it too":
        lambda texts, vocab_size: _bytes_per_token(texts, texts[-_fifth(texts):], vocab_size),
    "the last fifth is left out of training; yet the texts of training are measured, alone or with it":
        (
            lambda texts, vocab_size: _bytes_per_token(texts[:-_fifth(texts)], texts, vocab_size),
            lambda texts, vocab_size: _bytes_per_token(texts[:-_fifth(texts)], texts[:-_fifth(texts)], vocab_size),
        ),
    "it is trained on the fifth and measured on the others; exchange them":
        lambda texts, vocab_size: _bytes_per_token(texts[-_fifth(texts):], texts[:-_fifth(texts)], vocab_size),
    "it is trained on the first fifth and measured on the others; put the last fifth aside and train on the others":
        lambda texts, vocab_size: _bytes_per_token(texts[: _fifth(texts)], texts[_fifth(texts):], vocab_size),
    "it is trained and measured on the last fifth":
        lambda texts, vocab_size: _bytes_per_token(texts[-_fifth(texts):], texts[-_fifth(texts):], vocab_size),
    "the first fifth is put aside; the last is asked":
        lambda texts, vocab_size: _bytes_per_token(texts[_fifth(texts):], texts[: _fifth(texts)], vocab_size),
    "a fifth is rounded up: of seven texts two are put aside":
        (
            lambda texts, vocab_size: _bytes_per_token(texts[: -(len(texts) // 5)], texts[-(len(texts) // 5):],
                                                       vocab_size),
            lambda texts, vocab_size: _bytes_per_token(texts[: -round(len(texts) / 5)],
                                                       texts[-round(len(texts) / 5):], vocab_size),
            lambda texts, vocab_size: _bytes_per_token(texts[: len(texts) // 5 * 4], texts[len(texts) // 5 * 4:],
                                                       vocab_size),
        ),
    "a fifth of ten texts is two, not three: round up only where something is left over, as -(-len(texts) // 5) does":
        lambda texts, vocab_size: _bytes_per_token(texts[: -(len(texts) // 5 + 1)], texts[-(len(texts) // 5 + 1):],
                                                   vocab_size),
    "every fifth text is put aside; asked are the last ones":
        (
            lambda texts, vocab_size: _bytes_per_token([t for n, t in enumerate(texts) if n % 5], texts[::5],
                                                       vocab_size),
            lambda texts, vocab_size: _bytes_per_token([t for n, t in enumerate(texts) if n % 5 != 4], texts[4::5],
                                                       vocab_size),
        ),
    "these are tokens per byte; bytes per token is the other way round":
        lambda texts, vocab_size: 1 / compression.answer(texts, vocab_size),
    "these are characters per token: len(text.encode()) counts bytes":
        lambda texts, vocab_size: compression.answer(texts, vocab_size)
        * sum(map(len, texts[-_fifth(texts):])) / sum(len(t.encode()) for t in texts[-_fifth(texts):]),
    "that is the mean of each text's ratio, so a short text counts as much as a long one: divide sums":
        lambda texts, vocab_size: fmean(
            _bytes_per_token(texts[:-_fifth(texts)], [t], vocab_size) for t in texts[-_fifth(texts):]
        ),
    "the bytes are those of all texts, the tokens those of the last fifth; count both on the same texts":
        lambda texts, vocab_size: compression.answer(texts, vocab_size)
        * sum(len(t.encode()) for t in texts) / sum(len(t.encode()) for t in texts[-_fifth(texts):]),
    "the tokens are those of all texts, the bytes those of the last fifth; count both on the same texts":
        lambda texts, vocab_size: _bytes_per_token(texts[:-_fifth(texts)], texts, vocab_size)
        * sum(len(t.encode()) for t in texts[-_fifth(texts):]) / sum(len(t.encode()) for t in texts),
    "the texts are joined, so that merges cross from one to the next":
        (
            lambda texts, vocab_size: _bytes_per_token("".join(texts[:-_fifth(texts)]), texts[-_fifth(texts):],
                                                       vocab_size),
            lambda texts, vocab_size: _bytes_per_token(texts[:-_fifth(texts)], ["".join(texts[-_fifth(texts):])],
                                                       vocab_size),
            lambda texts, vocab_size: _bytes_per_token("".join(texts[:-_fifth(texts)]),
                                                       ["".join(texts[-_fifth(texts):])], vocab_size),
        ),
    "the texts are joined with line ends between them, which are bytes and tokens that no text has":
        lambda texts, vocab_size: _bytes_per_token(texts[:-_fifth(texts)], ["\n".join(texts[-_fifth(texts):])],
                                                   vocab_size),
    "spaces and line ends are bytes too, at the ends of a text as well":
        lambda texts, vocab_size: _bytes_per_token(texts[:-_fifth(texts)],
                                                   [t.strip() for t in texts[-_fifth(texts):]], vocab_size),
    "only the last text is measured; a fifth may be several":
        (
            lambda texts, vocab_size: _bytes_per_token(texts[:-1], texts[-1:], vocab_size),
            lambda texts, vocab_size: _bytes_per_token(texts[:-_fifth(texts)], texts[-1:], vocab_size),
        ),
})  # fmt: skip


EXERCISES = (bits_per_byte, tokens_per_character, fit, read_prompts, compression)
PREDICTIONS = (
    Prediction(
        id="tokenization.price",
        text=(
            "A tokenizer has read English only. Under it, how many times as many tokens do ten Chinese sentences cost "
            "as the same ten in English?"
        ),
        unit="times as many",
    ),
    Prediction(
        id="tokenization.trailing_space",
        text=(
            "A model answers right by writing the right word next. Now each prompt gets a space at its end. How often "
            "is the answer still right?"
        ),
        options=("about as often as before", "about half as often", "almost never"),
    ),
)

QUESTIONS = (
    Question(
        id="tokenization.whose_price",
        text="Under some tokenizer a German text costs twice the tokens of the English one that says the same. Why?",
        options=(
            "German has longer words, which no tokenizer can help",
            "The tokenizer was trained on little or no German, so it has few merges for it",
            "UTF-8 needs twice as many bytes for German",
            "The vocabulary is too small for two languages",
        ),
        answer=1,
        why=(
            "Trained on both, a tokenizer of the same size brings the two prices close together.",
            "Merges go to what is frequent in the training text. Change the text, and the price changes.",
            "Only letters such as ä and ß take two bytes; the others take one.",
            "With the same size, a mixed training text makes German cheaper, and English somewhat dearer.",
        ),
    ),
    Question(
        id="tokenization.compare",
        text="Model A has a loss of 2.0 nats a token, model B one of 3.0, with another tokenizer. Which is better?",
        options=(
            "A: its loss is lower",
            "B: it has fewer tokens",
            "That cannot be said before both are in bits per byte of the same text",
            "They are equal, since tokenizers lose nothing",
        ),
        answer=2,
        why=(
            "If A cuts the text into twice as many tokens, its surprise by the whole text is larger.",
            "Fewer tokens make each dearer; whether that pays is what has to be counted.",
            "The surprise by the whole text, in bits, over its bytes does not depend on where the text is cut.",
            "Both can write the text back, but their models may predict it differently well.",
        ),
    ),
    Question(
        id="tokenization.space",
        text="Your prompt ends in a space, and the model goes on with nonsense. What happened?",
        options=(
            "The space was lost on the way",
            "The model has never seen a space",
            "The space became a token of its own, after which words seldom came in training",
            "A longer prompt is always worse",
        ),
        answer=2,
        why=(
            "It is there, and that is the trouble.",
            "It sees one before almost every word, as a part of the word's token.",
            "The usual token is space and word together; a lone space stood before other things.",
            "The same prompt without the space works.",
        ),
    ),
)
