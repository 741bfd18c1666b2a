"""Exercises, questions and predictions of notebook 10d_training_live."""

from __future__ import annotations

import math

import torch

from ..records import Prediction, Question, exercise

# Where a curve jumps --------------------------------------------------------------------------------------------------


def _falling(n, at, depth, *, noise, spikes=(), drift=0.0, begin=4.0):
    """A plateau, a fall of some steps at `at`, a second plateau; single steps stand out."""
    steps = torch.arange(n).double()
    losses = begin - drift * steps - depth * torch.sigmoid((steps - at) / 1.5) + noise * torch.randn(n).double()
    for step, height in spikes:
        losses[step] += height
    return losses


def _curves():
    """A clean fall, noise with single low or high steps, a rise that is larger, a fall near the end; in the last whole
    window, in the first one.
    """
    yield torch.tensor([9.0, 9.0, 9.0, 7.0, 2.0, 1.0, 1.0, 1.0]).double(), 3
    yield torch.tensor([6.0, 6.0, 6.0, 6.0, 6.0, 3.0]).double(), 3
    yield torch.tensor([9.0, 5.0, 2.0, 6.0, 6.0, 6.0]).double(), 3
    yield _falling(40, 24, 1.5, noise=0.02, spikes=((8, -2.5), (15, 2.0))), 5
    yield _falling(60, 18, 1.0, noise=0.1, spikes=((45, 3.0),), drift=0.004), 7
    rising = _falling(50, 12, 0.8, noise=0.02)
    rising[35:] += 1.6
    yield rising, 5
    yield _falling(48, 39, 1.2, noise=0.05, spikes=((4, 2.0), (30, -1.0)), begin=9.0), 9
    yield _falling(30, 11, 0.5, noise=0.01, drift=0.01), 1


@exercise(
    "training.jump",
    title="Where a curve jumps",
    prompt="Find the step after which the smoothed loss falls the most.",
    hints=(
        "The smoothed losses: losses.unfold(0, width, 1).mean(1) has the mean of losses[i : i + width] at i.",
        "How far each falls to the next: smooth[:-1] - smooth[1:]. Take argmax of it.",
        "The mean at i belongs to the middle of its window: step i + width // 2.",
    ),
    inputs=_curves,
    keeps=("losses",),
    difficulty=2,
    minutes=8,
)
def jump(losses, width):
    """losses (N,), a tensor, one a step; width: an odd number. The mean of
    losses[i : i + width] is the smoothed loss of the step in their middle, i + width // 2.
    Returns the step from which it falls the most to the next step's.
    """
    smooth = losses.unfold(0, width, 1).mean(1)  # (N - width + 1,)
    falls = smooth[:-1] - smooth[1:]  # (N - width,)
    return int(falls.argmax()) + width // 2


def _smoothed(losses, width):
    return losses.unfold(0, width, 1).mean(1)


def _fallen(smooth, *, of=lambda before, after: before - after):
    return int(of(smooth[:-1], smooth[1:]).argmax())


def _padded(losses, width):
    half = width // 2
    inside = torch.cat([torch.zeros(half).to(losses), losses, torch.zeros(half).to(losses)])
    return _fallen(_smoothed(inside, width))


def _edges_again(losses, width):
    half = width // 2
    return _fallen(_smoothed(torch.cat([losses[:1].expand(half), losses, losses[-1:].expand(half)]), width))


def _shorter_windows(losses, width, *, before):
    """Means of what there is of each window; `before` how many steps of it lie before its own."""
    begins = [i - before for i in range(len(losses))]
    smooth = torch.stack([losses[max(0, i) : i + width].mean() for i in begins])
    return _fallen(smooth) + width // 2 - before


