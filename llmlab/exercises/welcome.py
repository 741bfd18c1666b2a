"""Exercises and questions of notebook 00_welcome."""

from __future__ import annotations

import math
from functools import cache

import torch
import torch.nn.functional as F

from ..config import ModelConfig
from ..tokenization import BPETokenizer
from ..training import new_model
from .comparing import rows_add_up
from .records import Question, exercise
from .trials import given

# 1. Softmax ---------------------------------------------------------------------------------------------------------


def rows_of_logits():
    """Rows of moderate size in one to three dimensions, then such as overflow, alone and beside small ones."""
    yield (torch.tensor([0.5, -1.0, 2.0]),)
    for shape in ((5,), (2, 3), (4, 4), (2, 3, 4)):
        yield (2 * torch.randn(shape),)
    for rows in (
        [1000, 999], [-1000, -999], [60, 0, -60], [1000, 0, 0, 0], [0, 5000], [20000, 3, 19999],
        [[1000, 1001], [0, 1]], [[90, 95], [88, 99]],
    ):  # fmt: skip
        yield (torch.tensor(rows, dtype=torch.float32),)


@exercise(
    "welcome.softmax",
    title="Softmax",
    prompt="Turn rows of logits into rows of probabilities, without PyTorch's own softmax. Large logits must not "
    "break it.",
    hints=(
        "`logits.exp()` makes every number positive. Which sum makes a row add up to 1?",
        "`.sum(dim=-1, keepdim=True)` adds along the last dimension and keeps the shape, so that the division fits.",
        "Subtract `logits.amax(dim=-1, keepdim=True)` before `exp`: the factor cancels, and nothing overflows.",
    ),
    inputs=rows_of_logits,
    forbids=("softmax", "softmin"),
    symptoms=(rows_add_up,),
    difficulty=1,
    minutes=5,
)
def softmax(logits):
    """logits (..., V) -> probabilities (..., V): positive, and each row adds up to 1."""
    weights = (logits - logits.amax(dim=-1, keepdim=True)).exp()  # (..., V), the largest is 1
    return weights / weights.sum(dim=-1, keepdim=True)  # (..., V)


