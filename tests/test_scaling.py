"""Scaling laws: fits recover the law that made the data, and tell where a floor cannot be known."""

import numpy as np
import pytest

from llmlab import studies
from llmlab.studies import scaling
from llmlab.studies.definitions import foretell_larger, numbers_and_tokens
from llmlab.studies.measures import LOSS

N = np.repeat([25e3, 150e3, 440e3], 3)
D = np.tile([0.3e6, 0.6e6, 1.2e6], 3)
LAWS = [(1.2, 40, 0.4, 900, 0.5), (0.5, 10, 0.2, 300, 0.4), (2.0, 300, 0.6, 50, 0.3)]


def law(floor, a_size, a, b_size, b, n=N, d=D):
    return floor + a_size / n**a + b_size / d**b


@pytest.mark.parametrize("numbers", LAWS)
def test_a_fit_finds_the_law_that_made_the_losses(numbers):
    floor, a_size, a, b_size, b = numbers
    found = scaling.fit("floor", N, D, law(*numbers))
    assert found.floor == pytest.approx(floor, rel=1e-3) and found.exponents == pytest.approx((a, b), rel=1e-3)
    assert found.factors == pytest.approx((a_size, b_size), rel=1e-2) and found.error < 1e-6
    assert found(1e6, 2.4e6) == pytest.approx(law(*numbers, n=1e6, d=2.4e6), rel=1e-4)
    without = scaling.fit("no floor", N, D, law(0, *numbers[1:]))
    assert without.floor == 0 and without.exponents == pytest.approx((a, b), rel=1e-4)
    assert without.factors == pytest.approx((a_size, b_size), rel=1e-3)


def test_a_power_of_the_work_is_a_line_in_logarithms():
    """Without a floor the fit is linear regression, here numpy's."""
    losses = 30 / (6 * N * D) ** 0.09 * np.exp(np.random.default_rng(0).normal(0, 0.01, 9))
    slope, height = np.polyfit(np.log(6 * N * D), np.log(losses), 1)
    found = scaling.fit("work", N, D, losses)
    assert found.exponents[0] == pytest.approx(-slope, rel=1e-6)
    assert found.factors[0] == pytest.approx(np.exp(height), rel=1e-5)
    residuals = np.log(losses) - slope * np.log(6 * N * D) - height
    assert found.error == pytest.approx(np.sqrt(np.mean(residuals**2)), rel=1e-6)
    with_floor = scaling.fit("work, floor", N, D, 1.1 + 3e5 / (6 * N * D) ** 0.5)
    assert with_floor.floor == pytest.approx(1.1, rel=1e-4) and with_floor.exponents[0] == pytest.approx(0.5, rel=1e-3)


def test_derivatives_are_those_of_finite_differences():
    parameters = np.array([[0.1, -0.5, 0.3, 0.4, 0.6]])
    _, slopes = scaling._log_loss("floor", parameters, N, D)
    for number in range(5):
        moved = np.repeat(parameters, 2, axis=0)
        moved[:, number] += [1e-6, -1e-6]
        high, low = scaling._log_loss("floor", moved, N, D)[0]
        np.testing.assert_allclose(slopes[0, :, number], (high - low) / 2e-6, atol=1e-8)


def test_points_left_out_are_met_by_the_right_form_only():
    losses = law(*LAWS[0])
    right, wrong = (np.abs(scaling.left_out(form, N, D, losses)).max() for form in ("floor", "no floor"))
    assert right < 1e-4 < 1e-3 < wrong


def test_draws_spread_as_the_means_of_seeds_do():
    """Where the law is a constant power of the work, its height at the middle is the mean of ln L: the spread of the
    draws is that of the means, less for the few seeds of which they are drawn."""
    spread, n_seeds = 0.02, 5
    runs = law(*LAWS[1])[:, None] * np.exp(np.random.default_rng(1).normal(0, spread, (9, n_seeds)))
    draws = scaling.resampled("work", N, D, runs, n_draws=200)
    middle = np.exp(np.log(N).mean()), np.exp(np.log(D).mean())
    found = np.std([np.log(one(*middle)) for one in draws])
    assert 0.6 < found / (runs.std(1).mean() / runs.mean() / np.sqrt(9 * n_seeds)) < 1.5
    low, high = scaling.interval([float(one(*middle)) for one in draws])
    assert low < float(scaling.fit("work", N, D, runs.mean(1))(*middle)) < high


