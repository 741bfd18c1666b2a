"""Exercises, questions and predictions of notebook 02a_gradients_descent."""

from __future__ import annotations

import torch

from ..records import Prediction, Question, exercise

# The gradient by formula ----------------------------------------------------------------------------------------------


def _years():
    """A few months, many; errors of different sizes and signs; months that are not centered, sales far off."""
    yield _wide(2, -1, 3), _wide(0.5, -1, 1, 0), _wide(1, 7, 1, 5)  # errors 2, −1, 3, −2
    for n, size in ((2, 1.0), (4, 1.0), (5, 10.0), (12, 3.0)):
        yield torch.randn(3).double(), torch.rand(n).double() * 2 - 0.5, size * torch.randn(n).double()


def _wide(*numbers):
    return torch.tensor(numbers, dtype=torch.float64)


def _features(x):
    return torch.stack([x**2, x, torch.ones_like(x)])  # (3, N)


def _errors(params, x, y):
    return params @ _features(x) - y  # (N,)


@exercise(
    "gradients.formula",
    title="The gradient of a parabola's loss",
    prompt=(
        "The model is ax² + bx + c, the loss the mean of the squared errors. Write its three slopes by formula, for "
        "any months and sales."
    ),
    hints=(
        "For each month: error = prediction − sale. The slope of error² along a parameter is 2 · error times the "
        "slope of the prediction along that parameter.",
        "The prediction ax² + bx + c rises by x² when a rises by 1, by x when b does, and by 1 when c does.",
        "Three means: (2 * error * x**2).mean() is the first. torch.stack([…, …, …]) makes one tensor of them.",
    ),
    inputs=_years,
    keeps=("params", "x", "y"),
    difficulty=2,
    minutes=9,
)
def parabola_gradient(params, x, y):
    """params (3,) = a, b, c; x and y (N,) -> (3,): the slopes of the mean squared error along a, b and c."""
    a, b, c = params
    error = a * x**2 + b * x + c - y  # (N,)
    return torch.stack([(2 * error * x**2).mean(), (2 * error * x).mean(), (2 * error).mean()])  # (3,)


def _of_errors(slopes):
    """A wrong gradient made of (errors, months): the slopes (3,)."""
    return lambda params, x, y: slopes(_errors(params, x, y), x)


def _sales_overwritten(params, x, y):
    y -= params @ _features(x)
    return -2 * _features(x) @ y / len(y)


parabola_gradient.plant({
    "the 2 is missing: error² has the slope 2 · error, as x² has the slope 2x":
        _of_errors(lambda e, x: _features(x) @ e / len(x)),
    "the slopes are summed over the months, and the 2 is missing: the loss is the mean of error²":
        _of_errors(lambda e, x: _features(x) @ e),
    "the slopes are summed over the months; the loss is the mean, so its slopes are means":
        _of_errors(lambda e, x: 2 * _features(x) @ e),
    "the sign is turned round: with error = prediction − sale the slope is + 2 · error · x²; with sale − prediction "
    "it is −":
        _of_errors(lambda e, x: -2 * _features(x) @ e / len(x)),
    "the order is c, b, a; asked is a, b, c":
        _of_errors(lambda e, x: (2 * _features(x) @ e / len(x)).flip(0)),
    "all three slopes are that along c: each is 2 · error times what the prediction gains when *its* parameter "
    "rises by 1, so x² for a and x for b":
        _of_errors(lambda e, x: (2 * e).mean().expand(3)),
    "the slope along a holds 2x, which is how x² changes with x. Here a moves and x stands: the factor is x²":
        (
            _of_errors(lambda e, x: 2 * torch.stack([2 * x, torch.ones_like(x), 0 * x]) @ e / len(x)),
            _of_errors(lambda e, x: 2 * torch.stack([2 * x, x, torch.ones_like(x)]) @ e / len(x)),
        ),
    "the slope along a holds a itself, and those of b and c hold theirs: when a rises by 1, the prediction rises by x²":
        lambda params, x, y: 2 * params * (_features(x) @ _errors(params, x, y)) / len(x),
    "c counts too: when it rises by 1, so does the prediction":
        _of_errors(lambda e, x: 2 * torch.stack([x**2, x, 0 * x]) @ e / len(x)),
    "the slopes along a and b are exchanged: x² belongs to a, x to b":
        _of_errors(lambda e, x: 2 * torch.stack([x, x**2, torch.ones_like(x)]) @ e / len(x)),
    "a and c are exchanged in the prediction: it is a · x² + b · x + c":
        lambda params, x, y: 2 * _features(x) @ _errors(params.flip(0), x, y) / len(x),
    "the error is squared once more: the slope of error² is 2 · error":
        (
            _of_errors(lambda e, x: 2 * _features(x) @ e**2 / len(x)),
            _of_errors(lambda e, x: _features(x) @ e**2 / len(x)),
        ),
    "y (or x), which was given, is changed: `-=` writes into it. Keep error = prediction − y":
        _sales_overwritten,
    "the mean of a product is taken for the product of two means: multiply for each month first, then take the mean":
        _of_errors(lambda e, x: (2 * e).mean() * _features(x).mean(1)),
    "that is the gradient of the absolute error: only the sign of each error counts in it":
        _of_errors(lambda e, x: _features(x) @ e.sign() / len(x)),
    "divided by 3, the number of parameters; the mean runs over the N months":
        _of_errors(lambda e, x: 2 * _features(x) @ e / 3),
    "divided by N twice: the mean is taken once":
        _of_errors(lambda e, x: 2 * _features(x) @ e / len(x) ** 2),
    "the slopes of the error itself come back, without the factor 2 · error: the loss is its square":
        _of_errors(lambda e, x: _features(x).mean(1)),
    "the slopes of each month come back; take the mean over the months":
        _of_errors(lambda e, x: 2 * _features(x) * e),
    "that is the loss, one number; asked are its three slopes":
        _of_errors(lambda e, x: (e**2).mean()),
})  # fmt: skip