def plant_softmax_mistakes(softmax):
    """What people write for a softmax over rows, planted in an exercise whose inputs are `rows_of_logits`."""

    def stable(z, dim=-1):
        return (z - z.amax(dim, keepdim=True)).exp()

    def without_the_row(z, level):
        weights = (z - level).exp()
        return weights / weights.sum(-1, keepdim=True)

    softmax.plant({
        "each column adds up to 1; it should be each row: softmax goes over the last dimension":
            lambda z: stable(z, 0) / stable(z, 0).sum(0, keepdim=True),
        "all rows together add up to 1; each row is a distribution of its own, so sum over the last dimension":
            lambda z: (z - z.max()).exp() / (z - z.max()).exp().sum(),
        "numbers near 1000 give nan: exp(1000) is infinite and exp(-1000) is 0. Take the largest number of the row "
        "off first; the result is the same":
            lambda z: z.exp() / z.exp().sum(-1, keepdim=True),
        "rows of very different size spoil each other: take off the largest number of each row, not of all":
            lambda z: without_the_row(z, z.max()),
        "taking off the mean of a row is not enough: what stands far above it still overflows. Take off the largest":
            lambda z: without_the_row(z, z.mean(-1, keepdim=True)),
        "taking off the smallest number of a row makes the others larger still. Take off the largest":
            lambda z: without_the_row(z, z.amin(-1, keepdim=True)),
        "numbers above a limit are cut off, so that large ones come out alike. Take off the largest of the row "
        "instead":
            lambda z: without_the_row(z.clamp(max=80), 0),
        "nan is covered up, not avoided: where exp(1000) / exp(1000) should be a share, it is 0. Take off the "
        "largest number of the row first":
            lambda z: (z.exp() / z.exp().sum(-1, keepdim=True)).nan_to_num(0),
        "these are the exponentials; divide them by their sum, so that they add up to 1":
            (lambda z: stable(z), lambda z: z.exp()),
        "the mean of a row or its first number is not what keeps exp finite: what stands far above it still overflows. "
        "Take off the largest":
            lambda z: without_the_row(z, z[..., :1]),
        "the numbers are divided by a fixed size, which makes all shares nearly alike; take off the largest instead":
            (lambda z: softmax.answer(z / 100), lambda z: softmax.answer(z / 1000)),
        "the differences from the largest are shared out as they are; exp must come before the division":
            lambda z: (z - z.amax(-1, keepdim=True)) / (z - z.amax(-1, keepdim=True)).sum(-1, keepdim=True),
        "each number is divided by the largest of its row instead of taking it off":
            lambda z: softmax.answer(z / z.amax(-1, keepdim=True)),
        "a sigmoid looks at each number for itself; softmax takes exp, and then the share of the row":
            (lambda z: z.sigmoid() / z.sigmoid().sum(-1, keepdim=True), lambda z: z.sigmoid()),
        "the likeliest gets everything; softmax gives every number its share":
            lambda z: F.one_hot(z.argmax(-1), z.shape[-1]).float(),
        "e is rounded: use exp, or math.e":
            lambda z: softmax.answer(z * math.log(2.7)),
        "the sign is lost: −2 must get less than 1":
            lambda z: softmax.answer(z.abs()),
        "all rows are added up; each row adds up for itself, dim=-1 with keepdim=True":
            lambda z: stable(z) / stable(z).sum(),
        "this shifts the numbers above the line only; the sum below it must be of the same shifted numbers":
            (
                lambda z: stable(z) / z.exp().sum(-1, keepdim=True),
                lambda z: z.exp() / stable(z).sum(-1, keepdim=True),
            ),
        "these are rounded; keep all digits":
            (lambda z: (100 * softmax.answer(z)).round() / 100, lambda z: (1000 * softmax.answer(z)).round() / 1000),
        "the numbers are divided by their sum as they are; exp must come first, or some shares are negative":
            lambda z: z / z.sum(-1, keepdim=True),
        "a share taken of sizes without their sign treats −2 like 2; use exp, which keeps the order":
            lambda z: z.abs() / z.abs().sum(-1, keepdim=True),
        "a fixed number is taken off, which is right for some sizes only; take off the largest of the row":
            (lambda z: without_the_row(z, 1000), lambda z: without_the_row(z, 1001)),
        "z.max(dim) gives two things, values and places; take .values, or amax":
            lambda z: z - z.max(-1, keepdim=True),
        "the largest of the absolute numbers is taken off, so that a row of large negative ones still comes to 0 / 0":
            lambda z: without_the_row(z, z.abs().amax(-1, keepdim=True)),
        "these are the logarithms of the right numbers":
            lambda z: z - z.logsumexp(-1, keepdim=True),
        "the sum of a row has lost its dimension, so the division does not fit row by row: keepdim=True keeps it":
            (lambda z: stable(z) / stable(z).sum(-1), lambda z: z - z.amax(-1), lambda z: z.exp() / z.exp().sum(-1)),
        "the signs are turned around: the largest number gets the smallest share":
            lambda z: softmax.answer(-z),
        "the powers are of 2; softmax takes those of e":
            lambda z: softmax.answer(z * torch.tensor(2.0).log()),
    })  # fmt: skip


plant_softmax_mistakes(softmax)


# 2. The loop --------------------------------------------------------------------------------------------------------


def _model():
    """A small model with weights so large that each row of its logits says something else."""
    model = new_model(ModelConfig(vocab_size=20, d_model=16, n_layers=2, n_heads=2, max_seq_len=64), seed=3)
    for parameter in model.parameters():
        if parameter.dim() > 1:
            parameter.data.mul_(12)
    return model.requires_grad_(False)


def _greedy(model, ids, n, end=None):
    new = []
    while len(new) < n and (not new or new[-1] != end):
        new.append(model(torch.tensor([[*ids, *new]]))[0, -1].argmax().item())
    return new


