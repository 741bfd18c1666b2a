"""The loss, the optimizer, clipping and the learning rate, written out.

AdamW: Loshchilov and Hutter 2019, Decoupled Weight Decay Regularization, algorithm 2. Clipping by the norm: Pascanu,
Mikolov and Bengio 2013, algorithm 1. Half a cosine: Loshchilov and Hutter 2017, equation 5.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from .data import IGNORE

SETTINGS = ("lr", "betas", "eps", "weight_decay")  # what a group of parameters can have of its own


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean of −log p(target), in nats, over the targets that are not −100. logits (..., V), targets (...) -> ().

    log p = logit − log Σ exp(logits), with the largest logit taken out first so that exp cannot overflow; logits of 16
    bits are computed with in float32, because a sum over a large vocabulary overflows float16. Raises ValueError for
    shapes that do not fit, a target that is no token, and where no target counts: a mean over nothing is undefined
    (PyTorch gives NaN, which training would carry on with).
    """
    if logits.shape[:-1] != targets.shape or logits.dim() == 0:
        raise ValueError(
            f"expected a target for each row of logits (..., V), got logits {tuple(logits.shape)} and targets "
            f"{tuple(targets.shape)}"
        )
    if targets.is_floating_point() or targets.is_complex() or targets.dtype == torch.bool:
        raise ValueError(f"expected targets that are token ids, whole numbers; got {targets.dtype}")
    counted = targets != IGNORE
    logits, targets = logits[counted], targets[counted].long()  # (N, V), (N,)
    if not len(targets):
        raise ValueError(f"expected a target that counts, got {counted.numel()} that are all {IGNORE}")
    if wrong := targets[(targets < 0) | (targets >= logits.shape[-1])].tolist():
        raise ValueError(f"expected targets from 0 to {logits.shape[-1] - 1}, or {IGNORE} to ignore; got {wrong[0]}")
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    largest = logits.amax(dim=-1, keepdim=True)  # (N, 1)
    log_sum = (logits - largest).exp().sum(dim=-1).log() + largest[:, 0]  # (N,)
    return (log_sum - logits.gather(-1, targets[:, None])[:, 0]).mean()


