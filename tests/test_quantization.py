"""Numbers in few bits: uniform affine codes, their ranges, and codes packed into bytes.

Compared with PyTorch's quantized tensors and fake quantization, with its observers, and with loops over single numbers.
"""

import math
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from llmlab.quantization import (
    Quantized,
    code_range,
    least_squares_range,
    min_max,
    pack,
    percentile_range,
    quantize,
    scale_and_zero_point,
    unpack,
)

GRANULARITIES = ({}, {"granularity": "channel"}, {"group_size": 4}, {"granularity": "channel", "dim": 0})
GRANULARITIES += ({"group_size": 3, "dim": -2}, {"group_size": 100})


def normal(*shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape)).float()


def by_loops(x, bits, symmetric, runs):
    """Codes of a list of numbers, one after the other, with Python's own rounding; `runs` are the groups' lengths."""
    codes, scales, zeros, begin = [], [], [], 0
    for run in runs:
        group = x[begin : begin + run]
        low, high = min(*group, 0.0), max(*group, 0.0)
        if symmetric:
            top, zero = 2 ** (bits - 1) - 1, 0
            bottom, scale = -top, max(-low, high) / top
        else:
            bottom, top = 0, 2**bits - 1
            scale = (high - low) / top
            zero = min(max(round(-low / scale), bottom), top)
        codes += [min(max(round(number / scale) + zero, bottom), top) for number in group]
        scales.append(scale)
        zeros.append(zero)
        begin += run
    return codes, scales, zeros


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("bits", range(2, 9))
def test_codes_are_those_of_a_loop_over_single_numbers(bits, symmetric):
    x = normal(3, 10, seed=bits).double()
    made = quantize(x, bits, symmetric=symmetric, group_size=4)
    for row, codes, scale in zip(x.tolist(), made.codes.tolist(), made.scale.tolist(), strict=True):
        assert (codes, scale) == by_loops(row, bits, symmetric, (4, 4, 2))[:2]
    assert made.scale.shape == (3, 3)  # the last group of each row holds the two numbers that are left


def test_the_example_of_the_chapter():
    x = torch.tensor([-10.5, 0.0, 3.3, 8.3])
    symmetric = quantize(x, 8)
    assert symmetric.codes.tolist() == [-127, 0, 40, 100] and symmetric.zero_point is None
    assert symmetric.scale.item() == pytest.approx(10.5 / 127)
    asymmetric = quantize(x, 8, symmetric=False, signed=True)
    assert asymmetric.scale.item() == pytest.approx(18.8 / 255)
    assert (asymmetric.zero_point.item(), asymmetric.codes.tolist()) == (14, [-128, 14, 59, 127])
    assert quantize(x, 8, symmetric=False).zero_point.item() == 142


def test_halves_go_to_the_even_code():
    x = torch.tensor([0.5, 1.5, 2.5, -0.5, -1.5, 7.0])
    assert quantize(x, 4).codes.tolist() == [0, 2, 2, 0, -2, 7]


def test_what_lies_outside_the_range_is_cut_off_and_never_wraps_around():
    limits = torch.tensor(-1.0), torch.tensor(1.0)
    x = torch.tensor([-300.0, -1.01, 1.01, 300.0, 3e38])
    assert quantize(x, 8, limits=limits).codes.tolist() == [-127, -127, 127, 127, 127]
    assert quantize(x, 8, limits=limits, symmetric=False).codes.tolist() == [0, 0, 255, 255, 255]


def close_but_for_ties(ours, theirs, x, scale):
    """Codes agree wherever x / scale is not so near to a half that float32 could tell it either way."""
    place = (x.double() / scale.double()) % 1
    tie = (place - 0.5).abs() < 1e-4
    return bool(((ours.int() == theirs.int()) | (tie & ((ours.int() - theirs.int()).abs() <= 1))).all())


