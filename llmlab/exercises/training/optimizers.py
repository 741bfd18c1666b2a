"""Exercises, questions and predictions of notebook 10b_training_optimizers."""

from __future__ import annotations

import math

import torch

from ..records import Prediction, Question, exercise

# AdamW where gradients come late --------------------------------------------------------------------------------------


def _draw(*shape):
    return torch.randn(*shape).double()


def _late():
    """A parameter that comes late, one with a gap, one that never has a gradient; matrices and vectors; no decay."""
    yield [_draw(2), _draw(2)], [[_draw(2), None], [_draw(2), None], [_draw(2), _draw(2)]], 0.1, (0.9, 0.99), 1e-8, 0.0
    yield [_draw(2, 3), _draw(3)], [[_draw(2, 3), _draw(3)]], 0.2, (0.8, 0.9), 0.05, 0.5
    shapes = ((2, 2), (3,), (1, 4), (2,), (1, 2, 2))
    for n_steps, rate, betas, eps, decay in ((6, 0.3, (0.5, 0.7), 0.02, 0.4), (9, 0.05, (0.9, 0.6), 1e-3, 1.5)):
        steps = [[_draw(*shape) for shape in shapes] for _ in range(n_steps)]
        for number, step in enumerate(steps):
            step[2] = None if number < n_steps // 2 else step[2]
            step[3] = None
            step[0] = None if number == 2 else step[0]
        yield [2 * _draw(*shape) for shape in shapes], steps, rate, betas, eps, decay


@exercise(
    "training.late",
    title="AdamW, and a gradient that comes late",
    prompt=(
        "Take the steps of AdamW. A tensor whose gradient is None does nothing in that step. Only tensors with two "
        "dimensions or more decay (why: see below). You may call `adam`."
    ),
    hints=(
        "Take one tensor at a time, with an m, a v and a count t of its own; all begin at 0. Walk through its "
        "gradients, and skip None.",
        "In a step: t += 1; new m and v; if the tensor is a matrix, p = p * (1 - rate * decay); then Adam's step with "
        "m / (1 - beta1**t) and v / (1 - beta2**t).",
        "p = p - rate * m_hat / (v_hat**0.5 + eps). No gradient ever hears of the decay.",
    ),
    inputs=_late,
    keeps=("params", "gradients"),
    difficulty=3,
    minutes=10,
)
def adamw_steps(params, gradients, rate, betas, eps, decay):
    """params: a list of tensors; gradients: for each step a list with a tensor or None for each
    of params; betas: (beta1, beta2). Returns a list of new tensors: params after all steps.
    """
    beta1, beta2 = betas
    moved = []
    for number, p in enumerate(params):
        m = v = torch.zeros_like(p)
        own = [step[number] for step in gradients if step[number] is not None]
        for t, g in enumerate(own, 1):  # t counts this tensor's steps
            m = beta1 * m + (1 - beta1) * g
            v = beta2 * v + (1 - beta2) * g**2
            if p.dim() >= 2:
                p = p * (1 - rate * decay)
            p = p - rate * m / (1 - beta1**t) / ((v / (1 - beta2**t)) ** 0.5 + eps)
        moved.append(p)
    return moved


def _moved(
    params, gradients, rate, betas, eps, decay, *,
    own_count=True, skip="all", decays=lambda p: p.dim() >= 2, shrink=lambda rate, decay: 1 - rate * decay,
    inside=False, after=False, corrected=True, idle_decay=False, first=1, shared=False, grows=lambda t: t,
):  # fmt: skip
    """`adamw_steps` with one part replaced. `skip`: "all" without a gradient, or nothing ("zeros" count as one);
    `own_count`: a tensor counts its own steps; `idle_decay`: it decays without a gradient as well."""
    beta1, beta2 = betas
    moved, m, v = [], None, None
    for number, p in enumerate(params):
        if m is None or not shared or m.shape != p.shape:
            m, v = torch.zeros_like(p), torch.zeros_like(p)
        t = first - 1
        for n_step, step in enumerate(gradients, first):
            g = step[number]
            if g is None and skip == "zeros":
                g = torch.zeros_like(p)
            if g is None:
                if idle_decay and decays(p):
                    p = p * shrink(rate, decay)
                continue
            t = t + 1 if own_count else n_step
            if inside and decays(p):
                g = g + decay * p
            m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g**2
            m_hat, v_hat = (m / (1 - beta1 ** grows(t)), v / (1 - beta2 ** grows(t))) if corrected else (m, v)
            change = rate * m_hat / (v_hat**0.5 + eps)
            factor = shrink(rate, decay) if decays(p) and not inside else 1
            p = (p - change) * factor if after else p * factor - change
        moved.append(p)
    return moved


def _stopped(params, gradients, *more):
    kept = [step for step in gradients if all(g is not None for g in step)]
    return adamw_steps.answer(params, kept, *more)


