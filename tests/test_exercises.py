"""Every exercise of the course: its stub runs, its solution passes, its planted mistakes are named. And the engine."""

import random
import re
import sys
from functools import partial
from html import unescape

import pytest
import torch

import llmlab.exercises
from llmlab.exercises import (
    Exercise,
    Mistake,
    Prediction,
    Question,
    Wrong,
    all_exercises,
    all_predictions,
    all_questions,
    catalog,
    check,
    hint,
    predict,
    progress,
    quiz,
    solution,
    topics,
)
from llmlab.exercises.judge import define, judge
from llmlab.exercises.look import highlight, measure
from llmlab.exercises.store import home, store_in

PLANTED = '''
import torch
from llmlab.exercises import Exercise, Mistake, Prediction, Question, Wrong

def _check_mean(candidate):
    x = torch.randn(3, 5)
    got = candidate(x, 1)
    if got.shape != (3,):
        raise Wrong(f"expected one mean a row, shape (3,), got {tuple(got.shape)}")
    assert torch.allclose(got, x.mean(1)), "the sum is not divided by the number of columns <n>"

def _check_empty(candidate):
    try:
        candidate(torch.zeros(2, 0), dim=1)
    except ValueError:
        return
    raise Wrong("a mean over nothing should raise ValueError")

MEAN = Exercise(
    id="planted.mean", title="The mean", prompt="Write the mean over one dimension.", difficulty=2,
    stub='def mean(x, dim):\\n    """x (R, C) -> (R,)"""\\n    ...\\n',
    hints=("Add, then divide.", "`x.sum(dim)` adds.", "Nothing to add: raise."),
    solution='def mean(x, dim):\\n    if x.shape[dim] == 0:\\n        raise ValueError("<empty>")  # not NaN\\n'
             '    return x.sum(dim) / x.shape[dim]\\n',
    checks=(_check_mean, _check_empty),
    mistakes=(
        Mistake("def mean(x, dim):\\n    return x.sum(dim)\\n", "not divided by the number"),
        Mistake("def mean(x, dim):\\n    return x.sum(dim) / x.shape[dim]\\n", "should raise ValueError"),
        Mistake("def mean(x, dim):\\n    return x.mean()\\n", "got ()"),
    ),
)
ZERO = Exercise(
    id="planted.zero", title="Zero", prompt="Fill with zeros.", stub="def zero(x):\\n    ...\\n", hints=("a", "b"),
    solution="def zero(x):\\n    x.zero_()\\n",
    checks=(lambda candidate: _check_zero(candidate),),
    mistakes=(
        Mistake("def zero(x):\\n    x = 0\\n", "not zero"),
        Mistake("def zero(x):\\n    x[0] = 0\\n", "not zero"),
    ),
)

def _check_zero(candidate):
    x = torch.ones(3)
    candidate(x)
    if x.any():
        raise Wrong("some values are not zero")

EXERCISES = (MEAN, ZERO)
QUESTIONS = (
    Question(id="planted.why", text="Why <b>√d</b>?", options=("speed", "the `softmax` stays soft", "luck"), answer=1,
             why=("It costs time.", "Scores have variance 1.", "No.")),
    Question(id="planted.who", text="Who?", options=("one", "two", "three"), answer=0, why=("Yes.", "No.", "No.")),
)
PREDICTIONS = (
    Prediction(id="planted.bytes", text="How large?", unit="KiB"),
    Prediction(id="planted.growth", text="How does it grow?", options=("as n", "as n²")),
)
'''


@pytest.fixture(autouse=True)
def fresh_home(tmp_path, monkeypatch):
    monkeypatch.setenv("LLMLAB_HOME", str(tmp_path / "home"))


@pytest.fixture
def planted(tmp_path, monkeypatch):
    """A topic of our own beside the course's, as a module in a folder of its own."""
    (tmp_path / "topics").mkdir()
    (tmp_path / "topics" / "planted.py").write_text(PLANTED, encoding="utf-8")
    monkeypatch.setattr(llmlab.exercises, "__path__", [*llmlab.exercises.__path__, str(tmp_path / "topics")])
    yield catalog.load("planted")
    sys.modules.pop("llmlab.exercises.planted", None)
    vars(llmlab.exercises).pop("planted", None)


def cell(source):
    """A function of the learner's, as a notebook's cell defines it."""
    return define(source, f"cell {abs(hash(source))}")


