"""A saved page in a real browser: no kernel, no network, and the widget still answers with the model's numbers."""

import pytest
from test_token_tour import MODEL, TOKENIZER, Tour

from llmlab.widgets.welcome import TokenTour

pytestmark = pytest.mark.browser
PROMPT = "The cat </script><b> was tired"


@pytest.fixture
def saved(tmp_path, open_page):
    """Saves a widget's page and opens it; afterwards the page must have asked for nothing and complained of nothing."""
    opened = []

    def save_and_open(widget, **how):
        page = open_page(widget.save_html(tmp_path / "page.html"), **how)
        opened.append(page)
        page.page.wait_for_selector(".llmlab-root [data-next]", state="attached")
        return Tour(page.page)

    yield save_and_open
    for page in opened:
        assert page.console_errors == [] and page.requests_outside == []


def test_the_keyboard_still_moves_a_saved_tour(saved):
    widget = TokenTour(MODEL, TOKENIZER, PROMPT)
    tour, count = saved(widget), len(widget.ids)
    assert tour.ids() == widget.ids and tour.root.locator("b").count() == 0
    tour.check()
    tour.page.keyboard.press("Tab")  # from the page to the widget, as a reader without a pointer would
    press = tour.page.keyboard.press
    press("ArrowLeft")
    press("ArrowLeft")
    press("ArrowDown")
    assert (tour.chosen(), tour.layer()) == (count - 3, 1)
    tour.check()
    press("Home")
    press("ArrowUp")
    assert (tour.chosen(), tour.layer()) == (0, 0)
    tour.check()
    press("End")
    press(" ")  # would append a token
    press("Backspace")
    assert tour.chosen() == count - 1 and tour.ids() == widget.ids
    outline = tour.root.evaluate("node => getComputedStyle(node).outlineStyle + getComputedStyle(node).outlineWidth")
    assert outline == "solid2px"


def test_the_pointer_still_chooses_and_what_needs_the_model_is_off(saved):
    tour = saved(TokenTour(MODEL, TOKENIZER, PROMPT))
    tour.root.locator("[data-token='1']").click()
    tour.root.get_by_role("button", name="after layer 4").click()
    assert (tour.chosen(), tour.layer()) == (1, 3)
    tour.check()
    assert tour.root.get_by_label("prompt").input_value() == PROMPT
    for control in ("Append the next token", "Take it back"):
        assert tour.root.get_by_role("button", name=control).is_disabled()
    assert tour.root.get_by_label("prompt").is_disabled() and tour.root.get_by_label("temperature").is_disabled()
    assert tour.root.get_by_text("needs the model in a notebook").is_visible()
    assert tour.page.get_by_text("A recording: the widget as it was saved").is_visible()


TABLES = """root => [...root.querySelectorAll(".llmlab-tables section")].map(part => ({
    caption: part.querySelector("h4").textContent,
    columns: [...part.querySelectorAll("thead th")].map(cell => cell.textContent),
    rows: [...part.querySelectorAll("tbody tr")].map(row => [...row.children].map(cell => cell.textContent)),
}))"""


def test_the_table_view_says_what_python_says(saved):
    widget = TokenTour(MODEL, TOKENIZER, PROMPT)
    widget.n_new = 2
    tour = saved(widget)
    tour.root.focus()
    press = tour.page.keyboard.press
    press("t")
    assert not tour.root.locator("[data-token]").first.is_visible()
    assert tour.root.get_by_role("button", name="Table").get_attribute("aria-pressed") == "true"
    assert tour.root.evaluate(TABLES) == [vars(table) for table in widget.tables()]
    press("Home")
    press("ArrowDown")
    widget.position, widget.layer = 0, 1
    assert tour.root.evaluate(TABLES) == [vars(table) for table in widget.tables()]
    tour.root.get_by_role("button", name="Table").click()
    assert tour.root.locator("[data-token]").first.is_visible() and tour.root.evaluate(TABLES) == []
    tour.check()


@pytest.mark.parametrize(
    ("theme", "scale", "view"), [("light", 1.0, "picture"), ("dark", 2.0, "picture"), ("dark", 1.0, "table")]
)
def test_a_saved_page_is_readable_in_both_themes_and_overflows_nowhere(saved, theme, scale, view):
    widget = TokenTour(MODEL, TOKENIZER, PROMPT, scale=scale, view=view)
    tour = saved(widget, theme=theme, width=700)
    color, ground = (
        tour.root.evaluate(f"node => getComputedStyle(node).{name}.match(/\\d+/g).slice(0, 3).map(Number)")
        for name in ("color", "backgroundColor")
    )
    assert (sum(color) < 150 and sum(ground) > 600) if theme == "light" else (sum(color) > 600 and sum(ground) < 150)
    assert tour.root.evaluate("node => getComputedStyle(node).fontSize") == f"{14 * scale:g}px"
    assert tour.page.evaluate("() => document.documentElement.scrollWidth") <= 700
    sides = (
        "node => [...node.querySelectorAll('.llmlab-root, .llmlab-root > *')].map(n => n.scrollWidth - n.clientWidth)"
    )
    assert max(tour.page.locator("body").evaluate(sides)) <= 0
