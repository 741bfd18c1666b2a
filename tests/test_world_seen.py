"""Which steps read a text: the same as the tokens of all batches tell, decoded and searched one by one."""

import dataclasses
import json
import shutil
import sys
from itertools import pairwise
from random import Random

import numpy as np
import pytest
from models import TINY_LLAMA
from streams import told

from llmlab import checkpoint, world
from llmlab.cli import main
from llmlab.training import WorldBatches, new_model, train_tokenizer, write_stream
from llmlab.training.stream import index
from llmlab.world.seen import LIST, Stream, words_of

MODULE = sys.modules["llmlab.world.seen"]  # world.seen is the function
FIRST = {"n_steps": 14, "batch_size": 3, "seq_len": 300, "seed": 4, "lists_first": 5}
SECOND = {"n_steps": 9, "batch_size": 2, "seq_len": 350, "seed": 6, "token_lists": 0.3, "pairs_first": 3}


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(400, n_documents=300)


def published(folder, tokenizer, **header):
    """A folder with a model of this training, its tokenizer and its stream."""
    folder.mkdir(exist_ok=True)
    tokenizer.save(folder / "tokenizer.json")
    model = new_model(dataclasses.replace(TINY_LLAMA, vocab_size=tokenizer.vocab_size, n_layers=1))
    checkpoint.save(model, folder / "model.safetensors", **header)
    return write_stream(folder)


@pytest.fixture(scope="module")
def stream(tmp_path_factory, tokenizer):
    return published(tmp_path_factory.mktemp("model") / "data", tokenizer, training=FIRST, later=[SECOND])


@pytest.fixture(scope="module")
def documents(tokenizer):
    """Every document that the run used, told by its tokens: (step, text or None for a list, the document)."""
    first = WorldBatches(tokenizer, 3, 300, seed=4, lists_first=5)
    second = WorldBatches(tokenizer, 2, 350, seed=6, reading=2, token_lists=0.3, pairs_first=3)
    steps = [(first, step) for step in range(14)] + [(second, step) for step in range(9)]
    return [
        (number, text, document)
        for number, (batches, step) in enumerate(steps, start=1)
        for _, text, document in told(batches, step)
    ]


@pytest.fixture(scope="module")
def by_hand(documents):
    """The steps that read a text, by looking into every one."""

    def search(text):
        return sorted({step for step, read, _ in documents if read is not None and text in read})

    return search


def check(texts, stream, by_hand):
    texts = list(dict.fromkeys(texts))
    expected = {text: by_hand(text) for text in texts}
    assert world.seen_all(texts, stream=stream) == expected
    return expected


def test_every_sentence_that_was_read_is_found_where_it_was_read(stream, documents, by_hand):
    texts = [sentence for _, text, _ in documents if text for sentence in world.split_sentences(text)]
    found = check(texts, stream, by_hand)
    assert len(found) > 500 and all(found.values())
    assert {step for steps in found.values() for step in steps} == set(range(1, 24))
    assert max(map(len, found.values())) > 1
    some = Random(0).sample(list(found), 20)
    assert [world.seen(text, stream=stream) for text in some] == [found[text] for text in some]


def test_any_part_of_a_document_is_found_also_one_that_begins_and_ends_inside_a_word(stream, documents, by_hand):
    rng, texts = Random(1), []
    read = [text for _, text, _ in documents if text]
    for _ in range(600):
        text = rng.choice(read)
        begin = rng.randrange(len(text))
        texts.append(text[begin : begin + rng.choice((1, 2, 3, 5, 8, 20, 60, 1000))])
    assert all(check(texts, stream, by_hand).values())


def test_what_was_not_read_is_not_found(stream, by_hand):
    others = [
        world.document(99, number, split=split, reading=2) for number in range(80) for split in ("train", "held_out")
    ]
    texts = [sentence for document in others for sentence in world.split_sentences(document.text)]
    texts += [text.swapcase() for text in texts[:50]] + [f" {text}" for text in texts[:50]] + ["zebrafish", "\0", "  "]
    found = check(texts, stream, by_hand)
    assert sum(not steps for steps in found.values()) > 300 and any(found.values())


def test_the_rest_of_a_document_that_was_cut_was_not_read(stream, documents, by_hand):
    cut = [(step, text, document.text) for step, text, document in documents if text and text != document.text]
    assert len(cut) > 30 and all(whole.startswith(text) for _, text, whole in cut)
    for step, text, whole in cut:
        assert step in world.seen(text, stream=stream)
        if len(text) > 100:  # a short beginning may stand in another document of the step
            assert step not in world.seen(whole[: len(text) + 1], stream=stream)
    tails = [whole[len(text) - 10 * (len(text) > 10) :] for _, text, whole in cut]
    assert not all(check(tails + [whole for _, _, whole in cut], stream, by_hand).values())


