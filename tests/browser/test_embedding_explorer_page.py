"""The embedding explorer in a real browser, by keyboard and pointer: what it shows is what Python says."""

import os
from itertools import pairwise
from pathlib import Path

import pytest
from first_view import first_view
from test_fit import BESIDE, faults
from test_saved_page import TABLES

from llmlab.plots import visible
from llmlab.widgets.embeddings import EmbeddingExplorer

pytestmark = pytest.mark.browser
CODE = """from llmlab.widgets.embeddings import EmbeddingExplorer
explorer = EmbeddingExplorer()
explorer"""
BARS = """root => [...root.querySelectorAll("[data-bar]")].map(bar => [
    bar.dataset.bar, bar.querySelector("[data-cosine]").textContent])"""
SUM = """root => [...root.querySelectorAll("[data-sum-bar]")].map(bar => [bar.dataset.sumBar,
    ...["cosine", "note"].map(name => bar.querySelector(`[data-${name}]`).textContent)])"""
CHIPS = "root => [...root.querySelectorAll('[data-chip]')].map(chip => [chip.dataset.chip, chip.textContent[0]])"
LAYERS = """root => [...root.querySelectorAll("[data-layer]")].map(
    row => [...row.querySelectorAll(".llmlab-emb-near")].map(one => one.textContent))"""
# Where the map has a mark of this kind: the middle of its box, in px from the map's corner.
PLACES = """([root, kind]) => {
    const corner = root.querySelector(".llmlab-emb-map svg").getBoundingClientRect();
    return Object.fromEntries([...root.querySelectorAll(`[data-${kind}]`)].map(node => {
        const box = node.getBoundingClientRect();
        return [node.dataset[kind], [box.x + box.width / 2 - corner.x, box.y + box.height / 2 - corner.y]];
    }));
}"""
LATENCY = """async keys => {
    const root = document.querySelector(".llmlab-root"), times = [];
    for (const key of keys) {
        await new Promise(done => requestAnimationFrame(() => setTimeout(done)));
        const start = performance.now();
        root.dispatchEvent(new KeyboardEvent("keydown", {key, bubbles: true, cancelable: true}));
        root.getBoundingClientRect();
        times.push(performance.now() - start);
    }
    return times.sort((a, b) => a - b)[Math.floor(times.length / 2)];
}"""
SMALL = """root => [...root.querySelectorAll("button, input, select")]
    .filter(node => node.getClientRects().length).map(node => [node, node.getBoundingClientRect()])
    .filter(([node, box]) => box.height < 23.5 || (box.width < 23.5 && node.type !== "range"))
    .map(([node]) => node.outerHTML.slice(0, 100))"""


def three(value):
    return f"{value:.3f}".replace("-", "−")


