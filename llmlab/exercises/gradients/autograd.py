"""Exercises, questions and predictions of notebook 02b_gradients_autograd."""

from __future__ import annotations

from collections import deque

import torch

from ...gradients import Value
from ..comparing import difference
from ..records import Prediction, Question, exercise

# A value used twice ---------------------------------------------------------------------------------------------------


def _recorded():
    """A chain, for which the bug does not show; a value used by two, by itself twice, and one that nothing reads."""
    yield [[], [0], [1]], [[], [4.0], [0.5]]
    yield [[], [0, 0]], [[], [3.0, 3.0]]
    yield [[], [0], [0], [1, 2]], [[], [2.0], [5.0], [1.0, -1.0]]
    yield [[], [], [0, 1], [2, 0], [3, 2], [3]], [[], [], [2.0, 3.0], [1.0, 4.0], [0.5, 1.5], [7.0]]
    yield [[], [], [1, 0], [2, 2], [3, 1, 0]], [[], [], [-1.5, 2.0], [0.5, 3.0], [1.0, 2.0, -4.0]]


@exercise(
    "gradients.used_twice",
    title="A value used twice",
    prompt="For a chain this walk back is right. Where a value is used twice a part of its slope is lost. Mend it.",
    hints=(
        "Take y = x · x at x = 3: parents [[], [0, 0]], slopes [[], [3, 3]]. The slope should be 6. What is written "
        "into grads[0], and how often?",
        "A later write takes the place of an earlier one. What comes through each use is to be added up.",
    ),
    inputs=_recorded,
    keeps=("parents", "slopes"),
    difficulty=1,
    minutes=3,
)
def walk_back(parents, slopes):
    """Slopes of the last value along each value, a list.

    Values are numbered in the order of computing; parents[n] lists what value n was made
    from, slopes[n] its slope along each of these. Both stay as they are.
    """
    grads = [0.0] * len(parents)
    grads[-1] = 1.0
    for n in reversed(range(len(parents))):
        for parent, slope in zip(parents[n], slopes[n], strict=True):
            grads[parent] += slope * grads[n]
    return grads


@walk_back.mend(
    "a value that is used twice keeps what came through one of its uses only: `=` writes over what was there. Add: `+=`"
)
def _overwritten(parents, slopes):
    grads = [0.0] * len(parents)
    grads[-1] = 1.0
    for n in reversed(range(len(parents))):
        for parent, slope in zip(parents[n], slopes[n], strict=True):
            grads[parent] = slope * grads[n]
    return grads


def _walked(
    parents, slopes, *, order=reversed, pass_on=lambda slope, grad: slope * grad, start=1.0, join=sum, pairs=zip
):
    """`walk_back` with one step replaced; `join` makes one number of what came through all uses."""
    came = [[] for _ in parents]
    came[-1] = [start]
    for n in order(range(len(parents))):
        for parent, slope in pairs(parents[n], slopes[n]):
            came[parent].append(pass_on(slope, join(came[n]) if came[n] else 0.0))
    return [join(each) if each else 0.0 for each in came]


walk_back.plant({
    "the uses are multiplied with each other; slopes are multiplied along a way, and different ways are added":
        (
            lambda parents, slopes: _walked(parents, slopes, join=lambda came: torch.tensor(came).prod().item()),
            lambda parents, slopes: _multiplied_into_ones(parents, slopes),
        ),
    "what comes through several uses is averaged; it adds up":
        lambda parents, slopes: _walked(parents, slopes, join=lambda came: sum(came) / len(came)),
    "only the parents of the end get a slope: the walk goes forward, or stops after its first round. Begin at the end "
    "and go on to value 0":
        lambda parents, slopes: _walked(parents, slopes, order=iter),
    "the slopes are added along the way; one after the other they multiply, slope * grads[n]":
        lambda parents, slopes: _walked(parents, slopes, pass_on=lambda slope, grad: slope + grad),
    "the local slopes are collected as they are; each is multiplied with the slope of the end along value n, grads[n]":
        lambda parents, slopes: _walked(parents, slopes, pass_on=lambda slope, grad: slope),
    "everything is 0: the slope of the end along itself is 1, and all others come from it":
        lambda parents, slopes: _walked(parents, slopes, start=0.0),
    "only the largest of the uses is kept; all of them add up":
        lambda parents, slopes: _walked(parents, slopes, join=max),
    "a parent that stands twice in a list is counted once; both entries are uses of it (numpy's grads[list] += … "
    "writes into each place once; np.add.at adds all)":
        lambda parents, slopes: _walked(parents, slopes, pairs=lambda ps, ss: dict(zip(ps, ss, strict=True)).items()),
    "no slope leaves the end: the loop begins after it (begin at len(parents) - 1), or a value takes from its parents "
    "instead of giving to them, grads[parent] += slope * grads[n]":
        lambda parents, slopes: _walked(parents, slopes, order=lambda numbers: numbers[-2::-1]),
    "the loop stops before value 1, which then passes nothing on (range(…, 1, -1) ends at 2)":
        lambda parents, slopes: _walked(parents, slopes, order=lambda numbers: numbers[:1:-1]),
})  # fmt: skip


