"""Exported notebooks: pages and slides that hold all they need, walked through in a browser without a network."""

import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output, writes

from llmlab import notebooks

pytestmark = pytest.mark.browser
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
TYPESET = "() => window.MathJax.startup.promise.then(() => document.querySelectorAll('mjx-container svg').length)"
SIZES = ((1280, 720), (1920, 1080), (800, 600))

# Of the slide that shows: its number, the lowest edge of it, and whether it is wider than itself.
SHOWN = """() => {
    const slide = Reveal.getCurrentSlide(), box = slide.getBoundingClientRect();
    return [Reveal.getSlidePastCount(), box.top, box.bottom, slide.scrollWidth > slide.clientWidth];
}"""
STATE = """() => JSON.stringify([Reveal.getIndices(), Reveal.getCurrentSlide().scrollTop])"""
# The marks inside the window and not hidden as a fragment.
SEEN = """() => [...document.querySelectorAll('[data-mark]')].filter(node => {
    const { top, bottom } = node.getBoundingClientRect();
    const shows = node.checkVisibility({ visibilityProperty: true, opacityProperty: true });
    return shows && top >= 0 && bottom <= innerHeight && bottom > 0 && Reveal.getCurrentSlide().contains(node);
}).map(node => node.dataset.mark)"""


def marked(name, n_lines):
    """A text of so many lines with a mark at its beginning and its end."""
    lines = [f"{name}, line {number}, where $x_{{{number}}}$ stands  " for number in range(n_lines)]
    return "\n".join([f'<b data-mark="{name}, begin">begin</b>  ', *lines, f'<b data-mark="{name}, end">end</b>'])


def slide(cell, kind):
    cell.metadata["slideshow"] = {"slide_type": kind}
    return cell


@pytest.fixture(scope="module")
def notebook(tmp_path_factory):
    """Slides that are shorter and taller than a screen, in one piece and in several."""
    figure = new_output("execute_result", {"text/html": f'<img alt="a dot" src="data:image/png;base64,{PIXEL}">'})
    cells = [
        slide(
            new_markdown_cell("# Title\n\n$$e^x = \\sum_k \\frac{x^k}{k!}$$\n\nIt costs \\$5, `$not$` a formula."),
            "slide",
        ),
        slide(new_markdown_cell(marked("tall", 60)), "slide"),
        slide(new_markdown_cell(marked("first", 12)), "slide"),
        slide(new_markdown_cell(marked("second", 50)), "fragment"),
        slide(new_code_cell("'x' * 500", execution_count=1, outputs=[figure]), "fragment"),
        slide(new_markdown_cell(marked("third", 12)), "fragment"),
        slide(new_markdown_cell(marked("left out", 3)), "skip"),
        slide(new_markdown_cell("# End"), "slide"),
    ]
    path = tmp_path_factory.mktemp("exported") / "slides.ipynb"
    path.write_text(writes(new_notebook(cells=cells)), encoding="utf-8")
    return path


def exported(path, *options):
    assert notebooks.main(["export", "--to", str(path.parent), *options, str(path)]) == 0
    return path.with_suffix(".slides.html" if options else ".html")


def test_a_page_shows_its_formulas_without_a_network(notebook, open_page):
    opened = open_page(exported(notebook))
    assert opened.page.evaluate(TYPESET) == 1 + 60 + 12 + 50 + 12 + 3
    text = opened.page.locator("main").inner_text()
    assert "It costs $5, $not$ a formula." in text and "e^x" not in text and "x_{" not in text
    assert opened.page.get_by_alt_text("a dot").is_visible()
    assert opened.console_errors == [] and opened.requests_outside == []


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
def test_no_slide_is_taller_than_the_screen_and_every_line_of_it_is_reached(notebook, open_page, size):
    opened = open_page(exported(notebook, "--slides"))
    page = opened.page
    page.set_viewport_size({"width": size[0], "height": size[1]})
    page.evaluate("() => Reveal.layout()")  # the window tells it of a new size a moment later
    assert page.evaluate(TYPESET) == 1 + 60 + 12 + 50 + 12
    seen, slides = [], set()
    for _ in range(40):
        number, top, bottom, too_wide = page.evaluate(SHOWN)
        assert top >= 0 and bottom <= size[1] and not too_wide
        slides.add(number)
        seen += [mark for mark in page.evaluate(SEEN) if mark not in seen]
        before = page.evaluate(STATE)
        page.keyboard.press("Space")
        if page.evaluate("() => Reveal.isLastSlide()") and page.evaluate(STATE) == before:
            break
    assert slides == {0, 1, 2, 3}
    assert seen == [f"{name}, {end}" for name in ("tall", "first", "second", "third") for end in ("begin", "end")]
    for _ in range(40):
        page.keyboard.press("ArrowLeft")
    assert page.evaluate("() => Reveal.isFirstSlide()")
    assert opened.console_errors == [] and opened.requests_outside == []


def test_the_slides_of_a_sitting_fit(repo, tmp_path, open_page):
    path = tmp_path / "05a_attention_by_hand.ipynb"
    path.write_bytes((repo / "notebooks" / path.name).read_bytes())
    opened = open_page(exported(path, "--slides"))
    opened.page.set_viewport_size({"width": 1280, "height": 720})
    opened.page.evaluate("() => Reveal.layout()")
    assert opened.page.evaluate(TYPESET) > 20
    numbers = opened.page.evaluate("() => Reveal.getTotalSlides()")
    for number in range(numbers):
        shown, top, bottom, too_wide = opened.page.evaluate(SHOWN)
        assert shown == number and top >= 0 and bottom <= 720 and not too_wide
        opened.page.evaluate("() => Reveal.right()")
        while opened.page.evaluate("() => Reveal.getSlidePastCount()") == number < numbers - 1:
            opened.page.evaluate("() => Reveal.right()")  # past its fragments
    assert opened.console_errors == [] and opened.requests_outside == []
