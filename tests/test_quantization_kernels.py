"""Layers on PyTorch's integer kernels compute what their codes mean; what a kernel cannot read is refused."""

import os
import subprocess
import sys

import pytest
import torch

from llmlab.quantization import IntegerLinear, PackedWeight, Quantized, nf4, quantize
from llmlab.quantization import kernels as k
from llmlab.quantization.kernels import DynamicInt8Linear, Int4Linear, Int8Linear, available, code_bits, missing

HALF = 2**-8  # bfloat16 keeps 8 bits: rounding to it moves a number by at most this share of it


def needs(layer):
    return pytest.mark.skipif(not available(layer), reason=f"{layer.__name__}: {missing(layer)}")


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def in_bfloat16(x):
    return x.bfloat16().double()


@needs(Int8Linear)
@pytest.mark.parametrize(("n_out", "n_in"), [(31, 64), (5, 16), (64, 48), (130, 256)])
@pytest.mark.parametrize("n_tokens", [1, 2, 7, 40])
def test_an_int8_layer_multiplies_by_what_its_codes_mean(n_out, n_in, n_tokens):
    made, x = quantize(normal(n_out, n_in), 8, granularity="channel"), 3 * normal(n_tokens, n_in, seed=1)
    wanted = in_bfloat16(x) @ (made.codes.double() * in_bfloat16(made.scale)).T
    out = Int8Linear(made)(x)
    assert out.dtype == torch.float32 and out.shape == (n_tokens, n_out)
    torch.testing.assert_close(out.double(), wanted, rtol=HALF, atol=2e-4 * float(wanted.abs().max()))
    # of the plain product it is off by the rounding of inputs, scales and results
    plain = x.double() @ made.dequantize().double().T
    assert (out - plain).norm() < 3 * HALF / 2 * plain.norm()


@needs(Int8Linear)
@pytest.mark.parametrize("bits", [2, 5, 8])
def test_one_scale_for_the_whole_matrix_and_fewer_bits_are_read_too(bits):
    made, x = quantize(normal(16, 32), bits), normal(3, 32, seed=1)
    wanted = x @ made.dequantize().T
    assert (Int8Linear(made)(x) - wanted).norm() < 2 * HALF * wanted.norm()


