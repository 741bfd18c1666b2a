"""The attention stepper in a real browser, by keyboard and pointer: every number that it shows equals torch's."""

import itertools
import os
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from test_saved_page import TABLES

from llmlab.widgets.attention import INPUTS, MASKS, SQUARE, STAGES, AttentionStepper, short

pytestmark = pytest.mark.browser
DOG, STREET, IT, TOO, TIRED = range(5)
SHOWN = """root => Object.fromEntries([...root.querySelectorAll("[data-name]")]
    .filter(part => part.offsetParent !== null)
    .map(part => {
        const rows = [];
        for (const cell of part.querySelectorAll("[data-matrix]"))
            (rows[Number(cell.dataset.row)] ??= [])[Number(cell.dataset.column)] = cell.value ?? cell.textContent;
        return [part.dataset.name, rows];
    }))"""
NARROW = "flow => flow.clientWidth <= 61 * parseFloat(getComputedStyle(flow).fontSize)"
LINE = """line => [...line.childNodes].map(
    node => node.tagName === "SUP" ? `^(${node.textContent})` : node.textContent).join("")"""
BANDS = """root => Object.fromEntries([...root.querySelectorAll("[data-band]")].map(band => {
    const [name, ...area] = band.dataset.band.split(" ");
    return [band.className.replace("llmlab-attn-", "") + " " + name, area.map(Number)];
}))"""
LATENCY = """async keys => {
    const root = document.querySelector(".llmlab-root");
    const painted = () => new Promise(done => requestAnimationFrame(() => setTimeout(done)));
    const [handled, all] = [[], []];
    for (const key of keys) {
        await painted();
        const start = performance.now();
        root.dispatchEvent(new KeyboardEvent("keydown", {key, bubbles: true, cancelable: true}));
        root.getBoundingClientRect();
        handled.push(performance.now() - start);
        await painted();
        all.push(performance.now() - start);
    }
    const middle = times => times.sort((a, b) => a - b)[Math.floor(times.length / 2)];
    return [middle(handled), middle(all), Math.max(...all)];
}"""
CONTRASTS = """root => {
    const context = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
    const over = (color, ground) => {
        context.fillStyle = `rgb(${ground.join(" ")})`;
        context.fillRect(0, 0, 1, 1);
        context.fillStyle = color;
        context.fillRect(0, 0, 1, 1);
        return [...context.getImageData(0, 0, 1, 1).data].slice(0, 3);
    };
    const linear = x => (x /= 255) <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4;
    const light = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b) + 0.05;
    const behind = over(getComputedStyle(root).backgroundColor, [255, 255, 255]);
    return [...root.querySelectorAll("[data-matrix]")].filter(cell => cell.offsetParent !== null).map(cell => {
        const style = getComputedStyle(cell), ground = over(style.backgroundColor, behind);
        const [a, b] = [light(ground), light(over(style.color, ground))];
        return Math.max(a, b) / Math.min(a, b);
    });
}"""


