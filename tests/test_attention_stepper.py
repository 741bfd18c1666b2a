"""The attention stepper in Python: its numbers against torch's own attention, its traits, its texts."""

import itertools
import math
import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import traitlets

from llmlab.widgets.attention import EXAMPLE, INPUTS, MASKS, STAGES, AttentionStepper, short

DOG, STREET, IT, TOO, TIRED = range(5)


@pytest.fixture
def stepper():
    return AttentionStepper()


def may_look(mask, n_tokens, size):
    """The masks once more, from their definitions."""
    allowed = {
        "none": lambda query, key: True,
        "causal": lambda query, key: key <= query,
        "prefix": lambda query, key: key <= query or key < size,
        "window": lambda query, key: query - size < key <= query,
    }[mask]
    return torch.tensor([[allowed(query, key) for key in range(n_tokens)] for query in range(n_tokens)])


def random_inputs(seed):
    """x, w_q, w_k, w_v of random shapes."""
    generator = torch.Generator().manual_seed(seed)
    n_tokens = int(torch.randint(2, 9, (), generator=generator))
    n_in, d, d_v = torch.randint(2, 7, (3,), generator=generator).tolist()
    shapes = ((n_tokens, n_in), (n_in, d), (n_in, d), (n_in, d_v))
    return [torch.randn(shape, generator=generator) for shape in shapes]


# The numbers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mask, scaling", [*itertools.product(MASKS, [True, False])])
@pytest.mark.parametrize("seed", range(5))
def test_output_equals_torchs_attention(mask, scaling, seed):
    x, w_q, w_k, w_v = random_inputs(seed)
    n_tokens = len(x)
    for size in (1, 2, n_tokens):
        stepper = AttentionStepper(x, w_q, w_k, w_v, mask=mask, scaling=scaling, prefix=size, window=size)
        allowed = may_look(mask, n_tokens, size)
        assert torch.equal(stepper.allowed(), allowed)
        q, k, v = x @ w_q, x @ w_k, x @ w_v
        scale = None if scaling else 1.0  # torch's own is 1 / √d
        output = F.scaled_dot_product_attention(q[None], k[None], v[None], attn_mask=allowed, scale=scale)[0]
        seen = stepper.compute()
        torch.testing.assert_close(seen["output"], output, rtol=1e-5, atol=1e-5)
        for name, expected in (("q", q), ("k", k), ("v", v)):
            torch.testing.assert_close(seen[name], expected, rtol=1e-5, atol=1e-5)
        weights = F.scaled_dot_product_attention(q[None], k[None], torch.eye(n_tokens)[None], allowed, scale=scale)[0]
        torch.testing.assert_close(seen["weights"], weights, rtol=1e-5, atol=1e-5)
        assert torch.equal(seen["weights"] > 0, allowed)  # a masked weight is exactly 0, another is not


@pytest.mark.parametrize("scaling", [True, False])
def test_each_stage_follows_from_the_one_before(scaling):
    x, w_q, w_k, w_v = random_inputs(7)
    stepper = AttentionStepper(x, w_q, w_k, w_v, scaling=scaling)
    at, d = stepper.compute(), w_q.shape[1]
    for query, key in itertools.product(range(len(x)), repeat=2):
        score = sum(float(at["q"][query, i] * at["k"][key, i]) for i in range(d))
        assert float(at["scores"][query, key]) == pytest.approx(score, rel=1e-5, abs=1e-5)
        scaled = score / d**0.5 if scaling else score
        assert float(at["scaled"][query, key]) == pytest.approx(scaled, rel=1e-5, abs=1e-5)
        assert float(at["masked"][query, key]) == (float(at["scaled"][query, key]) if key <= query else -math.inf)
    torch.testing.assert_close(at["weights"].sum(-1), torch.ones(len(x)))
    assert {values.dtype for values in at.values()} == {torch.float32}
    assert list(at) == ["q", "k", "v", "scores", "scaled", "masked", "weights", "output"]


def test_the_example_makes_tired_look_at_the_dog(stepper):
    at = stepper.compute()
    assert at["scores"][TIRED].tolist() == [8, 2, 1, 4, -1]
    assert at["scaled"][TIRED].tolist() == [4, 1, 0.5, 2, -0.5]
    assert [round(weight, 2) for weight in at["weights"][TIRED].tolist()] == [0.82, 0.04, 0.02, 0.11, 0.01]
    assert [round(number, 2) for number in at["output"][TIRED].tolist()] == [2.63, 1.07, -0.07, 1.56]
    assert stepper.labels == EXAMPLE["labels"] and AttentionStepper(**EXAMPLE).compute().keys() == at.keys()


