"""Exercises, questions and predictions of notebook 02c_gradients_networks."""

from __future__ import annotations

import math
from itertools import pairwise

import torch

from ..records import Prediction, Question, exercise

# The slope of a ReLU --------------------------------------------------------------------------------------------------


def _bent():
    """Exact zeros of both signs beside numbers above and below, slopes of both signs, tiny and huge values."""
    yield torch.tensor([[1.0, -2.0, 0.0]]), torch.tensor([[3.0, 4.0, 5.0]])
    yield torch.tensor([[0.0, -0.0], [1e-30, -1e-30]]), torch.tensor([[-2.0, 7.0], [0.5, -3.0]])
    for n_rows, n_units in ((3, 4), (2, 7)):
        values = torch.randn(n_rows, n_units) * 10
        values[torch.rand(n_rows, n_units) < 0.3] = 0.0
        yield values, torch.randn(n_rows, n_units)
    yield torch.randn(4, 2), torch.zeros(4, 2)


@exercise(
    "gradients.relu_slope",
    title="Back through a ReLU",
    prompt=(
        "A ReLU has made relu(u) of each number u. Hand the slopes of the loss on, from what came out to what went in. "
        "At u = 0 the slope is taken as 0, as PyTorch does."
    ),
    hints=(
        "relu(u) is u above 0: there the slope passes unchanged. Below 0 it is flat.",
        "Along a chain slopes are multiplied: grads times 1 where values > 0, and times 0 elsewhere.",
        "The comparison is strict: values > 0, so that at exactly 0 nothing passes.",
    ),
    inputs=_bent,
    keeps=("values", "grads"),
    difficulty=1,
    minutes=5,
)
def relu_backward(values, grads):
    """values (B, N): what went into the ReLU; grads (B, N): slopes of the loss along what came out.

    Returns the slopes of the loss along values, (B, N). Both stay as they are.
    """
    return grads * (values > 0)


def _written_into(values, grads):
    grads *= values > 0
    return grads


relu_backward.plant({
    "at exactly 0 the slope passes, as if it were 1; it is taken as 0 there: values > 0, not values >= 0":
        lambda values, grads: grads * (values >= 0),
    "at exactly 0 the slope is halved; PyTorch takes 0 there":
        lambda values, grads: grads * (1 + values.sign()) / 2,
    "those are the ReLU's own slopes, 1 and 0; along a chain they are multiplied with grads":
        lambda values, grads: (values > 0).to(grads.dtype),
    "the slopes are multiplied with relu(values); the slope of relu(u) is 1 or 0, not u":
        lambda values, grads: grads * values.relu(),
    "the ReLU is applied to grads: a slope may well be negative. What counts is the sign of values":
        lambda values, grads: grads.relu(),
    "only slopes above 0 are handed on; a slope below 0 passes as well where values is above 0":
        lambda values, grads: grads.relu() * (values > 0),
    "below 0 the slope is turned around; there the ReLU is flat and hands on 0":
        (
            lambda values, grads: torch.where(values > 0, grads, -grads),
            lambda values, grads: grads * values.sign(),
        ),
    "below 0 a part of the slope passes; that is a leaky ReLU. Here it is 0":
        lambda values, grads: torch.where(values > 0, grads, 0.01 * grads),
    "the wrong side is kept: above 0 the slope passes, below it does not":
        lambda values, grads: grads * (values < 0),
    "that is what the ReLU gives on the way forward; asked is how slopes are handed back":
        lambda values, grads: values.relu(),
    "nothing is held back: where values is below 0 the ReLU is flat":
        lambda values, grads: grads.clone(),
    "values and grads are exchanged: values passed on where grads > 0. It is the slopes that are handed on, where "
    "values > 0":
        lambda values, grads: values * (grads > 0),
    "divided by the number of rows: where the loss is a mean, grads, its slopes, have that division in them already":
        lambda values, grads: grads * (values > 0) / len(values),
    "grads, which should stay as it is, is changed: `*=` and `grads[...] = 0` write into it":
        _written_into,
})  # fmt: skip


