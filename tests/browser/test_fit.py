"""Every widget at the sizes of readers: alone in a projector's window, in a saved page, on a phone; and axe's rules."""

import re

import pytest
from axe_playwright_python.sync_playwright import Axe
from painting import PAINTED
from playwright.sync_api import expect

from llmlab.widgets import gallery

pytestmark = pytest.mark.browser
EXAMPLES = gallery.examples()
# What of the first view lies outside of the window, or is not there.
OUTSIDE = """root => {
    const parts = [...root.querySelectorAll(root.dataset.first)].filter((part) => part.getClientRects().length);
    const missed = parts.filter((part) => {
        const box = part.getBoundingClientRect();
        return box.top < -1 || box.left < -1 || box.right > innerWidth + 1 || box.bottom > innerHeight + 1;
    });
    return parts.length ? missed.map((part) => part.outerHTML.slice(0, 80)) : ["nothing"];
}"""
BESIDE = "() => document.documentElement.scrollWidth - innerWidth"


@pytest.fixture(params=EXAMPLES)
def saved(request, tmp_path, open_page):
    """Opens a saved page of one kind of widget, at a scale and in a window; returns the page and the widget's root."""
    opened = []

    def save_and_open(scale, width, height):
        widget = EXAMPLES[request.param]()
        widget.scale = scale
        one = open_page(widget.save_html(tmp_path / "page.html"))
        opened.append(one)
        one.page.set_viewport_size({"width": width, "height": height})
        root = one.page.locator(".llmlab-root")
        root.wait_for()
        return one.painted().page, root

    yield save_and_open
    for one in opened:
        assert one.console_errors == [] and one.requests_outside == []


@pytest.mark.parametrize(("width", "height"), [(1280, 720), (1920, 1080)])
def test_alone_in_the_window_controls_and_picture_are_seen_together(saved, width, height):
    page, root = saved(1.5, width, height)
    root.focus()
    before = root.bounding_box()
    page.keyboard.press("f")
    expect(page.locator("dialog.llmlab-window")).to_be_visible()
    assert root.evaluate(OUTSIDE) == []
    box = root.bounding_box()
    assert box["width"] == width and box["height"] >= height and (box["x"], box["y"]) == (0, 0)
    scale = float(root.evaluate("node => node.style.getPropertyValue('--llmlab-scale')"))
    assert scale >= 1.05 and root.evaluate("node => node === document.activeElement")
    page.set_viewport_size({"width": width, "height": height - 120})
    page.evaluate(PAINTED)
    assert root.evaluate(OUTSIDE) == []
    page.set_viewport_size({"width": width, "height": height})
    page.evaluate(PAINTED)
    page.keyboard.press("Escape")
    expect(page.locator("dialog")).to_have_count(0)
    assert root.bounding_box() == before and root.evaluate("node => node === document.activeElement")


def test_the_button_does_what_the_key_does(saved):
    page, root = saved(1.0, 1280, 720)
    button = root.locator("[data-focus]")
    button.click()
    expect(button).to_have_attribute("aria-pressed", "true")
    assert root.evaluate("node => node.parentElement.matches('dialog:modal')")
    assert button.evaluate("node => node === document.activeElement")
    button.click()
    expect(button).to_have_attribute("aria-pressed", "false")
    expect(page.locator("dialog")).to_have_count(0)
    button.click()
    page.keyboard.press("Escape")
    expect(page.locator("dialog")).to_have_count(0)


@pytest.mark.parametrize("scale", [1.0, 1.5])
def test_a_phone_shows_all_without_scrolling_to_the_side(saved, scale):
    page, root = saved(scale, 390, 800)
    page.wait_for_function(f"() => ({BESIDE})() <= 0")  # a frame or more after the window was made narrower
    assert root.bounding_box()["width"] <= 390


def test_a_saved_page_has_the_room_that_there_is(saved):
    _, root = saved(2.0, 1900, 1000)
    assert root.bounding_box()["width"] == 1900 - 48  # what the page leaves free on both sides


KEYS = r"[←→↑↓]|\b(Space|Backspace|Enter|Escape|Shift|[Kk]ey [a-z]|[Ll]etter|Click)\b|\b[a-z]:|\([a-z]\)|\? help"


def test_where_there_are_no_keys_the_hint_names_none(saved, browser):
    """The control is the same page with a keyboard and a pointer: there each hint names some, or a click."""
    page, root = saved(1.0, 390, 800)
    assert re.search(KEYS, root.locator(".llmlab-hint").inner_text())
    context = browser.new_context(has_touch=True, is_mobile=True, viewport={"width": 390, "height": 800})
    try:
        phone = context.new_page()
        phone.goto(page.url)
        hint = phone.locator(".llmlab-hint").inner_text()
        assert hint and not re.search(KEYS, hint)
    finally:
        context.close()


