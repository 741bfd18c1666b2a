"""The training dashboard in a real browser: recorded by keyboard and pointer, live with its buttons and keys."""

import json
import math
import os
import re
from pathlib import Path

import numpy as np
import pytest
from first_view import first_view
from test_embedding_explorer_page import LATENCY, SMALL
from test_fit import BESIDE, faults
from test_saved_page import TABLES

from llmlab.training import Curve
from llmlab.widgets.gradients import number
from llmlab.widgets.training import TrainingDashboard

pytestmark = pytest.mark.browser
NUMBERS = """root => Object.fromEntries([...root.querySelectorAll('[data-number]')].map(
    one => [one.dataset.number, one.textContent]))"""
SKILLS = """root => {
    const wide = node => node.getBoundingClientRect().width;
    return [...root.querySelectorAll('[data-skill]')].map(one => [one.dataset.skill, one.textContent,
        root.querySelector(`[data-change="${one.dataset.skill}"]`).textContent,
        wide(one.previousSibling.firstChild) / wide(one.previousSibling)]);
}"""
# The points of a line, in the picture's own units, and how wide that is.
LINE = """(root, kind) => {
    const path = root.querySelector(`[data-line=${kind}]`), parts = path.getAttribute('d').split(/(?=[ML])/);
    const points = parts.filter(Boolean).map(one => [one[0], ...one.slice(1).split(' ').map(Number)]);
    return [points, path.ownerSVGElement.viewBox.baseVal.width];
}"""
LEFT, RIGHT = 56, 74  # what training.js keeps free beside its charts


def losses(n):
    return [2.0 + math.sin(step / 9) + 3 / step for step in range(1, n + 1)]


def run_of(n=120, name="a run"):
    lines = []
    for step, loss in enumerate(losses(n), start=1):
        line = {"step": step, "loss": loss, "lr": 1e-5 * step, "norm": 1 / step, "seconds": 2.5 * step}
        line["tokens_per_second"] = 20_000.0 + step
        if step % 30 == 0:
            line |= {"validation_loss": loss + 0.1, "skills": {"copying": step / n, "sums_2digit": 0.25, "late": None}}
            line["skills"] = {name: share for name, share in line["skills"].items() if share is not None}
            line["samples"] = {"Anna had": f" a <b>dog</b> {step}"}
        lines.append(line)
    lines[49]["loss"] = math.nan
    return Curve(name, lines)


def said(value):
    if value is None:
        return "–"
    return "not finite" if math.isinf(value) else number(float(f"{value:.7g}"), 3)


class Page:
    """The widget as a reader sees it. `widget` is the same one in Python, which the tests keep in step."""

    def __init__(self, opened, widget=None, number=0):
        self.opened, self.page, self.widget = opened, opened.page, widget
        self.root = self.page.locator(".llmlab-root").nth(number)
        self.root.locator("[data-claim]").wait_for()

    def press(self, *keys):
        for key in keys:
            self.page.keyboard.press(key)

    @property
    def claim(self):
        return self.root.locator("[data-claim]").text_content()

    def check(self, step, reading=None):
        """The page's numbers are those that Python reads at a step."""
        if reading is None:
            self.widget.step = step
            reading = self.widget.reading
        shown = self.root.evaluate(NUMBERS)
        names = {"loss": "loss", "lr": "learning rate", "norm": "gradient norm", "validation_loss": "validation loss"}
        assert {name: shown[text] for name, text in names.items()} == {name: said(reading[name]) for name in names}
        assert self.claim.startswith(f"Step {reading['step']:,} of ")
        assert [(name, share) for name, share, *_ in self.root.evaluate(SKILLS)] == [
            (name, f"{share:.2f}") for name, share in reading["skills"].items()
        ]
        for name, _, change, width in self.root.evaluate(SKILLS):
            by = reading["change"].get(name)
            assert change == ("" if by is None else "0.00" if abs(by) < 0.005 else f"{by:+.2f}".replace("-", "−"))
            assert width == pytest.approx(reading["skills"][name], abs=0.02)
        texts = self.root.locator("[data-sample]").all_text_contents()
        assert texts == list(reading["samples"].values())
        return shown


