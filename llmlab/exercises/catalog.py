"""Finds topics and what is in them. A topic's module is imported when something of it is asked for."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
import sys
from dataclasses import dataclass

from .comparing import brief
from .records import Exercise, Prediction, Question

MACHINERY = {
    "catalog",
    "comparing",
    "engine",
    "errors",
    "judge",
    "look",
    "printing",
    "records",
    "sources",
    "store",
    "trials",
}
KINDS = {"exercise": "exercises", "question": "questions", "prediction": "predictions"}
ASK_WITH = {"exercise": "check", "question": "quiz", "prediction": "predict"}


@dataclass(frozen=True)
class Topic:
    """A topic with its records, in the order of its module."""

    name: str
    exercises: tuple[Exercise, ...]
    questions: tuple[Question, ...]
    predictions: tuple[Prediction, ...]


def topics() -> tuple[str, ...]:
    """The names of all topics that have exercises, in alphabetical order. Imports none of them."""
    package = sys.modules[__package__]
    names = {module.name for module in pkgutil.iter_modules(package.__path__)}
    return tuple(sorted(name for name in names - MACHINERY if not name.startswith("_")))


def load(name: str) -> Topic:
    """A topic by its name. Raises ValueError naming the nearest topics when there is none of that name."""
    if name not in topics():
        raise ValueError(f"no topic {name!r}{_nearest(name, topics())}; {_all_topics()}")
    module = importlib.import_module(f"{__package__}.{name}")
    topic = Topic(name, *(tuple(getattr(module, kind.upper(), ())) for kind in KINDS.values()))
    ids = [record.id for kind in KINDS.values() for record in getattr(topic, kind)]
    wrong = [one for one in ids if not one.startswith(f"{name}.") or ids.count(one) > 1]
    if wrong:
        raise ValueError(f'{name}: expected ids "{name}.…", each once, got {", ".join(wrong)}')
    return topic


def find(kind: str, id: str) -> Exercise | Question | Prediction:
    """The record of that kind ("exercise", "question" or "prediction") and id.

    Raises ValueError: for an unknown id with the nearest ids, for one of another kind with what to call instead.
    """
    if not isinstance(id, str):
        raise ValueError(f'expected the id of {_a(kind)}, a text "topic.name", got {type(id).__name__}')
    name = id.partition(".")[0]
    known = {record.id: record for record in getattr(load(name), KINDS[kind])} if name in topics() else {}
    if id in known:
        return known[id]
    everything = {one: [r.id for t in topics() for r in getattr(load(t), KINDS[one])] for one in KINDS}
    for other, ids in everything.items():
        if id in ids:
            raise ValueError(f'{id} is {_a(other)}, not {_a(kind)}: use {ASK_WITH[other]}("{id}")')
    raise ValueError(f"no {kind} {brief(repr(id))}{_nearest(id, everything[kind])}; {_all_topics()}")


def all_exercises() -> tuple[Exercise, ...]:
    """Every exercise of every topic."""
    return tuple(exercise for name in topics() for exercise in load(name).exercises)


def all_questions() -> tuple[Question, ...]:
    """Every question of every topic."""
    return tuple(question for name in topics() for question in load(name).questions)


def all_predictions() -> tuple[Prediction, ...]:
    """Every prediction of every topic."""
    return tuple(prediction for name in topics() for prediction in load(name).predictions)


def _a(kind: str) -> str:
    return f"an {kind}" if kind == "exercise" else f"a {kind}"


def _all_topics() -> str:
    return f"topics: {', '.join(topics()) or 'none yet'}"


def _nearest(word: str, known: list[str] | tuple[str, ...]) -> str:
    near = difflib.get_close_matches(str(word), known, n=3, cutoff=0.5)
    return f"; nearest: {', '.join(near)}" if near else ""
