"""The rotator in a real browser, by keyboard and pointer: what it shows is what Python says."""

import math
import os
import re
from pathlib import Path

import pytest
from first_view import first_view
from test_embedding_explorer_page import LATENCY, SMALL
from test_fit import BESIDE, faults
from test_saved_page import TABLES

from llmlab.plots import visible
from llmlab.widgets.rope import METHODS, REACH, RoPERotator

pytestmark = pytest.mark.browser
CODE = """from llmlab.widgets.rope import RoPERotator
rotator = RoPERotator()
rotator"""
ADDS = "root => [...root.querySelectorAll('[data-adds]')].map(one => one.querySelector('span').textContent)"
# The ends of the hands of each dial, from its middle: [[x, y of q], [x, y of k]], y upwards.
HANDS = """root => [...root.querySelectorAll("[data-dial]")].map(dial => ["m", "n"].map(name => {
    const [x, y] = dial.querySelector(`.llmlab-rope-hand-${name}`).getAttribute("d").split("L")[1].split(" ");
    return [Number(x) - 28, 28 - Number(y)];
}))"""
WAVES = "root => [...root.querySelectorAll('[data-wave]')].map(one => Number(one.getAttribute('cx')))"


def three(value):
    return f"{value:.3f}".replace("-", "−")


class Rotator:
    """The widget as a reader sees it. `widget` is the same one in Python, which the tests keep in step."""

    def __init__(self, opened, widget):
        self.opened, self.page, self.widget = opened, opened.page, widget
        self.root = self.page.locator(".llmlab-root")
        self.root.locator(".llmlab-rope-curve svg").wait_for()

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
        at = [self.said("at='m'"), self.said("at='n'")]
        assert at == [f"{widget.m:,}", f"{widget.n:,}"]
        assert [self.root.locator(f"[data-slider={name}]").input_value() for name in "mn"] == [
            str(widget.m), str(widget.n),
        ]  # fmt: skip
        names = [f"“{visible(widget.tokens[at])}”" for at in (widget.query, widget.key)]
        claim = self.said("claim")
        assert claim.startswith(
            f"q of {names[0]} · k of {names[1]} / √32 = {three(widget.score)} at distance {widget.m - widget.n}"
        )
        assert claim.endswith(f", weight {three(widget.weight)}.")
        home, trained = widget.query - widget.key, (10_000.0, "none", "half")
        if (widget.theta, widget.scaling, widget.rope_layout) != trained:
            assert f"; the model, as trained, has {three(widget.model_score)}," in claim
        elif widget.m - widget.n != home:
            assert f"; in the sentence, at {home}, it is {three(widget.model_score)}," in claim
        else:
            assert (", as in the model itself, weight" in claim) == (widget.m == widget.query)
            assert ("as in the sentence before both were moved" in claim) == (widget.m != widget.query)
        (within, most), (beyond, later) = widget._peaks()
        peak = self.said("peak")
        assert peak.startswith(f"Within the trained 256 the score is highest at distance {within}: {three(most)}.")
        assert three(later) in peak and str(beyond) in peak and ("it reaches" in peak) == (later > most)
        signs = [("" if each < 0 else "+") + three(each) for each in widget.contributions]
        assert self.root.evaluate(ADDS) == signs
        dot = self.root.locator("[data-dot]")
        assert dot.get_attribute("data-dot") == str(widget.m - widget.n)

    def check_hands(self):
        """Each hand points where torch's rotation would turn it: the angle of the pair plus position times θ."""
        widget = self.widget
        q, k = widget._pairs()
        for j, ends in enumerate(self.root.evaluate(HANDS)):
            for (x, y), pair, at in zip(ends, (q[j], k[j]), (widget.m, widget.n), strict=True):
                expected = math.atan2(pair.imag, pair.real) + at * widget.frequencies[j]
                assert abs((math.atan2(y, x) - expected + math.pi) % (2 * math.pi) - math.pi) < 1e-3, j
                assert 0 < math.hypot(x, y) <= 22.01


@pytest.fixture
def saved(open_saved):
    def save_and_open(widget=None, **how):
        widget = widget or RoPERotator()
        return Rotator(open_saved(widget, **how), widget)

    return save_and_open


# Positions ----------------------------------------------------------------------------------------------------------