def test_without_scaling_the_same_scores_make_sharper_weights(stepper):
    scaled = stepper.compute()["weights"][TIRED, DOG]
    stepper.scaling = False
    assert stepper.compute()["weights"][TIRED, DOG] > 0.97 > scaled


def test_large_scores_do_not_overflow():
    large = [[1000.0] * 6] * 2
    at = AttentionStepper(large, *[[[1000.0] * 6] * 6] * 3).compute()
    assert all(values[torch.isfinite(values)].numel() for values in at.values())
    assert at["weights"].tolist() == [[1, 0], [0.5, 0.5]]


# Traits -------------------------------------------------------------------------------------------------------------


def test_the_first_view_is_the_weights_of_the_last_token(stepper):
    assert (stepper.stage, stepper.row, stepper.column, stepper.mask, stepper.scaling) == (
        "weights",
        4,
        0,
        "causal",
        True,
    )
    assert AttentionStepper(np.ones((3, 4))).row == 2 and AttentionStepper(np.ones((3, 4))).labels == ["t0", "t1", "t2"]


def test_an_edit_from_python_or_from_the_browser_changes_the_numbers(stepper):
    edited = np.array(EXAMPLE["x"], dtype=np.float32)
    edited[TIRED, 2] = -1
    stepper.x = edited
    expected = AttentionStepper(x=edited.tolist()).compute()["weights"]
    assert torch.equal(stepper.compute()["weights"], expected)
    stepper.reset()
    assert stepper.x.tolist() == EXAMPLE["x"]
    sent = {"dtype": "float32", "shape": [5, 4], "data": memoryview(edited.tobytes())}
    stepper.set_state({"x": sent})
    assert torch.equal(stepper.compute()["weights"], expected) and stepper.error == ""
    stepper.w_q = torch.eye(4)
    stepper.w_k = [[0] * 4] * 4
    assert torch.equal(stepper.compute()["q"], torch.from_numpy(edited)) and not stepper.compute()["k"].any()


def test_reset_gives_back_all_four_matrices(stepper):
    for name in INPUTS:
        setattr(stepper, name, np.full_like(getattr(stepper, name), 7))
    stepper.reset()
    assert {name: getattr(stepper, name).tolist() for name in INPUTS} == {name: EXAMPLE[name] for name in INPUTS}


@pytest.mark.parametrize(
    "given, message",
    [
        ({"x": [[1, 2, 3, 4]]}, r"expected x with 2 to 8 tokens, got 1 \(shape \(1, 4\)\)"),
        ({"x": torch.zeros(9, 4)}, "expected x with 2 to 8 tokens, got 9"),
        ({"x": torch.zeros(3, 7)}, r"expected x with 2 to 6 columns, got shape \(3, 7\)"),
        ({"x": torch.zeros(3)}, r"expected x with rows and columns, got shape \(3,\)"),
        ({"x": [[1, 2], [3]]}, r"expected x as rows of numbers, all of one length, got \[\[1, 2\], \[3\]\]"),
        ({"w_q": "abc"}, "expected w_q as rows of numbers, all of one length, got 'abc'"),
        ({"w_q": torch.zeros(3, 4)}, r"expected w_q with 4 rows, .* of x \(5, 4\), got shape \(3, 4\)"),
        ({"w_k": torch.zeros(4, 2)}, r"expected w_q and w_k of one shape, got \(4, 4\) and \(4, 2\)"),
        ({"w_v": torch.zeros(4, 1)}, r"expected w_v with 2 to 6 columns, got shape \(4, 1\)"),
        ({"w_v": [[0, math.nan, 0]] * 4}, "expected numbers from −1000 to 1000 in w_v, got nan in row 0, column 1"),
        ({"x": [[0] * 4, [0, 0, 0, math.inf]]}, "expected numbers .* in x, got inf in row 1, column 3"),
        ({"x": [[0] * 4, [1e6] * 4]}, "expected numbers .* in x, got 1e.06 in row 1, column 0"),
        ({"labels": ["a", "b"]}, "expected 5 labels, one a token, got 2"),
        ({"row": 5}, "expected a row from 0 to 4, got 5"),
        ({"column": -1}, "expected a column from 0 to 11, got -1"),
        ({"window": 0}, "expected a window from 1 to 5, got 0"),
        ({"prefix": 6}, "expected a prefix from 1 to 5, got 6"),
    ],
)
def test_what_does_not_fit_is_named(given, message):
    with pytest.raises(ValueError, match=message):
        AttentionStepper(**given)


