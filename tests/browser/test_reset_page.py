"""A notebook that is reset while it is open in JupyterLab: saving the open tab does not silently undo it."""

import importlib.util
from pathlib import Path

import pytest

pytestmark = pytest.mark.browser
spec = importlib.util.spec_from_file_location("lab", Path(__file__).resolve().parents[2] / "lab.py")
launcher = importlib.util.module_from_spec(spec)
spec.loader.exec_module(launcher)

SET = "source => window.llmlabPanel.content.widgets[0].model.sharedModel.setSource(source)"
SAVED = "() => window.llmlabPanel.context.save()"


@pytest.mark.parametrize("saved", [False, True])
def test_jupyterlab_asks_before_it_saves_an_open_tab_over_a_fresh_copy(lab, open_notebook, tmp_path, saved):
    """Whether the learner's change was saved before the reset or stands in the tab alone."""
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "work").symlink_to(lab.root)
    name = lab.write(f"{98 + saved}_reset.ipynb", "'as it was'")
    (lab.root / name).rename(tmp_path / "notebooks" / name)
    launcher.copy_notebooks(tmp_path)
    notebook = open_notebook(name)
    notebook.page.evaluate(SET, "'mine'")
    if saved:
        notebook.within(60, "not saved", SAVED)
    launcher.reset(launcher.number_of(name), tmp_path)
    fresh = (lab.root / name).read_bytes()
    notebook.page.locator(".jp-Notebook").first.click()
    notebook.page.keyboard.press("Control+s")
    dialog = notebook.page.locator(".jp-Dialog")
    dialog.get_by_text("File Changed").wait_for()
    assert (lab.root / name).read_bytes() == fresh
    dialog.get_by_role("button", name="Revert").click()
    notebook.until(lambda: notebook.cells()[0]["source"], "'as it was'")
    assert (lab.root / name).read_bytes() == fresh
