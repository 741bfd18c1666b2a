"""The descent in a real browser, by keyboard and pointer: the walks it takes are those that Python takes."""

import os
from pathlib import Path

import pytest
from first_view import first_view
from test_embedding_explorer_page import SMALL
from test_fit import BESIDE, faults
from test_saved_page import TABLES

from llmlab.widgets.gradients import METHODS, NAMES, Descent, number

pytestmark = pytest.mark.browser
CODE = """from llmlab.widgets.gradients import Descent
descent = Descent()
descent"""
MONTHS, SALES = list(range(1, 13)), [2, 3, 5, 8, 12, 14, 15, 14, 11, 7, 4, 2]
# A place of the map, of a point with these values, in px of the window; and where the mark of the walk's point is.
TO_PX = """([root, [x, y]]) => {
    const inner = root.querySelector(".llmlab-desc-map svg svg").getBoundingClientRect();
    return [inner.x + x * inner.width, inner.y + y * inner.height];
}"""
SPOT = """root => {
    const [here, ground] = ["[data-here]", ".llmlab-desc-ground"].map(name => root.querySelector(name));
    const [x, y, wide, tall] = [[here, "cx"], [here, "cy"], [ground, "width"], [ground, "height"]].map(
        ([node, name]) => node.getAttribute(name));
    return [x / wide, y / tall];
}"""


class Page:
    """The widget as a reader sees it. `widget` is the same one in Python, which the tests keep in step."""

    def __init__(self, opened, widget):
        self.opened, self.page, self.widget = opened, opened.page, widget
        self.root = self.page.locator(".llmlab-root")
        self.root.locator(".llmlab-desc-map svg").first.wait_for()

    def press(self, *keys):
        for key in keys:
            self.page.keyboard.press(key)

    def field(self, name):
        return self.root.get_by_label(name, exact=True)

    def check(self, **now):
        """Runs, steps, numbers and the picture are what Python says when its traits are these."""
        widget = self.widget
        for name, value in now.items():
            setattr(widget, name, value)
        said = self.root.locator("[data-run]").evaluate_all("all => all.map(one => [one.dataset.run, one.textContent])")
        assert said == [[row[0], f"{row[1]}: {row[5]}"] for row in widget.tables()[0].rows]
        walk, names = widget.walk, widget._place.names
        assert self.root.locator(".llmlab-desc-step").text_content() == f"step {walk.steps:,}"
        assert float(self.field("learning rate").input_value()) == pytest.approx(widget.rate, rel=1e-5)
        assert self.field("loss").input_value() == widget.landscape
        assert self.field("method").input_value() == widget.method
        at = walk.steps if walk.outcome == "walking" else 0  # of a walk that has ended, the first step
        sums = self.root.locator("[data-sum]").all_text_contents()
        for name, text, x, move in zip(names, sums, walk.points[at], walk.moves[at], strict=True):
            shown = f"({number(move)})" if move < 0 else number(move)
            new = number(x - widget.rate * move)
            assert text == f"{number(x)} − {number(widget.rate)} × {shown} = {new}", name

    def check_map(self):
        """The mark of the walk stands where the last point is in the window."""
        place, point = self.widget._place, self.widget.walk.points[-1]
        x, y = self.root.evaluate(SPOT)
        shares = [(at - low) / (high - low) for at, (low, high) in zip(point, place.window, strict=True)]
        assert x == pytest.approx(shares[0], abs=0.002)
        if len(point) == 2:
            assert y == pytest.approx(1 - shares[1], abs=0.002)

    def check_tables(self):
        self.press("t")
        assert self.root.evaluate(TABLES) == [vars(table) for table in self.widget.tables()]
        self.press("t")


@pytest.fixture
def saved(open_saved):
    def save_and_open(widget=None, **how):
        widget = widget or Descent()
        return Page(open_saved(widget, **how), widget)

    return save_and_open


