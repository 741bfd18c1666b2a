"""Slopes by walking back: reverse-mode automatic differentiation of single numbers.

A `Value` is a number that remembers what made it: the values it was computed from, and how steeply it moves with each.
Running a computation on values builds its graph; `backward` then walks the graph once, from the end to the beginning,
and leaves in each value's `grad` the slope of the end along it. All slopes together cost a few passes, however many
values there are. S. Linnainmaa, "Taylor expansion of the accumulated rounding error", BIT 16 (1976); A. G. Baydin
et al., "Automatic Differentiation in Machine Learning: a Survey", JMLR 18 (2018), section 3.2.

>>> x = Value(2.0)
>>> y = 2 * ((x**2) ** 3 + 5)
>>> y.backward()
>>> y.data, x.grad
(138.0, 384.0)
"""

from __future__ import annotations

import math


class Value:
    """A number, `data`, with what made it: `parents`, and in `slopes` its derivative along each of them.

    `grad` is 0 until a `backward` adds to it. Numbers may be mixed with values: `2 * x`. Raises TypeError for anything
    but an int or a float.
    """

    __slots__ = ("data", "grad", "parents", "slopes")

    def __init__(self, data: float, parents: tuple[Value, ...] = (), slopes: tuple[float, ...] = ()):
        if isinstance(data, bool) or not isinstance(data, int | float):
            raise TypeError(f"expected a number, got {type(data).__name__} {data!r:.40}")
        self.data, self.grad = float(data), 0.0
        self.parents, self.slopes = parents, slopes

    def __add__(self, other: Value | float) -> Value:
        other = _value(other)
        return Value(self.data + other.data, (self, other), (1.0, 1.0))

    def __mul__(self, other: Value | float) -> Value:
        other = _value(other)
        return Value(self.data * other.data, (self, other), (other.data, self.data))

    def __pow__(self, exponent: float) -> Value:
        """To a fixed power. Raises TypeError for a `Value` as exponent, ValueError where the slope is not finite."""
        if isinstance(exponent, bool) or not isinstance(exponent, int | float):
            raise TypeError(f"expected a number as the exponent, got {type(exponent).__name__}")
        whole = float(exponent).is_integer()
        if (self.data == 0 and exponent < 1 and exponent != 0) or (self.data < 0 and not whole):
            raise ValueError(f"{self.data} to the power of {exponent} has no finite value and slope")
        slope = exponent * self.data ** (exponent - 1) if exponent else 0.0
        return Value(self.data**exponent, (self,), (slope,))

    def __neg__(self) -> Value:
        return self * -1.0

    def __sub__(self, other: Value | float) -> Value:
        return self + -_value(other)

    def __truediv__(self, other: Value | float) -> Value:
        """Raises ValueError for a division by 0, OverflowError where the slope is beyond what a float holds."""
        return self * _value(other) ** -1

    def __radd__(self, other: float) -> Value:
        return self + other

    def __rmul__(self, other: float) -> Value:
        return self * other

    def __rsub__(self, other: float) -> Value:
        return _value(other) - self

    def __rtruediv__(self, other: float) -> Value:
        return _value(other) / self

    def exp(self) -> Value:
        """e to this power. Raises OverflowError above about 709."""
        power = math.exp(self.data)
        return Value(power, (self,), (power,))

    def log(self) -> Value:
        """The natural logarithm. Raises ValueError at 0 and below."""
        if self.data <= 0:
            raise ValueError(f"expected a number above 0 to take the logarithm of, got {self.data}")
        return Value(math.log(self.data), (self,), (1 / self.data,))

    def tanh(self) -> Value:
        """The S-shaped curve from −1 to 1; its slope is 1 − tanh²."""
        bent = math.tanh(self.data)
        return Value(bent, (self,), (1 - bent**2,))

    def relu(self) -> Value:
        """The number itself where it is above 0, and 0 elsewhere; the slope at 0 is taken as 0, as PyTorch does."""
        return Value(max(self.data, 0.0), (self,), (float(self.data > 0),))

    def history(self) -> list[Value]:
        """All values that this one was made from, each once and after its parents; this one is the last.

        A stack of our own takes the place of recursion, so that a chain may be longer than Python's calls are deep.
        """
        order: list[Value] = []
        done: set[Value] = set()
        stack = [self]
        while stack:
            value = stack[-1]
            waiting = [parent for parent in value.parents if parent not in done]
            if waiting:
                stack.extend(waiting)
                continue
            stack.pop()
            if value not in done:
                done.add(value)
                order.append(value)
        return order

    def backward(self) -> None:
        """Leave in `grad`, for every value of the history, the slope of this value along it.

        As in PyTorch, values that nothing made (the parameters) collect over several calls until they are set to 0.
        """
        order = self.history()
        for value in order:
            if value.parents:
                value.grad = 0.0
        self.grad += 1.0
        for value in reversed(order):
            for parent, slope in zip(value.parents, value.slopes, strict=True):
                parent.grad += slope * value.grad

    def __repr__(self) -> str:
        """With four digits; what is no number, which somebody may have put into `data` or `grad`, as it is."""
        return f"Value({_short(self.data)}, grad={_short(self.grad)})"


def _value(number: Value | float) -> Value:
    return number if isinstance(number, Value) else Value(number)


def _short(number: object) -> str:
    return f"{number:.4g}" if isinstance(number, int | float) else f"{number!r:.24}"
