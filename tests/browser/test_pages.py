"""Pages that tests hand on: each finds its page as if it were new, and sees what goes wrong in its own document."""

import pytest

pytestmark = pytest.mark.browser
DOCUMENT = """<!DOCTYPE html><title>A page</title><div style="height: 3000px"><input><button>B</button></div>
<script>setTimeout(() => { console.error(location.hash || "planted"); fetch("http://example.com/x"); }, 20);</script>"""
STATE = """() => [innerWidth, innerHeight, scrollY, document.querySelectorAll(':hover').length,
    document.activeElement.tagName, document.querySelector('input').value,
    ...['(prefers-color-scheme: dark)', '(prefers-reduced-motion: reduce)', '(forced-colors: active)', 'print'].map(
        query => matchMedia(query).matches)]"""
AS_NEW = [1100, 900, 0, 0, "BODY", "", False, False, False, False]
USED = []


@pytest.mark.parametrize("number", range(3))
def test_a_page_that_another_test_has_left_is_as_new(tmp_path, open_page, number):
    path = tmp_path / "page.html"
    path.write_text(DOCUMENT, encoding="utf-8")
    opened = open_page(path)
    assert opened.page.evaluate(STATE) == AS_NEW
    opened.until(lambda: len(opened.requests_outside), 1)
    opened.until(lambda: [error.startswith("planted") for error in opened.console_errors][:1], [True])
    assert sum(error.startswith("planted") for error in opened.console_errors) == 1
    assert open_page(path, theme="dark").page is not opened.page  # each document of a test has a page of its own
    USED.append(opened.page)
    assert number != 2 or len(set(USED)) < 3
    page = opened.page
    page.emulate_media(media="print", color_scheme="dark", reduced_motion="reduce", forced_colors="active")
    page.set_viewport_size({"width": 500, "height": 400})
    page.locator("input").fill("text")
    page.mouse.move(200, 200)
    page.mouse.wheel(0, 300)
    opened.until(lambda: page.evaluate("() => scrollY > 0"), True)
    assert all(a != b for a, b in zip(page.evaluate(STATE), AS_NEW, strict=True))
