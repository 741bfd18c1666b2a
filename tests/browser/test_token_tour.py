"""The token tour in a real JupyterLab, driven by keyboard and pointer; its numbers are compared with torch."""

import pytest
import torch
from models import label

from llmlab import load_model, trace

pytestmark = pytest.mark.browser
MODEL, TOKENIZER = load_model()
CODE = """from llmlab import load_model
from llmlab.widgets.welcome import TokenTour
tour = TokenTour(*load_model(), "The cat was tired")
tour"""
COLD = "tour.temperature = 0.7"


class Tour:
    """The widget as a reader sees it: what stands on the page, and what the model says it should be."""

    def __init__(self, page):
        self.page, self.root = page, page.locator(".llmlab-root")

    def ids(self):
        return [int(text) for text in self.root.locator("[data-token] small").all_text_contents()]

    def chosen(self):
        return int(self.root.locator("[data-token].llmlab-chosen").get_attribute("data-token"))

    def layer(self):
        return int(self.root.locator("table").get_attribute("data-layer"))

    def check(self):
        """Compares every number on the page with a forward pass."""
        position, layer = self.chosen(), self.layer()
        with torch.inference_mode(), trace.record(MODEL) as seen:
            probabilities = MODEL(torch.tensor([self.ids()]))[0, position].softmax(-1)  # (V,)
        best = probabilities.topk(8)
        grid = self.root.locator("[data-next] .llmlab-choices > span").all_text_contents()
        shown = [float(text.split()[0]) for text in grid[2::3]]
        assert shown == pytest.approx(best.values.tolist(), abs=6e-4)
        assert grid[1::3] == [label(TOKENIZER, token) for token in best.indices.tolist()]
        for head, row in enumerate(self.root.locator("tbody tr").all()):
            weights = seen[f"blocks.{layer}.attention.weights"][0, head, position, : position + 1]
            cells = [float(text or 0) for text in row.locator("td").all_text_contents()]
            assert cells == pytest.approx(weights.tolist(), abs=6e-3)

    def wait_for_tokens(self, count):
        self.page.wait_for_function(f"() => document.querySelectorAll('[data-token]').length === {count}")


@pytest.fixture(scope="module")
def notebook(lab, open_shared_notebook):
    return open_shared_notebook(lab.write("tour.ipynb", CODE, COLD))


@pytest.fixture
def tour(notebook):
    notebook.run_afresh()
    notebook.page.wait_for_selector(".llmlab-root [data-next]")
    tour = Tour(notebook.page)
    tour.notebook = notebook
    yield tour
    assert notebook.cell_errors() == [] and notebook.console_errors == [] and notebook.requests_outside == []


def test_the_keyboard_moves_the_tour_and_nothing_else(tour):
    tour.check()
    count, n_cells = len(tour.ids()), len(tour.notebook.cells())
    tour.root.focus()
    press = tour.page.keyboard.press
    press("ArrowLeft")
    press("ArrowLeft")
    press("ArrowDown")
    assert (tour.chosen(), tour.layer()) == (count - 3, 1)
    tour.check()
    press("Home")
    press("ArrowLeft")  # already at the first
    assert tour.chosen() == 0
    press("End")
    press(" ")
    tour.wait_for_tokens(count + 1)
    assert tour.chosen() == count
    tour.check()
    press("Backspace")
    tour.wait_for_tokens(count)
    press("b")  # JupyterLab would add a cell
    press("ArrowUp")
    assert tour.layer() == 0 and len(tour.notebook.cells()) == n_cells
    assert tour.page.evaluate("() => document.activeElement.className") == "llmlab-root"


def test_the_pointer_and_a_typed_prompt_reach_the_model(tour):
    tour.root.locator("[data-token='1']").click()
    tour.root.get_by_role("button", name="after layer 4").click()
    assert (tour.chosen(), tour.layer()) == (1, 3)
    tour.check()
    field = tour.root.get_by_label("prompt")
    field.fill("4 + 3 =")
    field.press("Enter")
    expected = [TOKENIZER.special_tokens["<s>"], *TOKENIZER.encode("4 + 3 =")]
    tour.wait_for_tokens(len(expected))
    assert tour.ids() == expected
    tour.check()
    tour.root.get_by_role("button", name="Append the next token").click()
    tour.wait_for_tokens(len(expected) + 1)
    tour.root.get_by_role("button", name="Take it back").click()
    tour.wait_for_tokens(len(expected))
    hostile = "<img src=x onerror=alert(1)> <b>bold</b>"
    field.fill(hostile)
    field.press("Enter")
    tour.wait_for_tokens(1 + len(TOKENIZER.encode(hostile)))
    assert tour.root.locator("b, img").count() == 0
    field.fill("cat " * 100)
    field.press("Enter")
    tour.root.get_by_text("the tour shows at most 64").wait_for()


def test_a_temperature_that_python_sets_shows_in_the_list(tour):
    chosen = tour.root.get_by_label("temperature")
    shown = "node => [node.selectedOptions[0].textContent, ...[...node.options].map(option => Number(option.value))]"
    assert chosen.evaluate(shown) == ["temperature 0", 0, 0.5, 1, 1.5]
    tour.notebook.run(1)
    tour.notebook.until(lambda: chosen.evaluate(shown), ["temperature 0.7", 0, 0.5, 0.7, 1, 1.5])
    chosen.select_option("1")
    assert chosen.evaluate(shown) == ["temperature 1", 0, 0.5, 1, 1.5]


def test_escape_in_the_prompt_leaves_it_as_it_was(tour):
    field, ids = tour.root.get_by_label("prompt"), tour.ids()
    field.fill("another text")
    field.press("Escape")
    assert field.input_value() == "The cat was tired" and tour.ids() == ids
    assert tour.page.evaluate("() => document.activeElement.className") == "llmlab-root"


def test_the_tour_is_drawn_in_both_themes_and_scales(tour):
    sizes = []
    for theme in ("light", "dark"):
        tour.notebook.set_theme(theme)
        color, ground = (
            tour.root.evaluate(f"node => getComputedStyle(node).{name}") for name in ("color", "backgroundColor")
        )
        light = [
            sum(int(part) for part in value[value.index("(") + 1 : -1].split(",")[:3]) for value in (color, ground)
        ]
        assert abs(light[0] - light[1]) > 300  # readable: text and ground are far apart
        tour.notebook.screenshots(f"tour-{theme}")
        sizes.append(tour.root.locator(".llmlab-hint").evaluate("node => getComputedStyle(node).fontSize"))
    assert sizes == ["12px", "12px"]
