"""The notebooks of the course are in order, and the command and the plugin that see to it do their work."""

import copy
import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from llmlab import notebooks, offline
from llmlab.exercises import all_exercises, all_predictions, all_questions, topics
from llmlab.notebooks import as_text, check_file, minutes, normalize, read
from llmlab.notebooks.checking import machine_traces
from llmlab.notebooks.form import without_pictures

REPO = Path(__file__).resolve().parents[1]
spec = importlib.util.spec_from_file_location("lab", REPO / "lab.py")
lab = importlib.util.module_from_spec(spec)
spec.loader.exec_module(lab)

COURSE = sorted((REPO / "notebooks").glob("*.ipynb"))
course = pytest.mark.parametrize("path", COURSE, ids=lambda path: path.stem)
VIEW = "application/vnd.jupyter.widget-view+json"


# ------------------------------------------------------------ the notebooks of the course


def test_the_course_begins_with_the_welcome_notebook():
    assert COURSE
    assert COURSE[0].name == "00_welcome.ipynb"


@course
def test_notebook_is_executed_normalized_and_current(path):
    assert check_file(path) == []


@course
def test_the_stated_minutes_are_the_counted_ones(path):
    """Its first cell and the syllabus say the minutes to read and run it, then those of its exercises."""
    nb = read(path)
    core, _ = minutes.counted(nb)
    own, _ = minutes.exercises(nb)
    stated = [int(number) for number in re.findall(r"\d+", nb.cells[0].source.partition("**Time:**")[2])][:2]
    assert abs(stated[0] - core) < 1.5 and stated[1] == own <= 40 and core < 65.5
    syllabus = (REPO / "notebooks" / "README.md").read_text(encoding="utf-8")
    [row] = re.findall(rf"^\| .*\({path.name}\).*\|$", syllabus, flags=re.MULTILINE)
    assert row.endswith(f"| {stated[0]} | {stated[1]} |")


def test_minutes_are_counted_as_they_are_described():
    nb = new_notebook(
        cells=[
            new_markdown_cell("# A title\n" + 58 * "word "),
            new_code_cell("# a comment\n\n" + 8 * "x = 1\n"),
            new_code_cell("def softmax(logits):\n    ...\n\n\ncheck('welcome.softmax', softmax)"),
            new_code_cell("quiz('welcome.vectors')"),
            new_code_cell("stepper = 1\nstepper"),
            new_markdown_cell("## More *(deeper)*\n" + 118 * "word "),
            new_markdown_cell("### Still deeper"),
            new_markdown_cell("## Recap\n" + 59 * "word "),
        ]
    )
    core, deeper = minutes.counted(nb)
    assert core == pytest.approx((60 + 60) / 60 + (8 + 2) / 8) and deeper == pytest.approx((120 + 2) / 60)
    assert minutes.exercises(nb) == (5, 0) and list(minutes.checked(nb)) == ["welcome.softmax"]
    assert not minutes.asks("x = 1\ncheck('a.b', x)") and not minutes.asks("def f(): ...")


@course
def test_notebook_opens_with_its_title(path):
    first = read(path).cells[0]
    assert first.cell_type == "markdown"
    assert re.match(r"# \S", first.source), first.source[:80]


@pytest.mark.parametrize("topic", [name for name in topics() if any(f"_{name}" in path.stem for path in COURSE)])
def test_the_sittings_of_a_topic_hold_all_its_exercises_with_their_stubs_and_ask_its_questions(topic):
    sittings = [path for path in COURSE if re.fullmatch(rf"\d\d[a-z]?_{topic}(_\w+)?", path.stem)]
    cells = [cell for path in sittings for cell in read(path).cells]
    code = "\n".join(cell.source for cell in cells if cell.cell_type == "code")
    for exercise in all_exercises():
        if exercise.topic == topic:
            assert exercise.stub.strip() in code, f"{exercise.id}: its stub is not in the notebooks"
            assert f'check("{exercise.id}", {exercise.function})' in code
    asked = [*all_questions(), *all_predictions()]
    whole = f'quiz("{topic}")' in code  # asks all questions of the topic
    missing = [item.id for item in asked if item.id.partition(".")[0] == topic and f'"{item.id}"' not in code]
    missing = [] if whole and {*missing} <= {question.id for question in all_questions()} else missing
    assert missing == []