@pytest.mark.parametrize("symmetric", [True, False])
def test_codes_are_those_of_pytorchs_quantized_tensors(symmetric):
    x = normal(50, 60)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch says that these tensors will go
        made = quantize(x, 8, symmetric=symmetric)
        zero = 0 if symmetric else int(made.zero_point)
        theirs = torch.quantize_per_tensor(x, made.scale.item(), zero, torch.qint8 if symmetric else torch.quint8)
        assert close_but_for_ties(made.codes, theirs.int_repr(), x, made.scale)
        assert torch.allclose(made.dequantize(), theirs.dequantize(), atol=1.001 * made.scale.item())
        made = quantize(x, 8, symmetric=symmetric, granularity="channel", signed=True)
        zeros = torch.zeros(50, dtype=torch.int64) if symmetric else made.zero_point[:, 0].long()
        theirs = torch.quantize_per_channel(x, made.scale[:, 0], zeros, 0, torch.qint8)
    assert close_but_for_ties(made.codes, theirs.int_repr(), x, made.scale)


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("symmetric", [True, False])
def test_numbers_are_those_of_pytorchs_fake_quantization(bits, symmetric):
    x = normal(40, 30, seed=bits)
    lowest, highest = code_range(bits, symmetric=symmetric)
    made = quantize(x, bits, symmetric=symmetric, granularity="channel")
    zeros = torch.zeros(40, dtype=torch.int32) if symmetric else made.zero_point[:, 0].int()
    theirs = torch.fake_quantize_per_channel_affine(x, made.scale[:, 0], zeros, 0, lowest, highest)
    off = (made.dequantize() - theirs).abs()
    assert (off <= 1e-5 * made.scale).float().mean() > 0.999  # but for ties, which are a whole step
    assert (off <= 1.0001 * made.scale).all()


def test_scales_and_zero_points_are_those_of_pytorchs_observers():
    from torch.ao.quantization import MinMaxObserver, PerChannelMinMaxObserver

    x = normal(20, 30) + torch.linspace(-3, 3, 20)[:, None]
    for observer, kept in (
        (MinMaxObserver(dtype=torch.quint8, eps=0.0), {}),
        (MinMaxObserver(dtype=torch.quint8, quant_min=0, quant_max=15, eps=0.0), {"bits": 4}),
        (PerChannelMinMaxObserver(ch_axis=0, dtype=torch.quint8, eps=0.0), {"granularity": "channel"}),
    ):
        observer(x)
        scale, zero_point = observer.calculate_qparams()
        made = quantize(x, **{"bits": 8, "symmetric": False, **kept})
        assert torch.allclose(made.scale.flatten(), scale, rtol=1e-6)
        assert torch.equal(made.zero_point.flatten().int(), zero_point.int().flatten())


numbers = (
    st.floats(-(2.0**100), 2.0**100, width=32)
    | st.floats(-2, 2, width=32)
    | st.sampled_from([0.0, 1e-38, -1e-42, 127.5])
)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.lists(numbers, min_size=5, max_size=5), min_size=1, max_size=4),
    st.integers(2, 8),
    st.booleans(),
    st.sampled_from([{}, {"granularity": "channel"}, {"group_size": 2}, {"group_size": 3, "dim": 0}]),
    st.sampled_from([None, torch.float32, torch.bfloat16]),
)
def test_no_number_is_off_by_more_than_half_a_scale_and_zero_is_exact(rows, bits, symmetric, groups, scale_dtype):
    x = torch.tensor(rows)
    made = quantize(x, bits, symmetric=symmetric, scale_dtype=scale_dtype, **groups)
    lowest, highest = code_range(bits, symmetric=symmetric)
    assert lowest <= int(made.codes.min()) and int(made.codes.max()) <= highest
    off, scale = (made.dequantize() - x).abs(), made.spread(made.scale.double())
    assert (off <= 0.5 * scale * (1 + 1e-5) + 1e-6 * x.abs()).all()
    assert (made.dequantize()[x == 0] == 0).all()


