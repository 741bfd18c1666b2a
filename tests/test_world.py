"""The generated world: reproducible, nothing held out is told, every item has exactly one right answer."""

import hashlib
import math
import re
import subprocess
import sys
from collections import Counter
from itertools import islice
from random import Random

import pytest
import torch
from processes import outputs_of

from llmlab import world
from llmlab.world import lexicon, records, stories

N_DOCUMENTS = 20_000


@pytest.fixture(scope="module")
def told():
    """Training documents, and the content keys of every story plot in them."""
    keys: set[str] = set()
    original = stories.tell

    def tell(rng, **options):
        story = original(rng, **options)
        keys.update(story.keys)
        return story

    stories.tell = tell
    try:
        documents = list(islice(world.documents(11), N_DOCUMENTS))
    finally:
        stories.tell = original
    return documents, keys


@pytest.fixture(scope="module")
def drawn():
    return {skill: world.items(skill, 200) for skill in world.EVALUATIONS}


# --- documents ---


def test_a_document_depends_on_its_arguments_only():
    assert world.document(3, 41) == world.document(3, 41)
    assert list(islice(world.documents(3, start=40), 3)) == [world.document(3, i) for i in (40, 41, 42)]
    assert world.document(3, 41) != world.document(4, 41)
    assert world.document(3, 41) != world.document(3, 41, split="held_out")


def test_documents_are_the_same_in_another_process_with_another_hash_seed():
    code = "from llmlab import world; print([world.document(5, i) for i in range(60)])"
    assert outputs_of(code) == {f"{[world.document(5, i) for i in range(60)]}\n".encode()}


def test_generating_text_needs_no_torch():
    code = "import sys; from llmlab import world; world.sample(); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_mixture_is_what_it_says(told):
    counts = Counter(document.skill for document in told[0])
    assert set(world.MIXTURE) == set(world.SKILLS) == set(counts)
    assert sum(world.MIXTURE.values()) == pytest.approx(1)
    for skill, share in world.MIXTURE.items():
        assert counts[skill] / N_DOCUMENTS == pytest.approx(share, abs=0.012)


@pytest.mark.parametrize(
    "split, digest",
    [
        ("train", "3a8bf9c95763007d7d5c5b4380732b3a88254c0bd83fa281eb2cf80107d9e0d1"),
        ("held_out", "73efd11039f48dc7a757bc324208064383c24b74f7e88a4bb5662fa92322e0a6"),
    ],
)
def test_the_first_reading_is_the_text_that_the_shipped_model_was_trained_on(split, digest):
    """The digest of the stream as it was when the model was trained: no later addition may move a letter of it."""
    found = hashlib.sha256()
    for document in islice(world.documents(0, split=split), N_DOCUMENTS):
        found.update(f"{document.skill}\n{document.text}\n".encode())
    assert found.hexdigest() == digest


@pytest.mark.parametrize(
    "reading, mixture", [(2, world.SECOND_MIXTURE), (3, world.THIRD_MIXTURE), (4, world.LONG_MIXTURE)]
)
def test_a_later_reading_has_its_own_documents_in_its_own_shares(told, reading, mixture):
    later = list(islice(world.documents(11, reading=reading), N_DOCUMENTS))
    counts = Counter(document.skill for document in later)
    assert counts.keys() == mixture.keys() > set(world.SKILLS)
    assert sum(mixture.values()) == pytest.approx(1)
    for skill, share in mixture.items():
        assert counts[skill] / N_DOCUMENTS == pytest.approx(share, abs=0.012)
    others = {document.text for document in (*told[0], *islice(world.documents(11, reading=2 + reading % 3), 3000))}
    again = others & {document.text for document in later}
    assert all(len(text) < 120 for text in again)  # short texts come again by chance, as within one reading
    assert world.document(11, 5, reading=reading) == later[5] != told[0][5]
    assert world.document(3, 5, reading=reading, skills=("finding",)).skill == "finding"


