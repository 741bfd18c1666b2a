"""Questions over two links: whoever reads the text back finds exactly one answer, and training tells none of those."""

import re
from collections import Counter, deque
from random import Random

import pytest
from processes import outputs_of

import llmlab
from llmlab import world
from llmlab.world import hops, lexicon, records

# A reader of its own. A sentence links two things: ("name", "Anna") with ("pet", "goat").
LINKS = [
    (r"(?P<name>\w+) lives in (?P<home>\w+)", r"The home of (?P<name>\w+) is in (?P<home>\w+)"),
    (r"(?P<home>\w+) is the town where (?P<name>\w+) lives",),
    (r"(?P<name>\w+) works as an? (?P<trade>\w+)", r"(?P<name>\w+) is an? (?P<trade>\w+)"),
    (r"The name of the (?P<trade>\w+) is (?P<name>\w+)",),
    (r"(?P<name>\w+) has an? (?P<pet>\w+)", r"The pet of (?P<name>\w+) is an? (?P<pet>\w+)"),
    (r"The (?P<pet>\w+) belongs to (?P<name>\w+)",),
    (r"The box of (?P<name>\w+) is (?P<box>\w+)", r"(?P<name>\w+) has an? (?P<box>\w+) box"),
    (r"The (?P<box>\w+) box belongs to (?P<name>\w+)",),
    (r"(?P<name>\w+) likes (?P<food>\w+) best", r"The favorite food of (?P<name>\w+) is (?P<food>\w+)"),
    (r"The one who likes (?P<food>\w+) best is (?P<name>\w+)",),
    (r"The (?P<kin>\w+ of \w+) is (?P<name>\w+)", r"(?P<name>\w+) is the (?P<kin>\w+ of \w+)"),
    (r"There is an? (?P<inside>\w+) in the (?P<box>\w+) box", r"The (?P<box>\w+) box holds an? (?P<inside>\w+)"),
    (r"The (?P<inside>\w+) is in the (?P<box>\w+) box",),
    (r"There is an? (?P<sight>\w+) in (?P<home>[A-Z]\w+)", r"(?P<home>\w+) has an? (?P<sight>\w+)"),
    (r"You can see an? (?P<sight>\w+) in (?P<home>\w+)",),
]
PATTERNS = [pattern for patterns in LINKS for pattern in patterns]
WORDS = {
    "name": lexicon.NAMES,
    "home": lexicon.TOWNS,
    "trade": lexicon.TRADES,
    "pet": lexicon.PETS,
    "box": lexicon.COLORS,
    "food": lexicon.FOODS,
    "inside": lexicon.THINGS,
    "sight": lexicon.PLACES,
}
KIN = r"(?:brother|sister|cousin|neighbor|friend) of [A-Z]\w+"
# What a question asks for, by how it begins or what it holds.
ASKS = [
    ("home", r"(Where does|In which town does) "),
    ("trade", r"(What does .* work as|What is the trade of)"),
    ("pet", r"(What pet does|What is the pet of)"),
    ("box", r"What (color is|is the color of) the box of"),
    ("food", r"(What food does|What is the favorite food of)"),
    ("inside", r"(What is in |What does .* hold)"),
    ("sight", r"(What can you see in|What is there in)"),
    ("name", r"Who"),
]
SAID = {"home": r"in (\w+)\.", "trade": r"an? (\w+)\.", "pet": r"an? (\w+)\.", "inside": r"an? (\w+)\."}
SAID |= {"sight": r"an? (\w+)\.", "box": r"(\w+)\.", "food": r"(\w+)\.", "name": r"(\w+)\."}


def links(text):
    """The links of a text, each in both directions: thing -> the things next to it."""
    found = {}
    for sentence in re.findall(r"[^.]+(?=\.)", text.split("\nQuestion: ")[0]):
        readings = []
        for pattern in PATTERNS:
            match = re.fullmatch(pattern, sentence.strip())
            if match and all(word in WORDS.get(kind, [word]) for kind, word in match.groupdict().items()):
                readings.append(tuple(match.groupdict().items()))
        [(one, other)] = set(readings)
        for a, b in ((one, other), (other, one)):
            found.setdefault(a, []).append(b)
    return found


