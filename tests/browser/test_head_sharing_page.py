"""Head sharing in a real browser, by keyboard and pointer: wires, bytes and texts are what Python says."""

import os
from pathlib import Path

import pytest
from first_view import first_view
from models import TINY_LLAMA
from test_embedding_explorer_page import SMALL
from test_fit import BESIDE, faults
from test_saved_page import TABLES

from llmlab.published import PUBLISHED
from llmlab.widgets.costs import GIB
from llmlab.widgets.gqa import HeadSharing
from llmlab.widgets.gqa_steps import LABORATORY, LATENTS

pytestmark = pytest.mark.browser
FIGURES = ["cache_bytes_per_token", "cache_bytes", "largest_context"]
SHOWN = """root => Object.fromEntries([...root.querySelectorAll("[data-figure]")].map(
    node => [node.dataset.figure, node.dataset.value]))"""
READS = "root => [...root.querySelectorAll('[data-head]')].map(one => one.dataset.reads)"
# Where each wire from a query head ends: the number of the kv head under which its end lies.
ENDS = """root => {
    const kept = [...root.querySelectorAll("[data-kv]")].map(one => Number(one.getAttribute("x")));
    const heads = [...root.querySelectorAll("[data-head]")].map(
        one => Number(one.getAttribute("x")) + Number(one.getAttribute("width")) / 2);
    const nearest = (places, x) => places.reduce(
        (best, at, i) => Math.abs(at - x) < Math.abs(places[best] - x) ? i : best, 0);
    const half = Number(root.querySelector("[data-kv]").getAttribute("width"));
    const found = [...root.querySelectorAll(".llmlab-gqa-wire")].map(wire => [
        nearest(heads, Number(wire.getAttribute("x1"))), nearest(kept, Number(wire.getAttribute("x2")) - half),
        wire.classList.contains("llmlab-gqa-wrong")]);
    return found.sort((a, b) => a[0] - b[0]);
}"""
TIMED = {
    "model": "GPT-2", "n_heads": 2, "head_dim": 64, "n_keys": 4096, "threads": 1, "seconds": [[2, 0.3], [1, 0.00002]],
}  # fmt: skip
WIDE = "root => [...root.querySelectorAll('[data-kv]')].reduce((sum, one) => sum + 2 * one.getAttribute('width'), 0)"


class Sharing:
    """The widget as a reader sees it. `widget` is the same one in Python, which the tests keep in step."""

    def __init__(self, opened, widget):
        self.opened, self.page, self.widget = opened, opened.page, widget
        self.root = self.page.locator(".llmlab-root")
        self.root.locator(".llmlab-gqa-picture svg").wait_for()

    def press(self, *keys):
        for key in keys:
            self.page.keyboard.press(key)

    def said(self, name):
        return self.root.locator(f".llmlab-gqa-{name}").first.text_content().replace("\u00a0", " ")

    def step(self, label):
        return self.root.locator(f"[data-step='{label}']")

    def chosen(self):
        return self.root.locator("[data-step][aria-pressed=true]").get_attribute("data-step")

    def check(self, **now):
        """The page is what Python says when its traits are these."""
        for name, value in now.items():
            setattr(self.widget, name, value)
        widget = self.widget
        assert self.root.evaluate(SHOWN) == {name: str(getattr(widget, name)) for name in FIGURES}
        assert self.root.locator(".llmlab-gqa-bytes").get_attribute("data-fits") == str(widget.fits).lower()
        assert self.chosen() == repr(widget).split(", ")[1]
        if widget.attention == "gqa":
            assert self.root.evaluate(READS) == [str(one) for one in widget.reads]
        assert self.said("detail").startswith(f"Query head {widget.head} reads ")


@pytest.fixture
def saved(open_saved):
    def save_and_open(widget=None, **how):
        widget = widget or HeadSharing()
        return Sharing(open_saved(widget, **how), widget)

    return save_and_open


# Steps and bytes ----------------------------------------------------------------------------------------------------