# Layer after layer ----------------------------------------------------------------------------------------------------


def _layers(*sizes):
    return [(torch.randn(a, b) / a**0.5, torch.randn(b)) for a, b in pairwise(sizes)]


def _networks():
    """One layer, two, three and four, no two neighboring sizes equal; a large input, where tanh is flat.

    The last network's first hidden layer is as wide as its output: a layer's place is not told by its width.
    """
    yield torch.randn(1, 2), _layers(2, 3)
    yield torch.randn(2, 4), _layers(4, 5, 3)
    yield torch.randn(3, 2), _layers(2, 6, 4, 3)
    yield torch.randn(4, 3) * 20, _layers(3, 5, 2)
    yield torch.randn(2, 5), _layers(5, 7, 6, 3, 7)


@exercise(
    "gradients.forward",
    title="Layer after layer",
    prompt="Run a batch through a network of any number of layers. Between two layers each number is bent by tanh.",
    hints=(
        "A layer is x @ w + b: (B, N_in) @ (N_in, N_out) + (N_out,) -> (B, N_out). Its result is the next one's x.",
        "The last layer gives logits. They may be any number, so nothing bends them.",
        "for n, (w, b) in enumerate(layers): x = x @ w + b; and if n < len(layers) - 1: x = x.tanh().",
    ),
    inputs=_networks,
    keeps=("x", "layers"),
    difficulty=2,
    minutes=8,
)
def forward(x, layers):
    """x (B, N); layers: a list of pairs w (N_in, N_out), b (N_out,), in order -> logits (B, C)."""
    for n, (w, b) in enumerate(layers):
        x = x @ w + b
        if n < len(layers) - 1:
            x = x.tanh()
    return x


def _run(x, layers, *, bend=torch.tanh, bent=lambda n, last: n < last, layer=lambda x, w, b, n, last: x @ w + b):
    """`forward` with one step replaced; `bent` says after which layers, `layer` what a layer does."""
    last = len(layers) - 1
    for n, (w, b) in enumerate(layers):
        x = layer(x, w, b, n, last)
        if bent(n, last):
            x = bend(x)
    return x


forward.plant({
    "the last layer is bent too: logits then stay between -1 and 1, and no choice can be sure":
        lambda x, layers: _run(x, layers, bent=lambda n, last: True),
    "nothing is bent: all these layers together are one layer":
        lambda x, layers: _run(x, layers, bent=lambda n, last: False),
    "only the first layer is bent; every layer but the last is":
        lambda x, layers: _run(x, layers, bent=lambda n, last: n == 0 and last > 0),
    "one bend too few: the last layer but one is not bent, and is one layer with the last":
        lambda x, layers: _run(x, layers, bent=lambda n, last: n < last - 1),
    "only the last layer is bent; all the others are":
        lambda x, layers: _run(x, layers, bent=lambda n, last: n == last),
    "the biases are missing: x @ w + b":
        lambda x, layers: _run(x, layers, layer=lambda x, w, b, n, last: x @ w),
    "the last layer's bias is missing":
        lambda x, layers: _run(x, layers, layer=lambda x, w, b, n, last: x @ w + b if n < last else x @ w),
    "only the last layer has its bias; each has one":
        lambda x, layers: _run(x, layers, layer=lambda x, w, b, n, last: x @ w + b if n == last else x @ w),
    "the bias is added after the bend; it belongs inside, where it moves the place of the bend":
        lambda x, layers: _run(
            x, layers, bent=lambda n, last: False,
            layer=lambda x, w, b, n, last: (x @ w).tanh() + b if n < last else x @ w + b,
        ),
    "the numbers are bent before each layer, the input too; bend what a layer gives, before the next":
        lambda x, layers: _run(
            x, layers, bent=lambda n, last: False, layer=lambda x, w, b, n, last: x.tanh() @ w + b
        ),
    "the bias is subtracted":
        lambda x, layers: _run(x, layers, layer=lambda x, w, b, n, last: x @ w - b),
    "a ReLU bends; the text asks for tanh":
        lambda x, layers: _run(x, layers, bend=torch.relu),
    "a sigmoid bends; the text asks for tanh":
        lambda x, layers: _run(x, layers, bend=torch.sigmoid),
    "those are shares: a softmax stands at the end. Asked are the logits":
        lambda x, layers: forward.answer(x, layers).softmax(-1),
    "only one layer is run: is `return` inside the loop?":
        lambda x, layers: _run(x, layers[:1], bent=lambda n, last: len(layers) > 1),
    "the last layer is left out":
        lambda x, layers: _run(x, layers[:-1], bent=lambda n, last: True),
})  # fmt: skip


