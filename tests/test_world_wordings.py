"""Facts in many wordings: the first reading stays as it was, the second tells more and keeps others for questions."""

import hashlib
import re
from collections import defaultdict
from functools import cache
from random import Random

import pytest

import llmlab
from llmlab import world
from llmlab.world import facts, wordings
from llmlab.world.grammar import plain

N_DOCUMENTS = 20_000
SKILLS = {"facts_true": world.true_facts, "facts_invented": world.invented_facts}
TELL = {"facts_true": facts.true_document, "facts_invented": facts.invented_document}
FIRST = wordings.TRUE | wordings.INVENTED
MORE = wordings.MORE_TRUE | wordings.MORE_INVENTED
RELATIONS = list(FIRST)
WORDINGS = {"facts_true": "wordings_true", "facts_invented": "wordings_invented"}
OF_THE_CARD = (
    *("stories", "pronouns", "facts_true", "facts_invented", "senses", "analogies", "paraphrases", "sums_1digit"),
    *("sums_2digit", "copying", "questions", "translation", "steps", "steps_direct", "finding"),
)


def a(word):
    """The article, by a rule of its own."""
    return f"{'an' if word[0] in 'aeiou' else 'a'} {word}"


def filled(template, fact):
    """The template about a fact, filled by hand."""
    s, o = fact.subject, fact.answer
    values = {"s": s, "S": s[:1].upper() + s[1:], "s_a": a(s), "o": o, "o_a": a(o)}
    values |= {"S_a": values["s_a"].capitalize(), "O_a": values["o_a"].capitalize()}
    return re.sub(r"\{(\w+)\}", lambda slot: values[slot[1]], template)


def every_fact():
    return [fact for known in SKILLS.values() for fact in known()]


def trained(relation):
    """All templates of training, questions with their answer, the bar where it begins."""
    asked = [
        f"Question: {question}\nAnswer:| {FIRST[relation].answer}"
        for question in FIRST[relation].questions + MORE[relation].questions
    ]
    return [*FIRST[relation].train, *MORE[relation].train, *asked]


@cache
def told(skill):
    return [TELL[skill](Random(f"{skill} {number}"), "train", reading=2) for number in range(N_DOCUMENTS)]


@pytest.fixture(scope="module")
def tokenizer():
    return llmlab.load_model()[1]


# --- the first reading ---


def test_items_of_the_first_reading_are_those_of_the_card():
    for expected, drawn in (
        (
            "8bbd3c075d9b8b2b08ff867fc895fc8825e322cd5f23abfe58d1b48cdfef7c15",
            [item for skill in OF_THE_CARD for item in world.items(skill, 200)],
        ),
        (
            "a3fe40e76d33e5784bbb1e94e06c92351fc2c59bc1b665ffa15644b0897a109f",
            [item for skill in SKILLS for item in world.told_items(skill)],
        ),
    ):
        assert hashlib.sha256("".join(map(repr, drawn)).encode()).hexdigest() == expected


# --- how many wordings, and how different ---


@pytest.mark.parametrize("relation", RELATIONS)
def test_each_relation_has_many_wordings(relation):
    first, more = FIRST[relation], MORE[relation]
    statements = first.train + more.train
    assert len(set(statements)) == len(statements) >= 40 and len(more.train) >= 35
    questions = first.questions + more.questions
    assert len(set(questions)) == len(questions) >= 20
    before = [plain(wording).partition("{o")[0] for wording in statements]
    assert any("{s" in text.lower() for text in before) and any("{s" not in text.lower() for text in before)
    assert sum(wording.endswith('"') or "asked" in wording for wording in more.train) >= 1


