"""Codes of 2 to 8 bits, packed into bytes without gaps.

A row of codes is one long run of bits: the first code takes the lowest bits of the first byte, and a code that does
not fit into its byte goes on in the lowest bits of the next. With 4 bits that is: the first code in the low nibble, the
second in the high one. Codes below 0 are kept as their lowest `bits` bits (two's complement); reading them back, the
highest of these bits is the sign and has to be extended, or −3 in four bits comes back as 13.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .quantized import check_bits


def pack(codes: Tensor, bits: int) -> Tensor:
    """Whole numbers (..., n) in `bits` bits each -> bytes (..., ⌈n · bits / 8⌉) uint8. Each row begins a new byte.

    Raises ValueError for a number that `bits` bits cannot hold: all should lie in 0 … 2^bits − 1 (unsigned) or in
    −2^(bits−1) … 2^(bits−1) − 1 (signed).
    """
    bits = check_bits(bits)
    if codes.dim() == 0 or codes.is_floating_point() or codes.dtype == torch.bool:
        raise ValueError(f"expected whole numbers of shape (..., n), got {codes.dtype} {tuple(codes.shape)}")
    if codes.numel():
        low, high = int(codes.min()), int(codes.max())
        if low < -(2 ** (bits - 1)) or high > (2 ** (bits - 1) if low < 0 else 2**bits) - 1:
            raise ValueError(f"expected codes that {bits} bits can hold, got {low} to {high}")
    n = codes.shape[-1]
    patterns = codes.to(torch.int16) & (2**bits - 1)  # (..., n), 0 … 2^bits − 1
    if 8 % bits == 0:  # 2, 4 or 8: a byte holds whole codes
        shifts = torch.arange(0, 8, bits, dtype=torch.int16, device=codes.device)
        patterns = torch.nn.functional.pad(patterns, (0, -n % len(shifts))).unflatten(-1, (-1, len(shifts)))
        return (patterns << shifts).sum(-1).to(torch.uint8)
    ones = (patterns[..., None] >> torch.arange(bits, dtype=torch.int16, device=codes.device)) & 1  # (..., n, bits)
    ones = torch.nn.functional.pad(ones.flatten(-2), (0, -n * bits % 8)).unflatten(-1, (-1, 8))  # (..., bytes, 8)
    worth = 2 ** torch.arange(8, dtype=torch.int16, device=codes.device)  # of the bits in a byte, the lowest first
    return (ones * worth).sum(-1).to(torch.uint8)


def unpack(packed: Tensor, bits: int, n: int, *, signed: bool) -> Tensor:
    """The n codes of each row. packed (..., ⌈n · bits / 8⌉) uint8 -> (..., n), int8 if `signed`, else uint8."""
    bits = check_bits(bits)
    if packed.dtype != torch.uint8 or packed.dim() == 0 or packed.shape[-1] != -(-n * bits // 8):
        raise ValueError(
            f"expected {-(-n * bits // 8)} bytes in uint8 for {n} codes of {bits} bits, "
            f"got {packed.dtype} {tuple(packed.shape)}"
        )
    if bits == 8:
        return packed.view(torch.int8) if signed else packed
    if 8 % bits == 0:  # 2 or 4: a byte holds whole codes
        shifts = torch.arange(0, 8, bits, dtype=torch.uint8, device=packed.device)
        patterns = (packed[..., None] >> shifts) & (2**bits - 1)  # (..., bytes, 8 / bits)
    else:  # eight codes take `bits` bytes, which fit into one long number
        short = -packed.shape[-1] % bits
        words = torch.nn.functional.pad(packed, (0, short)).unflatten(-1, (-1, bits)).long()  # (..., n / 8, bits)
        words = (words << 8 * torch.arange(bits, device=packed.device)).sum(-1, keepdim=True)  # (..., n / 8, 1)
        patterns = (words >> bits * torch.arange(8, device=packed.device)) & (2**bits - 1)  # (..., n / 8, 8)
        patterns = patterns.to(torch.uint8)
    patterns = patterns.flatten(-2)[..., :n]  # (..., n)
    if not signed:
        return patterns
    sign = 2 ** (bits - 1)
    return (patterns ^ sign).view(torch.int8) - sign  # the sign bit extended: 13 = 1101 becomes −3
