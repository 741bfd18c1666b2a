"""Noise: each kind changes the text in its own way and no other, as often as the rate says, and it can be undone."""

import re
from collections import Counter
from functools import cache
from itertools import islice, pairwise
from math import sqrt

import pytest
from processes import outputs_of

from llmlab import world
from llmlab.world import noise, sums
from llmlab.world.lexicon import a

ADDED = ("repeated", "boilerplate", "glued")
SEED = 6


@cache
def drawn(kind, rate, skills=None, n=1_500):
    """Noisy documents of one kind of noise (None: of all kinds)."""
    return list(islice(noise.documents(SEED, rate, skills=skills, kinds=kind), n))


def altered(kind, rate=0.3, skills=None, n=1_500):
    """Pairs of a clean unit and what became of it; asserts that nothing else in the documents changed."""
    for document in drawn(kind, rate, skills, n):
        units = world.split_sentences(document.clean.text)
        text, shift, position = document.clean.text, 0, 0
        for change in document.changes:
            assert change.kind == kind
            unit, now = units[change.unit], document.text[change.start : change.end]
            start = change.start - shift
            assert start >= position and text[start : start + len(unit)] == unit != now
            assert text[position:start] == document.text[position + shift : change.start]
            yield document, change.unit, unit, now
            shift += len(now) - len(unit)
            position = start + len(unit)
        assert text[position:] == document.text[position + shift :]


def undone(document):
    """The clean text, made from the noisy one by taking back each change.

    Where units have moved, the text is cut into units again, and those that have not moved must be in order.
    """
    units = world.split_sentences(document.clean.text)
    text, moved = document.text, set()
    for change in reversed(document.changes):
        start, end = change.start, change.end
        if change.kind == "moved":
            assert text[start:end] == units[change.unit]
            moved.add(change.unit)
        text = text[:start] + ("" if change.kind in ADDED else units[change.unit]) + text[end:]
    if not moved:
        return text
    assert len(set(units)) == len(units)
    order = [units.index(unit) for unit in world.split_sentences(text)]
    assert [number for number in order if number not in moved] == [n for n in range(len(units)) if n not in moved]
    assert sorted(order) == list(range(len(units))) != order
    return document.clean.text


# --- the whole ---


def test_noise_depends_on_its_arguments_only():
    document = world.document(3, 41)
    assert noise.noisy(document, 1, rate=0.5) == noise.noisy(document, 1, rate=0.5)
    assert len({noise.noisy(document, seed, rate=0.5).text for seed in range(8)}) > 4
    code = (
        "from llmlab.world import noise; from itertools import islice; print(list(islice(noise.documents(2, 0.6), 40)))"
    )
    assert outputs_of(code) == {f"{list(islice(noise.documents(2, 0.6), 40))}\n".encode()}


def test_the_stream_is_parallel_to_the_clean_one():
    for start, split, skills in ((0, "train", None), (40, "held_out", None), (7, "train", ("sums", "stories"))):
        clean = list(islice(world.documents(9, start=start, split=split, skills=skills), 60))
        noisy = list(islice(noise.documents(9, 0.4, start=start, split=split, skills=skills), 60))
        assert [document.clean for document in noisy] == clean
        assert [document.skill for document in noisy] == [document.skill for document in clean]
        assert noisy == [noise.noisy(document, 9, rate=0.4) for document in clean]


def test_rate_zero_changes_nothing():
    for document in drawn(None, 0.0):
        assert document.text == document.clean.text and document.changes == () == document.kinds


@pytest.mark.parametrize("skills", [None, ("steps", "finding")])
def test_the_changes_tell_all_that_was_done(skills):
    seen = Counter()
    for document in drawn(None, 0.3, skills):
        assert undone(document) == document.clean.text
        assert len({change.unit for change in document.changes}) == len(document.changes)
        assert list(document.changes) == sorted(document.changes, key=lambda change: (change.start, change.end))
        assert set(document.kinds) == {change.kind for change in document.changes}
        assert (document.text != document.clean.text) == bool(document.changes)
        seen.update(change.kind for change in document.changes)
    assert set(seen) == set(noise.KINDS) - ({"wrong_fact"} if skills else set()) and min(seen.values()) > 30


