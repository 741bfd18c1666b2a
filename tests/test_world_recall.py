"""Texts of pairs: what is said again or asked for stands in the text, and the text alone tells it."""

import re
from collections import Counter
from random import Random

import pytest

import llmlab
from llmlab import world
from llmlab.world import recall
from llmlab.world.finding_facts import FACTS
from llmlab.world.hops import LINKS
from llmlab.world.lexicon import NAMES
from llmlab.world.records import held_out


def linked(kind, subject, value):
    return f"name={subject}", f"{kind}={value}"


# (whose, which values, the key of a pair that is held out or not), by kind
KINDS = {
    **{
        f"find {name}": (kind.subjects, kind.answers, lambda s, v, name=name: f"find:{name}:{s}={v}")
        for name, kind in FACTS.items()
    },
    **{
        name: (
            NAMES,
            LINKS[name].values,
            lambda s, v, name=name: "hops:" + "/".join(sorted((f"name={s}", f"{name}={v}"))),
        )
        for name in ("home", "trade", "pet", "box", "food")
    },
}


def words_in(text, words):
    return [word for word in words if re.search(rf"\b{re.escape(word)}\b", text)]


def read(text, kind):
    """What a text says if it is of this kind: pairs in their order, and pairs that are asked for. None if it is not."""
    subjects, values, _ = KINDS[kind]
    told, asked = [], []
    body, *questions = text.split("\nQuestion: ")
    for sentence in re.findall(r"[^.]+\.", body):
        found = words_in(sentence, subjects), words_in(sentence, values)
        if [len(some) for some in found] != [1, 1]:
            return None
        told.append((found[0][0], found[1][0]))
    for question in questions:
        question, answer = question.split("\nAnswer: ")
        given, wanted = (words_in(part, subjects) + words_in(part, values) for part in (question, answer))
        if len(given) != 1 or len(wanted) != 1:
            return None
        asked.append((given[0], wanted[0]) if given[0] in subjects else (wanted[0], given[0]))
    return told, asked


def readings(text):
    return {kind: found for kind in KINDS if (found := read(text, kind)) is not None}


@pytest.fixture(scope="module")
def texts():
    return [recall.document(Random(f"train {number}"), "train") for number in range(1500)]


def test_the_same_pairs_are_said_again_or_asked_for_in_another_order(texts):
    sizes, kinds, orders = Counter(), Counter(), Counter()
    for text in texts:
        found = readings(text)
        assert found, text
        kinds.update(found.keys())
        for told, asked in found.values():
            pairs = set(told)
            assert len({s for s, _ in pairs}) == len({v for _, v in pairs}) == len(pairs)  # one value each
            n = len(pairs)
            said = told + asked
            assert len(said) % n == 0 and len(said) > n
            rounds = [said[start : start + n] for start in range(0, len(said), n)]
            assert all(set(one) == pairs for one in rounds), text
            orders[n] += any(one != rounds[0] for one in rounds[1:])
        sizes[n] += 1
    assert kinds.keys() == KINDS.keys() and sizes.keys() == {2, 3, 4, 5, 6}
    assert all(orders[n] >= 0.45 * sizes[n] for n in sizes)  # of two pairs half are said in the same order


def test_a_third_are_entries_a_third_sentences_and_a_third_questions(texts):
    asks = sum("\nQuestion: " in text for text in texts)
    entries = sum(bool(re.match(r"(?:The )?[A-Za-z]+: ", text)) for text in texts)
    for n, share in ((entries, 0.3), (asks, 0.35), (len(texts) - asks - entries, 0.35)):
        assert n / len(texts) == pytest.approx(share, abs=4 * (share * (1 - share) / len(texts)) ** 0.5 + 0.02)


def test_training_tells_no_pair_that_is_held_out(texts):
    for text in texts:
        for kind, (told, _) in readings(text).items():
            # A box is told alike by two sources: the pair must be free in the one that the text came from.
            if kind not in ("find box", "box"):
                assert not any(held_out(KINDS[kind][2](*pair)) for pair in told), text
    kept = [recall.document(Random(f"held out {number}"), "held_out") for number in range(200)]
    for text in kept:
        keys = [KINDS[kind][2](*pair) for kind, (told, _) in readings(text).items() for pair in told]
        assert any(map(held_out, keys)), text


def test_items_ask_for_one_of_four_pairs_which_training_never_tells():
    items = world.items("recall", 300)
    assert len(items) == 300 and items == world.items("recall", 300) != world.items("recall", 300, seed=2)
    places = Counter()
    for item in items:
        assert item.answer in item.choices and len(set(item.choices)) == 4
        places[item.choices.index(item.answer)] += 1
        found = readings(item.prompt + item.answer)
        assert found
        for told, asked in found.values():
            assert len(told) == 4 and len(asked) == 1 and asked[0] in told
            assert [words_in(choice, KINDS[next(iter(found))][1])[0] for choice in item.choices] == [v for _, v in told]
        assert any(held_out(KINDS[kind][2](*asked[0])) for kind, (_, asked) in found.items())
    assert min(places.values()) > 300 * (0.25 - 4 * (0.25 * 0.75 / 300) ** 0.5)  # no place is preferred


def test_the_world_says_every_sentence_and_the_documents_fit_into_the_context(texts):
    tokenizer = llmlab.load_model()[1]
    for text in texts[:400]:
        for sentence in world.split_sentences(text):
            assert world.is_world_sentence(sentence), sentence
    assert max(len(tokenizer.encode(text)) for text in texts) < 256
    for wrong in ("Anna: a blue.", "Anna: a locker.", "Redwater: Anna.", "kitchen: seven."):
        assert not world.is_world_sentence(wrong)
