"""`LabWidget`: what all widgets of the course share.

Arrays travel as binary buffers with a dtype and a shape. The JavaScript of a widget is one text: the helpers of
`js/base.js`, the widget's own file, which declares `render({ model, el })`, `js/window.js`, and `js/frame.js`, which
exports it. A module that arrives through the kernel cannot import another.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import anywidget
import numpy as np
import traitlets
from torch import Tensor

from . import export

FOLDER = Path(__file__).resolve().parent / "js"
LONGEST = 400  # characters of an error


class Array(traitlets.TraitType):
    """A numpy array (or tensor) that reaches the browser as {dtype, shape, data}, its bytes in a binary buffer."""

    info_text = "a numpy array or a tensor of float32, int32 or uint8"
    default_value = np.zeros(0, dtype=np.float32)

    def validate(self, obj: Any, value: Any) -> np.ndarray:
        if isinstance(value, Tensor):
            value = value.detach().cpu().numpy()
        if not isinstance(value, np.ndarray):
            self.error(obj, value)
        narrow = {"float64": np.float32, "int64": np.int32}.get(value.dtype.name, value.dtype)
        value = np.ascontiguousarray(value, dtype=narrow)
        if value.dtype.name not in ("float32", "int32", "uint8"):
            self.error(obj, value)
        return value

    @staticmethod
    def to_json(value: np.ndarray, widget: Any) -> dict[str, Any]:
        raw = value.reshape(-1).view(np.uint8)  # the same memory; a cast of the memoryview refuses a 0 in the shape
        return {"dtype": value.dtype.name, "shape": list(value.shape), "data": raw.data}

    @staticmethod
    def from_json(value: dict[str, Any], widget: Any) -> np.ndarray:
        return np.frombuffer(value["data"], dtype=value["dtype"]).reshape(value["shape"])

    def __init__(self, **kwargs: Any):
        super().__init__(**kwargs)
        self.tag(sync=True, to_json=self.to_json, from_json=self.from_json)

    # Two arrays are one change only if they differ as a whole; numpy's == would answer element by element.
    def set(self, obj: Any, value: Any) -> None:
        new = self._validate(obj, value)
        old = obj._trait_values.get(self.name, self.default_value)
        obj._trait_values[self.name] = new
        if old.shape != new.shape or old.dtype != new.dtype or not np.array_equal(old, new):
            obj._notify_trait(self.name, old, new)


@dataclass(frozen=True)
class Table:
    """A part of a widget's picture as text: a caption, the names of the columns, and rows of as many cells."""

    caption: str
    columns: list[str]
    rows: list[list[str]]

    def __post_init__(self) -> None:
        for number, row in enumerate(self.rows):
            if len(row) != len(self.columns):
                raise ValueError(
                    f"expected {len(self.columns)} cells in each row of the table {self.caption!r}, "
                    f"one a column; row {number} has {len(row)}"
                )

    def html(self) -> str:
        """The table in HTML; whatever its texts hold, they show as text."""

        def row(tag: str, cells: list[str]) -> str:
            return "<tr>" + "".join(f"<{tag}>{escape(str(cell))}</{tag}>" for cell in cells) + "</tr>"

        caption = f"<caption style='white-space: nowrap'>{escape(self.caption)}</caption>"
        return f"<table>{caption}{row('th', self.columns)}{''.join(row('td', cells) for cells in self.rows)}</table>"