def _one_by_one(params, gradients, rate, betas, eps, decay, *, anew=False):
    """m and v begin anew in each step, the count too (`anew`: it goes on)."""
    now, counts = list(params), [0] * len(params)
    for step in gradients:
        for number, g in enumerate(step):
            if g is None:
                continue
            p, counts[number] = now[number], counts[number] + 1
            t = counts[number] if anew else 1
            m, v = (1 - betas[0]) * g / (1 - betas[0] ** t), (1 - betas[1]) * g**2 / (1 - betas[1] ** t)
            now[number] = p * (1 - rate * decay * (p.dim() >= 2)) - rate * m / (v**0.5 + eps)
    return now


def _corrected_kept(params, gradients, rate, betas, eps, decay, *, inside=False, kept=True):
    moved = []
    for number, p in enumerate(params):
        m = v = torch.zeros_like(p)
        own = [step[number] for step in gradients if step[number] is not None]
        for t, g in enumerate(own, 1):
            m, v = betas[0] * m + (1 - betas[0]) * g, betas[1] * v + (1 - betas[1]) * g**2
            m_hat, v_hat = m / (1 - betas[0] ** t), v / (1 - betas[1] ** t)
            if kept:
                m, v = m_hat, v_hat
            root = (v_hat + eps) ** 0.5 if inside else v_hat**0.5 + eps
            p = p * (1 - rate * decay * (p.dim() >= 2)) - rate * m_hat / root
        moved.append(p)
    return moved


def _gap(params, gradients, rate, betas, eps, decay, *, after):
    """`after(m, v, t, last)` says what a step without a gradient leaves: m, v, t and a gradient to take or None."""
    moved = []
    for number, p in enumerate(params):
        m, v, t, last = torch.zeros_like(p), torch.zeros_like(p), 0, None
        for step in gradients:
            g = step[number]
            if g is None:
                m, v, t, g = after(m, v, t, last)
            if g is None:
                continue
            t, last = t + 1, g
            m, v = betas[0] * m + (1 - betas[0]) * g, betas[1] * v + (1 - betas[1]) * g**2
            change = rate * m / (1 - betas[0] ** t) / ((v / (1 - betas[1] ** t)) ** 0.5 + eps)
            p = p * (1 - rate * decay * (p.dim() >= 2)) - change
        moved.append(p)
    return moved


def _faded(params, gradients, rate, betas, eps, decay):
    return _gap(
        params, gradients, rate, betas, eps, decay,
        after=lambda m, v, t, last: (betas[0] * m, betas[1] * v, t, None),
    )  # fmt: skip


adamw_steps.plant({
    "the bias correction counts all steps of the loop; a tensor whose gradients come late has averages that began with "
    "its own first gradient, so count its own":
        lambda *given: _moved(*given, own_count=False),
    "a missing gradient is taken for zeros: the averages shrink, the count goes on and the tensor moves. Skip it":
        lambda *given: _moved(*given, skip="zeros"),
    "a tensor without a gradient decays all the same; it does nothing in that step":
        lambda *given: _moved(*given, idle_decay=True),
    "a step is skipped for all tensors if one of them has no gradient; skip only that one":
        _stopped,
    "the decay is added to the gradient, so that Adam divides it by the gradients' size: that is Adam with an L2 "
    "penalty. AdamW shrinks the weight itself, p * (1 - rate * decay)":
        lambda *given: _moved(*given, inside=True),
    "vectors decay as well; only tensors with two dimensions or more do":
        lambda *given: _moved(*given, decays=lambda p: True),
    "the vectors decay, and the matrices do not; it is the other way round":
        lambda *given: _moved(*given, decays=lambda p: p.dim() < 2),
    "only tensors of exactly two dimensions decay; it is two or more":
        lambda *given: _moved(*given, decays=lambda p: p.dim() == 2),
    "matrices do not decay, only tensors with more than two dimensions; it is two or more":
        lambda *given: _moved(*given, decays=lambda p: p.dim() > 2),
    "other betas are taken than those that are given":
        (
            lambda params, gradients, rate, betas, *more: _moved(params, gradients, rate, (0.9, 0.95), *more),
            lambda params, gradients, rate, betas, *more: _moved(params, gradients, rate, (0.9, 0.999), *more),
            lambda params, gradients, rate, betas, eps, decay: _moved(
                params, gradients, rate, (0.9, 0.95), 1e-8, decay),
        ),
    "m and v begin anew in each step; keep them from step to step":
        (
            _one_by_one,
            lambda *given: _one_by_one(*given, anew=True),
        ),
    "the corrected averages are kept for the next step; m and v go on without the correction":
        lambda *given: _corrected_kept(*given),
    "eps is within the root; it is added to the root, √v_hat + eps":
        lambda *given: _corrected_kept(*given, inside=True, kept=False),
    "m, v and the count begin again after a step without a gradient; they wait for the next":
        lambda *given: _gap(*given, after=lambda m, v, t, last: (0 * m, 0 * v, 0, None)),
    "the averages fade in a step without a gradient; they stay as they are":
        _faded,
    "an old gradient acts again where there is none (`p.grad` was left as it was); None is to be set as well":
        lambda *given: _gap(*given, after=lambda m, v, t, last: (m, v, t, last)),
    "nothing decays":
        lambda *given: _moved(*given, decays=lambda p: False),
    "the decay is not multiplied by the rate: p * (1 - rate * decay)":
        lambda *given: _moved(*given, shrink=lambda rate, decay: 1 - decay),
    "the decay makes the weights larger: p * (1 - rate * decay)":
        lambda *given: _moved(*given, shrink=lambda rate, decay: 1 + rate * decay),
    "only the decay's factor is left of a matrix: p * rate * decay. It shrinks by that part, p * (1 - rate * decay)":
        lambda *given: _moved(*given, shrink=lambda rate, decay: rate * decay),
    "the decay comes after Adam's step and shrinks that too; shrink the weight first":
        lambda *given: _moved(*given, after=True),
    "the bias correction is left out: m and v began at 0 and are too small at first":
        lambda *given: _moved(*given, corrected=False),
    "the correction of every step is that of the first, 1 - beta; it is 1 - beta**t":
        lambda *given: _moved(*given, grows=lambda t: 1),
    "t begins at 0, and 1 - beta**0 is 0: something is divided by 0. The first step is step 1":
        lambda *given: _moved(*given, first=0),
    "the betas are exchanged: beta1 is for the mean m, beta2 for the squares v":
        lambda params, gradients, rate, betas, eps, decay: _moved(params, gradients, rate, betas[::-1], eps, decay),
    "m and v go on from one tensor to the next of the same shape; each tensor has its own":
        lambda *given: _moved(*given, shared=True),
    "eps is left out or another one is taken; it is added to the root, √v_hat + eps":
        (
            lambda params, gradients, rate, betas, eps, decay: _moved(params, gradients, rate, betas, 1e-8, decay),
            lambda params, gradients, rate, betas, eps, decay: _moved(params, gradients, rate, betas, 0, decay),
        ),
    "the steps go uphill: subtract":
        lambda params, gradients, *more: _moved(
            params, [[g if g is None else -g for g in step] for step in gradients], *more),
})  # fmt: skip