# Every exercise of the course ---------------------------------------------------------------------------------------


def faults(exercise):
    """What is wrong with an exercise, one line each."""
    found = []
    stub = check(exercise.id, define(exercise.stub, f"stub of {exercise.id}"))
    if stub.status != "not attempted":
        found.append(f"its stub is judged {stub.status!r}")
    if judge(exercise, partial(define(exercise.stub, f"stub of {exercise.id}"))).status == "right":
        found.append("its stub passes the checks")
    for seed in range(3):
        verdict = judge(exercise, define(exercise.solution, f"solution of {exercise.id}"), seed=seed)
        if verdict.status != "right":
            found.append(f"its solution is {verdict.status} with seed {seed}: {verdict.line} {verdict.reason}")
    for number, mistake in enumerate(exercise.mistakes, 1):
        answer = check(exercise.id, define(mistake.source, f"mistake {number} of {exercise.id}"))
        if answer.status not in ("wrong", "crashed"):
            found.append(f"mistake {number} is judged {answer.status!r}")
        elif mistake.diagnosis not in repr(answer):
            found.append(f"mistake {number} should be told {mistake.diagnosis!r}, is told {answer!r}")
    found += [f"fewer than two {name}" for name in ("hints", "mistakes") if len(getattr(exercise, name)) < 2]
    found += [f"no {name}" for name in ("title", "prompt", "checks") if not getattr(exercise, name)]
    return found


@pytest.mark.parametrize("exercise", all_exercises(), ids=lambda exercise: exercise.id)
def test_the_stub_runs_the_solution_passes_and_planted_mistakes_are_named(exercise):
    assert faults(exercise) == []


@pytest.mark.parametrize("exercise", all_exercises(), ids=lambda exercise: exercise.id)
def test_what_an_exercise_shows_is_the_same_on_every_run(exercise, tmp_path, monkeypatch):
    shown = []
    for run in range(2):
        monkeypatch.setenv("LLMLAB_HOME", str(tmp_path / f"home {run}"))
        sources = [exercise.stub, exercise.solution, *(mistake.source for mistake in exercise.mistakes)]
        answers = [check(exercise.id, cell(source)) for source in sources]
        answers += [hint(exercise.id) for _ in (*exercise.hints, "all")] + [solution(exercise.id)]
        shown.append([answer._repr_mimebundle_() for answer in answers])
    assert shown[0] == shown[1]


@pytest.mark.parametrize("question", all_questions(), ids=lambda question: question.id)
def test_questions_have_three_options_and_explain_each(question):
    assert len(set(question.options)) == len(question.options) >= 3
    assert len(question.why) == len(question.options) and all(question.why)
    assert quiz(question.id, question.answer + 1).passed


@pytest.mark.parametrize("prediction", all_predictions(), ids=lambda prediction: prediction.id)
def test_predictions_can_be_asked_without_an_answer_recorded(prediction):
    assert prediction.text in repr(predict(prediction.id))
    assert repr(predict(prediction.id, truth=prediction.options[0] if prediction.options else 1)).startswith(
        "No prediction"
    )


def test_the_planted_exercises_are_faultless_and_faults_are_found(planted):
    assert [faults(exercise) for exercise in planted.exercises] == [[], []]
    good = planted.exercises[0]
    changes = [
        ({"stub": good.solution}, "its stub passes the checks"),
        ({"solution": good.mistakes[0].source}, "its solution is wrong with seed 0:  the sum is not divided"),
        ({"mistakes": (Mistake(good.solution, "x"), good.mistakes[0])}, "mistake 1 is judged 'right'"),
        ({"mistakes": (good.mistakes[0], Mistake(good.mistakes[0].source, "cold"))}, "mistake 2 should be told 'cold'"),
        ({"hints": ("one",)}, "fewer than two hints"),
    ]
    for change, expected in changes:
        bad = Exercise(**{**vars(good), **change})
        sys.modules["llmlab.exercises.planted"].EXERCISES = (bad,)
        assert any(fault.startswith(expected) for fault in faults(bad)), (expected, faults(bad))


