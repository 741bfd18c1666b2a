"""A learner who opens a notebook and runs it sees no error.

Of each chapter the first sitting runs whole. Of the others a browser adds nothing to what the notebook tests see but
at widgets and exercises, so only those cells run, after the first.
"""

import os
from pathlib import Path

import matplotlib.pyplot as plt
import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_output
from sittings import cells_to_run, run_whole

from llmlab import plots

pytestmark = pytest.mark.browser

NOTEBOOKS = sorted(path.name for path in (Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))
WHOLE = run_whole(NOTEBOOKS)


WITHOUT_ALT = """indices => indices.filter(index => {
    const images = window.llmlabPanel.content.widgets[index].node.querySelectorAll('.jp-OutputArea-output img');
    return [...images].some(image => !image.alt.trim() || !image.naturalWidth);
})"""


def run_as_a_learner(notebook, path, whole):
    """Runs the notebook, or the cells that matter here, and looks at every output of what ran."""
    chosen = range(len(notebook.cells())) if whole else cells_to_run(nbformat.read(path, as_version=4))
    if whole:
        notebook.run_all()
    else:
        notebook.run(*chosen)
    cells = notebook.cells()
    with_output = [index for index in chosen if cells[index]["outputs"]]
    notebook.show(with_output)
    notebook.until(lambda: notebook.page.evaluate(WITHOUT_ALT, with_output), [])
    assert notebook.cell_errors() == []
    if os.environ.get("LLMLAB_SCREENSHOTS"):
        for theme in ("light", "dark"):
            notebook.set_theme(theme)
            notebook.screenshots(f"{path.stem}-{theme}")
    assert notebook.console_errors == [] and notebook.requests_outside == []
    return with_output


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_runs_without_an_error(lab, open_another_notebook, name):
    assert run_as_a_learner(open_another_notebook(name), lab.root / name, whole=name in WHOLE)


WIDGET = """
import anywidget, traitlets
class Counter(anywidget.AnyWidget):
    _esm = '''
    export default { render({ model, el }) {
        const button = document.createElement("button");
        button.className = "llmlab-counter";
        const update = () => { button.textContent = `count ${model.get("value")}`; };
        button.onclick = () => { model.set("value", model.get("value") + 1); model.save_changes(); };
        model.on("change:value", update);
        update();
        el.append(button);
    } };'''
    value = traitlets.Int(0).tag(sync=True)
counter = Counter()
counter
"""


def test_widgets_are_alive_and_what_goes_wrong_is_seen(lab, open_another_notebook):
    cells = [
        new_markdown_cell("# A stand-in"),
        WIDGET,
        "import sys\nprint('careful', file=sys.stderr)",
        "from IPython.display import Javascript\nJavascript('console.error(\"planted\")')",
        "from IPython.display import HTML\nHTML('<img src=\"http://example.com/x.png\">')",
        "import urllib.request\nurllib.request.urlopen('http://192.0.2.1')",
        "'never reached'",
    ]
    notebook = open_another_notebook(lab.write("stand_in.ipynb", *cells))
    notebook.run_all()

    button = notebook.page.locator(".llmlab-counter")
    button.click()
    assert button.text_content() == "count 1"

    careful, refused, unreached = notebook.cell_errors()
    assert careful == "cell 2: careful\n"
    assert "the network is off while notebooks run (tried 192.0.2.1:80)" in refused
    assert unreached == "cell 6: did not run"
    planted, *unresolved = notebook.console_errors
    assert planted.startswith("planted")
    assert unresolved and all("net::ERR_NAME_NOT_RESOLVED" in error for error in unresolved)
    assert set(notebook.requests_outside) == {"http://example.com/x.png"}


def test_a_figure_that_was_saved_shows_with_its_text_alternative_in_a_notebook_that_is_not_trusted(
    lab, open_another_notebook
):
    figure, axes = plt.subplots()
    axes.plot([1, 3, 2])
    shown = plots.show(figure, 'a "line" <b>that</b> rises & falls')
    data = {"text/html": shown._repr_html_(), "text/plain": repr(shown)}
    cell = new_code_cell("1", execution_count=1, outputs=[new_output("execute_result", data)])
    notebook = open_another_notebook(lab.write("figure.ipynb", cell))
    image = notebook.page.locator(".jp-OutputArea-output img")
    assert image.get_attribute("alt") == shown.alt
    notebook.until(lambda: image.evaluate("node => node.naturalWidth > 0"), True)
    assert notebook.page.evaluate(WITHOUT_ALT, [0]) == []
    image.evaluate("node => node.removeAttribute('alt')")
    assert notebook.page.evaluate(WITHOUT_ALT, [0]) == [0]


def test_of_a_later_sitting_only_what_needs_a_browser_runs(lab, open_another_notebook):
    shown = new_output("execute_result", {"text/plain": "AttentionStepper(5 tokens)"})
    cells = [
        "from llmlab.exercises import quiz\nfrom llmlab.widgets.attention import AttentionStepper",
        new_code_cell("raise RuntimeError('this takes minutes')", execution_count=2),
        new_code_cell("AttentionStepper()", execution_count=3, outputs=[shown]),
        "quiz('attention.roles')",
    ]
    name = lab.write("99b_sitting.ipynb", *cells)
    assert run_as_a_learner(open_another_notebook(name), lab.root / name, whole=False) == [2, 3]


def test_a_widget_that_is_not_drawn_is_seen(lab, open_another_notebook):
    notebook = open_another_notebook(lab.write("broken.ipynb", WIDGET.replace("el.append", "el.no_such_function")))
    notebook.run_all()
    with pytest.raises(pytest.fail.Exception, match=r"cells \[0\] are not drawn: .*no_such_function"):
        notebook.show([0])