def _multiplied_into_ones(parents, slopes):
    grads = [1.0] * len(parents)
    for n in reversed(range(len(parents))):
        for parent, slope in zip(parents[n], slopes[n], strict=True):
            grads[parent] *= slope * grads[n]
    return grads


@walk_back.mistake("every grad starts at 1; only that of the end does, and with += the others must start at 0")
def _started_at_one(parents, slopes):
    grads = [1.0] * len(parents)
    for n in reversed(range(len(parents))):
        for parent, slope in zip(parents[n], slopes[n], strict=True):
            grads[parent] += slope * grads[n]
    return grads


# The right order ------------------------------------------------------------------------------------------------------


def _graphs():
    """A chain, a product with itself, ways of unequal length, values out of the way, and a ladder of 2²⁵ ways.

    In the third, `other` uses what the end uses, so that who counts uses must leave it out, or begin with it.
    """
    yield "c", {"a": [], "c": [("b", 2.0)], "b": [("a", 5.0)]}
    yield "y", {"x": [], "y": [("x", 3.0), ("x", 4.0)]}
    yield "end", {
        "long": [("far", 5.0)], "end": [("long", 3.0), ("a", 1.0), ("a", 0.5)], "x": [], "far": [("a", 2.0)],
        "a": [("x", 2.0)], "other": [("end", 9.0), ("a", 7.0)],
    }  # fmt: skip
    yield "f", {
        "y": [], "f": [("d", -1.0), ("b", 2.0), ("e", 0.5)], "b": [("x", 1.5), ("y", 3.0)], "x": [],
        "e": [("d", 4.0), ("y", 1.0)], "d": [("c", 2.0), ("b", -3.0)], "c": [("b", 0.5), ("b", 2.5)],
    }  # fmt: skip
    yield "s25", {"s0": []} | {f"s{n}": [(f"s{n - 1}", 0.5), (f"s{n - 1}", 1.0)] for n in range(25, 0, -1)}


@exercise(
    "gradients.any_order",
    title="The right order",
    prompt="Values are given in no order, each with what it was made from. Find an order, then walk back.",
    hints=(
        "A value may pass on its slope only when all that was made from it has passed on its own. Find an order first, "
        "in which every value comes after its parents, then walk it from the back.",
        "A function visit(name): if the name is new, note it, visit its parents, then append it to the order. Appended "
        "last, it comes after all of them.",
        "After visit(end): slopes of 0 for all names, 1 for the end; for name in reversed(order), for each (parent, "
        "slope): slopes[parent] += slope * slopes[name].",
    ),
    inputs=_graphs,
    keeps=("made_from",),
    difficulty=3,
    minutes=15,
)
def slopes_of(end, made_from):
    """made_from: {name: [(parent, slope), ...]} in any order; end and every parent are names
    in it, an input has [].

    Returns {name: slope of the end along it} for every name of made_from, 0.0 where the end
    does not depend on it.
    """
    order, seen = [], set()

    def visit(name):
        if name not in seen:
            seen.add(name)
            for parent, _ in made_from[name]:
                visit(parent)
            order.append(name)

    visit(end)
    slopes = dict.fromkeys(made_from, 0.0)
    slopes[end] = 1.0
    for name in reversed(order):
        for parent, slope in made_from[name]:
            slopes[parent] += slope * slopes[name]
    return slopes