# check --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "source",
    [
        "def mean(x, dim):\n    ...",
        "def mean(x, dim):\n    pass",
        "def mean(a, b):\n    '''mine'''\n    # soon\n    ...",
        "def mean(x, dim):\n    total = ...\n    return total",
        "def mean(x, dim):\n    total = ...\n    return total / x.shape[dim]",
        "def mean(x, dim):\n    y = x[..., 0]\n    ...",
        "def mean(x, dim):\n    return ..., ...",
    ],
)
def test_a_stub_or_a_begun_stub_is_not_attempted_yet(planted, source):
    answer = check("planted.mean", cell(source))
    assert (answer.status, answer.passed) == ("not attempted", False)
    assert repr(answer).startswith("○ not attempted yet: The mean\nWrite the mean over one dimension.")
    assert "attempts" not in store_in(home()).read()[0]["exercises"].get("planted.mean", {})
    assert check("planted.mean", ...).status == "not attempted"


@pytest.mark.parametrize(
    ("source", "status", "told"),
    [
        ("def mean(x, dim):\n    ...\n    return x.sum(dim)", "wrong", "not divided by the number"),
        ("def mean(x, dim):\n    ...\n    return x[9]", "crashed", "IndexError"),
        ("def mean(x, dim):\n    total = x[..., 0]", "wrong", "mean returned None; is a `return` missing?"),
        (
            "def mean(x, dim):\n    return 'text'",
            "wrong",
            "it returned a value of type str, which the check cannot use",
        ),
        ("def mean(x):\n    return x", "wrong", "expected mean(x, dim), got a function that takes (x)"),
        (
            "def mean(x, dim, eps):\n    return x",
            "wrong",
            "expected mean(x, dim), got a function that takes (x, dim, eps)",
        ),
        ("def mean(x, axis):\n    return x.mean(axis)", "crashed", "unexpected keyword argument 'dim'"),
        ("def mean(x, dim):\n    raise SystemExit(3)", "crashed", "SystemExit: 3"),
        ("def mean(x, dim):\n    assert x is None, 'mine'", "crashed", "line 2: assert x is None, 'mine'\n"),
    ],
)
def test_each_way_to_fail_gets_its_reason(planted, source, status, told):
    answer = check("planted.mean", cell(source))
    assert (answer.status, told in repr(answer)) == (status, True), repr(answer)
    assert repr(answer).startswith("✗ not yet: The mean\n") and not answer.passed


def test_a_crash_shows_the_learners_own_innermost_line_and_nothing_of_ours(planted):
    helper = "def helper(x):\n    y = x.T\n    return torch.cat([y, 'no'])  # <here>\n"
    source = f"{helper}\ndef mean(x, dim):\n    return helper(x)"
    answer = check("planted.mean", cell(source).__globals__["mean"])
    assert "line 3: return torch.cat([y, 'no'])  # <here>" in repr(answer) and "TypeError: expected Tensor" in repr(
        answer
    )
    assert "Traceback" not in repr(answer) and "File" not in repr(answer)
    assert "&lt;here&gt;" in answer.html() and "<here>" not in answer.html()


def test_endless_recursion_is_a_crash_like_others(planted):
    answer = check("planted.mean", cell("def mean(x, dim):\n    return mean(x, dim)"))
    assert answer.status == "crashed" and "line 2: return mean(x, dim)" in repr(answer)


def test_a_right_answer_is_recorded_and_stays_right(planted):
    answer = check("planted.mean", cell(planted.exercises[0].solution))
    assert answer.passed and answer.status == "right"
    assert repr(answer) == "✓ right: The mean\n1 of 2 exercises of planted done."
    check("planted.mean", cell("def mean(x, dim):\n    return x"))
    assert "2 of 2 exercises" in repr(check("planted.zero", torch.Tensor.zero_))
    assert store_in(home()).read()[0]["exercises"]["planted.mean"] == {"attempts": 2, "passed": True}


def test_anything_that_can_be_called_is_judged(planted):
    assert check("planted.zero", lambda x: x.zero_()).passed
    assert check("planted.zero", partial(torch.Tensor.mul_, other=0)).passed
    assert "line" in repr(check("planted.zero", partial(cell("def zero(x, y):\n    return y.x"), y=1)))


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (None, 'got None; write check("planted.mean", mean), with no parentheses after mean'),
        (torch.zeros(2, 3), "got a tensor of shape (2, 3)"),
        (3.5, "got a value of type float"),
        ("mean", 'got a text; write check("planted.mean", mean) without quotes'),
    ],
)
def test_what_is_no_function_is_told_how_to_call_check(planted, given, told):
    answer = check("planted.mean", given)
    assert answer.status == "wrong" and told in repr(answer)


