"""Questions and predictions in a real JupyterLab, and in a saved page: keyboard, pointer, what is recorded."""

import re
import runpy

import pytest

from llmlab.exercises.store import Store
from llmlab.widgets.quiz import Quiz

pytestmark = pytest.mark.browser

TOPIC = """
from llmlab.exercises import Prediction, Question, exercise

@exercise("planted.double", title="Twice", prompt="Write twice a number.", inputs=lambda: ((2,), (3,)),
          hints=("Use `+`.", "Add it to itself."))
def double(x):
    "Twice a number."
    return x + x  # <twice>

double.plant({"twice 2 is 4, `double(2)` gave <b>something else</b>": lambda x: x})
EXERCISES = (double,)
QUESTIONS = (
    Question(id="planted.why", text="Why divide by `√d`?", answer=1,
             options=("It is faster", "It keeps the `softmax` soft", "<img src=x onerror=alert(1)> luck"),
             why=("It costs a division.", "Otherwise scores grow with the width.", "No.")),
    Question(id="planted.who", text="Which token is new?", answer=2, options=("the first", "any", "the last", "none"),
             why=("It is the oldest.", "No.", "It was appended.", "No.")),
)
PREDICTIONS = (
    Prediction(id="planted.bytes", text="How large is the cache?", unit="KiB"),
    Prediction(id="planted.growth", text="How does the work grow?", options=("as `n`", "as `n²`")),
)
"""
CELLS = [
    "import os, llmlab.exercises\n"
    "llmlab.exercises.__path__.append(os.getcwd())\n"
    "from llmlab.exercises import check, hint, predict, progress, quiz, solution",
    'quiz("planted")',
    'predict("planted.bytes")',
    'predict("planted.growth")',
    'def double(x):\n    ...\ncheck("planted.double", double)',
    'check("planted.double", lambda x: x)',
    'def double(x):\n    y = x.size\n    return y\ncheck("planted.double", double)',
    'hint("planted.double")',
    'solution("planted.double")',
    'check("planted.double", lambda x: 2 * x)',
    'predict("planted.bytes", truth=200, guess=100)',
    'progress("planted")',
]


@pytest.fixture(scope="module")
def executed(lab, open_shared_notebook):
    (lab.root / "planted.py").write_text(TOPIC, encoding="utf-8")
    notebook = open_shared_notebook(lab.write("exercises.ipynb", *CELLS))
    notebook.run_all()
    return notebook


@pytest.fixture
def notebook(executed):
    yield executed
    assert executed.cell_errors() == [] and executed.console_errors == [] and executed.requests_outside == []


def focused(page):
    """The question and the letter of the button that has the focus."""
    return page.evaluate(
        """() => [document.activeElement.closest('[data-question]')?.dataset.question,
                  document.activeElement.querySelector('.llmlab-letter')?.textContent]"""
    )


def press(page, *keys):
    for key in keys:
        page.keyboard.press(key)


def test_questions_and_predictions_are_answered_by_keyboard_and_pointer_and_recorded(notebook, lab):
    page = notebook.page
    notebook.scroll_to(1)
    root = page.get_by_role("group", name="Quiz of 2 questions")
    root.wait_for()
    why, who = (root.locator(f"[data-question='planted.{name}']") for name in ("why", "who"))
    assert "0 of 2 answered right" in root.text_content() and root.locator("img").count() == 0
    n_cells = len(notebook.cells())
    root.focus()
    press(page, "ArrowDown", "Enter")
    assert why.locator(".llmlab-why").text_content() == "✗ Not this one. It costs a division."
    press(page, "ArrowDown", "Enter")
    assert focused(page) == ["planted.why", "b)"]
    assert why.locator(".llmlab-why").text_content() == "✓ Right. Otherwise scores grow with the width."
    press(page, "ArrowRight", "4")
    assert focused(page) == ["planted.who", "d)"]
    assert who.locator(".llmlab-why").text_content() == "✗ Not this one. No."
    press(page, "c", "a")  # the right one by its letter, then another out of curiosity
    assert "2 of 2 answered right" in root.text_content()
    assert who.locator(".llmlab-mark").all_text_contents() == ["✗ not this one", "", "✓ right", "✗ not this one"]
    press(page, "ArrowUp")
    assert focused(page) == ["planted.why", "c)"]
    why.get_by_role("button", name=re.compile("luck")).click()
    assert why.locator("[aria-pressed=true] .llmlab-letter").text_content() == "c)"
    assert len(notebook.cells()) == n_cells  # "a" and "b" would have added cells

    assert [group.get_attribute("aria-label") for group in root.get_by_role("group").all()] == [
        "1. Why divide by √d?",
        "2. Which token is new?",
    ]

    notebook.scroll_to(2)
    number = page.get_by_role("group", name="Prediction").first
    field = number.get_by_label("your guess")
    field.fill("a lot")
    field.press("Enter")
    assert "Expected a number such as 1500 or 0.5, got “a lot”" in number.text_content()
    field.fill("1,500")
    number.get_by_role("button", name="Record").click()
    assert "Your guess: 1,500 KiB. It is recorded." in number.text_content()
    notebook.scroll_to(3)
    options = page.get_by_role("group", name="Prediction").last
    options.focus()
    press(page, "2")
    assert "Your guess: as n². It is recorded." in options.text_content()

    expected = {
        "questions": {"planted.why": {"tries": 3, "right": True}, "planted.who": {"tries": 3, "right": True}},
        "predictions": {"planted.bytes": {"guess": 1500}, "planted.growth": {"guess": "as `n²`"}},
    }
    store = Store(lab.root.parent / "llmlab")
    notebook.until(lambda: {part: store.read()[0][part] for part in expected}, expected)  # a moment later
    notebook.scroll_to(1)
    notebook.run(1)  # again: what was answered right before is known, and not given away
    root.get_by_text("2 of 2 answered right").wait_for()
    assert why.locator(".llmlab-why").text_content() == "✓ You answered this right before. Can you do it again?"
    assert "".join(root.locator(".llmlab-mark").all_text_contents()) == ""
    press(page, "Escape")
    root.focus()
    press(page, "a")
    assert why.locator(".llmlab-why").text_content() == "✗ Not this one. It costs a division."
    assert "2 of 2 answered right" in root.text_content()
    notebook.set_theme("dark")
    notebook.screenshots("quiz-answered")