jump.plant({
    "the curve is not smoothed: that is the largest fall of a single step, and one batch decides":
        lambda losses, width: _fallen(losses),
    "that is where the window begins; its mean belongs to the step in its middle, width // 2 later":
        lambda losses, width: _fallen(_smoothed(losses, width)),
    "that is where the window ends; its mean belongs to the step in its middle":
        lambda losses, width: _fallen(_smoothed(losses, width)) + width - 1,
    "that is the step after the fall; asked is the one from which it falls":
        lambda losses, width: _fallen(_smoothed(losses, width)) + width // 2 + 1,
    "that is where the curve *rises* the most: turn the difference round":
        lambda losses, width: _fallen(_smoothed(losses, width), of=lambda a, b: b - a) + width // 2,
    "falls and rises count alike: leave abs() out, a rise is no jump to a lower loss":
        lambda losses, width: _fallen(_smoothed(losses, width), of=lambda a, b: (a - b).abs()) + width // 2,
    "that is where the loss is lowest, not where it falls the most":
        (
            lambda losses, width: int(_smoothed(losses, width).argmin()) + width // 2,
            lambda losses, width: int(losses.argmin()),
        ),
    "zeros were put before and after the losses (np.convolve(…, 'same') does so too), so that the curve seems to fall "
    "at its end: take only whole windows":
        _padded,
    "at the ends the windows are not whole (cut short, or filled up with the first and the last loss), and their means "
    "leap about: take only whole windows, the last begins at len(losses) - width":
        (
            _edges_again,
            lambda losses, width: _shorter_windows(losses, width, before=0),
            lambda losses, width: _shorter_windows(losses, width, before=width // 2),
        ),
    "the last whole window is left out: range(len(losses) - width + 1) has them all":
        (
            lambda losses, width: _fallen(_smoothed(losses[:-1], width)) + width // 2,
            lambda losses, width: _fallen(_smoothed(losses[:-2], width)) + width // 2,
        ),
    "the first whole window is left out: it begins at step 0":
        lambda losses, width: _fallen(_smoothed(losses[1:], width)) + width // 2 + 1,
    "that is how far it falls; asked is where: argmax, not max":
        lambda losses, width: float((_smoothed(losses, width)[:-1] - _smoothed(losses, width)[1:]).max()),
})  # fmt: skip


# Tellings until a fact is known ---------------------------------------------------------------------------------------


def _told_and_asked():
    """Known late, at once, never, before any telling; single wordings lost again, all of them lost again; told wordings
    learned earlier, or later.
    """

    def rows(*lines):
        return torch.tensor([[mark == "x" for mark in line] for line in lines])

    yield rows("....", "x...", "xx..", "xx.x", "xxxx", "xxxx"), torch.tensor([True, True, False, False])
    yield rows("...", "..x", ".xx", ".xx", "xxx"), torch.tensor([True, False, False])
    yield rows("....", ".x..", "xx..", "xx..", "x..x", "xx.."), torch.tensor([False, True, False, True])
    yield rows("x.x", "xxx", "xxx", "xxx"), torch.tensor([False, True, False])
    yield rows("....", "x..x", "xx.x", "x.xx", "xx.x", "xxxx"), torch.tensor([True, False, False, False])
    yield rows("...", "x..", ".xx", "x.x", "xxx"), torch.tensor([True, False, False])
    yield (
        rows("......", "x.x.x.", "xx.xx.", "xxxxx.", "xxxxxx"),
        torch.tensor([True, False, False, False, False, False]),
    )


@exercise(
    "training.tellings",
    title="Tellings until it is known",
    prompt="The count comes out too small: it says that a fact is known which the model can only recite. Mend it.",
    hints=(
        "Which columns of `right` does the loop look at? `told` is True where a wording was trained on.",
        "~told are the wordings that were held out: a fact is known when all of these are right.",
    ),
    inputs=_told_and_asked,
    keeps=("right", "told"),
    difficulty=1,
    minutes=5,
)
def tellings(right, told):
    """right (N + 1, W), a tensor of booleans: whether each of W wordings is answered rightly
    after 0, 1, … N tellings; told (W,), too: whether a wording was trained on. Returns after
    how many tellings all *held-out* wordings are right at once for the first time (later they
    may be lost again), or -1 if they never are.
    """
    for n, row in enumerate(right):
        if row[~told].all():
            return n
    return -1


@tellings.mend(
    "it looks at the wordings that were told: what was trained on can be recited. Look at the held-out ones, ~told"
)
def _recited(right, told):
    for n, row in enumerate(right):
        if row[told].all():
            return n
    return -1


def _first(rows, *, otherwise=-1):
    return next((n for n, known in enumerate(rows) if known), otherwise)


tellings.plant({
    "all wordings have to be right, the told ones too; asked is about the held-out ones alone":
        lambda right, told: _first(right.all(1)),
    "one held-out wording is enough for it: all of them have to be right, so .all()":
        lambda right, told: _first(right[:, ~told].any(1)),
    "one wording is enough for it, and be it a told one: all held-out ones have to be right":
        lambda right, told: _first(right.any(1)),
    "it is one too many: row 0 is the model before any telling, so row n comes after n tellings":
        lambda right, told: _first(right[:, ~told].all(1), otherwise=-2) + 1,
    "it is one too few: row 0 is the model before any telling, so row n comes after n tellings":
        lambda right, told: _first(right[1:, ~told].all(1)),
    "row 0 is left out: a fact can be known before it was told":
        lambda right, told: (lambda n: n + 1 if n >= 0 else -1)(_first(right[1:, ~told].all(1))),
    "most held-out wordings are enough for it, or half of them; all have to be right":
        (
            lambda right, told: _first(right[:, ~told].double().mean(1) > 0.5),
            lambda right, told: _first(right[:, ~told].double().mean(1) >= 0.5),
        ),
    "that is from when on it stays known; asked is the first time, even if it is lost again":
        lambda right, told: _first(
            [bool(right[n:, ~told].all()) for n in range(len(right))]),
    "that is how many rows are not right, and such rows come after a first right one too, where a fact is lost again":
        (
            lambda right, told: int((~right[:, ~told].all(1)).sum()) if right[:, ~told].all(1).any() else -1,
            lambda right, told: int((~right[:, ~told].all(1)).sum()),
        ),
    "each held-out wording was right at some time, perhaps not together: all have to be right after the same telling":
        lambda right, told: _first((right[:, ~told].cumsum(0) > 0).all(1)),
    "`return -1` stands inside the loop, which so gives up after row 0: move it behind the loop":
        lambda right, told: 0 if right[0, ~told].all() else -1,
    "where the fact is never known, it gives the last telling; it should be -1":
        lambda right, told: _first(right[:, ~told].all(1), otherwise=len(right) - 1),
    "where the fact is never known, it gives None; it should be -1":
        lambda right, told: _first(right[:, ~told].all(1), otherwise=None),
    "where the fact is never known, it gives the number of rows; it should be -1":
        lambda right, told: _first(right[:, ~told].all(1), otherwise=len(right)),
    "where the fact is never known, it gives 0, as if it had been known before; it should be -1":
        lambda right, told: _first(right[:, ~told].all(1), otherwise=0),
    "that is how many rows are right, not the first of them":
        lambda right, told: int(right[:, ~told].all(1).sum()),
    "that is the last telling after which they are right; asked is the first":
        lambda right, told: max((n for n, row in enumerate(right) if row[~told].all()), default=-1),
})  # fmt: skip


# A number for each seed and step --------------------------------------------------------------------------------------


def _seeds_and_steps():
    """Seeds of both signs, first and last steps, runs of one step; a number that no float holds."""
    yield 0, 0, 10
    yield 1, 3, 10
    yield -1, 3, 10
    yield 2, 0, 10
    yield -2, 9, 10
    yield 7, 4, 5000
    yield -40, 1999, 2000
    yield 3, 0, 1
    yield 3, 1, 2 * 10**15 + 1


@exercise(
    "training.seeds",
    title="Two seeds, one run",
    prompt="Seeds -1 and 1 train exactly alike. Mend it: each seed draws the batches of its steps for itself.",
    hints=(
        "abs(-1) == abs(1): the sign has to tell. Seeds in the order 0, -1, 1, -2, 2, … have the places 0, 1, 2, 3, 4.",
        "Seed s of 0 or more has the place 2·s, a negative one −2·s − 1. Each place has n_steps numbers.",
    ),
    inputs=_seeds_and_steps,
    difficulty=2,
    minutes=6,
)
def batch_number(seed, step, n_steps):
    """seed: any whole number; step: from 0 to n_steps - 1. The number, at least 0, that the
    batch of this step is drawn from; no other seed and step has it. Seeds come in the order 0,
    -1, 1, -2, 2, …, with n_steps numbers each.
    """
    place = 2 * seed if seed >= 0 else -2 * seed - 1
    return place * n_steps + step


@batch_number.mend(
    "seeds -1 and 1 have the same numbers, since abs() takes the sign away: both runs read the same batches"
)
def _without_sign(seed, step, n_steps):
    place = abs(seed)
    return place * n_steps + step


def _place(seed):
    return 2 * seed if seed >= 0 else -2 * seed - 1


batch_number.plant({
    "seeds -1 and 1 still have the same numbers: 2 · abs(seed) has no sign either":
        lambda seed, step, n_steps: 2 * abs(seed) * n_steps + step,
    "a negative seed gets negative numbers; they should be 0 or more, in the order 0, -1, 1, -2, 2, …":
        lambda seed, step, n_steps: seed * n_steps + step,
    "a step of one seed is a step of another: place + step gives seed 0 at step 1 the number of the next seed at step "
    "0. Each place needs n_steps numbers":
        lambda seed, step, n_steps: _place(seed) + step,
    "1,000 numbers for each seed are too few for a longer run, which then reads the batches of the next seed; n_steps "
    "are enough":
        lambda seed, step, n_steps: _place(seed) * 1000 + step,
    "one step in every so many belongs to each seed: that is place + number of seeds · step, and how many seeds there "
    "will be nobody knows. Each place has n_steps numbers in a row":
        lambda seed, step, n_steps: step * n_steps + _place(seed),
    "negative seeds begin one place too late: -1 comes right after 0":
        lambda seed, step, n_steps: (2 * seed if seed >= 0 else -2 * seed + 1) * n_steps + step,
    "the order is 0, -1, 1, …; here 1 comes before -1":
        lambda seed, step, n_steps: (2 * seed - 1 if seed > 0 else -2 * seed) * n_steps + step,
    "the seed is taken modulo n_steps, so that other seeds share its numbers":
        lambda seed, step, n_steps: (seed % n_steps) * n_steps + step,
    "the step is not in it: every step would read the same batch":
        lambda seed, step, n_steps: _place(seed) * n_steps,
    "it comes as a float, which holds whole numbers up to 2⁵³ alone, and which no generator takes as a seed":
        lambda seed, step, n_steps: float(_place(seed)) * n_steps + step,
    "a negative seed counts its steps backwards: the step is added for all seeds":
        lambda seed, step, n_steps: _place(seed) * n_steps + (step if seed >= 0 else n_steps - 1 - step),
})  # fmt: skip


# A power law with a floor ---------------------------------------------------------------------------------------------


def _measured():
    """Losses that fall as a power, exactly and with noise; floors of some size, and a small one; few points and more;
    losses that rise.
    """
    yield torch.tensor([1.0, 4.0, 16.0]).double(), torch.tensor([5.0, 3.0, 2.0]).double(), 1.0
    for n, factor, exponent, floor in ((4, 3.0, 0.35, 0.7), (9, 2.0, 0.2, 1.5), (6, 0.8, 0.6, 0.1)):
        work = torch.linspace(-1.0, 4.0, n).double().exp()
        work = work[torch.randperm(n)]
        noise = (0.08 * torch.randn(n).double()).exp()
        yield work, floor + factor * work**-exponent * noise, floor
    yield torch.tensor([1.0, 4.0, 16.0]).double(), torch.tensor([2.0, 3.1, 5.0]).double(), 1.0


@exercise(
    "training.power_law",
    title="A power law with a floor",
    prompt="Fit L = E + K / C^c for a floor E that is given: a straight line through logarithms.",
    hints=(
        "L − E = K / C^c. Take logarithms of both sides: ln(L − E) = ln K − c · ln C.",
        "With x = ln C and y = ln(L − E), each less its mean: the slope is (x · y).sum() / (x · x).sum(), which is −c.",
        "The line goes through the means: ln K = mean of ln(L − E) + c · mean of ln C.",
    ),
    inputs=_measured,
    keeps=("work", "losses"),
    difficulty=3,
    minutes=8,
)
def power_law(work, losses, floor):
    """work C (N,), losses L (N,), tensors; the floor E below them all, a number. Returns K and
    c of L = E + K / C^c, two numbers: least squares of ln(L - E). (Where losses rise, c is
    below 0.)
    """
    x, y = work.log(), (losses - floor).log()  # (N,) each
    slope = ((x - x.mean()) * (y - y.mean())).sum() / ((x - x.mean()) ** 2).sum()
    return float((y.mean() - slope * x.mean()).exp()), float(-slope)


def _line(x, y):
    """Slope and height at 0 of the least squares' line."""
    slope = ((x - x.mean()) * (y - y.mean())).sum() / ((x - x.mean()) ** 2).sum()
    return float(slope), float(y.mean() - slope * x.mean())


def _law(work, losses, floor, *, shape=lambda slope, height: (math.exp(height), -slope), above=None):
    y = (losses - floor).log() if above is None else above(losses, floor)
    return shape(*_line(work.log(), y))


def _ends(work, losses, floor):
    first, last = int(work.argmin()), int(work.argmax())
    x, y = work.log(), (losses - floor).log()
    c = -float((y[last] - y[first]) / (x[last] - x[first]))
    return float((y[first] + c * x[first]).exp()), c


def _in_order(work, losses, floor):
    x, y = work.log(), (losses - floor).log()
    c = -float((y[-1] - y[0]) / (x[-1] - x[0]))
    return float((y[0] + c * x[0]).exp()), c


def _other_way(work, losses, floor):
    slope, height = _line((losses - floor).log(), work.log())
    return math.exp(-height / slope), -1 / slope


def _through_one(work, losses, floor):
    x, y = work.log(), (losses - floor).log()
    return 1.0, -float((x * y).sum() / (x * x).sum())


def _height(of):
    """The line's slope, and K by a middle of (L - E) · C^c that is not the mean of its logarithm."""

    def law(work, losses, floor):
        c = -_line(work.log(), (losses - floor).log())[0]
        return float(of((losses - floor) * work**c)), c

    return law


def _ends_and_means(work, losses, floor):
    c = _ends(work, losses, floor)[1]
    return float(((losses - floor).log() + c * work.log()).mean().exp()), c


def _middle(values):
    return values.quantile(0.5)


power_law.plant({
    "the floor is ignored: what falls as a power is L − E":
        lambda work, losses, floor: _law(work, losses, floor, above=lambda L, E: L.log()),
    "the floor is taken from the logarithm; take it from the loss, then the logarithm":
        lambda work, losses, floor: _law(work, losses, floor, above=lambda L, E: L.log() - E),
    "the floor is added to the losses; what falls as a power is L − E":
        lambda work, losses, floor: _law(work, losses, floor, above=lambda L, E: (L + E).log()),
    "the line was fitted to logarithms of base 10, and K is e to its height: it is 10 to it":
        lambda work, losses, floor: _law(
            work, losses, floor, shape=lambda slope, height: (math.exp(height / math.log(10)), -slope)),
    "the line was fitted to natural logarithms, and K is 10 to its height: it is e to it":
        lambda work, losses, floor: _law(work, losses, floor, shape=lambda slope, height: (10**height, -slope)),
    "K is still a logarithm: take exp of the line's height":
        lambda work, losses, floor: _law(work, losses, floor, shape=lambda slope, height: (height, -slope)),
    "slope and height of the line are exchanged: np.polyfit gives the slope first":
        lambda work, losses, floor: _law(
            work, losses, floor, shape=lambda slope, height: (math.exp(slope), -height)),
    "the line was fitted to logarithms of base 2, and K is e to its height: it is 2 to it":
        lambda work, losses, floor: _law(
            work, losses, floor, shape=lambda slope, height: (math.exp(height / math.log(2)), -slope)),
    "the floor's logarithm is taken from the loss's, which gives that of L / E: take the floor from the loss first":
        lambda work, losses, floor: _law(
            work, losses, floor, above=lambda L, E: L.log() - torch.tensor(E).double().log()),
    "c is made positive: where losses rise, it is below 0":
        lambda work, losses, floor: _law(
            work, losses, floor, shape=lambda slope, height: (math.exp(height), abs(slope))),
    "c is that of the line; K is not at its height: ln K is the mean of ln(L − E) + c · ln C, and K itself exp of it":
        (_height(torch.mean), _height(_middle)),
    "the floor is added to K; it has its own place in the law":
        lambda work, losses, floor: _law(
            work, losses, floor, shape=lambda slope, height: (math.exp(height) + floor, -slope)),
    "c has the wrong sign: the slope is −c":
        lambda work, losses, floor: _law(work, losses, floor, shape=lambda slope, height: (math.exp(height), slope)),
    "c and K are exchanged: K comes first":
        lambda work, losses, floor: _law(work, losses, floor, shape=lambda slope, height: (-slope, math.exp(height))),
    "K is upside down: L − E = K / C^c has ln K with a plus":
        lambda work, losses, floor: _law(work, losses, floor, shape=lambda slope, height: (math.exp(-height), -slope)),
    "only the loss has a logarithm: that is an exponential, K · e^(−c·C). Take that of C too":
        lambda work, losses, floor: (lambda slope, height: (math.exp(height), -slope))(
            *_line(work, (losses - floor).log())),
    "only C has a logarithm: take that of L − E too":
        lambda work, losses, floor: _law(
            work, losses, floor, above=lambda L, E: L - E, shape=lambda slope, height: (height, -slope)),
    "nothing has a logarithm: that is a straight line in C and L":
        lambda work, losses, floor: (lambda slope, height: (height, -slope))(*_line(work, losses - floor)),
    "only the least and the most work count; all points do, by least squares":
        (_ends, _ends_and_means),
    "only the first and the last point count; all do, by least squares":
        _in_order,
    "the line is fitted the other way, ln C by ln(L − E): what is off is the loss":
        _other_way,
    "the line is made to pass through 0, so that K is 1; it has a height, ln K":
        _through_one,
})  # fmt: skip


# How sure a mean is ---------------------------------------------------------------------------------------------------


def _draws():
    """Some points with some seeds each, drawn again; seeds of a point differ much or little, and points differ.

    Of as many draws as these, the quantiles are two of the sorted means: how one would go between them is no matter.
    """
    for n_draws, n_points, n_seeds in ((81, 3, 3), (41, 1, 2), (121, 2, 7), (41, 4, 2)):
        runs = torch.randn(n_points, n_seeds).double() * torch.linspace(0.1, 2.0, n_points).double()[:, None] + 3.0
        yield runs + torch.arange(n_points)[:, None], torch.randint(n_seeds, (n_draws, n_points, n_seeds))


@exercise(
    "training.bootstrap",
    title="How sure a mean is",
    prompt="The bootstrap: draw the seeds again, average, and see how far the averages lie apart.",
    hints=(
        "For point p, runs[p][drawn[:, p]] is (N, S): the losses that each of the N draws has. Its mean(1) is (N,).",
        "All points at once: runs.expand(N, P, S).gather(2, drawn).mean(2) is (N, P).",
        "The middle 95 % lie between the quantiles 0.025 and 0.975 over the N draws: means.quantile(q, dim=0).",
    ),
    inputs=_draws,
    keeps=("runs", "drawn"),
    difficulty=3,
    minutes=8,
)
def bootstrap(runs, drawn):
    """runs (P, S), a tensor: the loss of each of P settings with S seeds. drawn (N, P, S), a
    tensor of whole numbers: which of its S seeds a setting gets in each of N draws, some twice.
    Returns (P, 2): the 0.025 and 0.975 quantiles of the draws' means.
    """
    means = runs.expand(len(drawn), *runs.shape).gather(2, drawn).mean(2)  # (N, P)
    return torch.stack([means.quantile(0.025, dim=0), means.quantile(0.975, dim=0)], 1)


def _picked(runs, drawn):
    return runs.expand(len(drawn), *runs.shape).gather(2, drawn)  # (N, P, S)


def _means(runs, drawn):
    return _picked(runs, drawn).mean(2)


def _ends_of(values, low=0.025, high=0.975):
    return torch.stack([values.quantile(low, dim=0), values.quantile(high, dim=0)], 1)


def _normal(values, *, by=1.96, ddof=1):
    half = by * values.std(0, correction=ddof)
    return torch.stack([values.mean(0) - half, values.mean(0) + half], 1)


def _once_each(runs, drawn):
    means = [[runs[p, one[p].unique()].mean() for p in range(len(runs))] for one in drawn]
    return _ends_of(torch.tensor(means).double())


bootstrap.plant({
    "those are quantiles of all drawn losses: average the S of each draw first":
        lambda runs, drawn: _ends_of(_picked(runs, drawn).permute(0, 2, 1).flatten(0, 1)),
    "all points are drawn with the numbers of the first; each has its own":
        lambda runs, drawn: _ends_of(_means(runs, drawn[:, :1].expand_as(drawn))),
    "those quantiles keep 90 %: 0.05 and 0.95 leave 5 % out on *each* side":
        lambda runs, drawn: _ends_of(_means(runs, drawn), 0.05, 0.95),
    "those are the least and the largest mean; leave 2.5 % out on each side":
        lambda runs, drawn: _ends_of(_means(runs, drawn), 0.0, 1.0),
    "0.025 and 0.975 are taken as percent; np.percentile wants 2.5 and 97.5, quantile 0.025 and 0.975":
        lambda runs, drawn: _ends_of(_means(runs, drawn), 0.00025, 0.00975),
    "those quantiles keep half of the means: 0.25 and 0.75 for 0.025 and 0.975":
        lambda runs, drawn: _ends_of(_means(runs, drawn), 0.25, 0.75),
    "the numbers of (2, P) are cut into rows anew by reshape; turn them with .T":
        lambda runs, drawn: _ends_of(_means(runs, drawn)).T.reshape(len(runs), 2),
    "a seed that is drawn twice counts once; it counts twice in the mean":
        _once_each,
    "the losses of a draw are added; asked is their mean":
        lambda runs, drawn: _ends_of(_picked(runs, drawn).sum(2)),
    "it is averaged over the draws: average the S losses of each draw, and take quantiles over the N draws":
        lambda runs, drawn: _ends_of(_picked(runs, drawn).mean(0).T),
    "the larger end stands first":
        lambda runs, drawn: _ends_of(_means(runs, drawn)).flip(1),
    "the shape is turned: a row for each point":
        lambda runs, drawn: _ends_of(_means(runs, drawn)).T,
    "the draws are not used: those are quantiles of the seeds themselves":
        lambda runs, drawn: _ends_of(runs.T),
    "those are two standard deviations of the draws to each side; take the quantiles":
        (
            lambda runs, drawn: _normal(_means(runs, drawn)),
            lambda runs, drawn: _normal(_means(runs, drawn), ddof=0),
            lambda runs, drawn: _normal(_means(runs, drawn), by=2),
            lambda runs, drawn: _normal(_means(runs, drawn), by=1.96 / len(drawn) ** 0.5),
            lambda runs, drawn: _normal(_means(runs, drawn), by=1.96 / len(drawn) ** 0.5, ddof=0),
        ),
    "the draws' medians are taken; take their means":
        (
            lambda runs, drawn: _ends_of(_picked(runs, drawn).median(2).values),
            lambda runs, drawn: _ends_of(_picked(runs, drawn).quantile(0.5, dim=2)),
        ),
    "the ends are given from the mean on; asked are the ends themselves":
        lambda runs, drawn: _ends_of(_means(runs, drawn)) - runs.mean(1, keepdim=True),
    "the settings are averaged too: each has an interval of its own":
        lambda runs, drawn: _ends_of(_means(runs, drawn).mean(1, keepdim=True)).expand(len(runs), 2),
})  # fmt: skip


EXERCISES = (jump, tellings, batch_number, power_law, bootstrap)
PREDICTIONS = (
    Prediction(
        id="training.copy_jump",
        text=(
            "A model of two attention layers reads lists that are said again, for 320 steps. After how many steps does "
            "it say half of the repeated tokens rightly?"
        ),
        unit="steps",
    ),
    Prediction(
        id="training.known_after",
        text=(
            "You tell the course's model where a new person lives, once a step, in changing wordings. After how many "
            "tellings does it answer two wordings that it was never told?"
        ),
        unit="tellings",
    ),
    Prediction(
        id="training.larger",
        text="Nine small runs are fitted. What loss will the larger run have on unseen text?",
        unit="nats a token",
    ),
)
QUESTIONS = (
    Question(
        id="training.under_average",
        text=(
            "Between two examinations the course's model doubled its right answers in copying. Why does its loss "
            "on unseen texts show nothing of it?"
        ),
        options=(
            "It is noisy, and the noise hides it",
            "It averages over all tokens of all texts, and the tokens that copying decides are few among them",
            "The optimizer smooths the loss",
            "Copying is no part of the loss",
        ),
        answer=1,
        why=(
            "There is noise in single batches; the validation loss is of the same texts every time, and smooth.",
            "One document in twelve is a list to copy; its tokens can become certain while the mean moves little.",
            "Its averages are of gradients; the loss is that of the texts.",
            "It is: copied tokens are targets like all others.",
        ),
    ),
    Question(
        id="training.replay",
        text="What do other documents in the same batch do for a fact that is being told?",
        options=(
            "They teach the fact too",
            "They make the gradient of the fact larger",
            "They pull against changes that would cost other answers, since those cost them loss",
            "Nothing: each document has its own loss",
        ),
        answer=2,
        why=(
            "The person is in none of them.",
            "It is one document among several in the mean, so its share of the gradient is smaller.",
            "A step that would make every town this town raises the loss of the other documents at once.",
            "The losses are added before the step is taken; one step serves all.",
        ),
    ),
    Question(
        id="training.both_too_low",
        text="The training loss falls below anything the task allows, and so does the validation loss. First suspect?",
        options=(
            "The model is too large",
            "Too little data: it learned the batches by heart",
            "The answer can be seen in the input: labels not shifted, or a mask that leaks",
            "The rate is too high",
        ),
        answer=2,
        why=(
            "Size alone makes no token foreseeable that is not.",
            "Then the validation loss would rise, unless its texts are read too.",
            "Both are computed by the same code, so both look good. Let the model write: it cannot look ahead there.",
            "That makes losses higher, or not finite.",
        ),
    ),
)
