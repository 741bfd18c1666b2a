"""What a reader sees first of the widgets that no other file opens, in JupyterLab at 1280 × 800 with its sidebar."""

from types import SimpleNamespace

import pytest
from first_view import first_view

from llmlab.widgets.attention import STAGES

pytestmark = pytest.mark.browser
CELLS = (
    "from llmlab.widgets.attention import AttentionStepper\nAttentionStepper()",
    'from llmlab.widgets.costs import CostCalculator\nCostCalculator("Llama-2-7B")',
    "from llmlab import load_model\nfrom llmlab.widgets.welcome import TokenTour\n"
    'TokenTour(*load_model(), "The capital of France is")',
)


@pytest.fixture(scope="module")
def notebook(lab, open_shared_notebook):
    return open_shared_notebook(lab.write("first_views.ipynb", *CELLS))


@pytest.fixture
def shown(notebook):
    """Runs one of the cells; what it returns has the page and the widget's root."""

    def run(index):
        notebook.run_afresh(index)
        root = notebook.page.locator(".llmlab-root").nth(0 if index == 0 else -1)
        root.wait_for()
        return SimpleNamespace(page=notebook.page, root=root)

    yield run
    assert notebook.cell_errors() == [] and notebook.console_errors == [] and notebook.requests_outside == []


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_stage_of_attention_fits(shown, notebook, theme):
    """Controls, x, the matrices of the stage and the one before, the arithmetic, the legend."""
    stepper = shown(0)
    notebook.set_theme(theme)
    stepper.root.focus()
    for number, stage in enumerate(STAGES):
        stepper.page.keyboard.press(str(number + 1))
        assert first_view(stepper, ".llmlab-attn-flow", ".llmlab-attn-legend") == [], stage
        names = stepper.root.locator("[data-name]:visible").evaluate_all("nodes => nodes.map(n => n.dataset.name)")
        shown = ["x", "w_q", "q", "w_k", "k", "w_v", "v", *STAGES[max(2, number - 1) : number + 1]]
        assert names == (shown if number else ["x", "w_q", "w_k", "w_v"])


def test_more_room_shows_every_matrix_that_the_stage_has_reached(shown, notebook):
    stepper = shown(0)
    stepper.root.focus()
    stepper.page.keyboard.press("7")
    notebook.resize(1280, 900)  # without the sidebar
    assert all(stepper.root.locator(f"[data-name={name}]").is_visible() for name in STAGES[2:])
    assert stepper.root.evaluate("node => node.scrollWidth <= node.clientWidth")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_costs_fit(shown, notebook, theme):
    calculator = shown(1)
    notebook.set_theme(theme)
    assert first_view(calculator, ".llmlab-costs-controls", ".llmlab-costs-headline", ".llmlab-costs-picture") == []


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_tour_fits_from_text_to_the_next_token(shown, notebook, theme):
    tour = shown(2)
    notebook.set_theme(theme)
    assert first_view(tour, ".llmlab-stage") == []
    assert tour.root.locator(".llmlab-stage").count() == 5