def _in_order(end, made_from, order, *, add=True, once=False, all_names=True, start=1.0, pass_on=True):
    """The walk over an order that is given, with one step replaced."""
    slopes = dict.fromkeys(made_from if all_names else order, 0.0)
    slopes[end] = start
    for name in order:
        parents = dict(made_from[name]).items() if once else made_from[name]
        for parent, slope in parents:
            slopes[parent] = slope * (slopes[name] if pass_on else 1.0) + (slopes[parent] if add else 0.0)
    return slopes


def _depth_first(end, made_from, *, early=False, again=False):
    """An order with every value after its parents, turned round.

    `early`: appended before its parents; `again`: appended at each visit.
    """
    order, seen = [], set()

    def visit(name):
        if name not in seen:
            seen.add(name)
            if early:
                order.append(name)
            for parent, _ in made_from[name]:
                visit(parent)
            if not early and not again:
                order.append(name)
        if again:
            order.append(name)

    visit(end)
    return order if early else order[::-1]


def _breadth_first(end, made_from):
    order, waiting = [], deque([end])
    while waiting:
        name = waiting.popleft()
        if name not in order:
            order.append(name)
            waiting.extend(parent for parent, _ in made_from[name])
    return order


slopes_of.plant({
    "the values are walked in the order in which they are given, which is none: find one first, in which every value "
    "comes after its parents":
        (
            lambda end, made_from: _in_order(end, made_from, list(made_from)),
            lambda end, made_from: _in_order(end, made_from, list(made_from)[::-1]),
        ),
    "each value is appended before its parents are visited; where two ways of unequal length meet, it passes on its "
    "slope too early. Append it after them and walk from the back":
        lambda end, made_from: _in_order(end, made_from, _depth_first(end, made_from, early=True)),
    "the walk goes level by level from the end: where two ways of unequal length meet, a value passes on its slope "
    "before the longer way has reached it":
        lambda end, made_from: _in_order(end, made_from, _breadth_first(end, made_from)),
    "only the end's own parents get a slope: the order is walked from the wrong side (take reversed(order)), or only "
    "its first step is done":
        lambda end, made_from: _in_order(end, made_from, _depth_first(end, made_from)[::-1]),
    "a value used twice keeps what came through one use; add it up with +=":
        lambda end, made_from: _in_order(end, made_from, _depth_first(end, made_from), add=False),
    "a parent that stands twice in a list is counted once; both entries are uses of it":
        lambda end, made_from: _in_order(end, made_from, _depth_first(end, made_from), once=True),
    "names that the end does not depend on are missing or None; they are in the result with 0.0":
        lambda end, made_from: _in_order(end, made_from, _depth_first(end, made_from), all_names=False),
    "everything is 0: the slope of the end along itself is 1":
        lambda end, made_from: _in_order(end, made_from, _depth_first(end, made_from), start=0.0),
    "the local slopes are collected as they are; each is multiplied with the slope of the end along the value that "
    "passes it on, slopes[name]":
        lambda end, made_from: _in_order(end, made_from, _depth_first(end, made_from), pass_on=False),
    "a value is appended at each visit, and passes on its slope as often; append it inside of the `if`, the first time "
    "only":
        lambda end, made_from: _in_order(end, made_from, _depth_first(end, made_from, again=True)),
})  # fmt: skip


@slopes_of.mistake(
    "a value that was seen takes what arrives and does not pass it on; pass on once, but only when all has arrived"
)
def _seen_walk(end, made_from):
    slopes, seen = dict.fromkeys(made_from, 0.0), set()

    def walk(name, slope):
        slopes[name] += slope
        if name not in seen:
            seen.add(name)
            for parent, local in made_from[name]:
                walk(parent, slope * local)

    walk(end, 1.0)
    return slopes


@slopes_of.mistake(
    "every way from the end is walked by itself, and their number doubles with each value that is used twice: give "
    "each value its whole slope first, then pass that on once"
)
def _way_by_way(end, made_from):
    slopes = dict.fromkeys(made_from, 0.0)

    def walk(name, slope):
        slopes[name] += slope
        for parent, local in made_from[name]:
            walk(parent, slope * local)

    walk(end, 1.0)
    return slopes


# Gradients that stay --------------------------------------------------------------------------------------------------