@pytest.fixture
def saved(open_saved):
    def save_and_open(widget=None, **how):
        widget = widget or TrainingDashboard(run_of(), ghost=run_of(90, "before"))
        return Page(open_saved(widget, **how), widget)

    return save_and_open


# Without a kernel ---------------------------------------------------------------------------------------------------


def test_the_shipped_run_by_keyboard(saved):
    page = saved(TrainingDashboard(), width=1000)
    assert page.claim == (
        "Step 3,000 of 31,500: loss 0.935 nats a token, 0.977 on validation texts. "
        "From step 2,000 to 3,000, analogies rose most: 0.04 → 0.82; lowest: steps 0.00."
    )
    shown = page.check(3000)
    assert (shown["time"], shown["time left"]) == ("26 min 53 s", "4 h 1 min")
    page.root.focus()
    for keys, step in (
        (["ArrowRight"], 3010),
        (["ArrowLeft", "ArrowLeft"], 2990),
        (["]", "]"], 4000),
        (["["], 3000),
        (["Shift+ArrowRight"], 4580),  # a twentieth of 3,150 rows
        (["Home"], 10),
        (["["], 10),
        (["End"], 31_500),
        (["]", "ArrowRight"], 31_500),
        (["Shift+ArrowLeft"], 29_920),
    ):
        page.press(*keys)
        page.check(step)
    keys = ["ArrowLeft", "]", "Home", "a", "l", "[", "ArrowRight", "a", "l"]
    assert page.page.evaluate(LATENCY, keys * 4) < 200  # 10 where nothing else runs


def test_lines_are_drawn_where_the_numbers_are(saved):
    """Each line against its numbers: steps along x, and along y a straight line of the value, or of its logarithm."""
    page = saved()
    page.root.focus()
    values = np.array(losses(120))
    values[49] = np.nan
    mean = [np.nanmean(values[max(0, at - 1) : at + 2]) for at in range(120)]
    mean[49] = np.nan
    steps = np.arange(1, 121)
    ghost = np.array(losses(90))
    ghost[49] = np.nan
    exams = np.array([30, 60, 90, 120])
    lines = {
        "raw": (steps, values),
        "loss": (steps, mean),
        "ghost": (steps[:90], ghost),
        "validation": (exams, np.array(losses(120))[exams - 1] + 0.1),
    }
    for logarithmic in (True, False):
        spots = []
        for kind, (xs, ys) in lines.items():
            points, width = page.root.evaluate(LINE, kind)
            known = ~np.isnan(np.array(ys))
            assert len(points) == known.sum()
            gaps = [n for n, point in enumerate(points) if point[0] == "M"]
            assert gaps == ([0] if known.all() else [0, 49])
            for (_, x, y), step, value in zip(points, xs[known], np.array(ys)[known], strict=True):
                assert x == pytest.approx(LEFT + step / 120 * (width - LEFT - RIGHT), abs=0.06)
                spots.append((math.log(value) if logarithmic else value, y))
        (low, bottom), (high, top) = min(spots), max(spots)
        assert bottom > top  # the greatest stands highest
        for value, y in spots:
            assert y == pytest.approx(bottom + (value - low) / (high - low) * (top - bottom), abs=0.1)
        page.press("l")
    assert "first at step 50: a gap" in page.root.locator("[data-note]").text_content()
    page.press("a")
    page.widget.smooth = False
    assert len(page.root.evaluate(LINE, "loss")[0]) == 119 and page.root.locator("[data-line=raw]").count() == 0