class Stepper:
    """The widget as a reader sees it. `widget` is the same one in Python, which the tests keep in step."""

    def __init__(self, opened, widget):
        self.opened, self.page, self.widget = opened, opened.page, widget
        self.root = self.page.locator(".llmlab-root")
        self.root.locator("[data-arithmetic]").wait_for()

    def press(self, *keys):
        for key in keys:
            self.page.keyboard.press(key)

    def set(self, **traits):
        for name, value in traits.items():
            setattr(self.widget, name, value)

    def field(self, name, row, column):
        return self.root.locator(f"[data-matrix={name}][data-row='{row}'][data-column='{column}']")

    cell = field

    def arithmetic(self):
        """The line in the panel, with its powers written as in the tables."""
        return self.root.locator("[data-arithmetic]").evaluate(LINE)

    def status(self):
        return self.root.get_by_role("status").text_content().strip()

    def bands(self):
        return self.root.evaluate(BANDS)

    def check(self):
        """Every number on the page is torch's, to the last digit that is shown; so is the arithmetic."""
        widget, shown = self.widget, self.root.evaluate(SHOWN)
        names = [*INPUTS, "q", "k", "v", *SQUARE, "output"][
            : 4 if widget.stage == "x" else 6 + STAGES.index(widget.stage)
        ]
        if self.root.locator(".llmlab-attn-flow").evaluate(NARROW):  # of the square matrices only the last two
            names = [name for name in names if name not in SQUARE[: max(0, STAGES.index(widget.stage) - 3)]]
        assert set(shown) == set(names)
        expected = {name: torch.from_numpy(getattr(widget, name)) for name in INPUTS} | widget._stages()
        assert shown == {name: [[short(x) for x in row] for row in expected[name].tolist()] for name in shown}
        pressed = self.root.locator("[data-stage][aria-pressed=true]").get_attribute("data-stage")
        assert pressed == widget.stage
        assert self.root.locator("[data-mask][aria-pressed=true]").get_attribute("data-mask") == widget.mask
        assert self.root.locator("[data-scaling]").get_attribute("aria-pressed") == str(widget.scaling).lower()
        assert self.arithmetic() == widget.tables()[0].rows[-1][1]

    def check_with_torch(self):
        """The shown weights and outputs against PyTorch's own attention, with the mask from its definition."""
        widget, shown = self.widget, self.root.evaluate(SHOWN)
        x, *projections = (torch.from_numpy(getattr(widget, name)) for name in INPUTS)
        q, k, v = (x @ w for w in projections)
        n = len(x)
        query, key = torch.meshgrid(torch.arange(n), torch.arange(n), indexing="ij")
        may_look = {
            "none": query >= 0,
            "causal": key <= query,
            "prefix": (key <= query) | (key < widget.prefix),
            "window": (key <= query) & (query - key < widget.window),
        }[widget.mask]
        scale = None if widget.scaling else 1.0
        for name, values in (("weights", torch.eye(n)), ("output", v)):
            numbers = [
                [float(text.replace("−", "-").replace("<0.001", "0.0005")) for text in row] for row in shown[name]
            ]
            expected = F.scaled_dot_product_attention(q[None], k[None], values[None], may_look, scale=scale)[0]
            np.testing.assert_allclose(numbers, expected, rtol=6e-3, atol=1e-3)


@pytest.fixture
def saved(open_saved):
    def save_and_open(widget=None, **how):
        widget = widget or AttentionStepper()
        return Stepper(open_saved(widget, **how), widget)

    return save_and_open


def test_the_first_view_says_that_tired_looks_at_the_dog(saved):
    stepper = saved()
    stepper.check()
    assert stepper.root.locator("[data-panel] p").first.text_content() == (
        "“tired” gives 0.815 of its attention to “dog”, the largest weight of its row."
    )
    assert "Space: next stage" in stepper.root.locator(".llmlab-hint").text_content()
    assert stepper.bands() == {
        "band q": [TIRED, 0, 1, 4], "band k": [DOG, 0, 1, 4], "band scores": [TIRED, DOG, 1, 1],
        "band scaled": [TIRED, DOG, 1, 1], "band masked": [TIRED, 0, 1, 5], "chosen weights": [TIRED, DOG, 1, 1],
    }  # fmt: skip


@pytest.mark.parametrize("seed", [0, 1])
def test_every_stage_mask_and_scaling_shows_torchs_numbers(saved, seed):
    generator = torch.Generator().manual_seed(seed)
    shapes = [((5, 4), (4, 4), (4, 4), (4, 4)), ((8, 6), (6, 3), (6, 3), (6, 5))][seed]
    stepper = saved(AttentionStepper(*(torch.randn(shape, generator=generator) for shape in shapes), stage="x"))
    widget, n = stepper.widget, shapes[0][0]
    stepper.root.focus()
    for stage in STAGES:
        stepper.set(stage=stage)
        stepper.check()
        stepper.press(" ")
    stepper.set(stage="x")  # from the start again
    stepper.check()
    stepper.press("End", "m", "m", "m")  # from causal over prefix and window to none
    widget.stage = "output"
    for mask in MASKS:
        for scaling in (True, False):
            stepper.set(mask=mask, scaling=scaling)
            stepper.check()
            stepper.check_with_torch()
            stepper.press("d")
        sizes = {"prefix": [*range(3, n + 1), n], "window": [*range(3, n + 1), n]}.get(mask, [])
        for size in sizes:
            stepper.press("]")
            setattr(widget, mask, size)
            widget.scaling = True
            stepper.check()
            stepper.check_with_torch()
        stepper.press("m")


