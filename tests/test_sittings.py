"""What the browser tests run of a notebook is chosen by rules that the notebooks keep."""

from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from sittings import cells_to_run, missing_names, run_whole

COURSE = sorted((Path(__file__).resolve().parents[1] / "notebooks").glob("*.ipynb"))
WHOLE = run_whole(path.name for path in COURSE)


def cell(source, text=None):
    outputs = [] if text is None else [new_output("execute_result", {"text/plain": text, "text/html": "<p>"})]
    return new_code_cell(source, outputs=outputs, execution_count=1)


def test_of_each_chapter_the_first_sitting_runs_whole():
    names = ["12b_counted.ipynb", "00_welcome.ipynb", "12a_derived.ipynb", "13_gqa.ipynb", "12c_more.ipynb"]
    assert run_whole(names) == {"00_welcome.ipynb", "12a_derived.ipynb", "13_gqa.ipynb"}
    assert "00_welcome.ipynb" in WHOLE


def test_of_the_others_the_first_code_cell_and_the_widget_and_exercise_cells_run():
    nb = new_notebook(
        cells=[
            new_markdown_cell("# Heads, continued"),
            cell("from llmlab.exercises import check, predict, quiz"),
            cell("x = 1\nx", "1"),
            new_markdown_cell("quiz('planted')"),
            cell("quiz('planted')", "A question"),
            cell("def double(x):\n    ...\ncheck('planted.double', double)", "not attempted yet"),
            cell("predict('planted.bytes')"),
            cell("predict('planted.bytes', truth=x)"),
            cell("# quiz('planted')\nprint('check(this)')"),
            cell("%time explorer", "HeadExplorer('The cat', head 1.1)"),
            cell("counter", "Counter('no widget of ours')"),
        ]
    )
    assert cells_to_run(nb) == [1, 4, 5, 6, 9]


def test_a_name_that_only_another_cell_gives_is_seen():
    first = cell("import math\nfrom llmlab.widgets.heads import HeadExplorer\nmodel = tokenizer = None")
    between = cell("TEXT = 'The cat'\ndef weights():\n    return TEXT")
    shown = "HeadExplorer('The cat', head 1.1)"
    good = [
        "heads = HeadExplorer(model, tokenizer, 'The cat', head=round(math.pi))\nheads",
        "TEXT = 'The cat'\nheads = HeadExplorer(model, tokenizer, TEXT, *[n for n in range(1)])\nheads",
        "def mean(x):\n    n = len(x)\n    return [y / n for y in x if (lambda z: z)(y)]\ncheck = print\ncheck(mean)",
    ]
    bad = {
        "heads = HeadExplorer(model, tokenizer, TEXT)\nheads": {"TEXT"},
        "def text():\n    return TEXT\nheads = HeadExplorer(model, tokenizer, text(), weights())\nheads": {
            "TEXT",
            "weights",
        },
    }
    for source in good:
        assert missing_names(new_notebook(cells=[first, between, cell(source, shown)])) == {}
    for source, names in bad.items():
        assert missing_names(new_notebook(cells=[first, between, cell(source, shown)])) == {2: names}


def test_widgets_and_exercises_need_only_the_first_code_cell():
    """Of the sittings that do not run whole in the browser."""
    for path in COURSE:
        if path.name not in WHOLE:
            assert missing_names(nbformat.read(path, as_version=4)) == {}, path
