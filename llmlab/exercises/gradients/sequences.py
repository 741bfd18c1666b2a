"""Exercises, questions and predictions of notebook 02d_gradients_sequences."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from ..records import Prediction, Question, exercise

# A state that is not new ----------------------------------------------------------------------------------------------


def _draw(*shape):
    return torch.randn(*shape).double()


def _lists():
    """One list, for which the bug does not show, and several, of unequal lengths, one of a single word."""
    for lengths, n_words, hidden in (((2,), 3, 2), ((1, 3), 2, 3), ((3, 3, 3), 4, 2), ((4, 1, 2, 5), 5, 4)):
        lists = [F.one_hot(torch.randint(n_words, (length,)), n_words) for length in lengths]
        kind = torch.get_default_dtype()  # that of torch.zeros(len(b)), which may be multiplied with these
        matrices = _draw(hidden, n_words), 0.7 * _draw(hidden, hidden), _draw(hidden)
        yield [words.to(kind) for words in lists], *(each.to(kind) for each in matrices)


@exercise(
    "gradients.fresh_state",
    title="A state that is not new",
    prompt="The first list is read rightly. The state after any other one changes with the lists before it. Mend it.",
    hints=(
        "Give the same list twice: both rows of the result should be equal. What is h when the second list begins?",
        "A list begins with a state of zeros, each list anew.",
    ),
    inputs=_lists,
    keeps=("lists", "W", "U", "b"),
    difficulty=1,
    minutes=7,
)
def last_states(lists, W, U, b):
    """lists: N tensors (T, V), a row for each word; W (H, V), U (H, H), b (H,).
    Returns the state after each list, (N, H).
    """
    states = []
    for words in lists:
        h = torch.zeros_like(b)  # (H,)
        for x in words:
            h = torch.tanh(W @ x + U @ h + b)  # (H,)
        states.append(h)
    return torch.stack(states)  # (N, H)


@last_states.mend(
    "the state goes on from one list to the next: what the list before has left in h is read as if it belonged to this "
    "one. Set h to zeros where a list begins"
)
def _carried(lists, W, U, b):
    states = []
    h = torch.zeros_like(b)  # (H,)
    for words in lists:
        for x in words:
            h = torch.tanh(W @ x + U @ h + b)  # (H,)
        states.append(h)
    return torch.stack(states)  # (N, H)


def _read(lists, W, U, b, *, step=None, start=torch.zeros_like, words_of=list, of_list=lambda states: states[-1]):
    """`last_states` with one part replaced; step(W, U, b, x, h) -> h."""
    step = step or (lambda W, U, b, x, h: torch.tanh(W @ x + U @ h + b))
    found = []
    for words in lists:
        states = [start(b)]
        for x in words_of(words):
            states.append(step(W, U, b, x, states[-1]))
        found.append(of_list(states[1:]))
    return torch.stack(found)


def _emptied_after(lists, W, U, b):
    states, h = [], torch.zeros_like(b)
    for words in lists:
        for x in words:
            h = torch.tanh(W @ x + U @ h + b)
        states.append(h)
        h.zero_()
    return torch.stack(states)


def _emptied_before(lists, W, U, b):
    states, h = [], torch.zeros_like(b)
    for words in lists:
        h *= 0
        for x in words:
            h = torch.tanh(W @ x + U @ h + b)
        states.append(h)
    return torch.stack(states)


last_states.plant({
    "every row is 0: h is set to zeros before it is appended, or in place (h.zero_(), h *= 0) afterwards. Set "
    "h = torch.zeros_like(b) where a list begins":
        _emptied_after,
    "every row but the last is 0: h is set to 0 in place (h.zero_() or h *= 0), and the row in states is that same "
    "tensor. Make a new one: h = torch.zeros_like(b)":
        _emptied_before,
    "a list begins with h = b; b comes in at every word anyway, so begin with zeros":
        lambda lists, W, U, b: _read(lists, W, U, b, start=lambda b: b),
    "the bend is a sigmoid; it is tanh":
        lambda lists, W, U, b: _read(lists, W, U, b, step=lambda W, U, b, x, h: torch.sigmoid(W @ x + U @ h + b)),
    "h is zeros at every word (set anew, or never replaced), so that only the last word counts":
        lambda lists, W, U, b: _read(lists, W, U, b, step=lambda W, U, b, x, h: torch.tanh(W @ x + b)),
    "a list begins with a state of ones; nothing has been read yet, so take zeros":
        lambda lists, W, U, b: _read(lists, W, U, b, start=torch.ones_like),
    "tanh is missing: without the bend the state can grow without end":
        lambda lists, W, U, b: _read(lists, W, U, b, step=lambda W, U, b, x, h: W @ x + U @ h + b),
    "the bias b is missing or added outside of the bend: it belongs into the sum that tanh bends":
        (
            lambda lists, W, U, b: _read(lists, W, U, b, step=lambda W, U, b, x, h: torch.tanh(W @ x + U @ h)),
            lambda lists, W, U, b: _read(lists, W, U, b, step=lambda W, U, b, x, h: torch.tanh(W @ x + U @ h) + b),
        ),
    "U is turned round: row i of U makes number i of the new state, so U @ h":
        lambda lists, W, U, b: _read(lists, W, U, b, step=lambda W, U, b, x, h: torch.tanh(W @ x + h @ U + b)),
    "the old state is added as it is; it goes through U":
        lambda lists, W, U, b: _read(lists, W, U, b, step=lambda W, U, b, x, h: torch.tanh(W @ x + b) + h),
    "each list is read from its end":
        lambda lists, W, U, b: _read(lists, W, U, b, words_of=lambda words: words.flip(0)),
    "the mean of all states comes back; asked is the last one":
        lambda lists, W, U, b: _read(lists, W, U, b, of_list=lambda states: torch.stack(states).mean(0)),
    "that is the state after the first word of each list; asked is the one after the last":
        lambda lists, W, U, b: _read(lists, W, U, b, of_list=lambda states: states[0]),
    "only the state after the last list comes back; one row for each list":
        lambda lists, W, U, b: last_states.answer(lists, W, U, b)[-1],
})  # fmt: skip


# The slope of a matrix that every step uses ---------------------------------------------------------------------------


def _unrolled():
    """One step, several; as many numbers in the state as steps, and others."""
    for n_steps, hidden in ((1, 2), (2, 2), (3, 4), (5, 3)):
        yield 0.8 * _draw(hidden, hidden), torch.tanh(_draw(n_steps + 1, hidden)), _draw(hidden)


@exercise(
    "gradients.shared",
    title="The slope of a matrix that every step uses",
    prompt="Walk back through the steps, and collect the slopes of the loss along U, which each step has used.",
    hints=(
        "One step: after = tanh(… + U @ before). The slope along what is in the tanh: inner = slope * (1 - after**2).",
        "Number i of U @ before is the sum of U[i, j] * before[j]: the step's part of the gradient is "
        "torch.outer(inner, before).",
        "Add up the parts of all steps, from the last step to the first; to the step before go with "
        "slope = U.T @ inner.",
    ),
    inputs=_unrolled,
    keeps=("U", "states", "slope"),
    difficulty=3,
    minutes=11,
)
def slope_of_shared(U, states, slope):
    """U (H, H); states (T + 1, H): before the first word, then after each of T words, tanh(… + U @ state before);
    slope (H,): of the loss along the last state. Returns the gradient along U, (H, H).
    """
    total = torch.zeros_like(U)  # (H, H)
    for t in range(len(states) - 1, 0, -1):
        inner = slope * (1 - states[t] ** 2)  # (H,)
        total += torch.outer(inner, states[t - 1])
        slope = U.T @ inner  # (H,)
    return total


def _walked(
    U, states, slope, *,
    bend=lambda before, after: 1 - after**2, part=torch.outer, back=None, join=sum, stop=0,
):  # fmt: skip
    """`slope_of_shared` with one part replaced; back(U, slope, inner) -> slope, join(parts, the last step's first)."""
    back = back or (lambda U, slope, inner: U.T @ inner)
    parts = []
    for t in range(len(states) - 1, stop, -1):
        inner = slope * bend(states[t - 1], states[t])
        parts.append(part(inner, states[t - 1]))
        slope = back(U, slope, inner)
    return join(parts) if parts else torch.zeros_like(U)  # where `stop` leaves no step


def _from_the_front(U, states, slope):
    total = torch.zeros_like(U)
    for t in range(1, len(states)):
        inner = slope * (1 - states[t] ** 2)
        total += torch.outer(inner, states[t - 1])
        slope = U.T @ inner
    return total


def _straight_part(U, states, slope):
    total = torch.zeros_like(U)
    for t in range(len(states) - 1, 0, -1):
        total += torch.outer(slope, states[t - 1])
        slope = U.T @ (slope * (1 - states[t] ** 2))
    return total


def _handed_on_first(U, states, slope, *, again=lambda after: 1 - after**2):
    total = torch.zeros_like(U)
    for t in range(len(states) - 1, 0, -1):
        slope = U.T @ (slope * (1 - states[t] ** 2))
        total += torch.outer(slope * again(states[t]), states[t - 1])
    return total


def _after_for_before(U, states, slope):
    total = torch.zeros_like(U)
    for t in range(len(states) - 1, 0, -1):
        inner = slope * (1 - states[t] ** 2)
        total += torch.outer(inner, states[t])
        slope = U.T @ inner
    return total


def _by_autograd(U, states, slope):
    U = U.clone().requires_grad_()
    return torch.autograd.grad((states[-1] * slope).sum(), U)[0]


slope_of_shared.plant({
    "states are plain numbers here; PyTorch has no record of them. Walk back by hand":
        _by_autograd,
    "the slope that is given is not used, ones stand in its place; begin with slope":
        lambda U, states, slope: _walked(U, states, torch.ones_like(slope)),
    "the parts come back, one for each step; add them up":
        lambda U, states, slope: _walked(U, states, slope, join=list),
    "the bend comes before U on the way back, as it came after U on the way there: U.T @ (slope * (1 − after²))":
        lambda U, states, slope: _walked(
            U, states, slope, back=lambda U, slope, inner: U.T @ slope * inner / slope),
    "what is handed on passes the same bend twice; it is in inner already, so U.T @ inner":
        lambda U, states, slope: _walked(
            U, states, slope, back=lambda U, slope, inner: U.T @ inner * inner / slope),
    "only the last step counts, as if it had a matrix of its own: U is shared, and each step that used it adds a part":
        lambda U, states, slope: _walked(U, states, slope, join=lambda parts: parts[0]),
    "only the first step's part is left: `=` writes over the others. Add up with `+=`":
        lambda U, states, slope: _walked(U, states, slope, join=lambda parts: parts[-1]),
    "the parts of the steps are averaged; uses of one value add up":
        lambda U, states, slope: _walked(U, states, slope, join=lambda parts: sum(parts) / len(parts)),
    "the slope of tanh is missing: 1 − after², for each number of the state":
        lambda U, states, slope: _walked(U, states, slope, bend=lambda before, after: 1),
    "tanh is as steep as what came *out* of it says: 1 − after², not 1 − before²":
        lambda U, states, slope: _walked(U, states, slope, bend=lambda before, after: 1 - before**2),
    "that is 1 − after; the slope of tanh is 1 − after²":
        lambda U, states, slope: _walked(U, states, slope, bend=lambda before, after: 1 - after),
    "on the way back U is turned round, U.T @ inner: number j of the old state went into every row, with U[i, j]":
        lambda U, states, slope: _walked(U, states, slope, back=lambda U, slope, inner: U @ inner),
    "what goes to the step before has to pass the bend: U.T @ inner, not U.T @ slope":
        lambda U, states, slope: _walked(U, states, slope, back=lambda U, slope, inner: U.T @ slope),
    "all steps get the same slope; each step hands on its own, U.T @ inner":
        lambda U, states, slope: _walked(U, states, slope, back=lambda U, slope, inner: slope),
    "the slope that is handed on has not gone through U: U.T @ inner":
        lambda U, states, slope: _walked(U, states, slope, back=lambda U, slope, inner: inner),
    "rows and columns are exchanged: U[i, j] takes number j of the old state to number i of the new one, so "
    "outer(inner, before)":
        lambda U, states, slope: _walked(U, states, slope, part=lambda inner, before: torch.outer(before, inner)),
    "the walk goes forward; the slope that is given is that of the last state, so begin there":
        _from_the_front,
    "the step's part is taken with a slope that has not passed the bend: outer(inner, before), not outer(slope, …)":
        _straight_part,
    "slope is handed on, through U, before the step's part is taken; take the part with the slope that came in":
        (_handed_on_first, lambda U, states, slope: _handed_on_first(U, states, slope, again=lambda after: 1)),
    "the states have passed tanh already: 1 − after², not 1 − tanh(after)²":
        lambda U, states, slope: _walked(U, states, slope, bend=lambda before, after: 1 - torch.tanh(after) ** 2),
    "that is (1 − after)²; the slope of tanh is 1 − after²":
        lambda U, states, slope: _walked(U, states, slope, bend=lambda before, after: (1 - after) ** 2),
    "the walk goes on to t = 0, where states[t - 1] is states[-1], the last one; it ends with t = 1":
        lambda U, states, slope: _walked(U, states, slope, stop=-1),
    "the walk stops a step early: the first word has a step too, t = 1, with states[0] before it":
        lambda U, states, slope: _walked(U, states, slope, stop=1),
    "U was multiplied with the state *before* the step, not with the one that came out":
        _after_for_before,
})  # fmt: skip


# Adam -----------------------------------------------------------------------------------------------------------------


def _gradients():
    """One step, for which bias correction makes Adam a step by the sign; more; an epsilon that can be seen.

    In the last, gradients are about as large as epsilon.
    """
    for n_steps, n_params, rate, beta1, beta2, eps in (
        (1, 2, 0.1, 0.9, 0.99, 1e-8),
        (3, 3, 0.5, 0.8, 0.9, 0.1),
        (6, 2, 0.01, 0.5, 0.7, 0.02),
        (9, 4, 0.2, 0.9, 0.6, 1e-3),
    ):
        yield _draw(n_params), _draw(n_steps, n_params), rate, beta1, beta2, eps
    yield _draw(3), 0.1 * _draw(4, 3), 0.3, 0.7, 0.8, 0.1


@exercise(
    "gradients.adam",
    title="Adam",
    prompt="Take the steps of Adam, one for each gradient. (Here the gradients are given, wherever the steps lead.)",
    hints=(
        "Two averages begin at 0: m of the gradients, v of their squares. m = beta1 * m + (1 - beta1) * g.",
        "Both are too small at first, since they began at 0: divide m by 1 - beta1**t and v by 1 - beta2**t, where t "
        "counts the steps from 1. Keep m and v themselves as they are.",
        "params = params - rate * m_hat / (v_hat**0.5 + eps)",
    ),
    inputs=_gradients,
    keeps=("params", "gradients"),
    difficulty=2,
    minutes=9,
)
def adam(params, gradients, rate, beta1, beta2, eps):
    """params (P,), gradients (N, P) -> (P,): params after N steps, each with the next gradient."""
    m = v = torch.zeros_like(params)  # (P,)
    for t, g in enumerate(gradients, 1):
        m = beta1 * m + (1 - beta1) * g  # (P,)
        v = beta2 * v + (1 - beta2) * g**2  # (P,)
        m_hat, v_hat = m / (1 - beta1**t), v / (1 - beta2**t)  # (P,) each
        params = params - rate * m_hat / (v_hat**0.5 + eps)
    return params


def _stepped(
    params, gradients, rate, beta1, beta2, eps, *,
    new=1, square=lambda g, m: g**2, m_bias=lambda beta, t: 1 - beta**t, v_bias=lambda beta, t: 1 - beta**t,
    divide=lambda m, v, eps: m / (v**0.5 + eps), first=1, kept=False, anew=False,
):  # fmt: skip
    """`adam` with one part replaced; `new`: what the share of a new gradient is, of 1 − β; `kept`: the hats stay;
    `anew`: both averages begin at every step."""
    m = v = torch.zeros_like(params)
    for t, g in enumerate(gradients, first):
        if anew:
            m = v = torch.zeros_like(params)
        m = beta1 * m + ((1 - beta1) if new else 1) * g
        v = beta2 * v + ((1 - beta2) if new else 1) * square(g, m)
        m_hat, v_hat = m / m_bias(beta1, t), v / v_bias(beta2, t)
        if kept:
            m, v = m_hat, v_hat
        params = params - rate * divide(m_hat, v_hat, eps)
    return params


def _shortcut(params, gradients, rate, beta1, beta2, eps):
    m = v = torch.zeros_like(params)
    for t, g in enumerate(gradients, 1):
        m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g**2
        params = params - rate * (1 - beta2**t) ** 0.5 / (1 - beta1**t) * m / (v**0.5 + eps)
    return params


def _in_one_tensor(params, gradients, rate, beta1, beta2, eps):
    m = v = torch.zeros_like(params)
    for t, g in enumerate(gradients, 1):
        m *= beta1
        m += (1 - beta1) * g
        v *= beta2
        v += (1 - beta2) * g**2
        params = params - rate * m / (1 - beta1**t) / ((v / (1 - beta2**t)) ** 0.5 + eps)
    return params


def _from_the_start(params, gradients, rate, beta1, beta2, eps):
    before = _stepped(params, gradients[:-1], rate, beta1, beta2, eps)
    return params + _stepped(params, gradients, rate, beta1, beta2, eps) - before


def _latest_for_mean(params, gradients, rate, beta1, beta2, eps):
    v = torch.zeros_like(params)
    for t, g in enumerate(gradients, 1):
        v = beta2 * v + (1 - beta2) * g**2
        params = params - rate * g / ((v / (1 - beta2**t)) ** 0.5 + eps)
    return params


adam.plant({
    "that adds eps before v is corrected: the shortcut of the paper moves eps. Correct v first, then √v_hat + eps":
        _shortcut,
    "m and v are one and the same tensor, which *= and += change in place; make two":
        _in_one_tensor,
    "the step takes the newest gradient g; it takes its average, m_hat":
        _latest_for_mean,
    "v is corrected with beta1; its own is beta2":
        lambda params, gradients, rate, beta1, beta2, eps: _stepped(
            params, gradients, rate, beta1, beta2, eps, v_bias=lambda beta, t: 1 - beta1**t),
    "in v the new square counts 1 − beta1; v has beta2 for both its shares":
        lambda params, gradients, rate, beta1, beta2, eps: _stepped(
            params, gradients, rate, beta1, beta2, eps,
            square=lambda g, m: (1 - beta1) * g**2 / (1 - beta2)),
    "that is (1 − beta)**t; the power belongs to beta alone, 1 − beta**t":
        lambda *given: _stepped(*given, m_bias=lambda beta, t: (1 - beta) ** t, v_bias=lambda beta, t: (1 - beta) ** t),
    "each correction is that of the last step, 1 − beta**len(gradients); t is the number of the step that is taken":
        lambda params, gradients, *more: _stepped(
            params, gradients, *more, m_bias=lambda beta, t: 1 - beta ** len(gradients),
            v_bias=lambda beta, t: 1 - beta ** len(gradients)),
    "v ** 1 / 2 is half of v: ** comes before /. The root is v**0.5":
        lambda *given: _stepped(*given, divide=lambda m, v, eps: m / (v / 2 + eps)),
    "the larger of √v and eps is taken; eps is added, √v + eps":
        lambda *given: _stepped(*given, divide=lambda m, v, eps: m / (v**0.5).clamp(min=eps)),
    "the bias correction is left out: m and v began at 0 and are too small at first; divide them by 1 − beta**t":
        lambda *given: _stepped(*given, m_bias=lambda beta, t: 1, v_bias=lambda beta, t: 1),
    "only v is corrected for its start at 0; m began at 0 as well":
        lambda *given: _stepped(*given, m_bias=lambda beta, t: 1),
    "only m is corrected for its start at 0; v began at 0 as well":
        lambda *given: _stepped(*given, v_bias=lambda beta, t: 1),
    "t begins at 0, and 1 − beta**0 is 0: something is divided by 0. The first step is step 1":
        lambda *given: _stepped(*given, first=0),
    "t begins at 2: the first step is step 1":
        lambda *given: _stepped(*given, first=2),
    "the correction of every step is that of the first: 1 − beta, without **t":
        lambda *given: _stepped(*given, m_bias=lambda beta, t: 1 - beta, v_bias=lambda beta, t: 1 - beta),
    "that is 1 − beta · t; after t steps the zero of the start still counts beta**t":
        lambda *given: _stepped(*given, m_bias=lambda beta, t: 1 - beta * t, v_bias=lambda beta, t: 1 - beta * t),
    "the corrected averages are carried on into the next step; keep m and v, and correct copies":
        lambda *given: _stepped(*given, kept=True),
    "epsilon is inside the root: it is added to the root of v, √v + eps":
        lambda *given: _stepped(*given, divide=lambda m, v, eps: m / (v + eps) ** 0.5),
    "eps is missing, or a number of its own stands in its place":
        lambda *given: _stepped(*given, divide=lambda m, v, eps: m / v**0.5),
    "epsilon is added to the step, not to what it is divided by: m / (√v + eps), with parentheses":
        (
            lambda *given: _stepped(*given, divide=lambda m, v, eps: m / v**0.5 + eps),
            lambda params, gradients, rate, beta1, beta2, eps: _stepped(
                params, gradients, rate, beta1, beta2, eps, divide=lambda m, v, eps: m / v**0.5 - eps / rate),
        ),
    "the betas are 0.9 and 0.999, whatever is given; take beta1 and beta2":
        lambda params, gradients, rate, beta1, beta2, eps: _stepped(params, gradients, rate, 0.9, 0.999, eps),
    "the rate is 0.1, whatever is given; take rate":
        lambda params, gradients, rate, *more: _stepped(params, gradients, 0.1, *more),
    "betas and eps are the usual ones (0.9, 0.999, 1e-8), whatever is given; take beta1, beta2 and eps. PyTorch's Adam "
    "takes betas=(beta1, beta2), eps=eps":
        lambda params, gradients, rate, beta1, beta2, eps: _stepped(params, gradients, rate, 0.9, 0.999, 1e-8),
    "rate, betas and eps are those of the ravine (0.1, 0.9, 0.999, 1e-8); take those that are given":
        lambda params, gradients, rate, beta1, beta2, eps: _stepped(params, gradients, 0.1, 0.9, 0.999, 1e-8),
    "every step begins at the params that were given, so that only the last is left; go on from where the one before "
    "has ended":
        _from_the_start,
    "beta1 is used for both averages; v has beta2":
        lambda params, gradients, rate, beta1, beta2, eps: _stepped(params, gradients, rate, beta1, beta1, eps),
    "beta2 is used for both averages; m has beta1":
        lambda params, gradients, rate, beta1, beta2, eps: _stepped(params, gradients, rate, beta2, beta2, eps),
    "the averages are multiplied by 1 − beta**t, and become smaller still; divide by it":
        lambda *given: _stepped(
            *given, m_bias=lambda beta, t: 1 / (1 - beta**t), v_bias=lambda beta, t: 1 / (1 - beta**t)),
    "m and v are set to 0 at every step and forget what came before; set them once, before the loop":
        lambda *given: _stepped(*given, anew=True),
    "the root is missing: divided by v, a step shrinks when its gradient grows":
        lambda *given: _stepped(*given, divide=lambda m, v, eps: m / (v + eps)),
    "v is left out: that is an averaged gradient, and every parameter has the same rate":
        lambda *given: _stepped(*given, divide=lambda m, v, eps: m),
    "the steps go uphill: subtract":
        lambda params, gradients, rate, *more: _stepped(params, gradients, -rate, *more),
    "the betas are exchanged: beta1 is for the mean m, beta2 for the squares v":
        lambda params, gradients, rate, beta1, beta2, eps: _stepped(params, gradients, rate, beta2, beta1, eps),
    "the shares are exchanged: the old average keeps beta of itself, the new gradient counts 1 − beta":
        lambda params, gradients, rate, beta1, beta2, eps: _stepped(
            params, gradients, rate, 1 - beta1, 1 - beta2, eps, m_bias=lambda beta, t: 1 - (1 - beta) ** t,
            v_bias=lambda beta, t: 1 - (1 - beta) ** t),
    "the new gradient counts whole: m and v are then sums; in an average it counts 1 − beta":
        lambda *given: _stepped(*given, new=0),
    "v averages the gradients' sizes; it is the average of their squares":
        lambda *given: _stepped(*given, square=lambda g, m: g.abs()),
    "v averages the squares of m; it is the average of the gradients' squares, g**2":
        lambda *given: _stepped(*given, square=lambda g, m: m**2),
    "v is one number for all parameters; each has its own":
        (
            lambda *given: _stepped(*given, square=lambda g, m: (g**2).mean().expand_as(g)),
            lambda *given: _stepped(*given, square=lambda g, m: (g**2).sum().expand_as(g)),
        ),
    "that is plain descent: rate · g, without the averages":
        lambda params, gradients, rate, beta1, beta2, eps: params - rate * gradients.sum(0),
})  # fmt: skip


# One length for all gradients -----------------------------------------------------------------------------------------


def _sets_of_gradients():
    """Too long together though each is short enough, long, short, of just the right length, and all 0.

    The second to fourth tell the length from its square, from the sum of the lengths, and the limit from 1.
    """
    yield [torch.tensor([3.0]).double(), torch.tensor([4.0]).double()], 4.5
    yield [torch.tensor([3.0]).double(), torch.tensor([4.0]).double()], 6.0
    yield [torch.tensor([0.3]).double(), torch.tensor([0.4]).double()], 0.4
    yield [torch.tensor([1.2]).double(), torch.tensor([1.6]).double()], 6.0
    yield [_draw(2, 3), 4 * _draw(3), 0.1 * _draw(1)], 2.0
    yield [0.01 * _draw(4), 0.02 * _draw(2, 2)], 1.0
    yield [torch.tensor([[6.0, 0.0]]).double(), torch.tensor([-8.0]).double()], 10.0
    yield [5 * _draw(3, 2, 2)], 0.5
    yield [torch.zeros(2).double(), torch.zeros(1, 3).double()], 1.0


@exercise(
    "gradients.clip",
    title="One length for all gradients",
    prompt="Clip: where all gradients together are longer than max_norm, shorten them all by the same factor.",
    hints=(
        "All numbers of all tensors are one long arrow. Its length is the root of the sum of all their squares.",
        "Longer than max_norm: multiply each tensor by max_norm / length. Otherwise leave them as they are.",
    ),
    inputs=_sets_of_gradients,
    keeps=("gradients",),
    difficulty=2,
    minutes=8,
)
def clip(gradients, max_norm):
    """gradients: a list of tensors; max_norm: the limit for all together.
    Returns a list of new tensors of their shapes.
    """
    length = sum((g**2).sum() for g in gradients) ** 0.5
    factor = max_norm / length if length > max_norm else 1.0
    return [factor * g for g in gradients]


def _shortened(gradients, max_norm, length, *, always=False, compared=None):
    """`clip` by another length; `compared`: what is compared with max_norm in its place."""
    too_long = always or (length if compared is None else compared) > max_norm
    return [g * (max_norm / length if too_long else 1.0) for g in gradients]


def _all(gradients):
    return torch.cat([g.flatten() for g in gradients])


def _in_one_piece(gradients, max_norm):
    return _all(_shortened(gradients, max_norm, _all(gradients).norm()))


clip.plant({
    "one joined tensor comes back; return a list, a tensor of its own shape for each":
        (
            _in_one_piece,
            lambda gradients, max_norm: (
                _in_one_piece(gradients, max_norm) if _all(gradients).norm() > max_norm else list(gradients)),
        ),
    "all are divided by their length, always: together they get the length 1. Multiply by max_norm / length, and only "
    "what is too long":
        lambda gradients, max_norm: [g / _all(gradients).norm() for g in gradients],
    "the limit is divided among the tensors; it is for the length of all together, which their own are no shares of":
        lambda gradients, max_norm: [
            _shortened([g], max_norm / len(gradients), g.norm())[0] for g in gradients],
    "the mean of the tensors' lengths is taken; take the length of all together":
        lambda gradients, max_norm: _shortened(
            gradients, max_norm, sum(g.norm() for g in gradients) / len(gradients)),
    "the length is that of the first tensor alone; all numbers of all tensors count":
        lambda gradients, max_norm: _shortened(gradients, max_norm, gradients[0].norm()),
    "all stay as they are unless one tensor by itself is too long; compare the length of all together":
        lambda gradients, max_norm: _shortened(
            gradients, max_norm, _all(gradients).norm(), compared=max(g.norm() for g in gradients)),
    "the square of the length is compared with max_norm; compare the length":
        lambda gradients, max_norm: _shortened(
            gradients, max_norm, _all(gradients).norm(), compared=(_all(gradients) ** 2).sum()),
    "the sum of the tensors' lengths is compared with max_norm; compare the length of all together":
        lambda gradients, max_norm: _shortened(
            gradients, max_norm, _all(gradients).norm(), compared=sum(g.norm() for g in gradients)),
    "the length is compared with 1; compare it with max_norm":
        lambda gradients, max_norm: _shortened(
            gradients, max_norm, _all(gradients).norm(), always=_all(gradients).norm() > 1, compared=-1),
    "the comparison is turned round: what is short is made longer, what is too long stays":
        lambda gradients, max_norm: _shortened(
            gradients, max_norm, _all(gradients).norm(), always=_all(gradients).norm() < max_norm, compared=-1),
    "the factor is made from the longest tensor alone; all numbers of all tensors count":
        lambda gradients, max_norm: _shortened(gradients, max_norm, max(g.norm() for g in gradients)),
    "only the tensors that are too long by themselves are shortened; the factor is for all":
        lambda gradients, max_norm: [
            g * (max_norm / _all(gradients).norm() if g.norm() > max_norm else 1.0) for g in gradients],
    "a tensor's numbers are added, then squared; square each, then add":
        lambda gradients, max_norm: _shortened(gradients, max_norm, sum(g.sum() ** 2 for g in gradients) ** 0.5),
    "each tensor is clipped by its own length: the factors differ, and the whole arrow turns. Take one length and one "
    "factor for all":
        lambda gradients, max_norm: [_shortened([g], max_norm, g.norm())[0] for g in gradients],
    "each number is cut at ±max_norm: that turns the arrow. Multiply all by the same factor":
        lambda gradients, max_norm: [g.clamp(-max_norm, max_norm) for g in gradients],
    "the numbers are limited to max_norm by their largest; what counts is the length of all together":
        lambda gradients, max_norm: _shortened(gradients, max_norm, _all(gradients).abs().max()),
    "gradients that are short enough are made longer; leave them as they are":
        lambda gradients, max_norm: _shortened(gradients, max_norm, _all(gradients).norm() + 1e-300, always=True),
    "gradients of length 0 give NaN, and short ones are made longer: shorten only what is longer than max_norm":
        lambda gradients, max_norm: _shortened(gradients, max_norm, _all(gradients).norm(), always=True),
    "the root is missing: the length is the root of the sum of squares":
        lambda gradients, max_norm: _shortened(gradients, max_norm, (_all(gradients) ** 2).sum()),
    "the lengths of the tensors are added; add their squares, then take the root":
        lambda gradients, max_norm: _shortened(gradients, max_norm, sum(g.norm() for g in gradients)),
    "that is the mean of the squares, not their sum":
        lambda gradients, max_norm: _shortened(gradients, max_norm, (_all(gradients) ** 2).mean() ** 0.5),
    "the sizes of the numbers are added; the length is the root of the sum of their squares":
        lambda gradients, max_norm: _shortened(gradients, max_norm, _all(gradients).abs().sum()),
    "what is too long gets the length 1; it should get max_norm":
        lambda gradients, max_norm: [
            g / _all(gradients).norm() if _all(gradients).norm() > max_norm else g * 1.0 for g in gradients],
    "the factor is upside down: max_norm / length makes them shorter":
        lambda gradients, max_norm: [
            g * (max(_all(gradients).norm() / max_norm, 1.0)) for g in gradients],
    "the gradients come back as they are":
        lambda gradients, max_norm: [g.clone() for g in gradients],
})  # fmt: skip


EXERCISES = (last_states, slope_of_shared, adam, clip)
PREDICTIONS = (
    Prediction(
        id="gradients.who_remembers",
        text=(
            "Four small networks read a list of 12 words and are asked for the first: a plain recurrent network, two "
            "with gates (LSTM, GRU), and one with attention. After 200 steps of training, which find it?"
        ),
        options=(
            "all four",
            "the LSTM, the GRU and attention",
            "only attention",
            "the GRU and attention",
        ),
    ),
    Prediction(
        id="gradients.scaled",
        text="The loss is multiplied by 1,000. What becomes of the rate at which Adam, a way to take steps, does best?",
        options=("1,000 times smaller", "about 30 times smaller", "stays where it was", "1,000 times larger"),
    ),
)

QUESTIONS = (
    Question(
        id="gradients.same_matrix",
        text="A recurrent network with 24 numbers in its state reads lists of 12 words. Now it shall read 24 words. …",
        options=(
            "It needs twice as many parameters",
            "It needs no new parameter, and its slopes go through twice as many steps",
            "It needs no new parameter, and nothing else changes either",
            "It cannot read them: it was made for 12",
        ),
        answer=1,
        why=(
            "Every step uses the same W, U and b.",
            "Shared weights do for any length. The chain from the first word to the answer is twice as long.",
            "It can read them. But the chain along which slopes are multiplied has twice as many steps.",
            "The loop goes on as long as there are words.",
        ),
    ),
    Question(
        id="gradients.forget_gate",
        text="What did the forget gate's bias of 2 change in the LSTM when it was made?",
        options=(
            "It has more parameters",
            "It learns at a higher rate",
            "A cell keeps about 0.9 of itself at each step, so that slopes shrink less on the way back",
            "Words are added to the cell more strongly",
        ),
        answer=2,
        why=(
            "The bias was there before; 24 of its 96 numbers were set to another value.",
            "Rate, steps and data were the same.",
            "The gate is the factor of that path: 0.525 to the power of 12 is 0.0004, 0.866 to the power of 12 is 0.2.",
            "That is the input gate's task; it was left alone.",
        ),
    ),
    Question(
        id="gradients.sgd_scaled",
        text="Somebody sums the loss over a batch of 32 where you take the mean. You both use SGD. Which rate is fair?",
        options=("The same", "A 32nd of yours for the sum", "32 times yours for the sum", "Its root: about a sixth"),
        answer=1,
        why=(
            "The sum's gradients are 32 times as long, so their steps would be too.",
            "Gradients are 32 times as long, the rate a 32nd: the steps are the same, one by one.",
            "Then steps would be 32 · 32 times as long as yours.",
            "A step is rate times gradient; nothing in it takes a root.",
        ),
    ),
)