def test_memory_addresses_and_long_messages_do_not_reach_the_output(planted):
    one, two = (check("planted.mean", cell("def mean(x, dim):\n    raise KeyError(object())")) for _ in range(2))
    assert "0x…" in repr(one) and repr(one) == repr(two)
    assert len(repr(check("planted.mean", cell("def mean(x, dim):\n    raise KeyError('x' * 10**6)")))) < 1000


def test_checks_get_the_same_random_numbers_and_the_learners_are_put_back(planted):
    torch.manual_seed(5)
    random.seed(5)
    expected = (torch.rand(1).item(), random.random())
    seen = []
    for _ in range(2):
        torch.manual_seed(5)
        random.seed(5)
        check("planted.mean", lambda x, dim: seen.append(x.clone()) or x.sum(dim))
        assert (torch.rand(1).item(), random.random()) == expected
    assert torch.equal(seen[0], seen[1])


def test_what_the_learners_function_prints_is_left_alone(planted, capsys):
    check("planted.mean", cell("def mean(x, dim):\n    print('hello', x.shape[dim])"))
    assert capsys.readouterr().out == "hello 5\n"


def test_a_check_that_is_interrupted_stays_interrupted(planted):
    with pytest.raises(KeyboardInterrupt):
        check("planted.mean", cell("def mean(x, dim):\n    raise KeyboardInterrupt"))


# Ids ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("call", [partial(check, function=max), hint, solution])
def test_a_wrong_id_names_the_nearest_and_the_topics(planted, call):
    with pytest.raises(ValueError, match=r"no exercise 'planted\.maen'; nearest: planted\.mean.*; topics: .*planted"):
        call("planted.maen")
    with pytest.raises(ValueError, match=r"nearest: planted\.mean"):
        call("plnted.mean")
    with pytest.raises(ValueError, match=r'planted\.why is a question, not an exercise: use quiz\("planted\.why"\)'):
        call("planted.why")
    with pytest.raises(ValueError, match=r'expected the id of an exercise, a text "topic\.name", got function'):
        call(lambda: None)


def test_questions_predictions_and_topics_name_the_nearest_too(planted):
    with pytest.raises(ValueError, match=r"no question 'planted\.whi'; nearest: planted\.why, planted\.who"):
        quiz("planted.whi")
    with pytest.raises(ValueError, match=r"no prediction 'planted\.byte'; nearest: planted\.bytes"):
        predict("planted.byte")
    with pytest.raises(ValueError, match="no topic 'plante'; nearest: planted"):
        progress("plante")
    with pytest.raises(ValueError, match="no exercise"):
        check("os.path", max)


def test_topics_are_found_without_importing_them(planted):
    sys.modules.pop("llmlab.exercises.planted")
    assert "planted" in topics() and not set(topics()) & catalog.MACHINERY
    assert "llmlab.exercises.planted" not in sys.modules


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"id": "Mean"}, 'expected an id "topic.name"'),
        ({"difficulty": 6}, "expected a difficulty of 1 to 5, got 6"),
        ({"hints": "one"}, "expected a tuple of hints, got str"),
        ({"solution": "def other(x): ..."}, "the stub defines mean, the solution other"),
        ({"stub": "x = 1"}, "the stub of planted.mean: expected one function, got none"),
        ({"stub": "def mean(x:\n"}, "the stub of planted.mean: line 1 is no Python"),
        (
            {"mistakes": (Mistake("def a(): ...\ndef b(): ...", ""),)},
            "mistake 1 of planted.mean: expected one function",
        ),
    ],
)
def test_a_badly_written_exercise_is_refused_with_its_fault(planted, change, told):
    with pytest.raises(ValueError) as caught:
        Exercise(**{**vars(planted.exercises[0]), **change})
    assert told in str(caught.value)


def test_badly_written_questions_and_predictions_are_refused():
    with pytest.raises(ValueError, match="expected an answer from 0 to 1, got 2"):
        Question("a.b", "?", ("x", "y"), 2, ("1", "2"))
    with pytest.raises(ValueError, match="expected a why for each of 2 options, got 1"):
        Question("a.b", "?", ("x", "y"), 1, ("1",))
    with pytest.raises(ValueError, match="two or more different options"):
        Prediction("a.b", "?", ("x", "x"))
    assert issubclass(Wrong, Exception)


# hint, solution -----------------------------------------------------------------------------------------------------