class Explorer:
    """The widget as a reader sees it. `widget` is the same one in Python, which the tests keep in step."""

    def __init__(self, opened, widget):
        self.opened, self.page, self.widget = opened, opened.page, widget
        self.root = self.page.locator(".llmlab-root")
        self.root.locator(".llmlab-emb-map svg").wait_for()

    def press(self, *keys):
        for key in keys:
            self.page.keyboard.press(key)

    def said(self, name):
        return self.root.locator(f"[data-{name}]").first.text_content()

    def places(self, kind):
        return self.root.evaluate(f"(root, kind) => ({PLACES})([root, kind])", kind)

    def settle(self):
        self.page.wait_for_timeout(300)  # the points have moved

    def check(self, **now):
        """The picture is what Python says when its traits are these."""
        widget = self.widget
        for name, value in now.items():
            setattr(widget, name, value)
        near, flat = widget.neighbors, [name for name, _ in widget.map_neighbors]
        true = {name for name, _ in near}
        assert self.root.evaluate(BARS) == [[name, three(cosine)] for name, cosine in near]
        assert self.root.evaluate(CHIPS) == [[name, "○" if name in true else "✕"] for name in flat]
        count = "1 is" if widget.shared == 1 else f"{widget.shared or 'none'} are"
        assert self.said("claim") == (
            f"Of the {widget.k} nearest to “{visible(widget.word)}” on the map, {count} among its {widget.k} nearest "
            "in 192 dimensions."
        )
        at = widget.steps.index(widget.step)
        untrained = "" if at else ", untrained"
        loss = f"{widget.losses[at]:.3g}"
        assert self.said("step") == f"step {widget.step:,} of 31,500{untrained}, loss {loss} nats a token"
        assert f"keep {100 * widget.shares[at].sum():.1f}% of the variance" in self.said("axes")
        assert int(self.root.get_by_label("checkpoint", exact=True).input_value()) == at
        looked = near[max(0, widget.neighbor)]
        assert self.said("looked").startswith(f"“{visible(looked[0])}”: cosine {three(looked[1])}, ")
        assert self.root.evaluate(SUM) == [
            [word, three(cosine), "in the sum" if word in widget.analogy else ""]
            for word, cosine in widget.ranking[: widget.k]
        ]
        assert self.root.evaluate(LAYERS) == [
            [f"{visible(word)} {three(cosine)}" for word, cosine in row[:3]] for row in widget.path
        ]

    def check_map(self):
        """Marks and labels stand where Python places the words, and the true and the false neighbors are told apart."""
        self.settle()
        widget = self.widget
        near, flat = ({name for name, _ in pairs} for pairs in (widget.neighbors, widget.map_neighbors))
        rings, crosses = self.places("ring"), self.places("cross")
        if not widget.zoomed:
            assert rings.keys() == near and crosses.keys() == flat - near
        assert rings.keys() <= near and crosses.keys() <= flat - near
        spots = dict(zip(widget.words, widget.places[widget.steps.index(widget.step)].tolist(), strict=True))
        unit = float(self.root.locator(".llmlab-emb-map").get_attribute("data-unit"))
        marks = list((rings | crosses).items())
        for (one, (x, y)), (other, (x2, y2)) in pairwise(marks):
            assert x2 - x == pytest.approx(unit * (spots[other][0] - spots[one][0]), abs=0.5)
            assert y2 - y == pytest.approx(-unit * (spots[other][1] - spots[one][1]), abs=0.5)


@pytest.fixture
def saved(open_saved):
    def save_and_open(widget=None, **how):
        widget = widget or EmbeddingExplorer()
        return Explorer(open_saved(widget, **how), widget)

    return save_and_open


# The map and the bars -----------------------------------------------------------------------------------------------


def test_the_first_view(saved):
    explorer = saved()
    explorer.check()
    explorer.check_map()
    assert explorer.said("claim") == (
        "Of the 8 nearest to “·king” on the map, 1 is among its 8 nearest in 192 dimensions."
    )
    assert " king" in explorer.places("label") and len(explorer.places("label")) >= 8
    for name in ("word a", "word b", "word c", "sentence"):
        assert explorer.root.get_by_label(name, exact=True).is_disabled()


def test_the_keyboard_goes_through_training(saved):
    explorer = saved()
    steps = explorer.widget.steps
    explorer.root.focus()
    for step in reversed(steps):
        explorer.check(step=step)
        explorer.press("ArrowLeft")
    explorer.check(step=0)
    explorer.check_map()
    assert explorer.root.locator("[data-earlier]").is_disabled()
    explorer.press("End")
    explorer.check(step=31500)
    assert explorer.root.locator("[data-later]").is_disabled()
    explorer.press("Home", "ArrowRight", "ArrowRight")
    explorer.check(step=steps[2])
    explorer.check_map()


def test_the_slider_and_its_buttons(saved):
    explorer = saved(EmbeddingExplorer(word=" Ashford"))
    slider = explorer.root.get_by_label("checkpoint", exact=True)
    slider.focus()
    explorer.press("Home", "ArrowRight")
    explorer.check(step=360)
    assert slider.get_attribute("aria-valuetext").startswith("step 360 of 31,500, loss 14.8")
    slider.fill("7")
    explorer.check(step=18000)
    explorer.root.locator("[data-later]").click()
    explorer.check(step=18150)
    explorer.press("ArrowLeft", "ArrowLeft")  # the click gave the focus back to the widget
    explorer.check(step=12600)
    explorer.check_map()


