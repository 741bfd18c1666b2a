"""The fact tracer in a real browser, by keyboard and pointer: what it shows is what Python says."""

import os
import re
from pathlib import Path

import pytest
from first_view import first_view
from test_embedding_explorer_page import LATENCY, SMALL
from test_fit import BESIDE, faults
from test_saved_page import TABLES

from llmlab.plots import visible
from llmlab.widgets.ffn import EXAMPLES, KINDS, FactTracer

pytestmark = pytest.mark.browser
CODE = """from llmlab.widgets.ffn import FactTracer
tracer = FactTracer()
tracer"""
CELLS = (
    "root => Object.fromEntries([...root.querySelectorAll('[data-cell]')].map(c => [c.dataset.cell, c.textContent]))"
)
CHOSEN = "root => [...root.querySelectorAll('[data-cell][aria-pressed=true]')].map(cell => cell.dataset.cell)"
UNITS = (
    """root => [...root.querySelectorAll('[data-unit]')].map(one => [...one.children].map(cell => cell.textContent))"""
)
ROWS = (
    "root => [...root.querySelectorAll('[data-result] tbody tr')].map(row => [...row.children].map(c => c.textContent))"
)
# The cell whose ground is the strongest of a sign, and how many have one.
GROUNDS = """root => [...root.querySelectorAll('[data-cell]')].map(cell =>
    [cell.textContent, ...getComputedStyle(cell).backgroundColor.match(/[\\d.]+/g).map(Number)])"""


class Page:
    """The widget as a reader sees it. `widget` is the same one in Python, which the tests keep in step."""

    def __init__(self, opened, widget):
        self.opened, self.page, self.widget = opened, opened.page, widget
        self.root = self.page.locator(".llmlab-root")
        self.root.locator("[data-cell]").first.wait_for()

    def press(self, *keys):
        for key in keys:
            self.page.keyboard.press(key)

    def said(self, name):
        return self.root.locator(f"[data-{name}]").first.text_content()

    def check(self, **now):
        """The picture is what Python says when its traits are these."""
        widget = self.widget
        for name, value in now.items():
            setattr(widget, name, value)
        found, cells = widget.trace, widget.trace["grid"].get(widget.kind)
        places = [(layer, at) for layer in range(6) for at in range(len(found["tokens"]))]
        expected = {f"{la},{at}": str(cells[la][at][0]).replace("-", "−") if cells else "·" for la, at in places}
        assert self.root.evaluate(CELLS) == expected
        assert self.root.evaluate(CHOSEN) == [f"{widget.layer},{widget.token}"]
        names = self.root.locator("[data-token]").all_text_contents()
        marks = ["≈ " if at in found["places"] else "" for at in range(len(names))]
        assert names == [mark + visible(token) for mark, token in zip(marks, found["tokens"], strict=True)]
        claim = f"“{found['text']}” → “{found['answer']}” {found['high']}; with {found['how']} {found['low']}."
        assert self.said("claim").startswith(claim)
        if cells:
            share, chance = cells[widget.layer][widget.token]
            where = f"{KINDS[widget.kind]} of layer {widget.layer + 1} at “{visible(found['tokens'][widget.token])}”"
            back = f"{share}".replace("-", "−")
            expected = f"Restoring {where} brings back {back} % of its log-probability: {chance}."
            assert self.said("cell-claim") == expected
        else:
            assert "nothing to bring back" in self.said("cell-claim")

    def check_units(self):
        widget = self.widget
        listed = widget.unit_list
        assert self.root.evaluate(UNITS) == [
            [one["name"], one["activation"], one["without"], " ".join(map(visible, one["pushes"]))]
            for one in listed["units"]
        ]
        unit = listed["units"][widget.unit]
        said = self.said("unit-said")
        assert said.startswith(f"Unit {unit['name']}, of 512, alone at 0 here: {listed['p']} becomes {unit['without']}")
        texts = self.root.locator(".llmlab-fact-excerpt").all_text_contents()
        assert texts == [
            (value + before + token + after).replace("\n", "⏎") for before, token, after, value in unit["texts"]
        ]
        marked = self.root.locator(".llmlab-fact-excerpt b").all_text_contents()
        assert marked == [token.replace("\n", "⏎") for _, token, _, _ in unit["texts"]]

    def check_verdict(self, done):
        counts = [[name, *(f"{n[0]:,} of {n[1]:,}" for n in both)] for name, *both in done["rows"]]
        changed = [
            [name, *(f"{n[0]:,} of {n[1]:,}" for n in both)] for name, *both in done["skills"] if both[0] != both[1]
        ]
        assert self.root.evaluate(ROWS) == counts + changed
        assert self.root.locator("[data-result] h4").text_content() == done["caption"]
        assert f"“{done['answer']}”: {done['p'][0][0]} before, {done['p'][0][1]} after" in self.said("edit-said")


