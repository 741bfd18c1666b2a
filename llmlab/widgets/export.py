"""Widgets without a kernel: one page that holds their JavaScript and their recorded tensors, and asks for nothing.

In the page a small object with `get`, `set`, `on`, `off` and `save_changes` over the recorded traits takes the place of
the model that Jupyter connects with the kernel (`js/export.js`). Arrays are base64 with their dtype and shape.
"""

from __future__ import annotations

import base64
import json
import re
from html import escape
from pathlib import Path
from typing import Any, Protocol

FOLDER = Path(__file__).resolve().parent / "js"
RECORDING = "A recording: the widget as it was saved, with its tensors. There is no kernel behind this page."
# Only what stands in the page itself may run or show: the browser refuses any request.
POLICY = "default-src 'none'; script-src 'unsafe-inline' blob:; style-src 'unsafe-inline'; img-src data: blob:"

# What JupyterLab's light and dark themes give to the variables that our widgets read.
VARIABLES = {
    "--jp-ui-font-color1": ("rgb(0 0 0 / 0.87)", "rgb(255 255 255 / 0.87)"),
    "--jp-ui-font-color2": ("rgb(0 0 0 / 0.6)", "rgb(255 255 255 / 0.6)"),
    "--jp-layout-color0": ("#ffffff", "#111111"),
    "--jp-layout-color1": ("#ffffff", "#212121"),
    "--jp-layout-color2": ("#eeeeee", "#424242"),
    "--jp-layout-color3": ("#bdbdbd", "#616161"),
    "--jp-border-color0": ("#bdbdbd", "#616161"),
    "--jp-border-color1": ("#bdbdbd", "#616161"),
    "--jp-border-color2": ("#e0e0e0", "#424242"),
    "--jp-border-color3": ("#eeeeee", "#212121"),
    "--jp-error-color1": ("#d32f2f", "#f44336"),
    "--jp-warn-color1": ("#f57c00", "#ff9800"),
    "--jp-success-color1": ("#388e3c", "#4caf50"),
    "--jp-brand-color1": ("#1976d2", "#2196f3"),
}
FONTS = """:root {
  --jp-ui-font-family: system-ui, -apple-system, "Segoe UI", Helvetica, Arial, sans-serif;
  --jp-code-font-family: Menlo, Consolas, "DejaVu Sans Mono", monospace;
}"""


class Recordable(Protocol):
    """What a page needs of a widget; `LabWidget` has it."""

    _esm: str
    _css: str

    def traits(self, **metadata: Any) -> dict[str, Any]: ...

    def get_state(self, key: list[str]) -> dict[str, Any]: ...

    def fallback_html(self) -> str: ...


def save(widget: Recordable, path: str | Path, *, title: str | None = None) -> Path:
    """Write the page of one widget; returns its path. ValueError or OSError says what is wrong with the path."""
    path = checked(path)
    title = title or spaced(type(widget).__name__)
    body = f"<p>{RECORDING}</p>\n{place(0)}\n<noscript>{widget.fallback_html()}</noscript>"
    return write(path, page(title, body, [widget]))


def page(title: str, body: str, widgets: list[Recordable]) -> str:
    """A whole page. `body` is HTML with a `place(number)` wherever a widget of the list is to be shown."""
    own = (FOLDER / "export.css").read_text(encoding="utf-8")
    styles = dict.fromkeys([themes(), own, *(str(widget._css) for widget in widgets)])
    modules = list(dict.fromkeys(str(widget._esm) for widget in widgets))
    recorded = [{"module": modules.index(str(widget._esm)), **record(widget)} for widget in widgets]
    # With no "<" in it, no text of the reader can end the script element.
    data = json.dumps({"modules": modules, "widgets": recorded}, separators=(",", ":")).replace("<", "\\u003c")
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>{escape(title)}</title>
<style>
{chr(10).join(styles)}</style>
</head>
<body>
<main>
<h1>{escape(title)}</h1>
{body}
</main>
<script type="application/json" id="llmlab-recorded">{data}</script>
<script type="module">
{(FOLDER / "export.js").read_text(encoding="utf-8")}</script>
</body>
</html>
"""


def themes() -> str:
    """CSS: the reader's theme for the page, and the classes `llmlab-light` and `llmlab-dark` for a part of it."""
    light, dark = (
        "{" + "".join(f"{name}: {pair[theme]}; " for name, pair in VARIABLES.items()) + f"color-scheme: {kind}}}"
        for theme, kind in enumerate(("light", "dark"))
    )
    by_reader = f":root {light}\n@media (prefers-color-scheme: dark) {{ :root {dark} }}"
    return f"{FONTS}\n{by_reader}\n.llmlab-light {light}\n.llmlab-dark {dark}"


def place(number: int) -> str:
    """Where widget `number` of the page is shown. It may be shown in several places, each with a state of its own."""
    return f'<div data-llmlab-widget="{number}"></div>'


def record(widget: Recordable) -> dict[str, Any]:
    """The widget's own synced traits: `state` as they are in JSON, `arrays` with their bytes in base64."""
    own = set(widget.traits(sync=True)) - set(_machinery())
    state: dict[str, Any] = {}
    arrays: dict[str, Any] = {}
    for name, value in sorted(widget.get_state(sorted(own)).items()):
        if isinstance(value, dict) and isinstance(value.get("data"), memoryview):
            arrays[name] = {**value, "data": base64.b64encode(value["data"]).decode("ascii")}
            continue
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError) as error:
            kind = type(widget).__name__
            raise ValueError(f"the trait {name!r} of {kind} cannot be recorded in a page: {error}") from None
        state[name] = value
    return {"state": {**state, "offline": True, "busy": False}, "arrays": arrays}


def _machinery() -> list[str]:
    """The traits that every anywidget has for Jupyter's sake."""
    import anywidget

    return [*anywidget.AnyWidget().traits(sync=True), "_esm", "_css", "_anywidget_id"]


def checked(path: str | Path) -> Path:
    """The path of a page that can be written there, or an error that says why it cannot."""
    path = Path(path).expanduser()
    if path.is_dir():
        raise IsADirectoryError(f"expected the path of a page, such as widget.html; {path} is a folder")
    if path.suffix.lower() not in (".html", ".htm"):
        raise ValueError(f"expected a path that ends in .html, so that a browser opens it; got {str(path)!r}")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {path.parent} to write {path.name} into")
    return path


def write(path: Path, text: str) -> Path:
    """Write the page. Half of a surrogate pair, which a prompt may hold, becomes a character reference."""
    path.write_bytes(text.encode("utf-8", errors="xmlcharrefreplace"))
    return path


def spaced(name: str) -> str:
    """A class's name as a title: `TokenTour` becomes "Token tour"."""
    words = re.findall(r"RoPE|[A-Z]+(?![a-z])|[A-Z][a-z0-9]*|[a-z0-9]+", name)
    return " ".join(word if number == 0 or word.isupper() else word.lower() for number, word in enumerate(words))