def asked(question):
    """What a question gives and the kind it asks for."""
    kind = next(kind for kind, pattern in ASKS if re.match(pattern, question))
    kin = re.search(KIN, question)
    if kin:
        return ("kin", kin[0]), kind
    given = [
        (other, word)
        for word in re.findall(r"\w+", question)
        for other, words in WORDS.items()
        if word in words and other != kind
    ]
    if len(given) > 1 and len({word for _, word in given}) == 1:  # a word of two kinds, told apart by its place
        given = [(other, word) for other, word in given if (other == "inside") == ("box" in question)]
    [only] = given
    return only, kind


def reached(found, start, kind, steps):
    """All things of a kind that are exactly so many links away."""
    distance, queue = {start: 0}, deque([start])
    while queue:
        here = queue.popleft()
        for there in found.get(here, []):
            if there not in distance:
                distance[there] = distance[here] + 1
                queue.append(there)
    return [thing[1] for thing, far in distance.items() if thing[0] == kind and far == steps]


def solve(text, question):
    """The number of links and the answer; every other number of links must lead nowhere nearer."""
    given, kind = asked(question)
    found = links(text)
    for steps in (1, 2):
        answers = reached(found, given, kind, steps)
        if answers:
            [answer] = answers
            return steps, answer
    raise AssertionError((text, question))


def questions(text):
    return re.findall(r"\nQuestion: (.+)\nAnswer: (.+\.)", text)


@pytest.fixture(scope="module")
def told():
    return {split: [hops.document(Random(f"{split} {i}"), split) for i in range(2_000)] for split in records.SPLITS}


@pytest.fixture(scope="module")
def drawn():
    return {2: hops.items(Random("two"), 1_500), 1: hops.one_hop_items(Random("one"), 1_500)}


def test_a_document_depends_on_the_seed_only():
    code = (
        "from random import Random; from llmlab.world import hops as h;"
        "print([h.document(Random('a'), 'train') for _ in range(5)], h.items(Random('b'), 5))"
    )
    assert len(outputs_of(code)) == 1
    assert hops.document(Random("a"), "train") != hops.document(Random("b"), "train")


def test_the_text_gives_every_answer_and_only_one(told):
    hop_counts, sizes = Counter(), Counter()
    for documents in told.values():
        for text in documents:
            pairs = questions(text)
            sizes[len(pairs)] += 1
            assert len({asked(question) for question, _ in pairs}) == len(pairs)
            for question, answer in pairs:
                steps, found = solve(text, question)
                assert re.fullmatch(SAID[asked(question)[1]], answer)[1] == found, (text, question, answer)
                hop_counts[steps] += 1
    assert set(sizes) == {1, 2, 3}
    assert hop_counts[1] / hop_counts.total() == pytest.approx(1 / 3, abs=0.03)


def test_all_kinds_of_questions_are_asked(told):
    asked_for = Counter()
    for text in told["train"]:
        for question, _ in questions(text):
            (given, _), kind = asked(question)
            asked_for[given, kind] += 1
    assert set(asked_for) == {*hops.ONE_HOP, *hops.TWO_HOPS}
    assert min(asked_for.values()) >= 10


def test_people_and_what_is_theirs_are_told_once(told):
    for text in told["train"] + told["held_out"]:
        found = links(text)
        people = [thing for thing in found if thing[0] == "name"]
        assert 3 <= len(people) <= 5
        for thing, others in found.items():
            kinds = [kind for kind, _ in others]
            assert len(set(kinds)) == len(kinds), (text, thing)
            if thing[0] != "name":
                assert kinds.count("name") <= 1
        sentences = re.findall(r"[^.]+\.", text.split("\n")[0])
        assert len(set(sentences)) == len(sentences)
        assert not re.search(r"\b[Aa] [aeiou]\w+|\b[Aa]n [^aeiou\W]\w+|[{}|]|  ", text)


