"""How a widget looks does not depend on which others are on the page, nor on their order."""

import pytest
from painting import PAINTED

from llmlab.widgets import export, gallery

pytestmark = pytest.mark.browser

# Of every element of the first widget, the properties that a rule of ours sets somewhere.
LOOK = """names => {
    document.getAnimations().forEach(animation => animation.finish());
    const root = document.querySelector('.llmlab-root');
    root.querySelectorAll('details').forEach(part => (part.open = true));
    return [root, ...root.querySelectorAll('*')].map(node => {
        const style = getComputedStyle(node), own = typeof node.className === 'string' ? node.className : '';
        return [`${node.tagName}.${own}`, ...names.map(name => `${name}: ${style.getPropertyValue(name)}`)];
    });
}"""
PROPERTIES = ["max-width", "min-width", "width", "min-height", "height", "padding", "margin", "border", "border-radius"]
PROPERTIES += ["background-color", "color", "font", "text-align", "display", "gap", "white-space", "opacity", "cursor"]


@pytest.fixture(scope="module")
def widgets():
    return {name: make() for name, make in gallery.examples().items()}


def look(widget, others, order, page, shown):
    """The look of a widget on a page whose style sheets are those of all these, in that order."""
    html = export.page("One", "<style>body { max-width: none; }</style>" + export.place(0), [widget])
    sheets = [str(one._css) for one in order(widget, others)]
    assert html.count(str(widget._css)) == 1
    page.write_text(html.replace(str(widget._css), "\n".join(sheets)), encoding="utf-8")
    shown.goto("about:blank")
    shown.goto(page.as_uri())
    shown.wait_for_selector(".llmlab-root")
    shown.evaluate(PAINTED)
    return shown.evaluate(LOOK, PROPERTIES)


ORDERS = {"before": lambda widget, others: [widget, *others], "after": lambda widget, others: [*others, widget]}


def test_no_other_widget_changes_the_look(widgets, tmp_path, open_page):
    assert len({str(widget._css) for widget in widgets.values()}) > 5
    page = tmp_path / "page.html"
    page.touch()
    shown = open_page(page, width=1900).page
    for name, widget in widgets.items():
        others = [other for key, other in widgets.items() if key != name]
        alone = look(widget, [], ORDERS["before"], page, shown)
        for kind, order in ORDERS.items():
            found = look(widget, others, order, page, shown)
            changed = {str(a[0]): set(a) ^ set(b) for a, b in zip(alone, found, strict=True) if a != b}
            assert changed == {}, f"{name}, shown {kind} all others"


# The least contrast (WCAG 2) of the texts in the cells of tables with their ground, which may be translucent.
CONTRAST = """() => {
    const numbers = color => color.match(/[\\d.]+/g).map(Number);
    const over = ([r, g, b, a = 1], ground) => [r, g, b].map((value, at) => value * a + ground[at] * (1 - a));
    const light = color => color.map(value => value / 255)
        .map(value => value <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4)
        .reduce((sum, value, at) => sum + value * [0.2126, 0.7152, 0.0722][at], 0.05);
    const ground = numbers(getComputedStyle(document.querySelector('.llmlab-root')).backgroundColor);
    return Math.min(...[...document.querySelectorAll('.llmlab-root td')].filter(cell => cell.textContent).map(cell => {
        const style = getComputedStyle(cell), back = over(numbers(style.backgroundColor), ground);
        const pair = [light(over(numbers(style.color), back)), light(back)].sort((a, b) => a - b);
        return pair[1] / pair[0];
    }));
}"""


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_weights_of_the_token_tour_can_be_read(theme, widgets, tmp_path, open_page):
    tour = widgets["TokenTour"]
    tour.position = 0  # a token that looks at itself alone, with weight 1
    shown = open_page(tour.save_html(tmp_path / "tour.html"), theme=theme)
    shown.page.wait_for_selector(".llmlab-root td")
    assert shown.page.evaluate(CONTRAST) >= 4.5
