"""The KV-cache stepper in a real JupyterLab, driven by keyboard and pointer; its numbers are compared with torch."""

import itertools
import os
import re
import time
from pathlib import Path

import pytest
import torch
from first_view import first_view

from llmlab import load_model, trace
from llmlab.generate import generate
from llmlab.widgets.kv_cache import KVCacheStepper

pytestmark = pytest.mark.browser
MODEL, TOKENIZER = load_model()
PROMPT, N_NEW = "The capital of France is", 12
CODE = """from llmlab import load_model
from llmlab.widgets.kv_cache import KVCacheStepper
stepper = KVCacheStepper(*load_model(), "The capital of France is", 12)
stepper"""
HOVER = """async () => {
    const cells = [...document.querySelectorAll('.llmlab-root [data-lane="0"] [data-cell="K"]')].slice(0, 12);
    const frame = () => new Promise(done => requestAnimationFrame(() => setTimeout(done)));
    const times = [];
    for (const cell of cells) {
        await frame();
        const start = performance.now();
        cell.dispatchEvent(new PointerEvent('pointermove', {bubbles: true}));
        await frame();
        times.push(performance.now() - start);
    }
    return times.sort((a, b) => a - b)[Math.floor(times.length / 2)];
}"""


def ids_of(text):
    return [TOKENIZER.special_tokens["<s>"], *TOKENIZER.encode(text)]


def numbers(text):
    return [int(number) for number in re.findall(r"\d+", text)]


class Stepper:
    """The widget as a reader sees it: what stands on the page, and what the model says it should be."""

    def __init__(self, notebook):
        self.notebook, self.page = notebook, notebook.page
        self.root = notebook.page.locator(".llmlab-root")
        self.prompt = ids_of(PROMPT)

    def press(self, *names):
        for name in names:
            self.page.keyboard.press(name)

    def step(self):
        return int(self.root.get_by_label("step", exact=True).input_value())

    def statuses(self, lane, letter="K"):
        cells = self.root.locator(f'[data-lane="{lane}"] [data-cell="{letter}"]')
        return cells.evaluate_all("nodes => nodes.map(node => node.dataset.status)")

    def meter(self, name):
        return self.root.locator(f'[data-meter="{name}"] td').all_text_contents()

    def check(self, step):
        """Compares what the page shows at a step with the closed forms and with a forward pass."""
        p, count = len(self.prompt), len(self.prompt) + step
        without = sum(range(p, count + 1))
        assert self.step() == step
        assert [numbers(text)[0] for text in self.meter("computed")[:4]] == [count, 1 if step else p, without, count]
        for letter in "KV":
            assert self.statuses(0, letter) == (["again"] * (count - 1) + ["new"] if step else ["new"] * p)
            assert self.statuses(1, letter) == (["kept"] * (count - 1) + ["new"] if step else ["new"] * p)
        new = [s.token for s in generate(MODEL, self.prompt, step + 1)]
        with torch.inference_mode(), trace.record(MODEL) as seen:
            logits = MODEL(torch.tensor([(self.prompt + new)[:count]]))[0, -1]  # (V,)
        for rank, expected in enumerate(logits.topk(5).values.tolist()):
            cells = self.root.locator(f'[data-candidate="{rank}"] td').all_text_contents()
            shown = [float(text.replace("−", "-")) for text in cells[:2]]
            assert shown == pytest.approx([expected] * 2, abs=6e-3)
        return seen

    def check_pixels(self, seen, layer, head):
        """A strip has a pixel for each number, its opacity growing with the number's size."""
        for kind, name in ((0, "k"), (1, "v")):
            vectors = seen[f"blocks.{layer}.attention.{name}"][0, head].abs()  # (T, d)
            strip = self.root.locator('[data-lane="1"] .llmlab-kv-strip').nth(kind)
            image = strip.evaluate(
                "c => [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data].filter((_, i) => i % 4 === 3)"
            )
            expected = 255 * (0.08 + 0.92 * vectors / vectors.max()).T.flatten()  # a row of pixels per number
            assert image == pytest.approx(expected.clamp(max=255).tolist(), abs=1.5)

    def check_vectors(self, seen, token, layer, head):
        rows = self.root.locator("[data-detail] tr")
        for row, name in ((0, "k"), (1, "v")):
            cells = rows.nth(row).locator("td").all_text_contents()[:-1]
            expected = seen[f"blocks.{layer}.attention.{name}"][0, head, token, : len(cells)]
            assert [float(text.replace("−", "-")) for text in cells] == pytest.approx(expected.tolist(), abs=6e-3)