# The gradient by small steps ------------------------------------------------------------------------------------------


class _Loss:
    """A loss of some parameters that is no parabola, so that the size of the step can be told from the result."""

    def __init__(self, n_params: int):
        self.weights = torch.randn(n_params, n_params).double()  # (P, P)
        self.cubes = torch.randn(n_params).double()  # (P,)

    def __call__(self, params):
        params = torch.as_tensor(params).double()  # (P,)
        if params.shape != self.cubes.shape:
            raise ValueError(f"this loss takes all parameters at once, {len(self.cubes)} of them")
        return (params @ self.weights @ params + self.cubes @ params**3 + params.sum() + 2).item()

    def __repr__(self):
        return f"a loss of {len(self.cubes)} parameter{'s' if len(self.cubes) > 1 else ''}"


def _losses():
    for n, h in ((1, 0.25), (2, 0.3), (3, 0.1), (5, 0.5), (4, 0.01)):  # 2h is not 1 in the first ones
        yield _Loss(n), torch.randn(n).double(), h


@exercise(
    "gradients.small_step",
    title="Slopes by small steps",
    prompt=(
        "Here a loss is given whose formula you do not see. Find its slope along each parameter: step by h to both "
        "sides of it, the others at rest."
    ),
    hints=(
        "For one parameter: how much the loss rises from h below to h above, divided by the way between them, 2h.",
        "Go through the parameters. Each time start from params as they were given, and move one of them.",
        "step = torch.zeros_like(params); step[i] = h; then loss(params + step) and loss(params - step).",
    ),
    inputs=_losses,
    keeps=("params",),
    difficulty=2,
    minutes=8,
)
def slopes_by_steps(loss, params, h):
    """loss: a function, params (P,) -> a number. Gives the slopes, (P,); leave params as it is."""
    slopes = torch.zeros_like(params)  # (P,)
    for i in range(len(params)):
        step = torch.zeros_like(params)  # (P,)
        step[i] = h
        slopes[i] = (loss(params + step) - loss(params - step)) / (2 * h)
    return slopes


def _stepped(loss, params, h, above=1.0, below=1.0, way=2.0):
    steps = h * torch.eye(len(params)).double()  # (P, P)
    return torch.stack([
        torch.tensor(loss(params + above * step) - loss(params - below * step)).double() / way for step in steps
    ])  # fmt: skip


def _left_moved(loss, params, h):
    slopes, moved = torch.zeros_like(params), params.clone()
    for i in range(len(params)):
        moved[i] += h
        above = loss(moved)
        moved[i] -= 2 * h
        slopes[i] = (above - loss(moved)) / (2 * h)
    return slopes


