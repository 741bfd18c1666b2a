"""Newly drawn numbers moved by a few units of their last place, as another processor would move them.

Vector widths, libraries and thread counts change the last bits of a float. Most code forgives that; a training that is
chaotic amplifies it until its printed loss is another one. Where the environment variable `LLMLAB_PERTURBED` is set,
`sitecustomize` has this file applied, and what numpy or PyTorch draws, newly made weights above all, is multiplied by
1 − 8·ε·noise: ε of its dtype, noise in [0, 1). Weights that are loaded or copied stay as they are, bit for bit. The
noise is a hash of the number itself: no random number is used up, equal seeds still give equal weights, and a number
drawn from an interval around 0 stays inside it.

Rounding to float32 would undo a move in float64. So what numpy has drawn keeps a mark of it, through numpy's
arithmetic and into a tensor, and is moved again where its dtype becomes narrower. The mark is lost in lists, in
`np.asarray` and in PyTorch's arithmetic: draw weights in numpy at their full size, and convert them last.
"""

import functools
from collections.abc import Callable
from types import ModuleType
from typing import Any

UNITS = 8  # the largest change of a number, in units of its dtype's ε
MIX = 0x9E3779B97F4A7C15 - 2**64  # 2⁶⁴ divided by the golden ratio, signed: multiplying by it mixes the bits


def sixteen_bits(numbers: Any) -> Any:
    """A hash of each int64, from 0 to 65535: of an array or a tensor, whose product wraps around."""
    return numbers * MIX >> 40 & 0xFFFF


def _followed_by(move: Callable, function: Callable) -> Callable:
    """`function`, its result moved."""

    @functools.wraps(function)
    def moving(*arguments: Any, **options: Any) -> Any:
        return move(function(*arguments, **options))

    return moving


# numpy ----------------------------------------------------------------------------------------------------------------


def perturb_numpy(random: ModuleType) -> None:
    """Let the module `numpy.random` give moved and marked arrays where it draws floats."""
    import numpy as np

    class array(np.ndarray):  # named so that its repr is numpy's own
        """An array of drawn numbers, or of numbers computed from them."""

        from_numpys_generator = True  # the mark

        def astype(self, *arguments: Any, **options: Any) -> np.ndarray:
            result = super().astype(*arguments, **options)
            return moved(result) if self.dtype.kind == "f" and result.itemsize < self.itemsize else result

        def __array_wrap__(self, result: np.ndarray, context: Any = None, return_scalar: bool = False) -> Any:
            return result[()] if return_scalar else result.view(array)  # a sum is a plain number, as without us

    def moved(drawn: Any) -> Any:
        if not isinstance(drawn, np.ndarray) or drawn.dtype.kind != "f":
            return drawn  # a single number is no weight
        noise = sixteen_bits(drawn.view(np.ndarray).view(f"i{drawn.itemsize}").astype(np.int64)) / 65536
        drawn *= (1 - UNITS * float(np.finfo(drawn.dtype).eps) * noise).astype(drawn.dtype)
        return drawn.view(array)

    functions = ("random", "uniform", "normal", "standard_normal")
    draws = {name: _followed_by(moved, getattr(random.Generator, name)) for name in functions}
    random.Generator = type("Generator", (random.Generator,), draws)
    of_seed = random.default_rng
    random.default_rng = functools.wraps(of_seed)(lambda seed=None: random.Generator(of_seed(seed).bit_generator))
    for name in (*functions, "rand", "randn"):
        setattr(random, name, _followed_by(moved, getattr(random, name)))


# PyTorch --------------------------------------------------------------------------------------------------------------


def perturb_torch(torch: ModuleType) -> None:
    """Let `torch` move what it draws, and once more what numpy has drawn where it takes or converts it."""
    integers = {2: torch.int16, 4: torch.int32, 8: torch.int64}

    @torch.no_grad()
    def moved(drawn: Any) -> Any:
        if drawn.is_floating_point() and drawn.element_size() in integers:
            noise = sixteen_bits(drawn.detach().view(integers[drawn.element_size()]).to(torch.int64)).double() / 65536
            drawn.mul_(1 - UNITS * torch.finfo(drawn.dtype).eps * noise)
        return drawn

    def narrowed(source: Any, result: Any) -> Any:
        """`result`, made from `source`, an array or a tensor: marked as that is, and moved if its dtype is narrower."""
        drawn = getattr(source, "from_numpys_generator", False) and "float" in str(source.dtype)
        if drawn or hasattr(result, "from_numpys_generator"):  # a parameter may be filled again
            result.from_numpys_generator = drawn
        return moved(result) if drawn and result.itemsize < source.itemsize else result

    def converting(function: Callable) -> Callable:
        """`function`, which makes a tensor from what it is given first."""
        return functools.wraps(function)(lambda data, *others, **more: narrowed(data, function(data, *others, **more)))

    for name in ("rand", "randn", "rand_like", "randn_like", "normal"):
        setattr(torch, name, _followed_by(moved, getattr(torch, name)))
    for name in ("normal_", "uniform_"):  # all of torch.nn.init draws with these two
        setattr(torch.Tensor, name, _followed_by(moved, getattr(torch.Tensor, name)))
    for name in ("tensor", "as_tensor", "from_numpy"):
        setattr(torch, name, converting(getattr(torch, name)))
    for name in ("to", "float"):
        setattr(torch.Tensor, name, converting(getattr(torch.Tensor, name)))
    copy = torch.Tensor.copy_

    @functools.wraps(copy)
    def filling(target: Any, source: Any, *others: Any, **more: Any) -> Any:
        return narrowed(source, copy(target, source, *others, **more))

    torch.Tensor.copy_ = filling