def test_what_is_cut_or_glued_is_at_the_end_whatever_else_happens():
    kinds = Counter()
    for document in drawn(("moved", "cut", "glued"), 0.6):
        for change in document.changes:
            assert (change.end == len(document.text)) or change.kind == "moved"
            kinds[change.kind] += 1
    assert len(kinds) == 3


@pytest.mark.parametrize("rate", [0.05, 0.3, 0.7])
def test_the_share_of_noisy_units_is_the_rate(rate):
    documents = drawn(None, rate)
    units = sum(len(world.split_sentences(document.clean.text)) for document in documents)
    changed = sum(len(document.changes) for document in documents)
    assert abs(changed - rate * units) < 4 * sqrt(rate * (1 - rate) * units)


def test_the_share_of_changed_units_measured_in_the_text_is_the_rate():
    units = changed = 0
    for document in drawn("lost_capitals", 0.3):  # keeps every length, so that units can be compared by position
        for match in re.finditer(r"[^\n]*?[A-Z][^\n]*?(?:[.?!]\"?(?= [A-Z0-9\"])|(?=\n|$))", document.clean.text):
            units += 1
            changed += document.text[match.start() : match.end()] != match[0]
    assert units > 10_000
    assert abs(changed - 0.3 * units) < 4 * sqrt(0.3 * 0.7 * units)


def test_at_rate_one_every_unit_is_noisy():
    for document in drawn(None, 1.0, n=300):
        assert {change.unit for change in document.changes} == set(
            range(len(world.split_sentences(document.clean.text)))
        )


def test_units_noisy_at_one_rate_are_noisy_at_a_higher_one():
    for low, high in zip(drawn(None, 0.05), drawn(None, 0.3), strict=True):
        assert {change.unit for change in low.changes} <= {change.unit for change in high.changes}


def test_the_world_accepts_less_the_higher_the_rate():
    shares = []
    for rate in (0.0, 0.05, 0.3, 0.7, 1.0):
        sentences = [s for d in drawn(None, rate)[:250] for s in world.split_sentences(d.text)]
        shares.append(sum(map(world.is_world_sentence, sentences)) / len(sentences))
    assert shares[0] == 1
    assert all(higher < lower - 0.02 for lower, higher in pairwise(shares))


def test_bad_arguments_are_named():
    document = world.document(0, 0)
    for rate in (-0.1, 1.5, float("nan")):
        with pytest.raises(ValueError, match=rf"from 0 to 1, got {rate}"):
            noise.noisy(document, 0, rate=rate)
        with pytest.raises(ValueError, match=rf"from 0 to 1, got {rate}"):
            noise.documents(0, rate)
    with pytest.raises(ValueError, match=r"'rain'.*typo.*glued"):
        noise.noisy(document, 0, kinds="rain")
    with pytest.raises(ValueError, match=r"none.*typo.*glued"):
        noise.documents(0, kinds=())
    with pytest.raises(ValueError, match=r"'juggling'.*stories"):
        noise.documents(0, skills=("juggling",))
    with pytest.raises(ValueError, match=r"'test'.*train, held_out"):
        noise.documents(0, split="test")


def test_texts_that_are_not_of_the_world_are_taken_too():
    assert noise.noisy(world.Document("essay", ""), 0, rate=1).text == ""
    for text in ("x", "...", "\n A line of mine. Another one!\n\nThe last.\n", "好。"):
        for seed in range(30):
            document = noise.noisy(world.Document("essay", text), seed, rate=1)
            assert len(document.changes) == len(world.split_sentences(text)) and document.text != text
            assert "glued" not in document.kinds


# --- each kind alone ---


def one_typo(word):
    """Every word that one swapped, doubled or dropped letter makes of this one."""
    places = range(len(word))
    swapped = {word[:i] + word[i + 1] + word[i] + word[i + 2 :] for i in places[:-1]}
    doubled = {word[: i + 1] + word[i:] for i in places}
    dropped = {word[:i] + word[i + 1 :] for i in places}
    return {"swapped": swapped - {word}, "doubled": doubled, "dropped": dropped}