def test_of_a_character_that_a_row_cuts_nothing_was_read(tokenizer):
    """Rows of growing length, some of which end inside a Chinese character: its bytes are tokens of their own here."""
    inside = 0
    for seq_len in range(60, 80):
        batches = WorldBatches(tokenizer, 1, seq_len, skills=("translation",))
        *_, (_, text, document) = told(batches, 0)
        read = index([(batches, 1)], {})
        assert read.n_characters.tolist() == [len(text)] and document.text.startswith(text)
        assert read.find([text])[text] == [1]
        batch = batches(0)
        whole = tokenizer.decode([*batch.tokens[0].tolist(), batch.targets[0, -1].item()])
        if whole.endswith("\ufffd"):
            assert whole.rstrip("\ufffd").endswith(text)
            inside += 1
    assert inside > 3


def test_a_text_that_a_list_of_tokens_replaced_was_not_read(stream, documents, by_hand):
    replaced = [document.text for _, text, document in documents if text is None]
    assert len(replaced) > 5 and not any(check(replaced, stream, by_hand).values())
    assert all(step > 14 for step, text, _ in documents if text is None)
    assert (Stream.load(stream).skills == LIST).tolist() == [text is None for _, text, _ in documents]


def test_two_documents_in_a_row_are_not_one_text(stream, documents, by_hand):
    read = [text for _, text, _ in documents if text]
    check([one[-5:] + other[:5] for one, other in pairwise(read)], stream, by_hand)
    assert world.seen(read[-2][-20:] + read[-1][:20], stream=stream) == []


def test_the_first_steps_are_those_of_the_lists_and_steps_go_on_in_the_second_reading(stream, documents):
    for step, kind in enumerate(3 * [("repeating",)] + 2 * [("copying",)] + 9 * [None]):
        text = world.document(4, step * 3 * 301, skills=kind).text
        assert world.seen(text[:60], stream=stream) == [step + 1]
    whole = [text for step, text, _ in documents if step == 23 and text]  # the ninth step of the second reading
    assert whole and all(23 in world.seen(text, stream=stream) for text in whole)


def test_a_word_that_was_never_read_needs_no_document_and_a_skill_is_written_once(stream, documents, monkeypatch):
    fresh, written = Stream.load(stream), []
    monkeypatch.setattr(MODULE, "document", lambda *args, **kw: written.append(args) or world.document(*args, **kw))
    assert fresh.find(["the zebrafish sat", "Zürich"]) == {"the zebrafish sat": [], "Zürich": []} and not written
    text = next(text for step, text, document in documents if step > 5 and document.skill == "sums")
    first = fresh.find([text])
    assert 0 < len(written) < len(documents) / 2
    n_written = len(written)
    assert fresh.find([text]) == first and len(written) == n_written


def test_words_that_never_followed_one_another_need_no_document(stream, documents, by_hand, monkeypatch):
    """Both words were read in the same skill, but never in this order; at the ends they may be cut."""
    fresh, written = Stream.load(stream), []
    monkeypatch.setattr(MODULE, "document", lambda *args, **kw: written.append(args) or world.document(*args, **kw))
    stories = [text for _, text, document in documents if text and document.skill == "stories"]
    words = stories[0].split(" ")
    turned = [f" {other} {one} " for one, other in pairwise(words) if one.isalpha() and other.isalpha()]
    never = [text for text in turned if not any(" ".join(text.split()) in read for _, read, _ in documents if read)]
    assert len(never) > 10 and not any(fresh.find(never).values()) and not written
    cut = [f"{one[1:]} {other[:-1]}" for one, other in pairwise(words) if len(one) > 1 < len(other)]
    assert len(cut) > 10 and all(check(cut, stream, by_hand).values())


def test_where_too_many_words_follow_one_another_to_be_noted_all_is_found_too(
    tmp_path, tokenizer, documents, by_hand, monkeypatch
):
    monkeypatch.setattr(sys.modules["llmlab.training.stream"], "PAIRS", 300)
    few = published(tmp_path / "few", tokenizer, training=FIRST, later=[SECOND])
    noted = [bool(group.pairs) for group in Stream.load(few).groups.values()]
    assert any(noted) and not all(noted)
    read = [text for _, text, _ in documents if text]
    assert all(check([text[5:60] for text in read if len(text) > 60], few, by_hand).values())
    check([" ".join(reversed(text.split(" ")[:4])) for text in read[:200]], few, by_hand)


def test_words_are_runs_of_letters_and_single_signs():
    assert words_of("Tom's 27 + 5_a\n我很 é") == ["Tom", "'", "s", "27", "+", "5_a", "\n", "我", "很", "é"]


def test_one_reading_and_no_reading_are_streams_too(tmp_path, tokenizer):
    only = published(tmp_path / "only", tokenizer, training=FIRST)
    assert world.seen(world.document(4, 8 * 3 * 301).text[:60], stream=only) == [9]
    assert len(Stream.load(only).n_documents) == 14 * 3
    none = published(tmp_path / "none", tokenizer, training=FIRST | {"n_steps": 0, "lists_first": 0})
    assert world.seen("a", stream=none) == []


# Refusals -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text, error, message",
    [
        ("", ValueError, "expected a text of at least one character"),
        ("a \ud800", ValueError, r"expected text without lone surrogates, got U\+D800 at position 2"),
        (b"cat", TypeError, "expected text as str, got bytes"),
        (7, TypeError, "expected text as str, got int"),
    ],
)
def test_what_is_no_text_is_refused(text, error, message, stream):
    with pytest.raises(error, match=message):
        world.seen(text, stream=stream)
    with pytest.raises(error, match=message):
        world.seen_all(["cat", text], stream=stream)


