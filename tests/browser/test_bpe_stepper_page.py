"""The BPE stepper in a real browser, by keyboard and pointer: what it shows at every step is what Python counted."""

import os
import random
from pathlib import Path

import pytest
from first_view import first_view
from test_fit import BESIDE, faults
from test_saved_page import TABLES

from llmlab.widgets.tokenization import CORPUS, LONGEST_CORPUS, TEXT, BPEStepper, label

pytestmark = pytest.mark.browser
MIXED = "aaaa aaa aaaaa banana bananas é é 领领先 <b>bold</b>\nthe the"
CODE = """from llmlab.widgets.tokenization import BPEStepper
stepper = BPEStepper()
stepper"""
# Of each row: how often it stands there, its chips, those just joined, and the marks between the chips.
ROWS = """root => [...root.querySelectorAll("[data-piece]")].map(row => [
    row.querySelector("button").textContent,
    [...row.querySelectorAll(".llmlab-bpe-chip")].map(chip => chip.textContent),
    [...row.querySelectorAll(".llmlab-bpe-new")].map(chip => chip.textContent),
    [...row.querySelectorAll("[data-joint]")].map(joint => joint.dataset.joint),
])"""
PAIRS = """root => [...root.querySelectorAll("[data-rank]")].map(row => [
    ...[...row.querySelectorAll(".llmlab-bpe-chip")].map(chip => chip.textContent),
    row.querySelector(".llmlab-bpe-times").textContent, row.textContent.includes("= tie")])"""
TOKENS = """lane => [...lane.querySelectorAll("[data-token]")].map(
    chip => [chip.querySelector(".llmlab-mono").textContent, chip.querySelector("small").textContent])"""
NODES = "svg => [...svg.querySelectorAll('[data-node]')].map(node => node.dataset.node)"
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
SMALL = """root => [...root.querySelectorAll("button, input, textarea, select, [data-piece]")]
    .filter(node => node.getClientRects().length).map(node => [node, node.getBoundingClientRect()])
    .filter(([node, box]) => box.height < 23.5 || (box.width < 23.5 && node.type !== "range"))
    .map(([node]) => node.outerHTML.slice(0, 100))"""


def marks(word, pair):
    """Between the tokens of a word: which occurrences of a pair are joined, and which overlap one that is."""
    found, taken = [], -1
    for at in range(len(word) - 1):
        here = (word[at], word[at + 1]) == pair
        found.append(("over" if at == taken else "next") if here else "")
        if here and at != taken:
            taken = at + 1
    return found


class Stepper:
    """The widget as a reader sees it. `widget` is the same one in Python, which the tests keep in step."""

    def __init__(self, opened, widget):
        self.opened, self.page, self.widget = opened, opened.page, widget
        self.root = self.page.locator(".llmlab-root")
        self.root.locator(".llmlab-bpe-top").wait_for()

    def press(self, *keys):
        for key in keys:
            self.page.keyboard.press(key)

    def said(self, name):
        return self.root.locator(f"[data-{name}]").text_content()

    def sentence(self):
        return self.root.locator(".llmlab-bpe-learn .llmlab-bpe-sentence > span").all_text_contents()

    def check(self, step, rank=0):
        """The picture of the corpus after so many merges is what Python says."""
        widget = self.widget
        widget.step = step
        vocabulary = [bytes([byte]) for byte in range(256)] + [left + right for left, right in widget.merges]
        ranking = [(vocabulary[a], vocabulary[b], n) for a, b, n in widget.ranked[step].tolist() if n > 0]
        tokens, _, ties, _ = widget.totals[step].tolist()
        made = widget.merges[step - 1] if step else None
        pair = ranking[rank][:2] if ranking else None
        rows, before = self.root.evaluate(ROWS), {}
        if step:
            widget.step = step - 1
            before = {b"".join(word): word for word in widget.words()}
            widget.step = step
        for (count, chips, fresh, joints), (word, times) in zip(rows, widget.words().items(), strict=True):
            assert (count, chips, joints) == (f"{times} ×", [label(part) for part in word], marks(word, pair))
            joined = [b"".join(made)] * (len(before[b"".join(word)]) - len(word)) if step else []
            assert fresh == [label(part) for part in joined]
        assert self.root.evaluate(PAIRS) == [
            [label(a), label(b), str(n), ties > 1 and n == ranking[0][2]] for a, b, n in ranking
        ]
        merges = self.root.locator("[data-merge]").all_text_contents()
        assert merges == [f"{k + 1} {label(a + b)}" for k, (a, b) in enumerate(widget.merges[:step])]
        assert self.said("count") == f"merge {step} of {len(widget.merges)}"
        assert f"{tokens} token{'' if tokens == 1 else 's'} now" in self.said("counters")
        assert f"= {256 + step} tokens" in self.said("counters")
        assert int(self.root.get_by_label("merges applied").input_value()) == step
        self.check_tree(step)

    def check_tree(self, step):
        """One box for every byte of the chosen piece and for every join in it so far."""
        widget = self.widget
        piece, boxes = list(widget.pieces)[widget.piece], []
        for now in range(step + 1):
            widget.step = now
            parts = next(word for word in widget.words() if b"".join(word) == piece)
            boxes += [part for part in set(parts) for _ in range(parts.count(part) - boxes.count(part))]
        widget.step = step
        shown = self.root.locator(".llmlab-bpe-learn svg").evaluate(NODES)
        assert len(shown) == 2 * len(piece) - len(parts)
        assert set(shown) == {label(part) for part in boxes}

    def tokens(self, which):
        return self.root.locator(f"[data-lane='{which}']").evaluate(TOKENS)

    def check_tokens(self):
        widget, first = self.widget, self.widget.first_difference
        for which in (0, 1):
            expected, at = [], 0
            for part in widget.parts(which):
                sign = "≠ " if at == first else ""
                expected.append([sign + label(part), f"{widget.token_ids[which][part.hex()]:,}"])
                at += len(part)
            assert self.tokens(which) == expected

    def chosen(self):
        chip = self.root.locator(".llmlab-bpe-token.llmlab-chosen .llmlab-mono")
        return chip.text_content().removeprefix("≠ ")