# Which parameters decay -----------------------------------------------------------------------------------------------


def _named():
    """Tied and untied, equal values in different tensors, names that mislead, a tensor of three dimensions."""
    one = torch.randn(3, 2)
    yield ([("embedding.weight", one), ("norm.weight", torch.ones(2)), ("head.weight", one)],)
    yield ([("a.weight", torch.ones(2, 2)), ("b.weight", torch.ones(2, 2)), ("a.bias", torch.zeros(2))],)
    table, inner = torch.randn(4, 3), torch.randn(3, 3)
    pairs = [
        ("head.weight", table),
        ("blocks.0.norm.weight", torch.ones(3)),
        ("blocks.0.norm_in.proj", inner),
        ("blocks.1.norm.weight", torch.ones(3)),
        ("blocks.1.unbiased", torch.randn(3, 3)),
        ("blocks.1.scale", torch.ones(3)),
        ("blocks.1.shared", inner),
        ("mixer", torch.randn(2, 2, 2)),
        ("up.bias", torch.zeros(3)),
        ("embedding.weight", table),
        ("temperature", torch.tensor(1.0)),
    ]
    yield (pairs,)
    gain = torch.ones(2)
    yield ([("w", torch.randn(2, 2)), ("norm.gain", gain), ("norm.gain_again", gain), ("head.weight", torch.eye(2))],)


@exercise(
    "training.groups",
    title="Who decays, and once",
    prompt="Sort parameters into those that decay and those that do not. One that has two names is one parameter.",
    hints=(
        "Matrices decay, p.dim() >= 2; gains of norms and biases do not, whatever their name.",
        "Two tensors may hold equal numbers and be two parameters. Remember id(p), which is the same for the same "
        "tensor, of those that you have seen.",
    ),
    inputs=_named,
    keeps=("named",),
    difficulty=2,
    minutes=7,
)
def groups_of(named):
    """named: a list of pairs (name, tensor); a tied tensor is there under each of its names.
    Returns two lists of names, in the given order, each parameter under its first name:
    those with two dimensions or more, which decay, and the others.
    """
    decayed, plain, seen = [], [], set()
    for name, p in named:
        if id(p) in seen:
            continue
        seen.add(id(p))
        (decayed if p.dim() >= 2 else plain).append(name)
    return decayed, plain


def _once(named, *, last=False):
    """The pairs without repetitions, under a parameter's first name or its last."""
    found = {}
    for name, p in named:
        if last:
            found.pop(id(p), None)
        found.setdefault(id(p), (name, p))
    return list(found.values())


def _split(named, decays=lambda name, p: p.dim() >= 2):
    return [name for name, p in named if decays(name, p)], [name for name, p in named if not decays(name, p)]


def _unlike(named, same):
    kept = []
    for name, p in named:
        if not any(same(p, other) for _, other in kept):
            kept.append((name, p))
    return kept


def _never_tied(named):
    times = [id(p) for _, p in named]
    return [(name, p) for name, p in named if times.count(id(p)) == 1]