def test_the_first_view(saved):
    sharing = saved()
    sharing.check()
    assert sharing.said("headline") == (
        "Llama-3.1-8B: 32 query heads share 8 kv heads, 4 to each. "
        "A token takes 128 KiB of cache, 4 times less than with a kv head for each."
    )
    assert sharing.said("detail") == ("Query head 5 reads kv head 1, as do heads 4, 6 and 7: h·G // H = 5·8 // 32 = 1.")
    assert sharing.step("GQA 8").text_content().endswith("● published")
    assert sharing.root.locator("[data-own]").count() == 1
    assert "131,072 tokens" in sharing.said("figures") and "with a kv head for each 130,134" in sharing.said("figures")
    assert "Nothing was measured" in sharing.root.locator("[data-silent]").text_content()
    assert sharing.root.locator("[data-measure]").is_disabled()


def test_the_keyboard_goes_through_the_steps(saved):
    sharing = saved()
    sharing.root.focus()
    for n_kv_heads in (4, 2, 1):
        sharing.press("g")
        sharing.check(n_kv_heads=n_kv_heads)
    assert "all 32 query heads share 1 kv head (not what was published)" in sharing.said("headline")
    sharing.press("g", "g")
    sharing.check(attention="mla")
    assert "one latent of 512 numbers and a RoPE key of 64" in sharing.said("headline")
    assert sharing.root.locator("[data-latent]").get_attribute("data-latent") == "512"
    sharing.widget.attention = "gqa"
    for n_kv_heads in (1, 2, 4, 8, 16, 32, 32):
        sharing.press("G")
        sharing.check(n_kv_heads=n_kv_heads)
    assert "32 query heads, each with a kv head of its own" in sharing.said("headline")
    assert "16.5 GiB" in sharing.said("figures") and "too much" in sharing.said("figures")
    sharing.press("ArrowDown", "ArrowDown")
    sharing.check(context=32_768)
    sharing.press(*["ArrowUp"] * 6)
    sharing.check(context=2**20)
    assert "Llama-3.1-8B is made for 131,072." in sharing.said("figures")
    sharing.press("Home")
    sharing.check(head=0)
    sharing.press("ArrowLeft", "ArrowRight", "ArrowRight")
    sharing.check(head=2)
    sharing.press("End", "ArrowRight")
    sharing.check(head=31)


def test_what_is_kept_is_as_wide_as_it_has_numbers(saved):
    sharing = saved(HeadSharing(LABORATORY))
    sharing.root.focus()
    whole = sharing.root.evaluate(WIDE)
    for part in (2, 4, 8):
        sharing.press("g")
        assert sharing.root.evaluate(WIDE) == pytest.approx(whole / part)
    sharing.press("g")
    sizes = [float(sharing.root.locator(f"[data-{name}]").get_attribute("width")) for name in ("latent", "rope")]
    full = float(sharing.root.locator(".llmlab-gqa-room").get_attribute("width"))
    assert sizes == [pytest.approx(full * n / (2 * 8 * 16)) for n in (64, 8)]


def test_every_model_and_step_costs_what_python_says(saved):
    sharing = saved(HeadSharing(TINY_LLAMA))
    names = [shape["name"] for shape in sharing.widget.models]
    assert {*PUBLISHED, *LATENTS} < set(names)
    for name, dtype in zip(names, ["float32", "int4", "int8", "bfloat16"] * 10, strict=False):
        sharing.root.get_by_label("model", exact=True).select_option(name)
        sharing.root.get_by_label("numbers of weights and cache").select_option(dtype)
        sharing.check(model_name=name, dtype=dtype)
        n = sharing.root.locator("[data-step]").count()
        last = sharing.root.locator("[data-step]").nth(n - 1)
        last.click()
        label = last.get_attribute("data-step")
        sharing.check(**({"attention": "mla"} if label == "MLA" else {"n_kv_heads": int(label.split()[1])}))