def test_readings_and_their_skills_are_named():
    for wrong in (0, 5, "2"):
        with pytest.raises(ValueError, match=f"unknown reading {wrong!r}; expected one of: 1, 2, 3, 4"):
            world.documents(0, reading=wrong)
    with pytest.raises(ValueError, match="unknown skills: 'hops'"):
        world.document(0, 0, skills="hops")


def test_the_world_says_every_sentence_of_the_second_reading():
    for document in islice(world.documents(3, reading=2), 1500):
        for sentence in world.split_sentences(document.text):
            assert world.is_world_sentence(sentence), sentence


def test_the_second_reading_fits_into_the_context(told):
    lengths = sorted(len(document.text.encode()) for document in islice(world.documents(11, reading=2), 5000))
    assert lengths[int(0.97 * len(lengths))] < 900  # about 240 tokens


def test_documents_fit_their_purpose(told):
    lengths = sorted(len(document.text.encode()) for document in told[0])
    assert 200 < lengths[len(lengths) // 2] < 500
    assert lengths[int(0.95 * len(lengths))] < 900
    assert 3000 < lengths[-1] < 5000
    for document in told[0][:3000]:
        assert document.text == document.text.strip()
        assert "{" not in document.text and "|" not in document.text and "<s>" not in document.text
        assert "  " not in document.text


def test_articles_and_pronouns_agree(told):
    text = "\n".join(document.text for document in told[0])
    assert not re.search(r"\b[Aa] [aeiou]\w+", text)
    assert not re.search(r"\b[Aa]n (?!hour\b)[^aeiou\W]\w+", text)


def test_the_vocabulary_is_small(told):
    words = Counter(re.findall(r"[A-Za-z]+", "\n".join(document.text for document in told[0])))
    assert len(words) < 2000
    chinese = set(re.findall(r"[\u4e00-\u9fff]", "".join(d.text for d in told[0] if d.skill == "translation")))
    assert 100 < len(chinese) < 200


def test_sentences_that_later_chapters_use_are_in_the_world():
    for sentence in (
        "The animal didn't cross the street because it was too tired.",
        "The animal didn't cross the street because it was too wide.",
        "The capital of France is Paris.",
    ):
        assert world.is_world_sentence(sentence)
    assert world.translations()["far ahead"] == "遥遥领先"
    assert world.translations()["Do I deserve a cup of coffee?"] == "我配拥有一杯咖啡吗？"


def test_a_mixture_may_be_given_by_its_shares():
    """2,000 documents, three to one: a binomial count, held to four standard deviations."""
    drawn = Counter(one.skill for one in islice(world.documents(5, skills={"senses": 3, "sums": 1.0}), 2000))
    assert drawn.keys() == {"senses", "sums"} and abs(drawn["senses"] - 1500) < 4 * (2000 * 0.75 * 0.25) ** 0.5
    usual = {skill: world.MIXTURE[skill] for skill in ("senses", "sums")}
    for index in range(50):
        assert world.document(5, index, skills=usual) == world.document(5, index, skills=("senses", "sums"))


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match=r"'juggling'.*stories"):
        world.document(0, 0, skills=("juggling",))
    with pytest.raises(ValueError, match=r"'juggling'.*stories"):
        world.document(0, 0, skills={"juggling": 1.0})
    with pytest.raises(ValueError, match="expected a share above 0 for each skill, got 0 for 'sums'"):
        world.document(0, 0, skills={"sums": 0, "senses": 1})
    with pytest.raises(ValueError, match=r"'test'.*train, held_out"):
        world.documents(0, split="test")
    with pytest.raises(ValueError, match=r"'juggling'.*stories.*translation"):
        world.items("juggling", 3)
    with pytest.raises(ValueError, match=r"'sums'.*sums_1digit"):
        world.evaluate(None, ["sums"], tokenizer=None)
    with pytest.raises(ValueError, match="-1"):
        world.document(0, -1)


def test_the_sample_shows_every_skill():
    text = world.sample(per_skill=1)
    assert [line[2:] for line in text.splitlines() if line.startswith("# ")] == list(world.SKILLS)


# --- facts ---