groups_of.plant({
    "a tied tensor is in it under both names: the optimizer would move it twice in a step. Take it once":
        _split,
    "a tied tensor has its last name; take its first":
        (
            lambda named: _split(_once(named, last=True)),
            lambda named: _split(list({id(p): (name, p) for name, p in named}.values())),
        ),
    "a tied tensor is missing altogether; it is one parameter, under its first name":
        lambda named: _split(_never_tied(named)),
    "two tensors with equal numbers are taken for one: fresh gains are all ones. The same is what is the same object, "
    "by id(p) or `is`":
        lambda named: _split(_unlike(named, lambda p, other: p.shape == other.shape and bool((p == other).all()))),
    "two tensors of the same shape are taken for one; compare by id(p) or `is`":
        lambda named: _split(_unlike(named, lambda p, other: p.shape == other.shape)),
    "head.weight is left out by its name; it is the same tensor as the embedding only where it is tied":
        (
            lambda named: _split([pair for pair in named if pair[0] != "head.weight"]),
            lambda named: _split(_once([pair for pair in named if pair[0] != "head.weight"])),
        ),
    "biases are told by their name and the gains of norms decay; go by p.dim()":
        lambda named: _split(_once(named), lambda name, p: "bias" not in name),
    "norms are told by their name: biases decay, and matrices with such a name do not. Go by p.dim()":
        lambda named: _split(_once(named), lambda name, p: "norm" not in name),
    "norms and biases are told by their names, which may mislead; go by p.dim()":
        lambda named: _split(_once(named), lambda name, p: "norm" not in name and "bias" not in name),
    "what is called weight decays, gains of norms too, and matrices with other names do not; go by p.dim()":
        lambda named: _split(_once(named), lambda name, p: name.endswith("weight")),
    "the embedding does not decay; here it is a matrix like others":
        lambda named: _split(_once(named), lambda name, p: p.dim() >= 2 and "embedding" not in name),
    "only tensors of exactly two dimensions decay; it is two or more":
        lambda named: _split(_once(named), lambda name, p: p.dim() == 2),
    "vectors decay too; only tensors with two dimensions or more do":
        lambda named: _split(_once(named), lambda name, p: p.dim() >= 1),
    "all decay":
        lambda named: _split(_once(named), lambda name, p: True),
    "the two lists are exchanged: first those that decay":
        lambda named: _split(_once(named))[::-1],
    "the tensors come back; names are asked":
        lambda named: (
            [p for _, p in _once(named) if p.dim() >= 2], [p for _, p in _once(named) if p.dim() < 2]),
})  # fmt: skip


# The rate of a step ---------------------------------------------------------------------------------------------------


def _steps():
    """Around each joint of the schedule, and beyond its end; no warm-up, one of one step, one as long as the run."""
    for step in (0, 1, 3, 4, 6, 7, 8):
        yield step, 8, 1.0, 4, 0.0
    for step in (0, 1, 4, 5, 9):
        yield step, 5, 0.3, 0, 0.1
    for step in (0, 2, 3, 11, 19, 20, 40):
        yield step, 20, 2.0, 3, 0.5
    for step in (0, 1, 3):
        yield step, 6, 0.9, 1, 0.2
    for step in (0, 2, 3):
        yield step, 3, 0.6, 3, 0.1
    for step in (0, 2, 3):
        yield step, 3, 0.5, 10, 0.1


@exercise(
    "training.schedule",
    title="A first step that counts",
    prompt=(
        "The first step of a run with this schedule moves nothing, and later the rate jumps once. Mend both, and "
        "nothing else."
    ),
    hints=(
        "What is the rate at step 0? Steps count from 0, and the first of `warmup` steps should be a first part of "
        "the way up.",
        "The last step of the warm-up, warmup − 1, has the whole peak: (step + 1) / warmup.",
        "`progress` goes from 0 to 1. In which step does it begin, and how many steps has it left?",
    ),
    inputs=_steps,
    difficulty=2,
    minutes=5,
)
def rate_of(step, n_steps, peak, warmup, floor):
    """The learning rate of step 0, 1, …: up to peak in `warmup` steps, in equal parts, the last
    of them at the peak; then half a cosine that reaches floor at n_steps, and stays there.
    """
    if step >= n_steps:
        return floor
    if step < warmup:
        return peak * (step + 1) / warmup
    progress = (step - warmup) / (n_steps - warmup)
    return floor + (peak - floor) * (1 + math.cos(math.pi * progress)) / 2


@rate_of.mend(
    "nothing is mended yet: step 0 has the rate 0, so that the first batch is read and nothing moves, and the rate "
    "jumps where the warm-up ends"
)
def _idle_and_jumping(step, n_steps, peak, warmup, floor):
    if step >= n_steps:
        return floor
    if step < warmup:
        return peak * step / warmup
    progress = step / n_steps
    return floor + (peak - floor) * (1 + math.cos(math.pi * progress)) / 2


def _scheduled(
    step, n_steps, peak, warmup, floor, *,
    up=lambda step, warmup, peak, floor: peak * (step + 1) / warmup, inclusive=False,
    progress=lambda step, n_steps, warmup: (step - warmup) / max(1, n_steps - warmup),
    down=lambda peak, floor, progress: floor + (peak - floor) * (1 + math.cos(math.pi * progress)) / 2,
    ended=True,
):  # fmt: skip
    """`rate_of` with one part replaced."""
    if ended and step >= n_steps:
        return floor
    if step < warmup or (inclusive and step == warmup):
        return up(step, warmup, peak, floor)
    return down(peak, floor, progress(step, n_steps, warmup))


