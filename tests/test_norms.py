import pytest
import torch
import torch.nn.functional as F

from llmlab.norms import LayerNorm, RMSNorm, layer_norm, rms_norm


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_rms_norm_equals_pytorchs_and_a_loop():
    x, weight = random(2, 3, 8) * 3 + 1, random(8, seed=1)
    ours = rms_norm(x, weight, 1e-5)
    torch.testing.assert_close(ours, F.rms_norm(x, (8,), weight, 1e-5))
    row = x[1, 2].tolist()
    root = (sum(value * value for value in row) / 8 + 1e-5) ** 0.5
    for i, value in enumerate(row):
        torch.testing.assert_close(ours[1, 2, i], torch.tensor(value / root) * weight[i])


def test_layer_norm_equals_pytorchs():
    x, weight, bias = random(2, 3, 8) * 3 + 1, random(8, seed=1), random(8, seed=2)
    torch.testing.assert_close(layer_norm(x, weight, bias, 1e-5), F.layer_norm(x, (8,), weight, bias, 1e-5))
    torch.testing.assert_close(layer_norm(x, weight, None, 1e-5), F.layer_norm(x, (8,), weight, None, 1e-5))


def test_modules_equal_their_written_out_forms():
    x, weight, bias = random(2, 5, 8), random(8, seed=1), random(8, seed=2)
    rms, layer = RMSNorm(8, 1e-3), LayerNorm(8, 1e-3)
    rms.weight.data, layer.weight.data, layer.bias.data = weight, weight, bias
    torch.testing.assert_close(rms(x), rms_norm(x, weight, 1e-3))
    torch.testing.assert_close(layer(x), layer_norm(x, weight, bias, 1e-3))


def test_half_precision_does_not_overflow():
    x = torch.full((1, 16), 1000.0, dtype=torch.float16)  # 1000² is beyond float16
    weight = torch.ones(16, dtype=torch.float16)
    norm = RMSNorm(16).half()
    for out in (rms_norm(x, weight, 1e-5), norm(x)):
        assert out.dtype == torch.float16
        torch.testing.assert_close(out, torch.ones_like(x))
    assert torch.isinf(x.pow(2).mean())  # what a norm computed in float16 would meet


def test_epsilon_stands_inside_the_root():
    x = torch.full((1, 4), 1e-3)
    inside = 1e-3 / (1e-6 + 1e-4) ** 0.5
    torch.testing.assert_close(rms_norm(x, torch.ones(4), 1e-4), torch.full((1, 4), inside))


def test_gradients_in_float64_equal_differences():
    """`gradcheck` compares with (f(x + 1e-6) − f(x − 1e-6)) / 2e-6, which nothing computed in float32 can pass."""
    x, weight, bias = (
        random(*shape, seed=i).double().requires_grad_() for i, shape in enumerate([(2, 3, 8), (8,), (8,)])
    )
    assert torch.autograd.gradcheck(lambda x, w: rms_norm(x, w, 1e-5), (x, weight))
    assert torch.autograd.gradcheck(lambda x, w, b: layer_norm(x, w, b, 1e-5), (x, weight, bias))
    for norm in (RMSNorm(8).double(), LayerNorm(8).double()):
        assert torch.autograd.gradcheck(norm, (x,))


def test_float64_is_computed_in_float64():
    x = random(4, 8).double()
    root = (x.pow(2).sum(-1, keepdim=True) / 8 + 1e-5).sqrt()
    for out in (rms_norm(x, torch.ones(8, dtype=torch.float64), 1e-5), RMSNorm(8).double()(x)):
        assert out.dtype == torch.float64
        torch.testing.assert_close(out, x / root, rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype):
    x, weight, bias = ((random(*shape, seed=i) * 300).to(dtype) for i, shape in enumerate([(5, 64), (64,), (64,)]))
    layer, rms = LayerNorm(64), RMSNorm(64)
    layer.weight.data, layer.bias.data, rms.weight.data = weight, bias, weight
    wide = [t.double() for t in (x, weight, bias)]
    for out in (layer(x), layer_norm(x, weight, bias, 1e-5)):
        assert out.dtype == dtype
        torch.testing.assert_close(out.double(), F.layer_norm(wide[0], (64,), *wide[1:]), rtol=0.01, atol=0.01 * 300)
    for out in (rms(x), rms_norm(x, weight, 1e-5)):
        assert out.dtype == dtype
        torch.testing.assert_close(out.double(), F.rms_norm(wide[0], (64,), wide[1], 1e-5), rtol=0.01, atol=0)


def test_what_cannot_be_normalized_is_refused():
    for norm in (lambda x, w: rms_norm(x, w, 1e-5), lambda x, w: layer_norm(x, w, None, 1e-5)):
        with pytest.raises(ValueError, match=r"weight \(D,\), got torch.float32 x \(2, 8\) and weight \(1,\)"):
            norm(torch.zeros(2, 8), torch.ones(1))
        with pytest.raises(ValueError, match=r"floating-point.*got torch.int64"):
            norm(torch.zeros(2, 8, dtype=torch.long), torch.ones(8))
    for kind in (RMSNorm, LayerNorm):
        with pytest.raises(ValueError, match="dim of at least 1, got 0"):
            kind(0)
