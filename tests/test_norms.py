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