def _two_left(loss, params, h):
    slopes, up, down = torch.zeros_like(params), params.clone(), params.clone()
    for i in range(len(params)):
        up[i] += h
        down[i] -= h
        slopes[i] = (loss(up) - loss(down)) / (2 * h)
    return slopes


def _same_tensor(loss, params, h):
    slopes = torch.zeros_like(params)
    for i in range(len(params)):
        up = down = params
        up[i] += h
        down[i] -= h
        slopes[i] = (loss(up) - loss(down)) / (2 * h)
    return slopes


def _nearly_back(loss, params, h):
    slopes = torch.zeros_like(params)
    for i in range(len(params)):
        params[i] += h
        above = loss(params)
        params[i] -= 2 * h
        slopes[i] = (above - loss(params)) / (2 * h)
        params[i] += h
    return slopes


def _from_zero(loss, params, h):
    slopes = torch.zeros_like(params)
    for i in range(len(params)):
        up, down = params.clone(), params.clone()
        up[i], down[i] = h, -h
        slopes[i] = (loss(up) - loss(down)) / (2 * h)
    return slopes


def _left_above(loss, params, h):
    slopes, moved, before = torch.zeros_like(params), params.clone(), loss(params)
    for i in range(len(params)):
        moved[i] += h
        slopes[i] = (loss(moved) - before) / h
    return slopes


def _given_moved(loss, params, h):
    slopes = torch.zeros_like(params)
    for i in range(len(params)):
        params[i] += h
        above = loss(params)
        params[i] -= 2 * h
        slopes[i] = (above - loss(params)) / (2 * h)
    return slopes


def _given_above(loss, params, h):
    slopes = torch.zeros_like(params)
    for i in range(len(params)):
        before = loss(params)
        params[i] += h
        slopes[i] = (loss(params) - before) / h
    return slopes


def _one_kept(loss, params, h):
    slopes = torch.zeros_like(params)
    slopes[-1] = slopes_by_steps.answer(loss, params, h)[-1]
    return slopes


slopes_by_steps.plant({
    "that is a step to one side only. To both sides the curve's bend cancels: (loss above − loss below) / (2h)":
        (
            lambda loss, params, h: _stepped(loss, params, h, below=0.0, way=h),
            lambda loss, params, h: _stepped(loss, params, h, above=0.0, way=h),
        ),
    "divided by h, but from h below to h above the way is 2h":
        lambda loss, params, h: _stepped(loss, params, h, way=h),
    "these are the differences of the loss; a slope is the difference divided by the way, 2h":
        lambda loss, params, h: _stepped(loss, params, h, way=1.0),
    "`/ 2 * h` divides by 2 and then multiplies by h. Write `/ (2 * h)`":
        lambda loss, params, h: _stepped(loss, params, h) * h,
    "the loss below is missing: that is half a way, divided by the whole one":
        lambda loss, params, h: _stepped(loss, params, h, below=0.0, way=2 * h),
    "the loss above is subtracted from the loss below; that turns the sign round":
        lambda loss, params, h: -_stepped(loss, params, h, way=2 * h),
    "the step is h/2 to each side; asked is h to each side, a way of 2h":
        lambda loss, params, h: _stepped(loss, params, h, above=0.5, below=0.5, way=h),
    "all parameters are moved at once, so one number comes out for all; move one and let the others rest":
        (
            lambda loss, params, h: torch.full_like(params, (loss(params + h) - loss(params - h)) / (2 * h)),
            lambda loss, params, h: (loss(params + h) - loss(params - h)) / (2 * h),
        ),
    "up and down are the same tensor: `up = params` makes no copy; use params.clone()":
        _same_tensor,
    "the step is taken from 0, not from params: `= h` sets the parameter; `+= h`, on a clone, moves it":
        _from_zero,
    "params is put back only up to rounding: work on a clone, or keep the old value and set it again":
        _nearly_back,
    "a parameter that was moved is not put back before the next one is: start each time from params as given":
        (_left_moved, _left_above, _two_left),
    "params was moved in place and not put back: every later slope is measured at another point. Work on "
    "params + step, or on a clone":
        (_given_moved, _given_above),
    "only the last parameter has a slope: the result is begun anew in each turn of the loop":
        _one_kept,
    "that is the loss, not its slopes":
        lambda loss, params, h: torch.tensor(loss(params)).double().expand(len(params)),
})  # fmt: skip