def test_brothers_are_boys_sisters_are_girls_and_nobody_is_their_own(told):
    for text in told["train"]:
        for thing, others in links(text).items():
            if thing[0] == "kin":
                word, other = thing[1].split(" of ")
                [(_, name)] = others
                assert name != other
                assert word != "brother" or name in lexicon.BOYS
                assert word != "sister" or name in lexicon.GIRLS


def test_training_never_links_what_is_held_out(told, drawn):
    """Not even in a text that asks something else."""
    trained = set()
    for text in told["train"]:
        found = links(text)
        for start in found:
            for kind in (*WORDS, "kin"):
                for steps in (1, 2):
                    trained |= {frozenset((start, (kind, word))) for word in reached(found, start, kind, steps)}
    assert len(trained) > 5_000
    examined = set()
    for items in drawn.values():
        for item in items:
            text, question = re.fullmatch(r"(.+)\nQuestion: (.+)\nAnswer:", item.prompt).groups()
            given, kind = asked(question)
            examined.add(frozenset((given, (kind, solve(text, question)[1]))))
    for text in told["held_out"]:
        [(question, _)] = questions(text)
        given, kind = asked(question)
        examined.add(frozenset((given, (kind, solve(text, question)[1]))))
    assert len(examined) > 200 and not trained & examined


@pytest.mark.parametrize("steps", [1, 2])
def test_items_need_so_many_links_and_name_all_answers_of_the_text(drawn, steps):
    items = drawn[steps]
    assert len({item.prompt for item in items}) == 1_500
    order, expected = Counter(), 0.0
    for item in items:
        text, question = re.fullmatch(r"(.+)\nQuestion: (.+)\nAnswer:", item.prompt).groups()
        kind = asked(question)[1]
        assert item.skill == {1: "hops_one", 2: "hops"}[steps]
        found, answer = solve(text, question)
        assert found == steps and re.fullmatch(" " + SAID[kind], item.answer)[1] == answer
        words = {word for other, word in links(text) if other == kind}
        assert [re.fullmatch(" " + SAID[kind], choice)[1] for choice in item.choices] == sorted(
            words, key=lambda word, text=text: re.search(rf"\b{word}\b", text).start()
        )
        assert 3 <= len(item.choices) <= 5 and item.choices.count(item.answer) == 1
        order[item.choices.index(item.answer)] += 1
        expected += 1 / len(item.choices)
    assert 0.2 < expected / len(items) < 1 / 3
    # Always taking the first answer of that kind in the text, or always the last, is hardly better than chance.
    last = sum(item.choices[-1] == item.answer for item in items)
    assert order[0] < 1.2 * expected and last < 1.2 * expected


def test_documents_have_less_than_200_tokens(told):
    tokenizer = llmlab.load_model()[1]
    assert max(len(tokenizer.encode(text)) for text in told["train"] + told["held_out"]) < 200
    longest = max(len(tokenizer.encode(item.prompt + item.answer)) for item in hops.items(Random("long"), 500))
    assert longest < 200


def test_the_world_says_every_sentence(told):
    for text in told["train"] + told["held_out"]:
        for sentence in world.split_sentences(text):
            assert world.is_world_sentence(sentence), sentence


@pytest.mark.parametrize(
    "sentence",
    [
        "Anna lives in the kitchen.",
        "The brother of Anna is Clara.",
        "The sister of Tom is Ben.",
        "The cousin of Anna is Anna.",
        "Tom has an goat.",
        "The pet of Tom is a lamp.",
        "Question: What pet does the pet of Tom have?",
        "Question: What color is the box of the owner of the red box?",
        "There is a museum in the red box.",
    ],
)
def test_the_world_refuses_what_is_never_said(sentence):
    assert not world.is_world_sentence(sentence)
