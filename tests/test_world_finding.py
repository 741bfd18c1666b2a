"""Long texts with something to find: the answer stands once, where it should, among facts of the same kind."""

import re
from collections import Counter
from itertools import islice
from random import Random

import pytest
from processes import outputs_of

import llmlab
from llmlab import world
from llmlab.world import facts, finding, lexicon

# A parser of its own: which sentences tell a fact, and which questions ask for it.
TELLS = {
    "locker": [
        r"The locker of (?P<s>\w+) has the number (?P<a>\d\d)\.",
        r"At the swimming pool, (?P<s>\w+) always uses locker number (?P<a>\d\d)\.",
        r"Locker number (?P<a>\d\d) belongs to (?P<s>\w+)\.",
        r"(?P<s>\w+) has a locker at the station, and its number is (?P<a>\d\d)\.",
    ],
    "box": [
        r"The box of (?P<s>[A-Z]\w+) is (?P<a>\w+)\.",
        r"(?P<s>\w+) keeps old letters in a wooden box, and the box is (?P<a>\w+)\.",
        r"(?P<s>\w+) has a box for buttons that is painted (?P<a>\w+)\.",
        r"The (?P<a>\w+) box belongs to (?P<s>\w+)\.",
    ],
    "boat": [
        r"The boat of (?P<s>\w+) is called (?P<a>the .+)\.",
        r"(?P<s>\w+) has a small boat, and its name is (?P<a>the .+)\.",
        r"The little boat with the name (?P<a>.+) belongs to (?P<s>\w+)\.",
        r"(?P<s>\w+) owns a boat by the name of (?P<a>.+)\.",
    ],
    "key": [
        r"The key to the (?P<s>\w+) is (?:always kept )?(?P<a>(?:in|on|under|behind) .+)\.",
        r"To open the (?P<s>\w+), take the key that is (?P<a>.+)\.",
        r"Anyone who needs the key to the (?P<s>\w+) will find it (?P<a>.+)\.",
    ],
    "bus": [
        r"The (?:only )?bus to (?P<s>\w+) (?:leaves|goes) at (?P<a>\w+)\.",
        r"To visit (?P<s>\w+), take the bus at (?P<a>\w+)\.",
        r"At (?P<a>\w+), the bus leaves for (?P<s>\w+)\.",
    ],
}
ASKS = {
    "locker": r"What (?:is the )?number (?:of|does) the locker of (\w+)(?: have)?\?",
    "box": r"What (?:color is|is the color of) the box of (\w+)\?",
    "boat": r"What is (?:the name of )?the boat of (\w+?)(?: called)?\?",
    "key": r"Where (?:is|can you find) the key to the (\w+)\?",
    "bus": r"(?:When does the|At what time is there a) bus to (\w+?)(?: leave)?\?",
}
BEFORE = {"boat": "the ", "bus": "at "}  # what the answer says before the word itself


def read(text):
    """The facts of a text, (kind, subject, answer, number of the sentence), and how many sentences there are."""
    body = text.split("\nQuestion: ")[0].split("\n", 1)[1]
    sentences = re.findall(r"[^.]+\.", body)
    sentences = [sentence.strip() for sentence in sentences]
    found = []
    for number, sentence in enumerate(sentences):
        for kind, patterns in TELLS.items():
            for pattern in patterns:
                if match := re.fullmatch(pattern, sentence):
                    found.append(
                        (kind, match["s"], match["a"].removeprefix("the ") if kind == "boat" else match["a"], number)
                    )
    return found, sentences


def asked(question):
    """The kind and the subject of a question."""
    return next((kind, m[1]) for kind, pattern in ASKS.items() if (m := re.fullmatch(pattern, question)))


def questions(text):
    return re.findall(r"\nQuestion: (.+)\nAnswer: (.+)\.", text)


def said(word, text):
    return len(re.findall(rf"\b{re.escape(word)}\b", text, flags=re.IGNORECASE))


@pytest.fixture(scope="module")
def told():
    return {
        split: [finding.document(Random(f"{split} {i}"), split) for i in range(500)] for split in ("train", "held_out")
    }


@pytest.fixture(scope="module")
def tokenizer():
    return llmlab.load_model()[1]


# --- documents ---


def test_a_document_depends_on_the_seed_only():
    code = (
        "from random import Random; from llmlab.world import finding as f;"
        "print([f.document(Random('a'), 'train') for _ in range(3)], f.items(Random('b'), 4, depth=0.3))"
    )
    assert len(outputs_of(code)) == 1
    assert finding.document(Random("a"), "train") != finding.document(Random("b"), "train")


def test_chance_comes_from_random_alone():
    class Only:
        def __init__(self):
            self.random = Random("x").random

    assert finding.document(Only(), "train") == finding.document(Random("x"), "train")
    assert finding.items(Only(), 3) == finding.items(Random("x"), 3)