@pytest.fixture
def saved(open_saved):
    def save_and_open(widget=None, **how):
        widget = widget or BPEStepper()
        return Stepper(open_saved(widget, **how), widget)

    return save_and_open


# Learning -----------------------------------------------------------------------------------------------------------


def test_the_first_view_is_a_tie(saved):
    stepper = saved()
    stepper.check(0)
    assert stepper.sentence() == [
        "45 bytes in 6 different pieces; no merge yet.",
        "Next: “o” and “w”, side by side 5 times; so are “l” and “o”, and among equals the greater bytes win.",
    ]
    assert stepper.said("rule").endswith("the greater bytes win: o = 6f is above l = 6c.")
    assert "→ next merge" in stepper.root.locator(".llmlab-hint").text_content()
    assert stepper.root.get_by_label("the corpus", exact=True).is_disabled()


@pytest.mark.parametrize("corpus", [CORPUS, MIXED])
def test_every_step_there_and_back_shows_what_python_counted(saved, corpus):
    widget = BPEStepper(corpus, n_merges=25)
    stepper, last = saved(widget), len(widget.merges)
    stepper.root.focus()
    for step in range(last + 1):
        stepper.check(step)
        stepper.press("ArrowRight")
    stepper.check(last)
    assert stepper.root.locator("[data-next]").is_disabled()
    for step in range(last, -1, -1):
        stepper.check(step)
        stepper.press("ArrowLeft")
    stepper.check(0)
    assert stepper.root.locator("[data-back]").is_disabled()
    assert stepper.root.locator("b", has_text="bold").count() == 0  # text, not HTML


def test_jumps_by_key_slider_button_and_merge(saved):
    stepper = saved()
    stepper.press("Tab")
    for keys, step in [(["End"], 16), (["Home"], 0), ([" ", " "], 2), (["Backspace"], 1), (["ArrowRight"] * 5, 6)]:
        stepper.press(*keys)
        stepper.check(step)
    stepper.root.locator("[data-merge='3']").click()
    stepper.check(3)
    stepper.press("ArrowRight")  # the click gave the focus back to the widget
    stepper.check(4)
    stepper.root.locator("[data-next]").click()
    stepper.check(5)
    stepper.root.locator("[data-back]").click()
    stepper.check(4)
    slider = stepper.root.get_by_label("merges applied")
    slider.focus()
    stepper.press("ArrowRight", "ArrowRight")
    stepper.check(6)
    stepper.press("End")
    stepper.check(16)
    outline = stepper.root.evaluate(
        "node => (node.focus(), getComputedStyle(node).outlineStyle + getComputedStyle(node).outlineWidth)"
    )
    assert outline == "solid2px"


