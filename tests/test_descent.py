"""The descent in Python: walks against torch.optim, slopes against autograd, fits against least squares by numpy."""

import json
import math
import re

import numpy as np
import pytest
import torch
import traitlets

from llmlab.widgets.base import FOLDER
from llmlab.widgets.gradients import (
    BETAS,
    EPSILON,
    FAR,
    FLAT,
    KEPT,
    METHODS,
    MOST,
    NAMES,
    Descent,
    batches,
    landscape,
    number,
    own_landscape,
    walk,
)

# The losses once more, written out for torch.
LOSSES = {
    "parabola": lambda t: t[0] ** 2,
    "two dips": lambda t: t[0] ** 4 / 4 - t[0] ** 2 + 0.3 * t[0] + 1.5,
    "bowl": lambda t: t.square().sum(),
    "ravine": lambda t: t[0] ** 2 / 2 + 50 * t[1] ** 2,
    "two valleys": lambda t: t[0] ** 4 / 4 - t[0] ** 2 + 0.3 * t[0] + 1.5 + t[1] ** 2,
    "saddle": lambda t: t[0] ** 2 / 2 + t[1] ** 4 / 4 - t[1] ** 2 + 1,
}
XS, YS = [0.5, 1.0, 2.0, 3.5, 4.0], [1.0, 2.5, 3.0, 6.0, 8.5]


def fitted(xs, ys, rows=None):
    """The loss of a line through these rows, for torch: mean squared error."""
    x, y = (torch.tensor(one, dtype=torch.float32).double() for one in (xs, ys))

    def loss(t):
        chosen = slice(None) if rows is None else rows
        predicted = t[0] * x + (t[1] if len(t) == 2 else 0)
        return (predicted - y)[chosen].square().mean()

    return loss


def all_losses():
    yield from ((landscape(name), loss) for name, loss in LOSSES.items())
    for name in ("slope", "line"):
        place = landscape(name, xs=XS, ys=YS)
        yield place, fitted(XS, YS)


def by_torch(losses, start, method, rate, momentum, steps):
    """Points of torch.optim's walk, (steps + 1, P); `losses` gives the loss of each step."""
    point = torch.tensor(start, dtype=torch.float64, requires_grad=True)
    optimizer = {
        "plain": lambda: torch.optim.SGD([point], lr=rate),
        "momentum": lambda: torch.optim.SGD([point], lr=rate, momentum=momentum),
        "adam": lambda: torch.optim.Adam([point], lr=rate),
    }[method]()
    points = [point.detach().clone()]
    for step in range(steps):
        optimizer.zero_grad()
        losses(step)(point).backward()
        optimizer.step()
        points.append(point.detach().clone())
    return torch.stack(points).numpy()


# Slopes and walks ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("place", "loss"), list(all_losses()), ids=lambda one: getattr(one, "name", ""))
def test_loss_slope_and_curvature_equal_autograd(place, loss):
    generator = torch.Generator().manual_seed(2)
    for _ in range(20):
        point = 4 * torch.rand(len(place.names), generator=generator, dtype=torch.float64) - 2
        point.requires_grad_()
        value = loss(point)
        [slope] = torch.autograd.grad(value, point)
        assert place.loss(point.tolist()) == pytest.approx(value.item(), rel=1e-12, abs=1e-13)
        assert place.slope(point.tolist()) == pytest.approx(slope.tolist(), rel=1e-12, abs=1e-13)
        second = torch.autograd.functional.hessian(loss, point.detach())
        expected = torch.linalg.eigvalsh(second).flip(0).tolist()
        assert place.curvatures(point.tolist()) == pytest.approx(expected, rel=1e-10, abs=1e-10)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("place", "loss"), list(all_losses()), ids=lambda one: getattr(one, "name", ""))
