"""The BPE stepper in Python: its counts against a recount by hand, its ids against `tokenizers` and `tiktoken`."""

import json
import random
import re
from collections import Counter

import pytest
import regex
import tiktoken
import traitlets
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

import llmlab
from llmlab.tokenization import GPT2_PATTERN, BPETokenizer, learn_merges_by_recounting
from llmlab.widgets.tokenization import CORPUS, LONGEST_CORPUS, LONGEST_TEXT, TEXT, TOP, BPEStepper, label

# As it is printed in GPT-2's encoder.py (Radford et al. 2019).
PATTERN = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
OVERLAPS = "aaaa aaa aaaaa banana bananas"
MIXED = "é 领领先 遥遥领先\n\n the the  <b>1 2 3 11 111</b> 👨‍👩‍👧 don't won't\x00"
TEXTS = [
    TEXT,
    "aaaaaaa",
    " \n\n  x",
    "</s> <|endoftext|> <b>",
    "523189 + 1 = ",
    "领先 é 👨‍👩‍👧",
    "naïve unhappiness\tdon't",
]


@pytest.fixture
def stepper():
    return BPEStepper()


def random_corpus(seed):
    """Words of few letters, so that ties and overlaps are many."""
    draw = random.Random(seed)
    return " ".join("".join(draw.choices("abé", k=draw.randint(1, 9))) for _ in range(40))


class ByHand:
    """Training once more, with nothing of the package: pieces as lists of tokens, all recounted at every step."""

    def __init__(self, corpus):
        self.pieces = Counter(regex.findall(PATTERN, corpus))
        self.words = {piece: [bytes([byte]) for byte in piece.encode()] for piece in self.pieces}

    def pairs(self):
        counts = Counter()
        for piece, word in self.words.items():
            for at in range(len(word) - 1):
                counts[word[at], word[at + 1]] += self.pieces[piece]
        return counts

    def n_tokens(self):
        return sum(len(word) * self.pieces[piece] for piece, word in self.words.items())

    def join(self, pair):
        """Returns how often the pair was joined."""
        joined = 0
        for piece, word in self.words.items():
            at = 0
            while at < len(word) - 1:
                if (word[at], word[at + 1]) == pair:
                    word[at : at + 2] = [word[at] + word[at + 1]]
                    joined += self.pieces[piece]
                at += 1
        return joined


# Learning -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("corpus", [CORPUS, OVERLAPS, MIXED, *map(random_corpus, range(4))])
def test_counts_and_merges_at_every_step_equal_a_recount(corpus):
    stepper, hand = BPEStepper(corpus, n_merges=60), ByHand(corpus)
    vocabulary, joined = [bytes([byte]) for byte in range(256)], 0
    for step in range(len(stepper.merges) + 1):
        stepper.step = step
        pairs = hand.pairs()
        order = sorted(pairs, key=lambda pair: (pairs[pair], pair), reverse=True)
        expected = [(*pair, pairs[pair]) for pair in order[:TOP]]
        shown = [(a, b, count) for a, b, count in stepper.ranked[step].tolist() if count > 0]
        assert [(vocabulary[a], vocabulary[b], count) for a, b, count in shown] == expected
        ties = sum(count == max(pairs.values()) for count in pairs.values())
        assert stepper.totals[step].tolist() == [hand.n_tokens(), len(pairs), ties, joined]
        assert [*stepper.words().items()] == [
            (tuple(hand.words[piece]), hand.pieces[piece]) for piece in map(bytes.decode, stepper.pieces)
        ]
        if step < len(stepper.merges):
            assert stepper.merges[step] == order[0]
            vocabulary.append(b"".join(order[0]))
            joined = hand.join(order[0])
    assert stepper.pieces == {piece.encode(): count for piece, count in hand.pieces.items()}
    assert len(stepper.merges) == 60 or not hand.pairs()


@pytest.mark.parametrize("corpus", [CORPUS, MIXED, random_corpus(9)])
def test_merges_are_those_of_the_definition_and_of_a_trained_tokenizer(corpus):
    stepper = BPEStepper(corpus, n_merges=30)
    hand = ByHand(corpus)
    words = {tuple(word): hand.pieces[piece] for piece, word in hand.words.items()}
    assert stepper.merges == learn_merges_by_recounting(words, 30)
    trained = BPETokenizer.train(corpus, 256 + 30)
    stepper.step = len(stepper.merges)
    assert stepper.merges == trained.merges
    assert {tuple(trained.vocab[id] for id in trained.encode(piece)) for piece in hand.pieces} == set(stepper.words())