@pytest.mark.parametrize("relation", RELATIONS)
def test_held_out_wordings_are_questions_and_statements(relation):
    held_out = MORE[relation].held_out
    assert len(set(held_out)) == len(held_out) >= 3 and not set(held_out) & set(FIRST[relation].held_out)
    assert 1 <= sum(wording.startswith("Question: ") for wording in held_out) <= len(held_out) - 2
    for wording in held_out:
        prompt, answer = wording.split("|")
        assert answer == f" {FIRST[relation].answer}" and "{s" in prompt.lower() and "{o" not in prompt.lower()


def words_of(template):
    """Its words in lower case, without punctuation, and without articles or capitals of the slots."""
    text = re.sub(r"\{(\w)(_a)?\}", lambda slot: f" slot_{slot[1].lower()} ", plain(template))
    return re.findall(r"\w+", text.lower())


def before_answer(template):
    """The words before the answer, wherever the answer stands."""
    found = words_of(template)
    return found[: found.index("slot_o")]


@pytest.mark.parametrize("relation", RELATIONS)
def test_no_held_out_wording_leads_to_its_answer_like_one_of_training(relation):
    known = {tuple(before_answer(wording)[-3:]) for wording in trained(relation)}
    for wording in MORE[relation].held_out:
        last = tuple(before_answer(wording)[-3:])
        assert len(last) == 3 and last not in known


@pytest.mark.parametrize("relation", RELATIONS)
def test_no_held_out_wording_is_one_of_training_with_something_in_front(relation):
    for wording in MORE[relation].held_out:
        said = words_of(wording)
        for other in trained(relation):
            end = words_of(other)
            assert said[-len(end) :] != end, (wording, other)


def edits(left, right):
    """How many words must be put in, left out or exchanged (Wagner and Fischer 1974)."""
    row = list(range(len(right) + 1))
    for i, a_word in enumerate(left, 1):
        corner, row[0] = row[0], i
        for j, b_word in enumerate(right, 1):
            corner, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, corner + (a_word != b_word))
    return row[-1]


@pytest.mark.parametrize("relation", RELATIONS)
def test_a_held_out_wording_is_at_least_four_words_from_any_of_training(relation):
    assert edits(["a", "b", "c", "d"], ["a", "x", "c"]) == 2
    for wording in MORE[relation].held_out:
        for other in trained(relation):
            assert edits(words_of(wording), words_of(other)) >= 4, (wording, other)


# --- what training tells ---


@pytest.mark.parametrize("skill", SKILLS)
def test_no_held_out_wording_is_told_in_20_000_documents(skill):
    lines = "\n".join(told(skill))
    sentences = {sentence for text in told(skill) for sentence in world.split_sentences(text)}
    for fact in SKILLS[skill]():
        for wording in FIRST[fact.relation].held_out + MORE[fact.relation].held_out:
            text = filled(plain(wording), fact)
            assert not sentences.issuperset(world.split_sentences(text)), text
    for wording in (w for r in RELATIONS for w in FIRST[r].held_out + MORE[r].held_out):
        fixed = max(re.split(r"\{\w+\}|\n", plain(wording)), key=len)
        if len(fixed) > 25:  # long enough to be its own
            assert fixed not in lines, wording


@pytest.mark.parametrize("skill", SKILLS)
def test_every_wording_of_training_is_told(skill):
    openings = {world.split_sentences(text)[0] for text in told(skill)}
    templates = {world.parse(opening).template for opening in openings}
    for relation in {fact.relation for fact in SKILLS[skill]()}:
        for wording in FIRST[relation].train + MORE[relation].train:
            assert world.split_sentences(plain(wording))[0] in templates
        for question in FIRST[relation].questions + MORE[relation].questions:
            assert world.split_sentences(f"Question: {question}")[0] in templates


@pytest.mark.parametrize("skill", SKILLS)
def test_two_documents_in_five_ask(skill):
    share = sum(text.startswith("Question: ") for text in told(skill)) / N_DOCUMENTS
    assert share == pytest.approx({"facts_true": 0.45, "facts_invented": 0.45 * 0.85}[skill], abs=0.015)