# The walk -------------------------------------------------------------------------------------------------------------


class _Slope:
    """The gradient of a bowl, longer one way than the other and turned."""

    def __init__(self, n_params: int):
        mixed = torch.randn(n_params, n_params).double()
        self.bend = mixed @ mixed.T + 0.5 * torch.eye(n_params).double()  # (P, P)
        self.bend /= torch.linalg.matrix_norm(self.bend, 2)
        self.bottom = 3 * torch.randn(n_params).double()  # (P,)

    def __call__(self, params):
        return self.bend @ (torch.as_tensor(params).double() - self.bottom)

    def __repr__(self):
        return f"a gradient of {len(self.bottom)} parameter{'s' if len(self.bottom) > 1 else ''}"


def _bowls():
    """No step, one and several; one parameter and many; a start so near the bottom that the slope is gentle."""
    for n_params, rate, n_steps in ((1, 0.5, 1), (2, 0.5, 2), (3, 0.7, 0), (2, 1.5, 4), (4, 0.3, 6)):
        yield _Slope(n_params), torch.randn(n_params).double(), rate, n_steps
    near = _Slope(2)
    yield near, near.bottom + 0.1 * torch.randn(2).double(), 0.8, 3


@exercise(
    "gradients.walk",
    title="The walk downhill",
    prompt="Walk downhill for n_steps steps, and note the start and every place that you come to.",
    hints=(
        "From the place where you stand: place − rate · gradient(place). Then ask for the gradient anew.",
        "A list that begins with start, and grows by one place a step, has n_steps + 1 places.",
        "`place -= …` changes the tensor that is already in the list. `place = place - …` makes a new one.",
    ),
    inputs=_bowls,
    keeps=("start",),
    difficulty=2,
    minutes=9,
)
def walk(gradient, start, rate, n_steps):
    """gradient: a function, params (P,) -> (P,). Gives (n_steps + 1, P): start and every place after it."""
    places = [start]
    for _ in range(n_steps):
        places.append(places[-1] - rate * gradient(places[-1]))
    return torch.stack(places)  # (n_steps + 1, P)


def _walk(step):
    """A wrong walk whose next place is step(gradient, place, rate, places)."""

    def walked(gradient, start, rate, n_steps):
        places = [start.clone()]
        for _ in range(n_steps):
            places.append(step(gradient, places[-1], rate, places))
        return torch.stack(places)

    return walked


def _after_steps(gradient, start, rate, n_steps):
    return torch.stack([*walk.answer(gradient, start, rate, n_steps)][1:])


def _before_steps(gradient, start, rate, n_steps):
    return torch.stack([*walk.answer(gradient, start, rate, n_steps)][:-1])


def _left_in_the_loop(gradient, start, rate, n_steps):
    for _ in range(n_steps):
        return torch.stack([start, start - rate * gradient(start)])


def _the_steps(gradient, start, rate, n_steps):
    steps, place = [], start
    for _ in range(n_steps):
        steps.append(-rate * gradient(place))
        place = place + steps[-1]
    return torch.stack([start, *steps])


def _the_gradients(gradient, start, rate, n_steps):
    return torch.stack([gradient(place) for place in walk.answer(gradient, start, rate, n_steps)])


def _from_nothing(gradient, start, rate, n_steps):
    return walk.answer(gradient, torch.zeros_like(start), rate, n_steps)


def _one_row_early(gradient, start, rate, n_steps):
    places = walk.answer(gradient, start, rate, n_steps)
    return torch.cat([places[1:], torch.zeros_like(places[:1])])


def _one_by_one(gradient, place, rate, places):
    place = place.clone()
    for i in range(len(place)):
        place[i] -= rate * gradient(place)[i]
    return place


def _one_list(gradient, start, rate, n_steps):
    place = start.clone()
    places = [place]
    for _ in range(n_steps):
        place -= rate * gradient(place)
        places.append(place)
    return torch.stack(places)


def _start_moved(gradient, start, rate, n_steps):
    places = [start]
    for _ in range(n_steps):
        start -= rate * gradient(start)
        places.append(start)
    return torch.stack(places)


