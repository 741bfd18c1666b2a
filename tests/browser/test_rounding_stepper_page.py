"""The rounding stepper in a real browser, by keyboard and pointer: every picture is what Python says of the traits."""

import pytest
import torch
from first_view import first_view
from test_fit import BESIDE, faults
from test_saved_page import TABLES

from llmlab import load_model
from llmlab.widgets.rounding import RoundingStepper, _figure, _fixed, _signed

pytestmark = pytest.mark.browser
MODEL, TOKENIZER = load_model()
CELL = (
    "from llmlab import load_model\nfrom llmlab.widgets.rounding import RoundingStepper\n"
    "stepper = RoundingStepper(*load_model())\nstepper",
    "print(stepper.step, stepper.row, stepper.bits, stepper.compensate, stepper.diagonal)",
    "stepper.step, stepper.bits = 5, 2",
)
# Of each column its state, its weight as drawn, and the place of its mark on the vertical axis.
MARKS = """root => [...root.querySelectorAll("[data-column]")].map(one => [one.dataset.state,
    Number(one.dataset.weight), Number(one.getAttribute("cy") ??
        Number(one.getAttribute("y")) + Number(one.getAttribute("height")) / 2)])"""
LEVELS = """root => [...root.querySelectorAll("[data-level]")].map(
    line => [Number(line.dataset.level), Number(line.getAttribute("y1"))])"""
ARROWS = """root => Object.fromEntries([...root.querySelectorAll("line[data-arrow]")].map(
    one => [one.dataset.arrow, one.getAttribute("y2") - one.getAttribute("y1")]))"""


class Rounding:
    """The widget as a reader sees it. `widget` is the same one in Python, which the tests keep in step."""

    def __init__(self, opened, widget):
        self.opened, self.page, self.widget = opened, opened.page, widget
        self.root = self.page.locator(".llmlab-root")
        self.root.locator(".llmlab-round-picture svg").wait_for()
        self.root.focus()

    def press(self, *keys):
        for key in keys:
            self.page.keyboard.press(key)

    def said(self, name):
        return self.root.locator(f".llmlab-round-{name}").first.text_content()

    def texts(self, name):
        return self.root.locator(f"[data-{name}]").all_text_contents()

    def check(self, **now):
        """The page is what Python says when its traits are these: marks, arrows, numbers, errors, and tables."""
        for name, value in now.items():
            setattr(self.widget, name, value)
        widget, n = self.widget, len(self.widget.columns)
        marks = self.root.evaluate(MARKS)
        assert [state for state, *_ in marks] == ["rounded"] * widget.step + ["free"] * (n - widget.step)
        assert [w for _, w, _ in marks] == pytest.approx(widget._path[widget.step].tolist())
        levels = self.root.evaluate(LEVELS)
        most = 2 ** (widget.bits - 1) - 1
        assert [level for level, _ in levels] == list(range(-most, most + 1))
        (low, y0), (_, y1) = levels[:2]
        for _, w, y in marks:  # the marks stand where the levels say
            assert y == pytest.approx(y0 + (w / widget._scale - low) * (y1 - y0), abs=0.01)
        arrows = self.root.evaluate(ARROWS)
        far = {k: one * (y1 - y0) for k, one in enumerate(widget.moves)}
        assert {int(k) for k in arrows} == {k for k, one in far.items() if abs(one) > 1}
        assert all(long == pytest.approx(far[int(k)], abs=0.01) for k, long in arrows.items())
        assert self.texts("moved") == [_signed(one) for one in widget.moves]
        assert self.texts("beside") == [_fixed(one) for one in widget.beside]
        assert self.texts("error")[1] == _figure(widget.nearest_error)
        if widget.compensate:
            assert self.texts("error")[0] == _figure(widget.output_error)
        assert self.texts("error")[2:] == ([_figure(widget.best_error)] if widget.step == n else [])
        self.press("t")
        assert self.root.evaluate(TABLES) == [vars(table) for table in widget.tables()]
        self.press("t")


@pytest.fixture
def saved(open_saved):
    def save_and_open(widget=None, **how):
        widget = widget or RoundingStepper(MODEL, TOKENIZER)
        return Rounding(open_saved(widget, **how), widget)

    return save_and_open


def test_the_first_view_says_who_moves(saved):
    rounding = saved()
    rounding.check()
    assert rounding.said("headline") == (
        "Input 63: its weight −0.0201 is rounded to 0, code 0: +0.47 steps of the grid. "
        "The 11 free ones make up for it, input 32 the farthest, by +0.56 (together: −0.45)."
    )
    assert rounding.said("detail").startswith("Input 63: weight −0.0201 at first, 0 now (code 0); moved +0.47 steps")