def test_typos_swap_double_or_drop_a_letter_of_one_to_three_words():
    found = Counter()
    for _, _, unit, now in altered("typo"):
        before, after = unit.split(" "), now.split(" ")
        wrong = [(b, w) for b, w in zip(before, after, strict=True) if b != w]
        assert 1 <= len(wrong) <= 3
        for b, w in wrong:
            kinds = [kind for kind, words in one_typo(b).items() if w in words]
            assert kinds
            found.update(kinds)
    assert min(found["swapped"], found["doubled"], found["dropped"]) > 0.2 * found.total()


def test_every_unit_with_a_word_of_three_letters_can_have_a_typo():
    for document in drawn("typo", 1.0, n=500):
        units = world.split_sentences(document.clean.text)
        fits = {number for number, unit in enumerate(units) if re.search(r"[A-Za-z]{3}", unit)}
        assert {change.unit for change in document.changes} == fits


def test_wrong_facts_are_another_subjects_answer_and_false():
    every = world.true_facts() + world.invented_facts()
    truth = {(fact.subject, fact.relation): fact.answer for fact in every}
    answers = {(fact.relation, fact.answer) for fact in every}
    found = Counter()
    for document, number, unit, now in altered("wrong_fact", 0.5, ("facts_true", "facts_invented")):
        units = world.split_sentences(document.clean.text)
        said = unit
        for earlier in reversed(units[:number]):  # back to where the subject is named
            if not re.match(r"Answer:|(At home, )?(He|She|His|Her)\b", said, re.I):
                break
            said = earlier
        front = 0  # the words that differ, without article
        before, after = re.findall(r"\w+|\W", unit), re.findall(r"\w+|\W", now)
        while before[front] == after[front]:
            front += 1
        back = -1
        while before[back] == after[back]:
            back -= 1
        rights = re.sub(r"^an? ", "", "".join(before[front : len(before) + back + 1]), flags=re.I)
        wrongs = re.sub(r"^an? ", "", "".join(after[front : len(after) + back + 1]), flags=re.I)
        fits = [
            (subject, relation)
            for (subject, relation), answer in truth.items()
            if answer == rights and (relation, wrongs) in answers and subject.lower() in said.lower()
        ]
        for subject, relation in fits:
            assert truth[subject, relation] != wrongs
            found[relation] += 1
        if not fits:  # "South America" for "North America": only a part of the answer differs
            assert {rights, wrongs} <= {"South", "North"}
        assert rights != wrongs and not re.search(r"\b[Aa] [aeiou]|\b[Aa]n [^aeiou]", now)
        if said == unit:
            assert world.is_world_sentence(unit) and not world.is_world_sentence(now)
    assert set(found) == {fact.relation for fact in every} and min(found.values()) >= 5


def test_every_wording_of_every_fact_can_be_told_wrong():
    for skill in ("facts_true", "facts_invented"):
        for split in ("train", "held_out"):
            documents = islice(noise.documents(SEED, 1, split=split, skills=skill, kinds="wrong_fact"), 300)
            for document in documents:
                units = world.split_sentences(document.clean.text)
                tells = {i for i, unit in enumerate(units) if not unit.startswith("Question:")}
                assert {change.unit for change in document.changes} == tells


def test_a_persons_wrong_facts_leave_the_name_and_the_other_facts():
    people = {person.name: person for person in world.people()}
    name = re.compile("|".join(map(re.escape, people)))
    for _, _, unit, now in altered("wrong_fact", 0.5, "facts_invented", 400):
        assert name.findall(unit) == name.findall(now)
        for person in (people[n] for n in name.findall(unit)):
            values = [person.home, a(person.trade), a(person.pet)]
            told = [value for value in values if value in unit]
            assert sum(value not in now for value in told) <= 1