def test_the_keyboard_walks_through_stages_and_cells(saved):
    stepper = saved()
    stepper.press("Tab")
    for keys, traits in [
        (["Backspace"], {"stage": "masked"}),
        (["Shift+ "], {"stage": "scaled"}),
        (["ArrowUp", "ArrowRight"], {"row": TOO, "column": STREET}),
        (["ArrowRight"] * 5, {"column": TIRED}),
        (["ArrowDown"] * 3, {"row": TIRED}),
        (["ArrowUp"] * 6, {"row": DOG}),
        ([" "], {"stage": "masked"}),
        ([" "], {"stage": "weights"}),
        (["ArrowDown", "ArrowLeft", "ArrowLeft", "ArrowLeft"], {"row": STREET, "column": STREET}),
        ([" "], {"stage": "output"}),
        (["ArrowRight"] * 4, {"column": 3}),
        (["2"], {"stage": "qkv"}),
        (["ArrowRight"] * 12, {"column": 11}),
        (["Home"], {"stage": "x"}),
        (["End"], {"stage": "output"}),
        (["3"], {"stage": "scores", "column": 11}),
        (["ArrowLeft"], {"column": 3}),
        (["ArrowLeft"] * 5, {"column": DOG}),
        (["m"], {"mask": "prefix"}),
        (["]"] * 4, {"prefix": 5}),
        (["["] * 5, {"prefix": 1}),
        (["m"], {"mask": "window"}),
        (["["] * 2, {"window": 1}),
        (["d"], {"scaling": False}),
        (["6"], {"stage": "weights"}),
        (["m", "d"], {"mask": "none", "scaling": True}),
    ]:
        stepper.press(*keys)
        stepper.set(**traits)
        stepper.check()
    outline = stepper.root.evaluate("node => getComputedStyle(node).outlineStyle + getComputedStyle(node).outlineWidth")
    assert outline == "solid2px"


def test_frames_show_where_a_number_comes_from(saved):
    stepper = saved()
    stepper.root.focus()
    stepper.press("2", *["ArrowRight"] * 5)
    assert stepper.bands() == {"band x": [TIRED, 0, 1, 4], "band w_k": [0, 1, 4, 1], "chosen k": [TIRED, 1, 1, 1]}
    stepper.press("3", *["ArrowLeft"] * 2, "ArrowUp")
    assert stepper.bands() == {"band q": [TOO, 0, 1, 4], "band k": [IT, 0, 1, 4], "chosen scores": [TOO, IT, 1, 1]}
    stepper.press("7")
    assert stepper.bands() == {"band weights": [TOO, 0, 1, 5], "band v": [0, 2, 5, 1], "chosen output": [TOO, 2, 1, 1]}
    color = "name => getComputedStyle(document.querySelector(`[data-band^='${name} ']`)).borderTopColor"
    hues = {name: stepper.page.evaluate(color, name) for name in ("weights", "v")}
    assert hues == {"weights": "rgb(204, 121, 167)", "v": "rgb(0, 158, 115)"}
    stepper.press("3")
    hues = {name: stepper.page.evaluate(color, name) for name in ("q", "k")}
    assert hues == {"q": "rgb(0, 114, 178)", "k": "rgb(230, 159, 0)"}
    row, band = stepper.cell("q", TOO, 3).bounding_box(), stepper.root.locator("[data-band^='q ']").bounding_box()
    assert band["x"] + band["width"] == pytest.approx(row["x"] + row["width"], abs=1)
    assert band["y"] == pytest.approx(row["y"], abs=1)


# Editing ------------------------------------------------------------------------------------------------------------


def edited(stepper, name, row, column, value):
    numbers = getattr(stepper.widget, name).copy()
    numbers[row, column] = value
    setattr(stepper.widget, name, numbers)