@needs(Int4Linear)
@pytest.mark.parametrize(("n_out", "n_in", "group_size"), [(16, 32, 32), (48, 128, 64), (80, 256, 128), (64, 256, 256)])
@pytest.mark.parametrize("symmetric", [True, False])
def test_each_int4_weight_is_read_with_the_scale_of_its_own_group(n_out, n_in, group_size, symmetric):
    weight = normal(n_out, n_in) * torch.logspace(-2, 2, n_in) * torch.logspace(-1, 1, n_out)[:, None]
    made = quantize(weight, 4, group_size=group_size, symmetric=symmetric)
    read = Int4Linear(made)(torch.eye(n_in)).T  # (out, in): one input at a time
    for row in range(n_out):
        for column in range(n_in):
            scale = made.scale[row, column // group_size].bfloat16().float()
            code = int(made.codes[row, column])
            if symmetric:
                number = code * scale
            else:  # the kernel reads (nibble − 8) · scale + zero
                zero = ((8 - int(made.zero_point[row, column // group_size])) * scale).bfloat16().float()
                number = (code - 8) * scale + zero
            assert abs(read[row, column] - number) <= HALF * abs(number), (row, column)
    # rounded: the scale and the result of up to 7 (15) steps, and a zero of up to 8 steps
    steps = 7 + 7 if symmetric else 15 + 15 + 8
    assert ((read - made.dequantize()).abs() <= 1.01 * steps * HALF * made.spread(made.scale)).all()


@needs(Int4Linear)
@pytest.mark.parametrize("n_tokens", [1, 3, 33])
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("bits", [3, 4])
def test_an_int4_layer_multiplies_by_what_its_codes_mean(n_tokens, symmetric, bits):
    made, x = quantize(normal(48, 128), bits, group_size=32, symmetric=symmetric), normal(n_tokens, 128, seed=1)
    wanted = x @ made.dequantize().T
    assert (Int4Linear(made)(x) - wanted).norm() < 3 * HALF * wanted.norm()


@needs(DynamicInt8Linear)
@pytest.mark.parametrize(("n_out", "n_in"), [(31, 64), (5, 7), (64, 100)])
@pytest.mark.parametrize("n_tokens", [1, 2, 7, 40])
def test_a_dynamic_layer_is_an_integer_layer(n_out, n_in, n_tokens):
    made, bias = quantize(normal(n_out, n_in), code_bits(), granularity="channel"), normal(n_out, seed=2)
    x = normal(n_tokens, n_in, seed=1) * torch.logspace(-20, 10, n_tokens)[:, None]
    x[n_tokens // 2] = 0
    ours, theirs = DynamicInt8Linear(made, bias)(x), IntegerLinear(made, bias, symmetric=True)(x).detach()
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-7 * float(theirs.abs().max()))
    assert torch.equal(ours[n_tokens // 2], bias)


@needs(DynamicInt8Linear)
@pytest.mark.parametrize("n_tokens", [1, 5, 40])
def test_sums_of_the_largest_codes_are_not_cut_off(n_tokens):
    top = 2 ** (code_bits() - 1) - 1
    signs = normal(24, 640).sign()
    signs[:8], signs[8:16] = 1, -1
    made = Quantized((top * signs).to(torch.int8), torch.full((24, 1), 2.0**-7), None, 8, "channel")
    x = normal(n_tokens, 640, seed=1).sign()
    x[0] = -1
    wanted = (127 * x).double() @ made.codes.double().T / 127 * 2.0**-7  # each input is ±127 steps of 1 / 127
    torch.testing.assert_close(DynamicInt8Linear(made)(x).double(), wanted, rtol=1e-6, atol=1e-6)


def test_where_sums_are_cut_off_weights_of_eight_bits_are_refused(monkeypatch):
    def cut_off(x, weight):  # as by the instruction that adds two products of u8 and s8 in 16 bits
        pairs = ((x.int() + 128)[:, :, None] * weight.int()).unflatten(1, (-1, 2)).sum(2)
        return (pairs.clamp(-(2**15), 2**15 - 1).sum(1) - 128 * weight.sum(0, dtype=torch.int32)).int()

    monkeypatch.setattr(torch, "_int_mm", cut_off)
    monkeypatch.setattr(k, "code_bits", code_bits.__wrapped__)
    assert k.code_bits() == 7
    made = [quantize(normal(16, 32), bits, granularity="channel") for bits in (7, 8)]
    x = normal(3, 32, seed=1)
    theirs = IntegerLinear(made[0], symmetric=True)(x)
    torch.testing.assert_close(DynamicInt8Linear(made[0])(x), theirs, rtol=1e-6, atol=1e-6)
    with pytest.raises(ValueError, match=r"quantize the weights in 7 bits, got .*8 bits"):
        DynamicInt8Linear(made[1])


def test_an_older_processor_gets_the_bits_that_are_right_there():
    """oneDNN can be told to use no newer instructions than AVX2; elsewhere the setting changes nothing."""
    code = """
import torch
from llmlab.quantization.kernels import code_bits
top = 127 if code_bits() == 8 else 64
weight, x = torch.full((32, 256), top, dtype=torch.int8), torch.full((9, 256), 127, dtype=torch.int8)
weight[::2] *= -1
x[::3] *= -1
exact = torch._int_mm(x, weight.T).double() == x.double() @ weight.double().T
print(code_bits(), bool(exact.all()))
"""
    asked = {**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2"}
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=asked).stdout
    assert out.split() in (["7", "True"], ["8", "True"])


@pytest.mark.parametrize("layer", k.LAYERS)
def test_layers_take_any_shape_and_keep_the_dtype(layer):
    if not available(layer):
        pytest.skip(missing(layer))
    group = {"group_size": 32} if layer is Int4Linear else {"granularity": "channel"}
    made, bias = quantize(normal(32, 64), 4 if group.get("group_size") else 7, **group), normal(32, seed=3)
    ours, plain = layer(made, bias), layer(made)
    x = normal(2, 5, 64, seed=1)
    out = ours(x)
    assert out.shape == (2, 5, 32) and not out.requires_grad
    torch.testing.assert_close(out, plain(x) + bias)
    torch.testing.assert_close(out, layer(PackedWeight(made), bias)(x), rtol=0, atol=0)
    torch.testing.assert_close(plain(x[1, 3]), plain(x)[1, 3], rtol=HALF, atol=HALF * float(out.abs().max()))
    turned = x.transpose(0, 1)  # not contiguous
    torch.testing.assert_close(plain(turned), plain(turned.contiguous()), rtol=0, atol=0)
    for dtype in (torch.float64, torch.bfloat16, torch.float16):
        assert ours(x.to(dtype)).dtype == dtype
    assert ours(x[:0]).shape == (0, 5, 32)
    assert torch.equal(torch.nn.Sequential(ours).half()(x), out)  # what the kernel reads keeps its dtype
    with pytest.raises(ValueError, match=r"expected x of shape \(..., 64\), got \(2, 63\)"):
        ours(x[0, :2, :63])


def test_a_pass_reads_codes_scales_and_bias():
    each = quantize(normal(32, 128), 7, granularity="channel")
    four, bias = quantize(normal(32, 128), 4, group_size=32), normal(32)
    if available(Int8Linear):
        assert Int8Linear(each).nbytes == 32 * 128 + 2 * 32 and Int8Linear(each, bias).nbytes == 32 * 128 + 6 * 32
    if available(DynamicInt8Linear):
        assert DynamicInt8Linear(each).nbytes == 32 * 128 + 4 * 32
    if available(Int4Linear):
        assert Int4Linear(four).nbytes == 32 * 64 + 32 * 4 * (2 + 2)  # four groups, a scale and a zero each


@pytest.mark.parametrize(
    ("layer", "made", "message"),
    [
        (Int8Linear, lambda: quantize(normal(16, 64), 8, group_size=32), "a scale for each row"),
        (DynamicInt8Linear, lambda: quantize(normal(16, 64), 8, group_size=32), "a scale for each row"),
        (Int8Linear, lambda: quantize(normal(16, 64), 8, granularity="channel", symmetric=False), "symmetric codes"),
        (
            DynamicInt8Linear,
            lambda: quantize(normal(16, 64), 8, granularity="channel", symmetric=False, signed=True),
            "symmetric codes",
        ),
        (Int8Linear, lambda: quantize(normal(16, 72), 8), "inputs in a multiple of 16, got 72"),
        (Int8Linear, lambda: quantize(normal(16, 64), 8, granularity="channel", dim=0), "along its rows"),
        (Int4Linear, lambda: quantize(normal(16, 64), 4, granularity="channel"), "in groups of 32, 64, 128, 256"),
        (Int4Linear, lambda: quantize(normal(16, 64), 4, group_size=16), "in groups of 32, 64, 128, 256"),
        (Int4Linear, lambda: quantize(normal(16, 64), 5, group_size=32), "up to 4 bits"),
        (Int4Linear, lambda: quantize(normal(24, 64), 4, group_size=32), "multiple of 16 .* got 24 outputs"),
        (Int4Linear, lambda: quantize(normal(16, 80), 4, group_size=32), "group size 32, got 16 outputs and 80"),
        (Int4Linear, lambda: nf4(normal(16, 64), group_size=32), "up to 4 bits"),
        (Int4Linear, lambda: quantize(normal(64), 4, group_size=32), "expected a matrix"),
    ],
)
def test_what_a_kernel_cannot_read_is_refused(layer, made, message):
    with pytest.raises(ValueError, match=message):
        layer(made())


def test_a_bias_of_another_length_is_refused():
    with pytest.raises(ValueError, match=r"expected a bias of shape \(16,\), got \(1,\)"):
        Int8Linear(quantize(normal(16, 64), 8), torch.ones(1))


def test_a_kernel_that_fails_or_is_wrong_is_missing(monkeypatch):
    for layer in k.LAYERS:
        assert missing(layer) == missing.__wrapped__(layer)

    def refuse(self, x):
        raise RuntimeError("not compiled with it\nmore")

    monkeypatch.setattr(Int8Linear, "multiply", refuse)
    assert missing.__wrapped__(Int8Linear) == "not compiled with it"
    monkeypatch.setattr(Int8Linear, "multiply", lambda self, x: x.new_zeros(len(x), self.out_features))
    assert missing.__wrapped__(Int8Linear) == "its kernel computes something else: 100% off"