def _prompts():
    """Ends that come early, late, never, and that stand in the prompt already."""
    model, cases = _model(), []
    for prompt, n in (([4, 1, 2], 3), ([0, 5], 6), ([7], 1), ([11, 2, 6], 8)):
        coming = _greedy(model, prompt, n)
        never = next(token for token in range(20) if token not in coming and token not in prompt)
        in_prompt = next((token for token in prompt if token not in coming), never)
        cases += [(prompt, n, end) for end in dict.fromkeys((never, in_prompt, coming[n // 2]))]
    for prompt, n, end in (*cases, ([8, 3], 0, 3)):
        yield given(model, calls=2 * n + 2), list(prompt), n, end


@exercise(
    "welcome.write",
    title="The loop of generation",
    prompt="Write the loop: the likeliest next token, again and again, until the end token or `n` tokens.",
    hints=(
        "`model(torch.tensor([ids]))` gives logits of shape (1, T, V): a row for each token. Which row is it?",
        "The last row: `logits[0, -1].argmax().item()` is the id. Append it, and run the longer list.",
        "Keep the new tokens in a list of their own, and leave the loop after appending `end`.",
    ),
    inputs=_prompts,
    difficulty=2,
    minutes=10,
)
def write(model, ids, n, end):
    """At most n greedy tokens (a list) after the ids; it stops after the end token, which is then the last."""
    new = []
    for _ in range(n):
        logits = model(torch.tensor([ids + new]))  # (1, T, V)
        new.append(logits[0, -1].argmax().item())
        if new[-1] == end:
            break
    return new


def _loop(
    model, ids, n, end, *, text=lambda ids, new: ids + new, choose=lambda row: row.argmax().item(), add=list.append
):
    """Greedy generation with one step replaced."""
    new = []
    while len(new) < n and (not new or new[-1] != end):
        add(new, choose(model(torch.tensor([text(ids, new)]))[0, -1]))
    return new


write.plant({
    "the prompt is in the result; return the new tokens only":
        lambda model, ids, n, end: ids + _greedy(model, ids, n, end),
    "the text goes on after the end token; stop when the model has written it":
        lambda model, ids, n, end: _greedy(model, ids, n),
    "the end token is missing; it belongs to the result too":
        lambda model, ids, n, end: [token for token in _greedy(model, ids, n, end) if token != end],
    "`n` is not heeded: where the end token does not come, the loop goes on for ever":
        lambda model, ids, n, end: _greedy(model, ids, 10**6, end),
    "one token too many":
        lambda model, ids, n, end: _greedy(model, ids, n + 1, end),
    "one token too few":
        lambda model, ids, n, end: _greedy(model, ids, n - 1, end),
    "`n` counts the new tokens only; here the prompt counts too":
        lambda model, ids, n, end: _greedy(model, ids, n - len(ids), end),
    "the prompt is forgotten after the first token; the model needs the whole text at every step":
        lambda model, ids, n, end: _loop(model, ids, n, end, text=lambda ids, new: new or ids),
    "the new token is put in front of the others; it belongs behind them":
        lambda model, ids, n, end: _loop(model, ids, n, end, add=lambda new, token: new.insert(0, token)),
    "max gives the largest logit; argmax gives its place, which is the token":
        lambda model, ids, n, end: _loop(model, ids, 1, end, choose=lambda row: row.max().item()),
    "these are the least likely tokens":
        lambda model, ids, n, end: _loop(model, ids, n, end, choose=lambda row: row.argmin().item()),
    "each new token stands in a list or tensor of its own; `.item()` or int() makes a number of it":
        lambda model, ids, n, end: [[token] for token in _greedy(model, ids, n, end)],
    "the prompt is in the result, and n counts it too; return at most n new tokens, without the prompt":
        lambda model, ids, n, end: ids + _greedy(model, ids, n - len(ids), end),
    "the list of new tokens is the list `ids` itself: copy it, or begin with an empty one":
        lambda model, ids, n, end: _same_list(model, ids, n, end),
    "the new token is never appended, so the loop does not end":
        lambda model, ids, n, end: _loop(model, ids, n, end, add=lambda new, token: None),
    "argmax goes over all rows of the logits at once; take the last row first, logits[0, -1]":
        lambda model, ids, n, end: _flattened(model, ids, n, end),
    "only the first new token comes back; go on to n tokens":
        lambda model, ids, n, end: _greedy(model, ids, 1, end),
    "the prompt's last token is taken for the end; only a new token ends the text":
        lambda model, ids, n, end: [] if ids[-1] == end else _greedy(model, ids, n, end),
    "the end token is looked for in the prompt too; only a new one ends the text":
        lambda model, ids, n, end: [] if end in ids else _greedy(model, ids, n, end),
})  # fmt: skip


def _same_list(model, ids, n, end):
    new = ids
    while len(new) < len(ids) + n and new[-1] != end:
        new.append(model(torch.tensor([new]))[0, -1].argmax().item())
    return new


def _flattened(model, ids, n, end):
    new = []
    while len(new) < n and end not in new:
        new.append(model(torch.tensor([ids + new])).argmax().item())
    return new


@write.mistake("the first row of the logits tells what follows the first token; the last row is needed")
def _first_row(model, ids, n, end):
    new = []
    while len(new) < n and end not in new:
        new.append(model(torch.tensor([ids + new]))[0, 0].argmax().item())
    return new


@write.mistake("the new tokens are never fed back: every step reads the prompt alone, and says the same")
def _prompt_only(model, ids, n, end):
    new = []
    while len(new) < n and end not in new:
        new.append(model(torch.tensor([ids]))[0, -1].argmax().item())
    return new


@write.mistake("only the newest token is read; without a cache the model needs the whole text at every step")
def _newest_only(model, ids, n, end):
    new = []
    while len(new) < n and end not in new:
        new.append(model(torch.tensor([(ids + new)[-1:]]))[0, -1].argmax().item())
    return new


@write.mistake("these are the likeliest tokens of every row; only the last row says what comes after the text")
def _all_rows(model, ids, n, end):
    return model(torch.tensor([ids]))[0].argmax(-1).tolist()


@write.mistake("the list gives the model no batch: it reads (B, T), so put the ids into another pair of brackets")
def _no_batch(model, ids, n, end):
    return [model(torch.tensor(ids))[-1].argmax().item()]


# Preparing a prompt ---------------------------------------------------------------------------------------------------


@cache
def _small_tokenizer(special_tokens=("<s>", "</s>")):
    return BPETokenizer.train("the sun is up, the sun is red, the cat sat ", 300, special_tokens=special_tokens)


def _beginnings():
    tokenizer, other = _small_tokenizer(), _small_tokenizer(("</s>", "<s>", "<pad>", "<mask>"))
    for prompt in ("the sun is ", "the sun is", "the cat  ", " the sun", "", "a\n", "up </s> up ", "<s>the cat sat "):
        yield tokenizer, prompt
    yield other, "The  Sun is red "


@exercise(
    "welcome.prepare",
    title="A prompt that the model can go on with",
    prompt="Repair the way from a prompt to ids, so that it is a beginning like those of training.",
    hints=(
        "Compare with the cell of stage 1: what stands before the ids there? Ask this tokenizer for it: "
        'tokenizer.special_tokens["<s>"].',
        "A word brings its own space along, so the space at the prompt's end must go: `rstrip()` takes it off.",
    ),
    inputs=_beginnings,
    difficulty=1,
    minutes=6,
)
def prepare(tokenizer, prompt):
    """The ids (a list) of a prompt: <s> of this tokenizer, then the text without white space at its end."""
    return [tokenizer.special_tokens["<s>"], *tokenizer.encode(prompt.rstrip())]


@prepare.mend("the ids do not begin with <s>, and a space at the end of the prompt has a token of its own")
def _as_typed(tokenizer, prompt):
    return tokenizer.encode(prompt)


prepare.plant({
    "a space at the end of the prompt has a token of its own here: take it off before encoding":
        lambda tokenizer, prompt: [tokenizer.special_tokens["<s>"], *tokenizer.encode(prompt)],
    "the ids do not begin with <s>":
        lambda tokenizer, prompt: tokenizer.encode(prompt.rstrip()),
    "spaces at the beginning belong to the first word: take off only those at the end":
        lambda tokenizer, prompt: [tokenizer.special_tokens["<s>"], *tokenizer.encode(prompt.strip())],
    "<s> written into the text is three ordinary signs; its token is tokenizer.special_tokens[\"<s>\"]":
        (
            lambda tokenizer, prompt: tokenizer.encode("<s>" + prompt.rstrip()),
            lambda tokenizer, prompt: tokenizer.encode("<s>" + prompt),
        ),
    "a text of the learner's can smuggle in special tokens here: encode without allowed_special":
        lambda tokenizer, prompt: tokenizer.encode("<s>" + prompt.rstrip(), allowed_special={"<s>", "</s>"}),
    "only one space is taken off; there may be several, or another sign of white space":
        lambda tokenizer, prompt: [tokenizer.special_tokens["<s>"], *tokenizer.encode(prompt.removesuffix(" "))],
    "a line break at the end is white space, too: rstrip() without an argument takes off all of it":
        lambda tokenizer, prompt: [tokenizer.special_tokens["<s>"], *tokenizer.encode(prompt.rstrip(" "))],
    "4,092 is <s> in the course's tokenizer; another has another: ask tokenizer.special_tokens[\"<s>\"]":
        (
            lambda tokenizer, prompt: [4092, *tokenizer.encode(prompt.rstrip())],
            lambda tokenizer, prompt: [4092, *tokenizer.encode(prompt)],
            lambda tokenizer, prompt: [4092, *tokenizer.encode(prompt.strip())],
            lambda tokenizer, prompt: [4092, *tokenizer.encode(prompt.rstrip(" "))],
        ),
    "the ids end with </s>: that says that the text is finished, and the model shall go on":
        lambda tokenizer, prompt: [*prepare.answer(tokenizer, prompt), tokenizer.special_tokens["</s>"]],
    "this is the text; asked are its ids":
        (lambda tokenizer, prompt: prompt.rstrip(), lambda tokenizer, prompt: "<s>" + prompt.rstrip()),
})  # fmt: skip


EXERCISES = (softmax, write, prepare)
PREDICTIONS = ()

QUESTIONS = (
    Question(
        id="welcome.vectors",
        text="Why does the vector of a token change from layer to layer, although its row in the table is fixed?",
        options=(
            "The table is updated while the model reads",
            "Each layer adds to it: what attention brought, and what the feed-forward network computed",
            "Softmax rescales it after each layer",
        ),
        answer=1,
        why=(
            "Nothing in the model changes while it reads; only training changes weights.",
            "The row is only the start of the residual stream.",
            "Softmax comes inside attention and at the very end; the stream itself is a running sum.",
        ),
    ),
    Question(
        id="welcome.probabilities",
        text="How many probabilities does one run of the model over 6 tokens give?",
        options=("one", "as many as the vocabulary has tokens", "6 times as many as the vocabulary has tokens"),
        answer=2,
        why=(
            "The model says something about every token of the vocabulary.",
            "That is one row; there is a row after each of the 6 tokens.",
            "A row after each token. To generate, only the last row is needed; to train, all are.",
        ),
    ),
    Question(
        id="welcome.mask",
        text="Why is each weight above the diagonal of an attention picture exactly 0?",
        options=(
            "Later tokens are less important",
            "A position must not see what it is asked to predict, so those weights are set to zero",
            "The weights are small there and are rounded",
        ),
        answer=1,
        why=(
            "They would often be the most useful of all, which is why they must be hidden.",
            "In training every position predicts its next token; with that in view there would be nothing to learn.",
            "They are exactly zero, by a mask, however large the scores are.",
        ),
    ),
    Question(
        id="welcome.work",
        text="With the plain loop, 10 tokens are generated after a prompt of 6. How many tokens go through the model?",
        options=("10", "16", "105"),
        answer=2,
        why=(
            "That is the number of runs; each run takes the whole text so far.",
            "About as many as with a KV cache, which runs each token once (15: the last new token is not fed back).",
            "6 + 7 + … + 15 = 105, because each step runs everything again.",
        ),
    ),
)