def test_what_makes_no_sense_is_named():
    with pytest.raises(ValueError, match="unknown form 'linear'; expected one of: floor, no floor, work, floor, work"):
        scaling.fit("linear", N, D, law(*LAWS[0]))
    with pytest.raises(ValueError, match=r"at least 5 points for L = E .* got 4"):
        scaling.fit("floor", N[:4], D[:4], law(*LAWS[0])[:4])
    with pytest.raises(ValueError, match=r"one length, got \(9,\), \(8,\) and \(9,\)"):
        scaling.fit("floor", N, D[:8], law(*LAWS[0]))
    with pytest.raises(ValueError, match="above 0"):
        scaling.fit("work", N, D, law(*LAWS[0]) - 3)
    points = [scaling.Point("a", 1, 2, (1.0, 2.0)), scaling.Point("b", 1, 2, (1.0,))]
    with pytest.raises(ValueError, match=r"as many losses at each point, got \[2, 1\]"):
        scaling.columns(points)


# The study ----------------------------------------------------------------------------------------------------------


def test_sizes_and_budgets_form_a_grid_and_the_larger_run_lies_outside_it():
    study, sizes = studies.SCALING, numbers_and_tokens(studies.SCALING)
    (larger,) = study.then
    n, d = sizes.pop(larger)
    assert len({one[0] for one in sizes.values()}) == len({one[1] for one in sizes.values()}) == 3 and len(sizes) == 9
    assert n > max(one[0] for one in sizes.values()) and d > max(one[1] for one in sizes.values())
    for name, setting in study.full.items():
        model = setting.new_model(0)
        counted = sum(one.numel() for one in model.parameters()) - model.embedding.weight.numel()
        assert numbers_and_tokens(study)[name][0] == counted
        read = setting.training.n_steps * setting.training.batch_size * setting.training.seq_len
        assert numbers_and_tokens(study)[name][1] == read
        assert setting.training.learning_rate * setting.model.d_model == pytest.approx(0.77, rel=0.05)
    assert study.runs[-len(study.then[larger]) :] == [(larger, seed) for seed in study.then[larger]]


def test_nothing_is_foretold_before_all_of_the_grid_is_there_and_the_larger_run_tells_nothing():
    rng = np.random.default_rng(0)
    sizes = numbers_and_tokens(studies.SCALING)
    runs = [
        {"setting": name, "seed": seed, "measured": {LOSS: float(law(*LAWS[0], n=n, d=d) + rng.normal(0, 0.005))}}
        for name, (n, d) in sizes.items()
        for seed in studies.SCALING.seeds_of(name)
    ]
    (larger,) = studies.SCALING.then
    grid = [run for run in runs if run["setting"] != larger]
    assert foretell_larger({"runs": grid[1:]}) is None
    assert foretell_larger({"runs": [*grid[1:], grid[0] | {"failed": "diverged"}]}) is None
    points = scaling.points_of(grid, {name: sizes[name] for name in sizes if name != larger}, LOSS)
    found = scaling.prediction(points, *sizes[larger], n_draws=40)
    assert found["floor"]["loss"] == pytest.approx(
        float(law(*LAWS[0], n=sizes[larger][0], d=sizes[larger][1])), rel=0.02
    )
    low, high = found["floor"]["interval"]
    assert low < found["floor"]["loss"] < high and found["no floor"]["left_out"] > found["floor"]["left_out"]


def test_what_the_record_foretells_is_what_the_nine_alone_say():
    recorded = studies.load("scaling")
    assert len(recorded.points) == 9 and all(len(point.losses) == 3 for point in recorded.points)
    n, d, runs = scaling.columns(recorded.points)
    assert set(recorded.foretold) == set(scaling.FORMS)
    for form, one in recorded.foretold.items():
        fitted = scaling.fit(form, n, d, runs.mean(1))
        assert one.loss == pytest.approx(float(fitted(one.measured.n, one.measured.d)), rel=1e-3)
        assert one.said["error"] == pytest.approx(fitted.error, rel=0.02)
        assert one.low < one.loss < one.high and one.measured.n > n.max() and one.measured.d > d.max()
        assert one.miss == pytest.approx(one.measured.loss - one.loss)
        assert one.held is (one.low <= one.measured.loss <= one.high)
    # more to fit with fits better, and a larger model that reads more loses less than all of the nine
    said = {form: one.said["error"] for form, one in recorded.foretold.items()}
    assert said["floor"] <= said["no floor"] + 1e-6 and said["work, floor"] <= said["work"] + 1e-6
    assert recorded.foretold["floor"].measured.loss < runs.min()
    # as data/README.md tells it: no form met what was measured, the two laws were too hopeful
    assert not any(one.held for one in recorded.foretold.values())
    assert recorded.foretold["no floor"].miss > recorded.foretold["floor"].miss > 0 > recorded.foretold["work"].miss


def test_the_losses_are_known_to_less_than_they_differ_by():
    """Rows differ a great deal, but models are asked the same ones: what is left is the spread of seeds."""
    recorded = studies.load("scaling")
    _, _, runs = scaling.columns(recorded.points)
    neighbors = np.diff(runs.mean(1).reshape(3, 3), axis=1)
    assert (runs.std(1, ddof=1) < np.abs(neighbors).min() / 2).all() and (neighbors < 0).all()