def test_merges_are_those_of_tokenizers_trainer_where_no_pairs_tie(tmp_path):
    """Its ties go another way (to the smaller ids), so this corpus has none as far as it is followed."""
    words = {"ab": 40, "abc": 21, "abcd": 6, "cab": 30, "ca": 3}
    corpus = "".join(f" {word}" * times for word, times in words.items())
    theirs = Tokenizer(models.BPE())
    theirs.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    (tmp_path / "corpus.txt").write_text(corpus)
    trainer = trainers.BpeTrainer(vocab_size=261, initial_alphabet=alphabet, show_progress=False)
    theirs.train([str(tmp_path / "corpus.txt")], trainer)
    pairs = json.loads(theirs.to_str())["model"]["merges"]
    ours = BPEStepper(corpus, n_merges=5)
    assert (ours.totals[:5, 2] == 1).all()
    assert [tuple(part.replace(b" ", "Ġ".encode()).decode() for part in pair) for pair in ours.merges] == [
        tuple(pair) for pair in pairs
    ]


def test_the_first_view_is_a_tie_that_the_greater_bytes_win(stepper):
    ow, lo = stepper.ranked[0][:2].tolist()
    assert (ow, lo) == ([ord("o"), ord("w"), 5], [ord("l"), ord("o"), 5])
    assert (stepper.mode, stepper.step, stepper.merges[0]) == ("learn", 0, (b"o", b"w"))
    assert stepper.pieces[list(stepper.pieces)[stepper.piece]] and list(stepper.pieces)[stepper.piece] == b" newest"


def test_an_overlap_is_counted_and_not_joined():
    stepper = BPEStepper("aaa", n_merges=1, step=1)
    assert stepper.ranked[0][0].tolist() == [97, 97, 2] and stepper.totals[1].tolist() == [2, 1, 1, 1]
    assert stepper.words() == {(b"aa", b"a"): 1}


def test_where_no_pair_is_left_training_ends_early():
    assert len(BPEStepper(CORPUS, n_merges=256).merges) == 16
    alone = BPEStepper("x")
    assert alone.merges == [] and alone.ranked.shape == (1, TOP, 3) and alone.totals.tolist() == [[1, 0, 0, 0]]
    assert BPEStepper("low low", n_merges=1).merges == [(b"o", b"w")]


def test_another_corpus_starts_anew_and_a_refused_one_changes_nothing(stepper):
    stepper.step, stepper.rank = 7, 3
    before = (stepper.merges, stepper.totals, stepper.revision, repr(stepper))
    for corpus, message in [
        ("", "expected a corpus of at least one character"),
        ("x" * (LONGEST_CORPUS + 1), "expected a corpus of at most 4,000 characters, got 4,001"),
        ("low \udc80", "expected text without lone surrogates, got U+DC80 at position 4"),
    ]:
        stepper.corpus = corpus
        assert message in stepper.error and (stepper.step, stepper.rank) == (7, 3)
        assert before == (stepper.merges, stepper.totals, stepper.revision, repr(stepper))
        with pytest.raises(ValueError, match=re.escape(message)):
            BPEStepper(corpus)
    stepper.corpus = OVERLAPS
    assert (stepper.error, stepper.step, stepper.rank) == ("", 0, 0) and stepper.merges[0] == (b"a", b"a")
    stepper.n_merges = 2
    assert len(stepper.merges) == 2 and stepper.totals.shape == (3, 4)


def test_the_longest_corpus_is_learned_soon_enough():
    draw = random.Random(1)
    corpus = "".join(draw.choice("abcdefgh ") for _ in range(LONGEST_CORPUS))
    stepper = BPEStepper(corpus, n_merges=256)
    assert len(stepper.merges) == 256 and stepper.totals[0][0] == LONGEST_CORPUS


# Encoding -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def fast():
    """The same two tokenizers in other libraries."""
    lines = llmlab.data_path("gpt2_merges.txt").read_text(encoding="utf-8").rstrip("\n").split("\n")[1:]
    ours = llmlab.load_gpt2_tokenizer()
    ranks = {token: id for id, token in ours.vocab.items() if id not in ours.special_tokens.values()}
    assert len(lines) == len(ranks) - 256
    gpt2 = tiktoken.Encoding("gpt2", pat_str=PATTERN, mergeable_ranks=ranks, special_tokens=ours.special_tokens)
    course = json.loads(llmlab.data_path("tokenizer.json").read_text(encoding="utf-8"))
    course["added_tokens"] = []  # otherwise it takes a special token in a text as such
    return Tokenizer.from_str(json.dumps(course)), gpt2