class LabWidget(anywidget.AnyWidget):
    """The base of the course's widgets. A subclass names its JavaScript file in `js` and says its picture in `tables`.

    Where there is no kernel, the tables show. `repr` is the same on every run. What goes wrong in the kernel is shown
    in the widget, through the trait `error`. When the kernel restarts or ends, the widget says so and goes on as a
    recording, until its cell is run again. A style sheet beside the JavaScript file, of the same name, is joined to the
    shared one.
    """

    js: str = ""
    scale = traitlets.Float(1.0, min=0.5, max=4.0, help="size of everything, for projectors").tag(sync=True)
    busy = traitlets.Bool(False, help="whether the kernel is at work for this widget").tag(sync=True)
    error = traitlets.Unicode("", help="what went wrong last, in one line").tag(sync=True)
    offline = traitlets.Bool(False, help="True where no kernel answers: in an exported page").tag(sync=True)
    view = traitlets.Enum(["picture", "table"], "picture", help="the picture, or its numbers as text").tag(sync=True)

    _at_work = False
    _refused = False

    def __init_subclass__(cls, **kwargs: Any):
        if "js" in cls.__dict__:  # not again in the subclass that traitlets makes for added traits
            cls._esm = "\n".join(
                (FOLDER / name).read_text(encoding="utf-8") for name in ("base.js", cls.js, "window.js", "frame.js")
            )
            cls._css = _styles((FOLDER / cls.js).with_suffix(".css"))
        super().__init_subclass__(**kwargs)

    def tables(self) -> list[Table]:
        """What the picture shows now, as text."""
        raise NotImplementedError(f"{type(self).__name__} has no tables: expected a method that returns list[Table]")

    def fallback_html(self) -> str:
        """What a page shows that has no kernel: the tables. HTML, with all text escaped."""
        return "".join(table.html() for table in self.tables())

    def save_html(self, path: str | Path, *, title: str | None = None) -> Path:
        """Write the widget as it stands, with its recorded tensors, into one page; returns the page's path.

        The page needs no kernel and no network. What needs a new forward pass is switched off in it. `path` must end in
        .html, in a folder that exists; otherwise ValueError, FileNotFoundError or another OSError says what is wrong.
        """
        return export.save(self, path, title=title)

    def _attempt(self, work: Callable[[], None]) -> None:
        """Do the work with the widget marked busy; what goes wrong is shown in it, in one line.

        Within another attempt, as when the work sets a trait that starts more work, the outer one shows the problem.
        """
        if self._at_work:
            return work()
        self._at_work = self.busy = True
        problem = ""
        try:
            work()
        except Exception as error:
            problem = _in_one_line(error, plain=(ValueError, RuntimeError))
        finally:
            self._at_work = self.busy = False
            self.error = problem

    def set_state(self, sync_data: dict[str, Any]) -> None:
        """Take over what the browser says. What a trait refuses is shown, and the browser gets the old value back."""
        if self._refused:
            self._refused, self.error = False, ""
        try:
            super().set_state(sync_data)
        except Exception as error:  # Jupyter would write it where no reader looks
            self._refused, self.error = True, _in_one_line(error, plain=(ValueError, traitlets.TraitError))
            self.send_state([name for name in sync_data if name in self.keys])

    def _repr_mimebundle_(self, **kwargs: Any):
        bundle = super()._repr_mimebundle_(**kwargs)
        data, metadata = bundle if isinstance(bundle, tuple) else (bundle, {})
        return {**(data or {}), "text/html": self.fallback_html(), "text/plain": repr(self)}, metadata


def _styles(own: Path) -> str:
    """The shared style sheet and a widget's own, whose rules outweigh the shared ones by one class.

    Each widget that is shown brings the shared rules again, after the own rules of those before it: what stands last
    must not decide. `:root { rule }` is the same rule for all that is in the page, with the weight of one more class.
    """
    shared = (FOLDER / "base.css").read_text(encoding="utf-8")
    if not own.exists():
        return shared
    text = own.read_text(encoding="utf-8")
    frames = re.findall(r"^@keyframes [^{]+\{.*?^\}\n", text, re.MULTILINE | re.DOTALL)  # these cannot stand in a rule
    for frame in frames:
        text = text.replace(frame, "")
    return "\n".join([shared, *frames, f":root {{\n{text}}}\n"])


def _in_one_line(error: Exception, *, plain: tuple[type[Exception], ...]) -> str:
    """An error as a reader sees it. One that is not `plain` is a mistake of ours or of the model's: its type helps.

    What a text repeats of a reader's input can be long: its middle is left out.
    """
    name, text = type(error).__name__, " ".join(str(error).split())
    if len(text) > LONGEST:
        text = f"{text[: LONGEST // 2]} … {text[-LONGEST // 2 :]}"
    if not text:
        return name
    return text if isinstance(error, plain) else f"{name}: {text}"
