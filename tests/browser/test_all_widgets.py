"""What every widget of the course owes its reader, tried on all of them in one notebook of a real JupyterLab."""

import pytest
from playwright.sync_api import expect

from llmlab.widgets.gallery import examples

pytestmark = pytest.mark.browser

SHOW = """from IPython.display import display
from llmlab.widgets.gallery import examples
shown = {name: make() for name, make in examples().items()}
for widget in shown.values():
    display(widget)"""
NAMES = list(examples())


@pytest.fixture(scope="module")
def notebook(lab, open_shared_notebook):
    notebook = open_shared_notebook(lab.write("all_widgets.ipynb", SHOW, "'below'", "'last'"))
    notebook.run(0)
    notebook.until(notebook.page.locator(".llmlab-root").count, len(NAMES))
    return notebook


# JupyterLab's keys --------------------------------------------------------------------------------------------------

# Every keystroke of a shortcut that JupyterLab has for notebooks, pressed at every element that can have the focus. The
# presses are events made by script, a hundred times as fast as real ones; JupyterLab knows a key by its `keyCode`, and
# without a `key` the widget itself does nothing. Which commands ran is asked of JupyterLab.
PRESS = """async ([nodes, bare]) => {
    const app = window.jupyterapp, notebook = window.llmlabPanel.content, suppress = 'data-lm-suppress-shortcuts';
    const codes = {Enter: 13, Escape: 27, Space: 32, End: 35, Home: 36, ArrowLeft: 37, ArrowUp: 38, ArrowRight: 39,
        ArrowDown: 40, Backspace: 8, Tab: 9, '-': 189};
    const bindings = app.commands.keyBindings.filter(({selector}) => selector.includes('.jp-Notebook'));
    const strokes = bindings.map(({keys}) => keys);
    const press = (node, stroke) => {
        const parts = stroke.split(' '), key = parts.at(-1), has = name => parts.slice(0, -1).includes(name);
        node.dispatchEvent(new KeyboardEvent('keydown', {key: 'Unidentified', keyCode: codes[key] ?? key.charCodeAt(0),
            bubbles: true, cancelable: true, shiftKey: has('Shift'), ctrlKey: has('Ctrl'), altKey: has('Alt')}));
    };
    const ran = [], tried = {}, asked = () => document.querySelectorAll('.jp-Dialog').length;
    const cells = () => notebook.widgets.map(({model}) => [model.type, model.sharedModel.getSource()]);
    const state = () => JSON.stringify([notebook.mode, notebook.activeCellIndex, asked(), cells()]);
    let now = '';
    const heard = (_, {id}) => ran.push(`${now}: ${id}`);
    app.commands.commandExecuted.connect(heard);
    for (const node of nodes) {
        node.focus();
        if (document.activeElement !== node) continue;
        const kind = node.tagName === 'INPUT' ? node.type : node.tagName.toLowerCase(), before = state();
        const root = node.closest('.llmlab-root');
        now = `${root.ariaLabel}, ${kind} ${node.ariaLabel ?? node.textContent.slice(0, 20)}`;
        if (bare) [node, root].forEach(one => one.removeAttribute(suppress));
        for (const stroke of bare ?? strokes) [stroke].flat().forEach(key => press(node, key));
        await new Promise(done => setTimeout(done, 12)); // JupyterLab runs a command when the key's event is over
        if (state() !== before) ran.push(`${now}: ${before} became ${state()}`);
        tried[kind] = (tried[kind] ?? 0) + 1;
    }
    app.commands.commandExecuted.disconnect(heard);
    return {ran, tried, strokes: strokes.map(keys => keys.join(', '))};
}"""
FOCUSABLE = """() => [...document.querySelectorAll('.llmlab-root, .llmlab-root *')].filter(
    node => (node.tabIndex >= 0 || node.hasAttribute('tabindex')) && !node.disabled && node.getClientRects().length)"""


COMMAND_MODE = ["D, D", "X", "C", "V", "M", "Y", "R", "A", "B", "J", "K", "Z", "1", "Enter", "Shift Enter"]
COMMAND_MODE += ["Ctrl Enter", "Alt Enter", "ArrowUp", "ArrowDown", "ArrowLeft", "ArrowRight", "Shift M"]