@pytest.mark.parametrize("text", [*TEXTS, MIXED, *map(random_corpus, range(3))])
def test_ids_and_parts_equal_those_of_tokenizers_and_tiktoken(text, fast):
    stepper = BPEStepper(text=text[:LONGEST_TEXT])
    course, gpt2 = fast
    assert stepper.tokens == course.encode(text[:LONGEST_TEXT], add_special_tokens=False).ids
    assert stepper.other_tokens == gpt2.encode(text[:LONGEST_TEXT], disallowed_special=())
    assert stepper.parts(1) == [gpt2.decode_single_token_bytes(id) for id in stepper.other_tokens]
    for which, ids in ((0, stepper.tokens), (1, stepper.other_tokens)):
        assert [stepper.token_ids[which][part.hex()] for part in stepper.parts(which)] == ids
        assert b"".join(stepper.parts(which)) == text[:LONGEST_TEXT].encode()


def tree(stepper, which, part):
    """The merges that made a part, by the numbers of the widget: (rank, left, right), or a byte."""
    start, stop = part
    if stop - start == 1:
        return bytes(stepper.text_bytes[start:stop])
    at = max(range(start, stop - 1), key=lambda k: stepper.text_joined[which, k])
    halves = [tree(stepper, which, half) for half in ((start, at + 1), (at + 1, stop))]
    return (int(stepper.text_ranks[which, at]), *halves)


def flat(node):
    return node if isinstance(node, bytes) else flat(node[1]) + flat(node[2])


@pytest.mark.parametrize("text", TEXTS)
def test_every_join_of_a_token_is_a_merge_that_was_learned_before_it(text):
    stepper = BPEStepper(text=text)
    merges = [llmlab.load_model()[1].merges, llmlab.load_gpt2_tokenizer().merges]

    def check(node, which):
        if isinstance(node, bytes):
            return -1
        rank, left, right = node
        assert merges[which][rank] == (flat(left), flat(right))
        assert max(check(left, which), check(right, which)) < rank
        return rank

    for which in (0, 1):
        start = 0
        for part in stepper.parts(which):
            check(tree(stepper, which, (start, start + len(part))), which)
            start += len(part)


def test_a_token_is_taken_apart_and_joined_again(stepper):
    where = stepper.text_bytes.tobytes().index(b" unbelievable")
    assert stepper.first_difference == where == stepper.position and stepper.which == 1
    assert (
        tree(stepper, 1, (where, where + 13))[0] + 1
        == llmlab.load_gpt2_tokenizer().merges.index((b" unbeliev", b"able")) + 1
    )
    stepper.undone = [[1, where + 8]]
    assert stepper.parts(1)[:3] == [b"The", b" unbeliev", b"able"] and stepper.parts(0) == BPEStepper().parts(0)
    stepper.undone = [[1, where + 8], [1, where + 10]]
    assert stepper.parts(1)[1:5] == [b" unbeliev", b"ab", b"le", b" coffee"]
    assert len(stepper.other_tokens) == 29  # the ids of the text stay
    for undone, message in [
        ([[1, where + 10]], "undo that one first"),
        ([[1, 2]], "joined nothing after byte 2"),
        ([[2, 0]], "nothing to undo"),
        ([[1, 9999]], "nothing to undo"),
        ([[1]], "expected \\[which, byte\\]"),
    ]:
        with pytest.raises(traitlets.TraitError, match=message):
            stepper.undone = undone
    stepper.undone = []
    assert len(stepper.parts(1)) == 29
    stepper.undone = [[1, where + 8]]
    stepper.text = "unbelievable"
    assert stepper.undone == []


def test_the_first_difference_of_the_cuts():
    tokenizer, other = llmlab.load_model()[1], BPETokenizer.train("ab ab", 258)
    assert BPEStepper(text="The coffee").first_difference is None
    same = BPEStepper(text="abc", tokenizer=other, other=other, names=("one", "two"))
    assert same.first_difference is None and same.tokens == same.other_tokens and same.position == 0
    found = BPEStepper(text="The cat", tokenizer=tokenizer, other=other)
    assert found.first_difference == 0 and found.which == 0
    assert found.parts(1)[:2] == [b"T", b"h"]


def test_a_refused_text_changes_nothing(stepper):
    before = (stepper.tokens, stepper.other_tokens, stepper.revision, repr(stepper))
    for text, message in [
        ("", "expected a text of at least one character"),
        ("x" * (LONGEST_TEXT + 1), "expected a text of at most 400 characters, got 401"),
        ("a\ud800b", "expected text without lone surrogates, got U+D800 at position 1"),
    ]:
        stepper.text = text
        assert message in stepper.error and before == (*before[:2], stepper.revision, repr(stepper))
        assert before[:2] == (stepper.tokens, stepper.other_tokens)
        with pytest.raises(ValueError, match=re.escape(message)):
            BPEStepper(text=text)
    stepper.text = "The"
    assert stepper.error == "" and len(stepper.tokens) == 1


def test_a_special_token_in_the_text_is_text(stepper):
    stepper.text = "</s>"
    assert len(stepper.tokens) > 1
    assert not set(stepper.tokens) & set(llmlab.load_model()[1].special_tokens.values())