@settings(max_examples=60, deadline=None)
@given(numbers, st.integers(2, 8), st.booleans())
def test_equal_numbers_are_exact(number, bits, symmetric):
    x = torch.tensor([[number] * 5, [0.0] * 5])
    if 0 < abs(number) < 1e-37:
        return  # a scale is never smaller than float32's smallest normal number
    for groups in ({"granularity": "channel"}, {"group_size": 2}):
        assert torch.equal(quantize(x, bits, symmetric=symmetric, **groups).dequantize(), x)


def test_a_second_rounding_changes_nothing():
    for groups in GRANULARITIES:
        once = quantize(normal(6, 8), 4, **groups)
        twice = quantize(once.dequantize(), 4, **groups)
        assert torch.equal(once.codes, twice.codes)


def test_groups_never_reach_into_the_next_row_and_dims_are_kept_apart():
    x = normal(2, 3, 10)
    made = quantize(x, 4, group_size=4)
    changed = x.clone()
    changed[0, 1] *= 100
    again = quantize(changed, 4, group_size=4)
    same = torch.ones(2, 3, dtype=torch.bool)
    same[0, 1] = False
    assert torch.equal(made.codes[same], again.codes[same]) and torch.equal(made.scale[same], again.scale[same])
    across = quantize(x, 4, granularity="channel", dim=1)
    assert across.scale.shape == (2, 1, 10)
    assert torch.equal(across.codes, quantize(x.transpose(1, 2), 4, granularity="channel").codes.transpose(1, 2))
    by_row = quantize(x, 4, group_size=4, dim=2)
    assert torch.equal(by_row.codes, made.codes) and by_row.dim == -1