def _lines():
    """One step, for which the bug does not show, and several, on lines that learn at unequal speeds."""
    for xs, ys, a, b, rate, n_steps in (
        ([1.0, 2.0], [1.0, 3.0], 0.5, 0.0, 0.1, 1),
        ([0.0, 1.0, 2.0], [1.0, 3.0, 5.0], 0.0, 0.0, 0.1, 2),
        ([-1.0, 0.5, 2.0, 1.0], [2.0, 0.0, -3.0, 1.0], 1.0, -0.5, 0.05, 4),
        ([1.0, 1.5, -2.0], [0.5, 2.0, 1.0], -1.0, 2.0, 0.02, 0),
        ([0.5, -0.5, 3.0], [4.0, 1.0, 2.0], 0.25, 1.0, 0.03, 7),
    ):
        yield xs, ys, Value(a), Value(b), rate, n_steps


def _values_came_back(arguments, value):
    if isinstance(value, list) and any(isinstance(each, Value) for each in value):
        return (
            "Values come back, numbers are asked for: return [a.data, b.data]. If you do, a Value was put into data or "
            "grad; they hold numbers"
        )
    return ""


@exercise(
    "gradients.zero",
    title="Gradients that stay",
    prompt="The first step of this training is right; then it runs past the lowest point and back. Mend it.",
    hints=(
        "Print a.grad after each backward(), beside the slope that you get on a fresh start from the same a and b.",
        "backward adds to what is in grad. Nothing here takes away what the steps before have left.",
        "Before each backward(), or after each step: a.grad = b.grad = 0.0.",
    ),
    inputs=_lines,
    symptoms=(_values_came_back,),
    difficulty=2,
    minutes=9,
)
def fit_line(xs, ys, a, b, rate, n_steps):
    """Fit a · x + b to the numbers xs and ys by n_steps of gradient descent on the mean squared error.

    a and b are Values whose grad is 0. Returns their numbers afterwards, [a, b].
    """
    for _ in range(n_steps):
        a.grad = b.grad = 0.0
        loss = sum((a * x + b - y) ** 2 for x, y in zip(xs, ys, strict=True)) / len(xs)
        loss.backward()
        a.data -= rate * a.grad
        b.data -= rate * b.grad
    return [a.data, b.data]


@fit_line.mend(
    "the gradients of earlier steps are still in grad, and backward adds to them: set both to 0 before each backward"
)
def _never_zeroed(xs, ys, a, b, rate, n_steps):
    for _ in range(n_steps):
        loss = sum((a * x + b - y) ** 2 for x, y in zip(xs, ys, strict=True)) / len(xs)
        loss.backward()
        a.data -= rate * a.grad
        b.data -= rate * b.grad
    return [a.data, b.data]


def _fitted(xs, ys, a, b, rate, n_steps, *, zero="ab", at="start", sign=-1, mean=True, more=0, to=0.0, walks=1):
    """`fit_line` with one step replaced; `at`: where gradients are set to 0, or to what `to` is, `zero`: which."""

    def clear(when):
        if at == when:
            a.grad = to if "a" in zero else a.grad
            b.grad = to if "b" in zero else b.grad

    for _ in range(n_steps + more):
        clear("start")
        loss = sum((a * x + b - y) ** 2 for x, y in zip(xs, ys, strict=True)) / (len(xs) if mean else 1)
        for _ in range(walks):
            loss.backward()
        clear("before the step")
        a.data += sign * rate * a.grad
        clear("between")
        b.data += sign * rate * b.grad
        clear("end")
    return [a.data, b.data]


fit_line.plant({
    "nothing moves: the gradients are set to 0 between backward() and the step that needs them":
        lambda *given: _fitted(*given, at="before the step"),
    "only a.grad is set to 0; b keeps the gradients of earlier steps":
        lambda *given: _fitted(*given, zero="a"),
    "only b.grad is set to 0; a keeps the gradients of earlier steps":
        lambda *given: _fitted(*given, zero="b"),
    "the gradients are set to 0 after a has moved and before b does, so that b stands still":
        lambda *given: _fitted(*given, at="between"),
    "the step goes uphill: the gradient points where the loss rises, so subtract it":
        lambda *given: _fitted(*given, sign=1),
    "the loss is the sum of the squares here; the text asks for their mean":
        lambda *given: _fitted(*given, mean=False),
    "one step too many":
        lambda *given: _fitted(*given, more=1),
    "one step too few":
        lambda *given: _fitted(*given, more=-1),
    "backward() is called twice in a step and adds its slopes twice: each step is twice as long as it should be":
        lambda *given: _fitted(*given, walks=2),
    "grad is set to None; `backward` here adds to a number: set it to 0":
        (
            lambda *given: _fitted(*given, to=None),
            lambda *given: _fitted(*given, to=None, at="end"),
        ),
})  # fmt: skip