# A loss that cannot be right ------------------------------------------------------------------------------------------


def _choices():
    """One row; as many rows as columns; more and fewer; logits of ordinary size."""
    yield torch.tensor([[2.0, 0.0, -1.0]]), torch.tensor([1])
    for n_rows, n_columns in ((3, 3), (2, 5), (6, 4)):
        yield torch.randn(n_rows, n_columns) * 2, torch.randint(n_columns, (n_rows,))
    yield torch.zeros(5, 4), torch.tensor([3, 0, 0, 2, 1])


@exercise(
    "gradients.over_batch",
    title="A loss that cannot be right",
    prompt=(
        "This loss runs, and training lowers it. But for one text alone it is 0, whatever the model says. Mend it."
    ),
    hints=(
        "Print the shares for a batch of one. What do the three of them add up to?",
        "Each text shares out 1 among its own choices. Over which dimension must the softmax run?",
        "logits are (B, C): rows are texts, columns are choices. softmax(1) makes each row's sum 1.",
    ),
    inputs=_choices,
    keeps=("logits", "right"),
    difficulty=2,
    minutes=6,
)
def mean_surprise(logits, right):
    """Mean surprise in nats: logits (B, C), right (B,) each text's true choice -> a number."""
    shares = logits.softmax(1)  # (B, C)
    given = shares[torch.arange(len(right)), right]  # (B,)
    return -given.log().mean()


@mean_surprise.mend(
    "each column sums to 1: the texts of a batch compete with each other. Each row should, softmax(1), over the choices"
)
def _over_the_batch(logits, right):
    shares = logits.softmax(0)  # (B, C)
    given = shares[torch.arange(len(right)), right]  # (B,)
    return -given.log().mean()


def _given(logits, right):
    return logits.softmax(1)[torch.arange(len(right)), right]