def test_the_pointer_chooses_steps_heads_and_sizes(saved):
    sharing = saved()
    sharing.step("GQA 2").click()
    sharing.check(n_kv_heads=2)
    box = sharing.root.locator(".llmlab-gqa-picture").bounding_box()
    at = box["x"] + box["width"] * 20.5 / 32
    sharing.page.mouse.move(at, box["y"] + 50)
    assert sharing.said("detail").startswith("Query head 20 reads kv head 1, as do 15 others")
    sharing.page.mouse.move(at, box["y"] - 30)
    sharing.check()  # what the pointer has left is as it was
    sharing.page.mouse.click(at, box["y"] + 5)
    sharing.page.mouse.move(0, 0)
    sharing.check(head=20)
    sharing.root.get_by_label("memory", exact=True).select_option("24.0 GiB")
    sharing.check(memory_bytes=24 * GIB)
    sharing.root.get_by_label("context, powers of two").fill("12")
    sharing.check(context=4096)
    sharing.step("MQA 1").focus()
    sharing.press("Enter")
    sharing.check(n_kv_heads=1)
    assert sharing.step("MQA 1").evaluate("node => node === document.activeElement")
    sharing.root.get_by_label("model", exact=True).select_option(LABORATORY)
    sharing.check(model_name=LABORATORY)  # with its own memory and context
    assert (sharing.widget.memory_bytes, sharing.widget.context, sharing.widget.head) == (2**22, 256, 7)


# Wires --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name,n_kv_heads", [("Llama-3.1-8B", 8), (LABORATORY, 2), ("Llama-2-7B", 32), ("GPT-2", 1)])
def test_tiling_leads_the_wires_elsewhere_and_says_so(saved, name, n_kv_heads):
    sharing = saved(HeadSharing(name, n_kv_heads=n_kv_heads))
    sharing.root.focus()
    trained = sharing.widget.reads
    assert sharing.root.evaluate(ENDS) == [[head, read, False] for head, read in enumerate(trained)]
    button = sharing.root.locator("[data-tile]")
    sharing.press("m")
    if n_kv_heads in (1, len(trained)):  # the control: there is nothing to confuse
        assert button.is_disabled() and sharing.root.evaluate(ENDS) == [[h, g, False] for h, g in enumerate(trained)]
        return
    sharing.check(tiled=True)
    wired = [[head, read, read != trained[head]] for head, read in enumerate(sharing.widget.reads)]
    assert sharing.root.evaluate(ENDS) == wired
    n_wrong = sum(wrong for *_, wrong in wired)
    assert f"{n_wrong} of {len(trained)} query heads of" in sharing.said("headline") and 0 < n_wrong < len(trained)
    for head in (0, 5):
        sharing.press("Home", *["ArrowRight"] * head)
        sharing.check(head=head)
        told = sharing.root.locator("[data-wrong]")
        assert told.count() == wired[head][2]
        if wired[head][2]:
            assert told.text_content().strip() == f"It was trained with kv head {trained[head]}."
    before = sharing.root.evaluate(SHOWN)
    button.click()
    sharing.check(tiled=False)
    assert sharing.root.evaluate(SHOWN) == before  # no byte tells


# Quality and speed --------------------------------------------------------------------------------------------------