@fit_line.mistake(
    "the numbers a.data and b.data are set to 0 at each step, not their gradients: what was learned is gone"
)
def _data_zeroed(xs, ys, a, b, rate, n_steps):
    for _ in range(n_steps):
        a.data = b.data = 0.0
        a.grad = b.grad = 0.0
        loss = sum((a * x + b - y) ** 2 for x, y in zip(xs, ys, strict=True)) / len(xs)
        loss.backward()
        a.data -= rate * a.grad
        b.data -= rate * b.grad
    return [a.data, b.data]


@fit_line.mistake(
    "the loss is computed once, before the loop: its slopes are those of the start at every step. Compute it anew"
)
def _one_loss(xs, ys, a, b, rate, n_steps):
    loss = sum((a * x + b - y) ** 2 for x, y in zip(xs, ys, strict=True)) / len(xs)
    for _ in range(n_steps):
        a.grad = b.grad = 0.0
        loss.backward()
        a.data -= rate * a.grad
        b.data -= rate * b.grad
    return [a.data, b.data]


# Forward mode ---------------------------------------------------------------------------------------------------------


def _polynomials():
    """Degrees 1 to 4, one of degree 0, zeros among the coefficients, x above 1, below 0 and 0.

    In the last the constant is so large that the value does not notice a small step; the slope does not contain it.
    """
    yield [3.0, 5.0], 2.0
    yield [1.0, 0.0, 0.0], 3.0
    yield [2.0, -1.0, 0.5, 4.0], -1.5
    yield [7.0], 2.0
    yield [1.0, 2.0, 3.0, 4.0, 5.0], 0.5
    yield [2.5, 0.0, -3.0, 1.0], 0.0
    yield [1.0, 0.0, HUGE], 3.0


HUGE = 1e15


def _by_a_step(arguments, value):
    """A right value with a wrong slope where all other slopes were right: the small step is lost in rounding."""
    coefficients, x = arguments
    if coefficients[-1] != HUGE or not isinstance(value, list) or len(value) != 2:
        return ""
    if difference(value_and_slope.answer(coefficients, x)[0], value[0]):
        return ""
    return (
        "the slope seems to be that of a small step: beside a value of 10¹⁵ the step is lost in rounding. Carry the "
        "slope along, by the rules for + and *"
    )


@exercise(
    "gradients.dual",
    title="A slope on the way forward",
    prompt="Compute a polynomial and its slope in one loop, by carrying a slope along with the value.",
    hints=(
        "The value alone: begin with 0, and for each coefficient value = value * x + coefficient.",
        "value * x is a product of two numbers that both move with x: its slope is slope * x + value * 1.",
        "In the loop compute the slope first; it needs the value from before this step.",
    ),
    inputs=_polynomials,
    keeps=("coefficients",),
    symptoms=(_by_a_step,),
    difficulty=2,
    minutes=8,
)
def value_and_slope(coefficients, x):
    """coefficients, the highest power's first: [3, 0, 5] is 3x² + 5 -> (value, slope) at x."""
    value, slope = 0.0, 0.0
    for coefficient in coefficients:
        value, slope = value * x + coefficient, slope * x + value
    return value, slope


def _horner(coefficients, x, step, slope=0.0, value=0.0):
    """The loop with the rule for the slope replaced: step(value before, value after, slope, x)."""
    for coefficient in coefficients:
        after = value * x + coefficient
        value, slope = after, step(value, after, slope, x)
    return value, slope


