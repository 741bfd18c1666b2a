"""A generated world with a ground truth: what the shipped model is trained on, and how it is examined.

The world tells stories, states facts, computes sums, copies lists, translates, and asks questions. Its
grammar and its facts are known, so that "what did 3-bit weights cost?" has an exact answer: this many facts
forgotten, this many sums wrong. Every document follows from a seed and a number; 5 % of all contents are
held out and never told in training.

>>> document(0, 0) == document(0, 0)
True
"""

from __future__ import annotations

from functools import cache

from . import copying as _copying
from . import facts as _facts
from . import finding as _finding
from . import hops as _hops
from . import pronouns as _pronouns
from . import recall as _recall
from . import relations as _relations
from . import senses as _senses
from . import steps as _steps
from . import stories as _stories
from . import sums as _sums
from . import translation as _translation
from .copying import EVERYDAY
from .documents import LONG_MIXTURE, MIXTURE, SECOND_MIXTURE, SKILLS, THIRD_MIXTURE, document, documents, sample
from .evaluate import EVALUATIONS, Score, answers, evaluate, examined, finding_by_depth, items, margins
from .facts import Person, asked, invented_facts, people, told_items, true_facts
from .grammar import Grammar, Parse, split_sentences
from .records import Document, Fact, Item
from .relations import paraphrases
from .seen import seen, seen_all
from .showpieces import Showpieces, showpieces
from .translation import translations

__all__ = [
    "EVALUATIONS",
    "EVERYDAY",
    "LONG_MIXTURE",
    "MIXTURE",
    "SECOND_MIXTURE",
    "SKILLS",
    "THIRD_MIXTURE",
    "Document",
    "Fact",
    "Item",
    "Parse",
    "Person",
    "Score",
    "Showpieces",
    "answers",
    "asked",
    "document",
    "documents",
    "evaluate",
    "examined",
    "finding_by_depth",
    "invented_facts",
    "is_world_sentence",
    "items",
    "margins",
    "paraphrases",
    "parse",
    "people",
    "sample",
    "seen",
    "seen_all",
    "showpieces",
    "split_sentences",
    "told_items",
    "translations",
    "true_facts",
]


@cache
def _grammar() -> Grammar:
    modules = (_stories, _facts, _pronouns, _senses, _relations, _sums, _copying, _translation, _steps, _finding)
    modules += (_hops, _recall)
    return Grammar([rule for module in modules for rule in module.grammar_rules()])


def parse(sentence: str) -> Parse | None:
    """How the world says a sentence: its skill, its template, its slots. None if the world never says it.

    What can be checked within the sentence is checked: facts are true, sums add up, pronouns agree with
    names. `split_sentences` cuts a document into the sentences to give here.
    """
    return _grammar().parse(sentence)


def is_world_sentence(sentence: str) -> bool:
    """Whether the world can say this sentence.

    >>> is_world_sentence("27 + 35 = 62."), is_world_sentence("27 + 35 = 63.")
    (True, False)
    """
    return parse(sentence) is not None