@course
def test_the_first_code_cell_imports_what_exercises_ask_a_reader_to_call(path):
    """A check says `hint(…)`, a hint `solution(…)`: they must be there after a restart and the first cell."""
    code = [cell.source for cell in read(path).cells if cell.cell_type == "code"]
    named = {name for name in ("check", "predict", "progress", "quiz") if re.search(rf"\b{name}\(", "\n".join(code))}
    named |= {"hint", "solution"} if "check" in named else set()
    [imported] = re.findall(r"^from llmlab\.exercises import (.*)$", code[0], flags=re.MULTILINE)
    assert named <= set(imported.split(", "))
    assert not any("from llmlab.exercises import" in source for source in code[1:])


@course
def test_each_section_of_a_notebook_begins_a_slide(path):
    for cell in read(path).cells:
        slide_type = cell.metadata.get("slideshow", {}).get("slide_type")
        assert slide_type in (None, "slide", "subslide", "fragment", "skip", "notes")
        if cell.cell_type == "markdown" and re.match(r"##? \S", cell.source):
            assert slide_type in ("slide", "subslide", "skip"), cell.source.splitlines()[0]


@course
def test_notebook_takes_no_picture_or_script_from_the_network(path):
    remote = re.compile(r"!\[[^\]]*\]\(\s*<?(?:https?:)?//|<(?:img|script|iframe|link|video)\b[^>]*(?:https?:)?//")
    for cell in read(path).cells:
        shown = [cell.source] + [
            out.get("data", {}).get("text/html", "") for out in cell.get("outputs", []) if "data" in out
        ]
        # the bytes of a picture that stands in the page may hold //
        assert not any(remote.search(without_pictures(text)) for text in shown), cell.source[:200]


# ------------------------------------------------------------ the normal form


def widget_view(**fallback: str) -> NotebookNode:
    return new_output("display_data", data={VIEW: {"model_id": "5f2c", "version_major": 2}, **fallback})


def as_jupyter_leaves_it() -> NotebookNode:
    """A notebook with everything in it that Jupyter and its widgets write and a reader never sees."""
    nb = new_notebook(
        cells=[
            new_markdown_cell("# Größe 你好", id="same", metadata={"collapsed": True}),
            new_code_cell(
                "slider",
                execution_count=7,
                metadata={
                    "execution": {"iopub.status.busy": "2024-01-01T00:00:00"},
                    "tags": ["raises-exception"],
                    "slideshow": {"slide_type": "fragment"},
                    "jupyter": {"source_hidden": True},
                },
                outputs=[
                    widget_view(),
                    widget_view(**{"text/plain": "Slider()", "text/html": "<table></table>"}),
                    new_output("stream", name="stdout", text="a"),
                    new_output("stream", name="stdout", text="b\n"),
                    new_output("stream", name="stderr", text="careful\n"),
                    new_output("execute_result", data={"text/plain": "1"}, execution_count=7),
                ],
            ),
            new_code_cell("", execution_count=3),
            new_code_cell("2", id="third", execution_count=9, metadata={"slideshow": {"slide_type": "-"}}),
        ],
        metadata={
            "kernelspec": {"name": "conda-env-mine", "display_name": "mine", "language": "python"},
            "language_info": {"name": "python", "version": "3.99.1"},
            "widgets": {"application/vnd.jupyter.widget-state+json": {"state": {}}},
        },
    )
    nb.nbformat_minor = 4
    nb.cells[1].id = "same"
    return nb


def test_normal_form_holds_only_what_a_reader_sees():
    nb = normalize(as_jupyter_leaves_it())
    _, code, blank, last = nb.cells
    assert nb.nbformat_minor == 5
    assert set(nb.metadata) == {"kernelspec", "language_info"}
    assert nb.metadata.kernelspec.name == "python3"
    assert nb.metadata.language_info == {"name": "python"}
    assert code.metadata == {"tags": ["raises-exception"], "slideshow": {"slide_type": "fragment"}}
    assert nb.cells[0].metadata == last.metadata == {}
    assert [c.execution_count for c in (code, blank, last)] == [1, None, 2]
    assert code.outputs[-1].execution_count == 1