def test_an_answer_offers_hint_and_solution_by_keyboard_and_pointer(notebook, lab):
    page = notebook.page
    notebook.scroll_to(5)
    answer = page.get_by_role("group", name="Answer").nth(1)
    answer.wait_for()
    assert "twice 2 is 4, double(2) gave <b>something else</b>" in answer.text_content()
    n_cells = len(notebook.cells())
    answer.focus()
    boxes = answer.locator(".llmlab-answer")  # the answer itself, then what help came
    press(page, "h")
    boxes.nth(1).wait_for()
    answer.get_by_role("button", name="Hint").click()
    boxes.nth(2).wait_for()
    assert "Add it to itself." in boxes.nth(2).text_content()  # the notebook's own hint(…) was the first
    answer.get_by_role("button", name="Solution").focus()
    press(page, "Enter")
    boxes.nth(3).wait_for()
    assert "return x + x  # <twice>" in boxes.nth(3).text_content()
    assert answer.locator(".llmlab-keyword").all_text_contents() == ["def", "return"]
    assert len(notebook.cells()) == n_cells
    notebook.screenshots("answer-helped")
    record = Store(lab.root.parent / "llmlab").read()[0]["exercises"]["planted.double"]
    assert record["hints"] >= 2 and record["solution_seen"] is True


def test_answers_are_readable_in_both_themes(notebook):
    for theme in ("light", "dark"):
        notebook.set_theme(theme)
        notebook.scroll_to(6)
        answer = notebook.page.locator(".llmlab-answer").first
        answer.wait_for()
        color, ground = (
            answer.evaluate(f"node => getComputedStyle(node).{name}") for name in ("color", "backgroundColor")
        )
        light = [sum(map(float, re.findall(r"[\d.]+", value)[:3])) for value in (color, ground)]
        assert abs(light[0] - light[1]) > 300
        notebook.screenshots(f"exercises-{theme}")
    notebook.scroll_to(6)
    crash = notebook.page.locator(".llmlab-answer", has_text="stopped with an error")
    assert "line 2: y = x.size\nwith x = 2\nAttributeError: 'int' object has no attribute 'size'" in crash.inner_text()


def test_a_saved_page_answers_without_a_kernel(browser, tmp_path):
    (tmp_path / "planted.py").write_text(TOPIC, encoding="utf-8")
    namespace = runpy.run_path(str(tmp_path / "planted.py"))
    path = Quiz(namespace["QUESTIONS"]).save_html(tmp_path / "quiz.html")
    page = browser.new_page()
    problems = []
    page.on("console", lambda message: message.type == "error" and problems.append(message.text))
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.goto(path.as_uri())
    root = page.get_by_role("group", name="Quiz of 2 questions")
    root.focus()
    press(page, "1", "2")
    root.get_by_role("button", name=re.compile("the last")).click()
    assert "2 of 2 answered right" in root.text_content()
    assert root.locator(".llmlab-why").all_text_contents() == [
        "✓ Right. Otherwise scores grow with the width.",
        "✓ Right. It was appended.",
    ]
    page.close()
    assert problems == []