@pytest.fixture(scope="module")
def notebook(lab, open_shared_notebook):
    return open_shared_notebook(lab.write("stepper.ipynb", CODE))


@pytest.fixture
def stepper(notebook):
    notebook.run_afresh()
    notebook.page.wait_for_selector(".llmlab-root [data-candidate]")
    yield Stepper(notebook)
    assert notebook.cell_errors() == [] and notebook.console_errors == [] and notebook.requests_outside == []


def test_the_keyboard_steps_through_the_real_run_and_nothing_else(stepper):
    n_cells = len(stepper.notebook.cells())
    stepper.check_pixels(stepper.check(N_NEW - 1), 0, 0)  # the first view: the whole run
    assert numbers(stepper.root.locator(".llmlab-kv-totals").text_content()) == [12, 138, 17]
    stepper.root.focus()
    stepper.press(" ")  # from the end to the start
    stepper.check(0)
    stepper.press(" ", " ", "ArrowRight", "ArrowLeft")
    stepper.check(2)
    stepper.press("End", "ArrowRight")
    stepper.check(N_NEW - 1)
    stepper.press("Home", "ArrowLeft", "ArrowRight", "ArrowDown", "ArrowDown", "ArrowUp", "]", "]")
    seen = stepper.check(1)
    stepper.check_pixels(seen, 1, 1)
    stepper.check_vectors(seen, len(stepper.prompt), 1, 1)  # the newest token, until another is chosen
    stepper.press("Shift+ArrowLeft", "Shift+ArrowLeft")
    stepper.check_vectors(seen, len(stepper.prompt) - 2, 1, 1)
    assert "held" in stepper.root.locator("[data-detail]").text_content()
    stepper.press("Escape", "[", "b")  # JupyterLab would add a cell
    stepper.check_vectors(seen, len(stepper.prompt), 1, 0)
    assert len(stepper.notebook.cells()) == n_cells
    stepper.press("t")
    rows = stepper.root.locator("table:visible").first.locator("tbody tr").all_text_contents()
    assert len(rows) == N_NEW
    stepper.press("t", "Home", "a")
    stepper.page.wait_for_function("() => document.querySelector('.llmlab-root [aria-label=step]').value === '2'")
    stepper.press("a")
    assert stepper.page.evaluate("() => document.activeElement.className") == "llmlab-root"


def test_predictions_hide_the_next_step_and_are_judged_in_words(stepper):
    stepper.root.focus()
    stepper.press("p")
    assert stepper.step() == 0
    verdict = stepper.root.locator("[data-verdict]")
    fields = [stepper.root.get_by_label(f"keys {name}") for name in ("without a cache", "with a cache")]
    stepper.press("Enter")
    assert "Type both numbers" in verdict.text_content() and stepper.step() == 0
    p = len(stepper.prompt)
    stepper.page.keyboard.type(str(p + 1))
    stepper.press("Tab")
    stepper.page.keyboard.type("1")
    stepper.press("Enter")
    assert verdict.text_content().startswith("Right.") and stepper.step() == 1
    stepper.check(1)
    fields[0].fill("1")
    fields[1].fill("1")
    stepper.root.get_by_role("button", name="Reveal", exact=True).click()
    text = verdict.text_content()
    assert text.startswith("You said 1 and 1: one is right.") and f"Step 2 computed {p + 2} without" in text
    stepper.press("Escape", " ", "ArrowRight", "End")  # the question comes first
    assert stepper.step() == 2 and stepper.page.evaluate("() => document.activeElement.tagName") == "INPUT"
    stepper.press("Escape", "t")
    assert stepper.root.locator("table:visible").first.locator("tbody tr").count() == 3  # later steps stay hidden
    stepper.press("t", "p", " ")
    assert stepper.step() == 3 and not verdict.is_visible()


