import pytest
import torch
import torch.nn.functional as F

from llmlab import linear
from llmlab.linear import Linear


@pytest.fixture(autouse=True)
def every_matrix_is_large(monkeypatch):
    monkeypatch.setattr(linear, "LARGE", 1)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(24,), (1, 24), (1, 1, 24), (3, 24), (2, 5, 24)])
@pytest.mark.parametrize("n_out", [16, 17])
def test_outputs_and_gradients_equal_pytorchs(shape, n_out, bias):
    torch.manual_seed(0)
    layer, x = Linear(24, n_out, bias=bias), torch.randn(shape, requires_grad=True)
    y = layer(x)
    expected = F.linear(x, layer.weight, layer.bias)
    assert y.shape == expected.shape
    torch.testing.assert_close(y, expected, rtol=1e-5, atol=1e-6)
    given = [x, layer.weight, *([layer.bias] if bias else [])]
    ours = torch.autograd.grad((y**2).sum(), given)
    theirs = torch.autograd.grad((expected**2).sum(), given)
    for mine, reference in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, reference, rtol=1e-4, atol=1e-5)


def test_one_row_goes_through_blocks_and_other_dtypes_and_shapes_do_not(monkeypatch):
    calls, bmm = [], torch.bmm
    monkeypatch.setattr(torch, "bmm", lambda *given: calls.append(1) or bmm(*given))
    layer = Linear(24, 16)
    layer(torch.randn(1, 1, 24))
    assert len(calls) == 1
    layer(torch.randn(2, 24))
    Linear(24, 17)(torch.randn(1, 24))
    layer.bfloat16()(torch.randn(1, 24).bfloat16())
    monkeypatch.setattr(linear, "LARGE", 24 * 16 + 1)
    Linear(24, 16)(torch.randn(1, 24))
    assert len(calls) == 1
