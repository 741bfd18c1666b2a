"""Dialogues and preferences: every reply is right by an independent reading, every worse answer is worse as named."""

import itertools
import re
from random import Random

import pytest
from processes import outputs_of

from llmlab import world
from llmlab.world import chat, chat_tasks, preferences, records, sums, translation
from llmlab.world.grammar import Grammar, split_sentences

TRUTH = {(f.relation, f.subject): f.answer for f in (*world.true_facts(), *world.invented_facts())}
SUBJECTS = {relation: [s for r, s in TRUTH if r == relation] for relation, _ in TRUTH}
MEANINGS = dict(chat_tasks.DEFINITIONS)
NAMED = {person.name for person in world.people()}
ASKED = [  # how a question names its relation and its subject
    ("capital", r"(?:What is|Which city is) the capital of (.+)\?"),
    ("continent", r"On which continent is (.+)\?"),
    ("home", r"(?:Where|In which town) does (.+) live\?"),
    ("language", r"What (?:language do people speak in|is the language of) (.+)\?"),
    ("young", r"What (?:is a young (.+) called|do we call a baby (.+))\?"),
    ("class", r"What kind of animal is (?:an?|the) (.+)\?"),
    ("color", r"What (?:color is|is the color of) (.+)\?"),
    ("legs", r"How many legs does (?:an?|the) (.+) have\?"),
    ("day", r"(?:What day comes after|Which day follows) (.+)\?"),
    ("month", r"(?:What month comes after|Which month follows) (.+)\?"),
    ("made", r"What (?:is (.+) made|do people make (.+)) from\?"),
    ("trade", r"What (?:is the trade of (.+)|does (.+) do for a living)\?"),
    ("pet", r"(?:What pet does (.+) have|Which animal lives with (.+))\?"),
    ("continent", r"Where is (.+)\?"),
]
SAME_SUBJECT = [  # how a later question names its relation, with the subject of the one before
    ("capital", r"And what is (?:its capital|the capital of that country)\?"),
    ("continent", r"And on which continent .*that country.*\?"),
    ("language", r"And what (?:language do people speak there|is the language of that country)\?"),
    ("young", r"And what (?:do we call its young|is its young called)\?"),
    ("class", r"And what kind of animal is it\?"),
    ("legs", r"And how many legs does it have\?"),
    ("home", r"And (?:where|in which town) does s?he live\?"),
    ("trade", r"And what (?:is (?:his|her) trade|does s?he do for a living)\?"),
    ("pet", r"And (?:what pet does s?he have|which animal lives with (?:him|her))\?"),
]
WHETHER = [  # relation, pattern, whether the subject comes first
    ("capital", r"Is (.+) the capital of (.+)\?", False),
    ("language", r"Is (.+) the language of (.+)\?", False),
    ("day", r"Is (.+) the day after (.+)\?", False),
    ("month", r"Is (.+) the month after (.+)\?", False),
    ("young", r"Is a young (.+) called an? (.+)\?", True),
    ("color", r"Is (.+) usually (.+)\?", True),
    ("made", r"Is (.+) made from (.+)\?", True),
    ("home", r"Does (.+) live in (.+)\?", True),
    ("pet", r"Does (.+) have an? (.+)\?", True),
    ("trade", r"Is ([A-Z]\w+ [A-Z]\w+) an? (.+)\?", True),
    ("class", r"Is an? (.+) an? (.+)\?", True),
    ("continent", r"Is (.+) in (.+)\?", True),
]
NOBODY_KNOWS = r"""What did [A-Z]|How old is|What is the favorite color of|Who is the best friend of|Will it rain|
Who will|What number am I|What did I|What is in my|Who is at my|Where did I leave""".replace("\n", "")


def all_translations():
    pairs = dict(world.translations())
    for english, chinese, kinds in translation.TEMPLATES:
        for rows in itertools.product(*kinds.values()):
            row = dict(zip(kinds, rows, strict=True))
            en = english.format(**{slot: pair[0] for slot, pair in row.items()})
            pairs[en[0].upper() + en[1:]] = chinese.format(**{slot: pair[1] for slot, pair in row.items()})
    return pairs


ENGLISH = all_translations()
CHINESE = {zh: en for en, zh in ENGLISH.items()}


def says(word):
    return lambda reply: re.search(rf"(?<!\w){re.escape(word)}(?!\w)", reply, re.IGNORECASE) is not None


def says_number(number):
    return lambda reply: re.findall(r"\d+", reply)[-1:] == [str(number)]