def test_wrong_sums_do_not_add_up():
    count = 0
    for document, number, unit, now in altered("wrong_sum", 0.5, "sums"):
        units = world.split_sentences(document.clean.text)
        asked = units[number - 1] if unit.startswith(("Answer:", "Now ", "You get ")) else ""
        numbers = [[int(n) for n in re.findall(r"\d+", f"{asked} {text}")] for text in (unit, now)]
        assert re.sub(r"\d+", "#", unit) == re.sub(r"\d+", "#", now) and not re.search(r"\b0\d", now)
        for (left, right, result), adds_up in zip(numbers, (True, False), strict=True):
            taken = re.search(r" - | minus | gives away ", f"{asked} {unit}")
            assert (result == (left - right if taken else left + right)) == adds_up
            assert 0 <= result < 100
        assert numbers[0][:2] == numbers[1][:2]
        count += 1
    assert count > 1_000


def test_every_result_of_a_sum_can_be_wrong():
    given = re.compile(r"Question: .*\?|Add \d+ to \d+\.|\w+ has \d+ coins and (gets \d+ more|gives away \d+)\.")
    for split in ("train", "held_out"):
        for document in islice(noise.documents(SEED, 1, split=split, skills="sums", kinds="wrong_sum"), 200):
            units = world.split_sentences(document.clean.text)
            results = {number for number, unit in enumerate(units) if not given.fullmatch(unit)}
            assert {change.unit for change in document.changes} == results


@pytest.mark.parametrize("wording", [*sums.ADDITIONS, *sums.ADDITIONS_HELD_OUT, *sums.SUBTRACTIONS])
def test_a_sum_in_any_wording_can_be_wrong_and_the_numbers_given_stay(wording):
    for x, y in ((27, 35), (3, 4), (60, 8), (2, 90)):
        before, after = wording.format(a=x, b=y, c=x + y, A="Mia").split("|")
        text, right = before + after, x if wording in sums.SUBTRACTIONS else x + y
        assert all(map(world.is_world_sentence, world.split_sentences(text)))
        wrong = set()
        for seed in range(40):
            document = noise.noisy(world.Document("sums", text), seed, rate=1, kinds="wrong_sum")
            (change,) = document.changes
            assert document.text.startswith(before) and after.count(str(right)) == 1
            now = re.fullmatch(re.escape(after).replace(str(right), r"(\d+)"), document.text.removeprefix(before))
            wrong.add(int(now[1]))
            unit = document.text[change.start : change.end]
            assert world.is_world_sentence(unit) == (len(re.findall(r"\d+", unit)) == 1)
        assert right not in wrong and len(wrong) > 4 and 0 <= min(wrong) <= max(wrong) < 100


def test_every_result_of_a_problem_in_steps_can_be_wrong():
    for split in ("train", "held_out"):
        for document in islice(noise.documents(SEED, 1, split=split, skills="steps", kinds="wrong_sum"), 200):
            units = world.split_sentences(document.clean.text)
            results = {i for i, unit in enumerate(units) if re.match(r"Steps:|Step \d:|Answer:", unit)}
            assert {change.unit for change in document.changes} == results


def test_wrong_steps_do_not_add_up():
    steps = answers = 0
    for _, _, unit, now in altered("wrong_sum", 0.5, "steps"):
        (before, right), (still, wrong) = unit.rsplit(" ", 1), now.rsplit(" ", 1)
        assert before == still and right != wrong and re.fullmatch(r"(0|[1-9]\d?)\.", wrong)
        if before == "Answer:":
            answers += 1
            continue
        a, sign, b = re.search(r"(\d+) ([+-]) (\d+) =$", before).groups()
        assert int(right[:-1]) == int(a) + int(sign + b) and not world.is_world_sentence(now)
        steps += 1
    assert min(steps, answers) > 500


def test_repeating_says_a_sentence_two_or_three_times_in_a_row():
    times = Counter()
    for document in drawn("repeated", 0.3):
        left = Counter(world.split_sentences(document.text))
        left.subtract(world.split_sentences(document.clean.text))
        units = world.split_sentences(document.clean.text)
        assert sum(left.values()) >= len(document.changes) and min(left.values(), default=0) >= 0
        assert set(+left) == {units[change.unit] for change in document.changes}
        said = [list(run) for run in runs(world.split_sentences(document.text))]
        assert [run[0] for run in said] == [run[0] for run in runs(units)]
        times.update(document.text[change.start : change.end].count(units[change.unit]) for change in document.changes)
    assert set(times) == {1, 2} and times[1] > times[2]