# The walk of the browser is that of Python --------------------------------------------------------------------------


def test_the_first_view(saved):
    page = saved()
    page.check()
    page.check_map()
    said = page.root.locator("[data-run]").all_text_contents()
    assert "settled after 433 steps" in said[0] and "settled after 105 steps" in said[1]
    assert page.root.locator("[data-way]").count() == 2 and page.root.locator("[data-level]").count() >= 5
    page.root.focus()
    page.check_tables()


@pytest.mark.parametrize("method", METHODS)
def test_every_landscape_and_method_by_its_numbers(saved, method):
    """Each number of each table, four digits, after few steps and at the end, from the page alone."""
    page = saved(Descent(method=method, kept=[], xs=MONTHS, ys=SALES, landscape="bowl"))
    for name in NAMES:
        page.field("loss").select_option(name)
        page.widget.landscape = name
        page.check()
        page.root.focus()
        page.check_tables()
        page.press("Home", "ArrowRight", "ArrowRight", "ArrowRight")
        page.check(step=3)
        page.check_map()
        page.check_tables()
        page.press("End")
        page.widget.step = 1000
    assert page.root.locator("[data-run]").count() == 1


def test_mini_batches_are_the_same_ones(saved):
    page = saved(Descent(xs=MONTHS, ys=SALES, step=25))
    page.root.focus()
    for size in (1, 4, 11):
        page.field("points a step").fill(str(size))
        page.press("Enter")
        page.check(batch_size=size)
        page.root.focus()
        page.check_tables()
        page.press("r")
        page.check(seed=page.widget.seed + 1)
        filled = page.root.locator(".llmlab-desc-used").count()
        assert filled == size and page.root.locator(".llmlab-desc-unused").count() == 12 - size
    page.root.locator("[data-again]").click()
    page.check(seed=page.widget.seed + 1)
    for wrong in ("13", "0", "2.5"):
        page.field("points a step").fill(wrong)
        page.press("Enter")
        assert page.field("points a step").input_value() == "11"
        page.check()
    page.field("points a step").fill("12")
    page.press("Enter")
    page.check(batch_size=0)
    assert page.root.locator("[data-again]").is_hidden() and page.root.locator(".llmlab-desc-used").count() == 12


def test_a_polynomial_of_the_readers(saved):
    page = saved(Descent(terms={(2, 0): 1.0, (0, 2): -1.0}, start=[1.0, 0.5], rate=0.1))
    page.check()
    assert "diverged" in page.root.locator("[data-run]").first.text_content()
    page.root.focus()
    page.check_tables()


# Keyboard -----------------------------------------------------------------------------------------------------------


def test_the_keyboard_steps_changes_the_rate_keeps_and_clears(saved):
    page = saved(Descent("parabola"))
    page.root.focus()
    page.press("Home")
    page.check(step=0)
    page.press("ArrowRight", "ArrowRight", "ArrowLeft")
    page.check(step=1)
    page.check_map()
    assert page.root.locator("[data-tangent]").count() == 1
    page.press("k", "ArrowUp")
    page.check(kept=[page.widget._settings()], rate=0.11)
    page.press("ArrowDown", "ArrowDown")
    page.check(rate=0.0909)
    page.press("m")
    page.check(method="momentum")
    assert page.root.locator("[data-made]").count() == 1
    page.press("m")
    page.check(method="adam")
    page.press("k", "m", "k", "End", "k")
    settings = page.widget._settings()
    kept = [
        {**settings, "method": "adam"},
        {**settings, "method": "plain"},
        {**settings, "method": "plain", "step": 1000},
    ]
    page.check(method="plain", step=1000, kept=kept)
    assert page.root.locator("[data-way]").count() == 4
    page.check_tables()
    page.press("c")
    page.check(kept=[])
    assert page.root.locator("[data-clear]").is_disabled() and page.root.locator("[data-forth]").is_disabled()