def is_text(text):
    """The reply is the text, or names it last: brief, with a full stop, or within quotation marks."""
    wanted = re.sub(r"[.。]$", "", text).lower()
    return lambda reply: re.fullmatch(rf'(?:.*[ "])?{re.escape(wanted)}"?[.。]?', reply.lower()) is not None


def ignorant(reply):
    return re.search(r"(do not|cannot|Nobody can) know|have not told me", reply) is not None


class Reader:
    """Reads a conversation and says for each question of the user which replies are right."""

    def __init__(self):
        self.relation = self.subject = self.total = self.way = None
        self.told = {}

    def right(self, text):
        """A predicate on replies to this turn, None for a turn without a question."""
        for sentence in reversed(split_sentences(text)):
            found = self._one(sentence)
            if found:
                return found
        return None

    def _fact(self, relation, subject):
        self.relation, self.subject, self.way = relation, subject, "fact"
        if (relation, subject) not in TRUTH:
            assert subject not in NAMED
            return ignorant
        return says(TRUTH[relation, subject])

    def _one(self, text):
        for read in (self._sum, self._text, self._whether, self._about_the_user, self._true, self._word, self._again):
            if found := read(text):
                return found
        return ignorant if re.match(NOBODY_KNOWS, text) else None

    def _sum(self, text):
        found = re.fullmatch(
            r"(What is|And if you add|And plus|And if you take away|And minus|And) ([\d +a-z-]+)\?", text
        )
        if not found or not re.search(r"\d", text):
            return None
        signed = [int(n) for n in re.findall(r"-?\d+", re.sub(r"(minus|-) ", "-", found[2]))]
        if text.startswith("And"):
            signed = [self.total, -signed[0] if re.search(r"take away|minus|less", text) else signed[0]]
        self.total = sum(signed)
        return says_number(self.total)

    def _text(self, text):
        """A translation."""
        if found := re.fullmatch(r"(?:Please say this in \w+|And this): (.+)", text):
            return is_text(ENGLISH.get(found[1]) or CHINESE[found[1]])
        found = re.fullmatch(r"(?:What is|How do you say|What does) \"(.+)\" (?:mean )?in (?:Chinese|English)\?", text)
        if found:
            self.way = "words"
        elif self.way == "words":
            found = re.fullmatch(r'And "(.+)"\?', text)
        if not found:
            return None
        word = found[1]
        return is_text(ENGLISH.get(word) or CHINESE[word]) if word in ENGLISH or word in CHINESE else ignorant

    def _whether(self, text):
        if re.fullmatch(r"Are you sure\?|Is that (right|true)\?", text):
            core = self._fact(self.relation, self.subject)
            return lambda reply: verdict(reply, "Yes", core)
        if re.fullmatch(r"I (thought the answer was|think the answer is) .+\.", text):
            core = self._fact(self.relation, self.subject)
            assert not core(text)
            return lambda reply: verdict(reply, "No", core)
        for relation, pattern, subject_first in WHETHER:
            if found := re.fullmatch(pattern, text):
                subject, asked = found.groups() if subject_first else found.groups()[::-1]
                core, so = self._fact(relation, subject), TRUTH[relation, subject] == asked
                return lambda reply: verdict(reply, "Yes" if so else "No", core)
        return None

    def _about_the_user(self, text):
        told = r"My (\w+) is called (\w+)\.|My ([a-z ]+) is (\w+)\.|I left my (\w+) (.+)\.|I (live) in (\w+)\."
        if found := re.fullmatch(told, text):
            key, value = (part for part in found.groups() if part)
            self.told[key] = value
            return None
        asked = r"What is my (\w+) called\?|Wh(?:at|o|ere) is my ([a-z ]+)\?|Where do I (live)\?"
        if found := re.fullmatch(asked, text):
            key = next(part for part in found.groups() if part)
            return says(self.told[key]) if key in self.told else ignorant
        return None

    def _true(self, text):
        for relation, pattern in SAME_SUBJECT:
            if re.fullmatch(pattern, text):
                return self._fact(relation, self.subject)
        for relation, pattern in ASKED:
            if found := re.fullmatch(pattern, text):
                return self._fact(relation, next(part for part in found.groups() if part))
        return None

    def _word(self, text):
        """What a word means."""
        found = re.fullmatch(r'What is an? ([a-z]+)\?|What does (?:the word )?"([a-z]+)" mean\?', text)
        if not found and self.way == "meaning":
            found = re.fullmatch(r'And (?:what is )?an? ([a-z]+)\?|And the word "([a-z]+)"\?', text)
        if not found:
            return None
        self.way = "meaning"
        return is_text(MEANINGS[found[1] or found[2]])

    def _again(self, text):
        """The same about another subject."""
        if not text.startswith("And ") or self.way != "fact":
            return None
        return self._fact(self.relation, max((s for s in SUBJECTS[self.relation] if says(s)(text)), key=len))