@pytest.fixture
def saved(open_saved):
    def save_and_open(widget=None, **how):
        widget = widget or FactTracer()
        return Page(open_saved(widget, **how), widget)

    return save_and_open


# Without a kernel ---------------------------------------------------------------------------------------------------


def test_the_first_view(saved):
    page = saved()
    page.check()
    page.check_units()
    assert page.said("claim") == "“The capital of France is” → “Paris” 0.891; with noise on “France” <0.001."
    assert page.root.get_by_label("prompt", exact=True).is_disabled()
    assert page.root.locator("[data-result]").is_hidden()


def test_the_keyboard_moves_the_cell_and_the_unit(saved):
    page = saved()
    page.root.focus()
    page.press("ArrowRight", "ArrowRight")
    page.check(layer=3)
    page.check_units()
    page.press("]", "]", "[")
    page.check(unit=1)
    page.check_units()
    page.press(*["]"] * 9)
    page.widget.unit = 5
    page.check_units()
    page.press("k")
    page.check(kind="attention.out")
    page.press("k", "ArrowLeft")
    page.check(kind="ffn.out", layer=2)
    page.press("ArrowUp", "k", *["ArrowLeft"] * 9)
    page.check(token=4, kind="residual", layer=0)
    assert page.root.get_by_text("These units were not recorded.").is_visible()
    page.press(*["ArrowUp"] * 9, *["ArrowRight"] * 9)
    page.check(token=0, layer=5)
    page.press("ArrowDown")
    page.check(token=1)


def test_the_pointer_chooses_a_cell_a_unit_and_what_is_restored(saved):
    page = saved()
    page.root.locator("[data-cell='4,5']").click()
    page.check(layer=4, token=5)
    page.check_units()
    page.root.locator("[data-unit='3']").click()
    page.check(unit=3)
    page.check_units()
    page.root.get_by_label("what is restored").select_option("attention.out")
    page.check(kind="attention.out")
    page.root.locator("[data-cell='0,2']").click()
    page.check(layer=0, token=2)


def test_colors_say_what_the_numbers_say(saved):
    page = saved()
    for text, red, _, blue, *alpha in page.root.evaluate(GROUNDS):
        share = int(text.replace("−", "-"))
        if share:
            assert (red > blue) == (share < 0), text
        assert alpha[0] == pytest.approx(0.65 * min(1, abs(share) / 100) ** 0.7, abs=0.01)


def test_examples_corruptions_and_the_edit_are_recorded(saved):
    page = saved()
    recorded = page.widget.recorded
    spoil = page.root.get_by_label("what spoils the second run")
    for corruption in ("exchange", "control", "noise"):
        spoil.select_option(corruption)
        page.check(corruption=corruption)
        assert page.widget.trace == recorded["traces"][f"{EXAMPLES[0]}|{corruption}"]
    page.root.focus()
    page.press("e")
    done, later = recorded["edits"]
    page.check_verdict(done)
    page.root.get_by_label("new answer").select_option(later["answer"])
    assert page.said("where") == f"Recorded edit in {later['where']}: “Paris” →" and later["where"] != done["where"]
    page.check_verdict(done)  # until the button is pressed
    page.root.locator("[data-edit]").click()
    page.check_verdict(later)
    assert "The model is as it was." in page.said("edit-said")
    for text in EXAMPLES[1:]:
        page.root.get_by_label("example", exact=True).select_option(text)
        page.check(text=text)
        page.check_units()
        assert page.root.locator("[data-result]").is_hidden() and page.root.locator("[data-edit]").is_disabled()
        disabled = spoil.locator("option:disabled").evaluate_all("all => all.map(one => one.value)")
        assert disabled == ["exchange", "control"]
    page.root.get_by_label("example", exact=True).select_option(EXAMPLES[0])
    page.check(text=EXAMPLES[0])
    page.check_verdict(later)


def test_every_step_answers_at_once(saved):
    page = saved()
    page.root.focus()
    keys = ["ArrowRight", "k", "]", "ArrowUp", "[", "ArrowLeft", "ArrowDown", "e"] * 5
    assert page.page.evaluate(LATENCY, keys) < 50


def test_the_tables_say_what_python_says(saved):
    page = saved()
    widget = page.widget
    page.root.focus()
    page.press("t")
    assert page.root.evaluate(TABLES) == [vars(table) for table in widget.tables()]
    page.press("k", "ArrowRight", "e")
    widget.kind, widget.layer, widget.verdict = "attention.out", widget.layer + 1, widget.recorded["edits"][0]
    tables = page.root.evaluate(TABLES)
    assert tables == [vars(table) for table in widget.tables()] and len(tables) == 3