def test_the_end_says_that_nothing_is_left(saved):
    stepper = saved(BPEStepper(step=16))
    assert stepper.sentence()[1] == "Every piece is one token: nothing is left to join."
    assert stepper.said("rule") == "No two tokens stand side by side any more."
    cut = saved(BPEStepper(n_merges=3, step=3))
    assert cut.sentence()[1] == "That was the last merge that was learned."


def test_an_overlap_is_drawn_and_said(saved):
    stepper = saved(BPEStepper("aaaa aaa"))
    assert [row[3] for row in stepper.root.evaluate(ROWS)] == [["next", "over", "next"], ["", "next", "over"]]
    stepper.root.focus()
    stepper.press("ArrowRight")
    assert stepper.sentence()[0] == (
        "Merge 1: “a” and “a” became “aa”, counted 5 times but joined 3, since occurrences overlap."
    )
    assert stepper.root.evaluate(ROWS)[0][1:3] == [["aa", "aa"], ["aa", "aa"]]


def test_a_piece_and_a_pair_are_chosen_by_key_and_by_pointer(saved):
    stepper = saved()
    stepper.root.focus()
    stepper.press("ArrowRight", "ArrowRight", "ArrowUp", "ArrowUp", "ArrowUp")
    stepper.widget.piece = 0
    stepper.check(2)
    stepper.press("ArrowDown", "ArrowDown", "ArrowDown")
    stepper.widget.piece = 3
    stepper.check(2)
    stepper.root.locator("[data-piece='5']").click()
    stepper.widget.piece = 5
    stepper.check(2)
    stepper.press("]", "]", "[")
    stepper.check(2, rank=1)
    stepper.root.locator("[data-rank='4']").click()
    stepper.page.mouse.move(1, 1)
    stepper.check(2, rank=4)
    stepper.root.locator("[data-rank='2']").hover()
    stepper.check(2, rank=2)
    stepper.page.mouse.move(1, 1)
    stepper.check(2, rank=4)
    stepper.press("ArrowRight")  # a new step looks at its winner
    stepper.check(3)


def test_a_large_corpus_steps_at_once_and_scrolls_by_keyboard(saved):
    draw = random.Random(1)
    corpus = "".join(draw.choice("abcdefgh ") for _ in range(LONGEST_CORPUS))
    stepper = saved(BPEStepper(corpus, n_merges=256))
    stepper.root.focus()
    assert stepper.page.evaluate(LATENCY, ["ArrowRight"] * 40 + ["ArrowLeft"] * 20) < 200  # 10 where nothing else runs
    rows = stepper.root.locator(".llmlab-bpe-rows")
    assert rows.get_attribute("tabindex") == "0" and "rarer pieces, not drawn but counted" in stepper.root.inner_text()
    stepper.press(*["ArrowDown"] * 30)
    bottoms = "row => [row, row.parentElement].map(node => node.getBoundingClientRect().bottom)"
    row, around = stepper.root.locator(".llmlab-bpe-now").evaluate(bottoms)
    assert row <= around + 1 and rows.evaluate("node => node.scrollTop") > 0


# Encoding -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def encoding(saved):
    stepper = saved(BPEStepper(mode="encode"))
    stepper.root.focus()
    return stepper


def test_two_tokenizers_and_where_they_part(encoding):
    encoding.check_tokens()
    assert encoding.said("difference") == (
        "GPT-2's tokenizer needs 29 tokens where the course's needs 12. ≠ The cuts first differ after “The”: "
        "the course's takes “·un”, GPT-2's takes “·unbelievable”."
    )
    titles = encoding.root.locator(".llmlab-bpe-title").all_text_contents()
    assert titles == [
        "the course's (4,096 tokens): 12 tokens, 4.58 bytes a token, 0.414 × as many as the other",
        "GPT-2's (50,257 tokens): 29 tokens, 1.9 bytes a token, 2.42 × as many as the other",
    ]
    assert encoding.root.get_by_label("the text", exact=True).input_value() == TEXT
    assert encoding.chosen() == "·unbelievable"
    assert "13 bytes, 20 75 6e 62 65 6c 69 65 76 61 62 6c 65; made by merge 24,224 of" in encoding.said("about")