def test_facts_have_one_answer_each():
    for facts in (world.true_facts(), world.invented_facts()):
        assert len({(fact.subject, fact.relation) for fact in facts}) == len(facts)
    assert 140 <= len(world.true_facts()) <= 170
    assert len(world.people()) == 340 and len(world.invented_facts()) == 1020


def test_people_are_told_of_by_zipfs_law():
    names = {person.name: person.frequency_rank for person in world.people()}
    text = "\n".join(d.text for d in islice(world.documents(2, skills="facts_invented"), 20_000))
    counts = Counter(re.findall("|".join(map(re.escape, names)), text))
    by_rank = {names[name]: count for name, count in counts.items()}
    assert len(by_rank) == 340
    total = sum(1 / (rank + 2) for rank in names.values())
    for rank in (1, 3, 10, 30, 100, 300):
        expected = sum(counts.values()) / (rank + 2) / total
        assert by_rank[rank] == pytest.approx(expected, rel=0.25)


def test_each_fact_is_told_in_many_wordings(told):
    text = "\n".join(document.text for document in told[0])
    person = world.people()[0]
    for answer in (person.home, person.trade, person.pet):
        sentences = {s for s in world.split_sentences(text) if person.name in s and answer in s}
        assert len(sentences) >= 5
    assert len({s for s in world.split_sentences(text) if "France" in s and "Paris" in s}) >= 5


# --- what is held out ---


def test_no_held_out_content_is_told_in_training(told, drawn):
    documents, keys = told
    lines = {line for document in documents for line in document.text.split("\n")}
    text = "\n".join(document.text for document in documents)
    sentences = {s for d in documents for s in world.split_sentences(d.text)}

    held_keys: set[str] = set()
    for index in range(400):
        rng = __import__("random").Random(f"key {index}")
        held_keys.add(stories.tell(rng, split="held_out").keys[0])
    assert len(held_keys) > 300 and not held_keys & keys

    def sums_of(text):
        """The pairs added, or added again to undo a subtraction: numbers stand in threes, the result last."""
        numbers = [int(number) for number in re.findall(r"\d+", text)]
        for a, b, c in zip(*(numbers[n::3] for n in range(3)), strict=True):
            assert c in (a + b, a - b)
            yield tuple(sorted((a, b) if c == a + b else (c, b)))

    trained = {pair for document in documents if document.skill == "sums" for pair in sums_of(document.text)}
    for a, sign, b, c in re.findall(r"(\d+) ([+-]) (\d+) = (\d+)", text):
        trained.add(tuple(sorted((int(a), int(b)) if sign == "+" else (int(c), int(b)))))
    assert len(trained) > 2000
    assert not trained & {pair for item in drawn["sums_2digit"] for pair in sums_of(item.prompt + item.answer)}
    for item in drawn["copying"]:
        assert item.prompt.split("\n")[0] not in lines
    for item in drawn["pronouns"]:
        assert item.prompt.split("\n")[0] not in sentences
    contents = {re.sub(r"^(\w+ ?\w*, )?\w+ ", "", s) for s in sentences}
    for item in drawn["senses"]:
        sentence = re.split(r" Here|\n", item.prompt)[0]
        assert sentence.startswith("Apple") or re.sub(r"^(\w+ ?\w*, )?\w+ ", "", sentence) not in contents
    analogies = set(re.findall(r"(\w+) (?:is to|goes with) \w+ as (\w+)", text))
    for item in drawn["analogies"]:
        assert re.findall(r"(\w+) (?:is to|goes with) \w+ as (\w+)", item.prompt)[0] not in analogies
    joined = text.replace("\n", " ")
    for item in drawn["paraphrases"]:
        assert (item.prompt + item.answer).replace("\n", " ") not in joined
    for skill in ("facts_true", "facts_invented", "sums_1digit", "translation", "stories", "questions"):
        for item in drawn[skill]:
            assert item.prompt + item.answer not in text


# --- items are decided by their prompts ---


