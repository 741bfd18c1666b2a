"""The scalar engine gives PyTorch's slopes for any expression, values used often and long chains."""

import ast
import inspect
import math
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from llmlab import gradients
from llmlab.gradients import Value

# A program for a machine with a growing list of numbers: each step names an operation and two earlier places.
TWO = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": lambda a, b: a / (b * b + 1),
    "1-": lambda a, b: 1 - a * b,
    "3/": lambda a, b: 3 / (b**2 + 2) + a,
}
ONE = {
    "tanh": lambda a: a.tanh(),
    "relu": lambda a: a.relu(),
    "exp": lambda a: a.tanh().exp(),
    "log": lambda a: (a * a + 1).log(),
    "square": lambda a: a**2,
    "cube": lambda a: (a.tanh() + 2) ** 3,
    "root": lambda a: (a**2 + 1) ** 0.5,
    "inverse": lambda a: (a**2 + 1) ** -1,
    "neg": lambda a: -a,
    "bend": lambda a: 0.5 * (2 + a.tanh()) - 1,
}
STEPS = st.lists(
    st.tuples(st.sampled_from([*TWO, *ONE]), st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=12
)
NUMBERS = st.lists(st.floats(-2, 2).filter(lambda x: abs(x) > 1e-3), min_size=1, max_size=4)


def run(steps, values):
    """The last number of the program, from values of any kind. Every result is kept small by a tanh."""
    values = list(values)
    for name, i, j in steps:
        a, b = values[-1 - i % len(values)], values[-1 - j % len(values)]
        values.append((TWO[name](a, b) if name in TWO else ONE[name](a)).tanh() * 2)
    return values[-1]


@settings(max_examples=300, deadline=None, derandomize=True)
@given(steps=STEPS, numbers=NUMBERS)
def test_slopes_of_any_expression_are_those_of_torch(steps, numbers):
    ours = [Value(number) for number in numbers]
    theirs = [torch.tensor(number, dtype=torch.float64, requires_grad=True) for number in numbers]
    end, expected = run(steps, ours), run(steps, theirs)
    end.backward()
    expected.backward()
    assert end.data == pytest.approx(expected.item(), rel=1e-9, abs=1e-12)
    for mine, other in zip(ours, theirs, strict=True):
        assert mine.grad == pytest.approx(0.0 if other.grad is None else other.grad.item(), rel=1e-7, abs=1e-10)


def test_the_engine_has_less_than_80_lines_of_code():
    """Docstrings, comments and empty lines aside, as the notebook says."""
    source = inspect.getsource(gradients)
    documented = [n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.Module | ast.ClassDef | ast.FunctionDef)]
    texts = [n.body[0] for n in documented if ast.get_docstring(n)]
    told = {line for text in texts for line in range(text.lineno, text.end_lineno + 1)}
    code = [line for number, line in enumerate(source.splitlines(), 1) if line.strip() and number not in told]
    assert 60 <= len(code) < 80


def test_the_chain_of_the_notebook():
    x = Value(2)
    square = x**2
    cube = square**3 + 5
    double = 2 * cube
    double.backward()
    assert [square.data, cube.data, double.data] == [4, 69, 138]
    assert [double.grad, cube.grad, square.grad, x.grad] == [1, 2, 96, 384]


def test_a_value_used_twice_adds_up():
    x = Value(3.0)
    (x * x + x).backward()
    assert x.grad == 7


def test_a_value_is_complete_before_it_is_passed_on():
    """One way from the end to `a` is longer than the other."""
    x = Value(2.0)
    a = x * 3
    (a + (a * 5).tanh() * 0 + a * a).backward()
    assert a.grad == 1 + 2 * 6 and x.grad == 13 * 3


@pytest.mark.parametrize("length", [10, 200_000])
def test_a_chain_may_be_longer_than_calls_are_deep(length):
    assert length < sys.getrecursionlimit() or length > 100 * sys.getrecursionlimit()
    x = end = Value(1.0)
    for _ in range(length):
        end = end + 1
    end.backward()
    assert x.grad == 1 and end.data == length + 1
    assert len(end.history()) == 2 * length + 1  # the sums, the ones, and x


def test_paths_are_not_walked_one_by_one():
    """2 to the power of 200 ways lead from the end to x."""
    x = end = Value(1.0)
    for _ in range(200):
        end = end + end
    end.backward()
    assert x.grad == 2.0**200 and len(end.history()) == 201


def test_the_history_has_every_value_once_and_after_its_parents():
    x, y = Value(1.0), Value(2.0)
    order = ((x + y) * (x * y) + x.exp() * y).history()
    place = {value: number for number, value in enumerate(order)}
    assert len(place) == len(order) == 8
    assert all(place[parent] < place[value] for value in order for parent in value.parents)


def test_parameters_collect_over_calls_as_in_torch_and_what_lies_between_does_not():
    x, other = Value(2.0), torch.tensor(2.0, requires_grad=True)
    between = x * x
    end, expected = between * x, other * other * other
    for _ in range(2):
        end.backward()
        expected.backward(retain_graph=True)
    assert x.grad == other.grad.item() == 24 and between.grad == 2 and end.grad == 1
    x.backward()
    assert x.grad == 25


def test_relu_has_the_slope_of_torch_at_its_bend():
    x, other = Value(0.0), torch.tensor(0.0, requires_grad=True)
    x.relu().backward()
    other.relu().backward()
    assert x.grad == other.grad.item() == 0


@pytest.mark.parametrize(("exponent", "slope"), [(0, 0), (1, 1), (2, 0), (3, 0)])
def test_powers_of_zero(exponent, slope):
    x = Value(0)
    (x**exponent).backward()
    assert x.grad == slope


@pytest.mark.parametrize(
    ("work", "error", "told"),
    [
        (lambda: Value("2"), TypeError, "expected a number, got str '2'"),
        (lambda: Value(True), TypeError, "expected a number, got bool"),
        (lambda: Value(2.0) + None, TypeError, "expected a number, got NoneType"),
        (lambda: Value(2.0) * [1], TypeError, "expected a number, got list"),
        (lambda: Value(2.0) ** Value(2.0), TypeError, "expected a number as the exponent, got Value"),
        (lambda: Value(0.0).log(), ValueError, "expected a number above 0 to take the logarithm of, got 0.0"),
        (lambda: Value(-1.0).log(), ValueError, "got -1.0"),
        (lambda: 1 / Value(0.0), ValueError, "0.0 to the power of -1"),
        (lambda: Value(-1.0) ** 0.5, ValueError, "-1.0 to the power of 0.5"),
        (lambda: Value(0.0) ** 0.5, ValueError, "no finite value and slope"),
    ],
)
def test_what_cannot_be_done_is_said(work, error, told):
    with pytest.raises(error, match=told):
        work()


def test_what_a_value_shows():
    x = Value(2)
    (x * 3).backward()
    assert repr(x) == "Value(2, grad=3)" and math.isclose(x.exp().data, math.e**2)


@pytest.mark.parametrize(
    ("grad", "shown"),
    [
        (None, "None"),
        ([], "[]"),
        ("0", "'0'"),
        (Value(0), "Value(0, grad=0)"),
        (0, "0"),
        (torch.tensor(0), "tensor(0)"),
    ],
)
def test_what_somebody_put_into_grad_is_shown_whatever_it_is(grad, shown):
    x = Value(0.5)
    x.grad = grad
    assert repr(x) == f"Value(0.5, grad={shown})"