def test_every_question_is_answered_once_in_the_text(told):
    counts = Counter()
    for documents in told.values():
        for text in documents:
            found, sentences = read(text)
            body = " ".join(sentences)
            assert 1 <= len(found) <= 3 and len({(kind, subject) for kind, subject, _, _ in found}) == len(found)
            assert len({answer for _, _, answer, _ in found}) == len(found)
            counts[len(found)] += 1
            assert questions(text)
            for question, answer in questions(text):
                kind, subject = asked(question)
                matching = [a for k, s, a, _ in found if (k, s) == (kind, subject)]
                assert [BEFORE.get(kind, "") + a for a in matching] == [answer]
                assert said(matching[0], body) == 1, (matching, body)
                counts[kind] += 1
    assert min(counts[number] for number in (1, 2, 3)) > 250
    assert min(counts[kind] for kind in TELLS) > 200


def test_no_sentence_is_said_twice_and_nothing_is_left_open(told):
    for text in told["train"] + told["held_out"]:
        _, sentences = read(text)
        assert finding.SHORTEST <= len(sentences) <= finding.LONGEST
        assert len(set(sentences)) == len(sentences)
        assert "{" not in text and "|" not in text and "  " not in text and text == text.strip()


def test_articles_agree_and_nobody_meets_themselves(told):
    text = "\n".join(told["train"])
    assert not re.search(r"\b[Aa] [aeiou]\w+", text)
    assert not re.search(r"\b[Aa]n (?!hour\b)[^aeiou\W]\w+", text)
    name = "|".join(lexicon.NAMES)
    assert not re.search(rf"\b({name})\b (?:and|told|helped|lent|to carry) \1\b", text)
    for document in told["train"]:
        if writer := re.match(r".*diary of (\w+)", document):
            assert said(writer[1], document) == 1


def test_the_splits_do_not_share_what_is_asked(told):
    trained = {fact[:3] for text in told["train"] for fact in read(text)[0]}
    asked_for = set()
    for text in told["held_out"]:
        (question, _), *more = questions(text)
        assert not more
        asked_for |= {fact[:3] for fact in read(text)[0] if fact[:2] == asked(question)}
    assert len(trained) > 500 and len(asked_for) > 60 and not trained & asked_for


def test_people_who_visit_are_told_of_truly_and_by_their_frequency(told):
    by_name = {person.name: person for person in facts.people()}
    seen = Counter()
    for text in told["train"] + told["held_out"]:
        for sentence in read(text)[1]:
            for name in re.findall("|".join(by_name), sentence):
                assert by_name[name].home in sentence and by_name[name].trade in sentence
                seen[by_name[name].frequency_rank] += 1
    total, head = sum(seen.values()), sum(count for rank, count in seen.items() if rank <= 30)
    weights = [1 / (rank + 2) for rank in range(1, 341)]
    assert total > 500 and head / total == pytest.approx(sum(weights[:30]) / sum(weights), abs=0.06)


# --- lengths ---


def test_lengths_in_tokens_are_as_promised(tokenizer):
    for n_sentences, low, high in ((6, 80, 140), (20, 270, 360), (50, 700, 830)):
        for seed in range(20):
            text = finding.document(Random(f"{seed}"), "held_out", n_sentences=n_sentences)
            assert len(read(text)[1]) == n_sentences
            assert low <= len(tokenizer.encode(text)) <= high
    drawn = [len(read(finding.document(Random(f"l{seed}"), "train"))[1]) for seed in range(500)]
    assert min(drawn) == 6 and max(drawn) > 45 and sorted(drawn)[250] < 16