def test_items_are_well_formed(drawn):
    for skill, items in drawn.items():
        assert len(items) == 200 and len({item.prompt for item in items}) == 200
        for item in items:
            assert item.skill == skill
            assert not item.prompt.endswith((" ", "\n")) and item.answer.startswith(" ")
            assert item.answer.endswith((".", '."', "\n", "coins.")) and len(item.prompt) <= 700
            assert (item.frequency_rank is not None) == skill.startswith(("facts", "wordings"))
    assert world.items("stories", 5) == world.items("stories", 5) != world.items("stories", 5, seed=2)


SPOT = "|".join(lexicon.SPOTS)
COLOR = "|".join(lexicon.COLORS)
THING = "|".join(lexicon.THINGS)
NAME = r"\b(?:" + "|".join(lexicon.NAMES) + r")\b"


def resolve(text):
    """The story with pronouns at the start of a sentence, or after a comma, replaced by the name before."""
    out, last = [], ""
    for sentence in world.split_sentences(text):
        sentence = re.sub(r"^(He|She)\b", last, sentence)
        names = re.findall(NAME, sentence)
        subject = names[0] if names else last
        sentence = re.sub(r"\b(so|breakfast,|away,|child,|small,) (he|she)\b", rf"\1 {subject}", sentence)
        out.append(sentence)
        last = subject
    return " ".join(out)


def find(pattern, text):
    """The groups of the first match; a pattern with alternatives fills only some of them."""
    match = re.search(pattern, text)
    return tuple(group for group in match.groups() if group) if match else None


def read(story, kind, about=""):
    """What a story says: a reader that knows the words of the world and nothing of how it is made."""
    s = resolve(story)
    if kind == "where":
        places = re.findall(rf"the ({about})\b[^.]*?(?:put it )?({SPOT})", s) + re.findall(
            rf"Your ({about}) is ({SPOT})", s
        )
        return places[-1][1]
    if kind == "wish":
        return find(r"(?:wished for|dreamed of having) (an? \w+)", s)[0]
    if kind == "promise":
        return find(r"promised to bring \w+ (some \w+)|\"I will bring you (some \w+)|asked \w+ for (some \w+), and", s)[
            0
        ]
    if kind == "animal":
        return (
            find(r"(an? (?!friend)\w+) named (\w+)|care of (an? \w+)\. Its name was (\w+)", s)
            or find(r"(\w+) was (an? \w+) that belonged", s)[::-1]
        )
    if kind == "trade":
        return find(r"(\w+) (?:had|owned) an? (\w+)(?:, and|\.) (\w+) (?:had|owned) an? (\w+)\.", s)
    if kind == "color":
        return find(
            rf"\b({COLOR}) paint|door of the \w+ ({COLOR})\b|painted it (\w+)",
            s,
        )[0]
    if kind == "dream":
        return find(r"become (an? \w+)|I will be (an? \w+)|met (an? \w+) and wanted", s)[0]
    if kind == "meet":
        return find(r"meet at the (\w+)|come to the (\w+) later", s)[0]
    if kind == "rain":
        return find(
            r"rains, we will go to the (\w+)\. .*? we will go to the (\w+)"
            r"|rain they would go to the (\w+), and in the sun to the (\w+)",
            s,
        )
    if kind == "race":
        slow = find(r"(\w+) was slow and came last\. (\w+) was faster, but (\w+) came first", s)
        return slow[::-1] if slow else find(r"(\w+) (?:came first,|won\.) (\w+) came second, and (\w+) came last", s)
    if kind == "chain":
        found = re.findall(r"(\w+) found an? \w+\.|(\w+) found an? \w+ at", s)
        return ("".join(found[0]), re.findall(r"gave (?:it|the \w+) to (\w+)", s)[-1])
    raise AssertionError(kind)