def test_neighbors_are_walked_by_keyboard_and_there_is_a_way_back(saved):
    explorer = saved(EmbeddingExplorer(word=" dog"))
    explorer.root.focus()
    explorer.press("ArrowDown", "ArrowDown", "ArrowDown")
    explorer.check(neighbor=2)
    assert "3rd nearest in 192 dimensions" in explorer.said("looked")
    link = explorer.root.locator("[data-link]").get_attribute("data-link")
    assert link == explorer.widget.neighbors[2][0]
    pressed = explorer.root.locator("[data-bar][aria-pressed=true]")
    assert pressed.get_attribute("data-bar") == link
    explorer.press("Enter")
    explorer.check(word=link, neighbor=-1)
    explorer.check_map()
    explorer.press("ArrowDown", "Enter")
    explorer.check(word=explorer.widget.neighbors[0][0])
    explorer.press("Backspace", "Backspace")
    explorer.check(word=" dog")
    explorer.press("Backspace", *["ArrowDown"] * 12)
    explorer.check(neighbor=7)
    explorer.press(*["ArrowUp"] * 12)
    explorer.check(neighbor=-1)
    explorer.press("]", "]", "]")
    explorer.check(k=10)
    explorer.check_map()
    explorer.press(*["["] * 12)
    explorer.check(k=1)
    explorer.root.get_by_label("how many neighbors").select_option("5")
    explorer.check(k=5)


def test_the_pointer_picks_points_bars_and_chips(saved):
    explorer = saved()
    widget, corner = explorer.widget, explorer.root.locator(".llmlab-emb-map svg").bounding_box()
    x, y = explorer.places("ring")[" grandfather"]
    mouse = explorer.page.mouse
    mouse.move(corner["x"] + x, corner["y"] + y)
    hovered = explorer.root.locator("[data-hover]").get_attribute("data-hover")
    mouse.click(corner["x"] + x, corner["y"] + y)
    explorer.check(word=hovered)
    far = dict(zip(widget.words, widget.places[-1].tolist(), strict=True))
    assert abs(far[widget.word][0] - far[" grandfather"][0]) < 0.01  # the nearest point
    mouse.move(1, 1)
    assert explorer.root.locator("[data-hover]").count() == 0
    before = widget.word
    mouse.click(corner["x"] + corner["width"] - 3, corner["y"] + 3)  # nothing is there
    explorer.check(word=before)
    explorer.root.locator("[data-bar]").nth(3).click()
    explorer.check(neighbor=3)
    explorer.root.locator("[data-bar]").nth(3).click()
    explorer.check(word=widget.neighbors[3][0], neighbor=-1)
    chip = widget.map_neighbors[1][0]
    explorer.root.locator("[data-chip]").nth(1).click()
    explorer.check(word=chip)
    first = explorer.root.locator("[data-sum-bar]").nth(2)
    word = first.get_attribute("data-sum-bar")
    first.click()
    explorer.check(word=word)
    assert explorer.root.evaluate("node => node === document.activeElement")


def test_the_map_enlarged(saved):
    explorer = saved(EmbeddingExplorer(word=" Anna"))
    before = float(explorer.root.locator(".llmlab-emb-map").get_attribute("data-unit"))
    explorer.root.focus()
    explorer.press("z")
    explorer.widget.zoomed = True
    explorer.check_map()
    assert float(explorer.root.locator(".llmlab-emb-map").get_attribute("data-unit")) == pytest.approx(4 * before)
    inside = len(explorer.places("ring"))
    assert f"Outside: {8 - inside} of the 8 nearest." in explorer.said("axes") and inside > 3
    labels = explorer.root.locator("[data-label]").all_text_contents()
    assert any(label.startswith("✕ ") for label in labels) and "·Anna" in labels
    explorer.root.locator("[data-zoom]").click()
    explorer.widget.zoomed = False
    explorer.check_map()