def test_documents_of_a_reading_follow_from_their_seed_and_the_first_is_the_default():
    for skill, tell in TELL.items():
        for split in ("train", "held_out"):
            assert tell(Random("a"), split, reading=2) == tell(Random("a"), split, reading=2)
            assert tell(Random("a"), split, reading=1) == tell(Random("a"), split)
        with pytest.raises(ValueError, match="reading 1 or 2, got 3"):
            tell(Random("a"), "train", reading=3)
        assert told(skill)[:50] != [tell(Random(f"{skill} {number}"), "train") for number in range(50)]


def test_documents_of_the_second_reading_fit_into_the_context(tokenizer):
    for skill in SKILLS:
        lengths = sorted(len(tokenizer.encode(text)) for text in told(skill)[:1_500])
        assert lengths[len(lengths) // 2] > 40 and lengths[-1] < 250
        for text in told(skill)[:3_000]:
            assert text == text.strip() and not re.search(r"[{}|]|  |\b[Aa] [aeiou]", text)


# --- what is asked ---


def test_every_wording_that_is_asked_has_one_right_answer():
    """Wherever a bar stands before the answer, no other fact has the same prompt with another answer."""
    answers = defaultdict(set)
    for fact in every_fact():
        for wording in (*trained(fact.relation), *MORE[fact.relation].held_out):
            if "{o" in wording.partition("|")[2]:
                prompt, answer = (filled(part, fact) for part in wording.split("|"))
                answers[prompt].add(answer)
    assert len(answers) > 20_000
    several = {prompt: found for prompt, found in answers.items() if len(found) > 1}
    assert not several, list(several.items())[:5]


@pytest.mark.parametrize("skill", SKILLS)
def test_no_sentence_of_training_begins_like_a_held_out_prompt(skill):
    said = [filled(plain(wording), fact) for fact in SKILLS[skill]() for wording in trained(fact.relation)]
    prompts = {item.prompt for item in world.items(WORDINGS[skill], 10**6)}
    lengths = {len(prompt) for prompt in prompts}
    beginnings = {text[:length] for text in said for length in lengths if length < len(text)}
    assert not prompts & beginnings


@pytest.mark.parametrize("skill", SKILLS)
def test_wording_items_ask_each_fact_in_all_held_out_wordings(skill):
    known = SKILLS[skill]()
    items = world.items(WORDINGS[skill], 10**6)
    assert len(items) == len({item.prompt for item in items}) == sum(len(MORE[f.relation].held_out) for f in known)
    expected = {
        (*(filled(part, fact) for part in wording.split("|")), fact.frequency_rank)
        for fact in known
        for wording in MORE[fact.relation].held_out
    }
    assert {(item.prompt, item.answer, item.frequency_rank) for item in items} == expected
    assert all(item.skill == WORDINGS[skill] for item in items)
    assert world.items(WORDINGS[skill], 30) == world.items(WORDINGS[skill], 30) == items[:30]
    assert world.items(WORDINGS[skill], 30) != world.items(WORDINGS[skill], 30, seed=2)
    assert not {item.prompt for item in items} & {item.prompt for item in world.items(skill, 10**6)}


def test_every_wording_is_shorter_than_40_tokens(tokenizer):
    frequent = {relation: [] for relation in RELATIONS}
    for fact in every_fact():
        frequent[fact.relation].append(fact)
    for relation, known in frequent.items():
        longest = sorted(known, key=lambda fact: -len(tokenizer.encode(f" {fact.subject} {fact.answer}")))[:3]
        for wording in (*trained(relation), *MORE[relation].held_out):
            for fact in longest:
                assert len(tokenizer.encode(filled(plain(wording), fact))) < 40, wording


# --- the grammar ---


@pytest.mark.parametrize("split", ["train", "held_out"])
@pytest.mark.parametrize("skill", SKILLS)
def test_the_grammar_says_the_documents_of_the_second_reading(skill, split):
    for number in range(700):
        text = TELL[skill](Random(f"{skill} {number}"), split, reading=2)
        for sentence in world.split_sentences(text):
            parsed = world.parse(sentence)
            assert parsed is not None, sentence


@pytest.mark.parametrize("relation", RELATIONS)
def test_the_grammar_refuses_every_new_statement_with_the_answer_of_another_subject(relation):
    """Where subject and answer stand in one sentence. Two facts that are both true are no test."""
    known = [fact for fact in every_fact() if fact.relation == relation]
    true = {(fact.subject, fact.answer) for fact in known}
    rng = Random(relation)
    templates = [plain(wording) for wording in MORE[relation].train + MORE[relation].held_out]
    sentences = [s for template in templates for s in world.split_sentences(template) if "{o" in s.lower()]
    sentences = [s for s in sentences if "{s" in s.lower()]
    assert len(sentences) >= 0.75 * len(templates)  # dialogues and questions have the two in two sentences
    for sentence in sentences:
        for _ in range(12):
            fact = known[int(rng.random() * len(known))]
            other = known[int(rng.random() * len(known))]
            so = world.Fact(fact.subject, relation, other.answer, 1)
            assert world.is_world_sentence(filled(sentence, so)) == ((so.subject, so.answer) in true), sentence


def test_the_grammar_refuses_a_portrait_of_somebody_else():
    one, other = (
        next(p for p in world.people() if p.pronoun == "she"),
        next(p for p in reversed(world.people()) if p.pronoun == "she"),
    )
    assert len({one.home, other.home, one.trade, other.trade, one.pet, other.pet}) == 6
    said = f"Person: {one.name}; home: {one.home}; work: {one.trade}; animal: {one.pet}."
    assert world.is_world_sentence(said)
    for name in ("home", "trade", "pet"):
        assert not world.is_world_sentence(said.replace(f": {getattr(one, name)}", f": {getattr(other, name)}"))


# --- asking for one fact ---


@pytest.mark.parametrize("fact", [f for skill in SKILLS for f in SKILLS[skill]()[::97]], ids=lambda f: f.subject)
def test_one_fact_is_asked_in_each_wording_once(fact):
    kept = FIRST[fact.relation].held_out + MORE[fact.relation].held_out
    assert [f"{item.prompt}|{item.answer}" for item in world.asked(fact, "held_out")] == [filled(w, fact) for w in kept]
    told = world.asked(fact)
    every = [filled(w, fact) for w in FIRST[fact.relation].train]
    assert {f"{item.prompt}|{item.answer}" for item in told} <= set(every)
    skill = next(skill for skill in SKILLS if fact in SKILLS[skill]())
    both = [item for item in world.told_items(skill) if item.prompt in {item.prompt for item in told}]
    assert both == told[:2]
    reverse = world.asked(fact, "reversed")
    assert {f"{item.prompt}|{item.answer}" for item in reverse} <= set(every)
    assert all(fact.subject.lower() in item.answer.lower() for item in reverse)
    assert all(fact.subject not in item.prompt for item in reverse)


def test_a_false_fact_is_asked_as_a_true_one_is():
    fact = next(f for f in world.true_facts() if (f.subject, f.relation) == ("France", "capital"))
    false = world.Fact("France", "capital", "Rome", 1)
    for asked_in in facts.ASKED[:2]:
        pairs = zip(world.asked(fact, asked_in), world.asked(false, asked_in), strict=True)
        assert all(t.prompt == f.prompt and t.answer.replace("Paris", "Rome") == f.answer for t, f in pairs)
    assert [item.prompt for item in world.asked(false, "reversed")] == ["Rome is the capital of"]
    with pytest.raises(ValueError, match="one of told, held_out, reversed, got 'all'"):
        world.asked(fact, "all")
    with pytest.raises(ValueError, match="unknown relation 'river'; expected one of: capital"):
        world.asked(world.Fact("France", "river", "Seine", 1))
