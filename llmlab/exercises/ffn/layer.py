"""Exercises, questions and predictions of notebook 08a_ffn_layer."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

from ..records import Prediction, Question, exercise

# Expand, bend, project ------------------------------------------------------------------------------------------------


def _layers():
    """One token and several; more units than numbers and fewer; biases as large as the products."""
    for n_tokens, width, d_ff in ((1, 2, 3), (2, 3, 5), (4, 2, 7), (3, 5, 4)):
        yield (
            torch.randn(n_tokens, width),
            torch.randn(d_ff, width),
            torch.randn(d_ff),
            torch.randn(width, d_ff),
            torch.randn(width),
        )


@exercise(
    "ffn.layer",
    title="Expand, bend, project",
    prompt="A feed-forward layer with ReLU as its bend: what does it add to each token?",
    hints=(
        "The questions are the rows of w_up: x @ w_up.T is (T, F), each token's product with each of them.",
        "Add b_up before the bend, which then keeps what is above 0: relu() of the sum is (T, F).",
        "The answers are the columns of w_down, so the end is hidden @ w_down.T + b_down, (T, D), without a bend.",
    ),
    inputs=_layers,
    keeps=("x", "w_up", "b_up", "w_down", "b_down"),
    difficulty=2,
    minutes=10,
)
def layer(x, w_up, b_up, w_down, b_down):
    """x (T, D), w_up (F, D), b_up (F,), w_down (D, F), b_down (D,) -> (T, D).

    A row of w_up is a question, b_up minus its threshold; a column of w_down is its answer.
    """
    hidden = (x @ w_up.T + b_up).relu()  # (T, F)
    return hidden @ w_down.T + b_down


layer.plant({
    "the projection stands before the bend: both matrices are applied and then the result is bent. The bend belongs "
    "between the two, on the F units":
        (
            lambda x, w_up, b_up, w_down, b_down: ((x @ w_up.T + b_up) @ w_down.T + b_down).relu(),
            lambda x, w_up, b_up, w_down, b_down: ((x @ w_up.T + b_up) @ w_down.T).relu() + b_down,
        ),
    "there is no bend: two matrices in a row are one matrix. Put relu() on the F units":
        lambda x, w_up, b_up, w_down, b_down: (x @ w_up.T + b_up) @ w_down.T + b_down,
    "the result is bent too: what a layer adds may be negative. Only the units are bent":
        (
            lambda x, w_up, b_up, w_down, b_down: layer.answer(x, w_up, b_up, w_down, b_down).relu(),
            lambda x, w_up, b_up, w_down, b_down: layer.answer(x, w_up, b_up, w_down, 0 * b_down).relu() + b_down,
        ),
    "the bend stands before b_up is added: b_up comes on top of what was bent already. Add it before relu()":
        lambda x, w_up, b_up, w_down, b_down: ((x @ w_up.T).relu() + b_up) @ w_down.T + b_down,
    "the biases b_up are missing":
        lambda x, w_up, b_up, w_down, b_down: (x @ w_up.T).relu() @ w_down.T + b_down,
    "b_down is missing at the end":
        lambda x, w_up, b_up, w_down, b_down: (x @ w_up.T + b_up).relu() @ w_down.T,
    "both biases are missing":
        lambda x, w_up, b_up, w_down, b_down: (x @ w_up.T).relu() @ w_down.T,
    "the units are put through a softmax, so that they share out a sum of 1. Here each answers for itself: relu()":
        (
            lambda x, w_up, b_up, w_down, b_down: (x @ w_up.T + b_up).softmax(-1) @ w_down.T + b_down,
            lambda x, w_up, b_up, w_down, b_down: (x @ w_up.T + b_up).relu().softmax(-1) @ w_down.T + b_down,
        ),
    "the softmax runs over the tokens: each would then depend on the others. There is none here: relu()":
        lambda x, w_up, b_up, w_down, b_down: (x @ w_up.T + b_up).softmax(0) @ w_down.T + b_down,
    "the tokens are averaged: every token gets the same. The layer works on each token alone":
        (
            lambda x, w_up, b_up, w_down, b_down: layer.answer(x, w_up, b_up, w_down, b_down).mean(0).expand_as(x),
            lambda x, w_up, b_up, w_down, b_down: layer.answer(
                x.mean(0, keepdim=True), w_up, b_up, w_down, b_down
            ).expand_as(x),
            lambda x, w_up, b_up, w_down, b_down: (
                (x @ w_up.T + b_up).relu().mean(0, keepdim=True) @ w_down.T + b_down
            ).expand_as(x),
        ),
    "one vector came back for all tokens; each token has its own":
        (
            lambda x, w_up, b_up, w_down, b_down: layer.answer(x, w_up, b_up, w_down, b_down).mean(0),
            lambda x, w_up, b_up, w_down, b_down: layer.answer(x, w_up, b_up, w_down, b_down).sum(0),
        ),
    "x is in the sum: asked is what the layer adds, without the stream that it is added to":
        lambda x, w_up, b_up, w_down, b_down: x + layer.answer(x, w_up, b_up, w_down, b_down),
    "the bend is the wrong way round: it keeps what is below 0":
        (
            lambda x, w_up, b_up, w_down, b_down: (x @ w_up.T + b_up).clamp(max=0) @ w_down.T + b_down,
            lambda x, w_up, b_up, w_down, b_down: (-(x @ w_up.T + b_up)).relu() @ w_down.T + b_down,
        ),
    "the sign of what is below 0 is turned, as abs() does; relu() makes it 0":
        lambda x, w_up, b_up, w_down, b_down: (x @ w_up.T + b_up).abs() @ w_down.T + b_down,
    "that only says which units are above 0; relu() also says how far":
        lambda x, w_up, b_up, w_down, b_down: (x @ w_up.T + b_up > 0).float() @ w_down.T + b_down,
    "that is the bend of another model, GELU or SiLU; here it is relu()":
        (
            lambda x, w_up, b_up, w_down, b_down: F.gelu(x @ w_up.T + b_up) @ w_down.T + b_down,
            lambda x, w_up, b_up, w_down, b_down: F.silu(x @ w_up.T + b_up) @ w_down.T + b_down,
        ),
    "b_up is subtracted; it is the threshold with a minus already, so it is added":
        lambda x, w_up, b_up, w_down, b_down: (x @ w_up.T - b_up).relu() @ w_down.T + b_down,
    "b_up is subtracted (it is the threshold with a minus already, so it is added), and b_down is missing":
        lambda x, w_up, b_up, w_down, b_down: (x @ w_up.T - b_up).relu() @ w_down.T,
    "past its threshold a unit gives its whole product with the question; it gives how far that lies above: "
    "(x @ w_up.T + b_up).relu()":
        lambda x, w_up, b_up, w_down, b_down: (
            torch.where(x @ w_up.T + b_up > 0, x @ w_up.T, 0.0) @ w_down.T + b_down
        ),
})  # fmt: skip


# GELU, the exact one --------------------------------------------------------------------------------------------------


def _numbers():
    """0, both signs, small and large numbers, and where the two forms of GELU lie farthest apart."""
    yield (torch.tensor([0.0, 1.0, -1.0]),)
    yield (torch.linspace(-4, 4, 33).view(3, 11),)
    yield (torch.tensor([[2.7, -2.7], [30.0, -30.0]]),)
    yield (3 * torch.randn(2, 3, 4),)


@exercise(
    "ffn.gelu",
    title="GELU, the exact one",
    prompt="x times the share of a normal distribution that lies below x. Write it with torch.erf.",
    hints=(
        "torch.erf gives −1 to 1. The share below x is (1 + erf(x / √2)) / 2.",
        "2**0.5 is √2. At x = 0 the share is one half, and the result 0.",
        "Multiply the share by x itself: x * (1 + torch.erf(x / 2**0.5)) / 2.",
    ),
    inputs=_numbers,
    keeps=("x",),
    forbids=("gelu",),
    difficulty=1,
    minutes=7,
)
def exact_gelu(x):
    """x, any shape -> the same shape: x · Φ(x), where Φ(x) is the share below x."""
    share = (1 + torch.erf(x / 2**0.5)) / 2
    return x * share


def _tanh_form(x):
    return x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2


exact_gelu.plant({
    "that is GELU's tanh form, which GPT-2 has: it lies within 0.0005 of the exact one and is not it. Use torch.erf":
        _tanh_form,
    "that is x · σ(1.702 x), another stand-in for GELU, up to 0.02 off. Use torch.erf":
        lambda x: x * torch.sigmoid(1.702 * x),
    "that is SiLU, x · σ(x); GELU takes the normal distribution's share for σ":
        lambda x: x * torch.sigmoid(x),
    "the √2 is missing: erf(x) is the share of a narrower distribution. Divide x by √2 inside":
        lambda x: x * (1 + torch.erf(x)) / 2,
    "x is multiplied by √2 inside; divide":
        lambda x: x * (1 + torch.erf(x * math.sqrt(2))) / 2,
    "x is divided by 2 inside; divide by √2":
        lambda x: x * (1 + torch.erf(x / 2)) / 2,
    "x itself is missing: that is the share Φ(x) alone":
        lambda x: (1 + torch.erf(x / math.sqrt(2))) / 2,
    "the half is missing: everything is twice as large":
        lambda x: x * (1 + torch.erf(x / math.sqrt(2))),
    "the 1 is missing: erf runs from −1 to 1, and a share from 0 to 1":
        (
            lambda x: x * torch.erf(x / math.sqrt(2)),
            lambda x: x * torch.erf(x / math.sqrt(2)) / 2,
        ),
    "the 1 and the √2 are missing: the share is (1 + erf(x / √2)) / 2":
        lambda x: x * torch.erf(x),
    "only the 1 is halved: erf is halved too, (1 + erf(x / √2)) / 2":
        lambda x: x * (0.5 + torch.erf(x / math.sqrt(2))),
    "the √2 stands outside erf; x is divided by it inside, erf(x / √2)":
        (
            lambda x: x * (1 + torch.erf(x) / math.sqrt(2)) / 2,
            lambda x: x * (1 + torch.erf(x)) / math.sqrt(2),
        ),
    "that is ReLU":
        lambda x: x.relu(),
    "x is multiplied by the height of the bell curve; take the share below x":
        lambda x: x * torch.exp(-(x**2) / 2) / math.sqrt(2 * math.pi),
    "that is the share above x; take the one below":
        lambda x: x * (1 - torch.erf(x / math.sqrt(2))) / 2,
})  # fmt: skip


# Gate and up, joined in one matrix ------------------------------------------------------------------------------------


def _joined():
    """One token and several; d_ff above and below the width, odd and even."""
    for n_tokens, width, d_ff in ((1, 2, 1), (1, 2, 2), (2, 3, 5), (4, 5, 3), (3, 2, 6)):
        yield torch.randn(n_tokens, width), torch.randn(2 * d_ff, width), torch.randn(width, d_ff)


@exercise(
    "ffn.gated",
    title="Gate and up, joined",
    prompt="A SwiGLU layer whose first two matrices are stored as one, as in Phi-3: the gate's F rows, then up's. It "
    "runs and is wrong. Mend it.",
    hints=(
        "The first F rows of w_gate_up are the gate's. Which name does the first half of the product get here?",
        "chunk gives the halves in the order of the rows: the gate first, up second.",
        "gate, up = (x @ w_gate_up.T).chunk(2, dim=-1), and silu() belongs on the gate.",
    ),
    inputs=_joined,
    keeps=("x", "w_gate_up", "w_down"),
    difficulty=1,
    minutes=4,
)
def gated(x, w_gate_up, w_down):
    """x (T, D), w_gate_up (2F, D), w_down (D, F) -> (T, D): w_down · (silu(gate) * up)."""
    gate, up = (x @ w_gate_up.T).chunk(2, dim=-1)  # (T, F) each
    return (F.silu(gate) * up) @ w_down.T


@gated.mend(
    "gate and up are exchanged: the activation stands on the wrong branch. The first F rows are the gate's, and "
    "silu() belongs on them"
)
def _exchanged(x, w_gate_up, w_down):
    up, gate = (x @ w_gate_up.T).chunk(2, dim=-1)  # (T, F) each
    return (F.silu(gate) * up) @ w_down.T


def _swiglu(x, w_gate_up, w_down, *, bend=F.silu, join=torch.mul, after=lambda h: h):
    gate, up = (x @ w_gate_up.T).chunk(2, dim=-1)
    return after(join(bend(gate), up)) @ w_down.T


def _in_turn(x, w_gate_up, w_down):
    return (F.silu(x @ w_gate_up[0::2].T) * (x @ w_gate_up[1::2].T)) @ w_down.T


gated.plant({
    "silu() is on both branches; up stays as it is":
        lambda x, w_gate_up, w_down: _swiglu(x, w_gate_up, w_down, join=lambda gate, up: gate * F.silu(up)),
    "silu() is on the product; it belongs on the gate, before the two are multiplied":
        lambda x, w_gate_up, w_down: _swiglu(x, w_gate_up, w_down, bend=lambda gate: gate, after=F.silu),
    "there is no activation: the two branches are only multiplied":
        lambda x, w_gate_up, w_down: _swiglu(x, w_gate_up, w_down, bend=lambda gate: gate),
    "gate and up are added; they are multiplied, number by number":
        (
            lambda x, w_gate_up, w_down: _swiglu(x, w_gate_up, w_down, join=torch.add),
            lambda x, w_gate_up, w_down: _swiglu(x, w_gate_up, w_down, bend=lambda gate: gate, join=torch.add,
                                                 after=F.silu),
        ),
    "the gate is a sigmoid: that is the older GLU. silu(g) is g · σ(g)":
        lambda x, w_gate_up, w_down: _swiglu(x, w_gate_up, w_down, bend=torch.sigmoid),
    "gate and up are exchanged, and the gate is a sigmoid. The first F rows are the gate's, and silu() belongs on them":
        lambda x, w_gate_up, w_down: _swiglu(x, w_gate_up.roll(len(w_gate_up) // 2, 0), w_down, bend=torch.sigmoid),
    "w_gate_up is applied without .T; its rows are what is multiplied with each token: x @ w_gate_up.T":
        lambda x, w_gate_up, w_down: _swiglu(x, w_gate_up.T, w_down),
    "the gate goes through GELU: that is GeGLU. Here it is silu()":
        (
            lambda x, w_gate_up, w_down: _swiglu(x, w_gate_up, w_down, bend=F.gelu),
            lambda x, w_gate_up, w_down: _swiglu(x, w_gate_up, w_down, bend=_tanh_form),
        ),
    "the gate goes through ReLU: that is ReGLU. Here it is silu()":
        lambda x, w_gate_up, w_down: _swiglu(x, w_gate_up, w_down, bend=torch.relu),
    "the rows are taken in turn, gate, up, gate, up; here all of the gate's come first":
        _in_turn,
    "the rows are taken in turn, and the activation stands on the wrong branch; here all of the gate's come first":
        lambda x, w_gate_up, w_down: (F.silu(x @ w_gate_up[1::2].T) * (x @ w_gate_up[0::2].T)) @ w_down.T,
    "the projection stands before the gate: w_down is applied to up alone, or to gate and up apart, which is another "
    "layer. Multiply the F units first":
        lambda x, w_gate_up, w_down: (lambda gate, up: F.silu(gate @ w_down.T) * (up @ w_down.T))(
            *(x @ w_gate_up.T).chunk(2, -1)
        ),
    "a softmax shares out the units; silu() lets each answer for itself":
        lambda x, w_gate_up, w_down: _swiglu(x, w_gate_up, w_down, bend=lambda gate: gate.softmax(-1)),
})  # fmt: skip


# The width of a gated layer -------------------------------------------------------------------------------------------


def _widths():
    """Published shapes and small ones: with a factor or without, a multiple already, just above one, and of 1."""
    yield 6, 1.0, 1
    yield 9, 1.0, 8
    yield 96, 1.0, 32
    yield 4096, 1.0, 256
    yield 5120, 1.0, 256
    yield 4096, 1.3, 1024
    yield 8192, 1.3, 4096
    yield 2048, 1.5, 256
    yield 200, 1.0, 7
    yield 100, 1.25, 1


@exercise(
    "ffn.width",
    title="As wide as Llama",
    prompt="How many units does Llama's rule give? Begin with two thirds of 4 · d_model.",
    hints=(
        "wide = int(2 * (4 * d_model) / 3) cuts off what is behind the point.",
        "Then int(factor * wide). The rounding comes last.",
        "Upwards to a multiple: add multiple − 1, divide by it with //, and multiply by it again.",
    ),
    inputs=_widths,
    difficulty=2,
    minutes=7,
)
def width(d_model, factor, multiple):
    """Three numbers -> a whole number: the width d_ff.

    Two thirds of 4 · d_model, cut to a whole number; times factor, cut again; then rounded up
    to a multiple of `multiple`.
    """
    wide = int(2 * (4 * d_model) / 3)
    wide = int(factor * wide)
    return multiple * ((wide + multiple - 1) // multiple)


def _up(wide, multiple):
    return multiple * -(-wide // multiple)


width.plant({
    "nothing is rounded to a multiple: 8/3 of the width is rarely a number that a processor's blocks divide":
        lambda d_model, factor, multiple: int(factor * int(8 * d_model / 3)),
    "that is rounded down to a multiple; round up":
        lambda d_model, factor, multiple: int(factor * int(8 * d_model / 3)) // multiple * multiple,
    "that is rounded to the nearest multiple; round up":
        lambda d_model, factor, multiple: round(int(factor * int(8 * d_model / 3)) / multiple) * multiple,
    "a width that is a multiple already gets one more; it should stay":
        lambda d_model, factor, multiple: (int(factor * int(8 * d_model / 3)) // multiple + 1) * multiple,
    "the factor is not used":
        lambda d_model, factor, multiple: _up(int(8 * d_model / 3), multiple),
    "the rounding comes before the factor; it is the last step":
        (
            lambda d_model, factor, multiple: int(factor * _up(int(8 * d_model / 3), multiple)),
            lambda d_model, factor, multiple: _up(int(factor * _up(int(8 * d_model / 3), multiple)), multiple),
        ),
    "that is 4 · d_model, the width of a layer without a gate; a gated one has three matrices and takes two thirds":
        lambda d_model, factor, multiple: _up(int(factor * 4 * d_model), multiple),
    "two thirds of the width itself are taken; begin with four times the width":
        lambda d_model, factor, multiple: _up(int(factor * int(2 * d_model / 3)), multiple),
    "the thirds are turned round, 3/2 in place of 2/3":
        lambda d_model, factor, multiple: _up(int(factor * int(3 * 4 * d_model / 2)), multiple),
    "a width is rounded up or to the nearest whole number, or not cut at all; cut off what is behind the point with "
    "int(), both times":
        (
            lambda d_model, factor, multiple: _up(round(factor * round(8 * d_model / 3)), multiple),
            lambda d_model, factor, multiple: _up(math.ceil(factor * math.ceil(8 * d_model / 3)), multiple),
        ),
    "a width is cut only once; cut it before the factor, and again after it":
        (
            lambda d_model, factor, multiple: _up(int(factor * 8 * d_model / 3), multiple),
            lambda d_model, factor, multiple: math.ceil(factor * int(8 * d_model / 3) / multiple) * multiple,
        ),
    "that is how many times `multiple` fits in; multiply by it again":
        lambda d_model, factor, multiple: _up(int(factor * int(8 * d_model / 3)), multiple) // multiple,
    "* and // run from left to right, so that nothing is rounded; put the division in brackets":
        lambda d_model, factor, multiple: multiple * (int(factor * int(8 * d_model / 3)) + multiple - 1) // multiple,
})  # fmt: skip


# Only the largest units -----------------------------------------------------------------------------------------------


def _units():
    """Both signs, so that the largest is often negative; k of 1, some and all; tokens whose largest units differ."""
    yield torch.tensor([[0.5, -2.0, 1.0]]), 1
    yield torch.tensor([[3.0, -0.1, 0.2, -4.0], [0.3, 5.0, -6.0, 1.0]]), 2
    for shape, k in (((3, 6), 2), ((2, 3, 5), 3), ((4, 4), 4), ((2, 2, 8), 1)):
        sizes = torch.stack([torch.randperm(shape[-1]) + 1 for _ in range(math.prod(shape[:-1]))])
        yield (
            sizes.view(shape)
            * torch.where(torch.rand(shape) < 0.5, -1.0, 1.0)
            * (0.5 + torch.rand(shape[:-1])[..., None]),
            k,
        )


@exercise(
    "ffn.top_k",
    title="Only the largest units",
    prompt="Keep of each token the k units whose numbers are largest, whatever their sign, and make the others 0.",
    hints=(
        "hidden.abs().topk(k, dim=-1).indices says which units of each token stay: (..., k).",
        "Make zeros of hidden's shape, and copy the numbers themselves to these places, with their signs.",
        "torch.zeros_like(hidden).scatter(-1, places, hidden.gather(-1, places)) does both.",
    ),
    inputs=_units,
    keeps=("hidden",),
    difficulty=2,
    minutes=7,
)
def keep_largest(hidden, k):
    """hidden (..., F) -> a new (..., F): of each row the k numbers with the largest abs(), else 0."""
    places = hidden.abs().topk(k, dim=-1).indices  # (..., k)
    return torch.zeros_like(hidden).scatter(-1, places, hidden.gather(-1, places))


def _kept(hidden, places):
    return torch.zeros_like(hidden).scatter(-1, places, hidden.gather(-1, places))


def _same_for_all(hidden, k):
    sizes = hidden.abs().flatten(0, -2).mean(0)
    return _kept(hidden, sizes.topk(k).indices.expand(*hidden.shape[:-1], k))


def _largest_of_all(hidden, n):
    return _kept(hidden.flatten(), hidden.abs().flatten().topk(n).indices).view_as(hidden)


def _every_place(hidden, k):
    kept, places = torch.zeros_like(hidden), hidden.abs().topk(k, -1).indices
    kept[..., places] = hidden[..., places]
    return kept


def _in_place(hidden, k):
    kept = keep_largest.answer(hidden, k)
    hidden.copy_(kept)
    return hidden


keep_largest.plant({
    "the largest numbers are kept, and a large negative one is lost; compare sizes, hidden.abs()":
        lambda hidden, k: _kept(hidden, hidden.topk(k, -1).indices),
    "the signs are lost: the sizes are kept. Choose by size, and keep the number itself":
        lambda hidden, k: keep_largest.answer(hidden, k).abs(),
    "all tokens keep the same units, those that are large on average; each token has its own":
        _same_for_all,
    "all tokens keep the units of the first one; each has its own":
        lambda hidden, k: _kept(
            hidden, hidden.flatten(0, -2)[0].abs().topk(k).indices.expand(*hidden.shape[:-1], k)
        ),
    "the smallest are kept":
        lambda hidden, k: _kept(hidden, hidden.abs().topk(k, -1, largest=False).indices),
    "the k largest are the ones made 0; keep them and make the others 0":
        lambda hidden, k: hidden - keep_largest.answer(hidden, k),
    "the k numbers came back without their places; the others are to be 0 where they stood, (..., F)":
        (
            lambda hidden, k: hidden.gather(-1, hidden.abs().topk(k, -1).indices),
            lambda hidden, k: hidden.abs().topk(k, -1).values,
        ),
    "the first k units are kept, whatever is in them":
        lambda hidden, k: hidden * (torch.arange(hidden.shape[-1]) < k),
    "what is kept is made larger to make up for the rest; keep the numbers as they are":
        (
            lambda hidden, k: keep_largest.answer(hidden, k) * hidden.shape[-1] / k,
            lambda hidden, k: (lambda kept: kept * hidden.norm(dim=-1, keepdim=True)
                               / kept.norm(dim=-1, keepdim=True))(keep_largest.answer(hidden, k)),
        ),
    "that says which units stay, as ones; the numbers themselves are asked":
        (
            lambda hidden, k: (keep_largest.answer(hidden, k) != 0).float(),
            lambda hidden, k: keep_largest.answer(hidden, k) != 0,
        ),
    "one unit too few is kept: it must be at least the k-th largest, >= and not >":
        lambda hidden, k: hidden * (hidden.abs() > hidden.abs().topk(k, -1).values[..., -1:]),
    "the largest of all tokens together are kept; each token keeps k of its own: dim=-1":
        (
            lambda hidden, k: _largest_of_all(hidden, k),
            lambda hidden, k: _largest_of_all(hidden, k * (hidden.numel() // hidden.shape[-1])),
        ),
    "topk looks along the first dimension, one token after the other; the units are the last: dim=-1":
        lambda hidden, k: (lambda places: torch.zeros_like(hidden).scatter(0, places, hidden.gather(0, places)))(
            hidden.abs().topk(k, dim=0).indices
        ),
    "the places of all tokens are kept at every token; gather and scatter take each token's own":
        _every_place,
    "scatter put the first k numbers in the places; gather first takes the numbers that stand there":
        lambda hidden, k: torch.zeros_like(hidden).scatter(-1, hidden.abs().topk(k, -1).indices, hidden),
    "the `hidden` that was given was changed; write into a new tensor":
        _in_place,
})  # fmt: skip


EXERCISES = (layer, exact_gelu, gated, width, keep_largest)

PREDICTIONS = (
    Prediction(
        id="ffn.without",
        text=(
            "Small models, trained alike, with equally many parameters: one with SwiGLU layers, one with GELU layers, "
            "and one without any feed-forward layers but with 20 attention heads a layer in place of 8. Which of the "
            "three predicts unseen texts worst?"
        ),
        options=("the one with SwiGLU", "the one with GELU", "the one without feed-forward layers"),
    ),
    Prediction(
        id="ffn.keep",
        text=(
            "Each feed-forward layer of the trained model has 512 units. For each token only the largest ones stay, "
            "and the others are made 0. The loss may rise by 0.1 nats. How many of 8, 16, 32, 64, 128, 256 or 384 "
            "must stay at least?"
        ),
        unit="units",
    ),
)

QUESTIONS = (
    Question(
        id="ffn.who_moves",
        text=(
            "In “Anna fed the horse because it was hungry.” a feed-forward layer works at the position of “it”. What "
            "can it use of the word “horse”?"
        ),
        options=(
            "The vector at “horse”, which it reads",
            "What attention has brought to “it” from “horse” before",
            "All tokens before “it”, each a little",
            "Nothing, in no layer",
        ),
        answer=1,
        why=(
            "It reads the vector of its own position only.",
            "Attention moves things between positions; the feed-forward layer works on what has arrived.",
            "That is attention.",
            "It can use what stands in the vector at “it”, and attention writes there.",
        ),
    ),
    Question(
        id="ffn.linear",
        text="Why does attention with fixed weights not replace the bend of a feed-forward layer?",
        options=(
            "Because its weights have the sum 1",
            "Because what it reads is then linear in the values: the result of a sum is the sum of the results, and "
            "there is no threshold",
            "Because it has too few parameters",
            "Because it looks at earlier tokens only",
        ),
        answer=1,
        why=(
            "Any fixed weights do the same, whatever their sum.",
            "Sums go to sums. All that is not linear in attention comes from the weights, which depend on queries and "
            "keys.",
            "With any number of parameters it stays linear.",
            "Looking both ways it would be as linear.",
        ),
    ),
    Question(
        id="ffn.fair",
        text=(
            "A study finds SwiGLU better than GELU at equal parameters, five seeds each. Every model was trained at "
            "the same learning rate, the one that had been chosen for SwiGLU. What follows?"
        ),
        options=(
            "SwiGLU is better",
            "Nothing, since five seeds are too few",
            "In this training SwiGLU came out better; part of that may be the rate",
            "GELU would be better at its own rate",
        ),
        answer=2,
        why=(
            "At the best rate of each the difference may be smaller; half the rate, tried once, was worse for both, "
            "and no higher one was tried.",
            "The interval leaves out 0; five seeds were enough to find a difference here.",
            "The difference is real, and what causes it is open between two suspects, the gate and the rate.",
            "It may; that is not shown either.",
        ),
    ),
    Question(
        id="ffn.sparse",
        text=("For each token 32 of 512 units do nearly all. Why can a model not leave out the other 480 for good?"),
        options=(
            "Because other tokens need other units",
            "Because the 480 have small weights",
            "Because the loss would not change",
            "It can",
        ),
        answer=0,
        why=(
            "The control shows it: with one fixed choice for all tokens even 256 units are too few.",
            "What is small is what they say at this token.",
            "It does change: the control with a fixed choice shows how much.",
            "With one fixed choice of units the loss rises a lot, as the control shows.",
        ),
    ),
)