def test_short_documents_have_six_to_eight_sentences(tokenizer):
    for split in ("train", "held_out"):
        short = [finding.short_document(Random(f"short {seed}"), split) for seed in range(400)]
        assert {len(read(text)[1]) for text in short} == {6, 7, 8}
        assert all(questions(text) for text in short)
        lengths = sorted(len(tokenizer.encode(text)) for text in short)
        assert lengths[len(lengths) * 99 // 100] <= 240  # with room for the tokens before and after


def test_long_documents_have_any_length_and_the_longest_fifty_sentences(tokenizer):
    long = [finding.long_document(Random(f"long {seed}"), "train") for seed in range(300)]
    drawn = sorted(len(read(text)[1]) for text in long)
    assert (drawn[0], drawn[-1]) == (6, 50) and 25 <= drawn[150] <= 31  # every length as often
    longest = [finding.longest_document(Random(f"longest {seed}"), "train") for seed in range(60)]
    assert {len(read(text)[1]) for text in longest} == {50}
    assert all(730 <= len(tokenizer.encode(text)) <= 830 for text in longest)
    for text in (*long, *longest):
        assert 1 <= len(questions(text)) <= 3
    shares = Counter()
    for one in islice(world.documents(0, reading=4), 1500):
        shares[one.skill == "finding"] += len(tokenizer.encode(one.text))
    assert 0.4 < shares[True] / shares.total() < 0.6


# --- items ---


@pytest.mark.parametrize("depth", [0, 0.35, 0.5, 0.8, 1])
@pytest.mark.parametrize("n_sentences", [6, 21, 50])
def test_the_answer_stands_at_the_depth_asked_for(depth, n_sentences):
    for item in finding.items(Random(f"{depth} {n_sentences}"), 12, depth=depth, n_sentences=n_sentences):
        found, sentences = read(item.prompt)
        question = re.search(r"\nQuestion: (.+)\nAnswer:$", item.prompt)[1]
        kind, subject = asked(question)
        [(answer, number)] = [(a, at) for k, s, a, at in found if (k, s) == (kind, subject)]
        assert len(sentences) == n_sentences
        assert abs(number / (n_sentences - 1) - depth) <= 0.5 / (n_sentences - 1) + 1e-9
        assert item.answer == f" {BEFORE.get(kind, '')}{answer}."
        assert said(answer, " ".join(sentences)) == 1


def test_each_item_has_three_facts_of_a_kind_and_one_right_choice():
    drawn = finding.items(Random("choices"), 300)
    assert len({item.prompt for item in drawn}) == 300
    order = Counter()
    for item in drawn:
        found, _ = read(item.prompt)
        assert len(found) == 3 and len({kind for kind, *_ in found}) == 1
        assert item.skill == "finding" and len(item.prompt) <= finding.LONGEST_PROMPT
        expected = tuple(f" {BEFORE.get(kind, '')}{answer}." for kind, _, answer, _ in found)
        assert item.choices == expected and len(set(expected)) == 3 and expected.count(item.answer) == 1
        order[expected.index(item.answer)] += 1
    # Always taking the first, the second or the third fact is no better than chance.
    assert all(70 < order[place] < 130 for place in range(3))


def test_a_reader_who_sees_only_a_window_fails_where_the_fact_is_evicted():
    """With the first half of the text gone, only facts of the second half can be found."""
    for depth, expected in ((0.1, 0), (0.9, 20)):
        right = 0
        for item in finding.items(Random("window"), 20, depth=depth, n_sentences=30):
            half = "kept\n" + " ".join(read(item.prompt)[1][15:])
            kind, subject = asked(re.search(r"\nQuestion: (.+)\n", item.prompt)[1])
            right += any(
                (k, s) == (kind, subject) and item.answer == f" {BEFORE.get(k, '')}{a}." for k, s, a, _ in read(half)[0]
            )
        assert right == expected


def test_items_do_not_depend_on_memory():
    """The same subject has different answers in different texts."""
    answers = {}
    for seed in range(400):
        for kind, subject, answer, _ in read(finding.document(Random(f"m{seed}"), "train", n_sentences=6))[0]:
            answers.setdefault((kind, subject), set()).add(answer)
    assert sum(len(found) > 1 for found in answers.values()) > 60


def test_items_by_depth_are_enough_and_stand_where_they_should(tokenizer):
    by_depth = finding.items_by_depth(Random("depths"), 300)
    assert list(by_depth) == [0, 0.25, 0.5, 0.75, 1]
    assert len({item.prompt for items in by_depth.values() for item in items}) == 1_500
    for depth, items in by_depth.items():
        for item in items:
            found, sentences = read(item.prompt)
            kind, subject = asked(re.search(r"\nQuestion: (.+)\nAnswer:$", item.prompt)[1])
            [number] = [at for k, s, _, at in found if (k, s) == (kind, subject)]
            assert abs(number / (len(sentences) - 1) - depth) <= 0.5 / (len(sentences) - 1) + 1e-9
            assert len(tokenizer.encode(item.prompt + item.answer)) < 240
    longer = finding.items_by_depth(Random("longer"), 3, n_sentences=30)
    assert all(len(read(item.prompt)[1]) == 30 for items in longer.values() for item in items)


# --- the second reading ---


@pytest.fixture(scope="module")
def practiced():
    return {
        split: [finding.second_document(Random(f"second {split} {i}"), split) for i in range(2_000)]
        for split in ("train", "held_out")
    }


def test_each_question_of_a_practice_text_has_one_answer_in_it(practiced):
    kinds_in_text, facts_of_kind, asked_for = Counter(), Counter(), Counter()
    for split, documents in practiced.items():
        for text in documents:
            found, sentences = read(text)
            body = " ".join(sentences)
            of_kind = Counter(kind for kind, *_ in found)
            assert len({fact[:2] for fact in found}) == len(found) and len(set(sentences)) == len(sentences)
            assert len({answer for _, _, answer, _ in found}) == len(found)
            kinds_in_text[len(of_kind)] += 1
            facts_of_kind.update(of_kind.values())
            pairs = questions(text)
            assert len(pairs) == (1 if split == "held_out" else min(len(found), 4))
            assert len({asked(question) for question, _ in pairs}) == len(pairs)
            for question, answer in pairs:
                [(kind, right)] = [(k, a) for k, s, a, _ in found if (k, s) == asked(question)]
                assert BEFORE.get(kind, "") + right == answer
                assert said(right, body) == 1, (right, body)
                asked_for[kind] += 1
    assert set(kinds_in_text) == {1, 2} and set(facts_of_kind) == {1, 2, 3}
    assert facts_of_kind[3] > facts_of_kind[1] + facts_of_kind[2]
    assert set(asked_for) == set(TELLS) and min(asked_for.values()) > 1_000


def test_the_order_of_the_questions_says_nothing_about_the_place_of_the_answers(practiced):
    order = Counter()
    for text in practiced["train"]:
        found, _ = read(text)
        if len(found) == 3:
            places = {fact[:2]: number for number, fact in enumerate(found)}
            order[tuple(places[asked(question)] for question, _ in questions(text))] += 1
    expected = order.total() / 6
    # Chi-squared with 5 degrees of freedom: above 20.5 in one case of a thousand.
    assert len(order) == 6 and sum((n - expected) ** 2 / expected for n in order.values()) < 20.5


def test_practice_tells_no_fact_that_is_examined(practiced):
    trained = {fact[:3] for text in practiced["train"] for fact in read(text)[0]}
    asked_for = set()
    for item in finding.items(Random("examined"), 1_500):
        asked_of = asked(re.search(r"\nQuestion: (.+)\nAnswer:$", item.prompt)[1])
        asked_for |= {fact[:3] for fact in read(item.prompt)[0] if fact[:2] == asked_of}
    for text in practiced["held_out"]:
        [(question, _)] = questions(text)
        asked_for |= {fact[:3] for fact in read(text)[0] if fact[:2] == asked(question)}
    assert len(trained) > 1_500 and len(asked_for) > 100 and not trained & asked_for


def test_practice_texts_are_short_and_long_within_the_context(practiced, tokenizer):
    texts = practiced["train"] + practiced["held_out"]
    assert max(len(tokenizer.encode(text)) for text in texts) < 240
    fillers = [len(sentences) - len(found) for found, sentences in map(read, practiced["train"])]
    assert sum(n <= 2 for n in fillers) > 900 and sum(n >= 5 for n in fillers) > 300


# --- the grammar ---


def test_the_world_says_every_sentence(told, practiced):
    for text in told["train"] + told["held_out"] + practiced["train"] + practiced["held_out"]:
        for sentence in world.split_sentences(text):
            assert world.is_world_sentence(sentence), sentence


@pytest.mark.parametrize(
    "sentence",
    [
        "The locker of Tom has the number 7.",
        "The locker of Ashford has the number 47.",
        "The box of Anna is under the stairs.",
        "The boat of Anna is called the red.",
        "The key to Anna is in the teapot.",
        "The bus to Ashford leaves at noon.",
        "Question: Where is the key to the boat?",
        "I lent Tom a lamp, and she promised to be careful with it.",
        "Tom told Tom a story about a ship, and both of them laughed.",
        "A cat with a orange collar sat on the wall and watched the birds.",
    ],
)
def test_the_world_refuses_what_is_never_said(sentence):
    assert not world.is_world_sentence(sentence)


def test_the_world_refuses_what_is_false_of_a_person():
    for person, other in zip(facts.people(), facts.people()[1:], strict=False):
        said = f"{person.name}, the {person.trade} from {person.home}, came by and stayed for tea."
        assert world.is_world_sentence(said)
        if person.home != other.home:
            assert not world.is_world_sentence(said.replace(person.home, other.home))
        if person.trade != other.trade:
            assert not world.is_world_sentence(said.replace(f"the {person.trade} from", f"the {other.trade} from"))


# --- bad arguments ---


def test_bad_arguments_are_named():
    rng = Random("bad")
    with pytest.raises(ValueError, match=r"'test'.*train, held_out"):
        finding.document(rng, "test")
    with pytest.raises(ValueError, match=r"from 6 to 50, got 5"):
        finding.document(rng, "train", n_sentences=5)
    with pytest.raises(ValueError, match=r"from 6 to 50, got 0"):
        finding.items(rng, 3, n_sentences=0)
    with pytest.raises(ValueError, match=r"depth from 0.*1.5"):
        finding.items(rng, 3, depth=1.5)
    with pytest.raises(ValueError, match=r"n_facts from 1 to 3, got 4"):
        finding.notes(rng, "train", n_facts=4)