mean_surprise.plant({
    "all numbers of the batch together sum to 1; each row should, softmax(1)":
        lambda logits, right: -logits.flatten().softmax(0).view_as(logits).gather(1, right[:, None]).log().mean(),
    "the softmax is applied twice: shares go into it as if they were logits":
        lambda logits, right: mean_surprise.answer(logits.softmax(1), right),
    "the sum over the batch, not the mean: twice as many texts make it twice as large":
        lambda logits, right: -_given(logits, right).log().sum(),
    "the minus is missing: the logarithm of a share is below 0, and a surprise above":
        lambda logits, right: _given(logits, right).log().mean(),
    "the mean of the shares is taken first, and then its logarithm; asked is the mean of the surprises":
        lambda logits, right: -_given(logits, right).mean().log(),
    "the surprises at all choices are averaged; only the true one came":
        lambda logits, right: -logits.softmax(1).log().mean(),
    "shares[:, right] takes every column of right for every row; pair row and column: [torch.arange(B), right]":
        lambda logits, right: -logits.softmax(1)[:, right].log().mean(),
    "those are bits, with the logarithm to the base 2; asked are nats":
        lambda logits, right: -_given(logits, right).log2().mean(),
    "that is the mean of 1 − p; a surprise is −log p, which has no upper bound":
        lambda logits, right: (1 - _given(logits, right)).mean(),
    "the surprise at the model's favorite, whatever was true: `right` is not read":
        lambda logits, right: -logits.softmax(1).amax(1).log().mean(),
    "the share of wrong favorites: it says nothing of how sure the model was":
        lambda logits, right: (logits.argmax(1) != right).float().mean(),
    "the sum is divided by the number of choices; the mean runs over the texts":
        lambda logits, right: -_given(logits, right).log().sum() / logits.shape[1],
    "the softmax is missing: those are logits, and shares are asked":
        lambda logits, right: -logits[torch.arange(len(right)), right].mean(),
    "−Σ p log p weighs each surprise by what the model expected, and never looks at what came, `right`":
        lambda logits, right: -(logits.softmax(1) * logits.log_softmax(1)).sum(1).mean(),
    "e to the loss: between how many the model is as unsure. Asked are nats":
        lambda logits, right: mean_surprise.answer(logits, right).exp(),
    "the mean is divided by the number of choices as well; it runs over the texts only":
        lambda logits, right: mean_surprise.answer(logits, right) / logits.shape[1],
    "that is the surprise of the first text alone":
        lambda logits, right: mean_surprise.answer(logits[:1], right[:1]),
    "those are the surprises one by one; asked is their mean":
        lambda logits, right: -_given(logits, right).log(),
})  # fmt: skip


# The log of 0 ---------------------------------------------------------------------------------------------------------


def _far_apart():
    """Ordinary logits; then some so far apart, and so large, that exp is 0 or infinite in float32."""
    yield torch.tensor([[1.0, 0.0, -1.0]]), torch.tensor([2])
    yield torch.tensor([[0.0, 200.0], [3000.0, 0.0], [-5.0, 5.0]]), torch.tensor([0, 1, 0])
    yield torch.randn(3, 4) * 3, torch.tensor([3, 0, 3])
    yield torch.randn(4, 3) * 400, torch.tensor([1, 0, 2, 2])
    yield torch.randn(2, 5) - 900, torch.tensor([4, 1])
    yield torch.tensor([[300.0, 0.0, 300.0]]), torch.tensor([1])  # two largest: far from both, and ln 2 more


def _capped(arguments, value):
    """Large surprises that come out as one and the same number."""
    expected = surprises.answer(*arguments).double()
    if not isinstance(value, torch.Tensor) or value.shape != expected.shape:
        return ""
    high = (expected - value.double()) > 1
    if high.sum() < 2 or value[high].double().std() > 1e-3 or not value.isfinite().all():
        return ""
    truth = " and ".join(f"{each:,.0f}" for each in expected[high].tolist())
    return (
        f"surprises of {truth} nats all come out as {value[high][0]:.1f}. Is there a floor under the share, or a bound "
        "on the logits? It hides how wrong the model is"
    )


@exercise(
    "gradients.log_of_zero",
    title="The log of 0",
    prompt=(
        "Write the surprise at the true choice of each text, so that it is right and finite also where the logits are "
        "hundreds or thousands apart, or all near −900."
    ),
    hints=(
        "log(exp(z) / Σ exp) is z − log(Σ exp): the first exp and log cancel, so never write them.",
        "In log(Σ exp(z)) take the largest logit m out: m + log(Σ exp(z − m)). No exp is then above 1, and one is 1.",
        "logits.logsumexp(1) does this. Subtract the logits at [torch.arange(B), right].",
    ),
    inputs=_far_apart,
    keeps=("logits", "right"),
    symptoms=(_capped,),
    difficulty=3,
    minutes=8,
)
def surprises(logits, right):
    """logits (B, C), right (B,) the number of each text's true choice -> surprises in nats, (B,)."""
    return logits.logsumexp(1) - logits[torch.arange(len(right)), right]