def _idle(step, n_steps, peak, warmup, floor):
    return _scheduled(step, n_steps, peak, warmup, floor, up=lambda step, warmup, peak, floor: peak * step / warmup)


rate_of.plant({
    "step 0 has the rate 0: the first batch is read and nothing moves, while Adam's count goes on. Steps count from "
    "0, so the way up is (step + 1) / warmup":
        _idle,
    "the way up is divided by warmup + 1, so that its last step is below the peak: (step + 1) / warmup":
        lambda *given: _scheduled(*given, up=lambda step, warmup, peak, floor: peak * (step + 1) / (warmup + 1)),
    "the warm-up has one step too many, and that is above the peak: it ends before step `warmup`":
        lambda *given: _scheduled(*given, inclusive=True),
    "step 0 is at floor, which may be 0; the first step is a first part of the peak, (step + 1) / warmup":
        lambda *given: _scheduled(
            *given, up=lambda step, warmup, peak, floor: floor + (peak - floor) * step / warmup),
    "the way up begins at floor; it is (step + 1) / warmup of the peak":
        lambda *given: _scheduled(
            *given, up=lambda step, warmup, peak, floor: floor + (peak - floor) * (step + 1) / warmup),
    "step 0 is set right alone: the other steps of the warm-up are one part too low. (step + 1) / warmup for all":
        lambda *given: _scheduled(
            *given, up=lambda step, warmup, peak, floor: peak * max(step, 1) / warmup),
    "there is no way up: the warm-up's steps are at the peak":
        lambda *given: _scheduled(*given, up=lambda step, warmup, peak, floor: peak),
    "the cosine counts from step 0, so that the rate jumps where the warm-up ends: (step − warmup) / (n_steps − "
    "warmup)":
        lambda *given: _scheduled(*given, progress=lambda step, n_steps, warmup: step / n_steps),
    "the cosine takes n_steps from the end of the warm-up on and does not arrive: divide by n_steps − warmup":
        lambda *given: _scheduled(*given, progress=lambda step, n_steps, warmup: (step - warmup) / n_steps),
    "step 0 has the rate 0: warmup − 1 only moves the peak to its place. (step + 1) / warmup":
        lambda *given: _scheduled(*given, up=lambda step, warmup, peak, floor: peak * step / max(1, warmup - 1)),
    "the cosine is one step ahead; the +1 belongs to the warm-up alone":
        (
            lambda step, *more: _idle(step + 1, *more),
            lambda *given: _scheduled(
                *given, progress=lambda step, n_steps, warmup: (step + 1 - warmup) / max(1, n_steps - warmup)),
            lambda step, n_steps, *more: (
                rate_of.answer(step + 1, n_steps, *more) if step + 1 > more[1] else rate_of.answer(
                    step, n_steps, *more)),
        ),
    "floor is left out: the cosine ends at 0":
        lambda *given: _scheduled(
            *given, down=lambda peak, floor, progress: peak * (1 + math.cos(math.pi * progress)) / 2),
    "floor is added to the whole peak: floor + (peak − floor) · …":
        lambda *given: _scheduled(
            *given, down=lambda peak, floor, progress: floor + peak * (1 + math.cos(math.pi * progress)) / 2),
    "the rate is cut off at floor; the cosine bends towards it: floor + (peak − floor) · …":
        lambda *given: _scheduled(
            *given, down=lambda peak, floor, progress: max(floor, peak * (1 + math.cos(math.pi * progress)) / 2)),
    "the cosine is not halved and goes below floor: (1 + cos) / 2":
        lambda *given: _scheduled(
            *given, down=lambda peak, floor, progress: floor + (peak - floor) * math.cos(math.pi * progress)),
    "the way down is a straight line; it is half a cosine":
        lambda *given: _scheduled(
            *given, down=lambda peak, floor, progress: floor + (peak - floor) * (1 - progress)),
    "the cosine is upside down":
        lambda *given: _scheduled(
            *given, down=lambda peak, floor, progress: floor + (peak - floor) * (1 - math.cos(math.pi * progress)) / 2),
    "after n_steps the rate rises again; it stays at floor":
        lambda *given: _scheduled(*given, ended=False),
})  # fmt: skip


# A large batch in parts -----------------------------------------------------------------------------------------------


def _parts():
    """Even and uneven parts, one of a single target, one without any; joint norms above and below the limit."""
    yield [[torch.tensor([2.0])], [torch.tensor([-4.0])]], [3, 1], 10.0
    yield [[torch.tensor([3.0]), torch.tensor([0.0])], [torch.tensor([3.0]), torch.tensor([8.0])]], [2, 2], 2.5
    for counts, max_norm, scale in (
        ([5, 1, 30], 1.0, 3.0),
        ([7, 7], 0.5, 2.0),
        ([4, 0, 9, 2], 50.0, 1.0),
        ([6], 0.1, 1.0),
        ([3, 1], 0.1, 0.2),
    ):
        least = min(scale, 1)
        yield (
            [[scale * (n > 0) * _draw(2, 3), scale * (n > 0) * _draw(4), least * (n > 0) * _draw(1)] for n in counts],
            counts,
            max_norm,
        )