class AdamW:
    """AdamW with decoupled weight decay, written out (Loshchilov and Hutter 2019, algorithm 2).

    `parameters` are tensors, or PyTorch's groups: dicts with "params" and any of "lr", "betas", "eps" and
    "weight_decay" of their own. `state_dict` and `load_state_dict` have PyTorch's layout, so that a run can go on with
    `torch.optim.AdamW` and the other way round. Raises ValueError for settings and groups that make no sense.
    """

    def __init__(
        self,
        parameters: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float,
        *,
        betas: tuple[float, float] = (0.9, 0.95),
        eps: float = 1e-8,
        weight_decay: float = 0.1,
    ):
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        groups = list(parameters)
        if not any(isinstance(group, dict) for group in groups):
            groups = [{"params": groups}]
        self.param_groups = [_checked_group(group, defaults) for group in groups]
        if not self._parameters():
            raise ValueError("expected parameters, got none")
        if len(set(self._parameters())) < len(self._parameters()):
            raise ValueError("expected each parameter once, got one twice: it would be moved twice in a step")
        self.state: dict[Tensor, dict[str, Any]] = {}  # of each parameter that has been moved

    def _parameters(self) -> list[Tensor]:
        return [parameter for group in self.param_groups for parameter in group["params"]]

    @torch.no_grad()
    def step(self) -> None:
        """Move every parameter that has a gradient. Sparse gradients raise ValueError, and then nothing has moved."""
        if any(p.grad is not None and p.grad.layout != torch.strided for p in self._parameters()):
            raise ValueError("expected dense gradients, got a sparse one; make the embedding with sparse=False")
        for group in self.param_groups:
            lr, (beta1, beta2) = group["lr"], group["betas"]
            for parameter in group["params"]:
                gradient = parameter.grad
                if gradient is None:
                    continue
                if parameter not in self.state:
                    zeros = torch.zeros_like(parameter)
                    self.state[parameter] = {"step": 0, "exp_avg": zeros, "exp_avg_sq": zeros.clone()}
                state = self.state[parameter]
                state["step"] += 1  # of this parameter: its averages started with its own first gradient
                mean, square = state["exp_avg"], state["exp_avg_sq"]
                mean.mul_(beta1).add_(gradient, alpha=1 - beta1)
                square.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
                mean_hat = mean / (1 - beta1 ** state["step"])  # the averages started from 0: undo that bias
                square_hat = square / (1 - beta2 ** state["step"])
                parameter.mul_(1 - lr * group["weight_decay"])
                parameter.sub_(lr * mean_hat / (square_hat.sqrt() + group["eps"]))

    def zero_grad(self) -> None:
        """Forget the gradients, so that the next backward pass starts from none."""
        for parameter in self._parameters():
            parameter.grad = None

    def state_dict(self) -> dict[str, Any]:
        """A copy of all that the next steps depend on besides the weights; a parameter is told by its number."""
        numbers = {parameter: number for number, parameter in enumerate(self._parameters())}
        groups = [group | {"params": [numbers[p] for p in group["params"]]} for group in self.param_groups]
        return {"state": {numbers[p]: _copied(state, p) for p, state in self.state.items()}, "param_groups": groups}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Take over a `state_dict`, PyTorch's too: the next steps are those that the saved optimizer would take.

        Raises ValueError where it is of other parameters or of another optimizer, and changes nothing then.
        """
        parameters, groups = self._parameters(), saved["param_groups"]
        theirs, ours = ([len(group["params"]) for group in of] for of in (groups, self.param_groups))
        if theirs != ours:
            raise ValueError(f"expected the state of groups of {ours} parameters, got one of groups of {theirs}")
        for number, state in saved["state"].items():
            if state.keys() != {"step", "exp_avg", "exp_avg_sq"}:
                raise ValueError(f"expected AdamW's step, exp_avg and exp_avg_sq, got {', '.join(state)}")
            shape, expected = tuple(state["exp_avg"].shape), tuple(parameters[number].shape)
            if shape != expected:
                raise ValueError(f"expected the state of a parameter {expected} as number {number}, got {shape}")
        self.state = {parameters[n]: _copied(state, parameters[n]) for n, state in saved["state"].items()}
        for group, saved_group in zip(self.param_groups, groups, strict=True):
            group.update({name: saved_group[name] for name in SETTINGS})


def _copied(state: dict[str, Any], parameter: Tensor) -> dict[str, Any]:
    averages = {name: state[name].to(parameter, copy=True) for name in ("exp_avg", "exp_avg_sq")}
    return {"step": int(state["step"]), **averages}


def _checked_group(group: Any, defaults: dict[str, Any]) -> dict[str, Any]:
    """A group with the settings that it leaves out; ValueError names what is wrong with it."""
    if not isinstance(group, dict) or "params" not in group:
        raise ValueError(f'expected groups that are dicts with "params", got {group!r:.60}')
    if unknown := sorted(group.keys() - {"params", *SETTINGS}):
        raise ValueError(f"expected a group's own {', '.join(SETTINGS)}, got {', '.join(unknown)}")
    group = defaults | group
    group["params"] = [group["params"]] if isinstance(group["params"], Tensor) else list(group["params"])
    for parameter in group["params"]:
        if not isinstance(parameter, Tensor) or not parameter.is_floating_point() or not parameter.is_leaf:
            kind = parameter.dtype if isinstance(parameter, Tensor) else type(parameter).__name__
            raise ValueError(f"expected parameters: leaf tensors of floating-point numbers; got one of {kind}")
    for name in ("lr", "eps", "weight_decay"):
        if not (math.isfinite(group[name]) and group[name] >= 0):
            raise ValueError(f"expected a finite {name} of at least 0, got {group[name]}")
    if len(group["betas"]) != 2 or not all(0 <= beta < 1 for beta in group["betas"]):
        raise ValueError(f"expected two betas from 0 to below 1, got {group['betas']}")
    return group


def clip_gradients(parameters: Tensor | Iterable[Tensor], max_norm: float) -> Tensor:
    """Scale all gradients down so that their joint norm is at most `max_norm`; returns the norm before, ().

    The norm is taken in float32 at least, where squares of 16-bit gradients neither vanish nor overflow; 0 where there
    are no gradients. Raises ValueError for a max_norm that is not above 0.
    """
    if not max_norm > 0:
        raise ValueError(f"expected max_norm above 0, got {max_norm}")
    parameters = [parameters] if isinstance(parameters, Tensor) else parameters
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    if not gradients:
        return torch.tensor(0.0)
    wide = [gradient.to(torch.promote_types(gradient.dtype, torch.float32)) for gradient in gradients]
    norm = torch.stack([gradient.pow(2).sum() for gradient in wide]).sum().sqrt()
    scale = (max_norm / (norm + 1e-6)).clamp(max=1.0)
    for gradient in gradients:
        gradient.mul_(scale)
    return norm


def cosine_schedule(step: int, *, n_steps: int, peak: float, warmup: int, floor: float = 0.0) -> float:
    """The learning rate of a step: a line up to `peak` in `warmup` steps, then half a cosine down to `floor`.

    From step `n_steps` on it stays at the floor. Raises ValueError for a negative step, n_steps or warmup.
    """
    if step < 0 or n_steps < 0 or warmup < 0:
        raise ValueError(f"expected step, n_steps and warmup of at least 0, got {step}, {n_steps}, {warmup}")
    if step >= n_steps:
        return floor
    if step < warmup:
        return peak * (step + 1) / warmup
    progress = (step - warmup) / (n_steps - warmup)
    return floor + (peak - floor) * (1 + math.cos(math.pi * progress)) / 2