def test_a_typed_number_changes_the_picture_as_torch_says(saved):
    stepper = saved()
    for name, row, column, text, value in [
        ("x", TIRED, 1, "3", 3), ("x", IT, 0, "-0.25", -0.25), ("w_q", 0, 3, "−2", -2), ("w_k", 3, 1, ".5", 0.5),
        ("w_v", 1, 2, "1e1", 10), ("x", DOG, 0, "1.23456", 1.23456),
    ]:  # fmt: skip
        stepper.field(name, row, column).click()
        stepper.page.keyboard.type(text)
        stepper.press("Enter")
        edited(stepper, name, row, column, value)
        stepper.press("Escape")
        stepper.check()
    stepper.press("End")
    stepper.widget.stage = "output"
    stepper.check()
    stepper.check_with_torch()
    assert stepper.root.locator(".llmlab-attn-edited").count() == 6
    assert stepper.field("x", TIRED, 1).get_attribute("title") == "at the start: 0"
    stepper.press("r")
    stepper.widget.reset()
    stepper.check()
    assert stepper.root.locator(".llmlab-attn-edited").count() == 0
    assert stepper.root.locator("[data-reset]").is_disabled()


def test_typing_fires_none_of_the_widgets_keys(saved):
    stepper = saved()
    stepper.field("x", DOG, 2).click()
    stepper.page.keyboard.type("m d r e t 1[]")
    assert stepper.field("x", DOG, 2).input_value() == "m d r e t 1[]"
    stepper.press("Home", "ArrowRight", "End", "Backspace", "Escape")  # and Escape takes nothing over
    stepper.check()
    assert stepper.page.evaluate("() => document.activeElement.className") == "llmlab-root"
    stepper.press("ArrowUp")
    stepper.widget.row = TOO
    stepper.check()


def test_what_is_no_number_is_refused_in_words_and_the_old_one_stays(saved):
    stepper = saved()
    field = stepper.field("w_v", 2, 3)
    for wrong, message in [("two", "got “two”"), ("", "got nothing"), ("1001", "got “1001”"), ("1e999", "got “1e999”")]:
        field.fill(wrong)
        field.press("Enter")
        assert stepper.status() == f"W_v, row 2, column 3: expected a number from −1000 to 1000, {message}."
        assert field.input_value() == "0"
    stepper.check()
    field.fill("2")
    stepper.root.locator("h4").first.click()  # a click elsewhere takes the number over
    edited(stepper, "w_v", 2, 3, 2)
    stepper.check()
    assert stepper.status() == ""


def test_arrows_step_a_number_and_enter_goes_to_the_next(saved):
    stepper = saved()
    stepper.root.focus()
    stepper.press("1", "e", "ArrowUp", "ArrowUp", "ArrowUp", "ArrowDown")
    stepper.widget.stage = "x"
    edited(stepper, "x", TIRED, 0, 2)
    assert stepper.field("x", TIRED, 0).input_value() == "2"
    stepper.check()
    stepper.press("Enter", "7", "Enter", "Shift+Enter", "ArrowDown")
    edited(stepper, "x", TIRED, 1, 6.5)
    stepper.widget.column = 1
    stepper.check()
    focused = "() => ['matrix', 'row', 'column'].map(name => document.activeElement.dataset[name]).join(' ')"
    stepper.press("Tab")  # each matrix is one stop
    assert stepper.page.evaluate(focused) == "w_q 0 0"
    stepper.press("Enter", "Tab", "Tab", "Shift+Tab", "Shift+Tab")
    assert stepper.page.evaluate(focused) == "w_q 0 1"  # where the reader was
    stepper.press("Escape", "2", "ArrowRight", "e")
    assert stepper.page.evaluate(focused) == "w_q 0 2"
    stepper.press("Escape", "6", "e")
    assert stepper.page.evaluate(focused) == "x 4 0"


# The pointer --------------------------------------------------------------------------------------------------------