def _start_walks(gradient, start, rate, n_steps):
    places = [start.clone()]
    for _ in range(n_steps):
        start -= rate * gradient(start)
        places.append(start.clone())
    return torch.stack(places)


walk.plant({
    "the steps go uphill: the gradient points where the loss rises, so subtract it":
        _walk(lambda gradient, place, rate, places: place + rate * gradient(place)),
    "the gradient at the wrong point: every step takes the slope at the start. Ask for it anew where you stand":
        _walk(lambda gradient, place, rate, places: place - rate * gradient(places[0])),
    "the gradient at the wrong point: each step takes the slope of the place before the one where you stand":
        _walk(lambda gradient, place, rate, places: place - rate * gradient(places[max(len(places) - 2, 0)])),
    "all rows are the last place: `-=` changes the one tensor that the list holds many times. Make a new one, "
    "place = place - …":
        (_one_list, _start_moved),
    "start, which should stay as it is, walks along: `-=` writes into it. Use place = place - …":
        _start_walks,
    "the parameters are moved one after another, the later ones with slopes at a half-moved place. Take the whole "
    "gradient first":
        _walk(_one_by_one),
    "the start is missing: n_steps + 1 places, the first of them start":
        (lambda gradient, start, rate, n_steps: walk.answer(gradient, start, rate, n_steps)[1:], _after_steps),
    "the first row should be start: each place stands one row too early, and the last row is empty":
        _one_row_early,
    "there is one step too many":
        lambda gradient, start, rate, n_steps: walk.answer(gradient, start, rate, n_steps + 1),
    "the last place is missing: n_steps steps lead to n_steps + 1 places":
        (
            lambda gradient, start, rate, n_steps: walk.answer(gradient, start, rate, n_steps)[:-1],
            _before_steps,
            lambda gradient, start, rate, n_steps: walk.answer(gradient, start, rate, max(n_steps - 1, 0)),
        ),
    "the places stand in the columns; asked are rows, (n_steps + 1, P): torch.stack(places)":
        lambda gradient, start, rate, n_steps: walk.answer(gradient, start, rate, n_steps).T,
    "cat joins them end to end; stack puts them in rows":
        lambda gradient, start, rate, n_steps: torch.cat([*walk.answer(gradient, start, rate, n_steps)]),
    "only one step is taken: is `return` inside the loop?":
        _left_in_the_loop,
    "those are the steps; asked are the places":
        _the_steps,
    "those are the gradients; asked are the places":
        _the_gradients,
    "the first place is not start":
        _from_nothing,
    "only the last place comes back; all are asked, (n_steps + 1, P)":
        lambda gradient, start, rate, n_steps: walk.answer(gradient, start, rate, n_steps)[-1],
    "the rate is left out: it says how far to go along the slope":
        _walk(lambda gradient, place, rate, places: place - gradient(place)),
    "every step has the same length: the gradient is divided by its length. A gentle slope asks for a short step":
        _walk(lambda gradient, place, rate, places: place - rate * gradient(place) / gradient(place).norm()),
    "each step still holds the gradients of those before: they are added up. Only the present one counts":
        _walk(lambda gradient, place, rate, places: place - rate * sum(gradient(each) for each in places)),
    "the steps start from the start again and again: place = start − …; go on from where you are":
        _walk(lambda gradient, place, rate, places: places[0] - rate * gradient(place)),
})  # fmt: skip


# A rate for every batch -----------------------------------------------------------------------------------------------


def _epochs():
    """A last batch that is smaller, one that is as large, one batch for all, single examples."""
    for n, rate, batch_size in ((3, 0.2, 2), (4, 0.1, 4), (6, 0.1, 3), (5, 0.3, 1), (7, 0.05, 4)):
        x = torch.rand(n).double() * 2 - 1  # (N,)
        yield torch.randn(3).double(), x, 9 - 8 * x**2 + torch.randn(n).double(), rate, batch_size