def test_every_step_is_that_of_torch(place, loss, method):
    for rate, momentum in ((place.rate, 0.9), (place.rate / 7, 0.5), (1.7 * place.rate, 0.0)):
        found = walk(place, method=method, rate=rate, momentum=momentum, steps=60)
        points = by_torch(lambda step: loss, place.start, method, rate, momentum, found.steps)
        assert found.steps >= 1 and np.allclose(found.points, points, rtol=1e-9, atol=1e-12)
        for at in range(found.steps):
            for one, name in enumerate(place.names):
                there = found.points[at][one] - rate * found.moves[at][one]
                assert there == found.points[at + 1][one], name  # what the numbers spell out


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("name", "size"), [("line", 1), ("line", 2), ("line", 4), ("slope", 3)])
def test_mini_batches_are_rows_of_the_points_and_torch_walks_the_same_way_with_them(name, size, method):
    place = landscape(name, xs=XS, ys=YS)
    rows = batches(5, size, 50, seed=3)
    assert all(len(set(batch)) == size and set(batch) <= set(range(5)) for batch in rows)
    found = walk(place, method=method, rate=0.02, batch_size=size, seed=3, steps=50)
    losses = [fitted(XS, YS, batch) for batch in rows]
    points = by_torch(lambda step: losses[step], place.start, method, 0.02, 0.9, 50)
    assert found.steps == 50 and np.allclose(found.points, points, rtol=1e-9, atol=1e-12)
    assert found.losses[-1] == pytest.approx(fitted(XS, YS)(torch.tensor(points[-1])).item())  # of the whole set
    other = walk(place, method=method, rate=0.02, batch_size=size, seed=4, steps=50)
    assert other.points[1:] != found.points[1:] and other.points[0] == found.points[0]


def test_every_row_is_drawn_as_often_as_any_other():
    counts = np.zeros((6, 2))
    for batch in batches(6, 2, 30_000, seed=1):
        for place, row in enumerate(batch):
            counts[row, place] += 1
    assert np.abs(counts - 5000).max() < 5 * math.sqrt(5000 * 5 / 6)  # five standard deviations


def test_all_points_in_a_batch_are_the_whole_set():
    place = landscape("line", xs=XS, ys=YS)
    assert walk(place, batch_size=5).points == walk(place).points != walk(place, batch_size=4).points


# What becomes of a walk ---------------------------------------------------------------------------------------------


def test_a_parabola_shrinks_below_the_rate_two_by_its_curvature_and_grows_above():
    place = landscape("parabola")  # slope 2 θ: each step multiplies θ by 1 − 2 rate
    for rate in (0.01, 0.3, 0.6, 0.99, 1.01, 1.3):
        found = walk(place, rate=rate)
        assert [p[0] for p in found.points] == pytest.approx(
            [2.5 * (1 - 2 * rate) ** n for n in range(found.steps + 1)]
        )
        assert found.outcome == ("settled" if rate < 1 else "diverged")
    at_the_bound = walk(place, rate=1.0)
    assert at_the_bound.outcome == "walking" and at_the_bound.steps == MOST
    assert {p[0] for p in at_the_bound.points} == {2.5, -2.5}
    assert Descent("parabola", rate=1.3).outcome.endswith("each step lands farther off, on the other side.")
    assert "curvature is 2.6, more than 2" in Descent("parabola", rate=1.3).outcome


def test_a_walk_settles_where_its_slope_stays_small():
    for name in ("bowl", "two dips", "ravine"):
        place = landscape(name)
        found = walk(place, method="momentum", rate=place.rate / 2)
        long = walk(place, method="momentum", rate=place.rate / 2, steps=found.steps)
        points = by_torch(
            lambda step, name=name: LOSSES[name], place.start, "momentum", place.rate / 2, 0.9, found.steps + FLAT
        )
        lengths = [math.hypot(*place.slope(list(point))) for point in points]
        calm = [max(lengths[at : at + FLAT]) <= 0.001 for at in range(found.steps + 1)]
        assert found.outcome == "settled" and calm.index(True) == found.steps and long.points == found.points


def test_a_walk_ends_where_it_is_a_thousand_half_widths_away():
    found = walk(landscape("parabola"), rate=1.1)
    assert abs(found.points[-1][0]) > 3 * FAR >= abs(found.points[-2][0])
    quartic = walk(landscape("two dips"), rate=3.0)
    assert quartic.outcome == "diverged" and quartic.steps < 10


def test_shorter_walks_are_the_beginnings_of_longer_ones():
    place = landscape("line")
    long = walk(place, method="adam", batch_size=3, steps=40)
    for steps in (0, 1, 17):
        short = walk(place, method="adam", batch_size=3, steps=steps)
        assert short.points == long.points[: steps + 1] and short.outcome == "walking"


def test_a_valley_that_is_not_the_deepest_and_a_place_that_is_none_are_told_apart():
    local = Descent("two dips")
    best = min((LOSSES["two dips"](torch.tensor([t])).item(), t) for t in np.linspace(-2.6, 2.6, 20_001))
    assert local.walk.outcome == "settled" and local.path[-1, 0] > 1
    assert f"not the deepest valley: that has {number(best[0], 3)}." in local.outcome
    local.method = "momentum"
    assert local.path[-1, 0] == pytest.approx(best[1], abs=1e-3) and "deepest" not in local.outcome
    saddle = Descent("saddle")
    assert saddle.walk.outcome == "flat" and "there is no valley" in saddle.outcome
    assert saddle.path[-1] == pytest.approx([0, 0], abs=2e-3)
    saddle.start = [-2.4, 0.01]
    assert saddle.walk.outcome == "settled" and saddle.path[-1] == pytest.approx([0, math.sqrt(2)], abs=1e-3)