def test_the_keyboard_walks_over_tokens_and_takes_them_apart(encoding):
    widget, where = encoding.widget, encoding.widget.position
    for keys, chosen in [
        (["ArrowRight"], "·coffee"), (["ArrowLeft"] * 3, "The"), (["ArrowUp"], "The"), (["ArrowRight"] * 2, "be"),
        (["ArrowDown"], "·unbelievable"), (["End"], "0x9f"), (["Home"], "The"), (["ArrowRight"], "·unbelievable"),
    ]:  # fmt: skip
        encoding.press(*keys)
        assert encoding.chosen() == chosen
    encoding.press("Enter")
    widget.undone = [[1, where + 8]]
    encoding.check_tokens()
    assert encoding.chosen() == "·unbeliev" and "taken apart: 30" in encoding.root.inner_text()
    encoding.press("ArrowRight", "Enter")
    widget.undone = [[1, where + 8], [1, where + 10]]
    encoding.check_tokens()
    encoding.press(*["Enter"] * 3)  # down to a byte, which stays
    assert encoding.chosen() == "a" and "a byte: nothing to undo" in encoding.said("about")
    encoding.press("Backspace")
    widget.undone = []
    encoding.check_tokens()
    assert encoding.root.locator("[data-join]").is_disabled()


def test_the_pointer_takes_a_token_apart_and_joins_it_again(encoding):
    widget = encoding.widget
    encoding.root.locator("[data-lane='0'] [data-token]", has_text="·coffee").click()
    start = widget.text_bytes.tobytes().index(b" coffee")
    at = start + int(widget.text_joined[0, start : start + 6].argmax())
    widget.undone = [[0, at]]
    encoding.check_tokens()
    again = encoding.root.locator("[data-join]")
    again.click()
    widget.undone = []
    encoding.check_tokens()
    assert again.is_disabled()


def test_a_token_with_the_focus_keeps_it(encoding):
    chip = encoding.root.locator("[data-lane='1'] [data-token='1']")
    assert encoding.root.locator("[data-token][tabindex='0']").count() == 1
    chip.focus()
    encoding.press("Enter")
    assert (
        encoding.page.evaluate("() => document.activeElement.querySelector('.llmlab-mono').textContent")
        == "≠ ·unbeliev"
    )
    encoding.press("ArrowRight")
    assert encoding.page.evaluate("() => document.activeElement.querySelector('.llmlab-mono').textContent") == "able"


def test_the_tree_of_a_token_has_every_join(encoding):
    nodes = encoding.root.locator(".llmlab-bpe-encode svg").evaluate(NODES)
    assert len(nodes) == 13 + 12 and {"·un", "·unbel", "able", "·unbeliev", "·unbelievable"} <= set(nodes)
    text = encoding.root.locator(".llmlab-bpe-encode svg").text_content()
    assert "·unbelievable#24,224" in text and "able#285" in text
    dashed = ".llmlab-bpe-encode g.llmlab-bpe-off"
    assert encoding.root.locator(dashed).count() == 0
    encoding.press("Enter")
    assert encoding.root.locator(dashed).count() == 1


def test_a_text_that_both_cut_alike(saved):
    stepper = saved(BPEStepper(text="The coffee", mode="encode"))
    assert stepper.said("difference") == "Both need 2 tokens. Both cut the text at the same places."
    stepper.check_tokens()


# As text, sizes, looks ----------------------------------------------------------------------------------------------


def test_the_tables_say_what_python_says(saved):
    widget = BPEStepper(MIXED, text="naïve 领先 <i>x</i> \x00 👨‍👩‍👧", step=4)
    stepper = saved(widget)
    stepper.root.focus()
    stepper.press("t")
    assert stepper.root.evaluate(TABLES) == [vars(table) for table in widget.tables()]
    stepper.press("ArrowRight")
    widget.step = 5
    assert stepper.root.evaluate(TABLES) == [vars(table) for table in widget.tables()]
    stepper.press("m", "Home", "Enter")
    widget.mode = "encode"
    part = widget.parts(widget.which)[0]
    assert part == b"na"
    widget.undone = [[widget.which, 0]]
    assert stepper.root.evaluate(TABLES) == [vars(table) for table in widget.tables()]
    assert stepper.root.locator("i", has_text="x").count() == 0


def test_the_mode_is_switched_by_key_and_by_button(saved):
    stepper = saved()
    stepper.press("Tab", "m")
    assert stepper.root.locator(".llmlab-bpe-encode").is_visible()
    assert not stepper.root.locator(".llmlab-bpe-learn").is_visible()
    assert "Enter (or a click)" in stepper.root.locator(".llmlab-hint").text_content()
    stepper.root.get_by_role("button", name="Learn merges").click()
    assert stepper.root.locator(".llmlab-bpe-learn").is_visible()
    stepper.press("m")
    pressed = stepper.root.locator("[data-mode][aria-pressed=true]").get_attribute("data-mode")
    assert pressed == "encode"