def test_quality_is_shown_with_intervals_and_leads_to_its_step(saved):
    sharing = saved()
    settings = sharing.widget.study["settings"]
    rows = sharing.root.locator("[data-setting]")
    assert rows.evaluate_all("nodes => nodes.map(one => one.dataset.setting)") == [one["name"] for one in settings]
    for skill in ("bits per byte", "translation"):
        sharing.root.get_by_label("measure of quality").select_option(skill)
        sharing.widget.skill = skill
        zero = sharing.root.locator(".llmlab-gqa-zero").first.bounding_box()["x"]
        for one in settings:
            row = sharing.root.locator(f"[data-setting='{one['name']}']")
            mean, less, low, high, verdict = one["found"][skill]
            if verdict == "compared with":
                assert row.text_content().endswith(f"{mean:.3f}") and row.locator(".llmlab-gqa-dot").count() == 0
                continue
            assert row.text_content().endswith(f"{less:+.3f} {verdict}".replace("-", "−"))
            line = row.locator(".llmlab-gqa-interval").bounding_box()
            ends = line["x"] - zero, line["x"] + line["width"] - zero
            assert (ends[0] > -1) == (low > 0) or abs(ends[0]) < 2
            a_unit = (ends[1] - ends[0]) / (high - low)  # pixels
            assert ends == pytest.approx((low * a_unit, high * a_unit), abs=2)
    row = sharing.root.locator("[data-setting='2 kv heads']")
    row.click()
    sharing.check(model_name=LABORATORY, n_kv_heads=2)
    assert row.get_attribute("aria-pressed") == "true"
    assert sharing.root.locator("[data-setting='2 heads in all']").get_attribute("aria-pressed") is None  # no such step
    sharing.press("g")
    sharing.check(n_kv_heads=1)
    assert row.get_attribute("aria-pressed") == "false"


def test_a_saved_page_shows_what_was_measured_then(saved):
    widget = HeadSharing("GPT-2")
    seconds = [[12, 0.012], [6, 0.0072], [4, 0.003], [3, 0.003], [2, 0.002], [1, 0.0018]]
    shape = {"model": "GPT-2", "n_heads": 12, "head_dim": 64, "n_keys": 4096, "threads": 1}
    widget.timing = {**shape, "seconds": seconds}
    sharing = saved(widget)
    rows = sharing.root.locator("[data-speed]")
    assert rows.count() == 6 and sharing.root.locator("[data-silent]").count() == 0
    assert rows.nth(1).text_content() == "6 kvbytes 0.500, time 0.600"
    read, taken = (rows.nth(1).locator(f".llmlab-gqa-{name}").bounding_box()["width"] for name in ("read", "taken"))
    assert read / taken == pytest.approx(0.5 / 0.6, abs=0.05)
    assert "12.0 ms" in sharing.root.locator(".llmlab-gqa-panels").text_content()
    assert "Measured with the heads of" not in sharing.root.locator(".llmlab-gqa-panels").text_content()
    sharing.root.get_by_label("model", exact=True).select_option("GPT-2 XL")
    assert "Measured with the heads of GPT-2." in sharing.root.locator(".llmlab-gqa-panels").text_content()


# As text, sizes, looks ----------------------------------------------------------------------------------------------


def test_the_tables_say_what_python_says(saved):
    widget = HeadSharing("Llama-2-70B", context=1000)
    widget.timing = TIMED
    sharing = saved(widget)
    sharing.root.focus()
    sharing.press("t")
    assert sharing.root.evaluate(TABLES) == [vars(table) for table in widget.tables()]
    sharing.press("m", "ArrowUp", "g")
    widget.tiled, widget.context, widget.n_kv_heads = True, 2000, 4
    assert sharing.root.evaluate(TABLES) == [vars(table) for table in widget.tables()]
    sharing.press("g", "g", "g")
    widget.attention = "mla"
    assert sharing.root.evaluate(TABLES) == [vars(table) for table in widget.tables()]


def test_a_phone_and_a_projector_show_all(saved):
    for config, width, scale in (
        ("DeepSeek-V2", 274, 1.0),
        ("Mixtral-8x22B", 390, 1.0),
        (LABORATORY, 390, 1.5),
        ("Llama-3.1-405B", 1280, 1.5),
    ):
        widget = HeadSharing(config, scale=scale)
        widget.timing = TIMED
        sharing = saved(widget, width=width)
        assert sharing.page.evaluate(BESIDE) <= 0, config
        assert sharing.root.evaluate(SMALL) == []
    sharing.page.set_viewport_size({"width": 700, "height": 900})
    sharing.page.wait_for_function(f"() => ({BESIDE})() <= 0")  # the wires are drawn anew


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("config", ["DeepSeek-V2", LABORATORY])
def test_axes_rules_hold(saved, theme, config):
    widget = HeadSharing(config, n_kv_heads=2 if config == LABORATORY else None)
    widget.tiled = True
    widget.timing = TIMED
    sharing = saved(widget, theme=theme, width=700)
    assert faults(sharing.page) == []