def verdict(reply, word, core):
    return reply == f"{word}." or (reply.startswith(f"{word}. ") and core(reply))


@pytest.fixture(scope="module")
def conversations():
    rng = Random("conversations")
    return {split: [chat.conversation(rng, split) for _ in range(1500)] for split in records.SPLITS}


@pytest.fixture(scope="module")
def pairs():
    rng = Random("preferences")
    return {split: [preferences.preference(rng, split) for _ in range(1000)] for split in records.SPLITS}


@pytest.fixture(scope="module")
def parse():
    """How conversations or the world say a sentence."""
    grammar = Grammar(chat.grammar_rules())
    return lambda sentence: grammar.parse(sentence) or world.parse(sentence)


def test_a_conversation_depends_on_the_seed_only():
    for make in (chat.conversation, preferences.preference, chat.document):
        assert [make(Random(i), "train") for i in range(60)] == [make(Random(i), "train") for i in range(60)]


def test_conversations_are_the_same_in_another_process_with_another_hash_seed():
    code = """from random import Random
from llmlab.world import chat, preferences, steps
print([[f(Random(i), s) for f in (chat.document, preferences.preference, steps.document)]
       for i in range(40) for s in ("train", "held_out")])"""
    assert len(outputs_of(code)) == 1


def test_a_conversation_has_one_to_three_exchanges_that_take_turns(conversations):
    lengths = set()
    for turns in conversations["train"]:
        assert [turn.role for turn in turns] == ["user", "assistant"] * (len(turns) // 2)
        lengths.add(len(turns))
        assert all(turn.text == turn.text.strip() and not re.search(r"[{}\n]|  ", turn.text) for turn in turns)
    assert lengths == {2, 4, 6}


def test_every_reply_is_right(conversations):
    asked = 0
    for split in records.SPLITS:
        for turns in conversations[split]:
            reader = Reader()
            for question, reply in zip(turns[::2], turns[1::2], strict=True):
                right = reader.right(question.text)
                if right:
                    asked += 1
                    assert right(reply.text), (turns, reply.text)
                else:
                    text = question.text.rpartition(". ")[2] or question.text
                    known = [a for a, _ in chat.GREETINGS + chat.THANKS]
                    assert question.text in known or re.match("My |I l", text), question.text
    assert asked > 4000


def test_later_questions_need_the_earlier_turn(conversations):
    later = [t[-2].text for turns in conversations["train"] if len(t := turns) > 2]
    assert sum(text.startswith("And ") for text in later) > 200
    for kind in (r"And of \w+\?", "there\\?", r"And (plus )?\d+", 'And "', "Are you sure", "What is my"):
        assert any(re.search(kind, text) for text in later), kind


def test_training_never_asks_what_is_held_out(monkeypatch):
    keys = {split: [] for split in records.SPLITS}
    original = chat.draw_asks

    def spy(rng, split):
        asks = original(rng, split)
        keys[split].append([ask.key for ask in asks])
        return asks

    for module, make in ((chat, chat.document), (preferences, preferences.preference)):
        monkeypatch.setattr(module, "draw_asks", spy)
        rng = Random("keys")
        for split in records.SPLITS:
            for _ in range(1500):
                make(rng, split)
    assert len(keys["train"]) == len(keys["held_out"]) == 3000
    last = {found[-1] for found in keys["held_out"]}
    told = {key for found in keys["train"] for key in found if key}
    assert len(last) > 150 and len(told) > 500 and not last & told


def sums_in(turns):
    """The two numbers of each sum that the user asks for; those of 9 - 4 are 5 and 4."""
    total = None
    for turn in turns:
        if turn.role == "assistant":
            total = re.findall(r"\d+", turn.text)[-1:]
        elif found := re.search(r"What is (\d+) ([+-]|plus|minus) (\d+)\?", turn.text):
            a, b = int(found[1]), int(found[3])
            yield frozenset((a, b) if found[2] in ("+", "plus") else (a - b, b))
        elif found := re.fullmatch(
            r"And (if you add |plus |if you take away |minus |)(\d+)( more| less)?\?.*", turn.text
        ):
            a, b = int(total[0]), int(found[2])
            yield frozenset((a - b, b) if re.search(r"away|minus|less", found[0]) else (a, b))


def test_training_never_shows_a_sum_that_is_held_out_alone(conversations, pairs):
    shown = {pair for turns in conversations["train"] for pair in sums_in(turns)}
    shown |= {pair for one in pairs["train"] for pair in sums_in(one.prompt)}
    held_out = {frozenset(map(int, re.findall(r"\d+", item.prompt))) for item in sums.two_digit_items(Random(0), 2000)}
    assert len(shown) > 200 and not shown & held_out
    assert len(held_out & {pair for turns in conversations["held_out"] for pair in sums_in(turns)}) > 50


def test_items_have_the_one_right_reply():
    items = chat.items(Random(8), 400)
    assert len({item.prompt for item in items}) == len(items) == 400
    for item in items:
        lines = item.prompt.split("\n")
        assert lines[-1] == "Assistant:" and item.answer[0] == " " and item.answer[-1] in ".。？！?!"
        reader = Reader()
        right = [reader.right(line.removeprefix("User: ")) for line in lines if line.startswith("User: ")][-1]
        assert right(item.answer[1:]), item
        wants = [re.search("briefly|short|few words", item.prompt), re.search("full|whole", item.prompt)]
        assert any(wants) != all(wants) or "say this" in item.prompt


def test_rejected_answers_are_worse_for_the_reason_given(pairs):
    counts = dict.fromkeys(preferences.REASONS, 0)
    for split in records.SPLITS:
        for one in pairs[split]:
            counts[one.reason] += 1
            assert one.chosen != one.rejected and one.prompt[-1].role == "user"
            reader = Reader()
            right = [reader.right(turn.text) for turn in one.prompt if turn.role == "user"][-1]
            assert right(one.chosen), one
            rude = [unkind for unkind in preferences.RUDE if unkind in one.rejected]
            assert bool(rude) == (one.reason == "rude")
            if one.reason == "wrong":
                assert not right(one.rejected), one
            elif one.reason == "rude":
                assert one.rejected.replace(rude[0], "").strip() == one.chosen
            elif one.reason == "off-topic":
                assert world.is_world_sentence(one.rejected) and not right(one.rejected), one
            else:
                # A right answer stands first; then come at least two more sentences, all of them true.
                (ramble,) = (s for s in preferences.RAMBLING if s in one.rejected)
                answer, more = one.rejected.split(f" {ramble} ")
                assert right(answer), one
                assert all(map(world.is_world_sentence, split_sentences(more)))
                assert len(one.rejected) > len(one.chosen) + len(ramble) + 15
    assert all(400 < count < 600 for count in counts.values()), counts


def test_the_shorter_answer_is_not_always_the_better_one(pairs):
    wrong = [p for p in pairs["train"] if p.reason == "wrong"]
    shorter = sum(len(p.rejected) < len(p.chosen) for p in wrong) / len(wrong)
    assert 0.25 < shorter < 0.75


def test_the_grammar_says_every_sentence(conversations, parse):
    for split in records.SPLITS:
        for turns in conversations[split][:500]:
            for sentence in split_sentences(chat.as_text(turns)):
                assert parse(sentence), (sentence, turns)


def test_the_grammar_refuses_wrong_statements(pairs, parse):
    refused = 0
    for one in pairs["train"]:
        if one.reason == "wrong" and re.search(
            r"^(Yes\. |No\. )?[A-Z]\w+ [A-Z]\w+ (lives|works|has)|capital|plus", one.rejected
        ):
            statement = split_sentences(one.rejected)[-1]
            if re.match(r"(Yes|No)\.", one.rejected) is None and "my" not in one.prompt[-1].text:
                assert parse(statement) is None, one
                refused += 1
    assert refused > 25


@pytest.mark.parametrize(
    "sentence",
    [
        "Assistant: The capital of Japan is Rome.",
        "Assistant: 40 plus 5 is 46.",
        'Assistant: In Chinese, "cat" is 狗.',
        "Assistant: A baker is a person who makes shoes.",
        "Assistant: The capital of Velmora is Rome.",
        "Assistant: I do not know a country called France.",
        "Assistant: I do not know, because I have never heard of Hedda Nyberg.",
        "Assistant: What a silly question.",
        "User: What is the capital of Velmora or France?",
    ],
)
def test_the_grammar_refuses(sentence, parse):
    assert parse(sentence) is None


@pytest.mark.parametrize("call", [chat.document, chat.conversation, preferences.preference])
def test_a_bad_split_is_named(call):
    with pytest.raises(ValueError, match=r"'test'.*train, held_out"):
        call(Random(0), "test")