def test_no_key_at_any_element_of_a_widget_is_a_command_of_jupyterlab(notebook):
    notebook.page.evaluate(
        "() => document.querySelectorAll('.llmlab-root details').forEach(part => (part.open = true))"
    )
    script = f"() => ({PRESS})([({FOCUSABLE})(), null])"
    found = notebook.within(120, "the keys were not all pressed", script)
    assert found["ran"] == []
    assert set(COMMAND_MODE) <= set(found["strokes"])
    assert {"div", "button", "select", "range", "summary", "text", "number", "textarea"} <= set(found["tried"])
    assert sum(found["tried"].values()) > 150
    # Without the attribute, the same presses reach JupyterLab.
    script = f"() => ({PRESS})([document.querySelectorAll('.llmlab-root [data-view]'), ['Y']])"
    assert len(notebook.within(60, "the key was not pressed", script)["ran"]) > 3


def test_the_keys_of_a_field_are_its_own(notebook):
    calculator = notebook.page.locator(".llmlab-root", has=notebook.page.locator("[data-control=context]"))
    press, before = notebook.page.keyboard.press, notebook.cells()
    weights, slider, field = (
        calculator.locator(f"[data-control={name}]") for name in ("weight_dtype", "context-slider", "context")
    )
    weights.focus()
    first = weights.input_value()
    press("ArrowDown")
    assert weights.input_value() != first
    slider.focus()
    position = int(slider.input_value())
    for key in ("ArrowRight", "ArrowRight", "ArrowLeft"):
        press(key)
    assert int(slider.input_value()) == position + 1
    field.fill("")
    notebook.page.keyboard.type("1234")
    assert field.input_value() == "1234"
    assert notebook.cells() == before


# Alone in the window ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_each_widget_can_have_the_window_and_comes_back(notebook, theme):
    """Above JupyterLab's own panels, with the theme's ground; the notebook keeps its place and hears no key."""
    page, before = notebook.page, notebook.cells()
    notebook.set_theme(theme)
    for root in page.locator(".llmlab-root").all():
        root.focus()
        place = root.bounding_box()
        page.keyboard.press("f")
        expect(page.locator("dialog.llmlab-window")).to_be_visible()
        box, window = root.bounding_box(), page.viewport_size
        assert (box["x"], box["y"], box["width"]) == (0, 0, window["width"])
        over = page.evaluate("([x, y]) => document.elementFromPoint(x, y).closest('dialog') !== null", [20, 20])
        assert over and root.evaluate("node => node === document.activeElement")
        ground = [page.locator(name).first.evaluate("node => getComputedStyle(node).backgroundColor") for name in (
            "dialog.llmlab-window", ".llmlab-window > .llmlab-root")]  # fmt: skip
        assert ground[0] == ground[1]
        page.keyboard.press("Escape")
        expect(page.locator("dialog.llmlab-window")).to_have_count(0)
        assert root.bounding_box() == place and root.evaluate("node => node === document.activeElement")
    assert notebook.cells() == before and notebook.console_errors == []


GONE = """() => [...document.querySelectorAll('.llmlab-root [role=status]')].filter(
    one => /Run this cell again|No connection to the kernel/.test(one.textContent)).length"""


@pytest.fixture
def live(notebook):
    """The notebook with all its widgets alive: shown anew, unless the test before left them so."""
    if notebook.page.evaluate(GONE):
        notebook.run(0)
        notebook.until(lambda: notebook.page.evaluate(GONE), 0)
    return notebook


# A kernel that is gone ----------------------------------------------------------------------------------------------

# Does something to the kernel and returns after how many ms the last of the widgets says what became of it.
UNTIL_SAID = """async work => {
    const roots = () => [...document.querySelectorAll('.llmlab-root')], wanted = 'Run this cell again';
    const silent = () => roots().filter(root => !root.querySelector('[role=status]').textContent.includes(wanted));
    if (silent().length !== roots().length) throw Error('a widget says already that its kernel is gone');
    const start = performance.now(), done = window.llmlabPanel.sessionContext[work]();
    while (silent().length) await new Promise(next => setTimeout(next, 5));
    const took = performance.now() - start;
    await done;
    return took;
}"""
PICTURES = """() => [...document.querySelectorAll('.llmlab-root')].map(root => [root.ariaLabel,
    [...root.querySelectorAll('canvas')].map(canvas => canvas.getClientRects().length && canvas.toDataURL()),
    [...root.querySelectorAll('td')].map(cell => cell.textContent)])"""