@pytest.mark.parametrize("text", ["é" * LONGEST_TEXT, "x" * LONGEST_TEXT, "aé" * (LONGEST_TEXT // 2)])
def test_one_long_piece_is_no_trouble(text):
    stepper = BPEStepper(text=text)
    assert b"".join(stepper.parts(1)) == text.encode() and len(stepper.other_tokens) == len(stepper.parts(1))


# Traits and texts ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value"),
    [("step", 17), ("step", -1), ("piece", 6), ("rank", TOP), ("position", 55), ("which", 2), ("n_merges", 0),
     ("n_merges", 257), ("mode", "song"), ("names", ["one"]), ("step", 1.5)],
)  # fmt: skip
def test_traits_refuse_what_they_cannot_be(stepper, name, value):
    with pytest.raises(traitlets.TraitError, match=name if name != "names" else "two names"):
        setattr(stepper, name, value)


def test_what_is_given_at_the_start_is_kept():
    stepper = BPEStepper(step=4, piece=2, which=0, position=33, mode="encode", scale=1.5, n_merges=5, rank=1)
    assert (stepper.step, stepper.piece, stepper.which, stepper.position) == (4, 2, 0, 33)
    assert (stepper.mode, stepper.scale, len(stepper.merges), stepper.rank) == ("encode", 1.5, 5, 1)
    with pytest.raises(traitlets.TraitError, match="expected step from 0 to 16, got 17"):
        BPEStepper(step=17)


def test_other_tokenizers_are_refused_where_their_tokens_do_not_come_from_merges():
    plain = BPETokenizer.train("ab", 257)
    with pytest.raises(TypeError, match="expected a BPETokenizer, got Tokenizer"):
        BPEStepper(tokenizer=Tokenizer.from_file(str(llmlab.data_path("tokenizer.json"))))
    for how in ({"normalization": "NFC"}, {"ignore_merges": True}):
        special = BPETokenizer(plain.vocab, plain.merges, **how)
        with pytest.raises(ValueError, match="without normalization and ignore_merges"):
            BPEStepper(other=special)


@pytest.mark.parametrize(
    ("token", "text"),
    [(b"low", "low"), (b" low", "·low"), (b"\n", "⏎"), (b"\xc3", "0xc3"), ("é".encode(), "é"), (b"\x00", "0x00"),
     ("\u200d".encode(), "0xe2808d"), (b"\t", "0x09"), ("领先".encode(), "领先"), ("\u00a0".encode(), "0xc2a0")],
)  # fmt: skip
def test_labels_show_what_can_be_seen_and_bytes_otherwise(token, text):
    assert label(token) == text


def test_tables_say_what_the_picture_shows(stepper):
    stepper.step = 5
    pieces, pairs, merges = stepper.tables()
    assert pieces.caption == "After 5 of 16 merges: 23 tokens of 45 bytes"
    assert pieces.rows[1] == ["·newest", "2", "· | n | e | w | est"]
    assert pairs.rows[0] == ["1", "w", "est", "2"] and merges.rows[-1] == ["5", "·", "low", "·low"]
    stepper.mode = "encode"
    course, gpt2 = stepper.tables()
    assert len(course.rows) == 12 and len(gpt2.rows) == 29 and gpt2.rows[0] == ["The", "464", "54 68 65"]
    assert gpt2.caption.endswith("55 bytes as 29 tokens, 1.9 bytes a token, 2.42 × as many as the course's")


def test_repr_and_fallback_are_the_same_on_every_run():
    one, two = BPEStepper(step=3), BPEStepper(step=3)
    assert repr(one) == repr(two) and one.fallback_html() == two.fallback_html()
    assert repr(one) == (
        "BPEStepper(6 pieces, 3 of 16 merges, 45 bytes as 31 tokens; a text of 55 bytes as 12 and 29 tokens)"
    )


def test_without_a_kernel_a_text_takes_a_row_for_each_tokenizer():
    html = BPEStepper(text="a mat", mode="encode").fallback_html()
    ours, gpt2 = llmlab.load_model()[1], llmlab.load_gpt2_tokenizer()
    for tokenizer in (ours, gpt2):
        ids = tokenizer.encode("a mat")
        cut = " | ".join(tokenizer.vocab[id].decode().replace(" ", "·") for id in ids)
        assert f"<td>{len(ids)}</td><td>{cut}</td>" in html
    assert "5 bytes" in html and html.count("<tr>") == 3


def test_without_a_kernel_the_texts_are_escaped():
    bundle, _ = BPEStepper("<b>bold</b>", text="<i>x</i>")._repr_mimebundle_()
    assert "<b>" not in bundle["text/html"] and "<i>" not in bundle["text/html"] and "&lt;" in bundle["text/html"]


def test_the_pattern_is_gpt2s(stepper):
    assert GPT2_PATTERN == PATTERN