def test_hovering_previews_a_cell_and_a_click_chooses_it(saved):
    stepper = saved()
    stepper.cell("weights", STREET, TIRED).hover()
    assert stepper.arithmetic() == "e^(−∞) = 0: the weight is exactly 0"
    assert "later than the query" in stepper.root.locator("[data-panel] p").first.text_content()
    assert stepper.bands()["preview weights"] == [STREET, TIRED, 1, 1]
    stepper.cell("scores", IT, DOG).hover()  # an earlier stage explains its own number
    assert stepper.arithmetic() == "q(it) · k(dog) = 2·2 + 1·0 + 0·1 + 1·1 = 5"
    stepper.cell("v", TOO, 2).hover()
    assert stepper.arithmetic().startswith("v(too)[2] = x(too) · W_v[:, 2] = ")
    stepper.root.locator(".llmlab-hint").hover()
    stepper.check()
    for click, traits in [
        (("weights", IT, STREET), {"row": IT, "column": STREET}),
        (("scores", TIRED, TOO), {"row": TIRED, "column": TOO}),  # of an earlier stage: its query and key
        (("q", STREET, 3), {"row": STREET}),
        (("k", DOG, 1), {"column": DOG}),
        (("v", STREET, 1), {"column": STREET}),
    ]:
        stepper.cell(*click).click()
        stepper.root.locator(".llmlab-hint").hover()
        stepper.set(**traits)
        stepper.check()
    stepper.press(" ")  # the widget has the focus
    stepper.widget.stage = "output"
    stepper.cell("output", TIRED, 3).click()
    stepper.cell("v", DOG, 2).click()
    stepper.root.locator("[data-name=weights] [data-query='2']").click()
    stepper.root.locator(".llmlab-hint").hover()
    stepper.set(row=IT, column=2)
    stepper.check()
    stepper.root.locator("[data-stage=masked]").click()
    stepper.root.locator("[data-name=scores] [data-key='4']").click()
    stepper.root.locator(".llmlab-hint").hover()
    stepper.set(stage="masked", column=TIRED)
    stepper.check()


def test_the_pointer_sets_mask_scaling_and_stage(saved):
    stepper = saved()
    root, widget = stepper.root, stepper.widget
    extent = root.get_by_label("tokens", exact=True)
    assert not extent.is_visible()
    root.get_by_role("button", name="window", exact=True).click()
    extent.select_option("3")
    root.locator("[data-scaling]").click()
    stepper.set(mask="window", window=3, scaling=False)
    stepper.check()
    root.get_by_role("button", name="prefix", exact=True).click()
    extent.select_option("4")
    stepper.set(mask="prefix", prefix=4)
    stepper.check()
    root.get_by_role("button", name="Next stage").click()
    widget.stage = "output"
    stepper.check()
    root.get_by_role("button", name="From the start").click()
    assert root.get_by_role("button", name="Back").is_disabled()
    stepper.press(" ")  # a button that the pointer pressed gives the focus back
    widget.stage = "qkv"
    stepper.check()


# The look -----------------------------------------------------------------------------------------------------------


def test_the_table_view_says_what_python_says(saved):
    stepper = saved(AttentionStepper(stage="qkv", column=9, row=IT))
    stepper.root.focus()
    stepper.press("t")
    for stage in STAGES[1:]:
        stepper.widget.stage = stage
        assert stepper.root.evaluate(TABLES) == [vars(table) for table in stepper.widget.tables()]
        stepper.press(" ")
    stepper.press("Home", "t")
    stepper.widget.stage = "x"
    stepper.check()


def test_labels_show_as_text(saved):
    stepper = saved(AttentionStepper(labels=["<img src=x onerror=alert(1)>", "a b", "c", "d", "<b>e</b>"]))
    assert stepper.root.locator("img, b").count() == 0
    assert stepper.root.locator("[data-panel] h4").text_content() == (
        "weights: query “<b>e</b>”, key “<img·src=x·onerror=alert(1)>”"
    )
    stepper.check()


@pytest.mark.parametrize(("theme", "width", "scale"), [("light", 1000, 1.0), ("dark", 600, 1.0), ("light", 600, 2.0)])
def test_nothing_overflows_and_every_number_can_be_read(saved, theme, width, scale):
    generator = torch.Generator().manual_seed(0)
    large = [torch.randn(shape, generator=generator) for shape in ((8, 6), (6, 6), (6, 6), (6, 6))]
    for widget in (
        AttentionStepper(stage="output", scale=scale),
        AttentionStepper(*large, stage="output", scale=scale),
    ):
        stepper = saved(widget, theme=theme, width=width)
        assert stepper.page.evaluate("() => document.documentElement.scrollWidth") <= width
        inside = "node => [...node.querySelectorAll('*')].every(n => n.getBoundingClientRect().right <= innerWidth + 1)"
        assert scale > 1 or stepper.root.evaluate(inside)
        assert min(stepper.root.evaluate(CONTRASTS)) >= 4.5
        for control in [*stepper.root.locator("button:visible, select:visible").all(), stepper.field("x", 0, 0)]:
            assert control.bounding_box()["height"] >= 24 * scale - 0.5
        assert stepper.cell("weights", 0, 0).bounding_box()["height"] >= 24 * scale - 0.5
        folder = os.environ.get("LLMLAB_SCREENSHOTS")
        if folder:
            name = f"saved-{theme}-{width}-{scale:g}-{widget.n_tokens}.png"
            stepper.page.screenshot(path=Path(folder) / name, full_page=True)