def test_the_first_view(saved):
    rotator = saved()
    rotator.check()
    rotator.check_hands()
    assert rotator.said("claim") == (
        "q of “·dog” · k of “·The” / √32 = 5.127 at distance 1, as in the model itself, weight 0.906."
    )
    assert "highest at distance 1: 5.127. Beyond, it reaches 10.230, at 950." in rotator.said("peak")
    assert rotator.root.get_by_label("sentence", exact=True).is_disabled()
    assert rotator.root.locator("[data-back]").is_disabled()


def test_the_keyboard_moves_the_query_and_the_key(saved):
    rotator = saved()
    rotator.root.focus()
    rotator.press("ArrowRight", "ArrowRight", "ArrowDown")
    rotator.check(m=9, n=5)
    rotator.check_hands()
    rotator.press("PageUp", "ArrowUp")
    rotator.check(m=41, n=6)
    rotator.press("PageDown")
    rotator.check(m=9)
    rotator.widget.m = 0
    rotator.press("PageDown")
    rotator.check()  # the key was taken along
    rotator.press(*["ArrowUp"] * 3)
    rotator.check(n=3)
    assert rotator.widget.m == 3
    rotator.press("Home")
    rotator.check(m=7, n=6)
    assert rotator.root.locator("[data-back]").is_disabled()


def test_tied_together_they_move_and_the_score_stays(saved):
    rotator = saved()
    rotator.root.focus()
    claimed = rotator.said("claim").split(" at ")[0]
    rotator.press(" ")
    assert rotator.root.locator("[data-tie]").get_attribute("aria-pressed") == "true"
    hands = rotator.root.evaluate(HANDS)
    adds = rotator.root.evaluate(ADDS)
    rotator.press(*["PageUp"] * 4, "ArrowUp", "ArrowRight")
    rotator.check(m=137, n=136, together=True)
    rotator.check_hands()
    assert rotator.root.evaluate(ADDS) == adds and rotator.root.evaluate(HANDS) != hands
    assert rotator.said("claim").split(" at ")[0] == claimed
    slider = rotator.root.locator("[data-slider=n]")
    slider.fill("1022")
    rotator.check(m=1023, n=1022)
    rotator.press("PageUp")  # there is no more room
    rotator.check()
    slider.fill("0")
    rotator.widget.n = 0
    rotator.check(m=1)
    rotator.root.locator("[data-tie]").click()
    rotator.press("ArrowRight")
    rotator.check(m=2, together=False)  # the control: alone it changes the score
    assert rotator.said("claim").split(" at ")[0] != claimed


def test_sliders_buttons_and_the_way_back(saved):
    rotator = saved()
    rotator.root.locator("[data-slider=m]").fill("700")
    rotator.check(m=700)
    rotator.root.locator("[data-slider=n]").fill("900")
    rotator.check(n=900)
    for step in ("m−", "n−", "n−"):
        rotator.root.locator(f"[data-step='{step}']").click()
    rotator.check(m=899, n=897)
    rotator.root.locator("[data-step='m+']").click()
    rotator.check(m=900)
    rotator.root.locator("[data-slider=n]").focus()
    rotator.press("ArrowLeft")  # a slider's own key
    rotator.check(n=896)
    rotator.root.locator("[data-back]").click()
    rotator.widget.n = 6
    rotator.check(m=7)


def test_the_pointer_drags_along_the_curve(saved):
    rotator = saved()
    box = rotator.root.locator(".llmlab-rope-curve svg").bounding_box()
    y = box["y"] + box["height"] / 2
    mouse = rotator.page.mouse
    mouse.move(box["x"] + 0.2 * box["width"], y)
    mouse.down()
    near = int(rotator.root.locator("[data-dot]").get_attribute("data-dot"))
    assert 1 < near <= 32
    rotator.check(m=6 + near)
    mouse.move(box["x"] + 0.8 * box["width"], y)
    far = int(rotator.root.locator("[data-dot]").get_attribute("data-dot"))
    assert 400 < far < 900
    rotator.check(m=6 + far)
    mouse.up()
    mouse.move(box["x"] + 0.3 * box["width"], y)
    rotator.check()
    assert rotator.root.evaluate("node => node === document.activeElement")
    mouse.click(box["x"] + box["width"] - 2, y)
    rotator.widget.m = 1023
    rotator.check(n=0)  # the farthest leaves no room for the key where it was
    mouse.click(box["x"] + 2, y)
    rotator.widget.m = 0
    rotator.check()


