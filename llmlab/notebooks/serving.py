"""What JupyterLab gets when it opens a notebook: widgets while the kernel that made them runs, else their tables.

A widget's output holds a view, which is the name of something in the kernel's memory, and a fallback. JupyterLab shows
the view, and "model not found" where there is none, although the fallback stands beside it. The file keeps both, so
that a page which is loaded again, while its kernel runs, gets its widgets back; the next day the fallback shows.

The launcher starts JupyterLab with `WorkingCopies`; nothing else needs it.
"""

from typing import Any

from jupyter_server.services.contents.largefilemanager import AsyncLargeFileManager
from traitlets import Dict

from llmlab.notebooks.form import VIEW, without_views


class WorkingCopies(AsyncLargeFileManager):
    """Files as Jupyter's own manager has them; notebooks are opened without the views that nothing answers."""

    # Which process made a view: the id of its kernel and of the process, as they were when it was first saved.
    _made_by = Dict()

    async def get(self, path: str, content: bool = True, *how: Any, **more: Any) -> dict[str, Any]:
        model = await super().get(path, content, *how, **more)
        if content and model["type"] == "notebook":
            process = await self._process(path)
            alive = {view for view, maker in self._made_by.items() if process is not None and maker == process}
            for outputs in _outputs(model):
                outputs[:] = [without_views(output, kept=alive) for output in outputs]
        return model

    async def save(self, model: dict[str, Any], path: str = "") -> dict[str, Any]:
        if model.get("type") == "notebook" and (process := await self._process(path)):
            for outputs in _outputs(model):
                for output in outputs:
                    if view := output.get("data", {}).get(VIEW):
                        self._made_by.setdefault(view["model_id"], process)
        return await super().save(model, path)

    async def _process(self, path: str) -> tuple[str, Any] | None:
        """The kernel of the notebook at `path` and its process, which a restart changes; None where there is none."""
        for session in await self.parent.session_manager.list_sessions():
            if session["path"] == path.strip("/"):
                kernel = session["kernel"]["id"]
                provisioner = self.parent.kernel_manager.get_kernel(kernel).provisioner
                return kernel, getattr(provisioner, "pid", None)
        return None


def _outputs(model: dict[str, Any]) -> list[list[dict[str, Any]]]:
    cells = (model.get("content") or {}).get("cells", [])
    return [cell["outputs"] for cell in cells if cell.get("outputs")]
