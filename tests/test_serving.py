"""Opened again, a notebook shows its widgets while their kernel lives, and their tables afterwards."""

import asyncio
import json
from types import SimpleNamespace

import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output
from traitlets.config import Configurable

from llmlab.notebooks.form import VIEW, without_views
from llmlab.notebooks.serving import WorkingCopies


def output(model_id="abc", **data):
    view = {VIEW: {"model_id": model_id, "version_major": 2, "version_minor": 0}}
    return new_output("display_data", {**view, "text/plain": "Tour()", **data})


class Server(Configurable):
    """The part of Jupyter's server that is asked for kernels; `pids` has one for each notebook with a kernel."""

    def __init__(self):
        super().__init__()
        self.pids = {}
        self.session_manager, self.kernel_manager = self, self

    async def list_sessions(self):
        return [{"path": path, "kernel": {"id": path}} for path in self.pids]

    def get_kernel(self, kernel_id):
        return SimpleNamespace(provisioner=SimpleNamespace(pid=self.pids[kernel_id]))


@pytest.fixture
def server():
    return Server()


@pytest.fixture
def files(server, tmp_path):
    return WorkingCopies(parent=server, root_dir=str(tmp_path))


def save(files, *outputs):
    nb = new_notebook(cells=[new_code_cell("tour", outputs=list(outputs))])
    asyncio.run(files.save({"type": "notebook", "content": json.loads(json.dumps(nb))}, "a.ipynb"))


def opened(files):
    """The kinds of each output of the notebook, as JupyterLab gets them."""
    model = asyncio.run(files.get("a.ipynb"))
    return [sorted(output["data"]) for output in model["content"]["cells"][0]["outputs"]]


BOTH, TABLE = sorted([VIEW, "text/html", "text/plain"]), ["text/html", "text/plain"]
HTML = {"text/html": "<table></table>"}


def test_a_widget_is_opened_while_its_kernel_runs_and_its_table_afterwards(server, files, tmp_path):
    server.pids["a.ipynb"] = 7
    save(files, output(**HTML))
    assert opened(files) == [BOTH]
    del server.pids["a.ipynb"]
    assert opened(files) == [TABLE]
    assert VIEW in (tmp_path / "a.ipynb").read_text()  # opening writes nothing


def test_after_a_restart_only_what_ran_since_is_opened_as_a_widget(server, files):
    server.pids["a.ipynb"] = 7
    save(files, output("old", **HTML))
    server.pids["a.ipynb"] = 8
    save(files, output("old", **HTML), output("new", **HTML))
    assert opened(files) == [TABLE, BOTH]


def test_the_next_day_knows_no_widget_of_the_day_before(server, files, tmp_path):
    server.pids["a.ipynb"] = 7
    save(files, output(**HTML))
    assert opened(WorkingCopies(parent=server, root_dir=str(tmp_path))) == [TABLE]


def test_other_outputs_and_other_peoples_widgets_stay_as_they_are(files):
    save(files, output(), new_output("display_data", HTML), output(**{"image/png": "aaaa"}))
    assert opened(files) == [[VIEW, "text/plain"], ["text/html"], ["image/png", "text/plain"]]
    for other in (new_output("stream", text="1"), new_output("error", ename="KeyError")):
        assert without_views(other) is other


def test_what_is_no_notebook_is_served_as_ever(files, tmp_path):
    (tmp_path / "note.txt").write_text(VIEW)
    assert asyncio.run(files.get("note.txt"))["content"] == VIEW
    assert asyncio.run(files.get("", type="directory"))["content"]
