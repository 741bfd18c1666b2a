"""The bit slider in a real browser, by keyboard and pointer: every figure is what Python says of the same traits."""

import os
from pathlib import Path

import pytest
from first_view import first_view
from models import TINY_LLAMA
from painting import PAINTED
from test_embedding_explorer_page import SMALL
from test_fit import BESIDE, faults
from test_saved_page import TABLES

from llmlab import load_model
from llmlab.transformer import Transformer
from llmlab.widgets.quantization import BitSlider
from llmlab.widgets.quantization_asked import SKILLS
from llmlab.widgets.quantization_steps import costliest, largest

pytestmark = pytest.mark.browser
LEVELS = "root => [...root.querySelectorAll('[data-level]')].map(line => Number(line.dataset.level))"
POINTS = "root => [...root.querySelectorAll('[data-point]')].map(point => point.dataset.point).sort()"


class Slider:
    """The widget as a reader sees it. `widget` is the same one in Python, which the tests keep in step."""

    def __init__(self, opened, widget):
        self.opened, self.page, self.widget = opened, opened.page, widget
        self.root = self.page.locator(".llmlab-root")
        self.root.locator(".llmlab-bits-bars svg").wait_for()

    def press(self, *keys):
        for key in keys:
            self.page.keyboard.press(key)

    def said(self, name):
        return self.root.locator(f".llmlab-bits-{name}").first.text_content().replace("\u00a0", " ")

    def check(self, **now):
        """The page is what Python says when its traits are these: texts, levels, and all the tables."""
        for name, value in now.items():
            setattr(self.widget, name, value)
        widget = self.widget
        row, column = divmod(widget.chosen, widget.weights.shape[1])
        assert self.said("headline").startswith(f"{widget.matrix} at {widget.bits} bits: ")
        assert f"(row {row}, column {column})" in self.said("detail")
        lowest, highest = (0, 2**widget.bits - 1) if not widget.symmetric else (1 - 2 ** (widget.bits - 1),) * 2
        assert self.root.evaluate(LEVELS) == list(range(lowest, abs(highest) + 1))
        self.root.focus()
        self.press("t")
        assert self.root.evaluate(TABLES) == [vars(table) for table in widget.tables()]
        self.press("t")


@pytest.fixture(scope="module")
def measured():
    """What was measured with few items, once for all tests."""
    before = dict(SKILLS)
    SKILLS.update(dict.fromkeys(SKILLS, 10))
    widget = BitSlider()
    widget.measure([8, 4, 3])
    widget.granularity, widget.symmetric = "channel", False
    widget.measure(4)
    SKILLS.update(before)
    return widget.measured


@pytest.fixture
def saved(open_saved):
    def save_and_open(widget=None, **how):
        widget = widget or BitSlider()
        return Slider(open_saved(widget, **how), widget)

    return save_and_open


# One matrix ---------------------------------------------------------------------------------------------------------


def test_the_first_view_is_true_and_claims_nothing_that_was_not_measured(saved):
    slider = saved()
    slider.check()
    widget = slider.widget
    assert "steps of 0.0219 in the median of 3,072 groups and 0.136 in the worst" in slider.said("headline")
    assert "the model 1.70 MiB instead of 12.0 MiB." in slider.said("headline")
    found = widget.outlier
    assert f"a step of {found['step']:.3g}, without it {found['step_without']:.3g}." in slider.said("detail")
    assert f"and {found['zeros']} of them on 0 instead of {found['zeros_without']}." in slider.said("detail")
    assert "Nothing was measured before this page was saved." in slider.said("panels")
    assert not slider.root.locator(".llmlab-bits-points").is_visible()
    for control in ("[data-this]", "[data-all]", "select[aria-label=matrix]"):
        assert slider.root.locator(control).is_disabled()


def test_the_keyboard_goes_through_bits_groups_range_and_weights(saved):
    slider = saved()
    slider.root.focus()
    slider.press("ArrowUp")
    slider.check(bits=5)
    slider.press(*["ArrowDown"] * 5)
    slider.check(bits=2)
    slider.press("s")
    slider.check(symmetric=False)
    slider.press("g", "ArrowUp", "ArrowUp")
    slider.check(granularity="tensor", bits=4)
    assert "one step of" in slider.said("headline")
    slider.press("g")
    slider.check(granularity="channel")
    slider.press("k", "k", "k")
    slider.check(kept=85)
    slider.press("s", "K")
    slider.check(symmetric=True, kept=90)
    slider.press("c")
    slider.check(cell="max")
    order = largest(slider.widget._w)
    slider.press("Home")
    slider.check(chosen=order[0])
    slider.press("ArrowRight", "ArrowRight", "ArrowLeft")
    slider.check(chosen=order[1])
    slider.press("End", "ArrowRight")
    slider.check(chosen=order[-1])
    slider.press("w")
    slider.check(chosen=costliest(slider.widget._w, slider.widget.setting))