def _sum_less(logits, largest):
    return (logits - largest).exp().sum(1)


def _without_the_largest(logits, right):
    rows = [(max(row), row, row[t]) for row, t in zip(logits.tolist(), right.tolist(), strict=True)]
    return [math.log(sum(math.exp(z) for z in row if z != m)) + m - true for m, row, true in rows]


def _patched(logits, right):
    given = _given(logits, right)
    return torch.where(given == 0, logits.amax(1) - logits[torch.arange(len(right)), right], -given.log())


surprises.plant({
    "where a share is rounded to 0 its logarithm is −∞: a softmax first and the log after lose what z − log Σ exp(z) "
    "keeps":
        lambda logits, right: -_given(logits, right).log(),
    "a floor under the share, added or set: no error any more, and no truth either. 200 nats become 20 or so":
        (
            lambda logits, right: -(_given(logits, right) + 1e-9).log(),
            lambda logits, right: -(_given(logits, right) + 1e-8).log(),
            lambda logits, right: -_given(logits, right).clamp(min=1e-12).log(),
            lambda logits, right: -_given(logits, right).clamp(1e-7, 1 - 1e-7).log(),
        ),
    "what is not finite is replaced by a number afterwards; the surprise itself is finite":
        lambda logits, right: (-_given(logits, right).log()).nan_to_num(),
    "exp of a large logit is infinite, and of −900 it is 0. Take the largest logit out first, or use logsumexp":
        lambda logits, right: logits.exp().sum(1).log() - logits[torch.arange(len(right)), right],
    "the largest logit is taken out of the sum and not put back: m + log(Σ exp(z − m))":
        lambda logits, right: (logits - logits.amax(1, keepdim=True)).logsumexp(1)
        - logits[torch.arange(len(right)), right],
    "one largest logit is taken for the whole batch: beside 3,000 each exp of another text is 0. Every row has its own":
        lambda logits, right: logits.max() + (logits - logits.max()).exp().sum(1).log()
        - logits[torch.arange(len(right)), right],
    "the largest of each column is taken out; the largest of each row, amax(1), is what makes its exps fit":
        lambda logits, right: _sum_less(logits, logits.amax(0)).log() - (logits - logits.amax(0))[
            torch.arange(len(right)), right],
    "float64 moves the limits, exp of about 709 and of −745, and lifts none. Take each row's largest logit out":
        (
            lambda logits, right: -_given(logits.double(), right).log(),
            lambda logits, right: logits.double().exp().sum(1).log() - logits[torch.arange(len(right)), right],
        ),
    "the largest logit is left out of the sum; it is taken out as a factor, and its own term there is exp(0) = 1":
        (
            lambda logits, right: logits.amax(1) + (_sum_less(logits, logits.amax(1, keepdim=True)) - 1).log()
            - logits[torch.arange(len(right)), right],
            _without_the_largest,
        ),
    "where p is 0 the largest logit stands for the whole sum; others may be as large. One formula is right everywhere":
        _patched,
    "the largest logit stands for the whole sum; the others count too":
        lambda logits, right: logits.amax(1) - logits[torch.arange(len(right)), right],
    "the sum runs over the texts of the batch; it runs over the choices of each text":
        lambda logits, right: (logits.logsumexp(0)[None] - logits)[torch.arange(len(right)), right],
    "the sign is turned: those are logarithms of shares, below 0":
        lambda logits, right: logits.log_softmax(1)[torch.arange(len(right)), right],
    "the mean; asked is the surprise of each text":
        lambda logits, right: surprises.answer(logits, right).mean(),
    "those are bits; asked are nats":
        lambda logits, right: surprises.answer(logits, right) / math.log(2),
    "the surprises at all choices come back; asked is the one at the true choice of each text":
        lambda logits, right: -logits.log_softmax(1),
})  # fmt: skip


# Share minus truth ----------------------------------------------------------------------------------------------------