# JupyterLab ---------------------------------------------------------------------------------------------------------

CODE = """from llmlab.widgets.attention import AttentionStepper
stepper = AttentionStepper()
stepper"""
NAMES = ("stage", "row", "column", "mask", "prefix", "window", "scaling")
ASK = f"print([getattr(stepper, name) for name in {NAMES!r}], stepper.x.tolist(), stepper.w_k.tolist())"
TELL = "stepper.x, stepper.stage, stepper.row, stepper.mask = 2 * stepper.x, 'scores', 1, 'none'"
NARROWER = "stepper._shapes = {**stepper._shapes, 'x': (3, 4)}"


@pytest.fixture(scope="module")
def notebook(lab, open_shared_notebook):
    return open_shared_notebook(lab.write("attention.ipynb", CODE, ASK, TELL, NARROWER))


@pytest.fixture
def live(notebook):
    """The stepper in a notebook, freshly made."""
    notebook.run_afresh()
    yield Stepper(notebook, AttentionStepper())
    assert notebook.cell_errors() == [] and notebook.console_errors == [] and notebook.requests_outside == []


def test_a_notebook_and_its_kernel_agree(live):
    stepper, notebook = live, live.opened
    widget, n_cells = stepper.widget, len(notebook.cells())
    stepper.check()
    stepper.root.focus()
    stepper.press(" ", "ArrowRight", "ArrowUp", "m", "]", "d", "b", "a")  # JupyterLab would add cells
    stepper.set(stage="output", column=1, row=TOO, mask="prefix", prefix=3, scaling=False)
    stepper.check()
    for name, row, column, value in (("x", TIRED, 1, 3), ("w_k", 0, 0, -1)):
        stepper.field(name, row, column).click()
        stepper.page.keyboard.type(str(value))
        stepper.press("Enter")
        edited(stepper, name, row, column, value)
    stepper.press("ArrowUp", "b", "a", "Escape")  # in a field
    edited(stepper, "w_k", 0, 1, 0.5)
    stepper.check()
    assert len(notebook.cells()) == n_cells
    expected = f"{[getattr(widget, name) for name in NAMES]} {widget.x.tolist()} {widget.w_k.tolist()}"
    notebook.until(lambda: notebook.said(1), expected)
    notebook.run(2)
    stepper.root.locator("[data-stage=scores][aria-pressed=true]").wait_for()
    stepper.set(x=2 * widget.x, stage="scores", row=1, mask="none")
    stepper.check()
    stepper.root.focus()
    handled, painted, longest = notebook.page.evaluate(
        LATENCY, ["ArrowUp", "ArrowDown", " ", "m", "d", "ArrowRight"] * 5
    )
    print(
        f"\nkey press: handled in {handled:.1f} ms, painted after {painted:.1f} ms (median), at most {longest:.1f} ms"
    )


def test_what_the_kernel_refuses_is_shown_and_taken_back(live):
    stepper = live
    stepper.opened.run(3)  # the kernel now wants something else than the page sends
    stepper.root.focus()
    stepper.press("ArrowUp")
    stepper.root.get_by_text("expected a row from 0 to 2, got 3").wait_for()
    stepper.check()


def test_the_stepper_is_drawn_in_both_themes(live):
    stepper, notebook = live, live.opened
    folder = os.environ.get("LLMLAB_SCREENSHOTS")
    for theme, width in itertools.product(("light", "dark"), (1280, 700)):
        notebook.resize(width, 1400)
        notebook.set_theme(theme)
        notebook.page.wait_for_function("() => !document.getElementById('jupyterlab-splash')")
        assert stepper.root.evaluate("node => node.scrollWidth <= node.clientWidth")
        assert min(stepper.root.evaluate(CONTRASTS)) >= 4.5
        stepper.root.focus()
        for number, stage in enumerate(STAGES if folder else (), 1):
            stepper.press(str(number))
            notebook.page.wait_for_timeout(200)
            stepper.root.screenshot(path=Path(folder) / f"attention-{theme}-{width}-{number}-{stage}.png")