@exercise(
    "gradients.mean",
    title="A rate that suits one batch only",
    prompt=(
        "With batches of one month this walk goes well. The larger the batch, the longer its steps, until they leap "
        "out of the valley. Mend it: the rate shall mean the same for every batch."
    ),
    hints=(
        "Take one month, and then the same month twice. Should the step be twice as long?",
        "The loss is a mean, so its gradient is the mean over the months of the batch.",
        "The last batch may be smaller than batch_size: divide by the number of months that are in it.",
    ),
    inputs=_epochs,
    keeps=("params",),
    difficulty=2,
    minutes=9,
)
def one_epoch(params, x, y, rate, batch_size):
    """An epoch, once through x and y (N,): a step for each batch, the last perhaps smaller -> params (3,)."""
    for i in range(0, len(x), batch_size):
        months, sales = x[i : i + batch_size], y[i : i + batch_size]  # (B,) each
        features = torch.stack([months**2, months, torch.ones_like(months)])  # (3, B)
        errors = params @ features - sales  # (B,)
        params = params - rate * 2 * features @ errors / len(months)
    return params


@one_epoch.mend("the gradient is still a sum: twice as many months make the step twice as long. The loss is their mean")
def _summed(params, x, y, rate, batch_size):
    for i in range(0, len(x), batch_size):
        months, sales = x[i : i + batch_size], y[i : i + batch_size]  # (B,) each
        features = torch.stack([months**2, months, torch.ones_like(months)])  # (3, B)
        errors = params @ features - sales  # (B,)
        params = params - rate * 2 * features @ errors
    return params


def _epoch(step, last=True):
    """A wrong epoch whose step is step(features, errors, all the arguments)."""

    def walked(params, x, y, rate, batch_size):
        given = (params, x, y, rate, batch_size)
        for start in range(0, len(x), batch_size):
            part = slice(start, start + batch_size)
            if last or len(x[part]) == batch_size:
                features = _features(x[part])
                params = params - rate * step(features, params @ features - y[part], given)
        return params

    return walked


def _at_the_start(params, x, y, rate, batch_size):
    moved = params.clone()
    for start in range(0, len(x), batch_size):
        part = slice(start, start + batch_size)
        moved -= rate * parabola_gradient.answer(params, x[part], y[part])
    return moved


def _given_walks(params, x, y, rate, batch_size):
    params.copy_(one_epoch.answer(params, x, y, rate, batch_size))
    return params


def _shrinking_rate(params, x, y, rate, batch_size):
    for start in range(0, len(x), batch_size):
        part = slice(start, start + batch_size)
        rate = rate / len(x[part])
        params = params - rate * len(x[part]) * parabola_gradient.answer(params, x[part], y[part])
    return params


def _features_divided(params, x, y, rate, batch_size):
    for start in range(0, len(x), batch_size):
        part = slice(start, start + batch_size)
        features = _features(x[part]) / len(x[part])
        params = params - rate * 2 * features @ (params @ features - y[part])
    return params


one_epoch.plant({
    "divided by batch_size: the last batch may hold fewer months, and its step is then too short":
        _epoch(lambda features, errors, given: 2 * features @ errors / given[4]),
    "divided by the number of all months; the mean runs over those of the batch":
        _epoch(lambda features, errors, given: 2 * features @ errors / len(given[1])),
    "divided by 3, the number of parameters; the mean runs over the months of the batch":
        _epoch(lambda features, errors, given: 2 * features @ errors / 3),
    "divided twice: the mean is taken once":
        _epoch(lambda features, errors, given: 2 * features @ errors / len(errors) ** 2),
    "divided by the root of the batch; the mean divides by the number of months":
        _epoch(lambda features, errors, given: 2 * features @ errors / len(errors) ** 0.5),
    "the mean of the errors is taken before they meet x² and x: the mean of products is asked":
        _epoch(lambda features, errors, given: 2 * features.mean(1) * errors.mean()),
    "the mean is taken over the three parameters, so all move alike; it runs over the months":
        (
            _epoch(lambda features, errors, given: 2 * (features @ errors).mean()),
            _epoch(lambda features, errors, given: 2 * (features * errors).mean()),
        ),
    "the rate shrinks from batch to batch: `rate = …` in the loop overwrites it":
        _shrinking_rate,
    "the features are divided, so the prediction is too: divide the gradient":
        _features_divided,
    "divided by the wrong number; the mean divides by len(months)":
        (
            _epoch(lambda features, errors, given: 2 * features @ errors / 12),
            _epoch(lambda features, errors, given: 2 * features @ errors / (2 * given[4])),
        ),
    "a step for each month; asked is a step for each batch":
        lambda params, x, y, rate, batch_size: one_epoch.answer(params, x, y, rate, 1),
    "only the first batch is read: is `return` inside the loop?":
        lambda params, x, y, rate, size: one_epoch.answer(params, x[:size], y[:size], rate, size),
    "a mean is multiplied with a sum over the months: take the mean of the products":
        _epoch(lambda features, errors, given: 2 * features.sum(1) * errors.mean()),
    "every step has the length of the rate: the gradient is divided by its own length, not by the number of months":
        _epoch(lambda features, errors, given: features @ errors / (features @ errors).norm()),
    "the last, smaller batch is left out":
        _epoch(lambda features, errors, given: 2 * features @ errors / len(errors), last=False),
    "the steps go uphill: subtract the gradient":
        _epoch(lambda features, errors, given: -2 * features @ errors / len(errors)),
    "the 2 is gone: error² has the slope 2 · error":
        _epoch(lambda features, errors, given: features @ errors / len(errors)),
    "all batches take the slope at the start; each should take it where the step before has led":
        _at_the_start,
    "one step for all months together; asked is a step for each batch":
        lambda params, x, y, rate, batch_size: params - rate * parabola_gradient.answer(params, x, y),
    "params, which was given, is changed: `-=` writes into it. Keep params = params - …":
        _given_walks,
})  # fmt: skip