@pytest.mark.parametrize("mode", ["learn", "encode"])
def test_a_phone_and_a_projector_show_all(saved, mode):
    for width, scale in ((390, 1.0), (390, 1.5), (1280, 1.5)):
        stepper = saved(BPEStepper(MIXED, step=5, mode=mode, scale=scale), width=width)
        assert stepper.page.evaluate(BESIDE) <= 0
        assert stepper.root.evaluate(SMALL) == []


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("mode", ["learn", "encode"])
def test_axes_rules_hold_in_both_modes(saved, mode, theme):
    widget = BPEStepper(MIXED * 4, text="the quick 我配拥有一杯咖啡吗 " * 4, step=9, mode=mode, which=0, position=11)
    stepper = saved(widget, theme=theme, width=700)
    assert faults(stepper.page) == []


# With a kernel ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def notebook(lab, open_shared_notebook):
    cells = CODE, "print(stepper.merges[:2], stepper.tokens)", "stepper.corpus = 'hug hugs'"
    return open_shared_notebook(lab.write("bpe_stepper.ipynb", *cells))


@pytest.fixture
def live(notebook):
    notebook.run_afresh()
    notebook.page.locator(".llmlab-root [data-piece]").first.wait_for()
    stepper = Stepper(notebook, BPEStepper())
    stepper.root.focus()
    yield stepper
    assert notebook.cell_errors() == [] and notebook.console_errors == [] and notebook.requests_outside == []


def test_a_typed_corpus_is_learned_and_a_refused_one_keeps_the_picture(live, notebook):
    live.press("ArrowRight", "ArrowRight", "/")
    field = live.root.get_by_label("the corpus", exact=True)
    assert field.evaluate("node => node === document.activeElement")
    field.fill("aaaa aaa banana")
    live.page.get_by_text("merge 0 of 9").wait_for()
    live.widget.corpus = "aaaa aaa banana"
    live.check(0)
    learned = "[(b'a', b'a'), (b'n', b'a')]"
    notebook.until(lambda: notebook.said(1).startswith(learned), True)
    field.fill("x" * (LONGEST_CORPUS + 1))
    live.root.get_by_text("expected a corpus of at most 4,000 characters, got 4,001").wait_for()
    live.check(0)
    field.fill("hug")
    live.page.get_by_text("merge 0 of 2").wait_for()
    notebook.run(2)  # Python says another
    live.page.get_by_text("merge 0 of 4").wait_for()
    live.widget.corpus = "hug hugs"
    live.root.focus()
    live.press("ArrowRight")
    live.check(1)


def test_a_typed_text_is_encoded_and_a_refused_one_keeps_the_picture(live, notebook):
    live.press("m", "/")
    field = live.root.get_by_label("the text", exact=True)
    field.fill("")
    live.root.get_by_text("expected a text of at least one character").wait_for()
    live.check_tokens()
    field.fill("unhappiness 领先")
    live.root.get_by_text("first differ after “un”").wait_for()
    live.widget.text = "unhappiness 领先"
    live.check_tokens()
    notebook.until(lambda: notebook.said(1).endswith(str(live.widget.tokens)), True)
    field.fill("x" * 401)
    live.root.get_by_text("expected a text of at most 400 characters, got 401").wait_for()
    live.check_tokens()
    field.evaluate("node => { node.value = 'a\\ud800'; node.dispatchEvent(new Event('input')); }")
    live.root.get_by_text("expected text without lone surrogates, got one at position 1").wait_for()
    live.check_tokens()
    field.fill("unhappiness")
    live.root.get_by_text("expected text").wait_for(state="detached")
    live.widget.text = "unhappiness"
    live.opened.until(lambda: len(live.tokens(1)), 3)
    live.check_tokens()
    live.press("Escape", "Enter", "ArrowRight")
    live.root.get_by_text("taken apart").wait_for()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_first_views_fit_beside_the_sidebar(live, notebook, theme):
    notebook.set_theme(theme)
    folder = os.environ.get("LLMLAB_SCREENSHOTS")
    for keys, part in (("", "learn"), ("End", "learn"), ("m", "encode")):
        live.press(*[keys] if keys else [])
        assert first_view(live, f".llmlab-bpe-{part}") == []
        if folder:
            live.root.screenshot(path=Path(folder) / f"bpe-{part}-{theme}-{keys}.png")
