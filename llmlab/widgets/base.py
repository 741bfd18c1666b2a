"""`LabWidget`: what all widgets of the course share.

Arrays travel as binary buffers with a dtype and a shape. The JavaScript of a widget is one text, the shared helpers of
`js/base.js` followed by the widget's own file, because a module that arrives through the kernel cannot import another.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anywidget
import numpy as np
import traitlets
from torch import Tensor

FOLDER = Path(__file__).resolve().parent / "js"


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
        return {"dtype": value.dtype.name, "shape": list(value.shape), "data": memoryview(value).cast("B")}

    def __init__(self, **kwargs: Any):
        super().__init__(**kwargs)
        self.tag(sync=True, to_json=self.to_json)

    # Two arrays are one change only if they differ as a whole; numpy's == would answer element by element.
    def set(self, obj: Any, value: Any) -> None:
        new = self._validate(obj, value)
        old = obj._trait_values.get(self.name, self.default_value)
        obj._trait_values[self.name] = new
        if old.shape != new.shape or old.dtype != new.dtype or not np.array_equal(old, new):
            obj._notify_trait(self.name, old, new)


class LabWidget(anywidget.AnyWidget):
    """The base of the course's widgets. A subclass names its JavaScript file in `js`.

    It shows a static fallback (`fallback_html`) where there is no kernel, and has the same `repr` on every run. What
    goes wrong in the kernel is shown in the widget, through the trait `error`.
    """

    js: str = ""
    scale = traitlets.Float(1.0, min=0.5, max=4.0, help="size of everything, for projectors").tag(sync=True)
    busy = traitlets.Bool(False, help="whether the kernel is at work for this widget").tag(sync=True)
    error = traitlets.Unicode("", help="what went wrong last, in one line").tag(sync=True)

    def __init_subclass__(cls, **kwargs: Any):
        if "js" in cls.__dict__:  # not again in the subclass that traitlets makes for added traits
            cls._esm = "\n".join((FOLDER / name).read_text(encoding="utf-8") for name in ("base.js", cls.js))
            cls._css = (FOLDER / "base.css").read_text(encoding="utf-8")
        super().__init_subclass__(**kwargs)

    def fallback_html(self) -> str:
        """What a page shows that has no kernel. HTML; text of the reader must be escaped."""
        raise NotImplementedError

    def _repr_mimebundle_(self, **kwargs: Any):
        bundle = super()._repr_mimebundle_(**kwargs)
        data, metadata = bundle if isinstance(bundle, tuple) else (bundle, {})
        return {**(data or {}), "text/html": self.fallback_html(), "text/plain": repr(self)}, metadata