def test_hints_come_one_by_one_and_then_all(planted):
    first, second, third, everything = (hint("planted.mean") for _ in range(4))
    assert repr(first) == 'Hint 1 of 3: Add, then divide.\n`hint("planted.mean")` again shows the next.'
    assert repr(second).startswith("Hint 2 of 3: `x.sum(dim)` adds.") and "<code>x.sum(dim)</code>" in second.html()
    assert 'The last one; `solution("planted.mean")` comes next.' in repr(third)
    assert "All 3 hints\n1. Add, then divide.\n2." in repr(everything)
    assert repr(hint("planted.mean")) == repr(everything)
    assert repr(hint("planted.zero")).startswith("Hint 1 of 2")


def test_a_solution_is_shown_escaped_and_noted_as_seen(planted):
    answer = solution("planted.mean")
    assert '    raise ValueError("<empty>")  # not NaN' in repr(answer)
    assert "&lt;empty&gt;" in answer.html() and "<empty>" not in answer.html() and "<pre>" in answer.html()
    assert '<span class="llmlab-keyword">return</span>' in answer.html()
    assert store_in(home()).read()[0]["exercises"]["planted.mean"] == {"solution_seen": True}


@pytest.mark.parametrize("exercise", all_exercises(), ids=lambda exercise: exercise.id)
def test_highlighting_adds_marks_and_changes_no_character(exercise):
    assert unescape(re.sub(r"</?span[^>]*>", "", highlight(exercise.solution))) == exercise.solution


# quiz, predict ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("answer", ["b", "B", "b)", 2, "2", "the `softmax` stays soft"])
def test_a_question_can_be_answered_in_code(planted, answer):
    result = quiz("planted.why", answer)
    assert result.passed and repr(result) == "✓ right: b) the `softmax` stays soft\nScores have variance 1."
    assert store_in(home()).read()[0]["questions"]["planted.why"] == {"tries": 1, "right": True}


def test_a_wrong_answer_says_why_and_may_be_tried_again(planted):
    assert repr(quiz("planted.why", "c")) == "✗ not yet: c) luck\nNo."
    assert quiz("planted.why", 2).passed
    quiz("planted.why", 1)
    assert store_in(home()).read()[0]["questions"]["planted.why"] == {"tries": 3, "right": True}


@pytest.mark.parametrize("answer", ["d", 0, 4, True, 1.0, "", "speedy"])
def test_an_answer_that_is_no_option_is_refused(planted, answer):
    with pytest.raises(ValueError, match=r'planted\.why: expected an option, "a" to "c" or 1 to 3, got'):
        quiz("planted.why", answer)
    with pytest.raises(ValueError, match="expected the id of one question to answer"):
        quiz("planted", answer)


def test_the_quiz_widget_shows_records_and_keeps_its_answers(planted):
    widget = quiz("planted.why")
    assert repr(widget) == "Why <b>√d</b>?\n  a) speed\n  b) the `softmax` stays soft\n  c) luck"
    widget.tried = [[2]]
    widget.tried = [[2, 1]]
    assert widget.right() == [True]
    assert store_in(home()).read()[0]["questions"]["planted.why"] == {"tries": 2, "right": True}
    with pytest.raises(Exception, match="expected a list of options for each of 1 questions"):
        widget.tried = [[3]]
    [table] = widget.tables()
    assert [row[2] for row in table.rows] == ["", "✓ right", "✗ not this one"]


def test_a_topic_asks_all_its_questions_in_one_widget(planted):
    widget = quiz("planted")
    assert [question["id"] for question in widget.questions] == ["planted.why", "planted.who"]
    widget.tried = [[], [1, 0]]
    assert store_in(home()).read()[0]["questions"] == {"planted.who": {"tries": 2, "right": True}}


def test_without_a_kernel_the_question_shows_and_its_answer_opens(planted):
    bundle, _ = quiz("planted.why")._repr_mimebundle_()
    html = bundle["text/html"]
    assert "Why &lt;b&gt;√d&lt;/b&gt;?" in html and "<b>√d" not in html
    before, details = html.split("<details>")
    assert (
        "variance" not in before
        and "It costs time." in details
        and "<b>✓ right:</b> Scores have variance 1." in details
    )
    assert bundle["text/plain"] == repr(quiz("planted.why"))


