"""What a notebook calls: `check`, `hint`, `solution`, `quiz`, `predict`, `progress`.

Each shows its answer as the cell's output and records what the learner did. A wrong answer is never an error; a wrong
id is one, with the ids that are near.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from ..widgets.answer import HelpfulAnswer
from ..widgets.quiz import Guess, Quiz
from . import catalog
from .comparing import LARGEST, brief, shown
from .judge import CRASHED, NOT_ATTEMPTED, RIGHT, judge
from .look import LETTERS, Answer, Aside, Code, Grid, Text, count, lettered, measure
from .printing import first_lines
from .records import Prediction, Question
from .store import Progress, entry, home, number, store_in


def check(id: str, function: Callable[..., Any]) -> Answer | HelpfulAnswer:
    """Judge a function of yours: not attempted yet, wrong (and why), stopped by an error (and in which line), right.

    Of what the function prints meanwhile the first lines show, above the answer.

    Returns an answer with `.status` ("not attempted", "wrong", "crashed", "right") and `.passed`; where it is not right
    yet, its buttons do what `hint(id)` and `solution(id)` do. Raises ValueError for an unknown id only.
    """
    exercise = catalog.find("exercise", id)
    with first_lines():
        verdict = judge(exercise, function)
    if verdict.status == NOT_ATTEMPTED:
        todo = f"Mend `{exercise.function}` and run the cell."
        if exercise.to_mend is None:
            todo = f"Write the body of `{exercise.function}` in place of `...` and run the cell."
        todo = Aside(f'{todo} `hint("{id}")` helps.')
        return _with_help(
            Answer("not attempted yet", exercise.title, Text(exercise.prompt), todo, status=NOT_ATTEMPTED), id
        )

    def attempt(progress: Progress) -> None:
        record = entry(progress, "exercises", id)
        record["attempts"] = number(record, "attempts") + 1
        record["passed"] = bool(record.get("passed")) or verdict.status == RIGHT

    progress, note = _store().update(attempt)
    if verdict.status == RIGHT:
        return Answer("right", exercise.title, Text(_so_far(exercise.topic, progress)), *_aside(note), status=RIGHT)
    if verdict.status == CRASHED and verdict.line:
        reason = [Text(f"`{exercise.function}` stopped with an error in your code:")]
        reason += [Code(f"{verdict.line}\n{verdict.reason}")]
    else:
        reason = [Text(verdict.reason)]
    help_ = Aside(f'`hint("{id}")` helps: {count(len(exercise.hints), "hint")} for this exercise.')
    return _with_help(Answer("not yet", exercise.title, *reason, help_, *_aside(note), status=verdict.status), id)


def _with_help(answer: Answer, id: str) -> HelpfulAnswer:
    return HelpfulAnswer(answer, lambda kind: (hint if kind == "hint" else solution)(id))


def hint(id: str) -> Answer:
    """Show the next hint for an exercise; after the last one, all of them."""
    exercise = catalog.find("exercise", id)
    n_hints = len(exercise.hints)

    def one_more(progress: Progress) -> None:
        record = entry(progress, "exercises", id)
        record["hints"] = min(number(record, "hints") + 1, n_hints + 1)

    progress, note = _store().update(one_more)
    shown = entry(progress, "exercises", id)["hints"]
    if shown > n_hints:
        hints = [Text(f"{place}. {text}") for place, text in enumerate(exercise.hints, 1)]
        return Answer(
            f"All {count(n_hints, 'hint')}", "", *hints, Aside(f'`solution("{id}")` comes next.'), *_aside(note)
        )
    more = (
        f'`hint("{id}")` again shows the next.' if shown < n_hints else f'The last one; `solution("{id}")` comes next.'
    )
    return Answer(f"Hint {shown} of {n_hints}", exercise.hints[shown - 1], Aside(more), *_aside(note))


def solution(id: str) -> Answer:
    """Show a solution of an exercise. It is noted as seen."""
    exercise = catalog.find("exercise", id)
    _, note = _store().update(lambda progress: entry(progress, "exercises", id).update(solution_seen=True))
    text = "One way to write it. Close it, then write yours from memory."
    return Answer("Solution", exercise.title, Text(text), Code(exercise.solution, highlighted=True), *_aside(note))


def quiz(id: str, answer: str | int | None = None) -> Quiz | Answer:
    """Ask a question, or all questions of a topic (`quiz("kv_cache")`); or answer one here.

    `answer` is an option's letter ("b") or its number from 1.
    """
    if isinstance(id, str) and id in catalog.topics():
        if answer is not None:
            raise ValueError(f'expected the id of one question to answer, such as "{id}.name", got the topic {id!r}')
        questions = catalog.load(id).questions
        if not questions:
            raise ValueError(f"the topic {id} has no questions")
        return _ask(questions)
    question = catalog.find("question", id)
    if answer is None:
        return _ask((question,))
    chosen = _option(question, answer)
    note = _record_answer(question, chosen)
    right = chosen == question.answer
    text = lettered(question.options)[chosen]
    label, status = ("right", "right") if right else ("not yet", "wrong")
    return Answer(label, text, Text(question.why[chosen]), *_aside(note), status=status)


def predict(id: str, guess: Any = None, *, truth: Any = None) -> Guess | Answer:
    """Ask for a prediction; given a `guess`, record it; given the measured `truth`, compare.

    A guess and a truth are numbers, or, for a prediction with options, the text of one of them (a guess also its letter
    or its number from 1).
    """
    prediction = catalog.find("prediction", id)
    note = ""
    if guess is not None:
        value = prediction.options[_option(prediction, guess)] if prediction.options else _number(prediction, guess)
        note = _record_guess(prediction, value)
        if truth is None:
            return Answer("Recorded", f"you predict {_shown(prediction, value)}.", *_aside(note))
    if truth is None:
        return _ask_for_guess(prediction)
    progress, trouble = _store().read()
    guessed = _recorded(prediction, progress)
    true = _truth(prediction, truth)
    it_is = f"it is {_shown(prediction, true)}."
    if guessed is None:
        return Answer("", f"No prediction recorded; {it_is}", *_aside(trouble))
    text = f"You predicted {_shown(prediction, guessed)}, {it_is}{_how_far(guessed, true)}"
    return Answer("", text, *_aside(note or trouble), status="right" if _agree(guessed, true) else "")


def progress(topic: str | None = None) -> Answer:
    """What you have done: a table of all topics, or of the exercises of one."""
    record, note = _store().read()
    if topic is not None:
        return _progress_of(catalog.load(topic), record, note)
    rows = []
    for one in map(catalog.load, catalog.topics()):
        done = [entry(record, "exercises", exercise.id) for exercise in one.exercises]
        right = sum(bool(found.get("passed")) for found in done)
        answered = sum(bool(entry(record, "questions", question.id).get("right")) for question in one.questions)
        guessed = sum(_recorded(prediction, record) is not None for prediction in one.predictions)
        hints = sum(min(number(f, "hints"), len(e.hints)) for f, e in zip(done, one.exercises, strict=True))
        parts = ((right, one.exercises), (answered, one.questions), (guessed, one.predictions))
        rows.append([one.name, *(f"{n} of {len(all_)}" for n, all_ in parts), str(hints)])
    if not rows:
        return Answer("Progress", "there are no exercises yet.", *_aside(note))
    columns = ["topic", "exercises right", "questions right", "predictions made", "hints used"]
    return Answer("Progress", "", Grid(columns, rows), *_aside(note))


# What the calls share -------------------------------------------------------------------------------------------------


def _store():
    return store_in(home())


def _aside(note: str) -> list[Aside]:
    return [Aside(note)] if note else []


def _so_far(topic: str, progress: Progress) -> str:
    exercises = catalog.load(topic).exercises
    done = sum(bool(entry(progress, "exercises", exercise.id).get("passed")) for exercise in exercises)
    return f"{done} of {count(len(exercises), 'exercise')} of {topic} done."


def _progress_of(topic: catalog.Topic, record: Progress, note: str) -> Answer:
    rows = []
    for exercise in topic.exercises:
        found = entry(record, "exercises", exercise.id)
        state = "✓ right" if found.get("passed") else "✗ not yet" if number(found, "attempts") else "○ not attempted"
        level = "●" * exercise.difficulty + "○" * (5 - exercise.difficulty)
        rows.append([exercise.id, state, level, f"{exercise.minutes} min"])
    for question in topic.questions:
        found = entry(record, "questions", question.id)
        state = "✓ right" if found.get("right") else "✗ not yet" if number(found, "tries") else "○ not attempted"
        rows.append([question.id, state, "question", ""])
    return Answer("Progress", topic.name, Grid(["id", "state", "difficulty", "time"], rows), *_aside(note))


def _ask(questions: tuple[Question, ...]) -> Quiz:
    known = _store().read()[0]
    widget = Quiz(questions, [bool(entry(known, "questions", question.id).get("right")) for question in questions])

    def record(change: Any) -> None:
        for question, before, now in zip(questions, change.old, change.new, strict=True):
            for option in now[len(before) :]:
                widget.error = _record_answer(question, option)

    widget.observe(record, "tried")
    return widget


def _record_answer(question: Question, chosen: int) -> str:
    def answered(progress: Progress) -> None:
        record = entry(progress, "questions", question.id)
        record["tries"] = number(record, "tries") + 1
        record["right"] = bool(record.get("right")) or chosen == question.answer

    return _store().update(answered)[1]


def _ask_for_guess(prediction: Prediction) -> Guess:
    recorded = _recorded(prediction, _store().read()[0])
    widget = Guess(prediction, recorded)

    def record(change: Any) -> None:
        if widget.guess is not None:
            widget.error = _record_guess(prediction, widget.guess)

    widget.observe(record, ["choice", "number"])
    return widget


def _record_guess(prediction: Prediction, value: float | str) -> str:
    return _store().update(lambda progress: entry(progress, "predictions", prediction.id).update(guess=value))[1]


def _recorded(prediction: Prediction, progress: Progress) -> float | str | None:
    """The recorded guess, if it still fits the prediction."""
    value = entry(progress, "predictions", prediction.id).get("guess")
    if prediction.options:
        return value if value in prediction.options else None
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _option(record: Question | Prediction, answer: Any) -> int:
    """The index of the option that an answer names: by letter, by number from 1, or by its text."""
    n_options = len(record.options)
    if isinstance(answer, str):
        if answer in record.options:
            return record.options.index(answer)
        text = answer.strip().strip(")").lower()
        if len(text) == 1 and text in LETTERS[:n_options]:
            return LETTERS.index(text)
        answer = int(text) if text.isdecimal() else answer
    if isinstance(answer, int) and not isinstance(answer, bool) and 1 <= answer <= n_options:
        return answer - 1
    letters = f'"a" to "{LETTERS[n_options - 1]}"'
    raise ValueError(f"{record.id}: expected an option, {letters} or 1 to {n_options}, got {brief(repr(answer))}")


def _number(prediction: Prediction, value: Any) -> int | float:
    """A plain finite number from a number, a numpy scalar or a tensor with one element."""
    value = value.item() if hasattr(value, "item") and not isinstance(value, str) else value
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= LARGEST:
        raise ValueError(f"{prediction.id}: expected a number, got {shown(value)}")
    return value


def _truth(prediction: Prediction, truth: Any) -> int | float | str:
    if not prediction.options:
        return _number(prediction, truth)
    if str(truth) not in prediction.options:
        raise ValueError(f"{prediction.id}: expected one of {', '.join(prediction.options)}; got {brief(repr(truth))}")
    return str(truth)


def _shown(prediction: Prediction, value: Any) -> str:
    return f"“{value}”" if prediction.options else measure(value, prediction.unit)


def _agree(guessed: Any, true: Any) -> bool:
    """Whether a guess is right; a number within 5 %."""
    return guessed == true if isinstance(true, str) else math.isclose(guessed, true, rel_tol=0.05)


def _how_far(guessed: Any, true: Any) -> str:
    if isinstance(true, str) or guessed <= 0 or true <= 0 or _agree(guessed, true):
        return ""
    return f" That is {measure(true / guessed)} times your prediction."
