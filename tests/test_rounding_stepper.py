"""The rounding stepper in Python: every step is least squares solved again, the errors are a loop over the inputs."""

import copy
import itertools
import math

import numpy as np
import pytest
import torch
import traitlets

import llmlab
from llmlab import quantization
from llmlab.quantization import gptq_by_hessian, matrices
from llmlab.training import WorldBatches
from llmlab.widgets.rounding import RoundingStepper, _figure, _signed

MODEL, TOKENIZER = llmlab.load_model()
NAME = "blocks.3.attention.q_proj"
WEIGHT = matrices(MODEL)[NAME].detach().double()  # (192, 192)


def read_inputs():
    """What the layer is given for the first batch of the training stream, (2048, 192), by a hook of PyTorch."""
    batch, found = WorldBatches(TOKENIZER, 8, 256, seed=0)(0), []
    exact = copy.deepcopy(MODEL).double()
    exact.get_submodule(NAME).register_forward_pre_hook(lambda _, given: found.append(given[0].flatten(0, 1)))
    with torch.no_grad():
        exact(batch.tokens, positions=batch.positions, mask=batch.mask)
    return found[0]


def mixed_inputs(n=300):
    draw = torch.Generator().manual_seed(5)
    common = torch.randn(n, 4, generator=draw, dtype=torch.float64)
    return common @ torch.randn(4, 192, generator=draw, dtype=torch.float64) + torch.randn(
        n, 192, generator=draw, dtype=torch.float64
    )


REAL, MIXED = read_inputs(), mixed_inputs()
CASES = {
    "the model's": (REAL, {}),
    "five columns": (MIXED, {"inputs": MIXED, "columns": [7, 3, 190, 50, 2], "rows": [5, 0, 191]}),
    "two columns": (MIXED, {"inputs": MIXED.float().reshape(3, 100, 192), "columns": (10, 4), "rows": [9]}),
}


@pytest.fixture(scope="module", params=CASES)
def case(request):
    x, given = CASES[request.param]
    return x, RoundingStepper(MODEL, TOKENIZER, **given)


@pytest.fixture
def stepper():
    return RoundingStepper(MODEL, TOKENIZER)


def settings(stepper, *, compensate=(False, True)):
    """Goes through all settings; gives the row of weights (n,) in each."""
    for row, bits, apart, helped in itertools.product(stepper.rows, (2, 3, 4), (False, True), compensate):
        stepper.row, stepper.bits, stepper.diagonal, stepper.compensate = row, bits, apart, helped
        yield WEIGHT[row, stepper.columns]
    stepper.diagonal, stepper.compensate, stepper.step = False, True, 1


# Numbers ------------------------------------------------------------------------------------------------------------


def test_the_last_codes_are_those_of_gptq(case):
    x, stepper = case
    n = len(stepper.columns)
    stepper.step = n
    for w in settings(stepper, compensate=[True]):
        curvature = quantization.hessian(x[:, stepper.columns])
        if stepper.diagonal:
            curvature = curvature.diag().diag()
        made = gptq_by_hessian(w[None], curvature, stepper.bits, damping=0.0)
        assert stepper.codes == made.codes[0].tolist()
        assert stepper._scale == pytest.approx(made.scale.item())


def test_each_step_is_least_squares_solved_again(case):
    """With all rounded columns held, the free ones give what is left of the row's outputs as nearly as can be."""
    x, stepper = case
    x = x[:, stepper.columns]
    for w in settings(stepper, compensate=[True]):
        if stepper.diagonal:
            continue
        for step in range(1, len(w)):
            now = torch.from_numpy(stepper._path[step])
            missing = x @ w - x[:, :step] @ now[:step]
            solved = torch.linalg.lstsq(x[:, step:], missing[:, None]).solution[:, 0]
            torch.testing.assert_close(now[step:], solved, atol=2e-6, rtol=1e-5)


def test_each_column_goes_to_the_nearest_code_of_what_it_has_become(case):
    _, stepper = case
    for w in settings(stepper):
        path, scale, most = (
            stepper._path,
            w.abs().max().item() / (2 ** (stepper.bits - 1) - 1),
            2**stepper.bits // 2 - 1,
        )
        assert stepper._scale == pytest.approx(scale)
        for j in range(len(w)):
            code = min(most, max(-most, round(path[j, j] / scale)))
            assert path[j + 1 :, j] == pytest.approx(code * scale, abs=1e-6)
            if not stepper.compensate or stepper.diagonal:
                np.testing.assert_array_equal(path[j + 1, j + 1 :], path[0, j + 1 :])