def test_the_keyboard_goes_through_the_steps(saved):
    rounding = saved()
    for step in (2, 3, 4):
        rounding.press("ArrowRight")
        rounding.check(step=step)
    rounding.press("ArrowLeft")
    rounding.check(step=3)
    rounding.press("Home", "ArrowLeft")
    rounding.check(step=0)
    assert rounding.said("headline").endswith("None is rounded yet.")
    assert rounding.root.locator("[data-back]").is_disabled() and rounding.root.locator("[data-start]").is_disabled()
    rounding.press("End", "ArrowRight")
    rounding.check(step=12)
    assert "No weight is free any more." in rounding.said("headline")
    assert rounding.root.locator("[data-next]").is_disabled()
    rounding.press("ArrowLeft")
    rounding.check(step=11)
    assert "The last free one makes up for it" in rounding.said("headline")


def test_every_setting_is_reached_by_keys(saved):
    rounding = saved()
    rounding.press("End", "b")
    rounding.check(step=12, bits=4)
    rounding.press("b", "c")
    rounding.check(bits=2, compensate=False)
    rounding.press("h")
    rounding.check(diagonal=True)
    rounding.press("c", "r")
    rounding.check(compensate=True, row=5)
    assert "This is the best of all 4,096 ways" in rounding.said("headline")
    rounding.press("h", "r", "r", "r")
    rounding.check(diagonal=False, row=0)
    rounding.press("R", "R", "b")
    rounding.check(row=6, bits=3)
    rounding.press("Home", "ArrowRight", "h")
    rounding.check(step=1, diagonal=True)
    assert "so nothing else moves" in rounding.said("headline")
    rounding.press("h", "c")
    rounding.check(diagonal=False, compensate=False)
    assert "The 11 others stay as they are." in rounding.said("headline")


def test_the_pointer_rounds_up_to_a_column_and_looks_at_one(saved):
    rounding = saved()
    box = rounding.root.locator(".llmlab-round-picture").bounding_box()
    place = [float(one.get_attribute("cx") or 0) for one in rounding.root.locator("[data-column]").all()]
    rounding.page.mouse.move(box["x"] + place[6], box["y"] + 60)
    assert rounding.said("detail").startswith("Input 185: weight 0.0625 at first, 0.0809 now (still free)")
    assert rounding.said("detail").endswith("comes together with input 63: −0.49.")
    rounding.page.mouse.click(box["x"] + place[6], box["y"] + 60)
    rounding.check(step=7)
    rounding.page.mouse.move(box["x"], box["y"] - 40)
    rounding.press("ArrowDown", "ArrowDown")
    assert rounding.said("detail").startswith("Input 143: ")
    rounding.press("ArrowUp", "ArrowUp", "ArrowUp")
    assert rounding.said("detail").startswith("Input 69: ")
    rounding.press("Escape")
    assert rounding.said("detail").startswith("Input 185: ")
    for name, step in (("next", 8), ("back", 7), ("end", 12), ("start", 0)):
        rounding.root.locator(f"[data-{name}]").click()
        rounding.root.focus()
        rounding.check(step=step)
    rounding.root.get_by_label("bits of a code").select_option("4")
    rounding.root.get_by_label("row of the matrix").select_option("2")
    rounding.root.locator("[data-apart]").click()
    rounding.root.locator("[data-helps]").click()
    rounding.root.focus()
    rounding.check(bits=4, row=2, diagonal=True, compensate=False)


def test_inputs_columns_and_rows_of_ones_own(saved):
    draw = torch.Generator().manual_seed(1)
    x = 40 * torch.randn(60, 192, generator=draw, dtype=torch.float64)
    widget = RoundingStepper(MODEL, TOKENIZER, inputs=x, columns=[5, 3], rows=[7, 100], row=100, bits=2, scale=1.3)
    rounding = saved(widget)
    rounding.check()
    rounding.press("ArrowRight", "ArrowRight")
    rounding.check(step=2)
    rounding.press("r")
    rounding.check(row=7)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_phone_shows_all_and_axe_finds_nothing(saved, theme):
    rounding = saved(theme=theme)
    rounding.page.set_viewport_size({"width": 390, "height": 800})
    rounding.page.wait_for_function(f"() => ({BESIDE})() <= 0")
    rounding.press("End")
    rounding.check(step=12)
    assert faults(rounding.page) == []


def test_in_a_notebook_python_and_page_drive_each_other(lab, open_notebook):
    notebook = open_notebook(lab.write("rounding.ipynb", *CELL))
    notebook.run(0)
    root = notebook.page.locator(".llmlab-root")
    root.locator(".llmlab-round-picture svg").wait_for()
    rounding = Rounding(notebook, RoundingStepper(MODEL, TOKENIZER))
    rounding.check()
    rounding.press("ArrowRight", "ArrowRight", "b", "c")
    rounding.check(step=3, bits=4, compensate=False)
    assert first_view(rounding, ".llmlab-round-first", ".llmlab-round-figures") == []
    notebook.run(1)
    notebook.page.get_by_text("3 4 4 False False").wait_for()
    notebook.run(2)
    root.get_by_label("bits of a code").and_(notebook.page.locator("select")).wait_for()
    notebook.until(lambda: root.locator("[data-state=rounded]").count(), 5)
    notebook.until(lambda: root.locator("[data-level]").count(), 3)
    root.focus()
    rounding.check(step=5, bits=2)
    assert notebook.cell_errors() == [] and notebook.console_errors == [] and notebook.requests_outside == []