def _choices_and_far_apart():
    yield from _choices()
    yield torch.tensor([[200.0, 0.0, 199.0]]), torch.tensor([0])


@exercise(
    "gradients.p_minus_y",
    title="Share minus truth",
    prompt="Write the slopes of the mean surprise along every logit, by the formula.",
    hints=(
        "For one text the slope along logit k is p_k, and for the true choice p_k − 1.",
        "The loss is a mean over B texts, so each text's slopes are divided by B.",
        "slopes = logits.softmax(1), then slopes[torch.arange(B), right] -= 1, then divide by B.",
    ),
    inputs=_choices_and_far_apart,
    keeps=("logits", "right"),
    difficulty=2,
    minutes=8,
)
def logit_slopes(logits, right):
    """logits (B, C), right (B,) -> (B, C): slopes of the mean surprise, in nats, along each logit."""
    slopes = logits.softmax(1)  # (B, C)
    slopes[torch.arange(len(right)), right] -= 1
    return slopes / len(right)


def _truth(logits, right):
    return torch.nn.functional.one_hot(right, logits.shape[1]).to(logits.dtype)


def _logits_moved(logits, right):
    logits -= logits.logsumexp(1, keepdim=True)
    logits.exp_()
    logits[torch.arange(len(right)), right] -= 1
    return logits.div_(len(right))


logit_slopes.plant({
    "truth minus share, y − p: the sign is turned, and a step would raise the loss":
        lambda logits, right: (_truth(logits, right) - logits.softmax(1)) / len(right),
    "those are the slopes of the sum; the loss is the mean over the texts, so divide by their number":
        lambda logits, right: logits.softmax(1) - _truth(logits, right),
    "divided by the number of choices; the mean runs over the texts":
        lambda logits, right: (logits.softmax(1) - _truth(logits, right)) / logits.shape[1],
    "divided by texts and by choices; the mean runs over the texts only":
        lambda logits, right: (logits.softmax(1) - _truth(logits, right)) / logits.numel(),
    "the softmax runs over the batch; each text shares out 1 among its choices, softmax(1)":
        lambda logits, right: (logits.softmax(0) - _truth(logits, right)) / len(right),
    "all numbers of the batch together sum to 1; each row should, softmax(1)":
        lambda logits, right: (logits.flatten().softmax(0).view_as(logits) - _truth(logits, right)) / len(right),
    "nothing is subtracted: at the true choice it is p − 1":
        lambda logits, right: logits.softmax(1) / len(right),
    "only the true choice has a slope here; the others have theirs, p, which pushes them down":
        lambda logits, right: (logits.softmax(1) - 1) * _truth(logits, right) / len(right),
    "slopes[:, right] takes these columns in every row; pair row and column: [torch.arange(B), right]":
        lambda logits, right: (logits.softmax(1) - _truth(logits, right).amax(0)) / len(right),
    "the number of the true choice is subtracted; y is 1 at that place and 0 elsewhere":
        lambda logits, right: (logits.softmax(1) - right[:, None]) / len(right),
    "logits minus truth: the softmax is missing":
        lambda logits, right: (logits - _truth(logits, right)) / len(right),
    "that is one over the share at the true choice, the slope along the *share*; asked is along the logits":
        lambda logits, right: -_truth(logits, right) / _given(logits, right)[:, None] / len(right),
    "the 1 stands at the model's favorite; it belongs to the true choice":
        lambda logits, right: (logits.softmax(1) - _truth(logits, logits.argmax(1))) / len(right),
    "p (1 − p) is the slope of a share along its own logit; the slope of the surprise is p − y":
        lambda logits, right: logits.softmax(1) * (1 - logits.softmax(1)) / len(right),
    "p − y / B: the division is done before the subtraction and reaches y alone; write (p − y) / B":
        lambda logits, right: logits.softmax(1) - _truth(logits, right) / len(right),
    "p / B − y: the 1 is subtracted after the division; subtract first, then divide the whole by B":
        lambda logits, right: logits.softmax(1) / len(right) - _truth(logits, right),
    "the true choice's slope is set to −1; 1 is subtracted there: p − 1":
        lambda logits, right: (logits.softmax(1) * (1 - _truth(logits, right)) - _truth(logits, right)) / len(right),
    "those are logarithms of shares minus truth; asked is the share itself, softmax in place of log_softmax":
        lambda logits, right: (logits.log_softmax(1) - _truth(logits, right)) / len(right),
    "the sums of the rows are divided into the columns: sum(1, keepdim=True) keeps each beside its row":
        lambda logits, right: (logits.exp() / logits.exp().sum(1) - _truth(logits, right)) / len(right),
    "exp of 200 is infinite in float32; softmax subtracts each row's largest logit first":
        lambda logits, right: (logits.exp() / logits.exp().sum(1, keepdim=True) - _truth(logits, right)) / len(right),
    "2 (p − y) is the slope of (p − y)² along the share p; asked is that of the surprise along the logits":
        lambda logits, right: 2 * (logits.softmax(1) - _truth(logits, right)) / len(right),
    "logits, which should stay as they are, are changed":
        _logits_moved,
})  # fmt: skip


