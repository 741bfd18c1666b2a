"""Where a model can be rewritten without changing its function: what is multiplied into one matrix, another takes out.

Two places. Between a norm and the layers that read it, or between two matrices with nothing but a product between them,
each channel may be divided by a number and the next matrix's column multiplied by it (`Joint`). And the residual stream
may be turned as a whole, if all that writes to it and all that reads it is turned too (`llmlab.quantization.rotation`).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..transformer import Transformer


@dataclass(frozen=True)
class Joint:
    """A place where channels may be rescaled: what `source` gives, a norm or a linear layer, only `readers` read.

    Source and readers are paths. `copies`: how often each head's channels come to the readers: with grouped heads, the
    value of a kv head is read once for each query head of its group. `head_dim`: the width of such a head.
    """

    source: str
    readers: tuple[str, ...]
    copies: int = 1
    head_dim: int = 1

    def spread(self, scale: Tensor) -> Tensor:
        """One number for each channel of the source -> one for each input of the readers. (n,) -> (copies · n,)."""
        return scale.unflatten(0, (-1, self.head_dim)).repeat_interleave(self.copies, 0).flatten()

    def gathered(self, x: Tensor) -> Tensor:
        """The inputs that are copies of one channel side by side. (copies · n,) -> (n, copies)."""
        return x.unflatten(0, (-1, self.copies, self.head_dim)).transpose(1, 2).flatten(0, 1)


def joints(model: Transformer, *, norms_only: bool = False) -> list[Joint]:
    """All places of a model where channels may be rescaled, in the order in which a token passes them.

    A norm counts if only linear layers read it: not in a model with norms after the sum, whose stream they are; the
    last norm only if the head is not tied to the table. Values reach `o_proj` by weighted means, and a gated layer's
    `up` reaches `down` by products: both may be rescaled. What comes out of an activation may not.
    """
    found = []
    for number, block in enumerate(model.blocks):
        place, attention = f"blocks.{number}", block.attention
        latent = hasattr(attention, "latent_proj")  # multi-head latent attention
        if not block.post_norm:
            names = ["q_proj", "k_proj", "v_proj"]
            if latent:
                names = ["q_proj" if attention.q_latent_proj is None else "q_latent_proj", "latent_proj", "rope_proj"]
            found.append(Joint(f"{place}.attention_norm", tuple(f"{place}.attention.{name}" for name in names)))
        if not norms_only:
            value = "v_up" if latent else "v_proj"
            copies = 1 if latent else attention.n_heads // attention.n_kv_heads
            out = f"{place}.attention.o_proj"
            found.append(Joint(f"{place}.attention.{value}", (out,), copies, attention.head_dim))
        if block.ffn is None:
            continue
        parts = {path: each for path, each in block.ffn.named_modules() if hasattr(each, "down")}
        dense = {f"{place}.ffn.{path}".rstrip("."): each for path, each in parts.items()}
        if not block.post_norm:
            readers = [f"{place}.ffn.router"] if hasattr(block.ffn, "router") else []
            for path, each in dense.items():
                readers += [f"{path}.{name}" for name in ("gate", "up") if hasattr(each, name)]
            found.append(Joint(f"{place}.ffn_norm", tuple(readers)))
        if not norms_only:
            found += [Joint(f"{path}.up", (f"{path}.down",)) for path, each in dense.items() if hasattr(each, "gate")]
    if model.norm is not None and model.head.weight is not model.embedding.weight:
        found.append(Joint("norm", ("head",)))
    return found


@torch.no_grad()
def rescale(model: nn.Module, joint: Joint, scale: Tensor) -> None:
    """Divide each channel of the joint's source by a number, and multiply the readers' columns by it. In place.

    scale (n,), one for each channel of the source. Raises ValueError where one is not finite and above 0.
    """
    source = model.get_submodule(joint.source)
    if tuple(scale.shape) != (len(source.weight),) or not (scale.isfinite() & (scale > 0)).all():
        raise ValueError(
            f"expected {len(source.weight)} finite scales above 0 for {joint.source}, got {tuple(scale.shape)}"
        )
    wide = scale.double()
    weight = source.weight
    weight.copy_(weight.double() / (wide if weight.dim() == 1 else wide[:, None]))
    if getattr(source, "bias", None) is not None:
        source.bias.copy_(source.bias.double() / wide)
    for path in joint.readers:
        weight = model.get_submodule(path).weight
        weight.copy_(weight.double() * joint.spread(wide))