def test_the_errors_are_those_of_a_loop_over_the_inputs(case):
    x, stepper = case
    x = x[:, stepper.columns]
    for w in settings(stepper):
        for step in (0, 1, len(w) // 2, len(w)):
            stepper.step = step
            off = w - torch.from_numpy(stepper._path[step])
            if stepper.diagonal:  # each input alone
                looped = sum(((off[j] * x[:, j]) ** 2).sum().item() for j in range(len(w)))
            else:
                looped = sum(gives * gives for gives in (x @ off).tolist())
            assert stepper.output_error == pytest.approx(looped, rel=1e-4, abs=1e-6)
            if not stepper.compensate:
                assert stepper.nearest_error == stepper.output_error


def test_the_best_is_found_by_trying_every_way():
    x, given = CASES["five columns"]
    stepper = RoundingStepper(MODEL, TOKENIZER, **given)
    x = x[:, stepper.columns]
    for w in settings(stepper, compensate=[True]):
        scale, most, found = w.abs().max().item() / (2 ** (stepper.bits - 1) - 1), 2**stepper.bits // 2 - 1, []
        ends = [(math.floor(one / scale), math.ceil(one / scale)) for one in w.tolist()]
        for codes in itertools.product(*ends):
            off = w - torch.tensor([min(most, max(-most, code)) for code in codes]).double() * scale
            parts = (x * off) ** 2 if stepper.diagonal else (x @ off) ** 2
            found.append(parts.sum().item())
        assert stepper.best_error == pytest.approx(min(found), rel=1e-5)
        stepper.step = len(w)
        assert stepper.nearest_error >= stepper.best_error * 0.99999
        if stepper.diagonal:
            assert stepper.nearest_error == pytest.approx(stepper.best_error, rel=1e-5)


def test_a_hessian_does_what_its_inputs_do():
    one = RoundingStepper(MODEL, TOKENIZER, inputs=MIXED, columns=[1, 2, 3])
    other = RoundingStepper(MODEL, TOKENIZER, hessian=2 * MIXED.T @ MIXED, columns=[1, 2, 3])
    np.testing.assert_allclose(one.weights, other.weights, atol=1e-7)
    np.testing.assert_allclose(one.together, np.array(one.together).T, atol=1e-7)
    x = MIXED[:, [1, 2, 3]]
    expected = torch.nn.functional.cosine_similarity(x.T[:, None], x.T[None], dim=-1)
    np.testing.assert_allclose(one.together, expected, atol=1e-6)


# The default --------------------------------------------------------------------------------------------------------


def test_the_default_columns_come_together_most(stepper):
    cosines = torch.nn.functional.cosine_similarity(REAL.T[:, None], REAL.T[None], dim=-1).abs()  # (192, 192)
    sums = [sum(sorted(row.tolist(), reverse=True)[1:12]) for row in cosines]
    first = max(range(192), key=sums.__getitem__)
    ranked = sorted(range(192), key=lambda one: -cosines[first, one].item())
    assert stepper.columns == ranked[:12] and stepper.columns[0] == first


def test_what_the_notebook_says_of_the_first_view(stepper):
    """One is rounded up, and those that come together with it positively go down, the others up."""
    moves, beside = stepper.moves, stepper.beside
    assert (stepper.step, stepper.row, stepper.bits) == (1, 4, 3) and len(stepper.columns) == 12
    assert 0.4 < moves[0] < 0.5 and beside[0] == pytest.approx(1)
    assert all(move * together < 0 for move, together in zip(moves[1:], beside[1:], strict=True))
    assert min(abs(one) for one in beside) > 0.4 and max(map(abs, moves[1:])) > 0.5 > 0.1 > min(map(abs, moves[1:]))
    assert stepper.output_error < 0.5 * stepper.nearest_error
    stepper.step = 12
    assert stepper.best_error < stepper.output_error < stepper.nearest_error
    stepper.diagonal, stepper.step = True, 1
    assert [one for one in stepper.moves if one] == [moves[0]] and stepper.beside == [1.0] + [0.0] * 11


def test_greed_has_a_price_in_some_rows(stepper):
    worse = best = 0
    stepper.step = 12
    for _ in settings(stepper, compensate=[True]):
        if not stepper.diagonal:
            worse += stepper.output_error > stepper.nearest_error * 1.001
            best += stepper.output_error < stepper.best_error * 1.001
    assert worse == 1 and best > 8


def test_no_rounding_hangs_on_the_last_digits(stepper):
    """Other processors add in another order; a number that nearly lies between two codes could fall otherwise."""
    for _ in settings(stepper):
        for j in range(12):
            now, place = stepper._path[j, j], abs(stepper._path[j, j]) / stepper._scale % 1
            assert now == stepper._path[0, j] or abs(place - 0.5) > 1e-5  # as stored, no sum was made


# Traits, texts and errors -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("step", 13, "expected step of at most 12, got 13"),
        ("step", -1, "step"),
        ("chosen", 12, "expected chosen of at most 11, got 12"),
        ("chosen", -2, "chosen"),
        ("row", 8, "expected a row of 0, 1, 2, 3, 4, 5, 6, 7; got 8"),
        ("bits", 5, "bits"),
        ("compensate", "no", "compensate"),
    ],
)
def test_a_bad_value_is_refused_and_named(stepper, name, value, message):
    before = getattr(stepper, name)
    with pytest.raises(traitlets.TraitError, match=message):
        setattr(stepper, name, value)
    assert getattr(stepper, name) == before
    stepper.set_state({name: value})  # as the browser would
    assert getattr(stepper, name) == before and stepper.error


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"matrix": "blocks.9.nothing"}, "no matrix 'blocks.9.nothing' here; there are .*blocks.3.attention.q_proj"),
        ({"columns": [1]}, "expected 2 to 14 different columns from 0 to 191"),
        ({"columns": range(15)}, "expected 2 to 14 different columns"),
        ({"columns": [1, 1, 2]}, "different columns"),
        ({"columns": [1, 192]}, "columns from 0 to 191"),
        ({"rows": []}, "expected 1 to 32 different rows"),
        ({"rows": [-1]}, "rows from 0 to 191"),
        ({"inputs": torch.ones(4, 3)}, r"expected inputs \(..., 192\), got \(4, 3\)"),
        ({"hessian": torch.ones(4, 3)}, r"expected a hessian \(192, 192\), got \(4, 3\)"),
        ({"hessian": torch.eye(192), "inputs": MIXED}, "got both"),
        ({"inputs": torch.zeros(4, 192), "columns": [1, 2]}, "are 0, or sums of each other"),
        ({"inputs": MIXED[:5], "columns": range(12)}, "choose other columns, or give more inputs"),
        ({"inputs": MIXED * torch.nan, "columns": [1, 2]}, "are 0, or sums of each other"),
    ],
)
def test_a_bad_argument_is_refused_and_named(given, message):
    with pytest.raises(ValueError, match=message):
        RoundingStepper(MODEL, TOKENIZER, **given)