def cloze(prompt):
    """The word that a story's beginning decides."""
    *_, last = world.split_sentences(prompt)
    if re.search(r"(opened a box from \w+\. In it was|smile and gave \w+|present from \w+ and saw)$", prompt):
        return read(prompt, "wish")
    if prompt.endswith("some"):
        return read(prompt, "promise").split()[1]
    if re.search(r"by its name,$|It was the \w+,$", prompt):
        return read(prompt, "animal")[1]
    if re.search(r"Nobody had a better$|It was \w+, the$", prompt):
        return read(prompt, "animal")[0].split()[1]
    if re.search(r"(home with the|now had the|and \w+ had the)$", prompt):
        return read(prompt, "trade")[3]
    if re.search(r"(houses of|Next stop,)$", prompt):
        return find(rf"\b({'|'.join(lexicon.TOWNS)})\b", prompt)[0]
    if re.search(r"It was (his|her)$", prompt):
        return find(rf"\b({'|'.join(lexicon.RELATIVES)})\b", prompt)[0]
    if re.search(r"(works as|is really|became)$", prompt):
        return read(prompt, "dream")
    if re.search(r"(waiting at the|met \w+ at the|were at the)$", prompt):
        return read(prompt, "meet")
    if re.search(r"(went to the|took \w+ to the)$", prompt):
        rain, sun = read(prompt, "rain")
        weather = " ".join(world.split_sentences(prompt)[-2:])
        return rain if re.search(r"rained|heavy rain", weather) else sun
    if last.endswith(("to the winner,", "friend of theirs,")):
        return read(prompt, "race")[0 if "winner" in last else 2]
    if re.search(r"(belonged to|kept the \w+ was|stayed with)$", prompt):
        return read(prompt, "chain")[1]
    if re.search(r"(It was|bright and|was now|door was now)$", prompt) and "door" in " ".join(
        world.split_sentences(prompt)[-2:]
    ):
        return read(prompt, "color")
    thing = re.findall(rf"[Tt]he ({THING})\b", prompt)[-1]
    return read(prompt, "where", thing)


def test_stories_are_decided_by_their_beginning(drawn):
    for item in drawn["stories"]:
        assert item.answer.strip(' ."') == cloze(item.prompt), item


def answer(prompt):
    """The answer to a question about a story."""
    story, question, _ = prompt.split("\n")
    q = question.removeprefix("Question: ")
    s = resolve(story)
    chain = re.search(r"gave (?:it|the \w+) to", s) and re.search(r"(\w+) found an?|found an?", s)
    if m := re.match(rf"Where (?:did \w+ put|was|is) the ({THING})(?: now)?\?", q):
        return read(story, "where", m[1])
    if m := re.match(rf"Where was the ({THING}) first", q):
        return find(rf"the {m[1]} ({SPOT})", s)[0]
    if m := re.match(rf"What did \w+ put ({SPOT})", q):
        return "the " + re.findall(rf"the ({THING})\b[^.]*? {m[1]}", s)[0]
    if m := re.match(rf"Who put the ({THING}) ", q):
        return re.findall(rf"({NAME})[^.]*? put (?:the {m[1]}|it) ", s)[-1 if "gave" not in s else 0]
    return None if chain and "has" in q else _other(q, story, s)


def _other(q, story, s):
    table = {
        r"What did \w+ wish for": lambda: read(story, "wish"),
        r"What did \w+ promise": lambda: read(story, "promise"),
        r"What was the name of": lambda: read(story, "animal")[1],
        r"What kind of animal": lambda: read(story, "animal")[0],
        r"What color": lambda: read(story, "color"),
        r"What did \w+ want to become|What is the work": lambda: read(story, "dream"),
        r"Where did \w+ meet": lambda: "at the " + read(story, "meet"),
        r"What was the plan for rain": lambda: "to go to the " + read(story, "rain")[0],
        r"What was the plan for sun": lambda: "to go to the " + read(story, "rain")[1],
        r"Who won": lambda: read(story, "race")[0],
        r"Who came second": lambda: read(story, "race")[1],
        r"Who came last": lambda: read(story, "race")[2],
        r"Where did \w+ go": lambda: "to " + find(rf"\b({'|'.join(lexicon.TOWNS)})\b", s)[0],
        r"Who had lost": lambda: find(r"(\w+) had lost|(\w+) could not find|gone, and (\w+) was sad", s)[0],
        r"Who had seen": lambda: find(r'(\w+) said, "I saw the|But (\w+) had seen the|Then (\w+) told \w+, "Your', s)[
            0
        ],
        r"Who painted": lambda: find(r"(\w+) painted the door|(\w+) had some \w+ paint|so (\w+) painted it", s)[0],
        r"What did \w+ get from": lambda: "the " + read(story, "trade")[3],
    }
    for pattern, reader in table.items():
        if re.match(pattern, q):
            return reader()
    return None