EXERCISES = (slopes_by_steps, parabola_gradient, walk, one_epoch)

PREDICTIONS = (
    Prediction(
        id="gradients.small_rate",
        text="The loss is 43 at the start and 0.15 at the bottom. What is it after ten steps with the rate 0.02?",
    ),
    Prediction(
        id="gradients.right_rate",
        text="And with the rate 0.5, which is 25 times as large: what is the loss after ten steps?",
    ),
    Prediction(
        id="gradients.large_rate",
        text=(
            "A walker steps downhill by rate × slope. At the rate 0.5 the height falls at every step and is soon near "
            "the lowest. What does it do at the rate 1.0, in the same valley from the same start?"
        ),
        options=(
            "it falls about twice as fast",
            "it falls as fast, and then swings a little about the lowest",
            "it stays about where it began",
            "it grows with every step",
        ),
    ),
)

QUESTIONS = (
    Question(
        id="gradients.who_pulls",
        text=(
            "A model is off by 10 in one month, and by 1 in each of the others. In which loss does that one month pull "
            "as hard as ten others together?"
        ),
        options=("The mean absolute error", "The mean squared error", "Both", "Neither"),
        answer=1,
        why=(
            "There every month that is wrong pulls with the same force, 1, whether it is off by 1 or by 10.",
            "Its slope is 2 · error: ten times the error pulls ten times as hard.",
            "The slope of |error| is 1 on one side and −1 on the other, however large the error.",
            "The slope of error² grows with the error.",
        ),
    ),
    Question(
        id="gradients.zero_slope",
        text="A walk downhill stands still: the gradient is 0 there. What do you know?",
        options=(
            "The loss is as low as this model allows",
            "The loss is 0",
            "The place is flat: perhaps the lowest valley, perhaps a higher one, perhaps a top or a pass",
            "The learning rate is too small",
        ),
        answer=2,
        why=(
            "A higher valley has a flat bottom, too, and the walk ends in it all the same.",
            "The noise in the data stays: no parabola goes through all twelve months.",
            "The slope says what happens nearby, and nothing of what lies behind the next hill.",
            "A small rate makes small steps where there is a slope; where there is none, no rate makes a step.",
        ),
    ),
    Question(
        id="gradients.four_times",
        text="You take batches of 40 days instead of 10. What becomes of a step's gradient?",
        options=(
            "It is four times as long",
            "Its noise is halved, and it costs four times as many examples",
            "Its noise is a quarter, and it costs four times as many examples",
            "Its noise is a quarter at the same cost",
        ),
        answer=1,
        why=(
            "That is so if the mean is forgotten: a mean does not grow with the number of days.",
            "Noise falls with the square root of the number of days.",
            "A quarter of the noise takes sixteen times as many days.",
            "Four times as many days have to be read.",
        ),
    ),
)
