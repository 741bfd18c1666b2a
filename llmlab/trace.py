"""Look into a running model, or change it on the way.

`record` keeps named tensors of every forward pass; `patch` replaces them (ablation, activation patching: Vig et al.
2020; Meng et al. 2022, section 2.1). The names are the module's path and the tensor's own:

    embedding                      (B, T, D)     tokens as vectors, the start of the residual stream
    blocks.0.attention.q           (B, H, T, d)  after RoPE; likewise .k and .v (B, G, T, d), of the new tokens
    blocks.0.attention.latent      (B, 1, T, r)  of latent attention, whose .k and .v (B, H, S, d) include the past
    blocks.0.attention.scores      (B, H, T, S)  with ALiBi's bias, before the mask;  .weights  after the softmax
    blocks.0.attention.heads       (B, H, T, d)  what each head read;  .out (B, T, D)  what attention adds
    blocks.0.middle                (B, T, D)     the stream between attention and feed-forward
    blocks.0.ffn.hidden            (B, T, d_ff)  .out (B, T, D)  what the feed-forward layer adds
    blocks.0.residual              (B, T, D)     the stream after the block
    final                          (B, T, D)     after the last norm;  logits (B, T, V)
"""

from __future__ import annotations

import difflib
import fnmatch
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager

from torch import Tensor, nn

from .tap import listeners


class _Listener:
    """Knows the path of each module of one model; tensors of other models pass through untouched."""

    def __init__(self, model: nn.Module):
        self.paths = {module: f"{path}." if path else "" for path, module in model.named_modules()}
        self.seen: dict[str, None] = {}

    def __call__(self, module: nn.Module, name: str, tensor: Tensor) -> Tensor:
        path = self.paths.get(module)
        if path is None:
            return tensor
        self.seen[path + name] = None
        return self.offer(path + name, tensor)

    def offer(self, name: str, tensor: Tensor) -> Tensor:
        raise NotImplementedError

    def unmatched(self, wanted: Iterable[str]) -> None:
        """Raise KeyError for the first wanted name that no tensor had, once the model has run."""
        for want in wanted:
            if self.seen and not fnmatch.filter(self.seen, want):
                near = difflib.get_close_matches(want, self.seen, n=3, cutoff=0.3)
                raise KeyError(f"the model has no tensor named {want!r}; near it are {', '.join(near) or 'none'}")


class _Recorder(_Listener):
    def __init__(self, model: nn.Module, names: tuple[str, ...], keep_graph: bool):
        super().__init__(model)
        self.names, self.keep_graph = names, keep_graph
        self.tensors: dict[str, Tensor] = {}

    def offer(self, name: str, tensor: Tensor) -> Tensor:
        if not self.names or any(fnmatch.fnmatchcase(name, pattern) for pattern in self.names):
            self.tensors[name] = tensor if self.keep_graph else tensor.detach().clone()
        return tensor


class _Patcher(_Listener):
    def __init__(self, model: nn.Module, changes: Mapping[str, Callable[[Tensor], Tensor]]):
        super().__init__(model)
        self.changes = dict(changes)

    def offer(self, name: str, tensor: Tensor) -> Tensor:
        if name not in self.changes:
            return tensor
        new = self.changes[name](tensor)
        if not isinstance(new, Tensor) or new.shape != tensor.shape:
            got = tuple(new.shape) if isinstance(new, Tensor) else type(new).__name__
            raise ValueError(
                f"the patch of {name} was given {tuple(tensor.shape)} and returned {got}; expected the same shape"
            )
        return new


@contextmanager
def record(model: nn.Module, names: Iterable[str] = (), *, keep_graph: bool = False) -> Iterator[dict[str, Tensor]]:
    """Keep the named tensors of the forward passes inside the block; a later pass replaces those of an earlier one.

    `names` may hold patterns such as "blocks.*.attention.weights"; none means all. Tensors are detached copies, unless
    `keep_graph` asks for the tensors themselves, to differentiate with respect to them. A name that the model does not
    have raises KeyError at the end of the block.

        with trace.record(model, ["blocks.*.attention.weights"]) as tensors:
            model(tokens)
        tensors["blocks.2.attention.weights"]  # (B, H, T, S)
    """
    names = (names,) if isinstance(names, str) else tuple(names)
    recorder = _Recorder(model, names, keep_graph)
    token = listeners.set((*listeners.get(), recorder))  # recorders last: they see what patches made
    try:
        yield recorder.tensors
    finally:
        listeners.reset(token)
    recorder.unmatched(names)


@contextmanager
def patch(model: nn.Module, changes: Mapping[str, Callable[[Tensor], Tensor]]) -> Iterator[None]:
    """Replace named tensors on their way through the model: {name: function from tensor to tensor of the same shape}.

    A function must return a new tensor rather than change the given one in place. A name that the model does not have
    raises KeyError at the end of the block.

        with trace.patch(model, {"blocks.2.attention.out": torch.zeros_like}):
            model(tokens)  # without the attention of layer 2
    """
    patcher = _Patcher(model, changes)
    patchers = [listener for listener in listeners.get() if isinstance(listener, _Patcher)]
    others = [listener for listener in listeners.get() if not isinstance(listener, _Patcher)]
    token = listeners.set((*patchers, patcher, *others))
    try:
        yield
    finally:
        listeners.reset(token)
    patcher.unmatched(patcher.changes)