def test_pointer_slider_and_replay(saved):
    page = saved()
    box = page.root.locator(".llmlab-dash-charts").bounding_box()
    x = lambda step: box["x"] + LEFT + step / 120 * (box["width"] - LEFT - RIGHT)  # noqa: E731
    page.page.mouse.click(x(31), box["y"] + 60)
    shown = page.check(31)
    assert shown["time"] == "1 min 18 s" and shown["time left"] == "3 min 43 s" and shown["tokens a second"] == "20,000"
    page.page.mouse.move(x(31), box["y"] + 60)
    page.page.mouse.down()
    page.page.mouse.move(x(80), box["y"] + 150)
    page.check(80)
    page.page.mouse.move(x(500), box["y"] + 150)
    page.page.mouse.up()
    page.check(120)
    page.page.mouse.move(x(20), box["y"] + 60)
    page.check(120)
    slider = page.root.get_by_label("step", exact=True)
    slider.focus()
    page.press("Home", "ArrowRight")
    page.check(2)
    assert slider.get_attribute("aria-valuetext") == "step 2"
    page.press(*["ArrowRight"] * 3, "End", *["ArrowLeft"] * 20)
    page.root.locator("[data-play]").click()
    page.opened.until(lambda: page.root.locator("[data-play]").text_content(), "Pause")
    page.opened.until(lambda: page.claim.startswith("Step 120 "), True)
    page.opened.until(lambda: page.root.locator("[data-play]").text_content(), "Replay")
    page.check(120)
    page.press(" ", " ")  # plays from the start, and pauses there
    page.check(1)
    page.opened.until(lambda: page.root.locator("[data-play]").text_content(), "Replay")


def test_the_tables_say_what_python_says(saved):
    page = saved()
    page.root.focus()
    page.press("t")
    assert page.root.evaluate(TABLES) == [vars(table) for table in page.widget.tables()]
    for key, step in (("[", 90), ("Home", 1), ("]", 30)):
        page.press(key)
        page.widget.step = step
        assert page.root.evaluate(TABLES) == [vars(table) for table in page.widget.tables()]
    for curve in (Curve("nothing"), Curve("one", [{"step": 3, "loss": math.inf}], n_steps=5)):
        other = saved(TrainingDashboard(curve))
        other.root.focus()
        other.press("ArrowLeft", " ", "]", "t")
        assert other.root.evaluate(TABLES) == [vars(table) for table in other.widget.tables()]
        other.press("t")
        claim = {"nothing": "This run has no steps.", "one": "Step 3 of 5: the loss is not finite."}[curve.name]
        assert other.claim == claim


def test_a_phone_and_a_projector_show_all(saved):
    for width, scale in ((320, 1.0), (390, 1.0), (390, 1.5), (1280, 1.5)):
        page = saved(TrainingDashboard(run_of(), scale=scale), width=width)
        assert page.page.evaluate(BESIDE) <= 0
        assert page.root.evaluate(SMALL) == []
        box = page.root.locator(".llmlab-dash-charts").bounding_box()
        page.page.mouse.click(box["x"] + scale * (LEFT + 0.5 * (box["width"] / scale - LEFT - RIGHT)), box["y"] + 60)
        page.check(60)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axes_rules_hold_with_samples_a_ghost_and_a_gap(saved, theme):
    page = saved(theme=theme, width=860)
    assert faults(page.page) == []


# With a kernel ------------------------------------------------------------------------------------------------------

CELLS = (
    """import time
from llmlab.training import TrainingStep
from llmlab.widgets import training
from llmlab.widgets.training import TrainingDashboard
training._by_machine = lambda: False

def steps(n, seconds=0.01):
    for step in range(n):
        time.sleep(seconds)
        yield TrainingStep(step, 4 / (1 + step), 1e-3, 1.5, 1234.5)

def live(n):
    asked = iter(range(n))
    return TrainingDashboard.live(steps(n), validate=lambda: 2.5, every=10, n_steps=n,
        examine=lambda: {"copying": next(asked) / 100}, sample=lambda: {"Anna": " & <i>Ben</i>"})

dashboard = live(100_000)
dashboard""",
    "import json; print(json.dumps([dashboard.state, dashboard.n_lines, dashboard.reading]))",
    "short = live(60)\nshort.run()",
    "dashboard.start(); dashboard.wait(1.5)",
)