def test_several_texts_are_given_as_such(stream):
    with pytest.raises(TypeError, match="expected texts, got a single one"):
        world.seen_all("cat", stream=stream)
    assert world.seen_all([], stream=stream) == {}


@pytest.fixture
def copied(stream, tmp_path):
    """The stream with its model and tokenizer, to be changed."""
    return shutil.copytree(stream.parent, tmp_path / "copied") / "stream.npz"


@pytest.mark.parametrize(
    "header, message",
    [
        (
            {"training": FIRST | {"n_steps": 15}, "later": [SECOND]},
            r"training.n_steps=14; the model beside it has 15: make",
        ),
        (
            {"training": FIRST, "later": [SECOND | {"token_lists": 0.1}]},
            r"second.token_lists=0.3; the model .* has 0.1",
        ),
        ({"training": FIRST}, r"second.batch_size=2; the model beside it has None"),
        ({}, "expected a model that `llmlab train` has written; its header in .*model.safetensors has no n_steps"),
        ({"training": FIRST, "later": [{"n_steps": 9}]}, "its header in .*model.safetensors has no batch_size"),
    ],
)
def test_a_stream_of_another_training_is_refused(copied, header, message):
    assert world.seen("Tom", stream=copied)
    checkpoint.save(
        checkpoint.load(copied.with_name("model.safetensors")), copied.with_name("model.safetensors"), **header
    )
    with pytest.raises(ValueError, match=message):
        world.seen("Tom", stream=copied)


def test_a_stream_of_another_tokenizer_is_refused(copied):
    train_tokenizer(390, n_documents=300).save(copied.with_name("tokenizer.json"))
    with pytest.raises(ValueError, match=r"was made for tokenizer='\w+'; the model beside it has '\w+': make it again"):
        world.seen("Tom", stream=copied)


def test_a_stream_of_other_weights_is_refused(copied):
    """The same settings do not tell what the world wrote when the model was trained."""
    model, file = checkpoint.load(copied.with_name("model.safetensors")), copied.with_name("model.safetensors")
    model.norm.weight.data += 1
    checkpoint.save(model, file, training=FIRST, later=[SECOND])
    with pytest.raises(ValueError, match=r"was made for weights='\w+'; the model beside it has '\w+': make it again"):
        world.seen("Tom", stream=copied)
    write_stream(copied.parent)
    assert world.seen("Tom", stream=copied)


def test_line_ends_of_another_system_make_no_other_tokenizer(copied):
    path = copied.with_name("tokenizer.json")
    path.write_bytes(json.dumps(json.loads(path.read_bytes()), indent=1, ensure_ascii=False).encode())
    write_stream(copied.parent)
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert world.seen("Tom", stream=copied)


def test_a_world_that_writes_other_documents_is_noticed(copied, documents, monkeypatch):
    """One letter of one document of one skill is another one; the other skills can still be searched."""
    changed = next(document for step, _, document in documents if step > 5 and document.skill == "sums")

    def other(*arguments, **options):
        document = world.document(*arguments, **options)
        return dataclasses.replace(document, text="X" + document.text[1:]) if document == changed else document

    monkeypatch.setattr(MODULE, "document", other)
    fresh = Stream.load(copied)
    with pytest.raises(ValueError, match=r"documents of sums that the model has read \(reading 1\); the world writes"):
        fresh.find([changed.text[:20]])
    text = next(text for step, text, document in documents if text and document.skill == "translation")
    assert fresh.find([text])[text]


@pytest.mark.parametrize(
    "damage", [lambda whole: whole[: len(whole) // 2], lambda whole: b"no archive", lambda whole: b""]
)
def test_a_damaged_stream_is_named(copied, damage):
    copied.write_bytes(damage(copied.read_bytes()))
    with pytest.raises(
        ValueError, match=r"stream.npz is no index of a training stream .*: make it again with `llmlab s"
    ):
        world.seen("Tom", stream=copied)
    np.savez(copied, words=np.zeros(3))
    with pytest.raises(ValueError, match=r"stream.npz is no index of a training stream .*about"):
        world.seen("Tom", stream=copied)


@pytest.mark.parametrize("name", ["stream.npz", "model.safetensors", "tokenizer.json"])
def test_a_missing_file_is_named(copied, name):
    copied.with_name(name).unlink()
    with pytest.raises(FileNotFoundError, match=name):
        world.seen("Tom", stream=copied)


# The command --------------------------------------------------------------------------------------------------------


def test_the_command_makes_the_same_file_again(copied, capsys):
    before = copied.read_bytes()
    copied.unlink()
    assert main(["stream", "--publish", str(copied.parent)]) == 0
    assert capsys.readouterr().out.startswith(f"{copied} (") and copied.read_bytes() == before
    assert {path.name for path in copied.parent.iterdir()} == {"stream.npz", "model.safetensors", "tokenizer.json"}