def test_a_larger_rate_diverges_and_says_so(saved):
    page = saved(Descent("parabola", step=6))
    page.root.focus()
    page.press(*["ArrowUp"] * 25)
    page.check(rate=float(page.field("learning rate").input_value()))
    assert page.widget.rate > 1 and "higher than at the start" in page.root.locator("[data-run]").text_content()
    assert "The point lies outside of the picture." in page.root.get_by_role("status").inner_text()
    page.press("End")
    page.check(step=1000)
    said = page.root.locator("[data-run]").text_content()
    assert "diverged after" in said and "each step lands farther off, on the other side" in said


def test_the_start_is_moved_by_keys_and_fields(saved):
    page = saved(Descent("saddle"))
    page.root.focus()
    assert "there is no valley" in page.root.locator("[data-run]").text_content()
    page.press("Shift+ArrowUp")
    page.check(start=[-2.4, 0.08])
    page.press("Shift+ArrowRight", "Shift+ArrowDown", "Shift+ArrowDown", "Shift+ArrowLeft", "Shift+ArrowLeft")
    page.check(start=[-2.52, -0.08])
    page.check_map()
    page.field("start b").fill("1.25")
    page.press("Enter")
    page.check(start=[-2.52, 1.25])
    page.field("learning rate").fill("0.33")
    page.press("Enter")
    page.check(rate=0.33)
    page.field("learning rate").fill("-1")
    page.press("Enter")
    page.check()
    page.press("Escape")
    page.press("m")
    page.check(method="momentum")
    page.field("momentum").fill("0.5")
    page.press("Enter")
    page.check(momentum=0.5)
    page.field("momentum").fill("1")
    page.press("Enter")
    page.check()


def test_play_walks_to_the_end_pauses_and_does_not_move_where_motion_is_not_wanted(saved):
    page = saved(Descent("parabola"))
    page.root.focus()
    page.press(" ")
    page.page.wait_for_timeout(700)
    page.press(" ")
    step = int(page.root.locator(".llmlab-desc-step").text_content().removeprefix("step "))
    assert 0 < step < page.widget.walk.steps and page.root.locator("[data-play]").text_content() == "Play"
    page.check(step=step)
    page.page.wait_for_timeout(300)
    page.check()
    page.root.locator("[data-play]").click()
    page.root.locator("[data-forth][disabled]").wait_for()
    page.check(step=39)
    page.page.emulate_media(reduced_motion="reduce")
    page.press("Home", " ")
    page.check(step=1000)


# Pointer ------------------------------------------------------------------------------------------------------------


def test_the_start_is_dragged(saved):
    page = saved(Descent("ravine"))
    spots = [page.root.evaluate(f"(root, at) => ({TO_PX})([root, at])", at) for at in ([0.1, 0.2], [0.75, 0.6])]
    mouse = page.page.mouse
    mouse.move(*spots[0])
    mouse.down()
    mouse.move(*spots[1], steps=5)
    mouse.up()
    start = [float(page.field(f"start {name}").input_value()) for name in "ab"]
    assert start == pytest.approx([1.5, -0.4], abs=0.03)
    page.check(start=start)
    mouse.move(5, 5)
    page.check()  # no longer dragged
    page.press("ArrowLeft")  # the focus is the widget's
    page.check(step=page.widget.walk.steps - 1)


def test_a_finger_taps_and_drags(saved):
    page = saved(Descent("two dips"))
    x, y = page.root.evaluate(f"(root, at) => ({TO_PX})([root, at])", [0.25, 0.5])
    page.root.locator(".llmlab-desc-map").evaluate(
        """(map, [clientX, clientY]) => {
            const how = {clientX, clientY, bubbles: true, pointerType: "touch"};
            map.firstChild.dispatchEvent(new PointerEvent("pointerdown", how));
            map.firstChild.dispatchEvent(new MouseEvent("click", how));
        }""",
        [x, y],
    )
    start = float(page.field("start θ").input_value())
    assert start == pytest.approx(-1.3, abs=0.03)
    page.check(start=[start])
    assert page.root.locator(".llmlab-desc-hit").evaluate("node => getComputedStyle(node).touchAction") == "none"
    size = page.root.locator(".llmlab-desc-hit").evaluate("node => 2 * node.getAttribute('r')")
    assert size >= 24


