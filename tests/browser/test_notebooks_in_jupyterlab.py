"""A learner who opens a notebook and runs it sees no error, in either theme."""

from pathlib import Path

import pytest
from nbformat.v4 import new_markdown_cell

pytestmark = pytest.mark.browser

NOTEBOOKS = sorted(path.name for path in (Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_runs_whole_without_an_error(open_notebook, name):
    notebook = open_notebook(name)
    notebook.run_all()
    assert notebook.cell_errors() == []
    for theme in ("light", "dark"):
        notebook.set_theme(theme)
        for index, cell in enumerate(notebook.cells()):
            if cell["outputs"]:
                notebook.scroll_to(index)
                assert notebook.page.get_by_text("Error displaying widget").count() == 0
        notebook.screenshots(f"{Path(name).stem}-{theme}")
    assert notebook.console_errors == []
    assert notebook.requests_outside == []


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


def test_widgets_are_alive_and_what_goes_wrong_is_seen(lab, open_notebook):
    cells = [
        new_markdown_cell("# A stand-in"),
        WIDGET,
        "import sys\nprint('careful', file=sys.stderr)",
        "from IPython.display import Javascript\nJavascript('console.error(\"planted\")')",
        "from IPython.display import HTML\nHTML('<img src=\"http://example.com/x.png\">')",
        "import urllib.request\nurllib.request.urlopen('http://192.0.2.1')",
        "'never reached'",
    ]
    notebook = open_notebook(lab.write("stand_in.ipynb", *cells))
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