@pytest.mark.parametrize("granularity", ["tensor", "channel", "group"])
@pytest.mark.parametrize("symmetric", [True, False])
def test_every_setting_is_what_python_says_in_any_shape(saved, granularity, symmetric):
    """A matrix of another model, whose rows no group divides."""
    traits = {"granularity": granularity, "symmetric": symmetric, "group_size": 7}
    slider = saved(BitSlider(Transformer(TINY_LLAMA), load_model()[1], **traits))
    for bits, kept in ((2, 100), (3, 55), (7, 100), (8, 95)):
        slider.root.get_by_label("bits", exact=True).fill(str(bits))
        slider.root.get_by_label("percent of the range kept").fill(str(kept))
        slider.check(bits=bits, kept=kept)


def test_the_pointer_chooses_grids_outliers_and_cells(saved):
    slider = saved()
    slider.root.locator("[data-channel]").click()
    slider.check(granularity="channel")
    slider.root.locator("[data-symmetric]").click()
    slider.check(symmetric=False)
    w = slider.widget._w
    dots = slider.root.locator(".llmlab-bits-dot")
    lowest = min(range(dots.count()), key=lambda n: float(dots.nth(n).get_attribute("cx")))
    box = dots.nth(lowest).bounding_box()
    slider.page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    slider.check(chosen=min(largest(w), key=lambda at: w.reshape(-1)[at].item()))
    canvas = slider.root.locator("canvas").bounding_box()
    across, down = canvas["x"] + canvas["width"] * 20.5 / 64, canvas["y"] + canvas["height"] * 10.5 / 64
    slider.page.mouse.move(across, down)
    assert "rows 30–32, columns 160–167: " in slider.root.text_content()
    slider.page.mouse.click(across, down)
    slider.page.mouse.move(0, 0)
    place = w[30:33, 160:168].abs().argmax().item()
    slider.check(chosen=(30 + place // 8) * 512 + 160 + place % 8)
    mark = slider.root.locator(".llmlab-bits-mark").bounding_box()
    assert mark["x"] <= across <= mark["x"] + mark["width"] and mark["y"] <= down <= mark["y"] + mark["height"]
    assert "rows 30–32" not in slider.root.text_content()


# What was measured --------------------------------------------------------------------------------------------------


def test_a_saved_page_shows_the_measured_points_and_the_facts_that_are_lost(saved, measured):
    widget = BitSlider()
    widget.measured = measured
    slider = saved(widget)
    slider.check()
    settings = sorted(one["words"] for key, one in measured.items() if key != "full")
    for skill in ("loss", "copying", "facts_true"):
        slider.root.get_by_label("measure", exact=True).select_option(skill)
        assert slider.root.evaluate(POINTS) == settings
        assert slider.root.locator(".llmlab-bits-now").count() == 1
    by_words = {one["words"]: one for one in measured.values()}
    places = {
        name: slider.root.locator(f"[data-point='{name}']").evaluate("p => Number(p.getAttribute('x'))")
        for name in settings
    }
    bytes_of = [by_words[name]["bytes"] for name in sorted(settings, key=places.get)]
    assert bytes_of == sorted(bytes_of)  # farther right takes more bytes
    assert widget.measured[widget.setting.words()]["said"] in slider.root.text_content()
    slider.press("ArrowDown")
    slider.check(bits=3)
    one = measured[widget.setting.words()]
    assert slider.root.locator("[data-lost] li").count() == min(8, len(one["lost"])) > 0
    prompt, answer, says, _ = one["lost"][0]
    first = slider.root.locator("[data-lost] li").first.text_content()
    assert first.startswith(f"{prompt} {answer}") and first.endswith(says or "nothing")
    assert one["forgot"] in slider.root.locator("[data-lost]").text_content()
    slider.press("ArrowDown")
    slider.check(bits=2)
    assert "This setting was not measured." in slider.root.text_content()
    assert "Not measured at this setting." in slider.root.locator("[data-lost]").text_content()


# Sizes, looks -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width,scale,matrix", [(274, 1.0, None), (390, 1.0, "embedding"), (390, 1.5, None)])
def test_a_phone_shows_all(saved, measured, width, scale, matrix):
    widget = BitSlider(matrix=matrix, scale=scale)
    widget.measured = measured
    slider = saved(widget, width=width)
    slider.page.wait_for_function(f"() => ({BESIDE})() <= 0")
    assert slider.root.evaluate(SMALL) == []
    slider.page.set_viewport_size({"width": 700, "height": 900})
    slider.page.evaluate(PAINTED)
    slider.page.wait_for_function(f"() => ({BESIDE})() <= 0")


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("view", ["picture", "table"])
def test_axes_rules_hold(open_saved, measured, theme, view):
    widget = BitSlider(view=view)
    widget.measured = measured
    page = open_saved(widget, theme=theme, width=700 if view == "picture" else 1300).page  # wide tables scroll
    page.locator(".llmlab-root").wait_for()
    assert faults(page) == []


# With a kernel ------------------------------------------------------------------------------------------------------

CODE = """from llmlab.widgets import quantization_asked
quantization_asked.SKILLS.update(dict.fromkeys(quantization_asked.SKILLS, 4))
from llmlab.widgets.quantization import BitSlider
slider = BitSlider()
slider"""
NAMES = ("matrix", "bits", "granularity", "symmetric", "kept", "chosen", "cell", "skill")


@pytest.fixture(scope="module")
def notebook(lab, open_shared_notebook):
    said = f"print([getattr(slider, name) for name in {NAMES!r}])"
    cells = CODE, said, "slider.bits = 3", "print(list(slider.measured), slider.busy, repr(slider.progress))"
    return open_shared_notebook(lab.write("bit_slider.ipynb", *cells))


@pytest.fixture
def live(notebook):
    notebook.run_afresh()
    notebook.page.locator(".llmlab-root .llmlab-bits-bars svg").first.wait_for()
    slider = Slider(notebook, BitSlider())
    slider.root.focus()
    yield slider
    assert notebook.cell_errors() == [] and notebook.console_errors == [] and notebook.requests_outside == []


def test_a_notebook_and_its_kernel_agree(live, notebook):
    live.press("ArrowUp", "g", "s", "k", "c", "Home")
    live.root.get_by_label("measure", exact=True).select_option("loss")
    traits = {"bits": 5, "granularity": "tensor", "symmetric": False, "kept": 95, "cell": "max", "skill": "loss"}
    live.check(**traits, chosen=largest(live.widget._w)[0])
    notebook.until(lambda: notebook.said(1), str([getattr(live.widget, name) for name in NAMES]))
    live.root.get_by_label("matrix", exact=True).select_option("blocks.0.attention.k_proj")
    live.widget.matrix = "blocks.0.attention.k_proj"
    notebook.until(lambda: live.said("headline").split(" at ")[0], live.widget.matrix)
    live.check()
    notebook.until(lambda: notebook.said(1), str([getattr(live.widget, name) for name in NAMES]))
    notebook.run(2)
    notebook.until(lambda: " at 3 bits" in live.said("headline"), True)
    live.check(bits=3)


def test_the_button_measures_in_the_kernel_and_the_points_appear(live, notebook):
    assert "Not measured yet." in live.said("panels")
    live.root.locator("[data-this]").click()
    notebook.until(live.root.locator("[data-point]").count, 1)
    words = live.widget.setting.words()
    notebook.until(lambda: notebook.said(3), f"{['full', words]} False ''")
    notebook.until(live.root.locator("[data-all]").is_enabled, True)
    live.root.locator("[data-all]").click()
    notebook.until(live.root.locator("[data-point]").count, 7, seconds=240)
    notebook.until(live.root.locator("[data-all]").is_enabled, True)
    assert "This setting: loss " in live.said("panels") and "No longer answered right: " in live.said("panels")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_first_view_fits_beside_the_sidebar(live, notebook, theme):
    notebook.set_theme(theme)
    folder = os.environ.get("LLMLAB_SCREENSHOTS")
    for name, keys in (("own", []), ("tensor", ["g", "ArrowDown"]), ("clipped", ["g", "g", *["k"] * 5])):
        live.press(*keys)
        assert first_view(live, ".llmlab-bits-first") == []
        if folder:
            live.root.screenshot(path=Path(folder) / f"bits-{theme}-{name}.png")