@exercise(
    "training.accumulate",
    title="A large batch in parts",
    prompt="Make the gradient of the whole batch from those of its parts, and clip it.",
    hints=(
        "The batch's loss is the mean over all its targets. A part's mean, times its number of targets, is its sum.",
        "Add up number · gradient over the parts, and divide by the number of all targets, for each tensor.",
        "Then clip, once: the joint norm of all tensors; if it is above max_norm, multiply all by max_norm / norm.",
    ),
    inputs=_parts,
    keeps=("gradients", "counts"),
    difficulty=2,
    minutes=8,
)
def accumulate(gradients, counts, max_norm):
    """gradients: for each part of the batch a list of tensors, the slopes of the part's *mean* loss;
    counts: each part's number of targets, 0 where all of its slopes are 0. Returns a list of
    tensors: the slopes of the mean over all targets, clipped to the joint norm max_norm.
    """
    total = []
    for tensors in zip(*gradients, strict=True):  # one tensor's slopes in each part
        total.append(sum(n * g for n, g in zip(counts, tensors, strict=True)) / sum(counts))
    norm = sum((g**2).sum() for g in total) ** 0.5
    return [g * min(1.0, max_norm / max(norm.item(), 1e-12)) for g in total]


def _clipped(gradients, max_norm):
    norm = sum((g**2).sum() for g in gradients).item() ** 0.5
    return [g * (max_norm / norm if norm > max_norm else 1.0) for g in gradients]


def _weighed(gradients, shares):
    return [
        sum(share * g for share, g in zip(shares, tensors, strict=True)) for tensors in zip(*gradients, strict=True)
    ]


def _shares(counts):
    return [n / sum(counts) for n in counts]


def _clipped_on_the_way(gradients, counts, max_norm):
    total = [torch.zeros_like(g) for g in gradients[0]]
    for part, share in zip(gradients, _shares(counts), strict=True):
        total = _clipped([old + share * g for old, g in zip(total, part, strict=True)], max_norm)
    return total


accumulate.plant({
    "that is the mean of the parts' means: a target in a small part counts more than one in a large part. Weigh each "
    "part by its number of targets":
        lambda gradients, counts, max_norm: _clipped(
            _weighed(gradients, [1 / len(counts)] * len(counts)), max_norm),
    "an empty part counts in the mean of means; weigh each part by its number of targets":
        lambda gradients, counts, max_norm: _clipped(
            _weighed(gradients, [1 / max(1, sum(n > 0 for n in counts))] * len(counts)), max_norm),
    "the parts are added and not divided: the gradient grows with the number of parts":
        lambda gradients, counts, max_norm: _clipped(_weighed(gradients, [1] * len(counts)), max_norm),
    "number · gradient is added up, and not divided by the number of all targets":
        lambda gradients, counts, max_norm: _clipped(_weighed(gradients, counts), max_norm),
    "number · gradient is added up and divided by the number of parts; divide by the number of all targets":
        lambda gradients, counts, max_norm: _clipped(
            _weighed(gradients, [n / len(counts) for n in counts]), max_norm),
    "each part is clipped before it is added: the limit is for the whole batch's gradient. Clip once, at the end":
        lambda gradients, counts, max_norm: _weighed(
            [_clipped(part, max_norm) for part in gradients], _shares(counts)),
    "what has been added so far is clipped at every part; clip once, at the end":
        _clipped_on_the_way,
    "the norm is the root of the sum of squares; the root is left out":
        lambda gradients, counts, max_norm: [
            g * min(1, max_norm / sum((h**2).sum() for h in _weighed(gradients, _shares(counts))).item())
            for g in _weighed(gradients, _shares(counts))],
    "the tensors' norms are added up; the joint norm is the root of the sum of all squares":
        lambda gradients, counts, max_norm: [
            g * min(1, max_norm / sum(h.norm() for h in _weighed(gradients, _shares(counts))).item())
            for g in _weighed(gradients, _shares(counts))],
    "each number is cut off at max_norm; the norm is to be clipped, with one factor for all":
        lambda gradients, counts, max_norm: [
            g.clamp(-max_norm, max_norm) for g in _weighed(gradients, _shares(counts))],
    "it is clipped before it is divided; clip once, at the end":
        lambda gradients, counts, max_norm: [g / sum(counts) for g in _clipped(_weighed(gradients, counts), max_norm)],
    "nothing is clipped":
        lambda gradients, counts, max_norm: _weighed(gradients, _shares(counts)),
    "each tensor is clipped by itself, and the whole arrow turns; one norm and one factor for all":
        lambda gradients, counts, max_norm: [
            _clipped([g], max_norm)[0] for g in _weighed(gradients, _shares(counts))],
    "what is short is made longer; clip only what is longer than max_norm":
        lambda gradients, counts, max_norm: [
            g * max_norm / sum((h**2).sum() for h in _weighed(gradients, _shares(counts))) ** 0.5
            for g in _weighed(gradients, _shares(counts))],
    "only the last part is left, as if the gradients were emptied before each part; empty them once a batch":
        (
            lambda gradients, counts, max_norm: _clipped(gradients[-1], max_norm),
            lambda gradients, counts, max_norm: _clipped(
                [_shares(counts)[-1] * g for g in gradients[-1]], max_norm),
        ),
    "only the first part is left; add up all":
        (
            lambda gradients, counts, max_norm: _clipped(gradients[0], max_norm),
            lambda gradients, counts, max_norm: _clipped([_shares(counts)[0] * g for g in gradients[0]], max_norm),
        ),
    "the shares are turned round: a part with many targets counts more":
        lambda gradients, counts, max_norm: _clipped(
            _weighed(gradients, [1 / max(1, n) / sum(1 / max(1, n) for n in counts) for n in counts]), max_norm),
    "one joined tensor comes back; return a list, a tensor of its own shape for each":
        lambda gradients, counts, max_norm: torch.cat(
            [g.flatten() for g in _clipped(_weighed(gradients, _shares(counts)), max_norm)]),
})  # fmt: skip