# What is turned -----------------------------------------------------------------------------------------------------


def test_another_head_and_other_tokens(saved):
    rotator = saved()
    rotator.root.focus()
    rotator.press("]", "]")
    rotator.check(head=3)
    rotator.check_hands()
    rotator.press("[", "[", "[", "[")
    rotator.check(layer=5, head=5)
    rotator.press("]")
    rotator.check(layer=0, head=0)
    rotator.root.get_by_label("layer", exact=True).select_option(label="5")
    rotator.root.get_by_label("head", exact=True).select_option(label="4")
    rotator.check(layer=4, head=3)
    assert rotator.root.get_by_label("head", exact=True).input_value() == "3"
    rotator.root.focus()
    rotator.press("PageUp")
    rotator.root.get_by_label("token of the query").select_option("4")
    rotator.check(query=4)
    assert rotator.widget.key == 4 and rotator.widget.m == 4
    rotator.root.get_by_label("token of the key").select_option("1")
    rotator.check(key=1)
    rotator.check_hands()
    options = rotator.root.get_by_label("token of the key").locator("option").all_text_contents()
    assert options == [f"{n} {visible(token)}" for n, token in enumerate(rotator.widget.tokens[:5])]


def test_bases_methods_and_layouts(saved):
    rotator = saved(RoPERotator(m=400))
    before = rotator.root.evaluate(WAVES)
    for theta in (100.0, 500_000.0, 10_000.0):
        rotator.root.get_by_label("base", exact=True).select_option(str(int(theta)))
        rotator.check(theta=theta)
        rotator.check_hands()
    rotator.root.focus()
    factor = rotator.root.get_by_label("factor", exact=True)
    assert factor.is_disabled()
    for method in (*METHODS[1:], "none"):
        rotator.press("s")
        rotator.check(scaling=method)
        waves = rotator.root.evaluate(WAVES)
        assert (waves != before) == (method != "none")
    rotator.press("s")
    factor.select_option("8")
    rotator.check(scaling="linear", factor=8)
    rotator.root.get_by_label("scaling", exact=True).select_option("ntk")
    rotator.check(scaling="ntk")
    rotator.root.focus()
    rotator.press("l")
    rotator.check(rope_layout="interleaved")
    rotator.check_hands()
    rotator.root.get_by_label("layout", exact=True).select_option("half")
    rotator.check(rope_layout="half")


def test_wavelengths_stand_on_a_log_axis(saved):
    rotator = saved()
    places, sizes = rotator.root.evaluate(WAVES), rotator.widget.wavelengths
    unit = (places[-1] - places[0]) / math.log10(sizes[-1] / sizes[0])
    for place, size in zip(places, sizes, strict=True):
        assert place == pytest.approx(places[0] + unit * math.log10(size / sizes[0]), abs=0.1)
    said = rotator.root.locator(".llmlab-rope-waves svg").get_attribute("aria-label")
    assert f"{sum(sizes > 256)} of 16 pairs are longer than 256" in said


def test_a_pair_is_looked_at_by_key_and_pointer(saved):
    rotator = saved()
    rotator.root.focus()
    rotator.press(".", ".", ".")
    assert rotator.said("detail").startswith("Pair 2, numbers 2, 18: θ = 0.316 radians a token, a turn in 19.9 tokens.")
    angle = math.degrees(7 * 10_000 ** (-4 / 32))
    assert f"q turned by {angle:.1f}°" in rotator.said("detail")
    rotator.press(",", ",", ",")
    assert "Choose a dial" in rotator.said("detail")
    rotator.root.locator("[data-dial='8']").click()
    assert rotator.said("detail").startswith("Pair 8, numbers 8, 24") and "0.01" in rotator.said("detail")
    assert rotator.root.locator("[data-dial][aria-pressed=true]").count() == 1
    assert rotator.root.locator("[data-wave].llmlab-rope-looked").get_attribute("data-wave") == "8"
    rotator.root.locator("[data-dial='8']").click()
    assert rotator.root.locator("[data-dial][aria-pressed=true]").count() == 0


