"""The cost calculator in a real browser, by keyboard and pointer: what it computes equals what Python computes."""

import itertools
import time

import pytest
from models import TINY_LLAMA
from playwright.sync_api import expect
from test_saved_page import TABLES

from llmlab.published import PUBLISHED
from llmlab.widgets.costs import GIB, GIVEN, SHIPPED, CostCalculator

pytestmark = pytest.mark.browser
FIGURES = [
    "n_parameters", "weight_bytes", "cache_bytes", "cache_bytes_per_token", "total_bytes", "largest_context",
    "largest_batch", "context_where_cache_outweighs_weights",
]  # fmt: skip
SHOWN = """root => Object.fromEntries([...root.querySelectorAll("[data-figure]")].map(
    node => [node.dataset.figure, node.dataset.value]))"""
CHECKED = """names => Object.fromEntries(names.map(
    name => [name, document.querySelector(`[data-control=${name}]`).value]))"""


class Calculator:
    """The widget as a reader sees it. `widget` is the same one in Python, which the tests keep in step."""

    def __init__(self, opened, widget=None):
        self.opened, self.page, self.widget = opened, opened.page, widget
        self.root = self.page.locator(".llmlab-root")
        self.root.locator(".llmlab-costs-bars").wait_for(state="attached")
        self.press = self.page.keyboard.press

    def control(self, name):
        return self.root.locator(f"[data-control='{name}']")

    def note(self, name):
        return self.root.locator(f"[data-note='{name}']")

    def headline(self):
        return self.root.locator(".llmlab-costs-headline").text_content().replace("\u00a0", " ")

    def check(self):
        """Every figure and every table on the page equals what Python says, to the last byte and letter."""
        shown = self.root.evaluate(SHOWN)
        assert shown == {name: str(getattr(self.widget, name)) for name in FIGURES}
        fits = self.root.locator(".llmlab-costs-headline").get_attribute("data-fits")
        assert fits == str(self.widget.fits).lower()
        numbers = {name: str(getattr(self.widget, name)) for name in ("batch_size", "context", "n_kv_heads")}
        words = {name: getattr(self.widget, name) for name in ("model_name", "weight_dtype", "cache_dtype")}
        assert self.page.evaluate(CHECKED, [*numbers, *words]) == numbers | words

    def settles(self, seconds=30):
        """The same, where a kernel has its word too and the page may show the last of it a moment later."""
        end = time.monotonic() + seconds
        while True:
            try:
                return self.check()
            except AssertionError:
                if time.monotonic() > end:
                    raise
                self.page.wait_for_timeout(50)

    def check_tables(self):
        self.root.focus()
        self.press("t")
        assert self.root.evaluate(TABLES) == [vars(table) for table in self.widget.tables()]
        self.press("t")


@pytest.fixture
def saved(tmp_path, open_page):
    """Saves the page of a calculator and opens it, with no kernel and no network."""
    opened = []

    def save_and_open(widget, **how):
        calculator = Calculator(open_page(widget.save_html(tmp_path / "page.html"), **how), widget)
        opened.append(calculator.opened)
        return calculator

    yield save_and_open
    for page in opened:
        assert page.console_errors == [] and page.requests_outside == []


def test_every_model_and_dtype_costs_the_same_in_the_browser_as_in_python(saved):
    calculator = saved(CostCalculator(TINY_LLAMA, batch_size=7, context=3001))
    names = [shape["name"] for shape in calculator.widget.models]
    assert set(names) == {*PUBLISHED, SHIPPED, GIVEN}
    dtypes = itertools.cycle(itertools.product(("int4", "float32", "int8", "bfloat16"), repeat=2))
    for name, (weight_dtype, cache_dtype) in zip(reversed(names), dtypes, strict=False):
        for control, value in (("model_name", name), ("weight_dtype", weight_dtype), ("cache_dtype", cache_dtype)):
            calculator.control(control).select_option(value)
            setattr(calculator.widget, control, value)
        calculator.check()
        calculator.check_tables()