def test_the_search_by_keyboard_and_pointer(saved):
    explorer = saved()
    explorer.root.focus()
    explorer.press("/")
    for key in "<b>":  # text, not HTML
        explorer.press(key)
    assert (
        "no word has that" in explorer.root.inner_text() and explorer.root.locator(".llmlab-emb-finds b").count() == 0
    )
    explorer.press("Enter")
    explorer.check()
    field = explorer.root.get_by_label("search for a word")
    for query in ("an", "KING", "果"):
        field.fill(query)
        explorer.widget.query = query
        shown = explorer.root.locator("[data-match]").evaluate_all("all => all.map(one => one.dataset.match)")
        assert shown == explorer.widget.matches[:6] != []
    field.fill("an")
    explorer.widget.query = "an"
    explorer.press("ArrowDown", "Tab", "Tab", "Enter")
    explorer.check(word=explorer.widget.matches[2])
    assert explorer.root.evaluate("node => node === document.activeElement")
    field.fill("ashf")
    explorer.press("Enter")
    explorer.check(word=" Ashford")
    explorer.press("ArrowLeft")
    explorer.check(step=29250)
    field.fill("the")
    explorer.root.locator("[data-match=' the']").click()
    explorer.check(word=" the")
    assert explorer.root.locator("[data-match][aria-pressed=true]").count() == 1


def test_a_token_is_chosen_by_key_and_pointer(saved):
    explorer = saved()
    last = len(explorer.widget.path_tokens) - 1
    explorer.root.focus()
    explorer.press(",", ",")
    explorer.check(position=last - 2)
    explorer.press(*["."] * 5)
    explorer.check(position=last)
    explorer.root.locator("[data-token='3']").click()
    explorer.check(position=3)
    explorer.press(",")
    explorer.check(position=2)
    focus = "() => document.activeElement.dataset.token"
    assert explorer.page.evaluate(focus) == "2"  # the focus follows


def test_every_step_answers_at_once(saved):
    explorer = saved()
    explorer.root.focus()
    keys = ["ArrowLeft", "ArrowDown", "z", "ArrowLeft", "ArrowDown", "Enter"] * 6
    assert explorer.page.evaluate(LATENCY, keys) < 200  # 10 where nothing else runs


# As text, sizes, looks ----------------------------------------------------------------------------------------------


def test_the_tables_say_what_python_says(saved):
    explorer = saved(EmbeddingExplorer(word=" Ashford", step=7200, k=6))
    widget = explorer.widget
    explorer.root.focus()
    explorer.press("t")
    assert explorer.root.evaluate(TABLES) == [vars(table) for table in widget.tables()]
    explorer.press("Home", ",")
    widget.step, widget.position = 0, widget.position - 1
    assert explorer.root.evaluate(TABLES) == [vars(table) for table in widget.tables()]
    explorer.press("Enter", "End", "]")
    widget.word = widget.neighbors[0][0]
    widget.step, widget.k = 31500, 7
    assert explorer.root.evaluate(TABLES) == [vars(table) for table in widget.tables()]


@pytest.mark.parametrize("reduced", [True, False])
def test_points_move_and_stop_and_do_not_where_motion_is_not_wanted(saved, reduced):
    explorer = saved()
    if reduced:
        explorer.page.emulate_media(reduced_motion="reduce")
    explorer.root.focus()
    paths = """async () => {
        const root = document.querySelector(".llmlab-root"), seen = new Set();
        const look = () => seen.add(root.querySelector(".llmlab-emb-kind-5").getAttribute("d"));
        look();
        root.dispatchEvent(new KeyboardEvent("keydown", {key: "Home", bubbles: true}));
        for (const start = performance.now(); performance.now() - start < 400; )
            await new Promise(done => requestAnimationFrame(() => done(look())));
        return seen.size;
    }"""
    seen = explorer.page.evaluate(paths)
    assert seen == 2 if reduced else seen > 2
    explorer.check(step=0)
    explorer.check_map()