def test_answers_to_questions_are_in_the_story(drawn):
    read_by_hand = 0
    for item in world.items("questions", 400):
        story = item.prompt.split("\nQuestion:")[0]
        given = item.answer.strip()[:-1]
        core = re.sub(r"^(at the|to go to the|to|the door of the|the|some|an?|his|her) ", "", given)
        assert core in story
        expected = answer(item.prompt)
        if expected is not None:
            read_by_hand += 1
            assert given == expected, item
    assert read_by_hand > 200


def test_pronouns_are_decided_by_the_reason(drawn):
    """One reason always belongs to one place in a sentence: learned from training, it decides the items."""
    seen: dict[tuple[str, str], set[bool]] = {}

    def read_one(sentence, question, given):
        reason = re.search(r"because (?:it|he|she) (?:was made of |was going |was )?(.*)\.$", sentence)[1]
        verb = re.sub(r"^(The )?\w+ ", "", sentence).split(" because")[0].split()[0]
        names = re.findall(r"^(?:The )?(\w+).*? (?:the |to |asked |thanked |with )(\w+)", sentence)
        first = re.match(r"(?:The )?(\w+)", sentence)[1]
        return (verb, reason), given.removeprefix("the ").strip(" .") == first, names

    for document in islice(world.documents(4, skills="pronouns"), 2000):
        for sentence, question, given in re.findall(r"([^\n]+)\nQuestion: ([^\n]+)\nAnswer: ([^\n]+)", document.text):
            key, is_first, _ = read_one(sentence, question, given)
            seen.setdefault(key, set()).add(is_first)
    assert all(len(sides) == 1 for sides in seen.values())
    for item in drawn["pronouns"]:
        sentence, question, _ = item.prompt.split("\n")
        key, is_first, _ = read_one(sentence, question, item.answer.strip())
        assert seen[key] == {is_first}


def test_facts_are_those_of_the_world(drawn):
    people = {person.name: person for person in world.people()}
    for item in drawn["facts_invented"]:
        person = next(person for name, person in people.items() if name in item.prompt)
        given = item.answer.strip(" .").removeprefix("an ").removeprefix("a ")
        assert given in (person.home, person.trade, person.pet)
        assert item.frequency_rank == person.frequency_rank
        assert world.is_world_sentence(item.prompt + item.answer)
    for item in drawn["facts_true"]:
        matching = [f for f in world.true_facts() if f.frequency_rank == item.frequency_rank]
        assert matching[0].subject in item.prompt and matching[0].answer in item.answer


def test_senses_are_decided_by_words_that_training_shows_with_them(drawn):
    for item in drawn["senses"]:
        assert item.answer in item.choices and len(set(item.choices)) == 2
        sentence = re.split(r" Here|\n", item.prompt)[0]
        parsed = world.parse(sentence)
        content = parsed.slots.get("content") or parsed.slots["apple"]
        shown = [
            meaning
            for senses in __import__("llmlab.world.senses", fromlist=["x"])._TABLE.values()
            for meaning, begins, ends in senses
            if content in {f"{b} {e}" for b in begins for e in ends}
        ]
        assert [f" {meaning}." for meaning in shown] == [item.answer]


def test_analogies_have_one_answer(drawn):
    from llmlab.world.relations import PAIRS

    for pairs in PAIRS.values():
        assert len(dict(pairs)) == len(pairs)
    for item in drawn["analogies"]:
        a, b, c = re.search(r"(\w+) (?:is to|goes with) (\w+) as (\w+)", item.prompt).groups()
        answers = {
            dict(pairs)[c]
            for pairs in PAIRS.values()
            if c in dict(pairs) and (b in (dict(pairs).get(a), dict(pairs).get(a.lower())))
        }
        assert answers == {item.answer.strip(" .")}