def test_a_widget_keeps_its_shapes_and_what_is_refused_changes_nothing(stepper):
    before = {name: getattr(stepper, name).tolist() for name in INPUTS}
    with pytest.raises(ValueError, match=r"expected x of shape \(5, 4\), as at the start, got \(3, 4\)"):
        stepper.x = torch.zeros(3, 4)
    for wrong in (math.nan, -math.inf, 1001):
        with pytest.raises(ValueError, match="expected numbers from −1000 to 1000 in w_k"):
            stepper.w_k = torch.full((4, 4), wrong)
    for name, value in (("stage", "softmax"), ("mask", "both")):
        with pytest.raises(traitlets.TraitError, match=f"'{name}' trait"):
            setattr(stepper, name, value)
    assert {name: getattr(stepper, name).tolist() for name in INPUTS} == before


@pytest.mark.parametrize(
    "sent, message",
    [
        ({"row": 9}, "expected a row from 0 to 4, got 9"),
        ({"mask": "window", "window": 0}, "expected a window from 1 to 5, got 0"),
        ({"x": {"dtype": "float32", "shape": [2, 2], "data": bytes(16)}}, r"expected x of shape \(5, 4\)"),
        ({"x": {"dtype": "float32", "shape": [5, 4], "data": b"\xff" * 80}}, "expected numbers .* in x, got nan"),
    ],
)
def test_what_the_browser_sends_wrong_is_shown_and_the_old_value_stays(stepper, monkeypatch, sent, message):
    sent_back = []
    monkeypatch.setattr(stepper, "send_state", lambda key=None: sent_back.append(key))
    before = {name: getattr(stepper, name) for name in ("row", "mask", "window")}, stepper.x.tolist()
    stepper.set_state(sent)
    assert re.search(message, stepper.error) and list(sent) in sent_back
    assert ({name: getattr(stepper, name) for name in ("row", "mask", "window")}, stepper.x.tolist()) == before
    stepper.set_state({"row": 1})
    assert stepper.error == "" and stepper.row == 1


# As text ------------------------------------------------------------------------------------------------------------


def arithmetic(stepper):
    return dict(stepper.tables()[0].rows)


def test_the_arithmetic_of_a_cell_is_spelled_out(stepper):
    assert arithmetic(stepper) == {
        "scores": "q(tired) · k(dog) = 3·2 + 0·0 + 0·1 + 2·1 = 8",
        "scaled": "8 ÷ √4 = 4",
        "masked": "earlier than the query: 4 stays 4",
        "weights": "e^(4−4) ÷ (e^(4−4) + e^(1−4) + e^(0.5−4) + e^(2−4) + e^(−0.5−4)) = "
        "1 ÷ (1 + 0.0498 + 0.0302 + 0.135 + 0.0111) = 0.815",
    }
    stepper.stage = "output"
    terms = "0.815·3 + 0.0406·1 + 0.0246·1 + 0.11·1 + 0.00906·1"
    assert arithmetic(stepper) == {"output": f"output(tired)[0] = weights(tired) · v[:, 0] = {terms} = 2.63"}
    stepper.stage, stepper.column = "qkv", 7
    assert arithmetic(stepper) == {"k": "k(tired)[3] = x(tired) · W_k[:, 3] = 1·0 + 0·0 + 2·(−1) + 0·1 = −2"}
    stepper.stage = "x"
    assert arithmetic(stepper) == {"x": "x(tired)[3] = 0"}  # beyond the last column: the last


PYTHON = [(r">−0\.001", "-.0005"), (r"<0\.001", ".0005"), ("−", "-"), ("·", "*"), ("÷", "/"), (r"√(\d)", r"\1**.5")]
PYTHON.append((r"e\^", "2.718282**"))


@pytest.mark.parametrize("stage", ["qkv", "scores", "scaled", "weights", "output"])
@pytest.mark.parametrize("seed", [11, 13])
def test_the_arithmetic_is_right(stage, seed):
    """Every line is a chain of equal terms: evaluated, they agree up to the digits that are shown."""
    inputs = [torch.round(values * 4) / 4 for values in random_inputs(seed)]
    stepper = AttentionStepper(*inputs, stage=stage, mask="prefix", prefix=2)
    for row, column in itertools.product(range(stepper.n_tokens), range(stepper.n_tokens)):
        stepper.row, stepper.column = row, column
        text = stepper.tables()[0].rows[-1][1]
        for sign, code in PYTHON:
            text = re.sub(sign, code, text)
        values = [eval(term) for term in text.split(" = ") if re.fullmatch(r"[-\d.*/+() ]+", term)]
        if "exactly 0" not in text:
            assert len(values) >= 2 and values == pytest.approx([values[-1]] * len(values), rel=0.02, abs=0.04), text