def test_the_slider_the_buttons_and_the_choices(saved):
    page = saved(Descent("bowl"))
    page.field("rate, log scale").fill("-250")
    page.check(rate=0.00316)
    assert page.field("rate, log scale").get_attribute("aria-valuetext") == "0.00316"
    for name, step in (("home", 0), ("forth", 1), ("forth", 2), ("back", 1), ("end", 1000)):
        page.root.locator(f"[data-{name}]").click()
        page.check(step=step)
    page.field("method").select_option("adam")
    page.check(method="adam")
    page.root.locator("[data-keep]").click()
    page.check(kept=[page.widget._settings()])
    page.field("loss").select_option("line")
    page.widget.landscape = "line"
    page.check()
    assert page.root.locator("[data-way]").count() == 1


# Sizes, looks -------------------------------------------------------------------------------------------------------


def test_a_phone_and_a_projector_show_all(saved):
    for width, scale in ((390, 1.0), (322, 1.0), (390, 1.5), (1280, 1.5)):
        widget = Descent("line", method="momentum", batch_size=4, step=30, scale=scale)
        widget.kept = [widget._settings()] * 3
        page = saved(widget, width=width)
        assert page.page.evaluate(BESIDE) <= 0, width
        assert page.root.evaluate(SMALL) == []
        page.check_map()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axes_rules_hold(saved, theme):
    widget = Descent("line", method="momentum", batch_size=4, step=30)
    widget.kept = [widget._settings()]
    assert faults(saved(widget, theme=theme, width=700).page) == []


# With a kernel ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def notebook(lab, open_shared_notebook):
    cells = (
        CODE,
        "print(descent.landscape, descent.start, descent.rate, descent.step, len(descent.kept), descent.path.shape)",
        "descent.landscape = 'line'\ndescent.step = 3",
    )
    return open_shared_notebook(lab.write("descent.ipynb", *cells))


@pytest.fixture
def live(notebook):
    notebook.run_afresh()
    notebook.page.locator(".llmlab-root .llmlab-desc-map svg").first.wait_for()
    page = Page(notebook, Descent())
    page.root.focus()
    yield page
    assert notebook.cell_errors() == [] and notebook.console_errors == [] and notebook.requests_outside == []


def test_python_reads_what_the_reader_does_and_sets_what_shows(live, notebook):
    live.check()
    live.field("loss").select_option("parabola")
    live.widget.landscape = "parabola"
    live.root.focus()
    live.press("Home", "ArrowRight", "ArrowRight", "Shift+ArrowLeft", "ArrowUp")
    live.check(step=2, start=[2.38], rate=0.11)
    expected = "parabola [2.38] 0.11 2 0 (3, 1)"
    notebook.until(lambda: notebook.said(1), expected)
    notebook.run(2)
    live.opened.until(lambda: live.root.locator(".llmlab-desc-step").text_content(), "step 3")
    live.check(landscape="line", step=3)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_first_view_fits_beside_the_sidebar(live, notebook, theme):
    notebook.set_theme(theme)
    folder = os.environ.get("LLMLAB_SCREENSHOTS")
    for name, method in (("ravine", "plain"), ("line", "adam"), ("two dips", "momentum")):
        live.field("loss").select_option(name)
        live.field("method").select_option(method)
        live.root.focus()
        live.press("k", "k", "k")
        assert first_view(live, ".llmlab-desc-first") == []
        if folder:
            live.root.screenshot(path=Path(folder) / f"descent-{theme}-{name}.png")