def test_the_first_view_says_what_torch_measures():
    """Plain descent in the ravine takes four times the steps of momentum at the same rate."""
    first = Descent()
    place, counts = landscape("ravine"), {}
    for method in ("plain", "momentum"):
        points = by_torch(lambda step: LOSSES["ravine"], place.start, method, 0.018, 0.8, 600)
        lengths = [math.hypot(*place.slope(list(point))) for point in points]
        counts[method] = next(at for at in range(590) if max(lengths[at : at + FLAT]) <= 0.001)
    assert first.walk.steps == counts["plain"] == 433 and counts["momentum"] == 105
    rows = first.tables()[0].rows
    assert [row[3] for row in rows] == ["433", "105"] and rows[1][1] == "momentum 0.8, rate 0.018"
    assert (np.sign(first.path[:12, 1]) == [1, -1] * 6).all()  # it zigzags


# Fits and other landscapes ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["line", "slope"])
@pytest.mark.parametrize("xs", [XS, list(range(1, 13)), [300.0, 500.0, 450.0], [0.001, 0.002, 0.004]])
def test_a_fit_walks_to_the_least_squares(name, xs):
    ys = [2 * x + 1 + 0.1 * (-1) ** n for n, x in enumerate(xs)]
    place = landscape(name, xs=xs, ys=ys)
    x, y = (np.asarray(one, dtype=np.float32).astype(float) for one in (xs, ys))
    columns = np.stack([x, np.ones_like(x)][: len(place.names)], axis=1)
    best, *_ = np.linalg.lstsq(columns, y, rcond=None)
    assert place.lowest == pytest.approx(float(np.square(columns @ best - y).mean()), rel=1e-6, abs=1e-12)
    assert all(low < at < high for at, (low, high) in zip(best, place.window, strict=True))
    assert all(low < at < high for at, (low, high) in zip(place.start, place.window, strict=True))
    low, high = place.rates
    bound = 2 / np.linalg.eigvalsh(2 * columns.T @ columns / len(x)).max()
    assert low < place.rate < bound < high and low <= 1e-4 and high >= 10
    assert walk(place).losses[-1] < place.loss(place.start)
    assert walk(place, rate=1.05 * bound).losses[-1] > place.loss(place.start)


def test_the_readers_own_points_and_polynomials():
    descent = Descent(xs=XS, ys=YS)
    assert descent.landscape == "line" and descent.xs.tolist() == XS and descent.ys.tolist() == YS
    slope = np.polyfit(XS, YS, 1)
    descent.rate = 0.08
    assert descent.path[-1] == pytest.approx(slope, abs=0.01)
    one = Descent(terms={2: 1.0, 1: -4.0}, start=[0.0], rate=0.1)
    assert one.landscape == "own" and one.path[-1] == pytest.approx([2], abs=1e-3)
    assert one.walk.losses[-1] == pytest.approx(-4) and one.landscapes[-1]["formula"] == "θ² − 4 θ"
    two = own_landscape({(2, 0): 0.5, (0, 2): 50.0})
    ravine = landscape("ravine")
    assert walk(two, [-2.6, 1.2], rate=0.018).points == walk(ravine).points and two.formula == "0.5 a² + 50 b²"
    falling = Descent(terms={(2, 0): 1.0, (0, 2): -1.0}, start=[1.0, 0.1], rate=0.1)
    assert falling.walk.outcome == "diverged"