@pytest.mark.parametrize(
    "mask, query, key, why",
    [
        ("none", DOG, TIRED, "no mask: 2 stays 2"),
        ("causal", DOG, TIRED, "later than the query: −∞ before the softmax, so its weight is exactly 0"),
        ("causal", IT, IT, "the query's own token: 1 stays 1"),
        ("prefix", DOG, STREET, "later than the query, but in the prefix of 2: 0.5 stays 0.5"),
        ("prefix", STREET, IT, "later than the query: −∞ before the softmax, so its weight is exactly 0"),
        ("window", TIRED, TOO, "among the last 2 tokens: 2 stays 2"),
        ("window", TIRED, IT, "not among the last 2 tokens: −∞ before the softmax, so its weight is exactly 0"),
    ],
)
def test_the_mask_says_why(mask, query, key, why):
    stepper = AttentionStepper(stage="masked", mask=mask, row=query, column=key)
    assert arithmetic(stepper)["masked"] == why
    stepper.stage = "weights"
    assert (arithmetic(stepper)["weights"] == "e^(−∞) = 0: the weight is exactly 0") == ("exactly 0" in why)


def test_the_tables_hold_every_matrix_up_to_the_stage(stepper):
    captions = [
        "x: one row a token", "W_q", "W_k", "W_v", "q = x · W_q", "k = x · W_k", "v = x · W_v", "scores = q · kᵀ",
        "scaled = scores ÷ √4", "masked: causal", "weights = softmax of each row", "output = weights · v",
    ]  # fmt: skip
    for stage, count in zip(STAGES, [4, 7, 8, 9, 10, 11, 12], strict=True):
        stepper.stage = stage
        assert [table.caption for table in stepper.tables()] == ["The chosen cell", *captions[:count]]
    tables = {table.caption: table for table in stepper.tables()}
    weights = tables["weights = softmax of each row"]
    assert weights.columns == ["query", *stepper.labels]
    assert weights.rows[STREET] == ["street", "0.119", "0.881", "0", "0", "0"]
    assert tables["masked: causal"].rows[DOG] == ["dog", "2.5", "−∞", "−∞", "−∞", "−∞"]
    assert tables["W_k"].rows[2] == ["2", "0", "0", "1", "−1"]
    for (name, values), caption in zip(stepper.compute().items(), captions[4:], strict=True):
        shown = [
            [float(cell.replace("−∞", "-inf").replace("−", "-")) for cell in row[1:]] for row in tables[caption].rows
        ]
        np.testing.assert_allclose(shown, values, rtol=6e-3, err_msg=name)
    stepper.mask, stepper.scaling = "window", False
    assert {"masked: window of 2", "scaled = scores, not scaled"} < {table.caption for table in stepper.tables()}


def test_repr_and_fallback_are_the_same_on_every_run(stepper):
    assert (
        repr(stepper)
        == repr(AttentionStepper())
        == (
            "AttentionStepper(5 tokens, mask='causal', scaling=True; "
            "'tired' looks at dog 0.815, street 0.0406, it 0.0246, too 0.11, tired 0.00906)"
        )
    )
    assert stepper.fallback_html() == AttentionStepper().fallback_html()
    bundle, _ = stepper._repr_mimebundle_()
    assert bundle["text/plain"] == repr(stepper) and "0.815" in bundle["text/html"]


def test_labels_show_as_text():
    stepper = AttentionStepper(labels=["<b>dog</b>", "a b", "", "\n", "é"])
    assert "<b>dog" not in stepper.fallback_html() and "&lt;b&gt;dog" in stepper.fallback_html()
    assert stepper.tables()[-1].columns[1:] == ["<b>dog</b>", "a·b", "∅", "⏎", "é"]


@pytest.mark.parametrize(
    "value, text",
    [(0.0, "0"), (-0.0, "0"), (2.0, "2"), (0.8154, "0.815"), (-0.0676, "−0.0676"), (1.125, "1.13"), (-1.125, "−1.13"),
     (0.00099, "<0.001"), (-1e-9, ">−0.001"), (1234.5, "1230"), (99949, "99900"), (99950, "1.0e5"),
     (-1.25e12, "−1.3e12"), (-math.inf, "−∞")],
)  # fmt: skip
def test_numbers_have_three_significant_digits(value, text):
    assert short(value) == text