def runs(sentences):
    """The sentences in groups of equal neighbors."""
    groups = []
    for sentence in sentences:
        if groups and groups[-1][0] == sentence:
            groups[-1].append(sentence)
        else:
            groups.append([sentence])
    return groups


@pytest.mark.parametrize("rate", [0.1, 0.5, 1.0])
def test_moving_keeps_the_sentences_and_changes_their_order(rate):
    moved = 0
    for document in drawn("moved", rate):
        before, after = world.split_sentences(document.clean.text), world.split_sentences(document.text)
        assert Counter(before) == Counter(after) and (before != after) == bool(document.changes)
        assert sorted("".join(document.text.split())) == sorted("".join(document.clean.text.split()))
        if document.changes:
            gone = {before[change.unit] for change in document.changes}
            assert [s for s in before if s not in gone] == [s for s in after if s not in gone]
            near = {s: (p, n) for p, s, n in zip(["", *after], after, [*after[1:], ""], strict=False)}
            for p, s, n in zip(["", *before], before, [*before[1:], ""], strict=False):
                assert s not in gone or near[s] != (p, n)
        moved += len(document.changes)
    assert moved > 500


def test_cutting_stops_inside_the_last_sentence():
    cut = 0
    for document in drawn("cut", 0.5):
        if document.changes:
            (change,) = document.changes
            last = world.split_sentences(document.clean.text)[-1]
            assert document.clean.text.startswith(document.text) and document.text != document.clean.text
            assert len(document.clean.text) - len(last) == change.start < len(document.text) == change.end
            assert document.text == document.text.rstrip()
            cut += 1
    assert abs(cut - 0.5 * 1_500) < 4 * sqrt(0.25 * 1_500)


def test_boilerplate_lines_are_no_sentences_of_the_world():
    assert not any(world.is_world_sentence(s) for line in noise.BOILERPLATE for s in world.split_sentences(line))
    assert len(set(noise.BOILERPLATE)) == len(noise.BOILERPLATE)
    used = Counter()
    for document in drawn("boilerplate", 0.3):
        text = document.text
        for change in reversed(document.changes):
            added = text[change.start : change.end]
            assert added[0] in " \n" and added[1:] in noise.BOILERPLATE
            used[added[1:]] += 1
            text = text[: change.start] + text[change.end :]
        assert text == document.clean.text
    assert set(used) == set(noise.BOILERPLATE)


def test_lost_capitals_lose_nothing_else():
    for _, _, unit, now in altered("lost_capitals"):
        assert now == "".join(chr(ord(c) + 32) if "A" <= c <= "Z" else c for c in unit)


def test_lost_punctuation_loses_nothing_else():
    for _, _, unit, now in altered("lost_punctuation"):
        assert now == "".join(c for c in unit if c.isalnum() or c in " +-=")


def test_gluing_puts_a_whole_document_of_the_same_skill_behind_the_last_sentence():
    glued = []
    for document in drawn("glued", 0.5, n=600):
        assert document.text.startswith(document.clean.text)
        more = document.text[len(document.clean.text) :]
        assert bool(more) == bool(document.changes) and more == more.strip() != document.clean.text
        glued += [(document.skill, more)] * bool(more)
    assert abs(len(glued) - 300) < 4 * sqrt(150)
    for skill, more in glued[:100]:
        parses = [world.parse(sentence) for sentence in world.split_sentences(more)]
        assert None not in parses
        assert skill in {parse.skill for parse in parses} or skill in ("questions", "stories")


def test_what_is_glued_on_comes_from_the_training_split():
    """Held-out people are told of in wordings that training never uses, and those never appear in what is added."""
    held_out = {
        s
        for d in islice(world.documents(SEED, split="held_out", skills="facts_true"), 1_000)
        for s in world.split_sentences(d.text)
    }
    documents = islice(noise.documents(SEED, 1, split="held_out", skills="facts_true", kinds="glued"), 200)
    for document in documents:
        assert set(world.split_sentences(document.clean.text)) & held_out
        assert not set(world.split_sentences(document.text[len(document.clean.text) :])) & held_out