def test_normal_form_drops_widget_views_and_keeps_their_fallbacks():
    outputs = normalize(as_jupyter_leaves_it()).cells[1].outputs
    assert VIEW not in json.dumps(outputs)
    assert outputs[0].data == {"text/plain": "Slider()", "text/html": "<table></table>"}
    assert [out.output_type for out in outputs] == ["display_data", "stream", "stream", "execute_result"]


def test_normal_form_merges_what_one_stream_wrote_in_pieces():
    streams = [out for out in normalize(as_jupyter_leaves_it()).cells[1].outputs if out.output_type == "stream"]
    assert [(out.name, out.text) for out in streams] == [("stdout", "ab\n"), ("stderr", "careful\n")]


def test_normal_form_gives_cells_unique_ids_and_keeps_those_that_are():
    ids = [cell.id for cell in normalize(as_jupyter_leaves_it()).cells]
    assert ids[0] == "same" and ids[1] == "cell-01" and ids[3] == "third"
    nb = as_jupyter_leaves_it()
    nb.cells[3].id = "cell-01"  # an id made from a position must not meet one that is there
    del nb.cells[2]["id"]
    ids = [cell.id for cell in normalize(nb).cells]
    assert ids == ["same", "cell-01-1", "cell-02", "cell-01"]


def test_normal_form_of_the_normal_form_is_itself():
    original = as_jupyter_leaves_it()
    before = copy.deepcopy(original)
    once = normalize(original)
    assert as_text(normalize(once)) == as_text(once)
    assert original == before, "normalize changed its argument"


def test_text_of_a_notebook_is_sorted_indented_by_one_and_readable_in_any_language():
    text = as_text(normalize(as_jupyter_leaves_it()))
    assert text.endswith("}\n") and not text.endswith("\n\n")
    assert "# Größe 你好" in text
    assert text == json.dumps(json.loads(text), indent=1, sort_keys=True, ensure_ascii=False) + "\n"


@pytest.mark.parametrize(
    ("path", "short"),
    [
        ("/home/ada/llmlab/llmlab/rope.py", "llmlab/rope.py"),
        ("~/course/.venv/lib/python3.12/site-packages/torch/nn/init.py", "torch/nn/init.py"),
        (r"C:\course\Lib\site-packages\torch\nn\init.py", "torch/nn/init.py"),
        ("/usr/lib/python3.11/json/decoder.py", "json/decoder.py"),
        ("/tmp/ipykernel_17/1234.py", "1234.py"),
    ],
)
def test_tracebacks_name_files_without_the_machine_they_lie_on(path, short):
    error = new_output("error", ename="E", evalue="e", traceback=[f"\x1b[0;32mFile {path}:12\x1b[0m, in f(x)"])
    nb = normalize(new_notebook(cells=[new_code_cell("f(1)", outputs=[error], execution_count=1)]))
    assert nb.cells[0].outputs[0].traceback == [f"\x1b[0;32mFile {short}:12\x1b[0m, in f(x)"]


@pytest.mark.parametrize(
    "text",
    [
        "<object object at 0x7f3c2a1b4d60>",
        "id 0x00007f3c2a1b4d60",
        "saved in /home/ada/course/x.npy",
        r"C:\Users\ada\x.npy",
        "/tmp/tmpab12/x",
        f"{REPO}/data/tokenizer.json",
    ],
)
def test_traces_of_a_machine_or_a_run_are_found(text):
    assert machine_traces(text)


@pytest.mark.parametrize("text", ["0x3f800000", "0x3ff0000000000000", "a/b at 0.5", "llmlab/rope.py:12", "1e-5"])
def test_bit_patterns_and_relative_paths_are_no_traces(text):
    assert not machine_traces(text)


# ------------------------------------------------------------ run