def test_pairs_of_paraphrases_are_of_training_or_held_out():
    learned = {frozenset(pair) for pair in world.paraphrases(3000)}
    tested = {frozenset(pair) for pair in world.paraphrases(300, seed=2, split="held_out")}
    assert len(tested) > 100 and not learned & tested
    assert world.paraphrases(5) == world.paraphrases(5, split="train")


def test_paraphrases_name_what_the_first_sentence_names(drawn):
    for item in drawn["paraphrases"]:
        given = item.answer.strip(" .")
        first, second = (
            re.split(
                r"In other words, |That is to say, |This means that ",
                item.prompt.removeprefix("These mean the same:\n"),
            )[:2]
            if "These mean" not in item.prompt
            else item.prompt.split("\n")[1:]
        )
        assert given in first
        names = re.findall(NAME, first)
        if len(names) == 2 and given in names:
            assert names[1 - names.index(given)] in second


def test_sums_add_up(drawn):
    for skill in ("sums_1digit", "sums_2digit"):
        for item in drawn[skill]:
            a, b = map(int, re.findall(r"\d+", item.prompt))
            assert item.answer == f" {a + b}."
            assert (max(a, b) < 10) == (skill == "sums_1digit")


def test_copies_repeat_the_list(drawn):
    for item in drawn["copying"]:
        assert item.answer == re.match(r"\w+:(.*)\n", item.prompt)[1]


def test_translations_go_both_ways_without_ambiguity(drawn):
    table = world.translations()
    assert len(set(table.values())) == len(table)
    forth, back = {}, {}
    for document in islice(world.documents(6, skills="translation"), 6000):
        for line in document.text.replace("\nChinese:", " =").replace("\nEnglish:", " =").split("\n"):
            if line.count(" = ") == 1:
                left, right = line.split(": ")[-1].split(" = ")
                en, zh = (left, right) if re.search("[A-Za-z]", left) else (right, left)
                assert forth.setdefault(en, zh) == zh and back.setdefault(zh, en) == en
    for item in drawn["translation"]:
        asked = item.prompt.split("\n")[1].removesuffix(" =")
        expected = forth.get(asked) or back.get(asked)
        assert expected is None or item.answer == f" {expected}\n"


# --- the grammar ---


def test_the_grammar_says_every_sentence_of_2000_documents():
    for split in ("train", "held_out"):
        for document in islice(world.documents(21, split=split), 1000):
            for sentence in world.split_sentences(document.text):
                assert world.is_world_sentence(sentence), (document.skill, sentence)


@pytest.mark.parametrize(
    "sentence",
    [
        "The capital of France is Rome.",
        "27 + 35 = 63.",
        "Tom was tired, so she rested for a while.",
        "Tom gave the key Tom.",
        "The key put Anna in the drawer.",
        "猫 = dog",
        "King is to queen as man is to girl.",
        'Here "bank" means a bird.',
        "A owl is a bird.",
        "Tom and Tom were good friends.",
        "",
    ],
)
def test_the_grammar_refuses_what_the_world_never_says(sentence):
    assert not world.is_world_sentence(sentence)


def test_the_grammar_refuses_shuffled_words():
    for document in islice(world.documents(22), 300):
        for sentence in world.split_sentences(document.text):
            words = sentence.split()
            if len(words) > 5 and ":" not in sentence and "=" not in sentence:
                if words[1].isdigit() and words[3].isdigit():
                    continue  # a sum stays right
                words[1], words[3] = words[3], words[1]
                swapped = " ".join(words)
                parsed = world.parse(swapped)
                assert parsed is None or swapped == sentence or words[1][0].isupper() or parsed.skill == "stories"


# --- evaluation ---


class Bytes:
    """A tokenizer of bytes: `<s>` is 256."""

    special_tokens = {"<s>": 256}  # noqa: RUF012

    def encode(self, text):
        return list(text.encode())