def test_the_pointer_and_a_typed_prompt_reach_the_model(stepper):
    seen = stepper.check(N_NEW - 1)
    cell = stepper.root.locator('[data-lane="0"] [data-cell="V"][data-token="3"]')
    cell.hover()
    stepper.check_vectors(seen, 3, 0, 0)
    assert "without a cache: again" in stepper.root.locator("[data-detail]").text_content()
    cell.click()
    stepper.root.locator("h4").first.hover()
    stepper.check_vectors(seen, 3, 0, 0)
    stepper.press("Escape")
    stepper.check_vectors(seen, len(stepper.prompt) + N_NEW - 2, 0, 0)
    hover = stepper.page.evaluate(HOVER)

    field = stepper.root.get_by_label("prompt", exact=True)
    field.fill("The cat was tired")
    start = time.perf_counter()
    field.press("Enter")
    stepper.root.locator('[data-lane="1"]').get_by_text("·tired").wait_for()
    typed = time.perf_counter() - start
    stepper.prompt = ids_of("The cat was tired")
    stepper.check(N_NEW - 1)
    print(f"\nhover to paint: median {hover:.1f} ms; prompt to picture: {1000 * typed:.0f} ms")

    for wrong in ("1.5", "-3", "1e1"):
        stepper.root.get_by_label("new tokens", exact=True).first.fill(wrong)
        stepper.page.keyboard.press("Enter")
        stepper.root.get_by_text("Expected a whole number of new tokens.").wait_for()
        assert stepper.root.get_by_text(f"The whole run, {N_NEW} new tokens").is_visible()
        stepper.root.get_by_label("new tokens", exact=True).first.fill(str(N_NEW))
        stepper.page.keyboard.press("Enter")
        stepper.root.get_by_text("Expected a whole number of new tokens.").wait_for(state="detached")
    stepper.root.get_by_label("new tokens", exact=True).first.fill("4")
    stepper.press("Enter")
    stepper.root.get_by_text("The whole run, 4 new tokens").wait_for()
    stepper.check(3)
    field.fill("<img src=x onerror=alert(1)> <b>")
    field.press("Enter")
    stepper.root.locator('[data-lane="1"]').get_by_text("<", exact=True).first.wait_for()
    assert stepper.root.locator("b, img").count() == 0
    field.fill("cat " * 100)
    field.press("Enter")
    stepper.root.get_by_text("expected at most 48 together").wait_for()


EDITED = "The capital of Spain is"


def check_edit(stepper):
    """The lanes after the edit, against token ids and forward passes."""
    old, new = ids_of(PROMPT), ids_of(EDITED)
    kept = next(at for at, pair in enumerate(zip(old, new, strict=True)) if pair[0] != pair[1])
    held, p = len(old) + N_NEW - 1, len(new)
    sentence = stepper.root.locator(".llmlab-kv-sentence").text_content()
    assert sentence.startswith(f"“·France” became “·Spain”: {kept} of {held} columns survive; {p - kept} keys (")
    assert f") in place of {p} (" in sentence and stepper.step() == 0
    for letter in "KV":
        assert stepper.statuses(0, letter) == ["again"] * kept + ["new"] * (p - kept)
        assert stepper.statuses(1, letter) == ["kept"] * kept + ["new"] * (p - kept)
    assert [numbers(text)[0] for text in stepper.meter("computed")[:4]] == [p, p - kept, p, p - kept]
    layers = range(len(MODEL.blocks))
    with torch.inference_mode(), trace.record(MODEL) as before:
        MODEL(torch.tensor([old]))
    with torch.inference_mode(), trace.record(MODEL) as after:
        logits = MODEL(torch.tensor([new]))[0, -1]
    shown = stepper.root.locator('[data-candidate="0"] td').all_text_contents()[:2]
    assert [float(text.replace("−", "-")) for text in shown] == pytest.approx([logits.max().item()] * 2, abs=6e-3)
    names = [[f"blocks.{layer}.attention.{x}" for x in "kv"] for layer in layers]
    moved = torch.stack(
        [torch.stack([(after[x] - before[x])[0].abs().amax(-1) for x in pair]).amax(0) for pair in names]
    )  # (L, G, T)
    return kept, after, moved


def test_a_word_of_the_prompt_is_edited_by_keyboard(stepper):
    n_cells = len(stepper.notebook.cells())
    stepper.root.focus()
    stepper.press("Home", "Shift+ArrowLeft")  # the token before the prompt's last: France
    assert "·France" in stepper.root.locator("[data-detail]").text_content()
    stepper.press("e")
    field = stepper.root.get_by_label("the prompt after the edit")
    chosen = field.evaluate("node => node.value.slice(node.selectionStart, node.selectionEnd)")
    assert field.input_value() == PROMPT and chosen == "France"  # the held word, ready to be typed over
    stepper.page.keyboard.type("Spain")
    stepper.press("Enter")
    stepper.root.get_by_text("became “·Spain”").wait_for()
    kept, seen, moved = check_edit(stepper)
    assert stepper.page.evaluate("() => document.activeElement.className") == "llmlab-root"
    assert stepper.root.locator('[data-lane="1"] s').count() > 0  # what was generated before is struck out
    detail = stepper.root.locator("[data-detail]")
    last = len(ids_of(EDITED)) - 1
    assert "The same word: its column is the same in this layer and head." in detail.text_content()
    stepper.press("ArrowDown", "]")
    stepper.check_vectors(seen, last, 1, 1)
    said = f"The same word: its column moved by up to {moved[1, 1, last]:.2f} in this layer and head."
    assert said in detail.text_content()
    stepper.press("Shift+ArrowLeft")
    assert f"“·France” before: its column moved by up to {moved[1, 1, kept]:.2f}" in detail.text_content()
    stepper.press("Shift+ArrowLeft")
    assert "It stands before the change: kept." in detail.text_content()
    stepper.press("t")
    rows = stepper.root.locator("table:visible").nth(2).locator("tbody tr").all_text_contents()
    assert len(rows) == len(ids_of(PROMPT)) + N_NEW - 1 and rows[kept] == f"{kept}·France·Spaincomputed again"
    stepper.press("t", " ")  # the run goes on from the edit
    assert stepper.step() == 1
    assert stepper.statuses(1) == ["kept"] * (last + 1) + ["new"]
    stepper.press("Home", "e", "Escape", "b")
    assert len(stepper.notebook.cells()) == n_cells


