"""Exercises and questions of notebook 00_welcome."""

from __future__ import annotations

import torch

from ..config import ModelConfig
from ..training import new_model
from .records import Exercise, Mistake, Question, Wrong, expect_tensor

# 1. Softmax ---------------------------------------------------------------------------------------------------------


def _check_softmax(candidate):
    for shape, size in (((5,), 1.0), ((3, 7), 3.0), ((4, 4), 1.0)):
        logits = size * torch.randn(shape)
        got = candidate(logits.clone())
        expect_tensor(got, logits.shape, "probabilities, as the logits are,")
        if torch.allclose(got, logits.softmax(-1), atol=1e-5):
            continue
        if logits.dim() > 1 and torch.allclose(got, logits.softmax(0), atol=1e-5):
            raise Wrong("each column adds up to 1; it should be each row: softmax goes over the last dimension")
        if torch.allclose(got, logits.exp() / logits.exp().sum(), atol=1e-5):
            raise Wrong("all rows together add up to 1; each row is a distribution of its own")
        if torch.allclose(got, logits.exp(), atol=1e-5):
            raise Wrong("these are the exponentials; divide them by their sum, so that they add up to 1")
        raise Wrong(f"the values differ from exp(z) / Σ exp(z) by up to {(got - logits.softmax(-1)).abs().max():.2g}")
    if not candidate(torch.tensor([1000.0, 999.0])).isfinite().all():
        raise Wrong(
            "logits of 1000 give nan: exp(1000) is infinite. Take the largest logit off first; the result is the same"
        )


SOFTMAX = Exercise(
    id="welcome.softmax",
    title="Softmax",
    prompt="Turn rows of logits into rows of probabilities, without `torch.softmax`. Large logits must not break it.",
    stub='''\
def softmax(logits):
    """logits (..., V) -> probabilities (..., V): positive, and each row adds up to 1."""
    ...
''',
    hints=(
        "`logits.exp()` makes every number positive. Which sum makes a row add up to 1?",
        "`.sum(dim=-1, keepdim=True)` adds along the last dimension and keeps the shape, so that the division fits.",
        "Subtract `logits.amax(dim=-1, keepdim=True)` before `exp`: the factor cancels, and nothing overflows.",
    ),
    solution="""\
def softmax(logits):
    weights = (logits - logits.amax(dim=-1, keepdim=True)).exp()  # (..., V), the largest is 1
    return weights / weights.sum(dim=-1, keepdim=True)  # (..., V)
""",
    checks=(_check_softmax,),
    mistakes=(
        Mistake(
            "def softmax(logits):\n"
            "    weights = (logits - logits.amax(dim=0, keepdim=True)).exp()\n"
            "    return weights / weights.sum(dim=0, keepdim=True)\n",
            "each column adds up to 1",
        ),
        Mistake(
            "def softmax(logits):\n    return logits.exp() / logits.exp().sum()\n",
            "each row is a distribution of its own",
        ),
        Mistake(
            "def softmax(logits):\n    return logits.exp() / logits.exp().sum(dim=-1, keepdim=True)\n",
            "Take the largest logit off",
        ),
    ),
    difficulty=1,
    minutes=5,
)


# 2. The loop --------------------------------------------------------------------------------------------------------


def _model():
    """A small model with weights so large that each row of its logits says something else."""
    model = new_model(ModelConfig(vocab_size=20, d_model=16, n_layers=2, n_heads=2, max_seq_len=64), seed=3)
    for parameter in model.parameters():
        if parameter.dim() > 1:
            parameter.data.mul_(12)
    return model


def _greedy(model, ids, n, end):
    ids, new = list(ids), []
    while len(new) < n and end not in new:
        new.append(int(model(torch.tensor([ids + new]))[0, -1].argmax()))
    return new


def _check_write(candidate):
    model = _model()
    with torch.inference_mode():
        for start in range(20):
            prompt = [start, 1, 2]
            end = _greedy(model, prompt, 8, end=-1)[start % 8]  # a token that the model will write
            expected = _greedy(model, prompt, 8, end)
            got = candidate(model, list(prompt), 8, end)
            if not isinstance(got, list):
                raise Wrong(f"expected a list of token ids, got {type(got).__name__}")
            got = [int(token) for token in got]
            if got == prompt + expected:
                raise Wrong("the prompt is in the result; return the new tokens only")
            if got != expected and got[: len(expected)] == expected:
                raise Wrong("the text goes on after the end token; stop when the model has written it")
            if got != expected and got == expected[:-1]:
                raise Wrong("the last token is missing; the end token belongs to the result too")
            first = model(torch.tensor([prompt]))[0, 0].argmax()
            if got != expected and got and got[0] == first != expected[0]:
                raise Wrong("the first row of the logits tells what follows the first token; the last row is needed")
            if got != expected:
                raise Wrong(f"after {prompt} the greedy tokens are {expected}, got {got}")


WRITE = Exercise(
    id="welcome.write",
    title="The loop of generation",
    prompt="Write the loop: the likeliest next token, again and again, until the end token or `n` tokens.",
    stub='''\
def write(model, ids, n, end):
    """At most n greedy tokens (a list) after the ids; the end token is the last, if it comes."""
    ...
''',
    hints=(
        "`model(torch.tensor([ids]))` gives logits of shape (1, T, V): a row for each token. Which row is it?",
        "The last row: `logits[0, -1].argmax().item()` is the id. Append it, and run the longer list.",
        "Keep the new tokens in a list of their own, and leave the loop after appending `end`.",
    ),
    solution="""\
def write(model, ids, n, end):
    new = []
    for _ in range(n):
        logits = model(torch.tensor([ids + new]))  # (1, T, V)
        new.append(logits[0, -1].argmax().item())
        if new[-1] == end:
            break
    return new
""",
    checks=(_check_write,),
    mistakes=(
        Mistake(
            "def write(model, ids, n, end):\n"
            "    for _ in range(n):\n"
            "        ids = ids + [model(torch.tensor([ids]))[0, -1].argmax().item()]\n"
            "        if ids[-1] == end:\n"
            "            break\n"
            "    return ids\n",
            "return the new tokens only",
        ),
        Mistake(
            "def write(model, ids, n, end):\n"
            "    new = []\n"
            "    for _ in range(n):\n"
            "        new.append(model(torch.tensor([ids + new]))[0, -1].argmax().item())\n"
            "    return new\n",
            "stop when the model has written it",
        ),
        Mistake(
            "def write(model, ids, n, end):\n"
            "    new = []\n"
            "    for _ in range(n):\n"
            "        new.append(model(torch.tensor([ids + new]))[0, 0].argmax().item())\n"
            "        if new[-1] == end:\n"
            "            break\n"
            "    return new\n",
            "the last row is needed",
        ),
    ),
    difficulty=2,
    minutes=10,
)

EXERCISES = (SOFTMAX, WRITE)
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