def test_a_prediction_is_recorded_and_set_beside_the_truth(planted):
    assert repr(predict("planted.bytes", truth=200)) == "No prediction recorded; it is 200 KiB."
    assert repr(predict("planted.bytes", guess=100)) == "Recorded: you predict 100 KiB."
    told = "You predicted 100 KiB, it is 200 KiB. That is 2 times your prediction."
    assert (
        repr(predict("planted.bytes", truth=200)) == told == repr(predict("planted.bytes", truth=torch.tensor(200.0)))
    )
    close = predict("planted.bytes", truth=102)
    assert close.passed and repr(close) == "✓ You predicted 100 KiB, it is 102 KiB."
    assert repr(predict("planted.growth", truth="as n²", guess="a")) == "You predicted “as n”, it is “as n²”."
    assert predict("planted.growth", truth="as n²", guess=2).passed


def test_the_prediction_widget_records_and_remembers(planted):
    widget = predict("planted.bytes")
    assert repr(widget) == "Your prediction: How large? (a number of KiB)" and widget.guess is None
    widget.number = 1500
    assert repr(predict("planted.bytes", truth=3000)).startswith("You predicted 1,500 KiB, it is 3,000 KiB.")
    assert predict("planted.bytes").number == 1500
    options = predict("planted.growth")
    options.choice = 1
    assert predict("planted.growth").guess == "as n²" and predict("planted.growth", truth="as n²").passed
    with pytest.raises(Exception, match="expected -1 to 1, got 2"):
        options.choice = 2
    assert repr(options) == "Your prediction: How does it grow?\n  a) as n\n  b) as n²"  # whatever was chosen


@pytest.mark.parametrize("value", ["many", float("nan"), True, torch.zeros(1).bool()])
def test_a_guess_or_truth_that_is_no_number_is_refused(planted, value):
    for call in (partial(predict, truth=value), partial(predict, guess=value)):
        with pytest.raises(ValueError, match=r"planted\.bytes: expected a number, got"):
            call("planted.bytes")
    with pytest.raises(ValueError, match="expected one of as n, as n²; got"):
        predict("planted.growth", truth=value)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (1234567, "1,234,567"), (999.9, "1,000"), (0.12345, "0.123"), (256.0, "256"), (-2.5, "-2.5")],
)
def test_numbers_are_written_for_reading(value, text):
    assert measure(value) == text and measure(value, "ms") == f"{text} ms"


# progress -----------------------------------------------------------------------------------------------------------


def test_progress_counts_what_was_done(planted):
    check("planted.zero", lambda x: x.zero_())
    for _ in range(9):
        hint("planted.mean")
    quiz("planted.who", "a")
    predict("planted.bytes", 1)
    answer = progress()
    [row] = [line for line in repr(answer).splitlines() if line.startswith("planted")]
    assert row.split() == ["planted", *["1", "of", "2"] * 3, "3"]
    assert [line.split()[0] for line in repr(answer).splitlines()[3:]] == list(topics())
    check("planted.mean", lambda x, dim: x)
    text = repr(progress("planted"))
    assert "planted.mean  ✗ not yet        ●●○○○       5 min" in text and "planted.zero  ✓ right" in text
    assert "planted.why   ○ not attempted  question" in text


def test_answers_show_as_html_and_as_text_and_never_by_color_alone(planted):
    for function in (lambda x, dim: x, lambda x, dim: 1 / 0, ...):
        answer = check("planted.mean", function)
        bundle = answer._repr_mimebundle_()
        assert set(bundle) == {"text/html", "text/plain"} and bundle["text/plain"] == repr(answer)
        symbol, words = repr(answer).split(":")[0].split(" ", 1)
        assert symbol in "✗○" and symbol in bundle["text/html"] and words in bundle["text/html"]


def test_without_topics_all_is_empty_and_nothing_breaks(monkeypatch):
    monkeypatch.setattr(catalog, "topics", lambda: ())
    assert all_exercises() == () and all_questions() == () and all_predictions() == ()
    assert repr(progress()) == "Progress: there are no exercises yet."
    with pytest.raises(ValueError, match=r"no exercise 'a\.b'; topics: none yet"):
        check("a.b", max)


def test_where_nothing_can_be_written_the_answer_is_still_judged(planted, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("LLMLAB_HOME", str(tmp_path / "file"))
    answer = check("planted.zero", lambda x: x.zero_())
    assert answer.passed and "1 of 2 exercises" in repr(answer)
    assert "Progress is kept for this session only" in repr(answer)
    assert [repr(hint("planted.mean"))[:11] for _ in range(2)] == ["Hint 1 of 3", "Hint 2 of 3"]