def test_the_keyboard_moves_every_setting(saved):
    calculator = saved(CostCalculator())
    widget, press = calculator.widget, calculator.press
    assert "the cache takes 64.0 GiB, 5.10 times the 12.6 GiB of the weights" in calculator.headline()
    assert "Together 76.6 GiB; that fits in 80.0 GiB and leaves 3.45 GiB." in calculator.headline()
    calculator.check()
    press("Tab")
    for keys, name, value in [
        (["ArrowUp"], "context", 8192),
        (["ArrowRight", "ArrowRight"], "batch_size", 128),
        (["ArrowDown"] * 3, "context", 1024),
        (["ArrowLeft"] * 9, "batch_size", 1),  # twice more than there is room for
        (["ArrowDown"] * 12, "context", 1),
        (["g", "g"], "n_kv_heads", 8),
        (["G"], "n_kv_heads", 16),
        (["g"] * 6, "n_kv_heads", 1),
        (["G"] * 7, "n_kv_heads", 32),
        (["ArrowUp"] * 21, "context", 2**20),
        (["ArrowRight"] * 11, "batch_size", 1024),
    ]:
        for key in keys:
            press(key)
        setattr(widget, name, value)
        calculator.check()
    calculator.check_tables()
    assert "does not fit in 80.0 GiB" in calculator.headline()


def test_native_controls_answer_tab_and_arrows_and_keep_them_from_the_widget(saved):
    calculator = saved(CostCalculator())
    widget, press = calculator.widget, calculator.press
    calculator.root.focus()
    reached = []
    for _ in range(12):  # Table and Focus first
        press("Tab")
        reached.append(calculator.page.evaluate("() => document.activeElement.dataset.control"))
    assert reached[2:] == [
        "model_name", "preset", "memory_gib", "batch_size-slider", "batch_size", "context-slider", "context",
        "weight_dtype", "cache_dtype", "n_kv_heads",
    ]  # fmt: skip
    calculator.control("batch_size-slider").focus()
    press("ArrowRight")
    widget.batch_size = 64
    calculator.check()
    assert calculator.control("batch_size-slider").get_attribute("aria-valuetext") == "64 rows"
    calculator.control("model_name").focus()
    press("ArrowDown")
    widget.model_name = "Llama-2-13B"
    calculator.check()
    press("g")  # the first letter of a name chooses it in a list; the widget's own key is for elsewhere
    widget.model_name = "GPT-2"
    calculator.check()
    press("Escape")
    assert calculator.page.evaluate("() => document.activeElement.className") == "llmlab-root"


def test_the_pointer_drags_types_and_chooses(saved):
    calculator = saved(CostCalculator("Llama-3-8B", batch_size=1))
    widget, control = calculator.widget, calculator.control
    box = control("context-slider").bounding_box()
    calculator.page.mouse.click(box["x"] + box["width"] - 4, box["y"] + box["height"] / 2)
    widget.context = 2**20
    calculator.check()
    control("context").fill("12345")
    control("context").press("Enter")
    control("preset").select_option("24 GiB")
    widget.context, widget.memory_bytes = 12345, 24 * GIB
    calculator.check()
    control("memory_gib").fill("17.5")
    control("memory_gib").press("Enter")
    widget.memory_bytes = int(17.5 * GIB)
    calculator.check()
    assert calculator.page.evaluate("() => document.querySelector('[data-control=preset]').value") == ""
    control("context").fill("4,096")
    control("context").press("Enter")
    widget.context = 4096
    calculator.check()
    control("context").fill("77")
    control("context").press("Escape")  # goes back to the widget, with the field as it was
    assert calculator.page.evaluate("() => document.activeElement.className") == "llmlab-root"
    calculator.check()
    for wrong in ("0", "2000", "1.5", "", "many", "-3", "1,5"):
        message = f"got {wrong or 'nothing'}"
        control("batch_size").fill(wrong)
        control("batch_size").press("Enter")
        expected = f"batch: expected a whole number of 1 to 1,024, {message}."
        assert calculator.root.get_by_role("status").text_content() == expected
        calculator.check()  # nothing has changed
    control("batch_size").select_text()
    calculator.page.keyboard.insert_text("9" * 10_000)
    calculator.press("Enter")
    status = calculator.root.get_by_role("status")
    assert "got 9" in status.text_content() and len(status.text_content()) < 100