GOOD = [
    new_markdown_cell("# A title", id="title"),
    new_code_cell(
        "import os, time\nimport ipywidgets\nipywidgets.HTML('<b>bold</b>')",
        id="widget",
        metadata={"collapsed": False},
    ),
    new_code_cell(
        "class Widget:\n"
        "    def _repr_mimebundle_(self, **options):\n"
        f"        return {{'{VIEW}': {{'model_id': os.urandom(4).hex()}},\n"
        "                'text/html': '<table></table>', 'text/plain': 'Widget()'}\n"
        "Widget()",
        id="anywidget",
    ),
    new_code_cell("time.perf_counter()", id="duration", metadata={"tags": ["nbval-ignore-output"]}),
    new_code_cell("import sys\nsys.executable == os.environ.get('EXPECTED_PYTHON')", id="python"),
    new_code_cell("int('x')", id="error", metadata={"tags": ["raises-exception"]}),
]


def write(path: Path, cells: list[NotebookNode], **metadata) -> Path:
    path.write_text(json.dumps(new_notebook(cells=copy.deepcopy(cells), metadata=metadata)), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def executed(tmp_path_factory) -> Path:
    """A small notebook as `run` leaves it. Copy it before changing it."""
    path = write(
        tmp_path_factory.mktemp("executed") / "good.ipynb",
        GOOD,
        kernelspec={"name": "a-kernel-that-nobody-has", "display_name": "?", "language": "python"},
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EXPECTED_PYTHON", sys.executable)
        assert notebooks.main(["run", str(path)]) == 0
    return path


@pytest.fixture
def good(executed, tmp_path) -> Path:
    path = tmp_path / "good.ipynb"
    path.write_bytes(executed.read_bytes())
    return path


def test_run_leaves_a_notebook_that_check_finds_in_order(good, capsys):
    assert check_file(good) == []
    assert notebooks.main(["check", str(good)]) == 0
    assert capsys.readouterr().out.count("\n") == 1


def test_run_uses_this_python_whatever_kernel_the_notebook_names(good):
    assert read(good).cells[4].outputs[0].data == {"text/plain": "True"}


def test_run_keeps_the_fallbacks_of_widgets_and_not_their_views(good):
    _, html, widget, *_ = read(good).cells
    assert html.outputs[0].data == {"text/plain": "HTML(value='<b>bold</b>')"}
    assert widget.outputs[0].data == {"text/html": "<table></table>", "text/plain": "Widget()"}


def test_run_twice_changes_nothing_not_even_a_duration(good, monkeypatch, capsys):
    monkeypatch.setenv("EXPECTED_PYTHON", sys.executable)
    before, time = good.read_bytes(), good.stat().st_mtime_ns
    assert notebooks.main(["run", str(good)]) == 0
    assert good.read_bytes() == before
    assert good.stat().st_mtime_ns == time, "written again although nothing changed"
    assert "unchanged" in capsys.readouterr().out


def test_run_writes_new_durations_together_with_anything_else_that_changed(good, monkeypatch):
    monkeypatch.setenv("EXPECTED_PYTHON", "another")
    old = read(good)
    assert notebooks.main(["run", str(good)]) == 0
    new = read(good)
    assert new.cells[4].outputs[0].data["text/plain"] == "False"
    assert new.cells[3].outputs != old.cells[3].outputs


def test_a_failing_cell_leaves_the_file_alone_and_is_shown(tmp_path, capsys):
    cells = [
        new_markdown_cell("# T"),
        new_code_cell("x = 1"),
        new_code_cell("y = x\ny / 0"),
        new_code_cell("1"),
    ]
    path = write(tmp_path / "bad.ipynb", cells)
    before = path.read_bytes()
    assert notebooks.main(["run", str(path)]) == 1
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path], "something is left behind"
    error = capsys.readouterr().err
    assert "code cell 2 (cell 3 of 4)" in error
    assert "    y / 0" in error
    assert "ZeroDivisionError: division by zero" in error


def test_a_cell_that_does_not_end_is_cut_off(tmp_path, capsys):
    slow = write(tmp_path / "1.ipynb", [new_code_cell("import threading\nthreading.Event().wait()")])
    before = slow.read_bytes()
    assert notebooks.main(["run", "--timeout", "1", str(slow)]) == 1
    assert "ran longer than 1 s" in capsys.readouterr().err
    assert slow.read_bytes() == before


def test_a_dead_kernel_and_a_connection_fail_and_the_other_notebooks_still_run(tmp_path, capsys):
    connecting = write(
        tmp_path / "1.ipynb", [new_code_cell("import urllib.request as r\nr.urlopen('http://192.0.2.1')")]
    )
    fine = write(tmp_path / "2.ipynb", [new_code_cell("1 + 1")])
    dead = write(tmp_path / "0.ipynb", [new_code_cell("import os\nos._exit(3)")])
    assert notebooks.main(["run", *(str(path) for path in (dead, connecting, fine))]) == 1
    error = capsys.readouterr().err
    assert "0.ipynb, code cell 1 (cell 1 of 1)" in error and "Kernel died" in error
    assert "the network is off while notebooks run (tried 192.0.2.1:80)" in error
    assert "2 of 3 failed: 0.ipynb, 1.ipynb" in error
    assert read(fine).cells[0].outputs[0].data == {"text/plain": "2"}


def test_a_file_that_is_no_notebook_is_named(tmp_path, capsys):
    assert notebooks.main(["check", str(tmp_path / "absent.ipynb")]) == 2
    assert "absent.ipynb" in capsys.readouterr().err
    broken = tmp_path / "broken.ipynb"
    broken.write_text("{}")
    assert notebooks.main(["run", str(broken)]) == 1
    assert "expected a Jupyter notebook" in capsys.readouterr().err
    assert notebooks.main(["check", str(broken)]) == 1


def test_without_files_the_command_means_the_course_wherever_it_is_called(repo, tmp_path, monkeypatch):
    for folder in (repo, repo / "tests", tmp_path):
        monkeypatch.chdir(folder)
        assert notebooks.notebooks_folder() == repo / "notebooks"


# ------------------------------------------------------------ check


def no_count(nb):
    nb.cells[2].execution_count = None


def out_of_order(nb):
    nb.cells[2].execution_count = 5


def edited(nb):
    nb.cells[2].source += "  # more"


def other_model(nb):
    nb.metadata.llmlab.model = "0" * 16


def no_record(nb):
    del nb.metadata["llmlab"]


def untagged_error(nb):
    nb.cells[5].metadata = {}


def warning(nb):
    nb.cells[2].outputs.append(new_output("stream", name="stderr", text="UserWarning: old\n"))


def address(nb):
    nb.cells[2].outputs[0].data["text/plain"] = "<Widget at 0x7f0011223344>"


def widget_state(nb):
    nb.metadata["widgets"] = {"application/vnd.jupyter.widget-state+json": {}}


def live_view(nb):
    nb.cells[2].outputs[0].data[VIEW] = {"model_id": "1"}


def timing(nb):
    nb.cells[1].metadata["execution"] = {"iopub.status.busy": "2024-01-01T00:00:00"}


def kernel_version(nb):
    nb.metadata.language_info["version"] = "3.11.2"


@pytest.mark.parametrize(
    ("defect", "words"),
    [
        (no_count, "code cell 2: unexecuted"),
        (out_of_order, "not run from top to bottom in one fresh kernel: numbered 1, 5, 3, 4, 5"),
        (edited, "stale: its code was edited after it ran"),
        (other_model, "stale: it ran on another model or tokenizer"),
        (no_record, "stale: it holds no record"),
        (untagged_error, "code cell 5: a saved error, not raises-exception: ValueError"),
        (warning, "code cell 2: a message to stderr: 'UserWarning: old'"),
        (address, "code cell 2: its output names this machine or run: 'at 0x7f0011223344'"),
        (widget_state, "not normalized: metadata.widgets"),
        (live_view, f"not normalized: cells[2].outputs[0].data.{VIEW}"),
        (timing, "not normalized: cells[1].metadata.execution"),
        (kernel_version, "not normalized: metadata.language_info.version"),
    ],
)
def test_check_names_the_defect(good, defect, words, capsys):
    nb = read(good)
    defect(nb)
    good.write_text(as_text(nb), encoding="utf-8")
    assert any(problem.startswith(words) for problem in check_file(good)), check_file(good)
    assert notebooks.main(["check", str(good)]) == 1
    assert words in capsys.readouterr().out


def test_check_names_a_changed_layout_of_the_file(good):
    good.write_text(json.dumps(read(good)), encoding="utf-8")
    assert check_file(good) == [
        "not normalized: the layout of the file (order of keys, indent, line ends, last newline)"
    ]


def test_edited_prose_does_not_make_a_notebook_stale(good):
    nb = read(good)
    nb.cells[0].source += " and more"
    good.write_text(as_text(nb), encoding="utf-8")
    assert check_file(good) == []


def test_a_retrained_model_makes_every_notebook_stale(good, tmp_path, monkeypatch):
    (tmp_path / "model.safetensors").write_bytes(b"new weights")
    monkeypatch.setattr("llmlab.notebooks.form.data_path", lambda name: tmp_path / "model.safetensors")
    assert check_file(good) == ["stale: it ran on another model or tokenizer than the ones in data/"]


# ------------------------------------------------------------ the network, and nbval's strictness

CONNECTIONS = {
    "address": "urllib.request.urlopen('http://93.184.216.34/', timeout=5)",
    "name": "urllib.request.urlopen('https://example.com/', timeout=5)",
    "ipv6": "socket.socket(socket.AF_INET6).connect(('2001:db8::1', 443))",
    "datagram": "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('192.0.2.1', 53))",
    "look-up": "socket.gethostbyname('example.com')",
    "asyncio": "import asyncio\nawait asyncio.open_connection('192.0.2.1', 80)",
    "child": "subprocess.run([sys.executable, '-c', 'import socket; "
    'socket.create_connection(("example.com", 80))\'], check=True)',
}
LOOPBACK = """
server = socket.create_server(("127.0.0.1", 0))
def answer():
    connection, _ = server.accept()
    connection.sendall(b"hello")
    connection.close()
threading.Thread(target=answer, daemon=True).start()
socket.create_connection(("localhost", server.getsockname()[1])).recv(5)
"""


TABLE = """class Table:
    def _repr_html_(self):
        return "<td>1.5 ms</td>"
    def __repr__(self):
        return "Table()"
Table()"""


@pytest.fixture(scope="module")
def under_nbval(tmp_path_factory) -> dict[str, str]:
    """Two notebooks run as `lab.py test` runs the course: for each cell the text of its failure, or ""."""
    folder = tmp_path_factory.mktemp("nbval")

    def cell(name: str, source: str, text: str | None = None, kind: str = "text/plain", **options) -> NotebookNode:
        data = {"text/plain": "Table()", kind: text}
        outputs = [] if text is None else [new_output("execute_result", data=data)]
        return new_code_cell(source, outputs=outputs, execution_count=1, metadata={"name": name}, **options)

    strict = [
        cell("same", "1 + 1", "2"),
        cell("changed", "1 + 1", "3"),
        cell("nothing saved", "1 + 1"),
        new_code_cell("1 + 1", metadata={"name": "unexecuted"}),
        cell("one thread", "import os; os.environ['OMP_NUM_THREADS']", "'1'"),
        cell("perturbed", f"os.environ['{offline.PERTURBED}']", "'1'"),
        cell("one unit further", "0.124", "0.123"),
        cell("two units further", "0.125", "0.123"),
        cell("a table", TABLE, "<td>1.5 ms</td>", "text/html"),
        cell("a cell in a table", TABLE, "<td>1.6 ms</td>", "text/html"),
        cell("another table", TABLE, "<td>1.7 ms</td>", "text/html"),
    ]
    network = [
        cell("imports", "import json, socket, subprocess, sys, threading, urllib.request"),
        *(cell(name, source) for name, source in CONNECTIONS.items()),
    ]
    network.append(cell("loopback", LOOPBACK, "b'hello'"))
    network.append(cell("hub", "import os; os.environ['HF_HUB_OFFLINE']", "'1'"))
    names = {}
    for file, cells in (("strict.ipynb", strict), ("network.ipynb", network)):
        write(folder / file, cells)
        names |= {(file, index): c.metadata.name for index, c in enumerate(cells)}
    report = folder / "report.xml"
    options = ["-c", str(REPO / "pyproject.toml"), f"--rootdir={folder}", "-p", "no:cacheprovider", "--color=no"]
    command = lab.pytest_command(Path(sys.executable), [*options, f"--junitxml={report}", str(folder)])
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(
        command, cwd=folder, env=env | lab.TEST_ENVIRONMENT, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 1, done.stdout + done.stderr  # some failed, as they must, and nothing broke
    failures = {}
    for case in ElementTree.parse(report).iter("testcase"):
        file = re.search(r"(strict|network)", case.get("classname")).group() + ".ipynb"
        failed = case.find("failure")
        index = int(case.get("name").removeprefix("Cell "))
        failures[names[file, index]] = "" if failed is None else (failed.text or "")
    assert set(failures) == set(names.values()), done.stdout
    return failures


@pytest.mark.parametrize("way", CONNECTIONS)
def test_a_notebook_that_connects_fails(under_nbval, way):
    assert "the network is off while notebooks run (tried " in under_nbval[way] or (
        way == "child" and "CalledProcessError" in under_nbval[way]
    )


def test_a_refused_connection_is_named(under_nbval):
    assert "(tried 93.184.216.34:80)" in under_nbval["address"]
    assert "(tried example.com:443)" in under_nbval["name"]
    assert "(tried [2001:db8::1]:443)" in under_nbval["ipv6"]


def test_a_notebook_may_talk_to_its_own_machine(under_nbval):
    assert under_nbval["loopback"] == ""


def test_the_model_hub_is_not_asked(under_nbval):
    assert under_nbval["hub"] == ""


def test_kernels_have_one_thread_each(under_nbval):
    assert under_nbval["one thread"] == ""


def test_a_changed_output_fails(under_nbval):
    assert under_nbval["same"] == ""
    assert "Cell outputs differ" in under_nbval["changed"]
    assert "expected outputs of the kinds [], got ['text/plain']" in under_nbval["nothing saved"]


def test_a_number_may_end_one_unit_further_and_no_more(under_nbval):
    assert [under_nbval[name] for name in ("one unit further", "a table", "a cell in a table")] == ["", "", ""]
    assert "-0.123" in under_nbval["two units further"] and "+0.125" in under_nbval["two units further"]
    assert "text/html differs" in under_nbval["another table"]


def test_kernels_of_tests_perturb_what_they_draw(under_nbval):
    assert under_nbval["perturbed"] == ""


def test_an_unexecuted_cell_passes_under_nbval_and_is_found_by_check(under_nbval, good):
    assert under_nbval["unexecuted"] == ""
    nb = read(good)
    nb.cells.append(new_code_cell("1 + 1"))
    good.write_text(as_text(normalize(nb)), encoding="utf-8")
    assert "code cell 6: unexecuted" in check_file(good)


def test_tests_that_are_no_notebooks_keep_their_network():
    assert "sitecustomize" not in sys.modules or not hasattr(sys.modules["sitecustomize"], "NetworkOff")
    assert str(offline.GUARD) not in os.environ.get("PYTHONPATH", "")


def test_a_kernel_sees_nothing_of_its_starters_settings(tmp_path):
    starter = {"MPLBACKEND": "Agg", "https_proxy": "http://127.0.0.1:1", "PYTHONPATH": "mine", "PATH": "/bin"}
    env = offline.kernel_environment(tmp_path, starter)
    assert "MPLBACKEND" not in env and "https_proxy" not in env
    assert env["PYTHONPATH"].split(os.pathsep) == [str(offline.GUARD), "mine"]
    assert env["PATH"] == "/bin"
    assert Path(env["IPYTHONDIR"]).is_relative_to(tmp_path)


def test_a_site_customization_that_the_guard_hides_still_runs(tmp_path):
    (tmp_path / "sitecustomize.py").write_text("print('mine too')")
    env = offline.kernel_environment(tmp_path, os.environ | {"PYTHONPATH": str(tmp_path)})
    script = "import socket, sys; print('offline' in str(sys.path)); socket.gethostbyname('x.invalid')"
    done = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True)
    assert done.stdout == "mine too\nFalse\n"
    assert "tried x.invalid" in done.stderr