def test_points_and_terms_that_make_no_landscape_are_refused():
    for xs, ys, said in (
        ([1.0], [1.0], "2 to 400"), ([1, 2, 3], [1, 2], "of one length"), ([1, 2], [1, math.inf], "finite"),
        (range(401), range(401), "2 to 400"), (["a", "b"], [1, 2], "lists of numbers"), ([[1, 2]], [[1, 2]], "shapes"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=said):
            Descent(xs=xs, ys=ys)
    with pytest.raises(ValueError, match="both xs and ys"):
        Descent(xs=XS)
    for terms in ({}, {9: 1.0}, {-1: 1.0}, {(1, 2, 3): 1.0}, {2: math.nan}):
        with pytest.raises(ValueError, match="expected"):
            Descent(terms=terms)
    with pytest.raises(ValueError, match="expected a window"):
        own_landscape({2: 1.0}, window=[(1, 0)])
    with pytest.raises(ValueError, match="expected a landscape of parabola, two dips"):
        landscape("hill")


def test_what_walk_refuses():
    place = landscape("line")
    for how, said in (
        ({"method": "newton"}, "expected a method"), ({"start": [1.0]}, "start of 2 finite"), ({"rate": 0.0}, "a rate"),
        ({"momentum": 1.0}, "momentum"), ({"batch_size": 13}, "batch size from 0"), ({"rate": math.nan}, "a rate"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=said):
            walk(place, **how)


# Traits and texts ---------------------------------------------------------------------------------------------------


def test_what_the_traits_refuse():
    descent = Descent("line")
    for name, value, said in (
        ("landscape", "hill", "expected a landscape of parabola"), ("rate", 0.0, "rate: a number above 0"),
        ("rate", math.inf, "rate: a number"), ("start", [1.0], "start: 2 finite"), ("momentum", 1.0, "momentum"),
        ("start", [math.nan, 0.0], "start: 2 finite"), ("batch_size", 13, "0 \\(all\\) to 12"), ("step", 1001, "step"),
        ("method", "newton", "method"), ("kept", [{"rate": 0.1}], "expected runs with"),
        ("kept", [{**descent._settings(), "start": [0.0]}], "start: 2 finite"),
    ):  # fmt: skip
        before = getattr(descent, name)
        with pytest.raises(traitlets.TraitError, match=said):
            setattr(descent, name, value)
        assert getattr(descent, name) == before
    with pytest.raises(traitlets.TraitError, match=r"expected batch_size: 0 \(all\) to 0"):
        Descent("bowl", batch_size=2)


def test_another_landscape_brings_its_own_start_and_rate():
    descent = Descent()
    descent.set_state({"landscape": "parabola", "start": [2.5], "rate": 0.1, "batch_size": 0, "kept": []})
    assert descent.error == "" and (descent.start, descent.rate, descent.kept) == ([2.5], 0.1, [])
    descent.landscape = "line"
    place = landscape("line")
    assert (descent.start, descent.rate, descent.batch_size) == (list(place.start), place.rate, 0)
    descent.batch_size = 4
    descent.landscape = "saddle"
    assert descent.batch_size == 0 and descent.path.shape[1] == 2


def test_kept_runs_are_the_last_three_and_missing_settings_are_those_of_now():
    runs = [{"rate": rate} for rate in (0.1, 0.2, 0.3, 0.4)]
    descent = Descent("bowl", method="adam", kept=runs)
    assert [run["rate"] for run in descent.kept] == [0.2, 0.3, 0.4] and len(descent.kept) == KEPT
    assert {run["method"] for run in descent.kept} == {"adam"}
    assert [row[0] for row in descent.tables()[0].rows] == ["now", "A", "B", "C"]


def test_the_path_and_the_texts():
    descent = Descent("parabola", rate=0.25, step=3)
    assert descent.path.tolist() == [[2.5], [1.25], [0.625], [0.3125]] and descent.losses[1] == 1.5625
    assert repr(descent) == (
        "Descent('parabola': plain, rate 0.25: after 3 steps: loss 0.0977 (at the start 6.25), still on the way.)"
    )
    assert descent.tables()[1].rows[1] == ["1", "1.25", "1.563", "2.5"]
    assert repr(Descent()) == repr(Descent())
    assert "higher than at the start" in Descent("parabola", rate=1.1, step=2).outcome
    assert "moved by the slopes of mini-batches" in Descent("line", batch_size=1, step=30).outcome
    assert len(Descent().tables()[1].rows) < 45 and len(Descent("line").tables()) == 3
    assert Descent("line").fallback_html().count("<table>") == 3


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (-2.6, "−2.6"), (1.0625, "1.063"), (12345, "12350"), (999999.9, "1 × 10⁶"), (0.001, "0.001"),
     (-0.00012345, "−1.234 × 10⁻⁴"), (2.02e8, "2.02 × 10⁸"), (-math.inf, "−∞"), (1e-300, "1 × 10⁻³⁰⁰")],
)  # fmt: skip
def test_numbers_as_they_are_written(value, text):
    assert number(value) == text


def test_words_of_the_page_and_of_python_are_the_same():
    script = (FOLDER / "gradients.js").read_text(encoding="utf-8")
    for name, value in (("STEPS", MOST), ("CALM", FLAT), ("FAR", FAR)):
        assert f"const {name} = {value};" in script
    betas = re.search(r"\[BETA1, BETA2, EPSILON\] = (\[.*?\]);", script)[1]
    assert json.loads(betas) == [*BETAS, EPSILON]
    assert set(NAMES) == {one["name"] for one in Descent().landscapes}
    assert len(script.encode()) <= 30_000