value_and_slope.plant({
    "the slope is computed from the new value; the product value * x was made from the value before it":
        lambda coefficients, x: _horner(coefficients, x, lambda old, new, slope, x: slope * x + new),
    "half of the product's rule is missing: slope * x + value, since x moves as well":
        lambda coefficients, x: _horner(coefficients, x, lambda old, new, slope, x: slope * x),
    "half of the product's rule is missing: slope * x + value, since the value before moves as well (with powers: "
    "c · k · x**(k − 1))":
        lambda coefficients, x: _horner(coefficients, x, lambda old, new, slope, x: old),
    "the slope begins at 1; before the first coefficient the value is 0 and does not move with x":
        lambda coefficients, x: _horner(coefficients, x, lambda old, new, slope, x: slope * x + old, slope=1.0),
    "the coefficients are read from the wrong side: the first belongs to the highest power":
        lambda coefficients, x: value_and_slope.answer(coefficients[::-1], x),
    "the slope of a product is not the sum of the slopes; for value * x it is slope * x + value":
        lambda coefficients, x: _horner(coefficients, x, lambda old, new, slope, x: slope * 1.0 + 1.0),
    "slope and value are exchanged: first the value, then the slope":
        lambda coefficients, x: value_and_slope.answer(coefficients, x)[::-1],
    "only the slope comes back; the value is asked for too":
        lambda coefficients, x: value_and_slope.answer(coefficients, x)[1],
    "the coefficient is added to the slope as well; it is a constant, whose slope is 0":
        lambda coefficients, x: _horner(coefficients, x, lambda old, new, slope, x: slope * x + old + new - old * x),
    "the slope from before is added as it is; it is multiplied by x: slope * x + value":
        lambda coefficients, x: _horner(coefficients, x, lambda old, new, slope, x: slope + old),
    "the first coefficient is used twice: begin with 0, or begin with it and go on at the second":
        lambda coefficients, x: _horner(
            coefficients, x, lambda old, new, slope, x: slope * x + old, value=coefficients[0]
        ),
    "only the value comes back; the slope is asked for too":
        lambda coefficients, x: value_and_slope.answer(coefficients, x)[0],
})  # fmt: skip


EXERCISES = (walk_back, slopes_of, fit_line, value_and_slope)
PREDICTIONS = (
    Prediction(
        id="gradients.smaller_step",
        text="A slope by a small step, in numbers of 16 digits: the step shrinks from 10⁻⁸ to 10⁻¹¹. The error …",
        options=("shrinks about 1,000 times", "stays about the same", "grows about 1,000 times"),
    ),
    Prediction(
        id="gradients.all_slopes",
        text=(
            "A loss has 1,000 parameters. Counted in passes through its computation, what do all 1,000 slopes cost at "
            "the least?"
        ),
        options=("2 to 4 passes", "about 30 passes", "about 1,000 passes", "about a million passes"),
    ),
)

QUESTIONS = (
    Question(
        id="gradients.why_kept",
        text="Why must the numbers of the way forward be kept until the walk back?",
        options=(
            "To check the result afterwards",
            "Because the slope of a step may depend on the number that went into it",
            "Because the walk back computes each of them again",
            "They need not be kept: slopes are constants of the operations",
        ),
        answer=1,
        why=(
            "Nothing is checked with them.",
            "The slope of the square at 2 is 4 and at 5 is 10: without the number that went in there is no slope.",
            "It could, which saves memory and costs time; but then too it needs the numbers.",
            "True of sums and of doubling. A square, a product or a tanh is steeper in one place than in another.",
        ),
    ),
    Question(
        id="gradients.which_mode",
        text="A function has 2 inputs and 5,000 outputs, and all slopes are wanted. Which way needs fewer passes?",
        options=("Forward mode: 2 passes", "Reverse mode: 1 pass", "Both need 5,000", "Both need 2"),
        answer=0,
        why=(
            "A pass forward gives the slopes of all outputs along one input.",
            "A walk back begins at one output: 5,000 outputs need 5,000 walks.",
            "Forward mode counts inputs, not outputs.",
            "Reverse mode counts outputs, not inputs.",
        ),
    ),
    Question(
        id="gradients.hundred_layers",
        text="A chain of 100 steps, each with the slope 0.9. How steep is the end along the beginning?",
        options=("0.9", "90", "About 0.00003", "Exactly 0"),
        answer=2,
        why=(
            "That is one step of the hundred.",
            "Slopes along a chain are multiplied, not added.",
            "0.9 to the power of 100: no step is flat, and together they nearly are.",
            "It is small and not 0; even float32 holds far smaller numbers.",
        ),
    ),
)
