"""What every widget of the course owes its reader, tried on all of them at once in one notebook of a real JupyterLab."""

import re

import pytest

from llmlab.widgets import gallery

pytestmark = pytest.mark.browser

SHOW = """from IPython.display import display
from llmlab.widgets.gallery import examples
shown = {name: make() for name, make in examples().items()}
for widget in shown.values():
    display(widget)"""
NAMES = [
    "TokenTour",
    "HeadExplorer",
    "AttentionStepper",
    "KVCacheStepper",
    "CostCalculator",
    "Quiz",
    "Guess",
    "HelpfulAnswer",
]


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
    const app = window.jupyterapp, notebook = window.llmlabPanel.content, codes = {Enter: 13, Escape: 27, Space: 32, End: 35,
        Home: 36, ArrowLeft: 37, ArrowUp: 38, ArrowRight: 39, ArrowDown: 40, Backspace: 8, Tab: 9, '-': 189};
    const strokes = app.commands.keyBindings.filter(({selector}) => selector.includes('.jp-Notebook')).map(({keys}) => keys);
    const press = (node, stroke) => {
        const parts = stroke.split(' '), key = parts.at(-1), has = name => parts.slice(0, -1).includes(name);
        node.dispatchEvent(new KeyboardEvent('keydown', {key: 'Unidentified', keyCode: codes[key] ?? key.charCodeAt(0),
            bubbles: true, cancelable: true, shiftKey: has('Shift'), ctrlKey: has('Ctrl'), altKey: has('Alt')}));
    };
    const ran = [], tried = {}, state = () => JSON.stringify([notebook.mode, notebook.activeCellIndex,
        !document.querySelector('.jp-Dialog'), notebook.widgets.map(({model}) => [model.type, model.sharedModel.getSource()])]);
    let now = '';
    const heard = (_, {id}) => ran.push(`${now}: ${id}`);
    app.commands.commandExecuted.connect(heard);
    for (const node of nodes) {
        node.focus();
        if (document.activeElement !== node) continue;
        const kind = node.tagName === 'INPUT' ? node.type : node.tagName.toLowerCase(), before = state();
        now = `${node.closest('.llmlab-root').ariaLabel}, ${kind} ${node.ariaLabel ?? node.textContent.slice(0, 20)}`;
        if (bare) [node, node.closest('.llmlab-root')].forEach(one => one.removeAttribute('data-lm-suppress-shortcuts'));
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
    notebook.page.evaluate("() => document.querySelectorAll('.llmlab-root details').forEach(part => (part.open = true))")
    script = f"() => ({PRESS})([({FOCUSABLE})(), null])"
    found = notebook.within(120, "the keys were not all pressed", script)
    assert found["ran"] == []
    assert set(COMMAND_MODE) <= set(found["strokes"])
    assert {"div", "button", "select", "range", "summary", "text", "number", "textarea"} <= set(found["tried"])
    assert sum(found["tried"].values()) > 150
    # Without the attribute, the same presses reach JupyterLab.
    script = f"() => ({PRESS})([document.querySelectorAll('.llmlab-root [data-view]'), ['Y']])"
    assert len(notebook.within(60, "the key was not pressed", script)["ran"]) > 3