@pytest.fixture(scope="module")
def notebook(lab, open_shared_notebook):
    return open_shared_notebook(lab.write("training_dashboard.ipynb", *CELLS))


@pytest.fixture
def live(notebook):
    notebook.run_afresh()
    page = Page(notebook)
    page.root.focus()
    yield page
    assert notebook.cell_errors() == [] and notebook.console_errors == [] and notebook.requests_outside == []


def step_of(page):
    found = re.match(r"Step ([\d,]+) of ([\d,]+)", page.claim)
    return int(found[1].replace(",", "")) if found else 0


def test_a_reader_starts_pauses_and_stops_by_buttons_and_keys(live, notebook):
    train, stop = live.root.locator("[data-train]"), live.root.locator("[data-stop]")
    assert live.claim == "Nothing trained yet: press Start." and stop.is_disabled()
    train.click()
    live.opened.until(lambda: step_of(live) > 40, True)
    assert train.text_content() == "Pause" and live.root.locator("[data-play]").is_hidden()
    live.press("Home")  # an earlier step is read while it trains
    live.opened.until(lambda: step_of(live), 1)
    live.press("End", " ")
    live.opened.until(train.text_content, "Resume")
    live.opened.until(lambda: json.loads(notebook.said(1))[0], "paused")
    state, n_lines, reading = json.loads(notebook.said(1))
    assert reading["step"] == n_lines == step_of(live) and reading["loss"] == pytest.approx(4 / n_lines)
    live.check(-1, reading)
    assert live.root.evaluate(NUMBERS)["tokens a second"] == "1230"
    live.root.focus()
    live.press(" ")
    live.opened.until(train.text_content, "Pause")
    live.opened.until(lambda: step_of(live) > n_lines + 20, True)
    train.click()
    live.opened.until(train.text_content, "Resume")
    stop.click()
    live.opened.until(train.text_content, "Go on")
    state, n_lines, reading = json.loads(notebook.said(1))
    assert state == "stopped" and reading["step"] == step_of(live) == n_lines
    live.check(-1, reading)
    train.click()
    live.opened.until(train.text_content, "Pause")
    live.root.focus()
    live.press("s")
    live.opened.until(train.text_content, "Go on")
    notebook.run(3)  # a cell that trains while the page looks on
    assert json.loads(notebook.said(1))[1] > n_lines + 20
    assert train.text_content() == "Pause"
    live.root.focus()
    live.press("s")
    live.opened.until(train.text_content, "Go on")


def test_one_cell_shows_trains_and_leaves_the_tables_of_the_end(live, notebook):
    notebook.run(2)
    roots = notebook.page.locator(".llmlab-root")
    live.opened.until(roots.count, 2)
    page = Page(notebook, number=1)
    live.opened.until(lambda: step_of(page), 60)
    [output] = [one for one in notebook.cells()[2]["outputs"] if "data" in one]
    html = "".join(output["data"]["text/html"])
    assert "this run: step 60 of 60" in html and "0.05" in html and "seconds" not in html
    assert page.root.locator("[data-train]").is_disabled()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_first_view_fits_beside_the_sidebar(live, notebook, theme):
    notebook.set_theme(theme)
    live.press(" ")
    live.opened.until(lambda: step_of(live) > 30, True)
    live.press("s")
    live.opened.until(live.root.locator("[data-train]").text_content, "Go on")
    assert first_view(live, ".llmlab-dash-first") == []
    if folder := os.environ.get("LLMLAB_SCREENSHOTS"):
        live.root.screenshot(path=Path(folder) / f"dashboard-{theme}.png")