EXERCISES = (relu_backward, forward, mean_surprise, surprises, logit_slopes)

PREDICTIONS = (
    Prediction(
        id="gradients.straight_layers",
        text=(
            "Three layers of weighted sums, a million weights, nothing between the layers. One number goes in, one "
            "comes out. Which curves can this draw, with the right weights?"
        ),
        options=("any curve", "parabolas", "pieces of straight lines, with kinks", "one straight line"),
    ),
    Prediction(
        id="gradients.letter_bits",
        text=(
            "A guesser that knows nothing needs 4.8 bits for each of 27 signs. Another has counted, in stories of the "
            "world, what follows each three signs. What does it need for the next sign of a new story?"
        ),
        options=("about 4.5 bits", "about 3 bits", "about 1.5 bits", "about 0.1 bits"),
    ),
)

QUESTIONS = (
    Question(
        id="gradients.how_many",
        text="A network has 4 inputs, 6 hidden units and 2 outputs, each unit with a bias. How many parameters?",
        options=("36", "44", "48", "12"),
        answer=1,
        why=(
            "Those are the weights, 4 · 6 + 6 · 2. Each hidden unit and each output has a bias as well.",
            "4 · 6 + 6 for the hidden units, 6 · 2 + 2 for the outputs.",
            "The inputs would have a bias too in this count; they are given, not computed.",
            "Those are the numbers that a text becomes on its way, not the parameters.",
        ),
    ),
    Question(
        id="gradients.as_unsure",
        text="A model with 4,096 tokens to choose from has a cross-entropy of 1.4 nats. What does that say?",
        options=(
            "It is right in 1.4 of 4 cases",
            "On average it is as unsure as one that chooses evenly between about four tokens",
            "It always hesitates between four tokens",
            "It needs 1.4 yes-or-no questions for a token",
        ),
        answer=1,
        why=(
            "A surprise is no share of right answers: a model may be right and unsure.",
            "e to the power of 1.4 is 4.06.",
            "It may be sure of most tokens and lost at a few: the mean does not tell.",
            "Those would be bits; 1.4 nats are 2.0 bits.",
        ),
    ),
    Question(
        id="gradients.through_argmax",
        text="Why can gradient descent not work on the share of right answers itself?",
        options=(
            "It is too slow to compute",
            "It needs a second data set",
            "It moves in jumps: almost everywhere its slope is 0, so no weight learns where to go",
            "Its slope is too large",
        ),
        answer=2,
        why=(
            "It is faster than the surprise: no exp, no log.",
            "It could be counted on the training texts as well.",
            "A tiny step of a weight changes no answer, so the count stays where it is.",
            "It is 0, but for the jumps, where there is none.",
        ),
    ),
)