# The elements whose background says something, and what it is.
GROUNDS = """root => [...root.querySelectorAll('.llmlab-cell[style], .llmlab-bar, .llmlab-track > *, .llmlab-strip, ' +
    '.llmlab-heads-swatch i, .llmlab-attn-swatch')].filter((node) => node.getClientRects().length)
    .map((node) => [getComputedStyle(node).backgroundColor, getComputedStyle(node).printColorAdjust])"""


def test_bars_and_weights_keep_their_grounds_where_the_system_chooses_colors_and_on_paper(saved):
    page, root = saved(1.0, 1000, 800)
    usual = root.evaluate(GROUNDS)
    assert all(printed == "exact" for _, printed in usual)
    page.emulate_media(forced_colors="active")
    page_ground = root.evaluate("node => getComputedStyle(node).backgroundColor")
    seen = [ground != "rgba(0, 0, 0, 0)" for ground, _ in usual]
    forced = [ground not in ("rgba(0, 0, 0, 0)", page_ground) for ground, _ in root.evaluate(GROUNDS)]
    assert forced == seen


# A widget's headings follow those of a notebook's section, of the third level; in a saved page its title stands before.
APART = {"heading-order": {"enabled": False}}


def faults(page):
    """What axe finds in a page: each rule that is broken, with the beginnings of the elements that break it."""
    found = Axe().run(page, options={"rules": APART, "resultTypes": ["violations"]}).response  # others are but counted
    assert len(found["passes"]) > 20  # it has looked at something
    return [(fault["id"], [node["html"][:120] for node in fault["nodes"]]) for fault in found["violations"]]


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("name", EXAMPLES)
def test_axe_finds_nothing_that_shuts_a_reader_out(name, theme, tmp_path, open_page):
    page = open_page(EXAMPLES[name]().save_html(tmp_path / "page.html"), theme=theme).page
    page.locator(".llmlab-root").focus()
    for _ in ("picture", "table"):
        page.evaluate("() => document.querySelectorAll('details').forEach((part) => (part.open = true))")
        assert faults(page) == []
        page.keyboard.press("t")


def test_axe_would_find_it(tmp_path, open_page):
    """The control: the same page after its names and its colors are taken away."""
    page = open_page(EXAMPLES["CostCalculator"]().save_html(tmp_path / "page.html")).page
    page.locator(".llmlab-root").wait_for()
    page.evaluate(
        "() => document.querySelectorAll('.llmlab-root *').forEach((node) => {"
        " ['aria-label', 'aria-labelledby', 'title', 'for'].forEach((name) => node.removeAttribute(name));"
        " node.style.color = 'lightgrey'; })"
    )
    assert {rule for rule, _ in faults(page)} >= {"label", "color-contrast"}


WIDE = """() => [...document.querySelectorAll('.llmlab-scroll')]
    .filter((part) => part.scrollWidth > part.clientWidth).length"""


def test_what_is_wider_than_a_phone_is_reached_and_moved_by_keys(saved):
    page, root = saved(1.0, 390, 800)
    root.focus()
    page.keyboard.press("t")
    page.evaluate(PAINTED)
    assert [fault for fault in faults(page) if fault[0] == "scrollable-region-focusable"] == []
    wide = page.locator(".llmlab-tables .llmlab-scroll[tabindex]")
    if page.evaluate(WIDE) == 0 or wide.count() == 0:
        return
    part = wide.first
    assert part.get_attribute("role") == "region" and part.get_attribute("aria-label")
    part.focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_function("() => document.activeElement.scrollLeft > 0")
    page.set_viewport_size({"width": 1900, "height": 800})
    page.wait_for_function(f"() => ({WIDE})() === 0")
    expect(wide).to_have_count(0)


def test_a_wide_table_keeps_the_focus_when_its_numbers_change(tmp_path, open_page):
    one = open_page(EXAMPLES["BitSlider"]().save_html(tmp_path / "page.html"))
    one.page.set_viewport_size({"width": 390, "height": 800})
    root = one.page.locator(".llmlab-root")
    root.focus()
    one.page.keyboard.press("t")
    wide = one.page.locator(".llmlab-tables .llmlab-scroll[tabindex]").first
    wide.focus()
    before = wide.evaluate("part => (part.dataset.old = 'yes', part.scrollLeft)")
    one.page.keyboard.press("ArrowRight")
    one.page.wait_for_function(f"() => document.activeElement.scrollLeft > {before}")
    one.page.keyboard.press("g")  # the widget's own keys still work
    one.page.wait_for_function("() => !document.querySelector('[data-old]')")
    assert one.page.evaluate("() => document.activeElement.matches('.llmlab-tables .llmlab-scroll')")
    assert one.console_errors == []