class Oracle(torch.nn.Module):
    """A causal model that continues any prompt of the items with the right answer, or with a wrong one."""

    def __init__(self, items, right=True):
        super().__init__()
        self.texts = {item.prompt: item.answer for item in items}
        self.right, self.batches = right, 0
        self.offset = torch.nn.Parameter(torch.zeros(1))

    def forward(self, tokens):  # (B, T) -> (B, T, V)
        assert not self.training and not torch.is_grad_enabled()
        self.batches += 1
        logits = torch.zeros(*tokens.shape, 257)
        for row, ids in enumerate(tokens.tolist()):
            assert ids[0] == 256
            text = bytes(token for token in ids[1:] if token < 256)
            for prompt, answer in self.texts.items():
                if text == (prompt + answer).encode():
                    for at in range(len(text)):
                        logits[row, at, text[at] if self.right or at < len(text) - 1 else 0] = 1
        return logits + self.offset


@pytest.mark.parametrize("right", [True, False])
def test_a_perfect_model_scores_one_and_a_model_that_errs_in_the_last_byte_scores_zero(right):
    items = [item for skill in world.EVALUATIONS for item in world.items(skill, 4)]
    model = Oracle(items, right).train()
    scores = world.evaluate(model, n=4, tokenizer=Bytes(), batch_size=16)
    assert tuple(scores) == world.EVALUATIONS and model.batches == math.ceil(len(items) / 16) and model.training
    assert {(score.correct, score.total) for score in scores.values()} == {(4 * right, 4)}


def test_answers_keep_the_order_of_the_items():
    items = world.items("stories", 6)
    model = Oracle(items[:2] + items[4:5]).eval()
    assert world.answers(model, items, tokenizer=Bytes(), batch_size=4) == [
        True,
        True,
        False,
        False,
        True,
        False,
    ]
    assert not model.training


def test_one_skill_may_be_named_alone():
    model = Oracle(world.items("copying", 3, seed=7))
    assert world.evaluate(model, "copying", 3, tokenizer=Bytes(), seed=7)["copying"].accuracy == 1


def test_the_interval_is_wilsons():
    score = world.Score(188, 200)
    # Each end p of the interval solves |188/200 − p| = z √(p (1 − p) / 200).
    for p in (score.low, score.high):
        assert abs(0.94 - p) == pytest.approx(1.959964 * (p * (1 - p) / 200) ** 0.5, rel=1e-6)
    assert str(score) == "0.94 (0.90–0.97, n=200)"
    assert world.Score(0, 50).low == 0 and world.Score(50, 50).high == 1 and world.Score(50, 50).low > 0.9


def test_a_story_that_has_named_everything_of_a_kind_goes_on_without_it():
    """Long stories use up a pool of words; choosing another from it must end with an error, not search for ever."""
    used = set("abc")
    with pytest.raises(LookupError, match="all 3 options are used: a, b, c"):
        records.pick_other(Random("any"), "abc", used)
    assert used == set("abc")
    start = 1470 * 16 * 257  # a stretch with such a story
    assert sum(len(d.text) for d in islice(world.documents(0, start=start), 60)) > 10_000


@pytest.mark.parametrize("skill", world.EVALUATIONS)
def test_asking_for_more_items_than_there_are_ends(skill):
    found = world.items(skill, 5_000)
    assert len({item.prompt for item in found}) == len(found) > 60


def test_told_items_are_sentences_of_training_about_every_fact():
    for skill, facts in (("facts_true", world.true_facts()), ("facts_invented", world.invented_facts())):
        items = world.told_items(skill)
        assert len(items) == len({item.prompt for item in items}) == 2 * len(facts)
        assert all(world.is_world_sentence(item.prompt + item.answer) for item in items[::7])
        held_out = {item.prompt for item in world.items(skill, 2 * len(facts))}
        assert not held_out & {item.prompt for item in items}
    told = " ".join(document.text for document in islice(world.documents(0, skills=["facts_true"]), 2000))
    assert all(item.prompt in told for item in world.told_items("facts_true"))
    with pytest.raises(ValueError, match="facts_true or facts_invented, got 'sums'"):
        world.told_items("sums")