def test_every_step_answers_at_once(saved):
    rotator = saved()
    rotator.root.focus()
    keys = ["ArrowRight", "PageUp", " ", "ArrowUp", "]", "s", "l", "."] * 5
    assert rotator.page.evaluate(LATENCY, keys) < 200


# As text, sizes, looks ----------------------------------------------------------------------------------------------


def test_the_tables_say_what_python_says(saved):
    rotator = saved(RoPERotator(layer=4, head=3, m=300, n=45))
    widget = rotator.widget
    rotator.root.focus()
    rotator.press("t")
    assert rotator.root.evaluate(TABLES) == [vars(table) for table in widget.tables()]
    rotator.press("s", "s", "s", "s", "l", "ArrowRight", "]")
    widget.scaling, widget.rope_layout, widget.m, widget.head = "yarn", "interleaved", 301, 4
    assert rotator.root.evaluate(TABLES) == [vars(table) for table in widget.tables()]


def test_a_phone_and_a_projector_show_all(saved):
    for width, scale in ((274, 1.0), (390, 1.0), (390, 1.5), (1280, 1.5)):
        rotator = saved(RoPERotator(m=900, scaling="ntk", pair=3, scale=scale), width=width)
        assert rotator.page.evaluate(BESIDE) <= 0
        assert rotator.root.evaluate(SMALL) == []
    rotator.page.set_viewport_size({"width": 700, "height": 900})
    rotator.page.wait_for_function(f"() => ({BESIDE})() <= 0")  # the curve is drawn anew


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axes_rules_hold(saved, theme):
    rotator = saved(RoPERotator(m=600, pair=5, scaling="llama3", together=True), theme=theme, width=700)
    assert faults(rotator.page) == []


# With a kernel ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def notebook(lab, open_shared_notebook):
    said = "print(rotator.text, rotator.m, rotator.n, rotator.query, rotator.key, rotator.layer, rotator.head)"
    cells = CODE, said, "rotator.n = 300\nrotator.scaling = 'ntk'"
    return open_shared_notebook(lab.write("rope_rotator.ipynb", *cells))


@pytest.fixture
def live(notebook):
    notebook.run_afresh()
    notebook.page.locator(".llmlab-root .llmlab-rope-curve svg").first.wait_for()
    rotator = Rotator(notebook, RoPERotator())
    rotator.root.focus()
    yield rotator
    assert notebook.cell_errors() == [] and notebook.console_errors == [] and notebook.requests_outside == []


def test_a_typed_sentence_is_read_and_python_hears_of_the_positions(live, notebook):
    live.check()
    field = live.root.get_by_label("sentence", exact=True)
    field.fill("Tom has <b>a cat")
    live.press("Enter")
    live.widget.text = "Tom has <b>a cat"
    live.root.get_by_label("token of the query").locator("option", has_text="cat").wait_for(state="attached")
    live.opened.until(lambda: live.said("claim").startswith("q of “·cat”"), True)
    live.check()
    assert live.root.locator("b").count() == 1  # the score alone
    field.fill("word " * 40)
    live.press("Enter")
    live.root.get_by_text(re.compile("expected a sentence of 1 to 32 tokens")).wait_for()
    live.check()
    live.root.focus()
    live.press("PageUp", "ArrowDown", "]")
    widget = live.widget
    live.check(m=widget.m + 32, n=widget.n - 1, head=2)
    expected = f"{widget.m} {widget.n} {widget.query} {widget.key} 0 2"
    notebook.until(lambda: notebook.said(1).endswith(expected), True)
    notebook.run(2)  # Python moves the key past the query
    live.opened.until(lambda: live.said("at='m'"), "300")
    live.check(n=300, scaling="ntk")
    assert REACH > widget.m == 300


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_first_view_fits_beside_the_sidebar(live, notebook, theme):
    notebook.set_theme(theme)
    folder = os.environ.get("LLMLAB_SCREENSHOTS")
    for keys in ([], ["s", "PageUp"], ["l", ".", "."]):
        live.press(*keys)
        assert first_view(live, ".llmlab-rope-first") == []
        if folder:
            live.root.screenshot(path=Path(folder) / f"rope-{theme}-{len(keys)}.png")
