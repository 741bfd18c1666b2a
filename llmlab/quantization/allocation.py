"""Which matrix gets how many bits, where a file may only have so many.

Rounding to the nearest moves a weight by up to half a scale, and the scale is the largest size divided by the highest
code, 2^(b−1) − 1. If what a matrix does to the model goes with the mean square of its errors, one measurement of each
matrix foretells the others: with b bits for b₀ the harm is multiplied by ((2^(b₀−1) − 1) / (2^(b−1) − 1))².
"""

from __future__ import annotations

from collections.abc import Mapping

from .quantized import check_bits


def harm_at(harm: float, bits: int, *, measured_at: int = 3) -> float:
    """The harm with `bits` bits that follows from the one measured with `measured_at`, a mean square."""
    return harm * ((2 ** (check_bits(measured_at) - 1) - 1) / (2 ** (check_bits(bits) - 1) - 1)) ** 2


def allocate_bits(
    harm: Mapping[str, float],
    sizes: Mapping[str, int],
    budget: int,
    *,
    measured_at: int = 3,
    lowest: int = 2,
    highest: int = 8,
) -> dict[str, int]:
    """Bits for each matrix, of `budget` bits for all codes together: {name: bits}.

    harm: of each matrix quantized alone with `measured_at` bits, as a mean square (it is taken to add up); sizes: its
    number of weights. Greedy: all begin with `lowest` bits, and the next one goes each time where it takes away most
    harm for its bytes, among those that still fit and have fewer than `highest`.
    Raises ValueError for different names in the two, and for a budget that is too small for `lowest`.
    """
    if set(harm) != set(sizes):
        raise ValueError(f"expected harm and sizes of the same matrices, got {sorted(set(harm) ^ set(sizes))} in one")
    bits = dict.fromkeys(harm, lowest)
    left = budget - lowest * sum(sizes.values())
    if left < 0:
        raise ValueError(f"expected a budget of at least {budget - left} bits, {lowest} for each weight; got {budget}")

    def gain(name: str) -> float:
        before, after = (harm_at(harm[name], bits[name] + more, measured_at=measured_at) for more in (0, 1))
        return (before - after) / sizes[name]

    while fitting := [name for name in bits if bits[name] < highest and sizes[name] <= left]:
        best = max(fitting, key=gain)
        bits[best] += 1
        left -= sizes[best]
    return bits
