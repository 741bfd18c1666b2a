"""Both kernels are PyTorch's linear layer; one measurement decides which is taken, or the environment."""

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from llmlab import linear, offline
from llmlab.linear import Linear

FAST, SLOW = 0.001, 0.0014  # seconds: a ratio of 1.4


@pytest.fixture(autouse=True)
def every_matrix_is_large(monkeypatch):
    monkeypatch.setattr(linear, "LARGE", 1)


@pytest.fixture
def measuring(monkeypatch):
    """A process that is not pinned and has measured nothing; what it measures is what `set` was told last."""
    monkeypatch.delenv(linear.PIN)
    linear._measured.cache_clear()
    calls = []

    def set(plain, blocks, turns=linear.TURNS):
        def seconds(n_rows):
            calls.append(n_rows)
            return {"plain": [plain] * turns, "blocks": [blocks] * turns}

        monkeypatch.setattr(linear, "seconds_of_kernels", seconds)
        return calls

    yield set
    linear._measured.cache_clear()


@pytest.mark.parametrize("pin", ["plain", "blocks"])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(24,), (1, 24), (1, 1, 24), (3, 24), (2, 5, 24), (17, 24), (0, 24)])
@pytest.mark.parametrize("n_out", [16, 17])
def test_outputs_and_gradients_equal_pytorchs(shape, n_out, bias, pin, monkeypatch):
    monkeypatch.setenv(linear.PIN, pin)
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


@pytest.mark.parametrize("pin", ["plain", "blocks"])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("plus", [True, False])
@pytest.mark.parametrize("n_out", [16, 17])
def test_the_product_of_a_decoding_step_equals_pytorchs_and_adds_what_it_is_given(n_out, plus, bias, pin, monkeypatch):
    monkeypatch.setenv(linear.PIN, pin)
    torch.manual_seed(0)
    weight, x = torch.randn(n_out, 24), torch.randn(24)
    b, p = torch.randn(n_out) if bias else None, torch.randn(n_out) if plus else None
    expected = F.linear(x, weight, b) + (p if plus else 0)
    torch.testing.assert_close(linear.vector_product(weight, b)(x, p), expected, rtol=1e-5, atol=1e-5)


def test_blocks_are_for_few_rows_of_large_float32_matrices_that_they_divide(monkeypatch):
    monkeypatch.setenv(linear.PIN, "blocks")
    calls, bmm = [], torch.bmm
    monkeypatch.setattr(torch, "bmm", lambda *given: calls.append(1) or bmm(*given))
    layer = Linear(24, 16)
    for n_rows in (1, 2, 16):
        layer(torch.randn(n_rows, 24))
    assert len(calls) == 3
    layer(torch.randn(17, 24))
    Linear(24, 17)(torch.randn(1, 24))
    layer.bfloat16()(torch.randn(1, 24).bfloat16())
    with pytest.raises(RuntimeError):  # 24 numbers, but not of one row
        Linear(24, 16)(torch.randn(4, 6))
    monkeypatch.setattr(linear, "LARGE", 24 * 16 + 1)
    Linear(24, 16)(torch.randn(1, 24))
    assert len(calls) == 3


@pytest.mark.parametrize(
    ("plain", "blocks", "taken"),
    [(SLOW, FAST, "blocks"), (FAST, FAST, "plain"), (FAST, SLOW, "plain"), (12, 10, "plain")],
)
def test_the_measurement_decides_and_a_small_gain_is_not_enough(plain, blocks, taken, measuring):
    measuring(plain, blocks)
    assert linear.kernel(1) == taken
    assert linear.takes_blocks(torch.ones(16, 24), 1) == (taken == "blocks")


def test_a_lucky_time_and_a_busy_machine_do_not_decide_for_blocks(measuring, monkeypatch):
    measuring(SLOW, FAST, turns=linear.TURNS - 1)  # it broke off
    assert linear.kernel(1) == "plain"
    for plain, blocks in itertools.permutations([[1.0] * linear.TURNS, [2.0] * (linear.TURNS - 1) + [0.5]]):
        linear._measured.cache_clear()
        monkeypatch.setattr(linear, "seconds_of_kernels", lambda n, p=plain, b=blocks: {"plain": p, "blocks": b})
        assert linear.kernel(1) == "plain"


def test_a_process_measures_once_for_each_number_of_rows_and_threads(measuring, monkeypatch):
    calls = measuring(SLOW, FAST)
    for n_rows in (1, 1, 2, 3, 4, 4, 9, 16, 17, 1000):
        assert linear.kernel(n_rows) == ("blocks" if n_rows <= linear.FEW else "plain")
    assert calls == [1, 2, 4, 16]  # 3 counts as 4, and so on
    measuring(FAST, SLOW)
    assert linear.kernel(1) == "blocks"  # no second measurement
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1000)
    assert linear.kernel(1) == "plain"


def test_the_environment_decides_before_any_measurement(measuring, monkeypatch):
    calls = measuring(SLOW, FAST)
    monkeypatch.setenv(linear.PIN, "plain")
    assert linear.kernel(1) == "plain" and not linear.takes_blocks(torch.ones(16, 24), 1)
    monkeypatch.setenv(linear.PIN, "blocks")
    assert linear.kernel(2) == "blocks" and not calls
    monkeypatch.setenv(linear.PIN, "fast")
    with pytest.raises(ValueError, match="expected LLMLAB_KERNEL to be plain or blocks, got 'fast'"):
        linear.kernel(1)


def test_kernels_of_notebooks_that_run_by_machine_are_pinned_to_plain(tmp_path):
    assert offline.kernel_environment(tmp_path, {linear.PIN: "blocks"})[linear.PIN] == "plain"


def test_a_counter_of_operations_counts_the_product_and_no_measurement(measuring):
    calls = measuring(SLOW, FAST)
    with FlopCounterMode(display=False) as counter:
        Linear(24, 16)(torch.ones(1, 24))
    assert counter.get_total_flops() == 2 * 24 * 16 and not calls


def test_what_is_measured_are_both_kernels_in_turns(monkeypatch):
    monkeypatch.setattr(linear, "SHAPE", (16, 24))
    order = []
    for name, multiply in linear.KERNELS.items():
        monkeypatch.setitem(
            linear.KERNELS, name, lambda x, weight, name=name, f=multiply: order.append((name, len(x))) or f(x, weight)
        )
    with torch.device("meta"):  # a default of the caller's
        seconds = linear.seconds_of_kernels(4)
    assert order == [("plain", 4), ("blocks", 4)] * linear.TURNS
    assert all(len(each) == linear.TURNS and min(each) > 0 for each in seconds.values())
    monkeypatch.setattr(linear, "PATIENCE", 0)
    assert len(linear.seconds_of_kernels(1)["plain"]) == 1
