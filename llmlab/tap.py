"""Named points in the model at which a tensor can be seen or replaced.

The model calls `tap(self, "weights", weights)` where a tensor is worth a look. With nobody listening the call returns
its tensor and costs a tenth of a microsecond; `llmlab.trace` opens listeners. Listeners belong to the thread (the
context) that opened them, so a model that trains in one thread can be recorded in another.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar

from torch import Tensor, nn

Listener = Callable[[nn.Module, str, Tensor], Tensor]
listeners: ContextVar[tuple[Listener, ...]] = ContextVar("llmlab_listeners", default=())


def tap(module: nn.Module, name: str, tensor: Tensor) -> Tensor:
    """Offer `tensor` to every listener under `name` and return what they make of it (by default, the same tensor)."""
    for listener in listeners.get():
        tensor = listener(module, name, tensor)
    return tensor


def tapped() -> bool:
    """True while somebody listens; then attention is computed written out, so that its weights exist."""
    return bool(listeners.get())