# With a kernel ------------------------------------------------------------------------------------------------------

CODE = """from llmlab.widgets.gqa import HeadSharing
sharing = HeadSharing("the laboratory model")
sharing"""
NAMES = ("model_name", "attention", "n_kv_heads", "head", "tiled", "context", "memory_bytes", "skill")


@pytest.fixture(scope="module")
def notebook(lab, open_shared_notebook):
    said = f"print([getattr(sharing, name) for name in {NAMES!r}])"
    cells = CODE, said, "sharing.model_name = 'DeepSeek-V3'", "print([n for n, _ in sharing.timing.get('seconds', [])])"
    return open_shared_notebook(lab.write("head_sharing.ipynb", *cells))


@pytest.fixture
def live(notebook):
    notebook.run_afresh()
    notebook.page.locator(".llmlab-root .llmlab-gqa-picture svg").first.wait_for()
    sharing = Sharing(notebook, HeadSharing(LABORATORY))
    sharing.root.focus()
    yield sharing
    assert notebook.cell_errors() == [] and notebook.console_errors == [] and notebook.requests_outside == []


def test_a_notebook_and_its_kernel_agree(live, notebook):
    live.check()
    live.press("g", "g", "m", "ArrowRight", "ArrowUp")
    live.check(n_kv_heads=2, tiled=True, head=6, context=512)
    live.root.get_by_label("measure of quality").select_option("questions")
    live.widget.skill = "questions"
    expected = str([getattr(live.widget, name) for name in NAMES])
    notebook.until(lambda: notebook.said(1), expected)
    live.root.get_by_label("model", exact=True).select_option("Qwen2-7B")
    live.check(model_name="Qwen2-7B")
    expected = str([getattr(live.widget, name) for name in NAMES])
    notebook.until(lambda: notebook.said(1), expected)
    notebook.run(2)
    notebook.until(lambda: live.said("headline").startswith("DeepSeek-V3"), True)
    live.check(model_name="DeepSeek-V3")


def test_the_button_measures_in_the_kernel_and_the_page_shows_ratios(live, notebook):
    assert "Not measured yet" in live.root.locator("[data-silent]").text_content()
    assert notebook.said(3) == "[]"
    live.root.locator("[data-measure]").click()
    notebook.until(live.root.locator("[data-speed]").count, 4)
    notebook.until(lambda: notebook.said(3), "[8, 4, 2, 1]")
    assert live.root.locator("[data-speed='8']").text_content() == "8 kvbytes 1.00, time 1.00"
    assert "bytes 0.250, time " in live.root.locator("[data-speed='2']").text_content()
    assert "8 heads of 16, float32" in live.root.locator(".llmlab-gqa-panels").text_content()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_first_view_fits_beside_the_sidebar(live, notebook, theme):
    notebook.set_theme(theme)
    folder = os.environ.get("LLMLAB_SCREENSHOTS")
    for name, keys in (("own", []), ("tiled", ["g", "m"]), ("latent", ["g", "g", "g"])):
        live.press(*keys)
        assert first_view(live, ".llmlab-gqa-first") == []
        if folder:
            live.root.screenshot(path=Path(folder) / f"gqa-{theme}-{name}.png")
    for model in ("DeepSeek-V2", "Llama-3.1-405B", "Mixtral-8x22B"):
        live.root.get_by_label("model", exact=True).select_option(model)
        assert first_view(live, ".llmlab-gqa-first") == []
        if folder:
            live.root.screenshot(path=Path(folder) / f"gqa-{theme}-{model}.png")