def test_fewer_kv_heads_shrink_the_cache_and_are_called_hypothetical(saved):
    calculator = saved(CostCalculator())
    ghost = calculator.root.locator("[data-ghost]")
    keys = calculator.root.locator(".llmlab-costs-keys").first
    whole = keys.bounding_box()["width"]
    assert ghost.count() == 0 and calculator.note("hypothetical").count() == 0
    calculator.control("n_kv_heads").select_option("8")
    calculator.widget.n_kv_heads = 8
    calculator.check()
    assert keys.bounding_box()["width"] == pytest.approx(whole / 4, rel=0.02)
    assert ghost.bounding_box()["width"] == pytest.approx(2 * whole, rel=0.02)
    assert "Llama-2-7B has 32 kv heads, and its cache takes 64.0 GiB" in calculator.note("hypothetical").text_content()
    assert calculator.root.locator("[data-published]").text_content() == "for 32 query heads; published: 32"
    calculator.control("model_name").select_option("Llama-2-70B")  # comes with its own 8
    assert ghost.count() == 0 and calculator.note("hypothetical").count() == 0
    assert calculator.root.locator("[data-published]").text_content() == "for 64 query heads; published: 8"


def test_bars_and_memory_line_stand_on_one_scale(saved):
    calculator = saved(CostCalculator("Llama-3-70B", batch_size=2, context=8192))
    tracks = calculator.root.locator(".llmlab-costs-bars .llmlab-costs-track")
    weights = tracks.nth(0).locator(".llmlab-costs-weights").bounding_box()
    cache = [tracks.nth(1).locator(f".llmlab-costs-{name}").bounding_box()["width"] for name in ("keys", "values")]
    line = tracks.nth(2).locator(".llmlab-costs-line").bounding_box()["x"] - weights["x"]
    per_byte = weights["width"] / calculator.widget.weight_bytes
    assert sum(cache) == pytest.approx(calculator.widget.cache_bytes * per_byte, abs=2)
    assert line == pytest.approx(calculator.widget.memory_bytes * per_byte, abs=2)
    over = calculator.root.locator(".llmlab-costs-over").bounding_box()
    assert over["x"] == pytest.approx(weights["x"] + line, abs=2) and not calculator.widget.fits


def test_notes_say_what_a_setting_means(saved):
    calculator = saved(CostCalculator("GPT-2", context=2048))
    assert "a table of 1,024 positions: it cannot read 2,048 tokens" in calculator.note("context").text_content()
    calculator.control("model_name").select_option("Mistral-7B-v0.1")
    assert calculator.note("window").count() == calculator.note("context").count() == 0
    calculator.control("context").fill("8193")
    calculator.control("context").press("Enter")
    assert "back at most 4,096 tokens" in calculator.note("window").text_content()
    assert "made for at most 8,192 tokens" in calculator.note("context").text_content()
    calculator.control("model_name").select_option("Mixtral-8x7B")
    assert "All 8 experts" in calculator.note("experts").text_content()
    assert "Mixtral of Experts" in calculator.note("source").text_content()
    calculator.control("cache_dtype").select_option("int4")
    assert calculator.note("scales").count() == 1