def test_an_edit_is_made_and_taken_back_by_pointer(stepper):
    stepper.root.get_by_role("button", name="Edit a word").click()
    field = stepper.root.get_by_label("the prompt after the edit")
    field.fill(EDITED)
    stepper.root.locator(".llmlab-kv-sentence").click()
    stepper.root.get_by_text("became “·Spain”").wait_for()
    check_edit(stepper)
    assert first_view(stepper, ".llmlab-kv-lanes", ".llmlab-kv-controls") == []
    field.fill("cat " * 100)
    field.press("Enter")
    stepper.root.get_by_text("expected at most 48 together").wait_for()
    stepper.root.get_by_role("button", name="Take the edit back").click()
    stepper.root.get_by_text("The whole run, 12 new tokens").wait_for()
    stepper.check(N_NEW - 1)
    assert not field.is_visible()


def test_the_first_view_fits_beside_the_sidebar(stepper):
    """Prompt, controls and both lanes: in JupyterLab at 1280 × 800 nothing scrolls."""
    for theme in ("light", "dark"):
        stepper.notebook.set_theme(theme)
        assert first_view(stepper, ".llmlab-kv-lanes", ".llmlab-kv-controls") == []


def test_the_stepper_is_drawn_in_both_themes(stepper):
    """At both widths of the window everything stays inside the widget, or scrolls within it."""
    folder = os.environ.get("LLMLAB_SCREENSHOTS")
    for theme, width in itertools.product(("light", "dark"), (1000, 700)):
        stepper.notebook.resize(width, 1700)
        stepper.notebook.set_theme(theme)
        stepper.page.wait_for_function("() => !document.getElementById('jupyterlab-splash')")
        assert stepper.root.evaluate("node => node.scrollWidth <= node.clientWidth")
        if folder:
            stepper.root.screenshot(path=Path(folder) / f"kv-cache-{theme}-{width}.png")


def test_a_saved_page_steps_without_kernel_and_network(tmp_path, open_page):
    page = open_page(KVCacheStepper(MODEL, TOKENIZER, PROMPT, N_NEW).save_html(tmp_path / "stepper.html"), theme="dark")
    page.page.wait_for_selector(".llmlab-root [data-candidate]")
    stepper = Stepper(page)
    stepper.check_pixels(stepper.check(N_NEW - 1), 0, 0)
    stepper.root.focus()
    stepper.press("Home", " ", "ArrowRight", "ArrowDown", "]")
    seen = stepper.check(2)
    stepper.check_pixels(seen, 1, 1)
    stepper.root.locator('[data-lane="1"] [data-cell="K"][data-token="3"]').click()
    stepper.check_vectors(seen, 3, 1, 1)
    stepper.press("Escape", "Home", "p", " ")  # the question comes first
    stepper.page.keyboard.type(str(len(stepper.prompt) + 1))
    stepper.press("Tab")
    stepper.page.keyboard.type("1")
    stepper.press("Enter")
    assert stepper.root.locator("[data-verdict]").text_content().startswith("Right.") and stepper.step() == 1
    assert stepper.root.get_by_label("prompt", exact=True).is_disabled()
    stepper.press("Escape", "e")  # an edit needs the model
    assert not stepper.root.get_by_label("the prompt after the edit").is_visible()
    assert stepper.root.get_by_role("button", name="Edit a word").is_disabled()
    stepper.root.get_by_text("A recording: another prompt or an edit needs a kernel.").wait_for()
    assert page.console_errors == [] and page.requests_outside == []