def test_a_phone_and_a_projector_show_all(saved):
    for width, scale in ((390, 1.0), (390, 1.5), (1280, 1.5)):
        explorer = saved(EmbeddingExplorer(word="一杯咖啡", query="a", k=10, scale=scale), width=width)
        assert explorer.page.evaluate(BESIDE) <= 0
        assert explorer.root.evaluate(SMALL) == []
        explorer.check_map()
    explorer.page.set_viewport_size({"width": 700, "height": 900})
    explorer.page.wait_for_function(f"() => ({BESIDE})() <= 0")  # the map is drawn anew
    explorer.settle()
    explorer.check_map()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axes_rules_hold(saved, theme):
    explorer = saved(
        EmbeddingExplorer(word="7", query="an", neighbor=1, zoomed=True, step=3600), theme=theme, width=700
    )
    assert faults(explorer.page) == []


def test_the_focus_can_be_seen(saved):
    explorer = saved()
    explorer.press("Tab")
    outline = explorer.root.evaluate(
        "node => getComputedStyle(node).outlineStyle + getComputedStyle(node).outlineWidth"
    )
    assert outline == "solid2px"


# With a kernel ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def notebook(lab, open_shared_notebook):
    cells = CODE, "print(explorer.word, explorer.step, explorer.analogy, explorer.text)", "explorer.word = ' dog'"
    return open_shared_notebook(lab.write("embedding_explorer.ipynb", *cells))


@pytest.fixture
def live(notebook):
    notebook.run_afresh()
    notebook.page.locator(".llmlab-root .llmlab-emb-map svg").first.wait_for()
    explorer = Explorer(notebook, EmbeddingExplorer())
    explorer.root.focus()
    yield explorer
    assert notebook.cell_errors() == [] and notebook.console_errors == [] and notebook.requests_outside == []


def test_a_typed_sum_and_a_typed_sentence_are_computed(live, notebook):
    live.check()
    names = ("word a", "word b", "word c")
    for name, word in zip(names, ("Spain", " Spanish", "French"), strict=True):
        live.root.get_by_label(name, exact=True).fill(word)
        live.press("Enter")
    live.root.get_by_text("Nearest to “·Spain” − “·Spanish” + “·French”").wait_for()
    live.check(analogy=[" Spain", " Spanish", " French"])
    live.root.get_by_label("word b", exact=True).fill("nowhere")
    live.press("Enter")
    live.root.get_by_text("“nowhere” is none of the 1,000 words").wait_for()
    live.check()
    live.root.get_by_label("word b", exact=True).fill("Italy")
    live.press("Enter")
    live.root.get_by_text("− “·Italy” +").wait_for()
    live.check(analogy=[" Spain", " Italy", " French"])
    field = live.root.get_by_label("sentence", exact=True)
    field.fill("The dog has a cat")
    live.press("Enter")
    live.root.locator("[data-token='4']", has_text="·cat").wait_for()
    live.opened.until(lambda: live.root.locator("[data-token]").count(), 5)
    live.check(text="The dog has a cat")
    field.fill("word " * 40)
    live.press("Enter")
    live.root.get_by_text("expected a sentence of 1 to 32 tokens").wait_for()
    live.check()
    live.root.focus()
    live.press("ArrowLeft")
    live.check(step=29250)
    expected = "king 29250 [' Spain', ' Italy', ' French']"
    notebook.until(lambda: notebook.said(1).startswith(expected), True)
    notebook.run(2)  # Python says another word
    live.root.get_by_text("Of the 8 nearest to “·dog”").wait_for()
    live.check(word=" dog")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_first_view_fits_beside_the_sidebar(live, notebook, theme):
    notebook.set_theme(theme)
    folder = os.environ.get("LLMLAB_SCREENSHOTS")
    for keys in ([], ["z"], ["Home"]):
        live.press(*keys)
        live.settle()
        assert first_view(live, ".llmlab-emb-first") == []
        if folder:
            live.root.screenshot(path=Path(folder) / f"embeddings-{theme}-{''.join(keys)}.png")