# Dropout --------------------------------------------------------------------------------------------------------------


def _layers():
    """Rows with masks of their own, both modes, p of 0, a number that is drawn to be just p."""
    row, update, uniform = (torch.tensor([each]) for each in ([1.0, 2.0, 4.0], [3.0, 1.0, -3.0], [0.5, 0.1, 0.9]))
    yield row, update, uniform, 0.5, True
    yield row, update, uniform, 0.5, False
    for shape, p, training in (
        ((3, 4), 0.2, True), ((2, 3, 5), 0.3, True), ((4, 6), 0.75, True), ((2, 5), 0.3, False), ((2, 3), 0.0, True),
    ):  # fmt: skip
        yield 5 * torch.randn(shape), 3 * torch.randn(shape), torch.rand(shape), p, training


@exercise(
    "training.dropout",
    title="Dropout where it does not belong",
    prompt=(
        "A part of a block adds its update to the residual stream, with dropout. Two things are wrong: deep in a model "
        "little is left of the embedding, and in use nothing should be scaled. Mend it."
    ),
    hints=(
        "What if x goes through twelve parts like this one? Each number of it survives all of them with what chance?",
        "Only the update is dropped; x passes as it is, in training and in use.",
        "In use it is x + update. So that the mean is the same in training, what stays of the update is divided by "
        "1 − p.",
    ),
    inputs=_layers,
    keeps=("x", "update"),
    difficulty=2,
    minutes=5,
)
def add_dropped(x, update, uniform, p, training):
    """x, the stream, update, what a part adds, and uniform, random numbers from 0 to 1: all (..., D).
    A number of what is dropped goes where its random number is below p. In use: x + update. In
    training the same, on average over the draws. -> (..., D)
    """
    if training:
        return x + update * (uniform >= p) / (1 - p)
    return x + update


@add_dropped.mend("nothing is mended yet: the whole stream is dropped, and in use all is multiplied by 1 − p")
def _dropped_stream(x, update, uniform, p, training):
    if training:
        return (x + update) * (uniform >= p)
    return (x + update) * (1 - p)


def _dropped(part, uniform, p, training, *, scale=lambda p: 1 / (1 - p), in_use=lambda part, uniform, p: part):
    return part * (uniform >= p) * scale(p) if training else in_use(part, uniform, p)


def _by_count(part, uniform, p, training):
    kept = uniform >= p
    return part * kept * kept.numel() / max(1, int(kept.sum())) if training else part


def _added(rule):
    """x plus the update by a rule for dropout."""
    return lambda x, update, uniform, p, training: x + rule(update, uniform, p, training)