def test_a_restart_is_said_and_the_picture_stays(notebook):
    page = notebook.page
    before = page.evaluate(PICTURES)
    took = notebook.within(60, "the widgets do not say that the kernel is gone", UNTIL_SAID, "restartKernel")
    assert took < 2000
    assert page.locator(".llmlab-root").count() == len(NAMES)
    assert page.evaluate(PICTURES) == before
    tour = page.locator(".llmlab-root", has=page.locator("[data-next]"))
    assert tour.get_by_label("prompt").is_disabled()
    assert page.locator(".llmlab-root").get_by_label("text", exact=True).is_disabled()
    for name in ("Append the next token", "Hint", "Solution"):
        assert page.get_by_role("button", name=name, exact=True).is_disabled()
    tour.locator("[data-token='1']").click()  # what the browser draws alone goes on
    assert tour.locator(".llmlab-chosen[data-token='1']").count() == 1
    assert "Run this cell again" in tour.get_by_role("status").first.inner_text()
    notebook.run(0)
    page.get_by_text("Run this cell again").first.wait_for(state="detached")
    prompt = page.locator(".llmlab-root", has=page.locator("[data-next]")).get_by_label("prompt")
    prompt.fill("4 + 3 =")
    prompt.press("Enter")
    page.locator("[data-token='5'] .llmlab-mono", has_text="=").wait_for()
    assert notebook.cell_errors() == [] and notebook.console_errors == [] and notebook.requests_outside == []


CRASH = "() => window.llmlabPanel.sessionContext.session.kernel.requestExecute({code: 'import os; os._exit(1)'})"
SAID = "() => [...document.querySelectorAll('.llmlab-root [role=status]')].map(one => one.textContent)"


def test_a_lost_connection_is_said_and_the_widget_goes_on_when_it_is_back(live):
    notebook, page = live, live.page
    page.context.set_offline(True)
    page.evaluate("() => { window.llmlabPanel.sessionContext.session.kernel.reconnect().catch(() => 0); }")
    notebook.until(lambda: sum("No connection to the kernel" in said for said in page.evaluate(SAID)), len(NAMES), 5)
    page.context.set_offline(False)
    notebook.until(lambda: sum("No connection to the kernel" in said for said in page.evaluate(SAID)), 0)
    prompt = page.locator(".llmlab-root", has=page.locator("[data-next]")).get_by_label("prompt")
    prompt.fill("5 + 2 =")
    prompt.press("Enter")
    page.locator("[data-token='5'] .llmlab-mono", has_text="=").wait_for()
    notebook.console_errors.clear()


def test_a_crash_of_the_kernel_is_said(live):
    notebook, page = live, live.page
    page.evaluate(CRASH)
    notebook.until(lambda: sum("Run this cell again" in said for said in page.evaluate(SAID)), len(NAMES), 10)
    notebook.console_errors.clear()


ATTENTION = "from llmlab.widgets.attention import AttentionStepper\nAttentionStepper()"
SAVE = "() => window.jupyterapp.commands.execute('docmanager:save')"


def test_a_saved_notebook_opens_with_its_widgets_and_the_next_day_with_their_tables(lab, open_notebook):
    name = lab.write("next_day.ipynb", ATTENTION)
    notebook, root = open_notebook(name), ".llmlab-root .llmlab-attn-flow"
    notebook.run(0)
    notebook.page.wait_for_selector(root)
    for _ in range(2):  # a second time, to see that nothing asks why the file has changed
        notebook.within(60, "the notebook was not saved", SAVE)
    assert notebook.page.locator(".jp-Dialog").count() == 0 and notebook.page.locator(root).count() == 1
    again = open_notebook(name)  # another page, while the kernel runs
    again.page.wait_for_selector(root)

    script = f"() => ({UNTIL_SAID})('shutdown')"
    assert notebook.within(60, "the widget does not say that the kernel is gone", script) < 2000
    assert notebook.page.locator(root).count() == 1

    another = open_notebook(name)
    table = another.page.locator(".jp-OutputArea-output table").first
    table.wait_for()
    shown = another.page.locator(".jp-OutputArea").inner_text()
    assert "weights" in shown and "Error displaying widget" not in shown and "not found" not in shown
    another.run(0)
    another.page.wait_for_selector(root)
    of_the_end = "debugger state", "Kernel is dead"  # JupyterLab itself may be asking a kernel that we end
    for page in (notebook, again, another):
        assert [error for error in page.console_errors if not any(part in error for part in of_the_end)] == []