def test_a_row_that_was_not_asked_for_is_refused():
    with pytest.raises(traitlets.TraitError, match="expected a row of 3, 5; got 4"):
        RoundingStepper(MODEL, TOKENIZER, inputs=MIXED, columns=[1, 2], rows=[3, 5], row=4)
    assert RoundingStepper(MODEL, TOKENIZER, inputs=MIXED, columns=[1, 2], rows=[3, 5], row=5).row == 5


def test_the_tables_say_what_is_shown(stepper):
    stepper.step = 3
    weights, errors = stepper.tables()
    assert [row[0] for row in weights.rows] == [str(one) for one in stepper.columns]
    assert [row[3] for row in weights.rows[3:]] == ["free"] * 9
    assert [int(row[3].replace("−", "-")) for row in weights.rows[:3]] == stepper.codes
    assert [row[4] for row in weights.rows] == [_signed(one) for one in stepper.moves]
    assert weights.columns[-1] == f"together with {stepper.columns[2]}" and weights.rows[2][-1] == "1.00"
    assert "3 of 12 columns rounded, the others make up for it" in weights.caption
    assert (
        errors.rows[0][1] == _figure(stepper.output_error)
        and errors.rows[2][0] == "best of 4,096 ways, each up or down"
    )
    stepper.compensate, stepper.diagonal, stepper.step = False, True, 0
    weights, errors = stepper.tables()
    assert weights.caption.endswith("0 of 12 columns rounded, the others stay, only the diagonal of H")
    assert {row[3] for row in weights.rows} == {"free"} and {row[4] for row in weights.rows} == {"0.00"}
    assert errors.rows[0][1] == errors.rows[1][1] == "0" and errors.rows[0][2] == errors.rows[1][2]


def test_the_text_of_numbers():
    assert [_figure(value) for value in (0.0, 0.0004, 0.25, 13.04, 999.4, 999.6, 12345.0)] == [
        "0", "<0.001", "0.250", "13.0", "999", "1,000", "12,300",
    ]  # fmt: skip
    assert [_signed(value) for value in (0.004, -0.004, 0.126, -1.5)] == ["0.00", "0.00", "+0.13", "−1.50"]


def test_repr_and_tables_are_the_same_on_every_run(stepper):
    other = RoundingStepper(MODEL, TOKENIZER)
    assert repr(stepper) == repr(other) == (
        "RoundingStepper('blocks.3.attention.q_proj', row=4, bits=3, step=1, compensate=True, diagonal=False; "
        "12 columns)"
    )  # fmt: skip
    assert stepper.tables() == other.tables()
    assert all(parameter.dtype != torch.float64 for parameter in MODEL.parameters())  # the model was left alone