@pytest.mark.parametrize("width,scale", [(1000, 1.0), (700, 1.0), (700, 2.0)])
def test_nothing_overflows_and_controls_are_large_enough(saved, width, scale):
    widget = CostCalculator("Llama-2-70B", batch_size=64, n_kv_heads=64, scale=scale)
    calculator = saved(widget, width=width)
    assert calculator.page.evaluate("() => document.documentElement.scrollWidth") <= width
    inside = "node => [...node.querySelectorAll('*')].every(n => n.getBoundingClientRect().right <= innerWidth)"
    assert calculator.root.evaluate(inside)
    for control in calculator.root.locator("[data-control]:not([type=range]), button").all():
        assert control.bounding_box()["height"] >= 24 * scale - 0.5


CODE = """from llmlab.widgets.costs import CostCalculator
costs = CostCalculator()
costs"""
NAMES = ("model_name", "batch_size", "context", "weight_dtype", "cache_dtype", "n_kv_heads", "memory_bytes")
ASK = f"print([getattr(costs, name) for name in {NAMES!r}])"
TELL = "costs.model_name, costs.context = 'GPT-2', 512"


def test_a_notebook_and_its_kernel_agree(lab, open_notebook):
    notebook = open_notebook(lab.write("costs.ipynb", CODE, ASK, TELL))
    notebook.run(0)
    calculator = Calculator(notebook, CostCalculator())
    calculator.settles()
    calculator.root.focus()
    for key in ("ArrowUp", "ArrowUp", "ArrowLeft"):
        calculator.press(key)
    calculator.control("model_name").select_option("Llama-3-8B")
    calculator.control("n_kv_heads").select_option("2")
    calculator.widget.model_name = "Llama-3-8B"
    calculator.widget.context, calculator.widget.batch_size, calculator.widget.n_kv_heads = 16384, 16, 2
    calculator.settles()
    expected = str([getattr(calculator.widget, name) for name in NAMES])
    notebook.until(lambda: notebook.said(1), expected)
    calculator.settles()
    calculator.control("batch_size").fill("24")
    calculator.press("Enter")
    calculator.widget.batch_size = 24
    calculator.settles()
    calculator.control("batch_size").fill("0")
    calculator.press("Enter")
    expect(calculator.root.get_by_role("status")).to_contain_text("batch: expected")
    calculator.control("batch_size").fill("16")
    calculator.press("Enter")
    calculator.widget.batch_size = 16
    notebook.run(2)
    calculator.root.get_by_text("GPT-2 with 16 rows of 512 tokens").wait_for()
    calculator.widget.model_name, calculator.widget.context = "GPT-2", 512
    notebook.page.wait_for_function("() => document.querySelector('[data-control=n_kv_heads]').value === '12'")
    calculator.settles()
    for theme in ("light", "dark"):
        notebook.set_theme(theme)
        notebook.screenshots(f"costs-{theme}")
    assert notebook.cell_errors() == [] and notebook.console_errors == [] and notebook.requests_outside == []


GROUND = """(root, names) => names.map(
    name => getComputedStyle(root.querySelector(`.llmlab-costs-${name}`)).backgroundColor)"""


def test_bars_keep_their_meaning_in_forced_colors_and_on_paper(saved):
    calculator = saved(CostCalculator("Llama-3-70B", n_kv_heads=64))
    names = ["weights", "keys", "values", "line"]
    usual = calculator.root.evaluate(GROUND, names)
    for scheme in ("light", "dark"):
        calculator.page.emulate_media(forced_colors="active", color_scheme=scheme)
        *spans, line = calculator.root.evaluate(GROUND, names)
        ground = calculator.root.evaluate("node => getComputedStyle(node).backgroundColor")
        assert spans == usual[:3] and len({*spans, line, ground}) == 5
    calculator.page.emulate_media(forced_colors="none", media="print")
    kept = "node => [...node.querySelectorAll('*')].every(n => getComputedStyle(n).printColorAdjust === 'exact')"
    assert calculator.root.locator(".llmlab-costs-picture").evaluate(kept)