add_dropped.plant({
    "the stream is dropped, too: x passes as it is, and only the update is dropped":
        (
            lambda x, update, *more: _dropped(x + update, *more),
            lambda x, update, uniform, p, training: (x + update) * (uniform >= p) if training else x + update,
        ),
    "the stream is dropped and the update is not; it is the other way round":
        lambda x, update, *more: _dropped(x, *more) + update,
    "x and what is left of the update are both divided by 1 − p; only the update is":
        lambda x, update, uniform, p, training: (
            (x + update * (uniform >= p)) / (1 - p) if training else x + update),
    "the dropped update comes back without x; it is added to the stream":
        (
            lambda x, update, *more: _dropped(update, *more),
            lambda x, update, uniform, p, training: (
                update * (uniform >= p) / (1 - p) if training else x + update),
        ),
    "the scale is missing: with a part of the numbers gone the rest is divided by 1 − p, so that the mean stays":
        _added(lambda *given: _dropped(*given, scale=lambda p: 1)),
    "the update is not scaled in training, and in use it is multiplied by 1 − p (as in the paper of 2014); divide in "
    "training, and change nothing in use":
        (
            _added(lambda *given: _dropped(*given, scale=lambda p: 1, in_use=lambda part, uniform, p: part * (1 - p))),
            lambda x, update, uniform, p, training: (
                x + update * (uniform >= p) if training else (x + update) * (1 - p)),
        ),
    "numbers are dropped in use as well; out of training it is x + update":
        _added(lambda *given: _dropped(*given, in_use=lambda part, uniform, p: part * (uniform >= p) / (1 - p))),
    "in use something is scaled; out of training it is x + update":
        (
            _added(lambda *given: _dropped(*given, in_use=lambda part, uniform, p: part * (1 - p))),
            _added(lambda *given: _dropped(*given, in_use=lambda part, uniform, p: part / (1 - p))),
            lambda x, update, uniform, p, training: (
                x + update * (uniform >= p) / (1 - p) if training else (x + update) * (1 - p)),
        ),
    "training is turned round: numbers are dropped in use and not in training":
        _added(lambda part, uniform, p, training: _dropped(part, uniform, p, not training)),
    "what stays is divided by p; a share of 1 − p stays":
        _added(lambda *given: _dropped(*given, scale=lambda p: 1 / p if p else math.inf)),
    "what stays is multiplied by 1 − p; divide by it":
        _added(lambda *given: _dropped(*given, scale=lambda p: 1 - p)),
    "the mask is turned round: what is drawn below p goes":
        _added(lambda part, uniform, p, training: part * (uniform < p) / (1 - p) if training else part),
    "a number drawn to be just p is dropped; only those below p are":
        _added(lambda part, uniform, p, training: part * (uniform > p) / (1 - p) if training else part),
    "all rows have the mask of the first; each has its own":
        _added(lambda part, uniform, p, training: (
            part * (uniform.flatten(0, -2)[0] >= p) / (1 - p) if training else part)),
    "a row goes or stays as a whole; each number has its own draw":
        _added(lambda part, uniform, p, training: part * (uniform[..., :1] >= p) / (1 - p) if training else part),
    "the scale is made from the count of those that stayed; it is 1 / (1 − p) whatever was drawn":
        _added(_by_count),
    "random numbers of its own are drawn; take those that are given":
        (
            _added(lambda part, uniform, p, training: torch.nn.functional.dropout(part, p, training)),
            _added(lambda part, uniform, p, training: torch.nn.functional.dropout(part, p, True)),
            _added(lambda part, uniform, p, training: _dropped(part, torch.rand(part.shape), p, training)),
        ),
    "the `x` that was given was changed; make a new tensor":
        lambda x, update, *more: x.add_(_dropped(update, *more)),
    "the `update` that was given was changed; make a new tensor":
        lambda x, update, uniform, p, training: x + (update.mul_((uniform >= p) / (1 - p)) if training else update),
})  # fmt: skip


EXERCISES = (adamw_steps, groups_of, rate_of, accumulate, add_dropped)
PREDICTIONS = (
    Prediction(
        id="training.pulled",
        text=(
            "Adam gets a decay of 0.1 as a part of the gradient: 0.1 times the weight is added to each gradient. One "
            "weight has gradients of about ±10, another of about ±0.01, both without a direction. Both begin at 1. "
            "Which is pulled to 0 more?"
        ),
        options=("the one with large gradients", "the one with small gradients", "both alike"),
    ),
    Prediction(
        id="training.gap",
        text=(
            "A small model reads the same 1,000 letters again and again, for 200 steps. How large is its loss on other "
            "stories of the same world then, as a multiple of its loss on those letters? (Guessing costs 4.0 nats.)"
        ),
        unit="times",
    ),
)

QUESTIONS = (
    Question(
        id="training.tied_decay",
        text="A model's head and its embedding are one tensor. An optimizer's list has it twice. What would follow?",
        options=(
            "Nothing: it is the same tensor",
            "Each step would move it twice and shrink it twice",
            "The two become different",
            "Its gradient is halved",
        ),
        answer=1,
        why=(
            "An optimizer walks through its list, and would come by it twice.",
            "Two steps with one gradient, and two decays.",
            "They stay one tensor, whatever moves it.",
            "Its gradient is the sum of both uses, in any case.",
        ),
    ),
    Question(
        id="training.clip_adam",
        text="Every gradient of a run is clipped to a hundredth of its length, always by the same factor. Adam then …",
        options=(
            "takes steps of a hundredth",
            "takes the same steps, apart from what epsilon does",
            "takes larger steps",
            "stops",
        ),
        answer=1,
        why=(
            "That is SGD. Adam divides by the size of the gradients that it has seen, which are all smaller.",
            "m and √v shrink alike. Clipping matters where it acts on some steps and not on others.",
            "m and √v shrink alike.",
            "Only near epsilon, 1e-8.",
        ),
    ),
    Question(
        id="training.mean_of_means",
        text=(
            "Four parts of a batch have 250, 250, 250 and 10 targets. A loop adds up each part's mean loss, divided "
            "by 4. How much does a target of the last part count, compared with one of the first?"
        ),
        options=("as much", "25 times as much", "a twenty-fifth", "4 times as much"),
        answer=1,
        why=(
            "Only if the parts had equally many targets.",
            "Each part has a quarter of the weight, and shares it among its targets: 1/10 against 1/250.",
            "Fewer share the same quarter, so each has more.",
            "The number of parts is the same for all.",
        ),
    ),
)