def test_smaller_groups_are_nearer_and_take_more_bytes():
    x = normal(32, 64)
    made = [quantize(x, 4, **groups) for groups in ({}, {"granularity": "channel"}, {"group_size": 16})]
    errors = [((each.dequantize() - x) ** 2).sum() for each in made]
    assert errors[0] > errors[1] > errors[2]
    assert [each.nbytes for each in made] == [32 * 64 // 2 + 4 * n for n in (1, 32, 128)]
    assert made[2].bits_per_weight == 4 + 32 / 16
    assert quantize(x, 4, group_size=16, scale_dtype=torch.float16).bits_per_weight == 5
    zeros = quantize(x, 4, group_size=16, symmetric=False, scale_dtype=torch.float16)
    assert zeros.bits_per_weight == 5.5  # and a byte for each zero point
    assert quantize(normal(3, 5), 3).nbytes == 3 * 2 + 4  # five codes of three bits take two bytes of each row


def test_bytes_counted_are_the_bytes_of_what_is_packed():
    for bits in range(2, 9):
        made = quantize(normal(7, 13), bits, symmetric=False, group_size=4)
        parts = pack(made.codes, bits), made.scale, made.zero_point
        assert made.nbytes == sum(part.nbytes for part in parts)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_numbers_come_back_in_their_own_dtype(dtype):
    x = normal(5, 8).to(dtype)
    made = quantize(x, 8, granularity="channel")
    assert made.dequantize().dtype == dtype
    assert made.scale.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert (made.dequantize().double() - x.double()).abs().max() < 0.01 * x.abs().max()


def test_half_precision_scales_are_rounded_up_so_that_nothing_is_cut_off():
    x = normal(200, 16)
    for dtype in (torch.float16, torch.bfloat16):
        made = quantize(x, 8, granularity="channel", scale_dtype=dtype)
        exact = x.abs().amax(-1, keepdim=True).double() / 127
        step = torch.finfo(dtype).eps
        assert ((made.scale.double() >= exact) & (made.scale.double() <= exact * (1 + step))).all()
        assert ((made.dequantize() - x).abs() <= made.scale.float() * 0.5001).all()
    with pytest.raises(ValueError, match=r"too large for torch.float16; keep scales in float32"):
        quantize(torch.tensor([1e9, 1.0]), 8, scale_dtype=torch.float16)


def test_a_codebook_takes_the_place_of_whole_numbers():
    levels = torch.tensor([-1.0, -0.3, 0.0, 1.0])
    codes = torch.tensor([[0, 3, 1], [2, 2, 3]], dtype=torch.uint8)
    made = Quantized(codes, torch.tensor([[2.0], [10.0]]), None, 2, "channel", levels=levels)
    assert torch.equal(made.dequantize(), torch.tensor([[-2.0, 2.0, -0.6], [0.0, 0.0, 10.0]]))
    assert made.nbytes == 2 * 1 + 2 * 4 + 4 * 4


@pytest.mark.parametrize(
    ("x", "arguments", "said"),
    [
        (torch.tensor([1.0, math.nan]), {}, "1 of 2 are NaN or infinite"),
        (torch.tensor([1.0, -math.inf]), {}, "1 of 2 are NaN or infinite"),
        (torch.tensor([1, 2]), {}, "expected floating-point numbers to quantize, got torch.int64"),
        (torch.empty(0, 3), {}, "expected floating-point numbers to quantize"),
        (torch.ones(3), {"bits": 1}, "expected 2 to 8 bits, got 1"),
        (torch.ones(3), {"bits": 4.0}, "expected the number of bits to be a whole number"),
        (torch.ones(3), {"granularity": "row"}, "one of tensor, channel, group; got 'row'"),
        (torch.ones(3), {"granularity": "group"}, "expected a group_size with granularity 'group' only"),
        (torch.ones(3), {"granularity": "tensor", "group_size": 2}, "expected a group_size with granularity 'group'"),
        (torch.ones(3), {"group_size": 0}, "expected group_size of at least 1, got 0"),
        (torch.ones(3), {"group_size": 2, "dim": 1}, "a dimension of shape"),
        (torch.ones(3), {"signed": False}, "symmetric codes lie around 0"),
        (torch.ones(2, 3), {"limits": (torch.zeros(2), torch.ones(2))}, r"low limits of shape \(\), got \(2,\)"),
        (torch.ones(3), {"limits": (1.0, 0.0)}, "low <= high"),
        (torch.ones(3), {"limits": (0.0, math.inf)}, "expected finite limits"),
        (torch.ones(3), {"scale_dtype": torch.int8}, "expected scales to be kept as floating-point numbers"),
    ],
)
def test_what_cannot_be_quantized_is_refused_in_words(x, arguments, said):
    with pytest.raises(ValueError, match=said):
        quantize(x, **{"bits": 4, **arguments})


# Ranges -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("groups", GRANULARITIES)
def test_each_group_is_looked_at_alone(groups):
    x = normal(5, 7)
    low, high = min_max(x, **groups)
    made = quantize(x, 4, **groups)
    for limit, reduce in ((low, torch.amin), (high, torch.amax)):
        assert limit.shape == made.scale.shape
        wide = made.spread(limit).expand(5, 7)
        for place, number in np.ndenumerate(wide.numpy()):
            assert number == reduce(group_of(x, place, **groups)).item()


def group_of(x, place, *, granularity=None, group_size=None, dim=-1):
    """The numbers that share a scale with the one at this place of a matrix."""
    if group_size is None and granularity is None:
        return x
    line = x[place[0]] if dim == -1 else x[:, place[1]]
    if group_size is None:
        return line
    begin = place[dim] // group_size * group_size
    return line[begin : begin + group_size]


@pytest.mark.parametrize("share", [1.0, 0.9, 0.5])
def test_percentiles_are_numpys(share):
    x = normal(4, 101)
    low, high = percentile_range(x, share, granularity="channel")
    outside = 100 * (1 - share) / 2
    wanted = np.percentile(x.numpy(), [outside, 100 - outside], axis=1, keepdims=True)
    assert np.allclose(low, wanted[0], rtol=1e-5) and np.allclose(high, wanted[1], rtol=1e-5)
    assert percentile_range(x, share)[0].shape == ()


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("groups", [{}, {"granularity": "channel"}, {"group_size": 24}])
def test_the_best_range_is_the_best_of_all_that_were_tried(symmetric, groups):
    x = normal(3, 60)
    x[0, 0] = 30.0  # a number far outside, for which a wide range costs all others
    factors = (1.0, 0.7, 0.4, 0.2)
    limits = least_squares_range(x, 3, symmetric=symmetric, shrinking=factors, **groups)
    best = (quantize(x, 3, symmetric=symmetric, limits=limits, **groups).dequantize() - x) ** 2
    low, high = min_max(x, **groups)
    errors = []
    for factor in factors:
        made = quantize(x, 3, symmetric=symmetric, limits=(low * factor, high * factor), **groups)
        off = (made.dequantize() - x) ** 2
        errors.append(off)
    # Each group may have another factor, so the sum over groups is at most the best sum of one factor.
    assert best.sum() <= min(each.sum() for each in errors) + 1e-5
    for place in ((0, 5), (1, 30), (2, 59)):
        own = min(group_of(each, place, **groups).sum().item() for each in errors)
        assert group_of(best, place, **groups).sum().item() == pytest.approx(own, rel=1e-4)


def test_a_range_always_holds_zero():
    scale, zero_point = scale_and_zero_point(torch.tensor(2.0), torch.tensor(6.0), 4, symmetric=False)
    assert (scale.item(), zero_point.item()) == (6 / 15, 0)
    scale, zero_point = scale_and_zero_point(torch.tensor(-6.0), torch.tensor(-2.0), 4, symmetric=False)
    assert (scale.item(), zero_point.item()) == (6 / 15, 15)


# Packing ------------------------------------------------------------------------------------------------------------


def bits_of(codes, bits):
    """A row of codes as a string of bits, the lowest first, cut into bytes: another way to the same bytes."""
    text = "".join(format(code % 2**bits, f"0{bits}b")[::-1] for code in codes)
    text += "0" * (-len(text) % 8)
    return [int(text[n : n + 8][::-1], 2) for n in range(0, len(text), 8)]


@settings(max_examples=150, deadline=None)
@given(st.data(), st.integers(2, 8), st.booleans(), st.integers(0, 21))
def test_packed_codes_come_back_bit_for_bit(data, bits, signed, n):
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    rows = data.draw(st.lists(st.lists(st.integers(low, high), min_size=n, max_size=n), min_size=1, max_size=3))
    codes = torch.tensor(rows, dtype=torch.int16).view(len(rows), n)
    packed = pack(codes, bits)
    assert packed.tolist() == [bits_of(row, bits) for row in rows]
    again = unpack(packed, bits, n, signed=signed)
    assert again.dtype == (torch.int8 if signed else torch.uint8)
    assert again.tolist() == rows


def test_the_first_code_is_in_the_low_nibble_and_signs_are_extended():
    assert pack(torch.tensor([1, 2, 15]), 4).tolist() == [0x21, 0x0F]
    packed = pack(torch.tensor([-3, 7, -8]), 4)
    assert unpack(packed, 4, 3, signed=True).tolist() == [-3, 7, -8]
    assert unpack(packed, 4, 3, signed=False).tolist() == [13, 7, 8]  # the same bits, read as numbers from 0 on


def test_what_bits_cannot_hold_is_refused():
    for codes in ([16], [-9], [8, -1]):
        with pytest.raises(ValueError, match=r"expected codes that 4 bits can hold"):
            pack(torch.tensor(codes), 4)
    with pytest.raises(ValueError, match=r"expected whole numbers of shape \(\.\.\., n\), got torch.float32"):
        pack(torch.ones(3), 4)
    with pytest.raises(ValueError, match=r"expected 2 bytes in uint8 for 4 codes of 4 bits, got torch.uint8 \(3,\)"):
        unpack(torch.zeros(3, dtype=torch.uint8), 4, 4, signed=True)