def test_a_phone_and_a_projector_show_all(saved):
    for width, scale in ((320, 1.0), (390, 1.0), (390, 1.5), (1280, 1.5)):
        page = saved(FactTracer(scale=scale), width=width)
        page.root.focus()
        page.press("e")
        assert page.root.locator("[data-result] table").first.is_visible()
        assert page.page.evaluate(BESIDE) <= 0
        assert page.root.evaluate(SMALL) == []
        beside = "root => [...root.querySelectorAll('.llmlab-scroll')].map(one => one.scrollWidth - one.clientWidth)"
        assert scale == 1.5 or max(page.root.evaluate(beside)) <= 0 or width == 320


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axes_rules_hold(saved, theme):
    page = saved(theme=theme, width=700)
    page.root.focus()
    page.press("k", "e")
    page.check(kind="attention.out")
    assert page.root.locator("[data-result]").is_visible()
    assert faults(page.page) == []


# With a kernel ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def notebook(lab, open_shared_notebook):
    said = "print(tracer.text, tracer.layer, tracer.token, tracer.kind, tracer.trace['first'])"
    cells = CODE, said, "print(tracer.verdict.get('answer'), tracer.busy)"
    return open_shared_notebook(lab.write("fact_tracer.ipynb", *cells))


@pytest.fixture
def live(notebook):
    notebook.run_afresh()
    notebook.page.locator(".llmlab-root [data-cell]").first.wait_for()
    page = Page(notebook, FactTracer())
    page.root.focus()
    yield page
    assert notebook.cell_errors() == [] and notebook.console_errors == [] and notebook.requests_outside == []


def test_a_typed_fact_is_traced_and_what_is_wrong_is_said(live, notebook):
    live.check()
    field = live.root.get_by_label("prompt", exact=True)
    field.fill("The capital of Spain is")
    live.press("Enter")
    live.opened.until(lambda: live.said("claim").startswith("“The capital of Spain is” → “Madrid”"), True)
    live.check(text="The capital of Spain is")
    live.root.locator("[data-unit]").first.wait_for()
    live.check_units()
    field.fill("The capital of <b>Atlantis is")
    live.press("Enter")
    live.root.get_by_text(re.compile("the model has read no text with .*“Atlantis”")).wait_for()
    live.check()
    live.root.focus()
    live.press("ArrowRight", "ArrowUp", "k")
    widget = live.widget
    live.check(layer=widget.layer + 1, token=widget.token - 1, kind="attention.out")
    live.root.locator("[data-unit]").first.wait_for()
    live.check_units()
    spoil = live.root.get_by_label("what spoils the second run")
    spoil.select_option("exchange")
    live.root.get_by_label("the other subject").wait_for()
    live.opened.until(lambda: "in its place" in live.said("claim"), True)
    live.check(corruption="exchange")
    live.root.get_by_label("the other subject").select_option("Italy")
    live.opened.until(lambda: "“Italy” in its place" in live.said("claim"), True)
    live.check(other="Italy")
    expected = f"The capital of <b>Atlantis is {widget.layer} {widget.token} attention.out Madrid"
    live.opened.until(lambda: notebook.said(1).strip().endswith(expected), True)


def test_an_edit_runs_while_other_messages_are_heard(live, notebook):
    """The button is off and the progress said; cells of the grid are chosen meanwhile; then the counts stand there."""
    button, word = live.root.locator("[data-edit]"), live.root.get_by_label("or another word")
    live.root.locator("[data-cell='2,5']").click()
    live.root.locator("[data-unit]").first.wait_for()
    word.fill("Ashford")
    word.press("Enter")
    live.root.focus()
    assert button.is_enabled()
    button.click()
    live.root.locator("[data-progress]", has_text=re.compile(r"asking the model as it is: [\d,]+ of")).wait_for()
    assert button.is_disabled()
    assert notebook.said(2) == "None True"  # the kernel answers a cell in the meantime
    live.root.focus()
    live.press("k")
    assert live.root.get_by_label("what is restored").input_value() == "attention.out"
    live.opened.until(lambda: live.root.locator("[data-result] h4").count(), 1, 300)
    live.opened.until(button.is_enabled, True)
    live.widget.layer, live.widget.kind = 2, "residual"
    live.check_verdict(live.widget.edit("Ashford"))
    assert notebook.said(2) == "Ashford False"
    assert live.said("progress") == ""


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_first_view_fits_beside_the_sidebar(live, notebook, theme):
    notebook.set_theme(theme)
    folder = os.environ.get("LLMLAB_SCREENSHOTS")
    for number, text in enumerate([EXAMPLES[0], EXAMPLES[3]]):
        live.root.get_by_label("example", exact=True).select_option(text)
        live.opened.until(lambda text=text: live.said("claim").startswith(f"“{text}”"), True)
        live.root.locator("[data-unit]").first.wait_for()
        live.opened.until(lambda: live.said("progress"), "")
        assert first_view(live, ".llmlab-fact-first") == []
        if folder:
            live.root.screenshot(path=Path(folder) / f"fact-{theme}-{number}.png")
